/* BiLLM against its authors' code: groups of all weights, thresholds, means and scales, values. */
#include "golden_file.h"
#include "method_run.h"
#include "methods/billm.h"
#include "methods/shared_moments.h"
#include <math.h>

static bl_err e;

static const struct {
    const char *name, *layer;
    int group;
    bool magnitude;
} cases[] = {
    {"down.b128_hessian", "down", 128, false},     {"down.b64_hessian", "down", 64, false},
    {"down.b128_magnitude", "down", 128, true},    {"smol_k.b128_hessian", "smol_k", 128, false},
    {"smol_k.b64_hessian", "smol_k", 64, false},   {"outlier.b128_hessian", "outlier", 128, false},
    {"outlier.b64_hessian", "outlier", 64, false}, {"outlier.b128_magnitude", "outlier", 128, true},
};

static bl_tensor upload(bl_backend *be, bl_dtype type, const void *v, int64_t rows, int64_t cols)
{
    bl_buffer *b;
    assert_ok(be->ops->buffer_new(be, (uint64_t)(rows * cols) * bl_dtype_bytes(type), &b, &e));
    bl_tensor t = bl_tensor_2d(b, 0, type, rows, cols);
    if (v) assert_ok(be->ops->upload(be, &t, v, &e));
    return t;
}

static const void *need(const golden *g, const char *layer, const char *what, const char *type, int64_t n)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s", layer, what);
    return golden_need(g, key, type, n);
}

/* Every block as the authors' code saw it: what it had been handed by those before, with the factor's diagonal. */
static void blocks_agree(const golden *g, size_t c, int64_t out, int64_t in)
{
    const char *name = cases[c].name;
    int64_t width = cases[c].group, blocks = (in + width - 1) / width, apart = 0, off = 0;
    const float *input = need(g, name, "block_input", "F32", out * in),
                *diag = need(g, cases[c].layer, "u_diag", "F32", in),
                *split = need(g, name, "threshold", "F32", blocks), *want = need(g, name, "dequant", "F32", out * in),
                *params = need(g, name, "params", "F32", blocks * 8 * out);
    const uint8_t *group = need(g, name, "group", "U8", out * in);
    float *v = malloc((size_t)(out * width) * sizeof *v), *u = malloc((size_t)(width * width) * sizeof *u),
          *scale = malloc((size_t)out * 4 * sizeof *scale), *mean = malloc((size_t)out * 4 * sizeof *mean), threshold;
    uint8_t *salient = malloc((size_t)width);
    for (int64_t b = 0; b < blocks; b++) {
        int64_t first = b * width, n = BL_MIN(width, in - first);
        bl_billm how = {.group = n, .magnitude = cases[c].magnitude, .scale = BL_F32, .threshold = &threshold};
        for (int64_t i = 0; i < out * n; i++) v[i] = input[i / n * in + first + i % n];
        for (int64_t i = 0; i < n * n; i++) u[i] = i % (n + 1) ? 0 : diag[first + i % n];
        assert_ok(bl_billm_round(v, u, out, n, &how, salient, scale, mean, &e));
        if (fabsf(threshold - split[b]) > 1e-5f * split[b])
            fail_msg("%s: block %lld is split at %g, wanted %g", name, (long long)b, (double)threshold,
                     (double)split[b]);
        for (int64_t i = 0; i < out * n; i++) {
            int64_t at = i / n * in + first + i % n;
            if (salient[i % n] != (group[at] == 2))
                fail_msg("%s: column %lld is %ssalient", name, (long long)(first + i % n),
                         salient[i % n] ? "" : "not ");
            off += fabsf(v[i] - want[at]) > 1e-5f;
        }
        for (int64_t i = 0; i < 8 * out; i++) {
            float got = (i / out & 1 ? scale : mean)[i % out * 4 + i / out / 2], as = params[b * 8 * out + i];
            apart += fabsf(got - as) > 1e-4f * fabsf(as) + 1e-6f;
        }
    }
    if (apart) fail_msg("%s: %lld means and scales differ", name, (long long)apart);
    if (off * 1000 > out * in) fail_msg("%s: %lld values differ", name, (long long)off);
    free(v);
    free(u);
    free(scale);
    free(mean);
    free(salient);
}

