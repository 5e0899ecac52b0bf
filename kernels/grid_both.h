/* grid_both.h - one weight on a grid that is learned, and its slopes: the arithmetic of the ops `grid` and `grid_grad`
 * (ops_train.h), for the host and, by nvcc, for the device. */
#ifndef BL_KERNELS_GRID_BOTH_H
#define BL_KERNELS_GRID_BOTH_H
#include "ops.h"
#ifdef __CUDACC__
#define BL_GRID_BOTH    static __device__ __forceinline__
#define BL_GRID_HALF(x) __half2float(__float2half_rn(x))
#else
#include <math.h>
#define BL_GRID_BOTH    static inline
#define BL_GRID_HALF(x) bl_f16_to_f32(bl_f32_to_f16(x))
#endif

typedef struct bl_grid_group { /* numbers of a group as they are used */
    float s, z, low, high;
} bl_grid_group;
typedef struct bl_grid_ends { /* of a group, 0 among them; and of CLIP the slopes of s to them and to what opens them */
    float lo, hi, to_lo, to_hi, to_scale, to_offset;
} bl_grid_ends;
typedef struct bl_grid_slopes { /* of the value to the weight, the scale and the offset */
    float w, s, o;
} bl_grid_slopes;

/* x to the nearest whole number, half to even, for what is then kept within codes. */
BL_GRID_BOTH float bl_grid_round(float x)
{
    const float magic = 12582912.0f; /* 1.5 x 2^23: x + magic has no fraction bits left for |x| < 2^22 */
    x = x < -1e6f ? -1e6f : x > 1e6f ? 1e6f : x;
    return (x + magic) - magic;
}

BL_GRID_BOTH bl_grid_group bl_grid_of(bl_grid_kind kind, int bits, bool half, float scale, float offset)
{
    const float span = (float)(1 << bits), middle = span / 2;
    bl_grid_group g = {scale, 0, -middle, middle - 1};
    if (kind == BL_GRID_STEP) return g;
    if (kind == BL_GRID_PLANES) {
        const float most = half ? 65504.0f : 3e38f, least = half ? 5.9604645e-8f : 1e-8f;
        const float side = g.s < 0 ? -1.0f : 1.0f; /* kept in `high` */
        g.s *= side;
        g.s = g.s > least ? g.s < most ? g.s : most : least;
        if (half) g.s = BL_GRID_HALF(g.s);
        g.z = offset * side;
        g.z = g.z > 0 ? 0 : g.z > -g.s ? g.z : -g.s;
        if (half) g.z = BL_GRID_HALF(g.z);
        g.s *= side;
        g.z *= side;
        g.high = side;
        return g;
    }
    const float least = kind == BL_GRID_AFFINE ? 1e-4f : half ? 5.9604645e-8f : 1e-8f; /* 2^-24: the least of f16 */
    const float most = half ? 65504.0f : 3e38f;
    g.s = g.s > least ? g.s < most ? g.s : most : least;
    if (half) g.s = BL_GRID_HALF(g.s);
    if (kind == BL_GRID_INSIDE) return g;
    g.low = 0;
    g.high = span - 1;
    if (kind == BL_GRID_AFFINE) {
        float z = bl_grid_round(offset);
        g.z = z < 0 ? 0 : z > g.high ? g.high : z;
    } else {
        g.z = middle - offset / g.s;
        g.z = g.z < -6e4f ? -6e4f : g.z > 6e4f ? 6e4f : g.z; /* far from every code, and an f16 */
        if (half) g.z = BL_GRID_HALF(g.z);
    }
    return g;
}

/* Kinds that look at the ends of the group. */
BL_GRID_BOTH bool bl_grid_sees_ends(bl_grid_kind kind) { return kind == BL_GRID_CLIP || kind == BL_GRID_LARGEST; }
BL_GRID_BOTH bl_grid_group bl_grid_between(bl_grid_kind kind, int bits, bool half, float scale, float offset,
                                           bl_grid_ends *ends)
{
    const float lo = ends->lo, hi = ends->hi;
    ends->to_lo = ends->to_hi = ends->to_scale = ends->to_offset = 0;
    if (kind == BL_GRID_LARGEST) {
        const float high = (float)((1 << (bits - 1)) - 1), most = hi > -lo ? hi : -lo;
        float s = most / high;
        if (half) s = BL_GRID_HALF(s < 65504.0f ? s : 65504.0f);
        bl_grid_group g = {s > 0 ? s : 1, 0, -high, high};
        return g;
    }
    const float top = (float)((1 << bits) - 1), p = 1 / (1 + expf(-scale)), q = 1 / (1 + expf(-offset)),
                s = (p * hi - q * lo) / top;
    bl_grid_group g = {s, 0, 0, top};
    if (s > 1e-5f && s < 1e4f) {
        ends->to_hi = p / top;
        ends->to_lo = -q / top;
        ends->to_scale = hi * p * (1 - p) / top;
        ends->to_offset = -lo * q * (1 - q) / top;
    } else g.s = s < 1e4f ? 1e-5f : 1e4f;
    g.z = bl_grid_round(-q * lo / g.s);
    g.z = g.z > top ? top : g.z;
    if (half) g.s = BL_GRID_HALF(g.s);
    return g;
}

