/* Worked examples: whose rows they are, which of them, in what order. */
#include "layout_fixture.h"

static char *spans_text(const bl_prompt *p, size_t from, size_t to)
{
    bl_text t = {0};
    for (size_t i = from; i < to; i++) bl_text_addn(&t, p->span[i].text, p->span[i].n);
    return t.s ? t.s : bl_strdup("", NULL);
}

/* The same question through a chat template: question and answer of the example are a message and its reply, with no
 * delimiter, and a choice begins the reply that is wanted. */
static void is_asked_in_turns(const char *task, const bl_data_dirs *dirs, const bl_request *plain, const char *prompt)
{
    bl_err e = {0};
    char name[64];
    bl_request q;
    snprintf(name, sizeof name, "%s+chat+turns", task);
    task_run t = task_open(name, dirs);
    assert_int_equal(bl_task_examples(t.task, t.name), 1);
    assert_ok(bl_task_ask(t.task, &t.data, 0, &(bl_turn){.arena = t.data.arena}, &q, &e));
    const bl_prompt *p = &q.pair[0].context;
    assert_true(p->chat && p->n_exchanges == 1 && p->exchange->said > 0 && p->exchange->again < p->n);
    char *message = spans_text(p, 0, p->exchange->said), *reply = spans_text(p, p->exchange->said, p->exchange->again),
         *rest = spans_text(p, p->exchange->again, p->n);
    bl_text all = {0};
    bl_text_addf(&all, "%s %s\n\n%s", message, reply, rest);
    assert_string_equal(all.s, prompt);
    for (int c = 0; c < q.n_pairs; c++) {
        assert_true(plain->pair[c].continuation[0] == ' ' && q.pair[c].continuation[0] != ' ');
        assert_string_equal(q.pair[c].continuation, plain->pair[c].continuation + 1);
        assert_int_equal(q.pair[c].chars, plain->pair[c].chars);
    }
    bl_text_free(&all);
    bl_free(message);
    bl_free(reply);
    bl_free(rest);
    task_close(&t);
}

/* One training row, one example: the prompt as lm-evaluation-harness joins it. */
static void examples_come_from_the_training_split(void **state)
{
    static const struct {
        const char *task, *file, *text, *train, *train_text, *prompt;
    } rows[] = {
        {"arc_easy:1shot", "arc/arc_easy_test.jsonl",
         "{\"id\":\"x\",\"question\":\"q\",\"choices\":[\"one\",\"two\"],\"gold\":1}", "arc/arc_easy_train.jsonl",
         "{\"id\":\"y\",\"question\":\"t\",\"choices\":[\"three\",\"four\"],\"gold\":1}",
         "Question: t\nAnswer: four\n\nQuestion: q\nAnswer:"},
        {"arc_challenge:1shot", "arc/arc_challenge_test.jsonl",
         "{\"id\":\"x\",\"question\":\"q\",\"choices\":[\"one\",\"two\"],\"gold\":1}", "arc/arc_challenge_train.jsonl",
         "{\"id\":\"y\",\"question\":\"t\",\"choices\":[\"three\",\"four\"],\"gold\":0}",
         "Question: t\nAnswer: three\n\nQuestion: q\nAnswer:"},
        {"openbookqa:1shot", "openbookqa/main/test.jsonl",
         "{\"id\":\"x\",\"question_stem\":\"q\",\"choices\":[\"one\",\"two\"],\"gold\":1}",
         "openbookqa/main/train.jsonl",
         "{\"id\":\"y\",\"question_stem\":\"t\",\"choices\":[\"three\",\"four\"],\"gold\":1}", "t four\n\nq"},
        {"boolq:1shot", "boolq/val.jsonl", "{\"question\":\"is it\",\"passage\":\"p\",\"label\":1}",
         "boolq/train.jsonl", "{\"question\":\"was it\",\"passage\":\"t\",\"label\":0}",
         "t\nQuestion: was it?\nAnswer: no\n\np\nQuestion: is it?\nAnswer:"},
        {"piqa:1shot", "piqa/valid.jsonl", "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":1}",
         "piqa/train.jsonl", "{\"goal\":\"t\",\"sol1\":\"c\",\"sol2\":\"d\",\"label\":0}",
         "Question: t\nAnswer: c\n\nQuestion: g\nAnswer:"},
        {"winogrande:1shot", "winogrande/dev.jsonl",
         "{\"qID\":\"z\",\"sentence\":\"The _ was big. \",\"option1\":\"cat\",\"option2\":\"dog\",\"answer\":\"2\"}",
         "winogrande/train_xl.jsonl",
         "{\"qID\":\"y\",\"sentence\":\"A _ is red.\",\"option1\":\"rose\",\"option2\":\"leaf\",\"answer\":\"1\"}",
         "A rose is red.\n\nThe cat"},
        {"hellaswag:1shot", "hellaswag/hellaswag_val.jsonl",
         "{\"ind\":4,\"activity_label\":\"A\",\"ctx_a\":\"b\",\"ctx_b\":\"\",\"label\":0,\"endings\":[\"c\",\"d\","
         "\"e\",\"f\"]}",
         "hellaswag/hellaswag_train.jsonl",
         "{\"ind\":5,\"activity_label\":\"T\",\"ctx_a\":\"u\",\"ctx_b\":\"\",\"label\":2,\"endings\":[\"g\",\"h\","
         "\"i\",\"j\"]}",
         "T: u i\n\nA: b"},
    };
    bl_err e = {0};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        char root[16];
        bl_request q;
        snprintf(root, sizeof root, "shots%zu", i);
        put(root, rows[i].file, rows[i].text);
        put(root, rows[i].train, rows[i].train_text);
        bl_data_dirs d = {{root_of(root)}, 1};
        task_run t = task_open(rows[i].task, &d);
        assert_int_equal(bl_task_examples(t.task, t.name), 1);
        assert_ok(t.task->ask(&t.data, 0, &(bl_turn){.arena = t.data.arena}, &q, &e));
        char *text = prompt_text(&q.pair[0].context);
        assert_string_equal(text, rows[i].prompt);
        is_asked_in_turns(rows[i].task, &d, &q, rows[i].prompt);
        bl_free(text);
        task_close(&t);
    }
}

