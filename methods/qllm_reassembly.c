/* qllm_reassembly.c - channels taken apart and put together, and the threshold that decides (QLLM, sections 4.1, 4.2).
 *
 *     T_j = ceil(m_j / theta) where the largest |x_j|, m_j, is above theta, else 1                        (equation 4)
 *
 * Every candidate is tried on the channels as they are: the pairs of least score become one, then outliers are copied.
 * What is used is made the other way around, as published: copies first, then pairs of the widened channels, of which
 * odd and even ones are others behind every copy. With an odd number of places the score of the last one leaves its own
 * sum out, as the published code does.
 */
#include "qllm.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- pairs ---- */

typedef struct scoring {
    const bl_qllm_seen *s;
    const int32_t *from, *copies;
    int64_t wide;
    float *scores;
} scoring;

static int64_t channel_of(const scoring *k, int64_t place) { return k->from ? k->from[place] : place; }
static bool is_copy(const scoring *k, int64_t channel) { return k->copies && k->copies[channel] > 1; }

static void score_row(void *ctx, int64_t i)
{
    const scoring *k = ctx;
    const bl_qllm_seen *s = k->s;
    const int64_t odd = k->wide / 2, a = channel_of(k, 2 * i);
    const float own = 2 * i + 1 < k->wide ? s->sum[a] : 0, *x = s->x + a * s->rows;
    for (int64_t j = 0; j < odd; j++) {
        const int64_t b = channel_of(k, 2 * j + 1);
        const float *y = s->x + b * s->rows;
        float part[8] = {0}, rest = 0;
        int64_t r = 0;
        if (is_copy(k, a) || is_copy(k, b)) {
            k->scores[i * odd + j] = FLT_MAX;
            continue;
        }
        for (; r + 8 <= s->rows; r += 8)
            for (int l = 0; l < 8; l++) part[l] += (x[r + l] - y[r + l]) * (x[r + l] - y[r + l]);
        for (; r < s->rows; r++) rest += (x[r] - y[r]) * (x[r] - y[r]);
        for (int l = 0; l < 8; l++) rest += part[l];
        const float score = (own + s->sum[b]) * sqrtf(rest);
        k->scores[i * odd + j] = score * score;
    }
}

bl_status bl_qllm_scores(bl_backend *be, const bl_qllm_seen *s, const int32_t *from, int64_t wide,
                         const int32_t *copies, float *scores, bl_err *e)
{
    scoring k = {s, from, copies, wide, scores};
    return be->ops->each(be, &(bl_each_args){.n = (wide + 1) / 2, .piece = score_row, .ctx = &k}, e);
}

typedef struct best {
    float score;
    int32_t even, odd; /* places */
} best;

static int by_score(const void *a, const void *b)
{
    const best *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? -1 : 1;
    return x->even < y->even ? -1 : 1;
}

/* into[] of the `merges` even places of least score, all others staying; copies [wide] or NULL, of the places: those
 * that are one stay. False where there are not so many. */
static bool pair(const float *scores, int64_t wide, const int32_t *copies, int64_t merges, best *room, int32_t *into)
{
    const int64_t even = (wide + 1) / 2, odd = wide / 2;
    for (int64_t i = 0; i < even; i++) {
        room[i] = (best){FLT_MAX, (int32_t)(2 * i), -1};
        for (int64_t j = 0; j < odd && !(copies && copies[2 * i] > 1); j++)
            if (scores[i * odd + j] < room[i].score && !(copies && copies[2 * j + 1] > 1)) {
                room[i].score = scores[i * odd + j];
                room[i].odd = (int32_t)(2 * j + 1);
            }
    }
    for (int64_t i = 0; i < wide; i++) into[i] = (int32_t)i;
    if (merges > even) return false;
    qsort(room, (size_t)even, sizeof *room, by_score);
    for (int64_t i = 0; i < merges; i++) {
        if (room[i].odd < 0) return false;
        into[room[i].even] = room[i].odd;
    }
    return true;
}

/* ---- places ---- */

static bl_status reassembly_new(bl_arena *a, int64_t n, int64_t most, bl_reassembly *k, bl_err *e)
{
    *k = (bl_reassembly){.n = n};
    if (!(k->copies = bl_alloc(a, (size_t)n, sizeof *k->copies, e)) ||
        !(k->from = bl_alloc(a, (size_t)most, sizeof *k->from, e)) ||
        !(k->into = bl_alloc(a, (size_t)most, sizeof *k->into, e)) ||
        !(k->to = bl_alloc(a, (size_t)most, sizeof *k->to, e)))
        return BL_E_NOMEM;
    return BL_OK;
}

/* The places of the copies. */
static void widen(bl_reassembly *k)
{
    k->wide = 0;
    for (int64_t j = 0; j < k->n; j++)
        for (int32_t c = 0; c < k->copies[j]; c++) {
            k->from[k->wide] = (int32_t)j;
            k->into[k->wide] = (int32_t)k->wide;
            k->wide++;
        }
}

/* Where places end: each at its own channel, further copies where those were that have joined others. */
static void settle(bl_reassembly *k)
{
    int64_t freed = 0; /* places up to here were looked at */
    for (int64_t p = 0; p < k->wide; p++) {
        if (k->into[p] != p) continue;
        k->to[p] = k->from[p];
        if (!p || k->from[p - 1] != k->from[p]) continue;
        while (k->into[freed] == freed) freed++; /* there are as many as further copies */
        k->to[p] = k->from[freed++];
    }
    for (int64_t p = 0; p < k->wide; p++)
        if (k->into[p] != p) k->to[p] = k->to[k->into[p]];
}

