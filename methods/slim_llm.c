/* slim_llm.c - SliM-LLM: groups of inputs that matter more get a bit more, as many that matter less a bit less, so that
 * the mean stays exactly N; on GPTQ's sweep (Huang et al. 2024, arXiv 2405.14917).
 *
 * Salience of a slab: the sum of w^2 / U_jj^2 over its weights, U the upper factor of the inverse second moments. With
 * the slabs in that order, candidate p gives N - 1 bits to the p least and N + 1 to the p most salient; each is rounded
 * to nearest, and the p wins whose outputs are nearest,
 *
 *     least sum over tokens of KL(softmax(W^(p) x) || softmax(W x)),   1 <= p < slabs / 2      (SBA, algorithm 1)
 *
 * probabilities no less than 1e-6. Going from p - 1 to p changes two slabs, so that all candidates cost about two
 * products. Then column after column as in GPTQ; when a slab is reached its range is searched from 0.9 to 1.1 of itself
 * (SQC), salient weights counting `lambda` times. A group of one bit is mean +- mean |w|. The last, shorter group of a
 * row keeps N bits; fewer than four whole groups all do.
 */
#include "slim_llm.h"
#include "harness/quant/calibrate.h"
#include "shared_moments.h"
#include "shared_solve.h"
#include "shared_weight.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct opts {
    int64_t wbits, group;
    bool mixed, search;
    double lambda, damp;
    int scale;
} opts;

static const char *const scales[] = {"fp16", "fp32", NULL};
static const bl_opt rows[] = {
    {"wbits", BL_OPT_INT, .min = 1, .max = 8, .def.i = 3, .at = offsetof(opts, wbits), .arg = "2..7",
     .doc = "bits of a weight on average"},
    {"group", BL_OPT_INT, .min = -1, .max = 65536, .def.i = 128, .at = offsetof(opts, group), .arg = "N",
     .doc = "inputs that share a width, and in each row a scale; -1: all of them"},
    {"mixed", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, mixed), .doc = "groups have one bit less or more (SBA)"},
    {"search", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, search), .doc = "ranges are searched (SQC)"},
    {"lambda", BL_OPT_REAL, .min = 0, .max = 1000, .def.r = 1, .at = offsetof(opts, lambda), .arg = "L",
     .doc = "how much more salient weights count in that search; 1: as others"},
    {"damp", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 0.01, .at = offsetof(opts, damp), .arg = "D",
     .doc = "added to the diagonal of H, relative to its mean; tenfold where that is not enough"},
    {"scale", BL_OPT_CHOICE, .choices = scales, .def.choice = 0, .at = offsetof(opts, scale),
     .doc = "type that scales are stored in"},
    {0}};

static void settle(void *options)
{
    opts *o = options;
    if (!o->search) o->lambda = 1;
}

static void target(const opts *o, int64_t out, int64_t in, const bl_format **format, bl_shape *shape)
{
    char name[16];
    snprintf(name, sizeof name, "int%d_mixed", (int)o->wbits);
    *format = bl_format_find(name);
    *shape = (bl_shape){
        .out = out, .in = in, .group = o->group < 0 ? in : o->group, .scale = o->scale ? BL_F32 : BL_F16};
}

/* ---- which slab gets how many bits ---- */

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
    bl_weight dense = {
        .format = bl_format_find("fp32"), .shape = {.out = k->out, .in = k->in}, .n_parts = 1, .part = {w}};
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

/* ---- rounding ---- */

typedef struct rounding {
    const bl_method_run *r;
    const bl_slim *how;
    int64_t out, in, slabs;
    float *factor;             /* [in] diagonal of u */
    float *scale, *zero;       /* host [out, slabs]: of the sweep, value = (code - zero) scale */
    float *size, *mean;        /* host [out, slabs]: of one bit, as they are stored */
    bl_tensor t_scale, t_zero; /* the former on the backend */
} rounding;

static float stored(const rounding *k, float s)
{
    if (k->how->scale == BL_F32) return s;
    return bl_f16_to_f32(bl_f32_to_f16(s));
}

