/* schedule.h - the learning rate of a step, as a factor of its base: the schedules of transformers
 * (src/transformers/optimization.py), by their names there, and a plain ramp. */
#ifndef BL_HARNESS_TRAIN_SCHEDULE_H
#define BL_HARNESS_TRAIN_SCHEDULE_H
#include "kernels/base/bl.h"

typedef enum bl_schedule_kind {
    BL_SCHEDULE_CONSTANT,       /* 1; no warm-up, as there */
    BL_SCHEDULE_CONSTANT_WARM,  /* 1 */
    BL_SCHEDULE_LINEAR,         /* 1 - f, f the share of the steps after warm-up that are done */
    BL_SCHEDULE_COSINE,         /* (1 + cos(2 pi cycles f)) / 2, one half cycle */
    BL_SCHEDULE_COSINE_MIN,     /* the same, down to `least` of 1 */
    BL_SCHEDULE_COSINE_RESTART, /* (1 + cos(pi (cycles f mod 1))) / 2 */
    BL_SCHEDULE_INVERSE_SQRT,   /* sqrt(w / (step - 1 - warm-up + w)), w the warm-up, or 10,000 without one */
    BL_SCHEDULE_RAMP            /* min(1, step / warm-up): the first step is made too; not of transformers */
} bl_schedule_kind;
extern const char *const bl_schedule_names[]; /* "constant", "constant_with_warmup", …; NULL after the last */
typedef struct bl_schedule {
    bl_schedule_kind kind;
    int64_t warmup, steps; /* warm-up: step s of the first `warmup` has (s - 1) / warmup */
    int64_t cycles;        /* COSINE_RESTART */
    double least;          /* COSINE_MIN */
} bl_schedule;
double bl_schedule_factor(const bl_schedule *s, int64_t step); /* of step 1, 2, … */
#endif
