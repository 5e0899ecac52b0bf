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

enum { ROWS = 16 }; /* of a piece */
typedef struct search {
    const float *s;
    int64_t rows, n, most; /* candidates 0 .. most - 1, less those that there are not */
    bool of_salient;       /* salient columns are split, else the others */
    const scored *order;
    const uint8_t *salient;
    const float *at; /* thresholds, rising */
    float *space;    /* [rows, n] */
    double *sum;     /* [pieces, candidates], of the rows of a piece */
} search;
static int64_t pieces(int64_t rows) { return (rows + ROWS - 1) / ROWS; }

static void column_errors(void *ctx, int64_t piece)
{
    const search *p = ctx;
    double *sum = p->sum + piece * p->most;
    for (int64_t i = piece * ROWS; i < BL_MIN((piece + 1) * ROWS, p->rows); i++) {
        float *row = p->space + i * p->n;
        for (int64_t j = 0; j < p->n; j++) row[j] = p->s[i * p->n + p->order[j].column];
        for (int64_t k = 1; k < p->most; k++) sum[k] += two_signs(row, k) + two_signs(row + k, p->n - k);
    }
}

/* Sums of all pieces become those of the first. */
static void add_up(const search *p)
{
    for (int64_t i = 1; i < pieces(p->rows); i++)
        for (int64_t k = 0; k < p->most; k++) p->sum[k] += p->sum[i * p->most + k];
}
/* The least of candidates from .. to, the first of those that do not differ by more than `same`. */
static int64_t least(const double *sum, int64_t from, int64_t to, double same)
{
    int64_t best = from;
    for (int64_t k = from; k < to; k++)
        if (sum[k] < sum[best] - same) best = k;
    return best;
}

bl_status bl_billm_columns(bl_backend *be, const float *s, int64_t rows, int64_t n, int64_t most, uint8_t *salient,
                           double *error, bl_err *e)
{
    bl_status st = BL_OK;
    search p = {.s = s, .rows = rows, .n = n, .most = BL_MIN(BL_MIN(BL_BILLM_COLUMNS, most + 1), n)};
    scored *order = bl_new((size_t)n, sizeof *order, e);
    if (!order || !(p.space = bl_new((size_t)(rows * n), sizeof *p.space, e)) ||
        !(p.sum = bl_new((size_t)(pieces(rows) * p.most), sizeof *p.sum, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    memset(salient, 0, (size_t)n);
    p.order = order;
    for (int64_t j = 0; j < n; j++) order[j].column = j;
    for (int64_t i = 0; i < rows * n; i++) order[i % n].score += fabsf(s[i]);
    qsort(order, (size_t)n, sizeof *order, by_score);
    BL_TRY(be->ops->each(be, &(bl_each_args){.n = pieces(rows), .piece = column_errors, .ctx = &p}, e));
    add_up(&p);
    for (int64_t j = 0, best = p.most > 1 ? least(p.sum, 1, p.most, 0) : 0; j < best; j++) salient[order[j].column] = 1;
    for (int64_t k = 0; error && k < BL_BILLM_COLUMNS; k++)
        error[k] = k < p.most ? p.sum[k] / ((double)rows * (double)n) : 0;
out:
    bl_free(order);
    bl_free(p.space);
    bl_free(p.sum);
    return st;
}

/* Sorts numbers that are not negative: their bits are in their order. `space` is as long. */
static void sort_sizes(float *v, int64_t n, float *space)
{
    enum { DIGIT = 11, VALUES = 1 << DIGIT };
    for (int shift = 0; shift < 33; shift += DIGIT) {
        int64_t begin[VALUES + 1] = {0};
        uint32_t u;
        for (int64_t i = 0; i < n; i++) {
            memcpy(&u, &v[i], sizeof u);
            begin[(u >> shift & (VALUES - 1)) + 1]++;
        }
        for (int k = 0; k < VALUES; k++) begin[k + 1] += begin[k];
        for (int64_t i = 0; i < n; i++) {
            memcpy(&u, &v[i], sizeof u);
            space[begin[u >> shift & (VALUES - 1)]++] = v[i];
        }
        memcpy(v, space, (size_t)n * sizeof *v);
    }
}

/* Quantiles of n sizes, between neighbours in proportion. Levels and places in float, as published. */
static bl_status quantiles(const search *p, float out[BL_BILLM_SPLITS], bl_err *e)
{
    int64_t count = 0;
    float *all = bl_new(2 * (size_t)(p->rows * p->n), sizeof *all, e);
    if (!all) return BL_E_NOMEM;
    for (int64_t i = 0; i < p->rows * p->n; i++) {
        bool salient = p->salient[i % p->n];
        if (!p->of_salient) all[count++] = salient ? 0 : fabsf(p->s[i]);
        else if (salient && p->s[i] != 0) all[count++] = fabsf(p->s[i]);
    }
    sort_sizes(all, count, all + count);
    for (int q = 0; q < BL_BILLM_SPLITS; q++) {
        float place = (float)(0.1 + 0.01 * q) * (float)(count - 1);
        int64_t below = BL_MIN((int64_t)place, count - 1), above = BL_MIN(below + 1, count - 1);
        out[q] = count ? all[below] + (place - (float)below) * (all[above] - all[below]) : 0;
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

static void split_errors(void *ctx, int64_t piece)
{
    const search *p = ctx;
    double *sum = p->sum + piece * p->most;
    for (int64_t i = piece * ROWS; i < BL_MIN((piece + 1) * ROWS, p->rows); i++) {
        float *row = p->space + i * p->n;
        int64_t m = 0, rest = p->n, cut = 0, last = -1;
        double error = 0;
        for (int64_t j = 0; j < p->n; j++) /* those that are split, then the others from the end */
            if (p->salient[j] == p->of_salient) row[m++] = p->s[i * p->n + j];
            else row[--rest] = p->s[i * p->n + j];
        qsort(row, (size_t)m, sizeof *row, by_size);
        for (int q = 0; q < BL_BILLM_SPLITS; q++) {
            while (cut < m && fabsf(row[cut]) < p->at[q]) cut++;
            if (cut != last && p->of_salient) error = two_signs(row, cut) + two_signs(row + cut, m - cut);
            else if (cut != last) error = one_sign(row, cut) + one_sign(row + cut, m - cut);
            last = cut;
            sum[q] += error;
        }
        if (p->of_salient) sum[BL_BILLM_SPLITS] += two_signs(row + rest, p->n - rest);
    }
}

bl_status bl_billm_split(bl_backend *be, const float *s, int64_t rows, int64_t n, const uint8_t *salient,
                         bool of_salient, float *threshold, bl_err *e)
{
    bl_status st = BL_OK;
    float at[BL_BILLM_SPLITS];
    search p = {.s = s,
                .rows = rows,
                .n = n,
                .most = BL_BILLM_SPLITS + 1, /* the last is the error outside what is split */
                .of_salient = of_salient,
                .salient = salient,
                .at = at};
    if (!(p.space = bl_new((size_t)(rows * n), sizeof *p.space, e)) ||
        !(p.sum = bl_new((size_t)(pieces(rows) * p.most), sizeof *p.sum, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(quantiles(&p, at, e));
    BL_TRY(be->ops->each(be, &(bl_each_args){.n = pieces(rows), .piece = split_errors, .ctx = &p}, e));
    add_up(&p);
    double whole = p.sum[0] + p.sum[BL_BILLM_SPLITS];
    *threshold = at[least(p.sum, 0, BL_BILLM_SPLITS, of_salient ? 1e-7 * whole : 0)];
out:
    bl_free(p.space);
    bl_free(p.sum);
    return st;
}
