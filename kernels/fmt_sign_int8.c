/* fmt_sign_int8.c - sign_int8: one sign a weight about the mean of its group, and some weights, wherever they are, in 8
 * bits (PB-LLM).
 *
 *     codes    [out, ceil(in / 8)]           a bit a weight: its sign (1: +), of a salient one bit 7 of its code
 *     scales   [out, groups + 1]             F16, BF16 or F32: of the groups, then of the row's salient weights
 *     means    [out, groups + 1]             of the groups, then the zero point of the salient weights, 0 .. 255
 *     salient  [out, ceil(in / 8)]           a bit a weight: 1 where it is salient
 *     large    [1, ceil(7 salient / 8)]      bits 0 .. 6 of their codes, row after row; at least a byte
 *     first    [out, 1]                      I32: salient weights in the rows before
 *
 * value = mean + s scale; of a salient weight (code - zero) scale. shape.salient is how many of them there may be: the
 * bytes follow from it and not from the weights.
 */
#include "format_impl.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { LOW = 7 };

static bl_status check(const bl_format *f, const bl_shape *g, bl_err *e)
{
    bl_status st = bl_fmt_check(f, g, e);
    if (st == BL_OK && (g->salient > INT32_MAX || g->salient > g->out * g->in))
        st = bl_fail(e, BL_E_CONFIG, "%s: %" PRId64 " salient weights are too many of %" PRId64, f->name, g->salient,
                     g->out * g->in);
    return st;
}

static int parts(const bl_format *f, const bl_shape *g, bl_part_spec out[BL_MAX_PARTS])
{
    int64_t groups = bl_shape_groups(g);
    (void)f;
    out[0] = (bl_part_spec){"codes", BL_U8, g->out, bl_code_bytes(g->in, 1)};
    out[1] = (bl_part_spec){"scales", g->scale, g->out, groups + 1};
    out[2] = (bl_part_spec){"means", g->scale, g->out, groups + 1};
    out[3] = (bl_part_spec){"salient", BL_U8, g->out, bl_code_bytes(g->in, 1)};
    out[4] = (bl_part_spec){"large", BL_U8, 1, BL_MAX(bl_code_bytes(g->salient, LOW), 1)};
    out[5] = (bl_part_spec){"first", BL_I32, g->out, 1};
    return 6;
}

/* Of the n first bits. */
static int64_t count_ones(const uint8_t *bits, int64_t n)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n / 8; i++) count += __builtin_popcount(bits[i]);
    return n % 8 ? count + __builtin_popcount(bits[n / 8] & ((1u << n % 8) - 1)) : count;
}

static void unpack(const bl_format *f, const bl_shape *g, const void *const part[], int64_t row, int64_t k0, int64_t n,
                   float *dst)
{
    int64_t bytes = bl_code_bytes(g->in, 1), groups = bl_shape_groups(g), last = row * (groups + 1) + groups, i = -1;
    const uint8_t *codes = (const uint8_t *)part[0] + row * bytes, *salient = (const uint8_t *)part[3] + row * bytes;
    float scale = 0, mean = 0, step = bl_scale_at(part[1], g->scale, last), zero = bl_scale_at(part[2], g->scale, last);
    int32_t first;
    (void)f;
    memcpy(&first, (const char *)part[5] + row * (int64_t)sizeof first, sizeof first);
    int64_t at = first + count_ones(salient, k0);
    for (int64_t k = k0; k < k0 + n; k++) {
        unsigned sign = bl_code_at(codes, 1, k);
        if (bl_code_at(salient, 1, k)) { /* where they are comes out of files: no code is read outside the part */
            bool there = at >= 0 && at < g->salient;
            dst[k - k0] = there ? ((float)(sign << LOW | bl_code_at(part[4], LOW, at)) - zero) * step : 0;
            at++;
            continue;
        }
        if (k / g->group != i) {
            i = k / g->group;
            scale = bl_scale_at(part[1], g->scale, row * (groups + 1) + i);
            mean = bl_scale_at(part[2], g->scale, row * (groups + 1) + i);
        }
        dst[k - k0] = mean + (sign ? scale : -scale);
    }
}

/* Scales and means of a row as they are stored. */
static bl_status put_scales(const bl_format *f, const bl_shape *g, int64_t r, const float *scale, const float *zero,
                            void *const part[], bl_err *e)
{
    int64_t n = bl_shape_groups(g) + 1;
    for (int64_t i = r * n; i < (r + 1) * n; i++) {
        bool of_salient = i == (r + 1) * n - 1;
        float bad = isfinite(bl_scale_put(part[1], g->scale, i, scale[i], of_salient)) ? zero[i] : scale[i];
        if (!isfinite(bl_scale_put(part[2], g->scale, i, zero[i], false)) || !isfinite(bad))
            return bl_fail_scale(f, g, r, i - r * n, bad, e);
        if (of_salient && !(zero[i] >= 0 && zero[i] <= 255 && zero[i] == rintf(zero[i])))
            return bl_fail(e, BL_E_NUMERIC, "%s: zero point %g of row %" PRId64 " cannot be stored in 8 bits", f->name,
                           (double)zero[i], r);
    }
    return BL_OK;
}

