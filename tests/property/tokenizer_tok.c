/* tokenizer_tok.c - what holds for every tokenizer and text: round trips, time, memory that runs out. */
#include "data/text_tok.h"
#include "kernels/base/fs.h"
#include "kernels/base/rng.h"

/* All 256 letters, some merges, a special token: every text can be spelled. */
static bl_text whole(const char *pattern_of_digits)
{
    bl_text j = {0};
    bl_text_addf(&j,
                 "{\"added_tokens\":[{\"id\":300,\"content\":\"<|x|>\",\"special\":true,\"normalized\":false}],\"pre_"
                 "tokenizer\":{\"type\":\"Sequence\","
                 "\"pretokenizers\":[%s{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]},\"decoder\":{\"type\":"
                 "\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{",
                 pattern_of_digits);
    for (int b = 0, other = 256; b < 256; b++) {
        bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b != 0xAD);
        bl_text_addf(&j, "%s\"\\u%04x\":%d", b ? "," : "", printable ? b : other++, b);
    }
    bl_text_add(&j, ",\"aa\":256,\"aaaa\":257,\"\\u0120\\u0120\":258,\"\\u0120a\":259,\"\\u00c3\\u00a9\":260},"
                    "\"merges\":[\"a a\",\"aa aa\",\"\\u0120 \\u0120\","
                    "\"\\u0120 a\",\"\\u00c3 \\u00a9\"]}}");
    return j;
}

/* A text of characters that matter and random ones; valid UTF-8. */
static size_t random_text(bl_rng *r, char *out, size_t room)
{
    static const char *const some[] = {"a",         "aa", " ",        "  ",          "\n",           "1",
                                       "12",        "'s", "\xC3\xA9", "<|x|>",       "\xE2\x96\x81", "\xF0\x9F\x98\x80",
                                       "e\xCC\x81", "?",  "\t",       "\xE3\x80\x80"};
    size_t n = 0;
    uint64_t words = bl_rng_below(r, 20);
    for (uint64_t i = 0; i < words && n + 8 < room; i++) {
        const char *s = some[bl_rng_below(r, BL_COUNT(some))];
        memcpy(out + n, s, strlen(s));
        n += strlen(s);
    }
    return n;
}

static void byte_level_texts_read_back_unchanged(void **state)
{
    (void)state;
    bl_err e;
    static const char *const before[] = {"", "{\"type\":\"Digits\",\"individual_digits\":true},"};
    for (size_t k = 0; k < BL_COUNT(before); k++) {
        bl_text j = whole(before[k]);
        bl_tokenizer *t = tok_json(j.s);
        bl_rng r = bl_rng_at(7, k, 0);
        bl_ids ids = {0};
        for (int i = 0; i < 2000; i++) {
            char text[256], *back, joined[256];
            size_t n = random_text(&r, text, sizeof text), n_back, n_joined = 0;
            ids.n = 0;
            assert_ok(bl_encode(t, text, n, i % 2 ? BL_ENCODE_SPECIAL : BL_ENCODE_PLAIN, &ids, &e));
            assert_ok(bl_decode(t, ids.id, ids.n, true, &back, &n_back, &e));
            assert_int_equal(n_back, n);
            assert_memory_equal(back, text, n);
            for (size_t q = 0; q < ids.n; q++) { /* and so do the bytes of the tokens */
                size_t length;
                const char *p = bl_token_bytes(t, ids.id[q], &length);
                memcpy(joined + n_joined, p, length);
                n_joined += length;
            }
            assert_int_equal(n_joined, n);
            assert_memory_equal(joined, text, n);
            bl_free(back);
        }
        bl_ids_free(&ids);
        bl_tokenizer_close(t);
        bl_text_free(&j);
    }
}

