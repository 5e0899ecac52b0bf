/* Prompts, continuations and marks of every task against what lm-evaluation-harness built and scored. */
#include "task_run.h"
#include "sha256.h"
#include "tasks/shared_choice.h"
#include <math.h>

static const struct {
    const char *file, *task;
} recorded[] = {
    {"piqa", "piqa"},
    {"arc_easy", "arc_easy"},
    {"arc_challenge_val", "arc_challenge:val"},
    {"hellaswag", "hellaswag"},
    {"openbookqa", "openbookqa"},
    {"boolq", "boolq"},
    {"winogrande_sample", "winogrande:sample"},
    {"commonsense_qa", "commonsense_qa"},
    {"social_iqa", "social_iqa"},
    {"copa", "copa"},
    {"medqa", "medqa"},
    {"medmcqa", "medmcqa"},
    {"truthfulqa_mc1", "truthfulqa_mc1"},
    {"truthfulqa_mc2", "truthfulqa_mc2"},
    {"mmlu", "mmlu"},
};

static double real_of(const bl_json *j, const char *key)
{
    bl_err e = {0};
    double v = NAN;
    assert_ok(bl_json_get_real(j, key, &v, &e));
    return v;
}

/* Item `k` of a subject of MMLU: items go round the subjects. */
static int64_t of_subject(const task_run *t, const bl_json *j, int64_t k)
{
    bl_err e = {0};
    const char *subject;
    assert_ok(bl_json_get_str(j, "subject", &subject, &e));
    for (int64_t i = 0; i < t->data.n; i++) {
        const char *own = bl_choice_at(&t->data, i)->group;
        if (!strcmp(strchr(own, '/') + 1, subject) && k-- == 0) return i;
    }
    fail_msg("no such item of %s", subject);
    return -1;
}

/* Every recorded item: same text, and the recorded log-likelihoods give the recorded metrics. */
static void prompts_and_marks_equal_the_harness(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_DATA");
    BL_NEEDS("BITLADDER_GOLDEN");
    bl_err e = {0};
    for (size_t f = 0; f < BL_COUNT(recorded); f++) {
        char tail[256];
        snprintf(tail, sizeof tail, "smollm2-135m/harness/%s.jsonl", recorded[f].file);
        task_run t = task_open(recorded[f].task, NULL);
        bl_arena *a;
        bl_rows *rows;
        const bl_json *j;
        bl_status st;
        assert_ok(bl_arena_new(&a, &e));
        assert_ok(bl_rows_open(test_path("BITLADDER_GOLDEN", tail), &rows, &e));
        int64_t seen = 0;
        while ((st = bl_rows_json(rows, &j, &e)) == BL_OK && j) {
            int64_t item;
            bl_request q = {0};
            bl_turn turn = {.arena = a};
            double nll[32];
            pair_reply reply;
            bl_sample s = {0};
            assert_ok(bl_json_get_int(j, "item", &item, &e));
            if (bl_json_get(j, "subject")) item = of_subject(&t, j, item);
            assert_ok(t.task->ask(&t.data, item, &turn, &q, &e));
            assert_int_equal(q.kind, BL_ASK_PAIRS);
            assert_true(q.n_pairs <= (int)BL_COUNT(nll));
            const bl_json *want = bl_json_first(bl_json_get(j, "requests")),
                          *got = bl_json_first(bl_json_get(j, "replies"));
            assert_int_equal(bl_json_size(bl_json_get(j, "requests")), q.n_pairs);
            for (int c = 0; c < q.n_pairs; c++, want = bl_json_next(want), got = bl_json_next(got)) {
                const char *context, *continuation;
                double ll;
                char *prompt = prompt_text(&q.pair[c].context);
                assert_ok(bl_json_str(bl_json_first(want), &context, &e));
                assert_ok(bl_json_str(bl_json_next(bl_json_first(want)), &continuation, &e));
                assert_string_equal(prompt, context);
                assert_string_equal(q.pair[c].continuation, continuation);
                bl_free(prompt);
                assert_ok(bl_json_real(bl_json_first(got), &ll, &e));
                nll[c] = -ll;
            }
            reply_to(&q, nll, &reply);
            turn.reply = &reply.r;
            turn.n_replies = 1;
            assert_ok(bl_mark_item(t.task, &t.data, item, &turn, &s, &e));
            assert_true(s.id == item);
            const bl_json *m = bl_json_get(j, "metrics");
            assert_true(fabs(s.score[0] - real_of(m, "acc")) <= (s.score[0] == 0 || s.score[0] == 1 ? 0 : 1e-6));
            if (bl_json_get(m, "acc_norm")) assert_true(s.score[1] == real_of(m, "acc_norm"));
            turn.step = 1;
            assert_ok(t.task->ask(&t.data, item, &turn, &q, &e));
            assert_int_equal(q.kind, BL_ASK_DONE);
            seen++;
        }
        assert_ok(st);
        assert_true(seen >= 40);
        bl_rows_close(rows);
        bl_arena_free(a);
        task_close(&t);
    }
}

