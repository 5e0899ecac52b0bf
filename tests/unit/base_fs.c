/* base_fs.c - maps, whole files, files that appear by rename, appended files, directories, locks. */
#include "test.h"
#include "kernels/base/fs.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[4096];
static const char *in_dir(const char *name)
{
    static char ring[8][4200];
    static unsigned at;
    char *p = ring[at++ % 8];
    snprintf(p, sizeof ring[0], "%s/%s", dir, name);
    return p;
}
static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "%s", test_dir());
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

static void a_file_is_read_as_it_was_written(void **state)
{
    (void)state;
    bl_err e;
    char *text;
    size_t n;
    assert_ok(bl_write_file(in_dir("a"), "x\0y\n", 4, &e));
    assert_ok(bl_read_file(in_dir("a"), 4, &text, &n, &e));
    assert_int_equal(n, 4);
    assert_memory_equal(text, "x\0y\n", 5);
    bl_free(text);
    assert_refused(bl_read_file(in_dir("a"), 3, &text, &n, &e), BL_E_FORMAT, "4 bytes, expected at most 3");
    assert_refused(bl_read_file(in_dir("none"), 3, &text, &n, &e), BL_E_MISSING, "cannot open");
    assert_ok(bl_write_file(in_dir("empty"), "", 0, &e));
    assert_ok(bl_read_file(in_dir("empty"), 0, &text, &n, &e));
    assert_int_equal(n, 0);
    bl_free(text);
}

/* Sizes below, around and above the writer's buffer in every order of neighbours: bytes land in the order in which they
 * were added. */
static void pieces_of_any_size_keep_their_order(void **state)
{
    (void)state;
    bl_err e;
    static const size_t size[] = {1, 1000, 27648, 131072, 131073, 165888, 262143, 262144, 262145, 442368};
    size_t total = 0, n, at = 0;
    char *piece = bl_new(442368, 1, &e), *got;
    bl_writer *w;
    assert_ok(bl_writer_open(in_dir("order"), &w, &e));
    for (size_t i = 0; i < BL_COUNT(size); i++)
        for (size_t k = 0; k < BL_COUNT(size); k++) {
            size_t two[2] = {size[i], size[k]};
            for (int j = 0; j < 2; j++) {
                memset(piece, (int)(2 * (i * BL_COUNT(size) + k) + (size_t)j) & 255, two[j]);
                assert_ok(bl_writer_add(w, piece, two[j], &e));
                total += two[j];
            }
        }
    assert_ok(bl_writer_commit(w, &e));
    assert_ok(bl_read_file(in_dir("order"), total, &got, &n, &e));
    assert_int_equal(n, total);
    for (size_t i = 0; i < BL_COUNT(size); i++)
        for (size_t k = 0; k < BL_COUNT(size); k++) {
            size_t two[2] = {size[i], size[k]};
            for (int j = 0; j < 2; j++) {
                memset(piece, (int)(2 * (i * BL_COUNT(size) + k) + (size_t)j) & 255, two[j]);
                assert_memory_equal(got + at, piece, two[j]);
                at += two[j];
            }
        }
    bl_free(got);
    bl_free(piece);
}

