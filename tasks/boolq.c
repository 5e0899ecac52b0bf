/* boolq.c - yes-no questions about a passage (Clark et al. 2019; SuperGLUE form, CC BY-SA 3.0); validation split.
 *
 *     Ethanol fuel -- All biomass goes through at least some of these steps: …
 *     Question: does ethanol take more energy make that produces?
 *     Answer: no
 *
 * " no" and " yes", in this order, are scored after "Answer:".
 *     acc       lowest negative log-likelihood
 * The SuperGLUE passage begins with the article's title and two hyphens; a file of the original release, where the
 * title is a field of its own, is brought into that form.
 */
#include "shared_passages.h"
#include <inttypes.h>

static const char *const files[] = {"super_glue/boolq/validation.jsonl",
                                    "boolq/val.jsonl",
                                    "BoolQ/val.jsonl",
                                    "boolq/validation.jsonl",
                                    "boolq/dev.jsonl",
                                    NULL};
static const char where[] =
    "BoolQ.zip of SuperGLUE (val.jsonl), or the boolq validation split of aps/super_glue as JSON lines";
static const char *const answers[] = {"no", "yes"};

static bl_status read_row(const bl_json *j, bl_arena *a, bl_choice *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text t = {0};
    const char *title, *passage;
    int64_t label;

    BL_TRY(bl_choice_text(j, "question", a, &out->more, e));
    BL_TRY(bl_choice_int(j, bl_json_get(j, "label") ? "label" : "answer", &label, e));
    if (label < 0 || label > 1) {
        st = bl_fail(e, BL_E_FORMAT, "label %" PRId64 " is not 0 or 1", label);
        goto out;
    }
    BL_TRY(bl_choice_text(j, "passage", a, &out->text, e));
    if (bl_json_get(j, "title")) {
        BL_TRY(bl_choice_text(j, "title", a, &title, e));
        passage = out->text;
        bl_text_addf(&t, "%s -- %s", title, passage);
        BL_TRY(bl_text_check(&t, e));
        if (!(out->text = bl_arena_str(a, t.s, t.n, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
    }
    out->choice = answers;
    out->n_choices = 2;
    out->gold = (int)label;
out:
    bl_text_free(&t);
    return st;
}

static const char *const train[] = {"super_glue/boolq/train.jsonl", "boolq/train.jsonl", "BoolQ/train.jsonl", NULL};
static const char where_train[] =
    "BoolQ.zip of SuperGLUE (train.jsonl), or the boolq train split of aps/super_glue as JSON lines";
static const bl_choice_task row = {
    .read = read_row, .prompt = "{text}\nQuestion: {more}?\nAnswer:", .examples = train, .where_examples = where_train};

static const char *const marked[] = {"rag/boolq_feedback.jsonl", "boolq_feedback.jsonl", NULL};
const bl_passage_task bl_choice_boolq = {.with = {.read = read_row, .prompt = "{text}\nQuestion: {more}?\nAnswer:"},
                                         .without = {.read = read_row, .prompt = "Question: {more}?\nAnswer:"},
                                         .passage_is_text = true,
                                         .files = files,
                                         .where = where,
                                         .field = "passage",
                                         .marked = marked};

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    return bl_choice_load(how, files, where, &row, out, e);
}

static const char *const names[] = {"boolq", NULL};
static const char *const of[] = {"validation"};

const bl_task bl_task_boolq = {
    .names = names,
    .splits = of,
    .few = true,
    .version = 1,
    .title = "BoolQ",
    .cite = "Clark et al. 2019; Wang et al. 2019",
    .doc = "Yes-no questions about a passage; SuperGLUE validation split, 3,270 items.",
    .metrics = bl_choice_metrics,
    .n_metrics = 1,
    .load = load,
    .ask = bl_choice_ask,
    .mark = bl_choice_mark,
    .gold = bl_choice_gold,
};
