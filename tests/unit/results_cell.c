/* results_cell.c - a cell survives the way to disk and back, and its names are what the rest of the program expects. */
#include "data/results_cells.h"

#include <unistd.h>

static bl_err e;

static void assert_text(const char *got, const char *want) { assert_string_equal(got ? got : "", want ? want : ""); }

static void assert_same_cell(const bl_cell *got, const bl_cell *want)
{
    const bl_cell_field *f;
    assert_text(got->key, want->key);
    assert_true(bl_hash_equal(got->hash, want->hash));
    assert_text(got->kl_absent, want->kl_absent);
    for (size_t i = 0; (f = bl_cell_field_at(i)); i++) {
        const void *x = (const char *)got + f->at, *y = (const char *)want + f->at;
        if (f->type == BL_CELL_IS_TEXT) assert_text(*(const char *const *)x, *(const char *const *)y);
        else if (memcmp(x, y, 8)) fail_msg("%s is not what was written", f->where);
    }
    assert_int_equal(got->n_metrics, want->n_metrics);
    assert_int_equal(got->n_layers, want->n_layers);
    for (int64_t i = 0; i < want->n_metrics; i++) {
        const bl_cell_metric *g = &got->metric[i], *w = &want->metric[i];
        assert_string_equal(g->name, w->name);
        assert_string_equal(g->unit, w->unit);
        assert_true(g->value == w->value && g->stderr_ == w->stderr_ && g->has_stderr == w->has_stderr &&
                    g->n == w->n && g->direction == w->direction && g->headline == w->headline &&
                    g->percent == w->percent);
    }
    for (int64_t i = 0; i < want->n_layers; i++) {
        const bl_layer_stat *g = &got->layer[i], *w = &want->layer[i];
        assert_string_equal(g->name, w->name);
        assert_string_equal(g->format, w->format);
        assert_true(g->mse == w->mse && g->nmse == w->nmse && g->out_nmse == w->out_nmse && g->damp == w->damp &&
                    g->block_loss_first == w->block_loss_first && g->block_loss == w->block_loss &&
                    g->bits == w->bits && g->seconds == w->seconds);
    }
}

static void assert_same_samples(const bl_cell *got, const bl_cell *want)
{
    assert_int_equal(got->n_samples, want->n_samples);
    for (int64_t i = 0; i < want->n_samples; i++) {
        const bl_sample *g = &got->sample[i], *w = &want->sample[i];
        assert_true(g->id == w->id && g->pick == w->pick && g->gold == w->gold && g->n_choices == w->n_choices &&
                    g->flags == w->flags && g->tokens == w->tokens);
        assert_text(g->group, w->group);
        assert_int_equal(g->n_scores, w->n_scores);
        assert_memory_equal(g->score, w->score, sizeof *w->score * (size_t)w->n_scores);
        assert_int_equal(g->n_values, w->n_values);
        if (w->n_values) assert_memory_equal(g->value, w->value, sizeof *w->value * (size_t)w->n_values);
        assert_int_equal(g->n_replies, w->n_replies);
        for (int k = 0; k < w->n_replies; k++) assert_string_equal(g->reply[k], w->reply[k]);
        assert_int_equal(g->n_answers, w->n_answers);
        for (int k = 0; k < w->n_answers; k++) {
            assert_int_equal(g->answer[k] != NULL, w->answer[k] != NULL);
            assert_text(g->answer[k], w->answer[k]);
        }
    }
}

static void round_trip(const bl_cell *c)
{
    const char *dir = test_dir();
    bl_arena *a;
    bl_cell got;

    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_cell_write(dir, c, &e));
    assert_ok(bl_cell_read(invented_path(dir, c), true, a, &got, &e));
    assert_same_cell(&got, c);
    assert_same_samples(&got, c);
    assert_int_equal(got.n_kl, c->n_kl);
    if (c->n_kl) assert_memory_equal(got.kl, c->kl, sizeof *c->kl * (size_t)c->n_kl);
    if (c->n_kl) assert_memory_equal(got.dp, c->dp, sizeof *c->dp * (size_t)c->n_kl);
    assert_ok(bl_cell_read(invented_path(dir, c), false, a, &got, &e));
    assert_same_cell(&got, c);
    assert_null(got.sample);
    bl_arena_free(a);
    assert_ok(bl_remove_tree(dir, &e));
}

