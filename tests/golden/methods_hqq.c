/* HQQ's solver against the library's: scales, zero points, steps and codes of its default solver and of v2. */
#include "golden_file.h"
#include "kernels/ops.h"
#include <math.h>

static bl_err e;

static const struct {
    const char *name, *solver;
    int bits, group;
    bool down;
    int steps;
    bool last, round_zero;
    double kappa;
} cases[] = {
    {"w4g64axis1", "legacy", 4, 64, false, 20, true, false, 1},
    {"w3g64axis1", "legacy", 3, 64, false, 20, true, false, 1},
    {"w8g64axis1", "legacy", 8, 64, false, 20, true, false, 1},
    {"w2g32axis1", "legacy", 2, 32, false, 20, true, false, 1},
    {"w4g64axis0", "legacy", 4, 64, true, 20, true, false, 1},
    {"w2g16axis0", "legacy", 2, 16, true, 20, true, false, 1},
    {"w4g64axis1", "legacy_roundzero", 4, 64, false, 20, true, true, 1},
    {"w4g64axis1", "v2", 4, 64, false, 20, false, false, 1.01},
    {"w2g64axis1", "v2", 2, 64, false, 20, false, false, 1.01},
    {"w4g64axis1", "none", 4, 64, false, 0, false, false, 1},
};

static bl_tensor upload(bl_backend *be, const float *v, int64_t rows, int64_t cols)
{
    bl_buffer *b;
    assert_ok(be->ops->buffer_new(be, (uint64_t)(rows * cols) * 4, &b, &e));
    bl_tensor t = bl_tensor_2d(b, 0, BL_F32, rows, cols);
    if (v) assert_ok(be->ops->upload(be, &t, v, &e));
    return t;
}

/* Mean |w - (q - zero) scale| of a weight. */
static double mean_error(const float *w, int64_t n, int64_t groups, bool down, int qmax, int64_t group,
                         const float *scale, const float *zero)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t k = down ? i % groups : i / group;
        float q = fminf(fmaxf(rintf(w[i] / scale[k] + zero[k]), 0), (float)qmax);
        sum += fabs(w[i] - ((double)q - zero[k]) * scale[k]);
    }
    return sum / (double)n;
}

static void compare(const golden *g, const char *weight, size_t c, bl_backend *be)
{
    char key[96];
    int64_t dim[8], differ = 0, off = 0;
    int ndim, taken;
    snprintf(key, sizeof key, "%s.weight", weight);
    const float *w = golden_get(g, key, "F32", &ndim, dim);
    assert_non_null(w);
    int64_t out = dim[0], in = dim[1], n = out * in, group = cases[c].group, groups = n / group;
    snprintf(key, sizeof key, "%s.%s.%s.scale", weight, cases[c].name, cases[c].solver);
    const float *scale = golden_get(g, key, "F32", NULL, NULL);
    if (!scale) return;
    snprintf(key, sizeof key, "%s.%s.%s.zero", weight, cases[c].name, cases[c].solver);
    const float *zero = golden_need(g, key, "F32", groups);
    snprintf(key, sizeof key, "%s.%s.%s.codes", weight, cases[c].name, cases[c].solver);
    const uint8_t *codes = golden_need(g, key, "U8", n);
    snprintf(key, sizeof key, "%s.%s.%s.steps", weight, cases[c].name, cases[c].solver);
    int steps = *(const int32_t *)golden_need(g, key, "I32", 1);
    int64_t m = cases[c].down ? 1 : out;
    bl_tensor tw = upload(be, w, out, in), ts = upload(be, NULL, m, groups / m), tz = upload(be, NULL, m, groups / m);
    assert_ok(be->ops->hqq(be,
                           &(bl_hqq_args){.w = tw,
                                          .bits = cases[c].bits,
                                          .group = group,
                                          .down = cases[c].down,
                                          .steps = cases[c].steps,
                                          .p = 0.7,
                                          .beta = 10,
                                          .kappa = cases[c].kappa,
                                          .round_zero = cases[c].round_zero,
                                          .last = cases[c].last,
                                          .scale = ts,
                                          .zero = tz,
                                          .taken = &taken},
                           &e));
    const float *s = ts.buf->data, *z = tz.buf->data;
    int qmax = (1 << cases[c].bits) - 1;
    double got = mean_error(w, n, groups, cases[c].down, qmax, group, s, z),
           want = mean_error(w, n, groups, cases[c].down, qmax, group, scale, zero);
    /* one step more or less where the error hardly moved */
    if (taken != steps && strcmp(weight, "edge") != 0 && (abs(taken - steps) > 1 || got > want * 1.00001))
        fail_msg("%s: %d steps, wanted %d; error %g, wanted %g", key, taken, steps, got, want);
    for (int64_t k = 0; k < groups; k++) {
        if (fabsf(s[k] / scale[k] - 1) > 1e-6f)
            fail_msg("%s: scale %lld is %g, wanted %g", key, (long long)k, s[k], scale[k]);
        if (taken != steps || fabsf(z[k] - zero[k]) <= 1e-3f + 1e-6f * fabsf(zero[k])) continue;
        if (fabsf(z[k] - zero[k]) > 4.0f / (float)group) /* more than a few weights halfway between codes */
            fail_msg("%s: zero %lld is %.8g, wanted %.8g", key, (long long)k, z[k], zero[k]);
        off++;
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t k = cases[c].down ? i % groups : i / group;
        differ += (int)fminf(fmaxf(rintf(w[i] / s[k] + z[k]), 0), (float)qmax) != codes[i];
    }
    if (off * 50 > groups) fail_msg("%s: %lld of %lld zeros differ", key, (long long)off, (long long)groups);
    if (differ * 200 > n) fail_msg("%s: %lld of %lld codes differ", key, (long long)differ, (long long)n);
    be->ops->buffer_free(tw.buf);
    be->ops->buffer_free(ts.buf);
    be->ops->buffer_free(tz.buf);
}

static void zero_points_are_those_of_the_library(void **state)
{
    bl_backend *be;
    golden g;
    (void)state;
    assert_ok(bl_backend_open(&(bl_backend_opts){.threads = 2}, &be, &e));
    golden_open(&g, golden_path("ptq/hqq.safetensors"));
    for (size_t c = 0; c < BL_COUNT(cases); c++) {
        compare(&g, "edge", c, be);
        if (!getenv("BITLADDER_GOLDEN")) continue;
        compare(&g, "tiny", c, be);
        compare(&g, "smol", c, be);
    }
    golden_close(&g);
    bl_backend_close(be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(zero_points_are_those_of_the_library)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
