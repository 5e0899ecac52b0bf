/* all_verdicts.c - verdicts of a judge, as FastChat writes them, through the whole program. */
#include "study_fixture.h"

static bl_err e;

static char *verdict_file(const study *s, const char *name, const char *text)
{
    char *path = bl_join(s->dir, name, &e);
    assert_non_null(path);
    assert_ok(bl_write_file(path, text, strlen(text), &e));
    return path;
}
#define VERDICT(q, one, two, g1, g2)                                                                                   \
    "{\"question_id\": " q ", \"model_1\": \"" one "\", \"model_2\": \"" two "\", \"g1_winner\": \"" g1                \
    "\", \"g2_winner\": \"" g2 "\", \"judge\": [\"gpt-4\", \"pair-v2\"], \"turn\": 1}\n"

/* Orders that agree count, orders that differ are a tie, what the judge failed at is left out and said. */
static void verdicts_of_both_orders_become_strengths(void **state)
{
    (void)state;
    study s = study_begin(1);
    char *one = verdict_file(&s, "one.jsonl",
                             VERDICT("81", "m/base", "m/rtn:w3", "model_1", "model_1")
                                 VERDICT("82", "m/base", "m/rtn:w3", "model_1", "model_2"));
    char *two = verdict_file(&s, "two.jsonl",
                             VERDICT("83", "m/rtn:w3", "m/base", "tie", "tie")
                                 VERDICT("84", "m/other", "m/base", "error", "model_1"));
    bl_json *doc;
    const char *name;
    double rating[2];
    int64_t n;
    ran r = PROGRAM(&s, "verdicts", one, two, "--json");
    expect(&r, 0, NULL);
    assert_ok(bl_json_parse(r.out, strlen(r.out), "verdicts", BL_JSON_PLAIN, &doc, &e));
    const bl_json *list = bl_json_get(doc, "models"), *m = bl_json_first(list);
    assert_int_equal(bl_json_size(list), 2);
    for (int i = 0; i < 2; i++, m = bl_json_next(m)) {
        assert_ok(bl_json_get_str(m, "model", &name, &e));
        assert_string_equal(name, i ? "m/rtn:w3" : "m/base");
        assert_ok(bl_json_get_int(m, i ? "lost" : "won", &n, &e));
        assert_int_equal(n, 1);
        assert_ok(bl_json_get_int(m, "tied", &n, &e));
        assert_int_equal(n, 2);
        assert_ok(bl_json_real(bl_json_get(m, "rating"), &rating[i], &e));
    }
    assert_true(rating[0] > 1000 && rating[0] + rating[1] > 1999.999 && rating[0] + rating[1] < 2000.001);
    assert_ok(bl_json_get_int(doc, "left_out", &n, &e));
    assert_int_equal(n, 1);
    bl_json_free(doc);
    ran_free(&r);
    r = PROGRAM(&s, "verdicts", one, two);
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "left out, the judge failed: 1"));
    assert_true(strstr(r.out, "m/base") < strstr(r.out, "m/rtn:w3"));
    ran_free(&r);
    bl_free(one);
    bl_free(two);
    study_end(&s);
}

static void verdicts_that_say_nothing_are_refused_with_their_place(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {VERDICT("81", "a", "b", "model_1", "A"),
         "v.jsonl:1: 'g2_winner' is \"A\", expected model_1, model_2, tie or error"},
        {VERDICT("81", "a", "b", "tie", "tie") VERDICT("82", "a", "a", "tie", "tie"),
         "v.jsonl:2: model_1 and model_2 are both \"a\""},
        {"{\"question_id\": 1}\n", "v.jsonl:1: 'model_1' is missing"},
        {VERDICT("81", "a", "b", "error", "error"), "v.jsonl: no verdict that counts"},
    };
    (void)state;
    study s = study_begin(1);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        char *path = verdict_file(&s, "v.jsonl", rows[i].text);
        ran r = PROGRAM(&s, "verdicts", path);
        if (r.code == 0 || !strstr(r.err, rows[i].says)) fail_msg("row %zu: %d %s", i, r.code, r.err);
        ran_free(&r);
        bl_free(path);
    }
    study_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts_of_both_orders_become_strengths),
        cmocka_unit_test(verdicts_that_say_nothing_are_refused_with_their_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
