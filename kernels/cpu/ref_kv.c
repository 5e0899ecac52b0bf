/* ref_kv.c - rows of keys and values into a cache, in its format. */
#include "cpu.h"
#include "kernels/format_impl.h"

/* Codes and steps of one head of a row. */
static void encode_low(const float *x, int64_t dim, int bits, uint8_t *codes, uint16_t *steps)
{
    const float most = (float)((1 << bits) - 1);
    memset(codes, 0, (size_t)((dim * bits + 7) / 8));
    for (int64_t g = 0; g * BL_KV_GROUP < dim; g++, steps += 2) {
        int64_t first = g * BL_KV_GROUP, n = BL_MIN(dim - first, BL_KV_GROUP);
        float lo = x[first], hi = x[first];
        uint8_t q[BL_KV_GROUP];
        bool finite = true;
        for (int64_t d = 0; d < n; d++) {
            finite = finite && isfinite(x[first + d]);
            lo = x[first + d] < lo ? x[first + d] : lo;
            hi = x[first + d] > hi ? x[first + d] : hi;
        }
        float least = finite ? bl_f16_to_f32(bl_f32_to_f16(lo)) : NAN,
              step = bl_f16_to_f32(bl_f32_to_f16((hi - least) / most));
        if (!(step > 0)) step = 1;
        if (!isfinite(least) || !isfinite(step)) {
            step = NAN;
            least = 0;
        }
        steps[0] = bl_f32_to_f16(step);
        steps[1] = bl_f32_to_f16(least);
        for (int64_t d = 0; d < n; d++)
            q[d] = isnan(step) ? 0 : (uint8_t)fminf(fmaxf(rintf((x[first + d] - least) / step), 0), most);
        bl_codes_write(codes + first * bits / 8, bits, n, q); /* groups are whole bytes of any width */
    }
}

void bl_cpu_kv_unpack(const bl_cpu_kv *x, int64_t dim, float *to)
{
    for (int64_t g = 0; g * BL_KV_GROUP < dim; g++) {
        int64_t first = g * BL_KV_GROUP, n = BL_MIN(dim - first, BL_KV_GROUP);
        float step = bl_f16_to_f32(x->steps[2 * g]), least = bl_f16_to_f32(x->steps[2 * g + 1]);
        uint8_t q[BL_KV_GROUP];
        bl_codes_read(x->packed, x->bits, first, n, q);
        for (int64_t d = 0; d < n; d++) to[first + d] = (float)q[d] * step + least;
    }
}

static void append(bl_backend *be, const bl_tensor *from, const bl_kv_view *kv, const bl_tensor *cache,
                   const bl_tensor *scale, const int64_t *to, bl_cpu_kv_row *encode)
{
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, 2 * (double)bl_tensor_count(from)))
    for (int64_t i = 0; i < from->dim[0]; i++) {
        int bits = bl_kv_bits(kv->format);
        for (int64_t h = 0; bits && bits < 8 && h < kv->heads; h++) {
            bl_cpu_kv at = bl_cpu_kv_at(kv->format, cache, scale, kv->head_dim, to[i], h);
            encode_low(bl_cpu_row(from, i) + h * kv->head_dim, kv->head_dim, bits, (uint8_t *)(uintptr_t)at.packed,
                       (uint16_t *)(uintptr_t)at.steps);
        }
        if (bits && bits < 8) continue;
        if (bits)
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
