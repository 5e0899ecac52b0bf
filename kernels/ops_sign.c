/* ops_sign.c - what every backend checks about the arguments of ops_sign.h before it computes. */
#include "ops_impl.h"

static bool groups_of(const bl_tensor *t, const bl_tensor *w, int64_t group)
{
    return bl_is_whole(t, BL_F32, w->dim[0], (w->dim[1] + group - 1) / group);
}

static bl_status check_grid(const bl_sign_grid *g, const bl_tensor *w, const bl_tensor *v, const bl_tensor *a,
                            const bl_tensor *c, const char *op, bl_err *e)
{
    if (g->bits < 1 || g->bits > 8 || g->group < 1 || (g->scale != BL_F16 && g->scale != BL_F32))
        return bl_broken(e, op, "bits, group or the type of scales cannot be");
    if (!bl_is_whole(w, BL_F32, -1, -1) || !bl_is_whole(v, BL_F32, w->dim[0], w->dim[1]) ||
        !groups_of(a, w, g->group) || !groups_of(c, w, g->group))
        return bl_broken(e, op, "w and v, or a and c, are not contiguous and of the shapes of one weight");
    return BL_OK;
}

bl_status bl_check_sign_round(const bl_sign_round_args *a, bl_err *e)
{
    bl_status st = check_grid(&a->grid, &a->w, &a->v, &a->a, &a->c, "sign_round", e);
    if (st != BL_OK) return st;
    if (!bl_is_whole(&a->y, BL_F32, a->w.dim[0], a->w.dim[1]) ||
        (a->scale.buf && !groups_of(&a->scale, &a->w, a->grid.group)) ||
        (a->zero.buf && !groups_of(&a->zero, &a->w, a->grid.group)))
        return bl_broken(e, "sign_round", "y, scale or zero has another shape");
    return BL_OK;
}

bl_status bl_check_sign_round_grad(const bl_sign_round_grad_args *a, bl_err *e)
{
    bl_status st = check_grid(&a->grid, &a->w, &a->v, &a->a, &a->c, "sign_round_grad", e);
    if (st != BL_OK) return st;
    if (!bl_is_whole(&a->dy, BL_F32, a->w.dim[0], a->w.dim[1]) || !groups_of(&a->da, &a->w, a->grid.group) ||
        !groups_of(&a->dc, &a->w, a->grid.group))
        return bl_broken(e, "sign_round_grad", "dy, da or dc has another shape");
    return BL_OK;
}

bl_status bl_check_sign_step(const bl_sign_step_args *a, bl_err *e)
{
    if (!a->p.buf || !a->grad.buf || a->p.dtype != BL_F32 || a->grad.dtype != BL_F32 || !bl_tensor_contiguous(&a->p) ||
        !bl_tensor_contiguous(&a->grad) || bl_tensor_count(&a->p) != bl_tensor_count(&a->grad) || !(a->low <= a->high))
        return bl_broken(e, "sign_step",
                         "p and grad are not contiguous and of one size, or the ends are the other way round");
    return BL_OK;
}
