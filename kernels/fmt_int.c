/* fmt_int.c - int1 … int8: b-bit codes, a scale per group of inputs, with or without a zero point.
 *
 *     codes  [out, ceil(in b / 8)]        code i of a row in bits [i b, i b + b), low bits first
 *     scales [out, groups]                F16, BF16 or F32
 *     zeros  [out, ceil(groups b / 8)]    packed like codes (BL_ZERO_PACKED), or [out, groups] int16 (BL_ZERO_I16) or
 *                                         like scales (BL_ZERO_FLOAT), or none
 *
 * value = (code - zero) * scale; without zeros the zero is 2^(b-1), or (2^b - 1) / 2 (BL_ZERO_MIDDLE). One bit without
 * zeros: value = code ? scale : -scale.
 *
 * The scale is rounded to its stored type before the codes are computed, so the codes are the nearest ones of the grid
 * that will be read. A scale that its type rounds to 0 becomes the smallest number of the type: the division stays
 * finite, and the group is then coarser than its fit asked for. Codes: clamp(rint(w / scale) + zero, 0, qmax), half to
 * even, division in float.
 */
#include "format_impl.h"
#include <float.h>
#include <inttypes.h>
#include <math.h>

enum { CHUNK = 256 }; /* codes decoded at once, on the stack */

static int parts(const bl_format *f, const bl_shape *g, bl_part_spec out[BL_MAX_PARTS])
{
    int64_t groups = bl_shape_groups(g);

    out[0] = (bl_part_spec){"codes", BL_U8, g->out, bl_code_bytes(g->in, f->bits)};
    out[1] = (bl_part_spec){"scales", g->scale, g->out, groups};
    if (g->zero == BL_ZERO_NONE || g->zero == BL_ZERO_MIDDLE) return 2;
    if (g->zero == BL_ZERO_FLOAT) out[2] = (bl_part_spec){"zeros", g->scale, g->out, groups};
    else if (g->zero == BL_ZERO_PACKED) out[2] = (bl_part_spec){"zeros", BL_U8, g->out, bl_code_bytes(groups, f->bits)};
    else out[2] = (bl_part_spec){"zeros", BL_I16, g->out, groups};
    return 3;
}

static bool is_sign(const bl_format *f, const bl_shape *g) { return f->bits == 1 && g->zero == BL_ZERO_NONE; }
static float middle(int qmax) { return (float)qmax / 2; }

static float zero_at(const bl_format *f, const bl_shape *g, const void *const part[], int64_t row, int64_t groups,
                     int64_t i)
{
    switch (g->zero) {
    case BL_ZERO_NONE: return (float)(1 << (f->bits - 1));
    case BL_ZERO_PACKED: return bl_code_at((const uint8_t *)part[2] + row * bl_code_bytes(groups, f->bits), f->bits, i);
    case BL_ZERO_I16: return ((const int16_t *)part[2])[row * groups + i];
    case BL_ZERO_FLOAT: return bl_scale_at(part[2], g->scale, row * groups + i);
    case BL_ZERO_MIDDLE: break;
    }
    return middle((1 << f->bits) - 1);
}

static void unpack(const bl_format *f, const bl_shape *g, const void *const part[], int64_t row, int64_t k0, int64_t n,
                   float *dst)
{
    const uint8_t *codes = (const uint8_t *)part[0] + row * bl_code_bytes(g->in, f->bits);
    int64_t groups = bl_shape_groups(g);
    uint8_t q[CHUNK];

    for (int64_t k = k0, end; k < k0 + n; k = end) {
        int64_t i = k / g->group, stop = BL_MIN(k0 + n, (i + 1) * g->group);
        end = BL_MIN(stop, k + CHUNK);
        float s = bl_scale_at(part[1], g->scale, row * groups + i);
        float z = zero_at(f, g, part, row, groups, i);
        bl_codes_read(codes, f->bits, k, end - k, q);
        float *d = dst + (k - k0);
        if (is_sign(f, g))
            for (int64_t j = 0; j < end - k; j++) d[j] = (float)(2 * q[j] - 1) * s;
        else
            for (int64_t j = 0; j < end - k; j++) d[j] = ((float)q[j] - z) * s;
    }
}

