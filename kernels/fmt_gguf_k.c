/* fmt_gguf_k.c - GGUF blocks of 256 weights without codebooks: q2_k … q6_k, tq1_0, tq2_0.
 *
 * Bytes of a block, in order, and a weight (d, dmin: fp16; the scale s and minimum m are of 16 or 32 weights):
 *
 *     q2_k   16 scales (low nibble scale, high nibble minimum), 64 bytes of 2-bit codes, d, dmin
 *            of 16: d s q - dmin m
 *     q3_k   32 bytes of third bits, 64 bytes of 2-bit codes, 12 bytes of 6-bit scales, d
 *            of 16: d (s - 32) (q - 4)
 *     q4_k   d, dmin, 12 bytes of 6-bit scales and minima, 128 bytes of 4-bit codes
 *            of 32: d s q - dmin m
 *     q5_k   d, dmin, 12 bytes of 6-bit scales and minima, 32 bytes of fifth bits, 128 bytes of 4-bit codes
 *            of 32: d s q - dmin m
 *     q6_k   128 bytes of 4-bit codes, 64 bytes of 2 high bits, 16 signed scales, d
 *            of 16: d s (q - 32)
 *     tq1_0  48 bytes of five ternary digits, 4 bytes of four, d
 *            d (q - 1)
 *     tq2_0  64 bytes of 2-bit codes, d
 *            d (q - 1)
 *
 * Codes are in stripes: a run of 32 bytes holds four stripes of 32 two-bit codes (or two of 4-bit codes), lowest bits
 * first.
 */
#include "fmt_gguf_k_decode.h"
#include "fmt_gguf_fit.h"

enum { QK = 256 };

static void put_half(uint16_t h, uint8_t *p)
{
    p[0] = (uint8_t)h;
    p[1] = (uint8_t)(h >> 8);
}
/* Codes into stripes: k of two bits, k of four, bit k of 32 bytes; bytes are zero before. */
static void put_pair(uint8_t *q, int k, int v) { q[k / 128 * 32 + k % 32] |= (uint8_t)(v << k / 32 % 4 * 2); }
static void put_nibble(uint8_t *q, int k, int v) { q[k / 64 * 32 + k % 32] |= (uint8_t)(v << k / 32 % 2 * 4); }
static void put_bit(uint8_t *q, int k, int v) { q[k % 32] |= (uint8_t)(v << k / 32); }

#define INTEGERS(n_, lo, hi, f, t)                                                                                     \
    {                                                                                                                  \
        .n = n_, .nearest = bl_nearest_integer, .top = -(lo), .from = f, .to = t, .starts = 24,                        \
        .turns = -(lo) != (hi), .low = lo, .high = hi                                                                  \
    }

/* Sixteen sub-blocks whose scales are the integers from -steps / 2. */
static bool signed_scales(const bl_codebook *c, int steps, const bl_fit_in *in, bl_scaled_fit *fit)
{
    float step[256];
    for (int k = 0; k < steps; k++) step[k] = (float)(k - steps / 2);
    return bl_fit_scaled(&(bl_scaled){.codes = c, .subs = 16, .steps = steps, .step = step}, in, fit);
}

static bool least_q2_k(const bl_fit_in *in, uint8_t *b)
{
    bl_affine_fit fit;
    if (!bl_fit_affine(&(bl_affine){.subs = 16, .n = 16, .qmax = 3, .smax = 15}, in, &fit)) return false;
    memset(b, 0, 84);
    for (int i = 0; i < 16; i++) b[i] = (uint8_t)(fit.s[i] | fit.m[i] << 4);
    for (int k = 0; k < QK; k++) put_pair(b + 16, k, fit.code[k]);
    put_half(fit.d, b + 80);
    put_half(fit.e, b + 82);
    return true;
}

static bool least_q3_k(const bl_fit_in *in, uint8_t *b)
{
    static const bl_codebook c = INTEGERS(16, -4, 3, 0.5f, 1.25f);
    bl_scaled_fit fit;
    uint8_t *scales = b + 96;
    if (!signed_scales(&c, 64, in, &fit)) return false;
    memset(b, 0, 110);
    for (int i = 0; i < 16; i++) {
        scales[i % 8] |= (uint8_t)((fit.step[i] & 15) << i / 8 * 4);
        scales[8 + i % 4] |= (uint8_t)(fit.step[i] >> 4 << i / 4 * 2);
    }
    for (int k = 0; k < QK; k++) {
        put_bit(b, k, (int)fit.code[k] >> 2);
        put_pair(b + 32, k, (int)fit.code[k] & 3);
    }
    put_half(fit.d, b + 108);
    return true;
}

