/* elements.h - where the elements of an array, or the members of an object, stand in a text of JSON. Of a text that is
 * none it comes to an end too.
 *
 *     bl_elements all = bl_elements_of(text, n, -1, 1);     // text[n] begins with '[' or '{'
 *     while (bl_elements_next(&all)) printf("line %d: %.*s\n", (int)all.line, (int)all.n_value, all.value);
 */
#ifndef BL_HARNESS_DATA_ELEMENTS_H
#define BL_HARNESS_DATA_ELEMENTS_H
#include "kernels/base/bl.h"

typedef struct bl_elements {
    const char *key, *value; /* lent, of the text, the key of a member with its quotes; NULL before the first */
    size_t n_key, n_value;
    int64_t line;         /* on which the value begins, from 1 */
    const char *at, *end; /* what was not looked at */
    const char *counted;  /* `line` is right for */
    bool keyed;           /* members */
} bl_elements;
/* The elements of what `text` begins with, or of its member `member` (from 0; -1: of itself); `line` is the number of
 * the text's first line. The text is lent. */
bl_elements bl_elements_of(const char *text, size_t n, int member, int64_t line);
bool bl_elements_next(bl_elements *all); /* false: there are no more */
#endif
