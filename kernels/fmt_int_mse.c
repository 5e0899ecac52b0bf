/* fmt_int_mse.c - the range of a group of integer codes, shrunk until the error is least. Compiled with -O3: the search
 * visits every weight 80 times. */
#include "format_impl.h"
#include <math.h>
#include <string.h>

enum { GRID = 100, STEPS = 80 };

/* |d|^2.4 within 1e-6 of its value: u^2 r^4 with u = d^2 and r = u^(-1/5), which three Newton steps find from the
 * exponent. */
static inline float power24(float d)
{
    float u = d * d, r;
    uint32_t bits;
    memcpy(&bits, &u, 4);
    bits = 0x4c2da000u - bits / 5;
    memcpy(&r, &bits, 4);
    for (int i = 0; i < 3; i++) {
        float r2 = r * r;
        r *= 1.2f - 0.2f * (u * r2 * r2 * r);
    }
    float v = u * r * r;
    return v * v;
}

/* sum |w^ - w|^2.4 in units of 1 / unit. */
float bl_fit_error(const float *w, int64_t n, float scale, float zero, float qmax, float unit)
{
    const float magic = 0x1.8p23f; /* x + magic has no fraction bits left: rint for |x| < 2^22 */
    float lo = -zero, hi = qmax - zero, acc[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++) {
            float x = w[i + j] / scale;
            x = x > lo ? x : lo;
            x = x < hi ? x : hi;
            x = (x + magic) - magic;
            acc[j] += power24((x * scale - w[i + j]) * unit);
        }
    for (; i < n; i++) {
        float x = rintf(fminf(fmaxf(w[i] / scale, lo), hi));
        acc[0] += power24((x * scale - w[i]) * unit);
    }
    return ((acc[0] + acc[4]) + (acc[2] + acc[6])) + ((acc[1] + acc[5]) + (acc[3] + acc[7]));
}

static void search(bl_fit_range *fit, const float *w, int64_t n, int qmax, float *scale, float *zero)
{
    float lo = w[0], hi = w[0], best = INFINITY;
    for (int64_t i = 1; i < n; i++) {
        lo = fminf(lo, w[i]);
        hi = fmaxf(hi, w[i]);
    }
    float most = fmaxf(fabsf(lo), fabsf(hi));
    for (int k = 0; k < STEPS; k++) {
        float p = 1 - (float)k / GRID, s, z;
        fit((float[]){p * lo, p * hi}, 2, qmax, &s, &z); /* a rule looks at the ends only */
        float error = bl_fit_error(w, n, s, z, (float)qmax, most > 0 ? 1 / most : 1);
        if (error < best || k == 0) {
            best = error;
            *scale = s;
            *zero = z;
        }
    }
}

#define MSE(rule)                                                                                                      \
    void bl_fit_##rule##_mse(const float *w, int64_t n, int qmax, float *scale, float *zero)                           \
    {                                                                                                                  \
        search(bl_fit_##rule, w, n, qmax, scale, zero);                                                                \
    }
MSE(zero)
MSE(minmax)
MSE(clip)
MSE(symmetric)
MSE(full)
