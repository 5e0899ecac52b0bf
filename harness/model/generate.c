/* generate.c - continuous batching: a pass takes the next token of every sequence that is decoded and, while there is
 * room, the prompts of those that wait.
 *
 *     pass 1   a a a a a a | b b b c c          prompts; b and c begin like a and bring only what is their own
 *     pass 2   a | b | c                        one token each
 *     pass 3   a | c | d d d d                  b has ended, d joins
 *
 * A sequence has its tokens, those of the prompt and the new ones, and as many of them as its slot holds are in the
 * cache; what is missing is fed. So one that must leave the cache, when those before it need its pages, later goes on
 * where it was.
 *
 * On a device that works by itself, where all that is decoded is greedy and nobody can join, a pass begins before the
 * tokens of the one before it are known here: it takes them where they are. What a sequence that has ended has in it
 * is not looked at.
 *
 *     device   pass 2          | pass 3          | pass 4
 *     here     lists of pass 3 | tokens of 2, lists of 4 | tokens of 3, ...
 */
#include "generate.h"
#include "gen_text.h"
#include "model_impl.h"
#include "kernels/base/rng.h"
#include <math.h>
#include <string.h>

enum {
    MOST_AT_ONCE = 64,
    PASS_ROWS = 2048,
    LEAST_PASS_ROWS = 64,
    SPARE_PAGES = 4 /* for each that is decoded, before another joins */
};

typedef struct seq {
    bl_gen_request req; /* its ids are not looked at */
    int64_t tag;
    bl_arena *a;
    bl_gen_reply *out;
    int32_t *ids; /* [prompt + most] */
    int64_t n, prompt, most;
    double *margin;
    bl_gen_text text;
    int32_t slot; /* -1: not in the cache */
    bool whole;   /* its turns depend on its length: the prompt is fed at once, nothing of it is shared or fed again */
    struct seq *next;
} seq;
typedef struct queue {
    seq *first, *last;
} queue;

struct bl_decoder {
    bl_model *m;
    const bl_tokenizer *t;
    bool margins;
    int64_t most_rows, pass_rows;
    int32_t most; /* sequences at once */
    queue waiting, ended;
    seq **active; /* [most] in the order they joined */
    int32_t n_active;
    int64_t n_open, n_put, n_done; /* put and done: since it was idle */
    int64_t rows;
    bl_kv *kv;
    int64_t kv_rows;
    int32_t kv_slots;
    bl_buffer *buf; /* hidden act [n, dim], logits f32 [n, vocab], then twice nll f64 [n], u f64 [n], picked i32 [n] */
    bl_tensor hidden, logits;
    struct {
        bl_tensor nll, u, picked;
        bl_event *there; /* where a pass may be ahead */
    } of[2];
    int now; /* which of these the last pass wrote */
    bl_device_stream *beside;
    seq **ahead;     /* [n_ahead] those of the last pass, whose tokens are not known here; NULL: it has ended */
    int32_t n_ahead; /* 0: all is known */
    void *host;      /* nll, u and picked as they follow each other in buf */
    double *host_nll, *host_u;
    int32_t *host_picked;
    float *host_logits;
    /* of a pass */
    int32_t *ids;
    size_t cap_ids;
    int32_t *start, *past, *slot;
    int64_t *want;
    seq **fed; /* [n_seq] */
    int32_t n_seq, n_want;
};

/* ---- sequences ---- */
static void append(queue *q, seq *s)
{
    s->next = NULL;
    if (q->last) q->last->next = s;
    else q->first = s;
    q->last = s;
}

static void prepend(queue *q, seq *s)
{
    s->next = q->first;
    q->first = s;
    if (!q->last) q->last = s;
}

static seq *pop(queue *q)
{
    seq *s = q->first;
    if (s && !(q->first = s->next)) q->last = NULL;
    return s;
}

static void free_seq(seq *s)
{
    if (!s) return;
    bl_gen_text_free(&s->text);
    bl_free(s->ids);
    bl_free(s->margin);
    bl_free(s);
}

static int64_t new_tokens(const bl_model *m, const bl_gen_request *r)
{
    return BL_MAX(BL_MIN(r->max_new, bl_model_max_len(m) - r->n + 1), 0); /* the last new token is never fed */
}

