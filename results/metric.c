/* metric.c - samples become numbers, with the standard error that the protocol of each metric has.
 *
 * Sums run in double over the samples in the order given (the caller sorts by id), so the same samples give the same
 * bits.
 */
#include "metric.h"

#include <math.h>

/* A number that enters; `what` and the id name it when it is not one. */
static bl_status use(const bl_metric *m, const bl_sample *s, const char *what, int at, double v, bl_err *e)
{
    if (isfinite(v)) return BL_OK;
    return bl_fail(e, BL_E_NUMERIC, "metric %s: sample %lld: %s %d is %f, not a finite number", m->name,
                   (long long)s->id, what, at, v);
}

static double entry(const bl_metric *m, const bl_sample *s)
{
    return m->agg == BL_AGG_FLAG_SHARE ? (s->flags & (uint32_t)m->a) != 0 : s->score[m->a];
}

/* Mean of x_i; its standard error is the sample standard deviation over sqrt(n), none for a single sample. */
static bl_status mean(const bl_metric *m, const bl_sample *s, int64_t n, bl_value *out, bl_err *e)
{
    bl_status st;
    double sum = 0, squares = 0;

    for (int64_t i = 0; i < n; i++) {
        double x = entry(m, &s[i]);
        if ((st = use(m, &s[i], "score", m->a, x, e)) != BL_OK) return st;
        sum += x;
    }
    out->value = sum / (double)n;
    for (int64_t i = 0; i < n; i++) {
        double x = entry(m, &s[i]);
        squares += (x - out->value) * (x - out->value);
    }
    out->has_stderr = n > 1;
    out->stderr_ = n > 1 ? sqrt(squares / (double)(n - 1) / (double)n) : 0;
    return BL_OK;
}

/* r = A / B with A = sum a_i, B = sum b_i over n samples. */
static bl_status ratio(const bl_metric *m, const bl_sample *s, int64_t n, double *a, double *b, bl_err *e)
{
    bl_status st;

    *a = *b = 0;
    for (int64_t i = 0; i < n; i++) {
        double over = m->b < 0 ? 1 : s[i].value[m->b];
        if ((st = use(m, &s[i], "value", m->a, s[i].value[m->a], e)) != BL_OK) return st;
        if ((st = use(m, &s[i], "value", m->b, over, e)) != BL_OK) return st;
        *a += s[i].value[m->a];
        *b += over;
    }
    return *b > 0 ? BL_OK : bl_fail(e, BL_E_NUMERIC, "metric %s: the divisor is %g", m->name, *b);
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
        if ((st = use(m, &s[i], "value", m->c, s[i].value[m->c], e)) != BL_OK) return st;
        squares += s[i].value[m->c];
    }
    mu = a / tokens;
    out->value = exp(mu);
    out->has_stderr = tokens > 1;
    out->stderr_ = tokens > 1 ? out->value * sqrt(fmax(squares / tokens - mu * mu, 0) / (tokens - 1)) : 0;
    return BL_OK;
}

bl_status bl_metric_of(const bl_metric *m, const bl_sample *s, int64_t n, bl_value *out, bl_err *e)
{
    bl_value v = {.n = n};
    bl_status st = BL_E_INTERNAL;
    double a, b;

    if (n <= 0) return bl_fail(e, BL_E_MISSING, "metric %s: there are no samples", m->name);
    switch (m->agg) {
    case BL_AGG_MEAN:
    case BL_AGG_FLAG_SHARE: st = mean(m, s, n, &v, e); break;
    case BL_AGG_EXP_RATIO: st = exp_ratio(m, s, n, &v, e); break;
    case BL_AGG_EXP_TOKENS: st = exp_tokens(m, s, n, &v, e); break;
    case BL_AGG_RATIO:
        if ((st = ratio(m, s, n, &a, &b, e)) == BL_OK) v.value = (m->factor != 0 ? m->factor : 1) * a / b;
        break;
    }
    if (st != BL_OK) return st;
    if (!isfinite(v.value) || !isfinite(v.stderr_))
        return bl_fail(e, BL_E_NUMERIC, "metric %s: the result is %g, not a finite number", m->name, v.value);
    if (m->no_stderr) v.has_stderr = false;
    if (!v.has_stderr) v.stderr_ = 0;
    *out = v;
    return BL_OK;
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
