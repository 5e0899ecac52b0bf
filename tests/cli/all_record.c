/* all_record.c - what a run says about itself in the shard, in tables and in `samples`: counters that count, memory
 * that was measured, distances from the base that mean what they are called. */
#include "study_fixture.h"

static bl_err e;

static const bl_cell_metric *metric_of(const bl_cell *c, const char *name)
{
    for (int64_t i = 0; i < c->n_metrics; i++)
        if (!strcmp(c->metric[i].name, name)) return &c->metric[i];
    fail_msg("%s has no %s", c->key, name);
    return NULL;
}

/* Of seven items, three are longer than the model's 96 positions (a token a letter) and two offer the same words
 * twice. */
static void what_happened_to_items_is_counted_shown_and_listed(void **state)
{
    (void)state;
    study s = study_begin(1);
    bl_text rows = {0}, labels = {0};
    bl_arena *a;
    for (int i = 0; i < 7; i++) {
        bl_text_add(&rows, "{\"goal\": \"");
        for (int k = 0; k < (i < 3 ? 40 : 4); k++) bl_text_addf(&rows, "%c%c%c ", 'a' + k % 26, 'b' + i, 'c' + k % 5);
        bl_text_addf(&rows, "\", \"sol1\": \"cut it\", \"sol2\": \"%s\"}\n", i == 3 || i == 4 ? "cut it" : "fold it");
        bl_text_add(&labels, "0\n");
    }
    char piqa[4300];
    snprintf(piqa, sizeof piqa, "%s/piqa", s.data);
    study_write(piqa, "valid.jsonl", rows.s);
    study_write(piqa, "valid-labels.lst", labels.s);
    ran r = PROGRAM(&s, "run", "--model", s.model, "--method", "base", "--task", "piqa", "--data", s.data, "--out",
                    s.out);
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_ok(bl_arena_new(&a, &e));
    bl_cell c = cell_of(s.out, "base", a);
    assert_int_equal(c.truncated, 3);
    assert_int_equal(c.ties, 2);
    for (int64_t i = 0; i < 7; i++) {
        assert_int_equal((c.sample[i].flags & BL_SAMPLE_TRUNCATED) != 0, i < 3);
        assert_int_equal((c.sample[i].flags & BL_SAMPLE_TIE) != 0, i == 3 || i == 4);
    }
    r = PROGRAM(&s, "table", s.out);
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, " cut=3 tied=2"));
    assert_non_null(strstr(r.out, "items shortened from the left to fit the model"));
    ran_free(&r);
    r = PROGRAM(&s, "samples", s.out, "--task", "piqa");
    expect(&r, 0, NULL);
    int64_t line = 0;
    for (char *at = r.out; *at; at = strchr(at, '\n') + 1, line++) {
        *strchr(at, '\n') = 0;
        const char *want = line < 3   ? "\"flags\": [\"truncated\"]"
                           : line < 5 ? "\"flags\": [\"tie\"]"
                                      : "\"flags\": []";
        if (!strstr(at, want)) fail_msg("line %lld: %s, wanted %s", (long long)line, at, want);
        at[strlen(at)] = '\n';
    }
    assert_int_equal(line, 7);
    ran_free(&r);
    bl_text_free(&rows);
    bl_text_free(&labels);
    bl_arena_free(a);
    study_end(&s);
}

/* A token that is the colon and the space joins "Answer:" and every choice. */
static void choices_that_share_a_token_with_their_context_are_counted(void **state)
{
    (void)state;
    study s = study_begin(5);
    bl_arena *a;
    char tok[4300];
    const char *pieces[] = {":", " ", "c", "u", "t", "f", "o", ": ", NULL};
    snprintf(tok, sizeof tok, "%s/model/tok.bin", s.dir);
    tiny_tokenizer(tok, pieces);
    ran r = PROGRAM(&s, "run", "--model", s.model, "--method", "base", "--task", "piqa", "--data", s.data, "--out",
                    s.out);
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_ok(bl_arena_new(&a, &e));
    bl_cell c = cell_of(s.out, "base", a);
    assert_int_equal(c.boundary, 5);
    assert_int_equal(c.unscored, 0);
    r = PROGRAM(&s, "table", s.out);
    assert_non_null(strstr(r.out, " joined=5"));
    ran_free(&r);
    r = PROGRAM(&s, "samples", s.out, "--task", "piqa");
    assert_non_null(strstr(r.out, "\"flags\": [\"boundary\"]"));
    ran_free(&r);
    bl_arena_free(a);
    study_end(&s);
}

/* One block's keys and values of f32, 2 heads of 18, for as many positions as one pass of a single pair has at most:
 * known from the ids that `ask` prints. */
static void memory_of_keys_and_values_is_measured(void **state)
{
    (void)state;
    study s = study_begin(9);
    bl_arena *a;
    int64_t longest = 0;
    for (int i = 0; i < 9; i++) {
        char item[8];
        snprintf(item, sizeof item, "%d", i);
        setenv("BITLADDER_DATA", s.data, 1);
        ran r = PROGRAM(&s, "ask", "piqa", item, "--model", s.model, "--json");
        expect(&r, 0, NULL);
        for (char *p = r.out; (p = strstr(p, "\"ids\": [")); p++) {
            int64_t n = 1;
            for (char *q = p; *q != ']'; q++) n += *q == ',';
            longest = n - 1 > longest ? n - 1 : longest; /* the last token is not fed */
        }
        ran_free(&r);
    }
    unsetenv("BITLADDER_DATA");
    ran r = PROGRAM(&s, "run", "--model", s.model, "--method", "base", "--task", "piqa", "--data", s.data, "--out",
                    s.out, "--batch-size", "1");
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_ok(bl_arena_new(&a, &e));
    bl_cell c = cell_of(s.out, "base", a);
    assert_true(longest > 20);
    if (c.kv_bytes < longest * 2 * 2 * 18 * 4 || c.kv_bytes > longest * 2 * 2 * 18 * 4 + 4096)
        fail_msg("%lld bytes for %lld positions", (long long)c.kv_bytes, (long long)longest);
    assert_true(c.device_peak_bytes > c.packed_bytes && c.device_peak_bytes > c.kv_bytes);
    r = PROGRAM(&s, "table", s.out, "--json");
    assert_non_null(strstr(r.out, "\"kv_bytes\":"));
    assert_non_null(strstr(r.out, "\"device_peak_bytes\":"));
    ran_free(&r);
    bl_arena_free(a);
    study_end(&s);
}

