/* billm_search.c - which columns of a block are salient, and where the other weights are split in two. */
#include "billm.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct scored {
    double score;
    int64_t column;
} scored;
static int by_score(const void *a, const void *b) /* largest first, equal ones in order */
{
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return x->column < y->column ? -1 : 1;
}
static int by_size(const void *a, const void *b)
{
    float x = fabsf(*(const float *)a), y = fabsf(*(const float *)b);
    return (x > y) - (x < y);
}

/* Squared error of n numbers as m1 +- a1 + m2 +- a2, the second of what the first leaves. */
static double two_signs(const float *x, int64_t n)
{
    double mean = 0, size = 0, mean2 = 0, size2 = 0, power = 0;
    if (n < 1) return 0;
    for (int64_t i = 0; i < n; i++) mean += x[i];
    mean /= (double)n;
    for (int64_t i = 0; i < n; i++) size += fabs(x[i] - mean);
    size /= (double)n;
    for (int64_t i = 0; i < n; i++) mean2 += (x[i] - mean) - copysign(size, x[i] - mean);
    mean2 /= (double)n;
    for (int64_t i = 0; i < n; i++) {
        double r = (x[i] - mean) - copysign(size, x[i] - mean) - mean2;
        size2 += fabs(r);
        power += r * r;
    }
    size2 /= (double)n;
    return fmax(power - (double)n * size2 * size2, 0); /* sum (|r| - a)^2 */
}

bl_status bl_billm_columns(const float *s, int64_t rows, int64_t n, uint8_t *salient, double *error, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t most = BL_MIN(BL_BILLM_COLUMNS, n), best = 0;
    double sum[BL_BILLM_COLUMNS] = {0};
    scored *order = bl_new((size_t)n, sizeof *order, e);
    float *row = bl_new((size_t)n, sizeof *row, e);
    if (!order || !row) {
        st = BL_E_NOMEM;
        goto out;
    }
    memset(salient, 0, (size_t)n);
    for (int64_t j = 0; j < n; j++) order[j].column = j;
    for (int64_t i = 0; i < rows * n; i++) order[i % n].score += fabsf(s[i]);
    qsort(order, (size_t)n, sizeof *order, by_score);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < n; j++) row[j] = s[i * n + order[j].column];
        for (int64_t k = 1; k < most; k++) sum[k] += two_signs(row, k) + two_signs(row + k, n - k);
    }
    for (int64_t k = 1; k < most; k++)
        if (!best || sum[k] < sum[best]) best = k;
    for (int64_t j = 0; j < best; j++) salient[order[j].column] = 1;
    for (int64_t k = 0; error && k < BL_BILLM_COLUMNS; k++) error[k] = sum[k] / ((double)rows * (double)n);
out:
    bl_free(order);
    bl_free(row);
    return st;
}

/* Quantiles of n sizes, between neighbours in proportion; `all` is sorted. Levels and places in float, as published. */
static bl_status quantiles(const float *s, int64_t rows, int64_t n, const uint8_t *salient, float out[BL_BILLM_SPLITS],
                           bl_err *e)
{
    int64_t count = rows * n;
    float *all = bl_new((size_t)count, sizeof *all, e);
    if (!all) return BL_E_NOMEM;
    for (int64_t i = 0; i < count; i++) all[i] = salient[i % n] ? 0 : fabsf(s[i]);
    qsort(all, (size_t)count, sizeof *all, by_size);
    for (int q = 0; q < BL_BILLM_SPLITS; q++) {
        float place = (float)(0.1 + 0.01 * q) * (float)(count - 1);
        int64_t below = BL_MIN((int64_t)place, count - 1), above = BL_MIN(below + 1, count - 1);
        out[q] = all[below] + (place - (float)below) * (all[above] - all[below]);
    }
    bl_free(all);
    return BL_OK;
}

/* Squared error of n numbers as m +- a. */
static double one_sign(const float *x, int64_t n)
{
    double mean = 0, size = 0, power = 0;
    if (n < 1) return 0;
    for (int64_t i = 0; i < n; i++) mean += x[i];
    mean /= (double)n;
    for (int64_t i = 0; i < n; i++) {
        double d = x[i] - mean;
        size += fabs(d);
        power += d * d;
    }
    return fmax(power - size * size / (double)n, 0);
}

bl_status bl_billm_split(const float *s, int64_t rows, int64_t n, const uint8_t *salient, float *threshold, bl_err *e)
{
    bl_status st = BL_OK;
    float at[BL_BILLM_SPLITS];
    double sum[BL_BILLM_SPLITS] = {0};
    int best = 0;
    float *row = bl_new((size_t)n, sizeof *row, e);
    if (!row) return BL_E_NOMEM;
    BL_TRY(quantiles(s, rows, n, salient, at, e));
    for (int64_t i = 0; i < rows; i++) {
        int64_t m = 0, cut = 0, last = -1;
        double error = 0;
        for (int64_t j = 0; j < n; j++)
            if (!salient[j]) row[m++] = s[i * n + j];
        qsort(row, (size_t)m, sizeof *row, by_size);
        for (int q = 0; q < BL_BILLM_SPLITS; q++) { /* candidates rise */
            while (cut < m && fabsf(row[cut]) < at[q]) cut++;
            if (cut != last) error = one_sign(row, cut) + one_sign(row + cut, m - cut);
            last = cut;
            sum[q] += error;
        }
    }
    for (int q = 1; q < BL_BILLM_SPLITS; q++)
        if (sum[q] < sum[best]) best = q;
    *threshold = at[best];
out:
    bl_free(row);
    return st;
}
