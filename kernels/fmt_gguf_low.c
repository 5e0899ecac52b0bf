/* fmt_gguf_low.c - the newer GGUF blocks of few bits: nvfp4 q1_0 q2_0. Decoders only.
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
#include "fmt_gguf.h"
#include <math.h>

static float scale_nvfp4(uint8_t s)
{
    int exponent = s >> 3 & 15, mantissa = s & 7;
    if (s == 0x7f) return 0;
    return exponent ? ldexpf((float)(8 + mantissa), exponent - 10) : ldexpf((float)mantissa, -9);
}

static void decode_nvfp4(const uint8_t *b, float *w)
{
    static const float e2m1[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, 0, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    for (int i = 0; i < 4; i++) {
        float s = scale_nvfp4(b[i]);
        for (int j = 0; j < 8; j++) {
            uint8_t q = b[4 + 8 * i + j];
            w[16 * i + j] = s * e2m1[q & 15];
            w[16 * i + j + 8] = s * e2m1[q >> 4];
        }
    }
}

static void decode_q1_0(const uint8_t *b, float *w)
{
    float d = bl_half(b);
    for (int i = 0; i < 128; i++) w[i] = b[2 + i / 8] >> i % 8 & 1 ? d : -d;
}

static void decode_q2_0(const uint8_t *b, float *w)
{
    float d = bl_half(b);
    for (int i = 0; i < 64; i++) w[i] = d * (float)((b[2 + i / 4] >> i % 4 * 2 & 3) - 1);
}

BL_BLOCK_READER(nvfp4, 40, 64, 36, "NVFP4: e2m1 with an e4m3 scale per 16");
BL_BLOCK_READER(q1_0, 41, 128, 18, "GGUF Q1_0: signs and one scale per 128");
BL_BLOCK_READER(q2_0, 42, 64, 18, "GGUF Q2_0: -1, 0, 1, 2 and one scale per 64");
