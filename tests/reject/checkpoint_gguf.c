/* checkpoint_gguf.c - GGUF files that are refused, each with a sentence that says why, and odd ones that are fine. */
#include "test.h"
#include "own_dir.h"
#include "checkpoint_build.h"
#include "harness/checkpoint/checkpoint.h"
#include "harness/checkpoint/gguf.h"

static bool seeding = true; /* off while many cuts of one file are tried */

/* Parses an exact copy, so that a sanitizer sees every byte too far. */
static bl_status parse(bl_text *t, bl_err *e)
{
    bl_gguf *g = NULL;
    uint8_t *p = malloc(t->n ? t->n : 1);
    memcpy(p, t->s, t->n);
    bl_status st = bl_gguf_parse(p, t->n, "f.gguf", &g, e);
    bl_gguf_close(st == BL_OK ? g : NULL);
    if (seeding) test_seed("gguf", st == BL_OK ? "good" : "bad", p, t->n);
    free(p);
    bl_text_free(t);
    return st;
}

/* One key in front of no tensors. */
static void one_key(bl_text *t, uint64_t keys) { head(t, 3, 0, keys); }

static void magic(bl_text *t)
{
    bl_text_add(t, "GGML");
    put32(t, 3);
    put64(t, 0);
    put64(t, 0);
}
static void nothing(bl_text *t) { bl_text_add(t, "GGU"); }
static void version1(bl_text *t) { head(t, 1, 0, 0); }
static void version4(bl_text *t) { head(t, 4, 0, 0); }
static void swapped(bl_text *t) { head(t, __builtin_bswap32(3), 0, 0); }
static void no_counts(bl_text *t)
{
    bl_text_add(t, "GGUF");
    put32(t, 3);
    put64(t, 0);
}
static void many_tensors(bl_text *t) { head(t, 3, UINT64_C(1) << 63, 0); }
static void many_keys(bl_text *t) { head(t, 3, 0, UINT64_C(1) << 63); }
static void keys_without_bytes(bl_text *t)
{
    head(t, 3, 0, 9);
    key_u32(t, "a", 1);
}
static void tensors_without_bytes(bl_text *t)
{
    head(t, 3, 9, 0);
    tensor(t, "a", 1, 8, 1, 0, 0);
}
static void long_key(bl_text *t)
{
    one_key(t, 1);
    put64(t, UINT64_C(1) << 62);
    bl_text_add(t, "abcdefgh");
}
static void long_text(bl_text *t)
{
    one_key(t, 1);
    key(t, "a", G_TEXT);
    put64(t, 1000);
    bl_text_add(t, "abc");
}
static void wrapping_text(bl_text *t)
{
    one_key(t, 1);
    key(t, "a", G_TEXT);
    put64(t, UINT64_MAX);
    bl_text_add(t, "abc");
}
static void huge_array(bl_text *t)
{
    one_key(t, 1);
    key(t, "a", G_ARRAY);
    put32(t, G_U32);
    put64(t, UINT64_C(1) << 60);
}
static void wrapping_array(bl_text *t)
{
    one_key(t, 1);
    key(t, "a", G_ARRAY);
    put32(t, G_U32);
    put64(t, (UINT64_C(1) << 62) + 1);
    put32(t, 0);
}
static void huge_text_array(bl_text *t)
{
    one_key(t, 1);
    key(t, "a", G_ARRAY);
    put32(t, G_TEXT);
    put64(t, UINT64_C(1) << 60);
}
static void short_text_array(bl_text *t)
{
    one_key(t, 1);
    key(t, "a", G_ARRAY);
    put32(t, G_TEXT);
    put64(t, 2);
    put_text(t, "x");
    put64(t, 9);
}
static void nested(bl_text *t)
{
    one_key(t, 1);
    key(t, "a", G_ARRAY);
    put32(t, G_ARRAY);
    put64(t, 1);
    put32(t, G_U32);
    put64(t, 0);
}
static void array_type(bl_text *t)
{
    one_key(t, 1);
    key(t, "a", G_ARRAY);
    put32(t, 13);
    put64(t, 0);
}
static void empty_key(bl_text *t)
{
    one_key(t, 1);
    key_u32(t, "", 1);
    bl_text_add(t, "more bytes");
}
static void same_key(bl_text *t)
{
    one_key(t, 2);
    key_u32(t, "a", 1);
    key_u32(t, "a", 1);
}
static void key_type(bl_text *t)
{
    one_key(t, 1);
    key(t, "a", 13);
    put64(t, 1);
}
static void key_not_text(bl_text *t)
{
    one_key(t, 1);
    key_u32(t, "\xff\xfe", 1);
}
static void short_value(bl_text *t)
{
    one_key(t, 1);
    key(t, "a", G_U64);
    put32(t, 1);
}
static void half_type(bl_text *t)
{
    one_key(t, 1);
    put_text(t, "abcd");
    bl_text_addn(t, "\0", 1);
    bl_text_addn(t, "\0", 1);
}
static void odd_bool(bl_text *t)
{
    one_key(t, 1);
    key(t, "a", G_BOOL);
    bl_text_add(t, "\2");
}
static void odd_bools(bl_text *t)
{
    one_key(t, 1);
    key(t, "a", G_ARRAY);
    put32(t, G_BOOL);
    put64(t, 2);
    bl_text_add(t, "\1\3");
}
static void align0(bl_text *t)
{
    one_key(t, 1);
    key_u32(t, "general.alignment", 0);
}
static void align3(bl_text *t)
{
    one_key(t, 1);
    key_u32(t, "general.alignment", 3);
}
static void align_text(bl_text *t)
{
    one_key(t, 1);
    key_text(t, "general.alignment", "32");
}
static void one_tensor(bl_text *t, const char *name, int ndim, uint64_t d0, uint64_t d1, uint32_t type, uint64_t offset,
                       size_t data)
{
    head(t, 3, 1, 0);
    tensor(t, name, ndim, d0, d1, type, offset);
    pad(t, 32);
    for (size_t i = 0; i < data; i++) bl_text_addn(t, "", 1);
}
static void dims0(bl_text *t) { one_tensor(t, "a", 0, 1, 1, 0, 0, 64); }
static void dims5(bl_text *t) { one_tensor(t, "a", 5, 1, 1, 0, 0, 64); }
static void dims_huge(bl_text *t)
{
    head(t, 3, 1, 0);
    put_text(t, "a");
    put32(t, UINT32_MAX);
    for (int i = 0; i < 8; i++) put64(t, 1);
}
static void dim0(bl_text *t) { one_tensor(t, "a", 2, 32, 0, 0, 0, 64); }
static void dim_wraps(bl_text *t) { one_tensor(t, "a", 2, (UINT64_C(1) << 42) + 1, UINT64_C(1) << 22, 0, 0, 64); }
static void bytes_wrap(bl_text *t) { one_tensor(t, "a", 1, UINT64_C(1) << 62, 1, 0, 0, 64); }
static void dim_big(bl_text *t) { one_tensor(t, "a", 1, (UINT64_C(1) << 42) + 1, 1, 0, 0, 64); }
static void row_block(bl_text *t) { one_tensor(t, "a", 2, 48, 2, 2, 0, 64); }
static void row_block_product(bl_text *t) { one_tensor(t, "a", 2, 16, 2, 2, 0, 18); }
static void type_unknown(bl_text *t) { one_tensor(t, "a", 1, 32, 1, 99, 0, 64); }
static void type_negative(bl_text *t) { one_tensor(t, "a", 1, 32, 1, UINT32_MAX, 0, 64); }
static void type_named(bl_text *t) { one_tensor(t, "a", 1, 32, 1, 4, 0, 64); }
static void type_integer(bl_text *t) { one_tensor(t, "a", 1, 8, 1, 26, 0, 32); }
static void unaligned(bl_text *t) { one_tensor(t, "a", 1, 8, 1, 0, 16, 64); }
static void not_first(bl_text *t) { one_tensor(t, "a", 1, 8, 1, 0, 32, 64); }
static void past_end(bl_text *t) { one_tensor(t, "a", 1, 64, 1, 0, 0, 252); }
static void way_past_end(bl_text *t) { one_tensor(t, "a", 1, 1 << 20, 1, 0, 0, 64); }
static void no_data(bl_text *t)
{
    head(t, 3, 1, 0);
    tensor(t, "ab", 1, 1, 1, 0, 0);
}
static void trailing(bl_text *t) { one_tensor(t, "a", 1, 8, 1, 0, 0, 64); }
static void tensor_name_empty(bl_text *t) { one_tensor(t, "", 1, 8, 1, 0, 0, 32); }
static void tensor_name_long(bl_text *t)
{
    char name[1100];
    memset(name, 'n', sizeof name);
    name[1099] = 0;
    one_tensor(t, name, 1, 8, 1, 0, 0, 32);
}
static void same_tensor(bl_text *t)
{
    head(t, 3, 2, 0);
    tensor(t, "a", 1, 8, 1, 0, 0);
    tensor(t, "a", 1, 8, 1, 0, 32);
    pad(t, 32);
    for (int i = 0; i < 16; i++) put32(t, 0);
}
static void second_offset(bl_text *t)
{
    head(t, 3, 2, 0);
    tensor(t, "a", 1, 9, 1, 0, 0);
    tensor(t, "b", 1, 8, 1, 0, 32);
    pad(t, 32);
    for (int i = 0; i < 32; i++) put32(t, 0);
}

