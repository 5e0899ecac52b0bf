/* disk.c - sizes of files, and runs that are at work. */
#include "disk.h"
#include "kernels/base/fs.h"
#include <string.h>
#include <sys/stat.h>

uint64_t bl_disk_bytes(const char *path)
{
    struct stat s;
    char **name = NULL;
    size_t n = 0;
    uint64_t sum = 0;

    if (lstat(path, &s) != 0) return 0;
    if (!S_ISDIR(s.st_mode)) return (uint64_t)s.st_size;
    if (bl_dir_list(path, &name, &n, NULL) != BL_OK) return 0;
    for (size_t i = 0; i < n; i++) {
        char *one = bl_join(path, name[i], NULL);
        if (one) sum += bl_disk_bytes(one);
        bl_free(one);
    }
    bl_list_free(name, n);
    return sum;
}

bl_status bl_nobody_runs(const char *dir, bl_err *e)
{
    bl_status st = BL_OK;
    char **name = NULL;
    size_t n = 0;

    BL_TRY(bl_dir_list(dir, &name, &n, e));
    for (size_t i = 0; i < n; i++) {
        bl_lock *lock = NULL;
        if (strncmp(name[i], ".lock-", 6) && strncmp(name[i], ".making-", 8)) continue;
        char *path = bl_join(dir, name[i], e);
        if (!path) {
            st = BL_E_NOMEM;
            goto out;
        }
        st = bl_lock_take(path, &lock, e);
        bl_free(path);
        if (st == BL_E_BUSY) bl_within(e, "%s: a run is at work", dir);
        if (st != BL_OK) goto out;
        bl_lock_free(lock);
    }
out:
    bl_list_free(name, n);
    return st;
}
