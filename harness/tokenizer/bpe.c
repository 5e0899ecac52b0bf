/* bpe.c - one piece of text to ids, by merging neighbours.
 *
 * Two rules of choice, one heap. By rank: a pair of ids has a rule, the rule listed first wins (byte-level and
 * byte-fallback BPE). By score: the text of both neighbours together is a token, the highest score wins (sentencepiece,
 * llama2.c). The leftmost of equals goes first. A candidate is out of date when either side has grown since; then the
 * bytes it covers differ. n log n.
 */
#include "tokenizer_impl.h"
#include <string.h>

typedef struct sym {
    int32_t prev, next, id;
    uint32_t at, n;
    bool frozen;
} sym; /* id -1: no token; n 0: merged away */
typedef struct cand {
    uint32_t order, at, n;
    int32_t id;
} cand; /* of symbol `at` and the next, n bytes together */
typedef struct cut {
    int32_t id;
    uint32_t left;
} cut; /* an unused token and the bytes of its left part */

struct bpe_work {
    sym *sym;
    size_t n_sym, cap_sym;
    cand *heap;
    size_t n_heap, cap_heap;
    cut *cut;
    size_t n_cut, cap_cut;
    int32_t two[2]; /* the symbols when there were two */
    bl_text letters;
};

bl_status bpe_work_new(bpe_work **out, bl_err *e) { return (*out = bl_new(1, sizeof **out, e)) ? BL_OK : BL_E_NOMEM; }

void bpe_work_free(bpe_work *w)
{
    if (!w) return;
    bl_free(w->sym);
    bl_free(w->heap);
    bl_free(w->cut);
    bl_text_free(&w->letters);
    bl_free(w);
}

static bool before(const cand *a, const cand *b) { return a->order != b->order ? a->order < b->order : a->at < b->at; }

static bl_status push(bpe_work *w, cand c, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(bl_grow(&w->heap, &w->cap_heap, w->n_heap + 1, sizeof *w->heap, e));
    size_t i = w->n_heap++;
    for (; i > 0 && before(&c, &w->heap[(i - 1) / 2]); i = (i - 1) / 2) w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = c;
out:
    return st;
}

static cand pop(bpe_work *w)
{
    cand top = w->heap[0], last = w->heap[--w->n_heap];
    size_t i = 0, child;
    for (; (child = 2 * i + 1) < w->n_heap; i = child) {
        if (child + 1 < w->n_heap && before(&w->heap[child + 1], &w->heap[child])) child++;
        if (!before(&w->heap[child], &last)) break;
        w->heap[i] = w->heap[child];
    }
    w->heap[i] = last;
    return top;
}

/* Puts the pair (symbol `at`, the next one) on the heap when it can merge. */
static bl_status offer(const bl_tokenizer *t, const char *s, bpe_work *w, int32_t at, bl_err *e)
{
    if (at < 0 || w->sym[at].next < 0) return BL_OK;
    const sym *a = &w->sym[at], *b = &w->sym[a->next];
    if (t->model != TOK_SCORES) {
        const tok_merge *m = tok_merges_find(&t->merges, a->id, b->id);
        return m ? push(w, (cand){m->rank1, (uint32_t)at, a->n + b->n, m->id}, e) : BL_OK;
    }
    if (a->frozen || b->frozen || a->n + b->n > t->vocab.longest) return BL_OK;
    int32_t id = tok_vocab_find(&t->vocab, s + a->at, a->n + b->n);
    if (id < 0 || t->order[id] == UINT32_MAX) return BL_OK;
    if (t->vocab.entry[id].type == TOK_UNUSED) {
        bl_status st = bl_grow(&w->cut, &w->cap_cut, w->n_cut + 1, sizeof *w->cut, e);
        if (st != BL_OK) return st;
        w->cut[w->n_cut++] = (cut){id, a->n};
    }
    return push(w, (cand){t->order[id], (uint32_t)at, a->n + b->n, id}, e);
}

