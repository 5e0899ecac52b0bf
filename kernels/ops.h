/* ops.h - what can be computed: the op table of a backend, with shapes and meaning on every argument.
 *
 *     bl_backend *be;
 *     BL_TRY(bl_backend_open(&(bl_backend_opts){ .device = "cpu", .threads = 2 }, &be, e));
 *     BL_TRY(be->ops->linear(be, &(bl_linear_args){ .x = x, .w = { &w }, .y = { y } }, e));
 *     BL_TRY(be->ops->sync(be, e));
 *     bl_backend_close(be);
 *
 * Every op is asynchronous: errors surface at sync at the latest. Activations ("act" below) have the backend's own
 * type, be->act: f32 on the CPU, bf16 on CUDA. Index arrays (positions, ids, targets, row lists) are tensors on the
 * backend like everything else, so that a recorded sequence of ops can be run again with other contents; upload them
 * together, once a pass. Scratch belongs to the backend. An op that a backend lacks is NULL, and bl_check_op says so.
 *
 * Bits: on the CPU every output element is one fixed sequence of operations that depends on its own inputs only, never
 * on how many rows are in the call, on their offset, or on threads. A dot product over k is 8 interleaved fused
 * multiply-add chains (chain j takes k = j, j+8, …, in order, the tail padded with zeros) summed as ((0+4)+(2+6)) +
 * ((1+5)+(3+7)); the plain reference does the same with fmaf, so fast and plain paths agree bit for bit. Weights enter
 * as f32, exactly as format->unpack gives them. Integer products: x is cut into segments that share every scale, the
 * groups of the weight or those of the activations where they are shorter; the sum of (code - zero) * (code - zero)
 * over a segment is one exact integer, and acc = fma(sum, scale, acc) segment after segment, where scale is that of the
 * weight, with activations in groups the product of both; a scale of the whole row of x multiplies acc at the end. A
 * bias is added to the finished product in one f32 addition; then y = that or y += that; then the adapters in their
 * order.
 * The transposed product is the same dot product over the outputs of the weight. Attention: keys come in blocks of 64
 * aligned at position 0; a score is one fma chain over head_dim times `scale`; softmax is online over the blocks with 8
 * interleaved partial sums; the output is one fma chain over the keys. All in f32; keys and values enter as f32, an
 * int8 code as one product code * scale.
 *
 * On CUDA sums are f32 and what is written as an activation is rounded to bf16 once. Weights enter products as bf16 (a
 * packed one is decoded and rounded, of many rows with its adapter in it), but those of few rows exactly. With
 * `deterministic` a row's bits depend on its own sequence alone; else also on how many rows are in the call, within the
 * rounding of bf16.
 */
#ifndef BL_KERNELS_OPS_H
#define BL_KERNELS_OPS_H
#include "format.h"

/* ---- the parts of a linear: y = S(A(T x) Wt) + bias + adapters ---- */
typedef enum bl_transform_kind { BL_T_SCALE, BL_T_PERMUTE, BL_T_HADAMARD, BL_T_ROTATE } bl_transform_kind;
typedef struct bl_transform {
    bl_transform_kind kind;
    int64_t in, out; /* widths; those of a permutation without sums may differ */
    bl_tensor data;  /* SCALE f32 [in]: x[i] * data[i]; PERMUTE i32 [out]: x[data[i]]; or [n, 3], rows (to, from, by)
                        that rise: y[to] = sum x[from] / by, others x[to]; HADAMARD f32 [in], multiplied with x before,
                        or none; or [b], b divides in: every b inputs are turned apart; ROTATE f32 [blocks, b, b] */
} bl_transform;
/* Widths are positive, and type and shape of the data (its buffer is not looked at) are those of the kind. */
bool bl_transform_fits(const bl_transform *t);

/* MXFP4, NVFP4, FP8: floats as in the formats mxfp4 (exponent by the rule FLOOR), nvfp4_tensor and fp8_e4m3 (one f32
 * scale), a token as a weight of one row; bits are 4, and 8. */
typedef enum bl_act_unit {
    BL_ACT_TOKEN,
    BL_ACT_TENSOR,
    BL_ACT_GROUP,
    BL_ACT_MXFP4,
    BL_ACT_NVFP4,
    BL_ACT_FP8
} bl_act_unit;
static inline bool bl_act_is_fp4(bl_act_unit u) { return u == BL_ACT_MXFP4 || u == BL_ACT_NVFP4; }
static inline bool bl_act_is_float(bl_act_unit u) { return bl_act_is_fp4(u) || u == BL_ACT_FP8; }
typedef struct bl_actq {
    int bits;       /* 0: activations stay f32; 2..8 */
    bool symmetric; /* symmetric: restricted range, max|x| / (2^(b-1)-1) */
    bl_act_unit unit;
    int64_t group;     /* BL_ACT_GROUP */
    float scale, zero; /* static per tensor; scale 0: dynamic */
} bl_actq;

