/* fit.cuh - scale and zero of a group of integer codes, by a warp: the operations of kernels/fmt_int.c and
 * fmt_int_mse.c, one by one, so that the results are the same bits. */
#ifndef BL_KERNELS_CUDA_FIT_CUH
#define BL_KERNELS_CUDA_FIT_CUH
#include "device.cuh"

static __device__ float nonzero(float s) { return s > 0 ? s : __uint_as_float(1); }

/* From the ends of the range alone. */
static __device__ void fit_ends(int rule, float lo, float hi, int qmax, float *scale, float *zero)
{
    float q = (float)qmax;
    switch (rule) {
    case BL_CU_ZERO:
        lo = fminf(lo, 0);
        hi = fmaxf(hi, 0);
        if (lo == 0 && hi == 0) {
            lo = -1;
            hi = 1;
        }
        *scale = nonzero((hi - lo) / q);
        *zero = rintf(-lo / *scale);
        return;
    case BL_CU_MINMAX:
        *scale = fmaxf(fmaxf((hi - lo) / q, 1e-5f), fabsf(lo) / 1e4f);
        *zero = fminf(fmaxf(rintf(-lo / *scale), -1e4f), 1e4f);
        return;
    case BL_CU_CLIP:
        *scale = fmaxf(hi - lo, 1e-5f) / q;
        *zero = fminf(fmaxf(-rintf(lo / *scale), 0), q);
        return;
    case BL_CU_SYMMETRIC:
        hi = fmaxf(fabsf(lo), fabsf(hi));
        *scale = hi > 0 ? nonzero(hi / (float)(qmax / 2)) : 1;
        *zero = (float)((qmax + 1) / 2);
        return;
    default: /* FULL */
        hi = fmaxf(fabsf(lo), fabsf(hi));
        *scale = nonzero(2 * (hi > 0 ? hi : 1) / q);
        *zero = (float)((qmax + 1) / 2);
        return;
    }
}

static __device__ float power24(float d)
{
    float u = d * d, r = __uint_as_float(0x4c2da000u - __float_as_uint(u) / 5);
    for (int i = 0; i < 3; i++) {
        float r2 = r * r;
        r *= 1.2f - 0.2f * (u * r2 * r2 * r);
    }
    float v = u * r * r;
    return v * v;
}

/* The least error of a warp whose lanes have one in common for every `first` of them, or each their own; of equal ones
 * the first; NaN only where nothing else is. */
static __device__ __forceinline__ void least_of_lanes(int first, float *best, int *chosen)
{
    for (int o = first; o <= WARP / 2; o *= 2) {
        const float b = __shfl_xor_sync(0xffffffffu, *best, o);
        const int c = __shfl_xor_sync(0xffffffffu, *chosen, o);
        if (b < *best || (!(*best < b) && c < *chosen)) {
            *best = b;
            *chosen = c;
        }
    }
}

/* Of n numbers, each `at(i)`; all lanes of a warp together, all get the result. */
template <typename At>
static __device__ void fit_group(At at, int64_t n, int rule, bool mse, int qmax, float *scale, float *zero)
{
    int lane = threadIdx.x % WARP;
    if (rule == BL_CU_SIGN) { /* in order, in double */
        double sum = 0;
        if (lane == 0)
            for (int64_t i = 0; i < n; i++) sum += fabsf(at(i));
        *scale = __shfl_sync(0xffffffffu, (float)(sum / (double)n), 0);
        *zero = 0;
        return;
    }
    float lo = CUDART_INF_F, hi = -CUDART_INF_F;
    for (int64_t i = lane; i < n; i += WARP) {
        lo = fminf(lo, at(i));
        hi = fmaxf(hi, at(i));
    }
    hi = warp_max(hi);
    lo = -warp_max(-lo);
    if (!mse) {
        fit_ends(rule, lo, hi, qmax, scale, zero);
        return;
    }
    /* 80 shrunk ranges, four at a time: eight lanes are the eight chains of one sum. */
    float most = fmaxf(fabsf(lo), fabsf(hi)), unit = most > 0 ? 1 / most : 1, best = CUDART_INF_F, q = (float)qmax;
    const float magic = 12582912.0f;
    int j = lane % 8, chosen = 0;
    int64_t whole = n / 8 * 8;
    for (int k = lane / 8; k < 80; k += 4) {
        float p = 1 - (float)k / 100, s, z, acc = 0;
        fit_ends(rule, fminf(p * lo, p * hi), fmaxf(p * lo, p * hi), qmax, &s, &z);
        float least = -z, top = q - z;
        for (int64_t i = j; i < whole; i += 8) {
            float w = at(i), x = w / s;
            x = x > least ? x : least;
            x = x < top ? x : top;
            x = (x + magic) - magic;
            acc += power24((x * s - w) * unit);
        }
        if (j == 0)
            for (int64_t i = whole; i < n; i++) {
                float w = at(i), x = rintf(fminf(fmaxf(w / s, least), top));
                acc += power24((x * s - w) * unit);
            }
        /* ((0+4)+(2+6)) + ((1+5)+(3+7)) */
        acc += __shfl_xor_sync(0xffffffffu, acc, 4);
        acc += __shfl_xor_sync(0xffffffffu, acc, 2);
        acc += __shfl_xor_sync(0xffffffffu, acc, 1);
        if (acc < best || k == lane / 8) {
            best = acc;
            chosen = k;
        }
    }
    least_of_lanes(8, &best, &chosen);
    float p = 1 - (float)chosen / 100;
    fit_ends(rule, fminf(p * lo, p * hi), fmaxf(p * lo, p * hi), qmax, scale, zero);
}

/* A scale as it will be read; type as bl_cu_weight.scale_type. */
static __device__ float rounded(float s, int type)
{
    return type == 0 ? s : type == 1 ? from_f16(__half_as_ushort(__float2half_rn(s))) : from_bf16(to_bf16(s));
}

/* The same, and in 16 bits never 0. */
static __device__ float stored(float s, int type)
{
    if (type == 0) return s;
    float r = rounded(s, type);
    return r == 0 ? __uint_as_float(type == 1 ? 0x33800000u : 0x00010000u) : r;
}
#endif
