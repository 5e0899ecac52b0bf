/* avx2_super.h - GGUF blocks of 256 in the layout of lanes.h: their scales and minima, sixteen outputs or twice eight
 * side by side, and products of few rows of x. Part of avx2_lanes.h. The width of a code says which format it is: 2 to
 * 6 are q2_k to q6_k.
 */
#ifndef BL_KERNELS_CPU_AVX2_SUPER_H
#define BL_KERNELS_CPU_AVX2_SUPER_H

enum { SUPER_RUNS = BL_SUPER / BL_RUN };
BL_INLINE bool has_least(int bits) { return bits == 2 || bits == 4 || bits == 5; }
BL_INLINE int zero_of_super(int bits) { return bits == 3 ? 4 : bits == 6 ? 32 : 0; }
BL_INLINE int group_of_super(int bits) { return bits == 4 || bits == 5 ? 32 : 16; }
/* Bytes of a block of a band: its codes, and all of it. */
BL_INLINE int super_codes(int bits) { return BL_BAND * (BL_SUPER / 8) * bits; }
BL_INLINE int super_words(int bits) { return bits == 2 || bits == 6 ? 4 : 3; }
BL_INLINE int super_bytes(int bits)
{
    return super_codes(bits) + BL_BAND * (4 * super_words(bits) + 2 * (1 + has_least(bits)));
}

BL_INLINE vi every(int byte) { return V(set1_epi32)(byte * BYTES); }
/* Scales of the groups 4 j .. 4 j + 3 of every output, a byte each; p: their words. */
BL_INLINE vi scale_word(int bits, const uint8_t *p, int j)
{
    enum { WORD = 4 * BL_BAND };
    if (bits == 2) return and_i(load_i(p + j * WORD), every(15));
    if (bits == 6) return load_i(p + j * WORD);
    if (bits == 3)
        return or_i(and_i(shift_i(load_i(p + j % 2 * WORD), j / 2 * 4), every(15)),
                    and_i(shift_i(load_i(p + 2 * WORD), 2 * j - 4), every(48)));
    if (j == 0) return and_i(load_i(p), every(63));
    return or_i(and_i(load_i(p + 2 * WORD), every(15)), and_i(shift_i(load_i(p), 2), every(48)));
}
BL_INLINE vi least_word(int bits, const uint8_t *p, int j)
{
    enum { WORD = 4 * BL_BAND };
    if (bits == 2) return and_i(shift_i(load_i(p + j * WORD), 4), every(15));
    if (j == 0) return and_i(load_i(p + WORD), every(63));
    return or_i(and_i(shift_i(load_i(p + 2 * WORD), 4), every(15)), and_i(shift_i(load_i(p + WORD), 2), every(48)));
}
BL_INLINE vf byte_f(int bits, vi word, int i)
{
    if (bits == 6) return V(cvtepi32_ps)(V(srai_epi32)(shift_i(word, 8 * i - 24), 24));
    word = shift_i(word, 8 * i);
    if (i < 3) word = and_i(word, V(set1_epi32)(255));
    if (bits == 3) word = V(sub_epi32)(word, V(set1_epi32)(32));
    return V(cvtepi32_ps)(word);
}

/* Of the groups of a block. */
typedef struct steps {
    vf scale[BL_SUPER_GROUPS], least[BL_SUPER_GROUPS];
} steps;
BL_INLINE void steps_of(int bits, const uint8_t *block, int half, steps *to)
{
    const uint8_t *p = block + super_codes(bits) + half * LANES * 4,
                  *d = block + super_codes(bits) + super_words(bits) * 4 * BL_BAND + half * LANES * 2;
    const vf by = half_f(d), less = has_least(bits) ? half_f(d + 2 * BL_BAND) : by;
    const int words = BL_SUPER / group_of_super(bits) / 4;
#pragma GCC unroll 4
    for (int j = 0; j < words; j++) {
        const vi scale = scale_word(bits, p, j), least = has_least(bits) ? least_word(bits, p, j) : scale;
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            to->scale[4 * j + i] = V(mul_ps)(byte_f(bits, scale, i), by);
            if (has_least(bits)) to->least[4 * j + i] = V(mul_ps)(byte_f(bits, least, i), less);
        }
    }
}

