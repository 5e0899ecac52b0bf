/* merged.cu - a weight and the product of two factors beside it, rounded to a learned grid, in one pass: a block has
 * 128 rows and 128 columns, a thread eight of both. What is rounded is nowhere in memory; on the way back it is made
 * once more. The product is on tensor cores: each factor is two bf16, and the least of the four products of those is
 * left out, so that some 16 bits of it are right. Sums for scales and offsets go over eight columns in f32, then over
 * the group in double: in the block where its groups end, in a launch of their own where they are wider.
 */
#include "device.cuh"
#include "kernels/grid_both.h"
#include "tile.cuh"
#include "weight.cuh"

enum { ROWS = 128, COLS = 128, DEEP = 32, THREADS = 256, LD_A = COLS + 8, LD_B = DEEP + 8, LD_P = COLS / 8 + 2 };

/* f and g, each as the sum of two bf16. */
static __device__ __forceinline__ void in_two(float f, float g, void *hi, void *lo)
{
    const uint16_t a = to_bf16(f), b = to_bf16(g);
    *(uint32_t *)hi = (uint32_t)b << 16 | a;
    *(uint32_t *)lo = (uint32_t)to_bf16(g - from_bf16(b)) << 16 | to_bf16(f - from_bf16(a));
}

/* Eight numbers of a row as they are stored, and what they are. */
typedef struct stored {
    uint4 lo, hi;
} stored;

static __device__ __forceinline__ void fetch(const bl_cu_weight &w, int64_t row, int64_t k, stored *v)
{
    const uint8_t *p = w.codes + row * w.row_bytes;
    if (w.kind != BL_CU_DENSE) {
        if (w.bits == 8) *(uint2 *)&v->lo = *(const uint2 *)(p + k);
        return;
    }
    if (w.bits == 32) {
        v->lo = ((const uint4 *)(p + 4 * k))[0];
        v->hi = ((const uint4 *)(p + 4 * k))[1];
    } else v->lo = *(const uint4 *)(p + 2 * k);
}

static __device__ __forceinline__ void eight_halves(const uint4 &v, bool f16, float f[8])
{
    const uint32_t word[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int j = 0; j < 8; j++) {
        const uint16_t h = (uint16_t)(word[j / 2] >> 16 * (j % 2));
        f[j] = f16 ? from_f16(h) : from_bf16(h);
    }
}

static __device__ __forceinline__ void weights_of(const bl_cu_weight &w, int64_t row, int64_t k, const stored &v,
                                                  float f[8])
{
    if (w.kind == BL_CU_DENSE && w.bits == 32) {
        const uint32_t word[8] = {v.lo.x, v.lo.y, v.lo.z, v.lo.w, v.hi.x, v.hi.y, v.hi.z, v.hi.w};
#pragma unroll
        for (int j = 0; j < 8; j++) f[j] = __uint_as_float(word[j]);
        return;
    }
    if (w.kind == BL_CU_DENSE) {
        eight_halves(v.lo, w.bits == 16, f);
        return;
    }
    const int64_t group = k / w.group;
    const float s = stored_scale(w, row, group);
    const int z = stored_zero(w, row, group);
    if (w.bits == 8) {
#pragma unroll
        for (int j = 0; j < 8; j++) f[j] = (float)((int)((j < 4 ? v.lo.x : v.lo.y) >> 8 * (j % 4) & 255) - z) * s;
        return;
    }
    const uint8_t *p = w.codes + row * w.row_bytes;
#pragma unroll
    for (int j = 0; j < 8; j++) f[j] = (float)(code_at(p, w.bits, k + j) - z) * s;
}

/* Where column c of 32 is in shared memory: so that the four pieces that a thread gets two columns of each have eight
 * that follow one another. */
static __device__ __forceinline__ int place_of(int c) { return c % 8 / 2 * 8 + c / 8 * 2 + c % 2; }

/* sum[2 i + h][2 j + e] += of row r0 + 64 up + 16 i + 8 h + lane / 4 and column c0 + 32 side + 8 (lane % 4) + 2 j + e
 * of b a, warp = 4 up + side. */
