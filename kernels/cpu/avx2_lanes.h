/* avx2_lanes.h - products of few rows of x with weights in the layout of lanes.h: outputs in lanes, 16 of AVX-512 or
 * twice 8 of AVX2, inputs one after another. For avx2_lanes.c and avx512_lanes.c, which differ in the width of a
 * vector, and avxvnni_lanes.c, whose dot products are one instruction.
 *
 * In floats the 8 chains over k are 8 vectors, and their sum is that of cpu.h lane by lane. In integers a vector has
 * the four codes of a quad of each output.
 */
#ifndef BL_KERNELS_CPU_AVX2_LANES_H
#define BL_KERNELS_CPU_AVX2_LANES_H
#include "avx2_codes.h"
#include "lanes.h"

#ifdef __AVX512F__
enum { LANES = 16, FLOAT_ROWS = 3, INTEGER_ROWS = 4 };
typedef __m512 vf;
typedef __m512i vi;
#define V(op) _mm512_##op
BL_INLINE vi load_i(const void *p) { return _mm512_loadu_si512(p); }
BL_INLINE vi and_i(vi a, vi b) { return _mm512_and_si512(a, b); }
BL_INLINE vi zero_i(void) { return _mm512_setzero_si512(); }
BL_INLINE vi or_i(vi a, vi b) { return _mm512_or_si512(a, b); }
/* a where the mask has ones, else b */
BL_INLINE vi pick_i(vi mask, vi a, vi b) { return _mm512_ternarylogic_epi32(mask, a, b, 0xca); }
/* b and the bits of a that are in the mask */
BL_INLINE vi join_i(vi a, int mask, vi b) { return _mm512_ternarylogic_epi32(a, _mm512_set1_epi32(mask), b, 0xea); }
/* Byte i of every word alone. */
BL_INLINE vi spread_i(vi a, int i)
{
    return _mm512_shuffle_epi8(a, _mm512_set4_epi32((int)(0x80808000u | (12 + i)), (int)(0x80808000u | (8 + i)),
                                                    (int)(0x80808000u | (4 + i)), (int)(0x80808000u | i)));
}
/* s where the top bit of a is one, else -s */
BL_INLINE vf signed_f(vi a, vf s)
{
    return _mm512_castsi512_ps(
        _mm512_ternarylogic_epi32(a, _mm512_set1_epi32(INT32_MIN), _mm512_castps_si512(s), 0xa6));
}
BL_INLINE vf half_f(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
BL_INLINE vi short_i(const void *p) { return _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)p)); }
BL_INLINE vi ushort_i(const void *p) { return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)); }
/* Sixteen codes of 2 x bits bytes. */
BL_INLINE vi packed_i(int bits, const uint8_t *p, int half)
{
    (void)half;
    return _mm512_inserti64x4(_mm512_castsi256_si512(codes8(bits, p, 0, true)), codes8(bits, p, 1, true), 1);
}
/* Step q of a run, as dot32_of. */
BL_INLINE void dot(int bits, int q, vi *sum, vi *pairs, vi w, vi x)
{
    (void)bits, (void)q, (void)pairs; /* around the intrinsic gcc 12 copies the sums from register to register */
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(w), "v"(x));
}
BL_INLINE void dot_of(int bits, int q, vi *sum, vi *pairs, vi w, const int8_t *x)
{
    (void)bits, (void)q, (void)pairs;
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(*sum) : "v"(w), "m"(*(const int32_t *)(const void *)x));
}
#else
enum { LANES = 8, FLOAT_ROWS = 1, INTEGER_ROWS = 4 };
typedef __m256 vf;
typedef __m256i vi;
#define V(op) _mm256_##op
BL_INLINE vi load_i(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
BL_INLINE vi and_i(vi a, vi b) { return _mm256_and_si256(a, b); }
BL_INLINE vi zero_i(void) { return _mm256_setzero_si256(); }
BL_INLINE vi or_i(vi a, vi b) { return _mm256_or_si256(a, b); }
BL_INLINE vi pick_i(vi mask, vi a, vi b) { return _mm256_or_si256(and_i(mask, a), _mm256_andnot_si256(mask, b)); }
BL_INLINE vi join_i(vi a, int mask, vi b) { return _mm256_or_si256(and_i(a, _mm256_set1_epi32(mask)), b); }
BL_INLINE vi spread_i(vi a, int i)
{
    const int64_t low = (int64_t)(0x8080800080808000u | (uint64_t)(4 + i) << 32 | (uint64_t)i);
    return _mm256_shuffle_epi8(a, _mm256_setr_epi64x(low, low + 0x800000008, low, low + 0x800000008));
}
BL_INLINE vf signed_f(vi a, vf s)
{
    return _mm256_xor_ps(s, _mm256_castsi256_ps(_mm256_andnot_si256(a, _mm256_set1_epi32(INT32_MIN))));
}
BL_INLINE vf half_f(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
BL_INLINE vi short_i(const void *p) { return _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)p)); }
BL_INLINE vi ushort_i(const void *p) { return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)); }
BL_INLINE vi packed_i(int bits, const uint8_t *p, int half) { return codes8(bits, p, half, true); }
BL_INLINE void dot(int bits, int q, vi *sum, vi *pairs, vi w, vi x) { dot32_of(bits, q % 4, sum, pairs, w, x); }
BL_INLINE void dot_of(int bits, int q, vi *sum, vi *pairs, vi w, const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, sizeof four);
    dot(bits, q, sum, pairs, w, _mm256_set1_epi32(four));
}
#endif