/* Two lines an item: strict filter, flexible filter. */
static void gsm8k_prompts_and_marks_equal_the_harness(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_DATA");
    BL_NEEDS("BITLADDER_GOLDEN");
    bl_err e = {0};
    task_run t = task_open("gsm8k:cot8", NULL);
    bl_arena *a;
    bl_rows *rows;
    const bl_json *j;
    bl_status st;
    int64_t seen[2] = {0};
    assert_int_equal(t.data.n, 1319);
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_rows_open(test_path("BITLADDER_GOLDEN", "smollm2-135m/harness/gsm8k_cot.jsonl"), &rows, &e));
    int64_t last = -1, filter = 0;
    while ((st = bl_rows_json(rows, &j, &e)) == BL_OK && j) {
        int64_t item;
        bl_request q = {0};
        bl_turn turn = {.arena = a};
        const char *sha, *text, *target;
        char hex[65];
        bl_sample s = {0};
        assert_ok(bl_json_get_int(j, "item", &item, &e));
        if (item < last) filter = 1;
        last = item;
        assert_ok(t.task->ask(&t.data, item, &turn, &q, &e));
        assert_int_equal(q.kind, BL_ASK_GENERATE);
        assert_int_equal(q.max_new, 256);
        assert_int_equal(q.n_stops, 3);
        char *prompt = prompt_text(&q.prompt);
        sha256_hex(prompt, strlen(prompt), hex);
        assert_ok(bl_json_str(bl_json_first(bl_json_get(j, "requests")), &sha, &e));
        assert_string_equal(hex, sha);
        bl_free(prompt);
        assert_ok(bl_json_get_str(j, "target", &target, &e));
        assert_string_equal(t.task->gold(&t.data, item), target);
        assert_ok(bl_json_str(bl_json_first(bl_json_first(bl_json_get(j, "replies"))), &text, &e));
        bl_reply reply = {.kind = BL_ASK_GENERATE, .n = 1, .text = text};
        turn.reply = &reply;
        turn.n_replies = 1;
        assert_ok(bl_mark_item(t.task, &t.data, item, &turn, &s, &e));
        assert_true(s.score[filter] == real_of(bl_json_get(j, "metrics"), "exact_match"));
        seen[filter]++;
    }
    assert_ok(st);
    assert_int_equal(seen[0], 12);
    assert_int_equal(seen[1], 12);
    bl_rows_close(rows);
    bl_arena_free(a);
    task_close(&t);
}

/* Documents of the harness "wikitext" are our rolling requests. */
static void word_documents_equal_the_harness(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_DATA");
    BL_NEEDS("BITLADDER_GOLDEN");
    bl_err e = {0};
    task_run t = task_open("wikitext2:word", NULL);
    bl_rows *rows;
    const bl_json *j;
    bl_status st;
    int64_t seen = 0;
    assert_int_equal(t.data.n, 62);
    assert_ok(bl_rows_open(test_path("BITLADDER_GOLDEN", "smollm2-135m/harness/wikitext.jsonl"), &rows, &e));
    while ((st = bl_rows_json(rows, &j, &e)) == BL_OK && j) {
        int64_t item;
        const char *text;
        bl_request q = {0};
        assert_ok(bl_json_get_int(j, "item", &item, &e));
        assert_ok(bl_json_get_str(j, "target", &text, &e));
        assert_ok(t.task->ask(&t.data, item, &(bl_turn){0}, &q, &e));
        assert_int_equal(q.kind, BL_ASK_ROLLING);
        assert_int_equal(q.n_text, strlen(text));
        assert_memory_equal(q.text, text, q.n_text);
        seen++;
    }
    assert_ok(st);
    assert_int_equal(seen, 8);
    bl_rows_close(rows);
    task_close(&t);
}

