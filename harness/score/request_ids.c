/* request_ids.c - from text to the ids that are fed and scored: the conventions of choices, rolling texts and
 * perplexity windows.
 *
 *     pair       fed: tok(context), then what tok(context + continuation) has after as many ids; that is scored. Where
 *                a token joins the two, the ids of the context stay what they are alone (lm-evaluation-harness 0.4.13)
 *     filler     a span that is filled is " ..." repeated until the whole has as many tokens as it had with the span's
 *                text, the last piece cut where that is needed
 *     rolling    prefix token, then the text's own: every one is predicted once, in windows that see at least one token
 *                of context
 *     GPTQ       the stream's tokens in windows of L without overlap, L-1 predictions each
 *     llama.cpp  the same, the second half scored, the first token of each replaced by BOS where the vocabulary adds
 *                one
 */
#include "score_impl.h"
#include "harness/data/pytext.h"
#include <string.h>

static bl_status copy_ids(bl_arena *a, const int32_t *id, size_t n, int32_t **out, bl_err *e)
{
    int32_t *p = bl_alloc(a, n, sizeof *p, e);
    if (!p) return BL_E_NOMEM;
    if (n) memcpy(p, id, n * sizeof *p);
    *out = p;
    return BL_OK;
}

/* The tokenizer may know more tokens than the model; one that the model lacks can be neither fed nor predicted. */
static bl_status check_ids(const bl_engine *g, const bl_ids *ids, bl_err *e)
{
    int64_t vocab = g->m->config.vocab;
    for (size_t i = 0; i < ids->n; i++)
        if (ids->id[i] >= vocab) {
            size_t n;
            const char *text = bl_token_bytes(g->t, ids->id[i], &n);
            return bl_fail(e, BL_E_UNSUPPORTED,
                           "the text has token %d '%.*s', which is not in the model, whose vocabulary is %lld",
                           ids->id[i], (int)BL_MIN(n, 60u), text, (long long)vocab);
        }
    return BL_OK;
}

/* ---- filler ---- */
static bl_status count_with(const bl_engine *g, bl_span *span, size_t n, size_t at, const bl_text *fill, int flags,
                            size_t *out, bl_err *e)
{
    bl_ids ids = {0};
    span[at] = (bl_span){.text = fill->n ? fill->s : "", .n = fill->n, .data = true};
    bl_status st = bl_encode_spans(g->t, span, n, flags, &ids, e);
    *out = ids.n;
    bl_ids_free(&ids);
    return st;
}

/* The spans with " ..." in place of span `at`, so that there are as many tokens as with its text. The text of the
 * filler is the caller's to free. */
static bl_status put_filler(const bl_engine *g, bl_span *span, size_t n, size_t at, int flags, bl_text *fill, bl_err *e)
{
    static const char piece[] = " ...";
    bl_text whole = {0};
    size_t want, have;
    bl_status st = BL_OK;

    bl_text_addn(&whole, span[at].text, span[at].n);
    BL_TRY(bl_text_check(&whole, e));
    BL_TRY(count_with(g, span, n, at, &whole, flags, &want, e));
    BL_TRY(count_with(g, span, n, at, fill, flags, &have, e));
    for (size_t k = have; k < want; k++) bl_text_add(fill, piece);
    BL_TRY(bl_text_check(fill, e));
    BL_TRY(count_with(g, span, n, at, fill, flags, &have, e));
    while (have < want && fill->n < 8 * whole.n + 64) {
        bl_text_add(fill, piece);
        BL_TRY(bl_text_check(fill, e));
        BL_TRY(count_with(g, span, n, at, fill, flags, &have, e));
    }
    while (have > want && fill->n) { /* a piece of several tokens is cut */
        fill->s[--fill->n] = 0;
        BL_TRY(count_with(g, span, n, at, fill, flags, &have, e));
    }
out:
    bl_text_free(&whole);
    return st;
}

