/* avx2_math.h - sums of 8 lanes and the exponential, with the bits of cpu.h; blocks of 8 by 8 turned. */
#ifndef BL_KERNELS_CPU_AVX2_MATH_H
#define BL_KERNELS_CPU_AVX2_MATH_H
#include "avx2.h"
#include <immintrin.h>

#define BL_INLINE static inline __attribute__((always_inline))

/* bl_tree8 of four vectors at once. */
BL_INLINE __m128 bl_sum4(__m256 a, __m256 b, __m256 c, __m256 d)
{
    __m256 ac = _mm256_add_ps(_mm256_permute2f128_ps(a, c, 0x20),
                              _mm256_permute2f128_ps(a, c, 0x31)); /* 0+4 1+5 2+6 3+7 */
    __m256 bd = _mm256_add_ps(_mm256_permute2f128_ps(b, d, 0x20), _mm256_permute2f128_ps(b, d, 0x31));
    __m256 s = _mm256_add_ps(_mm256_shuffle_ps(ac, bd, 0x44),
                             _mm256_shuffle_ps(ac, bd, 0xee)); /* a: 04+26, 15+37, b: … | c, d */
    __m128 lo = _mm256_castps256_ps128(s), hi = _mm256_extractf128_ps(s, 1);
    return _mm_add_ps(_mm_shuffle_ps(lo, hi, 0x88), _mm_shuffle_ps(lo, hi, 0xdd));
}

/* Four sums to their outputs row .. row+n of row r of y. */
BL_INLINE void bl_store4(const bl_gemv *g, int64_t r, int64_t row, int64_t n, __m128 v)
{
    float *y = g->y + r * g->ldy + row;
    const __m128i mask = _mm_cmpgt_epi32(_mm_set1_epi32((int)n), _mm_setr_epi32(0, 1, 2, 3));
    if (g->put == BL_PUT_ADD_SCALED) v = _mm_mul_ps(_mm_set1_ps(g->scale), v);
    if (g->bias) v = _mm_add_ps(v, _mm_maskload_ps(g->bias + row, mask));
    if (g->put != BL_PUT) v = _mm_add_ps(_mm_maskload_ps(y, mask), v);
    _mm_maskstore_ps(y, mask, v);
}

BL_INLINE float bl_sum1(__m256 a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}

/* bl_exp in 8 lanes, of numbers up to BL_EXP_HIGH, and of any. Operands of min and the comparison are such that NaN
 * passes. */
BL_INLINE __m256 bl_exp8_low(__m256 c)
{
    __m256 low = _mm256_cmp_ps(c, _mm256_set1_ps(BL_EXP_LOW), _CMP_LT_OQ);
    __m256 t = _mm256_fmadd_ps(c, _mm256_set1_ps(BL_EXP_LOG2E), _mm256_set1_ps(BL_EXP_MAGIC));
    __m256 n = _mm256_sub_ps(t, _mm256_set1_ps(BL_EXP_MAGIC));
    __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-BL_EXP_LN2HI), c);
    r = _mm256_fmadd_ps(n, _mm256_set1_ps(-BL_EXP_LN2LO), r);
    __m256 p = _mm256_fmadd_ps(_mm256_set1_ps(BL_EXP_C7), r, _mm256_set1_ps(BL_EXP_C6));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(BL_EXP_C5));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(BL_EXP_C4));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(BL_EXP_C3));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_add_ps(_mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r), _mm256_set1_ps(1.0f));
    __m256i two = _mm256_slli_epi32(_mm256_add_epi32(_mm256_castps_si256(t), _mm256_set1_epi32(127)), 23);
    return _mm256_andnot_ps(low, _mm256_mul_ps(p, _mm256_castsi256_ps(two)));
}
BL_INLINE __m256 bl_exp8(__m256 x) { return bl_exp8_low(_mm256_min_ps(_mm256_set1_ps(BL_EXP_HIGH), x)); }

/* All ones in the first n of 8 lanes. */
BL_INLINE __m256i bl_first(int64_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* dst[i * ld + j] = src[j][i] for 8 x 8. */
BL_INLINE void bl_transpose8(const float *const src[8], float *dst, int64_t ld)
{
    __m256 a[8], b[8];
    for (int i = 0; i < 8; i++) a[i] = _mm256_loadu_ps(src[i]);
    for (int i = 0; i < 8; i += 2) {
        b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
        a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
        a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
        a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(dst + i * ld, _mm256_permute2f128_ps(a[i], a[i + 4], 0x20));
        _mm256_storeu_ps(dst + (i + 4) * ld, _mm256_permute2f128_ps(a[i], a[i + 4], 0x31));
    }
}
#endif
