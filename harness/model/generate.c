/* generate.c - prompts are taken in order, as many as the cache holds, and decoded together one token a step; those
 * that have ended leave the batch. */
#include "generate.h"
#include "model_impl.h"
#include "kernels/base/rng.h"
#include "kernels/base/utf8.h"
#include <math.h>
#include <string.h>

enum { MOST_AT_ONCE = 32, LEAST_SHARED = 16 }; /* sequences; tokens worth a slot of their own */

/* One stop string and how much of it the stream ends with (Knuth, Morris, Pratt). */
typedef struct stop {
    const char *s;
    size_t n, at, *fall;
} stop;
typedef struct range {
    size_t from, to;
} range;

typedef struct seq {
    const bl_gen_request *req;
    bl_gen_reply *out;
    int32_t slot, next; /* next: token to feed */
    int64_t most;       /* new tokens allowed */
    bl_text stream;     /* bytes of all new tokens, special ones included: a stop may be the text of one */
    range *special;
    size_t n_special, cap_special; /* where those are */
    stop *stops;
    int n_stops;
    size_t cut; /* where the first stop begins; SIZE_MAX: none yet */
    bool done;
} seq;

typedef struct group {
    bl_model *m;
    const bl_tokenizer *t;
    bl_arena *a;
    bool margins;
    seq *seq;
    int32_t n_seq;
    bl_kv *kv;
    bl_buffer *buf; /* hidden act [n, dim], logits f32 [n, vocab], nll f64 [n], u f64 [n], picked i32 [n] */
    bl_tensor hidden, logits, nll, u, picked;
    double *host_nll, *host_u;
    int32_t *host_picked;
    float *host_logits;
    int32_t *ids, *start, *past, *slot;
    int64_t *want; /* of a batch */
} group;

/* ---- stops and text ---- */
static bl_status new_stops(seq *q, bl_arena *a, bl_err *e)
{
    q->cut = SIZE_MAX;
    if (!(q->stops = bl_alloc(a, (size_t)q->req->n_stops, sizeof *q->stops, e))) return BL_E_NOMEM;
    for (int i = 0; i < q->req->n_stops; i++) {
        stop *s = &q->stops[q->n_stops];
        s->s = q->req->stop[i];
        if (!(s->n = strlen(s->s))) continue; /* an empty one stops nothing */
        if (!(s->fall = bl_alloc(a, s->n + 1, sizeof *s->fall, e))) return BL_E_NOMEM;
        for (size_t k = 1, at = 0; k < s->n; k++) {
            while (at && s->s[k] != s->s[at]) at = s->fall[at];
            s->fall[k + 1] = at += s->s[k] == s->s[at];
        }
        q->n_stops++;
    }
    return BL_OK;
}

/* Feeds bytes that are at stream[from..]; the earliest beginning of a stop that ends in them is where the text is cut.
 */
static void match_stops(seq *q, size_t from)
{
    for (int i = 0; i < q->n_stops; i++) {
        stop *s = &q->stops[i];
        for (size_t p = from; p < q->stream.n; p++) {
            while (s->at && (s->at == s->n || q->stream.s[p] != s->s[s->at])) s->at = s->fall[s->at];
            s->at += q->stream.s[p] == s->s[s->at];
            if (s->at == s->n) q->cut = BL_MIN(q->cut, p + 1 - s->n);
        }
    }
}

static bl_status add_token(const group *g, seq *q, int32_t id, bl_err *e)
{
    size_t n, from = q->stream.n;
    const char *bytes;
    bl_status st = BL_OK;

    q->out->ids[q->out->n++] = id;
    if (!g->t) return BL_OK;
    bytes = bl_token_bytes(g->t, id, &n);
    bl_text_addn(&q->stream, bytes, n);
    BL_TRY(bl_text_check(&q->stream, e));
    if (bl_tokenizer_is_special(g->t, id)) {
        BL_TRY(bl_grow(&q->special, &q->cap_special, q->n_special + 1, sizeof *q->special, e));
        q->special[q->n_special++] = (range){from, q->stream.n};
    }
    match_stops(q, from);
out:
    return st;
}

