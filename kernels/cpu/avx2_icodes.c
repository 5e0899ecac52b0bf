/* avx2_icodes.c - x of an integer product: a row into codes, their sums and scales. */
#include "avx2.h"
#include "blocks.h"
#include "avx2_codes.h"

void bl_icodes_of(const bl_actq *q, const bl_weight *w, bl_icodes *out)
{
    const bl_shape g = bl_cpu_integer_shape(w);
    const bl_blocks *b = bl_blocks_of(w->format);
    int64_t seg = bl_cpu_segment(q, &g);
    *out = (bl_icodes){.shifted = !q->symmetric,
                       .blocked = q->unit == BL_ACT_GROUP,
                       .seg = seg,
                       .segs = (g.in + seg - 1) / seg,
                       .pad = b && b->words ? BL_MIN(seg, BL_ICODES) : BL_ICODES};
    out->ldx = g.in / seg * bl_icodes_wide(out, seg) + bl_icodes_wide(out, g.in % seg);
}

BL_INLINE float max8(__m256 v)
{
    v = _mm256_max_ps(v, _mm256_permute2f128_ps(v, v, 1));
    v = _mm256_max_ps(v, _mm256_shuffle_ps(v, v, 0x4e));
    return _mm256_cvtss_f32(_mm256_max_ps(v, _mm256_shuffle_ps(v, v, 0xb1)));
}

/* bl_cpu_act_range where `own`, and whether there is a NaN, in one pass. */
static bool range_of(const float *x, int64_t n, const bl_actq *q, bool own, float *scale, float *zero)
{
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(INT32_MAX));
    __m256 lo = _mm256_setzero_ps(), hi = lo, top = lo, nan = lo;
    float ends[3];
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_loadu_ps(x + i);
        lo = _mm256_min_ps(v, lo);
        hi = _mm256_max_ps(v, hi);
        top = _mm256_max_ps(_mm256_and_ps(v, magnitude), top);
        nan = _mm256_or_ps(nan, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    }
    ends[0] = 0 - max8(_mm256_sub_ps(_mm256_setzero_ps(), lo)); /* none of them is NaN */
    ends[1] = max8(hi);
    ends[2] = max8(top);
    bool has_nan = _mm256_movemask_ps(nan) != 0 || bl_cpu_has_nan(x + i, n - i);
    for (; i < n; i++) {
        ends[0] = fminf(ends[0], x[i]);
        ends[1] = fmaxf(ends[1], x[i]);
        ends[2] = fmaxf(ends[2], fabsf(x[i]));
    }
    if (!own) return has_nan;
    if (isinf(ends[2])) ends[0] = NAN; /* the range of the two ends is that of all */
    bl_cpu_act_range(ends, 2, q, scale, zero);
    return has_nan;
}

/* n inputs of a segment as codes less 128 where they are shifted, zeros up to `wide`; returns the sum of the codes less
 * zero. */
static int32_t codes_of(const float *x, int64_t n, int64_t wide, const bl_actq *q, float scale, float zero,
                        bool shifted, int8_t *dst)
{
    float lo, hi;
    int32_t lane[8], sum = 0;
    int64_t k = 0;
    bl_cpu_act_limits(q, &lo, &hi);
    const __m256 s = _mm256_set1_ps(scale), z = _mm256_set1_ps(zero), least = _mm256_set1_ps(lo),
                 most = _mm256_set1_ps(hi);
    const __m256i off = _mm256_set1_epi32(shifted ? 128 : 0);
    __m256i all = _mm256_setzero_si256();
    for (; k + 8 <= n; k += 8) {
        __m256 c = _mm256_round_ps(_mm256_div_ps(_mm256_loadu_ps(x + k), s),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        __m256i v = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(_mm256_add_ps(c, z), least), most));
        all = _mm256_add_epi32(all, v);
        v = _mm256_sub_epi32(v, off);
        v = _mm256_packs_epi32(v, v);
        v = _mm256_packs_epi16(v, v);
        int32_t four = _mm256_extract_epi32(v, 0), more = _mm256_extract_epi32(v, 4);
        memcpy(dst + k, &four, 4);
        memcpy(dst + k + 4, &more, 4);
    }
    _mm256_storeu_si256((__m256i *)(void *)lane, all);
    for (int j = 0; j < 8; j++) sum += lane[j];
    for (; k < n; k++) {
        int c = (int)bl_cpu_act_code(x[k], scale, zero, lo, hi);
        sum += c;
        dst[k] = (int8_t)(c - (shifted ? 128 : 0));
    }
    memset(dst + n, 0, (size_t)(wide - n));
    return sum - (int32_t)(n * (int64_t)zero);
}

/* The same value in all lanes: the largest of v, the sum of v. */
BL_INLINE __m256i most8(__m256i v)
{
    v = _mm256_max_epi32(v, _mm256_permute2x128_si256(v, v, 1));
    v = _mm256_max_epi32(v, _mm256_shuffle_epi32(v, 0x4e));
    return _mm256_max_epi32(v, _mm256_shuffle_epi32(v, 0xb1));
}
BL_INLINE int32_t total8(__m256i v)
{
    v = _mm256_add_epi32(v, _mm256_permute2x128_si256(v, v, 1));
    v = _mm256_add_epi32(v, _mm256_shuffle_epi32(v, 0x4e));
    return _mm256_cvtsi256_si32(_mm256_add_epi32(v, _mm256_shuffle_epi32(v, 0xb1)));
}