/* ---- fitting one group ---- */
static void range_of(const float *w, int64_t n, float *lo, float *hi)
{
    float a[8], b[8]; /* eight lanes: no chain of dependent comparisons */
    int64_t i = 0;

    for (int j = 0; j < 8; j++) a[j] = b[j] = w[0];
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++) {
            a[j] = w[i + j] < a[j] ? w[i + j] : a[j];
            b[j] = w[i + j] > b[j] ? w[i + j] : b[j];
        }
    for (; i < n; i++) {
        a[0] = fminf(a[0], w[i]);
        b[0] = fmaxf(b[0], w[i]);
    }
    for (int j = 1; j < 8; j++) {
        a[0] = fminf(a[0], a[j]);
        b[0] = fmaxf(b[0], b[j]);
    }
    *lo = a[0];
    *hi = b[0];
}

static float nonzero(float s)
{
    return s > 0 ? s : FLT_TRUE_MIN;
} /* a range of subnormals divided by qmax may vanish */

void bl_fit_zero(const float *w, int64_t n, int qmax, float *scale, float *zero)
{
    float lo, hi;
    range_of(w, n, &lo, &hi);
    lo = fminf(lo, 0);
    hi = fmaxf(hi, 0);
    if (lo == 0 && hi == 0) {
        lo = -1;
        hi = 1;
    }
    *scale = nonzero((hi - lo) / (float)qmax);
    *zero = rintf(-lo / *scale);
}

/* A zero point is kept within +-10^4. Where a narrow group far from zero would exceed that, OmniQuant clamps the zero
 * point, which moves the whole group; here the scale grows until the zero point fits. Its upper limit of 10^4 for the
 * scale is left out. */
void bl_fit_minmax(const float *w, int64_t n, int qmax, float *scale, float *zero)
{
    float lo, hi;
    range_of(w, n, &lo, &hi);
    *scale = fmaxf(fmaxf((hi - lo) / (float)qmax, 1e-5f), fabsf(lo) / 1e4f);
    *zero = fminf(fmaxf(rintf(-lo / *scale), -1e4f), 1e4f);
}

void bl_fit_clip(const float *w, int64_t n, int qmax, float *scale, float *zero)
{
    float lo, hi;
    range_of(w, n, &lo, &hi);
    *scale = fmaxf(hi - lo, 1e-5f) / (float)qmax;
    *zero = fminf(fmaxf(-rintf(lo / *scale), 0), (float)qmax);
}

void bl_fit_symmetric(const float *w, int64_t n, int qmax, float *scale, float *zero)
{
    float lo, hi;
    range_of(w, n, &lo, &hi);
    hi = fmaxf(fabsf(lo), fabsf(hi));
    *scale = hi > 0 ? nonzero(hi / (float)(qmax / 2)) : 1;
    *zero = (float)((qmax + 1) / 2);
}

void bl_fit_full(const float *w, int64_t n, int qmax, float *scale, float *zero)
{
    float lo, hi;
    range_of(w, n, &lo, &hi);
    hi = fmaxf(fabsf(lo), fabsf(hi));
    *scale = nonzero(2 * (hi > 0 ? hi : 1) / (float)qmax);
    *zero = (float)((qmax + 1) / 2);
}

/* One bit: the mean and what the weights are away from it on average. A group of one value, or nearly so, keeps a scale
 * of 1, as in HQQ; a zero point beyond 30,000 would not be stored in 16 bits, so that the scale grows instead. */
void bl_fit_float(const float *w, int64_t n, int qmax, float *scale, float *zero)
{
    float lo, hi;
    range_of(w, n, &lo, &hi);
    if (qmax == 1) {
        double sum = 0, away = 0;
        for (int64_t i = 0; i < n; i++) sum += w[i];
        for (int64_t i = 0; i < n; i++) away += fabs(w[i] - sum / (double)n);
        lo = (float)((sum - away) / (double)n);
        hi = (float)((sum + away) / (double)n);
    }
    *scale = hi - lo > 1e-4f ? (hi - lo) / (float)qmax : 1;
    *scale = fmaxf(*scale, fabsf(lo) / 3e4f);
    *zero = -lo / *scale;
}

void bl_fit_middle(const float *w, int64_t n, int qmax, float *scale, float *zero)
{
    bl_fit_full(w, n, qmax, scale, zero);
    *zero = middle(qmax);
}

