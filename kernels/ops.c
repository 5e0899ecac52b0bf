/* ops.c - what every backend checks about its arguments before it computes. */
#include "ops_impl.h"
#include "hadamard.h"
#include <inttypes.h>
#include <string.h>

static bool is_1d(const bl_tensor *t, bl_dtype type, int64_t n)
{
    return t->buf && t->dtype == type && bl_tensor_count(t) >= n && t->stride[t->ndim - 1] == 1;
}
static bool none_or_1d(const bl_tensor *t, bl_dtype type, int64_t n) { return !t->buf || is_1d(t, type, n); }
/* Activations: 2-d of the backend's own type. */
static bool is_act(const bl_backend *be, const bl_tensor *t, int64_t rows, int64_t cols)
{
    return bl_is_matrix(t, be->act, rows, cols);
}

typedef void (*op_address)(void);
#define SLOT(at) ((at) / sizeof(op_address) - offsetof(bl_ops, linear) / sizeof(op_address))
#define OP(name) [SLOT(BL_OP(name))] = #name
/* clang-format off */
static const char *const op_names[] = {
    OP(linear),         OP(transform),      OP(channel_stats), OP(rmsnorm),      OP(rope),
    OP(kv_append),      OP(attention),      OP(gather),        OP(swiglu),       OP(add),
    OP(embed),          OP(loss),           OP(kl_div),        OP(sample),       OP(pack),
    OP(unpack),         OP(permute),        OP(diagonal),      OP(hessian),      OP(cholesky_inverse),
    OP(mismatch),       OP(mismatch_fold),  OP(quad_form),     OP(hadamard),     OP(gptq_sweep),
    OP(scale),          OP(sq_error),       OP(clip_search),   OP(hqq),          OP(greedy),
    OP(range_search),   OP(each),           OP(weight_grad),   OP(rmsnorm_grad), OP(rope_grad),
    OP(attention_grad), OP(transform_grad), OP(swiglu_grad),   OP(embed_grad),   OP(loss_grad),
    OP(dropout),        OP(adamw),          OP(adamw8),        OP(grid),         OP(grid_grad),
    OP(layernorm),      OP(gelu),           OP(dora),          OP(dora_grad),    OP(pool),
    OP(pool_grad),      OP(band),           OP(band_grad),     OP(scale_grad),   OP(act_round),
    OP(act_round_grad), OP(lowrank_grad),   OP(round_random),  OP(differ),       OP(adamw_all),
    OP(sq_sums),        OP(step_search),    OP(merged_grid),   OP(split_pass),
    OP(sign_round),     OP(sign_round_grad), OP(sign_step)};
/* clang-format on */
#undef OP

const char *bl_op_at(size_t i)
{
    for (size_t k = 0; k < BL_COUNT(op_names); k++)
        if (op_names[k] && i-- == 0) return op_names[k];
    return NULL;
}

bl_status bl_check_op(const bl_backend *be, bool there, const char *op, bl_err *e)
{
    return there ? BL_OK : bl_fail(e, BL_E_UNSUPPORTED, "backend %s has no %s", be->ops->name, op);
}

bl_status bl_check_room(const bl_backend *be, uint64_t bytes, uint64_t in_use, bl_err *e)
{
    uint64_t limit = be->opts.memory_limit;
    if (limit && (bytes > limit || in_use > limit - bytes))
        return bl_fail(e, BL_E_DEVMEM, "%" PRIu64 " bytes do not fit: %" PRIu64 " of %" PRIu64 " are in use", bytes,
                       in_use, limit);
    return BL_OK;
}

bl_status bl_check_copy(const bl_tensor *t, const char *op, bl_err *e)
{
    return bl_tensor_contiguous(t) ? BL_OK : bl_broken(e, op, "the tensor is not contiguous");
}

