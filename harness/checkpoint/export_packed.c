/* export_packed.c - one linear of ours in the words of another program, code for code; the other way is unpacker.c. */
#include "checkpoint_impl.h"
#include "export.h"
#include <inttypes.h>

/* ---- can it be said? ---- */
static bl_status refuse(const bl_stored *t, bl_packing_kind kind, const char *why, bl_err *e)
{
    return bl_fail(e, BL_E_UNSUPPORTED, "%s: %s; %s has no place for that", t->name, why, bl_packing_names[kind]);
}

const char *bl_export_transformed(const bl_stored *t, bool order)
{
    const bl_transform *one = t->n_transforms == 1 ? &t->transform[0].t : NULL;
    if (t->n_after) return "its outputs are transformed";
    if (!t->n_transforms || (order && one && one->kind == BL_T_PERMUTE && one->in == t->shape.in)) return NULL;
    return one && one->kind == BL_T_SCALE
               ? "its inputs are scaled while the model runs (awq does without with +online=false)"
               : "its inputs are transformed";
}

static bl_status check_rest(const bl_stored *t, bl_packing_kind kind, bl_err *e)
{
    if (t->act.bits) return refuse(t, kind, "its inputs are quantized", e);
    if (t->n_adapters) return refuse(t, kind, "it has an adapter", e);
    const char *why = bl_export_transformed(t, true);
    if (why) return refuse(t, kind, why, e);
    if (t->n_transforms && kind == BL_PACKED_AWQ) return refuse(t, kind, "its inputs are in an order of their own", e);
    if (t->n_transforms && kind == BL_PACKED_CT)
        return bl_fail(
            e, BL_E_UNSUPPORTED,
            "%s: its inputs are in an order of their own; compressed-tensors has none since 0.19 (actorder \"group\", "
            "weight_g_idx); gptq has",
            t->name);
    return BL_OK;
}

static bl_status check_one(const bl_stored *t, bl_packing_kind kind, bl_err *e)
{
    char text[64], why[160];
    const bl_shape *g = &t->shape;
    int b = t->format->bits;
    bool gptq = kind == BL_PACKED_GPTQ || kind == BL_PACKED_GPTQ_V2;
    bl_stored_text(t->format, g, text);
    snprintf(why, sizeof why, "it is stored as %s", text);
    if (t->format->kind != BL_FMT_INT || b == 1) return refuse(t, kind, why, e);
    if (gptq && b != 2 && b != 3 && b != 4 && b != 8) return refuse(t, kind, why, e);
    if (kind == BL_PACKED_AWQ && b != 4) return refuse(t, kind, why, e);
    if (g->zero != BL_ZERO_NONE && g->zero != BL_ZERO_PACKED)
        return refuse(t, kind, "its zero points are not among the codes", e);
    if (gptq && g->scale != BL_F16) return refuse(t, kind, "its scales are not fp16", e);
    if (kind == BL_PACKED_AWQ && g->scale == BL_F32) return refuse(t, kind, "its scales are fp32", e);
    if (!gptq && bl_shape_ragged(g)) return refuse(t, kind, "its last group is short", e);
    if (kind != BL_PACKED_CT && ((g->out * b) % 32 || (kind != BL_PACKED_AWQ && (g->in * b) % 32)))
        return refuse(t, kind, "its codes do not fill words of 32 bits", e);
    return check_rest(t, kind, e);
}

bl_status bl_export_packing(const bl_checkpoint *c, bl_packing_kind kind, bl_packing *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_stored *first = NULL;
    bool rows = true;
    bl_packing p = {.kind = kind};
    for (size_t i = 0; i < c->n; i++) {
        const bl_stored *t = &c->stored[i];
        if (bl_roles[t->role].kind != BL_KIND_LINEAR) {
            if (t->format->kind != BL_FMT_DENSE) return refuse(t, kind, "it is quantized and no linear of a block", e);
            BL_TRY(check_rest(t, kind, e));
            continue;
        }
        BL_TRY(check_one(t, kind, e));
        if (!first) first = t;
        if (t->format != first->format || (t->shape.zero == BL_ZERO_NONE) != (first->shape.zero == BL_ZERO_NONE))
            return refuse(t, kind, "its width or zero points are not those of the other linears", e);
        rows = rows && t->shape.group == t->shape.in;
        p.ordered = p.ordered || t->n_transforms;
        p.group = BL_MAX(p.group, t->shape.group);
    }
    p.bits = first->format->bits;
    p.symmetric = first->shape.zero == BL_ZERO_NONE;
    for (size_t i = 0; i < c->n && !rows; i++) {
        const bl_stored *t = &c->stored[i];
        if (bl_roles[t->role].kind == BL_KIND_LINEAR && t->shape.group != BL_MIN(p.group, t->shape.in))
            return refuse(t, kind, "its groups are not those of the other linears", e);
    }
    if (rows) { /* of one group there is no order to tell */
        p.group = -1;
        p.ordered = false;
    }
    *out = p;
out:
    return st;
}