BL_INLINE vi shift_i(vi v, int by) { return by > 0 ? V(srli_epi32)(v, by) : by < 0 ? V(slli_epi32)(v, -by) : v; }

/* The words of a run from p on, moved so that the codes of quad `q`, input `i` of it, begin at bit `at`, with what is
 * beside them: of one plane. */
BL_INLINE vi plane_at(int plane, const uint8_t *p, int k, int at)
{
    return shift_i(load_i(p + bl_lanes_word(plane, k) * 4 * BL_BAND), bl_lanes_shift(plane, k) - at);
}
enum { PER_INPUT = 4 * BL_BAND / BL_RUN }; /* bytes of a plane of one bit */
/* After so many inputs the codes of all planes are in the same bits of other words. */
BL_INLINE int step_of(int bits) { return bits & 1 ? 32 : bits & 2 ? 16 : 8; }

/* Code base + k of a run, from bit 0 on in the field of `unit` (its bits once, or in every byte); bits above it are
 * those of other codes where it is not `clean`. base is a multiple of step_of. */
BL_INLINE vi code_at(int bits, const uint8_t *p, int base, int k, int unit, bool clean)
{
    const int low = bits & 8 ? 8 : bits & 4 ? 4 : bits & 2 ? 2 : 1, all = (1 << bits) - 1;
    vi v = plane_at(low, p + base * low * PER_INPUT, k, 0);
    int known = low;
    p += low * 4 * BL_BAND;
    if (known < bits && bits & 2 && low > 2) {
        v = pick_i(V(set1_epi32)(((1 << known) - 1) * unit), v, plane_at(2, p + base * 2 * PER_INPUT, k, known));
        known += 2;
        p += 2 * 4 * BL_BAND;
    }
    if (known < bits)
        v = pick_i(V(set1_epi32)(((1 << known) - 1) * unit), v, plane_at(1, p + base * PER_INPUT, k, known));
    return clean ? and_i(v, V(set1_epi32)((int)((unsigned)all * (unsigned)unit))) : v;
}
enum { ALONE = 1, BYTES = 0x01010101 };

