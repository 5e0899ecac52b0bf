/* tokenizer_tok.c - tokenizer files that must be refused, each with its reason. */
#include "data/text_tok.h"
#include "kernels/base/fs.h"

#define BPE(rest)      "{\"model\":{\"type\":\"BPE\"," rest "}}"
#define WITH(part)     "{" part ",\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[]}}"
#define BYTE_LEVEL     "{\"type\":\"ByteLevel\"}"
#define SPLIT(pattern) WITH("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":" pattern ",\"behavior\":\"Isolated\"}")
#define REGEX(p)       SPLIT("{\"Regex\":\"" p "\"}")

static const struct {
    const char *text;
    bl_status st;
    const char *why;
} json[] = {
    {"", BL_E_FORMAT, "made"},
    {"[]", BL_E_FORMAT, "expected an object"},
    {"{\"model\":{}}", BL_E_FORMAT, "model: 'vocab' is missing"},
    {BPE("\"vocab\":{\"a\":0}"), BL_E_FORMAT, "'merges' is missing"},
    {BPE("\"vocab\":[\"a\"],\"merges\":[]"), BL_E_FORMAT, "not an object"},
    {BPE("\"vocab\":{\"a\":0},\"merges\":{}"), BL_E_FORMAT, "not an array"},
    {BPE("\"vocab\":{},\"merges\":[]"), BL_E_FORMAT, "no tokens"},
    /* R67 */
    {BPE("\"vocab\":{\"a\":0,\"b\":1},\"merges\":[\"a x\"]"), BL_E_FORMAT, "'x' is not in the vocabulary"},
    {BPE("\"vocab\":{\"a\":0,\"b\":1},\"merges\":[\"x b\"]"), BL_E_FORMAT, "'x' is not in the vocabulary"},
    {BPE("\"vocab\":{\"a\":0,\"b\":1},\"merges\":[\"a b\"]"), BL_E_FORMAT, "together they are no token"},
    {BPE("\"vocab\":{\"a\":0,\"b\":1,\"xyz\":2},\"merges\":[[\"a\",\"b\"]]"), BL_E_FORMAT,
     "together they are no token"},
    {BPE("\"vocab\":{\"a\":0},\"merges\":[\"aa\"]"), BL_E_FORMAT, "not two tokens"},
    {BPE("\"vocab\":{\"a\":0},\"merges\":[\"a a a\"]"), BL_E_FORMAT, "not two tokens"},
    {BPE("\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]"), BL_E_FORMAT, "a merge of 1 tokens"},
    {BPE("\"vocab\":{\"a\":0},\"merges\":[7]"), BL_E_FORMAT, "merges"},
    /* R68 */
    {BPE("\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]"), BL_E_FORMAT, "id 0 is given to 'a' and to 'b'"},
    {BPE("\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]"), BL_E_FORMAT, "a"},
    {WITH("\"added_tokens\":[{\"id\":0,\"content\":\"z\"}]"), BL_E_FORMAT, "id 0 is given to 'a' and to 'z'"},
    {WITH("\"added_tokens\":[{\"id\":7,\"content\":\"a\"}]"), BL_E_FORMAT, "'a' has two ids, 0 and 7"},
    {WITH("\"added_tokens\":[{\"id\":7,\"content\":\"z\"},{\"id\":7,\"content\":\"z\"}]"), BL_E_FORMAT, "listed twice"},
    {WITH("\"added_tokens\":[{\"id\":7,\"content\":\"z\"},{\"id\":8,\"content\":\"z\"}]"), BL_E_FORMAT, "two ids"},
    {WITH("\"added_tokens\":[{\"id\":7,\"content\":\"\"}]"), BL_E_FORMAT, "is empty"},
    {WITH("\"added_tokens\":[{\"content\":\"z\"}]"), BL_E_FORMAT, "id"},
    /* R69 */
    {BPE("\"vocab\":{\"a\":2147483648},\"merges\":[]"), BL_E_FORMAT, "not between 0 and 2147483647"},
    {BPE("\"vocab\":{\"a\":-1},\"merges\":[]"), BL_E_FORMAT, "not between"},
    {BPE("\"vocab\":{\"a\":2147483647},\"merges\":[]"), BL_E_FORMAT, "in a vocabulary of 1 tokens"},
    {BPE("\"vocab\":{\"a\":1.5},\"merges\":[]"), BL_E_FORMAT, "vocab"},
    {WITH("\"added_tokens\":[{\"id\":4294967296,\"content\":\"z\"}]"), BL_E_FORMAT, "not between"},
    /* R70 */
    {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", BL_E_UNSUPPORTED, "model 'Unigram'"},
    {"{\"model\":{\"type\":\"Unigram\"}}", BL_E_UNSUPPORTED, "model 'Unigram'"},
    {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0}}}", BL_E_FORMAT, "the unknown token '[UNK]' is not in"},
    {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0},\"max_input_chars_per_word\":0}}", BL_E_FORMAT,
     "max_input_chars_per_word is 0, expected 1 to 10000"},
    {WITH("\"normalizer\":{\"type\":\"StripAccents\"}"), BL_E_UNSUPPORTED, "normalizer 'StripAccents'"},
    {WITH("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Nmt\"}]}"), BL_E_UNSUPPORTED,
     "normalizer 'Nmt'"},
    {WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"x\"}"), BL_E_FORMAT,
     "empty"},
    {WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{},\"content\":\"x\"}"), BL_E_FORMAT,
     "neither String nor Regex"},
    {WITH("\"normalizer\":{}"), BL_E_FORMAT, "type"},
    {WITH("\"pre_tokenizer\":{\"type\":\"Punctuation\"}"), BL_E_UNSUPPORTED, "pre-tokenizer 'Punctuation'"},
    {WITH("\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL ",{\"type\":\"Digits\"}]}"),
     BL_E_UNSUPPORTED, "'Digits' after ByteLevel"},
    {WITH("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},\"behavior\":\"Odd\"}"),
     BL_E_UNSUPPORTED, "split behavior 'Odd'"},
    {WITH("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"prepend_scheme\":\"odd\"}"), BL_E_UNSUPPORTED,
     "prepend_scheme 'odd'"},
    {WITH("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\"}"), BL_E_FORMAT, "empty"},
    {WITH("\"decoder\":{\"type\":\"CTC\"}"), BL_E_UNSUPPORTED, "decoder 'CTC'"},
    {WITH("\"decoder\":{\"type\":\"Strip\",\"content\":\"\",\"start\":1,\"stop\":0}"), BL_E_FORMAT, "empty"},
    {WITH("\"decoder\":{\"type\":\"Metaspace\",\"replacement\":\"\"}"), BL_E_FORMAT, "empty"},
    {WITH("\"decoder\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"a+\"},\"content\":\"x\"}"), BL_E_UNSUPPORTED,
     "decoder with a pattern"},
    {WITH("\"post_processor\":{\"type\":\"RobertaProcessing\"}"), BL_E_UNSUPPORTED,
     "post-processor 'RobertaProcessing'"},
    {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}}],"
          "\"special_tokens\":{}}"),
     BL_E_FORMAT, ""},
    {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}}],"
          "\"special_tokens\":{\"x\":{\"ids\":[9]}}}"),
     BL_E_FORMAT, "id 9, which is no token"},
    {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Odd\":1}]}"), BL_E_UNSUPPORTED,
     "template piece 'Odd'"},
    {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}}],"
          "\"special_tokens\":{\"x\":{\"ids\":[0,0,0,0,0,0,0,0,0]}}}"),
     BL_E_UNSUPPORTED, "more than 8 tokens"},
    {BPE("\"dropout\":0.1,\"vocab\":{\"a\":0},\"merges\":[]"), BL_E_UNSUPPORTED, "dropout"},
    {BPE("\"continuing_subword_prefix\":\"##\",\"vocab\":{\"a\":0},\"merges\":[]"), BL_E_UNSUPPORTED,
     "continuing_subword_prefix '##'"},
    {BPE("\"end_of_word_suffix\":\"</w>\",\"vocab\":{\"a\":0},\"merges\":[]"), BL_E_UNSUPPORTED, "end_of_word_suffix"},
    {BPE("\"unk_token\":\"<unk>\",\"vocab\":{\"a\":0},\"merges\":[]"), BL_E_FORMAT, "'<unk>' is not in the vocabulary"},
    {BPE("\"byte_fallback\":1,\"vocab\":{\"a\":0},\"merges\":[]"), BL_E_FORMAT, "byte_fallback"},
    /* R71, and what PCRE2 would read differently */
    {REGEX("(a"), BL_E_FORMAT, "does not compile"},
    {REGEX("a)"), BL_E_FORMAT, "does not compile"},
    {REGEX("[z-a]"), BL_E_FORMAT, "does not compile"},
    {REGEX(""), BL_E_FORMAT, "empty"},
    {REGEX("\\\\"), BL_E_FORMAT, "ends in a backslash"},
    {REGEX("\\\\h+"), BL_E_UNSUPPORTED, "\\h in a pattern"},
    {REGEX("[\\\\b]"), BL_E_UNSUPPORTED, "\\b in a pattern"},
    {REGEX("\\\\u12"), BL_E_FORMAT, "four hexadecimal digits"},
    {REGEX("[a&&b]"), BL_E_UNSUPPORTED, "&&"},
    {REGEX("[a[b]]"), BL_E_UNSUPPORTED, "a class inside"},
    {REGEX("a{,3}"), BL_E_UNSUPPORTED, "{,n}"},
    {REGEX("(?R)"), BL_E_UNSUPPORTED, "'(?R)'"},
    {REGEX("(*COMMIT)a"), BL_E_FORMAT, "'(*'"},
    {SPLIT("{\"Odd\":\"a\"}"), BL_E_FORMAT, "neither String nor Regex"},
};

