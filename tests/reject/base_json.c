/* base_json.c - JSON that is refused, each with the place and the reason. */
#include "test.h"
#include "kernels/base/json.h"

#define TEXT(s) s, sizeof(s) - 1
static const struct {
    const char *text;
    size_t n;
    const char *phrase;
} rows[] = {
    {TEXT(""), "x.json: line 1, column 1: the text ends here, expected a value"},
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
    {TEXT("[\"\\u0000\"]"), "x.json: [0]: line 1, column 3: \\u0000 inside a string"},
    {TEXT("\"\\ud800\""), "half of a surrogate pair"},
    {TEXT("\"\\ud800x\""), "half of a surrogate pair"},
    {TEXT("\"\\ud800\\u0041\""), "half of a surrogate pair"},
    {TEXT("\"\\ud800\\ud800\""), "half of a surrogate pair"},
    {TEXT("\"\\udc00\""), "half of a surrogate pair"},
    {TEXT("\"\\x\""), "a backslash that begins no escape"},
    {TEXT("\"\\u12g4\""), "a backslash that begins no escape"},
    {TEXT("\"\\"), "a backslash that begins no escape"},
    {TEXT("\"abc"), "column 1: a string without an end"},
    {TEXT("\"a\nb\""), "control character 0x0a"},
    {TEXT("\"\x1f\""), "control character 0x1f"},
    {TEXT("{\"a\":1,\"a\":2}"), "x.json: key 'a' comes twice"},
    {TEXT("{\"a\":1,\"\\u0061\":2}"), "key 'a' comes twice"},
    {TEXT("{\"m\":[0,{\"k\":{},\"k\":0}]}"), "x.json: m[1]: key 'k' comes twice"},
    {TEXT("{\"1\":0,\"2\":0,\"3\":0,\"4\":0,\"5\":0,\"6\":0,\"7\":0,\"8\":0,\"9\":0,\"3\":0}"), "key '3' comes twice"},
    {TEXT("1e400"), "1e400 is not finite"},
    {TEXT("-1e999"), "-1e999 is not finite"},
    {TEXT("01"), "needless zero"},
    {TEXT("-01"), "needless zero"},
    {TEXT("+1"), "found '+', expected a value"},
    {TEXT(".5"), "found '.', expected a value"},
    {TEXT("1."), "the text ends here, expected a digit"},
    {TEXT("1.e3"), "found 'e', expected a digit"},
    {TEXT("1e"), "expected a digit"},
    {TEXT("1e+"), "expected a digit"},
    {TEXT("-"), "expected a digit"},
    {TEXT("--1"), "found '-', expected a digit"},
    {TEXT("0x10"), "found 'x', expected the end of the text"},
    {TEXT("NaN"), "found 'N', expected a value"},
    {TEXT("Infinity"), "found 'I', expected a value"},
    {TEXT("-Infinity"), "found 'I', expected a digit"},
    {TEXT("nul"), "found 'n', expected a value"},
    {TEXT("True"), "found 'T', expected a value"},
    {TEXT("truefalse"), "found 'f', expected the end of the text"},
    {TEXT("0.1234567890123456789012345678901234567890123456789012345678901234567890"),
     "a number of 72 characters, expected at most 63"},
    {TEXT("{} {}"), "column 4: found '{', expected the end of the text"},
    {TEXT("[1] \x01"), "found byte 0x01, expected the end of the text"},
    {TEXT("[1,]"), "x.json: [0]: line 1, column 3: a comma before ']'"},
    {TEXT("{\"a\":1,}"), "a comma before '}'"},
    {TEXT("[,1]"), "found ',', expected a value or ']'"},
    {TEXT("[1 2]"), "found '2', expected ',' or ']'"},
    {TEXT("[1}"), "found '}', expected ',' or ']'"},
    {TEXT("{\"a\" 1}"), "x.json: a: line 1, column 6: found '1', expected ':'"},
    {TEXT("{\"a\":}"), "found '}', expected a value"},
    {TEXT("{a:1}"), "found 'a', expected a key in quotes or '}'"},
    {TEXT("{1:1}"), "expected a key in quotes"},
    {TEXT("{'a':1}"), "expected a key in quotes"},
    {TEXT("{\"a\":{\"b\":[1,{\"c\":tru}]}}"), "x.json: a.b[1].c: line 1, column 19: found 't'"},
    {TEXT("["), "the text ends here"},
    {TEXT("{\"a\":1"), "the text ends here, expected ',' or '}'"},
    {TEXT("// no\n1"), "found '/', expected a value"},
    {TEXT("/* no */ 1"), "found '/', expected a value"},
    {TEXT("\xc2\xa0"
          "1"),
     "found byte 0xc2"},
};

static void what_is_not_strict_json_is_refused_with_its_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_json *j = NULL;
        uint64_t before = bl_alloc_live();
        char *exact = malloc(rows[i].n ? rows[i].n : 1); /* no NUL behind it: a byte too far is seen */
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
    {"/* no */ 1", "found '/'"},
    {"[1,,]", "found ',', expected a value"},
    {"[,]", "expected a value or ']'"},
    {"{,}", "expected a key"},
    {"1,", "found ',', expected the end of the text"},
    {"/ 1", "found '/'"},
    {"{\"a\" // b\n 1}", "line 2, column 2: found '1', expected ':'"},
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
    assert_refused(bl_json_real(bl_json_get(inner, "m"), &r, &e), BL_E_FORMAT,
                   "config.json: o[\"a b\"][1]: 'm' is missing, expected a number");
    assert_refused(bl_json_need(list, "x", &v, &e), BL_E_FORMAT, "found an array of 2, expected an object");
    assert_refused(bl_json_need(NULL, "x", &v, &e), BL_E_FORMAT, "is missing");
    assert_refused(bl_json_int(o, &i, &e), BL_E_FORMAT, "config.json: o: found an object, expected an integer");
    assert_refused(bl_json_str(bl_json_get(list, "x"), &s, &e), BL_E_FORMAT, "found an array of 2, expected an object");
    assert_non_null(bl_json_get(j, "s"));
    assert_refused(bl_json_str(NULL, &s, &e), BL_E_FORMAT,
                   "a value is missing, expected a string"); /* not what an earlier get missed */
    static const char *const known[] = {"sum", "f", "e", "big", "o", "long", NULL};
    assert_refused(bl_json_only(j, known, &e), BL_E_CONFIG, "config.json: unknown key 's'");
    static const char *const near[] = {"s", "f", "e", "bag", "o", "long", NULL};
    assert_refused(bl_json_only(j, near, &e), BL_E_CONFIG, "unknown key 'big'; did you mean bag?");
    assert_refused(bl_json_only(list, near, &e), BL_E_FORMAT, "expected an object");
    bl_json_free(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_strict_json_is_refused_with_its_place),
        cmocka_unit_test(comments_do_not_excuse_the_rest),
        cmocka_unit_test(depth_ends_at_64),
        cmocka_unit_test(the_number_of_values_is_bounded),
        cmocka_unit_test(wrong_types_are_refused_with_their_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
