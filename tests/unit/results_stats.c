/* results_stats.c - tests and intervals against SciPy and statsmodels (tests/data/stats.json). */
#include "test.h"
#include "kernels/base/json.h"
#include "results/compare.h"
#include "results/stats.h"

#include <math.h>

static bl_err e;
static bl_json *doc;

static int begin(void **state)
{
    (void)state;
    return bl_json_read(BL_SOURCE_DIR "/tests/data/stats.json", 1 << 20, BL_JSON_PLAIN, &doc, &e) != BL_OK;
}
static int end(void **state)
{
    (void)state;
    bl_json_free(doc);
    return 0;
}

static const bl_json *list_of(const char *key)
{
    const bl_json *list = bl_json_get(doc, key);
    if (!list || !bl_json_size(list)) fail_msg("nothing is recorded for %s", key);
    return list;
}

/* Numbers of a list in v; how many. */
static int64_t numbers(const bl_json *list, double *v, size_t most)
{
    size_t n = 0;
    for (const bl_json *x = bl_json_first(list); x; x = bl_json_next(x)) {
        assert_true(n < most);
        assert_ok(bl_json_real(x, &v[n++], &e));
    }
    return (int64_t)n;
}

static double number(const bl_json *object, const char *key)
{
    double v = 0;
    assert_ok(bl_json_get_real(object, key, &v, &e));
    return v;
}

/* To 1e-9 of the larger, or of 1e-9 itself: tiny p too. */
static void same(double got, double want, const char *what)
{
    if (!(fabs(got - want) <= 1e-9 * fabs(want) + 1e-300)) fail_msg("%s: %.17g, wanted %.17g", what, got, want);
}

static void ranks_are_compared_as_scipy_does(void **state)
{
    double x[64], y[64], p;
    (void)state;
    for (const bl_json *o = bl_json_first(list_of("rank_sum")); o; o = bl_json_next(o)) {
        int64_t n = numbers(bl_json_get(o, "x"), x, 64), m = numbers(bl_json_get(o, "y"), y, 64);
        assert_ok(bl_rank_sum(x, n, y, m, &p, &e));
        same(p, number(o, "p"), "rank_sum");
    }
    assert_ok(bl_rank_sum(x, 0, y, 5, &p, &e));
    assert_true(p == 1);
}

static void mcnemar_is_that_of_statsmodels(void **state)
{
    (void)state;
    for (const bl_json *x = bl_json_first(list_of("mcnemar")); x; x = bl_json_next(x)) {
        double v[3];
        numbers(x, v, 3);
        same(bl_mcnemar((int64_t)v[0], (int64_t)v[1]), v[2], "mcnemar");
    }
}

static void student_is_that_of_scipy(void **state)
{
    (void)state;
    for (const bl_json *x = bl_json_first(list_of("student")); x; x = bl_json_next(x)) {
        double v[3];
        numbers(x, v, 3);
        same(bl_student_p(v[0], v[1]), v[2], "student");
    }
    for (const bl_json *x = bl_json_first(list_of("student_t")); x; x = bl_json_next(x)) {
        double v[3];
        numbers(x, v, 3);
        same(bl_student_t(v[0], v[1]), v[2], "student_t");
    }
}

static void holm_is_that_of_statsmodels(void **state)
{
    (void)state;
    for (const bl_json *x = bl_json_first(list_of("holm")); x; x = bl_json_next(x)) {
        double p[16], want[16];
        int64_t n = numbers(bl_json_first(x), p, 16);
        numbers(bl_json_next(bl_json_first(x)), want, 16);
        assert_ok(bl_holm(p, (size_t)n, p, &e));
        for (int64_t i = 0; i < n; i++) same(p[i], want[i], "holm");
    }
}

static void items_needed_are_those_of_a_power_calculation(void **state)
{
    (void)state;
    for (const bl_json *x = bl_json_first(list_of("needed")); x; x = bl_json_next(x)) {
        double v[3];
        numbers(x, v, 3);
        assert_true(fabs(bl_items_needed(v[0], v[1]) - v[2]) <= 1);
    }
    assert_true(bl_items_needed(0, 1) == 0);
    assert_true(bl_items_needed(1, 0.01) == 2);
}

/* ---- of samples --------------------------------------------------------------------------------- */
enum { MOST = 256 };
typedef struct made {
    bl_sample sample[MOST];
    double value[MOST][2];
    bl_cell cell;
} made;