typedef struct bl_lowrank {
    bl_tensor a, b;
    float scale;
} bl_lowrank; /* A f32 [r, in], B f32 [out, r]: y += scale * (x At) Bt */

/* y[i] = S(A(T x) w[i]t) + bias[i] + adapters. Several weights read the same input and share T and A; then there is no
 * adapter and no S: what differs per weight takes a call of its own. */
enum { BL_LINEAR_MOST = 3 }; /* q, k and v */
typedef struct bl_linear_args {
    bl_tensor x;                        /* act [rows, in] */
    const bl_weight *w[BL_LINEAR_MOST]; /* [out_i, in]; NULL after the last */
    bl_tensor bias[BL_LINEAR_MOST];     /* f32 [out_i], or no tensor */
    bl_tensor y[BL_LINEAR_MOST];        /* act or f32 [rows, out_i] */
    const bl_transform *t;
    int n_t;                   /* in order of application */
    bl_actq act;               /* the product runs in codes where `linear_is_integer` says so */
    const bl_lowrank *adapter; /* [n_adapters] of x as it came in */
    int n_adapters;
    const bl_transform *s; /* S, in order of application; each keeps the width */
    int n_s;
    bl_tensor norm, gate; /* f32 [in], act [rows, in], or no tensors: what x is before all that, where linear_prepares
                             says so: its rmsnorm with weight `norm` and eps, or x silu(gate) */
    double eps;
    bool accumulate; /* y += instead of y = */
    bool transpose;  /* y = x W: x [rows, out], y [rows, in], for gradients; one weight and nothing else but, where
                        `linear_joins` says so, its adapter: y = x (W + scale B A) */
} bl_linear_args;

typedef struct bl_transform_args { /* y = T x, what a linear with these transforms multiplies its weight with; y may be
                                      x where T is one transform that keeps the width and is no permutation or rotation
                                    */
    bl_tensor x, y;                /* act [rows, t[0].in], act [rows, t[n_t-1].out] */
    const bl_transform *t;
    int n_t; /* at least one */
} bl_transform_args;

typedef struct bl_channel_stats_args { /* of every column of x, added to what is there */
    bl_tensor x;                       /* act [rows, n] */
    bl_tensor max_abs;                 /* f32 [n] max(old, largest |x|) */
    bl_tensor sum_abs, sum_sq;         /* f64 [n] */
} bl_channel_stats_args;

typedef struct bl_rmsnorm_args { /* y = x / sqrt(mean x^2 + eps) * weight */
    bl_tensor x, weight, y;      /* act [rows, dim], f32 [dim], act [rows, dim] */
    double eps;
} bl_rmsnorm_args;
typedef struct bl_rope_args { /* half-split rotation in place */
    bl_tensor x;              /* act [rows, heads * head_dim] */
    int64_t head_dim;
    bl_tensor pos;      /* i32 [rows] */
    bl_tensor cos, sin; /* f32 [positions, head_dim / 2] */
} bl_rope_args;

