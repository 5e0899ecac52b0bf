/* backward.c - gradients on all threads (ops_train.h). Which thread does a piece changes nothing in it: sums over rows
 * belong to one thread each, row after row. */
#include "backward.h"
#if defined(BL_HAVE_X86)
#include <omp.h>

/* Tasks are strips of columns of x by all of dy; of few columns, as adapters have them, strips of dy by all of x. */
typedef struct outer {
    const bl_cpu *c;
    const bl_outer_steps *steps;
    const bl_weight_grad_args *a;
    bool turned;
    int64_t strips;
} outer;
static void outer_task(void *ctx, int64_t i, int lane)
{
    const outer *o = ctx;
    const int64_t at = (i - o->strips) * BL_BIAS_RUN;
    if (i < o->strips) bl_avx2_weight_grad(o->steps, o->a, o->turned, i * o->steps->wide, o->c->scratch[lane]);
    else bl_avx2_bias_grad(o->a, at, BL_MIN(o->a->dy.dim[1] - at, BL_BIAS_RUN));
}

bl_status bl_fast_weight_grad(bl_backend *be, const bl_weight_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_weight_grad(be, a, e);
    const bl_cpu *c = be->own;
    const int64_t in = a->x.dim[1], out = a->dy.dim[1], rows = a->x.dim[0];
    outer o = {.c = c, .a = a, .steps = c->isa >= BL_ISA_AVX512 ? &bl_outer_avx512 : &bl_outer_avx2};
    _Static_assert(BL_OUTER_SPACE * sizeof(float) <= BL_CPU_SCRATCH, "a strip fits the scratch of a thread");
    if (st != BL_OK) return st;
    o.turned = in < o.steps->wide && in < out;
    if (a->dw.buf) o.strips = ((o.turned ? out : in) + o.steps->wide - 1) / o.steps->wide;
    bl_team_run(c->team, bl_cpu_threads(be, (double)rows * (double)in * (double)out), outer_task, &o,
                o.strips + (a->db.buf ? (out + BL_BIAS_RUN - 1) / BL_BIAS_RUN : 0));
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
