/* item_file.c - the file: 64 bytes of header (magic, owner), then for each item 40 bytes (magic, id, length, XXH3-128)
 * and the bytes. */
#include "item_file.h"
#include "kernels/base/fs.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEADER = 64 };
static const char magic[8] = "blchunk1";
static const uint64_t item_magic = 0x6d65746b6e756863ull;
typedef struct item_header {
    uint64_t magic;
    int64_t id;
    uint64_t n, hi, lo;
} item_header;
typedef struct entry {
    int64_t id;
    uint64_t at, n;
} entry;

struct bl_item_file {
    char *path;
    int fd;
    bool writable;
    uint64_t end; /* where the next item goes */
    entry *item;
    size_t n_items, cap; /* sorted by id */
};

/* Index of the first entry that is not below id. */
static size_t place(const bl_item_file *c, int64_t id)
{
    size_t lo = 0, hi = c->n_items;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (c->item[mid].id < id) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

static bl_status note(bl_item_file *c, int64_t id, uint64_t at, uint64_t n, bl_err *e)
{
    bl_status st = bl_grow(&c->item, &c->cap, c->n_items + 1, sizeof *c->item, e);
    if (st != BL_OK) return st;
    size_t i = place(c, id);
    memmove(&c->item[i + 1], &c->item[i], (c->n_items - i) * sizeof *c->item);
    c->item[i] = (entry){id, at, n};
    c->n_items++;
    return BL_OK;
}

static bool read_at(int fd, void *p, size_t n, uint64_t at)
{
    char *to = p;
    while (n > 0) {
        ssize_t got = pread(fd, to, n, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        to += got;
        at += (uint64_t)got;
        n -= (size_t)got;
    }
    return true;
}

/* Walks the items whose lengths fit the file. Only the last is hashed here (a torn write is at the end); get checks the
 * others. */
static bl_status scan(bl_item_file *c, uint64_t size, bl_err *e)
{
    bl_status st = BL_OK;
    item_header h, last = {0};
    uint64_t at = HEADER, last_at = 0;

    while (at + sizeof h <= size && read_at(c->fd, &h, sizeof h, at) && h.magic == item_magic &&
           h.n <= size - at - sizeof h) {
        BL_TRY(note(c, h.id, at + sizeof h, h.n, e));
        last = h;
        last_at = at;
        at += sizeof h + h.n;
    }
    if (last_at) {
        void *p = bl_new(last.n, 1, e);
        if (!p) {
            st = BL_E_NOMEM;
            goto out;
        }
        bl_hash got = {0};
        bool whole = read_at(c->fd, p, last.n, last_at + sizeof h);
        if (whole) got = bl_hash_bytes(p, last.n);
        bl_free(p);
        if (!whole || got.hi != last.hi || got.lo != last.lo) {
            size_t i = place(c, last.id);
            memmove(&c->item[i], &c->item[i + 1], (c->n_items - i - 1) * sizeof *c->item);
            c->n_items--;
            at = last_at;
        }
    }
    c->end = at;
out:
    return st;
}

bl_status bl_item_file_open(const char *path, bl_hash owner, bool writable, bl_item_file **out, bl_err *e)
{
    bl_status st = BL_OK;
    uint8_t header[HEADER] = {0}, want[HEADER] = {0};
    bl_item_file *c = bl_new(1, sizeof *c, e);

    if (!c) return BL_E_NOMEM;
    c->fd = -1;
    c->writable = writable;
    memcpy(want, magic, sizeof magic);
    memcpy(want + 8, &owner.hi, 8);
    memcpy(want + 16, &owner.lo, 8);
    if (!(c->path = bl_strdup(path, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    c->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    bool ours = c->fd >= 0 && read_at(c->fd, header, HEADER, 0) && memcmp(header, want, HEADER) == 0;
    if (ours) {
        off_t size = lseek(c->fd, 0, SEEK_END);
        BL_TRY(scan(c, size < 0 ? 0 : (uint64_t)size, e));
        if (!writable && c->end != (uint64_t)size) {
            st = bl_fail(e, BL_E_CORRUPT, "%s: torn after %zu items", path, c->n_items);
            goto out;
        }
    } else if (!writable) {
        st = c->fd < 0 ? bl_fail(e, BL_E_MISSING, "%s: %s", path, strerror(errno))
                       : bl_fail(e, BL_E_CORRUPT, "%s: belongs to another cell", path);
        goto out;
    }
    if (writable) {
        if (c->fd >= 0) close(c->fd);
        c->fd = -1;
        BL_TRY(bl_append_open(path, ours ? c->end : 0, &c->fd, e));
        if (!ours) {
            BL_TRY(bl_append(c->fd, path, want, HEADER, e));
            c->end = HEADER;
        }
    }
    *out = c;
    c = NULL;
out:
    bl_item_file_close(c);
    return st;
}

bool bl_item_file_has(const bl_item_file *c, int64_t id)
{
    size_t i = place(c, id);
    return i < c->n_items && c->item[i].id == id;
}

bl_status bl_item_file_add(bl_item_file *c, int64_t id, const void *p, size_t n, bl_err *e)
{
    bl_status st = BL_OK;
    bl_hash hash = bl_hash_bytes(p, n);
    item_header h = {item_magic, id, n, hash.hi, hash.lo};

    if (bl_item_file_has(c, id)) return BL_OK;
    BL_TRY(bl_append(c->fd, c->path, &h, sizeof h, e));
    BL_TRY(bl_append(c->fd, c->path, p, n, e));
    BL_TRY(note(c, id, c->end + sizeof h, n, e));
    c->end += sizeof h + n;
out:
    return st;
}

bl_status bl_item_file_get(bl_item_file *c, int64_t id, void **out, size_t *n, bl_err *e)
{
    bl_status st = BL_OK;
    size_t i = place(c, id);
    item_header h;
    void *p = NULL;
    int fd = -1;

    if (i == c->n_items || c->item[i].id != id)
        return bl_fail(e, BL_E_MISSING, "%s: item %lld is not in it", c->path, (long long)id);
    if (!(p = bl_new(c->item[i].n, 1, e))) return BL_E_NOMEM;
    fd = open(c->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || !read_at(fd, &h, sizeof h, c->item[i].at - sizeof h) ||
        !read_at(fd, p, c->item[i].n, c->item[i].at)) {
        st = bl_fail(e, BL_E_CORRUPT, "%s: item %lld cannot be read", c->path, (long long)id);
        goto out;
    }
    bl_hash got = bl_hash_bytes(p, c->item[i].n);
    if (got.hi != h.hi || got.lo != h.lo) {
        st = bl_fail(e, BL_E_CORRUPT, "%s: item %lld does not check", c->path, (long long)id);
        goto out;
    }
    *out = p;
    *n = c->item[i].n;
    p = NULL;
out:
    if (fd >= 0) close(fd);
    bl_free(p);
    return st;
}

bl_status bl_item_file_sync(bl_item_file *c, bl_err *e) { return bl_append_sync(c->fd, c->path, e); }

void bl_item_file_close(bl_item_file *c)
{
    if (!c) return;
    if (c->fd >= 0) close(c->fd);
    bl_free(c->path);
    bl_free(c->item);
    bl_free(c);
}
