/* adapter.c - what adapters are made of, in plain C on all threads (ops_adapter.h). A row is one sequence of
 * operations, so bits do not depend on threads. */
#include "cpu.h"
#include "kernels/dense.h"
#include <math.h>

bl_status bl_cpu_dora(bl_backend *be, const bl_dora_args *a, bl_err *e)
{
    bl_status st = bl_check_dora(a, e);
    if (st != BL_OK) return st;
    const int64_t out = a->b.dim[0], rank = a->b.dim[1];
    const float *sq = bl_cpu_at(&a->sq), *m = bl_cpu_at(&a->m);
    float *norm = bl_cpu_at(&a->norm), *by = bl_cpu_at(&a->by);
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, (double)(out * rank * (rank + 2))))
    for (int64_t o = 0; o < out; o++) {
        const float *b = bl_cpu_row(&a->b, o);
        float *y = bl_cpu_row(&a->y, o);
        double sum = sq[o];
        for (int64_t k = 0; k < rank; k++) {
            const float *g = bl_cpu_row(&a->gram, k);
            double along = 0;
            for (int64_t j = 0; j < rank; j++) along += (double)g[j] * b[j];
            sum += a->scale * b[k] * (2 * (double)bl_cpu_row(&a->cross, k)[o] + a->scale * along);
        }
        norm[o] = sum > 0 ? (float)sqrt(sum) : 0;
        by[o] = norm[o] > 0 ? bl_dora_length(m[o]) / norm[o] : 0;
        for (int64_t k = 0; k < rank; k++) y[k] = by[o] * b[k];
    }
    return BL_OK;
}

enum { DORA_COLUMNS = 64, DORA_ROWS = 16 }; /* whose sums go down the rows together; rows whose sum is in f32 */

/* sum [n] += dy (y - bias) down the rows, columns o0 .. o0 + n. */
static void length_sums(const bl_dora_grad_args *a, int64_t o0, int64_t n, double *sum)
{
    const float *of_bias = bl_cpu_at(&a->bias);
    float bias[DORA_COLUMNS] = {0};
    for (int64_t i = 0; of_bias && i < n; i++) bias[i] = of_bias[o0 + i];
    for (int64_t r0 = 0; r0 < a->y.dim[0]; r0 += DORA_ROWS) {
        const int64_t end = BL_MIN(r0 + DORA_ROWS, a->y.dim[0]);
        float part[DORA_COLUMNS] = {0};
        for (int64_t r = r0; r < end; r++) {
            const float *restrict y = (const float *)bl_cpu_row(&a->y, r) + o0;
            const float *restrict dy = (const float *)bl_cpu_row(&a->dy, r) + o0;
            for (int64_t i = 0; i < n; i++) part[i] += (y[i] - bias[i]) * dy[i];
        }
        for (int64_t i = 0; i < n; i++) sum[i] += part[i];
    }
}

bl_status bl_cpu_dora_grad(bl_backend *be, const bl_dora_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_dora_grad(be, a, e);
    if (st != BL_OK) return st;
    const int64_t rows = a->y.dim[0], out = a->of_b.dim[0], rank = a->of_b.dim[1];
    const float *m = bl_cpu_at(&a->m), *by = bl_cpu_at(&a->by);
    float *dm = bl_cpu_at(&a->dm);
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, (double)(out * (rows + rank))))
    for (int64_t o0 = 0; o0 < out; o0 += DORA_COLUMNS) {
        const int64_t n = BL_MIN(out - o0, DORA_COLUMNS);
        double sum[DORA_COLUMNS] = {0};
        length_sums(a, o0, n, sum);
        for (int64_t i = 0; i < n; i++) {
            const float *of_b = bl_cpu_row(&a->of_b, o0 + i);
            float *db = bl_cpu_row(&a->db, o0 + i);
            for (int64_t k = 0; k < rank; k++) db[k] += by[o0 + i] * of_b[k];
            dm[o0 + i] += (float)(sum[i] / bl_dora_length(m[o0 + i]));
        }
    }
    return BL_OK;
}

