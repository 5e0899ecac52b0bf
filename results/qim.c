/* qim.c - the Quantized Influence Measure, and the cosine it is compared with. */
#include "qim.h"
#include "metric.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct tally {
    int64_t sum[BL_QIM_LEVELS], members[BL_QIM_LEVELS], all, squares;
} tally;

static void count(tally *t, int a, int b)
{
    t->sum[a] += b;
    t->members[a]++;
    t->all += b;
    t->squares += b * b;
}

static bl_qim measure(const tally *t, int64_t n, int k)
{
    bl_qim r = {0};
    double mean = (double)t->all / (double)n, sd = sqrt((double)t->squares / (double)n - mean * mean);
    for (int j = 0; j < k; j++) r.cells += t->members[j] > 0;
    for (int j = 0; j < k; j++) {
        if (t->members[j] == 0) continue;
        double off = ((double)t->sum[j] / (double)t->members[j] - mean) * (double)t->members[j];
        r.value += off * off;
    }
    r.first_version = r.value / (r.cells * sd);
    r.value /= (double)n * sd;
    r.i_norm = r.value / sd;
    return r;
}

static bool range(const double *v, int64_t n, double *lo, double *hi)
{
    *lo = INFINITY;
    *hi = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        *lo = fmin(*lo, v[i]);
        *hi = fmax(*hi, v[i]);
    }
    return n > 0 && *hi > *lo;
}

static int level(double v, double lo, double hi, int k) { return (int)nearbyint((v - lo) / (hi - lo) * (k - 1)); }

bl_qim bl_qim_of(const double *x, const double *y, int64_t n, int k)
{
    tally t = {0};
    double lo[2], hi[2];
    if (!range(x, n, &lo[0], &hi[0]) || !range(y, n, &lo[1], &hi[1])) return (bl_qim){.undefined = true};
    for (int64_t i = 0; i < n; i++) count(&t, level(x[i], lo[0], hi[0], k), level(y[i], lo[1], hi[1], k));
    return measure(&t, n, k);
}

bool bl_qim_levels(const double *v, int64_t n, int k, uint8_t *out)
{
    double lo, hi;
    bool spread = range(v, n, &lo, &hi);
    for (int64_t i = 0; i < n; i++) out[i] = spread ? (uint8_t)level(v[i], lo, hi, k) : 0;
    return spread;
}

bl_qim bl_qim_of_levels(const uint8_t *a, const uint8_t *b, int64_t n, int k)
{
    tally t = {0};
    for (int64_t i = 0; i < n; i++) count(&t, a[i], b[i]);
    if (n < 1 || t.members[a[0]] == n || t.squares * n == t.all * t.all) return (bl_qim){.undefined = true};
    return measure(&t, n, k);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

bl_status bl_qim_clip(double *v, int64_t n, double percent, bl_err *e)
{
    double *sorted, lo, hi;
    if (percent <= 0 || n < 1) return BL_OK;
    if (!(sorted = bl_new((size_t)n, sizeof *sorted, e))) return BL_E_NOMEM;
    memcpy(sorted, v, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, ascending);
    lo = bl_percentile(sorted, n, percent / 100);
    hi = bl_percentile(sorted, n, 1 - percent / 100);
    for (int64_t i = 0; i < n; i++) v[i] = fmin(fmax(v[i], lo), hi);
    bl_free(sorted);
    return BL_OK;
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
