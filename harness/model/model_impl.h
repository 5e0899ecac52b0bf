/* model_impl.h - what the files of the model share: its private state, the KV cache, the plan of a pass. */
#ifndef BL_HARNESS_MODEL_MODEL_IMPL_H
#define BL_HARNESS_MODEL_MODEL_IMPL_H
#include "block.h"

/* Rows that go through a block together. The lists of all chunks of a pass are one after the other in the arrays of
 * bl_pass_plan. */
typedef struct bl_tile {
    int64_t row0, rows; /* of the batch */
    int32_t n_seq;      /* sequences with rows here */
    size_t seq, start, seg,
        seg_start;        /* where its lists begin: past[seq..], start[start..], seg[seg..], seg_start[seg_start..] */
    int64_t kv_row;       /* first cache row when its rows are there in order, else -1 */
    size_t keep, n_keep;  /* keys that stay as activations are: keep_from[keep ..], keep_to */
    int64_t want0, wants; /* its wanted rows: want[want0 .. want0 + wants) */
    int32_t n_runs;       /* runs of consecutive wanted rows, each a sequence for the attention of the last block */
    size_t run, run_start, run_seg, run_seg_start;
} bl_tile;

typedef struct bl_pass_plan {
    bl_tile *chunk;
    size_t n_chunks, cap_chunk;
    int32_t *past;
    size_t n_past, cap_past;
    int32_t *start;
    size_t n_start, cap_start;
    bl_kv_seg *seg;
    size_t n_seg, cap_seg;
    int32_t *seg_start;
    size_t n_seg_start, cap_seg_start;
    int32_t *pos;
    size_t cap_pos; /* [rows] position of every row in its sequence */
    int64_t *kv_row;
    size_t cap_kv_row; /* [rows] cache row of every row */
    int64_t *from;
    size_t cap_from; /* [wanted] row inside its chunk */
    int32_t *want_pos;
    size_t cap_want_pos; /* [wanted] */
    /* Of a cache of codes: */
    int64_t *tail;
    size_t cap_tail; /* [rows] row of the last keys, of every row */
    bl_kv_own *own;
    size_t n_own, cap_own; /* beside past */
    int64_t *keep_from, *keep_to;
    size_t n_keep, cap_keep_from, cap_keep_to; /* rows inside a chunk, rows of the last keys */
    /* The same lists and the ids on the backend, uploaded together. */
    bl_buffer *lists;
    unsigned char *staging;
    size_t cap_staging, staged; /* bytes of it that the lists hold */
    bl_tensor t_ids, t_past, t_start, t_seg, t_seg_start, t_pos, t_kv_row, t_from, t_want_pos, t_tail, t_own,
        t_keep_from, t_keep_to;
} bl_pass_plan;

typedef struct bl_replay bl_replay;
typedef struct bl_model_own {
    int *users;      /* [n_layers] acquires not yet released */
    float *inv_freq; /* [head_dim / 2] */
    bl_buffer *rope;
    int64_t rope_len; /* f32 cos [rope_len, head_dim / 2], then sin */
    int64_t
        rope_fixed;  /* the first rows are those of positions 0, 1, …; others belong to sequences of the last batch */
    int64_t max_len; /* positions allowed */
    int64_t chunk_rows;
    bl_buffer *residual, *work; /* kept between passes */
    bl_pass_plan plan;
    bl_replay *replay;       /* recorded decoding steps; NULL: none yet */
    bl_device_stream *aside; /* that blocks are loaded on beside the computation; NULL: none yet */
    bl_event *loaded;
    int64_t ahead; /* the block that is loaded so; -1: none */
    bool ends_too; /* streaming, embedding and head come and go as well: the memory limit leaves no room for them */
} bl_model_own;

typedef struct bl_kv_page bl_kv_page;
typedef struct bl_kv_part {
    int32_t parent;
    int64_t parent_len, row0, cap, len; /* len: own positions; row0: of a cache without pages */
    int32_t *page;
    int32_t n_pages, n_known; /* pages that can be found by their tokens are the first n_known; -1: no more will */
    bool open;
} bl_kv_part;
struct bl_kv {
    bl_model *model;
    bl_buffer *buf; /* layer after layer */
    bl_kv_format format;
    uint64_t layer_bytes;
    int64_t rows, used;
    int32_t n_layers; /* 1: shared by all blocks */
    bl_kv_part *slot;
    int32_t n_slots, slots;
    bl_kv_page *page; /* NULL: a cache without pages */
    int64_t page_len;
    int32_t n_pages, n_free, n_empty; /* free: no slot has it; empty: and it is not known */
    int32_t *bucket;                  /* [n_pages] first page of each */
    uint64_t clock;
};
/* Cache row of a position that slot `slot` has itself. */
static inline int64_t bl_kv_row(const bl_kv *kv, int32_t slot, int64_t pos)
{
    const bl_kv_part *s = &kv->slot[slot];
    if (kv->page) return s->page[pos / kv->page_len] * kv->page_len + pos % kv->page_len;
    return s->row0 + pos - s->parent_len;
}
void bl_kv_reset_pages(bl_kv *kv);
bl_status bl_kv_of(bl_model *m, int64_t rows, int32_t slots, bool one_layer, bl_kv_format f, bl_kv **out, bl_err *e);

