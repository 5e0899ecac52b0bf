/* plan.h - the cells of a study: their keys, identities, what is done, and what memory and time the rest takes. */
#ifndef BL_HARNESS_STUDY_PLAN_H
#define BL_HARNESS_STUDY_PLAN_H
#include "identity.h"
#include "harness/quant/apply.h"

typedef enum bl_cell_state {
    BL_CELL_OPEN,
    BL_CELL_DONE,
    BL_CELL_FAILED,
    BL_CELL_NA
} bl_cell_state;                            /* FAILED: tried before, will be tried again */
extern const char *const bl_cell_states[4]; /* "open", "done", "failed", "n/a": the same words everywhere */
typedef struct bl_plan_cell {
    size_t model, method, task; /* indices into the spec */
    uint64_t seed;
    size_t variant;
    char *key, *file;    /* file: without ending */
    char *superseded[3]; /* files of the same cell as earlier versions called it; NULL */
    bl_hash hash;
    struct bl_plan_cell *base; /* the cell it is compared with; NULL: none */
    bool planned;              /* one of plan->cell; false: a base that is not asked for */
    bool needed;               /* a base: cells that are open are compared with its states */
    bl_cell_state state;
    const char *reason;    /* NA, FAILED */
    int64_t items, tokens; /* estimates of what is scored; items -1: unknown */
    int64_t new_tokens;    /* generated */
    double seconds;        /* estimate */
    int64_t peak_bytes;    /* estimate of the peak while its variant is made, if it is to be, and it is scored */
} bl_plan_cell;
typedef struct bl_plan_variant {
    size_t model, method;
    uint64_t seed;
    bl_identity id;        /* the model's ingredients, method, calibration */
    bl_hash *stage;        /* [stages of the method] the model after each; directories of that name hold it */
    bl_hash hash;          /* the last of them */
    size_t first, n_cells; /* its cells: plan->cell[first] and after */
    bool base;
    bl_kv_format kv; /* as the study says; of a base that others are compared with ACT */
    bl_quantize_forecast *forecast;
    double seconds;       /* estimate of making what is not there of it */
    int64_t peak_bytes;   /* estimate of the peak meanwhile; 0: it is there */
    int64_t packed_bytes; /* tensor data */
    double bits;          /* per weight of the block linears */
    const char *missing;  /* why it cannot be made of this model; NULL: it can */
} bl_plan_variant;
typedef struct bl_plan_model {
    bl_checkpoint *ckpt;
    bl_hash fingerprint;
    const char *name;
    bl_identity id;                 /* weights, tokenizer, numerics */
    bl_calib_choice calib;          /* as the spec says, for this model; data NULL: no method of the study needs it */
    const char *missing, *no_calib; /* why no task can be run, no calibration text looked at; NULL: it can */
    const char *no_chat; /* why it cannot be asked through its chat template; NULL: it can, or no task asks so */
} bl_plan_model;
typedef struct bl_plan_task {
    bl_task_data data;
    bool there;
    const char *missing; /* why not there */
    bl_request first;    /* what it asks first */
    bl_identity id;      /* task, data */
} bl_plan_task;
typedef struct bl_plan {
    const bl_spec *spec; /* lent */
    bl_plan_model *model;
    bl_plan_task *task;
    bl_plan_variant *variant;
    size_t n_variants; /* in the order of the spec: model, method, seed; bases that are made again without being asked
                          for, or with keys and values as they are, come last */
    bl_plan_cell *cell;
    size_t n_cells;       /* in the order of their variants, then tasks */
    const char *numerics; /* class of the device, and how keys and values are kept when not as activations are */
    bl_hash calib_bytes;  /* of the calibration text */
    struct {
        bl_hash hash;              /* of settings and files of training, where a method of the study learns from them */
        const char *missing;       /* why there is nothing to learn from; NULL: there is */
    } * training;                  /* [1 + sets of the spec], as bl_spec_set counts */
    uint64_t disk_free, disk_need; /* bytes; need: of what is left to do */
    bl_arena *arena;
} bl_plan;
typedef struct bl_plan_opts {
    const char *only;
    bool many;
    bool no_estimate;
} bl_plan_opts; /* only: comma list of globs over keys; many: more than 100,000 cells */
/* Everything that can be refused before work is refused here: what is wrong with the study refuses all of it; a method,
 * a task or a model that do not go together, or data that is not there, make those cells n/a, and only this does. What
 * fails later has failed. Reads no weights (fingerprints are cached) and opens no tokenizer. */
bl_status bl_plan_make(const bl_spec *s, const bl_plan_opts *o, bl_plan **out, bl_err *e);
/* BL_E_CONFIG, with the reason of the first, when every cell is n/a. */
bl_status bl_plan_any(const bl_plan *p, bl_err *e);
/* The same without cells: the models, tasks and variants of a spec. `name`: what its only model is called (NULL: its
 * own name). */
bl_status bl_plan_open(const bl_spec *s, const char *name, bl_plan **out, bl_err *e);
void bl_plan_free(bl_plan *p);
/* What others are compared with is the checkpoint as stored, with keys and values as activations are, however the study
 * keeps them. */
bool bl_plan_is_reference(const bl_plan_variant *v);
/* All ingredients of a cell, and the hash over them. */
bl_status bl_plan_identity(const bl_plan *p, const bl_plan_cell *c, bl_identity *id, bl_hash *out, bl_err *e);
/* What is left of it. */
typedef struct bl_plan_todo {
    size_t count[4];    /* cells by state */
    double seconds;     /* of what is open or failed before, its variants included */
    int64_t peak_bytes; /* of the largest of those */
} bl_plan_todo;
bl_plan_todo bl_plan_sum(const bl_plan *p);
/* "16 cells: 3 done, 13 open, 0 failed before, 0 n/a; about 2 min, 139 MB of memory and 21 MB of disk to go" */
void bl_plan_head(const bl_plan *p, bl_text *out);
/* BL_E_DISK when what is left needs more of the disk than is free. */
bl_status bl_plan_room(const bl_plan *p, bl_err *e);
/* Whether what is scored in a cell, of that hash, was calibrated on, by its methods or by those of a saved model. */
bool bl_plan_saw(const bl_plan *p, const bl_plan_cell *c, bl_hash text);
/* plan.json, and the text of the verb. */
bl_status bl_plan_json(const bl_plan *p, bl_text *out, bl_err *e);
void bl_plan_text(const bl_plan *p, bl_text *out);
/* State of one cell as the directory shows it now: open, done or failed. *why (NULL: not asked for) of one that failed,
 * in the plan's arena. */
bl_cell_state bl_plan_look(const bl_plan *p, const bl_plan_cell *c, const char **why);
#endif
