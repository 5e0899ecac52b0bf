/* model.h - a LLaMA-family model on a backend: named linears in blocks, a forward pass over ragged sequences, a KV
 * cache.
 *
 *     bl_model *m;
 *     BL_TRY(bl_model_open(checkpoint, be, &(bl_model_opts){ .stream = false }, &m, e));
 *     BL_TRY(bl_kv_new(m, rows, n_slots, one_layer, BL_KV_ACT, &kv, e));
 *     int32_t slot;
 *     BL_TRY(bl_kv_slot(kv, cap, -1, 0, &slot, e));              // one for each sequence
 *     bl_batch b = { .ids = ids, .n_seq = 1, .start = (int32_t[]){ 0, 5 }, .past = (int32_t[]){ 0 }, .slot = &slot };
 *     BL_TRY(bl_forward(m, &b, kv, hidden, e));                  // final normed hidden states of the wanted rows
 *     BL_TRY(bl_logits(m, hidden, 0, rows, logits, e));          // chunks of at most bl_logits_rows(m) rows
 *     bl_kv_free(kv);
 *     bl_model_close(m);
 *
 * Every loop over blocks goes bl_block_acquire … release: nothing when resident, load and free when streaming.
 */
#ifndef BL_HARNESS_MODEL_MODEL_H
#define BL_HARNESS_MODEL_MODEL_H
#include "harness/checkpoint/checkpoint.h"
#include "kernels/ops.h"

/* One product of a model, y = S(A(T x) Wt) + bias + adapters, and owner of all of it: the embedding, the head, or one
 * of a block. What it is made of (format, shapes) is always known; its buffers are there while its block is acquired,
 * on the backend of the block. The setters below take over the buffers they are given and free what they replace. */
typedef struct bl_linear {
    char name[96]; /* "model.layers.3.mlp.up_proj", "model.embed_tokens", "lm_head" */
    bl_role role;
    int64_t block;                /* -1: none */
    int64_t in, out;              /* widths of x and y */
    bl_weight weight;             /* [out, width of T x]; format NULL: a head that is the embedding */
    bl_tensor bias;               /* f32 [out]; ndim 0: none */
    const bl_format *bias_format; /* what it is stored in */
    bl_transform *transform;      /* T in order of application, then S; data with ndim 0: none */
    int n_transforms, n_after;    /* of T, of S */
    bl_actq act;                  /* A */
    bl_lowrank *adapter;          /* of x as it comes; their sum is added */
    int n_adapters;
    bl_weight *packed; /* [2 n_adapters] what A and B of each are stored as, whose numbers they are; without a format:
                          as f32; NULL: all of them are */
    bool changed;      /* by a setter, after it was loaded */
} bl_linear;
/* y = linear(x); x f32 [rows, in], y f32 [rows, out]. */
bl_status bl_linear_apply(bl_backend *be, const bl_linear *l, bl_tensor x, bl_tensor y, bool accumulate, bl_err *e);
/* Several that read the same x; those that also make the same of it go through the backend together. */
bl_status bl_linears_apply(bl_backend *be, const bl_linear *const l[], int n, bl_tensor x, const bl_tensor y[],
                           bl_err *e);
/* The same of what a norm or a gate makes of x (bl_linear_args), where the backend does that on the way: then *a is the
 * call, else false. One or several. */
typedef struct bl_before {
    bl_tensor norm, gate;
    double eps;
} bl_before;
bool bl_linears_prepare(bl_backend *be, const bl_linear *const l[], int n, bl_tensor x, const bl_before *b,
                        const bl_tensor y[], bool accumulate, bl_linear_args *a);
/* Dense f32 copy of the weight on the backend, [out, width of T x]; the caller frees the buffer. */
bl_status bl_linear_dense(bl_backend *be, const bl_linear *l, bl_tensor *out, bl_err *e);
int64_t bl_linear_width(const bl_linear *l);  /* of T x */
uint64_t bl_linear_bytes(const bl_linear *l); /* as stored: weight, bias, transforms, adapters */
bool bl_linear_resident(const bl_linear *l);  /* its buffers are there */
/* *w is empty afterwards. */
void bl_linear_set_weight(bl_linear *l, bl_weight *w);
/* f32 [out], or no tensor: takes the bias away. It is stored as fp32. */
void bl_linear_set_bias(bl_linear *l, bl_tensor bias);
void bl_linear_set_act(bl_linear *l, bl_actq act);
/* After the transforms that are there; BL_E_INTERNAL unless it reads what they give. Nothing is taken over on failure.
 */
