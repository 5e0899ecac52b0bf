/* encode.c - encoding: sections between added tokens, normalizers, pre-tokenizer steps, merges. */
#include "tokenizer_impl.h"
#include <inttypes.h>
#include <string.h>

/* ---- one call ------------------------------------------------------------------------------------ */

typedef enum special { SPECIAL_NEVER, SPECIAL_ALWAYS, SPECIAL_UNMARKED } special;
typedef struct segment {
    size_t start, end;
    bool match;
} segment;
typedef struct run {
    const bl_tokenizer *t;
    special special;
    bpe_work *work;
    bl_text piece; /* of wordpiece */
    tok_matcher *matcher;
    tok_text norm, spare;
    tok_text step_text[TOK_MAX_STEPS];
    segment *seg[TOK_MAX_STEPS];
    size_t cap_seg[TOK_MAX_STEPS];
    bl_ids *out;
} run;

static void run_free(run *r)
{
    bpe_work_free(r->work);
    bl_text_free(&r->piece);
    tok_matcher_free(r->matcher);
    tok_text_free(&r->norm);
    tok_text_free(&r->spare);
    for (size_t i = 0; i < TOK_MAX_STEPS; i++) {
        tok_text_free(&r->step_text[i]);
        bl_free(r->seg[i]);
    }
}

/* ---- pre-tokenizer steps ------------------------------------------------------------------------- */

/* Matches and what is between them, in order; no segment is empty. */
static bl_status find_segments(run *r, size_t k, const char *s, size_t n, size_t *n_seg, bl_err *e)
{
    bl_status st = BL_OK;
    const tok_pre *p = &r->t->pre[k];
    size_t m = 0;
    for (size_t at = 0, start, end; at < n; at = end) {
        if (tok_stopped(n, e)) return BL_E_INTERRUPTED;
        BL_TRY(tok_regex_next(p->regex, r->matcher, s, n, at, &start, &end, e));
        BL_TRY(bl_grow(&r->seg[k], &r->cap_seg[k], m + 2, sizeof **r->seg, e));
        if (start > at) r->seg[k][m++] = (segment){at, start, p->invert};
        if (start >= n) break;
        r->seg[k][m++] = (segment){start, end, !p->invert};
    }
    *n_seg = m;
out:
    return st;
}

/* The pieces that a behavior leaves, in place; returns how many. */
static size_t apply_behavior(tok_behavior b, segment *seg, size_t n)
{
    size_t m = 0;
    bool previous = false;
    switch (b) {
    case SPLIT_ISOLATED: return n;
    case SPLIT_REMOVED:
        for (size_t i = 0; i < n; i++)
            if (!seg[i].match) seg[m++] = seg[i];
        return m;
    case SPLIT_CONTIGUOUS:
    case SPLIT_WITH_PREVIOUS:
        for (size_t i = 0; i < n; i++) {
            segment now = seg[i];
            bool join = m && (b == SPLIT_CONTIGUOUS ? now.match == previous : now.match && !previous);
            if (join) seg[m - 1].end = now.end;
            else seg[m++] = now;
            previous = now.match;
        }
        return m;
    case SPLIT_WITH_NEXT:
        m = n; /* from the back: pieces gather at the end of the array */
        for (size_t i = n; i-- > 0;) {
            segment now = seg[i];
            if (m < n && now.match && !previous) seg[m].start = now.start;
            else seg[--m] = now;
            previous = now.match;
        }
        memmove(seg, seg + m, (n - m) * sizeof *seg);
        return n - m;
    }
    return n;
}

/* `first`: s begins where the whole text begins. */
static bl_status pieces(run *r, size_t k, const char *s, size_t n, bool first, bl_err *e)
{
    bl_status st = BL_OK;
    if (!n) return BL_OK;
    if (k == r->t->n_pre)
        return r->t->model == TOK_WORDPIECE ? tok_wordpiece(r->t, s, n, &r->piece, r->out, e)
                                            : bpe_encode(r->t, s, n, r->work, r->out, e);

    const tok_pre *p = &r->t->pre[k];
    tok_text *text = &r->step_text[k];
    size_t n_seg = 0;
    text->n = 0;
    switch (p->op) {
    case PRE_SPACE:
        if (s[0] == ' ') return pieces(r, k + 1, s, n, first, e);
        BL_TRY(tok_text_add(text, " ", NULL, 1, e));
        BL_TRY(tok_text_add(text, s, NULL, n, e));
        return pieces(r, k + 1, text->s, text->n, first, e);
    case PRE_META: {
        size_t n_space = strlen(p->space);
        bool there = s[0] == ' ' || (n >= n_space && !memcmp(s, p->space, n_space));
        tok_norm to = {.op = NORM_REPLACE, .find = " ", .n_find = 1, .with = p->space, .n_with = n_space};
        if (!there && (p->scheme == PREPEND_ALWAYS || (p->scheme == PREPEND_FIRST && first))) {
            BL_TRY(tok_text_add(&r->spare, "", NULL, 0, e));
            r->spare.n = 0;
            BL_TRY(tok_text_add(&r->spare, p->space, NULL, n_space, e));
            BL_TRY(tok_text_add(&r->spare, s, NULL, n, e));
            BL_TRY(tok_normalize(&to, 1, true, r->spare.s, NULL, r->spare.n, text, NULL, e));
        } else {
            BL_TRY(tok_normalize(&to, 1, true, s, NULL, n, text, NULL, e));
        }
        return pieces(r, k + 1, text->s, text->n, first, e);
    }
    case PRE_SPLIT:
        if (!r->matcher) BL_TRY(tok_matcher_new(&r->matcher, e));
        BL_TRY(find_segments(r, k, s, n, &n_seg, e));
        n_seg = apply_behavior(p->behavior, r->seg[k], n_seg);
        for (size_t i = 0; i < n_seg; i++) {
            segment g = r->seg[k][i];
            if (tok_stopped(n, e)) return BL_E_INTERRUPTED;
            BL_TRY(pieces(r, k + 1, s + g.start, g.end - g.start, first && g.start == 0, e));
        }
    }
out:
    return st;
}

