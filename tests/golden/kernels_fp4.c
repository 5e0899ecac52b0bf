/* MXFP4 and NVFP4 against torchao: exponents, scales and codes, and the values they stand for. */
#include "golden_file.h"
#include "kernels/format.h"
#include <math.h>

static bl_err e;
static const char *const weights[] = {"edge", "gauss", "heavy", "real"};
static size_t n_weights(void) { return getenv("BITLADDER_GOLDEN") ? BL_COUNT(weights) : 1; }
static const float value[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, 0, -0.5f, -1, -1.5f, -2, -3, -4, -6};

/* x lies half way between two values, as near as f32 can say. */
static bool is_middle(double x)
{
    static const double middle[] = {0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5};
    for (size_t i = 0; i < BL_COUNT(middle); i++)
        if (fabs(fabs(x) - middle[i]) < 1e-6) return true;
    return false;
}

static void mxfp4_by(const golden *g, const char *weight, const char *rule, bl_exponent by)
{
    const bl_format *f = bl_format_find("mxfp4");
    char key[96];
    int ndim;
    int64_t dim[8];
    snprintf(key, sizeof key, "%s.weight", weight);
    const float *w = golden_get(g, key, "F32", &ndim, dim);
    bl_shape s = {.out = dim[0], .in = dim[1]};
    snprintf(key, sizeof key, "%s.mxfp4.torchao.%s.exponent", weight, rule);
    const uint8_t *exponent = golden_need(g, key, "U8", s.out * s.in / 32);
    snprintf(key, sizeof key, "%s.mxfp4.torchao.%s.codes", weight, rule);
    const uint8_t *codes = golden_need(g, key, "U8", s.out * s.in);
    uint8_t *blocks = malloc((size_t)bl_format_bytes(f, &s));
    assert_ok(f->pack_exponent(f, &s, w, by, (void *[]){blocks}, &e));
    for (int64_t b = 0; b < s.out * s.in / 32; b++) {
        const uint8_t *block = blocks + 17 * b;
        double most = 0;
        for (int j = 0; j < 32; j++) most = fmax(most, fabs((double)w[32 * b + j]));
        if (most == 0) continue; /* any exponent */
        if (block[0] != exponent[b])
            fail_msg("%s, %s, block %lld: exponent %d, wanted %d", weight, rule, (long long)b, block[0], exponent[b]);
        for (int j = 0; j < 32; j++) {
            int q = block[1 + j % 16] >> j / 16 * 4 & 15, want = codes[32 * b + j];
            if (value[q] != value[want] && !is_middle(ldexp(w[32 * b + j], 127 - block[0])))
                fail_msg("%s, %s, weight %lld: code %d, wanted %d", weight, rule, (long long)(32 * b + j), q, want);
        }
    }
    free(blocks);
}

static void powers_of_two_and_codes_equal_torchao(void **state)
{
    golden g;
    (void)state;
    golden_open(&g, golden_path("ptq/fp4.safetensors"));
    for (size_t i = 0; i < n_weights(); i++) {
        mxfp4_by(&g, weights[i], "floor", BL_EXPONENT_FLOOR);
        mxfp4_by(&g, weights[i], "rceil", BL_EXPONENT_CEIL);
        mxfp4_by(&g, weights[i], "even", BL_EXPONENT_EVEN);
    }
    golden_close(&g);
}

static double squared_error(const bl_format *f, const bl_shape *s, void *const part[], const float *w)
{
    double sum = 0;
    float *y = malloc((size_t)s->in * sizeof *y);
    for (int64_t r = 0; r < s->out; r++) {
        f->unpack(f, s, (const void *const *)part, r, 0, s->in, y);
        for (int64_t k = 0; k < s->in; k++) sum += pow((double)y[k] - w[r * s->in + k], 2);
    }
    free(y);
    return sum;
}

static void scales_and_codes_of_nvfp4_equal_torchao(void **state)
{
    const bl_format *f = bl_format_find("nvfp4_tensor");
    const float *e4m3 = bl_format_find("fp8_e4m3")->table;
    golden g;
    (void)state;
    golden_open(&g, golden_path("ptq/fp4.safetensors"));
    for (size_t i = 0; i < n_weights(); i++) {
        char key[96];
        int ndim;
        int64_t dim[8];
        snprintf(key, sizeof key, "%s.weight", weights[i]);
        const float *w = golden_get(&g, key, "F32", &ndim, dim);
        bl_shape s = {.out = dim[0], .in = dim[1], .group = 16, .scale = BL_F32};
        int64_t n = s.out * s.in;
        uint8_t *codes = malloc((size_t)n / 2), *scales = malloc((size_t)n / 16);
        float tensor, *y = malloc((size_t)s.in * sizeof *y);
        void *part[] = {codes, scales, &tensor};
        assert_ok(f->pack(f, &s, w, part, &e));
        snprintf(key, sizeof key, "%s.nvfp4.torchao.tensor_scale", weights[i]);
        const float *want_tensor = golden_need(&g, key, "F32", 1);
        assert_true(fabsf(tensor - *want_tensor) <= 1e-6f * tensor);
        snprintf(key, sizeof key, "%s.nvfp4.torchao.scale_e4m3", weights[i]);
        const uint8_t *want_scales = golden_need(&g, key, "U8", n / 16);
        snprintf(key, sizeof key, "%s.nvfp4.torchao.codes", weights[i]);
        const uint8_t *want_codes = golden_need(&g, key, "U8", n);
        for (int64_t k = 0; k < n; k++) {
            double top = 0;
            for (int64_t j = k / 16 * 16; j < k / 16 * 16 + 16; j++) top = fmax(top, fabs((double)w[j]));
            if (k % s.in == 0) f->unpack(f, &s, (const void *const *)part, k / s.in, 0, s.in, y);
            float scale = e4m3[want_scales[k / 16]] * tensor, want = value[want_codes[k]] * scale;
            if (top / 6 / tensor < 0x1p-6) { /* torchao has no smaller scale: both are near */
                assert_true(fabs((double)y[k % s.in] - w[k]) <= 0x1p-6 * tensor);
                continue;
            }
            if (scales[k / 16] != want_scales[k / 16])
                fail_msg("%s, group %lld: scale %d, wanted %d", weights[i], (long long)k / 16, scales[k / 16],
                         want_scales[k / 16]);
            if (y[k % s.in] != want && !is_middle((double)w[k] / scale))
                fail_msg("%s, weight %lld: %g, wanted %g", weights[i], (long long)k, (double)y[k % s.in], (double)want);
        }
        double rule = squared_error(f, &s, part, w);
        assert_ok(f->pack_least(f, &s, w, NULL, part, &e));
        assert_true(squared_error(f, &s, part, w) <= rule);
        assert_true(bl_format_bytes(f, &s) == (uint64_t)(n / 2 + n / 16 + 4)); /* 4.5 bits and the scale of all */
        free(codes);
        free(scales);
        free(y);
    }
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(powers_of_two_and_codes_equal_torchao),
        cmocka_unit_test(scales_and_codes_of_nvfp4_equal_torchao),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