/* ---- in floats: fma(code, scale, -least or -zero scale), which is the weight, as a product of both is exact ---- */
BL_INLINE void super_floats_as(int bits, int rows, const bl_gemv *g, int64_t r, int64_t row, int half)
{
    const bl_source *s = g->w;
    const bool look = bits <= (LANES == 16 ? 4 : 3);
    const values t = values_of((kind)(INT1 + bits - 1), s, 0);
    const uint8_t *p = band_of(s, 0, row, s->code_bytes);
    const float *x = g->x + r * g->ldx;
    vf acc[FLOAT_ROWS][8];
#pragma GCC unroll 3
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++) acc[i][j] = V(setzero_ps)();
    for (int64_t block = 0; block < s->shape.in / BL_SUPER; block++) {
        const uint8_t *codes = p + block * super_bytes(bits) + half * LANES * 4;
        steps st;
        steps_of(bits, p + block * super_bytes(bits), half, &st);
        for (int run = 0; run < SUPER_RUNS; run++, codes += bits * 4 * BL_BAND, x += BL_RUN) {
            ask_ahead(bits, codes);
            for (int base = 0; base < BL_RUN; base += step_of(bits))
#pragma GCC unroll 32
                for (int k = 0; k < step_of(bits); k++) {
                    const int i = group_of_super(bits) == 32 ? run : 2 * run + (base + k) / 16;
                    const vf scale = st.scale[i], less = has_least(bits)
                                                             ? st.least[i]
                                                             : V(mul_ps)(scale, V(set1_ps)((float)zero_of_super(bits)));
                    vf v;
                    if (look)
                        v = value_at(t, bits,
                                     bits == 3 ? quad_at(bits, codes, base, k)
                                               : code_at(bits, codes, base, k, ALONE, false));
                    else v = V(cvtepi32_ps)(code_of_quad(bits, codes, base, k));
                    const vf w = V(fmsub_ps)(v, scale, less);
#pragma GCC unroll 3
                    for (int q = 0; q < rows; q++)
                        acc[q][k % 8] = V(fmadd_ps)(V(set1_ps)(x[q * g->ldx + base + k]), w, acc[q][k % 8]);
                }
        }
    }
#pragma GCC unroll 3
    for (int i = 0; i < rows; i++) put_floats(g, r + i, row, half, acc[i]);
}

