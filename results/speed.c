/* speed.c - timings against timings; see speed.h. */
#include "speed.h"
#include "metric.h"
#include "stats.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define YARDSTICK_APART 0.10 /* more, and the records are of two machines */
#define CLOCK_APART     0.03
#define PROBE_TELLS     1.5  /* what moves a probe by one may move a kernel by as much */
#define FEW_ROWS        32   /* up to here weights, and not what is computed, take the time */
#define LEVEL           0.01 /* of one wrong alarm in a comparison, before the noise has its say */

bool bl_is_timings(const char *name)
{
    return strcmp(name, BL_KERNELS_FILE) == 0 || strcmp(name, BL_THROUGHPUT_FILE) == 0;
}

const char *bl_speed_verdict_name(bl_speed_verdict v)
{
    static const char *const names[] = {"same", "undecided", "faster", "slower"};
    return names[v];
}

const char *bl_error_verdict_name(bl_error_verdict v)
{
    static const char *const names[] = {"", "same", "less", "more"};
    return names[v];
}

/* ---- conditions ---- */
static bl_status differs(const bl_speed_record *a, const bl_speed_record *b, const char *what, const char *x,
                         const char *y, bl_err *e)
{
    return bl_fail(e, BL_E_CONFIG, "%s and %s do not compare: unlike %s, '%s' and '%s'", a->name, b->name, what, x, y);
}

static bl_status rates_differ(const bl_speed_record *a, const bl_speed_record *b, const char *what, double x, double y,
                              bl_err *e)
{
    if (x <= 0 || y <= 0 || fmax(x, y) <= fmin(x, y) * (1 + CLOCK_APART)) return BL_OK;
    return bl_fail(e, BL_E_CONFIG, "%s and %s do not compare: unlike clocks, %s %.0f and %.0f", a->name, b->name, what,
                   x, y);
}

bl_status bl_speed_same_conditions(const bl_speed_record *a, const bl_speed_record *b, bl_err *e)
{
    const bl_kernel_facts *x = &a->facts, *y = &b->facts;
    const struct {
        const char *what, *x, *y;
        bool known; /* "" is a value, and not that earlier records have none */
    } text[] = {{"devices", x->device, y->device, true},
                {"instructions", x->simd, y->simd, true},
                {"drivers", x->driver, y->driver, false},
                {"baselines", x->blas, y->blas, true},
                {"conventions", x->convention, y->convention, true},
                {"reasons of slow clocks", x->slowed, y->slowed, true}};
    bl_status st = BL_OK;
    for (size_t i = 0; i < BL_COUNT(text); i++)
        if (text[i].x && text[i].y && (text[i].known || (*text[i].x && *text[i].y)) &&
            strcmp(text[i].x, text[i].y) != 0)
            return differs(a, b, text[i].what, text[i].x, text[i].y, e);
    if (x->threads != y->threads)
        return bl_fail(e, BL_E_CONFIG, "%s and %s do not compare: %lld threads and %lld", a->name, b->name,
                       (long long)x->threads, (long long)y->threads);
    BL_TRY(rates_differ(a, b, "MHz of the device", x->clock, y->clock, e));
    BL_TRY(rates_differ(a, b, "MHz of its memory", x->memory_clock, y->memory_clock, e));
out:
    return st;
}

/* ---- one row ---- */
static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

/* Of every `step`-th from `first` on; `space` has room for all. */
static double median_of(const double *t, int64_t n, int64_t first, int64_t step, double *space)
{
    int64_t k = 0;
    for (int64_t i = first; i < n; i += step) space[k++] = t[i];
    qsort(space, (size_t)k, sizeof *space, by_value);
    return bl_percentile(space, k, 0.5);
}

double bl_speed_median(const double *t, int64_t n, bl_arena *a, bl_err *e)
{
    double *space = bl_alloc(a, (size_t)n, sizeof *space, e);
    return space && n ? median_of(t, n, 0, 1, space) : 0;
}

/* What two halves of the same repetitions differ by. */
static double halves_apart(const double *t, int64_t n, double *space)
{
    if (n < 4) return 0;
    double even = median_of(t, n, 0, 2, space), odd = median_of(t, n, 1, 2, space);
    return fmax(even, odd) / fmin(even, odd) - 1;
}

/* Sums of squares over squares of sums: growing by a tenth, or fourfold where it was next to nothing. */
static bl_error_verdict error_verdict(double a, double b)
{
    if (a < 0 || b < 0) return BL_ERROR_NONE;
    if ((b > 1.1 * a && b - a > 1e-9) || b > 4 * a + 1e-12) return BL_ERROR_MORE;
    if ((a > 1.1 * b && a - b > 1e-9) || a > 4 * b + 1e-12) return BL_ERROR_LESS;
    return BL_ERROR_SAME;
}

