/* fmt_gguf_k_decode.h - a block of 256 weights into floats (fmt_gguf_k.c says what is in one). */
#ifndef BL_KERNELS_FMT_GGUF_K_DECODE_H
#define BL_KERNELS_FMT_GGUF_K_DECODE_H
#include "fmt_gguf_both.h"

BL_BOTH static int two_bits(const uint8_t *q, int k) { return q[k / 128 * 32 + k % 32] >> k / 32 % 4 * 2 & 3; }
BL_BOTH static int nibble(const uint8_t *q, int k) { return q[k / 64 * 32 + k % 32] >> k / 32 % 2 * 4 & 15; }

BL_BOTH static void decode_q2_k(const uint8_t *b, float *w)
{
    const uint8_t *scales = b, *q = b + 16;
    float d = bl_half(b + 80), dmin = bl_half(b + 82);

    for (int i = 0; i < 16; i++) {
        float s = d * (float)(scales[i] & 15), m = dmin * (float)(scales[i] >> 4);
        for (int k = 16 * i; k < 16 * i + 16; k++) w[k] = s * (float)two_bits(q, k) - m;
    }
}

/* Sixteen 6-bit scales: the low nibbles of 0..7 and, above them, of 8..15 in eight bytes; then four bytes of high
 * pairs, four apart. */
BL_BOTH static void decode_q3_k(const uint8_t *b, float *w)
{
    const uint8_t *high = b, *q = b + 32, *scales = b + 96;
    float d = bl_half(b + 108);

    for (int i = 0; i < 16; i++) {
        int low = scales[i % 8] >> i / 8 * 4 & 15, top = scales[8 + i % 4] >> i / 4 * 2 & 3;
        float s = d * (float)((low | top << 4) - 32);
        for (int k = 16 * i; k < 16 * i + 16; k++) /* a set third bit means no offset */
            w[k] = s * (float)(two_bits(q, k) - (high[k % 32] >> k / 32 & 1 ? 0 : 4));
    }
}

/* Eight 6-bit scales and minima in twelve bytes: 0..3 in the low six bits of bytes 0..3 and 4..7, whose upper pairs
 * belong to 4..7; the low nibbles of those are in bytes 8..11, scale below, minimum above. */
BL_BOTH static void scale_and_min(const uint8_t *p, int i, float *scale, float *min)
{
    int s = i < 4 ? p[i] & 63 : (p[i + 4] & 15) | p[i - 4] >> 6 << 4;
    int m = i < 4 ? p[i + 4] & 63 : p[i + 4] >> 4 | p[i] >> 6 << 4;
    *scale = (float)s;
    *min = (float)m;
}

BL_BOTH static void decode_q4_k(const uint8_t *b, float *w)
{
    const uint8_t *q = b + 16;
    float d = bl_half(b), dmin = bl_half(b + 2), s, m;

    for (int i = 0; i < 8; i++) {
        scale_and_min(b + 4, i, &s, &m);
        s *= d;
        m *= dmin;
        for (int k = 32 * i; k < 32 * i + 32; k++) w[k] = s * (float)nibble(q, k) - m;
    }
}

BL_BOTH static void decode_q5_k(const uint8_t *b, float *w)
{
    const uint8_t *high = b + 16, *q = b + 48;
    float d = bl_half(b), dmin = bl_half(b + 2), s, m;

    for (int i = 0; i < 8; i++) {
        scale_and_min(b + 4, i, &s, &m);
        s *= d;
        m *= dmin;
        for (int k = 32 * i; k < 32 * i + 32; k++) w[k] = s * (float)(nibble(q, k) | (high[k % 32] >> i & 1) << 4) - m;
    }
}

BL_BOTH static void decode_q6_k(const uint8_t *b, float *w)
{
    const uint8_t *low = b, *high = b + 128, *scales = b + 192;
    float d = bl_half(b + 208);

    for (int i = 0; i < 16; i++) {
        float s = d * (float)(int8_t)scales[i];
        for (int k = 16 * i; k < 16 * i + 16; k++) { /* here a stripe of low nibbles is 64 bytes long */
            int q = (low[k / 128 * 64 + k % 64] >> k / 64 % 2 * 4 & 15) | two_bits(high, k) << 4;
            w[k] = s * (float)(q - 32);
        }
    }
}

/* A byte holds a fraction v / 256 whose ternary digits are the codes: digit n is the integer part of 3 times the
 * fraction left after n multiplications by 3. */
BL_BOTH static float trit(uint8_t v, int n)
{
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    return (float)(((uint8_t)(v * power[n]) * 3 >> 8) - 1);
}

BL_BOTH static void decode_tq1_0(const uint8_t *b, float *w)
{
    float d = bl_half(b + 52);

    for (int n = 0; n < 5; n++) {
        for (int j = 0; j < 32; j++) w[32 * n + j] = d * trit(b[j], n);
        for (int j = 0; j < 16; j++) w[160 + 16 * n + j] = d * trit(b[32 + j], n);
    }
    for (int n = 0; n < 4; n++)
        for (int j = 0; j < 4; j++) w[240 + 4 * n + j] = d * trit(b[48 + j], n);
}

BL_BOTH static void decode_tq2_0(const uint8_t *b, float *w)
{
    float d = bl_half(b + 64);
    for (int k = 0; k < 256; k++) w[k] = d * (float)(two_bits(b, k) - 1);
}
#endif