static const struct {
    const char *what;
    void (*build)(bl_text *);
    const char *phrase;
} refused[] = {
    {"R49", magic, "does not begin with 'GGUF'"},
    {"R49", nothing, "does not begin with 'GGUF'"},
    {"R50", version1, "GGUF version 1, expected 2 or 3"},
    {"R50", version4, "GGUF version 4, expected 2 or 3"},
    {"R50", swapped, "big-endian"},
    {"R51", no_counts, "the number of keys needs 8 bytes"},
    {"R51", many_tensors, "9223372036854775808 tensors do not fit"},
    {"R51", many_keys, "9223372036854775808 keys do not fit"},
    {"R51", keys_without_bytes, "9 keys do not fit"},
    {"R51", tensors_without_bytes, "9 tensors do not fit"},
    {"R52", long_key, "a key has length 4611686018427387904"},
    {"R52", long_text, "a has length 1000"},
    {"R52", wrapping_text, "a has length 18446744073709551615"},
    {"R53", huge_array, "array of 1152921504606846976 items of type u32"},
    {"R53", wrapping_array, "array of 4611686018427387905 items of type u32"},
    {"R53", huge_text_array, "items of type text"},
    {"R53", short_text_array, "a has length 9"},
    {"R54", nested, "array of arrays"},
    {"R54", array_type, "array of unknown type 13"},
    {"R55", empty_key, "is empty"},
    {"R55", same_key, "key 'a' appears twice"},
    {"R55", key_not_text, "not UTF-8"},
    {"type", key_type, "key 'a': unknown type 13"},
    {"type", short_value, "a needs 8 bytes"},
    {"type", half_type, "abcd needs 4 bytes"},
    {"bool", odd_bool, "a bool is 2"},
    {"bool", odd_bools, "a bool is 3"},
    {"R56", align0, "general.alignment is 0"},
    {"R56", align3, "general.alignment is 3"},
    {"R56", align_text, "general.alignment has type text"},
    {"R57", dims0, "has 0 dimensions"},
    {"R57", dims5, "has 5 dimensions"},
    {"R57", dims_huge, "has 4294967295 dimensions"},
    {"R58", dim0, "dimension 1 is 0"},
    {"R59", dim_wraps, "shape is too large"},
    {"R59", bytes_wrap, "shape is too large"},
    {"R59", dim_big, "ends at byte"},
    {"R60", row_block, "rows of 48 weights are not a multiple of the block of 32 of q4_0"},
    {"R60", row_block_product, "rows of 16 weights"},
    {"R61", type_unknown, "type 99 (unknown) is not read"},
    {"R61", type_negative, "is not read"},
    {"R61", type_named, "type 4 (Q4_2) is not read"},
    {"R61", type_integer, "type 26 (I32) is not read"},
    {"R62", unaligned, "offset 16 is not a multiple of 32"},
    {"R62", not_first, "offset 32, expected 0"},
    {"R62", second_offset, "tensor 'b': offset 32, expected 64"},
    {"R62", past_end, "ends at byte 256 of the data, the file has 252"},
    {"R62", way_past_end, "ends at byte"},
    {"R62", no_data, "ends before its tensor data"},
    {"R62", trailing, "32 bytes after the last tensor"},
    {"R63", same_tensor, "tensor 'a' appears twice"},
    {"name", tensor_name_empty, "a tensor name at byte 32 is empty"},
    {"name", tensor_name_long, "a tensor name has 1099 bytes"},
};

