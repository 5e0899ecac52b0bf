/* passes.c - sequences through the model in passes: what begins alike is computed once, only scored rows meet the head.
 *
 * Units are sorted by length, so that passes are even and the largest comes first, but those that begin with the same
 * worked examples follow each other, those that share most of them as neighbours. In a pass, a unit that begins like
 * the one before it continues that one's cache slot:
 *
 *     unit 0    Question: … Answer: a copper wire          all rows
 *     unit 1    Question: … Answer: a rubber eraser        only " rubber eraser"
 *
 * A row's bits depend on its own sequence alone, so how units meet in passes changes nothing but time.
 */
#include "score_impl.h"
#include "harness/model/size.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_SHARED = 8, FAMILY = 32 }; /* tokens worth a segment of their own; that a family has in common */

/* A unit in a pass: `shared` of its tokens are those of member `parent`, the others are rows row0 .. of the batch. */
typedef struct member {
    bl_scored *u;
    int32_t parent;
    int64_t shared, row0;
} member;

typedef struct feed {
    bl_engine *g;
    bl_arena *a; /* of the pass */
    member *at;
    int32_t n;
    int64_t rows, scored;
    const int64_t *from; /* [scored] row of the hidden states, token */
    const int32_t *target;
    bl_tensor from_rows, targets; /* both on the backend */
    bl_comparison *const *cmp;
    const int64_t *row; /* [scored] of cmp; NULL: nothing is compared */
    int64_t n_want;
    const int64_t *want;
    double *nll;
    int32_t *argmax; /* [scored] host */
} feed;

static int by_length(const void *x, const void *y)
{
    const bl_scored *a = *(bl_scored *const *)x, *b = *(bl_scored *const *)y;
    if (a->reach != b->reach) return a->reach < b->reach ? 1 : -1;
    if (a->family != b->family) return a->family < b->family ? -1 : 1;
    if (a->place != b->place) return a->place < b->place ? -1 : 1;
    if (a->request != b->request) return a->request < b->request ? -1 : 1;
    if (a->pair != b->pair) return a->pair < b->pair ? -1 : 1;
    return a->position < b->position ? -1 : a->position > b->position;
}

/* ---- which units go together ---- */
static int by_tokens(const bl_scored *a, const bl_scored *b, int64_t most)
{
    for (int64_t i = 0; i < BL_MIN(BL_MIN(a->n, b->n), most); i++)
        if (a->ids[i] != b->ids[i]) return a->ids[i] < b->ids[i] ? -1 : 1;
    return a->n < most || b->n < most ? (a->n > b->n) - (a->n < b->n) : 0;
}

static int by_beginning(const void *x, const void *y)
{
    const bl_scored *a = *(bl_scored *const *)x, *b = *(bl_scored *const *)y;
    int order = by_tokens(a, b, INT64_MAX);
    return order ? order : a < b ? -1 : a > b;
}

static bool one_group(const bl_scored *a, const bl_scored *b) { return a->group >= 0 && a->group == b->group; }

/* Units whose group begins with the same FAMILY tokens as others become a family; a group of u is in one piece. */
static bl_status find_families(bl_engine *g, bl_scored *u, size_t n, bl_err *e)
{
    bl_scored **first = bl_alloc(g->arena, n, sizeof *first, e);
    size_t n_first = 0;
    if (!first) return BL_E_NOMEM;
    for (size_t i = 0; i < n; i++)
        if (!i || !one_group(&u[i - 1], &u[i])) first[n_first++] = &u[i];
    if (n_first) qsort(first, n_first, sizeof *first, by_beginning);
    for (size_t i = 0, k; i < n_first; i += k) {
        int64_t reach = 0, family = INT64_MAX;
        for (k = 0; i + k < n_first && (!k || (first[i]->n >= FAMILY && !by_tokens(first[i], first[i + k], FAMILY)));
             k++) {
            reach = BL_MAX(reach, first[i + k]->longest);
            family = BL_MIN(family, first[i + k] - u);
        }
        for (size_t j = i; j < i + k; j++) {
            first[j]->reach = reach;
            first[j]->family = family;
            first[j]->place = (int64_t)j;
        }
    }
    for (size_t i = 1; i < n; i++)
        if (one_group(&u[i - 1], &u[i])) {
            u[i].reach = u[i - 1].reach;
            u[i].family = u[i - 1].family;
            u[i].place = u[i - 1].place;
        }
    return BL_OK;
}

