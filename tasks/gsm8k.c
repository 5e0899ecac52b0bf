/* gsm8k.c - grade-school word problems, reasoned out before the answer (Cobbe et al. 2021, MIT); test split.
 *
 *     Q: There are 15 trees in the grove. … How many trees did the grove workers plant today?
 *     A: There are 15 trees originally. … The answer is 6.
 *     (eight worked examples of Wei et al. 2022, in their order, two newlines between them)
 *
 *     Q: Janet's ducks lay 16 eggs per day. …
 *     A:
 *
 * gsm8k:cot8 is that, as lm-evaluation-harness gsm8k_cot has it, gsm8k:direct the same examples with their answers
 * alone, gsm8k:zeroshot the two requests of Kojima et al. 2022 (shared_cot.h). Replies are decoded greedily up to "Q:",
 * "</s>" or "<|im_end|>", at most 256 tokens. exact_match_strict      the first `The answer is (-?[0-9.,]+).` names the
 * right number exact_match_flexible    the last `(-?[$0-9.,]{2,})|(-?[0-9]+)` does
 *
 * gsm8k:first5 has the form of lm-evaluation-harness gsm8k,
 *
 *     Question: Natalia sold clips to 48 of her friends in April, …
 *     Answer: Natalia sold 48/2 = <<48/2=24>>24 clips in May. …
 *     #### 72
 *
 * with the first five of the training split for every question, which is our own choice: the harness draws five anew
 * for every one. There strict is the first `#### (-?[0-9.,]+)`, and the reply ends at "Question:".
 *
 * Both compare strings, as lm-evaluation-harness does, after commas, dollar signs, everything up to "#### " and one
 * final dot are removed. Its quirks are kept: the dot that ends the strict pattern is any character but a newline and
 * must exist, so a reply that stops right after the number loses its last digit; "7 eggs..." extracts "..." in the
 * flexible mode. How often nothing was found and how often the reply ran into its limit is reported beside the scores,
 * so a reader knows whether reasoning broke or formatting did.
 */
#include "harness/data/pytext.h"
#include "shared_answer.h"
#include "shared_cot.h"
#include <string.h>

static const char *const files[] = {"gsm8k/test.jsonl", "grade_school_math/data/test.jsonl", "gsm8k/main/test.jsonl",
                                    NULL};
static const char where[] = "test.jsonl of openai/grade-school-math, or openai/gsm8k, main, as JSON lines";
static const char *const train[] = {"gsm8k/train.jsonl", "grade_school_math/data/train.jsonl", "gsm8k/main/train.jsonl",
                                    NULL};
static const char where_train[] = "train.jsonl of openai/grade-school-math, or openai/gsm8k, main, as JSON lines";

static bl_status read_item(const bl_json *j, bl_arena *a, bl_cot_item *out, bl_err *e)
{
    bl_status st = BL_OK;
    const char *question, *answer, *gold, *next;
    size_t n;

    BL_TRY(bl_json_get_str(j, "question", &question, e));
    BL_TRY(bl_json_get_str(j, "answer", &answer, e));
    if (!question[strspn(question, " \t\r\n")]) {
        st = bl_fail(e, BL_E_FORMAT, "'question' is empty, expected a text");
        goto out;
    }
    if (!(gold = strstr(answer, "####"))) {
        st = bl_fail(e, BL_E_FORMAT, "the answer has no \"####\" line");
        goto out;
    }
    while ((next = strstr(gold + 4, "####")) != NULL) gold = next;
    gold += 4;
    n = strlen(gold);
    bl_strip(&gold, &n);
    if (n == 0) {
        st = bl_fail(e, BL_E_FORMAT, "nothing follows \"####\" in the answer");
        goto out;
    }
    if (!bl_answer_is_number(gold, n)) {
        st = bl_fail(e, BL_E_FORMAT, "\"%.*s\" follows \"####\" in the answer, expected a number", (int)n, gold);
        goto out;
    }
    out->question = bl_arena_str(a, question, strlen(question), e);
    out->gold = bl_arena_str(a, gold, n, e);
    if (!out->question || !out->gold) st = BL_E_NOMEM;
out:
    return st;
}

/* The whole answer is the gold: of a worked example. */
static bl_status read_example(const bl_json *j, bl_arena *a, bl_cot_item *out, bl_err *e)
{
    bl_status st = BL_OK;
    const char *answer;

    BL_TRY(read_item(j, a, out, e));
    BL_TRY(bl_json_get_str(j, "answer", &answer, e));
    if (!(out->gold = bl_arena_str(a, answer, strlen(answer), e))) st = BL_E_NOMEM;
out:
    return st;
}

const bl_cot_set bl_cot_gsm8k = {.name = "gsm8k",
                                 .read = read_item,
                                 .files = files,
                                 .where = where,
                                 .once = true,
                                 .answer = BL_COT_NUMBER,
                                 .example = bl_cot_math,
                                 .n_examples = 8,
                                 .so = "The answer is ",
                                 .therefore = "Therefore, the answer (arabic numerals) is"};

