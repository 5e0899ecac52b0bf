/* shared_rows.c - weights on the host, rounded row by row. Compiled with -O3: the loop over open columns takes vectors.
 */
#include "shared_rows.h"
#include "shared_moments.h"
#include "shared_weight.h"

void bl_rows_hand_on(float *row, const float *lost, const float *u, int64_t in, int64_t first, int64_t n, int64_t open)
{
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const float *u0 = u + (first + i) * in, *u1 = u0 + in, *u2 = u1 + in, *u3 = u2 + in;
        float e0 = lost[i], e1 = lost[i + 1], e2 = lost[i + 2], e3 = lost[i + 3];
        for (int64_t j = open; j < in; j++) row[j] -= e0 * u0[j] + e1 * u1[j] + (e2 * u2[j] + e3 * u3[j]);
    }
    for (; i < n; i++)
        for (int64_t j = open; j < in; j++) row[j] -= lost[i] * u[(first + i) * in + j];
}

float bl_rows_stored(bl_dtype type, double v)
{
    return type == BL_F32 ? (float)v : bl_f16_to_f32(bl_f32_to_f16((float)v));
}

bl_status bl_rows_begin(const bl_method_run *r, const bl_linear *lin, bl_tensor h, double damp, bl_rows *k, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tensor u = {0}, w = {0};
    double mean, *diag = NULL;
    k->out = lin->out;
    k->in = bl_linear_width(lin);
    if (!(k->w = bl_alloc(r->scratch, (size_t)(k->out * k->in), sizeof *k->w, e)) ||
        !(k->u = bl_alloc(r->scratch, (size_t)(k->in * k->in), sizeof *k->u, e)) ||
        !(diag = bl_alloc(r->scratch, (size_t)k->in, sizeof *diag, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_linear_dense(r->be, lin, &w, e));
    BL_TRY(bl_moments_diagonal(r, h, diag, &mean, e));
    BL_TRY(bl_matrix_new(r, BL_F32, k->in, k->in, &u, e));
    BL_TRY(bl_moments_factor(r, h, (bl_tensor){0}, mean, damp, u, &k->damp, e));
    BL_TRY(r->ops->download(r->be, &u, k->u, e));
    BL_TRY(r->ops->download(r->be, &w, k->w, e));
    for (int64_t i = 0; i < k->out * k->in; i++)
        if (diag[i % k->in] == 0) k->w[i] = 0;
out:
    bl_matrix_free(r, &u);
    bl_matrix_free(r, &w);
    return st;
}

bl_status bl_rows_store(const bl_method_run *r, bl_linear *lin, const bl_rows *k, const bl_format *f, const bl_shape *g,
                        const void *const given[BL_MAX_PARTS], const float *scale, const float *mean, int64_t terms,
                        bl_tensor h, bl_layer_stat *stat, bl_err *e)
{
    bl_status st = BL_OK;
    bl_weight packed = {0};
    bl_tensor before = {0}, w = {0}, s = {0}, m = {0};
    BL_TRY(bl_linear_dense(r->be, lin, &before, e));
    BL_TRY(bl_matrix_new(r, BL_F32, k->out, k->in, &w, e));
    BL_TRY(bl_matrix_new(r, BL_F32, k->out, terms, &s, e));
    if (mean) BL_TRY(bl_matrix_new(r, BL_F32, k->out, terms, &m, e));
    BL_TRY(r->ops->upload(r->be, &w, k->w, e));
    BL_TRY(r->ops->upload(r->be, &s, scale, e));
    if (mean) BL_TRY(r->ops->upload(r->be, &m, mean, e));
    BL_TRY(bl_weight_new(r->be, f, g, &packed, e));
    for (int i = 0; i < packed.n_parts; i++)
        if (given[i]) BL_TRY(r->ops->upload(r->be, &packed.part[i], given[i], e));
    BL_TRY(
        r->ops->pack(r->be, &(bl_pack_args){.x = w, .w = &packed, .rule = BL_RANGE_GIVEN, .scale = s, .zero = m}, e));
    BL_TRY(bl_weight_error(r, before, &packed, h, stat, e));
    stat->damp = k->damp;
    bl_linear_set_weight(lin, &packed);
out:
    bl_weight_free(&packed);
    bl_matrix_free(r, &before);
    bl_matrix_free(r, &w);
    bl_matrix_free(r, &s);
    bl_matrix_free(r, &m);
    return st;
}
