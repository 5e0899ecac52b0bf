/* tokenizer_beside.c - tokens and ids that stand in other files than the tokenizer's own. The right answers are those
 * of transformers 4.57.6 and 5.24.0 (AutoTokenizer of the same directory), which agree on every row here. */
#include "data/text_tok.h"
#include "kernels/base/fs.h"

typedef struct file {
    const char *name, *text;
} file;

/* A directory with a tokenizer and files beside it, opened. */
static bl_tokenizer *opened(bl_tok_kind kind, const void *p, size_t n, const file *f, size_t n_files)
{
    bl_err e;
    bl_tokenizer *t;
    const char *dir = test_dir();
    char *path = bl_join(dir, kind == BL_TOK_JSON ? "tokenizer.json" : "tokenizer.model", &e);
    assert_ok(bl_write_file(path, p, n, &e));
    for (size_t i = 0; i < n_files && f[i].name; i++) {
        char *other = bl_join(dir, f[i].name, &e);
        assert_ok(bl_write_file(other, f[i].text, strlen(f[i].text), &e));
        bl_free(other);
    }
    assert_ok(bl_tokenizer_open(kind, path, &t, &e));
    assert_ok(bl_remove_tree(dir, &e));
    bl_free(path);
    return t;
}

typedef struct pair {
    const char *text, *ids; /* as peers read it: special tokens are recognised */
} pair;

static void check(const bl_tokenizer *t, size_t row, const pair *p, size_t n)
{
    for (size_t i = 0; i < n && p[i].text; i++) {
        const char *got = tok_ids(t, p[i].text, strlen(p[i].text), BL_ENCODE_BOS | BL_ENCODE_SPECIAL);
        if (strcmp(got, p[i].ids)) fail_msg("row %zu: '%s' is [%s], wanted [%s]", row, p[i].text, got, p[i].ids);
    }
}

/* ---- tokenizer.json ------------------------------------------------------------------------------ */

#define VOCAB                                                                                                          \
    "\"a\":0,\"b\":1,\"c\":2,\"d\":3,\"e\":4,\"\\u0120\":5,\"ab\":6,\"abc\":7,\"\\u0120ab\":8,\"1\":9,\"2\":10"
static const char json[] =
    "{\"added_tokens\":[{\"id\":11,\"content\":\"<s>\",\"special\":true,\"normalized\":false},"
    "{\"id\":12,\"content\":\"<x>\",\"special\":false,\"normalized\":false}],"
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"decoder\":{\"type\":\"ByteLevel\"},"
    "\"model\":{\"type\":\"BPE\",\"vocab\":{" VOCAB "},\"merges\":[\"a b\",\"ab c\",\"\\u0120 ab\"]}}";
#define CONFIG(rest) "{\"tokenizer_class\":\"PreTrainedTokenizerFast\"" rest "}"
#define TOKEN(text, special, strips)                                                                                   \
    "{\"content\":\"" text "\",\"special\":" special ",\"lstrip\":" strips ",\"rstrip\":" strips                       \
    ",\"normalized\":false,\"single_word\":false}"

