/* fmt_mixed.c - int2_mixed … int7_mixed: integer codes of N bits on average, N - 1, N or N + 1 in each group of inputs,
 * the same for all rows (SliM-LLM).
 *
 *     codes   [out, ceil(in N / 8)]       group after group, each with codes of its own width, low bits first
 *     scales  [out, groups]               F16, BF16 or F32
 *     zeros   [out, ceil(groups N / 8)]   packed one after another, each as wide as the codes of its group;
 *                                         N = 2: [out, groups], a byte each
 *     widths  [1, groups]                 N - 1, N or N + 1; they sum to groups x N, a short last group has N
 *
 * value = (code - zero) * scale. A group of one bit: value = mean + (code ? scale : -scale), mean = (zero - 128) / 127
 * * scale. With more than one group a group is whole bytes of any width: a multiple of 8.
 */
#include "format_impl.h"
#include <inttypes.h>
#include <math.h>

enum { CHUNK = 256 };

static bool by_bytes(const bl_format *f) { return f->bits == 2; }
static int64_t zero_row(const bl_format *f, int64_t groups) /* bytes */
{
    return by_bytes(f) ? groups : bl_code_bytes(groups, f->bits);
}

static bl_status check(const bl_format *f, const bl_shape *g, bl_err *e)
{
    bl_status st = bl_fmt_check(f, g, e);
    if (st == BL_OK && g->group < g->in && g->group % 8)
        st = bl_fail(e, BL_E_CONFIG, "%s: group %" PRId64 " is not a multiple of 8", f->name, g->group);
    return st;
}

static int parts(const bl_format *f, const bl_shape *g, bl_part_spec out[BL_MAX_PARTS])
{
    int64_t groups = bl_shape_groups(g);
    out[0] = (bl_part_spec){"codes", BL_U8, g->out, bl_code_bytes(g->in, f->bits)};
    out[1] = (bl_part_spec){"scales", g->scale, g->out, groups};
    out[2] = (bl_part_spec){"zeros", BL_U8, g->out, zero_row(f, groups)};
    out[3] = (bl_part_spec){"widths", BL_U8, 1, groups};
    return 4;
}

/* Widths come out of files: no code is read outside its row whatever they are. */
static int width_at(const bl_format *f, const bl_shape *g, const uint8_t *widths, int64_t i)
{
    int64_t end = (i + 1) * g->group;
    return end > g->in || widths[i] < f->bits - 1 || widths[i] > f->bits + 1 ? f->bits : widths[i];
}

static unsigned bits_at(const uint8_t *p, int64_t bit, int n)
{
    unsigned v = 0;
    for (int i = 0; i < n; i++, bit++) v |= (unsigned)(p[bit >> 3] >> (bit & 7) & 1) << i;
    return v;
}
static void put_bits(uint8_t *p, int64_t bit, int n, unsigned v)
{
    for (int i = 0; i < n; i++, bit++)
        p[bit >> 3] = (uint8_t)((p[bit >> 3] & ~(1u << (bit & 7))) | (v >> i & 1) << (bit & 7));
}

static float mean_of(unsigned byte, float scale) { return ((float)byte - 128) / 127 * scale; }

static void unpack(const bl_format *f, const bl_shape *g, const void *const part[], int64_t row, int64_t k0, int64_t n,
                   float *dst)
{
    const uint8_t *codes = (const uint8_t *)part[0] + row * bl_code_bytes(g->in, f->bits), *widths = part[3];
    int64_t groups = bl_shape_groups(g), bits = 0, zero_bits = 0, bytes = bl_code_bytes(g->in, f->bits),
            zero_bytes = zero_row(f, groups);
    const uint8_t *zeros = (const uint8_t *)part[2] + row * zero_bytes;
    uint8_t q[CHUNK];

    for (int64_t i = 0; i * g->group < k0 + n; i++) {
        int64_t first = i * g->group, m = BL_MIN(g->group, g->in - first);
        int b = width_at(f, g, widths, i);
        if ((bits + m * b + 7) / 8 > bytes || zero_bits + b > 8 * zero_bytes) b = 0; /* widths that sum to too much */
        if (first + m > k0) {
            float s = bl_scale_at(part[1], g->scale, row * groups + i);
            unsigned z = by_bytes(f) ? zeros[i] : b ? bits_at(zeros, zero_bits, b) : 0;
            float off = b == 1 ? mean_of(z, s) : 0;
            for (int64_t k = BL_MAX(k0, first), end; k < BL_MIN(k0 + n, first + m); k = end) {
                end = BL_MIN(BL_MIN(k0 + n, first + m), k + CHUNK);
                if (b) bl_codes_read(codes + bits / 8, b, k - first, end - k, q);
                for (int64_t j = k; j < end; j++)
                    dst[j - k0] = !b       ? 0
                                  : b == 1 ? off + (float)(2 * q[j - k] - 1) * s
                                           : ((float)q[j - k] - (float)z) * s;
            }
        }
        bits += m * b;
        zero_bits += by_bytes(f) ? 0 : b;
    }
}

