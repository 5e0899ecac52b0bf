/* avx2_igemm.c - products in integers: codes less zeros as 16-bit numbers, exact sums per group, floats between groups.
 *
 * x      i16 [rows, ldx]            every group padded with zeros to a multiple of 16
 * panel  i16 [ldx / 16][4][16]      the weights of four outputs, likewise
 *
 * vpmaddwd adds neighbours: lane j of a step holds the positions 2j and 2j + 1 of its 16.
 */
#include "avx2_decode.h"

int64_t bl_igemm_width(const bl_geom *g)
{
    int64_t whole = g->in / g->group, rest = g->in % g->group;
    return whole * ((g->group + 15) / 16 * 16) + (rest + 15) / 16 * 16;
}

void bl_igemm_row(const float *x, const bl_geom *g, const bl_actq *q, float scale, float zero, int16_t *dst, float *sx)
{
    float lo, hi;
    if (q->unit == BL_ACT_TOKEN) bl_cpu_act_range(x, g->in, q, &scale, &zero);
    bl_cpu_act_limits(q, &lo, &hi);
    *sx = bl_cpu_has_nan(x, g->in) ? NAN : scale;
    if (isnan(*sx)) { memset(dst, 0, (size_t)bl_igemm_width(g) * sizeof *dst); return; }
    const __m256 s = _mm256_set1_ps(scale), z = _mm256_set1_ps(zero), least = _mm256_set1_ps(lo), most = _mm256_set1_ps(hi);
    for (int64_t k0 = 0; k0 < g->in; k0 += g->group) {
        int64_t n = BL_MIN(g->group, g->in - k0);
        for (int64_t k = 0; k < (n + 15) / 16 * 16; k += 8) {
            if (k + 8 > n) {
                for (int64_t i = k; i < k + 8; i++) *dst++ = i < n ? (int16_t)(bl_cpu_act_code(x[k0 + i], scale, zero, lo, hi) - zero) : 0;
                continue;
            }
            __m256 c = _mm256_round_ps(_mm256_div_ps(_mm256_loadu_ps(x + k0 + k), s), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
            c = _mm256_min_ps(_mm256_max_ps(_mm256_add_ps(c, z), least), most);
            __m256i v = _mm256_cvtps_epi32(_mm256_sub_ps(c, z));
            _mm_storeu_si128((__m128i *)(void *)dst, _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)));
            dst += 8;
        }
    }
}

/* Codes less zeros of one row into its place of the panel, and its scales. */
BL_INLINE void unpack_row(int bits, const bl_source *s, int64_t row, int16_t *dst, float *scale)
{
    const kind kd = (kind)(INT1 + bits - 1);
    const uint8_t *p = row_of(kd, s, row);
    float scales[8] = { 0 }, zeros[8] = { 0 };
    for (int64_t k = 0, i = 0; k < s->geom.in; k += s->geom.group, i++) {
        int64_t n = BL_MIN(s->geom.group, s->geom.in - k);
        const uint8_t *b = segment_of(kd, s, p, i);
        if (i % 8 == 0) groups8(kd, s, row, i, scales, zeros);
        const __m256i zero = _mm256_set1_epi32((int)zeros[i % 8]);
        scale[4 * i] = scales[i % 8];
        for (int64_t at = 0; at < n; at += 16, dst += 64) {
            __m128i v[2];
            for (int t = 0; t < 2; t++) {
                int64_t left = n - at - 8 * t;
                __m256i q = left > 0 ? codes8(bits, b, at / 8 + t, true) : zero;
                q = bits == 1 ? _mm256_sub_epi32(_mm256_add_epi32(q, q), _mm256_set1_epi32(1)) : _mm256_sub_epi32(q, zero);
                if (left < 8) q = _mm256_and_si256(q, bl_first(left));
                v[t] = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
            }
            _mm_store_si128((__m128i *)(void *)dst, v[0]);
            _mm_store_si128((__m128i *)(void *)(dst + 8), v[1]);
        }
    }
}

