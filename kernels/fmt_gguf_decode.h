/* fmt_gguf_decode.h - a block of the simple GGUF formats into floats (fmt_gguf.c says what is in one). */
#ifndef BL_KERNELS_FMT_GGUF_DECODE_H
#define BL_KERNELS_FMT_GGUF_DECODE_H
#include "fmt_gguf_both.h"

BL_BOTH static void decode_q4_0(const uint8_t *b, float *w)
{
    float d = bl_half(b);
    for (int j = 0; j < 16; j++) {
        w[j] = d * (float)((b[2 + j] & 15) - 8);
        w[j + 16] = d * (float)((b[2 + j] >> 4) - 8);
    }
}

BL_BOTH static void decode_q4_1(const uint8_t *b, float *w)
{
    float d = bl_half(b), m = bl_half(b + 2);
    for (int j = 0; j < 16; j++) {
        w[j] = d * (float)(b[4 + j] & 15) + m;
        w[j + 16] = d * (float)(b[4 + j] >> 4) + m;
    }
}

BL_BOTH static void decode_q5_0(const uint8_t *b, float *w)
{
    float d = bl_half(b);
    uint32_t high = bl_u32(b + 2);
    for (int j = 0; j < 16; j++) {
        w[j] = d * (float)((int)((b[6 + j] & 15) | (high >> j & 1) << 4) - 16);
        w[j + 16] = d * (float)((int)((b[6 + j] >> 4) | (high >> (j + 16) & 1) << 4) - 16);
    }
}

BL_BOTH static void decode_q5_1(const uint8_t *b, float *w)
{
    float d = bl_half(b), m = bl_half(b + 2);
    uint32_t high = bl_u32(b + 4);
    for (int j = 0; j < 16; j++) {
        w[j] = d * (float)(int)((b[8 + j] & 15) | (high >> j & 1) << 4) + m;
        w[j + 16] = d * (float)(int)((b[8 + j] >> 4) | (high >> (j + 16) & 1) << 4) + m;
    }
}

BL_BOTH static void decode_q8_0(const uint8_t *b, float *w)
{
    float d = bl_half(b);
    for (int j = 0; j < 32; j++) w[j] = d * (float)(int8_t)b[2 + j];
}

BL_BOTH static void decode_iq4_nl(const uint8_t *b, float *w)
{
    float d = bl_half(b);
    for (int j = 0; j < 16; j++) {
        w[j] = d * (float)bl_iq4_levels[b[2 + j] & 15];
        w[j + 16] = d * (float)bl_iq4_levels[b[2 + j] >> 4];
    }
}

BL_BOTH static void decode_mxfp4(const uint8_t *b, float *w)
{
    static const int8_t doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}; /* e2m1 times two */
    float d = ldexpf(1, b[0] - 128); /* … and so half of 2^(e - 127) */
    for (int j = 0; j < 16; j++) {
        w[j] = d * (float)doubled[b[1 + j] & 15];
        w[j + 16] = d * (float)doubled[b[1 + j] >> 4];
    }
}
#endif