bl_status bl_linear_add_transform(bl_linear *l, const bl_transform *t, bl_err *e);
/* After the transforms of the output that are there; it reads and gives the width of y. */
bl_status bl_linear_add_after(bl_linear *l, const bl_transform *t, bl_err *e);
void bl_linear_clear_transforms(bl_linear *l); /* T and S */
/* a f32 [r, in], b f32 [out, r]. Nothing is taken over on failure. */
bl_status bl_linear_add_adapter(bl_linear *l, const bl_lowrank *adapter, bl_err *e);
void bl_linear_clear_adapters(bl_linear *l);
/* Of adapter i, [2]; NULL: it is stored as f32. */
const bl_weight *bl_linear_packed(const bl_linear *l, int i);
/* A and B of its last adapter are rounded to that format, in groups of 64 of their numbers in row order, scales in f32
 * or coded, and are stored so; without buffers (an outline) only said to be. */
bl_status bl_linear_pack_adapter(bl_backend *be, bl_linear *l, const bl_format *f, bl_err *e);

/* Is all of one, bit for bit, all of the other? Names and places are not compared. */
bl_status bl_linear_same(const bl_linear *a, const bl_linear *b, bool *same, bl_err *e);
void bl_linear_free(bl_linear *l); /* what it owns; only of one that no model has */

typedef struct bl_norm {
    char name[96]; /* "model.layers.3.input_layernorm" */
    bl_role role;
    int64_t block;           /* -1: none */
    bl_tensor weight;        /* f32 [n] */
    const bl_format *format; /* what it is stored in */
    bool changed;
} bl_norm;
/* f32, as long as the old one. It is stored as fp32. */
void bl_norm_set(bl_norm *n, bl_tensor weight);

/* A block's parameters come and go together. */
typedef struct bl_block {
    bl_backend *be; /* lent: where its weights are and where it is computed */
    bl_linear *linear;
    int n_linears; /* in the order of their roles */
    bl_norm *norm;
    int n_norms;
} bl_block;
typedef struct bl_model {
    bl_config config;
    bl_checkpoint *ckpt; /* lent */
    bl_backend *be;      /* lent; of the embedding, the head and the residual stream. NULL: an outline */
    bl_block *blocks;    /* [config.n_layers] */
    size_t n_linears;    /* of all blocks, block after block */
    bl_linear *linears;
    size_t n_norms; /* of all blocks */
    bl_norm *norms;
    bool stream, later;
    bool as_stored;
    bl_kv_format kv; /* of the caches that scoring and decoding make */
    /* Told before each block of a pass. With it a pass that has begun is finished, interrupt or not; without it an
     * interrupt ends it between blocks. */
    void (*watch)(void *ctx, int64_t block);
    void *watch_ctx;
    uint64_t kv_peak;      /* bytes of the largest cache that was used since this was set to 0 */
    bl_linear embed, head; /* head.weight.format NULL: tied */
    bl_norm norm;          /* after the blocks */
    struct bl_model_own *own;
} bl_model;
typedef struct bl_model_opts {
    bool stream;     /* only one block's weights are resident */
    bool later;      /* a block is loaded when it is first acquired, and stays */
    bool as_stored;  /* weights stay in the layout of their format, for who writes them; else they are prepared for the
                        backend */
    int64_t max_len; /* positions to prepare; 0: the model's own */
    bl_kv_format kv;
} bl_model_opts;
bl_status bl_model_open(bl_checkpoint *c, bl_backend *be, const bl_model_opts *o, bl_model **out, bl_err *e);
/* Names, shapes and formats alone: reads no weights, needs no backend. For checks and plans. */
bl_status bl_model_outline(bl_checkpoint *c, bl_model **out, bl_err *e);
void bl_model_close(bl_model *m); /* NULL is fine */
/* By role, in that block (-1: embedding, head, final norm); NULL: this model has none. */
bl_linear *bl_model_linear(bl_model *m, int64_t block, bl_role role);
bl_norm *bl_model_norm(bl_model *m, int64_t block, bl_role role);
const bl_linear *bl_model_head(const bl_model *m); /* the embedding when tied */
/* The head of a checkpoint without the rest of its model, the embedding when tied; bl_linear_free. */
bl_status bl_head_open(bl_checkpoint *c, bl_backend *be, bl_linear *out, bl_err *e);
/* A tied head becomes a parameter of its own with the embedding's values, so that one can change without the other. */
bl_status bl_model_untie(bl_model *m, bl_err *e);
/* Weights of the blocks, the embedding and the head are loaded, each value checked to be finite (F15). Streaming: one
 * block at a time, read anew each time; so a block that was changed is written before it is released, and acquiring it
 * again is BL_E_INTERNAL. */
bl_status bl_block_acquire(bl_model *m, int64_t block, bl_err *e);
void bl_block_release(bl_model *m, int64_t block);
/* Of the model as it is now, whether its blocks are in memory or not. */
double bl_model_bits(const bl_model *m);           /* per weight of the block linears, with all that belongs to them */
uint64_t bl_model_bytes(const bl_model *m);        /* of all parameters as stored */
const char *bl_model_simulated(const bl_model *m); /* "activations" when a product of quantized ones runs in floats */
/* What a reader of its numbers should know of it, in words, "; " between them: "ragged last group", "adapters beside
 * the weights", "inputs transformed", "lm_head and embeddings Q4_1" where not everything is stored alike. All of it is
 * seen in the model as it is now, whatever made it so. Nothing is added when there is nothing. */
