/* tasks_faq.c - the store of answered questions: who is asked and who answers, what is said in which step, what the
 * judge chooses, and answers that were rated. */
#include "task_run.h"
#include "data/task_layouts.h"
#include "kernels/base/fs.h"
#include <math.h>

enum { CANDIDATES = 7 };

static char root[4300];
static const bl_data_dirs dirs = {{root}, 1};

/* Twenty files of one question each, "where is a" … "where is t", but the sixth, which repeats the twentieth. */
static const char *corpus(const char *row, const char *with)
{
    static char text[8192];
    size_t n = 0;
    for (int f = 0; f < 20; f++)
        n += (size_t)snprintf(text + n, sizeof text - n,
                              "{\"file\": \"f%d\", \"question\": \"where is %c\", \"answer\": \"in house %d\"}\n", f,
                              f == 5 ? 't' : 'a' + f, f);
    if (row) {
        char *at = strstr(text, row);
        assert_non_null(at);
        memmove(at + strlen(with), at + strlen(row), strlen(at + strlen(row)) + 1);
        memcpy(at, with, strlen(with));
    }
    return text;
}

static int set_up(void **state)
{
    (void)state;
    unsetenv("BITLADDER_DATA");
    snprintf(root, sizeof root, "%s", test_dir());
    return 0;
}
static int tear_down(void **state)
{
    (void)state;
    return bl_remove_tree(root, NULL) != BL_OK;
}

static void some_files_are_asked_some_are_the_users_and_the_rest_answers(void **state)
{
    bl_err e = {0};
    bl_request q;
    (void)state;
    layout_file(root, ".", "rag/ysa_qa.jsonl", corpus(NULL, NULL));
    task_run t = task_open("faq:dense", &dirs);
    assert_int_equal(t.data.n, 2);
    assert_string_equal(t.task->gold(&t.data, 1), "in house 19");
    assert_ok(t.task->ask(&t.data, 0, &(bl_turn){.arena = t.data.arena}, &q, &e));
    assert_true(q.kind == BL_ASK_NEAR && q.near->kept);
    assert_string_equal(q.query, "where is j");
    assert_int_equal(q.near->n, 15); /* of sixteen, "where is t" is asked */
    for (int64_t i = 0; i < q.near->n; i++)
        assert_null(strstr("where is j, where is t, where is e, where is o", q.near->text[i]));
    task_close(&t);
    t = task_open("feedback:dense", &dirs);
    assert_int_equal(t.data.n, 2);
    assert_string_equal(t.task->gold(&t.data, 0), "in house 4");
    task_close(&t);
    t = task_open("faq:dense", &dirs);
    bl_hash before = t.data.hash;
    task_close(&t);
    layout_file(root, ".", "rag/ysa_feedback.jsonl",
                "{\"question\": \"where is e\", \"answer\": \"there\", \"rating\": 1}\n"
                "{\"question\": \"where is j\", \"answer\": \"leaks\", \"rating\": 1}\n");
    t = task_open("faq:dense", &dirs);
    assert_ok(t.task->ask(&t.data, 0, &(bl_turn){.arena = t.data.arena}, &q, &e));
    assert_int_equal(q.near->n, 16); /* what is asked does not join */
    assert_string_equal(q.near->text[15], "where is e");
    assert_false(bl_hash_equal(before, t.data.hash));
    task_close(&t);
    char path[4400];
    snprintf(path, sizeof path, "%s/rag/ysa_feedback.jsonl", root);
    assert_int_equal(remove(path), 0);
}

