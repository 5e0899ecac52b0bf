/* input.cu - what happens to the rows of x before a product, in f32: scales, permutations, rotations, the Hadamard
 * transform, and quantized activations, simulated. */
#include "device.cuh"
#include <cuda_fp8.h>

__global__ void scale_rows(float *x, int64_t ldx, const float *by, int64_t rows, int64_t n)
{
    EACH(i, rows * n) x[i / n * ldx + i % n] *= by[i % n];
}
void bl_cu_scale_rows(bl_stream s, float *x, int64_t ldx, const float *by, int64_t rows, int64_t n)
{
    if (rows) scale_rows<<<blocks_for(rows * n, 256), 256, 0, s>>>(x, ldx, by, rows, n);
}

template <int V> __device__ __forceinline__ void take(const void *x, bool f32, int64_t at, float v[V])
{
    if (V == 1) v[0] = f32 ? ((const float *)x)[at] : from_bf16(((const uint16_t *)x)[at]);
    else if (f32) {
        const float4 u = *(const float4 *)((const float *)x + at);
        v[0] = u.x, v[1 % V] = u.y, v[2 % V] = u.z, v[3 % V] = u.w;
    } else {
        const uint2 u = *(const uint2 *)((const uint16_t *)x + at);
        v[0] = from_bf16((uint16_t)u.x), v[1 % V] = from_bf16((uint16_t)(u.x >> 16));
        v[2 % V] = from_bf16((uint16_t)u.y), v[3 % V] = from_bf16((uint16_t)(u.y >> 16));
    }
}
template <int V> __device__ __forceinline__ void give(void *y, bool f32, int64_t at, const float v[V])
{
    if (V == 1) put_sum(y, f32, at, v[0], false);
    else if (f32) *(float4 *)((float *)y + at) = make_float4(v[0], v[1 % V], v[2 % V], v[3 % V]);
    else
        *(uint2 *)((uint16_t *)y + at) = make_uint2((uint32_t)to_bf16(v[1 % V]) << 16 | to_bf16(v[0]),
                                                    (uint32_t)to_bf16(v[3 % V]) << 16 | to_bf16(v[2 % V]));
}

/* V columns a thread, down the rows. */
template <int V> __global__ void scale_outputs(bl_cu_scaled a)
{
    const int64_t k = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * V;
    float by[V], bias[V] = {0}, v[V], was[V];
    if (k >= a.n) return;
    for (int i = 0; i < V; i++) by[i] = a.by[k + i];
    for (int i = 0; a.bias && i < V; i++) bias[i] = a.bias[k + i];
    for (int64_t r = blockIdx.y; r < a.rows; r += gridDim.y) {
        take<V>(a.x, a.x32, r * a.ldx + k, v);
        if (a.accumulate) take<V>(a.y, a.y32, r * a.ldy + k, was);
#pragma unroll
        for (int i = 0; i < V; i++) {
            v[i] = v[i] * by[i] + bias[i];
            if (a.accumulate) v[i] += was[i];
        }
        give<V>(a.y, a.y32, r * a.ldy + k, v);
    }
}
void bl_cu_scale_outputs(bl_stream s, const bl_cu_scaled *a)
{
    const bool fours = (a->n | a->ldx | a->ldy) % 4 == 0 && ((uintptr_t)a->x | (uintptr_t)a->y) % 16 == 0;
    const int64_t lanes = fours ? a->n / 4 : a->n, down = a->rows < 4096 ? a->rows : 4096;
    const dim3 grid((unsigned)((lanes + 127) / 128), (unsigned)down);
    if (!a->rows || !a->n) return;
    if (fours) scale_outputs<4><<<grid, 128, 0, s>>>(*a);
    else scale_outputs<1><<<grid, 128, 0, s>>>(*a);
}

__global__ void permute_rows(const float *x, int64_t ldx, float *y, int64_t ldy, const int32_t *from, int64_t rows,
                             int64_t n)
{
    EACH(i, rows * n) y[i / n * ldy + i % n] = x[i / n * ldx + from[i % n]];
}
void bl_cu_permute_rows(bl_stream s, const float *x, int64_t ldx, float *y, int64_t ldy, const int32_t *from,
                        int64_t rows, int64_t n)
{
    if (rows) permute_rows<<<blocks_for(rows * n, 256), 256, 0, s>>>(x, ldx, y, ldy, from, rows, n);
}

