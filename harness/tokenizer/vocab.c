/* vocab.c - two hash tables, text to id and pair of ids to merge rule; and the order of merging that scores give. */
#include "tokenizer_impl.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

static size_t place(const char *s, size_t n, size_t n_slots) { return (size_t)bl_hash_bytes(s, n).lo & (n_slots - 1); }

static bl_status rehash(tok_vocab *v, size_t need, bl_err *e)
{
    size_t n = 256;
    while (n < 2 * need) n *= 2;
    if (n <= v->n_slots) return BL_OK;
    int32_t *slot = bl_new(n, sizeof *slot, e);
    if (!slot) return BL_E_NOMEM;
    for (size_t id = 0; id < v->n; id++) {
        if (v->entry[id].type == TOK_HOLE) continue;
        size_t i = place(tok_vocab_text(v, (int32_t)id), v->entry[id].n, n);
        while (slot[i]) i = (i + 1) & (n - 1);
        slot[i] = (int32_t)id + 1;
    }
    bl_free(v->slot);
    v->slot = slot;
    v->n_slots = n;
    return BL_OK;
}

bl_status tok_vocab_add(tok_vocab *v, int64_t id, const char *s, size_t n, float score, tok_type type, size_t expect,
                        const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    int shown = (int)BL_MIN(n, 60);

    if (id < 0 || id > INT32_MAX)
        return bl_fail(e, BL_E_FORMAT, "%s: token '%.*s': id %" PRId64 " is not between 0 and 2147483647", file, shown,
                       s, id);
    if ((uint64_t)id >= 8 * (uint64_t)expect + 65536)
        return bl_fail(e, BL_E_FORMAT, "%s: token '%.*s': id %" PRId64 " in a vocabulary of %zu tokens", file, shown, s,
                       id, expect);
    if (n >= UINT32_MAX - v->n_text)
        return bl_fail(e, BL_E_FORMAT, "%s: the texts of its tokens are larger than 4 GiB", file);
    if (tok_vocab_has(v, id))
        return bl_fail(e, BL_E_FORMAT, "%s: id %" PRId64 " is given to '%.*s' and to '%.*s'", file, id,
                       (int)BL_MIN(v->entry[id].n, 60u), tok_vocab_text(v, (int32_t)id), shown, s);
    int32_t old = tok_vocab_find(v, s, n);
    if (old >= 0)
        return bl_fail(e, BL_E_FORMAT, "%s: token '%.*s' has two ids, %d and %" PRId64, file, shown, s, old, id);

    BL_TRY(bl_grow(&v->text, &v->cap_text, v->n_text + n + 1, 1, e));
    if ((size_t)id >= v->n) {
        BL_TRY(bl_grow(&v->entry, &v->cap, (size_t)id + 1, sizeof *v->entry, e));
        memset(v->entry + v->n, 0, ((size_t)id + 1 - v->n) * sizeof *v->entry);
        v->n = (size_t)id + 1;
    }
    BL_TRY(rehash(v, BL_MAX(v->n_used + 1, BL_MIN(expect, (size_t)1 << 20)), e));
    memcpy(v->text + v->n_text, s, n);
    v->text[v->n_text + n] = 0;
    v->entry[id] = (tok_entry){.at = (uint32_t)v->n_text, .n = (uint32_t)n, .score = score, .type = (uint8_t)type};
    v->n_text += n + 1; /* with its NUL */
    v->longest = BL_MAX(v->longest, (uint32_t)n);
    v->n_used++;
    size_t i = place(s, n, v->n_slots);
    while (v->slot[i]) i = (i + 1) & (v->n_slots - 1);
    v->slot[i] = (int32_t)id + 1;
out:
    return st;
}

int32_t tok_vocab_find(const tok_vocab *v, const char *s, size_t n)
{
    if (!v->n_slots) return -1;
    for (size_t i = place(s, n, v->n_slots); v->slot[i]; i = (i + 1) & (v->n_slots - 1)) {
        const tok_entry *t = &v->entry[v->slot[i] - 1];
        if (t->n == n && !memcmp(v->text + t->at, s, n)) return v->slot[i] - 1;
    }
    return -1;
}

/* A float's bits, made to sort as the float does, turned around: best first. -0 and 0 are one score. */
static uint32_t order_of(float score)
{
    uint32_t bits;
    score += 0.0f;
    memcpy(&bits, &score, sizeof bits);
    bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return ~bits;
}

