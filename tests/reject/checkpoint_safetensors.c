/* checkpoint_safetensors.c - safetensors files that are refused, each with a sentence that says why, and odd ones that
 * are fine. */
#include "test.h"
#include "checkpoint_build.h"
#include "harness/checkpoint/safetensors.h"

/* u64 length, header, `data` zero bytes. */
static bl_status parse_bytes(uint64_t length, const char *header, size_t n, size_t data, bl_err *e)
{
    bl_safetensors *s = NULL;
    uint8_t *p = calloc(1, 8 + n + data);
    memcpy(p, &length, 8);
    memcpy(p + 8, header, n);
    bl_status st = bl_safetensors_parse(p, 8 + n + data, "f.safetensors", &s, e);
    if (n < 4096) test_seed("safetensors", st == BL_OK ? "good" : "bad", p, 8 + n + data);
    if (st == BL_OK) bl_safetensors_close(s);
    free(p);
    return st;
}

static bl_status parse(const char *header, size_t data, bl_err *e)
{
    return parse_bytes(strlen(header), header, strlen(header), data, e);
}

#define A(shape, offsets)       "{\"a\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define T(name, shape, offsets) "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static const struct {
    const char *what, *header;
    size_t data;
    const char *phrase;
} refused[] = {
    {"R6 array", "[]", 0, "does not begin with '{'"},
    {"R6 text", "\"a\"", 0, "does not begin with '{'"},
    {"R6 number", "1", 0, "does not begin with '{'"},
    {"R7 not UTF-8", "{\"\xff\":1}", 0, "not valid UTF-8"},
    {"R7 surrogate", "{\"\xed\xa0\x80\":1}", 0, "not valid UTF-8"},
    {"R7 overlong", "{\"\xc0\x80\":1}", 0, "not valid UTF-8"},
    {"R8 byte order mark", "\xef\xbb\xbf{}", 0, "does not begin with '{'"},
    {"R9 space in front", " {}", 0, "does not begin with '{'"},
    {"R10 goes on", "{}x", 0, "column 3: this is not JSON"},
    {"R10 two objects", "{}{}", 0, "column 3: this is not JSON"},
    {"R12 same name", "{" T("a", "[1]", "[0,4]") "," T("a", "[1]", "[4,8]") "}", 8, "key 'a' comes twice"},
    {"R12 escaped name", "{" T("a", "[1]", "[0,4]") "," T("\\u0061", "[1]", "[4,8]") "}", 8, "key 'a' comes twice"},
    {"R13 same field", "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     "a: key 'dtype' comes twice"},
    {"R14 no dtype", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "'dtype' is missing"},
    {"R14 no shape", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "'shape' is missing"},
    {"R14 nothing", "{\"a\":{}}", 0, "is missing"},
    {"R15 more fields", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4,
     "unknown field 'x'"},
    {"R16 dtype", "{\"a\":{\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "unknown dtype 'F33'"},
    {"R16 dtype number", "{\"a\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     "a.dtype: found 1, expected a string"},
    {"R17 backwards", A("[1]", "[4,0]"), 4, "run backwards"},
    {"R18 overlap", "{" T("a", "[2]", "[0,8]") "," T("b", "[1]", "[4,8]") "}", 8, "(overlap)"},
    {"R18 same bytes", "{" T("a", "[1]", "[0,4]") "," T("b", "[1]", "[0,4]") "}", 4, "(overlap)"},
    {"R19 hole", "{" T("a", "[1]", "[0,4]") "," T("b", "[1]", "[8,12]") "}", 12, "(hole)"},
    {"R20 begins late", A("[1]", "[4,8]"), 8, "begins at byte 4, expected 0"},
    {"R21 too short", A("[2]", "[0,8]"), 7, "ends at byte 8 of the data, the file has 7"},
    {"R21 too long", A("[2]", "[0,8]"), 9, "1 bytes after the last tensor"},
    {"R21 only bytes", "{}", 1, "1 bytes after the last tensor"},
    {"R22 shape", A("[3]", "[0,8]"), 8, "expected 12 bytes from 0"},
    {"R22 sub-byte", "{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]}}", 2, "not whole bytes"},
    {"R23 negative", A("[-1]", "[0,4]"), 4, "'shape' holds -1"},
    {"R23 fraction", A("[1.0]", "[0,4]"), 4, "a.shape[0]: found 1, expected an integer, written without fraction"},
    {"R23 exponent", A("[1e3]", "[0,4]"), 4, "a.shape[0]: found 1000, expected an integer, written without fraction"},
    {"R23 2^63", A("[9223372036854775808]", "[0,4]"), 4, "a.shape[0]: an integer beyond 2^53"},
    {"R23 text", A("[\"1\"]", "[0,4]"), 4, "found the string \"1\", expected an integer"},
    {"R23 leading zero", A("[01]", "[0,4]"), 4, "needless zero"},
    {"R23 no digits", A("[+1]", "[0,4]"), 4, "this is not JSON"},
    {"R23 list", A("[[1]]", "[0,4]"), 4, "found an array of 1, expected an integer"},
    {"R23 no list", A("1", "[0,4]"), 4, "'shape' is not a list of at most 8 numbers"},
    {"R24 product", A("[8589934592,8589934592]", "[0,4]"), 4, "shape is too large"},
    {"R24 product by 4", A("[2147483648,2147483648]", "[0,4]"), 4, "shape is too large"},
    {"R24 zero last", A("[4503599627370496,4503599627370496,0]", "[0,0]"), 0, "shape is too large"},
    {"R24 2^63 and zero", A("[0,9223372036854775808]", "[0,0]"), 0, "a.shape[1]: an integer beyond 2^53"},
    {"R25 beyond 2^53", A("[1]", "[9007199254740993,9007199254740997]"), 4, "data_offsets[0]: an integer beyond 2^53"},
    {"R25 beyond 2^64", A("[1]", "[18446744073709551616,18446744073709551620]"), 4,
     "data_offsets[0]: an integer beyond 2^53"},
    {"R25 wraps", A("[1]", "[18446744073709551612,0]"), 4, "an integer beyond 2^53"},
    {"R25 three offsets", A("[1]", "[0,4,8]"), 4, "'data_offsets' is not a list of at most 2"},
    {"R25 one offset", A("[1]", "[0]"), 4, "1 data_offsets, expected 2"},
    {"R27 NUL", "{" T("a\\u0000", "[1]", "[0,4]") "}", 4, "\\u0000 inside a string"},
    {"R27 newline", "{" T("a\\n", "[1]", "[0,4]") "}", 4, "control character"},
    {"R27 raw newline", "{" T("a\n", "[1]", "[0,4]") "}", 4, "control character"},
    {"R27 delete", "{" T("\x7f", "[1]", "[0,4]") "}", 4, "control character"},
    {"R28 number", "{\"__metadata__\":{\"a\":1}}", 0, "__metadata__.a: found 1, expected a string"},
    {"R28 list", "{\"__metadata__\":[]}", 0, "__metadata__: found an array of 0, expected an object"},
    {"R28 twice", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "key '__metadata__' comes twice"},
    {"R28 same key", "{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "__metadata__: key 'a' comes twice"},
    {"nine dimensions", A("[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "'shape' is not a list of at most 8 numbers"},
    {"half an escape", "{\"\\u12\":1}", 0, "\\u without four"},
    {"lone surrogate", "{" T("\\ud800", "[1]", "[0,4]") "}", 4, "this is not JSON"},
    {"unknown escape", "{" T("\\x", "[1]", "[0,4]") "}", 4, "this is not JSON"},
    {"no colon", "{\"a\" 1}", 0, "column 6: this is not JSON"},
    {"no value", "{\"a\":", 0, "the text ends here"},
    {"no end", "{\"a", 0, "a string without an end"},
    {"backslash at end", "{\"a\\", 0, "a string without an end"},
    {"trailing comma", "{" T("a", "[1]", "[0,4]") ",}", 4, "a comma before '}'"},
    {"tensor is a list", "{\"a\":[]}", 0, "a: found an array of 0, expected an object"},
};

static void headers_that_are_not_what_they_should_be_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(refused); i++) {
        bl_err e = {0};
        bl_status st = parse(refused[i].header, refused[i].data, &e);
        if (st != BL_E_FORMAT || !strstr(e.text, refused[i].phrase))
            fail_msg("%s: %s '%s' does not say '%s'", refused[i].what, bl_status_name(st), e.text, refused[i].phrase);
        if (strncmp(e.text, "f.safetensors: ", 15))
            fail_msg("%s: '%s' does not name the file", refused[i].what, e.text);
    }
}

static const struct {
    const char *what, *header;
    size_t data;
} accepted[] = {
    {"nothing", "{}", 0},
    {"R24 checked zero", A("[0,4503599627370496,2]", "[0,0]"), 0},
    {"R29 rank 0", A("[]", "[0,4]"), 4},
    {"R29 no elements", A("[0,3]", "[0,0]"), 0},
    {"R29 several empty", "{" T("a", "[0]", "[4,4]") "," T("b", "[1]", "[0,4]") "," T("c", "[0]", "[0,0]") "}", 4},
    {"R30 other order", "{" T("b", "[1]", "[4,8]") "," T("a", "[1]", "[0,4]") "}", 8},
    {"R31 spaces after it", "{}      \n\t ", 0},
    {"spaces inside", "{ \"a\" :\n{ \"shape\" : [ 1 , 1 ] , \"dtype\" : \"F32\" , \"data_offsets\" : [ 0 , 4 ] } }", 4},
    {"metadata",
     "{\"__metadata__\":{\"format\":\"pt\",\"x\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20ac\\ud83d\\ude00\"}}", 0},
    {"escaped name", "{" T("\\u00e9\\u20ac\\ud83d\\ude00\\\"", "[1]", "[0,4]") "}", 4},
    {"sub-byte", "{\"a\":{\"dtype\":\"F4\",\"shape\":[2],\"data_offsets\":[0,1]}}", 1},
    {"other dtype", "{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[2],\"data_offsets\":[0,2]}}", 2},
};

static void odd_but_allowed_headers_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(accepted); i++) {
        bl_err e = {0};
        if (parse(accepted[i].header, accepted[i].data, &e) != BL_OK) fail_msg("%s: %s", accepted[i].what, e.text);
    }
}

static void escapes_become_the_text_they_stand_for(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_safetensors *s = NULL;
    const char *header = "{" T("\\u0041\\u00e9\\u20ac\\ud83d\\ude00", "[1]", "[0,4]") "}";
    uint8_t p[256] = {0};
    uint64_t n = strlen(header);
    memcpy(p, &n, 8);
    memcpy(p + 8, header, n);
    assert_ok(bl_safetensors_parse(p, 8 + n + 4, "f", &s, &e));
    bl_st_tensor *t = bl_safetensors_find(s, "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    assert_non_null(t);
    assert_int_equal(t->offset, 8 + n);
    assert_int_equal(t->bytes, 4);
    assert_int_equal(bl_safetensors_data(s), 8 + n);
    assert_null(bl_safetensors_find(s, "B"));
    bl_safetensors_close(s);
}

static void lengths_that_do_not_fit_the_file_are_refused(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_safetensors *s = NULL;
    static const uint8_t few[8] = {0};
    assert_refused(bl_safetensors_parse(few, 0, "f", &s, &e), BL_E_FORMAT, "0 bytes"); /* R1 */
    assert_refused(bl_safetensors_parse(few, 7, "f", &s, &e), BL_E_FORMAT, "7 bytes"); /* R2 */
    assert_refused(bl_safetensors_parse(few, 8, "f", &s, &e), BL_E_FORMAT, "begin with '{'");
    assert_refused(parse_bytes(3, "{}", 2, 0, &e), BL_E_FORMAT, "header of 3 bytes, the file has 10"); /* R3 */
    assert_refused(parse_bytes(100000001, "{}", 2, 0, &e), BL_E_FORMAT, "at most 100000000");          /* R4 */
    assert_refused(parse_bytes(UINT64_MAX, "{}", 2, 0, &e), BL_E_FORMAT, "at most 100000000");         /* R5 */
    assert_refused(parse_bytes(UINT64_MAX - 7, "{}", 2, 0, &e), BL_E_FORMAT, "at most 100000000");
    assert_refused(parse_bytes(UINT64_C(2) << 56, "{}", 2, 0, &e), BL_E_FORMAT, "big-endian"); /* R32 */
}

static void depth_does_not_cost_stack(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_text t = {0};
    bl_text_add(&t, "{\"a\":");
    for (int i = 0; i < 2000; i++) bl_text_add(&t, "{\"a\":");
    assert_refused(parse(t.s, 0, &e), BL_E_FORMAT, "nested deeper than 64"); /* R11 */
    bl_text_free(&t);
    bl_text_add(&t, "{\"a\":{\"shape\":");
    for (int i = 0; i < 2000; i++) bl_text_add(&t, "[");
    assert_refused(parse(t.s, 0, &e), BL_E_FORMAT, "nested deeper than 64");
    bl_text_free(&t);
}

/* Judged by what is allocated, because the clock belongs to the machine. */
static void a_million_tensors_and_long_names_cost_little(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_text t = {0};
    bl_text_add(&t, "{");
    for (int i = 0; i < 1000000; i++)
        bl_text_addf(&t, "%s\"%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}", i ? "," : "", i);
    bl_text_add(&t, "}");
    uint64_t before = bl_alloc_live(), bytes = t.n;
    bl_alloc_watch_reset();
    bl_alloc_fail_at(0, false);                                                 /* counts from here */
    assert_refused(parse(t.s, 0, &e), BL_E_FORMAT, "more than 1572864 values"); /* R26 */
    assert_true(bl_alloc_count() < 100);
    assert_true(bl_alloc_peak() - before < 2 * bytes);
    bl_text_free(&t);

    bl_text_add(&t, "{");
    for (int i = 0; i < 131073; i++)
        bl_text_addf(&t, "%s\"%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}", i ? "," : "", i);
    bl_text_add(&t, "}");
    assert_int_equal(parse(t.s, 0, &e), BL_OK); /* one more key is room for __metadata__ */
    t.s[--t.n] = 0;
    bl_text_add(&t, ",\"x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}");
    assert_refused(parse(t.s, 0, &e), BL_E_FORMAT, "more than 131072 tensors");
    bl_text_free(&t);

    char *name = malloc(10 << 20); /* R27 */
    memset(name, 'x', 10 << 20);
    name[(10 << 20) - 1] = 0;
    bl_text_addf(&t, "{\"%s\":1}", name);
    bl_alloc_watch_reset();
    before = bl_alloc_live();
    assert_refused(parse(t.s, 0, &e), BL_E_FORMAT, "at most 1024");
    assert_true(bl_alloc_peak() - before < 4 * t.n);
    bl_text_free(&t);
    free(name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_that_are_not_what_they_should_be_are_refused),
        cmocka_unit_test(odd_but_allowed_headers_are_read),
        cmocka_unit_test(escapes_become_the_text_they_stand_for),
        cmocka_unit_test(lengths_that_do_not_fit_the_file_are_refused),
        cmocka_unit_test(depth_does_not_cost_stack),
        cmocka_unit_test(a_million_tensors_and_long_names_cost_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
