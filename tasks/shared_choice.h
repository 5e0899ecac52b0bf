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
    const char *text; /* question, goal, query, passage: what the task needs */
    const char *more; /* a second text (BoolQ's question); NULL */
    const char *const *choice;
    int n_choices, gold;
    int n_right;       /* the first so many choices are right, of several; 0: gold alone */
    const char *group; /* of the sample; NULL */
    bool unlabelled;   /* gold is not in the row: the task has it from elsewhere */
} bl_choice;

/* Fills one row from a JSON object, whatever layout it is in; texts are copied to the arena. Sentences need no file and
 * line. */
typedef bl_status bl_choice_read(const bl_json *row, bl_arena *a, bl_choice *out, bl_err *e);

typedef struct bl_choice_task {
    bl_choice_read *read;
    /* Template text in which {text} and {more} stand for the row's own and {choices} for all of them, "A. …" each on a
     * line of its own; every choice is scored after it. NULL: the task has an `ask` of its own. */
    const char *prompt;
    bool by_length;  /* acc_norm is reported too */
    bool letters;    /* A, B, … are scored in place of the texts of the choices */
    int n_choices;   /* every row has so many; 0: any number */
    bool right_once; /* a choice that is the right one's text again is refused; some published sets have such rows */
    bool once;       /* a question that comes twice with its choices is refused; some published sets repeat rows */
    bl_rows_layout rows; /* of its files */
    /* What a file's rows lack is beside it (labels in a file of their own): called once all of them are read; *hash is
     * of the data and may be changed. NULL: they are whole. */
    bl_status (*beside)(const char *path, bl_choice *row, int64_t n, bl_hash *hash, bl_err *e);
    /* Where worked examples come from, for names with ":5shot"; and where to get that. NULL: it takes none. */
    const char *const *examples, *where_examples;
    bool examples_are_asked; /* they are of the questions that are asked: one is passed over where it is the item */
} bl_choice_task;

/* Where the questions of a task are, for other tasks that ask them in another way. */
typedef struct bl_choice_source {
    const char *const *files;
    const char *where;
    const bl_choice_task *const *rows; /* how each of the files is read */
} bl_choice_source;
extern const bl_choice_source bl_choice_aqua, bl_choice_medqa, bl_choice_medmcqa, bl_choice_cosmosqa;

/* Reads the first of `names` that exists, and where how->name asks for worked examples as many rows of task->examples,
 * drawn without replacement by the seed and the same for every item, but for one that is the item itself: the next
 * stands in for it. Refused: no rows, fewer than 2 choices, more or fewer than task->n_choices, an empty choice or
 * text, gold outside the choices, an id that comes twice, a row of 1 MB. Worked examples may repeat. `task` is lent as
 * long as the data. */
bl_status bl_choice_load(const bl_task_load *how, const char *const *names, const char *where,
                         const bl_choice_task *task, bl_task_data *out, bl_err *e);

/* Rows of data that bl_choice_load read. */
typedef struct bl_choice_rows {
    const bl_choice_task *task;
    bl_choice *row;
    const bl_choice *example; /* in front of every question; [n_examples], one more where examples_are_asked */
    int n_examples;
} bl_choice_rows;
/* Rows of one file, in the arena; hash of its bytes. */
bl_status bl_choice_file(const char *path, const bl_choice_task *task, bl_arena *a, bl_choice **row, int64_t *n,
                         bl_hash *hash, bl_err *e);
/* The question of a row; and with its right answer, an empty line after it, as a worked example. */
void bl_choice_say(bl_prompt *p, const bl_choice_task *task, const bl_choice *q);
void bl_choice_example(bl_prompt *p, const bl_choice_task *task, const bl_choice *q);
/* The choices of a row after a prompt. */
bl_status bl_choice_pairs(bl_request *out, bl_prompt p, const bl_choice_task *task, const bl_choice *q, bl_err *e);
static inline bl_choice *bl_choice_at(const bl_task_data *t, int64_t i)
{
    return ((const bl_choice_rows *)t->rows)->row + i;
}

/* One request, one question, after the worked examples. */
bl_status bl_choice_ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e);
/* score[0] acc: least nll; score[1], by_length, acc_norm: least nll / code points. The first index wins a tie, and the
 * sample says so. value: nll of each choice. The choices are those of step 0, turn->reply[0]; a task that asks them in
 * step k gives it &(bl_turn){.reply = turn->reply + k, .n_replies = 1, .arena = turn->arena}. */
bl_status bl_choice_mark(bl_task_data *t, int64_t i, const bl_turn *turn, bl_sample *out, bl_err *e);
/* Text of the right choice, or its letter where letters are scored. */
const char *bl_choice_gold(bl_task_data *t, int64_t i);

/* ---- rows of ARC and OpenBookQA, in the three layouts they come in ----
 *     original      {"id", "question": {"stem", "choices": [{"text", "label"}]}, "answerKey"}
 *     Hugging Face  {"id", KEY, "choices": {"text": […], "label": […]}, "answerKey"}
 *     flattened     {"id", KEY, "choices": […], "gold"}
 * gold is 0-based; "labels" and "answerKey" are compared where they are there. */
bl_status bl_choice_read_science(const bl_json *row, const char *key, bl_arena *a, bl_choice *out, bl_err *e);

/* A row of AQuA: {"question", "options": ["A)21", …], "correct": "A"}; the letters in front go. */
bl_choice_read bl_choice_read_aqua;

/* Copies of strings and arrays of strings; a text with nothing in it but white space is refused. */
bl_status bl_choice_text(const bl_json *row, const char *key, bl_arena *a, const char **out, bl_err *e);
bl_status bl_choice_texts(const bl_json *array, bl_arena *a, const char *const **out, int *n, bl_err *e);
/* An integer that some layouts write as a string ("3"), or as true and false. */
bl_status bl_choice_int(const bl_json *row, const char *key, int64_t *out, bl_err *e);

/* "How far? Answer Choices: (A) 21 (B) 22 km …", in the arena; at most 26 choices. */
bl_status bl_choice_line(const char *question, const char *const *choice, int n, bl_arena *a, const char **out,
                         bl_err *e);
/* The outer white space of a text goes. */
bl_status bl_choice_strip(const char **text, bl_arena *a, bl_err *e);
/* Choices from the texts of n keys; refused: one more that is called as the next of them would be. */
bl_status bl_choice_keys(const bl_json *row, const char *const *key, int n, bl_arena *a, bl_choice *out, bl_err *e);
/* gold from a number that counts the n choices from `first`. */
bl_status bl_choice_number(const bl_json *row, const char *key, int first, int n, bl_choice *out, bl_err *e);
/* "B" is 1; refused: what is none of the first n capital letters. `what` names it in the sentence. */
bl_status bl_choice_letter(const char *text, const char *what, int n, int *out, bl_err *e);

extern const char *const bl_choice_letters[26]; /* "A", "B", … */

/* acc; acc and acc_norm. */
extern const bl_metric bl_choice_metrics[2];
#endif
