/* fmt_gguf_nearest.c - the nearest codes at a given scale: integers, levels, and points of a grid.
 *
 * The points of a grid are looked at one by one. What a point costs is a sum over its weights, so that two tables, of
 * the costs of its low and of its high half, give each with one addition. Where the signs of eight weights must have an
 * even product and have not, one is turned: 4 o |w| s q more, the least over the weights of the point. Compiled with
 * -O3: a block is matched some thirty times.
 */
#include "bare.h"
#include "fmt_gguf_fit.h"
#include <math.h>

void bl_nearest_integer(const bl_codebook *c, const float *w, const float *o, float s, uint32_t *code, bl_match *m)
{
    const float magic = 0x1.8p23f; /* v + magic has no fraction bits left: rint for |v| < 2^22 */
    float inverse = s == 0 ? 0 : 1 / s, low = (float)c->low, high = (float)c->high, error = 0, wq = 0, qq = 0;
    if (!isfinite(inverse)) inverse = 0;
    for (int i = 0; i < c->n; i++) {
        float v = w[i] * inverse;
        v = v > low ? v : low;
        v = v < high ? v : high;
        v = (v + magic) - magic;
        float r = w[i] - s * v, oq = o[i] * v;
        error += o[i] * r * r;
        wq += oq * w[i];
        qq += oq * v;
        if (code) code[i] = (uint32_t)((int)v - c->low);
    }
    *m = (bl_match){error, wq, qq};
}

void bl_nearest_level(const bl_codebook *c, const float *w, const float *o, float s, uint32_t *code, bl_match *m)
{
    float inverse = s == 0 ? 0 : 1 / s;
    if (!isfinite(inverse)) inverse = 0;
    *m = (bl_match){0};
    for (int i = 0; i < c->n; i++) {
        float v = w[i] * inverse;
        uint32_t k = 0;
        for (int j = 0; j + 1 < c->levels; j++) k += v > c->mid[j];
        float q = c->level[k], r = w[i] - s * q;
        m->error += o[i] * r * r;
        m->wq += o[i] * w[i] * q;
        m->qq += o[i] * q * q;
        if (code) code[i] = k;
    }
}

/* ---- eight weights, two bits of a code each ---- */
typedef struct costs {
    float at[8][4];
} costs;

/* Of four weights by their four codes: sum, or least. */
static void halves_sum(const costs *c, int from, float t[256])
{
    float a[16], b[16];
    for (int v = 0; v < 16; v++) {
        a[v] = c->at[from][v & 3] + c->at[from + 1][v >> 2];
        b[v] = c->at[from + 2][v & 3] + c->at[from + 3][v >> 2];
    }
    for (int h = 0; h < 16; h++)
        for (int l = 0; l < 16; l++) t[16 * h + l] = a[l] + b[h];
}
static void halves_least(const costs *c, int from, float t[256])
{
    float a[16], b[16];
    for (int v = 0; v < 16; v++) {
        a[v] = fminf(c->at[from][v & 3], c->at[from + 1][v >> 2]);
        b[v] = fminf(c->at[from + 2][v & 3], c->at[from + 3][v >> 2]);
    }
    for (int h = 0; h < 16; h++)
        for (int l = 0; l < 16; l++) t[16 * h + l] = a[l] < b[h] ? a[l] : b[h];
}

/* Number of the cheapest point; turn: what turning a sign costs more, NULL: none is turned. */
BL_BARE static int cheapest(const bl_codebook *c, const costs *cost, const costs *turn, float *least)
{
    float low[256], high[256], turn_low[256], turn_high[256], best = INFINITY;
    int at = 0;
    bl_watch(c->point, c->points * (int64_t)sizeof *c->point);
    halves_sum(cost, 0, low);
    halves_sum(cost, 4, high);
    if (!turn)
        for (int i = 0; i < c->points; i++) {
            float v = low[c->point[i] & 255] + high[c->point[i] >> 8];
            at = v < best ? i : at;
            best = v < best ? v : best;
        }
    else {
        halves_least(turn, 0, turn_low);
        halves_least(turn, 4, turn_high);
        for (int i = 0; i < c->points; i++) {
            int l = c->point[i] & 255, h = c->point[i] >> 8;
            float t = turn_low[l] < turn_high[h] ? turn_low[l] : turn_high[h], v = low[l] + high[h] + t;
            at = v < best ? i : at;
            best = v < best ? v : best;
        }
    }
    *least = best;
    return at;
}

static unsigned minus_signs(const float *w, int n)
{
    unsigned s = 0;
    for (int j = 0; j < n; j++) s |= (unsigned)(w[j] < 0) << j;
    return s;
}

void bl_nearest_iq2(const bl_codebook *c, const float *w, const float *o, float s, uint32_t *code, bl_match *m)
{
    static const float magnitude[4] = {8, 25, 43, 0};
    *m = (bl_match){0};
    for (int i = 0; i < c->n; i += 8) {
        costs cost, turn;
        float least;
        unsigned signs = minus_signs(w + i, 8);
        bool odd = c->even && __builtin_parity(signs);
        for (int j = 0; j < 8; j++)
            for (int v = 0; v < 4; v++) {
                float a = fabsf(w[i + j]), r = a - s * magnitude[v];
                cost.at[j][v] = o[i + j] * r * r;
                turn.at[j][v] = 4 * o[i + j] * a * s * magnitude[v];
            }
        int at = cheapest(c, &cost, odd ? &turn : NULL, &least);
        unsigned point = c->point[at];
        if (odd) {
            int j = 0;
            for (int k = 1; k < 8; k++)
                if (turn.at[k][point >> 2 * k & 3] < turn.at[j][point >> 2 * j & 3]) j = k;
            signs ^= 1u << j;
        }
        m->error += least;
        for (int j = 0; j < 8; j++) {
            float q = magnitude[point >> 2 * j & 3], v = o[i + j] * q;
            m->wq += v * (signs >> j & 1 ? -w[i + j] : w[i + j]);
            m->qq += v * q;
        }
        if (code) code[i / 8] = (uint32_t)at | (uint32_t)signs << 16;
    }
}

