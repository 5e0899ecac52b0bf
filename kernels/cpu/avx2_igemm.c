/* avx2_igemm.c - products in integers: codes less zeros as 16-bit numbers, exact sums per group, floats between groups.
 *
 * x      i16 [rows, ldx]            every group padded with zeros to a multiple of 16
 * panel  i16 [ldx / 16][4][16]      the weights of four outputs, likewise
 *
 * vpmaddwd adds neighbours: lane j of a step holds the positions 2j and 2j + 1 of its 16.
 */
#include "avx2.h"
#if defined(__x86_64__)
#include "avx2_decode.h"

int64_t bl_igemm_width(const bl_shape *g)
{
    int64_t whole = g->in / g->group, rest = g->in % g->group;
    return whole * ((g->group + 15) / 16 * 16) + (rest + 15) / 16 * 16;
}

/* bl_cpu_act_range and whether there is a NaN, in one pass. */
static bool range_of(const float *x, int64_t n, const bl_actq *q, float *scale, float *zero)
{
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(INT32_MAX));
    __m256 lo = _mm256_setzero_ps(), hi = lo, top = lo, nan = lo;
    float lane[3][8], ends[3] = {0, 0, 0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_loadu_ps(x + i);
        lo = _mm256_min_ps(v, lo);
        hi = _mm256_max_ps(v, hi);
        top = _mm256_max_ps(_mm256_and_ps(v, magnitude), top);
        nan = _mm256_or_ps(nan, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    }
    _mm256_storeu_ps(lane[0], lo);
    _mm256_storeu_ps(lane[1], hi);
    _mm256_storeu_ps(lane[2], top);
    for (int j = 0; j < 8; j++) {
        ends[0] = fminf(ends[0], lane[0][j]);
        ends[1] = fmaxf(ends[1], lane[1][j]);
        ends[2] = fmaxf(ends[2], lane[2][j]);
    }
    bool has_nan = _mm256_movemask_ps(nan) != 0 || bl_cpu_has_nan(x + i, n - i);
    for (; i < n; i++) {
        ends[0] = fminf(ends[0], x[i]);
        ends[1] = fmaxf(ends[1], x[i]);
        ends[2] = fmaxf(ends[2], fabsf(x[i]));
    }
    if (q->unit != BL_ACT_TOKEN) return has_nan;
    if (isinf(ends[2])) ends[0] = NAN; /* the range of the two ends is that of all */
    bl_cpu_act_range(ends, 2, q, scale, zero);
    return has_nan;
}

void bl_igemm_row(const float *x, const bl_shape *g, const bl_actq *q, float scale, float zero, int16_t *dst, float *sx)
{
    float lo, hi;
    bool nan = range_of(x, g->in, q, &scale, &zero);
    bl_cpu_act_limits(q, &lo, &hi);
    *sx = nan ? NAN : scale;
    if (isnan(*sx)) {
        memset(dst, 0, (size_t)bl_igemm_width(g) * sizeof *dst);
        return;
    }
    const __m256 s = _mm256_set1_ps(scale), z = _mm256_set1_ps(zero), least = _mm256_set1_ps(lo),
                 most = _mm256_set1_ps(hi);
    for (int64_t k0 = 0; k0 < g->in; k0 += g->group) {
        int64_t n = BL_MIN(g->group, g->in - k0);
        for (int64_t k = 0; k < (n + 15) / 16 * 16; k += 8) {
            if (k + 8 > n) {
                for (int64_t i = k; i < k + 8; i++)
                    *dst++ = i < n ? (int16_t)(bl_cpu_act_code(x[k0 + i], scale, zero, lo, hi) - zero) : 0;
                continue;
            }
            __m256 c = _mm256_round_ps(_mm256_div_ps(_mm256_loadu_ps(x + k0 + k), s),
                                       _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
            c = _mm256_min_ps(_mm256_max_ps(_mm256_add_ps(c, z), least), most);
            __m256i v = _mm256_cvtps_epi32(_mm256_sub_ps(c, z));
            _mm_storeu_si128((__m128i *)(void *)dst,
                             _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)));
            dst += 8;
        }
    }
}

