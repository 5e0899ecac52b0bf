/* results_metric.c - metrics and their standard errors against hand-made numbers. */
#include "test.h"
#include "results/metric.h"
#include "results/table.h"

#include <locale.h>
#include <math.h>

static bl_err e;

static void near(double got, double want)
{
    if (!(fabs(got - want) <= 1e-12 * fmax(1, fabs(want)))) fail_msg("%.17g, wanted %.17g", got, want);
}

#define SCORES(...) .score = (const double[]){__VA_ARGS__}, .n_scores = sizeof((double[]){__VA_ARGS__}) / sizeof(double)
#define VALUES(...) .value = (const double[]){__VA_ARGS__}, .n_values = sizeof((double[]){__VA_ARGS__}) / sizeof(double)

static bl_value value_of(const bl_metric *m, const bl_sample *s, int64_t n)
{
    bl_value v = {0};
    if (bl_metric_of(m, s, n, &v, &e) != BL_OK) fail_msg("%s", e.text);
    assert_int_equal(v.n, n);
    return v;
}

static void a_mean_has_the_sample_deviation_over_root_n(void **state)
{
    (void)state;
    const bl_sample s[4] = {{SCORES(0, 1)}, {SCORES(0, 1)}, {SCORES(0, 0)}, {SCORES(0, 1)}};
    bl_value v = value_of(&(bl_metric){.name = "acc", .agg = BL_AGG_MEAN, .a = 1}, s, 4);
    near(v.value, 0.75);
    near(v.stderr_, 0.25); /* sqrt((3/16 * 4 / 3) / 4) = sqrt(1/16) */
    assert_true(v.has_stderr);
    assert_false(value_of(&(bl_metric){.name = "acc", .agg = BL_AGG_MEAN, .a = 1}, s, 1).has_stderr);
    assert_false(value_of(&(bl_metric){.name = "acc", .agg = BL_AGG_MEAN, .a = 1, .no_stderr = true}, s, 4).has_stderr);
}

static void a_share_counts_the_flag(void **state)
{
    (void)state;
    const bl_sample s[4] = {
        {.flags = BL_SAMPLE_NO_ANSWER | BL_SAMPLE_TIE}, {.flags = BL_SAMPLE_TIE}, {0}, {.flags = BL_SAMPLE_NO_ANSWER}};
    near(value_of(&(bl_metric){.name = "no_answer", .agg = BL_AGG_FLAG_SHARE, .a = BL_SAMPLE_NO_ANSWER}, s, 4).value,
         0.5);
}

static void ratios_are_of_sums(void **state)
{
    (void)state;
    const bl_sample s[4] = {{VALUES(3, 1, 10)}, {VALUES(5, 3, 30)}, {VALUES(3, 1, 10)}, {VALUES(5, 3, 30)}};
    near(value_of(&(bl_metric){.name = "bits", .agg = BL_AGG_RATIO, .a = 0, .b = 2, .factor = 2}, s, 4).value, 0.4);
    near(value_of(&(bl_metric){.name = "r", .agg = BL_AGG_RATIO, .a = 0, .b = -1}, s, 4).value, 4);
    bl_value v = value_of(&(bl_metric){.name = "ppl", .agg = BL_AGG_EXP_RATIO, .a = 0, .b = 1}, s, 4);
    near(v.value, exp(2));
    near(v.stderr_, exp(2) * sqrt(4.0 / 3 * 4) / 8); /* residuals 3 - 2*1 = 1 and 5 - 2*3 = -1, twice each */
    assert_false(value_of(&(bl_metric){.name = "ppl", .agg = BL_AGG_EXP_RATIO, .a = 0, .b = 1}, s, 3)
                     .has_stderr); /* too few to tell */
    v = value_of(&(bl_metric){.name = "ppl", .agg = BL_AGG_EXP_RATIO, .a = 0, .b = -1}, s, 4);
    near(v.value, exp(4));
    near(v.stderr_, exp(4) * sqrt(1.0 / 3)); /* sample deviation sqrt(4/3), over sqrt 4 */
}

