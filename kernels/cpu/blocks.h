/* blocks.h - GGUF blocks as integers: codes, and for every group of them a scale and what is subtracted. This is how
 * products in integers and the layout of lanes.h see them.
 *
 *     weight = (code - zero) scale          q4_0, q5_0, q8_0, q3_k, q6_k
 *     weight = code scale - least           q2_k, q4_k, q5_k
 *
 * Every product of a code and a scale is a number that a float holds, so each of the two is rounded at most once.
 */
#ifndef BL_KERNELS_CPU_BLOCKS_H
#define BL_KERNELS_CPU_BLOCKS_H
#include "cpu.h"

enum { BL_SUPER = 256, BL_SUPER_GROUPS = 16 }; /* weights of a large block, most groups of it */

typedef struct bl_blocks {
    const char *name, *as; /* "q4_k"; "int4", the codes alone */
    int bits, group, zero;
    bool least;
    int words, scales, d, dmin; /* large blocks: words of 32 bits with scales; where these, d and dmin are, in bytes */
} bl_blocks;
const bl_blocks *bl_blocks_of(const bl_format *f); /* NULL: none of the above */

/* Codes of a stored block, in order. */
void bl_blocks_codes(const bl_blocks *b, const uint8_t *block, uint8_t *codes);
/* Of every group of a large block, out of its words, d and dmin (both fp16). */
void bl_blocks_numbers(const bl_blocks *b, const uint32_t words[4], uint16_t d, uint16_t dmin,
                       float scale[BL_SUPER_GROUPS], float least[BL_SUPER_GROUPS]);
/* The same of a stored block, large or not: then there is one group. */
void bl_blocks_stored(const bl_blocks *b, const uint8_t *block, float scale[BL_SUPER_GROUPS],
                      float least[BL_SUPER_GROUPS]);
#endif