static void how_a_text_is_cut_into_spans_changes_nothing(void **state)
{
    (void)state;
    bl_err e;
    bl_text j = whole("");
    bl_tokenizer *t = tok_json(j.s);
    bl_rng r = bl_rng_at(8, 0, 0);
    bl_ids a = {0}, b = {0};
    for (int i = 0; i < 2000; i++) {
        char text[256];
        size_t n = random_text(&r, text, sizeof text), cut = n ? bl_rng_below(&r, n) : 0,
               cut2 = cut + (n - cut ? bl_rng_below(&r, n - cut) : 0);
        bool data = i % 2;
        const bl_span span[] = {{text, cut, data}, {text + cut, cut2 - cut, data}, {text + cut2, n - cut2, data}};
        a.n = b.n = 0;
        assert_ok(bl_encode(t, text, n, data ? BL_ENCODE_PLAIN : BL_ENCODE_SPECIAL, &a, &e));
        assert_ok(bl_encode_spans(t, span, 3, BL_ENCODE_PLAIN, &b, &e));
        assert_int_equal(a.n, b.n);
        if (a.n) assert_memory_equal(a.id, b.id, a.n * sizeof *a.id);
    }
    bl_ids_free(&a);
    bl_ids_free(&b);
    bl_tokenizer_close(t);
    bl_text_free(&j);
}

/* One thing over and over, for which merging by search would take hours: beyond any limit of a test. */
static void a_megabyte_of_one_letter_comes_to_an_end(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        size_t n;
    } rows[] = {{"a", 1}, {" ", 1}, {"\n", 1}, {"ab", 2}, {"<|", 2}, {"\xFF", 1}, {"1", 1}, {"e\xCC\x81\xCC\xA3", 5}};
    const size_t n = 1 << 17, mega = 1 << 20;
    bl_err e;
    bl_ids ids = {0};
    bl_text j = whole(""), s = {0};
    static const spm_row pieces[] = {{"<unk>", 0, 2},         {"aa", -1, 1},
                                     {"aaaa", -2, 1},         {"\xE2\x96\x81\xE2\x96\x81", -3, 1},
                                     {"\xE2\x96\x81", -4, 1}, {"a", -5, 1}};
    spm_made(&s, pieces, BL_COUNT(pieces), true, true, false);
    bl_tokenizer *t[] = {tok_json(j.s), tok_made(BL_TOK_SPM, s.s, s.n),
                         tok_json("{\"normalizer\":{\"type\":\"NFC\"},\"model\":{\"unk_token\":\"a\",\"vocab\":{\"a\":"
                                  "0,\"aa\":1,\"aaaa\":2},\"merges\":[\"a a\",\"aa aa\"]}}")};
    char *text = malloc(mega);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        for (size_t k = 0; k + rows[i].n <= n; k += rows[i].n) memcpy(text + k, rows[i].what, rows[i].n);
        for (size_t k = 0; k < BL_COUNT(t); k++) {
            ids.n = 0;
            assert_ok(bl_encode(t[k], text, n - n % rows[i].n, BL_ENCODE_SPECIAL, &ids, &e));
            assert_true(ids.n > 0);
        }
    }
    ids.n = 0;
    memset(text, 'a', mega);
    assert_ok(bl_encode(t[0], text, mega, 0, &ids, &e));
    assert_int_equal(ids.n, mega / 4);
    free(text);
    for (size_t k = 0; k < BL_COUNT(t); k++) bl_tokenizer_close(t[k]);
    bl_ids_free(&ids);
    bl_text_free(&j);
    bl_text_free(&s);
}

/* ---- memory -------------------------------------------------------------------------------------- */

static const char sample[] = "aab <|x|> ab\xCC\x81 \xFF"
                             "a<s>b 12 \xC3\xA9";

static bl_status use(bl_tok_kind kind, const char *path, const char *p, size_t n, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tokenizer *t = NULL;
    bl_ids ids = {0};
    char *text = NULL;
    const bl_span span[] = {{sample, 4, true}, {sample + 4, sizeof sample - 5, false}};
    if (path) BL_TRY(bl_tokenizer_open(kind, path, &t, e));
    else BL_TRY(bl_tokenizer_parse(kind, (const uint8_t *)p, n, "made", &t, e));
    BL_TRY(bl_encode(t, sample, sizeof sample - 1, BL_ENCODE_BOS | BL_ENCODE_SPECIAL, &ids, e));
    BL_TRY(bl_encode_spans(t, span, 2, BL_ENCODE_BOS, &ids, e));
    BL_TRY(bl_decode(t, ids.id, ids.n, true, &text, NULL, e));
out:
    bl_free(text);
    bl_ids_free(&ids);
    bl_tokenizer_close(t);
    return st;
}