static void nothing_to_divide_by_is_said_so(void **state)
{
    (void)state;
    const bl_sample s[3] = {{VALUES(0, 0)}, {VALUES(0, 0)}, {VALUES(0, 0)}};
    bl_value v;
    assert_refused(
        bl_metric_of(&(bl_metric){.name = "perplexity", .agg = BL_AGG_EXP_RATIO, .a = 0, .b = 1}, s, 3, &v, &e),
        BL_E_NUMERIC, "metric perplexity: none of the 3 items has a scored token, word or byte");
}

static void perplexity_from_tokens_has_the_error_of_its_tokens(void **state)
{
    (void)state;
    /* Tokens with nll 1, 2 | 3: mean 2, mean of squares 14/3, N = 3. */
    const bl_sample s[2] = {{VALUES(3, 2, 5)}, {VALUES(3, 1, 9)}};
    bl_value v = value_of(&(bl_metric){.name = "ppl", .agg = BL_AGG_EXP_TOKENS, .a = 0, .b = 1, .c = 2}, s, 2);
    near(v.value, exp(2));
    near(v.stderr_, exp(2) * sqrt((14.0 / 3 - 4) / 2));
}

static void what_is_not_finite_is_never_averaged(void **state)
{
    (void)state;
    bl_sample s[3] = {
        {.id = 4, SCORES(1), VALUES(0, 0)}, {.id = 5, SCORES(NAN), VALUES(0, 0)}, {.id = 6, VALUES(INFINITY, 1)}};
    bl_value v;
    assert_refused(bl_metric_of(&(bl_metric){.name = "acc", .agg = BL_AGG_MEAN}, s, 3, &v, &e), BL_E_NUMERIC,
                   "sample 5: score 0");
    assert_refused(bl_metric_of(&(bl_metric){.name = "ppl", .agg = BL_AGG_EXP_RATIO, .b = 1}, s, 3, &v, &e),
                   BL_E_NUMERIC, "sample 6: value 0");
    assert_refused(bl_metric_of(&(bl_metric){.name = "ppl", .agg = BL_AGG_RATIO, .b = 1}, s, 1, &v, &e), BL_E_NUMERIC,
                   "none of the 1 items has a scored token");
    assert_refused(bl_metric_of(&(bl_metric){.name = "acc", .agg = BL_AGG_MEAN}, s, 0, &v, &e), BL_E_MISSING,
                   "no samples");
    s[0] = (bl_sample){VALUES(1e6, 1)};
    assert_refused(bl_metric_of(&(bl_metric){.name = "ppl", .agg = BL_AGG_EXP_RATIO, .b = 1}, s, 1, &v, &e),
                   BL_E_NUMERIC, "the result is inf");
}

static void a_list_that_is_too_short_is_the_tasks_mistake(void **state)
{
    (void)state;
    const bl_sample s[2] = {{.id = 1, SCORES(1, 0)}, {.id = 2, SCORES(1)}};
    bl_value v;
    assert_refused(bl_metric_of(&(bl_metric){.name = "acc_norm", .agg = BL_AGG_MEAN, .a = 1}, s, 2, &v, &e),
                   BL_E_INTERNAL, "sample 2 has 1 scores, number 1 is needed");
}

