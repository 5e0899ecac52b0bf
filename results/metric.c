/* metric.c - samples become numbers, with the standard error that the protocol of each metric has.
 *
 * Sums run in double over the samples in the order given (the caller sorts by id), so the same samples give the same
 * bits.
 */
#include "metric.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Entry `at` of a list of a sample, when the list is that long and the number is one. */
static bl_status take(const bl_metric *m, const bl_sample *s, const char *what, const double *v, int n, int at,
                      double *out, bl_err *e)
{
    if (at < 0 || at >= n)
        return bl_fail(e, BL_E_INTERNAL, "metric %s: sample %lld has %d %ss, number %d is needed", m->name,
                       (long long)s->id, n, what, at);
    if (!isfinite(v[at]))
        return bl_fail(e, BL_E_NUMERIC, "metric %s: sample %lld: %s %d is %f, not a finite number", m->name,
                       (long long)s->id, what, at, v[at]);
    *out = v[at];
    return BL_OK;
}

static bl_status value(const bl_metric *m, const bl_sample *s, int at, double *out, bl_err *e)
{
    return take(m, s, "value", s->value, s->n_values, at, out, e);
}

/* A flag, a score, or the mean of consecutive scores. */
bl_status bl_metric_entry(const bl_metric *m, const bl_sample *s, double *out, bl_err *e)
{
    bl_status st = BL_OK;
    double sum = 0, x = 0;
    int steps = BL_MAX(m->steps, 1);

    if (m->agg == BL_AGG_FLAG_SHARE) {
        *out = (s->flags & (uint32_t)m->a) != 0;
        return BL_OK;
    }
    for (int k = 0; k < steps; k++) {
        BL_TRY(take(m, s, "score", s->score, s->n_scores, m->a + k, &x, e));
        sum += x;
    }
    *out = sum / steps;
out:
    return st;
}

bool bl_metric_takes(const bl_metric *m, const bl_sample *s)
{
    return !m->given || (m->given <= s->n_scores && s->score[m->given - 1] == 1);
}

void bl_mean_of(const double *v, int64_t n, double *mean, double *error)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) sum += v[i];
    *mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) squares += (v[i] - *mean) * (v[i] - *mean);
    *error = n > 1 ? sqrt(squares / (double)(n - 1) / (double)n) : 0;
}

static bl_status mean(const bl_metric *m, const bl_sample *s, int64_t n, bl_value *out, bl_err *e)
{
    bl_status st = BL_OK;
    double *v = bl_new((size_t)n, sizeof *v, e);
    int64_t k = 0;

    if (!v) return BL_E_NOMEM;
    for (int64_t i = 0; i < n; i++)
        if (bl_metric_takes(m, &s[i])) BL_TRY(bl_metric_entry(m, &s[i], &v[k++], e));
    if (!k) {
        st = bl_fail(e, BL_E_MISSING, "metric %s: it means something for none of the %" PRId64 " items", m->name, n);
        goto out;
    }
    bl_mean_of(v, k, &out->value, &out->stderr_);
    out->has_stderr = k > 1;
    out->n = k;
out:
    bl_free(v);
    return st;
}

/* r = A / B with A = sum a_i, B = sum b_i over n samples. */
static bl_status ratio(const bl_metric *m, const bl_sample *s, int64_t n, double *a, double *b, bl_err *e)
{
    bl_status st = BL_OK;

    *a = *b = 0;
    for (int64_t i = 0; i < n; i++) {
        double x = 0, over = 1;
        BL_TRY(value(m, &s[i], m->a, &x, e));
        if (m->b >= 0) BL_TRY(value(m, &s[i], m->b, &over, e));
        *a += x;
        *b += over;
    }
    if (!(*b > 0))
        st = bl_fail(e, BL_E_NUMERIC, "metric %s: none of the %" PRId64 " items has a scored token, word or byte",
                     m->name, n);
out:
    return st;
}

enum { FEW = 4 }; /* fewer windows or documents say nothing about their own spread */

