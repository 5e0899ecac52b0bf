/* checkpoint_gguf.c - headers of GGUF files that are refused, each with a sentence that says why, and odd ones that are
 * fine. What makes no model: checkpoint_gguf_model.c. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_that_are_not_what_they_should_be_are_refused),
        cmocka_unit_test(every_prefix_of_a_good_file_is_refused),
        cmocka_unit_test(odd_but_allowed_headers_are_read),
        cmocka_unit_test(values_are_found_by_key_and_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
