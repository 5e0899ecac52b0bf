/* sample.h - what one item of a task left: plain numbers and texts, as many as the task needs.
 *
 *     bl_sample s = {.pick = 1, .gold = 1, .n_choices = 2};
 *     BL_TRY(bl_sample_scores(&s, arena, (double[]){1, 0}, 2, e));
 *     BL_TRY(bl_sample_answer(&s, arena, "42", 2, e));
 */
#ifndef BL_RESULTS_SAMPLE_H
#define BL_RESULTS_SAMPLE_H
#include "kernels/base/bl.h"

enum {
    BL_SAMPLE_TIE = 1,        /* the winning score is shared: first index was taken */
    BL_SAMPLE_TRUNCATED = 2,  /* cut from the left to fit the model */
    BL_SAMPLE_BOUNDARY = 4,   /* the context's tokens are no prefix of the whole */
    BL_SAMPLE_HIT_LIMIT = 8,  /* generation ran into max_new */
    BL_SAMPLE_NO_ANSWER = 16, /* nothing could be extracted */
    BL_SAMPLE_UNSCORED = 32   /* a choice had no token of its own to score: it counts as wrong */
};
/* Name of the flag with bit i, "tie", …; NULL after the last. */
const char *bl_sample_flag_name(int i);

typedef struct bl_sample {
    int64_t id;         /* row of the dataset, 0-based; unique in a cell */
    const char *group;  /* what the item belongs to, a subject, or "part/subject"; NULL: nothing */
    int32_t pick, gold; /* choice; -1: none */
    int32_t n_choices;
    uint32_t flags;
    int64_t tokens; /* scored and generated, of all steps */
    const double *score;
    int n_scores; /* what the task's metrics average; every sample of a cell has as many */
    const double *value;
    int n_values; /* multiple choice: nll of each choice in nats; perplexity: nll, tokens, sum of nll^2, words, bytes */
    const char *const *reply;
    int n_replies; /* text of each generation, in the order of the steps */
    const char *const *answer;
    int n_answers; /* what was extracted; NULL: nothing */
} bl_sample;

/* Copies of n numbers in the arena. */
bl_status bl_sample_scores(bl_sample *s, bl_arena *a, const double *v, int n, bl_err *e);
bl_status bl_sample_values(bl_sample *s, bl_arena *a, const double *v, int n, bl_err *e);
/* One more text, copied; an answer may be NULL. */
bl_status bl_sample_reply(bl_sample *s, bl_arena *a, const char *text, bl_err *e);
bl_status bl_sample_answer(bl_sample *s, bl_arena *a, const char *text, size_t n, bl_err *e);
/* Everything in the arena, texts as they read back from a file: valid UTF-8. */
bl_status bl_sample_copy(const bl_sample *s, bl_arena *a, bl_sample *out, bl_err *e);
#endif
