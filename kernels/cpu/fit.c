/* fit.c - the searching ops (ops_fit.h), in plain C on all threads. Compiled with -O3: loops over the columns of a
 * group take vectors. */
#include "solve.h"
#include <omp.h>

bl_status bl_cpu_scale(bl_backend *be, const bl_scale_args *a, bl_err *e)
{
    bl_status st = bl_check_scale(a, e);
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
