/* ops_train.c - what every backend checks about the arguments of the training ops. */
#include "fmt_table.h"
#include "ops_impl.h"
#include <string.h>

static bool list(const bl_tensor *t, bl_dtype type, int64_t n)
{
    return t->buf && t->dtype == type && t->ndim == 1 && t->dim[0] >= n && t->stride[0] == 1;
}
static bool contiguous(const bl_tensor *t) { return t->buf && t->dtype == BL_F32 && bl_tensor_contiguous(t); }

bl_status bl_check_weight_grad(const bl_backend *be, const bl_weight_grad_args *a, bl_err *e)
{
    if (!bl_is_matrix(&a->x, be->act, -1, -1) ||
        !(bl_is_matrix(&a->dy, be->act, a->x.dim[0], -1) || bl_is_matrix(&a->dy, BL_F32, a->x.dim[0], -1)))
        return bl_broken(e, "weight_grad", "x and dy have different rows");
    if ((a->dw.buf && !bl_is_matrix(&a->dw, BL_F32, a->dy.dim[1], a->x.dim[1]) &&
         !(a->anew && bl_is_matrix(&a->dw, be->act, a->dy.dim[1], a->x.dim[1]))) ||
        (a->db.buf && !list(&a->db, BL_F32, a->dy.dim[1])))
        return bl_broken(e, "weight_grad", "the gradient is not of the weight that made dy of x");
    return BL_OK;
}

bl_status bl_check_rmsnorm_grad(const bl_backend *be, const bl_rmsnorm_grad_args *a, bl_err *e)
{
    if (!bl_is_matrix(&a->x, be->act, -1, -1) || !bl_is_matrix(&a->dy, be->act, a->x.dim[0], a->x.dim[1]) ||
        !list(&a->weight, BL_F32, a->x.dim[1]) ||
        (a->dx.buf && !bl_is_matrix(&a->dx, be->act, a->x.dim[0], a->x.dim[1])) ||
        (a->dweight.buf && !list(&a->dweight, BL_F32, a->x.dim[1])))
        return bl_broken(e, "rmsnorm_grad", "shapes of x, weight and their gradients differ");
    return BL_OK;
}

bl_status bl_check_attention_grad(const bl_backend *be, const bl_attention_grad_args *a, bl_err *e)
{
    if (a->heads < 1 || a->kv_heads < 1 || a->head_dim < 1 || a->heads % a->kv_heads)
        return bl_broken(e, "attention_grad", "heads are not a multiple of those of the keys");
    int64_t rows = a->q.dim[0], q = a->heads * a->head_dim, kv = a->kv_heads * a->head_dim;
    const bl_tensor *queries[] = {&a->q, &a->y, &a->dy, &a->dq}, *keys[] = {&a->k, &a->v, &a->dk, &a->dv};
    for (size_t i = 0; i < BL_COUNT(queries); i++)
        if (!bl_is_matrix(queries[i], be->act, rows, q) || !bl_is_matrix(keys[i], be->act, rows, kv))
            return bl_broken(e, "attention_grad", "queries, keys or their gradients have another shape");
    if (a->n_seq < 0 || (a->n_seq && !list(&a->start, BL_I32, a->n_seq + 1)))
        return bl_broken(e, "attention_grad", "the list of the sequences has another type or is too short");
    if (a->sums.buf && (!bl_is_matrix(&a->sums, BL_F32, a->heads, rows) || a->sums.stride[0] != rows))
        return bl_broken(e, "attention_grad", "sums are no f32 matrix of heads and rows");
    return BL_OK;
}

bl_status bl_check_swiglu_grad(const bl_backend *be, const bl_swiglu_grad_args *a, bl_err *e)
{
    const bl_tensor *all[] = {&a->gate, &a->up, &a->dy, &a->dgate, &a->dup};
    for (size_t i = 0; i < BL_COUNT(all); i++)
        if (!bl_is_matrix(all[i], be->act, a->gate.dim[0], a->gate.dim[1]))
            return bl_broken(e, "swiglu_grad", "shapes differ");
    return BL_OK;
}

