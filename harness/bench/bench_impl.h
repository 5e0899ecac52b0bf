/* bench_impl.h - what the files of bench share with each other and with its tests. */
#ifndef BL_HARNESS_BENCH_BENCH_IMPL_H
#define BL_HARNESS_BENCH_BENCH_IMPL_H
#include "bench.h"
#include "results/record.h"

/* bl_bench_kernels over these kernels instead of the registry. */
bl_status bl_bench_list(const bl_bench_opts *o, const bl_kernel *const *kernel, size_t n_kernels, bl_arena *a,
                        bl_bench_result *out, bl_err *e);
bl_status bl_bench_write(const bl_bench_opts *o, const bl_bench_result *r, const bl_text *json, bl_err *e);

#define BL_BENCH_NO_NUMBER 1e99 /* of an error that is none */
bl_status bl_bench_write_facts(bl_record *rec, const bl_kernel_facts *f, bl_err *e);
bl_status bl_bench_read_facts(const bl_shard *s, bl_arena *a, bl_kernel_facts *f, bl_err *e);

bl_status bl_throughput_write(const char *dir, const bl_speed_record *r, bl_err *e);
/* Conditions, comparison and text of two records. */
bl_status bl_speed_gate(const bl_speed_record *a, const bl_speed_record *b, double percent, bool json, bl_arena *arena,
                        bl_text *t, size_t *worse, bl_err *e);

/* Whether a name matches one of a comma list of globs; NULL: all do. */
bool bl_bench_chosen(const char *filter, const char *name, bl_arena *a, bl_err *e);

/* The kernels of the backend of o->device at these shapes (rows 0), with o->m and o->repetitions set (device.c). The
 * baseline of the ratios is the row that takes every format, with bf16 weights. */
enum { BL_BENCH_ROWS = 64 }; /* numbers of rows at most */
bl_status bl_bench_on_device(const bl_bench_opts *o, const bl_kernel *const *kernel, size_t n,
                             const bl_kernel_shape *shape, size_t n_shapes, bl_arena *a, bl_bench_result *out,
                             bl_err *e);

/* "gemm_int4_avx2/m:16/out:576/in:1536", "…/from:memory" */
void bl_bench_case_name(const char *kernel, int64_t m, int64_t out, int64_t in, bool cold, char name[256]);
/* The end of a line of a table: " 1755, power cap |" where others of it have a clock. */
void bl_bench_clock(bool column, double mhz, const char *held, bl_text *out);
/* As Google Benchmark reports (google.c). */
bl_status bl_bench_google(const bl_bench_result *r, bl_text *out, bl_err *e);

/* ---- clocks of a GPU (clocks.c) ---- */
typedef struct bl_clocks bl_clocks;
typedef struct bl_look {
    double mhz;    /* 0: not known */
    uint64_t held; /* what held the clock down, as bits of NVML */
} bl_look;
/* NULL is fine for all of them: nothing is known. */
bl_clocks *bl_clocks_open(const char *bus); /* of bl_device_info */
bl_look bl_clocks_look(bl_clocks *c);       /* while it computes */
/* From now on a thread looks every so many seconds, until it is enough: their median, and all that held it. */
void bl_clocks_beside(bl_clocks *c, double every);
bl_look bl_clocks_enough(bl_clocks *c);
const char *bl_clocks_held(uint64_t held, bl_arena *a, bl_err *e); /* "power cap, heat"; NULL: memory ran out */
/* What all looks saw goes to watts, degrees, held, slowed and driver of `to`; to clock and memory_clock the medians of
 * looks at products of kernels and of probes, which are the same in two records, where a model is as fast as its power
 * lets it be. */
bl_status bl_clocks_close(bl_clocks *c, bl_arena *a, bl_kernel_facts *to, bl_err *e);

/* ---- launches that a profiler should look at (profiler.c) ---- */
void bl_profiler(bool look);

/* ---- products of a device, replayed (replays.c) ---- */
typedef struct bl_times {
    double median, least, most; /* seconds of a product */
    bl_look look;               /* at the device in the middle of them */
    double *repeat;             /* in the order of measuring */
} bl_times;
typedef struct bl_replays {
    bl_backend *be;
    bl_arena *a;
    bl_clocks *clocks; /* looked at while it computes; NULL is fine */
    int64_t repetitions;
    bl_event **event; /* [repetitions + 1] */
    double *t;
} bl_replays;
/* With the members before `event` set. */
bl_status bl_replays_open(bl_replays *r, bl_err *e);
void bl_replays_close(bl_replays *r);
/* Products with the weights w[0 .. distinct) in turn, as many as it takes to time them. */
bl_status bl_replays_time(bl_replays *r, const bl_kernel *k, const bl_kernel_case *c, const bl_weight *w,
                          size_t distinct, bl_times *out, bl_err *e);

