/* timing.h - what was measured of one kernel at one shape: a row of /kernel/timings (layout: results/schema.md).
 * Written by the bench, read by figures.
 */
#ifndef BL_RESULTS_TIMING_H
#define BL_RESULTS_TIMING_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Files of timings; they stand among cells and are none. */
#define BL_KERNELS_FILE    "kernels.h5"
#define BL_THROUGHPUT_FILE "throughput.h5"
bool bl_is_timings(const char *name);

typedef struct bl_kernel_row {
    const char *kernel, *op, *format, *backend; /* the kernel "openblas" is fp32 by OpenBLAS */
    int64_t m, out, in;                         /* x is [m, in], the weight [out, in] */
    int64_t group;                   /* weights that share a scale; 0: the format has its own rule, or none */
    double bits;                     /* per weight, scales and zero points included */
    double seconds;                  /* wall time of a call with the weight in cache, median of the repetitions */
    double gbs, gflops;              /* 1e9 bytes and 1e9 operations a second, over the median */
    double ratio;                    /* median time of OpenBLAS at this shape over this one */
    double nmse;                     /* squared error over the power of sums in double */
    double seconds_min, seconds_max; /* least and most of the repetitions */
    double cold, cold_min, cold_max; /* the same with the weight in memory, in no cache; 0: not measured */
    double cold_ratio;               /* median time of OpenBLAS from memory over this one's; 0: not measured */
    double clock, cold_clock;        /* MHz of a GPU in the middle of the repetitions; 0: not known */
    const char *held, *cold_held;    /* all that held it down then, "power cap"; "": nothing, or not known */
    double bytes;                    /* packed weight, x and y */
    double of_memory, of_peak; /* bytes / cold over what memory is read with; operations / seconds over the most that
                                  the processor does of the kind, floats or integers; 0: not measured */
    const double *repeat[2];   /* seconds of each repetition, in the order of measuring: weight in cache, from memory */
    int64_t n_repeat[2];       /* 0: not kept */
} bl_kernel_row;

/* A kernel that was not timed because its result is not right. */
typedef struct bl_kernel_wrong {
    const char *kernel;
    int64_t m, out, in, group;
    double nmse, limit;
} bl_kernel_wrong;

/* Of whole models: how long something took with a method. */
typedef struct bl_model_row {
    const char *what, *method; /* "window of 512", "rtn:w4g64" */
    int64_t tokens;
    double seconds; /* median of the repetitions */
    const double *repeat;
    int64_t n_repeat;
    double clock;     /* MHz of a GPU meanwhile, median; 0: not known */
    const char *held; /* all that held it down; "": nothing, or not known */
} bl_model_row;

/* The same product of the library before, between and after all that is timed: what the device itself was like. */
enum { BL_PROBES = 3 };
typedef struct bl_probe {
    const char *what;      /* "memory", "cache", "arithmetic": what it takes its time for */
    const double *seconds; /* of each round, in the order of measuring */
    int64_t n;
} bl_probe;

/* Where and how the rows were measured. */
typedef struct bl_kernel_facts {
    const char *device, *simd, *blas, *commit, *created, *shape; /* shape: whose layers; texts may be "" */
    int64_t threads, repetitions;
    double read_bytes_per_second;     /* of memory, on the same threads; 0: not measured */
    double cache_bytes, copies_bytes; /* of the last level of caches, or a GPU's second; of the copies of a weight that
                                         comes from memory, 0: there are none; both 0: not known */
    double drift;               /* slowest over fastest repetition of OpenBLAS, median over shapes; 0: not known */
    double load;                /* of the machine in the minute before; 0: not known */
    double peak, peak_integer;  /* operations of f32, of integers, a second in registers, measured, of a GPU in bf16
                                   of a large product; 0: not known */
    double clock, memory_clock; /* MHz of a GPU, medians while kernels and probes were timed; 0: not known */
    double watts, degrees;      /* the most of it then; 0: not known */
    const char *held;       /* all that held the clock of a GPU down, "power cap, heat"; "": nothing, or not known */
    const char *slowed;     /* what of it is a fault of the machine or was set, "heat" */
    const char *driver;     /* of a GPU; "": not known */
    const char *convention; /* how it was measured; only times of one convention are compared */
    const bl_probe *probe;
    size_t n_probes; /* 0: there are none */
} bl_kernel_facts;
#endif
