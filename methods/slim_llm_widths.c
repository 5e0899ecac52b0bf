/* slim_llm_widths.c - which slab gets how many bits (SBA, algorithm 1 of the paper): the candidates of slim_llm.c, one
 * after another. */
#include "slim_llm.h"
#include "shared_weight.h"
#include "kernels/dense.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct ranked {
    double salience;
    int64_t slab;
} ranked;

static int by_salience(const void *a, const void *b) /* least first */
{
    const ranked *x = a, *y = b;
    if (x->salience != y->salience) return x->salience < y->salience ? -1 : 1;
    return x->slab < y->slab ? -1 : 1;
}

typedef struct sweep { /* over the candidates */
    const bl_method_run *r;
    const bl_slim *how;
    int64_t out, in, whole, rows;
    float *w, *delta;           /* host [out, in], [out, group] */
    bl_weight part;             /* fp32 [out, group], of one slab */
    bl_tensor x, want, got;     /* act [rows, in], [rows, out] x 2 */
    bl_tensor kl, dp, same, at; /* what kl_div writes; targets */
} sweep;

/* n weights of a row to nearest in b bits, as the quantizer of the search has it. */
static void to_nearest(const float *w, int64_t n, int b, float *v)
{
    float s, z, qmax = (float)((1 << b) - 1);
    if (b == 1) {
        double mean = 0, size = 0;
        for (int64_t i = 0; i < n; i++) {
            mean += w[i] / (double)n;
            size += fabsf(w[i]) / (double)n;
        }
        for (int64_t i = 0; i < n; i++) v[i] = (float)(w[i] > mean ? mean + size : w[i] < mean ? mean - size : mean);
        return;
    }
    bl_fit_zero(w, n, (int)qmax, &s, &z);
    for (int64_t i = 0; i < n; i++) v[i] = (fminf(fmaxf(rintf(w[i] / s) + z, 0), qmax) - z) * s;
}

/* got += x (W^ of one slab in `to` bits less that in `from` bits; 0: the weight itself). */
static bl_status change_slab(sweep *k, int64_t first, int64_t n, int from, int to, bl_err *e)
{
    bl_status st = BL_OK;
    float *v = bl_new(2 * (size_t)n, sizeof *v, e);
    bl_shape shape = {.out = k->out, .in = n};
    if (!v) return BL_E_NOMEM;
    for (int64_t r = 0; r < k->out; r++) {
        const float *w = k->w + r * k->in + first;
        if (from) to_nearest(w, n, from, v);
        to_nearest(w, n, to, v + n);
        for (int64_t i = 0; i < n; i++) k->delta[r * n + i] = v[n + i] - (from ? v[i] : w[i]);
    }
    if (k->part.shape.in != n) {
        bl_weight_free(&k->part);
        BL_TRY(bl_weight_new(k->r->be, bl_format_find("fp32"), &shape, &k->part, e));
    }
    BL_TRY(k->r->ops->upload(k->r->be, &k->part.part[0], k->delta, e));
    bl_tensor x = k->x;
    x.offset += (uint64_t)first * bl_dtype_bytes(x.dtype);
    x.dim[1] = n;
    BL_TRY(
        k->r->ops->linear(k->r->be, &(bl_linear_args){.x = x, .w = {&k->part}, .y = {k->got}, .accumulate = true}, e));
out:
    bl_free(v);
    return st;
}

static bl_status divergence(sweep *k, double *host, double *sum, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(k->r->ops->kl_div(k->r->be,
                             &(bl_kl_div_args){.p = k->got,
                                               .q = k->want,
                                               .vocab = k->out,
                                               .target = k->at,
                                               .kl = k->kl,
                                               .dp = k->dp,
                                               .same = k->same,
                                               .least = 1e-6},
                             e));
    BL_TRY(k->r->ops->download(k->r->be, &k->kl, host, e));
    *sum = 0;
    for (int64_t i = 0; i < k->rows; i++) *sum += host[i];
out:
    return st;
}

