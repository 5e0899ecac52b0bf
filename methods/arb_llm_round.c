/* arb_llm_round.c - a weight block after block: sets of its weights, then signs, numbers of rows and numbers of columns
 * in turn, each the best for the others.
 *
 * All sets of a block go together. One round, of a set with a second term each step for it too:
 *
 *     r_i = sum_j c_j b (w - r' c' b') / sum c_j^2      then the same for c_j over the rows i
 *     r', c' likewise of w - r c b                      then (b, b') of the four values the nearest
 *
 * Sums over a row belong to it, those over a column are of the rows of a piece and then of the pieces, in order.
 */
#include "arb_llm.h"
#include <math.h>
#include <string.h>

enum { ROWS = 16, SETS = BL_ARB_SETS, TWO = BL_ARB_SALIENT_SMALL }; /* sets from TWO on have two terms */
static const double least = 1e-8;                                   /* added to what is divided by, as published */

typedef struct term {
    float r[SETS];
} term;
typedef struct fitting {
    const bl_rows *k;
    const bl_arb *how;
    int64_t first, n; /* of the block at hand */
    const uint8_t *salient;
    float split[2];        /* of weights outside and inside salient columns: what they matter at least to be large */
    float *s;              /* [rows, n] what weights matter; of rows that are done what their columns lose */
    uint8_t *set, *sign;   /* [rows, n]: of both terms, bits 0 and 1, 1: + */
    term *row[2];          /* [rows] of both terms */
    float (*column[2])[2]; /* [n] of both terms, of the smaller and the larger set */
    double (*part)[2][2];  /* [pieces, n] of the smaller and the larger set: over, under */
    double (*error)[SETS]; /* [pieces] */
    int which;             /* term of the step at hand; its first step: there is nothing yet but w */
    bool begin;
    bool last;
} fitting;

static int64_t pieces(const fitting *p) { return (p->k->out + ROWS - 1) / ROWS; }
static const float *weights(const fitting *p, int64_t i) { return p->k->w + i * p->k->in + p->first; }
static float sign_of(uint8_t code, int t) { return code >> t & 1 ? 1 : -1; }

static float term_value(const fitting *p, int t, int64_t i, int64_t j)
{
    int set = p->set[i * p->n + j];
    return sign_of(p->sign[i * p->n + j], t) * (p->row[t][i].r[set] * p->column[t][j][set & 1]);
}

static void choose_sets(void *ctx, int64_t piece)
{
    const fitting *p = ctx;
    for (int64_t i = piece * ROWS; i < BL_MIN((piece + 1) * ROWS, p->k->out); i++)
        for (int64_t j = 0; j < p->n; j++) {
            bool salient = p->salient[p->first + j];
            p->set[i * p->n + j] = (uint8_t)((salient ? TWO : 0) + !(fabsf(p->s[i * p->n + j]) < p->split[salient]));
        }
}

/* What is left for term t, and the sign it has when it begins. */
static float left_for(const fitting *p, int t, int64_t i, int64_t j)
{
    float w = weights(p, i)[j];
    if (p->set[i * p->n + j] < TWO || (p->begin && t == 0)) return w;
    return w - term_value(p, !t, i, j);
}

/* Numbers of the rows of a piece for term `which`, and the sums for those of the columns. */
static void fit_rows(void *ctx, int64_t piece)
{
    const fitting *p = ctx;
    int t = p->which;
    memset(p->part + piece * p->n, 0, (size_t)p->n * sizeof *p->part);
    for (int64_t i = piece * ROWS; i < BL_MIN((piece + 1) * ROWS, p->k->out); i++) {
        double over[SETS] = {0}, under[SETS] = {0};
        uint8_t *sign = p->sign + i * p->n;
        for (int64_t j = 0; j < p->n; j++) {
            int set = p->set[i * p->n + j];
            if (t && set < TWO) continue;
            float x = left_for(p, t, i, j), c = p->column[t][j][set & 1];
            if (p->begin) {
                sign[j] = (uint8_t)((sign[j] & ~(1 << t)) | (x >= 0) << t);
                over[set] += fabsf(x);
                under[set] += 1;
            } else {
                over[set] += (double)c * sign_of(sign[j], t) * x;
                under[set] += (double)c * c;
            }
        }
        for (int set = t ? TWO : 0; set < SETS; set++)
            p->row[t][i].r[set] = (float)(over[set] / (under[set] + (p->begin && under[set] > 0 ? 0 : least)));
        for (int64_t j = 0; j < p->n; j++) {
            int set = p->set[i * p->n + j];
            if (t && set < TWO) continue;
            double *sum = p->part[piece * p->n + j][set & 1], r = p->row[t][i].r[set];
            float x = left_for(p, t, i, j);
            if (p->begin) { /* rows of zeros say nothing of a column */
                sum[0] += r > 0 ? fabs(x / r) : 0;
                sum[1] += r > 0;
            } else {
                sum[0] += r * sign_of(sign[j], t) * x;
                sum[1] += r * r;
            }
        }
    }
}

