/* apply.h - applies a chain of methods to a checkpoint, block by block, and writes the result as a directory.
 *
 * Every stage reads the state that the one before left and writes its own: `quarot+gptq:w4` is a rotated model in a
 * directory, and that model quantized in another.
 */
#ifndef BL_HARNESS_QUANT_APPLY_H
#define BL_HARNESS_QUANT_APPLY_H
#include "calibrate.h"
#include "harness/model/variant.h"
#include "harness/program.h"
#include "harness/train/stage.h"

/* Where the work is: after every linear and every block. */
typedef struct bl_quantize_at {
    int64_t done, all; /* blocks, of all stages */
    const char *layer; /* the linear that was done last; NULL: a block is */
    double error;      /* of it: at the output over output power, of the weight where that is not known; < 0: neither */
    double seconds;    /* since the first stage began */
    double left;       /* estimate from what is done; < 0: nothing is */
} bl_quantize_at;
/* "block 3 of 30  model.layers.2.mlp.up_proj  error 0.0012  41 s, 550 s left" */
void bl_quantize_line(const bl_quantize_at *at, char out[256]);
typedef bl_status bl_quantize_progress(void *ctx, const bl_quantize_at *at, bl_err *e);
typedef struct bl_apply_how {
    uint64_t seed;
    const bl_calib_choice *calib; /* text for methods that look at data; NULL: none of them does */
    const bl_data_dirs *dirs;     /* where it is looked for */
    /* [stages - 1] where the states between the stages are kept: one that is there already is taken as it is. NULL:
     * made beside the result and removed afterwards. */
    const char *const *between;
    /* [stages] of everything that could change the state after each; kept in its directory. NULL: not known. */
    const bl_hash *hash;
    /* A directory for statistics of the original model that several methods ask for: made there if they are not. NULL:
     * they are gathered anew. */
    const char *shared;
    const bl_train_how *train;      /* of stages that learn, which need `hash` as well; NULL: there are none */
    bl_quantize_progress *progress; /* NULL: none */
    void (*made)(void *ctx, int i); /* stage i is where `between` says, whole; NULL: nobody asks */
    void *ctx;                      /* of both */
} bl_apply_how;

typedef struct bl_quantize_result {
    bl_layer_stat *layer; /* of the last stage that says something of layers; in the arena */
    int64_t n_layers;
    uint64_t packed_bytes;
    double bits, seconds;
    bl_train_done train; /* of the last stage that learned */
    const char *notes;   /* of the state and what its stages noted, joined by "; "; in the arena */
} bl_quantize_result;
/* On failure nothing is left at `dir`. */
bl_status bl_quantize_dir(bl_checkpoint *source, const bl_method_chain *chain, const bl_apply_how *how, bl_backend *be,
                          const char *dir, bl_arena *a, bl_quantize_result *out, bl_err *e);
/* What making a variant will give and take. */
typedef struct bl_stage_forecast {
    double work;     /* flops, as of products among many rows */
    double weights;  /* read, rounded, written */
    uint64_t memory; /* most bytes of buffers and copies at once */
} bl_stage_forecast;
typedef struct bl_quantize_forecast {
    int64_t packed_bytes; /* of the last stage */
    double bits;
    bl_stage_forecast stage[BL_MAX_STAGES];
} bl_quantize_forecast;
/* The `check` of every stage, and whether the formats it predicts can be, against the shapes that the stages before
 * leave, without weights; bl_quantize_dir begins with it. `calib`: as bl_calib_for gave it; NULL: what is asked of it
 * does not matter. `train`: of stages that learn, NULL: there is nothing to train on. `limit`: bytes of the device's
 * memory that may be used, 0: any. */
bl_status bl_quantize_check(bl_checkpoint *source, const bl_method_chain *chain, const bl_calib_choice *calib,
                            const bl_train_settings *train, uint64_t limit, bl_quantize_forecast *out, bl_err *e);
#define BL_LAYERS_FILE "layers.json"
/* layers.json of such a directory. */
bl_status bl_quantize_print_layers(const bl_layer_stat *layer, int64_t n, double seconds, bl_text *t, bl_err *e);
/* Layers of a directory made by bl_quantize_dir, as recorded in it. */
bl_status bl_quantize_layers(const char *dir, bl_arena *a, bl_layer_stat **out, int64_t *n, double *seconds, bl_err *e);
#endif