void bl_fit_sign(const float *w, int64_t n, int qmax, float *scale, float *zero)
{
    double sum = 0;
    (void)qmax;
    for (int64_t i = 0; i < n; i++) sum += fabsf(w[i]);
    *scale = (float)(sum / (double)n);
    *zero = 0;
}

/* ---- encoding ---- */
static void encode_signs(const float *w, int64_t n, uint8_t *q)
{
    for (int64_t i = 0; i < n; i++) q[i] = w[i] >= 0; /* -0 counts as + */
}

/* Clamping before rounding gives the same codes, as both ends are integers, and keeps the sum below small enough to
 * round. */
static void encode_group(const float *w, int64_t n, float scale, float zero, int qmax, uint8_t *q)
{
    const float magic = 0x1.8p23f; /* x + magic has no fraction bits left: rint for |x| < 2^22 */
    float lo = -zero, hi = (float)qmax - zero;
    int z = (int)zero;
    int64_t i = 0;

    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++) {
            float x = w[i + j] / scale;
            x = x > lo ? x : lo;
            x = x < hi ? x : hi;
            q[i + j] = (uint8_t)((int)((x + magic) - magic) + z);
        }
    for (; i < n; i++) q[i] = (uint8_t)((int)rintf(fminf(fmaxf(w[i] / scale, lo), hi)) + z);
}

/* The same with a zero point between codes. */
static void encode_between(const float *w, int64_t n, float scale, float zero, int qmax, uint8_t *q)
{
    for (int64_t i = 0; i < n; i++) q[i] = (uint8_t)rintf(fminf(fmaxf(w[i] / scale + zero, 0), (float)qmax));
}

/* Zero points that are stored as numbers of shape.scale, or not at all. */
static bool is_between(const bl_shape *g) { return g->zero == BL_ZERO_FLOAT || g->zero == BL_ZERO_MIDDLE; }

static bl_status fail_zero(const bl_format *f, const bl_shape *g, int64_t row, int64_t group, float c, bl_err *e)
{
    return bl_fail(e, BL_E_NUMERIC, "%s: row %" PRId64 ", group %" PRId64 ": zero point %g cannot be stored%s", f->name,
                   row, group, (double)c,
                   g->zero == BL_ZERO_NONE     ? " (symmetric weights have none)"
                   : g->zero == BL_ZERO_MIDDLE ? " (it is in the middle of the codes)"
                   : g->zero == BL_ZERO_FLOAT  ? " in its type"
                   : g->zero == BL_ZERO_PACKED ? " in a code; int16 zeros can"
                                               : "");
}

/* Whether the zero point can be what it is. */
static bool zero_fits(const bl_format *f, const bl_shape *g, float c)
{
    int qmax = (1 << f->bits) - 1;
    switch (g->zero) {
    case BL_ZERO_NONE: return c == (float)(1 << (f->bits - 1));
    case BL_ZERO_PACKED: return c >= 0 && c <= (float)qmax && c == rintf(c);
    case BL_ZERO_I16: return c >= INT16_MIN && c <= INT16_MAX && c == rintf(c);
    case BL_ZERO_FLOAT: return isfinite(c);
    case BL_ZERO_MIDDLE: break;
    }
    return c == middle(qmax);
}

