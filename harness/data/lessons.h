/* lessons.h - a made-up corpus that a model of a few million parameters can learn: problems of several steps with their
 * reasoning written out, orders to be worked out, short stories with a question, plain narrative.
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
    BL_LESSON_TALE   /* narrative; nothing is asked */
} bl_lesson_kind;
extern const char *const bl_lesson_kinds[]; /* "sums", "order", "story", "tale"; NULL after the last */
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
/* Appends text `number` of a training corpus: of the training part, of ten six SUMS, one ORDER, two STORY and one TALE,
 * in random order; 35 in 100 are answered without reasoning. */
bl_status bl_lesson_document(uint64_t seed, uint64_t number, bl_text *out, bl_err *e);

/* Appends a tokenizer.json whose tokens are the characters of these texts: id 0 is <|end|>, put in front of a text;
 * then newline, space and the rest of printable ASCII. */
enum { BL_LESSON_TOKENS = 97 };
void bl_lesson_tokenizer(bl_text *out);
#endif
