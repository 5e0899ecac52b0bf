/* avx2_panels.h - products of many rows by panels of unpacked weights: what those of all instructions share. */
#ifndef BL_KERNELS_CPU_AVX2_PANELS_H
#define BL_KERNELS_CPU_AVX2_PANELS_H
#include "avx2.h"

/* Blocks of about as many rows as the second level cache holds, each a multiple of a tile, by chunks of outputs. */
void bl_gemm_cut(bl_gemm *g, int64_t rows, int64_t tile_rows, int64_t chunk);
#endif
