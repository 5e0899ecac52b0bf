/* fit.c - the searching ops (ops_fit.h), in plain C on all threads. Compiled with -O3: loops over the columns of a
 * group take vectors. */
#include "kernels/format_impl.h"
#include "kernels/ops_impl.h"
#include "solve.h"
#include <omp.h>

bl_status bl_cpu_scale(bl_backend *be, const bl_scale_args *a, bl_err *e)
{
    bl_status st = bl_check_scale(be, a, e);
    const float *rows = bl_cpu_at(&a->rows), *cols = bl_cpu_at(&a->cols);
    int64_t n = a->x.dim[1];
    if (st != BL_OK) return st;
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, (double)bl_tensor_count(&a->x)))
    for (int64_t i = 0; i < a->x.dim[0]; i++) {
        float by = rows ? rows[i] : 1;
        if (a->x.dtype == BL_F32) {
            const float *x = (const float *)bl_cpu_at(&a->x) + i * a->x.stride[0];
            float *y = (float *)bl_cpu_at(&a->y) + i * a->y.stride[0];
            for (int64_t j = 0; j < n; j++) y[j] = x[j] * by * (cols ? cols[j] : 1);
        } else {
            const double *x = (const double *)bl_cpu_at(&a->x) + i * a->x.stride[0];
            double *y = (double *)bl_cpu_at(&a->y) + i * a->y.stride[0];
            for (int64_t j = 0; j < n; j++) y[j] = x[j] * by * (cols ? cols[j] : 1);
        }
    }
    return BL_OK;
}

bl_status bl_cpu_sq_error(bl_backend *be, const bl_sq_error_args *a, bl_err *e)
{
    bl_status st = bl_check_sq_error(be, a, e);
    int64_t rows = a->x.dim[0], n = a->x.dim[1];
    double *sum, total = 0;
    if (st != BL_OK) return st;
    if (!(sum = bl_new((size_t)rows, sizeof *sum, e))) return BL_E_NOMEM;
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, (double)bl_tensor_count(&a->x)))
    for (int64_t i = 0; i < rows; i++) {
        const float *x = bl_cpu_row(&a->x, i), *y = a->y.buf ? bl_cpu_row(&a->y, i) : NULL;
        double part[8] = {0};
        for (int64_t j = 0; j < n; j++) {
            double d = y ? (double)x[j] - y[j] : x[j];
            part[j % 8] += d * d;
        }
        sum[i] = bl_tree8d(part);
    }
    for (int64_t i = 0; i < rows; i++) total += sum[i];
    *a->sum = total;
    bl_free(sum);
    return BL_OK;
}

bl_status bl_cpu_sq_sums(bl_backend *be, const bl_sq_sums_args *a, bl_err *e)
{
    bl_status st = bl_check_sq_sums(a, e);
    for (size_t i = 0; i < a->n && st == BL_OK; i++) {
        const bl_tensor *x = &a->x[i];
        const bl_tensor rows = x->ndim == 2 ? *x : bl_tensor_2d(x->buf, x->offset, BL_F32, 1, bl_tensor_count(x));
        st = bl_cpu_sq_error(be, &(bl_sq_error_args){.x = rows, .sum = (double *)bl_cpu_at(&a->to) + i}, e);
    }
    return st;
}

/* ---- clipping ---- */

typedef struct clip_space {
    float *h, *w, *d, *t; /* [group, group], [group] x 3 */
} clip_space;

/* (w^ - w) H (w^ - w)t of one group with the weights clipped to +-m. */
static double clipped_error(const bl_clip_search_args *a, const float *w, int64_t n, float m, const clip_space *s)
{
    float scale, zero, qmax = (float)((1 << a->bits) - 1);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) s->w[i] = fminf(fmaxf(w[i], -m), m);
    bl_cpu_fit(a->rule, false)(s->w, n, (int)qmax, &scale, &zero);
    scale = bl_cpu_stored_scale(scale, a->scale_type);
    for (int64_t i = 0; i < n; i++) {
        float q = rintf(s->w[i] / scale) + zero;
        s->d[i] = (fminf(fmaxf(q, 0), qmax) - zero) * scale - w[i];
    }
    for (int64_t j = 0; j < n; j++) s->t[j] = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) s->t[j] += s->d[i] * s->h[i * n + j];
    for (int64_t j = 0; j < n; j++) sum += (double)s->t[j] * s->d[j];
    return sum;
}