typedef struct pair {
    const double *t[2];
    int64_t n[2];
    int64_t m, out, in;
    int cold;          /* -1: not timed, -2: of a model */
    const char *probe; /* NULL: none, but a timing */
    double clock[2];   /* MHz of a GPU meanwhile; 0: not known */
} pair;

typedef struct list {
    bl_arena *a;
    bl_speed_row *row;
    pair *of;
    size_t n, cap;
} list;

static bl_status add(list *l, const bl_speed_row *row, const pair *of, bl_err *e)
{
    bl_status st = BL_OK;
    size_t cap = l->cap;
    BL_TRY(bl_grow(&l->row, &cap, l->n + 1, sizeof *l->row, e));
    BL_TRY(bl_grow(&l->of, &l->cap, l->n + 1, sizeof *l->of, e));
    l->row[l->n] = *row;
    l->of[l->n++] = *of;
out:
    return st;
}

static bool is_yardstick(const bl_kernel_row *r)
{
    return strcmp(r->kernel, "openblas") == 0 || strcmp(r->kernel, "linear_bf16_cuda") == 0;
}

bool bl_speed_same_case(const bl_kernel_row *x, const bl_kernel_row *y)
{
    return x->m == y->m && x->out == y->out && x->in == y->in && x->group == y->group &&
           strcmp(x->kernel, y->kernel) == 0 && strcmp(x->op, y->op) == 0;
}

static const char *case_name(bl_arena *a, const char *kernel, int64_t m, int64_t out, int64_t in, int64_t group,
                             bl_err *e)
{
    char text[256], of[32] = "";
    if (group) snprintf(of, sizeof of, " g%lld", (long long)group);
    int n = snprintf(text, sizeof text, "%s %lld x %lld x %lld%s", kernel, (long long)m, (long long)out, (long long)in,
                     of);
    return bl_arena_str(a, text, (size_t)n, e);
}

static bl_status add_kernels(list *l, const bl_speed_record *a, const bl_speed_record *b, bl_err *e)
{
    bl_status st = BL_OK;
    for (size_t i = 0; i < a->n_kernels; i++)
        for (size_t j = 0; j < b->n_kernels; j++) {
            const bl_kernel_row *x = &a->kernel[i], *y = &b->kernel[j];
            if (!bl_speed_same_case(x, y)) continue;
            for (int cold = 1; cold >= 0; cold--) {
                double s = cold ? x->cold : x->seconds, t = cold ? y->cold : y->seconds;
                if (s <= 0 || t <= 0) continue;
                bl_speed_row row = {.what = case_name(l->a, x->kernel, x->m, x->out, x->in, x->group, e),
                                    .from = cold ? "memory" : "cache",
                                    .a = s,
                                    .b = t,
                                    .error = {cold ? -1 : x->nmse, cold ? -1 : y->nmse},
                                    .yardstick = is_yardstick(x)};
                if (!row.what) return BL_E_NOMEM;
                BL_TRY(add(l, &row,
                           &(pair){.t = {x->repeat[cold], y->repeat[cold]},
                                   .n = {x->n_repeat[cold], y->n_repeat[cold]},
                                   .m = x->m,
                                   .out = x->out,
                                   .in = x->in,
                                   .cold = cold,
                                   .clock = {cold ? x->cold_clock : x->clock, cold ? y->cold_clock : y->clock}},
                           e));
            }
            break;
        }
    for (size_t i = 0; i < b->n_wrong; i++) { /* wrong now; it is news where it was right before */
        const bl_kernel_wrong *w = &b->wrong[i];
        for (size_t j = 0; j < a->n_kernels; j++) {
            const bl_kernel_row *x = &a->kernel[j];
            if (strcmp(x->kernel, w->kernel) != 0 || x->m != w->m || x->out != w->out || x->in != w->in ||
                x->group != w->group)
                continue;
            bl_speed_row row = {.what = case_name(l->a, w->kernel, w->m, w->out, w->in, w->group, e),
                                .from = "",
                                .a = x->seconds,
                                .error = {x->nmse, w->nmse}};
            if (!row.what) return BL_E_NOMEM;
            BL_TRY(add(l, &row, &(pair){.cold = -1}, e));
            break;
        }
    }
out:
    return st;
}

