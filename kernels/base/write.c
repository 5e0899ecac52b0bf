/* write.c - writing: files that appear by rename or not at all, appended files, directories.
 *
 * Every call that could change the disk passes a gate first, so that tests can let the Nth one fail.
 */
#include "fs.h"
#include "base_impl.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- the gate ----------------------------------------------------------------------------------- */
static _Atomic uint64_t n_calls, fail_at;
static _Atomic int fail_errno;
static _Atomic bool fail_sticky;

void bl_fs_fail_at(uint64_t n, int err, bool sticky)
{
    atomic_store(&fail_at, 0);
    atomic_store(&n_calls, 0);
    atomic_store(&fail_errno, err);
    atomic_store(&fail_sticky, sticky);
    atomic_store(&fail_at, n);
}

uint64_t bl_fs_count(void) { return atomic_load(&n_calls); }

bool bl_fs_gate(void)
{
    uint64_t k = atomic_fetch_add(&n_calls, 1) + 1, at = atomic_load(&fail_at);
    if (at == 0 || (k != at && (k < at || !atomic_load(&fail_sticky)))) return true;
    errno = atomic_load(&fail_errno);
    return false;
}

void bl_fault_point(const char *name, const char *path)
{
    static int passed;
    const char *wanted = getenv("BL_FAULT_POINT"), *tail = wanted ? strchr(wanted, '@') : NULL;
    size_t n = strlen(name), k = tail ? strlen(tail + 1) : 0, len = strlen(path);
    if (!wanted || strncmp(wanted, name, n) != 0 || (wanted[n] != 0 && wanted[n] != ':' && wanted[n] != '@')) return;
    if (k > len || (k && strcmp(path + len - k, tail + 1) != 0)) return;
    if (++passed == (wanted[n] == ':' ? atoi(wanted + n + 1) : 1)) raise(SIGSTOP);
}

bl_status bl_fail_write(bl_err *e, const char *path, const char *doing, uint64_t needed, int err)
{
    switch (err) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return bl_fail(e, BL_E_DISK, "%s: cannot %s: disk full, needed ~%llu MB (%s)", path, doing,
                       (unsigned long long)(needed / 1000000 + 1), strerror(err));
    case EROFS:
    case EACCES:
    case EPERM:
    case ENOENT:
    case ENOTDIR:
    case ESTALE:
        return bl_fail(e, BL_E_DISK, "%s: cannot %s: the place is not writable (%s)", path, doing, strerror(err));
    case ENOMEM: return bl_fail(e, BL_E_NOMEM, "%s: cannot %s: %s", path, doing, strerror(err));
    default: return bl_fail(e, BL_E_IO, "%s: cannot %s: %s", path, doing, strerror(err));
    }
}

static int gated_write(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t k = bl_fs_gate() ? write(fd, p, BL_MIN(n, (size_t)1 << 30)) : -1;
        if (k < 0 && errno == EINTR) continue;
        if (k == 0) errno = ENOSPC;
        if (k <= 0) return -1;
        p += k;
        n -= (size_t)k;
    }
    return 0;
}

static int gated_sync(int fd) { return bl_fs_gate() ? fsync(fd) : -1; }

/* Length of the directory part of a path, 0 when there is none; "/" keeps its slash. */
static size_t dir_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return !slash ? 0 : slash == path ? 1 : (size_t)(slash - path);
}

static char *dir_of(const char *path, bl_err *e)
{
    size_t n = dir_length(path);
    return n ? bl_strndup(path, n, e) : bl_strdup(".", e);
}

static bl_status sync_dir(const char *dir, bl_err *e)
{
    bl_status st = BL_OK;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* some file systems cannot sync a directory and say EINVAL: nothing is left to do there */
    if (fd < 0 || (gated_sync(fd) != 0 && errno != EINVAL)) st = bl_fail_write(e, dir, "sync the directory", 0, errno);
    if (fd >= 0) close(fd);
    return st;
}

/* ---- files that appear whole -------------------------------------------------------------------- */
enum { BUFFER = 1 << 18 };
struct bl_writer {
    char *path, *dir, *temp, *buffer;
    uint64_t written; /* bytes in the file */
    size_t pending;   /* bytes in the buffer */
    int fd;           /* locked: bl_clean_temps leaves it alone; -1: closed */
    bool poisoned, renamed;
};

