/* commonsense_qa.c - everyday questions with five choices (Talmor et al. 2019, MIT); validation split.
 *
 *     Question: What do people aim to do at work?
 *     A. complete job
 *     B. learn from each other
 *     C. kill animals
 *     D. wear hats
 *     E. talk to each other
 *     Answer: A
 *
 * " A" to " E" are scored after "Answer:".
 *     acc       lowest summed negative log-likelihood
 */
#include "shared_choice.h"

static const char *const files[] = {"commonsenseqa/dev_rand_split.jsonl", "commonsense_qa/dev_rand_split.jsonl",
                                    "dev_rand_split.jsonl", "commonsense_qa/validation.jsonl", NULL};
static const char where[] =
    "dev_rand_split.jsonl of tau-nlp.org/commonsenseqa, or tau/commonsense_qa, validation, as JSON lines";
static const char *const train[] = {"commonsenseqa/train_rand_split.jsonl", "commonsense_qa/train_rand_split.jsonl",
                                    "train_rand_split.jsonl", "commonsense_qa/train.jsonl", NULL};
static const char where_train[] =
    "train_rand_split.jsonl of tau-nlp.org/commonsenseqa, or tau/commonsense_qa, train, as JSON lines";

static bl_status read_row(const bl_json *j, bl_arena *a, bl_choice *out, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(bl_choice_read_science(j, "question", a, out, e));
    BL_TRY(bl_choice_strip(&out->text, a, e));
out:
    return st;
}

static const bl_choice_task row = {.read = read_row,
                                   .prompt = "Question: {text}\n{choices}\nAnswer:",
                                   .letters = true,
                                   .n_choices = 5,
                                   .examples = train,
                                   .where_examples = where_train};

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    return bl_choice_load(how, files, where, &row, out, e);
}

static const char *const names[] = {"commonsense_qa", NULL};
static const char *const of[] = {"validation"};

const bl_task bl_task_commonsense_qa = {
    .names = names,
    .splits = of,
    .few = true,
    .version = 1,
    .title = "CommonsenseQA",
    .cite = "Talmor et al. 2019",
    .doc = "Everyday questions, five choices by their letters; validation split, 1,221 items.",
    .metrics = bl_choice_metrics,
    .n_metrics = 1,
    .load = load,
    .ask = bl_choice_ask,
    .mark = bl_choice_mark,
    .gold = bl_choice_gold,
};
