/* sample.h - what one item of a task left behind: plain numbers and two texts. */
#ifndef BL_SAMPLE_H
#define BL_SAMPLE_H
#include "kernels/base/bl.h"

enum { BL_MAX_SCORES = 8, BL_MAX_VALUES = 8 };
enum {
    BL_SAMPLE_TIE = 1,       /* the winning score is shared: first index was taken */
    BL_SAMPLE_TRUNCATED = 2, /* cut from the left to fit the model */
    BL_SAMPLE_BOUNDARY = 4,  /* the context's tokens are no prefix of the whole */
    BL_SAMPLE_HIT_LIMIT = 8, /* generation ran into max_new */
    BL_SAMPLE_NO_ANSWER = 16
}; /* nothing could be extracted */

typedef struct bl_sample {
    int64_t id;         /* row of the dataset, 0-based; unique in a cell */
    int32_t pick, gold; /* choice; -1: none */
    int32_t n_choices;
    uint32_t flags;
    double score[BL_MAX_SCORES]; /* in the order of the task's metrics rows that use scores */
    double value[BL_MAX_VALUES]; /* multiple choice: nll of each choice in nats; perplexity: nll, tokens, words, bytes,
                                    sum of nll^2 */
    int64_t tokens;              /* scored, or generated */
    const char *reply;           /* generation: the text; else NULL */
    const char *answer;          /* what was extracted; else NULL */
} bl_sample;
#endif
