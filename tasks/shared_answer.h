/* shared_answer.h - numbers out of a chain of thought, exactly as lm-evaluation-harness finds and compares them
 * (its gsm8k_cot). */
#ifndef BL_TASKS_SHARED_ANSWER_H
#define BL_TASKS_SHARED_ANSWER_H
#include "kernels/base/bl.h"

/* First match of `The answer is (-?[0-9.,]+).`; the final dot is any character but a newline. *s points into text. */
bool bl_answer_strict(const char *text, const char **s, size_t *n);
/* First match of `The answer is (-?[0-9.,]*[0-9]+)`: the answer is over at its last digit. */
bool bl_answer_ends_in_digit(const char *text, const char **s, size_t *n);
/* First match of `#### (-?[0-9.,]+)`. */
bool bl_answer_marked(const char *text, const char **s, size_t *n);
/* Last match of `(-?[$0-9.,]{2,})|(-?[0-9]+)`. */
bool bl_answer_flexible(const char *text, const char **s, size_t *n);
/* Is all of s[n] one number, -?$?[0-9][0-9,]*(.[0-9]+)? */
bool bl_answer_is_number(const char *s, size_t n);
/* Commas, dollar signs, everything up to the last "#### " and one final dot removed on both sides, ASCII lower case;
 * then compared as strings. */
bool bl_answer_equal(const char *s, size_t n, const char *gold);
#endif