bl_status bl_check_ops(const bl_backend *be, const size_t *ops, bl_err *e)
{
    bl_status st = BL_OK;
    for (; *ops && st == BL_OK; ops++) {
        op_address op;
        memcpy(&op, (const char *)be->ops + *ops, sizeof op);
        st = bl_check_op(be, op, op_names[SLOT(*ops)], e);
    }
    return st;
}

bool bl_transform_fits(const bl_transform *t)
{
    const bl_tensor *d = &t->data;
    int64_t n = d->ndim ? bl_tensor_count(d) : 0;
    if (t->in < 1 || t->out < 1 || (t->kind != BL_T_PERMUTE && t->in != t->out)) return false;
    switch (t->kind) {
    case BL_T_SCALE: return d->dtype == BL_F32 && n == t->in;
    case BL_T_PERMUTE: return d->dtype == BL_I32 && (d->ndim == 2 ? d->dim[1] == 3 && t->in == t->out : n == t->out);
    case BL_T_HADAMARD:
        return n ? d->dtype == BL_F32 && t->in % n == 0 && bl_hadamard_order(n) : bl_hadamard_order(t->in) > 0;
    case BL_T_ROTATE:
        return d->dtype == BL_F32 && d->ndim == 3 && d->dim[1] == d->dim[2] && d->dim[0] * d->dim[1] == t->in;
    }
    return false;
}

/* From inputs of `width` to `last`. */
static bl_status check_transforms(const bl_transform *all, int n, int64_t width, int64_t last, const char *op,
                                  bl_err *e)
{
    for (int i = 0; i < n; i++) {
        const bl_transform *t = &all[i];
        if (t->in != width) return bl_broken(e, op, "a transform does not fit the width of its input");
        if (!bl_transform_fits(t) || (t->data.ndim && (!t->data.buf || t->data.stride[t->data.ndim - 1] != 1)))
            return bl_broken(e, op, "a transform has data of another shape");
        width = t->out;
    }
    return width == last ? BL_OK : bl_broken(e, op, "transforms do not lead to the width of the weight");
}

bl_status bl_check_transform(const bl_backend *be, const bl_transform_args *a, bl_err *e)
{
    if (a->n_t < 1 || !is_act(be, &a->x, -1, -1) || !is_act(be, &a->y, a->x.dim[0], a->t[a->n_t - 1].out))
        return bl_broken(e, "transform", "shapes of x and y do not fit the transforms");
    return check_transforms(a->t, a->n_t, a->x.dim[1], a->y.dim[1], "transform", e);
}

bl_status bl_check_channel_stats(const bl_backend *be, const bl_channel_stats_args *a, bl_err *e)
{
    if (!is_act(be, &a->x, -1, -1) || !is_1d(&a->max_abs, BL_F32, a->x.dim[1]) ||
        !is_1d(&a->sum_abs, BL_F64, a->x.dim[1]) || !is_1d(&a->sum_sq, BL_F64, a->x.dim[1]))
        return bl_broken(e, "channel_stats", "a statistic has another length than the rows of x");
    return BL_OK;
}

int bl_linear_weights(const bl_linear_args *a)
{
    int n = 0;
    while (n < BL_LINEAR_MOST && a->w[n]) n++;
    return n;
}

void bl_count_products(bl_backend *be, const bl_linear_args *a)
{
    int64_t rows = a->x.dim[0];
    be->products[rows <= 1 ? 0 : rows <= 8 ? 1 : rows <= 64 ? 2 : 3] += (uint64_t)bl_linear_weights(a);
}

static bool adapters_fit(const bl_linear_args *a)
{
    const bl_shape *s = &a->w[0]->shape;
    for (int i = 0; i < a->n_adapters; i++) {
        const bl_lowrank *l = &a->adapter[i];
        if (!bl_is_matrix(&l->a, BL_F32, -1, a->transpose ? s->in : a->x.dim[1]) ||
            !bl_is_matrix(&l->b, BL_F32, s->out, l->a.dim[0]) || l->a.stride[0] != l->a.dim[1] ||
            l->b.stride[0] != l->b.dim[1])
            return false;
    }
    return true;
}

