/* backward.c - gradients on all threads (ops_train.h). Which thread does a piece changes nothing in it: sums over rows
 * belong to one thread each, row after row. */
#include "backward.h"
#if defined(BL_HAVE_X86)
#include <omp.h>

bl_status bl_fast_weight_grad(bl_backend *be, const bl_weight_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_weight_grad(be, a, e);
    const bl_cpu *c = be->own;
    int64_t in = a->x.dim[1], out = a->dy.dim[1], rows = a->x.dim[0], n_panels = (in + BL_DW_COLS - 1) / BL_DW_COLS,
            most = BL_MIN(rows, BL_GRAD_ROWS);
    float *panels;
    if (st != BL_OK) return st;
    if (!a->dw.buf) return bl_ref_weight_grad(be, a, e);
    if (!(panels = bl_new((size_t)(n_panels * most * BL_DW_COLS), sizeof *panels, e))) return BL_E_NOMEM;
    for (int64_t r0 = 0; r0 < rows; r0 += BL_GRAD_ROWS) {
        int64_t n = BL_MIN(rows - r0, BL_GRAD_ROWS);
#pragma omp parallel num_threads(bl_cpu_threads(be, (double)n *(double)in *(double)out))
        {
#pragma omp for schedule(static)
            for (int64_t p = 0; p < n_panels; p++) {
                int64_t cols = BL_MIN(in - p * BL_DW_COLS, BL_DW_COLS);
                float *to = panels + p * n * BL_DW_COLS;
                for (int64_t r = 0; r < n; r++, to += BL_DW_COLS) {
                    const float *x = bl_cpu_row(&a->x, r0 + r) + p * BL_DW_COLS;
                    for (int64_t i = 0; i < BL_DW_COLS; i++) to[i] = i < cols ? x[i] : 0;
                }
            }
#pragma omp for schedule(dynamic, 1)
            for (int64_t o = 0; o < out; o += BL_DW_OUTS)
                bl_avx2_weight_grad(a, r0, n, o, BL_MIN(out - o, BL_DW_OUTS), panels, c->scratch[omp_get_thread_num()]);
        }
    }
    bl_free(panels);
    return BL_OK;
}

bl_status bl_fast_rmsnorm_grad(bl_backend *be, const bl_rmsnorm_grad_args *a, bl_err *e)
{
    enum { COLS = 64 };
    bl_status st = bl_check_rmsnorm_grad(be, a, e);
    int64_t rows = a->x.dim[0], n = a->x.dim[1];
    const float *w = bl_cpu_at(&a->weight);
    float *dw = bl_cpu_at(&a->dweight), *scale, *back;
    if (st != BL_OK) return st;
    if (!(scale = bl_new((size_t)rows, 2 * sizeof *scale, e))) return BL_E_NOMEM;
    back = scale + rows;
#pragma omp parallel num_threads(bl_cpu_threads(be, 4 * (double)rows * (double)n))
    {
#pragma omp for schedule(static)
        for (int64_t r = 0; r < rows; r++)
            bl_avx2_rmsnorm_sums(bl_cpu_row(&a->x, r), w, bl_cpu_row(&a->dy, r), n, a->eps, &scale[r], &back[r]);
        if (dw) {
#pragma omp for schedule(static)
            for (int64_t i = 0; i < n; i += COLS)
                for (int64_t r = 0; r < rows; r++)
                    bl_avx2_fma(scale[r], bl_cpu_row(&a->x, r) + i, bl_cpu_row(&a->dy, r) + i, dw + i,
                                BL_MIN(n - i, COLS));
        }
        if (a->dx.buf) { /* last: it may be dy */
#pragma omp for schedule(static)
            for (int64_t r = 0; r < rows; r++)
                bl_avx2_rmsnorm_dx(bl_cpu_row(&a->x, r), w, bl_cpu_row(&a->dy, r), n, scale[r], back[r],
                                   bl_cpu_row(&a->dx, r), a->accumulate);
        }
    }
    bl_free(scale);
    return BL_OK;
}

bl_status bl_fast_rope_grad(bl_backend *be, const bl_rope_args *a, bl_err *e)
{
    bl_status st = bl_cpu_check_rope(be, a, e);
    const int32_t *pos = bl_cpu_at(&a->pos);
    if (st != BL_OK) return st;
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, (double)bl_tensor_count(&a->x)))
    for (int64_t r = 0; r < a->x.dim[0]; r++)
        bl_avx2_rope_grad(bl_cpu_row(&a->x, r), bl_cpu_row(&a->cos, pos[r]), bl_cpu_row(&a->sin, pos[r]), a->x.dim[1],
                          a->head_dim);
    return BL_OK;
}

