/* divergence.h - a cell against the base cell of its study: the base keeps the hidden states of its scored tokens, the others get divergences from them.
 *
 *     bl_against *g;
 *     BL_TRY(bl_against_keep(path, cell_hash, model, &g, e));            // the base: OUT/cache/<hash>.hidden
 *     BL_TRY(bl_against_open(base_path, base_hash, part_path, cell_hash, model, head, &g, e));      // any other cell
 *     bl_against_batch(g, id_of_request, step, n);                       // what the engine's request numbers mean from now on
 *     bl_engine_set_tap(engine, bl_against_tap, g);
 *     … replies …; BL_TRY(bl_against_item(g, id, e));                     // item is complete: written beside the journal
 *     bl_against_free(g);
 */
#ifndef BL_AGAINST_H
#define BL_AGAINST_H
#include "results/cell.h"
#include "score.h"

typedef struct bl_against bl_against;
bl_status bl_against_keep(const char *path, bl_hash cell, bl_model *m, bl_against **out, bl_err *e);
/* `head` multiplies the base's states (the base's own head). BL_E_MISSING when the base kept none. */
bl_status bl_against_open(const char *base_path, bl_hash base, const char *part_path, bl_hash cell, bl_model *m, const bl_weight *head, bl_against **out, bl_err *e);
void      bl_against_free(bl_against *g);               /* NULL is fine; files stay */
bool      bl_against_has (const bl_against *g, int64_t id);
/* [n] item and step of each request of the next call of the engine; lent until the next batch. */
void      bl_against_batch(bl_against *g, const int64_t *id, const int *step, int64_t n);
bl_status bl_against_tap (void *g, const bl_tapped *t, bl_err *e);
bl_status bl_against_item(bl_against *g, int64_t id, bl_err *e);
bl_status bl_against_sync(bl_against *g, bl_err *e);
/* All divergences of items 0 .. n-1 in the order (item, step, pair, position), and whether the top token agrees; in the arena. */
bl_status bl_against_all (bl_against *g, int64_t n_items, bl_arena *a, double **kl, double **same, int64_t *n, bl_err *e);
/* kl_mean, kl_p50, kl_p90, kl_p99, kl_max, top1_agreement appended to `m` (room for 7). */
bl_status bl_against_metrics(const double *kl, const double *same, int64_t n, bl_arena *a, bl_cell_metric *m, int *n_metrics, bl_err *e);
/* "flips": share of items whose first score is right in one and wrong in the other; *have false without items. */
bl_status bl_against_flips(const char *base_shard, const bl_sample *s, int64_t n, bl_arena *a, bl_cell_metric *out, bool *have, bl_err *e);
#endif
