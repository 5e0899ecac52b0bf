/* search.c - searches over a whole weight on the device (search.cu). */
#include "cuda.h"
#include "kernels/ops_impl.h"
#include "search.h"
#include <math.h>

static bl_status copy(bl_backend *be, float *to, const float *from, int64_t n, bl_err *e)
{
    bl_cuda *c = be->own;
    return bl_cuda_status(be, cudaMemcpyAsync(to, from, (size_t)n * sizeof *to, cudaMemcpyDeviceToDevice, c->now),
                          "hqq", e);
}

/* As kernels/cpu/fit.c; whether a step was the last the host decides. */
bl_status bl_cuda_hqq(bl_backend *be, const bl_hqq_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    int64_t all = bl_tensor_count(&a->scale);
    double least = INFINITY;
    int step = 0;
    void *space;
    BL_TRY(bl_check_hqq(a, e));
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_SOLVE, (uint64_t)all * (sizeof(double) + 2 * sizeof(float)), &space, e));
    bl_cu_hqq h = {.w = bl_cuda_at(&a->w),
                   .scale = bl_cuda_at(&a->scale),
                   .zero = bl_cuda_at(&a->zero),
                   .error = space,
                   .next = (float *)((double *)space + all),
                   .all = all,
                   .out = a->w.dim[0],
                   .in = a->w.dim[1],
                   .group = a->group,
                   .groups = a->scale.dim[1],
                   .down = a->down,
                   .round_zero = a->round_zero,
                   .qmax = (float)((1 << a->bits) - 1),
                   .beta = (float)a->beta,
                   .p = (float)a->p};
    float *best = h.next + all;
    bl_cu_hqq_begin(c->now, &h);
    BL_TRY(bl_cuda_launched(be, "hqq", e));
    BL_TRY(copy(be, best, h.zero, all, e));
    while (step < a->steps) {
        double sum;
        h.least = 0.999f * powf(h.beta, -1 / (2 - h.p)); /* m^(2-p) beta = 1; below it m - m^(p-1) / beta < 0 */
        bl_cu_hqq_step(c->now, &h);
        BL_TRY(bl_cuda_launched(be, "hqq", e));
        BL_TRY(bl_cuda_sum(be, h.error, all, "hqq", &sum, e));
        step++;
        bool better = sum < least;
        if (better) {
            least = sum;
            BL_TRY(copy(be, best, h.zero, all, e));
        }
        BL_TRY(copy(be, h.zero, h.next, all, e));
        h.beta *= (float)a->kappa;
        if (better) continue;
        if (!a->last) BL_TRY(copy(be, h.zero, best, all, e));
        break;
    }
    bl_cu_hqq_end(c->now, &h);
    BL_TRY(bl_cuda_launched(be, "hqq", e));
    if (a->taken) *a->taken = step;
out:
    return st;
}

/* The columns in their turn, and what each is divided by, on the host. */
static bl_status check_columns(bl_backend *be, const bl_greedy_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    size_t n = (size_t)a->w.dim[1];
    int32_t *order = bl_new(n, sizeof *order, e);
    double *diagonal = bl_new(n, sizeof *diagonal, e);
    if (!order || !diagonal) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_cuda_download(be, &a->order, order, e));
    BL_TRY(bl_cuda_status(be,
                          cudaMemcpy2DAsync(diagonal, sizeof(double), bl_cuda_at(&a->h), (n + 1) * sizeof(double),
                                            sizeof(double), n, cudaMemcpyDeviceToHost, c->now),
                          "greedy", e));
    BL_TRY(bl_cuda_sync(be, e));
    st = bl_check_greedy_columns(order, diagonal, 1, (int64_t)n, e);
out:
    bl_free(order);
    bl_free(diagonal);
    return st;
}

bl_status bl_cuda_greedy(bl_backend *be, const bl_greedy_args *a, bl_err *e)
{
    enum { AT_ONCE = 1 << 24 }; /* numbers */
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    const double one = 1, none = 0;
    int64_t out = a->w.dim[0], n = a->w.dim[1], at_once = BL_MIN(BL_MAX(AT_ONCE / BL_MAX(n, 1), 1), BL_MAX(out, 1));
    void *d, *g;
    BL_TRY(bl_check_greedy(a, e));
    if (n > INT32_MAX) return bl_fail(e, BL_E_UNSUPPORTED, "greedy: %lld columns are too many", (long long)n);
    BL_TRY(check_columns(be, a, e));
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_SOLVE, (uint64_t)(at_once * n) * sizeof(double), &d, e));
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_SOLVE2, (uint64_t)(at_once * n) * sizeof(double), &g, e));
    BL_TRY(bl_cuda_blas(be, e));
    for (int64_t r = 0; r < out; r += at_once) {
        int64_t m = BL_MIN(at_once, out - r);
        const bl_tensor w = bl_tensor_rows(a->w, r, m), target = bl_tensor_rows(a->target, r, m),
                        scale = bl_tensor_rows(a->scale, r, m), zero = bl_tensor_rows(a->zero, r, m);
        bl_cu_to_f64(c->now, bl_cuda_at(&w), n, bl_cuda_at(&target), n, d, m, n);
        BL_TRY(bl_cuda_launched(be, "greedy", e));
        BL_TRY(
            bl_cuda_blas_status(c->blas.cublasDgemm_v2(c->blas.handle, CUBLAS_OP_T, CUBLAS_OP_N, (int)n, (int)m, (int)n,
                                                       &one, bl_cuda_at(&a->h), (int)n, d, (int)n, &none, g, (int)n),
                                "greedy", e));
        bl_cu_greedy_rows(c->now, &(bl_cu_greedy){.w = bl_cuda_at(&w),
                                                  .g = g,
                                                  .h = bl_cuda_at(&a->h),
                                                  .scale = bl_cuda_at(&scale),
                                                  .zero = bl_cuda_at(&zero),
                                                  .order = bl_cuda_at(&a->order),
                                                  .out = m,
                                                  .in = n,
                                                  .bits = a->bits,
                                                  .passes = a->passes});
        BL_TRY(bl_cuda_launched(be, "greedy", e));
    }
out:
    return st;
}

bl_status bl_cuda_range_search(bl_backend *be, const bl_range_search_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    void *salient = NULL;
    BL_TRY(bl_check_range_search(a, e));
    if (a->lambda != 1) BL_TRY(bl_cuda_need(be, BL_SCRATCH_SOLVE, sizeof(double), &salient, e));
    bl_cu_range_search(c->now, &(bl_cu_ranges){.w = bl_cuda_at(&a->w),
                                               .u = bl_cuda_at(&a->u),
                                               .scale = bl_cuda_at(&a->scale),
                                               .zero = bl_cuda_at(&a->zero),
                                               .salient = salient,
                                               .out = a->w.dim[0],
                                               .n = a->w.dim[1],
                                               .lambda = (float)a->lambda,
                                               .bits = a->bits,
                                               .scale_type = bl_cuda_scale_type(a->scale_type)});
    st = bl_cuda_launched(be, "range_search", e);
out:
    return st;
}
