/* results_probes.c - scores of probed chains, on curves small enough to work out by hand. */
#include "test.h"
#include "results/compare.h"
#include "results/probes.h"
#include "results/metric.h"
#include <math.h>

#define NONE BL_PROBE_NONE

static void an_answer_settles_where_it_stays(void **state)
{
    static const struct {
        double same[5];
        int n;
        double settled, area_over;
    } rows[] = {
        {{1, 1, 1, 1, 1}, 4, 0, 0},            /* the chain is ignored */
        {{0, 0, 0, 0, 1}, 4, 1, 0.875},        /* only the whole chain gives it */
        {{0, 0, 1, 1, 1}, 4, 0.5, 0.375},      /* from step m on: m / n */
        {{1, 1, 1, 0, 1}, 4, 1, 0.25},         /* right early, wrong again at the last but one */
        {{0, 1}, 1, 1, 0.5},                   /* one step */
        {{NONE, 0, NONE, 1, 1}, 4, 0.75, 0.5}, /* 0 before and between: 0, 0, 0.5, 1, 1 */
    };
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        assert_true(fabs(bl_probe_settled(rows[i].same, rows[i].n) - rows[i].settled) < 1e-15);
        if (fabs(bl_probe_area_over(rows[i].same, rows[i].n) - rows[i].area_over) > 1e-15)
            fail_msg("row %zu: %.17g", i, bl_probe_area_over(rows[i].same, rows[i].n));
    }
}

/* Shares 0.5, 0.75, 1 over two steps: area 0.75; 0.25, 1 over one: 0.625. Half the chains of each kind: 0.3125. */
static void the_area_over_a_curve_is_the_mean_of_the_questions(void **state)
{
    static const double two[4][3] = {{1, 1, 1}, {1, 1, 1}, {0, 1, 1}, {0, 0, 1}};
    static const double one[4][2] = {{1, 1}, {0, 1}, {0, 1}, {0, 1}};
    double a = 0, b = 0;
    (void)state;
    for (int i = 0; i < 4; i++) a += bl_probe_area_over(two[i], 2) / 4;
    for (int i = 0; i < 4; i++) b += bl_probe_area_over(one[i], 1) / 4;
    assert_true(fabs(a - 0.25) < 1e-15 && fabs(b - 0.375) < 1e-15 && fabs((a + b) / 2 - 0.3125) < 1e-15);
}

static void values_are_read_as_they_are_laid_out(void **state)
{
    static const double v[] = {1, 0, 1, 0, 1, 1, 1, NONE, 1};
    bl_probes p;
    (void)state;
    assert_int_equal(bl_probe_values(1), 9);
    assert_true(bl_probes_of(&(bl_sample){.value = v, .n_values = 9}, &p));
    assert_int_equal(p.n, 1);
    assert_true(p.same[BL_PROBE_EARLY][0] == 0 && p.same[BL_PROBE_PARAPHRASE][0] == 1);
    assert_true(p.same[BL_PROBE_MISTAKE][0] == NONE && p.same[BL_PROBE_MISTAKE][1] == 1);
    assert_false(bl_probes_of(&(bl_sample){.value = v, .n_values = 8}, &p));
    assert_false(bl_probes_of(&(bl_sample){.value = (double[]){2.5e9}, .n_values = 1}, &p));
    assert_false(bl_probes_of(&(bl_sample){0}, &p));
}

/* Of four questions a model has three, another has three, both have two. */
#define SCORES(x, has) .score = (const double[]){x, has}, .n_scores = 2
static bl_sample one[] = {
    {.id = 0, SCORES(0.5, 1)}, {.id = 1, SCORES(9, 0)}, {.id = 2, SCORES(1, 1)}, {.id = 3, SCORES(0, 1)}};
static bl_sample other[] = {
    {.id = 0, SCORES(0.25, 1)}, {.id = 1, SCORES(1, 1)}, {.id = 2, SCORES(0.5, 1)}, {.id = 3, SCORES(7, 0)}};
static const bl_metric metric = {.name = "m", .direction = 1, .agg = BL_AGG_MEAN, .a = 0, .given = 2};

static void a_metric_is_of_the_items_that_have_it(void **state)
{
    bl_err e = {0};
    bl_value v;
    bl_arena *a;
    bl_metric_list list = {0};
    (void)state;
    assert_ok(bl_metric_of(&metric, one, 4, &v, &e));
    assert_true(v.value == 0.5 && v.n == 3 && fabs(v.stderr_ - 0.5 / sqrt(3)) < 1e-15);
    assert_refused(bl_metric_of(&metric, one + 1, 1, &v, &e), BL_E_MISSING, "for none of the 1 items");
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_metrics_over_all(&metric, 1, one + 1, 1, a, &list, &e)); /* left out, no zero */
    assert_int_equal(list.n, 0);
    assert_ok(bl_metrics_over_all(&metric, 1, one, 4, a, &list, &e));
    assert_int_equal(list.v[0].n, 3);
    bl_arena_free(a);
}

static void rows_are_compared_on_the_items_that_both_have(void **state)
{
    bl_err e = {0};
    bl_paired d;
    bl_cell x = {.task = "t", .sample = one, .n_samples = 4}, y = {.task = "t", .sample = other, .n_samples = 4};
    (void)state;
    assert_ok(bl_compare_metric(&metric, NULL, &x, &y, &d, &e));
    assert_true(d.n == 2 && d.a == 0.75 && d.b == 0.375 && d.delta == -0.375);
    x.sample = one + 1;
    y.sample = other + 3;
    x.n_samples = y.n_samples = 1;
    assert_refused(bl_compare_metric(&metric, NULL, &x, &y, &d, &e), BL_E_MISSING, "for which both have m");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_settles_where_it_stays),
        cmocka_unit_test(the_area_over_a_curve_is_the_mean_of_the_questions),
        cmocka_unit_test(values_are_read_as_they_are_laid_out),
        cmocka_unit_test(a_metric_is_of_the_items_that_have_it),
        cmocka_unit_test(rows_are_compared_on_the_items_that_both_have),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
