/* all_screen.c - what a person sees while a study runs, on a terminal and in a file; what an interrupt keeps. */
#include "study_fixture.h"
#include "kernels/base/utf8.h"
#include <pty.h>
#include <sys/ioctl.h>

#define METHODS "base,rtn:w4g24"
#define STUDY(s, out)                                                                                                  \
    "--model", (s)->model, "--method", METHODS, "--task", "piqa", "--data", (s)->data, "--out", out, "--threads", "1"

/* Runs the program with standard error on a terminal of `columns`; what it wrote there. */
static char *on_terminal(const char *const *argv, unsigned short columns, int *code)
{
    struct winsize w = {.ws_row = 24, .ws_col = columns};
    int ours, theirs, status;
    char buf[4096];
    bl_text text = {0};
    pid_t pid;
    posix_spawn_file_actions_t f;
    assert_int_equal(openpty(&ours, &theirs, NULL, NULL, &w), 0);
    posix_spawn_file_actions_init(&f);
    posix_spawn_file_actions_addopen(&f, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&f, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&f, theirs, 2);
    posix_spawn_file_actions_addclose(&f, ours);
    assert_int_equal(posix_spawn(&pid, program_path, &f, NULL, (char **)(uintptr_t)argv, environ), 0);
    posix_spawn_file_actions_destroy(&f);
    close(theirs);
    for (;;) {
        ssize_t k = read(ours, buf, sizeof buf);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) break; /* EIO: the other end is closed */
        bl_text_addn(&text, buf, (size_t)k);
    }
    close(ours);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    *code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return text.s;
}

/* What is drawn over again, piece by piece: never more columns than there are. */
static void assert_narrow(char *text, size_t columns)
{
    size_t drawn = 0;
    for (char *at = strstr(text, "\r\033[K"), *next; at; at = next) {
        at += 4;
        next = strstr(at, "\r\033[K");
        size_t n = next ? (size_t)(next - at) : strlen(at);
        if (memchr(at, '\n', n)) continue; /* a line that stays may wrap */
        if (bl_utf8_count(at, n) >= columns) fail_msg("%zu columns: '%.*s'", columns, (int)n, at);
        drawn += n > 0;
    }
    assert_true(drawn > 4);
}

static void a_terminal_is_told_what_is_done_in_its_width(void **state)
{
    (void)state;
    static const unsigned short widths[] = {200, 80, 47};
    for (size_t i = 0; i < BL_COUNT(widths); i++) {
        study s = study_begin(150);
        int code;
        const char *const argv[] = {"bitladder", "run", STUDY(&s, s.out), NULL};
        char *text = on_terminal(argv, widths[i], &code);
        assert_int_equal(code, 0);
        assert_memory_equal(text, "planning", 8); /* before anything is opened */
        const char *head = strstr(text, "2 cells: 0 done, 2 open");
        const char *base = strstr(text, "scoring 0/150"), *made = strstr(text, "quantizing block 1/");
        const char *again = made ? strstr(made, "scoring 0/150") : NULL; /* not quantizing any more */
        assert_true(head && base && head < base && base < made && again);
        const char *last = NULL;
        for (const char *at = text; (at = strstr(at, "quantizing")); at++) last = at;
        assert_true(last < again);
        assert_narrow(text, widths[i]);
        bl_free(text);
        study_end(&s);
    }
}

static void a_file_gets_a_line_at_the_start_and_one_a_cell(void **state)
{
    (void)state;
    study s = study_begin(100);
    char want[64];
    ran r = PROGRAM(&s, "run", STUDY(&s, s.out));
    expect(&r, 0, "2 cells: 0 done, 2 open, 0 failed before, 0 n/a; about ");
    size_t lines = 0;
    for (const char *at = r.err; *at; at++) lines += *at == '\n';
    assert_int_equal(lines, 4); /* what will be done, two cells, what is next */
    assert_null(strchr(r.err, '\r'));
    for (int i = 1; i <= 2; i++) {
        snprintf(want, sizeof want, "\n[%d/2] noise/", i);
        assert_non_null(strstr(r.err, want));
    }
    ran_free(&r);
    r = PROGRAM(&s, "run", STUDY(&s, s.out), "--quiet");
    expect(&r, 0, NULL);
    assert_string_equal(r.err, "");
    ran_free(&r);
    study_end(&s);
}

/* Passes of one item each, three blocks: the interrupt comes in the third pass of the first batch. */
static void an_interrupt_inside_a_batch_keeps_the_pass_that_runs_and_those_before(void **state)
{
    (void)state;
    study s = study_begin(40);
    char again[4300];
    ran r = PROGRAM(&s, "run", STUDY(&s, s.out));
    expect(&r, 0, NULL);
    ran_free(&r);
    snprintf(again, sizeof again, "%s/again", s.dir);
    started p = BEGIN(&s, "in-batch:8", "run", STUDY(&s, again), "--batch-size", "2");
    size_t header = journal_lines(again);
    r = program_interrupt(&p);
    expect(&r, 130, "finishing the pass that is running and keeping its samples");
    ran_free(&r);
    assert_int_equal(journal_lines(again), header + 3);
    r = PROGRAM(&s, "run", STUDY(&s, again));
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_int_equal(assert_same_results(s.out, again), 2);
    study_end(&s);
}

static void more_than_the_disk_has_is_refused_before_work(void **state)
{
    (void)state;
    study s = study_begin(4);
    bl_text seeds = {0};
    static const char *const verbs[] = {"plan", "run"};
    char tok[4300];
    double copies = (double)bl_disk_free(s.dir) / 40e9 + 2; /* of a model of 40 GB */
    for (int i = 0; i < copies; i++) bl_text_addf(&seeds, "%s%d", i ? "," : "", i);
    snprintf(tok, sizeof tok, "%s/model/tok.bin", s.dir);
    for (size_t v = 0; v < BL_COUNT(verbs); v++) {
        ran r = PROGRAM(&s, verbs[v], "--model", "synth:llama2-70b:int4", "--tokenizer", tok, "--method", "rtn:w8g64",
                        "--seed", seeds.s, "--task", "piqa", "--data", s.data, "--out", s.out);
        expect(&r, 4, "what is left to do needs about");
        assert_non_null(strstr(r.err, "are free"));
        ran_free(&r);
        assert_false(bl_exists(s.out));
    }
    bl_text_free(&seeds);
    study_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_terminal_is_told_what_is_done_in_its_width),
        cmocka_unit_test(a_file_gets_a_line_at_the_start_and_one_a_cell),
        cmocka_unit_test(an_interrupt_inside_a_batch_keeps_the_pass_that_runs_and_those_before),
        cmocka_unit_test(more_than_the_disk_has_is_refused_before_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
