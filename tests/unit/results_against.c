/* results_against.c - rows of a table against the rows of one method: which belongs to which, what is said, and what is
 * not compared in silence. */
#include "data/results_cells.h"
#include "results/table.h"
#include "results/versus.h"

static bl_err e;
static const char *dir;

static int begin(void **state)
{
    (void)state;
    dir = test_dir();
    return 0;
}
static int end(void **state)
{
    (void)state;
    return bl_remove_tree(dir, &e) != BL_OK;
}

static const bl_metric accuracy[] = {
    {.name = "acc", .direction = 1, .headline = true, .percent = true, .agg = BL_AGG_MEAN}};
static const bl_metric perplexity[] = {{.name = "perplexity",
                                        .direction = -1,
                                        .headline = true,
                                        .agg = BL_AGG_EXP_RATIO,
                                        .a = 0,
                                        .b = 1,
                                        .items = "windows"}};
static const bl_metric *rule(const void *ctx, const char *task, int64_t version, int *n)
{
    (void)ctx;
    *n = 1;
    return version != 1 ? NULL : strchr(task, ':') ? perplexity : accuracy;
}

enum { MOST = 400 };
typedef struct made {
    invented v;
    bl_sample sample[MOST];
    double value[MOST][2];
    bl_cell_metric metric[2];
} made;

/* Items right: all but every seventh, and but the first `lost` of the others. Windows: 2.8 and a little each, times
 * 2,047 tokens, `more` nats worse. */
static bl_cell *make(made *m, int wbits, const char *task, int64_t n, int lost, double more)
{
    bl_cell *c = &m->v.cell;
    bl_metric_list all = {0};
    bl_arena *a = NULL;
    bool ppl = strchr(task, ':') != NULL;

    invent(&m->v, "m", wbits, 64, task, 0);
    for (int64_t i = 0, k = 0; i < n; i++) {
        bool right = i % 7 != 0;
        if (right && k++ < lost) right = false;
        m->value[i][0] = ppl ? 2047 * (2.8 + 0.3 * sin((double)i) + more * (1 + 0.15 * cos((double)i))) : right;
        m->value[i][1] = 2047;
        m->sample[i] = (bl_sample){
            .id = i, .pick = 0, .gold = 0, .score = m->value[i], .n_scores = 1, .value = m->value[i], .n_values = 2};
    }
    c->sample = m->sample;
    c->n_samples = n;
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_metrics_over_all(ppl ? perplexity : accuracy, 1, m->sample, n, a, &all, &e));
    m->metric[0] = all.v[0];
    bl_arena_free(a);
    if (wbits) m->metric[1] = (bl_cell_metric){"kl_mean", "nat", -1, 0.25, 0, false, n, false, false, NULL, "tokens"};
    c->metric = m->metric;
    c->n_metrics = wbits ? 2 : 1;
    return c;
}

static void write_cell(const bl_cell *c) { assert_ok(bl_cell_write(dir, c, &e)); }

static void study(void)
{
    static made m;
    write_cell(make(&m, 0, "piqa", MOST, 0, 0));
    write_cell(make(&m, 4, "piqa", MOST, 3, 0));
    write_cell(make(&m, 3, "piqa", MOST, 20, 0));
    write_cell(make(&m, 0, "wikitext2:gptq2048", 8, 0, 0));
    write_cell(make(&m, 4, "wikitext2:gptq2048", 8, 0, 0.01));
}

static bl_table *table;
static const char *print(const bl_table_opts *o, const char *method)
{
    static bl_text t;
    const char *dirs[] = {dir};
    bl_text_free(&t);
    t = (bl_text){0};
    bl_table_free(table);
    table = NULL;
    assert_ok(bl_table_read(dirs, 1, &table, &e));
    assert_ok(bl_table_against(table, o, &(bl_against){method, {rule, NULL}}, &e));
    assert_ok(bl_table_print(table, o, &t, &e));
    return t.s ? t.s : "";
}
static int close_table(void **state)
{
    bl_table_free(table);
    table = NULL;
    return end(state);
}

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part)) fail_msg("'%s' is missing in:\n%s", part, text);
}

