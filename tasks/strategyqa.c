/* strategyqa.c - yes or no by steps that the question does not name (Geva et al. 2021; BIG-bench form, Apache 2.0).
 *
 *     Q: Yes or no: Would a pear sink in water?
 *     A: The density of a pear is about 0.6g/cm3, which is less than water. Objects less dense than water float. Thus,
 * a pear would float. So the answer is no. (six worked examples of Wei et al. 2022, in their order)
 *
 *     Q: Are more people today related to Genghis Khan than Julius Caesar?
 *     A:
 *
 * strategyqa:cot6, strategyqa:direct and strategyqa:zeroshot are what shared_cot.h says; the second request of zeroshot
 * ends in "Therefore, the answer (Yes or No) is". The six worked examples are items of the file and
 * left out of it.
 */
#include "shared_cot.h"
#include <inttypes.h>

static const char *const files[] = {"strategyqa/bigbench_task.json", "StrategyQA/task.json",
                                    "dataset/StrategyQA/task.json", NULL};

/* {"input", "target_scores": {"Yes": 1, "No": 0}} */
static bl_status read_item(const bl_json *j, bl_arena *a, bl_cot_item *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *scores;
    int64_t yes, no;

    BL_TRY(bl_cot_text(j, "input", a, &out->question, e));
    BL_TRY(bl_json_need(j, "target_scores", &scores, e));
    BL_TRY(bl_json_get_int(scores, "Yes", &yes, e));
    BL_TRY(bl_json_get_int(scores, "No", &no, e));
    if (bl_json_size(scores) != 2) {
        st = bl_fail(e, BL_E_FORMAT, "'target_scores' has %zu answers, expected Yes and No", bl_json_size(scores));
        goto out;
    }
    if (yes + no != 1 || yes < 0 || no < 0) {
        st = bl_fail(e, BL_E_FORMAT, "Yes is %" PRId64 " and No is %" PRId64 ", expected 1 and 0 or 0 and 1", yes, no);
        goto out;
    }
    out->gold = yes ? "yes" : "no";
out:
    return st;
}

static const bl_cot_set sets[] = {
    {.name = "strategyqa",
     .read = read_item,
     .files = files,
     .list = "examples",
     .where = "task.json of BIG-bench, strategyqa, as in dataset/StrategyQA of kojima-takeshi188/zero_shot_cot",
     .answer = BL_COT_YES_NO,
     .example = bl_cot_strategy,
     .n_examples = 6,
     .so = "So the answer is ",
     .therefore = "Therefore, the answer (Yes or No) is"},
};

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    return bl_cot_load(how, sets, BL_COUNT(sets), out, e);
}

static const char *const names[] = {"strategyqa:cot6", "strategyqa:direct", "strategyqa:zeroshot", NULL};
static const char *const of[] = {"BIG-bench", "BIG-bench", "BIG-bench"};
static const int examples[] = {6, 6, 0};

const bl_task bl_task_strategyqa = {
    .names = names,
    .splits = of,
    .shots = examples,
    .version = 1,
    .title = "StrategyQA",
    .cite = "Geva et al. 2021; Wei et al. 2022; Kojima et al. 2022",
    .doc = "Yes or no by unnamed steps, with six worked examples, without their reasoning, and step by step without "
           "examples; BIG-bench form, 2,284 items.",
    .metrics = bl_cot_metrics,
    .n_metrics = BL_COUNT(bl_cot_metrics),
    .opts = bl_cot_rows,
    .opts_size = sizeof(bl_cot_opts),
    .load = load,
    .ask = bl_cot_ask,
    .mark = bl_cot_mark,
    .gold = bl_cot_gold,
};