/* Of its values the nearest to each weight, + of equals. The part `salient` is there. */
static bl_status encode(const bl_format *f, const bl_shape *g, const float *w, const float *scale, const float *zero,
                        void *const part[], bl_err *e)
{
    bl_status st = BL_OK;
    int64_t groups = bl_shape_groups(g), bytes = bl_code_bytes(g->in, 1), count = 0;
    uint8_t *q = NULL, *large = NULL;
    BL_TRY(check(f, g, e));
    if (!(q = bl_new((size_t)g->in, 1, e)) || !(large = bl_new((size_t)BL_MAX(g->salient, 1), 1, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t r = 0; r < g->out; r++) {
        const float *x = w + r * g->in;
        const uint8_t *salient = (const uint8_t *)part[3] + r * bytes;
        int64_t last = r * (groups + 1) + groups;
        int32_t first = (int32_t)count;
        if (!bl_all_finite(x, g->in)) {
            st = bl_fail_nonfinite(f, x, r, 0, g->in, e);
            goto out;
        }
        BL_TRY(put_scales(f, g, r, scale, zero, part, e));
        if (count + count_ones(salient, g->in) > g->salient) {
            st = bl_fail(e, BL_E_NUMERIC, "%s: more than %" PRId64 " weights are salient", f->name, g->salient);
            goto out;
        }
        memcpy((char *)part[5] + r * (int64_t)sizeof first, &first, sizeof first);
        for (int64_t k = 0; k < g->in; k++) {
            if (!bl_code_at(salient, 1, k)) {
                q[k] = x[k] >= bl_scale_at(part[2], g->scale, r * (groups + 1) + k / g->group);
                continue;
            }
            float c = rintf(x[k] / bl_scale_at(part[1], g->scale, last)) + zero[last];
            unsigned code = (unsigned)fminf(fmaxf(c, 0), 255);
            q[k] = (uint8_t)(code >> LOW);
            large[count++] = (uint8_t)(code & ((1u << LOW) - 1));
        }
        bl_codes_write((uint8_t *)part[0] + r * bytes, 1, g->in, q);
    }
    memset(part[4], 0, (size_t)BL_MAX(bl_code_bytes(g->salient, LOW), 1));
    bl_codes_write(part[4], LOW, g->salient, large); /* fewer than there may be: zeros */
out:
    bl_free(q);
    bl_free(large);
    return st;
}

typedef struct sized {
    float size;
    int64_t at;
} sized;
static int by_size(const void *a, const void *b) /* largest first, equal ones in order */
{
    const sized *x = a, *y = b;
    if (x->size != y->size) return x->size < y->size ? 1 : -1;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* The largest weights are salient. */
static bl_status choose(const bl_shape *g, const float *w, uint8_t *salient, bl_err *e)
{
    int64_t n = g->out * g->in, bytes = bl_code_bytes(g->in, 1);
    sized *all = bl_new((size_t)n, sizeof *all, e);
    if (!all) return BL_E_NOMEM;
    memset(salient, 0, (size_t)(g->out * bytes));
    for (int64_t i = 0; i < n; i++) all[i] = (sized){isfinite(w[i]) ? fabsf(w[i]) : 0, i};
    qsort(all, (size_t)n, sizeof *all, by_size);
    for (int64_t i = 0; i < g->salient; i++) {
        int64_t k = all[i].at % g->in;
        salient[all[i].at / g->in * bytes + k / 8] |= (uint8_t)(1u << k % 8);
    }
    bl_free(all);
    return BL_OK;
}

static bl_status pack(const bl_format *f, const bl_shape *g, const float *w, void *const part[], bl_err *e)
{
    bl_status st = BL_OK;
    int64_t groups = bl_shape_groups(g), bytes = bl_code_bytes(g->in, 1);
    float *scale = NULL, *mean = NULL;
    BL_TRY(check(f, g, e));
    BL_TRY(choose(g, w, part[3], e));
    if (!(scale = bl_new((size_t)(g->out * (groups + 1)), sizeof *scale, e)) ||
        !(mean = bl_new((size_t)(g->out * (groups + 1)), sizeof *mean, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t r = 0; r < g->out; r++) {
        const uint8_t *salient = (const uint8_t *)part[3] + r * bytes;
        const float *x = w + r * g->in;
        float *s = scale + r * (groups + 1), *m = mean + r * (groups + 1);
        for (int64_t i = 0; i < groups; i++) {
            int64_t k0 = i * g->group, k1 = BL_MIN(k0 + g->group, g->in), n = 0;
            double sum = 0, size = 0;
            for (int64_t k = k0; k < k1; k++) n += !bl_code_at(salient, 1, k);
            for (int64_t k = k0; k < k1; k++) sum += bl_code_at(salient, 1, k) ? 0 : x[k];
            m[i] = (float)(sum / (double)BL_MAX(n, 1));
            for (int64_t k = k0; k < k1; k++) size += bl_code_at(salient, 1, k) ? 0 : fabs(x[k] - m[i]);
            s[i] = (float)(size / (double)BL_MAX(n, 1));
        }
        bl_fit_zero(x, g->in, 255, &s[groups], &m[groups]);
    }
    BL_TRY(encode(f, g, w, scale, mean, part, e));
out:
    bl_free(scale);
    bl_free(mean);
    return st;
}

const bl_format bl_format_sign_int8 = {.name = "sign_int8",
                                       .doc = "signs about the mean of a group, some weights in 8 bits",
                                       .salient = true,
                                       .check = check,
                                       .encode = encode,
                                       BL_FORMAT_OF_CODES(1, BL_CODES_SIGN_INT8)};
