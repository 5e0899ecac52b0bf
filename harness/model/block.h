/* block.h - one transformer block over rows of sequences, open to be looked into.
 *
 *     x += o_proj(attention(rope(q_proj(h)), rope(k_proj(h)), v_proj(h)))        h = norm(x)
 *     x += down_proj(silu(gate_proj(h)) * up_proj(h))                            h = norm(x)
 *
 * Scoring, calibration, distillation and training go through the same code: bl_forward sends a batch through all
 * blocks, bl_block_forward through one. Hooks see the input of any linear; a tape keeps what a backward pass needs.
 *
 *     BL_TRY(bl_block_acquire(m, block, e));
 *     BL_TRY(bl_block_forward(m, block, &batch, kv, x, &(bl_block_hooks){ .input = count, .ctx = &c }, NULL, e));
 *     bl_block_release(m, block);
 */
#ifndef BL_HARNESS_MODEL_BLOCK_H
#define BL_HARNESS_MODEL_BLOCK_H
#include "model.h"

/* Linears that read one norm. */
#define BL_ROLES_AFTER_ATTN_NORM (BL_ROLE_BIT(BL_ROLE_Q) | BL_ROLE_BIT(BL_ROLE_K) | BL_ROLE_BIT(BL_ROLE_V))
#define BL_ROLES_AFTER_MLP_NORM  (BL_ROLE_BIT(BL_ROLE_GATE) | BL_ROLE_BIT(BL_ROLE_UP))
/* Of linears of a block, those that read the input which a forward pass reaches first; of others, all. */
uint32_t bl_roles_of_one_input(uint32_t roles);

/* x [rows, in], rows row0 .. row0 + rows of the batch, is what the linears in `roles` (BL_ROLE_BITs: q, k and v; o;
 * gate and up; down) are about to read. It is lent during the call. */
typedef bl_status bl_block_input(void *ctx, const bl_model *m, int64_t block, uint32_t roles, int64_t row0, bl_tensor x,
                                 bl_err *e);
/* y [rows, out] = linear(x), or y += that, instead of the model's own product of the role; x is rows row0 .. row0 +
 * rows of the batch. */
typedef bl_status bl_block_product(void *ctx, bl_model *m, int64_t block, bl_role role, int64_t row0, bl_tensor x,
                                   bl_tensor y, bool accumulate, bl_err *e);
typedef struct bl_block_hooks {
    bl_block_input *input;
    bl_block_product *product; /* NULL: bl_linear_apply */
    void *ctx;
    uint32_t until; /* BL_ROLE_BITs: nothing is computed after the inputs of these were seen; 0: the whole block */
} bl_block_hooks;

/* What a backward pass reads: act tensors for all rows of the batch. */
typedef struct bl_tape {
    bl_tensor x;        /* [rows, dim] the block's input; it and mid: no tensor where nothing goes back */
    bl_tensor attn_in;  /* [rows, dim] normed */
    bl_tensor q, k, v;  /* [rows, q or kv width] after bias, norms, rotary embedding, rotation */
    bl_tensor attn_out; /* [rows, q width] input of o_proj */
    bl_tensor mid;      /* [rows, dim] residual stream between the halves */
    bl_tensor mlp_in;   /* [rows, dim] normed */
    bl_tensor gate, up; /* [rows, ffn_dim] */
    bl_tensor act;      /* [rows, ffn_dim] silu(gate) * up, input of down_proj */
    bl_tensor sums;     /* f32 [heads, rows] what attention keeps for its gradient; no tensor on a CPU */
    bl_buffer *owned;
} bl_tape;
uint64_t bl_tape_bytes(const bl_model *m, int64_t rows);
bl_status bl_tape_new(const bl_model *m, int64_t rows, bl_tape *out, bl_err *e);
/* A tape, or none yet, for so many rows: in the room that it has where that is enough. What it held is gone. */
bl_status bl_tape_fit(const bl_model *m, int64_t rows, bl_tape *t, bl_err *e);
void bl_tape_free(const bl_model *m, bl_tape *t);

/* x, act [rows, dim], is replaced by the block's output; when hooks->until ended it early, by what the halves before
 * that gave. The batch's ids
 * and wanted rows are not read; kv is one made for one layer, or for all. The block must be acquired. */
bl_status bl_block_forward(bl_model *m, int64_t block, const bl_batch *b, bl_kv *kv, bl_tensor x,
                           const bl_block_hooks *hooks, bl_tape *tape, bl_err *e);
#endif
