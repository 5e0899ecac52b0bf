/* fmt_codes_decode.h - some weights of a row of the formats that arrange their codes in ways of their own: the
 * operations of the `unpack` of each format, one by one, so that results are the same bits. Compiled for the host
 * (tests/unit/kernels_codes.c) and, by nvcc, for the device; who includes it has bl_f16_to_f32 and bl_bf16_to_f32.
 * What comes out of files leads nowhere outside the parts.
 */
#ifndef BL_KERNELS_FMT_CODES_DECODE_H
#define BL_KERNELS_FMT_CODES_DECODE_H
#include "fmt_codes.h"
#include "fmt_gguf_both.h"

enum { BL_CODES_RUN = 32 }; /* weights at a time at most */

BL_BOTH static inline int64_t bl_codes_bytes(int64_t n, int b) { return n / 8 * b + (n % 8 * b + 7) / 8; }

BL_BOTH static inline unsigned bl_codes_at(const uint8_t *row, int b, int64_t i)
{
    int64_t bit = i * b;
    int at = (int)(bit & 7);
    unsigned v = (unsigned)row[bit >> 3] >> at;
    if (at + b > 8) v |= (unsigned)row[(bit >> 3) + 1] << (8 - at);
    return v & ((1u << b) - 1);
}

BL_BOTH static inline float bl_codes_scale(const bl_codes_weight *w, int part, int64_t i)
{
    if (w->scale_type == 0) return ((const float *)w->part[part])[i];
    uint16_t h = ((const uint16_t *)w->part[part])[i];
    return w->scale_type == 1 ? bl_f16_to_f32(h) : bl_bf16_to_f32(h);
}

BL_BOTH static inline int64_t bl_codes_groups(const bl_codes_weight *w) { return (w->in + w->group - 1) / w->group; }

BL_BOTH static inline void bl_codes_down(const bl_codes_weight *w, int64_t row, int64_t k0, int n, float *dst)
{
    const uint8_t *codes = (const uint8_t *)w->part[0] + row * bl_codes_bytes(w->in, w->bits);
    int64_t groups = (w->out * w->in + w->group - 1) / w->group, at = (row * w->in + k0) % groups;
    for (int j = 0; j < n; j++) {
        dst[j] = ((float)bl_codes_at(codes, w->bits, k0 + j) - bl_codes_scale(w, 2, at)) * bl_codes_scale(w, 1, at);
        if (++at == groups) at = 0;
    }
}

BL_BOTH static inline void bl_codes_between(const bl_codes_weight *w, int64_t row, int64_t k0, int n, float *dst)
{
    const uint8_t *codes = (const uint8_t *)w->part[0] + row * bl_codes_bytes(w->in, w->bits);
    for (int j = 0; j < n; j++) {
        int64_t at = row * bl_codes_groups(w) + (k0 + j) / w->group;
        float zero = w->kind == BL_CODES_FLOAT ? bl_codes_scale(w, 2, at) : (float)((1 << w->bits) - 1) / 2;
        dst[j] = ((float)bl_codes_at(codes, w->bits, k0 + j) - zero) * bl_codes_scale(w, 1, at);
    }
}

BL_BOTH static inline void bl_codes_mixed(const bl_codes_weight *w, int64_t row, int64_t k0, int n, float *dst)
{
    int64_t groups = bl_codes_groups(w), bytes = bl_codes_bytes(w->in, w->bits),
            zero_bytes = w->bits == 2 ? groups : bl_codes_bytes(groups, w->bits), bits = 0, zero_bits = 0;
    const uint8_t *codes = (const uint8_t *)w->part[0] + row * bytes,
                  *zeros = (const uint8_t *)w->part[2] + row * zero_bytes, *widths = (const uint8_t *)w->part[3];
    for (int64_t i = 0; i * w->group < k0 + n; i++) {
        int64_t first = i * w->group, m = w->in - first < w->group ? w->in - first : w->group;
        int b = m < w->group || widths[i] < w->bits - 1 || widths[i] > w->bits + 1 ? w->bits : widths[i];
        if ((bits + m * b + 7) / 8 > bytes || zero_bits + b > 8 * zero_bytes) b = 0; /* widths that sum to too much */
        if (first + m > k0) {
            float s = bl_codes_scale(w, 1, row * groups + i);
            unsigned z = 0;
            if (w->bits == 2) z = zeros[i];
            else
                for (int t = 0; t < b; t++) {
                    int64_t bit = zero_bits + t;
                    z |= (unsigned)(zeros[bit >> 3] >> (bit & 7) & 1) << t;
                }
            float off = b == 1 ? ((float)z - 128) / 127 * s : 0;
            for (int64_t k = k0 > first ? k0 : first; k < k0 + n && k < first + m; k++) {
                int q = b ? (int)bl_codes_at(codes + bits / 8, b, k - first) : 0;
                dst[k - k0] = !b ? 0 : b == 1 ? off + (float)(2 * q - 1) * s : ((float)q - (float)z) * s;
            }
        }
        bits += m * b;
        zero_bits += w->bits == 2 ? 0 : b;
    }
}

