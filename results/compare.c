/* compare.c - paired differences of the metrics of two cells. */
#include "compare.h"
#include "stats.h"
#include "table.h"

#include <math.h>
#include <string.h>

enum { DRAWS = 9999 };

const char *bl_paired_test_name(bl_paired_test t)
{
    static const char *const name[] = {"", "exact McNemar", "paired t", "paired bootstrap"};
    return name[t];
}

const char *bl_verdict_name(bl_verdict v)
{
    static const char *const name[] = {"undecided", "better", "worse"};
    return name[v];
}

const char *bl_verdict_mark(bl_verdict v)
{
    static const char *const mark[] = {"\xc2\xb7", "\xe2\x96\xb2", "\xe2\x96\xbc"};
    return mark[v];
}

/* ---- what may be compared ----------------------------------------------------------------------- */
static bl_status unlike(const bl_cell *a, const char *what, const char *x, const char *y, bl_err *e)
{
    return bl_fail(e, BL_E_CONFIG, "%s: %s: %s and %s do not compare", a->task, what, x, y);
}

static const char *or_none(const char *s) { return s && *s ? s : "none"; }

static bl_status same_text(const bl_cell *a, const char *what, const char *x, const char *y, bl_err *e)
{
    x = or_none(x);
    y = or_none(y);
    return strcmp(x, y) ? unlike(a, what, x, y, e) : BL_OK;
}

static void items_text(const bl_cell *c, char out[40])
{
    if (c->limit > 0) snprintf(out, 40, "the first %lld", (long long)c->limit);
    else if (c->drawn > 0) snprintf(out, 40, "%lld drawn", (long long)c->drawn);
    else snprintf(out, 40, "all");
}

bl_status bl_same_items(const bl_cell *a, const bl_cell *b, bl_err *e)
{
    bl_status st = BL_OK;
    char x[40], y[40];

    BL_TRY(same_text(a, "hash of the data", a->data_hash, b->data_hash, e));
    BL_TRY(same_text(a, "BOS", a->bos, b->bos, e));
    items_text(a, x);
    items_text(b, y);
    BL_TRY(same_text(a, "items", x, y, e));
    if (a->n_samples != b->n_samples)
        return bl_fail(e, BL_E_CONFIG, "%s: %lld items and %lld items do not compare", a->task, (long long)a->n_samples,
                       (long long)b->n_samples);
    for (int64_t i = 0; i < a->n_samples; i++)
        if (a->sample[i].id != b->sample[i].id)
            return bl_fail(e, BL_E_CONFIG, "%s: not the same items: place %lld is item %lld and item %lld", a->task,
                           (long long)i, (long long)a->sample[i].id, (long long)b->sample[i].id);
out:
    return st;
}

bl_status bl_comparable(const bl_cell *a, const bl_cell *b, bl_err *e)
{
    bl_status st = BL_OK;
    char x[40], y[40];

    if (strcmp(a->task, b->task)) return bl_fail(e, BL_E_CONFIG, "tasks %s and %s do not compare", a->task, b->task);
    if (a->task_version != b->task_version) {
        snprintf(x, sizeof x, "%lld", (long long)a->task_version);
        snprintf(y, sizeof y, "%lld", (long long)b->task_version);
        return unlike(a, "version of the task", x, y, e);
    }
    BL_TRY(same_text(a, "options of the task", a->task_options, b->task_options, e));
    BL_TRY(bl_same_items(a, b, e));
out:
    return st;
}

bl_status bl_metric_rule(const bl_metric_rules *r, const bl_cell *c, const char *metric, const bl_metric **out,
                         bl_err *e)
{
    int n = 0;
    const bl_metric *m = r->of ? r->of(r->ctx, c->task, c->task_version, &n) : NULL;

    if (!m)
        return bl_fail(e, BL_E_MISSING, "%s: this program does not know version %lld of the task", c->task,
                       (long long)c->task_version);
    for (int i = 0; i < n; i++)
        if (!strcmp(m[i].name, metric)) {
            *out = &m[i];
            return BL_OK;
        }
    return bl_fail(e, BL_E_MISSING, "%s: %s is not made of the task's items", c->task, metric);
}