static bl_status poison(bl_writer *w, const char *doing, int err, bl_err *e)
{
    w->poisoned = true;
    return bl_fail_write(e, w->path, doing, w->written + w->pending, err);
}

bl_status bl_writer_open(const char *path, bl_writer **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_writer *w = bl_new(1, sizeof *w, e);
    if (!w) return BL_E_NOMEM;
    w->fd = -1;
    if (!(w->path = bl_strdup(path, e)) || !(w->dir = dir_of(path, e)) || !(w->buffer = bl_new(BUFFER, 1, e)) ||
        !(w->temp = bl_format_text(e, "%s.tmp.%ld", path, (long)getpid()))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int try = 0; w->fd < 0 && try < 2; try++) {
        w->fd = bl_fs_gate() ? open(w->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666) : -1;
        if (w->fd >= 0 || errno != EEXIST) break;
        unlink(w->temp); /* left by an earlier process that had our pid */
    }
    if (w->fd < 0) {
        int err = errno;
        st = bl_fail_write(e, path, "create", 0, err);
        bl_free(w->temp); /* not ours to remove */
        w->temp = NULL;
        goto out;
    }
    (void)flock(w->fd, LOCK_EX | LOCK_NB);
    *out = w;
    w = NULL;
out:
    bl_writer_drop(w);
    return st;
}

static bl_status refuse_poisoned(const bl_writer *w, bl_err *e)
{
    return bl_fail(e, BL_E_DISK, "%s: not written, an earlier write failed", w->path);
}

static bl_status flush(bl_writer *w, bl_err *e)
{
    if (gated_write(w->fd, w->buffer, w->pending) != 0) return poison(w, "write", errno, e);
    w->written += w->pending;
    w->pending = 0;
    return BL_OK;
}

bl_status bl_writer_add(bl_writer *w, const void *p, size_t n, bl_err *e)
{
    if (w->poisoned) return refuse_poisoned(w, e);
    bl_status st = BL_OK;
    if (n > BUFFER / 2 || n > BUFFER - w->pending) BL_TRY(flush(w, e)); /* what waits goes first */
    if (n > BUFFER / 2) {
        if (gated_write(w->fd, p, n) != 0) {
            w->pending = 0;
            w->written += n;
            return poison(w, "write", errno, e);
        }
        w->written += n;
    } else if (n > 0) {
        memcpy(w->buffer + w->pending, p, n);
        w->pending += n;
    }
out:
    return st;
}

bl_status bl_writer_at(bl_writer *w, uint64_t offset, const void *p, size_t n, bl_err *e)
{
    if (w->poisoned) return refuse_poisoned(w, e);
    bl_status st = BL_OK;
    if (n > bl_writer_tell(w) || offset > bl_writer_tell(w) - n) {
        w->poisoned = true;
        return bl_fail(e, BL_E_INTERNAL, "%s: bytes %llu..%llu are not inside the %llu that were written", w->path,
                       (unsigned long long)offset, (unsigned long long)offset + n,
                       (unsigned long long)bl_writer_tell(w));
    }
    BL_TRY(flush(w, e));
    for (const char *s = p; n > 0;) {
        ssize_t k = bl_fs_gate() ? pwrite(w->fd, s, n, (off_t)offset) : -1;
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return poison(w, "write", k == 0 ? ENOSPC : errno, e);
        s += k;
        n -= (size_t)k;
        offset += (uint64_t)k;
    }
out:
    return st;
}

uint64_t bl_writer_tell(const bl_writer *w) { return w->written + w->pending; }

bl_status bl_writer_commit(bl_writer *w, bl_err *e)
{
    if (w->poisoned) return refuse_poisoned(w, e);
    bl_status st = BL_OK;
    BL_TRY(flush(w, e));
    if (gated_sync(w->fd) != 0) return poison(w, "sync", errno, e);
    bl_fault_point("before-rename", w->path);
    if (!bl_fs_gate() || rename(w->temp, w->path) != 0) return poison(w, "rename into place", errno, e);
    w->renamed = true;
    bl_fault_point("after-rename", w->path);
    if ((st = sync_dir(w->dir, e)) != BL_OK) {
        w->poisoned = true;
        goto out;
    }
    bl_writer_drop(w);
out:
    return st;
}

