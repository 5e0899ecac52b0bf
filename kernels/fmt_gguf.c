/* fmt_gguf.c - the simple GGUF blocks of 32 weights: q4_0 q4_1 q5_0 q5_1 q8_0 iq4_nl mxfp4.
 *
 *     q4_0    d                 fp16, 16 bytes                   d (q - 8)
 *     q4_1    d, m              fp16, 16 bytes                   d q + m
 *     q5_0    d                 fp16, 32 high bits, 16 bytes     d (q - 16)
 *     q5_1    d, m              fp16, 32 high bits, 16 bytes     d q + m
 *     q8_0    d                 fp16, 32 signed bytes            d q
 *     iq4_nl  d                 fp16, 16 bytes                   d level[q]
 *     mxfp4   e                 8-bit exponent, 16 bytes         2^(e-127) e2m1[q]
 *
 * Byte j of the 16 holds weight j in its low and weight j + 16 in its high nibble; high bit j belongs to weight j.
 *
 * The encoders give the bytes of ggml's own: codes come from the unrounded d through its reciprocal, only then is d
 * rounded to fp16. q4_0 and q5_0 map the weight of largest magnitude to the lowest code, so d has the opposite sign of
 * that weight. mxfp4 has the
 * exponent of the largest weight, less 2, as the OCP standard has it: what is above 6 is 6, and a weight between
 * two codes gets that nearer 0.
 */
#include "fmt_gguf_decode.h"
#include "fmt_gguf_fit.h"
#include <inttypes.h>
#include <math.h>

enum { QK = 32 };

int bl_block_parts(const bl_format *f, const bl_shape *g, bl_part_spec out[BL_MAX_PARTS])
{
    int64_t cols;
    if (__builtin_mul_overflow(g->in / f->block, (int64_t)f->block_bytes, &cols)) cols = -1; /* refused as too large */
    out[0] = (bl_part_spec){"blocks", BL_U8, g->out, cols};
    return 1;
}

void bl_block_unpack(const bl_format *f, const bl_shape *g, const void *const part[], int64_t row, int64_t k0,
                     int64_t n, float *dst, bl_block_decode *decode)
{
    const uint8_t *b = (const uint8_t *)part[0] + row * (g->in / f->block) * f->block_bytes +
                       k0 / f->block * f->block_bytes;
    int64_t skip = k0 % f->block;
    float w[BL_BLOCK_MAX];

    for (; n > 0; b += f->block_bytes) {
        int64_t m = BL_MIN(f->block - skip, n);
        if (m == f->block) decode(b, dst);
        else {
            decode(b, w);
            memcpy(dst, w + skip, (size_t)m * sizeof *dst);
        }
        dst += m;
        n -= m;
        skip = 0;
    }
}

bl_status bl_block_pack(const bl_format *f, const bl_shape *g, const float *w, void *const part[],
                        bl_block_encode *encode, bl_err *e)
{
    bl_status st = f->check(f, g, e);
    uint8_t *b = part[0];

    for (int64_t r = 0; st == BL_OK && r < g->out; r++)
        for (int64_t k = 0; k < g->in; k += f->block, w += f->block, b += f->block_bytes) {
            if (!bl_all_finite(w, f->block)) return bl_fail_nonfinite(f, w, r, k, f->block, e);
            if (!encode(w, b))
                return bl_fail(e, BL_E_NUMERIC,
                               "%s: row %" PRId64 ", columns %" PRId64 "..%" PRId64
                               ": the weights are too large for an fp16 scale",
                               f->name, r, k, k + f->block - 1);
        }
    return st;
}

const int8_t bl_iq4_levels[16] = BL_IQ4_LEVELS;
const float bl_iq4_values[16] = BL_IQ4_LEVELS;
const float bl_iq4_mid[15] = {-115.5f, -93.5f, -74, -57, -42, -28.5f, -16, -4.5f, 7, 19, 31.5f, 45.5f, 61, 79, 101};

/* ---- encoders ---- */
static bool put_half(float v, uint8_t *p)
{
    uint16_t h = bl_f32_to_f16(v);
    p[0] = (uint8_t)h;
    p[1] = (uint8_t)(h >> 8);
    return (h & 0x7c00) != 0x7c00;
}

/* 1 / d; 0 for a block without a range, also where the reciprocal would be infinite. */
static float inverse(float d)
{
    float id = d == 0 ? 0 : 1 / d;
    return isfinite(id) ? id : 0;
}

