/* verb_verdicts.c - what a judge said about pairs of answers, as strengths of those who answered. */
#include "session.h"
#include "harness/data/reader.h"
#include "harness/data/seen.h"
#include "kernels/base/json.h"
#include "results/strength.h"
#include <stdlib.h>
#include <string.h>

typedef struct opts {
    bl_cli_common common;
    int64_t draws, seed;
} opts;
static const bl_opt rows[] = {{"draws", BL_OPT_INT, .min = 0, .max = 100000, .def.i = 1000, .at = offsetof(opts, draws),
                               .arg = "N", .doc = "draws of the questions with replacement, for the interval"},
                              {"seed", BL_OPT_INT, .min = 0, .max = 9007199254740992.0, .at = offsetof(opts, seed),
                               .arg = "N", .doc = "of the draws"},
                              BL_COMMON_ROWS(opts, common),
                              {0}};

typedef struct verdicts {
    bl_arena *arena;
    const char **player;
    size_t n_players, cap_players;
    bl_match *match;
    size_t n, cap;
    int64_t left_out;
    bl_seen seen;
    const char **place; /* [n_places] of every verdict, the k-th that was seen has "line" k + 1 */
    size_t n_places, cap_places;
} verdicts;

static bl_status player_of(verdicts *v, const char *name, int *out, bl_err *e)
{
    bl_status st = BL_OK;
    size_t k = 0;

    while (k < v->n_players && strcmp(v->player[k], name) != 0) k++;
    if (k == v->n_players) {
        BL_TRY(bl_grow(&v->player, &v->cap_players, k + 1, sizeof *v->player, e));
        if (!(v->player[k] = bl_arena_str(v->arena, name, strlen(name), e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        v->n_players++;
    }
    *out = (int)k;
out:
    return st;
}

/* 1: model_1, 0: model_2, 0.5: tie, -1: the judge failed. */
static bl_status winner(const bl_json *row, const char *key, double *out, bl_err *e)
{
    static const struct {
        const char *says;
        double score;
    } known[] = {{"model_1", 1}, {"model_2", 0}, {"tie", 0.5}, {"error", -1}};
    const char *s;
    bl_status st = bl_json_get_str(row, key, &s, e);

    if (st != BL_OK) return st;
    for (size_t i = 0; i < BL_COUNT(known); i++)
        if (!strcmp(known[i].says, s)) {
            *out = known[i].score;
            return BL_OK;
        }
    return bl_fail(e, BL_E_FORMAT, "'%s' is \"%s\", expected model_1, model_2, tie or error", key, s);
}

/* Who judged, as text: FastChat writes the model and the name of its prompt, in an array. */
static bl_status judge_of(const bl_json *row, bl_text *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *j = bl_json_get(row, "judge"), *one;
    const char *s;

    if (bl_json_kind(j) == BL_JSON_STRING) {
        BL_TRY(bl_json_str(j, &s, e));
        bl_text_addf(out, "\n%s", s);
    }
    for (one = bl_json_kind(j) == BL_JSON_ARRAY ? bl_json_first(j) : NULL; one; one = bl_json_next(one)) {
        BL_TRY(bl_json_str(one, &s, e));
        bl_text_addf(out, "\n%s", s);
    }
out:
    return st;
}

/* One judge says once what it finds of two models, a question and a turn, in whichever order they stand; a file that a
 * judge was run on again has it twice. */
static bl_status once(verdicts *v, const bl_rows *r, const bl_json *row, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text key = {0};
    const char *first, *second, *place = bl_rows_where(r);
    int64_t item, turn = 1, before; /* a file without turns is of the first */

    BL_TRY(bl_json_get_int(row, "question_id", &item, e));
    BL_TRY(bl_json_get_str(row, "model_1", &first, e));
    BL_TRY(bl_json_get_str(row, "model_2", &second, e));
    if (bl_json_get(row, "turn")) BL_TRY(bl_json_get_int(row, "turn", &turn, e));
    bool turned = strcmp(first, second) > 0;
    bl_text_addf(&key, "%lld %lld\n%s\n%s", (long long)item, (long long)turn, turned ? second : first,
                 turned ? first : second);
    BL_TRY(judge_of(row, &key, e));
    BL_TRY(bl_text_check(&key, e));
    BL_TRY(bl_seen_add(&v->seen, key.s, (int64_t)v->n_places + 1, &before, e));
    if (before) {
        st = bl_fail(e, BL_E_FORMAT,
                     "question_id %lld, turn %lld of \"%s\" and \"%s\" comes twice, first in %s; expected one verdict "
                     "of a judge",
                     (long long)item, (long long)turn, first, second, v->place[before - 1]);
        goto out;
    }
    BL_TRY(bl_grow(&v->place, &v->cap_places, v->n_places + 1, sizeof *v->place, e));
    if (!(v->place[v->n_places] = bl_arena_str(v->arena, place, strlen(place), e))) st = BL_E_NOMEM;
    else v->n_places++;
out:
    bl_text_free(&key);
    return st;
}

/* Both orders have to agree, else it is a tie (FastChat, llm_judge/show_result.py). */
static bl_status add(verdicts *v, const bl_json *row, bl_err *e)
{
    bl_status st = BL_OK;
    const char *first, *second;
    bl_match m = {0};
    double one, two;

    BL_TRY(bl_json_get_int(row, "question_id", &m.item, e));
    BL_TRY(bl_json_get_str(row, "model_1", &first, e));
    BL_TRY(bl_json_get_str(row, "model_2", &second, e));
    BL_TRY(winner(row, "g1_winner", &one, e));
    BL_TRY(winner(row, "g2_winner", &two, e));
    if (!strcmp(first, second)) {
        st = bl_fail(e, BL_E_FORMAT, "model_1 and model_2 are both \"%s\"", first);
        goto out;
    }
    if (one < 0 || two < 0) {
        v->left_out++;
        goto out;
    }
    BL_TRY(player_of(v, first, &m.a, e));
    BL_TRY(player_of(v, second, &m.b, e));
    m.score = one == two ? one : 0.5;
    BL_TRY(bl_grow(&v->match, &v->cap, v->n + 1, sizeof *v->match, e));
    v->match[v->n++] = m;
out:
    return st;
}

static bl_status read_file(verdicts *v, const char *path, bl_err *e)
{
    bl_status st = BL_OK;
    bl_rows *r = NULL;
    const bl_json *j;

    BL_TRY(bl_rows_open_as(path, &(bl_rows_layout){.max_row = BL_ROW_MAX}, &r, e));
    while ((st = bl_rows_json(r, &j, e)) == BL_OK && j) {
        if (bl_json_kind(j) != BL_JSON_OBJECT) st = bl_fail(e, BL_E_FORMAT, "expected an object");
        else if ((st = once(v, r, j, e)) == BL_OK) st = add(v, j, e);
        if (bl_rows_within(r, st, e) != BL_OK) goto out;
    }
out:
    bl_rows_close(r);
    return st;
}

static void print_json(const verdicts *v, const bl_strength *s, const size_t *order, bl_json_out *j)
{
    bl_json_object(j, NULL);
    bl_json_lines(j, "models");
    for (size_t i = 0; i < v->n_players; i++) {
        const bl_strength *x = &s[order[i]];
        bl_json_object(j, NULL);
        bl_json_add_str(j, "model", v->player[order[i]]);
        bl_json_add_real(j, "rating", x->rating);
        bl_json_add_real(j, "low", x->low);
        bl_json_add_real(j, "high", x->high);
        bl_json_add_int(j, "won", x->won);
        bl_json_add_int(j, "lost", x->lost);
        bl_json_add_int(j, "tied", x->tied);
        bl_json_end(j);
    }
    bl_json_end(j);
    bl_json_add_int(j, "left_out", v->left_out);
    bl_json_end(j);
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    verdicts v = {0};
    bl_strength *s = NULL;
    size_t *order = NULL;
    bl_text t = {0};
    bl_json_out j = {.t = &t};
    (void)p;
    (void)exit_code;

    BL_TRY(bl_arena_new(&v.arena, e));
    for (size_t i = 0; i < (size_t)args->n_pos; i++) BL_TRY(read_file(&v, args->pos[i], e));
    if (!v.n) {
        st = bl_fail(e, BL_E_FORMAT, "%s: no verdict that counts", args->pos[0]);
        goto out;
    }
    if (!(s = bl_new(v.n_players, sizeof *s, e)) || !(order = bl_new(v.n_players, sizeof *order, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_strengths(v.match, v.n, (int)v.n_players, (int)o->draws, (uint64_t)o->seed, s, e));
    for (size_t i = 0; i < v.n_players; i++) {
        size_t k = i;
        for (; k > 0 && s[order[k - 1]].rating < s[i].rating; k--) order[k] = order[k - 1];
        order[k] = i;
    }
    if (o->common.json) {
        print_json(&v, s, order, &j);
        bl_text_add(&t, "\n");
    } else {
        bl_text_addf(&t, "%7s %15s %6s %6s %6s  model\n", "rating", "95% interval", "won", "lost", "tied");
        for (size_t i = 0; i < v.n_players; i++) {
            const bl_strength *x = &s[order[i]];
            bl_text_addf(&t, "%7.0f %6.0f to %5.0f %6lld %6lld %6lld  %s\n", x->rating, x->low, x->high,
                         (long long)x->won, (long long)x->lost, (long long)x->tied, v.player[order[i]]);
        }
        if (v.left_out) bl_text_addf(&t, "left out, the judge failed: %lld\n", (long long)v.left_out);
    }
    BL_TRY(bl_output(NULL, &t, e));
out:
    bl_free(s);
    bl_free(order);
    bl_free(v.player);
    bl_free(v.match);
    bl_free(v.place);
    bl_seen_free(&v.seen);
    bl_arena_free(v.arena);
    bl_text_free(&t);
    return st;
}

const bl_verb bl_verb_verdicts = {
    .name = "verdicts",
    .args = "FILE...",
    .line = "strengths out of a judge's verdicts on pairs of answers",
    .doc =
        "Reads verdicts on pairs of answers as FastChat's llm_judge writes them (JSON lines: question_id, model_1, "
        "model_2, g1_winner, g2_winner) and prints the strength of every model, by Bradley and Terry: 400 points are "
        "odds of ten to one, the mean is 1000. A verdict that differs between the two orders is a tie; one that comes "
        "twice (question, models, turn, judge) is "
        "refused.",
    .example = "bitladder verdicts gpt-4_pair.jsonl",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 1,
    .max_args = -1,
    .run = run,
};
