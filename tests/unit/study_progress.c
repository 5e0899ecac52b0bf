/* study_progress.c - the line of a running study: its width, and the time that is left. */
#include "test.h"
#include "harness/study/progress.h"
#include "kernels/base/utf8.h"
#include <math.h>

static bl_progress running(const char *what, const char *how)
{
    bl_progress p = {.cells = 16, .finished = 1, .work = 100, .done = 20, .t0 = 0};
    snprintf(p.what, sizeof p.what, "%s", what);
    snprintf(p.how, sizeof p.how, "%s", how);
    return p;
}

static void the_line_is_never_wider_than_the_terminal(void **state)
{
    (void)state;
    static const char *const keys[] = {"m/base/piqa/0",
                                       "smollm2-135m-instruct.q4_1/quarot+gptq:w4g64/wikitext2:gptq2048/0",
                                       "modèle-ü-\xe6\xa8\xa1\xe5\x9e\x8b-long/rtn:w4g64+range=clip/piqa/12"};
    for (size_t k = 0; k < BL_COUNT(keys); k++)
        for (size_t width = 1; width < 140; width++) {
            bl_progress p = running(keys[k], "scoring 12/200, 310 tokens/s");
            bl_text t = {0};
            bl_progress_line(&p, 20, width, &t);
            const char *line = t.s ? t.s : "";
            size_t n = strlen(line);
            assert_true(bl_utf8_count(line, n) <= width);
            assert_int_equal(bl_utf8_bad(line, n), n); /* no code point is cut in two */
            if (width >= 60) assert_non_null(strstr(line, "scoring 12/200, 310 tokens/s, 80 s left"));
            if (width >= 60) assert_memory_equal(line, "[2/16] ", 7);
            bl_text_free(&t);
        }
}

static void a_name_that_does_not_fit_loses_its_middle(void **state)
{
    (void)state;
    bl_progress p = running("abcdefghijklmnopqrstuvwxyz", "scoring 1/2");
    bl_text t = {0};
    bl_progress_line(&p, 20, 7 + 11 + 2 + 11 + 11, &t); /* "[2/16] ", 11 of the name, two spaces, the rest */
    assert_string_equal(t.s, "[2/16] abcde\xe2\x80\xa6vwxyz  scoring 1/2, 80 s left");
    bl_text_free(&t);
}

static void the_estimate_is_believed_first_and_then_what_was_measured(void **state)
{
    (void)state;
    assert_true(fabs(bl_progress_left(100, 0, 0) - 100) < 1e-9);
    assert_true(fabs(bl_progress_left(100, 50, 50) - 50) < 1e-9); /* as estimated */
    double slow = bl_progress_left(100, 50, 150);                 /* three times slower than estimated */
    assert_true(slow > 140 && slow < 150);
    assert_true(bl_progress_left(100, 100, 3000) == 0);
    assert_true(bl_progress_left(0, 0, 5) == 0);
}

/* A cell of which an earlier run did half counts half: what that run did is neither speed nor work. */
static void what_needs_no_work_is_no_speed(void **state)
{
    (void)state;
    bl_progress p = {.cells = 2, .work = 100};
    bl_progress_did(&p, 25, 25);
    assert_true(p.work == 75 && p.done == 25);
    bl_progress_did(&p, 0, 50); /* found done by another run */
    assert_true(p.work == 25 && p.done == 25);
    assert_true(bl_progress_left(p.work, p.done, 25) == 0);
}

static void times_are_rounded_for_a_person(void **state)
{
    (void)state;
    static const struct {
        double s;
        const char *text;
    } rows[] = {{0, "0 s"}, {89, "89 s"}, {120, "2 min"}, {5399, "90 min"}, {9000, "2.5 h"}};
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        char text[32];
        bl_progress_time(rows[i].s, text);
        assert_string_equal(text, rows[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_line_is_never_wider_than_the_terminal),
        cmocka_unit_test(a_name_that_does_not_fit_loses_its_middle),
        cmocka_unit_test(the_estimate_is_believed_first_and_then_what_was_measured),
        cmocka_unit_test(what_needs_no_work_is_no_speed),
        cmocka_unit_test(times_are_rounded_for_a_person),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
