/* cell_items.c - items in batches through the engine, step after step; what an item left is on its way to disk before
 * the next batch.
 *
 * Requests that are scored go together. Generations are decoded side by side: an item whose generation has its reply
 * goes on at once, and while generations run a batch takes in the next items as others end, so that the model is never
 * idle for the longest of them.
 */
#include "cell_impl.h"
#include "kernels/base/fs.h"
#include <string.h>

/* A batch is full at the weight of BL_BATCH_ITEMS items of one pair each, or of as many generations as the device
 * decodes at once; long requests weigh more, so that little is lost when they are interrupted. Streaming, a pass reads
 * every block, so a batch fills one: an item of pairs counts as this many tokens there. */
enum { TOKENS_GUESS = 32, MOST_STEPS = 1 << 16, MOST_ASKS = 4096 };
static const double sync_every = 5, show_every = 0.1; /* seconds between syncs of the journal, between words */

static int64_t weight_of(const bl_request *r)
{
    switch (r->kind) {
    case BL_ASK_ROLLING:
    case BL_ASK_WINDOW: return BL_BATCH_ITEMS / BL_BATCH_WINDOWS;
    case BL_ASK_GENERATE: return BL_BATCH_ITEMS / BL_BATCH_GENERATIONS;
    case BL_ASK_NEAR:
    case BL_ASK_PAIRS:
    case BL_ASK_DONE: break;
    }
    return 1;
}

/* One item between its first request and its mark. */
typedef struct asked {
    int64_t id;
    bl_turn turn;
    bl_request request; /* DONE: it waits for its mark */
    bl_reply *reply;
    bl_comparison *cmp; /* [turn.n_replies] */
    int cap;
    const bl_states *base;
    int n_base; /* steps */
    bool put;   /* its generation runs */
    bool down;  /* it is in the journal */
    int64_t weight;
} asked;

typedef struct batch {
    asked *item;
    int64_t n, cap, weight, tokens; /* of those that are not down yet */
    int64_t open, asks;             /* that ask; how often all of them did: their texts are in scratch memory */
} batch;

static bl_status ask(const bl_cell_work *w, asked *a, bl_err *e)
{
    a->request = (bl_request){0};
    bl_status st = bl_task_ask(w->choice->task, w->data, a->id, &a->turn, &a->request, e);
    if (st == BL_OK && a->turn.step == MOST_STEPS)
        st = bl_fail(e, BL_E_INTERNAL, "the task asks more than %d times", MOST_STEPS);
    if (st != BL_OK) bl_within(e, "item %lld", (long long)a->id);
    return st;
}

static bl_status grow(void **list, size_t size, int n, int cap, bl_arena *a, bl_err *e)
{
    void *more = bl_alloc(a, (size_t)cap, size, e);
    if (!more) return BL_E_NOMEM;
    if (n) memcpy(more, *list, (size_t)n * size);
    *list = more;
    return BL_OK;
}

/* ---- a batch ---- */

static bool done(const bl_cell_work *w, int64_t id)
{
    return bl_journal_has(w->journal, id) && (!w->divergence || bl_divergence_has(w->divergence, id));
}

/* First requests of items from *next on, until the batch is full. `least`: what an item weighed at its heaviest step so
 * far, since later steps are not known yet. */
static bl_status gather(const bl_cell_work *w, int64_t *next, int64_t least, int64_t most_tokens, bl_arena *scratch,
                        batch *b, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t full = BL_MAX((int64_t)BL_BATCH_ITEMS, bl_engine_most_open(w->job->engine));

    for (; *next < w->n_items && (b->weight < full || b->tokens < most_tokens); ++*next) {
        int64_t id = w->turn ? w->turn[*next] : bl_item_of(w, *next);
        if (done(w, id)) continue;
        if (b->n == b->cap) {
            b->cap = b->cap ? 2 * b->cap : BL_BATCH_ITEMS;
            BL_TRY(grow((void **)&b->item, sizeof *b->item, (int)b->n, (int)b->cap, scratch, e));
        }
        asked *a = &b->item[b->n++];
        *a = (asked){.id = id, .turn = {.arena = scratch}};
        BL_TRY(ask(w, a, e));
        if (w->divergence) BL_TRY(bl_divergence_base(w->divergence, a->id, scratch, &a->base, &a->n_base, e));
        a->weight = BL_MAX(weight_of(&a->request), least);
        b->weight += a->weight;
        b->tokens += a->request.kind == BL_ASK_WINDOW ? BL_MAX(a->request.length, 1) : TOKENS_GUESS;
        b->open += a->request.kind != BL_ASK_DONE;
        b->asks++;
    }
out:
    return st;
}