static void clip_group(const bl_clip_search_args *a, int64_t row, int64_t k, int64_t n, const clip_space *s)
{
    float *w = bl_cpu_row(&a->w, row) + k * a->group, most = 0, best = 0;
    double least = INFINITY;
    for (int64_t i = 0; i < n; i++) most = fmaxf(most, fabsf(w[i]));
    best = most;
    for (int i = 0; i < a->tries; i++) {
        float m = most * (1 - (float)i / (float)a->steps);
        double error = clipped_error(a, w, n, m, s);
        if (!(error < least)) continue;
        least = error;
        best = m;
    }
    for (int64_t i = 0; i < n; i++) w[i] = fminf(fmaxf(w[i], -best), best);
    if (a->limit.buf) bl_cpu_row(&a->limit, row)[k] = best;
}

bl_status bl_cpu_clip_search(bl_backend *be, const bl_clip_search_args *a, bl_err *e)
{
    bl_status st = bl_check_clip_search(a, e);
    const bl_cpu *c = be->own;
    int64_t out = a->w.dim[0], in = a->w.dim[1], groups = (in + a->group - 1) / a->group;
    int64_t most = BL_MIN(a->group, in);
    size_t each = (size_t)(most * (most + 3));
    const double *h = bl_cpu_at(&a->h);
    float *space;
    if (st != BL_OK) return st;
    if (!(space = bl_new((size_t)c->threads * each, sizeof *space, e))) return BL_E_NOMEM;
    for (int64_t k = 0; k < groups; k++) {
        int64_t from = k * a->group, n = BL_MIN(a->group, in - from);
#pragma omp parallel num_threads(c->threads)
        {
            float *p = space + (size_t)omp_get_thread_num() * each;
            const clip_space s = {p, p + most * most, p + most * (most + 1), p + most * (most + 2)};
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < n; j++) s.h[i * n + j] = (float)h[(from + i) * in + from + j];
#pragma omp for schedule(dynamic, 8)
            for (int64_t r = 0; r < out; r++) clip_group(a, r, k, n, &s);
        }
    }
    bl_free(space);
    return BL_OK;
}

/* ---- half-quadratic splitting ---- */

typedef struct hqq {
    const bl_hqq_args *a;
    float qmax, beta, p, least; /* least: errors up to here shrink to 0 */
} hqq;

/* n weights, `stride` apart. */
typedef struct hqq_group {
    const float *w;
    int64_t n, stride;
    float *scale, *zero;
} hqq_group;

static hqq_group hqq_group_at(const bl_hqq_args *a, int64_t i)
{
    int64_t groups = a->scale.dim[1], row = i / groups, k = i % groups, in = a->w.dim[1];
    hqq_group g = {.scale = (float *)bl_cpu_at(&a->scale) + i, .zero = (float *)bl_cpu_at(&a->zero) + i};
    if (a->down) {
        g.w = (const float *)bl_cpu_at(&a->w) + k;
        g.n = (a->w.dim[0] * in - k + groups - 1) / groups;
        g.stride = groups;
    } else {
        g.w = bl_cpu_row(&a->w, row) + k * a->group;
        g.n = BL_MIN(a->group, in - k * a->group);
        g.stride = 1;
    }
    return g;
}

static void hqq_begin(const hqq *h, const hqq_group *g)
{
    float lo = g->w[0], hi = lo;
    for (int64_t i = 1; i < g->n; i++) {
        lo = fminf(lo, g->w[i * g->stride]);
        hi = fmaxf(hi, g->w[i * g->stride]);
    }
    float by = hi - lo > 1e-4f ? h->qmax / (hi - lo) : 1;
    by = fminf(by, 2e4f);                             /* as the library has it */
    if (by * fabsf(lo) > 3e4f) by = 3e4f / fabsf(lo); /* as bl_fit_float */
    *g->scale = by;                                   /* 1 / s until the end */
    *g->zero = -lo * by;
    if (h->a->round_zero) *g->zero = rintf(*g->zero);
}

static float shrink(const hqq *h, float x)
{
    float m = fabsf(x);
    if (m <= h->least) return 0;
    return copysignf(fmaxf(m - powf(m, h->p - 1) / h->beta, 0), x);
}

/* One step of a group: the sum of |w - r| with the zero that is there; *next is the one after it. */
static double hqq_step(const hqq *h, const hqq_group *g, float *next)
{
    float by = *g->scale, z = *g->zero;
    double error = 0, sum = 0;
    for (int64_t i = 0; i < g->n; i++) {
        float w = g->w[i * g->stride], q = rintf(w * by + z);
        q = fminf(fmaxf(q, 0), h->qmax);
        float d = w - (q - z) / by;
        error += fabsf(d);
        sum += q - (w - shrink(h, d)) * by;
    }
    *next = (float)(sum / (double)g->n);
    return error;
}

