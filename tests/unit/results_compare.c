/* results_compare.c - what two cells say about each other, on numbers that fit on paper, and on planted differences. */
#include "test.h"
#include "kernels/base/rng.h"
#include "results/compare.h"
#include "results/stats.h"

#include <math.h>

static bl_err e;
enum { MOST = 2000 };
typedef struct made {
    bl_sample sample[MOST];
    double score[MOST];
    bl_cell cell;
} made;
static made x, y;
static const bl_metric acc = {.name = "acc", .direction = 1, .percent = true, .agg = BL_AGG_MEAN};

static const bl_cell *cell_of(made *m, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        m->sample[i].id = i;
        m->sample[i].score = &m->score[i];
        m->sample[i].n_scores = 1;
    }
    m->cell = (bl_cell){
        .task = "piqa", .task_version = 1, .bos = "none", .data_hash = "d", .sample = m->sample, .n_samples = n};
    return &m->cell;
}

static bl_paired compare(const bl_metric *m, const char *group, int64_t n)
{
    bl_paired d, *list[] = {&d};
    const bl_cell *a = cell_of(&x, n), *b = cell_of(&y, n);
    assert_ok(bl_comparable(a, b, &e));
    assert_ok(bl_compare_metric(m, group, a, b, &d, &e));
    assert_ok(bl_compare_judge(list, 1, &e));
    return d;
}

static void clear(void)
{
    memset(&x, 0, sizeof x);
    memset(&y, 0, sizeof y);
}

/* Of eight items one is won and three are lost: -2/8; squares of differences 4, so the variance is (4 - 8/16) / 7. */
static void accuracy_counts_what_was_lost_and_gained(void **state)
{
    (void)state;
    static const double before[] = {1, 1, 1, 1, 1, 0, 0, 0}, after[] = {1, 1, 0, 0, 0, 1, 0, 0};
    clear();
    memcpy(x.score, before, sizeof before);
    memcpy(y.score, after, sizeof after);
    bl_paired d = compare(&acc, NULL, 8);
    assert_int_equal(d.test, BL_TEST_MCNEMAR);
    assert_int_equal(d.lost, 3);
    assert_int_equal(d.gained, 1);
    assert_true(d.a == 0.625 && d.b == 0.375 && d.delta == -0.25);
    assert_true(fabs(d.se - sqrt(3.5 / 7 / 8)) < 1e-15);
    assert_true(fabs(d.p - 0.625) < 1e-15); /* 2 (1 + 4) / 16 */
    assert_int_equal(d.verdict, BL_UNDECIDED);
    assert_true(d.needed == ceil(7.848879734 * 0.5 / 0.0625));
    char text[96];
    bl_paired_text(&d, text);
    assert_string_equal(text, "-25 \xc2\xb1"
                              "25");
}

/* Of a share that is better low, an item is lost where it goes up. */
static void a_share_that_is_better_low_loses_where_it_rises(void **state)
{
    (void)state;
    static const bl_metric none = {.name = "no_answer", .direction = -1, .percent = true, .agg = BL_AGG_MEAN};
    static const double before[] = {0, 0, 0, 0, 1, 0, 0, 0}, after[] = {1, 1, 1, 0, 0, 0, 0, 0};
    clear();
    memcpy(x.score, before, sizeof before);
    memcpy(y.score, after, sizeof after);
    bl_paired d = compare(&none, NULL, 8);
    assert_int_equal(d.test, BL_TEST_MCNEMAR);
    assert_int_equal(d.lost, 3);
    assert_int_equal(d.gained, 1);
    assert_true(d.delta == 0.25);
}

static void the_same_answers_are_no_difference(void **state)
{
    (void)state;
    clear();
    for (int i = 0; i < 100; i++) x.score[i] = y.score[i] = i % 3 == 0;
    bl_paired d = compare(&acc, NULL, 100);
    assert_true(d.p == 1 && d.delta == 0 && d.se == 0 && d.needed == 0);
    assert_int_equal(d.verdict, BL_UNDECIDED);
}

static void one_group_of_items_is_compared_alone(void **state)
{
    (void)state;
    clear();
    for (int i = 0; i < 20; i++) {
        x.sample[i].group = y.sample[i].group = i < 10 ? "law" : "art";
        x.score[i] = 1;
        y.score[i] = i >= 10;
    }
    bl_paired law = compare(&acc, "law", 20), art = compare(&acc, "art", 20);
    assert_true(law.n == 10 && law.lost == 10 && law.verdict == BL_WORSE);
    assert_true(art.n == 10 && art.lost == 0 && art.verdict == BL_UNDECIDED);
    bl_metric macro = acc;
    macro.macro = true;
    bl_paired d = compare(&macro, NULL, 20);
    assert_true(d.delta == -0.5);
    assert_int_equal(d.test, BL_TEST_BOOTSTRAP);
    assert_refused(bl_compare_metric(&acc, "sport", &x.cell, &y.cell, &d, &e), BL_E_MISSING, "sport");
}

/* Three that all fall are as likely as three coins on one side; resampling them alone would say p = 0.0002. */
static void a_handful_of_items_is_no_proof(void **state)
{
    (void)state;
    const bl_metric share = {.name = "mc2", .direction = 1, .agg = BL_AGG_MEAN};
    clear();
    for (int i = 0; i < 12; i++) {
        x.score[i] = 0.9;
        y.score[i] = 0.8 - 0.01 * i;
    }
    bl_paired d = compare(&share, NULL, 3);
    assert_int_equal(d.test, BL_TEST_BOOTSTRAP);
    assert_true(d.p == 0.25 && d.verdict == BL_UNDECIDED);
    d = compare(&share, NULL, 12);
    assert_true(d.p >= 1.0 / 2048 && d.verdict == BL_WORSE);

    bl_metric macro = share; /* a group of one has no spread: however many groups, nothing can be resampled */
    macro.macro = true;
    static char name[12][4];
    for (int i = 0; i < 12; i++) {
        snprintf(name[i], sizeof name[i], "%d", i);
        x.sample[i].group = y.sample[i].group = name[i];
    }
    d = compare(&macro, NULL, 12);
    assert_true(d.test == BL_TEST_NONE && d.p == 1 && d.verdict == BL_UNDECIDED && d.delta < -0.1);
}

