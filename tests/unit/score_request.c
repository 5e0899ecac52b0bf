/* study_request.c - prompts and pairs as tasks build them. */
#include "test.h"
#include "harness/score/score.h"

static void choices_get_a_space_that_does_not_count(void **state)
{
    static const char *const choice[] = {"copper wire", "caf\xc3\xa9 \xe6\x97\xa5\xf0\x9f\x91\x8d", ""};
    bl_err e = {0};
    bl_arena *a;
    bl_request r;
    (void)state;
    assert_ok(bl_arena_new(&a, &e));
    bl_prompt p = bl_prompt_new(a);
    for (int i = 0; i < 20; i++) {
        bl_say(&p, "Question: ");
        bl_quoten(&p, "whatever", 4);
    }
    bl_quote(&p, ""); /* nothing */
    assert_int_equal(p.n, 40);
    assert_false(p.span[0].data);
    assert_true(p.span[39].data);
    assert_int_equal(p.span[39].n, 4);
    assert_memory_equal(p.span[39].text, "what", 5);
    assert_ok(bl_ask_pairs(&r, p, choice, 3, &e));
    assert_int_equal(r.kind, BL_ASK_PAIRS);
    assert_int_equal(r.n_pairs, 3);
    assert_string_equal(r.pair[0].continuation, " copper wire");
    assert_int_equal(r.pair[0].chars, 11);
    assert_int_equal(r.pair[1].chars, 7);
    assert_int_equal(r.pair[1].bytes, 13);
    assert_string_equal(r.pair[2].continuation, " ");
    assert_int_equal(r.pair[2].chars, 0);
    bl_prompt two[2] = {p, bl_prompt_new(a)};
    assert_ok(bl_ask_contexts(&r, two, 2, "was late.", &e));
    assert_string_equal(r.pair[1].continuation, " was late.");
    assert_int_equal(r.pair[1].context.n, 0);
    assert_int_equal(r.pair[0].context.n, 40);
    assert_ok(bl_done(&r));
    assert_int_equal(r.kind, BL_ASK_DONE);
    bl_arena_free(a);
}

static void requests_that_no_text_makes_fit_are_refused(void **state)
{
    (void)state;
    static const struct {
        bl_request r;
        int64_t max_len, window;
        const char *says; /* NULL: fits */
    } rows[] = {
        {{.kind = BL_ASK_WINDOW, .length = 512}, 512, 0, NULL},
        {{.kind = BL_ASK_WINDOW, .length = 513}, 512, 0, "windows of 513 tokens do not fit the model's 512 positions"},
        {{.kind = BL_ASK_WINDOW, .length = 256}, 512, 256, NULL},
        {{.kind = BL_ASK_WINDOW, .length = 257}, 512, 256, "longer than the model's sliding window of 256"},
        {{.kind = BL_ASK_GENERATE, .max_new = 511}, 512, 0, NULL},
        {{.kind = BL_ASK_GENERATE, .max_new = 512}, 512, 0, "512 new tokens leave no room for a prompt"},
        {{.kind = BL_ASK_ROLLING, .length = 2048}, 512, 0, NULL}, /* cut to what the model has */
        {{.kind = BL_ASK_PAIRS}, 1, 1, NULL},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_status st = bl_request_fits(&rows[i].r, rows[i].max_len, rows[i].window, &e);
        if (rows[i].says) assert_refused(st, BL_E_UNSUPPORTED, rows[i].says);
        else assert_ok(st);
    }
}

static void memory_that_runs_out_is_said_when_the_request_is_made(void **state)
{
    static const char *const choice[] = {"x"};
    bl_err e = {0};
    bl_arena *a;
    bl_request r;
    (void)state;
    assert_ok(bl_arena_new(&a, &e));
    bl_prompt p = bl_prompt_new(a);
    char *big = malloc(1 << 20);
    memset(big, 'a', 1 << 20);
    big[(1 << 20) - 1] = 0;
    bl_alloc_fail_at(1, true);
    bl_quote(&p, big);
    bl_alloc_fail_at(0, false);
    free(big);
    bl_say(&p, "more");
    assert_true(p.failed);
    assert_refused(bl_ask_pairs(&r, p, choice, 1, &e), BL_E_NOMEM, "memory");
    bl_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choices_get_a_space_that_does_not_count),
        cmocka_unit_test(requests_that_no_text_makes_fit_are_refused),
        cmocka_unit_test(memory_that_runs_out_is_said_when_the_request_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