static void a_cell_reads_back_as_it_was_written(void **state)
{
    (void)state;
    invented v;
    round_trip(invent(&v, "smollm2-135m", 4, 64, "piqa", 0));
    round_trip(invent(&v, "smollm2-135m", 0, 0, "wikitext2:gptq2048", 7));
}

/* Any number of each, another for every item. */
static void lists_of_any_length_read_back(void **state)
{
    (void)state;
    enum { MOST = 40 };
    static const char *replies[MOST], *answers[MOST];
    static double scores[MOST], values[MOST];
    static const char *const subjects[] = {"abstract algebra", "größe/%41", NULL};
    invented v;
    bl_cell c = *invent(&v, "m", 2, 128, "gsm8k:cot8", 0);
    for (int i = 0; i < MOST; i++) {
        scores[i] = 1.0 / (i + 3);
        values[i] = -0.1 * i;
        replies[i] = i % 2 ? "So there are 3 × 4 = 12.\nThe answer is 12." : "";
        answers[i] = i % 3 ? "12" : NULL;
    }
    for (int i = 0; i < INVENTED_SAMPLES; i++) {
        bl_sample *s = &v.sample[i];
        s->group = subjects[i % 3];
        s->score = scores;
        s->n_scores = MOST;
        s->value = values;
        s->n_values = i * MOST / INVENTED_SAMPLES;
        s->reply = replies;
        s->n_replies = (i + 5) % 7;
        s->answer = answers;
        s->n_answers = (i + 2) % 4;
    }
    round_trip(&c);
    for (int i = 0; i < INVENTED_SAMPLES; i++) v.sample[i].n_replies = v.sample[i].n_answers = v.sample[i].n_values = 0;
    round_trip(&c);
    v.sample[3].n_scores--;
    assert_refused(bl_cell_write("/nonexistent", &c, &e), BL_E_INTERNAL, "sample 3 has 39 scores, the first has 40");
}

static void metrics_within_groups_read_back(void **state)
{
    (void)state;
    invented v;
    bl_cell c = *invent(&v, "m", 4, 64, "mmlu", 0), got;
    const char *dir = test_dir();
    bl_arena *a;
    bl_cell_metric g[] = {v.metric[0], v.metric[0], v.metric[1]};
    for (int i = 0; i < 3; i++) {
        g[i].group = i ? "law" : "anatomy";
        g[i].value = 0.25 * (i + 1);
        g[i].has_stderr = i != 1;
        g[i].stderr_ = i != 1 ? 0.01 : 0;
        g[i].n = i + 1;
    }
    c.grouped = g;
    c.n_grouped = 3;
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_cell_write(dir, &c, &e));
    assert_ok(bl_cell_read(invented_path(dir, &c), true, a, &got, &e));
    assert_int_equal(got.n_grouped, 3);
    for (int i = 0; i < 3; i++) {
        const bl_cell_metric *x = &got.grouped[i];
        assert_string_equal(x->name, g[i].name);
        assert_string_equal(x->group, g[i].group);
        assert_true(x->value == g[i].value && x->has_stderr == g[i].has_stderr && x->stderr_ == g[i].stderr_ &&
                    x->n == g[i].n && x->percent && x->headline && x->direction == 1);
    }
    bl_arena_free(a);
    assert_ok(bl_remove_tree(dir, &e));
}