/* ---- tensors ---- */
static int64_t words(int64_t n, int bits) { return (n * bits + 31) / 32; }

static bl_export_tensor tensor(const char *part, const char *dtype, int size, int64_t d0, int64_t d1)
{
    return (bl_export_tensor){.part = part,
                              .dtype = dtype,
                              .ndim = d1 ? 2 : 1,
                              .dim = {d0, d1},
                              .bytes = (uint64_t)size * (uint64_t)d0 * (uint64_t)(d1 ? d1 : 1)};
}

int bl_export_tensors(const bl_packing *p, const bl_stored *t, bl_export_tensor out[BL_EXPORT_TENSORS])
{
    const bl_shape *g = &t->shape;
    int64_t groups = bl_shape_groups(g);
    const char *scale = bl_dtype_name(g->scale);
    int size = (int)bl_dtype_bytes(g->scale), n = 0;
    if (p->kind == BL_PACKED_CT) {
        out[n++] = tensor("weight_packed", "I32", 4, g->out, words(g->in, p->bits));
        out[n++] = tensor("weight_scale", scale, size, g->out, groups);
        out[n++] = p->symmetric ? tensor("weight_shape", "I64", 8, 2, 0)
                                : tensor("weight_zero_point", "I32", 4, words(g->out, p->bits), groups);
        if (!p->symmetric) out[n++] = tensor("weight_shape", "I64", 8, 2, 0);
        return n;
    }
    bool awq = p->kind == BL_PACKED_AWQ;
    out[n++] = tensor("qweight", "I32", 4, awq ? g->in : words(g->in, p->bits), awq ? g->out / 8 : g->out);
    out[n++] = tensor("qzeros", "I32", 4, groups, words(g->out, p->bits));
    out[n++] = tensor("scales", scale, size, groups, g->out);
    if (!awq) out[n++] = tensor("g_idx", "I32", 4, g->in, 0);
    return n;
}

/* ---- bytes ---- */
static unsigned get(const uint8_t *row, int b, int64_t i)
{
    int64_t bit = i * b;
    int at = (int)(bit & 7);
    unsigned v = row[bit >> 3] >> at;
    if (at + b > 8) v |= (unsigned)row[(bit >> 3) + 1] << (8 - at);
    return v & ((1u << b) - 1);
}

static void put(uint8_t *words, int64_t first, int64_t step, int64_t i, int b, unsigned v)
{
    int64_t bit = i * b, w = first + bit / 32 * step;
    int at = (int)(bit % 32);
    uint32_t low = bl_u32_at(words + 4 * w) | v << at;
    memcpy(words + 4 * w, &low, 4);
    if (at + b <= 32) return;
    uint32_t high = bl_u32_at(words + 4 * (w + step)) | v >> (32 - at);
    memcpy(words + 4 * (w + step), &high, 4);
}

static void put_awq(uint8_t *words, int64_t row0, int64_t out, unsigned v)
{
    static const int field[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    uint8_t *w = words + 4 * (row0 + out / 8);
    uint32_t x = bl_u32_at(w) | v << 4 * field[out % 8];
    memcpy(w, &x, 4);
}

/* Of 2, 4 and 8 bits 1 is taken from every field in one subtraction, so that a zero of 0 borrows. */
static void less_one(const bl_packing *p, uint8_t *zeros, uint64_t bytes)
{
    uint32_t ones = UINT32_MAX / ((1u << p->bits) - 1);
    for (uint64_t at = 0; at < bytes; at += 4) {
        uint32_t x = bl_u32_at(zeros + at) - ones;
        memcpy(zeros + at, &x, 4);
    }
}

bl_status bl_export_order(bl_checkpoint *c, const bl_stored *t, int32_t **out, bl_err *e)
{
    bl_status st = BL_OK;
    *out = NULL;
    if (!t->n_transforms) return BL_OK;
    const bl_extent *x = &t->transform[0].extent;
    int64_t in = t->shape.in;
    uint8_t *seen = bl_new((size_t)in, 1, e);
    int32_t *order = bl_new((size_t)in, sizeof *order, e);
    if (!seen || !order) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_sum_check(c, x, e));
    memcpy(order, c->map[x->file].data + x->offset, x->bytes);
    for (int64_t i = 0; i < in; i++) {
        if (order[i] < 0 || order[i] >= in || seen[order[i]]) {
            st = bl_fail(e, BL_E_UNSUPPORTED, "%s: input %d is taken twice or is none of %" PRId64, t->name, order[i],
                         in);
            goto out;
        }
        seen[order[i]] = 1;
    }
    *out = order;
    order = NULL;
out:
    bl_free(order);
    bl_free(seen);
    return st;
}

