/* optimizer.c - the norm of all gradients, clipping, and a step of each parameter. Moments come with the first step. */
#include "optimizer.h"
#include <math.h>

/* As a matrix of one row where it is a list. */
static bl_tensor matrix(bl_tensor t)
{
    return t.ndim == 2 ? t : bl_tensor_2d(t.buf, t.offset, t.dtype, 1, bl_tensor_count(&t));
}

static bl_status norm_of(const bl_trainable *t, double *norm, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_status st = BL_OK;
    double sum = 0;
    for (size_t i = 0; i < t->n_params; i++) {
        double one = 0;
        BL_TRY(be->ops->sq_error(be, &(bl_sq_error_args){.x = matrix(t->param[i].grad), .sum = &one}, e));
        BL_TRY(be->ops->sync(be, e));
        sum += one;
    }
    *norm = sqrt(sum);
out:
    return st;
}

static bl_status moment(bl_backend *be, bl_dtype type, int64_t n, bl_tensor *m, bl_err *e)
{
    bl_status st = BL_OK;
    bl_buffer *b = NULL;
    bl_tensor t;
    if (m->buf) return BL_OK;
    BL_TRY(be->ops->buffer_new(be, (uint64_t)n * bl_dtype_bytes(type), &b, e));
    t = bl_tensor_1d(b, 0, type, n);
    BL_TRY(be->ops->fill(be, &t, 0, e));
    *m = t;
    b = NULL;
out:
    be->ops->buffer_free(b);
    return st;
}

static bl_status tables(bl_trainable *t, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_status st = BL_OK;
    float table[256];
    for (int k = 0; k < 2; k++) {
        if (t->moment_table[k].buf) continue;
        BL_TRY(moment(be, BL_F32, 256, &t->moment_table[k], e));
        bl_moment_table(!k, table);
        BL_TRY(be->ops->upload(be, &t->moment_table[k], table, e));
        BL_TRY(be->ops->sync(be, e)); /* before it goes */
    }
out:
    return st;
}

bool bl_adamw_is_eight(const bl_adamw *o, const bl_trained *p)
{
    return o->eight_bits && bl_tensor_count(&p->value) >= 4096;
}

bl_status bl_adamw_moments(const bl_adamw *o, bl_trainable *t, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_status st = BL_OK;
    if (o->eight_bits) {
        BL_TRY(bl_check_op(be, be->ops->adamw8, "adamw8", e));
        BL_TRY(tables(t, e));
    }
    for (size_t i = 0; i < t->n_params; i++) {
        bl_trained *p = &t->param[i];
        int64_t n = bl_tensor_count(&p->value), blocks = (n + BL_MOMENT_BLOCK - 1) / BL_MOMENT_BLOCK;
        bl_dtype type = bl_adamw_is_eight(o, p) ? BL_U8 : BL_F32;
        BL_TRY(moment(be, type, n, &p->m, e));
        BL_TRY(moment(be, type, n, &p->v, e));
        if (type != BL_U8) continue;
        BL_TRY(moment(be, BL_F32, blocks, &p->m_max, e));
        BL_TRY(moment(be, BL_F32, blocks, &p->v_max, e));
    }
out:
    return st;
}

static bl_status step8(const bl_adamw *o, const bl_trainable *t, const bl_trained *p, double lr, double by, bl_err *e)
{
    return t->m->be->ops->adamw8(t->m->be,
                                 &(bl_adamw8_args){.p = p->value,
                                                   .grad = p->grad,
                                                   .m = p->m,
                                                   .v = p->v,
                                                   .m_max = p->m_max,
                                                   .v_max = p->v_max,
                                                   .m_table = t->moment_table[0],
                                                   .v_table = t->moment_table[1],
                                                   .lr = lr,
                                                   .beta1 = o->beta1,
                                                   .beta2 = o->beta2,
                                                   .eps = o->eps,
                                                   .decay = o->decay,
                                                   .grad_scale = by,
                                                   .step = o->step + 1},
                                 e);
}

static bl_status step(const bl_adamw *o, const bl_trainable *t, const bl_trained *p, double lr, double by, bl_err *e)
{
    return t->m->be->ops->adamw(t->m->be,
                                &(bl_adamw_args){.p = p->value,
                                                 .grad = p->grad,
                                                 .m = p->m,
                                                 .v = p->v,
                                                 .lr = lr,
                                                 .beta1 = o->beta1,
                                                 .beta2 = o->beta2,
                                                 .eps = o->eps,
                                                 .decay = o->decay,
                                                 .grad_scale = by,
                                                 .step = o->step + 1},
                                e);
}

bl_status bl_adamw_step(bl_adamw *o, bl_trainable *t, double lr, double *norm, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_status st = BL_OK;
    double length = 0;

    BL_TRY(bl_check_op(be, be->ops->adamw, "adamw", e));
    BL_TRY(norm_of(t, &length, e));
    if (!isfinite(length))
        return bl_fail(e, BL_E_NUMERIC, "step %lld: the gradient is not finite", (long long)o->step + 1);
    BL_TRY(bl_adamw_moments(o, t, e));
    const double by = o->clip > 0 ? fmin(1, o->clip / (length + 1e-6)) : 1;
    for (size_t i = 0; i < t->n_params; i++) {
        const bl_trained *p = &t->param[i];
        BL_TRY((bl_adamw_is_eight(o, p) ? step8 : step)(o, t, p, lr, by, e));
        BL_TRY(be->ops->fill(be, &p->grad, 0, e));
    }
    BL_TRY(bl_trainable_make(t, e));
    o->step++;
    if (norm) *norm = length;
out:
    return st;
}
