/* avx512_attention.c - the two products of attention where the CPU has AVX-512: tiles of 6 rows by 64 keys or dims. A
 * lane is a key or a dim with a chain of its own, as in avx2_attention.c, so the bits are the same.
 */
#include "avx2.h"
#include "avx512_math.h"

enum { BLOCK = BL_ATTEND_BLOCK, ROWS = 6 };

BL_INLINE void scores(int rows, int vectors, const float *q, const float *kt, float *s, int64_t dim, int64_t ld,
                      float scale)
{
    __m512 acc[ROWS][4];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < vectors; c++) acc[r][c] = _mm512_setzero_ps();
    for (int64_t d = 0; d < dim; d++) {
        __m512 k[4];
#pragma GCC unroll 4
        for (int c = 0; c < vectors; c++) k[c] = _mm512_loadu_ps(kt + d * BLOCK + 16 * c);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            const __m512 b = _mm512_set1_ps(q[r * ld + d]);
#pragma GCC unroll 4
            for (int c = 0; c < vectors; c++) acc[r][c] = _mm512_fmadd_ps(b, k[c], acc[r][c]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < vectors; c++)
            _mm512_storeu_ps(s + r * BLOCK + 16 * c, _mm512_mul_ps(acc[r][c], _mm512_set1_ps(scale)));
}

/* `last`: the lanes of the last vector that are dims. */
BL_INLINE void values(int rows, int vectors, const float *s, const float *v, float *y, int64_t from, int64_t to,
                      int64_t ld, __mmask16 last)
{
    __m512 acc[ROWS][4];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < vectors; c++)
            acc[r][c] = _mm512_maskz_loadu_ps(c == vectors - 1 ? last : 0xffff, y + r * ld + 16 * c);
    for (int64_t j = from; j < to; j++) {
        __m512 x[4];
#pragma GCC unroll 4
        for (int c = 0; c < vectors; c++)
            x[c] = _mm512_maskz_loadu_ps(c == vectors - 1 ? last : 0xffff, v + j * ld + 16 * c);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            const __m512 b = _mm512_set1_ps(s[r * BLOCK + j]);
#pragma GCC unroll 4
            for (int c = 0; c < vectors; c++) acc[r][c] = _mm512_fmadd_ps(b, x[c], acc[r][c]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < vectors; c++)
            _mm512_mask_storeu_ps(y + r * ld + 16 * c, c == vectors - 1 ? last : 0xffff, acc[r][c]);
}

#define BY_ROWS(rows)                                                                                                  \
    static void scores##rows(const float *q, const float *kt, float *s, int64_t n, int64_t dim, int64_t ld,            \
                             float scale)                                                                              \
    {                                                                                                                  \
        if (n > 32) scores(rows, 4, q, kt, s, dim, ld, scale);                                                         \
        else if (n > 16) scores(rows, 2, q, kt, s, dim, ld, scale);                                                    \
        else scores(rows, 1, q, kt, s, dim, ld, scale);                                                                \
    }                                                                                                                  \
    static void values##rows(const float *s, const float *v, float *y, int64_t from, int64_t to, int64_t ld)           \
    {                                                                                                                  \
        for (int64_t d = 0; d < ld && from < to;) {                                                                    \
            if (ld - d >= 64) {                                                                                        \
                values(rows, 4, s, v + d, y + d, from, to, ld, 0xffff);                                                \
                d += 64;                                                                                               \
            } else if (ld - d >= 32) {                                                                                 \
                values(rows, 2, s, v + d, y + d, from, to, ld, 0xffff);                                                \
                d += 32;                                                                                               \
            } else {                                                                                                   \
                values(rows, 1, s, v + d, y + d, from, to, ld, ld - d >= 16 ? 0xffff : 0xff);                          \
                d += 16;                                                                                               \
            }                                                                                                          \
        }                                                                                                              \
    }
BY_ROWS(1)
BY_ROWS(2)
BY_ROWS(3)
BY_ROWS(4)
BY_ROWS(5)
BY_ROWS(6)

const bl_attend_steps bl_attend_avx512 = {
    .rows = ROWS,
    .scores = {NULL, scores1, scores2, scores3, scores4, scores5, scores6},
    .values = {NULL, values1, values2, values3, values4, values5, values6},
};
