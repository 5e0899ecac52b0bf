/* ops_fit.c - what every backend checks about the arguments of the searching ops. */
#include "ops_impl.h"

static bool list_or_none(const bl_tensor *t, bl_dtype type, int64_t n) { return !t->buf || bl_is_list(t, type, n); }

bl_status bl_check_scale(const bl_backend *be, const bl_scale_args *a, bl_err *e)
{
    const bool narrow = a->x.dtype == BL_F32 && a->y.dtype == be->act;
    if ((a->x.dtype != BL_F32 && a->x.dtype != BL_F64) || !bl_is_matrix(&a->x, a->x.dtype, -1, -1) ||
        !bl_is_matrix(&a->y, narrow ? be->act : a->x.dtype, a->x.dim[0], a->x.dim[1]))
        return bl_broken(e, "scale", "x and y are not matrices of one real type and shape, nor f32 and act");
    if (!list_or_none(&a->rows, BL_F32, a->x.dim[0]) || !list_or_none(&a->cols, BL_F32, a->x.dim[1]))
        return bl_broken(e, "scale", "a list is not as long as a row or a column of x");
    return BL_OK;
}

bl_status bl_check_sq_error(const bl_backend *be, const bl_sq_error_args *a, bl_err *e)
{
    bool x = bl_is_matrix(&a->x, BL_F32, -1, -1) || bl_is_matrix(&a->x, be->act, -1, -1);
    bool y = !a->y.buf || bl_is_matrix(&a->y, BL_F32, a->x.dim[0], a->x.dim[1]) ||
             bl_is_matrix(&a->y, be->act, a->x.dim[0], a->x.dim[1]);
    if (!a->sum) return bl_broken(e, "sq_error", "the sum has no place");
    return x && y ? BL_OK : bl_broken(e, "sq_error", "x and y are not matrices of one shape");
}

bl_status bl_check_clip_search(const bl_clip_search_args *a, bl_err *e)
{
    if (!bl_is_whole(&a->w, BL_F32, -1, -1) || !bl_is_whole(&a->h, BL_F64, a->w.dim[1], a->w.dim[1]))
        return bl_broken(e, "clip_search", "w is not contiguous, or h is not square and as wide as w");
    if (a->bits < 2 || a->bits > 8 || a->group < 1 || a->tries < 1 || a->tries > a->steps || a->rule == BL_RANGE_OWN ||
        a->rule == BL_RANGE_SIGN || a->rule == BL_RANGE_GIVEN)
        return bl_broken(e, "clip_search", "bits, group, tries or rule cannot be");
    if (a->limit.buf && !bl_is_whole(&a->limit, BL_F32, a->w.dim[0], (a->w.dim[1] + a->group - 1) / a->group))
        return bl_broken(e, "clip_search", "limit is not [out, groups]");
    return BL_OK;
}

bl_status bl_check_hqq(const bl_hqq_args *a, bl_err *e)
{
    int64_t out = a->w.dim[0], in = a->w.dim[1];
    if (!bl_is_whole(&a->w, BL_F32, -1, -1)) return bl_broken(e, "hqq", "w is not contiguous");
    if (a->bits < 1 || a->bits > 8 || a->group < 1 || a->steps < 0 || !(a->p < 2) || !(a->beta > 0) || !(a->kappa > 0))
        return bl_broken(e, "hqq", "bits, group, steps, p, beta or kappa cannot be");
    int64_t rows = a->down ? 1 : out, n = a->down ? out * in : in, groups = (n + a->group - 1) / a->group;
    if (!bl_is_whole(&a->scale, BL_F32, rows, groups) || !bl_is_whole(&a->zero, BL_F32, rows, groups))
        return bl_broken(e, "hqq", "scale and zero have another shape than the groups");
    return BL_OK;
}

bl_status bl_check_greedy(const bl_greedy_args *a, bl_err *e)
{
    int64_t out = a->w.dim[0], in = a->w.dim[1];
    if (!bl_is_whole(&a->w, BL_F32, -1, -1) || !bl_is_whole(&a->target, BL_F32, out, in) ||
        !bl_is_whole(&a->h, BL_F64, in, in))
        return bl_broken(e, "greedy",
                         "w and target are not contiguous and of one shape, or h is not square and as wide");
    if (!bl_is_whole(&a->scale, BL_F32, out, 1) || !bl_is_whole(&a->zero, BL_F32, out, 1) || !a->order.buf ||
        !list_or_none(&a->order, BL_I32, in))
        return bl_broken(e, "greedy", "scale and zero are not one a row, or the order is not as long as a row");
    if (a->bits < 1 || a->bits > 8 || a->passes < 0) return bl_broken(e, "greedy", "bits or passes cannot be");
    return BL_OK;
}

bl_status bl_check_greedy_columns(const int32_t *order, const double *diagonal, int64_t step, int64_t n, bl_err *e)
{
    for (int64_t i = 0; i < n; i++) {
        if (order[i] < 0 || order[i] >= n) return bl_fail(e, BL_E_INTERNAL, "greedy: a column is out of range");
        if (!(diagonal[i * step] > 0))
            return bl_fail(e, BL_E_NUMERIC, "the second moment of input %lld is %g", (long long)i, diagonal[i * step]);
    }
    return BL_OK;
}

bl_status bl_check_range_search(const bl_range_search_args *a, bl_err *e)
{
    int64_t out = a->w.dim[0];
    if (!bl_is_whole(&a->w, BL_F32, -1, -1) || !a->u.buf || !list_or_none(&a->u, BL_F32, a->w.dim[1]) || a->bits < 2 ||
        a->bits > 8 || !(a->lambda >= 0) || !bl_is_whole(&a->scale, BL_F32, out, 1) ||
        !bl_is_whole(&a->zero, BL_F32, out, 1))
        return bl_broken(e, "range_search", "w, u, bits, lambda, scale or zero cannot be");
    return BL_OK;
}

bl_status bl_check_each(const bl_each_args *a, bl_err *e)
{
    return a->n >= 0 && a->piece ? BL_OK : bl_broken(e, "each", "no piece");
}
