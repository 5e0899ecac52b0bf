/* gemv.cu - y = x wt for at most 16 rows of x: weights are decoded once, in registers, as f32 and exactly, multiplied
 * with bf16 x and summed in f32.
 *
 * A warp does one output (or, for short rows, a part of the lanes would idle: they do). A lane takes 32 codes at a
 * time: b words of 32 bits; their scale is one, so groups are multiples of 32. Table formats look codes up in shared
 * memory.
 */
#include "weight.cuh"

enum { GEMV_WARPS = 4, CHUNK = 32, TABLE_CODES = 256 };

bool bl_cu_gemv_takes(const bl_cu_weight *w, int64_t rows)
{
    if (rows > BL_CU_GEMV_ROWS || w->in % 8) return false;
    if (w->kind == BL_CU_DENSE) return w->bits == 15;
    return (w->kind == BL_CU_INT || w->kind == BL_CU_TABLE) && w->in % CHUNK == 0 &&
           (w->group % CHUNK == 0 || w->group >= w->in);
}

static __device__ __forceinline__ void finish(float acc, int m, int64_t o, void *y, bool f32, int64_t ldy,
                                              bool accumulate)
{
    acc = warp_sum(acc);
    if (threadIdx.x % WARP) return;
    if (f32) {
        float *p = (float *)y + m * ldy + o;
        *p = accumulate ? *p + acc : acc;
    } else {
        uint16_t *p = (uint16_t *)y + m * ldy + o;
        *p = to_bf16(accumulate ? from_bf16(*p) + acc : acc);
    }
}

/* acc[m] += sum over eight weights times eight x of each row */
template <int M>
static __device__ __forceinline__ void eight(float (&acc)[M], const float w[8], const uint16_t *x, int64_t ldx,
                                             int rows)
{
#pragma unroll
    for (int m = 0; m < M; m++) {
        if (m >= rows) break;
        uint4 v = *(const uint4 *)(x + m * ldx);
        const uint32_t *p = (const uint32_t *)&v;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            acc[m] = fmaf(w[2 * j], __uint_as_float(p[j] << 16), acc[m]);
            acc[m] = fmaf(w[2 * j + 1], __uint_as_float(p[j] & 0xffff0000u), acc[m]);
        }
    }
}

template <int BITS, bool TABLE, int M>
__global__ void __launch_bounds__(GEMV_WARPS *WARP) gemv_codes(bl_cu_weight w, const uint16_t *x, int64_t ldx, int rows,
                                                               void *y, bool f32, int64_t ldy, bool accumulate)
{
    __shared__ float table[TABLE ? 1 << BITS : 1];
    int lane = threadIdx.x % WARP;
    int64_t o = (int64_t)blockIdx.x * GEMV_WARPS + threadIdx.x / WARP;
    if (TABLE) {
        for (int i = threadIdx.x; i < 1 << BITS; i += GEMV_WARPS * WARP) table[i] = w.table[i];
        __syncthreads();
    }
    if (o >= w.out) return;
    const uint32_t *codes = (const uint32_t *)(w.codes + o * w.row_bytes);
    float acc[M];
#pragma unroll
    for (int m = 0; m < M; m++) acc[m] = 0;
    for (int64_t k = lane * CHUNK; k < w.in; k += WARP * CHUNK) {
        uint32_t v[BITS];
#pragma unroll
        for (int j = 0; j < BITS; j++) v[j] = codes[k / CHUNK * BITS + j];
        int64_t group = k / w.group;
        float s = stored_scale(w, o, group), z = 0;
        if (!TABLE && BITS > 1) z = (float)stored_zero(w, o, group);
#pragma unroll
        for (int i = 0; i < CHUNK; i += 8) {
            float f[8];
#pragma unroll
            for (int j = 0; j < 8; j++) {
                const int bit = (i + j) * BITS, at = bit % 32, word = bit / 32;
                uint32_t q = v[word] >> at;
                if (at + BITS > 32) q |= v[word + 1 < BITS ? word + 1 : word] << (32 - at);
                q &= (1u << BITS) - 1;
                f[j] = (TABLE ? table[q] : BITS == 1 ? (float)(int)(2 * q) - 1 : (float)q - z) * s;
            }
            eight(acc, f, x + k + i, ldx, rows);
        }
    }
#pragma unroll
    for (int m = 0; m < M; m++)
        if (m < rows) finish(acc[m], m, o, y, f32, ldy, accumulate);
}

template <int M>
__global__ void __launch_bounds__(GEMV_WARPS *WARP)
    gemv_bf16(bl_cu_weight w, const uint16_t *x, int64_t ldx, int rows, void *y, bool f32, int64_t ldy, bool accumulate)
{
    int lane = threadIdx.x % WARP;
    int64_t o = (int64_t)blockIdx.x * GEMV_WARPS + threadIdx.x / WARP;
    if (o >= w.out) return;
    const uint16_t *row = (const uint16_t *)w.codes + o * w.in;
    float acc[M];
#pragma unroll
    for (int m = 0; m < M; m++) acc[m] = 0;
#pragma unroll 2
    for (int64_t k = lane * 8; k < w.in; k += WARP * 8) {
        uint4 v = *(const uint4 *)(row + k);
        const uint32_t *p = (const uint32_t *)&v;
        float f[8];
#pragma unroll
        for (int j = 0; j < 4; j++) {
            f[2 * j] = __uint_as_float(p[j] << 16);
            f[2 * j + 1] = __uint_as_float(p[j] & 0xffff0000u);
        }
        eight(acc, f, x + k, ldx, rows);
    }
#pragma unroll
    for (int m = 0; m < M; m++)
        if (m < rows) finish(acc[m], m, o, y, f32, ldy, accumulate);
}

template <int M>
static void launch(bl_stream s, const bl_cu_weight *w, const uint16_t *x, int64_t ldx, int rows, void *y, bool f32,
                   int64_t ldy, bool accumulate)
{
    unsigned grid = (unsigned)((w->out + GEMV_WARPS - 1) / GEMV_WARPS);
#define CODES(bits, table)                                                                                             \
    gemv_codes<bits, table, M><<<grid, GEMV_WARPS * WARP, 0, s>>>(*w, x, ldx, rows, y, f32, ldy, accumulate)
    if (w->kind == BL_CU_DENSE) {
        gemv_bf16<M><<<grid, GEMV_WARPS * WARP, 0, s>>>(*w, x, ldx, rows, y, f32, ldy, accumulate);
        return;
    }
    if (w->kind == BL_CU_TABLE) {
        switch (w->bits) {
        case 2: CODES(2, true); return;
        case 3: CODES(3, true); return;
        case 4: CODES(4, true); return;
        default: CODES(8, true); return;
        }
    }
    switch (w->bits) {
    case 1: CODES(1, false); return;
    case 2: CODES(2, false); return;
    case 3: CODES(3, false); return;
    case 4: CODES(4, false); return;
    case 5: CODES(5, false); return;
    case 6: CODES(6, false); return;
    case 7: CODES(7, false); return;
    default: CODES(8, false); return;
    }
#undef CODES
}

void bl_cu_gemv(bl_stream s, const bl_cu_weight *w, const uint16_t *x, int64_t ldx, int64_t rows, void *y, bool f32,
                int64_t ldy, bool accumulate)
{
    int m = (int)rows;
    if (m < 1) return;
    if (m == 1) launch<1>(s, w, x, ldx, m, y, f32, ldy, accumulate);
    else if (m <= 4) launch<4>(s, w, x, ldx, m, y, f32, ldy, accumulate);
    else launch<16>(s, w, x, ldx, m, y, f32, ldy, accumulate);
}
