/* ops_adapter.h - arguments of the ops that make a low-rank adapter, y += s (x At) Bt, of what is learned beside or
 * instead of A and B, and their gradients. Part of ops.h, which includes it. All are f32 where nothing else is said;
 * gradients are added to what is there.
 */
#ifndef BL_KERNELS_OPS_ADAPTER_H
#define BL_KERNELS_OPS_ADAPTER_H
#include "format.h"

/* DoRA (Liu et al. 2024, arXiv 2402.09353, equation 5), V = W + s B A: the length of row o of V, from those of W, from
 * P = A Wt and G = A At,
 *     norm_o^2 = sq_o + 2 s B_o . P_o + s^2 B_o G B_ot;   by_o = m_o / norm_o, 0 where V_o is 0;   y_o = by_o B_o.
 * A length m_o of 0 counts as BL_DORA_LEAST, so that what comes of it tells which way it should go. */
#define BL_DORA_LEAST 1e-30f
static inline float bl_dora_length(float m) { return m == 0 ? BL_DORA_LEAST : m; }
typedef struct bl_dora_args {
    bl_tensor sq, m;       /* [out]: |W_o|^2; what is learned */
    bl_tensor cross, gram; /* [rank, out] P, [rank, rank] G */
    bl_tensor b;           /* [out, rank] */
    bl_tensor norm, by, y; /* [out], [out], [out, rank] */
    double scale;
} bl_dora_args;
/* The length of a row does not go back (section 4.3): db += by of_b, of_b the gradient of bl_dora's y, and of rows of
 * what the linear put out, y = by (x Wt + s x At Bt) + bias, and their gradient,
 * dm_o += (sum over the rows of dy_o (y_o - bias_o)) / m_o. */
typedef struct bl_dora_grad_args {
    bl_tensor y, dy;  /* act [rows, out] each */
    bl_tensor bias;   /* [out]; none: 0 */
    bl_tensor m, by;  /* [out] */
    bl_tensor of_b;   /* [out, rank] */
    bl_tensor db, dm; /* [out, rank], [out] */
} bl_dora_grad_args;

/* Columns that share a number (QA-LoRA, Xu et al. 2023, arXiv 2309.14717): y[k, i] = by x[k, i / group]; its gradient
 * is dx[k, j] += by (sum of dy[k, i] over the columns i of group j). */
typedef struct bl_pool_args {
    bl_tensor x, y; /* [rank, groups], [rank, in] */
    int64_t group;  /* the last may be short */
    double by;
} bl_pool_args;
typedef struct bl_pool_grad_args {
    bl_tensor dy, dx; /* [rank, in], [rank, groups] */
    int64_t group;
    double by;
} bl_pool_grad_args;

/* A short cut beside A or B (IR-QLoRA, Qin et al. 2024, arXiv 2402.05445): y = x + beta by E, where E[i, j] is 1 for
 * j / group = i, or, tall, i / group = j, else 0. dx += dy and dbeta += by (sum of dy where E is 1). */
typedef struct bl_band_args {
    bl_tensor x, y, beta; /* [m, n] each, [1] */
    int64_t group;
    double by;
    bool tall;
} bl_band_args;
typedef struct bl_band_grad_args {
    bl_tensor dy, dx, dbeta; /* [m, n] each, [1] */
    int64_t group;
    double by;
    bool tall;
} bl_band_grad_args;

/* Gradients of y_i = scale_i (x A_it) B_it, adapters that read the same x: with h_i = x A_it and g_i = scale_i dy_i
 * B_i, dB_i += scale_i dy_it h_i;   dA_i += g_it x;   dx += the sum of g_i A_i, or = that. dx is written after x was
 * read, so it may be x. */
enum { BL_LOWRANK_MOST = 3 }; /* q, k and v */
typedef struct bl_lowrank_grad_args {
    bl_tensor x, dx; /* act [rows, in] each; no dx: it is not wanted */
    int n;
    struct {
        bl_tensor a, b, da, db; /* [rank_i, in], [out_i, rank_i]; f32 */
        bl_tensor dy;           /* act [rows, out_i] */
        double scale;
    } of[BL_LOWRANK_MOST];
    bl_tensor work; /* act, contiguous, lent: rows times the ranks, each rounded up to eights (bl_lowrank_width) */
    bool accumulate;
} bl_lowrank_grad_args;
int64_t bl_lowrank_width(int64_t rank); /* columns of an adapter in `work` */

bl_status bl_check_dora(const bl_dora_args *a, bl_err *e);
bl_status bl_check_dora_grad(const bl_backend *be, const bl_dora_grad_args *a, bl_err *e);
bl_status bl_check_pool(const bl_pool_args *a, bl_err *e);
bl_status bl_check_pool_grad(const bl_pool_grad_args *a, bl_err *e);
bl_status bl_check_band(const bl_band_args *a, bl_err *e);
bl_status bl_check_band_grad(const bl_band_grad_args *a, bl_err *e);
bl_status bl_check_lowrank_grad(const bl_backend *be, const bl_lowrank_grad_args *a, bl_err *e);
#endif