/* Every line of layer.def: a number of its own comes back, and what was not measured stays out. */
static void layer_statistics_survive_json(void **state)
{
    (void)state;
    bl_layer_stat s = bl_layer_none, got;
    const bl_layer_field *f;
    bl_arena *a;
    bl_json *j;
    bl_text t = {0};

    assert_ok(bl_arena_new(&a, &e));
    for (int all = 0; all < 2; all++) {
        for (size_t i = 0; (f = bl_layer_field_at(i)); i++) {
            void *at = (char *)&s + f->at;
            if (!f->unit) *(const char **)at = f->meaning;
            else if (all || !f->maybe) *(double *)at = 0.1 * (double)(i + 1);
        }
        t.n = 0;
        bl_layer_put_json(&s, &(bl_json_out){.t = &t});
        assert_ok(bl_json_parse(t.s, t.n, "layer", BL_JSON_PLAIN, &j, &e));
        assert_ok(bl_layer_get_json(j, a, &got, &e));
        for (size_t i = 0; (f = bl_layer_field_at(i)); i++) {
            assert_int_equal(bl_json_get(j, f->name) != NULL, all || !f->maybe);
            const void *x = (const char *)&got + f->at, *y = (const char *)&s + f->at;
            if (f->unit) assert_true(*(const double *)x == *(const double *)y);
            else assert_string_equal(*(const char *const *)x, *(const char *const *)y);
        }
        bl_json_free(j);
    }
    assert_ok(bl_json_parse("{\"name\": \"x\"}", 13, "layer", BL_JSON_PLAIN, &j, &e));
    assert_refused(bl_layer_get_json(j, a, &got, &e), BL_E_FORMAT, "format");
    bl_json_free(j);
    bl_text_free(&t);
    bl_arena_free(a);
}

static void odd_names_survive(void **state)
{
    (void)state;
    static const char *const names[] = {
        "quote's \"and\" blank", "new\nline", "über/größe ∞", "../..", ".", "%41", "a,b;c|d`e$f"};
    invented v;
    for (size_t i = 0; i < BL_COUNT(names); i++) {
        bl_cell c = *invent(&v, "m", 3, 32, "piqa", 0);
        c.model = c.host = names[i];
        c.task = names[i];
        c.key = names[i];
        c.kl_absent = NULL;
        round_trip(&c);
    }
}

static void a_measurement_that_was_not_taken_is_left_out_with_a_reason(void **state)
{
    (void)state;
    invented v;
    bl_cell c = *invent(&v, "m", 4, 64, "piqa", 0), got;
    const char *dir = test_dir(), *reason;
    bl_shard *s;
    bl_arena *a;

    c.peak_bytes = 0;
    c.tokens_per_second = 0;
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_cell_write(dir, &c, &e));
    assert_ok(bl_shard_open(invented_path(dir, &c), &s, &e));
    assert_false(bl_shard_has(s, "run/peak_bytes"));
    assert_ok(bl_shard_text(s, "run/peak_bytes_absent_reason", a, &reason, &e));
    assert_string_equal(reason, "not measured, or not in one piece: the cell was resumed");
    bl_shard_close(s);
    assert_ok(bl_cell_read(invented_path(dir, &c), true, a, &got, &e));
    assert_true(got.peak_bytes == 0 && got.tokens_per_second == 0);
    bl_arena_free(a);
    assert_ok(bl_remove_tree(dir, &e));
}

static void a_number_that_is_not_finite_is_never_stored(void **state)
{
    (void)state;
    invented v;
    const char *dir = test_dir();
    char **names;
    size_t n;
    bl_cell c = *invent(&v, "m", 4, 64, "piqa", 0);

    v.metric[0].value = NAN;
    assert_refused(bl_cell_write(dir, &c, &e), BL_E_NUMERIC, "metric/acc'");
    invent(&v, "m", 4, 64, "piqa", 0);
    v.kl[7] = INFINITY;
    assert_refused(bl_cell_write(dir, &c, &e), BL_E_NUMERIC, "element 7");
    assert_ok(bl_dir_list(dir, &names, &n, &e));
    assert_int_equal(n, 0);
    bl_list_free(names, n);
    assert_ok(bl_remove_tree(dir, &e));
}

