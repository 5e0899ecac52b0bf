/* base_json.c - JSON that is refused, each with the place and the reason. */
#include "test.h"
#include "kernels/base/json.h"

#define TEXT(s) s, sizeof(s) - 1
static const struct {
    const char *text;
    size_t n;
    const char *phrase;
} rows[] = {
    {TEXT(""), "x.json: line 1, column 1: the text ends here, before its value is complete"},
    {TEXT(" \n "), "line 2, column 2: the text ends here"},
    {TEXT("\xef\xbb\xbf{}"), "byte order mark"},
    {TEXT("{\"a\":\"\xff\"}"), "column 7: byte 0xff is not valid UTF-8"},
    {TEXT("\"\xed\xa0\x80\""), "byte 0xed is not valid UTF-8"},
    {TEXT("\"\xc0\x80\""), "byte 0xc0 is not valid UTF-8"},
    {TEXT("\"\xe0\x9f\xbf\""), "byte 0xe0 is not valid UTF-8"},
    {TEXT("\"\xf4\x90\x80\x80\""), "byte 0xf4 is not valid UTF-8"},
    {TEXT("\"abc\xe2\x82"), "byte 0xe2 is not valid UTF-8"},
    {TEXT("\"a\0b\""), "column 3: a NUL byte"},
    {TEXT("1\0"), "a NUL byte"},
    {TEXT("[\"\\u0000\"]"), "x.json: line 1, column 3: \\u0000 inside a string"},
    {TEXT("\"\\ud800\""), "this is not JSON: \"\\ud"},
    {TEXT("\"\\ud800x\""), "this is not JSON: \"\\ud"},
    {TEXT("\"\\ud800\\u0041\""), "this is not JSON: \"\\ud"},
    {TEXT("\"\\ud800\\ud800\""), "this is not JSON: \"\\ud"},
    {TEXT("\"\\udc00\""), "this is not JSON: \"\\ud"},
    {TEXT("\"\\x\""), "column 2: this is not JSON: \"\\x\""},
    {TEXT("\"\\u12g4\""), "\\u without four hexadecimal digits"},
    {TEXT("\"\\"), "a string without an end"},
    {TEXT("\"\\u12"), "\\u without four hexadecimal digits"},
    {TEXT("\"abc"), "column 1: a string without an end"},
    {TEXT("\"a\nb\""), "control character 0x0a"},
    {TEXT("\"\x1f\""), "control character 0x1f"},
    {TEXT("{\"a\":1,\"a\":2}"), "x.json: key 'a' comes twice"},
    {TEXT("{\"a\":1,\"\\u0061\":2}"), "key 'a' comes twice"},
    {TEXT("{\"m\":[0,{\"k\":{},\"k\":0}]}"), "x.json: m[1]: key 'k' comes twice"},
    {TEXT("{\"1\":0,\"2\":0,\"3\":0,\"4\":0,\"5\":0,\"6\":0,\"7\":0,\"8\":0,\"9\":0,\"3\":0}"), "key '3' comes twice"},
    {TEXT("1e400"), "x.json: the number is not finite"},
    {TEXT("{\"a\":[0,-1e999]}"), "x.json: a[1]: the number is not finite"},
    {TEXT("01"), "needless zero"},
    {TEXT("-01"), "needless zero"},
    {TEXT("+1"), "line 1, column 1: this is not JSON: +1"},
    {TEXT(".5"), "this is not JSON: .5"},
    {TEXT("1."), "the text ends here, expected a digit"},
    {TEXT("1.e3"), "found 'e', expected a digit"},
    {TEXT("1e"), "expected a digit"},
    {TEXT("1e+"), "expected a digit"},
    {TEXT("-"), "expected a digit"},
    {TEXT("--1"), "found '-', expected a digit"},
    {TEXT("0x10"), "column 2: this is not JSON: 0x10"},
    {TEXT("NaN"), "this is not JSON: NaN"},
    {TEXT("Infinity"), "this is not JSON: Infinity"},
    {TEXT("-Infinity"), "found 'I', expected a digit"},
    {TEXT("nul"), "this is not JSON: nul"},
    {TEXT("True"), "this is not JSON: True"},
    {TEXT("truefalse"), "column 5: this is not JSON: truefalse"},
    {TEXT("0.1234567890123456789012345678901234567890123456789012345678901234567890"),
     "a number of 72 characters, expected at most 63"},
    {TEXT("{} {}"), "column 4: this is not JSON: {} {}"},
    {TEXT("[1] \x01"), "column 5: byte 0x01 between values"},
    {TEXT("[1,]"), "x.json: line 1, column 3: a comma before ']'"},
    {TEXT("{\"a\":1,}"), "a comma before '}'"},
    {TEXT("[,1]"), "column 2: this is not JSON: [,1]"},
    {TEXT("[1 2]"), "column 4: this is not JSON: [1 2]"},
    {TEXT("[1}"), "column 3: this is not JSON: [1}"},
    {TEXT("{\"a\" 1}"), "column 6: this is not JSON: {\"a\" 1}"},
    {TEXT("{\"a\":}"), "column 6: this is not JSON: {\"a\":}"},
    {TEXT("{a:1}"), "this is not JSON: {a:1}"},
    {TEXT("{1:1}"), "this is not JSON: {1:1}"},
    {TEXT("{'a':1}"), "this is not JSON: {'a':1}"},
    {TEXT("{\"a\":{\"b\":[1,{\"c\":tru}]}}"), "line 1, column 19: this is not JSON: …a\":{\"b\":[1,{\"c\":tru}]}}"},
    {TEXT("["), "the text ends here"},
    {TEXT("{\"a\":1"), "the text ends here"},
    {TEXT("// no\n1"), "this is not JSON: /"},
    {TEXT("/* no */ 1"), "this is not JSON: /"},
    {TEXT("\xc2\xa0"
          "1"),
     "column 1: this is not JSON: \xc2\xa0"
     "1"},
};