/* ---- gsm8k:first5 ---- */
enum { FIRST = 5 };
typedef struct data {
    bool first5; /* else `rows` are those of the chains that several tasks share */
    bl_task_data chains;
    bl_cot_item *item, *example;
    int64_t max_new;
} data;
static const char *const stops[] = {"Question:", "</s>", "<|im_end|>"};

static bl_status load_first5(const bl_task_load *how, data *d, bl_task_data *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_cot_opts *o = how->opts;
    const char *path;
    int64_t n;
    bl_hash hash[2];

    BL_TRY(bl_data_find(how->dirs, files, where, out->arena, &out->path, NULL, e));
    BL_TRY(bl_cot_file(out->path, &bl_cot_gsm8k, out->arena, &d->item, &out->n, &hash[0], e));
    BL_TRY(bl_data_find(how->dirs, train, where_train, out->arena, &path, NULL, e));
    BL_TRY(bl_cot_file(path, &(bl_cot_set){.read = read_example}, out->arena, &d->example, &n, &hash[1], e));
    if (n < FIRST) {
        st = bl_fail(e, BL_E_FORMAT, "%s: %lld rows, expected at least 5 for the worked examples", path, (long long)n);
        goto out;
    }
    d->max_new = o ? o->max_new : bl_cot_rows[0].def.i;
    out->hash = bl_hash_bytes(hash, sizeof hash);
out:
    return st;
}

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    bl_status st = BL_OK;
    data *d = bl_alloc(out->arena, 1, sizeof *d, e);

    if (!d) return BL_E_NOMEM;
    d->first5 = !strcmp(how->name, "gsm8k:first5");
    if (d->first5) BL_TRY(load_first5(how, d, out, e));
    else {
        BL_TRY(bl_cot_load(how, &bl_cot_gsm8k, 1, out, e));
        d->chains = *out;
    }
    out->rows = d;
out:
    return st;
}

static bl_status ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e)
{
    data *d = t->rows;

    if (!d->first5) return bl_cot_ask(&d->chains, i, turn, out, e);
    if (turn->step > 0) return bl_done(out);
    bl_prompt p = bl_task_prompt(t, turn->arena);
    for (int k = 0; k < FIRST; k++) {
        bl_say(&p, "Question: ");
        bl_quote(&p, d->example[k].question);
        bl_say(&p, "\nAnswer:");
        bl_answer_follows(&p, " ");
        bl_quote(&p, d->example[k].gold);
        bl_question_follows(&p, "\n\n");
    }
    bl_say(&p, "Question: ");
    bl_quote(&p, d->item[i].question);
    bl_say(&p, "\nAnswer:");
    *out = (bl_request){
        .kind = BL_ASK_GENERATE, .prompt = p, .stop = stops, .n_stops = BL_COUNT(stops), .max_new = d->max_new};
    return BL_OK;
}

static bl_status mark(bl_task_data *t, int64_t i, const bl_turn *turn, bl_sample *out, bl_err *e)
{
    data *d = t->rows;
    const char *text = turn->reply[0].text ? turn->reply[0].text : "";
    bl_cot_found strict = {0}, flexible = {0};

    if (!d->first5) return bl_cot_mark(&d->chains, i, turn, out, e);
    if (!bl_answer_marked(text, &strict.s, &strict.n)) strict = (bl_cot_found){0};
    if (!bl_answer_flexible(text, &flexible.s, &flexible.n)) flexible = (bl_cot_found){0};
    return bl_cot_score(strict, flexible, BL_COT_NUMBER, d->item[i].gold, turn->arena, out, e);
}

static const char *gold(bl_task_data *t, int64_t i)
{
    data *d = t->rows;
    return d->first5 ? d->item[i].gold : bl_cot_gold(&d->chains, i);
}

static const char *const names[] = {"gsm8k:cot8", "gsm8k:direct", "gsm8k:zeroshot", "gsm8k:first5", NULL};
static const char *const of[] = {"test", "test", "test", "test"};
static const int examples[] = {8, 8, 0, FIRST};

const bl_task bl_task_gsm8k = {
    .names = names,
    .splits = of,
    .shots = examples,
    .version = 1,
    .title = "GSM8K",
    .cite = "Cobbe et al. 2021; Wei et al. 2022; Kojima et al. 2022",
    .doc =
        "Grade-school word problems with eight worked examples in front, without their reasoning, step by step without "
        "examples, and with the first five training examples; test split, 1,319 items. Strict and flexible extraction "
        "as lm-evaluation-harness.",
    .metrics = bl_cot_metrics,
    .n_metrics = BL_COUNT(bl_cot_metrics),
    .opts = bl_cot_rows,
    .opts_size = sizeof(bl_cot_opts),
    .load = load,
    .ask = ask,
    .mark = mark,
    .gold = gold,
};