static void tokenizer_json_is_refused_by_name(void **state)
{
    (void)state;
    bl_err e;
    bl_tokenizer *t = NULL;
    for (size_t i = 0; i < BL_COUNT(json); i++) {
        e.text[0] = 0;
        bl_status st = bl_tokenizer_parse(BL_TOK_JSON, (const uint8_t *)json[i].text, strlen(json[i].text), "made", &t,
                                          &e);
        if (st != json[i].st || !strstr(e.text, json[i].why) || strncmp(e.text, "made: ", 6))
            fail_msg("%s\n  %s '%s', wanted %s '%s'", json[i].text, bl_status_name(st), e.text,
                     bl_status_name(json[i].st), json[i].why);
        assert_null(t);
    }
}

static void too_many_steps_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *open, *one, *why;
    } rows[] = {
        {"\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[", "{\"type\":\"NFC\"}", "more than 16 normalizers"},
        {"\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[", "{\"type\":\"Digits\"}",
         "more than 16 pre-tokenizer steps"},
        {"\"decoder\":{\"type\":\"Sequence\",\"decoders\":[", "{\"type\":\"Fuse\"}", "more than 16 decoders"},
    };
    bl_err e;
    bl_tokenizer *t;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_text s = {0};
        bl_text_addf(&s, "{%s%s", rows[i].open, rows[i].one);
        for (int k = 0; k < 16; k++) bl_text_addf(&s, ",%s", rows[i].one);
        bl_text_add(&s, "]},\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}");
        assert_refused(bl_tokenizer_parse(BL_TOK_JSON, (const uint8_t *)s.s, s.n, "made", &t, &e), BL_E_UNSUPPORTED,
                       rows[i].why);
        bl_text_free(&s);
    }
}

