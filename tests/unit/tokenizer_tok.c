/* tokenizer_tok.c - tokenizers small enough to encode by hand. */
#include "data/text_tok.h"
#include "kernels/base/fs.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* Letters a to e, space (the letter U+0120), "ab", "abc", " ab". Merges in this order: a b, ab c, space ab. */
#define VOCAB                                                                                                          \
    "\"a\":0,\"b\":1,\"c\":2,\"d\":3,\"e\":4,\"\\u0120\":5,\"ab\":6,\"abc\":7,\"\\u0120ab\":8,\"1\":9,\"2\":10"
#define MERGES     "\"a b\",\"ab c\",\"\\u0120 ab\""
#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}"
#define JSON(added, pre, post, options, vocab, merges)                                                                 \
    "{\"added_tokens\":[" added "],\"normalizer\":null,\"pre_tokenizer\":" pre ",\"post_processor\":" post             \
    ",\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\"" options ",\"vocab\":{" vocab                   \
    "},\"merges\":[" merges "]}}"
#define PLAIN JSON("", BYTE_LEVEL, "null", "", VOCAB, MERGES)

static void merges_apply_in_the_order_of_their_ranks(void **state)
{
    (void)state;
    static const struct {
        const char *text, *ids;
    } rows[] = {
        {"", ""},        {"ab", "6"},      {"abc", "7"},    {"ababc", "6 7"},
        {"bc", "1 2"},   {" ab", "8"},     {" abc", "5 7"}, /* ab+c is listed before space+ab */
        {"  ab", "5 8"}, {"a b", "0 5 1"}, {"cab", "2 6"},  {"aab", "0 6"},
        {"12", "9 10"},  {"a?b", "0 1"}, /* no letter for ? and no unknown token: left out */
    };
    bl_tokenizer *t = tok_json(PLAIN);
    for (size_t i = 0; i < BL_COUNT(rows); i++)
        assert_string_equal(tok_ids(t, rows[i].text, strlen(rows[i].text), 0), rows[i].ids);
    assert_int_equal(bl_tokenizer_vocab(t), 11);
    assert_string_equal(bl_tokenizer_kind(t), "byte-level BPE (gpt-2)");
    assert_int_equal(bl_tokenizer_bos(t), -1);
    assert_int_equal(bl_tokenizer_prefix(t), -1);
    bl_tokenizer_close(t);
}

static void merges_may_be_pairs(void **state)
{
    (void)state;
    bl_tokenizer *a = tok_json(PLAIN), *b = tok_json(JSON("", BYTE_LEVEL, "null", "", VOCAB,
                                                          "[\"a\",\"b\"],[\"ab\",\"c\"],[\"\\u0120\",\"ab\"]"));
    char want[256];
    snprintf(want, sizeof want, "%s", tok_ids(a, "abc ab cab", 10, BL_ENCODE_PLAIN));
    assert_string_equal(tok_ids(b, "abc ab cab", 10, BL_ENCODE_PLAIN), want);
    bl_tokenizer_close(a);
    bl_tokenizer_close(b);
}

static void a_whole_word_goes_before_merges_when_merges_are_ignored(void **state)
{
    (void)state;
    bl_tokenizer *t = tok_json(JSON("", BYTE_LEVEL, "null", ",\"ignore_merges\":true", VOCAB ",\"dcba\":11", MERGES));
    assert_string_equal(tok_ids(t, "dcba", 4, 0), "11");
    assert_string_equal(tok_ids(t, "dcbab", 5, 0), "3 2 1 6");
    assert_string_equal(tok_ids(t, " dcba", 5, 0), "5 3 2 1 0");
    bl_tokenizer_close(t);
}

#define SPECIALS                                                                                                       \
    "{\"id\":11,\"content\":\"<s>\",\"special\":true,\"normalized\":false},{\"id\":12,\"content\":\"<end>\","          \
    "\"special\":true,\"normalized\":false,"                                                                           \
    "\"lstrip\":true,\"rstrip\":true},{\"id\":13,\"content\":\"cd\",\"special\":false,\"normalized\":false,\"single_"  \
    "word\":true}"
#define TEMPLATE                                                                                                       \
    "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{"   \
    "\"id\":\"A\",\"type_id\":0}}],"                                                                                   \
    "\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[11],\"tokens\":[\"<s>\"]}}}"
