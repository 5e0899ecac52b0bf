/* gradients.h - the loss of a model on a batch of text, and its gradients.
 *
 * The loss is the cross-entropy of the next token, summed over the tokens that count. Between the forward and the
 * backward pass only what goes into each block is kept (activation checkpointing, Chen et al. 2016, arXiv 1604.06174);
 * a block is computed again when its gradient is; with `keep` of bl_trainable the activations of all are kept: a
 * quarter less work for several times the memory, and the same numbers. Logits exist in chunks (bl_loss_rows).
 */
#ifndef BL_HARNESS_TRAIN_GRADIENTS_H
#define BL_HARNESS_TRAIN_GRADIENTS_H
#include "effective.h"
#include "harness/model/backward.h"

typedef struct bl_train_batch { /* sequences one after another; none sees another */
    const int32_t *ids;         /* [start[n_seq]] */
    int32_t n_seq;
    const int32_t *start; /* [n_seq+1] */
    const uint8_t *mask;  /* [start[n_seq]] token i counts where mask[i] is 1; NULL: all. The first of a sequence has
                             nothing before it and never counts */
} bl_train_batch;
int64_t bl_train_batch_tokens(const bl_train_batch *b); /* that count */

/* What a block's passes ask of the weights that are trained, for whoever goes through blocks by themselves. */
bl_block_hooks bl_trainable_hooks(bl_trainable *t);
bl_block_grads bl_trainable_grads(bl_trainable *t);

/* Rows whose logits are there at once, of a pass of `rows` tokens of which n count. */
int64_t bl_loss_rows(const bl_model *m, int64_t rows, int64_t n);

/* The gradients of scale * (sum of nll) are added to those of t's parameters: with scale 1 / (tokens of a step) and one
 * call for each of its micro-batches they are those of the mean. *nll: the sum, in nats, not scaled. With a teacher it
 * is the loss of bl_train_taught that has these gradients, and *nll that loss / scale. BL_E_UNSUPPORTED when the
 * backend lacks an op. */
bl_status bl_gradients(bl_trainable *t, const bl_train_batch *b, double scale, double *nll, bl_err *e);
/* The loss alone, without dropout: the sum of nll, in nats. What training does later does not depend on it. */
bl_status bl_loss(bl_trainable *t, const bl_train_batch *b, double *nll, bl_err *e);
#endif