/* Delta method: var(r) = n / (n - 1) * sum (a_i - r b_i)^2 / B^2, and exp(r) moves exp(r) times as much. */
static bl_status exp_ratio(const bl_metric *m, const bl_sample *s, int64_t n, bl_value *out, bl_err *e)
{
    double a, b, squares = 0;
    bl_status st = ratio(m, s, n, &a, &b, e);

    if (st != BL_OK) return st;
    for (int64_t i = 0; i < n; i++) {
        double d = s[i].value[m->a] - a / b * (m->b < 0 ? 1 : s[i].value[m->b]);
        squares += d * d;
    }
    out->value = exp(a / b);
    out->has_stderr = n >= FEW;
    out->stderr_ = n >= FEW ? out->value * sqrt((double)n / (double)(n - 1) * squares) / b : 0;
    return BL_OK;
}

/* From tokens instead of samples: N tokens, mean and mean of squares of their nll (llama.cpp's perplexity). */
static bl_status exp_tokens(const bl_metric *m, const bl_sample *s, int64_t n, bl_value *out, bl_err *e)
{
    double a, tokens, squares = 0, mu;
    bl_status st = ratio(m, s, n, &a, &tokens, e);

    if (st != BL_OK) return st;
    for (int64_t i = 0; i < n; i++) {
        double square = 0;
        if ((st = value(m, &s[i], m->c, &square, e)) != BL_OK) return st;
        squares += square;
    }
    mu = a / tokens;
    out->value = exp(mu);
    out->has_stderr = tokens > 1;
    out->stderr_ = tokens > 1 ? out->value * sqrt(fmax(squares / tokens - mu * mu, 0) / (tokens - 1)) : 0;
    return BL_OK;
}

static bl_status over_samples(const bl_metric *m, const bl_sample *s, int64_t n, bl_value *out, bl_err *e)
{
    bl_value v = {.n = n};
    bl_status st = BL_E_INTERNAL;
    double a, b;

    switch (m->agg) {
    case BL_AGG_MEAN:
    case BL_AGG_FLAG_SHARE: st = mean(m, s, n, &v, e); break;
    case BL_AGG_EXP_RATIO: st = exp_ratio(m, s, n, &v, e); break;
    case BL_AGG_EXP_TOKENS: st = exp_tokens(m, s, n, &v, e); break;
    case BL_AGG_RATIO:
        if ((st = ratio(m, s, n, &a, &b, e)) == BL_OK) v.value = (m->factor != 0 ? m->factor : 1) * a / b;
        break;
    }
    if (st == BL_OK) *out = v;
    return st;
}

/* ---- groups ------------------------------------------------------------------------------------- */
static int by_group(const void *a, const void *b)
{
    const bl_sample *x = a, *y = b;
    int order = strcmp(x->group, y->group);
    return order ? order : (x->id > y->id) - (x->id < y->id);
}

/* The samples that have a group, by group and id; bl_free. */
static bl_status grouped(const bl_sample *s, int64_t n, bl_sample **out, int64_t *n_out, bl_err *e)
{
    bl_sample *g = bl_new((size_t)n, sizeof *g, e);
    int64_t k = 0;
    if (!g) return BL_E_NOMEM;
    for (int64_t i = 0; i < n; i++)
        if (s[i].group) g[k++] = s[i];
    if (k) qsort(g, (size_t)k, sizeof *g, by_group);
    *out = g;
    *n_out = k;
    return BL_OK;
}

static int64_t group_end(const bl_sample *g, int64_t from, int64_t n)
{
    int64_t to = from + 1;
    while (to < n && strcmp(g[to].group, g[from].group) == 0) to++;
    return to;
}

/* "part" of "part/group", 0 without one; where the samples of the same part end. */
static size_t part_of(const bl_sample *s)
{
    const char *slash = strchr(s->group, '/');
    return slash ? (size_t)(slash - s->group) : 0;
}

