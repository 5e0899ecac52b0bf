/* SmoothQuant's scales against torchao's, on layer 0 of tinystories656k. */
#include "golden_file.h"
#include "methods/smoothquant.h"
#include <math.h>

enum { MOST = 384 };

/* Largest |v| of each of n columns: of a tensor, or as the small file has it. */
static void maxima(const golden *g, const char *of, const char *what, float *most)
{
    char key[64];
    int ndim;
    int64_t dim[8], rows = 1;
    snprintf(key, sizeof key, "%s.%s", of, what);
    const float *v = golden_get(g, key, "F32", &ndim, dim);
    if (!v) {
        snprintf(key, sizeof key, "%s.max_%s", of, what);
        v = golden_get(g, key, "F32", &ndim, dim);
        assert_non_null(v);
    }
    for (int i = 0; i + 1 < ndim; i++) rows *= dim[i];
    for (int64_t k = 0; k < rows * dim[ndim - 1]; k++) {
        float *m = &most[k % dim[ndim - 1]];
        *m = fmaxf(*m, fabsf(v[k]));
    }
}

static void scales_are_torchaos(void **state)
{
    static const struct {
        const char *name, *from;
        int n;
    } groups[] = {{"qkv", "qkv", 128}, {"mlp", "mlp", 128}, {"mlp_dead", "mlp", 128}, {"down", "down", 384}};
    static const double alphas[] = {0, 0.5, 0.85, 1};
    golden g;
    (void)state;
    golden_open(&g, golden_path("ptq/smoothquant.safetensors"));
    for (size_t i = 0; i < BL_COUNT(groups); i++) {
        float x[MOST] = {0}, w[MOST] = {0}, s[MOST];
        maxima(&g, groups[i].from, "x", x);
        maxima(&g, groups[i].from, "weight", w);
        if (strcmp(groups[i].name, groups[i].from) != 0) x[9] = 0; /* a channel that never comes */
        for (size_t k = 0; k < BL_COUNT(alphas); k++) {
            char key[64];
            snprintf(key, sizeof key, "%s.torchao.alpha%s", groups[i].name,
                     k == 0   ? "0.0"
                     : k == 1 ? "0.5"
                     : k == 2 ? "0.85"
                              : "1.0");
            const float *want = golden_need(&g, key, "F32", groups[i].n);
            bl_smooth_scales(x, w, groups[i].n, alphas[k], s);
            for (int j = 0; j < groups[i].n; j++) {
                if (x[j] == 0 && k) continue; /* torchao adds 1.2e-7 to the maxima, here they are at least 1e-5 */
                if (fabsf(s[j] / want[j] - 1) > 2e-6f) fail_msg("%s: %d is %.8g, wanted %.8g", key, j, s[j], want[j]);
            }
        }
    }
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(scales_are_torchaos)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
