/* shared_text.c - text as Python has it: white space, replacement, capitals. */
#include "shared_text.h"
#include "harness/data/data_impl.h"
#include <string.h>
#include <utf8proc.h>

void bl_text_strip(const char **s, size_t *n) { bl_strip(s, n); }

void bl_text_swap(bl_text *out, const char *s, size_t n, const char *from, const char *to)
{
    bl_replace(out, s, n, from, to);
}

void bl_text_capitalize(bl_text *out, const char *s)
{
    utf8proc_ssize_t n = (utf8proc_ssize_t)strlen(s), k;
    utf8proc_int32_t c;
    utf8proc_uint8_t buf[4];

    for (utf8proc_ssize_t i = 0; i < n; i += k) {
        k = utf8proc_iterate((const utf8proc_uint8_t *)s + i, n - i, &c);
        if (k <= 0) {
            bl_text_addn(out, s + i, 1);
            k = 1;
            continue;
        }
        utf8proc_ssize_t len = utf8proc_encode_char(i == 0 ? utf8proc_totitle(c) : utf8proc_tolower(c), buf);
        bl_text_addn(out, (const char *)buf, (size_t)len);
    }
}