bl_status bl_check_transform_grad(const bl_backend *be, const bl_transform_grad_args *a, bl_err *e)
{
    if (a->n_t < 1 || !bl_is_matrix(&a->dy, be->act, -1, a->t[a->n_t - 1].out) ||
        !bl_is_matrix(&a->dx, be->act, a->dy.dim[0], a->t[0].in))
        return bl_broken(e, "transform_grad", "shapes of dx and dy do not fit the transforms");
    for (int i = 0; i < a->n_t; i++)
        if (!bl_transform_fits(&a->t[i]) || (i && a->t[i].in != a->t[i - 1].out) ||
            (a->t[i].data.ndim && !a->t[i].data.buf))
            return bl_broken(e, "transform_grad", "a transform has data of another shape");
    return BL_OK;
}

bl_status bl_check_embed_grad(const bl_backend *be, const bl_embed_grad_args *a, bl_err *e)
{
    if (!bl_is_matrix(&a->dy, be->act, -1, -1) || !bl_is_matrix(&a->dw, BL_F32, -1, a->dy.dim[1]) ||
        !list(&a->ids, BL_I32, a->dy.dim[0]))
        return bl_broken(e, "embed_grad", "dy is not as wide as dw, or ids are too few");
    return BL_OK;
}

bl_status bl_check_loss_grad(const bl_backend *be, const bl_loss_grad_args *a, bl_err *e)
{
    if (!bl_is_matrix(&a->logits, BL_F32, -1, -1) || a->vocab < 1 || a->vocab > a->logits.dim[1] ||
        !(bl_is_matrix(&a->grad, BL_F32, a->logits.dim[0], a->logits.dim[1]) ||
          bl_is_matrix(&a->grad, be->act, a->logits.dim[0], a->logits.dim[1])))
        return bl_broken(e, "loss_grad", "vocab is larger than the logits, or grad has another shape");
    if (!list(&a->target, BL_I32, a->logits.dim[0]) || (a->nll.buf && !list(&a->nll, BL_F64, a->logits.dim[0])))
        return bl_broken(e, "loss_grad", "target or nll has another type or is too short");
    if (a->theirs.buf && (!bl_is_matrix(&a->theirs, BL_F32, a->logits.dim[0], a->logits.dim[1]) ||
                          !list(&a->kl, BL_F64, a->logits.dim[0])))
        return bl_broken(e, "loss_grad", "logits that are followed, or kl, have another shape");
    return BL_OK;
}

bl_status bl_check_dropout(const bl_backend *be, const bl_dropout_args *a, bl_err *e)
{
    if (!bl_is_matrix(&a->x, be->act, -1, -1) || !bl_is_matrix(&a->y, be->act, a->x.dim[0], a->x.dim[1]) ||
        !(a->p >= 0 && a->p < 1) || a->row0 < 0)
        return bl_broken(e, "dropout", "x and y have different shapes, or p is not in [0, 1)");
    return BL_OK;
}

bl_status bl_check_round_random(const bl_round_random_args *a, bl_err *e)
{
    const bl_weight *w = a->w;
    if (!w || !w->format || w->format->kind != BL_FMT_INT || w->format->bits != 8 || w->shape.zero != BL_ZERO_PACKED ||
        w->layout || !contiguous(&a->x) || a->x.ndim != 2 || a->x.dim[0] != w->shape.out || a->x.dim[1] != w->shape.in)
        return bl_broken(e, "round_random", "x is not of the weight's shape, or that is no int8 with packed zeros");
    return BL_OK;
}

static bool adamw_numbers(const bl_adamw_args *a)
{
    return a->step >= 1 && a->beta1 >= 0 && a->beta1 < 1 && a->beta2 >= 0 && a->beta2 < 1 && a->eps > 0;
}

static bool but_for_their_rate(const bl_adamw_args *x, const bl_adamw_args *y)
{
    return x->step == y->step && x->beta1 == y->beta1 && x->beta2 == y->beta2 && x->eps == y->eps &&
           x->decay == y->decay && x->grad_scale == y->grad_scale;
}

bl_status bl_check_adamw(const bl_adamw_args *a, bl_err *e)
{
    const bl_tensor *all[] = {&a->p, &a->grad, &a->m, &a->v};
    for (size_t i = 0; i < BL_COUNT(all); i++)
        if (!contiguous(all[i]) || bl_tensor_count(all[i]) != bl_tensor_count(&a->p))
            return bl_broken(e, "adamw", "parameter, gradient and moments have different sizes, or are not contiguous");
    return adamw_numbers(a) ? BL_OK : bl_broken(e, "adamw", "step, betas or eps cannot be");
}

bl_status bl_check_adamw_all(const bl_adamw_all_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    for (size_t i = 0; i < a->n; i++) {
        BL_TRY(bl_check_adamw(a->of + i, e));
        if (!but_for_their_rate(a->of, a->of + i))
            return bl_broken(e, "adamw_all", "parameters differ in more than their rate");
    }
out:
    return st;
}

