/* write_gguf.c - a tokenizer as the keys of a GGUF file, where llama.cpp cuts text the same way.
 *
 *     byte-level BPE (tokenizer.json)        model gpt2: pieces, merges by rank; the pattern has to be one that
 *                                            llama.cpp knows by a name (`pre`)
 *     sentencepiece (tokenizer.model)        model llama: pieces with their scores
 *     byte-fallback BPE (tokenizer.json)     model llama, as it was made from such a file: the pieces of earlier merges
 *                                            get higher scores. llama.cpp merges every pair whose union is a piece,
 *                                            by the score of the union; so every such pair that merging comes to has to
 *                                            be a merge
 *
 * Ids that the model has and the tokenizer has not are pieces that are not used.
 */
#include "harness/checkpoint/export.h"
#include "tokenizer_impl.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct making {
    const bl_tokenizer *t;
    bl_arena *arena;
    bl_gguf_vocab *v;
    const char **piece, **merge;
    int32_t *type;
    float *score;
} making;

static bl_status refuse(const char *what, bl_err *e)
{
    return bl_fail(
        e, BL_E_UNSUPPORTED,
        "the tokenizer %s; a GGUF file has no place for that, unless --tokenizer FILE.gguf names the model's "
        "own there",
        what);
}

/* ---- pieces ---- */
static bl_status pieces(making *k, int64_t rows, bl_err *e)
{
    const tok_vocab *v = &k->t->vocab;
    if ((int64_t)v->n > rows)
        return bl_fail(e, BL_E_CONFIG, "the tokenizer has %zu tokens, the model %" PRId64, v->n, rows);
    k->v->n = (size_t)rows;
    k->piece = bl_alloc(k->arena, (size_t)rows, sizeof *k->piece, e);
    k->type = bl_alloc(k->arena, (size_t)rows, sizeof *k->type, e);
    k->score = bl_alloc(k->arena, (size_t)rows, sizeof *k->score, e);
    if (!k->piece || !k->type || !k->score) return BL_E_NOMEM;
    for (int64_t i = 0; i < rows; i++) {
        bool there = tok_vocab_has(v, i);
        char name[32];
        int n = snprintf(name, sizeof name, "[PAD%" PRId64 "]", i);
        k->piece[i] = there ? tok_vocab_text(v, (int32_t)i) : bl_arena_str(k->arena, name, (size_t)n, e);
        if (!k->piece[i]) return BL_E_NOMEM;
        k->type[i] = !there ? TOK_UNUSED : i == k->t->unk && k->v->model[0] == 'l' ? TOK_UNKNOWN : v->entry[i].type;
        k->score[i] = there ? v->entry[i].score : 0;
    }
    return BL_OK;
}

static bl_status added(const bl_tokenizer *t, bl_err *e)
{
    for (size_t i = 0; i < t->n_added; i++)
        if (t->added[i].lstrip || t->added[i].rstrip || t->added[i].single_word) {
            char what[160];
            snprintf(what, sizeof what, "has the token '%.60s', which takes the space beside it or stands alone",
                     t->added[i].text);
            return refuse(what, e);
        }
    return BL_OK;
}

/* ---- merges, in order ---- */
static int by_rank(const void *a, const void *b)
{
    const tok_merge *x = *(const tok_merge *const *)a, *y = *(const tok_merge *const *)b;
    return x->rank1 < y->rank1 ? -1 : 1;
}

static bl_status in_order(const making *k, const tok_merge ***out, bl_err *e)
{
    const tok_merges *m = &k->t->merges;
    const tok_merge **all = bl_alloc(k->arena, m->n, sizeof(const tok_merge *), e);
    size_t n = 0;
    if (!all) return BL_E_NOMEM;
    for (size_t i = 0; i < m->n_slots; i++)
        if (m->slot[i].rank1) all[n++] = &m->slot[i];
    qsort(all, n, sizeof(const tok_merge *), by_rank);
    *out = all;
    return BL_OK;
}