BL_INLINE const uint8_t *band_of(const bl_source *s, int part, int64_t row, int64_t bytes)
{
    return (const uint8_t *)s->part[part] + row / BL_BAND * BL_BAND * bytes;
}
/* Numbers of a type of scales, of group i. */
BL_INLINE vf numbers_of(const bl_source *s, int part, int64_t row, int64_t i, int half)
{
    const int64_t at = row / BL_BAND * s->scale_step + i * BL_BAND + half * LANES;
    const char *p = s->part[part];
    if (s->shape.scale == BL_F32) return V(loadu_ps)((const float *)(const void *)p + at);
    if (s->shape.scale == BL_F16) return half_f(p + 2 * at);
    return (vf)V(slli_epi32)(ushort_i(p + 2 * at), 16);
}
BL_INLINE vi packed_zeros(int bits, const bl_source *s, int64_t row, int64_t i, int half)
{
    return packed_i(bits, band_of(s, 2, row, s->zero_bytes) + i * 2 * bits, half);
}
/* Zeros that are stored. */
BL_INLINE vf zeros_of(int bits, const bl_source *s, int64_t row, int64_t i, int half)
{
    if (s->shape.zero == BL_ZERO_PACKED) return V(cvtepi32_ps)(packed_zeros(bits, s, row, i, half));
    if (s->shape.zero == BL_ZERO_FLOAT) return numbers_of(s, 2, row, i, half);
    const int64_t at = row / BL_BAND * BL_BAND * s->groups + i * BL_BAND + half * LANES;
    return V(cvtepi32_ps)(short_i((const int16_t *)s->part[2] + at));
}

/* The words of a run that is read a while after the one at p: a stream of one core is not as fast as the core without
 * it. Beyond the weight nothing is read. */
enum { AHEAD = 6144 };
BL_INLINE void ask_ahead(int bits, const uint8_t *p)
{
#pragma GCC unroll 8
    for (int i = 0; i < bits; i++) _mm_prefetch((const char *)p + AHEAD + i * 4 * BL_BAND, _MM_HINT_T0);
}

/* ---- in floats ---- */
/* The values of all codes, less the zero where it is the same everywhere. */
typedef struct values {
    vf lo, hi; /* hi: AVX2, codes 8 .. 15 */
} values;
BL_INLINE values values_of(kind kd, const bl_source *s, float zero)
{
    float v[16];
    for (int i = 0; i < 16; i++) {
        int code = bits_of(kd) <= 4 ? i & ((1 << bits_of(kd)) - 1) : 0;
        v[i] = is_table(kd) ? s->format->table[code] : (float)code - zero;
    }
    return (values){V(loadu_ps)(v), V(loadu_ps)(v + 16 - LANES)};
}
BL_INLINE vf value_at(values t, int bits, vi code)
{
#ifdef __AVX512F__
    (void)bits;
    return _mm512_permutexvar_ps(code, t.lo);
#else
    vf v = _mm256_permutevar8x32_ps(t.lo, code);
    if (bits < 4) return v;
    return _mm256_blendv_ps(v, _mm256_permutevar8x32_ps(t.hi, code), _mm256_castsi256_ps(_mm256_slli_epi32(code, 28)));
#endif
}

/* How the zero comes in. FUSED: (code - zero) scale as fma(code, scale, -zero scale), which is the same number rounded
 * once, as zero scale is exact: codes and packed zeros of 8 bits, scales of 16. */
typedef enum way { FOLDED, FUSED, APART } way; /* in the table; as said; subtracted first */

/* Byte i of every word. */
BL_INLINE vi byte_at(vi v, int i)
{
    if (i == 0) return and_i(v, V(set1_epi32)(255));
    return i == 3 ? shift_i(v, 24) : spread_i(v, i);
}
/* Code base + k of a run: a quad is put together once, and its codes taken out of that, which the compiler sees. */
BL_INLINE vi code_of_quad(int bits, const uint8_t *p, int base, int k)
{
    return byte_at(code_at(bits, p, base, k / 4 * 4, BYTES, true), k % 4);
}

/* The same with other bits above it. */
BL_INLINE vi quad_at(int bits, const uint8_t *p, int base, int k)
{
    return shift_i(code_at(bits, p, base, k / 4 * 4, BYTES, false), k % 4 * 8);
}

