/* tokenizer_tok.c - tokenizers against ids that other programs gave: tokenizers, sentencepiece, llama.cpp. */
#include "test.h"
#include "tiny_model.h"
#include "harness/checkpoint/export.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"
#include "harness/tokenizer/tokenizer.h"

static bl_tokenizer *opened(bl_tok_kind kind, const char *path)
{
    bl_err e;
    bl_tokenizer *t = NULL;
    assert_ok(bl_tokenizer_open(kind, path, &t, &e));
    return t;
}

static void show(const char *label, const int32_t *id, size_t n)
{
    print_message("  %s:", label);
    for (size_t i = 0; i < n && i < 40; i++) print_message(" %d", id[i]);
    print_message("\n");
}

/* The JSON reader refuses \u0000, and one recorded text has it: it is read as U+E000 and put back. */
static bl_json *parsed(char *line)
{
    bl_err e;
    bl_json *j = NULL;
    for (char *p; (p = strstr(line, "\\u0000")) != NULL;) p[2] = 'e';
    assert_ok(bl_json_parse(line, strlen(line), "line", BL_JSON_PLAIN, &j, &e));
    return j;
}

static size_t text_of(const bl_json *j, const char *key, char **out)
{
    bl_err e;
    const char *s;
    assert_ok(bl_json_get_str(j, key, &s, &e));
    size_t n = 0;
    *out = bl_strdup(s, &e);
    assert_non_null(*out);
    for (; *s; s++) {
        if (!strncmp(s, "\xEE\x80\x80", 3)) {
            (*out)[n++] = 0;
            s += 2;
        } else (*out)[n++] = *s;
    }
    return n;
}

/* Ids and decoded text of every line; returns how many lines differ. */
static size_t compare(const bl_tokenizer *t, const char *path, int flags, bool decode, size_t n_lines)
{
    bl_err e;
    char *text;
    size_t n_text, bad = 0, lines = 0;
    bl_ids got = {0}, want = {0};
    assert_ok(bl_read_file(path, 1 << 24, &text, &n_text, &e));
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        bl_json *j = parsed(line);
        char *ours, *s, *decoded;
        size_t n_ours, n_s = text_of(j, "text", &s), n_decoded = text_of(j, "decoded", &decoded);
        got.n = want.n = 0;
        for (const bl_json *c = bl_json_first(bl_json_get(j, "ids")); c; c = bl_json_next(c)) {
            int64_t id;
            assert_ok(bl_json_int(c, &id, &e));
            assert_ok(bl_ids_push(&want, (int32_t)id, &e));
        }
        assert_ok(bl_encode(t, s, n_s, flags, &got, &e));
        bool same = got.n == want.n && (!want.n || !memcmp(got.id, want.id, want.n * sizeof *want.id));
        assert_ok(bl_decode(t, want.id, want.n, true, &ours, &n_ours, &e));
        bool reads = !decode || (n_ours == n_decoded && !memcmp(ours, decoded, n_ours));
        if (!same || !reads) {
            if (bad++ < 5) {
                print_message("line %zu '%.200s'\n", lines + 1, s);
                show("want", want.id, want.n);
                show("got ", got.id, got.n);
                if (!reads) print_message("  want '%.200s'\n  got  '%.200s'\n", decoded, ours);
            }
        }
        bl_free(ours);
        bl_free(s);
        bl_free(decoded);
        bl_json_free(j);
    }
    assert_int_equal(lines, n_lines);
    bl_ids_free(&got);
    bl_ids_free(&want);
    bl_free(text);
    return bad;
}

#define STORED(file) BL_SOURCE_DIR "/tests/data/golden/tokens/" file
static void a_small_byte_level_bpe_gives_the_recorded_ids_and_texts(void **state)
{
    (void)state;
    bl_tokenizer *t = opened(BL_TOK_JSON, STORED("bpe.json"));
    assert_int_equal(compare(t, STORED("bpe.jsonl"), BL_ENCODE_SPECIAL | BL_ENCODE_BOS, true, 83), 0);
    assert_true(bl_tokenizer_adds_bos(t));
    bl_tokenizer_close(t);
}

static void a_small_sentencepiece_model_gives_the_recorded_ids_and_texts(void **state)
{
    (void)state;
    bl_tokenizer *t = opened(BL_TOK_SPM, STORED("tok512.model"));
    assert_int_equal(compare(t, STORED("tok512.jsonl"), BL_ENCODE_PLAIN, true, 83), 0);
    bl_tokenizer_close(t);
}