/* Tokens that a unit takes from the one before it, as far as a cache is parted there. */
static int64_t begins_alike(const bl_engine *g, const bl_scored *a, const bl_scored *b)
{
    int64_t n = 0, most = BL_MIN(a->n, b->n), granule = bl_kv_granule(g->m->kv);
    while (n < most && a->ids[n] == b->ids[n]) n++;
    if (n == b->n && n == a->n) return n; /* nothing of its own */
    n = n / granule * granule;
    return n >= LEAST_SHARED || n == b->n ? n : 0;
}

/* Rows that `u` adds to a pass in which `before` (NULL: none) is the last member. */
static int64_t own_rows(const bl_engine *g, const bl_scored *before, const bl_scored *u)
{
    return u->n - (before ? begins_alike(g, before, u) : 0);
}

/* How many of u[0..n) make the next pass. A group is only parted when it does not fit a pass by itself. */
static size_t next_pass(const bl_engine *g, bl_scored *const *u, size_t n)
{
    size_t k = 0, seqs = (size_t)g->most_seqs;
    int64_t rows = 0;

    while (k < n) {
        size_t end = k;
        int64_t more = 0;
        do {
            int64_t own = own_rows(g, end ? u[end - 1] : NULL, u[end]);
            if (end && (end == seqs || rows + more + own > g->most_rows)) return k ? k : end;
            more += own;
            end++;
        } while (end < n && u[k]->group >= 0 && u[end]->group == u[k]->group);
        rows += more;
        k = end;
    }
    return k;
}

static int64_t row_of(const feed *f, const member *m, int64_t position)
{
    while (position < m->shared) m = &f->at[m->parent];
    return m->row0 + position - m->shared;
}

static bl_status arrange(feed *f, bl_scored *const *u, bl_err *e)
{
    int32_t *target;
    int64_t *from, *want, *row_index, *row, k = 0;
    bl_comparison **cmp;
    bool compared = false;

    if (!(f->at = bl_alloc(f->a, (size_t)f->n, sizeof *f->at, e))) return BL_E_NOMEM;
    for (int32_t i = 0; i < f->n; i++) {
        member *m = &f->at[i];
        *m = (member){
            .u = u[i], .parent = i - 1, .shared = i ? begins_alike(f->g, u[i - 1], u[i]) : 0, .row0 = f->rows};
        while (m->parent >= 0 && m->shared <= f->at[m->parent].shared)
            m->parent = f->at[m->parent].parent; /* the one that brings the rows */
        if (!m->shared) m->parent = -1;
        f->rows += u[i]->n - m->shared;
        f->scored += u[i]->scored;
    }
    if (!(target = bl_alloc(f->a, (size_t)f->scored, sizeof *target, e)) ||
        !(from = bl_alloc(f->a, (size_t)f->scored, sizeof *from, e)) ||
        !(cmp = bl_alloc(f->a, (size_t)f->scored, sizeof *cmp, e)) ||
        !(row = bl_alloc(f->a, (size_t)f->scored, sizeof *row, e)) ||
        !(want = bl_alloc(f->a, (size_t)f->rows, sizeof *want, e)) ||
        !(row_index = bl_alloc(f->a, (size_t)f->rows, sizeof *row_index, e)) ||
        !(f->nll = bl_alloc(f->a, (size_t)f->scored, sizeof *f->nll, e)) ||
        !(f->argmax = bl_alloc(f->a, (size_t)f->scored, sizeof *f->argmax, e)))
        return BL_E_NOMEM;
    for (int32_t i = 0; i < f->n; i++)
        for (int64_t j = 0; j < u[i]->scored; j++, k++) {
            int64_t p = u[i]->n - u[i]->scored + j;
            from[k] = row_of(f, &f->at[i], p);
            target[k] = u[i]->ids[p + 1];
            cmp[k] = u[i]->cmp;
            row[k] = u[i]->row + j;
            compared = compared || cmp[k];
            row_index[from[k]] = 1;
        }
    for (int64_t r = 0; r < f->rows; r++)
        if (row_index[r]) {
            want[f->n_want] = r;
            row_index[r] = f->n_want++;
        }
    for (k = 0; k < f->scored; k++) from[k] = row_index[from[k]];
    f->target = target;
    f->from = from;
    f->want = want;
    f->cmp = compared ? cmp : NULL;
    f->row = row;
    return BL_OK;
}