bl_status bl_int_encode(const bl_format *f, const bl_shape *g, const float *w, bl_fit_range *fit, const float *scale,
                        const float *zero, void *const part[], bl_err *e)
{
    bl_status st = BL_OK;
    int64_t groups = bl_shape_groups(g), row_bytes = bl_code_bytes(g->in, f->bits),
            zero_bytes = bl_code_bytes(groups, f->bits);
    int qmax = (1 << f->bits) - 1;
    uint8_t *q = NULL, *z = NULL;

    BL_TRY(f->check(f, g, e));
    if (!fit && !scale) {
        st = bl_fail(e, BL_E_INTERNAL, "%s: neither a fit nor scales were given", f->name);
        goto out;
    }
    if (fit && is_sign(f, g)) fit = bl_fit_sign; /* no other rule applies to signs */
    q = bl_new((size_t)g->in, 1, e);             /* codes and zeros of one row, a byte each */
    z = bl_new((size_t)groups, 1, e);
    if (!q || !z) {
        st = BL_E_NOMEM;
        goto out;
    }

    for (int64_t r = 0; r < g->out; r++) {
        for (int64_t i = 0; i < groups; i++) {
            int64_t k = i * g->group, n = BL_MIN(g->group, g->in - k), at = r * groups + i;
            const float *x = w + r * g->in + k;
            float s = 1, c = g->zero == BL_ZERO_MIDDLE ? middle(qmax) : (float)(1 << (f->bits - 1));

            if (!bl_all_finite(x, n)) {
                st = bl_fail_nonfinite(f, x, r, k, n, e);
                goto out;
            }
            if (fit) fit(x, n, qmax, &s, &c);
            if (scale) s = scale[at];
            if (zero) c = zero[at];
            float stored = bl_scale_put(part[1], g->scale, at, s, !is_sign(f, g));
            if (!isfinite(stored)) {
                st = bl_fail_scale(f, g, r, i, s, e);
                goto out;
            }
            if (is_sign(f, g)) {
                encode_signs(x, n, q + k);
                continue;
            }
            if (g->zero == BL_ZERO_FLOAT) c = bl_scale_put(part[2], g->scale, at, c, false);
            if (!zero_fits(f, g, c)) {
                st = fail_zero(f, g, r, i, c, e);
                goto out;
            }
            if (g->zero == BL_ZERO_PACKED) z[i] = (uint8_t)c;
            if (g->zero == BL_ZERO_I16) ((int16_t *)part[2])[at] = (int16_t)c;
            if (is_between(g)) encode_between(x, n, stored, c, qmax, q + k);
            else encode_group(x, n, stored, c, qmax, q + k);
        }
        bl_codes_write((uint8_t *)part[0] + r * row_bytes, f->bits, g->in, q);
        if (g->zero == BL_ZERO_PACKED) bl_codes_write((uint8_t *)part[2] + r * zero_bytes, f->bits, groups, z);
    }
out:
    bl_free(z);
    bl_free(q);
    return st;
}

void bl_int_decode(const bl_format *f, const bl_shape *g, const void *const part[], int64_t row, uint8_t *codes,
                   float *scale, float *zero)
{
    int64_t groups = bl_shape_groups(g);

    if (codes) bl_codes_read((const uint8_t *)part[0] + row * bl_code_bytes(g->in, f->bits), f->bits, 0, g->in, codes);
    for (int64_t i = 0; scale && i < groups; i++) scale[i] = bl_scale_at(part[1], g->scale, row * groups + i);
    for (int64_t i = 0; zero && i < groups; i++) zero[i] = is_sign(f, g) ? 0 : zero_at(f, g, part, row, groups, i);
}

static bl_status pack(const bl_format *f, const bl_shape *g, const float *w, void *const part[], bl_err *e)
{
    static bl_fit_range *const fits[] = {[BL_ZERO_NONE] = bl_fit_symmetric,
                                         [BL_ZERO_PACKED] = bl_fit_zero,
                                         [BL_ZERO_I16] = bl_fit_zero,
                                         [BL_ZERO_FLOAT] = bl_fit_float,
                                         [BL_ZERO_MIDDLE] = bl_fit_middle};
    return bl_int_encode(f, g, w, fits[g->zero], NULL, NULL, part, e);
}

#define INT(b, text)                                                                                                   \
    const bl_format bl_format_int##b = {.name = "int" #b,                                                              \
                                        .doc = text,                                                                   \
                                        .kind = BL_FMT_INT,                                                            \
                                        .bits = b,                                                                     \
                                        .ggml_type = -1,                                                               \
                                        .check = bl_fmt_check,                                                         \
                                        .parts = parts,                                                                \
                                        .unpack = unpack,                                                              \
                                        .pack = pack}
INT(1, "sign times the mean absolute value of the group");
INT(2, "2-bit integers, scale and optional zero point per group");
INT(3, "3-bit integers, scale and optional zero point per group");
INT(4, "4-bit integers, scale and optional zero point per group");
INT(5, "5-bit integers, scale and optional zero point per group");
INT(6, "6-bit integers, scale and optional zero point per group");
INT(7, "7-bit integers, scale and optional zero point per group");
INT(8, "8-bit integers, scale and optional zero point per group");
