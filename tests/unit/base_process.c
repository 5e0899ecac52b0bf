/* base_process.c - time, signals, memory of the process, and numbers under a locale with a decimal comma. */
#include "test.h"
#include "kernels/base/json.h"
#include "kernels/base/fs.h"
#include <locale.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void time_runs_forward_and_stamps_are_utc(void **state)
{
    (void)state;
    double a = bl_now();
    usleep(2000);
    assert_true(bl_now() - a >= 0.0015);
    char stamp[32];
    bl_utc(stamp);
    assert_int_equal(strlen(stamp), 20);
    assert_true(stamp[4] == '-' && stamp[10] == 'T' && stamp[19] == 'Z');
}

static void memory_of_the_process_is_known(void **state)
{
    (void)state;
    size_t n = bl_rss_peak() + (32 << 20); /* more than ever was */
    volatile char *p = bl_new(n, 1, NULL);
    for (size_t i = 0; i < n; i += 4096) p[i] = 1;
    assert_true(bl_rss_peak() >= n);
    bl_free((void *)(uintptr_t)p);
}

/* A child that installs the handlers, raises `times` signals, and exits with 7 when it saw them and lives. */
static int child_after(int sig, int times)
{
    pid_t pid = fork();
    if (pid == 0) {
        bl_process_init();
        if (bl_interrupted()) _exit(1);
        for (int i = 0; i < times; i++) raise(sig);
        _exit(bl_interrupted() ? 7 : 8);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void the_first_signal_asks_and_the_second_ends(void **state)
{
    (void)state;
    assert_int_equal(child_after(SIGINT, 1), 7);
    assert_int_equal(child_after(SIGTERM, 1), 7);
    assert_int_equal(child_after(SIGINT, 2), 130);
    assert_int_equal(child_after(SIGXFSZ, 1), 8); /* ignored */
    assert_int_equal(child_after(SIGPIPE, 1), -SIGPIPE);
}

/* Runs one program without a shell; true when it ended well. */
static bool runs(char *const argv[])
{
    pid_t pid = fork();
    if (pid == 0) {
        execvp(argv[0], argv);
        _exit(127);
    }
    int status = 1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void numbers_have_a_point_under_a_locale_with_a_comma(void **state)
{
    (void)state;
    bl_err e;
    char dir[4096], made[4200];
    snprintf(dir, sizeof dir, "%s", test_dir());
    if (!setlocale(LC_ALL, "de_DE.UTF-8") && !setlocale(LC_ALL, "fr_FR.UTF-8")) {
        snprintf(made, sizeof made, "%s/de_DE.UTF-8", dir);
        char *argv[] = {"localedef", "--no-archive", "-c", "-i", "de_DE", "-f", "UTF-8", made, NULL};
        if (!runs(argv) || setenv("LOCPATH", dir, 1) != 0 || !setlocale(LC_ALL, "de_DE.UTF-8")) {
            bl_remove_tree(dir, NULL);
            print_message("skipped: no locale with a decimal comma\n");
            skip();
        }
    }
    assert_string_equal(localeconv()->decimal_point, ",");
    bl_text t = {0};
    double v;
    bl_json *j;
    bl_json_put_real(&t, 0.5);
    assert_string_equal(t.s, "0.5");
    assert_ok(bl_json_parse("[2.25,1e-3,12345678901234567890.5]", 34, "numbers", BL_JSON_PLAIN, &j, &e));
    assert_ok(bl_json_real(bl_json_first(j), &v, &e));
    assert_true(v == 2.25);
    bl_text_free(&t);
    bl_json_put_node(&t, j);
    assert_string_equal(t.s, "[2.25,0.001,1.2345678901234567e+19]");
    bl_json_free(j);
    bl_text_free(&t);
    setenv("LC_ALL", "de_DE.UTF-8", 1);
    bl_process_init();
    assert_string_equal(localeconv()->decimal_point, ".");
    setlocale(LC_ALL, "C");
    unsetenv("LC_ALL");
    bl_remove_tree(dir, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_runs_forward_and_stamps_are_utc),
        cmocka_unit_test(memory_of_the_process_is_known),
        cmocka_unit_test(the_first_signal_asks_and_the_second_ends),
        cmocka_unit_test(numbers_have_a_point_under_a_locale_with_a_comma),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
