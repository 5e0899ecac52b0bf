/* pubmedqa.c - questions of biomedical papers, answered yes, no or maybe from their abstract (Jin et al. 2019, MIT),
 * with and without a passage (shared_passages.h); the 500 test items.
 *
 *     Abstract: Dyschesia can be provoked by inappropriate defecation movements. …
 *     Question: Is anorectal endosonography valuable in dyschesia?
 *     Answer: yes
 *
 * The passage is the abstract without its conclusion, its parts joined by line breaks; " yes", " no" and " maybe" are
 * scored, as lm-evaluation-harness pubmedqa has it (pubmedqa:own).
 *
 *     acc  lowest negative log-likelihood
 */
#include "shared_passages.h"
#include <string.h>

static const char *const files[] = {"rag/pubmedqa_test500.json", "pubmedqa/test_set.json", NULL};
static const char *const answers[] = {"yes", "no", "maybe"};

static bl_status read_row(const bl_json *j, bl_arena *a, bl_choice *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text t = {0};
    const bl_json *parts;
    const char *s;
    int k = 0;

    BL_TRY(bl_choice_text(j, "QUESTION", a, &out->text, e));
    BL_TRY(bl_json_need(j, "CONTEXTS", &parts, e));
    if (bl_json_kind(parts) != BL_JSON_ARRAY || !bl_json_size(parts)) {
        st = bl_fail(e, BL_E_FORMAT, "'CONTEXTS' is no list of texts, or an empty one");
        goto out;
    }
    for (const bl_json *c = bl_json_first(parts); c; c = bl_json_next(c)) {
        BL_TRY(bl_json_str(c, &s, e));
        if (!s[strspn(s, " \t\r\n")]) {
            st = bl_fail(e, BL_E_FORMAT, "a text of 'CONTEXTS' is empty, expected a passage");
            goto out;
        }
        if (t.n) bl_text_add(&t, "\n");
        bl_text_add(&t, s);
    }
    BL_TRY(bl_text_check(&t, e));
    if (!(out->more = bl_arena_str(a, t.s, t.n, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_json_get_str(j, "final_decision", &s, e));
    while (k < 3 && strcmp(s, answers[k])) k++;
    if (k == 3) {
        st = bl_fail(e, BL_E_FORMAT, "'final_decision' is \"%s\", expected yes, no or maybe", s);
        goto out;
    }
    out->choice = answers;
    out->n_choices = 3;
    out->gold = k;
out:
    bl_text_free(&t);
    return st;
}

static const char *const marked[] = {"rag/pubmedqa_feedback.jsonl", "pubmedqa_feedback.jsonl", NULL};
static const bl_passage_task row = {
    .with = {.read = read_row, .prompt = "Abstract: {more}\nQuestion: {text}\nAnswer:", .rows = {.keyed = true}},
    .without = {.read = read_row, .prompt = "Question: {text}\nAnswer:", .rows = {.keyed = true}},
    .files = files,
    .where = "test_set.json, made of ori_pqal.json by the scripts of pubmedqa/pubmedqa",
    .field = "CONTEXTS",
    .marked = marked};

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    return bl_passage_load(how, &row, out, e);
}
static const bl_metric *metrics_of(const char *name, int *n) { return bl_passage_metrics(name, false, n); }

static const char *const names[] = {BL_PASSAGE_NAMES("pubmedqa"), NULL};
static const char *const of[] = {"test", "test", "test", "test", "test"};

const bl_task bl_task_pubmedqa = {
    .names = names,
    .splits = of,
    .version = 1,
    .title = "PubMedQA",
    .cite = "Jin et al. 2019; Robertson and Walker 1994; Rangan and Yin 2024",
    .doc =
        "Questions of biomedical papers, answered yes, no or maybe, without an abstract, with their own, and with the "
        "one that BM25, the model's own vectors or an encoder's find; test split, 500 items.",
    .metrics_of = metrics_of,
    .load = load,
    .ask = bl_passage_ask,
    .mark = bl_passage_mark,
    .question = bl_passage_question,
    .gold = bl_choice_gold,
};
