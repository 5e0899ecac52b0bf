/* data_impl.h - what the source files share: the detokenizer of lm-evaluation-harness. */
#ifndef BL_HARNESS_DATA_DATA_IMPL_H
#define BL_HARNESS_DATA_DATA_IMPL_H
#include "sources.h"

/* lm-evaluation-harness wikitext: the document as scored. `out` starts empty. */
bl_status bl_detokenize(const char *s, size_t n, bl_text *out, bl_err *e);
/* Pieces of a split on runs of white space, the empty first and last included. */
int64_t bl_count_words(const char *s, size_t n);
/* A sentence about the oddities of a text file that is read as it is; NULL when there are none. */
const char *bl_source_note(int oddities);
#endif
