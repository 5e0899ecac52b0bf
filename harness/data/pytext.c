/* pytext.c - text as Python's str has it. */
#include "pytext.h"
#include "kernels/base/utf8.h"
#include <string.h>

bool bl_is_space(int32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

size_t bl_space_at(const char *s, size_t n)
{
    uint32_t c;
    size_t k = bl_utf8_get(s, n, &c);
    return k && bl_is_space((int32_t)c) ? k : 0;
}

void bl_rstrip(const char *s, size_t *n)
{
    while (*n > 0) {
        size_t from = *n - 1;
        while (from > 0 && *n - from < 4 && ((unsigned char)s[from] & 0xc0) == 0x80)
            from--; /* back to the first byte of the character */
        if (bl_space_at(s + from, *n - from) != *n - from) break;
        *n = from;
    }
}

void bl_strip(const char **s, size_t *n)
{
    size_t k;
    while ((k = bl_space_at(*s, *n)) > 0) {
        *s += k;
        *n -= k;
    }
    bl_rstrip(*s, n);
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
