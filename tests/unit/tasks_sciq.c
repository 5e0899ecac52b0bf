/* tasks_sciq.c - BM25 against recorded scores, places of passages, and questions with the passage that was found. */
#include "task_run.h"
#include "data/task_layouts.h"
#include "kernels/base/fs.h"
#include "tasks/shared_bm25.h"
#include <math.h>

static const char *const passage[] = {
    "Photosynthesis turns light into sugar; plants do it.",
    "Light is a wave. Light bends in water, and water bends light.",
    "A frog lives in water and on land.",
    "Sugar, sugar, sugar!",
    "Na\xc3\xafve caf\xc3\xa9s sell 42 sugar cubes to plants",
};
enum { N = BL_COUNT(passage) };

/* Recorded with bm25s 0.3.16 (method "lucene", k1 1.2, b 0.75) from words cut as here. */
#include "data/bm25_recorded.h"
static void scores_and_ranking_are_those_of_an_independent_program(void **state)
{
    bl_err e = {0};
    bl_arena *a;
    bl_bm25 *b;
    double score[N];
    (void)state;
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_bm25_new(passage, N, a, &b, &e));
    for (size_t q = 0; q < BL_COUNT(recorded); q++) {
        bl_bm25_scores(b, recorded[q].question, score);
        for (int i = 0; i < N; i++)
            if (fabs(score[i] - recorded[q].score[i]) > 2e-6 * fmax(1, recorded[q].score[i])) /* in single precision */
                fail_msg("%s, passage %d: %.9g, recorded %.9g", recorded[q].question, i, score[i],
                         recorded[q].score[i]);
        assert_int_equal(bl_rank_first(score, N), recorded[q].first);
    }
    bl_arena_free(a);
}

/* Two passages of two words; "x" is in both, "y" in one: idf(y) = ln(1 + 1.5 / 1.5) = ln 2, tf part 1 / (1 + 1.2). */
static void a_score_fits_on_paper(void **state)
{
    static const char *const two[] = {"x y", "x Z"};
    bl_err e = {0};
    bl_arena *a;
    bl_bm25 *b;
    double s[2];
    (void)state;
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_bm25_new(two, 2, a, &b, &e));
    bl_bm25_scores(b, "Y?", s);
    assert_true(fabs(s[0] - log(2) / 2.2) < 1e-15 && s[1] == 0);
    bl_bm25_scores(b, "y y", s);
    assert_true(fabs(s[0] - 2 * log(2) / 2.2) < 1e-15);
    bl_bm25_scores(b, "nothing of it", s);
    assert_true(s[0] == 0 && s[1] == 0 && bl_rank_first(s, 2) == 0);
    assert_int_equal(bl_rank_of(s, 2, 1), 2); /* an equal one that comes first is in front */
    assert_int_equal(bl_rank_of((double[]){1, 3, 2}, 3, 2), 2);
    bl_arena_free(a);
}

static const char rows[] =
    "{\"question\":\"What do plants turn light "
    "into?\",\"distractor1\":\"a\",\"distractor2\":\"b\",\"distractor3\":\"c\","
    "\"correct_answer\":\"sugar\",\"support\":\"Plants turn light into sugar.\"}\n"
    "{\"question\":\"Where do plants live?\",\"distractor1\":\"a\",\"distractor2\":\"b\",\"distractor3\":\"c\","
    "\"correct_answer\":\"land\",\"support\":\" A frog lives in water. \"}\n"
    "{\"question\":\"What is light?\",\"distractor1\":\"a\",\"distractor2\":\"b\",\"distractor3\":\"c\","
    "\"correct_answer\":\"a wave\",\"support\":\"\"}\n";

/* A round of feedback: what was marked is a passage more, and is not asked again, by any name. */
static void marked_answers_are_passages_and_are_not_asked(void **state)
{
    static const char *const names[] = {"sciq:own", "sciq:closed", "sciq:bm25", "sciq:dense"};
    bl_err e = {0};
    const char *dir = strdup(test_dir());
    char root[4300];
    bl_data_dirs d = {{root}, 1};
    bl_request q;
    (void)state;
    unsetenv("BITLADDER_DATA");
    snprintf(root, sizeof root, "%s/marked", dir);
    layout_file(dir, "marked", "rag/sciq_validation.jsonl", rows);
    task_run before = task_open("sciq:bm25", &d);
    layout_file(dir, "marked", "rag/sciq_feedback.jsonl",
                "{\"question\":\"What is light?\",\"answer\":\"Where plants live: light\"}\n"
                "{\"question\":\"Is it in no file?\",\"answer\":\"yes\"}\n");
    for (size_t k = 0; k < BL_COUNT(names); k++) {
        task_run t = task_open(names[k], &d);
        assert_int_equal(t.data.n, 2);
        assert_false(bl_hash_equal(t.data.hash, before.data.hash));
        assert_non_null(strstr(t.data.note, "1 of 3 questions were marked in sciq_feedback.jsonl"));
        assert_string_equal(t.task->question(&t.data, 1), "Where do plants live?");
        assert_ok(t.task->ask(&t.data, 1, &(bl_turn){.arena = t.data.arena}, &q, &e));
        if (q.kind == BL_ASK_NEAR) { /* two passages of the file, two marked answers */
            assert_int_equal(q.near->n, 4);
            assert_string_equal(q.near->text[2], "What is light? Where plants live: light");
            assert_string_equal(q.near->text[3], "Is it in no file? yes");
        } else if (!strcmp(names[k], "sciq:bm25")) {
            char *prompt = prompt_text(&q.pair[0].context);
            assert_string_equal(prompt,
                                "What is light? Where plants live: light\nQuestion: Where do plants live?\nAnswer:");
            bl_free(prompt);
        }
        task_close(&t);
    }
    layout_file(dir, "marked", "rag/sciq_feedback.jsonl",
                "{\"question\":\"What is light?\",\"answer\":\"a\"}\n{\"question\":\"Where do plants "
                "live?\",\"answer\":\"a\"}\n{\"question\":\"What do plants turn light into?\",\"answer\":\"a\"}\n");
    assert_refused(task_refusal("sciq:closed", root, &e), BL_E_FORMAT, "every question was marked in");
    layout_file(dir, "marked", "rag/sciq_feedback.jsonl", "{\"question\":\"What is light?\"}\n");
    assert_refused(task_refusal("sciq:closed", root, &e), BL_E_FORMAT, "sciq_feedback.jsonl:1: 'answer' is missing");
    task_close(&before);
    assert_ok(bl_remove_tree(dir, &e));
    free((void *)(uintptr_t)dir);
}

