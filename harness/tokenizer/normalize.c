/* normalize.c - text before it is cut: valid UTF-8, then the tokenizer's normalizers.
 *
 * Every byte may carry a mark that says whether it came from a data span; a byte that a normalizer makes out of several
 * carries the mark when one of them did.
 */
#include "tokenizer_impl.h"
#include <string.h>
#include <utf8proc.h>

bl_status tok_text_add(tok_text *t, const char *s, const uint8_t *data, size_t n, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(bl_grow(&t->s, &t->cap, t->n + n + 1, 1, e));
    if (t->marked) {
        BL_TRY(bl_grow(&t->data, &t->cap_data, t->n + n + 1, 1, e));
        if (data) memcpy(t->data + t->n, data, n);
        else memset(t->data + t->n, 0, n);
    }
    if (n) memcpy(t->s + t->n, s, n);
    t->n += n;
    t->s[t->n] = 0;
out:
    return st;
}

bl_status tok_text_put(tok_text *t, const char *s, size_t n, uint8_t data, bl_err *e)
{
    bl_status st = tok_text_add(t, s, NULL, n, e);
    if (st == BL_OK && t->marked) memset(t->data + t->n - n, data, n);
    return st;
}

void tok_text_free(tok_text *t)
{
    bl_free(t->s);
    bl_free(t->data);
    *t = (tok_text){0};
}

static uint8_t any_mark(const uint8_t *data, size_t n) { return data && memchr(data, 1, n); }

/* ---- UTF-8 --------------------------------------------------------------------------------------- */

bl_status tok_repair(const char *s, const uint8_t *data, size_t n, bool each_byte, tok_text *out, bl_err *e)
{
    bl_status st = BL_OK;
    size_t good = 0; /* start of the valid stretch that is not yet copied */
    for (size_t i = 0; i < n;) {
        int k = tok_utf8(s + i, n - i);
        if (k > 0) {
            i += (size_t)k;
            continue;
        }
        size_t bad = each_byte ? 1 : (size_t)-k;
        BL_TRY(tok_text_add(out, s + good, data ? data + good : NULL, i - good, e));
        BL_TRY(tok_text_put(out, TOK_BAD, 3, any_mark(data ? data + i : NULL, bad), e));
        good = i += bad;
    }
    BL_TRY(tok_text_add(out, s + good, data ? data + good : NULL, n - good, e));
out:
    return st;
}

/* ---- Unicode normal forms ------------------------------------------------------------------------ */

/* Canonical order within runs of combining marks. Counting, because a text of a million marks must not take a million
 * squared steps. */
static bl_status order_marks(utf8proc_int32_t *c, size_t n, bl_err *e)
{
    bl_status st = BL_OK;
    utf8proc_int32_t *sorted = NULL;
    for (size_t i = 0; i < n;) {
        size_t end = i;
        while (end < n && utf8proc_get_property(c[end])->combining_class) end++;
        if (end - i > 1) {
            size_t at[257] = {0};
            if (!sorted && !(sorted = bl_new(n, sizeof *sorted, e))) {
                st = BL_E_NOMEM;
                goto out;
            }
            for (size_t j = i; j < end; j++) at[(uint8_t)utf8proc_get_property(c[j])->combining_class + 1]++;
            for (int k = 1; k < 257; k++) at[k] += at[k - 1];
            for (size_t j = i; j < end; j++) sorted[at[(uint8_t)utf8proc_get_property(c[j])->combining_class]++] = c[j];
            memcpy(c + i, sorted, (end - i) * sizeof *c);
        }
        i = end + 1;
    }
out:
    bl_free(sorted);
    return st;
}

const tok_norm tok_nfd = {.op = NORM_UNICODE, .unicode = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE};

