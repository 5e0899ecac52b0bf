/* optimizer.h - AdamW over all parameters that are trained.
 *
 *     bl_adamw o = { .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip = 1 };
 *     double tokens = (double)bl_train_batch_tokens(&batch), rate = 1e-3 * bl_schedule_factor(&schedule, o.step + 1);
 *     BL_TRY(bl_gradients(t, &batch, 1 / tokens, &nll, e));
 *     BL_TRY(bl_adamw_step(&o, t, rate, &norm, e));
 */
#ifndef BL_HARNESS_TRAIN_OPTIMIZER_H
#define BL_HARNESS_TRAIN_OPTIMIZER_H
#include "effective.h"
#include "schedule.h"

typedef struct bl_adamw {
    double beta1, beta2, eps, decay; /* of bl_adamw_args */
    double clip;                     /* gradients are scaled so that their norm is at most this; 0: they are not */
    bool eight_bits;                 /* moments of parameters of 4,096 elements and more take 8 bits (bl_adamw8_args) */
    bool paged;        /* moments beyond `resident` bytes are kept in the host's memory and come to the backend for the
                          step of their parameter, one after another: the same numbers */
    uint64_t resident; /* where paged: most bytes of moments on the backend, beside room for those of one parameter */
    int64_t step;      /* that were made; 0 at first */
} bl_adamw;
/* One step with the gradients that have come together, which are 0 afterwards, at the rate of a parameter times lr;
 * adapters that forms make follow. *norm, may be NULL: of all gradients before they were clipped, by clip / (norm +
 * 1e-6) as torch's clip_grad_norm_. BL_E_NUMERIC, and nothing is changed, when it is not finite. */
bl_status bl_adamw_step(bl_adamw *o, bl_trainable *t, double lr, double *norm, bl_err *e);
/* The step of one parameter, its gradient times `by`; moments are there. */
bl_status bl_adamw_one(const bl_adamw *o, bl_trainable *t, bl_trained p, double lr, double by, bl_err *e);
/* Makes the moments that are not there, of zeros; the first step does. For who reads them from a file. */
bl_status bl_adamw_moments(const bl_adamw *o, bl_trainable *t, bl_err *e);
/* Its moments take 8 bits. */
bool bl_adamw_is_eight(const bl_adamw *o, const bl_trained *p);
uint64_t bl_adamw_bytes(const bl_adamw *o, const bl_trained *p); /* of its moments */
/* Of the moments of all: bytes on the backend, and, may be NULL, in the host's memory. */
uint64_t bl_adamw_resident(const bl_adamw *o, const bl_trainable *t, uint64_t *host);
/* Moment k of a parameter, wherever it is: its bytes; false after the last, and where there are none yet. Not both
 * `at`, a place of the host, and `tensor` are set. */
bool bl_adamw_moment(const bl_adamw *o, const bl_trained *p, int k, bl_tensor *tensor, void **at, uint64_t *bytes);
#endif