/* ---- in integers: segments of `seg` inputs, 16 or 32 ---- */
BL_INLINE void super_integers_as(int bits, int seg, bool shifted, int rows, const bl_igemm *g, int64_t r, int64_t row,
                                 int half)
{
    const bl_source *s = g->w;
    const bl_icodes *c = g->c;
    const uint8_t *p = band_of(s, 0, row, s->code_bytes);
    const int8_t *x = c->x + r * c->ldx;
    const vi ones = V(set1_epi8)(1);
    const int parts = BL_RUN / seg;
    vf acc[INTEGER_ROWS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) acc[i] = V(setzero_ps)();
    for (int64_t block = 0, at = 0; block < s->shape.in / BL_SUPER; block++) {
        const uint8_t *codes = p + block * super_bytes(bits) + half * LANES * 4;
        steps st;
        steps_of(bits, p + block * super_bytes(bits), half, &st);
        for (int run = 0; run < SUPER_RUNS; run++, codes += bits * 4 * BL_BAND, x += BL_RUN) {
            ask_ahead(bits, codes);
#pragma GCC unroll 2
            for (int part = 0; part < parts; part++, at++) {
                const int of = group_of_super(bits) == 32 ? run : 2 * run + part;
                vi sum[INTEGER_ROWS], pairs[INTEGER_ROWS], all = zero_i(), all_pairs = all;
#pragma GCC unroll 8
                for (int i = 0; i < rows; i++) sum[i] = pairs[i] = zero_i();
#pragma GCC unroll 8
                for (int q = part * seg / 4; q < (part + 1) * seg / 4; q++) {
                    const vi w = code_at(bits, codes, 0, 4 * q, BYTES, true);
                    if (shifted) dot(bits, q, &all, &all_pairs, w, ones);
#pragma GCC unroll 8
                    for (int i = 0; i < rows; i++) dot_of(bits, q, &sum[i], &pairs[i], w, x + i * c->ldx + 4 * q);
                }
#pragma GCC unroll 8
                for (int i = 0; i < rows; i++) {
                    const int64_t j = (r + i) * c->segs + at;
                    const float by = c->blocked ? c->scale[j] : 1;
                    vi v = sum[i];
                    if (shifted) v = V(add_epi32)(v, V(mullo_epi32)(all, V(set1_epi32)(c->shift[j])));
                    if (zero_of_super(bits)) v = V(sub_epi32)(v, V(set1_epi32)(c->sum[j] * zero_of_super(bits)));
                    acc[i] = V(fmadd_ps)(V(cvtepi32_ps)(v), V(mul_ps)(st.scale[of], V(set1_ps)(by)), acc[i]);
                    if (has_least(bits))
                        acc[i] = V(fnmadd_ps)(V(set1_ps)((float)c->sum[j]), V(mul_ps)(st.least[of], V(set1_ps)(by)),
                                              acc[i]);
                }
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) put_integers(g, r + i, row, half, acc[i]);
}

/* ---- by format and rows ---- */
#define SUPER_FLOATS(b, n)                                                                                             \
    static void super_##b##_##n(const bl_gemv *g, int64_t r, int64_t row, int half)                                    \
    {                                                                                                                  \
        super_floats_as(b, n, g, r, row, half);                                                                        \
    }
#ifdef __AVX512F__
#define SUPER_ROWS(b) SUPER_FLOATS(b, 1) SUPER_FLOATS(b, 2) SUPER_FLOATS(b, 3)
#define SUPER_ROWS_OF(b)                                                                                               \
    {                                                                                                                  \
        super_##b##_1, super_##b##_2, super_##b##_3                                                                    \
    }
#else
#define SUPER_ROWS(b) SUPER_FLOATS(b, 1)
#define SUPER_ROWS_OF(b)                                                                                               \
    {                                                                                                                  \
        super_##b##_1                                                                                                  \
    }
#endif
/* clang-format off */
SUPER_ROWS(2) SUPER_ROWS(3) SUPER_ROWS(4) SUPER_ROWS(5) SUPER_ROWS(6)
static floats *const super_floats[5][FLOAT_ROWS] = {SUPER_ROWS_OF(2), SUPER_ROWS_OF(3), SUPER_ROWS_OF(4),
                                                    SUPER_ROWS_OF(5), SUPER_ROWS_OF(6)};

#define SUPER_INTEGERS(b, seg, shifted, n)                                                                             \
    static void super_##b##_##seg##_##shifted##_##n(const bl_igemm *g, int64_t r, int64_t row, int half)               \
    {                                                                                                                  \
        super_integers_as(b, seg, shifted, n, g, r, row, half);                                                        \
    }
#define SUPER_BY_ROWS(b, seg, shifted)                                                                                 \
    SUPER_INTEGERS(b, seg, shifted, 1) SUPER_INTEGERS(b, seg, shifted, 2) SUPER_INTEGERS(b, seg, shifted, 4)
#define SUPER_SEG(b, seg) SUPER_BY_ROWS(b, seg, 0) SUPER_BY_ROWS(b, seg, 1)
SUPER_SEG(2, 16) SUPER_SEG(3, 16) SUPER_SEG(4, 16) SUPER_SEG(5, 16) SUPER_SEG(6, 16) SUPER_SEG(4, 32) SUPER_SEG(5, 32)
#define SUPER_BY_ROWS_OF(b, seg, shifted)                                                                              \
    {super_##b##_##seg##_##shifted##_1, super_##b##_##seg##_##shifted##_2, super_##b##_##seg##_##shifted##_4}
#define SUPER_SEG_OF(b, seg) {SUPER_BY_ROWS_OF(b, seg, 0), SUPER_BY_ROWS_OF(b, seg, 1)}
/* by bits from 2 on, 16 or 32 inputs, shifted, 1, 2 or 4 rows */
static integers *const super_integers[5][2][2][3] = {
    {SUPER_SEG_OF(2, 16)}, {SUPER_SEG_OF(3, 16)}, {SUPER_SEG_OF(4, 16), SUPER_SEG_OF(4, 32)},
    {SUPER_SEG_OF(5, 16), SUPER_SEG_OF(5, 32)}, {SUPER_SEG_OF(6, 16)},
};
/* clang-format on */
#endif