static bl_status merge_all(const bl_tokenizer *t, const char *s, bpe_work *w, bl_err *e)
{
    bl_status st = BL_OK;
    size_t left = w->n_sym;
    w->n_heap = w->n_cut = 0;
    const size_t all = w->n_sym;
    for (size_t i = 0; i + 1 < all; i++) {
        if (tok_stopped(all, e)) return BL_E_INTERRUPTED;
        BL_TRY(offer(t, s, w, (int32_t)i, e));
    }
    for (int k = 0; k < 2; k++) w->two[k] = left == 2 ? w->sym[k].id : -1;
    while (w->n_heap) {
        if (tok_stopped(all, e)) return BL_E_INTERRUPTED;
        cand c = pop(w);
        sym *a = &w->sym[c.at];
        if (!a->n || a->next < 0 || a->n + w->sym[a->next].n != c.n) continue;
        sym *b = &w->sym[a->next];
        a->n = c.n;
        a->id = c.id;
        a->next = b->next;
        b->n = 0;
        if (a->next >= 0) w->sym[a->next].prev = (int32_t)c.at;
        if (--left == 2) {
            w->two[0] = w->sym[0].id; /* the first never goes */
            w->two[1] = w->sym[w->sym[0].next].id;
        }
        BL_TRY(offer(t, s, w, a->prev, e));
        BL_TRY(offer(t, s, w, (int32_t)c.at, e));
    }
out:
    return st;
}

static bl_status add(bpe_work *w, int32_t id, size_t at, size_t n, bool frozen, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(bl_grow(&w->sym, &w->cap_sym, w->n_sym + 1, sizeof *w->sym, e));
    int32_t i = (int32_t)w->n_sym++;
    w->sym[i] = (sym){.prev = i - 1, .next = -1, .id = id, .at = (uint32_t)at, .n = (uint32_t)n, .frozen = frozen};
    if (i) w->sym[i - 1].next = i;
out:
    return st;
}

/* ---- first symbols ------------------------------------------------------------------------------- */

static bool spelled_in_bytes(const bl_tokenizer *t, const char *s, size_t n)
{
    for (size_t j = 0; j < n; j++)
        if (t->byte_id[(uint8_t)s[j]] < 0) return false;
    return true;
}

/* Bytes or characters. A character that is no token becomes bytes where all of them have pieces, else unknown. As in
 * the reference an unknown waits for the next known character, so that pieces of bytes come before it. */
static bl_status ranked(const bl_tokenizer *t, const char *s, size_t n, bpe_work *w, bl_err *e)
{
    bl_status st = BL_OK;
    bool letters = t->model == TOK_RANK_BYTES;
    size_t unknown = 0; /* bytes that wait */
    for (size_t i = 0, k; i < n; i += k) {
        k = letters ? 1 : (size_t)tok_utf8(s + i, n - i);
        int32_t id = letters ? t->byte_id[(uint8_t)s[i]] : tok_vocab_find(&t->vocab, s + i, k);
        if (id >= 0) {
            if (unknown) BL_TRY(add(w, t->unk, i, unknown, false, e));
            BL_TRY(add(w, id, i, k, false, e));
            unknown = 0;
        } else if (!letters && t->byte_fallback && spelled_in_bytes(t, s + i, k)) {
            for (size_t j = 0; j < k; j++) BL_TRY(add(w, t->byte_id[(uint8_t)s[i + j]], i + j, 1, false, e));
        } else if (t->unk >= 0) {
            if (unknown && !t->fuse_unk) {
                BL_TRY(add(w, t->unk, i, unknown, false, e));
                unknown = 0;
            }
            unknown += k;
        }
    }
    if (unknown) BL_TRY(add(w, t->unk, n, unknown, false, e));
out:
    return st;
}

