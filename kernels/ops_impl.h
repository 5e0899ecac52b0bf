/* ops_impl.h - what the checks of arguments share (ops.c, ops_fit.c, ops_solve.c, ops_train.c), and one of backends. */
#ifndef BL_KERNELS_OPS_IMPL_H
#define BL_KERNELS_OPS_IMPL_H
#include "ops.h"

static inline bl_status bl_broken(bl_err *e, const char *op, const char *what)
{
    return bl_fail(e, BL_E_INTERNAL, "%s: %s", op, what);
}

/* A matrix of the type with dense rows; rows or cols -1: any. */
static inline bool bl_is_matrix(const bl_tensor *t, bl_dtype type, int64_t rows, int64_t cols)
{
    return t->buf && t->dtype == type && t->ndim == 2 && t->stride[1] == 1 && t->stride[0] >= t->dim[1] &&
           (rows < 0 || t->dim[0] == rows) && (cols < 0 || t->dim[1] == cols);
}

/* The same, its rows one after another. */
static inline bool bl_is_whole(const bl_tensor *t, bl_dtype type, int64_t rows, int64_t cols)
{
    return bl_is_matrix(t, type, rows, cols) && t->stride[0] == t->dim[1];
}

/* A list of exactly n. */
static inline bool bl_is_list(const bl_tensor *t, bl_dtype type, int64_t n)
{
    return t->buf && t->dtype == type && t->ndim == 1 && t->dim[0] == n && t->stride[0] == 1;
}

/* What a backend that has them on the host checks: columns of greedy's order are there, and n numbers of the diagonal
 * of h, `step` apart, are positive. */
bl_status bl_check_greedy_columns(const int32_t *order, const double *diagonal, int64_t step, int64_t n, bl_err *e);
#endif
