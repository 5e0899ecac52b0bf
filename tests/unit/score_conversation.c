/* score_conversation.c - prompts within the chat templates: a message of the system, and worked examples as turns. What
 * is wanted was rendered with jinja2 3.1.6 from the templates' texts (tests/unit/tokenizer_chat.c), the BOS left out;
 * where a text refuses a message of the system, without one, as lm-evaluation-harness 0.4.13 goes on then. */
#include "test.h"
#include "harness/score/score.h"

static char *rendered(const bl_chat *c, const bl_prompt *p)
{
    bl_err e = {0};
    bl_prompt whole;
    bl_text t = {0};
    assert_ok(bl_chat_prompt(c, p, &whole, &e));
    for (size_t i = 0; i < whole.n; i++) bl_text_addn(&t, whole.span[i].text, whole.span[i].n);
    return t.s;
}

#define CHATML(system, more)                                                                                           \
    "<|im_start|>system\n" system "<|im_end|>\n<|im_start|>user\n Why?\n<|im_end|>\n<|im_start|>assistant\n" more
#define CHATML_MORE " So. <|im_end|>\n<|im_start|>user\n And?\n<|im_end|>\n<|im_start|>assistant\n"
#define IN_CHATML   CHATML(" Be brief.\n\n", ""), CHATML(" Be brief.\n\n", CHATML_MORE)
#define HEADS       "<|start_header_id|>"
#define LLAMA3(date, more)                                                                                             \
    HEADS "system<|end_header_id|>\n\n" date "Be brief.<|eot_id|>" HEADS                                               \
          "user<|end_header_id|>\n\nWhy?<|eot_id|>" HEADS "assistant<|end_header_id|>\n\n" more
#define LLAMA3_MORE                                                                                                    \
    "So.<|eot_id|>" HEADS "user<|end_header_id|>\n\nAnd?<|eot_id|>" HEADS "assistant<|end_header_id|>\n\n"
#define IN_LLAMA3(date) LLAMA3(date, ""), LLAMA3(date, LLAMA3_MORE)
#define DATE            "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"

