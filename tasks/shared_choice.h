/* shared_choice.h - what multiple-choice tasks share: rows as data sets spell them, and marking.
 *
 *     BL_TRY(bl_choice_load(how, names, where, read_row, out, e));          // load: out->rows, n, path, hash
 *     BL_TRY(bl_choice_mark(bl_choice_at(out, i), &turn->reply[0], i, true, turn->arena, sample, e));      // mark
 */
#ifndef BL_SHARED_CHOICE_H
#define BL_SHARED_CHOICE_H
#include "harness/task.h"

typedef struct bl_choice {
    const char *id;   /* the data set's own; NULL: it has none */
    const char *text; /* question, goal, query, passage: what the task needs */
    const char *more; /* a second text (BoolQ's question); NULL */
    const char *const *choice;
    int n_choices, gold;
} bl_choice;

/* Fills one row from a JSON object, whatever layout it is in; texts are copied to the arena. Sentences need no file and
 * line. */
typedef bl_status bl_choice_read(const bl_json *row, bl_arena *a, bl_choice *out, bl_err *e);

/* Reads the first of `names` that exists as JSON lines. Refused: no rows, fewer than 2
 * choices, an empty choice or text, gold outside the choices, an id that comes twice. */
bl_status bl_choice_load(const bl_task_load *how, const char *const *names, const char *where, bl_choice_read *read,
                         bl_task_data *out, bl_err *e);
/* The same for a file that is already found. */
bl_status bl_choice_load_file(const char *path, bl_choice_read *read, bl_task_data *out, bl_err *e);
/* Everything bl_choice_load refuses about the rows, for a task that filled them in two steps. */
bl_status bl_choice_check(const bl_task_data *t, bl_err *e);
static inline const bl_choice *bl_choice_at(const bl_task_data *t, int64_t i) { return (const bl_choice *)t->rows + i; }
/* Text of the right choice. */
const char *bl_choice_gold(bl_task_data *t, int64_t i);

/* score[0] acc: least nll; score[1], by_length, acc_norm: least nll / code points. The first index wins a tie, and the
 * sample says so. value: nll of each choice. Lists are in the arena. */
bl_status bl_choice_mark(const bl_choice *q, const bl_reply *r, int64_t id, bool by_length, bl_arena *a, bl_sample *out,
                         bl_err *e);

/* ---- rows of ARC and OpenBookQA, in the three layouts they come in ----
 *     original      {"id", "question": {"stem", "choices": [{"text", "label"}]}, "answerKey"}
 *     Hugging Face  {"id", KEY, "choices": {"text": […], "label": […]}, "answerKey"}
 *     flattened     {"id", KEY, "choices": […], "gold"}       gold 0-based; "labels" and "answerKey" are compared where
 * they are there */
bl_status bl_choice_read_science(const bl_json *row, const char *key, bl_arena *a, bl_choice *out, bl_err *e);

/* Copies of strings and arrays of strings. */
bl_status bl_choice_text(const bl_json *row, const char *key, bl_arena *a, const char **out, bl_err *e);
bl_status bl_choice_texts(const bl_json *array, bl_arena *a, const char *const **out, int *n, bl_err *e);
/* An integer that some layouts write as a string ("3"), or as true and false. */
bl_status bl_choice_int(const bl_json *row, const char *key, int64_t *out, bl_err *e);

/* acc; acc and acc_norm. */
extern const bl_metric bl_choice_metrics[2];
#endif
