/* billm_round.c - a weight block after block: search, signs, and what they lose into the columns still open. */
#include "billm.h"
#include <math.h>
#include <string.h>

enum { SMALL, LARGE, FIRST, SECOND };

static float stored(const bl_billm *how, double v)
{
    return how->scale == BL_F32 ? (float)v : bl_f16_to_f32(bl_f32_to_f16((float)v));
}

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
    *mean = stored(how, count ? sum / (double)count : 0);
    for (int64_t j = 0; j < n; j++)
        if (sets[j] == set) size += fabs((double)x[j] - *mean);
    *scale = stored(how, count ? size / (double)count : 0);
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

bl_status bl_billm_round(float *w, const float *u, int64_t rows, int64_t in, const bl_billm *how, uint8_t *salient,
                         float *scale, float *mean, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t blocks = (in + how->group - 1) / how->group, width = how->group;
    float *s = bl_new((size_t)(rows * width), sizeof *s, e), *x = bl_new((size_t)width, sizeof *x, e);
    uint8_t *sets = bl_new((size_t)width, 1, e);
    if (!s || !x || !sets) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t b = 0; b < blocks; b++) {
        int64_t first = b * width, n = BL_MIN(width, in - first), open = first + n;
        float threshold;
        if (bl_interrupted()) {
            st = bl_fail(e, BL_E_INTERRUPTED, "interrupted");
            goto out;
        }
        for (int64_t i = 0; i < rows * n; i++) {
            int64_t j = first + i % n;
            float v = w[i / n * in + j], d = u[j * in + j];
            s[i] = how->magnitude ? v : v * v / (d * d);
        }
        BL_TRY(bl_billm_columns(s, rows, n, salient + first, NULL, e));
        BL_TRY(bl_billm_split(s, rows, n, salient + first, &threshold, e));
        if (how->threshold) how->threshold[b] = threshold;
        for (int64_t i = 0; i < rows; i++) {
            float *row = w + i * in;
            int64_t at = (i * blocks + b) * BL_BILLM_TERMS;
            round_row(how, row + first, s + i * n, salient + first, threshold, n, scale + at, mean + at, sets, x);
            for (int64_t j = 0; j < n; j++) {
                const float *uj = u + (first + j) * in;
                float err = x[j] / uj[first + j];
                for (int64_t k = open; k < in; k++) row[k] -= err * uj[k];
            }
        }
    }
out:
    bl_free(s);
    bl_free(x);
    bl_free(sets);
    return st;
}
