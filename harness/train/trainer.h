/* trainer.h - a run of training: batches, steps, the curve, and a state file from which it goes on bit for bit.
 *
 *     bl_trainer r = {.t = t, .data = &samples, .batch = 4, .passes = 1, .steps = 100, .lr = 1e-3,
 *                     .optimizer = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip = 1},
 *                     .schedule = {.kind = BL_SCHEDULE_COSINE, .warmup = 10, .steps = 100}};
 *     BL_TRY(bl_trainer_run(&r, e));
 *     // r.curve[0 .. r.step)
 * out: bl_trainer_end(&r);
 *
 * Step k takes the rows k batch .. (k + 1) batch - 1 of the samples, in the order of the file or, where they are
 * shuffled, in an order of seed and epoch, and begins again after the last. Its loss is the mean nll of all its tokens
 * that count, whatever number of passes it is computed in.
 */
#ifndef BL_HARNESS_TRAIN_TRAINER_H
#define BL_HARNESS_TRAIN_TRAINER_H
#include "gradients.h"
#include "optimizer.h"
#include "samples.h"

typedef struct bl_train_point {
    double loss, lr, grad_norm; /* nats a token; of the step; of all gradients before they were clipped */
    double valid;               /* nats a token of the validation text after the step; NaN: not computed */
} bl_train_point;

/* Rows of a file one epoch after another. */
typedef struct bl_row_order {
    int64_t n;
    uint64_t seed;
    int64_t epoch; /* that `of` is the order of; -1: of none yet */
    int64_t *of;   /* [n], owned by who made it; NULL: as in the file */
} bl_row_order;
int64_t bl_row_at(bl_row_order *o, int64_t at); /* row `at` of all epochs, from 0 */

typedef struct bl_trainer {
    bl_trainable *t;
    const bl_samples *data;
    /* Before each step: *data of `batch` rows for it, where samples are made as they are needed; NULL: data has all. */
    bl_status (*make)(void *ctx, int64_t step, const bl_samples **data, bl_err *e);
    void *make_ctx;
    const bl_samples *valid; /* NULL: none */
    int64_t valid_every;     /* steps between two losses of it; the last step has one; 0: that alone */
    uint64_t seed;           /* of the order */
    int64_t batch, passes;   /* rows of a step; passes that they are spread over, a divisor of batch */
    int64_t steps;           /* of the whole run, those of an earlier part of it included */
    double lr;               /* of the schedule's factor 1 */
    bl_adamw optimizer;
    bl_schedule schedule;
    const char *state;  /* the state file; NULL: none */
    int64_t save_every; /* steps between two writings of it; 0: only when the run is interrupted */
    bl_hash identity;   /* of everything that could change the run; a state of another one is refused */
    bl_status (*told)(void *ctx, const struct bl_trainer *r, bl_err *e); /* after each step; NULL: nobody */
    void *ctx;
    /* the run's own: zero at first */
    int64_t step;          /* that were made */
    bl_train_point *curve; /* [step] */
    size_t cap_curve;
    bl_row_order order;
    int64_t tokens; /* that went through since bl_trainer_run began */
    double t0;
    uint64_t planned; /* bytes of the plan, by bl_trainer_page; 0: there is none */
} bl_trainer;

/* The steps that are left. BL_E_NUMERIC "step 7: ..." when a loss or a gradient is not finite: the curve up to there is
 * kept. BL_E_INTERRUPTED between steps, after the state was written. */
bl_status bl_trainer_run(bl_trainer *r, bl_err *e);
/* Parameters, moments, numbers of step and pass, the curve; by rename, with a hash. */
bl_status bl_trainer_save(const bl_trainer *r, bl_err *e);
/* What bl_trainer_save wrote, into parameters of the same names and shapes. BL_E_CORRUPT when the file does not check,
 * BL_E_CONFIG when it is of another run. */
bl_status bl_trainer_load(bl_trainer *r, bl_err *e);
/* Bytes of buffers on the backend while it runs, before the first step: adapters are all parameters that are beside the
 * weights, activations the most of a pass. */
typedef struct bl_train_memory {
    uint64_t weights, adapters, gradients, optimizer, activations;
    uint64_t scratch; /* of the backend's own, beyond what is there */
    uint64_t paged;   /* of the optimizer, in the host's memory: not in the sum */
    uint64_t before;  /* the most that there was by then, not in the sum */
} bl_train_memory;
bl_status bl_trainer_memory(const bl_trainer *r, bl_train_memory *out, bl_err *e);
/* What is kept or not so that the plan fits the limit of the backend's memory: what a teacher made of a text that comes
 * again (taught.h) is kept where it does, moments are paged out to the host, as many as it takes; before the first step
 * and before a state is loaded. On a device without a limit: its memory. */
bl_status bl_trainer_page(bl_trainer *r, bl_err *e);
/* Refuses a step, the first is 0, of no tokens that count: a plan does so for all that it looks at. */
bl_status bl_trainer_counts(const bl_trainer *r, int64_t step, int64_t n, bl_err *e);
uint64_t bl_train_memory_sum(const bl_train_memory *m);
uint64_t bl_train_memory_most(const bl_train_memory *m); /* of the whole run: that, or what there was before */
/* "memory: weights 88 MB, adapters 4.9 MB, gradients 4.9 MB, optimizer 9.8 MB, activations 41 MB; 149 MB in all" */
void bl_train_memory_line(const bl_train_memory *m, char out[320]);
void bl_trainer_end(bl_trainer *r); /* frees the curve and the order */
/* "step 12 of 100  loss 2.104  lr 0.001  1830 tokens/s, 41 s left", "loss 2.104, 2.31 on valid" */
void bl_trainer_line(const bl_trainer *r, char out[160]);
#endif
