/* billm_round.c - a weight block after block: search, signs, and what they lose into the columns still open. */
#include "billm.h"
#include <math.h>
#include <string.h>

enum { SMALL, LARGE, FIRST, SECOND };

/* Mean and mean size about it of the entries of x that are of `set`; x becomes what that leaves of them. */
static void take_signs(const bl_billm *how, float *x, const uint8_t *sets, int set, int64_t n, float *scale,
                       float *mean)
{
    double sum = 0, size = 0;
    int64_t count = 0;
    for (int64_t j = 0; j < n; j++)
        if (sets[j] == set) {
            sum += x[j];
            count++;
        }
    *mean = bl_rows_stored(how->scale, count ? sum / (double)count : 0);
    for (int64_t j = 0; j < n; j++)
        if (sets[j] == set) size += fabs((double)x[j] - *mean);
    *scale = bl_rows_stored(how->scale, count ? size / (double)count : 0);
    for (int64_t j = 0; j < n; j++)
        if (sets[j] == set) x[j] -= *mean + (x[j] >= *mean ? *scale : -*scale);
}

/* One row of a block: x becomes its error, q what is stored. */
static void round_row(const bl_billm *how, float *q, const float *s, const uint8_t *salient, float threshold, int64_t n,
                      float *scale, float *mean, uint8_t *sets, float *x)
{
    for (int64_t j = 0; j < n; j++) {
        sets[j] = salient[j] ? FIRST : fabsf(s[j]) < threshold ? SMALL : LARGE;
        x[j] = q[j];
    }
    for (int t = SMALL; t <= SECOND; t++) take_signs(how, x, sets, t == SECOND ? FIRST : t, n, &scale[t], &mean[t]);
    for (int64_t j = 0; j < n; j++) q[j] -= x[j];
}

void bl_billm_matter(const bl_rows *k, int64_t first, int64_t n, bool magnitude, float *s)
{
    for (int64_t i = 0; i < k->out * n; i++) {
        int64_t j = first + i % n;
        float v = k->w[i / n * k->in + j], d = k->u[j * (k->in + 1)];
        s[i] = magnitude ? v : v * v / (d * d);
    }
}

enum { ROWS = 16 }; /* of a piece */
typedef struct rounding {
    const bl_rows *k;
    const bl_billm *how;
    int64_t block, blocks, first, n; /* of the block at hand */
    const uint8_t *salient;
    float threshold, *scale, *mean;
    float *s;      /* [out, n] what its weights matter; of rows that are done what their columns lose */
    uint8_t *sets; /* [out, n] */
} rounding;

static void round_rows(void *ctx, int64_t piece)
{
    const rounding *p = ctx;
    const bl_rows *k = p->k;
    for (int64_t i = piece * ROWS; i < BL_MIN((piece + 1) * ROWS, k->out); i++) {
        int64_t at = (i * p->blocks + p->block) * BL_BILLM_TERMS;
        float *row = k->w + i * k->in, *s = p->s + i * p->n;
        round_row(p->how, row + p->first, s, p->salient + p->first, p->threshold, p->n, p->scale + at, p->mean + at,
                  p->sets + i * p->n, s);
        for (int64_t j = 0; j < p->n; j++) s[j] /= k->u[(p->first + j) * (k->in + 1)];
        bl_rows_hand_on(row, s, k->u, k->in, p->first, p->n, p->first + p->n);
    }
}

bl_status bl_billm_round(bl_backend *be, bl_rows *k, const bl_billm *how, uint8_t *salient, float *scale, float *mean,
                         bl_err *e)
{
    bl_status st = BL_OK;
    int64_t width = how->group;
    rounding p = {
        .k = k, .how = how, .blocks = (k->in + width - 1) / width, .salient = salient, .scale = scale, .mean = mean};
    if (!(p.s = bl_new((size_t)(k->out * width), sizeof *p.s, e)) ||
        !(p.sets = bl_new((size_t)(k->out * width), 1, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (; p.block < p.blocks; p.block++) {
        p.first = p.block * width;
        p.n = BL_MIN(width, k->in - p.first);
        if (bl_interrupted()) {
            st = bl_fail(e, BL_E_INTERRUPTED, "interrupted");
            goto out;
        }
        bl_billm_matter(k, p.first, p.n, how->magnitude, p.s);
        BL_TRY(bl_billm_columns(be, p.s, k->out, p.n, BL_BILLM_COLUMNS, salient + p.first, NULL, e));
        BL_TRY(bl_billm_split(be, p.s, k->out, p.n, salient + p.first, false, &p.threshold, e));
        if (how->threshold) how->threshold[p.block] = p.threshold;
        BL_TRY(be->ops->each(be, &(bl_each_args){.n = (k->out + ROWS - 1) / ROWS, .piece = round_rows, .ctx = &p}, e));
    }
out:
    bl_free(p.s);
    bl_free(p.sets);
    return st;
}
