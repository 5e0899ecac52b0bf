/* tasks_instruct.c - instructions in their templates, and what is counted of answers. */
#include "task_run.h"
#include "data/task_layouts.h"
#include <math.h>

static const char *dir;
static char root[4300];
static bl_data_dirs dirs = {{root}, 1};
static int setup(void **state)
{
    (void)state;
    dir = strdup(test_dir());
    snprintf(root, sizeof root, "%s/one", dir);
    unsetenv("BITLADDER_DATA");
    layout_file(
        dir, "one", "instruct_eval/self_instruct_test.jsonl",
        "{\"id\":\"a\",\"instruction\":\"Write {it}.\",\"instances\":[{\"input\":\"\",\"output\":\"The cat, a "
        "dog.\"}]}\n"
        "{\"id\":\"b\",\"instruction\":\"Sort <|im_end|>.\",\"instances\":[{\"input\":\"b a\",\"output\":\"a b\"}]}\n");
    layout_file(dir, "two", "instruct_eval/mt_bench_questions.jsonl",
                "{\"question_id\":81,\"category\":\"writing\",\"turns\":[\"First?\",\"Second?\"]}\n");
    layout_file(dir, "two", "instruct_eval/mt_bench_reference_gpt4.jsonl",
                "{\"question_id\":81,\"choices\":[{\"index\":0,\"turns\":[\"It is four\",\"two\"]}]}\n");
    layout_file(dir, "one", "instruct_eval/mt_bench_questions.jsonl",
                "{\"question_id\":81,\"category\":\"writing\",\"turns\":[\"First?\",\"Second?\"]}\n"
                "{\"question_id\":101,\"category\":\"math\",\"turns\":[\"Two and two?\"]}\n");
    layout_file(dir, "one", "instruct_eval/mt_bench_reference_gpt4.jsonl",
                "{\"question_id\":101,\"choices\":[{\"index\":0,\"turns\":[\"It is four\",\"x\"]}]}\n");
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    bl_remove_tree(dir, NULL);
    free((void *)(uintptr_t)dir);
    return 0;
}

static void an_instruction_stands_in_the_template_of_alpaca(void **state)
{
    static const char *const want[] = {
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nWrite {it}.\n\n### Response:",
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
        "response that appropriately completes the request.\n\n### Instruction:\nSort <|im_end|>.\n\n### Input:\nb "
        "a\n\n"
        "### Response:"};
    static const char *const through[] = {"Write {it}.", "Sort <|im_end|>.\n\nb a"};
    bl_err e = {0};
    bl_request q;
    (void)state;
    task_run t = task_open("self_instruct", &dirs);
    for (int i = 0; i < 2; i++)
        for (int chat = 0; chat < 2; chat++) {
            t.data.chat = chat;
            assert_ok(bl_task_ask(t.task, &t.data, i, &(bl_turn){.arena = t.data.arena}, &q, &e));
            char *text = prompt_text(&q.prompt);
            assert_string_equal(text, chat ? through[i] : want[i]);
            assert_int_equal(q.prompt.chat, chat);
            assert_true(q.temperature == 0 && q.max_new == 512 && q.n_stops == 4);
            bl_free(text);
        }
    task_close(&t);
}

static void categories_have_their_temperature_and_items_their_seed(void **state)
{
    bl_err e = {0};
    bl_request q[2];
    (void)state;
    task_run t = task_open("mt_bench:first", &dirs);
    assert_int_equal(t.data.n, 2);
    for (int i = 0; i < 2; i++) assert_ok(t.task->ask(&t.data, i, &(bl_turn){.arena = t.data.arena}, &q[i], &e));
    assert_true(q[0].temperature == 0.7 && q[1].temperature == 0 && q[0].seed != q[1].seed);
    task_close(&t);
}

static void answers_are_counted(void **state)
{
    static const struct {
        const char *task, *text;
        int item;
        double f1, repeated, empty, words;
        int has;
    } rows[] = {
        {"self_instruct", "A cat. THE DOG!", 0, 1, 0, 0, 4, 1},
        {"self_instruct", "cat cat", 0, 0.5, 0, 0, 2, 1}, /* one of two, of two: 2 / 4 */
        {"self_instruct", "", 0, 0, 0, 1, 0, 1},
        {"self_instruct", " ... ", 1, 0, 0, 1, 0, 1},
        {"self_instruct", "x y z w x y z w", 1, 0, 0.2, 0, 8, 1}, /* one run of five was there before */
        {"mt_bench:first", "four", 1, 0.5, 0, 0, 1, 1},           /* it is four: 2 / 4 */
        {"mt_bench:first", "Anything", 0, 0, 0, 0, 1, 0},         /* no reference */
    };
    bl_err e = {0};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        task_run t = task_open(rows[i].task, &dirs);
        bl_reply r = {.kind = BL_ASK_GENERATE, .n = 1, .text = rows[i].text, .new_tokens = 3};
        bl_sample s;
        assert_ok(bl_mark_item(t.task, &t.data, rows[i].item,
                               &(bl_turn){.step = 1, .reply = &r, .n_replies = 1, .arena = t.data.arena}, &s, &e));
        const double want[] = {rows[i].f1, rows[i].repeated, rows[i].empty, rows[i].words, rows[i].has};
        for (int k = 0; k < 5; k++)
            if (fabs(s.score[k] - want[k]) > 1e-12) fail_msg("row %zu: score %d is %g", i, k, s.score[k]);
        if (rows[i].has) assert_int_equal(metric_of(&t, "token_f1", &s, 1).n, 1);
        assert_string_equal(s.reply[0], rows[i].text);
        if (!strcmp(rows[i].task, "mt_bench:first")) {
            assert_true(s.value[0] == (rows[i].item ? 101 : 81));
            assert_string_equal(s.group, rows[i].item ? "math" : "writing");
        }
        task_close(&t);
    }
}

