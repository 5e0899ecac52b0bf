/* split_pass.c - a pass of a decomposition on the device (ops_solve.h): products in f32 by cuBLAS. */
#include "cuda.h"
#include "kernels/fmt_table.h"

static bl_status product(bl_backend *be, cublasOperation_t turned, int64_t m, int64_t n, int64_t k, float alpha,
                         const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *y, bl_err *e)
{
    bl_cuda *c = be->own; /* by columns, as cuBLAS counts */
    return bl_cuda_blas_status(c->blas.cublasSgemm_v2(c->blas.handle, turned, CUBLAS_OP_N, (int)m, (int)n, (int)k,
                                                      &alpha, a, (int)lda, b, (int)ldb, &beta, y, (int)m),
                               "split_pass", e);
}

/* What the format keeps of x [out, in], which becomes R where that is wanted; sums: of what is lost. */
static bl_status rests(bl_backend *be, const bl_split_pass_args *a, float *x, float *scale, double *sums, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    const bl_shape *g = &a->shape;
    const int64_t out = a->w.dim[0], in = a->w.dim[1];
    bl_cu_rests m = {.x = x,
                     .s = scale,
                     .w = a->x.buf ? bl_cuda_at(&a->w) : NULL,
                     .importance = bl_cuda_at(&a->importance),
                     .d_row = bl_cuda_at(&a->rows),
                     .d_col = bl_cuda_at(&a->cols),
                     .sums = sums,
                     .rows = out,
                     .in = in,
                     .group = a->format ? BL_MIN(g->group, in) : in};
    m.groups = (in + m.group - 1) / m.group;
    if (a->format) {
        bl_codebook t;
        bl_codebook_init(&t, a->format->table, 1 << a->format->bits);
        m.values = t.span;
        m.zero = a->format->table[t.zero];
        for (int i = 0; i < t.span; i++) {
            m.value[i] = a->format->table[t.code[i]];
            m.bound[i] = i + 1 < t.span ? t.bound[i] : 0;
        }
        bl_cu_lq_scales(c->now, x, out, in, m.group, bl_shape_scale_group(g), bl_shape_scale_bits(g),
                        bl_cuda_scale_type(g->scale), scale, (uint32_t *)(sums + bl_cu_rests_sums()));
        BL_TRY(bl_cuda_launched(be, "split_pass", e));
    }
    bl_cu_lq_rests(c->now, &m);
    st = bl_cuda_launched(be, "split_pass", e);
out:
    return st;
}

/* The sum of the sums; waits. */
static bl_status costs(bl_backend *be, const bl_split_pass_args *a, const double *sums, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    const int n = bl_cu_rests_sums();
    uint32_t seen[3] = {0};
    if (a->format)
        BL_TRY(bl_cuda_status(be, cudaMemcpyAsync(seen, sums + n, sizeof seen, cudaMemcpyDeviceToHost, c->now),
                              "split_pass", e));
    BL_TRY(bl_cuda_sum(be, sums, n, "split_pass", a->cost, e));
    if (seen[1] || seen[2])
        st = bl_fail(e, BL_E_NUMERIC, "%s: %s", a->format->name,
                     seen[1] ? "a weight is no finite number" : "a scale does not fit its type");
out:
    return st;
}

bl_status bl_cuda_split_pass(bl_backend *be, const bl_split_pass_args *a, bl_err *e)
{
    bl_status st = bl_check_split_pass(a, e);
    bl_cuda *c = be->own;
    void *left, *rest;
    if (st != BL_OK) return st;
    const int64_t out = a->w.dim[0], in = a->w.dim[1], rank = a->a.buf ? a->a.dim[0] : 0,
                  k = a->x.buf ? a->x.dim[0] : 0;
    const uint64_t bytes = (uint64_t)(out * in) * sizeof(float),
                   sums = (uint64_t)bl_cu_rests_sums() * sizeof(double) + 64;
    const int64_t group = a->format ? BL_MIN(a->shape.group, in) : in, groups = out * ((in + group - 1) / group);
    BL_TRY(bl_cuda_blas(be, e));
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_SOLVE, bytes, &left, e));
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_SOLVE2, sums + (uint64_t)groups * sizeof(float), &rest, e));
    BL_TRY(bl_cuda_status(be, cudaMemcpyAsync(left, bl_cuda_at(&a->w), bytes, cudaMemcpyDeviceToDevice, c->now),
                          "split_pass", e));
    if (rank) /* Lt = Wt - at bt */
        BL_TRY(product(be, CUBLAS_OP_N, in, out, rank, -1, bl_cuda_at(&a->a), in, bl_cuda_at(&a->b), rank, 1, left, e));
    if (a->left.buf)
        BL_TRY(bl_cuda_status(be, cudaMemcpyAsync(bl_cuda_at(&a->left), left, bytes, cudaMemcpyDeviceToDevice, c->now),
                              "split_pass", e));
    if (a->cost || a->x.buf) BL_TRY(rests(be, a, left, (float *)((char *)rest + sums), rest, e));
    if (k && !a->back) /* yt = R xt */
        BL_TRY(product(be, CUBLAS_OP_T, out, k, in, 1, left, in, bl_cuda_at(&a->x), in, 0, bl_cuda_at(&a->y), e));
    if (k && a->back) /* yt = Rt xt */
        BL_TRY(product(be, CUBLAS_OP_N, in, k, out, 1, left, in, bl_cuda_at(&a->x), out, 0, bl_cuda_at(&a->y), e));
    if (a->cost) BL_TRY(costs(be, a, rest, e));
out:
    return st;
}
