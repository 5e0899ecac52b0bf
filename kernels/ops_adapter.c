/* ops_adapter.c - what every backend checks about the arguments of the ops that make adapters. */
#include "ops_impl.h"

static bool list(const bl_tensor *t, int64_t n)
{
    return t->buf && t->dtype == BL_F32 && t->ndim == 1 && t->dim[0] == n && t->stride[0] == 1;
}
static bool matrix(const bl_tensor *t, int64_t rows, int64_t cols) { return bl_is_matrix(t, BL_F32, rows, cols); }

bl_status bl_check_dora(const bl_dora_args *a, bl_err *e)
{
    if (!matrix(&a->b, -1, -1)) return bl_broken(e, "dora", "B is no f32 matrix");
    const int64_t out = a->b.dim[0], rank = a->b.dim[1];
    if (!list(&a->sq, out) || !list(&a->m, out) || !list(&a->norm, out) || !list(&a->by, out) ||
        !matrix(&a->cross, rank, out) || !matrix(&a->gram, rank, rank) || !matrix(&a->y, out, rank))
        return bl_broken(e, "dora", "lists and products do not fit B");
    return BL_OK;
}

bl_status bl_check_dora_grad(const bl_backend *be, const bl_dora_grad_args *a, bl_err *e)
{
    if (!matrix(&a->of_b, -1, -1)) return bl_broken(e, "dora_grad", "the gradient of B is no f32 matrix");
    const int64_t out = a->of_b.dim[0], rank = a->of_b.dim[1];
    if (!bl_is_matrix(&a->y, be->act, -1, out) || !bl_is_matrix(&a->dy, be->act, a->y.dim[0], out))
        return bl_broken(e, "dora_grad", "y or its gradient is not what a linear of B's width puts out");
    if (!matrix(&a->db, out, rank) || !list(&a->m, out) || !list(&a->by, out) || !list(&a->dm, out) ||
        (a->bias.buf && !list(&a->bias, out)))
        return bl_broken(e, "dora_grad", "lists and gradients do not fit B");
    return BL_OK;
}

static bool pools(const bl_tensor *small, const bl_tensor *wide, int64_t group)
{
    return group > 0 && matrix(wide, -1, -1) && matrix(small, wide->dim[0], (wide->dim[1] + group - 1) / group);
}
bl_status bl_check_pool(const bl_pool_args *a, bl_err *e)
{
    return pools(&a->x, &a->y, a->group) ? BL_OK : bl_broken(e, "pool", "x has not a column for each group of y");
}
bl_status bl_check_pool_grad(const bl_pool_grad_args *a, bl_err *e)
{
    return pools(&a->dx, &a->dy, a->group) ? BL_OK
                                           : bl_broken(e, "pool_grad", "dx has not a column for each group of dy");
}

static bool bands(const bl_tensor *x, const bl_tensor *y, const bl_tensor *beta, int64_t group)
{
    return group > 0 && matrix(x, -1, -1) && matrix(y, x->dim[0], x->dim[1]) && list(beta, 1);
}
bl_status bl_check_band(const bl_band_args *a, bl_err *e)
{
    return bands(&a->x, &a->y, &a->beta, a->group) ? BL_OK : bl_broken(e, "band", "x, y, beta and group do not fit");
}
bl_status bl_check_band_grad(const bl_band_grad_args *a, bl_err *e)
{
    return bands(&a->dy, &a->dx, &a->dbeta, a->group) ? BL_OK
                                                      : bl_broken(e, "band_grad", "gradients and group do not fit");
}

int64_t bl_lowrank_width(int64_t rank) { return (rank + 7) / 8 * 8; }

bl_status bl_check_lowrank_grad(const bl_backend *be, const bl_lowrank_grad_args *a, bl_err *e)
{
    int64_t width = 0;
    if (a->n < 1 || a->n > BL_LOWRANK_MOST || !bl_is_matrix(&a->x, be->act, -1, -1))
        return bl_broken(e, "lowrank_grad", "x is no matrix, or adapters are too many or none");
    const int64_t rows = a->x.dim[0], in = a->x.dim[1];
    for (int i = 0; i < a->n; i++) {
        const bl_tensor *A = &a->of[i].a, *B = &a->of[i].b;
        if (!matrix(A, -1, in) || !matrix(B, -1, A->dim[0]) || !matrix(&a->of[i].da, A->dim[0], in) ||
            !matrix(&a->of[i].db, B->dim[0], A->dim[0]) || !bl_is_matrix(&a->of[i].dy, be->act, rows, B->dim[0]))
            return bl_broken(e, "lowrank_grad", "A, B and their gradients do not fit x and dy");
        width += bl_lowrank_width(A->dim[0]);
    }
    if (a->dx.buf && !bl_is_matrix(&a->dx, be->act, rows, in))
        return bl_broken(e, "lowrank_grad", "dx has not the shape of x");
    if (!a->work.buf || a->work.dtype != be->act || !bl_tensor_contiguous(&a->work) ||
        bl_tensor_count(&a->work) < rows * width)
        return bl_broken(e, "lowrank_grad", "there is too little room for the inner products");
    return BL_OK;
}
