/* ref_pack.c - weights into formats and back, and what was lost on the way. */
#include "cpu.h"

bl_fit_range *bl_cpu_fit(bl_range_rule rule, bool mse)
{
    static bl_fit_range *const fits[][2] = {
        [BL_RANGE_ZERO] = {bl_fit_zero, bl_fit_zero_mse},
        [BL_RANGE_MINMAX] = {bl_fit_minmax, bl_fit_minmax_mse},
        [BL_RANGE_CLIP] = {bl_fit_clip, bl_fit_clip_mse},
        [BL_RANGE_SYMMETRIC] = {bl_fit_symmetric, bl_fit_symmetric_mse},
        [BL_RANGE_FULL] = {bl_fit_full, bl_fit_full_mse},
        [BL_RANGE_SIGN] = {bl_fit_sign, bl_fit_sign},
        [BL_RANGE_GIVEN] = {NULL, NULL},
    };
    return fits[rule][mse];
}

bool bl_cpu_pack_by_rows(const bl_weight *w)
{
    for (int i = 0; i < w->n_parts; i++)
        if (w->part[i].ndim != 2 || w->part[i].dim[0] != w->shape.out) return false;
    return true;
}

bl_status bl_cpu_pack_range(const bl_pack_args *a, int64_t row0, int64_t rows, double *err, double *pow, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_weight *w = a->w;
    const bl_format *f = w->format;
    bl_shape g = w->shape;
    const float *x = (const float *)bl_cpu_at(&a->x) + row0 * g.in;
    int64_t groups = bl_shape_groups(&g);
    void *part[BL_MAX_PARTS];
    float *back = NULL;
    for (int i = 0; i < w->n_parts; i++)
        part[i] = (char *)bl_cpu_at(&w->part[i]) +
                  (size_t)(row0 * w->part[i].stride[0]) * bl_dtype_bytes(w->part[i].dtype);
    g.out = rows;
    if (a->rule == BL_RANGE_OWN) {
        BL_TRY(f->pack(f, &g, x, part, e));
    } else if (a->rule == BL_RANGE_LEAST) {
        BL_TRY(f->pack_least(f, &g, x, a->importance.buf ? bl_cpu_at(&a->importance) : NULL, part, e));
    } else if (a->rule == BL_RANGE_EXPONENT_CEIL || a->rule == BL_RANGE_EXPONENT_EVEN) {
        BL_TRY(f->pack_exponent(f, &g, x, a->rule == BL_RANGE_EXPONENT_CEIL ? BL_EXPONENT_CEIL : BL_EXPONENT_EVEN, part,
                                e));
    } else {
        const float *scale = a->rule == BL_RANGE_GIVEN ? (const float *)bl_cpu_at(&a->scale) + row0 * groups : NULL;
        const float *zero = a->rule == BL_RANGE_GIVEN && a->zero.buf
                                ? (const float *)bl_cpu_at(&a->zero) + row0 * groups
                                : NULL;
        BL_TRY(f->kind == BL_FMT_CODES ? f->encode(f, &g, x, scale, zero, part, e)
                                       : bl_int_encode(f, &g, x, bl_cpu_fit(a->rule, a->mse), scale, zero, part, e));
    }
    if (!err && !pow) goto out;
    if (!(back = bl_new((size_t)g.in, sizeof *back, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t r = 0; r < rows; r++) {
        const float *xr = x + r * g.in;
        double d2 = 0, x2 = 0;
        f->unpack(f, &g, (const void *const *)part, r, 0, g.in, back);
        for (int64_t k = 0; k < g.in; k++) {
            double d = (double)xr[k] - back[k];
            d2 += d * d;
            x2 += (double)xr[k] * xr[k];
        }
        err[row0 + r] = d2;
        pow[row0 + r] = x2;
    }
out:
    bl_free(back);
    return st;
}

bl_status bl_ref_pack(bl_backend *be, const bl_pack_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    double *err = NULL, *pow = NULL, d2 = 0, x2 = 0;
    size_t out_n;
    BL_TRY(bl_check_pack(be, a, e));
    out_n = (size_t)a->w->shape.out;
    if (!(err = bl_new(out_n, sizeof *err, e)) || !(pow = bl_new(out_n, sizeof *pow, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_cpu_pack_range(a, 0, a->w->shape.out, err, pow, e));
    for (size_t i = 0; i < out_n; i++) {
        d2 += err[i];
        x2 += pow[i];
    }
    if (a->sq_error) *a->sq_error = d2;
    if (a->sq_weight) *a->sq_weight = x2;
out:
    bl_free(err);
    bl_free(pow);
    return st;
}

bl_status bl_ref_unpack(bl_backend *be, const bl_unpack_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(bl_check_unpack(be, a, e));
    for (int64_t r = 0; r < a->rows; r++) bl_cpu_unpack(a->w, a->row0 + r, 0, a->w->shape.in, bl_cpu_row(&a->y, r));
out:
    return st;
}
