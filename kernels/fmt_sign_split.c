/* fmt_sign_split.c - sign_split: signs about a mean, two sets of them in each group of a row, and in some columns of a
 * group the sum of two signs (BiLLM).
 *
 *     codes    [out, ceil(in / 4)]       2 bits a weight, low bits first: its sign (1: +), then which
 *     scales   [out, 4 groups]           F16, BF16 or F32: of a group small, large, first, second
 *     means    [out, 4 groups]           likewise
 *     salient  [1, ceil(in / 8)]         bit j: column j has the sum of two
 *
 * value = mean_t + s scale_t, t = small where the second bit is 0, else large; in a salient column mean_first +
 * mean_second + s scale_first + s' scale_second with the second bit for s'. So each weight takes 2 bits whatever the
 * columns are.
 */
#include "format_impl.h"
#include <math.h>

enum { SMALL, LARGE, FIRST, SECOND, TERMS, CHUNK = 256 };

static int parts(const bl_format *f, const bl_shape *g, bl_part_spec out[BL_MAX_PARTS])
{
    int64_t groups = bl_shape_groups(g);
    out[0] = (bl_part_spec){"codes", BL_U8, g->out, bl_code_bytes(g->in, f->bits)};
    out[1] = (bl_part_spec){"scales", g->scale, g->out, TERMS * groups};
    out[2] = (bl_part_spec){"means", g->scale, g->out, TERMS * groups};
    out[3] = (bl_part_spec){"salient", BL_U8, 1, bl_code_bytes(g->in, 1)};
    return 4;
}

/* The values of the four codes of a group, in a salient column and in another. */
static void values_of(const float *scale, const float *mean, float value[2][4])
{
    for (int c = 0; c < 4; c++) {
        float s = c & 1 ? 1 : -1, s2 = c & 2 ? 1 : -1;
        value[0][c] = mean[c >> 1] + s * scale[c >> 1];
        value[1][c] = mean[FIRST] + s * scale[FIRST] + (mean[SECOND] + s2 * scale[SECOND]);
    }
}
static void group_values(const bl_shape *g, const void *const part[], int64_t row, int64_t i, float value[2][4])
{
    float scale[TERMS], mean[TERMS];
    for (int t = 0; t < TERMS; t++) {
        int64_t at = (row * bl_shape_groups(g) + i) * TERMS + t;
        scale[t] = bl_scale_at(part[1], g->scale, at);
        mean[t] = bl_scale_at(part[2], g->scale, at);
    }
    values_of(scale, mean, value);
}

static void unpack(const bl_format *f, const bl_shape *g, const void *const part[], int64_t row, int64_t k0, int64_t n,
                   float *dst)
{
    const uint8_t *codes = (const uint8_t *)part[0] + row * bl_code_bytes(g->in, f->bits), *salient = part[3];
    float value[2][4] = {{0}};
    uint8_t q[CHUNK];
    int64_t group = -1;
    for (int64_t k = k0; k < k0 + n; k += CHUNK) {
        int64_t m = BL_MIN(k0 + n - k, CHUNK);
        bl_codes_read(codes, f->bits, k, m, q);
        for (int64_t j = k; j < k + m; j++) {
            if (j / g->group != group) group_values(g, part, row, group = j / g->group, value);
            dst[j - k0] = value[bl_code_at(salient, 1, j)][q[j - k]];
        }
    }
}

/* Of the four values of its column the nearest to each weight, the first of equals. The part `salient` is there. */
static bl_status encode(const bl_format *f, const bl_shape *g, const float *w, const float *scale, const float *zero,
                        void *const part[], bl_err *e)
{
    bl_status st = BL_OK;
    int64_t groups = bl_shape_groups(g), bytes = bl_code_bytes(g->in, f->bits);
    uint8_t *q = NULL;
    BL_TRY(bl_fmt_check(f, g, e));
    if (!(q = bl_new((size_t)g->in, 1, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t r = 0; r < g->out; r++) {
        const float *x = w + r * g->in;
        float value[2][4];
        if (!bl_all_finite(x, g->in)) {
            st = bl_fail_nonfinite(f, x, r, 0, g->in, e);
            goto out;
        }
        for (int64_t i = 0; i < groups * TERMS; i++) {
            int64_t at = r * groups * TERMS + i;
            float bad = isfinite(bl_scale_put(part[1], g->scale, at, scale[at], false)) ? zero[at] : scale[at];
            if (!isfinite(bl_scale_put(part[2], g->scale, at, zero[at], false)) || !isfinite(bad)) {
                st = bl_fail_scale(f, g, r, i / TERMS, bad, e);
                goto out;
            }
        }
        for (int64_t k = 0; k < g->in; k++) {
            if (k % g->group == 0) group_values(g, (const void *const *)part, r, k / g->group, value);
            const float *v = value[bl_code_at(part[3], 1, k)];
            int best = 0;
            for (int c = 1; c < 4; c++)
                if (fabsf(v[c] - x[k]) < fabsf(v[best] - x[k])) best = c;
            q[k] = (uint8_t)best;
        }
        bl_codes_write((uint8_t *)part[0] + r * bytes, f->bits, g->in, q);
    }
out:
    bl_free(q);
    return st;
}

/* TERMS numbers each. No column is salient; large is what is larger than the mean size of the group. */
static void fit(const float *w, int64_t n, float *scale, float *mean)
{
    double size = 0, sum[2] = {0}, dev[2] = {0};
    int64_t count[2] = {0};
    for (int64_t j = 0; j < n; j++) size += fabsf(w[j]) / (double)n;
    for (int64_t j = 0; j < n; j++) {
        sum[fabsf(w[j]) > size] += w[j];
        count[fabsf(w[j]) > size]++;
    }
    for (int t = 0; t < 2; t++) sum[t] /= (double)BL_MAX(count[t], 1);
    for (int64_t j = 0; j < n; j++) dev[fabsf(w[j]) > size] += fabs(w[j] - sum[fabsf(w[j]) > size]);
    for (int t = 0; t < TERMS; t++) {
        mean[t] = t < FIRST ? (float)sum[t] : 0;
        scale[t] = t < FIRST ? (float)(dev[t] / (double)BL_MAX(count[t], 1)) : 0;
    }
}
static bl_status pack(const bl_format *f, const bl_shape *g, const float *w, void *const part[], bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(bl_fmt_check(f, g, e));
    memset(part[3], 0, (size_t)bl_code_bytes(g->in, 1));
    BL_TRY(bl_fmt_pack_fit(f, g, w, TERMS, fit, part, e));
out:
    return st;
}

const bl_format bl_format_sign_split = {.name = "sign_split",
                                        .doc = "signs about two means of a group, in some columns the sum of two",
                                        .check = bl_fmt_check,
                                        .encode = encode,
                                        BL_FORMAT_OF_CODES(2, BL_CODES_SIGN_SPLIT)};
