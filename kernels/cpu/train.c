/* train.c - the training ops that need no faster form than plain C on all threads (ops_train.h): dropout, optimizer
 * steps. Compiled with -O3: loops over elements take vectors. */
#include "cpu.h"
#include "kernels/base/rng.h"
#include "kernels/format_impl.h"

bl_status bl_cpu_dropout(bl_backend *be, const bl_dropout_args *a, bl_err *e)
{
    bl_status st = bl_check_dropout(be, a, e);
    int64_t width = a->x.dim[1];
    const double limit = a->p * 0x1p32;
    const float keep = (float)(1 / (1 - a->p));
    if (st != BL_OK) return st;
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, 20 * (double)bl_tensor_count(&a->x)))
    for (int64_t r = 0; r < a->x.dim[0]; r++) {
        const float *x = bl_cpu_row(&a->x, r);
        float *y = bl_cpu_row(&a->y, r);
        uint32_t four[4];
        for (int64_t i = 0; i < width; i++) {
            uint64_t n = (uint64_t)(a->row0 + r) * (uint64_t)width + (uint64_t)i;
            if (i == 0 || n % 4 == 0)
                bl_philox((uint32_t[4]){(uint32_t)(n / 4), (uint32_t)(n / 4 >> 32), a->stream[0], a->stream[1]}, a->key,
                          four);
            float v = four[n % 4] >= limit ? x[i] * keep : 0;
            y[i] = a->accumulate ? y[i] + v : v;
        }
    }
    return BL_OK;
}

bl_status bl_cpu_round_random(bl_backend *be, const bl_round_random_args *a, bl_err *e)
{
    bl_status st = bl_check_round_random(a, e);
    if (st != BL_OK) return st;
    const bl_weight *w = a->w;
    const int64_t in = w->shape.in, group = w->shape.group, groups = bl_shape_groups(&w->shape);
    uint8_t *codes = bl_cpu_at(&w->part[0]);
    const void *scales = bl_cpu_at(&w->part[1]);
    const uint8_t *zeros = bl_cpu_at(&w->part[2]);
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, 40 * (double)bl_tensor_count(&a->x)))
    for (int64_t r = 0; r < w->shape.out; r++) {
        const float *x = bl_cpu_row(&a->x, r);
        uint32_t four[4];
        for (int64_t k = 0; k < in; k++) {
            const uint64_t n = (uint64_t)r * (uint64_t)in + (uint64_t)k;
            const int64_t at = r * groups + k / group;
            if (k == 0 || n % 4 == 0)
                bl_philox((uint32_t[4]){(uint32_t)(n / 4), (uint32_t)(n / 4 >> 32), a->stream[0], a->stream[1]}, a->key,
                          four);
            const float v = x[k] / bl_scale_at(scales, w->shape.scale, at), low = floorf(v);
            const float code = low + (float)((float)four[n % 4] * 0x1p-32f < v - low) + (float)zeros[at];
            codes[r * in + k] = (uint8_t)(code > 0 ? code < 255 ? code : 255 : 0);
        }
    }
    return BL_OK;
}

bl_status bl_cpu_adamw(bl_backend *be, const bl_adamw_args *a, bl_err *e)
{
    bl_status st = bl_check_adamw(a, e);
    float *p = bl_cpu_at(&a->p), *m = bl_cpu_at(&a->m), *v = bl_cpu_at(&a->v);
    const float *grad = bl_cpu_at(&a->grad);
    const float shrink = (float)(1 - a->lr * a->decay), b1 = (float)a->beta1, b2 = (float)a->beta2,
                new1 = (float)(1 - a->beta1), new2 = (float)(1 - a->beta2), by = (float)a->grad_scale,
                eps = (float)a->eps, step = (float)(a->lr / (1 - pow(a->beta1, (double)a->step))),
                root = (float)sqrt(1 - pow(a->beta2, (double)a->step));
    if (st != BL_OK) return st;
    int64_t n = bl_tensor_count(&a->p);
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, 8 * (double)n))
    for (int64_t i = 0; i < n; i++) {
        float g = grad[i] * by;
        m[i] = b1 * m[i] + new1 * g;
        v[i] = b2 * v[i] + new2 * (g * g);
        p[i] = p[i] * shrink - step * (m[i] / (sqrtf(v[i]) / root + eps));
    }
    return BL_OK;
}