/* Three subjects with 4, 2 and 1 items, 3, 0 and 1 right: 4/7 over the items, (3/4 + 0 + 1) / 3 over the subjects. */
static void groups_count_by_items_or_once_each(void **state)
{
    (void)state;
    const bl_sample s[] = {
        {.id = 0, .group = "law", SCORES(1)},     {.id = 1, .group = "anatomy", SCORES(0)},
        {.id = 2, .group = "law", SCORES(1)},     {.id = 3, .group = "law", SCORES(0)},
        {.id = 4, .group = "zoology", SCORES(1)}, {.id = 5, .group = "anatomy", SCORES(0)},
        {.id = 6, .group = "law", SCORES(1)},
    };
    const bl_metric rows[] = {
        {.name = "acc", .direction = 1, .agg = BL_AGG_MEAN, .by_group = true, .percent = true},
        {.name = "acc_macro", .direction = 1, .agg = BL_AGG_MEAN, .macro = true},
    };
    static const struct {
        const char *group;
        double value, error;
        int64_t n;
    } want[] = {{"anatomy", 0, 0, 2}, {"law", 0.75, 0.25, 4}, {"zoology", 1, 0, 1}};
    bl_metric_list all = {0}, grouped = {0};
    bl_arena *a;

    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_metrics_over_all(rows, 2, s, 7, a, &all, &e));
    assert_int_equal(all.n, 2);
    near(all.v[0].value, 4.0 / 7);
    near(all.v[1].value, 1.75 / 3);
    assert_false(all.v[1].has_stderr); /* one subject has a single item: its spread is not known */
    assert_true(all.v[0].headline && !all.v[1].headline && all.v[0].percent);
    assert_null(all.v[0].group);
    assert_ok(bl_metrics_by_group(rows, 2, s, 7, a, &grouped, &e));
    assert_int_equal(grouped.n, 3);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(grouped.v[i].name, "acc");
        assert_string_equal(grouped.v[i].group, want[i].group);
        near(grouped.v[i].value, want[i].value);
        near(grouped.v[i].stderr_, want[i].error);
        assert_int_equal(grouped.v[i].n, want[i].n);
    }
    bl_value v; /* law and anatomy: errors 1/4 and 0 add in squares, over two */
    const bl_sample two[] = {s[0], s[1], s[2], s[3], s[5], s[6]};
    assert_ok(bl_metric_of(&rows[1], two, 6, &v, &e));
    near(v.value, 0.375);
    near(v.stderr_, 0.125);
    const bl_sample stray[] = {s[0], {.id = 8, SCORES(1)}};
    assert_refused(bl_metric_of(&rows[1], stray, 2, &v, &e), BL_E_INTERNAL, "1 samples belong to no group");
    bl_arena_free(a);
}

/* "part/subject": also over the parts; and the error that is pooled over subjects, by hand: variances 1/4 of law and
 * 1/2 of anatomy, (3 * 1/4 + 1 * 1/2) / (6 - 2) / 6. */
static void parts_hold_groups_and_errors_are_pooled(void **state)
{
    (void)state;
    const bl_sample s[] = {
        {.id = 0, .group = "a/law", SCORES(1)}, {.id = 1, .group = "b/anatomy", SCORES(0)},
        {.id = 2, .group = "a/law", SCORES(1)}, {.id = 3, .group = "a/law", SCORES(0)},
        {.id = 4, .group = "a/art", SCORES(1)}, {.id = 5, .group = "b/anatomy", SCORES(1)},
        {.id = 6, .group = "a/law", SCORES(1)},
    };
    const bl_metric row = {.name = "acc", .direction = 1, .agg = BL_AGG_MEAN, .by_group = true, .pooled = true};
    static const struct {
        const char *group;
        double value;
        int64_t n;
    } want[] = {{"a", 0.8, 5}, {"b", 0.5, 2}, {"a/art", 1, 1}, {"a/law", 0.75, 4}, {"b/anatomy", 0.5, 2}};
    bl_metric_list grouped = {0};
    bl_arena *a;
    bl_value v;

    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_metrics_by_group(&row, 1, s, 7, a, &grouped, &e));
    assert_int_equal(grouped.n, BL_COUNT(want));
    for (size_t i = 0; i < BL_COUNT(want); i++) {
        assert_string_equal(grouped.v[i].group, want[i].group);
        near(grouped.v[i].value, want[i].value);
        assert_int_equal(grouped.v[i].n, want[i].n);
    }
    assert_false(grouped.v[2].has_stderr); /* one item */
    near(grouped.v[3].stderr_, 0.25);
    const bl_sample two[] = {s[0], s[1], s[2], s[3], s[5], s[6]};
    assert_ok(bl_metric_of(&row, two, 6, &v, &e));
    near(v.value, 4.0 / 6);
    near(v.stderr_, sqrt((3 * 0.25 + 0.5) / 4 / 6));
    assert_ok(bl_metric_of(&row, s, 7, &v, &e)); /* of art there is one: nothing is known of its spread */
    assert_false(v.has_stderr);
    assert_false(grouped.v[0].has_stderr);
    near(grouped.v[1].stderr_, 0.5);
    const bl_sample alike[] = {s[0], s[2], s[4]}; /* and two that are alike do not make it 0 */
    assert_ok(bl_metric_of(&row, alike, 3, &v, &e));
    assert_false(v.has_stderr);
    const bl_sample each[] = {s[0], s[1], s[4]};
    assert_ok(bl_metric_of(&row, each, 3, &v, &e));
    assert_false(v.has_stderr);
    bl_arena_free(a);
}

