/* cpu.h - what the files of the CPU backend share: its state, addresses of tensors, the numbers they must agree on. */
#ifndef BL_KERNELS_CPU_CPU_H
#define BL_KERNELS_CPU_CPU_H
#include "kernels/ops.h"
#include "team.h"
#include <math.h>
#include <string.h>

/* Bytes: of one thread; of staged rows of x with one thread, and for each of up to so many. What a product does with
 * its weights is done anew for as many rows as the stage holds. */
enum { BL_CPU_SCRATCH = 384 * 1024, BL_CPU_STAGE = 512 * 1024, BL_CPU_STAGES = 4 };

/* The families that products of this kind last took, and whether they share what is made of x: looking at every row of
 * the registry for each of some hundred products of a token takes longer than its attention. */
typedef struct bl_picked {
    struct {
        const bl_format *format;
        bl_shape shape;
        int64_t layout;
    } w[BL_LINEAR_MOST];
    bl_actq act;
    int64_t rows, wide;
    const struct bl_kernel_family *family[BL_LINEAR_MOST];
    bool shared;
} bl_picked;
enum { BL_CPU_PICKED = 64 };

typedef struct bl_cpu {
    int threads, nodes; /* nodes: memories that processors have a way of their own to; 1 or 2, more count as 2 */
    int refused;        /* 0, or why weights could not be moved to the memory of who reads them (errno) */
    bl_isa isa;         /* what is used */
    bool vnni;          /* dot products of bytes of AVX2's width, where isa allows them */
    uint64_t now, peak; /* bytes of buffers */
    void *stage;        /* bl_cpu_stage() bytes: transformed, quantized or padded rows of x */
    bl_team *team;      /* of as many threads: those of products and attention, the other ops are OpenMP's */
    void **scratch;     /* [threads] of BL_CPU_SCRATCH bytes, each allocated by its thread */
    bl_picked picked[BL_CPU_PICKED];
} bl_cpu;

/* Waking a thread costs some microseconds: below that much work one does it all. */
static inline int bl_cpu_threads(const bl_backend *be, double operations)
{
    const bl_cpu *c = be->own;
    return operations < 2e5 ? 1 : c->threads;
}

