/* gemv.cu - y = w x for one row of x: a warp an output, weights decoded in registers, as f32 and exactly, sums in f32.
 *
 * A lane takes 32 codes at a time, b words of 32 bits; their scale is one, so groups are multiples of 32. Table formats
 * look codes up in shared memory. bf16 weights come eight at a time.
 */
#include "weight.cuh"

enum { GEMV_WARPS = 4, CHUNK = 32 };

bool bl_cu_gemv_takes(const bl_cu_weight *w)
{
    if (w->kind == BL_CU_DENSE) return w->bits == 15 && w->in % 8 == 0;
    return (w->kind == BL_CU_INT || w->kind == BL_CU_TABLE) && w->in % CHUNK == 0 &&
           (w->group % CHUNK == 0 || w->group >= w->in) && w->zero_type <= 2;
}

static __device__ __forceinline__ void finish(float acc, int64_t o, void *y, bool f32, bool accumulate)
{
    acc = warp_sum(acc);
    if (threadIdx.x % WARP) return;
    put_sum(y, f32, o, acc, accumulate);
}

/* acc += sum over eight weights times eight x */
static __device__ __forceinline__ float eight(float acc, const float w[8], const uint16_t *x)
{
    uint4 v = *(const uint4 *)x;
    const uint32_t *p = (const uint32_t *)&v;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        acc = fmaf(w[2 * j], __uint_as_float(p[j] << 16), acc);
        acc = fmaf(w[2 * j + 1], __uint_as_float(p[j] & 0xffff0000u), acc);
    }
    return acc;
}

template <int BITS, bool TABLE>
__global__ void __launch_bounds__(GEMV_WARPS *WARP)
    gemv_codes(bl_cu_weight w, const uint16_t *x, void *y, bool f32, bool accumulate)
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
    float acc = 0;
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
                uint32_t q = code_of_run<BITS>(v, i + j);
                f[j] = (TABLE ? table[q] : BITS == 1 ? (float)((int)(2 * q) - 1) : (float)q - z) * s;
            }
            acc = eight(acc, f, x + k + i);
        }
    }
    finish(acc, o, y, f32, accumulate);
}

__global__ void __launch_bounds__(GEMV_WARPS *WARP)
    gemv_bf16(bl_cu_weight w, const uint16_t *x, void *y, bool f32, bool accumulate)
{
    int lane = threadIdx.x % WARP;
    int64_t o = (int64_t)blockIdx.x * GEMV_WARPS + threadIdx.x / WARP;
    if (o >= w.out) return;
    const uint16_t *row = (const uint16_t *)w.codes + o * w.in;
    float acc = 0;
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
        acc = eight(acc, f, x + k);
    }
    finish(acc, o, y, f32, accumulate);
}

void bl_cu_gemv(bl_stream s, const bl_cu_weight *w, const uint16_t *x, void *y, bool f32, bool accumulate)
{
    unsigned grid = (unsigned)((w->out + GEMV_WARPS - 1) / GEMV_WARPS);
#define CODES(bits, table) gemv_codes<bits, table><<<grid, GEMV_WARPS * WARP, 0, s>>>(*w, x, y, f32, accumulate)
    if (w->kind == BL_CU_DENSE) {
        gemv_bf16<<<grid, GEMV_WARPS * WARP, 0, s>>>(*w, x, y, f32, accumulate);
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