static __device__ __forceinline__ void factors(const bl_cu_merged &m, int64_t out, int64_t in, int64_t r0, int64_t c0,
                                               uint16_t sb[2][ROWS][LD_B], float sum[4][4][4])
{
    __shared__ __align__(16) uint16_t sa[2][DEEP][LD_A];
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, up = warp / 4 * 64, side = warp % 4 * 32;
    for (int64_t k0 = 0; k0 < m.rank; k0 += DEEP) {
        __syncthreads();
        for (int i = threadIdx.x; i < DEEP * COLS / 4; i += THREADS) {
            const int k = i / (COLS / 4), c = i % (COLS / 4) * 4;
            const float4 v = k0 + k < m.rank && c0 + c < in ? *(const float4 *)(m.a + (k0 + k) * in + c0 + c)
                                                            : make_float4(0, 0, 0, 0);
            const int at = c / 32 * 32 + place_of(c % 32), next = c / 32 * 32 + place_of(c % 32 + 2);
            in_two(v.x, v.y, &sa[0][k][at], &sa[1][k][at]);
            in_two(v.z, v.w, &sa[0][k][next], &sa[1][k][next]);
        }
        for (int i = threadIdx.x; i < DEEP / 2 * ROWS; i += THREADS) {
            const int k = i % (DEEP / 2) * 2, r = i / (DEEP / 2);
            const float *p = m.b + (r0 + r) * m.rank + k0 + k;
            const bool there = r0 + r < out;
            in_two(there && k0 + k < m.rank ? p[0] : 0, there && k0 + k + 1 < m.rank ? p[1] : 0, &sb[0][r][k],
                   &sb[1][r][k]);
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < DEEP; k += 16) {
            uint32_t a[2][2][4]; /* of hi and lo, columns 0 .. 15 and 16 .. 31 of the warp's */
#pragma unroll
            for (int p = 0; p < 2; p++)
#pragma unroll
                for (int j = 0; j < 2; j++) load4_turned(a[p][j], &sa[p][k + lane % 16][side + 16 * j + lane / 16 * 8]);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                uint32_t b[2][4];
#pragma unroll
                for (int p = 0; p < 2; p++) load4(b[p], &sb[p][up + 16 * i + lane % 16][k + lane / 16 * 8]);
#pragma unroll
                for (int j = 0; j < 4; j++)
#pragma unroll
                    for (int p = 2; p >= 0; p--) { /* the small ones first */
                        const uint32_t *of = a[p == 2][j / 2] + j % 2 * 2;
                        mma(sum[i][j], b[p == 1], of[0], of[1]);
                    }
            }
        }
    }
}

/* x / s to the last bit, r = 1 / s; beyond what is rounded to a code, about that. */
static __device__ __forceinline__ float over(float x, float s, float r)
{
    const float q = x * r, near = fmaf(fmaf(-s, q, x), r, q);
    return fabsf(q) < 1e6f ? fmaf(fmaf(-s, near, x), r, near) : q;
}

/* += a group's sum, damped. */
static __device__ __forceinline__ void onto(const bl_cu_merged &m, int64_t row, int64_t group, int64_t n, double s,
                                            float *to, int64_t ld)
{
    const double damp = m.inside ? 1 : sqrt((double)n * ((1 << (m.bits - 1)) - 1));
    if (to) to[row * ld + group] += (float)(s / damp);
}

/* Of the groups of a block, which end in it. */
static __device__ __forceinline__ void sums_within(const bl_cu_merged &m, int64_t out, int64_t in, int64_t r0,
                                                   int64_t c0, const float2 (*parts)[LD_P])
{
    const int r = threadIdx.x / 2, which = threadIdx.x % 2;
    if (r0 + r >= out) return;
    for (int64_t k = c0; k < c0 + COLS && k < in; k += m.group) {
        const int64_t n = in - k < m.group ? in - k : m.group;
        double s = 0;
        for (int i = (int)(k - c0) / 8; i < (int)(k - c0 + n) / 8; i++) s += which ? parts[r][i].y : parts[r][i].x;
        onto(m, r0 + r, k / m.group, n, s, which ? m.doffset : m.dscale, which ? m.lddo : m.ldds);
    }
}