/* The signs of both terms that are nearest, the first of equals: - -, - +, + -, + +. */
static void choose_signs(void *ctx, int64_t piece)
{
    const fitting *p = ctx;
    double *error = p->error[piece];
    memset(error, 0, sizeof *p->error);
    for (int64_t i = piece * ROWS; i < BL_MIN((piece + 1) * ROWS, p->k->out); i++)
        for (int64_t j = 0; j < p->n; j++) {
            static const uint8_t order[4] = {0, 2, 1, 3};
            int set = p->set[i * p->n + j], m = set & 1;
            float w = weights(p, i)[j], a = p->row[0][i].r[set] * p->column[0][j][m], b = 0, best = INFINITY;
            uint8_t *sign = &p->sign[i * p->n + j];
            if (set >= TWO) {
                b = p->row[1][i].r[set] * p->column[1][j][m];
                if (p->begin) best = fabsf(w - sign_of(*sign, 0) * a - sign_of(*sign, 1) * b);
                for (int q = 0; q < 4 && !p->begin; q++) {
                    float d = fabsf(w - sign_of(order[q], 0) * a - sign_of(order[q], 1) * b);
                    if (d < best) {
                        best = d;
                        *sign = order[q];
                    }
                }
            } else {
                if (p->last) *sign = w * a >= 0; /* rounded numbers, whatever their signs */
                best = fabsf(w - sign_of(*sign, 0) * a);
            }
            error[set] += (double)best * best;
        }
}

static void join_columns(const fitting *p)
{
    for (int64_t j = 0; j < p->n; j++)
        for (int m = 0; m < 2; m++) {
            double over = 0, under = 0;
            for (int64_t i = 0; i < pieces(p); i++) {
                over += p->part[i * p->n + j][m][0];
                under += p->part[i * p->n + j][m][1];
            }
            if (p->which && !p->salient[p->first + j]) continue;
            p->column[p->which][j][m] = (float)(over / (under + (p->begin && under > 0 ? 0 : least)));
        }
}

static bl_status one_round(bl_backend *be, fitting *p, double *error, bl_err *e)
{
    bl_status st = BL_OK;
    for (p->which = 0; p->which < 2; p->which++) {
        BL_TRY(be->ops->each(be, &(bl_each_args){.n = pieces(p), .piece = fit_rows, .ctx = p}, e));
        join_columns(p);
    }
    BL_TRY(be->ops->each(be, &(bl_each_args){.n = pieces(p), .piece = choose_signs, .ctx = p}, e));
    for (int set = 0; error && set < SETS; set++) {
        error[set * (p->how->rounds + 1)] = 0;
        for (int64_t i = 0; i < pieces(p); i++) error[set * (p->how->rounds + 1)] += p->error[i][set];
    }
out:
    return st;
}

/* Numbers as they are stored; each pair of terms with the columns' at one in the mean square, so that none is too small
 * for its type. */
static void store_numbers(const fitting *p, int64_t block, int64_t blocks, float *row, float *column)
{
    const bl_rows *k = p->k;
    for (int t = 0; t < 2; t++)
        for (int set = t ? TWO : 0; set < SETS; set++) {
            double power = 0;
            int64_t count = 0;
            int at = set < TWO ? set : 2 + 2 * (set & 1) + t;
            for (int64_t j = 0; j < p->n; j++) {
                if ((set >= TWO) != p->salient[p->first + j]) continue;
                power += (double)p->column[t][j][set & 1] * p->column[t][j][set & 1];
                count++;
            }
            double by = power > 0 ? sqrt(power / (double)count) : 1;
            for (int64_t j = 0; j < p->n; j++) {
                float *c = &p->column[t][j][set & 1];
                if ((set >= TWO) != p->salient[p->first + j]) continue;
                *c = bl_rows_stored(p->how->scale, *c / by);
                column[(p->first + j) * BL_ARB_COLUMN + (set < TWO ? set : 2 * (set & 1) + t)] = *c;
            }
            for (int64_t i = 0; i < k->out; i++) {
                float *r = &p->row[t][i].r[set];
                *r = bl_rows_stored(p->how->scale, *r * by);
                row[(i * blocks + block) * BL_ARB_ROW + at] = *r;
            }
        }
}