static const bl_cell *cell_of(made *m, const double *v, const double *over, int64_t n)
{
    memset(m, 0, sizeof *m);
    for (int64_t i = 0; i < n; i++) {
        m->value[i][0] = v[i];
        m->value[i][1] = over ? over[i] : 1;
        m->sample[i] = (bl_sample){
            .id = i, .score = m->value[i], .n_scores = 1, .value = m->value[i], .n_values = over ? 2 : 1};
    }
    m->cell = (bl_cell){.task = "t", .task_version = 1, .sample = m->sample, .n_samples = n};
    return &m->cell;
}

static void a_paired_t_is_that_of_scipy(void **state)
{
    (void)state;
    static made a, b;
    for (const bl_json *x = bl_json_first(list_of("paired")); x; x = bl_json_next(x)) {
        double v[MOST], w[MOST];
        bl_paired d;
        int64_t n = numbers(bl_json_get(x, "a"), v, MOST);
        numbers(bl_json_get(x, "b"), w, MOST);
        const bl_metric m = {.name = "nll", .direction = -1, .agg = BL_AGG_RATIO, .a = 0, .b = -1, .items = "windows"};
        assert_ok(bl_compare_metric(&m, NULL, cell_of(&a, v, NULL, n), cell_of(&b, w, NULL, n), &d, &e));
        assert_int_equal(d.test, BL_TEST_T);
        assert_int_equal(d.n, n);
        assert_true(fabs(d.delta - number(x, "mean")) < 1e-12);
        same(d.se, number(x, "se"), "se");
        assert_true(fabs(d.p - number(x, "p")) < 1e-9);
        assert_true(fabs(d.low - number(x, "low")) < 1e-8 && fabs(d.high - number(x, "high")) < 1e-8);
    }
}

/* 9,999 draws: a percentile of the mean is known to a few hundredths of the standard error. */
static void a_bootstrap_is_that_of_scipy_within_its_error(void **state)
{
    (void)state;
    static made a, b;
    int asked = 0;
    for (const bl_json *x = bl_json_first(list_of("paired")); x; x = bl_json_next(x)) {
        double v[MOST], w[MOST];
        bl_paired d;
        if (!bl_json_get(x, "boot_low")) continue;
        int64_t n = numbers(bl_json_get(x, "a"), v, MOST);
        numbers(bl_json_get(x, "b"), w, MOST);
        const bl_metric m = {.name = "f1", .direction = 1, .agg = BL_AGG_MEAN};
        assert_ok(bl_compare_metric(&m, NULL, cell_of(&a, v, NULL, n), cell_of(&b, w, NULL, n), &d, &e));
        assert_int_equal(d.test, BL_TEST_BOOTSTRAP);
        assert_true(fabs(d.low - number(x, "boot_low")) < 0.1 * d.se);
        assert_true(fabs(d.high - number(x, "boot_high")) < 0.1 * d.se);
        assert_true(fabs(d.p - number(x, "p")) < 0.02);
        asked++;
    }
    assert_true(asked > 0);
}

/* The delta method and resampling of windows say the same of a quotient of perplexities. */
static void a_quotient_of_perplexities_has_the_error_that_resampling_finds(void **state)
{
    (void)state;
    static made a, b;
    for (const bl_json *x = bl_json_first(list_of("windows")); x; x = bl_json_next(x)) {
        double v[MOST], w[MOST], tokens[MOST];
        bl_paired d;
        int64_t n = numbers(bl_json_get(x, "a"), v, MOST);
        numbers(bl_json_get(x, "b"), w, MOST);
        numbers(bl_json_get(x, "tokens"), tokens, MOST);
        const bl_metric m = {.name = "ppl", .direction = -1, .agg = BL_AGG_EXP_RATIO, .a = 0, .b = 1};
        assert_ok(bl_compare_metric(&m, NULL, cell_of(&a, v, tokens, n), cell_of(&b, w, tokens, n), &d, &e));
        assert_true(d.log);
        assert_true(fabs(d.delta - number(x, "delta")) < 1e-12);
        assert_true(fabs(d.se / number(x, "boot_se") - 1) < 0.05);
        same(log(d.b / d.a), d.delta, "quotient");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_are_compared_as_scipy_does),
        cmocka_unit_test(mcnemar_is_that_of_statsmodels),
        cmocka_unit_test(student_is_that_of_scipy),
        cmocka_unit_test(holm_is_that_of_statsmodels),
        cmocka_unit_test(items_needed_are_those_of_a_power_calculation),
        cmocka_unit_test(a_paired_t_is_that_of_scipy),
        cmocka_unit_test(a_bootstrap_is_that_of_scipy_within_its_error),
        cmocka_unit_test(a_quotient_of_perplexities_has_the_error_that_resampling_finds),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
