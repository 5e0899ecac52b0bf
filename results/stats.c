/* stats.c - distributions and tests; double precision throughout. */
#include "stats.h"
#include "kernels/base/rng.h"
#include "metric.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* P(X = k) of n throws of a coin, k <= n / 2; a product while n over k is a double, else by logarithms. */
static double coin(int64_t n, int64_t k)
{
    double term = 1;
    if (n > 1000)
        return exp(lgamma((double)n + 1) - lgamma((double)k + 1) - lgamma((double)(n - k) + 1) - (double)n * M_LN2);
    for (int64_t i = 1; i <= k; i++) term *= (double)(n - k + i) / (double)i;
    return ldexp(term, (int)-n);
}

double bl_mcnemar(int64_t lost, int64_t gained)
{
    int64_t n = lost + gained, k = BL_MIN(lost, gained);
    double term, sum;

    if (lost == gained) return 1;
    term = coin(n, k);
    sum = term;
    for (int64_t i = k; i > 0 && term > sum * 1e-18; i--) { /* P(X = i - 1) from P(X = i) */
        term *= (double)i / (double)(n - i + 1);
        sum += term;
    }
    return BL_MIN(2 * sum, 1);
}

/* ---- Student's distribution --------------------------------------------------------------------- */
/* Continued fraction of the incomplete beta function (DLMF 8.17.22) by the method of Lentz; converges quickly for
 * x < (a + 1) / (a + b + 2). */
static double beta_fraction(double a, double b, double x)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1), h;

    d = 1 / (fabs(d) < tiny ? tiny : d);
    h = d;
    for (int m = 1; m <= 10000; m++) {
        for (int odd = 0; odd < 2; odd++) {
            double up = odd ? -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
                            : m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
            d = 1 + up * d;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = 1 + up / c;
            if (fabs(c) < tiny) c = tiny;
            h *= d * c;
        }
        if (fabs(d * c - 1) < 1e-16) break;
    }
    return h;
}

/* I_x(a, b), with y = 1 - x given apart because it may be tiny. */
static double beta_share(double a, double b, double x, double y)
{
    if (x <= 0) return 0;
    if (y <= 0) return 1;
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(y));
    return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a : 1 - front * beta_fraction(b, a, y) / b;
}

double bl_student_p(double t, double df)
{
    double square = t * t;
    if (isinf(square)) return 0;
    return beta_share(df / 2, 0.5, df / (df + square), square / (df + square));
}

double bl_student_t(double p, double df)
{
    double low = 0, high = 1;
    while (bl_student_p(high, df) > p && high < 1e150) high *= 2;
    for (int i = 0; i < 200 && low < high; i++) {
        double middle = low + (high - low) / 2;
        if (middle <= low || middle >= high) break;
        if (bl_student_p(middle, df) > p) low = middle;
        else high = middle;
    }
    return high;
}

/* ---- many tests --------------------------------------------------------------------------------- */
typedef struct ranked {
    double p;
    size_t at;
} ranked;

static int by_p(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->p != y->p) return x->p < y->p ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

bl_status bl_holm(const double *p, size_t n, double *out, bl_err *e)
{
    ranked *r = bl_new(n, sizeof *r, e);
    double least = 0;

    if (!r) return BL_E_NOMEM;
    for (size_t i = 0; i < n; i++) r[i] = (ranked){p[i], i};
    if (n) qsort(r, n, sizeof *r, by_p);
    for (size_t i = 0; i < n; i++) {
        least = BL_MAX(least, BL_MIN(r[i].p * (double)(n - i), 1));
        out[r[i].at] = least;
    }
    bl_free(r);
    return BL_OK;
}

/* ---- resampling --------------------------------------------------------------------------------- */
static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* d[n] in the order of the strata; first[k] .. first[k + 1] are those of stratum k. */
static void in_strata(const double *d, const int32_t *stratum, int32_t n_strata, int64_t n, double *out, int64_t *first)
{
    for (int64_t i = 0; i < n; i++) first[(stratum ? stratum[i] : 0) + 1]++;
    for (int32_t k = 0; k < n_strata; k++) first[k + 1] += first[k];
    for (int64_t i = 0; i < n; i++) out[first[stratum ? stratum[i] : 0]++] = d[i];
    for (int32_t k = n_strata; k > 0; k--) first[k] = first[k - 1];
    first[0] = 0;
}

