/* bench.h - times kernels next to OpenBLAS and reads the timings back; times whole models next to the products they are
 * made of.
 *
 *     bl_bench_result r;
 *     BL_TRY(bl_bench_kernels(&(bl_bench_opts){ .shape = "synth:smollm2-135m", .threads = 2 }, arena, &r, e));
 *     BL_TRY(bl_bench_table(r.row, r.n, false, &out, e));
 */
#ifndef BL_HARNESS_BENCH_BENCH_H
#define BL_HARNESS_BENCH_BENCH_H
#include "kernels/dispatch.h"
#include "results/speed.h"
#include "harness/checkpoint/checkpoint.h"
#include "harness/program.h"

/* The timings of a directory; not a shard of a cell. Google Benchmark's report is beside it. */
#define BL_BENCH_FILE BL_KERNELS_FILE
#define BL_BENCH_JSON "kernels.json"

typedef struct bl_bench_opts {
    const char *shape;  /* MODEL or synth:SHAPE whose linears give the shapes, or a list OUTxIN,OUTxIN; NULL:
                           synth:smollm2-135m */
    const char *filter; /* comma list of globs over kernel names; NULL: all */
    const int64_t *m;
    size_t n_m;                          /* rows; NULL: 1, 16, 128, 512 */
    int64_t group, threads, repetitions; /* group 0: 64, -1: whole row; repetitions 0: 5 */
    int64_t act_group;                   /* inputs that share a scale of integer activations; 0: a whole row */
    double min_time;                     /* seconds a measurement; 0: 0.05 */
    uint64_t cold_bytes;                 /* of the copies of a weight that comes from memory; 0: four times the caches,
                                            or none where memory is too small (bl_kernel_facts) */
    const char *out;    /* directory: kernels.h5 and kernels.json (Google Benchmark's); NULL: nothing is written */
    const char *device; /* NULL: cpu. On others graphs are replayed, and cuBLAS with bf16 weights is the baseline:
                           ratios and drift are of it, kernels.json is in the
                           form of Google Benchmark's */
    const char *outside, *outside_format; /* a shared object with a kernel (outside.h); NULL: none. NULL: int4 */
    bool picked; /* only the kernel that each product takes, at the products of one block: q, k and v are one, gate and
                    up are one */
    bool narrow; /* outputs as activations are; those of outside kernels stay f32 */
    bool check;  /* each once against double sums; nothing is timed or written, rows have their error alone; on a GPU a
                    profiler that waits sees poison and kernel, row after row */
    bl_isa isa;  /* at most this much of the CPU */
    bool quiet;
} bl_bench_opts;

typedef struct bl_bench_result {
    bl_kernel_row *row;
    size_t n; /* by shape, M, kernel; OpenBLAS comes first; ratio: OpenBLAS's time over this one */
    bl_kernel_wrong *wrong;
    size_t n_wrong;    /* not timed */
    size_t n_left_out; /* how many of kernels x shapes x M were not timed: the kernel does not take them, or they are
                          larger than its timings may be */
    bl_device_info device;
    const char *blas_core; /* the processor that OpenBLAS believes to be on: "Zen" */
    bl_kernel_facts facts; /* where and how; without created, shape, repetitions and convention, which the file has */
} bl_bench_result;
enum { BL_MOST_COPIES = 1 << 15 }; /* of a weight that comes from memory */
/* Every applicable row of the kernel registry at every distinct shape of the block linears x M: correctness first, then
 * time with the weight in cache and from memory, OpenBLAS fp32 between them on the same number of threads. Everything
 * lives in the arena. BL_E_UNSUPPORTED: built without Google Benchmark. */
bl_status bl_bench_kernels(const bl_bench_opts *o, bl_arena *a, bl_bench_result *out, bl_err *e);
/* Timings of kernels in DIR; none is fine. */
bl_status bl_bench_read(const char *dir, bl_arena *a, bl_speed_record *out, bl_err *e);
bl_status bl_bench_table(const bl_kernel_row *row, size_t n, bool json, bl_text *out, bl_err *e);
/* Rows of `check`. */
bl_status bl_bench_errors(const bl_kernel_row *row, size_t n, bool json, bl_text *out, bl_err *e);

/* Timings of `picked` added up over the products of a block, for each format and number of rows. */
bl_status bl_bench_layers(const bl_kernel_row *row, size_t n, bool json, bl_text *out, bl_err *e);

/* The fastest kernel of each weight and number of rows, of timings from memory; between two numbers the greater one
 * counts. What is less than 2% faster than the kernel of fewer rows is no reason to change. */
bl_status bl_tune_rows(const bl_kernel_row *row, size_t n, bl_arena *a, bl_dispatch_row **out, size_t *n_out,
                       bl_err *e);