/* The second question comes after the first and what was replied; what is counted is the mean of both. */
static void a_conversation_has_two_questions(void **state)
{
    static const char alpaca[] = "Below is an instruction that describes a task. Write a response that appropriately "
                                 "completes the request.\n\n### Instruction:\nFirst?\n\n### Response: four\n\n### "
                                 "Instruction:\nSecond?\n\n### Response:";
    char two[4300];
    bl_data_dirs d = {{two}, 1};
    bl_err e = {0};
    bl_request q[3];
    bl_reply r[2] = {{.kind = BL_ASK_GENERATE, .n = 1, .text = " four"},
                     {.kind = BL_ASK_GENERATE, .n = 1, .text = "a b"}};
    bl_turn turn = {.reply = r};
    bl_sample s;
    (void)state;
    snprintf(two, sizeof two, "%s/two", dir);
    task_run t = task_open("mt_bench", &d);
    turn.arena = t.data.arena;
    for (int chat = 0; chat < 2; chat++) {
        t.data.chat = chat;
        for (int k = 0; k < 3; k++) {
            turn.step = turn.n_replies = k;
            assert_ok(bl_task_ask(t.task, &t.data, 0, &turn, &q[k], &e));
        }
        assert_true(q[0].seed != q[1].seed && q[1].temperature == 0.7 && q[2].kind == BL_ASK_DONE);
        assert_true(q[0].prompt.n_exchanges == 0 && (q[1].prompt.n_exchanges == 1) == chat);
        char *text = prompt_text(&q[1].prompt);
        assert_string_equal(text, chat ? "First? fourSecond?" : alpaca);
        if (chat)
            assert_true(q[1].prompt.exchange->said == 1 && q[1].prompt.exchange->again == 2 && q[1].prompt.turn == 0);
        bl_free(text);
    }
    assert_ok(bl_mark_item(t.task, &t.data, 0, &turn, &s, &e));
    assert_true(s.n_replies == 2 && s.score[0] == 0.25 && s.score[3] == 1.5); /* f1 of 1/2 and 0; one and two words */
    task_close(&t);
}

static void wrong_rows_are_refused_with_their_place(void **state)
{
    static const struct {
        const char *task, *file, *text, *says;
    } rows[] = {
        {"mt_bench:first", "mt_bench_questions.jsonl",
         "{\"question_id\":1,\"category\":\"a\",\"turns\":[\"x\"]}\n{\"question_id\":1,\"category\":\"a\",\"turns\":["
         "\"y\"]}\n",
         "mt_bench_questions.jsonl:2: question_id 1 comes twice, first in line 1; "},
        {"mt_bench:first", "mt_bench_questions.jsonl", "{\"question_id\":1,\"category\":\"a\",\"turns\":[]}\n",
         "mt_bench_questions.jsonl:1: 'turns' is no list of questions"},
        {"mt_bench:first", "mt_bench_questions.jsonl", "{\"question_id\":1,\"category\":\"a\",\"turns\":[\"\"]}\n",
         "mt_bench_questions.jsonl:1: a question of 'turns' is empty, expected a text"},
        {"mt_bench", "mt_bench_questions.jsonl", "{\"question_id\":1,\"category\":\"a\",\"turns\":[\"x\",\" \"]}\n",
         "mt_bench_questions.jsonl:1: a question of 'turns' is empty, expected a text"},
        {"mt_bench", "mt_bench_questions.jsonl", "{\"question_id\":1,\"category\":\"a\",\"turns\":[\"x\"]}\n",
         "mt_bench_questions.jsonl:1: 'turns' has one question, expected two"},
        {"koala", "koala_test.jsonl", "{\"id\":\"k\",\"prompt\":\" \"}\n", "koala_test.jsonl:1: 'prompt' is empty"},
        {"wizardlm", "wizardlm_test.jsonl", "{\"idx\":1,\"Instruction\":\"x\"}\n",
         "wizardlm_test.jsonl:1: 'Skill' is missing"},
        {"self_instruct", "self_instruct_test.jsonl", "{\"instruction\":\"x\",\"instances\":{}}\n",
         "self_instruct_test.jsonl:1: 'instances' is no list"},
    };
    bl_err e = {0};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        char name[32], file[128], at[4300];
        snprintf(name, sizeof name, "bad%zu", i);
        snprintf(file, sizeof file, "instruct_eval/%s", rows[i].file);
        layout_file(dir, name, file, rows[i].text);
        snprintf(at, sizeof at, "%s/%s", dir, name);
        assert_refused(task_refusal(rows[i].task, at, &e), BL_E_FORMAT, rows[i].says);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_instruction_stands_in_the_template_of_alpaca),
        cmocka_unit_test(categories_have_their_temperature_and_items_their_seed),
        cmocka_unit_test(answers_are_counted),
        cmocka_unit_test(a_conversation_has_two_questions),
        cmocka_unit_test(wrong_rows_are_refused_with_their_place),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
