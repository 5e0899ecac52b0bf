/* sign.c - rounding that is learned by signs of gradients (ops_sign.h), in plain C on all threads. Compiled with -O3:
 * loops over weights take vectors. */
#include "cpu.h"
#include "kernels/sign_both.h"

/* Group i of a weight. */
static bl_sign_group group_of(const bl_sign_grid *d, const float *w, int64_t n, float a, float c)
{
    float lo = 0, hi = 0;
    for (int64_t j = 0; j < n; j++) {
        lo = w[j] < lo ? w[j] : lo;
        hi = w[j] > hi ? w[j] : hi;
    }
    return bl_sign_between(d->bits, d->symmetric, d->scale == BL_F16, lo, hi, a, c);
}

bl_status bl_cpu_sign_round(bl_backend *be, const bl_sign_round_args *a, bl_err *e)
{
    bl_status st = bl_check_sign_round(a, e);
    const bl_sign_grid d = a->grid;
    if (st != BL_OK) return st;
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, 4 * (double)bl_tensor_count(&a->w)))
    for (int64_t r = 0; r < a->w.dim[0]; r++) {
        const float *w = bl_cpu_row(&a->w, r), *v = bl_cpu_row(&a->v, r);
        float *y = bl_cpu_row(&a->y, r);
        for (int64_t i = 0, k = 0; i < a->w.dim[1]; i += d.group, k++) {
            const int64_t n = BL_MIN(d.group, a->w.dim[1] - i);
            const bl_sign_group g = group_of(&d, w + i, n, bl_cpu_row(&a->a, r)[k], bl_cpu_row(&a->c, r)[k]);
            for (int64_t j = i; j < i + n; j++) y[j] = bl_sign_value(&g, w[j], v[j]);
            if (a->scale.buf) bl_cpu_row(&a->scale, r)[k] = g.s;
            if (a->zero.buf) bl_cpu_row(&a->zero, r)[k] = g.z;
        }
    }
    return BL_OK;
}

bl_status bl_cpu_sign_round_grad(bl_backend *be, const bl_sign_round_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_sign_round_grad(a, e);
    const bl_sign_grid d = a->grid;
    if (st != BL_OK) return st;
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, 4 * (double)bl_tensor_count(&a->w)))
    for (int64_t r = 0; r < a->w.dim[0]; r++) {
        const float *w = bl_cpu_row(&a->w, r), *v = bl_cpu_row(&a->v, r), *c = bl_cpu_row(&a->c, r);
        float *dy = bl_cpu_row(&a->dy, r);
        for (int64_t i = 0, k = 0; i < a->w.dim[1]; i += d.group, k++) {
            const int64_t n = BL_MIN(d.group, a->w.dim[1] - i);
            const bl_sign_group g = group_of(&d, w + i, n, bl_cpu_row(&a->a, r)[k], c[k]);
            double ds = 0, dz = 0;
            for (int64_t j = i; j < i + n; j++) dy[j] = bl_sign_slopes(&g, w[j], v[j], dy[j], &ds, &dz);
            bl_sign_ends(&g, d.symmetric, c[k], ds, dz, bl_cpu_row(&a->da, r) + k, bl_cpu_row(&a->dc, r) + k);
        }
    }
    return BL_OK;
}

bl_status bl_cpu_sign_step(bl_backend *be, const bl_sign_step_args *a, bl_err *e)
{
    bl_status st = bl_check_sign_step(a, e);
    float *p = bl_cpu_at(&a->p);
    const float *grad = bl_cpu_at(&a->grad), step = (float)a->step, low = (float)a->low, high = (float)a->high;
    int64_t n = bl_tensor_count(&a->p);
    if (st != BL_OK) return st;
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, (double)n))
    for (int64_t i = 0; i < n; i++) p[i] = bl_sign_moved(p[i], grad[i], step, low, high);
    return BL_OK;
}