static void headers_that_are_not_what_they_should_be_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(refused); i++) {
        bl_err e = {0};
        bl_text t = {0};
        refused[i].build(&t);
        uint64_t before = bl_alloc_live();
        bl_alloc_watch_reset();
        bl_alloc_fail_at(0, false); /* counts from here */
        bl_status st = parse(&t, &e);
        if (st != BL_E_FORMAT || !strstr(e.text, refused[i].phrase))
            fail_msg("%s: %s '%s' does not say '%s'", refused[i].what, bl_status_name(st), e.text, refused[i].phrase);
        assert_true(bl_alloc_count() < 1000); /* work is counted: the clock belongs to the machine */
        assert_true(bl_alloc_peak() < before + 100000000);
        assert_true(bl_alloc_live() <= before);
    }
}

static void every_prefix_of_a_good_file_is_refused(void **state)
{
    (void)state;
    bl_text t = {0};
    bl_err e = {0};
    gguf_llama(&t, &(gguf_extra){0});
    size_t n = t.n;
    seeding = false;
    for (size_t k = 0; k < n; k += k < 2000 ? 1 : 997) {
        bl_text cut = {0};
        bl_text_addn(&cut, t.s, k);
        if (parse(&cut, &e) != BL_E_FORMAT) fail_msg("the first %zu of %zu bytes are accepted", k, n);
    }
    seeding = true;
    assert_ok(parse(&t, &e));
}

static void odd_but_allowed_headers_are_read(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_text t = {0};
    head(&t, 2, 0, 0); /* nothing in it */
    assert_ok(parse(&t, &e));
    one_key(&t, 2);
    key(&t, "a", G_ARRAY); /* an empty array as the last bytes */
    put32(&t, G_TEXT);
    put64(&t, 0);
    key_text(&t, "b", "");
    assert_ok(parse(&t, &e));
    head(&t, 3, 1, 1); /* aligned to 1, last tensor not padded */
    key_u32(&t, "general.alignment", 1);
    tensor(&t, "a", 1, 1, 1, 0, 0);
    put32(&t, 0);
    assert_ok(parse(&t, &e));
    one_tensor(&t, "a", 1, 9, 1, 0, 0, 64); /* last tensor padded */
    assert_ok(parse(&t, &e));
}

