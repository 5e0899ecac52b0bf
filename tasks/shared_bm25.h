/* shared_bm25.h - passages ranked by the words that they share with a question (Robertson and Walker 1994), as Lucene
 * computes it:
 *
 *     score = sum over the words q of the question  idf(q) tf / (tf + k1 (1 - b + b n / mean n)),
 *     idf(q) = ln(1 + (N - df + 0.5) / (df + 0.5)),  k1 = 1.2, b = 0.75
 *
 * with n the words of the passage, tf how often q is among them, df in how many of the N passages it is. A word that
 * comes twice in the question counts twice. Words are runs of letters and digits; ASCII letters in lower case; every
 * byte of other scripts is a letter. No word is left out or shortened.
 *
 *     bl_bm25 *index;
 *     BL_TRY(bl_bm25_new(&text, 1, arena, &index, e));
 *     double score[1];
 *     bl_bm25_scores(index, text, score);
 */
#ifndef BL_TASKS_SHARED_BM25_H
#define BL_TASKS_SHARED_BM25_H
#include "kernels/base/bl.h"

typedef struct bl_bm25 bl_bm25;
/* In the arena. */
bl_status bl_bm25_new(const char *const *passage, int64_t n, bl_arena *a, bl_bm25 **out, bl_err *e);
/* score[n]; 0 where no word is shared. */
void bl_bm25_scores(const bl_bm25 *b, const char *question, double *score);

/* The passage of the highest score, the first of equal ones; n >= 1. */
int64_t bl_rank_first(const double *score, int64_t n);
/* Place of passage i among n, from 1: after all that score more, and the earlier ones that score the same. */
int64_t bl_rank_of(const double *score, int64_t n, int64_t i);
#endif
