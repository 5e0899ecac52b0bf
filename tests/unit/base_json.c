/* base_json.c - what is read from JSON and written to it. */
#include "test.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"
#include <math.h>

static bl_json *parsed(const char *text, bl_json_flags f)
{
    bl_err e;
    bl_json *j = NULL;
    assert_ok(bl_json_parse(text, strlen(text), "text", f, &j, &e));
    return j;
}

static void values_have_their_kinds_and_order(void **state)
{
    (void)state;
    bl_json *j = parsed(" { \"a\" : [ 1 , true , null, \"x\" , { } , [ ] ] , \"A\":false, \"\":-0 } \n", BL_JSON_PLAIN);
    static const bl_json_type want[] = {BL_JSON_NUMBER, BL_JSON_BOOL,   BL_JSON_NULL,
                                        BL_JSON_STRING, BL_JSON_OBJECT, BL_JSON_ARRAY};
    assert_int_equal(bl_json_kind(j), BL_JSON_OBJECT);
    assert_int_equal(bl_json_size(j), 3);
    const bl_json *a = bl_json_get(j, "a");
    assert_int_equal(bl_json_size(a), BL_COUNT(want));
    size_t n = 0;
    for (const bl_json *v = bl_json_first(a); v; v = bl_json_next(v), n++) {
        assert_int_equal(bl_json_kind(v), want[n]);
        assert_null(bl_json_key(v));
    }
    assert_int_equal(n, BL_COUNT(want));
    bool b = true;
    assert_int_equal(bl_json_bool(bl_json_get(j, "A"), &b, NULL), BL_OK);
    assert_false(b);
    double r;
    int64_t i;
    assert_int_equal(bl_json_get_real(j, "", &r, NULL), BL_OK);
    assert_true(r == 0 && signbit(r));
    assert_int_equal(bl_json_get_int(j, "", &i, NULL), BL_OK);
    assert_int_equal(i, 0);
    assert_string_equal(bl_json_key(bl_json_first(j)), "a");
    assert_null(bl_json_get(j, "b"));
    assert_null(bl_json_get(a, "b"));
    assert_null(bl_json_get(NULL, "b"));
    assert_null(bl_json_first(NULL));
    assert_null(bl_json_next(NULL));
    assert_null(bl_json_key(NULL));
    assert_int_equal(bl_json_kind(NULL), BL_JSON_NULL);
    assert_int_equal(bl_json_size(NULL), 0);
    bl_json_free(j);
    bl_json_free(NULL);
}

static void integers_are_exact_up_to_2_53(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        int64_t want;
    } rows[] = {
        {"0", true, 0},
        {"-1", true, -1},
        {"2147483648", true, 2147483648},
        {"999999999999999", true, 999999999999999},
        {"9007199254740991", true, 9007199254740991},
        {"9007199254740992", true, 9007199254740992},
        {"-9007199254740992", true, -9007199254740992},
        {"9007199254740993", false, 0},
        {"-9007199254740993", false, 0},
        {"9223372036854775808", false, 0},
        {"18446744073709551616", false, 0},
        {"100000000000000000000000000000000000000", false, 0},
        {"1.0", false, 0},
        {"1e3", false, 0},
        {"5E-1", false, 0},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_json *j = parsed(rows[i].text, BL_JSON_PLAIN);
        int64_t got = 0;
        double real;
        assert_int_equal(bl_json_int(j, &got, NULL), rows[i].ok ? BL_OK : BL_E_FORMAT);
        assert_int_equal(got, rows[i].want);
        assert_int_equal(bl_json_real(j, &real, NULL), BL_OK);
        assert_true(real == strtod(rows[i].text, NULL));
        bl_json_free(j);
    }
}

static void escapes_are_decoded(void **state)
{
    (void)state;
    bl_json *j = parsed("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\", \"\\u00e9\\u20AC\\ud83d\\ude00\", \"h\xc3\xa9\", \"\"]",
                        BL_JSON_PLAIN);
    static const char *const want[] = {"\"\\/\b\f\n\r\t", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "h\xc3\xa9", ""};
    size_t n = 0;
    for (const bl_json *v = bl_json_first(j); v; v = bl_json_next(v), n++) {
        const char *s;
        assert_int_equal(bl_json_str(v, &s, NULL), BL_OK);
        assert_string_equal(s, want[n]);
    }
    assert_int_equal(n, 4);
    bl_json_free(j);
}

