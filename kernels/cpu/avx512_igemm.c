/* avx512_igemm.c - products in integers where the CPU has AVX-512 and its dot products: tiles of 3 rows by 8 outputs.
 *
 * panel  i16 [ldx / 16][8][16]           the weights of eight outputs, groups padded as in avx2_igemm.c
 * scale  f32 [groups][8][8]              each scale in the 8 lanes of its output
 *
 * vpdpwssd multiplies 16-bit numbers and adds neighbours to a lane of 32 bits: in each half of a vector the lanes of
 * avx2_igemm.c.
 */
#include "avx2.h"
#if defined(__x86_64__)
#include "avx512_math.h"

enum { TILE_ROWS = 3, TILE_OUT = 8 };

/* vpdpwssd. Around the intrinsic gcc 12 copies the sums from register to register, which costs half the speed. */
BL_INLINE void dot(__m512i *sum, __m512i x, __m512i w) { __asm__("vpdpwssd %2, %1, %0" : "+v"(*sum) : "v"(x), "v"(w)); }

BL_INLINE void run_tile(int rows, const bl_igemm *g, int64_t r, const int16_t *panel, const float *scale, int64_t row,
                        int64_t n)
{
    const bl_shape *shape = &g->w->shape;
    const int16_t *x = g->x + r * g->ldx;
    const __mmask8 mask = (__mmask8)((1u << n) - 1);
    __m512 acc[TILE_ROWS][4];
#pragma GCC unroll 3
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) acc[i][j] = _mm512_setzero_ps();
    for (int64_t k = 0; k < shape->in; k += shape->group, scale += 64) {
        int64_t steps = (BL_MIN(shape->group, shape->in - k) + 15) / 16;
        __m512i s[TILE_ROWS][4];
#pragma GCC unroll 3
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) s[i][j] = _mm512_setzero_si512();
        for (int64_t t = 0; t < steps; t++, x += 16, panel += 128) {
            const __m512i w0 = _mm512_loadu_si512(panel), w1 = _mm512_loadu_si512(panel + 32),
                          w2 = _mm512_loadu_si512(panel + 64), w3 = _mm512_loadu_si512(panel + 96);
#pragma GCC unroll 3
            for (int i = 0; i < rows; i++) {
                const __m512i v = _mm512_broadcast_i64x4(
                    _mm256_loadu_si256((const __m256i *)(const void *)(x + i * g->ldx)));
                dot(&s[i][0], v, w0);
                dot(&s[i][1], v, w1);
                dot(&s[i][2], v, w2);
                dot(&s[i][3], v, w3);
            }
        }
#pragma GCC unroll 3
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++)
                acc[i][j] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(s[i][j]), _mm512_loadu_ps(scale + 16 * j), acc[i][j]);
    }
#pragma GCC unroll 3
    for (int i = 0; i < rows; i++) {
        float *y = g->y + (r + i) * g->ldy + row;
        __m256 v = _mm256_mul_ps(bl_sum8(acc[i][0], acc[i][1], acc[i][2], acc[i][3]), _mm256_set1_ps(g->sx[r + i]));
        if (g->bias) v = _mm256_add_ps(v, _mm256_maskz_loadu_ps(mask, g->bias + row));
        if (g->put != BL_PUT) v = _mm256_add_ps(_mm256_maskz_loadu_ps(mask, y), v);
        _mm256_mask_storeu_ps(y, mask, v);
    }
}
static void tile3(const bl_igemm *g, int64_t r, const int16_t *p, const float *s, int64_t row, int64_t n)
{
    run_tile(3, g, r, p, s, row, n);
}
static void tile2(const bl_igemm *g, int64_t r, const int16_t *p, const float *s, int64_t row, int64_t n)
{
    run_tile(2, g, r, p, s, row, n);
}
static void tile1(const bl_igemm *g, int64_t r, const int16_t *p, const float *s, int64_t row, int64_t n)
{
    run_tile(1, g, r, p, s, row, n);
}

static void run_task(const bl_igemm *g, int64_t task, void *scratch)
{
    int64_t o0 = TILE_OUT * task, outs = BL_MIN(g->w->shape.out - o0, TILE_OUT);
    int16_t *panel = scratch;
    float *wide = (float *)(panel + TILE_OUT * g->ldx),
          *scale = wide + g->w->groups * TILE_OUT * 8; /* scale: as they are unpacked, [groups][8] */
    for (int64_t o = 0; o < TILE_OUT; o++)
        bl_igemm_unpack(g->w, o0 + BL_MIN(o, outs - 1), panel + 16 * o, 16 * TILE_OUT, scale + o, TILE_OUT);
    for (int64_t i = 0; i < g->w->groups * TILE_OUT; i++) _mm256_storeu_ps(wide + 8 * i, _mm256_set1_ps(scale[i]));
    for (int64_t r = 0, m; r < g->rows; r += m) {
        m = g->rows - r == 4 ? 2 : BL_MIN(g->rows - r, TILE_ROWS);
        (m == 3 ? tile3 : m == 2 ? tile2 : tile1)(g, r, panel, wide, o0, outs);
    }
}

static int64_t scratch_of(const bl_shape *g)
{
    return TILE_OUT * (2 * bl_igemm_width(g) + (8 + 1) * 4 * bl_shape_groups(g));
}

static void plan(bl_igemm *g)
{
    g->chunks = (g->w->shape.out + TILE_OUT - 1) / TILE_OUT;
    g->task = run_task;
}

static bool applicable(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    return bl_product_fits(be, BL_ISA_AVX512, a, w, true) && scratch_of(&w->shape) <= BL_CPU_SCRATCH;
}

const bl_kernel_family bl_family_igemm_avx512 = {
    .op = "linear",
    .backend = "cpu",
    .doc = "integer weights times activations quantized to integers, exact sums for every group",
    .bitwise = true,
    .nmse_limit = 1e-11,
    .decode_ns = 0.3,
    .product_ns = 0.015,
    .applicable = applicable,
    .run = bl_product_run,
    .own = &(const bl_cpu_product){.source = bl_source_of, .plan_integer = plan},
};
#endif
