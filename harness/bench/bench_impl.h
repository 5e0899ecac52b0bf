/* bench_impl.h - what the files of bench share with each other and with its tests. */
#ifndef BL_HARNESS_BENCH_BENCH_IMPL_H
#define BL_HARNESS_BENCH_BENCH_IMPL_H
#include "bench.h"

/* bl_bench_kernels over these kernels instead of the registry. */
bl_status bl_bench_list(const bl_bench_opts *o, const bl_kernel *const *kernel, size_t n_kernels, bl_arena *a,
                        bl_bench_result *out, bl_err *e);
bl_status bl_bench_write(const bl_bench_opts *o, const bl_bench_result *r, const bl_text *json, bl_err *e);

/* Whether a name matches one of a comma list of globs; NULL: all do. */
bool bl_bench_chosen(const char *filter, const char *name, bl_arena *a, bl_err *e);

/* The kernels of the backend of o->device at these shapes (rows 0), with o->m and o->repetitions set (device.c). The
 * baseline of the ratios is the row that takes every format, with bf16 weights; there is no report of Google Benchmark.
 */
enum { BL_BENCH_ROWS = 64 }; /* numbers of rows at most */
bl_status bl_bench_on_device(const bl_bench_opts *o, const bl_kernel *const *kernel, size_t n,
                             const bl_kernel_shape *shape, size_t n_shapes, bl_arena *a, bl_bench_result *out,
                             bl_err *e);

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

/* ---- weights in no cache (copies.c) ---- */
typedef struct bl_copies {
    bl_weight *w;
    float *host;      /* [n, floats], in place of w */
    size_t n, floats; /* n: two at least */
    size_t at;
} bl_copies;
uint64_t bl_copies_bytes(void); /* twice the last cache, within 64 and 192 MB */
/* As many copies as have about `bytes` together; two at least. */
bl_status bl_copies_of_weight(bl_backend *be, const bl_weight *w, uint64_t bytes, bl_copies *out, bl_err *e);
bl_status bl_copies_of_floats(const float *w, size_t n, uint64_t bytes, bl_copies *out, bl_err *e);
size_t bl_copies_next(bl_copies *c); /* index of the copy that was not used for longest */
void bl_copies_free(bl_copies *c);   /* empty is fine */

/* A row like those of the kernel table: same cases and checks, but `run` is not used: OpenBLAS works on host copies. */
extern const bl_kernel bl_kernel_openblas;

extern const bl_method bl_bench_fp32; /* "fp32": every weight matrix as fp32 (method_fp32.c) */
#endif