/* The probabilities of the scored tokens are in the samples of both cells: nll of a choice is the sum of -ln p. With
 * one token a choice, dp is exp(-nll) here minus there. */
static void the_change_of_a_tokens_probability_is_what_the_samples_say(void **state)
{
    (void)state;
    study s = study_begin(1);
    bl_arena *a;
    bl_text rows = {0}, labels = {0};
    char piqa[4300], tok[4300], piece[20][3];
    const char *pieces[22] = {" "};
    for (int i = 0; i < 10; i++) { /* " b" to " k" are one token each, all else is bytes */
        snprintf(piece[i], 3, "%c", 'b' + i);
        snprintf(piece[10 + i], 3, " %c", 'b' + i);
    }
    for (int i = 0; i < 20; i++) pieces[1 + i] = piece[i];
    snprintf(tok, sizeof tok, "%s/model/tok.bin", s.dir);
    tiny_tokenizer(tok, pieces);
    for (int i = 0; i < 12; i++) {
        bl_text_addf(&rows, "{\"goal\": \"make %d\", \"sol1\": \"%c\", \"sol2\": \"%c\"}\n", i, 'b' + i % 5,
                     'g' + i % 5);
        bl_text_add(&labels, "1\n");
    }
    snprintf(piqa, sizeof piqa, "%s/piqa", s.data);
    study_write(piqa, "valid.jsonl", rows.s);
    study_write(piqa, "valid-labels.lst", labels.s);
    ran r = PROGRAM(&s, "run", "--model", s.model, "--method", "base,rtn:w2pc", "--task", "piqa", "--data", s.data,
                    "--out", s.out);
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_ok(bl_arena_new(&a, &e));
    bl_cell base = cell_of(s.out, "base", a), c = cell_of(s.out, "rtn:w2pc", a);
    assert_null(base.dp);
    assert_string_equal(base.kl_absent, "this is the base");
    assert_int_equal(c.n_kl, 24);
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < 12; i++)
        for (int k = 0; k < 2; k++)
            assert_true(fabs(c.dp[2 * i + k] - (exp(-c.sample[i].value[k]) - exp(-base.sample[i].value[k]))) < 1e-6);
    for (int64_t k = 0; k < c.n_kl; k++) {
        assert_true(c.kl[k] > -1e-9 && fabs(c.dp[k]) <= 1);
        sum += c.dp[k];
        squares += c.dp[k] * c.dp[k];
    }
    assert_true(squares > 0);
    assert_true(fabs(metric_of(&c, "dp_mean")->value - sum / (double)c.n_kl) < 1e-12);
    assert_true(fabs(metric_of(&c, "dp_rms")->value - sqrt(squares / (double)c.n_kl)) < 1e-12);
    assert_true(metric_of(&c, "dp_rms")->percent && metric_of(&c, "dp_p1")->value <= metric_of(&c, "dp_p50")->value);
    assert_true(metric_of(&c, "kl_mean")->value > 0);
    bl_text_free(&rows);
    bl_text_free(&labels);
    bl_arena_free(a);
    study_end(&s);
}

static void activations_of_few_bits_can_be_streamed(void **state)
{
    (void)state;
    study s = study_begin(9);
    char streamed[4300];
    bl_arena *a;
    snprintf(streamed, sizeof streamed, "%s/streamed", s.dir);
    ran r = PROGRAM(&s, "run", "--model", s.model, "--method", "base,rtn:w8a8,rtn:w4a8+act-group=16,rtn:w4+a8", "--set",
                    "group=-1", "--task", "piqa", "--data", s.data, "--out", s.out);
    expect(&r, 0, NULL);
    ran_free(&r);
    r = PROGRAM(&s, "run", "--model", s.model, "--method", "base,rtn:w8a8,rtn:w4a8+act-group=16,rtn:w4+a8", "--set",
                "group=-1", "--task", "piqa", "--data", s.data, "--out", streamed, "--stream");
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_int_equal(assert_same_results(s.out, streamed), 4);
    assert_ok(bl_arena_new(&a, &e));
    assert_null(cell_of(streamed, "rtn:w8a8pc", a).simulated); /* integer products: measured */
    assert_null(cell_of(streamed, "rtn:w4a8pc+act-group=16", a).simulated);
    assert_null(cell_of(streamed, "rtn:w4pc+a8", a).simulated); /* a stage of its own */
    bl_arena_free(a);
    study_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_happened_to_items_is_counted_shown_and_listed),
        cmocka_unit_test(choices_that_share_a_token_with_their_context_are_counted),
        cmocka_unit_test(memory_of_keys_and_values_is_measured),
        cmocka_unit_test(the_change_of_a_tokens_probability_is_what_the_samples_say),
        cmocka_unit_test(activations_of_few_bits_can_be_streamed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
