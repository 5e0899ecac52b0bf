/* The checkpoint that comes with the program, on what it was made for. */
#include "study_fixture.h"

/* What the line of a cell says of its headline. */
static double of_cell(const ran *r, const char *task)
{
    const char *line = strstr(r->err, task), *value = line ? strstr(line, "exact_match_strict ") : NULL;
    if (!value) fail_msg("no line about %s in:\n%s", task, r->err);
    return atof(value + strlen("exact_match_strict "));
}

static void it_reasons_and_cannot_do_without(void **state)
{
    (void)state;
    study s = study_begin(1);
    ran r = PROGRAM(&s, "run", "--model", "default", "--method", "base", "--task", "ladder:cot@30,ladder:direct@30",
                    "--device", "cpu", "--out", s.out);
    expect(&r, 0, NULL);
    assert_true(of_cell(&r, "ladder:cot/0") >= 90);
    assert_true(of_cell(&r, "ladder:direct/0") <= 60);
    ran_free(&r);
    r = PROGRAM(&s, "run", "--model", "default", "--method", "rtn:w1g64", "--task", "ladder:cot@5", "--device", "cpu",
                "--out", s.out);
    expect(&r, 0, NULL);
    assert_true(of_cell(&r, "ladder:cot/0") == 0); /* of one bit nothing is left */
    ran_free(&r);
    study_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_reasons_and_cannot_do_without)};
    return cmocka_run_group_tests_name("the checkpoint of the program at work", tests, NULL, NULL);
}