static bl_status encode_filled(const bl_engine *g, const bl_span *span, size_t n, size_t at, int flags, bl_ids *out,
                               bl_err *e)
{
    bl_text fill = {0};
    bl_span *own = bl_new(n, sizeof *own, e);
    bl_status st = BL_OK;

    if (!own) return BL_E_NOMEM;
    memcpy(own, span, n * sizeof *own);
    BL_TRY(put_filler(g, own, n, at, flags, &fill, e));
    BL_TRY(bl_encode_spans(g->t, own, n, flags, out, e));
out:
    bl_free(own);
    bl_text_free(&fill);
    return st;
}

/* One BOS and only one: a template that spells it out is not given a second. */
static bl_status encode_once(const bl_engine *g, const bl_span *span, size_t n, size_t fill, bl_ids *out, bl_err *e)
{
    bool bos = !g->no_bos && bl_tokenizer_adds_bos(g->t);
    int flags = (bos ? BL_ENCODE_BOS : 0) | (g->special ? BL_ENCODE_SPECIAL : 0);
    bl_status st = BL_OK;

    BL_TRY(fill ? encode_filled(g, span, n, fill - 1, flags, out, e) : bl_encode_spans(g->t, span, n, flags, out, e));
    BL_TRY(check_ids(g, out, e));
    if (bos && out->n >= 2 && out->id[0] == bl_tokenizer_bos(g->t) && out->id[1] == out->id[0])
        memmove(out->id, out->id + 1, --out->n * sizeof *out->id);
out:
    return st;
}

static bl_status prefix_token(const bl_engine *g, int32_t *out, bl_err *e)
{
    *out = bl_tokenizer_prefix(g->t);
    return *out >= 0 ? BL_OK
                     : bl_fail(e, BL_E_UNSUPPORTED,
                               "the tokenizer has neither a BOS nor an EOS token to stand in for an empty context");
}

bl_status bl_engine_chat(const bl_engine *g, const bl_prompt *p, bl_prompt *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_chat *c;

    if (!p->chat || p->failed) {
        *out = *p;
        return BL_OK;
    }
    BL_TRY(bl_tokenizer_chat(g->t, &c, e));
    BL_TRY(bl_chat_prompt(c, p, out, e));
out:
    return st;
}

/* ---- pairs, as lm-evaluation-harness 0.4.13 splits them ---- */
/* tok(context without the white space at its end), and the context's spans with room for a continuation. */
static bl_status context_ids(const bl_engine *g, const bl_prompt *p, bl_context_ids *c, bl_err *e)
{
    size_t n = p->n, left = 0;
    bl_status st = BL_OK;

    if (c->span && c->span == p->span && c->n == p->n) return BL_OK;
    c->ids.n = 0;
    c->span = NULL;
    BL_TRY(bl_grow(&c->whole, &c->cap, p->n + 1, sizeof *c->whole, e));
    if (p->n) memcpy(c->whole, p->span, p->n * sizeof *c->whole);
    for (; n; n--) {
        left = p->span[n - 1].n;
        bl_rstrip(p->span[n - 1].text, &left);
        if (left) break;
    }
    if (!n) goto out; /* empty */
    c->whole[n - 1].n = left;
    st = encode_once(g, c->whole, n, p->fill, &c->ids, e);
    c->whole[n - 1].n = p->span[n - 1].n;
    if (st != BL_OK) goto out;
    c->span = p->span;
    c->n = p->n;
out:
    return st;
}

void bl_context_free(bl_context_ids *c)
{
    bl_ids_free(&c->ids);
    bl_free(c->whole);
    *c = (bl_context_ids){0};
}