/* ---- items -------------------------------------------------------------------------------------- */
/* The items of both cells that enter, in the same order. */
typedef struct pairs {
    const bl_sample **a, **b;
    int64_t n;
    bl_metric metric; /* one step of it, when a step is asked for */
} pairs;

static bl_status choose(const bl_metric *m, const char *group, const bl_cell *a, const bl_cell *b, pairs *out,
                        bl_err *e)
{
    int step;

    *out = (pairs){.metric = *m};
    if (!(out->a = bl_new((size_t)a->n_samples, sizeof *out->a, e)) ||
        !(out->b = bl_new((size_t)a->n_samples, sizeof *out->b, e)))
        return BL_E_NOMEM;
    if (group && m->steps && sscanf(group, "step %d", &step) == 1) {
        out->metric.a += step;
        out->metric.steps = 0;
        group = NULL;
    }
    for (int64_t i = 0; i < a->n_samples; i++) {
        const char *of = a->sample[i].group;
        if (group && *group && (!of || strcmp(of, group))) continue;
        if (!bl_metric_takes(m, &a->sample[i]) || !bl_metric_takes(m, &b->sample[i])) continue;
        out->a[out->n] = &a->sample[i];
        out->b[out->n++] = &b->sample[i];
    }
    return out->n ? BL_OK
                  : bl_fail(e, BL_E_MISSING, "%s: no item%s%s%s%s", a->task, group && *group ? " of " : "",
                            group ? group : "", m->given ? " for which both have " : "", m->given ? m->name : "");
}

static void free_pairs(pairs *p)
{
    bl_free(p->a);
    bl_free(p->b);
}

void bl_paired_by_t(bl_paired *d, double df)
{
    double reach;

    if (!(df > 0)) return;
    reach = bl_student_t(BL_LEVEL, df) * d->se;
    d->low = d->delta - reach;
    d->high = d->delta + reach;
    if (d->test == BL_TEST_MCNEMAR) d->p = bl_mcnemar(d->lost, d->gained);
    else {
        d->test = BL_TEST_T;
        d->p = d->delta == 0 ? 1 : d->se > 0 ? bl_student_p(d->delta / d->se, df) : 0;
    }
}

/* ---- means of scores ---------------------------------------------------------------------------- */
/* Number of each item's group, in the order in which they are met. */
static bl_status strata_of(const pairs *p, int32_t *stratum, int32_t *n_strata, bl_err *e)
{
    const char **name = bl_new((size_t)p->n, sizeof *name, e);
    if (!name) return BL_E_NOMEM;
    for (int64_t i = 0; i < p->n; i++) {
        const char *group = p->a[i]->group ? p->a[i]->group : "";
        int32_t k = i ? stratum[i - 1] : 0; /* items of one group mostly stand together */
        if (k >= *n_strata || strcmp(name[k], group))
            for (k = 0; k < *n_strata && strcmp(name[k], group);) k++;
        if (k == *n_strata) name[(*n_strata)++] = group;
        stratum[i] = k;
    }
    bl_free(name);
    return BL_OK;
}

/* The mean over groups of the mean within each, and its error: errors of groups add in squares. *least: items of the
 * smallest group; of a single one no spread is known. */
static bl_status mean_of_groups(const double *v, const int32_t *stratum, int32_t n_strata, int64_t n, double *mean,
                                double *error, int64_t *least, bl_err *e)
{
    double squares = 0, *part = bl_new((size_t)n, sizeof *part, e);
    if (!part) return BL_E_NOMEM;
    *mean = 0;
    *least = n;
    for (int32_t k = 0; k < n_strata; k++) {
        double one, of_one;
        int64_t size = 0;
        for (int64_t i = 0; i < n; i++)
            if (stratum[i] == k) part[size++] = v[i];
        bl_mean_of(part, size, &one, &of_one);
        *least = BL_MIN(*least, size);
        *mean += one / n_strata;
        squares += of_one * of_one;
    }
    *error = sqrt(squares) / n_strata;
    bl_free(part);
    return BL_OK;
}

