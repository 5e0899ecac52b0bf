/* Chains of thought: prompts with, without and in two requests, and what is read out of replies. */
#include "task_run.h"
#include "data/task_layouts.h"
#include "tasks/shared_answer.h"

static const char *dir;
static int setup(void **state)
{
    (void)state;
    dir = strdup(test_dir());
    unsetenv("BITLADDER_DATA");
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    bl_remove_tree(dir, NULL);
    free((void *)(uintptr_t)dir);
    return 0;
}

/* The task of that name over the one made-up item of its set. */
static task_run open_one(const char *name)
{
    static char root[4400];
    static const struct {
        const char *set, *file, *text;
    } sets[] = {
        {"svamp", "math_word/SVAMP.json", "[{\"Body\":\"b\",\"Question\":\"q\",\"Answer\":1050.5}]"},
        {"aqua", "aqua/test.jsonl",
         "{\"question\":\"q\",\"options\":[\"A)1\",\"B)2\",\"C)3\",\"D)4\",\"E)5\"],\"correct\":\"A\"}"},
        {"strategyqa", "strategyqa/bigbench_task.json",
         "{\"examples\":[{\"input\":\"q\",\"target_scores\":{\"Yes\":0,\"No\":1}}]}"},
        {"last_letters", "symbolic/last_letters.json", "{\"examples\":[{\"question\":\"q\",\"answer\":\"yajo\"}]}"},
        {"gsm8k", "gsm8k/test.jsonl", "{\"question\":\"q\",\"answer\":\"so\\n#### 1,050\"}"},
    };
    for (size_t i = 0; i < BL_COUNT(sets); i++) layout_file(dir, "one", sets[i].file, sets[i].text);
    layout_file(dir, "one", "gsm8k/train.jsonl",
                "{\"question\":\"t0\",\"answer\":\"a <<1=1>>\\n#### 0\"}\n{\"question\":\"t1\",\"answer\":\"#### 1\"}\n"
                "{\"question\":\"t2\",\"answer\":\"#### 2\"}\n{\"question\":\"t3\",\"answer\":\"#### 3\"}\n"
                "{\"question\":\"t4\",\"answer\":\"#### 4\"}\n{\"question\":\"t5\",\"answer\":\"#### 5\"}\n");
    snprintf(root, sizeof root, "%s/one", dir);
    bl_data_dirs d = {{root}, 1};
    return task_open(name, &d);
}

static int times(const char *text, const char *what)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)) != NULL; p++) n++;
    return n;
}

static void examples_reason_or_do_not(void **state)
{
    static const struct {
        const char *name, *reasons, *says;
        int questions, answers;
        int64_t most;
    } rows[] = {
        {"svamp:cot8", "So there must have been 21 - 15 = 6. The answer is 6.\n\nQ: ", "The answer is ", 9, 8, 256},
        {"svamp:direct", "plant today?\nA: The answer is 6.\n\nQ: ", "The answer is ", 9, 8, 32},
        {"aqua:cot4", "So the new mean would be 50. The answer is (A).\n\nQ: ", "The answer is (", 5, 4, 256},
        {"aqua:direct", "(E) 64\nA: The answer is (A).\n\nQ: ", "The answer is (", 5, 4, 32},
        {"strategyqa:cot6", "Thus, a pear would float. So the answer is no.\n\nQ: q\nA:", "So the answer is ", 7, 6,
         256},
        {"strategyqa:direct", "sink in water?\nA: The answer is no.\n\nQ: q\nA:", "The answer is ", 7, 6, 32},
        {"last_letters:cot4", "they are \"yosy\". The answer is yosy.\n\nQ: q\nA:", "The answer is ", 5, 4, 256},
    };
    bl_err e = {0};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        task_run t = open_one(rows[i].name);
        bl_request q;
        assert_ok(t.task->ask(&t.data, 0, &(bl_turn){.arena = t.data.arena}, &q, &e));
        char *text = prompt_text(&q.prompt);
        if (!strstr(text, rows[i].reasons)) fail_msg("%s:\n%s", rows[i].name, text);
        assert_int_equal(times(text, "Q: "), rows[i].questions);
        assert_int_equal(times(text, rows[i].says), rows[i].answers);
        assert_int_equal(q.max_new, rows[i].most);
        assert_int_equal(q.n_stops, 3);
        assert_string_equal(text + strlen(text) - 3, "\nA:");
        bl_free(text);
        assert_ok(t.task->ask(&t.data, 0, &(bl_turn){.step = 1, .arena = t.data.arena}, &q, &e));
        assert_int_equal(q.kind, BL_ASK_DONE);
        task_close(&t);
    }
}

