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

static bl_status moment(bl_backend *be, const bl_tensor *like, bl_tensor *m, bl_err *e)
{
    bl_status st = BL_OK;
    bl_buffer *b = NULL;
    bl_tensor t;
    if (m->buf) return BL_OK;
    BL_TRY(be->ops->buffer_new(be, bl_tensor_bytes(like), &b, e));
    t = bl_tensor_1d(b, 0, BL_F32, bl_tensor_count(like));
    BL_TRY(be->ops->fill(be, &t, 0, e));
    *m = t;
    b = NULL;
out:
    be->ops->buffer_free(b);
    return st;
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
    for (size_t i = 0; i < t->n_params; i++) {
        BL_TRY(moment(be, &t->param[i].value, &t->param[i].m, e));
        BL_TRY(moment(be, &t->param[i].value, &t->param[i].v, e));
    }
    for (size_t i = 0; i < t->n_params; i++) {
        bl_trained *p = &t->param[i];
        BL_TRY(be->ops->adamw(be,
                              &(bl_adamw_args){.p = p->value,
                                               .grad = p->grad,
                                               .m = p->m,
                                               .v = p->v,
                                               .lr = lr,
                                               .beta1 = o->beta1,
                                               .beta2 = o->beta2,
                                               .eps = o->eps,
                                               .decay = o->decay,
                                               .grad_scale = o->clip > 0 ? fmin(1, o->clip / (length + 1e-6)) : 1,
                                               .step = o->step + 1},
                              e));
        BL_TRY(be->ops->fill(be, &p->grad, 0, e));
    }
    BL_TRY(bl_trainable_make(t, e));
    o->step++;
    if (norm) *norm = length;
out:
    return st;
}