template <int KIND, bool BACK> __global__ void __launch_bounds__(THREADS, 2) merged(bl_cu_weight w, bl_cu_merged m)
{
    __shared__ __align__(16) uint16_t sb[2][ROWS][LD_B];
    float2(*parts)[LD_P] = (float2(*)[LD_P])sb; /* when the factors are done */
    static_assert(sizeof(float2) * ROWS * LD_P <= sizeof sb, "parts are in the place of a factor");
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, r = warp / 4 * 64 + lane / 4,
              c = warp % 4 * 32 + lane % 4 * 8;
    const int64_t r0 = (int64_t)blockIdx.y * ROWS, c0 = (int64_t)blockIdx.x * COLS, k = c0 + c, first = r0 + r;
    enum { AHEAD = BACK ? 2 : 4 }; /* rows that are under way */
    float sum[4][4][4] = {{{0}}};
    factors(m, w.out, w.in, r0, c0, sb, sum);
    if (BACK) __syncthreads();
    const int64_t group = k / m.group;
#pragma unroll
    for (int some = 0; some < 8; some += AHEAD) {
        stored v[AHEAD];
        uint4 back[AHEAD];
        float scale[AHEAD], offset[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            const int64_t row = first + 8 * (some + i);
            if (row >= w.out || k >= w.in) continue;
            fetch(w, row, k, &v[i]);
            if (BACK) back[i] = *(const uint4 *)(m.dy + row * w.in + k);
            scale[i] = m.scale[row * m.lds + group];
            offset[i] = m.offset ? m.offset[row * m.ldo + group] : 0;
        }
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            const int64_t row = first + 8 * (some + i);
            if (row >= w.out || k >= w.in) continue;
            const bl_grid_group g = bl_grid_of((bl_grid_kind)KIND, m.bits, m.half, scale[i], offset[i]);
            const float once = 1 / g.s;
            float f[8], d[8], s = 0, o = 0;
            weights_of(w, row, k, v[i], f);
            if (BACK) eight_halves(back[i], false, d);
#pragma unroll
            for (int j = 0; j < 8; j++) {
                const float x = fmaf(m.by, sum[(some + i) / 2][j / 2][(some + i) % 2 * 2 + j % 2], f[j]),
                            q = over(x, g.s, once);
                if (!BACK) {
                    f[j] = bl_grid_value_of((bl_grid_kind)KIND, &g, x, q);
                    continue;
                }
                const bl_grid_slopes to = bl_grid_slopes_of((bl_grid_kind)KIND, &g, x, q);
                f[j] = m.alpha * (to.w * d[j]);
                s = fmaf(d[j], to.s, s);
                o = fmaf(d[j], to.o, o);
            }
            if (!BACK && m.f32) {
                float4 *y = (float4 *)((float *)m.y + row * w.in + k);
                y[0] = make_float4(f[0], f[1], f[2], f[3]);
                y[1] = make_float4(f[4], f[5], f[6], f[7]);
                continue;
            }
            uint32_t word[4];
#pragma unroll
            for (int j = 0; j < 4; j++) word[j] = (uint32_t)to_bf16(f[2 * j + 1]) << 16 | to_bf16(f[2 * j]);
            *(uint4 *)((uint16_t *)m.y + row * w.in + k) = make_uint4(word[0], word[1], word[2], word[3]);
            if (BACK && m.parts) ((float2 *)m.parts)[row * (w.in / 8) + k / 8] = make_float2(s, o);
            else if (BACK) parts[r + 8 * (some + i)][c / 8] = make_float2(s, o);
        }
    }
    if (!BACK || m.parts) return;
    __syncthreads();
    sums_within(m, w.out, w.in, r0, c0, parts);
}

/* Of groups whose parts several blocks wrote: a warp a group. */
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
    onto(m, row, group, n, s, m.dscale, m.ldds);
    onto(m, row, group, n, o, m.doffset, m.lddo);
}

bool bl_cu_merged_apart(int64_t group) { return COLS % group; }

void bl_cu_merged_grid(bl_stream s, const bl_cu_weight *w, const bl_cu_merged *m)
{
    const dim3 tiles((unsigned)((w->in + COLS - 1) / COLS), (unsigned)((w->out + ROWS - 1) / ROWS));
    const int64_t groups = (w->in + m->group - 1) / m->group;
    if (!w->out || !w->in) return;
    if (m->inside && m->dy) merged<BL_GRID_INSIDE, true><<<tiles, THREADS, 0, s>>>(*w, *m);
    else if (m->inside) merged<BL_GRID_INSIDE, false><<<tiles, THREADS, 0, s>>>(*w, *m);
    else if (m->dy) merged<BL_GRID_OFFSET, true><<<tiles, THREADS, 0, s>>>(*w, *m);
    else merged<BL_GRID_OFFSET, false><<<tiles, THREADS, 0, s>>>(*w, *m);
    if (m->parts) sums_of_groups<<<(unsigned)((w->out * groups + 7) / 8), 256, 0, s>>>(*m, w->out, w->in, groups);
}
