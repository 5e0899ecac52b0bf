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

template <typename T>
static void unpack(bl_stream s, const bl_cu_weight *w, int64_t row0, int64_t rows, const int32_t *ids, T *y,
                   int64_t ldy)
{
    if (w->kind == BL_CU_DENSE) unpack_dense<<<blocks_for(rows * w->in, 256), 256, 0, s>>>(*w, row0, rows, ids, y, ldy);
    else if (w->kind == BL_CU_BLOCK)
        unpack_blocks<<<blocks_for(rows * (w->in / w->block), 64), 64, 0, s>>>(*w, row0, rows, ids, y, ldy);
    else unpack_codes<<<blocks_for(rows * ((w->in + 7) / 8), 256), 256, 0, s>>>(*w, row0, rows, ids, y, ldy);
}

void bl_cu_unpack(bl_stream s, const bl_cu_weight *w, int64_t row0, int64_t rows, const int32_t *ids, void *y, bool f32,
                  int64_t ldy)
{
    if (!rows) return;
    if (f32) unpack(s, w, row0, rows, ids, (float *)y, ldy);
    else unpack(s, w, row0, rows, ids, (uint16_t *)y, ldy);
}