bl_status tok_vocab_order(const tok_vocab *v, uint32_t **out, const char *file, bl_err *e)
{
    uint32_t *order = bl_new(v->n, sizeof *order, e);
    if (!order) return BL_E_NOMEM;
    for (size_t id = 0; id < v->n; id++) {
        const tok_entry *t = &v->entry[id];
        if (isnan(t->score)) {
            bl_free(order);
            return bl_fail(e, BL_E_FORMAT, "%s: the score of token %zu '%.*s' is not a number", file, id,
                           (int)BL_MIN(t->n, 60u), v->text + t->at);
        }
        bool merges = t->type == TOK_NORMAL || t->type == TOK_USER || t->type == TOK_UNUSED;
        order[id] = merges ? order_of(t->score) : UINT32_MAX;
    }
    *out = order;
    return BL_OK;
}

static uint64_t pair_of(int32_t left, int32_t right) { return (uint64_t)(uint32_t)left << 32 | (uint32_t)right; }
static size_t pair_place(uint64_t pair, size_t n_slots)
{
    uint64_t h = pair * 0x9E3779B97F4A7C15ull;
    return (size_t)(h ^ h >> 32) & (n_slots - 1);
}

bl_status tok_merges_add(tok_merges *m, int32_t left, int32_t right, uint32_t rank, int32_t id, bool replace, bl_err *e)
{
    if (2 * (m->n + 1) > m->n_slots) {
        size_t n = m->n_slots ? 2 * m->n_slots : 1024;
        tok_merge *slot = bl_new(n, sizeof *slot, e);
        if (!slot) return BL_E_NOMEM;
        for (size_t j = 0; j < m->n_slots; j++) {
            if (!m->slot[j].rank1) continue;
            size_t i = pair_place(m->slot[j].pair, n);
            while (slot[i].rank1) i = (i + 1) & (n - 1);
            slot[i] = m->slot[j];
        }
        bl_free(m->slot);
        m->slot = slot;
        m->n_slots = n;
    }
    uint64_t pair = pair_of(left, right);
    size_t i = pair_place(pair, m->n_slots);
    for (; m->slot[i].rank1; i = (i + 1) & (m->n_slots - 1))
        if (m->slot[i].pair == pair) {
            if (replace) m->slot[i] = (tok_merge){pair, rank + 1, id};
            return BL_OK;
        }
    m->slot[i] = (tok_merge){pair, rank + 1, id};
    m->n++;
    return BL_OK;
}

const tok_merge *tok_merges_find(const tok_merges *m, int32_t left, int32_t right)
{
    if (!m->n_slots) return NULL;
    uint64_t pair = pair_of(left, right);
    for (size_t i = pair_place(pair, m->n_slots); m->slot[i].rank1; i = (i + 1) & (m->n_slots - 1))
        if (m->slot[i].pair == pair) return &m->slot[i];
    return NULL;
}

bl_status tok_merges_add_text(tok_merges *m, const tok_vocab *v, const char *left, size_t n_left, const char *right,
                              size_t n_right, bool replace, const char *file, bl_err *e)
{
    char local[256];
    size_t n = n_left + n_right;
    int32_t a = tok_vocab_find(v, left, n_left), b = tok_vocab_find(v, right, n_right), both = -1;
    if (a < 0 || b < 0)
        return bl_fail(e, BL_E_FORMAT, "%s: merge %zu, '%.*s' and '%.*s': '%.*s' is not in the vocabulary", file,
                       m->n_rules, (int)BL_MIN(n_left, 60u), left, (int)BL_MIN(n_right, 60u), right,
                       (int)BL_MIN(a < 0 ? n_left : n_right, 60u), a < 0 ? left : right);
    if (n <= v->longest) {
        char *joined = n <= sizeof local ? local : bl_new(n, 1, e);
        if (!joined) return BL_E_NOMEM;
        memcpy(joined, left, n_left);
        memcpy(joined + n_left, right, n_right);
        both = tok_vocab_find(v, joined, n);
        if (joined != local) bl_free(joined);
    }
    if (both < 0)
        return bl_fail(e, BL_E_FORMAT, "%s: merge %zu, '%.*s' and '%.*s': together they are no token", file, m->n_rules,
                       (int)BL_MIN(n_left, 60u), left, (int)BL_MIN(n_right, 60u), right);
    return tok_merges_add(m, a, b, (uint32_t)m->n_rules++, both, replace, e);
}