/* Weight base + k of a run; FUSED: `zero` is -zero scale. */
BL_INLINE vf weight_at(kind kd, way how, const uint8_t *p, int base, int k, values t, vf scale, vf zero)
{
    const int bits = bits_of(kd);
    if (kd == INT1) return signed_f(shift_i(load_i(p), bl_lanes_shift(1, k) - 31), scale);
    /* one look-up with AVX-512 needs no mask; with AVX2 it is two and a choice, and a conversion is less */
    const bool look = bits <= 4 && (LANES == 16 || is_table(kd) || how == FOLDED);
    const bool planes = bits & (bits - 1); /* more than one: put together for four inputs at once */
    vf v;
    if (look) v = value_at(t, bits, planes ? quad_at(bits, p, base, k) : code_at(bits, p, base, k, ALONE, false));
    else v = V(cvtepi32_ps)(code_of_quad(bits, p, base, k));
    if (how == FUSED) return V(fmadd_ps)(v, scale, zero);
    return V(mul_ps)(how == APART ? V(sub_ps)(v, zero) : v, scale);
}

static way way_of(const bl_source *s)
{
    const bool same = s->shape.zero == BL_ZERO_NONE || s->shape.zero == BL_ZERO_MIDDLE;
    const bool fused = s->shape.scale != BL_F32 && (same || s->shape.zero == BL_ZERO_PACKED);
    const int folded = LANES == 8 && fused ? 3 : 4; /* bits, at most */
    if (s->format->kind == BL_FMT_TABLE || (same && s->format->bits <= folded)) return FOLDED;
    return fused ? FUSED : APART;
}

/* The sum of the chains of a row of x. */
BL_INLINE void put_floats(const bl_gemv *g, int64_t r, int64_t row, int half, const vf a[8])
{
    float *y = g->y + r * g->ldy + row + half * LANES;
    vf v = V(add_ps)(V(add_ps)(V(add_ps)(a[0], a[4]), V(add_ps)(a[2], a[6])),
                     V(add_ps)(V(add_ps)(a[1], a[5]), V(add_ps)(a[3], a[7])));
    if (g->put == BL_PUT_ADD_SCALED) v = V(mul_ps)(V(set1_ps)(g->scale), v);
    if (g->bias) v = V(add_ps)(v, V(loadu_ps)(g->bias + row + half * LANES));
    if (g->put != BL_PUT) v = V(add_ps)(V(loadu_ps)(y), v);
    V(storeu_ps)(y, v);
}

/* Outputs row + half * LANES … of `rows` rows of x from r on. */
BL_INLINE void floats_as(kind kd, way how, int rows, const bl_gemv *g, int64_t r, int64_t row, int half)
{
    const bl_source *s = g->w;
    const int bits = bits_of(kd);
    const int64_t len = BL_MIN(s->shape.group, s->shape.in);
    const uint8_t *p = band_of(s, 0, row, s->code_bytes) + half * LANES * 4;
    const float *x = g->x + r * g->ldx;
    const float middle = s->shape.zero == BL_ZERO_MIDDLE ? (float)((1 << bits) - 1) / 2 : (float)(1 << (bits - 1));
    const bool same = s->shape.zero == BL_ZERO_NONE || s->shape.zero == BL_ZERO_MIDDLE;
    const values t = values_of(kd, s, how == FOLDED ? middle : 0);
    vf acc[FLOAT_ROWS][8];
#pragma GCC unroll 3
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++) acc[i][j] = V(setzero_ps)();
    for (int64_t k = 0, i = 0; k < s->shape.in; i++) {
        const vf scale = numbers_of(s, 1, row, i, half);
        vf zero = same || how == FOLDED ? V(set1_ps)(middle) : zeros_of(bits, s, row, i, half);
        if (how == FUSED) zero = V(mul_ps)(V(set1_ps)(-1), V(mul_ps)(zero, scale));
        const int64_t stop = BL_MIN(k + len, s->shape.in);
        for (; k < stop; k += BL_RUN, p += bits * 4 * BL_BAND) {
            ask_ahead(bits, p);
            for (int base = 0; base < BL_RUN; base += step_of(bits))
#pragma GCC unroll 32
                for (int j = 0; j < step_of(bits); j++) {
                    const vf w = weight_at(kd, how, p, base, j, t, scale, zero);
#pragma GCC unroll 3
                    for (int q = 0; q < rows; q++)
                        acc[q][j % 8] = V(fmadd_ps)(V(set1_ps)(x[q * g->ldx + k + base + j]), w, acc[q][j % 8]);
                }
        }
    }
