/* fmt_gguf_low_decode.h - a block of few bits into floats (fmt_gguf_low.c says what is in one). */
#ifndef BL_KERNELS_FMT_GGUF_LOW_DECODE_H
#define BL_KERNELS_FMT_GGUF_LOW_DECODE_H
#include "fmt_gguf_both.h"

BL_BOTH static float scale_nvfp4(uint8_t s)
{
    int exponent = s >> 3 & 15, mantissa = s & 7;
    if (s == 0x7f) return 0;
    return exponent ? ldexpf((float)(8 + mantissa), exponent - 10) : ldexpf((float)mantissa, -9);
}

BL_BOTH static void decode_nvfp4(const uint8_t *b, float *w)
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

BL_BOTH static void decode_q1_0(const uint8_t *b, float *w)
{
    float d = bl_half(b);
    for (int i = 0; i < 128; i++) w[i] = b[2 + i / 8] >> i % 8 & 1 ? d : -d;
}

BL_BOTH static void decode_q2_0(const uint8_t *b, float *w)
{
    float d = bl_half(b);
    for (int i = 0; i < 64; i++) w[i] = d * (float)((b[2 + i / 4] >> i % 4 * 2 & 3) - 1);
}
#endif