BL_INLINE void unpack_row(int bits, const bl_source *s, int64_t row, int16_t *dst, int64_t stride, float *scale,
                          int64_t scale_step)
{
    const kind kd = (kind)(INT1 + bits - 1);
    const uint8_t *p = row_of(kd, s, row);
    float scales[8] = {0}, zeros[8] = {0};
    for (int64_t k = 0, i = 0; k < s->shape.in; k += s->shape.group, i++) {
        int64_t n = BL_MIN(s->shape.group, s->shape.in - k);
        const uint8_t *b = segment_of(kd, s, p, i);
        if (i % 8 == 0) groups8(kd, s, row, i, scales, zeros);
        const __m256i zero = _mm256_set1_epi32((int)zeros[i % 8]);
        scale[scale_step * i] = scales[i % 8];
        for (int64_t at = 0; at < n; at += 16, dst += stride) {
            __m128i v[2];
            for (int t = 0; t < 2; t++) {
                int64_t left = n - at - 8 * t;
                __m256i q = left > 0 ? codes8(bits, b, at / 8 + t, true) : zero;
                q = bits == 1 ? _mm256_sub_epi32(_mm256_add_epi32(q, q), _mm256_set1_epi32(1))
                              : _mm256_sub_epi32(q, zero);
                if (left < 8) q = _mm256_and_si256(q, bl_first(left));
                v[t] = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
            }
            _mm_store_si128((__m128i *)(void *)dst, v[0]);
            _mm_store_si128((__m128i *)(void *)(dst + 8), v[1]);
        }
    }
}

void bl_igemm_unpack(const bl_source *s, int64_t row, int16_t *dst, int64_t step, float *scale, int64_t scale_step)
{
    switch (s->format->bits) {
#define BITS(b)                                                                                                        \
    case b: unpack_row(b, s, row, dst, step, scale, scale_step); break;
        BITS(1)
        BITS(2) BITS(3) BITS(4) BITS(5) BITS(6) BITS(7) default : unpack_row(8, s, row, dst, step, scale, scale_step);
#undef BITS
    }
}

/* One or two rows by two of the four outputs: sums and the floats between groups all stay in registers. */
BL_INLINE void run_pair(int rows, const bl_igemm *g, const int16_t *x, const int16_t *panel, const float *scale,
                        __m256 acc[2][2])
{
    const bl_shape *shape = &g->w->shape;
    const int16_t *x1 = x + (rows > 1 ? g->ldx : 0);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) acc[i][j] = _mm256_setzero_ps();
    for (int64_t k = 0; k < shape->in; k += shape->group, scale += 4) {
        int64_t steps = (BL_MIN(shape->group, shape->in - k) + 15) / 16;
        __m256i s00 = _mm256_setzero_si256(), s01 = s00, s10 = s00, s11 = s00;
#pragma GCC unroll 4
        for (int64_t t = 0; t < steps; t++, x += 16, x1 += 16, panel += 64) {
            const __m256i v0 = _mm256_loadu_si256((const __m256i *)(const void *)x);
            const __m256i w0 = _mm256_load_si256((const __m256i *)(const void *)panel),
                          w1 = _mm256_load_si256((const __m256i *)(const void *)(panel + 16));
            s00 = _mm256_add_epi32(s00, _mm256_madd_epi16(v0, w0));
            s01 = _mm256_add_epi32(s01, _mm256_madd_epi16(v0, w1));
            if (rows < 2) continue;
            const __m256i v1 = _mm256_loadu_si256((const __m256i *)(const void *)x1);
            s10 = _mm256_add_epi32(s10, _mm256_madd_epi16(v1, w0));
            s11 = _mm256_add_epi32(s11, _mm256_madd_epi16(v1, w1));
        }
        const __m256 f0 = _mm256_broadcast_ss(scale), f1 = _mm256_broadcast_ss(scale + 1);
        acc[0][0] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(s00), f0, acc[0][0]);
        acc[0][1] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(s01), f1, acc[0][1]);
        if (rows < 2) continue;
        acc[1][0] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(s10), f0, acc[1][0]);
        acc[1][1] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(s11), f1, acc[1][1]);
    }
}

