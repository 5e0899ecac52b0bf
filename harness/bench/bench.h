/* bench.h - times kernels next to OpenBLAS and reads the timings back. */
#ifndef BL_BENCH_H
#define BL_BENCH_H
#include "kernels/kernel.h"
#include "plots/plot.h"
#include "checkpoint/checkpoint.h"

typedef struct bl_bench_opts {
    const char *shape;                                  /* MODEL or synth:SHAPE whose linears give the shapes */
    const char *filter;                                 /* comma list of globs over kernel names; NULL: all */
    const int64_t *m; size_t n_m;                       /* rows; NULL: 1, 16, 128, 512 */
    int64_t  group, threads, repetitions;               /* repetitions 0: 5 */
    double   min_time;                                  /* seconds a measurement; 0: 0.05 */
    const char *out;                                    /* directory: kernels.h5 and kernels.json (Google Benchmark's) */
    bool     quiet;
} bl_bench_opts;
/* Every applicable row of the kernel registry at every distinct layer shape x M: correctness first, then time, OpenBLAS fp32 in the same call.
 * Rows are in the arena. BL_E_UNSUPPORTED: built without Google Benchmark. BL_E_NUMERIC: a kernel is wrong; it is named and not timed. */
bl_status bl_bench_kernels(const bl_bench_opts *o, bl_arena *a, bl_kernel_row **out, size_t *n, bl_err *e);
/* Timings in DIR; none is fine (*n 0). */
bl_status bl_bench_read(const char *dir, bl_arena *a, bl_kernel_row **out, size_t *n, bl_err *e);
bl_status bl_bench_table(const bl_kernel_row *row, size_t n, bool json, bl_text *out, bl_err *e);
#endif
