/* avx2_rows.c - one row of norm, rotary positions, gate, sum, and of what is read off logits; the bits are those of
 * ref_rows.c and ref_loss.c. */
#include "avx2.h"
#include "avx2_math.h"
#include "backward.h"

/* The 8 chains of a sum in double: lanes 0-3 and 4-7. */
typedef struct wide {
    __m256d lo, hi;
} wide;
BL_INLINE double sum_wide(wide s)
{
    double lane[8];
    _mm256_storeu_pd(lane, s.lo);
    _mm256_storeu_pd(lane + 4, s.hi);
    return bl_tree8d(lane);
}
BL_INLINE __m256d low4(__m256 x) { return _mm256_cvtps_pd(_mm256_castps256_ps128(x)); }
BL_INLINE __m256d high4(__m256 x) { return _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)); }

void bl_avx2_rmsnorm(const float *x, const float *w, float *y, int64_t n, double eps)
{
    wide s = {_mm256_setzero_pd(), _mm256_setzero_pd()};
    int64_t i = 0;
    for (; i < n; i += 8) {
        __m256 v = n - i >= 8 ? _mm256_loadu_ps(x + i) : _mm256_maskload_ps(x + i, bl_first(n - i));
        __m256d lo = low4(v), hi = high4(v);
        s.lo = _mm256_add_pd(s.lo, _mm256_mul_pd(lo, lo));
        s.hi = _mm256_add_pd(s.hi, _mm256_mul_pd(hi, hi));
    }
    const float scale = (float)(1 / sqrt(sum_wide(s) / (double)n + eps));
    for (i = 0; i + 8 <= n; i += 8)
        _mm256_storeu_ps(
            y + i, _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(scale)), _mm256_loadu_ps(w + i)));
    for (; i < n; i++) y[i] = x[i] * scale * w[i];
}

void bl_avx2_rope(float *x, const float *c, const float *s, int64_t width, int64_t head_dim)
{
    int64_t half = head_dim / 2;
    for (float *end = x + width; x < end; x += head_dim) {
        int64_t i = 0;
        for (; i + 8 <= half; i += 8) {
            __m256 lo = _mm256_loadu_ps(x + i), hi = _mm256_loadu_ps(x + i + half), ci = _mm256_loadu_ps(c + i),
                   si = _mm256_loadu_ps(s + i);
            _mm256_storeu_ps(x + i, _mm256_sub_ps(_mm256_mul_ps(lo, ci), _mm256_mul_ps(hi, si)));
            _mm256_storeu_ps(x + i + half, _mm256_add_ps(_mm256_mul_ps(hi, ci), _mm256_mul_ps(lo, si)));
        }
        for (; i < half; i++) {
            float lo = x[i], hi = x[i + half];
            x[i] = lo * c[i] - hi * s[i];
            x[i + half] = hi * c[i] + lo * s[i];
        }
    }
}

void bl_avx2_kv_row(const float *x, int64_t heads, int64_t dim, int8_t *codes, float *scale)
{
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(INT32_MAX));
    for (int64_t h = 0; h < heads; h++, x += dim, codes += dim) {
        __m256 top = _mm256_setzero_ps();
        float lane[8], most = 0, s;
        int64_t d = 0;
        for (; d + 8 <= dim; d += 8) { /* of two numbers of which one is NaN, max gives the second */
            __m256 v = _mm256_and_ps(_mm256_loadu_ps(x + d), magnitude);
            top = _mm256_blendv_ps(_mm256_max_ps(v, top), v, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
        }
        _mm256_storeu_ps(lane, top);
        for (int j = 0; j < 8; j++) most = lane[j] <= most || isnan(most) ? most : lane[j];
        for (; d < dim; d++) most = fabsf(x[d]) <= most || isnan(most) ? most : fabsf(x[d]);
        s = most / 127;
        if (!(s > 0)) s = 1;
        if (!isfinite(most)) {
            scale[h] = NAN;
            memset(codes, 0, (size_t)dim);
            continue;
        }
        scale[h] = s;
        for (d = 0; d + 8 <= dim; d += 8) {
            __m256 q = _mm256_div_ps(_mm256_loadu_ps(x + d), _mm256_set1_ps(s));
            __m256i c = _mm256_cvtps_epi32(_mm256_max_ps(_mm256_min_ps(q, _mm256_set1_ps(127)), _mm256_set1_ps(-127)));
            __m128i two = _mm_packs_epi32(_mm256_castsi256_si128(c), _mm256_extracti128_si256(c, 1));
            _mm_storel_epi64((__m128i *)(void *)(codes + d), _mm_packs_epi16(two, two));
        }
        for (; d < dim; d++) codes[d] = (int8_t)rintf(fmaxf(fminf(x[d] / s, 127), -127));
    }
}

void bl_avx2_swiglu(const float *g, const float *u, float *y, int64_t n)
{
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_loadu_ps(g + i);
        __m256 e = bl_exp8(_mm256_xor_ps(v, _mm256_set1_ps(-0.0f)));
        v = _mm256_div_ps(v, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
        _mm256_storeu_ps(y + i, _mm256_mul_ps(v, _mm256_loadu_ps(u + i)));
    }
    for (; i < n; i++) y[i] = g[i] / (1.0f + bl_exp(-g[i])) * u[i];
}

