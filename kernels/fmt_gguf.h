/* fmt_gguf.h - what the GGUF block formats share: one part `blocks` [out, in / block * block bytes], bytes as in the
 * file.
 *
 * A format is a function that decodes one block, one that finds the block of least error (fmt_gguf_fit.h) and, for the
 * simple ones, one that encodes by a rule; BL_BLOCK_FORMAT makes the rest. Numbers in blocks are little-endian.
 * Products and sums of decoders are in the order that the file format's own programs use.
 */
#ifndef BL_KERNELS_FMT_GGUF_H
#define BL_KERNELS_FMT_GGUF_H
#include "format_impl.h"

enum { BL_BLOCK_MAX = 256 }; /* weights of the longest block */

typedef void bl_block_decode(const uint8_t *block, float *w);
typedef bool bl_block_encode(const float *w, uint8_t *block); /* w is finite; false: a scale does not fit fp16 */

int bl_block_parts(const bl_format *f, const bl_shape *g, bl_part_spec out[BL_MAX_PARTS]);
void bl_block_unpack(const bl_format *f, const bl_shape *g, const void *const part[], int64_t row, int64_t k0,
                     int64_t n, float *dst, bl_block_decode *decode);
bl_status bl_block_pack(const bl_format *f, const bl_shape *g, const float *w, void *const part[],
                        bl_block_encode *encode, bl_err *e);

/* The sixteen levels of iq4_nl and iq4_xs. */
extern const int8_t bl_iq4_levels[16];
#define BL_IQ4_LEVELS                                                                                                  \
    {                                                                                                                  \
        -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113                                       \
    }

#define BL_BLOCK_UNPACK(id)                                                                                            \
    static void unpack_##id(const bl_format *f, const bl_shape *g, const void *const part[], int64_t row, int64_t k0,  \
                            int64_t n, float *dst)                                                                     \
    {                                                                                                                  \
        bl_block_unpack(f, g, part, row, k0, n, dst, decode_##id);                                                     \
    }
#define BL_BLOCK_PACK(id)                                                                                              \
    static bl_status pack_##id(const bl_format *f, const bl_shape *g, const float *w, void *const part[], bl_err *e)   \
    {                                                                                                                  \
        return bl_block_pack(f, g, w, part, encode_##id, e);                                                           \
    }
#define BL_BLOCK_PACK_LEAST(id)                                                                                        \
    static bl_status pack_least_##id(const bl_format *f, const bl_shape *g, const float *w, const float *importance,   \
                                     void *const part[], bl_err *e)                                                    \
    {                                                                                                                  \
        return bl_block_pack_least(f, g, w, importance, part, least_##id, e);                                          \
    }
#define BL_BLOCK_ROW(id, type, length, bytes, packer, text)                                                            \
    const bl_format bl_format_##id = {.name = #id,                                                                     \
                                      .doc = text,                                                                     \
                                      .kind = BL_FMT_BLOCK,                                                            \
                                      .bits = 8 * (bytes) / (length),                                                  \
                                      .block = length,                                                                 \
                                      .block_bytes = bytes,                                                            \
                                      .ggml_type = type,                                                               \
                                      .check = bl_fmt_check,                                                           \
                                      .parts = bl_block_parts,                                                         \
                                      .unpack = unpack_##id,                                                           \
                                      .pack = packer,                                                                  \
                                      .pack_least = pack_least_##id}
/* Without and with a rule of its own. */
#define BL_BLOCK_SEARCHED(id, type, length, bytes, text)                                                               \
    BL_BLOCK_UNPACK(id) BL_BLOCK_PACK_LEAST(id) BL_BLOCK_ROW(id, type, length, bytes, NULL, text)
#define BL_BLOCK_FORMAT(id, type, length, bytes, text)                                                                 \
    BL_BLOCK_UNPACK(id)                                                                                                \
    BL_BLOCK_PACK(id) BL_BLOCK_PACK_LEAST(id) BL_BLOCK_ROW(id, type, length, bytes, pack_##id, text)
#endif
