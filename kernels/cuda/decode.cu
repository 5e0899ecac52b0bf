/* decode.cu - packed weights of every format into f32 or bf16, rows one after another or picked by id. Compiled without
 * contraction: f32 results are the bits of format->unpack.
 */
#include "weight.cuh"
#include <assert.h>

static __device__ uint16_t bl_grid_iq2_xxs[256], bl_grid_iq2_xs[512], bl_grid_iq2_s[1024], bl_grid_iq3_xxs[256],
    bl_grid_iq3_s[512], bl_grid_iq1[2048];
static __device__ const int8_t bl_iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                    1,    13,   25,  38,  53,  69,  89,  113};
static __device__ __forceinline__ float bl_f16_to_f32(uint16_t h) { return from_f16(h); }
static __device__ __forceinline__ int bl_parity(uint32_t v) { return __popc(v) & 1; }
static __device__ __forceinline__ float bl_bf16_to_f32(uint16_t h) { return from_bf16(h); }
#include "kernels/fmt_codes_decode.h"
#include "kernels/fmt_gguf_decode.h"
#include "kernels/fmt_gguf_iq_decode.h"
#include "kernels/fmt_gguf_k_decode.h"
#include "kernels/fmt_gguf_low_decode.h"

void bl_cu_set_grids(const uint16_t *iq2_xxs, const uint16_t *iq2_xs, const uint16_t *iq2_s, const uint16_t *iq3_xxs,
                     const uint16_t *iq3_s, const uint16_t *iq1)
{
    cudaMemcpyToSymbol(bl_grid_iq2_xxs, iq2_xxs, sizeof bl_grid_iq2_xxs);
    cudaMemcpyToSymbol(bl_grid_iq2_xs, iq2_xs, sizeof bl_grid_iq2_xs);
    cudaMemcpyToSymbol(bl_grid_iq2_s, iq2_s, sizeof bl_grid_iq2_s);
    cudaMemcpyToSymbol(bl_grid_iq3_xxs, iq3_xxs, sizeof bl_grid_iq3_xxs);
    cudaMemcpyToSymbol(bl_grid_iq3_s, iq3_s, sizeof bl_grid_iq3_s);
    cudaMemcpyToSymbol(bl_grid_iq1, iq1, sizeof bl_grid_iq1);
}

static __device__ __forceinline__ void put(float *y, float v) { *y = v; }
static __device__ __forceinline__ void put(uint16_t *y, float v) { *y = to_bf16(v); }

/* Eight codes a thread: b whole bytes. */
template <typename T>
__global__ void unpack_codes(bl_cu_weight w, int64_t row0, int64_t rows, const int32_t *ids, T *y, int64_t ldy)
{
    int64_t chunks = (w.in + 7) / 8;
    EACH(i, rows * chunks)
    {
        int64_t r = i / chunks, k0 = i % chunks * 8, row = ids ? ids[r] : row0 + r;
        int n = (int)(w.in - k0 < 8 ? w.in - k0 : 8), bytes = (n * w.bits + 7) / 8;
        const uint8_t *p = w.codes + row * w.row_bytes + k0 / 8 * w.bits;
        uint64_t v = 0;
        for (int j = 0; j < bytes; j++) v |= (uint64_t)p[j] << 8 * j;
        T *out = y + r * ldy + k0;
        int64_t group = -1;
        float s = 0;
        int z = 0;
        for (int j = 0; j < n; j++, v >>= w.bits) {
            int q = (int)(v & ((1u << w.bits) - 1));
            if ((k0 + j) / w.group != group) {
                group = (k0 + j) / w.group;
                s = stored_scale(w, row, group);
                if (w.kind == BL_CU_INT) z = stored_zero(w, row, group);
            }
            float f = w.kind == BL_CU_TABLE ? w.table[q] : w.bits == 1 ? (float)(2 * q - 1) : (float)(q - z);
            put(out + j, f * s);
        }
    }
}

static __device__ __forceinline__ void put8(float *y, const float f[8])
{
    *(float4 *)y = make_float4(f[0], f[1], f[2], f[3]);
    *(float4 *)(y + 4) = make_float4(f[4], f[5], f[6], f[7]);
}