BL_BOTH static inline void bl_codes_sign_split(const bl_codes_weight *w, int64_t row, int64_t k0, int n, float *dst)
{
    enum { FIRST = 2, SECOND = 3, TERMS = 4 };
    const uint8_t *codes = (const uint8_t *)w->part[0] + row * bl_codes_bytes(w->in, 2),
                  *salient = (const uint8_t *)w->part[3];
    for (int j = 0; j < n; j++) {
        int64_t at = (row * bl_codes_groups(w) + (k0 + j) / w->group) * TERMS;
        unsigned c = bl_codes_at(codes, 2, k0 + j);
        float s = c & 1 ? 1 : -1, s2 = c & 2 ? 1 : -1;
        if (bl_codes_at(salient, 1, k0 + j))
            dst[j] = bl_codes_scale(w, 2, at + FIRST) + s * bl_codes_scale(w, 1, at + FIRST) +
                     (bl_codes_scale(w, 2, at + SECOND) + s2 * bl_codes_scale(w, 1, at + SECOND));
        else dst[j] = bl_codes_scale(w, 2, at + (c >> 1)) + s * bl_codes_scale(w, 1, at + (c >> 1));
    }
}

BL_BOTH static inline void bl_codes_sign_int8(const bl_codes_weight *w, int64_t row, int64_t k0, int n, float *dst)
{
    enum { LOW = 7 };
    int64_t bytes = bl_codes_bytes(w->in, 1), groups = bl_codes_groups(w), last = row * (groups + 1) + groups;
    const uint8_t *codes = (const uint8_t *)w->part[0] + row * bytes,
                  *salient = (const uint8_t *)w->part[3] + row * bytes;
    float step = bl_codes_scale(w, 1, last), zero = bl_codes_scale(w, 2, last);
    int64_t at = ((const int32_t *)w->part[5])[row];
    for (int64_t k = 0; k < k0; k++) at += bl_codes_at(salient, 1, k);
    for (int j = 0; j < n; j++) {
        unsigned sign = bl_codes_at(codes, 1, k0 + j);
        if (bl_codes_at(salient, 1, k0 + j)) {
            bool there = at >= 0 && at < w->salient;
            const uint8_t *large = (const uint8_t *)w->part[4];
            dst[j] = there ? ((float)(sign << LOW | bl_codes_at(large, LOW, at)) - zero) * step : 0;
            at++;
            continue;
        }
        int64_t i = row * (groups + 1) + (k0 + j) / w->group;
        float scale = bl_codes_scale(w, 1, i);
        dst[j] = bl_codes_scale(w, 2, i) + (sign ? scale : -scale);
    }
}

BL_BOTH static inline void bl_codes_sign_outer(const bl_codes_weight *w, int64_t row, int64_t k0, int n, float *dst)
{
    enum { ROW = 6, COLUMN = 4 };
    int64_t groups = bl_codes_groups(w), set_bytes = bl_codes_bytes(groups * w->salient, 1);
    const uint8_t *codes = (const uint8_t *)w->part[0] + row * bl_codes_bytes(w->in, 2),
                  *salient = (const uint8_t *)w->part[3],
                  *sets = (const uint8_t *)w->part[4] + row * (set_bytes > 1 ? set_bytes : 1);
    for (int64_t group = k0 / w->group; group * w->group < k0 + n; group++) {
        int64_t first = group * w->group, i = 0, of = (row * groups + group) * ROW;
        for (int64_t k = first; k < first + w->group && k < w->in && k < k0 + n; k++) {
            unsigned two = bl_codes_at(salient, 1, k);
            if (k >= k0) {
                unsigned q = bl_codes_at(codes, 2, k);
                float s = q & 1 ? 1 : -1, s2 = q & 2 ? 1 : -1;
                if (two) {
                    int set = i < w->salient ? 2 * (int)bl_codes_at(sets, 1, group * w->salient + i) : 0;
                    dst[k - k0] = s * (bl_codes_scale(w, 1, of + 2 + set) * bl_codes_scale(w, 2, COLUMN * k + set)) +
                                  s2 *
                                      (bl_codes_scale(w, 1, of + 3 + set) * bl_codes_scale(w, 2, COLUMN * k + set + 1));
                } else {
                    dst[k - k0] = s *
                                  (bl_codes_scale(w, 1, of + (q >> 1)) * bl_codes_scale(w, 2, COLUMN * k + (q >> 1)));
                }
            }
            i += two;
        }
    }
}

