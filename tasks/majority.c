/* majority.c - GSM8K answered several times, and the answer that is given most often (Wang et al. 2022).
 *
 * The prompt is that of gsm8k:cot8. gsm8k:maj8 draws eight replies for each item, gsm8k:maj40 forty, each with a seed
 * of its own, so that order and batch do not matter. Replies end at "Q:", an empty line, "</s>" or "<|im_end|>", as
 * lm-evaluation-harness gsm8k_cot_self_consistency has it, and so is the answer: the first
 * `The answer is (-?[0-9.,]*[0-9]+)`. Its temperature is 0.2; ours is an option, as is top_p, with the 0.7 of the
 * paper.
 *
 *     exact_match          the answer that was drawn most often is right; one that was drawn first wins a tie, and
 *                          "nothing found" is an answer like others, as in the harness
 *     exact_match_valid    the same without the votes of those in which nothing was found
 *     exact_match_single   mean over the replies
 *     agreement            share of the replies that have the answer which won
 *     no_answer            share of the replies in which nothing was found
 */
#include "shared_answer.h"
#include "shared_cot.h"
#include "kernels/base/rng.h"
#include <string.h>

enum { MAJORITY, VALID, SINGLE, AGREEMENT, NOT_FOUND, N_SCORES };
static const bl_metric metrics[] = {
    {.name = "exact_match", .direction = 1, .headline = true, .percent = true, .agg = BL_AGG_MEAN, .a = MAJORITY},
    {.name = "exact_match_valid", .direction = 1, .headline = true, .percent = true, .agg = BL_AGG_MEAN, .a = VALID},
    {.name = "exact_match_single", .direction = 1, .headline = true, .percent = true, .agg = BL_AGG_MEAN, .a = SINGLE},
    {.name = "agreement", .percent = true, .agg = BL_AGG_MEAN, .a = AGREEMENT},
    {.name = "no_answer", .direction = -1, .percent = true, .agg = BL_AGG_MEAN, .a = NOT_FOUND},
    {.name = "hit_limit", .direction = -1, .percent = true, .agg = BL_AGG_FLAG_SHARE, .a = BL_SAMPLE_HIT_LIMIT},
};

typedef struct opts {
    int64_t max_new;
    double temperature, top_p;
} opts;
static const bl_opt rows[] = {{"max-new", BL_OPT_INT, .min = 1, .max = 4096, .def.i = 256,
                               .at = offsetof(opts, max_new), .arg = "N", .doc = "most new tokens of a reply"},
                              {"temperature", BL_OPT_REAL, .min = 0.01, .max = 10, .def.r = 0.7,
                               .at = offsetof(opts, temperature), .arg = "X", .doc = "of the draws"},
                              {"top-p", BL_OPT_REAL, .min = 0.01, .max = 1, .def.r = 1, .at = offsetof(opts, top_p),
                               .arg = "X", .doc = "only the likeliest tokens that together have so much"},
                              {0}};

enum { MOST = 40 };
typedef struct data {
    bl_cot_item *item;
    opts o;
    int votes;
    uint64_t seed;
} data;

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    bl_status st = BL_OK;
    data *d = bl_alloc(out->arena, 1, sizeof *d, e);

    if (!d) return BL_E_NOMEM;
    if (how->opts) d->o = *(const opts *)how->opts;
    else bl_opt_defaults(rows, &d->o);
    d->votes = strcmp(how->name, "gsm8k:maj8") ? MOST : 8;
    d->seed = how->seed;
    BL_TRY(bl_data_find(how->dirs, bl_cot_gsm8k.files, bl_cot_gsm8k.where, out->arena, &out->path, NULL, e));
    BL_TRY(bl_cot_file(out->path, &bl_cot_gsm8k, out->arena, &d->item, &out->n, &out->hash, e));
    out->rows = d;
out:
    return st;
}