static void values_are_found_by_key_and_type(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_text t = {0};
    bl_gguf *g = NULL;
    bl_arena *a;
    int64_t v;
    double r;
    const char *s;
    assert_ok(bl_arena_new(&a, &e));
    one_key(&t, 13);
    key(&t, "u8", 0);
    bl_text_add(&t, "\xff");
    key(&t, "i8", 1);
    bl_text_add(&t, "\xff");
    key(&t, "u16", 2);
    bl_text_add(&t, "\xfe\xff");
    key(&t, "i16", 3);
    bl_text_add(&t, "\xfe\xff");
    key_u32(&t, "u32", UINT32_MAX);
    key(&t, "i32", 5);
    put32(&t, UINT32_MAX);
    key_f32(&t, "f32", 0.5f);
    key(&t, "u64", 10);
    put64(&t, UINT64_MAX);
    key(&t, "i64", 11);
    put64(&t, UINT64_MAX);
    key(&t, "f64", 12);
    r = 0.1;
    bl_text_addn(&t, (char *)&r, 8);
    key_text(&t, "text", "hello");
    key(&t, "nul", G_TEXT);
    put64(&t, 3);
    bl_text_addn(&t, "a\0b", 3);
    key(&t, "list", G_ARRAY);
    put32(&t, G_TEXT);
    put64(&t, 2);
    put_text(&t, "x");
    put_text(&t, "yz");
    assert_ok(bl_gguf_parse((uint8_t *)t.s, t.n, "f", &g, &e));
    test_seed("gguf", "values", t.s, t.n);
    static const struct {
        const char *key;
        int64_t want;
    } whole[] = {
        {"u8", 255}, {"i8", -1}, {"u16", 65534}, {"i16", -2}, {"u32", UINT32_MAX}, {"i32", -1}, {"i64", -1},
    };
    for (size_t i = 0; i < BL_COUNT(whole); i++) {
        assert_ok(bl_gguf_int(g, whole[i].key, &v, &e));
        assert_int_equal(v, whole[i].want);
    }
    assert_refused(bl_gguf_int(g, "u64", &v, &e), BL_E_FORMAT, "18446744073709551615");
    assert_refused(bl_gguf_int(g, "f32", &v, &e), BL_E_FORMAT, "expected a whole number");
    assert_refused(bl_gguf_int(g, "none", &v, &e), BL_E_MISSING, "key 'none' is missing");
    assert_ok(bl_gguf_real(g, "f32", &r, &e));
    assert_true(r == 0.5);
    assert_ok(bl_gguf_real(g, "f64", &r, &e));
    assert_true(r == 0.1);
    assert_refused(bl_gguf_real(g, "u8", &r, &e), BL_E_FORMAT, "expected f32");
    assert_ok(bl_gguf_text(g, "text", a, &s, &e));
    assert_string_equal(s, "hello");
    assert_refused(bl_gguf_text(g, "nul", a, &s, &e), BL_E_FORMAT, "not UTF-8 text");
    assert_refused(bl_gguf_text(g, "u8", a, &s, &e), BL_E_FORMAT, "expected text");
    const bl_gguf_value *l = bl_gguf_find(g, "list");
    const uint8_t *cursor = l->at;
    uint64_t n;
    assert_int_equal(l->n, 2);
    assert_memory_equal(bl_gguf_next_string(&cursor, &n), "x", 1);
    assert_memory_equal(bl_gguf_next_string(&cursor, &n), "yz", 2);
    assert_int_equal(n, 2);
    bl_gguf_close(g);
    bl_arena_free(a);
    bl_text_free(&t);
}

/* ---- as a model ---- */
static bl_status open_gguf(const gguf_extra *x, bl_checkpoint **c, bl_err *e)
{
    bl_text t = {0};
    char path[4200];
    bl_checkpoint *m = NULL;
    gguf_llama(&t, x);
    test_write(dir, "m.gguf", t.s, t.n);
    snprintf(path, sizeof path, "%s/m.gguf", dir);
    bl_status st = bl_checkpoint_open(path, NULL, &m, e);
    if (st == BL_OK) test_seed("gguf", "model", t.s, t.n);
    bl_text_free(&t);
    if (st == BL_OK && c) *c = m;
    else if (st == BL_OK) bl_checkpoint_close(m);
    return st;
}

static void k_clamp(bl_text *t) { key_f32(t, "llama.attention.clamp_kqv", 1); }
static void k_experts(bl_text *t) { key_u32(t, "llama.expert_count", 8); }
static void k_rotary(bl_text *t) { key_u32(t, "llama.rope.dimension_count", 4); }
static void k_value(bl_text *t) { key_u32(t, "llama.attention.value_length", 4); }
static void k_split(bl_text *t)
{
    key(t, "split.count", 2);
    bl_text_addn(t, "\3\0", 2);
}
static void k_theta(bl_text *t) { key_f32(t, "llama.rope.freq_base", 0); }
static void k_theta_type(bl_text *t) { key_u32(t, "llama.rope.freq_base", 10000); }
static void k_linear(bl_text *t)
{
    key_text(t, "llama.rope.scaling.type", "linear");
    key_f32(t, "llama.rope.scaling.factor", 4);
}
static void k_old_linear(bl_text *t) { key_f32(t, "llama.rope.scale_linear", 2); }
static void k_long_head(bl_text *t)
{
    key_u32(t, "llama.attention.key_length", 16);
    key_u32(t, "llama.attention.value_length", 16);
}
static void t_bias(bl_text *t, uint64_t *o)
{
    tensor(t, "blk.0.attn_q.bias", 1, 32, 1, 0, *o);
    *o += 128;
}
static void t_layer(bl_text *t, uint64_t *o)
{
    tensor(t, "blk.1.attn_norm.weight", 1, 32, 1, 0, *o);
    *o += 128;
}
static void t_freqs(bl_text *t, uint64_t *o)
{
    tensor(t, "rope_freqs.weight", 1, 4, 1, 0, *o);
    *o += 16;
}
static void t_freqs8(bl_text *t, uint64_t *o)
{
    tensor(t, "rope_freqs.weight", 1, 8, 1, 0, *o);
    *o += 32;
}

static void put_array(bl_text *t, const char *name, uint32_t item, uint64_t n, uint32_t first, uint32_t rest)
{
    key(t, name, G_ARRAY);
    put32(t, item);
    put64(t, n);
    for (uint64_t i = 0; i < n; i++) put32(t, i ? rest : first);
}
static void t_short_bias(bl_text *t, uint64_t *o)
{
    tensor(t, "blk.0.attn_q.bias", 1, 8, 1, 0, *o);
    *o += 32;
}
static void t_norm(bl_text *t, uint64_t *o)
{
    tensor(t, "blk.0.attn_q_norm.weight", 1, 8, 1, 0, *o);
    *o += 32;
}
static void k_longrope(bl_text *t) { key_text(t, "llama.rope.scaling.type", "longrope"); }
static void k_less(bl_text *t)
{
    key_text(t, "llama.rope.scaling.type", "linear");
    key_f32(t, "llama.rope.scaling.factor", 0.5f);
}
static void k_attention(bl_text *t) { key_f32(t, "llama.rope.scaling.attn_factor", 2); }
static void k_ext(bl_text *t) { key_f32(t, "llama.rope.scaling.yarn_ext_factor", 1); }
static void k_both_ways(bl_text *t)
{
    key(t, "llama.attention.causal", G_BOOL);
    bl_text_addn(t, "", 1);
}
static void k_causal_type(bl_text *t) { key_u32(t, "llama.attention.causal", 1); }
static void k_two(bl_text *t) { put_array(t, "llama.attention.head_count_kv", G_U32, 2, 2, 2); }
static void k_floats(bl_text *t) { put_array(t, "llama.attention.head_count_kv", G_F32, 1, 0, 0); }