/* A batch on its way through the blocks. */
typedef struct bl_pass {
    bl_model *m;
    const bl_batch *b;
    bl_kv *kv;
    const bl_pass_plan *p;
    bl_tensor x; /* residual stream [rows, dim] */
    bl_tensor cos, sin;
    bool narrow; /* goes on with the wanted rows alone, in `hidden` [n_want, dim] */
    bl_tensor hidden;
    const bl_block_hooks *hooks; /* NULL: none */
    const bl_tape *tape;         /* NULL: none; never with `narrow` */
    float *trace;                /* NULL, or host [n_layers + 1, dim]: what row trace_row is before each block */
    int64_t trace_row;
    bool by_list;   /* keys and values go to the cache rows of the lists, so that the pass can be recorded */
    bl_backend *be; /* these of the block at hand */
    bl_kv_view cache;
    int64_t block;
    int64_t q_dim, kv_dim;
} bl_pass;
/* Plans the batch and makes tables and scratch memory for it. */
bl_status bl_pass_prepare(bl_pass *p, bl_err *e);
/* The batch, whose residual stream is p->x, through one acquired block. */
bl_status bl_pass_block(bl_pass *p, int64_t block, bl_err *e);

/* bl_forward of a step whose tokens the backend has, i32 [n_seq]; b->ids may be any. */
bl_status bl_forward_picked(bl_model *m, const bl_batch *b, bl_kv *kv, bl_tensor ids, bl_tensor hidden, bl_err *e);

/* Begins to load a block beside what is computed, where streaming and the backend has streams; it waits in acquire. */
void bl_block_ahead(bl_model *m, int64_t block);
void bl_block_forget_ahead(bl_model *m); /* after an error */
/* Embedding or head, there for the ops that follow; with ends_too the other one goes, and after release this one. */
bl_status bl_end_acquire(bl_model *m, bl_linear *end, bl_err *e);
void bl_end_release(bl_model *m, bl_linear *end);

/* ---- steps of decoding, recorded (replay.c) ---- */
typedef bl_status bl_pass_fn(bl_pass *p, bl_err *e);
/* Runs `all` on the pass, or what was recorded of it when it came before with the same places in memory. */
bl_status bl_replay_pass(bl_pass *p, bl_pass_fn *all, bl_err *e);
void bl_replay_free(bl_backend *be, bl_replay *r);

/* inv_freq [head_dim / 2]; `length`, of the sequence, matters to dynamic scaling alone. */
void bl_rope_frequencies(const bl_config *c, int64_t length, float *inv_freq);
/* Tables for positions 0 .. n-1 are there afterwards. */
bl_status bl_rope_prepare(bl_model *m, int64_t n, bl_err *e);
/* Sequences of the batch whose turn depends on their length get table rows of their own: pos and want_pos become these.
 */
bl_status bl_rope_sequences(bl_model *m, const bl_batch *b, bl_pass_plan *p, bl_err *e);
void bl_pass_plan_free(bl_backend *be, bl_pass_plan *p);
/* Chunks of at most `most` rows, positions, cache rows and segments of a batch, and its lists on the backend; checks it
 * against the cache. */
bl_status bl_pass_plan_batch(bl_model *m, const bl_batch *b, bl_kv *kv, int64_t most, bl_pass_plan *p, bl_err *e);
bl_kv_view bl_kv_layer(const bl_kv *kv, int64_t layer);
/* What belongs to a linear or a norm, from the checkpoint onto the backend; and back to what is known without it. */
const bl_stored *bl_linear_stored_bias(const bl_checkpoint *c, const bl_linear *l); /* NULL: none */
bl_status bl_linear_outline_extras(bl_linear *l, const bl_stored *s, bl_err *e);    /* transforms and adapters */
bl_status bl_linear_load(bl_checkpoint *c, bl_backend *be, bl_linear *l, bl_err *e);
void bl_linear_drop(bl_linear *l);
bl_status bl_norm_load(bl_checkpoint *c, bl_backend *be, bl_norm *n, bl_err *e);
void bl_norm_drop(bl_norm *n);
#endif