bl_status bl_engine_pair(bl_engine *g, const bl_pair *p, bl_context_ids *ctx, bl_arena *a, bl_scored_ids *out,
                         bl_err *e)
{
    bl_ids whole = {0};
    bl_scored_ids r = {0};
    size_t n, skip = 0;
    int32_t prefix;
    bl_status st = BL_OK;

    if (p->context.failed) {
        st = bl_fail(e, BL_E_NOMEM, "no memory for a prompt");
        goto out;
    }
    if (!ctx->asked || ctx->asked != p->context.span || ctx->n_asked != p->context.n)
        BL_TRY(bl_engine_chat(g, &p->context, &ctx->prompt, e));
    ctx->asked = p->context.span;
    ctx->n_asked = p->context.n;
    n = ctx->prompt.n;
    BL_TRY(context_ids(g, &ctx->prompt, ctx, e));
    ctx->whole[n] = (bl_span){p->continuation, strlen(p->continuation), true};
    if (ctx->ids.n) {
        size_t n_context = ctx->ids.n;
        BL_TRY(encode_once(g, ctx->whole, n + 1, ctx->prompt.fill, &whole, e));
        r.boundary = n_context > whole.n || memcmp(whole.id, ctx->ids.id, n_context * sizeof *whole.id) != 0;
        while (whole.n < n_context) BL_TRY(bl_ids_push(&whole, 0, e)); /* what is left of the whole is nothing */
        memcpy(whole.id, ctx->ids.id, n_context * sizeof *whole.id);
        r.scored = (int64_t)(whole.n - n_context);
    } else { /* the prefix token is the context; the white space belongs to the continuation */
        BL_TRY(prefix_token(g, &prefix, e));
        BL_TRY(bl_ids_push(&whole, prefix, e));
        BL_TRY(bl_encode_spans(g->t, ctx->whole, n + 1, g->special ? BL_ENCODE_SPECIAL : BL_ENCODE_PLAIN, &whole, e));
        BL_TRY(check_ids(g, &whole, e));
        if (whole.n > 1 && whole.id[1] == prefix) skip = 1;
        r.scored = (int64_t)(whole.n - skip) - 1;
    }
    if ((int64_t)(whole.n - skip) > g->max_len + 1) {
        skip = whole.n - (size_t)g->max_len - 1;
        r.scored = BL_MIN(r.scored, g->max_len);
        r.truncated = true;
    }
    r.n = (int64_t)(whole.n - skip);
    BL_TRY(copy_ids(a, whole.id + skip, (size_t)r.n, &r.ids, e));
    *out = r;
out:
    bl_ids_free(&whole);
    return st;
}

bl_status bl_engine_pair_ids(bl_engine *g, const bl_pair *p, bl_arena *a, bl_scored_ids *out, bl_err *e)
{
    bl_context_ids ctx = {0};
    bl_status st = bl_engine_pair(g, p, &ctx, a, out, e);
    bl_context_free(&ctx);
    return st;
}

bl_status bl_request_fits(const bl_request *r, int64_t max_len, int64_t window, bl_err *e)
{
    if (r->kind == BL_ASK_WINDOW && r->length > max_len)
        return bl_fail(e, BL_E_UNSUPPORTED, "windows of %lld tokens do not fit the model's %lld positions",
                       (long long)r->length, (long long)max_len);
    if (r->kind == BL_ASK_WINDOW && window && r->length > window)
        return bl_fail(e, BL_E_UNSUPPORTED,
                       "windows of %lld tokens are longer than the model's sliding window of %lld; attention that "
                       "leaves tokens behind is not computed",
                       (long long)r->length, (long long)window);
    if (r->kind == BL_ASK_GENERATE && r->max_new >= max_len)
        return bl_fail(e, BL_E_UNSUPPORTED, "%lld new tokens leave no room for a prompt in the model's %lld positions",
                       (long long)r->max_new, (long long)max_len);
    return BL_OK;
}

bl_status bl_engine_prompt_ids(bl_engine *g, const bl_prompt *p, int64_t max_new, bl_arena *a, bl_ids *out,
                               bool *truncated, bl_err *e)
{
    bl_ids ids = {0};
    bl_prompt whole;
    int64_t room = g->max_len - max_new, cut = 0;
    int32_t prefix, *copy;
    bl_status st = BL_OK;

    if (p->failed) {
        st = bl_fail(e, BL_E_NOMEM, "no memory for a prompt");
        goto out;
    }
    BL_TRY(bl_request_fits(&(bl_request){.kind = BL_ASK_GENERATE, .max_new = max_new}, g->max_len, g->m->config.window,
                           e));
    BL_TRY(bl_engine_chat(g, p, &whole, e));
    BL_TRY(encode_once(g, whole.span, whole.n, whole.fill, &ids, e));
    if (!ids.n) {
        BL_TRY(prefix_token(g, &prefix, e));
        BL_TRY(bl_ids_push(&ids, prefix, e));
    }
    cut = BL_MAX((int64_t)ids.n - room, 0);
    BL_TRY(copy_ids(a, ids.id + cut, ids.n - (size_t)cut, &copy, e));
    *out = (bl_ids){.id = copy, .n = ids.n - (size_t)cut, .cap = ids.n - (size_t)cut};
    if (truncated) *truncated = cut > 0;
out:
    bl_ids_free(&ids);
    return st;
}

