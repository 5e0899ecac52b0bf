/* all_chat.c - choices through a model's chat template, as lm-evaluation-harness 0.4.13 asks and scores them with
 * apply_chat_template, with worked examples in one message and as turns (tests/data/harness_chat.py).
 */
#include "model_fixture.h"
#include "sha256.h"
#include "task_run.h"
#include "harness/score/score.h"
#include "tasks/shared_choice.h"
#include <math.h>

static void has_hash(const char *text, const char *want, const char *what)
{
    char hex[65];
    sha256_hex(text, strlen(text), hex);
    if (strncmp(hex, want, strlen(want)) != 0) fail_msg("%s is not the recorded one: %s", what, text);
}

/* The first item of a subject of MMLU, else `item`. */
static int64_t item_of(const task_run *t, const bl_json *row)
{
    bl_err e = {0};
    const char *subject;
    int64_t item;
    assert_ok(bl_json_get_int(row, "item", &item, &e));
    if (!bl_json_get(row, "subject")) return item;
    assert_ok(bl_json_get_str(row, "subject", &subject, &e));
    while (strcmp(strchr(bl_choice_at(&t->data, item)->group, '/') + 1, subject) != 0) item++;
    return item;
}

/* Contexts and continuations to the letter, log-likelihoods within 0.01 nat. */
static void choices_through_a_template_are_asked_and_scored_as_in_the_harness(void **state)
{
    bl_err e = {0};
    bl_rows *rows;
    const bl_json *row;
    int64_t seen = 0;
    char open[64];
    task_run t = {0};
    (void)state;
    BL_NEEDS("BITLADDER_MODELS");
    BL_NEEDS("BITLADDER_DATA");
    fixture f = fixture_open(test_path("BITLADDER_MODELS", "smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf"), NULL, 2,
                             false);
    bl_engine *g;
    assert_ok(bl_engine_new(f.m, f.t, &(bl_engine_opts){.max_len = 2048}, &g, &e));
    assert_ok(bl_rows_open(BL_SOURCE_DIR "/tests/data/harness_chat.jsonl", &rows, &e));
    for (; bl_rows_json(rows, &row, &e) == BL_OK && row; seen++) {
        const char *task;
        char name[64];
        bool turns;
        bl_request q;
        bl_reply got;
        assert_ok(bl_json_get_str(row, "task", &task, &e));
        assert_ok(bl_json_bool(bl_json_get(row, "turns"), &turns, &e));
        snprintf(name, sizeof name, "%s+chat%s", task, turns ? "+turns" : "");
        if (!t.name || strcmp(t.name, name) != 0) {
            if (t.name) task_close(&t);
            snprintf(open, sizeof open, "%s", name);
            t = task_open(open, NULL);
        } else if (SANITIZED) continue; /* one of each kind */
        assert_ok(bl_task_ask(t.task, &t.data, item_of(&t, row), &(bl_turn){.arena = t.data.arena}, &q, &e));
        assert_int_equal(q.n_pairs, bl_json_size(bl_json_get(row, "pairs")));
        assert_ok(bl_engine_replies(g, &q, 1, t.data.arena, &got, &e));
        int c = 0;
        for (const bl_json *p = bl_json_first(bl_json_get(row, "pairs")); p; p = bl_json_next(p), c++) {
            const bl_json *continuation = bl_json_next(bl_json_first(p)), *ll = bl_json_next(continuation);
            const char *hash;
            double recorded;
            bool greedy;
            bl_prompt whole;
            assert_ok(bl_engine_chat(g, &q.pair[c].context, &whole, &e));
            char *context = prompt_text(&whole);
            assert_ok(bl_json_str(bl_json_first(p), &hash, &e));
            has_hash(context, hash, "the context");
            assert_ok(bl_json_str(continuation, &hash, &e));
            has_hash(q.pair[c].continuation, hash, "the continuation");
            assert_ok(bl_json_real(ll, &recorded, &e));
            assert_ok(bl_json_bool(bl_json_next(ll), &greedy, &e));
            if (!(fabs(got.nll[c] + recorded) <= 0.01) || got.greedy[c] != greedy)
                fail_msg("%s, choice %d: log-likelihood %.5f, recorded %.5f", name, c, -got.nll[c], recorded);
            bl_free(context);
        }
    }
    task_close(&t);
    assert_int_equal(seen, 24);
    bl_rows_close(rows);
    bl_engine_free(g);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choices_through_a_template_are_asked_and_scored_as_in_the_harness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
