/* timing.h - what was measured of one kernel at one shape: a row of /kernel/timings (layout: results/schema.md).
 * Written by the bench, read by figures.
 */
#ifndef BL_RESULTS_TIMING_H
#define BL_RESULTS_TIMING_H
#include <stdint.h>

typedef struct bl_kernel_row {
    const char *kernel, *op, *format, *backend; /* the kernel "openblas" is fp32 by OpenBLAS */
    int64_t m, out, in;                         /* x is [m, in], the weight [out, in] */
    int64_t group;      /* weights that share a scale; 0: the format has its own rule, or none */
    double bits;        /* per weight, scales and zero points included */
    double seconds;     /* wall time of a call, median of the repetitions */
    double gbs, gflops; /* 1e9 bytes and 1e9 operations a second, over the median */
    double ratio;       /* median time of OpenBLAS at this shape over this one */
    double nmse;        /* squared error over the power of sums in double */
    double seconds_min; /* least of the repetitions */
} bl_kernel_row;
#endif
