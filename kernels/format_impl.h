/* format_impl.h - what the format files share: bits of codes, stored scales, the checks that are the same everywhere.
 *
 * A code row is a little-endian bit string: code i is bits [i*b, i*b+b). Eight codes of b bits are b whole bytes, so
 * rows are read and written eight codes at a time; what is left over goes byte by byte and never touches a byte outside
 * the row.
 */
#ifndef BL_KERNELS_FORMAT_IMPL_H
#define BL_KERNELS_FORMAT_IMPL_H
#include "format.h"
#include <string.h>

/* Bytes of n codes of b bits, b <= 8: in eighths, so that nothing overflows. */
static inline int64_t bl_code_bytes(int64_t n, int b) { return n / 8 * b + (n % 8 * b + 7) / 8; }

static inline uint8_t bl_code_at(const uint8_t *row, int b, int64_t i)
{
    int64_t bit = i * b;
    int at = (int)(bit & 7);
    unsigned v = row[bit >> 3] >> at;

    if (at + b > 8) v |= (unsigned)row[(bit >> 3) + 1] << (8 - at);
    return (uint8_t)(v & ((1u << b) - 1));
}

static inline void bl_codes_read8(const uint8_t *p, int b, uint8_t q[8]) /* p: b bytes */
{
    uint64_t v = 0, mask = (1u << b) - 1;
    for (int i = 0; i < b; i++) v |= (uint64_t)p[i] << 8 * i;
    for (int j = 0; j < 8; j++) q[j] = (uint8_t)(v >> j * b & mask);
}

/* Codes k .. k+n of a row. */
void bl_codes_read(const uint8_t *row, int b, int64_t k, int64_t n, uint8_t *q);
/* A whole row of n codes; bits after the last code are zero. */
void bl_codes_write(uint8_t *row, int b, int64_t n, const uint8_t *q);

static inline float bl_scale_at(const void *scales, bl_dtype t, int64_t i)
{
    if (t == BL_F32) {
        float s;
        memcpy(&s, (const char *)scales + 4 * i, 4);
        return s;
    }
    uint16_t h;
    memcpy(&h, (const char *)scales + 2 * i, 2);
    return t == BL_F16 ? bl_f16_to_f32(h) : bl_bf16_to_f32(h);
}
/* Stores `s` at index i and returns what was stored. `keep`: a scale that is divided by never becomes 0 but the
 * smallest number of its type. Not finite or above the type: the returned value is not finite. */
float bl_scale_put(void *scales, bl_dtype t, int64_t i, float s, bool keep);

/* sum |w^ - w|^2.4 of n weights on a grid with an integral zero, in units of 1 / unit; within 1e-6 of its value. */
float bl_fit_error(const float *w, int64_t n, float scale, float zero, float qmax, float unit);

bool bl_all_finite(const float *w, int64_t n);
/* The sentence about the first value of w [out, in] that is not finite. */
bl_status bl_fail_nonfinite(const bl_format *f, const float *w, int64_t row, int64_t k0, int64_t n, bl_err *e);
/* The sentence about a scale that its type cannot hold. */
bl_status bl_fail_scale(const bl_format *f, const bl_shape *g, int64_t row, int64_t group, float s, bl_err *e);

/* Groups of all rows, one number each; -1: more than can be counted, which is refused as too large. */
int64_t bl_fmt_all_groups(const bl_shape *g);
/* Blocks of `each` that hold n, -1 of -1. */
static inline int64_t bl_fmt_blocks(int64_t n, int64_t each) { return n < 0 ? n : n / each + (n % each != 0); }

/* Encodes row r of what ctx knows; room: bytes of its own. */
typedef bl_status bl_fmt_row(const void *ctx, int64_t r, void *room, bl_err *e);
/* All rows, on several threads where that is asked for; the sentence of a failure is of the first row that has one. */
bl_status bl_fmt_rows(int64_t rows, size_t room, bool threads, bl_fmt_row *row, const void *ctx, bl_err *e);

/* The numbers of one group w[0..n) of a format with two parts of them, as many of each as the format has. */
typedef void bl_fmt_fit(const float *w, int64_t n, float *scale, float *second);
/* `encode` with the numbers that `fit` finds, `each` of either part for a group. */
bl_status bl_fmt_pack_fit(const bl_format *f, const bl_shape *g, const float *w, int each, bl_fmt_fit *fit,
                          void *const part[], bl_err *e);

/* What every format with an arrangement of codes of its own says of itself. */
#define BL_FORMAT_OF_CODES(n_bits, arrangement)                                                                        \
    .kind = BL_FMT_CODES, .bits = n_bits, .codes = arrangement, .ggml_type = -1, .parts = parts, .unpack = unpack,     \
    .pack = pack

/* out, in, zero kind, double_quant, group and sizes, by the format's kind. */
bl_status bl_fmt_check(const bl_format *f, const bl_shape *g, bl_err *e);
#endif