#define WITH_SPECIALS JSON(SPECIALS, BYTE_LEVEL, TEMPLATE, "", VOCAB, MERGES)

static void special_tokens_are_text_unless_asked_for(void **state)
{
    (void)state;
    bl_tokenizer *t = tok_json(WITH_SPECIALS);
    assert_string_equal(tok_ids(t, "a<s>b", 5, BL_ENCODE_SPECIAL), "0 11 1");
    assert_string_equal(tok_ids(t, "a<s>b", 5, BL_ENCODE_PLAIN), "0 1");            /* "<s>" has no letters here */
    assert_string_equal(tok_ids(t, "a  <end> b", 10, BL_ENCODE_SPECIAL), "0 12 1"); /* lstrip, rstrip take the spaces */
    assert_string_equal(tok_ids(t, "a cd b", 6, BL_ENCODE_PLAIN), "0 5 13 5 1");    /* not special: always */
    assert_string_equal(tok_ids(t, "acd", 3, BL_ENCODE_PLAIN), "0 2 3");            /* not a single word */
    assert_true(bl_tokenizer_is_special(t, 11));
    assert_false(bl_tokenizer_is_special(t, 13));
    assert_false(bl_tokenizer_is_special(t, 99));
    assert_false(bl_tokenizer_is_special(t, -1));
    bl_tokenizer_close(t);
}

static void one_bos_and_only_one(void **state)
{
    (void)state;
    bl_tokenizer *t = tok_json(WITH_SPECIALS);
    assert_true(bl_tokenizer_adds_bos(t));
    assert_int_equal(bl_tokenizer_bos(t), 11);
    assert_int_equal(bl_tokenizer_prefix(t), 11);
    assert_string_equal(tok_ids(t, "ab", 2, BL_ENCODE_BOS), "11 6");
    assert_string_equal(tok_ids(t, "", 0, BL_ENCODE_BOS), "11");
    assert_string_equal(tok_ids(t, "ab", 2, BL_ENCODE_PLAIN), "6");
    bl_tokenizer_close(t);
}

static const char *span_ids(const bl_tokenizer *t, const bl_span *span, size_t n)
{
    static char out[256];
    bl_err e;
    bl_ids ids = {0};
    assert_ok(bl_encode_spans(t, span, n, BL_ENCODE_PLAIN, &ids, &e));
    out[0] = 0;
    for (size_t i = 0, used = 0; i < ids.n; i++)
        used += (size_t)snprintf(out + used, sizeof out - used, i ? " %d" : "%d", ids.id[i]);
    bl_ids_free(&ids);
    return out;
}

static void special_tokens_are_recognised_in_template_spans_only(void **state)
{
    (void)state;
    bl_tokenizer *t = tok_json(WITH_SPECIALS);
    const bl_span both[] = {{"<s>", 3, false}, {"a<s>b", 5, true}, {"<s>", 3, false}};
    assert_string_equal(span_ids(t, both, 3), "11 0 1 11");
    const bl_span crossing[] = {{"a<s", 3, true}, {">b", 2, false}};
    assert_string_equal(span_ids(t, crossing, 2), "0 1");
    const bl_span split[] = {{"a<s", 3, false}, {">b", 2, false}};
    assert_string_equal(span_ids(t, split, 2), "0 11 1");
    const bl_span data[] = {{"<s>a", 4, true}};
    assert_string_equal(span_ids(t, data, 1), "0");
    assert_string_equal(span_ids(t, NULL, 0), "");
    bl_tokenizer_close(t);
}

static void spans_merge_across_their_borders(void **state)
{
    (void)state;
    bl_tokenizer *t = tok_json(WITH_SPECIALS);
    const bl_span span[] = {{"a", 1, false}, {"b", 1, true}, {"", 0, false}, {"c", 1, false}};
    assert_string_equal(span_ids(t, span, 4), "7");
    bl_tokenizer_close(t);
}

