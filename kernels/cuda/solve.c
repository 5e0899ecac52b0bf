/* solve.c - the solving ops on the device: moments by tensor cores, factors by cuSOLVER and cuBLAS in f64, the column
 * sweep a block of columns at a time; and the searching ops. */
#include "cuda.h"
#include <math.h>

bl_status bl_cuda_permute(bl_backend *be, const bl_permute_args *a, bl_err *e)
{
    bl_status st = bl_check_permute(a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_permute(c->now, bl_cuda_at(&a->x), a->x.stride[0], bl_cuda_at(&a->y), a->y.stride[0], a->x.dtype == BL_F64,
                  bl_cuda_at(&a->rows), bl_cuda_at(&a->cols), a->y.dim[0], a->y.dim[1]);
    return bl_cuda_launched(be, "permute", e);
}

bl_status bl_cuda_diagonal(bl_backend *be, const bl_diagonal_args *a, bl_err *e)
{
    bl_status st = bl_check_diagonal(a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_diagonal(c->now, bl_cuda_at(&a->x), bl_cuda_at(&a->y), a->y.dim[0]);
    return bl_cuda_launched(be, "diagonal", e);
}

/* Products of bf16 are exact in f32; their sums over so many rows are in f32, which tensor cores cut off after each 16
 * rows: few enough that what is lost stays below 1e-6. Those are summed in f64, of a Hessian one triangle. */
enum { ROWS = 256 };

bl_status bl_cuda_hessian(bl_backend *be, const bl_hessian_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    const float one = 1, none = 0;
    int64_t n = a->x.dim[1];
    void *sum;
    BL_TRY(bl_check_hessian(be, a, e));
    if (n > INT32_MAX || a->x.stride[0] > INT32_MAX)
        return bl_fail(e, BL_E_UNSUPPORTED, "hessian: %lld columns are too many", (long long)n);
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_SOLVE, (uint64_t)n * (uint64_t)n * sizeof(float), &sum, e));
    BL_TRY(bl_cuda_blas(be, e));
    for (int64_t r = 0; r < a->x.dim[0]; r += ROWS) {
        const bl_tensor x = bl_tensor_rows(a->x, r, BL_MIN(a->x.dim[0] - r, ROWS));
        BL_TRY(
            bl_cuda_blas_status(c->blas.cublasGemmEx(c->blas.handle, CUBLAS_OP_N, CUBLAS_OP_T, (int)n, (int)n,
                                                     (int)x.dim[0], &one, bl_cuda_at(&x), CUDA_R_16BF, (int)x.stride[0],
                                                     bl_cuda_at(&x), CUDA_R_16BF, (int)x.stride[0], &none, sum,
                                                     CUDA_R_32F, (int)n, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
                                "hessian", e));
        bl_cu_add_upper(c->now, bl_cuda_at(&a->h), sum, n, a->alpha);
        BL_TRY(bl_cuda_launched(be, "hessian", e));
    }
    bl_cu_mirror(c->now, bl_cuda_at(&a->h), n);
    BL_TRY(bl_cuda_launched(be, "hessian", e));
out:
    return st;
}

/* (x0 - x)t x as x0t x less xt x: products of bf16 are exact in f32, sums as above. */
bl_status bl_cuda_mismatch(bl_backend *be, const bl_mismatch_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    const float by[2] = {1, -1}, keep[2] = {0, 1};
    int64_t n = a->x.dim[1];
    void *sum;
    BL_TRY(bl_check_mismatch(be, a, e));
    if (n > INT32_MAX || BL_MAX(a->x.stride[0], a->x0.stride[0]) > INT32_MAX)
        return bl_fail(e, BL_E_UNSUPPORTED, "mismatch: %lld columns are too many", (long long)n);
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_SOLVE, (uint64_t)n * (uint64_t)n * sizeof(float), &sum, e));
    BL_TRY(bl_cuda_blas(be, e));
    for (int64_t r = 0; r < a->x.dim[0]; r += ROWS) {
        const bl_tensor x = bl_tensor_rows(a->x, r, BL_MIN(a->x.dim[0] - r, ROWS)),
                        x0 = bl_tensor_rows(a->x0, r, x.dim[0]);
        for (int k = 0; k < 2; k++) { /* by columns, as cuBLAS counts: the other way round */
            const bl_tensor *left = k ? &x : &x0;
            BL_TRY(bl_cuda_blas_status(c->blas.cublasGemmEx(c->blas.handle, CUBLAS_OP_N, CUBLAS_OP_T, (int)n, (int)n,
                                                            (int)x.dim[0], &by[k], bl_cuda_at(&x), CUDA_R_16BF,
                                                            (int)x.stride[0], bl_cuda_at(left), CUDA_R_16BF,
                                                            (int)left->stride[0], &keep[k], sum, CUDA_R_32F, (int)n,
                                                            CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
                                       "mismatch", e));
        }
        bl_cu_add_f32(c->now, bl_cuda_at(&a->c), sum, n, a->alpha);
        BL_TRY(bl_cuda_launched(be, "mismatch", e));
    }
out:
    return st;
}

