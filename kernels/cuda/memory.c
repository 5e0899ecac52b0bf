/* memory.c - buffers of the CUDA backend, their limit and peak, scratch, copies. */
#include "cuda.h"
#include <inttypes.h>
#include <string.h>

bl_status bl_cuda_alloc(bl_backend *be, uint64_t bytes, void **out, bl_err *e)
{
    bl_cuda *c = be->own;
    void *p = NULL;
    bl_status st = bl_check_room(be, bytes, c->held, e);
    if (st != BL_OK) return st;
    if (c->capturing) return bl_fail(e, BL_E_INTERNAL, "memory comes or goes while a graph is recorded");
    cudaError_t err = cudaMallocAsync(&p, BL_MAX(bytes, 1), c->now);
    if (err == cudaErrorMemoryAllocation) { /* what the pool keeps may be in the wrong pieces */
        cudaGetLastError();
        cudaStreamSynchronize(c->first);
        cudaMemPoolTrimTo(c->pool, 0);
        err = cudaMallocAsync(&p, BL_MAX(bytes, 1), c->now);
    }
    if (err == cudaErrorMemoryAllocation && !c->broken[0]) {
        cudaGetLastError();
        return bl_fail(e, BL_E_DEVMEM, "%s has no memory for %" PRIu64 " bytes: %" PRIu64 " are in use", c->about.name,
                       bytes, c->held);
    }
    st = bl_cuda_status(be, err, "allocating memory", e);
    if (st != BL_OK) return st;
    c->held += bytes;
    c->peak = BL_MAX(c->peak, c->held);
    *out = p;
    return BL_OK;
}

void bl_cuda_release(bl_backend *be, void *p, uint64_t bytes)
{
    bl_cuda *c = be->own;
    if (!p) return;
    cudaFreeAsync(p, c->first);
    c->held -= bytes;
}

bl_status bl_cuda_need(bl_backend *be, bl_cuda_scratch which, uint64_t bytes, void **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    if (c->scratch[which].bytes < bytes || !c->scratch[which].p) {
        if (c->n_graphs && c->scratch[which].p) { /* recorded ops go on using the old one */
            BL_TRY(bl_grow(&c->retired, &c->cap_retired, c->n_retired + 1, sizeof *c->retired, e));
            c->retired[c->n_retired++] = c->scratch[which].p;
        } else bl_cuda_release(be, c->scratch[which].p, c->scratch[which].bytes);
        c->scratch[which].p = NULL;
        c->scratch[which].bytes = 0;
        BL_TRY(bl_cuda_alloc(be, bytes, &c->scratch[which].p, e));
        c->scratch[which].bytes = bytes;
    }
    *out = c->scratch[which].p;
out:
    return st;
}

bl_status bl_cuda_buffer_new(bl_backend *be, uint64_t bytes, bl_buffer **out, bl_err *e)
{
    bl_buffer *b = bl_new(1, sizeof *b, e);
    if (!b) return BL_E_NOMEM;
    bl_status st = bl_cuda_alloc(be, bytes, &b->data, e);
    if (st != BL_OK) {
        bl_free(b);
        return st;
    }
    b->backend = be;
    b->bytes = bytes;
    *out = b;
    return BL_OK;
}

void bl_cuda_buffer_free(bl_buffer *b)
{
    if (!b) return;
    bl_cuda_release(b->backend, b->data, b->bytes);
    bl_free(b);
}

/* Through pinned pieces, so that the copy goes on while the host is free. */
bl_status bl_cuda_upload(bl_backend *be, const bl_tensor *dst, const void *host, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    BL_TRY(bl_check_copy(dst, "upload", e));
    for (uint64_t at = 0, all = bl_tensor_bytes(dst), n; at < all; at += n) {
        unsigned i = c->ring_at++ % BL_RING;
        char *piece = (char *)c->ring + (size_t)i * BL_RING_BYTES;
        n = BL_MIN(all - at, (uint64_t)BL_RING_BYTES);
        BL_TRY(bl_cuda_status(be, cudaEventSynchronize(c->ring_free[i]), "upload", e));
        memcpy(piece, (const char *)host + at, n);
        BL_TRY(bl_cuda_status(
            be, cudaMemcpyAsync((char *)bl_cuda_at(dst) + at, piece, n, cudaMemcpyHostToDevice, c->now), "upload", e));
        BL_TRY(bl_cuda_status(be, cudaEventRecord(c->ring_free[i], c->now), "upload", e));
    }
out:
    return st;
}

bl_status bl_cuda_download(bl_backend *be, const bl_tensor *src, void *host, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    uint64_t n = bl_tensor_bytes(src);
    BL_TRY(bl_check_copy(src, "download", e));
    if (n)
        BL_TRY(bl_cuda_status(be, cudaMemcpyAsync(host, bl_cuda_at(src), n, cudaMemcpyDeviceToHost, c->now), "download",
                              e));
    BL_TRY(bl_cuda_sync(be, e));
out:
    return st;
}

bl_status bl_cuda_host_new(bl_backend *be, uint64_t bytes, void **out, bl_err *e)
{
    return bl_cuda_status(be, cudaMallocHost(out, (size_t)BL_MAX(bytes, 1)), "pinning host memory", e);
}

void bl_cuda_host_free(bl_backend *be, void *p)
{
    (void)be;
    if (p) cudaFreeHost(p);
}

bl_status bl_cuda_fill(bl_backend *be, const bl_tensor *dst, double value, bl_err *e)
{
    bl_cuda *c = be->own;
    uint64_t bits = 0;
    bl_status st = bl_check_copy(dst, "fill", e);
    if (st != BL_OK) return st;
    bl_dtype_put(dst->dtype, value, &bits);
    bl_cu_fill(c->now, bl_cuda_at(dst), (int)bl_dtype_bytes(dst->dtype), bits, bl_tensor_count(dst));
    return bl_cuda_launched(be, "fill", e);
}

bl_status bl_cuda_sync(bl_backend *be, bl_err *e)
{
    bl_cuda *c = be->own;
    return bl_cuda_status(be, cudaStreamSynchronize(c->now), "waiting for the device", e);
}

void bl_cuda_memory(const bl_backend *be, uint64_t *now, uint64_t *peak)
{
    const bl_cuda *c = be->own;
    if (now) *now = c->held;
    if (peak) *peak = c->peak;
}