static int64_t part_end(const bl_sample *g, int64_t from, int64_t n)
{
    int64_t to = from + 1;
    size_t len = part_of(&g[from]);
    while (to < n && part_of(&g[to]) == len && !strncmp(g[to].group, g[from].group, len)) to++;
    return to;
}

/* The mean of the groups' values; errors of independent groups add in squares. */
static bl_status over_groups(const bl_metric *m, const bl_sample *s, int64_t n, bl_value *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_sample *g = NULL;
    bl_value v = {.n = n, .has_stderr = true}, one;
    int64_t n_grouped, groups = 0;
    double squares = 0;

    BL_TRY(grouped(s, n, &g, &n_grouped, e));
    if (n_grouped < n) {
        st = bl_fail(e, BL_E_INTERNAL, "metric %s: %lld samples belong to no group", m->name,
                     (long long)(n - n_grouped));
        goto out;
    }
    for (int64_t i = 0, end; i < n; i = end, groups++) {
        end = group_end(g, i, n);
        BL_TRY(over_samples(m, g + i, end - i, &one, e));
        v.value += one.value;
        squares += one.stderr_ * one.stderr_;
        v.has_stderr = v.has_stderr && one.has_stderr;
    }
    v.value /= (double)groups;
    v.stderr_ = sqrt(squares) / (double)groups;
    *out = v;
out:
    bl_free(g);
    return st;
}

/* The variance within the groups, pooled; not known where a group is one sample, whose own is not (there
 * lm-evaluation-harness says N/A of the group and of the pool). */
static bl_status pool(const bl_metric *m, const bl_sample *s, int64_t n, bl_value *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_sample *g = NULL;
    bl_metric one = *m;
    int64_t n_grouped, groups = 0;
    double squares = 0;
    bool known = true;

    one.pooled = false;
    BL_TRY(grouped(s, n, &g, &n_grouped, e));
    for (int64_t i = 0, end; i < n_grouped; i = end, groups++) {
        bl_value v;
        end = group_end(g, i, n_grouped);
        BL_TRY(over_samples(&one, g + i, end - i, &v, e));
        squares += v.stderr_ * v.stderr_ * (double)(end - i) * (double)(end - i - 1);
        known = known && v.has_stderr;
    }
    if (n_grouped < n) goto out; /* of no groups: as it is */
    out->has_stderr = known;
    out->stderr_ = known ? sqrt(squares / (double)(n - groups) / (double)n) : 0;
out:
    bl_free(g);
    return st;
}

bl_status bl_metric_of(const bl_metric *m, const bl_sample *s, int64_t n, bl_value *out, bl_err *e)
{
    bl_value v;
    bl_status st;

    if (n <= 0) return bl_fail(e, BL_E_MISSING, "metric %s: there are no samples", m->name);
    if ((st = (m->macro ? over_groups : over_samples)(m, s, n, &v, e)) != BL_OK) return st;
    if (m->pooled && (st = pool(m, s, n, &v, e)) != BL_OK) return st;
    if (!isfinite(v.value) || !isfinite(v.stderr_))
        return bl_fail(e, BL_E_NUMERIC, "metric %s: the result is %g, not a finite number", m->name, v.value);
    if (m->no_stderr) v.has_stderr = false;
    if (!v.has_stderr) v.stderr_ = 0;
    *out = v;
    return BL_OK;
}

/* ---- all of a task ------------------------------------------------------------------------------ */
bl_status bl_metric_add(bl_metric_list *l, bl_arena *a, const bl_cell_metric *m, bl_err *e)
{
    if (l->n == l->cap) {
        int64_t cap = l->cap ? 2 * l->cap : 16;
        bl_cell_metric *more = bl_alloc(a, (size_t)cap, sizeof *more, e);
        if (!more) return BL_E_NOMEM;
        if (l->n) memcpy(more, l->v, (size_t)l->n * sizeof *more);
        l->v = more;
        l->cap = cap;
    }
    l->v[l->n++] = *m;
    return BL_OK;
}