bl_status bl_fast_attention_grad(bl_backend *be, const bl_attention_grad_args *a, bl_err *e)
{
    bl_status st = bl_cpu_check_attention_grad(be, a, e);
    const bl_cpu *c = be->own;
    const int32_t *start = bl_cpu_at(&a->start);
    int64_t group = a->heads / a->kv_heads;
    double work = 0;
    float *state;
    if (st != BL_OK || !a->n_seq) return st;
    if (bl_avx2_attention_grad_space(a->head_dim) > BL_CPU_SCRATCH) return bl_ref_attention_grad(be, a, e);
    if (!(state = bl_new((size_t)(2 * a->heads * start[a->n_seq]), sizeof *state, e))) return BL_E_NOMEM;
    for (int32_t s = 0; s < a->n_seq; s++) {
        double n = start[s + 1] - start[s];
        work += n * n * (double)(a->heads * a->head_dim);
    }
#pragma omp parallel for schedule(dynamic, 1) num_threads(bl_cpu_threads(be, work))
    for (int64_t i = 0; i < a->n_seq * a->kv_heads; i++) {
        int64_t s = i / a->kv_heads, kv = i % a->kv_heads, n = start[s + 1] - start[s];
        bl_avx2_attention_grad(c->isa >= BL_ISA_AVX512 ? &bl_attend_avx512 : &bl_attend_avx2, a, start[s], n, kv,
                               state + 2 * (start[s] * a->heads + kv * group * n), c->scratch[omp_get_thread_num()]);
    }
    bl_free(state);
    return BL_OK;
}

bl_status bl_fast_swiglu_grad(bl_backend *be, const bl_swiglu_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_swiglu_grad(be, a, e);
    if (st != BL_OK) return st;
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, 4 * (double)bl_tensor_count(&a->gate)))
    for (int64_t r = 0; r < a->gate.dim[0]; r++)
        bl_avx2_swiglu_grad(bl_cpu_row(&a->gate, r), bl_cpu_row(&a->up, r), bl_cpu_row(&a->dy, r),
                            bl_cpu_row(&a->dgate, r), bl_cpu_row(&a->dup, r), a->gate.dim[1]);
    return BL_OK;
}

bl_status bl_fast_embed_grad(bl_backend *be, const bl_embed_grad_args *a, bl_err *e)
{
    enum { COLS = 64 };
    bl_status st = bl_cpu_check_embed_grad(be, a, e);
    const int32_t *ids = bl_cpu_at(&a->ids);
    int64_t n = a->dy.dim[1];
    if (st != BL_OK) return st;
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, (double)bl_tensor_count(&a->dy)))
    for (int64_t i = 0; i < n; i += COLS)
        for (int64_t r = 0; r < a->dy.dim[0]; r++)
            bl_avx2_add(bl_cpu_row(&a->dy, r) + i, bl_cpu_row(&a->dw, ids[r]) + i, BL_MIN(n - i, COLS));
    return BL_OK;
}

bl_status bl_fast_loss_grad(bl_backend *be, const bl_loss_grad_args *a, bl_err *e)
{
    bl_status st = bl_cpu_check_loss_grad(be, a, e);
    const int32_t *targets = bl_cpu_at(&a->target);
    double *nll = bl_cpu_at(&a->nll);
    if (st != BL_OK) return st;
#pragma omp parallel for schedule(dynamic, 1)                                                                          \
    num_threads(bl_cpu_threads(be, 8 * (double)a->logits.dim[0] * (double)a->vocab))
    for (int64_t r = 0; r < a->logits.dim[0]; r++) {
        const float *x = bl_cpu_row(&a->logits, r);
        float *g = bl_cpu_row(&a->grad, r), top;
        int32_t at, target = targets[r];
        bool finite = bl_avx2_top(x, a->vocab, &top, &at);
        double z = bl_avx2_sum_exp(x, a->vocab, top), by = target < 0 ? 0 : a->scale;
        if (nll) nll[r] = !finite ? NAN : target < 0 ? 0 : log(z) + ((double)top - x[target]);
        bl_avx2_softmax_grad(x, a->vocab, top, finite ? (float)(by / z) : NAN, g);
        for (int64_t i = a->vocab; i < a->grad.dim[1]; i++) g[i] = 0;
        if (target >= 0) g[target] -= (float)by;
    }
    return BL_OK;
}
#endif
