/* results_writes.c - every write and every allocation fails once: nothing half-written, nothing leaked, and the next
 * try works (F4, F5, F10). */
#include "data/results_cells.h"
#include "results/journal.h"
#include "results/table.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

static bl_err e;
static char dir[4200];

static int begin(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "%s", test_dir());
    return 0;
}
static int end(void **state)
{
    (void)state;
    return bl_remove_tree(dir, &e) != BL_OK;
}

/* Files in the directory; every .h5 among them is whole. */
static size_t files(void)
{
    char **names = NULL, path[8300];
    size_t n = 0;
    bl_shard *s;
    if (bl_dir_list(dir, &names, &n, &e) != BL_OK) fail_msg("%s", e.text);
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        if (strstr(names[i], ".tmp.")) fail_msg("%s was left behind", names[i]);
        if (strlen(names[i]) > 3 && !strcmp(names[i] + strlen(names[i]) - 3, ".h5")) {
            if (bl_shard_open(path, &s, &e) != BL_OK) fail_msg("%s", e.text);
            bl_shard_close(s);
        }
    }
    bl_list_free(names, n);
    return n;
}

static void a_shard_is_whole_or_absent_whatever_write_fails(void **state)
{
    (void)state;
    static const int errors[] = {ENOSPC, EIO, EROFS};
    invented v;
    const bl_cell *c = invent(&v, "m", 4, 64, "piqa", 0);
    for (size_t k = 0; k < BL_COUNT(errors); k++)
        for (uint64_t at = 1;; at++) {
            bl_fs_fail_at(at, errors[k], k == 1);
            bl_status st = bl_cell_write(dir, c, &e);
            bool reached = bl_fs_count() >= at;
            bl_fs_fail_at(0, 0, false);
            if (st == BL_OK && !reached) break;
            if (st == BL_OK) continue; /* what failed was only the tidying up */
            if (errors[k] == ENOSPC && st == BL_E_DISK && !strstr(e.text, "disk full"))
                fail_msg("'%s' does not say that the disk is full", e.text);
            size_t n = files();
            if (n > 1) fail_msg("write %llu: %zu files", (unsigned long long)at, n);
            unlink(invented_path(dir, c)); /* the failure may have come after the rename */
        }
    assert_int_equal(files(), 1);
}

static void a_record_survives_failure_of_every_allocation(void **state)
{
    (void)state;
    invented v;
    bl_cell c = *invent(&v, "m", 4, 64, "piqa", 0);
    c.n_samples = 2;
    static const char *const text[] = {"text"};
    v.sample[0].reply = v.sample[1].reply = text;
    v.sample[0].n_replies = v.sample[1].n_replies = 1;
    for (int sticky = 0; sticky < 2; sticky++) {
        bool finished = false;
        uint64_t live = bl_alloc_live();
        for (uint64_t at = 1; !finished; at++) {
            bl_alloc_fail_at(at, sticky);
            bl_status st = bl_cell_write(dir, &c, &e);
            bl_alloc_fail_at(0, false);
            finished = st == BL_OK;
            if (!finished && st != BL_E_NOMEM)
                fail_msg("allocation %llu: %s: %s", (unsigned long long)at, bl_status_name(st), e.text);
            if (!finished && at % 16 == 0) assert_int_equal(files(), 0);
            if (bl_alloc_live() != live)
                fail_msg("allocation %llu: %lld bytes leaked", (unsigned long long)at,
                         (long long)(bl_alloc_live() - live));
        }
        assert_int_equal(files(), 1);
        unlink(invented_path(dir, &c));
    }
}

