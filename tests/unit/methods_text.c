/* Method names, their canonical text and JSON, and what is refused. */
#include "test.h"
#include "methods/registry.h"

static const struct {
    const char *text, *want;
} canonical[] = {
    {"base", "base"},
    {"fp16", "fp16"},
    {"rtn", "rtn:w4"},
    {"rtn:w4", "rtn:w4"},
    {"rtn:w4g128", "rtn:w4"},
    {"rtn:w4g64", "rtn:w4g64"},
    {"rtn:g64w4", "rtn:w4g64"},
    {"rtn:w3pc", "rtn:w3pc"},
    {"rtn:w3g-1", "rtn:w3pc"},
    {"rtn:w8a8pc+symmetric", "rtn:w8a8pc+symmetric"},
    {"rtn+wbits=3+group=64", "rtn:w3g64"},
    {"rtn:w2+range=minmax+scale=fp32", "rtn:w2+range=minmax+scale=fp32"},
    {"rtn:w2+scale=fp32+range=minmax", "rtn:w2+range=minmax+scale=fp32"}, /* order of the rows */
    {"rtn:w2+range=zero+scale=fp16", "rtn:w2"},
    {"rtn+symmetric=false", "rtn:w4"},
    {"rtn:w4+head+embeddings", "rtn:w4+head+embeddings"},
    {"rtn:w1+symmetric+range=clip", "rtn:w1"},           /* neither applies to one bit */
    {"rtn:w4+symmetric+range=clip", "rtn:w4+symmetric"}, /* no zero point to clip */
};

static void text_has_one_form(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(canonical); i++) {
        bl_err e = {0};
        bl_method_choice c, d;
        assert_ok(bl_method_parse(bl_methods, canonical[i].text, &c, &e));
        assert_string_equal(c.text, canonical[i].want);
        assert_ok(bl_method_parse(bl_methods, c.text, &d, &e)); /* and reads back as itself */
        assert_string_equal(d.text, c.text);
        bl_text a = {0}, b = {0};
        assert_ok(bl_method_json(c.method, c.opts, &a, &e));
        assert_ok(bl_method_json(d.method, d.opts, &b, &e));
        assert_string_equal(a.s, b.s);
        bl_text_free(&a);
        bl_text_free(&b);
        bl_method_choice_free(&d);
        bl_method_choice_free(&c);
    }
}

static void json_goes_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(canonical); i++) {
        bl_err e = {0};
        bl_method_choice c, d;
        bl_json *j;
        bl_text t = {0};
        assert_ok(bl_method_parse(bl_methods, canonical[i].text, &c, &e));
        assert_ok(bl_method_json(c.method, c.opts, &t, &e));
        assert_ok(bl_json_parse(t.s, t.n, "options", BL_JSON_PLAIN, &j, &e));
        assert_ok(bl_method_from_json(c.method, j, &d, &e));
        bl_json_free(j);
        assert_string_equal(d.text, c.text);
        bl_text_free(&t);
        bl_method_choice_free(&d);
        bl_method_choice_free(&c);
    }
}

static void options_as_json_show_every_row(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_method_choice c;
    bl_text t = {0};
    assert_ok(bl_method_parse(bl_methods, "rtn:w3g64", &c, &e));
    assert_ok(bl_method_json(c.method, c.opts, &t, &e));
    assert_string_equal(t.s, "{\"wbits\":3,\"group\":64,\"abits\":0,\"symmetric\":false,\"range\":\"zero\",\"scale\":"
                             "\"fp16\",\"head\":false,\"embeddings\":false}");
    bl_text_free(&t);
    bl_method_choice_free(&c);
}

static void what_cannot_be_is_refused_with_a_sentence(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"rnt:w4", "no method 'rnt'; did you mean rtn?"},
        {"", "no method ''"},
        {"rtn:w0", "wbits: 0 is not in 1..8"},
        {"rtn:w9", "wbits: 9 is not in 1..8"},
        {"rtn:w2.5", "wbits: "},
        {"rtn:wfour", "four"},
        {"rtn:w4g0", "group: 0"},
        {"rtn:w4g-2", "group: -2"},
        {"rtn:w4a9", "abits: 9"},
        {"rtn:w4a1", "abits"},
        {"rtn:w4w3", "wbits is given twice"},
        {"rtn:w4+wbits=3", "wbits is given twice"},
        {"rtn:", "nothing behind ':'"},
        {"rtn:w4+", "nothing behind '+'"},
        {"rtn:w4x", "'x' is not like w4"},
        {"rtn:w4+rnage=clip", "did you mean range"},
        {"rtn:w4+range", "range needs a value"},
        {"rtn:w4+range=wide", "zero, minmax, clip"},
        {"rtn:w4+group=99999999999999999999", "group"},
        {"base:w4", "method base: unknown option 'wbits'"},
        {"fp16+group=64", "method fp16: unknown option 'group'"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_method_choice c = {0};
        assert_refused(bl_method_parse(bl_methods, rows[i].text, &c, &e), BL_E_CONFIG, rows[i].says);
        assert_null(c.opts);
    }
}

static void json_that_cannot_be_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *json, *says;
    } rows[] = {
        {"{\"wbits\":0}", "wbits"},         {"{\"wbits\":2.5}", "wbits"}, {"{\"wbits\":\"four\"}", "four"},
        {"{\"group\":0}", "group"},         {"{\"gruop\":64}", "group"},  {"[4]", "options are an object"},
        {"{\"range\":\"wide\"}", "minmax"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_json *j;
        bl_method_choice c;
        assert_ok(bl_json_parse(rows[i].json, strlen(rows[i].json), "spec", BL_JSON_PLAIN, &j, &e));
        assert_refused(bl_method_from_json(bl_methods[3], j, &c, &e), BL_E_CONFIG, rows[i].says);
        bl_json_free(j);
    }
}

static void every_method_says_what_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; bl_methods[i]; i++) {
        const bl_method *m = bl_methods[i];
        bl_err e = {0};
        bl_method_choice c;
        assert_true(m->version >= 1);
        assert_true(m->title && m->cite && m->doc);
        assert_true(m->as_stored || m->model || m->block || m->layer || m->train);
        assert_ok(bl_method_parse(bl_methods, m->name, &c, &e)); /* defaults are valid */
        bl_method_choice_free(&c);
    }
}

static void survives_failure_of_every_allocation(void **state)
{
    (void)state;
    bl_err e = {0};
    uint64_t live = bl_alloc_live();
    for (uint64_t k = 1;; k++) {
        bl_method_choice c = {0};
        bl_alloc_fail_at(k, false);
        bl_status st = bl_method_parse(bl_methods, "rtn:w3g64+range=clip", &c, &e);
        bool reached = bl_alloc_count() >= k;
        bl_alloc_fail_at(0, false);
        if (st == BL_OK) bl_method_choice_free(&c);
        assert_true(bl_alloc_live() == live);
        if (!reached) {
            assert_ok(st);
            break;
        }
        assert_true(st == BL_E_NOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_has_one_form),
        cmocka_unit_test(json_goes_both_ways),
        cmocka_unit_test(options_as_json_show_every_row),
        cmocka_unit_test(what_cannot_be_is_refused_with_a_sentence),
        cmocka_unit_test(json_that_cannot_be_is_refused),
        cmocka_unit_test(every_method_says_what_it_is),
        cmocka_unit_test(survives_failure_of_every_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