/* As kernels/cpu/solve.c; by columns, as cuBLAS counts, every matrix is its transpose: what is upper and to the right
 * there is lower and to the left here. */
bl_status bl_cuda_mismatch_fold(bl_backend *be, const bl_mismatch_fold_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    const double one = 1, less = -a->alpha;
    int64_t m = a->w.dim[0], n = a->w.dim[1];
    uint64_t square = (uint64_t)n * (uint64_t)n * sizeof(double), wide = (uint64_t)(BL_MAX(m, n) * n) * sizeof(double);
    void *p = NULL, *x = NULL;
    BL_TRY(bl_check_mismatch_fold(a, e));
    if (BL_MAX(m, n) > INT32_MAX)
        return bl_fail(e, BL_E_UNSUPPORTED, "mismatch_fold: %lld by %lld is too large", (long long)m, (long long)n);
    BL_TRY(bl_cuda_blas(be, e));
    BL_TRY(bl_cuda_alloc(be, square, &p, e));
    BL_TRY(bl_cuda_alloc(be, wide, &x, e));
    const int k = (int)n;
    float *u = bl_cuda_at(&a->u), *w = bl_cuda_at(&a->w);
    BL_TRY(bl_cuda_status(be, cudaMemcpyAsync(p, bl_cuda_at(&a->c), square, cudaMemcpyDeviceToDevice, c->now),
                          "mismatch_fold", e));
    bl_cu_to_f64(c->now, u, n, NULL, 0, x, n, n);
    BL_TRY(bl_cuda_blas_status(c->blas.cublasDtrmm_v2(c->blas.handle, CUBLAS_SIDE_LEFT, CUBLAS_FILL_MODE_LOWER,
                                                      CUBLAS_OP_T, CUBLAS_DIAG_NON_UNIT, k, k, &less, x, k, p, k, p, k),
                               "mismatch_fold", e));
    bl_cu_strict(c->now, p, n);
    BL_TRY(bl_cuda_blas_status(c->blas.cublasDtrmm_v2(c->blas.handle, CUBLAS_SIDE_LEFT, CUBLAS_FILL_MODE_LOWER,
                                                      CUBLAS_OP_N, CUBLAS_DIAG_NON_UNIT, k, k, &one, x, k, p, k, p, k),
                               "mismatch_fold", e)); /* -P */
    bl_cu_strict(c->now, x, n);
    BL_TRY(bl_cuda_blas_status(c->blas.cublasDtrsm_v2(c->blas.handle, CUBLAS_SIDE_LEFT, CUBLAS_FILL_MODE_LOWER,
                                                      CUBLAS_OP_N, CUBLAS_DIAG_UNIT, k, k, &one, p, k, x, k),
                               "mismatch_fold", e));
    bl_cu_put_strict(c->now, x, u, n);
    bl_cu_to_f64(c->now, w, n, NULL, 0, x, m, n);
    BL_TRY(bl_cuda_blas_status(c->blas.cublasDtrsm_v2(c->blas.handle, CUBLAS_SIDE_LEFT, CUBLAS_FILL_MODE_LOWER,
                                                      CUBLAS_OP_N, CUBLAS_DIAG_UNIT, k, (int)m, &one, p, k, x, k),
                               "mismatch_fold", e));
    bl_cu_from_f64(c->now, x, w, m * n);
    BL_TRY(bl_cuda_launched(be, "mismatch_fold", e));
out:
    bl_cuda_release(be, p, square);
    bl_cuda_release(be, x, wide);
    return st;
}

