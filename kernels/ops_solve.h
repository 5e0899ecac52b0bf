/* ops_solve.h - arguments of the ops that quantization methods solve with: second moments, factors of their inverse,
 * the column sweep, rotations. Part of ops.h, which includes it.
 *
 * All of them give the same bits on any number of threads. Index lists are i32 tensors on the backend; "none" is a
 * tensor without buffer. Numbers for the host are valid after sync.
 */
#ifndef BL_KERNELS_OPS_SOLVE_H
#define BL_KERNELS_OPS_SOLVE_H
#include "format.h"

typedef struct bl_permute_args { /* y[i, j] = x[rows[i], cols[j]]; f32 or f64, both the same; x and y do not overlap */
    bl_tensor x, y;
    bl_tensor rows, cols; /* i32; none: as they are */
} bl_permute_args;

typedef struct bl_diagonal_args { /* y[i] = x[i, i] */
    bl_tensor x, y;               /* f64 [n, n], f64 [n] */
} bl_diagonal_args;

/* h += alpha xt x, both triangles. Products are summed in f32 over at most 128 rows and those sums in f64: within 1e-6
 * of sqrt(h[i, i] h[j, j]); on CUDA over at most 512 rows, within 1e-5. */
typedef struct bl_hessian_args {
    bl_tensor x; /* act [rows, n] */
    bl_tensor h; /* f64 [n, n], symmetric */
    double alpha;
} bl_hessian_args;

/* c += alpha (x0 - x)t x: how inputs x of a linear differ from those it had, x0. Sums as of `hessian`. */
typedef struct bl_mismatch_args {
    bl_tensor x0, x; /* act [rows, n] */
    bl_tensor c;     /* f64 [n, n], not symmetric */
    double alpha;
} bl_mismatch_args;

/* Folds what a sweep should make up for, beside what it rounds away, into what it is given. The sweep of GPTAQ (Li et
 * al. 2025, arXiv 2504.02692) adds a term to that of gptq_sweep, w_i the column before it is rounded:
 *
 *     w[j] += w_i p[i, j] - e u[i, j] for j > i,      p = alpha strict(c ut) u, strict: the part above the diagonal
 *
 * All columns together are w = W + w p - e strict(u), so w = W m - e strict(u) m with m = (I - p)^-1: the plain sweep
 * over W m with strict(u) m in the place of strict(u). In f64. */
typedef struct bl_mismatch_fold_args {
    bl_tensor c; /* f64 [n, n], from mismatch, rows and columns in the order of the sweep */
    bl_tensor u; /* f32 [n, n], in: from cholesky_inverse; out: its diagonal + strict(u) m */
    bl_tensor w; /* f32 [out, n], contiguous; in: W; out: W m */
    double alpha;
} bl_mismatch_fold_args;

/* The upper triangular u with ut u = (h + shift I)^-1; below the diagonal it is 0. Computed in f64. A zero on the
 * diagonal of h (an input that is always zero) counts as 1. BL_E_NUMERIC when h + shift I is not positive definite. */
typedef struct bl_cholesky_inverse_args {
    bl_tensor h; /* f64 [n, n], symmetric */
    bl_tensor u; /* f32 or f64 [n, n] */
    double shift;
} bl_cholesky_inverse_args;

typedef struct bl_quad_form_args { /* sum over the rows of x - y: row h rowt, in f64 */
    bl_tensor x, y;                /* f32 [m, n] each; y none: 0 */
    bl_tensor h;                   /* f64 [n, n] */
    double *sum;                   /* host out */
} bl_quad_form_args;

/* y = H (scale * x) / sqrt(n) of every row, in f64: H the Hadamard matrix of order n (hadamard.h), which is not
 * symmetric for every n. Any strides, so that a transposed view rotates columns; y may be x. */
typedef struct bl_hadamard_args {
    bl_tensor x, y;          /* f32 or f64 [rows, n] each */
    bl_tensor before, after; /* f32 [n], none: 1 */
    bool transposed;         /* Ht in the place of H: with before and after exchanged and inverted, the way back */
} bl_hadamard_args;