static void smollm2_from_gguf_gives_the_recorded_ids_and_texts(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    bl_tokenizer *t = opened(BL_TOK_GGUF,
                             test_path("BITLADDER_MODELS", "smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf"));
    assert_int_equal(compare(t, test_path("BITLADDER_GOLDEN", "smollm2-135m/tokens.jsonl"),
                             BL_ENCODE_SPECIAL | BL_ENCODE_BOS, true, 309),
                     0);
    assert_int_equal(bl_tokenizer_bos(t), 1);
    assert_int_equal(bl_tokenizer_eos(t), 2);
    assert_int_equal(bl_tokenizer_prefix(t), 1);
    assert_false(bl_tokenizer_adds_bos(t));
    assert_string_equal(bl_tokenizer_kind(t), "byte-level BPE (smollm)");
    bl_tokenizer_close(t);
}

static void tinystories_from_json_gives_the_recorded_ids_and_texts(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    bl_tokenizer *t = opened(BL_TOK_JSON, test_path("BITLADDER_MODELS", "tinystories656K/tokenizer.json"));
    assert_int_equal(compare(t, test_path("BITLADDER_GOLDEN", "tinystories656k/tokens.jsonl"),
                             BL_ENCODE_SPECIAL | BL_ENCODE_BOS, true, 309),
                     0);
    assert_true(bl_tokenizer_adds_bos(t));
    assert_int_equal(bl_tokenizer_bos(t), 1);
    assert_int_equal(bl_tokenizer_eos(t), 2);
    bl_tokenizer_close(t);
}

static void stories260k_from_sentencepiece_gives_the_recorded_ids_and_texts(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    bl_tokenizer *t = opened(BL_TOK_SPM, test_path("BITLADDER_MODELS", "stories260K/tok512.model"));
    assert_int_equal(compare(t, test_path("BITLADDER_GOLDEN", "stories260k/tokens.jsonl"), BL_ENCODE_PLAIN, true, 309),
                     0);
    assert_true(bl_tokenizer_adds_bos(t));
    bl_tokenizer_close(t);
}

/* llama2.c neither drops spaces at the ends nor joins double ones; where there are none its ids are those of
 * sentencepiece. */
static void llama2c_agrees_with_sentencepiece_where_no_blanks_are_dropped(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    bl_err e;
    bl_tokenizer *spm = opened(BL_TOK_SPM, test_path("BITLADDER_MODELS", "stories260K/tok512.model"));
    bl_tokenizer *bin = opened(BL_TOK_LLAMA2C, test_path("BITLADDER_MODELS", "stories260K/tok512.bin"));
    char *text;
    size_t n_text, compared = 0;
    bl_ids a = {0}, b = {0};
    assert_ok(bl_read_file(test_path("BITLADDER_GOLDEN", "stories260k/tokens.jsonl"), 1 << 24, &text, &n_text, &e));
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        bl_json *j = parsed(line);
        char *s;
        size_t n = text_of(j, "text", &s);
        if (n && s[0] != ' ' && s[n - 1] != ' ' && !memmem(s, n, "  ", 2)) {
            a.n = b.n = 0;
            assert_ok(bl_encode(spm, s, n, BL_ENCODE_BOS, &a, &e));
            assert_ok(bl_encode(bin, s, n, BL_ENCODE_BOS, &b, &e));
            if (a.n != b.n || memcmp(a.id, b.id, a.n * sizeof *a.id)) {
                show("spm", a.id, a.n);
                show("bin", b.id, b.n);
                fail_msg("'%s'", s);
            }
            char *x, *y;
            assert_ok(bl_decode(spm, a.id, a.n, false, &x, NULL, &e));
            assert_ok(bl_decode(bin, a.id, a.n, false, &y, NULL, &e));
            assert_string_equal(x, y);
            bl_free(x);
            bl_free(y);
            compared++;
        }
        bl_free(s);
        bl_json_free(j);
    }
    assert_true(compared > 150);
    bl_free(text);
    bl_ids_free(&a);
    bl_ids_free(&b);
    bl_tokenizer_close(spm);
    bl_tokenizer_close(bin);
}

