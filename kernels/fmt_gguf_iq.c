/* fmt_gguf_iq.c - GGUF blocks of 256 weights whose codes are points of a grid: iq1_s … iq4_xs. Decoders only.
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

enum { QK = 256 };

BL_BLOCK_READER(iq2_xxs, 16, QK, 66, "GGUF IQ2_XXS");
BL_BLOCK_READER(iq2_xs, 17, QK, 74, "GGUF IQ2_XS");
BL_BLOCK_READER(iq3_xxs, 18, QK, 98, "GGUF IQ3_XXS");
BL_BLOCK_READER(iq1_s, 19, QK, 50, "GGUF IQ1_S");
BL_BLOCK_READER(iq3_s, 21, QK, 110, "GGUF IQ3_S");
BL_BLOCK_READER(iq2_s, 22, QK, 82, "GGUF IQ2_S");
BL_BLOCK_READER(iq4_xs, 23, QK, 136, "GGUF IQ4_XS");
BL_BLOCK_READER(iq1_m, 29, QK, 56, "GGUF IQ1_M");
