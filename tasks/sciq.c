/* sciq.c - science exam questions with four choices (Welbl et al. 2017, CC BY-NC 3.0), with and without a passage
 * (shared_passages.h); validation split.
 *
 *     A frameshift mutation is a deletion or insertion of one or more nucleotides …
 *     Question: A frameshift mutation is a deletion or insertion of one or more of what …?
 *     Answer: nucleotides
 *
 * Each choice is scored after "Answer:", with its leading space, the right one last, as lm-evaluation-harness sciq has
 * it (there on the test split). Where a question has no passage of its own, the line of sciq:own is empty.
 *
 *     acc, acc_norm  lowest summed negative log-likelihood; the same divided by the characters of the choice
 */
#include "shared_passages.h"
#include <string.h>

static const char *const files[] = {"rag/sciq_validation.jsonl", "sciq/validation.jsonl", "SciQ dataset-2 3/valid.json",
                                    "sciq/valid.json", NULL};

static bl_status read_row(const bl_json *j, bl_arena *a, bl_choice *out, bl_err *e)
{
    static const char *const keys[] = {"distractor1", "distractor2", "distractor3", "correct_answer"};
    bl_status st = BL_OK;
    const char *passage;

    BL_TRY(bl_choice_text(j, "question", a, &out->text, e));
    BL_TRY(bl_choice_keys(j, keys, 4, a, out, e));
    BL_TRY(bl_json_get_str(j, "support", &passage, e));
    if (!(out->more = bl_arena_str(a, passage, strlen(passage), e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_choice_strip(&out->more, a, e)); /* empty: it has none */
    out->gold = 3;
out:
    return st;
}

static const char *const marked[] = {"rag/sciq_feedback.jsonl", "sciq_feedback.jsonl", NULL};
static const bl_passage_task row = {
    .with = {.read = read_row,
             .prompt = "{more}\nQuestion: {text}\nAnswer:",
             .by_length = true,
             .n_choices = 4,
             .right_once = true,
             .once = true},
    .without = {.read = read_row,
                .prompt = "Question: {text}\nAnswer:",
                .by_length = true,
                .n_choices = 4,
                .right_once = true,
                .once = true},
    .files = files,
    .where = "valid.json of SciQ.zip (allenai.org/data/sciq), or allenai/sciq, validation, as JSON lines",
    .field = "support",
    .marked = marked};

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    return bl_passage_load(how, &row, out, e);
}
static const bl_metric *metrics_of(const char *name, int *n) { return bl_passage_metrics(name, true, n); }

static const char *const names[] = {BL_PASSAGE_NAMES("sciq"), NULL};
static const char *const of[] = {"validation", "validation", "validation", "validation", "validation"};

const bl_task bl_task_sciq = {
    .names = names,
    .splits = of,
    .version = 1,
    .title = "SciQ",
    .cite = "Welbl et al. 2017; Robertson and Walker 1994; Rangan and Yin 2024",
    .doc = "Science questions with four choices, without a passage, with their own, and with the one that BM25, the "
           "model's own vectors or an encoder's find; validation split, 1,000 items.",
    .metrics_of = metrics_of,
    .load = load,
    .ask = bl_passage_ask,
    .mark = bl_passage_mark,
    .question = bl_passage_question,
    .gold = bl_choice_gold,
};
