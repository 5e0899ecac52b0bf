/* decode.c - ids to text, by the decoders of the tokenizer file.
 *
 * A chain of decoders works on a list of texts, one a token at first; the list is joined at the end. Without decoders
 * the tokens are joined by spaces, as the reference has it.
 */
#include "tokenizer_impl.h"
#include <inttypes.h>
#include <string.h>

typedef struct part {
    size_t at, n;
    int32_t id;
} part; /* of `text`; id -1: made by a decoder */
typedef struct list {
    bl_text text;
    part *part;
    size_t n, cap;
} list;

static bl_status put(list *l, const char *s, size_t n, int32_t id, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(bl_grow(&l->part, &l->cap, l->n + 1, sizeof *l->part, e));
    l->part[l->n++] = (part){l->text.n, n, id};
    bl_text_addn(&l->text, s, n);
    st = bl_text_check(&l->text, e);
out:
    return st;
}

static void list_free(list *l)
{
    bl_text_free(&l->text);
    bl_free(l->part);
    *l = (list){0};
}

/* Appends with U+FFFD for what is not UTF-8. */
static void put_valid(bl_text *out, const char *s, size_t n, bool each_byte)
{
    size_t good = 0;
    for (size_t i = 0; i < n;) {
        int k = tok_utf8(s + i, n - i);
        if (k > 0) {
            i += (size_t)k;
            continue;
        }
        bl_text_addn(out, s + good, i - good);
        bl_text_add(out, TOK_BAD);
        good = i += each_byte ? 1 : (size_t)-k;
    }
    bl_text_addn(out, s + good, n - good);
}

static bl_status byte_level(const list *in, list *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text raw = {0};
    for (size_t i = 0; i < in->n; i++) {
        const char *s = in->text.s + in->part[i].at;
        if (!tok_letters(s, in->part[i].n, &raw)) bl_text_addn(&raw, s, in->part[i].n);
    }
    BL_TRY(bl_text_check(&raw, e));
    BL_TRY(put(out, "", 0, -1, e));
    put_valid(&out->text, raw.s ? raw.s : "", raw.n, false);
    out->part[0].n = out->text.n;
out:
    bl_text_free(&raw);
    return st;
}

/* Runs of byte pieces: their text when it is UTF-8, else one U+FFFD each. */
static bl_status byte_fallback(const list *in, list *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text run = {0};
    for (size_t i = 0; i <= in->n; i++) {
        const char *s = i < in->n ? in->text.s + in->part[i].at : "";
        int byte = i < in->n ? tok_byte_piece(s, in->part[i].n) : -1;
        if (byte >= 0) {
            bl_text_addn(&run, (char[]){(char)byte}, 1);
            continue;
        }
        if (run.n) {
            size_t k = 0;
            for (int step; k < run.n && (step = tok_utf8(run.s + k, run.n - k)) > 0;) k += (size_t)step;
            if (k == run.n) BL_TRY(put(out, run.s, run.n, -1, e));
            else
                for (size_t j = 0; j < run.n; j++) BL_TRY(put(out, TOK_BAD, 3, -1, e));
            run.n = 0;
        }
        if (i < in->n) BL_TRY(put(out, s, in->part[i].n, in->part[i].id, e));
    }
    BL_TRY(bl_text_check(&run, e));
out:
    bl_text_free(&run);
    return st;
}

static bl_status strip(const tok_dec *d, const list *in, list *out, bl_err *e)
{
    bl_status st = BL_OK;
    for (size_t i = 0; i < in->n; i++) {
        const char *s = in->text.s + in->part[i].at;
        size_t n = in->part[i].n;
        for (int64_t k = 0; k < d->start && n >= d->n_find && !memcmp(s, d->find, d->n_find); k++) {
            s += d->n_find;
            n -= d->n_find;
        }
        for (int64_t k = 0; k < d->stop && n >= d->n_find && !memcmp(s + n - d->n_find, d->find, d->n_find); k++)
            n -= d->n_find;
        BL_TRY(put(out, s, n, -1, e));
    }
out:
    return st;
}