static void what_is_not_strict_json_is_refused_with_its_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_json *j = NULL;
        uint64_t before = bl_alloc_live();
        char *exact = malloc(rows[i].n ? rows[i].n : 1); /* no NUL after it: a byte too far is seen */
        memcpy(exact, rows[i].text, rows[i].n);
        assert_refused(bl_json_parse(exact, rows[i].n, "x.json", BL_JSON_PLAIN, &j, &e), BL_E_FORMAT, rows[i].phrase);
        assert_null(j);
        assert_int_equal(strncmp(e.text, "x.json: ", 8), 0);
        assert_int_equal(bl_alloc_live(), before);
        assert_int_equal(bl_json_parse(exact, rows[i].n, "x.json", BL_JSON_PLAIN, &j, NULL), BL_E_FORMAT);
        free(exact);
    }
}

static const struct {
    const char *text, *phrase;
} with_comments[] = {
    {"/* no */ 1", "this is not JSON: /* no */ 1"},
    {"[1,,]", "column 4: this is not JSON: [1,,]"},
    {"[,]", "this is not JSON: [,]"},
    {"{,}", "this is not JSON: {,}"},
    {"1,", "this is not JSON: 1,"},
    {"/ 1", "this is not JSON: / 1"},
    {"{\"a\" // b\n 1}", "line 2, column 2: this is not JSON: … 1}"},
    {"// only a comment", "the text ends here"},
};

static void comments_do_not_excuse_the_rest(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(with_comments); i++) {
        bl_err e = {0};
        bl_json *j;
        assert_refused(
            bl_json_parse(with_comments[i].text, strlen(with_comments[i].text), "spec", BL_JSON_COMMENTS, &j, &e),
            BL_E_FORMAT, with_comments[i].phrase);
    }
}

static char *repeated(const char *s, size_t times)
{
    bl_text t = {0};
    for (size_t i = 0; i < times; i++) bl_text_add(&t, s);
    return t.s;
}

static void depth_ends_at_64(void **state)
{
    (void)state;
    bl_err e;
    bl_json *j;
    static const char *const opening[] = {"[", "{\"k\":"};
    for (int k = 0; k < 2; k++) {
        char *deep = repeated(opening[k], 2000);
        assert_refused(bl_json_parse(deep, strlen(deep), "x", BL_JSON_PLAIN, &j, &e), BL_E_FORMAT,
                       "nested deeper than 64");
        bl_free(deep);
    }
    char text[200];
    for (int depth = 64; depth <= 65; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        bl_status st = bl_json_parse(text, (size_t)depth * 2, "x", BL_JSON_PLAIN, &j, &e);
        assert_int_equal(st, depth == 64 ? BL_OK : BL_E_FORMAT);
        if (st == BL_OK) bl_json_free(j);
    }
}

static void the_number_of_values_is_bounded(void **state)
{
    (void)state;
    bl_err e;
    bl_json *j;
    size_t n = 2 * 8000001;
    char *text = bl_new(n + 2, 1, &e);
    text[0] = '[';
    for (size_t i = 1; i < n; i++) text[i] = i % 2 ? '0' : ',';
    text[n] = ']';
    assert_refused(bl_json_parse(text, n + 1, "x", BL_JSON_PLAIN, &j, &e), BL_E_FORMAT, "more than 8000000 values");
    bl_free(text);
}