/* The whole of a layer. Its factor is in double here, so that in smol_k, whose second moments are of low rank, a sign
 * turns and later blocks drift. */
static void whole_agrees(const golden *g, size_t c, const float *w, const float *upper, int64_t out, int64_t in)
{
    method_run m;
    int64_t blocks = (in + cases[c].group - 1) / cases[c].group, apart = 0;
    double *h = malloc((size_t)(in * in) * sizeof *h), mean = 0, damped;
    float *v = malloc((size_t)(out * in) * sizeof *v), *scale = malloc((size_t)(out * blocks * 4) * sizeof *scale),
          *means = malloc((size_t)(out * blocks * 4) * sizeof *means), most = 0;
    uint8_t *salient = malloc((size_t)in);
    const float *want = need(g, cases[c].name, "dequant", "F32", out * in);
    for (int64_t i = 0; i < in; i++)
        for (int64_t j = i; j < in; j++) h[i * in + j] = h[j * in + i] = *upper++;
    for (int64_t j = 0; j < in; j++) mean += (h[j * (in + 1)] == 0 ? 1 : h[j * (in + 1)]) / (double)in;
    for (int64_t i = 0; i < out * in; i++) {
        v[i] = h[i % in * (in + 1)] == 0 ? 0 : w[i];
        most = fmaxf(most, fabsf(w[i]));
    }
    method_open(&m, "billm:pc", w, out, in);
    bl_tensor th = upload(m.be, BL_F64, h, in, in), u = upload(m.be, BL_F32, NULL, in, in);
    assert_ok(bl_moments_factor(&m.run, th, (bl_tensor){0}, mean, 0.01, u, &damped, &e));
    bl_billm how = {.group = cases[c].group, .magnitude = cases[c].magnitude, .scale = BL_F32};
    assert_ok(bl_billm_round(v, u.buf->data, out, in, &how, salient, scale, means, &e));
    for (int64_t i = 0; i < out * in; i++) apart += fabsf(v[i] - want[i]) > 1e-4f * most;
    if (apart * 1000 > out * in)
        fail_msg("%s: %lld of %lld values differ", cases[c].name, (long long)apart, (long long)(out * in));
    m.be->ops->buffer_free(th.buf);
    m.be->ops->buffer_free(u.buf);
    method_close(&m);
    free(h);
    free(v);
    free(scale);
    free(means);
    free(salient);
}

static void compare(const golden *g, const golden *layers, size_t c)
{
    int ndim;
    int64_t dim[8];
    char key[96];
    const golden *from = strcmp(cases[c].layer, "outlier") == 0 ? g : layers;
    snprintf(key, sizeof key, "%s.weight", cases[c].layer);
    const float *w = golden_get(from, key, "F32", &ndim, dim);
    assert_non_null(w);
    blocks_agree(g, c, dim[0], dim[1]);
    if (strcmp(cases[c].layer, "smol_k") != 0)
        whole_agrees(g, c, w, need(from, cases[c].layer, "hessian_upper", "F32", dim[1] * (dim[1] + 1) / 2), dim[0],
                     dim[1]);
}

static void groups_and_values_are_those_of_the_authors(void **state)
{
    golden g, layers;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    golden_open(&g, test_path("BITLADDER_GOLDEN", "ptq/billm.safetensors"));
    golden_open(&layers, test_path("BITLADDER_GOLDEN", "ptq/gptq.safetensors"));
    for (size_t c = 0; c < BL_COUNT(cases); c++) compare(&g, &layers, c);
    golden_close(&g);
    golden_close(&layers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(groups_and_values_are_those_of_the_authors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
