/* avx512_solve.c - a tile of second moments with AVX-512: 8 columns by 32. The bits are those of AVX2: every sum is one
 * fused chain over the rows. */
#include "solve.h"
#include <immintrin.h>

static inline void put(double *sum, __m512 v)
{
    _mm512_storeu_pd(sum, _mm512_add_pd(_mm512_loadu_pd(sum), _mm512_cvtps_pd(_mm512_castps512_ps256(v))));
    _mm512_storeu_pd(sum + 8, _mm512_add_pd(_mm512_loadu_pd(sum + 8), _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1))));
}

void bl_avx512_moment_tile(const float *a, const float *b, int64_t ld, int64_t rows, bool upper,
                           double sum[BL_MOMENT_TILE][BL_MOMENT_TILE])
{
    enum { P = BL_MOMENT_PANEL, TALL = 8 };
    for (int i = 0; i < BL_MOMENT_TILE; i += TALL)
        for (int j = 0; j < BL_MOMENT_TILE; j += 2 * P) {
            if (upper && j + 2 * P <= i) continue;
            const float *x = a + i / P * ld + i % P, *y = b + j / P * ld;
            __m512 acc[TALL][2];
#pragma GCC unroll 8
            for (int r = 0; r < TALL; r++) acc[r][0] = acc[r][1] = _mm512_setzero_ps();
            for (int64_t k = 0; k < rows; k++, x += P, y += P) {
                const __m512 y0 = _mm512_loadu_ps(y), y1 = _mm512_loadu_ps(y + ld);
#pragma GCC unroll 8
                for (int r = 0; r < TALL; r++) {
                    const __m512 v = _mm512_set1_ps(x[r]);
                    acc[r][0] = _mm512_fmadd_ps(v, y0, acc[r][0]);
                    acc[r][1] = _mm512_fmadd_ps(v, y1, acc[r][1]);
                }
            }
#pragma GCC unroll 8
            for (int r = 0; r < TALL; r++) {
                put(&sum[i + r][j], acc[r][0]);
                put(&sum[i + r][j + P], acc[r][1]);
            }
        }
}
