/* sciq.c - science exam questions with four choices (Welbl et al. 2017, CC BY-NC 3.0), answered without a passage, with
 * their own, and with the one that retrieval finds; validation split.
 *
 *     A frameshift mutation is a deletion or insertion of one or more nucleotides …
 *     Question: A frameshift mutation is a deletion or insertion of one or more of what …?
 *     Answer: nucleotides
 *
 * Each choice is scored after "Answer:", with its leading space, the right one last, as lm-evaluation-harness sciq has
 * it (there on the test split).
 *     sciq:own       the question's own passage in front; where it has none, the line is empty
 *     sciq:closed    no passage, and no line for one
 *     sciq:bm25      the passage that BM25 ranks first for the question, among the passages of all questions, each once
 *                    (shared_bm25.h)
 *
 *     acc, acc_norm  lowest summed negative log-likelihood; the same divided by the characters of the choice
 * and for sciq:bm25, of the questions that have a passage of their own, where it is ranked:
 *     recall@1, @5   among the first, the first five
 *     mrr            mean of 1 / place
 *     ndcg@10        mean of 1 / log2(1 + place), 0 after the tenth
 * Values of a sample after those of the choices: the place (0: none of its own), and the row that the passage is from.
 */
#include "shared_bm25.h"
#include "shared_choice.h"
#include "kernels/base/hash.h"
#include <math.h>
#include <string.h>

static const char *const files[] = {"rag/sciq_validation.jsonl", "sciq/validation.jsonl", "SciQ dataset-2 3/valid.json",
                                    "sciq/valid.json", NULL};
static const char where[] =
    "valid.json of SciQ.zip (allenai.org/data/sciq), or allenai/sciq, validation, as JSON lines";