/* Codes trunc(x / d + offset) up to qmax of all weights minus `from`. */
static void codes_of(const float *w, float from, float id, float offset, int qmax, uint8_t q[QK])
{
    for (int j = 0; j < QK; j++) {
        int v = (int)((w[j] - from) * id + offset);
        q[j] = (uint8_t)BL_MIN(v, qmax);
    }
}

static void put_nibbles(const uint8_t q[QK], uint8_t *p)
{
    for (int j = 0; j < 16; j++) p[j] = (uint8_t)((q[j] & 15) | (q[j + 16] & 15) << 4);
}
static void put_high(const uint8_t q[QK], uint8_t *p)
{
    memset(p, 0, 4);
    for (int j = 0; j < QK; j++) p[j / 8] |= (uint8_t)((q[j] >> 4) << j % 8);
}

static float largest(const float *w) /* the weight of largest magnitude, sign kept; the first of equals */
{
    float m = w[0];
    for (int j = 1; j < QK; j++)
        if (fabsf(w[j]) > fabsf(m)) m = w[j];
    return m;
}

static void range_of(const float *w, float *lo, float *hi)
{
    *lo = *hi = w[0];
    for (int j = 1; j < QK; j++) {
        *lo = fminf(*lo, w[j]);
        *hi = fmaxf(*hi, w[j]);
    }
}

static bool encode_q4_0(const float *w, uint8_t *b)
{
    uint8_t q[QK];
    float d = largest(w) / -8;
    codes_of(w, 0, inverse(d), 8.5f, 15, q);
    put_nibbles(q, b + 2);
    return put_half(d, b);
}

static bool encode_q4_1(const float *w, uint8_t *b)
{
    uint8_t q[QK];
    float lo, hi;
    range_of(w, &lo, &hi);
    float d = (hi - lo) / 15;
    if (!put_half(d, b) || !put_half(lo, b + 2)) return false;
    codes_of(w, lo, inverse(d), 0.5f, 15, q);
    put_nibbles(q, b + 4);
    return true;
}

static bool encode_q5_0(const float *w, uint8_t *b)
{
    uint8_t q[QK];
    float d = largest(w) / -16;
    codes_of(w, 0, inverse(d), 16.5f, 31, q);
    put_high(q, b + 2);
    put_nibbles(q, b + 6);
    return put_half(d, b);
}

static bool encode_q5_1(const float *w, uint8_t *b)
{
    uint8_t q[QK];
    float lo, hi;
    range_of(w, &lo, &hi);
    float d = (hi - lo) / 31;
    if (!put_half(d, b) || !put_half(lo, b + 2)) return false;
    codes_of(w, lo, inverse(d), 0.5f, 31, q);
    put_high(q, b + 4);
    put_nibbles(q, b + 8);
    return true;
}

static bool encode_q8_0(const float *w, uint8_t *b)
{
    float d = fabsf(largest(w)) / 127, id = inverse(d);
    for (int j = 0; j < QK; j++) b[2 + j] = (uint8_t)(int8_t)roundf(w[j] * id); /* half away from zero */
    return put_half(d, b);
}

