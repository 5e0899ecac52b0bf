/* tokenizer_gguf.c - vocabularies in GGUF files whose types or scores are not as sentencepiece has them, and the tokens
 * that end a generation. The right answers are llama.cpp's (xllamacpp 2026.10.11549, /tokenize of the same vocabulary).
 */
#include "data/text_tok.h"

#define SPACE "\xE2\x96\x81"
enum { N_BYTES = 256, N = 3 + N_BYTES + 7 };

/* <unk> <s> </s>, the byte pieces, "▁" a b "▁a" ab "▁ab" t */
static void tokens_of(char name[N_BYTES][8], const char *token[N + 1])
{
    static const char *const first[] = {"<unk>", "<s>", "</s>"};
    static const char *const last[] = {SPACE, "a", "b", SPACE "a", "ab", SPACE "ab", "t"};
    size_t n = 0;
    for (size_t i = 0; i < BL_COUNT(first); i++) token[n++] = first[i];
    for (int b = 0; b < N_BYTES; b++) {
        snprintf(name[b], sizeof name[b], "<0x%02X>", b);
        token[n++] = name[b];
    }
    for (size_t i = 0; i < BL_COUNT(last); i++) token[n++] = last[i];
    token[n] = NULL;
}

static void types_and_scores_may_be_missing(void **state)
{
    (void)state;
    enum { NONE = -1 };
    static const struct {
        const char *name;
        int control, byte; /* type written; NONE: no types */
        int scores;        /* 0: none, 1: float, 2: int32 */
    } rows[] = {
        {"as sentencepiece has them", 3, 6, 1}, {"no types", NONE, NONE, 1}, {"all of type 1", 1, 1, 1},
        {"bytes of type 1", 3, 1, 1},           {"no scores", 3, 6, 0},      {"neither", NONE, NONE, 0},
        {"control tokens of type 0", 0, 6, 1},  {"whole scores", 3, 6, 2},   {"bytes of type 0", 3, 0, 1},
    };
    static const struct {
        const char *text, *ids;
    } texts[] = {
        {"ab", "1 264"},
        {"a\nb", "1 262 13 261"},
        {"t\ta", "1 259 265 12 260"},
        {"\xC3\xA9", "1 259 198 172"},
        {"<s>a", "1 259 63 118 65 260"},
        {"a</s>", "1 262 63 50 118 65"},
    };
    char name[N_BYTES][8];
    const char *token[N + 1];
    tokens_of(name, token);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_text s = {0};
        int32_t type[N], whole[N] = {0};
        float score[N] = {0};
        for (int k = 0; k < N; k++) {
            bool byte = k >= 3 && k < 3 + N_BYTES;
            type[k] = k == 0 && rows[i].control == 3 ? 2 : k < 3 ? rows[i].control : byte ? rows[i].byte : 1;
            if (k == 3 + N_BYTES) score[k] = -9;
            else if (k > 3 + N_BYTES) score[k] = (float)(3 + N_BYTES - k);
            whole[k] = (int32_t)score[k];
        }
        gguf_open(&s, 5 + (rows[i].control != NONE) + (rows[i].scores != 0));
        gguf_text(&s, "tokenizer.ggml.model", "llama");
        gguf_texts(&s, "tokenizer.ggml.tokens", token);
        if (rows[i].control != NONE) gguf_ints(&s, "tokenizer.ggml.token_type", 5, type, N);
        if (rows[i].scores == 1) gguf_ints(&s, "tokenizer.ggml.scores", 6, score, N);
        if (rows[i].scores == 2) gguf_ints(&s, "tokenizer.ggml.scores", 5, whole, N);
        gguf_int(&s, "tokenizer.ggml.bos_token_id", 1);
        gguf_int(&s, "tokenizer.ggml.eos_token_id", 2);
        gguf_int(&s, "tokenizer.ggml.unknown_token_id", 0);
        bl_tokenizer *t = tok_made(BL_TOK_GGUF, s.s, s.n);
        for (size_t k = 0; k < BL_COUNT(texts); k++) {
            const char *got = tok_ids(t, texts[k].text, strlen(texts[k].text), BL_ENCODE_BOS);
            if (strcmp(got, texts[k].ids))
                fail_msg("%s: '%s' is [%s], wanted [%s]", rows[i].name, texts[k].text, got, texts[k].ids);
        }
        assert_string_equal(tok_ids(t, "a</s>", 5, BL_ENCODE_BOS | BL_ENCODE_SPECIAL), "1 262 2");
        bl_err e;
        char *text;
        const int32_t back[] = {262, 13, 261, 198, 172};
        assert_ok(bl_decode(t, back, BL_COUNT(back), false, &text, NULL, &e));
        assert_string_equal(text, "a\nb\xC3\xA9");
        bl_free(text);
        bl_tokenizer_close(t);
        bl_text_free(&s);
    }
}

