/* tokenizer_qwen.c - the tokenizer of a real Qwen2 (Qwen2.5-Coder-0.5B-Instruct, official GGUF): ids as llama.cpp gives
 * them (xllamacpp 2026.10.11549, /tokenize, with parse_special false and true), and the tokens that end a generation.
 * BITLADDER_QWEN names the file.
 */
#include "data/text_tok.h"

static const struct {
    const char *text, *ids, *special; /* special "": the same */
} rows[] = {
    {"h\xc3\xa9llo 12345  \n\n x\xc2\xa0y", "71 18503 385 220 16 17 18 19 20 18611 856 4102 88", ""},
    {"I'LL don't WE'RE it's", "40 6 4086 1513 944 19677 94153 432 594", ""},
    {"a\r\n\r\nb  \t c", "64 871 65 19271 272", ""},
    {"<|im_start|>user\nhi<|im_end|>\n", "27 91 318 4906 91 29 872 198 6023 27 91 318 6213 91 397",
     "151644 872 198 6023 151645 198"},
    {"<|endoftext|>x<|fim_prefix|>y<|file_sep|>",
     "27 91 8691 723 427 91 29 87 27 91 69 318 13974 91 29 88 27 91 1192 54775 91 29", "151643 87 151659 88 151664"},
    {"\xd9\xa1\xd9\xa2\xd9\xa3 "
     "\xe4\xb8\xad\xe6\x96\x87\xe5\xad\x97\xe7\xac\xa6\xef\xbc\x8c\xe6\xb8\xac\xe8\xa9\xa6\xe3\x80\x82",
     "149 94 149 95 149 96 72858 16744 48391 3837 107636 102854 1773", ""},
    {"\xf0\x9f\x99\x82\xf0\x9f\x91\x8d\xf0\x9f\x8f\xbd e\xcc\x81", "145080 144349 145375 384 53839", ""},
    {"    def f(x):\n\t\treturn x  # ok\n", "262 707 282 2075 982 197 853 856 220 671 5394 198", ""},
    {"...!!!\?\?\?---", "1112 12069 33015 4421", ""},
    {"\xe2\x80\xa8"
     "a\xc2\x85"
     "b",
     "378 101 64 126 227 65", ""},
    {"x<|im_end", "87 27 91 318 6213", ""},
    {"\xef\xbc\xa1\xef\xbc\x91 \xef\xbd\x86\xef\xbd\x95\xef\xbd\x8c\xef\xbd\x8c",
     "133054 20109 220 144862 144552 144433 144433", ""},
    {" leading", "6388", ""},
    {"trailing   ", "376 14277 262", ""},
    {"\n\n\n", "1406", ""},
    {"<tool_call>{}</tool_call>", "151657 6257 151658", ""},
    {"na\xc3\xafve caf\xc3\xa9 \xc2\xbd \xc2\xb2 \xe2\x85\xb7",
     "3376 37572 586 51950 220 26062 220 29456 220 70467 115", ""},
    {"if (a</s>b) </s>", "333 320 64 522 82 51407 8 690 82 29", "333 320 64 128247 65 8 220 128247"},
};

static bl_tokenizer *qwen(void)
{
    bl_err e;
    bl_tokenizer *t;
    assert_ok(bl_tokenizer_open(BL_TOK_GGUF, getenv("BITLADDER_QWEN"), &t, &e));
    return t;
}

static void texts_are_cut_as_llamacpp_cuts_them(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_QWEN");
    bl_tokenizer *t = qwen();
    assert_string_equal(bl_tokenizer_kind(t), "byte-level BPE (qwen2)");
    assert_false(bl_tokenizer_adds_bos(t));
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const char *s = rows[i].text, *special = *rows[i].special ? rows[i].special : rows[i].ids;
        const char *got[] = {tok_ids(t, s, strlen(s), BL_ENCODE_BOS),
                             tok_ids(t, s, strlen(s), BL_ENCODE_BOS | BL_ENCODE_SPECIAL)};
        if (strcmp(got[0], rows[i].ids)) fail_msg("'%s' is [%s], wanted [%s]", s, got[0], rows[i].ids);
        if (strcmp(got[1], special)) fail_msg("'%s' with special tokens is [%s], wanted [%s]", s, got[1], special);
    }
    bl_tokenizer_close(t);
}

/* llama.cpp's log: EOG tokens 128247 151643 151645 151662 151663 151664; the first is not typed as a control token. */
static void turns_documents_and_files_end_a_generation(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_QWEN");
    static const struct {
        int32_t id;
        const char *text;
        bool ends;
    } tokens[] = {
        {128247, "</s>", true},          {151643, "<|endoftext|>", true},   {151644, "<|im_start|>", false},
        {151645, "<|im_end|>", true},    {151659, "<|fim_prefix|>", false}, {151662, "<|fim_pad|>", true},
        {151663, "<|repo_name|>", true}, {151664, "<|file_sep|>", true},
    };
    bl_tokenizer *t = qwen();
    for (size_t i = 0; i < BL_COUNT(tokens); i++) {
        size_t n;
        const char *s = bl_token_bytes(t, tokens[i].id, &n);
        assert_int_equal(n, strlen(tokens[i].text));
        assert_memory_equal(s, tokens[i].text, n);
        if (bl_tokenizer_ends(t, tokens[i].id) != tokens[i].ends) fail_msg("%s", tokens[i].text);
    }
    int ends = 0;
    for (int32_t id = 0; id < (int32_t)bl_tokenizer_vocab(t); id++) ends += bl_tokenizer_ends(t, id);
    assert_int_equal(ends, 6);
    assert_int_equal(bl_tokenizer_eos(t), 151645);
    bl_tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_cut_as_llamacpp_cuts_them),
        cmocka_unit_test(turns_documents_and_files_end_a_generation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