/* ---- one pass ---- */
static bl_status upload_lists(feed *f, bl_err *e)
{
    bl_engine *g = f->g;
    bl_backend *be = g->m->be;
    size_t wide = (size_t)f->scored * sizeof *f->from, all = wide + (size_t)f->scored * sizeof *f->target;
    unsigned char *host = bl_alloc(f->a, all, 1, e);
    bl_status st = BL_OK;

    if (!host) return BL_E_NOMEM;
    if (wide) memcpy(host, f->from, wide);
    if (wide) memcpy(host + wide, f->target, all - wide);
    BL_TRY(bl_buffer_fit(be, &g->lists, all, e));
    f->from_rows = bl_tensor_1d(g->lists, 0, BL_I64, f->scored);
    f->targets = bl_tensor_1d(g->lists, wide, BL_I32, f->scored);
    bl_tensor t = bl_tensor_1d(g->lists, 0, BL_U8, (int64_t)all);
    BL_TRY(be->ops->upload(be, &t, host, e));
out:
    return st;
}

static bl_status fit_kv(bl_engine *g, int64_t rows, int32_t slots, bl_err *e)
{
    bl_status st = BL_OK;

    if (g->kv && g->kv_rows >= rows && g->kv_slots >= slots) {
        bl_kv_reset(g->kv);
        return BL_OK;
    }
    rows = BL_MAX(rows, g->kv_rows);
    slots = BL_MAX(slots, g->kv_slots);
    bl_kv_free(g->kv);
    g->kv = NULL;
    g->kv_rows = g->kv_slots = 0;
    BL_TRY(bl_kv_new(g->m, rows, slots, true, g->m->kv, &g->kv, e));
    g->kv_rows = rows;
    g->kv_slots = slots;
out:
    return st;
}

