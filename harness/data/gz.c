/* gz.c - gzip files through zlib, bounded.
 *
 * The output grows by doubling and never beyond `max`, so a small file that claims gigabytes costs `max` bytes at most
 * and is then refused. Several members one after the other are one stream, as gzip itself has it.
 */
#include "gz.h"
#include <inttypes.h>
#include <string.h>
#include <zlib.h>

static voidpf gz_alloc(voidpf opaque, uInt items, uInt size)
{
    (void)opaque;
    return bl_new(items, size, NULL);
}
static void gz_free(voidpf opaque, voidpf p)
{
    (void)opaque;
    bl_free(p);
}

bool bl_gz_named(const char *path)
{
    size_t n = strlen(path);
    return n > 3 && !strcmp(path + n - 3, ".gz");
}

bl_status bl_gz_unpack(const char *name, const void *p, size_t n, uint64_t max, char **out, size_t *n_out, bl_err *e)
{
    bl_status st = BL_OK;
    z_stream z = {.zalloc = gz_alloc, .zfree = gz_free};
    const uint8_t *in = p;
    char *buf = NULL;
    size_t cap = 0, at = 0, used = 0;
    bool open = false;
    int rc;

    if (n < 2 || in[0] != 0x1f || in[1] != 0x8b) {
        st = bl_fail(e, BL_E_FORMAT, "%s: named .gz but not gzip", name);
        goto out;
    }
    if ((rc = inflateInit2(&z, 15 + 16)) != Z_OK) {
        st = bl_fail(e, BL_E_NOMEM, "%s: zlib cannot start (%d)", name, rc);
        goto out;
    }
    open = true;

    for (rc = Z_OK; used < n || rc != Z_STREAM_END;) {
        if (rc == Z_STREAM_END) { /* another member */
            if (in[used] != 0x1f) {
                st = bl_fail(e, BL_E_FORMAT, "%s: %zu bytes after the end of the gzip data", name, n - used);
                goto out;
            }
            inflateReset(&z);
        }
        if (at == cap || at > max) {
            if (at > max) {
                st = bl_fail(e, BL_E_FORMAT, "%s: unpacks to more than %" PRIu64 " bytes", name, max);
                goto out;
            }
            BL_TRY(bl_grow(&buf, &cap, at + (1 << 16), 1, e));
        }
        z.next_in = (Bytef *)(uintptr_t)(in + used);
        z.avail_in = (uInt)BL_MIN(n - used, (size_t)1 << 30);
        z.next_out = (Bytef *)buf + at;
        z.avail_out = (uInt)BL_MIN(cap - at, (size_t)1 << 30);
        uInt had_in = z.avail_in, had_out = z.avail_out;
        rc = inflate(&z, Z_NO_FLUSH);
        used += had_in - z.avail_in;
        at += had_out - z.avail_out;
        if (rc == Z_MEM_ERROR) {
            st = bl_fail(e, BL_E_NOMEM, "%s: no memory to unpack it", name);
            goto out;
        }
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR) {
            st = bl_fail(e, BL_E_FORMAT, "%s: gzip data is damaged at byte %zu (%s)", name, used,
                         z.msg ? z.msg : "zlib");
            goto out;
        }
        if (rc != Z_STREAM_END && used == n && z.avail_out > 0) {
            st = bl_fail(e, BL_E_FORMAT, "%s: gzip data ends early, after %zu bytes", name, n);
            goto out;
        }
    }
    if (at > max) {
        st = bl_fail(e, BL_E_FORMAT, "%s: unpacks to more than %" PRIu64 " bytes", name, max);
        goto out;
    }
    BL_TRY(bl_grow(&buf, &cap, at + 1, 1, e));
    buf[at] = 0;
    *out = buf;
    *n_out = at;
    buf = NULL;
out:
    if (open) inflateEnd(&z);
    bl_free(buf);
    return st;
}

const char *bl_gz_version(void)
{
    static char text[32];
    snprintf(text, sizeof text, "zlib %s", zlibVersion());
    return text;
}
