/* ops_sign.h - arguments of the ops of rounding that is learned by the signs of gradients (AutoRound, Cheng et al.
 * 2023, arXiv 2309.05516). Part of ops.h, which includes it.
 *
 * With lo <= 0 <= hi the ends of a group, b the bits, a and c numbers of the group, v one of each weight:
 *
 *     s = (a hi - c lo) / (2^b - 1)    z = round(-c lo / s)    y = (clamp(round(w / s + v) + z, 0, 2^b - 1) - z) s
 *
 * symmetric: M the larger of a hi and -c lo, s = -M / 2^(b-1) where it is a hi and M / 2^(b-1) where it is not, so that
 * M is the code 0 and exact; z = 2^(b-1). s is rounded to the type it is stored in. Without a range it is -1 .. 1.
 */
#ifndef BL_KERNELS_OPS_SIGN_H
#define BL_KERNELS_OPS_SIGN_H
#include "format.h"

typedef struct bl_sign_grid {
    int bits;      /* 1..8 */
    int64_t group; /* the last may be short */
    bool symmetric;
    bl_dtype scale; /* BL_F16 or BL_F32 */
} bl_sign_grid;

typedef struct bl_sign_round_args {
    bl_tensor w, v, a, c;  /* f32, contiguous: [out, in] x 2, [out, groups] x 2 */
    bl_tensor y;           /* f32 [out, in], contiguous, out */
    bl_tensor scale, zero; /* f32 [out, groups], contiguous, out: s and z; or none */
    bl_sign_grid grid;
} bl_sign_round_args;

/* Straight through every rounding. Inside the codes dy/dv = s, dy/ds = round(w / s + v) - w / s; outside of them y =
 * (end - z) s: dy/ds = end - z, dy/dz = -s. z = -c lo / s: dz/dc = -lo / s, dz/ds = c lo / s^2. */
typedef struct bl_sign_round_grad_args {
    bl_tensor w, v, a, c; /* as above */
    bl_tensor dy;         /* f32 [out, in], contiguous: dL/dy; out: dL/dv */
    bl_tensor da, dc;     /* f32 [out, groups], contiguous, out; sums in f64 */
    bl_sign_grid grid;
} bl_sign_round_grad_args;

typedef struct bl_sign_step_args { /* p = p - step sign(grad), kept in low .. high */
    bl_tensor p, grad;             /* f32, contiguous, of one number of elements */
    double step, low, high;
} bl_sign_step_args;

bl_status bl_check_sign_round(const bl_sign_round_args *a, bl_err *e);
bl_status bl_check_sign_round_grad(const bl_sign_round_grad_args *a, bl_err *e);
bl_status bl_check_sign_step(const bl_sign_step_args *a, bl_err *e);
#endif
