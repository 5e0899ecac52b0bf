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

/* out, in, zero kind, double_quant, group and sizes, by the format's kind. */
bl_status bl_fmt_check(const bl_format *f, const bl_shape *g, bl_err *e);
#endif
