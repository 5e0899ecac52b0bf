/* avx512_peak.c - as avx2_peak.c, with vectors of 64 bytes. */
#include "avx2.h"
#include "avx512_math.h"

enum { CHAINS = 12 };

double bl_avx512_peak(bool integer, int64_t n)
{
    __m512 f[CHAINS], x = _mm512_set1_ps(0.5f), y = _mm512_set1_ps(1);
    __m512i s[CHAINS], w = _mm512_set1_epi8(3), v = _mm512_set1_epi8(-5);
    for (int i = 0; i < CHAINS; i++) f[i] = _mm512_setzero_ps(), s[i] = _mm512_setzero_si512();
    for (int64_t k = 0; k < n; k++) {
        __asm__ volatile("" : "+v"(x), "+v"(y), "+v"(w), "+v"(v));
        if (integer)
#pragma GCC unroll 12
            for (int i = 0; i < CHAINS; i++) __asm__("vpdpbusd %2, %1, %0" : "+v"(s[i]) : "v"(w), "v"(v));
        else
#pragma GCC unroll 12
            for (int i = 0; i < CHAINS; i++) f[i] = _mm512_fmadd_ps(x, y, f[i]);
    }
    for (int i = 0; i < CHAINS; i++) __asm__ volatile("" ::"v"(f[i]), "v"(s[i]));
    return (double)n * CHAINS * (integer ? 128 : 32);
}
