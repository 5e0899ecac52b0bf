/* narrow.h - adapters and their gradients as bf16 between the blocks of a pass.
 *
 * Where a training is told so, what is kept of adapters, of their gradients, or of both is bf16. Around the block at
 * hand they are f32, in one room that all blocks share, so that products, norms and steps are what they are without
 * this: read before the way through a block and before its step, rounded to nearest, even on a tie, after each. A
 * gradient is rounded once a pass, a value once a step; AdamW computes in f32 with moments of f32 or 8 bits. So a step
 * of less than half a unit in the last place of a value is lost: 2^-9 of it.
 */
#ifndef BL_HARNESS_TRAIN_NARROW_H
#define BL_HARNESS_TRAIN_NARROW_H
#include "effective.h"

/* After everything that is trained, and what it begins as, is there. BL_E_CONFIG where other than new adapters, learned
 * as they are, is trained. */
bl_status bl_train_narrow(bl_trainable *t, bool values, bool gradients, bl_err *e);
/* Its adapters, and `back` their gradients, are in the room; and after the way back: what is kept has them. */
bl_status bl_narrow_enter(bl_trainable *t, int64_t block, bool back, bl_err *e);
bl_status bl_narrow_leave(bl_trainable *t, int64_t block, bl_err *e);
/* After a step of a block's parameters: values are kept, gradients 0. */
bl_status bl_narrow_stepped(bl_trainable *t, int64_t block, bl_err *e);
/* What is kept was changed from outside. */
void bl_narrow_changed(bl_trainable *t);
/* Parameters first .. end of a block; of all of them where nothing is narrow, and `blocks` is 1. */
int64_t bl_narrow_blocks(const bl_trainable *t);
void bl_narrow_params(const bl_trainable *t, int64_t block, size_t *first, size_t *end);
/* Bytes of what is kept and of the rooms. */
uint64_t bl_narrow_bytes(const bl_trainable *t, bool gradients);
/* The end, moments go: adapters of f32 again, the model's own, with the same values. */
bl_status bl_narrow_end(bl_trainable *t, bl_err *e);
void bl_narrow_free(bl_trainable *t);
#endif
