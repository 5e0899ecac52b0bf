/* cell_impl.h - what the parts of a running cell share: opened and closed by cell_run.c, filled by cell_items.c,
 * written down by cell_record.c. */
#ifndef BL_HARNESS_STUDY_CELL_IMPL_H
#define BL_HARNESS_STUDY_CELL_IMPL_H
#include "cell_run.h"
#include "harness/score/divergence.h"
#include "results/journal.h"

/* Where the counters of model, checkpoint and backend stood when the cell began. */
typedef struct bl_meter {
    double t0;
    int64_t tokens; /* of the engine */
    uint64_t read, products[4];
} bl_meter;
bl_meter bl_meter_start(const bl_cell_job *job);

typedef struct bl_cell_work {
    const bl_cell_job *job;
    const bl_task_choice *choice;
    bl_task_data *data;
    int64_t n_items, n_all; /* that are taken; that there are */
    const int64_t *item;    /* [n_items] rows of the data, ascending; NULL: the first n_items */
    const int64_t *turn;    /* [n_items] the same in the order in which they are asked; NULL: as above */
    bl_arena *arena;        /* of the cell */
    bl_journal *journal;
    bl_divergence *divergence; /* the base keeps states, others distances; NULL: neither */
    const char *kl_absent;     /* why there are no distances */
    bool resumed;              /* some items are of an earlier run */
    bl_meter meter;
} bl_cell_work;

static inline int64_t bl_item_of(const bl_cell_work *w, int64_t k) { return w->item ? w->item[k] : k; }

/* Every item that is not in the journal yet: asked, replied to, marked, compared, written down. */
bl_status bl_cell_items(bl_cell_work *w, bl_err *e);
/* The shard of the finished items. */
bl_status bl_cell_record(bl_cell_work *w, bl_err *e);
#endif
