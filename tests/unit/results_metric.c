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
    const bl_sample s[4] = {{.score = {0, 1}}, {.score = {0, 1}}, {.score = {0, 0}}, {.score = {0, 1}}};
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
    const bl_sample s[4] = {{.value = {3, 1, 10}}, {.value = {5, 3, 30}}, {.value = {3, 1, 10}}, {.value = {5, 3, 30}}};
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

static void perplexity_from_tokens_has_the_error_of_its_tokens(void **state)
{
    (void)state;
    /* Tokens with nll 1, 2 | 3: mean 2, mean of squares 14/3, N = 3. */
    const bl_sample s[2] = {{.value = {3, 2, 5}}, {.value = {3, 1, 9}}};
    bl_value v = value_of(&(bl_metric){.name = "ppl", .agg = BL_AGG_EXP_TOKENS, .a = 0, .b = 1, .c = 2}, s, 2);
    near(v.value, exp(2));
    near(v.stderr_, exp(2) * sqrt((14.0 / 3 - 4) / 2));
}

static void what_is_not_finite_is_never_averaged(void **state)
{
    (void)state;
    bl_sample s[3] = {{.id = 4, .score = {1}}, {.id = 5, .score = {NAN}}, {.id = 6, .value = {INFINITY, 1}}};
    bl_value v;
    assert_refused(bl_metric_of(&(bl_metric){.name = "acc", .agg = BL_AGG_MEAN}, s, 3, &v, &e), BL_E_NUMERIC,
                   "sample 5: score 0");
    assert_refused(bl_metric_of(&(bl_metric){.name = "ppl", .agg = BL_AGG_EXP_RATIO, .b = 1}, s, 3, &v, &e),
                   BL_E_NUMERIC, "sample 6: value 0");
    assert_refused(bl_metric_of(&(bl_metric){.name = "ppl", .agg = BL_AGG_RATIO, .b = 1}, s, 1, &v, &e), BL_E_NUMERIC,
                   "divisor");
    assert_refused(bl_metric_of(&(bl_metric){.name = "acc", .agg = BL_AGG_MEAN}, s, 0, &v, &e), BL_E_MISSING,
                   "no samples");
    s[0].value[0] = 1e6;
    s[0].value[1] = 1;
    assert_refused(bl_metric_of(&(bl_metric){.name = "ppl", .agg = BL_AGG_EXP_RATIO, .b = 1}, s, 1, &v, &e),
                   BL_E_NUMERIC, "the result is inf");
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
        cmocka_unit_test(perplexity_from_tokens_has_the_error_of_its_tokens),
        cmocka_unit_test(what_is_not_finite_is_never_averaged),
        cmocka_unit_test(percentiles_are_linear_between_neighbours),
        cmocka_unit_test(a_decimal_comma_does_not_get_into_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