/* A run of cache rows. */
typedef struct bl_kv_seg {
    int64_t row, len;
} bl_kv_seg;
/* Keys and values of one layer: rows of a cache in a format. A sequence is the concatenation of its segments. */
typedef enum bl_kv_format {
    BL_KV_ACT, /* as activations are */
    /* Codes. A group has a step and a least value, both rounded to fp16: step = (max - least) / (2^bits - 1), 1 where
     * that is 0, code = (x - least) / step rounded half to even and clamped, value = code step + least; where a value
     * is not finite or not in fp16 the step is NaN. Keys: a group is one channel of BL_KV_GROUP positions, the first of
     * which is a multiple of it. A query sees the keys of the group that it is in itself as activations are, those
     * before as codes, so what it sees depends on nothing that comes later. Values: BL_KV_GROUP channels of one
     * position; INT8: */
    BL_KV_INT8, /* values symmetric, a scale for every row and head: scale = max |x| / 127 (1 where all are 0), code =
                   x / scale rounded half to even within -127..127; where a value is not finite the scale is NaN */
    BL_KV_INT4,
    BL_KV_INT3,
    BL_KV_INT2,
} bl_kv_format;
enum { BL_KV_GROUP = 32 };
typedef struct bl_kv_view {
    bl_kv_format format;
    int64_t rows, heads, head_dim;
    bl_tensor k, v;    /* ACT: act [rows, heads * head_dim]; codes: u8 [rows, heads * bytes], a head's codes packed low
                          bits    first into whole bytes; INT8: v is i8 [rows, heads * head_dim] */
    bl_tensor k_scale; /* codes: f16 [groups of rows, heads * 2 * head_dim], of a head the steps, then the least values.
                          The rows of a group begin at a multiple of BL_KV_GROUP; else no tensor */
    bl_tensor v_scale; /* INT8: f32 [rows, heads]; INT4, 3, 2: f16 [rows, heads * groups * 2], step and least */
    bl_tensor k_tail;  /* codes: act [slots * BL_KV_GROUP, heads * head_dim]: keys of the last group of each slot */
} bl_kv_view;
/* Where the keys of a sequence are as activations, those of the group that its first row is in and all after it: in the
 * row of `fresh` for position `first`, and the rows that follow it; before `first` in row tail + position % BL_KV_GROUP
 * of k_tail. */
typedef struct bl_kv_own {
    int64_t tail, first, row;
} bl_kv_own;
typedef struct bl_kv_append_args { /* rows of keys and values, or of one of them, into the cache */
    bl_kv_view kv;
    bl_tensor k, v; /* act [n, heads * head_dim], or no tensor */
    bl_tensor to; /* i64 [n] cache rows. Codes of keys are made when the last row of a group comes; those before it are
                     the rows of k before it that go to the rows of the group, and what is missing of them in k_tail */
    bl_tensor tail; /* codes: i64 [n], rows of k_tail for these positions */
} bl_kv_append_args;
typedef struct bl_attention_args {
    bl_tensor q; /* act [rows, heads * head_dim] */
    bl_kv_view kv;
    bl_tensor y; /* act [rows, heads * head_dim] */
    int64_t heads;
    double scale; /* 1 / sqrt(head_dim) */
    int32_t n_seq;
    bl_tensor start;     /* i32 [n_seq+1] rows of q */
    bl_tensor past;      /* i32 [n_seq] positions before the first row of q: row i sees past + i + 1 keys */
    bl_tensor seg;       /* i64 [segments, 2], a bl_kv_seg each: those of all sequences, in order; the lengths of a
                            sequence sum to past + its rows */
    bl_tensor seg_start; /* i32 [n_seq+1] into seg */
    bl_tensor fresh;     /* codes: act [.., kv.heads * head_dim], keys of the rows that were appended last */
    bl_tensor own;       /* codes: i64 [n_seq, 3], a bl_kv_own each */
    bl_tensor sums;      /* f32 [heads, rows] for what the backend may keep for attention_grad; or no tensor */
} bl_attention_args;
typedef struct bl_step_args { /* of sequences with a row each: rope of the query rope.x and of append.k, which is
                                 scratch afterwards, kv_append and attention of that query. Lists, and keys and values
                                 of before, may be read while the op before it runs: an upload, a download or sync comes
                                 after what wrote them */
    bl_rope_args rope;
    bl_kv_append_args append;
    bl_attention_args attention;
} bl_step_args;

typedef struct bl_gather_args { /* dst[to[i]] = src[from[i]], i = 0 .. n-1 */
    bl_tensor src, dst;         /* 2-d, same type and width */
    bl_tensor from, to;         /* i64 [n]; no tensor: i */
    int64_t n;
} bl_gather_args;
typedef struct bl_swiglu_args {
    bl_tensor gate, up, y;
} bl_swiglu_args; /* y = silu(gate) * up, act [rows, ffn_dim] */
typedef struct bl_add_args {
    bl_tensor x, y;
} bl_add_args; /* y += x, act, same shape */
typedef struct bl_embed_args {
    const bl_weight *w;
    bl_tensor ids; /* i32 [n]; `sample` writes the like */
    bl_tensor y;
} bl_embed_args; /* y act [n, dim], row i = W[ids[i]] */