/* A special token that is looked for in normalized text, and a normalizer that changes lengths. */
static void marks_of_data_survive_normalization(void **state)
{
    (void)state;
    bl_tokenizer *t = tok_json(
        "{\"added_tokens\":[{\"id\":9,\"content\":\"<s>\",\"special\":true,\"normalized\":true}],"
        "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Replace\",\"pattern\":{"
        "\"String\":\" \"},\"content\":\"__\"}]},"
        "\"pre_tokenizer\":null,\"decoder\":null,\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"<\":1,\"s\":2,\">\":"
        "3,\"_\":4,\"\\u00e9\":5},\"merges\":[]}}");
    const bl_span span[] = {{"e\xCC\x81 <s>", 7, true}, {" <s>", 4, false}, {"<s", 2, false}, {">", 1, true}};
    assert_string_equal(span_ids(t, span, 4), "5 4 4 1 2 3 4 4 9 1 2 3");
    bl_tokenizer_close(t);
}

static void wrong_utf8_becomes_replacement_characters(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        int subparts, each;
    } rows[] = {
        {"\xFF", 1, 1, 1},
        {"\xE6\x97", 2, 1, 2},
        {"\xE6\x97"
         "a",
         3, 1, 2},
        {"\xC0\xAF", 2, 2, 2},
        {"\xED\xA0\x80", 3, 3, 3},
        {"\xF4\x90\x80\x80", 4, 4, 4},
        {"\xF0\x9F\x98", 3, 1, 3},
        {"\x80\x80", 2, 2, 2},
        {"a\xE2\x82"
         "b\xE2",
         5, 2, 3},
    };
    bl_tokenizer *json = tok_json("{\"model\":{\"vocab\":{\"\\ufffd\":1,\"a\":2,\"b\":3},\"merges\":[]}}");
    bl_text file = {0};
    static const spm_row pieces[] = {{"<unk>", 0, 2}, {"\xEF\xBF\xBD", -1, 1}, {"a", -2, 1}, {"b", -3, 1}};
    spm_made(&file, pieces, BL_COUNT(pieces), false, false, false);
    bl_tokenizer *spm = tok_made(BL_TOK_SPM, file.s, file.n);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        int n[2] = {0};
        for (int k = 0; k < 2; k++)
            for (const char *p = tok_ids(k ? spm : json, rows[i].bytes, rows[i].n, 0); *p; p++) n[k] += *p == '1';
        assert_int_equal(n[0], rows[i].subparts);
        assert_int_equal(n[1], rows[i].each);
    }
    bl_text_free(&file);
    bl_tokenizer_close(json);
    bl_tokenizer_close(spm);
}

static void a_nul_is_a_character(void **state)
{
    (void)state;
    bl_tokenizer *t = tok_json(
        JSON("", BYTE_LEVEL, "null", "", "\"\\u0100\":0,\"a\":1,\"\\u0100a\":2", "\"\\u0100 a\""));
    assert_string_equal(tok_ids(t, "\0", 1, 0), "0");
    assert_string_equal(tok_ids(t, "a\0", 2, 0), "1 0");
    size_t n;
    assert_memory_equal(bl_token_bytes(t, 2, &n), "\0a", 2);
    assert_int_equal(n, 2);
    bl_tokenizer_close(t);
}

static void assert_decodes(const bl_tokenizer *t, const int32_t *id, size_t n, bool keep, const char *want)
{
    bl_err e;
    char *text;
    size_t length;
    assert_ok(bl_decode(t, id, n, keep, &text, &length, &e));
    assert_string_equal(text, want);
    assert_int_equal(length, strlen(want));
    bl_free(text);
}

static void decoding_leaves_special_tokens_out_unless_kept(void **state)
{
    (void)state;
    bl_err e;
    char *text;
    bl_tokenizer *t = tok_json(WITH_SPECIALS);
    static const int32_t ids[] = {11, 8, 7, 12, 0};
    assert_decodes(t, ids, 5, false, " ababca");
    assert_decodes(t, ids, 5, true, "<s> ababc<end>a");
    assert_decodes(t, ids, 0, true, "");
    assert_refused(bl_decode(t, (int32_t[]){99}, 1, true, &text, NULL, &e), BL_E_CONFIG,
                   "id 99 is not in the vocabulary");
    assert_refused(bl_decode(t, (int32_t[]){-1}, 1, true, &text, NULL, &e), BL_E_CONFIG, "id -1");
    bl_tokenizer_close(t);
}

