/* kv.c - keys and values of sequences that may share their beginning.
 *
 * Rows are handed out from the front and only come back all together. A slot owns `cap` consecutive rows and continues
 * the first `parent_len` positions of another slot, which may itself continue a third:
 *
 *     slot 0   context         rows 0..39            positions 0..39
 *     slot 1   first choice    rows 40..47, after 40 positions of slot 0
 *     slot 2   second choice   rows 48..59, after 40 positions of slot 0
 *
 * Keys in codes come in groups of positions (ops.h): what a slot owns begins with a whole group, and the keys of its
 * last group are kept as activations are, in rows of its own behind the codes. kv_pages.c hands rows out in another
 * way.
 */
#include "model_impl.h"

static bl_kv_shape shape_of(const bl_kv *kv)
{
    const bl_config *c = &kv->model->config;
    return (bl_kv_shape){kv->format, kv->rows, kv->slots, c->n_kv_heads, c->head_dim};
}

bl_status bl_kv_of(bl_model *m, int64_t rows, int32_t slots, bool one_layer, bl_kv_format f, bl_kv **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_kv *kv = NULL;
    uint64_t n;

    if (!(kv = bl_new(1, sizeof *kv, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    kv->model = m;
    kv->rows = rows;
    kv->slots = slots;
    kv->format = f;
    kv->n_layers = one_layer ? 1 : (int32_t)m->config.n_layers;
    if (!(kv->slot = bl_new((size_t)slots, sizeof *kv->slot, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    const bl_kv_shape shape = shape_of(kv);
    kv->layer_bytes = rows < 0 ? 0 : bl_kv_view_bytes(m->be, &shape);
    if ((rows && !kv->layer_bytes) || __builtin_mul_overflow(kv->layer_bytes, (uint64_t)kv->n_layers, &n)) {
        st = bl_fail(e, BL_E_DEVMEM, "a cache of %lld positions is too large", (long long)rows);
        goto out;
    }
    BL_TRY(m->be->ops->buffer_new(m->be, n, &kv->buf, e));
    m->kv_peak = BL_MAX(m->kv_peak, bl_kv_bytes(kv));
    *out = kv;
    kv = NULL;
out:
    bl_kv_free(kv);
    return st;
}

bl_status bl_kv_new(bl_model *m, int64_t rows, int32_t slots, bool one_layer, bl_kv_format f, bl_kv **out, bl_err *e)
{
    int64_t gaps = BL_MAX(slots - 1, 0) * (bl_kv_granule(f) - 1); /* where what a slot owns ends inside a group */
    return bl_kv_of(m, rows > 0 && rows <= INT64_MAX - gaps ? rows + gaps : rows, slots, one_layer, f, out, e);
}

void bl_kv_free(bl_kv *kv)
{
    if (!kv) return;
    kv->model->be->ops->buffer_free(kv->buf);
    for (int32_t s = 0; s < kv->slots && kv->slot; s++) bl_free(kv->slot[s].page);
    bl_free(kv->slot);
    bl_free(kv->page);
    bl_free(kv->bucket);
    bl_free(kv);
}

void bl_kv_reset(bl_kv *kv)
{
    kv->model->kv_peak = BL_MAX(kv->model->kv_peak, bl_kv_bytes(kv));
    kv->used = 0;
    kv->n_slots = 0;
    if (kv->page) bl_kv_reset_pages(kv);
}

bl_status bl_kv_slot(bl_kv *kv, int64_t cap, int32_t parent, int64_t parent_len, int32_t *slot, bl_err *e)
{
    const int64_t group = bl_kv_granule(kv->format);
    if (kv->n_slots == kv->slots || cap > kv->rows - kv->used)
        return bl_fail(e, BL_E_DEVMEM,
                       "the cache holds %lld positions in %d slots; %lld and %d are taken, %lld more are needed",
                       (long long)kv->rows, (int)kv->slots, (long long)kv->used, (int)kv->n_slots, (long long)cap);
    if (parent >= kv->n_slots || (parent < 0 && parent_len != 0) || cap < 0 || parent_len < 0 ||
        (parent >= 0 && parent_len > kv->slot[parent].parent_len + kv->slot[parent].cap) || parent_len % group)
        return bl_fail(e, BL_E_INTERNAL, "slot %d cannot be continued after %lld positions", (int)parent,
                       (long long)parent_len);
    kv->slot[kv->n_slots] = (bl_kv_part){.parent = parent, .parent_len = parent_len, .row0 = kv->used, .cap = cap};
    kv->used += BL_MIN((cap + group - 1) / group * group, kv->rows - kv->used);
    *slot = kv->n_slots++;
    return BL_OK;
}

int64_t bl_kv_granule(bl_kv_format f) { return bl_kv_bits(f) ? BL_KV_GROUP : 1; }
int64_t bl_kv_len(const bl_kv *kv, int32_t slot) { return kv->slot[slot].parent_len + kv->slot[slot].len; }
uint64_t bl_kv_bytes(const bl_kv *kv) { return kv->buf ? kv->buf->bytes : 0; }

bl_kv_view bl_kv_layer(const bl_kv *kv, int64_t layer)
{
    const bl_kv_shape shape = shape_of(kv);
    return bl_kv_view_at(kv->buf, kv->n_layers == 1 ? 0 : (uint64_t)layer * kv->layer_bytes, &shape);
}
