/* estimate.h - how many tokens a task has, how long a cell takes and how much memory, before anything is run. */
#ifndef BL_HARNESS_STUDY_ESTIMATE_H
#define BL_HARNESS_STUDY_ESTIMATE_H
#include "plan.h"

/* Bytes of text of an average token, from the size of the vocabulary alone. */
double bl_estimate_bytes_per_token(int64_t vocab);
enum { BL_ESTIMATE_ITEMS = 32 };
/* Looks at up to so many items, evenly spread, and at all their steps, after replies that are made up (half as long as
 * allowed): bytes that go through the model, bytes that are scored, tokens generated, each for the average item. What
 * prompts begin with alike is counted as often as it is computed. */
typedef struct bl_task_shape {
    int64_t items, max_windows;
    double bytes, scored_bytes, new_tokens, sequence_bytes;
    double in_turn; /* new tokens that follow each other: of the longest reply of each step */
    bool stream;
    /* Texts that are found by their vectors: how many vectors the average item's are compared with, of what they are
     * made, and in how many passes of its own; those of texts that are kept are made once a cell, `kept`. Bytes that
     * the model makes vectors of are in `bytes`, but for the kept ones. */
    double compared, encoded_bytes, own_passes;
    double kept_bytes, kept_encoded_bytes;
    double encoder_work; /* of a token; 0: no encoder */
} bl_task_shape;
bl_status bl_estimate_task(const bl_task *t, bl_task_data *d, int64_t limit, bl_task_shape *out, bl_err *e);
/* How fast a device is. */
typedef struct bl_speed {
    double flops;         /* of its products, a second */
    double block_seconds; /* a block of a pass with few rows takes at least so long */
} bl_speed;
/* That of a device (NULL: the best): of a CPU one thread is measured for a few milliseconds, times their number; other
 * devices are not touched, theirs is a guess. */
bl_status bl_estimate_speed(const char *device, int64_t threads, bool reference, bl_speed *out, bl_err *e);
/* Fills seconds and peak_bytes of a variant, whose first `there` stages are made already. */
void bl_estimate_variant(const bl_spec *s, bl_plan_variant *v, int there, double flops);
/* Fills items, tokens, new_tokens and seconds of a cell; kl: the divergence from the base is computed too. */
void bl_estimate_cell(const bl_config *c, const bl_task_shape *s, const bl_speed *v, bool kl, int64_t limit,
                      bl_plan_cell *out);
/* Peak of anonymous memory and mapped pages of the process while it scores this cell (tokens and scored tokens are
 * already estimated). */
int64_t bl_estimate_peak(const bl_config *c, const bl_spec *s, const bl_plan_variant *v, const bl_plan_cell *cell,
                         const bl_task_shape *shape, bool kl);
#endif
