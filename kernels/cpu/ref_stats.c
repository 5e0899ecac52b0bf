/* ref_stats.c - what calibration looks at: inputs as a weight sees them, and sums over their columns. */
#include "cpu.h"
#include <omp.h>

bl_status bl_ref_transform(bl_backend *be, const bl_transform_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_linear_args as = {.x = a->x, .t = a->t, .n_t = a->n_t};
    float *tmp = NULL;
    BL_TRY(bl_check_transform(be, a, e));
    int threads = bl_cpu_threads(be, 16 * (double)bl_tensor_count(&a->x));
    int64_t wide = bl_cpu_transform_width(&as);
    if (!(tmp = bl_new((size_t)threads * (size_t)wide, sizeof *tmp, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t r = 0; r < a->x.dim[0]; r++)
        bl_cpu_transform(&as, bl_cpu_row(&a->x, r), bl_cpu_row(&a->y, r), tmp + omp_get_thread_num() * wide);
out:
    bl_free(tmp);
    return st;
}

/* Rows in order, so that the sums do not depend on threads: each has its own columns. */
bl_status bl_ref_channel_stats(bl_backend *be, const bl_channel_stats_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    float *most = bl_cpu_at(&a->max_abs);
    double *sum = bl_cpu_at(&a->sum_abs), *sq = bl_cpu_at(&a->sum_sq);
    BL_TRY(bl_check_channel_stats(be, a, e));
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, 4 * (double)bl_tensor_count(&a->x)))
    for (int64_t part = 0; part < (a->x.dim[1] + 63) / 64; part++)
        for (int64_t r = 0; r < a->x.dim[0]; r++) {
            const float *x = bl_cpu_row(&a->x, r);
            for (int64_t i = 64 * part; i < BL_MIN(64 * part + 64, a->x.dim[1]); i++) {
                float v = fabsf(x[i]);
                most[i] = v > most[i] ? v : most[i];
                sum[i] += v;
                sq[i] += (double)v * v;
            }
        }
out:
    return st;
}