/* ---- what the device was like meanwhile (probes.c) ---- */
enum { BL_PROBE_ROUNDS = 64, BL_PROBE_REPETITIONS = 5 };
typedef struct bl_probes {
    bl_replays of;
    const bl_kernel *base; /* of the library, with bf16 weights */
    bl_kernel_case large, small;
    double rest; /* seconds before a round: who is measured kept the device so busy that its power held it down */
    double *t[BL_PROBES], least[BL_PROBES], at;
    int64_t n; /* rounds */
    bool there;
} bl_probes;
/* With be, arena and clocks of `of`, and base set. A device with little memory has no probes, which is fine. */
bl_status bl_probes_open(bl_probes *p, bl_err *e);
void bl_probes_close(bl_probes *p);
/* A round of all, unless the one before was a moment ago; the last one is made in any case. */
bl_status bl_probes_look(bl_probes *p, bool last, bl_err *e);
/* To probe, read_bytes_per_second and peak. */
bl_status bl_probes_result(const bl_probes *p, bl_kernel_facts *to, bl_err *e);

/* ---- where and how something is measured (watch.c) ---- */
typedef struct bl_watch {
    bl_backend *be, *own; /* what is measured; of the probes, which its limit and settings do not concern */
    bl_arena *a;
    uint64_t cold_bytes; /* of a CPU: memory to read; 0: its bandwidth is not measured */
    double rest;         /* of its probes */
    bl_clocks *clocks;   /* of a GPU; for whoever looks at them */
    bl_probes probes;
    bl_kernel_facts *to;
} bl_watch;
/* With be, arena, cold_bytes, rest and `to` set: device and load before, of a CPU what it can do. Threads of others
 * have come to rest. */
bl_status bl_watch_open(bl_watch *w, bl_err *e);
/* Of a GPU a round of probes, between what is measured. */
bl_status bl_watch_look(bl_watch *w, bool last, bl_err *e);
/* The last round, and all that was seen goes to `to`. */
bl_status bl_watch_end(bl_watch *w, bl_err *e);
void bl_watch_close(bl_watch *w);
/* The row of a library of this backend that takes every format, with bf16 weights; NULL: there is none. */
const bl_kernel *bl_bench_base(const bl_backend *be);

/* ---- OpenBLAS (openblas.c) ---- */
/* y [m, out] = x [m, in] times w [out, in] transposed; one row is a matrix-vector product. */
void bl_blas_product(int64_t m, int64_t out, int64_t in, const float *x, const float *w, float *y);
/* Sets its threads; warns where it takes this processor for an old one, because then everything looks fast beside it.
 */
void bl_blas_threads(int threads, const bl_device_info *info);
/* Sleeps; after 0.05 s the threads of OpenBLAS and of OpenMP have stopped spinning for work, and who is timed next has
 * the cores for itself. */
void bl_blas_pause(double seconds);
const char *bl_blas_core(void);

/* ---- kernels of shared objects (outside.c, outside.h) ---- */
typedef struct bl_outside bl_outside;
/* Its name lives in the arena. */
bl_status bl_outside_open(const char *path, const char *format, const char *device, bl_arena *a, bl_outside **out,
                          bl_err *e);
void bl_outside_close(bl_outside *o); /* NULL is fine */
bool bl_outside_is(const bl_kernel *k);
const bl_kernel *bl_outside_kernel(const bl_outside *o);
/* The weight of a case in its layout, with as many copies as have about cold_bytes; of other kernels nothing. *taken:
 * whether it does this case. */
bl_status bl_outside_make(const bl_kernel *k, bl_backend *be, const bl_kernel_case *c, uint64_t cold_bytes, bool *taken,
                          bl_err *e);
void bl_outside_rotate(const bl_kernel *k, bool cold);                 /* whether every run takes the next copy */
double bl_outside_moved(const bl_kernel *k, const bl_kernel_shape *s); /* bl_kernel_bytes, by what it says itself */
void bl_outside_drop(const bl_kernel *k);

/* ---- weights in no cache (copies.c) ---- */
typedef struct bl_copies {
    bl_weight *w;
    float *host;      /* [n, floats], in place of w */
    size_t n, floats; /* n: two at least; 0: there would be too many */
    size_t at;
} bl_copies;
/* The third level caches of all processors together, each once however many share it, as /sys/devices/system/cpu says;
 * 0: not known. */
uint64_t bl_last_caches(const char *cpus);
/* Four times the caches, 64 MiB at least; 0: that is more than an eighth of the memory, where that is known (not 0). */
uint64_t bl_copies_bytes(uint64_t caches, uint64_t memory);
/* As many copies as have `bytes` together, and two; none where bytes is 0 or they were more than BL_MOST_COPIES. */
bl_status bl_copies_of_weight(bl_backend *be, const bl_weight *w, uint64_t bytes, bl_copies *out, bl_err *e);
bl_status bl_copies_of_floats(const float *w, size_t n, uint64_t bytes, bl_copies *out, bl_err *e);
size_t bl_copies_next(bl_copies *c); /* index of the copy that was not used for longest */
void bl_copies_free(bl_copies *c);   /* empty is fine */

/* A row like those of the kernel table: same cases and checks, but `run` is not used: OpenBLAS works on host copies. */
extern const bl_kernel bl_kernel_openblas;

extern const bl_method bl_bench_fp32; /* "fp32": every weight matrix as fp32 (method_fp32.c) */
#endif