static bl_status ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e)
{
    static const char *const stops[] = {"Q:", "\n\n", "</s>", "<|im_end|>"};
    const data *d = t->rows;
    bl_prompt p = bl_task_prompt(t, turn->arena);
    (void)e;

    if (turn->step == d->votes) return bl_done(out);
    bl_cot_say_examples(&p, &bl_cot_gsm8k, true);
    bl_say(&p, "Q: ");
    bl_quote(&p, d->item[i].question);
    bl_say(&p, "\nA:");
    *out = (bl_request){.kind = BL_ASK_GENERATE,
                        .prompt = p,
                        .stop = stops,
                        .n_stops = BL_COUNT(stops),
                        .max_new = d->o.max_new,
                        .temperature = d->o.temperature,
                        .top_p = d->o.top_p,
                        .seed = d->seed + bl_rng_key("vote", (uint64_t)(i * MOST + turn->step))};
    return BL_OK;
}

/* Of two answers or none: the same text. */
static bool same(bl_cot_found a, bl_cot_found b)
{
    return (!a.s && !b.s) || (a.s && b.s && a.n == b.n && !memcmp(a.s, b.s, a.n));
}

/* The one that is there most often, the first of several; *votes how often. */
static bl_cot_found most_common(const bl_cot_found *f, int n, bool valid, int *votes)
{
    bl_cot_found best = {0};
    *votes = 0;
    for (int i = 0; i < n; i++) {
        int count = 0;
        if (valid && !f[i].s) continue;
        for (int k = 0; k < n; k++) count += same(f[i], f[k]);
        if (count <= *votes) continue;
        *votes = count;
        best = f[i];
    }
    return best;
}

static bl_status mark(bl_task_data *t, int64_t i, const bl_turn *turn, bl_sample *out, bl_err *e)
{
    const data *d = t->rows;
    const char *gold = d->item[i].gold;
    bl_cot_found f[MOST] = {0}, all, valid;
    double score[N_SCORES] = {0};
    int votes, of_valid;
    bl_status st;

    for (int k = 0; k < d->votes; k++) {
        const char *text = turn->reply[k].text ? turn->reply[k].text : "";
        if (!bl_answer_ends_in_digit(text, &f[k].s, &f[k].n)) f[k] = (bl_cot_found){0};
        score[SINGLE] += f[k].s && bl_answer_equal(f[k].s, f[k].n, gold);
        score[NOT_FOUND] += !f[k].s;
    }
    all = most_common(f, d->votes, false, &votes);
    valid = most_common(f, d->votes, true, &of_valid);
    score[MAJORITY] = all.s && bl_answer_equal(all.s, all.n, gold);
    score[VALID] = valid.s && bl_answer_equal(valid.s, valid.n, gold);
    score[SINGLE] /= d->votes;
    score[NOT_FOUND] /= d->votes;
    score[AGREEMENT] = (double)votes / d->votes;
    BL_TRY(bl_sample_scores(out, turn->arena, score, N_SCORES, e));
    BL_TRY(bl_sample_answer(out, turn->arena, all.s, all.n, e));
out:
    return st;
}

static const char *gold(bl_task_data *t, int64_t i) { return ((const data *)t->rows)->item[i].gold; }

static const char *const names[] = {"gsm8k:maj8", "gsm8k:maj40", NULL};
static const char *const of[] = {"test", "test"};
static const int examples[] = {8, 8};

const bl_task bl_task_majority = {
    .names = names,
    .splits = of,
    .shots = examples,
    .version = 1,
    .title = "GSM8K by majority",
    .cite = "Wang et al. 2022; Cobbe et al. 2021; Wei et al. 2022",
    .doc =
        "Grade-school word problems answered 8 or 40 times after reasoning, and the answer that is given most often; "
        "test split, 1,319 items.",
    .metrics = metrics,
    .n_metrics = BL_COUNT(metrics),
    .opts = rows,
    .opts_size = sizeof(opts),
    .load = load,
    .ask = ask,
    .mark = mark,
    .gold = gold,
};