bl_status bl_check_linear(const bl_backend *be, const bl_linear_args *a, bl_err *e)
{
    int n = bl_linear_weights(a);
    if (!n || !a->w[0]->format || !is_act(be, &a->x, -1, -1))
        return bl_broken(e, "linear", "x or the weight is missing");
    for (int i = 0; i < n; i++) {
        int64_t in = a->w[i]->shape.in, out = a->w[i]->shape.out, wide = a->transpose ? in : out;
        if (!a->w[i]->format || in != a->w[0]->shape.in)
            return bl_broken(e, "linear", "the weights have inputs of different widths");
        if (!is_act(be, &a->y[i], a->x.dim[0], wide) && !bl_is_matrix(&a->y[i], BL_F32, a->x.dim[0], wide))
            return bl_broken(e, "linear", "y has another shape than x and the weight give");
        if (!none_or_1d(&a->bias[i], BL_F32, out)) return bl_broken(e, "linear", "the bias does not fit the weight");
    }
    if (a->n_s && !be->ops->linear_turns)
        return bl_fail(e, BL_E_UNSUPPORTED, "backend %s does not transform the outputs of a linear", be->ops->name);
    if (a->n_s && n > 1) return bl_broken(e, "linear", "transforms of outputs belong to one weight");
    if (a->norm.buf || a->gate.buf) {
        if (!none_or_1d(&a->norm, BL_F32, a->x.dim[1]) || (a->norm.buf && a->gate.buf) ||
            (a->gate.buf && !is_act(be, &a->gate, a->x.dim[0], a->x.dim[1])))
            return bl_broken(e, "linear", "the norm or the gate of x does not fit it");
        if (!be->ops->linear_prepares || !be->ops->linear_prepares(be, a))
            return bl_fail(e, BL_E_UNSUPPORTED, "this linear takes no norm and no gate on %s", be->ops->name);
    }
    if (!adapters_fit(a)) return bl_broken(e, "linear", "an adapter does not fit the weight");
    const bool joined = a->n_adapters && be->ops->linear_joins && be->ops->linear_joins(be, a);
    if (a->transpose && (n > 1 || a->bias[0].buf || a->n_t || a->n_s || a->act.bits || (a->n_adapters && !joined)))
        return bl_broken(e, "linear", "a transposed product takes one weight and nothing else");
    if (a->transpose)
        return a->x.dim[1] == a->w[0]->shape.out
                   ? BL_OK
                   : bl_broken(e, "linear", "the width of x is not that of the transposed weight");
    if (a->act.bits < 0 || a->act.bits == 1 || a->act.bits > 8)
        return bl_broken(e, "linear", "activations have 0 or 2 to 8 bits");
    if (a->act.bits && bl_act_is_fp4(a->act.unit) && !be->ops->act_fp4)
        return bl_fail(e, BL_E_UNSUPPORTED, "activations that are 4-bit floats are not there on %s", be->ops->name);
    if (a->act.bits && a->act.unit == BL_ACT_GROUP && a->act.group < 1)
        return bl_broken(e, "linear", "the activation group is not positive");
    bl_status st = check_transforms(a->s, a->n_s, a->w[0]->shape.out, a->w[0]->shape.out, "linear", e);
    if (st != BL_OK) return st;
    if (a->n_adapters && n > 1) return bl_broken(e, "linear", "adapters belong to one weight");
    return check_transforms(a->t, a->n_t, a->x.dim[1], a->w[0]->shape.in, "linear", e);
}

bl_status bl_check_rmsnorm(const bl_backend *be, const bl_rmsnorm_args *a, bl_err *e)
{
    if (!is_act(be, &a->x, -1, -1) || !is_act(be, &a->y, a->x.dim[0], a->x.dim[1]) ||
        !is_1d(&a->weight, BL_F32, a->x.dim[1]))
        return bl_broken(e, "rmsnorm", "shapes of x, weight and y differ");
    return BL_OK;
}

