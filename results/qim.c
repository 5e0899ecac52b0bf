/* qim.c - the Quantized Influence Measure, and the cosine it is compared with. */
#include "qim.h"
#include <math.h>

static int level(double v, double lo, double hi, int k) { return (int)nearbyint((v - lo) / (hi - lo) * (k - 1)); }

static void range(const double *v, int64_t n, double *lo, double *hi)
{
    *lo = INFINITY;
    *hi = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        *lo = fmin(*lo, v[i]);
        *hi = fmax(*hi, v[i]);
    }
}

bl_qim bl_qim_of(const double *x, const double *y, int64_t n, int k)
{
    bl_qim r = {0};
    double lo[2], hi[2], sum[BL_QIM_LEVELS] = {0}, members[BL_QIM_LEVELS] = {0}, mean = 0, squares = 0;

    range(x, n, &lo[0], &hi[0]);
    range(y, n, &lo[1], &hi[1]);
    if (n < 1 || !(hi[0] > lo[0]) || !(hi[1] > lo[1])) {
        r.undefined = true;
        return r;
    }
    for (int64_t i = 0; i < n; i++) {
        int a = level(x[i], lo[0], hi[0], k), b = level(y[i], lo[1], hi[1], k);
        sum[a] += b;
        members[a]++;
        mean += b;
        squares += (double)b * b;
    }
    mean /= (double)n;
    double sd = sqrt(squares / (double)n - mean * mean);
    for (int j = 0; j < k; j++) {
        if (members[j] == 0) continue;
        double off = (sum[j] / members[j] - mean) * members[j];
        r.value += off * off;
        r.cells++;
    }
    r.value /= (double)n * sd;
    return r;
}

double bl_cosine(const double *x, const double *y, int64_t n)
{
    double xy = 0, xx = 0, yy = 0;
    for (int64_t i = 0; i < n; i++) {
        xy += x[i] * y[i];
        xx += x[i] * x[i];
        yy += y[i] * y[i];
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx) / sqrt(yy) : 0;
}
