/* avx512_formats.c - codes of 2 to 4 bits where the CPU has AVX-512: rows into panels, products of one or two rows
 * without a panel; GGUF's blocks of 32 into panels.
 *
 * The values of all codes of a group are a vector of 16, made once a group with the arithmetic of avx2_decode.h; 16
 * weights of a row are then one permutation of it. The 8 chains take the lower half first and then the upper one.
 */
#include "avx2.h"
#include "avx2_decode.h"

/* Values of the codes before scale and zero, by the low four bits of an index, of which the upper may belong to the
 * next code. */
BL_INLINE __m512 codes_of(kind kd, const bl_source *s)
{
    const float *v = s->format->table;
    if (is_int(kd))
        return _mm512_cvtepi32_ps(
            _mm512_and_si512(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                             _mm512_set1_epi32((1 << bits_of(kd)) - 1)));
    return kd == TABLE4   ? _mm512_loadu_ps(v)
           : kd == TABLE3 ? _mm512_broadcast_f32x8(_mm256_loadu_ps(v))
                          : _mm512_broadcast_f32x4(_mm_loadu_ps(v));
}

/* 16 weights from byte p on. */
BL_INLINE __m512 weights16(int bits, const uint8_t *p, __m512 values)
{
    const __m512i by = _mm512_setr_epi32(0, bits, 2 * bits, 3 * bits, 4 * bits, 5 * bits, 6 * bits, 7 * bits, 0, bits,
                                         2 * bits, 3 * bits, 4 * bits, 5 * bits, 6 * bits, 7 * bits);
    int32_t lo, hi;
    memcpy(&lo, p, sizeof lo);
    memcpy(&hi, p + bits, sizeof hi);
    return _mm512_permutexvar_ps(_mm512_srlv_epi32(_mm512_mask_set1_epi32(_mm512_set1_epi32(lo), 0xff00, hi), by),
                                 values);
}

/* The values of the codes of group i of a row; scale and zero are those of its run of eight groups. */
BL_INLINE __m512 values_of(kind kd, __m512 codes, const float scale[8], const float zero[8], int64_t i)
{
    __m512 v = is_int(kd) ? _mm512_sub_ps(codes, _mm512_set1_ps(zero[i % 8])) : codes;
    return _mm512_mul_ps(v, _mm512_set1_ps(scale[i % 8]));
}

/* ---- into a panel ---- */
BL_INLINE void unpack_as(kind kd, const bl_source *s, int64_t row, int64_t k0, int64_t n, float *dst, int64_t stride)
{
    const int bits = bits_of(kd);
    const uint8_t *p = row_of(kd, s, row);
    const __m512 codes = codes_of(kd, s);
    int64_t len = segment(kd, s), end = k0 + n, known = -1;
    float scale[8] = {0}, zero[8] = {0};
    for (int64_t k = k0; k < end;) {
        int64_t i = k / len, stop = BL_MIN((i + 1) * len, end);
        if (known != i / 8) groups8(kd, s, row, (known = i / 8) * 8, scale, zero);
        const __m512 values = values_of(kd, codes, scale, zero, i);
        const uint8_t *b = segment_of(kd, s, p, i) + (k - i * len) / 8 * bits;
        for (; k + 16 <= stop; k += 16, b += 2 * bits, dst += 2 * stride) {
            const __m512 w = weights16(bits, b, values);
            _mm256_storeu_ps(dst, _mm512_castps512_ps256(w));
            _mm256_storeu_ps(dst + stride, _mm512_extractf32x8_ps(w, 1));
        }
        if (k < stop) { /* the end of the row, or of a group that 16 does not divide */
            const __m512 w = _mm512_maskz_mov_ps((__mmask16)((1u << (stop - k)) - 1), weights16(bits, b, values));
            _mm256_storeu_ps(dst, _mm512_castps512_ps256(w));
            dst += stride;
            if (stop - k > 8) {
                _mm256_storeu_ps(dst, _mm512_extractf32x8_ps(w, 1));
                dst += stride;
            }
            k = stop;
        }
    }
}

/* Blocks of 32 with a scale of their own; k0 and n are whole blocks. A nibble has 16 values: they are made once a
 * block, and 16 weights are one permutation of them. */
