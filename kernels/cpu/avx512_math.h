/* avx512_math.h - sums of the two times 8 lanes of vectors of 16, with the bits of cpu.h. */
#ifndef BL_KERNELS_CPU_AVX512_MATH_H
#define BL_KERNELS_CPU_AVX512_MATH_H
#include "avx2.h"
#include <immintrin.h>

#define BL_INLINE static inline __attribute__((always_inline))

/* bl_tree8 of both halves of four vectors: a.lo a.hi b.lo b.hi c.lo … A sum takes one shuffle and one blend: of two
 * vectors each brings half of its numbers in place and the other half in the place of their partners. */
BL_INLINE __m256 bl_sum8(__m512 a, __m512 b, __m512 c, __m512 d)
{
    const __m512i other = _mm512_setr_epi32(4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 24, 25, 26, 27);
    /* 0+4 1+5 2+6 3+7 of a.lo, b.lo, a.hi, b.hi */
    const __m512 ab = _mm512_add_ps(_mm512_mask_blend_ps(0xf0f0, a, b), _mm512_permutex2var_ps(a, other, b));
    const __m512 cd = _mm512_add_ps(_mm512_mask_blend_ps(0xf0f0, c, d), _mm512_permutex2var_ps(c, other, d));
    /* 04+26 15+37 of ab, of cd */
    __m512 s = _mm512_add_ps(_mm512_mask_blend_ps(0xcccc, ab, cd), _mm512_shuffle_ps(ab, cd, 0x4e));
    s = _mm512_add_ps(s, _mm512_permute_ps(s, 0xb1));
    return _mm512_castps512_ps256(
        _mm512_permutexvar_ps(_mm512_setr_epi32(0, 8, 4, 12, 2, 10, 6, 14, 0, 0, 0, 0, 0, 0, 0, 0), s));
}
#endif
