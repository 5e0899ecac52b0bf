/* own_text.h - what a model says of itself, to be trained on (LLM-QAT, Liu et al. 2023, arXiv 2305.17888, section 3.1).
 */
#ifndef BL_HARNESS_CLI_OWN_TEXT_H
#define BL_HARNESS_CLI_OWN_TEXT_H
#include "harness/model/generate.h"

typedef struct bl_own_text {
    int64_t n, length; /* sequences; tokens of one, at most */
    double temperature, top_p;
    uint64_t seed;
} bl_own_text;
/* Each begins with a token of the vocabulary, no special one, all of them once in three before one comes again; then
 * two, three or four tokens are the likeliest, and the rest is drawn, up to an end token. Added to `out` as JSON lines
 * {"ids": [...]}, which training reads. The same bytes whatever the batch. */
bl_status bl_own_texts(bl_model *m, const bl_tokenizer *t, const bl_own_text *o, bl_text *out, bl_err *e);
#endif