static void comments_and_trailing_commas_are_accepted_when_asked(void **state)
{
    (void)state;
    bl_json *j = parsed("// a spec\n{ // open\n \"url\": \"http://x//y\", // not in a string\n \"l\": [1, 2, // two\n "
                        "], \"o\": {\"a\":[{},],},\n} // end",
                        BL_JSON_COMMENTS);
    bl_text t = {0};
    bl_json_put_node(&t, j);
    assert_string_equal(t.s, "{\"url\":\"http://x//y\",\"l\":[1,2],\"o\":{\"a\":[{}]}}");
    bl_text_free(&t);
    bl_json_free(j);
}

static void strings_are_escaped_and_stay_readable(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        size_t n;
        const char *want;
    } rows[] = {
        {"plain", 5, "\"plain\""},
        {"\"\\\n\r\t\b\f\x01\x1f", 9, "\"\\\"\\\\\\n\\r\\t\\b\\f\\u0001\\u001f\""},
        {"h\xc3\xa9 \xf0\x9f\x98\x80", 8, "\"h\xc3\xa9 \xf0\x9f\x98\x80\""},
        {"a\0b", 3,
         "\"a\xef\xbf\xbd"
         "b\""},
        {"\xff"
         "a\xfe\xfe",
         4,
         "\"\xef\xbf\xbd"
         "a\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xe2\x82", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\""},
        {"", 0, "\"\""},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_text t = {0};
        bl_json_put_str(&t, rows[i].in, rows[i].n);
        assert_string_equal(t.s, rows[i].want);
        bl_json_free(parsed(t.s, BL_JSON_PLAIN));
        bl_text_free(&t);
    }
}

static void numbers_that_are_not_finite_are_not_written(void **state)
{
    (void)state;
    double bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < BL_COUNT(bad); i++) {
        bl_text t = {0};
        bl_json_put_real(&t, bad[i]);
        assert_string_equal(t.s, "null");
        assert_true(t.failed);
        bl_text_free(&t);
    }
}

static void known_keys_pass(void **state)
{
    (void)state;
    static const char *const known[] = {"a", "b", NULL};
    bl_json *j = parsed("{\"b\":1}", BL_JSON_PLAIN), *empty = parsed("{}", BL_JSON_PLAIN);
    assert_int_equal(bl_json_only(j, known, NULL), BL_OK);
    assert_int_equal(bl_json_only(empty, known, NULL), BL_OK);
    bl_json_free(j);
    bl_json_free(empty);
}

static void a_file_is_named_by_its_path(void **state)
{
    (void)state;
    bl_err e;
    bl_json *j;
    char dir[4096], path[4200];
    snprintf(dir, sizeof dir, "%s", test_dir());
    snprintf(path, sizeof path, "%s/config.json", dir);
    assert_ok(bl_write_file(path, "{\"n\":01}", 8, &e));
    assert_refused(bl_json_read(path, 100, BL_JSON_PLAIN, &j, &e), BL_E_FORMAT,
                   "config.json: line 1, column 6: a number begins with a needless zero");
    assert_int_equal(strncmp(e.text, path, strlen(path)), 0);
    assert_refused(bl_json_read(path, 7, BL_JSON_PLAIN, &j, &e), BL_E_FORMAT, "8 bytes, expected at most 7");
    assert_ok(bl_write_file(path, "{\"n\":1}", 7, &e));
    assert_ok(bl_json_read(path, 7, BL_JSON_PLAIN, &j, &e));
    bl_json_free(j);
    assert_ok(bl_remove_tree(dir, &e));
}

/* Work is counted in allocations, because the clock belongs to the machine: a few for each value and no list that is
 * built again and again. */
static void large_objects_cost_memory_in_proportion(void **state)
{
    (void)state;
    enum { KEYS = 300000 };
    bl_text t = {0};
    bl_text_add(&t, "{\"vocab\":{");
    for (int i = 0; i < KEYS; i++) bl_text_addf(&t, "%s\"token-number-%d\":%d", i ? "," : "", i, i);
    bl_text_add(&t, "}}");
    uint64_t before = bl_alloc_live();
    bl_alloc_watch_reset();
    bl_alloc_fail_at(0, false); /* counts from here */
    bl_json *j = parsed(t.s, BL_JSON_PLAIN);
    assert_true(bl_alloc_count() < 4 * KEYS); /* cJSON: a node, a key, a text of the number */
    assert_true(bl_alloc_peak() - before < (uint64_t)KEYS * 320);
    assert_true(bl_alloc_live() - before < (uint64_t)KEYS * 80);
    assert_int_equal(bl_json_size(bl_json_get(j, "vocab")), KEYS);
    bl_json_free(j);
    assert_int_equal(bl_alloc_live(), before);
    bl_text_free(&t);
}

