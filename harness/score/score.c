/* score.c - the engine: requests are turned into sequences and prompts, run, and put together again in their order. */
#include "score_impl.h"
#include "harness/model/size.h"
#include <string.h>

bl_status bl_engine_new(bl_model *m, bl_tokenizer *t, const bl_engine_opts *o, bl_engine **out, bl_err *e)
{
    static const bl_engine_opts none;
    bl_status st = BL_OK;
    bl_engine *g = NULL;

    if (!o) o = &none;
    if (!(g = bl_new(1, sizeof *g, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    g->m = m;
    g->t = t;
    g->no_bos = o->no_bos;
    g->special = o->special;
    /* Without a word, what the model was made for, also where its positions reach further (as lm-eval has it). */
    g->max_len = BL_MIN(o->max_len > 0 ? o->max_len : m->config.max_len, bl_model_max_len(m));
    g->most_rows = o->batch_tokens > 0 ? o->batch_tokens : bl_pass_tokens(m);
    g->most_seqs = o->batch_size > 0 ? BL_MIN(o->batch_size, INT32_MAX) : INT32_MAX;
    BL_TRY(bl_arena_new(&g->arena, e));
    *out = g;
    g = NULL;
out:
    bl_engine_free(g);
    return st;
}

void bl_engine_free(bl_engine *g)
{
    if (!g) return;
    bl_engine_shrink(g);
    bl_decoder_free(g->decoder);
    bl_free(g->put);
    bl_ids_free(&g->stream.ids);
    bl_engine_near_free(g);
    bl_arena_free(g->arena);
    bl_free(g);
}

int64_t bl_engine_tokens(const bl_engine *g) { return g->tokens; }
int64_t bl_engine_pass_tokens(const bl_engine *g) { return g->most_rows; }

size_t bl_engine_state_bytes(const bl_engine *g) { return (size_t)g->m->config.dim * bl_dtype_bytes(g->m->be->act); }

static void on_block(void *ctx, int64_t block)
{
    bl_engine *g = ctx;
    double rows = (double)g->over + (double)g->now * (double)block / (double)g->m->config.n_layers;
    double done = g->decoding ? bl_decoder_share(g->decoder) : rows / (double)BL_MAX(g->all, 1);
    g->watch(g->watch_ctx, g->before + g->part * BL_MIN(done, 1));
}

void bl_engine_set_watch(bl_engine *g, bl_engine_watch *watch, void *ctx)
{
    g->watch = watch;
    g->watch_ctx = ctx;
    g->m->watch = watch ? on_block : NULL;
    g->m->watch_ctx = g;
}

static void next_part(bl_engine *g, double part, int64_t all)
{
    g->before += g->part;
    g->part = part;
    g->all = all;
    g->over = g->now = 0;
}

void bl_engine_set_base(bl_engine *g, const bl_linear *head) { g->base_head = head; }

bl_status bl_engine_items(bl_engine *g, const bl_task *t, bl_task_data *d, int64_t *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_arena *a = NULL;
    bl_request r = {0};
    int64_t n = d->n;

    if (n < 0) { /* a stream: its first window says how it is cut */
        BL_TRY(bl_arena_new(&a, e));
        BL_TRY(t->ask(d, 0, &(bl_turn){.arena = a}, &r, e));
        BL_TRY(bl_engine_windows(g, r.text, r.n_text, r.length, r.rule, &n, e));
        if (d->max_windows > 0) n = BL_MIN(n, d->max_windows);
    }
    *out = n;
out:
    bl_arena_free(a);
    return st;
}

static bl_status new_reply(const bl_request *r, bl_arena *a, bl_reply *out, bl_err *e)
{
    size_t n = (size_t)(r->kind == BL_ASK_PAIRS ? r->n_pairs : BL_MAX(r->n_prompts, 1));

    *out = (bl_reply){.kind = r->kind, .n = (int)n};
    if (r->kind == BL_ASK_NEAR) return bl_near_reply(r, a, out, e);
    if (!(out->nll = bl_alloc(a, n, sizeof *out->nll, e)) || !(out->nll_sq = bl_alloc(a, n, sizeof *out->nll_sq, e)) ||
        !(out->tokens = bl_alloc(a, n, sizeof *out->tokens, e)) ||
        !(out->greedy = bl_alloc(a, n, sizeof *out->greedy, e)) ||
        !(out->chars = bl_alloc(a, n, sizeof *out->chars, e)) || !(out->bytes = bl_alloc(a, n, sizeof *out->bytes, e)))
        return BL_E_NOMEM;
    for (size_t i = 0; i < n; i++) out->greedy[i] = r->kind != BL_ASK_GENERATE;
    for (int i = 0; r->kind == BL_ASK_PAIRS && i < r->n_pairs; i++) {
        out->chars[i] = r->pair[i].chars;
        out->bytes[i] = r->pair[i].bytes;
    }
    return BL_OK;
}

/* ---- scores ---- */
static bl_status score(bl_engine *g, const bl_request *req, int64_t n, bl_arena *a, bl_reply *out, bl_comparison *cmp,
                       bl_err *e)
{
    bl_scored_list units = {0};
    bl_status st = BL_OK;
    int64_t count = 0;

    for (int64_t i = 0; i < n; i++) {
        bool truncated, boundary;
        size_t first = units.n;
        if (req[i].kind == BL_ASK_GENERATE || req[i].kind == BL_ASK_NEAR) continue;
        count++;
        st = bl_engine_sequences(g, &req[i], i, g->arena, &units, &truncated, &boundary, e);
        if (st != BL_OK) {
            bl_within(e, "request %lld", (long long)i);
            goto out;
        }
        out[i].truncated = truncated;
        out[i].boundary = boundary;
        if (cmp) BL_TRY(bl_comparison_begin(g, units.u + first, units.n - first, i, &cmp[i], a, e));
    }
    next_part(g, (double)count / (double)n, 0); /* the passes say how much it is */
    st = bl_engine_pass(g, units.u, units.n, e);
    if (st != BL_OK && st != BL_E_INTERRUPTED) goto out;
    for (size_t k = 0; k < units.n;
         k++) { /* in the order of requests, pairs and windows, whatever order they were fed in */
        const bl_scored *u = &units.u[k];
        bl_reply *r = &out[u->request];
        r->nll[u->pair] += u->nll;
        r->nll_sq[u->pair] += u->nll_sq;
        r->tokens[u->pair] += u->scored;
        r->greedy[u->pair] = r->greedy[u->pair] && u->greedy;
        if (!u->done) r->kind = BL_ASK_DONE;
    }
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; req[i].kind == BL_ASK_PAIRS && k < out[i].n; k++)
            if (out[i].tokens[k] ==
                0) { /* its tokens are in the context, or it has none: it is not certain, but unknown */
                out[i].nll[k] = BL_NLL_UNSCORED;
                out[i].greedy[k] = false;
                out[i].unscored = true;
            }
out:
    bl_free(units.u);
    return st;
}

/* ---- generations ---- */
int64_t bl_engine_open(const bl_engine *g) { return g->n_put; }

int64_t bl_engine_most_open(const bl_engine *g) { return BL_MIN(bl_decoder_most(g->m), g->most_seqs); }

static bl_status need_decoder(bl_engine *g, bl_err *e)
{
    int64_t row = bl_kv_row_bytes(&g->m->config, g->m->kv), slot = bl_kv_slot_bytes(&g->m->config, g->m->kv),
            bytes = (int64_t)BL_GENERATE_KV_BYTES * g->m->be->wide, most = bl_engine_most_open(g);
    if (slot) most = BL_MAX(BL_MIN(most, bytes / 2 / slot), 1); /* half of it for last keys, at most */
    const bl_decoder_opts o = {
        .rows = BL_MAX((bytes - most * slot) / row, 1), .sequences = most, .pass_rows = g->most_rows};
    if (g->n_put == 0) bl_engine_shrink(g); /* decoding takes its place */
    return g->decoder ? BL_OK : bl_decoder_new(g->m, g->t, &o, &g->decoder, e);
}

void bl_engine_drop(bl_engine *g)
{
    if (g->decoder) bl_decoder_drop(g->decoder);
    for (size_t i = 0; i < g->cap_put; i++) g->put[i].left = 0;
    g->n_put = 0;
}

bl_status bl_engine_put(bl_engine *g, const bl_request *r, int64_t tag, bl_arena *a, bl_err *e)
{
    bl_mark mark = bl_arena_mark(g->arena);
    size_t at = 0, cap = g->cap_put;
    bl_put *p;
    bl_status st = BL_OK;

    BL_TRY(need_decoder(g, e));
    while (at < g->cap_put && g->put[at].left) at++;
    BL_TRY(bl_grow(&g->put, &g->cap_put, at + 1, sizeof *g->put, e));
    for (; cap < g->cap_put; cap++) g->put[cap].left = 0;
    p = &g->put[at];
    *p = (bl_put){.tag = tag};
    BL_TRY(new_reply(r, a, &p->reply, e));
    if (!(p->said = bl_alloc(a, (size_t)p->reply.n, sizeof *p->said, e)) ||
        (r->n_prompts && !(p->texts = bl_alloc(a, (size_t)r->n_prompts, sizeof *p->texts, e)))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int k = 0; k < p->reply.n; k++) {
        const bl_prompt *prompt = r->n_prompts ? &r->prompts[k] : &r->prompt;
        bl_ids ids;
        bool cut;
        BL_TRY(bl_engine_prompt_ids(g, prompt, r->max_new, g->arena, &ids, &cut, e));
        p->reply.truncated = p->reply.truncated || cut;
        BL_TRY(bl_decoder_put(g->decoder,
                              &(bl_gen_request){.ids = ids.id,
                                                .n = (int64_t)ids.n,
                                                .stop = r->stop,
                                                .n_stops = r->n_stops,
                                                .max_new = r->max_new,
                                                .temperature = r->temperature,
                                                .top_p = r->top_p,
                                                .seed = r->seed + (uint64_t)k},
                              (int64_t)at, a, &p->said[k], e));
    }
    p->reply.texts = p->texts;
    p->left = p->reply.n;
    g->n_put++;
out:
    if (st != BL_OK) bl_engine_drop(g);
    bl_arena_release(g->arena, mark);
    return st;
}

/* The put that the decoder ended something of, when that was the last of it; else NULL. */
static bl_put *ended(bl_engine *g, int64_t at)
{
    bl_put *p = &g->put[at];
    bl_reply *o = &p->reply;
    if (--p->left) return NULL;
    o->text = p->said[0].text;
    for (int k = 0; k < o->n; k++) {
        if (p->texts) p->texts[k] = p->said[k].text;
        o->hit_limit = o->hit_limit || p->said[k].hit_limit;
        o->new_tokens += p->said[k].n;
    }
    g->n_put--;
    return p;
}

static bl_status take(bl_engine *g, int64_t *tag, bl_reply *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_put *p = NULL;
    int64_t at, rows;

    g->decoding = true;
    while (!p) {
        if (bl_decoder_take(g->decoder, &at)) {
            p = ended(g, at);
            continue;
        }
        if (bl_interrupted()) {
            st = bl_fail(e, BL_E_INTERRUPTED, "interrupted");
            goto out;
        }
        rows = bl_decoder_rows(g->decoder);
        BL_TRY(bl_decoder_step(g->decoder, e));
        g->tokens += bl_decoder_rows(g->decoder) - rows;
    }
    *tag = p->tag;
    *out = p->reply;
out:
    if (st != BL_OK) bl_engine_drop(g);
    g->decoding = false;
    return st;
}

bl_status bl_engine_take(bl_engine *g, int64_t *tag, bl_reply *out, bl_err *e)
{
    g->before = 0;
    g->part = 1;
    return take(g, tag, out, e);
}

static bl_status generate(bl_engine *g, const bl_request *req, int64_t n, bl_arena *a, bl_reply *out, bl_err *e)
{
    int64_t count = 0, tag;
    bl_status st = BL_OK;

    for (int64_t i = 0; i < n; i++) {
        if (req[i].kind != BL_ASK_GENERATE) continue;
        out[i].kind = BL_ASK_DONE;
        count++;
        if ((st = bl_engine_put(g, &req[i], i, a, e)) != BL_OK) {
            bl_within(e, "request %lld", (long long)i);
            goto out;
        }
    }
    if (count) next_part(g, (double)count / (double)n, 0);
    for (bl_reply r; count; count--) {
        BL_TRY(take(g, &tag, &r, e));
        out[tag] = r;
    }
out:
    return st;
}

bl_status bl_engine_compare(bl_engine *g, const bl_request *req, int64_t n, bl_arena *a, bl_reply *out,
                            bl_comparison *cmp, bl_err *e)
{
    bl_mark mark = bl_arena_mark(g->arena);
    bl_status st = BL_OK;

    g->before = g->part = 0;
    for (int64_t i = 0; i < n; i++) BL_TRY(new_reply(&req[i], a, &out[i], e));
    st = score(g, req, n, a, out, cmp, e);
    for (int64_t i = 0; st == BL_E_INTERRUPTED && i < n; i++)
        if (req[i].kind == BL_ASK_GENERATE || req[i].kind == BL_ASK_NEAR) out[i].kind = BL_ASK_DONE;
    if (st != BL_OK) goto out;
    st = bl_engine_near(g, req, n, out, e);
    for (int64_t i = 0; st == BL_E_INTERRUPTED && i < n; i++)
        if (req[i].kind == BL_ASK_GENERATE) out[i].kind = BL_ASK_DONE;
    if (st != BL_OK) goto out;
    BL_TRY(generate(g, req, n, a, out, e));
out:
    bl_arena_release(g->arena, mark);
    return st;
}

bl_status bl_engine_replies(bl_engine *g, const bl_request *req, int64_t n, bl_arena *a, bl_reply *out, bl_err *e)
{
    return bl_engine_compare(g, req, n, a, out, NULL, e);
}
