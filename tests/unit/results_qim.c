/* results_qim.c - the Quantized Influence Measure against numbers of the formula in the authors' code, in double. */
#include "test.h"
#include "results/qim.h"
#include <math.h>

static const double x[8] = {0.1, -0.4, 0.3, 0.8, -0.2, 0.05, 0.6, -0.7},
                    y[8] = {0.2, -0.1, 0.4, 0.5, -0.6, 0.3, 0.7, -0.3};
static const struct {
    int k;
    double xy, yx, xx, first_version, i_norm;
} rows[] = {{2, 1.161895003862225, 1.125, 2.0, 4.6475800154489, 2.4},
            {3, 0.7806247497997998, 1.0606601717798214, 1.414213562373095, 2.0816659994661326, 1.0},
            {16, 4.860711069048868, 4.683748498798799, 4.687084502003072, 5.555098364627278, 1.0080645161290323}};

static void near(double got, double want)
{
    if (!(fabs(got - want) <= 1e-12 * fmax(1, fabs(want)))) fail_msg("%.17g, wanted %.17g", got, want);
}

static void numbers_are_those_of_the_formula(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        near(bl_qim_of(x, y, 8, rows[i].k).value, rows[i].xy);
        near(bl_qim_of(y, x, 8, rows[i].k).value, rows[i].yx);
        near(bl_qim_of(x, x, 8, rows[i].k).value, rows[i].xx);
        near(bl_qim_of(x, y, 8, rows[i].k).first_version, rows[i].first_version);
        near(bl_qim_of(x, y, 8, rows[i].k).i_norm, rows[i].i_norm);
    }
    assert_int_equal(bl_qim_of(x, y, 8, 2).cells, 2);
    assert_int_equal(bl_qim_of(x, y, 8, 16).cells, 7); /* 8 twice */
}

/* It sees neither the sign of y nor its scale and place, nor the order of the coordinates. */
static void what_changes_nothing_changes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        double other[8], a[8], b[8];
        for (int c = 0; c < 8; c++) other[c] = -y[c];
        near(bl_qim_of(x, other, 8, rows[i].k).value, rows[i].xy);
        for (int c = 0; c < 8; c++) other[c] = 2 * y[c] + 5;
        near(bl_qim_of(x, other, 8, rows[i].k).value, rows[i].xy);
        for (int c = 0; c < 8; c++) {
            a[c] = x[(3 * c + 1) % 8];
            b[c] = y[(3 * c + 1) % 8];
        }
        near(bl_qim_of(a, b, 8, rows[i].k).value, rows[i].xy);
    }
}

/* 0, 1, 2, 3, 4 in three levels: 0, 0.5, 1, 1.5, 2 become 0, 0, 1, 2, 2. With itself: sd sqrt(0.8), cells of 2, 1, 2.
 */
static void halves_go_to_the_even_level(void **state)
{
    const double v[] = {0, 1, 2, 3, 4};
    (void)state;
    near(bl_qim_of(v, v, 5, 3).value, (4 + 4) / (5 * sqrt(0.8)));
    assert_int_equal(bl_qim_of(v, v, 5, 3).cells, 3);
}

static void constant_vectors_are_undefined_and_no_nan(void **state)
{
    const double c[8] = {3, 3, 3, 3, 3, 3, 3, 3};
    (void)state;
    bl_qim q = bl_qim_of(c, y, 8, 16);
    assert_true(q.undefined && q.value == 0);
    q = bl_qim_of(x, c, 8, 16);
    assert_true(q.undefined && q.value == 0);
    assert_false(bl_qim_of(x, y, 8, 16).undefined);
    /* in two parts: the same */
    for (int k = 2; k <= 16; k += 7) {
        uint8_t a[8], b[8];
        assert_true(bl_qim_levels(x, 8, k, a) && bl_qim_levels(y, 8, k, b));
        assert_true(bl_qim_of_levels(a, b, 8, k).value == bl_qim_of(x, y, 8, k).value);
        assert_int_equal(bl_qim_of_levels(a, b, 8, k).cells, bl_qim_of(x, y, 8, k).cells);
        assert_false(bl_qim_levels((double[8]){0}, 8, k, b));
        assert_true(bl_qim_of_levels(a, b, 8, k).undefined && bl_qim_of_levels(b, a, 8, k).undefined);
    }
}

/* Of 0 .. 10 the 25th percentile is 2.5 and the 75th 7.5. One coordinate of 1000 leaves two levels of 16 to the others,
 * and all of them when it is clipped. */
static void what_is_far_out_can_be_clipped(void **state)
{
    double v[11], w[101];
    bl_err e = {0};
    (void)state;
    for (int i = 0; i < 11; i++) v[i] = (i * 7) % 11;
    assert_ok(bl_qim_clip(v, 11, 0, &e));
    for (int i = 0; i < 11; i++) assert_true(v[i] == (i * 7) % 11);
    assert_ok(bl_qim_clip(v, 11, 25, &e));
    for (int i = 0; i < 11; i++) near(v[i], fmin(fmax((i * 7) % 11, 2.5), 7.5));
    for (int i = 0; i < 101; i++) w[i] = i < 100 ? i : 100000;
    assert_int_equal(bl_qim_of(w, w, 101, 16).cells, 2);
    assert_ok(bl_qim_clip(w, 101, 1, &e));
    assert_int_equal(bl_qim_of(w, w, 101, 16).cells, 16);
}

static void the_cosine_is_the_cosine(void **state)
{
    const double a[] = {3, 4}, b[] = {4, 3}, none[] = {0, 0};
    (void)state;
    near(bl_cosine(a, b, 2), 24.0 / 25);
    near(bl_cosine(x, x, 8), 1);
    assert_true(bl_cosine(a, none, 2) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_those_of_the_formula), cmocka_unit_test(what_changes_nothing_changes_nothing),
        cmocka_unit_test(halves_go_to_the_even_level),      cmocka_unit_test(constant_vectors_are_undefined_and_no_nan),
        cmocka_unit_test(what_is_far_out_can_be_clipped),   cmocka_unit_test(the_cosine_is_the_cosine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