static void tokens_beside_tokenizer_json_are_read(void **state)
{
    (void)state;
    static const struct {
        file files[3];
        int bos, eos, vocab;
        pair texts[6];
    } rows[] = {
        /* flags that are listed beside go before those in the file */
        {{{"tokenizer_config.json", CONFIG(",\"added_tokens_decoder\":{\"11\":" TOKEN(
                                        "<s>", "true", "true") ",\"12\":" TOKEN("<x>", "true", "false") "}")}},
         -1,
         -1,
         13,
         {{"a <s> b", "0 11 1"}, {"a <x> b", "0 5 12 5 1"}}},
        /* a named token that is an ordinary one of the vocabulary keeps its id */
        {{{"tokenizer_config.json", CONFIG(",\"eos_token\":\"abc\",\"bos_token\":\"<s>\"")}},
         11,
         7,
         13,
         {{"abc", "7"}, {"a <s> b", "0 5 11 5 1"}}},
        /* those that are in no vocabulary come after it: named ones in their order, then the others */
        {{{"tokenizer_config.json", CONFIG(",\"eos_token\":\"<t>\",\"pad_token\":\"<p>\","
                                           "\"additional_special_tokens\":[\"cd\",\"<x>\"]")}},
         -1,
         13,
         16,
         {{"a<t>b", "0 13 1"}, {"a <p> b", "0 5 14 5 1"}, {"a cd b", "0 5 15 5 1"}, {"a <x> b", "0 5 12 5 1"}}},
        {{{"tokenizer_config.json",
           CONFIG(",\"eos_token\":{\"content\":\"<t>\",\"lstrip\":true,\"__type\":\"AddedToken\"}")}},
         -1,
         13,
         14,
         {{"a <t>b", "0 13 1"}}},
        /* listed ids only say in which order tokens are added; a text that is there keeps its id */
        {{{"tokenizer_config.json", CONFIG(",\"added_tokens_decoder\":{\"20\":" TOKEN(
                                        "<t>", "false", "false") ",\"15\":" TOKEN("<p>", "true", "false") "}")}},
         -1,
         -1,
         15,
         {{"a<t>b", "0 14 1"}, {"a <p> b", "0 5 13 5 1"}}},
        {{{"tokenizer_config.json", CONFIG(",\"added_tokens_decoder\":{\"13\":" TOKEN("abc", "false", "false") "}")}},
         -1,
         -1,
         13,
         {{"abc", "7"}}},
        {{{"tokenizer_config.json", CONFIG(",\"added_tokens_decoder\":{\"7\":" TOKEN("<t>", "false", "false") "}")}},
         -1,
         -1,
         14,
         {{"a<t>b", "0 13 1"}}},
        /* the map goes before the config, unless the config lists the tokens itself */
        {{{"tokenizer_config.json", CONFIG(",\"eos_token\":\"<x>\",\"bos_token\":\"<s>\"")},
          {"special_tokens_map.json", "{\"eos_token\":\"<s>\"}"}},
         11,
         11,
         13,
         {{"a <x> b", "0 5 12 5 1"}}},
        {{{"tokenizer_config.json",
           CONFIG(",\"eos_token\":\"<x>\",\"added_tokens_decoder\":{\"11\":" TOKEN("<s>", "true", "false") "}")},
          {"special_tokens_map.json", "{\"eos_token\":\"<s>\",\"bos_token\":\"<s>\"}"}},
         -1,
         12,
         13,
         {{"a <s> b", "0 5 11 5 1"}}},
        {{{"tokenizer_config.json", CONFIG(",\"eos_token\":\"<t>\"")},
          {"added_tokens.json", "{\"<t>\":13,\"<p>\":14}"}},
         -1,
         13,
         15,
         {{"a<t>b", "0 13 1"}, {"a <p> b", "0 5 14 5 1"}}},
        {{{"tokenizer_config.json", CONFIG(",\"eos_token\":\"<t>\",\"added_tokens_decoder\":{}")},
          {"added_tokens.json", "{\"<t>\":13,\"<p>\":14}"}},
         -1,
         13,
         14,
         {{"a<t>b", "0 13 1"}, {"a <p> b", "0 5 5 1"}}},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_tokenizer *t = opened(BL_TOK_JSON, json, strlen(json), rows[i].files, BL_COUNT(rows[i].files));
        check(t, i, rows[i].texts, BL_COUNT(rows[i].texts));
        if (bl_tokenizer_vocab(t) != rows[i].vocab || bl_tokenizer_bos(t) != rows[i].bos ||
            bl_tokenizer_eos(t) != rows[i].eos)
            fail_msg("row %zu: %d tokens, bos %d, eos %d", i, (int)bl_tokenizer_vocab(t), bl_tokenizer_bos(t),
                     bl_tokenizer_eos(t));
        bl_tokenizer_close(t);
    }
}

/* ---- tokenizer.model ----------------------------------------------------------------------------- */

#define SPACE "\xE2\x96\x81"
static const spm_row pieces[] = {{"<unk>", 0, 2}, {"<s>", 0, 3},        {"</s>", 0, 3},       {SPACE, -1, 1},
                                 {"a", -2, 1},    {"b", -3, 1},         {"<", -4, 1},         {"x", -5, 1},
                                 {">", -6, 1},    {SPACE "a", -.5f, 1}, {SPACE "b", -.6f, 1}, {"ab", -.7f, 1}};
#define LLAMA(rest)                                                                                                    \
    "{\"tokenizer_class\":\"LlamaTokenizer\",\"bos_token\":\"<s>\",\"unk_token\":\"<unk>\",\"add_bos_token\":"         \
    "true" rest "}"
