/* strength.c - Bradley-Terry strengths and their bootstrap. */
#include "strength.h"
#include "metric.h"
#include "kernels/base/rng.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 10000 };

/* p of every player: sums of scores w [k], meetings met [k, k]; one tie with a player of strength 1 is added to all. */
static void solve(const double *w, const double *met, int k, double *p)
{
    for (int i = 0; i < k; i++) p[i] = 1;
    for (int round = 0; round < ROUNDS; round++) {
        double change = 0;
        for (int i = 0; i < k; i++) {
            double sum = 1 / (p[i] + 1), next;
            for (int j = 0; j < k; j++) sum += met[i * k + j] / (p[i] + p[j]);
            next = (w[i] + 0.5) / sum;
            change = fmax(change, fabs(log(next / p[i])));
            p[i] = next;
        }
        if (change < 1e-12) return;
    }
}

static void ratings(const double *p, int k, double *out)
{
    double mean = 0;
    for (int i = 0; i < k; i++) mean += 400 * log10(p[i]) / k;
    for (int i = 0; i < k; i++) out[i] = 1000 + 400 * log10(p[i]) - mean;
}

/* Sums over the matches, each as often as `times` says of its item. */
static void count(const bl_match *m, size_t n, const size_t *item, const int64_t *times, int k, double *w, double *met)
{
    memset(w, 0, (size_t)k * sizeof *w);
    memset(met, 0, (size_t)(k * k) * sizeof *met);
    for (size_t i = 0; i < n; i++) {
        double t = times ? (double)times[item[i]] : 1;
        w[m[i].a] += t * m[i].score;
        w[m[i].b] += t * (1 - m[i].score);
        met[m[i].a * k + m[i].b] += t;
        met[m[i].b * k + m[i].a] += t;
    }
}

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static int by_item(const void *x, const void *y)
{
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return (a > b) - (a < b);
}

/* Number of each match's item among those that differ. */
static bl_status items_of(const bl_match *m, size_t n, size_t *item, size_t *n_items, bl_err *e)
{
    int64_t *list = bl_new(n, sizeof *list, e);
    size_t k = 0;
    if (!list) return BL_E_NOMEM;
    for (size_t i = 0; i < n; i++) list[i] = m[i].item;
    qsort(list, n, sizeof *list, by_item);
    for (size_t i = 0; i < n; i++)
        if (!i || list[i] != list[k - 1]) list[k++] = list[i];
    for (size_t i = 0; i < n; i++)
        item[i] = (size_t)((int64_t *)bsearch(&m[i].item, list, k, sizeof *list, by_item) - list);
    *n_items = k;
    bl_free(list);
    return BL_OK;
}

bl_status bl_strengths(const bl_match *m, size_t n, int n_players, int draws, uint64_t seed, bl_strength *out,
                       bl_err *e)
{
    bl_status st = BL_OK;
    size_t k = (size_t)n_players, n_items = 0;
    double *w = bl_new(k, sizeof *w, e), *met = bl_new(k * k, sizeof *met, e), *p = bl_new(k, sizeof *p, e),
           *rating = bl_new(k, sizeof *rating, e), *drawn = bl_new(k * (size_t)BL_MAX(draws, 1), sizeof *drawn, e);
    size_t *item = bl_new(n, sizeof *item, e);
    int64_t *times = bl_new(n, sizeof *times, e);

    if (!w || !met || !p || !rating || !drawn || !item || !times) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < k; i++) out[i] = (bl_strength){0};
    for (size_t i = 0; i < n; i++) {
        if (m[i].a < 0 || m[i].b < 0 || m[i].a >= n_players || m[i].b >= n_players || m[i].a == m[i].b) {
            st = bl_fail(e, BL_E_CONFIG, "match %zu: players %d and %d of %d do not meet", i, m[i].a, m[i].b,
                         n_players);
            goto out;
        }
        bool tie = m[i].score == 0.5, first = m[i].score > 0.5;
        out[m[i].a].tied += tie;
        out[m[i].b].tied += tie;
        out[m[i].a].won += !tie && first;
        out[m[i].b].lost += !tie && first;
        out[m[i].a].lost += !tie && !first;
        out[m[i].b].won += !tie && !first;
    }
    count(m, n, NULL, NULL, n_players, w, met);
    solve(w, met, n_players, p);
    ratings(p, n_players, rating);
    BL_TRY(items_of(m, n, item, &n_items, e));
    for (int d = 0; d < draws; d++) {
        bl_rng r = bl_rng_at(seed, bl_rng_key("strength", 0), (uint64_t)d);
        memset(times, 0, n * sizeof *times);
        for (size_t i = 0; i < n_items; i++) times[bl_rng_below(&r, n_items)]++;
        count(m, n, item, times, n_players, w, met);
        solve(w, met, n_players, p);
        ratings(p, n_players, w);
        for (size_t i = 0; i < k; i++) drawn[i * (size_t)draws + (size_t)d] = w[i];
    }
    for (size_t i = 0; i < k; i++) {
        double *of = drawn + i * (size_t)draws;
        out[i].rating = out[i].low = out[i].high = rating[i];
        if (!draws) continue;
        qsort(of, (size_t)draws, sizeof *of, by_value);
        out[i].low = bl_percentile(of, draws, 0.025);
        out[i].high = bl_percentile(of, draws, 0.975);
    }
out:
    bl_free(w);
    bl_free(met);
    bl_free(p);
    bl_free(rating);
    bl_free(drawn);
    bl_free(item);
    bl_free(times);
    return st;
}