/* As many as asked for, the same for every item, other ones with another seed, never one twice; the bytes of their file
 * count. */
static void worked_examples_are_drawn_by_the_seed(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_text train = {0};
    char *prompt[3];
    bl_hash hash[3];
    put("few", "aqua/test.jsonl",
        "{\"question\":\"first\",\"options\":[\"A)1\",\"B)2\",\"C)3\",\"D)4\",\"E)5\"],\"correct\":\"A\"}\n"
        "{\"question\":\"second\",\"options\":[\"A)1\",\"B)2\",\"C)3\",\"D)4\",\"E)5\"],\"correct\":\"A\"}");
    for (int k = 10; k < 30; k++)
        bl_text_addf(
            &train, "{\"question\":\"n%d\",\"options\":[\"A)1\",\"B)2\",\"C)3\",\"D)4\",\"E)5\"],\"correct\":\"%c\"}\n",
            k, 'A' + k % 5);
    put("few", "aqua/train.jsonl", train.s);
    bl_data_dirs d = {{root_of("few")}, 1};
    for (int s = 0; s < 3; s++) { /* seeds 1, 1, 2 */
        bl_task_data t = {0};
        const bl_task *task;
        const char *name;
        bl_request q[2];
        const bl_program p = {.tasks = bl_tasks};
        assert_ok(bl_arena_new(&t.arena, &e));
        assert_ok(bl_program_task(&p, "aqua:4shot", &task, &name, &e));
        assert_string_equal(name, "aqua:4shot");
        assert_int_equal(bl_task_examples(task, name), 4);
        assert_ok(task->load(&(bl_task_load){.name = name, .dirs = &d, .seed = (uint64_t)(s == 2 ? 2 : 1)}, &t, &e));
        for (int64_t i = 0; i < 2; i++) assert_ok(task->ask(&t, i, &(bl_turn){.arena = t.arena}, &q[i], &e));
        prompt[s] = prompt_text(&q[0].pair[0].context);
        char *other = prompt_text(&q[1].pair[0].context), *own = strstr(prompt[s], "Question: first");
        assert_non_null(own);
        assert_memory_equal(prompt[s], other, (size_t)(own - prompt[s]));
        int seen = 0;
        for (int k = 10; k < 30; k++) {
            char text[16], answer[8];
            snprintf(text, sizeof text, "Question: n%d\n", k);
            char *at = strstr(prompt[s], text);
            if (!at) continue;
            snprintf(answer, sizeof answer, " %c\n\n", 'A' + k % 5);
            assert_true(strstr(at + 1, text) == NULL && strstr(at, "Answer:") + 7 == strstr(at, answer));
            seen++;
        }
        assert_int_equal(seen, 4);
        hash[s] = t.hash;
        bl_free(other);
        bl_arena_free(t.arena);
    }
    assert_string_equal(prompt[0], prompt[1]);
    assert_string_not_equal(prompt[0], prompt[2]);
    assert_true(bl_hash_equal(hash[0], hash[1]));
    put("few", "aqua/train.jsonl", train.s + 1 + strcspn(train.s, "\n"));
    task_run less = {0};
    less.data.n = 0;
    bl_task_data t = {0};
    const bl_program p = {.tasks = bl_tasks};
    assert_ok(bl_arena_new(&t.arena, &e));
    assert_ok(bl_program_task(&p, "aqua:4shot", &less.task, &less.name, &e));
    assert_ok(less.task->load(&(bl_task_load){.name = less.name, .dirs = &d, .seed = 1}, &t, &e));
    assert_false(bl_hash_equal(hash[0], t.hash));
    bl_arena_free(t.arena);
    assert_refused(task_refusal("aqua:20shot", root_of("few"), &e), BL_E_CONFIG, "19 rows, expected at least 20");
    for (int s = 0; s < 3; s++) bl_free(prompt[s]);
    bl_text_free(&train);
}