static void once_upon_a_time_is_what_llama2c_says(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_MODELS");
    static const int32_t want[] = {1, 403, 407, 261, 378};
    bl_err e;
    bl_ids ids = {0};
    bl_tokenizer *t = opened(BL_TOK_LLAMA2C, test_path("BITLADDER_MODELS", "stories260K/tok512.bin"));
    assert_ok(bl_encode(t, "Once upon a time", 16, BL_ENCODE_BOS, &ids, &e));
    assert_int_equal(ids.n, BL_COUNT(want));
    assert_memory_equal(ids.id, want, sizeof want);
    bl_ids_free(&ids);
    bl_tokenizer_close(t);
}

/* The 47 cases of a llama.cpp vocabulary test. */
static void cases(const bl_tokenizer *t, const char *inp, const char *out)
{
    static const char between[] = "\n__ggml_vocab_test__\n";
    bl_err e;
    char *text, *want, *end;
    size_t n, n_want, k = 0, bad = 0;
    bl_ids ids = {0};
    assert_ok(bl_read_file(inp, 1 << 20, &text, &n, &e));
    assert_ok(bl_read_file(out, 1 << 20, &want, &n_want, &e));
    char *line = want;
    for (char *s = text; s; s = end, k++) {
        end = strstr(s, between);
        size_t length = end ? (size_t)(end - s) : strlen(s);
        if (!end) break; /* after the last separator is only the end of the file */
        end += strlen(between);
        ids.n = 0;
        assert_ok(bl_encode(t, s, length, BL_ENCODE_PLAIN, &ids, &e));
        char *newline = strchr(line, '\n');
        bool same = true;
        size_t i = 0;
        for (char *p = line; same; i++) {
            char *after;
            long id = strtol(p, &after, 10);
            if (after == p || after > newline) break;
            same = i < ids.n && ids.id[i] == id;
            p = after;
        }
        if (!same || i != ids.n) {
            if (bad++ < 5) {
                print_message("case %zu '%.*s' want %.*s\n", k, (int)length, s, (int)(newline - line), line);
                show("got", ids.id, ids.n);
            }
        }
        line = newline + 1;
    }
    assert_true(k >= 46);
    assert_int_equal(bad, 0);
    bl_free(text);
    bl_free(want);
    bl_ids_free(&ids);
}