static int64_t page_len(const bl_decoder *d) { return bl_kv_page_len(d->m->kv); }
static int64_t pages(const bl_decoder *d, int64_t positions) { return (positions + page_len(d) - 1) / page_len(d); }

/* Positions it may come to. */
static int64_t reach(const seq *s) { return s->prompt + s->most - 1; }

static bl_status check_request(const bl_decoder *d, const bl_gen_request *r, bl_err *e)
{
    if (r->n < 1) return bl_fail(e, BL_E_CONFIG, "a prompt needs at least one token");
    if (r->n > bl_model_max_len(d->m))
        return bl_fail(e, BL_E_CONFIG, "a prompt of %lld tokens does not fit the model's %lld positions",
                       (long long)r->n, (long long)bl_model_max_len(d->m));
    if (r->n_stops && !d->t) return bl_fail(e, BL_E_CONFIG, "stop strings need a tokenizer");
    return BL_OK;
}

/* Its reply, into the arena. */
static bl_status finish(bl_decoder *d, seq *s, bl_err *e)
{
    bl_gen_reply *o = s->out;
    bl_status st = BL_OK;

    o->n = s->n - s->prompt;
    if (!(o->ids = bl_alloc(s->a, (size_t)o->n, sizeof *o->ids, e)) ||
        (d->margins && !(o->margin = bl_alloc(s->a, (size_t)o->n, sizeof *o->margin, e)))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (o->n) memcpy(o->ids, s->ids + s->prompt, (size_t)o->n * sizeof *o->ids);
    if (o->n && d->margins) memcpy(o->margin, s->margin, (size_t)o->n * sizeof *o->margin);
    BL_TRY(bl_gen_text_end(&s->text, s->a, &o->text, &o->n_text, e));
    o->ended = true;
    append(&d->ended, s);
    d->n_open--;
    d->n_done++;
out:
    return st;
}

bl_status bl_decoder_put(bl_decoder *d, const bl_gen_request *r, int64_t tag, bl_arena *a, bl_gen_reply *out, bl_err *e)
{
    const bl_config *c = &d->m->config;
    bl_status st = BL_OK;
    seq *s = NULL;

    *out = (bl_gen_reply){0};
    BL_TRY(check_request(d, r, e));
    if (!(s = bl_new(1, sizeof *s, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    *s = (seq){.req = *r, .tag = tag, .a = a, .out = out, .n = r->n, .prompt = r->n, .slot = -1};
    s->most = new_tokens(d->m, r);
    s->whole = c->rope == BL_ROPE_DYNAMIC && s->prompt + s->most > c->rope_original;
    if (!(s->ids = bl_new((size_t)(s->prompt + s->most), sizeof *s->ids, e)) ||
        (d->margins && !(s->margin = bl_new((size_t)s->most + 1, sizeof *s->margin, e)))) {
        st = BL_E_NOMEM;
        goto out;
    }
    memcpy(s->ids, r->ids, (size_t)r->n * sizeof *s->ids);
    BL_TRY(bl_gen_text_begin(&s->text, r->stop, r->n_stops, e));
    if (!d->n_open++) d->n_put = d->n_done = 0;
    d->n_put++;
    if (s->most) append(&d->waiting, s);
    else {
        out->hit_limit = true;
        st = finish(d, s, e);
        if (st != BL_OK) d->n_open--;
        else s = NULL;
        goto out;
    }
    s = NULL;
out:
    free_seq(s);
    return st;
}

bool bl_decoder_take(bl_decoder *d, int64_t *tag)
{
    seq *s = pop(&d->ended);
    if (!s) return false;
    *tag = s->tag;
    free_seq(s);
    return true;
}

/* The active sequence i leaves the cache and waits to come back. */
static void take_back(bl_decoder *d, int32_t i)
{
    seq *s = d->active[i];
    bl_kv_leave(d->kv, s->slot);
    s->slot = -1;
    prepend(&d->waiting, s);
    memmove(d->active + i, d->active + i + 1, (size_t)(--d->n_active - i) * sizeof(seq *));
}

/* None is in the cache, and nothing in it is known. */
static void start_over(bl_decoder *d)
{
    while (d->n_active) take_back(d, d->n_active - 1);
    if (d->kv) bl_kv_reset(d->kv);
    d->n_ahead = 0;
}

void bl_decoder_drop(bl_decoder *d)
{
    while (d->n_active) take_back(d, d->n_active - 1);
    for (seq *s; (s = pop(&d->waiting));) free_seq(s);
    for (seq *s; (s = pop(&d->ended));) free_seq(s);
    d->n_open = d->n_put = d->n_done = d->n_ahead = 0;
}

/* ---- memory ---- */
static void free_room(bl_decoder *d)
{
    bl_kv_free(d->kv);
    d->kv = NULL;
    d->kv_rows = 0;
    d->kv_slots = 0;
    d->m->be->ops->buffer_free(d->buf);
    d->buf = NULL;
}

static bl_status make_buffers(bl_decoder *d, bl_err *e)
{
    bl_backend *be = d->m->be;
    int64_t dim = d->m->config.dim, vocab = d->m->config.vocab, n = d->most;
    uint64_t rows = (uint64_t)n, at_logits = (rows * (uint64_t)dim * bl_dtype_bytes(be->act) + 63) / 64 * 64,
             at = (at_logits + rows * (uint64_t)vocab * sizeof(float) + 63) / 64 * 64,
             each = (rows * (2 * sizeof(double) + sizeof(int32_t)) + 63) / 64 * 64;
    bl_status st = BL_OK;

    BL_TRY(be->ops->buffer_new(be, at + 2 * each, &d->buf, e));
    d->hidden = bl_tensor_2d(d->buf, 0, be->act, n, dim);
    d->logits = bl_tensor_2d(d->buf, at_logits, BL_F32, n, vocab);
    for (int i = 0; i < 2; i++, at += each) {
        d->of[i].nll = bl_tensor_1d(d->buf, at, BL_F64, n);
        d->of[i].u = bl_tensor_1d(d->buf, at + rows * sizeof(double), BL_F64, n);
        d->of[i].picked = bl_tensor_1d(d->buf, at + 2 * rows * sizeof(double), BL_I32, n);
    }
    d->host_nll = d->host;
    d->host_u = d->host_nll + n;
    d->host_picked = (int32_t *)(d->host_u + n);
out:
    return st;
}

/* Tokens that s begins with and `first` has, in whole pages. */
static int64_t shared(const bl_decoder *d, const seq *first, const seq *s)
{
    int64_t k = 0, most = BL_MIN(first->prompt, s->prompt - 1);
    if (s == first || s->whole || first->whole) return 0;
    while (k < most && first->ids[k] == s->ids[k]) k++;
    return k / page_len(d) * page_len(d);
}

/* Rows for those that wait and may come at once. */
static int64_t rows_wanted(const bl_decoder *d)
{
    const seq *first = d->waiting.first;
    int64_t rows = 0, n = 0;
    for (const seq *s = first; s && n < d->most; s = s->next, n++)
        rows += pages(d, reach(s) - shared(d, first, s)) * page_len(d);
    return BL_MAX(BL_MIN(rows, d->most_rows), pages(d, reach(first)) * page_len(d));
}

/* Slots for those. In codes a slot costs the keys of a group as activations: as many as 32 positions of them. */
static int32_t slots_wanted(const bl_decoder *d)
{
    int32_t n = 0;
    for (const seq *s = d->waiting.first; s && n < d->most; s = s->next) n++;
    return bl_kv_granule(d->m->kv) > 1 ? n : d->most;
}

/* A cache and buffers for what waits; an existing cache only goes when it is too small and nobody is in it. */
static bl_status fit(bl_decoder *d, bl_err *e)
{
    bl_status st = BL_OK;
    bool empty = !d->n_active && d->waiting.first;
    int64_t rows = empty ? rows_wanted(d) : 0;
    int32_t slots = empty ? slots_wanted(d) : 0;

    if (!d->kv || rows > d->kv_rows || slots > d->kv_slots) {
        if (rows > d->kv_rows) rows = BL_MAX(rows, BL_MIN(2 * d->kv_rows, d->most_rows));
        rows = BL_MAX(rows, d->kv_rows);
        slots = BL_MAX(slots, BL_MAX(d->kv_slots, 1));
        bl_kv_free(d->kv);
        d->kv = NULL;
        d->kv_rows = 0;
        d->kv_slots = 0;
        BL_TRY(bl_kv_new_paged(d->m, rows, slots, d->m->kv, &d->kv, e));
        d->kv_rows = rows;
        d->kv_slots = slots;
    }
    if (!d->buf) BL_TRY(make_buffers(d, e));
out:
    return st;
}

/* Half of everything; false when it was little already. */
static bool shrink(bl_decoder *d)
{
    const seq *first;

    start_over(d);
    first = d->waiting.first;
    if (d->most == 1 && d->pass_rows <= LEAST_PASS_ROWS && (!first || d->most_rows < reach(first))) return false;
    free_room(d);
    d->most = BL_MAX(d->most / 2, 1);
    d->most_rows = BL_MAX(d->most_rows / 2, 1);
    d->pass_rows = BL_MAX(d->pass_rows / 2, BL_MIN(d->pass_rows, LEAST_PASS_ROWS));
    bl_log(BL_LOG_INFO, "sequences=%d rows=%lld reason=memory", (int)d->most, (long long)d->most_rows);
    return true;
}

/* ---- a pass ---- */
/* Rows of s into the pass: as many as are missing, at most `room`. */
static bl_status feed(bl_decoder *d, seq *s, int64_t room, bl_err *e)
{
    int64_t past = bl_kv_len(d->kv, s->slot), n = s->whole ? s->n - past : BL_MIN(s->n - past, room);
    int32_t row = d->start[d->n_seq];
    bl_status st = BL_OK;

    BL_TRY(bl_grow(&d->ids, &d->cap_ids, (size_t)(row + n), sizeof *d->ids, e));
    memcpy(d->ids + row, s->ids + past, (size_t)n * sizeof *d->ids);
    d->past[d->n_seq] = (int32_t)past;
    d->slot[d->n_seq] = s->slot;
    d->fed[d->n_seq] = s;
    if (past + n == s->n) d->want[d->n_want++] = row + n - 1;
    d->start[++d->n_seq] = row + (int32_t)n;
    if (!s->whole) bl_kv_know(d->kv, s->slot, s->ids, past + n);
out:
    return st;
}

/* Pages for the next rows of active sequence i; those that joined last make room. false: it went itself. */
static bool make_room(bl_decoder *d, int32_t i, int64_t len)
{
    while (!bl_kv_extend(d->kv, d->active[i]->slot, len)) {
        int32_t last = d->n_active - 1;
        while (last > i && d->active[last]->whole) last--;
        take_back(d, last);
        if (last == i) return false;
    }
    return true;
}

/* The next that waits gets a slot, if there is room for it beside those that are there. */
static bl_status join(bl_decoder *d, bool *joined, bl_err *e)
{
    seq *s = d->waiting.first;
    int64_t own, spare;
    bl_status st = BL_OK;

    *joined = false;
    if (pages(d, reach(s)) * page_len(d) > d->kv_rows) return BL_OK; /* a larger cache, when this one is empty */
    BL_TRY(bl_kv_join(d->kv, s->ids, s->whole ? 0 : s->n - 1, &s->slot, e));
    own = pages(d, s->whole ? reach(s) : s->n) - bl_kv_len(d->kv, s->slot) / page_len(d);
    spare = SPARE_PAGES * d->n_active;
    if ((d->n_active && bl_kv_free_pages(d->kv) < own + spare) ||
        !bl_kv_extend(d->kv, s->slot, s->whole ? reach(s) : s->n)) {
        bl_kv_leave(d->kv, s->slot);
        s->slot = -1;
        return BL_OK;
    }
    d->active[d->n_active++] = pop(&d->waiting);
    *joined = true;
out:
    return st;
}

static bl_status gather(bl_decoder *d, bl_err *e)
{
    bl_status st = BL_OK;
    bool joined = true;

    d->n_seq = d->n_want = 0;
    for (int32_t i = 0; i < d->n_active && d->start[d->n_seq] < d->pass_rows; i++) {
        seq *s = d->active[i];
        int64_t room = d->pass_rows - d->start[d->n_seq];
        if (!s->whole && !make_room(d, i, BL_MIN(s->n, bl_kv_len(d->kv, s->slot) + room))) break;
        BL_TRY(feed(d, s, room, e));
    }
    while (d->waiting.first && d->n_active < d->kv_slots && d->start[d->n_seq] < d->pass_rows) {
        BL_TRY(join(d, &joined, e));
        if (!joined) break;
        BL_TRY(feed(d, d->active[d->n_active - 1], d->pass_rows - d->start[d->n_seq], e));
    }
out:
    return st;
}

static double margin(const float *x, int64_t vocab, int32_t top)
{
    double second = -INFINITY;
    for (int64_t i = 0; i < vocab; i++)
        if (i != top && x[i] > second) second = x[i];
    return x[top] - second;
}

static bool ends(const bl_decoder *d, int32_t id)
{
    return d->t ? bl_tokenizer_ends(d->t, id) : id == d->m->config.eos;
}

/* Draws for rows that want one; rows of one temperature and top_p that follow each other in one call. */
static bl_status draw(bl_decoder *d, seq *const *s, int32_t n, bl_err *e)
{
    bl_backend *be = d->m->be;
    bl_status st = BL_OK;

    for (int32_t i = 0, k; i < n; i += k) {
        const bl_gen_request *r = &s[i]->req;
        for (k = 1; i + k < n && s[i + k]->req.temperature == r->temperature && s[i + k]->req.top_p == r->top_p;) k++;
        if (r->temperature <= 0) continue;
        BL_TRY(be->ops->sample(be,
                               &(bl_sample_args){.logits = bl_tensor_rows(d->logits, i, k),
                                                 .vocab = d->m->config.vocab,
                                                 .temperature = r->temperature,
                                                 .top_p = r->top_p,
                                                 .u = bl_tensor_part(d->of[d->now].u, i, k),
                                                 .ids = bl_tensor_part(d->of[d->now].picked, i, k)},
                               e));
    }
out:
    return st;
}

/* One more token; *done when it was the last, or is none. */
static bl_status add(bl_decoder *d, seq *s, int32_t id, bool *done, bl_err *e)
{
    int64_t n;
    bl_status st = BL_OK;

    *done = !s->req.ignore_end && ends(d, id);
    if (*done) return BL_OK;
    s->ids[s->n++] = id;
    n = s->n - s->prompt;
    if (d->t) BL_TRY(bl_gen_text_add(&s->text, d->t, id, e));
    s->out->hit_limit = n == s->most && s->text.cut == SIZE_MAX;
    *done = n == s->most || s->text.cut != SIZE_MAX;
out:
    return st;
}

/* The most likely tokens after n rows of `hidden`, to of[now]. */
static bl_status most_likely(bl_decoder *d, int32_t n, bl_err *e)
{
    const int64_t vocab = d->m->config.vocab;
    bl_tensor logits = bl_tensor_rows(d->logits, 0, n), nll = bl_tensor_part(d->of[d->now].nll, 0, n),
              picked = bl_tensor_part(d->of[d->now].picked, 0, n);
    bl_status st = bl_logits(d->m, d->hidden, 0, n, logits, e);
    if (st != BL_OK) return st;
    return d->m->be->ops->loss(d->m->be,
                               &(bl_loss_args){.logits = logits, .vocab = vocab, .nll = nll, .argmax = picked}, e);
}

/* What most_likely left in of[i], to the host. */
static bl_status fetch(bl_decoder *d, int i, bl_err *e)
{
    const bl_tensor *nll = &d->of[i].nll, *picked = &d->of[i].picked,
                    all = bl_tensor_1d(d->buf, nll->offset, BL_U8,
                                       (int64_t)(picked->offset - nll->offset + bl_tensor_bytes(picked)));
    return d->m->be->ops->download(d->m->be, &all, d->host, e);
}

static bl_status check_finite(const seq *s, double nll, bl_err *e)
{
    if (isfinite(nll)) return BL_OK;
    return bl_fail(e, BL_E_NUMERIC, "the logits after %lld new tokens are not finite", (long long)(s->n - s->prompt));
}

/* Draws for the first n that are fed, where one wants one. */
static bl_status draws(bl_decoder *d, int32_t n, bl_err *e)
{
    bl_backend *be = d->m->be;
    bl_tensor picked = bl_tensor_part(d->of[d->now].picked, 0, n), u = bl_tensor_part(d->of[d->now].u, 0, n);
    bool drawn = false;
    bl_status st = BL_OK;

    for (int32_t i = 0; i < n; i++) {
        const seq *s = d->fed[i];
        bl_rng rng = bl_rng_at(s->req.seed, bl_rng_key("generate", 0), (uint64_t)(s->n - s->prompt));
        d->host_u[i] = bl_rng_uniform(&rng);
        drawn = drawn || s->req.temperature > 0;
    }
    if (!drawn) return BL_OK;
    BL_TRY(be->ops->upload(be, &u, d->host_u, e));
    BL_TRY(draw(d, d->fed, n, e));
    BL_TRY(be->ops->download(be, &picked, d->host_picked, e));
out:
    return st;
}

/* Its next token; *done: it has ended, and is in the cache no more. */
static bl_status go_on(bl_decoder *d, seq *s, int32_t id, bool *done, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(add(d, s, id, done, e));
    if (!*done) return BL_OK;
    BL_TRY(finish(d, s, e));
    bl_kv_leave(d->kv, s->slot);
    s->slot = -1;
out:
    return st;
}

/* Those that have ended are not active. */
static void let_go(bl_decoder *d)
{
    int32_t n = d->n_active;
    d->n_active = 0;
    for (int32_t i = 0; i < n; i++)
        if (d->active[i]->slot >= 0) d->active[d->n_active++] = d->active[i];
}

/* The tokens that follow the first n that are fed. */
static bl_status pick(bl_decoder *d, int32_t n, bl_err *e)
{
    bl_backend *be = d->m->be;
    int64_t vocab = d->m->config.vocab;
    bool done;
    bl_tensor logits = bl_tensor_rows(d->logits, 0, n);
    bl_status st = BL_OK;

    BL_TRY(fetch(d, d->now, e));
    for (int32_t i = 0; i < n; i++) BL_TRY(check_finite(d->fed[i], d->host_nll[i], e));
    BL_TRY(draws(d, n, e));
    if (d->margins) BL_TRY(be->ops->download(be, &logits, d->host_logits, e));
    for (int32_t i = 0; i < n; i++) {
        seq *s = d->fed[i];
        if (d->margins) s->margin[s->n - s->prompt] = margin(d->host_logits + i * vocab, vocab, d->host_picked[i]);
        BL_TRY(go_on(d, s, d->host_picked[i], &done, e));
    }
out:
    let_go(d);
    return st;
}

/* ---- a pass ahead ---- */
/* A pass may follow one of these n before its tokens are known here: all are decoded, and none is sure to end. */
static bool may_go_ahead(const bl_decoder *d, seq *const *of, int32_t n)
{
    if (!d->beside || d->margins || n != d->n_active || (d->waiting.first && n < d->kv_slots)) return false;
    for (int32_t i = 0; i < n; i++) {
        const seq *s = of[i];
        if (!s || s->whole || s->req.temperature > 0 || s->n + 1 - s->prompt >= s->most) return false;
    }
    return true;
}

/* The pass after the one that is ahead, of the same sequences; *there: it has begun. */
static bl_status ahead_again(bl_decoder *d, bool *there, bl_err *e)
{
    const bl_tensor ids = bl_tensor_part(d->of[d->now].picked, 0, d->n_ahead);
    bl_status st = BL_OK;

    *there = false;
    if (!may_go_ahead(d, d->ahead, d->n_ahead)) return BL_OK;
    for (int32_t i = 0; i < d->n_ahead; i++)
        if (!bl_kv_extend(d->kv, d->ahead[i]->slot, d->ahead[i]->n + 1)) return BL_OK;
    for (int32_t i = 0; i < d->n_ahead; i++) {
        d->ids[i] = 0;
        d->past[i] = (int32_t)d->ahead[i]->n;
        d->slot[i] = d->ahead[i]->slot;
        d->want[i] = d->start[i] = i;
    }
    d->start[d->n_ahead] = d->n_ahead;
    BL_TRY(bl_forward_picked(d->m,
                             &(bl_batch){.ids = d->ids,
                                         .n_seq = d->n_ahead,
                                         .start = d->start,
                                         .past = d->past,
                                         .slot = d->slot,
                                         .want = d->want,
                                         .n_want = d->n_ahead},
                             d->kv, ids, d->hidden, e));
    d->rows += d->n_ahead;
    d->now = !d->now;
    BL_TRY(most_likely(d, d->n_ahead, e));
    BL_TRY(d->m->be->ops->event_record(d->m->be, d->of[d->now].there, e));
    *there = true;
out:
    return st;
}

/* What of[i] holds of a pass behind which another may be under way already. */
static bl_status fetch_beside(bl_decoder *d, int i, bl_err *e)
{
    bl_backend *be = d->m->be;
    bl_status st = BL_OK, back;
    BL_TRY(be->ops->stream_use(be, d->beside, e));
    st = be->ops->event_wait(be, d->of[i].there, e);
    if (st == BL_OK) st = fetch(d, i, e);
    back = be->ops->stream_use(be, NULL, st == BL_OK ? e : NULL);
    if (st == BL_OK) st = back;
out:
    return st;
}

/* The next pass, then the tokens of the one before it. */
static bl_status on(bl_decoder *d, bl_err *e)
{
    const int before = d->now;
    int32_t left = 0;
    bool there = false, done;
    bl_status st = BL_OK;

    BL_TRY(ahead_again(d, &there, e));
    BL_TRY(fetch_beside(d, before, e));
    for (int32_t i = 0; i < d->n_ahead; i++) {
        seq *s = d->ahead[i];
        if (!s) continue;
        BL_TRY(check_finite(s, d->host_nll[i], e));
        BL_TRY(go_on(d, s, d->host_picked[i], &done, e));
        if (done) d->ahead[i] = NULL;
        else if (there) bl_kv_know(d->kv, s->slot, s->ids, s->n);
        left += !done;
    }
out:
    if (st != BL_OK || !there || !left) d->n_ahead = 0;
    let_go(d);
    return st;
}

static bl_status step(bl_decoder *d, bl_err *e)
{
    bl_status st = BL_OK;
    int32_t n = 0;

    if (d->n_ahead) return on(d, e);
    BL_TRY(fit(d, e));
    BL_TRY(gather(d, e));
    BL_TRY(bl_forward(d->m,
                      &(bl_batch){.ids = d->ids,
                                  .n_seq = d->n_seq,
                                  .start = d->start,
                                  .past = d->past,
                                  .slot = d->slot,
                                  .want = d->want,
                                  .n_want = d->n_want},
                      d->kv, d->hidden, e));
    d->rows += d->start[d->n_seq];
    for (int32_t i = 0; i < d->n_seq; i++) /* those that are up to date */
        if (bl_kv_len(d->kv, d->fed[i]->slot) == d->fed[i]->n) d->fed[n++] = d->fed[i];
    if (!n) return BL_OK;
    BL_TRY(most_likely(d, n, e));
    if (may_go_ahead(d, d->fed, n)) {
        memcpy(d->ahead, d->fed, (size_t)n * sizeof *d->ahead);
        d->n_ahead = n;
        return d->m->be->ops->event_record(d->m->be, d->of[d->now].there, e);
    }
    BL_TRY(pick(d, n, e));
out:
    return st;
}

bl_status bl_decoder_step(bl_decoder *d, bl_err *e)
{
    bl_status st;

    if (!d->n_open) return BL_OK;
    st = step(d, e);
    if (st == BL_OK) return BL_OK;
    if (st == BL_E_DEVMEM && shrink(d)) return BL_OK; /* the next step tries again */
    start_over(d);
    return st;
}

/* ---- a decoder ---- */
int64_t bl_decoder_open(const bl_decoder *d) { return d->n_open; }
int64_t bl_decoder_rows(const bl_decoder *d) { return d->rows; }
int64_t bl_decoder_most(const bl_model *m) { return BL_MIN((int64_t)MOST_AT_ONCE, bl_logits_rows(m)) * m->be->wide; }

double bl_decoder_share(const bl_decoder *d)
{
    double done = (double)d->n_done;
    for (int32_t i = 0; i < d->n_active; i++)
        done += (double)(d->active[i]->n - d->active[i]->prompt) / (double)d->active[i]->most;
    return done / (double)BL_MAX(d->n_put, 1);
}

bl_status bl_decoder_new(bl_model *m, const bl_tokenizer *t, const bl_decoder_opts *o, bl_decoder **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_decoder *d = bl_new(1, sizeof *d, e);
    int64_t most = bl_decoder_most(m);

    if (!d) return BL_E_NOMEM;
    if (o->sequences > 0) most = BL_MIN(most, o->sequences);
    d->m = m;
    d->t = t;
    d->margins = o->margins;
    d->most = (int32_t)most;
    d->most_rows = o->rows;
    d->pass_rows = o->pass_rows > 0 ? o->pass_rows : PASS_ROWS;
    if (!(d->active = bl_new((size_t)most, sizeof *d->active, e)) ||
        !(d->fed = bl_new((size_t)most, sizeof *d->fed, e)) ||
        !(d->ahead = bl_new((size_t)most, sizeof *d->ahead, e)) ||
        !(d->start = bl_new((size_t)most + 1, sizeof *d->start, e)) ||
        !(d->past = bl_new((size_t)most, sizeof *d->past, e)) ||
        !(d->slot = bl_new((size_t)most, sizeof *d->slot, e)) ||
        !(d->want = bl_new((size_t)most, sizeof *d->want, e)) ||
        !(d->host = bl_new((size_t)most, 2 * sizeof(double) + sizeof(int32_t), e)) ||
        (d->margins && !(d->host_logits = bl_new((size_t)(most * m->config.vocab), sizeof *d->host_logits, e)))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (m->be->ops->stream_new && !m->stream) { /* it works by itself */
        BL_TRY(m->be->ops->stream_new(m->be, &d->beside, e));
        for (int i = 0; i < 2; i++) BL_TRY(m->be->ops->event_new(m->be, &d->of[i].there, e));
    }
    *out = d;
    d = NULL;
out:
    bl_decoder_free(d);
    return st;
}

void bl_decoder_free(bl_decoder *d)
{
    if (!d) return;
    bl_decoder_drop(d);
    free_room(d);
    bl_free(d->active);
    bl_free(d->fed);
    bl_free(d->ahead);
    for (int i = 0; i < 2; i++) d->m->be->ops->event_free(d->of[i].there);
    if (d->beside) d->m->be->ops->stream_free(d->beside);
    bl_free(d->ids);
    bl_free(d->start);
    bl_free(d->past);
    bl_free(d->slot);
    bl_free(d->want);
    bl_free(d->host);
    bl_free(d->host_logits);
    bl_free(d);
}

bl_status bl_generate(bl_model *m, const bl_tokenizer *t, const bl_gen_request *req, int64_t n, int64_t max_rows,
                      bool margins, bl_arena *a, bl_gen_reply *out, bl_err *e)
{
    bl_decoder *d = NULL;
    int64_t tag;
    bl_status st = BL_OK;

    BL_TRY(bl_decoder_new(m, t, &(bl_decoder_opts){.rows = max_rows, .margins = margins}, &d, e));
    for (int64_t i = 0; i < n; i++)
        if ((st = bl_decoder_put(d, &req[i], i, a, &out[i], e)) != BL_OK) {
            bl_within(e, "request %lld", (long long)i);
            goto out;
        }
    while (bl_decoder_open(d)) {
        if (bl_interrupted()) {
            st = bl_fail(e, BL_E_INTERRUPTED, "interrupted");
            goto out;
        }
        BL_TRY(bl_decoder_step(d, e));
        while (bl_decoder_take(d, &tag)) continue;
    }
out:
    bl_decoder_free(d);
    return st;
}
