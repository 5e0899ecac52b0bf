/* sign.c - rounding that is learned by signs of gradients on the device (ops_sign.h). */
#include "sign.h"
#include "cuda.h"

static bl_cu_sign outline(const bl_sign_grid *g, const bl_tensor *w, const bl_tensor *v, const bl_tensor *a,
                          const bl_tensor *c)
{
    return (bl_cu_sign){.w = bl_cuda_at(w),
                        .v = bl_cuda_at(v),
                        .a = bl_cuda_at(a),
                        .c = bl_cuda_at(c),
                        .out = w->dim[0],
                        .in = w->dim[1],
                        .group = g->group,
                        .groups = a->dim[1],
                        .bits = g->bits,
                        .symmetric = g->symmetric,
                        .half = g->scale == BL_F16};
}

bl_status bl_cuda_sign_round(bl_backend *be, const bl_sign_round_args *a, bl_err *e)
{
    bl_status st = bl_check_sign_round(a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_sign k = outline(&a->grid, &a->w, &a->v, &a->a, &a->c);
    k.y = bl_cuda_at(&a->y);
    k.scale = bl_cuda_at(&a->scale);
    k.zero = bl_cuda_at(&a->zero);
    bl_cu_sign_round(c->now, &k);
    return bl_cuda_launched(be, "sign_round", e);
}

bl_status bl_cuda_sign_round_grad(bl_backend *be, const bl_sign_round_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_sign_round_grad(a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_sign k = outline(&a->grid, &a->w, &a->v, &a->a, &a->c);
    k.dy = bl_cuda_at(&a->dy);
    k.da = bl_cuda_at(&a->da);
    k.dc = bl_cuda_at(&a->dc);
    bl_cu_sign_round_back(c->now, &k);
    return bl_cuda_launched(be, "sign_round_grad", e);
}

bl_status bl_cuda_sign_step(bl_backend *be, const bl_sign_step_args *a, bl_err *e)
{
    bl_status st = bl_check_sign_step(a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_sign_step(c->now, bl_cuda_at(&a->p), bl_cuda_at(&a->grad), bl_tensor_count(&a->p), (float)a->step,
                    (float)a->low, (float)a->high);
    return bl_cuda_launched(be, "sign_step", e);
}
