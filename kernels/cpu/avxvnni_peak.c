/* avxvnni_peak.c - as avx2_peak.c: dot products of bytes that are one instruction. */
#include "avx2.h"
#include "avx2_codes.h"

double bl_avxvnni_peak(bool integer, int64_t n)
{
    enum { CHAINS = 12 };
    __m256i s[CHAINS], w = _mm256_set1_epi8(3), v = _mm256_set1_epi8(-5);
    if (!integer) return bl_avx2_peak(false, n);
    for (int i = 0; i < CHAINS; i++) s[i] = _mm256_setzero_si256();
    for (int64_t k = 0; k < n; k++) {
        __asm__ volatile("" : "+x"(w), "+x"(v)); /* values that the compiler does not know */
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) dot32(8, &s[i], w, v);
    }
    for (int i = 0; i < CHAINS; i++) __asm__ volatile("" ::"x"(s[i]));
    return (double)n * CHAINS * 64;
}
