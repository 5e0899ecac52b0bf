/* gbench.h - Google Benchmark from C: batch after batch, the repetitions of its cases in a random order, so that a slow
 * moment of the machine is nobody's property. Its own JSON report comes back as text.
 *
 * gbench_shim.cc is the one file that sees the C++ library; without the library these functions say what is missing.
 */
#ifndef BL_HARNESS_BENCH_GBENCH_H
#define BL_HARNESS_BENCH_GBENCH_H
#include "kernels/base/bl.h"

enum { BL_GBENCH_COUNTERS = 8 };
typedef struct bl_gbench_counter {
    const char *name;
    double value;
    bool rate;
} bl_gbench_counter; /* rate: of one run; reported per second */
typedef struct bl_gbench_case {
    const char *name; /* unique; "gemm_int4_avx2/m:16/out:576/in:1536" */
    int64_t batch;    /* cases of one batch stand together */
    void *ctx;
    /* Before each series of runs, untimed. *skip: this case is not to be timed. */
    bl_status (*begin)(void *ctx, bool *skip, bl_err *e);
    bl_status (*run)(void *ctx, bl_err *e);        /* what is timed; waits until the work is done */
    bl_gbench_counter counter[BL_GBENCH_COUNTERS]; /* read after begin; ends at a NULL name */
    double seconds, seconds_min,
        seconds_max; /* out: median, least and most over the repetitions, of one run; 0: not timed */
    double *repeat;  /* [repetitions] of the caller, or NULL: out, seconds of one run in each */
    int64_t n_repeat;
} bl_gbench_case;

typedef struct bl_gbench_opts {
    double min_time; /* seconds of a repetition */
    int64_t repetitions;
    const char *const
        *context; /* name, value, name, value, …, NULL: facts for the head of the report; the first of a name counts */
} bl_gbench_opts;

bool bl_gbench_there(void);
/* Stops at the first failure of begin or run and returns it. Wall time. *json is a whole report; cases that were not
 * timed are not in it. */
bl_status bl_gbench_run(bl_gbench_case *c, size_t n, const bl_gbench_opts *o, bl_text *json, bl_err *e);
#endif
