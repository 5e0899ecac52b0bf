/* ops_train.h - arguments of the ops that training needs: gradients of the computing ops, optimizer steps, dropout,
 * learned grids. Part of ops.h, which includes it.
 *
 * L is the loss, dX its gradient dL/dX. The gradient of a product to its input is the transposed `linear`. Gradients of
 * parameters are added to what is there, so that micro-batches accumulate; they and the parameters are f32.
 *
 * Bits: the same on any number of threads. Every element is one fixed sequence of operations: sums over rows go row
 * after row, those of weight_grad in f32 over at most BL_GRAD_ROWS rows and then onto the gradient.
 */
#ifndef BL_KERNELS_OPS_TRAIN_H
#define BL_KERNELS_OPS_TRAIN_H
#include "format.h"

enum { BL_GRAD_ROWS = 256 };

typedef struct bl_train_scratch_args {
    int64_t rows, dim, heads, head_dim; /* of a pass; of the residual stream; of queries */
    struct {
        const bl_weight *w;  /* of products, forwards and back; rows of the pass */
        int64_t rank;        /* of a trained adapter beside it; 0: none */
        bool bias;           /* is trained */
        bool turned, scaled; /* its outputs are transformed; multiplied, and nothing else */
    } * of;                  /* [n] */
    size_t n;
    int64_t gradients;  /* numbers of all, */
    size_t n_gradients; /* and of how many parameters they are */
} bl_train_scratch_args;

typedef struct bl_weight_grad_args { /* of y = x wt + b: dw += alpha dyt x; db += alpha (sum of the rows of dy) */
    bl_tensor x, dy;                 /* act [rows, in], act or f32 [rows, out] */
    bl_tensor dw;                    /* f32 [out, in], or no tensor */
    bl_tensor db;                    /* f32 [out], or no tensor */
    double alpha;
    bool anew; /* dw = instead of dw +=; it may be act [out, in] then */
} bl_weight_grad_args;

/* Of y = x s weight, s = 1 / sqrt(mean x^2 + eps): dx = s weight dy - x (s^3 / n) (x . (weight dy)) and
 * dweight += sum over the rows of s x dy. */
typedef struct bl_rmsnorm_grad_args {
    bl_tensor x, weight, dy; /* act [rows, dim], f32 [dim], act [rows, dim] */
    bl_tensor dx;            /* act [rows, dim], may be dy; or no tensor */
    bl_tensor dweight;       /* f32 [dim], or no tensor */
    double eps;
    bool accumulate; /* dx += instead of dx = */
} bl_rmsnorm_grad_args;

/* Causal attention of sequences that begin at position 0, head h with the keys of head h / (heads / kv_heads):
 *     p = softmax(scale q kt);  dv = pt dy;  ds = p (dy vt - dy . y);  dq = scale ds k;  dk = scale dst q
 * What is kept of the scores is bytes in proportion to the rows, whatever their length. What dq, dk, dv held is
 * replaced; rows of no sequence keep it. */
typedef struct bl_attention_grad_args {
    bl_tensor q, k, v; /* act [rows, heads * head_dim], [rows, kv_heads * head_dim] x 2 */
    bl_tensor y, dy;   /* act as q: the attention's output and its gradient */
    bl_tensor dq, dk, dv;
    int64_t heads, kv_heads, head_dim;
    double scale;
    int32_t n_seq;
    bl_tensor start; /* i32 [n_seq+1] rows */
    bl_tensor sums;  /* those of the attention that made y of these q, k and v here, which spares work; or no tensor */
    int64_t longest; /* rows of the longest sequence; 0: not known */
} bl_attention_grad_args;

/* Of y = silu(gate) up, g' = sigmoid(gate): dup = gate g' dy, dgate = up g' (1 + gate (1 - g')) dy. */
typedef struct bl_swiglu_grad_args {
    bl_tensor gate, up, dy; /* act [rows, n] */
    bl_tensor dgate, dup;   /* act [rows, n]; each may be one of the three */
} bl_swiglu_grad_args;

/* Of y = T x (bl_transform): dx = Tt dy, or dx += that. */
typedef struct bl_transform_grad_args {
    bl_tensor dy, dx; /* act [rows, t[n_t-1].out], act [rows, t[0].in]; they do not overlap */
    const struct bl_transform *t;
    int n_t; /* at least one */
    bool accumulate;
} bl_transform_grad_args;

typedef struct bl_embed_grad_args { /* dw[ids[i]] += dy[i], i in order */
    bl_tensor ids;                  /* i32 [n] */
    bl_tensor dy;                   /* act [n, dim] */
    bl_tensor dw;                   /* f32 [vocab, dim] */
} bl_embed_grad_args;