bl_status bl_cpu_pool(bl_backend *be, const bl_pool_args *a, bl_err *e)
{
    bl_status st = bl_check_pool(a, e);
    if (st != BL_OK) return st;
    const float by = (float)a->by;
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, (double)bl_tensor_count(&a->y)))
    for (int64_t k = 0; k < a->y.dim[0]; k++) {
        const float *x = bl_cpu_row(&a->x, k);
        float *y = bl_cpu_row(&a->y, k);
        for (int64_t i = 0; i < a->y.dim[1]; i++) y[i] = by * x[i / a->group];
    }
    return BL_OK;
}

bl_status bl_cpu_pool_grad(bl_backend *be, const bl_pool_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_pool_grad(a, e);
    if (st != BL_OK) return st;
    const int64_t in = a->dy.dim[1];
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, (double)bl_tensor_count(&a->dy)))
    for (int64_t k = 0; k < a->dy.dim[0]; k++) {
        const float *dy = bl_cpu_row(&a->dy, k);
        float *dx = bl_cpu_row(&a->dx, k);
        for (int64_t j = 0; j < a->dx.dim[1]; j++) {
            double sum = 0;
            for (int64_t i = j * a->group; i < BL_MIN((j + 1) * a->group, in); i++) sum += dy[i];
            dx[j] += (float)(a->by * sum);
        }
    }
    return BL_OK;
}

static bool on_band(int64_t i, int64_t j, int64_t group, bool tall) { return tall ? i / group == j : j / group == i; }

bl_status bl_cpu_band(bl_backend *be, const bl_band_args *a, bl_err *e)
{
    bl_status st = bl_check_band(a, e);
    (void)be;
    if (st != BL_OK) return st;
    const float more = (float)(a->by * *(const float *)bl_cpu_at(&a->beta));
    for (int64_t i = 0; i < a->x.dim[0]; i++) {
        const float *x = bl_cpu_row(&a->x, i);
        float *y = bl_cpu_row(&a->y, i);
        for (int64_t j = 0; j < a->x.dim[1]; j++) y[j] = on_band(i, j, a->group, a->tall) ? x[j] + more : x[j];
    }
    return BL_OK;
}

bl_status bl_cpu_band_grad(bl_backend *be, const bl_band_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_band_grad(a, e);
    double sum = 0;
    (void)be;
    if (st != BL_OK) return st;
    for (int64_t i = 0; i < a->dy.dim[0]; i++) {
        const float *dy = bl_cpu_row(&a->dy, i);
        float *dx = bl_cpu_row(&a->dx, i);
        for (int64_t j = 0; j < a->dy.dim[1]; j++) {
            dx[j] += dy[j];
            if (on_band(i, j, a->group, a->tall)) sum += dy[j];
        }
    }
    *(float *)bl_cpu_at(&a->dbeta) += (float)(a->by * sum);
    return BL_OK;
}

/* One adapter after another, by the products of this backend. */
bl_status bl_cpu_lowrank_grad(bl_backend *be, const bl_lowrank_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_lowrank_grad(be, a, e);
    const int64_t rows = a->x.dim[0];
    if (st != BL_OK) return st;
    for (int i = 0; i < a->n; i++) {
        const bl_tensor A = a->of[i].a, B = a->of[i].b;
        const bl_tensor h = bl_tensor_2d(a->work.buf, a->work.offset, BL_F32, rows, A.dim[0]);
        const float scale = (float)a->of[i].scale;
        BL_TRY(bl_dense_product(be, A, a->x, h, false, false, e));
        BL_TRY(be->ops->weight_grad(
            be, &(bl_weight_grad_args){.x = h, .dy = a->of[i].dy, .dw = a->of[i].db, .alpha = a->of[i].scale}, e));
        BL_TRY(bl_dense_product(be, B, a->of[i].dy, h, true, false, e));
        for (int64_t r = 0; r < rows; r++) {
            float *g = bl_cpu_row(&h, r);
            for (int64_t k = 0; k < A.dim[0]; k++) g[k] *= scale;
        }
        BL_TRY(be->ops->weight_grad(be, &(bl_weight_grad_args){.x = a->x, .dy = h, .dw = a->of[i].da, .alpha = 1}, e));
        if (a->dx.buf) BL_TRY(bl_dense_product(be, A, h, a->dx, true, a->accumulate || i, e));
    }
out:
    return st;
}
