/* model.h - a LLaMA-family model on a backend: named linears in blocks, a forward pass over ragged sequences, a KV
 * cache.
 *
 *     bl_model *m;
 *     BL_TRY(bl_model_open(checkpoint, be, &(bl_model_opts){ .stream = false }, &m, e));
 *     BL_TRY(bl_kv_new(m, rows, n_slots, one_layer, BL_KV_ACT, &kv, e));
 *     int32_t slot;
 *     BL_TRY(bl_kv_slot(kv, cap, -1, 0, &slot, e));              // one for each sequence
 *     bl_batch b = { .ids = ids, .n_seq = 2, .start = (int32_t[]){ 0, 5, 9 }, .past = (int32_t[]){ 0, 0 }, .slot =
 * (int32_t[]){ 0, 1 }, … }; BL_TRY(bl_forward(m, &b, kv, hidden, e));                  // final normed hidden states of
 * the wanted rows BL_TRY(bl_logits(m, hidden, row0, rows, logits, e));       // chunks of at most bl_logits_rows(m)
 * rows bl_kv_free(kv); bl_model_close(m);
 *
 * Every loop over blocks goes bl_block_acquire … release: nothing when resident, load and free when streaming.
 */
#ifndef BL_MODEL_H
#define BL_MODEL_H
#include "harness/checkpoint/checkpoint.h"
#include "kernels/ops.h"

/* One weight of a block: y = A(T x) Wt + adapter (DESIGN). */
typedef struct bl_linear {
    char name[96];    /* "model.layers.3.mlp.up_proj" */
    const char *part; /* "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj" */
    int64_t block, in, out;
    bl_weight weight; /* format NULL while its block is not resident */
    bl_transform *transform;
    int n_transforms;
    bl_actq act;
    bl_lowrank *adapter;
} bl_linear;
/* y = linear(x); x f32 [rows, in], y f32 [rows, out]. */
bl_status bl_linear_apply(bl_backend *be, const bl_linear *l, bl_tensor x, bl_tensor y, bool accumulate, bl_err *e);
/* Dense f32 copy of the weight on the backend, [out, in]; the caller frees the buffer. */
bl_status bl_linear_dense(bl_backend *be, const bl_linear *l, bl_tensor *out, bl_err *e);
/* The linear owns *w from now on; *w is empty afterwards. The old weight is freed. */
void bl_linear_set_weight(bl_linear *l, bl_weight *w);

enum { BL_LINEARS_PER_BLOCK = 7 };
typedef struct bl_model {
    bl_config config;
    bl_checkpoint *ckpt; /* lent */
    bl_backend *be;      /* lent; a block's own pointer may differ later */
    size_t n_linears;    /* 7 a block, in the order q k v o gate up down */
    bl_linear *linears;
    bool stream;
    bl_weight embed, head; /* head.format NULL: tied */
    struct bl_model_own *own;
} bl_model;
typedef struct bl_model_opts {
    bool stream;     /* only one block's weights are resident */
    int64_t max_len; /* positions to prepare; 0: the model's own */
} bl_model_opts;
bl_status bl_model_open(bl_checkpoint *c, bl_backend *be, const bl_model_opts *o, bl_model **out, bl_err *e);
void bl_model_close(bl_model *m); /* NULL is fine */
/* Weights of the blocks, the embedding and the head are loaded, each value checked to be finite (F15). Streaming: one
 * block at a time. */
bl_status bl_block_acquire(bl_model *m, int64_t block, bl_err *e);
void bl_block_release(bl_model *m, int64_t block);
double bl_model_bits(const bl_model *m);     /* per weight of the block linears, from the checkpoint's formats */
uint64_t bl_model_bytes(const bl_model *m);  /* all tensors as stored */
int64_t bl_model_max_len(const bl_model *m); /* positions a sequence may have */

/* ---- KV cache: rows of keys and values; a slot is a chain of segments, so choices and few-shot prefixes share a
 * context ---- */
typedef struct bl_kv bl_kv;
/* `rows` positions in all. one_layer: the storage of one block is reused by every block (scoring in one pass); else
 * every block has its own (generation). */
bl_status bl_kv_new(bl_model *m, int64_t rows, int32_t slots, bool one_layer, bl_kv_format f, bl_kv **out, bl_err *e);
void bl_kv_free(bl_kv *kv);
void bl_kv_reset(bl_kv *kv); /* every slot is empty, every row free */
/* A new slot with room for `cap` own positions after the first `parent_len` positions of `parent` (-1: none).
 * BL_E_DEVMEM when rows or slots are used up. */
bl_status bl_kv_slot(bl_kv *kv, int64_t cap, int32_t parent, int64_t parent_len, int32_t *slot, bl_err *e);
int64_t bl_kv_len(const bl_kv *kv, int32_t slot); /* positions in it, the parent's included */
uint64_t bl_kv_bytes(const bl_kv *kv);

/* ---- batch: packed rows, no padding ---- */
typedef struct bl_batch {
    const int32_t *ids; /* [start[n_seq]] */
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
int64_t bl_logits_rows(const bl_model *m); /* most rows of a logits chunk: 64 MiB */
bl_status bl_logits(bl_model *m, bl_tensor hidden, int64_t row0, int64_t rows, bl_tensor logits,
                    bl_err *e); /* logits f32 [rows, vocab] */
/* Makes *b at least `bytes` long; contents are lost when it moves. For buffers that are kept between passes. */
bl_status bl_buffer_fit(bl_backend *be, bl_buffer **b, uint64_t bytes, bl_err *e);
#endif