static void without_examples_the_answer_is_a_second_request(void **state)
{
    bl_err e = {0};
    bl_request q;
    const bl_reply z = {.kind = BL_ASK_GENERATE, .n = 1, .text = " One <|im_end|> two."};
    (void)state;
    task_run t = open_one("svamp:zeroshot");
    assert_ok(t.task->ask(&t.data, 0, &(bl_turn){.arena = t.data.arena}, &q, &e));
    char *text = prompt_text(&q.prompt);
    assert_string_equal(text, "Q: b q\nA: Let's think step by step.");
    assert_int_equal(q.max_new, 256);
    bl_free(text);
    bl_turn turn = {.step = 1, .reply = &z, .n_replies = 1, .arena = t.data.arena};
    assert_ok(t.task->ask(&t.data, 0, &turn, &q, &e));
    text = prompt_text(&q.prompt);
    assert_string_equal(text, "Q: b q\nA: Let's think step by step. One <|im_end|> two.\n"
                              "Therefore, the answer (arabic numerals) is");
    assert_int_equal(q.max_new, 32);
    for (size_t i = 0; i < q.prompt.n; i++) /* what the model wrote is no template */
        if (memmem(q.prompt.span[i].text, q.prompt.span[i].n, "<|im_end|>", 10)) assert_true(q.prompt.span[i].data);
    bl_free(text);
    turn.step = 2;
    assert_ok(t.task->ask(&t.data, 0, &turn, &q, &e));
    assert_int_equal(q.kind, BL_ASK_DONE);
    task_close(&t);
}

static void the_first_five_training_examples_are_as_they_are(void **state)
{
    bl_err e = {0};
    bl_request q;
    (void)state;
    task_run t = open_one("gsm8k:first5");
    assert_ok(t.task->ask(&t.data, 0, &(bl_turn){.arena = t.data.arena}, &q, &e));
    char *text = prompt_text(&q.prompt);
    assert_string_equal(text, "Question: t0\nAnswer: a <<1=1>>\n#### 0\n\nQuestion: t1\nAnswer: #### 1\n\n"
                              "Question: t2\nAnswer: #### 2\n\nQuestion: t3\nAnswer: #### 3\n\n"
                              "Question: t4\nAnswer: #### 4\n\nQuestion: q\nAnswer:");
    assert_string_equal(q.stop[0], "Question:");
    bl_free(text);
    task_close(&t);
}

/* What is found where; -: nothing. Right when it is the answer of the item: 1050.5, A, no, yajo, 1,050. */
static void answers_are_found_strictly_and_flexibly(void **state)
{
    static const struct {
        const char *task, *first, *second, *answer;
        int strict, flexible; /* 1 right, 0 wrong, -1 nothing found */
    } rows[] = {
        {"svamp:cot8", " It costs. The answer is 1,050.5.", NULL, "1,050.5", 1, 1},
        {"svamp:cot8", "the answer is 5.", NULL, "5.", -1, 0},         /* the case of the pattern counts */
        {"svamp:cot8", "costs $1,050.50.", NULL, "$1,050.50.", -1, 0}, /* strings, not numbers */
        {"svamp:cot8", "none", NULL, NULL, -1, -1},
        {"svamp:zeroshot", "7 eggs", " $1,050.5. Then 3.", "1,050.5.", 1, 1},
        {"svamp:zeroshot", "so 1050.5", " not known", "1050.5", -1, 1},
        {"svamp:zeroshot", "so 1050.5", " -3", "-3", 0, 0},
        {"aqua:cot4", " As A said. The answer is (B). The answer is (A).", NULL, "B", 0, 1},
        {"aqua:cot4", " The answer is A", NULL, "A", 1, 1},
        {"aqua:cot4", " So the answer is (A).", NULL, "A", 1, 1},
        {"aqua:cot4", " The answer is Any", NULL, NULL, -1, -1},
        {"aqua:cot4", " The answer is 21, which is (A)", NULL, "A", -1, 1},
        {"aqua:cot4", " Answer: A", NULL, NULL, -1, -1}, /* no bracket, nothing in front of it */
        {"aqua:cot4", " It is (B), no, (A).", NULL, "A", -1, 1},
        {"aqua:cot4", " The answer is (A4)", NULL, NULL, -1, -1},
        {"aqua:zeroshot", "All of (A)", " (A) 1", "A", 1, 1},
        {"aqua:zeroshot", "So (A)", " unknown", "A", -1, 1},
        {"strategyqa:cot6", " Pears float. So the answer is no.", NULL, "no", 1, 1},
        {"strategyqa:cot6", " So the answer is not known. Yes.", NULL, "Yes", -1, 0},
        {"strategyqa:cot6", " No, never.", NULL, "No", -1, 1},
        {"strategyqa:cot6", " nobody knows", NULL, NULL, -1, -1},
        {"strategyqa:zeroshot", "yes", " NO!", "NO", 1, 1},
        {"last_letters:cot4", " The answer is \"yajo\".", NULL, "yajo", 1, 1},
        {"last_letters:cot4", " The answer is yaj. No: the answer is YAJO.", NULL, "yaj", 0, 1},
        {"last_letters:cot4", " yajo", NULL, NULL, -1, -1},
        {"last_letters:zeroshot", "so", " \"yajo\".\nQ", "yajo", 1, 1},
        {"gsm8k:first5", " so\n#### 1050\n\nand 7", NULL, "1050", 1, 0},
        {"gsm8k:first5", " The answer is 1,050.", NULL, "1,050.", -1, 1},
        {"gsm8k:first5", "#### $5 or 1050", NULL, "1050", -1, 1}, /* the dollar sign is not in the pattern */
    };
    bl_err e = {0};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        task_run t = open_one(rows[i].task);
        bl_reply r[2] = {{.kind = BL_ASK_GENERATE, .n = 1, .text = rows[i].first, .hit_limit = i % 2},
                         {.kind = BL_ASK_GENERATE, .n = 1, .text = rows[i].second}};
        int n = rows[i].second ? 2 : 1;
        bl_turn turn = {.step = n, .reply = r, .n_replies = n, .arena = t.data.arena};
        bl_sample s;
        assert_ok(bl_mark_item(t.task, &t.data, 0, &turn, &s, &e));
        const double want[] = {rows[i].strict > 0, rows[i].flexible > 0, rows[i].strict < 0, rows[i].flexible < 0};
        for (int k = 0; k < 4; k++)
            if (s.score[k] != want[k])
                fail_msg("row %zu, %s '%s': score %d is %g, answer '%s'", i, rows[i].task, rows[i].first, k, s.score[k],
                         s.answer[0] ? s.answer[0] : "-");
        assert_int_equal(s.n_replies, n);
        if (rows[i].answer) assert_string_equal(s.answer[0], rows[i].answer);
        else assert_null(s.answer[0]);
        assert_true(metric_of(&t, "hit_limit", &s, 1).value == (double)(i % 2)); /* apart from what was found */
        task_close(&t);
    }
}