static void llama_cpp_cases_are_reproduced(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_MODELS");
    static const struct {
        const char *name;
        bl_tok_kind kind;
        const char *path;
    } rows[] = {
        {"llama-spm", BL_TOK_GGUF, "gguf-vocab/ggml-vocab-llama-spm.gguf"},
        {"llama-bpe", BL_TOK_GGUF, "gguf-vocab/ggml-vocab-llama-bpe.gguf"},
        {"gpt-2", BL_TOK_GGUF, "gguf-vocab/ggml-vocab-gpt-2.gguf"},
        {"phi-3", BL_TOK_GGUF, "gguf-vocab/ggml-vocab-phi-3.gguf"},
        {"llama-spm", BL_TOK_SPM, "llama2/tokenizer.model"},
        {"llama-spm", BL_TOK_LLAMA2C, "llama2/tokenizer.bin"},
        {"llama-bpe", BL_TOK_JSON, "llama3/tokenizer.json"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        char path[512], inp[512], out[512];
        snprintf(path, sizeof path, "tokenizers/%s", rows[i].path);
        snprintf(inp, sizeof inp, "tokenizers/gguf-vocab/ggml-vocab-%s.gguf.inp", rows[i].name);
        snprintf(out, sizeof out, "tokenizers/gguf-vocab/ggml-vocab-%s.gguf.out", rows[i].name);
        double t0 = bl_now();
        bl_tokenizer *t = opened(rows[i].kind, test_path("BITLADDER_MODELS", path));
        print_message("%s: %s, opened in %.0f ms\n", rows[i].path, bl_tokenizer_kind(t), 1e3 * (bl_now() - t0));
        cases(t, test_path("BITLADDER_MODELS", inp), test_path("BITLADDER_MODELS", out));
        bl_tokenizer_close(t);
    }
}

static void a_checkpoint_finds_its_tokenizer(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_MODELS");
    static const struct {
        const char *model, *kind;
        int64_t vocab;
        int32_t bos, eos;
        bool adds;
    } rows[] = {
        {"smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf", "byte-level BPE (smollm)", 49152, 1, 2, false},
        {"stories260K/stories260K.bin", "sentencepiece BPE", 512, 1, 2, true},
        {"tinystories656K", "byte-fallback BPE (no pre-tokenizer)", 2048, 1, 2, true},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e;
        bl_checkpoint *c;
        bl_tokenizer *t;
        assert_ok(bl_checkpoint_open(test_path("BITLADDER_MODELS", rows[i].model), NULL, &c, &e));
        assert_ok(bl_tokenizer_of(c, &t, &e));
        assert_string_equal(bl_tokenizer_kind(t), rows[i].kind);
        assert_int_equal(bl_tokenizer_vocab(t), rows[i].vocab);
        assert_int_equal(bl_tokenizer_bos(t), rows[i].bos);
        assert_int_equal(bl_tokenizer_eos(t), rows[i].eos);
        assert_int_equal(bl_tokenizer_adds_bos(t), rows[i].adds);
        bl_tokenizer_close(t);
        bl_checkpoint_close(c);
    }
}

static void a_tokenizer_larger_than_the_model_is_opened(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_MODELS");
    bl_err e;
    bl_checkpoint *c;
    bl_tokenizer *t;
    const bl_checkpoint_opts o = {.tokenizer = test_path("BITLADDER_MODELS", "tokenizers/llama2/tokenizer.model")};
    assert_ok(bl_checkpoint_open(test_path("BITLADDER_MODELS", "stories260K/stories260K.bin"), &o, &c, &e));
    assert_ok(bl_tokenizer_of(c, &t, &e));
    assert_int_equal(bl_tokenizer_vocab(t), 32000);
    bl_tokenizer_close(t);
    bl_checkpoint_close(c);
}

/* The tokenizer of a GGUF file that was written with it, for a model with some rows more. */
static bl_tokenizer *written(bl_tok_kind kind, const char *path)
{
    bl_err e = {0};
    bl_arena *a;
    bl_checkpoint *c;
    bl_gguf_vocab v;
    char dir[4096], model[4200], file[4200];
    uint64_t seed = 1;
    snprintf(dir, sizeof dir, "%s", test_dir());
    snprintf(model, sizeof model, "%s/model.bin", dir);
    snprintf(file, sizeof file, "%s/model.gguf", dir);
    bl_tokenizer *t = opened(kind, path);
    tiny shape = {.dim = 8, .hidden = 8, .layers = 1, .heads = 2, .kv_heads = 1, .max_len = 16};
    shape.vocab = (int32_t)bl_tokenizer_vocab(t) + 3;
    tiny_write(model, &shape, tiny_random, &seed, tiny_random, tiny_random, &seed);
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_checkpoint_open(model, NULL, &c, &e));
    assert_refused(bl_tokenizer_gguf(t, shape.vocab - 4, a, &v, &e), BL_E_CONFIG, "tokens, the model");
    assert_ok(bl_tokenizer_gguf(t, shape.vocab, a, &v, &e));
    assert_ok(bl_export_gguf(c, &v, file, &e));
    bl_checkpoint_close(c);
    bl_arena_free(a);
    bl_tokenizer *other = opened(BL_TOK_GGUF, file);
    assert_int_equal(bl_tokenizer_vocab(other), shape.vocab);
    assert_int_equal(bl_tokenizer_bos(other), bl_tokenizer_bos(t));
    if (bl_tokenizer_eos(t) >= 0) assert_int_equal(bl_tokenizer_eos(other), bl_tokenizer_eos(t)); /* llama has one */
    assert_int_equal(bl_tokenizer_adds_bos(other), bl_tokenizer_adds_bos(t));
    bl_tokenizer_close(t);
    assert_ok(bl_remove_tree(dir, &e));
    return other;
}

