/* autoround_round.c - the grid of autoround and its gradients. Compiled with -O3: the loops over weights take vectors.
 */
#include "autoround.h"
#include "shared_rows.h"
#include <math.h>

typedef struct grid {
    float s, z;
    double lo, hi;     /* ends of the group, without a and c */
    double s_hi, s_lo; /* ds/da = s_hi hi, ds/dc = s_lo lo */
} grid;

static float stored(const bl_autoround *k, float s)
{
    float r = bl_rows_stored(k->scale, s);
    return r != 0 ? r : copysignf(k->scale == BL_F32 ? 0x1p-149f : 0x1p-24f, s); /* it is divided by */
}

static grid fit(const bl_autoround *k, const float *w, int64_t n, float a, float c)
{
    float lo = 0, hi = 0, q = (float)((1 << k->bits) - 1), half = (float)(1 << (k->bits - 1));
    for (int64_t i = 0; i < n; i++) {
        lo = w[i] < lo ? w[i] : lo;
        hi = w[i] > hi ? w[i] : hi;
    }
    grid g = {.lo = lo, .hi = hi};
    float top = a * hi, bottom = c * lo;
    if (top == 0 && bottom == 0) { /* no range: as in the other methods -1 .. 1, which nothing changes */
        top = 1;
        bottom = -1;
        g.lo = g.hi = 0;
    }
    if (k->symmetric) {
        bool up = top > -bottom;
        g.s = stored(k, up ? -top / half : -bottom / half);
        g.z = half;
        g.s_hi = up ? -1 / half : 0;
        g.s_lo = up ? 0 : -1 / half;
        return g;
    }
    float s = (top - bottom) / q;
    g.z = rintf(-bottom / s);
    g.s = stored(k, s);
    g.s_hi = 1 / q;
    g.s_lo = -1 / q;
    return g;
}

void bl_autoround_row(const bl_autoround *k, const float *w, const float *v, const float *a, const float *c, float *y,
                      float *scale, float *zero)
{
    float q = (float)((1 << k->bits) - 1);
    for (int64_t first = 0, i = 0; first < k->in; first += k->group, i++) {
        int64_t n = BL_MIN(k->group, k->in - first);
        grid g = fit(k, w + first, n, a[i], c[i]);
        for (int64_t j = first; j < first + n; j++) {
            float code = rintf(w[j] / g.s + v[j]) + g.z;
            code = code < 0 ? 0 : code > q ? q : code;
            y[j] = (code - g.z) * g.s;
        }
        if (scale) scale[i] = g.s;
        if (zero) zero[i] = g.z;
    }
}

/* Inside the codes w^ = s (round(w / s + v)): dw^/dv = s, dw^/ds = round(w / s + v) - w / s. Outside of them w^ = (end
 * - z) s: dw^/ds = end - z, dw^/dz = -s. z = -c lo / s: dz/dc = -lo / s, dz/ds = c lo / s^2. */
void bl_autoround_row_grad(const bl_autoround *k, const float *w, const float *v, const float *a, const float *c,
                           const float *dy, float *dv, float *da, float *dc)
{
    float q = (float)((1 << k->bits) - 1);
    for (int64_t first = 0, i = 0; first < k->in; first += k->group, i++) {
        int64_t n = BL_MIN(k->group, k->in - first);
        grid g = fit(k, w + first, n, a[i], c[i]);
        double ds = 0, dz = 0;
        for (int64_t j = first; j < first + n; j++) {
            float x = w[j] / g.s, whole = rintf(x + v[j]), code = whole + g.z;
            bool low = code<0, high = code> q, inside = !low && !high;
            dv[j] = inside ? g.s * dy[j] : 0;
            ds += (double)dy[j] * (inside ? whole - x : (low ? 0 : q) - g.z);
            dz -= inside ? 0 : (double)dy[j] * g.s;
        }
        double back = k->symmetric ? 0 : dz / g.s; /* of z to c lo is minus that, to s that times c lo / s */
        ds += back * c[i] * g.lo / g.s;
        da[i] = (float)(ds * g.s_hi * g.hi);
        dc[i] = (float)((ds * g.s_lo - back) * g.lo);
    }
}