static void two_identical_cells_differ_in_nothing_but_time(void **state)
{
    (void)state;
    invented v, w;
    const char *dir = test_dir();
    char other[4200];
    bl_shard *s, *t;
    bl_text why = {0};
    bool same;

    snprintf(other, sizeof other, "%s/b", dir);
    assert_ok(bl_make_dirs(other, &e));
    bl_cell c = *invent(&v, "m", 4, 64, "piqa", 0), d = *invent(&w, "m", 4, 64, "piqa", 0);
    d.seconds = 99;
    d.peak_bytes = 7;
    d.created = "2030-01-01T00:00:00Z";
    d.host = "there";
    d.product_calls_64 = 77;
    w.layer[0].seconds = 3;
    d.layer = w.layer;
    assert_ok(bl_cell_write(dir, &c, &e));
    assert_ok(bl_cell_write(other, &d, &e));
    assert_ok(bl_shard_open(invented_path(dir, &c), &s, &e));
    assert_ok(bl_shard_open(invented_path(other, &d), &t, &e));
    assert_ok(bl_shard_same(s, t, &same, &why, &e));
    if (!same) fail_msg("%s", why.s);
    bl_shard_close(t);

    w.value[3][1] += 1e-16; /* one bit of one number */
    d.sample = w.sample;
    assert_ok(bl_cell_write(other, &d, &e));
    assert_ok(bl_shard_open(invented_path(other, &d), &t, &e));
    assert_ok(bl_shard_same(s, t, &same, &why, &e));
    assert_false(same);
    assert_non_null(strstr(why.s, "task/piqa/samples"));
    bl_text_free(&why);
    bl_shard_close(t);
    bl_shard_close(s);
    assert_ok(bl_remove_tree(dir, &e));
}

static void file_names_come_from_key_and_hash(void **state)
{
    (void)state;
    static const struct {
        const char *key, *want;
    } rows[] = {
        {"smollm2-135m/rtn:w4g64/wikitext2:gptq2048/0", "smollm2-135m__rtn:w4g64__wikitext2:gptq2048__0--0123456789ab"},
        {"a b/'q'/\n/%", "a%20b__%27q%27__%0A__%25--0123456789ab"},
        {".hidden/x", "%2Ehidden__x--0123456789ab"},
        {"\xc3\xbc", "%C3%BC--0123456789ab"},
    };
    bl_hash h = {UINT64_C(0x0123456789abcdef), 1};
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        char *got = bl_cell_file(rows[i].key, h, &e);
        assert_string_equal(got, rows[i].want);
        bl_free(got);
    }
    char longest[2001];
    memset(longest, '%', 2000);
    longest[2000] = 0;
    char *got = bl_cell_file(longest, h, &e);
    assert_true(strlen(got) <= 200 && strstr(got, "--0123456789ab"));
    bl_free(got);
}

static void a_failure_note_reads_back_and_goes_away(void **state)
{
    (void)state;
    const char *dir = test_dir();
    char path[4200];
    bl_arena *a;
    bl_cell_failure got, f = {.key = "m/rtn:w4/piqa/0",
                              .hash = "00",
                              .status = "failed",
                              .reason = "disk \"full\"\nneeded 3 MB",
                              .time = "2024-05-01T12:00:00Z",
                              .model = "m",
                              .stored_as = "BF16",
                              .method = "rtn:w4",
                              .task = "piqa",
                              .wbits = 4,
                              .seed = 0,
                              .limit = 20,
                              .task_version = 2,
                              .group_text = "64"};
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_failure_write(dir, "x--00", &f, &e));
    snprintf(path, sizeof path, "%s/x--00.failed.json", dir);
    assert_ok(bl_failure_read(path, a, &got, &e));
    assert_string_equal(got.reason, f.reason);
    assert_string_equal(got.group_text, "64");
    assert_true(got.wbits == 4 && got.limit == 20 && got.task_version == 2);
    f.status = "maybe";
    assert_ok(bl_failure_write(dir, "x--00", &f, &e));
    assert_refused(bl_failure_read(path, a, &got, &e), BL_E_FORMAT, "neither failed nor n/a");
    assert_ok(bl_failure_remove(dir, "x--00", &e));
    assert_false(bl_exists(path));
    assert_ok(bl_failure_remove(dir, "x--00", &e));
    bl_arena_free(a);
    assert_ok(bl_remove_tree(dir, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cell_reads_back_as_it_was_written),
        cmocka_unit_test(lists_of_any_length_read_back),
        cmocka_unit_test(metrics_within_groups_read_back),
        cmocka_unit_test(layer_statistics_survive_json),
        cmocka_unit_test(odd_names_survive),
        cmocka_unit_test(a_measurement_that_was_not_taken_is_left_out_with_a_reason),
        cmocka_unit_test(a_number_that_is_not_finite_is_never_stored),
        cmocka_unit_test(two_identical_cells_differ_in_nothing_but_time),
        cmocka_unit_test(file_names_come_from_key_and_hash),
        cmocka_unit_test(a_failure_note_reads_back_and_goes_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
