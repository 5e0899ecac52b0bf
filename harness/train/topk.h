/* topk.h - a distribution of which the k most likely tokens are kept and, of all others, how likely they are together.
 *
 * KL over the k and the rest as one, sum P_i ln(P_i / Q_i) + P_rest ln(P_rest / Q_rest), is KL(P', Q) where P' shares
 * P_rest out as Q does, and Q - P' is its gradient to the logits of Q: so logits of P' are Q's own but for the k, which
 * are ln(P_i / P_rest) + ln(sum of e^q over the rest). With all tokens kept it is KL(P, Q).
 */
#ifndef BL_HARNESS_TRAIN_TOPK_H
#define BL_HARNESS_TRAIN_TOPK_H
#include "kernels/ops.h"

typedef struct bl_topk {
    int64_t k;
    int32_t *id;    /* [rows, k], ascending in each row */
    float *value;   /* [rows, k] ln(P_i / P_rest); all tokens kept: a logit; NaN where a logit was not finite */
    int32_t *other; /* [rows] a token that is not kept; all are: -1 */
} bl_topk;          /* on the host */

/* Row `row` of t from logits x [vocab], ids that come first among equal ones; 1 <= k <= vocab. */
void bl_topk_take(const bl_topk *t, int64_t row, const float *x, int64_t vocab);
/* Logits of P' for rows row[0 .. n) of t beside those of Q, q f32 [n, columns]: out f32, as q. `room` has
 * bl_topk_room(n, t->k) bytes. */
uint64_t bl_topk_room(int64_t n, int64_t k);
bl_status bl_topk_logits(bl_backend *be, const bl_topk *t, const int64_t *row, bl_tensor q, int64_t vocab,
                         bl_buffer *room, bl_tensor out, bl_err *e);
#endif