void bl_model_notes(const bl_model *m, bl_text *out);
int64_t bl_model_max_len(const bl_model *m); /* positions a sequence may have */
void bl_model_rest(bl_model *m);             /* lets go of what passes keep for the next one */

/* ---- KV cache: rows of keys and values; a slot is a chain of segments, so choices and few-shot prefixes share a
 * context ---- */
typedef struct bl_kv bl_kv;
/* `rows` positions in all. one_layer: the storage of one block is reused by every block (scoring in one pass); else
 * every block has its own (generation). */
bl_status bl_kv_new(bl_model *m, int64_t rows, int32_t slots, bool one_layer, bl_kv_format f, bl_kv **out, bl_err *e);
void bl_kv_free(bl_kv *kv);
void bl_kv_reset(bl_kv *kv); /* every slot is empty, every row free */
/* Where a sequence may be parted, by what its cache is like: multiples of so many positions. A slot continues another
 * there; and a sequence may be taken up again there, or in the group that it was left in. */
int64_t bl_kv_granule(bl_kv_format f);
/* A new slot with room for `cap` own positions after the first `parent_len` positions of `parent` (-1: none).
 * BL_E_DEVMEM when rows or slots are used up. */
bl_status bl_kv_slot(bl_kv *kv, int64_t cap, int32_t parent, int64_t parent_len, int32_t *slot, bl_err *e);
/* A cache of pages: rows come when they are needed, slots come and go, and slots whose tokens begin alike share the
 * full pages of that beginning, also with slots that have left. `rows` is rounded up to whole pages. bl_kv_slot is not
 * for it. */
int64_t bl_kv_page_len(bl_kv_format f); /* positions of a page: 16, of codes a group of keys */
bl_status bl_kv_new_paged(bl_model *m, int64_t rows, int32_t slots, bl_kv_format f, bl_kv **out, bl_err *e);
/* A slot with the known pages that ids[0..n) begin with: bl_kv_len says how many positions these are. */
bl_status bl_kv_join(bl_kv *kv, const int32_t *ids, int64_t n, int32_t *slot, bl_err *e);
/* Room for positions 0 .. len-1; false when no page is free: then there is room for fewer. */
bool bl_kv_extend(bl_kv *kv, int32_t slot, int64_t len);
/* The first `len` positions hold these tokens, or will after the pass that is being put together: sequences that come
 * later in it may join already. A pass that fails leaves pages that must not be known: bl_kv_reset. */
void bl_kv_know(bl_kv *kv, int32_t slot, const int32_t *ids, int64_t len);
void bl_kv_leave(bl_kv *kv, int32_t slot);
int64_t bl_kv_free_pages(const bl_kv *kv); /* that no slot has */

int64_t bl_kv_len(const bl_kv *kv, int32_t slot); /* positions in it, the parent's included */
uint64_t bl_kv_bytes(const bl_kv *kv);

/* ---- batch: packed rows, no padding ---- */
typedef struct bl_batch {
    const int32_t *ids; /* [start[n_seq]]; NULL where nothing is embedded (bl_block_forward) */
    int32_t n_seq;
    const int32_t *start; /* [n_seq+1] */
    const int32_t *past;  /* [n_seq] positions already in the slot, its parents' included */
    const int32_t *slot;  /* [n_seq]; a parent may be in the same batch if it comes earlier */
    const int64_t *want;
    int64_t n_want; /* rows whose final hidden states are wanted, ascending */
} bl_batch;
/* Rows that one batch should hold at most: more cost memory and gain little. Streaming, a batch reads every block once,
 * so as many as fit a third of what is resident (64 to 768 MiB) with their residual stream, hidden states and one
 * block's keys and values. */
int64_t bl_pass_tokens(const bl_model *m);
/* hidden f32 [n_want, dim]: final normed states. One pass: all rows go through block b before b+1, so a streamed block
 * is read once a call. A slot may be taken back to a shorter `past`. BL_E_INTERRUPTED between blocks; a call that fails
 * leaves the slots' lengths as they were. */
bl_status bl_forward(bl_model *m, const bl_batch *b, bl_kv *kv, bl_tensor hidden, bl_err *e);
/* For tests and golden files: residual stream after the embedding and after each block, of one row; f32 host [n_layers
 * + 1, dim], the last one final-normed. */
bl_status bl_forward_trace(bl_model *m, const bl_batch *b, bl_kv *kv, int64_t row, float *trace, bl_err *e);
int64_t bl_logits_rows(const bl_model *m); /* most rows of a logits chunk: 64 MiB; scoring: bl_scored_rows */
bl_status bl_logits(bl_model *m, bl_tensor hidden, int64_t row0, int64_t rows, bl_tensor logits,
                    bl_err *e); /* logits f32 [rows, vocab] */
#endif