static bl_status replace(const tok_dec *d, const list *in, list *out, bl_err *e)
{
    bl_status st = BL_OK;
    for (size_t i = 0; i < in->n; i++) {
        const char *s = in->text.s + in->part[i].at, *end = s + in->part[i].n;
        BL_TRY(put(out, "", 0, in->part[i].id, e));
        bool drop = d->op == DEC_META && d->prefix &&
                    i == 0; /* the spaces of the first token are the tokenizer's own */
        for (const char *p; (p = memmem(s, (size_t)(end - s), d->find, d->n_find)) != NULL; s = p + d->n_find) {
            bl_text_addn(&out->text, s, (size_t)(p - s));
            if (!drop) bl_text_addn(&out->text, d->with, d->n_with);
        }
        bl_text_addn(&out->text, s, (size_t)(end - s));
        out->part[out->n - 1].n = out->text.n - out->part[out->n - 1].at;
    }
out:
    return st;
}

/* sentencepiece: the space in front of the first visible piece is not text; runs of byte pieces are one text. */
static bl_status spm(const bl_tokenizer *t, const tok_dec *d, const list *in, list *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text run = {0}, one = {0};
    bool opening = true, took = false;
    size_t visible = 0; /* bytes of text so far that are no control token */
    BL_TRY(put(out, "", 0, -1, e));
    for (size_t i = 0; i <= in->n; i++) {
        int32_t id = i < in->n ? in->part[i].id : -1;
        const char *s = i < in->n ? in->text.s + in->part[i].at : "";
        size_t n = i < in->n ? in->part[i].n : 0;
        int byte = id >= 0 && t->byte_fallback && t->vocab.entry[id].type == TOK_BYTE ? tok_byte_piece(s, n) : -1;
        if (byte >= 0) {
            bl_text_addn(&run, (char[]){(char)byte}, 1);
            continue;
        }
        if (run.n) {
            put_valid(&out->text, run.s, run.n, true);
            visible += run.n;
            run.n = 0;
        }
        if (id < 0) continue;
        if (took || visible) opening = false;
        took = false;
        if (t->special[id] || id == t->unk) {
            if (id == t->unk && t->unk_surface) {
                s = t->unk_surface;
                n = strlen(s);
                visible += n;
            }
            bl_text_addn(&out->text, s, n);
            continue;
        }
        if (opening && d->prefix && n >= 3 && !memcmp(s, TOK_SPACE, 3)) {
            s += 3;
            n -= 3;
            took = !d->all_leading;
        } else if (opening && d->prefix && n >= 1 && s[0] == ' ') {
            s++;
            n--;
            took = !d->all_leading;
        } /* llama2.c writes it as it is */
        one.n = 0;
        for (const char *p, *end = s + n;; s = p + 3) {
            p = memmem(s, (size_t)(end - s), TOK_SPACE, 3);
            bl_text_addn(&one, s, (size_t)((p ? p : end) - s));
            if (!p) break;
            bl_text_add(&one, " ");
        }
        put_valid(&out->text, one.s, one.n, true);
        visible += one.n;
    }
    out->part[0].n = out->text.n;
    BL_TRY(bl_text_check(&run, e));
    BL_TRY(bl_text_check(&one, e));
out:
    bl_text_free(&run);
    bl_text_free(&one);
    return st;
}

