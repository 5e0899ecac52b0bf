/* encode.c - the ops of text encoders (ops_encode.h), in plain C on all threads. Compiled with -O3. */
#include "cpu.h"

bl_status bl_cpu_layernorm(bl_backend *be, const bl_layernorm_args *a, bl_err *e)
{
    bl_status st = bl_check_layernorm(be, a, e);
    int64_t n = a->x.dim[1];
    const float *w = bl_cpu_at(&a->weight), *b = bl_cpu_at(&a->bias);
    if (st != BL_OK) return st;
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, 4 * (double)bl_tensor_count(&a->x)))
    for (int64_t r = 0; r < a->x.dim[0]; r++) {
        const float *x = bl_cpu_row(&a->x, r);
        float *y = bl_cpu_row(&a->y, r);
        double sum[8] = {0}, square[8] = {0}; /* the 8 chains of a dot product, in double */
        for (int64_t i = 0; i < n; i++) sum[i % 8] += x[i];
        double mean = bl_tree8d(sum) / (double)n;
        for (int64_t i = 0; i < n; i++) square[i % 8] += (x[i] - mean) * (x[i] - mean);
        double scale = 1 / sqrt(bl_tree8d(square) / (double)n + a->eps);
        for (int64_t i = 0; i < n; i++) y[i] = (float)((x[i] - mean) * scale) * w[i] + b[i];
    }
    return BL_OK;
}

bl_status bl_cpu_gelu(bl_backend *be, const bl_gelu_args *a, bl_err *e)
{
    bl_status st = bl_check_gelu(be, a, e);
    if (st != BL_OK) return st;
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, 20 * (double)bl_tensor_count(&a->x)))
    for (int64_t r = 0; r < a->x.dim[0]; r++) {
        const float *x = bl_cpu_row(&a->x, r);
        float *y = bl_cpu_row(&a->y, r);
        for (int64_t i = 0; i < a->x.dim[1]; i++) y[i] = 0.5f * x[i] * (1 + erff(x[i] * 0.70710678118654752440f));
    }
    return BL_OK;
}