typedef struct bl_loss_args {
    bl_tensor logits; /* f32 [rows, vocab] */
    int64_t vocab;    /* columns that count (padding rows of the head never do) */
    bl_tensor target; /* i32 [rows]; -1: only argmax, its nll is 0; no tensor: all -1 */
    bl_tensor nll;    /* f64 [rows] out: -log softmax(target), sums in double; NaN when a logit is not finite */
    bl_tensor argmax; /* i32 [rows] out, first index on ties; either of the two may be no tensor */
} bl_loss_args;
typedef struct bl_kl_div_args { /* P base, Q tested */
    bl_tensor p, q;             /* f32 logits [rows, vocab] */
    int64_t vocab;
    bl_tensor target; /* i32 [rows] */
    bl_tensor kl;     /* f64 [rows]: sum P (ln P - ln Q), no cut-off */
    bl_tensor dp;     /* f64 [rows]: Q(target) - P(target) */
    bl_tensor same;   /* i32 [rows]: argmax agrees */
    double least;     /* P and Q are not below it, without being made to sum to 1 again; 0: as they are */
} bl_kl_div_args;
typedef struct bl_sample_args {
    bl_tensor logits;
    int64_t vocab;             /* f32 [rows, vocab] */
    double temperature, top_p; /* temperature 0: argmax; top_p 0 or 1: all */
    bl_tensor u;               /* f64 [rows] uniform numbers in [0, 1); may be no tensor at temperature 0 */
    bl_tensor ids;             /* i32 [rows] out */
} bl_sample_args;

typedef enum bl_range_rule {
    BL_RANGE_OWN,
    BL_RANGE_ZERO,
    BL_RANGE_MINMAX,
    BL_RANGE_CLIP,
    BL_RANGE_SYMMETRIC,
    BL_RANGE_FULL,
    BL_RANGE_SIGN,
    BL_RANGE_GIVEN,
    BL_RANGE_LEAST,         /* whatever was found to have the least error (pack_least) */
    BL_RANGE_EXPONENT_CEIL, /* pack_exponent */
    BL_RANGE_EXPONENT_EVEN
} bl_range_rule;
typedef struct bl_pack_args {
    bl_tensor x;                  /* f32 [out, in] */
    bl_weight *w;                 /* format, shape and parts are there; contents are written */
    bl_range_rule rule;           /* OWN: the format's rule */
    bool mse;                     /* the range is shrunk to the least error (bl_fit_mse); not OWN, SIGN, GIVEN, LEAST */
    bl_tensor scale, zero;        /* GIVEN: f32, of the shape of the part `scales`: [out, groups] but for CODES */
    bl_tensor importance;         /* LEAST: f32 [in], how much an error of an input counts; none: all alike */
    double *sq_error, *sq_weight; /* host out, may be NULL: sum (w - w^)^2, sum w^2; valid after sync */
} bl_pack_args;
#include "ops_adapter.h"
#include "ops_encode.h"
#include "ops_fit.h"
#include "ops_sign.h"
#include "ops_solve.h"
#include "ops_train.h"
/* y = A x, rounded activations as a product simulates them (bl_linear_args), scales of a token or of a group. */
typedef struct bl_act_round_args {
    bl_tensor x, y; /* act [rows, n]; y may be x */
    bl_actq act;    /* integers, TOKEN or GROUP */
} bl_act_round_args;
/* Straight through the rounding: dx = dy, or dx += dy, where |x| < within. `ends`: and what the scale of a group brings
 * to its ends, sum of dy (round(x / s) - x / s) / Q to its largest and minus that to its least of asymmetric ones, over
 * the largest code to the largest magnitude of symmetric ones, in equal parts where there are several; nothing through
 * the zero. */
typedef struct bl_act_round_grad_args {
    bl_tensor x, dy, dx; /* act [rows, n]; dx may be dy */
    bl_actq act;
    bool ends;
    double within; /* 0: anywhere */
    bool accumulate;
} bl_act_round_grad_args;
typedef struct bl_unpack_args {
    const bl_weight *w;
    int64_t row0, rows;
    bl_tensor y;
} bl_unpack_args; /* y f32 [rows, in] */

typedef struct bl_device_info {
    char name[128]; /* "AMD EPYC 9R14", "NVIDIA H200" */
    char simd[64];  /* "avx2+fma+f16c", "plain" */
    int threads;
    uint64_t memory_bytes;
    bool deterministic;
    char bus[32];         /* where a GPU is, "0000:1a:00.0"; "" of a CPU */
    uint64_t cache_bytes; /* of a GPU's second level; 0 of a CPU */
} bl_device_info;

/* Made, used and freed through the table. */
typedef struct bl_event bl_event;                 /* a point in a backend's order of work */
typedef struct bl_graph bl_graph;                 /* ops recorded to be run again */
typedef struct bl_device_stream bl_device_stream; /* a second order of work beside the first */