/* As kernels/cpu/solve.c: J H J = L Lt, u = J L^-1 J; LAPACK's upper factor by columns is L by rows. */
bl_status bl_cuda_cholesky_inverse(bl_backend *be, const bl_cholesky_inverse_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    const double one = 1;
    int64_t n = a->h.dim[0];
    uint64_t square = (uint64_t)n * (uint64_t)n * sizeof(double);
    int room = 0, info = 0;
    void *r = NULL, *x = NULL, *work = NULL;
    double *diagonal = NULL;
    BL_TRY(bl_check_cholesky_inverse(a, e));
    if (n > INT32_MAX) return bl_fail(e, BL_E_UNSUPPORTED, "cholesky_inverse: %lld rows are too many", (long long)n);
    BL_TRY(bl_cuda_solver(be, e));
    BL_TRY(bl_cuda_blas(be, e));
    BL_TRY(bl_cuda_alloc(be, square, &r, e));
    BL_TRY(bl_cuda_alloc(be, square, &x, e));
    if (c->solver.cusolverDnDpotrf_bufferSize(c->solver.handle, CUBLAS_FILL_MODE_UPPER, (int)n, r, (int)n, &room) !=
        CUSOLVER_STATUS_SUCCESS) {
        st = bl_fail(e, BL_E_DEVICE, "cuSOLVER does not take a matrix of %lld rows", (long long)n);
        goto out;
    }
    BL_TRY(bl_cuda_alloc(be, (uint64_t)room * sizeof(double) + 64, &work, e));
    int *device_info = (int *)((double *)work + room);
    bl_cu_turn(c->now, bl_cuda_at(&a->h), r, x, a->shift, n);
    BL_TRY(bl_cuda_launched(be, "cholesky_inverse", e));
    if (c->solver.cusolverDnDpotrf(c->solver.handle, CUBLAS_FILL_MODE_UPPER, (int)n, r, (int)n, work, room,
                                   device_info) != CUSOLVER_STATUS_SUCCESS) {
        st = bl_fail(e, BL_E_DEVICE, "cuSOLVER cannot factor a matrix of %lld rows", (long long)n);
        goto out;
    }
    BL_TRY(bl_cuda_status(be, cudaMemcpyAsync(&info, device_info, sizeof info, cudaMemcpyDeviceToHost, c->now),
                          "cholesky_inverse", e));
    BL_TRY(bl_cuda_sync(be, e));
    if (!info) { /* a matrix that is not a number has no bad pivot */
        if (!(diagonal = bl_new((size_t)n, sizeof *diagonal, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        BL_TRY(bl_cuda_status(be,
                              cudaMemcpy2DAsync(diagonal, sizeof(double), r, ((size_t)n + 1) * sizeof(double),
                                                sizeof(double), (size_t)n, cudaMemcpyDeviceToHost, c->now),
                              "cholesky_inverse", e));
        BL_TRY(bl_cuda_sync(be, e));
        for (int64_t i = 0; i < n && !info; i++)
            if (!(diagonal[i] > 0) || !isfinite(diagonal[i])) info = (int)i + 1;
    }
    if (info) {
        st = bl_fail(e, BL_E_NUMERIC, "the matrix is not positive definite: pivot %lld", (long long)(n - info));
        goto out;
    }
    BL_TRY(bl_cuda_blas_status(c->blas.cublasDtrsm_v2(c->blas.handle, CUBLAS_SIDE_LEFT, CUBLAS_FILL_MODE_UPPER,
                                                      CUBLAS_OP_N, CUBLAS_DIAG_NON_UNIT, (int)n, (int)n, &one, r,
                                                      (int)n, x, (int)n),
                               "cholesky_inverse", e));
    bl_cu_turn_back(c->now, x, bl_cuda_at(&a->u), a->u.dtype == BL_F64, n);
    BL_TRY(bl_cuda_launched(be, "cholesky_inverse", e));
out:
    bl_free(diagonal);
    bl_cuda_release(be, r, square);
    bl_cuda_release(be, x, square);
    bl_cuda_release(be, work, (uint64_t)room * sizeof(double) + 64);
    return st;
}

bl_status bl_cuda_quad_form(bl_backend *be, const bl_quad_form_args *a, bl_err *e)
{
    enum { AT_ONCE = 1 << 24 }; /* numbers */
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    const double one = 1, none = 0;
    int64_t m = a->x.dim[0], n = a->x.dim[1], at_once = BL_MAX(AT_ONCE / BL_MAX(n, 1), 1);
    double sum = 0;
    void *x, *t;
    BL_TRY(bl_check_quad_form(a, e));
    if (n > INT32_MAX) return bl_fail(e, BL_E_UNSUPPORTED, "quad_form: %lld columns are too many", (long long)n);
    at_once = BL_MIN(at_once, BL_MAX(m, 1));
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_SOLVE, (uint64_t)(at_once * n) * sizeof(double), &x, e));
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_SOLVE2, (uint64_t)(at_once * n) * sizeof(double), &t, e));
    BL_TRY(bl_cuda_blas(be, e));
    for (int64_t r = 0; r < m; r += at_once) {
        const bl_tensor rows = bl_tensor_rows(a->x, r, BL_MIN(at_once, m - r)),
                        less = a->y.buf ? bl_tensor_rows(a->y, r, rows.dim[0]) : a->y;
        double part = 0;
        bl_cu_to_f64(c->now, bl_cuda_at(&rows), rows.stride[0], a->y.buf ? bl_cuda_at(&less) : NULL, less.stride[0], x,
                     rows.dim[0], n);
        BL_TRY(bl_cuda_launched(be, "quad_form", e));
        BL_TRY(bl_cuda_blas_status(c->blas.cublasDgemm_v2(c->blas.handle, CUBLAS_OP_T, CUBLAS_OP_N, (int)n,
                                                          (int)rows.dim[0], (int)n, &one, bl_cuda_at(&a->h), (int)n, x,
                                                          (int)n, &none, t, (int)n),
                                   "quad_form", e));
        BL_TRY(bl_cuda_blas_status(c->blas.cublasDdot_v2(c->blas.handle, (int)(rows.dim[0] * n), x, 1, t, 1, &part),
                                   "quad_form", e));
        sum += part;
    }
    *a->sum = sum;
