/* avx2_search.c - the steps of search.h with AVX2. */
#include "search.h"
#include "cpu.h"
#include <immintrin.h>

static double tree(__m256d lo, __m256d hi)
{
    double a[8];
    _mm256_storeu_pd(a, lo);
    _mm256_storeu_pd(a + 4, hi);
    return bl_tree8d(a);
}

/* Columns d .. d+8 of x, zeros after n. */
static __m256 eight(const float *x, int64_t d, int64_t n)
{
    float part[8] = {0};
    if (d + 8 <= n) return _mm256_loadu_ps(x + d);
    memcpy(part, x + d, (size_t)(n - d) * sizeof *x);
    return _mm256_loadu_ps(part);
}

bool bl_avx2_row_codes(const float *x, int64_t n, int8_t *c, float *scale, double *size, double *off)
{
    const __m256 sign = _mm256_set1_ps(-0.0f), end = _mm256_set1_ps(127);
    __m256 most = _mm256_setzero_ps(), check = _mm256_setzero_ps();
    __m256d square[2] = {_mm256_setzero_pd(), _mm256_setzero_pd()}, left[2] = {square[0], square[0]};
    float m[8], k[8], top = 0, bad = 0;
    for (int64_t d = 0; d < n; d += 8) {
        __m256 v = eight(x, d, n);
        check = _mm256_add_ps(check, _mm256_mul_ps(v, _mm256_setzero_ps()));
        most = _mm256_max_ps(most, _mm256_andnot_ps(sign, v));
    }
    _mm256_storeu_ps(m, most);
    _mm256_storeu_ps(k, check);
    for (int i = 0; i < 8; i++) {
        top = fmaxf(top, m[i]);
        bad += k[i];
    }
    float s = top / 127, by = s > 0 ? 1 / s : 0;
    if (bad != 0 || !isfinite(by)) by = s = 0;
    const __m256 times = _mm256_set1_ps(by);
    const __m256d step = _mm256_set1_pd(s);
    for (int64_t d = 0; d < n; d += 8) {
        __m256 v = eight(x, d, n), q = _mm256_round_ps(_mm256_mul_ps(v, times), _MM_FROUND_TO_NEAREST_INT);
        q = _mm256_max_ps(_mm256_min_ps(q, end), _mm256_xor_ps(end, sign));
        int32_t code[8];
        _mm256_storeu_si256((__m256i *)code, _mm256_cvtps_epi32(q));
        for (int64_t i = 0; i < 8 && d + i < n; i++) c[d + i] = (int8_t)code[i];
        for (int h = 0; h < 2; h++) {
            __m256d value = _mm256_mul_pd(step,
                                          _mm256_cvtps_pd(h ? _mm256_extractf128_ps(q, 1) : _mm256_castps256_ps128(q)));
            __m256d rest = _mm256_sub_pd(_mm256_cvtps_pd(h ? _mm256_extractf128_ps(v, 1) : _mm256_castps256_ps128(v)),
                                         value);
            square[h] = _mm256_add_pd(square[h], _mm256_mul_pd(value, value));
            left[h] = _mm256_add_pd(left[h], _mm256_mul_pd(rest, rest));
        }
    }
    *scale = s;
    *size = tree(square[0], square[1]);
    *off = tree(left[0], left[1]);
    return bad == 0;
}

int32_t bl_avx2_sum_codes(const int8_t *c, const int16_t *d, int64_t width)
{
    __m256i a = _mm256_setzero_si256(), b = a;
    int64_t i = 0;
    for (; i + 32 <= width; i += 32) {
        __m256i x = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(c + i))),
                y = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(c + i + 16)));
        a = _mm256_add_epi32(a, _mm256_madd_epi16(x, _mm256_loadu_si256((const __m256i *)(d + i))));
        b = _mm256_add_epi32(b, _mm256_madd_epi16(y, _mm256_loadu_si256((const __m256i *)(d + i + 16))));
    }
    if (i < width)
        a = _mm256_add_epi32(a, _mm256_madd_epi16(_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(c + i))),
                                                  _mm256_loadu_si256((const __m256i *)(d + i))));
    a = _mm256_add_epi32(a, b);
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

double bl_avx2_score(const float *x, const float *q, int64_t n)
{
    __m256d lo = _mm256_setzero_pd(), hi = lo;
    for (int64_t d = 0; d < n; d += 8) {
        __m256 a = eight(x, d, n), b = eight(q, d, n);
        lo = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(a)), _mm256_cvtps_pd(_mm256_castps256_ps128(b)),
                             lo);
        hi = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)), _mm256_cvtps_pd(_mm256_extractf128_ps(b, 1)),
                             hi);
    }
    return tree(lo, hi);
}