static bl_status add_models(list *l, const bl_speed_record *a, const bl_speed_record *b, bl_err *e)
{
    bl_status st = BL_OK;
    for (size_t i = 0; i < a->n_models; i++)
        for (size_t j = 0; j < b->n_models; j++) {
            const bl_model_row *x = &a->model[i], *y = &b->model[j];
            char text[256];
            if (strcmp(x->what, y->what) != 0 || strcmp(x->method, y->method) != 0 || x->tokens != y->tokens) continue;
            int n = snprintf(text, sizeof text, "%s, %s", x->what, x->method);
            bl_speed_row row = {.what = bl_arena_str(l->a, text, (size_t)BL_MIN(n, (int)sizeof text - 1), e),
                                .from = "",
                                .a = x->seconds,
                                .b = y->seconds,
                                .error = {-1, -1},
                                .yardstick = strcmp(x->method, "cblas_sgemm") == 0};
            if (!row.what) return BL_E_NOMEM;
            BL_TRY(add(l, &row,
                       &(pair){.t = {x->repeat, y->repeat},
                               .n = {x->n_repeat, y->n_repeat},
                               .m = x->tokens,
                               .cold = -2,
                               .clock = {x->clock, y->clock}},
                       e));
            break;
        }
out:
    return st;
}

/* How far apart the rounds of a record are: what the device was like came and went meanwhile. */
static double rounds_apart(const double *t, int64_t n)
{
    double least = n ? t[0] : 0, most = least;
    for (int64_t i = 1; i < n; i++) {
        least = fmin(least, t[i]);
        most = fmax(most, t[i]);
    }
    return least > 0 ? most / least - 1 : 0;
}

static bl_status add_probes(list *l, const bl_speed_record *a, const bl_speed_record *b, bl_err *e)
{
    bl_status st = BL_OK;
    for (size_t i = 0; i < a->facts.n_probes; i++)
        for (size_t j = 0; j < b->facts.n_probes; j++) {
            const bl_probe *x = &a->facts.probe[i], *y = &b->facts.probe[j];
            if (strcmp(x->what, y->what) != 0 || x->n < 1 || y->n < 1) continue;
            bl_speed_row row = {.what = "what the device was like",
                                .from = x->what,
                                .a = bl_speed_median(x->seconds, x->n, l->a, e),
                                .b = bl_speed_median(y->seconds, y->n, l->a, e),
                                .error = {-1, -1},
                                .noise = fmax(rounds_apart(x->seconds, x->n), rounds_apart(y->seconds, y->n)),
                                .yardstick = true,
                                .probe = true};
            if (row.a <= 0 || row.b <= 0) continue;
            BL_TRY(add(l, &row, &(pair){.t = {x->seconds, y->seconds}, .n = {x->n, y->n}, .probe = x->what}, e));
        }
out:
    return st;
}

/* ---- all of them ---- */
/* The same for twice and for half as long. */
static double apart_of(double change) { return fmax(change, 1 / (1 + change) - 1); }

/* shift: what all times of b are divided by; other[] has room for them. */
static bl_status measure(list *l, size_t i, double shift, double *space, double *other, bl_err *e)
{
    bl_speed_row *r = &l->row[i];
    const pair *p = &l->of[i];
    r->p = 1;
    if (r->b <= 0) return BL_OK;
    r->change = r->b / shift / r->a - 1;
    r->n = BL_MIN(p->n[0], p->n[1]);
    if (r->n < 1) return BL_OK;
    for (int side = 0; side < 2; side++) r->noise = fmax(r->noise, halves_apart(p->t[side], p->n[side], space));
    for (int64_t k = 0; k < p->n[1]; k++) other[k] = p->t[1][k] / shift;
    return bl_rank_sum(p->t[0], p->n[0], other, p->n[1], &r->p, e);
}

/* Whether a timing takes longer where a probe does: few rows do not compute much, and not all weights come from memory.
 */
static bool concerns(const pair *probe, const pair *x)
{
    return strcmp(probe->probe, "memory") == 0 ? x->cold != 0
                                               : strcmp(probe->probe, "arithmetic") != 0 || x->m > FEW_ROWS;
}

/* A clock that was another meanwhile: power holds it down, and not always at the same time. */
static double clock_apart(const pair *p)
{
    return p->clock[0] > 0 && p->clock[1] > 0 ? PROBE_TELLS * apart_of(p->clock[1] / p->clock[0] - 1) : 0;
}

/* The most that a yardstick differs by beside the others, weights from the same place, or a probe does, in a record
 * too: what two processes differ by with the same code, wherever it happens; 0: there is none. */
static double yardstick_apart(const list *l, size_t i)
{
    double own = 0;
    for (size_t k = 0; k < l->n; k++) {
        const pair *x = &l->of[i], *y = &l->of[k];
        if (!l->row[k].yardstick || (y->probe ? !concerns(y, x) : y->cold != x->cold)) continue;
        own = fmax(own, apart_of(l->row[k].change) * (y->probe ? PROBE_TELLS : 1));
        if (y->probe) own = fmax(own, l->row[k].noise);
    }
    return own;
}

/* The quotient that the yardsticks of b and a have, probes among them, their median, if they agree: clocks that are a
 * little faster or slower. No probe alone may be far from where it was. */