/* Cross-entropy: nll = -log softmax(logits)[target] and grad = scale (softmax(logits) - [target]), both 0 where the
 * target is -1; columns from `vocab` on are 0. A row with a logit that is not finite has nll NaN and a gradient of NaN.
 */
typedef struct bl_loss_grad_args {
    bl_tensor logits; /* f32 [rows, columns] */
    int64_t vocab;
    bl_tensor target; /* i32 [rows] */
    double scale;     /* 1 / (tokens that the mean is over) */
    bl_tensor grad;   /* f32 or act [rows, columns]; may be logits */
    bl_tensor nll;    /* f64 [rows], or no tensor */
    /* Beside it a model that is followed: with P the distribution of its logits and Q that of these, grad += toward
     * (Q - P) and kl = KL(P, Q), both 0 where the target is -1 and NaN where a logit of either is not finite. */
    bl_tensor theirs; /* f32 as logits, what it holds afterwards is of no use; no tensor: there is none */
    double toward;
    bl_tensor kl; /* f64 [rows] */
} bl_loss_grad_args;

/* y = x m / (1 - p), or y += that; m[i] is 1 with probability 1 - p: word i % 4 of Philox at counter (i / 4, stream)
 * under key, i = (row0 + row) * width + column, is at least p 2^32. The same numbers again give the gradient. */
typedef struct bl_dropout_args {
    bl_tensor x, y; /* act [rows, width]; y may be x */
    double p;       /* 0 <= p < 1 */
    uint32_t key[2], stream[2];
    int64_t row0;
    bool accumulate;
} bl_dropout_args;

/* Codes of int8 with packed zeros by chance, scales and zeros as they are: code = floor(x / scale) + zero, one more
 * where u / 2^32 is below the fraction that floor left, kept within 0 .. 255: right in the mean. u is word i % 4 of
 * Philox at counter (i / 4, stream) under key, i = row * in + column. */
typedef struct bl_round_random_args {
    bl_tensor x;  /* f32 [out, in], contiguous */
    bl_weight *w; /* codes are written */
    uint32_t key[2], stream[2];
} bl_round_random_args;

/* AdamW (Loshchilov and Hutter 2019, algorithm 2, as torch.optim.AdamW): g = grad grad_scale; p -= lr decay p;
 * m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
 * p -= lr / (1 - beta1^step) m / (sqrt(v) / sqrt(1 - beta2^step) + eps). */
typedef struct bl_adamw_args {
    bl_tensor p, grad, m, v; /* f32, contiguous, of one number of elements */
    double lr, beta1, beta2, eps, decay, grad_scale;
    int64_t step; /* 1, 2, ... */
} bl_adamw_args;
/* The same of many parameters, which have all but lr in common. */
typedef struct bl_adamw_all_args {
    const bl_adamw_args *of; /* [n] */
    size_t n;
    bool clear; /* gradients are 0 afterwards */
} bl_adamw_all_args;
typedef struct bl_sq_sums_args { /* to[i] = the sum of the squares of x[i], in f64, without waiting */
    const bl_tensor *x;          /* [n] f32, contiguous */
    size_t n;
    bl_tensor to; /* f64 [n] */
} bl_sq_sums_args;

/* The same with moments of 8 bits (Dettmers et al. 2022, arXiv 2110.02861): a moment is table[code] times the largest
 * magnitude of its block of 256 elements, the last may be short. A block's moments are decoded, stepped and encoded
 * again as the nearest value of the table, for m the nearest of its sign; p takes the step before they are encoded.
 * Decay comes after the step, as in bitsandbytes. */
enum { BL_MOMENT_BLOCK = 256 };
typedef struct bl_adamw8_one {
    bl_adamw_args how;      /* m and v are u8 */
    bl_tensor m_max, v_max; /* f32 [blocks] */
} bl_adamw8_one;
typedef struct bl_adamw8_args { /* of many parameters, as above */
    const bl_adamw8_one *of;    /* [n] */
    size_t n;
    bl_tensor m_table, v_table; /* f32 [256], ascending: from -1 to 1, from 0 to 1 */
    bool clear;
} bl_adamw8_args;
/* The tables of bitsandbytes (its "dynamic map"), host [256]: for i = 0 .. 6 the midpoints of equally spaced numbers
 * from 0.1 to 1, times 10^(i - 6); 2^i of them with both signs, or 2^(i + 1), and 0 and 1. */
void bl_moment_table(bool is_signed, float table[256]);