bl_status bl_cpu_hqq(bl_backend *be, const bl_hqq_args *a, bl_err *e)
{
    bl_status st = bl_check_hqq(a, e);
    int64_t all, step = 0;
    hqq h = {.a = a, .qmax = (float)((1 << a->bits) - 1), .beta = (float)a->beta, .p = (float)a->p};
    float *next = NULL, *best = NULL;
    double *error = NULL, least = INFINITY;
    if (st != BL_OK) return st;
    all = bl_tensor_count(&a->scale);
    float *zero = bl_cpu_at(&a->zero);
    int threads = bl_cpu_threads(be, 4 * (double)bl_tensor_count(&a->w));
    if (!(next = bl_new((size_t)all, sizeof *next, e)) || !(best = bl_new((size_t)all, sizeof *best, e)) ||
        !(error = bl_new((size_t)all, sizeof *error, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < all; i++) {
        const hqq_group g = hqq_group_at(a, i);
        hqq_begin(&h, &g);
        best[i] = zero[i];
    }
    while (step < a->steps) {
        double sum = 0;
        h.least = 0.999f * powf(h.beta, -1 / (2 - h.p)); /* m^(2-p) beta = 1; below it m - m^(p-1) / beta < 0 */
#pragma omp parallel for schedule(static) num_threads(threads)
        for (int64_t i = 0; i < all; i++) {
            const hqq_group g = hqq_group_at(a, i);
            error[i] = hqq_step(&h, &g, &next[i]);
        }
        for (int64_t i = 0; i < all; i++) sum += error[i];
        step++;
        bool better = sum < least;
        if (better) {
            least = sum;
            memcpy(best, zero, (size_t)all * sizeof *best);
        }
        memcpy(zero, next, (size_t)all * sizeof *zero);
        h.beta *= (float)a->kappa;
        if (better) continue;
        if (!a->last) memcpy(zero, best, (size_t)all * sizeof *zero);
        break;
    }
    float *scale = bl_cpu_at(&a->scale);
    for (int64_t i = 0; i < all; i++) scale[i] = 1 / scale[i];
    if (a->taken) *a->taken = (int)step;
out:
    bl_free(next);
    bl_free(best);
    bl_free(error);
    return st;
}

/* ---- greedy rounding ---- */

static float on_grid(float v, float scale, float zero) { return (rintf(v / scale + zero) - zero) * scale; }

/* One row; d [in]: w - target. */
static void greedy_row(const bl_greedy_args *a, int64_t row, double *d)
{
    int64_t in = a->w.dim[1];
    float *w = bl_cpu_row(&a->w, row);
    const float *target = bl_cpu_row(&a->target, row), scale = *bl_cpu_row(&a->scale, row),
                zero = *bl_cpu_row(&a->zero, row), lo = -zero * scale,
                hi = ((float)((1 << a->bits) - 1) - zero) * scale;
    const int32_t *order = bl_cpu_at(&a->order);
    const double *h = bl_cpu_at(&a->h);
    for (int64_t i = 0; i < in; i++) d[i] = (double)w[i] - target[i];
    for (int pass = 0; pass < a->passes; pass++) {
        bool moved = false;
        for (int64_t k = 0; k < in; k++) {
            int64_t i = order[k];
            double part[8] = {0};
            for (int64_t j = 0; j + 8 <= in; j += 8)
                for (int l = 0; l < 8; l++) part[l] += d[j + l] * h[i * in + j + l];
            for (int64_t j = in / 8 * 8; j < in; j++) part[j % 8] += d[j] * h[i * in + j];
            float v = on_grid((float)(w[i] - bl_tree8d(part) / h[i * in + i]), scale, zero);
            d[i] += (double)v - w[i];
            moved |= v != w[i];
            w[i] = v;
        }
        for (int64_t i = 0; i < in; i++) w[i] = fminf(fmaxf(w[i], lo), hi);
        if (!moved) break;
    }
}

bl_status bl_cpu_greedy(bl_backend *be, const bl_greedy_args *a, bl_err *e)
{
    bl_status st = bl_check_greedy(a, e);
    const bl_cpu *c = be->own;
    int64_t in = a->w.dim[1];
    double *space;
    if (st != BL_OK) return st;
    st = bl_check_greedy_columns(bl_cpu_at(&a->order), bl_cpu_at(&a->h), in + 1, in, e);
    if (st != BL_OK) return st;
    if (!(space = bl_new((size_t)(c->threads * in), sizeof *space, e))) return BL_E_NOMEM;
#pragma omp parallel for schedule(dynamic, 4) num_threads(c->threads)
    for (int64_t r = 0; r < a->w.dim[0]; r++) greedy_row(a, r, space + omp_get_thread_num() * in);
    bl_free(space);
    return BL_OK;
}

/* ---- ranges of SliM-LLM ---- */

/* The least w^2 / u^2 that is more than two standard deviations (of a sample) from the mean of all; infinity: none. */
static double salient_from(const bl_range_search_args *a)
{
    int64_t out = a->w.dim[0], n = a->w.dim[1], count = out * n;
    const float *w = bl_cpu_at(&a->w), *u = bl_cpu_at(&a->u);
    double mean = 0, var = 0, least = INFINITY;
    for (int64_t i = 0; i < count; i++) mean += (double)w[i] * w[i] / ((double)u[i % n] * u[i % n]) / (double)count;
    for (int64_t i = 0; i < count; i++) {
        double d = (double)w[i] * w[i] / ((double)u[i % n] * u[i % n]) - mean;
        var += d * d / (double)BL_MAX(count - 1, 1);
    }
    for (int64_t i = 0; i < count; i++) {
        double v = (double)w[i] * w[i] / ((double)u[i % n] * u[i % n]);
        if (fabs(v - mean) > 2 * sqrt(var)) least = fmin(least, v);
    }
    return least;
}

static float weighted_error(const bl_range_search_args *a, const float *w, float s, float z, double salient, float unit)
{
    const float *u = bl_cpu_at(&a->u);
    float qmax = (float)((1 << a->bits) - 1), sum = 0;
    for (int64_t i = 0; i < a->w.dim[1]; i++) {
        float v = (fminf(fmaxf(rintf(w[i] / s) + z, 0), qmax) - z) * s, d = powf(fabsf(v - w[i]) * unit, 2.4f);
        sum += (double)w[i] * w[i] / ((double)u[i] * u[i]) >= salient ? (float)a->lambda * d : d;
    }
    return sum;
}

static void search_row(const bl_range_search_args *a, int64_t row, double salient)
{
    enum { STEPS = 50 };
    const float *w = bl_cpu_row(&a->w, row);
    float lo = 0, hi = 0, best = INFINITY, qmax = (float)((1 << a->bits) - 1);
    for (int64_t i = 0; i < a->w.dim[1]; i++) {
        lo = fminf(lo, w[i]);
        hi = fmaxf(hi, w[i]);
    }
    float most = fmaxf(-lo, hi), unit = most > 0 ? 1 / most : 1;
    for (int k = 0; k <= 2 * STEPS; k++) {
        float p = (float)(k <= STEPS ? 1 + k / 500.0 : 1 - (k - STEPS) / 500.0), s, z;
        bl_fit_zero((float[]){p * lo, p * hi}, 2, (int)qmax, &s, &z);
        s = bl_cpu_stored_scale(s, a->scale_type);
        float error = a->lambda == 1 ? bl_fit_error(w, a->w.dim[1], s, z, qmax, unit)
                                     : weighted_error(a, w, s, z, salient, unit);
        if (k && !(error < best)) continue;
        best = error;
        *bl_cpu_row(&a->scale, row) = s;
        *bl_cpu_row(&a->zero, row) = z;
    }
}

bl_status bl_cpu_range_search(bl_backend *be, const bl_range_search_args *a, bl_err *e)
{
    bl_status st = bl_check_range_search(a, e);
    const bl_cpu *c = be->own;
    if (st != BL_OK) return st;
    double salient = a->lambda == 1 ? INFINITY : salient_from(a);
#pragma omp parallel for schedule(dynamic, 8) num_threads(c->threads)
    for (int64_t r = 0; r < a->w.dim[0]; r++) search_row(a, r, salient);
    return BL_OK;
}

bl_status bl_cpu_each(bl_backend *be, const bl_each_args *a, bl_err *e)
{
    bl_status st = bl_check_each(a, e);
    bl_cpu *c = be->own;
    if (st != BL_OK) return st;
#pragma omp parallel for schedule(dynamic, 1) num_threads(c->threads)
    for (int64_t i = 0; i < a->n; i++) a->piece(a->ctx, i);
    return BL_OK;
}