BL_INLINE void unpack_blocks_as(kind kd, const bl_source *s, int64_t row, int64_t k0, int64_t n, float *dst,
                                int64_t stride)
{
    const __m512 code = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const uint8_t *b = row_of(kd, s, row) + k0 / 32 * block_bytes(kd);
    for (int64_t k = 0; k < n; k += 32, b += block_bytes(kd), dst += 4 * stride) {
        int32_t head; /* scale, and of q4_1 the minimum */
        memcpy(&head, b, sizeof head);
        const __m128 h = _mm_cvtph_ps(_mm_cvtsi32_si128(head));
        const __m512 scale = _mm512_broadcastss_ps(h);
        __m512 w[2];
        if (kd == Q8_0) {
            for (int i = 0; i < 2; i++)
                w[i] = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(
                                                _mm_loadu_si128((const __m128i *)(const void *)(b + 2 + 16 * i)))));
        } else {
            const __m512i q = _mm512_cvtepu8_epi32(
                _mm_loadu_si128((const __m128i *)(const void *)(b + (kd == Q4_1 ? 4 : 2))));
            const __m512 values = kd == Q4_1 ? _mm512_add_ps(_mm512_mul_ps(scale, code),
                                                             _mm512_broadcastss_ps(_mm_movehdup_ps(h)))
                                             : _mm512_mul_ps(scale, _mm512_sub_ps(code, _mm512_set1_ps(8)));
            w[0] = _mm512_permutexvar_ps(q, values); /* it looks at four bits of an index */
            w[1] = _mm512_permutexvar_ps(_mm512_srli_epi32(q, 4), values);
        }
        for (int i = 0; i < 2; i++) {
            _mm256_storeu_ps(dst + 2 * i * stride, _mm512_castps512_ps256(w[i]));
            _mm256_storeu_ps(dst + (2 * i + 1) * stride, _mm512_extractf32x8_ps(w[i], 1));
        }
    }
}

#define BLOCKS(id)                                                                                                     \
    static void unpack_##id(const bl_source *s, int64_t row, int64_t k0, int64_t n, float *dst, int64_t stride)        \
    {                                                                                                                  \
        unpack_blocks_as(id, s, row, k0, n, dst, stride);                                                              \
    }
BLOCKS(Q4_0)
BLOCKS(Q4_1)
BLOCKS(Q8_0)

/* ---- one or two rows of x, four outputs ---- */
/* n of 16 weights times x. */
BL_INLINE __m256 multiply16(__m512 w, const float *x, int64_t n, __m256 acc)
{
    __m256 lo = _mm512_castps512_ps256(w), hi = _mm512_extractf32x8_ps(w, 1);
    if (n < 8) lo = _mm256_and_ps(lo, _mm256_castsi256_ps(bl_first(n)));
    acc = _mm256_fmadd_ps(_mm256_loadu_ps(x), lo, acc);
    if (n <= 8) return acc;
    if (n < 16) hi = _mm256_and_ps(hi, _mm256_castsi256_ps(bl_first(n - 8)));
    return _mm256_fmadd_ps(_mm256_loadu_ps(x + 8), hi, acc);
}

