/* kernel.h - the kernels: every way there is to compute a product, when it may be taken, and how far it may differ.
 *
 * The rows are the dispatch: `linear` of a backend takes for each weight the cheapest row that is applicable
 * (bl_kernel_pick), and bench and tests walk the same rows (bl_kernel_at). kernels/registry.def lists them; the code of
 * a row, its family, is defined beside what it runs.
 */
#ifndef BL_KERNELS_KERNEL_H
#define BL_KERNELS_KERNEL_H
#include "ops.h"

/* What rows share that differ in the format only. */
typedef struct bl_kernel_family {
    const char *op, *backend, *doc; /* "linear", "cpu" */
    int layout;                     /* of its weights: 0 as their format says, else as `prepare` arranges them */
    bool any;                       /* takes every format, its rows are examples; else the formats of its rows */
    bool transpose;                 /* for x W only: its cases have x [rows, out] and y [rows, in] */
    bool bitwise;                   /* gives the bits of the plain reference */
    double nmse_limit;            /* most normalised mean squared error against double sums on the same packed weight */
    double decode_ns, product_ns; /* roughly, on one thread: of a weight, and of a weight times a row of x */
    int64_t most;                 /* multiplications that its checks and timings may have; 0: any number */
    /* Whether it can compute the product of `a` with weight `w`, which is one of a->w; looks at shapes, formats and
     * settings, not at data. */
    bool (*applicable)(const bl_backend *be, const bl_linear_args *a, const bl_weight *w);
    /* The whole linear, checked before, with this family for every weight. */
    bl_status (*run)(const struct bl_kernel_family *f, bl_backend *be, const bl_linear_args *a, bl_err *e);
    const void *own; /* of the backend */
} bl_kernel_family;

typedef struct bl_kernel {
    const char *name; /* "gemm_int4_avx2" */
    const bl_kernel_family *family;
    const bl_format *format;
    int abits; /* bits of the activations of its cases; 0: f32 */
} bl_kernel;

const bl_kernel *bl_kernel_at(size_t i); /* NULL after the last */
const bl_kernel *bl_kernel_find(const char *name);
/* Seconds a product is expected to take on one thread; good for an order only. */
double bl_kernel_cost(const bl_kernel_family *f, const bl_linear_args *a, const bl_weight *w);
/* The row that the table of the device has for the product (dispatch.h), else the applicable one of least cost; NULL:
 * none. */
const bl_kernel *bl_kernel_pick(const bl_backend *be, const bl_linear_args *a, const bl_weight *w);

/* ---- a product to check or to time a kernel on ---- */
typedef struct bl_kernel_shape {
    int64_t rows, out, in, group; /* rows = M; group <= 0: the whole row */
    int64_t act_group;            /* inputs that share a scale where activations are integers; 0: the whole row */
} bl_kernel_shape;
typedef struct bl_kernel_case {
    bl_kernel_shape shape;
    bl_tensor x, y; /* act [rows, in], f32 [rows, out], or act; transposed the other way round */
    bool transpose;
    bl_weight w;
    bl_actq act;
} bl_kernel_case;
/* Whether the format can hold the shape, the row is applicable, and the product not larger than its checks may be. */
bool bl_kernel_takes(const bl_kernel *k, const bl_backend *be, const bl_kernel_shape *s);
/* And whether a product x Wt takes it, of all rows. */
bool bl_kernel_picked(const bl_kernel *k, const bl_backend *be, const bl_kernel_shape *s);
double bl_kernel_flops(const bl_kernel_shape *s);                     /* 2 rows out in */
double bl_kernel_bytes(const bl_kernel *k, const bl_kernel_shape *s); /* least that must move: packed weight, x, y */
/* Random weight and input of the shape (Philox, fixed seed) in the kernel's format, which is random blocks where it is
 * only read; y is poisoned with NaN. */
bl_status bl_kernel_prepare(const bl_kernel *k, bl_backend *be, const bl_kernel_shape *s, bl_kernel_case *out,
                            bl_err *e);
bl_status bl_kernel_run(const bl_kernel *k, bl_backend *be, const bl_kernel_case *c, bl_err *e);
/* y against double sums: normalised mean squared error, of a large case over 64 of its rows and 64 of its columns; NaN
 * where any of y is. */
bl_status bl_kernel_check(bl_backend *be, const bl_kernel_case *c, double *nmse, bl_err *e);
/* The most that this error may be: the limit of the family, of outputs in bf16 with what their rounding adds. */
double bl_kernel_limit(const bl_kernel *k, const bl_kernel_case *c);
/* Multiplications and additions a second of all threads, measured in registers: of f32, or of the codes of products in
 * integers. 0: not known, as of other devices than the CPU and of plain C. */
double bl_kernel_peak(const bl_backend *be, bool integer);
/* Bytes a second that all threads read of so many, each a part of its own: the best of nine. Of the CPU. */
bl_status bl_kernel_bandwidth(const bl_backend *be, uint64_t bytes, double *per_second, bl_err *e);
void bl_kernel_release(bl_backend *be, bl_kernel_case *c);
#endif
