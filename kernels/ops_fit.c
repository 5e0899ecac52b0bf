/* ops_fit.c - what every backend checks about the arguments of the searching ops. */
#include "ops.h"

static bl_status broken(bl_err *e, const char *op, const char *what)
{
    return bl_fail(e, BL_E_INTERNAL, "%s: %s", op, what);
}

/* A matrix with dense rows; rows or cols -1: any. */
static bool dense(const bl_tensor *t, bl_dtype type, int64_t rows, int64_t cols)
{
    return t->buf && t->dtype == type && t->ndim == 2 && t->stride[1] == 1 && t->stride[0] >= t->dim[1] &&
           (rows < 0 || t->dim[0] == rows) && (cols < 0 || t->dim[1] == cols);
}
static bool contiguous(const bl_tensor *t, bl_dtype type, int64_t rows, int64_t cols)
{
    return dense(t, type, rows, cols) && t->stride[0] == t->dim[1];
}
static bool list_or_none(const bl_tensor *t, bl_dtype type, int64_t n)
{
    return !t->buf || (t->dtype == type && t->ndim == 1 && t->dim[0] == n && t->stride[0] == 1);
}

bl_status bl_check_scale(const bl_scale_args *a, bl_err *e)
{
    if ((a->x.dtype != BL_F32 && a->x.dtype != BL_F64) || !dense(&a->x, a->x.dtype, -1, -1) ||
        !dense(&a->y, a->x.dtype, a->x.dim[0], a->x.dim[1]))
        return broken(e, "scale", "x and y are not matrices of one real type and shape");
    if (!list_or_none(&a->rows, BL_F32, a->x.dim[0]) || !list_or_none(&a->cols, BL_F32, a->x.dim[1]))
        return broken(e, "scale", "a list is not as long as a row or a column of x");
    return BL_OK;
}

bl_status bl_check_sq_error(const bl_backend *be, const bl_sq_error_args *a, bl_err *e)
{
    bool x = dense(&a->x, BL_F32, -1, -1) || dense(&a->x, be->act, -1, -1);
    bool y = !a->y.buf || dense(&a->y, BL_F32, a->x.dim[0], a->x.dim[1]) ||
             dense(&a->y, be->act, a->x.dim[0], a->x.dim[1]);
    return x && y && a->sum ? BL_OK : broken(e, "sq_error", "x and y are not matrices of one shape");
}

bl_status bl_check_clip_search(const bl_clip_search_args *a, bl_err *e)
{
    if (!contiguous(&a->w, BL_F32, -1, -1) || !contiguous(&a->h, BL_F64, a->w.dim[1], a->w.dim[1]))
        return broken(e, "clip_search", "w is not contiguous, or h is not square and as wide as w");
    if (a->bits < 2 || a->bits > 8 || a->group < 1 || a->tries < 1 || a->tries > a->steps || a->rule == BL_RANGE_OWN ||
        a->rule == BL_RANGE_SIGN || a->rule == BL_RANGE_GIVEN)
        return broken(e, "clip_search", "bits, group, tries or rule cannot be");
    if (a->limit.buf && !contiguous(&a->limit, BL_F32, a->w.dim[0], (a->w.dim[1] + a->group - 1) / a->group))
        return broken(e, "clip_search", "limit is not [out, groups]");
    return BL_OK;
}

bl_status bl_check_hqq(const bl_hqq_args *a, bl_err *e)
{
    int64_t out = a->w.dim[0], in = a->w.dim[1];
    if (!contiguous(&a->w, BL_F32, -1, -1)) return broken(e, "hqq", "w is not contiguous");
    if (a->bits < 1 || a->bits > 8 || a->group < 1 || a->steps < 0 || !(a->p < 2) || !(a->beta > 0) || !(a->kappa > 0))
        return broken(e, "hqq", "bits, group, steps, p, beta or kappa cannot be");
    int64_t rows = a->down ? 1 : out, n = a->down ? out * in : in, groups = (n + a->group - 1) / a->group;
    if (!contiguous(&a->scale, BL_F32, rows, groups) || !contiguous(&a->zero, BL_F32, rows, groups))
        return broken(e, "hqq", "scale and zero have another shape than the groups");
    return BL_OK;
}

bl_status bl_check_greedy(const bl_greedy_args *a, bl_err *e)
{
    int64_t out = a->w.dim[0], in = a->w.dim[1];
    if (!contiguous(&a->w, BL_F32, -1, -1) || !contiguous(&a->target, BL_F32, out, in) ||
        !contiguous(&a->h, BL_F64, in, in))
        return broken(e, "greedy", "w and target are not contiguous and of one shape, or h is not square and as wide");
    if (!contiguous(&a->scale, BL_F32, out, 1) || !contiguous(&a->zero, BL_F32, out, 1) || !a->order.buf ||
        !list_or_none(&a->order, BL_I32, in))
        return broken(e, "greedy", "scale and zero are not one a row, or the order is not as long as a row");
    if (a->bits < 1 || a->bits > 8 || a->passes < 0) return broken(e, "greedy", "bits or passes cannot be");
    return BL_OK;
}

bl_status bl_check_range_search(const bl_range_search_args *a, bl_err *e)
{
    int64_t out = a->w.dim[0];
    if (!contiguous(&a->w, BL_F32, -1, -1) || !a->u.buf || !list_or_none(&a->u, BL_F32, a->w.dim[1]) || a->bits < 2 ||
        a->bits > 8 || !(a->lambda >= 0) || !contiguous(&a->scale, BL_F32, out, 1) ||
        !contiguous(&a->zero, BL_F32, out, 1))
        return broken(e, "range_search", "w, u, bits, lambda, scale or zero cannot be");
    return BL_OK;
}
