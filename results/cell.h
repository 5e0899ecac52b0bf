/* cell.h - what a finished cell says about itself, written by the study and read by tables and plots.
 *
 * bl_cell_write turns this into a shard (layout: results/schema.md); bl_cell_read is its inverse. The numbers and texts
 * are the lines of cell.def. A cell that failed or is not available leaves `<same name>.failed.json` instead.
 *
 *     bl_cell c = {.key = "m/rtn:w4/piqa/0", .hash = hash, .model = "m"};
 *     BL_TRY(bl_cell_write("runs/a", &c, e));
 *     BL_TRY(bl_cell_read(path, true, arena, &c, e));
 */
#ifndef BL_RESULTS_CELL_H
#define BL_RESULTS_CELL_H
#include "layer.h"
#include "metric.h"
#include "record.h"

#define BL_CELL_TEXT  const char *
#define BL_CELL_INT   int64_t
#define BL_CELL_COUNT int64_t
#define BL_CELL_REAL  double
typedef struct bl_cell {
    const char *key; /* model/method/task/seed */
    bl_hash hash;    /* everything that could change its numbers */
#define BL_CELL(type, member, where, unit, absent, column, use, meaning) BL_CELL_##type member;
#define BL_CELL_PART(where, kind, unit, meaning)
#include "cell.def"
#undef BL_CELL
#undef BL_CELL_PART
    const bl_cell_metric
        *metric; /* the task's, then those against the base (kl_mean, dp_rms, top1_agreement, flips, …) */
    int64_t n_metrics;
    const bl_cell_metric *grouped; /* the same within groups and steps */
    int64_t n_grouped;
    const bl_sample *sample;
    int64_t n_samples;
    const bl_layer_stat *layer;
    int64_t n_layers;
    const double *kl, *dp; /* [n_kl] at each token that was compared with the base; NULL: none */
    int64_t n_kl;
    const char *kl_absent; /* why there is none */
} bl_cell;

bl_status bl_cell_write(const char *dir, const bl_cell *c, bl_err *e);
/* BL_E_CORRUPT, BL_E_NEWER, BL_E_UNSUPPORTED (an older schema), BL_E_FORMAT. Texts and lists are in the arena. */
bl_status bl_cell_read(const char *path, bool with_samples, bl_arena *a, bl_cell *out, bl_err *e);

/* Was the cell of this shard compared with the base cell of this hash? Files from before `base_hash`: with any. */
bool bl_cell_compared(const char *path, bl_hash base);

/* The lines of cell.def, for whoever writes, reads, shows or explains them all. */
typedef enum bl_cell_type { BL_CELL_IS_TEXT, BL_CELL_IS_INT, BL_CELL_IS_COUNT, BL_CELL_IS_REAL } bl_cell_type;
typedef enum bl_cell_use { BL_USE_SHARD, BL_USE_NAME, BL_USE_CONDITION, BL_USE_COST, BL_USE_ORIGIN } bl_cell_use;
typedef struct bl_cell_field {
    bl_cell_type type;
    const char *member;
    size_t at; /* in bl_cell */
    const char *where, *unit, *absent, *column;
    bl_cell_use use;
    const char *meaning;
} bl_cell_field;
const bl_cell_field *bl_cell_field_at(size_t i); /* NULL after the last */
/* The lines of the page about shards: "| `path` | kind | unit | meaning |" for each line of cell.def. */
void bl_cell_page(bl_text *out);

/* "<key, / as __, odd bytes %-escaped>--<12 hex>" without ending; bl_free. */
char *bl_cell_file(const char *key, bl_hash hash, bl_err *e);

typedef struct bl_cell_failure {
    const char *key, *hash, *status, *reason, *time, *model, *stored_as, *method, *task;
    int64_t wbits, seed, limit, sample, task_version;
    const char *group_text;
} bl_cell_failure; /* status "failed" or "n/a" */
bl_status bl_failure_write(const char *dir, const char *file, const bl_cell_failure *f,
                           bl_err *e); /* DIR/<file>.failed.json */
bl_status bl_failure_read(const char *path, bl_arena *a, bl_cell_failure *out, bl_err *e);
bl_status bl_failure_remove(const char *dir, const char *file, bl_err *e);
#endif
