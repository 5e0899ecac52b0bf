/* faq.c - answers out of a store of questions that were answered before, and a judge that chooses among them (Rangan
 * and Yin 2024, arXiv 2402.17081); their corpus of youth shelters, MIT.
 *
 *     Based on the context: YSA is located in Berkeley, California.
 *     …
 *     answer the user question: Where can I find YSA?
 *     Answer:
 *
 * The context is the answers of the five stored questions that are nearest to the user's:
 *     faq:bm25       by the words of the questions (shared_bm25.h)
 *     faq:dense      by the cosine of the vectors of the model that is asked, as sciq:dense
 *     faq:encoder    by that of a text encoder's, as sciq:encoder
 *     faq:closed     there is none, and no line for it
 * The corpus is 131 files of reworded questions. Files 10, 20, … (in their order) are asked, files 5, 15, … are the
 * users' questions of a feedback round (feedback:bm25, …), all others are the store, but for questions that are asked
 * word for word. What was rated before (bitladder samples --format feedback) joins the store where ysa_feedback.jsonl
 * is beside the corpus. Paper and programs leave open how a corpus is split and what the judge's numbers are compared
 * with; this is our own. The line "Answer:" is not in the authors' prompt: models that are not tuned go on with it.
 *
 * Replies are greedy and end with the line. Candidates are the five answers of the store, the answer with context, and
 * that without. The judge takes the largest Quantized Influence Measure of question and candidate, of 2, 3 or 16
 * levels, or the largest cosine; a candidate of three characters or fewer has 0, the first of equal ones is taken.
 * Vectors are those of the retrieval; with faq:bm25 the model's own. token_f1, exact    of the answer with context
 * (closed: without) and the right one (shared_words.h) f1_closed          of the answer without context f1_qim2, _qim3,
 * _qim16, _cosine   of the candidate that is chosen f1_first, _random, _oracle        of the nearest stored answer, of
 * one drawn at random, of the best one Values of a sample: the candidate that each of the first four chose, that was
 * drawn, and that is best.
 */
#include "harness/data/pytext.h"
#include "kernels/base/rng.h"
#include "kernels/base/utf8.h"
#include "shared_bm25.h"
#include "shared_passages.h"
#include "shared_words.h"
#include <math.h>
#include <string.h>

enum { CLOSED, BM25, DENSE, ENCODER };
enum { CONTEXT = 5, CANDIDATES = CONTEXT + 2, SHORT = 3, JUDGES = BL_NEAR_RULES + 1 };

typedef struct opts {
    int64_t max_new;
} opts;
static const bl_opt rows[] = {{"max-new", BL_OPT_INT, .min = 1, .max = 1024, .def.i = 48, .at = offsetof(opts, max_new),
                               .arg = "N", .doc = "most new tokens of an answer"},
                              {0}};

typedef struct data {
    int kind;
    int64_t max_new;
    uint64_t seed;
    bl_answered *ask;                /* [n] */
    const char **question, **answer; /* of the store */
    int64_t n_store;
    bl_bm25 *index;
    bl_near_texts near;
} data;

