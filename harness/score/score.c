/* score.c - the engine: requests are turned into sequences and prompts, run, and put together again in their order. */
#include "score_impl.h"
#include "harness/model/generate.h"
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
    bl_ids_free(&g->stream.ids);
    bl_arena_free(g->arena);
    bl_free(g);
}

int64_t bl_engine_tokens(const bl_engine *g) { return g->tokens; }
int64_t bl_engine_pass_tokens(const bl_engine *g) { return g->most_rows; }

size_t bl_engine_state_bytes(const bl_engine *g) { return (size_t)g->m->config.dim * bl_dtype_bytes(g->m->be->act); }

static void on_block(void *ctx, int64_t block)
{
    bl_engine *g = ctx;
    if (g->decoding && block == 0) g->over++;
    double work = (double)g->over + (double)g->now * (double)block / (double)g->m->config.n_layers;
    g->watch(g->watch_ctx, g->before + g->part * BL_MIN(work / (double)BL_MAX(g->all, 1), 1));
}

void bl_engine_set_watch(bl_engine *g, bl_engine_watch *watch, void *ctx)
{
    g->watch = watch;
    g->watch_ctx = ctx;
    g->m->watch = watch ? on_block : NULL;
    g->m->watch_ctx = g;
}

static void next_part(bl_engine *g, double part, bool decoding, int64_t all)
{
    g->before += g->part;
    g->part = part;
    g->decoding = decoding;
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
        if (req[i].kind == BL_ASK_GENERATE) continue;
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
    next_part(g, (double)count / (double)n, false, 0); /* the passes say how much it is */
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
/* The place of a generation: prompt `k` of request `request`. */
typedef struct generation {
    int64_t request;
    int k;
} generation;

/* The replies of all prompts of the requests put together: one whose every prompt has its reply has one. */
static void put_together(bl_engine *g, const generation *which, const bl_gen_request *r, const bl_gen_reply *reply,
                         int64_t count, const char ***texts, bl_reply *out)
{
    for (int64_t i = 0; i < count; i++) {
        bl_reply *o = &out[which[i].request];
        if (!reply[i].ended) o->kind = BL_ASK_DONE;
        if (!reply[i].ended) continue;
        if (texts[which[i].request]) texts[which[i].request][which[i].k] = reply[i].text;
        if (which[i].k == 0) o->text = reply[i].text;
        o->hit_limit = o->hit_limit || reply[i].hit_limit;
        o->new_tokens += reply[i].n;
        g->tokens += r[i].n + reply[i].n;
    }
}

static bl_status generate(bl_engine *g, const bl_request *req, int64_t n, bl_arena *a, bl_reply *out, bl_err *e)
{
    int64_t count = 0, row = bl_kv_row_bytes(&g->m->config, g->m->kv);
    int64_t rows = BL_MAX((int64_t)(BL_GENERATE_KV_BYTES / (uint64_t)row), 1), k;
    double share;
    generation *which;
    const char ***texts;
    bl_gen_request *r;
    bl_gen_reply *reply;
    bl_status st = BL_OK;

    for (int64_t i = 0; i < n; i++) count += req[i].kind == BL_ASK_GENERATE ? BL_MAX(req[i].n_prompts, 1) : 0;
    if (!count) return BL_OK;
    if (!(texts = bl_alloc(g->arena, (size_t)n, sizeof *texts, e)) ||
        !(which = bl_alloc(g->arena, (size_t)count, sizeof *which, e)) ||
        !(r = bl_alloc(g->arena, (size_t)count, sizeof *r, e)) ||
        !(reply = bl_alloc(g->arena, (size_t)count, sizeof *reply, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    share = 0; /* of the requests */
    for (int64_t i = 0; i < n; i++) share += (req[i].kind == BL_ASK_GENERATE) / (double)n;
    count = 0;
    for (int64_t i = 0; i < n; i++) {
        const bl_request *q = &req[i];
        if (q->kind != BL_ASK_GENERATE) continue;
        if (q->n_prompts) {
            if (!(texts[i] = bl_alloc(a, (size_t)q->n_prompts, sizeof *texts[i], e))) {
                st = BL_E_NOMEM;
                goto out;
            }
            out[i].texts = texts[i];
        }
        for (int k = 0; k < out[i].n; k++) {
            bl_ids ids;
            bool cut;
            st = bl_engine_prompt_ids(g, q->n_prompts ? &q->prompts[k] : &q->prompt, q->max_new, g->arena, &ids, &cut,
                                      e);
            if (st != BL_OK) {
                bl_within(e, "request %lld", (long long)i);
                goto out;
            }
            out[i].truncated = out[i].truncated || cut;
            r[count] = (bl_gen_request){.ids = ids.id,
                                        .n = (int64_t)ids.n,
                                        .stop = q->stop,
                                        .n_stops = q->n_stops,
                                        .max_new = q->max_new,
                                        .temperature = q->temperature,
                                        .top_p = q->top_p,
                                        .seed = q->seed + (uint64_t)k};
            which[count++] = (generation){i, k};
        }
    }
    bl_engine_shrink(g); /* the cache of decoding takes its place */
    for (int64_t i = 0; i < count && st == BL_OK; i += k) {
        bl_mark mark = bl_arena_mark(a);
        if (bl_interrupted()) {
            st = bl_fail(e, BL_E_INTERRUPTED, "interrupted");
            break;
        }
        k = BL_MIN(g->most_seqs, count - i);
        next_part(g, share * (double)k / (double)count, true, r[i].max_new);
        st = bl_generate(g->m, g->t, r + i, k, rows, false, a, reply + i, e);
        if (st == BL_E_DEVMEM && rows > 1) { /* down to one prompt at a time */
            rows /= 2;
            k = 0;
            bl_arena_release(a, mark);
            bl_log(BL_LOG_INFO, "rows=%lld reason=memory", (long long)rows);
            st = BL_OK;
        }
    }
    if (st != BL_OK && st != BL_E_INTERRUPTED) goto out;
    put_together(g, which, r, reply, count, texts, out);
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
