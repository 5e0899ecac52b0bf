/* medmcqa.c - questions of Indian medical entrance exams with four options (Pal et al. 2022, MIT); validation split.
 *
 *     Question: Which of the following is not true for myelinated nerve fibers:
 *     Choices:
 *     A. Impulse through myelinated fibers is slower than non-myelinated fibers
 *     …
 *     D. Local anesthesia is effective only when the nerve is not covered by myelin sheath
 *     Answer: A
 *
 * " A" to " D" are scored after "Answer:".
 *     acc       lowest summed negative log-likelihood
 *     acc_norm  the same divided by the characters of the choice, one for every letter
 * The files of the release count the right option from 1, those of the Hub from 0; which it is, the name of the file
 * says: dev.json, validation.jsonl.
 */
#include "shared_choice.h"

enum { FROM_ONE = 2, ANY = 4 }; /* files of the release; all */
static const char *const files[ANY + 1] = {"medmcqa/dev.jsonl", "medmcqa/dev.json", "medmcqa/validation.jsonl",
                                           "openlifescienceai/medmcqa/validation.jsonl"};
static const char where[] = "dev.json of medmcqa/medmcqa, or openlifescienceai/medmcqa, validation, as JSON lines";
static const char *const train_one[] = {"medmcqa/train.json", NULL};
static const char *const train_zero[] = {"medmcqa/train.jsonl", "openlifescienceai/medmcqa/train.jsonl", NULL};
static const char where_one[] = "train.json of medmcqa/medmcqa";
static const char where_zero[] = "openlifescienceai/medmcqa, train, as JSON lines";

static bl_status read_from(int first, const bl_json *j, bl_arena *a, bl_choice *out, bl_err *e)
{
    static const char *const options[] = {"opa", "opb", "opc", "opd"};
    bl_status st = BL_OK;
    int64_t cop;

    BL_TRY(bl_choice_text(j, "question", a, &out->text, e));
    BL_TRY(bl_choice_keys(j, options, 4, a, out, e));
    BL_TRY(bl_json_get_int(j, "cop", &cop, e)); /* a text is of no release: from where it counts, nothing says */
    BL_TRY(bl_choice_number(j, "cop", first, 4, out, e));
out:
    return st;
}

static bl_status read_one(const bl_json *j, bl_arena *a, bl_choice *out, bl_err *e)
{
    return read_from(1, j, a, out, e);
}
static bl_status read_zero(const bl_json *j, bl_arena *a, bl_choice *out, bl_err *e)
{
    return read_from(0, j, a, out, e);
}

static const char prompt[] = "Question: {text}\nChoices:\n{choices}\nAnswer:";
static const bl_choice_task one = {.read = read_one,
                                   .prompt = prompt,
                                   .by_length = true,
                                   .letters = true,
                                   .n_choices = 4,
                                   .once = true,
                                   .examples = train_one,
                                   .where_examples = where_one};
static const bl_choice_task zero = {.read = read_zero,
                                    .prompt = prompt,
                                    .by_length = true,
                                    .letters = true,
                                    .n_choices = 4,
                                    .once = true,
                                    .examples = train_zero,
                                    .where_examples = where_zero};

static const bl_choice_task *const rows[] = {&one, &one, &zero, &zero};
const bl_choice_source bl_choice_medmcqa = {files, where, rows};

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    bl_status st = BL_OK;
    const char *path;
    int which;

    BL_TRY(bl_data_find(how->dirs, files, where, out->arena, &path, &which, e));
    BL_TRY(
        bl_choice_load(how, (const char *const[]){files[which], NULL}, where, which < FROM_ONE ? &one : &zero, out, e));
out:
    return st;
}

static const char *const names[] = {"medmcqa", NULL};
static const char *const of[] = {"validation"};

const bl_task bl_task_medmcqa = {
    .names = names,
    .splits = of,
    .few = true,
    .version = 1,
    .title = "MedMCQA",
    .cite = "Pal et al. 2022",
    .doc = "Medical entrance exams, four options by their letters; validation split, 4,183 items.",
    .metrics = bl_choice_metrics,
    .n_metrics = 2,
    .load = load,
    .ask = bl_choice_ask,
    .mark = bl_choice_mark,
    .gold = bl_choice_gold,
};