/* An item has one more reply, and asks again or is done. */
static bl_status answer(const bl_cell_work *w, batch *b, asked *a, const bl_reply *reply, const bl_comparison *cmp,
                        bl_arena *scratch, bl_err *e)
{
    bl_status st = BL_OK;
    int at = a->turn.n_replies;

    if (at == a->cap) {
        int cap = a->cap ? 2 * a->cap : 2;
        BL_TRY(grow((void **)&a->reply, sizeof *a->reply, at, cap, scratch, e));
        BL_TRY(grow((void **)&a->cmp, sizeof *a->cmp, at, cap, scratch, e));
        a->cap = cap;
    }
    a->reply[at] = *reply;
    a->cmp[at] = *cmp;
    a->turn.reply = a->reply;
    a->turn.n_replies++;
    a->turn.step++;
    BL_TRY(ask(w, a, e));
    b->open -= a->request.kind == BL_ASK_DONE;
    b->asks++;
out:
    return st;
}

static bool generates(const asked *a) { return a->request.kind == BL_ASK_GENERATE; }

/* Replies to all that ask for scores; *heaviest what the heaviest of them weighs. An interrupt leaves some without. */
static bl_status score(const bl_cell_work *w, batch *b, bl_arena *scratch, int64_t *heaviest, bl_err *e)
{
    bl_status st = BL_OK;
    size_t n = (size_t)b->n;
    bl_request *req = bl_alloc(scratch, n, sizeof *req, e);
    bl_reply *reply = bl_alloc(scratch, n, sizeof *reply, e);
    bl_comparison *cmp = bl_alloc(scratch, n, sizeof *cmp, e);
    asked **of = bl_alloc(scratch, n, sizeof *of, e);
    int64_t m = 0;
    bool interrupted;

    if (!req || !reply || !cmp || !of) return BL_E_NOMEM;
    for (int64_t i = 0; i < b->n; i++) {
        asked *a = &b->item[i];
        if (a->request.kind == BL_ASK_DONE || generates(a)) continue;
        req[m] = a->request;
        cmp[m] = (bl_comparison){.keep = w->divergence && bl_divergence_keeps(w->divergence),
                                 .base = a->turn.step < a->n_base ? &a->base[a->turn.step] : NULL};
        of[m++] = a;
        *heaviest = BL_MAX(*heaviest, weight_of(&a->request));
    }
    st = bl_engine_compare(w->job->engine, req, m, scratch, reply, w->divergence ? cmp : NULL, e);
    interrupted = st == BL_E_INTERRUPTED;
    if (st != BL_OK && !interrupted) goto out;
    for (int64_t k = 0; k < m; k++)
        if (reply[k].kind != BL_ASK_DONE) BL_TRY(answer(w, b, of[k], &reply[k], &cmp[k], scratch, e));
    if (interrupted) st = bl_fail(e, BL_E_INTERRUPTED, "interrupted");
out:
    return st;
}

/* The reply to a generation that ends next, of all that ask for one. */
static bl_status decode(const bl_cell_work *w, batch *b, bl_arena *scratch, int64_t *heaviest, bl_err *e)
{
    bl_status st = BL_OK;
    bl_engine *g = w->job->engine;
    const bl_comparison none = {0};
    bl_reply reply;
    int64_t at;

    for (int64_t i = 0; i < b->n; i++) {
        asked *a = &b->item[i];
        if (!generates(a) || a->put) continue;
        st = bl_engine_put(g, &a->request, i, scratch, e);
        if (st != BL_OK) {
            bl_within(e, "item %lld", (long long)a->id);
            goto out;
        }
        a->put = true;
        *heaviest = BL_MAX(*heaviest, weight_of(&a->request));
    }
    BL_TRY(bl_engine_take(g, &at, &reply, e));
    b->item[at].put = false;
    BL_TRY(answer(w, b, &b->item[at], &reply, &none, scratch, e));
out:
    return st;
}

/* Side data first: an item in the journal has it. */
static bl_status put_down(const bl_cell_work *w, const asked *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_sample s;

    BL_TRY(bl_mark_item(w->choice->task, w->data, a->id, &a->turn, &s, e));
    if (w->divergence) BL_TRY(bl_divergence_item(w->divergence, a->id, a->cmp, a->turn.n_replies, e));
    if (!bl_journal_has(w->journal, a->id)) BL_TRY(bl_journal_add(w->journal, &s, e));
out:
    return st;
}

/* Those that are done. */
static bl_status put_all_down(const bl_cell_work *w, batch *b, int64_t *finished, bl_err *e)
{
    bl_status st = BL_OK;
    for (int64_t i = 0; i < b->n; i++) {
        asked *a = &b->item[i];
        if (a->down || a->request.kind != BL_ASK_DONE) continue;
        BL_TRY(put_down(w, a, e));
        a->down = true;
        b->weight -= a->weight;
        ++*finished;
    }
out:
    return st;
}