bl_status bl_check_sq_sums(const bl_sq_sums_args *a, bl_err *e)
{
    for (size_t i = 0; i < a->n; i++)
        if (!contiguous(&a->x[i])) return bl_broken(e, "sq_sums", "x is not of f32, or not contiguous");
    return list(&a->to, BL_F64, (int64_t)a->n) ? BL_OK : bl_broken(e, "sq_sums", "the sums have no place");
}

bl_status bl_check_adamw8(const bl_adamw8_args *a, bl_err *e)
{
    const bool tables = list(&a->m_table, BL_F32, 256) && list(&a->v_table, BL_F32, 256);
    for (size_t i = 0; i < a->n; i++) {
        const bl_adamw_args *x = &a->of[i].how;
        const int64_t n = bl_tensor_count(&x->p), blocks = (n + BL_MOMENT_BLOCK - 1) / BL_MOMENT_BLOCK;
        if (!tables || !contiguous(&x->p) || !contiguous(&x->grad) || bl_tensor_count(&x->grad) != n ||
            !list(&x->m, BL_U8, n) || !list(&x->v, BL_U8, n) || !list(&a->of[i].m_max, BL_F32, blocks) ||
            !list(&a->of[i].v_max, BL_F32, blocks))
            return bl_broken(e, "adamw8", "parameter, gradient, moments and tables do not fit");
        if (!adamw_numbers(x)) return bl_broken(e, "adamw8", "step, betas or eps cannot be");
        if (!but_for_their_rate(&a->of->how, x))
            return bl_broken(e, "adamw8", "parameters differ in more than their rate");
    }
    return BL_OK;
}

void bl_moment_table(bool is_signed, float table[256])
{
    double ten = 1e-6;
    int n = 0;
    if (is_signed) {
        memcpy(table, bl_dynamic_map, 256 * sizeof *table);
        return;
    }
    table[n++] = 0;
    for (int i = 0; i < 7; i++, ten *= 10)
        for (int k = 0, count = 1 << (i + 1); k < count; k++)
            table[n++] = (float)((0.1 + 0.9 * (k + 0.5) / count) * ten);
    table[n++] = 1;
}

static bool grid_fits(const bl_grid *g, const bl_tensor *w, const bl_tensor *scale, const bl_tensor *offset)
{
    if (!bl_is_matrix(w, BL_F32, -1, -1) || g->group < 1 || g->bits < 2 ||
        g->bits > (g->kind == BL_GRID_PLANES ? 2 : 8))
        return false;
    const int64_t groups = (w->dim[1] + g->group - 1) / g->group;
    return (bl_grid_has_scale(g->kind) ? bl_is_matrix(scale, BL_F32, w->dim[0], groups) : !scale->buf) &&
           (bl_grid_has_offset(g->kind) ? bl_is_matrix(offset, BL_F32, w->dim[0], groups) : !offset->buf);
}

bl_status bl_check_grid(const bl_grid_args *a, bl_err *e)
{
    if (!grid_fits(&a->grid, &a->w, &a->scale, &a->offset) || !bl_is_matrix(&a->y, BL_F32, a->w.dim[0], a->w.dim[1]))
        return bl_broken(e, "grid", "weight, scales, offsets, bits and y do not fit");
    return BL_OK;
}

bl_status bl_check_grid_grad(const bl_grid_grad_args *a, bl_err *e)
{
    if (!grid_fits(&a->grid, &a->w, &a->scale, &a->offset) || !grid_fits(&a->grid, &a->dy, &a->dscale, &a->doffset) ||
        !bl_is_matrix(&a->dy, BL_F32, a->w.dim[0], a->w.dim[1]) ||
        !bl_is_matrix(&a->dw, BL_F32, a->w.dim[0], a->w.dim[1]))
        return bl_broken(e, "grid_grad", "weight, scales, offsets, bits and gradients do not fit");
    return BL_OK;
}

static bool in_eights(int64_t group, int64_t in) { return group >= in || group % 8 == 0; }