static void every_row_has_a_mark_and_the_legend_says_of_what(void **state)
{
    (void)state;
    study();
    const char *md = print(&(bl_table_opts){.terminal = true}, "base");
    assert_has(md, "  85.5 \xc2\xb1"
                   "1.8  "); /* 342 of 400; the base has no mark */
    assert_has(md, "84.8 \xc2\xb1"
                   "1.8 \xc2\xb7  ");
    assert_has(md, "80.5 \xc2\xb1"
                   "2.0 \xe2\x96\xbc");
    assert_has(md, "\xe2\x96\xbc\n"); /* perplexity: nothing after it in the line */
    assert_has(md,
               "\xc2\xb7 undecided, \xe2\x96\xb2 better, \xe2\x96\xbc worse against base at the level 0.05: the same "
               "items, paired (exact McNemar, paired t), Holm over 3 comparisons\n");
    assert_has(md, "one standard error over items, of perplexity over windows\n");
}

/* The windows vary by 0.2 nat, which is common to both rows; the difference is known 30 times better. */
static void perplexity_has_four_digits_and_its_difference_is_paired(void **state)
{
    (void)state;
    study();
    const char *md = print(&(bl_table_opts){.terminal = true}, "base");
    assert_has(md, "  16.79 \xc2\xb1"
                   "1.3\n");
    assert_has(md, "  16.96 \xc2\xb1"
                   "1.3 \xe2\x96\xbc\n");
    md = print(&(bl_table_opts){.terminal = true, .deltas = true}, "base");
    assert_has(md, " \xc3\x97"
                   "1.0103 \xc2\xb1"
                   "0.0004 \xe2\x96\xbc");
    assert_has(md, "80.50 -5.0 \xc2\xb1"
                   "1.1 \xe2\x96\xbc");
    assert_has(md, "in points, \xc2\xb1 its own standard error");
    assert_has(md, "the quotient by base, paired");
}

static void any_method_can_be_the_reference(void **state)
{
    (void)state;
    study();
    const char *md = print(&(bl_table_opts){.terminal = true, .deltas = true}, "rtn:w4g64");
    assert_has(md, "85.50 +0.8");
    assert_has(md, "80.50 -4.2");
    assert_has(md, "undecided, \xe2\x96\xb2 better, \xe2\x96\xbc worse against rtn:w4g64");
}

static void csv_and_json_have_the_numbers_behind_the_marks(void **state)
{
    (void)state;
    study();
    const char *json = print(&(bl_table_opts){.format = BL_TABLE_JSON}, "base");
    assert_has(json, "\"lost\":20,\"gained\":0,\"test\":\"exact McNemar\",\"p\":1.9073486328125e-06,"
                     "\"p_holm\":3.814697265625e-06,\"verdict\":\"worse\"");
    assert_has(json, "\"delta_unit\":\"nat\"");
    assert_has(json, "\"stderr_over\":\"windows\",\"against\":\"base\"");
    assert_has(print(&(bl_table_opts){.format = BL_TABLE_CSV}, "base"), ",exact McNemar,0.25,");
    const char *tex = print(&(bl_table_opts){.format = BL_TABLE_TEX}, "base");
    assert_has(tex, "($-$5.0 $\\pm$ 1.1 $\\blacktriangledown$)");
    assert_has(tex, "% (...) the paired difference from base");
}

/* Same task, other convention: nothing is compared, and the row says which. */
static void unlike_rows_say_why_they_are_not_compared(void **state)
{
    (void)state;
    static made m;
    bl_cell *c;
    write_cell(make(&m, 0, "piqa", MOST, 0, 0));
    c = make(&m, 4, "piqa", 200, 3, 0);
    c->limit = 200;
    write_cell(c);
    c = make(&m, 3, "piqa", MOST, 3, 0);
    c->data_hash = "another file";
    write_cell(c);
    const char *md = print(&(bl_table_opts){.terminal = true}, "base");
    assert_has(md, "not compared: base has limit all, this row 200");
    assert_has(md, "not compared: piqa: hash of the data: feedc0de and another file do not compare");
    if (strstr(md, "worse")) fail_msg("something was compared:\n%s", md);
}

