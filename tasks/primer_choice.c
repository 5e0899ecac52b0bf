/* primer_choice.c - short everyday sentences with four endings, written for this program and shipped with it.
 *
 *     The capital of France is Paris
 *
 * Each choice is scored as the continuation of the sentence, with its leading blank.
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

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    return bl_choice_load(how, files, where, read_row, out, e);
}

static bl_status ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e)
{
    const bl_choice *q = bl_choice_at(t, i);

    if (turn->step > 0) return bl_done(out);
    bl_prompt p = bl_prompt_new(turn->arena);
    bl_quote(&p, q->text);
    return bl_ask_pairs(out, p, q->choice, q->n_choices, e);
}

static bl_status mark(bl_task_data *t, int64_t i, const bl_turn *turn, bl_sample *out, bl_err *e)
{
    return bl_choice_mark(bl_choice_at(t, i), &turn->reply[0], i, true, turn->arena, out, e);
}

static const char *const names[] = {"primer_choice", NULL};

const bl_task bl_task_primer_choice = {
    .names = names,
    .version = 1,
    .title = "Primer",
    .cite = "this program",
    .doc = "Short everyday sentences with four endings; ships with the program.",
    .metrics = bl_choice_metrics,
    .n_metrics = 2,
    .load = load,
    .ask = ask,
    .mark = mark,
    .gold = bl_choice_gold,
};
