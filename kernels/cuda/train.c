/* train.c - dropout, optimizer steps and learned step sizes on the device (ops_train.h). */
#include "cuda.h"
#include <math.h>

bl_status bl_cuda_dropout(bl_backend *be, const bl_dropout_args *a, bl_err *e)
{
    bl_status st = bl_check_dropout(be, a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_dropout(c->now, bl_cuda_at(&a->x), a->x.stride[0], bl_cuda_at(&a->y), a->y.stride[0], a->x.dim[0],
                  a->x.dim[1], a->row0, a->p, a->key, a->stream, a->accumulate);
    return bl_cuda_launched(be, "dropout", e);
}

bl_status bl_cuda_adamw(bl_backend *be, const bl_adamw_args *a, bl_err *e)
{
    bl_status st = bl_check_adamw(a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_adamw_step(c->now,
                     &(bl_cu_adamw){.p = bl_cuda_at(&a->p),
                                    .grad = bl_cuda_at(&a->grad),
                                    .n = bl_tensor_count(&a->p),
                                    .b1 = (float)a->beta1,
                                    .b2 = (float)a->beta2,
                                    .new1 = (float)(1 - a->beta1),
                                    .new2 = (float)(1 - a->beta2),
                                    .by = (float)a->grad_scale,
                                    .eps = (float)a->eps,
                                    .shrink = (float)(1 - a->lr * a->decay),
                                    .step = (float)(a->lr / (1 - pow(a->beta1, (double)a->step))),
                                    .root = (float)sqrt(1 - pow(a->beta2, (double)a->step))},
                     bl_cuda_at(&a->m), bl_cuda_at(&a->v));
    return bl_cuda_launched(be, "adamw", e);
}

bl_status bl_cuda_adamw8(bl_backend *be, const bl_adamw8_args *a, bl_err *e)
{
    bl_status st = bl_check_adamw8(a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_adamw8_step(c->now,
                      &(bl_cu_adamw){.p = bl_cuda_at(&a->p),
                                     .grad = bl_cuda_at(&a->grad),
                                     .n = bl_tensor_count(&a->p),
                                     .b1 = (float)a->beta1,
                                     .b2 = (float)a->beta2,
                                     .new1 = 1 - (float)a->beta1,
                                     .new2 = 1 - (float)a->beta2,
                                     .by = (float)a->grad_scale,
                                     .eps = (float)a->eps,
                                     .shrink = (float)(1 - a->lr * a->decay),
                                     .step = (float)(a->lr / (1 - pow(a->beta1, (double)a->step))),
                                     .root = (float)sqrt(1 - pow(a->beta2, (double)a->step))},
                      bl_cuda_at(&a->m), bl_cuda_at(&a->v), bl_cuda_at(&a->m_max), bl_cuda_at(&a->v_max),
                      bl_cuda_at(&a->m_table), bl_cuda_at(&a->v_table));
    return bl_cuda_launched(be, "adamw8", e);
}

bl_status bl_cuda_lsq(bl_backend *be, const bl_lsq_args *a, bl_err *e)
{
    bl_status st = bl_check_lsq(a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_lsq(c->now, bl_cuda_at(&a->w), a->w.stride[0], bl_cuda_at(&a->scale), a->scale.stride[0], bl_cuda_at(&a->y),
              a->y.stride[0], a->w.dim[0], a->w.dim[1], a->group, a->bits);
    return bl_cuda_launched(be, "lsq", e);
}

bl_status bl_cuda_lsq_grad(bl_backend *be, const bl_lsq_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_lsq_grad(a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_lsq_back(c->now, &(bl_cu_lsq_grad){.w = bl_cuda_at(&a->w),
                                             .scale = bl_cuda_at(&a->scale),
                                             .dy = bl_cuda_at(&a->dy),
                                             .dw = bl_cuda_at(&a->dw),
                                             .dscale = bl_cuda_at(&a->dscale),
                                             .ldw = a->w.stride[0],
                                             .lds = a->scale.stride[0],
                                             .ldy = a->dy.stride[0],
                                             .lddw = a->dw.stride[0],
                                             .ldds = a->dscale.stride[0],
                                             .rows = a->w.dim[0],
                                             .in = a->w.dim[1],
                                             .group = a->group,
                                             .groups = a->scale.dim[1],
                                             .bits = a->bits});
    return bl_cuda_launched(be, "lsq_grad", e);
}