void bl_writer_drop(bl_writer *w)
{
    if (!w) return;
    if (w->temp && !w->renamed) unlink(w->temp);
    if (w->fd >= 0) close(w->fd);
    bl_free(w->path);
    bl_free(w->dir);
    bl_free(w->temp);
    bl_free(w->buffer);
    bl_free(w);
}

bl_status bl_write_file(const char *path, const void *p, size_t n, bl_err *e)
{
    bl_status st = BL_OK;
    bl_writer *w = NULL;
    BL_TRY(bl_writer_open(path, &w, e));
    BL_TRY(bl_writer_add(w, p, n, e));
    BL_TRY(bl_writer_commit(w, e));
    w = NULL;
out:
    bl_writer_drop(w);
    return st;
}

/* "…tmp.<pid>": the pid, or 0. */
static long temp_pid(const char *name)
{
    const char *dot = strrchr(name, '.');
    if (!dot || dot - name < 4 || strncmp(dot - 4, ".tmp", 4) != 0 || !isdigit((unsigned char)dot[1])) return 0;
    char *end;
    long pid = strtol(dot + 1, &end, 10);
    return *end == 0 ? pid : 0;
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

void bl_clean_temps(const char *dir)
{
    char **names = NULL;
    size_t n = 0;
    if (bl_dir_list(dir, &names, &n, NULL) != BL_OK) return;
    for (size_t i = 0; i < n; i++) {
        long pid = temp_pid(names[i]);
        char *path = pid > 0 ? bl_join(dir, names[i], NULL) : NULL;
        if (path && is_abandoned(path, pid)) unlink(path);
        bl_free(path);
    }
    bl_list_free(names, n);
}

/* ---- appended files ----------------------------------------------------------------------------- */
bl_status bl_append_open(const char *path, uint64_t keep, int *fd, bl_err *e)
{
    bl_status st = BL_OK;
    struct stat s;
    int f = bl_fs_gate() ? open(path, O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC, 0666) : -1;
    if (f < 0) return bl_fail_write(e, path, "open", 0, errno);
    if (fstat(f, &s) != 0) {
        st = bl_fail_read(e, path, "look at", errno);
        goto out;
    }
    if (!S_ISREG(s.st_mode)) {
        st = bl_fail(e, BL_E_FORMAT, "%s: is not a regular file", path);
        goto out;
    }
    if ((uint64_t)s.st_size < keep) {
        st = bl_fail(e, BL_E_CORRUPT, "%s: %llu bytes, expected at least %llu", path, (unsigned long long)s.st_size,
                     (unsigned long long)keep);
        goto out;
    }
    if ((uint64_t)s.st_size > keep && (!bl_fs_gate() || ftruncate(f, (off_t)keep) != 0)) {
        st = bl_fail_write(e, path, "shorten", 0, errno);
        goto out;
    }
    *fd = f;
    return BL_OK;
out:
    close(f);
    return st;
}

bl_status bl_append(int fd, const char *path, const void *p, size_t n, bl_err *e)
{
    return gated_write(fd, p, n) == 0 ? BL_OK : bl_fail_write(e, path, "append", n, errno);
}

bl_status bl_append_sync(int fd, const char *path, bl_err *e)
{
    return bl_fs_gate() && fdatasync(fd) == 0 ? BL_OK : bl_fail_write(e, path, "sync", 0, errno);
}

/* ---- directories -------------------------------------------------------------------------------- */
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
    if (fd < 0 || gated_write(fd, "usable\n", 7) != 0 || gated_sync(fd) != 0)
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
    char *dir = dir_of(to, e); /* before the rename: nothing but the disk fails after it */
    if (!dir) return BL_E_NOMEM;
    bl_status st = BL_OK;
    if (!bl_fs_gate() || rename(from, to) != 0) {
        int err = errno;
        st = bl_fail_write(e, to, "rename into place", 0, err);
        bl_within(e, "%s", from);
    } else st = sync_dir(dir, e);
    bl_free(dir);
    return st;
}
