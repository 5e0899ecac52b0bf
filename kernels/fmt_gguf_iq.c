/* fmt_gguf_iq.c - GGUF blocks of 256 weights whose codes are points of a grid: iq1_s … iq4_xs.
 *
 * A point is 8 magnitudes (iq1, iq2) or 4 (iq3); signs are stored apart. Where seven sign bits stand for eight signs,
 * the eighth makes the number of minus signs even. Bytes of a block, in order (d: fp16; s: the scale of 16 or 32
 * weights):
 *
 *     iq2_xxs  d, 8 x { 4 point numbers, u32: 4 x 7 signs, s in the top 4 bits }
 *              of 32: d (s + 1/2) / 4
 *     iq2_xs   d, 32 x u16 { 9 bits of point number, 7 signs }, 16 nibbles s
 *              of 16: d (s + 1/2) / 4
 *     iq2_s    d, 32 point numbers, 32 sign bytes, 32 x 2 high bits, 16 nibbles s
 *              of 16: d (s + 1/2) / 4
 *     iq3_xxs  d, 64 point numbers, 8 x u32 { 4 x 7 signs, s in the top 4 bits }
 *              of 32: d (s + 1/2) / 2
 *     iq3_s    d, 64 point numbers, 64 high bits, 32 sign bytes, 8 nibbles s
 *              of 32: d (2 s + 1)
 *     iq1_s    d, 32 point numbers, 8 x u16 { 4 x 3 high bits, s: 3 bits, sign of the shift }
 *              of 32: d (2 s + 1)
 *     iq1_m    32 point numbers, 32 nibbles { 3 high bits, sign of the shift }, 4 x u16 { 4 x 3 bits s, 4 bits of d }
 *              of 16: d (2 s + 1)
 *     iq4_xs   d, u16 high bits of s, 4 bytes of its low nibbles, 128 bytes of 4-bit codes
 *              of 32: d (s - 32)
 *
 * iq1: the grid holds -1, 0, 1, and every weight is shifted by +-1/8 before it is scaled. iq4_xs has no grid but the
 * levels of iq4_nl.
 */
#include "fmt_gguf_iq_decode.h"
#include "fmt_gguf_fit.h"

enum { QK = 256 };

static void put_half(uint16_t h, uint8_t *p)
{
    p[0] = (uint8_t)h;
    p[1] = (uint8_t)(h >> 8);
}

static uint32_t point_of(uint32_t code) { return code & 0xffff; }
static uint32_t signs_of(uint32_t code) { return code >> 16; }

/* Sub-blocks of `n` weights whose scales are d gap (s + 1/2), s from 0. */
static bool grid(const bl_codebook *c, int steps, float gap, const bl_fit_in *in, bl_scaled_fit *fit)
{
    float step[16];
    for (int k = 0; k < steps; k++) step[k] = gap * (0.5f + (float)k);
    return bl_fit_scaled(&(bl_scaled){.codes = c, .subs = QK / c->n, .steps = steps, .step = step}, in, fit);
}

#define GRID2(n_, grid_, even_)                                                                                        \
    {                                                                                                                  \
        .n = n_, .nearest = bl_nearest_iq2, .top = 43, .from = 0.35f, .to = 1.15f, .starts = 10, .point = grid_,       \
        .points = BL_COUNT(grid_), .per_code = 8, .even = even_                                                        \
    }
#define GRID3(grid_, magnitudes, most, even_)                                                                          \
    {                                                                                                                  \
        .n = 32, .nearest = bl_nearest_iq3, .top = most, .from = 0.5f, .to = 1.15f, .starts = 12, .level = magnitudes, \
        .point = grid_, .points = BL_COUNT(grid_), .per_code = 4, .even = even_                                        \
    }
#define GRID1(n_, shifted)                                                                                             \
    {                                                                                                                  \
        .n = n_, .nearest = bl_nearest_iq1, .top = 1.125f, .from = 0.25f, .to = 0.95f, .starts = 8,                    \
        .point = bl_grid_iq1, .points = BL_COUNT(bl_grid_iq1), .per_code = 8, .per_shift = shifted                     \
    }

