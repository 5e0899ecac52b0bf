/* avx2_igemm.h - tiles of four rows by eight outputs of products in integers. For avx2_igemm.c and avxvnni_igemm.c,
 * whose instructions differ in dot32 only. */
#ifndef BL_KERNELS_CPU_AVX2_IGEMM_H
#define BL_KERNELS_CPU_AVX2_IGEMM_H
#include "avx2_codes.h"
#include "lanes.h"

enum { TILE_ROWS = 4, TILE_OUT = 8 };

BL_INLINE void tile(int bits, int rows, const bl_igemm *g, const bl_ipanel *p, int64_t r, int64_t row, int64_t n)
{
    const bl_shape *shape = &g->w->shape;
    const bl_icodes *c = g->c;
    const int64_t per = shape->group < shape->in ? shape->group / c->seg : 0; /* segments of a group; 0: all */
    const int8_t *x = c->x + r * c->ldx;
    const uint8_t *w = p->codes;
    __m256 acc[TILE_ROWS];
    for (int i = 0; i < rows; i++) acc[i] = _mm256_setzero_ps();
    for (int64_t s = 0; s < c->segs; s++) {
        const int64_t group = per ? s / per : 0, left = BL_MIN(c->seg, shape->in - s * c->seg);
        const int64_t steps = bl_icodes_wide(c, left) / 4;
        __m256i sum[TILE_ROWS];
        for (int i = 0; i < rows; i++) sum[i] = _mm256_setzero_si256();
#pragma GCC unroll 4
        for (int64_t t = 0; t < steps; t++, x += 4, w += 4 * TILE_OUT) {
            const __m256i q = _mm256_loadu_si256((const __m256i *)(const void *)w);
#pragma GCC unroll 4
            for (int i = 0; i < rows; i++) {
                int32_t four;
                memcpy(&four, x + i * c->ldx, sizeof four);
                dot32(bits, &sum[i], q, _mm256_set1_epi32(four));
            }
        }
        const __m256i zero = _mm256_loadu_si256((const __m256i *)(const void *)(p->zero + group * p->zero_step));
        const __m256 scale = _mm256_loadu_ps(p->scale + group * TILE_OUT);
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            int64_t at = (r + i) * c->segs + s;
            if (c->shifted)
                sum[i] = _mm256_add_epi32(
                    sum[i],
                    _mm256_mullo_epi32(_mm256_loadu_si256((const __m256i *)(const void *)(p->sum + s * TILE_OUT)),
                                       _mm256_set1_epi32(c->shift[at])));
            if (bits == 1) sum[i] = _mm256_add_epi32(sum[i], sum[i]);
            sum[i] = _mm256_sub_epi32(sum[i], _mm256_mullo_epi32(zero, _mm256_set1_epi32(c->sum[at])));
            acc[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[i]),
                                     c->blocked ? _mm256_mul_ps(scale, _mm256_set1_ps(c->scale[at])) : scale, acc[i]);
        }
        if (p->least) {
            const __m256 least = _mm256_loadu_ps(p->least + group * TILE_OUT);
            for (int i = 0; i < rows; i++) {
                int64_t at = (r + i) * c->segs + s;
                acc[i] = _mm256_fnmadd_ps(_mm256_set1_ps((float)c->sum[at]),
                                          c->blocked ? _mm256_mul_ps(least, _mm256_set1_ps(c->scale[at])) : least,
                                          acc[i]);
            }
        }
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
    if (g->w->format->bits == 1) tiles(1, g, &p, &t);
    else if (g->w->format->bits == 8) tiles(8, g, &p, &t);
    else tiles(7, g, &p, &t);
}

static void plan(bl_igemm *g)
{
    bl_igemm_plan(g, TILE_OUT);
    g->task = run_task;
}
#endif
