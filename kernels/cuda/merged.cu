/* merged.cu - a weight and the product of two factors beside it, rounded to a learned grid, in one pass: a block has 64
 * rows and 128 columns, a thread eight of both. What is rounded is nowhere in memory; on the way back it is made once
 * more. Sums for scales and offsets go over eight columns in f32, then over the group in double, in order.
 */
#include "device.cuh"
#include "kernels/grid_both.h"
#include "weight.cuh"

enum { ROWS = 64, COLS = 128, DEEP = 32, EACH_ROWS = 8, THREADS = 128, LD_B = ROWS + 4 };

static __device__ __forceinline__ void take_eight(const float *p, float f[8])
{
    const float4 lo = ((const float4 *)p)[0], hi = ((const float4 *)p)[1];
    f[0] = lo.x, f[1] = lo.y, f[2] = lo.z, f[3] = lo.w;
    f[4] = hi.x, f[5] = hi.y, f[6] = hi.z, f[7] = hi.w;
}

/* Eight numbers of a row of the weight from column k on. */
static __device__ __forceinline__ void weights_at(const bl_cu_weight &w, int64_t row, int64_t k, float f[8])
{
    if (w.kind == BL_CU_DENSE) {
        const uint8_t *p = w.codes + row * w.row_bytes;
        if (w.bits == 32) {
            take_eight((const float *)p + k, f);
            return;
        }
        const uint4 v = *(const uint4 *)((const uint16_t *)p + k);
        const uint32_t word[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int j = 0; j < 8; j++) {
            const uint16_t h = (uint16_t)(word[j / 2] >> 16 * (j % 2));
            f[j] = w.bits == 16 ? from_f16(h) : from_bf16(h);
        }
        return;
    }
    const int64_t group = k / w.group;
    const float s = stored_scale(w, row, group);
    const int z = stored_zero(w, row, group);
    const uint8_t *p = w.codes + row * w.row_bytes;
    if (w.bits == 8) {
        const uint2 v = *(const uint2 *)(p + k);
#pragma unroll
        for (int j = 0; j < 8; j++) f[j] = (float)((int)((j < 4 ? v.x : v.y) >> 8 * (j % 4) & 255) - z) * s;
        return;
    }
#pragma unroll
    for (int j = 0; j < 8; j++) f[j] = (float)(code_at(p, w.bits, k + j) - z) * s;
}

/* sum[i][j] += of rows r0 + i and columns c0 + j of b a. */
static __device__ __forceinline__ void factors(const bl_cu_merged &m, int64_t out, int64_t in, int64_t r0, int64_t c0,
                                               float sum[EACH_ROWS][8])
{
    __shared__ __align__(16) float sa[DEEP][COLS];
    __shared__ __align__(16) float sb[DEEP][LD_B];
    const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    for (int64_t k0 = 0; k0 < m.rank; k0 += DEEP) {
        __syncthreads();
        for (int i = threadIdx.x; i < DEEP * COLS / 4; i += THREADS) {
            const int k = i / (COLS / 4), c = i % (COLS / 4) * 4;
            *(float4 *)&sa[k][c] = k0 + k < m.rank && c0 + c < in ? *(const float4 *)(m.a + (k0 + k) * in + c0 + c)
                                                                  : make_float4(0, 0, 0, 0);
        }
        for (int i = threadIdx.x; i < DEEP * ROWS; i += THREADS) {
            const int k = i % DEEP, r = i / DEEP;
            sb[k][r] = k0 + k < m.rank && r0 + r < out ? m.b[(r0 + r) * m.rank + k0 + k] : 0;
        }
        __syncthreads();
#pragma unroll 4
        for (int k = 0; k < DEEP; k++) {
            float a[8], b[8];
            take_eight(&sa[k][8 * tx], a);
            take_eight(&sb[k][8 * ty], b);
#pragma unroll
            for (int i = 0; i < EACH_ROWS; i++)
#pragma unroll
                for (int j = 0; j < 8; j++) sum[i][j] = fmaf(b[i], a[j], sum[i][j]);
        }
    }
}

