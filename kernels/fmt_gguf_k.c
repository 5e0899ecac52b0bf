/* fmt_gguf_k.c - GGUF blocks of 256 weights without codebooks: q2_k … q6_k, tq1_0, tq2_0. Decoders only.
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

enum { QK = 256 };

BL_BLOCK_READER(q2_k, 10, QK, 84, "GGUF Q2_K");
BL_BLOCK_READER(q3_k, 11, QK, 110, "GGUF Q3_K");
BL_BLOCK_READER(q4_k, 12, QK, 144, "GGUF Q4_K");
BL_BLOCK_READER(q5_k, 13, QK, 176, "GGUF Q5_K");
BL_BLOCK_READER(q6_k, 14, QK, 210, "GGUF Q6_K");
BL_BLOCK_READER(tq1_0, 34, QK, 54, "GGUF TQ1_0: ternary, five codes a byte");
BL_BLOCK_READER(tq2_0, 35, QK, 66, "GGUF TQ2_0: ternary, four codes a byte");
