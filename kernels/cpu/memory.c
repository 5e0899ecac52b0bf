/* memory.c - buffers of the CPU backend, their limit and peak, copies. */
#include "cpu.h"
#include <inttypes.h>

enum { READABLE_AFTER = 64 }; /* fast paths load whole vectors */

bl_status bl_cpu_buffer_new(bl_backend *be, uint64_t bytes, bl_buffer **out, bl_err *e)
{
    bl_cpu *c = be->own;
    bl_status st = bl_check_room(be, bytes, c->now, e);
    if (st != BL_OK) return st;
    bl_buffer *b = bl_new(1, sizeof *b, e);
    if (!b) return BL_E_NOMEM;
    if (bytes > SIZE_MAX - READABLE_AFTER || !(b->data = bl_new(bytes + READABLE_AFTER, 1, e))) {
        bl_free(b);
        return bl_fail(e, BL_E_NOMEM, "no memory for a buffer of %" PRIu64 " bytes", bytes);
    }
    b->backend = be;
    b->bytes = bytes;
    c->now += bytes;
    c->peak = BL_MAX(c->peak, c->now);
    *out = b;
    return BL_OK;
}

void bl_cpu_buffer_free(bl_buffer *b)
{
    if (!b) return;
    bl_cpu *c = b->backend->own;
    c->now -= b->bytes;
    bl_free(b->data);
    bl_free(b);
}

bl_status bl_cpu_upload(bl_backend *be, const bl_tensor *dst, const void *host, bl_err *e)
{
    (void)be;
    bl_status st = bl_check_copy(dst, "upload", e);
    if (st == BL_OK && bl_tensor_bytes(dst)) memcpy(bl_cpu_at(dst), host, bl_tensor_bytes(dst));
    return st;
}

bl_status bl_cpu_download(bl_backend *be, const bl_tensor *src, void *host, bl_err *e)
{
    (void)be;
    bl_status st = bl_check_copy(src, "download", e);
    if (st == BL_OK && bl_tensor_bytes(src)) memcpy(host, bl_cpu_at(src), bl_tensor_bytes(src));
    return st;
}

bl_status bl_cpu_fill(bl_backend *be, const bl_tensor *dst, double value, bl_err *e)
{
    (void)be;
    unsigned char element[8], *p = bl_cpu_at(dst);
    size_t size = bl_dtype_bytes(dst->dtype);
    bl_status st = bl_check_copy(dst, "fill", e);
    if (st != BL_OK) return st;
    bl_dtype_put(dst->dtype, value, element);
    if (value == 0 && !signbit(value)) { /* zeros in every type */
        memset(p, 0, bl_tensor_bytes(dst));
        return BL_OK;
    }
    for (int64_t i = 0, n = bl_tensor_count(dst); i < n; i++) memcpy(p + (size_t)i * size, element, size);
    return BL_OK;
}

bl_status bl_cpu_sync(bl_backend *be, bl_err *e)
{
    (void)be;
    (void)e;
    return BL_OK;
}

void bl_cpu_memory(const bl_backend *be, uint64_t *now, uint64_t *peak)
{
    const bl_cpu *c = be->own;
    if (now) *now = c->now;
    if (peak) *peak = c->peak;
}
