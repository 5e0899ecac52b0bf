/* sign_both.h - the grid of rounding that is learned by signs, and its gradients: the arithmetic of the ops
 * `sign_round` and `sign_round_grad` (ops_sign.h), for the host and, by nvcc, for the device. */
#ifndef BL_KERNELS_SIGN_BOTH_H
#define BL_KERNELS_SIGN_BOTH_H
#include "grid_both.h"

typedef struct bl_sign_group {
    float s, z, top;   /* top: the largest code */
    float lo, hi;      /* ends of the group, without a and c */
    double s_hi, s_lo; /* ds/da = s_hi hi, ds/dc = s_lo lo */
} bl_sign_group;

/* A scale as it is stored; it is divided by. */
BL_GRID_BOTH float bl_sign_stored(bool half, float s)
{
    const float r = half ? BL_GRID_HALF(s) : s;
    return r != 0 ? r : copysignf(half ? 5.9604645e-8f : 1.4012985e-45f, s); /* 2^-24, 2^-149 */
}

BL_GRID_BOTH bl_sign_group bl_sign_between(int bits, bool symmetric, bool half, float lo, float hi, float a, float c)
{
    const float middle = (float)(1 << (bits - 1));
    bl_sign_group g = {0, 0, (float)((1 << bits) - 1), lo, hi, 0, 0};
    float top = a * hi, bottom = c * lo;
    if (top == 0 && bottom == 0) { /* no range: as in the other methods -1 .. 1, which nothing changes */
        top = 1;
        bottom = -1;
        g.lo = g.hi = 0;
    }
    if (symmetric) {
        const bool up = top > -bottom;
        g.s = bl_sign_stored(half, up ? -top / middle : -bottom / middle);
        g.z = middle;
        g.s_hi = up ? -1 / middle : 0;
        g.s_lo = up ? 0 : -1 / middle;
        return g;
    }
    const float s = (top - bottom) / g.top;
    g.z = rintf(-bottom / s);
    g.s = bl_sign_stored(half, s);
    g.s_hi = 1 / g.top;
    g.s_lo = -1 / g.top;
    return g;
}

BL_GRID_BOTH float bl_sign_value(const bl_sign_group *g, float w, float v)
{
    float code = rintf(w / g->s + v) + g->z;
    code = code < 0 ? 0 : code > g->top ? g->top : code;
    return (code - g->z) * g->s;
}

/* The gradient of v; what the weight brings to those of s and z is added. */
BL_GRID_BOTH float bl_sign_slopes(const bl_sign_group *g, float w, float v, float dy, double *ds, double *dz)
{
    const float x = w / g->s, whole = rintf(x + v), code = whole + g->z;
    const bool low = code<0, high = code> g->top, inside = !low && !high;
    *ds += (double)dy * (inside ? whole - x : (low ? 0 : g->top) - g->z);
    *dz -= inside ? 0 : (double)dy * g->s;
    return inside ? g->s * dy : 0;
}

BL_GRID_BOTH void bl_sign_ends(const bl_sign_group *g, bool symmetric, float c, double ds, double dz, float *da,
                               float *dc)
{
    const double back = symmetric ? 0 : dz / g->s; /* of z to c lo is minus that, to s that times c lo / s */
    ds += back * c * g->lo / g->s;
    *da = (float)(ds * g->s_hi * g->hi);
    *dc = (float)((ds * g->s_lo - back) * g->lo);
}

BL_GRID_BOTH float bl_sign_moved(float p, float grad, float step, float low, float high)
{
    p = grad > 0 ? p - step : grad < 0 ? p + step : p;
    return p < low ? low : p > high ? high : p;
}
#endif