static void a_real_tokenizer_is_read(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_MODELS");
    bl_err e;
    bl_json *j;
    const char *path = test_path("BITLADDER_MODELS", "tokenizers/llama3/tokenizer.json");
    if (!bl_exists(path)) skip();
    assert_ok(bl_json_read(path, 1 << 28, BL_JSON_PLAIN, &j, &e));
    const bl_json *model = bl_json_get(j, "model");
    assert_int_equal(bl_json_size(bl_json_get(model, "vocab")), 128000);
    assert_int_equal(bl_json_size(bl_json_get(model, "merges")), 280147);
    bl_json_free(j);
}

static void documents_are_written_with_commas_and_keys_in_place(void **state)
{
    (void)state;
    bl_err e;
    bl_text t = {0};
    bl_json_out o = {.t = &t};
    bl_json *old = parsed("{\"x\":[1,\"y\"]}", BL_JSON_PLAIN);
    bl_json_object(&o, NULL);
    bl_json_add_str(&o, "model", "a \"b\"");
    bl_json_add_strn(&o, "cut", "abc", 2);
    bl_json_add_str(&o, "none", NULL);
    bl_json_add_int(&o, "least", INT64_MIN);
    bl_json_add_real(&o, "tenth", 0.1);
    bl_json_add_maybe(&o, "unknown", NAN);
    bl_json_add_bool(&o, "tied", true);
    bl_json_add_node(&o, "node", old);
    bl_json_add_text(&o, "text", "{}");
    bl_json_array(&o, "list");
    bl_json_add_int(&o, NULL, 1);
    bl_json_add_int(&o, NULL, 2);
    bl_json_end(&o);
    bl_json_array(&o, "empty");
    bl_json_end(&o);
    bl_json_lines(&o, "rows");
    for (int i = 0; i < 2; i++) {
        bl_json_object(&o, NULL);
        bl_json_add_int(&o, "i", i);
        bl_json_end(&o);
    }
    bl_json_end(&o);
    bl_json_lines(&o, "no rows");
    bl_json_end(&o);
    bl_json_end(&o);
    assert_ok(bl_text_check(&t, &e));
    assert_string_equal(
        t.s, "{\"model\": \"a \\\"b\\\"\", \"cut\": \"ab\", \"none\": null, \"least\": -9223372036854775808, "
             "\"tenth\": 0.10000000000000001, \"unknown\": null, \"tied\": true, "
             "\"node\": {\"x\":[1,\"y\"]}, \"text\": {}, \"list\": [1, 2], \"empty\": [], "
             "\"rows\": [\n {\"i\": 0},\n {\"i\": 1}\n], \"no rows\": []}");
    bl_json_free(parsed(t.s, BL_JSON_PLAIN));
    bl_json_free(old);
    bl_text_free(&t);

    o = (bl_json_out){.t = &t, .compact = true};
    bl_json_object(&o, NULL);
    bl_json_array(&o, "a");
    bl_json_add_int(&o, NULL, 1);
    bl_json_add_maybe(&o, NULL, 0.5);
    bl_json_end(&o);
    bl_json_add_bool(&o, "b", false);
    bl_json_end(&o);
    assert_string_equal(t.s, "{\"a\":[1,0.5],\"b\":false}");
    bl_json_add_real(&o, NULL, NAN);
    assert_int_equal(bl_text_check(&t, &e), BL_E_NOMEM);
    bl_text_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_have_their_kinds_and_order),
        cmocka_unit_test(integers_are_exact_up_to_2_53),
        cmocka_unit_test(escapes_are_decoded),
        cmocka_unit_test(comments_and_trailing_commas_are_accepted_when_asked),
        cmocka_unit_test(strings_are_escaped_and_stay_readable),
        cmocka_unit_test(numbers_that_are_not_finite_are_not_written),
        cmocka_unit_test(known_keys_pass),
        cmocka_unit_test(a_file_is_named_by_its_path),
        cmocka_unit_test(large_objects_cost_memory_in_proportion),
        cmocka_unit_test(a_real_tokenizer_is_read),
        cmocka_unit_test(documents_are_written_with_commas_and_keys_in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