/* What is asked of vectors: the question against each passage once; what is nearest is in front of the question, and
 * places are by the cosine and by each measure. */
static void vectors_choose_the_passage_and_places_are_by_every_measure(void **state)
{
    static double cosine[2] = {0.1, 0.9}, qim[BL_NEAR_RULES][2] = {{3, 2}, {2, 2}, {1, 5}};
    bl_err e = {0};
    const char *dir = strdup(test_dir());
    char root[4300];
    bl_data_dirs d = {{root}, 1};
    bl_request q;
    pair_reply r;
    bl_sample s[2] = {{0}};
    (void)state;
    unsetenv("BITLADDER_DATA");
    layout_file(dir, "one", "rag/sciq_validation.jsonl", rows);
    snprintf(root, sizeof root, "%s/one", dir);
    task_run t = task_open("sciq:dense", &d);
    for (int i = 0; i < 2; i++) {
        assert_ok(t.task->ask(&t.data, i, &(bl_turn){.arena = t.data.arena}, &q, &e));
        assert_int_equal(q.kind, BL_ASK_NEAR);
        assert_string_equal(q.query, i ? "Where do plants live?" : "What do plants turn light into?");
        assert_true(q.near->n == 2 && q.near->kept && !q.near->encoder);
        assert_string_equal(q.near->text[0], "Plants turn light into sugar.");
        assert_string_equal(q.near->text[1], "A frog lives in water.");
        bl_reply reply[2] = {{.kind = BL_ASK_NEAR, .n_near = 2, .cosine = cosine, .qim = {qim[0], qim[1], qim[2]}},
                             {0}};
        bl_turn turn = {.step = 1, .reply = reply, .n_replies = 1, .arena = t.data.arena};
        assert_ok(t.task->ask(&t.data, i, &turn, &q, &e));
        char *text = prompt_text(&q.pair[0].context);
        assert_non_null(strstr(text, "A frog lives in water.\nQuestion: "));
        bl_free(text);
        reply_to(&q, (double[]){4, 3, 2, 1}, &r);
        reply[1] = r.r;
        turn.step = turn.n_replies = 2;
        assert_ok(t.task->mark(&t.data, i, &turn, &s[i], &e));
        assert_ok(t.task->ask(&t.data, i, &turn, &q, &e));
        assert_int_equal(q.kind, BL_ASK_DONE);
    }
    /* places by the cosine 2 and 1, by two levels 1 and 2, by three (equal) 1 and 2, by sixteen 2 and 1 */
    static const double places[2][5] = {{2, 1, 1, 1, 2}, {1, 1, 2, 2, 1}};
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 5; k++) assert_true(s[i].value[4 + k] == places[i][k]);
    assert_true(metric_of(&t, "acc", s, 2).value == 1 && metric_of(&t, "recall@1", s, 2).value == 0.5);
    assert_true(metric_of(&t, "mrr", s, 2).value == 0.75 && metric_of(&t, "mrr_qim16", s, 2).value == 0.75);
    assert_true(metric_of(&t, "recall@1_qim2", s, 1).value == 1 && metric_of(&t, "recall@1_qim16", s, 1).value == 0);
    assert_true(metric_of(&t, "mrr_qim3", s, 2).value == 0.75);
    bl_hash dense = t.data.hash;
    task_close(&t);

    /* an encoder beside the data is asked instead, and is part of what the numbers are of */
    static const char *const files[] = {"config.json", "model.safetensors", "tokenizer.json",
                                        "sentence_bert_config.json"};
    for (size_t i = 0; i < BL_COUNT(files); i++) {
        char from[4300], to[4400], *bytes;
        size_t n;
        snprintf(from, sizeof from, BL_SOURCE_DIR "/tests/data/encoder/%s", files[i]);
        snprintf(to, sizeof to, "%s/encoder", root);
        assert_ok(bl_make_dirs(to, &e));
        snprintf(to, sizeof to, "%s/encoder/%s", root, files[i]);
        assert_ok(bl_read_file(from, 1 << 20, &bytes, &n, &e));
        assert_ok(bl_write_file(to, bytes, n, &e));
        bl_free(bytes);
    }
    t = task_open("sciq:encoder", &d);
    assert_ok(t.task->ask(&t.data, 0, &(bl_turn){.arena = t.data.arena}, &q, &e));
    assert_non_null(strstr(q.near->encoder, "/one/encoder"));
    assert_false(bl_hash_equal(dense, t.data.hash));
    task_close(&t);
    assert_ok(bl_remove_tree(dir, &e));
    free((void *)(uintptr_t)dir);
}

