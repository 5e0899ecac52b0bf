/* train.cu - dropout, optimizer steps, learned grids, element by element. Compiled without contraction: the bits
 * of plain C, but for sums in double, which go by threads. */
#include "device.cuh"
#include "kernels/grid_both.h"
#include "weight.cuh"

static __device__ uint32_t philox_word(uint64_t n, uint32_t s0, uint32_t s1, uint32_t k0, uint32_t k1)
{
    uint32_t c[4] = {(uint32_t)(n / 4), (uint32_t)(n / 4 >> 32), s0, s1};
#pragma unroll
    for (int round = 0; round < 10; round++) {
        uint64_t a = 0xd2511f53ull * c[0], b = 0xcd9e8d57ull * c[2];
        c[0] = (uint32_t)(b >> 32) ^ c[1] ^ k0;
        c[1] = (uint32_t)b;
        c[2] = (uint32_t)(a >> 32) ^ c[3] ^ k1;
        c[3] = (uint32_t)a;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    return n % 4 == 0 ? c[0] : n % 4 == 1 ? c[1] : n % 4 == 2 ? c[2] : c[3];
}

__global__ void drop_rows(const uint16_t *x, int64_t ldx, uint16_t *y, int64_t ldy, int64_t rows, int64_t width,
                          int64_t row0, double limit, float keep, uint32_t s0, uint32_t s1, uint32_t k0, uint32_t k1,
                          bool accumulate)
{
    EACH(i, rows * width)
    {
        uint64_t n = (uint64_t)row0 * (uint64_t)width + (uint64_t)i;
        int64_t r = i / width, k = i % width;
        float v = philox_word(n, s0, s1, k0, k1) >= limit ? from_bf16(x[r * ldx + k]) * keep : 0;
        put_sum(y, false, r * ldy + k, v, accumulate);
    }
}
void bl_cu_dropout(bl_stream s, const uint16_t *x, int64_t ldx, uint16_t *y, int64_t ldy, int64_t rows, int64_t width,
                   int64_t row0, double p, const uint32_t key[2], const uint32_t stream[2], bool accumulate)
{
    if (rows * width)
        drop_rows<<<blocks_for(rows * width, 256), 256, 0, s>>>(x, ldx, y, ldy, rows, width, row0, p * 0x1p32,
                                                                (float)(1 / (1 - p)), stream[0], stream[1], key[0],
                                                                key[1], accumulate);
}

__global__ void round_random(const float *x, bl_cu_weight w, uint8_t *codes, uint32_t s0, uint32_t s1, uint32_t k0,
                             uint32_t k1)
{
    EACH(i, w.out * w.in)
    {
        const int64_t row = i / w.in, group = i % w.in / w.group;
        const float v = x[i] / stored_scale(w, row, group), low = floorf(v);
        const float chance = (float)philox_word((uint64_t)i, s0, s1, k0, k1) * 0x1p-32f;
        const float code = low + (float)(chance < v - low) + (float)stored_zero(w, row, group);
        codes[i] = (uint8_t)(code > 0 ? code < 255 ? code : 255 : 0);
    }
}
void bl_cu_round_random(bl_stream s, const float *x, const bl_cu_weight *w, uint8_t *codes, const uint32_t key[2],
                        const uint32_t stream[2])
{
    const int64_t n = w->out * w->in;
    if (n) round_random<<<blocks_for(n, 256), 256, 0, s>>>(x, *w, codes, stream[0], stream[1], key[0], key[1]);
}

/* The list that a block has a piece of. */
template <typename T> static __device__ __forceinline__ int list_of(const T *of, int count)
{
    int lo = 0, hi = count - 1;
    while (lo < hi) {
        const int mid = (lo + hi + 1) / 2;
        if (of[mid].first <= blockIdx.x) lo = mid;
        else hi = mid - 1;
    }
    return lo;
}

static __device__ __forceinline__ void adamw(const bl_cu_adamw_all &a, float shrink, float step, float *p, float grad,
                                             float *m, float *v)
{
    float g = grad * a.by;
    *m = a.b1 * *m + a.new1 * g;
    *v = a.b2 * *v + a.new2 * (g * g);
    *p = *p * shrink - step * (*m / (sqrtf(*v) / a.root + a.eps));
}

__global__ void __launch_bounds__(256) adamw_steps(const __grid_constant__ bl_cu_adamw_all a)
{
    const int k = list_of(a.of, a.count);
    const int64_t from = (int64_t)(blockIdx.x - a.of[k].first) * BL_CU_ADAMW_PIECE, left = a.of[k].n - from;
    const int n = left < BL_CU_ADAMW_PIECE ? (int)left : BL_CU_ADAMW_PIECE;
    float *p = a.of[k].p + from, *grad = a.of[k].grad + from, *m = a.of[k].m + from, *v = a.of[k].v + from;
    const float shrink = a.of[k].shrink, step = a.of[k].step;
    const bool whole = ((uintptr_t)p | (uintptr_t)grad | (uintptr_t)m | (uintptr_t)v) % 16 == 0;
    for (int i = 4 * threadIdx.x; whole && i + 4 <= n; i += 4 * blockDim.x) {
        float4 p4 = *(float4 *)(p + i), m4 = *(float4 *)(m + i), v4 = *(float4 *)(v + i);
        const float4 g4 = *(const float4 *)(grad + i);
        adamw(a, shrink, step, &p4.x, g4.x, &m4.x, &v4.x);
        adamw(a, shrink, step, &p4.y, g4.y, &m4.y, &v4.y);
        adamw(a, shrink, step, &p4.z, g4.z, &m4.z, &v4.z);
        adamw(a, shrink, step, &p4.w, g4.w, &m4.w, &v4.w);
        *(float4 *)(p + i) = p4;
        *(float4 *)(m + i) = m4;
        *(float4 *)(v + i) = v4;
        if (a.clear) *(float4 *)(grad + i) = make_float4(0, 0, 0, 0);
    }
    for (int j = whole ? n / 4 * 4 + threadIdx.x : threadIdx.x; j < n; j += blockDim.x) {
        adamw(a, shrink, step, p + j, grad[j], m + j, v + j);
        if (a.clear) grad[j] = 0;
    }
}
void bl_cu_adamw_steps(bl_stream s, const bl_cu_adamw_all *a)
{
    if (a->blocks) adamw_steps<<<a->blocks, 256, 0, s>>>(*a);
}

/* ---- sums of squares ---- */
__global__ void __launch_bounds__(256) square_parts(const __grid_constant__ bl_cu_sums a)
{
    __shared__ double tmp[33];
    const int k = list_of(a.of, a.count);
    const int64_t from = (int64_t)(blockIdx.x - a.of[k].first) * BL_CU_SUMS_PIECE, left = a.of[k].n - from;
    const int n = left < BL_CU_SUMS_PIECE ? (int)left : BL_CU_SUMS_PIECE;
    const float *x = a.of[k].x + from;
    double sum = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += (double)x[i] * x[i];
    sum = block_sum(sum, tmp);
    if (threadIdx.x == 0) a.parts[blockIdx.x] = sum;
}
__global__ void __launch_bounds__(256) square_sums(const __grid_constant__ bl_cu_sums a)
{
    __shared__ double tmp[33];
    const unsigned k = blockIdx.x, end = k + 1 < (unsigned)a.count ? a.of[k + 1].first : a.blocks;
    double sum = 0;
    for (unsigned i = a.of[k].first + threadIdx.x; i < end; i += blockDim.x) sum += a.parts[i];
    sum = block_sum(sum, tmp);
    if (threadIdx.x == 0) a.to[k] = sum;
}
void bl_cu_sq_sums(bl_stream s, const bl_cu_sums *a)
{
    if (a->blocks) square_parts<<<a->blocks, 256, 0, s>>>(*a);
    if (a->count) square_sums<<<(unsigned)a->count, 256, 0, s>>>(*a);
}

/* ---- moments of 8 bits ---- */
/* The place of the nearest value, the lower one of two. */
static __device__ int nearest(const float *table, float x)
{
    int lo = 0, hi = 255;
    while (hi - lo > 1) {
        int mid = (lo + hi) / 2;
        if (table[mid] <= x) lo = mid;
        else hi = mid;
    }
    return x - table[lo] <= table[hi] - x ? lo : hi;
}

enum { MOMENTS = 256 };

/* Some blocks of moments in turn, a thread each of one. */
__global__ void __launch_bounds__(MOMENTS) adamw8_steps(const __grid_constant__ bl_cu_adamw8 a)
{
    __shared__ float tm[MOMENTS], tv[MOMENTS], tmp[33];
    const int k = list_of(a.of, a.count);
    const int64_t from = (int64_t)(blockIdx.x - a.of[k].first) * BL_CU_ADAMW8_PIECE, n = a.of[k].n,
                  end = n - from < BL_CU_ADAMW8_PIECE ? n : from + BL_CU_ADAMW8_PIECE;
    float *p = a.of[k].p, *grad = a.of[k].grad, *m_max = a.of[k].m_max, *v_max = a.of[k].v_max;
    uint8_t *m = a.of[k].m, *v = a.of[k].v;
    const float shrink = a.of[k].shrink, step = a.of[k].step;
    tm[threadIdx.x] = a.m_table[threadIdx.x];
    tv[threadIdx.x] = a.v_table[threadIdx.x];
    for (int64_t at = from; at < end; at += MOMENTS) {
        const int64_t i = at + threadIdx.x, block = at / MOMENTS;
        const float m_was = m_max[block], v_was = v_max[block];
        float mi = 0, vi = 0;
        __syncthreads(); /* tables are there; everybody has what was the largest */
        if (i < n) {
            float g = grad[i] * a.by;
            mi = a.b1 * (tm[m[i]] * m_was) + a.new1 * g;
            vi = a.b2 * (tv[v[i]] * v_was) + a.new2 * g * g;
            p[i] = (p[i] - step * (mi / (sqrtf(vi) / a.root + a.eps))) * shrink;
            if (a.clear) grad[i] = 0;
        }
        float m_top = block_max(fabsf(mi), tmp), v_top = block_max(vi, tmp);
        if (i < n) {
            float x = m_top > 0 ? mi / m_top : 0;
            int c = nearest(tm, x);
            if (signbit(tm[c]) != signbit(x)) c += x > 0 ? 1 : -1; /* 0 has the sign of what is above it */
            m[i] = (uint8_t)(c < 0 ? 0 : c > 255 ? 255 : c);
            v[i] = (uint8_t)nearest(tv, v_top > 0 ? vi / v_top : 0);
        }
        if (threadIdx.x == 0) {
            m_max[block] = m_top;
            v_max[block] = v_top;
        }
    }
}
void bl_cu_adamw8_steps(bl_stream s, const bl_cu_adamw8 *a)
{
    if (a->blocks) adamw8_steps<<<a->blocks, MOMENTS, 0, s>>>(*a);
}

/* Numbers of group k of row r, by a warp: of kinds that look at its ends, those too. */
template <int KIND>
static __device__ bl_grid_group group_of(const bl_cu_grid_args &a, int64_t r, int64_t k, int64_t i0, int64_t end,
                                         bl_grid_ends *ends)
{
    const float scale = a.scale ? a.scale[r * a.lds + k] : 0, offset = a.offset ? a.offset[r * a.ldo + k] : 0;
    if (!bl_grid_sees_ends((bl_grid_kind)KIND)) return bl_grid_of((bl_grid_kind)KIND, a.bits, a.half, scale, offset);
    float lo = 0, hi = 0;
    for (int64_t i = i0 + threadIdx.x % WARP; i < end; i += WARP) {
        lo = fminf(lo, a.w[r * a.ldw + i]);
        hi = fmaxf(hi, a.w[r * a.ldw + i]);
    }
    ends->lo = -warp_max(-lo);
    ends->hi = warp_max(hi);
    return bl_grid_between((bl_grid_kind)KIND, a.bits, a.half, scale, offset, ends);
}

/* A warp a group. */
template <int KIND> __global__ void grid_values_of_groups(bl_cu_grid_args a)
{
    const int64_t at = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, r = at / a.groups,
                  k = at % a.groups;
    if (r >= a.rows) return;
    const int64_t i0 = k * a.group, end = i0 + a.group < a.in ? i0 + a.group : a.in;
    bl_grid_ends ends;
    const bl_grid_group g = group_of<KIND>(a, r, k, i0, end, &ends);
    for (int64_t i = i0 + threadIdx.x % WARP; i < end; i += WARP)
        a.y[r * a.ldy + i] = bl_grid_value((bl_grid_kind)KIND, &g, a.w[r * a.ldw + i]);
}

/* Four neighbours a thread, some rows in turn: rows and groups of whole fours, which are aligned. */
enum { FOURS_ROWS = 4 };
template <int KIND> __global__ void grid_values_of_fours(bl_cu_grid_args a)
{
    const int64_t k = 4 * ((int64_t)blockIdx.x * blockDim.x + threadIdx.x), group = k / a.group;
    if (k >= a.in) return;
    for (int64_t r = blockIdx.y; r < a.rows; r += gridDim.y) {
        const bl_grid_group g = bl_grid_of((bl_grid_kind)KIND, a.bits, a.half, a.scale[r * a.lds + group],
                                           a.offset ? a.offset[r * a.ldo + group] : 0);
        const float4 w = *(const float4 *)(a.w + r * a.ldw + k);
        *(float4 *)(a.y + r * a.ldy + k) = make_float4(
            bl_grid_value((bl_grid_kind)KIND, &g, w.x), bl_grid_value((bl_grid_kind)KIND, &g, w.y),
            bl_grid_value((bl_grid_kind)KIND, &g, w.z), bl_grid_value((bl_grid_kind)KIND, &g, w.w));
    }
}

template <int KIND> __global__ void grid_values(bl_cu_grid_args a)
{
    EACH(i, a.rows * a.in)
    {
        const int64_t r = i / a.in, k = i % a.in, group = k / a.group;
        const bl_grid_group g = bl_grid_of((bl_grid_kind)KIND, a.bits, a.half, a.scale[r * a.lds + group],
                                           a.offset ? a.offset[r * a.ldo + group] : 0);
        a.y[r * a.ldy + k] = bl_grid_value((bl_grid_kind)KIND, &g, a.w[r * a.ldw + k]);
    }
}

/* Of one weight: what goes back to it; onto the sums what goes to the scale and the offset. */
template <int KIND>
static __device__ __forceinline__ float back_of(const bl_grid_group *g, float w, float d, float by, double *s,
                                                double *o)
{
    const bl_grid_slopes to = bl_grid_slopes_at((bl_grid_kind)KIND, g, w);
    *s += (double)d * (double)to.s;
    *o += (double)d * (double)to.o;
    return by * (to.w * d);
}

/* A warp a group. */
template <int KIND> __global__ void grid_back(bl_cu_grid_args a, bool fours)
{
    const int64_t at = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, r = at / a.groups,
                  k = at % a.groups;
    const int lane = threadIdx.x % WARP;
    if (r >= a.rows) return;
    const int64_t i0 = k * a.group, end = i0 + a.group < a.in ? i0 + a.group : a.in;
    bl_grid_ends ends = {0, 0, 0, 0, 0, 0};
    const bl_grid_group g = group_of<KIND>(a, r, k, i0, end, &ends);
    const bool instead = a.y == a.dy;
    double s = 0, o = 0;
    const float *w = a.w + r * a.ldw, *dy = a.dy + r * a.lddy;
    float *dw = a.y + r * a.ldy;
    if (fours)
#pragma unroll 2
        for (int64_t i = i0 + 4 * lane; i < end; i += 4 * WARP) {
            const float4 x = *(const float4 *)(w + i), d = *(const float4 *)(dy + i);
            float4 to = instead ? make_float4(0, 0, 0, 0) : *(const float4 *)(dw + i);
            to.x += back_of<KIND>(&g, x.x, d.x, a.by, &s, &o);
            to.y += back_of<KIND>(&g, x.y, d.y, a.by, &s, &o);
            to.z += back_of<KIND>(&g, x.z, d.z, a.by, &s, &o);
            to.w += back_of<KIND>(&g, x.w, d.w, a.by, &s, &o);
            *(float4 *)(dw + i) = to;
        }
    else
        for (int64_t i = i0 + lane; i < end; i += WARP) {
            const float back = back_of<KIND>(&g, w[i], dy[i], a.by, &s, &o);
            dw[i] = instead ? back : dw[i] + back;
        }
    s = warp_sum(s);
    o = warp_sum(o);
    if (KIND == BL_GRID_CLIP) {
        double at_lo = 0, at_hi = 0;
        for (int64_t i = i0 + lane; i < end; i += WARP) {
            const float w = a.w[r * a.ldw + i];
            at_lo += w < 0 && w == ends.lo;
            at_hi += w > 0 && w == ends.hi;
        }
        at_lo = warp_sum(at_lo);
        at_hi = warp_sum(at_hi);
        for (int64_t i = i0 + lane; i < end; i += WARP) {
            const float w = a.w[r * a.ldw + i];
            if (w < 0 && w == ends.lo) a.y[r * a.ldy + i] += a.by * (float)(s * ends.to_lo / at_lo);
            if (w > 0 && w == ends.hi) a.y[r * a.ldy + i] += a.by * (float)(s * ends.to_hi / at_hi);
        }
        o = s * ends.to_offset;
        s = s * ends.to_scale;
    }
    if (lane != 0) return;
    const double damp = KIND == BL_GRID_STEP || KIND == BL_GRID_OFFSET
                            ? sqrt((double)(end - i0) * ((1 << (a.bits - 1)) - 1))
                            : 1;
    if (a.dscale) a.dscale[r * a.ldds + k] += (float)(s / damp);
    if (a.doffset) a.doffset[r * a.lddo + k] += (float)(o / damp);
}

static bool has_fours(const float *p, int64_t ld) { return ld % 4 == 0 && (uintptr_t)p % 16 == 0; }

template <int KIND> static void grid_of(bl_stream s, const bl_cu_grid_args *a, bool fours)
{
    const int64_t some = (a->rows + FOURS_ROWS - 1) / FOURS_ROWS;
    if (fours)
        grid_values_of_fours<KIND>
            <<<dim3((unsigned)((a->in / 4 + 255) / 256), (unsigned)(some < MOST_BLOCKS ? some : MOST_BLOCKS)), 256, 0,
               s>>>(*a);
    else grid_values<KIND><<<blocks_for(a->rows * a->in, 256), 256, 0, s>>>(*a);
}

/* Rows and groups are whole fours; `back`: the gradients too. */
static bool all_fours(const bl_cu_grid_args *a, bool back)
{
    return a->in % 4 == 0 && (a->group % 4 == 0 || a->group >= a->in) && has_fours(a->w, a->ldw) &&
           has_fours(a->y, a->ldy) && (!back || has_fours(a->dy, a->lddy));
}

void bl_cu_grid(bl_stream s, const bl_cu_grid_args *a)
{
    const unsigned warps = (unsigned)((a->rows * a->groups + 7) / 8);
    const bool fours = all_fours(a, false);
    if (!(a->rows * a->in)) return;
    switch (a->kind) {
    case BL_GRID_STEP: grid_of<BL_GRID_STEP>(s, a, fours); break;
    case BL_GRID_AFFINE: grid_of<BL_GRID_AFFINE>(s, a, fours); break;
    case BL_GRID_OFFSET: grid_of<BL_GRID_OFFSET>(s, a, fours); break;
    case BL_GRID_INSIDE: grid_of<BL_GRID_INSIDE>(s, a, fours); break;
    case BL_GRID_CLIP: grid_values_of_groups<BL_GRID_CLIP><<<warps, 256, 0, s>>>(*a); break;
    case BL_GRID_LARGEST: grid_values_of_groups<BL_GRID_LARGEST><<<warps, 256, 0, s>>>(*a); break;
    default: grid_of<BL_GRID_PLANES>(s, a, fours); break;
    }
}

void bl_cu_grid_back(bl_stream s, const bl_cu_grid_args *a)
{
    const unsigned n = (unsigned)((a->rows * a->groups + 7) / 8);
    const bool fours = all_fours(a, true);
    if (!n) return;
    switch (a->kind) {
    case BL_GRID_STEP: grid_back<BL_GRID_STEP><<<n, 256, 0, s>>>(*a, fours); break;
    case BL_GRID_AFFINE: grid_back<BL_GRID_AFFINE><<<n, 256, 0, s>>>(*a, fours); break;
    case BL_GRID_OFFSET: grid_back<BL_GRID_OFFSET><<<n, 256, 0, s>>>(*a, fours); break;
    case BL_GRID_INSIDE: grid_back<BL_GRID_INSIDE><<<n, 256, 0, s>>>(*a, fours); break;
    case BL_GRID_CLIP: grid_back<BL_GRID_CLIP><<<n, 256, 0, s>>>(*a, fours); break;
    case BL_GRID_LARGEST: grid_back<BL_GRID_LARGEST><<<n, 256, 0, s>>>(*a, fours); break;
    default: grid_back<BL_GRID_PLANES><<<n, 256, 0, s>>>(*a, fours); break;
    }
}

/* A block a group, a thread a scale: every one reads the group a piece at a time, in order, as plain C does. */
enum { TRIES = 100, TRIERS = 128, TRY_PIECE = 2048 };
__global__ void __launch_bounds__(TRIERS) step_search(float *w, int64_t ldw, float *scale, int64_t lds, int64_t in,
                                                      int64_t group, int64_t groups, float high, bool within)
{
    __shared__ float piece[TRY_PIECE], tmp[33], sums[TRIERS];
    __shared__ int best;
    const int64_t row = blockIdx.x / groups, k = blockIdx.x % groups, i0 = k * group,
                  n = i0 + group < in ? group : in - i0;
    float *x = w + row * ldw + i0, most = 0, sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += TRIERS) most = fmaxf(most, fabsf(x[i]));
    most = block_max(most, tmp);
    const float share = (float)(threadIdx.x + 1) / TRIES, s = most * share / high;
    const bl_grid_group g = {s, 0, -high - 1, high};
    for (int64_t at = 0; at < n && most > 0; at += TRY_PIECE) {
        const int m = (int)(n - at < TRY_PIECE ? n - at : TRY_PIECE);
        __syncthreads();
        for (int i = threadIdx.x; i < m; i += TRIERS) piece[i] = x[at + i];
        __syncthreads();
        for (int i = 0; i < m && threadIdx.x < TRIES; i++) {
            const float d = bl_grid_within(bl_grid_round(piece[i] / s), &g) * s - piece[i], dd = d * d;
            sum += dd * dd;
        }
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        best = -1;
        float least = CUDART_INF_F;
        for (int t = 0; t < TRIES && most > 0; t++)
            if (sums[t] < least) {
                least = sums[t];
                best = t;
            }
    }
    __syncthreads();
    const float step = best < 0 ? 1 : most * ((float)(best + 1) / TRIES) / high;
    if (threadIdx.x == 0) scale[row * lds + k] = step;
    for (int64_t i = threadIdx.x; i < n; i += TRIERS) {
        const float v = x[i] / step;
        x[i] = within ? bl_grid_within(v, &g) : v;
    }
}
void bl_cu_step_search(bl_stream s, float *w, int64_t ldw, float *scale, int64_t lds, int64_t rows, int64_t in,
                       int64_t group, int bits, bool within)
{
    const int64_t groups = (in + group - 1) / group;
    if (rows * groups)
        step_search<<<(unsigned)(rows * groups), TRIERS, 0, s>>>(w, ldw, scale, lds, in, group, groups,
                                                                 (float)((1 << (bits - 1)) - 1), within);
}
