/* autoround.h - the grid that autoround learns, of one row of a weight, and its gradients. */
#ifndef BL_METHODS_AUTOROUND_H
#define BL_METHODS_AUTOROUND_H
#include "kernels/format.h"

/* With lo <= 0 <= hi the ends of a group, b the bits, a and c numbers of the group, v one of each weight:
 *
 *     s = (a hi - c lo) / (2^b - 1)      z = round(-c lo / s)        w^ = (clamp(round(w / s + v) + z, 0, 2^b - 1) - z)
 * s
 *
 * symmetric: M the larger of a hi and -c lo, s = -M / 2^(b-1) where it is a hi and M / 2^(b-1) where it is not, so that
 * M is the code 0 and exact; z = 2^(b-1). s is rounded to the type it is stored in. */
typedef struct bl_autoround {
    int64_t in, group;
    int bits;
    bool symmetric;
    bl_dtype scale; /* BL_F16 or BL_F32 */
} bl_autoround;

/* y [in]; scale, zero [groups], which may be NULL. v [in], a, c [groups]. */
void bl_autoround_row(const bl_autoround *k, const float *w, const float *v, const float *a, const float *c, float *y,
                      float *scale, float *zero);
/* From dy, dL/dw^, straight through every rounding: dv [in], da, dc [groups]. */
void bl_autoround_row_grad(const bl_autoround *k, const float *w, const float *v, const float *a, const float *c,
                           const float *dy, float *dv, float *da, float *dc);
#endif