static bl_status split(data *d, const bl_answered *all, int64_t n, const bl_answered *rated, int64_t n_rated,
                       bool feedback, bl_task_data *out, bl_err *e)
{
    enum { TEST = 9, USERS = 4, OF = 10 };
    int64_t file = -1, asked_n = 0, apart = 0;
    bl_answered *other = bl_alloc(out->arena, (size_t)n, sizeof *other, e);

    if (!other || !(d->ask = bl_alloc(out->arena, (size_t)n, sizeof *d->ask, e)) ||
        !(d->question = bl_alloc(out->arena, (size_t)(n + n_rated), sizeof *d->question, e)) ||
        !(d->answer = bl_alloc(out->arena, (size_t)(n + n_rated), sizeof *d->answer, e)))
        return BL_E_NOMEM;
    for (int64_t i = 0; i < n; i++) {
        if (i == 0 || strcmp(all[i].file, all[i - 1].file) != 0) file++;
        int part = (int)(file % OF);
        if (part == (feedback ? USERS : TEST)) d->ask[asked_n++] = all[i];
        else if (part == (feedback ? TEST : USERS)) other[apart++] = all[i];
    }
    file = -1;
    for (int64_t i = 0; i < n; i++) {
        if (i == 0 || strcmp(all[i].file, all[i - 1].file) != 0) file++;
        if (file % OF == TEST || file % OF == USERS || bl_answered_has(d->ask, asked_n, all[i].question) ||
            bl_answered_has(other, apart, all[i].question))
            continue;
        d->question[d->n_store] = all[i].question;
        d->answer[d->n_store++] = all[i].answer;
    }
    for (int64_t i = 0; i < n_rated; i++) {
        if (bl_answered_has(d->ask, asked_n, rated[i].question)) continue;
        d->question[d->n_store] = rated[i].question;
        d->answer[d->n_store++] = rated[i].answer;
    }
    out->n = asked_n;
    if (!asked_n || d->n_store < CONTEXT)
        return bl_fail(
            e, BL_E_FORMAT,
            "%s: %lld questions of %lld files to ask and %lld to answer from, expected at least 10 files and "
            "%d answers",
            out->path, (long long)asked_n, (long long)file + 1, (long long)d->n_store, CONTEXT);
    return BL_OK;
}

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    static const char *const files[] = {"rag/ysa_qa.jsonl", "ysa_qa.jsonl", NULL};
    static const char *const more[] = {"rag/ysa_feedback.jsonl", "ysa_feedback.jsonl", NULL};
    static const char *const endings[] = {"closed", "bm25", "dense", "encoder"};
    bl_status st = BL_OK;
    data *d = bl_alloc(out->arena, 1, sizeof *d, e);
    const char *beside = NULL;
    bl_err none = {0};
    bl_answered *all, *rated = NULL;
    int64_t n, n_rated = 0;
    bl_hash hash[2] = {{0}};

    if (!d) return BL_E_NOMEM;
    while (strcmp(strchr(how->name, ':') + 1, endings[d->kind])) d->kind++;
    d->max_new = how->opts ? ((const opts *)how->opts)->max_new : rows[0].def.i;
    d->seed = how->seed;
    BL_TRY(bl_data_find(how->dirs, files, "{\"file\", \"question\", \"answer\"} of yiqiao-yin/keshav-ai-project",
                        out->arena, &out->path, NULL, e));
    BL_TRY(bl_answered_read(out->path, true, out->arena, &all, &n, &out->hash, e));
    if (bl_data_find(how->dirs, more, "", out->arena, &beside, NULL, &none) == BL_OK) {
        BL_TRY(bl_answered_read(beside, false, out->arena, &rated, &n_rated, &hash[1], e));
        hash[0] = out->hash;
        out->hash = bl_hash_bytes(hash, sizeof hash);
        out->note = "the store has rated answers of ysa_feedback.jsonl";
    }
    BL_TRY(split(d, all, n, rated, n_rated, !strncmp(how->name, "feedback:", 9), out, e));
    if (d->kind == BM25) BL_TRY(bl_bm25_new(d->question, d->n_store, out->arena, &d->index, e));
    d->near = (bl_near_texts){.text = d->question, .n = d->n_store, .kept = true};
    if (d->kind == ENCODER) BL_TRY(bl_passage_encoder(how->dirs, out->arena, &d->near.encoder, &out->hash, e));
    out->rows = d;
out:
    return st;
}

/* ---- asking: [NEAR to the store], answer without context, answer with it, NEAR to the candidates ---- */
static bl_status nearest(const data *d, int64_t i, const bl_turn *turn, int64_t top[CONTEXT], bl_err *e)
{
    double *score = bl_alloc(turn->arena, (size_t)d->n_store, sizeof *score, e);
    if (!score) return BL_E_NOMEM;
    if (d->kind == BM25) bl_bm25_scores(d->index, d->ask[i].question, score);
    else memcpy(score, turn->reply[0].cosine, (size_t)d->n_store * sizeof *score);
    for (int k = 0; k < CONTEXT; k++) {
        top[k] = bl_rank_first(score, d->n_store);
        score[top[k]] = -INFINITY;
    }
    return BL_OK;
}

