/* gen_text.c - the bytes of new tokens are matched against the stop strings as they come (Knuth, Morris, Pratt): linear
 * time, also when a stop spans tokens or a token holds more than the stop. */
#include "gen_text.h"
#include "kernels/base/utf8.h"
#include <string.h>

struct bl_gen_stop {
    const char *s;
    size_t n, at, *fall; /* at: how much of it the stream ends with */
};

bl_status bl_gen_text_begin(bl_gen_text *x, const char *const *stop, int n, bl_err *e)
{
    x->cut = SIZE_MAX;
    if (!(x->stop = bl_new((size_t)n, sizeof *x->stop, e))) return BL_E_NOMEM;
    for (int i = 0; i < n; i++) {
        bl_gen_stop *s = &x->stop[x->n_stops];
        s->s = stop[i];
        if (!(s->n = strlen(s->s))) continue;
        if (!(s->fall = bl_new(s->n + 1, sizeof *s->fall, e))) return BL_E_NOMEM;
        x->n_stops++;
        for (size_t k = 1, at = 0; k < s->n; k++) {
            while (at && s->s[k] != s->s[at]) at = s->fall[at];
            s->fall[k + 1] = at += s->s[k] == s->s[at];
        }
    }
    return BL_OK;
}

void bl_gen_text_free(bl_gen_text *x)
{
    for (int i = 0; i < x->n_stops; i++) bl_free(x->stop[i].fall);
    bl_free(x->stop);
    bl_free(x->special);
    bl_text_free(&x->stream);
}

/* Feeds bytes that are at stream[from..]; the earliest beginning of a stop that ends in them is where the text is cut.
 */
static void match_stops(bl_gen_text *x, size_t from)
{
    for (int i = 0; i < x->n_stops; i++) {
        bl_gen_stop *s = &x->stop[i];
        for (size_t p = from; p < x->stream.n; p++) {
            while (s->at && (s->at == s->n || x->stream.s[p] != s->s[s->at])) s->at = s->fall[s->at];
            s->at += x->stream.s[p] == s->s[s->at];
            if (s->at == s->n) x->cut = BL_MIN(x->cut, p + 1 - s->n);
        }
    }
}

bl_status bl_gen_text_add(bl_gen_text *x, const bl_tokenizer *t, int32_t id, bl_err *e)
{
    size_t n, from = x->stream.n;
    const char *bytes = bl_token_bytes(t, id, &n);
    bl_status st = BL_OK;

    bl_text_addn(&x->stream, bytes, n);
    BL_TRY(bl_text_check(&x->stream, e));
    if (bl_tokenizer_is_special(t, id)) {
        BL_TRY(bl_grow(&x->special, &x->cap_special, x->n_special + 1, sizeof *x->special, e));
        x->special[x->n_special++] = (bl_gen_range){from, x->stream.n};
    }
    match_stops(x, from);
out:
    return st;
}

bl_status bl_gen_text_end(bl_gen_text *x, bl_arena *a, char **out, size_t *n_out, bl_err *e)
{
    bl_text t = {0};
    size_t end = BL_MIN(x->stream.n, x->cut), kept = 0, r = 0, n = 0;
    bl_status st = BL_OK;

    for (size_t i = 0; i < end; i++) {
        while (r < x->n_special && x->special[r].to <= i) r++;
        if (r < x->n_special && x->special[r].from <= i) continue;
        x->stream.s[kept++] = x->stream.s[i];
    }
    while (n < kept) {
        uint32_t c;
        size_t k = bl_utf8_get(x->stream.s + n, kept - n, &c);
        if (k == 0 || !c) {
            bl_text_add(&t, "\xef\xbf\xbd");
            n++;
        } else {
            bl_text_addn(&t, x->stream.s + n, k);
            n += k;
        }
    }
    BL_TRY(bl_text_check(&t, e));
    if (!(*out = bl_arena_str(a, t.s ? t.s : "", t.n, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    *n_out = t.n;
out:
    bl_text_free(&t);
    return st;
}