static void the_system_speaks_where_the_templates_let_it(void **state)
{
    static const struct {
        uint64_t hi, lo;
        const char *one, *two; /* system, message; system, message, reply, message */
    } rows[] = {
        {UINT64_C(0x4adb1f81f5c508ea), UINT64_C(0x24f6d97f87d647f5),
         "[INST] <<SYS>>\n Be brief.\n\n\n<</SYS>>\n\n Why? [/INST]",
         "[INST] <<SYS>>\n Be brief.\n\n\n<</SYS>>\n\n Why? [/INST] So. </s><s>[INST] And? [/INST]"}, /* LLaMA 2 */
        {UINT64_C(0x09facc0e4aa94318), UINT64_C(0x9799ad6e2dea0594), IN_LLAMA3("")},
        {UINT64_C(0x0c2fe941e01674f5), UINT64_C(0xa8344fceb19d98ce), IN_LLAMA3(DATE)}, /* LLaMA 3.1 */
        {UINT64_C(0x70bf874ad98f31f4), UINT64_C(0xb7f52373b11c60d7), "[INST]  Why?\n [/INST]",
         "[INST]  Why?\n [/INST] So. </s> [INST]  And?\n [/INST]"}, /* Mistral-7B-Instruct-v0.1 refuses it */
        {UINT64_C(0xf395fc5daa794129), UINT64_C(0xa5d004210ebce758), "[INST]  Why?\n [/INST]",
         "[INST]  Why?\n [/INST] So. </s>[INST]  And?\n [/INST]"}, /* Mixtral-8x7B-Instruct-v0.1 refuses it */
        {UINT64_C(0x9436379226e4001b), UINT64_C(0x11cfaab721dff7f2), " [INST]  Why?\n [/INST]",
         " [INST]  Why?\n [/INST]  So.  </s> [INST]  And?\n [/INST]"}, /* Mistral v1 leaves it out */
        {UINT64_C(0x41483b6734ed0021), UINT64_C(0xd40f466f5b2860c8), " [INST]  Be brief.\n\n\n\n Why?\n [/INST]",
         " [INST]  Be brief.\n\n\n\n Why?\n [/INST]  So. </s> [INST]  And?\n [/INST]"}, /* v0.2 with one */
        {UINT64_C(0x745a3db876d82cba), UINT64_C(0x411248e379369751), "[INST]  Why?\n[/INST]",
         "[INST]  Why?\n[/INST]  So. </s>[INST]  And?\n[/INST]"}, /* v0.3 with tools leaves it out */
        {UINT64_C(0xdf3ebcd92fa9a63f), UINT64_C(0xc6614466504d495b), "[INST]  Be brief.\n\n\n\n Why?\n[/INST]",
         "[INST]  Why?\n[/INST] So.</s>[INST]  Be brief.\n\n\n\n And?\n[/INST]"}, /* Mistral-Large: the last opens so */
        {UINT64_C(0xe4ecf9f516b59c8e), UINT64_C(0x1a382f7b55f0b080), "[INST] Be brief.\n\n\n\n Why?\n[/INST]",
         "[INST] Why?\n[/INST] So. </s>[INST] Be brief.\n\n\n\n And?\n[/INST]"}, /* Mistral-Nemo */
        {UINT64_C(0xe172667461b75b81), UINT64_C(0xf40d3b263dcc40bf), IN_CHATML}, /* Qwen1.5 */
        {UINT64_C(0xe580c2da83415028), UINT64_C(0xd5d943bd0bd9082f), IN_CHATML}, /* Qwen2 */
        {UINT64_C(0xc63bde148c12b98b), UINT64_C(0x639547fe4d33fa67), IN_CHATML}, /* Qwen2.5 */
        {UINT64_C(0x4457e3d12b367a86), UINT64_C(0x0283f874ff58d644), IN_CHATML}, /* Qwen3 */
        {UINT64_C(0x98f63cc3d421d28f), UINT64_C(0x99ab995e9629dacd), IN_CHATML}, /* SmolLM2 */
        {UINT64_C(0xf0a6a8278439fdb0), UINT64_C(0x56191e205a440263), IN_CHATML}, /* ChatML */
    };
    bl_err e = {0};
    bl_arena *a;
    (void)state;
    assert_ok(bl_arena_new(&a, &e));
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const bl_chat *c = bl_chat_of_hash((bl_hash){.hi = rows[i].hi, .lo = rows[i].lo});
        if (!c) fail_msg("row %zu is not known", i);
        bl_prompt p = bl_prompt_new(a);
        bl_say(&p, " Be ");
        bl_say(&p, "brief.\n\n");
        bl_system_was(&p);
        bl_quote(&p, " Why?\n");
        char *one = rendered(c, &p);
        bl_reply_was(&p);
        bl_say(&p, " So. ");
        bl_message_again(&p);
        bl_quote(&p, " And?\n");
        char *two = rendered(c, &p);
        assert_string_equal(one, rows[i].one);
        assert_string_equal(two, rows[i].two);
        bl_free(one);
        bl_free(two);
    }
    bl_arena_free(a);
}

/* As a text, and as a conversation of many turns. */
static void worked_examples_are_text_or_turns(void **state)
{
    static const char *const want[] = {"[INST] 1+1? 2\n\n2+2? 4\n\n3+3? 6\n\n9? [/INST]",
                                       "[INST] 1+1? [/INST] 2 </s><s>[INST] 2+2? [/INST] 4 </s><s>[INST] 3+3? [/INST] "
                                       "6 </s><s>[INST] 9? [/INST]"};
    const bl_chat *llama2 = bl_chat_of_hash(
        (bl_hash){.hi = UINT64_C(0x4adb1f81f5c508ea), .lo = UINT64_C(0x24f6d97f87d647f5)});
    bl_err e = {0};
    bl_arena *a;
    (void)state;
    assert_ok(bl_arena_new(&a, &e));
    for (int turns = 0; turns < 2; turns++) {
        static const char *const said[][2] = {{"1+1?", "2"}, {"2+2?", "4"}, {"3+3?", "6"}};
        bl_prompt p = bl_prompt_new(a);
        p.turns = turns;
        for (int k = 0; k < 3; k++) {
            bl_quote(&p, said[k][0]);
            bl_answer_follows(&p, " ");
            bl_quote(&p, said[k][1]);
            bl_question_follows(&p, "\n\n");
        }
        bl_quote(&p, "9?");
        char *got = rendered(llama2, &p);
        assert_string_equal(got, want[turns]);
        bl_free(got);
        bl_text shown = {0}; /* one text where there is no template */
        for (size_t i = 0; i < p.n; i++) {
            bl_text_add(&shown, bl_prompt_between(&p, i));
            bl_text_addn(&shown, p.span[i].text, p.span[i].n);
        }
        assert_string_equal(shown.s, "1+1? 2\n\n2+2? 4\n\n3+3? 6\n\n9?");
        bl_text_free(&shown);
    }
    bl_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_system_speaks_where_the_templates_let_it),
        cmocka_unit_test(worked_examples_are_text_or_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
