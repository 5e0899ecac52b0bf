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

bl_status bl_cuda_round_random(bl_backend *be, const bl_round_random_args *a, bl_err *e)
{
    bl_status st = bl_check_round_random(a, e);
    bl_cuda *c = be->own;
    bl_cu_weight w;
    if (st != BL_OK) return st;
    BL_TRY(bl_cuda_weight(be, a->w, &w, e));
    bl_cu_round_random(c->now, bl_cuda_at(&a->x), &w, bl_cuda_at(&a->w->part[0]), a->key, a->stream);
    st = bl_cuda_launched(be, "round_random", e);
out:
    return st;
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

bl_status bl_cuda_grid(bl_backend *be, const bl_grid_args *a, bl_err *e)
{
    bl_status st = bl_check_grid(a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_grid(c->now, &(bl_cu_grid_args){.w = bl_cuda_at(&a->w),
                                          .scale = a->scale.buf ? bl_cuda_at(&a->scale) : NULL,
                                          .offset = a->offset.buf ? bl_cuda_at(&a->offset) : NULL,
                                          .y = bl_cuda_at(&a->y),
                                          .ldw = a->w.stride[0],
                                          .lds = a->scale.stride[0],
                                          .ldo = a->offset.stride[0],
                                          .ldy = a->y.stride[0],
                                          .rows = a->w.dim[0],
                                          .in = a->w.dim[1],
                                          .groups = (a->w.dim[1] + a->grid.group - 1) / a->grid.group,
                                          .group = a->grid.group,
                                          .kind = (int)a->grid.kind,
                                          .bits = a->grid.bits,
                                          .half = a->grid.half});
    return bl_cuda_launched(be, "grid", e);
}

bl_status bl_cuda_grid_grad(bl_backend *be, const bl_grid_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_grid_grad(a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_grid_back(c->now, &(bl_cu_grid_args){.w = bl_cuda_at(&a->w),
                                               .scale = a->scale.buf ? bl_cuda_at(&a->scale) : NULL,
                                               .offset = a->offset.buf ? bl_cuda_at(&a->offset) : NULL,
                                               .dy = bl_cuda_at(&a->dy),
                                               .y = bl_cuda_at(&a->dw),
                                               .dscale = a->dscale.buf ? bl_cuda_at(&a->dscale) : NULL,
                                               .doffset = a->doffset.buf ? bl_cuda_at(&a->doffset) : NULL,
                                               .ldw = a->w.stride[0],
                                               .lds = a->scale.stride[0],
                                               .ldo = a->offset.stride[0],
                                               .ldy = a->dw.stride[0],
                                               .lddy = a->dy.stride[0],
                                               .ldds = a->dscale.stride[0],
                                               .lddo = a->doffset.stride[0],
                                               .rows = a->w.dim[0],
                                               .in = a->w.dim[1],
                                               .groups = (a->w.dim[1] + a->grid.group - 1) / a->grid.group,
                                               .group = a->grid.group,
                                               .kind = (int)a->grid.kind,
                                               .bits = a->grid.bits,
                                               .half = a->grid.half,
                                               .by = (float)a->alpha});
    return bl_cuda_launched(be, "grid_grad", e);
}

bl_status bl_cuda_step_search(bl_backend *be, const bl_step_search_args *a, bl_err *e)
{
    bl_status st = bl_check_step_search(a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_step_search(c->now, bl_cuda_at(&a->w), a->w.stride[0], bl_cuda_at(&a->scale), a->scale.stride[0], a->w.dim[0],
                      a->w.dim[1], a->group, a->bits, a->within);
    return bl_cuda_launched(be, "step_search", e);
}