static const struct {
    const char *what;
    gguf_extra x;
    const char *phrase;
} models[] = {
    {"R43", {.arch = "gpt2"}, "architecture 'gpt2' is not read"},
    {"R43", {.arch = "gemma"}, "architecture 'gemma' is not read; these are: llama, qwen2"},
    {"R43", {.arch = "qwen2"}, "key 'qwen2.embedding_length' is missing"},
    {"R43", {.arch = "mistral"}, "architecture 'mistral' is not read"}, /* its files say llama */
    {"R38", {.drop = "blk.0.attn_k.weight"}, "'blk.0.attn_k.weight' is missing"},
    {"R38", {.drop = "token_embd.weight"}, "'token_embd.weight' is missing"},
    {"R39", {.heads = 5}, "is not a multiple"},
    {"R40", {.heads = 1}, "is not a multiple of num_key_value_heads"},
    {"R42", {.vocab_key = 41}, "vocab_size is 41, token_embd.weight has 40 rows"},
    {"key", {.keys = 1, .put_keys = k_clamp}, "'llama.attention.clamp_kqv' is not known"},
    {"experts", {.keys = 1, .put_keys = k_experts}, "mixture of 8 experts"},
    {"rotary", {.keys = 1, .put_keys = k_rotary}, "partial rotary"},
    {"value", {.keys = 1, .put_keys = k_value}, "value_length 4 differs"},
    {"R44", {.keys = 1, .put_keys = k_longrope}, "rope scaling 'longrope' is not read"},
    {"R44", {.keys = 2, .put_keys = k_less}, "rope scaling factor is 0.5"},
    {"R44", {.keys = 1, .put_keys = k_attention}, "attn_factor is 2 without yarn"},
    {"R44", {.keys = 1, .put_keys = k_ext}, "'llama.rope.scaling.yarn_ext_factor' is not known"},
    {"causal", {.keys = 1, .put_keys = k_both_ways}, "only causal attention is read"},
    {"causal", {.keys = 1, .put_keys = k_causal_type}, "expected bool"},
    {"layers",
     {.keys = 1, .put_keys = k_two, .kv_key_elsewhere = true},
     "has 2 numbers, expected one for each of 1 layers"},
    {"layers",
     {.keys = 1, .put_keys = k_floats, .kv_key_elsewhere = true},
     "array of type f32, expected whole numbers"},
    {"split",
     {.keys = 1, .put_keys = k_split},
     "the first of 3 parts, whose name does not end in -00001-of-00003.gguf"},
    {"theta", {.keys = 1, .put_keys = k_theta}, "rope_theta is 0"},
    {"theta", {.keys = 1, .put_keys = k_theta_type}, "expected f32"},
    {"head",
     {.keys = 2, .put_keys = k_long_head},
     "'blk.0.attn_q.weight' has 2 dimensions [32, 32], expected [32, 64]"},
    {"bias",
     {.tensors = 1, .put_tensors = t_short_bias},
     "'blk.0.attn_q.bias' has 1 dimensions [8, 1], expected [32, 1]"},
    {"norm", {.tensors = 1, .put_tensors = t_norm}, "'blk.0.attn_q_norm.weight' is not part of a llama"},
    {"layer", {.tensors = 1, .put_tensors = t_layer}, "'blk.1.attn_norm.weight' is not part of a llama of 1 layers"},
    {"freqs", {.tensors = 1, .put_tensors = t_freqs8}, "expected 4 fp32"},
};

static void models_that_are_not_a_plain_llama_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(models); i++) {
        bl_err e = {0};
        bl_status st = open_gguf(&models[i].x, NULL, &e);
        if (st != BL_E_FORMAT || !strstr(e.text, models[i].phrase))
            fail_msg("%s: %s '%s' does not say '%s'", models[i].what, bl_status_name(st), e.text, models[i].phrase);
    }
}

/* ---- what keys mean: as llama.cpp (xllamacpp 2026.10.11549) reads them ---- */
typedef struct rope_case {
    const char *what, *type; /* NULL: no such key */
    float factor, old;       /* -1: no such key */
    bl_rope_scaling rope;
    double scale;
} rope_case;
static const rope_case *at_hand;
static int rope_keys(const rope_case *r) { return (r->type != NULL) + (r->factor >= 0) + (r->old >= 0); }
static void k_rope(bl_text *t)
{
    if (at_hand->type) key_text(t, "llama.rope.scaling.type", at_hand->type);
    if (at_hand->factor >= 0) key_f32(t, "llama.rope.scaling.factor", at_hand->factor);
    if (at_hand->old >= 0) key_f32(t, "llama.rope.scale_linear", at_hand->old);
}