static void mmlu_goes_round_the_subjects_after_five_examples(void **state)
{
    (void)state;
    bl_err e = {0};
    size_t row = 0;
    while (strcmp(layouts[row].root, "x1")) row++;
    layout_write(dir, row);
    bl_data_dirs d = {{root_of("x1")}, 1};
    static const struct {
        const char *name;
        int examples;
    } names[] = {{"mmlu", 5}, {"mmlu:0shot", 0}, {"mmlu:2shot", 2}};
    for (size_t k = 0; k < BL_COUNT(names); k++) {
        task_run t = task_open(names[k].name, &d);
        assert_int_equal(t.data.n, 114);
        for (int64_t i = 0; i < 57; i++) assert_int_equal(t.data.family[i], t.data.family[57 + i]);
        for (int64_t i = 1; i < 57; i++) assert_int_not_equal(t.data.family[i], t.data.family[0]);
        assert_int_equal(bl_task_examples(t.task, t.name), names[k].examples);
        for (int64_t i = 0; i < 114; i += 57) { /* abstract algebra */
            bl_request q;
            bl_text want = {0};
            assert_ok(t.task->ask(&t.data, i, &(bl_turn){.arena = t.data.arena}, &q, &e));
            bl_text_add(&want,
                        "The following are multiple choice questions (with answers) about abstract algebra.\n\n");
            for (int x = 0; x < names[k].examples; x++)
                bl_text_addf(&want, "example %d\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer: %c\n\n", x, "ABCDA"[x]);
            bl_text_add(&want, i ? "second\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:"
                                 : "Is it \"so\", or not?\nA.  yes\nB. no\nC. maybe\nD. a\nb\nAnswer:");
            char *got = prompt_text(&q.pair[0].context);
            assert_string_equal(got, want.s);
            assert_string_equal(q.pair[3].continuation, " D");
            assert_string_equal(t.task->gold(&t.data, i), i ? "A" : "C");
            bl_free(got);
            bl_text_free(&want);
        }
        task_close(&t);
    }
    assert_refused(task_refusal("mmlu:6shot", root_of("x1"), &e), BL_E_CONFIG, "5 rows, expected at least 6");
    put("x1", "mmlu/test/astrology_test.csv", "q,1,2,3,4,A\n"); /* a subject that MMLU has not */
    task_run t = task_open("mmlu:0shot", &d);
    assert_int_equal(t.data.n, 114);
    assert_string_equal(t.data.note, "left out, as none of the 57 subjects: astrology_test.csv");
    task_close(&t);
}

/* TruthfulQA has one split: its worked examples are other questions of it, in place of the fixed pairs. */
static void a_question_is_never_its_own_worked_example(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_text rows = {0};
    for (int k = 0; k < 4; k++)
        bl_text_addf(
            &rows,
            "%s{\"question\":\"q%d\",\"mc1_targets\":{\"r%d\":1,\"w%d\":0},\"mc2_targets\":{\"r%d\":1,\"s%d\":1,"
            "\"w%d\":0}}",
            k ? "," : "[", k, k, k, k, k, k);
    bl_text_add(&rows, "]");
    put("tqa", "truthfulqa/mc_task.json", rows.s);
    bl_text_free(&rows);
    bl_data_dirs d = {{root_of("tqa")}, 1};
    static const char *const names[] = {"truthfulqa_mc1:3shot", "truthfulqa_mc2:3shot"};
    for (size_t n = 0; n < BL_COUNT(names); n++) {
        task_run t = task_open(names[n], &d);
        assert_int_equal(bl_task_examples(t.task, t.name), 3);
        for (int i = 0; i < 4; i++) { /* three of four: all but itself */
            bl_request q;
            assert_ok(t.task->ask(&t.data, i, &(bl_turn){.arena = t.data.arena}, &q, &e));
            assert_int_equal(q.n_pairs, n ? 3 : 2);
            char *text = prompt_text(&q.pair[0].context), line[40];
            for (int k = 0; k < 4; k++) {
                snprintf(line, sizeof line, k == i ? "Q: q%d\nA:" : "Q: q%d\nA: r%d\n\n", k, k);
                char *at = strstr(text, line);
                assert_non_null(at);
                assert_true(k != i || !at[strlen(line)]);
            }
            assert_int_equal(strlen(text), 3 * strlen("Q: q0\nA: r0\n\n") + strlen("Q: q0\nA:"));
            bl_free(text);
        }
        task_close(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worked_examples_are_drawn_by_the_seed),
        cmocka_unit_test(examples_come_from_the_training_split),
        cmocka_unit_test(a_question_is_never_its_own_worked_example),
        cmocka_unit_test(mmlu_goes_round_the_subjects_after_five_examples),
    };
    return cmocka_run_group_tests(tests, layouts_begin, layouts_end);
}