static void questions_come_with_the_passage_that_was_found(void **state)
{
    static const struct {
        const char *name, *prompt[3];
    } want[] = {
        {"sciq:own",
         {"Plants turn light into sugar.\nQuestion: What do plants turn light into?\nAnswer:",
          "A frog lives in water.\nQuestion: Where do plants live?\nAnswer:", "\nQuestion: What is light?\nAnswer:"}},
        {"sciq:closed",
         {"Question: What do plants turn light into?\nAnswer:", "Question: Where do plants live?\nAnswer:",
          "Question: What is light?\nAnswer:"}},
        {"sciq:bm25",
         {"Plants turn light into sugar.\nQuestion: What do plants turn light into?\nAnswer:",
          "Plants turn light into sugar.\nQuestion: Where do plants live?\nAnswer:",
          "Plants turn light into sugar.\nQuestion: What is light?\nAnswer:"}},
    };
    bl_err e = {0};
    const char *dir = strdup(test_dir());
    char root[4300];
    bl_data_dirs d = {{root}, 1};
    (void)state;
    unsetenv("BITLADDER_DATA");
    layout_file(dir, "one", "rag/sciq_validation.jsonl", rows);
    snprintf(root, sizeof root, "%s/one", dir);
    for (size_t k = 0; k < BL_COUNT(want); k++) {
        task_run t = task_open(want[k].name, &d);
        static const char *const notes[] = {
            "1 of 3 questions have an empty 'support': they are asked without a passage", "",
            "1 of 3 questions have an empty 'support': they are not counted in recall, mrr and ndcg"};
        assert_string_equal(t.data.note ? t.data.note : "", notes[k]);
        bl_sample s[3];
        for (int i = 0; i < 3; i++) {
            bl_request q;
            pair_reply r;
            assert_ok(t.task->ask(&t.data, i, &(bl_turn){.arena = t.data.arena}, &q, &e));
            char *text = prompt_text(&q.pair[0].context);
            assert_string_equal(text, want[k].prompt[i]);
            assert_string_equal(q.pair[3].continuation, i == 0 ? " sugar" : i == 1 ? " land" : " a wave");
            bl_free(text);
            reply_to(&q, (double[]){4, 3, 2, i == 2 ? 9 : 1}, &r);
            s[i] = (bl_sample){0};
            assert_ok(t.task->mark(
                &t.data, i, &(bl_turn){.reply = &r.r, .n_replies = 1, .step = 1, .arena = t.data.arena}, &s[i], &e));
        }
        assert_true(fabs(metric_of(&t, "acc", s, 3).value - 2.0 / 3) < 1e-15);
        if (k == 2) { /* places 1 and 2, and no passage */
            assert_true(metric_of(&t, "recall@1", s, 3).n == 2 && metric_of(&t, "recall@1", s, 3).value == 0.5);
            assert_true(metric_of(&t, "recall@5", s, 3).value == 1 && metric_of(&t, "mrr", s, 3).value == 0.75);
            assert_true(fabs(metric_of(&t, "ndcg@10", s, 3).value - (1 + 1 / log2(3)) / 2) < 1e-15);
            assert_true(s[1].n_values == 6 && s[1].value[4] == 2 && s[1].value[5] == 0 && s[2].value[4] == 0);
        }
        task_close(&t);
    }
    layout_file(
        dir, "none", "rag/sciq_validation.jsonl",
        "{\"question\":\"q\",\"distractor1\":\"a\",\"distractor2\":\"b\",\"distractor3\":\"c\",\"correct_answer\":"
        "\"d\",\"support\":\"\"}");
    snprintf(root, sizeof root, "%s/none", dir);
    assert_refused(task_refusal("sciq:bm25", root, &e), BL_E_FORMAT, "every 'support' is empty");
    assert_ok(bl_remove_tree(dir, &e));
    free((void *)(uintptr_t)dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(marked_answers_are_passages_and_are_not_asked),
        cmocka_unit_test(scores_and_ranking_are_those_of_an_independent_program),
        cmocka_unit_test(a_score_fits_on_paper),
        cmocka_unit_test(questions_come_with_the_passage_that_was_found),
        cmocka_unit_test(vectors_choose_the_passage_and_places_are_by_every_measure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