static bl_status sync_all(const bl_cell_work *w, double *synced, bl_err *e)
{
    bl_status st = BL_OK;
    if (w->divergence) BL_TRY(bl_divergence_sync(w->divergence, e));
    BL_TRY(bl_journal_sync(w->journal, e));
    *synced = bl_now();
out:
    return st;
}

/* Where the cell is while a batch runs. */
typedef struct place {
    const bl_cell_work *w;
    int64_t finished, open; /* items that are down, items of the batch that are not */
    double most, shown;     /* said so far: a later step begins anew */
} place;

static void show(place *p, double done)
{
    const bl_cell_job *job = p->w->job;
    double spent = bl_now() - p->w->meter.t0;
    p->shown = bl_now();
    p->most = BL_MAX(p->most, done);
    if (job->progress)
        job->progress(job->ctx, p->most, p->w->n_items,
                      (double)(bl_engine_tokens(job->engine) - p->w->meter.tokens) / BL_MAX(spent, 1e-9));
}

static void inside(void *ctx, double share)
{
    place *p = ctx;
    bl_fault_point("in-batch", p->w->job->cell->key);
    if (bl_now() - p->shown > show_every) show(p, (double)p->finished + (double)p->open * share);
}

static bl_status now_and_then(const bl_cell_work *w, place *at, double *synced, bl_err *e)
{
    bl_status st = BL_OK;
    if (bl_now() - *synced > sync_every) {
        BL_TRY(sync_all(w, synced, e));
        BL_TRY(bl_checkpoint_unchanged(w->job->source, e)); /* before more time is spent */
    }
    if (bl_now() - at->shown > show_every) show(at, (double)at->finished);
out:
    return st;
}

/* One batch until all of it is down; while generations run it takes in more, until there is much in scratch memory. */
static bl_status run_batch(const bl_cell_work *w, place *at, int64_t *next, int64_t *heaviest, bl_arena *scratch,
                           double *synced, bl_err *e)
{
    bl_engine *g = w->job->engine;
    int64_t most_tokens = w->job->plan->spec->stream ? bl_engine_pass_tokens(g) : 0;
    batch b = {0};
    bl_status st = BL_OK;

    BL_TRY(gather(w, next, *heaviest, most_tokens, scratch, &b, e));
    while (b.n) {
        int64_t waiting = 0, before = at->finished;
        for (int64_t i = 0; i < b.n; i++) waiting += b.item[i].request.kind != BL_ASK_DONE && !generates(&b.item[i]);
        at->open = b.open;
        if (waiting && (waiting == b.open || waiting >= BL_BATCH_ITEMS / 4)) st = score(w, &b, scratch, heaviest, e);
        else if (b.open) st = decode(w, &b, scratch, heaviest, e);
        if (st == BL_OK || st == BL_E_INTERRUPTED) {
            bl_status down = put_all_down(w, &b, &at->finished, e);
            if (down != BL_OK) st = down;
        }
        if (st != BL_OK || !b.open) break;
        if (bl_engine_open(g) && b.asks < MOST_ASKS) BL_TRY(gather(w, next, *heaviest, 0, scratch, &b, e));
        if (at->finished > before) bl_fault_point("after-batch", w->job->cell->key);
        BL_TRY(now_and_then(w, at, synced, e));
    }
out:
    if (st != BL_OK) bl_engine_drop(g);
    return st;
}

bl_status bl_cell_items(bl_cell_work *w, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_cell_job *job = w->job;
    bl_arena *scratch = NULL;
    int64_t next = 0, heaviest = 1;
    double synced = bl_now();
    place at = {.w = w};

    BL_TRY(bl_arena_new(&scratch, e));
    for (int64_t k = 0; k < w->n_items; k++) at.finished += done(w, bl_item_of(w, k));
    show(&at, (double)at.finished);
    bl_engine_set_watch(job->engine, inside, &at);
    while (at.finished < w->n_items) {
        bl_mark mark = bl_arena_mark(scratch);
        if (bl_interrupted()) st = bl_fail(e, BL_E_INTERRUPTED, "interrupted");
        if (st == BL_OK) st = run_batch(w, &at, &next, &heaviest, scratch, &synced, e);
        bl_arena_release(scratch, mark);
        if (st != BL_OK) { /* what is finished stays */
            sync_all(w, &synced, NULL);
            goto out;
        }
        bl_fault_point("after-batch", job->cell->key);
        BL_TRY(now_and_then(w, &at, &synced, e));
        if (at.finished == w->n_items) show(&at, (double)at.finished);
        BL_TRY(bl_checkpoint_unchanged(job->source, e));
    }
    BL_TRY(sync_all(w, &synced, e));
out:
    bl_engine_set_watch(job->engine, NULL, NULL);
    bl_arena_free(scratch);
    return st;
}