/* Whole symmetric groups of 32 that are the segments: a row of a token has one lane, and nothing else to do for the
 * others. A group stays in registers; as numbers of 32 bits magnitudes have the order of their values, what is not
 * finite above them. */
static void groups32(const float *x, int64_t groups, const bl_actq *q, int8_t *dst, int32_t *sum, int32_t *shift,
                     float *scale)
{
    const __m256i magnitude = _mm256_set1_epi32(INT32_MAX), apart = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256 one = _mm256_set1_ps(1);
    float lo, hi;
    bl_cpu_act_limits(q, &lo, &hi);
    const __m256 least = _mm256_set1_ps(lo), most = _mm256_set1_ps(hi);
    for (int64_t i = 0; i < groups; i++, x += BL_ICODES, dst += BL_ICODES) {
        __m256 v[4];
        __m256i n[4], top = _mm256_setzero_si256();
        for (int j = 0; j < 4; j++) {
            v[j] = _mm256_loadu_ps(x + 8 * j);
            top = _mm256_max_epi32(top, _mm256_and_si256(_mm256_castps_si256(v[j]), magnitude));
        }
        top = most8(top);
        if (_mm256_cvtsi256_si32(top) >= 0x7f800000) { /* every product is NaN */
            scale[i] = NAN;
            sum[i] = shift[i] = 0;
            memset(dst, 0, BL_ICODES);
            continue;
        }
        __m256 by = _mm256_div_ps(_mm256_castsi256_ps(top), most);
        by = _mm256_blendv_ps(one, by, _mm256_cmp_ps(by, _mm256_setzero_ps(), _CMP_GT_OQ));
        scale[i] = _mm256_cvtss_f32(by);
        shift[i] = 128;
        for (int j = 0; j < 4; j++) {
            const __m256 c = _mm256_round_ps(_mm256_div_ps(v[j], by), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
            n[j] = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(c, least), most));
        }
        sum[i] = total8(_mm256_add_epi32(_mm256_add_epi32(n[0], n[1]), _mm256_add_epi32(n[2], n[3])));
        const __m256i all = _mm256_packs_epi16(_mm256_packs_epi32(n[0], n[1]), _mm256_packs_epi32(n[2], n[3]));
        _mm256_storeu_si256((__m256i *)(void *)dst, _mm256_permutevar8x32_epi32(all, apart));
    }
}

void bl_icodes_row(const bl_icodes *c, int64_t r, const float *x, int64_t in, const bl_actq *q, float scale, float zero)
{
    int8_t *dst = c->x + r * c->ldx;
    int32_t *sum = c->sum + r * c->segs, *shift = c->shift + r * c->segs;
    float *s = c->scale + r * (c->blocked ? c->segs : 1);
    bool nan = false;
    if (c->blocked && q->symmetric && q->group == BL_ICODES && c->seg == BL_ICODES && in % BL_ICODES == 0) {
        groups32(x, c->segs, q, dst, sum, shift, s);
        return;
    }
    if (!c->blocked) {
        nan = range_of(x, in, q, q->unit == BL_ACT_TOKEN, &scale, &zero);
        *s = nan ? NAN : scale;
    }
    for (int64_t i = 0, k = 0; k < in; i++, k += c->seg) {
        int64_t n = BL_MIN(c->seg, in - k), wide = bl_icodes_wide(c, n);
        if (c->blocked && k % q->group == 0 && range_of(x + k, BL_MIN(q->group, in - k), q, true, &scale, &zero))
            scale = NAN;
        if (c->blocked) s[i] = scale;
        if (nan || isnan(scale)) { /* every product is NaN */
            memset(dst, 0, (size_t)wide);
            sum[i] = shift[i] = 0;
        } else {
            shift[i] = 128 - (int32_t)zero;
            sum[i] = codes_of(x + k, n, wide, q, scale, zero, c->shifted, dst);
        }
        dst += wide;
    }
}

/* bl_cpu_act_simulate, eight at a time; NaN stays, so the code is the second operand of least and most. */
void bl_avx2_act_round(const float *x, float *y, int64_t n, const bl_actq *q)
{
    const int64_t group = q->unit == BL_ACT_GROUP ? q->group : n;
    float lo, hi, scale, zero;
    bl_cpu_act_limits(q, &lo, &hi);
    const __m256 least = _mm256_set1_ps(lo), most = _mm256_set1_ps(hi);
    for (int64_t i = 0; i < n; i += group) {
        const int64_t end = BL_MIN(i + group, n);
        int64_t k = i;
        if (range_of(x + i, end - i, q, true, &scale, &zero)) scale = NAN, zero = 0;
        const __m256 s = _mm256_set1_ps(scale), z = _mm256_set1_ps(zero);
        for (; k + 8 <= end; k += 8) {
            const __m256 c = _mm256_add_ps(_mm256_round_ps(_mm256_div_ps(_mm256_loadu_ps(x + k), s),
                                                           _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                                           z);
            _mm256_storeu_ps(y + k, _mm256_mul_ps(_mm256_sub_ps(_mm256_min_ps(most, _mm256_max_ps(least, c)), z), s));
        }
        for (; k < end; k++) y[k] = (bl_cpu_act_code(x[k], scale, zero, lo, hi) - zero) * scale;
    }
}
