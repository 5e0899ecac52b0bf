/* ops.c - what every backend checks about its arguments before it computes. */
#include "ops.h"
#include <inttypes.h>

static bl_status broken(bl_err *e, const char *op, const char *what)
{
    return bl_fail(e, BL_E_INTERNAL, "%s: %s", op, what);
}

/* A 2-d tensor of the type with dense rows; rows or cols -1: any. */
static bool is_2d(const bl_tensor *t, bl_dtype type, int64_t rows, int64_t cols)
{
    return t->buf && t->dtype == type && t->ndim == 2 && t->stride[1] == 1 && t->stride[0] >= t->dim[1] &&
           (rows < 0 || t->dim[0] == rows) && (cols < 0 || t->dim[1] == cols);
}
static bool is_1d(const bl_tensor *t, bl_dtype type, int64_t n)
{
    return t->buf && t->dtype == type && bl_tensor_count(t) >= n && t->stride[t->ndim - 1] == 1;
}
static bool none_or_1d(const bl_tensor *t, bl_dtype type, int64_t n) { return !t->buf || is_1d(t, type, n); }

static bl_status check_transforms(const bl_linear_args *a, bl_err *e)
{
    int64_t width = a->x.dim[1];
    for (int i = 0; i < a->n_t; i++) {
        const bl_transform *t = &a->t[i];
        if (t->in != width) return broken(e, "linear", "a transform does not fit the width of its input");
        bool ok = false;
        switch (t->kind) {
        case BL_T_SCALE: ok = t->out == t->in && is_1d(&t->data, BL_F32, t->in); break;
        case BL_T_PERMUTE: ok = is_1d(&t->data, BL_I32, t->out); break;
        case BL_T_HADAMARD:
            ok = t->out == t->in && (t->in & (t->in - 1)) == 0 && none_or_1d(&t->data, BL_F32, t->in);
            break;
        case BL_T_ROTATE:
            ok = t->out == t->in && t->data.buf && t->data.dtype == BL_F32 && t->data.ndim == 3 &&
                 t->data.dim[1] == t->data.dim[2] && t->data.dim[0] * t->data.dim[1] == t->in;
            break;
        }
        if (!ok) return broken(e, "linear", "a transform has data of another shape");
        width = t->out;
    }
    return width == a->w->shape.in ? BL_OK : broken(e, "linear", "the width of x is not that of the weight");
}

bl_status bl_check_linear(const bl_linear_args *a, bl_err *e)
{
    if (!a->w || !a->w->format || !is_2d(&a->x, BL_F32, -1, -1))
        return broken(e, "linear", "x or the weight is missing");
    if (!is_2d(&a->y, BL_F32, a->x.dim[0], a->w->shape.out))
        return broken(e, "linear", "y has another shape than x and the weight give");
    if (a->act.bits < 0 || a->act.bits == 1 || a->act.bits > 8)
        return broken(e, "linear", "activations have 0 or 2 to 8 bits");
    if (a->act.bits && a->act.unit == BL_ACT_GROUP && a->act.group < 1)
        return broken(e, "linear", "the activation group is not positive");
    const bl_lowrank *l = a->adapter;
    if (l && (!is_2d(&l->a, BL_F32, -1, a->x.dim[1]) || !is_2d(&l->b, BL_F32, a->w->shape.out, l->a.dim[0]) ||
              l->a.stride[0] != l->a.dim[1] || l->b.stride[0] != l->b.dim[1]))
        return broken(e, "linear", "the adapter does not fit the weight");
    return check_transforms(a, e);
}

bl_status bl_check_rmsnorm(const bl_rmsnorm_args *a, bl_err *e)
{
    if (!is_2d(&a->x, BL_F32, -1, -1) || !is_2d(&a->y, BL_F32, a->x.dim[0], a->x.dim[1]) ||
        !is_1d(&a->weight, BL_F32, a->x.dim[1]))
        return broken(e, "rmsnorm", "shapes of x, weight and y differ");
    return BL_OK;
}

