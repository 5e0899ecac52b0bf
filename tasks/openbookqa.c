/* openbookqa.c - elementary science with four choices (Mihaylov et al. 2018, Apache 2.0); main test split, without the
 * book.
 *
 *     There is most likely going to be fog around: a marsh
 *
 * The context is the stem alone; each choice is scored after it, with its leading space.
 *     acc       lowest summed negative log-likelihood
 *     acc_norm  the same divided by the characters of the choice
 */
#include "shared_choice.h"

static const char *const files[] = {"openbookqa/OpenBookQA-V1-Sep2018/Data/Main/test.jsonl",
                                    "OpenBookQA-V1-Sep2018/Data/Main/test.jsonl",
                                    "openbookqa/Main/test.jsonl",
                                    "openbookqa/main/test.jsonl",
                                    "openbookqa/test.jsonl",
                                    NULL};
static const char where[] =
    "OpenBookQA-V1-Sep2018.zip of the Allen Institute, or allenai/openbookqa, main, as JSON lines";

static bl_status read_row(const bl_json *j, bl_arena *a, bl_choice *out, bl_err *e)
{
    return bl_choice_read_science(j, "question_stem", a, out, e);
}

static const char *const train[] = {"openbookqa/Main/train.jsonl", "OpenBookQA-V1-Sep2018/Data/Main/train.jsonl",
                                    "openbookqa/train.jsonl", "openbookqa/main/train.jsonl", NULL};
static const char where_train[] = "OpenBookQA-V1-Sep2018.zip of the Allen Institute (Main/train.jsonl), or "
                                  "allenai/openbookqa, main, train, as JSON lines";
static const bl_choice_task row = {
    .read = read_row, .prompt = "{text}", .by_length = true, .examples = train, .where_examples = where_train};

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    return bl_choice_load(how, files, where, &row, out, e);
}

static const char *const names[] = {"openbookqa", NULL};
static const char *const of[] = {"test"};

const bl_task bl_task_openbookqa = {
    .names = names,
    .splits = of,
    .few = true,
    .version = 1,
    .title = "OpenBookQA",
    .cite = "Mihaylov et al. 2018",
    .doc = "Elementary science, four choices, the stem alone as context; main test split, 500 items.",
    .metrics = bl_choice_metrics,
    .n_metrics = 2,
    .load = load,
    .ask = bl_choice_ask,
    .mark = bl_choice_mark,
    .gold = bl_choice_gold,
};
