/* shared_cot.h - questions that are reasoned out before the answer, the same without the reasoning, and the same
 * without worked examples: three names of one set of items.
 *
 *     NAME:cotN       N worked examples that reason before they answer, "… The answer is 6."
 *     NAME:direct     the same examples without the reasoning, "The answer is 6."
 *     NAME:zeroshot   "Let's think step by step."; what came of it and, on a line of its own, "Therefore, the answer
 * is" are a second request, whose reply has the answer (Kojima et al. 2022)
 *
 * Replies are decoded greedily up to "Q:", "</s>" or "<|im_end|>". What is read out of them:
 *     strict     what follows the first "the answer is" that an answer follows; of zeroshot the first answer in the
 *                second reply
 *     flexible   numbers: the last in the reply. Letters, yes and no: the first after the last "answer is", else the
 *                last "(C)", yes or no in the reply. Words: what follows the last "answer is". Of zeroshot the strict
 *                answer, else the flexible one in the first reply
 * Numbers of cot and direct are found as lm-evaluation-harness gsm8k_cot does (shared_answer.h). A letter stands alone,
 * so that neither "Answer" nor "A4" is A. How often nothing was found and how often a reply ran into its limit is
 * reported beside the scores. */
#ifndef BL_TASKS_SHARED_COT_H
#define BL_TASKS_SHARED_COT_H
#include "harness/task.h"

typedef enum bl_cot_answer { BL_COT_NUMBER, BL_COT_LETTER, BL_COT_YES_NO, BL_COT_WORD } bl_cot_answer;
typedef struct bl_cot_example {
    const char *question, *reason, *answer;
} bl_cot_example; /* answer as it is said: "(A)" */
typedef struct bl_cot_item {
    const char *question, *gold;
} bl_cot_item;
/* Fills an item from a row; texts are copied to the arena. Sentences need no file and line. */
typedef bl_status bl_cot_read(const bl_json *row, bl_arena *a, bl_cot_item *out, bl_err *e);

typedef struct bl_cot_set {
    const char *name; /* "svamp" of "svamp:cot8" */
    bl_cot_read *read;
    const char *const *files; /* where they are found, bl_data_find; each one array, JSON lines, or an object */
    const char *list;         /* key of the array when the file is an object */
    const char *where;
    bool once; /* a question that was there before is refused; some published sets repeat rows */
    bl_cot_answer answer;
    const bl_cot_example *example;
    int n_examples;
    const char *so;        /* in front of the answer of an example with reasoning: "The answer is " */
    const char *therefore; /* opens the second request of zeroshot */
} bl_cot_set;

typedef struct bl_cot_opts {
    int64_t max_new;
} bl_cot_opts;
extern const bl_opt bl_cot_rows[];

/* Items of the set that how->name begins with. One that is a worked example is left out, and out->note says so.
 * Refused: no rows, an empty question or answer, an id that comes twice, a row of 1 MB. */
bl_status bl_cot_load(const bl_task_load *how, const bl_cot_set *set, int n_sets, bl_task_data *out, bl_err *e);
/* Items of one file, as the set's `read` and `list` say. */
bl_status bl_cot_file(const char *path, const bl_cot_set *set, bl_arena *a, bl_cot_item **item, int64_t *n,
                      bl_hash *hash, bl_err *e);
/* The worked examples of a set, "\n\n" after each. */
void bl_cot_say_examples(bl_prompt *p, const bl_cot_set *set, bool reasoned);
bl_status bl_cot_ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e);
bl_status bl_cot_mark(bl_task_data *t, int64_t i, const bl_turn *turn, bl_sample *out, bl_err *e);
const char *bl_cot_gold(bl_task_data *t, int64_t i);
/* Scores of a sample from what was found (NULL: nothing), in the order of bl_cot_metrics; the answer is the strict one,
 * else the flexible one. */
typedef struct bl_cot_found {
    const char *s;
    size_t n;
} bl_cot_found;
bl_status bl_cot_score(bl_cot_found strict, bl_cot_found flexible, bl_cot_answer kind, const char *gold, bl_arena *a,
                       bl_sample *out, bl_err *e);
/* What follows the first "he answer is" that an answer follows; of numbers as bl_answer_strict. */
bl_cot_found bl_cot_strict(bl_cot_answer kind, const char *text);
/* -?\d+\.?\d* with commas inside passed over. */
bl_cot_found bl_cot_first_number(const char *text);
extern const bl_metric bl_cot_metrics[5];
extern const char *const bl_cot_stops[3];

/* A text of a row, its outer white space gone; refused when nothing is left. */
bl_status bl_cot_text(const bl_json *row, const char *key, bl_arena *a, const char **out, bl_err *e);
/* A number as one says it: 8 for 8.0 and "8.0". */
bl_status bl_cot_number(const bl_json *v, const char *name, bl_arena *a, const char **out, bl_err *e);

extern const bl_cot_set bl_cot_gsm8k;

/* Worked examples of Wei et al. 2022 (CC BY 4.0), in their order. */
extern const bl_cot_example bl_cot_math[8], bl_cot_aqua[4], bl_cot_commonsense[7], bl_cot_strategy[6];
#endif
