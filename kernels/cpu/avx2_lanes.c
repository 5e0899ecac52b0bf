/* avx2_lanes.c - weights in the layout of lanes.h: products of up to eight rows, eight outputs a vector; and rows of
 * them into panels. */
#include "avx2.h"
#include "avx2_lanes.h"

/* ---- into a panel ---- */
/* Eight codes of an output, from input 8 `step` of a run on; p is at its first word. */
BL_INLINE __m256i plane8(int plane, const uint8_t *p, int step)
{
    const int q = 2 * step % (8 / plane);
    int32_t word[2];
    memcpy(&word[0], p + bl_lanes_word(plane, 8 * step) * 4 * BL_BAND, 4);
    memcpy(&word[1], p + bl_lanes_word(plane, 8 * step + 4) * 4 * BL_BAND, 4);
    const __m256i v = plane == 8 ? _mm256_set_m128i(_mm_set1_epi32(word[1]), _mm_set1_epi32(word[0]))
                                 : _mm256_set1_epi32(word[0]);
    const int a = plane == 8 ? 0 : plane * q, b = plane == 8 ? 0 : plane * (q + 1);
    return _mm256_and_si256(_mm256_srlv_epi32(v, _mm256_setr_epi32(a, a + 8, a + 16, a + 24, b, b + 8, b + 16, b + 24)),
                            _mm256_set1_epi32((1 << plane) - 1));
}
BL_INLINE __m256i run8(int bits, const uint8_t *p, int step)
{
    __m256i v = _mm256_setzero_si256();
    int known = 0;
#pragma GCC unroll 4
    for (int plane = 8; plane; plane /= 2)
        if (bits & plane) {
            v = _mm256_or_si256(v, _mm256_slli_epi32(plane8(plane, p, step), known));
            known += plane;
            p += plane * 4 * BL_BAND;
        }
    return v;
}

/* A number of a type of scales in all lanes. */
BL_INLINE __m256 number8(const bl_source *s, int part, int64_t at)
{
    const char *p = s->part[part];
    int32_t bits = 0;
    if (s->shape.scale == BL_F32) return _mm256_broadcast_ss((const float *)(const void *)p + at);
    memcpy(&bits, p + 2 * at, 2);
    if (s->shape.scale == BL_F16) return _mm256_cvtph_ps(_mm_set1_epi16((short)bits));
    return _mm256_castsi256_ps(_mm256_set1_epi32((int32_t)((uint32_t)bits << 16)));
}
/* Scale and zero of a group. */
BL_INLINE void group_of(int bits, const bl_source *s, int64_t row, int64_t i, __m256 *scale, __m256 *zero)
{
    const int64_t lane = row % BL_BAND, at = row / BL_BAND * s->scale_step + i * BL_BAND + lane;
    *scale = number8(s, 1, at);
    if (s->format->kind == BL_FMT_TABLE) return;
    switch (s->shape.zero) {
    case BL_ZERO_NONE: *zero = _mm256_set1_ps((float)(1 << (bits - 1))); return;
    case BL_ZERO_MIDDLE: *zero = _mm256_set1_ps((float)((1 << bits) - 1) / 2); return;
    case BL_ZERO_FLOAT: *zero = number8(s, 2, at); return;
    case BL_ZERO_I16: *zero = _mm256_set1_ps(((const int16_t *)s->part[2])[at]); return;
    case BL_ZERO_PACKED: break;
    }
    *zero = _mm256_set1_ps((float)bl_code_at(band_of(s, 2, row, s->zero_bytes) + i * 2 * bits, bits, lane));
}

BL_INLINE void unpack_as(kind kd, const bl_source *s, int64_t row, int64_t k0, int64_t n, float *dst, int64_t stride)
{
    const int bits = bits_of(kd);
    const values t = values_of(kd, s, 0);
    const uint8_t *p = band_of(s, 0, row, s->code_bytes) + k0 / BL_RUN * bits * 4 * BL_BAND + row % BL_BAND * 4;
    __m256 scale = _mm256_setzero_ps(), zero = scale;
    for (int64_t k = k0, known = -1; k < k0 + n; k += BL_RUN, p += bits * 4 * BL_BAND) {
        if (known != k / s->shape.group) group_of(bits, s, row, known = k / s->shape.group, &scale, &zero);
#pragma GCC unroll 4
        for (int step = 0; step < BL_RUN / 8; step++, dst += stride) {
            const __m256i q = run8(bits, p, step);
            __m256 v;
            if (k + 8 * step >= k0 + n) return;
            if (kd == INT1) v = signed_f(_mm256_slli_epi32(q, 31), scale);
            else if (is_table(kd)) v = _mm256_mul_ps(value_at(t, bits, q), scale);
            else v = _mm256_mul_ps(_mm256_sub_ps(_mm256_cvtepi32_ps(q), zero), scale);
            _mm256_storeu_ps(dst, v);
        }
    }
}