/* Step of the answer without context. */
static int first_step(const data *d) { return d->kind >= DENSE; }

static const char *said(const bl_turn *turn, int step, bl_arena *a, bl_err *e)
{
    const char *s = turn->reply[step].text ? turn->reply[step].text : "";
    size_t n = strlen(s);
    bl_strip(&s, &n);
    return bl_arena_str(a, s, n, e);
}

static bl_status candidates(const data *d, int64_t i, const bl_turn *turn, const char *list[CANDIDATES], bl_err *e)
{
    int64_t top[CONTEXT];
    bl_status st = nearest(d, i, turn, top, e);
    if (st != BL_OK) return st;
    for (int k = 0; k < CONTEXT; k++) list[k] = d->answer[top[k]];
    list[CONTEXT] = said(turn, first_step(d) + 1, turn->arena, e);
    list[CONTEXT + 1] = said(turn, first_step(d), turn->arena, e);
    return list[CONTEXT] && list[CONTEXT + 1] ? BL_OK : BL_E_NOMEM;
}

static bl_status ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e)
{
    static const char *const stops[] = {"\n"};
    const data *d = t->rows;
    bl_prompt p = bl_task_prompt(t, turn->arena);
    int step = turn->step - first_step(d);
    int64_t top[CONTEXT];
    bl_status st = BL_OK;

    if (step > (d->kind == CLOSED ? 0 : 2)) return bl_done(out);
    if (step < 0) {
        *out = (bl_request){.kind = BL_ASK_NEAR, .query = d->ask[i].question, .near = &d->near};
        goto out;
    }
    if (step == 2) {
        bl_near_texts *judged = bl_alloc(turn->arena, 1, sizeof *judged, e);
        const char **list = bl_alloc(turn->arena, CANDIDATES, sizeof *list, e);
        if (!judged || !list) return BL_E_NOMEM;
        BL_TRY(candidates(d, i, turn, list, e));
        *judged = (bl_near_texts){.text = list, .n = CANDIDATES, .encoder = d->near.encoder};
        *out = (bl_request){.kind = BL_ASK_NEAR, .query = d->ask[i].question, .near = judged};
        goto out;
    }
    if (step == 1) {
        BL_TRY(nearest(d, i, turn, top, e));
        bl_say(&p, "Based on the context:");
        for (int k = 0; k < CONTEXT; k++) {
            bl_say(&p, k ? "\n" : " ");
            bl_quote(&p, d->answer[top[k]]);
        }
        bl_say(&p, "\n");
    }
    bl_say(&p, step ? "answer the user question: " : "Answer the user question: ");
    bl_quote(&p, d->ask[i].question);
    bl_say(&p, "\nAnswer:");
    *out = (bl_request){.kind = BL_ASK_GENERATE, .prompt = p, .stop = stops, .n_stops = 1, .max_new = d->max_new};
out:
    return st;
}

/* ---- marking ---- */
enum { F1, EXACT, CLOSED_F1, BY_JUDGE, FIRST = BY_JUDGE + JUDGES, RANDOM, ORACLE, N_SCORES };

static int best_of(const double *score, const char *const *text)
{
    int best = 0;
    double most = -INFINITY;
    for (int k = 0; k < CANDIDATES; k++) {
        double v = bl_utf8_count(text[k], strlen(text[k])) > SHORT ? score[k] : 0;
        if (v > most) {
            most = v;
            best = k;
        }
    }
    return best;
}