/* y = x R, block by block of b; turned: x Rt */
__global__ void rotate_rows(const float *x, int64_t ldx, float *y, int64_t ldy, const float *blocks, int64_t b,
                            bool turned, int64_t rows, int64_t n)
{
    int64_t down = turned ? 1 : b, across = turned ? b : 1;
    EACH(i, rows * n)
    {
        int64_t k = i % n, at = k / b;
        const float *xb = x + i / n * ldx + at * b, *r = blocks + at * b * b + k % b * across;
        float acc = 0;
        for (int64_t j = 0; j < b; j++) acc = fmaf(xb[j], r[j * down], acc);
        y[i / n * ldy + k] = acc;
    }
}
void bl_cu_rotate_rows(bl_stream s, const float *x, int64_t ldx, float *y, int64_t ldy, const float *blocks, int64_t b,
                       bool turned, int64_t rows, int64_t n)
{
    if (rows) rotate_rows<<<blocks_for(rows * n, 256), 256, 0, s>>>(x, ldx, y, ldy, blocks, b, turned, rows, n);
}

/* One block a row: sums and differences in place, then a product with the factor of +-1, or with its transpose. */
template <typename T>
__global__ void hadamard_rows(T *x, int64_t ldx, T *y, int64_t ldy, const int8_t *factor, int64_t order, bool turned,
                              int64_t n)
{
    int64_t m = n / order, down = turned ? order : 1, across = turned ? 1 : order;
    T *t = x + blockIdx.x * ldx, *out = y + blockIdx.x * ldy, norm = (T)(1 / sqrt((double)n));
    for (int64_t h = 1; h < m; h *= 2) {
        for (int64_t i = threadIdx.x; i < n / 2; i += blockDim.x) {
            int64_t j = i / h * 2 * h + i % h;
            T a = t[j], b = t[j + h];
            t[j] = a + b;
            t[j + h] = a - b;
        }
        __syncthreads();
    }
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        int64_t k = i / m, b = i % m;
        T sum = 0;
        for (int64_t c = 0; c < order; c++) sum += (T)factor[k * across + c * down] * t[c * m + b];
        out[i] = sum * norm;
    }
}
void bl_cu_hadamard_f32(bl_stream s, float *x, int64_t ldx, float *y, int64_t ldy, const int8_t *factor, int64_t order,
                        bool turned, int64_t rows, int64_t n)
{
    if (rows) hadamard_rows<<<(unsigned)rows, n <= 128 ? 64 : 512, 0, s>>>(x, ldx, y, ldy, factor, order, turned, n);
}
void bl_cu_hadamard_f64(bl_stream s, double *x, int64_t ldx, double *y, int64_t ldy, const int8_t *factor,
                        int64_t order, bool turned, int64_t rows, int64_t n)
{
    if (rows) hadamard_rows<<<(unsigned)rows, n <= 128 ? 64 : 512, 0, s>>>(x, ldx, y, ldy, factor, order, turned, n);
}

/* ---- quantized activations: as bl_cpu_act_range and bl_cpu_act_code say ---- */
static __device__ void limits(int bits, bool symmetric, float *lo, float *hi)
{
    *hi = (float)((1 << (symmetric ? bits - 1 : bits)) - 1);
    *lo = symmetric ? -*hi : 0;
}
static __device__ void range_of(float lo, float hi, bool finite, int bits, bool symmetric, float *scale, float *zero)
{
    float least, most;
    limits(bits, symmetric, &least, &most);
    *scale = symmetric ? fmaxf(hi, -lo) / most : (hi - lo) / most;
    if (!(*scale > 0)) *scale = 1;
    *zero = symmetric ? 0 : rintf(-lo / *scale);
    if (!finite) {
        *scale = CUDART_NAN_F;
        *zero = 0;
    }
}
static __device__ float simulated(float x, float scale, float zero, float lo, float hi)
{
    float c = rintf(x / scale) + zero;
    c = c < lo ? lo : c > hi ? hi : c;
    return (c - zero) * scale;
}

/* Least and most of x[0..n) and 0, and 1 where something is not finite. */
static __device__ void block_ends(const float *x, int64_t n, float *tmp, float *lo, float *hi, float *bad)
{
    float least = 0, most = 0, odd = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        least = fminf(least, x[i]);
        most = fmaxf(most, x[i]);
        if (!isfinite(x[i])) odd = 1;
    }
    *lo = -block_max(-least, tmp);
    *hi = block_max(most, tmp);
    *bad = block_max(odd, tmp);
}

