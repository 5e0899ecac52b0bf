/* math_word.c - arithmetic word problems: SVAMP (Patel et al. 2021, MIT), MultiArith (Roy and Roth 2015), AddSub
 * (Hosseini et al. 2014), SingleEq (Koncel-Kedziorski et al. 2015), in the files of zero_shot_cot.
 *
 *     (eight worked examples of Wei et al. 2022, in their order)
 *
 *     Q: Each pack of dvds costs 76 dollars. If there is a discount of 25 dollars on each pack How much do you have to
 * pay to buy each pack? A:
 *
 * svamp:cot8, svamp:direct and svamp:zeroshot are what shared_cot.h says. In zeroshot the second request ends in
 * "Therefore, the answer (arabic numerals) is".
 */
#include "shared_cot.h"

static const char math[] = "The answer is ", therefore[] = "Therefore, the answer (arabic numerals) is";
static const char where[] = "dataset folder of kojima-takeshi188/zero_shot_cot";
static const char *const svamp[] = {"math_word/SVAMP.json", "SVAMP/SVAMP.json", "dataset/SVAMP/SVAMP.json", NULL};
static const char *const multiarith[] = {"math_word/MultiArith.json", "MultiArith/MultiArith.json",
                                         "dataset/MultiArith/MultiArith.json", NULL};
static const char *const addsub[] = {"math_word/AddSub.json", "AddSub/AddSub.json", "dataset/AddSub/AddSub.json", NULL};
static const char *const singleeq[] = {"math_word/SingleEq.json", "SingleEq/questions.json",
                                       "dataset/SingleEq/questions.json", NULL};

/* {"Body", "Question", "Answer"} */
static bl_status read_svamp(const bl_json *j, bl_arena *a, bl_cot_item *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text t = {0};
    const char *body, *question;
    const bl_json *answer;

    BL_TRY(bl_cot_text(j, "Body", a, &body, e));
    BL_TRY(bl_cot_text(j, "Question", a, &question, e));
    bl_text_addf(&t, "%s %s", body, question);
    BL_TRY(bl_text_check(&t, e));
    if (!(out->question = bl_arena_str(a, t.s, t.n, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_json_need(j, "Answer", &answer, e));
    BL_TRY(bl_cot_number(answer, "Answer", a, &out->gold, e));
out:
    bl_text_free(&t);
    return st;
}

/* {"sQuestion", "lSolutions": [8.0]} */
static bl_status read_solution(const bl_json *j, bl_arena *a, bl_cot_item *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *solutions;

    BL_TRY(bl_cot_text(j, "sQuestion", a, &out->question, e));
    BL_TRY(bl_json_need(j, "lSolutions", &solutions, e));
    if (bl_json_kind(solutions) != BL_JSON_ARRAY) {
        st = bl_fail(e, BL_E_FORMAT, "'lSolutions' is no list, expected one of 1 number");
        goto out;
    }
    if (bl_json_size(solutions) != 1) {
        st = bl_fail(e, BL_E_FORMAT, "'lSolutions' has %zu numbers, expected 1", bl_json_size(solutions));
        goto out;
    }
    BL_TRY(bl_cot_number(bl_json_first(solutions), "lSolutions", a, &out->gold, e));
out:
    return st;
}

static const bl_cot_set sets[] = {
#define SET(id, reader)                                                                                                \
    {                                                                                                                  \
        .name = #id, .read = reader, .files = id, .where = where, .answer = BL_COT_NUMBER, .example = bl_cot_math,     \
        .n_examples = 8, .so = math, .therefore = therefore                                                            \
    }
    SET(svamp, read_svamp),
    SET(multiarith, read_solution),
    SET(addsub, read_solution),
    SET(singleeq, read_solution),
};

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    return bl_cot_load(how, sets, BL_COUNT(sets), out, e);
}

static const char *const names[] = {
    "svamp:cot8",  "svamp:direct",  "svamp:zeroshot",  "multiarith:cot8", "multiarith:direct", "multiarith:zeroshot",
    "addsub:cot8", "addsub:direct", "addsub:zeroshot", "singleeq:cot8",   "singleeq:direct",   "singleeq:zeroshot",
    NULL};
static const char *const of[] = {"test", "test", "test", "all", "all", "all", "all", "all", "all", "all", "all", "all"};
static const int examples[] = {8, 8, 0, 8, 8, 0, 8, 8, 0, 8, 8, 0};

const bl_task bl_task_math_word = {
    .names = names,
    .splits = of,
    .shots = examples,
    .version = 1,
    .title = "Math word problems",
    .cite = "Patel et al. 2021; Roy and Roth 2015; Hosseini et al. 2014; Koncel-Kedziorski et al. 2015; Wei et al. "
            "2022; Kojima et al. 2022",
    .doc = "Arithmetic word problems with eight worked examples, without their reasoning, and step by step without "
           "examples; 1,000, 600, 395 and 508 items.",
    .metrics = bl_cot_metrics,
    .n_metrics = BL_COUNT(bl_cot_metrics),
    .opts = bl_cot_rows,
    .opts_size = sizeof(bl_cot_opts),
    .load = load,
    .ask = bl_cot_ask,
    .mark = bl_cot_mark,
    .gold = bl_cot_gold,
};
