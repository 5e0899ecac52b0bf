/* lambada.c - the last word of a passage (Paperno et al. 2016; the text as OpenAI prepared it, MIT); test split.
 *
 *     … "Give me a minute to change and I'll meet you at the
 *      docks
 *
 * The passage is split on single spaces; the target is the last piece with its space, the context is the rest as it is.
 *     acc         every token of the target is the model's first choice
 *     perplexity  exp of the mean negative log-likelihood of the target: per word, not per token
 * lambada_openai keeps case and punctuation; the tokenized lower-case original is another text with other scores.
 */
#include "shared_choice.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

static const char *const files[] = {"lambada/lambada_test.jsonl",
                                    "lambada_test.jsonl",
                                    "lambada_openai/data/lambada_test_en.jsonl",
                                    "lambada/lambada_test_en.jsonl",
                                    "lambada_openai/lambada_test_en.jsonl",
                                    "lambada/lambada_openai_test.jsonl",
                                    "lambada_openai/test.jsonl",
                                    "lambada_openai/default/test.jsonl",
                                    NULL};
static const char where[] = "lambada_test.jsonl of OpenAI's gpt-2 release, or EleutherAI/lambada_openai as JSON lines";

typedef struct row {
    const char *context, *word;
} row;

static bl_status read_row(const void *ctx, int64_t i, const bl_json *j, bl_arena *a, void *out, bl_err *e)
{
    bl_status st = BL_OK;
    row *r = out;
    const char *text, *space;
    (void)ctx;
    (void)i;
    BL_TRY(bl_json_get_str(j, "text", &text, e));
    space = strrchr(text, ' ');
    if (!space || !space[1]) return bl_fail(e, BL_E_FORMAT, "no space before a last word");
    r->context = bl_arena_str(a, text, (size_t)(space - text), e);
    r->word = bl_arena_str(a, space + 1, strlen(space + 1), e);
    if (!r->context || !r->word) return BL_E_NOMEM;
out:
    return st;
}

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(bl_data_find(how->dirs, files, where, out->arena, &out->path, NULL, e));
    BL_TRY(bl_rows_items(out->path, &(bl_rows_layout){0}, read_row, NULL, sizeof(row), out->arena, &out->rows, &out->n,
                         &out->hash, e));
out:
    return st;
}

static bl_status ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e)
{
    const row *q = (const row *)t->rows + i;

    if (turn->step > 0) return bl_done(out);
    bl_prompt p = bl_task_prompt(t, turn->arena);
    bl_quote(&p, q->context);
    bl_status st = bl_ask_pairs(out, p, &q->word, 1, e);
    if (st == BL_OK) out->pair->delimited = false; /* the space is the word's own, in front of a reply too */
    return st;
}

static bl_status mark(bl_task_data *t, int64_t i, const bl_turn *turn, bl_sample *out, bl_err *e)
{
    const bl_reply *r = &turn->reply[0];
    bl_status st;

    (void)t;
    if (!isfinite(r->nll[0])) return bl_fail(e, BL_E_NUMERIC, "item %" PRId64 ": the log-likelihood is not finite", i);
    out->pick = r->greedy[0] ? 0 : -1;
    out->gold = 0;
    out->n_choices = 1;
    BL_TRY(bl_sample_scores(out, turn->arena, (double[]){r->greedy[0]}, 1, e));
    bool scored = r->tokens[0] > 0; /* a word whose tokens all join the context is wrong, and has no perplexity */
    BL_TRY(bl_sample_values(out, turn->arena, (double[]){scored ? r->nll[0] : 0, scored}, 2, e));
out:
    return st;
}

static const char *gold(bl_task_data *t, int64_t i) { return ((const row *)t->rows + i)->word; }

static const bl_metric metrics[] = {
    {.name = "acc", .direction = 1, .headline = true, .percent = true, .agg = BL_AGG_MEAN, .a = 0},
    {.name = "perplexity", .direction = -1, .headline = true, .agg = BL_AGG_EXP_RATIO, .a = 0, .b = 1},
};

static const char *const names[] = {"lambada_openai", NULL};
static const char *const of[] = {"test"};

const bl_task bl_task_lambada = {
    .names = names,
    .splits = of,
    .version = 2,
    .title = "LAMBADA",
    .cite = "Paperno et al. 2016; Radford et al. 2019",
    .doc = "The last word of a passage; OpenAI's text of the test split, 5,153 items.",
    .metrics = metrics,
    .n_metrics = BL_COUNT(metrics),
    .load = load,
    .ask = ask,
    .mark = mark,
    .gold = gold,
};