/* All steps of an item: what is near, both answers, and the judge's numbers, which are told. */
static void the_judge_chooses_among_what_was_found_and_said(void **state)
{
    static double near[15],
        cosine[CANDIDATES] = {0, 1, 2, 3, 4, 5, 6},
        qim[BL_NEAR_RULES][CANDIDATES] = {{9, 9, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 7, 0}, {0, 0, 3, 0, 0, 2, 9}};
    bl_err e = {0};
    bl_request q;
    bl_sample s = {0};
    (void)state;
    layout_file(root, ".", "rag/ysa_qa.jsonl", corpus(NULL, NULL));
    task_run t = task_open("faq:dense", &dirs);
    for (int i = 0; i < 5; i++) near[10 - 2 * i] = 5 - i; /* rows 10, 8, 6, 4, 2 of the store */
    bl_reply reply[4] = {
        {.kind = BL_ASK_NEAR, .n_near = 15, .cosine = near},
        {.kind = BL_ASK_GENERATE, .n = 1, .text = " no\n"}, /* three characters or fewer */
        {.kind = BL_ASK_GENERATE, .n = 1, .text = " It is in the House 9! "},
        {.kind = BL_ASK_NEAR, .n_near = CANDIDATES, .cosine = cosine, .qim = {qim[0], qim[1], qim[2]}},
    };
    bl_turn turn = {.reply = reply, .step = 1, .n_replies = 1, .arena = t.data.arena};
    assert_ok(t.task->ask(&t.data, 0, &turn, &q, &e));
    char *text = prompt_text(&q.prompt);
    assert_string_equal(text, "Answer the user question: where is j\nAnswer:");
    bl_free(text);
    turn.step = turn.n_replies = 2;
    assert_ok(t.task->ask(&t.data, 0, &turn, &q, &e));
    text = prompt_text(&q.prompt);
    assert_string_equal(text, "Based on the context: in house 13\nin house 11\nin house 8\nin house 6\nin house 2\n"
                              "answer the user question: where is j\nAnswer:");
    bl_free(text);
    turn.step = turn.n_replies = 3;
    assert_ok(t.task->ask(&t.data, 0, &turn, &q, &e));
    assert_true(q.kind == BL_ASK_NEAR && !q.near->kept && q.near->n == CANDIDATES);
    assert_string_equal(q.near->text[0], "in house 13");
    assert_string_equal(q.near->text[5], "It is in the House 9!");
    assert_string_equal(q.near->text[6], "no");
    turn.step = turn.n_replies = 4;
    assert_ok(t.task->ask(&t.data, 0, &turn, &q, &e));
    assert_int_equal(q.kind, BL_ASK_DONE);
    assert_ok(t.task->mark(&t.data, 0, &turn, &s, &e));
    /* the first of equal ones; the answer with context; the answer of two characters has 0; the best one is the same */
    static const double picks[] = {0, 5, 2, 5};
    for (int k = 0; k < 4; k++) assert_true(s.value[k] == picks[k]);
    assert_true(s.value[4] >= 0 && s.value[4] < CANDIDATES && s.value[5] == 5);
    /* "it is in house 9" and "in house 9": 3 of 5 and 3 words; "in house 13": 2 of 3 and 3 */
    assert_true(fabs(metric_of(&t, "token_f1", &s, 1).value - 6.0 / 8) < 1e-15);
    assert_true(metric_of(&t, "exact", &s, 1).value == 0 && metric_of(&t, "f1_closed", &s, 1).value == 0);
    assert_true(fabs(metric_of(&t, "f1_qim2", &s, 1).value - 4.0 / 6) < 1e-15);
    assert_true(fabs(metric_of(&t, "f1_oracle", &s, 1).value - 6.0 / 8) < 1e-15);
    assert_true(fabs(metric_of(&t, "f1_first", &s, 1).value - 4.0 / 6) < 1e-15);
    assert_string_equal(s.answer[0], "It is in the House 9!");
    task_close(&t);
}

static void a_corpus_that_cannot_be_is_refused_with_its_line(void **state)
{
    static const struct {
        const char *row, *with, *says;
    } bad[] = {
        {"\"question\": \"where is c\"", "\"query\": \"x\"", "ysa_qa.jsonl:3: 'question' is missing"},
        {"\"in house 3\"", "\" \"", "ysa_qa.jsonl:4: 'answer' is empty"},
        {"\"file\": \"f7\"", "\"file\": 7", "ysa_qa.jsonl:8: "},
    };
    bl_err e = {0};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(bad); i++) {
        layout_file(root, ".", "rag/ysa_qa.jsonl", corpus(bad[i].row, bad[i].with));
        assert_refused(task_refusal("faq:bm25", root, &e), BL_E_FORMAT, bad[i].says);
    }
    layout_file(root, ".", "rag/ysa_qa.jsonl", "{\"file\": \"a\", \"question\": \"q\", \"answer\": \"a\"}\n");
    assert_refused(task_refusal("faq:bm25", root, &e), BL_E_FORMAT,
                   "0 questions of 1 files to ask and 1 to answer from, expected at least 10 files and 5 answers");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(some_files_are_asked_some_are_the_users_and_the_rest_answers),
        cmocka_unit_test(the_judge_chooses_among_what_was_found_and_said),
        cmocka_unit_test(a_corpus_that_cannot_be_is_refused_with_its_line),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
