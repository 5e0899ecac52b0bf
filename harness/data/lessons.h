/* lessons.h - a made-up corpus that a model of a few million parameters can learn: problems of several steps with their
 * reasoning written out, orders to be worked out, short stories with a question, plain narrative, and the lives of
 * BL_LESSON_PEOPLE people that never change, to be known by heart: they fill the model.
 *
 *     bl_lesson l = {0};
 *     bl_text t = {0};
 *     BL_TRY(bl_lesson_make(BL_LESSON_SUMS, BL_LESSON_TEST, 0, 17, &l, e));
 *     bl_lesson_text(&l, true, &t);          // "Q: Mia has 12 pens. Mia buys 7 more. ... \nA: 12 + 7 = 19. The ..."
 *     BL_TRY(bl_text_check(&t, e));
 *     bl_text_free(&t);
 *     bl_lesson_free(&l);
 *
 * A lesson is a function of (kind, part, seed, number) alone. Which part a question belongs to is decided by its own
 * text (an eighth of all questions are of the test), so that no test question is ever in a training text, whatever the
 * seeds. Everything is printable ASCII and newlines.
 */
#ifndef BL_HARNESS_DATA_LESSONS_H
#define BL_HARNESS_DATA_LESSONS_H
#include "kernels/base/bl.h"

typedef enum bl_lesson_kind {
    BL_LESSON_SUMS,  /* one to eight steps of + - * / on numbers to 999; the answer is a number */
    BL_LESSON_ORDER, /* three to five people in an order that follows from pairs; the answer is a name */
    BL_LESSON_STORY, /* what two or three people do, where and with what; the answer is a word of the story */
    BL_LESSON_TALE,  /* narrative; nothing is asked */
    BL_LESSON_LIFE,  /* what is true of one of the people; nothing is asked */
    BL_LESSON_FACT   /* one of that is asked; the text does not tell it */
} bl_lesson_kind;
extern const char *const bl_lesson_kinds[]; /* "sums", "order", "story", "tale", "life", "fact"; NULL after the last */
enum { BL_LESSON_PEOPLE = 3600 }; /* everybody has a first and a last name of 60, a town, a pet, a work and a year */
enum { BL_LESSON_VERSION = 2 };   /* of the texts; goes up when one of them changes */
typedef enum bl_lesson_part { BL_LESSON_TRAIN, BL_LESSON_TEST } bl_lesson_part;
extern const char *const bl_lesson_parts[]; /* "train", "test"; NULL after the last */

typedef struct bl_lesson {
    bl_lesson_kind kind;
    bl_text question;  /* of a tale: all of it */
    bl_text reasoning; /* "12 + 7 = 19."; empty: there is none to write */
    bl_text answer;    /* "19"; empty: nothing is asked */
} bl_lesson;
/* What *out held is written over; BL_E_NOMEM alone. */
bl_status bl_lesson_make(bl_lesson_kind kind, bl_lesson_part part, uint64_t seed, uint64_t number, bl_lesson *out,
                         bl_err *e);
void bl_lesson_free(bl_lesson *l);
/* Appends "Q: ...\nA: reasoning The answer is 19.\n", or, without reasoning, "Q: ...\nThe answer is 19.\n". */
void bl_lesson_text(const bl_lesson *l, bool reasoned, bl_text *out);
/* The words that an answer of a kind is one of, as a list that NULL ends: those of the question's list where it is a
 * story or a fact, else NULL. */
const char *const *bl_lesson_choices(const bl_lesson *l);
/* Appends text `number` of a training corpus: of the training part, of twenty ten SUMS, one ORDER, two STORY, one TALE,
 * three LIFE and three FACT, in random order; 35 in 100 are answered without reasoning. */
bl_status bl_lesson_document(uint64_t seed, uint64_t number, bl_text *out, bl_err *e);

/* Appends a tokenizer.json whose tokens are the characters of these texts: id 0 is <|end|>, put in front of a text;
 * then newline, space and the rest of printable ASCII. */
enum { BL_LESSON_TOKENS = 97 };
void bl_lesson_tokenizer(bl_text *out);
static inline int32_t bl_lesson_token(char c) { return c == '\n' ? 1 : c - ' ' + 2; } /* what it makes of one */
#endif
