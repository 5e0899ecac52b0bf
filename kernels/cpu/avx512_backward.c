/* avx512_backward.c - sums of outer products of rows where the CPU has AVX-512: 12 numbers by 32 in registers. A lane
 * is a sum of its own over the rows, as in avx2_backward.c, so the bits are the same.
 */
#include "avx512_math.h"
#include "backward.h"

enum { TALL = BL_OUTER_TALL, WIDE = BL_OUTER_WIDE, AHEAD = 24 };

BL_INLINE void sums(int tall, const float *b, int64_t ldb, const float *v, int64_t ldv, int64_t rows, float *out)
{
    __m512 sum[TALL][2];
#pragma GCC unroll 12
    for (int t = 0; t < tall; t++) sum[t][0] = sum[t][1] = _mm512_setzero_ps();
    for (int64_t r = 0; r < rows; r++, b += ldb, v += ldv) {
        const float *later = v + BL_MIN(rows - 1 - r, AHEAD) * ldv;
        const __m512 v0 = _mm512_loadu_ps(v), v1 = _mm512_loadu_ps(v + 16);
        _mm_prefetch((const char *)later, _MM_HINT_T0); /* rows that are far apart */
        _mm_prefetch((const char *)(later + 16), _MM_HINT_T0);
#pragma GCC unroll 12
        for (int t = 0; t < tall; t++) {
            const __m512 x = _mm512_set1_ps(b[t]);
            sum[t][0] = _mm512_fmadd_ps(x, v0, sum[t][0]);
            sum[t][1] = _mm512_fmadd_ps(x, v1, sum[t][1]);
        }
    }
#pragma GCC unroll 12
    for (int t = 0; t < tall; t++) {
        _mm512_storeu_ps(out + t * WIDE, sum[t][0]);
        _mm512_storeu_ps(out + t * WIDE + 16, sum[t][1]);
    }
}
#define BY_TALL(n)                                                                                                     \
    static void sums##n(const float *b, int64_t ldb, const float *v, int64_t ldv, int64_t rows, float *out)            \
    {                                                                                                                  \
        sums(n, b, ldb, v, ldv, rows, out);                                                                            \
    }
BY_TALL(1)
BY_TALL(2)
BY_TALL(3)
BY_TALL(4)
BY_TALL(5)
BY_TALL(6)
BY_TALL(7)
BY_TALL(8)
BY_TALL(9)
BY_TALL(10)
BY_TALL(11)
BY_TALL(12)

const bl_outer_steps bl_outer_avx512 = {
    .tall = TALL,
    .wide = WIDE,
    .sums = {NULL, sums1, sums2, sums3, sums4, sums5, sums6, sums7, sums8, sums9, sums10, sums11, sums12},
};
