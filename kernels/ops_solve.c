/* ops_solve.c - what every backend checks about the arguments of the solving ops. */
#include "hadamard.h"
#include "ops_impl.h"

static bool real(const bl_tensor *t) { return t->dtype == BL_F32 || t->dtype == BL_F64; }
static bool square(const bl_tensor *t, bl_dtype type, int64_t n)
{
    return bl_is_whole(t, type, n, n) && t->dim[0] == t->dim[1];
}

bl_status bl_check_permute(const bl_permute_args *a, bl_err *e)
{
    if (!real(&a->x) || !bl_is_matrix(&a->x, a->x.dtype, -1, -1) || !bl_is_matrix(&a->y, a->x.dtype, -1, -1))
        return bl_broken(e, "permute", "x and y are not matrices of one real type");
    if (a->rows.buf ? !bl_is_list(&a->rows, BL_I32, a->y.dim[0]) : a->y.dim[0] != a->x.dim[0])
        return bl_broken(e, "permute", "y has another number of rows than the list");
    if (a->cols.buf ? !bl_is_list(&a->cols, BL_I32, a->y.dim[1]) : a->y.dim[1] != a->x.dim[1])
        return bl_broken(e, "permute", "y has another number of columns than the list");
    return BL_OK;
}

bl_status bl_check_diagonal(const bl_diagonal_args *a, bl_err *e)
{
    if (!square(&a->x, BL_F64, -1) || !bl_is_list(&a->y, BL_F64, a->x.dim[0]))
        return bl_broken(e, "diagonal", "y is not as long as the square x");
    return BL_OK;
}

bl_status bl_check_hessian(const bl_backend *be, const bl_hessian_args *a, bl_err *e)
{
    if (!bl_is_matrix(&a->x, be->act, -1, -1) || !square(&a->h, BL_F64, a->x.dim[1]))
        return bl_broken(e, "hessian", "h is not square and as wide as x");
    return BL_OK;
}

bl_status bl_check_mismatch(const bl_backend *be, const bl_mismatch_args *a, bl_err *e)
{
    if (!bl_is_matrix(&a->x, be->act, -1, -1) || !bl_is_matrix(&a->x0, be->act, a->x.dim[0], a->x.dim[1]) ||
        !square(&a->c, BL_F64, a->x.dim[1]))
        return bl_broken(e, "mismatch", "x0 is not like x, or c is not square and as wide");
    return BL_OK;
}

bl_status bl_check_mismatch_fold(const bl_mismatch_fold_args *a, bl_err *e)
{
    int64_t n = a->w.dim[1];
    if (!bl_is_matrix(&a->w, BL_F32, -1, -1) || a->w.stride[0] != n || !square(&a->c, BL_F64, n) ||
        !square(&a->u, BL_F32, n))
        return bl_broken(e, "mismatch_fold", "w is not contiguous, or c or u is not square and as wide as w");
    return BL_OK;
}

bl_status bl_check_cholesky_inverse(const bl_cholesky_inverse_args *a, bl_err *e)
{
    if (!square(&a->h, BL_F64, -1) || !real(&a->u) || !square(&a->u, a->u.dtype, a->h.dim[0]) || !(a->shift >= 0))
        return bl_broken(e, "cholesky_inverse", "h and u are not square and of one size, or the shift is negative");
    return BL_OK;
}

bl_status bl_check_quad_form(const bl_quad_form_args *a, bl_err *e)
{
    if (!bl_is_matrix(&a->x, BL_F32, -1, -1) || !square(&a->h, BL_F64, a->x.dim[1]) || !a->sum)
        return bl_broken(e, "quad_form", "h is not square and as wide as x");
    if (a->y.buf && !bl_is_matrix(&a->y, BL_F32, a->x.dim[0], a->x.dim[1]))
        return bl_broken(e, "quad_form", "x and y are not of one shape");
    return BL_OK;
}

