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
/* f32 [rows, vocab] of states row0 .. row0 + rows. */
bl_status bl_teacher_logits(bl_teacher *k, bl_tensor hidden, int64_t row0, int64_t rows, bl_tensor logits, bl_err *e);
#endif
