/* pb_llm_round.c - which weights are salient, and all of them rounded column after column. */
#include "pb_llm.h"
#include "kernels/format.h"
#include <math.h>

enum { ROWS = 16, BLOCK = 128 }; /* rows of a piece; columns whose losses are handed on together */

int64_t bl_pb_salient(const bl_pb *how, int64_t out, int64_t in)
{
    int64_t all = 0;
    for (int64_t k = 0; k < in; k += how->group) {
        int64_t n = out * BL_MIN(how->group, in - k);
        all += BL_MAX(n - 1 - (int64_t)((double)n * (1 - how->share)), 0);
    }
    return all;
}

/* Element k of v in order of size; v is reordered. */
static float select_nth(float *v, int64_t n, int64_t k)
{
    int64_t lo = 0, hi = n - 1;
    while (lo < hi) {
        float pivot = v[lo + (hi - lo) / 2];
        int64_t i = lo, j = hi;
        while (i <= j) {
            while (v[i] < pivot) i++;
            while (v[j] > pivot) j--;
            if (i <= j) {
                float t = v[i];
                v[i++] = v[j];
                v[j--] = t;
            }
        }
        if (k <= j) hi = j;
        else if (k >= i) lo = i;
        else break;
    }
    return v[k];
}

/* Of the columns from k0 on, those whose weights matter more than the one at (1 - share) in order. */
static bl_status choose(const bl_rows *k, const bl_pb *how, int64_t k0, uint8_t *salient, bl_err *e)
{
    int64_t width = BL_MIN(how->group, k->in - k0), n = k->out * width, at = (int64_t)((double)n * (1 - how->share));
    float *s = bl_new(2 * (size_t)n, sizeof *s, e);
    if (!s) return BL_E_NOMEM;
    for (int64_t i = 0; i < n; i++) {
        int64_t j = k0 + i % width;
        float v = k->w[i / width * k->in + j], d = k->u[j * (k->in + 1)];
        s[i] = s[n + i] = how->magnitude ? fabsf(v) : v * v / (d * d);
    }
    float least = at < n ? select_nth(s, n, at) : INFINITY;
    for (int64_t i = 0; i < n; i++) salient[i / width * k->in + k0 + i % width] = s[n + i] > least;
    bl_free(s);
    return BL_OK;
}

typedef struct rounding {
    const bl_rows *k;
    const bl_pb *how;
    const uint8_t *salient;
    float *scale, *mean;
    int64_t groups;
} rounding;

/* Mean and mean size about it of what is not salient. */
static void fit_signs(const rounding *p, const float *w, const uint8_t *salient, int64_t n, float *scale, float *mean)
{
    double sum = 0, size = 0;
    int64_t count = 0;
    for (int64_t j = 0; j < n; j++) {
        if (!salient[j]) sum += w[j];
        count += !salient[j] || p->how->diluted;
    }
    *mean = bl_rows_stored(p->how->scale, count ? sum / (double)count : 0);
    for (int64_t j = 0; j < n; j++)
        if (!salient[j]) size += fabs((double)w[j] - *mean);
        else if (p->how->diluted) size += fabs(*mean);
    *scale = bl_rows_stored(p->how->scale, count ? size / (double)count : 0);
}

static float nearest(const rounding *p, const float *scale, const float *mean, bool salient, int64_t column, float x)
{
    int64_t i = salient ? p->groups : column / p->how->group;
    if (!salient) return mean[i] + (x >= mean[i] ? scale[i] : -scale[i]);
    return (fminf(fmaxf(rintf(x / scale[i]) + mean[i], 0), 255) - mean[i]) * scale[i];
}

/* Columns from..to of a row are rounded, lost[] is what each of them loses. */
static void round_columns(const rounding *p, int64_t row, int64_t from, int64_t to, float *lost)
{
    const bl_rows *k = p->k;
    float *w = k->w + row * k->in;
    const float *scale = p->scale + row * (p->groups + 1), *mean = p->mean + row * (p->groups + 1);
    for (int64_t i = from; i < to; i++) {
        const float *u = k->u + i * k->in;
        float x = w[i], v = nearest(p, scale, mean, p->salient[row * k->in + i], i, x);
        lost[i - from] = (x - v) / u[i];
        for (int64_t j = i + 1; j < to; j++) w[j] -= lost[i - from] * u[j];
        w[i] = v;
    }
}

static void round_rows(void *ctx, int64_t piece)
{
    const rounding *p = ctx;
    const bl_rows *k = p->k;
    int64_t first = piece * ROWS, end = BL_MIN(first + ROWS, k->out);
    float lost[BLOCK];
    for (int64_t r = first; r < end; r++) {
        const float *w = k->w + r * k->in;
        const uint8_t *salient = p->salient + r * k->in;
        float *scale = p->scale + r * (p->groups + 1), *mean = p->mean + r * (p->groups + 1);
        for (int64_t i = 0; i < p->groups; i++) {
            int64_t at = i * p->how->group;
            fit_signs(p, w + at, salient + at, BL_MIN(p->how->group, k->in - at), scale + i, mean + i);
        }
        bl_fit_zero(w, k->in, 255, scale + p->groups, mean + p->groups);
        scale[p->groups] = fmaxf(bl_rows_stored(p->how->scale, scale[p->groups]), 0x1p-24f); /* it is divided by */
    }
    for (int64_t c = 0; c < k->in; c += BLOCK) /* rows inside, so that the factor's are read once a piece */
        for (int64_t r = first; r < end; r++) {
            int64_t to = BL_MIN(c + BLOCK, k->in);
            round_columns(p, r, c, to, lost);
            bl_rows_hand_on(k->w + r * k->in, lost, k->u, k->in, c, to - c, to);
        }
}

bl_status bl_pb_round(const bl_method_run *r, bl_rows *k, const bl_pb *how, uint8_t *salient, float *scale, float *mean,
                      bl_err *e)
{
    bl_status st = BL_OK;
    rounding p = {.k = k,
                  .how = how,
                  .salient = salient,
                  .scale = scale,
                  .mean = mean,
                  .groups = (k->in + how->group - 1) / how->group};
    for (int64_t c = 0; c < k->in; c += how->group) BL_TRY(choose(k, how, c, salient, e));
    BL_TRY(r->ops->each(r->be, &(bl_each_args){.n = (k->out + ROWS - 1) / ROWS, .piece = round_rows, .ctx = &p}, e));
out:
    return st;
}