#pragma GCC unroll 3
    for (int i = 0; i < rows; i++) put_floats(g, r + i, row, half, acc[i]);
}

typedef void floats(const bl_gemv *g, int64_t r, int64_t row, int half);
#define FLOATS(id, how, n)                                                                                             \
    static void how##_##id##_##n(const bl_gemv *g, int64_t r, int64_t row, int half)                                   \
    {                                                                                                                  \
        floats_as(id, how, n, g, r, row, half);                                                                        \
    }
#ifdef __AVX512F__
#define BY_ROWS(id, how) FLOATS(id, how, 1) FLOATS(id, how, 2) FLOATS(id, how, 3)
#define ROWS_OF(id, how)                                                                                               \
    {                                                                                                                  \
        how##_##id##_1, how##_##id##_2, how##_##id##_3                                                                 \
    }
#else
#define BY_ROWS(id, how) FLOATS(id, how, 1)
#define ROWS_OF(id, how)                                                                                               \
    {                                                                                                                  \
        how##_##id##_1                                                                                                 \
    }
#endif
#define NARROW(id) BY_ROWS(id, FOLDED) BY_ROWS(id, FUSED) BY_ROWS(id, APART)
#define WIDE(id)   BY_ROWS(id, FUSED) BY_ROWS(id, APART)
#define NARROW_OF(id)                                                                                                  \
    {                                                                                                                  \
        ROWS_OF(id, FOLDED), ROWS_OF(id, FUSED), ROWS_OF(id, APART)                                                    \
    }
#define WIDE_OF(id)                                                                                                    \
    {                                                                                                                  \
        {NULL}, ROWS_OF(id, FUSED), ROWS_OF(id, APART)                                                                 \
    }
/* clang-format off */
BY_ROWS(INT1, FOLDED)
NARROW(INT2) NARROW(INT3) NARROW(INT4) WIDE(INT5) WIDE(INT6) WIDE(INT7) WIDE(INT8)
BY_ROWS(TABLE2, FOLDED) BY_ROWS(TABLE3, FOLDED) BY_ROWS(TABLE4, FOLDED)
static floats *const integer_code[8][3][FLOAT_ROWS] = {
    {ROWS_OF(INT1, FOLDED)}, NARROW_OF(INT2), NARROW_OF(INT3),
    NARROW_OF(INT4),
    WIDE_OF(INT5), WIDE_OF(INT6), WIDE_OF(INT7), WIDE_OF(INT8),
};
/* clang-format on */
static floats *const table_code[3][FLOAT_ROWS] = {ROWS_OF(TABLE2, FOLDED), ROWS_OF(TABLE3, FOLDED),
                                                  ROWS_OF(TABLE4, FOLDED)};

/* Outputs of a task: long streams, but some tasks for each thread so that none is waited for. */
static int64_t chunk_of(const bl_shape *g, int threads)
{
    return BL_MAX(g->out / BL_BAND / (16 * threads), 1) * BL_BAND;
}

/* ---- in integers ---- */
/* The sum of a row of x, before its scale. */
BL_INLINE void put_integers(const bl_igemm *g, int64_t r, int64_t row, int half, vf v)
{
    float *y = g->y + r * g->ldy + row + half * LANES;
    if (!g->c->blocked) v = V(mul_ps)(v, V(set1_ps)(g->c->scale[r]));
    if (g->bias) v = V(add_ps)(v, V(loadu_ps)(g->bias + row + half * LANES));
    if (g->put != BL_PUT) v = V(add_ps)(V(loadu_ps)(y), v);
    V(storeu_ps)(y, v);
}

