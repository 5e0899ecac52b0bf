/* avx2_decode.h - 8 weights of one row out of their packed form, with the bits of format->unpack.
 *
 * A row is walked in segments: the groups of an integer or table format, the blocks of 32 of a block format, the whole
 * row of a dense one. groups8 and head_of read what segments share (scale, zero or minimum), `next` gives the weights 8
 * at a time. `kind` is a constant wherever these are inlined, so every format gets a loop of its own.
 */
#ifndef BL_KERNELS_CPU_AVX2_DECODE_H
#define BL_KERNELS_CPU_AVX2_DECODE_H
#include "kernels/fmt_table.h"
#include "avx2_math.h"

typedef enum kind {
    INT1,
    INT2,
    INT3,
    INT4,
    INT5,
    INT6,
    INT7,
    INT8,
    TABLE2,
    TABLE3,
    TABLE4,
    TABLE8,
    FP32,
    FP16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K
} kind;

typedef struct shared {
    __m256 scale, zero;   /* zero: of integers and blocks of 256, to subtract; of q4_1 and q5_1 the minimum, to add */
    __m256 scale2, zero2; /* of the second half, where scales are of 16 */
    const uint8_t *low, *high; /* blocks of 256: codes of the 32, a byte each, and their upper bits */
    __m128i low_by, high_by;   /* how far these are from bit 0 */
} shared;
typedef struct tables {
    __m256 lo, hi;
} tables; /* TABLE2 … TABLE4 */

BL_INLINE bool is_int(kind k) { return k <= INT8; }
BL_INLINE bool is_table(kind k) { return k >= TABLE2 && k <= TABLE8; }
BL_INLINE bool is_dense(kind k) { return k >= FP32 && k <= BF16; }
BL_INLINE bool is_block(kind k) { return k >= Q4_0; }
BL_INLINE bool is_super(kind k) { return k >= Q2_K; } /* blocks of 256 */
BL_INLINE int bits_of(kind k) { return is_int(k) ? (int)k + 1 : k == TABLE8 ? 8 : (int)(k - TABLE2) + 2; }
BL_INLINE int block_bytes(kind k)
{
    return k == Q4_0   ? 18
           : k == Q4_1 ? 20
           : k == Q5_0 ? 22
           : k == Q5_1 ? 24
           : k == Q8_0 ? 34
           : k == Q2_K ? 84
           : k == Q3_K ? 110
           : k == Q4_K ? 144
           : k == Q5_K ? 176
                       : 210;
}

BL_INLINE __m256 half8(const void *p) { return _mm256_cvtph_ps(_mm_set1_epi16(*(const short *)p)); }

BL_INLINE tables tables_of(kind k, const bl_source *s)
{
    tables t = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    const float *v = s->format->table;
    if (k == TABLE2)
        t.lo = _mm256_broadcast_ps((const __m128 *)(const void *)v); /* twice, so that the third bit does not matter */
    if (k == TABLE3) t.lo = _mm256_loadu_ps(v);
    if (k == TABLE4) {
        t.lo = _mm256_loadu_ps(v);
        t.hi = _mm256_loadu_ps(v + 8);
    }
    return t;
}

/* Weights of a segment, from k0 on. */
BL_INLINE int64_t segment(kind k, const bl_source *s)
{
    return is_dense(k) ? s->shape.in : is_int(k) || is_table(k) ? s->shape.group : 32;
}

BL_INLINE const uint8_t *row_of(kind k, const bl_source *s, int64_t row)
{
    return (const uint8_t *)s->part[0] + row * (k == FP32     ? 4 * s->shape.in
                                                : is_dense(k) ? 2 * s->shape.in
                                                              : s->code_bytes);
}

BL_INLINE const uint8_t *segment_of(kind k, const bl_source *s, const uint8_t *row, int64_t i)
{
    return is_dense(k)                ? row
           : is_int(k) || is_table(k) ? row + i * (s->shape.group / 8 * bits_of(k))
                                      : row + (is_super(k) ? i / 8 : i) * block_bytes(k);
}

/* The 8 codes of step `i` in 32-bit lanes. Reads up to 8 bytes from the first. `clean`: bits above the code are zero.
 */
BL_INLINE __m256i codes8(int bits, const uint8_t *row, int64_t i, bool clean)
{
    const uint8_t *p = row + i * bits;
    __m256i v;
    int32_t word;
    int64_t two;
    if (bits == 8) return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
    if (bits <= 4) { /* all of them in one word */
        memcpy(&word, p, sizeof word);
        v = _mm256_srlv_epi32(_mm256_set1_epi32(word),
                              _mm256_setr_epi32(0, bits, 2 * bits, 3 * bits, 4 * bits, 5 * bits, 6 * bits, 7 * bits));
    } else { /* each in two neighbouring bytes of a double word */
#define AT(i) (char)((i)*bits / 8), (char)((i)*bits / 8 + 1), -1, -1
        memcpy(&two, p, sizeof two);
        v = _mm256_shuffle_epi8(_mm256_set1_epi64x(two),
                                _mm256_setr_epi8(AT(0), AT(1), AT(2), AT(3), AT(4), AT(5), AT(6), AT(7)));
#undef AT
        v = _mm256_srlv_epi32(v, _mm256_setr_epi32(0, bits % 8, 2 * bits % 8, 3 * bits % 8, 4 * bits % 8, 5 * bits % 8,
                                                   6 * bits % 8, 7 * bits % 8));
    }
    return clean ? _mm256_and_si256(v, _mm256_set1_epi32((1 << bits) - 1)) : v;
}