static void absent_rotary_keys_mean_what_llama_cpp_makes_of_them(void **state)
{
    (void)state;
    static const rope_case rows[] = {
        {"a factor without a type is linear", NULL, 4, -1, BL_ROPE_LINEAR, 4},
        {"the old key", NULL, -1, 2, BL_ROPE_LINEAR, 2},
        {"the new key beats the old", "linear", 4, 2, BL_ROPE_LINEAR, 4},
        {"type none beats the old key", "none", -1, 2, BL_ROPE_PLAIN, 1},
        {"type none beats the new key", "none", 4, -1, BL_ROPE_PLAIN, 1},
        {"a factor of 0 is none", NULL, 0, -1, BL_ROPE_PLAIN, 1},
        {"a factor of 0 is none, and hides the old key", "linear", 0, 2, BL_ROPE_PLAIN, 1},
        {"a type without a factor", "linear", -1, -1, BL_ROPE_PLAIN, 1},
        {"yarn", "yarn", 4, -1, BL_ROPE_YARN, 4},
        {"yarn without a factor", "yarn", -1, -1, BL_ROPE_YARN, 1},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_checkpoint *c;
        at_hand = &rows[i];
        assert_ok(open_gguf(&(gguf_extra){.keys = rope_keys(at_hand), .put_keys = k_rope}, &c, &e));
        const bl_config *o = bl_checkpoint_config(c);
        if (o->rope != rows[i].rope || (o->rope != BL_ROPE_PLAIN && o->rope_factor != rows[i].scale))
            fail_msg("%s: %s, factor %g", rows[i].what, bl_rope_names[o->rope], o->rope_factor);
        if (o->rope == BL_ROPE_YARN) { /* 0.1 ln 4 + 1 */
            assert_float_equal(o->rope_attention, rows[i].scale == 4 ? 1.1386294361119891 : 1, 1e-12);
            assert_int_equal(o->rope_original, 64); /* the length */
            assert_float_equal(o->rope_low, 1, 0);
            assert_float_equal(o->rope_high, 32, 0);
        }
        bl_checkpoint_close(c);
    }
}

static void k_yarn_all(bl_text *t)
{
    key_text(t, "llama.rope.scaling.type", "yarn");
    key_f32(t, "llama.rope.scaling.factor", 4);
    key_u32(t, "llama.rope.scaling.original_context_length", 16);
    key_f32(t, "llama.rope.scaling.attn_factor", 0.5f);
    key_f32(t, "llama.rope.scaling.yarn_beta_fast", 8);
    key_f32(t, "llama.rope.scaling.yarn_beta_slow", 2);
}
static void k_window(bl_text *t) { key_u32(t, "llama.attention.sliding_window", 16); }
static void k_each(bl_text *t) { put_array(t, "llama.attention.head_count_kv", G_U32, 1, 2, 2); }

static void every_key_of_yarn_windows_and_layers_is_read(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_checkpoint *c;
    assert_ok(open_gguf(&(gguf_extra){.keys = 6, .put_keys = k_yarn_all}, &c, &e));
    const bl_config *o = bl_checkpoint_config(c);
    assert_int_equal(o->rope_original, 16);
    assert_float_equal(o->rope_attention, 0.5 * 1.1386294361119891, 1e-12);
    assert_float_equal(o->rope_high, 8, 0);
    assert_float_equal(o->rope_low, 2, 0);
    bl_checkpoint_close(c);
    assert_ok(open_gguf(&(gguf_extra){.keys = 1, .put_keys = k_window}, &c, &e));
    assert_int_equal(bl_checkpoint_config(c)->window, 16);
    bl_checkpoint_close(c);
    bl_text t = {0};
    bl_gguf *g;
    int64_t n = 0;
    head(&t, 3, 0, 2);
    put_array(&t, "equal", G_U32, 3, 5, 5);
    put_array(&t, "not", G_U32, 3, 5, 6);
    assert_ok(bl_gguf_parse((uint8_t *)t.s, t.n, "f", &g, &e));
    assert_ok(bl_gguf_int_each(g, "equal", 3, &n, &e));
    assert_int_equal(n, 5);
    assert_refused(bl_gguf_int_each(g, "not", 3, &n, &e), BL_E_FORMAT, "'not' is 5 for layer 0 and 6 for layer 1");
    assert_refused(bl_gguf_int_each(g, "none", 3, &n, &e), BL_E_MISSING, "key 'none' is missing");
    bl_gguf_close(g);
    bl_text_free(&t);
    /* a number for every layer: convert_hf_to_gguf.py writes arrays for models whose layers may differ */
    assert_ok(open_gguf(&(gguf_extra){.keys = 1, .put_keys = k_each, .kv_key_elsewhere = true}, &c, &e));
    assert_int_equal(bl_checkpoint_config(c)->n_kv_heads, 2);
    bl_checkpoint_close(c);
}

/* blk.0.attn_q.bias of 4 heads of 8 in adjacent pairs: element i is i. */
static void biases_of_a_gguf_llama_are_kept_and_turned_with_their_rows(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_checkpoint *c;
    bl_text t = {0};
    char path[4200];
    float b[32];
    gguf_llama(&t, &(gguf_extra){.tensors = 1, .put_tensors = t_bias});
    for (int i = 0; i < 32; i++) memcpy(t.s + t.n - 128 + 4 * i, &(float){(float)i}, 4);
    test_write(dir, "m.gguf", t.s, t.n);
    test_seed("gguf", "bias", t.s, t.n);
    bl_text_free(&t);
    snprintf(path, sizeof path, "%s/m.gguf", dir);
    assert_ok(bl_checkpoint_open(path, NULL, &c, &e));
    const bl_stored *w = bl_checkpoint_param(c, BL_ROLE_Q_BIAS, 0);
    assert_non_null(w);
    assert_null(bl_checkpoint_param(c, BL_ROLE_K_BIAS, 0));
    assert_ok(bl_checkpoint_dense(c, w, 0, 1, b, &e));
    static const int order[8] = {0, 2, 4, 6, 1, 3, 5, 7};
    for (int i = 0; i < 32; i++) assert_true(b[i] == (float)(i / 8 * 8 + order[i % 8]));
    bl_checkpoint_close(c);
}