/* ---- sections between added tokens --------------------------------------------------------------- */

typedef bl_status section_fn(run *r, const char *s, const uint8_t *data, size_t n, bool first, bl_err *e);

/* Text between the added tokens of one trie goes to `next`. A token that may not be recognised here is passed over as
 * the reference does, whole; one that a data span only touches, by one byte, so that a token after it is still seen.
 */
static bl_status sections(run *r, const tok_trie *trie, const char *s, const uint8_t *data, size_t n, bool first,
                          section_fn *next, bl_err *e)
{
    bl_status st = BL_OK;
    size_t done = 0, length;
    for (size_t i = 0; trie->n && i < n;) {
        if (tok_stopped(n, e)) return BL_E_INTERRUPTED;
        int32_t which = trie->root[(uint8_t)s[i]] < 0 ? -1 : tok_trie_find(trie, s + i, n - i, &length);
        if (which < 0) {
            i++;
            continue;
        }
        const tok_added *a = &r->t->added[which];
        size_t start = i, end = i + length;
        if (a->special && r->special == SPECIAL_NEVER) {
            i = end;
            continue;
        }
        if (a->special && r->special == SPECIAL_UNMARKED && memchr(data + start, 1, length)) {
            i++;
            continue;
        }
        i = end;
        if (a->single_word && (tok_word_at_end(s, start) || tok_word_at_start(s + end, n - end))) continue;
        if (a->lstrip) start = BL_MAX(start - tok_space_at_end(s, start), done);
        if (a->rstrip) end += tok_space_at_start(s + end, n - end);
        if (start > done) BL_TRY(next(r, s + done, data ? data + done : NULL, start - done, first && !done, e));
        BL_TRY(bl_ids_push(r->out, a->id, e));
        done = end; /* spaces taken by rstrip are still looked at, as the reference does */
    }
    if (done < n) BL_TRY(next(r, s + done, data ? data + done : NULL, n - done, first && !done, e));
out:
    return st;
}

static bl_status plain(run *r, const char *s, const uint8_t *data, size_t n, bool first, bl_err *e)
{
    (void)data;
    return pieces(r, 0, s, n, first, e);
}

static bl_status normalized(run *r, const char *s, const uint8_t *data, size_t n, bool first, bl_err *e)
{
    if (!r->t->n_norm) return sections(r, &r->t->normalized, s, data, n, first, plain, e);
    bl_status st = tok_normalize(r->t->norm, r->t->n_norm, first || !r->t->prefix_once, s, data, n, &r->norm, &r->spare,
                                 e);
    if (st != BL_OK) return st;
    return sections(r, &r->t->normalized, r->norm.s, r->norm.marked ? r->norm.data : NULL, r->norm.n, first, plain, e);
}

static bl_status encode(const bl_tokenizer *t, const char *s, const uint8_t *data, size_t n, special how, int flags,
                        bl_ids *out, bl_err *e)
{
    bl_status st = BL_OK;
    run r = {.t = t, .special = how, .out = out};
    tok_text valid = {.marked = data != NULL};
    size_t before = out->n;

    if (n > INT32_MAX / 4) return bl_fail(e, BL_E_CONFIG, "a text of %zu bytes is too long to encode at once", n);
    r.norm.marked = r.spare.marked = valid.marked;
    BL_TRY(bpe_work_new(&r.work, e));
    BL_TRY(tok_repair(s, data, n, t->each_byte, &valid, e));
    if (flags & BL_ENCODE_BOS)
        for (size_t i = 0; i < t->n_prefix; i++) BL_TRY(bl_ids_push(out, t->prefix[i], e));
    BL_TRY(sections(&r, &t->raw, valid.s, valid.marked ? valid.data : NULL, valid.n, true, normalized, e));
out:
    if (st != BL_OK) out->n = before;
    tok_text_free(&valid);
    run_free(&r);
    return st;
}

bl_status bl_encode(const bl_tokenizer *t, const char *text, size_t n, int flags, bl_ids *out, bl_err *e)
{
    return encode(t, text, NULL, n, flags & BL_ENCODE_SPECIAL ? SPECIAL_ALWAYS : SPECIAL_NEVER, flags, out, e);
}

bl_status bl_encode_spans(const bl_tokenizer *t, const bl_span *span, size_t n_spans, int flags, bl_ids *out, bl_err *e)
{
    bl_status st = BL_OK;
    tok_text all = {.marked = true};
    bool any_data = false, any_template = false;

    BL_TRY(tok_text_add(&all, "", NULL, 0, e));
    for (size_t i = 0; i < n_spans; i++) {
        if (!span[i].n) continue;
        BL_TRY(tok_text_put(&all, span[i].text, span[i].n, span[i].data, e));
        if (span[i].data) any_data = true;
        else any_template = true;
    }
    if (flags & BL_ENCODE_SPECIAL) any_data = false;
    if (any_data && any_template) st = encode(t, all.s, all.data, all.n, SPECIAL_UNMARKED, flags, out, e);
    else st = encode(t, all.s, NULL, all.n, any_data ? SPECIAL_NEVER : SPECIAL_ALWAYS, flags, out, e);
out:
    tok_text_free(&all);
    return st;
}
