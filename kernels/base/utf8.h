/* utf8.h - UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF (Unicode 15, table 3-7).
 *
 *     for (size_t i = 0; i < n;) {
 *         uint32_t c;
 *         size_t k = bl_utf8_get(s + i, n - i, &c);
 *         if (k == 0) printf("byte %zu is not UTF-8\n", i);
 *         i += k ? k : bl_utf8_skip(s + i, n - i);
 *     }
 */
#ifndef BL_KERNELS_BASE_UTF8_H
#define BL_KERNELS_BASE_UTF8_H
#include "bl.h"

size_t bl_utf8_get(const char *s, size_t n, uint32_t *c); /* bytes of the code point at s; 0: none begins here */
size_t bl_utf8_put(uint32_t c, char out[4]);              /* bytes written */
size_t bl_utf8_bad(const char *s, size_t n); /* offset of the first byte that is not part of valid UTF-8; n: none */
/* Code points in valid UTF-8: bytes that do not continue one. About the columns of a terminal. */
size_t bl_utf8_count(const char *s, size_t n);
/* Bytes that one U+FFFD stands for where no code point begins: the longest beginning of one, at least 1 ("maximal
 * subpart", Unicode 15, section 3.9; so do Python, Rust and browsers). n > 0. */
size_t bl_utf8_skip(const char *s, size_t n);
/* A copy in which each byte that is not part of valid UTF-8 became U+FFFD; bl_free. */
char *bl_utf8_repaired(const char *s, size_t n, bl_err *e);
const char *bl_utf8_version(void); /* "utf8proc 2.8.0" */
#endif
