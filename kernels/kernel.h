/* kernel.h - one row per kernel that can be checked and timed; kernels/registry.def lists the ids, kernels/<family>.c
 * defines bl_kernel_<id>.
 *
 * A kernel is a named way to compute a product for one format on one backend. `run` goes through the same code that the
 * op table uses, so what is timed is what scores. Bench and tests iterate over bl_kernel_at.
 */
#ifndef BL_KERNEL_H
#define BL_KERNEL_H
#include "ops.h"

typedef struct bl_kernel_shape {
    int64_t rows, out, in, group;
} bl_kernel_shape; /* rows = M */
typedef struct bl_kernel_case {
    bl_kernel_shape shape;
    bl_tensor x, y; /* f32 [rows, in], [rows, out] */
    bl_weight w;    /* packed by bl_kernel_prepare */
    bl_actq act;
} bl_kernel_case;

typedef struct bl_kernel {
    const char *name;                        /* "gemm_int4_avx2" */
    const char *op, *format, *backend, *doc; /* "linear", "int4", "cpu" */
    bool (*applicable)(const bl_backend *be, const bl_kernel_shape *s);
    bl_status (*run)(bl_backend *be, const bl_kernel_case *c, bl_err *e);
    double (*flops)(const bl_kernel_shape *s); /* 2 rows out in */
    double (*bytes)(const bl_kernel_shape *s); /* least that must move: packed weight + x + y */
    double nmse_limit;                         /* against the plain reference on the same packed weight */
    int abits;                                 /* 0, or quantized activations in integers */
    bool symmetric;                            /* geometry of the case */
} bl_kernel;

const bl_kernel *bl_kernel_at(size_t i); /* NULL behind the last */
const bl_kernel *bl_kernel_find(const char *name);
/* Random weight and input of the shape (Philox, fixed seed), packed in the kernel's format; y is poisoned with NaN. */
bl_status bl_kernel_prepare(const bl_kernel *k, bl_backend *be, const bl_kernel_shape *s, bl_kernel_case *out,
                            bl_err *e);
/* y against the plain reference with double sums: normalised mean squared error. */
bl_status bl_kernel_check(const bl_kernel *k, bl_backend *be, const bl_kernel_case *c, double *nmse, bl_err *e);
void bl_kernel_release(bl_backend *be, bl_kernel_case *c);
#endif
