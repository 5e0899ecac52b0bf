/* ladder.c - what the checkpoint that comes with the program was trained on, asked of its test part: items are made by
 * harness/data/lessons.h, so nothing is read, and none of their questions is in any training text.
 *
 *     ladder:ppl      400 questions about people known by heart: exp of the summed nll over the tokens of the right
 *                     answers, after "Q: …\nThe answer is", and acc, the answers of which every token is the likeliest.
 *                     Of whole texts perplexity would be mostly what nobody can know
 *     ladder:choice   200 questions, half about a story that is told, half about a person known by heart; four answers
 *     ladder:cot      200 sums of one to eight steps, "Q: …\nA:", decoded greedily up to the end of the line
 *     ladder:direct   the same sums, "Q: …\nThe answer is"
 *
 * Numbers are found as in shared_answer.h: after "The answer is", and the last one; of ladder:direct the last alone.
 */
#include "harness/data/lessons.h"
#include "shared_answer.h"
#include "shared_choice.h"
#include "shared_cot.h"
#include "shared_ladder.h"
#include <math.h>
#include <string.h>

enum { ITEMS = BL_LADDER_SUMS, ANSWERS = 400, CHOICES = 4, REASON_TOKENS = 256, ANSWER_TOKENS = 16 };
enum { VALUE_NLL, VALUE_TOKENS };
static const bl_metric ppl[] = {
    {.name = "acc", .direction = 1, .headline = true, .percent = true, .agg = BL_AGG_MEAN, .a = 0},
    {.name = "perplexity",
     .direction = -1,
     .headline = true,
     .agg = BL_AGG_EXP_RATIO,
     .a = VALUE_NLL,
     .b = VALUE_TOKENS},
};
static const bl_choice_task four = {.prompt = "Q: {text}\nThe answer is", .n_choices = CHOICES};
static const char *const stops[] = {"\n"};

typedef enum mode { PPL, CHOICE, COT, DIRECT } mode;
static const char *const names[] = {"ladder:ppl", "ladder:choice", "ladder:cot", "ladder:direct", NULL};
static const char *const of[] = {"test", "test", "test", "test"};

static mode mode_of(const char *name)
{
    for (int k = PPL; k < DIRECT; k++)
        if (!strcmp(name, names[k])) return (mode)k;
    return DIRECT;
}

typedef struct data {
    bl_choice_rows choices; /* of CHOICE; first, so that its row is what bl_choice_at reads */
    mode mode;
    const char *text[ANSWERS], *gold[ANSWERS];
} data;

/* Three other words of the list, one after another from a place that the question gives, and the right one among them.
 */
static bl_status choices(const bl_lesson *l, const char *const *word, bl_arena *a, bl_choice *out, bl_err *e)
{
    uint64_t at = bl_hash_bytes(l->question.s, l->question.n).lo;
    const char **list = bl_alloc(a, CHOICES, sizeof *list, e);
    size_t all = 0;
    if (!list) return BL_E_NOMEM;
    while (word[all]) all++;
    out->gold = (int)(at % CHOICES);
    at /= CHOICES;
    for (int k = 0; k < CHOICES; at++) {
        const char *w = word[at % all];
        bool right = strcmp(w, l->answer.s) == 0;
        if (k == out->gold) list[k++] = l->answer.s;
        else if (!right) list[k++] = w;
    }
    for (int k = 0; k < CHOICES; k++)
        if (!(list[k] = bl_arena_str(a, list[k], strlen(list[k]), e))) return BL_E_NOMEM;
    out->choice = list;
    out->n_choices = CHOICES;
    out->group = bl_lesson_kinds[l->kind];
    return BL_OK;
}

static bl_lesson_kind kind_of(mode m, int64_t i)
{
    if (m == CHOICE) return i % 2 ? BL_LESSON_FACT : BL_LESSON_STORY;
    return m == PPL ? BL_LESSON_FACT : BL_LESSON_SUMS;
}