static void reading_survives_failure_of_every_allocation(void **state)
{
    (void)state;
    invented v;
    bl_cell c = *invent(&v, "m", 4, 64, "piqa", 0), got;
    const char *dirs[] = {dir}, *path = invented_path(dir, &c);
    c.n_samples = 2;
    assert_ok(bl_cell_write(dir, &c, &e));
    assert_ok(bl_failure_write(dir, "x--1",
                               &(bl_cell_failure){.key = "k", .status = "failed", .reason = "r", .task = "piqa"}, &e));
    uint64_t live = bl_alloc_live();
    bool finished = false;
    for (uint64_t at = 1; !finished; at++) {
        bl_arena *a = NULL;
        bl_alloc_fail_at(at, false);
        bl_status st = bl_arena_new(&a, &e);
        if (st == BL_OK) st = bl_cell_read(path, true, a, &got, &e);
        finished = bl_alloc_count() < at;
        bl_alloc_fail_at(0, false);
        bl_arena_free(a);
        if (!finished && st != BL_E_NOMEM && st != BL_OK)
            fail_msg("allocation %llu: %s: %s", (unsigned long long)at, bl_status_name(st), e.text);
        if (bl_alloc_live() != live) fail_msg("allocation %llu leaked", (unsigned long long)at);
    }
    for (int f = BL_TABLE_MD; f <= BL_TABLE_JSON; f++) {
        finished = false;
        for (uint64_t at = 1; !finished; at++) {
            bl_table *t = NULL;
            bl_text text = {0};
            bl_alloc_fail_at(at, true);
            bl_status st = bl_table_read(dirs, 1, &t, &e);
            if (st == BL_OK)
                st = bl_table_print(t, &(bl_table_opts){.format = (bl_table_format)f, .terminal = true}, &text, &e);
            finished = bl_alloc_count() < at;
            bl_alloc_fail_at(0, false);
            bl_table_free(t);
            bl_text_free(&text);
            if (!finished && st == BL_OK)
                fail_msg("format %d, allocation %llu: out of memory was not told", f, (unsigned long long)at);
            if (bl_alloc_live() != live) fail_msg("format %d, allocation %llu leaked", f, (unsigned long long)at);
        }
    }
}

static void a_journal_survives_failure_of_every_allocation(void **state)
{
    (void)state;
    char path[4300];
    uint64_t live = bl_alloc_live();
    bool finished = false;
    snprintf(path, sizeof path, "%s/x.part.jsonl", dir);
    for (uint64_t at = 1; !finished; at++) {
        bl_journal *j = NULL;
        int64_t added = 0;
        unlink(path);
        bl_alloc_fail_at(at, false);
        bl_status st = bl_journal_open(path, "k", (bl_hash){1, 1}, &j, &e);
        for (int i = 0; i < 6 && st == BL_OK; i++) {
            bl_sample s = {.id = i, .reply = (const char *[]){"some text"}, .n_replies = 1};
            st = bl_journal_add(j, &s, &e);
            added += st == BL_OK;
        }
        finished = bl_alloc_count() < at;
        bl_alloc_fail_at(0, false);
        if (st != BL_OK && st != BL_E_NOMEM) fail_msg("allocation %llu: %s", (unsigned long long)at, e.text);
        if (j) assert_int_equal(bl_journal_count(j), added);
        bl_journal_close(j);
        assert_ok(bl_journal_open(path, "k", (bl_hash){1, 1}, &j, &e));
        assert_int_equal(bl_journal_count(j), added);
        bl_journal_close(j);
        if (bl_alloc_live() != live) fail_msg("allocation %llu leaked", (unsigned long long)at);
    }
    unlink(path);
}

/* A disk that is full in the middle of a line, as the kernel does it: half of the bytes are written. */
static void a_journal_goes_on_after_half_a_line(void **state)
{
    (void)state;
    char path[4300];
    struct rlimit was, small;
    snprintf(path, sizeof path, "%s/y.part.jsonl", dir);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &was);
    for (rlim_t size = 90; size < 400; size += 13) {
        bl_journal *j;
        unlink(path);
        assert_ok(bl_journal_open(path, "k", (bl_hash){1, 1}, &j, &e));
        small = was;
        small.rlim_cur = size;
        setrlimit(RLIMIT_FSIZE, &small);
        bl_status st = BL_OK;
        for (int i = 0; i < 6 && st == BL_OK; i++) {
            bl_sample s = {.id = i, .reply = (const char *[]){"some text that is long enough"}, .n_replies = 1};
            st = bl_journal_add(j, &s, &e);
        }
        setrlimit(RLIMIT_FSIZE, &was);
        assert_int_equal(st, BL_OK);
        assert_ok(bl_journal_sync(j, &e));
        bl_journal_close(j);
        assert_ok(bl_journal_open(path, "k", (bl_hash){1, 1}, &j, &e));
        assert_int_equal(bl_journal_count(j), 6);
        bl_journal_close(j);
    }
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_shard_is_whole_or_absent_whatever_write_fails, begin, end),
        cmocka_unit_test_setup_teardown(a_record_survives_failure_of_every_allocation, begin, end),
        cmocka_unit_test_setup_teardown(reading_survives_failure_of_every_allocation, begin, end),
        cmocka_unit_test_setup_teardown(a_journal_survives_failure_of_every_allocation, begin, end),
        cmocka_unit_test_setup_teardown(a_journal_goes_on_after_half_a_line, begin, end),
    };
    bl_log_set(BL_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
