/* compare.c - states of scored tokens that are kept, and the distance of a model's logits from those of a base.
 *
 * A chunk of logits exists once, in losses() of passes.c; what is wanted of it is taken there. The base's logits at the
 * same tokens are its states through its own head.
 */
#include "score_impl.h"
#include <math.h>
#include <string.h>

bl_status bl_comparison_begin(bl_engine *g, bl_scored *u, size_t n, int64_t request, bl_comparison *cmp, bl_arena *a,
                              bl_err *e)
{
    bl_hasher *h = bl_hasher_new(e);
    size_t rows;

    if (!h) return BL_E_NOMEM;
    cmp->request = request;
    cmp->compared = false;
    cmp->own = (bl_states){0};
    for (size_t i = 0; i < n; i++) {
        u[i].cmp = cmp;
        u[i].row = cmp->own.rows;
        cmp->own.rows += u[i].scored;
        bl_hash_u64(h, (uint64_t)u[i].n);
        bl_hash_u64(h, (uint64_t)u[i].scored);
        bl_hash_add(h, u[i].ids, (size_t)(u[i].n + 1) * sizeof *u[i].ids);
    }
    cmp->own.ids = bl_hasher_end(h);
    rows = (size_t)cmp->own.rows;
    if (cmp->keep && !(cmp->own.hidden = bl_alloc(a, rows, bl_engine_state_bytes(g), e))) return BL_E_NOMEM;
    if (!g->base_head || !cmp->base || !bl_hash_equal(cmp->base->ids, cmp->own.ids)) return BL_OK;
    if (cmp->base->rows != cmp->own.rows)
        return bl_fail(e, BL_E_CORRUPT, "the base kept %lld states, expected %lld", (long long)cmp->base->rows,
                       (long long)rows);
    cmp->compared = true;
    cmp->kl = bl_alloc(a, rows, sizeof *cmp->kl, e);
    cmp->dp = bl_alloc(a, rows, sizeof *cmp->dp, e);
    cmp->same = bl_alloc(a, rows, sizeof *cmp->same, e);
    return cmp->kl && cmp->dp && cmp->same ? BL_OK : BL_E_NOMEM;
}

static bl_status keep(bl_engine *g, bl_tensor x, int64_t n, bl_comparison *const *cmp, const int64_t *row, bl_err *e)
{
    bl_backend *be = g->m->be;
    size_t size = bl_engine_state_bytes(g);
    char *host = bl_alloc(g->arena, (size_t)n, size, e);
    bl_status st;

    if (!host) return BL_E_NOMEM;
    if ((st = be->ops->download(be, &x, host, e)) != BL_OK) return st;
    for (int64_t i = 0; i < n; i++)
        if (cmp[i] && cmp[i]->keep)
            memcpy((char *)cmp[i]->own.hidden + (size_t)row[i] * size, host + (size_t)i * size, size);
    return BL_OK;
}

/* Rows without a base are computed from zeros and left. */
static bl_status compare(bl_engine *g, bl_tensor logits, bl_tensor target, int64_t n, bl_comparison *const *cmp,
                         const int64_t *row, bl_err *e)
{
    bl_backend *be = g->m->be;
    int64_t dim = g->m->config.dim, vocab = g->m->config.vocab;
    size_t size = bl_engine_state_bytes(g);
    uint64_t at_logits = ((uint64_t)n * size + 63) / 64 * 64,
             at_kl = (at_logits + (uint64_t)(n * vocab) * sizeof(float) + 63) / 64 * 64,
             at_dp = at_kl + (uint64_t)n * sizeof(double), at_same = at_dp + (uint64_t)n * sizeof(double);
    char *host = bl_alloc(g->arena, (size_t)n, size, e);
    double *kl = bl_alloc(g->arena, (size_t)n, sizeof *kl, e), *dp = bl_alloc(g->arena, (size_t)n, sizeof *dp, e);
    int32_t *same = bl_alloc(g->arena, (size_t)n, sizeof *same, e);
    bl_status st = BL_OK;

    if (!host || !kl || !dp || !same) return BL_E_NOMEM;
    for (int64_t i = 0; i < n; i++)
        if (cmp[i] && cmp[i]->compared)
            memcpy(host + (size_t)i * size, (const char *)cmp[i]->base->hidden + (size_t)row[i] * size, size);
    BL_TRY(bl_buffer_fit(be, &g->base, at_same + (uint64_t)n * sizeof(int32_t), e));
    bl_tensor hidden = bl_tensor_2d(g->base, 0, be->act, n, dim),
              base = bl_tensor_2d(g->base, at_logits, BL_F32, n, vocab), kls = bl_tensor_1d(g->base, at_kl, BL_F64, n),
              dps = bl_tensor_1d(g->base, at_dp, BL_F64, n), sames = bl_tensor_1d(g->base, at_same, BL_I32, n);
    BL_TRY(be->ops->upload(be, &hidden, host, e));
    BL_TRY(bl_linear_apply(be, g->base_head, hidden, base, false, e));
    BL_TRY(be->ops->kl_div(
        be,
        &(bl_kl_div_args){
            .p = base, .q = logits, .vocab = vocab, .target = target, .kl = kls, .dp = dps, .same = sames},
        e));
    BL_TRY(be->ops->download(be, &kls, kl, e));
    BL_TRY(be->ops->download(be, &dps, dp, e));
    BL_TRY(be->ops->download(be, &sames, same, e));
    for (int64_t i = 0; i < n; i++) {
        bl_comparison *c = cmp[i];
        if (!c || !c->compared) continue;
        if (!isfinite(kl[i]) || !isfinite(dp[i])) {
            st = bl_fail(e, BL_E_NUMERIC, "request %lld: the distance from the base at scored token %lld is not finite",
                         (long long)c->request, (long long)row[i]);
            goto out;
        }
        c->kl[row[i]] = kl[i];
        c->dp[row[i]] = dp[i];
        c->same[row[i]] = same[i] != 0;
    }
out:
    return st;
}

bl_status bl_comparison_rows(bl_engine *g, bl_tensor x, bl_tensor logits, bl_tensor target, int64_t n,
                             bl_comparison *const *cmp, const int64_t *row, bl_err *e)
{
    bl_mark mark = bl_arena_mark(g->arena);
    bool any_keep = false, any_compared = false;
    bl_status st = BL_OK;

    for (int64_t i = 0; i < n; i++) {
        any_keep = any_keep || (cmp[i] && cmp[i]->keep);
        any_compared = any_compared || (cmp[i] && cmp[i]->compared);
    }
    if (any_keep) BL_TRY(keep(g, x, n, cmp, row, e));
    if (any_compared) BL_TRY(compare(g, logits, target, n, cmp, row, e));
out:
    bl_arena_release(g->arena, mark);
    return st;
}
