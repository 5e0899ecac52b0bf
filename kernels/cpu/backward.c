/* backward.c - gradients on all threads (ops_train.h). Which thread does a piece changes nothing in it: sums over rows
 * belong to one thread each, row after row. */
#include "backward.h"
#if defined(BL_HAVE_X86)

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
    bl_cpu_anew(a);
    o.turned = in < o.steps->wide && in < out;
    if (a->dw.buf) o.strips = ((o.turned ? out : in) + o.steps->wide - 1) / o.steps->wide;
    bl_team_run(c->team, bl_cpu_threads(be, (double)rows * (double)in * (double)out), outer_task, &o,
                o.strips + (a->db.buf ? (out + BL_BIAS_RUN - 1) / BL_BIAS_RUN : 0));
    return BL_OK;
}

enum { COLS = 64 }; /* of a sum down the rows */

/* scale and back, [rows] each: NULL where nothing but dx is wanted. */
typedef struct normed {
    const bl_rmsnorm_grad_args *a;
    float *scale, *back;
} normed;
static void norm_dx(const bl_rmsnorm_grad_args *a, int64_t r, float scale, float back)
{
    if (a->dx.buf)
        bl_avx2_rmsnorm_dx(bl_cpu_row(&a->x, r), bl_cpu_at(&a->weight), bl_cpu_row(&a->dy, r), a->x.dim[1], scale, back,
                           bl_cpu_row(&a->dx, r), a->accumulate);
}
static void norm_row(const void *args, int64_t r)
{
    const normed *n = args;
    float scale, back;
    bl_avx2_rmsnorm_sums(bl_cpu_row(&n->a->x, r), bl_cpu_at(&n->a->weight), bl_cpu_row(&n->a->dy, r), n->a->x.dim[1],
                         n->a->eps, &scale, &back);
    if (!n->scale) {
        norm_dx(n->a, r, scale, back);
        return;
    }
    n->scale[r] = scale;
    n->back[r] = back;
}
static void norm_dw(const void *args, int64_t i)
{
    const normed *n = args;
    const int64_t at = i * COLS;
    for (int64_t r = 0; r < n->a->x.dim[0]; r++)
        bl_avx2_fma(n->scale[r], bl_cpu_row(&n->a->x, r) + at, bl_cpu_row(&n->a->dy, r) + at,
                    (float *)bl_cpu_at(&n->a->dweight) + at, BL_MIN(n->a->x.dim[1] - at, COLS));
}
static void norm_dx_row(const void *args, int64_t r)
{
    const normed *n = args;
    norm_dx(n->a, r, n->scale[r], n->back[r]);
}

bl_status bl_fast_rmsnorm_grad(bl_backend *be, const bl_rmsnorm_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_rmsnorm_grad(be, a, e);
    const int64_t rows = a->x.dim[0];
    const double work = 4 * (double)bl_tensor_count(&a->x);
    normed n = {.a = a};
    if (st != BL_OK) return st;
    if (!a->dweight.buf) return bl_cpu_each_row(be, work, rows, norm_row, &n);
    if (!(n.scale = bl_new((size_t)rows, 2 * sizeof *n.scale, e))) return BL_E_NOMEM;
    n.back = n.scale + rows;
    bl_cpu_each_row(be, work, rows, norm_row, &n);
    bl_cpu_each_row(be, work, (a->x.dim[1] + COLS - 1) / COLS, norm_dw, &n);
    bl_cpu_each_row(be, work, rows, norm_dx_row, &n); /* last: dx may be dy */
    bl_free(n.scale);
    return BL_OK;
}

static void rope_row(const void *args, int64_t r)
{
    const bl_rope_args *a = args;
    const int32_t *pos = bl_cpu_at(&a->pos);
    bl_avx2_rope_grad(bl_cpu_row(&a->x, r), bl_cpu_row(&a->cos, pos[r]), bl_cpu_row(&a->sin, pos[r]), a->x.dim[1],
                      a->head_dim);
}
bl_status bl_fast_rope_grad(bl_backend *be, const bl_rope_args *a, bl_err *e)
{
    bl_status st = bl_cpu_check_rope(be, a, e);
    return st != BL_OK ? st : bl_cpu_each_row(be, (double)bl_tensor_count(&a->x), a->x.dim[0], rope_row, a);
}

typedef struct attended {
    const bl_cpu *c;
    const bl_attention_grad_args *a;
    float *state;
} attended;
static void attention_task(void *ctx, int64_t i, int lane)
{
    const attended *t = ctx;
    const bl_attention_grad_args *a = t->a;
    const int32_t *start = bl_cpu_at(&a->start);
    const int64_t s = i / a->kv_heads, kv = i % a->kv_heads, n = start[s + 1] - start[s];
    bl_avx2_attention_grad(t->c->isa >= BL_ISA_AVX512 ? &bl_attend_avx512 : &bl_attend_avx2, a, start[s], n, kv,
                           t->state + 3 * (start[s] * a->heads + kv * (a->heads / a->kv_heads) * n),
                           t->c->scratch[lane]);
}

