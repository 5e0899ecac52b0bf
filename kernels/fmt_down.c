/* fmt_down.c - int1_down … int8_down: b-bit codes whose groups run down the columns, with zero points between codes.
 *
 *     codes  [out, ceil(in b / 8)]     as in fmt_int.c
 *     scales [1, G]                    F16, BF16 or F32; G = ceil(out in / group)
 *     zeros  [1, G]                    of the same type
 *
 * The weight at flat position p = row in + column is of group p mod G: where G is a multiple of `in`, a group is in one
 * column, its rows G / in apart (HQQ's axis 0). value = (code - zero) * scale, code = clamp(rint(w / scale + zero), 0,
 * 2^b - 1), half to even, with scale and zero as they are stored.
 */
#include "format_impl.h"
#include <inttypes.h>
#include <math.h>

enum { CHUNK = 256 };

static int64_t groups_of(const bl_shape *g) { return (g->out * g->in + g->group - 1) / g->group; }

static bl_status check(const bl_format *f, const bl_shape *g, bl_err *e)
{
    bl_shape rows = *g; /* what is asked of groups of neighbours, but for their size */
    int64_t n;
    rows.group = 1;
    bl_status st = bl_fmt_check(f, &rows, e);
    if (st != BL_OK) return st;
    if (__builtin_mul_overflow(g->out, g->in, &n) || g->group < 1 || g->group > n)
        return bl_fail(e, BL_E_CONFIG, "%s: group %" PRId64 " is not in 1..%" PRId64 " (the weights)", f->name,
                       g->group, g->out * g->in);
    return BL_OK;
}

static int parts(const bl_format *f, const bl_shape *g, bl_part_spec out[BL_MAX_PARTS])
{
    out[0] = (bl_part_spec){"codes", BL_U8, g->out, bl_code_bytes(g->in, f->bits)};
    out[1] = (bl_part_spec){"scales", g->scale, 1, groups_of(g)};
    out[2] = (bl_part_spec){"zeros", g->scale, 1, groups_of(g)};
    return 3;
}

static void unpack(const bl_format *f, const bl_shape *g, const void *const part[], int64_t row, int64_t k0, int64_t n,
                   float *dst)
{
    const uint8_t *codes = (const uint8_t *)part[0] + row * bl_code_bytes(g->in, f->bits);
    int64_t groups = groups_of(g), at = (row * g->in + k0) % groups;
    uint8_t q[CHUNK];

    for (int64_t k = 0; k < n; k += CHUNK) {
        int64_t m = BL_MIN(n - k, CHUNK);
        bl_codes_read(codes, f->bits, k0 + k, m, q);
        for (int64_t j = 0; j < m; j++) {
            dst[k + j] = ((float)q[j] - bl_scale_at(part[2], g->scale, at)) * bl_scale_at(part[1], g->scale, at);
            if (++at == groups) at = 0;
        }
    }
}

static bl_status put_scales(const bl_format *f, const bl_shape *g, const float *scale, const float *zero,
                            void *const part[], bl_err *e)
{
    for (int64_t i = 0; i < groups_of(g); i++) {
        if (!isfinite(bl_scale_put(part[1], g->scale, i, scale[i], true)))
            return bl_fail_scale(f, g, 0, i, scale[i], e);
        if (!isfinite(bl_scale_put(part[2], g->scale, i, zero[i], false)))
            return bl_fail(e, BL_E_NUMERIC, "%s: group %" PRId64 ": zero point %g does not fit %s", f->name, i,
                           (double)zero[i], bl_dtype_name(g->scale));
    }
    return BL_OK;
}

static bl_status encode(const bl_format *f, const bl_shape *g, const float *w, const float *scale, const float *zero,
                        void *const part[], bl_err *e)
{
    bl_status st = BL_OK;
    int64_t groups = groups_of(g), row_bytes = bl_code_bytes(g->in, f->bits), at = 0;
    float qmax = (float)((1 << f->bits) - 1);
    uint8_t *q = NULL;

    BL_TRY(check(f, g, e));
    BL_TRY(put_scales(f, g, scale, zero, part, e));
    if (!(q = bl_new((size_t)g->in, 1, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t r = 0; r < g->out; r++) {
        const float *x = w + r * g->in;
        if (!bl_all_finite(x, g->in)) {
            st = bl_fail_nonfinite(f, x, r, 0, g->in, e);
            goto out;
        }
        for (int64_t k = 0; k < g->in; k++) {
            float v = x[k] / bl_scale_at(part[1], g->scale, at) + bl_scale_at(part[2], g->scale, at);
            q[k] = (uint8_t)rintf(fminf(fmaxf(v, 0), qmax));
            if (++at == groups) at = 0;
        }
        bl_codes_write((uint8_t *)part[0] + r * row_bytes, f->bits, g->in, q);
    }
out:
    bl_free(q);
    return st;
}

static bl_status pack(const bl_format *f, const bl_shape *g, const float *w, void *const part[], bl_err *e)
{
    bl_status st = BL_OK;
    int64_t groups, n = g->out * g->in;
    float *scale = NULL, *zero = NULL, *tmp = NULL;

    BL_TRY(check(f, g, e));
    groups = groups_of(g);
    if (!(scale = bl_new((size_t)groups, sizeof *scale, e)) || !(zero = bl_new((size_t)groups, sizeof *zero, e)) ||
        !(tmp = bl_new((size_t)g->group, sizeof *tmp, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < groups; i++) {
        int64_t m = 0;
        for (int64_t p = i; p < n; p += groups) tmp[m++] = w[p];
        bl_fit_float(tmp, m, (1 << f->bits) - 1, &scale[i], &zero[i]);
    }
    BL_TRY(encode(f, g, w, scale, zero, part, e));
out:
    bl_free(scale);
    bl_free(zero);
    bl_free(tmp);
    return st;
}

#define DOWN(b)                                                                                                        \
    const bl_format bl_format_int##b##_down = {.name = "int" #b "_down",                                               \
                                               .doc = #b "-bit integers, scale and zero point per group of a column",  \
                                               .check = check,                                                         \
                                               .encode = encode,                                                       \
                                               BL_FORMAT_OF_CODES(b, BL_CODES_DOWN)}
DOWN(1);
DOWN(2);
DOWN(3);
DOWN(4);
DOWN(5);
DOWN(6);
DOWN(7);
DOWN(8);
