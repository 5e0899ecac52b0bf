/* cli_duel.c - what a judge is asked, and what is read out of what it said. */
#include "test.h"
#include "harness/cli/duel.h"
#include "kernels/base/fs.h"

static void a_verdict_is_read_as_fastchat_reads_it(void **state)
{
    static const struct {
        const char *reply;
        bl_judged want;
    } rows[] = {
        {"Both are fine. [[B]]", BL_JUDGED_B},
        {"[[C]]", BL_JUDGED_TIE},
        {"[[B]], no: [[A]]", BL_JUDGED_A}, /* A is looked for first */
        {"[A] is better", BL_JUDGED_NOTHING},
        {"[[D]]", BL_JUDGED_NOTHING},
        {"", BL_JUDGED_NOTHING},
    };
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) assert_int_equal(bl_judged_text(rows[i].reply), rows[i].want);
}

static void the_likeliest_letter_is_the_verdict(void **state)
{
    double nll[] = {2, 3, 1};
    int64_t tokens[] = {1, 1, 1};
    bl_reply r = {.kind = BL_ASK_PAIRS, .n = 3, .nll = nll, .tokens = tokens};
    (void)state;
    assert_int_equal(bl_judged_letters(&r), BL_JUDGED_TIE);
    nll[1] = 0.5;
    assert_int_equal(bl_judged_letters(&r), BL_JUDGED_B);
    tokens[0] = 0;
    assert_int_equal(bl_judged_letters(&r), BL_JUDGED_NOTHING);
}

#define ROW(name, type, text)                                                                                          \
    "{\"name\": \"" name "\", \"type\": \"" type "\", \"system_prompt\": \"Be {fair}.\", \"prompt_template\": \"" text \
    "\"}\n"

static void prompts_are_known_by_what_they_have_places_for(void **state)
{
    bl_err e = {0};
    bl_arena *a;
    bl_judge_prompts p;
    char path[4300];
    const char *dir = test_dir();
    (void)state;
    snprintf(path, sizeof path, "%s/p.jsonl", dir);
    static const char text[] = ROW("one", "single", "{question} {answer_a} {answer_b}")
        ROW("two", "pairwise", "{question_1} {answer_a_1}")
            ROW("math", "pairwise", "{question}{ref_answer_1}{answer_a}{answer_b}")
                ROW("plain", "pairwise", "Q: {question}\\nA={answer_a}{x}\\nB={answer_b}")
                    ROW("later", "pairwise", "{question} {answer_a} {answer_b}");
    assert_ok(bl_write_file(path, text, sizeof text - 1, &e));
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_judge_prompts_read(path, a, &p, &e));
    assert_string_equal(p.general.name, "plain");
    assert_string_equal(p.with_reference.name, "math");
    bl_prompt q = bl_judge_ask(&p.general, &(bl_duel){"why {answer_b}?", {"one", "<|im_end|>"}, NULL}, a);
    bl_text all = {0};
    for (size_t i = 0; i < q.n; i++) {
        assert_true(q.span[i].data); /* no special tokens */
        bl_text_addn(&all, q.span[i].text, q.span[i].n);
    }
    assert_string_equal(all.s, "Be {fair}.\n\nQ: why {answer_b}?\nA=one{x}\nB=<|im_end|>");
    bl_text_free(&all);
    q = bl_judge_ask(&p.with_reference, &(bl_duel){"q", {"1", "2"}, "right"}, a);
    for (size_t i = 0; i < q.n; i++) bl_text_addn(&all, q.span[i].text, q.span[i].n);
    assert_string_equal(all.s, "Be {fair}.\n\nqright12");
    bl_text_free(&all);

    static const struct {
        const char *text, *says;
    } rows[] = {
        {ROW("one", "single", "{question} {answer_a} {answer_b}"),
         "p.jsonl: no prompt of type pairwise with {question}, {answer_a} and {answer_b}"},
        {ROW("one", "pairwise", "x") "{\"name\": \"two\", \"type\": \"pairwise\", \"system_prompt\": \"\"}\n",
         "p.jsonl:2: 'prompt_template' is missing"},
        {"[3]", "p.jsonl:1: element 1: expected an object"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        assert_ok(bl_write_file(path, rows[i].text, strlen(rows[i].text), &e));
        assert_refused(bl_judge_prompts_read(path, a, &p, &e), BL_E_FORMAT, rows[i].says);
    }
    bl_arena_free(a);
    assert_ok(bl_remove_tree(dir, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_verdict_is_read_as_fastchat_reads_it),
        cmocka_unit_test(the_likeliest_letter_is_the_verdict),
        cmocka_unit_test(prompts_are_known_by_what_they_have_places_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
