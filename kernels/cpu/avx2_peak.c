/* avx2_peak.c - as fast as this core multiplies: twelve chains in registers, nothing from memory, in integers with
 * products of codes of a few bits (dot32_of); and reads. */
#include "avx2.h"
#include "avx2_math.h"

enum { CHAINS = 12 };

double bl_avx2_peak(bool integer, int64_t n)
{
    __m256 f[CHAINS], x = _mm256_set1_ps(0.5f), y = _mm256_set1_ps(1);
    __m256i s[CHAINS / 4], w = _mm256_set1_epi8(3), v = _mm256_set1_epi8(-5), one = _mm256_set1_epi16(1);
    for (int i = 0; i < CHAINS; i++) f[i] = _mm256_setzero_ps(), s[i / 4] = _mm256_setzero_si256();
    for (int64_t k = 0; k < n; k++) {
        __asm__ volatile("" : "+x"(x), "+x"(y), "+x"(w), "+x"(v)); /* values that the compiler does not know */
        if (integer)
#pragma GCC unroll 3
            for (int i = 0; i < CHAINS / 4; i++) {
                __m256i pairs = _mm256_setzero_si256();
#pragma GCC unroll 4
                for (int j = 0; j < 4; j++) {
                    __m256i p = _mm256_maddubs_epi16(w, v);
                    __asm__ volatile("" : "+x"(p)); /* each anew */
                    pairs = j ? _mm256_add_epi16(pairs, p) : p;
                }
                s[i] = _mm256_add_epi32(s[i], _mm256_madd_epi16(pairs, one));
            }
        else
#pragma GCC unroll 12
            for (int i = 0; i < CHAINS; i++) f[i] = _mm256_fmadd_ps(x, y, f[i]);
    }
    for (int i = 0; i < CHAINS; i++) __asm__ volatile("" ::"x"(f[i]), "x"(s[i / 4]));
    return (double)n * CHAINS * (integer ? 64 : 16);
}

uint64_t bl_avx2_read(const void *p, int64_t n)
{
    enum { VECTORS = 8, STEP = 32 * VECTORS, AHEAD = 6144 };
    __m256i sum[VECTORS];
    uint64_t out[4];
    for (int j = 0; j < VECTORS; j++) sum[j] = _mm256_setzero_si256();
    for (const char *x = p, *end = x + n / STEP * STEP; x < end; x += STEP) {
        for (int at = 0; at < STEP; at += 64) _mm_prefetch(x + AHEAD + at, _MM_HINT_T0);
#pragma GCC unroll 8
        for (int j = 0; j < VECTORS; j++)
            sum[j] = _mm256_xor_si256(sum[j], _mm256_loadu_si256((const __m256i *)(const void *)(x + 32 * j)));
    }
    for (int j = 1; j < VECTORS; j++) sum[0] = _mm256_xor_si256(sum[0], sum[j]);
    _mm256_storeu_si256((__m256i *)(void *)out, sum[0]);
    return out[0] ^ out[1] ^ out[2] ^ out[3];
}
