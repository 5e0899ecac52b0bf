/* What mathematics says about HQQ's zero points, and that groups down a column are groups of a row of the turned
 * weight. */
#include "method_run.h"
#include "kernels/base/rng.h"
#include <math.h>

enum { OUT = 48, IN = 96 };

/* One large weight in some groups. */
static float *weights(uint64_t seed)
{
    float *w = malloc(OUT * IN * sizeof *w);
    bl_rng r = bl_rng_at(seed, bl_rng_key("methods_hqq", 0), 0);
    for (int i = 0; i < OUT * IN; i++) w[i] = (float)(bl_rng_normal(&r) * (bl_rng_below(&r, 60) ? 0.5 : 6));
    return w;
}

static double lp(const float *a, const float *b, double p)
{
    double sum = 0;
    for (int i = 0; i < OUT * IN; i++) sum += pow(fabs((double)a[i] - b[i]), p);
    return sum / (OUT * IN);
}

static void the_error_that_is_split_falls(void **state)
{
    static const char *const widths[] = {"w1g32", "w2g16", "w3g64", "w4g64", "w8g32", "w3pc"};
    float *w = weights(1);
    (void)state;
    for (size_t i = 0; i < BL_COUNT(widths); i++)
        for (int axis = 0; axis < 2; axis++) {
            char text[64], range[64];
            method_run a, b;
            snprintf(text, sizeof text, "hqq:%s+axis=%d", widths[i], axis);
            snprintf(range, sizeof range, "hqq:%s+axis=%d+iters=0", widths[i], axis);
            method_open(&a, text, w, OUT, IN);
            method_apply(&a);
            method_open(&b, range, w, OUT, IN);
            method_apply(&b);
            double got = lp(method_dense(&a), w, 1), was = lp(method_dense(&b), w, 1);
            if (!(got <= was * 1.001)) fail_msg("%s: mean error %g, of the range alone %g", text, got, was);
            if (i == 1 || i == 2) assert_true(got < 0.99 * was);
            method_close(&a);
            method_close(&b);
        }
    free(w);
}

/* A constant added to a weight moves the zero points and nothing else. */
static void a_shifted_weight_has_the_same_codes(void **state)
{
    float *w = weights(2), *v = malloc(OUT * IN * sizeof *v);
    const void *pa[BL_MAX_PARTS], *pb[BL_MAX_PARTS];
    method_run a, b;
    int64_t differ = 0;
    (void)state;
    for (int i = 0; i < OUT * IN; i++) v[i] = w[i] + 0.25f;
    method_open(&a, "hqq:w3g32+scale=fp32", w, OUT, IN);
    method_apply(&a);
    method_open(&b, "hqq:w3g32+scale=fp32", v, OUT, IN);
    method_apply(&b);
    method_parts(&a, pa);
    method_parts(&b, pb);
    for (int64_t r = 0; r < OUT; r++) {
        uint8_t ca[IN], cb[IN];
        float s[3], za[3], zb[3];
        bl_int_decode(a.lin.weight.format, &a.lin.weight.shape, pa, r, ca, s, za);
        bl_int_decode(b.lin.weight.format, &b.lin.weight.shape, pb, r, cb, NULL, zb);
        for (int k = 0; k < IN; k++) differ += ca[k] != cb[k];
        for (int k = 0; k < 3; k++) assert_true(fabsf(zb[k] - (za[k] - 0.25f / s[k])) < 2e-3f);
    }
    assert_true(differ * 500 <= OUT * IN);
    method_close(&a);
    method_close(&b);
    free(w);
    free(v);
}

/* Groups of axis 0: the weight rearranged so that they lie in rows. */
static void groups_down_a_column_are_rows_of_the_rearranged_weight(void **state)
{
    enum { GROUP = 16, GROUPS = OUT * IN / GROUP };
    float *w = weights(3), *v = malloc(OUT * IN * sizeof *v);
    method_run a, b;
    (void)state;
    for (int j = 0; j < GROUPS; j++)
        for (int i = 0; i < GROUP; i++) v[j * GROUP + i] = w[j + i * GROUPS];
    method_open(&a, "hqq:w3g16+axis=0", w, OUT, IN);
    method_apply(&a);
    method_open(&b, "hqq:w3g16", v, GROUPS, GROUP);
    method_apply(&b);
    const float *x = method_dense(&a), *y = method_dense(&b);
    for (int j = 0; j < GROUPS; j++)
        for (int i = 0; i < GROUP; i++) assert_true(x[j + i * GROUPS] == y[j * GROUP + i]);
    assert_true(bl_weight_bytes(&a.lin.weight) == bl_weight_bytes(&b.lin.weight));
    method_close(&a);
    method_close(&b);
    free(w);
    free(v);
}

static void bits_are_counted_by_hand(void **state)
{
    static const struct {
        const char *text;
        double bits;
    } rows[] = {{"hqq:w4g32", 4 + 32.0 / 32},
                {"hqq:w2g16", 2 + 32.0 / 16},
                {"hqq:w1g32", 1 + 32.0 / 32},
                {"hqq:w3pc", 3 + 32.0 / IN},
                {"hqq:w8g32+scale=fp32", 8 + 64.0 / 32},
                {"hqq:w4g32+axis=0", 5},
                {"hqq:w3pc+axis=0", 3 + 32.0 / OUT}};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        method_run m;
        const bl_format *f;
        bl_shape g;
        method_open(&m, rows[i].text, NULL, OUT, IN);
        assert_true(m.run.method->predict(&m.run, &m.lin, &f, &g));
        if (bl_format_bits(f, &g) != rows[i].bits)
            fail_msg("%s: %g bits, wanted %g", rows[i].text, bl_format_bits(f, &g), rows[i].bits);
        method_close(&m);
    }
}

/* A group of one value far from zero would have a zero point that 16 bits do not hold. */
static void groups_of_one_value_are_kept(void **state)
{
    static const float values[] = {0, 1e-3f, 0.3f, -2, 3e4f, 1e5f};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(values); i++)
        for (int axis = 0; axis < 2; axis++) {
            float w[8 * 16];
            method_run m;
            for (int k = 0; k < 8 * 16; k++) w[k] = values[i];
            method_open(&m, axis ? "hqq:w4g16" : "hqq:w4g16+axis=0", w, 8, 16);
            method_apply(&m);
            const float *y = method_dense(&m);
            for (int k = 0; k < 8 * 16; k++)
                if (fabsf(y[k] - w[k]) > 1e-3f * fabsf(w[k])) fail_msg("%g became %g", w[k], y[k]);
            method_close(&m);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_error_that_is_split_falls),
        cmocka_unit_test(a_shifted_weight_has_the_same_codes),
        cmocka_unit_test(groups_down_a_column_are_rows_of_the_rearranged_weight),
        cmocka_unit_test(bits_are_counted_by_hand),
        cmocka_unit_test(groups_of_one_value_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
