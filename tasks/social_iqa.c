/* social_iqa.c - what people feel, want and do, three answers (Sap et al. 2019, CC BY 4.0); validation split.
 *
 *     Q: Sydney walked past a homeless woman asking for change … How would you describe Sydney?
 *     A: sympathetic
 *
 * Each answer is scored after "A:", with its leading space.
 *     acc       lowest summed negative log-likelihood
 */
#include "shared_choice.h"

static const char *const files[] = {"siqa/validation.jsonl", "social_i_qa/validation.jsonl",
                                    "social_iqa/validation.jsonl", NULL};
static const char where[] = "allenai/social_i_qa, validation, as JSON lines";
static const char *const train[] = {"siqa/train.jsonl", "social_i_qa/train.jsonl", "social_iqa/train.jsonl", NULL};
static const char where_train[] = "allenai/social_i_qa, train, as JSON lines";

static bl_status read_row(const bl_json *j, bl_arena *a, bl_choice *out, bl_err *e)
{
    static const char *const answers[] = {"answerA", "answerB", "answerC"};
    bl_status st = BL_OK;

    BL_TRY(bl_choice_text(j, "context", a, &out->text, e));
    BL_TRY(bl_choice_text(j, "question", a, &out->more, e));
    BL_TRY(bl_choice_keys(j, answers, 3, a, out, e));
    BL_TRY(bl_choice_number(j, "label", 1, 3, out, e));
out:
    return st;
}

static const bl_choice_task row = {
    .read = read_row, .prompt = "Q: {text} {more}\nA:", .examples = train, .where_examples = where_train};

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    return bl_choice_load(how, files, where, &row, out, e);
}

static const char *const names[] = {"social_iqa", NULL};
static const char *const of[] = {"validation"};

const bl_task bl_task_social_iqa = {
    .names = names,
    .splits = of,
    .few = true,
    .version = 1,
    .title = "SocialIQA",
    .cite = "Sap et al. 2019",
    .doc = "What people feel, want and do, three answers; validation split, 1,954 items.",
    .metrics = bl_choice_metrics,
    .n_metrics = 1,
    .load = load,
    .ask = bl_choice_ask,
    .mark = bl_choice_mark,
    .gold = bl_choice_gold,
};
