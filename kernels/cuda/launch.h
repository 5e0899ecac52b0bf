/* launch.h - the kernels of the CUDA backend as its C files see them: plain pointers and numbers, a launch each.
 *
 * Addresses are on the device; bf16 is uint16_t. `ld` is the distance of two rows in elements. A launch returns
 * nothing: its error is asked for afterwards (bl_cuda_launched). Every output element is computed by a sequence of
 * operations that does not depend on the other rows of the call, except where a comment says so.
 */
#ifndef BL_KERNELS_CUDA_LAUNCH_H
#define BL_KERNELS_CUDA_LAUNCH_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "kernels/fmt_codes.h"
#ifdef __cplusplus
extern "C" {
#endif
typedef struct CUstream_st *bl_stream; /* cudaStream_t */

/* ---- rows (rows.cu) ---- */
void bl_cu_rmsnorm(bl_stream s, const uint16_t *x, int64_t ldx, const float *w, uint16_t *y, int64_t ldy, int64_t rows,
                   int64_t dim, float eps);
void bl_cu_rope(bl_stream s, uint16_t *x, int64_t ldx, int64_t rows, int64_t width, int64_t head_dim,
                const int32_t *pos, const float *cos, const float *sin, int64_t ldt, bool back); /* back: transposed */
void bl_cu_swiglu(bl_stream s, const uint16_t *gate, int64_t ldg, const uint16_t *up, int64_t ldu, uint16_t *y,
                  int64_t ldy, int64_t rows, int64_t n);
void bl_cu_add(bl_stream s, const uint16_t *x, int64_t ldx, uint16_t *y, int64_t ldy, int64_t rows, int64_t n);
/* y += bias, a row of n, for every row */
void bl_cu_add_bias(bl_stream s, void *y, bool f32, int64_t ldy, const float *bias, int64_t rows, int64_t n);
/* dst[to[i]] = src[from[i]] in bytes; ld and width in bytes; from or to NULL: i */
void bl_cu_gather(bl_stream s, const void *src, int64_t lds, void *dst, int64_t ldd, int64_t width, const int64_t *from,
                  const int64_t *to, int64_t n);
/* n elements of 1, 2, 4 or 8 bytes */
void bl_cu_fill(bl_stream s, void *p, int size, uint64_t bits, int64_t n);
void bl_cu_kv_int8(bl_stream s, const uint16_t *x, int64_t ldx, int64_t rows, int64_t heads, int64_t dim, int8_t *codes,
                   int64_t ldc, float *scale, int64_t lds, const int64_t *to);
/* 4, 3 or 2 bits: a step and a least value for every BL_CU_KV_GROUP of them */
enum { BL_CU_KV_GROUP = 32 };
/* Keys whose group ends with a row of x; of a group, a step and a least value for every channel: ops.h, kv_append. */
typedef struct bl_cu_kv_keys {
    int bits;
    const uint16_t *x, *tail;
    uint8_t *codes;
    uint16_t *steps;
    const int64_t *to, *tail_row;
    int64_t ldx, ldt, ldc, lds, rows, heads, dim;
} bl_cu_kv_keys;
void bl_cu_kv_keys_low(bl_stream s, const bl_cu_kv_keys *k);
void bl_cu_kv_low(bl_stream s, int bits, const uint16_t *x, int64_t ldx, int64_t rows, int64_t heads, int64_t dim,
                  uint8_t *codes, int64_t ldc, uint16_t *steps, int64_t lds, const int64_t *to);
/* y = bf16(x * by), f32 and bf16 rows; y = f32(x) */
void bl_cu_to_bf16(bl_stream s, const float *x, int64_t ldx, uint16_t *y, int64_t ldy, int64_t rows, int64_t n,
                   float by);
/* The same of several, zeros in rows `rows` .. `all` - 1; `first`: of its blocks, BL_CU_NARROW_PIECE numbers each. */
enum { BL_CU_NARROW_MOST = 6, BL_CU_NARROW_PIECE = 2048 };
typedef struct bl_cu_narrow {
    struct {
        const float *x;
        uint16_t *y;
        int64_t ldx, ldy, rows, all, n;
        float by;
        unsigned first;
    } of[BL_CU_NARROW_MOST];
    int count;
    unsigned blocks;
} bl_cu_narrow;
void bl_cu_narrow_add(bl_cu_narrow *to, const float *x, int64_t ldx, uint16_t *y, int64_t ldy, int64_t rows,
                      int64_t all, int64_t n, float by);
void bl_cu_to_bf16_all(bl_stream s, const bl_cu_narrow *a);
void bl_cu_to_f32(bl_stream s, const uint16_t *x, int64_t ldx, float *y, int64_t ldy, int64_t rows, int64_t n);
void bl_cu_channel_stats(bl_stream s, const uint16_t *x, int64_t ldx, int64_t rows, int64_t n, float *most, double *sum,
                         double *sq);

/* ---- inputs of a product (input.cu), in f32 ---- */
void bl_cu_scale_rows(bl_stream s, float *x, int64_t ldx, const float *by, int64_t rows, int64_t n);
/* y (+)= x by + bias, f32 or bf16 each; y may be x where both are of one type; no bias: NULL */
typedef struct bl_cu_scaled {
    const void *x;
    void *y;
    const float *by, *bias;
    int64_t ldx, ldy, rows, n;
    bool x32, y32, accumulate;
} bl_cu_scaled;
void bl_cu_scale_outputs(bl_stream s, const bl_cu_scaled *a);
void bl_cu_permute_rows(bl_stream s, const float *x, int64_t ldx, float *y, int64_t ldy, const int32_t *from,
                        int64_t rows, int64_t n);
/* Turned: with the transposed matrix. */
void bl_cu_rotate_rows(bl_stream s, const float *x, int64_t ldx, float *y, int64_t ldy, const float *blocks, int64_t b,
                       bool turned, int64_t rows, int64_t n);
/* y = H x / sqrt(n), n = order * 2^k with the factor [order, order] of +-1; x is overwritten. In f32, and in f64. */
void bl_cu_hadamard_f32(bl_stream s, float *x, int64_t ldx, float *y, int64_t ldy, const int8_t *factor, int64_t order,
                        bool turned, int64_t rows, int64_t n);
void bl_cu_hadamard_f64(bl_stream s, double *x, int64_t ldx, double *y, int64_t ldy, const int8_t *factor,
                        int64_t order, bool turned, int64_t rows, int64_t n);
/* Scale and zero of all of x into range [2]; ends is scratch [rows, 3]. */
void bl_cu_act_range(bl_stream s, const float *x, int64_t ldx, int64_t rows, int64_t n, int bits, bool symmetric,
                     float *ends, float *range);
/* Quantized activations, simulated in place: by range [2] on the device, else by a scale that is not 0 and its zero,
 * else a scale and a zero for every `group` of a row. */
void bl_cu_act_simulate(bl_stream s, float *x, int64_t ldx, int64_t rows, int64_t n, int64_t group, int bits,
                        bool symmetric, const float *range, float scale, float zero);
void bl_cu_act_fp8(bl_stream s, float *x, int64_t ldx, int64_t rows, int64_t n); /* a scale for each row */

/* ---- attention (attention.cu) ---- */
typedef struct bl_cu_attention {
    const uint16_t *q;
    uint16_t *y;
    int kv_bits;                   /* 0: keys and values are bf16; else codes: 8, 4, 3, 2 */
    const void *k, *v;             /* packed; v of 8 bits: i8 */
    const void *k_scale, *v_scale; /* f16, step and least of each group; v of 8 bits: f32 */
    const uint16_t *fresh, *tail;  /* codes: keys that are seen as activations are, ops.h */
    const int64_t *own;            /* [n_seq, 3] where: bl_kv_own */
    int64_t ldq, ldy, ldk, ldv, ldks, ldvs, ldf, ldt;
    const int32_t *start, *past, *seg_start;
    const int64_t *seg; /* [.., 2] row, length */
    int32_t n_seq, heads, kv_heads, head_dim;
    int64_t rows;
    float scale;
    /* NULL, or: row i is the last of sequence i; its query and its key new_k are turned, and new_k and new_v go into
     * row to[i] of the cache (bl_cu_attention_rows alone, where bl_cu_attention_steps says so) */
    const uint16_t *new_k, *new_v;
    const int64_t *to;
    const int32_t *pos;
    const float *cos, *sin;
    int64_t ldnk, ldnv, ldcos;
} bl_cu_attention;
enum { BL_CU_HEAD_MOST = 256 }; /* head_dim */
void bl_cu_attention_tiles(bl_stream s, const bl_cu_attention *a);
/* The same for compute capability 9.0. False: not for this head_dim, these strides. */
bool bl_cu_attention_hopper(bl_stream s, const bl_cu_attention *a);
/* For few rows; keys are split into `splits` parts, whose results go through part f32 [rows, heads, splits,
 * head_dim + 2]. */
void bl_cu_attention_rows(bl_stream s, const bl_cu_attention *a, int splits, float *part);
bool bl_cu_attention_steps(const bl_cu_attention *a);

/* ---- logits (logits.cu) ---- */
void bl_cu_loss(bl_stream s, const float *logits, int64_t ld, int64_t rows, int64_t vocab, const int32_t *target,
                double *nll, int32_t *argmax);
void bl_cu_kl_div(bl_stream s, const float *p, int64_t ldp, const float *q, int64_t ldq, int64_t rows, int64_t vocab,
                  double least, const int32_t *target, double *kl, double *dp, int32_t *same);
void bl_cu_sample(bl_stream s, const float *logits, int64_t ld, int64_t rows, int64_t vocab, double temperature,
                  double top_p, const double *u, int32_t *ids);

/* ---- packed weights (decode.cu) ---- */
enum { BL_CU_DENSE, BL_CU_INT, BL_CU_TABLE, BL_CU_BLOCK, BL_CU_CODES };
typedef struct bl_cu_weight {
    int kind, bits; /* BL_CU_*; of a code; dense: 32 fp32, 16 fp16, 15 bf16 */
    int id;         /* BLOCK: GGUF type */
    int block, block_bytes;
    int64_t out, in, group, groups, row_bytes, zero_bytes;
    const uint8_t *codes;
    const void *scales, *zeros;
    int scale_type;                      /* 0 f32, 1 fp16, 2 bf16, 3 double quantized */
    int zero_type;                       /* 0 none, 1 packed, 2 int16 */
    const float *table;                  /* TABLE: values by code */
    bool e4m3;                           /* TABLE: codes are 8-bit floats */
    const float *map, *scales2, *offset; /* double quantized */
    bl_codes_weight own;                 /* CODES */
} bl_cu_weight;
/* Rows row0 .. row0 + rows of w (or rows ids[i]) as f32 or bf16. */
void bl_cu_unpack(bl_stream s, const bl_cu_weight *w, int64_t row0, int64_t rows, const int32_t *ids, void *y, bool f32,
                  int64_t ldy);
/* An adapter beside a weight, f32 A [rank, in] and B [out, rank]; rows of w + scale B A as bf16. It takes weights of 4
 * and 8 bits in groups of whole 32 columns, and ranks of whole eights up to 64. */
typedef struct bl_cu_beside {
    const float *a, *b;
    int64_t rank;
    float scale;
} bl_cu_beside;
bool bl_cu_join_takes(const bl_cu_weight *w, const bl_cu_beside *b);
void bl_cu_join(bl_stream s, const bl_cu_weight *w, const bl_cu_beside *b, int64_t row0, int64_t rows, uint16_t *y,
                int64_t ldy, int sms);
void bl_cu_set_grids(const uint16_t *iq2_xxs, const uint16_t *iq2_xs, const uint16_t *iq2_s, const uint16_t *iq3_xxs,
                     const uint16_t *iq3_s, const uint16_t *iq1);

/* ---- products (stream.cu, few.cu, gemv.cu, gemm.cu, fixed.cu) ---- */
enum { BL_CU_STREAM_ROWS = 16, BL_CU_STREAM_BLOCKS = 1024, BL_CU_STREAM_PARTS = 8, BL_CU_STREAM_PLANS = 256 };
/* How a product is shared: blocks of R tiles of 16 outputs times S parts of k, C blocks for the whole of k; a part has
 * 256 numbers of k `len` times, the first `longer` parts once more. */
typedef struct bl_cu_stream_plan {
    int kind, bits, rows;
    int64_t out, in;
    int R, S, C, grid, len, longer;
    int shared, slab, sums, table; /* bytes of shared memory: all, those of x, of its sums, of a table */
} bl_cu_stream_plan;
typedef struct bl_cu_device {
    int sms, shared;                            /* multiprocessors; bytes of shared memory that a block may have */
    float *parts;                               /* where C > 1: f32 [C, rows, out] */
    unsigned *arrived;                          /* [BL_CU_STREAM_BLOCKS], zeros; they are zeros again afterwards */
    bl_cu_stream_plan plan[BL_CU_STREAM_PLANS]; /* those that were made */
} bl_cu_device;
bool bl_cu_stream_takes(const bl_cu_weight *w, int64_t rows);
const bl_cu_stream_plan *bl_cu_stream_planned(const bl_cu_weight *w, int64_t rows, bl_cu_device *d);
/* Weights that multiply one x, alike but for their outputs; the outputs of each begin with a tile of 16. */
enum { BL_CU_STACKED_MOST = 3 };
typedef struct bl_cu_stacked_one {
    const uint8_t *codes;
    const void *scales, *zeros;
    void *y;
    int64_t ldy, out;
    int first; /* its first tile */
} bl_cu_stacked_one;
typedef struct bl_cu_stacked {
    bl_cu_weight like; /* what they have in common; out: of all, in whole tiles */
    bl_cu_stacked_one of[BL_CU_STACKED_MOST];
    int n;
    /* What is multiplied instead of x: its rmsnorm, or x silu(gate); NULL: x itself. All begin at multiples of 16 bytes
     */
    const float *norm;
    const uint16_t *gate;
    int64_t ldg;
    float eps;
} bl_cu_stacked;
/* One more, into y; false: it is not like those that are there. `all` begins as zeros. */
bool bl_cu_stream_stack(bl_cu_stacked *all, const bl_cu_weight *w, void *y, int64_t ldy);
/* y (+)= x wt of each, at most BL_CU_STREAM_ROWS rows; x begins at multiples of 16 bytes, its rows too. Weights are
 * read before the kernel that was launched before has ended: no kernel just before it may write them. The plan is of
 * all.like. */
void bl_cu_stream(bl_stream s, const bl_cu_stacked *all, const bl_cu_stream_plan *p, const uint16_t *x, int64_t ldx,
                  int64_t rows, bool f32, bool accumulate, const bl_cu_device *d);
enum { BL_CU_FEW_ROWS = 32 };
bool bl_cu_few_takes(const bl_cu_weight *w, int64_t rows);
/* y (+)= x wt, at most BL_CU_FEW_ROWS rows; x begins at multiples of 16 bytes, its rows too */
void bl_cu_few(bl_stream s, const bl_cu_weight *w, const uint16_t *x, int64_t ldx, int64_t rows, void *y, bool f32,
               int64_t ldy, bool accumulate);
/* y [out] (+)= w x; x begins at a multiple of 16 bytes */
bool bl_cu_gemv_takes(const bl_cu_weight *w);
void bl_cu_gemv(bl_stream s, const bl_cu_weight *w, const uint16_t *x, void *y, bool f32, bool accumulate);
/* y (+)= x wt of bf16 matrices, w [out, in]: each output is one order of operations, whatever the number of rows */
void bl_cu_gemm(bl_stream s, const uint16_t *x, int64_t ldx, const uint16_t *w, int64_t ldw, int64_t rows, int64_t out,
                int64_t in, void *y, bool f32, int64_t ldy, bool accumulate);
/* The same on compute capability 9.0, of matrices whose rows begin at multiples of 16 bytes; other bits. False: nothing
 * was launched. */
bool bl_cu_fixed_takes(const uint16_t *x, int64_t ldx, const uint16_t *w, int64_t ldw, int64_t rows, int64_t out,
                       int64_t in);
bool bl_cu_fixed(bl_stream s, const uint16_t *x, int64_t ldx, const uint16_t *w, int64_t ldw, int64_t rows, int64_t out,
                 int64_t in, void *y, bool f32, int64_t ldy, bool accumulate, int sms);

/* ---- solving and packing (solve.cu, pack.cu); compiled without contraction ---- */
void bl_cu_permute(bl_stream s, const void *x, int64_t ldx, void *y, int64_t ldy, bool f64, const int32_t *rows,
                   const int32_t *cols, int64_t n_rows, int64_t n_cols);
void bl_cu_diagonal(bl_stream s, const double *x, double *y, int64_t n);
/* h [n, n] += alpha * sum, the upper triangle of sum for both */
void bl_cu_add_upper(bl_stream s, double *h, const float *sum, int64_t n, double alpha);
void bl_cu_mirror(bl_stream s, double *h, int64_t n);
/* r = J (h + shift I) J, a zero of the diagonal counting as 1; one = the unit matrix; u [n, n] = J x J, its upper part
 */
void bl_cu_turn(bl_stream s, const double *h, double *r, double *one, double shift, int64_t n);
void bl_cu_turn_back(bl_stream s, const double *x, void *u, bool f64, int64_t n);
/* c [n, n] += alpha * sum */
void bl_cu_add_f32(bl_stream s, double *c, const float *sum, int64_t n, double alpha);
/* What is on and below the diagonal of x [n, n] becomes 0; u [n, n] = what is above it in x */
void bl_cu_strict(bl_stream s, double *x, int64_t n);
void bl_cu_put_strict(bl_stream s, const double *x, float *u, int64_t n);
void bl_cu_from_f64(bl_stream s, const double *x, float *y, int64_t n);
void bl_cu_to_f64(bl_stream s, const float *x, int64_t ldx, const float *less, int64_t ldl, double *y, int64_t rows,
                  int64_t n);
/* y [rows, n] = x * by (by NULL: 1) of any strides; and back */
void bl_cu_gather_f64(bl_stream s, const void *x, bool f64, int64_t sr, int64_t sc, const float *by, double *y,
                      int64_t rows, int64_t n);
void bl_cu_scatter_f64(bl_stream s, const double *x, const float *by, void *y, bool f64, int64_t sr, int64_t sc,
                       int64_t rows, int64_t n);

/* Rules of a range; GIVEN: scales and zeros are there. */
enum { BL_CU_ZERO, BL_CU_MINMAX, BL_CU_CLIP, BL_CU_SYMMETRIC, BL_CU_FULL, BL_CU_SIGN, BL_CU_GIVEN };
typedef struct bl_cu_sweep {
    float *w;                                     /* [out, in] */
    const float *u;                               /* [in, in] */
    float *err;                                   /* [out, block] */
    float *scale, *zero;                          /* [out, groups] */
    double *loss;                                 /* [out] */
    const int32_t *group_of;                      /* NULL: i / group */
    int64_t out, in, group, groups, block, first; /* the first column that is swept */
    int bits, rule, scale_type;
    bool mse, fit_first;
} bl_cu_sweep;
void bl_cu_sweep_fit_first(bl_stream s, const bl_cu_sweep *a);
void bl_cu_sweep_block(bl_stream s, const bl_cu_sweep *a, int64_t i1, int64_t i2); /* columns i1 .. i2 */
enum { BL_CU_SWEEP_MOST = 256 };                                                   /* columns of a block */

/* y = x rows cols, as bl_scale_args; f32 or f64; narrow: y is bf16 */
void bl_cu_scale(bl_stream s, const void *x, int64_t ldx, void *y, int64_t ldy, bool f64, bool narrow,
                 const float *rows, const float *cols, int64_t m, int64_t n);
/* sum [rows] of (x - y)^2 of a row; y NULL: 0 */
void bl_cu_sq_error(bl_stream s, const void *x, bool x32, int64_t ldx, const void *y, bool y32, int64_t ldy,
                    double *sum, int64_t rows, int64_t n);
void bl_cu_sum(bl_stream s, const double *x, int64_t n, double *sum);
/* *sum = the sum of n numbers, in an order of its own that is always the same */
typedef struct bl_cu_clip {
    float *w;        /* [out, in] */
    const double *h; /* [in, in] */
    float *limit;    /* [out, groups], or NULL */
    int64_t out, in, group, groups;
    int bits, rule, scale_type, steps, tries;
} bl_cu_clip;
enum { BL_CU_CLIP_MOST = 12288 }; /* columns of a group */
void bl_cu_clip_search(bl_stream s, const bl_cu_clip *a);

typedef struct bl_cu_pack {
    const float *x;            /* [out, in] */
    bl_cu_weight w;            /* INT; written */
    const float *scale, *zero; /* given, [out, groups]; NULL: by rule */
    int rule;
    bool mse;
    unsigned long long *bad; /* 0, or 1 + place of the first group that cannot be: not finite, scale, zero */
    double *lost;            /* [2, out] sums of squares of a row: what was lost, what was there */
} bl_cu_pack;
void bl_cu_pack_int(bl_stream s, const bl_cu_pack *a);
typedef struct bl_cu_codebook { /* bl_codebook */
    float bound[256];
    uint8_t code[256], zero;
    int span;
    bool coarse;
} bl_cu_codebook;
typedef struct bl_cu_pack_codes { /* as bl_cu_pack */
    const float *x;
    bl_cu_weight w;           /* TABLE */
    bl_cu_codebook book, map; /* of w; of double-quantized scales */
    float top;                /* the largest value of the table */
    float *exact;             /* scratch [out, groups] */
    unsigned long long *bad;
    double *lost;
} bl_cu_pack_codes;
void bl_cu_pack_table(bl_stream s, const bl_cu_pack_codes *a);

/* ---- gradients (backward.cu, attention_grad.cu); see ops_train.h ---- */
int64_t bl_cu_parts(int64_t rows); /* runs of rows that sums over rows go by */
typedef struct bl_cu_followed {    /* loss_grad beside a model that is followed; whole: rows are vectors of four */
    const float *logits, *theirs;
    const int32_t *target;
    void *grad; /* f32 or bf16 */
    double *nll, *kl;
    int64_t ld, ldt, ldg, vocab, columns;
    double scale, toward;
    bool f32, whole;
} bl_cu_followed;
void bl_cu_followed_grad(bl_stream s, const bl_cu_followed *a, int64_t rows);
/* db += alpha (sum of the rows of dy); parts: scratch [bl_cu_parts, n] */
void bl_cu_bias_grad(bl_stream s, const void *dy, bool f32, int64_t ldy, int64_t rows, int64_t n, float alpha,
                     float *parts, float *db);
typedef struct bl_cu_norm_grad {
    const uint16_t *x, *dy;
    uint16_t *dx; /* NULL: not asked for */
    const float *w;
    float *dw;    /* NULL: not asked for */
    float *scale; /* scratch [rows + dim bl_cu_parts] */
    int64_t ldx, lddy, lddx, rows, dim;
    float eps;
    bool accumulate;
} bl_cu_norm_grad;
void bl_cu_rmsnorm_grad(bl_stream s, const bl_cu_norm_grad *a);
void bl_cu_swiglu_grad(bl_stream s, const uint16_t *gate, int64_t ldg, const uint16_t *up, int64_t ldu,
                       const uint16_t *dy, int64_t ldy, uint16_t *dgate, int64_t lddg, uint16_t *dup, int64_t lddu,
                       int64_t rows, int64_t n);
void bl_cu_embed_grad(bl_stream s, const int32_t *ids, int64_t rows, const uint16_t *dy, int64_t ldy, int64_t dim,
                      float *dw, int64_t ldw, int64_t vocab, int32_t *counts);
void bl_cu_loss_grad(bl_stream s, const float *logits, int64_t ld, int64_t rows, int64_t vocab, int64_t columns,
                     const int32_t *target, double scale, void *grad, bool f32, int64_t ldg, double *nll);
/* dx[from[i]] += dy[i] onto zeros */
void bl_cu_permute_back(bl_stream s, const float *dy, int64_t ldy, float *dx, int64_t ldx, const int32_t *from,
                        int64_t rows, int64_t in, int64_t out);
/* y (+)= x, f32 into f32 or bf16 */
void bl_cu_put_rows(bl_stream s, const float *x, int64_t ldx, void *y, bool f32, int64_t ldy, int64_t rows, int64_t n,
                    bool accumulate);
typedef struct bl_cu_attention_grad {
    const uint16_t *q, *k, *v, *y, *dy;
    uint16_t *dq, *dk, *dv;
    float *sums, *given; /* scratch [rows, heads] each */
    int64_t ldq, ldk, ldv, ldy, lddy, lddq, lddk, lddv;
    const int32_t *start; /* [n_seq + 1] */
    int32_t n_seq, heads, kv_heads, head_dim;
    int64_t rows;
    float scale;
} bl_cu_attention_grad;
void bl_cu_attention_grad_tiles(bl_stream s, const bl_cu_attention_grad *a);
bool bl_cu_attention_grad_hopper(bl_stream s, const bl_cu_attention_grad *a); /* as bl_cu_attention_hopper */
size_t bl_cu_attention_grad_shared(int64_t head_dim);                         /* bytes of shared memory that it takes */

/* ---- training (train.cu); see ops_train.h ---- */
void bl_cu_dropout(bl_stream s, const uint16_t *x, int64_t ldx, uint16_t *y, int64_t ldy, int64_t rows, int64_t width,
                   int64_t row0, double p, const uint32_t key[2], const uint32_t stream[2], bool accumulate);
void bl_cu_round_random(bl_stream s, const float *x, const bl_cu_weight *w, uint8_t *codes, const uint32_t key[2],
                        const uint32_t stream[2]);
/* Many lists in a launch, each in pieces, a block a piece: `first` is that of its first. */
enum { BL_CU_ADAMW_MOST = 64, BL_CU_ADAMW_PIECE = 4096, BL_CU_SUMS_MOST = 128, BL_CU_SUMS_PIECE = 8192 };
typedef struct bl_cu_adamw_all {
    struct {
        float *p, *grad, *m, *v;
        int64_t n;
        float shrink, step;
        unsigned first;
    } of[BL_CU_ADAMW_MOST];
    int count;
    unsigned blocks;
    float b1, b2, new1, new2, by, eps, root;
    bool clear;
} bl_cu_adamw_all; /* numbers as plain C rounds them */
void bl_cu_adamw_steps(bl_stream s, const bl_cu_adamw_all *a);
typedef struct bl_cu_sums {
    struct {
        const float *x;
        int64_t n;
        unsigned first;
    } of[BL_CU_SUMS_MOST];
    int count;
    unsigned blocks;
    double *parts, *to; /* [blocks], [count] */
} bl_cu_sums;
void bl_cu_sq_sums(bl_stream s, const bl_cu_sums *a);
enum { BL_CU_ADAMW8_MOST = 48, BL_CU_ADAMW8_PIECE = 2048 };
typedef struct bl_cu_adamw8 {
    struct {
        float *p, *grad, *m_max, *v_max;
        uint8_t *m, *v;
        int64_t n;
        float shrink, step;
        unsigned first;
    } of[BL_CU_ADAMW8_MOST];
    const float *m_table, *v_table;
    int count;
    unsigned blocks;
    float b1, b2, new1, new2, by, eps, root;
    bool clear;
} bl_cu_adamw8;
void bl_cu_adamw8_steps(bl_stream s, const bl_cu_adamw8 *a);
typedef struct bl_cu_grid_args { /* y: values, or the gradient of w; NULL where the op has none */
    const float *w, *scale, *offset, *dy;
    float *y, *dscale, *doffset;
    int64_t ldw, lds, ldo, ldy, lddy, ldds, lddo, rows, in, groups, group;
    int kind, bits; /* a bl_grid_kind */
    bool half;
    float by;
} bl_cu_grid_args;
void bl_cu_grid(bl_stream s, const bl_cu_grid_args *a);
void bl_cu_grid_back(bl_stream s, const bl_cu_grid_args *a);

/* ---- rounded activations and scaled weights in training (round.cu); see ops_train.h ---- */
typedef struct bl_cu_act_back {
    const uint16_t *x, *dy;
    uint16_t *dx;
    int64_t ldx, lddy, lddx, rows, n, group;
    int bits;
    bool symmetric, ends, accumulate;
    float within;
} bl_cu_act_back;
typedef struct bl_cu_scale_back {
    const float *x, *dy, *rows, *cols; /* rows, cols, drows, dcols may be NULL */
    float *drows, *dcols;
    int64_t ldx, lddy, m, n;
} bl_cu_scale_back;
void bl_cu_act_round(bl_stream s, const uint16_t *x, int64_t ldx, uint16_t *y, int64_t ldy, int64_t rows, int64_t n,
                     int64_t group, int bits, bool symmetric);
void bl_cu_act_round_back(bl_stream s, const bl_cu_act_back *a);
/* split_pass.cu: scales of normal floats as they are read, [rows, groups], codes of `bits` of blocks of `each` whose
 * largest is f32, f16 or bf16 (0, 1, 2); least [3]: the least largest, and whether one is no number, or does not fit.
 */
void bl_cu_lq_scales(bl_stream s, const float *x, int64_t rows, int64_t in, int64_t group, int64_t each, int bits,
                     int type, float *scale, uint32_t *least);
typedef struct bl_cu_rests {
    float *x;                                        /* [rows, in]: what is kept of it is taken from w, in its place */
    const float *s, *w, *importance, *d_row, *d_col; /* s as above; w NULL: x stays; the others may be NULL */
    double *sums;                                    /* [bl_cu_rests_sums()] */
    int64_t rows, in, group, groups;
    int values; /* 4, 8, 16 in ascending order with what is between them; 0: nothing is kept */
    float value[16], bound[16], zero;
} bl_cu_rests;
int bl_cu_rests_sums(void);
void bl_cu_lq_rests(bl_stream s, const bl_cu_rests *m);
/* merged.cu */
typedef struct bl_cu_merged {
    const float *a, *b, *scale, *offset;
    const uint16_t *dy;              /* [out, in]; NULL where y are values */
    void *y;                         /* [out, in], bf16, may be dy; of values also f32 */
    float *parts, *dscale, *doffset; /* [out, in / 8, 2], where sums are apart; NULL where the op has none */
    int64_t rank, lds, ldo, ldds, lddo, group;
    float by, alpha;
    int bits;
    bool inside, half, f32;
} bl_cu_merged;
bool bl_cu_merged_apart(int64_t group); /* sums over groups are made by another launch, of parts */
void bl_cu_merged_grid(bl_stream s, const bl_cu_weight *w, const bl_cu_merged *m);
void bl_cu_step_search(bl_stream s, float *w, int64_t ldw, float *scale, int64_t lds, int64_t rows, int64_t in,
                       int64_t group, int bits, bool within);
void bl_cu_scale_back_of(bl_stream s, const bl_cu_scale_back *a);
/* x = scale (x - y) unless scale is 0; sums [rows] of the squares of x - y, sum of those */
void bl_cu_differ(bl_stream s, uint16_t *x, int64_t ldx, const uint16_t *y, int64_t ldy, int64_t rows, int64_t n,
                  float scale, double *sums, double *sum);

/* ---- what adapters are made of (adapter.cu); see ops_adapter.h ---- */
typedef struct bl_cu_dora {
    const float *sq, *m, *cross, *gram, *b;
    float *norm, *by, *y;
    int64_t ldc, ldg, ldb, ldy, out, rank;
    double scale;
    float least;
} bl_cu_dora;
void bl_cu_dora_rows(bl_stream s, const bl_cu_dora *a);
typedef struct bl_cu_dora_grad {
    const uint16_t *y, *dy;
    const float *bias, *m, *by, *of_b; /* no bias: NULL */
    float *db, *dm, *parts;            /* parts: scratch [bl_cu_dora_parts, out] */
    int64_t ldy, lddy, ldb, lddb, rows, out, rank;
    float least;
} bl_cu_dora_grad;
int64_t bl_cu_dora_parts(int64_t rows);
void bl_cu_dora_back(bl_stream s, const bl_cu_dora_grad *a);
void bl_cu_pool(bl_stream s, const float *x, int64_t ldx, float *y, int64_t ldy, int64_t rank, int64_t in,
                int64_t group, float by);
void bl_cu_pool_back(bl_stream s, const float *dy, int64_t lddy, float *dx, int64_t lddx, int64_t rank, int64_t in,
                     int64_t groups, int64_t group, double by);
void bl_cu_band(bl_stream s, const float *x, int64_t ldx, float *y, int64_t ldy, const float *beta, int64_t m,
                int64_t n, int64_t group, double by, bool tall);
void bl_cu_band_back(bl_stream s, const float *dy, int64_t lddy, float *dx, int64_t lddx, float *dbeta, int64_t m,
                     int64_t n, int64_t group, double by, bool tall);
#ifdef __cplusplus
}
#endif
#endif
