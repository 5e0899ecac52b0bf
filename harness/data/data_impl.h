/* data_impl.h - what the source files share: small text operations, and the harness detokenizer. */
#ifndef BL_SOURCE_INSIDE_H
#define BL_SOURCE_INSIDE_H
#include "sources.h"

/* White space taken off both ends: what Unicode calls so and the four ASCII separators, as Python has it. */
void bl_strip(const char **s, size_t *n);
/* s[0..n) with every `from` replaced, left to right, appended to `out`. */
void bl_replace(bl_text *out, const char *s, size_t n, const char *from, const char *to);

/* lm-evaluation-harness wikitext: the document as scored (perplexity.md section 3). `out` starts empty. */
bl_status bl_detokenize(const char *s, size_t n, bl_text *out, bl_err *e);
/* Pieces of a split on runs of white space, the empty first and last included. */
int64_t bl_count_words(const char *s, size_t n);
#endif
