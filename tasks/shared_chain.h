/* shared_chain.h - a chain of thought as text: its steps, what is left of it without the answer, other words for it,
 * mistakes in it.
 *
 *     bl_chain c;
 *     BL_TRY(bl_chain_split(text, arena, &c, e));
 *     printf("%.*s", (int)c.end[1], c.text);        // the first step, byte for byte as the model wrote it
 */
#ifndef BL_TASKS_SHARED_CHAIN_H
#define BL_TASKS_SHARED_CHAIN_H
#include "kernels/base/bl.h"

typedef struct bl_chain {
    const char *text;  /* lent */
    int n;             /* steps */
    const size_t *end; /* [n + 1] bytes of the first i steps; end[0] is 0 */
} bl_chain;
/* The steps of a reply are its sentences up to the first that says "answer is" or "Answer:", in any case; that one and
 * what follows it are no part of the chain. A sentence ends at . ! ? before white space or at a line's end, but for
 * "3.14", "Mr.", "e.g.", single capitals and the numbers of a list; white space belongs to the sentence after it. What
 * has no letter and no digit is no sentence of its own. */
bl_status bl_chain_split(const char *text, bl_arena *a, bl_chain *out, bl_err *e);
static inline size_t bl_chain_bytes(const bl_chain *c) { return c->end[c->n]; }

/* The text in other words, by a table of words and phrases that mean about the same; numbers, negations and letters of
 * options are never touched. In the arena. *words and *kept (added to): how many there are, and stayed. */
bl_status bl_chain_reword(const char *text, size_t n, bl_arena *a, const char **out, int64_t *words, int64_t *kept,
                          bl_err *e);

/* What a model said for a step, in its place: with the white space that the step begins with. NULL: it is not taken,
 * because it is empty, has other numbers or letters of options, in whatever order, or says an answer. In the arena.
 * *words and *kept (added to): words of the step, and those of them that it says too. */
bl_status bl_chain_reworded(const char *step, size_t n, const char *said, bl_arena *a, const char **out, int64_t *words,
                            int64_t *kept, bl_err *e);

/* The text with one mistake, chosen by the seed: with n_options above 0 a letter in brackets becomes another of the
 * first so many, "(B)" to "(D)"; else, or where there is none, a whole number grows by 1 to 9. NULL: it has neither. */
bl_status bl_chain_mistake(const char *text, size_t n, int n_options, uint64_t seed, uint64_t place, bl_arena *a,
                           const char **out, bl_err *e);
#endif