/* Weights on a grid whose numbers are learned. With s the scale of a group, low = -2^(bits-1), high = -low - 1,
 * Q = 2^bits - 1, rounding half to even, straight through which gradients go:
 *
 *     STEP    y = s clamp(round(w / s), low, high)                (LSQ, Esser et al. 2020, arXiv 1902.08153)
 *     AFFINE  y = (clamp(round(w / s) + z, 0, Q) - z) s,          z the offset rounded and kept in 0..Q, s at least
 *             1e-4, straight through both                         (EfficientQAT, Chen et al. 2024, arXiv 2407.11062)
 *     OFFSET  y = (round(clamp(w / s + z, 0, Q)) - z) s,          z = -low - offset / s: round(clamp((w - offset) / s,
 *             low, high)) s + offset                              (L4Q, Jeon et al. 2024, arXiv 2402.04902)
 *     INSIDE  y = s clamp(round(w), low, high),                   w in steps (LR-QAT, Bondarenko et al. 2024,
 *                                                                 arXiv 2406.06385)
 *     CLIP    y = (clamp(round(w / s) + z, 0, Q) - z) s,          s = (p hi - q lo) / Q within 1e-5 .. 1e4, z =
 *             round(-q lo / s), lo <= 0 <= hi the ends of the group and p, q the sigmoids of `scale` and `offset`;
 *             straight through the rounding of w / s, nothing through z (OmniQuant, Shao et al. 2023, arXiv 2308.13137)
 *     LARGEST y = s clamp(round(w / s), -high, high),             s = max|w| / high of the group, nothing of it is
 *             learned (LLM-QAT, Liu et al. 2023, arXiv 2305.17888)
 *     PLANES  y = s b1 + z b2, b1 = [w >= (s + z) / 2], b2 = [w - s b1 <= z / 2], 2 bits: the nearest of z, 0, s + z
 *             and s, z the offset kept in -s .. 0; all of it mirrored where s < 0; straight through both (DB-LLM, Chen
 *             et al. 2024, arXiv 2402.11960)
 *
 * `half`: s, and z of OFFSET and PLANES, are rounded to f16, as they are stored then. */
typedef enum bl_grid_kind {
    BL_GRID_STEP,
    BL_GRID_AFFINE,
    BL_GRID_OFFSET,
    BL_GRID_INSIDE,
    BL_GRID_CLIP,
    BL_GRID_LARGEST,
    BL_GRID_PLANES
} bl_grid_kind;
typedef struct bl_grid {
    bl_grid_kind kind;
    int bits;      /* 2..8 */
    int64_t group; /* inputs that share a scale; the last group may be short */
    bool half;     /* not STEP */
} bl_grid;
/* Which of the two it has. */
static inline bool bl_grid_has_scale(bl_grid_kind k) { return k != BL_GRID_LARGEST; }
static inline bool bl_grid_has_offset(bl_grid_kind k)
{
    return k == BL_GRID_AFFINE || k == BL_GRID_OFFSET || k == BL_GRID_CLIP || k == BL_GRID_PLANES;
}
typedef struct bl_grid_args {
    bl_tensor w;             /* f32 [out, in] */
    bl_tensor scale, offset; /* f32 [out, groups], where the kind has one */
    bl_tensor y;             /* f32 [out, in]; may be w */
    bl_grid grid;
} bl_grid_args;
/* With n the elements of a group:
 *     STEP    dw = dy where low < w / s < high, else 0;  ds = sum of dy (round(w / s) - w / s) there, dy low, dy high
 *     AFFINE  dw = dy where 0 <= round(w / s) + z <= Q;  ds = sum of dy (round(w / s) - w / s) there, dy (code - z)
 *             elsewhere;  doffset = -s (sum of dy elsewhere)
 *     OFFSET  dw = dy where 0 <= w / s + z <= Q;  ds = sum of dy (round(q) - q) there, q = w / s + z, dy low, dy high
 *             elsewhere;  doffset = sum of dy elsewhere
 *     INSIDE  dw = s dy where low <= round(w) <= high;  ds = sum of dy code
 *     CLIP    dw = dy where 0 <= round(w / s) + z <= Q;  ds = as AFFINE, 0 where s is at 1e-5 or 1e4;  dscale = ds hi
 *             p (1 - p) / Q;  doffset = -ds lo q (1 - q) / Q;  and ds p / Q, -ds q / Q go to the weights that are hi
 *             and lo, in equal parts where there are several
 *     LARGEST dw = dy where |w| < 2, as published
 *     PLANES  dw = dy where w is at most half a level beyond the outer ones, 1.5 z <= w <= s - z / 2;  dscale = sum of
 * dy b1;  doffset = sum of dy b2 and of STEP and OFFSET ds and doffset times 1 / sqrt(n high), as LSQ has it. Ends of
 * AFFINE, OFFSET and INSIDE are inside, and those of CLIP. */
