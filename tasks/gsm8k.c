/* gsm8k.c - grade-school word problems, reasoned out before the answer (Cobbe et al. 2021, MIT); test split.
 *
 *     Q: There are 15 trees in the grove. … How many trees did the grove workers plant today?
 *     A: There are 15 trees originally. … The answer is 6.
 *     (eight worked examples of Wei et al. 2022, in their order, two newlines between them)
 *
 *     Q: Janet's ducks lay 16 eggs per day. …
 *     A:
 *
 * The reply is decoded greedily up to "Q:", "</s>" or "<|im_end|>", at most 256 tokens.
 *     exact_match_strict      the first `The answer is (-?[0-9.,]+).` names the right number
 *     exact_match_flexible    the last `(-?[$0-9.,]{2,})|(-?[0-9]+)` does
 * Both compare strings, as lm-evaluation-harness gsm8k_cot does, after commas, dollar signs, everything up to "#### "
 * and one final dot are removed. Its quirks are kept: the dot that ends the strict pattern is any character but a
 * newline and must exist, so a reply that stops right after the number loses its last digit; "7 eggs..." extracts
 * "..." in the flexible mode. How often nothing was found and how often the reply ran into its limit is reported beside
 * the scores, so a reader knows whether reasoning broke or formatting did.
 */
#include "harness/task.h"
#include "shared_answer.h"
#include "harness/data/pytext.h"
#include <string.h>

typedef struct opts {
    int64_t max_new;
} opts;
static const bl_opt rows[] = {{"max-new", BL_OPT_INT, .min = 1, .max = 4096, .def.i = 256,
                               .at = offsetof(opts, max_new), .arg = "N", .doc = "most new tokens of a reply"},
                              {0}};

static const struct {
    const char *question, *answer;
} shots[] = {
    {"There are 15 trees in the grove. Grove workers will plant trees in the grove today. After they are done, there "
     "will be 21 trees. How many trees did the grove workers plant today?",
     "There are 15 trees originally. Then there were 21 trees after some more were planted. So there must have been 21 "
     "- 15 = 6. The answer is 6."},
    {"If there are 3 cars in the parking lot and 2 more cars arrive, how many cars are in the parking lot?",
     "There are originally 3 cars. 2 more cars arrive. 3 + 2 = 5. The answer is 5."},
    {"Leah had 32 chocolates and her sister had 42. If they ate 35, how many pieces do they have left in total?",
     "Originally, Leah had 32 chocolates. Her sister had 42. So in total they had 32 + 42 = 74. After eating 35, they "
     "had 74 - 35 = 39. The answer is 39."},
    {"Jason had 20 lollipops. He gave Denny some lollipops. Now Jason has 12 lollipops. How many lollipops did Jason "
     "give to Denny?",
     "Jason started with 20 lollipops. Then he had 12 after giving some to Denny. So he gave Denny 20 - 12 = 8. The "
     "answer is 8."},
    {"Shawn has five toys. For Christmas, he got two toys each from his mom and dad. How many toys does he have now?",
     "Shawn started with 5 toys. If he got 2 toys each from his mom and dad, then that is 4 more toys. 5 + 4 = 9. The "
     "answer is 9."},
    {"There were nine computers in the server room. Five more computers were installed each day, from monday to "
     "thursday. How many computers are now in the server room?",
     "There were originally 9 computers. For each of 4 days, 5 more computers were added. So 5 * 4 = 20 computers were "
     "added. 9 + 20 is 29. The answer is 29."},
    {"Michael had 58 golf balls. On tuesday, he lost 23 golf balls. On wednesday, he lost 2 more. How many golf balls "
     "did he have at the end of wednesday?",
     "Michael started with 58 golf balls. After losing 23 on tuesday, he had 58 - 23 = 35. After losing 2 more, he had "
     "35 - 2 = 33 golf balls. The answer is 33."},
    {"Olivia has $23. She bought five bagels for $3 each. How much money does she have left?",
     "Olivia had 23 dollars. 5 bagels for 3 dollars each will be 5 x 3 = 15 dollars. So she has 23 - 15 dollars left. "
     "23 - 15 is 8. The answer is 8."},
};
static const char *const stops[] = {"Q:", "</s>", "<|im_end|>"};

static const char *const files[] = {"gsm8k/test.jsonl", "grade_school_math/data/test.jsonl", "gsm8k/main/test.jsonl",
                                    NULL};
static const char where[] = "test.jsonl of openai/grade-school-math, or openai/gsm8k, main, as JSON lines";

typedef struct item {
    const char *question, *gold;
} item;
typedef struct data {
    item *item;
    int64_t max_new;
} data;