bl_status bl_check_rope(const bl_backend *be, const bl_rope_args *a, bl_err *e)
{
    if (a->head_dim < 2 || a->head_dim % 2 || !is_act(be, &a->x, -1, -1) || a->x.dim[1] % a->head_dim)
        return bl_broken(e, "rope", "the width is not a multiple of an even head_dim");
    if (!bl_is_matrix(&a->cos, BL_F32, -1, a->head_dim / 2) ||
        !bl_is_matrix(&a->sin, BL_F32, a->cos.dim[0], a->head_dim / 2))
        return bl_broken(e, "rope", "the tables have another shape");
    if (!is_1d(&a->pos, BL_I32, a->x.dim[0])) return bl_broken(e, "rope", "a row has no position");
    return BL_OK;
}

bl_status bl_check_kv(const bl_backend *be, const bl_kv_view *v, bl_err *e)
{
    int bits = bl_kv_bits(v->format);
    bool low = bits && bits < 8;
    int64_t width = v->heads * (bits ? bl_kv_code_bytes(v->format, v->head_dim, 0) : v->head_dim),
            scales = v->heads * (low ? (v->head_dim + BL_KV_GROUP - 1) / BL_KV_GROUP * 2 : 1);
    if (low && !be->ops->kv_low)
        return bl_fail(e, BL_E_UNSUPPORTED, "keys and values of %d bits are not there on %s", bits, be->ops->name);
    if (v->heads < 1 || v->head_dim < 1 || !bl_is_matrix(&v->k, bits ? BL_U8 : be->act, v->rows, width) ||
        !bl_is_matrix(&v->v,
                      low    ? BL_U8
                      : bits ? BL_I8
                             : be->act,
                      v->rows, width) ||
        (bits &&
         (!bl_is_matrix(&v->k_scale, BL_F16, (v->rows + BL_KV_GROUP - 1) / BL_KV_GROUP, v->heads * 2 * v->head_dim) ||
          !bl_is_matrix(&v->v_scale, low ? BL_F16 : BL_F32, v->rows, scales) ||
          !bl_is_matrix(&v->k_tail, be->act, -1, v->heads * v->head_dim))))
        return bl_broken(e, "keys and values", "shapes that do not fit the format");
    return BL_OK;
}

bl_status bl_check_kv_append(const bl_backend *be, const bl_kv_append_args *a, bl_err *e)
{
    int64_t n = bl_tensor_count(&a->to), width = a->kv.heads * a->kv.head_dim;
    bl_status st = bl_check_kv(be, &a->kv, e);
    if (st != BL_OK) return st;
    if ((a->k.buf && !is_act(be, &a->k, n, width)) || (a->v.buf && !is_act(be, &a->v, n, width)) ||
        !is_1d(&a->to, BL_I64, n) || (a->k.buf && bl_kv_bits(a->kv.format) && !is_1d(&a->tail, BL_I64, n)))
        return bl_broken(e, "kv_append", "rows or their places have another shape");
    return BL_OK;
}