BL_GRID_BOTH float bl_grid_within(float c, const bl_grid_group *g)
{
    return c < g->low ? g->low : c > g->high ? g->high : c;
}

BL_GRID_BOTH int bl_grid_plane(const bl_grid_group *g, float w, int plane)
{
    const int first = g->high * w >= g->high * (g->s + g->z) / 2;
    return plane ? g->high * (w - (first ? g->s : 0)) <= g->high * g->z / 2 : first;
}

/* v: w / s, of kinds that divide by it. */
BL_GRID_BOTH float bl_grid_value_of(bl_grid_kind kind, const bl_grid_group *g, float w, float v)
{
    if (kind == BL_GRID_PLANES) return (bl_grid_plane(g, w, 0) ? g->s : 0) + (bl_grid_plane(g, w, 1) ? g->z : 0);
    if (kind == BL_GRID_INSIDE) return bl_grid_within(bl_grid_round(w), g) * g->s;
    if (kind == BL_GRID_STEP || kind == BL_GRID_LARGEST) return bl_grid_within(bl_grid_round(v), g) * g->s;
    if (kind == BL_GRID_AFFINE || kind == BL_GRID_CLIP)
        return (bl_grid_within(bl_grid_round(v) + g->z, g) - g->z) * g->s;
    return (bl_grid_round(bl_grid_within(v + g->z, g)) - g->z) * g->s;
}

BL_GRID_BOTH float bl_grid_value(bl_grid_kind kind, const bl_grid_group *g, float w)
{
    return bl_grid_value_of(kind, g, w, w / g->s);
}

BL_GRID_BOTH bl_grid_slopes bl_grid_slopes_of(bl_grid_kind kind, const bl_grid_group *g, float w, float v)
{
    bl_grid_slopes d = {0, 0, 0};
    if (kind == BL_GRID_LARGEST) {
        d.w = w > -2 && w < 2 ? 1 : 0;
        return d;
    }
    if (kind == BL_GRID_PLANES) {
        d.w = g->high * w >= g->high * 1.5f * g->z && g->high * w <= g->high * (g->s - g->z / 2) ? 1 : 0;
        d.s = (float)bl_grid_plane(g, w, 0);
        d.o = (float)bl_grid_plane(g, w, 1);
        return d;
    }
    if (kind == BL_GRID_INSIDE) {
        float c = bl_grid_round(w), in = bl_grid_within(c, g);
        d.w = c == in ? g->s : 0;
        d.s = in;
        return d;
    }
    const float whole = bl_grid_round(v);
    if (kind == BL_GRID_STEP) {
        bool inside = v > g->low && v < g->high;
        d.w = inside ? 1 : 0;
        d.s = inside ? whole - v : v <= g->low ? g->low : g->high;
    } else if (kind == BL_GRID_AFFINE || kind == BL_GRID_CLIP) {
        float c = whole + g->z, in = bl_grid_within(c, g);
        d.w = c == in ? 1 : 0;
        d.s = c == in ? whole - v : in - g->z;
        d.o = c == in ? 0 : -g->s;
    } else {
        float q = v + g->z, in = bl_grid_within(q, g);
        d.w = q == in ? 1 : 0;
        d.s = q == in ? bl_grid_round(q) - q : in - (g->high + 1) / 2;
        d.o = q == in ? 0 : 1;
    }
    return d;
}

BL_GRID_BOTH bl_grid_slopes bl_grid_slopes_at(bl_grid_kind kind, const bl_grid_group *g, float w)
{
    return bl_grid_slopes_of(kind, g, w, w / g->s);
}
#endif
