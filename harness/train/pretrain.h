/* pretrain.h - a model from nothing: random weights, then steps on the made-up corpus of harness/data/lessons.h.
 *
 *     bl_pretrain p = {.steps = 1000, .tokens = 8192, .lr = 1e-3,
 *                      .optimizer = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .clip = 1},
 *                      .schedule = {.kind = BL_SCHEDULE_COSINE, .warmup = 50, .steps = 1000}};
 *     BL_TRY(bl_train_full(t, e));
 *     BL_TRY(bl_pretrain_begin(t, seed, e));
 *     BL_TRY(bl_pretrain_run(&p, t, tokenizer, e));
 *
 * Every text is seen once, so the loss of a step is that of texts which were never trained on.
 */
#ifndef BL_HARNESS_TRAIN_PRETRAIN_H
#define BL_HARNESS_TRAIN_PRETRAIN_H
#include "optimizer.h"
#include "harness/tokenizer/tokenizer.h"

typedef struct bl_pretrain {
    int64_t steps;
    int64_t tokens; /* of a step, at most: whole texts, a sequence each, one at least */
    double lr;      /* of the schedule's factor 1 */
    bl_adamw optimizer;
    bl_schedule schedule;
    uint64_t seed; /* of the texts */
    /* After each step: its mean nll in nats a token, its rate, the norm of the gradient before it was clipped. NULL:
     * nobody. */
    bl_status (*told)(void *ctx, int64_t step, double loss, double lr, double norm, bl_err *e);
    void *ctx;
    uint64_t document; /* text that comes next; 0 at first */
} bl_pretrain;

/* Weights of all linears and of the embedding are normal with deviation 0.02, those that write to the residual stream
 * (o_proj, down_proj) divided by sqrt(2 layers) (Radford et al. 2019, section 2.3); norms are 1, biases 0. After
 * bl_train_full. */
bl_status bl_pretrain_begin(bl_trainable *t, uint64_t seed, bl_err *e);
/* BL_E_NUMERIC "step 7: ..." when loss or gradient are not finite; BL_E_INTERRUPTED between steps. */
bl_status bl_pretrain_run(bl_pretrain *p, bl_trainable *t, const bl_tokenizer *tokenizer, bl_err *e);
#endif