/* A catastrophic pattern compiles; its match limit makes an error of it, never a token, and not a wait without end. */
static void a_pattern_that_backtracks_without_end_is_an_error(void **state)
{
    (void)state;
    bl_err e;
    bl_ids ids = {0};
    bl_tokenizer *t = tok_json(REGEX("(?:a|aa)+(?:a|aa)+[xy]"));
    char text[64];
    memset(text, 'a', sizeof text);
    assert_ok(bl_ids_push(&ids, 7, &e));
    assert_refused(bl_encode(t, text, sizeof text, BL_ENCODE_PLAIN, &ids, &e), BL_E_FORMAT, "gave up");
    assert_int_equal(ids.n, 1); /* nothing is left behind */
    bl_ids_free(&ids);
    bl_tokenizer_close(t);
}

/* ---- sentencepiece ------------------------------------------------------------------------------- */

static void refused(bl_tok_kind kind, bl_text *s, bl_status want, const char *why)
{
    bl_err e;
    bl_tokenizer *t;
    assert_refused(bl_tokenizer_parse(kind, (const uint8_t *)(s->s ? s->s : ""), s->n, "made", &t, &e), want, why);
    bl_text_free(s);
}

#define UNK                                                                                                            \
    {                                                                                                                  \
        "<unk>", 0, 2                                                                                                  \
    }
