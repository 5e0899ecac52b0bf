/* backward.h - the gradient of one transformer block, from the tape of its forward pass.
 *
 *     BL_TRY(bl_block_forward(m, block, &batch, kv, x, NULL, &tape, e));
 *     BL_TRY(bl_block_backward(m, block, &batch, kv, &tape, dx, true, &grads, e));
 *
 * Before it dx is the gradient of the loss to x as the block left it, after it that to x as the block found it.
 * What the weights do with their gradients is not known here: whoever trains is asked for the gradient of every product
 * and for where those of norms go.
 */
#ifndef BL_HARNESS_MODEL_BACKWARD_H
#define BL_HARNESS_MODEL_BACKWARD_H
#include "block.h"

typedef struct bl_block_grads {
    /* Of y_i = linear_i(x), those of n roles that read the same x, rows of the whole batch: dx = the sum of dy_i W_i,
     * or dx += that; no tensor: not wanted. y: those that the tape has as they were, no tensor for others; NULL: none.
     */
    bl_status (*linears)(void *ctx, bl_model *m, int64_t block, const bl_role *role, int n, bl_tensor x,
                         const bl_tensor *y, const bl_tensor *dy, bl_tensor dx, bool accumulate, bl_err *e);
    bl_tensor (*norm)(void *ctx, bl_model *m, int64_t block,
                      bl_role role); /* f32 [n], what its gradient is added to; no tensor: it is not wanted */
    bl_block_product *product;       /* as in the forward pass */
    void *ctx;
    bl_buffer **work; /* what it makes beside what it is given is kept here for the next one; NULL: it is not */
} bl_block_grads;

/* dx, act [rows, dim], from the gradient of the block's output to that of its input; without `below` what it holds then
 * is of no use, and the gradient of the first products to their input is not computed. Batch and cache are those of the
 * forward pass; sequences begin at position 0 (past 0). BL_E_UNSUPPORTED when the backend lacks an op. The block must
 * be acquired. */
bl_status bl_block_backward(bl_model *m, int64_t block, const bl_batch *b, bl_kv *kv, const bl_tape *t, bl_tensor dx,
                            bool below, const bl_block_grads *g, bl_err *e);
/* Most bytes of buffers that it makes beside what it is given. */
uint64_t bl_block_backward_bytes(const bl_model *m, int64_t rows);
/* dx = dy W of a linear as it is, its adapters included, or dx += that. BL_E_UNSUPPORTED where its input is
 * quantized. */
bl_status bl_linear_input_grad(bl_backend *be, const bl_linear *l, bl_tensor dy, bl_tensor dx, bool accumulate,
                               bl_err *e);
#endif
