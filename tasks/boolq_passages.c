/* boolq_passages.c - the questions of BoolQ (boolq.c) without a passage and with the one that retrieval finds among
 * those of all questions (shared_passages.h); boolq:own is boolq.
 *
 *     acc  lowest negative log-likelihood of " no" and " yes"
 */
#include "shared_passages.h"

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    return bl_passage_load(how, &bl_choice_boolq, out, e);
}
static const bl_metric *metrics_of(const char *name, int *n) { return bl_passage_metrics(name, false, n); }

static const char *const names[] = {BL_PASSAGE_NAMES("boolq"), NULL};
static const char *const of[] = {"validation", "validation", "validation", "validation", "validation"};

const bl_task bl_task_boolq_passages = {
    .names = names,
    .splits = of,
    .version = 1,
    .title = "BoolQ with passages that are found",
    .cite = "Clark et al. 2019; Wang et al. 2019; Robertson and Walker 1994; Rangan and Yin 2024",
    .doc =
        "Yes-no questions without a passage, with their own, and with the one that BM25, the model's own vectors or an "
        "encoder's find; SuperGLUE validation split, 3,270 items.",
    .metrics_of = metrics_of,
    .load = load,
    .ask = bl_passage_ask,
    .mark = bl_passage_mark,
    .question = bl_passage_question,
    .gold = bl_choice_gold,
};
