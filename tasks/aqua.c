/* aqua.c - algebra word problems with five options (Ling et al. 2017, Apache 2.0); test split.
 *
 *     Question: A car is being driven, in a straight line and at a uniform speed, towards the base of a vertical tower.
 * … A. 5(√3 + 1) … E. None of these Answer: A
 *
 * " A" to " E" are scored after "Answer:". The prompt is that of commonsense_qa and our own choice.
 *     acc       lowest summed negative log-likelihood
 */
#include "shared_choice.h"

static const char *const files[] = {"aqua/test.jsonl", "AQuA/test.json", "aqua/test.json", "aqua_rat/raw/test.jsonl",
                                    NULL};
static const char where[] = "test.json of google-deepmind/AQuA, or deepmind/aqua_rat, raw, test, as JSON lines";
static const char *const train[] = {"aqua/train.jsonl", "AQuA/train.json", "aqua/train.json",
                                    "aqua_rat/raw/train.jsonl", NULL};
static const char where_train[] = "train.json of google-deepmind/AQuA, or deepmind/aqua_rat, raw, train, as JSON lines";

static const bl_choice_task row = {.read = bl_choice_read_aqua,
                                   .prompt = "Question: {text}\n{choices}\nAnswer:",
                                   .letters = true,
                                   .n_choices = 5,
                                   .once = true,
                                   .examples = train,
                                   .where_examples = where_train};

static const bl_choice_task *const rows[] = {&row, &row, &row, &row};
const bl_choice_source bl_choice_aqua = {files, where, rows};

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    return bl_choice_load(how, files, where, &row, out, e);
}

static const char *const names[] = {"aqua", NULL};
static const char *const of[] = {"test"};

const bl_task bl_task_aqua = {
    .names = names,
    .splits = of,
    .few = true,
    .version = 1,
    .title = "AQuA",
    .cite = "Ling et al. 2017",
    .doc = "Algebra word problems, five options by their letters, our own prompt; test split, 254 items.",
    .metrics = bl_choice_metrics,
    .n_metrics = 1,
    .load = load,
    .ask = bl_choice_ask,
    .mark = bl_choice_mark,
    .gold = bl_choice_gold,
};