bl_status bl_cpu_adamw_all(bl_backend *be, const bl_adamw_all_args *a, bl_err *e)
{
    bl_status st = bl_check_adamw_all(a, e);
    for (size_t i = 0; i < a->n && st == BL_OK; i++) {
        st = bl_cpu_adamw(be, &a->of[i], e);
        if (st == BL_OK && a->clear) st = be->ops->fill(be, &a->of[i].grad, 0, e);
    }
    return st;
}

/* The place of the nearest value, the lower one of two. */
static int nearest(const float *table, float x)
{
    int lo = 0, hi = 255; /* table[lo] <= x < table[hi] where there are such */
    while (hi - lo > 1) {
        int mid = (lo + hi) / 2;
        if (table[mid] <= x) lo = mid;
        else hi = mid;
    }
    return x - table[lo] <= table[hi] - x ? lo : hi;
}

/* One block of `n` moments onto p. */
static void step8(const bl_adamw8_one *one, const float *m_table, const float *v_table, int64_t block, int64_t n)
{
    const int64_t at = block * BL_MOMENT_BLOCK;
    const bl_adamw_args *a = &one->how;
    float *p = (float *)bl_cpu_at(&a->p) + at, m[BL_MOMENT_BLOCK], v[BL_MOMENT_BLOCK], m_top = 0, v_top = 0;
    const float *grad = (const float *)bl_cpu_at(&a->grad) + at;
    float *m_max = (float *)bl_cpu_at(&one->m_max) + block, *v_max = (float *)bl_cpu_at(&one->v_max) + block;
    uint8_t *mc = (uint8_t *)bl_cpu_at(&a->m) + at, *vc = (uint8_t *)bl_cpu_at(&a->v) + at;
    const float root = (float)sqrt(1 - pow(a->beta2, (double)a->step)),
                step = (float)(a->lr / (1 - pow(a->beta1, (double)a->step))), b1 = (float)a->beta1,
                b2 = (float)a->beta2, shrink = (float)(1 - a->lr * a->decay), by = (float)a->grad_scale,
                eps = (float)a->eps;
    for (int64_t i = 0; i < n; i++) {
        float g = grad[i] * by;
        m[i] = b1 * (m_table[mc[i]] * *m_max) + (1 - b1) * g;
        v[i] = b2 * (v_table[vc[i]] * *v_max) + (1 - b2) * g * g;
        m_top = fmaxf(m_top, fabsf(m[i]));
        v_top = fmaxf(v_top, v[i]);
        p[i] = (p[i] - step * (m[i] / (sqrtf(v[i]) / root + eps))) * shrink;
    }
    for (int64_t i = 0; i < n; i++) {
        float x = m_top > 0 ? m[i] / m_top : 0;
        int c = nearest(m_table, x);
        if (signbit(m_table[c]) != signbit(x)) c += x > 0 ? 1 : -1; /* 0 has the sign of what is above it */
        mc[i] = (uint8_t)BL_MAX(BL_MIN(c, 255), 0);
        vc[i] = (uint8_t)nearest(v_table, v_top > 0 ? v[i] / v_top : 0);
    }
    *m_max = m_top;
    *v_max = v_top;
}

bl_status bl_cpu_adamw8(bl_backend *be, const bl_adamw8_args *a, bl_err *e)
{
    bl_status st = bl_check_adamw8(a, e);
    const float *m_table = bl_cpu_at(&a->m_table), *v_table = bl_cpu_at(&a->v_table);
    for (size_t i = 0; i < a->n && st == BL_OK; i++) {
        const bl_adamw8_one *one = a->of + i;
        const int64_t n = bl_tensor_count(&one->how.p);
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, 30 * (double)n))
        for (int64_t b = 0; b < (n + BL_MOMENT_BLOCK - 1) / BL_MOMENT_BLOCK; b++)
            step8(one, m_table, v_table, b, BL_MIN(n - b * BL_MOMENT_BLOCK, BL_MOMENT_BLOCK));
        if (a->clear) st = be->ops->fill(be, &one->how.grad, 0, e);
    }
    return st;
}
