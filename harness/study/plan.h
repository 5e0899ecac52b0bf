/* plan.h - the cells of a study: their keys, identities, what is done, and what memory and time the rest takes. */
#ifndef BL_PLAN_H
#define BL_PLAN_H
#include "spec.h"

typedef enum bl_cell_state {
    BL_CELL_OPEN,
    BL_CELL_DONE,
    BL_CELL_FAILED,
    BL_CELL_NA
} bl_cell_state; /* FAILED: tried before, will be tried again */
typedef struct bl_plan_cell {
    size_t model, method, task; /* indices into the spec */
    uint64_t seed;
    size_t variant;
    char *key, *file; /* file: without ending */
    bl_hash hash;
    bl_cell_state state;
    const char *reason;    /* NA, FAILED */
    int64_t items, tokens; /* estimates of what is scored; items -1: unknown */
    int64_t new_tokens;    /* generated */
    double seconds;        /* estimate */
    int64_t peak_bytes;    /* estimate of the peak while it is scored */
} bl_plan_cell;
typedef struct bl_plan_variant {
    size_t model, method;
    uint64_t seed;
    bl_hash hash;
    bool base;
    double seconds;       /* estimate of making it */
    int64_t packed_bytes; /* tensor data */
    double bits;          /* per weight of the block linears */
} bl_plan_variant;
typedef struct bl_plan_model {
    bl_checkpoint *ckpt;
    bl_hash fingerprint;
    const char *name;
} bl_plan_model;
typedef struct bl_plan_task {
    bl_task_data data;
    bool there;
    const char *missing;
    double bytes_per_item;
    double gen_bytes;
    int64_t items;
} bl_plan_task;
typedef struct bl_plan {
    const bl_spec *spec; /* lent */
    bl_plan_model *model;
    bl_plan_task *task;
    bl_plan_variant *variant;
    size_t n_variants;
    bl_plan_cell *cell;
    size_t n_cells; /* in the order of the spec: model, method, seed, task */
    uint64_t disk_free, disk_need;
    bl_arena *arena;
} bl_plan;
typedef struct bl_plan_opts {
    const char *only;
    bool many;
    bool no_estimate;
} bl_plan_opts; /* only: comma list of globs over keys; many: more than 100,000 cells */
/* Everything that can be refused before work is refused here. Reads no weights (fingerprints are cached) and opens no
 * tokenizer. */
bl_status bl_plan_make(const bl_program *p, const bl_spec *s, const bl_plan_opts *o, bl_plan **out, bl_err *e);
void bl_plan_free(bl_plan *p);
/* plan.json, and the text of the verb. */
bl_status bl_plan_json(const bl_plan *p, bl_text *out, bl_err *e);
void bl_plan_text(const bl_plan *p, bl_text *out);
/* State of one cell as the directory shows it now. */
bl_cell_state bl_plan_look(const bl_plan *p, const bl_plan_cell *c);
#endif