static bool least_iq2_xxs(const bl_fit_in *in, uint8_t *b)
{
    static const bl_codebook c = GRID2(32, bl_grid_iq2_xxs, true);
    bl_scaled_fit fit;
    if (!grid(&c, 16, 0.25f, in, &fit)) return false;
    put_half(fit.d, b);
    for (int i = 0; i < 8; i++) {
        uint8_t *q = b + 2 + 8 * i;
        uint32_t signs = (uint32_t)fit.step[i] << 28;
        for (int j = 0; j < 4; j++) {
            q[j] = (uint8_t)point_of(fit.code[4 * i + j]);
            signs |= (signs_of(fit.code[4 * i + j]) & 127) << 7 * j;
        }
        for (int j = 0; j < 4; j++) q[4 + j] = (uint8_t)(signs >> 8 * j);
    }
    return true;
}

static bool least_iq2_xs(const bl_fit_in *in, uint8_t *b)
{
    static const bl_codebook c = GRID2(16, bl_grid_iq2_xs, true);
    bl_scaled_fit fit;
    if (!grid(&c, 16, 0.25f, in, &fit)) return false;
    put_half(fit.d, b);
    for (int i = 0; i < 32; i++)
        put_half((uint16_t)(point_of(fit.code[i]) | (signs_of(fit.code[i]) & 127) << 9), b + 2 + 2 * i);
    for (int i = 0; i < 8; i++) b[66 + i] = (uint8_t)(fit.step[2 * i] | fit.step[2 * i + 1] << 4);
    return true;
}

static bool least_iq2_s(const bl_fit_in *in, uint8_t *b)
{
    static const bl_codebook c = GRID2(16, bl_grid_iq2_s, false);
    bl_scaled_fit fit;
    if (!grid(&c, 16, 0.25f, in, &fit)) return false;
    put_half(fit.d, b);
    memset(b + 66, 0, 8);
    for (int i = 0; i < 32; i++) {
        uint32_t p = point_of(fit.code[i]);
        b[2 + i] = (uint8_t)p;
        b[34 + i] = (uint8_t)signs_of(fit.code[i]);
        b[66 + i / 4] |= (uint8_t)(p >> 8 << i % 4 * 2);
    }
    for (int i = 0; i < 8; i++) b[74 + i] = (uint8_t)(fit.step[2 * i] | fit.step[2 * i + 1] << 4);
    return true;
}

static bool least_iq3_xxs(const bl_fit_in *in, uint8_t *b)
{
    static const float magnitude[8] = {4, 12, 20, 28, 36, 44, 52, 62};
    static const bl_codebook c = GRID3(bl_grid_iq3_xxs, magnitude, 62, true);
    bl_scaled_fit fit;
    if (!grid(&c, 16, 0.5f, in, &fit)) return false;
    put_half(fit.d, b);
    for (int i = 0; i < 64; i++) b[2 + i] = (uint8_t)point_of(fit.code[i]);
    for (int i = 0; i < 8; i++) {
        uint32_t signs = (uint32_t)fit.step[i] << 28;
        for (int j = 0; j < 4; j++) {
            const uint32_t *two = fit.code + 8 * i + 2 * j;
            signs |= ((signs_of(two[0]) | signs_of(two[1]) << 4) & 127) << 7 * j;
        }
        for (int j = 0; j < 4; j++) b[66 + 4 * i + j] = (uint8_t)(signs >> 8 * j);
    }
    return true;
}

static bool least_iq3_s(const bl_fit_in *in, uint8_t *b)
{
    static const float magnitude[8] = {1, 3, 5, 7, 9, 11, 13, 15};
    static const bl_codebook c = GRID3(bl_grid_iq3_s, magnitude, 15, false);
    bl_scaled_fit fit;
    if (!grid(&c, 16, 2, in, &fit)) return false;
    put_half(fit.d, b);
    memset(b + 66, 0, 40);
    for (int i = 0; i < 64; i++) {
        uint32_t p = point_of(fit.code[i]);
        b[2 + i] = (uint8_t)p;
        b[66 + i / 8] |= (uint8_t)(p >> 8 << i % 8);
        b[74 + i / 2] |= (uint8_t)(signs_of(fit.code[i]) << i % 2 * 4);
    }
    for (int i = 0; i < 4; i++) b[106 + i] = (uint8_t)(fit.step[2 * i] | fit.step[2 * i + 1] << 4);
    return true;
}