static bl_status means(const pairs *p, bl_paired *d, bl_err *e)
{
    bl_status st = BL_OK;
    size_t n = (size_t)p->n;
    double *x = bl_new(n, sizeof *x, e), *y = bl_new(n, sizeof *y, e), *diff = bl_new(n, sizeof *diff, e), unused;
    int32_t *stratum = bl_new(n, sizeof *stratum, e), n_strata = 0;
    int64_t least = p->n; /* items of the smallest group */
    bool binary = true;
    bl_resampled r;

    if (!x || !y || !diff || !stratum) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        BL_TRY(bl_metric_entry(&p->metric, p->a[i], &x[i], e));
        BL_TRY(bl_metric_entry(&p->metric, p->b[i], &y[i], e));
        diff[i] = y[i] - x[i];
        binary = binary && (x[i] == 0 || x[i] == 1) && (y[i] == 0 || y[i] == 1);
        d->lost += p->metric.direction < 0 ? diff[i] > 0 : diff[i] < 0;
        d->gained += p->metric.direction < 0 ? diff[i] < 0 : diff[i] > 0;
    }
    if (p->metric.macro) {
        BL_TRY(strata_of(p, stratum, &n_strata, e));
        BL_TRY(mean_of_groups(x, stratum, n_strata, p->n, &d->a, &unused, &least, e));
        BL_TRY(mean_of_groups(y, stratum, n_strata, p->n, &d->b, &unused, &least, e));
        BL_TRY(mean_of_groups(diff, stratum, n_strata, p->n, &d->delta, &d->se, &least, e));
    } else {
        bl_mean_of(x, p->n, &d->a, &unused);
        bl_mean_of(y, p->n, &d->b, &unused);
        bl_mean_of(diff, p->n, &d->delta, &d->se);
    }
    if (!binary) d->lost = d->gained = -1;
    if (least < 2) goto out;
    if (binary && !p->metric.macro) {
        d->test = BL_TEST_MCNEMAR;
        bl_paired_by_t(d, (double)n - 1);
        goto out;
    }
    BL_TRY(bl_bootstrap(diff, p->metric.macro ? stratum : NULL, n_strata, p->n, DRAWS, 0, &r, e));
    d->test = BL_TEST_BOOTSTRAP;
    d->low = r.low;
    d->high = r.high;
    d->p = d->lost == 0 && d->gained == 0 ? 1 : r.p;
out:
    bl_free(x);
    bl_free(y);
    bl_free(diff);
    bl_free(stratum);
    return st;
}

/* ---- quotients of sums -------------------------------------------------------------------------- */
static bl_status value_at(const bl_metric *m, const bl_sample *s, int at, double *out, bl_err *e)
{
    if (at >= s->n_values || !isfinite(s->value[at]))
        return bl_fail(e, BL_E_FORMAT, "metric %s: item %lld has no value %d", m->name, (long long)s->id, at);
    *out = s->value[at];
    return BL_OK;
}

/* One cell's sum a / sum b, and how far each item is from it: (a_i - r b_i) / B. */
static bl_status quotient(const bl_metric *m, const bl_sample *const *s, int64_t n, double *r, double *from, bl_err *e)
{
    bl_status st = BL_OK;
    double a = 0, b = 0, x = 0, over = 1;

    for (int64_t i = 0; i < n; i++) {
        BL_TRY(value_at(m, s[i], m->a, &x, e));
        if (m->b >= 0) BL_TRY(value_at(m, s[i], m->b, &over, e));
        a += x;
        b += over;
    }
    if (!(b > 0)) return bl_fail(e, BL_E_NUMERIC, "metric %s: the divisor is %g", m->name, b);
    *r = a / b;
    for (int64_t i = 0; i < n; i++) from[i] = (s[i]->value[m->a] - *r * (m->b >= 0 ? s[i]->value[m->b] : 1)) / b;
out:
    return st;
}