bl_status bl_check_rope(const bl_rope_args *a, bl_err *e)
{
    if (a->head_dim < 2 || a->head_dim % 2 || !is_2d(&a->x, BL_F32, -1, -1) || a->x.dim[1] % a->head_dim)
        return broken(e, "rope", "the width is not a multiple of an even head_dim");
    if (!is_2d(&a->cos, BL_F32, -1, a->head_dim / 2) || !is_2d(&a->sin, BL_F32, a->cos.dim[0], a->head_dim / 2))
        return broken(e, "rope", "the tables have another shape");
    for (int64_t i = 0; i < a->x.dim[0]; i++)
        if (a->pos[i] < 0 || a->pos[i] >= a->cos.dim[0])
            return bl_fail(e, BL_E_INTERNAL, "rope: position %" PRId32 " is not in 0..%" PRId64, a->pos[i],
                           a->cos.dim[0] - 1);
    return BL_OK;
}

bl_status bl_check_attention(const bl_attention_args *a, bl_err *e)
{
    int64_t dim = a->head_dim, rows = a->n_seq > 0 ? a->start[a->n_seq] : 0;
    if (dim < 1 || a->kv_heads < 1 || a->heads < 1 || a->heads % a->kv_heads)
        return broken(e, "attention", "heads are not a multiple of kv_heads");
    if (!is_2d(&a->q, BL_F32, -1, a->heads * dim) || !is_2d(&a->y, BL_F32, a->q.dim[0], a->heads * dim) ||
        !is_2d(&a->k, BL_F32, -1, a->kv_heads * dim) || !is_2d(&a->v, BL_F32, a->k.dim[0], a->kv_heads * dim))
        return broken(e, "attention", "q, k, v and y have shapes that do not fit");
    if (rows > a->q.dim[0] || (a->n_seq > 0 && a->start[0] < 0))
        return broken(e, "attention", "the sequences have more rows than q");
    for (int32_t s = 0; s < a->n_seq; s++) {
        int64_t n = a->start[s + 1] - a->start[s], have = 0;
        if (n < 0 || a->past[s] < 0) return broken(e, "attention", "a sequence has a negative length");
        for (int32_t i = a->seg_start[s]; i < a->seg_start[s + 1]; i++) {
            if (a->seg[i].len < 0 || a->seg[i].row < 0 || a->seg[i].row + a->seg[i].len > a->k.dim[0])
                return broken(e, "attention", "a segment lies outside the cache");
            have += a->seg[i].len;
        }
        if (have != a->past[s] + n)
            return bl_fail(e, BL_E_INTERNAL,
                           "attention: sequence %" PRId32 ": segments hold %" PRId64 " positions, %" PRId64 " expected",
                           s, have, a->past[s] + n);
    }
    return BL_OK;
}

bl_status bl_check_gather(const bl_gather_args *a, bl_err *e)
{
    if (!is_2d(&a->src, a->src.dtype, -1, -1) || !is_2d(&a->dst, a->src.dtype, -1, a->src.dim[1]))
        return broken(e, "gather", "src and dst differ in width or type");
    for (int64_t i = 0; i < a->n; i++) {
        int64_t from = a->from ? a->from[i] : i, to = a->to ? a->to[i] : i;
        if (from < 0 || from >= a->src.dim[0] || to < 0 || to >= a->dst.dim[0])
            return broken(e, "gather", "a row number is out of range");
    }
    return BL_OK;
}

bl_status bl_check_swiglu(const bl_swiglu_args *a, bl_err *e)
{
    if (!is_2d(&a->gate, BL_F32, -1, -1) || !is_2d(&a->up, BL_F32, a->gate.dim[0], a->gate.dim[1]) ||
        !is_2d(&a->y, BL_F32, a->gate.dim[0], a->gate.dim[1]))
        return broken(e, "swiglu", "shapes differ");
    return BL_OK;
}

bl_status bl_check_add(const bl_add_args *a, bl_err *e)
{
    if (!is_2d(&a->x, BL_F32, -1, -1) || !is_2d(&a->y, BL_F32, a->x.dim[0], a->x.dim[1]))
        return broken(e, "add", "shapes differ");
    return BL_OK;
}

bl_status bl_check_embed(const bl_embed_args *a, bl_err *e)
{
    if (!a->w || !a->w->format || !is_2d(&a->y, BL_F32, -1, a->w->shape.in))
        return broken(e, "embed", "y has another width than the weight");
    for (int64_t i = 0; i < a->y.dim[0]; i++)
        if (a->ids[i] < 0 || a->ids[i] >= a->w->shape.out)
            return bl_fail(e, BL_E_INTERNAL, "embed: token id %" PRId32 " is not in 0..%" PRId64, a->ids[i],
                           a->w->shape.out - 1);
    return BL_OK;
}

