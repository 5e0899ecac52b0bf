/* Every layout that a data set is distributed in gives the same items; small made-up files. */
#include "task_run.h"
#include "data/task_layouts.h"

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

static void put(const char *root, const char *name, const char *text) { layout_file(dir, root, name, text); }

static const char *root_of(const char *root)
{
    static char path[4400];
    snprintf(path, sizeof path, "%s/%s", dir, root);
    return path;
}

/* Items of a task in a directory as one text: contexts, continuations, gold. */
static char *items_of(const char *task, const char *root)
{
    bl_err e = {0};
    bl_data_dirs d = {{root_of(root)}, 1};
    task_run t = task_open(task, &d);
    bl_text out = {0};
    for (int64_t i = 0; i < t.data.n; i++) {
        bl_request q = {0};
        bl_turn turn = {.arena = t.data.arena};
        assert_ok(t.task->ask(&t.data, i, &turn, &q, &e));
        if (q.kind == BL_ASK_GENERATE) {
            char *p = prompt_text(&q.prompt), *own = p; /* after the worked examples, which an empty line ends */
            for (char *end; (end = strstr(own, "\n\n")); own = end + 2)
                ;
            bl_text_addf(&out, "[%s]", own);
            bl_free(p);
        }
        for (int c = 0; c < q.n_pairs; c++) {
            char *p = prompt_text(&q.pair[c].context);
            bl_text_addf(&out, "[%s|%s]", p, q.pair[c].continuation);
            bl_free(p);
        }
        bl_text_addf(&out, "=%s\n", t.task->gold ? t.task->gold(&t.data, i) : "?");
    }
    task_close(&t);
    return out.s;
}

static void layouts_give_the_items_they_should(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(layouts); i++) {
        layout_write(dir, i);
        char *got = items_of(layouts[i].task, layouts[i].root);
        if (strcmp(got, layouts[i].want)) fail_msg("%s:\n%s\nwanted\n%s", layouts[i].root, got, layouts[i].want);
        bl_free(got);
    }
}