static bl_status add_unit(bl_scored_list *out, bl_scored u, bl_err *e)
{
    bl_status st = BL_OK;
    if (u.n < 1 || u.scored < 1) return BL_OK; /* nothing to predict */
    BL_TRY(bl_grow(&out->u, &out->cap, out->n + 1, sizeof *out->u, e));
    u.greedy = true;
    out->u[out->n++] = u;
out:
    return st;
}

static bl_status pair_units(bl_engine *g, const bl_request *r, int64_t request, bl_arena *a, bl_scored_list *out,
                            bool *truncated, bool *boundary, bl_err *e)
{
    bl_context_ids ctx = {0};
    int64_t longest = 0;
    size_t first = out->n;
    bl_status st = BL_OK;

    for (int i = 0; i < r->n_pairs; i++) {
        bl_scored_ids s;
        if ((st = bl_engine_pair(g, &r->pair[i], &ctx, a, &s, e)) != BL_OK) {
            bl_within(e, "pair %d", i);
            goto out;
        }
        *truncated = *truncated || s.truncated;
        *boundary = *boundary || s.boundary;
        longest = BL_MAX(longest, s.n - 1);
        BL_TRY(add_unit(
            out,
            (bl_scored){
                .ids = s.ids, .n = s.n - 1, .scored = s.scored, .request = request, .pair = i, .group = request},
            e));
    }
    for (size_t i = first; i < out->n; i++) out->u[i].longest = longest;
out:
    bl_context_free(&ctx);
    return st;
}

/* ---- rolling ---- */
/* Prefix token and the text's own: every one after the prefix is predicted. */
static bl_status rolling_ids(const bl_engine *g, const bl_request *r, bl_arena *a, int32_t **all, int64_t *n, bl_err *e)
{
    bl_ids ids = {0};
    int32_t prefix;
    bl_status st = BL_OK;

    BL_TRY(prefix_token(g, &prefix, e));
    BL_TRY(bl_ids_push(&ids, prefix, e));
    /* A BOS of the tokenizer's own comes after the prefix and is scored. */
    BL_TRY(bl_encode(g->t, r->text, r->n_text, (r->no_bos ? 0 : BL_ENCODE_BOS) | (g->special ? BL_ENCODE_SPECIAL : 0),
                     &ids, e));
    BL_TRY(check_ids(g, &ids, e));
    BL_TRY(copy_ids(a, ids.id, ids.n, all, e));
    *n = (int64_t)ids.n;
out:
    bl_ids_free(&ids);
    return st;
}

static bl_status rolling_units(bl_engine *g, const bl_request *r, int64_t request, bl_arena *a, bl_scored_list *out,
                               bl_err *e)
{
    int64_t most = r->length > 0 ? BL_MIN(r->length, g->max_len) : g->max_len, n, at;
    int32_t *all;
    bl_status st = BL_OK;

    BL_TRY(rolling_ids(g, r, a, &all, &n, e));
    n--;
    for (int64_t done = 0; done < n; done = at) {
        at = BL_MIN(done + most, n); /* predicts tokens done .. at-1, which are at all[done+1 .. at] */
        int64_t fed = BL_MIN(at, most);
        BL_TRY(add_unit(out,
                        (bl_scored){.ids = all + at - fed,
                                    .n = fed,
                                    .scored = at - done,
                                    .request = request,
                                    .position = done,
                                    .group = -1,
                                    .longest = fed},
                        e));
    }
out:
    return st;
}

/* ---- windows ---- */
static bl_status stream_ids(bl_engine *g, const char *text, size_t n, bl_err *e)
{
    bl_stream *s = &g->stream;
    bl_hash hash = bl_hash_bytes(text, n);
    bl_status st = BL_OK;

    if (!s->there || s->n != n || !bl_hash_equal(s->hash, hash)) {
        s->there = false;
        s->ids.n = 0;
        BL_TRY(bl_encode(g->t, text, n, BL_ENCODE_BOS, &s->ids, e));
        BL_TRY(check_ids(g, &s->ids, e));
        s->n = n;
        s->hash = hash;
        s->there = true;
    }
    s->text = text;
out:
    return st;
}

