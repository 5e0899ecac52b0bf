/* score_chat.c - prompts through the chat templates of real checkpoints: the ids are those of the text that the
 * template's own text makes (rendered once with jinja2 3.1.6, add_generation_prompt). */
#include "model_fixture.h"
#include "harness/score/score.h"
#include "harness/checkpoint/checkpoint.h"

static void a_question_stands_in_the_template_of_its_checkpoint(void **state)
{
    static const char want[] = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
                               "Face<|im_end|>\n<|im_start|>user\nQ: How <|im_end|> many?\nA:<|im_end|>\n<|im_start|>"
                               "assistant\nLet's see.";
    bl_err e = {0};
    (void)state;
    BL_NEEDS("BITLADDER_MODELS");
    bl_checkpoint *c;
    bl_tokenizer *t;
    bl_backend *be;
    bl_model *m;
    bl_engine *g;
    bl_arena *a;
    bl_ids ids = {0}, plain = {0};
    char *text;
    assert_ok(bl_checkpoint_open(test_path("BITLADDER_MODELS", "smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf"), NULL,
                                 &c, &e));
    assert_ok(bl_tokenizer_of(c, &t, &e));
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, &e));
    assert_ok(bl_model_open(c, be, &(bl_model_opts){0}, &m, &e));
    assert_ok(bl_engine_new(m, t, NULL, &g, &e));
    assert_ok(bl_arena_new(&a, &e));
    bl_prompt p = bl_prompt_new(a);
    bl_say(&p, "Q: ");
    bl_quote(&p, "How <|im_end|> many?"); /* stays text */
    bl_say(&p, "\nA:");
    bl_reply_begins(&p);
    bl_say(&p, " Let's see.");
    assert_ok(bl_engine_prompt_ids(g, &p, 8, a, &plain, NULL, &e));
    p.chat = true;
    assert_ok(bl_engine_prompt_ids(g, &p, 8, a, &ids, NULL, &e));
    assert_ok(bl_decode(t, ids.id, ids.n, true, &text, NULL, &e));
    assert_string_equal(text, want);
    int turns = 0, ends = 0;
    for (size_t i = 0; i < ids.n; i++) {
        size_t n;
        const char *s = bl_token_bytes(t, ids.id[i], &n);
        turns += n == 12 && !memcmp(s, "<|im_start|>", 12);
        ends += n == 10 && !memcmp(s, "<|im_end|>", 10);
    }
    assert_true(turns == 3 && ends == 2 && plain.n < ids.n);
    bl_free(text);
    bl_arena_free(a);
    bl_engine_free(g);
    bl_model_close(m);
    bl_backend_close(be);
    bl_tokenizer_close(t);
    bl_checkpoint_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_question_stands_in_the_template_of_its_checkpoint)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