/* One stretch that no composition crosses: at most its first character is ASCII. */
static bl_status normal_form(int options, const char *s, size_t n, uint8_t data, tok_text *out, bl_err *e)
{
    bl_status st = BL_OK;
    utf8proc_int32_t *c = NULL;
    size_t n_c = 0, cap = 0;
    int boundary = 0;
    char utf8[4];

    for (size_t i = 0; i < n;) {
        int k = tok_utf8(s + i, n - i);
        BL_TRY(bl_grow(&c, &cap, n_c + 32, sizeof *c, e)); /* the longest decomposition has 18 */
        utf8proc_ssize_t made = utf8proc_decompose_char((utf8proc_int32_t)tok_get_utf8(s + i, k), c + n_c, 32,
                                                        (utf8proc_option_t)options, &boundary);
        if (made < 0 || made > 32) {
            st = bl_fail(e, BL_E_INTERNAL, "normal form of U+%04X: %s", tok_get_utf8(s + i, k), utf8proc_errmsg(made));
            goto out;
        }
        n_c += (size_t)made;
        i += (size_t)k;
    }
    BL_TRY(order_marks(c, n_c, e));
    if (options & UTF8PROC_COMPOSE)
        n_c = (size_t)utf8proc_normalize_utf32(c, (utf8proc_ssize_t)n_c, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    for (size_t i = 0; i < n_c; i++) BL_TRY(tok_text_put(out, utf8, bl_utf8_put((uint32_t)c[i], utf8), data, e));
out:
    bl_free(c);
    return st;
}

static bl_status unicode(const tok_norm *step, const char *s, const uint8_t *data, size_t n, tok_text *out, bl_err *e)
{
    bl_status st = BL_OK;
    for (size_t i = 0; i < n;) {
        size_t ascii = i, end;
        while (ascii < n && (uint8_t)s[ascii] < 0x80) ascii++;
        size_t plain = ascii < n && ascii > i ? ascii - 1 : ascii; /* the last one may take marks */
        BL_TRY(tok_text_add(out, s + i, data ? data + i : NULL, plain - i, e));
        if (plain >= n) break;
        for (end = ascii; end < n && (uint8_t)s[end] >= 0x80;) end++;
        BL_TRY(normal_form(step->unicode, s + plain, end - plain, any_mark(data ? data + plain : NULL, end - plain),
                           out, e));
        i = end;
    }
out:
    return st;
}

/* ---- character by character -------------------------------------------------------------------------------- */

/* The blocks of ideographs that BERT takes apart, as tokenizers 0.23 has them (U+2B820 to U+2B91F are not among them).
 */
static bool is_ideograph(uint32_t c)
{
    static const struct {
        uint32_t first, last;
    } blocks[] = {{0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},   {0x20000, 0x2A6DF},
                  {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF}, {0x2F800, 0x2FA1F}};
    for (size_t i = 0; i < BL_COUNT(blocks); i++)
        if (c >= blocks[i].first && c <= blocks[i].last) return true;
    return false;
}

static bl_status one_by_one(const tok_norm *step, const char *s, const uint8_t *data, size_t n, tok_text *out,
                            bl_err *e)
{
    bl_status st = BL_OK;
    char utf8[8];
    for (size_t i = 0, k; i < n; i += k) {
        uint8_t mark = data ? data[i] : 0;
        k = (size_t)tok_utf8(s + i, n - i);
        uint32_t c = tok_get_utf8(s + i, (int)k);
        const char *put = s + i;
        size_t n_put = k;
        utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
        switch (step->op) {
        case NORM_CLEAN:
            if (c != '\t' && c != '\n' && c != '\r' &&
                (category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF ||
                 category == UTF8PROC_CATEGORY_CO || c == 0xFFFD))
                continue;
            if (tok_space_at_start(s + i, k)) {
                put = " ";
                n_put = 1;
            }
            break;
        case NORM_CJK:
            if (!is_ideograph(c)) break;
            BL_TRY(tok_text_put(out, " ", 1, mark, e));
            BL_TRY(tok_text_put(out, put, n_put, mark, e));
            put = " ";
            n_put = 1;
            break;
        case NORM_UNMARK:
            if (category == UTF8PROC_CATEGORY_MN) continue;
            break;
        default: /* NORM_LOWER; one letter has two characters in lower case */
            if (c == 0x130) {
                put = "i\xCC\x87";
                n_put = 3;
            } else {
                n_put = (size_t)bl_utf8_put((uint32_t)utf8proc_tolower((utf8proc_int32_t)c), utf8);
                put = utf8;
            }
        }
        BL_TRY(tok_text_put(out, put, n_put, mark, e));
    }
out:
    return st;
}

/* ---- the others ---------------------------------------------------------------------------------- */

static bl_status replace(const tok_norm *step, const char *s, const uint8_t *data, size_t n, tok_text *out, bl_err *e)
{
    bl_status st = BL_OK;
    tok_matcher *m = NULL;
    if (step->regex) BL_TRY(tok_matcher_new(&m, e));
    for (size_t i = 0;;) {
        size_t start, end;
        if (step->regex) {
            BL_TRY(tok_regex_next(step->regex, m, s, n, i, &start, &end, e));
        } else {
            const char *found = i < n ? memmem(s + i, n - i, step->find, step->n_find) : NULL;
            start = found ? (size_t)(found - s) : n;
            end = start + step->n_find;
        }
        BL_TRY(tok_text_add(out, s + i, data ? data + i : NULL, start - i, e));
        if (start >= n) break;
        BL_TRY(tok_text_put(out, step->with, step->n_with, any_mark(data ? data + start : NULL, end - start), e));
        i = end;
    }
out:
    tok_matcher_free(m);
    return st;
}

/* sentencepiece: spaces at the start, double and at the end go away (remove_extra), one is put in front (dummy_prefix),
 * and the rest is written as U+2581 (escape). */
static bl_status spm(const tok_norm *step, bool dummy, const char *s, const uint8_t *data, size_t n, tok_text *out,
                     bl_err *e)
{
    bl_status st = BL_OK;
    const char *space = step->escape ? TOK_SPACE : " ";
    size_t n_space = strlen(space), i = 0, begin = out->n;

    if (step->remove_extra)
        while (i < n && s[i] == ' ') i++;
    if (i >= n) return BL_OK;
    if (dummy && step->dummy_prefix) BL_TRY(tok_text_put(out, space, n_space, data ? data[i] : 0, e));
    for (bool after = step->remove_extra; i < n;) {
        size_t end = i;
        while (end < n && s[end] != ' ') end++;
        if (end > i) {
            BL_TRY(tok_text_add(out, s + i, data ? data + i : NULL, end - i, e));
            after = false;
        }
        if (end < n) {
            if (!after) BL_TRY(tok_text_put(out, space, n_space, data ? data[end] : 0, e));
            after = step->remove_extra;
            end++;
        }
        i = end;
    }
    if (step->remove_extra)
        while (out->n >= begin + n_space && !memcmp(out->s + out->n - n_space, space, n_space)) out->n -= n_space;
out:
    return st;
}

bl_status tok_normalize(const tok_norm *step, size_t n_steps, bool dummy, const char *s, const uint8_t *data, size_t n,
                        tok_text *out, tok_text *spare, bl_err *e)
{
    bl_status st = BL_OK;
    out->n = 0;
    if (!n_steps) return tok_text_add(out, s, data, n, e);
    for (size_t k = 0; k < n_steps; k++) {
        if (k) {
            tok_text t = *out;
            *out = *spare;
            *spare = t;
            s = spare->s;
            data = spare->marked ? spare->data : NULL;
            n = spare->n;
        }
        out->n = 0;
        BL_TRY(tok_text_add(out, "", NULL, 0, e));
        switch (step[k].op) {
        case NORM_UNICODE: BL_TRY(unicode(&step[k], s, data, n, out, e)); break;
        case NORM_REPLACE: BL_TRY(replace(&step[k], s, data, n, out, e)); break;
        case NORM_CLEAN:
        case NORM_CJK:
        case NORM_UNMARK:
        case NORM_LOWER: BL_TRY(one_by_one(&step[k], s, data, n, out, e)); break;
        case NORM_SPM: BL_TRY(spm(&step[k], dummy, s, data, n, out, e)); break;
        case NORM_PREPEND:
            if (n) BL_TRY(tok_text_put(out, step[k].with, step[k].n_with, data ? data[0] : 0, e));
            BL_TRY(tok_text_add(out, s, data, n, e));
        }
    }
out:
    return st;
}
