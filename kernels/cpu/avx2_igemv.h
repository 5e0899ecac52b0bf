/* avx2_igemv.h - one row of x times eight outputs in integers, weights unpacked in registers. For avx2_igemv.c and
 * avx512_igemv.c, whose instructions differ in dot32 only. */
#ifndef BL_KERNELS_CPU_AVX2_IGEMV_H
#define BL_KERNELS_CPU_AVX2_IGEMV_H
#include "avx2_codes.h"

/* Outputs row .. row+n of row r of x. */
BL_INLINE void igemv_as(int bits, bool shifted, const bl_igemm *g, int64_t r, int64_t row, int64_t n)
{
    const bl_source *s = g->w;
    const bl_icodes *c = g->c;
    const int8_t *x = c->x + r * c->ldx;
    const int64_t per = s->shape.group < s->shape.in ? s->shape.group / c->seg : 0; /* segments of a group; 0: all */
    const int64_t ahead = 8 * s->code_bytes;
    const uint8_t *p[8];
    int64_t o[8], known = -1, left = s->shape.in;
    float scale[8][8];
    int32_t zero[8][8];
    __m256 acc = _mm256_setzero_ps();
    for (int j = 0; j < 8; j++) {
        o[j] = row + BL_MIN(j, n - 1); /* past the last output the last one again */
        p[j] = (const uint8_t *)s->part[0] + o[j] * s->code_bytes;
    }
    for (int64_t i = 0; i < c->segs; i++, left -= c->seg) {
        const int64_t group = per ? i / per : 0, at = i * c->seg / 8 * bits;
        const int64_t steps = (BL_MIN(left, c->seg) + BL_ICODES - 1) / BL_ICODES;
        __m256i v[8], w[8];
        if (known != group / 8) groups8x8(bits, s, o, (known = group / 8) * 8, scale, zero);
        for (int j = 0; j < 8; j++) v[j] = w[j] = _mm256_setzero_si256();
        for (int64_t t = 0; t < steps; t++, x += BL_ICODES) {
            const __m256i xv = _mm256_loadu_si256((const __m256i *)(const void *)x);
            const __m256i ones = shifted ? first32(BL_MIN(left, c->seg) - t * BL_ICODES) : _mm256_setzero_si256();
            if ((at + t * 4 * bits) % 64 < 4 * bits)
                for (int j = 0; j < 8; j++) _mm_prefetch((const char *)p[j] + ahead + at + t * 4 * bits, _MM_HINT_T0);
#pragma GCC unroll 8
            for (int j = 0; j < 8; j++) {
                const __m256i q = codes32(bits, p[j] + at + t * 4 * bits);
                dot32(bits, &v[j], q, xv);
                if (shifted) dot32(bits, &w[j], q, ones);
            }
        }
        __m256i sum = sums8(v);
        if (shifted)
            sum = _mm256_add_epi32(sum, _mm256_mullo_epi32(sums8(w), _mm256_set1_epi32(c->shift[r * c->segs + i])));
        if (bits == 1) sum = _mm256_add_epi32(sum, sum);
        sum = _mm256_sub_epi32(sum,
                               _mm256_mullo_epi32(_mm256_loadu_si256((const __m256i *)(const void *)zero[group % 8]),
                                                  _mm256_set1_epi32(c->sum[r * c->segs + i])));
        __m256 by = _mm256_loadu_ps(scale[group % 8]);
        if (c->blocked) by = _mm256_mul_ps(by, _mm256_set1_ps(c->scale[r * c->segs + i]));
        acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), by, acc);
    }
    put8(g, r, row, n, acc);
}

#define BITS(b)                                                                                                        \
    static void igemv_##b(const bl_igemm *g, int64_t r, int64_t row, int64_t n) { igemv_as(b, false, g, r, row, n); }  \
    static void shifted_##b(const bl_igemm *g, int64_t r, int64_t row, int64_t n) { igemv_as(b, true, g, r, row, n); }
BITS(1)
BITS(2)
BITS(3)
BITS(4)
BITS(5)
BITS(6)
BITS(7)
BITS(8)
#undef BITS

static void run_task(const bl_igemm *g, int64_t task, void *scratch)
{
#define ROW(b)                                                                                                         \
    {                                                                                                                  \
        igemv_##b, shifted_##b                                                                                         \
    }
    static void (*const by_bits[][2])(const bl_igemm *g, int64_t r, int64_t row,
                                      int64_t n) = {ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7), ROW(8)};
#undef ROW
    int64_t o0 = task * g->chunk, outs = BL_MIN(g->chunk, g->w->shape.out - o0);
    (void)scratch;
    for (int64_t o = 0; o < outs; o += 8)
        for (int64_t r = 0; r < g->rows; r++)
            by_bits[g->w->format->bits - 1][g->c->shifted](g, r, o0 + o, BL_MIN(outs - o, 8));
}

static void plan(bl_igemm *g)
{
    g->chunk = g->w->shape.out >= 4096 ? 64 : 16;
    g->chunks = (g->w->shape.out + g->chunk - 1) / g->chunk;
    g->task = run_task;
}

BL_INLINE bool igemv_fits(const bl_backend *be, bl_isa isa, const bl_linear_args *a, const bl_weight *w)
{
    return a->x.dim[0] <= 2 && !w->layout && w->format->kind == BL_FMT_INT && bl_product_fits(be, isa, a, w, true);
}

/* The family with these instructions. */
#define BL_IGEMV(name, isa, product)                                                                                   \
    static bool applicable(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)                          \
    {                                                                                                                  \
        return igemv_fits(be, isa, a, w);                                                                              \
    }                                                                                                                  \
    const bl_kernel_family bl_family_igemv_##name = {                                                                  \
        .op = "linear",                                                                                                \
        .backend = "cpu",                                                                                              \
        .doc = "one or two rows of activations quantized to integers, exact sums of every group",                      \
        .bitwise = true,                                                                                               \
        .nmse_limit = 1e-11,                                                                                           \
        .decode_ns = 0.02,                                                                                             \
        .product_ns = product,                                                                                         \
        .applicable = applicable,                                                                                      \
        .run = bl_product_run,                                                                                         \
        .own = &(const bl_cpu_product){.source = bl_source_of, .plan_integer = plan},                                  \
    };
#endif