template <int KIND, bool BACK> __global__ void __launch_bounds__(THREADS) merged(bl_cu_weight w, bl_cu_merged m)
{
    const int64_t r0 = (int64_t)blockIdx.y * ROWS, c0 = (int64_t)blockIdx.x * COLS, k = c0 + threadIdx.x % 16 * 8;
    float sum[EACH_ROWS][8] = {{0}};
    factors(m, w.out, w.in, r0, c0, sum);
    if (k >= w.in) return;
    const int64_t group = k / m.group;
#pragma unroll
    for (int i = 0; i < EACH_ROWS; i++) {
        const int64_t row = r0 + threadIdx.x / 16 * EACH_ROWS + i;
        if (row >= w.out) break;
        const bl_grid_group g = bl_grid_of((bl_grid_kind)KIND, m.bits, m.half, m.scale[row * m.lds + group],
                                           m.offset ? m.offset[row * m.ldo + group] : 0);
        float f[8], d[8], s = 0, o = 0;
        weights_at(w, row, k, f);
        if (BACK) take_eight(m.dy + row * w.in + k, d);
#pragma unroll
        for (int j = 0; j < 8; j++) {
            const float x = fmaf(m.by, sum[i][j], f[j]);
            if (!BACK) {
                f[j] = bl_grid_value((bl_grid_kind)KIND, &g, x);
                continue;
            }
            const bl_grid_slopes to = bl_grid_slopes_at((bl_grid_kind)KIND, &g, x);
            f[j] = m.alpha * (to.w * d[j]);
            s = fmaf(d[j], to.s, s);
            o = fmaf(d[j], to.o, o);
        }
        uint32_t word[4];
#pragma unroll
        for (int j = 0; j < 4; j++) word[j] = (uint32_t)to_bf16(f[2 * j + 1]) << 16 | to_bf16(f[2 * j]);
        *(uint4 *)(m.y + row * w.in + k) = make_uint4(word[0], word[1], word[2], word[3]);
        if (BACK) ((float2 *)m.parts)[row * (w.in / 8) + k / 8] = make_float2(s, o);
    }
}

/* A warp a group. */
__global__ void sums_of_groups(bl_cu_merged m, int64_t out, int64_t in, int64_t groups)
{
    const int64_t at = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, row = at / groups,
                  group = at % groups;
    if (row >= out) return;
    const int64_t k0 = group * m.group, n = k0 + m.group < in ? m.group : in - k0;
    const float2 *p = (const float2 *)m.parts + row * (in / 8) + k0 / 8;
    double s = 0, o = 0;
    for (int64_t i = threadIdx.x % WARP; i < n / 8; i += WARP) {
        s += p[i].x;
        o += p[i].y;
    }
    s = warp_sum(s);
    o = warp_sum(o);
    if (threadIdx.x % WARP) return;
    const double damp = m.inside ? 1 : sqrt((double)n * ((1 << (m.bits - 1)) - 1));
    if (m.dscale) m.dscale[row * m.ldds + group] += (float)(s / damp);
    if (m.doffset) m.doffset[row * m.lddo + group] += (float)(o / damp);
}

void bl_cu_merged_grid(bl_stream s, const bl_cu_weight *w, const bl_cu_merged *m)
{
    const dim3 tiles((unsigned)((w->in + COLS - 1) / COLS), (unsigned)((w->out + ROWS - 1) / ROWS));
    const int64_t groups = (w->in + m->group - 1) / m->group;
    if (!w->out || !w->in) return;
    if (m->inside && m->dy) merged<BL_GRID_INSIDE, true><<<tiles, THREADS, 0, s>>>(*w, *m);
    else if (m->inside) merged<BL_GRID_INSIDE, false><<<tiles, THREADS, 0, s>>>(*w, *m);
    else if (m->dy) merged<BL_GRID_OFFSET, true><<<tiles, THREADS, 0, s>>>(*w, *m);
    else merged<BL_GRID_OFFSET, false><<<tiles, THREADS, 0, s>>>(*w, *m);
    if (m->dy) sums_of_groups<<<(unsigned)((w->out * groups + 7) / 8), 256, 0, s>>>(*m, w->out, w->in, groups);
}
