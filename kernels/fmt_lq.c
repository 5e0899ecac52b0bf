/* fmt_lq.c - nf2_lq nf3_lq nf4_lq nf8_lq: quantiles of a normal distribution whose scales are codes of a width of
 * their own (LQ-LoRA, Guo et al. 2023, arXiv 2311.12023, section 3.2: the configuration b, b0, b1, B0, B1).
 *
 *     codes   [out, ceil(in b / 8)]      as in nf4
 *     scales  u8 [ceil(out groups b0/8)] codes of b0 = shape.scale_bits bits, one row of them
 *     scales2 [blocks]                   shape.scale (b1): the largest of s - offset of B1 = shape.scale_group scales
 *     offset  f32 [1]                    the least s of all
 *
 * s = max|w| of a group of B0 = shape.group, k = rint((s - offset) (2^b0 - 1) / scales2); what is read is s' = k
 * scales2 / (2^b0 - 1) + offset, and the code of w is that of the nearest value to w / s': what is beyond it takes an
 * end. Where all scales of a block are the least one k is 0, where the published code stops.
 */
#include "fmt_table.h"
#include <math.h>
#include <string.h>

static int parts(const bl_format *f, const bl_shape *g, bl_part_spec out[BL_MAX_PARTS])
{
    const int64_t all = bl_fmt_all_groups(g), blocks = bl_fmt_blocks(all, bl_shape_scale_group(g)),
                  bytes = all < 0 ? all : bl_code_bytes(all, bl_shape_scale_bits(g));
    out[0] = (bl_part_spec){"codes", BL_U8, g->out, bl_code_bytes(g->in, f->bits)};
    out[1] = (bl_part_spec){"scales", BL_U8, 1, bytes};
    out[2] = (bl_part_spec){"scales2", g->scale, 1, blocks};
    out[3] = (bl_part_spec){"offset", BL_F32, 1, 1};
    return 4;
}

static float scale_at(const bl_shape *g, const void *const part[], int64_t i)
{
    const int b0 = bl_shape_scale_bits(g);
    const float top = bl_scale_at(part[2], g->scale, i / bl_shape_scale_group(g)) * (1 / (float)((1 << b0) - 1)),
                above = (float)bl_code_at(part[1], b0, i) * top;
    return above + *(const float *)part[3];
}

static bl_table_group group_at(const bl_shape *g, const void *const part[], int64_t i)
{
    return (bl_table_group){scale_at(g, part, i), -0.0f};
}

static void unpack(const bl_format *f, const bl_shape *g, const void *const part[], int64_t row, int64_t k0, int64_t n,
                   float *dst)
{
    bl_table_unpack(f, g, part, row, k0, n, group_at, dst);
}

/* Largest |w| of each group, s [out groups]. */
static bl_status tops(const bl_format *f, const bl_shape *g, const float *w, float *s, bl_err *e)
{
    const int64_t groups = bl_shape_groups(g);
    for (int64_t r = 0; r < g->out; r++)
        for (int64_t i = 0; i < groups; i++) {
            const int64_t k = i * g->group, n = BL_MIN(g->group, g->in - k);
            const float *x = w + r * g->in + k;
            int32_t top = 0, u; /* of the bits without the sign, which are in the order of their floats */
            for (int64_t j = 0; j < n; j++) {
                memcpy(&u, x + j, sizeof u);
                u &= INT32_MAX;
                top = u > top ? u : top;
            }
            if (top >= 0x7f800000) return bl_fail_nonfinite(f, x, r, k, n, e);
            memcpy(&s[r * groups + i], &top, sizeof top);
        }
    return BL_OK;
}

/* Scales s [all] into their parts; code: room for theirs. */
static bl_status code_scales(const bl_format *f, const bl_shape *g, const float *s, uint8_t *code, void *const part[],
                             bl_err *e)
{
    const int64_t all = g->out * bl_shape_groups(g), each = bl_shape_scale_group(g);
    const int b0 = bl_shape_scale_bits(g);
    const float most = (float)((1 << b0) - 1);
    float least = s[0];
    for (int64_t i = 1; i < all; i++) least = fminf(least, s[i]);
    for (int64_t i = 0; i < all; i += each) {
        const int64_t n = BL_MIN(each, all - i);
        float top = 0;
        for (int64_t j = 0; j < n; j++) top = fmaxf(top, s[i + j] - least);
        const float stored = bl_scale_put(part[2], g->scale, i / each, top, top > 0), by = most / stored;
        if (!isfinite(stored)) return bl_fail_scale(f, g, i / bl_shape_groups(g), i % bl_shape_groups(g), top, e);
        for (int64_t j = 0; j < n; j++) {
            const float above = s[i + j] - least, k = isinf(by) ? above / stored * most : above * by;
            code[i + j] = stored > 0 ? (uint8_t)fminf(rintf(k), most) : 0;
        }
    }
    *(float *)part[3] = least;
    bl_codes_write(part[1], b0, all, code);
    return BL_OK;
}

