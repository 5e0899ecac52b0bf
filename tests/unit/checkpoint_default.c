/* The checkpoint that comes with the program. */
#include "harness/checkpoint/checkpoint.h"
#include "kernels/base/fs.h"
#include "test.h"
#include <sys/stat.h>
#include <unistd.h>

static void it_is_found_by_its_name_from_anywhere(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_checkpoint *c;
    const char *dir = test_dir();
    char was[4096];
    assert_non_null(getcwd(was, sizeof was));
    assert_int_equal(chdir(dir), 0);
    assert_ok(bl_checkpoint_open("default", NULL, &c, &e));
    assert_string_equal(bl_checkpoint_name(c), "ladder-tiny");
    const bl_config *f = bl_checkpoint_config(c);
    assert_int_equal(f->dim, 256);
    assert_int_equal(f->n_layers, 6);
    assert_int_equal(f->n_heads, 4);
    assert_int_equal(f->n_kv_heads, 2);
    bl_checkpoint_close(c);

    assert_int_equal(mkdir("default", 0700), 0); /* a directory of that name goes before it */
    assert_int_not_equal(bl_checkpoint_open("default", NULL, &c, &e), BL_OK);
    assert_non_null(strstr(e.text, strrchr(dir, '/') + 1));
    assert_int_equal(chdir(was), 0);
    assert_ok(bl_remove_tree(dir, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_is_found_by_its_name_from_anywhere)};
    return cmocka_run_group_tests_name("the checkpoint of the program", tests, NULL, NULL);
}
