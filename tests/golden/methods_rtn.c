/* rtn, through the method and what it stores, against the codes of public quantizers. */
#include "golden_file.h"
#include "method_run.h"
#include <math.h>

typedef struct setting {
    const char *golden, *text;
} setting;
static const char *const weights[] = {"edge", "tiny", "smol"};
static size_t n_weights(void)
{
    return getenv("BITLADDER_GOLDEN") ? BL_COUNT(weights) : 1;
} /* the first is always there */

/* GPTQ's quantizer: the range contains zero. */
static const setting zero_range[] = {
    {"w2g32", "rtn:w2g32+scale=fp32"},
    {"w3g64", "rtn:w3g64+scale=fp32"},
    {"w4g32", "rtn:w4g32+scale=fp32"},
    {"w4pc", "rtn:w4pc+scale=fp32"},
};
/* AutoAWQ: clipped zero points; symmetric is the restricted range. */
static const setting clip_range[] = {
    {"w2g32", "rtn:w2g32+range=clip+scale=fp32"},    {"w3g64", "rtn:w3g64+range=clip+scale=fp32"},
    {"w4g32", "rtn:w4g32+range=clip+scale=fp32"},    {"w4pc", "rtn:w4pc+range=clip+scale=fp32"},
    {"w3g32_sym", "rtn:w3g32+symmetric+scale=fp32"}, {"w4g64_sym", "rtn:w4g64+symmetric+scale=fp32"},
    {"w2g64_sym", "rtn:w2g64+symmetric+scale=fp32"}, {"w8pc_sym", "rtn:w8pc+symmetric+scale=fp32"},
};

static const float *weight_of(const golden *g, const char *name, int64_t dim[8])
{
    char key[64];
    int ndim;
    snprintf(key, sizeof key, "%s.weight", name);
    const float *w = golden_get(g, key, "F32", &ndim, dim);
    assert_non_null(w);
    return w;
}

static void codes_equal_gptqs_quantizer(void **state)
{
    (void)state;
    golden g;
    golden_open(&g, golden_path("ptq/rtn.safetensors"));
    for (size_t i = 0; i < n_weights(); i++)
        for (size_t s = 0; s < BL_COUNT(zero_range); s++) {
            int64_t dim[8], differ = 0;
            const float *w = weight_of(&g, weights[i], dim);
            char key[96];
            method_run m;
            const void *part[BL_MAX_PARTS];
            bl_err e = {0};
            method_open(&m, zero_range[s].text, w, dim[0], dim[1]);
            method_apply(&m);
            method_parts(&m, part);
            int64_t groups = bl_shape_groups(&m.lin.weight.shape);
            snprintf(key, sizeof key, "%s.%s.gptqmodel.codes", weights[i], zero_range[s].golden);
            const uint8_t *codes = golden_need(&g, key, "U8", dim[0] * dim[1]);
            snprintf(key, sizeof key, "%s.%s.gptqmodel.scale", weights[i], zero_range[s].golden);
            const float *scale = golden_need(&g, key, "F32", dim[0] * groups);
            snprintf(key, sizeof key, "%s.%s.gptqmodel.zero", weights[i], zero_range[s].golden);
            const float *zero = golden_need(&g, key, "F32", dim[0] * groups);
            uint8_t *q = bl_alloc(m.scratch, (size_t)dim[1], 1, &e);
            float *sc = bl_alloc(m.scratch, (size_t)groups, sizeof *sc, &e),
                  *ze = bl_alloc(m.scratch, (size_t)groups, sizeof *ze, &e);
            for (int64_t r = 0; r < dim[0]; r++) {
                bl_int_decode(m.lin.weight.format, &m.lin.weight.shape, part, r, q, sc, ze);
                for (int64_t k = 0; k < groups; k++) {
                    assert_true(fabsf(sc[k] - scale[r * groups + k]) <= 1e-6f * scale[r * groups + k]);
                    assert_true(ze[k] == zero[r * groups + k]);
                }
                for (int64_t k = 0; k < dim[1]; k++) {
                    int d = q[k] - codes[r * dim[1] + k];
                    assert_true(d >= -1 && d <= 1);
                    differ += d != 0;
                }
            }
            if (differ * 1000 > dim[0] * dim[1])
                fail_msg("%s %s: %lld codes differ", weights[i], zero_range[s].golden, (long long)differ);
            method_close(&m);
        }
    golden_close(&g);
}

static void values_equal_autoawqs(void **state)
{
    (void)state;
    golden g;
    golden_open(&g, golden_path("ptq/rtn.safetensors"));
    for (size_t i = 0; i < n_weights(); i++)
        for (size_t s = 0; s < BL_COUNT(clip_range); s++) {
            int64_t dim[8], differ = 0;
            const float *w = weight_of(&g, weights[i], dim);
            char key[96];
            method_run m;
            snprintf(key, sizeof key, "%s.%s.autoawq.dequant", weights[i], clip_range[s].golden);
            const float *want = golden_get(&g, key, "F32", NULL, NULL);
            if (!want) continue;
            method_open(&m, clip_range[s].text, w, dim[0], dim[1]);
            method_apply(&m);
            float *got = method_dense(&m);
            for (int64_t r = 0; r < dim[0]; r++) {
                float most = 0;
                for (int64_t k = 0; k < dim[1]; k++) most = fmaxf(most, fabsf(w[r * dim[1] + k]));
                if (strstr(clip_range[s].text, "symmetric") && most < 1e-4f)
                    continue; /* AutoAWQ keeps its scale above 1e-5 */
                for (int64_t k = 0; k < dim[1]; k++)
                    differ += fabsf(got[r * dim[1] + k] - want[r * dim[1] + k]) > 2e-6f * most;
            }
            if (differ * 1000 > dim[0] * dim[1])
                fail_msg("%s %s: %lld values differ", weights[i], clip_range[s].golden, (long long)differ);
            method_close(&m);
        }
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_equal_gptqs_quantizer),
        cmocka_unit_test(values_equal_autoawqs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