typedef struct bl_ops {
    const char *name; /* "cpu" */
    /* memory */
    bl_status (*buffer_new)(bl_backend *, uint64_t bytes, bl_buffer **out,
                            bl_err *); /* BL_E_DEVMEM above the limit; contents undefined; there for the stream in use,
                                          for others after an event of it */
    void (*buffer_free)(bl_buffer *);  /* after what the first stream has been given so far; NULL is fine */
    bl_status (*upload)(bl_backend *, const bl_tensor *dst, const void *host,
                        bl_err *); /* whole contiguous tensor; host has been read when it returns */
    bl_status (*download)(bl_backend *, const bl_tensor *src, void *host, bl_err *); /* waits */
    /* Memory of the host that copies to and from the device are fastest with; NULL: the device's memory is the host's,
     * and bl_new does. */
    bl_status (*host_new)(bl_backend *, uint64_t bytes, void **out, bl_err *);
    void (*host_free)(bl_backend *, void *); /* NULL is fine */
    bl_status (*fill)(bl_backend *, const bl_tensor *dst, double value, bl_err *);
    bl_status (*sync)(bl_backend *, bl_err *);
    void (*memory)(const bl_backend *, uint64_t *now, uint64_t *peak); /* bytes of buffers */
    /* Bytes of scratch that training as `args` says will ask for, beyond what is there; NULL: none is counted. */
    uint64_t (*train_scratch)(const bl_backend *, const bl_train_scratch_args *args);
    void (*device_info)(const bl_backend *, bl_device_info *out);
    void *(*native_stream)(const bl_backend *); /* of CUDA the cudaStream_t in use; NULL: there are none */
    bl_status (*flush)(bl_backend *, bl_err *); /* drop caches, for cold timings */
    /* time and order */
    bl_status (*event_new)(bl_backend *, bl_event **out, bl_err *);
    void (*event_free)(bl_event *);                                /* NULL is fine */
    bl_status (*event_record)(bl_backend *, bl_event *, bl_err *); /* after all ops so far; may be recorded anew */
    bl_status (*event_seconds)(const bl_event *from, const bl_event *to, double *seconds,
                               bl_err *); /* between two recorded ones of a backend; waits for `to` */
    bl_status (*stream_new)(bl_backend *, bl_device_stream **out, bl_err *);
    void (*stream_free)(bl_device_stream *);
    bl_status (*stream_use)(bl_backend *, bl_device_stream *, bl_err *); /* of the ops that follow; NULL: the first */
    bl_status (*event_wait)(bl_backend *, const bl_event *, bl_err *);   /* the stream in use waits for it */
    /* Between begin and end ops are recorded, not run; no memory comes or goes, nothing is downloaded. Replay runs them
     * on what the tensors hold then. */
    bl_status (*graph_begin)(bl_backend *, bl_err *);
    bl_status (*graph_end)(bl_backend *, bl_graph **out, bl_err *);
    bl_status (*graph_replay)(bl_backend *, const bl_graph *, bl_err *);
    void (*graph_free)(bl_graph *);
    /* weights */
    bl_status (*prepare)(bl_backend *, bl_weight *, bl_err *); /* into the layout that the products like best, in place;
                                                                  all ops read it, `unpack` to the same values. For
                                                                  weights that are only computed with */
    /* compute */
    bool linear_turns; /* `linear` applies S; else a call that has one is refused */
    bool act_fp4;      /* activations may be 4-bit floats; else a call with them is refused */
    bool kv_low;       /* keys and values may have less than 8 bits; else such a cache is refused */
    bl_status (*linear)(bl_backend *, const bl_linear_args *, bl_err *);
    /* Codes of activations are multiplied as such, integers or 8-bit floats; else they are simulated. */
    bool (*linear_is_integer)(const bl_backend *, const bl_linear_args *);
    /* Of a transposed product: its one adapter goes into the weight while that is decoded. NULL: never. */
    bool (*linear_joins)(const bl_backend *, const bl_linear_args *);
    /* `linear` makes x of what it is given by norm or gate, without a launch more; NULL: never. Else it refuses. */
    bool (*linear_prepares)(const bl_backend *, const bl_linear_args *);
    bl_status (*transform)(bl_backend *, const bl_transform_args *, bl_err *);
    bl_status (*channel_stats)(bl_backend *, const bl_channel_stats_args *, bl_err *);
    bl_status (*rmsnorm)(bl_backend *, const bl_rmsnorm_args *, bl_err *);
    bl_status (*rope)(bl_backend *, const bl_rope_args *, bl_err *);
    bl_status (*kv_append)(bl_backend *, const bl_kv_append_args *, bl_err *);
    bl_status (*attention)(bl_backend *, const bl_attention_args *, bl_err *);
    bl_status (*step)(bl_backend *, const bl_step_args *, bl_err *); /* where that is one launch; else NULL */
    bl_status (*gather)(bl_backend *, const bl_gather_args *, bl_err *);
    bl_status (*swiglu)(bl_backend *, const bl_swiglu_args *, bl_err *);
    bl_status (*add)(bl_backend *, const bl_add_args *, bl_err *);
    bl_status (*embed)(bl_backend *, const bl_embed_args *, bl_err *);
    bl_status (*loss)(bl_backend *, const bl_loss_args *, bl_err *);
    bl_status (*kl_div)(bl_backend *, const bl_kl_div_args *, bl_err *);
    bl_status (*sample)(bl_backend *, const bl_sample_args *, bl_err *);
    bl_status (*pack)(bl_backend *, const bl_pack_args *, bl_err *);
    bl_status (*unpack)(bl_backend *, const bl_unpack_args *, bl_err *);
    bl_status (*permute)(bl_backend *, const bl_permute_args *, bl_err *);
    bl_status (*diagonal)(bl_backend *, const bl_diagonal_args *, bl_err *);
    bl_status (*hessian)(bl_backend *, const bl_hessian_args *, bl_err *);
    bl_status (*cholesky_inverse)(bl_backend *, const bl_cholesky_inverse_args *, bl_err *);
    bl_status (*mismatch)(bl_backend *, const bl_mismatch_args *, bl_err *);
    bl_status (*mismatch_fold)(bl_backend *, const bl_mismatch_fold_args *, bl_err *);
    bl_status (*quad_form)(bl_backend *, const bl_quad_form_args *, bl_err *);
    bl_status (*hadamard)(bl_backend *, const bl_hadamard_args *, bl_err *);
    bl_status (*gptq_sweep)(bl_backend *, const bl_gptq_sweep_args *, bl_err *);
    bl_status (*split_pass)(bl_backend *, const bl_split_pass_args *, bl_err *);
    bl_status (*scale)(bl_backend *, const bl_scale_args *, bl_err *);
    bl_status (*sq_error)(bl_backend *, const bl_sq_error_args *, bl_err *);
    bl_status (*clip_search)(bl_backend *, const bl_clip_search_args *, bl_err *);
    bl_status (*hqq)(bl_backend *, const bl_hqq_args *, bl_err *);
    bl_status (*greedy)(bl_backend *, const bl_greedy_args *, bl_err *);
    bl_status (*range_search)(bl_backend *, const bl_range_search_args *, bl_err *);
    bl_status (*each)(bl_backend *, const bl_each_args *, bl_err *);
    bl_status (*layernorm)(bl_backend *, const bl_layernorm_args *, bl_err *);
    bl_status (*gelu)(bl_backend *, const bl_gelu_args *, bl_err *);
    /* training; the gradient of a product to its input is the transposed linear */
    bl_status (*weight_grad)(bl_backend *, const bl_weight_grad_args *, bl_err *);
    bl_status (*rmsnorm_grad)(bl_backend *, const bl_rmsnorm_grad_args *, bl_err *);
    bl_status (*rope_grad)(bl_backend *, const bl_rope_args *, bl_err *); /* the transposed rotation, in place */
    bl_status (*attention_grad)(bl_backend *, const bl_attention_grad_args *, bl_err *);
    bl_status (*transform_grad)(bl_backend *, const bl_transform_grad_args *, bl_err *);
    bl_status (*swiglu_grad)(bl_backend *, const bl_swiglu_grad_args *, bl_err *);
    bl_status (*embed_grad)(bl_backend *, const bl_embed_grad_args *, bl_err *);
    bl_status (*loss_grad)(bl_backend *, const bl_loss_grad_args *, bl_err *);
    bl_status (*dropout)(bl_backend *, const bl_dropout_args *, bl_err *);
    bl_status (*round_random)(bl_backend *, const bl_round_random_args *, bl_err *);
    bl_status (*adamw)(bl_backend *, const bl_adamw_args *, bl_err *);
    bl_status (*adamw_all)(bl_backend *, const bl_adamw_all_args *, bl_err *);
    bl_status (*adamw8)(bl_backend *, const bl_adamw8_args *, bl_err *);
    bl_status (*sq_sums)(bl_backend *, const bl_sq_sums_args *, bl_err *);
    bl_status (*grid)(bl_backend *, const bl_grid_args *, bl_err *);
    bl_status (*grid_grad)(bl_backend *, const bl_grid_grad_args *, bl_err *);
    bl_status (*merged_grid)(bl_backend *, const bl_merged_grid_args *, bl_err *);
    bl_status (*step_search)(bl_backend *, const bl_step_search_args *, bl_err *);
    bl_status (*sign_round)(bl_backend *, const bl_sign_round_args *, bl_err *);
    bl_status (*sign_round_grad)(bl_backend *, const bl_sign_round_grad_args *, bl_err *);
    bl_status (*sign_step)(bl_backend *, const bl_sign_step_args *, bl_err *);
    bl_status (*scale_grad)(bl_backend *, const bl_scale_grad_args *, bl_err *);
    bl_status (*differ)(bl_backend *, const bl_differ_args *, bl_err *);
    bl_status (*act_round)(bl_backend *, const bl_act_round_args *, bl_err *);
    bl_status (*act_round_grad)(bl_backend *, const bl_act_round_grad_args *, bl_err *);
    /* what adapters are made of */
    bl_status (*dora)(bl_backend *, const bl_dora_args *, bl_err *);
    bl_status (*dora_grad)(bl_backend *, const bl_dora_grad_args *, bl_err *);
    bl_status (*pool)(bl_backend *, const bl_pool_args *, bl_err *);
    bl_status (*pool_grad)(bl_backend *, const bl_pool_grad_args *, bl_err *);
    bl_status (*band)(bl_backend *, const bl_band_args *, bl_err *);
    bl_status (*band_grad)(bl_backend *, const bl_band_grad_args *, bl_err *);
    bl_status (*lowrank_grad)(bl_backend *, const bl_lowrank_grad_args *, bl_err *);
} bl_ops;