static void wrong_types_are_refused_with_their_path(void **state)
{
    (void)state;
    static const char text[] = "{\"s\":\"four\",\"f\":2.5,\"e\":1e3,\"big\":9007199254740993,\"o\":{\"a "
                               "b\":[true,{\"n\":null}]},\"long\":\"0123456789012345678901234567890123456789"
                               "01234567890123456789012345678901234567890123456789\"}";
    bl_err e = {0};
    bl_json *j;
    int64_t i;
    double r;
    bool b;
    const char *s;
    const bl_json *v;
    assert_ok(bl_json_parse(text, sizeof text - 1, "config.json", BL_JSON_PLAIN, &j, &e));
    assert_refused(bl_json_get_int(j, "s", &i, &e), BL_E_FORMAT,
                   "config.json: s: found the string \"four\", expected an integer");
    assert_refused(bl_json_get_int(j, "f", &i, &e), BL_E_FORMAT, "config.json: f: found 2.5, expected an integer");
    assert_refused(bl_json_get_int(j, "e", &i, &e), BL_E_FORMAT, "without fraction and exponent");
    assert_refused(bl_json_get_int(j, "big", &i, &e), BL_E_FORMAT, "beyond 2^53");
    assert_refused(bl_json_get_int(j, "none", &i, &e), BL_E_FORMAT, "config.json: 'none' is missing");
    assert_refused(bl_json_get_str(j, "f", &s, &e), BL_E_FORMAT, "expected a string");
    assert_refused(bl_json_get_real(j, "s", &r, &e), BL_E_FORMAT, "expected a number");
    assert_refused(bl_json_get_int(j, "long", &i, &e), BL_E_FORMAT, "\xe2\x80\xa6\"");
    const bl_json *o = bl_json_get(j, "o"), *list = bl_json_get(o, "a b"), *inner = bl_json_next(bl_json_first(list));
    assert_refused(bl_json_int(bl_json_first(list), &i, &e), BL_E_FORMAT,
                   "config.json: o[\"a b\"][0]: found true, expected an integer");
    assert_refused(bl_json_bool(bl_json_get(inner, "n"), &b, &e), BL_E_FORMAT,
                   "config.json: o[\"a b\"][1].n: found null, expected true or false");
    assert_refused(bl_json_get_real(inner, "m", &r, &e), BL_E_FORMAT, "config.json: o[\"a b\"][1]: 'm' is missing");
    assert_refused(bl_json_get_bool(inner, "n", &b, &e), BL_E_FORMAT, "[1].n: found null, expected true or false");
    assert_refused(bl_json_need(list, "x", &v, &e), BL_E_FORMAT, "found an array of 2, expected an object");
    assert_refused(bl_json_need(NULL, "x", &v, &e), BL_E_FORMAT, "is missing");
    assert_refused(bl_json_int(o, &i, &e), BL_E_FORMAT, "config.json: o: found an object, expected an integer");
    assert_refused(bl_json_get_str(list, "x", &s, &e), BL_E_FORMAT, "found an array of 2, expected an object");
    assert_null(bl_json_get(j, "x"));
    assert_refused(bl_json_str(NULL, &s, &e), BL_E_FORMAT, "a value is missing, expected a string");
    static const char *const known[] = {"sum", "f", "e", "big", "o", "long", NULL};
    assert_refused(bl_json_only(j, known, &e), BL_E_CONFIG,
                   "config.json: unknown key 's'; expected sum, f, e, big, o, long");
    static const char *const near[] = {"s", "f", "e", "bag", "o", "long", NULL};
    assert_refused(bl_json_only(j, near, &e), BL_E_CONFIG, "unknown key 'big'; did you mean bag?");
    assert_refused(bl_json_only(list, near, &e), BL_E_FORMAT, "expected an object");
    bl_json_free(j);
}

/* Files of a value a line: the line is in the name already. */
static void of_a_line_only_the_column_is_said(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_json *j = NULL;
    assert_refused(bl_json_parse("{\"a\": }", 7, "x.jsonl: line 3", BL_JSON_PLAIN, &j, &e), BL_E_FORMAT,
                   "x.jsonl: line 3, column 7: ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_strict_json_is_refused_with_its_place),
        cmocka_unit_test(comments_do_not_excuse_the_rest),
        cmocka_unit_test(of_a_line_only_the_column_is_said),
        cmocka_unit_test(depth_ends_at_64),
        cmocka_unit_test(the_number_of_values_is_bounded),
        cmocka_unit_test(wrong_types_are_refused_with_their_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