static bl_status mark(bl_task_data *t, int64_t i, const bl_turn *turn, bl_sample *out, bl_err *e)
{
    const data *d = t->rows;
    bl_status st = BL_OK;
    const char *list[CANDIDATES], *answer, *right = d->ask[i].answer;
    double f1[CANDIDATES], score[N_SCORES] = {0}, value[JUDGES + 2];
    int with = d->kind == CLOSED ? 0 : first_step(d) + 1, best = 0;
    bool same;

    if (!(answer = said(turn, with, turn->arena, e))) return BL_E_NOMEM;
    BL_TRY(bl_words_compare(answer, right, turn->arena, &score[F1], &same, e));
    score[EXACT] = same;
    BL_TRY(bl_sample_answer(out, turn->arena, answer, strlen(answer), e));
    if (d->kind != CLOSED) {
        const bl_reply *judged = &turn->reply[first_step(d) + 2];
        bl_rng r = bl_rng_at(d->seed, bl_rng_key("faq", (uint64_t)i), 0);
        BL_TRY(candidates(d, i, turn, list, e));
        for (int k = 0; k < CANDIDATES; k++) {
            BL_TRY(bl_words_compare(list[k], right, turn->arena, &f1[k], &same, e));
            if (f1[k] > f1[best]) best = k;
        }
        for (int k = 0; k < JUDGES; k++) value[k] = best_of(k < BL_NEAR_RULES ? judged->qim[k] : judged->cosine, list);
        value[JUDGES] = (double)bl_rng_below(&r, CANDIDATES);
        value[JUDGES + 1] = best;
        for (int k = 0; k < JUDGES; k++) score[BY_JUDGE + k] = f1[(int)value[k]];
        score[CLOSED_F1] = f1[CONTEXT + 1];
        score[FIRST] = f1[0];
        score[RANDOM] = f1[(int)value[JUDGES]];
        score[ORACLE] = f1[best];
        BL_TRY(bl_sample_values(out, turn->arena, value, JUDGES + 2, e));
    }
    BL_TRY(bl_sample_scores(out, turn->arena, score, d->kind == CLOSED ? CLOSED_F1 : N_SCORES, e));
out:
    return st;
}

static const char *gold(bl_task_data *t, int64_t i) { return ((const data *)t->rows)->ask[i].answer; }

#define METRIC(text, at)                                                                                               \
    {                                                                                                                  \
        .name = text, .direction = 1, .percent = true, .agg = BL_AGG_MEAN, .a = at                                     \
    }
static const bl_metric metrics[] = {
    {.name = "token_f1", .direction = 1, .headline = true, .percent = true, .agg = BL_AGG_MEAN, .a = F1},
    METRIC("exact", EXACT),
    METRIC("f1_closed", CLOSED_F1),
    METRIC("f1_qim2", BY_JUDGE),
    METRIC("f1_qim3", BY_JUDGE + 1),
    METRIC("f1_qim16", BY_JUDGE + 2),
    METRIC("f1_cosine", BY_JUDGE + 3),
    METRIC("f1_first", FIRST),
    METRIC("f1_random", RANDOM),
    METRIC("f1_oracle", ORACLE),
};
static const bl_metric *metrics_of(const char *name, int *n)
{
    *n = strstr(name, ":closed") ? 2 : (int)BL_COUNT(metrics);
    return metrics;
}

static const char *const names[] = {"faq:closed",     "faq:bm25",         "faq:dense",
                                    "faq:encoder",    "feedback:closed",  "feedback:bm25",
                                    "feedback:dense", "feedback:encoder", NULL};
static const char *const of[] = {"files 10, 20, ...", "files 10, 20, ...", "files 10, 20, ...", "files 10, 20, ...",
                                 "files 5, 15, ...",  "files 5, 15, ...",  "files 5, 15, ...",  "files 5, 15, ..."};

const bl_task bl_task_faq = {
    .names = names,
    .splits = of,
    .version = 1,
    .title = "FAQ with retrieval and a judge",
    .cite = "Rangan and Yin 2024",
    .doc = "Questions about youth shelters answered from the nearest of stored questions, and the candidate that the "
           "Quantized Influence Measure or the cosine chooses; feedback: the users' questions of a feedback round.",
    .metrics_of = metrics_of,
    .opts = rows,
    .opts_size = sizeof(opts),
    .load = load,
    .ask = ask,
    .mark = mark,
    .gold = gold,
};
