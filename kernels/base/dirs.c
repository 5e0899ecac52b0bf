/* dirs.c - directories: made, tried, renamed into place, emptied; temporary files of processes that are gone. */
#include "fs.h"
#include "base_impl.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

bl_status bl_make_dirs(const char *path, bl_err *e)
{
    bl_status st = BL_OK;
    char *p = bl_strdup(path, e);
    if (!p) return BL_E_NOMEM;
    for (size_t i = 1; st == BL_OK && p[0]; i++) {
        if (p[i] != '/' && p[i] != 0) continue;
        char was = p[i];
        p[i] = 0;
        if (!bl_is_dir(p)) {
            int err = !bl_fs_gate() || mkdir(p, 0777) != 0 ? errno : 0;
            if (err == EEXIST) err = bl_is_dir(p) ? 0 : ENOTDIR; /* somebody else was faster, or a file is in the way */
            if (err) st = bl_fail_write(e, p, "make the directory", 0, err);
        }
        p[i] = was;
        if (was == 0) break;
    }
    bl_free(p);
    return st;
}

bl_status bl_dir_usable(const char *path, bl_err *e)
{
    bl_status st = BL_OK;
    char *probe = NULL;
    int fd = -1;
    BL_TRY(bl_make_dirs(path, e));
    if (!(probe = bl_format_text(e, "%s/.usable.tmp.%ld", path, (long)getpid()))) {
        st = BL_E_NOMEM;
        goto out;
    }
    fd = bl_fs_gate() ? open(probe, O_WRONLY | O_CREAT | O_CLOEXEC, 0666) : -1;
    if (fd < 0 || bl_gated_write(fd, "usable\n", 7) != 0 || bl_gated_sync(fd) != 0)
        st = bl_fail_write(e, path, "write here", 0, errno);
    if (fd >= 0) {
        close(fd);
        if (unlink(probe) != 0 && st == BL_OK) st = bl_fail_write(e, path, "remove a file here", 0, errno);
    }
out:
    bl_free(probe);
    return st;
}

bl_status bl_rename(const char *from, const char *to, bl_err *e)
{
    char *dir = bl_dir_of(to, e); /* before the rename: nothing but the disk fails after it */
    if (!dir) return BL_E_NOMEM;
    bl_status st = BL_OK;
    if (!bl_fs_gate() || rename(from, to) != 0) {
        int err = errno;
        st = bl_fail_write(e, to, "rename into place", 0, err);
        bl_within(e, "%s", from);
    } else st = bl_sync_dir(dir, e);
    bl_free(dir);
    return st;
}

/* Deletes what is in the directory `fd` (closed here); symbolic links are removed, not followed. */
static int empty_dir(int fd, int depth)
{
    DIR *d = fdopendir(fd);
    if (!d) {
        close(fd);
        return -1;
    }
    int bad = 0, err = 0;
    for (struct dirent *de; !bad && (de = readdir(d)) != NULL;) {
        if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0) continue;
        if (unlinkat(dirfd(d), de->d_name, 0) == 0 || errno == ENOENT) continue;
        if (errno == EISDIR || errno == EPERM) {
            int child = depth > 0 ? openat(dirfd(d), de->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                                  : (errno = ELOOP, -1);
            bad = child < 0 || empty_dir(child, depth - 1) != 0 || unlinkat(dirfd(d), de->d_name, AT_REMOVEDIR) != 0;
        } else bad = 1;
        err = errno;
    }
    closedir(d);
    errno = err;
    return bad ? -1 : 0;
}

bl_status bl_remove_tree(const char *path, bl_err *e)
{
    if (unlink(path) == 0 || errno == ENOENT) return BL_OK;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || empty_dir(fd, 200) != 0 || rmdir(path) != 0) return bl_fail_write(e, path, "remove", 0, errno);
    return BL_OK;
}

char *bl_bare_dir(const char *dir, bl_err *e)
{
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/') n--;
    return bl_strndup(dir, n, e);
}

/* "….<pid>": the pid, or 0. */
static long pid_of(const char *name)
{
    const char *dot = strrchr(name, '.');
    if (!dot || !isdigit((unsigned char)dot[1])) return 0;
    char *end;
    long pid = strtol(dot + 1, &end, 10);
    return *end == 0 ? pid : 0;
}

static bool is_temp(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && dot - name >= 4 && strncmp(dot - 4, ".tmp", 4) == 0;
}

/* A writer on another host has its temporary file locked. Where there are no locks, an hour without a write decides. */
static bool is_abandoned(const char *path, long pid)
{
    if (bl_pid_alive(pid)) return false;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat s;
    bool gone = fd >= 0 && fstat(fd, &s) == 0 && S_ISREG(s.st_mode) &&
                (flock(fd, LOCK_EX | LOCK_NB) == 0 || (errno != EWOULDBLOCK && time(NULL) - s.st_mtime > 3600));
    if (fd >= 0) close(fd);
    return gone;
}

void bl_clean_beside(const char *path, const char *mark)
{
    char **names = NULL, *dir = bl_dir_of(path, NULL);
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    size_t n = 0, k = strlen(base), k_mark = strlen(mark);
    if (dir && bl_dir_list(dir, &names, &n, NULL) != BL_OK) n = 0;
    for (size_t i = 0; i < n; i++) {
        if (strncmp(names[i], base, k) || strncmp(names[i] + k, mark, k_mark)) continue;
        long pid = pid_of(names[i]);
        char *way = pid > 0 ? bl_join(dir, names[i], NULL) : NULL;
        if (way && (bl_is_dir(way) ? !bl_pid_alive(pid) : is_abandoned(way, pid))) (void)bl_remove_tree(way, NULL);
        bl_free(way);
    }
    bl_list_free(names, n);
    bl_free(dir);
}

void bl_clean_temps(const char *dir)
{
    char **names = NULL;
    size_t n = 0;
    if (bl_dir_list(dir, &names, &n, NULL) != BL_OK) return;
    for (size_t i = 0; i < n; i++) {
        long pid = is_temp(names[i]) ? pid_of(names[i]) : 0;
        char *path = pid > 0 ? bl_join(dir, names[i], NULL) : NULL;
        if (path && is_abandoned(path, pid)) unlink(path);
        bl_free(path);
    }
    bl_list_free(names, n);
}
