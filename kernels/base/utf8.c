/* utf8.c - UTF-8 by utf8proc, whose iterator is strict. */
#include "utf8.h"
#include <string.h>
#include <utf8proc.h>

size_t bl_utf8_get(const char *s, size_t n, uint32_t *c)
{
    utf8proc_int32_t point;
    if (n == 0) return 0;
    if ((uint8_t)s[0] < 0x80) {
        *c = (uint8_t)s[0];
        return 1;
    }
    utf8proc_ssize_t k = utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)BL_MIN(n, 4), &point);
    if (k <= 0) return 0;
    *c = (uint32_t)point;
    return (size_t)k;
}

size_t bl_utf8_put(uint32_t c, char out[4])
{
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)c, (utf8proc_uint8_t *)out);
}

size_t bl_utf8_bad(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        uint64_t eight;
        uint32_t c;
        if (n - i >= 8 && (memcpy(&eight, s + i, 8), (eight & UINT64_C(0x8080808080808080)) == 0)) {
            i += 8;
            continue;
        }
        size_t k = bl_utf8_get(s + i, n - i, &c);
        if (k == 0) return i;
        i += k;
    }
    return n;
}

/* Is s[0..n), 2 <= n < 4, the beginning of a longer code point? The bytes still to come are free in 0x80..0xbf. */
static bool begins_one(const char *s, size_t n)
{
    uint8_t b = (uint8_t)s[0];
    char whole[4] = {'\x80', '\x80', '\x80', '\x80'};
    size_t len = b >= 0xf0 ? 4 : b >= 0xe0 ? 3 : 2;
    uint32_t c;
    memcpy(whole, s, n);
    return n < len && bl_utf8_get(whole, len, &c) == len;
}

size_t bl_utf8_count(const char *s, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += ((uint8_t)s[i] & 0xc0) != 0x80;
    return count;
}

size_t bl_utf8_skip(const char *s, size_t n)
{
    size_t k = 1;
    while (k < BL_MIN(n, 3) && begins_one(s, k + 1)) k++;
    return k;
}

char *bl_utf8_repaired(const char *s, size_t n, bl_err *e)
{
    bl_text t = {0};
    bl_text_addn(&t, s, 0); /* an empty text is one too */
    while (n > 0) {
        size_t good = bl_utf8_bad(s, n);
        bl_text_addn(&t, s, good);
        if (good < n) bl_text_add(&t, "\xef\xbf\xbd");
        s += BL_MIN(good + 1, n);
        n -= BL_MIN(good + 1, n);
    }
    if (bl_text_check(&t, e) == BL_OK) return t.s;
    bl_text_free(&t);
    return NULL;
}

const char *bl_utf8_version(void)
{
    static char text[32];
    snprintf(text, sizeof text, "utf8proc %s", utf8proc_version());
    return text;
}
