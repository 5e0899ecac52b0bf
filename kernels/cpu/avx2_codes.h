/* avx2_codes.h - integer products: 32 codes of a row out of their packed form, and their products with 32 of x. */
#ifndef BL_KERNELS_CPU_AVX2_CODES_H
#define BL_KERNELS_CPU_AVX2_CODES_H
#include "avx2_decode.h"

enum { BL_ICODES = 32 }; /* codes that are unpacked at once */

/* Codes of 3, 5, 6 or 7 bits, each in two neighbouring bytes: moved to the top of 16 bits, then to the bottom. */
BL_INLINE __m256i odd32(int bits, const uint8_t *p)
{
    const __m256i v = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p)),
                                              _mm_loadu_si128((const __m128i *)(const void *)(p + 2 * bits)), 1);
#define AT(i) (char)((i)*bits / 8), (char)((i)*bits / 8 + 1)
#define BY(i) (short)(1 << (16 - bits - (i)*bits % 8))
    const __m256i lo = _mm256_broadcastsi128_si256(
                      _mm_setr_epi8(AT(0), AT(1), AT(2), AT(3), AT(4), AT(5), AT(6), AT(7))),
                  hi = _mm256_broadcastsi128_si256(
                      _mm_setr_epi8(AT(8), AT(9), AT(10), AT(11), AT(12), AT(13), AT(14), AT(15))),
                  by = _mm256_broadcastsi128_si256(
                      _mm_setr_epi16(BY(0), BY(1), BY(2), BY(3), BY(4), BY(5), BY(6), BY(7)));
#undef AT
#undef BY
    return _mm256_packus_epi16(_mm256_srli_epi16(_mm256_mullo_epi16(_mm256_shuffle_epi8(v, lo), by), 16 - bits),
                               _mm256_srli_epi16(_mm256_mullo_epi16(_mm256_shuffle_epi8(v, hi), by), 16 - bits));
}

/* 32 codes from byte p on, in order. Reads up to 32 bytes. */
BL_INLINE __m256i codes32(int bits, const uint8_t *p)
{
    if (bits == 8) return _mm256_loadu_si256((const __m256i *)(const void *)p);
    if (bits == 4) {
        __m256i v = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)p));
        return _mm256_and_si256(_mm256_or_si256(v, _mm256_slli_epi16(v, 4)), _mm256_set1_epi8(15));
    }
    if (bits == 2) {
        __m256i v = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
        v = _mm256_or_si256(v, _mm256_slli_epi32(v, 6));
        return _mm256_and_si256(_mm256_or_si256(v, _mm256_slli_epi32(v, 12)), _mm256_set1_epi8(3));
    }
    if (bits == 1) {
        const __m256i bit = _mm256_set1_epi64x((int64_t)0x8040201008040201u);
        int32_t word;
        memcpy(&word, p, sizeof word);
        __m256i v = _mm256_shuffle_epi8(_mm256_set1_epi32(word),
                                        _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2,
                                                         2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3));
        return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit), _mm256_set1_epi8(1));
    }
    return odd32(bits, p);
}

#if defined __AVX512VNNI__ || defined __AVXVNNI__
enum { BYTES_AT_ONCE = 1 }; /* a dot product of bytes is one instruction */
#else
enum { BYTES_AT_ONCE = 0 };
#endif

/* Each lane of sum += the products of four neighbours; w are codes, x signed. */
BL_INLINE void dot32(int bits, __m256i *sum, __m256i w, __m256i x)
{
#ifdef __AVX512VNNI__ /* around the intrinsic gcc 12 copies the sums from register to register */
    (void)bits;
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(w), "v"(x));
#elif defined __AVXVNNI__
    (void)bits;
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(*sum) : "x"(w), "x"(x));
#else
    const __m256i one = _mm256_set1_epi16(1);
    if (bits == 8) { /* two products of 255 and 128 do not fit 16 bits */
        const __m256i top = _mm256_set1_epi8(-128);
        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_and_si256(w, top), x), one));
        w = _mm256_andnot_si256(top, w);
    }
    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), one));
