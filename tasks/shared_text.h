/* shared_text.h - text as Python has it: white space, replacement, capitals. */
#ifndef BL_SHARED_TEXT_H
#define BL_SHARED_TEXT_H
#include "kernels/base/bl.h"

/* str.strip: Unicode white space off both ends. */
void bl_text_strip(const char **s, size_t *n);
/* str.replace of s[0..n), appended. */
void bl_text_swap(bl_text *out, const char *s, size_t n, const char *from, const char *to);
/* str.capitalize, appended: the first character in title case, the others in lower case. */
void bl_text_capitalize(bl_text *out, const char *s);
#endif