static bl_status put_merges(making *k, bl_err *e)
{
    bl_status st = BL_OK;
    const tok_vocab *v = &k->t->vocab;
    const tok_merge **all;
    bl_text t = {0};
    BL_TRY(in_order(k, &all, e));
    if (!(k->merge = bl_alloc(k->arena, k->t->merges.n, sizeof *k->merge, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < k->t->merges.n; i++) {
        t.n = 0;
        bl_text_addf(&t, "%s %s", tok_vocab_text(v, (int32_t)(all[i]->pair >> 32)),
                     tok_vocab_text(v, (int32_t)all[i]->pair));
        BL_TRY(bl_text_check(&t, e));
        if (!(k->merge[i] = bl_arena_str(k->arena, t.s, t.n, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
    }
    k->v->n_merges = k->t->merges.n;
out:
    bl_text_free(&t);
    return st;
}

/* ---- gpt2 ---- */
/* The name by which llama.cpp knows how text is cut; NULL: it does not. */
static const char *pre_of(const bl_tokenizer *t)
{
    static const struct {
        const char *first, *second, *name;
        bool ignore_merges;
    } known[] = {{tok_digit_pattern, tok_gpt2_pattern, "smollm", false},
                 {tok_gpt2_pattern, NULL, "gpt-2", false},
                 {tok_llama3_pattern, NULL, "llama-bpe", true},
                 {tok_llama3_pattern, NULL, "smaug-bpe", false},
                 {tok_qwen2_pattern, NULL, "qwen2", false}};
    for (size_t i = 0; i < t->n_pre; i++)
        if (t->pre[i].op != PRE_SPLIT || t->pre[i].behavior != SPLIT_ISOLATED || t->pre[i].invert) return NULL;
    for (size_t i = 0; i < BL_COUNT(known); i++)
        if (t->n_pre == 1 + (known[i].second != NULL) && t->pre[0].known == known[i].first &&
            (t->n_pre == 1 || t->pre[1].known == known[i].second) && t->ignore_merges == known[i].ignore_merges)
            return known[i].name;
    return NULL;
}

static bl_status byte_level(making *k, bl_err *e)
{
    const bl_tokenizer *t = k->t;
    for (size_t i = 0; i < t->n_norm; i++) {
        if (t->norm[i].op != NORM_UNICODE) return refuse("changes the text before it cuts it", e);
        bl_log(BL_LOG_WARN, "llama.cpp does not bring text to a normal form of Unicode, which the tokenizer does");
    }
    if (!(k->v->pre = pre_of(t))) return refuse("cuts text by a pattern of its own", e);
    return put_merges(k, e);
}

/* ---- llama ---- */
static bool is(const char *s, size_t n, const char *want) { return n == strlen(want) && !memcmp(s, want, n); }

/* Spaces become U+2581, and one comes in front or not; nothing else. */
static bool spaces(const bl_tokenizer *t, bool *front)
{
    const tok_norm *n = t->norm;
    size_t at = 0;
    if (t->n_norm == 0 && t->n_pre == 1 && t->pre[0].op == PRE_META && !strcmp(t->pre[0].space, TOK_SPACE)) {
        *front = t->pre[0].scheme != PREPEND_NEVER;
        return true;
    }
    if (t->n_pre) return false;
    *front = t->n_norm == 2 && n[0].op == NORM_PREPEND && is(n[0].with, n[0].n_with, TOK_SPACE);
    at = *front;
    return t->n_norm == at + 1 && n[at].op == NORM_REPLACE && !n[at].regex && is(n[at].find, n[at].n_find, " ") &&
           is(n[at].with, n[at].n_with, TOK_SPACE);
}

/* What llama.cpp makes of two neighbours whose union is the piece `id` has to be what the tokenizer makes of them. Only
 * neighbours that merging comes to matter. While nothing crosses the ends of the two, they are merged as their text
 * alone is; so there is one such pair for a text, or none. *merge: the rule of it, NULL without one. */
static bl_status last_merge(const making *k, bpe_work *work, int32_t id, const tok_merge **merge, bl_err *e)
{
    bl_status st = BL_OK;
    const tok_vocab *v = &k->t->vocab;
    const char *s = tok_vocab_text(v, id);
    char what[200];
    int32_t two[2];
    for (size_t i = 0, n; i < v->entry[id].n; i += n) {
        n = (size_t)tok_utf8(s + i, v->entry[id].n - i);
        if (tok_vocab_find(v, s + i, n) >= 0) continue;
        snprintf(what, sizeof what, "has the piece '%.60s', and none for its letter '%.*s'", s, (int)n, s + i);
        return refuse(what, e);
    }
    BL_TRY(bpe_last_two(k->t, s, v->entry[id].n, work, two, e));
    *merge = two[0] < 0 ? NULL : tok_merges_find(&k->t->merges, two[0], two[1]);
    if (two[0] >= 0 && !*merge) {
        snprintf(what, sizeof what, "has the piece '%.60s', which it does not make of '%.60s' and the rest", s,
                 tok_vocab_text(v, two[0]));
        st = refuse(what, e);
    }
out:
    return st;
}

/* Scores that have the order of the ranks. */
static bl_status scores(making *k, bl_err *e)
{
    bl_status st = BL_OK;
    const tok_vocab *v = &k->t->vocab;
    const tok_merge **made = bl_alloc(k->arena, v->n, sizeof(const tok_merge *), e);
    size_t n = 0;
    bool bytes = false;
    bpe_work *work = NULL;
    if (!made) return BL_E_NOMEM;
    BL_TRY(bpe_work_new(&work, e));
    for (size_t i = 0; i < v->n; i++) {
        if (v->entry[i].type != TOK_NORMAL) continue;
        if (tok_byte_piece(tok_vocab_text(v, (int32_t)i), v->entry[i].n) >= 0) {
            k->type[i] = TOK_BYTE;
            bytes = true;
            continue;
        }
        BL_TRY(last_merge(k, work, (int32_t)i, &made[n], e));
        n += made[n] != NULL;
        k->score[i] = -(float)v->n; /* letters, and what merging never comes to */
    }
    qsort(made, n, sizeof(const tok_merge *), by_rank);
    for (size_t i = 0; i < n; i++) k->score[made[i]->id] = -(float)i;
    if (!bytes)
        bl_log(BL_LOG_WARN, "the tokenizer has no pieces for bytes: llama.cpp ends at a letter that is none of its "
                            "pieces, where the tokenizer says that it is unknown");
out:
    bpe_work_free(work);
    return st;
}

static bl_status by_score(making *k, bl_err *e)
{
    const bl_tokenizer *t = k->t;
    if (t->model == TOK_SCORES) {
        if (t->n_norm != 1 || t->norm[0].op != NORM_SPM || !t->norm[0].escape || t->n_pre)
            return refuse("changes the text before it cuts it", e);
        k->v->space_prefix = t->norm[0].dummy_prefix;
        k->v->remove_extra = t->norm[0].remove_extra;
        if (k->v->remove_extra)
            bl_log(BL_LOG_WARN, "llama.cpp keeps runs of spaces and spaces at the ends, which the tokenizer does not");
        return BL_OK;
    }
    if (!t->byte_fallback) return refuse("has neither bytes nor pieces for them", e);
    if (!spaces(t, &k->v->space_prefix)) return refuse("changes the text before it cuts it", e);
    if (t->ignore_merges || t->unk < 0) return refuse("takes whole pieces without merging them", e);
    return scores(k, e);
}

bl_status bl_tokenizer_gguf(const bl_tokenizer *t, int64_t rows, bl_arena *a, struct bl_gguf_vocab *out, bl_err *e)
{
    bl_status st = BL_OK;
    making k = {.t = t, .arena = a, .v = out};
    *out = (bl_gguf_vocab){.model = t->model == TOK_RANK_BYTES ? "gpt2" : "llama",
                           .chat_template = t->chat_template,
                           .bos = t->bos,
                           .eos = t->eos,
                           .unk = t->unk};
    BL_TRY(added(t, e));
    BL_TRY(pieces(&k, rows, e));
    if (t->n_prefix > 1 || (t->n_prefix && t->prefix[0] != t->bos))
        return refuse("puts other tokens than its BOS in front of a text", e);
    out->adds_bos = t->n_prefix == 1;
    if (t->prefix_once)
        bl_log(BL_LOG_WARN, "llama.cpp puts a space after special tokens, where the tokenizer does not");
    BL_TRY(t->model == TOK_RANK_BYTES ? byte_level(&k, e) : by_score(&k, e));
    out->piece = k.piece;
    out->type = k.type;
    out->merge = k.merge;
    out->score = t->model == TOK_RANK_BYTES ? NULL : k.score;
out:
    return st;
}
