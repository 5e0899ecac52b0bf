/* csv.h on records that fit on a line of paper. */
#include "test.h"
#include "harness/data/csv.h"
#include "kernels/base/json.h"

static const char *const two[] = {"a", "b", NULL};

/* All records of a text as JSON, a line each. */
static bl_status all(const char *text, const char *const *columns, bl_text *out, bl_err *e)
{
    bl_csv *c = NULL;
    const char *json;
    size_t n;
    int64_t line;
    bl_status st = bl_csv_open("t.csv", text, strlen(text), columns, 40, &c, e);
    out->n = 0;
    while (st == BL_OK && (st = bl_csv_next(c, &json, &n, &line, e)) == BL_OK && json)
        bl_text_addf(out, "%lld %.*s\n", (long long)line, (int)n, json);
    bl_csv_close(c);
    return st;
}

static void records_are_those_of_rfc_4180(void **state)
{
    static const struct {
        const char *text;
        bool header;
        const char *want;
    } rows[] = {
        {"aaa,bbb\r\nzzz,yyy\r\n", false, "1 {\"a\": \"aaa\", \"b\": \"bbb\"}\n2 {\"a\": \"zzz\", \"b\": \"yyy\"}\n"},
        {"aaa,bbb\nzzz,yyy", false, "1 {\"a\": \"aaa\", \"b\": \"bbb\"}\n2 {\"a\": \"zzz\", \"b\": \"yyy\"}\n"},
        {"x,y\n1,2\n", true, "2 {\"x\": \"1\", \"y\": \"2\"}\n"},
        {"\"aa\"\"a\",\"b\r\nb,\"\n\n1,\n", false,
         "1 {\"a\": \"aa\\\"a\", \"b\": \"b\\r\\nb,\"}\n4 {\"a\": \"1\", \"b\": \"\"}\n"},
        {",\n", false, "1 {\"a\": \"\", \"b\": \"\"}\n"},
        {" a , b \n", false, "1 {\"a\": \" a \", \"b\": \" b \"}\n"}, /* spaces are part of a field */
        {"\n\r\n", false, ""},
    };
    bl_text got = {0};
    bl_err e = {0};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        assert_ok(all(rows[i].text, rows[i].header ? NULL : two, &got, &e));
        if (strcmp(got.n ? got.s : "", rows[i].want)) fail_msg("row %zu:\n%s\nwanted\n%s", i, got.s, rows[i].want);
    }
    bl_text_free(&got);
}

static void what_is_no_record_is_refused_with_its_line(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"1,2\n1,2,3\n", "t.csv:2: 3 fields, expected 2: a, b"},
        {"1,2\n1\n", "t.csv:2: 1 fields, expected 2: a, b"},
        {"1,\"a\nb\"\n1,\"never\n", "t.csv:3: a field's quote is not closed"},
        {"1,\"a\"b\n", "t.csv:1: text after a field's closing quote"},
        {"1,a\"b\"\n", "t.csv:1: a quote inside a field without quotes"},
        {"1,2\n1,abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz\n",
         "t.csv:2: a row of 54 bytes, expected at most 40"},
    };
    bl_text got = {0};
    bl_err e = {0};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++)
        assert_refused(all(rows[i].text, two, &got, &e), BL_E_FORMAT, rows[i].says);
    bl_text_free(&got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_those_of_rfc_4180),
        cmocka_unit_test(what_is_no_record_is_refused_with_its_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
