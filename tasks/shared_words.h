/* shared_words.h - words that two texts have in common, as answers are compared (Rajpurkar et al. 2016): lower case,
 * without punctuation, and without articles where a text is `plain`. */
#ifndef BL_TASKS_SHARED_WORDS_H
#define BL_TASKS_SHARED_WORDS_H
#include "kernels/base/hash.h"

typedef struct bl_words {
    bl_hash *at; /* of each word, in order */
    size_t n;
} bl_words;
/* In the arena. */
bl_status bl_words_of(const char *text, bool plain, bl_arena *a, bl_words *out, bl_err *e);
/* 2 common / (words of both); a word that is there twice is two. `used` has room for those of b, all false. */
double bl_words_f1(const bl_words *a, const bl_words *b, bool *used);
/* F1 of two plain texts, and whether they are the same words in the same order; the arena is for the words. */
bl_status bl_words_compare(const char *text, const char *right, bl_arena *a, double *f1, bool *same, bl_err *e);
#endif