/* Eight codes, of one scale, of each of LINES rows a thread, into whole vectors: neighbouring threads read and write
 * neighbours. */
enum { LINES = 4 };
template <int BITS, bool TABLE, typename T>
__global__ void unpack_eights(bl_cu_weight w, int64_t row0, int64_t rows, T *y, int64_t ldy)
{
    __shared__ float table[TABLE ? 1 << BITS : 1];
    const int eights = (int)(w.in / 8), c = blockIdx.x * blockDim.x + threadIdx.x,
              group = c * 8 / (int)min(w.group, w.in);
    if (TABLE) {
        for (int i = threadIdx.x; i < 1 << BITS; i += blockDim.x) table[i] = w.table[i];
        __syncthreads();
    }
    if (c >= eights) return;
    for (int64_t r0 = (int64_t)blockIdx.y * LINES; r0 < rows; r0 += (int64_t)gridDim.y * LINES) {
        typename codes_of<BITS>::word v[LINES];
        float s[LINES];
        int z[LINES];
#pragma unroll
        for (int l = 0; l < LINES; l++) {
            int64_t row = row0 + min(r0 + l, rows - 1);
            v[l] = eight_codes<BITS>((const uint32_t *)(w.codes + row * w.row_bytes) + c / 4 * BITS, c % 4);
            s[l] = stored_scale(w, row, group);
            z[l] = !TABLE && BITS > 1 ? stored_zero(w, row, group) : 0;
        }
#pragma unroll
        for (int l = 0; l < LINES; l++) {
            float f[8];
            if (r0 + l >= rows) break;
#pragma unroll
            for (int j = 0; j < 8; j++) {
                uint32_t q = (uint32_t)(v[l] >> j * BITS) & ((1u << BITS) - 1);
                f[j] = (TABLE ? table[q] : BITS == 1 ? (float)((int)(2 * q) - 1) : (float)((int)q - z[l])) * s[l];
            }
            put8(y + (r0 + l) * ldy + (int64_t)c * 8, f);
        }
    }
}

/* The simple blocks of 32, a thread each, in registers. */
template <typename T> __global__ void unpack_blocks_32(bl_cu_weight w, int64_t row0, int64_t rows, T *y, int64_t ldy)
{
    int64_t blocks = w.in / 32;
    EACH(i, rows * blocks)
    {
        int64_t r = i / blocks, b = i % blocks;
        const uint8_t *p = w.codes + (row0 + r) * w.row_bytes + b * w.block_bytes;
        float v[32];
        switch (w.id) {
        case 2: decode_q4_0(p, v); break;
        case 3: decode_q4_1(p, v); break;
        case 6: decode_q5_0(p, v); break;
        case 7: decode_q5_1(p, v); break;
        case 8: decode_q8_0(p, v); break;
        case 20: decode_iq4_nl(p, v); break;
        default: decode_mxfp4(p, v); break;
        }
#pragma unroll
        for (int k = 0; k < 32; k += 8) put8(y + r * ldy + b * 32 + k, v + k);
    }
}

