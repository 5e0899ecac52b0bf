/* cosmosqa.c - what is not said in a short story (Huang et al. 2019, CC BY 4.0); validation split.
 *
 *     I was walking home from the store , when I saw an old man laying on the sidewalk , bleeding . …
 *     Question: What may happen after the young man makes his call ?
 *     Answer: An ambulance would likely come to the scene
 *
 * Each answer is scored after "Answer:", with its leading space. lm-evaluation-harness has no such task: the prompt is
 * that of BoolQ there, and our own choice here.
 *     acc       lowest summed negative log-likelihood
 *     acc_norm  the same divided by the characters of the answer
 */
#include "shared_choice.h"

static const char *const files[] = {"cosmosqa/valid.csv", "cosmosqa/data/valid.csv", "cosmos_qa/validation.jsonl",
                                    NULL};
static const char where[] = "data/valid.csv of wilburOne/cosmosqa, or allenai/cosmos_qa, validation, as JSON lines";
static const char *const train[] = {"cosmosqa/train.csv", "cosmosqa/data/train.csv", "cosmos_qa/train.jsonl", NULL};
static const char where_train[] = "data/train.csv of wilburOne/cosmosqa, or allenai/cosmos_qa, train, as JSON lines";

static bl_status read_row(const bl_json *j, bl_arena *a, bl_choice *out, bl_err *e)
{
    static const char *const answers[] = {"answer0", "answer1", "answer2", "answer3"};
    bl_status st = BL_OK;

    BL_TRY(bl_choice_text(j, "context", a, &out->text, e));
    BL_TRY(bl_choice_text(j, "question", a, &out->more, e));
    BL_TRY(bl_choice_keys(j, answers, 4, a, out, e));
    BL_TRY(bl_choice_number(j, "label", 0, 4, out, e));
out:
    return st;
}

static const bl_choice_task row = {.read = read_row,
                                   .prompt = "{text}\nQuestion: {more}\nAnswer:",
                                   .by_length = true,
                                   .examples = train,
                                   .where_examples = where_train};

static const bl_choice_task *const rows[] = {&row, &row, &row};
const bl_choice_source bl_choice_cosmosqa = {files, where, rows};

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    return bl_choice_load(how, files, where, &row, out, e);
}

static const char *const names[] = {"cosmosqa", NULL};
static const char *const of[] = {"validation"};

const bl_task bl_task_cosmosqa = {
    .names = names,
    .splits = of,
    .few = true,
    .version = 1,
    .title = "CosmosQA",
    .cite = "Huang et al. 2019",
    .doc = "What a short story leaves unsaid, four answers, our own prompt; validation split, 2,985 items.",
    .metrics = bl_choice_metrics,
    .n_metrics = 2,
    .load = load,
    .ask = bl_choice_ask,
    .mark = bl_choice_mark,
    .gold = bl_choice_gold,
};