void bl_avx2_add(const float *x, float *y, int64_t n)
{
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(y + i, _mm256_add_ps(_mm256_loadu_ps(y + i), _mm256_loadu_ps(x + i)));
    for (; i < n; i++) y[i] += x[i];
}

bool bl_avx2_top(const float *x, int64_t n, float *top, int32_t *at)
{
    const __m256 limit = _mm256_set1_ps(INFINITY), magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(INT32_MAX));
    __m256 most = _mm256_set1_ps(-INFINITY), finite = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
    float lane[8], best = -INFINITY;
    bool all;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_loadu_ps(x + i);
        most = _mm256_max_ps(v, most);
        finite = _mm256_and_ps(finite, _mm256_cmp_ps(_mm256_and_ps(v, magnitude), limit, _CMP_LT_OQ));
    }
    all = _mm256_movemask_ps(finite) == 0xff;
    _mm256_storeu_ps(lane, most);
    for (int j = 0; j < 8; j++) best = lane[j] > best ? lane[j] : best;
    for (; i < n; i++) {
        best = x[i] > best ? x[i] : best;
        all = all && isfinite(x[i]);
    }
    if (!all) { /* rare: as the reference walks */
        *top = x[0];
        *at = 0;
        for (i = 0; i < n; i++)
            if (x[i] > *top) {
                *top = x[i];
                *at = (int32_t)i;
            }
        return false;
    }
    for (i = 0; x[i] != best; i++)
        ;
    *top = x[i];
    *at = (int32_t)i;
    return true;
}

BL_INLINE void add_wide(wide *s, __m256 v)
{
    s->lo = _mm256_add_pd(s->lo, low4(v));
    s->hi = _mm256_add_pd(s->hi, high4(v));
}

double bl_avx2_sum_exp(const float *x, int64_t n, float top)
{
    wide s = {_mm256_setzero_pd(), _mm256_setzero_pd()};
    for (int64_t i = 0; i < n; i += 8) {
        const __m256i in = bl_first(BL_MIN(n - i, 8));
        __m256 v = n - i >= 8 ? _mm256_loadu_ps(x + i) : _mm256_maskload_ps(x + i, in);
        add_wide(&s, _mm256_and_ps(bl_exp8(_mm256_sub_ps(v, _mm256_set1_ps(top))), _mm256_castsi256_ps(in)));
    }
    return sum_wide(s);
}

void bl_avx2_follow(const float *x, float *g, float *t, int64_t n, float topx, float topt, double sum[3])
{
    const __m256 mx = _mm256_set1_ps(topx), mt = _mm256_set1_ps(topt);
    wide s[3] = {{_mm256_setzero_pd(), _mm256_setzero_pd()},
                 {_mm256_setzero_pd(), _mm256_setzero_pd()},
                 {_mm256_setzero_pd(), _mm256_setzero_pd()}};
    for (int64_t i = 0; i < n; i += 8) {
        const __m256i in = bl_first(BL_MIN(n - i, 8));
        const __m256 keep = _mm256_castsi256_ps(in), a = _mm256_maskload_ps(x + i, in),
                     b = _mm256_maskload_ps(t + i, in), apart = _mm256_sub_ps(b, a),
                     ea = _mm256_and_ps(bl_exp8(_mm256_sub_ps(a, mx)), keep),
                     eb = _mm256_and_ps(bl_exp8(_mm256_sub_ps(b, mt)), keep);
        _mm256_maskstore_ps(g + i, in, ea);
        _mm256_maskstore_ps(t + i, in, eb);
        add_wide(&s[0], ea);
        add_wide(&s[1], eb);
        s[2].lo = _mm256_add_pd(s[2].lo, _mm256_mul_pd(low4(eb), low4(apart)));
        s[2].hi = _mm256_add_pd(s[2].hi, _mm256_mul_pd(high4(eb), high4(apart)));
    }
    for (int k = 0; k < 3; k++) sum[k] = sum_wide(s[k]);
}

void bl_avx2_apart(float *g, float ours, const float *t, float theirs, int64_t n)
{
    const __m256 a = _mm256_set1_ps(ours), b = _mm256_set1_ps(theirs);
    for (int64_t i = 0; i < n; i += 8) {
        const __m256i in = bl_first(BL_MIN(n - i, 8));
        const __m256 v = _mm256_mul_ps(_mm256_maskload_ps(g + i, in), a),
                     w = _mm256_mul_ps(_mm256_maskload_ps(t + i, in), b);
        _mm256_maskstore_ps(g + i, in, _mm256_sub_ps(v, w));
    }
}

double bl_avx2_sum_cross(const float *p, const float *q, int64_t n, float top)
{
    wide s = {_mm256_setzero_pd(), _mm256_setzero_pd()};
    for (int64_t i = 0; i < n; i += 8) {
        const __m256i in = bl_first(BL_MIN(n - i, 8));
        __m256 a = _mm256_maskload_ps(p + i, in), b = _mm256_maskload_ps(q + i, in);
        __m256 v = _mm256_and_ps(bl_exp8(_mm256_sub_ps(a, _mm256_set1_ps(top))), _mm256_castsi256_ps(in));
        s.lo = _mm256_add_pd(s.lo, _mm256_mul_pd(low4(v), _mm256_sub_pd(low4(a), low4(b))));
        s.hi = _mm256_add_pd(s.hi, _mm256_mul_pd(high4(v), _mm256_sub_pd(high4(a), high4(b))));
    }
    return sum_wide(s);
}
