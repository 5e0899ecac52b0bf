/* source_detok.c - the text rules of lm-evaluation-harness "wikitext" (perplexity.md section 3), and what they are made
 * of.
 *
 * One rule of the original, for an apostrophe before a year, is written with slashes in its pattern and never fires; it
 * is left out.
 */
#include "data_impl.h"
#include <string.h>
#include <utf8proc.h>

static bool is_space(int32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/* Bytes of the white space character at s[0..n); 0: it is none. */
static size_t space_at(const char *s, size_t n)
{
    utf8proc_int32_t c;
    if (n == 0) return 0;
    if ((unsigned char)*s < 0x80) return is_space(*s);
    utf8proc_ssize_t k = utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &c);
    return k > 0 && is_space(c) ? (size_t)k : 0;
}

void bl_strip(const char **s, size_t *n)
{
    size_t k;
    while ((k = space_at(*s, *n)) > 0) {
        *s += k;
        *n -= k;
    }
    while (*n > 0) {
        size_t from = *n - 1;
        while (from > 0 && ((unsigned char)(*s)[from] & 0xc0) == 0x80)
            from--; /* back to the first byte of the character */
        if (space_at(*s + from, *n - from) != *n - from) break;
        *n = from;
    }
}

int64_t bl_count_words(const char *s, size_t n)
{
    int64_t pieces = 1;
    size_t k;

    for (size_t i = 0; i < n;) {
        if ((k = space_at(s + i, n - i)) == 0) {
            i++;
            continue;
        }
        pieces++;
        while (i < n && (k = space_at(s + i, n - i)) > 0) i += k;
    }
    return pieces;
}

void bl_replace(bl_text *out, const char *s, size_t n, const char *from, const char *to)
{
    size_t len = strlen(from), to_len = strlen(to);

    while (n >= len) {
        const char *hit = memmem(s, n, from, len);
        if (!hit) break;
        bl_text_addn(out, s, (size_t)(hit - s));
        bl_text_addn(out, to, to_len);
        n -= (size_t)(hit - s) + len;
        s = hit + len;
    }
    bl_text_addn(out, s, n);
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