static void a_map_shows_the_file_and_notices_changes(void **state)
{
    (void)state;
    bl_err e;
    bl_map m, z;
    bool touched;
    assert_ok(bl_write_file(in_dir("a"), "0123456789", 10, &e));
    assert_ok(bl_write_file(in_dir("empty"), "", 0, &e));
    assert_ok(bl_map_open(in_dir("a"), &m, &e));
    assert_ok(bl_map_open(in_dir("empty"), &z, &e));
    assert_int_equal(m.size, 10);
    assert_memory_equal(m.data, "0123456789", 10);
    assert_true(z.size == 0 && z.data);
    assert_ok(bl_map_check(&m, NULL, &e));
    assert_ok(bl_map_check(&z, NULL, &e));
    bl_map_want(&m, 0, UINT64_MAX);
    bl_map_drop(&m, 3, 5);
    bl_map_drop(&m, 0, UINT64_MAX);
    bl_map_drop(&m, 100, 1);
    assert_memory_equal(m.data, "0123456789", 10);
    assert_ok(bl_write_file(in_dir("a"), "0123456789", 10, &e)); /* another file under this name */
    assert_ok(bl_map_check(&m, NULL, &e));                       /* the one that was opened is as it was */
    assert_int_equal(unlink(in_dir("a")), 0);
    assert_ok(bl_map_check(&m, NULL, &e));
    assert_memory_equal(m.data, "0123456789", 10);
    assert_ok(bl_write_file(in_dir("a"), "0123456789", 10, &e));
    bl_map_close(&m);
    bl_map_close(&m); /* twice is fine */
    assert_ok(bl_map_open(in_dir("a"), &m, &e));
    assert_int_equal(truncate(in_dir("a"), 4), 0);
    assert_refused(bl_map_check(&m, &touched, &e), BL_E_FORMAT, "4 bytes, expected 10");
    assert_false(touched);
    bl_map_close(&m);
    assert_ok(bl_map_open(in_dir("a"), &m, &e));
    assert_int_equal(utimensat(AT_FDCWD, in_dir("a"), (struct timespec[2]){{1, 0}, {1, 0}}, 0), 0);
    assert_refused(bl_map_check(&m, &touched, &e), BL_E_FORMAT, "written again");
    assert_true(touched);
    bl_map_accept(&m);
    assert_ok(bl_map_check(&m, &touched, &e));
    assert_false(touched);
    bl_map_close(&m);
    bl_map_close(&z);
}

static void a_file_cut_short_under_the_map_is_named(void **state)
{
    (void)state;
    bl_err e;
    static const char zeros[20000];
    assert_ok(bl_write_file(in_dir("big\n.bin"), zeros, sizeof zeros, &e));
    int out[2];
    assert_int_equal(pipe(out), 0);
    pid_t pid = fork();
    if (pid == 0) {
        bl_map other, m;
        dup2(out[1], STDERR_FILENO);
        if (bl_map_open("/proc/self/exe", &other, NULL) != BL_OK || bl_map_open(in_dir("big\n.bin"), &m, NULL) != BL_OK)
            _exit(9);
        if (truncate(in_dir("big\n.bin"), 0) != 0) _exit(9);
        _exit(((volatile const uint8_t *)m.data)[9000] + 10);
    }
    close(out[1]);
    char said[8192];
    ssize_t n = 0, k;
    while ((k = read(out[0], said + n, sizeof said - 1 - (size_t)n)) > 0) n += k; /* the sentence comes in pieces */
    close(out[0]);
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 2);
    said[n] = 0;
    assert_non_null(strstr(said, "bitladder: "));
    assert_non_null(strstr(said, "/big?.bin: the file was cut short"));
}