bl_status bl_check_attention(const bl_backend *be, const bl_attention_args *a, bl_err *e)
{
    int64_t dim = a->kv.head_dim, n = a->n_seq;
    bl_status st = bl_check_kv(be, &a->kv, e);
    if (st != BL_OK) return st;
    if (a->heads < 1 || a->heads % a->kv.heads)
        return bl_broken(e, "attention", "heads are not a multiple of those of the keys");
    if (!is_act(be, &a->q, -1, a->heads * dim) || !is_act(be, &a->y, a->q.dim[0], a->heads * dim))
        return bl_broken(e, "attention", "q and y have shapes that do not fit");
    if (n < 0 ||
        (n && (!is_1d(&a->start, BL_I32, n + 1) || !is_1d(&a->past, BL_I32, n) ||
               !is_1d(&a->seg_start, BL_I32, n + 1) || !bl_is_matrix(&a->seg, BL_I64, -1, 2) || a->seg.stride[0] != 2)))
        return bl_broken(e, "attention", "a list of the sequences has another type or is too short");
    if (n && bl_kv_bits(a->kv.format) &&
        (!is_act(be, &a->fresh, -1, a->kv.heads * dim) || !bl_is_matrix(&a->own, BL_I64, -1, 3) || a->own.dim[0] < n ||
         a->own.stride[0] != 3))
        return bl_broken(e, "attention", "the last keys have another type or are too few");
    if (a->sums.buf && (!bl_is_matrix(&a->sums, BL_F32, a->heads, a->q.dim[0]) || a->sums.stride[0] != a->q.dim[0]))
        return bl_broken(e, "attention", "sums are no f32 matrix of heads and rows");
    return BL_OK;
}

bl_status bl_check_gather(const bl_backend *be, const bl_gather_args *a, bl_err *e)
{
    (void)be;
    if (!bl_is_matrix(&a->src, a->src.dtype, -1, -1) || !bl_is_matrix(&a->dst, a->src.dtype, -1, a->src.dim[1]))
        return bl_broken(e, "gather", "src and dst differ in width or type");
    if (a->n < 0 || !none_or_1d(&a->from, BL_I64, a->n) || !none_or_1d(&a->to, BL_I64, a->n) ||
        (!a->from.buf && a->n > a->src.dim[0]) || (!a->to.buf && a->n > a->dst.dim[0]))
        return bl_broken(e, "gather", "a list of rows has another type or is too short");
    return BL_OK;
}

bl_status bl_check_swiglu(const bl_backend *be, const bl_swiglu_args *a, bl_err *e)
{
    if (!is_act(be, &a->gate, -1, -1) || !is_act(be, &a->up, a->gate.dim[0], a->gate.dim[1]) ||
        !is_act(be, &a->y, a->gate.dim[0], a->gate.dim[1]))
        return bl_broken(e, "swiglu", "shapes differ");
    return BL_OK;
}

bl_status bl_check_add(const bl_backend *be, const bl_add_args *a, bl_err *e)
{
    if (!is_act(be, &a->x, -1, -1) || !is_act(be, &a->y, a->x.dim[0], a->x.dim[1]))
        return bl_broken(e, "add", "shapes differ");
    return BL_OK;
}

bl_status bl_check_embed(const bl_backend *be, const bl_embed_args *a, bl_err *e)
{
    if (!a->w || !a->w->format || !is_act(be, &a->y, -1, a->w->shape.in))
        return bl_broken(e, "embed", "y has another width than the weight");
    if (!is_1d(&a->ids, BL_I32, a->y.dim[0])) return bl_broken(e, "embed", "ids have another type or are too few");
    return BL_OK;
}

bl_status bl_check_loss(const bl_backend *be, const bl_loss_args *a, bl_err *e)
{
    int64_t rows = a->logits.dim[0];
    (void)be;
    if (!bl_is_matrix(&a->logits, BL_F32, -1, -1) || a->vocab < 1 || a->vocab > a->logits.dim[1])
        return bl_broken(e, "loss", "vocab is larger than the logits");
    if (!none_or_1d(&a->nll, BL_F64, rows) || !none_or_1d(&a->argmax, BL_I32, rows) ||
        !none_or_1d(&a->target, BL_I32, rows))
        return bl_broken(e, "loss", "target, nll or argmax has another type or is too short");
    return BL_OK;
}

bl_status bl_check_kl_div(const bl_backend *be, const bl_kl_div_args *a, bl_err *e)
{
    int64_t rows = a->p.dim[0];
    (void)be;
    if (!bl_is_matrix(&a->p, BL_F32, -1, -1) || !bl_is_matrix(&a->q, BL_F32, rows, -1) || a->vocab < 1 ||
        a->vocab > a->p.dim[1] || a->vocab > a->q.dim[1])
        return bl_broken(e, "kl_div", "vocab is larger than the logits");
    if (!is_1d(&a->kl, BL_F64, rows) || !is_1d(&a->dp, BL_F64, rows) || !is_1d(&a->same, BL_I32, rows) ||
        !is_1d(&a->target, BL_I32, rows))
        return bl_broken(e, "kl_div", "target or an output has another type or is too short");
    return BL_OK;
}

