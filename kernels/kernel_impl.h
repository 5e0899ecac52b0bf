/* kernel_impl.h - what the rows of the kernel table share. A row names its format; everything else follows from the
 * family. */
#ifndef BL_KERN_H
#define BL_KERN_H
#include "kernel.h"

/* The geometry of a case: group 0 is the whole row, formats without groups have none; scales are fp16. */
bl_shape bl_kern_geom(const bl_format *f, const bl_kernel_shape *s, bool symmetric);
bool bl_kern_fits(const char *format, const bl_kernel_shape *s, bool symmetric); /* the format can hold the shape */
bool bl_kern_avx2(const bl_backend *be);                                         /* the backend has the AVX2 paths */
bool bl_kern_avx512(const bl_backend *be);
double bl_kern_flops(const bl_kernel_shape *s);
double bl_kern_bytes(const char *format, const bl_kernel_shape *s, bool symmetric);
bl_status bl_kern_run(bl_backend *be, const bl_kernel_case *c, bl_err *e);      /* the backend's linear */
bl_status bl_kern_run_avx2(bl_backend *be, const bl_kernel_case *c, bl_err *e); /* without AVX-512 */

/* One row. `when` is an expression of be and s. */
#define BL_KERN_ROW(id, fmt, text, act, sym, runs, when)                                                               \
    static bool applicable_##id(const bl_backend *be, const bl_kernel_shape *s)                                        \
    {                                                                                                                  \
        (void)be;                                                                                                      \
        return bl_kern_fits(fmt, s, sym) && (when);                                                                    \
    }                                                                                                                  \
    static double bytes_##id(const bl_kernel_shape *s) { return bl_kern_bytes(fmt, s, sym); }                          \
    const bl_kernel bl_kernel_##id = {.name = #id,                                                                     \
                                      .op = "linear",                                                                  \
                                      .format = fmt,                                                                   \
                                      .backend = "cpu",                                                                \
                                      .doc = text,                                                                     \
                                      .applicable = applicable_##id,                                                   \
                                      .run = runs,                                                                     \
                                      .flops = bl_kern_flops,                                                          \
                                      .bytes = bytes_##id,                                                             \
                                      .nmse_limit = 1e-11,                                                             \
                                      .abits = act,                                                                    \
                                      .symmetric = sym}
#endif