bl_status bl_fast_attention_grad(bl_backend *be, const bl_attention_grad_args *a, bl_err *e)
{
    bl_status st = bl_cpu_check_attention_grad(be, a, e);
    attended t = {.c = be->own, .a = a};
    const int32_t *start = bl_cpu_at(&a->start);
    double work = 0;
    if (st != BL_OK || !a->n_seq) return st;
    if (bl_avx2_attention_grad_space(a->head_dim) > BL_CPU_SCRATCH) return bl_ref_attention_grad(be, a, e);
    if (!(t.state = bl_new((size_t)(3 * a->heads * start[a->n_seq]), sizeof *t.state, e))) return BL_E_NOMEM;
    for (int32_t s = 0; s < a->n_seq; s++) {
        double n = start[s + 1] - start[s];
        work += n * n * (double)(a->heads * a->head_dim);
    }
    bl_team_run(t.c->team, bl_cpu_threads(be, work), attention_task, &t, a->n_seq * a->kv_heads);
    bl_free(t.state);
    return BL_OK;
}

static void swiglu_row(const void *args, int64_t r)
{
    const bl_swiglu_grad_args *a = args;
    bl_avx2_swiglu_grad(bl_cpu_row(&a->gate, r), bl_cpu_row(&a->up, r), bl_cpu_row(&a->dy, r), bl_cpu_row(&a->dgate, r),
                        bl_cpu_row(&a->dup, r), a->gate.dim[1]);
}
bl_status bl_fast_swiglu_grad(bl_backend *be, const bl_swiglu_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_swiglu_grad(be, a, e);
    return st != BL_OK ? st : bl_cpu_each_row(be, 4 * (double)bl_tensor_count(&a->gate), a->gate.dim[0], swiglu_row, a);
}

static void embed_columns(const void *args, int64_t i)
{
    const bl_embed_grad_args *a = args;
    const int32_t *ids = bl_cpu_at(&a->ids);
    const int64_t at = i * COLS;
    for (int64_t r = 0; r < a->dy.dim[0]; r++)
        bl_avx2_add(bl_cpu_row(&a->dy, r) + at, bl_cpu_row(&a->dw, ids[r]) + at, BL_MIN(a->dy.dim[1] - at, COLS));
}
bl_status bl_fast_embed_grad(bl_backend *be, const bl_embed_grad_args *a, bl_err *e)
{
    bl_status st = bl_cpu_check_embed_grad(be, a, e);
    const int64_t strips = (a->dy.dim[1] + COLS - 1) / COLS;
    return st != BL_OK ? st : bl_cpu_each_row(be, (double)bl_tensor_count(&a->dy), strips, embed_columns, a);
}

static void followed_row(const void *args, int64_t r)
{
    const bl_loss_grad_args *a = args;
    const int32_t target = ((const int32_t *)bl_cpu_at(&a->target))[r];
    const float *x = bl_cpu_row(&a->logits, r);
    float *g = bl_cpu_row(&a->grad, r), *t = bl_cpu_row(&a->theirs, r);
    bl_followed f = {.aim = target < 0 ? 0 : x[target]};
    int32_t at;
    f.finite = bl_avx2_top(x, a->vocab, &f.topx, &at);
    f.finite = bl_avx2_top(t, a->vocab, &f.topt, &at) && f.finite;
    bl_avx2_follow(x, g, t, a->vocab, f.topx, f.topt, f.sum);
    bl_cpu_followed(a, r, target, &f);
    bl_avx2_apart(g, f.ours, t, f.theirs, a->vocab);
    for (int64_t i = a->vocab; i < a->grad.dim[1]; i++) g[i] = 0;
    if (target >= 0) g[target] -= (float)a->scale;
}

static void loss_row(const void *args, int64_t r)
{
    const bl_loss_grad_args *a = args;
    const int32_t *targets = bl_cpu_at(&a->target);
    double *nll = bl_cpu_at(&a->nll);
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
bl_status bl_fast_loss_grad(bl_backend *be, const bl_loss_grad_args *a, bl_err *e)
{
    bl_status st = bl_cpu_check_loss_grad(be, a, e);
    const int64_t n = a->logits.dim[0];
    return st != BL_OK
               ? st
               : bl_cpu_each_row(be, 8 * (double)n * (double)a->vocab, n, a->theirs.buf ? followed_row : loss_row, a);
}
#endif