/* s[0..n) without the special ranges and what comes after the cut; what is not UTF-8, and NUL, becomes U+FFFD. */
static bl_status finish_text(seq *q, bl_arena *a, bl_err *e)
{
    bl_text t = {0};
    size_t end = BL_MIN(q->stream.n, q->cut), kept = 0, r = 0, n = 0;
    bl_status st = BL_OK;

    for (size_t i = 0; i < end; i++) {
        while (r < q->n_special && q->special[r].to <= i) r++;
        if (r < q->n_special && q->special[r].from <= i) continue;
        q->stream.s[kept++] = q->stream.s[i];
    }
    while (n < kept) {
        uint32_t c;
        size_t k = bl_utf8_get(q->stream.s + n, kept - n, &c);
        if (k == 0 || !c) {
            bl_text_add(&t, "\xef\xbf\xbd");
            n++;
        } else {
            bl_text_addn(&t, q->stream.s + n, k);
            n += k;
        }
    }
    BL_TRY(bl_text_check(&t, e));
    q->out->n_text = t.n;
    if (!(q->out->text = bl_arena_str(a, t.s ? t.s : "", t.n, e))) st = BL_E_NOMEM;
out:
    bl_text_free(&t);
    return st;
}

/* ---- steps ---- */
static double margin(const float *x, int64_t vocab, int32_t top)
{
    double second = -INFINITY;
    for (int64_t i = 0; i < vocab; i++)
        if (i != top && x[i] > second) second = x[i];
    return x[top] - second;
}

static bool ends(const group *g, int32_t id) { return g->t ? bl_tokenizer_ends(g->t, id) : id == g->m->config.eos; }

/* Tokens for the n sequences of `active`, whose final hidden states are in g->hidden. */
static bl_status pick(group *g, const int32_t *active, int32_t n, bl_err *e)
{
    bl_backend *be = g->m->be;
    int64_t vocab = g->m->config.vocab;
    bl_tensor logits = bl_tensor_rows(g->logits, 0, n), nll = bl_tensor_part(g->nll, 0, n);
    bl_tensor picked = bl_tensor_part(g->picked, 0, n), u = bl_tensor_part(g->u, 0, n);
    bool drawn = false;
    bl_status st = BL_OK;

    BL_TRY(bl_logits(g->m, g->hidden, 0, n, logits, e));
    BL_TRY(be->ops->loss(be, &(bl_loss_args){.logits = logits, .vocab = vocab, .nll = nll, .argmax = picked}, e));
    BL_TRY(be->ops->download(be, &nll, g->host_nll, e));
    for (int32_t i = 0; i < n; i++) {
        const seq *q = &g->seq[active[i]];
        if (!isfinite(g->host_nll[i])) {
            st = bl_fail(e, BL_E_NUMERIC, "the logits after %lld new tokens are not finite", (long long)q->out->n);
            goto out;
        }
        bl_rng rng = bl_rng_at(q->req->seed, bl_rng_key("generate", 0), (uint64_t)q->out->n);
        g->host_u[i] = bl_rng_uniform(&rng);
        drawn = drawn || q->req->temperature > 0;
    }
    if (drawn) BL_TRY(be->ops->upload(be, &u, g->host_u, e));
    for (int32_t i = 0; i < n && drawn; i++) {
        const bl_gen_request *r = g->seq[active[i]].req;
        if (r->temperature <= 0) continue;
        BL_TRY(be->ops->sample(be,
                               &(bl_sample_args){.logits = bl_tensor_rows(logits, i, 1),
                                                 .vocab = vocab,
                                                 .temperature = r->temperature,
                                                 .top_p = r->top_p,
                                                 .u = bl_tensor_part(u, i, 1),
                                                 .ids = bl_tensor_part(picked, i, 1)},
                               e));
    }
    BL_TRY(be->ops->download(be, &picked, g->host_picked, e));
    if (g->margins) BL_TRY(be->ops->download(be, &logits, g->host_logits, e));
    for (int32_t i = 0; i < n; i++) {
        seq *q = &g->seq[active[i]];
        if (g->margins) q->out->margin[q->out->n] = margin(g->host_logits + i * vocab, vocab, g->host_picked[i]);
        q->next = g->host_picked[i];
        if (!q->req->ignore_end && ends(g, q->next)) {
            q->done = true;
            continue;
        }
        BL_TRY(add_token(g, q, q->next, e));
        q->out->hit_limit = q->out->n == q->most && q->cut == SIZE_MAX;
        q->done = q->out->n == q->most || q->cut != SIZE_MAX;
    }
out:
    return st;
}

/* Tokens at the beginning of every prompt, each of which keeps at least one of its own. */
static int64_t shared_beginning(const bl_gen_request *r, int64_t n)
{
    int64_t shared = r[0].n - 1;
    for (int64_t i = 1; i < n; i++) {
        int64_t k = 0;
        while (k < BL_MIN(shared, r[i].n - 1) && r[i].ids[k] == r[0].ids[k]) k++;
        shared = k;
    }
    return n > 1 && shared >= LEAST_SHARED ? shared : 0;
}