/* llama.cpp's way to read these keys is that of the cases above. */
static void a_tokenizer_in_a_gguf_file_gives_the_recorded_ids(void **state)
{
    static const struct {
        bl_tok_kind kind;
        const char *file, *lines;
        int flags;
        size_t n;
    } rows[] = {{BL_TOK_JSON, STORED("bpe.json"), STORED("bpe.jsonl"), BL_ENCODE_SPECIAL | BL_ENCODE_BOS, 83},
                {BL_TOK_SPM, STORED("tok512.model"), STORED("tok512.jsonl"), BL_ENCODE_PLAIN, 83}};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_tokenizer *t = written(rows[i].kind, rows[i].file);
        assert_int_equal(compare(t, rows[i].lines, rows[i].flags, false, rows[i].n), 0);
        bl_tokenizer_close(t);
    }
    if (!getenv("BITLADDER_MODELS") || !getenv("BITLADDER_GOLDEN")) return;
    bl_tokenizer *t = written(BL_TOK_SPM, test_path("BITLADDER_MODELS", "tokenizers/llama2/tokenizer.model"));
    cases(t, test_path("BITLADDER_MODELS", "tokenizers/gguf-vocab/ggml-vocab-llama-spm.gguf.inp"),
          test_path("BITLADDER_MODELS", "tokenizers/gguf-vocab/ggml-vocab-llama-spm.gguf.out"));
    bl_tokenizer_close(t);
    t = written(BL_TOK_JSON, test_path("BITLADDER_MODELS", "tokenizers/llama3/tokenizer.json"));
    cases(t, test_path("BITLADDER_MODELS", "tokenizers/gguf-vocab/ggml-vocab-llama-bpe.gguf.inp"),
          test_path("BITLADDER_MODELS", "tokenizers/gguf-vocab/ggml-vocab-llama-bpe.gguf.out"));
    bl_tokenizer_close(t);
}

/* <unk> <s> </s>, 256 bytes, then U+2581 a b c ab U+2581ab bc abc, merged as a file of sentencepiece would: what it was
 * made from, llama.cpp reads by scores. abc is made of a and bc alone: where b is beside c, it is not a's any more. */
static void merges_with_bytes_become_scores(void **state)
{
    bl_err e = {0};
    char dir[4096], path[4200];
    bl_text j = {0};
    bl_ids ids = {0};
    /* " ab", " ", "c", then the two bytes of an e with an accent, which is no piece, "ab", "abc" */
    static const char text[] = "ab c\xC3\xA9"
                               "ababc";
    static const int32_t want[] = {1, 264, 259, 262, 3 + 0xC3, 3 + 0xA9, 263, 266};
    (void)state;
    snprintf(dir, sizeof dir, "%s", test_dir());
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    bl_text_add(&j, "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"
                    "\"\u2581\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\u2581\"}]},"
                    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"
                    "\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[1]}}},"
                    "\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"special\":true},{\"id\":1,\"content\":"
                    "\"<s>\",\"special\":true},{\"id\":2,\"content\":\"</s>\",\"special\":true}],"
                    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"byte_fallback\":true,\"merges\":"
                    "[\"b c\",\"ab c\",\"a b\",\"\u2581 ab\",\"a bc\"],\"vocab\":{\"<unk>\":0,\"<s>\":1,\"</s>\":2,");
    for (int b = 0; b < 256; b++) bl_text_addf(&j, "\"<0x%02X>\":%d,", (unsigned)b, 3 + b);
    bl_text_add(&j, "\"\u2581\":259,\"a\":260,\"b\":261,\"c\":262,\"ab\":263,\"\u2581ab\":264,\"bc\":265,"
                    "\"abc\":266}}}");
    assert_ok(bl_text_check(&j, &e));
    FILE *f = fopen(path, "wb");
    assert_int_equal(fwrite(j.s, 1, j.n, f), j.n);
    fclose(f);
    bl_text_free(&j);
    bl_tokenizer *t[] = {opened(BL_TOK_JSON, path), written(BL_TOK_JSON, path)};
    for (int i = 0; i < 2; i++) {
        ids.n = 0;
        assert_ok(bl_encode(t[i], text, sizeof text - 1, BL_ENCODE_BOS, &ids, &e));
        if (ids.n != BL_COUNT(want) || memcmp(ids.id, want, sizeof want)) {
            show("want", want, BL_COUNT(want));
            show("got ", ids.id, ids.n);
            fail_msg("%s", i ? "from GGUF" : "from JSON");
        }
        bl_tokenizer_close(t[i]);
    }
    bl_ids_free(&ids);
    assert_ok(bl_remove_tree(dir, &e));
}

/* Its pieces have spaces at their ends ("nd_" of n and d_), and none is for bytes, so that llama.cpp ends at a letter
 * that is none. */