static void unpack_outputs(const bl_source *s, int64_t row, int64_t n, int16_t *panel, float *scale)
{
    for (int64_t j = 0; j < 4; j++) {
        int64_t o = row + BL_MIN(j, n - 1);
        switch (s->format->bits) {
#define BITS(b) case b: unpack_row(b, s, o, panel + 16 * j, scale + j); break;
        BITS(1) BITS(2) BITS(3) BITS(4) BITS(5) BITS(6) BITS(7)
        default: unpack_row(8, s, o, panel + 16 * j, scale + j);
#undef BITS
        }
    }
}

BL_INLINE void run_tile(int rows, const bl_igemm *g, int64_t r, const int16_t *panel, const float *scale, int64_t row, int64_t n)
{
    const bl_geom *geom = &g->w->geom;
    const int16_t *x = g->x + r * g->ldx;
    __m256 acc[3][4];
    for (int i = 0; i < rows; i++) for (int j = 0; j < 4; j++) acc[i][j] = _mm256_setzero_ps();
    for (int64_t k = 0; k < geom->in; k += geom->group, scale += 4) {
        int64_t steps = (BL_MIN(geom->group, geom->in - k) + 15) / 16;
        __m256i sum[3][4];
        #pragma GCC unroll 3
        for (int i = 0; i < rows; i++)
            #pragma GCC unroll 4
            for (int j = 0; j < 4; j++) sum[i][j] = _mm256_setzero_si256();
        for (int64_t t = 0; t < steps; t++, x += 16, panel += 64) {
            __m256i v[3];
            #pragma GCC unroll 3
            for (int i = 0; i < rows; i++) v[i] = _mm256_loadu_si256((const __m256i *)(const void *)(x + i * g->ldx));
            #pragma GCC unroll 4
            for (int j = 0; j < 4; j++) {
                __m256i w = _mm256_load_si256((const __m256i *)(const void *)(panel + 16 * j));
                #pragma GCC unroll 3
                for (int i = 0; i < rows; i++) sum[i][j] = _mm256_add_epi32(sum[i][j], _mm256_madd_epi16(v[i], w));
            }
        }
        #pragma GCC unroll 3
        for (int i = 0; i < rows; i++)
            #pragma GCC unroll 4
            for (int j = 0; j < 4; j++) acc[i][j] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[i][j]), _mm256_broadcast_ss(scale + j), acc[i][j]);
    }
    for (int i = 0; i < rows; i++) {
        float *y = g->y + (r + i) * g->ldy + row;
        const __m128i mask = _mm_cmpgt_epi32(_mm_set1_epi32((int)n), _mm_setr_epi32(0, 1, 2, 3));
        __m128 v = _mm_mul_ps(bl_sum4(acc[i][0], acc[i][1], acc[i][2], acc[i][3]), _mm_set1_ps(g->sx[r + i]));
        if (g->put != BL_PUT) v = _mm_add_ps(_mm_maskload_ps(y, mask), v);
        _mm_maskstore_ps(y, mask, v);
    }
}
static void tile3(const bl_igemm *g, int64_t r, const int16_t *p, const float *s, int64_t row, int64_t n) { run_tile(3, g, r, p, s, row, n); }
static void tile2(const bl_igemm *g, int64_t r, const int16_t *p, const float *s, int64_t row, int64_t n) { run_tile(2, g, r, p, s, row, n); }
static void tile1(const bl_igemm *g, int64_t r, const int16_t *p, const float *s, int64_t row, int64_t n) { run_tile(1, g, r, p, s, row, n); }

void bl_igemm_task(const bl_igemm *g, int64_t task, void *scratch)
{
    int64_t row = 4 * task, n = BL_MIN(g->w->geom.out - row, 4);
    int16_t *panel = scratch;                           /* [ldx / 16][4][16], then scales [groups][4] */
    float *scale = (float *)(panel + 4 * g->ldx);
    unpack_outputs(g->w, row, n, panel, scale);
    for (int64_t r = 0, m; r < g->rows; r += m) {
        m = g->rows - r == 4 ? 2 : BL_MIN(g->rows - r, 3);
        (m == 3 ? tile3 : m == 2 ? tile2 : tile1)(g, r, panel, scale, row, n);
    }
}