static int64_t new_tokens(const bl_model *m, const bl_gen_request *r)
{
    return BL_MAX(BL_MIN(r->max_new, bl_model_max_len(m) - r->n + 1), 0); /* the last new token is never fed */
}

/* Cache rows of the first n requests when they go together. */
static int64_t rows_of(const bl_model *m, const bl_gen_request *r, int64_t n)
{
    int64_t shared = shared_beginning(r, n), rows = shared;
    for (int64_t i = 0; i < n; i++) rows += r[i].n - shared + new_tokens(m, &r[i]);
    return rows;
}

static bl_status prefill(group *g, const bl_gen_request *r, bl_err *e)
{
    int64_t shared = shared_beginning(r, g->n_seq);
    int32_t n = 0, row = 0, parent = -1;
    bl_status st = BL_OK;

    g->start[0] = 0;
    if (shared) {
        BL_TRY(bl_kv_slot(g->kv, shared, -1, 0, &parent, e));
        memcpy(g->ids, r[0].ids, (size_t)shared * sizeof *g->ids);
        g->past[n] = 0;
        g->slot[n++] = parent;
        g->start[n] = row = (int32_t)shared;
    }
    for (int32_t i = 0; i < g->n_seq; i++) {
        int64_t own = r[i].n - shared;
        BL_TRY(bl_kv_slot(g->kv, own + g->seq[i].most, parent, shared, &g->seq[i].slot, e));
        memcpy(g->ids + row, r[i].ids + shared, (size_t)own * sizeof *g->ids);
        row += (int32_t)own;
        g->past[n] = (int32_t)shared;
        g->slot[n++] = g->seq[i].slot;
        g->start[n] = row;
        g->want[i] = row - 1;
    }
    BL_TRY(bl_forward(g->m,
                      &(bl_batch){.ids = g->ids,
                                  .n_seq = n,
                                  .start = g->start,
                                  .past = g->past,
                                  .slot = g->slot,
                                  .want = g->want,
                                  .n_want = g->n_seq},
                      g->kv, g->hidden, e));
out:
    return st;
}

static bl_status decode(group *g, const bl_gen_request *r, bl_err *e)
{
    int32_t active[MOST_AT_ONCE], n = g->n_seq;
    bl_status st = BL_OK;

    for (int32_t i = 0; i < n; i++) active[i] = i;
    BL_TRY(prefill(g, r, e));
    for (;;) {
        int32_t left = 0;
        BL_TRY(pick(g, active, n, e));
        for (int32_t i = 0; i < n; i++)
            if (!g->seq[active[i]].done) active[left++] = active[i];
        if (!(n = left)) break;
        if (bl_interrupted()) {
            st = bl_fail(e, BL_E_INTERRUPTED, "interrupted");
            goto out;
        }
        for (int32_t i = 0; i < n; i++) {
            const seq *q = &g->seq[active[i]];
            g->ids[i] = q->next;
            g->start[i] = i;
            g->past[i] = (int32_t)bl_kv_len(g->kv, q->slot);
            g->slot[i] = q->slot;
            g->want[i] = i;
        }
        g->start[n] = n;
        BL_TRY(bl_forward(g->m,
                          &(bl_batch){.ids = g->ids,
                                      .n_seq = n,
                                      .start = g->start,
                                      .past = g->past,
                                      .slot = g->slot,
                                      .want = g->want,
                                      .n_want = n},
                          g->kv, g->hidden, e));
    }
out:
    return st;
}