typedef struct bl_grid_grad_args {
    bl_tensor w, scale, offset, dy; /* as above, f32 [out, in] */
    bl_tensor dw;                   /* f32 [out, in]: += alpha dw; where it is dy itself: = alpha dw */
    bl_tensor dscale, doffset;      /* f32 [out, groups], +=, where the kind has one */
    double alpha;
    bl_grid grid;
} bl_grid_grad_args;

/* OFFSET or INSIDE of W + by B A, which is made and rounded at once and kept nowhere; and the way back. Of rows and
 * groups that are multiples of 8, and weights that bl_merged_grid_takes. */
typedef struct bl_merged_grid_args {
    const bl_weight *w;
    bl_tensor a, b; /* f32 [rank, in], [out, rank], contiguous */
    double by;
    bl_tensor scale, offset; /* f32 [out, groups], as of `grid` */
    bl_tensor dy;            /* act [out, in], contiguous; none: y = what `grid` makes; else the gradient of that, */
    bl_tensor y;             /* act [out, in], contiguous, may be dy: y = alpha dL/d(W + by B A), of values also f32, */
    bl_tensor dscale, doffset; /* and += as of `grid_grad` */
    double alpha;
    bl_grid grid;
} bl_merged_grid_args;
bool bl_merged_grid_takes(const bl_weight *w, const bl_grid *g);

/* Where scales of INSIDE begin: of each group the first of s = i / 100 max|w| / high, i = 1 .. 100, with the least sum
 * of |w - s clamp(round(w / s), low, high)|^4, in order and in f32; 1 where all are 0. */
typedef struct bl_step_search_args {
    bl_tensor w;     /* f32 [out, in]; out: w / s, with `within` kept in low .. high */
    bl_tensor scale; /* f32 [out, groups], out */
    int bits;        /* 2..8 */
    int64_t group;   /* the last may be short */
    bool within;
} bl_step_search_args;

/* Of y[i, j] = x[i, j] rows[i] cols[j]: drows[i] += sum of dy x cols[j], dcols[j] += sum of dy x rows[i]; sums in f64.
 */
typedef struct bl_scale_grad_args {
    bl_tensor x, dy;        /* f32 [m, n] */
    bl_tensor rows, cols;   /* f32 [m], [n]; none: 1 */
    bl_tensor drows, dcols; /* f32 [m], [n]; none: not wanted */
} bl_scale_grad_args;

/* How far x is from y, and the gradient of that: sum = sum of (x - y)^2 in f64, x = scale (x - y) unless scale is 0. */
typedef struct bl_differ_args {
    bl_tensor x, y; /* act [rows, n] */
    bl_tensor sum;  /* f64 [1] */
    double scale;
} bl_differ_args;

bl_status bl_check_weight_grad(const bl_backend *be, const bl_weight_grad_args *a, bl_err *e);
bl_status bl_check_rmsnorm_grad(const bl_backend *be, const bl_rmsnorm_grad_args *a, bl_err *e);
bl_status bl_check_attention_grad(const bl_backend *be, const bl_attention_grad_args *a, bl_err *e);
bl_status bl_check_swiglu_grad(const bl_backend *be, const bl_swiglu_grad_args *a, bl_err *e);
bl_status bl_check_transform_grad(const bl_backend *be, const bl_transform_grad_args *a, bl_err *e);
bl_status bl_check_embed_grad(const bl_backend *be, const bl_embed_grad_args *a, bl_err *e);
bl_status bl_check_loss_grad(const bl_backend *be, const bl_loss_grad_args *a, bl_err *e);
bl_status bl_check_dropout(const bl_backend *be, const bl_dropout_args *a, bl_err *e);
bl_status bl_check_round_random(const bl_round_random_args *a, bl_err *e);
bl_status bl_check_adamw(const bl_adamw_args *a, bl_err *e);
bl_status bl_check_adamw_all(const bl_adamw_all_args *a, bl_err *e);
bl_status bl_check_sq_sums(const bl_sq_sums_args *a, bl_err *e);
bl_status bl_check_adamw8(const bl_adamw8_args *a, bl_err *e);
bl_status bl_check_grid(const bl_grid_args *a, bl_err *e);
bl_status bl_check_grid_grad(const bl_grid_grad_args *a, bl_err *e);
bl_status bl_check_merged_grid(const bl_backend *be, const bl_merged_grid_args *a, bl_err *e);
bl_status bl_check_step_search(const bl_step_search_args *a, bl_err *e);
bl_status bl_check_scale_grad(const bl_scale_grad_args *a, bl_err *e);
bl_status bl_check_differ(const bl_backend *be, const bl_differ_args *a, bl_err *e);
#endif
