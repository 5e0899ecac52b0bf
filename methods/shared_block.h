/* shared_block.h - a block beside itself as it was, window by window: the difference of what both leave, and its
 * gradient (the loss of methods that learn block by block).
 *
 *     L = mean |B^(x^) - B(x)|^2     B the block of the model as it was on the inputs x it has there, B^ the block as
 * it is on the inputs x^ that the blocks before leave by now
 *
 *     bl_block_learner k = {.run = r, .block = b, .grads = &grads};
 *     BL_TRY(bl_block_learner_begin(&k, e));                  // the method says needs = BL_NEED_ORIGINAL
 *     BL_TRY(bl_block_learner_windows(&k, NULL, n, 0, 1, &sum, e));  // forward, and back through grads
 * out: bl_block_learner_end(&k);
 */
#ifndef BL_METHODS_SHARED_BLOCK_H
#define BL_METHODS_SHARED_BLOCK_H
#include "harness/method.h"
#include "harness/model/backward.h"
#include "kernels/base/rng.h"

enum { BL_BLOCKS_TOGETHER = 8 }; /* at most */
typedef struct bl_block_learner {
    const bl_method_run *run;
    int64_t block, blocks;       /* the first, and how many go together; 0: one */
    const bl_block_hooks *hooks; /* of the forward pass; NULL: linears as they are */
    const bl_block_grads *grads;
    /* its own */
    int64_t tokens;      /* of a window */
    bl_tensor x, target; /* act [tokens, dim] */
    bl_kv *kv;
    bl_tape tape[BL_BLOCKS_TOGETHER];
    bl_buffer *sum; /* of the squares of a window's differences */
} bl_block_learner;

bl_status bl_block_learner_begin(bl_block_learner *k, bl_err *e);
/* The windows order[0 .. n) (NULL: 0 .. n - 1) forward; *sum += the squared differences of their elements. Unless scale
 * is 0, back: the gradient of the block's output is scale times the difference. `more`: how many of `order` come after
 * them by the next call, as far as that is known. */
bl_status bl_block_learner_windows(bl_block_learner *k, const int64_t *order, int64_t n, int64_t more, double scale,
                                   double *sum, bl_err *e);
void bl_block_learner_end(bl_block_learner *k);
/* `layer` of a method whose `block` rounds all linears: what this one lost. */
bl_status bl_block_lost(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e);
/* `work` of a method that trains blocks: forward, back to inputs and to weights, of that many windows. Its
 * `ops` begin with BL_BLOCK_OPS. Where windows are not known, they are as many and as long as by themselves. */
int64_t bl_block_windows(const bl_method_run *r); /* of the calibration text */
double bl_block_work(const bl_method_run *r, const bl_linear *lin, int64_t windows);
#define BL_BLOCK_OPS                                                                                                   \
    BL_OP(weight_grad), BL_OP(attention_grad), BL_OP(rmsnorm_grad), BL_OP(swiglu_grad), BL_OP(each), BL_OP(sq_error),  \
        BL_OP(differ)
/* A draw of `n` of the windows 0 .. windows - 1 without putting back: order[0 .. n), order a permutation of all. */
void bl_block_draw(bl_rng *random, int64_t *order, int64_t windows, int64_t n);
#endif