/* ---- whole models ---- */
typedef struct bl_scoring_opts {
    const char *model, *method;   /* comma list of methods; "fp32": all weights as fp32; NULL: fp32,base,rtn:w4g64 */
    const char *filter;           /* comma list of globs over what is timed, "greedy*"; NULL: all */
    int64_t threads, repetitions; /* repetitions 0: 5; the median counts */
    int64_t request, decode;      /* tokens of a short request, of a greedy text; 0: 24, 64 */
    int64_t batch;                /* short requests, and on a GPU windows, that go together; 0: 8 */
    const char *device;           /* NULL: cpu. On others there is no cblas_sgemm, and several windows go together */
    int64_t mem_limit;            /* MiB of the device; 0: all */
    bool alone;                   /* without cblas_sgemm */
    bool stream, deterministic, quiet;
    bl_isa isa;      /* at most this much of the CPU */
    const char *out; /* directory: throughput.h5; NULL: nothing is written */
} bl_scoring_opts;
typedef struct bl_scoring_row {
    const char *what,
        *method;    /* "window of 512", "8 requests, batch 8", "greedy"; method "cblas_sgemm": its products alone */
    int64_t tokens; /* rows through the model */
    double seconds, seconds_min, seconds_max; /* median, least and most of the repetitions */
    double gflops;                            /* products of linears and head over the median; 0: not counted */
    double ratio;                             /* time of cblas_sgemm on the same products over this one; 0: none */
    uint64_t peak_bytes;                      /* of the device, all rows together */
    const double *repeat;                     /* seconds, in the order of measuring */
    int64_t n_repeat;
    double clock;     /* MHz of a GPU meanwhile, median; 0: not known */
    const char *held; /* all that held it down; "": nothing, or not known */
} bl_scoring_row;
typedef struct bl_scoring_result {
    bl_scoring_row *row;
    size_t n;
    bl_kernel_facts facts; /* where and how; of a CPU without its bandwidth where nothing is written */
} bl_scoring_result;
/* Windows, short requests and greedy text of each method, in turn, with cblas_sgemm on the same list of products
 * between them, on a GPU with probes of it, which have memory of their own beside mem_limit. Quantized models are made
 * in a temporary directory that is gone afterwards. */
bl_status bl_bench_scoring(const bl_program *p, const bl_scoring_opts *o, bl_arena *a, bl_scoring_result *out,
                           bl_err *e);
bl_status bl_scoring_table(const bl_scoring_row *row, size_t n, bool json, bl_text *out, bl_err *e);
/* "Driver 580.1; clock 1755 MHz, …; held down by: power cap; …" of a GPU; nothing where it is not known. */
void bl_bench_clocks(const bl_kernel_facts *f, bl_text *out);
/* Why ops are not in the table: "transform, ... have no rows: ...". */
void bl_bench_unlisted(bl_text *out);
const char *bl_blas_name(void); /* "OpenBLAS 0.3.21 … Zen": version, options, core */

/* ---- one record against another (results/speed.h) ---- */
#define BL_SPEED_PERCENT 2 /* of time: what matters in practice */
bl_status bl_throughput_read(const char *dir, bl_arena *a, bl_speed_record *out, bl_err *e); /* as bl_bench_read */
/* Whether a directory has timings of kernels or of models. */
bool bl_speed_there(const char *dir);
/* All timings that two directories have; percent 0: BL_SPEED_PERCENT. *worse grows by how many are slower or less
 * exact. */
bl_status bl_speed_of_dirs(const char *const dir[2], double percent, bool json, bl_text *out, size_t *worse, bl_err *e);
typedef struct bl_bench_against {
    const char *program[2];  /* base, new: two builds */
    const char *const *args; /* of `bench`, ends with NULL; --output is added */
    int64_t rounds;          /* 0: 9 */
    double percent;
    bool json, quiet;
} bl_bench_against;
/* Runs both programs in turn, ABBA, and compares the medians of the rounds. */
bl_status bl_bench_against_run(const bl_bench_against *o, bl_text *out, size_t *worse, bl_err *e);

/* ---- the index of vectors (kernels/index.h) ---- */
typedef struct bl_search_opts {
    int64_t vectors, dim, threads, repetitions; /* repetitions 0: 5 */
} bl_search_opts;
typedef struct bl_search_result {
    double find, fastest, batch; /* seconds of one query, median and least, and of each of several in one call */
    double processor;            /* of one query, all threads together: what it takes where others compute too */
    double scan, gemv, make;     /* all vectors in full; cblas_sgemv of them; making the index */
    double whole;                /* vectors that a query looked at in full, mean */
    bool same;                   /* every answer was that of looking at all */
    bl_device_info device;
} bl_search_result;
/* Made-up vectors of unit length around 1,000 centres. */
bl_status bl_bench_search(const bl_search_opts *o, bl_search_result *out, bl_err *e);
void bl_search_text(const bl_search_opts *o, const bl_search_result *r, bool json, bl_text *out);
#endif
