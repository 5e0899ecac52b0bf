/* ref_rows.c - what works row by row: norm, rotary positions, gate, sums, copies, embedding. */
#include "cpu.h"

bl_status bl_ref_rmsnorm(bl_backend *be, const bl_rmsnorm_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    const float *w = bl_cpu_at(&a->weight);
    BL_TRY(bl_check_rmsnorm(be, a, e));
    for (int64_t r = 0; r < a->x.dim[0]; r++) {
        const float *x = bl_cpu_row(&a->x, r);
        float *y = bl_cpu_row(&a->y, r);
        double sum[8] = {0}; /* the 8 chains of a dot product, in double */
        for (int64_t i = 0; i < a->x.dim[1]; i++) sum[i % 8] += (double)x[i] * x[i];
        float scale = (float)(1 / sqrt(bl_tree8d(sum) / (double)a->x.dim[1] + a->eps));
        for (int64_t i = 0; i < a->x.dim[1]; i++) y[i] = x[i] * scale * w[i];
    }
out:
    return st;
}

bl_status bl_ref_rope(bl_backend *be, const bl_rope_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t half = a->head_dim / 2;
    const int32_t *pos = bl_cpu_at(&a->pos);
    BL_TRY(bl_cpu_check_rope(be, a, e));
    for (int64_t r = 0; r < a->x.dim[0]; r++) {
        const float *c = bl_cpu_row(&a->cos, pos[r]), *s = bl_cpu_row(&a->sin, pos[r]);
        for (int64_t h = 0; h < a->x.dim[1]; h += a->head_dim) {
            float *x = bl_cpu_row(&a->x, r) + h;
            for (int64_t i = 0; i < half; i++) {
                float lo = x[i], hi = x[i + half];
                x[i] = lo * c[i] - hi * s[i];
                x[i + half] = hi * c[i] + lo * s[i];
            }
        }
    }
out:
    return st;
}

/* silu(g) = g / (1 + e^-g) */
bl_status bl_ref_swiglu(bl_backend *be, const bl_swiglu_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(bl_check_swiglu(be, a, e));
    for (int64_t r = 0; r < a->gate.dim[0]; r++) {
        const float *g = bl_cpu_row(&a->gate, r), *u = bl_cpu_row(&a->up, r);
        float *y = bl_cpu_row(&a->y, r);
        for (int64_t i = 0; i < a->gate.dim[1]; i++) y[i] = g[i] / (1.0f + bl_exp(-g[i])) * u[i];
    }
out:
    return st;
}

bl_status bl_ref_add(bl_backend *be, const bl_add_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(bl_check_add(be, a, e));
    for (int64_t r = 0; r < a->x.dim[0]; r++) {
        const float *x = bl_cpu_row(&a->x, r);
        float *y = bl_cpu_row(&a->y, r);
        for (int64_t i = 0; i < a->x.dim[1]; i++) y[i] += x[i];
    }
out:
    return st;
}

bl_status bl_ref_gather(bl_backend *be, const bl_gather_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    size_t size = bl_dtype_bytes(a->src.dtype);
    const int64_t *from_row = bl_cpu_at(&a->from), *to_row = bl_cpu_at(&a->to);
    BL_TRY(bl_cpu_check_gather(be, a, e));
    for (int64_t i = 0; i < a->n; i++) {
        int64_t from = from_row ? from_row[i] : i, to = to_row ? to_row[i] : i;
        memmove((char *)bl_cpu_at(&a->dst) + (size_t)(to * a->dst.stride[0]) * size,
                (const char *)bl_cpu_at(&a->src) + (size_t)(from * a->src.stride[0]) * size,
                (size_t)a->src.dim[1] * size);
    }
out:
    return st;
}

bl_status bl_ref_embed(bl_backend *be, const bl_embed_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    const int32_t *ids = bl_cpu_at(&a->ids);
    BL_TRY(bl_cpu_check_embed(be, a, e));
    for (int64_t i = 0; i < a->y.dim[0]; i++) bl_cpu_unpack(a->w, ids[i], 0, a->w->shape.in, bl_cpu_row(&a->y, i));
out:
    return st;
}