static inline int64_t bl_cpu_stage(const bl_cpu *c)
{
    return (int64_t)BL_CPU_STAGE * BL_MIN(c->threads, BL_CPU_STAGES);
}
static inline void *bl_cpu_at(const bl_tensor *t) { return t->buf ? (char *)t->buf->data + t->offset : NULL; }
static inline float *bl_cpu_row(const bl_tensor *t, int64_t row) { return (float *)bl_cpu_at(t) + row * t->stride[0]; }
static inline void bl_cpu_anew(const bl_weight_grad_args *a) /* what is added onto */
{
    for (int64_t r = 0; a->anew && a->dw.buf && r < a->dw.dim[0]; r++)
        memset(bl_cpu_row(&a->dw, r), 0, (size_t)a->dw.dim[1] * sizeof(float));
}
static inline void bl_cpu_parts(const bl_weight *w, const void *part[BL_MAX_PARTS])
{
    for (int i = 0; i < w->n_parts; i++) part[i] = bl_cpu_at(&w->part[i]);
}
/* The lists of an attention, read. */
typedef struct bl_cpu_seqs {
    const int32_t *start, *past, *seg_start;
    const bl_kv_seg *seg;
    const bl_kv_own *own; /* codes, else NULL */
} bl_cpu_seqs;
static inline bl_cpu_seqs bl_cpu_seqs_of(const bl_attention_args *a)
{
    return (bl_cpu_seqs){bl_cpu_at(&a->start), bl_cpu_at(&a->past), bl_cpu_at(&a->seg_start), bl_cpu_at(&a->seg),
                         bl_cpu_at(&a->own)};
}
/* The key or the value of one head in one cache row. */
typedef struct bl_cpu_kv {
    const float *values; /* ACT, else NULL */
    const int8_t *codes; /* values of INT8, else NULL */
    float scale;
    int bits; /* packed codes, else 0 */
    const uint8_t *packed;
    const uint16_t
        *steps; /* fp16: step and least value of each group; of a key the steps of all channels, then these */
    bool key;
} bl_cpu_kv;
static inline bl_cpu_kv bl_cpu_key(const bl_kv_view *kv, int64_t row, int64_t head)
{
    int bits = bl_kv_bits(kv->format);
    int64_t dim = kv->head_dim;
    if (!bits) return (bl_cpu_kv){.values = bl_cpu_row(&kv->k, row) + head * dim};
    return (bl_cpu_kv){.key = true,
                       .bits = bits,
                       .packed = (const uint8_t *)bl_cpu_at(&kv->k) + row * kv->k.stride[0] +
                                 head * ((dim * bits + 7) / 8),
                       .steps = (const uint16_t *)bl_cpu_at(&kv->k_scale) + row / BL_KV_GROUP * kv->k_scale.stride[0] +
                                head * 2 * dim};
}
static inline bl_cpu_kv bl_cpu_value(const bl_kv_view *kv, int64_t row, int64_t head)
{
    int bits = bl_kv_bits(kv->format);
    int64_t dim = kv->head_dim;
    if (!bits) return (bl_cpu_kv){.values = bl_cpu_row(&kv->v, row) + head * dim};
    if (bits == 8)
        return (bl_cpu_kv){.codes = (const int8_t *)bl_cpu_at(&kv->v) + row * kv->v.stride[0] + head * dim,
                           .scale = bl_cpu_row(&kv->v_scale, row)[head]};
    return (bl_cpu_kv){.bits = bits,
                       .packed = (const uint8_t *)bl_cpu_at(&kv->v) + row * kv->v.stride[0] +
                                 head * ((dim * bits + 7) / 8),
                       .steps = (const uint16_t *)bl_cpu_at(&kv->v_scale) + row * kv->v_scale.stride[0] +
                                head * ((dim + BL_KV_GROUP - 1) / BL_KV_GROUP * 2)};
}
float bl_cpu_kv_number(const bl_cpu_kv *x, int64_t d, int64_t dim); /* number d of what dim numbers stand for */
/* A key as activations are, at a position that its sequence has so. */
static inline const float *bl_cpu_own_key(const bl_attention_args *a, const bl_kv_own *o, int64_t position,
                                          int64_t head)
{
    const float *row = position >= o->first ? bl_cpu_row(&a->fresh, o->row + position - o->first)
                                            : bl_cpu_row(&a->kv.k_tail, o->tail + position % BL_KV_GROUP);
    return row + head * a->kv.head_dim;
}
/* One row of kv_append into codes and scales of INT8, n heads. */
typedef void bl_cpu_kv_row(const float *x, int64_t heads, int64_t dim, int8_t *codes, float *scale);
bl_status bl_cpu_kv_append(bl_backend *be, const bl_kv_append_args *a, bl_cpu_kv_row *encode, bl_err *e);

/* The sum of 8 interleaved chains. */
static inline float bl_tree8(const float a[8])
{
    return ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]));
}
static inline double bl_tree8d(const double a[8])
{
    return ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]));
}

/* e^x within 1 unit in the last place (largest error seen: 0.99 of one): x = n ln 2 + r, |r| <= ln 2 / 2, and a
 * polynomial in r close to Taylor's. Below -87.3 the result is 0, above 88 that of 88; NaN stays NaN. */