#define DECODER                                                                                                        \
    ",\"added_tokens_decoder\":{\"0\":" TOKEN("<unk>", "true", "false") ",\"1\":" TOKEN(                               \
        "<s>", "true", "false") ","                                                                                    \
                                "\"12\":" TOKEN("<e>", "true", "false") ",\"13\":" TOKEN("<x>", "false", "false") "}"

static void tokens_beside_tokenizer_model_are_read(void **state)
{
    (void)state;
    static const pair once[] = {{"a <x> b", "1 9 3 13 10"},
                                {"<x>a", "1 13 4"},
                                {"a<x>ab<e>b", "1 9 13 11 12 5"},
                                {"<s>a", "1 1 4"},
                                {"ab", "1 9 5"}};
    static const pair each[] = {/* transformers 4.57.6, whose chunks are sentencepiece's; 5.24 swallows a space */
                                {"a <x> b", "1 9 3 13 3 10"},
                                {"<x>a", "1 13 9"},
                                {"a<x>ab<e>b", "1 9 13 9 5 12 10"},
                                {"<s>a", "1 1 9"},
                                {"ab", "1 9 5"}};
    static const struct {
        file files[3];
        const pair *texts;
    } rows[] = {
        {{{"tokenizer_config.json", LLAMA(",\"eos_token\":\"<e>\",\"legacy\":false" DECODER)}}, once},
        {{{"tokenizer_config.json", LLAMA(",\"eos_token\":\"<e>\",\"legacy\":true" DECODER)}}, each},
        {{{"tokenizer_config.json", LLAMA(",\"eos_token\":\"<e>\",\"legacy\":false")},
          {"added_tokens.json", "{\"<x>\":13,\"<e>\":12}"}},
         once},
        {{{"tokenizer_config.json", LLAMA(",\"eos_token\":\"</s>\",\"legacy\":false")},
          {"special_tokens_map.json", "{\"eos_token\":{\"content\":\"<e>\"},\"pad_token\":\"<x>\"}"}},
         once},
    };
    bl_text s = {0};
    spm_made(&s, pieces, BL_COUNT(pieces), false, true, false);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_tokenizer *t = opened(BL_TOK_SPM, s.s, s.n, rows[i].files, BL_COUNT(rows[i].files));
        check(t, i, rows[i].texts, BL_COUNT(once));
        assert_int_equal(bl_tokenizer_vocab(t), 14);
        assert_int_equal(bl_tokenizer_bos(t), 1);
        assert_int_equal(bl_tokenizer_eos(t), 12);
        assert_true(bl_tokenizer_ends(t, 12));
        bl_tokenizer_close(t);
    }
    bl_text_free(&s);
}

static void added_tokens_read_back(void **state)
{
    (void)state;
    bl_err e;
    bl_text s = {0};
    bl_ids ids = {0};
    char *text;
    static const file f[] = {{"tokenizer_config.json", LLAMA(",\"eos_token\":\"<e>\",\"legacy\":false" DECODER)}};
    spm_made(&s, pieces, BL_COUNT(pieces), false, true, false);
    bl_tokenizer *t = opened(BL_TOK_SPM, s.s, s.n, f, 1);
    assert_ok(bl_encode(t, "a<x>ab<e>", 9, BL_ENCODE_SPECIAL, &ids, &e));
    assert_ok(bl_decode(t, ids.id, ids.n, false, &text, NULL, &e));
    assert_string_equal(text, "a<x>ab"); /* <e> is special */
    bl_free(text);
    ids.n = 0;
    assert_ok(bl_encode(t, "a<e>", 4, BL_ENCODE_PLAIN, &ids, &e)); /* and stays text where it is not asked for */
    assert_int_not_equal(ids.id[ids.n - 1], 12);
    bl_ids_free(&ids);
    bl_tokenizer_close(t);
    bl_text_free(&s);
}

/* ---- prefix and ends ----------------------------------------------------------------------------- */

#define TEMPLATE                                                                                                       \
    "{\"added_tokens\":[{\"id\":11,\"content\":\"<s>\",\"special\":true},{\"id\":12,\"content\":\"<x>\",\"special\":"  \
    "true}],\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"      \
    "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[11]}}},"                                     \
    "\"model\":{\"type\":\"BPE\",\"vocab\":{" VOCAB "},\"merges\":[]}}"

