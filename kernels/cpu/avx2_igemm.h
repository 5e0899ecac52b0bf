/* avx2_igemm.h - tiles of four rows by eight outputs of products in integers. For avx2_igemm.c and avxvnni_igemm.c,
 * whose instructions differ in dot32 only. */
#ifndef BL_KERNELS_CPU_AVX2_IGEMM_H
#define BL_KERNELS_CPU_AVX2_IGEMM_H
#include "avx2_codes.h"
#include "lanes.h"

enum { TILE_ROWS = 4, TILE_OUT = 8 };

/* Codes of 8 bits less 128, times x from -127 on, as products of their magnitudes with x of their signs: two of 128 and
 * 127 fit 16 bits. */
enum { SIGNED = -8 };
BL_INLINE void dot32_signed(__m256i *sum, __m256i w, __m256i magnitude, __m256i x)
{
    const __m256i v = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(x, w));
    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(v, _mm256_set1_epi16(1)));
}

/* Sums of products of codes in segment s, with rows r .. r+rows, as numbers: less what zeros add, times scales. A
 * function of its own: what it needs would have no registers beside the products. */
static __attribute__((noinline)) void add_segment(const bl_icodes *c, const bl_ipanel *p, int64_t r, int rows,
                                                  int64_t s, int64_t group, int bits, const __m256i *sum, __m256 *acc)
{
    const int64_t segs = c->segs, first = r * segs + s;
    const int32_t *x_sum = c->sum + first, *shift = c->shifted ? c->shift + first : NULL;
    const float *x_scale = c->blocked ? c->scale + first : NULL, *least = p->least ? p->least + group * TILE_OUT : NULL;
    const __m256i w_sum = shift ? _mm256_loadu_si256((const __m256i *)(const void *)(p->sum + s * TILE_OUT))
                                : _mm256_setzero_si256(),
                  zero = _mm256_sub_epi32(
                      _mm256_loadu_si256((const __m256i *)(const void *)(p->zero + group * p->zero_step)),
                      _mm256_set1_epi32(bits == SIGNED ? 128 : 0));
    const __m256 w_scale = _mm256_loadu_ps(p->scale + group * TILE_OUT);
    for (int64_t i = 0, at = 0; i < rows; i++, at += segs) {
        __m256 scale = w_scale;
        __m256i v = sum[i];
        if (shift) v = _mm256_add_epi32(v, _mm256_mullo_epi32(w_sum, _mm256_set1_epi32(shift[at])));
        if (bits == 1) v = _mm256_add_epi32(v, v);
        v = _mm256_sub_epi32(v, _mm256_mullo_epi32(zero, _mm256_set1_epi32(x_sum[at])));
        if (x_scale) scale = _mm256_mul_ps(scale, _mm256_set1_ps(x_scale[at]));
        acc[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(v), scale, acc[i]);
    }
    for (int64_t i = 0, at = 0; least && i < rows; i++, at += segs) {
        __m256 by = _mm256_loadu_ps(least);
        if (x_scale) by = _mm256_mul_ps(by, _mm256_set1_ps(x_scale[at]));
        acc[i] = _mm256_fnmadd_ps(_mm256_set1_ps((float)x_sum[at]), by, acc[i]);
    }
}

/* Codes of so many bits at most. */
BL_INLINE void tile(int bits, int rows, const bl_igemm *g, const bl_ipanel *p, int64_t r, int64_t row, int64_t n)
{
    const bl_shape *shape = &g->w->shape;
    const bl_icodes *c = g->c;
    const int64_t per = shape->group < shape->in ? shape->group / c->seg : c->segs; /* segments of a group */
    const int64_t last = bl_icodes_wide(c, shape->in - (c->segs - 1) * c->seg) / 4, all = bl_icodes_wide(c, c->seg) / 4;
    const int8_t *x = c->x + r * c->ldx;
    const uint8_t *w = p->codes;
    __m256 acc[TILE_ROWS];
    for (int i = 0; i < rows; i++) acc[i] = _mm256_setzero_ps();
    for (int64_t s = 0, group = 0, after = per; s < c->segs; s++) {
        const int64_t steps = s + 1 < c->segs ? all : last;
        __m256i sum[TILE_ROWS], pairs[TILE_ROWS], sums[TILE_ROWS];
        for (int i = 0; i < rows; i++) sum[i] = pairs[i] = _mm256_setzero_si256();
        for (int64_t t = 0; t < steps; t += 4) /* a segment is filled up */
#pragma GCC unroll 4
            for (int step = 0; step < 4; step++, x += 4, w += 4 * TILE_OUT) {
                __m256i q = _mm256_loadu_si256((const __m256i *)(const void *)w);
                if (bits == SIGNED) q = _mm256_xor_si256(q, _mm256_set1_epi8(-128));
                const __m256i magnitude = _mm256_abs_epi8(q);
#pragma GCC unroll 4
                for (int i = 0; i < rows; i++) {
                    int32_t four;
                    memcpy(&four, x + i * c->ldx, sizeof four);
                    if (bits == SIGNED) dot32_signed(&sum[i], q, magnitude, _mm256_set1_epi32(four));
                    else dot32_of(bits, step, &sum[i], &pairs[i], q, _mm256_set1_epi32(four));
                }
            }
        for (int i = 0; i < rows; i++) sums[i] = sum[i]; /* else they would have no registers either */
        if (s == after) { /* no division, which takes as long as the products of a short segment */
            group++;
            after += per;
        }
        add_segment(c, p, r, rows, s, group, bits, sums, acc);
    }
    for (int i = 0; i < rows; i++) put8(g, r + i, row, n, acc[i]);
}

BL_INLINE void tiles(int bits, const bl_igemm *g, const bl_ipanel *p, const bl_igemm_part *t)
{
    int64_t r = t->first;
    for (; r + 4 <= t->after; r += 4) tile(bits, 4, g, p, r, t->row, t->n);
    if (r + 2 <= t->after) {
        tile(bits, 2, g, p, r, t->row, t->n);
        r += 2;
    }
    if (r < t->after) tile(bits, 1, g, p, r, t->row, t->n);
}

static void run_task(const bl_igemm *g, int64_t task, void *scratch)
{
    const bl_ipanel p = bl_ipanel_at(g->c, g->w, TILE_OUT, scratch);
    const bl_igemm_part t = bl_igemm_part_of(g, task);
    bl_ipanel_fill(&p, g, TILE_OUT, t.row, t.n);
    switch (g->w->format->bits) {
    case 1: tiles(1, g, &p, &t); break;
    case 6: tiles(6, g, &p, &t); break;
    case 7: tiles(7, g, &p, &t); break;
    case 8:
        if (BYTES_AT_ONCE || g->c->shifted) tiles(8, g, &p, &t);
        else tiles(SIGNED, g, &p, &t);
        break;
    default: tiles(5, g, &p, &t);
    }
}

static void plan(bl_igemm *g)
{
    bl_igemm_plan(g, TILE_OUT);
    g->task = run_task;
}
#endif
