/* medqa.c - questions of medical licensing exams with four options (Jin et al. 2020, MIT); US, test split.
 *
 *     Question: A junior orthopaedic surgery resident is completing a carpal tunnel repair …
 *     A. Disclose the error to the patient and put it in the operative report
 *     …
 *     D. Refuse to dictate the operative report
 *     Answer: B
 *
 * " A" to " D" are scored after "Answer:".
 *     acc       lowest summed negative log-likelihood
 *     acc_norm  the same divided by the characters of the choice, one for every letter
 * lm-evaluation-harness calls it medqa_4options.
 */
#include "shared_choice.h"
#include <string.h>

static const char *const files[] = {"medqa/us_4options_test.jsonl",
                                    "data_clean/questions/US/4_options/phrases_no_exclude_test.jsonl",
                                    "medqa/data_clean/questions/US/4_options/phrases_no_exclude_test.jsonl",
                                    "medqa/phrases_no_exclude_test.jsonl",
                                    "medqa/test.jsonl",
                                    NULL};
static const char where[] =
    "data_clean.zip of jind11/MedQA (questions/US/4_options), or GBaker/MedQA-USMLE-4-options-hf, test, as JSON lines";
static const char *const train[] = {"medqa/us_4options_train.jsonl",
                                    "data_clean/questions/US/4_options/phrases_no_exclude_train.jsonl",
                                    "medqa/data_clean/questions/US/4_options/phrases_no_exclude_train.jsonl",
                                    "medqa/phrases_no_exclude_train.jsonl",
                                    "medqa/train.jsonl",
                                    NULL};
static const char where_train[] =
    "data_clean.zip of jind11/MedQA (questions/US/4_options), or GBaker/MedQA-USMLE-4-options-hf, train, as JSON lines";

/* {"A": "…", "B": "…", …} */
static bl_status read_options(const bl_json *options, bl_arena *a, bl_choice *out, bl_err *e)
{
    bl_status st = BL_OK;
    const char **text = bl_alloc(a, bl_json_size(options) + 1, sizeof *text, e);

    if (!text) return BL_E_NOMEM;
    if (bl_json_kind(options) != BL_JSON_OBJECT) {
        st = bl_fail(e, BL_E_FORMAT, "'options' is no object, expected one of four texts: A, B, C, D");
        goto out;
    }
    for (const bl_json *o = bl_json_first(options); o; o = bl_json_next(o), out->n_choices++) {
        const char *key = bl_json_key(o);
        if (!key || key[0] != 'A' + out->n_choices || key[1]) {
            st = bl_fail(e, BL_E_FORMAT, "option %d is called \"%s\", expected %c", out->n_choices + 1, key ? key : "",
                         'A' + out->n_choices);
            goto out;
        }
        BL_TRY(bl_choice_text(options, key, a, &text[out->n_choices], e));
    }
    out->choice = text;
out:
    return st;
}

static bl_status read_row(const bl_json *j, bl_arena *a, bl_choice *out, bl_err *e)
{
    static const char *const endings[] = {"ending0", "ending1", "ending2", "ending3"};
    bl_status st = BL_OK;
    const bl_json *options;
    const char *answer, *text;

    if (bl_json_get(j, "sent1")) { /* Hugging Face */
        BL_TRY(bl_choice_text(j, "sent1", a, &out->text, e));
        BL_TRY(bl_choice_keys(j, endings, 4, a, out, e));
        BL_TRY(bl_choice_number(j, "label", 0, 4, out, e));
        goto out;
    }
    BL_TRY(bl_choice_text(j, "question", a, &out->text, e));
    BL_TRY(bl_json_need(j, "options", &options, e));
    BL_TRY(read_options(options, a, out, e));
    BL_TRY(bl_json_get_str(j, "answer_idx", &answer, e));
    BL_TRY(bl_choice_letter(answer, "'answer_idx'", BL_MAX(out->n_choices, 4), &out->gold, e));
    if (bl_json_get(j, "answer") && out->gold < out->n_choices) { /* said twice */
        BL_TRY(bl_json_get_str(j, "answer", &text, e));
        if (strcmp(text, out->choice[out->gold]) != 0)
            st = bl_fail(e, BL_E_FORMAT, "'answer' is \"%s\", but option %s is \"%s\"", text, answer,
                         out->choice[out->gold]);
    }
out:
    return st;
}

static const bl_choice_task row = {.read = read_row,
                                   .prompt = "Question: {text}\n{choices}\nAnswer:",
                                   .by_length = true,
                                   .letters = true,
                                   .n_choices = 4,
                                   .once = true,
                                   .examples = train,
                                   .where_examples = where_train};

static const bl_choice_task *const rows[] = {&row, &row, &row, &row, &row};
const bl_choice_source bl_choice_medqa = {files, where, rows};

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    return bl_choice_load(how, files, where, &row, out, e);
}

static const char *const names[] = {"medqa", NULL};
static const char *const of[] = {"test"};

const bl_task bl_task_medqa = {
    .names = names,
    .splits = of,
    .few = true,
    .version = 1,
    .title = "MedQA",
    .cite = "Jin et al. 2020",
    .doc = "Medical licensing exams of the US, four options by their letters; test split, 1,273 items.",
    .metrics = bl_choice_metrics,
    .n_metrics = 2,
    .load = load,
    .ask = bl_choice_ask,
    .mark = bl_choice_mark,
    .gold = bl_choice_gold,
};