/* lm_eval 0.4.13: tokenizer.bos_token_id, else tokenizer.eos_token_id; config.json is not asked. */
static void an_empty_context_is_the_tokenizers_bos_else_its_eos(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        file files[2];
        int prefix;
    } rows[] = {
        {json,
         {{"tokenizer_config.json", CONFIG(",\"bos_token\":null,\"eos_token\":\"<x>\"")},
          {"config.json", "{\"bos_token_id\":11}"}},
         12},
        {json,
         {{"tokenizer_config.json", CONFIG(",\"eos_token\":\"<x>\"")}, {"config.json", "{\"bos_token_id\":11}"}},
         12},
        {json,
         {{"tokenizer_config.json", CONFIG(",\"bos_token\":\"<s>\",\"eos_token\":\"<x>\"")},
          {"config.json", "{\"bos_token_id\":3}"}},
         11},
        /* a template that puts a token in front gives it no name */
        {TEMPLATE, {{"tokenizer_config.json", CONFIG(",\"eos_token\":\"<x>\"")}}, 12},
        {TEMPLATE, {{"tokenizer_config.json", CONFIG(",\"bos_token\":\"<s>\",\"eos_token\":\"<x>\"")}}, 11},
        /* files that name nothing leave it to config.json, where lm_eval would stop */
        {json, {{"config.json", "{\"bos_token_id\":11,\"eos_token_id\":12}"}}, 11},
        {json, {{"config.json", "{\"eos_token_id\":12}"}}, 12},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_tokenizer *t = opened(BL_TOK_JSON, rows[i].json, strlen(rows[i].json), rows[i].files,
                                 BL_COUNT(rows[i].files));
        if (bl_tokenizer_prefix(t) != rows[i].prefix)
            fail_msg("row %zu: prefix %d, wanted %d", i, bl_tokenizer_prefix(t), rows[i].prefix);
        bl_tokenizer_close(t);
    }
}

/* transformers 5.24 generate() stops at every id of generation_config.json, which stands for config.json where it says
 * something; lm_eval 0.4.13 stops at the tokenizer's EOS too. */
static void every_end_token_that_a_file_names_ends_a_generation(void **state)
{
    (void)state;
    static const struct {
        file files[3];
        const char *ends; /* of ids 0 to 12 */
    } rows[] = {
        {{{"config.json", "{\"eos_token_id\":[11,12]}"}}, "11 12"},
        {{{"config.json", "{\"eos_token_id\":[12,11]}"}}, "11 12"},
        {{{"config.json", "{\"eos_token_id\":11}"}, {"generation_config.json", "{\"eos_token_id\":[11,12]}"}}, "11 12"},
        {{{"config.json", "{\"eos_token_id\":11}"}, {"generation_config.json", "{\"eos_token_id\":12}"}}, "12"},
        {{{"config.json", "{\"eos_token_id\":11}"}, {"generation_config.json", "{\"eos_token_id\":null}"}}, "11"},
        {{{"config.json", "{\"eos_token_id\":11}"}, {"generation_config.json", "{\"do_sample\":true}"}}, "11"},
        {{{"config.json", "{\"eos_token_id\":11}"},
          {"generation_config.json", "{\"eos_token_id\":12}"},
          {"tokenizer_config.json", CONFIG(",\"eos_token\":\"abc\"")}},
         "7 12"},
        {{{"generation_config.json", "{\"eos_token_id\":[12,900]}"}}, "12"}, /* 900 is no token */
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_tokenizer *t = opened(BL_TOK_JSON, json, strlen(json), rows[i].files, BL_COUNT(rows[i].files));
        char got[64] = "";
        for (int32_t id = -1; id < 14; id++)
            if (bl_tokenizer_ends(t, id))
                snprintf(got + strlen(got), sizeof got - strlen(got), *got ? " %d" : "%d", id);
        if (strcmp(got, rows[i].ends)) fail_msg("row %zu: [%s] end, wanted [%s]", i, got, rows[i].ends);
        bl_tokenizer_close(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_beside_tokenizer_json_are_read),
        cmocka_unit_test(tokens_beside_tokenizer_model_are_read),
        cmocka_unit_test(added_tokens_read_back),
        cmocka_unit_test(an_empty_context_is_the_tokenizers_bos_else_its_eos),
        cmocka_unit_test(every_end_token_that_a_file_names_ends_a_generation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