#define MADE(s, bytes, ...)                                                                                            \
    do {                                                                                                               \
        const spm_row r_[] = {__VA_ARGS__};                                                                            \
        spm_made(&(s), r_, BL_COUNT(r_), bytes, true, false);                                                          \
    } while (0)

static void sentencepiece_models_are_refused_by_name(void **state)
{
    (void)state;
    bl_text s = {0}, in = {0};
    refused(BL_TOK_SPM, &s, BL_E_FORMAT, "no pieces");
    static const char *const kinds[] = {"0", "unigram", NULL, "word", "character", "?"};
    for (int m = 1; m <= 5; m++) {
        if (m == 2) continue;
        spm_piece(&s, "<unk>", 0, 2);
        pb_int(&in, 3, (uint64_t)m);
        pb_message(&s, 2, &in);
        refused(BL_TOK_SPM, &s, BL_E_UNSUPPORTED, kinds[m]);
    }
    spm_piece(&s, "<unk>", 0, 2);
    refused(BL_TOK_SPM, &s, BL_E_UNSUPPORTED, "unigram"); /* what an absent model_type means */
    MADE(s, false, UNK);
    pb_bytes(&in, 1, "nmt_nfkc", 8);
    pb_bytes(&in, 2, "map", 3);
    pb_message(&s, 3, &in);
    refused(BL_TOK_SPM, &s, BL_E_UNSUPPORTED, "normalizer 'nmt_nfkc' with a map of 3 bytes");
    MADE(s, false, UNK);
    pb_bytes(&in, 2, "map", 3);
    pb_message(&s, 5, &in);
    refused(BL_TOK_SPM, &s, BL_E_UNSUPPORTED, "denormalization");
    MADE(s, false, UNK);
    pb_int(&in, 24, 1);
    pb_message(&s, 2, &in);
    refused(BL_TOK_SPM, &s, BL_E_UNSUPPORTED, "treat_whitespace_as_suffix");
    MADE(s, false, {"a", 0, 1});
    refused(BL_TOK_SPM, &s, BL_E_FORMAT, "no unknown piece");
    MADE(s, false, UNK, {"<unk2>", 0, 2});
    refused(BL_TOK_SPM, &s, BL_E_FORMAT, "two unknown pieces");
    MADE(s, false, UNK, {"a", 0, 1}, {"a", 0, 1});
    refused(BL_TOK_SPM, &s, BL_E_FORMAT, "'a' has two ids, 1 and 2");
    MADE(s, false, UNK, {"", 0, 1});
    refused(BL_TOK_SPM, &s, BL_E_FORMAT, "piece 1 is empty");
    MADE(s, false, UNK, {"a", 0, 9});
    refused(BL_TOK_SPM, &s, BL_E_FORMAT, "type 9");
    MADE(s, false, UNK, {"\xFF", 0, 4});
    refused(BL_TOK_SPM, &s, BL_E_FORMAT, "not UTF-8");
    MADE(s, false, UNK, {"\xFF", 0, 3});
    refused(BL_TOK_SPM, &s, BL_E_FORMAT, "not UTF-8");
}