bl_status bl_bootstrap(const double *d, const int32_t *stratum, int32_t n_strata, int64_t n, int draws, uint64_t seed,
                       bl_resampled *out, bl_err *e)
{
    bl_status st = BL_OK;
    int32_t groups = stratum ? n_strata : 1;
    bl_rng rng = bl_rng_at(seed, bl_rng_key("bootstrap", 0), 0);
    double *sorted = bl_new((size_t)n, sizeof *sorted, e), *mean = bl_new((size_t)draws, sizeof *mean, e);
    int64_t *first = bl_new((size_t)groups + 1, sizeof *first, e), below = 0, above = 0, moved = 0;

    if (!sorted || !mean || !first) {
        st = BL_E_NOMEM;
        goto out;
    }
    in_strata(d, stratum, groups, n, sorted, first);
    for (int i = 0; i < draws; i++) {
        double of_all = 0;
        for (int32_t k = 0; k < groups; k++) {
            uint64_t size = (uint64_t)(first[k + 1] - first[k]);
            double sum = 0;
            for (uint64_t j = 0; j < size; j++) sum += sorted[first[k] + (int64_t)bl_rng_below(&rng, size)];
            of_all += sum / (double)size;
        }
        mean[i] = of_all / groups;
        below += mean[i] <= 0;
        above += mean[i] >= 0;
    }
    qsort(mean, (size_t)draws, sizeof *mean, by_value);
    out->low = bl_percentile(mean, draws, 0.025);
    out->high = bl_percentile(mean, draws, 0.975);
    for (int64_t i = 0; i < n; i++) moved += d[i] != 0;
    double p = 2 * (double)(BL_MIN(below, above) + 1) / (draws + 1), signs = ldexp(1, 1 - (int)BL_MIN(moved, 64));
    out->p = BL_MIN(BL_MAX(p, signs), 1);
out:
    bl_free(sorted);
    bl_free(mean);
    bl_free(first);
    return st;
}

/* ---- ranks -------------------------------------------------------------------------------------- */
/* P(U <= u): of the n + m over n orders, those in which u pairs or fewer are the wrong way round. count[i][k]: orders
 * of i of the first and j of the second with k such pairs, j going up. */
static bl_status orders_up_to(int64_t n, int64_t m, int64_t u, double *p, bl_err *e)
{
    int64_t wide = n * m + 1;
    double *count = bl_new((size_t)((n + 1) * wide), sizeof *count, e), few = 0, all = 0;
    if (!count) return BL_E_NOMEM;
    for (int64_t i = 0; i <= n; i++) count[i * wide] = 1; /* j = 0: one order */
    for (int64_t j = 1; j <= m; j++)
        for (int64_t i = 1; i <= n; i++) /* the last is of the second: i pairs more; or of the first: none */
            for (int64_t k = i * j; k >= 0; k--) {
                double *c = count + i * wide + k;
                *c = (k >= i ? c[-i] : 0) + count[(i - 1) * wide + k];
            }
    for (int64_t k = 0; k < wide; k++) {
        all += count[n * wide + k];
        few += k <= u ? count[n * wide + k] : 0;
    }
    *p = few / all;
    bl_free(count);
    return BL_OK;
}

bl_status bl_rank_sum(const double *x, int64_t n, const double *y, int64_t m, double *p, bl_err *e)
{
    double u = 0, ties = 0, all = (double)(n + m);
    *p = 1;
    if (n < 1 || m < 1) return BL_OK;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++) u += x[i] > y[j] ? 1 : x[i] == y[j] ? 0.5 : 0;
    for (int64_t i = 0; i < n + m; i++) { /* sum of t^2 - 1 over numbers is sum of t^3 - t over ties */
        double v = i < n ? x[i] : y[i - n], same = 0;
        for (int64_t j = 0; j < n + m; j++) same += v == (j < n ? x[j] : y[j - n]);
        ties += same * same - 1;
    }
    double product = (double)n * (double)m, less = fmin(u, product - u);
    if (ties == 0 && n * m <= 2500) {
        bl_status st = orders_up_to(n, m, (int64_t)less, p, e);
        *p = fmin(2 * *p, 1);
        return st;
    }
    double var = product / 12 * (all + 1 - ties / (all * (all - 1)));
    if (var > 0) *p = fmin(erfc(fmax(product / 2 - less - 0.5, 0) / sqrt(2 * var)), 1);
    return BL_OK;
}

double bl_items_needed(double delta, double sd)
{
    static const double z = 1.959963984540054 + 0.8416212335729143;           /* normal quantiles 0.975 and 0.8 */
    return delta == 0 ? 0 : fmax(2, ceil(z * z * sd * sd / (delta * delta))); /* one item has no spread */
}