static bl_status check_widths(const bl_format *f, const bl_shape *g, const uint8_t *widths, bl_err *e)
{
    int64_t groups = bl_shape_groups(g), sum = 0;
    for (int64_t i = 0; i < groups; i++) {
        if (width_at(f, g, widths, i) != widths[i])
            return bl_fail(e, BL_E_NUMERIC, "%s: group %" PRId64 " has codes of %d bits", f->name, i, (int)widths[i]);
        sum += widths[i];
    }
    if (sum != groups * f->bits)
        return bl_fail(e, BL_E_NUMERIC, "%s: widths sum to %" PRId64 ", expected %" PRId64, f->name, sum,
                       groups * f->bits);
    return BL_OK;
}

/* One group of a row; `zero` of one bit: the mean. */
static bl_status encode_group(const bl_format *f, const float *w, int64_t n, int b, float s, float zero, uint8_t *q,
                              unsigned *z, bl_err *e)
{
    float qmax = (float)((1 << b) - 1);
    if (b == 1) {
        *z = (unsigned)(rintf(fminf(fmaxf(s > 0 ? zero / s : 0, -1), 1) * 127) + 128);
        float mean = mean_of(*z, s);
        for (int64_t i = 0; i < n; i++) q[i] = w[i] >= mean;
        return BL_OK;
    }
    if (!(zero >= 0 && zero <= qmax && zero == rintf(zero)))
        return bl_fail(e, BL_E_NUMERIC, "%s: zero point %g cannot be stored in a code of %d bits", f->name,
                       (double)zero, b);
    *z = (unsigned)zero;
    for (int64_t i = 0; i < n; i++) q[i] = (uint8_t)fminf(fmaxf(rintf(w[i] / s) + zero, 0), qmax);
    return BL_OK;
}

static bl_status encode(const bl_format *f, const bl_shape *g, const float *w, const float *scale, const float *zero,
                        void *const part[], bl_err *e)
{
    bl_status st = BL_OK;
    int64_t groups = bl_shape_groups(g), row_bytes = bl_code_bytes(g->in, f->bits), zero_bytes = zero_row(f, groups);
    const uint8_t *widths = part[3];
    uint8_t *q = NULL;

    BL_TRY(check(f, g, e));
    BL_TRY(check_widths(f, g, widths, e));
    if (!(q = bl_new((size_t)g->group, 1, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t r = 0; r < g->out; r++) {
        uint8_t *codes = (uint8_t *)part[0] + r * row_bytes, *zeros = (uint8_t *)part[2] + r * zero_bytes;
        int64_t bits = 0, zero_bits = 0;
        memset(zeros, 0, (size_t)zero_bytes);
        for (int64_t i = 0; i < groups; i++) {
            int64_t k = i * g->group, n = BL_MIN(g->group, g->in - k), at = r * groups + i;
            unsigned z = 0;
            if (!bl_all_finite(w + r * g->in + k, n)) {
                st = bl_fail_nonfinite(f, w + r * g->in + k, r, k, n, e);
                goto out;
            }
            float s = bl_scale_put(part[1], g->scale, at, scale[at], widths[i] > 1);
            if (!isfinite(s)) {
                st = bl_fail_scale(f, g, r, i, scale[at], e);
                goto out;
            }
            BL_TRY(encode_group(f, w + r * g->in + k, n, widths[i], s, zero[at], q, &z, e));
            bl_codes_write(codes + bits / 8, widths[i], n, q);
            if (by_bytes(f)) zeros[i] = (uint8_t)z;
            else put_bits(zeros, zero_bits, widths[i], z);
            bits += n * widths[i];
            zero_bits += widths[i];
        }
    }
out:
    bl_free(q);
    return st;
}

/* All groups alike. */
static bl_status pack(const bl_format *f, const bl_shape *g, const float *w, void *const part[], bl_err *e)
{
    bl_status st = BL_OK;
    int64_t groups = bl_shape_groups(g);
    float *scale = NULL, *zero = NULL;
    BL_TRY(check(f, g, e));
    memset(part[3], f->bits, (size_t)groups);
    if (!(scale = bl_new((size_t)(g->out * groups), sizeof *scale, e)) ||
        !(zero = bl_new((size_t)(g->out * groups), sizeof *zero, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < g->out * groups; i++) {
        int64_t k = i % groups * g->group;
        bl_fit_zero(w + i / groups * g->in + k, BL_MIN(g->group, g->in - k), (1 << f->bits) - 1, &scale[i], &zero[i]);
    }
    BL_TRY(encode(f, g, w, scale, zero, part, e));
out:
    bl_free(scale);
    bl_free(zero);
    return st;
}

#define MIXED(b)                                                                                                       \
    const bl_format bl_format_int##b##_mixed = {.name = "int" #b "_mixed",                                             \
                                                .doc = "integers of " #b                                               \
                                                       " bits on average, one less or more in some groups",            \
                                                .check = check,                                                        \
                                                .encode = encode,                                                      \
                                                BL_FORMAT_OF_CODES(b, BL_CODES_MIXED)}
MIXED(2);
MIXED(3);
MIXED(4);
MIXED(5);
MIXED(6);
MIXED(7);
