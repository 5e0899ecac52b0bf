/* pytext.h - text as Python's str has it, because the references are Python: white space, strip, replace, capitalize.
 */
#ifndef BL_HARNESS_DATA_PYTEXT_H
#define BL_HARNESS_DATA_PYTEXT_H
#include "kernels/base/bl.h"

/* str.isspace: what Unicode calls white space and the four ASCII separators. */
bool bl_is_space(int32_t code_point);
/* Bytes of the white space character at s[0..n); 0: there is none. */
size_t bl_space_at(const char *s, size_t n);
/* str.strip and str.rstrip of *s[0..*n): the bounds move, the bytes stay. */
void bl_strip(const char **s, size_t *n);
void bl_rstrip(const char *s, size_t *n);
/* str.replace of s[0..n), left to right, appended. */
void bl_replace(bl_text *out, const char *s, size_t n, const char *from, const char *to);
/* str.capitalize of valid UTF-8, appended: the first character in title case, the others in lower case, one character
 * becoming several where Unicode says so, and a sigma that ends a word the final one (CPython 3.11). */
bl_status bl_capitalize(bl_text *out, const char *s, bl_err *e);
#endif