static bl_status shift_of(const list *l, const bl_speed_record *a, const bl_speed_record *b, double *space,
                          double *shift, bl_err *e)
{
    int64_t n = 0;
    *shift = 1;
    for (size_t i = 0; i < l->n; i++)
        if (l->row[i].yardstick) space[n++] = l->row[i].b / l->row[i].a;
    if (!n) return BL_OK;
    qsort(space, (size_t)n, sizeof *space, by_value);
    *shift = bl_percentile(space, n, 0.5);
    double most = 0;
    for (size_t i = 0; i < l->n; i++)
        if (l->row[i].yardstick) most = fmax(most, apart_of(l->row[i].b / l->row[i].a / *shift - 1));
    for (size_t i = 0; i < l->n; i++) {
        const bl_speed_row *r = &l->row[i];
        if (l->of[i].probe && apart_of(r->b / r->a - 1) > YARDSTICK_APART)
            return bl_fail(e, BL_E_CONFIG,
                           "%s and %s do not compare: the device was not the same, its probe of %s, a product of the "
                           "library, took %+.0f %% in the second",
                           a->name, b->name, r->from, 100 * (r->b / r->a - 1));
    }
    if (apart_of(*shift - 1) <= YARDSTICK_APART) {
        if (most > apart_of(*shift - 1) / 2) *shift = 1; /* they do not agree: it is not the clock of all */
        return BL_OK;
    }
    return bl_fail(
        e, BL_E_CONFIG,
        "%s and %s do not compare: the yardstick, which is the same code in both, took %+.0f %% in the second "
        "(median of %lld): unlike clocks, or a busy machine",
        a->name, b->name, 100 * (*shift - 1), (long long)n);
}

bl_status bl_speed_compare(const bl_speed_record *a, const bl_speed_record *b, double percent, bl_arena *arena,
                           bl_speed_row **out, size_t *n, double *shift, bl_err *e)
{
    bl_status st = BL_OK;
    list l = {.a = arena};
    double *space = NULL, *other = NULL, *p = NULL;
    size_t most = 1, asked = 0;
    BL_TRY(add_kernels(&l, a, b, e));
    BL_TRY(add_models(&l, a, b, e));
    if (l.n) BL_TRY(add_probes(&l, a, b, e));
    if (!l.n) {
        st = bl_fail(e, BL_E_MISSING, "%s and %s have no timing in common: other kernels, shapes, rows or methods",
                     a->name, b->name);
        goto out;
    }
    for (size_t i = 0; i < l.n; i++)
        for (int side = 0; side < 2; side++) most = BL_MAX(most, (size_t)l.of[i].n[side]);
    if (!(space = bl_new(BL_MAX(most, l.n), sizeof *space, e)) || !(other = bl_new(most, sizeof *other, e)) ||
        !(p = bl_new(l.n, sizeof *p, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(shift_of(&l, a, b, space, shift, e));
    for (size_t i = 0; i < l.n; i++) {
        BL_TRY(measure(&l, i, *shift, space, other, e));
        if (!l.row[i].yardstick && l.row[i].n) p[asked++] = l.row[i].p;
    }
    if (asked) BL_TRY(bl_holm(p, asked, p, e));
    for (size_t i = 0, k = 0; i < l.n; i++) {
        bl_speed_row *r = &l.row[i];
        r->p_holm = !r->yardstick && r->n ? p[k++] : r->p;
        if (!r->probe) r->noise = fmax(r->noise, fmax(yardstick_apart(&l, i), clock_apart(&l.of[i])));
        r->exact = error_verdict(r->error[0], r->error[1]);
        if (r->b <= 0 || apart_of(r->change) <= fmax(percent / 100, r->noise)) r->verdict = BL_SPEED_SAME;
        else if (r->p_holm > LEVEL) r->verdict = BL_SPEED_UNDECIDED;
        else r->verdict = r->change > 0 ? BL_SPEED_SLOWER : BL_SPEED_FASTER;
    }
    if (!(*out = bl_alloc(arena, l.n, sizeof **out, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    memcpy(*out, l.row, l.n * sizeof **out);
    *n = l.n;
out:
    bl_free(l.row);
    bl_free(l.of);
    bl_free(space);
    bl_free(other);
    bl_free(p);
    return st;
}

size_t bl_speed_loss(const bl_speed_row *row, size_t n)
{
    size_t worse = 0;
    for (size_t i = 0; i < n; i++)
        worse += !row[i].yardstick && (row[i].verdict == BL_SPEED_SLOWER || row[i].exact == BL_ERROR_MORE);
    return worse;
}

int64_t bl_speed_repetitions(size_t rows)
{
    double ways = 1; /* 2 n over n: orders of which two are the furthest apart */
    for (int64_t n = 1; n < 30; n++) {
        ways *= (double)(2 * n) * (double)(2 * n - 1) / ((double)n * (double)n);
        if (2 / ways * (double)rows <= LEVEL) return n;
    }
    return 30;
}