typedef enum bl_isa {
    BL_ISA_BEST,
    BL_ISA_PLAIN,
    BL_ISA_AVX2,
    BL_ISA_AVXVNNI, /* AVX2 and its dot products of bytes, of which not every processor with AVX-512 has this form */
    BL_ISA_AVX512,
    BL_ISA_AMX
} bl_isa; /* each has what those before it have */
typedef struct bl_backend_opts {
    const char *device;    /* "cpu", "cuda", "cuda:1"; NULL: what BITLADDER_DEVICE says, else the best there is */
    int threads;           /* 0: all cores this process may use */
    bool reference;        /* plain C only, on one thread (--kernel-ref) */
    bl_isa isa;            /* at most this much of the CPU; BEST: all it has */
    uint64_t memory_limit; /* bytes of buffers, 0: none */
    bool deterministic;    /* bits do not depend on how rows meet in a call; always so on the CPU */
} bl_backend_opts;

struct bl_backend {
    const bl_ops *ops;
    bl_backend_opts opts;
    bl_dtype act;         /* activations */
    int64_t wide;         /* how many times the rows of a CPU it takes to be busy: 1 on the CPU */
    uint64_t products[4]; /* of weights so far, by their rows of x: [0] 1, [1] 2 to 8, [2] 9 to 64, [3] more */
    const struct bl_backend_kind *kind;
    void *own; /* the backend's private state */
};
bl_status bl_backend_open(const bl_backend_opts *o, bl_backend **out,
                          bl_err *e);  /* BL_E_UNSUPPORTED names the devices there are */
