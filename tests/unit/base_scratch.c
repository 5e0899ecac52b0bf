/* base_scratch.c - bytes in a file without a name. */
#include "test.h"
#include "kernels/base/fs.h"
#include <errno.h>

static char dir[4096];
static size_t names_in(void)
{
    bl_err e = {0};
    char **names;
    size_t n;
    assert_ok(bl_dir_list(dir, &names, &n, &e));
    bl_list_free(names, n);
    return n;
}

static bl_scratch *open_one(uint64_t most)
{
    bl_err e = {0};
    bl_scratch *s;
    char path[4200];
    snprintf(path, sizeof path, "%s/variant", dir);
    assert_ok(bl_scratch_open(path, most, &s, &e));
    return s;
}

static void what_is_put_is_got_and_no_name_is_left(void **state)
{
    (void)state;
    bl_err e = {0};
    snprintf(dir, sizeof dir, "%s", test_dir());
    bl_scratch *s = open_one(100), *other = open_one(100);
    char got[8] = {0};
    assert_int_equal(names_in(), 0);
    assert_ok(bl_scratch_put(s, 4, "efgh", 4, &e));
    assert_ok(bl_scratch_put(s, 0, "abcd", 4, &e));
    assert_ok(bl_scratch_put(other, 0, "zzzzzzzz", 8, &e)); /* two of one process and directory */
    assert_ok(bl_scratch_get(s, 2, got, 4, &e));
    assert_memory_equal(got, "cdef", 4);
    assert_ok(bl_scratch_put(s, 2, "XY", 2, &e));
    assert_ok(bl_scratch_get(s, 0, got, 8, &e));
    assert_memory_equal(got, "abXYefgh", 8);
    assert_refused(bl_scratch_get(s, 4, got, 5, &e), BL_E_IO, "cannot read past its end");
    bl_scratch_close(s);
    bl_scratch_close(other);
    bl_scratch_close(NULL);
    assert_int_equal(names_in(), 0);
    bl_remove_tree(dir, NULL);
}

static void a_full_disk_is_named_with_what_is_needed(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_scratch *s;
    snprintf(dir, sizeof dir, "%s", test_dir());
    char path[4200];
    snprintf(path, sizeof path, "%s/none/variant", dir);
    assert_refused(bl_scratch_open(path, 1, &s, &e), BL_E_DISK, "its directory is not there");
    s = open_one(77000000);
    bl_fs_fail_at(1, ENOSPC, false);
    bl_status st = bl_scratch_put(s, 0, "abcd", 4, &e);
    bl_fs_fail_at(0, 0, false);
    assert_refused(st, BL_E_DISK, "disk full at 77 MB");
    assert_ok(bl_scratch_put(s, 0, "abcd", 4, &e)); /* when there is room again */
    bl_scratch_close(s);
    bl_remove_tree(dir, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_is_got_and_no_name_is_left),
        cmocka_unit_test(a_full_disk_is_named_with_what_is_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