/* Eight numbers of a type of scales, from number `at` on. */
BL_INLINE __m256 scales8(bl_dtype type, const void *part, int64_t at)
{
    const uint16_t *h = (const uint16_t *)part + at;
    if (type == BL_F32) return _mm256_loadu_ps((const float *)part + at);
    if (type == BL_F16) return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)h));
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)h)), 16));
}

/* Scales and zeros of the groups i … i+8 of a row, i a multiple of 8; what comes after the last group is read, not
 * used. */
BL_INLINE void groups8(kind k, const bl_source *s, int64_t row, int64_t i, float scale[8], float zero[8])
{
    int64_t at = row * s->groups + i;
    if (is_table(k) && s->shape.double_quant) {
        for (int64_t j = 0; j < 8 && i + j < s->groups; j++)
            scale[j] = bl_dynamic_map[((const uint8_t *)s->part[1])[at + j]] *
                           ((const float *)s->part[2])[(at + j) / 256] +
                       *(const float *)s->part[3];
        return;
    }
    _mm256_storeu_ps(scale, scales8(s->shape.scale, s->part[1], at));
    if (!is_int(k) || k == INT1) return;
    __m256 z;
    switch (s->shape.zero) {
    case BL_ZERO_NONE: z = _mm256_set1_ps((float)(1 << (bits_of(k) - 1))); break;
    case BL_ZERO_MIDDLE: z = _mm256_set1_ps((float)((1 << bits_of(k)) - 1) / 2); break;
    case BL_ZERO_FLOAT: z = scales8(s->shape.scale, s->part[2], at); break;
    case BL_ZERO_PACKED:
        z = _mm256_cvtepi32_ps(codes8(bits_of(k), (const uint8_t *)s->part[2] + row * s->zero_bytes, i / 8, true));
        break;
    default:
        z = _mm256_cvtepi32_ps(
            _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(const void *)((const int16_t *)s->part[2] + at))));
    }
    _mm256_storeu_ps(zero, z);
}

/* What the 32 weights `at` of a block of 256 share. */
BL_INLINE __m256 times(const uint8_t *half, int by) { return _mm256_mul_ps(half8(half), _mm256_set1_ps((float)by)); }
BL_INLINE int scale_of_q3_k(const uint8_t *scales, int i)
{
    return ((scales[i % 8] >> i / 8 * 4 & 15) | (scales[8 + i % 4] >> i / 4 * 2 & 3) << 4) - 32;
}
BL_INLINE shared super_head(kind k, const uint8_t *b, int at)
{
    const int pair = at % 4 * 2; /* two bits in a byte of 32 that follow each other, four times, then the next 32 */
    shared h = {.low_by = _mm_cvtsi32_si128(pair), .high_by = _mm_cvtsi32_si128(at)};
    if (k == Q2_K) {
        h.low = b + 16 + at / 4 * 32;
        h.scale = times(b + 80, b[2 * at] & 15);
        h.zero = times(b + 82, b[2 * at] >> 4);
        h.scale2 = times(b + 80, b[2 * at + 1] & 15);
        h.zero2 = times(b + 82, b[2 * at + 1] >> 4);
    } else if (k == Q3_K) {
        h.low = b + 32 + at / 4 * 32;
        h.high = b;
        h.scale = times(b + 108, scale_of_q3_k(b + 96, 2 * at));
        h.scale2 = times(b + 108, scale_of_q3_k(b + 96, 2 * at + 1));
    } else if (k == Q6_K) {
        h.low = b + at / 4 * 64 + at % 2 * 32;
        h.low_by = _mm_cvtsi32_si128(at / 2 % 2 * 4);
        h.high = b + 128 + at / 4 * 32;
        h.high_by = _mm_cvtsi32_si128(pair);
        h.scale = times(b + 208, (int8_t)b[192 + 2 * at]);
        h.scale2 = times(b + 208, (int8_t)b[193 + 2 * at]);
    } else {
        const uint8_t *p = b + 4;
        const int s = at < 4 ? p[at] & 63 : (p[at + 4] & 15) | p[at - 4] >> 6 << 4;
        const int m = at < 4 ? p[at + 4] & 63 : p[at + 4] >> 4 | p[at] >> 6 << 4;
        h.low = b + (k == Q4_K ? 16 : 48) + at / 2 * 32;
        h.low_by = _mm_cvtsi32_si128(at % 2 * 4);
        h.high = b + 16;
        h.scale = h.scale2 = times(b, s);
        h.zero = h.zero2 = times(b + 2, m);
    }
    return h;
}