void bl_backend_close(bl_backend *be); /* NULL is fine */
/* Makes *b at least `bytes` long; contents are lost when it moves. For buffers that are kept between passes. */
bl_status bl_buffer_fit(bl_backend *be, bl_buffer **b, uint64_t bytes, bl_err *e);
/* Whether a device exists (NULL: as bl_backend_opts), without opening it. BL_E_UNSUPPORTED names those there are. */
bl_status bl_device_check(const char *device, bl_err *e);
/* Device i, "cuda:0", "cpu", the best first, without opening it; false after the last. */
bool bl_device_at(int i, char out[32]);
/* The class of a device's arithmetic, "cpu-f32": numbers of two classes are not the same numbers. What a model adds of
 * its own, quantized activations say, is not in it. NULL: no such device. */
const char *bl_device_numerics(const char *device, bool deterministic);
const char *bl_backend_numerics(const bl_backend *be);
/* Flop/s of a device's products, roughly, where it is not to be opened for a measurement; 0: measure. NULL as above. */
double bl_device_flops(const char *device);
int64_t bl_device_wide(const char *device); /* `wide` of its backend; 1: no such device */
/* Seconds that one block takes in a pass of few rows, roughly: what launches take. 0: its products alone. */
double bl_device_block_seconds(const char *device);