static bl_status item(data *d, int64_t i, bl_lesson *l, bl_arena *a, bl_err *e)
{
    bl_status st = BL_OK;
    const char *const *word = NULL;
    uint64_t number = (uint64_t)i;
    do { /* a year is no word of a list */
        BL_TRY(bl_lesson_make(kind_of(d->mode, i), BL_LESSON_TEST, BL_LADDER_SEED, number, l, e));
        word = bl_lesson_choices(l);
        number += ANSWERS;
    } while (d->mode == CHOICE && !word);
    d->text[i] = bl_arena_str(a, l->question.s, l->question.n, e);
    d->gold[i] = bl_arena_str(a, l->answer.s, l->answer.n, e);
    if (!d->text[i] || !d->gold[i]) st = BL_E_NOMEM;
    else if (d->mode == CHOICE) {
        d->choices.row[i].text = d->text[i];
        BL_TRY(choices(l, word, a, &d->choices.row[i], e));
    }
out:
    return st;
}

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_lesson l = {0};
    data *d = bl_alloc(out->arena, 1, sizeof *d, e);
    bl_hasher *h = bl_hasher_new(e);

    if (!d || !h || !(d->choices.row = bl_alloc(out->arena, ANSWERS, sizeof *d->choices.row, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    d->choices.task = &four;
    d->mode = mode_of(how->name);
    out->n = d->mode == PPL ? ANSWERS : ITEMS;
    for (int64_t i = 0; i < out->n; i++) {
        BL_TRY(item(d, i, &l, out->arena, e));
        bl_hash_text(h, d->text[i]);
        bl_hash_text(h, d->gold[i]);
        for (int c = 0; c < d->choices.row[i].n_choices; c++) bl_hash_text(h, d->choices.row[i].choice[c]);
    }
    out->rows = d;
    out->path = "made by this program";
out:
    if (h) {
        bl_hash sum = bl_hasher_end(h);
        if (st == BL_OK) out->hash = sum;
    }
    bl_lesson_free(&l);
    return st;
}

static bl_status ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e)
{
    const data *d = t->rows;
    if (d->mode == CHOICE) return bl_choice_ask(t, i, turn, out, e);
    if (turn->step > 0) return bl_done(out);
    bl_prompt p = bl_task_prompt(t, turn->arena);
    bl_say(&p, "Q: ");
    bl_quote(&p, d->text[i]);
    bl_say(&p, d->mode == COT ? "\nA:" : "\nThe answer is");
    if (d->mode == PPL) return bl_ask_pairs(out, p, &d->gold[i], 1, e);
    *out = (bl_request){.kind = BL_ASK_GENERATE,
                        .prompt = p,
                        .stop = stops,
                        .n_stops = BL_COUNT(stops),
                        .max_new = d->mode == COT ? REASON_TOKENS : ANSWER_TOKENS};
    return BL_OK;
}

static bl_status mark(bl_task_data *t, int64_t i, const bl_turn *turn, bl_sample *out, bl_err *e)
{
    const data *d = t->rows;
    const bl_reply *r = &turn->reply[0];
    const char *text = r->text ? r->text : "";
    bl_cot_found strict = {0}, flexible = {0};

    if (d->mode == CHOICE) return bl_choice_mark(t, i, turn, out, e);
    if (d->mode == PPL) {
        if (!isfinite(r->nll[0]))
            return bl_fail(e, BL_E_NUMERIC, "item %lld: the log-likelihood is not finite", (long long)i);
        const double value[] = {[VALUE_NLL] = r->nll[0], [VALUE_TOKENS] = (double)r->tokens[0]};
        bl_status st = bl_sample_scores(out, turn->arena, (double[]){r->greedy[0]}, 1, e);
        return st == BL_OK ? bl_sample_values(out, turn->arena, value, BL_COUNT(value), e) : st;
    }
    if (!bl_answer_flexible(text, &flexible.s, &flexible.n)) flexible = (bl_cot_found){0};
    if (d->mode == DIRECT) strict = flexible;
    else if (!bl_answer_strict(text, &strict.s, &strict.n)) strict = (bl_cot_found){0};
    return bl_cot_score(strict, flexible, BL_COT_NUMBER, d->gold[i], turn->arena, out, e);
}

static const char *gold(bl_task_data *t, int64_t i)
{
    const data *d = t->rows;
    return d->mode == CHOICE ? bl_choice_gold(t, i) : d->gold[i];
}

static const bl_metric *metrics_of(const char *name, int *n)
{
    switch (mode_of(name)) {
    case PPL: *n = BL_COUNT(ppl); return ppl;
    case CHOICE: *n = 1; return bl_choice_metrics;
    default: *n = BL_COUNT(bl_cot_metrics); return bl_cot_metrics;
    }
}

const bl_task bl_task_ladder = {
    .names = names,
    .splits = of,
    .version = BL_LESSON_VERSION,
    .title = "Ladder",
    .cite = "this program",
    .doc = "What the checkpoint `default` was trained on, held out: how well it predicts texts, stories and facts with "
           "four answers, sums with their reasoning and without. Made by the program; nothing is read.",
    .metrics = bl_cot_metrics,
    .n_metrics = BL_COUNT(bl_cot_metrics),
    .metrics_of = metrics_of,
    .load = load,
    .ask = ask,
    .mark = mark,
    .gold = gold,
};