static void byte_pieces_must_be_complete(void **state) /* R72 */
{
    (void)state;
    bl_text s = {0}, in = {0};
    char name[8];
    spm_piece(&s, "<unk>", 0, 2);
    for (int b = 0; b < 256; b++) {
        snprintf(name, sizeof name, "<0x%02X>", b);
        if (b != 0x41) spm_piece(&s, name, 0, 6);
    }
    pb_int(&in, 3, 2);
    pb_int(&in, 35, 1);
    pb_message(&s, 2, &in);
    refused(BL_TOK_SPM, &s, BL_E_FORMAT, "without a byte piece '<0x41>'");
    MADE(s, false, UNK, {"<0xZZ>", 0, 6});
    refused(BL_TOK_SPM, &s, BL_E_FORMAT, "byte piece 1 is '<0xZZ>'");
}

static void protobuf_traps_are_refused(void **state) /* R73 */
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *why;
    } rows[] = {
        {"\x0A", 1, "ends inside a number"},
        {"\x0A\x80", 2, "ends inside a number"},
        {"\x0A\x05"
         "ab",
         4, "of 5 bytes, and 2 are left"},
        {"\x0A\x80\xC8\xAF\xA0\x25", 6, "of 10000000000 bytes"},
        {"\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 11, "of 18446744073709551615 bytes"},
        {"\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02", 11, "more than 64 bits"},
        {"\x08\x01", 2, "a piece has wire type 0, expected 2"},
        {"\x0D\x01\x00\x00\x00", 5, "a piece has wire type 5"},
        {"\x0A\x02\x08\x01", 4, "piece.piece has wire type 0"},
        {"\x0A\x02\x10\x01", 4, "piece.score has wire type 0"},
        {"\x0A\x03\x1A\x01\x01", 5, "piece.type has wire type 2"},
        {"\x0B", 1, "wire type 3"},
        {"\x0F", 1, "wire type 7"},
        {"\x02\x00", 2, "field number 0"},
        {"\x0D\x01", 2, "ends inside field 1"},
        {"\x0A\x03\x15\x00\x00", 5, "ends inside field 2"},
        {"\x12\x00", 2, "no pieces"},
    };
    bl_err e;
    bl_tokenizer *t;
    for (size_t i = 0; i < BL_COUNT(rows); i++)
        assert_refused(bl_tokenizer_parse(BL_TOK_SPM, (const uint8_t *)rows[i].bytes, rows[i].n, "made", &t, &e),
                       BL_E_FORMAT, rows[i].why);
}

static void scores_that_are_not_numbers_are_refused(void **state) /* R74 */
{
    (void)state;
    bl_text s = {0};
    float nan = 0;
    memcpy(&nan, &(uint32_t){0x7FC00000}, 4);
    MADE(s, false, UNK, {"a", nan, 1});
    refused(BL_TOK_SPM, &s, BL_E_FORMAT, "score of token 1 'a' is not a number");
    bin_made(&s, (const char *const[]){"a", NULL}, false);
    memcpy(s.s + s.n - 9, &nan, 4);
    refused(BL_TOK_LLAMA2C, &s, BL_E_FORMAT, "score of token 3 'a' is not a number");
}

/* ---- llama2.c and GGUF --------------------------------------------------------------------------- */