#define BL_EXP_LOW   (-87.3f)
#define BL_EXP_HIGH  88.0f
#define BL_EXP_LOG2E 0x1.715476p+0f
#define BL_EXP_LN2HI 0x1.62e4p-1f
#define BL_EXP_LN2LO 0x1.7f7d1cp-20f
#define BL_EXP_C7    1.98527617612853646e-4f
#define BL_EXP_C6    1.39304355252534151e-3f
#define BL_EXP_C5    8.33336077630519867e-3f
#define BL_EXP_C4    4.16664853692054749e-2f
#define BL_EXP_C3    1.66666671633720398e-1f
#define BL_EXP_MAGIC 0x1.8p23f /* x + magic: the low bits are x rounded to an integer */
static inline float bl_exp(float x)
{
    union {
        float f;
        uint32_t u;
    } t, p;
    float c = x > BL_EXP_HIGH ? BL_EXP_HIGH : x;
    if (c < BL_EXP_LOW) return 0;
    if (c != c) return c;
    t.f = fmaf(c, BL_EXP_LOG2E, BL_EXP_MAGIC);
    float n = t.f - BL_EXP_MAGIC; /* -126..127 */
    float r = fmaf(n, -BL_EXP_LN2HI, c);
    r = fmaf(n, -BL_EXP_LN2LO, r);
    p.f = fmaf(BL_EXP_C7, r, BL_EXP_C6);
    p.f = fmaf(p.f, r, BL_EXP_C5);
    p.f = fmaf(p.f, r, BL_EXP_C4);
    p.f = fmaf(p.f, r, BL_EXP_C3);
    p.f = fmaf(p.f, r, 0.5f);
    p.f = fmaf(p.f, r * r, r) + 1.0f;
    t.u = (t.u + 127) << 23; /* 2^n */
    return p.f * t.f;
}

/* ---- inputs of a product, row by row (ref_input.c) ---- */
/* The transforms of a linear on one row; `tmp` is as wide as the widest, the result is in dst[shape.in]. */
void bl_cpu_transform(const bl_linear_args *a, const float *x, float *dst, float *tmp);
int64_t bl_cpu_transform_width(const bl_linear_args *a); /* widest of x and all transforms */
/* Scale and zero of x[0..n): code = clamp(rint(x / scale) + zero, lo, hi), value (code - zero) * scale. NaN scale where
 * x is not finite. */
void bl_cpu_act_range(const float *x, int64_t n, const bl_actq *q, float *scale, float *zero);
static inline void bl_cpu_act_limits(const bl_actq *q, float *lo, float *hi)
{
    *hi = (float)((1 << (q->symmetric ? q->bits - 1 : q->bits)) - 1);
    *lo = q->symmetric ? -*hi : 0;
}
static inline float bl_cpu_act_code(float x, float scale, float zero, float lo, float hi)
{
    float c = rintf(x / scale) + zero;
    return c < lo ? lo : c > hi ? hi : c;
}
static inline bool bl_cpu_has_nan(const float *x, int64_t n)
{
    bool nan = false;
    for (int64_t i = 0; i < n; i++) nan |= x[i] != x[i];
    return nan;
}
/* Range of the whole x of a linear, after its transforms, for dynamic per-tensor activations. */
void bl_cpu_act_tensor(const bl_linear_args *a, float *row, float *tmp, float *scale, float *zero);
/* Quantizes and dequantizes one row in place; `scale`, `zero` are those of the tensor (BL_ACT_TENSOR only). */
void bl_cpu_act_simulate(float *x, int64_t n, const bl_actq *q, float scale, float zero);
/* Whether the products of all weights run in integers, and whether that of one does. */
bool bl_cpu_integer(const bl_backend *be, const bl_linear_args *a);
bool bl_cpu_integer_weight(const bl_actq *q, const bl_weight *w);
/* The shape of the integers that such a product sees: blocks have groups. */
bl_shape bl_cpu_integer_shape(const bl_weight *w);
/* Inputs of a segment of an integer product: they share the scales of the weight and of x. */
int64_t bl_cpu_segment(const bl_actq *q, const bl_shape *g);

/* ---- bl_check_*, and what the index arrays hold (index.c) ---- */
bl_status bl_cpu_check_rope(const bl_backend *be, const bl_rope_args *a, bl_err *e);
bl_status bl_cpu_check_kv_append(const bl_backend *be, const bl_kv_append_args *a, bl_err *e);
bl_status bl_cpu_check_attention(const bl_backend *be, const bl_attention_args *a, bl_err *e);
bl_status bl_cpu_check_gather(const bl_backend *be, const bl_gather_args *a, bl_err *e);
bl_status bl_cpu_check_embed(const bl_backend *be, const bl_embed_args *a, bl_err *e);
bl_status bl_cpu_check_loss(const bl_backend *be, const bl_loss_args *a, bl_err *e);
bl_status bl_cpu_check_attention_grad(const bl_backend *be, const bl_attention_grad_args *a, bl_err *e);
bl_status bl_cpu_check_embed_grad(const bl_backend *be, const bl_embed_grad_args *a, bl_err *e);
/* A row of loss_grad beside a model that is followed: sums of e^(x - top) of both and of e^(t - topt) (t - x) become
 * nll, kl, and what the exponentials are taken times. */