/* Delta method on the difference: its variance is n / (n - 1) times the sum of squares of the items' shares in it. */
static bl_status quotients(const pairs *p, bl_paired *d, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_metric *m = &p->metric;
    double *x = bl_new((size_t)p->n, sizeof *x, e), *y = bl_new((size_t)p->n, sizeof *y, e), r, s, squares = 0;
    double unit = m->agg == BL_AGG_RATIO && m->factor != 0 ? m->factor : 1, n = (double)p->n;

    if (!x || !y) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(quotient(m, p->a, p->n, &r, x, e));
    BL_TRY(quotient(m, p->b, p->n, &s, y, e));
    for (int64_t i = 0; i < p->n; i++) squares += (y[i] - x[i]) * (y[i] - x[i]);
    d->log = m->agg != BL_AGG_RATIO;
    d->a = d->log ? exp(r) : unit * r;
    d->b = d->log ? exp(s) : unit * s;
    d->delta = unit * (s - r);
    d->lost = d->gained = -1;
    if (p->n < 2) goto out;
    d->se = fabs(unit) * sqrt(n / (n - 1) * squares);
    bl_paired_by_t(d, n - 1);
out:
    bl_free(x);
    bl_free(y);
    return st;
}

/* ---- all together ------------------------------------------------------------------------------- */
bl_status bl_compare_metric(const bl_metric *m, const char *group, const bl_cell *a, const bl_cell *b, bl_paired *out,
                            bl_err *e)
{
    bl_status st = BL_OK;
    bool mean = m->agg == BL_AGG_MEAN || m->agg == BL_AGG_FLAG_SHARE;
    bl_paired d = {.over = m->items ? m->items : "items", .direction = m->direction, .percent = m->percent, .p = 1};
    pairs p = {0};

    if (!mean && strcmp(or_none(a->tokenizer_hash), or_none(b->tokenizer_hash)))
        return bl_fail(e, BL_E_CONFIG, "%s: %s: numbers by tokens of two tokenizers do not compare", a->task, m->name);
    BL_TRY(choose(m, group, a, b, &p, e));
    d.n = p.n;
    BL_TRY(mean ? means(&p, &d, e) : quotients(&p, &d, e));
    d.needed = bl_items_needed(d.delta, d.se * sqrt((double)d.n));
    *out = d;
out:
    free_pairs(&p);
    return st;
}

bl_status bl_compare_judge(bl_paired *const *d, size_t n, bl_err *e)
{
    double *p = bl_new(n, sizeof *p, e);
    bl_status st;

    if (!p) return BL_E_NOMEM;
    for (size_t i = 0; i < n; i++) p[i] = d[i]->p;
    BL_TRY(bl_holm(p, n, p, e));
    for (size_t i = 0; i < n; i++) {
        double up = d[i]->direction * d[i]->delta;
        d[i]->judged = true;
        d[i]->p_holm = p[i];
        d[i]->verdict = p[i] >= BL_LEVEL || up == 0 ? BL_UNDECIDED : up > 0 ? BL_BETTER : BL_WORSE;
    }
out:
    bl_free(p);
    return st;
}

/* ---- texts -------------------------------------------------------------------------------------- */
void bl_paired_text(const bl_paired *d, char out[96])
{
    double v = d->log ? exp(d->delta) : d->delta, scale = d->log ? v : 1;
    char number[64];

    if (d->percent) scale *= 100;
    if (d->percent) v *= 100;
    bl_number_text(v, d->se * scale, d->se * scale > 1e-9 * fabs(v), number);
    snprintf(out, 96, "%s%s", d->log ? "\xc3\x97" : v > 0 ? "+" : "", number);
}

void bl_p_text(double p, char out[24])
{
    if (p >= 0.995) snprintf(out, 24, "1");
    else if (p >= 0.001) snprintf(out, 24, "%.*f", p < 0.0095 ? 4 : p < 0.095 ? 3 : 2, p);
    else if (p >= 1e-99) snprintf(out, 24, "%.0e", p);
    else snprintf(out, 24, "<1e-99");
}
