/* shared_choice.h - what multiple-choice tasks share: a task that asks one question with its choices after it is a row.
 *
 *     const bl_choice_task row = {.read = read_row, .prompt = "Question: {text}\nAnswer:", .by_length = true};
 *     BL_TRY(bl_choice_load(how, names, where, &row, out, e));               // the `load` of such a task
 *
 * Its `ask`, `mark` and `gold` are bl_choice_ask, bl_choice_mark and bl_choice_gold.
 */
#ifndef BL_TASKS_SHARED_CHOICE_H
#define BL_TASKS_SHARED_CHOICE_H
#include "harness/task.h"

typedef struct bl_choice {
    const char *id;   /* the data set's own; NULL: it has none */
    const char *text; /* question, goal, query, passage: what the task needs */
    const char *more; /* a second text (BoolQ's question); NULL */
    const char *const *choice;
    int n_choices, gold;
    bool unlabelled; /* gold is not in the row: the task has it from elsewhere */
} bl_choice;

/* Fills one row from a JSON object, whatever layout it is in; texts are copied to the arena. Sentences need no file and
 * line. */
typedef bl_status bl_choice_read(const bl_json *row, bl_arena *a, bl_choice *out, bl_err *e);

typedef struct bl_choice_task {
    bl_choice_read *read;
    /* Template text in which {text} and {more} stand for the row's own; every choice is scored after it. NULL: the task
     * has an `ask` of its own. */
    const char *prompt;
    bool by_length; /* acc_norm is reported too */
} bl_choice_task;

/* Reads the first of `names` that exists as JSON lines. Refused: no rows, fewer than 2 choices, an empty choice or
 * text, gold outside the choices, an id that comes twice. `task` is lent as long as the data. */
bl_status bl_choice_load(const bl_task_load *how, const char *const *names, const char *where,
                         const bl_choice_task *task, bl_task_data *out, bl_err *e);

/* Rows of data that bl_choice_load read. */
typedef struct bl_choice_rows {
    const bl_choice_task *task;
    bl_choice *row;
} bl_choice_rows;
static inline bl_choice *bl_choice_at(const bl_task_data *t, int64_t i)
{
    return ((const bl_choice_rows *)t->rows)->row + i;
}

/* One request, one question. */
bl_status bl_choice_ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e);
/* score[0] acc: least nll; score[1], by_length, acc_norm: least nll / code points. The first index wins a tie, and the
 * sample says so. value: nll of each choice. The choices are those of step 0, turn->reply[0]; a task that asks them in
 * step k gives it &(bl_turn){.reply = turn->reply + k, .n_replies = 1, .arena = turn->arena}. */
bl_status bl_choice_mark(bl_task_data *t, int64_t i, const bl_turn *turn, bl_sample *out, bl_err *e);
/* Text of the right choice. */
const char *bl_choice_gold(bl_task_data *t, int64_t i);

/* ---- rows of ARC and OpenBookQA, in the three layouts they come in ----
 *     original      {"id", "question": {"stem", "choices": [{"text", "label"}]}, "answerKey"}
 *     Hugging Face  {"id", KEY, "choices": {"text": […], "label": […]}, "answerKey"}
 *     flattened     {"id", KEY, "choices": […], "gold"}
 * gold is 0-based; "labels" and "answerKey" are compared where they are there. */
bl_status bl_choice_read_science(const bl_json *row, const char *key, bl_arena *a, bl_choice *out, bl_err *e);

/* Copies of strings and arrays of strings. */
bl_status bl_choice_text(const bl_json *row, const char *key, bl_arena *a, const char **out, bl_err *e);
bl_status bl_choice_texts(const bl_json *array, bl_arena *a, const char *const **out, int *n, bl_err *e);
/* An integer that some layouts write as a string ("3"), or as true and false. */
bl_status bl_choice_int(const bl_json *row, const char *key, int64_t *out, bl_err *e);

/* acc; acc and acc_norm. */
extern const bl_metric bl_choice_metrics[2];
#endif