static void pieces_across_words_become_scores(void **state)
{
    bl_err e = {0};
    char *text;
    size_t n = 0, begin = 0, n_text;
    bl_ids a = {0}, b = {0};
    (void)state;
    BL_NEEDS("BITLADDER_MODELS");
    const char *file = test_path("BITLADDER_MODELS", "tinystories656K/tokenizer.json");
    bl_tokenizer *t = opened(BL_TOK_JSON, file), *other = written(BL_TOK_JSON, file);
    assert_ok(bl_read_file(BL_SOURCE_DIR "/tasks/data/primer/primer.txt", 1 << 20, &text, &n_text, &e));
    for (size_t i = 0; i < n_text; i++) /* the letters that have pieces */
        if (strchr("\n!\"$',-.0123456789:;? _ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", text[i]))
            text[n++] = text[i];
    for (; begin < n; begin += 500) {
        a.n = b.n = 0;
        assert_ok(bl_encode(t, text + begin, BL_MIN(n - begin, 500), BL_ENCODE_BOS, &a, &e));
        assert_ok(bl_encode(other, text + begin, BL_MIN(n - begin, 500), BL_ENCODE_BOS, &b, &e));
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.id, b.id, a.n * sizeof *a.id);
    }
    bl_ids_free(&a);
    bl_ids_free(&b);
    bl_free(text);
    bl_tokenizer_close(t);
    bl_tokenizer_close(other);
}

static void refused(const char *model, const char *why)
{
    bl_err e = {0};
    bl_arena *a;
    bl_tokenizer *t;
    bl_gguf_vocab v;
    char text[2048];
    assert_ok(bl_arena_new(&a, &e));
    snprintf(text, sizeof text, "{%s}", model);
    assert_ok(bl_tokenizer_parse(BL_TOK_JSON, (const uint8_t *)text, strlen(text), "made-up", &t, &e));
    assert_refused(bl_tokenizer_gguf(t, 100, a, &v, &e), BL_E_UNSUPPORTED, why);
    bl_tokenizer_close(t);
    bl_arena_free(a);
}

#define BYTES  "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
#define PIECES "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"c\":3,\"bc\":4},\"merges\":[\"a b\"]"
static void what_llama_cpp_would_cut_otherwise_is_refused(void **state)
{
    (void)state;
    refused("\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true}," PIECES "}",
            "cuts text by a pattern of its own");
    refused("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"b\"}," BYTES PIECES "}",
            "changes the text before it cuts it");
    refused(BYTES PIECES "},\"added_tokens\":[{\"id\":7,\"content\":\"<m>\",\"special\":true,\"lstrip\":true}]",
            "'<m>', which takes the space beside it");
    refused(PIECES "}", "has neither bytes nor pieces for them");
    /* bc is no merge here, but llama.cpp would make it of b and c */
    refused("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\u2581\"}," PIECES
            ",\"unk_token\":\"c\",\"byte_fallback\":true}",
            "has the piece 'bc', which it does not make of 'b'");
    refused("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\u2581\"},"
            "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"ax\":1},\"merges\":[],\"unk_token\":\"a\",\"byte_"
            "fallback\":true}",
            "has the piece 'ax', and none for its letter 'x'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_byte_level_bpe_gives_the_recorded_ids_and_texts),
        cmocka_unit_test(a_small_sentencepiece_model_gives_the_recorded_ids_and_texts),
        cmocka_unit_test(smollm2_from_gguf_gives_the_recorded_ids_and_texts),
        cmocka_unit_test(tinystories_from_json_gives_the_recorded_ids_and_texts),
        cmocka_unit_test(stories260k_from_sentencepiece_gives_the_recorded_ids_and_texts),
        cmocka_unit_test(llama2c_agrees_with_sentencepiece_where_no_blanks_are_dropped),
        cmocka_unit_test(once_upon_a_time_is_what_llama2c_says),
        cmocka_unit_test(llama_cpp_cases_are_reproduced),
        cmocka_unit_test(a_checkpoint_finds_its_tokenizer),
        cmocka_unit_test(a_tokenizer_larger_than_the_model_is_opened),
        cmocka_unit_test(a_tokenizer_in_a_gguf_file_gives_the_recorded_ids),
        cmocka_unit_test(merges_with_bytes_become_scores),
        cmocka_unit_test(pieces_across_words_become_scores),
        cmocka_unit_test(what_llama_cpp_would_cut_otherwise_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
