/* reassemble.h - permutations with sums (bl_transform), f32 rows of a distance of ld, as C sees them; see launch.h. */
#ifndef BL_KERNELS_CUDA_REASSEMBLE_H
#define BL_KERNELS_CUDA_REASSEMBLE_H
#include "launch.h"
#ifdef __cplusplus
extern "C" {
#endif
/* m: n rows (to, from, by); y = x but for the sums, and what a gradient dy of y is to x; in is the width of both */
void bl_cu_reassemble_rows(bl_stream s, const float *x, float *y, int64_t ld, const int32_t *m, int64_t n, int64_t rows,
                           int64_t in);
void bl_cu_reassemble_back(bl_stream s, const float *dy, float *dx, int64_t ld, const int32_t *m, int64_t n,
                           int64_t rows, int64_t in);
#ifdef __cplusplus
}
#endif
#endif
