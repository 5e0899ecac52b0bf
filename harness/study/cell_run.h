/* cell_run.h - one cell: items in batches through the engine, journal, metrics, divergences, shard. Runs in the child.
 */
#ifndef BL_HARNESS_STUDY_CELL_RUN_H
#define BL_HARNESS_STUDY_CELL_RUN_H
#include "plan.h"
#include "harness/score/score.h"
#include "results/cell.h"

/* Items whose replies are asked for together; windows are long, so that less is lost with fewer. Of generations, which
 * come and go one by one, as many as are decoded at once. */
enum { BL_BATCH_ITEMS = 64, BL_BATCH_WINDOWS = 4, BL_BATCH_GENERATIONS = 64 };
/* Endings of the files beside OUT/<file>.h5 that a stopped cell goes on with; one that is done needs them no more. */
#define BL_CELL_JOURNAL   ".part.jsonl"
#define BL_CELL_DISTANCES ".part.distances"

typedef struct bl_cell_job {
    const bl_plan *plan;
    const bl_plan_cell *cell;
    bl_model *model;
    bl_engine *engine;
    bl_tokenizer *tokenizer;
    bl_checkpoint *source;    /* the model of the study; model->ckpt may be the variant's directory */
    const bl_plan_cell *base; /* the base cell it is compared with; NULL: none */
    const char *no_base;      /* why base is NULL */
    const bl_layer_stat *layer;
    int64_t n_layers;
    double quantize_seconds;
    uint64_t packed_bytes;
    double bits;
    /* Items that are done or, inside a batch, as good as done; how many there are; tokens/s. */
    void (*progress)(void *ctx, double done, int64_t all, double rate);
    void *ctx;
    char *headline;
    size_t n_headline; /* out: "acc 64.0 ±3.4 %", for a person */
} bl_cell_job;
/* Writes the shard. BL_E_INTERRUPTED: the pass that ran is finished, the journal has every item that was answered. */
bl_status bl_cell_run(const bl_cell_job *job, bl_err *e);
#endif