static void llama2c_files_are_refused(void **state)
{
    (void)state;
    bl_text s = {0};
    bl_text_add(&s, "a");
    refused(BL_TOK_LLAMA2C, &s, BL_E_FORMAT, "1 bytes are no tokenizer");
    gguf_u32(&s, 0);
    refused(BL_TOK_LLAMA2C, &s, BL_E_FORMAT, "longest token 0");
    gguf_u32(&s, 8);
    refused(BL_TOK_LLAMA2C, &s, BL_E_FORMAT, "0 tokens, expected at least 3");
    bin_made(&s, (const char *const[]){"a", NULL}, false);
    s.n--;
    refused(BL_TOK_LLAMA2C, &s, BL_E_FORMAT, "length 1, and 0 bytes are left");
    bin_made(&s, (const char *const[]){"a", NULL}, false);
    s.n -= 4;
    refused(BL_TOK_LLAMA2C, &s, BL_E_FORMAT, "ends inside token 3");
    gguf_u32(&s, 8);
    bin_piece(&s, 0, "x", -1);
    refused(BL_TOK_LLAMA2C, &s, BL_E_FORMAT, "length -1");
    bin_made(&s, (const char *const[]){"a", "a", NULL}, false);
    refused(BL_TOK_LLAMA2C, &s, BL_E_FORMAT, "two ids");
    bin_made(&s, (const char *const[]){"<0x00>", NULL}, false);
    refused(BL_TOK_LLAMA2C, &s, BL_E_FORMAT, "pieces for 1 of 256 bytes");
    gguf_u32(&s, 8);
    for (int i = 0; i < 4; i++) bin_piece(&s, 0, (const char *[]){"!", "#", "$", "%"}[i], 1);
    refused(BL_TOK_LLAMA2C, &s, BL_E_UNSUPPORTED, "token 0 is '!', expected '<unk>'");
}

static const char *const tokens[] = {"<s>", "a", "b", "ab", NULL}, *const no_merges[] = {NULL};

