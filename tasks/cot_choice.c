/* cot_choice.c - choices that are reasoned about before the letter is said: AQuA (Ling et al. 2017, Apache 2.0; test
 * split) and CommonsenseQA (Talmor et al. 2019, MIT; validation split).
 *
 *     Q: What home entertainment equipment requires cable? Answer Choices: (A) radio shack (B) substation (C)
 * television (D) cabinet A: The answer must require cable. Of the above choices, only television requires cable. So the
 * answer is (C). (four or seven worked examples of Wei et al. 2022, in their order)
 *
 *     Q: What do people aim to do at work? Answer Choices: (A) complete job … (E) talk to each other
 *     A:
 *
 * aqua:cot4, aqua:direct, aqua:zeroshot and commonsense_qa:cot7, … are what shared_cot.h says; the letters are capital
 * in examples and questions alike. The second request of zeroshot ends in "Therefore, among A through E, the answer
 * is". The tasks `aqua` and `commonsense_qa` score the letters instead.
 */
#include "shared_cot.h"
#include "shared_choice.h"

static const char therefore[] = "Therefore, among A through E, the answer is";
static const char *const aqua[] = {"aqua/test.jsonl", "AQuA/test.json", "aqua/test.json", "aqua_rat/raw/test.jsonl",
                                   NULL};
static const char *const commonsense[] = {"commonsenseqa/dev_rand_split.jsonl", "commonsense_qa/dev_rand_split.jsonl",
                                          "dev_rand_split.jsonl", "commonsense_qa/validation.jsonl", NULL};

static bl_status say(const bl_choice *q, bl_arena *a, bl_cot_item *out, bl_err *e)
{
    if (q->n_choices != 5) return bl_fail(e, BL_E_FORMAT, "%d choices, expected 5", q->n_choices);
    out->gold = bl_choice_letters[q->gold];
    return bl_choice_line(q->text, q->choice, q->n_choices, a, &out->question, e);
}

static bl_status read_aqua(const bl_json *j, bl_arena *a, bl_cot_item *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_choice q = {0};
    BL_TRY(bl_choice_read_aqua(j, a, &q, e));
    BL_TRY(bl_choice_strip(&q.text, a, e));
    BL_TRY(say(&q, a, out, e));
out:
    return st;
}

static bl_status read_commonsense(const bl_json *j, bl_arena *a, bl_cot_item *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_choice q = {0};
    BL_TRY(bl_choice_read_science(j, "question", a, &q, e));
    BL_TRY(bl_choice_strip(&q.text, a, e));
    BL_TRY(say(&q, a, out, e));
out:
    return st;
}

static const bl_cot_set sets[] = {
    {.name = "aqua",
     .read = read_aqua,
     .files = aqua,
     .where = "test.json of google-deepmind/AQuA, or deepmind/aqua_rat, raw, test, as JSON lines",
     .once = true,
     .answer = BL_COT_LETTER,
     .example = bl_cot_aqua,
     .n_examples = 4,
     .so = "The answer is ",
     .therefore = therefore},
    {.name = "commonsense_qa",
     .read = read_commonsense,
     .files = commonsense,
     .where = "dev_rand_split.jsonl of tau-nlp.org/commonsenseqa, or tau/commonsense_qa, validation, as JSON lines",
     .answer = BL_COT_LETTER,
     .example = bl_cot_commonsense,
     .n_examples = 7,
     .so = "So the answer is ",
     .therefore = therefore},
};

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    return bl_cot_load(how, sets, BL_COUNT(sets), out, e);
}

static const char *const names[] = {"aqua:cot4",
                                    "aqua:direct",
                                    "aqua:zeroshot",
                                    "commonsense_qa:cot7",
                                    "commonsense_qa:direct",
                                    "commonsense_qa:zeroshot",
                                    NULL};
static const char *const of[] = {"test", "test", "test", "validation", "validation", "validation"};
static const int examples[] = {4, 4, 0, 7, 7, 0};

const bl_task bl_task_cot_choice = {
    .names = names,
    .splits = of,
    .shots = examples,
    .version = 1,
    .title = "Reasoned choices",
    .cite = "Ling et al. 2017; Talmor et al. 2019; Wei et al. 2022; Kojima et al. 2022",
    .doc = "AQuA and CommonsenseQA answered after reasoning, with worked examples, without their reasoning, and step "
           "by step without examples; 254 and 1,221 items.",
    .metrics = bl_cot_metrics,
    .n_metrics = BL_COUNT(bl_cot_metrics),
    .opts = bl_cot_rows,
    .opts_size = sizeof(bl_cot_opts),
    .load = load,
    .ask = bl_cot_ask,
    .mark = bl_cot_mark,
    .gold = bl_cot_gold,
};