/* ends [blocks, 3]: least, most, whether all are finite, of each row; then of all. */
__global__ void row_ends(const float *x, int64_t ldx, int64_t n, float *ends)
{
    __shared__ float tmp[33];
    const float *xr = x + blockIdx.x * ldx;
    float lo, hi, bad;
    block_ends(xr, n, tmp, &lo, &hi, &bad);
    if (threadIdx.x == 0) {
        ends[3 * blockIdx.x] = lo;
        ends[3 * blockIdx.x + 1] = hi;
        ends[3 * blockIdx.x + 2] = bad;
    }
}
__global__ void all_ends(const float *ends, int64_t rows, int bits, bool symmetric, float *range)
{
    __shared__ float tmp[33];
    float lo = 0, hi = 0, bad = 0;
    for (int64_t i = threadIdx.x; i < rows; i += blockDim.x) {
        lo = fminf(lo, ends[3 * i]);
        hi = fmaxf(hi, ends[3 * i + 1]);
        bad = fmaxf(bad, ends[3 * i + 2]);
    }
    lo = -block_max(-lo, tmp);
    hi = block_max(hi, tmp);
    bad = block_max(bad, tmp);
    if (threadIdx.x == 0) range_of(lo, hi, bad == 0, bits, symmetric, &range[0], &range[1]);
}
void bl_cu_act_range(bl_stream s, const float *x, int64_t ldx, int64_t rows, int64_t n, int bits, bool symmetric,
                     float *ends, float *range)
{
    if (!rows) return;
    row_ends<<<(unsigned)rows, 256, 0, s>>>(x, ldx, n, ends);
    all_ends<<<1, 256, 0, s>>>(ends, rows, bits, symmetric, range);
}

/* A block for each row and group; `range` or a given scale: of all. */
__global__ void act_simulate(float *x, int64_t ldx, int64_t n, int64_t group, int bits, bool symmetric,
                             const float *range, float scale, float zero)
{
    __shared__ float tmp[33];
    int64_t k0 = blockIdx.y * group, m = k0 + group < n ? group : n - k0;
    float *xr = x + blockIdx.x * ldx + k0, least, most;
    limits(bits, symmetric, &least, &most);
    if (range) {
        scale = range[0];
        zero = range[1];
    } else if (scale == 0) {
        float lo, hi, bad;
        block_ends(xr, m, tmp, &lo, &hi, &bad);
        range_of(lo, hi, bad == 0, bits, symmetric, &scale, &zero);
    }
    for (int64_t i = threadIdx.x; i < m; i += blockDim.x) xr[i] = simulated(xr[i], scale, zero, least, most);
}
/* As bl_fp8_round; a block for each row. */
__global__ void act_fp8(float *x, int64_t ldx, int64_t n)
{
    __shared__ float tmp[33];
    float *xr = x + blockIdx.x * ldx, lo, hi, bad;
    block_ends(xr, n, tmp, &lo, &hi, &bad);
    const float scale = fmaxf(-lo, hi) / 448, inverse = 1 / scale;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        const float v = scale == 0 ? 0 : isinf(inverse) ? xr[i] / scale : xr[i] * inverse;
        const __half_raw h = __nv_cvt_fp8_to_halfraw(__nv_cvt_float_to_fp8(v, __NV_SATFINITE, __NV_E4M3), __NV_E4M3);
        xr[i] = bad != 0 ? CUDART_NAN_F : __half2float(__half(h)) * scale;
    }
}
void bl_cu_act_fp8(bl_stream s, float *x, int64_t ldx, int64_t rows, int64_t n)
{
    if (rows && n) act_fp8<<<(unsigned)rows, 256, 0, s>>>(x, ldx, n);
}
void bl_cu_act_simulate(bl_stream s, float *x, int64_t ldx, int64_t rows, int64_t n, int64_t group, int bits,
                        bool symmetric, const float *range, float scale, float zero)
{
    dim3 grid((unsigned)rows, (unsigned)((n + group - 1) / group));
    if (rows && n)
        act_simulate<<<grid, group <= 128 ? 64 : 256, 0, s>>>(x, ldx, n, group, bits, symmetric, range, scale, zero);
}