/* Keys and values in few bits are under study as a method is: all is compared with the base that has none. */
static void a_cache_of_codes_is_compared_with_the_base_that_has_none(void **state)
{
    (void)state;
    static made m;
    bl_cell *c;
    write_cell(make(&m, 0, "piqa", MOST, 0, 0));
    c = make(&m, 0, "piqa", MOST, 30, 0);
    c->numerics = "cpu-f32-kv:int8";
    c->hash.hi ^= 1ull << 60;
    write_cell(c);
    c = make(&m, 4, "piqa", MOST, 31, 0);
    c->numerics = "cpu-f32-kv:int8";
    write_cell(c);
    const char *md = print(&(bl_table_opts){.terminal = true, .deltas = true}, "base");
    assert_has(md, "78.00 -7.5");
    assert_has(md, "77.75 -7.8");
    assert_has(md, "Holm over 2 comparisons");
    c->numerics = "cuda-bf16";
    write_cell(c);
    assert_has(print(&(bl_table_opts){.terminal = true}, "base"),
               "not compared: base has numerics cpu-f32, this row cuda-bf16");
}

static bl_cell *cut(bl_cell *c)
{
    c->truncated = 2;
    return c;
}

/* Two tasks of unequal size count the same; -5 and -1 points are -3, errors add in squares. */
static void an_average_says_its_members_and_counts_each_once(void **state)
{
    (void)state;
    static made m;
    static bl_text t;
    const char *dirs[] = {dir};
    bl_table_opts o = {.terminal = true, .deltas = true};
    write_cell(cut(make(&m, 0, "piqa", MOST, 0, 0)));
    write_cell(cut(make(&m, 0, "boolq", 100, 0, 0)));
    write_cell(cut(make(&m, 4, "piqa", MOST, 20, 0)));
    write_cell(cut(make(&m, 4, "boolq", 100, 1, 0)));
    write_cell(cut(make(&m, 3, "piqa", MOST, 20, 0)));
    assert_ok(bl_table_read(dirs, 1, &table, &e));
    assert_ok(bl_table_against(table, &o, &(bl_against){"base", {rule, NULL}}, &e));
    size_t averages = 0;
    assert_ok(bl_table_average(table, "p*,boolq", &e));
    assert_ok(bl_table_print(table, &o, &t, &e));
    assert_has(t.s, "average of boolq and piqa acc %");
    assert_has(t.s, "-3.0 \xc2\xb1"
                    "0.7 \xe2\x96\xbc");
    assert_has(t.s, "n/a [1]");
    assert_has(t.s, "n/a: boolq has no result\n");
    assert_has(t.s, "Holm over 4 comparisons");
    bl_text_free(&t);
    for (size_t i = 0; i < table->n; i++) {
        const bl_row *r = &table->row[i];
        if (strncmp(r->cell->task, "average", 7) || !r->has_value) continue;
        assert_true(r->cell->seconds == 0 && r->cell->peak_bytes == 0 && r->cell->bytes_read < 0); /* of no one task */
        assert_int_equal(r->cell->truncated, 4);                                                   /* of both */
        assert_true(r->cell->bits_per_weight > 0);
        averages++;
    }
    assert_int_equal(averages, 2);
    assert_refused(bl_table_average(table, "piqa", &e), BL_E_CONFIG, "an average needs two");
}

/* The base has no distance from itself; another row says why it has none. */
static void a_missing_distance_has_a_reason(void **state)
{
    (void)state;
    static made m;
    bl_cell *c;
    study();
    c = make(&m, 3, "piqa", MOST, 20, 0);
    c->n_metrics = 1;
    c->kl = c->dp = NULL;
    c->n_kl = 0;
    c->kl_absent = "the base cell is not done";
    write_cell(c);
    const char *md = print(&(bl_table_opts){.terminal = true, .all_metrics = true}, "base");
    assert_has(md, "= the base itself\n");
    assert_has(md, "not compared with the base: the base cell is not done\n");
}