static bl_status read_row(const bl_json *j, bl_arena *a, bl_choice *out, bl_err *e)
{
    static const char *const keys[] = {"distractor1", "distractor2", "distractor3", "correct_answer"};
    bl_status st = BL_OK;
    const char *passage;

    BL_TRY(bl_choice_text(j, "question", a, &out->text, e));
    BL_TRY(bl_choice_keys(j, keys, 4, a, out, e));
    BL_TRY(bl_json_get_str(j, "support", &passage, e));
    if (!(out->more = bl_arena_str(a, passage, strlen(passage), e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_choice_strip(&out->more, a, e)); /* empty: it has none */
    out->gold = 3;
out:
    return st;
}

static const bl_choice_task with = {
    .read = read_row, .prompt = "{more}\nQuestion: {text}\nAnswer:", .by_length = true, .n_choices = 4};
static const bl_choice_task without = {
    .read = read_row, .prompt = "Question: {text}\nAnswer:", .by_length = true, .n_choices = 4};

typedef struct found {
    int64_t place; /* of the own passage, from 1; 0: it has none */
    int64_t from;  /* row that the first passage is of */
} found;
typedef struct data {
    bl_choice_rows rows; /* first: bl_choice_at */
    found *found;        /* sciq:bm25 */
} data;

/* Passages that differ, and the row that each is first of. */
typedef struct passages {
    const char **text;
    int64_t *row, *of; /* of[i]: the passage of row i; -1: none */
    int64_t n;
} passages;

static bl_status distinct(const bl_choice *row, int64_t n, bl_arena *a, passages *out, bl_err *e)
{
    passages p = {.text = bl_alloc(a, (size_t)n, sizeof *p.text, e),
                  .row = bl_alloc(a, (size_t)n, sizeof *p.row, e),
                  .of = bl_alloc(a, (size_t)n, sizeof *p.of, e)};
    bl_hash *hash = bl_alloc(a, (size_t)n, sizeof *hash, e);

    if (!p.text || !p.row || !p.of || !hash) return BL_E_NOMEM;
    for (int64_t i = 0; i < n; i++) {
        bl_hash h = bl_hash_bytes(row[i].more, strlen(row[i].more));
        int64_t k = 0;
        p.of[i] = -1;
        if (!*row[i].more) continue;
        while (k < p.n && !bl_hash_equal(hash[k], h)) k++;
        p.of[i] = k;
        if (k < p.n) continue;
        hash[k] = h;
        p.text[k] = row[i].more;
        p.row[k] = i;
        p.n++;
    }
    *out = p;
    return BL_OK;
}

static bl_status retrieve(data *d, const bl_task_data *t, bl_err *e)
{
    bl_status st = BL_OK;
    bl_bm25 *index;
    passages p;
    double *score;

    BL_TRY(distinct(d->rows.row, t->n, t->arena, &p, e));
    if (!p.n) {
        st = bl_fail(e, BL_E_FORMAT, "%s: every 'support' is empty, expected passages to retrieve", t->path);
        goto out;
    }
    BL_TRY(bl_bm25_new(p.text, p.n, t->arena, &index, e));
    if (!(score = bl_alloc(t->arena, (size_t)p.n, sizeof *score, e)) ||
        !(d->found = bl_alloc(t->arena, (size_t)t->n, sizeof *d->found, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < t->n; i++) {
        bl_bm25_scores(index, d->rows.row[i].text, score);
        d->found[i] = (found){.place = p.of[i] < 0 ? 0 : bl_rank_of(score, p.n, p.of[i]),
                              .from = p.row[bl_rank_first(score, p.n)]};
    }
out:
    return st;
}

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    bl_status st = BL_OK;
    data *d = bl_alloc(out->arena, 1, sizeof *d, e);

    if (!d) return BL_E_NOMEM;
    BL_TRY(bl_choice_load(how, files, where, strcmp(how->name, "sciq:closed") ? &with : &without, out, e));
    d->rows = *(bl_choice_rows *)out->rows;
    if (!strcmp(how->name, "sciq:bm25")) BL_TRY(retrieve(d, out, e));
    out->rows = d;
out:
    return st;
}

static bl_status ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e)
{
    const data *d = t->rows;
    bl_choice q = d->rows.row[i];

    if (turn->step > 0) return bl_done(out);
    if (d->found) q.more = d->rows.row[d->found[i].from].more;
    bl_prompt p = bl_prompt_new(turn->arena);
    bl_choice_say(&p, d->rows.task, &q);
    return bl_choice_pairs(out, p, d->rows.task, &q, e);
}

enum { ACC, ACC_NORM, AT_1, AT_5, MRR, NDCG, HAS_PASSAGE, N_SCORES };
static bl_status mark(bl_task_data *t, int64_t i, const bl_turn *turn, bl_sample *out, bl_err *e)
{
    const data *d = t->rows;
    bl_status st = BL_OK;
    double *value;
    int n;

    BL_TRY(bl_choice_mark(t, i, turn, out, e));
    if (!d->found) goto out;
    n = out->n_values;
    double place = (double)d->found[i].place;
    const double score[N_SCORES] = {
        [ACC] = out->score[0],         [ACC_NORM] = out->score[1],
        [AT_1] = place == 1,           [AT_5] = place >= 1 && place <= 5,
        [MRR] = place ? 1 / place : 0, [NDCG] = place >= 1 && place <= 10 ? 1 / log2(1 + place) : 0,
        [HAS_PASSAGE] = place > 0};
    if (!(value = bl_alloc(turn->arena, (size_t)n + 2, sizeof *value, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    memcpy(value, out->value, (size_t)n * sizeof *value);
    value[n] = place;
    value[n + 1] = (double)d->found[i].from;
    BL_TRY(bl_sample_values(out, turn->arena, value, n + 2, e));
    BL_TRY(bl_sample_scores(out, turn->arena, score, N_SCORES, e));
out:
    return st;
}

static const bl_metric ranked[] = {
    {.name = "acc", .direction = 1, .headline = true, .percent = true, .agg = BL_AGG_MEAN, .a = ACC},
    {.name = "acc_norm", .direction = 1, .headline = true, .percent = true, .agg = BL_AGG_MEAN, .a = ACC_NORM},
    {.name = "recall@1", .direction = 1, .percent = true, .agg = BL_AGG_MEAN, .a = AT_1, .given = HAS_PASSAGE + 1},
    {.name = "recall@5", .direction = 1, .percent = true, .agg = BL_AGG_MEAN, .a = AT_5, .given = HAS_PASSAGE + 1},
    {.name = "mrr", .direction = 1, .agg = BL_AGG_MEAN, .a = MRR, .given = HAS_PASSAGE + 1},
    {.name = "ndcg@10", .direction = 1, .agg = BL_AGG_MEAN, .a = NDCG, .given = HAS_PASSAGE + 1},
};
static const bl_metric *metrics_of(const char *name, int *n)
{
    bool bm25 = !strcmp(name, "sciq:bm25");
    *n = bm25 ? (int)BL_COUNT(ranked) : 2;
    return bm25 ? ranked : bl_choice_metrics;
}

static const char *const names[] = {"sciq:own", "sciq:closed", "sciq:bm25", NULL};
static const char *const of[] = {"validation", "validation", "validation"};

const bl_task bl_task_sciq = {
    .names = names,
    .splits = of,
    .version = 1,
    .title = "SciQ",
    .cite = "Welbl et al. 2017; Robertson and Walker 1994",
    .doc = "Science questions with four choices, without a passage, with their own, and with the one that BM25 finds; "
           "validation split, 1,000 items.",
    .metrics_of = metrics_of,
    .load = load,
    .ask = ask,
    .mark = mark,
    .gold = bl_choice_gold,
};
