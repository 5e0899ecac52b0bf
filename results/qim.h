/* qim.h - the Quantized Influence Measure of two vectors of one length (Rangan and Yin 2024, arXiv 2402.17081), as the
 * authors' program computes it.
 *
 * Each vector is put into k levels by itself, q(v)_i = round((v_i - min v) / (max v - min v) (k - 1)), half to even.
 * With a = q(x), b = q(y), cells j the values of a, n_j members of mean b_j, and m and sd the mean and the population
 * standard deviation of b:
 *
 *     QIM(x, y; k) = sum_j (b_j - m)^2 n_j^2 / (n sd)
 *
 * It is not symmetric, does not see the sign of y, has no largest value and grows with n: compare within one model
 * only. A few coordinates that are far larger than the others leave few cells; how many are occupied is told beside it,
 * and bl_qim_clip takes them back. Beside it also the authors' first version, a mean over the cells instead of the sum
 * over n, and the normalized I-score of Chernoff, Lo and Zheng 2009, which divides by the variance.
 */
#ifndef BL_RESULTS_QIM_H
#define BL_RESULTS_QIM_H
#include "kernels/base/bl.h"

enum { BL_QIM_LEVELS = 256 };
typedef struct bl_qim {
    double value, first_version, i_norm; /* 0 where they are undefined: x or the levels of y are constant */
    bool undefined;
    int cells; /* of x that have a member */
} bl_qim;
/* x, y [n]; 2 <= k <= BL_QIM_LEVELS. */
bl_qim bl_qim_of(const double *x, const double *y, int64_t n, int k);
/* The same in two parts, for vectors that are compared many times: the levels of one, false where it is constant or n
 * is 0 (then they are all 0), and the measure of the levels of two. */
bool bl_qim_levels(const double *v, int64_t n, int k, uint8_t *level);
bl_qim bl_qim_of_levels(const uint8_t *a, const uint8_t *b, int64_t n, int k);
/* What is below the percentile `percent` of v [n] becomes that, and what is above 100 - percent that; 0 <= percent
 * < 50. Percentiles are linear between ranks. */
bl_status bl_qim_clip(double *v, int64_t n, double percent, bl_err *e);
/* x . y / (|x| |y|); 0 where one of them is zero. */
double bl_cosine(const double *x, const double *y, int64_t n);
#endif