/* A curve: the score at each of three steps, and their mean with the error between items. */
static void steps_are_a_curve_and_its_mean(void **state)
{
    (void)state;
    const bl_sample s[] = {{.id = 0, SCORES(9, 0, 0, 1)}, {.id = 1, SCORES(9, 0, 1, 1)}};
    const bl_metric row = {.name = "kept", .direction = 1, .agg = BL_AGG_MEAN, .a = 1, .steps = 3};
    bl_metric_list all = {0}, grouped = {0};
    bl_arena *a;

    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_metrics_over_all(&row, 1, s, 2, a, &all, &e));
    near(all.v[0].value, 0.5);
    near(all.v[0].stderr_, 1.0 / 6); /* of 1/3 and 2/3 */
    assert_ok(bl_metrics_by_group(&row, 1, s, 2, a, &grouped, &e));
    assert_int_equal(grouped.n, 3);
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"step 0", "step 1", "step 2"};
        assert_string_equal(grouped.v[i].group, names[i]);
        near(grouped.v[i].value, i * 0.5);
    }
    bl_arena_free(a);
}

static void percentiles_are_linear_between_neighbours(void **state)
{
    (void)state;
    const double x[] = {1, 2, 4, 8};
    static const struct {
        double f, want;
    } rows[] = {{0, 1}, {1, 8}, {0.5, 3}, {1.0 / 3, 2}, {0.9, 6.8}, {2, 8}, {-1, 1}};
    for (size_t i = 0; i < BL_COUNT(rows); i++) near(bl_percentile(x, 4, rows[i].f), rows[i].want);
    near(bl_percentile(x, 1, 0.7), 1);
}

static void a_decimal_comma_does_not_get_into_numbers(void **state)
{
    (void)state;
    static const char *const commas[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8"};
    const char *found = NULL;
    char text[64];
    for (size_t i = 0; i < BL_COUNT(commas) && !found; i++) found = setlocale(LC_ALL, commas[i]);
    if (!found) {
        print_message("skipped: no locale with a decimal comma is installed\n");
        skip();
    }
    bl_number_text(64.23, 1.1, true, text);
    setlocale(LC_ALL, "C");
    assert_string_equal(text, "64.2 \xc2\xb1"
                              "1.1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mean_has_the_sample_deviation_over_root_n),
        cmocka_unit_test(a_share_counts_the_flag),
        cmocka_unit_test(ratios_are_of_sums),
        cmocka_unit_test(nothing_to_divide_by_is_said_so),
        cmocka_unit_test(perplexity_from_tokens_has_the_error_of_its_tokens),
        cmocka_unit_test(what_is_not_finite_is_never_averaged),
        cmocka_unit_test(a_list_that_is_too_short_is_the_tasks_mistake),
        cmocka_unit_test(groups_count_by_items_or_once_each),
        cmocka_unit_test(parts_hold_groups_and_errors_are_pooled),
        cmocka_unit_test(steps_are_a_curve_and_its_mean),
        cmocka_unit_test(percentiles_are_linear_between_neighbours),
        cmocka_unit_test(a_decimal_comma_does_not_get_into_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