bl_status bl_check_sample(const bl_backend *be, const bl_sample_args *a, bl_err *e)
{
    int64_t rows = a->logits.dim[0];
    (void)be;
    if (!bl_is_matrix(&a->logits, BL_F32, -1, -1) || a->vocab < 1 || a->vocab > a->logits.dim[1])
        return bl_broken(e, "sample", "vocab is larger than the logits");
    if (!is_1d(&a->ids, BL_I32, rows)) return bl_broken(e, "sample", "ids has another type or is too short");
    if (!(a->temperature >= 0) || !(a->top_p >= 0) || (a->temperature > 0 && !is_1d(&a->u, BL_F64, rows)))
        return bl_broken(e, "sample", "temperature or top_p is negative, or u is missing");
    return BL_OK;
}

bl_status bl_check_pack(const bl_backend *be, const bl_pack_args *a, bl_err *e)
{
    (void)be;
    if (!a->w || !a->w->format || !bl_is_matrix(&a->x, BL_F32, a->w->shape.out, a->w->shape.in) ||
        a->x.stride[0] != a->x.dim[1])
        return bl_broken(e, "pack", "x has another shape than the weight, or is not contiguous");
    if (a->rule == BL_RANGE_OWN && !a->w->format->pack)
        return bl_fail(e, BL_E_UNSUPPORTED, "format %s can be read but not written", a->w->format->name);
    if (a->rule == BL_RANGE_LEAST) {
        if (!a->w->format->pack_least) return bl_broken(e, "pack", "codes of this format are not searched");
        if (a->importance.buf && !is_1d(&a->importance, BL_F32, a->w->shape.in))
            return bl_broken(e, "pack", "importance has another type or length than the inputs");
        return BL_OK;
    }
    if (a->rule == BL_RANGE_EXPONENT_CEIL || a->rule == BL_RANGE_EXPONENT_EVEN)
        return a->w->format->pack_exponent ? BL_OK : bl_broken(e, "pack", "scales of this format are no powers of two");
    bool codes = a->w->format->kind == BL_FMT_CODES;
    if (a->rule != BL_RANGE_OWN && a->w->format->kind != BL_FMT_INT &&
        !(codes && a->rule == BL_RANGE_GIVEN && a->w->format->encode))
        return bl_broken(e, "pack", "only integer formats take a range rule");
    if (a->rule != BL_RANGE_GIVEN) return BL_OK;
    bl_part_spec spec[BL_MAX_PARTS];
    a->w->format->parts(a->w->format, &a->w->shape, spec);
    int64_t rows = spec[1].rows, groups = spec[1].cols; /* of the part `scales` */
    if (!bl_is_matrix(&a->scale, BL_F32, rows, groups) || a->scale.stride[0] != groups ||
        (a->zero.buf ? !bl_is_matrix(&a->zero, BL_F32, rows, groups) || a->zero.stride[0] != groups
                     : codes && !a->w->format->no_zeros))
        return bl_broken(e, "pack", "the given scales or zeros have another shape");
    return BL_OK;
}

bl_status bl_check_unpack(const bl_backend *be, const bl_unpack_args *a, bl_err *e)
{
    (void)be;
    if (!a->w || !a->w->format || a->row0 < 0 || a->rows < 0 || a->row0 + a->rows > a->w->shape.out ||
        !bl_is_matrix(&a->y, BL_F32, a->rows, a->w->shape.in))
        return bl_broken(e, "unpack", "y has another shape than the rows of the weight");
    return BL_OK;
}