static void fill(const bl_packing *p, const bl_stored *t, const bl_part_spec *spec, uint8_t *const part[],
                 const int32_t *order, const bl_export_tensor *x, uint8_t *const to[])
{
    const bl_shape *g = &t->shape;
    int64_t groups = bl_shape_groups(g), out = g->out;
    size_t size = bl_dtype_bytes(g->scale);
    bool ct = p->kind == BL_PACKED_CT, awq = p->kind == BL_PACKED_AWQ;
    uint8_t *scales = to[ct ? 1 : 2], *zeros = ct ? (p->symmetric ? NULL : to[2]) : to[1];
    for (int64_t r = 0; r < out; r++) {
        for (int64_t i = 0; i < g->in; i++) {
            unsigned q = get(part[0] + r * spec[0].cols, p->bits, i);
            int64_t k = order ? order[i] : i;
            if (awq) put_awq(to[0], k * (out / 8), r, q);
            else if (ct) put(to[0], r * x[0].dim[1], 1, i, p->bits, q);
            else put(to[0], r, out, k, p->bits, q);
        }
        for (int64_t i = 0; i < groups; i++) {
            unsigned z = p->symmetric ? 1u << (p->bits - 1) : get(part[2] + r * spec[2].cols, p->bits, i);
            memcpy(scales + (size_t)(ct ? r * groups + i : i * out + r) * size,
                   part[1] + (size_t)(r * groups + i) * size, size);
            if (p->kind == BL_PACKED_GPTQ && 32 % p->bits) z = (z - 1) & ((1u << p->bits) - 1);
            if (awq) put_awq(zeros, i * (out / 8), r, z);
            else if (ct && zeros) put(zeros, i, groups, r, p->bits, z);
            else if (!ct) put(zeros, i * x[1].dim[1], 1, r, p->bits, z);
        }
    }
    if (p->kind == BL_PACKED_GPTQ && 32 % p->bits == 0) less_one(p, zeros, x[1].bytes);
    if (ct) memcpy(to[p->symmetric ? 2 : 3], (int64_t[]){out, g->in}, 16);
    if (!ct && !awq)
        for (int64_t i = 0; i < g->in; i++)
            memcpy(to[3] + 4 * (order ? order[i] : i), &(int32_t){(int32_t)(i / g->group)}, 4);
}

bl_status bl_export_bytes(bl_checkpoint *c, const bl_packing *p, const bl_stored *t, uint8_t **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_part_spec spec[BL_MAX_PARTS];
    bl_export_tensor x[BL_EXPORT_TENSORS];
    uint8_t *part[BL_MAX_PARTS] = {0}, *to[BL_EXPORT_TENSORS], *all = NULL;
    int32_t *order = NULL;
    uint64_t bytes = 0;
    int n = bl_export_tensors(p, t, x);

    for (int i = 0; i < n; i++) bytes += x[i].bytes;
    if (!(all = bl_new(bytes, 1, e))) return BL_E_NOMEM;
    to[0] = all;
    for (int i = 1; i < n; i++) to[i] = to[i - 1] + x[i - 1].bytes;
    t->format->parts(t->format, &t->shape, spec);
    for (int i = 0; i < t->n_parts; i++) {
        if (!(part[i] = bl_new((size_t)(spec[i].rows * spec[i].cols), bl_dtype_bytes(spec[i].dtype), e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        BL_TRY(bl_sum_check(c, &t->part[i], e));
        bl_rows_read(c, t, i, &spec[i], 0, spec[i].rows, part[i]);
    }
    BL_TRY(bl_export_order(c, t, &order, e));
    fill(p, t, spec, part, order, x, to);
    *out = all;
    all = NULL;
out:
    for (int i = 0; i < BL_MAX_PARTS; i++) bl_free(part[i]);
    bl_free(order);
    bl_free(all);
    return st;
}
