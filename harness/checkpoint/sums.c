/* sums.c - the hashes that a saved model has of its tensors: looked at once, when a tensor is read first. */
#include "checkpoint_impl.h"
#include <stdlib.h>

bl_status bl_sum_put(bl_checkpoint *c, const bl_extent *x, const char *name, bl_hash hash, bl_err *e)
{
    bl_status st = bl_grow(&c->sum, &c->cap_sums, c->n_sums + 1, sizeof *c->sum, e);
    const char *own = st == BL_OK ? bl_arena_str(c->arena, name, strlen(name), e) : NULL;
    if (!own) return BL_E_NOMEM;
    c->sum[c->n_sums++] = (bl_sum){.file = x->file, .offset = x->offset, .bytes = x->bytes, .hash = hash, .name = own};
    return BL_OK;
}

static int by_place(const void *a, const void *b)
{
    const bl_sum *x = a, *y = b;
    if (x->file != y->file) return x->file < y->file ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

void bl_sums_sort(bl_checkpoint *c)
{
    if (c->n_sums) qsort(c->sum, c->n_sums, sizeof *c->sum, by_place);
}

static bl_status check(bl_checkpoint *c, bl_sum *s, bl_err *e)
{
    const bl_map *m = &c->map[s->file];
    char is[33], was[33];
    bl_hash found;

    if (s->checked) return BL_OK;
    found = bl_hash_bytes(m->data + s->offset, s->bytes);
    if (!bl_hash_equal(found, s->hash)) {
        bl_hash_hex(found, is);
        bl_hash_hex(s->hash, was);
        return bl_fail(e, BL_E_CORRUPT,
                       "%s: tensor '%s' is not what was written: its hash is %.12s, bitladder.json says %.12s", m->path,
                       s->name, is, was);
    }
    s->checked = true;
    return BL_OK;
}

bl_status bl_sum_check(bl_checkpoint *c, const bl_extent *x, bl_err *e)
{
    const bl_sum key = {.file = x->file, .offset = x->offset};
    bl_sum *s = c->n_sums ? bsearch(&key, c->sum, c->n_sums, sizeof *c->sum, by_place) : NULL;
    return s && s->bytes == x->bytes ? check(c, s, e) : BL_OK;
}

bl_status bl_checkpoint_check(bl_checkpoint *c, bl_err *e)
{
    for (size_t i = 0; i < c->n_sums; i++) {
        bl_status st = check(c, &c->sum[i], e);
        bl_map_drop(&c->map[c->sum[i].file], c->sum[i].offset, c->sum[i].bytes);
        if (st != BL_OK) return st;
    }
    return BL_OK;
}