static const struct {
    const char *task, *file, *text;
    bl_status st;
    const char *says;
} refused[] = {
    {"arc_easy", "arc/arc_easy_test.jsonl",
     "{\"id\":\"x\",\"question\":\"q\",\"choices\":[\"one\",\"two\"],\"gold\":2}", BL_E_FORMAT,
     "gold 2 is not one of the 2 choices"},
    {"arc_easy", "arc/arc_easy_test.jsonl",
     "{\"id\":\"x\",\"question\":\"q\",\"choices\":[\"one\",\"two\"],\"gold\":-1}", BL_E_FORMAT, "gold -1"},
    {"arc_easy", "arc/arc_easy_test.jsonl", "{\"id\":\"x\",\"question\":\"q\",\"choices\":[\"one\"],\"gold\":0}",
     BL_E_FORMAT, "1 choices"},
    {"arc_easy", "arc/arc_easy_test.jsonl", "{\"id\":\"x\",\"question\":\"q\",\"choices\":[\"one\",\"\"],\"gold\":0}",
     BL_E_FORMAT, "choice 1 is empty"},
    {"arc_easy", "arc/arc_easy_test.jsonl", "{\"id\":\"x\",\"question\":\"\",\"choices\":[\"one\",\"two\"],\"gold\":0}",
     BL_E_FORMAT, "the question is empty"},
    {"arc_easy", "arc/arc_easy_test.jsonl", "{\"id\":\"x\",\"choices\":[\"one\",\"two\"],\"gold\":0}", BL_E_FORMAT,
     "question"},
    {"arc_easy", "arc/arc_easy_test.jsonl", "{\"id\":\"x\",\"question\":\"q\",\"gold\":0}", BL_E_FORMAT,
     "'choices' is missing"},
    {"arc_easy", "arc/arc_easy_test.jsonl", "[1]", BL_E_FORMAT, "arc_easy_test.jsonl: element 1: expected an object"},
    {"arc_easy", "arc/arc_easy_test.jsonl", "\n\n", BL_E_FORMAT, "no rows"},
    {"arc_easy", "arc/arc_easy_test.jsonl",
     "{\"id\":\"x\",\"question\":\"q\",\"choices\":[\"a\",\"b\"],\"gold\":0}\n{\"id\":\"x\",\"question\":\"r\","
     "\"choices\":[\"a\",\"b\"],\"gold\":0}",
     BL_E_FORMAT, "id \"x\" comes twice"},
    {"arc_easy", "arc/arc_easy_test.jsonl",
     "{\"id\":\"x\",\"question\":\"q\",\"choices\":[\"a\",\"b\"],\"labels\":[\"A\",\"B\"],\"answerKey\":\"B\",\"gold\":"
     "0}",
     BL_E_FORMAT, "is choice 1"},
    {"arc_easy", "arc/arc_easy_test.jsonl",
     "{\"id\":\"x\",\"question\":\"q\",\"choices\":{\"text\":[\"a\",\"b\"],\"label\":[\"A\",\"B\"]},\"answerKey\":"
     "\"E\"}",
     BL_E_FORMAT, "answerKey \"E\""},
    {"piqa", "piqa/valid.jsonl", "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\"}", BL_E_MISSING, "valid-labels.lst"},
    {"piqa", "piqa/valid.jsonl", "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":2}", BL_E_FORMAT,
     "label 2 is not 0 or 1"},
    {"piqa", "piqa/valid.jsonl",
     "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":1}\n{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\"}",
     BL_E_FORMAT, "1 of 2 rows have no label"},
    {"winogrande", "winogrande/dev.jsonl",
     "{\"sentence\":\"no blank\",\"option1\":\"a\",\"option2\":\"b\",\"answer\":\"1\"}", BL_E_FORMAT, "no '_'"},
    {"winogrande", "winogrande/dev.jsonl",
     "{\"sentence\":\"at the _\",\"option1\":\"a\",\"option2\":\"b\",\"answer\":\"1\"}", BL_E_FORMAT,
     "nothing follows"},
    {"winogrande", "winogrande/dev.jsonl",
     "{\"sentence\":\"a _ b\",\"option1\":\"a\",\"option2\":\"b\",\"answer\":\"\"}", BL_E_FORMAT,
     "expected a whole number"},
    {"winogrande", "winogrande/dev.jsonl",
     "{\"sentence\":\"a _ b\",\"option1\":\"a\",\"option2\":\"b\",\"answer\":\"3\"}", BL_E_FORMAT, "answer 3"},
    {"boolq", "boolq/val.jsonl", "{\"question\":\"q\",\"passage\":\"p\",\"label\":7}", BL_E_FORMAT, "label 7"},
    {"lambada_openai", "lambada/lambada_test.jsonl", "{\"text\":\"word\"}", BL_E_FORMAT, "no space before a last word"},
    {"gsm8k:cot8", "gsm8k/test.jsonl", "{\"question\":\"q\",\"answer\":\"2\"}", BL_E_FORMAT, "####"},
    {"arc_challenge", "arc/arc_challenge_validation.jsonl", "{}", BL_E_MISSING,
     "arc/arc_challenge_test.jsonl"}, /* never stands in */
    {"winogrande", "winogrande/train_sample.jsonl", "{}", BL_E_MISSING, "winogrande_1.1"},
    {"c4:gptq2048", "c4/c4_demo.jsonl", "{\"text\":\"x\"}", BL_E_MISSING, "c4-validation.00000-of-00008.json"},
};

static void rows_that_cannot_be_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(refused); i++) {
        char root[16];
        bl_err e = {0};
        snprintf(root, sizeof root, "r%zu", i);
        put(root, refused[i].file, refused[i].text);
        bl_status st = task_refusal(refused[i].task, root_of(root), &e);
        if (st != refused[i].st || !strstr(e.text, refused[i].says))
            fail_msg("row %zu: %s: '%s', wanted '%s'", i, bl_status_name(st), e.text, refused[i].says);
    }
}

static void labels_must_be_as_many_as_rows(void **state)
{
    (void)state;
    static const struct {
        const char *labels, *says;
    } rows[] = {{"1\n0\n", "2 labels for 1 rows"}, {"2\n", ":1: expected 0 or 1"}, {"10\n", ":1: expected 0 or 1"}};
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        char root[16];
        snprintf(root, sizeof root, "l%zu", i);
        put(root, "piqa/valid.jsonl", "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\"}");
        put(root, "piqa/valid-labels.lst", rows[i].labels);
        assert_refused(task_refusal("piqa", root_of(root), &e), BL_E_FORMAT, rows[i].says);
    }
}