static void hand_on(void *ctx, int64_t piece)
{
    const fitting *p = ctx;
    const bl_rows *k = p->k;
    for (int64_t i = piece * ROWS; i < BL_MIN((piece + 1) * ROWS, k->out); i++) {
        float *w = k->w + i * k->in, *lost = p->s + i * p->n;
        for (int64_t j = 0; j < p->n; j++) {
            float v = term_value(p, 0, i, j);
            if (p->set[i * p->n + j] >= TWO) v += term_value(p, 1, i, j);
            lost[j] = (w[p->first + j] - v) / k->u[(p->first + j) * (k->in + 1)];
            w[p->first + j] = v;
        }
        bl_rows_hand_on(w, lost, k->u, k->in, p->first, p->n, p->first + p->n);
    }
}

static bl_status fitting_new(fitting *p, bl_err *e)
{
    size_t all = (size_t)(p->k->out * p->how->group), rows = (size_t)p->k->out, n = (size_t)p->how->group;
    bool ok = (p->s = bl_new(all, sizeof *p->s, e)) && (p->set = bl_new(all, 1, e)) && (p->sign = bl_new(all, 1, e)) &&
              (p->row[0] = bl_new(rows, sizeof *p->row[0], e)) && (p->row[1] = bl_new(rows, sizeof *p->row[1], e)) &&
              (p->column[0] = bl_new(n, sizeof *p->column[0], e)) &&
              (p->column[1] = bl_new(n, sizeof *p->column[1], e)) &&
              (p->part = bl_new((size_t)pieces(p) * n, sizeof *p->part, e)) &&
              (p->error = bl_new((size_t)pieces(p), sizeof *p->error, e));
    return ok ? BL_OK : BL_E_NOMEM;
}
static void fitting_free(fitting *p)
{
    bl_free(p->s);
    bl_free(p->set);
    bl_free(p->sign);
    for (int t = 0; t < 2; t++) {
        bl_free(p->row[t]);
        bl_free(p->column[t]);
    }
    bl_free(p->part);
    bl_free(p->error);
}

static bl_status round_block(bl_backend *be, fitting *p, uint8_t *salient, double *error, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_arb *how = p->how;
    int64_t rows = p->k->out;
    bl_billm_matter(p->k, p->first, p->n, how->magnitude, p->s);
    BL_TRY(bl_billm_columns(be, p->s, rows, p->n, how->columns, salient, NULL, e));
    BL_TRY(bl_billm_split(be, p->s, rows, p->n, salient, false, &p->split[0], e));
    p->split[1] = INFINITY;
    if (how->split) BL_TRY(bl_billm_split(be, p->s, rows, p->n, salient, true, &p->split[1], e));
    BL_TRY(be->ops->each(be, &(bl_each_args){.n = pieces(p), .piece = choose_sets, .ctx = p}, e));
    for (int i = 0; i <= how->rounds; i++) {
        p->begin = i == 0;
        BL_TRY(one_round(be, p, error ? error + i : NULL, e));
    }
out:
    return st;
}

bl_status bl_arb_round(bl_backend *be, bl_rows *k, const bl_arb *how, uint8_t *salient, float *row, float *column,
                       bl_err *e)
{
    bl_status st = BL_OK;
    int64_t width = how->group, blocks = (k->in + width - 1) / width;
    fitting p = {.k = k, .how = how, .salient = salient};
    memset(column, 0, (size_t)(BL_ARB_COLUMN * k->in) * sizeof *column);
    BL_TRY(fitting_new(&p, e));
    for (int64_t b = 0; b < blocks; b++) {
        p.first = b * width;
        p.n = BL_MIN(width, k->in - p.first);
        if (bl_interrupted()) {
            st = bl_fail(e, BL_E_INTERRUPTED, "interrupted");
            goto out;
        }
        p.last = false;
        BL_TRY(
            round_block(be, &p, salient + p.first, how->error ? how->error + b * SETS * (how->rounds + 1) : NULL, e));
        store_numbers(&p, b, blocks, row, column);
        p.last = true;
        p.begin = false;
        BL_TRY(be->ops->each(be, &(bl_each_args){.n = pieces(&p), .piece = choose_signs, .ctx = &p}, e));
        for (int64_t i = 0; how->sets && i < k->out * p.n; i++)
            how->sets[i / p.n * k->in + p.first + i % p.n] = p.set[i];
        BL_TRY(be->ops->each(be, &(bl_each_args){.n = pieces(&p), .piece = hand_on, .ctx = &p}, e));
    }
out:
    fitting_free(&p);
    return st;
}
