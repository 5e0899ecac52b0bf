/* sign.h - rounding that is learned by signs of gradients, as launch.h has the other kernels. */
#ifndef BL_KERNELS_CUDA_SIGN_H
#define BL_KERNELS_CUDA_SIGN_H
#include "launch.h"
#ifdef __cplusplus
extern "C" {
#endif
typedef struct bl_cu_sign { /* ops_sign.h; what an op has none of is NULL */
    const float *w, *v;     /* [out, in] */
    const float *a, *c;     /* [out, groups] */
    float *y, *scale, *zero;
    float *dy, *da, *dc;
    int64_t out, in, group, groups;
    int bits;
    bool symmetric, half;
} bl_cu_sign;
void bl_cu_sign_round(bl_stream s, const bl_cu_sign *a);
void bl_cu_sign_round_back(bl_stream s, const bl_cu_sign *a);
void bl_cu_sign_step(bl_stream s, float *p, const float *grad, int64_t n, float step, float low, float high);
#ifdef __cplusplus
}
#endif
#endif
