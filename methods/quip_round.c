/* quip_round.c - the roundings of QuIP on a given grid: to nearest, with linear feedback (LDLQ), greedy passes. */
#include "quip.h"
#include "shared_moments.h"
#include "shared_weight.h"
#include <math.h>
#include <stdlib.h>

typedef struct ranked {
    double value;
    int32_t column;
} ranked;

static int by_value(const void *a, const void *b) /* largest first, equal ones in order */
{
    const ranked *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? 1 : -1;
    return x->column < y->column ? -1 : 1;
}

/* Columns in the order in which they are rounded, and back; diag [in]. */
static bl_status orders(const bl_method_run *r, bl_quip_rounding how, const double *diag, int64_t in, bl_tensor *order,
                        bl_tensor *back, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tensor *out[] = {order, back};
    int32_t *list = bl_new(2 * (size_t)in, sizeof *list, e);
    ranked *all = bl_new((size_t)in, sizeof *all, e);
    if (!list || !all) {
        st = BL_E_NOMEM;
        goto out;
    }
    bool sorted = how == BL_QUIP_RG || how == BL_QUIP_ALLBAL;
    for (int64_t i = 0; i < in; i++) all[i] = (ranked){sorted ? diag[i] : (double)i, (int32_t)i};
    qsort(all, (size_t)in, sizeof *all, by_value);
    for (int64_t i = 0; i < in; i++) {
        list[i] = all[i].column;
        list[in + all[i].column] = (int32_t)i;
    }
    for (int k = 0; k < 2; k++) {
        BL_TRY(bl_vector_new(r, BL_I32, in, out[k], e));
        BL_TRY(r->ops->upload(r->be, out[k], list + k * in, e));
    }
out:
    bl_free(list);
    bl_free(all);
    return st;
}

/* GPTQ's sweep on a given grid, in that order: w becomes values of the grid. */
static bl_status feed_back(const bl_method_run *r, bl_tensor w, bl_tensor u, bl_tensor order, bl_tensor back,
                           bl_tensor scale, bl_tensor zero, int bits, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tensor p = {0};
    BL_TRY(bl_matrix_new(r, BL_F32, w.dim[0], w.dim[1], &p, e));
    BL_TRY(r->ops->permute(r->be, &(bl_permute_args){.x = w, .y = p, .cols = order}, e));
    BL_TRY(r->ops->gptq_sweep(r->be,
                              &(bl_gptq_sweep_args){.w = p,
                                                    .u = u,
                                                    .group = w.dim[1],
                                                    .bits = bits,
                                                    .rule = BL_RANGE_GIVEN,
                                                    .scale_type = BL_F32,
                                                    .block = 128,
                                                    .scale = scale,
                                                    .zero = zero},
                              e));
    BL_TRY(r->ops->permute(r->be, &(bl_permute_args){.x = p, .y = w, .cols = back}, e));
    BL_TRY(r->ops->sync(r->be, e));
out:
    bl_matrix_free(r, &p);
    return st;
}

/* Each weight to the nearest value of the grid; `ends`: only clamped to it. */
static bl_status to_grid(const bl_method_run *r, bl_tensor w, bl_tensor scale, bl_tensor zero, int bits, bool ends,
                         bl_err *e)
{
    bl_status st = BL_OK;
    int64_t out = w.dim[0], in = w.dim[1];
    float *v = bl_new((size_t)(out * in), sizeof *v, e), *s = bl_new(2 * (size_t)out, sizeof *s, e);
    float most = (float)((1 << bits) - 1);
    if (!v || !s) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(r->ops->download(r->be, &w, v, e));
    BL_TRY(r->ops->download(r->be, &scale, s, e));
    BL_TRY(r->ops->download(r->be, &zero, s + out, e));
    for (int64_t i = 0; i < out * in; i++) {
        float step = s[i / in], z = s[out + i / in], whole = rintf(z), q = v[i] / step + (z - whole);
        v[i] = (fminf(fmaxf((ends ? q : rintf(q)) + whole, 0), most) - z) * step;
    }
    BL_TRY(r->ops->upload(r->be, &w, v, e));
out:
    bl_free(v);
    bl_free(s);
    return st;
}

/* h + shift I, a copy. */
static bl_status damped_copy(const bl_method_run *r, bl_tensor h, double shift, bl_tensor *out, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t n = h.dim[0];
    double *v = bl_new((size_t)(n * n), sizeof *v, e);
    if (!v) return BL_E_NOMEM;
    BL_TRY(bl_matrix_new(r, BL_F64, n, n, out, e));
    BL_TRY(r->ops->download(r->be, &h, v, e));
    for (int64_t i = 0; i < n; i++) v[i * n + i] += shift;
    BL_TRY(r->ops->upload(r->be, out, v, e));
out:
    bl_free(v);
    return st;
}

bl_status bl_quip_round(const bl_method_run *r, bl_tensor w, bl_tensor h, bl_tensor scale, bl_tensor zero, int bits,
                        bl_quip_rounding how, int passes, double damp, double *damped, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t out = w.dim[0], in = w.dim[1];
    bl_tensor u = {0}, order = {0}, back = {0}, first = {0}, moments = {0};
    double *diag = bl_new((size_t)in, sizeof *diag, e), mean;

    *damped = damp;
    if (!diag) return BL_E_NOMEM;
    BL_TRY(to_grid(r, w, scale, zero, bits, how != BL_QUIP_NEAR, e));
    if (how == BL_QUIP_NEAR) goto out;
    BL_TRY(bl_moments_diagonal(r, h, diag, &mean, e));
    BL_TRY(orders(r, how, diag, in, &order, &back, e));
    if (how != BL_QUIP_LDLQ) { /* greedy passes need to know where they come from */
        BL_TRY(bl_matrix_new(r, BL_F32, out, in, &first, e));
        BL_TRY(r->ops->permute(r->be, &(bl_permute_args){.x = w, .y = first}, e));
    }
    if (how != BL_QUIP_ALLBAL) {
        BL_TRY(bl_matrix_new(r, BL_F32, in, in, &u, e));
        BL_TRY(bl_moments_factor(r, h, order, mean, damp, u, damped, e));
        BL_TRY(feed_back(r, w, u, order, back, scale, zero, bits, e));
    }
    if (how == BL_QUIP_LDLQ) goto out;
    BL_TRY(damped_copy(r, h, *damped * mean, &moments, e));
    BL_TRY(r->ops->greedy(r->be,
                          &(bl_greedy_args){.w = w,
                                            .target = first,
                                            .h = moments,
                                            .order = order,
                                            .scale = scale,
                                            .zero = zero,
                                            .bits = bits,
                                            .passes = passes},
                          e));
    BL_TRY(r->ops->sync(r->be, e));
out:
    bl_free(diag);
    bl_matrix_free(r, &u);
    bl_matrix_free(r, &order);
    bl_matrix_free(r, &back);
    bl_matrix_free(r, &first);
    bl_matrix_free(r, &moments);
    return st;
}
