/* pack.h - packing into formats of pack_between.cu, as launch.h has the other kernels. Where a weight cannot be stored
 * *bad is not 0 afterwards; lost [2, out]: sums of squares of a row, what was lost, what was there. */
#ifndef BL_KERNELS_CUDA_PACK_H
#define BL_KERNELS_CUDA_PACK_H
#include "launch.h"
#ifdef __cplusplus
extern "C" {
#endif
/* x f32 [out, in]; w DENSE */
void bl_cu_pack_dense(bl_stream s, const float *x, const bl_cu_weight *w, double *lost, unsigned *bad);
typedef struct bl_cu_between {
    const float *x, *scale, *zero; /* [out, in]; [groups] of all, given */
    bl_codes_weight w;             /* FLOAT, MIDDLE or DOWN; written */
    int64_t groups;
    float *s, *z; /* scratch [groups]: as they are read */
    double *lost;
    unsigned *bad;
} bl_cu_between;
void bl_cu_pack_between(bl_stream s, const bl_cu_between *a);
#ifdef __cplusplus
}
#endif
#endif