static void a_bus_error_elsewhere_is_not_hidden(void **state)
{
    (void)state;
    bl_err e;
    assert_ok(bl_write_file(in_dir("a"), "x", 1, &e));
    pid_t pid = fork();
    if (pid == 0) {
        bl_map m;
        int null = open("/dev/null", O_WRONLY), fd = open(in_dir("a"), O_RDONLY);
        dup2(null, STDERR_FILENO);
        if (bl_map_open(in_dir("a"), &m, NULL) != BL_OK) _exit(9);
        volatile const char *p = mmap(NULL, 1 << 16, PROT_READ, MAP_PRIVATE, fd, 0);
        _exit(p[60000] + 10);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

static void a_written_file_appears_by_rename_or_not_at_all(void **state)
{
    (void)state;
    bl_err e;
    bl_writer *w;
    char *text;
    size_t n;
    char temp[4300];
    snprintf(temp, sizeof temp, "%s.tmp.%ld", in_dir("r.h5"), (long)getpid());

    assert_ok(bl_writer_open(in_dir("r.h5"), &w, &e));
    assert_ok(bl_writer_add(w, "half", 4, &e));
    assert_false(bl_exists(in_dir("r.h5")));
    assert_true(bl_exists(temp));
    bl_writer_drop(w);
    assert_int_equal(entries(), 0);

    assert_ok(bl_write_file(temp, "left by an earlier process", 26, &e)); /* the pid came round again */
    assert_ok(bl_writer_open(in_dir("r.h5"), &w, &e));
    size_t big = (1 << 20) + 77;
    uint8_t *p = bl_new(big, 1, &e);
    for (size_t i = 0; i < big; i++) p[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t at = 0, step = 1; at < big; at += step, step = BL_MIN(step * 2, big - at)) {
        if (step == 0) break;
        assert_ok(bl_writer_add(w, p + at, BL_MIN(step, big - at), &e));
    }
    assert_ok(bl_writer_commit(w, &e));
    assert_ok(bl_read_file(in_dir("r.h5"), 1 << 24, &text, &n, &e));
    assert_int_equal(n, big);
    assert_memory_equal(text, p, big);
    assert_int_equal(entries(), 1);
    bl_free(text);
    bl_free(p);

    assert_ok(bl_writer_open(in_dir("r.h5"), &w, &e));
    assert_ok(bl_writer_add(w, "0123", 4, &e));
    static const char large[1 << 19];
    bl_fs_fail_at(1, ENOSPC, false);
    assert_refused(bl_writer_add(w, large, sizeof large, &e), BL_E_DISK, "disk full");
    bl_fs_fail_at(0, 0, false);
    assert_refused(bl_writer_commit(w, &e), BL_E_DISK, "an earlier write failed"); /* poisoned */
    assert_refused(bl_writer_add(w, "x", 1, &e), BL_E_DISK, "an earlier write failed");
    bl_writer_drop(w);
    assert_ok(bl_read_file(in_dir("r.h5"), 1 << 24, &text, &n, &e)); /* the old one is untouched */
    assert_int_equal(n, big);
    bl_free(text);
    bl_writer_drop(NULL);
}

static void a_place_that_is_not_writable_is_said(void **state)
{
    (void)state;
    bl_err e;
    assert_refused(bl_write_file(in_dir("no/such/x"), "x", 1, &e), BL_E_DISK, "its directory is not there");
    assert_ok(bl_make_dirs(in_dir("d"), &e));
    assert_int_not_equal(bl_write_file(in_dir("d"), "x", 1, &e), BL_OK); /* a directory has this name */
    assert_int_equal(entries(), 1);
    assert_refused(bl_dir_usable("/proc/self/nothing", &e), BL_E_DISK, "/proc/self/nothing");
    bl_fs_fail_at(1, EROFS, true);
    assert_refused(bl_dir_usable(in_dir("d"), &e), BL_E_DISK, "not writable");
    bl_fs_fail_at(0, 0, false);
    assert_ok(bl_dir_usable(in_dir("d/e/f"), &e));
    assert_ok(bl_dir_usable(in_dir("d/e/f"), &e));
    assert_true(bl_is_dir(in_dir("d/e/f")));
    char **names;
    size_t n;
    assert_ok(bl_dir_list(in_dir("d/e/f"), &names, &n, &e));
    assert_int_equal(n, 0);
    bl_list_free(names, n);
}

static void a_journal_is_shortened_to_what_is_good_and_continued(void **state)
{
    (void)state;
    bl_err e;
    int fd;
    char *text;
    size_t n;
    assert_ok(bl_append_open(in_dir("j"), 0, &fd, &e));
    assert_ok(bl_append(fd, in_dir("j"), "one\ntwo\nthr", 11, &e));
    assert_ok(bl_append_sync(fd, in_dir("j"), &e));
    close(fd);
    assert_ok(bl_append_open(in_dir("j"), 8, &fd, &e));
    assert_ok(bl_append(fd, in_dir("j"), "three\n", 6, &e));
    close(fd);
    assert_ok(bl_read_file(in_dir("j"), 100, &text, &n, &e));
    assert_string_equal(text, "one\ntwo\nthree\n");
    bl_free(text);
    assert_refused(bl_append_open(in_dir("j"), 99, &fd, &e), BL_E_CORRUPT, "14 bytes, expected at least 99");
    assert_ok(bl_append_open(in_dir("j"), 14, &fd, &e));
    bl_fs_fail_at(1, ENOSPC, false);
    assert_refused(bl_append(fd, in_dir("j"), "four", 4, &e), BL_E_DISK, "disk full at 4 bytes");
    bl_fs_fail_at(0, 0, false);
    close(fd);
}

static void directories_are_listed_sorted_and_removed_whole(void **state)
{
    (void)state;
    bl_err e;
    static const char *const made[] = {"b", "a b", "\xc3\xa9", "x\ny", "B", "it's \"q\""};
    for (size_t i = 0; i < BL_COUNT(made); i++) assert_ok(bl_write_file(in_dir(made[i]), "", 0, &e));
    char **names;
    size_t n;
    assert_ok(bl_dir_list(dir, &names, &n, &e));
    assert_int_equal(n, BL_COUNT(made));
    for (size_t i = 1; i < n; i++) assert_true(strcmp(names[i - 1], names[i]) < 0);
    bl_list_free(names, n);
    assert_refused(bl_dir_list(in_dir("none"), &names, &n, &e), BL_E_MISSING, "cannot list");

    assert_ok(bl_make_dirs(in_dir("t/u/v//w/"), &e));
    assert_ok(bl_make_dirs(in_dir("t/u"), &e));
    assert_ok(bl_write_file(in_dir("t/u/file"), "x", 1, &e));
    assert_int_equal(symlink(dir, in_dir("t/u/link")), 0); /* removed, not followed */
    assert_refused(bl_make_dirs(in_dir("t/u/file/x"), &e), BL_E_DISK, "make the directory");
    assert_ok(bl_remove_tree(in_dir("t"), &e));
    assert_false(bl_exists(in_dir("t")));
    assert_ok(bl_remove_tree(in_dir("t"), &e));
    assert_int_equal(entries(), BL_COUNT(made));

    assert_ok(bl_rename(in_dir("b"), in_dir("c"), &e));
    assert_true(bl_exists(in_dir("c")) && !bl_exists(in_dir("b")));
    assert_refused(bl_rename(in_dir("b"), in_dir("c"), &e), BL_E_DISK, "rename");
    char *joined = bl_join("a", "b", &e), *slash = bl_join("a/", "b", &e), *bare = bl_join("", "b", &e);
    assert_string_equal(joined, "a/b");
    assert_string_equal(slash, "a/b");
    assert_string_equal(bare, "b");
    bl_free(joined);
    bl_free(slash);
    bl_free(bare);
    assert_true(bl_disk_free(dir) > 0);
    assert_int_equal(bl_disk_free(in_dir("none")), 0);
}

static pid_t a_dead_pid(void)
{
    pid_t pid = fork();
    if (pid == 0) _exit(0);
    waitpid(pid, NULL, 0);
    return pid;
}

static void only_leftovers_of_dead_processes_are_cleaned(void **state)
{
    (void)state;
    bl_err e;
    char name[4400];
    long dead = (long)a_dead_pid();
    snprintf(name, sizeof name, "%s/x.h5.tmp.%ld", dir, dead);
    assert_ok(bl_write_file(name, "x", 1, &e));
    snprintf(name, sizeof name, "%s/kept.tmp.%ld", dir, dead); /* locked by somebody, elsewhere perhaps */
    bl_lock *l;
    assert_ok(bl_lock_take(name, &l, &e));
    snprintf(name, sizeof name, "%s/mine.tmp.%ld", dir, (long)getpid());
    assert_ok(bl_write_file(name, "x", 1, &e));
    assert_ok(bl_write_file(in_dir("report.tmp.final"), "x", 1, &e));
    assert_ok(bl_write_file(in_dir("a.123"), "x", 1, &e));
    bl_clean_temps(dir);
    assert_int_equal(entries(), 4);
    snprintf(name, sizeof name, "%s/x.h5.tmp.%ld", dir, dead);
    assert_false(bl_exists(name));

    bl_clean_beside(in_dir("kept"), ".tmp."); /* locked */
    bl_clean_beside(in_dir("mine"), ".tmp."); /* alive */
    assert_int_equal(entries(), 4);
    snprintf(name, sizeof name, "%s/y.stage0.%ld", dir, dead);
    assert_ok(bl_make_dirs(name, &e));
    const int before = entries();
    bl_clean_beside(in_dir("y.st"), ".stage");
    assert_int_equal(entries(), before);
    bl_clean_beside(in_dir("y"), ".stage");
    assert_int_equal(entries(), before - 1);
    snprintf(name, sizeof name, "%s/z.tmp.%ld", dir, dead);
    assert_ok(bl_write_file(name, "x", 1, &e));
    bl_clean_beside(in_dir("z"), ".tmp.");
    assert_int_equal(entries(), before - 1);
    bl_lock_free(l);
    bl_clean_temps(in_dir("none"));
}

static void a_lock_has_one_owner_who_is_named(void **state)
{
    (void)state;
    bl_err e;
    bl_lock *l, *m;
    char want[64];
    assert_ok(bl_lock_take(in_dir(".lock"), &l, &e));
    snprintf(want, sizeof want, "held by process %ld on ", (long)getpid());
    assert_refused(bl_lock_take(in_dir(".lock"), &m, &e), BL_E_BUSY, want);
    bl_lock_free(l);
    assert_false(bl_exists(in_dir(".lock")));
    assert_ok(bl_lock_take(in_dir(".lock"), &l, &e));
    bl_lock_free(l);
    bl_lock_free(NULL);

    int ready[2]; /* the owner dies: taken over at once */
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        bl_status st = bl_lock_take(in_dir(".lock"), &l, NULL);
        if (write(ready[1], &st, sizeof st) < 0) _exit(1);
        pause();
    }
    bl_status st;
    assert_int_equal(read(ready[0], &st, sizeof st), sizeof st);
    close(ready[0]);
    close(ready[1]);
    assert_int_equal(st, BL_OK);
    snprintf(want, sizeof want, "held by process %ld on ", (long)pid);
    assert_refused(bl_lock_take(in_dir(".lock"), &m, &e), BL_E_BUSY, want);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_true(bl_exists(in_dir(".lock")));
    assert_ok(bl_lock_take(in_dir(".lock"), &l, &e));
    bl_lock_free(l);
    assert_refused(bl_lock_take(in_dir("none/.lock"), &l, &e), BL_E_DISK, "its directory is not there");
}

static void without_flock_the_content_decides(void **state)
{
    (void)state;
    bl_err e;
    bl_lock *l, *m;
    char host[256], text[400];
    gethostname(host, sizeof host);
    bl_fs_fail_at(2, ENOLCK, false); /* open, then flock */
    assert_ok(bl_lock_take(in_dir(".l"), &l, &e));
    bl_fs_fail_at(2, ENOLCK, false);
    assert_refused(bl_lock_take(in_dir(".l"), &m, &e), BL_E_BUSY, "held by process");
    bl_lock_free(l);

    snprintf(text, sizeof text, "%ld %s\n", (long)a_dead_pid(), host);
    assert_ok(bl_write_file(in_dir(".l"), text, strlen(text), &e));
    bl_fs_fail_at(2, ENOLCK, false);
    assert_ok(bl_lock_take(in_dir(".l"), &l, &e));
    bl_lock_free(l);

    assert_ok(bl_write_file(in_dir(".l"), "77 elsewhere\n", 13, &e));
    bl_fs_fail_at(2, ENOLCK, false);
    assert_refused(bl_lock_take(in_dir(".l"), &l, &e), BL_E_BUSY,
                   "process 77 on elsewhere; if it is not running there any more, remove this file");
    assert_ok(bl_write_file(in_dir(".l"), "", 0, &e));
    bl_fs_fail_at(2, ENOLCK, false);
    assert_refused(bl_lock_take(in_dir(".l"), &l, &e), BL_E_BUSY, "unknown process");
    bl_fs_fail_at(0, 0, false);
    assert_ok(bl_lock_take(in_dir(".l"), &l, &e)); /* with flock, an unheld file is free */
    bl_lock_free(l);
}

static void a_process_stopped_before_the_rename_leaves_no_final_name(void **state)
{
    (void)state;
    static const struct {
        const char *point;
        bool there;
    } rows[] = {{"before-rename", false}, {"after-rename", true}};
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        pid_t pid = fork();
        if (pid == 0) {
            setenv("BL_FAULT_POINT", rows[i].point, 1);
            _exit(bl_write_file(in_dir("r"), "result", 6, NULL) == BL_OK ? 0 : 1);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
        assert_true(WIFSTOPPED(status));
        assert_int_equal(bl_exists(in_dir("r")), rows[i].there);
        assert_int_equal(entries(), 1);
        bl_clean_temps(dir); /* the process still lives: its file stays */
        assert_int_equal(entries(), 1);
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        bl_clean_temps(dir);
        assert_int_equal(entries(), rows[i].there);
    }
}

/* As /dev/stdout and /dev/null are: renaming a file over them would take them away from everybody. */
static void a_pipe_is_written_and_not_replaced(void **state)
{
    (void)state;
    bl_err e;
    char got[16] = "";
    struct stat s;
    assert_int_equal(mkfifo(in_dir("pipe"), 0600), 0);
    assert_int_equal(symlink("pipe", in_dir("link")), 0);
    int fd = open(in_dir("pipe"), O_RDONLY | O_NONBLOCK);
    assert_true(fd >= 0);
    assert_ok(bl_write_file(in_dir("pipe"), "one ", 4, &e));
    assert_ok(bl_write_file(in_dir("link"), "two", 3, &e));
    assert_int_equal(read(fd, got, sizeof got - 1), 7);
    assert_string_equal(got, "one two");
    assert_int_equal(lstat(in_dir("pipe"), &s), 0);
    assert_true(S_ISFIFO(s.st_mode) && bl_is_stream(in_dir("link")));
    assert_int_equal(entries(), 2);
    close(fd);
}

static void a_link_stays_a_link_to_the_new_file(void **state)
{
    (void)state;
    bl_err e;
    struct stat s;
    char *text;
    size_t n;
    assert_ok(bl_write_file(in_dir("file"), "old", 3, &e));
    assert_int_equal(symlink("file", in_dir("link")), 0);
    assert_ok(bl_write_file(in_dir("link"), "new", 3, &e));
    assert_int_equal(lstat(in_dir("link"), &s), 0);
    assert_true(S_ISLNK(s.st_mode));
    assert_ok(bl_read_file(in_dir("file"), 9, &text, &n, &e));
    assert_string_equal(text, "new");
    assert_int_equal(entries(), 2);
    bl_free(text);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_file_is_read_as_it_was_written),
        T(a_pipe_is_written_and_not_replaced),
        T(a_link_stays_a_link_to_the_new_file),
        T(pieces_of_any_size_keep_their_order),
        T(a_map_shows_the_file_and_notices_changes),
        T(a_file_cut_short_under_the_map_is_named),
        T(a_bus_error_elsewhere_is_not_hidden),
        T(a_written_file_appears_by_rename_or_not_at_all),
        T(a_place_that_is_not_writable_is_said),
        T(a_journal_is_shortened_to_what_is_good_and_continued),
        T(directories_are_listed_sorted_and_removed_whole),
        T(only_leftovers_of_dead_processes_are_cleaned),
        T(a_lock_has_one_owner_who_is_named),
        T(without_flock_the_content_decides),
        T(a_process_stopped_before_the_rename_leaves_no_final_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