/* llama.cpp calls them [EMPTY_1] and so on, and warns. */
static void tokens_without_a_text_are_tokens(void **state)
{
    (void)state;
    bl_text s = {0};
    gguf_open(&s, 4);
    gguf_text(&s, "tokenizer.ggml.model", "gpt2");
    gguf_text(&s, "tokenizer.ggml.pre", "deepseek-r1-qwen"); /* cut as qwen2: one digit a piece */
    gguf_texts(&s, "tokenizer.ggml.tokens", (const char *const[]){"1", "", "", "11", NULL});
    gguf_texts(&s, "tokenizer.ggml.merges", (const char *const[]){"1 1", NULL});
    bl_tokenizer *t = tok_made(BL_TOK_GGUF, s.s, s.n);
    assert_int_equal(bl_tokenizer_vocab(t), 4);
    assert_string_equal(tok_ids(t, "11", 2, BL_ENCODE_PLAIN), "0 0");
    bl_tokenizer_close(t);
    bl_text_free(&s);
}

/* llama_vocab::is_eog. Case by case: by key, by text, whatever the type; and an ordinary control token, which is none.
 */
static void turns_end_by_their_key_or_their_text(void **state)
{
    (void)state;
    static const struct {
        const char *token, *key;
        int type;
        bool ends;
    } rows[] = {
        {"<|eot_id|>", NULL, 3, true},
        {"<|im_end|>", NULL, 3, true},
        {"<|im_end|>", NULL, 1, true}, /* its type does not matter */
        {"<|im_end|>", NULL, 4, true},
        {"<|endoftext|>", NULL, 3, true},
        {"<end_of_turn>", NULL, 3, true},
        {"<\xEF\xBD\x9C"
         "end" SPACE "of" SPACE "sentence\xEF\xBD\x9C>",
         NULL, 3, true},
        {"<|file_sep|>", NULL, 4, true},
        {"<end here>", "tokenizer.ggml.eot_token_id", 3, true},
        {"<end here>", "tokenizer.ggml.eom_token_id", 3, true},
        {"<end here>", "tokenizer.ggml.fim_pad_token_id", 3, true},
        {"<end here>", "tokenizer.ggml.bos_token_id", 3, false},
        {"<other>", NULL, 3, false},
        {"<|im_start|>", NULL, 3, false},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_text s = {0};
        gguf_open(&s, 6 + (rows[i].key != NULL));
        gguf_text(&s, "tokenizer.ggml.model", "gpt2");
        gguf_text(&s, "tokenizer.ggml.pre", "gpt-2");
        gguf_texts(&s, "tokenizer.ggml.tokens", (const char *const[]){"a", "</x>", rows[i].token, "b", NULL});
        gguf_ints(&s, "tokenizer.ggml.token_type", 5, (int32_t[]){1, 3, rows[i].type, 1}, 4);
        gguf_texts(&s, "tokenizer.ggml.merges", (const char *const[]){NULL});
        gguf_int(&s, "tokenizer.ggml.eos_token_id", 1);
        if (rows[i].key) gguf_int(&s, rows[i].key, 2);
        bl_tokenizer *t = tok_made(BL_TOK_GGUF, s.s, s.n);
        if (bl_tokenizer_ends(t, 2) != rows[i].ends) fail_msg("row %zu: %s", i, rows[i].token);
        assert_true(bl_tokenizer_ends(t, 1));
        assert_false(bl_tokenizer_ends(t, 0));
        assert_false(bl_tokenizer_ends(t, 3));
        assert_int_equal(bl_tokenizer_is_special(t, 2), rows[i].ends || rows[i].type == 3);
        bl_tokenizer_close(t);
        bl_text_free(&s);
    }
}

/* Where a vocabulary has the ends of a tool call, "<|end|>" only ends a message. */
static void an_end_may_be_none_beside_others(void **state)
{
    (void)state;
    static const struct {
        const char *beside[2];
        bool ends;
    } rows[] = {{{"<|return|>", "<|call|>"}, false}, {{"<|return|>", "x"}, true}, {{"<|flush|>", "<|calls|>"}, false}};
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_text s = {0};
        gguf_open(&s, 4);
        gguf_text(&s, "tokenizer.ggml.model", "gpt2");
        gguf_text(&s, "tokenizer.ggml.pre", "gpt-2");
        gguf_texts(&s, "tokenizer.ggml.tokens",
                   (const char *const[]){"a", "<|end|>", rows[i].beside[0], rows[i].beside[1], NULL});
        gguf_texts(&s, "tokenizer.ggml.merges", (const char *const[]){NULL});
        bl_tokenizer *t = tok_made(BL_TOK_GGUF, s.s, s.n);
        assert_int_equal(bl_tokenizer_ends(t, 1), rows[i].ends);
        assert_true(bl_tokenizer_ends(t, 2));
        bl_tokenizer_close(t);
        bl_text_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_and_scores_may_be_missing),
        cmocka_unit_test(tokens_without_a_text_are_tokens),
        cmocka_unit_test(turns_end_by_their_key_or_their_text),
        cmocka_unit_test(an_end_may_be_none_beside_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
