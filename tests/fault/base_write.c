/* base_write.c - every write-side call fails once, and then all after it: the old file or the new one, never a part. */
#include "test.h"
#include "kernels/base/fs.h"
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[4096], path[4200];
static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "%s", test_dir());
    snprintf(path, sizeof path, "%s/result.h5", dir);
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    return bl_remove_tree(dir, NULL) != BL_OK;
}

static size_t entries(void)
{
    char **names;
    size_t n;
    if (bl_dir_list(dir, &names, &n, NULL) != BL_OK) return 9999;
    bl_list_free(names, n);
    return n;
}

enum { BIG = 3 << 19 };
static const char old_text[] = "the old result";
static char new_text[BIG];

static bl_status write_it(bl_err *e)
{
    bl_status st = BL_OK;
    bl_writer *w = NULL;
    BL_TRY(bl_writer_open(path, &w, e));
    BL_TRY(bl_writer_add(w, new_text, 1000, e));
    BL_TRY(bl_writer_add(w, new_text + 1000, BIG - 2000, e));
    BL_TRY(bl_writer_add(w, new_text + BIG - 1000, 1000, e));
    BL_TRY(bl_writer_commit(w, e));
    w = NULL;
out:
    bl_writer_drop(w);
    return st;
}

/* 0: the old file, 1: the new one, -1: something else. */
static int what_is_there(void)
{
    char *text;
    size_t n;
    if (bl_read_file(path, 1 << 24, &text, &n, NULL) != BL_OK) return -1;
    int which = n == sizeof old_text - 1 && memcmp(text, old_text, n) == 0 ? 0
                : n == BIG && memcmp(text, new_text, n) == 0               ? 1
                                                                           : -1;
    bl_free(text);
    return which;
}

static const struct {
    int err;
    bl_status st;
    const char *phrase;
} errors[] = {
    {ENOSPC, BL_E_DISK, "disk full"},   {EDQUOT, BL_E_DISK, "disk full"}, {EFBIG, BL_E_DISK, "disk full"},
    {EROFS, BL_E_DISK, "not writable"}, {EIO, BL_E_IO, "result.h5"},
};

static void a_failing_call_leaves_the_old_file_or_the_new(void **state)
{
    (void)state;
    bl_err e;
    for (size_t i = 0; i < BIG; i++) new_text[i] = (char)(i * 2654435761u >> 11);
    for (size_t k = 0; k < BL_COUNT(errors); k++)
        for (int sticky = 0; sticky < 2; sticky++) {
            uint64_t n = 0, live = bl_alloc_live();
            bool reached = true, renamed = false;
            while (reached) {
                assert_ok(bl_write_file(path, old_text, sizeof old_text - 1, &e));
                bl_fs_fail_at(++n, errors[k].err, sticky);
                bl_status st = write_it(&e);
                reached = bl_fs_count() >= n;
                bl_fs_fail_at(0, 0, false);
                int there = what_is_there();
                assert_int_equal(entries(), 1); /* no temporary file is left */
                assert_int_equal(bl_alloc_live(), live);
                if (!reached) {
                    assert_int_equal(st, BL_OK);
                    assert_int_equal(there, 1);
                    break;
                }
                assert_int_equal(st, errors[k].st);
                bool in_dir_sync = strstr(e.text, "sync the directory") != NULL;
                if (!in_dir_sync && !strstr(e.text, errors[k].phrase)) fail_msg("call %d: %s", (int)n, e.text);
                assert_int_equal(there, in_dir_sync ? 1 : 0);
                renamed |= in_dir_sync;
            }
            assert_true(n >= 8 && renamed);
        }
}

static void the_needed_size_is_told(void **state)
{
    (void)state;
    bl_err e;
    bl_writer *w;
    assert_ok(bl_writer_open(path, &w, &e));
    char *much = bl_new(40 << 20, 1, &e);
    bl_fs_fail_at(1, ENOSPC, false);
    assert_refused(bl_writer_add(w, much, 40 << 20, &e), BL_E_DISK, "result.h5: cannot write: disk full at 42 MB");
    bl_fs_fail_at(0, 0, false);
    bl_writer_drop(w);
    bl_free(much);
}

/* A real limit instead of an injected error. */
static void a_file_size_limit_is_an_error_and_not_the_end(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        bl_err e;
        bl_process_init();
        struct rlimit limit = {100000, 100000};
        setrlimit(RLIMIT_FSIZE, &limit);
        bl_status st = write_it(&e);
        _exit(st == BL_E_DISK && strstr(e.text, "disk full") && entries() == 0 ? 0 : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(entries(), 0);
}

/* Killed at random moments while it writes one file after another: all that have a final name are whole. */
static void killed_at_any_moment_leaves_whole_files(void **state)
{
    (void)state;
    bl_err e;
    for (int round = 0; round < 12; round++) {
        pid_t pid = fork();
        if (pid == 0)
            for (int i = 0;; i++) {
                snprintf(path, sizeof path, "%s/r%d.h5", dir, i);
                if (write_it(NULL) != BL_OK) _exit(1);
            }
        usleep((useconds_t)(3000 + round * 2100));
        kill(pid, SIGKILL);
        int status;
        waitpid(pid, &status, 0);
        assert_true(WIFSIGNALED(status));
        bl_clean_temps(dir);
        char **names;
        size_t n;
        assert_ok(bl_dir_list(dir, &names, &n, &e));
        for (size_t i = 0; i < n; i++) {
            if (strstr(names[i], ".tmp.")) fail_msg("%s is left", names[i]);
            snprintf(path, sizeof path, "%s/%s", dir, names[i]);
            assert_int_equal(what_is_there(), 1);
            unlink(path);
        }
        bl_list_free(names, n);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_failing_call_leaves_the_old_file_or_the_new),
        T(the_needed_size_is_told),
        T(a_file_size_limit_is_an_error_and_not_the_end),
        T(killed_at_any_moment_leaves_whole_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
