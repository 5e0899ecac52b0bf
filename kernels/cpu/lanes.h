/* lanes.h - the layout that `prepare` gives weights where there is AVX2: sixteen outputs side by side, so that each has
 * a lane of a vector and nothing is summed across lanes.
 *
 * Outputs come in bands of 16. The codes of a band are words of 32 bits [words][16 outputs]; a run of 32 inputs has as
 * many words as a code has bits. Codes of 8, 4, 2 or 1 bits are one plane; those of other widths are the planes 4, 2
 * and 1 that sum to it, the lowest bits in the widest one and its words first. In a plane of p bits a word has 8 / p
 * quads of four neighbouring inputs: input i of quad q (of the run) is in bits 8 i + p (q mod 8/p) .. + p of word q /
 * (8/p). So a shift and a mask give the four codes of a quad, a byte each, as products in integers take them, and
 * another mask one code, as products in floats do.
 *
 *     codes  [bands][in / 32][bits][16]      scales [bands][groups][16]
 *     zeros  [bands][groups][16]             packed ones: 16 codes in 2 x bits bytes, low bits first
 *
 * Bands begin where their first row did, parts are as long as before. The GGUF blocks of 32 that have one scale and no
 * minimum (q4_0, q5_0, q8_0) are integers with a scale of 16 bits: a band of their only part is the codes of 16 outputs
 * and after them the scales. Those of 256 (q2_k … q6_k) come one after another, each block of a band as
 *
 *     codes [8 runs][bits][16]   scales [3 or 4 words of 32 bits, as in the block][16]   d, dmin fp16 [1 or 2][16]
 */
#ifndef BL_KERNELS_CPU_LANES_H
#define BL_KERNELS_CPU_LANES_H
#include "blocks.h"

enum { BL_LAYOUT_LANES = 1, BL_BAND = 16, BL_RUN = 32 };

/* Whether weights of the format and shape can have the layout: integers, tables of up to four bits and the blocks named
 * above, whole bands, groups of whole runs. */
bool bl_lanes_fit(const bl_format *f, const bl_shape *g);
/* The format and shape as which kernels read the codes: those of the blocks are integers in groups of 32, the others
 * stay as they are. */
void bl_lanes_as(const bl_format **f, bl_shape *g);

/* Where input k of a run is, in the plane of its low bits and those after it. */
static inline int bl_lanes_planes(int bits, int width[3])
{
    int n = 0;
    if (bits == 8) {
        width[0] = 8;
        return 1;
    }
    for (int p = 4; p; p /= 2)
        if (bits & p) width[n++] = p;
    return n;
}
static inline int bl_lanes_word(int plane, int k) { return k / 4 / (8 / plane); }
static inline int bl_lanes_shift(int plane, int k) { return 8 * (k % 4) + plane * (k / 4 % (8 / plane)); }
#endif
