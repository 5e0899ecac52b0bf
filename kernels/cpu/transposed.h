/* transposed.h - y = x W, for gradients, as tasks: what avx2_transposed.c and avx512_transposed.c share. A task is a
 * run of columns of the weight; it goes through all outputs, so no chain is cut, for as many rows at a time as there is
 * room for. */
#ifndef BL_KERNELS_CPU_TRANSPOSED_H
#define BL_KERNELS_CPU_TRANSPOSED_H
#include "avx2.h"
#include <omp.h>

/* Columns of a task; chain j of a column takes the outputs o with o % 8 == j. */
enum { BL_TRANSPOSED_COLS = 64, BL_TRANSPOSED_CHAINS = 8 };

/* Columns k0 .. k0+n, n <= 64, of rows r0 .. r0+rows. */
typedef void bl_transposed_task(const bl_linear_args *a, const bl_source *s, int64_t k0, int64_t n, int64_t r0,
                                int64_t rows, float *scratch);

/* All tasks, each of at most `most` rows. */
static inline bl_status bl_transposed_run(bl_backend *be, const bl_linear_args *a, bl_transposed_task *task,
                                          int64_t most)
{
    const bl_cpu *c = be->own;
    bl_source s;
    int64_t in = a->w[0]->shape.in, all = a->x.dim[0];
    bl_source_of(a->w[0], &s);
#pragma omp parallel for schedule(dynamic, 1)                                                                          \
    num_threads(bl_cpu_threads(be, (double)all *(double)in *(double)s.shape.out))
    for (int64_t k0 = 0; k0 < in; k0 += BL_TRANSPOSED_COLS)
        for (int64_t r = 0; r < all; r += most)
            task(a, &s, k0, BL_MIN(in - k0, BL_TRANSPOSED_COLS), r, BL_MIN(all - r, most),
                 c->scratch[omp_get_thread_num()]);
    return BL_OK;
}
#endif