/* GPTQ's sweep (Frantar et al. 2022, algorithm 1; Optimal Brain Surgeon one column at a time). The columns of w are
 * rounded in order; what a column loses, e = (w - w^) / u[i, i], goes into the columns still open: w[j] -= e u[i, j],
 * inside a block of columns at once, into those after the block when it is done. All in f32.
 *
 * A group is fitted when its first column is reached, to its columns as they were when the block began, as the
 * published code has it: with groups smaller than a block, later groups of the block do not see what the earlier ones
 * lost. */
typedef struct bl_gptq_sweep_args {
    bl_tensor w; /* f32 [out, in], contiguous; in: the weight, columns in the order of the sweep; out: w^ = (code -
                    zero) scale; of one bit +scale or -scale */
    bl_tensor u; /* f32 [in, in], from cholesky_inverse, in the same order */
    bl_tensor group_of;    /* i32 [in]: group of each column of w; columns of a group are neighbours unless `fit_first`;
                              none: i / group */
    int64_t group;         /* columns of a group, when group_of is none */
    bool fit_first;        /* all groups are fitted to w as it comes in ("static groups") */
    int bits;              /* 1..8 */
    bl_range_rule rule;    /* not OWN; SIGN of one bit, others of more; GIVEN of any: nothing is fitted, scale and zero
                              are as they come in */
    bool mse;              /* as bl_pack_args */
    bl_dtype scale_type;   /* type that scales are stored in: they are rounded to it before codes are computed */
    int64_t block;         /* columns of a block; 128 in the published code */
    int64_t first, count;  /* only these columns are rounded, those after them take up what they lose; count 0: all. The
                              first begins a group */
    bl_tensor scale, zero; /* f32 [out, groups], contiguous; out, but with GIVEN in. A zero may be between codes */
    double *loss;          /* host out, may be NULL: sum of e^2 / 2; tr(D (h + shift I) Dt) is twice that, D = w - w^ */
} bl_gptq_sweep_args;

/* A matrix beside what a format keeps of it and two factors (split.h): L = W - b a, Q what the format keeps of L (of
 * NF2 to NF4 with coded scales), R = diag(rows) (W - Q) diag(cols); what is lost, and products with R, which is nowhere
 * afterwards. */
typedef struct bl_split_pass_args {
    bl_tensor w;             /* f32 [out, in], contiguous, as all of these are */
    bl_tensor a, b;          /* f32 [rank, in], [out, rank]; none: L = W */
    const bl_format *format; /* NULL: Q = 0 */
    bl_shape shape;
    bl_tensor importance; /* f32 [out, in]; none: 1 */
    bl_tensor rows, cols; /* f32 [out], [in], both or none: 1 */
    bl_tensor x, y;       /* f32 [k, in], [k, out]: y = x Rt; or back, [k, out], [k, in]: y = x R; none: not wanted */
    bool back;
    bl_tensor left; /* f32 [out, in], out: L; none: not wanted */
    double *cost;   /* host out: the sum of importance (L - Q)^2; NULL: not wanted */
} bl_split_pass_args;
bool bl_split_pass_takes(const bl_format *f);

bl_status bl_check_permute(const bl_permute_args *a, bl_err *e);
bl_status bl_check_diagonal(const bl_diagonal_args *a, bl_err *e);
bl_status bl_check_hessian(const bl_backend *be, const bl_hessian_args *a, bl_err *e);
bl_status bl_check_mismatch(const bl_backend *be, const bl_mismatch_args *a, bl_err *e);
bl_status bl_check_mismatch_fold(const bl_mismatch_fold_args *a, bl_err *e);
bl_status bl_check_cholesky_inverse(const bl_cholesky_inverse_args *a, bl_err *e);
bl_status bl_check_quad_form(const bl_quad_form_args *a, bl_err *e);
bl_status bl_check_hadamard(const bl_hadamard_args *a, bl_err *e);
bl_status bl_check_gptq_sweep(const bl_gptq_sweep_args *a, bl_err *e);
bl_status bl_check_split_pass(const bl_split_pass_args *a, bl_err *e);
#endif
