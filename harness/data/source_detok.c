/* source_detok.c - the text rules of lm-evaluation-harness "wikitext".
 *
 * One rule of the original, for an apostrophe before a year, is written with slashes in its pattern and never fires; it
 * is left out.
 */
#include "data_impl.h"
#include "pytext.h"
#include <string.h>

int64_t bl_count_words(const char *s, size_t n)
{
    int64_t pieces = 1;
    size_t k;

    for (size_t i = 0; i < n;) {
        if ((k = bl_space_at(s + i, n - i)) == 0) {
            i++;
            continue;
        }
        pieces++;
        while (i < n && (k = bl_space_at(s + i, n - i)) > 0) i += k;
    }
    return pieces;
}

/* Every pair open … close (the nearest close): the inside without its outer white space. */
static void trim_pairs(bl_text *out, const char *s, size_t n, char open, char close)
{
    for (const char *end = s + n;;) {
        const char *o = memchr(s, open, (size_t)(end - s));
        const char *c = o ? memchr(o + 1, close, (size_t)(end - o - 1)) : NULL;
        if (!c) {
            bl_text_addn(out, s, (size_t)(end - s));
            return;
        }
        const char *in = o + 1;
        size_t len = (size_t)(c - in);
        bl_strip(&in, &len);
        bl_text_addn(out, s, (size_t)(o + 1 - s));
        bl_text_addn(out, in, len);
        bl_text_addn(out, c, 1);
        s = c + 1;
    }
}

static const struct rule {
    const char *from, *to;
    char open, close;
} rules[] = {
    {"s '", "s'", 0, 0},    {" @-@ ", "-", 0, 0},   {" @,@ ", ",", 0, 0},         {" @.@ ", ".", 0, 0},
    {" : ", ": ", 0, 0},    {" ; ", "; ", 0, 0},    {" . ", ". ", 0, 0},          {" ! ", "! ", 0, 0},
    {" ? ", "? ", 0, 0},    {" , ", ", ", 0, 0},    {NULL, NULL, '(', ')'},       {NULL, NULL, '[', ']'},
    {NULL, NULL, '{', '}'}, {NULL, NULL, '"', '"'}, {NULL, NULL, '\'', '\''},     {"= = = =", "====", 0, 0},
    {"= = =", "===", 0, 0}, {"= =", "==", 0, 0},    {" \u00b0 ", "\u00b0", 0, 0}, {" \n", "\n", 0, 0},
    {"\n ", "\n", 0, 0},    {" N ", " 1 ", 0, 0},   {" 's", "'s", 0, 0},
};

bl_status bl_detokenize(const char *s, size_t n, bl_text *out, bl_err *e)
{
    bl_text a = {0}, b = {0};

    bl_text_addn(&a, s, n);
    for (size_t i = 0; i < BL_COUNT(rules); i++) {
        const char *from = a.s ? a.s : "";
        b.n = 0;
        if (rules[i].from) bl_replace(&b, from, a.n, rules[i].from, rules[i].to);
        else trim_pairs(&b, from, a.n, rules[i].open, rules[i].close);
        bl_text t = a;
        a = b;
        b = t;
    }
    bl_text_addn(out, a.s ? a.s : "", a.n);
    if (a.failed || b.failed) out->failed = true;
    bl_text_free(&a);
    bl_text_free(&b);
    return bl_text_check(out, e);
}