static void decoding_replaces_half_characters(void **state)
{
    (void)state;
    bl_tokenizer *t = tok_json(
        JSON("", BYTE_LEVEL, "null", "", "\"\\u00c3\":0,\"\\u00a9\":1", "")); /* the letters of bytes C3 and A9 */
    assert_decodes(t, (int32_t[]){0, 1}, 2, false, "\xC3\xA9");
    assert_decodes(t, (int32_t[]){0}, 1, false, "\xEF\xBF\xBD");
    assert_decodes(t, (int32_t[]){0, 0, 1, 1}, 4, false, "\xEF\xBF\xBD\xC3\xA9\xEF\xBF\xBD");
    size_t n;
    assert_memory_equal(bl_token_bytes(t, 0, &n), "\xC3", 1); /* raw, for generation */
    bl_token_bytes(t, 5, &n);
    assert_int_equal(n, 0);
    bl_tokenizer_close(t);
}

/* LLaMA's first form: U+2581 for spaces, bytes for what has no piece, the space in front taken off again. */
static void byte_fallback_tokenizers_read_back(void **state)
{
    (void)state;
    bl_text j = {0};
    bl_text_add(
        &j,
        "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\xE2\x96\x81\"},"
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\" "
        "\"},\"content\":\"\xE2\x96\x81\"}]},\"decoder\":{\"type\":\"Sequence\",\"decoders\":["
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\"\xE2\x96\x81\"},\"content\":\" "
        "\"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"
        "{\"type\":\"Strip\",\"content\":\" "
        "\",\"start\":1,\"stop\":0}]},\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"byte_fallback\":true,"
        "\"fuse_unk\":true,\"vocab\":{\"<unk>\":0,\"\xE2\x96\x81\":1,\"a\":2,\"\xE2\x96\x81"
        "a\":3");
    for (int b = 0x80; b < 0x100; b++) bl_text_addf(&j, ",\"<0x%02X>\":%d", b, b);
    bl_text_add(&j, "},\"merges\":[\"\xE2\x96\x81 a\"]}}");
    bl_tokenizer *t = tok_json(j.s);
    assert_string_equal(tok_ids(t, "a a", 3, 0), "3 3");
    assert_string_equal(tok_ids(t, "\xC3\xA9", 2, 0), "1 195 169");
    assert_string_equal(tok_ids(t, "aZYa", 4, 0), "3 0 2"); /* neither piece nor bytes: one unknown for both */
    assert_decodes(t, (int32_t[]){3, 195, 169, 1}, 4, false, "a\xC3\xA9 ");
    assert_decodes(t, (int32_t[]){3, 195}, 2, false, "a\xEF\xBF\xBD");
    assert_decodes(t, (int32_t[]){3, 195, 195, 169}, 4, false,
                   "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"); /* a run is text or it is not */
    size_t n;
    assert_memory_equal(bl_token_bytes(t, 3, &n), " a", 2);
    assert_memory_equal(bl_token_bytes(t, 195, &n), "\xC3", 1);
    bl_text_free(&j);
    bl_tokenizer_close(t);
}

/* Pieces that are whole tokens show where a text was cut. */
static void split_behaviors_cut_as_they_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *behavior, *invert, *ids;
    } rows[] = {
        {"Isolated", "false", "0 3 1 3 3 2"},
        {"Isolated", "true", "0 3 1 3 3 2"},
        {"Removed", "false", "0 1 2"},
        {"Removed", "true", "3 3 3"},
        {"MergedWithPrevious", "false", "4 5 3 2"},
        {"MergedWithNext", "false", "0 6 3 7"},
        {"Contiguous", "false", "0 3 1 8 2"},
        {"MergedWithNext", "true", "4 5 3 2"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++)
        for (int regex = 0; regex < 2; regex++) {
            bl_text j = {0};
            bl_text_addf(&j,
                         "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"%s\":\"-\"},\"behavior\":\"%s\","
                         "\"invert\":%s},\"model\":{\"ignore_merges\":true,"
                         "\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"-\":3,\"a-\":4,\"b-\":5,\"-b\":6,\"-c\":7,\"--\":8},"
                         "\"merges\":[]}}",
                         regex ? "Regex" : "String", rows[i].behavior, rows[i].invert);
            bl_tokenizer *t = tok_json(j.s);
            assert_string_equal(tok_ids(t, "a-b--c", 6, 0), rows[i].ids);
            bl_tokenizer_close(t);
            bl_text_free(&j);
        }
}

