/* stats.h - is a difference more than chance: exact and resampling tests, intervals, many tests at once.
 *
 *     double p = bl_mcnemar(lost, gained);                 // of 0/1 outcomes of the same items
 *     double q = bl_student_p(mean / error, n - 1);        // of differences of the same windows
 *     BL_TRY(bl_holm(list, n, adjusted, e));               // several questions asked together
 *
 * All p are two-sided. Checked against SciPy and statsmodels (tests/data/golden/stats.json).
 */
#ifndef BL_RESULTS_STATS_H
#define BL_RESULTS_STATS_H
#include "kernels/base/bl.h"

/* Exact test of McNemar (1947): of lost + gained items that changed sides, each was as likely to go either way.
 * min(1, 2 P(X <= min(lost, gained))), X binomial with one half; 1 when nothing changed. */
double bl_mcnemar(int64_t lost, int64_t gained);
/* P(|T| >= |t|) of Student's distribution; df > 0. */
double bl_student_p(double t, double df);
/* The t that bl_student_p gives p for, 0 < p < 1: 12.706 for p 0.05 and one degree of freedom. */
double bl_student_t(double p, double df);

/* p adjusted so that among n true null hypotheses the chance of one wrong alarm stays at the level of one (Holm 1979):
 * the k-th smallest times n - k + 1, never below a smaller one's, at most 1. `out` may be `p`. */
bl_status bl_holm(const double *p, size_t n, double *out, bl_err *e);

/* Resampling of d[n] with replacement (Efron 1979), `draws` times, the same every time for one seed. low, high: 2.5 and
 * 97.5 percentiles of the statistic; p: twice the share of draws on the other side of zero, with one added above and
 * below the line, and never below 2^(1-m), the chance that m items which differ all fall on one side. stratum [n]:
 * draws keep within items of one number (0 .. n_strata-1), and the statistic is the mean of the means of the strata;
 * NULL: the mean. */
typedef struct bl_resampled {
    double low, high, p;
} bl_resampled;
bl_status bl_bootstrap(const double *d, const int32_t *stratum, int32_t n_strata, int64_t n, int draws, uint64_t seed,
                       bl_resampled *out, bl_err *e);

/* Two-sided p of Mann and Whitney's (1947) test that neither of x [n] and y [m] tends to be larger: exact without ties
 * while n m <= 2500, else by the normal distribution with corrections for ties and continuity; 1 where one is empty. */
bl_status bl_rank_sum(const double *x, int64_t n, const double *y, int64_t m, double *p, bl_err *e);

/* Items at which a difference `delta`, whose single items vary with standard deviation `sd`, would be found in four
 * studies of five at the level 0.05: (1.960 + 0.842)^2 sd^2 / delta^2, rounded up; 0 when delta is 0. */
double bl_items_needed(double delta, double sd);
#endif
