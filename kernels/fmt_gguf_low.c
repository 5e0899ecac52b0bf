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
#include "fmt_gguf_low_decode.h"

BL_BLOCK_READER(nvfp4, 40, 64, 36, "NVFP4: e2m1 with an e4m3 scale per 16");
BL_BLOCK_READER(q1_0, 41, 128, 18, "GGUF Q1_0: signs and one scale per 128");
BL_BLOCK_READER(q2_0, 42, 64, 18, "GGUF Q2_0: -1, 0, 1, 2 and one scale per 64");