static void gguf_tokenizers_are_refused_by_name(void **state)
{
    (void)state;
    bl_text s = {0};
    static const float scores[4] = {0};
    gguf_open(&s, 0);
    refused(BL_TOK_GGUF, &s, BL_E_MISSING, "'tokenizer.ggml.model' is missing");
    gguf_open(&s, 1);
    gguf_text(&s, "tokenizer.ggml.model", "bert");
    refused(BL_TOK_GGUF, &s, BL_E_UNSUPPORTED, "tokenizer model 'bert'");
    gguf_open(&s, 1);
    gguf_text(&s, "tokenizer.ggml.model", "gpt2");
    refused(BL_TOK_GGUF, &s, BL_E_UNSUPPORTED, "'tokenizer.ggml.pre' is missing");
    gguf_open(&s, 2);
    gguf_text(&s, "tokenizer.ggml.model", "gpt2");
    gguf_text(&s, "tokenizer.ggml.pre", "default");
    refused(BL_TOK_GGUF, &s, BL_E_UNSUPPORTED, "pre-tokenizer 'default'");

    const struct {
        const char *const *merges;
        uint32_t type, bos;
        const char *why;
    } rows[] = {
        {(const char *const[]){"a x", NULL}, 1, 0, "'x' is not in the vocabulary"},
        {(const char *const[]){"b a", NULL}, 1, 0, "together they are no token"},
        {(const char *const[]){"ab", NULL}, 1, 0, "not two tokens"},
        {(const char *const[]){"", NULL}, 1, 0, "not two tokens"},
        {no_merges, 9, 0, "type 9, expected 0 to 6"},
        {no_merges, 1, 4, "'tokenizer.ggml.bos_token_id' is 4, which is no token"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        uint32_t types[4] = {rows[i].type, 1, 1, 1};
        gguf_open(&s, 6);
        gguf_text(&s, "tokenizer.ggml.model", "gpt2");
        gguf_text(&s, "tokenizer.ggml.pre", "gpt-2");
        gguf_texts(&s, "tokenizer.ggml.tokens", tokens);
        gguf_ints(&s, "tokenizer.ggml.token_type", 5, types, 4);
        gguf_texts(&s, "tokenizer.ggml.merges", rows[i].merges);
        gguf_int(&s, "tokenizer.ggml.bos_token_id", rows[i].bos);
        refused(BL_TOK_GGUF, &s, BL_E_FORMAT, rows[i].why);
    }
    gguf_open(&s, 3);
    gguf_text(&s, "tokenizer.ggml.model", "llama");
    gguf_texts(&s, "tokenizer.ggml.tokens", tokens);
    gguf_ints(&s, "tokenizer.ggml.scores", 6, scores, 3);
    refused(BL_TOK_GGUF, &s, BL_E_FORMAT, "'tokenizer.ggml.scores' has 3 items, expected 4");
    gguf_open(&s, 3);
    gguf_text(&s, "tokenizer.ggml.model", "llama");
    gguf_ints(&s, "tokenizer.ggml.tokens", 5, scores, 4);
    gguf_ints(&s, "tokenizer.ggml.scores", 6, scores, 4);
    refused(BL_TOK_GGUF, &s, BL_E_FORMAT, "not an array of the expected type");
    gguf_open(&s, 2);
    gguf_text(&s, "tokenizer.ggml.model", "llama");
    gguf_ints(&s, "tokenizer.ggml.precompiled_charsmap", 5, scores, 4);
    refused(BL_TOK_GGUF, &s, BL_E_UNSUPPORTED, "normalization map");
    gguf_open(&s, 2);
    gguf_text(&s, "tokenizer.ggml.model", "llama");
    gguf_int(&s, "tokenizer.ggml.add_space_prefix", 1);
    refused(BL_TOK_GGUF, &s, BL_E_FORMAT, "not a truth value");
}

/* A file beside tokenizer.json that is not what it should be is named in the sentence. */
static void files_beside_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *name, *content, *why;
    } rows[] = {
        {"tokenizer_config.json", "[]", "tokenizer_config.json: expected an object"},
        {"tokenizer_config.json", "{\"added_tokens_decoder\":{\"7\":{\"content\":\"\"}}}", "added token 7 is empty"},
        {"tokenizer_config.json", "{\"added_tokens_decoder\":{\"7\":{\"special\":true}}}", "'content' is missing"},
        {"tokenizer_config.json", "{\"added_tokens_decoder\":{\"x\":{\"content\":\"y\"}}}", "'x' is no token id"},
        {"tokenizer_config.json", "{\"added_tokens_decoder\":{\"7\":{\"content\":\"y\",\"lstrip\":3}}}", "lstrip"},
        {"added_tokens.json", "{\"y\":-1}", "id -1 is not between"},
        {"added_tokens.json", "{\"y\":\"7\"}", "expected an integer"},
        {"special_tokens_map.json", "{", "special_tokens_map.json"},
        {"generation_config.json", "{", "generation_config.json"},
    };
    bl_err e;
    bl_tokenizer *t;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const char *dir = test_dir();
        char *path = bl_join(dir, "tokenizer.json", &e), *other = bl_join(dir, rows[i].name, &e);
        assert_ok(bl_write_file(path, WITH("\"version\":\"1.0\""), strlen(WITH("\"version\":\"1.0\"")), &e));
        assert_ok(bl_write_file(other, rows[i].content, strlen(rows[i].content), &e));
        assert_refused(bl_tokenizer_open(BL_TOK_JSON, path, &t, &e), BL_E_FORMAT, rows[i].why);
        if (!strstr(e.text, other)) fail_msg("row %zu does not name the file: %s", i, e.text);
        assert_ok(bl_remove_tree(dir, &e));
        bl_free(path);
        bl_free(other);
    }
}

static void no_tokenizer_is_said_as_such(void **state)
{
    (void)state;
    bl_err e;
    bl_tokenizer *t;
    assert_refused(bl_tokenizer_parse(BL_TOK_NONE, (const uint8_t *)"", 0, "made", &t, &e), BL_E_MISSING,
                   "no tokenizer");
    assert_refused(bl_tokenizer_open(BL_TOK_JSON, "/nowhere/tokenizer.json", &t, &e), BL_E_MISSING,
                   "/nowhere/tokenizer.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokenizer_json_is_refused_by_name),
        cmocka_unit_test(too_many_steps_are_refused),
        cmocka_unit_test(a_pattern_that_backtracks_without_end_is_an_error),
        cmocka_unit_test(sentencepiece_models_are_refused_by_name),
        cmocka_unit_test(byte_pieces_must_be_complete),
        cmocka_unit_test(protobuf_traps_are_refused),
        cmocka_unit_test(scores_that_are_not_numbers_are_refused),
        cmocka_unit_test(llama2c_files_are_refused),
        cmocka_unit_test(gguf_tokenizers_are_refused_by_name),
        cmocka_unit_test(files_beside_are_refused_by_name),
        cmocka_unit_test(no_tokenizer_is_said_as_such),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
