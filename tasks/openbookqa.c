/* openbookqa.c - elementary science with four choices (Mihaylov et al. 2018, Apache 2.0); main test split, without the
 * book.
 *
 *     There is most likely going to be fog around: a marsh
 *
 * The context is the stem alone; each choice is scored after it, with its leading blank.
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

static const char *const names[] = {"openbookqa", NULL};

const bl_task bl_task_openbookqa = {
    .names = names,
    .version = 1,
    .title = "OpenBookQA",
    .cite = "Mihaylov et al. 2018",
    .doc = "Elementary science, four choices, the stem alone as context; main test split, 500 items.",
    .metrics = bl_choice_metrics,
    .n_metrics = 2,
    .load = load,
    .ask = ask,
    .mark = mark,
    .gold = bl_choice_gold,
};
