/* ref_kv.c - rows of keys and values into a cache, in its format. */
#include "cpu.h"

static void append(bl_backend *be, const bl_tensor *from, const bl_kv_view *kv, const bl_tensor *cache,
                   const bl_tensor *scale, const int64_t *to, bl_cpu_kv_row *encode)
{
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, 2 * (double)bl_tensor_count(from)))
    for (int64_t i = 0; i < from->dim[0]; i++) {
        if (kv->format == BL_KV_INT8)
            encode(bl_cpu_row(from, i), kv->heads, kv->head_dim, (int8_t *)bl_cpu_at(cache) + to[i] * cache->stride[0],
                   bl_cpu_row(scale, to[i]));
        else memmove(bl_cpu_row(cache, to[i]), bl_cpu_row(from, i), (size_t)from->dim[1] * sizeof(float));
    }
}

bl_status bl_cpu_kv_append(bl_backend *be, const bl_kv_append_args *a, bl_cpu_kv_row *encode, bl_err *e)
{
    bl_status st = BL_OK;
    const int64_t *to = bl_cpu_at(&a->to);
    BL_TRY(bl_cpu_check_kv_append(be, a, e));
    if (a->k.buf) append(be, &a->k, &a->kv, &a->kv.k, &a->kv.k_scale, to, encode);
    if (a->v.buf) append(be, &a->v, &a->kv, &a->kv.v, &a->kv.v_scale, to, encode);
out:
    return st;
}

static void encode_row(const float *x, int64_t heads, int64_t dim, int8_t *codes, float *scale)
{
    for (int64_t h = 0; h < heads; h++, x += dim, codes += dim) {
        float most = 0, s;
        bool finite = true;
        for (int64_t d = 0; d < dim; d++) {
            finite = finite && isfinite(x[d]);
            most = fabsf(x[d]) > most ? fabsf(x[d]) : most;
        }
        s = most / 127;
        if (!(s > 0)) s = 1;
        scale[h] = finite ? s : NAN;
        for (int64_t d = 0; d < dim; d++) codes[d] = (int8_t)(finite ? rintf(fmaxf(fminf(x[d] / s, 127), -127)) : 0);
    }
}

bl_status bl_ref_kv_append(bl_backend *be, const bl_kv_append_args *a, bl_err *e)
{
    return bl_cpu_kv_append(be, a, encode_row, e);
}
