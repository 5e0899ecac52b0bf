/* quip.h - the rounding of QuIP (quip_round.c). */
#ifndef BL_METHODS_QUIP_H
#define BL_METHODS_QUIP_H
#include "harness/method.h"

typedef enum bl_quip_rounding {
    BL_QUIP_NEAR,   /* to nearest */
    BL_QUIP_LDLQ,   /* from the last column to the first, each making up for those before */
    BL_QUIP_GREEDY, /* that, then greedy passes in the same order */
    BL_QUIP_RG,     /* the same from the column of the largest second moment to that of the least (LDLQ-RG) */
    BL_QUIP_ALLBAL  /* greedy passes alone, in that order */
} bl_quip_rounding;

/* w f32 [out, in], contiguous, becomes values of the grid (code - zero) scale, 0 <= code < 2^bits, scale and zero f32
 * [out, 1]; before that it is clamped to the grid. h f64 [in, in] the second moments of its inputs, damped by `damp`
 * times the mean of its diagonal, tenfold where that is not enough (*damped). */
bl_status bl_quip_round(const bl_method_run *r, bl_tensor w, bl_tensor h, bl_tensor scale, bl_tensor zero, int bits,
                        bl_quip_rounding how, int passes, double damp, double *damped, bl_err *e);
#endif
