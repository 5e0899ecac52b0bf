/* scratch.c - a file without a name. */
#include "fs.h"
#include "base_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct bl_scratch {
    int fd;
    uint64_t most; /* bytes it will hold, for the sentence of a full disk */
    char *path;    /* what it was called before the name was taken away */
};

bl_status bl_scratch_open(const char *beside, uint64_t most, bl_scratch **out, bl_err *e)
{
    bl_status st = BL_OK;
    char *dir = bl_dir_of(beside, e);
    bl_scratch *s = dir ? bl_new(1, sizeof *s, e) : NULL;

    if (s) *s = (bl_scratch){.fd = -1, .most = most};
    if (!s || !(s->path = bl_format_text(e, "%s/.scratch.tmp.%ld", dir, (long)getpid()))) {
        st = BL_E_NOMEM;
        goto out;
    }
    s->fd = bl_fs_gate() ? open(s->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    if (s->fd < 0 || unlink(s->path) != 0) {
        st = bl_fail_write(e, s->path, "open", most, errno);
        goto out;
    }
    *out = s;
    s = NULL;
out:
    bl_free(dir);
    bl_scratch_close(s);
    return st;
}

static bl_status seek(const bl_scratch *s, uint64_t at, bl_err *e)
{
    if (lseek(s->fd, (off_t)at, SEEK_SET) >= 0) return BL_OK;
    return bl_fail_read(e, s->path, "seek", errno);
}

bl_status bl_scratch_put(bl_scratch *s, uint64_t at, const void *p, size_t n, bl_err *e)
{
    bl_status st = seek(s, at, e);
    if (st == BL_OK && bl_gated_write(s->fd, p, n) != 0) st = bl_fail_write(e, s->path, "write", s->most, errno);
    return st;
}

bl_status bl_scratch_get(bl_scratch *s, uint64_t at, void *p, size_t n, bl_err *e)
{
    bl_status st = seek(s, at, e);
    char *to = p;
    while (st == BL_OK && n > 0) {
        ssize_t k = read(s->fd, to, BL_MIN(n, (size_t)1 << 30));
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return bl_fail_read(e, s->path, k < 0 ? "read" : "read past its end", k < 0 ? errno : EIO);
        to += k;
        n -= (size_t)k;
    }
    return st;
}

void bl_scratch_close(bl_scratch *s)
{
    if (!s) return;
    if (s->fd >= 0) close(s->fd);
    bl_free(s->path);
    bl_free(s);
}