/* Whether one of the two took it. */
template <typename T>
static bool unpack_vectors(bl_stream s, const bl_cu_weight *w, int64_t row0, int64_t rows, T *y, int64_t ldy)
{
    bool whole = w->in % 32 == 0 && ldy % 8 == 0 && (uintptr_t)y % 16 == 0;
    unsigned grid = blocks_for(rows * (w->in / 32), 128);
    if (!whole || w->kind == BL_CU_DENSE || w->kind == BL_CU_CODES || (w->kind == BL_CU_BLOCK && w->block != 32))
        return false;
    if (w->kind == BL_CU_BLOCK) {
        unpack_blocks_32<<<grid, 128, 0, s>>>(*w, row0, rows, y, ldy);
        return true;
    }
    if (w->group % 32 != 0 && w->group < w->in) return false;
    int64_t lines = (rows + LINES - 1) / LINES;
    dim3 eights((unsigned)((w->in / 8 + 127) / 128), (unsigned)(lines < MOST_BLOCKS ? lines : MOST_BLOCKS));
#define RUNS(bits, table) unpack_eights<bits, table, T><<<eights, 128, 0, s>>>(*w, row0, rows, y, ldy)
    bool table = w->kind == BL_CU_TABLE;
    switch (w->bits) {
    case 1: RUNS(1, false); return true;
    case 2: table ? (void)(RUNS(2, true)) : (void)(RUNS(2, false)); return true;
    case 3: table ? (void)(RUNS(3, true)) : (void)(RUNS(3, false)); return true;
    case 4: table ? (void)(RUNS(4, true)) : (void)(RUNS(4, false)); return true;
    case 5: RUNS(5, false); return true;
    case 6: RUNS(6, false); return true;
    case 7: RUNS(7, false); return true;
    default: table ? (void)(RUNS(8, true)) : (void)(RUNS(8, false)); return true;
    }
#undef RUNS
}

template <typename T>
__global__ void unpack_dense(bl_cu_weight w, int64_t row0, int64_t rows, const int32_t *ids, T *y, int64_t ldy)
{
    EACH(i, rows * w.in)
    {
        int64_t r = i / w.in, k = i % w.in, at = (ids ? ids[r] : row0 + r) * w.in + k;
        const uint16_t *h = (const uint16_t *)w.codes;
        put(y + r * ldy + k, w.bits == 32   ? ((const float *)w.codes)[at]
                             : w.bits == 16 ? from_f16(h[at])
                                            : from_bf16(h[at]));
    }
}

/* Four neighbours a thread, some rows in turn: rows of whole fours, which are aligned. */
enum { FOURS_ROWS = 4 };
template <typename T>
__global__ void unpack_dense_fours(bl_cu_weight w, int64_t row0, int64_t rows, const int32_t *ids, T *y, int64_t ldy)
{
    const int64_t k = 4 * ((int64_t)blockIdx.x * blockDim.x + threadIdx.x);
    if (k >= w.in) return;
    for (int64_t r = blockIdx.y; r < rows; r += gridDim.y) {
        const int64_t at = (ids ? ids[r] : row0 + r) * w.in + k;
        float4 f;
        if (w.bits == 32) f = *(const float4 *)((const float *)w.codes + at);
        else {
            const ushort4 h = *(const ushort4 *)((const uint16_t *)w.codes + at);
            f = w.bits == 16 ? make_float4(from_f16(h.x), from_f16(h.y), from_f16(h.z), from_f16(h.w))
                             : make_float4(from_bf16(h.x), from_bf16(h.y), from_bf16(h.z), from_bf16(h.w));
        }
        if (sizeof(T) == 4) *(float4 *)(y + r * ldy + k) = f;
        else *(ushort4 *)(y + r * ldy + k) = make_ushort4(to_bf16(f.x), to_bf16(f.y), to_bf16(f.z), to_bf16(f.w));
    }
}
static dim3 fours(int64_t rows, int64_t n)
{
    const int64_t some = (rows + FOURS_ROWS - 1) / FOURS_ROWS;
    return dim3((unsigned)((n / 4 + 255) / 256), (unsigned)(some < MOST_BLOCKS ? some : MOST_BLOCKS));
}

static __device__ void decode_block(int id, const uint8_t *b, float *w)
{
    switch (id) {
    case 2: decode_q4_0(b, w); break;
    case 3: decode_q4_1(b, w); break;
    case 6: decode_q5_0(b, w); break;
    case 7: decode_q5_1(b, w); break;
    case 8: decode_q8_0(b, w); break;
    case 10: decode_q2_k(b, w); break;
    case 11: decode_q3_k(b, w); break;
    case 12: decode_q4_k(b, w); break;
    case 13: decode_q5_k(b, w); break;
    case 14: decode_q6_k(b, w); break;
    case 16: decode_iq2_xxs(b, w); break;
    case 17: decode_iq2_xs(b, w); break;
    case 18: decode_iq3_xxs(b, w); break;
    case 19: decode_iq1_s(b, w); break;
    case 20: decode_iq4_nl(b, w); break;
    case 21: decode_iq3_s(b, w); break;
    case 22: decode_iq2_s(b, w); break;
    case 23: decode_iq4_xs(b, w); break;
    case 29: decode_iq1_m(b, w); break;
    case 34: decode_tq1_0(b, w); break;
    case 35: decode_tq2_0(b, w); break;
    case 39: decode_mxfp4(b, w); break;
    case 40: decode_nvfp4(b, w); break;
    case 41: decode_q1_0(b, w); break;
    case 42: decode_q2_0(b, w); break;
    default: assert(false);
    }
}