static bl_status open_sweep(sweep *k, bl_tensor w, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_run *r = k->r;
    bl_weight dense = bl_weight_of(w);
    if (!(k->w = bl_new((size_t)(k->out * k->in), sizeof *k->w, e)) ||
        !(k->delta = bl_new((size_t)(k->out * BL_MIN(k->how->group, k->in)), sizeof *k->delta, e)))
        return BL_E_NOMEM;
    BL_TRY(r->ops->download(r->be, &w, k->w, e));
    BL_TRY(bl_matrix_new(r, BL_F32, k->rows, k->out, &k->want, e));
    BL_TRY(bl_matrix_new(r, BL_F32, k->rows, k->out, &k->got, e));
    BL_TRY(bl_vector_new(r, BL_F64, k->rows, &k->kl, e));
    BL_TRY(bl_vector_new(r, BL_F64, k->rows, &k->dp, e));
    BL_TRY(bl_vector_new(r, BL_I32, k->rows, &k->same, e));
    BL_TRY(bl_vector_new(r, BL_I32, k->rows, &k->at, e));
    BL_TRY(r->ops->fill(r->be, &k->at, 0, e));
    for (int i = 0; i < 2; i++)
        BL_TRY(r->ops->linear(r->be, &(bl_linear_args){.x = k->x, .w = {&dense}, .y = {i ? k->got : k->want}}, e));
out:
    return st;
}

static void close_sweep(sweep *k)
{
    bl_tensor *all[] = {&k->want, &k->got, &k->kl, &k->dp, &k->same, &k->at};
    for (size_t i = 0; i < BL_COUNT(all); i++) bl_matrix_free(k->r, all[i]);
    bl_weight_free(&k->part);
    bl_free(k->w);
    bl_free(k->delta);
}

/* *best: the p of least divergence. order [whole]: slabs, least salient first. */
static bl_status choose(sweep *k, const ranked *order, int64_t slabs, int64_t *best, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_slim *how = k->how;
    double least = INFINITY, sum, *host = bl_new((size_t)k->rows, sizeof *host, e);
    if (!host) return BL_E_NOMEM;
    for (int64_t t = 0; t < slabs; t++)
        BL_TRY(change_slab(k, t * how->group, BL_MIN(how->group, k->in - t * how->group), 0, how->bits, e));
    for (int64_t p = 1; p <= k->whole / 2 - 1; p++) {
        BL_TRY(change_slab(k, order[p - 1].slab * how->group, how->group, how->bits, how->bits - 1, e));
        BL_TRY(change_slab(k, order[k->whole - p].slab * how->group, how->group, how->bits, how->bits + 1, e));
        BL_TRY(divergence(k, host, &sum, e));
        if (how->kl) how->kl[p - 1] = sum;
        if (!(sum < least)) continue;
        least = sum;
        *best = p;
    }
out:
    bl_free(host);
    return st;
}

/* sum w^2 / U_jj^2 of each slab. */
static bl_status saliences(const bl_method_run *r, const float *w, int64_t out, bl_tensor u, int64_t group, ranked *all,
                           int64_t whole, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t in = u.dim[0];
    float *factor = bl_new((size_t)(in * in), sizeof *factor, e);
    if (!factor) return BL_E_NOMEM;
    BL_TRY(r->ops->download(r->be, &u, factor, e));
    for (int64_t t = 0; t < whole; t++) {
        all[t] = (ranked){0, t};
        for (int64_t i = 0; i < out; i++)
            for (int64_t j = t * group; j < (t + 1) * group; j++) {
                double d = w[i * in + j] / (double)factor[j * in + j];
                all[t].salience += d * d;
            }
    }
out:
    bl_free(factor);
    return st;
}

bl_status bl_slim_widths(const bl_method_run *r, bl_tensor w, bl_tensor u, bl_tensor x, const bl_slim *how,
                         uint8_t *widths, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t in = w.dim[1], slabs = (in + how->group - 1) / how->group, best = 0;
    sweep k = {.r = r, .how = how, .out = w.dim[0], .in = in, .whole = in / how->group, .rows = x.dim[0], .x = x};
    ranked *order = NULL;

    memset(widths, how->bits, (size_t)slabs);
    if (!how->mixed || k.whole < 4) return BL_OK;
    BL_TRY(open_sweep(&k, w, e));
    if (!(order = bl_new((size_t)k.whole, sizeof *order, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(saliences(r, k.w, k.out, u, how->group, order, k.whole, e));
    for (int64_t t = 0; t < k.whole && how->salience; t++) how->salience[t] = order[t].salience;
    qsort(order, (size_t)k.whole, sizeof *order, by_salience);
    BL_TRY(choose(&k, order, slabs, &best, e));
    for (int64_t p = 0; p < best; p++) {
        widths[order[p].slab] = (uint8_t)(how->bits - 1);
        widths[order[k.whole - 1 - p].slab] = (uint8_t)(how->bits + 1);
    }
out:
    bl_free(order);
    close_sweep(&k);
    return st;
}