typedef struct bl_followed {
    bool finite;
    float topx, topt, aim; /* aim: the target's logit */
    double sum[3];
    float ours, theirs;
} bl_followed;
void bl_cpu_followed(const bl_loss_grad_args *a, int64_t r, int32_t target, bl_followed *f);
bl_status bl_cpu_check_loss_grad(const bl_backend *be, const bl_loss_grad_args *a, bl_err *e);
bl_status bl_cpu_check_kl_div(const bl_backend *be, const bl_kl_div_args *a, bl_err *e);

/* ---- reference ops and those that need no faster form ---- */
bl_status bl_cpu_buffer_new(bl_backend *, uint64_t, bl_buffer **, bl_err *);
void bl_cpu_buffer_free(bl_buffer *);
bl_status bl_cpu_upload(bl_backend *, const bl_tensor *, const void *, bl_err *);
bl_status bl_cpu_download(bl_backend *, const bl_tensor *, void *, bl_err *);
bl_status bl_cpu_fill(bl_backend *, const bl_tensor *, double, bl_err *);
bl_status bl_cpu_sync(bl_backend *, bl_err *);
void bl_cpu_memory(const bl_backend *, uint64_t *, uint64_t *);
void bl_cpu_device_info(const bl_backend *, bl_device_info *);
bl_status bl_cpu_flush(bl_backend *, bl_err *);
bl_status bl_cpu_event_new(bl_backend *, bl_event **, bl_err *);
void bl_cpu_event_free(bl_event *);
bl_status bl_cpu_event_record(bl_backend *, bl_event *, bl_err *);
bl_status bl_cpu_event_seconds(const bl_event *, const bl_event *, double *, bl_err *);
bl_status bl_cpu_prepare(bl_backend *, bl_weight *, bl_err *); /* into the layout of lanes.h, if it can have it */
/* format->unpack and bl_int_decode of a weight in either layout (lanes.c); least: of blocks.h, not written where its
 * format has none. */
void bl_cpu_unpack(const bl_weight *w, int64_t row, int64_t k0, int64_t n, float *dst);
void bl_cpu_int_decode(const bl_weight *w, int64_t row, uint8_t *codes, float *scale, float *zero, float *least);
bl_status bl_cpu_linear(bl_backend *, const bl_linear_args *, bl_err *);
bl_status bl_ref_transform(bl_backend *, const bl_transform_args *, bl_err *);
bl_status bl_ref_channel_stats(bl_backend *, const bl_channel_stats_args *, bl_err *);
bl_status bl_ref_rmsnorm(bl_backend *, const bl_rmsnorm_args *, bl_err *);
bl_status bl_ref_rope(bl_backend *, const bl_rope_args *, bl_err *);
bl_status bl_ref_kv_append(bl_backend *, const bl_kv_append_args *, bl_err *);
bl_status bl_ref_attention(bl_backend *, const bl_attention_args *, bl_err *);
bl_status bl_ref_gather(bl_backend *, const bl_gather_args *, bl_err *);
bl_status bl_ref_swiglu(bl_backend *, const bl_swiglu_args *, bl_err *);
bl_status bl_ref_add(bl_backend *, const bl_add_args *, bl_err *);
bl_status bl_ref_embed(bl_backend *, const bl_embed_args *, bl_err *);
bl_status bl_ref_loss(bl_backend *, const bl_loss_args *, bl_err *);
bl_status bl_ref_kl_div(bl_backend *, const bl_kl_div_args *, bl_err *);
bl_status bl_ref_sample(bl_backend *, const bl_sample_args *, bl_err *);
bl_status bl_ref_pack(bl_backend *, const bl_pack_args *, bl_err *);
bl_status bl_ref_unpack(bl_backend *, const bl_unpack_args *, bl_err *);
/* Rows row0 .. row0+rows of a pack, where the format allows it; row sums of squares go to err[row], pow[row] when not
 * NULL. */