bool bl_merged_grid_takes(const bl_weight *w, const bl_grid *g)
{
    const bl_shape *s = &w->shape;
    const bool whole = w->format->kind == BL_FMT_INT && w->format->bits > 1 &&
                       (s->zero == BL_ZERO_NONE || s->zero == BL_ZERO_PACKED || s->zero == BL_ZERO_I16);
    return (w->format->kind == BL_FMT_DENSE || (whole && in_eights(s->group, s->in))) && s->in % 8 == 0 &&
           in_eights(g->group, s->in) && (g->kind == BL_GRID_OFFSET || g->kind == BL_GRID_INSIDE);
}

bl_status bl_check_merged_grid(const bl_backend *be, const bl_merged_grid_args *a, bl_err *e)
{
    const int64_t out = a->w->shape.out, in = a->w->shape.in;
    const bl_tensor like = bl_tensor_2d(a->y.buf, 0, BL_F32, out, in);
    if (!bl_merged_grid_takes(a->w, &a->grid) || !bl_is_whole(&a->a, BL_F32, -1, in) ||
        !bl_is_whole(&a->b, BL_F32, out, a->a.dim[0]) ||
        !(bl_is_whole(&a->y, be->act, out, in) || (!a->dy.buf && bl_is_whole(&a->y, BL_F32, out, in))) ||
        !grid_fits(&a->grid, &like, &a->scale, &a->offset))
        return bl_broken(e, "merged_grid", "weight, factors, scales, offsets, bits and y do not fit");
    if (a->dy.buf && (!bl_is_whole(&a->dy, be->act, out, in) || !grid_fits(&a->grid, &like, &a->dscale, &a->doffset)))
        return bl_broken(e, "merged_grid", "the gradients do not fit");
    return BL_OK;
}

static bool list_or_none(const bl_tensor *t, int64_t n) { return !t->buf || list(t, BL_F32, n); }

bl_status bl_check_step_search(const bl_step_search_args *a, bl_err *e)
{
    if (a->bits < 2 || a->bits > 8 || a->group < 1 || !bl_is_matrix(&a->w, BL_F32, -1, -1) ||
        !bl_is_matrix(&a->scale, BL_F32, a->w.dim[0], (a->w.dim[1] + a->group - 1) / a->group))
        return bl_broken(e, "step_search", "weight, scales, bits and group do not fit");
    return BL_OK;
}

bl_status bl_check_scale_grad(const bl_scale_grad_args *a, bl_err *e)
{
    if (!bl_is_matrix(&a->x, BL_F32, -1, -1) || !bl_is_matrix(&a->dy, BL_F32, a->x.dim[0], a->x.dim[1]) ||
        !list_or_none(&a->rows, a->x.dim[0]) || !list_or_none(&a->cols, a->x.dim[1]) ||
        !list_or_none(&a->drows, a->x.dim[0]) || !list_or_none(&a->dcols, a->x.dim[1]))
        return bl_broken(e, "scale_grad", "x, dy, rows, cols and their gradients do not fit");
    return BL_OK;
}

static bool rounds_as_it_comes(const bl_actq *q)
{
    return q->bits >= 2 && q->bits <= 8 && (q->unit == BL_ACT_TOKEN || (q->unit == BL_ACT_GROUP && q->group > 0));
}

bl_status bl_check_act_round(const bl_backend *be, const bl_act_round_args *a, bl_err *e)
{
    if (!bl_is_matrix(&a->x, be->act, -1, -1) || !bl_is_matrix(&a->y, be->act, a->x.dim[0], a->x.dim[1]) ||
        !rounds_as_it_comes(&a->act))
        return bl_broken(e, "act_round", "x, y and how they are rounded do not fit");
    return BL_OK;
}

bl_status bl_check_act_round_grad(const bl_backend *be, const bl_act_round_grad_args *a, bl_err *e)
{
    if (!bl_is_matrix(&a->x, be->act, -1, -1) || !bl_is_matrix(&a->dy, be->act, a->x.dim[0], a->x.dim[1]) ||
        !bl_is_matrix(&a->dx, be->act, a->x.dim[0], a->x.dim[1]) || !rounds_as_it_comes(&a->act))
        return bl_broken(e, "act_round_grad", "x, its gradients and how it is rounded do not fit");
    return BL_OK;
}

bl_status bl_check_differ(const bl_backend *be, const bl_differ_args *a, bl_err *e)
{
    if (!bl_is_matrix(&a->x, be->act, -1, -1) || !bl_is_matrix(&a->y, be->act, a->x.dim[0], a->x.dim[1]) ||
        !list(&a->sum, BL_F64, 1))
        return bl_broken(e, "differ", "x and y are not activations of one shape, or the sum has no place");
    return BL_OK;
}
