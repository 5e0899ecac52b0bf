/* primer_choice.c - short everyday sentences with four endings, written for this program and shipped with it.
 *
 *     The capital of France is Paris
 *
 * Each choice is scored as the continuation of the sentence, with its leading space.
 *     acc       lowest summed negative log-likelihood
 *     acc_norm  the same divided by the characters of the choice
 * It is small enough for a machine without a data set at hand; its numbers compare with nothing but themselves.
 */
#include "shared_choice.h"

static const char *const files[] = {"primer/primer_choice.jsonl", NULL};
static const char where[] = "part of this program, share/bitladder/data";

static bl_status read_row(const bl_json *j, bl_arena *a, bl_choice *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *choices;
    int64_t gold;

    BL_TRY(bl_choice_text(j, "text", a, &out->text, e));
    BL_TRY(bl_json_need(j, "choices", &choices, e));
    BL_TRY(bl_choice_texts(choices, a, &out->choice, &out->n_choices, e));
    BL_TRY(bl_choice_int(j, "gold", &gold, e));
    out->gold = gold < 0 || gold > INT32_MAX ? -1 : (int)gold;
out:
    return st;
}

static const bl_choice_task row = {.read = read_row, .prompt = "{text}", .by_length = true};

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    return bl_choice_load(how, files, where, &row, out, e);
}

static const char *const names[] = {"primer_choice", NULL};
static const char *const of[] = {"test"};

const bl_task bl_task_primer_choice = {
    .names = names,
    .splits = of,
    .version = 1,
    .title = "Primer",
    .cite = "this program",
    .doc = "Short everyday sentences with four endings; ships with the program.",
    .metrics = bl_choice_metrics,
    .n_metrics = 2,
    .load = load,
    .ask = bl_choice_ask,
    .mark = bl_choice_mark,
    .gold = bl_choice_gold,
};