BL_INLINE void run_tile(int rows, const bl_igemm *g, int64_t r, const int16_t *panel, const float *scale, int64_t row,
                        int64_t n)
{
    const int16_t *x = g->x + r * g->ldx;
    const __m128i mask = _mm_cmpgt_epi32(_mm_set1_epi32((int)n), _mm_setr_epi32(0, 1, 2, 3));
    __m256 a[2][2], b[2][2];
    run_pair(rows, g, x, panel, scale, a);
    run_pair(rows, g, x, panel + 32, scale + 2, b);
    for (int i = 0; i < rows; i++) {
        float *y = g->y + (r + i) * g->ldy + row;
        __m128 v = _mm_mul_ps(bl_sum4(a[i][0], a[i][1], b[i][0], b[i][1]), _mm_set1_ps(g->sx[r + i]));
        if (g->bias) v = _mm_add_ps(v, _mm_maskload_ps(g->bias + row, mask));
        if (g->put != BL_PUT) v = _mm_add_ps(_mm_maskload_ps(y, mask), v);
        _mm_maskstore_ps(y, mask, v);
    }
}
static void tile2(const bl_igemm *g, int64_t r, const int16_t *p, const float *s, int64_t row, int64_t n)
{
    run_tile(2, g, r, p, s, row, n);
}
static void tile1(const bl_igemm *g, int64_t r, const int16_t *p, const float *s, int64_t row, int64_t n)
{
    run_tile(1, g, r, p, s, row, n);
}

/* Tiles of four outputs of a task: as many as leave room for x in the first level cache. */
static int64_t tiles_of(const bl_shape *g) { return BL_MAX(BL_MIN(24 * 1024 / (8 * bl_igemm_width(g)), 4), 1); }

static void run_task(const bl_igemm *g, int64_t task, void *scratch)
{
    int64_t tiles = tiles_of(&g->w->shape), first = 4 * tiles * task, size = 4 * g->ldx;
    int64_t outs = BL_MIN(g->w->shape.out - first, 4 * tiles);
    int16_t *panel = scratch; /* [tiles][ldx / 16][4][16], then scales [tiles][groups][4] */
    float *scale = (float *)(panel + tiles * size);
    for (int64_t o = 0; o < (outs + 3) / 4 * 4; o++) /* past the last output the last one again */
        bl_igemm_unpack(g->w, first + BL_MIN(o, outs - 1), panel + o / 4 * size + o % 4 * 16, 64,
                        scale + o / 4 * 4 * g->w->groups + o % 4, 4);
    for (int64_t r = 0; r < g->rows; r += 2)
        for (int64_t o = 0; o < outs; o += 4)
            (r + 1 < g->rows ? tile2 : tile1)(g, r, panel + o / 4 * size, scale + o * g->w->groups, first + o,
                                              BL_MIN(outs - o, 4));
}

static void plan(bl_igemm *g)
{
    int64_t outs = 4 * tiles_of(&g->w->shape);
    g->chunks = (g->w->shape.out + outs - 1) / outs;
    g->task = run_task;
}

static bool applicable(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    return bl_product_fits(be, BL_ISA_AVX2, a, w, true);
}

const bl_kernel_family bl_family_igemm_avx2 = {
    .op = "linear",
    .backend = "cpu",
    .doc = "integer weights times activations quantized to integers, exact sums for every group",
    .bitwise = true,
    .nmse_limit = 1e-11,
    .decode_ns = 0.35,
    .product_ns = 0.03,
    .applicable = applicable,
    .run = bl_product_run,
    .own = &(const bl_cpu_product){.source = bl_source_of, .plan_integer = plan},
};
#endif
