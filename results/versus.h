/* versus.h - one set of rows against another, with a verdict for each task and one over all.
 *
 *     bl_versus *v;
 *     bl_side a = {.table = t, .method = "rtn:w4g64"}, b = {.table = t, .method = "rtn:w4g32"};
 *     BL_TRY(bl_versus_of(&a, &b, &(bl_table_opts){0}, rules, &v, e));
 *     if (bl_versus_loss(v) > 0.5) puts("worse by more than half a percent");
 *     bl_versus_free(v);
 */
#ifndef BL_RESULTS_VERSUS_H
#define BL_RESULTS_VERSUS_H
#include "table.h"

/* Rows of a table; `method`, `task` NULL: all of them. */
typedef struct bl_side {
    const bl_table *table;
    const char *method, *task;
} bl_side;
/* The same metric of the same task, model and seed on both sides; where the sides are two tasks (with reasoning and
 * without), of the same items, model, method and seed. A side with one method, or one model, alone is
 * compared with whatever one the other has. */
typedef struct bl_versus_row {
    const bl_row *a, *b;
    bl_paired paired; /* b minus a; judged together */
} bl_versus_row;
typedef struct bl_versus {
    bl_versus_row *row;
    size_t n;
    size_t only_a, only_b; /* cells without a partner */
    size_t count[3];       /* rows by verdict */
    bl_verdict verdict;    /* better or worse where some rows are that and none the opposite */
} bl_versus;
/* `o` says which metrics. BL_E_CONFIG when two cells that belong together do not compare (the sentence says in what),
 * BL_E_MISSING when none belong together. */
bl_status bl_versus_of(const bl_side *a, const bl_side *b, const bl_table_opts *o, bl_metric_rules rules,
                       bl_versus **out, bl_err *e);
/* The largest loss that is more than chance, in percent: points of a share, else of the value of a; 0: none. */
double bl_versus_loss(const bl_versus *v);
/* A table with the verdict below it; JSON with every number. `name`: what the two sides are called. */
bl_status bl_versus_md(const bl_versus *v, const char *const name[2], bool terminal, bl_text *out, bl_err *e);
bl_status bl_versus_json(const bl_versus *v, const char *const name[2], bl_text *out, bl_err *e);
void bl_versus_free(bl_versus *v); /* NULL is fine */
#endif