BL_BOTH static inline void bl_codes_nvfp4(const bl_codes_weight *w, int64_t row, int64_t k0, int n, float *dst)
{
    const float value[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    const uint8_t *codes = (const uint8_t *)w->part[0] + row * bl_codes_bytes(w->in, 4),
                  *scales = (const uint8_t *)w->part[1] + row * bl_codes_groups(w);
    float tensor = *(const float *)w->part[2];
    for (int j = 0; j < n; j++) {
        unsigned c = bl_codes_at(codes, 4, k0 + j), s = scales[(k0 + j) / w->group] & 0x7f;
        float v = c & 8 ? (c & 7 ? -value[c & 7] : 0) : value[c & 7]; /* -0 is 0 */
        dst[j] = v * ((s == 0x7f ? 0 : w->e4m3[s]) * tensor);
    }
}

BL_BOTH static inline void bl_codes_shift(const bl_codes_weight *w, int64_t row, int64_t k0, int n, float *dst)
{
    enum { BLOCK2 = 256 };
    const uint8_t *codes = (const uint8_t *)w->part[0] + row * bl_codes_bytes(w->in, w->bits),
                  *scales = (const uint8_t *)w->part[1], *shifts = (const uint8_t *)w->part[4];
    const float *scales2 = (const float *)w->part[2], *shifts2 = (const float *)w->part[5],
                offset = *(const float *)w->part[3];
    for (int j = 0; j < n; j++) {
        int64_t at = row * bl_codes_groups(w) + (k0 + j) / w->group;
        float scale = w->map[scales[at]] * scales2[at / BLOCK2] + offset,
              shift = w->map[shifts[at]] * shifts2[at / BLOCK2];
        dst[j] = w->table[bl_codes_at(codes, w->bits, k0 + j)] * scale + shift;
    }
}

BL_BOTH static inline void bl_codes_lq(const bl_codes_weight *w, int64_t row, int64_t k0, int n, float *dst)
{
    const uint8_t *codes = (const uint8_t *)w->part[0] + row * bl_codes_bytes(w->in, w->bits),
                  *scales = (const uint8_t *)w->part[1];
    const float step = 1 / (float)((1 << w->scale_bits) - 1), offset = *(const float *)w->part[3];
    for (int j = 0; j < n; j++) {
        int64_t at = row * bl_codes_groups(w) + (k0 + j) / w->group;
        float top = bl_codes_scale(w, 2, at / w->scale_group) * step,
              part = (float)bl_codes_at(scales, w->scale_bits, at) * top, scale = part + offset;
        dst[j] = w->table[bl_codes_at(codes, w->bits, k0 + j)] * scale;
    }
}

BL_BOTH static inline void bl_codes_planes(const bl_codes_weight *w, int64_t row, int64_t k0, int n, float *dst)
{
    const int64_t bytes = bl_codes_bytes(w->in, 1);
    const uint8_t *first = (const uint8_t *)w->part[0] + row * 2 * bytes, *second = first + bytes;
    for (int j = 0; j < n; j++) {
        int64_t at = row * bl_codes_groups(w) + (k0 + j) / w->group;
        dst[j] = (bl_codes_at(first, 1, k0 + j) ? bl_codes_scale(w, 1, at) : 0) +
                 (bl_codes_at(second, 1, k0 + j) ? bl_codes_scale(w, 2, at) : 0);
    }
}

/* Weights k0 .. k0 + n of a row, n <= BL_CODES_RUN. */
BL_BOTH static inline void bl_codes_decode(const bl_codes_weight *w, int64_t row, int64_t k0, int n, float *dst)
{
    switch (w->kind) {
    case BL_CODES_DOWN: bl_codes_down(w, row, k0, n, dst); return;
    case BL_CODES_MIXED: bl_codes_mixed(w, row, k0, n, dst); return;
    case BL_CODES_SIGN_SPLIT: bl_codes_sign_split(w, row, k0, n, dst); return;
    case BL_CODES_SIGN_INT8: bl_codes_sign_int8(w, row, k0, n, dst); return;
    case BL_CODES_SIGN_OUTER: bl_codes_sign_outer(w, row, k0, n, dst); return;
    case BL_CODES_NVFP4: bl_codes_nvfp4(w, row, k0, n, dst); return;
    case BL_CODES_SHIFT: bl_codes_shift(w, row, k0, n, dst); return;
    case BL_CODES_LQ: bl_codes_lq(w, row, k0, n, dst); return;
    case BL_CODES_PLANES: bl_codes_planes(w, row, k0, n, dst); return;
    case BL_CODES_NONE: return;
    default: bl_codes_between(w, row, k0, n, dst); return;
    }
}
#endif
