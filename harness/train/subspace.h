/* subspace.h - where the steps of a matrix are (bl_low of effective.h): the subspace of its gradient, found anew every
 * so many steps, and how it is kept. */
#ifndef BL_HARNESS_TRAIN_SUBSPACE_H
#define BL_HARNESS_TRAIN_SUBSPACE_H
#include "effective.h"

/* Right singular vectors: R is [rows, rank], else [rank, cols]. */
bool bl_low_is_right(const bl_trained *p);
uint64_t bl_low_bytes(const bl_trained *p); /* of what stays on the backend; 0: steps are in no subspace */
bl_status bl_low_new(bl_backend *be, bl_trained *p, bl_err *e); /* no directions yet */
void bl_low_free(const bl_ops *o, bl_low *l);
/* Where step `step`, 0 the first, needs another one: that of p->grad. Vectors of singular values that are 0 are 0. */
bl_status bl_low_find(bl_trainable *t, const bl_trained *p, int64_t step, bl_err *e);
/* P as f32, in room of t where it is kept in bits. */
bl_status bl_low_matrix(bl_trainable *t, const bl_trained *p, bl_tensor *out, bl_err *e);
/* Part k of what a state has of it, as bl_adamw_moment. */
bool bl_low_part(const bl_trained *p, int k, bl_tensor *tensor, void **at, uint64_t *bytes);
#endif