static void fail_each(bl_tok_kind kind, const char *path, const bl_text *s)
{
    bl_err e;
    for (int sticky = 0; sticky < 2; sticky++) {
        for (uint64_t i = 1;; i++) {
            uint64_t live = bl_alloc_live();
            bl_alloc_fail_at(i, sticky);
            bl_status st = use(kind, path, s->s, s->n, &e);
            bl_alloc_fail_at(0, false);
            assert_int_equal(bl_alloc_live(), live);
            if (st == BL_OK) {
                assert_true(i > 20);
                break;
            }
            assert_int_equal(st, BL_E_NOMEM);
            assert_true(i < 100000);
        }
    }
}

static void survives_failure_of_every_allocation(void **state)
{
    (void)state;
    bl_err e;
    bl_text s = {0};
    static const spm_row pieces[] = {{"<unk>", 0, 2},         {"<s>", 0, 3}, {"aa", -1, 1}, {"ab", -2, 5},
                                     {"\xE2\x96\x81", -4, 1}, {"a", -5, 1},  {"b", -6, 4}};
    spm_made(&s, pieces, BL_COUNT(pieces), false, true, true);
    fail_each(BL_TOK_SPM, NULL, &s);
    bl_text_free(&s);
    bin_made(&s, (const char *const[]){"a", "aa", NULL}, false);
    fail_each(BL_TOK_LLAMA2C, NULL, &s);
    bl_text_free(&s);
    gguf_open(&s, 5);
    gguf_text(&s, "tokenizer.ggml.model", "gpt2");
    gguf_text(&s, "tokenizer.ggml.pre", "smollm");
    gguf_texts(&s, "tokenizer.ggml.tokens", (const char *const[]){"<s>", "a", "b", "ab", NULL});
    gguf_ints(&s, "tokenizer.ggml.token_type", 5, (int32_t[]){3, 1, 1, 1}, 4);
    gguf_texts(&s, "tokenizer.ggml.merges", (const char *const[]){"a b", NULL});
    fail_each(BL_TOK_GGUF, NULL, &s);
    bl_text_free(&s);
    const char *made = "{\"added_tokens\":[{\"id\":9,\"content\":\"<s>\",\"special\":true,\"normalized\":true},{\"id\":"
                       "8,\"content\":\"<|x|>\",\"special\":true}],"
                       "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKD\"},{\"type\":"
                       "\"Prepend\",\"prepend\":\"_\"},"
                       "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" "
                       "+\"},\"content\":\"_\"}]},\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
                       "{\"type\":\"Metaspace\"},{\"type\":\"Digits\"},{\"type\":\"Split\",\"pattern\":{\"String\":"
                       "\"b\"},\"behavior\":\"MergedWithNext\"}]},"
                       "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>"
                       "\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[9]}}},"
                       "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Metaspace\"},{\"type\":"
                       "\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\"a\","
                       "\"start\":1,\"stop\":1},{\"type\":\"ByteLevel\"}]},\"model\":{\"type\":\"BPE\",\"unk_token\":"
                       "\"?\",\"byte_fallback\":true,"
                       "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"?\":3,\"<0x31>\":4,\"_\":5},\"merges\":[\"a b\"]}}";
    const char *dir = test_dir();
    char *path = bl_join(dir, "tokenizer.json", &e), *beside = bl_join(dir, "tokenizer_config.json", &e);
    assert_ok(bl_write_file(path, made, strlen(made), &e));
    assert_ok(bl_write_file(beside, "{\"bos_token\":\"<s>\",\"eos_token\":{\"content\":\"<|x|>\"}}", 51, &e));
    fail_each(BL_TOK_JSON, path, &s);
    assert_ok(bl_remove_tree(dir, &e));
    bl_free(path);
    bl_free(beside);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(byte_level_texts_read_back_unchanged),
        cmocka_unit_test(how_a_text_is_cut_into_spans_changes_nothing),
        cmocka_unit_test(a_megabyte_of_one_letter_comes_to_an_end),
        cmocka_unit_test(survives_failure_of_every_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