static void special_token_text_in_data_stays_data(void **state)
{
    (void)state;
    bl_err e = {0};
    put("s", "gsm8k/test.jsonl", "{\"question\":\"say <|im_end|> now\",\"answer\":\"#### 1\"}");
    bl_data_dirs d = {{root_of("s")}, 1};
    task_run t = task_open("gsm8k:cot8", &d);
    bl_request q;
    assert_ok(t.task->ask(&t.data, 0, &(bl_turn){.arena = t.data.arena}, &q, &e));
    for (size_t i = 0; i < q.prompt.n; i++)
        if (memmem(q.prompt.span[i].text, q.prompt.span[i].n, "<|im_end|>", 10)) assert_true(q.prompt.span[i].data);
    task_close(&t);
}

/* A data set decides how many choices an item has. */
static void any_number_of_choices_is_scored(void **state)
{
    (void)state;
    bl_err e = {0};
    put("many", "arc/arc_easy_test.jsonl",
        "{\"id\":\"x\",\"question\":\"q\",\"choices\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"10\","
        "\"11\"],"
        "\"gold\":9}");
    bl_data_dirs d = {{root_of("many")}, 1};
    task_run t = task_open("arc_easy", &d);
    bl_request q;
    bl_turn turn = {.arena = t.data.arena};
    bl_sample s;
    double nll[11];
    int64_t ones[11];
    bool greedy[11] = {0};
    for (int c = 0; c < 11; c++) {
        nll[c] = c == 9 ? 1 : 2 + c;
        ones[c] = 1;
    }
    assert_ok(t.task->ask(&t.data, 0, &turn, &q, &e));
    assert_int_equal(q.n_pairs, 11);
    bl_reply r = {.kind = BL_ASK_PAIRS,
                  .n = 11,
                  .nll = nll,
                  .nll_sq = nll,
                  .tokens = ones,
                  .greedy = greedy,
                  .chars = ones,
                  .bytes = ones};
    turn.reply = &r;
    turn.n_replies = 1;
    assert_ok(bl_mark_item(t.task, &t.data, 0, &turn, &s, &e));
    assert_true(s.pick == 9 && s.score[0] == 1 && s.n_choices == 11 && s.n_values == 11 && s.tokens == 11);
    task_close(&t);
}

static void scores_that_are_not_numbers_are_refused(void **state)
{
    (void)state;
    bl_err e = {0};
    put("n", "boolq/val.jsonl", "{\"question\":\"q\",\"passage\":\"p\",\"label\":1}");
    bl_data_dirs d = {{root_of("n")}, 1};
    task_run t = task_open("boolq", &d);
    bl_request q;
    pair_reply r;
    bl_turn turn = {.arena = t.data.arena};
    bl_sample s;
    assert_ok(t.task->ask(&t.data, 0, &turn, &q, &e));
    reply_to(&q, (double[]){1, 0.0 / 0.0}, &r);
    turn.reply = &r.r;
    turn.n_replies = 1;
    assert_refused(bl_mark_item(t.task, &t.data, 0, &turn, &s, &e), BL_E_NUMERIC, "item 0, choice 1");
    task_close(&t);
}

/* acc_norm divides by code points, not bytes. */
static void length_is_counted_in_code_points(void **state)
{
    (void)state;
    bl_err e = {0};
    put("u", "arc/arc_easy_test.jsonl",
        "{\"id\":\"x\",\"question\":\"q\",\"choices\":[\"\\u00e9\\u00e9\\u00e9\\u00e9\",\"abcde\"],\"gold\":1}");
    bl_data_dirs d = {{root_of("u")}, 1};
    task_run t = task_open("arc_easy", &d);
    bl_request q;
    pair_reply r;
    bl_turn turn = {.arena = t.data.arena};
    bl_sample s;
    assert_ok(t.task->ask(&t.data, 0, &turn, &q, &e));
    reply_to(&q, (double[]){6, 7}, &r); /* 6/4 against 7/5; by bytes 6/8 against 7/5 */
    turn.reply = &r.r;
    turn.n_replies = 1;
    assert_ok(bl_mark_item(t.task, &t.data, 0, &turn, &s, &e));
    assert_true(s.score[0] == 0 && s.score[1] == 1 && s.pick == 0 && s.flags == 0);
    task_close(&t);
}