static void none(bl_reassembly *k)
{
    for (int64_t j = 0; j < k->n; j++) k->copies[j] = 1;
    widen(k);
    settle(k);
}

/* T of a threshold; the channels that are added. */
static int64_t take_apart(const bl_qllm_seen *s, float theta, int32_t *copies)
{
    int64_t added = 0;
    for (int64_t j = 0; j < s->n; j++) {
        const float times = s->most[j] > theta ? ceilf(s->most[j] / theta) : 1;
        copies[j] = (int32_t)fminf(times, (float)(s->n + 1)); /* more than can be added is not looked at */
        added += copies[j] - 1;
    }
    return added;
}

int64_t bl_qllm_rows(const bl_reassembly *k, int32_t *m)
{
    int64_t rows = 0;
    for (int64_t j = 0; j < k->n; j++) {
        const int64_t first = rows;
        for (int64_t p = 0; p < k->wide; p++) {
            if (k->to[p] != j) continue;
            m[3 * rows] = (int32_t)j;
            m[3 * rows + 1] = k->from[p];
            m[3 * rows + 2] = k->copies[k->from[p]];
            rows++;
        }
        const int32_t all = (int32_t)(rows - first);
        if (all == 1 && m[3 * first + 1] == j && m[3 * first + 2] == 1) rows = first; /* x[j] as it is */
        else
            for (int64_t i = first; i < rows; i++) m[3 * i + 2] *= all;
    }
    return rows;
}

void bl_qllm_columns(const bl_reassembly *k, const float *w, int64_t out, float *y)
{
    memset(y, 0, (size_t)(out * k->n) * sizeof *y);
    for (int64_t r = 0; r < out; r++)
        for (int64_t p = 0; p < k->wide; p++) y[r * k->n + k->to[p]] += w[r * k->n + k->from[p]];
}

/* ---- the threshold ---- */

typedef struct search {
    bl_backend *be;
    const bl_qllm_seen *s;
    float *scores;
    best *room;
    int32_t *pairs; /* [wide] */
    int32_t *place; /* [wide]: of channels the first place, of places their copies */
} search;

/* Pairs of channels as they are, then copies. False: there are not so many pairs. */
static bool tried(search *k, int64_t added, bl_reassembly *out)
{
    int64_t at = 0;
    if (!pair(k->scores, out->n, out->copies, added, k->room, k->pairs)) return false;
    for (int64_t j = 0; j < out->n; at += out->copies[j++]) k->place[j] = (int32_t)at;
    widen(out);
    for (int64_t j = 0; j < out->n; j++)
        if (k->pairs[j] != j) out->into[k->place[j]] = k->place[k->pairs[j]];
    settle(out);
    return true;
}

/* Copies, then pairs of the places there are then. */
static bl_status used(search *k, float theta, bl_reassembly *out, bool *there, bl_err *e)
{
    bl_status st = BL_OK;
    const int64_t added = take_apart(k->s, theta, out->copies);
    widen(out);
    BL_TRY(bl_qllm_scores(k->be, k->s, out->from, out->wide, out->copies, k->scores, e));
    for (int64_t p = 0; p < out->wide; p++) k->place[p] = out->copies[out->from[p]];
    *there = pair(k->scores, out->wide, k->place, added, k->room, out->into);
    if (*there) settle(out);
out:
    return st;
}

bl_status bl_qllm_search(bl_backend *be, bl_arena *a, const bl_qllm_seen *s, double ratio, bool always,
                         bl_qllm_loss *loss, void *ctx, bl_reassembly *out, bl_qllm_found *found, bl_err *e)
{
    bl_status st = BL_OK;
    const int64_t most = (int64_t)(ratio * (double)s->n), wide = s->n + most;
    search k = {.be = be, .s = s};
    float theta = 0, least = INFINITY, step;
    int64_t before = 0, steps = 100;
    bool there = false;

    *found = (bl_qllm_found){.tried = INFINITY};
    BL_TRY(reassembly_new(a, s->n, wide, out, e));
    if (!(k.scores = bl_alloc(a, (size_t)((wide + 1) / 2 * (wide / 2) + 1), sizeof *k.scores, e)) ||
        !(k.room = bl_alloc(a, (size_t)(wide + 1) / 2, sizeof *k.room, e)) ||
        !(k.pairs = bl_alloc(a, (size_t)wide, sizeof *k.pairs, e)) ||
        !(k.place = bl_alloc(a, (size_t)wide, sizeof *k.place, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    none(out);
    BL_TRY(loss(ctx, out, &found->none, e));
    found->used = found->none;
    for (int64_t j = 0; j < s->n; j++) {
        theta = fmaxf(theta, s->most[j]);
        least = fminf(least, s->most[j]);
    }
    if (!(theta > least) || !most) goto out;
    BL_TRY(bl_qllm_scores(be, s, NULL, s->n, NULL, k.scores, e));
    steps = theta / 0.5f > 100 ? (int64_t)fminf(theta / 0.5f, 1e4f) : 100;
    step = (theta - least) / (float)steps;
    for (int64_t i = 0; i < steps && theta > 0; i++, theta -= step) {
        double now;
        const int64_t added = take_apart(s, theta, out->copies);
        if (added > most) break;
        if (added == before) continue;
        before = added;
        if (!tried(&k, added, out)) continue;
        BL_TRY(loss(ctx, out, &now, e));
        if (!(now < found->tried)) continue;
        *found = (bl_qllm_found){theta, now, found->none, found->none, added};
    }
    if (found->added) BL_TRY(used(&k, (float)found->theta, out, &there, e));
    if (there) BL_TRY(loss(ctx, out, &found->used, e));
    if (there && (always || found->used < found->none)) goto out;
    none(out);
    found->used = found->none;
out:
    return st;
}