#define KIND(id)                                                                                                       \
    static void unpack_##id(const bl_source *s, int64_t row, int64_t k0, int64_t n, float *dst, int64_t stride)        \
    {                                                                                                                  \
        unpack_as(id, s, row, k0, n, dst, stride);                                                                     \
    }
/* clang-format off */
KIND(INT1) KIND(INT2) KIND(INT3) KIND(INT4) KIND(INT5) KIND(INT6) KIND(INT7) KIND(INT8)
KIND(TABLE2) KIND(TABLE3) KIND(TABLE4)
    /* clang-format on */

    /* Blocks of 256. */
    BL_INLINE
    void unpack_super_as(int bits, const bl_source *s, int64_t row, int64_t k0, int64_t n, float *dst, int64_t stride)
{
    const int64_t lane = row % BL_BAND;
    float scale[BL_SUPER_GROUPS], least[BL_SUPER_GROUPS];
    for (int64_t k = k0, block = -1; k < k0 + n; k += BL_RUN) {
        const uint8_t *p = band_of(s, 0, row, s->code_bytes) + k / BL_SUPER * super_bytes(bits);
        if (block != k / BL_SUPER) {
            const uint8_t *from = p + super_codes(bits) + 4 * lane,
                          *d = p + super_codes(bits) + super_words(bits) * 4 * BL_BAND + 2 * lane;
            uint32_t words[4] = {0};
            uint16_t by, less = 0;
            for (int i = 0; i < super_words(bits); i++) memcpy(&words[i], from + i * 4 * BL_BAND, 4);
            memcpy(&by, d, 2);
            if (has_least(bits)) memcpy(&less, d + 2 * BL_BAND, 2);
            bl_blocks_numbers(s->blocks, words, by, less, scale, least);
            block = k / BL_SUPER;
        }
        p += k % BL_SUPER / BL_RUN * bits * 4 * BL_BAND + 4 * lane;
#pragma GCC unroll 4
        for (int step = 0; step < BL_RUN / 8; step++, dst += stride) {
            const int64_t i = (k % BL_SUPER + 8 * step) / group_of_super(bits);
            const __m256 q = _mm256_cvtepi32_ps(run8(bits, p, step)), by = _mm256_set1_ps(scale[i]);
            const __m256 zero = _mm256_set1_ps((float)zero_of_super(bits)); /* subtracted first: zeros have a sign */
            _mm256_storeu_ps(dst, has_least(bits) ? _mm256_fmsub_ps(q, by, _mm256_set1_ps(least[i]))
                                                  : _mm256_mul_ps(_mm256_sub_ps(q, zero), by));
        }
    }
}
#define SUPER(bits)                                                                                                    \
    static void unpack_super_##bits(const bl_source *s, int64_t row, int64_t k0, int64_t n, float *dst,                \
                                    int64_t stride)                                                                    \
    {                                                                                                                  \
        unpack_super_as(bits, s, row, k0, n, dst, stride);                                                             \
    }
SUPER(2)
SUPER(3)
SUPER(4)
SUPER(5)
SUPER(6)
#undef SUPER

bl_unpack8 *bl_lanes_unpack(const bl_source *s)
{
    static bl_unpack8 *const super[] = {unpack_super_2, unpack_super_3, unpack_super_4, unpack_super_5, unpack_super_6};
    const bl_format *f = s->format;
    if (s->blocks && s->blocks->words) return super[f->bits - 2];
    static bl_unpack8 *const integer[] = {unpack_INT1, unpack_INT2, unpack_INT3, unpack_INT4,
                                          unpack_INT5, unpack_INT6, unpack_INT7, unpack_INT8},
                             *const table[] = {unpack_TABLE2, unpack_TABLE3, unpack_TABLE4};
    return f->kind == BL_FMT_TABLE ? table[f->bits - 2] : integer[f->bits - 1];
}

