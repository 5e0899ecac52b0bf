/* stage.h - a method that learns, applied to a model: what it trains, the run, and what is left beside the result.
 *
 * Beside the directory DIR that the model will be in: DIR.state, from which a run that was stopped goes on, and
 * DIR.curve.hdf5, which one that failed leaves too.
 */
#ifndef BL_HARNESS_TRAIN_STAGE_H
#define BL_HARNESS_TRAIN_STAGE_H
#include "harness/method.h"
#include "harness/model/variant.h"
#include "settings.h"
#include "trainer.h"

typedef enum bl_train_state {
    BL_STATE_REFUSED, /* there must be no state */
    BL_STATE_TAKEN,   /* go on from it, where it is there */
    BL_STATE_TRIED    /* the same, and begin anew when it is of another run or broken */
} bl_train_state;
typedef struct bl_train_how {
    const bl_train_settings *set; /* checked */
    bl_train_state state;
    const char *lines; /* JSON lines {"step", "loss", "lr", "grad_norm"} of the curve, "valid" where it was computed;
                          NULL: none */
    void (*planned)(void *ctx, const bl_train_memory *m);         /* before the first step; NULL: nobody */
    bl_status (*told)(void *ctx, const bl_trainer *r, bl_err *e); /* after each step; NULL: nobody */
    void *ctx;
} bl_train_how;
typedef struct bl_train_done {
    uint64_t trained; /* numbers */
    int64_t steps;
    double loss, valid, seconds; /* of the last step, the validation text's after it (NaN: none); of this process */
    uint64_t planned_bytes, peak_bytes; /* of buffers on the backend */
} bl_train_done;

/* The whole model is in memory, its weights in the layout of their formats. Afterwards it is what was learned, for
 * bl_variant_block; what belongs beside it (peft's files of adapters, what it was trained on) is in `v`. `identity`: of
 * everything that could change the run. `text`: the method's. */
bl_status bl_train_stage(const bl_method_run *run, const char *text, const char *dir, bl_hash identity,
                         const bl_train_how *how, bl_variant *v, bl_train_done *out, bl_err *e);
/* Once DIR is there its state is of no use: removes it. */
bl_status bl_train_forget(const char *dir, bl_err *e);
#endif
