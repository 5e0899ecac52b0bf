/* Choices: what is asked, and how replies are marked. */
#include "layout_fixture.h"

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
        t.data.chat = true; /* the space is the word's own, in front of a reply too */
        assert_ok(bl_task_ask(t.task, &t.data, i, &turn, &q, &e));
        assert_true(q.pair->context.chat && q.pair->continuation[0] == ' ');
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(special_token_text_in_data_stays_data),   cmocka_unit_test(any_number_of_choices_is_scored),
        cmocka_unit_test(scores_that_are_not_numbers_are_refused), cmocka_unit_test(length_is_counted_in_code_points),
        cmocka_unit_test(lambada_counts_words_not_tokens),
    };
    return cmocka_run_group_tests(tests, layouts_begin, layouts_end);
}
