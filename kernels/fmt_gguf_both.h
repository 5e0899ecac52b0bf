/* fmt_gguf_both.h - for the decoders of blocks, which are compiled for the host and, by nvcc, for the device: numbers
 * of a block, and where the tables are. On the device the tables are in its memory (cuda/decode.cu). */
#ifndef BL_KERNELS_FMT_GGUF_BOTH_H
#define BL_KERNELS_FMT_GGUF_BOTH_H
#ifdef __CUDACC__
#define BL_BOTH __device__
#else
#include "fmt_gguf_grids.h"
#include <math.h>
#define BL_BOTH
#define bl_parity(x) __builtin_parity(x)
#endif

BL_BOTH static inline uint16_t bl_u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
BL_BOTH static inline uint32_t bl_u32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
BL_BOTH static inline float bl_half(const uint8_t *p) { return bl_f16_to_f32(bl_u16(p)); }
#endif