bl_status bl_check_hadamard(const bl_hadamard_args *a, bl_err *e)
{
    if (!a->x.buf || !a->y.buf || !real(&a->x) || !real(&a->y) || a->x.ndim != 2 || a->y.ndim != 2 ||
        a->x.dim[0] != a->y.dim[0] || a->x.dim[1] != a->y.dim[1])
        return bl_broken(e, "hadamard", "x and y are not real matrices of one shape");
    if ((a->before.buf && !bl_is_list(&a->before, BL_F32, a->x.dim[1])) ||
        (a->after.buf && !bl_is_list(&a->after, BL_F32, a->x.dim[1])))
        return bl_broken(e, "hadamard", "what x or y is scaled with is not as long as a row");
    if (!bl_hadamard_order(a->x.dim[1]))
        return bl_fail(e, BL_E_UNSUPPORTED, "hadamard: there is no Hadamard matrix of order %lld here",
                       (long long)a->x.dim[1]);
    return BL_OK;
}

bl_status bl_check_gptq_sweep(const bl_gptq_sweep_args *a, bl_err *e)
{
    int64_t out = a->w.dim[0], in = a->w.dim[1];
    if (!bl_is_matrix(&a->w, BL_F32, -1, -1) || a->w.stride[0] != in || !square(&a->u, BL_F32, in))
        return bl_broken(e, "gptq_sweep", "w is not contiguous, or u is not square and as wide as w");
    if (a->bits < 1 || a->bits > 8 || a->block < 1 || a->rule == BL_RANGE_OWN ||
        (a->rule != BL_RANGE_GIVEN && (a->rule == BL_RANGE_SIGN) != (a->bits == 1)))
        return bl_broken(e, "gptq_sweep", "bits, block or rule cannot be");
    if (a->first < 0 || a->count < 0 || a->first + a->count > in || (a->first && !a->count))
        return bl_broken(e, "gptq_sweep", "there are no such columns");
    if (!bl_is_matrix(&a->scale, BL_F32, out, -1) || !bl_is_matrix(&a->zero, BL_F32, out, a->scale.dim[1]) ||
        a->scale.stride[0] != a->scale.dim[1] || a->zero.stride[0] != a->zero.dim[1])
        return bl_broken(e, "gptq_sweep", "scale and zero are not [out, groups]");
    if (a->group_of.buf ? !bl_is_list(&a->group_of, BL_I32, in)
                        : a->group < 1 || a->scale.dim[1] != (in + a->group - 1) / a->group)
        return bl_broken(e, "gptq_sweep", "the groups do not fit the columns");
    return BL_OK;
}

bool bl_split_pass_takes(const bl_format *f)
{
    return f->kind == BL_FMT_CODES && f->codes == BL_CODES_LQ && f->bits <= 4;
}

static bool flat(const bl_tensor *t, int64_t rows, int64_t cols)
{
    return t->buf && t->dtype == BL_F32 && bl_tensor_contiguous(t) && bl_tensor_count(t) == rows * cols;
}

bl_status bl_check_split_pass(const bl_split_pass_args *a, bl_err *e)
{
    const bool some = a->w.ndim == 2;
    const int64_t out = some ? a->w.dim[0] : 0, in = some ? a->w.dim[1] : 0;
    const int64_t rank = a->a.ndim == 2 ? a->a.dim[0] : 0, k = a->x.ndim == 2 ? a->x.dim[0] : 0;
    if (!some || !flat(&a->w, out, in) || out < 1 || in < 1 || BL_MAX(out, in) > INT32_MAX ||
        (a->a.buf && (!flat(&a->a, rank, in) || !flat(&a->b, out, rank))) ||
        (a->importance.buf && !flat(&a->importance, out, in)) || (a->left.buf && !flat(&a->left, out, in)) ||
        (a->rows.buf && (!flat(&a->rows, out, 1) || !flat(&a->cols, in, 1))) ||
        (a->x.buf && (!flat(&a->x, k, a->back ? out : in) || !flat(&a->y, k, a->back ? in : out))))
        return bl_broken(e, "split_pass", "the matrix, its factors and what is multiplied with it do not fit");
    if (a->format && (!bl_split_pass_takes(a->format) || a->shape.out != out || a->shape.in != in))
        return bl_broken(e, "split_pass", "the format is none of a few values with coded scales, or of another shape");
    return a->format ? a->format->check(a->format, &a->shape, e) : BL_OK;
}