/* Of one bit: +- mean |w| about the mean, which is stored in 254 steps of it. */
static bl_status fit_signs(rounding *k, int64_t slab, bl_tensor part, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t n = part.dim[1];
    float *w = bl_new((size_t)(k->out * n), sizeof *w, e);
    if (!w) return BL_E_NOMEM;
    BL_TRY(k->r->ops->download(k->r->be, &part, w, e));
    for (int64_t i = 0; i < k->out; i++) {
        double mean = 0, size = 0;
        int64_t at = i * k->slabs + slab;
        for (int64_t j = 0; j < n; j++) {
            mean += w[i * n + j] / (double)n;
            size += fabsf(w[i * n + j]) / (double)n;
        }
        float s = stored(k, (float)size), steps = s > 0 ? rintf(fminf(fmaxf((float)mean / s, -1), 1) * 127) : 0;
        k->size[at] = s;
        k->mean[at] = steps / 127 * s;
        k->scale[at] = s > 0 ? 2 * s : 0x1p-40f;
        k->zero[at] = 0.5f - steps / 254;
    }
out:
    bl_free(w);
    return st;
}

static bl_status fit_range(rounding *k, int64_t slab, bl_tensor part, int bits, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_run *r = k->r;
    bl_tensor u = {0}, scale = {0}, zero = {0};
    float *v = bl_new(2 * (size_t)k->out, sizeof *v, e), *w = NULL;
    if (!v) return BL_E_NOMEM;
    if (k->how->search) {
        BL_TRY(bl_list_new(r, k->factor + slab * k->how->group, part.dim[1], &u, e));
        BL_TRY(bl_matrix_new(r, BL_F32, k->out, 1, &scale, e));
        BL_TRY(bl_matrix_new(r, BL_F32, k->out, 1, &zero, e));
        BL_TRY(r->ops->range_search(r->be,
                                    &(bl_range_search_args){.w = part,
                                                            .u = u,
                                                            .bits = bits,
                                                            .lambda = k->how->lambda,
                                                            .scale_type = k->how->scale,
                                                            .scale = scale,
                                                            .zero = zero},
                                    e));
        BL_TRY(r->ops->download(r->be, &scale, v, e));
        BL_TRY(r->ops->download(r->be, &zero, v + k->out, e));
    } else {
        if (!(w = bl_new((size_t)bl_tensor_count(&part), sizeof *w, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        BL_TRY(r->ops->download(r->be, &part, w, e));
        for (int64_t i = 0; i < k->out; i++) {
            bl_fit_zero(w + i * part.dim[1], part.dim[1], (1 << bits) - 1, &v[i], &v[k->out + i]);
            v[i] = fmaxf(stored(k, v[i]), k->how->scale == BL_F32 ? 0 : 0x1p-24f);
        }
    }
    for (int64_t i = 0; i < k->out; i++) {
        k->scale[i * k->slabs + slab] = k->size[i * k->slabs + slab] = v[i];
        k->zero[i * k->slabs + slab] = k->mean[i * k->slabs + slab] = v[k->out + i];
    }
out:
    bl_free(v);
    bl_free(w);
    bl_matrix_free(r, &u);
    bl_matrix_free(r, &scale);
    bl_matrix_free(r, &zero);
    return st;
}

static bl_status round_slab(rounding *k, bl_tensor w, bl_tensor u, int64_t slab, int bits, double *loss, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_run *r = k->r;
    int64_t first = slab * k->how->group, n = BL_MIN(k->how->group, k->in - first);
    bl_tensor part = {0}, view = w;
    view.offset += (uint64_t)first * sizeof(float);
    view.dim[1] = n;
    BL_TRY(bl_matrix_new(r, BL_F32, k->out, n, &part, e));
    BL_TRY(r->ops->permute(r->be, &(bl_permute_args){.x = view, .y = part}, e));
    BL_TRY(bits == 1 ? fit_signs(k, slab, part, e) : fit_range(k, slab, part, bits, e));
    BL_TRY(r->ops->upload(r->be, &k->t_scale, k->scale, e));
    BL_TRY(r->ops->upload(r->be, &k->t_zero, k->zero, e));
    BL_TRY(r->ops->gptq_sweep(r->be,
                              &(bl_gptq_sweep_args){.w = w,
                                                    .u = u,
                                                    .group = k->how->group,
                                                    .bits = bits,
                                                    .rule = BL_RANGE_GIVEN,
                                                    .scale_type = k->how->scale,
                                                    .block = n,
                                                    .first = first,
                                                    .count = n,
                                                    .scale = k->t_scale,
                                                    .zero = k->t_zero,
                                                    .loss = loss},
                              e));
    BL_TRY(r->ops->sync(r->be, e));
out:
    bl_matrix_free(r, &part);
    return st;
}

bl_status bl_slim_round(const bl_method_run *r, bl_tensor w, bl_tensor u, const uint8_t *widths, const bl_slim *how,
                        bl_tensor scale, bl_tensor zero, double *loss, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t out = w.dim[0], in = w.dim[1], slabs = (in + how->group - 1) / how->group;
    rounding k = {.r = r, .how = how, .out = out, .in = in, .slabs = slabs};
    float *all = bl_new((size_t)(4 * out * slabs + in), sizeof *all, e),
          *factor = bl_new((size_t)(in * in), sizeof *all, e);

    *loss = 0;
    if (!all || !factor) {
        st = BL_E_NOMEM;
        goto out;
    }
    k.scale = all;
    k.zero = all + out * slabs;
    k.size = all + 2 * out * slabs;
    k.mean = all + 3 * out * slabs;
    k.factor = all + 4 * out * slabs;
    for (int64_t i = 0; i < out * slabs; i++) k.scale[i] = 1; /* of slabs that were not reached: not read */
    BL_TRY(r->ops->download(r->be, &u, factor, e));
    for (int64_t j = 0; j < in; j++) k.factor[j] = factor[j * in + j];
    BL_TRY(bl_matrix_new(r, BL_F32, out, slabs, &k.t_scale, e));
    BL_TRY(bl_matrix_new(r, BL_F32, out, slabs, &k.t_zero, e));
    for (int64_t t = 0; t < slabs; t++) {
        double lost = 0;
        BL_TRY(round_slab(&k, w, u, t, widths[t], &lost, e));
        *loss += lost;
    }
    BL_TRY(r->ops->upload(r->be, &scale, k.size, e));
    BL_TRY(r->ops->upload(r->be, &zero, k.mean, e));
out:
    bl_free(all);
    bl_free(factor);
    bl_matrix_free(r, &k.t_scale);
    bl_matrix_free(r, &k.t_zero);
    return st;
}

/* ---- one linear ---- */

/* Weights of inputs that never came become 0, as in GPTQ. */
static bl_status clear_dead(const bl_method_run *r, bl_tensor w, const double *diag, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t out = w.dim[0], in = w.dim[1];
    float *v = bl_new((size_t)(out * in), sizeof *v, e);
    if (!v) return BL_E_NOMEM;
    BL_TRY(r->ops->download(r->be, &w, v, e));
    for (int64_t i = 0; i < out * in; i++)
        if (diag[i % in] == 0) v[i] = 0;
    BL_TRY(r->ops->upload(r->be, &w, v, e));
out:
    bl_free(v);
    return st;
}

static bl_status store(const bl_method_run *r, bl_linear *lin, bl_tensor w, bl_tensor before, bl_tensor h,
                       const uint8_t *widths, bl_tensor scale, bl_tensor zero, bl_layer_stat *stat, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_format *f;
    bl_shape g;
    bl_weight packed = {0};
    target(r->opts, lin->out, w.dim[1], &f, &g);
    BL_TRY(bl_weight_new(r->be, f, &g, &packed, e));
    BL_TRY(r->ops->upload(r->be, &packed.part[3], widths, e));
    BL_TRY(r->ops->pack(
        r->be, &(bl_pack_args){.x = w, .w = &packed, .rule = BL_RANGE_GIVEN, .scale = scale, .zero = zero}, e));
    BL_TRY(bl_weight_error(r, before, &packed, h, stat, e));
    bl_linear_set_weight(lin, &packed);
out:
    bl_weight_free(&packed);
    return st;
}

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = r->opts;
    int64_t in = bl_linear_width(lin), group = o->group < 0 ? in : o->group, slabs = (in + group - 1) / group;
    bl_slim how = {.bits = (int)o->wbits,
                   .group = group,
                   .mixed = o->mixed,
                   .search = o->search,
                   .lambda = o->lambda,
                   .scale = o->scale ? BL_F32 : BL_F16};
    bl_tensor h, x, u = {0}, w = {0}, before = {0}, scale = {0}, zero = {0};
    double *diag = bl_new((size_t)in, sizeof *diag, e), mean, loss;
    uint8_t *widths = bl_new((size_t)slabs, sizeof *widths, e);

    if (!diag || !widths) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_calib_hessian(r->calib, lin, &h, e));
    BL_TRY(bl_calib_inputs(r->calib, lin, &x, e));
    BL_TRY(bl_linear_dense(r->be, lin, &w, e));
    BL_TRY(bl_linear_dense(r->be, lin, &before, e));
    BL_TRY(bl_moments_diagonal(r, h, diag, &mean, e));
    BL_TRY(clear_dead(r, w, diag, e));
    BL_TRY(bl_matrix_new(r, BL_F32, in, in, &u, e));
    BL_TRY(bl_moments_factor(r, h, (bl_tensor){0}, mean, o->damp, u, &stat->damp, e));
    BL_TRY(bl_slim_widths(r, w, u, x, &how, widths, e));
    BL_TRY(bl_matrix_new(r, BL_F32, lin->out, slabs, &scale, e));
    BL_TRY(bl_matrix_new(r, BL_F32, lin->out, slabs, &zero, e));
    BL_TRY(bl_slim_round(r, w, u, widths, &how, scale, zero, &loss, e));
    BL_TRY(store(r, lin, w, before, h, widths, scale, zero, stat, e));
out:
    bl_free(diag);
    bl_free(widths);
    bl_matrix_free(r, &u);
    bl_matrix_free(r, &w);
    bl_matrix_free(r, &before);
    bl_matrix_free(r, &scale);
    bl_matrix_free(r, &zero);
    return st;
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    if (lin->block < 0) return false;
    target(r->opts, lin->out, bl_linear_width(lin), format, shape);
    return true;
}

/* The sweep; the search for ranges, measured beside products; two products for the candidates. */
static double work(const bl_method_run *r, const bl_linear *lin)
{
    double weights = (double)lin->out * (double)bl_linear_width(lin);
    (void)r;
    return bl_solve_work(lin->out, bl_linear_width(lin)) + (3e4 + 4.0 * BL_CALIB_SAMPLE_ROWS) * weights;
}

static const size_t ops[] = {BL_OP(permute),    BL_OP(diagonal), BL_OP(quad_form),    BL_OP(cholesky_inverse),
                             BL_OP(gptq_sweep), BL_OP(kl_div),   BL_OP(range_search), 0};

const bl_method bl_method_slim_llm = {
    .name = "slim-llm",
    .version = 1,
    .title = "SliM-LLM",
    .cite =
        "Huang et al.: SliM-LLM: Salience-Driven Mixed-Precision Quantization for Large Language Models, ICML 2025, "
        "arXiv:2405.14917",
    .doc =
        "Groups of inputs that matter more get a bit more and as many others a bit less, on GPTQ's sweep with a search "
        "for ranges.",
    .deviates =
        "Salience is w^2 / U_jj^2, as in the published code; the paper divides by [H^-1]_jj^2. It is taken once, with "
        "the damped factor; the code adds 0.01 to the diagonal of H for the search and leaves it there.\n"
        "The divergence is over 1,024 tokens of the calibration text instead of all.\n"
        "Every group has the zero point of its range; the code gives the first groups of N - 1 bits the middle one.\n"
        "A weight at the mean of a group of one bit counts as +; the mean is stored in 254 steps.\n"
        "Fewer than four whole groups, and a shorter last one, have N bits; the code stops.",
    .wbits = 0xfc, /* 2..7 */
    .needs = BL_NEED_HESSIAN | BL_NEED_INPUTS,
    .opts = rows,
    .opts_size = sizeof(opts),
    .settle = settle,
    .ops = ops,
    .layer = layer,
    .predict = predict,
    .work = work,
};
