/* divergence.h - a cell against the base cell of its study, on disk: the base keeps the states of its scored tokens,
 * the others the distances from them, item by item, beside the journal.
 *
 *     bl_divergence *g;
 *     BL_TRY(bl_divergence_keep(path, hash, row_bytes, &g, e));                        // the base
 *     BL_TRY(bl_divergence_open(base_path, base_hash, path, hash, row_bytes, &g, e));  // any other cell
 *     BL_TRY(bl_divergence_base(g, id, arena, &states, &n_steps, e));
 *     BL_TRY(bl_engine_compare(engine, requests, 1, arena, replies, comparisons, e));  // step after step
 *     BL_TRY(bl_divergence_item(g, id, comparisons, n_steps, e));
 *     bl_divergence_free(g);
 */
#ifndef BL_HARNESS_SCORE_DIVERGENCE_H
#define BL_HARNESS_SCORE_DIVERGENCE_H
#include "results/cell.h"
#include "score.h"

typedef struct bl_divergence bl_divergence;
/* row_bytes: of one row of states. */
bl_status bl_divergence_keep(const char *path, bl_hash cell, size_t row_bytes, bl_divergence **out, bl_err *e);
/* BL_E_MISSING when the base kept none, BL_E_CORRUPT when its file is not whole. */
bl_status bl_divergence_open(const char *base_path, bl_hash base, const char *path, bl_hash cell, size_t row_bytes,
                             bl_divergence **out, bl_err *e);
void bl_divergence_free(bl_divergence *g); /* NULL is fine; files stay */
bool bl_divergence_keeps(const bl_divergence *g);
bool bl_divergence_has(const bl_divergence *g, int64_t id);
/* The base's states of item id, one entry a step; in the arena. None for a base itself. */
bl_status bl_divergence_base(bl_divergence *g, int64_t id, bl_arena *a, const bl_states **out, int *n, bl_err *e);
/* Writes what the steps of an item left: states (keeping) or distances. */
bl_status bl_divergence_item(bl_divergence *g, int64_t id, const bl_comparison *step, int n, bl_err *e);
bl_status bl_divergence_sync(bl_divergence *g, bl_err *e);

/* The distances of n items in the order item, step, pair, position; in the arena. `item` NULL: 0 .. n-1. */
typedef struct bl_distances {
    double *kl, *dp, *same; /* [n]; same: 1 where the likeliest token agrees, else 0 */
    int64_t n;
} bl_distances;
bl_status bl_divergence_all(bl_divergence *g, const int64_t *item, int64_t n_items, bl_arena *a, bl_distances *out,
                            bl_err *e);
/* kl_mean, kl_p50, …, dp_mean, dp_rms, dp_p1, …, top1_agreement (ARCHITECTURE.md, conventions); none for n 0. */
bl_status bl_divergence_metrics(const bl_distances *d, bl_arena *a, bl_metric_list *out, bl_err *e);
/* "flips": share of items whose first score is right in one and wrong in the other; none without items. */
bl_status bl_divergence_flips(const char *base_shard, const bl_sample *s, int64_t n, bl_arena *a, bl_metric_list *out,
                              bl_err *e);
#endif