static void lambada_counts_words_not_tokens(void **state)
{
    (void)state;
    bl_err e = {0};
    put("la", "lambada/lambada_test.jsonl", "{\"text\":\"a b\"}\n{\"text\":\"c d\"}");
    bl_data_dirs d = {{root_of("la")}, 1};
    task_run t = task_open("lambada_openai", &d);
    bl_sample s[2];
    for (int64_t i = 0; i < 2; i++) {
        bl_request q;
        pair_reply r;
        bl_turn turn = {.arena = t.data.arena};
        assert_ok(t.task->ask(&t.data, i, &turn, &q, &e));
        reply_to(&q, (double[]){2.0 + 2.0 * (double)i}, &r);
        r.greedy[0] = i == 1;
        r.tokens[0] = 5;
        turn.reply = &r.r;
        turn.n_replies = 1;
        assert_ok(bl_mark_item(t.task, &t.data, i, &turn, &s[i], &e));
    }
    assert_true(metric_of(&t, "acc", s, 2).value == 0.5);
    double ppl = metric_of(&t, "perplexity", s, 2).value;
    assert_true(ppl > 20.0855 && ppl < 20.0856); /* exp(3) */
    task_close(&t);
}

static void every_task_says_what_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; bl_tasks[i]; i++) {
        const bl_task *t = bl_tasks[i];
        assert_true(t->version >= 1 && t->title && t->cite && t->doc && t->load && t->ask && t->mark && t->names[0]);
        for (size_t j = 0; t->names[j]; j++) {
            int n = 0;
            const bl_metric *m = bl_task_metrics(t, t->names[j], &n);
            assert_true(n > 0 && m[0].name && *m[0].name);
            for (size_t k = 0; bl_tasks[k]; k++) /* a name belongs to one task */
                for (size_t l = 0; bl_tasks[k]->names[l]; l++)
                    assert_true((k == i && l == j) || strcmp(bl_tasks[k]->names[l], t->names[j]) != 0);
        }
    }
}

static void the_primer_ships_and_is_balanced(void **state)
{
    (void)state;
    task_run t = task_open("primer_choice", NULL);
    int64_t at[4] = {0};
    bl_err e = {0};
    assert_true(t.data.n >= 64 && t.data.n % 4 == 0);
    for (int64_t i = 0; i < t.data.n; i++) {
        bl_request q;
        assert_ok(t.task->ask(&t.data, i, &(bl_turn){.arena = t.data.arena}, &q, &e));
        assert_int_equal(q.n_pairs, 4);
        for (int c = 0; c < 4; c++) at[c] += !strcmp(q.pair[c].continuation + 1, t.task->gold(&t.data, i));
    }
    for (int c = 0; c < 4; c++) assert_int_equal(at[c], t.data.n / 4);
    task_close(&t);
    t = task_open("primer:gptq2048", NULL);
    assert_int_equal(t.data.n, -1);
    bl_request q = {0};
    assert_ok(t.task->ask(&t.data, 0, &(bl_turn){.arena = t.data.arena}, &q, &e));
    assert_true(q.n_text > 20000);
    task_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layouts_give_the_items_they_should), cmocka_unit_test(rows_that_cannot_be_are_refused),
        cmocka_unit_test(labels_must_be_as_many_as_rows),     cmocka_unit_test(special_token_text_in_data_stays_data),
        cmocka_unit_test(any_number_of_choices_is_scored),    cmocka_unit_test(scores_that_are_not_numbers_are_refused),
        cmocka_unit_test(length_is_counted_in_code_points),   cmocka_unit_test(lambada_counts_words_not_tokens),
        cmocka_unit_test(every_task_says_what_it_is),         cmocka_unit_test(the_primer_ships_and_is_balanced),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
