/* ref_kv.c - rows of keys and values into a cache, in its format. */
#include "cpu.h"
#include "kernels/format_impl.h"

/* Step and least value of the numbers that x points to; NaN: there are none. */
static void fit(const float *const *x, int64_t n, int bits, float *step, float *least)
{
    float lo = *x[0], hi = *x[0];
    bool finite = true;
    for (int64_t i = 0; i < n; i++) {
        finite = finite && isfinite(*x[i]);
        lo = *x[i] < lo ? *x[i] : lo;
        hi = *x[i] > hi ? *x[i] : hi;
    }
    *least = finite ? bl_f16_to_f32(bl_f32_to_f16(lo)) : NAN;
    *step = bl_f16_to_f32(bl_f32_to_f16((hi - *least) / (float)((1 << bits) - 1)));
    if (!(*step > 0)) *step = 1;
    if (!isfinite(*least) || !isfinite(*step)) {
        *step = NAN;
        *least = 0;
    }
}

static uint8_t code(float x, float step, float least, int bits)
{
    return isnan(step) ? 0 : (uint8_t)fminf(fmaxf(rintf((x - least) / step), 0), (float)((1 << bits) - 1));
}

/* Codes and steps of one head of a row of values. */
static void encode_low(const float *x, int64_t dim, int bits, uint8_t *codes, uint16_t *steps)
{
    memset(codes, 0, (size_t)((dim * bits + 7) / 8));
    for (int64_t g = 0; g * BL_KV_GROUP < dim; g++, steps += 2) {
        int64_t first = g * BL_KV_GROUP, n = BL_MIN(dim - first, BL_KV_GROUP);
        const float *at[BL_KV_GROUP];
        float step, least;
        uint8_t q[BL_KV_GROUP];
        for (int64_t d = 0; d < n; d++) at[d] = x + first + d;
        fit(at, n, bits, &step, &least);
        steps[0] = bl_f32_to_f16(step);
        steps[1] = bl_f32_to_f16(least);
        for (int64_t d = 0; d < n; d++) q[d] = code(x[first + d], step, least, bits);
        bl_codes_write(codes + first * bits / 8, bits, n, q); /* groups are whole bytes of any width */
    }
}

/* Codes of the group of keys whose last one is row i, one head; a channel after the other. */
static void encode_keys(const bl_kv_append_args *a, int64_t i, int64_t head)
{
    const bl_kv_view *kv = &a->kv;
    const int64_t *to = bl_cpu_at(&a->to), *tail = bl_cpu_at(&a->tail), dim = kv->head_dim;
    const int bits = bl_kv_bits(kv->format);
    const float *row[BL_KV_GROUP], *at[BL_KV_GROUP];
    uint8_t *codes[BL_KV_GROUP];
    uint16_t *steps = (uint16_t *)(uintptr_t)bl_cpu_key(kv, to[i], head).steps;
    bool here = true; /* rows before it that are rows of the call */
    for (int64_t j = 0; j < BL_KV_GROUP; j++) {
        here = here && i - j >= 0 && to[i - j] == to[i] - j;
        row[j] = (here ? bl_cpu_row(&a->k, i - j) : bl_cpu_row(&kv->k_tail, tail[i] - j)) + head * dim;
        codes[j] = (uint8_t *)(uintptr_t)bl_cpu_key(kv, to[i] - j, head).packed;
    }
    for (int64_t d0 = 0; d0 < dim; d0 += 8) {
        int64_t n = BL_MIN(dim - d0, 8);
        float step[8], least[8];
        for (int64_t d = 0; d < n; d++) {
            for (int64_t j = 0; j < BL_KV_GROUP; j++) at[j] = row[j] + d0 + d;
            fit(at, BL_KV_GROUP, bits, &step[d], &least[d]);
            steps[d0 + d] = bl_f32_to_f16(step[d]);
            steps[dim + d0 + d] = bl_f32_to_f16(least[d]);
        }
        for (int64_t j = 0; j < BL_KV_GROUP; j++) {
            uint8_t q[8];
            for (int64_t d = 0; d < n; d++) q[d] = code(row[j][d0 + d], step[d], least[d], bits);
            bl_codes_write(codes[j] + d0 / 8 * bits, bits, n, q);
        }
    }
}

static void append_rows(bl_backend *be, const bl_tensor *from, const bl_tensor *cache, const int64_t *to)
{
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, 2 * (double)bl_tensor_count(from)))
    for (int64_t i = 0; i < from->dim[0]; i++)
        memmove(bl_cpu_row(cache, to[i]), bl_cpu_row(from, i), (size_t)from->dim[1] * sizeof(float));
}

static void append_keys(bl_backend *be, const bl_kv_append_args *a, const int64_t *to)
{
#pragma omp parallel for schedule(dynamic, 8) num_threads(bl_cpu_threads(be, 8 * (double)bl_tensor_count(&a->k)))
    for (int64_t i = 0; i < a->k.dim[0]; i++)
        for (int64_t h = 0; h < a->kv.heads && to[i] % BL_KV_GROUP == BL_KV_GROUP - 1; h++) encode_keys(a, i, h);
}

static void append_values(bl_backend *be, const bl_kv_append_args *a, const int64_t *to, bl_cpu_kv_row *encode)
{
    const bl_kv_view *kv = &a->kv;
    const int bits = bl_kv_bits(kv->format);
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, 2 * (double)bl_tensor_count(&a->v)))
    for (int64_t i = 0; i < a->v.dim[0]; i++) {
        if (bits == 8)
            encode(bl_cpu_row(&a->v, i), kv->heads, kv->head_dim, (int8_t *)bl_cpu_at(&kv->v) + to[i] * kv->v.stride[0],
                   bl_cpu_row(&kv->v_scale, to[i]));
        for (int64_t h = 0; bits < 8 && h < kv->heads; h++) {
            const bl_cpu_kv at = bl_cpu_value(kv, to[i], h);
            encode_low(bl_cpu_row(&a->v, i) + h * kv->head_dim, kv->head_dim, bits, (uint8_t *)(uintptr_t)at.packed,
                       (uint16_t *)(uintptr_t)at.steps);
        }
    }
}

bl_status bl_cpu_kv_append(bl_backend *be, const bl_kv_append_args *a, bl_cpu_kv_row *encode, bl_err *e)
{
    bl_status st = BL_OK;
    const int64_t *to = bl_cpu_at(&a->to);
    const bool coded = bl_kv_bits(a->kv.format);
    BL_TRY(bl_cpu_check_kv_append(be, a, e));
    if (a->k.buf && coded) append_keys(be, a, to);
    else if (a->k.buf) append_rows(be, &a->k, &a->kv.k, to);
    if (a->v.buf && coded) append_values(be, a, to, encode);
    else if (a->v.buf) append_rows(be, &a->v, &a->kv.v, to);
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