static bl_status hidden_states(feed *f, bl_tensor hidden, bl_err *e)
{
    bl_engine *g = f->g;
    int32_t *ids, *start, *past, *slot, *slot_of, n = 0;
    bl_status st = BL_OK;

    if (!(ids = bl_alloc(f->a, (size_t)f->rows, sizeof *ids, e)) ||
        !(start = bl_alloc(f->a, (size_t)f->n + 1, sizeof *start, e)) ||
        !(past = bl_alloc(f->a, (size_t)f->n, sizeof *past, e)) ||
        !(slot = bl_alloc(f->a, (size_t)f->n, sizeof *slot, e)) ||
        !(slot_of = bl_alloc(f->a, (size_t)f->n, sizeof *slot_of, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(fit_kv(g, f->rows, f->n, e));
    for (int32_t i = 0; i < f->n; i++) {
        const member *m = &f->at[i];
        int64_t own = m->u->n - m->shared;
        if (!own) continue; /* nobody continues it: its parent brings the same rows */
        BL_TRY(bl_kv_slot(g->kv, own, m->parent < 0 ? -1 : slot_of[m->parent], m->shared, &slot_of[i], e));
        memcpy(ids + m->row0, m->u->ids + m->shared, (size_t)own * sizeof *ids);
        past[n] = (int32_t)m->shared;
        slot[n++] = slot_of[i];
        start[n] = (int32_t)(m->row0 + own);
    }
    BL_TRY(bl_forward(
        g->m,
        &(bl_batch){
            .ids = ids, .n_seq = n, .start = start, .past = past, .slot = slot, .want = f->want, .n_want = f->n_want},
        g->kv, hidden, e));
    g->tokens += f->rows;
out:
    return st;
}

/* The first place whose output is not finite in a row of a sequence: 0 the embedding, b+1 block b, n_layers+1 the head.
 */
static int64_t broken_place(bl_engine *g, const bl_scored *u, int64_t row)
{
    int64_t dim = g->m->config.dim, layers = g->m->config.n_layers, at = layers + 1;
    float *trace = bl_new((size_t)((layers + 1) * dim), sizeof *trace, NULL);
    int32_t slot, past = 0, start[] = {0, (int32_t)u->n};

    if (trace && fit_kv(g, u->n, 1, NULL) == BL_OK && bl_kv_slot(g->kv, u->n, -1, 0, &slot, NULL) == BL_OK &&
        bl_forward_trace(g->m, &(bl_batch){.ids = u->ids, .n_seq = 1, .start = start, .past = &past, .slot = &slot},
                         g->kv, row, trace, NULL) == BL_OK)
        for (int64_t i = (layers + 1) * dim - 1; i >= 0; i--)
            if (!isfinite(trace[i])) at = i / dim;
    bl_free(trace);
    return at;
}

static bl_status not_finite(const feed *f, int64_t k, bl_err *e)
{
    int64_t layers = f->g->m->config.n_layers, place;
    int32_t i = 0;
    char where[64] = "the head";

    while (k >= f->at[i].u->scored) k -= f->at[i++].u->scored;
    const bl_scored *u = f->at[i].u;
    place = broken_place(f->g, u, u->n - u->scored + k);
    if (!place) snprintf(where, sizeof where, "the embedding");
    else if (place <= layers) snprintf(where, sizeof where, "block %lld", (long long)(place - 1));
    return bl_fail(e, BL_E_NUMERIC,
                   "request %lld, choice %d: the logits of scored token %lld are not finite; the first such numbers "
                   "come out of %s",
                   (long long)u->request, (int)u->pair, (long long)(u->position + k), where);
}

static bl_status check_losses(const feed *f, int64_t k, int64_t n, bl_err *e)
{
    for (int64_t i = k; i < k + n; i++)
        if (!isfinite(f->nll[i])) return not_finite(f, i, e);
    return BL_OK;
}

static bl_status losses(feed *f, bl_tensor hidden, bl_err *e)
{
    bl_engine *g = f->g;
    bl_backend *be = g->m->be;
    int64_t dim = g->m->config.dim, vocab = g->m->config.vocab,
            most = bl_scored_rows(&g->m->config, be->wide, f->cmp != NULL, be->opts.memory_limit);
    bool gather = f->n_want != f->scored;
    bl_status st = BL_OK;

    most = BL_MIN(most, f->scored);
    for (int64_t k = 0; k < f->scored && !gather; k++) gather = f->from[k] != k;
    uint64_t at_logits = ((uint64_t)(gather ? most * dim : 0) * bl_dtype_bytes(be->act) + 63) / 64 * 64,
             at_nll = at_logits + (uint64_t)(most * vocab) * sizeof(float);
    at_nll = (at_nll + 63) / 64 * 64;
    uint64_t at_top = at_nll + (uint64_t)f->scored * sizeof(double);
    BL_TRY(bl_buffer_fit(be, &g->chunk, at_top + (uint64_t)f->scored * sizeof(int32_t), e));
    bl_tensor nlls = bl_tensor_1d(g->chunk, at_nll, BL_F64, f->scored),
              tops = bl_tensor_1d(g->chunk, at_top, BL_I32, f->scored);
    for (int64_t k = 0; k < f->scored; k += most) {
        int64_t n = BL_MIN(most, f->scored - k);
        bl_tensor x = gather ? bl_tensor_2d(g->chunk, 0, be->act, n, dim) : bl_tensor_rows(hidden, k, n);
        bl_tensor logits = bl_tensor_2d(g->chunk, at_logits, BL_F32, n, vocab), nll = bl_tensor_part(nlls, k, n),
                  top = bl_tensor_part(tops, k, n);
        if (gather)
            BL_TRY(be->ops->gather(
                be, &(bl_gather_args){.src = hidden, .dst = x, .from = bl_tensor_part(f->from_rows, k, n), .n = n}, e));
        BL_TRY(bl_logits(g->m, x, 0, n, logits, e));
        bl_tensor target = bl_tensor_part(f->targets, k, n);
        BL_TRY(be->ops->loss(
            be, &(bl_loss_args){.logits = logits, .vocab = vocab, .target = target, .nll = nll, .argmax = top}, e));
        if (!f->cmp) continue;
        BL_TRY(be->ops->download(be, &nll, f->nll + k, e));
        BL_TRY(check_losses(f, k, n, e));
        BL_TRY(bl_comparison_rows(g, x, logits, target, n, f->cmp + k, f->row + k, e));
    }
    if (f->scored) {
        BL_TRY(be->ops->download(be, &nlls, f->nll, e));
        BL_TRY(be->ops->download(be, &tops, f->argmax, e));
    }
    BL_TRY(check_losses(f, 0, f->scored, e));
out:
    return st;
}

static bl_status run_pass(bl_engine *g, bl_scored *const *u, size_t n, bl_err *e)
{
    feed f = {.g = g, .a = g->arena, .n = (int32_t)n};
    bl_mark mark = bl_arena_mark(g->arena);
    bl_backend *be = g->m->be;
    int64_t k = 0, dim = g->m->config.dim;
    bl_tensor hidden;
    bl_status st = BL_OK;

    BL_TRY(arrange(&f, u, e));
    g->now = f.rows;
    BL_TRY(upload_lists(&f, e));
    BL_TRY(bl_buffer_fit(be, &g->hidden, (uint64_t)(f.n_want * dim) * bl_dtype_bytes(be->act), e));
    hidden = bl_tensor_2d(g->hidden, 0, be->act, f.n_want, dim);
    BL_TRY(hidden_states(&f, hidden, e));
    BL_TRY(losses(&f, hidden, e));
    g->over += f.rows;
    g->now = 0;
    for (size_t i = 0; i < n; i++) {
        u[i]->nll = u[i]->nll_sq = 0;
        u[i]->greedy = u[i]->done = true;
        for (int64_t j = 0; j < u[i]->scored; j++, k++) {
            u[i]->nll += f.nll[k];
            u[i]->nll_sq += f.nll[k] * f.nll[k];
            u[i]->greedy = u[i]->greedy && f.argmax[k] == f.target[k];
        }
    }
out:
    bl_arena_release(g->arena, mark);
    return st;
}

void bl_engine_shrink(bl_engine *g)
{
    bl_kv_free(g->kv);
    g->kv = NULL;
    g->kv_rows = g->kv_slots = 0;
    g->m->be->ops->buffer_free(g->hidden);
    g->m->be->ops->buffer_free(g->chunk);
    g->m->be->ops->buffer_free(g->lists);
    g->m->be->ops->buffer_free(g->base);
    g->hidden = g->chunk = g->lists = g->base = NULL;
}

bl_status bl_engine_pass(bl_engine *g, bl_scored *u, size_t n, bl_err *e)
{
    bl_scored **sorted;
    bl_status st = BL_OK;

    if (!(sorted = bl_alloc(g->arena, n, sizeof *sorted, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(find_families(g, u, n, e));
    for (size_t i = 0; i < n; i++) sorted[i] = &u[i];
    qsort(sorted, n, sizeof *sorted, by_length);
    for (size_t i = 0; i < n; i++) g->all += own_rows(g, i ? sorted[i - 1] : NULL, sorted[i]);
    for (size_t i = 0; i < n;) {
        size_t k = next_pass(g, sorted + i, n - i);
        if (bl_interrupted()) {
            st = bl_fail(e, BL_E_INTERRUPTED, "interrupted");
            goto out;
        }
        st = run_pass(g, sorted + i, k, e);
        if (st == BL_E_DEVMEM && g->decoder && !g->n_put) {
            bl_decoder_free(g->decoder);
            g->decoder = NULL;
            st = BL_OK;
            continue;
        }
        if (st == BL_E_DEVMEM && k > 1) {
            bl_engine_shrink(g);
            g->most_seqs = (int64_t)k / 2;
            bl_log(BL_LOG_INFO, "batch=%lld reason=memory", (long long)g->most_seqs);
            st = BL_OK;
            continue;
        }
        if (st != BL_OK) goto out;
        i += k;
    }
out:
    return st;
}

bl_status bl_engine_score_ids(bl_engine *g, const int32_t *ids, int64_t n, int64_t length, int64_t scored, bl_err *e)
{
    bl_mark mark = bl_arena_mark(g->arena);
    bl_scored *u = bl_alloc(g->arena, (size_t)n, sizeof *u, e);
    if (!u) return BL_E_NOMEM;
    for (int64_t i = 0; i < n; i++)
        u[i] = (bl_scored){
            .ids = ids + i * (length + 1), .n = length, .scored = scored, .request = i, .group = -1, .longest = length};
    bl_status st = bl_engine_pass(g, u, (size_t)n, e);
    bl_arena_release(g->arena, mark);
    return st;
}
