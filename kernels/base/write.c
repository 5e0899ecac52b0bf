/* write.c - writing: files that appear by rename or not at all, appended files.
 *
 * Every call that could change the disk passes a gate first, so that tests can let the Nth one fail.
 */
#include "fs.h"
#include "base_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
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
    char size[32];
    switch (err) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        bl_bytes_text(needed, size);
        return bl_fail(e, BL_E_DISK, "%s: cannot %s: disk full%s%s (%s)", path, doing, needed ? " at " : "",
                       needed ? size : "", strerror(err));
    case ENOENT: return bl_fail(e, BL_E_DISK, "%s: cannot %s: its directory is not there", path, doing);
    case EROFS:
    case EACCES:
    case EPERM:
    case ENOTDIR:
    case ESTALE:
        return bl_fail(e, BL_E_DISK, "%s: cannot %s: the place is not writable (%s)", path, doing, strerror(err));
    case ENOMEM: return bl_fail(e, BL_E_NOMEM, "%s: cannot %s: %s", path, doing, strerror(err));
    default: return bl_fail(e, BL_E_IO, "%s: cannot %s: %s", path, doing, strerror(err));
    }
}

int bl_gated_write(int fd, const char *p, size_t n)
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

int bl_gated_sync(int fd) { return bl_fs_gate() ? fsync(fd) : -1; }

/* Length of the directory part of a path, 0 when there is none; "/" keeps its slash. */
static size_t dir_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return !slash ? 0 : slash == path ? 1 : (size_t)(slash - path);
}

char *bl_dir_of(const char *path, bl_err *e)
{
    size_t n = dir_length(path);
    return n ? bl_strndup(path, n, e) : bl_strdup(".", e);
}

bl_status bl_sync_dir(const char *dir, bl_err *e)
{
    bl_status st = BL_OK;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* some file systems cannot sync a directory and say EINVAL: nothing is left to do there */
    if (fd < 0 || (bl_gated_sync(fd) != 0 && errno != EINVAL))
        st = bl_fail_write(e, dir, "sync the directory", 0, errno);
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
    bool through; /* a device, a pipe: it is written, there is nothing to replace */
};

static bl_status poison(bl_writer *w, const char *doing, int err, bl_err *e)
{
    w->poisoned = true;
    return bl_fail_write(e, w->path, doing, w->written + w->pending, err);
}

/* A link to a file stays a link: the file is replaced. */
static char *followed(const char *path, bl_err *e)
{
    struct stat s;
    char *real = lstat(path, &s) == 0 && S_ISLNK(s.st_mode) && stat(path, &s) == 0 && S_ISREG(s.st_mode)
                     ? realpath(path, NULL)
                     : NULL,
         *out = bl_strdup(real ? real : path, e);
    free(real);
    return out;
}

static bl_status open_through(bl_writer *w, bl_err *e)
{
    w->through = true;
    w->fd = bl_fs_gate() ? open(w->path, O_WRONLY | O_CLOEXEC | O_NOCTTY) : -1;
    return w->fd >= 0 ? BL_OK : bl_fail_write(e, w->path, "open", 0, errno);
}

bl_status bl_writer_open(const char *given, bl_writer **out, bl_err *e)
{
    bl_status st = BL_OK;
    char *path = followed(given, e);
    bl_writer *w = bl_new(1, sizeof *w, e);
    if (w) w->fd = -1;
    if (!w || !path) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (!(w->path = bl_strdup(path, e)) || !(w->dir = bl_dir_of(path, e)) || !(w->buffer = bl_new(BUFFER, 1, e)) ||
        !(w->temp = bl_format_text(e, "%s.tmp.%ld", path, (long)getpid()))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (bl_is_stream(path)) {
        bl_free(w->temp);
        w->temp = NULL;
        BL_TRY(open_through(w, e));
        goto made;
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
made:
    *out = w;
    w = NULL;
out:
    bl_free(path);
    bl_writer_drop(w);
    return st;
}

static bl_status refuse_poisoned(const bl_writer *w, bl_err *e)
{
    return bl_fail(e, BL_E_DISK, "%s: not written, an earlier write failed", w->path);
}

static bl_status flush(bl_writer *w, bl_err *e)
{
    if (bl_gated_write(w->fd, w->buffer, w->pending) != 0) return poison(w, "write", errno, e);
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
        if (bl_gated_write(w->fd, p, n) != 0) {
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

bl_status bl_writer_commit(bl_writer *w, bl_err *e)
{
    if (w->poisoned) return refuse_poisoned(w, e);
    bl_status st = BL_OK;
    BL_TRY(flush(w, e));
    if (w->through) {
        bl_writer_drop(w);
        return BL_OK;
    }
    if (bl_gated_sync(w->fd) != 0) return poison(w, "sync", errno, e);
    bl_fault_point("before-rename", w->path);
    if (!bl_fs_gate() || rename(w->temp, w->path) != 0) return poison(w, "rename into place", errno, e);
    w->renamed = true;
    bl_fault_point("after-rename", w->path);
    if ((st = bl_sync_dir(w->dir, e)) != BL_OK) {
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
    return bl_gated_write(fd, p, n) == 0 ? BL_OK : bl_fail_write(e, path, "append", n, errno);
}

bl_status bl_append_sync(int fd, const char *path, bl_err *e)
{
    return bl_fs_gate() && fdatasync(fd) == 0 ? BL_OK : bl_fail_write(e, path, "sync", 0, errno);
}