static void lower_is_better_where_the_metric_says_so(void **state)
{
    (void)state;
    clear();
    for (int i = 0; i < 30; i++) {
        x.score[i] = i;
        y.score[i] = i + 1 + i % 2;
    }
    const bl_metric up = {.name = "f", .direction = 1, .agg = BL_AGG_MEAN},
                    down = {.name = "f", .direction = -1, .agg = BL_AGG_MEAN},
                    neither = {.name = "f", .agg = BL_AGG_MEAN};
    assert_int_equal(compare(&up, NULL, 30).verdict, BL_BETTER);
    assert_int_equal(compare(&down, NULL, 30).verdict, BL_WORSE);
    assert_int_equal(compare(&neither, NULL, 30).verdict, BL_UNDECIDED);
}

static void unlike_cells_are_refused_by_name(void **state)
{
    (void)state;
    bl_paired d;
    clear();
    const bl_cell *a = cell_of(&x, 10);
    cell_of(&y, 10);
    y.cell.bos = "left out";
    assert_refused(bl_comparable(a, &y.cell, &e), BL_E_CONFIG, "piqa: BOS: none and left out do not compare");
    cell_of(&y, 10);
    y.cell.data_hash = "other";
    assert_refused(bl_comparable(a, &y.cell, &e), BL_E_CONFIG, "hash of the data: d and other");
    cell_of(&y, 10);
    y.cell.limit = 10;
    assert_refused(bl_comparable(a, &y.cell, &e), BL_E_CONFIG, "items: all and the first 10");
    cell_of(&y, 10);
    y.cell.task_version = 2;
    assert_refused(bl_comparable(a, &y.cell, &e), BL_E_CONFIG, "version of the task: 1 and 2");
    cell_of(&y, 9);
    assert_refused(bl_comparable(a, &y.cell, &e), BL_E_CONFIG, "10 items and 9 items");
    cell_of(&y, 10);
    y.sample[3].id = 77;
    assert_refused(bl_comparable(a, &y.cell, &e), BL_E_CONFIG, "item 3 and item 77");
    cell_of(&y, 10);
    y.cell.tokenizer_hash = "t";
    const bl_metric ppl = {.name = "perplexity", .agg = BL_AGG_EXP_RATIO, .a = 0, .b = -1};
    assert_ok(bl_comparable(a, &y.cell, &e));
    assert_refused(bl_compare_metric(&ppl, NULL, a, &y.cell, &d, &e), BL_E_CONFIG, "two tokenizers");
}

/* ---- planted ------------------------------------------------------------------------------------ */
/* Items of a task: how far the right choice is ahead, 2.5 standard deviations wide; a rounded model moves each a
 * little, and all of them down by `pull`. */
static void answer(made *m, uint64_t seed, double noise, double pull)
{
    for (int i = 0; i < MOST; i++) {
        bl_rng item = bl_rng_at(1, bl_rng_key("item", 0), (uint64_t)i), own = bl_rng_at(seed, 2, (uint64_t)i);
        m->score[i] = 0.8 + 2.5 * bl_rng_normal(&item) + noise * bl_rng_normal(&own) - pull > 0;
    }
}

static void a_planted_loss_of_one_percent_on_two_thousand_items_is_found(void **state)
{
    (void)state;
    clear();
    answer(&x, 1, 0, 0);
    answer(&y, 2, 0.01, 0.07);
    bl_paired d = compare(&acc, NULL, MOST);
    assert_true(d.delta < -0.008 && d.delta > -0.013);
    assert_int_equal(d.verdict, BL_WORSE);
    /* the two accuracies alone could not tell: their difference is below one standard error of each */
    assert_true(fabs(d.delta) < sqrt(d.a * (1 - d.a) / MOST) * 1.25);
}

static void ten_comparisons_of_equals_raise_no_alarm(void **state)
{
    (void)state;
    bl_paired d[10], *list[10];
    clear();
    answer(&x, 1, 0.1, 0);
    for (uint64_t i = 0; i < 10; i++) {
        answer(&y, 10 + i, 0.1, 0);
        d[i] = compare(&acc, NULL, MOST);
        assert_true(d[i].lost + d[i].gained > 20); /* items do change sides */
        list[i] = &d[i];
    }
    assert_ok(bl_compare_judge(list, 10, &e));
    for (int i = 0; i < 10; i++) assert_int_equal(d[i].verdict, BL_UNDECIDED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accuracy_counts_what_was_lost_and_gained),
        cmocka_unit_test(a_share_that_is_better_low_loses_where_it_rises),
        cmocka_unit_test(the_same_answers_are_no_difference),
        cmocka_unit_test(one_group_of_items_is_compared_alone),
        cmocka_unit_test(a_handful_of_items_is_no_proof),
        cmocka_unit_test(lower_is_better_where_the_metric_says_so),
        cmocka_unit_test(unlike_cells_are_refused_by_name),
        cmocka_unit_test(a_planted_loss_of_one_percent_on_two_thousand_items_is_found),
        cmocka_unit_test(ten_comparisons_of_equals_raise_no_alarm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
