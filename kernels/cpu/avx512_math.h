/* avx512_math.h - sums of the two times 8 lanes of vectors of 16, with the bits of cpu.h. */
#ifndef BL_KERNELS_CPU_AVX512_MATH_H
#define BL_KERNELS_CPU_AVX512_MATH_H
#include "avx2.h"
#include <immintrin.h>

#define BL_INLINE static inline __attribute__((always_inline))

/* bl_tree8 of both halves of four vectors: a.lo a.hi b.lo b.hi c.lo … */
BL_INLINE __m256 bl_sum8(__m512 a, __m512 b, __m512 c, __m512 d)
{
    __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88),
                              _mm512_shuffle_f32x4(a, b, 0xdd)); /* 0+4 1+5 2+6 3+7 of a.lo a.hi b.lo b.hi */
    __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x88), _mm512_shuffle_f32x4(c, d, 0xdd));
    __m512 s = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44),
                             _mm512_shuffle_ps(ab, cd, 0xee)); /* of a lane: 04+26 15+37 of ab, of cd */
    s = _mm512_add_ps(_mm512_shuffle_ps(s, s, 0x88), _mm512_shuffle_ps(s, s, 0xdd));
    return _mm512_castps512_ps256(
        _mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0), s));
}
#endif
