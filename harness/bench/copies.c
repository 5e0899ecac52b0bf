/* copies.c - one weight many times, more than the caches hold: whoever goes from one copy to the next finds nothing of
 * it in a cache, as a model that multiplies by one layer after another does.
 */
#include "bench_impl.h"
#include <string.h>
#include <unistd.h>

uint64_t bl_copies_bytes(void)
{
    const int64_t least = 64 << 20,
                  most = 192 << 20; /* a virtual machine names the cache of cores that are not its own */
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    return (uint64_t)BL_MIN(BL_MAX(2 * (int64_t)BL_MAX(cache, 0L), least), most);
}

void bl_copies_free(bl_copies *c)
{
    for (size_t i = 0; i < c->n && c->w; i++) bl_weight_free(&c->w[i]);
    bl_free(c->w);
    bl_free(c->host);
    *c = (bl_copies){0};
}

/* Weights of less than 30 kB are of no layer, and their copies would be too many. */
static size_t how_many(uint64_t all, uint64_t each) { return (size_t)BL_MIN(all / BL_MAX(each, 1u) + 2, 2048u); }

bl_status bl_copies_of_weight(bl_backend *be, const bl_weight *w, uint64_t all, bl_copies *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_copies c = {.n = how_many(all, bl_weight_bytes(w))};
    void *bytes = NULL;

    if (!(c.w = bl_new(c.n, sizeof *c.w, e))) return BL_E_NOMEM;
    for (size_t i = 0; i < c.n; i++) {
        BL_TRY(bl_weight_new(be, w->format, &w->shape, &c.w[i], e));
        c.w[i].layout = w->layout;
    }
    for (int k = 0; k < w->n_parts; k++) {
        bl_free(bytes);
        if (!(bytes = bl_new(bl_tensor_bytes(&w->part[k]), 1, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        BL_TRY(be->ops->download(be, &w->part[k], bytes, e));
        for (size_t i = 0; i < c.n; i++) BL_TRY(be->ops->upload(be, &c.w[i].part[k], bytes, e));
    }
    BL_TRY(be->ops->sync(be, e));
    *out = c;
out:
    bl_free(bytes);
    if (st != BL_OK) bl_copies_free(&c);
    return st;
}

bl_status bl_copies_of_floats(const float *w, size_t n, uint64_t all, bl_copies *out, bl_err *e)
{
    bl_copies c = {.n = how_many(all, n * sizeof *w), .floats = n};

    if (!(c.host = bl_new(c.n * n, sizeof *w, e))) return BL_E_NOMEM;
    for (size_t i = 0; i < c.n; i++) memcpy(c.host + i * n, w, n * sizeof *w);
    *out = c;
    return BL_OK;
}

size_t bl_copies_next(bl_copies *c) { return c->at = (c->at + 1) % c->n; }