/* ---- panels of products in integers ---- */
/* Scales, zeros and minima of eight outputs. */
BL_INLINE void fill_numbers(int bits, const bl_ipanel *p, const bl_source *s, int64_t outs, int64_t row, int64_t first,
                            int half)
{
    if (s->blocks) /* the same everywhere */
        _mm256_storeu_si256((__m256i *)(void *)(p->zero + first), _mm256_set1_epi32(s->blocks->zero));
    if (bits >= 2 && bits <= 6 && s->blocks && s->blocks->words) {
        const int64_t groups = BL_SUPER / group_of_super(bits);
        for (int64_t block = 0; block < s->shape.in / BL_SUPER; block++) {
            steps st;
            steps_of(bits, band_of(s, 0, row, s->code_bytes) + block * super_bytes(bits), half, &st);
            for (int64_t i = 0; i < groups; i++) {
                _mm256_storeu_ps(p->scale + (block * groups + i) * outs + first, st.scale[i]);
                if (has_least(bits)) _mm256_storeu_ps(p->least + (block * groups + i) * outs + first, st.least[i]);
            }
        }
        return;
    }
    for (int64_t i = 0; i < s->groups; i++) {
        _mm256_storeu_ps(p->scale + i * outs + first, numbers_of(s, 1, row, i, half));
        if (s->blocks) continue;
        const vi zero = bits == 1                         ? _mm256_set1_epi32(1)
                        : s->shape.zero == BL_ZERO_PACKED ? packed_zeros(bits, s, row, i, half)
                                                          : _mm256_set1_epi32(1 << (bits - 1));
        _mm256_storeu_si256((__m256i *)(void *)(p->zero + i * outs + first), zero);
    }
}

BL_INLINE void fill_half(int bits, const bl_ipanel *p, const bl_igemm *g, int64_t outs, int64_t row, int64_t first,
                         int half)
{
    const bl_source *s = g->w;
    const bl_icodes *c = g->c;
    const bool super = s->blocks && s->blocks->words;
    const uint8_t *from = band_of(s, 0, row, s->code_bytes) + half * LANES * 4;
    uint8_t *dst = p->codes + 4 * first;
    fill_numbers(bits, p, s, outs, row, first, half);
    for (int64_t i = 0; i < c->segs; i++) { /* a segment is filled up */
        const int64_t k0 = i * c->seg, n = BL_MIN(c->seg, s->shape.in - k0), wide = bl_icodes_wide(c, n);
        vi sum = zero_i();
        for (int64_t k = k0; k < k0 + wide; k += 4, dst += 4 * outs) {
            vi v = zero_i();
            const uint8_t *run = super ? from + k / BL_SUPER * super_bytes(bits) +
                                             k % BL_SUPER / BL_RUN * bits * 4 * BL_BAND
                                       : from + k / BL_RUN * bits * 4 * BL_BAND;
            if (k < k0 + n) switch (k % BL_RUN / 4) {
#define QUAD(q)                                                                                                        \
    case q: v = code_at(bits, run, 0, 4 * q, BYTES, true); break;
                    QUAD(0)
                    QUAD(1) QUAD(2) QUAD(3) QUAD(4) QUAD(5) QUAD(6) QUAD(7)
#undef QUAD
                }
            if (c->shifted) dot32(bits, &sum, v, _mm256_set1_epi8(1));
            _mm256_storeu_si256((__m256i *)(void *)dst, v);
        }
        if (c->shifted) _mm256_storeu_si256((__m256i *)(void *)(p->sum + i * outs + first), sum);
    }
}

void bl_lanes_panel(const bl_ipanel *p, const bl_igemm *g, int64_t outs, int64_t row)
{
    for (int64_t first = 0; first < outs; first += LANES) switch (g->w->format->bits) {
#define BITS(b)                                                                                                        \
    case b: fill_half(b, p, g, outs, row + first, first, (int)((row + first) % BL_BAND / LANES)); break;
            BITS(1)
            BITS(2) BITS(3) BITS(4) BITS(5) BITS(6) BITS(7) BITS(8)
#undef BITS
        }
}

/* ---- up to eight rows ---- */
BL_LANES_FLOATS(avx2, BL_ISA_AVX2, 0.01, 0.07)
BL_LANES_INTEGERS(avx2, BL_ISA_AVX2, 0.02)