/* The computing ops by name, "linear", "transform", ...; NULL after the last. */
const char *bl_op_at(size_t i);
/* What every backend checks first; a broken shape is our own mistake: BL_E_INTERNAL. The contents of index arrays are
 * on the device and not looked at here: a backend that can read them checks them too. */
bl_status bl_check_op(const bl_backend *be, bool there, const char *op, bl_err *e); /* BL_E_UNSUPPORTED unless there */
/* The same of several computing ops, BL_OP(linear), ..., 0 after the last: the first that is missing. */
#define BL_OP(op) offsetof(bl_ops, op)
bl_status bl_check_ops(const bl_backend *be, const size_t *ops, bl_err *e);
bl_status bl_check_linear(const bl_backend *be, const bl_linear_args *a, bl_err *e);
int bl_linear_weights(const bl_linear_args *a); /* how many there are */
void bl_count_products(bl_backend *be, const bl_linear_args *a);
/* That `bytes` more than those in use are not above the limit, else BL_E_DEVMEM; that a tensor is contiguous. */
bl_status bl_check_room(const bl_backend *be, uint64_t bytes, uint64_t in_use, bl_err *e);
bl_status bl_check_copy(const bl_tensor *t, const char *op, bl_err *e);
bl_status bl_check_kv(const bl_backend *be, const bl_kv_view *v, bl_err *e);
bl_status bl_check_transform(const bl_backend *be, const bl_transform_args *a, bl_err *e);
bl_status bl_check_channel_stats(const bl_backend *be, const bl_channel_stats_args *a, bl_err *e);
bl_status bl_check_rmsnorm(const bl_backend *be, const bl_rmsnorm_args *a, bl_err *e);
bl_status bl_check_rope(const bl_backend *be, const bl_rope_args *a, bl_err *e);
bl_status bl_check_kv_append(const bl_backend *be, const bl_kv_append_args *a, bl_err *e);
bl_status bl_check_attention(const bl_backend *be, const bl_attention_args *a, bl_err *e);
bl_status bl_check_gather(const bl_backend *be, const bl_gather_args *a, bl_err *e);
bl_status bl_check_swiglu(const bl_backend *be, const bl_swiglu_args *a, bl_err *e);
bl_status bl_check_add(const bl_backend *be, const bl_add_args *a, bl_err *e);
bl_status bl_check_embed(const bl_backend *be, const bl_embed_args *a, bl_err *e);
bl_status bl_check_loss(const bl_backend *be, const bl_loss_args *a, bl_err *e);
bl_status bl_check_kl_div(const bl_backend *be, const bl_kl_div_args *a, bl_err *e);
bl_status bl_check_sample(const bl_backend *be, const bl_sample_args *a, bl_err *e);
bl_status bl_check_pack(const bl_backend *be, const bl_pack_args *a, bl_err *e);
bl_status bl_check_unpack(const bl_backend *be, const bl_unpack_args *a, bl_err *e);
bl_status bl_check_act_round(const bl_backend *be, const bl_act_round_args *a, bl_err *e);
bl_status bl_check_act_round_grad(const bl_backend *be, const bl_act_round_grad_args *a, bl_err *e);

/* ---- a cache of keys and values in one buffer (kv.c) ---- */
extern const char *const bl_kv_formats[]; /* "act", "int8", ...: names by bl_kv_format, NULL after the last */
int bl_kv_bits(bl_kv_format f);           /* of a code; 0: as activations */
/* Of one head in one row: codes of its key, or its value; all that is stored of the two. Of one head in one slot: its
 * last keys as activations. act: bytes of an activation. */
int64_t bl_kv_code_bytes(bl_kv_format f, int64_t head_dim, int64_t act);
int64_t bl_kv_head_bytes(bl_kv_format f, int64_t head_dim, int64_t act);
int64_t bl_kv_tail_bytes(bl_kv_format f, int64_t head_dim, int64_t act);
/* What a view of one layer is made of. */
typedef struct bl_kv_shape {
    bl_kv_format format;
    int64_t rows, slots, heads, head_dim;
} bl_kv_shape;
/* Bytes of the keys and values of one layer, all parts and their alignment included; 0 when 64 bits do not hold them.
 */
uint64_t bl_kv_view_bytes(const bl_backend *be, const bl_kv_shape *s);
/* The view of one layer whose parts begin at `offset`, a multiple of 64. */
bl_kv_view bl_kv_view_at(bl_buffer *b, uint64_t offset, const bl_kv_shape *s);
#endif