/* A block of weights a thread. */
template <typename T>
__global__ void unpack_blocks(bl_cu_weight w, int64_t row0, int64_t rows, const int32_t *ids, T *y, int64_t ldy)
{
    int64_t blocks = w.in / w.block;
    EACH(i, rows * blocks)
    {
        int64_t r = i / blocks, b = i % blocks, row = ids ? ids[r] : row0 + r;
        float v[256];
        decode_block(w.id, w.codes + row * w.row_bytes + b * w.block_bytes, v);
        for (int k = 0; k < w.block; k++) put(y + r * ldy + b * w.block + k, v[k]);
    }
}

/* A run of weights a thread. */
template <typename T>
__global__ void unpack_own(bl_cu_weight w, int64_t row0, int64_t rows, const int32_t *ids, T *y, int64_t ldy)
{
    int64_t runs = (w.in + BL_CODES_RUN - 1) / BL_CODES_RUN;
    EACH(i, rows * runs)
    {
        int64_t r = i / runs, k0 = i % runs * BL_CODES_RUN;
        int n = (int)(w.in - k0 < BL_CODES_RUN ? w.in - k0 : BL_CODES_RUN);
        float v[BL_CODES_RUN];
        bl_codes_decode(&w.own, ids ? ids[r] : row0 + r, k0, n, v);
        for (int k = 0; k < n; k++) put(y + r * ldy + k0 + k, v[k]);
    }
}

template <typename T>
static void unpack(bl_stream s, const bl_cu_weight *w, int64_t row0, int64_t rows, const int32_t *ids, T *y,
                   int64_t ldy)
{
    if (w->kind == BL_CU_DENSE && w->in % 4 == 0 && ldy % 4 == 0 && (uintptr_t)y % 16 == 0 &&
        (uintptr_t)w->codes % 16 == 0)
        unpack_dense_fours<<<fours(rows, w->in), 256, 0, s>>>(*w, row0, rows, ids, y, ldy);
    else if (w->kind == BL_CU_DENSE)
        unpack_dense<<<blocks_for(rows * w->in, 256), 256, 0, s>>>(*w, row0, rows, ids, y, ldy);
    else if (w->kind == BL_CU_BLOCK)
        unpack_blocks<<<blocks_for(rows * (w->in / w->block), 64), 64, 0, s>>>(*w, row0, rows, ids, y, ldy);
    else if (w->kind == BL_CU_CODES)
        unpack_own<<<blocks_for(rows * ((w->in + BL_CODES_RUN - 1) / BL_CODES_RUN), 64), 64, 0, s>>>(*w, row0, rows,
                                                                                                     ids, y, ldy);
    else unpack_codes<<<blocks_for(rows * ((w->in + 7) / 8), 256), 256, 0, s>>>(*w, row0, rows, ids, y, ldy);
}

void bl_cu_unpack(bl_stream s, const bl_cu_weight *w, int64_t row0, int64_t rows, const int32_t *ids, void *y, bool f32,
                  int64_t ldy)
{
    if (!rows) return;
    if (f32 && (ids || !unpack_vectors(s, w, row0, rows, (float *)y, ldy)))
        unpack(s, w, row0, rows, ids, (float *)y, ldy);
    if (!f32 && (ids || !unpack_vectors(s, w, row0, rows, (uint16_t *)y, ldy)))
        unpack(s, w, row0, rows, ids, (uint16_t *)y, ldy);
}
