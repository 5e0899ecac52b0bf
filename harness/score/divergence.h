/* divergence.h - a cell against the base cell of its study: the base keeps the hidden states of its scored tokens, the
 * others get divergences from them.
 *
 *     bl_divergence *g;
 *     BL_TRY(bl_divergence_keep(path, hash, model, &g, e));      // the base: OUT/cache/<hash>.hidden
 *     BL_TRY(bl_divergence_open(base_path, base_hash, part_path, hash, model, head, &g, e));      // any other cell
 *     bl_divergence_batch(g, id_of_request, step, n);            // what the engine's request numbers mean from now on
 *     bl_engine_observe(engine, bl_divergence_observe, g);
 *     BL_TRY(bl_engine_replies(engine, requests, n, arena, replies, e));
 *     BL_TRY(bl_divergence_item(g, id, e));                      // item is complete: written beside the journal
 *     bl_divergence_free(g);
 */
#ifndef BL_DIVERGENCE_H
#define BL_DIVERGENCE_H
#include "results/cell.h"
#include "score.h"

typedef struct bl_divergence bl_divergence;
bl_status bl_divergence_keep(const char *path, bl_hash cell, bl_model *m, bl_divergence **out, bl_err *e);
/* `head` multiplies the base's states (the base's own head). BL_E_MISSING when the base kept none. */
bl_status bl_divergence_open(const char *base_path, bl_hash base, const char *part_path, bl_hash cell, bl_model *m,
                             const bl_weight *head, bl_divergence **out, bl_err *e);
void bl_divergence_free(bl_divergence *g); /* NULL is fine; files stay */
bool bl_divergence_has(const bl_divergence *g, int64_t id);
/* [n] item and step of each request of the next call of the engine; lent until the next batch. */
void bl_divergence_batch(bl_divergence *g, const int64_t *id, const int *step, int64_t n);
bl_status bl_divergence_observe(void *g, const bl_observed *t, bl_err *e);
bl_status bl_divergence_item(bl_divergence *g, int64_t id, bl_err *e);
bl_status bl_divergence_sync(bl_divergence *g, bl_err *e);
/* All divergences of items 0 .. n-1 in the order (item, step, pair, position), and whether the top token agrees; in the
 * arena. */
bl_status bl_divergence_all(bl_divergence *g, int64_t n_items, bl_arena *a, double **kl, double **same, int64_t *n,
                            bl_err *e);
/* kl_mean, kl_p50, kl_p90, kl_p99, kl_max, top1_agreement; none for n 0. */
bl_status bl_divergence_metrics(const double *kl, const double *same, int64_t n, bl_arena *a, bl_metric_list *out,
                                bl_err *e);
/* "flips": share of items whose first score is right in one and wrong in the other; none without items. */
bl_status bl_divergence_flips(const char *base_shard, const bl_sample *s, int64_t n, bl_arena *a, bl_metric_list *out,
                              bl_err *e);
#endif