/* All weights that are shifted together, both ways. */
void bl_nearest_iq1(const bl_codebook *c, const float *w, const float *o, float s, uint32_t *code, bl_match *m)
{
    *m = (bl_match){0};
    for (int i = 0; i < c->n; i += c->per_shift) {
        float best = INFINITY;
        bl_match got = {0};
        for (int down = 0; down < 2; down++) {
            float shift = down ? -0.125f : 0.125f, sum = 0, least;
            int at[4];
            for (int k = 0; k < c->per_shift / 8; k++) {
                costs cost;
                for (int j = 0; j < 8; j++)
                    for (int v = 0; v < 4; v++) {
                        float r = w[i + 8 * k + j] - s * ((float)(v - 1) + shift);
                        cost.at[j][v] = o[i + 8 * k + j] * r * r;
                    }
                at[k] = cheapest(c, &cost, NULL, &least);
                sum += least;
            }
            if (sum >= best) continue;
            best = sum;
            got = (bl_match){.error = sum};
            for (int j = 0; j < c->per_shift; j++) {
                float q = (float)(int)(c->point[at[j / 8]] >> 2 * (j % 8) & 3) - 1 + shift, v = o[i + j] * q;
                got.wq += v * w[i + j];
                got.qq += v * q;
            }
            for (int k = 0; code && k < c->per_shift / 8; k++) code[i / 8 + k] = (uint32_t)at[k] | (uint32_t)down << 16;
        }
        m->error += got.error;
        m->wq += got.wq;
        m->qq += got.qq;
    }
}

/* ---- four weights, three bits of a code each ---- */
typedef struct quarter {
    int at;     /* number of the point */
    float cost; /* of it */
    int turned; /* weight whose sign costs least to turn */
} quarter;

BL_BARE static quarter cheapest4(const bl_codebook *c, const float *w, const float *o, float s, bool turn)
{
    float low[64], high[64], cost[4][8], more[4][8], turn_low[64], turn_high[64], best = INFINITY;
    quarter q = {0};
    bl_watch(w, 4 * (int64_t)sizeof *w);
    bl_watch(o, 4 * (int64_t)sizeof *o);
    bl_watch(c->level, 8 * (int64_t)sizeof *c->level);
    bl_watch(c->point, c->points * (int64_t)sizeof *c->point);
    for (int j = 0; j < 4; j++)
        for (int v = 0; v < 8; v++) {
            float a = fabsf(w[j]), r = a - s * c->level[v];
            cost[j][v] = o[j] * r * r;
            more[j][v] = turn ? 4 * o[j] * a * s * c->level[v] : 0;
        }
    for (int h = 0; h < 8; h++)
        for (int l = 0; l < 8; l++) {
            low[8 * h + l] = cost[0][l] + cost[1][h];
            high[8 * h + l] = cost[2][l] + cost[3][h];
            turn_low[8 * h + l] = more[0][l] < more[1][h] ? more[0][l] : more[1][h];
            turn_high[8 * h + l] = more[2][l] < more[3][h] ? more[2][l] : more[3][h];
        }
    for (int i = 0; i < c->points; i++) {
        int l = c->point[i] & 63, h = c->point[i] >> 6;
        float t = turn_low[l] < turn_high[h] ? turn_low[l] : turn_high[h], v = low[l] + high[h] + t;
        q.at = v < best ? i : q.at;
        best = v < best ? v : best;
    }
    q.cost = best;
    for (int j = 1; turn && j < 4; j++) {
        unsigned p = c->point[q.at];
        if (more[j][p >> 3 * j & 7] < more[q.turned][p >> 3 * q.turned & 7]) q.turned = j;
    }
    return q;
}

void bl_nearest_iq3(const bl_codebook *c, const float *w, const float *o, float s, uint32_t *code, bl_match *m)
{
    *m = (bl_match){0};
    for (int i = 0; i < c->n; i += 8) {
        unsigned signs = minus_signs(w + i, 8);
        quarter a = cheapest4(c, w + i, o + i, s, false), b = cheapest4(c, w + i + 4, o + i + 4, s, false);
        if (c->even && __builtin_parity(signs)) {
            quarter ta = cheapest4(c, w + i, o + i, s, true), tb = cheapest4(c, w + i + 4, o + i + 4, s, true);
            if (ta.cost + b.cost < a.cost + tb.cost) {
                a = ta;
                signs ^= 1u << a.turned;
            } else {
                b = tb;
                signs ^= 16u << b.turned;
            }
        }
        m->error += a.cost + b.cost;
        for (int j = 0; j < 8; j++) {
            unsigned p = c->point[j < 4 ? a.at : b.at] >> 3 * (j % 4) & 7;
            float q = c->level[p], v = o[i + j] * q;
            m->wq += v * (signs >> j & 1 ? -w[i + j] : w[i + j]);
            m->qq += v * q;
        }
        if (code) {
            code[i / 4] = (uint32_t)a.at | (uint32_t)(signs & 15) << 16;
            code[i / 4 + 1] = (uint32_t)b.at | (uint32_t)(signs >> 4) << 16;
        }
    }
}
