/* ops_fit.h - arguments of the ops that methods search with: weights scaled and clipped, what that costs. Part of
 * ops.h, which includes it.
 *
 * All of them give the same bits on any number of threads. "None" is a tensor without buffer. Numbers for the host are
 * valid after sync.
 */
#ifndef BL_KERNELS_OPS_FIT_H
#define BL_KERNELS_OPS_FIT_H
#include "format.h"

typedef struct bl_scale_args { /* y[i, j] = x[i, j] rows[i] cols[j], each product rounded to the type of x */
    bl_tensor x, y;            /* f32 or f64 [m, n], both the same; y may be x, or act where x is f32, rounded once */
    bl_tensor rows, cols;      /* f32 [m], [n]; none: 1 */
} bl_scale_args;

typedef struct bl_sq_error_args { /* sum of (x - y)^2 over all elements, in f64 */
    bl_tensor x, y;               /* f32 or act [m, n] each; y none: 0 */
    double *sum;                  /* host out */
} bl_sq_error_args;

/* Clips each group of each row of w to [-m, m], m = (1 - i / steps) max|w|, for the i = 0 .. tries - 1 whose rounded
 * group w^ is nearest at the output: least (w^ - w) H (w^ - w)t, H the second moments of the inputs of the group; the
 * first of equal ones (AWQ's search, arXiv 2306.00978). */
typedef struct bl_clip_search_args {
    bl_tensor w;         /* f32 [out, in], contiguous; in: the weight, out: clipped */
    bl_tensor h;         /* f64 [in, in]; of its blocks of a group only */
    int64_t group;       /* the last may be short */
    int bits;            /* 2..8 */
    bl_range_rule rule;  /* CLIP, ZERO, MINMAX, SYMMETRIC or FULL */
    bl_dtype scale_type; /* type that scales are stored in: they are rounded to it before codes are computed */
    int steps, tries;    /* 1 <= tries <= steps */
    bl_tensor limit;     /* f32 [out, groups], contiguous, out: m; or none */
} bl_clip_search_args;

/* Zero points of groups that bring the weights nearer, by half-quadratic splitting (HQQ, Badri and Shaji 2023). With
 * scale s and zero z from the range of the group, in all groups at once, up to `steps` times
 *
 *     q = clamp(rint(w / s + z), 0, qmax)     r = (q - z) s     e = shrink(w - r)     z = mean(q - (w - e) / s)
 *     shrink(x) = sign(x) max(|x| - |x|^(p - 1) / beta, 0)
 *
 * until the mean |w - r| of the whole weight no longer falls: then the z before that step is kept. */
typedef struct bl_hqq_args {
    bl_tensor w; /* f32 [out, in], contiguous */
    int bits;    /* 1..8 */
    int64_t group;
    bool down;             /* groups as in fmt_down.c, else neighbours of a row */
    int steps;             /* 0: the range alone */
    double p, beta, kappa; /* beta is multiplied by kappa after each step */
    bool round_zero;       /* z begins as an integer */
    bool last;             /* the z of the step that failed is kept (the library's default solver) */
    bl_tensor scale, zero; /* f32, contiguous, out: [out, groups], down: [1, groups] */
    int *taken;            /* host out, may be NULL: steps */
} bl_hqq_args;

/* Greedy rounding (QuIP, Chee et al. 2023, arXiv 2307.13304, LDLQ-RG and allbal): columns of w in turn become the value
 * of their grid that makes (w - target) H (w - target)t least with all others as they are. All columns `passes` times;
 * the grid has no ends within a pass, after it values are clamped to it, which the differences do not see. */
typedef struct bl_greedy_args {
    bl_tensor w;           /* f32 [out, in], contiguous; in: where it begins, out: values of the grid */
    bl_tensor target;      /* f32 [out, in], contiguous */
    bl_tensor h;           /* f64 [in, in], symmetric */
    bl_tensor order;       /* i32 [in]: columns in their turn */
    bl_tensor scale, zero; /* f32 [out, 1]: value = (code - zero) scale, 0 <= code < 2^bits */
    int bits, passes;
} bl_greedy_args;

/* Range of each row of a group, contains 0, times p = 1, 1.002 … 1.1, 0.998 … 0.9, whichever gives the least sum of
 * |w^ - w|^2.4 (SliM-LLM, Huang et al. 2024, arXiv 2405.14917), salient weights counting `lambda` times: those whose
 * w^2 / u^2 is not below the least that is more than two standard deviations from the mean over the group. */
typedef struct bl_range_search_args {
    bl_tensor w;           /* f32 [out, n], contiguous */
    bl_tensor u;           /* f32 [n]: diagonal of the factor of the inverse second moments */
    int bits;              /* 2..8 */
    double lambda;         /* 1: all alike */
    bl_dtype scale_type;   /* as bl_clip_search_args */
    bl_tensor scale, zero; /* f32 [out, 1], contiguous, out */
} bl_range_search_args;

/* No arithmetic of a device but a service to methods whose rule for a row is their own: piece(ctx, i) for i = 0 .. n-1
 * over memory of the host, on its threads whatever the device, in any order. A piece writes what no other one does, so
 * that which thread did it changes nothing. */
typedef struct bl_each_args {
    int64_t n;
    void (*piece)(void *ctx, int64_t i);
    void *ctx;
} bl_each_args;

bl_status bl_check_scale(const bl_backend *be, const bl_scale_args *a, bl_err *e);
bl_status bl_check_sq_error(const bl_backend *be, const bl_sq_error_args *a, bl_err *e);
bl_status bl_check_clip_search(const bl_clip_search_args *a, bl_err *e);
bl_status bl_check_hqq(const bl_hqq_args *a, bl_err *e);
bl_status bl_check_greedy(const bl_greedy_args *a, bl_err *e);
bl_status bl_check_range_search(const bl_range_search_args *a, bl_err *e);
bl_status bl_check_each(const bl_each_args *a, bl_err *e);
#endif
