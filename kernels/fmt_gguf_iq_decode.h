/* fmt_gguf_iq_decode.h - a block of 256 grid points' weights into floats (fmt_gguf_iq.c says what is in one). */
#ifndef BL_KERNELS_FMT_GGUF_IQ_DECODE_H
#define BL_KERNELS_FMT_GGUF_IQ_DECODE_H
#include "fmt_gguf_both.h"

BL_BOTH static uint8_t even_signs(uint32_t seven) { return (uint8_t)(seven | (unsigned)bl_parity(seven) << 7); }

/* Eight weights of an iq2 point, two bits a magnitude. */
BL_BOTH static void point2(unsigned point, uint8_t signs, float scale, float *w)
{
    static const float magnitude[4] = {8, 25, 43, 0};
    for (int j = 0; j < 8; j++) {
        float v = scale * magnitude[point >> 2 * j & 3];
        w[j] = signs >> j & 1 ? -v : v;
    }
}

/* Four weights of an iq3 point, three bits a magnitude. */
BL_BOTH static void point3(const float magnitude[8], unsigned point, unsigned signs, float scale, float *w)
{
    for (int j = 0; j < 4; j++) {
        float v = scale * magnitude[point >> 3 * j & 7];
        w[j] = signs >> j & 1 ? -v : v;
    }
}

/* Eight weights of an iq1 point, two bits a digit. */
BL_BOTH static void point1(unsigned point, float shift, float scale, float *w)
{
    for (int j = 0; j < 8; j++) w[j] = scale * ((float)(int)(point >> 2 * j & 3) - 1 + shift);
}

BL_BOTH static void decode_iq2_xxs(const uint8_t *b, float *w)
{
    float d = bl_half(b);

    for (int i = 0; i < 8; i++) {
        const uint8_t *q = b + 2 + 8 * i;
        uint32_t signs = bl_u32(q + 4);
        float s = d * (0.5f + (float)(signs >> 28)) * 0.25f;
        for (int j = 0; j < 4; j++)
            point2(bl_grid_iq2_xxs[q[j]], even_signs(signs >> 7 * j & 127), s, w + 32 * i + 8 * j);
    }
}

BL_BOTH static void decode_iq2_xs(const uint8_t *b, float *w)
{
    const uint8_t *scales = b + 66;
    float d = bl_half(b);

    for (int i = 0; i < 32; i++) {
        unsigned q = bl_u16(b + 2 + 2 * i);
        float s = d * (0.5f + (float)(scales[i / 4] >> i / 2 % 2 * 4 & 15)) * 0.25f;
        point2(bl_grid_iq2_xs[q & 511], even_signs(q >> 9), s, w + 8 * i);
    }
}

BL_BOTH static void decode_iq2_s(const uint8_t *b, float *w)
{
    const uint8_t *q = b + 2, *signs = b + 34, *high = b + 66, *scales = b + 74;
    float d = bl_half(b);

    for (int i = 0; i < 32; i++) {
        unsigned point = q[i] | (high[i / 4] >> i % 4 * 2 & 3u) << 8;
        float s = d * (0.5f + (float)(scales[i / 4] >> i / 2 % 2 * 4 & 15)) * 0.25f;
        point2(bl_grid_iq2_s[point], signs[i], s, w + 8 * i);
    }
}

BL_BOTH static void decode_iq3_xxs(const uint8_t *b, float *w)
{
    static const float magnitude[8] = {4, 12, 20, 28, 36, 44, 52, 62};
    const uint8_t *q = b + 2;
    float d = bl_half(b);

    for (int i = 0; i < 64; i++) {
        uint32_t signs = bl_u32(b + 66 + 4 * (i / 8));
        float s = d * (0.5f + (float)(signs >> 28)) * 0.5f;
        point3(magnitude, bl_grid_iq3_xxs[q[i]], even_signs(signs >> i / 2 % 4 * 7 & 127) >> i % 2 * 4, s, w + 4 * i);
    }
}

BL_BOTH static void decode_iq3_s(const uint8_t *b, float *w)
{
    static const float magnitude[8] = {1, 3, 5, 7, 9, 11, 13, 15};
    const uint8_t *q = b + 2, *high = b + 66, *signs = b + 74, *scales = b + 106;
    float d = bl_half(b);

    for (int i = 0; i < 64; i++) {
        unsigned point = q[i] | (high[i / 8] >> i % 8 & 1u) << 8;
        float s = d * (float)(1 + 2 * (scales[i / 16] >> i / 8 % 2 * 4 & 15));
        point3(magnitude, bl_grid_iq3_s[point], signs[i / 2] >> i % 2 * 4, s, w + 4 * i);
    }
}

BL_BOTH static void decode_iq1_s(const uint8_t *b, float *w)
{
    const uint8_t *q = b + 2;
    float d = bl_half(b);

    for (int i = 0; i < 32; i++) {
        unsigned high = bl_u16(b + 34 + 2 * (i / 4)), point = q[i] | (high >> i % 4 * 3 & 7) << 8;
        float s = d * (float)(2 * (high >> 12 & 7) + 1);
        point1(bl_grid_iq1[point], high & 0x8000 ? -0.125f : 0.125f, s, w + 8 * i);
    }
}

BL_BOTH static void decode_iq1_m(const uint8_t *b, float *w)
{
    const uint8_t *q = b, *high = b + 32, *scales = b + 48;
    unsigned d16 = 0;

    for (int i = 0; i < 4; i++) d16 |= (unsigned)(bl_u16(scales + 2 * i) >> 12) << 4 * i;
    float d = bl_f16_to_f32((uint16_t)d16);
    for (int i = 0; i < 32; i++) {
        unsigned h = high[i / 2] >> i % 2 * 4, point = q[i] | (h & 7) << 8;
        float s = d * (float)(2 * (bl_u16(scales + 2 * (i / 8)) >> i / 2 % 4 * 3 & 7) + 1);
        point1(bl_grid_iq1[point], h & 8 ? -0.125f : 0.125f, s, w + 8 * i);
    }
}

BL_BOTH static void decode_iq4_xs(const uint8_t *b, float *w)
{
    const uint8_t *low = b + 4, *q = b + 8;
    float d = bl_half(b);
    unsigned high = bl_u16(b + 2);

    for (int i = 0; i < 8; i++) {
        int s6 = (low[i / 2] >> i % 2 * 4 & 15) | (int)(high >> 2 * i & 3) << 4;
        float s = d * (float)(s6 - 32);
        for (int j = 0; j < 16; j++) {
            w[32 * i + j] = s * (float)bl_iq4_levels[q[16 * i + j] & 15];
            w[32 * i + j + 16] = s * (float)bl_iq4_levels[q[16 * i + j] >> 4];
        }
    }
}
#endif
