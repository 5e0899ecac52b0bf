/* own_dir.h - a directory of the test's own, which fingerprints go to as well; begin and end are those of the group. */
#ifndef BL_TESTS_OWN_DIR_H
#define BL_TESTS_OWN_DIR_H
#include "test.h"
#include "kernels/base/fs.h"

static char dir[4096];

static inline int begin(void **state)
{
    (void)state;
    strcpy(dir, test_dir());
    setenv("XDG_CACHE_HOME", dir, 1);
    return 0;
}

static inline int end(void **state)
{
    bl_err e = {0};
    (void)state;
    return bl_remove_tree(dir, &e);
}
#endif