/* ---- a model in parts ---- */
/* The model of gguf_llama cut after `cut` tensors; `no`, `count`, `tensors` are what part `part` says of itself. */
static void write_part(int part, int cut, uint32_t no, uint32_t count, uint32_t tensors)
{
    bl_text whole = {0}, t = {0}, keys = {0}, list = {0};
    bl_gguf *g;
    bl_err e = {0};
    const uint8_t *p;
    uint64_t n, at = 0;
    char name[64];
    gguf_llama(&whole, &(gguf_extra){0});
    assert_ok(bl_gguf_parse((uint8_t *)whole.s, whole.n, "whole", &g, &e));
    bl_gguf_metadata(g, &p, &n);
    if (part == 1) bl_text_addn(&keys, (const char *)p, n);
    key_u32(&keys, "split.no", no);
    key_u32(&keys, "split.count", count);
    key_u32(&keys, "split.tensors.count", tensors);
    size_t from = part == 1 ? 0 : (size_t)cut, to = part == 1 ? (size_t)cut : bl_gguf_tensor_count(g);
    head(&t, 3, to - from, (part == 1 ? bl_gguf_count(g) : 0) + 3);
    bl_text_addn(&t, keys.s, keys.n);
    for (size_t i = from; i < to; i++) {
        const bl_gguf_tensor *x = bl_gguf_tensor_at(g, i);
        tensor(&t, x->name, x->ndim, x->dim[0], x->ndim > 1 ? x->dim[1] : 1, 0, at);
        at += x->bytes;
        bl_text_addn(&list, whole.s + x->offset, x->bytes);
    }
    if (to > from) pad(&t, 32);
    if (list.n) bl_text_addn(&t, list.s, list.n);
    snprintf(name, sizeof name, "m-%05d-of-00002.gguf", part);
    test_write(dir, name, t.s, t.n);
    test_seed("gguf", "part", t.s, t.n);
    bl_gguf_close(g);
    bl_text_free(&whole);
    bl_text_free(&t);
    bl_text_free(&keys);
    bl_text_free(&list);
}

static bl_status open_part(int part, bl_checkpoint **c, bl_err *e)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/m-%05d-of-00002.gguf", dir, part);
    return bl_checkpoint_open(path, NULL, c, e);
}

/* llama.cpp reads the set when it is given the first part, with or without tensors in that (gguf-split, pull request
 * 6187). */
static void a_model_in_parts_is_read_from_the_first(void **state)
{
    (void)state;
    static const int cuts[] = {0, 1, 5, 10};
    bl_err e = {0};
    bl_checkpoint *whole, *c;
    bl_hash a, b;
    assert_ok(open_gguf(&(gguf_extra){0}, &whole, &e));
    assert_ok(bl_checkpoint_fingerprint(whole, &a, &e));
    for (size_t i = 0; i < BL_COUNT(cuts); i++) {
        write_part(1, cuts[i], 0, 2, 11);
        write_part(2, cuts[i], 1, 2, 11);
        assert_ok(open_part(1, &c, &e));
        assert_int_equal(bl_checkpoint_count(c), bl_checkpoint_count(whole));
        assert_string_equal(bl_checkpoint_name(c), "m");
        assert_ok(bl_checkpoint_fingerprint(c, &b, &e));
        assert_true(bl_hash_equal(a, b));
        bl_checkpoint_close(c);
    }
    bl_checkpoint_close(whole);
}

static void parts_that_do_not_fit_together_are_refused(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_checkpoint *c;
    char from[4200], to[4200];
    write_part(1, 5, 0, 2, 11);
    assert_refused(open_part(1, &c, &e), BL_E_FORMAT, "m-00002-of-00002.gguf: part 2 of 2 is missing");
    write_part(2, 5, 1, 2, 11);
    assert_refused(open_part(2, &c, &e), BL_E_FORMAT, "part 2 of 2 of a split model; give the first part");
    write_part(2, 5, 0, 2, 11);
    assert_refused(open_part(1, &c, &e), BL_E_FORMAT, "split.no is 0 and split.count 2, expected 1 and 2");
    write_part(2, 5, 1, 3, 11);
    assert_refused(open_part(1, &c, &e), BL_E_FORMAT, "split.no is 1 and split.count 3");
    write_part(2, 6, 1, 2, 11);
    assert_refused(open_part(1, &c, &e), BL_E_FORMAT, "split.tensors.count is 11, the 2 parts hold 10");
    write_part(1, 5, 0, 2, 10);
    write_part(2, 6, 1, 2, 10);
    assert_refused(open_part(1, &c, &e), BL_E_FORMAT, "tensor 'blk.0.attn_output.weight' is missing");
    write_part(1, 5, 0, 100000, 11);
    assert_refused(open_part(1, &c, &e), BL_E_FORMAT, "split.count is 100000, at most 512");
    write_part(1, 5, 0, 3, 11);
    assert_refused(open_part(1, &c, &e), BL_E_FORMAT, "whose name does not end in -00001-of-00003.gguf");
    snprintf(from, sizeof from, "%s/m-00001-of-00002.gguf", dir);
    snprintf(to, sizeof to, "%s/other.gguf", dir);
    write_part(1, 5, 0, 2, 11);
    assert_int_equal(rename(from, to), 0);
    assert_refused(bl_checkpoint_open(to, NULL, &c, &e), BL_E_FORMAT, "does not end in -00001-of-00002.gguf");
}

