/* results_cell.c - a cell survives the way to disk and back, and its names are what the rest of the program expects. */
#include "data/results_cells.h"

#include <unistd.h>

static bl_err e;

static void assert_text(const char *got, const char *want) { assert_string_equal(got ? got : "", want ? want : ""); }

static void assert_same_cell(const bl_cell *got, const bl_cell *want)
{
    assert_text(got->key, want->key);
    assert_true(bl_hash_equal(got->hash, want->hash));
    assert_text(got->model, want->model);
    assert_text(got->model_path, want->model_path);
    assert_text(got->stored_as, want->stored_as);
    assert_text(got->model_fingerprint, want->model_fingerprint);
    assert_text(got->method, want->method);
    assert_text(got->method_name, want->method_name);
    assert_text(got->method_options, want->method_options);
    assert_text(got->group_text, want->group_text);
    assert_text(got->notes, want->notes);
    assert_text(got->simulated, want->simulated);
    assert_text(got->task, want->task);
    assert_text(got->task_options, want->task_options);
    assert_text(got->data_hash, want->data_hash);
    assert_text(got->tokenizer_hash, want->tokenizer_hash);
    assert_text(got->bos, want->bos);
    assert_text(got->kl_absent, want->kl_absent);
    assert_text(got->device, want->device);
    assert_text(got->created, want->created);
    assert_text(got->simd, want->simd);
    assert_text(got->host, want->host);
    const int64_t pairs[][2] = {
        {got->method_version, want->method_version},
        {got->wbits, want->wbits},
        {got->group, want->group},
        {got->task_version, want->task_version},
        {got->seed, want->seed},
        {got->limit, want->limit},
        {got->packed_bytes, want->packed_bytes},
        {got->peak_bytes, want->peak_bytes},
        {got->kv_bytes, want->kv_bytes},
        {got->bytes_read, want->bytes_read},
        {got->scored_tokens, want->scored_tokens},
        {got->truncated, want->truncated},
        {got->boundary, want->boundary},
        {got->ties, want->ties},
        {got->hit_limit, want->hit_limit},
        {got->no_answer, want->no_answer},
        {got->threads, want->threads},
        {got->batch_tokens, want->batch_tokens},
        {got->n_metrics, want->n_metrics},
        {got->n_layers, want->n_layers},
        {got->product_rows[0], want->product_rows[0]},
        {got->product_rows[1], want->product_rows[1]},
        {got->product_rows[3], want->product_rows[3]},
    };
    for (size_t i = 0; i < BL_COUNT(pairs); i++)
        if (pairs[i][0] != pairs[i][1])
            fail_msg("integer %zu: %lld, wanted %lld", i, (long long)pairs[i][0], (long long)pairs[i][1]);
    assert_true(got->bits_per_weight == want->bits_per_weight && got->seconds == want->seconds &&
                got->quantize_seconds == want->quantize_seconds);
    for (int i = 0; i < want->n_metrics; i++) {
        const bl_cell_metric *g = &got->metric[i], *w = &want->metric[i];
        assert_string_equal(g->name, w->name);
        assert_string_equal(g->unit, w->unit);
        assert_true(g->value == w->value && g->stderr_ == w->stderr_ && g->has_stderr == w->has_stderr &&
                    g->n == w->n && g->direction == w->direction);
    }
    for (int64_t i = 0; i < want->n_layers; i++) {
        const bl_layer_stat *g = &got->layer[i], *w = &want->layer[i];
        assert_string_equal(g->name, w->name);
        assert_string_equal(g->format, w->format);
        assert_true(g->mse == w->mse && g->nmse == w->nmse && g->out_nmse == w->out_nmse && g->damp == w->damp &&
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
        assert_memory_equal(g->score, w->score, sizeof g->score);
        assert_memory_equal(g->value, w->value, sizeof g->value);
        if (!g->reply != !w->reply || (w->reply && strcmp(g->reply, w->reply)))
            fail_msg("sample %lld: reply '%s', wanted '%s'", (long long)i, g->reply, w->reply);
        if (!g->answer != !w->answer || (w->answer && strcmp(g->answer, w->answer)))
            fail_msg("sample %lld: answer '%s', wanted '%s'", (long long)i, g->answer, w->answer);
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

static void replies_and_answers_read_back(void **state)
{
    (void)state;
    invented v;
    bl_cell c = *invent(&v, "m", 2, 128, "gsm8k:cot8", 0);
    for (int i = 0; i < INVENTED_SAMPLES; i++) {
        v.sample[i].reply = i % 2 ? "So there are 3 × 4 = 12.\nThe answer is 12." : "";
        v.sample[i].answer = i % 3 ? "12" : NULL;
        if (!v.sample[i].answer) v.sample[i].flags |= BL_SAMPLE_NO_ANSWER;
    }
    round_trip(&c);
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
        bl_layer_put_json(&s, &t);
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
    assert_string_equal(reason, "not measured");
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
    d.product_rows[2] = 77;
    w.layer[0].seconds = 3;
    d.layer = w.layer;
    assert_ok(bl_cell_write(dir, &c, &e));
    assert_ok(bl_cell_write(other, &d, &e));
    assert_ok(bl_shard_open(invented_path(dir, &c), &s, &e));
    assert_ok(bl_shard_open(invented_path(other, &d), &t, &e));
    assert_ok(bl_shard_same(s, t, &same, &why, &e));
    if (!same) fail_msg("%s", why.s);
    bl_shard_close(t);

    w.sample[3].value[1] += 1e-16; /* one bit of one number */
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
        cmocka_unit_test(replies_and_answers_read_back),
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