#endif
}

/* dot32 where steps come in runs of four, of which this is step `step`: products of codes of few bits fit 16 bits for
 * some steps, and the pairs in which they wait are added to the sums after the last of those. */
BL_INLINE void dot32_of(int bits, int step, __m256i *sum, __m256i *pairs, __m256i w, __m256i x)
{
    const int fit = bits <= 5 ? 4 : bits == 6 ? 2 : 1; /* 4 x 2 x 31 x 128 = 31744 */
    if (BYTES_AT_ONCE || bits == 8) {
        dot32(bits, sum, w, x);
        return;
    }
    const __m256i v = _mm256_maddubs_epi16(w, x);
    *pairs = step % fit ? _mm256_add_epi16(*pairs, v) : v;
    if (step % fit == fit - 1) *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(*pairs, _mm256_set1_epi16(1)));
}

/* 1 in the first n of 32 bytes, 0 after them. */
BL_INLINE __m256i first32(int64_t n)
{
    const __m256i at = _mm256_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                                        22, 23, 24, 25, 26, 27, 28, 29, 30, 31);
    return _mm256_and_si256(_mm256_cmpgt_epi8(_mm256_set1_epi8((char)BL_MIN(n, BL_ICODES)), at), _mm256_set1_epi8(1));
}

/* Rows of eight numbers of 32 bits into columns. */
BL_INLINE void turn8(__m256i v[8])
{
    __m256i a[8], b[8];
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        b[4 * i] = _mm256_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm256_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm256_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm256_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x20);
        v[i + 4] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x31);
    }
}

/* The sums of eight vectors of integers. */
BL_INLINE __m256i sums8(const __m256i v[8])
{
    const __m256i lo = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3])),
                  hi = _mm256_hadd_epi32(_mm256_hadd_epi32(v[4], v[5]), _mm256_hadd_epi32(v[6], v[7]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(lo, hi, 0x20), _mm256_permute2x128_si256(lo, hi, 0x31));
}

/* Scales and zeros of the groups i .. i+8, i a multiple of 8, of the rows o[0] .. o[7]: [group][row]. */
BL_INLINE void groups8x8(int bits, const bl_source *s, const int64_t o[8], int64_t i, float scale[8][8],
                         int32_t zero[8][8])
{
    const kind kd = (kind)(INT1 + bits - 1);
    __m256i c[8], z[8];
    for (int j = 0; j < 8; j++) {
        float sc[8], ze[8] = {0};
        groups8(kd, s, o[j], i, sc, ze);
        c[j] = _mm256_castps_si256(_mm256_loadu_ps(sc));
        z[j] = bits == 1 ? _mm256_set1_epi32(1) : _mm256_cvtps_epi32(_mm256_loadu_ps(ze));
    }
    turn8(c);
    turn8(z);
    for (int j = 0; j < 8; j++) {
        _mm256_storeu_ps(scale[j], _mm256_castsi256_ps(c[j]));
        _mm256_storeu_si256((__m256i *)(void *)zero[j], z[j]);
    }
}

/* Eight outputs row .. row+n of row r of x, before the scale of the row. */
BL_INLINE void put8(const bl_igemm *g, int64_t r, int64_t row, int64_t n, __m256 v)
{
    float *y = g->y + r * g->ldy + row;
    const __m256i mask = bl_first(n);
    if (!g->c->blocked) v = _mm256_mul_ps(v, _mm256_set1_ps(g->c->scale[r]));
    if (g->bias) v = _mm256_add_ps(v, _mm256_maskload_ps(g->bias + row, mask));
    if (g->put != BL_PUT) v = _mm256_add_ps(_mm256_maskload_ps(y, mask), v);
    _mm256_maskstore_ps(y, mask, v);
}
#endif