out:
    return st;
}

bl_status bl_cuda_hadamard(bl_backend *be, const bl_hadamard_args *a, bl_err *e)
{
    enum { AT_ONCE = 1 << 24 }; /* numbers */
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    const int8_t *factor;
    void *x, *y;
    BL_TRY(bl_check_hadamard(a, e));
    int64_t n = a->x.dim[1], order = bl_hadamard_order(n), rows = a->x.dim[0],
            at_once = BL_MIN(BL_MAX(AT_ONCE / n, 1), BL_MAX(rows, 1));
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_SOLVE, (uint64_t)(at_once * n) * sizeof(double), &x, e));
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_SOLVE2, (uint64_t)(at_once * n) * sizeof(double), &y, e));
    BL_TRY(bl_cuda_factor(be, order, &factor, e));
    for (int64_t r = 0; r < rows; r += at_once) {
        int64_t m = BL_MIN(at_once, rows - r);
        const bl_tensor *tx = &a->x, *ty = &a->y;
        bl_cu_gather_f64(c->now, (char *)bl_cuda_at(tx) + (size_t)(r * tx->stride[0]) * bl_dtype_bytes(tx->dtype),
                         tx->dtype == BL_F64, tx->stride[0], tx->stride[1], bl_cuda_at(&a->before), x, m, n);
        bl_cu_hadamard_f64(c->now, x, n, y, n, factor, order, a->transposed, m, n);
        bl_cu_scatter_f64(c->now, y, bl_cuda_at(&a->after),
                          (char *)bl_cuda_at(ty) + (size_t)(r * ty->stride[0]) * bl_dtype_bytes(ty->dtype),
                          ty->dtype == BL_F64, ty->stride[0], ty->stride[1], m, n);
        BL_TRY(bl_cuda_launched(be, "hadamard", e));
    }
out:
    return st;
}

