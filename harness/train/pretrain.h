/* pretrain.h - a model from nothing: random weights, and the made-up corpus of harness/data/lessons.h as samples of a
 * trainer.
 *
 *     bl_pretrain_texts texts = {.seed = 1, .batch = 128};
 *     BL_TRY(bl_train_full(t, e));
 *     BL_TRY(bl_pretrain_begin(t, texts.seed, e));
 *     bl_trainer r = {.t = t, .make = bl_pretrain_step, .make_ctx = &texts, .batch = 128, .passes = 1, .steps = 1000,
 *                     .lr = 1e-3, .optimizer = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8}};
 *     BL_TRY(bl_trainer_run(&r, e));
 * out: bl_pretrain_texts_free(&texts);
 *
 * Every text is seen once, so the loss of a step is that of texts which were never trained on.
 */
#ifndef BL_HARNESS_TRAIN_PRETRAIN_H
#define BL_HARNESS_TRAIN_PRETRAIN_H
#include "trainer.h"

/* Weights of all linears and of the embedding are normal with deviation 0.02, those that write to the residual stream
 * (o_proj, down_proj) divided by sqrt(2 layers) (Radford et al. 2019, section 2.3); norms are 1, biases 0. After
 * bl_train_full. */
bl_status bl_pretrain_begin(bl_trainable *t, uint64_t seed, bl_err *e);
typedef struct bl_pretrain_texts {
    uint64_t seed;
    int64_t batch; /* texts of a step: step k has those from k batch on */
    bl_samples s;  /* of the last step: each between two end tokens, as bl_lesson_tokenizer's tokens are */
    size_t cap_ids, cap_mask;
} bl_pretrain_texts;
bl_status bl_pretrain_step(void *texts, int64_t step, const bl_samples **data, bl_err *e); /* a trainer's `make` */
void bl_pretrain_texts_free(bl_pretrain_texts *t);
#endif
