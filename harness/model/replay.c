/* replay.c - steps of decoding are recorded once and replayed, so that the host says one thing for a token and not some
 * hundred.
 *
 * Between two steps only what the lists hold changes: ids, positions, cache rows, segments. A record is of one number
 * of sequences and of the places in memory that it was made with; a step that comes with others is computed op by op,
 * and recorded when it comes again. The first time also makes all scratch that the ops need. Weights of a model that
 * decodes stay where they are.
 */
#include "model_impl.h"
#include <string.h>

enum { MOST_SEQS = 512 };

/* Where everything is that a step reads and writes, and how its lists are cut. */
typedef struct places {
    const void *cache, *hidden, *lists, *residual, *work, *rope, *weight;
    int64_t cache_rows, rope_len;
    size_t n_seg, run_seg;
} places;

typedef struct record {
    places at;
    bool seen;
    bl_graph *ops; /* NULL: it came once */
} record;

struct bl_replay {
    record of[MOST_SEQS + 1]; /* by number of sequences */
};

static const void *place(const bl_buffer *b) { return b ? b->data : NULL; }

static places places_of(const bl_pass *p)
{
    const bl_model_own *own = p->m->own;
    places at;
    memset(&at, 0, sizeof at); /* it is compared byte by byte */
    at.cache = place(p->kv->buf);
    at.hidden = (const char *)place(p->hidden.buf) + p->hidden.offset;
    at.lists = place(p->p->lists);
    at.residual = place(own->residual);
    at.work = place(own->work);
    at.rope = place(own->rope);
    at.weight = place(p->m->embed.weight.owned);
    at.cache_rows = p->kv->rows;
    at.rope_len = own->rope_len;
    at.n_seg = p->p->n_seg;
    at.run_seg = p->p->chunk[0].run_seg; /* where other lists begin follows from the number of sequences */
    return at;
}

void bl_replay_free(bl_backend *be, bl_replay *r)
{
    if (!r) return;
    for (int i = 0; i <= MOST_SEQS; i++)
        if (r->of[i].ops) be->ops->graph_free(r->of[i].ops);
    bl_free(r);
}

static bl_status make(bl_pass *p, bl_pass_fn *all, record *r, bl_err *e)
{
    bl_backend *be = p->m->be;
    bl_status st, ended;
    BL_TRY(be->ops->graph_begin(be, e));
    st = all(p, e);
    ended = be->ops->graph_end(be, &r->ops, st == BL_OK ? e : NULL);
    if (st == BL_OK) st = ended;
    if (st != BL_OK && ended == BL_OK) {
        be->ops->graph_free(r->ops);
        r->ops = NULL;
    }
out:
    return st;
}

bl_status bl_replay_pass(bl_pass *p, bl_pass_fn *all, bl_err *e)
{
    bl_backend *be = p->m->be;
    bl_model_own *own = p->m->own;
    bl_status st = BL_OK;
    places at = places_of(p);

    p->by_list = true;
    if (p->b->n_seq > MOST_SEQS || p->p->n_chunks > 1) return all(p, e);
    if (!own->replay && !(own->replay = bl_new(1, sizeof *own->replay, e))) return BL_E_NOMEM;
    record *r = &own->replay->of[p->b->n_seq];
    if (!r->seen || memcmp(&r->at, &at, sizeof at) != 0) {
        if (r->ops) be->ops->graph_free(r->ops);
        *r = (record){.at = at, .seen = true};
        memcpy(&r->at, &at, sizeof at);
        return all(p, e);
    }
    if (!r->ops) BL_TRY(make(p, all, r, e));
    BL_TRY(be->ops->graph_replay(be, r->ops, e));
out:
    return st;
}
