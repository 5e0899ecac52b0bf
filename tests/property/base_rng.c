/* base_rng.c - moments and evenness of the random numbers, within five standard errors. */
#include "test.h"
#include "kernels/base/rng.h"
#include <math.h>

enum { N = 200000 };

static void uniform_numbers_are_uniform(void **state)
{
    (void)state;
    bl_rng r = bl_rng_at(11, bl_rng_key("uniform", 0), 0);
    double sum = 0, squares = 0, bins[64] = {0};
    for (int i = 0; i < N; i++) {
        double u = bl_rng_uniform(&r);
        sum += u;
        squares += u * u;
        bins[(int)(u * 64)]++;
    }
    assert_true(fabs(sum / N - 0.5) < 5 * sqrt(1.0 / 12 / N));
    assert_true(fabs(squares / N - 1.0 / 3) < 5 * sqrt(4.0 / 45 / N));
    double chi = 0;
    for (int b = 0; b < 64; b++) chi += (bins[b] - N / 64.0) * (bins[b] - N / 64.0) / (N / 64.0);
    assert_true(fabs(chi - 63) < 5 * sqrt(2 * 63));
}

static void normal_numbers_have_the_moments_of_the_normal(void **state)
{
    (void)state;
    bl_rng r = bl_rng_at(12, bl_rng_key("normal", 0), 0);
    double m[5] = {0};
    for (int i = 0; i < N; i++) {
        double x = bl_rng_normal(&r), p = 1;
        assert_true(isfinite(x));
        for (int k = 1; k <= 4; k++) m[k] += (p *= x) / N;
    }
    assert_true(fabs(m[1]) < 5 * sqrt(1.0 / N));
    assert_true(fabs(m[2] - 1) < 5 * sqrt(2.0 / N));
    assert_true(fabs(m[3]) < 5 * sqrt(15.0 / N));
    assert_true(fabs(m[4] - 3) < 5 * sqrt(96.0 / N));
}

static void below_is_even_for_odd_counts(void **state)
{
    (void)state;
    static const uint64_t counts[] = {3, 7, 10, 1000};
    for (size_t c = 0; c < BL_COUNT(counts); c++) {
        bl_rng r = bl_rng_at(13, counts[c], 0);
        uint64_t n = counts[c];
        double bins[1000] = {0}, chi = 0;
        for (int i = 0; i < N; i++) bins[bl_rng_below(&r, n)]++;
        for (uint64_t b = 0; b < n; b++)
            chi += (bins[b] - (double)N / (double)n) * (bins[b] - (double)N / (double)n) / ((double)N / (double)n);
        assert_true(fabs(chi - (double)(n - 1)) < 5 * sqrt(2 * (double)(n - 1)) + 5);
    }
    /* Three quarters of 2^64: without drawing again, four draws fall on three numbers and every third is twice as
     * likely. */
    bl_rng r = bl_rng_at(14, 0, 0);
    double thirds = 0;
    for (int i = 0; i < N; i++) thirds += bl_rng_below(&r, UINT64_C(3) << 62) % 3 == 0;
    assert_true(fabs(thirds / N - 1.0 / 3) < 5 * sqrt(2.0 / 9 / N));
}

static void neighbouring_streams_do_not_agree(void **state)
{
    (void)state;
    double dot = 0;
    for (uint64_t s = 0; s < N / 10; s++) {
        bl_rng a = bl_rng_at(1, s, 0), b = bl_rng_at(1, s + 1, 0), c = bl_rng_at(2, s, 0);
        double x = bl_rng_uniform(&a) - 0.5, y = bl_rng_uniform(&b) - 0.5, z = bl_rng_uniform(&c) - 0.5;
        dot += x * y + x * z;
    }
    assert_true(fabs(dot) < 5 * sqrt(2.0 * N / 10) / 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uniform_numbers_are_uniform),
        cmocka_unit_test(normal_numbers_have_the_moments_of_the_normal),
        cmocka_unit_test(below_is_even_for_odd_counts),
        cmocka_unit_test(neighbouring_streams_do_not_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
