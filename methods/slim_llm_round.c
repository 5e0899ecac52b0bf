/* slim_llm_round.c - GPTQ's sweep over slabs of different widths, each with the range that is found when it is reached
 * (SQC). */
#include "slim_llm.h"
#include "shared_weight.h"
#include <math.h>

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