/* The head of the segment `i` of a row, which is in the block at b. */
BL_INLINE shared head_of(kind k, const uint8_t *b, int64_t i)
{
    if (is_super(k)) return super_head(k, b, (int)(i % 8));
    shared h = {.scale = half8(b)};
    if (k == Q4_1 || k == Q5_1) h.zero = half8(b + 2);
    return h;
}

/* Nibbles of 8 bytes: the low ones for the steps 0 and 1 of a block of 32, the high ones for 2 and 3. */
BL_INLINE __m256i nibbles8(const uint8_t *p, int step)
{
    __m256i v = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(p + step % 2 * 8)));
    return step < 2 ? _mm256_and_si256(v, _mm256_set1_epi32(15)) : _mm256_srli_epi32(v, 4);
}
BL_INLINE __m256i fifth8(const uint8_t *p, int step) /* high bits 8 step … 8 step + 7, in place */
{
    __m256i v = _mm256_sllv_epi32(_mm256_set1_epi32(p[step]), _mm256_setr_epi32(4, 3, 2, 1, 0, 0, 0, 0));
    v = _mm256_srlv_epi32(v, _mm256_setr_epi32(0, 0, 0, 0, 0, 1, 2, 3));
    return _mm256_and_si256(v, _mm256_set1_epi32(16));
}

/* The 8 weights of step `i` of 32 in a block of 256. */
BL_INLINE __m256 super_next(kind kd, int i, const shared *h)
{
#define BYTES8(p) _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)((p) + 8 * i)))
    const int bits = kd == Q2_K || kd == Q3_K ? 2 : 4;
    __m256i q = _mm256_and_si256(_mm256_srl_epi32(BYTES8(h->low), h->low_by), _mm256_set1_epi32((1 << bits) - 1));
    if (kd == Q3_K || kd == Q5_K || kd == Q6_K) {
        const __m256i high = _mm256_and_si256(_mm256_srl_epi32(BYTES8(h->high), h->high_by),
                                              _mm256_set1_epi32(kd == Q6_K ? 3 : 1));
        q = _mm256_or_si256(q, _mm256_slli_epi32(high, bits));
    }
#undef BYTES8
    if (kd == Q3_K) q = _mm256_sub_epi32(q, _mm256_set1_epi32(4));
    if (kd == Q6_K) q = _mm256_sub_epi32(q, _mm256_set1_epi32(32));
    const __m256 v = _mm256_mul_ps(i < 2 ? h->scale : h->scale2, _mm256_cvtepi32_ps(q));
    return kd == Q3_K || kd == Q6_K ? v : _mm256_sub_ps(v, i < 2 ? h->zero : h->zero2);
}

/* The 8 weights of step `i` of a segment that begins at p. */
BL_INLINE __m256 next(kind kd, const bl_source *s, const uint8_t *p, int64_t i, const shared *h, const tables *t)
{
    if (kd == FP32) return _mm256_loadu_ps((const float *)(const void *)p + 8 * i);
    if (kd == FP16) return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p + i));
    if (kd == BF16)
        return _mm256_castsi256_ps(
            _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p + i)), 16));
    if (kd == INT1) { /* the sign bit of the scale where the code is 0 */
        __m256i bit = _mm256_sllv_epi32(_mm256_set1_epi32(p[i]), _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24));
        return _mm256_xor_ps(h->scale, _mm256_castsi256_ps(_mm256_andnot_si256(bit, _mm256_set1_epi32(INT32_MIN))));
    }
    if (is_int(kd))
        return _mm256_mul_ps(_mm256_sub_ps(_mm256_cvtepi32_ps(codes8(bits_of(kd), p, i, true)), h->zero), h->scale);
    if (kd == TABLE8) return _mm256_mul_ps(_mm256_i32gather_ps(s->format->table, codes8(8, p, i, true), 4), h->scale);
    if (is_table(kd)) {
        __m256i q = codes8(bits_of(kd), p, i, false);
        __m256 v = _mm256_permutevar8x32_ps(t->lo, q);
        if (kd == TABLE4)
            v = _mm256_blendv_ps(v, _mm256_permutevar8x32_ps(t->hi, q), _mm256_castsi256_ps(_mm256_slli_epi32(q, 28)));
        return _mm256_mul_ps(v, h->scale);
    }
    int step = (int)i;
    __m256i q;
    if (is_super(kd)) return super_next(kd, step, h);
    switch (kd) {
    case Q4_0: q = _mm256_sub_epi32(nibbles8(p + 2, step), _mm256_set1_epi32(8)); break;
    case Q4_1: q = nibbles8(p + 4, step); break;
    case Q5_0:
        q = _mm256_sub_epi32(_mm256_or_si256(nibbles8(p + 6, step), fifth8(p + 2, step)), _mm256_set1_epi32(16));
        break;
    case Q5_1: q = _mm256_or_si256(nibbles8(p + 8, step), fifth8(p + 4, step)); break;
    default: q = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(p + 2 + 8 * step)));
    }
    __m256 v = _mm256_mul_ps(h->scale, _mm256_cvtepi32_ps(q));
    return kd == Q4_1 || kd == Q5_1 ? _mm256_add_ps(v, h->zero) : v;
}
#endif