static bool least_iq1_s(const bl_fit_in *in, uint8_t *b)
{
    static const bl_codebook c = GRID1(32, 32);
    bl_scaled_fit fit;
    if (!grid(&c, 8, 2, in, &fit)) return false;
    put_half(fit.d, b);
    for (int i = 0; i < 8; i++) {
        uint32_t high = (uint32_t)fit.step[i] << 12 | signs_of(fit.code[4 * i]) << 15;
        for (int j = 0; j < 4; j++) {
            b[2 + 4 * i + j] = (uint8_t)point_of(fit.code[4 * i + j]);
            high |= point_of(fit.code[4 * i + j]) >> 8 << 3 * j;
        }
        put_half((uint16_t)high, b + 34 + 2 * i);
    }
    return true;
}

static bool least_iq1_m(const bl_fit_in *in, uint8_t *b)
{
    static const bl_codebook c = GRID1(16, 8);
    bl_scaled_fit fit;
    uint16_t scale[4] = {0};
    if (!grid(&c, 8, 2, in, &fit)) return false;
    memset(b + 32, 0, 16);
    for (int i = 0; i < 32; i++) {
        uint32_t p = point_of(fit.code[i]);
        b[i] = (uint8_t)p;
        b[32 + i / 2] |= (uint8_t)((p >> 8 | signs_of(fit.code[i]) << 3) << i % 2 * 4);
    }
    for (int i = 0; i < 16; i++) scale[i / 4] |= (uint16_t)(fit.step[i] << i % 4 * 3);
    for (int i = 0; i < 4; i++) put_half((uint16_t)(scale[i] | (fit.d >> 4 * i & 15) << 12), b + 48 + 2 * i);
    return true;
}

static bool least_iq4_xs(const bl_fit_in *in, uint8_t *b)
{
    static const bl_codebook c = {.n = 32,
                                  .nearest = bl_nearest_level,
                                  .top = 127,
                                  .from = 0.7f,
                                  .to = 1.2f,
                                  .starts = 24,
                                  .turns = true,
                                  .level = bl_iq4_values,
                                  .mid = bl_iq4_mid,
                                  .levels = 16};
    float step[64];
    bl_scaled_fit fit;
    uint32_t high = 0;
    for (int k = 0; k < 64; k++) step[k] = (float)(k - 32);
    if (!bl_fit_scaled(&(bl_scaled){.codes = &c, .subs = 8, .steps = 64, .step = step}, in, &fit)) return false;
    put_half(fit.d, b);
    memset(b + 4, 0, 132);
    for (int i = 0; i < 8; i++) {
        high |= (uint32_t)(fit.step[i] >> 4) << 2 * i;
        b[4 + i / 2] |= (uint8_t)((fit.step[i] & 15) << i % 2 * 4);
        for (int j = 0; j < 16; j++)
            b[8 + 16 * i + j] = (uint8_t)(fit.code[32 * i + j] | fit.code[32 * i + j + 16] << 4);
    }
    put_half((uint16_t)high, b + 2);
    return true;
}

BL_BLOCK_SEARCHED(iq2_xxs, 16, QK, 66, "GGUF IQ2_XXS");
BL_BLOCK_SEARCHED(iq2_xs, 17, QK, 74, "GGUF IQ2_XS");
BL_BLOCK_SEARCHED(iq3_xxs, 18, QK, 98, "GGUF IQ3_XXS");
BL_BLOCK_SEARCHED(iq1_s, 19, QK, 50, "GGUF IQ1_S");
BL_BLOCK_SEARCHED(iq3_s, 21, QK, 110, "GGUF IQ3_S");
BL_BLOCK_SEARCHED(iq2_s, 22, QK, 82, "GGUF IQ2_S");
BL_BLOCK_SEARCHED(iq4_xs, 23, QK, 136, "GGUF IQ4_XS");
BL_BLOCK_SEARCHED(iq1_m, 29, QK, 56, "GGUF IQ1_M");