bool bl_cpu_pack_by_rows(const bl_weight *w);
bl_status bl_cpu_pack_range(const bl_pack_args *a, int64_t row0, int64_t rows, double *err, double *pow, bl_err *e);
bl_fit_range *bl_cpu_fit(bl_range_rule rule, bool mse); /* NULL: GIVEN */
/* ---- solving (ops_solve.h); those without a reference of their own are the same everywhere ---- */
bl_status bl_ref_permute(bl_backend *, const bl_permute_args *, bl_err *);
bl_status bl_ref_diagonal(bl_backend *, const bl_diagonal_args *, bl_err *);
bl_status bl_ref_hessian(bl_backend *, const bl_hessian_args *, bl_err *);
bl_status bl_ref_cholesky_inverse(bl_backend *, const bl_cholesky_inverse_args *, bl_err *);
bl_status bl_ref_mismatch(bl_backend *, const bl_mismatch_args *, bl_err *);
bl_status bl_ref_mismatch_fold(bl_backend *, const bl_mismatch_fold_args *, bl_err *);
bl_status bl_ref_quad_form(bl_backend *, const bl_quad_form_args *, bl_err *);
bl_status bl_ref_gptq_sweep(bl_backend *, const bl_gptq_sweep_args *, bl_err *);
bl_status bl_cpu_hadamard(bl_backend *, const bl_hadamard_args *, bl_err *);
bl_status bl_cpu_scale(bl_backend *, const bl_scale_args *, bl_err *);
bl_status bl_cpu_sq_error(bl_backend *, const bl_sq_error_args *, bl_err *);
bl_status bl_cpu_clip_search(bl_backend *, const bl_clip_search_args *, bl_err *);
bl_status bl_cpu_hqq(bl_backend *, const bl_hqq_args *, bl_err *);
bl_status bl_cpu_greedy(bl_backend *, const bl_greedy_args *, bl_err *);
bl_status bl_cpu_range_search(bl_backend *, const bl_range_search_args *, bl_err *);
bl_status bl_cpu_each(bl_backend *, const bl_each_args *, bl_err *);
bl_status bl_cpu_layernorm(bl_backend *, const bl_layernorm_args *, bl_err *);
bl_status bl_cpu_gelu(bl_backend *, const bl_gelu_args *, bl_err *);
bl_status bl_fast_hessian(bl_backend *, const bl_hessian_args *, bl_err *);
bl_status bl_fast_cholesky_inverse(bl_backend *, const bl_cholesky_inverse_args *, bl_err *);
bl_status bl_fast_mismatch(bl_backend *, const bl_mismatch_args *, bl_err *);
bl_status bl_fast_mismatch_fold(bl_backend *, const bl_mismatch_fold_args *, bl_err *);
bl_status bl_fast_quad_form(bl_backend *, const bl_quad_form_args *, bl_err *);
bl_status bl_fast_gptq_sweep(bl_backend *, const bl_gptq_sweep_args *, bl_err *);
/* ---- training (ops_train.h) ---- */
bl_status bl_ref_weight_grad(bl_backend *, const bl_weight_grad_args *, bl_err *);
bl_status bl_ref_rmsnorm_grad(bl_backend *, const bl_rmsnorm_grad_args *, bl_err *);
bl_status bl_ref_attention_grad(bl_backend *, const bl_attention_grad_args *, bl_err *);
bl_status bl_ref_swiglu_grad(bl_backend *, const bl_swiglu_grad_args *, bl_err *);
bl_status bl_ref_embed_grad(bl_backend *, const bl_embed_grad_args *, bl_err *);
bl_status bl_ref_loss_grad(bl_backend *, const bl_loss_grad_args *, bl_err *);
bl_status bl_ref_rope_grad(bl_backend *, const bl_rope_args *, bl_err *);
bl_status bl_cpu_transform_grad(bl_backend *, const bl_transform_grad_args *, bl_err *);
bl_status bl_cpu_dropout(bl_backend *, const bl_dropout_args *, bl_err *);
bl_status bl_cpu_round_random(bl_backend *, const bl_round_random_args *, bl_err *);
bl_status bl_cpu_adamw(bl_backend *, const bl_adamw_args *, bl_err *);
bl_status bl_cpu_adamw_all(bl_backend *, const bl_adamw_all_args *, bl_err *);
bl_status bl_cpu_sq_sums(bl_backend *, const bl_sq_sums_args *, bl_err *);
bl_status bl_cpu_adamw8(bl_backend *, const bl_adamw8_args *, bl_err *);
bl_status bl_cpu_grid(bl_backend *, const bl_grid_args *, bl_err *);
bl_status bl_cpu_grid_grad(bl_backend *, const bl_grid_grad_args *, bl_err *);
bl_status bl_cpu_merged_grid(bl_backend *, const bl_merged_grid_args *, bl_err *);
bl_status bl_cpu_split_pass(bl_backend *, const bl_split_pass_args *, bl_err *);
bl_status bl_cpu_step_search(bl_backend *, const bl_step_search_args *, bl_err *);
bl_status bl_cpu_scale_grad(bl_backend *, const bl_scale_grad_args *, bl_err *);
bl_status bl_cpu_sign_round(bl_backend *, const bl_sign_round_args *, bl_err *);
bl_status bl_cpu_sign_round_grad(bl_backend *, const bl_sign_round_grad_args *, bl_err *);
bl_status bl_cpu_sign_step(bl_backend *, const bl_sign_step_args *, bl_err *);
bl_status bl_cpu_differ(bl_backend *, const bl_differ_args *, bl_err *);
bl_status bl_cpu_act_round(bl_backend *, const bl_act_round_args *, bl_err *);
bl_status bl_cpu_act_round_grad(bl_backend *, const bl_act_round_grad_args *, bl_err *);
void bl_cpu_act_round_grad_row(const void *args, int64_t r);
bl_status bl_cpu_dora(bl_backend *, const bl_dora_args *, bl_err *);
bl_status bl_cpu_dora_grad(bl_backend *, const bl_dora_grad_args *, bl_err *);
bl_status bl_cpu_pool(bl_backend *, const bl_pool_args *, bl_err *);
bl_status bl_cpu_pool_grad(bl_backend *, const bl_pool_grad_args *, bl_err *);
bl_status bl_cpu_band(bl_backend *, const bl_band_args *, bl_err *);
bl_status bl_cpu_band_grad(bl_backend *, const bl_band_grad_args *, bl_err *);
bl_status bl_cpu_lowrank_grad(bl_backend *, const bl_lowrank_grad_args *, bl_err *);
bl_status bl_fast_weight_grad(bl_backend *, const bl_weight_grad_args *, bl_err *);
bl_status bl_fast_rmsnorm_grad(bl_backend *, const bl_rmsnorm_grad_args *, bl_err *);
bl_status bl_fast_attention_grad(bl_backend *, const bl_attention_grad_args *, bl_err *);
bl_status bl_fast_swiglu_grad(bl_backend *, const bl_swiglu_grad_args *, bl_err *);
bl_status bl_fast_embed_grad(bl_backend *, const bl_embed_grad_args *, bl_err *);
bl_status bl_fast_loss_grad(bl_backend *, const bl_loss_grad_args *, bl_err *);
bl_status bl_fast_rope_grad(bl_backend *, const bl_rope_args *, bl_err *);

/* y = H x / sqrt(n), or Ht x / sqrt(n), H of order n (hadamard.h), in place. */
void bl_cpu_hadamard_row(float *x, int64_t n, bool transposed);
extern const bl_ops bl_ops_ref; /* every op there is, in plain C on the threads of its backend; `reference`: on one */
extern const bl_ops bl_ops_cpu; /* with AVX2 where that is faster */
#endif