BL_INLINE void integers_as(int bits, bool shifted, int rows, const bl_igemm *g, int64_t r, int64_t row, int half)
{
    const bl_source *s = g->w;
    const bl_icodes *c = g->c;
    const int64_t per = s->shape.group < s->shape.in ? s->shape.group / c->seg : c->segs; /* segments of a group */
    const uint8_t *p = band_of(s, 0, row, s->code_bytes) + half * LANES * 4;
    const int8_t *x = c->x + r * c->ldx;
    const vi ones = V(set1_epi8)(1);
    vi zero = V(set1_epi32)(bits == 1 ? 1 : 1 << (bits - 1));
    vf scale = V(setzero_ps)(), acc[INTEGER_ROWS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) acc[i] = V(setzero_ps)();
    for (int64_t at = 0, group = 0, next = 0; at < c->segs; at++) { /* next: where a group begins */
        const int64_t left = BL_MIN(c->seg, s->shape.in - at * c->seg);
        vi sum[INTEGER_ROWS], pairs[INTEGER_ROWS], all = zero_i(), all_pairs = all;
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) sum[i] = pairs[i] = zero_i();
        for (int64_t k = 0; k < left; k += BL_RUN, x += BL_RUN, p += bits * 4 * BL_BAND) {
            ask_ahead(bits, p);
#pragma GCC unroll 8
            for (int q = 0; q < BL_RUN / 4; q++) {
                const vi w = code_at(bits, p, 0, 4 * q, BYTES, true);
                if (shifted) dot(bits, q, &all, &all_pairs, w, ones);
#pragma GCC unroll 8
                for (int i = 0; i < rows; i++) dot_of(bits, q, &sum[i], &pairs[i], w, x + i * c->ldx + 4 * q);
            }
        }
        if (at == next) { /* no division, which takes as long as the products of a short segment */
            scale = numbers_of(s, 1, row, group, half);
            if (s->shape.zero == BL_ZERO_PACKED) zero = packed_zeros(bits, s, row, group, half);
            group++;
            next += per;
        }
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            const int64_t j = (r + i) * c->segs + at;
            vi v = sum[i];
            if (shifted) v = V(add_epi32)(v, V(mullo_epi32)(all, V(set1_epi32)(c->shift[j])));
            if (bits == 1) v = V(add_epi32)(v, v);
            if (bits > 1 && s->shape.zero == BL_ZERO_NONE)
                v = V(sub_epi32)(v, V(set1_epi32)(c->sum[j] * (1 << (bits - 1))));
            else v = V(sub_epi32)(v, V(mullo_epi32)(zero, V(set1_epi32)(c->sum[j])));
            acc[i] = V(fmadd_ps)(V(cvtepi32_ps)(v), c->blocked ? V(mul_ps)(scale, V(set1_ps)(c->scale[j])) : scale,
                                 acc[i]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) put_integers(g, r + i, row, half, acc[i]);
}

typedef void integers(const bl_igemm *g, int64_t r, int64_t row, int half);
#define ONE(b, n)                                                                                                      \
    static void plain_##b##_##n(const bl_igemm *g, int64_t r, int64_t row, int half)                                   \
    {                                                                                                                  \
        integers_as(b, false, n, g, r, row, half);                                                                     \
    }                                                                                                                  \
    static void shifted_##b##_##n(const bl_igemm *g, int64_t r, int64_t row, int half)                                 \
    {                                                                                                                  \
        integers_as(b, true, n, g, r, row, half);                                                                      \
    }
#define BITS(b) ONE(b, 1) ONE(b, 2) ONE(b, 4)
/* clang-format off */
BITS(1) BITS(2) BITS(3) BITS(4) BITS(5) BITS(6) BITS(7) BITS(8)
/* clang-format on */
#undef BITS
#undef ONE

#include "avx2_super.h"

    static void run_floats(const bl_gemm *g, int64_t task, void *scratch)
{
    const bl_source *s = g->v.w;
    floats *const *code = s->blocks && s->blocks->words     ? super_floats[s->format->bits - 2]
                          : s->format->kind == BL_FMT_TABLE ? table_code[s->format->bits - 2]
                                                            : integer_code[s->format->bits - 1][way_of(s)];
    int64_t o0 = task * g->chunk, end = BL_MIN(o0 + g->chunk, s->shape.out);
    (void)scratch;
    for (int64_t o = o0; o < end; o += BL_BAND)
        for (int half = 0; half < BL_BAND / LANES; half++)
            for (int64_t r = 0, n; r < g->rows; r += n) {
                n = BL_MIN(g->rows - r, FLOAT_ROWS);
                code[n - 1](&g->v, r, o, half);
            }
}

