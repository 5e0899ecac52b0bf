/* round.cu - rounded activations in training and the way back through them, and through weights that are scaled by rows
 * and columns (ops_train.h). A block for each row and group of activations; sums go by threads. */
#include "device.cuh"

/* Range of x[0..n), bf16: as bl_cpu_act_range says. */
static __device__ void range_of(const uint16_t *x, int64_t n, int bits, bool symmetric, float *tmp, float *lo,
                                float *hi, float *scale, float *zero, float *most)
{
    float least = 0, top = 0, odd = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        const float v = from_bf16(x[i]);
        least = fminf(least, v);
        top = fmaxf(top, v);
        if (!isfinite(v)) odd = 1;
    }
    *lo = -block_max(-least, tmp);
    *hi = block_max(top, tmp);
    odd = block_max(odd, tmp);
    *most = (float)((1 << (symmetric ? bits - 1 : bits)) - 1);
    *scale = symmetric ? fmaxf(*hi, -*lo) / *most : (*hi - *lo) / *most;
    if (!(*scale > 0)) *scale = 1;
    *zero = symmetric ? 0 : rintf(-*lo / *scale);
    if (odd != 0) {
        *scale = CUDART_NAN_F;
        *zero = 0;
    }
}

__global__ void act_round(const uint16_t *x, int64_t ldx, uint16_t *y, int64_t ldy, int64_t n, int64_t group, int bits,
                          bool symmetric)
{
    __shared__ float tmp[33];
    const int64_t k0 = blockIdx.y * group, m = k0 + group < n ? group : n - k0;
    const uint16_t *xr = x + blockIdx.x * ldx + k0;
    uint16_t *yr = y + blockIdx.x * ldy + k0;
    float lo, hi, scale, zero, most;
    range_of(xr, m, bits, symmetric, tmp, &lo, &hi, &scale, &zero, &most);
    const float least = symmetric ? -most : 0;
    for (int64_t i = threadIdx.x; i < m; i += blockDim.x) {
        float c = rintf(from_bf16(xr[i]) / scale) + zero;
        c = c < least ? least : c > most ? most : c;
        yr[i] = to_bf16((c - zero) * scale);
    }
}
void bl_cu_act_round(bl_stream s, const uint16_t *x, int64_t ldx, uint16_t *y, int64_t ldy, int64_t rows, int64_t n,
                     int64_t group, int bits, bool symmetric)
{
    const dim3 grid((unsigned)rows, (unsigned)((n + group - 1) / group));
    if (rows && n) act_round<<<grid, group <= 128 ? 64 : 256, 0, s>>>(x, ldx, y, ldy, n, group, bits, symmetric);
}

__global__ void act_round_back(bl_cu_act_back a)
{
    __shared__ float tmp[33];
    __shared__ double sums[33];
    const int64_t k0 = blockIdx.y * a.group, m = k0 + a.group < a.n ? a.group : a.n - k0;
    const uint16_t *x = a.x + blockIdx.x * a.ldx + k0, *dy = a.dy + blockIdx.x * a.lddy + k0;
    uint16_t *dx = a.dx + blockIdx.x * a.lddx + k0;
    float lo = 0, hi = 0, scale, zero, most, to_lo = 0, to_hi = 0;
    if (a.ends) {
        double ds = 0, at_lo = 0, at_hi = 0;
        range_of(x, m, a.bits, a.symmetric, tmp, &lo, &hi, &scale, &zero, &most);
        if (a.symmetric && hi > -lo) lo = 0;
        else if (a.symmetric && hi < -lo) hi = 0;
        for (int64_t i = threadIdx.x; i < m; i += blockDim.x) {
            const float at = from_bf16(x[i]), v = at / scale;
            ds += (double)from_bf16(dy[i]) * (double)(rintf(v) - v);
            at_lo += lo < 0 && at == lo;
            at_hi += hi > 0 && at == hi;
        }
        ds = block_sum(ds, sums);
        at_lo = block_sum(at_lo, sums);
        at_hi = block_sum(at_hi, sums);
        if (a.symmetric) at_lo = at_hi = at_lo + at_hi;
        to_lo = at_lo > 0 ? (float)(-ds / most / at_lo) : 0;
        to_hi = at_hi > 0 ? (float)(ds / most / at_hi) : 0;
    }
    for (int64_t i = threadIdx.x; i < m; i += blockDim.x) {
        const float at = from_bf16(x[i]);
        float v = fabsf(at) < a.within ? from_bf16(dy[i]) : 0;
        if (lo < 0 && at == lo) v += to_lo;
        if (hi > 0 && at == hi) v += to_hi;
        put_sum(dx, false, i, v, a.accumulate);
    }
}
void bl_cu_act_round_back(bl_stream s, const bl_cu_act_back *a)
{
    const dim3 grid((unsigned)a->rows, (unsigned)((a->n + a->group - 1) / a->group));
    if (a->rows && a->n) act_round_back<<<grid, a->group <= 128 ? 64 : 256, 0, s>>>(*a);
}

/* A block a row. */
__global__ void scale_back_rows(bl_cu_scale_back a)
{
    __shared__ double tmp[33];
    const float *x = a.x + blockIdx.x * a.ldx, *dy = a.dy + blockIdx.x * a.lddy;
    double sum = 0;
    for (int64_t j = threadIdx.x; j < a.n; j += blockDim.x)
        sum += (double)dy[j] * (double)x[j] * (double)(a.cols ? a.cols[j] : 1);
    sum = block_sum(sum, tmp);
    if (threadIdx.x == 0) a.drows[blockIdx.x] += (float)sum;
}
/* 32 columns a block, its 8 warps take rows in turn. */
__global__ void scale_back_cols(bl_cu_scale_back a)
{
    __shared__ double part[8][WARP];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int64_t j = (int64_t)blockIdx.x * WARP + lane;
    double sum = 0;
    for (int64_t i = warp; j < a.n && i < a.m; i += 8)
        sum += (double)(a.rows ? a.rows[i] : 1) * (double)a.dy[i * a.lddy + j] * (double)a.x[i * a.ldx + j];
    part[warp][lane] = sum;
    __syncthreads();
    if (warp != 0 || j >= a.n) return;
    for (int w = 1; w < 8; w++) sum += part[w][lane];
    a.dcols[j] += (float)sum;
}
void bl_cu_scale_back_of(bl_stream s, const bl_cu_scale_back *a)
{
    if (!a->m || !a->n) return;
    if (a->drows) scale_back_rows<<<(unsigned)a->m, 256, 0, s>>>(*a);
    if (a->dcols) scale_back_cols<<<(unsigned)((a->n + WARP - 1) / WARP), 8 * WARP, 0, s>>>(*a);
}

/* A block a row. */
__global__ void differ_rows(uint16_t *x, int64_t ldx, const uint16_t *y, int64_t ldy, int64_t n, float scale,
                            double *sums)
{
    __shared__ double tmp[33];
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        const float d = from_bf16(x[blockIdx.x * ldx + i]) - from_bf16(y[blockIdx.x * ldy + i]);
        sum += (double)d * (double)d;
        if (scale != 0) x[blockIdx.x * ldx + i] = to_bf16(scale * d);
    }
    sum = block_sum(sum, tmp);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}
void bl_cu_differ(bl_stream s, uint16_t *x, int64_t ldx, const uint16_t *y, int64_t ldy, int64_t rows, int64_t n,
                  float scale, double *sums, double *sum)
{
    if (rows) differ_rows<<<(unsigned)rows, 256, 0, s>>>(x, ldx, y, ldy, n, scale, sums);
    bl_cu_sum(s, sums, rows, sum);
}