/* e2m1: the codes of -6, -4, ... 6, and half way between them. */
static const float e2m1_levels[15] = {-6, -4, -3, -2, -1.5f, -1, -0.5f, 0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
static const float e2m1_mid[14] = {-5,    -3.5f, -2.5f, -1.75f, -1.25f, -0.75f, -0.25f,
                                   0.25f, 0.75f, 1.25f, 1.75f,  2.5f,   3.5f,   5};
static uint8_t e2m1_code(int level) { return (uint8_t)(level < 7 ? 15 - level : level - 7); }

/* The exponent as it is stored, scale 2^(e - 127). */
static int mxfp4_exponent(const float *w, int n, bl_exponent rule)
{
    float most = 0;
    int e = 0;
    for (int j = 0; j < n; j++) most = fmaxf(most, fabsf(w[j]));
    float m = 2 * frexpf(most, &e); /* most = m 2^(e-1), m in 1 .. 2 */
    e += (rule == BL_EXPONENT_CEIL && m > 1.5f) || (rule == BL_EXPONENT_EVEN && m >= 1.75f);
    return most == 0 ? 0 : BL_MIN(BL_MAX(e - 1 - 2 + 127, 0), 254);
}

/* Codes of 32 weights at that exponent. */
static void mxfp4_codes(const float *w, int e, uint8_t *b)
{
    uint8_t q[QK];
    for (int j = 0; j < QK; j++) {
        float v = ldexpf(fabsf(w[j]), 127 - e);
        int k = 0;
        while (k < 7 && v > e2m1_mid[7 + k]) k++;
        q[j] = (uint8_t)(k | (w[j] < 0 && k ? 8 : 0));
    }
    b[0] = (uint8_t)e;
    put_nibbles(q, b + 1);
}

static bool mxfp4_by(const float *w, bl_exponent rule, uint8_t *b)
{
    mxfp4_codes(w, mxfp4_exponent(w, QK, rule), b);
    return true;
}

static bool encode_mxfp4(const float *w, uint8_t *b) { return mxfp4_by(w, BL_EXPONENT_FLOOR, b); }
static bool encode_ceil(const float *w, uint8_t *b) { return mxfp4_by(w, BL_EXPONENT_CEIL, b); }
static bool encode_even(const float *w, uint8_t *b) { return mxfp4_by(w, BL_EXPONENT_EVEN, b); }
static bl_status pack_exponent_mxfp4(const bl_format *f, const bl_shape *g, const float *w, bl_exponent rule,
                                     void *const part[], bl_err *e)
{
    static bl_block_encode *const by[] = {encode_mxfp4, encode_ceil, encode_even};
    return bl_block_pack(f, g, w, part, by[rule], e);
}

static void scales_mxfp4(const bl_format *f, const bl_shape *g, const void *const part[], float *dst)
{
    const uint8_t *b = part[0];
    for (int64_t i = 0; i < g->out * g->in / QK; i++) dst[i] = ldexpf(1, b[i * f->block_bytes] - 127);
}
static void recode_mxfp4(const bl_format *f, const bl_shape *g, const float *w, void *const part[])
{
    uint8_t *b = part[0];
    for (int64_t i = 0; i < g->out * g->in / QK; i++, b += f->block_bytes) mxfp4_codes(w + i * QK, b[0], b);
}

float bl_e2m1_round(float v, bool even)
{
    float a = fabsf(v);
    int k = 0;
    while (k < 7 && (even && k % 2 ? a >= e2m1_mid[7 + k] : a > e2m1_mid[7 + k])) k++;
    return v < 0 && k ? -e2m1_levels[7 + k] : e2m1_levels[7 + k];
}

void bl_mxfp4_round(float *x, int64_t n)
{
    bool finite = bl_all_finite(x, n);
    for (int64_t k = 0; k < n; k += QK) {
        int m = (int)BL_MIN(QK, n - k), e = finite ? mxfp4_exponent(x + k, m, BL_EXPONENT_FLOOR) : 0;
        for (int64_t j = k; j < k + m; j++)
            x[j] = finite ? ldexpf(bl_e2m1_round(ldexpf(x[j], 127 - e), false), e - 127) : NAN;
    }
}

/* ---- blocks of least error ---- */
static const float one[1] = {1};

/* A block of one scale, codes 0 .. of its codebook. */
static bool single(const bl_codebook *c, const bl_fit_in *in, uint8_t q[QK], uint8_t *d)
{
    bl_scaled_fit fit;
    if (!bl_fit_scaled(&(bl_scaled){.codes = c, .subs = 1, .steps = 1, .step = one}, in, &fit)) return false;
    for (int j = 0; j < QK; j++) q[j] = (uint8_t)fit.code[j];
    d[0] = (uint8_t)fit.d;
    d[1] = (uint8_t)(fit.d >> 8);
    return true;
}
static bool line(int qmax, const bl_fit_in *in, uint8_t *b, uint8_t q[QK])
{
    bl_affine_fit fit;
    if (!bl_fit_affine(&(bl_affine){.subs = 1, .n = QK, .qmax = qmax}, in, &fit)) return false;
    memcpy(q, fit.code, QK);
    b[0] = (uint8_t)fit.d;
    b[1] = (uint8_t)(fit.d >> 8);
    b[2] = (uint8_t)fit.e;
    b[3] = (uint8_t)(fit.e >> 8);
    return true;
}
#define INTEGERS(lo, hi, f, t)                                                                                         \
    {                                                                                                                  \
        .n = QK, .nearest = bl_nearest_integer, .top = -(lo), .from = f, .to = t, .starts = 24,                        \
        .turns = -(lo) != (hi), .low = lo, .high = hi                                                                  \
    }

static bool least_q4_0(const bl_fit_in *in, uint8_t *b)
{
    static const bl_codebook c = INTEGERS(-8, 7, 0.7f, 1.15f);
    uint8_t q[QK];
    if (!single(&c, in, q, b)) return false;
    put_nibbles(q, b + 2);
    return true;
}

static bool least_q5_0(const bl_fit_in *in, uint8_t *b)
{
    static const bl_codebook c = INTEGERS(-16, 15, 0.85f, 1.08f);
    uint8_t q[QK];
    if (!single(&c, in, q, b)) return false;
    put_high(q, b + 2);
    put_nibbles(q, b + 6);
    return true;
}

static bool least_q8_0(const bl_fit_in *in, uint8_t *b)
{
    static const bl_codebook c = INTEGERS(-127, 127, 0.98f, 1.01f);
    uint8_t q[QK];
    if (!single(&c, in, q, b)) return false;
    for (int j = 0; j < QK; j++) b[2 + j] = (uint8_t)(q[j] - 127);
    return true;
}

static bool least_q4_1(const bl_fit_in *in, uint8_t *b)
{
    uint8_t q[QK];
    if (!line(15, in, b, q)) return false;
    put_nibbles(q, b + 4);
    return true;
}

static bool least_q5_1(const bl_fit_in *in, uint8_t *b)
{
    uint8_t q[QK];
    if (!line(31, in, b, q)) return false;
    put_high(q, b + 4);
    put_nibbles(q, b + 8);
    return true;
}

static bool least_iq4_nl(const bl_fit_in *in, uint8_t *b)
{
    static const bl_codebook c = {.n = QK,
                                  .nearest = bl_nearest_level,
                                  .top = 127,
                                  .from = 0.7f,
                                  .to = 1.2f,
                                  .starts = 24,
                                  .turns = true,
                                  .level = bl_iq4_values,
                                  .mid = bl_iq4_mid,
                                  .levels = 16};
    uint8_t q[QK];
    if (!single(&c, in, q, b)) return false;
    put_nibbles(q, b + 2);
    return true;
}

static bool least_mxfp4(const bl_fit_in *in, uint8_t *b)
{
    enum { BELOW = 8, STEPS = 10 }; /* scales from 2^-8 to 2 times `unit`, which is above the largest weight */
    static const bl_codebook c = {.n = QK,
                                  .nearest = bl_nearest_level,
                                  .top = 6,
                                  .from = 0.6f,
                                  .to = 1.5f,
                                  .starts = 24,
                                  .level = e2m1_levels,
                                  .mid = e2m1_mid,
                                  .levels = 15};
    float step[STEPS];
    uint8_t q[QK];
    int exponent, from;
    bl_scaled_fit fit;
    (void)frexpf(in->unit, &exponent);
    exponent += 126 - BELOW; /* of step 0, as it is stored */
    from = BL_MAX(0, -exponent);
    for (int k = 0; k < STEPS; k++) step[k] = ldexpf(1, k - BELOW);
    if (!bl_fit_scaled(&(bl_scaled){.codes = &c, .subs = 1, .steps = STEPS - from, .step = step + from, .fixed = true},
                       in, &fit))
        return false;
    for (int j = 0; j < QK; j++) q[j] = e2m1_code((int)fit.code[j]);
    b[0] = (uint8_t)BL_MIN(exponent + from + fit.step[0], 254);
    put_nibbles(q, b + 1);
    return true;
}

BL_BLOCK_FORMAT(q4_0, 2, QK, 18, "GGUF Q4_0: 4-bit blocks of 32");
BL_BLOCK_FORMAT(q4_1, 3, QK, 20, "GGUF Q4_1: 4-bit blocks of 32 with a minimum");
BL_BLOCK_FORMAT(q5_0, 6, QK, 22, "GGUF Q5_0: 5-bit blocks of 32");
BL_BLOCK_FORMAT(q5_1, 7, QK, 24, "GGUF Q5_1: 5-bit blocks of 32 with a minimum");
BL_BLOCK_FORMAT(q8_0, 8, QK, 34, "GGUF Q8_0: 8-bit blocks of 32");
BL_BLOCK_SEARCHED(iq4_nl, 20, QK, 18, "GGUF IQ4_NL: sixteen unequal levels, blocks of 32");
BL_BLOCK_UNPACK(mxfp4)
BL_BLOCK_PACK(mxfp4)
BL_BLOCK_PACK_LEAST(mxfp4)
const bl_format bl_format_mxfp4 = {.name = "mxfp4",
                                   .doc = "MXFP4: e2m1 with a power-of-two scale per 32",
                                   .kind = BL_FMT_BLOCK,
                                   .bits = 4,
                                   .block = QK,
                                   .block_bytes = 17,
                                   .ggml_type = 39,
                                   .check = bl_fmt_check,
                                   .parts = bl_block_parts,
                                   .unpack = unpack_mxfp4,
                                   .pack = pack_mxfp4,
                                   .pack_least = pack_least_mxfp4,
                                   .pack_exponent = pack_exponent_mxfp4,
                                   .scales = scales_mxfp4,
                                   .recode = recode_mxfp4};
