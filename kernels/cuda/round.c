/* round.c - the ops of round.cu: arguments to launches (ops_train.h). */
#include "cuda.h"
#include <math.h>

static int64_t group_of(const bl_actq *q, int64_t n) { return q->unit == BL_ACT_GROUP ? q->group : BL_MAX(n, 1); }

bl_status bl_cuda_act_round(bl_backend *be, const bl_act_round_args *a, bl_err *e)
{
    bl_status st = bl_check_act_round(be, a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_act_round(c->now, bl_cuda_at(&a->x), a->x.stride[0], bl_cuda_at(&a->y), a->y.stride[0], a->x.dim[0],
                    a->x.dim[1], group_of(&a->act, a->x.dim[1]), a->act.bits, a->act.symmetric);
    return bl_cuda_launched(be, "act_round", e);
}

bl_status bl_cuda_act_round_grad(bl_backend *be, const bl_act_round_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_act_round_grad(be, a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_act_round_back(c->now, &(bl_cu_act_back){.x = bl_cuda_at(&a->x),
                                                   .dy = bl_cuda_at(&a->dy),
                                                   .dx = bl_cuda_at(&a->dx),
                                                   .ldx = a->x.stride[0],
                                                   .lddy = a->dy.stride[0],
                                                   .lddx = a->dx.stride[0],
                                                   .rows = a->x.dim[0],
                                                   .n = a->x.dim[1],
                                                   .group = group_of(&a->act, a->x.dim[1]),
                                                   .bits = a->act.bits,
                                                   .symmetric = a->act.symmetric,
                                                   .ends = a->ends,
                                                   .accumulate = a->accumulate,
                                                   .within = a->within > 0 ? (float)a->within : INFINITY});
    return bl_cuda_launched(be, "act_round_grad", e);
}

bl_status bl_cuda_scale_grad(bl_backend *be, const bl_scale_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_scale_grad(a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_scale_back_of(c->now, &(bl_cu_scale_back){.x = bl_cuda_at(&a->x),
                                                    .dy = bl_cuda_at(&a->dy),
                                                    .rows = bl_cuda_at(&a->rows),
                                                    .cols = bl_cuda_at(&a->cols),
                                                    .drows = bl_cuda_at(&a->drows),
                                                    .dcols = bl_cuda_at(&a->dcols),
                                                    .ldx = a->x.stride[0],
                                                    .lddy = a->dy.stride[0],
                                                    .m = a->x.dim[0],
                                                    .n = a->x.dim[1]});
    return bl_cuda_launched(be, "scale_grad", e);
}

bl_status bl_cuda_differ(bl_backend *be, const bl_differ_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    void *sums;
    BL_TRY(bl_check_differ(be, a, e));
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_SOLVE, (uint64_t)BL_MAX(a->x.dim[0], 1) * sizeof(double), &sums, e));
    bl_cu_differ(c->now, bl_cuda_at(&a->x), a->x.stride[0], bl_cuda_at(&a->y), a->y.stride[0], a->x.dim[0], a->x.dim[1],
                 (float)a->scale, sums, bl_cuda_at(&a->sum));
    st = bl_cuda_launched(be, "differ", e);
out:
    return st;
}
