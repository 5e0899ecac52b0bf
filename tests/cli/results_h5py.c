/* results_h5py.c - others can open our files: h5py and pandas read a shard, and so does h5dump. */
#include "data/results_cells.h"

#include <spawn.h>
#include <sys/wait.h>

extern char **environ;
static bl_err e;

/* Exit status of a program found in PATH; 127: it is not there. */
static int run(char *const argv[])
{
    pid_t pid;
    int status = 0;
    posix_spawn_file_actions_t act;
    posix_spawn_file_actions_init(&act);
    posix_spawn_file_actions_addopen(&act, 1, "/dev/null", 1, 0);
    int failed = posix_spawnp(&pid, argv[0], &act, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&act);
    if (failed) return 127;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static char dir[4200], shard[8300];

static int begin(void **state)
{
    (void)state;
    invented v;
    snprintf(dir, sizeof dir, "%s", test_dir());
    bl_cell c = *invent(&v, "smollm2-135m", 4, 64, "piqa", 0);
    static const char *const text[] = {"r", "three \xc3\x97 \"quoted\"\n\xf0\x9f\x98\x80"};
    for (int i = 0; i < INVENTED_SAMPLES; i++) {
        v.sample[i].reply = &text[i == 3];
        v.sample[i].n_replies = 1;
    }
    if (bl_cell_write(dir, &c, &e) != BL_OK) return 1;
    snprintf(shard, sizeof shard, "%s", invented_path(dir, &c));
    return 0;
}

static int end(void **state)
{
    (void)state;
    return bl_remove_tree(dir, &e) != BL_OK;
}

static void h5py_and_pandas_read_a_shard(void **state)
{
    (void)state;
    static const char *const pythons[] = {"/usr/bin/python3", "python3"};
    int rc = 127;
    for (size_t i = 0; i < BL_COUNT(pythons) && (rc == 127 || rc == 77); i++) {
        char *argv[] = {(char *)(uintptr_t)pythons[i], (char *)(uintptr_t)(BL_SOURCE_DIR "/tests/data/results_h5py.py"),
                        shard, NULL};
        rc = run(argv);
    }
    if (rc == 127 || rc == 77) {
        print_message("skipped: no python3 with h5py and pandas\n");
        skip();
    }
    assert_int_equal(rc, 0);
}

static void h5dump_reads_a_shard(void **state)
{
    (void)state;
    char *argv[] = {(char *)(uintptr_t) "h5dump", shard, NULL};
    int rc = run(argv);
    if (rc == 127) {
        print_message("skipped: no h5dump\n");
        skip();
    }
    assert_int_equal(rc, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(h5py_and_pandas_read_a_shard),
                                       cmocka_unit_test(h5dump_reads_a_shard)};
    return cmocka_run_group_tests(tests, begin, end);
}
