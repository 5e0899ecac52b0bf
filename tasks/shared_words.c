/* shared_words.c - see shared_words.h. */
#include "shared_words.h"
#include <ctype.h>
#include <string.h>

bl_status bl_words_of(const char *text, bool plain, bl_arena *a, bl_words *out, bl_err *e)
{
    char word[256];
    size_t n = 0, k = 0, most = strlen(text) / 2 + 2;

    if (!(out->at = bl_alloc(a, most, sizeof *out->at, e))) return BL_E_NOMEM;
    for (const char *s = text;; s++) {
        unsigned char c = (unsigned char)*s;
        if (c && !isspace(c)) {
            if (!ispunct(c) && k < sizeof word - 1) word[k++] = (char)tolower(c);
            continue;
        }
        word[k] = 0;
        bool article = plain && (!strcmp(word, "a") || !strcmp(word, "an") || !strcmp(word, "the"));
        if (k && !article) out->at[n++] = bl_hash_bytes(word, k);
        k = 0;
        if (!c) break;
    }
    out->n = n;
    return BL_OK;
}

double bl_words_f1(const bl_words *a, const bl_words *b, bool *used)
{
    size_t common = 0;
    for (size_t i = 0; i < a->n; i++)
        for (size_t k = 0; k < b->n; k++)
            if (!used[k] && bl_hash_equal(a->at[i], b->at[k])) {
                used[k] = true;
                common++;
                break;
            }
    return common ? 2 * (double)common / (double)(a->n + b->n) : 0;
}

bl_status bl_words_compare(const char *text, const char *right, bl_arena *a, double *f1, bool *same, bl_err *e)
{
    bl_status st = BL_OK;
    bl_words x, y;
    bool *used;
    BL_TRY(bl_words_of(text, true, a, &x, e));
    BL_TRY(bl_words_of(right, true, a, &y, e));
    if (!(used = bl_alloc(a, y.n + 1, sizeof *used, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    *f1 = bl_words_f1(&x, &y, used);
    *same = x.n == y.n && !memcmp(x.at, y.at, x.n * sizeof *x.at);
out:
    return st;
}
