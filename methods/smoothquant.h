/* smoothquant.h - SmoothQuant's formula (smoothquant.c), for its tests. */
#ifndef BL_METHODS_SMOOTHQUANT_H
#define BL_METHODS_SMOOTHQUANT_H
#include <stdint.h>

/* s = max|x|^alpha / max|w|^(1 - alpha) of n channels (equation 4), neither maximum nor s below 1e-5. */
void bl_smooth_scales(const float *max_x, const float *max_w, int64_t n, double alpha, float *s);
#endif