static bl_status add(const bl_metric *m, const bl_sample *s, int64_t n, const char *group, bl_arena *a,
                     bl_metric_list *out, bl_err *e)
{
    bl_value v;
    bl_status st;
    int64_t enter = 0;

    for (int64_t i = 0; i < n; i++) enter += bl_metric_takes(m, &s[i]);
    if (n && !enter) return BL_OK;
    if ((st = bl_metric_of(m, s, n, &v, e)) != BL_OK) return st;
    return bl_metric_add(out, a,
                         &(bl_cell_metric){.name = m->name,
                                           .unit = m->unit ? m->unit : "1",
                                           .direction = m->direction,
                                           .value = v.value,
                                           .stderr_ = v.stderr_,
                                           .has_stderr = v.has_stderr,
                                           .n = v.n,
                                           .headline = m->headline,
                                           .percent = m->percent,
                                           .group = group,
                                           .over = m->agg == BL_AGG_EXP_TOKENS ? "tokens"
                                                   : m->items                  ? m->items
                                                                               : "items"},
                         e);
}

bl_status bl_metrics_over_all(const bl_metric *row, int n_rows, const bl_sample *s, int64_t n, bl_arena *a,
                              bl_metric_list *out, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t first = out->n;
    bool headline = false;

    for (int i = 0; i < n_rows; i++) {
        BL_TRY(add(&row[i], s, n, NULL, a, out, e));
        headline = headline || row[i].headline;
    }
    if (out->n > first && !headline) out->v[first].headline = true;
out:
    return st;
}

static bl_status steps_of(const bl_metric *m, const bl_sample *s, int64_t n, bl_arena *a, bl_metric_list *out,
                          bl_err *e)
{
    bl_status st = BL_OK;
    for (int k = 0; k < m->steps; k++) {
        bl_metric one = *m;
        char text[32];
        const char *name;
        one.a += k;
        one.steps = 0;
        snprintf(text, sizeof text, "step %d", k);
        if (!(name = bl_arena_str(a, text, strlen(text), e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        BL_TRY(add(&one, s, n, name, a, out, e));
    }
out:
    return st;
}

static bl_status parts_of(const bl_metric *m, const bl_sample *g, int64_t n, bl_arena *a, bl_metric_list *out,
                          bl_err *e)
{
    bl_status st = BL_OK;
    for (int64_t k = 0, end; k < n; k = end) {
        const char *name;
        end = part_end(g, k, n);
        if (!part_of(&g[k])) continue;
        if (!(name = bl_arena_str(a, g[k].group, part_of(&g[k]), e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        BL_TRY(add(m, g + k, end - k, name, a, out, e));
    }
out:
    return st;
}

bl_status bl_metrics_by_group(const bl_metric *row, int n_rows, const bl_sample *s, int64_t n, bl_arena *a,
                              bl_metric_list *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_sample *g = NULL;
    int64_t n_grouped;

    BL_TRY(grouped(s, n, &g, &n_grouped, e));
    for (int i = 0; i < n_rows; i++) {
        if (row[i].steps > 0) BL_TRY(steps_of(&row[i], s, n, a, out, e));
        if (row[i].by_group) BL_TRY(parts_of(&row[i], g, n_grouped, a, out, e));
        for (int64_t k = 0, end; row[i].by_group && k < n_grouped; k = end) {
            end = group_end(g, k, n_grouped);
            BL_TRY(add(&row[i], g + k, end - k, g[k].group, a, out, e));
        }
    }
out:
    bl_free(g);
    return st;
}

double bl_percentile(const double *sorted, int64_t n, double f)
{
    double at = f * (double)(n - 1);
    int64_t low = (int64_t)floor(at);

    if (n <= 0) return 0;
    if (low < 0) return sorted[0];
    if (low >= n - 1) return sorted[n - 1];
    return sorted[low] + (at - (double)low) * (sorted[low + 1] - sorted[low]);
}
