/* blocks.c - GGUF blocks as integers (fmt_gguf.c and fmt_gguf_k.c say what is in one). */
#include "blocks.h"

static const bl_blocks known[] = {
    {"q4_0", "int4", 4, 32, 8, .scales = 0},
    {"q5_0", "int5", 5, 32, 16, .scales = 0},
    {"q8_0", "int8", 8, 32, 128, .scales = 0},
    {"q2_k", "int2", 2, 16, 0, true, 4, 0, 80, 82},
    {"q3_k", "int3", 3, 16, 4, false, 3, 96, 108, 108},
    {"q4_k", "int4", 4, 32, 0, true, 3, 4, 0, 2},
    {"q5_k", "int5", 5, 32, 0, true, 3, 4, 0, 2},
    {"q6_k", "int6", 6, 16, 32, false, 4, 192, 208, 208},
};

const bl_blocks *bl_blocks_of(const bl_format *f)
{
    for (size_t i = 0; f->kind == BL_FMT_BLOCK && i < BL_COUNT(known); i++)
        if (strcmp(f->name, known[i].name) == 0) return &known[i];
    return NULL;
}

static unsigned nibble(const uint8_t *q, int k,
                       int stripe) /* stripes of so many bytes, two of them beside each other */
{
    return q[k / (2 * stripe) * stripe + k % stripe] >> k / stripe % 2 * 4 & 15;
}
static unsigned pair(const uint8_t *q, int k) { return q[k / 128 * 32 + k % 32] >> k / 32 % 4 * 2 & 3; }

void bl_blocks_codes(const bl_blocks *b, const uint8_t *block, uint8_t *codes)
{
    if (b->words) {
        for (int k = 0; k < BL_SUPER; k++) {
            unsigned q = 0;
            switch (b->bits) {
            case 2: q = pair(block + 16, k); break;
            case 3: q = pair(block + 32, k) | (block[k % 32] >> k / 32 & 1u) << 2; break;
            case 4: q = nibble(block + 16, k, 32); break;
            case 5: q = nibble(block + 48, k, 32) | (block[16 + k % 32] >> k / 32 & 1u) << 4; break;
            default: q = nibble(block, k, 64) | pair(block + 128, k) << 4;
            }
            codes[k] = (uint8_t)q;
        }
        return;
    }
    uint32_t high = 0;
    if (b->bits == 5) memcpy(&high, block + 2, 4);
    for (int k = 0; k < b->group; k++)
        codes[k] = (uint8_t)(b->bits == 8 ? block[2 + k] ^ 0x80u
                                          : nibble(block + (b->bits == 5 ? 6 : 2), k, 16) | (high >> k & 1) << 4);
}

static unsigned byte_of(uint32_t word, int i) { return word >> 8 * (i % 4) & 255; }

void bl_blocks_numbers(const bl_blocks *b, const uint32_t words[4], uint16_t d, uint16_t dmin,
                       float scale[BL_SUPER_GROUPS], float least[BL_SUPER_GROUPS])
{
    const float by = bl_f16_to_f32(d), less = b->least ? bl_f16_to_f32(dmin) : 0;
    for (int i = 0; i < BL_SUPER / b->group; i++) {
        const int j = i / 4;
        unsigned m = 0;
        int s = 0;
        switch (b->bits) {
        case 2:
            s = (int)(byte_of(words[j], i) & 15);
            m = byte_of(words[j], i) >> 4;
            break;
        case 3:
            s = (int)((byte_of(words[j % 2], i) >> j / 2 * 4 & 15) | (byte_of(words[2], i) >> 2 * j & 3) << 4) - 32;
            break;
        case 6: s = (int8_t)byte_of(words[j], i); break;
        default:
            s = (int)(j ? (byte_of(words[2], i) & 15) | byte_of(words[0], i) >> 6 << 4 : byte_of(words[0], i) & 63);
            m = j ? byte_of(words[2], i) >> 4 | byte_of(words[1], i) >> 6 << 4 : byte_of(words[1], i) & 63;
        }
        scale[i] = by * (float)s;
        least[i] = less * (float)m;
    }
}

void bl_blocks_stored(const bl_blocks *b, const uint8_t *block, float scale[BL_SUPER_GROUPS],
                      float least[BL_SUPER_GROUPS])
{
    uint32_t words[4] = {0};
    uint16_t d, dmin;
    memcpy(&d, block + b->d, 2);
    if (!b->words) {
        scale[0] = bl_f16_to_f32(d);
        least[0] = 0;
        return;
    }
    memcpy(&dmin, block + b->dmin, 2);
    memcpy(words, block + b->scales, 4 * (size_t)b->words);
    bl_blocks_numbers(b, words, d, dmin, scale, least);
}
