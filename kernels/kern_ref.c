/* kern_ref.c - the plain C reference, for small products only; code in cpu/ref_linear.c. */
#include "kernel_impl.h"

enum { MOST = 1 << 23 }; /* multiplications: some tens of milliseconds */

static bl_status run(bl_backend *be, const bl_kernel_case *c, bl_err *e)
{
    return bl_ops_ref.linear(be, &(bl_linear_args){.x = c->x, .w = {&c->w}, .y = {c->y}, .act = c->act}, e);
}

#define ROW(id, fmt, act)                                                                                              \
    BL_KERN_ROW(linear_##id##_ref, #fmt, "plain C", act, act > 0, run, bl_kern_flops(s) <= 2.0 * MOST)
ROW(fp32, fp32, 0);
ROW(int8, int8, 0);
ROW(int4, int4, 0);
ROW(q8_0, q8_0, 0);
ROW(w8a8, int8, 8);