static bl_status scored(const bl_tokenizer *t, const char *s, size_t n, bpe_work *w, bl_err *e)
{
    bl_status st = BL_OK;
    for (size_t i = 0, k; i < n; i += k) {
        int32_t id = tok_trie_find(&t->user, s + i, n - i, &k);
        bool frozen = id >= 0;
        if (!frozen) {
            k = (size_t)tok_utf8(s + i, n - i);
            id = tok_vocab_find(&t->vocab, s + i, k);
            if (id >= 0 && t->order[id] == UINT32_MAX) id = -1; /* the text of a control token */
        }
        BL_TRY(add(w, id, i, k, frozen, e));
    }
out:
    return st;
}

/* ---- ids ----------------------------------------------------------------------------------------- */

/* A token that is not used any more falls apart into what it was merged from. */
static bl_status put_scored(const bl_tokenizer *t, const char *s, int32_t id, size_t at, size_t n, const bpe_work *w,
                            bl_ids *out, size_t begin, bl_err *e)
{
    bl_status st = BL_OK;
    if (id >= 0 && t->vocab.entry[id].type == TOK_UNUSED) {
        for (size_t i = w->n_cut; i-- > 0;) {
            if (w->cut[i].id != id) continue;
            size_t left = w->cut[i].left;
            BL_TRY(put_scored(t, s, tok_vocab_find(&t->vocab, s + at, left), at, left, w, out, begin, e));
            return put_scored(t, s, tok_vocab_find(&t->vocab, s + at + left, n - left), at + left, n - left, w, out,
                              begin, e);
        }
    }
    if (id >= 0) return bl_ids_push(out, id, e);
    if (t->byte_fallback && spelled_in_bytes(t, s + at, n)) {
        for (size_t j = 0; j < n; j++) BL_TRY(bl_ids_push(out, t->byte_id[(uint8_t)s[at + j]], e));
    } else if (t->unk >= 0 && !(t->fuse_unk && out->n > begin && out->id[out->n - 1] == t->unk)) {
        BL_TRY(bl_ids_push(out, t->unk, e));
    }
out:
    return st;
}

bl_status bpe_encode(const bl_tokenizer *t, const char *s, size_t n, bpe_work *w, bl_ids *out, bl_err *e)
{
    bl_status st = BL_OK;
    size_t begin = out->n;

    if (!n) return BL_OK;
    if (t->ignore_merges) {
        const char *word = s;
        size_t n_word = n;
        if (t->model == TOK_RANK_BYTES) {
            char utf8[4];
            w->letters.n = 0;
            for (size_t i = 0; i < n && w->letters.n <= t->vocab.longest; i++)
                bl_text_addn(&w->letters, utf8, bl_utf8_put(tok_byte_letter((uint8_t)s[i]), utf8));
            BL_TRY(bl_text_check(&w->letters, e));
            word = w->letters.s;
            n_word = w->letters.n;
        }
        int32_t id = n_word <= t->vocab.longest ? tok_vocab_find(&t->vocab, word, n_word) : -1;
        if (id >= 0) return bl_ids_push(out, id, e);
    }
    w->n_sym = 0;
    BL_TRY((t->model == TOK_SCORES ? scored : ranked)(t, s, n, w, e));
    if (!w->n_sym) return BL_OK;
    BL_TRY(merge_all(t, s, w, e));
    for (int32_t i = 0; i >= 0; i = w->sym[i].next) {
        const sym *a = &w->sym[i];
        if (t->model != TOK_SCORES) BL_TRY(bl_ids_push(out, a->id, e));
        else BL_TRY(put_scored(t, s, a->id, a->at, a->n, w, out, begin, e));
    }
out:
    return st;
}

bl_status bpe_last_two(const bl_tokenizer *t, const char *s, size_t n, bpe_work *w, int32_t two[2], bl_err *e)
{
    bl_status st = BL_OK;
    w->n_sym = 0;
    BL_TRY(ranked(t, s, n, w, e));
    BL_TRY(merge_all(t, s, w, e));
    memcpy(two, w->two, sizeof w->two);
out:
    return st;
}
