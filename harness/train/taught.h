/* taught.h - a model that another one is trained to follow: its hidden states and logits of the same tokens. */
#ifndef BL_HARNESS_TRAIN_TAUGHT_H
#define BL_HARNESS_TRAIN_TAUGHT_H
#include "effective.h"

void bl_teacher_free(bl_teacher *k); /* NULL is fine */
/* Final states of the wanted rows of a batch whose sequences begin at position 0, act [n_want, dim]; the batch's slots
 * are not looked at. */
bl_status bl_teacher_states(bl_teacher *k, const bl_batch *b, bl_tensor hidden, bl_err *e);
/* What it made of each sequence is kept for the next time that is asked for, where all `tokens` that count of a text
 * take no more than BL_TEACHER_MOST: from the second epoch on a step takes a product with the head of it and no pass.
 * On the CPU the same bits. `keeps`: bytes of that. */
enum { BL_TEACHER_MOST = 512 << 20 };
void bl_teacher_keep(bl_teacher *k, int64_t tokens);
uint64_t bl_teacher_keeps(const bl_teacher *k);
/* In the place of states, `top` logits of a token are kept, made once for each sequence and kept on the host, where
 * they take 8 top + 4 bytes: another loss, in which all other tokens are one (topk.h). BL_E_CONFIG unless there are so
 * many.
 */
bl_status bl_train_topk(bl_trainable *t, int64_t top, bl_err *e);
int64_t bl_teacher_top(const bl_teacher *k); /* 0: all count */
/* What is kept of a batch as bl_teacher_states', made where it is not there: hidden as there, f32 logits [rows, >=
 * vocab] and `hidden` are room for that. */
bl_status bl_teacher_tops(bl_teacher *k, const bl_batch *b, bl_tensor hidden, bl_tensor logits, bl_err *e);
/* Logits row0 .. row0 + rows of the batch that bl_teacher_tops had, beside those of the model that learns. */
bl_status bl_teacher_beside(bl_teacher *k, int64_t row0, bl_tensor learner, bl_tensor logits, bl_err *e);
/* f32 [rows, vocab] of states row0 .. row0 + rows. */
bl_status bl_teacher_logits(bl_teacher *k, bl_tensor hidden, int64_t row0, int64_t rows, bl_tensor logits, bl_err *e);
#endif