static bl_status pack(const bl_format *f, const bl_shape *g, const float *w, void *const part[], bl_err *e)
{
    bl_status st = BL_OK;
    const int64_t groups = bl_shape_groups(g), all = g->out * groups;
    const void *read[BL_MAX_PARTS] = {part[0], part[1], part[2], part[3]};
    bl_codebook t;
    float *s = NULL;
    uint8_t *code = NULL;

    BL_TRY(f->check(f, g, e));
    if (!(s = bl_new((size_t)all, sizeof *s, e)) || !(code = bl_new((size_t)BL_MAX(all, g->in), 1, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(tops(f, g, w, s, e));
    BL_TRY(code_scales(f, g, s, code, part, e));
    bl_codebook_init(&t, f->table, 1 << f->bits);
    for (int64_t r = 0; r < g->out; r++) {
        const float *x = w + r * g->in;
        for (int64_t i = 0; i < groups; i++) {
            const int64_t k = i * g->group, n = BL_MIN(g->group, g->in - k);
            const float scale = scale_at(g, read, r * groups + i);
            for (int64_t j = k; j < k + n; j++) code[j] = scale > 0 ? bl_codebook_code(&t, x[j] / scale) : t.zero;
        }
        bl_codes_write((uint8_t *)part[0] + r * bl_code_bytes(g->in, f->bits), f->bits, g->in, code);
    }
out:
    bl_free(code);
    bl_free(s);
    return st;
}

/* What is read of the nearest codes to w / scale: a chain of choices, so that a loop takes vectors. */
#define NEAREST(m)                                                                                                     \
    static void nearest##m(const float *bound, const float *value, const float *w, int64_t n, float scale, float *q)   \
    {                                                                                                                  \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            const float v = w[i] / scale;                                                                              \
            float at = value[0];                                                                                       \
            for (int k = 0; k + 1 < (m); k++) at = bound[k] < v ? value[k + 1] : at;                                   \
            q[i] = at * scale;                                                                                         \
        }                                                                                                              \
    }
NEAREST(4)
NEAREST(8)
NEAREST(16)

bl_status bl_lq_kept(const bl_format *f, const bl_shape *g, const float *w, float *q, bl_err *e)
{
    bl_status st = BL_OK;
    const int64_t groups = bl_shape_groups(g), all = g->out * groups;
    bl_part_spec spec[BL_MAX_PARTS];
    void *part[BL_MAX_PARTS] = {NULL};
    float *s = NULL, value[256];
    uint8_t *code = NULL;
    bl_codebook t;

    BL_TRY(f->check(f, g, e));
    const int n = parts(f, g, spec);
    for (int i = 1; i < n; i++) /* codes of scales are asked for again and again, those of weights never */
        if (!(part[i] = bl_new((size_t)(spec[i].rows * spec[i].cols), bl_dtype_bytes(spec[i].dtype), e))) {
            st = BL_E_NOMEM;
            goto out;
        }
    if (!(s = bl_new((size_t)all, sizeof *s, e)) || !(code = bl_new((size_t)all, 1, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(tops(f, g, w, s, e));
    BL_TRY(code_scales(f, g, s, code, part, e));
    bl_codebook_init(&t, f->table, 1 << f->bits);
    for (int i = 0; i < t.span; i++) value[i] = f->table[t.code[i]];
    for (int64_t i = 0; i < all; i++) {
        const int64_t k = i % groups * g->group, m = BL_MIN(g->group, g->in - k), at = i / groups * g->in + k;
        const float scale = scale_at(g, (const void *const *)part, i);
        if (!(scale > 0))
            for (int64_t j = at; j < at + m; j++) q[j] = f->table[t.zero] * scale + -0.0f;
        else if (f->bits == 2) nearest4(t.bound, value, w + at, m, scale, q + at);
        else if (f->bits == 3) nearest8(t.bound, value, w + at, m, scale, q + at);
        else if (f->bits == 4) nearest16(t.bound, value, w + at, m, scale, q + at);
        else
            for (int64_t j = at; j < at + m; j++) q[j] = f->table[bl_codebook_code(&t, w[j] / scale)] * scale;
    }
out:
    for (int i = 0; i < BL_MAX_PARTS; i++) bl_free(part[i]);
    bl_free(code);
    bl_free(s);
    return st;
}

#define LQ(b, text)                                                                                                    \
    const bl_format bl_format_nf##b##_lq = {.name = "nf" #b "_lq",                                                     \
                                            .doc = text,                                                               \
                                            .coded_scales = true,                                                      \
                                            .table = bl_nf##b,                                                         \
                                            .check = bl_fmt_check,                                                     \
                                            BL_FORMAT_OF_CODES(b, BL_CODES_LQ)}
LQ(8, "NormalFloat of 256 values, scales coded above the least of them in 2 to 8 bits");
LQ(4, "the same with 16 values");
LQ(3, "the same with 8 values");
LQ(2, "the same with 4 values");
