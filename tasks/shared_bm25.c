/* shared_bm25.c - an inverted index in memory. */
#include "shared_bm25.h"
#include "kernels/base/hash.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double k1 = 1.2, b_length = 0.75;

typedef struct posting {
    int64_t passage, count;
} posting;
typedef struct word {
    const char *s; /* lower case, lent to the index */
    size_t n;
    posting *at;
    size_t n_at, cap;
} word;
struct bl_bm25 {
    bl_arena *arena;
    int64_t n;
    double mean;
    int64_t *length; /* words of each passage */
    word *word;      /* open addressing; s NULL: free */
    size_t cap, n_words;
};

static bool of_word(char c) { return isalnum((unsigned char)c) || (unsigned char)c >= 0x80; }

/* The next word of *text in lower case, in `out` of n bytes; its length, 0: no more. A longer one is cut. */
static size_t next_word(const char **text, char *out, size_t n)
{
    const char *s = *text;
    size_t k = 0;
    while (*s && !of_word(*s)) s++;
    for (; of_word(*s); s++)
        if (k < n) out[k++] = (char)((unsigned char)*s < 0x80 ? tolower((unsigned char)*s) : *s);
    *text = s;
    return k;
}

static word *slot_of(word *list, size_t cap, const char *s, size_t n)
{
    size_t i = bl_hash_bytes(s, n).lo & (cap - 1);
    while (list[i].s && (list[i].n != n || memcmp(list[i].s, s, n) != 0)) i = (i + 1) & (cap - 1);
    return &list[i];
}

static bl_status grow(bl_bm25 *b, bl_err *e)
{
    size_t cap = b->cap ? 2 * b->cap : 1024;
    word *more = bl_alloc(b->arena, cap, sizeof *more, e);
    if (!more) return BL_E_NOMEM;
    for (size_t i = 0; i < b->cap; i++)
        if (b->word[i].s) *slot_of(more, cap, b->word[i].s, b->word[i].n) = b->word[i];
    b->word = more;
    b->cap = cap;
    return BL_OK;
}

static bl_status add(bl_bm25 *b, const char *s, size_t n, int64_t passage, bl_err *e)
{
    bl_status st = BL_OK;
    if (2 * (b->n_words + 1) > b->cap) BL_TRY(grow(b, e));
    word *w = slot_of(b->word, b->cap, s, n);
    if (!w->s) {
        if (!(w->s = bl_arena_str(b->arena, s, n, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        w->n = n;
        b->n_words++;
    }
    if (w->n_at && w->at[w->n_at - 1].passage == passage) {
        w->at[w->n_at - 1].count++;
        goto out;
    }
    if (w->n_at == w->cap) {
        size_t cap = w->cap ? 2 * w->cap : 2;
        posting *more = bl_alloc(b->arena, cap, sizeof *more, e);
        if (!more) {
            st = BL_E_NOMEM;
            goto out;
        }
        if (w->n_at) memcpy(more, w->at, w->n_at * sizeof *more);
        w->at = more;
        w->cap = cap;
    }
    w->at[w->n_at++] = (posting){passage, 1};
out:
    return st;
}

bl_status bl_bm25_new(const char *const *passage, int64_t n, bl_arena *a, bl_bm25 **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_bm25 *b = bl_alloc(a, 1, sizeof *b, e);
    char s[256];
    size_t k;

    if (!b || !(b->length = bl_alloc(a, (size_t)n, sizeof *b->length, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    b->arena = a;
    b->n = n;
    BL_TRY(grow(b, e));
    for (int64_t i = 0; i < n; i++) {
        for (const char *p = passage[i]; (k = next_word(&p, s, sizeof s)) > 0; b->length[i]++)
            BL_TRY(add(b, s, k, i, e));
        b->mean += (double)b->length[i] / (double)n;
    }
    *out = b;
out:
    return st;
}

void bl_bm25_scores(const bl_bm25 *b, const char *question, double *score)
{
    char s[256];
    size_t k;

    for (int64_t i = 0; i < b->n; i++) score[i] = 0;
    for (const char *p = question; (k = next_word(&p, s, sizeof s)) > 0;) {
        const word *w = slot_of(b->word, b->cap, s, k);
        double df = (double)w->n_at, idf = log(1 + ((double)b->n - df + 0.5) / (df + 0.5));
        for (size_t j = 0; j < w->n_at; j++) {
            double tf = (double)w->at[j].count, n = (double)b->length[w->at[j].passage];
            score[w->at[j].passage] += idf * tf / (tf + k1 * (1 - b_length + b_length * n / b->mean));
        }
    }
}

int64_t bl_rank_first(const double *score, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (score[i] > score[best]) best = i;
    return best;
}

int64_t bl_rank_of(const double *score, int64_t n, int64_t i)
{
    int64_t rank = 1;
    for (int64_t k = 0; k < n; k++) rank += score[k] > score[i] || (k < i && score[k] == score[i]);
    return rank;
}