/* Words with a space between them; what is inside one loses its mark. */
static bl_status wordpiece(const tok_dec *d, const list *in, list *out, bl_err *e)
{
    static const char *const tidy[][2] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                                          {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                                          {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    bl_status st = BL_OK;
    bl_text one = {0}, next = {0};
    for (size_t i = 0; i < in->n; i++) {
        const char *s = in->text.s + in->part[i].at;
        size_t n = in->part[i].n;
        bool inside = i && n >= d->n_find && !memcmp(s, d->find, d->n_find);
        one.n = 0;
        if (i && !inside) bl_text_add(&one, " ");
        bl_text_addn(&one, inside ? s + d->n_find : s, inside ? n - d->n_find : n);
        for (size_t k = 0; d->cleanup && k < BL_COUNT(tidy); k++) {
            const char *from = one.s, *found;
            BL_TRY(bl_text_check(&one, e));
            if (!(found = strstr(from, tidy[k][0]))) continue;
            for (next.n = 0; found; found = strstr(from, tidy[k][0])) {
                bl_text_addn(&next, from, (size_t)(found - from));
                bl_text_add(&next, tidy[k][1]);
                from = found + strlen(tidy[k][0]);
            }
            bl_text_add(&next, from);
            BL_TRY(bl_text_check(&next, e));
            bl_text swap = one;
            one = next;
            next = swap;
        }
        BL_TRY(bl_text_check(&one, e));
        BL_TRY(put(out, one.s, one.n, -1, e));
    }
out:
    bl_text_free(&one);
    bl_text_free(&next);
    return st;
}

static bl_status fuse(const list *in, list *out, bl_err *e)
{
    bl_status st = BL_OK;
    if (in->text.n || in->n) BL_TRY(put(out, "", 0, -1, e));
    for (size_t i = 0; i < in->n; i++) bl_text_addn(&out->text, in->text.s + in->part[i].at, in->part[i].n);
    if (out->n) out->part[0].n = out->text.n;
out:
    return st;
}

bl_status bl_decode(const bl_tokenizer *t, const int32_t *id, size_t n, bool keep_special, char **out, size_t *n_out,
                    bl_err *e)
{
    bl_status st = BL_OK;
    list a = {0}, b = {0};
    bl_text all = {0};
    int32_t *which = NULL;

    if (!(which = bl_new(t->vocab.n, sizeof *which, e))) {
        st = BL_E_NOMEM;
        goto out;
    } /* added token of an id, + 1 */
    for (size_t i = 0; i < t->n_added; i++) which[t->added[i].id] = (int32_t)i + 1;
    for (size_t i = 0; i < n; i++) {
        if (!tok_vocab_has(&t->vocab, id[i])) {
            st = bl_fail(e, BL_E_CONFIG, "id %" PRId32 " is not in the vocabulary of %zu tokens", id[i], t->vocab.n);
            goto out;
        }
        if (t->special[id[i]] && !keep_special && !(id[i] == t->unk && t->unk_surface)) continue;
        const tok_added *added = which[id[i]] ? &t->added[which[id[i]] - 1] : NULL;
        if (added) BL_TRY(put(&a, added->text, added->n, id[i], e));
        else BL_TRY(put(&a, tok_vocab_text(&t->vocab, id[i]), t->vocab.entry[id[i]].n, id[i], e));
    }
    for (size_t k = 0; k < t->n_dec && a.n; k++) {
        const tok_dec *d = &t->dec[k];
        switch (d->op) {
        case DEC_BYTELEVEL: BL_TRY(byte_level(&a, &b, e)); break;
        case DEC_BYTEFALLBACK: BL_TRY(byte_fallback(&a, &b, e)); break;
        case DEC_STRIP: BL_TRY(strip(d, &a, &b, e)); break;
        case DEC_FUSE: BL_TRY(fuse(&a, &b, e)); break;
        case DEC_WORDPIECE: BL_TRY(wordpiece(d, &a, &b, e)); break;
        case DEC_SPM: BL_TRY(spm(t, d, &a, &b, e)); break;
        case DEC_REPLACE:
        case DEC_META: BL_TRY(replace(d, &a, &b, e)); break;
        }
        BL_TRY(bl_text_check(&b.text, e));
        list_free(&a);
        a = b;
        b = (list){0};
    }
    for (size_t i = 0; i < a.n; i++) {
        if (i && !t->n_dec) bl_text_add(&all, " ");
        bl_text_addn(&all, a.text.s + a.part[i].at, a.part[i].n);
    }
    bl_text_addn(&all, "", 0);
    BL_TRY(bl_text_check(&all, e));
    *out = all.s;
    if (n_out) *n_out = all.n;
    all = (bl_text){0};
out:
    bl_text_free(&all);
    list_free(&a);
    list_free(&b);
    bl_free(which);
    return st;
}