static void linear_scaling_is_read_in_both_spellings(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_checkpoint *c;
    assert_ok(open_gguf(&(gguf_extra){.keys = 2, .put_keys = k_linear}, &c, &e));
    assert_int_equal(bl_checkpoint_config(c)->rope, BL_ROPE_LINEAR);
    assert_float_equal(bl_checkpoint_config(c)->rope_factor, 4, 0);
    bl_checkpoint_close(c);
    assert_ok(open_gguf(&(gguf_extra){.keys = 1, .put_keys = k_old_linear}, &c, &e));
    assert_float_equal(bl_checkpoint_config(c)->rope_factor, 2, 0);
    bl_checkpoint_close(c);
    assert_ok(open_gguf(&(gguf_extra){.tensors = 1, .put_tensors = t_freqs}, &c, &e)); /* all ones: no scaling */
    assert_int_equal(bl_checkpoint_config(c)->rope, BL_ROPE_PLAIN);
    bl_checkpoint_close(c);
}

/* Divisors of LLaMA 3.1 (factor 8) for theta 500000 and head size 8, from the published rule by hand:
 * wavelengths 6.2832, 167.1, 4443, 118141. */
static float divisors[4] = {1, 1, 2.6943f, 8};
static void k_theta5(bl_text *t) { key_f32(t, "llama.rope.freq_base", 500000); }

static bl_status open_with_divisors(bl_checkpoint **c, bl_err *e)
{
    bl_text t = {0};
    char path[4200];
    gguf_llama(&t, &(gguf_extra){.keys = 1, .put_keys = k_theta5, .tensors = 1, .put_tensors = t_freqs});
    memcpy(t.s + t.n - sizeof divisors, divisors, sizeof divisors);
    test_write(dir, "m.gguf", t.s, t.n);
    snprintf(path, sizeof path, "%s/m.gguf", dir);
    bl_status st = bl_checkpoint_open(path, NULL, c, e);
    test_seed("gguf", st == BL_OK ? "llama3" : "divisors", t.s, t.n);
    bl_text_free(&t);
    return st;
}

static void divisors_become_the_parameters_they_come_from(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_checkpoint *c;
    /* 8192 / 4443 = 1.8438 turns: smooth = 0.8438 / 3 = 0.28126; 1 / ((1 - 0.28126) / 8 + 0.28126) = 2.6943 */
    assert_ok(open_with_divisors(&c, &e));
    const bl_config *o = bl_checkpoint_config(c);
    assert_int_equal(o->rope, BL_ROPE_LLAMA3);
    assert_float_equal(o->rope_factor, 8, 0);
    assert_float_equal(o->rope_low, 1, 0);
    assert_float_equal(o->rope_high, 4, 0);
    assert_int_equal(o->rope_original, 8192);
    bl_checkpoint_close(c);
    divisors[2] = 3;
    assert_refused(open_with_divisors(&c, &e), BL_E_FORMAT, "not LLaMA-3.1's rotary scaling");
    divisors[2] = 0;
    assert_refused(open_with_divisors(&c, &e), BL_E_FORMAT, "rope_freqs.weight[2] is 0");
}

static void rotary_rows_come_in_half_split_order(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_checkpoint *c;
    float q[32 * 32], row[32];
    assert_ok(open_gguf(&(gguf_extra){0}, &c, &e));
    const bl_stored *t = bl_checkpoint_find(c, "model.layers.0.self_attn.q_proj.weight");
    /* 4 heads of 8 rows: stored 0 1 2 3 4 5 6 7 is read as 0 2 4 6 1 3 5 7 */
    static const int order[8] = {0, 2, 4, 6, 1, 3, 5, 7};
    assert_ok(bl_checkpoint_dense(c, t, 0, 32, q, &e));
    for (int r = 0; r < 32; r++)
        for (int k = 0; k < 32; k++) {
            int stored = r / 8 * 8 + order[r % 8];
            assert_true(q[r * 32 + k] == 2 + (float)(stored * 32 + k) / 4096);
        }
    assert_ok(bl_checkpoint_dense(c, t, 13, 1, row, &e));
    assert_memory_equal(row, q + 13 * 32, sizeof row);
    t = bl_checkpoint_find(c, "model.layers.0.self_attn.v_proj.weight");
    assert_ok(bl_checkpoint_dense(c, t, 5, 1, row, &e));
    assert_true(row[3] == 4 + (float)(5 * 32 + 3) / 4096);
    bl_checkpoint_close(c);
}

int main(void)
{
#define WITH(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_that_are_not_what_they_should_be_are_refused),
        cmocka_unit_test(every_prefix_of_a_good_file_is_refused),
        cmocka_unit_test(odd_but_allowed_headers_are_read),
        cmocka_unit_test(values_are_found_by_key_and_type),
        WITH(models_that_are_not_a_plain_llama_are_refused),
        WITH(absent_rotary_keys_mean_what_llama_cpp_makes_of_them),
        WITH(every_key_of_yarn_windows_and_layers_is_read),
        WITH(biases_of_a_gguf_llama_are_kept_and_turned_with_their_rows),
        WITH(a_model_in_parts_is_read_from_the_first),
        WITH(parts_that_do_not_fit_together_are_refused),
        WITH(linear_scaling_is_read_in_both_spellings),
        WITH(divisors_become_the_parameters_they_come_from),
        WITH(rotary_rows_come_in_half_split_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