static bool targets_ok(const int32_t *target, int64_t rows, int64_t vocab, int32_t least)
{
    for (int64_t i = 0; target && i < rows; i++)
        if (target[i] < least || target[i] >= vocab) return false;
    return true;
}

bl_status bl_check_loss(const bl_loss_args *a, bl_err *e)
{
    int64_t rows = a->logits.dim[0];
    if (!is_2d(&a->logits, BL_F32, -1, -1) || a->vocab < 1 || a->vocab > a->logits.dim[1])
        return broken(e, "loss", "vocab is larger than the logits");
    if (!none_or_1d(&a->nll, BL_F64, rows) || !none_or_1d(&a->argmax, BL_I32, rows))
        return broken(e, "loss", "nll or argmax has another type or is too short");
    if (!targets_ok(a->target, rows, a->vocab, -1)) return broken(e, "loss", "a target is out of range");
    return BL_OK;
}

bl_status bl_check_kl_div(const bl_kl_div_args *a, bl_err *e)
{
    int64_t rows = a->p.dim[0];
    if (!is_2d(&a->p, BL_F32, -1, -1) || !is_2d(&a->q, BL_F32, rows, -1) || a->vocab < 1 || a->vocab > a->p.dim[1] ||
        a->vocab > a->q.dim[1])
        return broken(e, "kl_div", "vocab is larger than the logits");
    if (!is_1d(&a->kl, BL_F64, rows) || !is_1d(&a->dp, BL_F64, rows) || !is_1d(&a->same, BL_I32, rows))
        return broken(e, "kl_div", "an output has another type or is too short");
    if (!a->target || !targets_ok(a->target, rows, a->vocab, 0)) return broken(e, "kl_div", "a target is out of range");
    return BL_OK;
}

bl_status bl_check_sample(const bl_sample_args *a, bl_err *e)
{
    if (!is_2d(&a->logits, BL_F32, -1, -1) || a->vocab < 1 || a->vocab > a->logits.dim[1])
        return broken(e, "sample", "vocab is larger than the logits");
    if (!is_1d(&a->ids, BL_I32, a->logits.dim[0])) return broken(e, "sample", "ids has another type or is too short");
    if (!(a->temperature >= 0) || !(a->top_p >= 0) || (a->temperature > 0 && !a->u))
        return broken(e, "sample", "temperature or top_p is negative, or u is missing");
    return BL_OK;
}

bl_status bl_check_pack(const bl_pack_args *a, bl_err *e)
{
    if (!a->w || !a->w->format || !is_2d(&a->x, BL_F32, a->w->shape.out, a->w->shape.in) ||
        a->x.stride[0] != a->x.dim[1])
        return broken(e, "pack", "x has another shape than the weight, or is not contiguous");
    if (a->rule == BL_RANGE_OWN && !a->w->format->pack)
        return bl_fail(e, BL_E_UNSUPPORTED, "format %s can be read but not written", a->w->format->name);
    if (a->rule != BL_RANGE_OWN && a->w->format->kind != BL_FMT_INT)
        return broken(e, "pack", "only integer formats take a fit");
    int64_t groups = bl_geom_groups(&a->w->shape);
    if (a->rule == BL_RANGE_GIVEN &&
        (!is_2d(&a->scale, BL_F32, a->w->shape.out, groups) || a->scale.stride[0] != groups ||
         (a->zero.buf && (!is_2d(&a->zero, BL_F32, a->w->shape.out, groups) || a->zero.stride[0] != groups))))
        return broken(e, "pack", "the given scales or zeros have another shape");
    return BL_OK;
}

bl_status bl_check_unpack(const bl_unpack_args *a, bl_err *e)
{
    if (!a->w || !a->w->format || a->row0 < 0 || a->rows < 0 || a->row0 + a->rows > a->w->shape.out ||
        !is_2d(&a->y, BL_F32, a->rows, a->w->shape.in))
        return broken(e, "unpack", "y has another shape than the rows of the weight");
    return BL_OK;
}