static bl_status read_item(const bl_json *j, bl_arena *a, item *out, bl_err *e)
{
    bl_status st = BL_OK;
    const char *question, *answer, *gold, *next;
    size_t n;

    BL_TRY(bl_json_get_str(j, "question", &question, e));
    BL_TRY(bl_json_get_str(j, "answer", &answer, e));
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
    out->question = bl_arena_str(a, question, strlen(question), e);
    out->gold = bl_arena_str(a, gold, n, e);
    if (!out->question || !out->gold) st = BL_E_NOMEM;
out:
    return st;
}

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = how->opts;
    bl_rows *r = NULL;
    item *list = NULL;
    size_t n = 0, cap = 0;
    const bl_json *j;
    data *d;

    BL_TRY(bl_data_find(how->dirs, files, where, out->arena, &out->path, NULL, e));
    BL_TRY(bl_rows_open_as(out->path, &(bl_rows_layout){.max_row = BL_ROW_MAX}, &r, e));
    while ((st = bl_rows_json(r, &j, e)) == BL_OK && j) {
        BL_TRY(bl_grow(&list, &cap, n + 1, sizeof *list, e));
        if ((st = read_item(j, out->arena, &list[n], e)) != BL_OK) {
            if (e && !strstr(e->text, bl_rows_where(r))) bl_within(e, "%s", bl_rows_where(r));
            goto out;
        }
        n++;
    }
    if (st != BL_OK) goto out;
    if (n == 0) {
        st = bl_fail(e, BL_E_FORMAT, "%s: no rows", out->path);
        goto out;
    }
    if (!(d = bl_alloc(out->arena, 1, sizeof *d, e)) || !(d->item = bl_alloc(out->arena, n, sizeof *d->item, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    memcpy(d->item, list, n * sizeof *list);
    d->max_new = o ? o->max_new : rows[0].def.i;
    out->rows = d;
    out->n = (int64_t)n;
    out->hash = bl_rows_hash(r);
out:
    bl_rows_close(r);
    bl_free(list);
    return st;
}

static bl_status ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e)
{
    const data *d = t->rows;
    (void)e;

    if (turn->step > 0) return bl_done(out);
    bl_prompt p = bl_prompt_new(turn->arena);
    for (size_t s = 0; s < BL_COUNT(shots); s++) {
        bl_say(&p, "Q: ");
        bl_say(&p, shots[s].question);
        bl_say(&p, "\nA: ");
        bl_say(&p, shots[s].answer);
        bl_say(&p, "\n\n");
    }
    bl_say(&p, "Q: ");
    bl_quote(&p, d->item[i].question);
    bl_say(&p, "\nA:");
    *out = (bl_request){
        .kind = BL_ASK_GENERATE, .prompt = p, .stop = stops, .n_stops = BL_COUNT(stops), .max_new = d->max_new};
    return BL_OK;
}

enum { STRICT, FLEXIBLE, NO_STRICT, NO_FLEXIBLE };

static bl_status mark(bl_task_data *t, int64_t i, const bl_turn *turn, bl_sample *out, bl_err *e)
{
    const item *q = &((const data *)t->rows)->item[i];
    const bl_reply *r = &turn->reply[0];
    const char *text = r->text ? r->text : "", *strict, *flexible;
    size_t n_strict = 0, n_flexible = 0;
    bool found_strict = bl_answer_strict(text, &strict, &n_strict),
         found_flexible = bl_answer_flexible(text, &flexible, &n_flexible);

    const double score[] = {[STRICT] = found_strict && bl_answer_equal(strict, n_strict, q->gold),
                            [FLEXIBLE] = found_flexible && bl_answer_equal(flexible, n_flexible, q->gold),
                            [NO_STRICT] = !found_strict,
                            [NO_FLEXIBLE] = !found_flexible};
    bl_status st;

    BL_TRY(bl_sample_scores(out, turn->arena, score, BL_COUNT(score), e));
    if (found_strict) BL_TRY(bl_sample_answer(out, turn->arena, strict, n_strict, e));
    else BL_TRY(bl_sample_answer(out, turn->arena, found_flexible ? flexible : NULL, n_flexible, e));
out:
    return st;
}

static const char *gold(bl_task_data *t, int64_t i) { return ((const data *)t->rows)->item[i].gold; }

static const bl_metric metrics[] = {
    {.name = "exact_match_strict", .direction = 1, .headline = true, .percent = true, .agg = BL_AGG_MEAN, .a = STRICT},
    {.name = "exact_match_flexible",
     .direction = 1,
     .headline = true,
     .percent = true,
     .agg = BL_AGG_MEAN,
     .a = FLEXIBLE},
    {.name = "no_answer_strict",
     .direction = -1,
     .headline = true,
     .percent = true,
     .agg = BL_AGG_MEAN,
     .a = NO_STRICT},
    {.name = "no_answer_flexible", .direction = -1, .percent = true, .agg = BL_AGG_MEAN, .a = NO_FLEXIBLE},
    {.name = "hit_limit",
     .direction = -1,
     .headline = true,
     .percent = true,
     .agg = BL_AGG_FLAG_SHARE,
     .a = BL_SAMPLE_HIT_LIMIT},
};

static const char *const names[] = {"gsm8k:cot8", NULL};
static const char *const of[] = {"test"};
static const int examples[] = {8};

const bl_task bl_task_gsm8k = {
    .names = names,
    .splits = of,
    .shots = examples,
    .version = 1,
    .title = "GSM8K",
    .cite = "Cobbe et al. 2021; Wei et al. 2022",
    .doc = "Grade-school word problems with eight worked examples in front; test split, 1,319 items. Strict and "
           "flexible extraction as lm-evaluation-harness gsm8k_cot.",
    .metrics = metrics,
    .n_metrics = BL_COUNT(metrics),
    .opts = rows,
    .opts_size = sizeof(opts),
    .load = load,
    .ask = ask,
    .mark = mark,
    .gold = gold,
};