bl_status bl_cuda_gptq_sweep(bl_backend *be, const bl_gptq_sweep_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    const float less = -1, one = 1;
    double sum;
    void *err, *losses;
    BL_TRY(bl_check_gptq_sweep(a, e));
    int64_t out = a->w.dim[0], in = a->w.dim[1], last = a->count ? a->first + a->count : in;
    if (BL_MAX(out, in) > INT32_MAX || BL_MIN(a->block, in) > BL_CU_SWEEP_MOST)
        return bl_fail(e, BL_E_UNSUPPORTED, "gptq_sweep: blocks of %lld columns; at most %d on this device",
                       (long long)a->block, BL_CU_SWEEP_MOST);
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_SOLVE, (uint64_t)(out * a->block) * sizeof(float), &err, e));
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_SOLVE2, (uint64_t)out * sizeof(double), &losses, e));
    bl_cu_sweep s = {.w = bl_cuda_at(&a->w),
                     .u = bl_cuda_at(&a->u),
                     .err = err,
                     .scale = bl_cuda_at(&a->scale),
                     .zero = bl_cuda_at(&a->zero),
                     .loss = losses,
                     .group_of = bl_cuda_at(&a->group_of),
                     .out = out,
                     .in = in,
                     .group = a->group,
                     .groups = a->scale.dim[1],
                     .block = a->block,
                     .first = a->first,
                     .bits = a->bits,
                     .rule = bl_cuda_rule(a->rule),
                     .scale_type = bl_cuda_scale_type(a->scale_type),
                     .mse = a->mse,
                     .fit_first = a->fit_first};
    BL_TRY(bl_cuda_blas(be, e));
    bl_cu_fill(c->now, losses, 8, 0, out);
    if (a->fit_first && a->rule != BL_RANGE_GIVEN) bl_cu_sweep_fit_first(c->now, &s);
    for (int64_t i1 = a->first; i1 < last; i1 += a->block) {
        int64_t i2 = BL_MIN(i1 + a->block, last);
        bl_cu_sweep_block(c->now, &s, i1, i2);
        BL_TRY(bl_cuda_launched(be, "gptq_sweep", e));
        if (i2 == in) break; /* w[:, i2..] -= err u[i1 .. i2, i2..], by columns */
        BL_TRY(bl_cuda_blas_status(c->blas.cublasSgemm_v2(c->blas.handle, CUBLAS_OP_N, CUBLAS_OP_N, (int)(in - i2),
                                                          (int)out, (int)(i2 - i1), &less, s.u + i1 * in + i2, (int)in,
                                                          s.err, (int)a->block, &one, s.w + i2, (int)in),
                                   "gptq_sweep", e));
    }
    BL_TRY(bl_cuda_sum(be, losses, out, "gptq_sweep", &sum, e));
    if (!isfinite(sum))
        st = bl_fail(e, BL_E_NUMERIC, "the sweep left the range of float: the Hessian is too badly conditioned");
    else if (a->loss) *a->loss = sum;
out:
    return st;
}

bl_status bl_cuda_scale(bl_backend *be, const bl_scale_args *a, bl_err *e)
{
    bl_status st = bl_check_scale(be, a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_scale(c->now, bl_cuda_at(&a->x), a->x.stride[0], bl_cuda_at(&a->y), a->y.stride[0], a->x.dtype == BL_F64,
                a->x.dtype == BL_F32 && a->y.dtype != BL_F32, bl_cuda_at(&a->rows), bl_cuda_at(&a->cols), a->x.dim[0],
                a->x.dim[1]);
    return bl_cuda_launched(be, "scale", e);
}

bl_status bl_cuda_sq_error(bl_backend *be, const bl_sq_error_args *a, bl_err *e)
{
    enum { PIECE = 1024 };
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    int64_t rows = a->x.dim[0], n = a->x.dim[1], ldx = a->x.stride[0];
    void *sums;
    BL_TRY(bl_check_sq_error(be, a, e));
    if (!a->y.buf && ldx == n && rows * n % PIECE == 0) { /* in pieces that do not depend on its shape */
        rows = rows * n / PIECE;
        n = ldx = PIECE;
    }
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_SOLVE, (uint64_t)rows * sizeof(double), &sums, e));
    bl_cu_sq_error(c->now, bl_cuda_at(&a->x), a->x.dtype == BL_F32, ldx, bl_cuda_at(&a->y), a->y.dtype == BL_F32,
                   a->y.stride[0], sums, rows, n);
    BL_TRY(bl_cuda_launched(be, "sq_error", e));
    BL_TRY(bl_cuda_sum(be, sums, rows, "sq_error", a->sum, e));
out:
    return st;
}

bl_status bl_cuda_clip_search(bl_backend *be, const bl_clip_search_args *a, bl_err *e)
{
    bl_status st = bl_check_clip_search(a, e);
    bl_cuda *c = be->own;
    int64_t in = a->w.dim[1];
    if (st != BL_OK) return st;
    if (BL_MIN(a->group, in) > BL_CU_CLIP_MOST)
        return bl_fail(e, BL_E_UNSUPPORTED, "clip_search: groups of %lld columns; at most %d on this device",
                       (long long)a->group, BL_CU_CLIP_MOST);
    bl_cu_clip_search(c->now, &(bl_cu_clip){.w = bl_cuda_at(&a->w),
                                            .h = bl_cuda_at(&a->h),
                                            .limit = bl_cuda_at(&a->limit),
                                            .out = a->w.dim[0],
                                            .in = in,
                                            .group = a->group,
                                            .groups = (in + a->group - 1) / a->group,
                                            .bits = a->bits,
                                            .rule = bl_cuda_rule(a->rule),
                                            .scale_type = bl_cuda_scale_type(a->scale_type),
                                            .steps = a->steps,
                                            .tries = a->tries});
    return bl_cuda_launched(be, "clip_search", e);
}
