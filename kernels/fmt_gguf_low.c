/* fmt_gguf_low.c - the newer GGUF blocks of few bits: nvfp4 q1_0 q2_0.
 *
 *     nvfp4   64 weights   4 scales of 8 bits, 32 bytes     s[i] e2m1[q], s of each 16 weights
 *     q1_0    128          d fp16, 16 bytes                 d where the bit is set, else -d
 *     q2_0    64           d fp16, 16 bytes                 d (q - 1)
 *
 * Byte j of the 8 of a sixteenth of nvfp4 holds weight j in its low and weight j + 8 in its high nibble; bits and pairs
 * of bits of the others come low first. A scale of nvfp4 is an e4m3 number (bias 7) without a sign, whose bit is
 * ignored; 0x7f, which would be NaN, is 0. That is ggml's reading (ggml-quants.c); files may carry a second scale for
 * each tensor as a tensor of its own, which the model's reader refuses by name.
 */
#include "fmt_gguf_low_decode.h"
#include "fmt_gguf_fit.h"

static bool least_nvfp4(const bl_fit_in *in, uint8_t *b)
{
    static const float level[15] = {-6, -4, -3, -2, -1.5f, -1, -0.5f, 0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    static const float mid[14] = {-5,    -3.5f, -2.5f, -1.75f, -1.25f, -0.75f, -0.25f,
                                  0.25f, 0.75f, 1.25f, 1.75f,  2.5f,   3.5f,   5};
    static const bl_codebook c = {.n = 16,
                                  .nearest = bl_nearest_level,
                                  .top = 6,
                                  .from = 0.6f,
                                  .to = 1.5f,
                                  .starts = 24,
                                  .level = level,
                                  .mid = mid,
                                  .levels = 15};
    enum { SCALES = 127 };
    float step[SCALES];
    bl_scaled_fit fit;
    for (int k = 0; k < SCALES; k++) step[k] = scale_nvfp4((uint8_t)k) / in->unit;
    if (!bl_fit_scaled(&(bl_scaled){.codes = &c, .subs = 4, .steps = SCALES, .step = step, .fixed = true}, in, &fit))
        return false;
    for (int i = 0; i < 4; i++) {
        b[i] = (uint8_t)fit.step[i];
        for (int j = 0; j < 8; j++) {
            int lo = (int)fit.code[16 * i + j], hi = (int)fit.code[16 * i + j + 8];
            b[4 + 8 * i + j] = (uint8_t)((lo < 7 ? 15 - lo : lo - 7) | (hi < 7 ? 15 - hi : hi - 7) << 4);
        }
    }
    return true;
}

static bool single(const bl_codebook *c, const bl_fit_in *in, uint8_t *b, bl_scaled_fit *fit)
{
    static const float one[1] = {1};
    if (!bl_fit_scaled(&(bl_scaled){.codes = c, .subs = 1, .steps = 1, .step = one}, in, fit)) return false;
    memset(b, 0, 18);
    b[0] = (uint8_t)fit->d;
    b[1] = (uint8_t)(fit->d >> 8);
    return true;
}

static bool least_q1_0(const bl_fit_in *in, uint8_t *b)
{
    static const float level[2] = {-1, 1}, mid[1] = {-0x1p-126f}; /* 0 is + */
    static const bl_codebook c = {.n = 128,
                                  .nearest = bl_nearest_level,
                                  .top = 1,
                                  .from = 1,
                                  .to = 1,
                                  .starts = 1,
                                  .level = level,
                                  .mid = mid,
                                  .levels = 2};
    bl_scaled_fit fit;
    if (!single(&c, in, b, &fit)) return false;
    for (int k = 0; k < 128; k++) b[2 + k / 8] |= (uint8_t)(fit.code[k] << k % 8);
    return true;
}

static bool least_q2_0(const bl_fit_in *in, uint8_t *b)
{
    static const bl_codebook c = {.n = 64,
                                  .nearest = bl_nearest_integer,
                                  .top = 2,
                                  .from = 0.3f,
                                  .to = 1.5f,
                                  .starts = 32,
                                  .turns = true,
                                  .low = -1,
                                  .high = 2};
    bl_scaled_fit fit;
    if (!single(&c, in, b, &fit)) return false;
    for (int k = 0; k < 64; k++) b[2 + k / 4] |= (uint8_t)(fit.code[k] << k % 4 * 2);
    return true;
}

BL_BLOCK_SEARCHED(nvfp4, 40, 64, 36, "NVFP4: e2m1 with an e4m3 scale per 16");
BL_BLOCK_SEARCHED(q1_0, 41, 128, 18, "GGUF Q1_0: signs and one scale per 128");
BL_BLOCK_SEARCHED(q2_0, 42, 64, 18, "GGUF Q2_0: -1, 0, 1, 2 and one scale per 64");