/* ---- one group ---- */
static bl_status new_group(group *g, const bl_gen_request *r, int32_t n, bl_gen_reply *out, bl_err *e)
{
    bl_backend *be = g->m->be;
    uint64_t dim = (uint64_t)g->m->config.dim, vocab = (uint64_t)g->m->config.vocab, rows = (uint64_t)n;
    uint64_t at_logits = (rows * dim * bl_dtype_bytes(be->act) + 63) / 64 * 64,
             at_nll = (at_logits + rows * vocab * sizeof(float) + 63) / 64 * 64, at_u = at_nll + rows * sizeof(double),
             at_picked = at_u + rows * sizeof(double);
    int64_t prompt = 0;
    bl_status st = BL_OK;

    g->n_seq = n;
    if (!(g->seq = bl_new(rows, sizeof *g->seq, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int32_t i = 0; i < n; i++) {
        seq *q = &g->seq[i];
        q->req = &r[i];
        q->out = &out[i];
        q->most = new_tokens(g->m, &r[i]);
        prompt += r[i].n;
        BL_TRY(new_stops(q, g->a, e));
        if (!(q->out->ids = bl_alloc(g->a, (size_t)q->most, sizeof *q->out->ids, e)) ||
            (g->margins && !(q->out->margin = bl_alloc(g->a, (size_t)q->most + 1, sizeof *q->out->margin, e)))) {
            st = BL_E_NOMEM;
            goto out;
        }
    }
    if (!(g->ids = bl_new((size_t)prompt, sizeof *g->ids, e)) || !(g->start = bl_new(rows + 2, sizeof *g->start, e)) ||
        !(g->past = bl_new(rows + 1, sizeof *g->past, e)) || !(g->slot = bl_new(rows + 1, sizeof *g->slot, e)) ||
        !(g->want = bl_new(rows, sizeof *g->want, e)) || !(g->host_nll = bl_new(rows, sizeof *g->host_nll, e)) ||
        !(g->host_u = bl_new(rows, sizeof *g->host_u, e)) ||
        !(g->host_picked = bl_new(rows, sizeof *g->host_picked, e)) ||
        (g->margins && !(g->host_logits = bl_new(rows * vocab, sizeof *g->host_logits, e)))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(be->ops->buffer_new(be, at_picked + rows * sizeof(int32_t), &g->buf, e));
    g->hidden = bl_tensor_2d(g->buf, 0, be->act, n, (int64_t)dim);
    g->logits = bl_tensor_2d(g->buf, at_logits, BL_F32, n, (int64_t)vocab);
    g->nll = bl_tensor_1d(g->buf, at_nll, BL_F64, n);
    g->u = bl_tensor_1d(g->buf, at_u, BL_F64, n);
    g->picked = bl_tensor_1d(g->buf, at_picked, BL_I32, n);
    BL_TRY(bl_kv_new(g->m, rows_of(g->m, r, n), n + 1, false, g->m->kv, &g->kv, e));
out:
    return st;
}

static void drop_group(group *g)
{
    for (int32_t i = 0; i < g->n_seq && g->seq; i++) {
        bl_text_free(&g->seq[i].stream);
        bl_free(g->seq[i].special);
    }
    bl_kv_free(g->kv);
    g->m->be->ops->buffer_free(g->buf);
    bl_free(g->seq);
    bl_free(g->ids);
    bl_free(g->start);
    bl_free(g->past);
    bl_free(g->slot);
    bl_free(g->want);
    bl_free(g->host_nll);
    bl_free(g->host_u);
    bl_free(g->host_picked);
    bl_free(g->host_logits);
}

static bl_status check_request(const bl_model *m, const bl_tokenizer *t, const bl_gen_request *r, bl_err *e)
{
    if (r->n < 1) return bl_fail(e, BL_E_CONFIG, "a prompt needs at least one token");
    if (r->n > bl_model_max_len(m))
        return bl_fail(e, BL_E_CONFIG, "a prompt of %lld tokens does not fit the model's %lld positions",
                       (long long)r->n, (long long)bl_model_max_len(m));
    if (r->n_stops && !t) return bl_fail(e, BL_E_CONFIG, "stop strings need a tokenizer");
    return BL_OK;
}

bl_status bl_generate(bl_model *m, const bl_tokenizer *t, const bl_gen_request *req, int64_t n, int64_t max_rows,
                      bool margins, bl_arena *a, bl_gen_reply *out, bl_err *e)
{
    int64_t most = BL_MIN((int64_t)MOST_AT_ONCE, bl_logits_rows(m));
    group g = {.m = m};
    bl_status st = BL_OK;

    for (int64_t i = 0; i < n; i++) {
        out[i] = (bl_gen_reply){0};
        if ((st = check_request(m, t, &req[i], e)) != BL_OK) {
            bl_within(e, "request %lld", (long long)i);
            return st;
        }
    }
    for (int64_t i = 0, k; i < n; i += k) {
        bool none = new_tokens(m, &req[i]) == 0; /* nothing to decode: alone */
        for (k = 1; !none && k < most && i + k < n && new_tokens(m, &req[i + k]) > 0 &&
                    rows_of(m, req + i, k + 1) <= max_rows;)
            k++;
        g = (group){.m = m, .t = t, .a = a, .margins = margins};
        BL_TRY(new_group(&g, req + i, (int32_t)k, out + i, e));
        if (none) out[i].hit_limit = g.seq[0].done = true;
        else st = decode(&g, req + i, e);
        if (st != BL_OK && st != BL_E_INTERRUPTED) goto out;
        for (int64_t j = 0; j < k; j++) {
            if (!g.seq[j].done) continue;
            bl_status text = finish_text(&g.seq[j], a, e);
            out[i + j].ended = text == BL_OK;
            if (text != BL_OK) st = text;
        }
        if (st != BL_OK) goto out;
        drop_group(&g);
        g = (group){.m = m};
    }
out:
    drop_group(&g);
    return st;
}