static void put_scale_and_min(uint8_t *p, int i, int s, int m)
{
    if (i < 4) {
        p[i] |= (uint8_t)s;
        p[i + 4] |= (uint8_t)m;
    } else {
        p[i + 4] |= (uint8_t)((s & 15) | (m & 15) << 4);
        p[i - 4] |= (uint8_t)(s >> 4 << 6);
        p[i] |= (uint8_t)(m >> 4 << 6);
    }
}

static bool least_q4_k(const bl_fit_in *in, uint8_t *b)
{
    bl_affine_fit fit;
    if (!bl_fit_affine(&(bl_affine){.subs = 8, .n = 32, .qmax = 15, .smax = 63}, in, &fit)) return false;
    memset(b, 0, 144);
    put_half(fit.d, b);
    put_half(fit.e, b + 2);
    for (int i = 0; i < 8; i++) put_scale_and_min(b + 4, i, fit.s[i], fit.m[i]);
    for (int k = 0; k < QK; k++) put_nibble(b + 16, k, fit.code[k]);
    return true;
}

static bool least_q5_k(const bl_fit_in *in, uint8_t *b)
{
    bl_affine_fit fit;
    if (!bl_fit_affine(&(bl_affine){.subs = 8, .n = 32, .qmax = 31, .smax = 63}, in, &fit)) return false;
    memset(b, 0, 176);
    put_half(fit.d, b);
    put_half(fit.e, b + 2);
    for (int i = 0; i < 8; i++) put_scale_and_min(b + 4, i, fit.s[i], fit.m[i]);
    for (int k = 0; k < QK; k++) {
        put_bit(b + 16, k, fit.code[k] >> 4);
        put_nibble(b + 48, k, fit.code[k] & 15);
    }
    return true;
}

static bool least_q6_k(const bl_fit_in *in, uint8_t *b)
{
    static const bl_codebook c = INTEGERS(16, -32, 31, 0.93f, 1.05f);
    bl_scaled_fit fit;
    if (!signed_scales(&c, 256, in, &fit)) return false;
    memset(b, 0, 210);
    for (int i = 0; i < 16; i++) b[192 + i] = (uint8_t)(fit.step[i] - 128);
    for (int k = 0; k < QK; k++) {
        b[k / 128 * 64 + k % 64] |= (uint8_t)((fit.code[k] & 15) << k / 64 % 2 * 4);
        put_pair(b + 128, k, (int)fit.code[k] >> 4);
    }
    put_half(fit.d, b + 208);
    return true;
}

/* ---- ternary ---- */
static bool ternary(const bl_fit_in *in, bl_scaled_fit *fit)
{
    static const bl_codebook c = INTEGERS(QK, -1, 1, 0.1f, 1);
    static const float one[1] = {1};
    return bl_fit_scaled(&(bl_scaled){.codes = &c, .subs = 1, .steps = 1, .step = one}, in, fit);
}

/* Five digits, the first the highest, as the least v whose fraction v / 256 begins with them. */
static uint8_t put_digits(const uint32_t *code, int apart, int n)
{
    int v = 0;
    for (int i = 0; i < 5; i++) v = 3 * v + (i < n ? (int)code[apart * i] : 0);
    return (uint8_t)((v * 256 + 242) / 243);
}

static bool least_tq1_0(const bl_fit_in *in, uint8_t *b)
{
    bl_scaled_fit fit;
    if (!ternary(in, &fit)) return false;
    for (int j = 0; j < 32; j++) b[j] = put_digits(fit.code + j, 32, 5);
    for (int j = 0; j < 16; j++) b[32 + j] = put_digits(fit.code + 160 + j, 16, 5);
    for (int j = 0; j < 4; j++) b[48 + j] = put_digits(fit.code + 240 + j, 4, 4);
    put_half(fit.d, b + 52);
    return true;
}

static bool least_tq2_0(const bl_fit_in *in, uint8_t *b)
{
    bl_scaled_fit fit;
    if (!ternary(in, &fit)) return false;
    memset(b, 0, 64);
    for (int k = 0; k < QK; k++) put_pair(b, k, (int)fit.code[k]);
    put_half(fit.d, b + 64);
    return true;
}

BL_BLOCK_SEARCHED(q2_k, 10, QK, 84, "GGUF Q2_K");
BL_BLOCK_SEARCHED(q3_k, 11, QK, 110, "GGUF Q3_K");
BL_BLOCK_SEARCHED(q4_k, 12, QK, 144, "GGUF Q4_K");
BL_BLOCK_SEARCHED(q5_k, 13, QK, 176, "GGUF Q5_K");
BL_BLOCK_SEARCHED(q6_k, 14, QK, 210, "GGUF Q6_K");
BL_BLOCK_SEARCHED(tq1_0, 34, QK, 54, "GGUF TQ1_0: ternary, five codes a byte");
BL_BLOCK_SEARCHED(tq2_0, 35, QK, 66, "GGUF TQ2_0: ternary, four codes a byte");