BL_INLINE void gemv_as(kind kd, int rows, const bl_gemv *g, int64_t row, int64_t n)
{
    const bl_source *s = g->w;
    const int bits = bits_of(kd);
    const __m512 codes = codes_of(kd, s);
    int64_t o[4], len = segment(kd, s), in = s->shape.in, bytes = BL_MIN(len, in) * bits / 8,
                  ahead = BL_MAX(4 * s->code_bytes, 4096);
    float scale[4][8] = {{0}}, zero[4][8] = {{0}};
    const uint8_t *p[4];
    __m256 acc[2][4];
    for (int j = 0; j < 4; j++) {
        o[j] = row + BL_MIN(j, n - 1); /* past the last output the last one again */
        p[j] = row_of(kd, s, o[j]);
        acc[0][j] = acc[1][j] = _mm256_setzero_ps();
    }
    for (int64_t k = 0, i = 0; k < in; i++) {
        int64_t m = BL_MIN(len, in - k);
        const float *x = g->x + k, *x1 = x + (rows > 1 ? g->ldx : 0);
        const uint8_t *b[4];
        __m512 values[4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            if (i % 8 == 0) groups8(kd, s, o[j], i, scale[j], zero[j]);
            b[j] = segment_of(kd, s, p[j], i);
            values[j] = values_of(kd, codes, scale[j], zero[j], i);
            for (int64_t at = 0; at < bytes; at += 64) _mm_prefetch((const char *)b[j] + ahead + at, _MM_HINT_T0);
        }
        int64_t t = 0;
#pragma GCC unroll 2
        for (; t + 16 <= m; t += 16)
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) {
                const __m512 w = weights16(bits, b[j] + t / 8 * bits, values[j]);
                acc[0][j] = multiply16(w, x + t, 16, acc[0][j]);
                if (rows > 1) acc[1][j] = multiply16(w, x1 + t, 16, acc[1][j]);
            }
        if (t < m)
            for (int j = 0; j < 4; j++) {
                const __m512 w = weights16(bits, b[j] + t / 8 * bits, values[j]);
                acc[0][j] = multiply16(w, x + t, m - t, acc[0][j]);
                if (rows > 1) acc[1][j] = multiply16(w, x1 + t, m - t, acc[1][j]);
            }
        k += m;
    }
    for (int r = 0; r < rows; r++) bl_store4(g, r, row, n, bl_sum4(acc[r][0], acc[r][1], acc[r][2], acc[r][3]));
}

#define KIND(id)                                                                                                       \
    static void unpack_##id(const bl_source *s, int64_t row, int64_t k0, int64_t n, float *dst, int64_t stride)        \
    {                                                                                                                  \
        unpack_as(id, s, row, k0, n, dst, stride);                                                                     \
    }                                                                                                                  \
    static void gemv1_##id(const bl_gemv *g, int64_t row, int64_t n) { gemv_as(id, 1, g, row, n); }                    \
    static void gemv2_##id(const bl_gemv *g, int64_t row, int64_t n) { gemv_as(id, 2, g, row, n); }
KIND(INT2)
KIND(INT3)
KIND(INT4)
KIND(TABLE2)
KIND(TABLE3)
KIND(TABLE4)

bool bl_source_narrow(const bl_weight *w)
{
    const bl_format *f = w->format;
    return !w->layout && (f->kind == BL_FMT_INT || f->kind == BL_FMT_TABLE) && f->bits >= 2 && f->bits <= 4 &&
           bl_source_decoded(w);
}

void bl_source_512(const bl_weight *w, bl_source *out)
{
#define ROW(id)                                                                                                        \
    {                                                                                                                  \
        unpack_##id, { gemv1_##id, gemv2_##id }                                                                        \
    }
    static const struct {
        bl_unpack8 *unpack;
        bl_gemv4 *gemv[2];
    } fast[2][3] = {
        {ROW(INT2), ROW(INT3), ROW(INT4)},
        {ROW(TABLE2), ROW(TABLE3), ROW(TABLE4)},
    };
#undef ROW
    static const struct {
        const char *name;
        bl_unpack8 *unpack;
    } blocks[] = {{"q4_0", unpack_Q4_0}, {"q4_1", unpack_Q4_1}, {"q8_0", unpack_Q8_0}};
    const bl_format *f = w->format;
    bl_source_of(w, out);
    for (size_t i = 0; i < BL_COUNT(blocks) && !w->layout; i++)
        if (strcmp(f->name, blocks[i].name) == 0) out->unpack = blocks[i].unpack;
    if (!bl_source_narrow(w)) return;
    out->unpack = fast[f->kind == BL_FMT_TABLE][f->bits - 2].unpack;
    for (int r = 0; r < 2; r++) out->gemv[r] = fast[f->kind == BL_FMT_TABLE][f->bits - 2].gemv[r];
}

static bool applicable(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    return a->x.dim[0] <= 2 && bl_product_fits(be, BL_ISA_AVX512, a, w, false) && bl_source_narrow(w);
}

const bl_kernel_family bl_family_gemv_avx512 = {
    .op = "linear",
    .backend = "cpu",
    .doc = "one or two rows, the values of a group's codes in a register",
    .bitwise = true,
    .nmse_limit = 1e-11,
    .decode_ns = 0.06,
    .product_ns = 0.05,
    .applicable = applicable,
    .run = bl_product_run,
    .own = &(const bl_cpu_product){.source = bl_source_512, .plan = bl_gemv_plan},
};
