/* round.c - rounded activations in training and the way back through them, and through weights that are scaled by rows
 * and columns (ops_train.h). Compiled with -O3: loops over elements take vectors. */
#include "cpu.h"

enum { COLUMNS = 512 }; /* of a piece */

bl_status bl_cpu_scale_grad(bl_backend *be, const bl_scale_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_scale_grad(a, e);
    const float *rows = bl_cpu_at(&a->rows), *cols = bl_cpu_at(&a->cols);
    float *drows = bl_cpu_at(&a->drows), *dcols = bl_cpu_at(&a->dcols);
    if (st != BL_OK) return st;
    const int64_t m = a->x.dim[0], n = a->x.dim[1], threads = bl_cpu_threads(be, 2 * (double)bl_tensor_count(&a->x));
    if (drows) {
#pragma omp parallel for schedule(static) num_threads(threads)
        for (int64_t i = 0; i < m; i++) {
            const float *x = bl_cpu_row(&a->x, i), *dy = bl_cpu_row(&a->dy, i);
            double sum = 0;
            for (int64_t j = 0; j < n; j++) sum += (double)dy[j] * x[j] * (cols ? cols[j] : 1);
            drows[i] += (float)sum;
        }
    }
    if (!dcols) return BL_OK;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t first = 0; first < n; first += COLUMNS) {
        const int64_t wide = BL_MIN(COLUMNS, n - first);
        double sum[COLUMNS] = {0};
        for (int64_t i = 0; i < m; i++) {
            const float *x = (const float *)bl_cpu_row(&a->x, i) + first,
                        *dy = (const float *)bl_cpu_row(&a->dy, i) + first;
            const double by = rows ? rows[i] : 1;
            for (int64_t j = 0; j < wide; j++) sum[j] += by * dy[j] * x[j];
        }
        for (int64_t j = 0; j < wide; j++) dcols[first + j] += (float)sum[j];
    }
    return BL_OK;
}

bl_status bl_cpu_differ(bl_backend *be, const bl_differ_args *a, bl_err *e)
{
    bl_status st = bl_check_differ(be, a, e);
    const int64_t rows = a->x.dim[0], n = a->x.dim[1];
    const float scale = (float)a->scale;
    double *sum, total = 0;
    if (st != BL_OK) return st;
    if (!(sum = bl_new((size_t)BL_MAX(rows, 1), sizeof *sum, e))) return BL_E_NOMEM;
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, 2 * (double)bl_tensor_count(&a->x)))
    for (int64_t r = 0; r < rows; r++) {
        float *x = bl_cpu_row(&a->x, r);
        const float *y = bl_cpu_row(&a->y, r);
        double part[8] = {0};
        for (int64_t i = 0; i < n; i++) {
            const float d = x[i] - y[i];
            part[i % 8] += (double)d * d;
            if (scale != 0) x[i] = scale * d;
        }
        sum[r] = bl_tree8d(part);
    }
    for (int64_t r = 0; r < rows; r++) total += sum[r];
    *(double *)bl_cpu_at(&a->sum) = total;
    bl_free(sum);
    return BL_OK;
}

bl_status bl_cpu_act_round(bl_backend *be, const bl_act_round_args *a, bl_err *e)
{
    bl_status st = bl_check_act_round(be, a, e);
    const int64_t n = a->x.dim[1];
    if (st != BL_OK) return st;
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, 6 * (double)bl_tensor_count(&a->x)))
    for (int64_t r = 0; r < a->x.dim[0]; r++) {
        const float *x = bl_cpu_row(&a->x, r);
        float *y = bl_cpu_row(&a->y, r);
        for (int64_t i = 0; y != x && i < n; i++) y[i] = x[i];
        bl_cpu_act_simulate(y, n, &a->act, 0, 0);
    }
    return BL_OK;
}

typedef struct ends { /* of a group, 0: none; and what its scale brings to each weight there */
    float lo, hi, to_lo, to_hi;
} ends;

static ends ends_of(const bl_actq *q, const float *x, const float *dy, int64_t n)
{
    float scale, zero, least, most;
    int64_t at_lo = 0, at_hi = 0;
    double ds = 0;
    ends z = {0};
    bl_cpu_act_range(x, n, q, &scale, &zero);
    bl_cpu_act_limits(q, &least, &most);
    for (int64_t i = 0; i < n; i++) {
        const float v = x[i] / scale;
        ds += (double)dy[i] * (rintf(v) - v);
        z.lo = x[i] < z.lo ? x[i] : z.lo;
        z.hi = x[i] > z.hi ? x[i] : z.hi;
    }
    if (q->symmetric && z.hi > -z.lo) z.lo = 0;
    else if (q->symmetric && z.hi < -z.lo) z.hi = 0;
    for (int64_t i = 0; i < n; i++) {
        at_lo += z.lo < 0 && x[i] == z.lo;
        at_hi += z.hi > 0 && x[i] == z.hi;
    }
    if (q->symmetric) at_lo = at_hi = at_lo + at_hi;
    if (at_lo) z.to_lo = (float)(-ds / most / (double)at_lo);
    if (at_hi) z.to_hi = (float)(ds / most / (double)at_hi);
    return z;
}

void bl_cpu_act_round_grad_row(const void *args, int64_t r)
{
    const bl_act_round_grad_args *a = args;
    const int64_t n = a->x.dim[1], group = a->act.unit == BL_ACT_GROUP ? a->act.group : n;
    const float within = a->within > 0 ? (float)a->within : INFINITY;
    const float *x = bl_cpu_row(&a->x, r), *dy = bl_cpu_row(&a->dy, r);
    float *dx = bl_cpu_row(&a->dx, r);
    if (!a->ends) {
        if (a->accumulate)
            for (int64_t i = 0; i < n; i++) dx[i] += fabsf(x[i]) < within ? dy[i] : 0;
        else
            for (int64_t i = 0; i < n; i++) dx[i] = fabsf(x[i]) < within ? dy[i] : 0;
        return;
    }
    for (int64_t first = 0; first < n; first += group) {
        const int64_t end = BL_MIN(first + group, n);
        const ends z = ends_of(&a->act, x + first, dy + first, end - first);
        for (int64_t i = first; i < end; i++) {
            float v = fabsf(x[i]) < within ? dy[i] : 0;
            if (z.lo < 0 && x[i] == z.lo) v += z.to_lo;
            if (z.hi > 0 && x[i] == z.hi) v += z.to_hi;
            dx[i] = a->accumulate ? dx[i] + v : v;
        }
    }
}

bl_status bl_cpu_act_round_grad(bl_backend *be, const bl_act_round_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_act_round_grad(be, a, e);
    if (st != BL_OK) return st;
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, 8 * (double)bl_tensor_count(&a->x)))
    for (int64_t r = 0; r < a->x.dim[0]; r++) bl_cpu_act_round_grad_row(a, r);
    return BL_OK;
}