static void metaspace_puts_a_space_in_front_as_its_scheme_says(void **state)
{
    (void)state;
    static const struct {
        const char *scheme, *split, *ids, *text;
    } rows[] = {
        {"always", "true", "4 4 6 4", "a a<s>a"},
        {"first", "true", "4 4 6 1", "a a<s>a"},
        {"never", "true", "1 4 6 1", "a a<s>a"},
        {"always", "false", "5 6 4", "a a<s>a"}, /* one piece: the whole word is a token */
        {"always", "true", "4", " a"},
        {"always", "true", "4",
         "\xE2\x96\x81"
         "a"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_text j = {0};
        bl_text_addf(&j,
                     "{\"added_tokens\":[{\"id\":6,\"content\":\"<s>\",\"special\":true}],\"pre_tokenizer\":{\"type\":"
                     "\"Metaspace\",\"prepend_scheme\":\"%s\",\"split\":%s},"
                     "\"decoder\":{\"type\":\"Metaspace\",\"prepend_scheme\":\"%s\"},\"model\":{\"ignore_merges\":true,"
                     "\"vocab\":{\"\\u2581\":0,\"a\":1,\"\\u2581a\":4,"
                     "\"\\u2581a\\u2581a\":5},\"merges\":[]}}",
                     rows[i].scheme, rows[i].split, rows[i].scheme);
        bl_tokenizer *t = tok_json(j.s);
        assert_string_equal(tok_ids(t, rows[i].text, strlen(rows[i].text), BL_ENCODE_SPECIAL), rows[i].ids);
        assert_decodes(t, (int32_t[]){4, 4}, 2, true, strcmp(rows[i].scheme, "never") ? "a a" : " a a");
        bl_tokenizer_close(t);
        bl_text_free(&j);
    }
}

static void normal_forms_are_those_of_unicode(void **state)
{
    (void)state;
    static const struct {
        const char *form, *text, *ids;
    } rows[] = {
        {"NFC", "e\xCC\x81", "2"},
        {"NFD", "\xC3\xA9", "0 1"},
        {"NFC",
         "ae\xCC\x81"
         "e",
         "9 2 0"},
        {"NFC", "a\xCC\x81\xCC\xA3", "4 1"}, /* the dot below goes first, and the acute stays behind */
        {"NFD", "\xE1\xBA\xA1\xCC\x81", "9 3 1"},
        {"NFC", "\xEF\xAC\x81", "7"},
        {"NFKC", "\xEF\xAC\x81", "5 6"},
        {"NFKD", "\xEF\xAC\x81\xC3\xA9", "5 6 0 1"},
        {"NFC", "\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB", "8"}, /* Hangul */
        {"NFC", "e", "0"},
        {"NFC", "", ""},
        {"NFC", "\xCC\x81", "1"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_text j = {0};
        bl_text_addf(&j,
                     "{\"normalizer\":{\"type\":\"%s\"},\"model\":{\"vocab\":{\"e\":0,\"\\u0301\":1,\"\\u00e9\":2,"
                     "\"\\u0323\":3,\"\\u1ea1\":4,\"f\":5,\"i\":6,"
                     "\"\\ufb01\":7,\"\\ud55c\":8,\"a\":9},\"merges\":[]}}",
                     rows[i].form);
        bl_tokenizer *t = tok_json(j.s);
        assert_string_equal(tok_ids(t, rows[i].text, strlen(rows[i].text), 0), rows[i].ids);
        bl_tokenizer_close(t);
        bl_text_free(&j);
    }
}

/* Patterns are Oniguruma's: what PCRE2 alone would read differently. */
static void patterns_mean_what_they_mean_to_the_reference(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text, *ids;
    } rows[] = {
        {"\\\\s",
         "a b\xE1\xA0\x8E"
         "b",
         "0 1 3 1"}, /* U+180E is no space */
        {"[\\\\s]", "a\xE1\xA0\x8E b", "0 3 1"},
        {"\\\\S", "a b", "2"},
        {"[^\\\\S]", "a b", "0 1"},
        {"\\\\u0062", "ab", "0"},
        {"[]b]", "a]b", "0"}, /* a ] that comes first is a member */
        {"[[:alpha:]]", "a b", "2"},
        {"(?i:A)", "ab", "1"},
        {"b$", "ab\nab", "0 4 0"}, /* lines */
        {"\\\\v", "a\vb", "0 1"},
        {"b*", "abba", "0 0"}, /* empty matches cut nothing */
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_text j = {0};
        bl_text_addf(
            &j,
            "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"%s\"},\"behavior\":\"Removed\"},\"model\":"
            "{"
            "\"vocab\":{\"a\":0,\"b\":1,\" \":2,\"\\u180e\":3,\"\\n\":4,\"\\u000b\":5,\"]\":6},\"merges\":[]}}",
            rows[i].pattern);
        bl_tokenizer *t = tok_json(j.s);
        const char *got = tok_ids(t, rows[i].text, strlen(rows[i].text), 0);
        if (strcmp(got, rows[i].ids)) fail_msg("'%s': %s, wanted %s", rows[i].pattern, got, rows[i].ids);
        bl_tokenizer_close(t);
        bl_text_free(&j);
    }
}

static const spm_row pieces[] = {
    {"<unk>", 0, 2},
    {"<s>", 0, 3},
    {"</s>", 0, 3},
    {"ab", -1, 1},
    {"bc", -2, 1},
    {"\xE2\x96\x81"
     "a",
     -3, 1},
    {"abc", -4, 5},
    {"XY", 0, 4},
    {"\xE2\x96\x81", -5, 1},
    {"a", -6, 1},
    {"b", -7, 1},
    {"c", -8, 1},
    {"X", -9, 1},
    {"bX", -10, 1},
};

static void scores_decide_in_sentencepiece_models(void **state)
{
    (void)state;
    bl_text file = {0};
    spm_made(&file, pieces, BL_COUNT(pieces), true, true, true);
    bl_tokenizer *t = tok_made(BL_TOK_SPM, file.s, file.n);
    static const struct {
        const char *text, *ids;
    } rows[] = {
        {"", ""},
        {"   ", ""},
        {"b", "8 10"},
        {"ab", "8 3"}, /* ab before space+a */
        {"a", "5"},
        {" a  a ", "5 5"},
        {"abc", "8 3 11"},     /* abc is unused: it falls apart as it was merged */
        {"bXYX", "8 10 7 12"}, /* XY never merges, although bX is a piece */
        {"bXX", "8 13 12"},
        {"\xC3\xA9", "8 209 183"}, /* byte pieces start at 14 */
        {"<s>", "8 74 129 76"},    /* control text is text */
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++)
        assert_string_equal(tok_ids(t, rows[i].text, strlen(rows[i].text), 0), rows[i].ids);
    assert_string_equal(tok_ids(t, "<s>a", 4, BL_ENCODE_SPECIAL), "1 5");
    assert_string_equal(tok_ids(t, "a", 1, BL_ENCODE_BOS), "1 5");
    assert_decodes(t, (int32_t[]){1, 5, 5, 0, 209, 183, 209, 2}, 8, false, "a a \xE2\x81\x87 \xC3\xA9\xEF\xBF\xBD");
    assert_decodes(t, (int32_t[]){1, 5, 2}, 3, true, "<s>a</s>");
    assert_decodes(t, (int32_t[]){8, 8, 5}, 3, false, "a"); /* extra spaces go from the front */
    assert_int_equal(bl_tokenizer_eos(t), 2);
    assert_string_equal(bl_tokenizer_kind(t), "sentencepiece BPE");
    bl_text_free(&file);
    bl_tokenizer_close(t);
}

static void blanks_stay_where_the_model_keeps_them(void **state)
{
    (void)state;
    bl_text file = {0};
    spm_made(&file, pieces, BL_COUNT(pieces), false, false, false);
    bl_tokenizer *t = tok_made(BL_TOK_SPM, file.s, file.n);
    assert_string_equal(tok_ids(t, "  a ", 4, 0), "8 5 8");
    assert_string_equal(tok_ids(t, "QQaQ", 4, 0), "0 9 0"); /* unknown neighbours are one */
    assert_decodes(t, (int32_t[]){8, 5, 8}, 3, false, "  a ");
    bl_text_free(&file);
    bl_tokenizer_close(t);
}

static void llama2c_files_of_characters_have_no_space_in_front(void **state)
{
    (void)state;
    bl_text file = {0};
    bin_made(&file, (const char *const[]){"a", " ", "b", NULL}, false);
    bl_tokenizer *t = tok_made(BL_TOK_LLAMA2C, file.s, file.n);
    assert_string_equal(tok_ids(t, "a b?", 4, BL_ENCODE_BOS), "1 3 4 5 0");
    assert_decodes(t, (int32_t[]){1, 3, 4, 5}, 4, false, "a b");
    assert_string_equal(bl_tokenizer_kind(t), "llama2.c characters");
    bl_tokenizer_close(t);
    bl_text_free(&file);
    bin_made(&file, (const char *const[]){" a", "ab", "a", " ", "b", NULL}, true);
    t = tok_made(BL_TOK_LLAMA2C, file.s, file.n);
    assert_string_equal(tok_ids(t, "ab a\n", 5, BL_ENCODE_BOS), "1 259 263 259 13");
    assert_string_equal(tok_ids(t, "<s>", 3, 0), "262 63 118 65");
    assert_decodes(t, (int32_t[]){1, 259, 263, 259, 13}, 5, false, "ab a\n");
    bl_tokenizer_close(t);
    bl_text_free(&file);
}

static void gguf_says_how_text_is_cut_and_whether_bos_is_added(void **state)
{
    (void)state;
    static const char *const tokens[] = {"<s>", "1", "2", "12", "a", "12a", NULL}, *const merges[] = {"1 2", "12 a",
                                                                                                      NULL};
    static const int32_t types[] = {3, 1, 1, 1, 1, 1};
    static const struct {
        const char *pre;
        int add_bos;
        const char *ids;
    } rows[] = {
        {"llama-bpe", -1, "0 3 4"}, {"llama-bpe", 0, "3 4"}, {"gpt-2", -1, "3 4"},
        {"gpt-2", 1, "0 3 4"},      {"smollm", -1, "1 2 4"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_text f = {0};
        gguf_open(&f, 6 + (rows[i].add_bos >= 0));
        gguf_text(&f, "tokenizer.ggml.model", "gpt2");
        gguf_text(&f, "tokenizer.ggml.pre", rows[i].pre);
        gguf_texts(&f, "tokenizer.ggml.tokens", tokens);
        gguf_ints(&f, "tokenizer.ggml.token_type", 5, types, 6);
        gguf_texts(&f, "tokenizer.ggml.merges", merges);
        gguf_int(&f, "tokenizer.ggml.bos_token_id", 0);
        if (rows[i].add_bos >= 0) gguf_bool(&f, "tokenizer.ggml.add_bos_token", rows[i].add_bos);
        bl_tokenizer *t = tok_made(BL_TOK_GGUF, f.s, f.n);
        assert_string_equal(tok_ids(t, "12a", 3, BL_ENCODE_BOS), rows[i].ids);
        assert_int_equal(bl_tokenizer_bos(t), 0);
        bl_tokenizer_close(t);
        bl_text_free(&f);
    }
}

/* tokenizer.json in a directory with other files: rows of name, content and what then holds. */
static void files_beside_say_which_tokens_open_and_close(void **state)
{
    (void)state;
    bl_err e;
#define LLAMA "\"tokenizer_class\":\"LlamaTokenizerFast\""
    static const struct {
        const char *json, *name, *content;
        int bos, eos;
        bool adds;
    } rows[] = {
        {WITH_SPECIALS, NULL, NULL, 11, -1, true},
        {WITH_SPECIALS, "tokenizer_config.json", "{\"bos_token\":\"<s>\",\"eos_token\":{\"content\":\"<end>\"}}", 11,
         12, true},
        {WITH_SPECIALS, "tokenizer_config.json", "{" LLAMA ",\"bos_token\":\"<s>\",\"add_bos_token\":false}", 11, -1,
         false},
        {WITH_SPECIALS, "tokenizer_config.json",
         "{\"tokenizer_class\":\"PreTrainedTokenizerFast\",\"add_bos_token\":false}", 11, -1, true},
        {WITH_SPECIALS, "special_tokens_map.json", "{\"eos_token\":\"<end>\"}", 11, 12, true},
        {WITH_SPECIALS, "config.json", "{\"bos_token_id\":3,\"eos_token_id\":[12,11]}", 11, 12, true},
        {JSON(SPECIALS, BYTE_LEVEL, "null", "", VOCAB, MERGES), "config.json",
         "{\"bos_token_id\":11,\"eos_token_id\":700}", 11, -1, false},
        {JSON(SPECIALS, BYTE_LEVEL, "null", "", VOCAB, MERGES), "tokenizer_config.json",
         "{" LLAMA ",\"bos_token\":\"<s>\",\"add_bos_token\":true}", 11, -1, true},
        {PLAIN, "tokenizer_config.json", "{\"bos_token\":null,\"eos_token\":\"nowhere\"}", -1, 11,
         false}, /* it is added */
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const char *dir = test_dir();
        char *path = bl_join(dir, "tokenizer.json", &e), *other = rows[i].name ? bl_join(dir, rows[i].name, &e) : NULL;
        bl_tokenizer *t;
        assert_ok(bl_write_file(path, rows[i].json, strlen(rows[i].json), &e));
        if (other) assert_ok(bl_write_file(other, rows[i].content, strlen(rows[i].content), &e));
        assert_ok(bl_tokenizer_open(BL_TOK_JSON, path, &t, &e));
        assert_int_equal(bl_tokenizer_bos(t), rows[i].bos);
        assert_int_equal(bl_tokenizer_eos(t), rows[i].eos);
        assert_int_equal(bl_tokenizer_adds_bos(t), rows[i].adds);
        bl_tokenizer_close(t);
        assert_ok(bl_remove_tree(dir, &e));
        bl_free(path);
        bl_free(other);
    }
}

/* A process that is to end gives up a text that takes long, and still encodes what it has to finish with. */
static void a_long_text_is_given_up_when_the_process_is_to_end(void **state)
{
    (void)state;
    const size_t n = 2 << 20;
    char *text = malloc(n);
    int status;
    for (size_t i = 0; i < n; i++) text[i] = "ab c"[i % 4];
    fflush(NULL);
    pid_t child = fork();
    if (!child) {
        bl_process_init();
        raise(SIGTERM);
        for (int i = 0; i < 2; i++) { /* in words, and all as one */
            bl_err e = {0};
            bl_ids ids = {0};
            bl_tokenizer *t = i ? tok_json(JSON("", "null", "null", "", VOCAB, MERGES)) : tok_json(PLAIN);
            if (bl_encode(t, text, n, 0, &ids, &e) != BL_E_INTERRUPTED || ids.n) _exit(2);
            if (bl_encode(t, text, 4000, 0, &ids, &e) != BL_OK || !ids.n) _exit(3);
        }
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_apply_in_the_order_of_their_ranks),
        cmocka_unit_test(merges_may_be_pairs),
        cmocka_unit_test(a_whole_word_goes_before_merges_when_merges_are_ignored),
        cmocka_unit_test(special_tokens_are_text_unless_asked_for),
        cmocka_unit_test(one_bos_and_only_one),
        cmocka_unit_test(special_tokens_are_recognised_in_template_spans_only),
        cmocka_unit_test(spans_merge_across_their_borders),
        cmocka_unit_test(marks_of_data_survive_normalization),
        cmocka_unit_test(wrong_utf8_becomes_replacement_characters),
        cmocka_unit_test(a_nul_is_a_character),
        cmocka_unit_test(decoding_leaves_special_tokens_out_unless_kept),
        cmocka_unit_test(decoding_replaces_half_characters),
        cmocka_unit_test(byte_fallback_tokenizers_read_back),
        cmocka_unit_test(split_behaviors_cut_as_they_are_named),
        cmocka_unit_test(metaspace_puts_a_space_in_front_as_its_scheme_says),
        cmocka_unit_test(normal_forms_are_those_of_unicode),
        cmocka_unit_test(patterns_mean_what_they_mean_to_the_reference),
        cmocka_unit_test(scores_decide_in_sentencepiece_models),
        cmocka_unit_test(blanks_stay_where_the_model_keeps_them),
        cmocka_unit_test(llama2c_files_of_characters_have_no_space_in_front),
        cmocka_unit_test(gguf_says_how_text_is_cut_and_whether_bos_is_added),
        cmocka_unit_test(files_beside_say_which_tokens_open_and_close),
        cmocka_unit_test(a_long_text_is_given_up_when_the_process_is_to_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
