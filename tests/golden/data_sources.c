/* Named texts against the sizes and checksums of the protocols' own programs. */
#include "test.h"
#include "sha256.h"
#include "harness/data/sources.h"
#include <zlib.h>

static bl_arena *arena;
static int setup(void **state)
{
    (void)state;
    return bl_arena_new(&arena, NULL) != BL_OK;
}
static int teardown(void **state)
{
    (void)state;
    bl_arena_free(arena);
    return 0;
}

static const bl_source_text *load(const char *name)
{
    static bl_source_text t;
    bl_err e = {0};
    const bl_source *s = bl_source_find(name);
    assert_non_null(s);
    assert_ok(s->load(NULL, arena, &t, &e));
    return &t;
}

static void assert_sha(const char *s, size_t n, const char *want)
{
    char got[65];
    sha256_hex(s, n, got);
    assert_string_equal(got, want);
}

static size_t code_points(const char *s, size_t n)
{
    size_t c = 0;
    for (size_t i = 0; i < n; i++) c += ((unsigned char)s[i] & 0xc0) != 0x80;
    return c;
}

static void wikitext2_stream_is_the_one_gptq_reads(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_DATA");
    const bl_source_text *t = load("wikitext2");
    assert_int_equal(t->n_stream, 1296370);
    assert_int_equal(code_points(t->stream, t->n_stream), 1294336);
    assert_sha(t->stream, t->n_stream, "696cca6b65a171b0a358a4be6732cdfdf2dd6164a32e20fd70e3c13fc4dfae83");
    assert_memory_equal(t->stream, "\n\n = Robert Boulter = \n", 23);
    assert_memory_equal(t->stream + t->n_stream - 3, "\n\n\n", 3);
}

static void wikitext2_raw_is_the_file(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_DATA");
    const bl_source_text *t = load("wikitext2");
    assert_int_equal(t->n_raw, 1290590);
    assert_sha(t->raw, t->n_raw, "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08");
}

static void wikitext2_documents_are_detokenized_as_the_harness_does(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_DATA");
    bl_err e = {0};
    bl_source_text *t = (bl_source_text *)(uintptr_t)load("wikitext2");
    assert_ok(bl_source_documents(arena, t, &e));
    bl_text all = {0};
    int64_t words = 0, bytes = 0;
    assert_int_equal(t->n_docs, 62);
    for (size_t i = 0; i < t->n_docs; i++) {
        bl_text_addn(&all, t->doc[i].text, t->doc[i].n);
        words += t->doc[i].words;
        bytes += t->doc[i].bytes;
    }
    assert_int_equal(all.n, 1240466);
    assert_sha(all.s, all.n, "d6535ca809061590d5e672ac43d8d2d5e1fb500c3005768f6050dcc007786165");
    assert_int_equal(words, 241335);
    assert_int_equal(bytes, 1290527);
    bl_text_free(&all);
}

/* The rows of the Hub, written as its JSON-lines export would be, packed, give the same three texts. */
static void wikitext2_as_json_lines_is_the_same(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_DATA");
    bl_err e = {0};
    bl_source_text a = *load("wikitext2"), b;
    const char *dir = test_dir();
    char path[4200];
    bl_text out = {0};

    for (size_t at = 0; at < a.n_raw;) {
        const char *row = a.raw + at, *end = memchr(row, '\n', a.n_raw - at);
        size_t n = (size_t)(end - row) + 1;
        bl_text_add(&out, "{\"text\":");
        bl_json_put_str(&out, row, strspn(row, " \n") >= n ? 0 : n);
        bl_text_add(&out, "}\n");
        at += n;
    }
    snprintf(path, sizeof path, "%s/wikitext2", dir);
    assert_ok(bl_make_dirs(path, &e));
    snprintf(path, sizeof path, "%s/wikitext2/test.jsonl.gz", dir);
    gzFile f = gzopen(path, "wb1");
    assert_int_equal(gzwrite(f, out.s, (unsigned)out.n), out.n);
    gzclose(f);
    bl_data_dirs d = {{dir}, 1};
    assert_ok(bl_source_find("wikitext2")->load(&d, arena, &b, &e));
    assert_string_equal(b.path, path);
    assert_int_equal(b.n_raw, a.n_raw);
    assert_memory_equal(b.raw, a.raw, a.n_raw);
    assert_int_equal(b.n_stream, a.n_stream);
    assert_ok(bl_source_documents(arena, &a, &e));
    assert_ok(bl_source_documents(arena, &b, &e));
    assert_int_equal(b.n_docs, 62);
    assert_int_equal(b.n_docs, a.n_docs);
    assert_false(bl_hash_equal(a.hash, b.hash));
    bl_text_free(&out);
    assert_ok(bl_remove_tree(dir, &e));
}

static void ptb_splits_are_joined_as_published(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_DATA");
    const bl_source_text *t = load("ptb-new");
    assert_int_equal(t->n_stream, 442422);
    assert_sha(t->stream, t->n_stream, "900cfc61a7a63afcd086c5e1cce90554764eae65cb2ca9f5d4cac47be5f0f394");
    t = load("ptb");
    assert_int_equal(t->n_stream, 396410);
    assert_sha(t->stream, t->n_stream, "352a9351af725c5d5d6ccdd38357a35ebfef8c79916364fdf458fa72a4fb91c3");
}

static void c4_demo_is_300_documents_with_a_space_between(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_DATA");
    const bl_source_text *t = load("c4-demo");
    assert_true(t->n_stream > 700000);
    assert_int_equal(t->max_windows, 0);
    assert_memory_equal(t->stream, "Don\xe2\x80\x99t think you need all the bells and whistles?", 48);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wikitext2_stream_is_the_one_gptq_reads),
        cmocka_unit_test(wikitext2_raw_is_the_file),
        cmocka_unit_test(wikitext2_documents_are_detokenized_as_the_harness_does),
        cmocka_unit_test(wikitext2_as_json_lines_is_the_same),
        cmocka_unit_test(ptb_splits_are_joined_as_published),
        cmocka_unit_test(c4_demo_is_300_documents_with_a_space_between),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