/* ---- what no model is needed for (lm-evaluation-harness 0.4.13) ---- */
enum { SAME, LONGEST, SHORTEST, GOLD, HEURISTICS };
static const struct {
    const char *task;
    int64_t n;
    double want[HEURISTICS];
} heuristics[] = {
    {"piqa", 1838, {0.4951, 0.4848, 0.5343, 1}},
    {"arc_easy", 2376, {0.2508, 0.2656, 0.2449, 1}},
    {"hellaswag", 10042, {0.2504, 0.2410, 0.2534, 1}},
    {"openbookqa", 500, {0.2760, 0.3620, 0.1480, 1}},
    {"boolq", 3270, {1 - 0.6217, NAN, NAN, 1}},
    {"mmlu", 14042, {0.22945, NAN, NAN, 1}}, /* 3222 / 14042 */
    {"medqa", 1273, {NAN, NAN, NAN, 1}},
    {"medmcqa", 4183, {NAN, NAN, NAN, 1}},
    {"commonsense_qa", 1221, {NAN, NAN, NAN, 1}},
    {"social_iqa", 1954, {NAN, NAN, NAN, 1}},
    {"copa", 100, {NAN, NAN, NAN, 1}},
    {"cosmosqa", 2985, {NAN, NAN, NAN, 1}},
    {"aqua", 254, {NAN, NAN, NAN, 1}},
    {"truthfulqa_mc1", 817, {1, NAN, NAN, 1}}, /* the right answer comes first, and ties are the first's */
    {"truthfulqa_mc2", 817, {NAN, NAN, NAN, NAN}},
};

static void heuristics_without_a_model_give_the_known_shares(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_DATA");
    bl_err e = {0};
    for (size_t k = 0; k < BL_COUNT(heuristics); k++) {
        task_run t = task_open(heuristics[k].task, NULL);
        bl_arena *a, *kept;
        assert_int_equal(t.data.n, heuristics[k].n);
        assert_ok(bl_arena_new(&a, &e));
        assert_ok(bl_arena_new(&kept, &e));
        assert_non_null(bl_alloc(a, 1, 1, &e)); /* its first block stays when items are released */
        bl_sample *s = bl_new((size_t)t.data.n, sizeof *s, &e);
        for (int h = 0; h < HEURISTICS; h++) {
            for (int64_t i = 0; i < t.data.n; i++) {
                bl_mark m = bl_arena_mark(a);
                bl_turn turn = {.arena = a};
                bl_request q;
                pair_reply reply;
                bl_sample one;
                double nll[32];
                assert_ok(t.task->ask(&t.data, i, &turn, &q, &e));
                for (int c = 0; c < q.n_pairs; c++)
                    nll[c] = h == SAME       ? 1
                             : h == LONGEST  ? 1e6 - (double)q.pair[c].chars
                             : h == SHORTEST ? (double)q.pair[c].chars
                                             : strcmp(q.pair[c].continuation + 1, t.task->gold(&t.data, i)) != 0;
                reply_to(&q, nll, &reply);
                turn.reply = &reply.r;
                turn.n_replies = 1;
                assert_ok(bl_mark_item(t.task, &t.data, i, &turn, &one, &e));
                assert_ok(bl_sample_copy(&one, kept, &s[i], &e));
                if (h == SAME) assert_true(s[i].flags & BL_SAMPLE_TIE);
                bl_arena_release(a, m);
            }
            double got = metric_of(&t, "acc", s, t.data.n).value, want = heuristics[k].want[h];
            if (isnan(want)) continue;
            if (h == GOLD ? got < 0.995 : fabs(got - want) > 0.00005) /* an item may have two equal choices */
                fail_msg("%s: heuristic %d gives %.5f, wanted %.4f", heuristics[k].task, h, got, want);
        }
        bl_free(s);
        bl_arena_free(kept);
        bl_arena_free(a);
        task_close(&t);
    }
}

/* Counts of the card: questions of the four parts with anatomy under STEM, and the subjects in them. */
static void mmlu_has_the_parts_of_the_harness(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_DATA");
    static const struct {
        const char *part;
        int64_t items;
    } parts[] = {{"STEM/", 3153}, {"humanities/", 4705}, {"social sciences/", 3077}, {"other/", 3107}};
    task_run t = task_open("mmlu", NULL);
    for (size_t p = 0; p < BL_COUNT(parts); p++) {
        int64_t n = 0;
        for (int64_t i = 0; i < t.data.n; i++)
            n += !strncmp(bl_choice_at(&t.data, i)->group, parts[p].part, strlen(parts[p].part));
        assert_int_equal(n, parts[p].items);
    }
    task_close(&t);
}

static void hellaswag_of_olmes_is_read_too(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_DATA");
    task_run t = task_open("hellaswag:olmes1000", NULL);
    assert_int_equal(t.data.n, 1000);
    assert_null(t.data.note);
    task_close(&t);
    t = task_open("hellaswag", NULL);
    assert_non_null(t.data.note);
    task_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_and_marks_equal_the_harness),
        cmocka_unit_test(gsm8k_prompts_and_marks_equal_the_harness),
        cmocka_unit_test(word_documents_equal_the_harness),
        cmocka_unit_test(heuristics_without_a_model_give_the_known_shares),
        cmocka_unit_test(mmlu_has_the_parts_of_the_harness),
        cmocka_unit_test(hellaswag_of_olmes_is_read_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