bl_status bl_engine_windows(bl_engine *g, const char *text, size_t n, int64_t length, bl_window_rule rule, int64_t *out,
                            bl_err *e)
{
    int64_t least = rule == BL_WINDOW_LLAMACPP ? 2 * length : length;
    bl_status st = BL_OK;

    if (length < 2) return bl_fail(e, BL_E_CONFIG, "a window of %lld tokens predicts nothing", (long long)length);
    BL_TRY(bl_request_fits(&(bl_request){.kind = BL_ASK_WINDOW, .length = length}, g->max_len, g->m->config.window, e));
    BL_TRY(stream_ids(g, text, n, e));
    if ((int64_t)g->stream.ids.n < least)
        return bl_fail(e, BL_E_CONFIG, "the text has %zu tokens, windows of %lld need at least %lld", g->stream.ids.n,
                       (long long)length, (long long)least);
    *out = (int64_t)g->stream.ids.n / length;
out:
    return st;
}

static bl_status window_ids(bl_engine *g, const bl_request *r, bl_arena *a, bl_scored_ids *out, bl_err *e)
{
    bl_scored_ids s = {.n = r->length, .scored = r->length - 1};
    bool known = g->stream.there && g->stream.text == r->text && g->stream.n == r->n_text; /* not hashed again */
    int64_t windows = known ? (int64_t)g->stream.ids.n / r->length : 0;
    bl_status st = BL_OK;

    if (!known) BL_TRY(bl_engine_windows(g, r->text, r->n_text, r->length, r->rule, &windows, e));
    if (r->index < 0 || r->index >= windows) {
        st = bl_fail(e, BL_E_INTERNAL, "there is no window %lld, only %lld", (long long)r->index, (long long)windows);
        goto out;
    }
    BL_TRY(copy_ids(a, g->stream.ids.id + r->index * r->length, (size_t)r->length, &s.ids, e));
    if (r->rule == BL_WINDOW_LLAMACPP) {
        if (bl_tokenizer_adds_bos(g->t)) s.ids[0] = bl_tokenizer_bos(g->t);
        s.scored = r->length - r->length / 2 - 1;
    }
    *out = s;
out:
    return st;
}

static bl_status window_units(bl_engine *g, const bl_request *r, int64_t request, bl_arena *a, bl_scored_list *out,
                              bl_err *e)
{
    bl_scored_ids s;
    bl_status st = BL_OK;
    BL_TRY(window_ids(g, r, a, &s, e));
    BL_TRY(add_unit(
        out,
        (bl_scored){
            .ids = s.ids, .n = s.n - 1, .scored = s.scored, .request = request, .group = -1, .longest = s.n - 1},
        e));
out:
    return st;
}

bl_status bl_engine_text_ids(bl_engine *g, const bl_request *r, bl_arena *a, bl_scored_ids *out, bl_err *e)
{
    bl_scored_ids s = {0};
    bl_status st = BL_OK;
    if (r->kind == BL_ASK_WINDOW) return window_ids(g, r, a, out, e);
    BL_TRY(rolling_ids(g, r, a, &s.ids, &s.n, e));
    s.scored = s.n - 1;
    *out = s;
out:
    return st;
}

bl_status bl_engine_sequences(bl_engine *g, const bl_request *r, int64_t request, bl_arena *a, bl_scored_list *out,
                              bool *truncated, bool *boundary, bl_err *e)
{
    *truncated = *boundary = false;
    switch (r->kind) {
    case BL_ASK_PAIRS: return pair_units(g, r, request, a, out, truncated, boundary, e);
    case BL_ASK_ROLLING: return rolling_units(g, r, request, a, out, e);
    case BL_ASK_WINDOW: return window_units(g, r, request, a, out, e);
    case BL_ASK_GENERATE:
    case BL_ASK_NEAR:
    case BL_ASK_DONE: break;
    }
    return BL_OK;
}
