/* copies.c - one weight many times, four times what the caches hold: whoever goes from one copy to the next finds
 * nothing of it in a cache, as a model that multiplies by one layer after another does. Where that cannot be, there are
 * none.
 */
#include "bench_impl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool first_line(const char *path, char *out, size_t size)
{
    FILE *f = fopen(path, "re");
    const bool there = f && fgets(out, (int)size, f);
    if (there) out[strcspn(out, "\n")] = 0;
    if (f) fclose(f);
    return there;
}

uint64_t bl_last_caches(const char *cpus)
{
    enum { GAP = 64, LIST = 256 }; /* numbers without a processor that end the search */
    char path[512], size[32], list[LIST], seen[64][LIST];
    uint64_t all = 0;
    size_t n = 0;
    for (int cpu = 0, missing = 0; missing < GAP; cpu++) {
        snprintf(path, sizeof path, "%s/cpu%d/cache/index3/size", cpus, cpu);
        const bool there = first_line(path, size, sizeof size);
        snprintf(path, sizeof path, "%s/cpu%d/cache/index3/shared_cpu_list", cpus, cpu);
        if (!there || !first_line(path, list, sizeof list)) {
            missing++;
            continue;
        }
        missing = 0;
        size_t i = 0;
        while (i < n && strcmp(seen[i], list) != 0) i++;
        if (i < n || n == BL_COUNT(seen)) continue;
        memcpy(seen[n++], list, sizeof list);
        char *unit;
        const uint64_t k = strtoull(size, &unit, 10);
        all += k << (*unit == 'K' ? 10 : *unit == 'M' ? 20 : 0);
    }
    return all;
}

uint64_t bl_copies_bytes(uint64_t caches, uint64_t memory)
{
    const uint64_t least = 64 << 20, wanted = BL_MAX(4 * caches, least);
    return memory && wanted > memory / 8 ? 0 : wanted;
}

void bl_copies_free(bl_copies *c)
{
    for (size_t i = 0; i < c->n && c->w; i++) bl_weight_free(&c->w[i]);
    bl_free(c->w);
    bl_free(c->host);
    *c = (bl_copies){0};
}

static size_t how_many(uint64_t all, uint64_t each)
{
    const uint64_t n = all / BL_MAX(each, 1u) + 2;
    return all && n <= BL_MOST_COPIES ? (size_t)n : 0;
}

bl_status bl_copies_of_weight(bl_backend *be, const bl_weight *w, uint64_t all, bl_copies *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_copies c = {.n = how_many(all, bl_weight_bytes(w))};
    void *bytes = NULL;

    if (!c.n) goto out;
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
out:
    bl_free(bytes);
    if (st != BL_OK) bl_copies_free(&c);
    *out = c;
    return st;
}

bl_status bl_copies_of_floats(const float *w, size_t n, uint64_t all, bl_copies *out, bl_err *e)
{
    bl_copies c = {.n = how_many(all, n * sizeof *w), .floats = n};

    if (c.n && !(c.host = bl_new(c.n * n, sizeof *w, e))) return BL_E_NOMEM;
    for (size_t i = 0; i < c.n; i++) memcpy(c.host + i * n, w, n * sizeof *w);
    *out = c;
    return BL_OK;
}

size_t bl_copies_next(bl_copies *c) { return c->at = (c->at + 1) % c->n; }
