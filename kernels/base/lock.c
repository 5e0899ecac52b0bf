/* lock.c - advisory locks: flock, so that a lock dies with its owner; the file says who that is.
 *
 * Where the file system has no flock, the content decides: an owner on this host can be asked for,
 * one on another host cannot, and the message says what to remove.
 */
#include "fs.h"
#include "base_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct bl_lock {
    char *path;
    int fd;
};
typedef struct owner {
    long pid;
    char host[256];
} owner;

static owner myself(void)
{
    owner o = {.pid = (long)getpid()};
    if (gethostname(o.host, sizeof o.host - 1) != 0 || !o.host[0]) strcpy(o.host, "unknown");
    for (char *p = o.host; *p; p++)
        if ((unsigned char)*p <= ' ') *p = '-';
    return o;
}

static bool read_owner(int fd, owner *o)
{
    char text[320];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    *o = (owner){0};
    if (n <= 0) return false;
    text[n] = 0;
    return sscanf(text, "%ld %255s", &o->pid, o->host) == 2 && o->pid > 0;
}

static bl_status write_owner(int fd, const char *path, bl_err *e)
{
    owner me = myself();
    char text[320];
    int n = snprintf(text, sizeof text, "%ld %s\n", me.pid, me.host);
    if (!bl_fs_gate() || ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n)
        return bl_fail_write(e, path, "write", 0, errno);
    return BL_OK;
}

static bl_status busy(int fd, const char *path, bl_err *e)
{
    owner o;
    if (!read_owner(fd, &o)) return bl_fail(e, BL_E_BUSY, "%s: held by another process", path);
    return bl_fail(e, BL_E_BUSY, "%s: held by process %ld on %s", path, o.pid, o.host);
}

/* Without flock: may this file be ours? `made`: we have just created it. */
static bl_status claim(int fd, bool made, const char *path, bl_err *e)
{
    owner o, me = myself();
    if (made) return BL_OK;
    if (!read_owner(fd, &o))
        return bl_fail(e, BL_E_BUSY, "%s: held by an unknown process; if none is running, remove this file", path);
    if (strcmp(o.host, me.host) != 0)
        return bl_fail(e, BL_E_BUSY,
                       "%s: held by process %ld on %s; if it is not running there any more, remove this file", path,
                       o.pid, o.host);
    if (o.pid == me.pid || kill((pid_t)o.pid, 0) == 0 || errno != ESRCH) return busy(fd, path, e);
    return BL_OK;
}

/* One attempt; *again: the file was removed by its owner in between. */
static bl_status attempt(const char *path, int *fd, bool *again, bl_err *e)
{
    bl_status st = BL_OK;
    struct stat mine, named;
    *again = false;
    bool made = true;
    int f = bl_fs_gate() ? open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666) : -1;
    if (f < 0 && errno == EEXIST) {
        made = false;
        f = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (f < 0 && errno == ENOENT) {
            *again = true;
            return BL_OK;
        }
    }
    if (f < 0) return bl_fail_write(e, path, "lock", 0, errno);
    if (fstat(f, &mine) != 0 || !S_ISREG(mine.st_mode)) {
        st = bl_fail(e, BL_E_IO, "%s: is not a regular file", path);
        goto out;
    }
    if (!bl_fs_gate() || flock(f, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) {
            st = busy(f, path, e);
            goto out;
        }
        BL_TRY(claim(f, made, path, e));
    }
    if (stat(path, &named) != 0 || named.st_ino != mine.st_ino || named.st_dev != mine.st_dev) {
        *again = true;
        goto out;
    }
    if ((st = write_owner(f, path, e)) != BL_OK) {
        if (made) unlink(path);
        goto out;
    }
    *fd = f;
    return BL_OK;
out:
    close(f);
    return st;
}

bl_status bl_lock_take(const char *path, bl_lock **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_lock *l = bl_new(1, sizeof *l, e);
    if (!l) return BL_E_NOMEM;
    l->fd = -1;
    if (!(l->path = bl_strdup(path, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    bool again = true;
    for (int try = 0; again && try < 100; try++) BL_TRY(attempt(path, &l->fd, &again, e));
    if (l->fd < 0) {
        st = bl_fail(e, BL_E_BUSY, "%s: taken and given back by others all the time", path);
        goto out;
    }
    *out = l;
    return BL_OK;
out:
    bl_free(l->path);
    bl_free(l);
    return st;
}

void bl_lock_free(bl_lock *l)
{
    if (!l) return;
    unlink(l->path); /* while it is still ours; a waiter sees that its file has no name */
    close(l->fd);
    bl_free(l->path);
    bl_free(l);
}