/* "With reasoning minus without": two tasks that ask the same items, each method with itself. By hand: of 400 items the
 * first 30 (base) and 50 that were right with reasoning are wrong without it; nothing is lost. */
static void two_tasks_of_the_same_items_are_compared_method_by_method(void **state)
{
    static made m;
    static const char *const name[] = {"svamp_direct", "svamp_cot"};
    const char *dirs[] = {dir};
    bl_versus *v;
    bl_text t = {0};
    bl_cell *c;
    (void)state;
    for (int wbits = 0; wbits <= 4; wbits += 4) {
        write_cell(make(&m, wbits, "svamp_cot", MOST, 0, 0));
        write_cell(make(&m, wbits, "svamp_direct", MOST, wbits ? 50 : 30, 0));
        write_cell(make(&m, wbits, "piqa", MOST, 9, 0)); /* stays out of it */
    }
    bl_table_free(table);
    assert_ok(bl_table_read(dirs, 1, &table, &e));
    const bl_side side[2] = {{.table = table, .task = name[0]}, {.table = table, .task = name[1]}};
    assert_ok(bl_versus_of(&side[0], &side[1], &(bl_table_opts){0}, (bl_metric_rules){rule, NULL}, &v, &e));
    assert_true(v->n == 2 && v->only_a == 0 && v->only_b == 0 && v->count[BL_BETTER] == 2);
    for (size_t i = 0; i < 2; i++) {
        const bl_paired *d = &v->row[i].paired;
        double gained = strcmp(v->row[i].a->cell->method, "base") ? 50 : 30, share = gained / MOST;
        assert_string_equal(v->row[i].a->cell->method, v->row[i].b->cell->method);
        assert_true(d->n == MOST && d->lost == 0 && d->gained == (int64_t)gained);
        assert_float_equal(d->delta, share, 1e-12);
        assert_float_equal(d->se, sqrt(share * (1 - share) / (MOST - 1)), 1e-12);
        assert_true(fabs(d->p / (2 * pow(0.5, gained)) - 1) < 1e-9);
    }
    assert_ok(bl_versus_md(v, name, true, &t, &e));
    assert_has(t.s, "+7.5 \xc2\xb1"
                    "1.3");
    assert_has(t.s, "difference: svamp_cot minus svamp_direct in points, paired");
    bl_text_free(&t);
    bl_versus_free(v);

    c = make(&m, 3, "svamp_cot", MOST, 0, 0); /* other data: items have no partner */
    write_cell(c);
    c = make(&m, 3, "svamp_direct", MOST, 0, 0);
    c->data_hash = "00000000000000000000000000000001";
    write_cell(c);
    bl_table_free(table);
    assert_ok(bl_table_read(dirs, 1, &table, &e));
    const bl_side other[2] = {{.table = table, .task = name[0]}, {.table = table, .task = name[1]}};
    assert_refused(bl_versus_of(&other[0], &other[1], &(bl_table_opts){0}, (bl_metric_rules){rule, NULL}, &v, &e),
                   BL_E_CONFIG, "hash of the data");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_row_has_a_mark_and_the_legend_says_of_what, begin, close_table),
        cmocka_unit_test_setup_teardown(perplexity_has_four_digits_and_its_difference_is_paired, begin, close_table),
        cmocka_unit_test_setup_teardown(any_method_can_be_the_reference, begin, close_table),
        cmocka_unit_test_setup_teardown(csv_and_json_have_the_numbers_behind_the_marks, begin, close_table),
        cmocka_unit_test_setup_teardown(unlike_rows_say_why_they_are_not_compared, begin, close_table),
        cmocka_unit_test_setup_teardown(a_cache_of_codes_is_compared_with_the_base_that_has_none, begin, close_table),
        cmocka_unit_test_setup_teardown(an_average_says_its_members_and_counts_each_once, begin, close_table),
        cmocka_unit_test_setup_teardown(a_missing_distance_has_a_reason, begin, close_table),
        cmocka_unit_test_setup_teardown(two_tasks_of_the_same_items_are_compared_method_by_method, begin, close_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