__attribute__((unused)) static void plan_floats(bl_gemm *g, int64_t rows) /* avxvnni_lanes.c has none */
{
    g->rows = g->block_rows = rows;
    g->blocks = 1;
    g->chunk = chunk_of(&g->v.w->shape, g->threads);
    g->chunks = (g->v.w->shape.out + g->chunk - 1) / g->chunk;
    g->task = run_floats;
}

static void run_integers(const bl_igemm *g, int64_t task, void *scratch)
{
#define ROW(b)                                                                                                         \
    {                                                                                                                  \
        {plain_##b##_1, plain_##b##_2, plain_##b##_4}, { shifted_##b##_1, shifted_##b##_2, shifted_##b##_4 }           \
    }
    static integers *const code[8][2][3] = {ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7), ROW(8)};
#undef ROW
    const bl_source *s = g->w;
    integers *const *by_rows = s->blocks && s->blocks->words
                                   ? super_integers[s->format->bits - 2][g->c->seg / 32][g->c->shifted]
                                   : code[s->format->bits - 1][g->c->shifted];
    int64_t o0 = task * g->chunk, end = BL_MIN(o0 + g->chunk, s->shape.out);
    (void)scratch;
    for (int64_t o = o0; o < end; o += BL_BAND)
        for (int half = 0; half < BL_BAND / LANES; half++)
            for (int64_t r = 0, n; r < g->rows; r += n) {
                n = g->rows - r >= 4 ? 4 : g->rows - r >= 2 ? 2 : 1;
                by_rows[n / 2](g, r, o, half);
            }
}

static void plan_integers(bl_igemm *g)
{
    g->chunk = chunk_of(&g->w->shape, g->threads);
    g->chunks = (g->w->shape.out + g->chunk - 1) / g->chunk;
    g->task = run_integers;
}

static bool fits(const bl_backend *be, bl_isa isa, const bl_linear_args *a, const bl_weight *w, bool integer)
{
    const bl_shape g = bl_cpu_integer_shape(w);
    const bl_blocks *b = bl_blocks_of(w->format);
    const int64_t seg = integer ? bl_cpu_segment(&a->act, &g) : BL_RUN;
    return a->x.dim[0] <= 8 && w->layout == BL_LAYOUT_LANES && bl_lanes_fit(w->format, &w->shape) &&
           bl_product_fits(be, isa, a, w, integer) &&
           (seg % BL_RUN == 0 || seg >= g.in || (b && b->words && seg == BL_RUN / 2));
}

/* A family with these instructions: of floats or of activations in integers. */
#define BL_LANES(id, isa, integer, what, decode, product, planned)                                                     \
    static bool id##_fits(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)                           \
    {                                                                                                                  \
        return fits(be, isa, a, w, integer);                                                                           \
    }                                                                                                                  \
    const bl_kernel_family bl_family_##id = {                                                                          \
        .op = "linear",                                                                                                \
        .backend = "cpu",                                                                                              \
        .doc = what,                                                                                                   \
        .layout = BL_LAYOUT_LANES,                                                                                     \
        .bitwise = true,                                                                                               \
        .nmse_limit = 1e-11,                                                                                           \
        .decode_ns = decode,                                                                                           \
        .product_ns = product,                                                                                         \
        .applicable = id##_fits,                                                                                       \
        .run = bl_product_run,                                                                                         \
        .own = &(const bl_cpu_product){.source = bl_source_of, planned},                                               \
    };
#define BL_LANES_FLOATS(name, isa, decode, product)                                                                    \
    BL_LANES(lanes_##name, isa, false, "up to eight rows, sixteen outputs side by side", decode, product,              \
             .plan = plan_floats)
#define BL_LANES_INTEGERS(name, isa, product)                                                                          \
    BL_LANES(ilanes_##name, isa, true,                                                                                 \
             "up to eight rows of activations quantized to integers, sixteen outputs side by side", 0.01, product,     \
             .plan_integer = plan_integers)
#endif