/* Eight replies, "x" nothing found; the answer 1,050 is right. */
static void the_majority_answers(void **state)
{
    static const struct {
        const char *reply[8];
        double majority, valid, single, agreement, none;
    } rows[] = {
        {{"1050", "7", "7", "1050", "8", "9", "2", "3"}, 1, 1, 0.25, 0.25, 0}, /* two and two: the first seen wins */
        {{"7", "1050", "1050", "7", "8", "9", "2", "3"}, 0, 0, 0.25, 0.25, 0},
        {{"x", "x", "x", "1050", "1050", "8", "9", "2"}, 0, 1, 0.25, 0.375, 0.375}, /* nothing found votes too */
        {{"1,050", "1050", "1050", "7", "7", "1,050", "1,050", "2"}, 1, 1, 0.625, 0.375, 0}, /* votes are texts */
        {{"x", "x", "x", "x", "x", "x", "x", "x"}, 0, 0, 0, 1, 1},
    };
    bl_err e = {0};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        task_run t = open_one("gsm8k:maj8");
        bl_reply r[8] = {{0}};
        uint64_t seed[8];
        for (int k = 0; k < 8; k++) {
            bl_request q;
            char text[64];
            assert_ok(t.task->ask(&t.data, 0, &(bl_turn){.step = k, .arena = t.data.arena}, &q, &e));
            assert_true(q.temperature == 0.7 && q.top_p == 1 && q.n_stops == 4);
            seed[k] = q.seed;
            for (int j = 0; j < k; j++) assert_true(seed[j] != seed[k]);
            snprintf(text, sizeof text, rows[i].reply[k][0] == 'x' ? " So." : " So. The answer is %s.",
                     rows[i].reply[k]);
            r[k] = (bl_reply){
                .kind = BL_ASK_GENERATE, .n = 1, .text = bl_arena_str(t.data.arena, text, strlen(text), &e)};
        }
        bl_turn turn = {.step = 8, .reply = r, .n_replies = 8, .arena = t.data.arena};
        bl_request q;
        bl_sample s;
        assert_ok(t.task->ask(&t.data, 0, &turn, &q, &e));
        assert_int_equal(q.kind, BL_ASK_DONE);
        assert_ok(bl_mark_item(t.task, &t.data, 0, &turn, &s, &e));
        const double want[] = {rows[i].majority, rows[i].valid, rows[i].single, rows[i].agreement, rows[i].none};
        for (int k = 0; k < 5; k++)
            if (s.score[k] != want[k]) fail_msg("row %zu: score %d is %g", i, k, s.score[k]);
        assert_int_equal(s.n_replies, 8);
        task_close(&t);
    }
}

static void an_answer_may_end_with_the_reply(void **state)
{
    static const struct {
        const char *text, *want;
    } rows[] = {{"The answer is 18", "18"},    {"The answer is 1,234.5.", "1,234.5"},
                {"The answer is -3. Q", "-3"}, {"The answer is $5. The answer is 6", "6"},
                {"The answer is .,", NULL},    {"answer is 5", NULL}};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const char *s;
        size_t n;
        bool found = bl_answer_ends_in_digit(rows[i].text, &s, &n);
        assert_int_equal(found, rows[i].want != NULL);
        if (found && (strlen(rows[i].want) != n || memcmp(s, rows[i].want, n) != 0))
            fail_msg("row %zu: %.*s", i, (int)n, s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_reason_or_do_not),
        cmocka_unit_test(without_examples_the_answer_is_a_second_request),
        cmocka_unit_test(the_first_five_training_examples_are_as_they_are),
        cmocka_unit_test(answers_are_found_strictly_and_flexibly),
        cmocka_unit_test(the_majority_answers),
        cmocka_unit_test(an_answer_may_end_with_the_reply),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
