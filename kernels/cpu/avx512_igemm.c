/* avx512_igemm.c - products in integers of many rows where the CPU has dot products of bytes: tiles of eight rows by
 * sixteen outputs, panels as in avx2_igemm.c. */
#include "avx2.h"
#include "avx512_math.h"
#include "lanes.h"

enum { TILE_ROWS = 8, TILE_OUT = 16 };

/* vpdpbusd of codes w and four numbers of x in every lane. Around the intrinsic gcc 12 copies the sums from register to
 * register, which costs half the speed. */
BL_INLINE void dot(__m512i *sum, __m512i w, const int8_t *x)
{
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(*sum) : "v"(w), "m"(*(const int32_t *)(const void *)x));
}

BL_INLINE void tile(bool sign, int rows, const bl_igemm *g, const bl_ipanel *p, int64_t r, int64_t row, int64_t n)
{
    const bl_shape *shape = &g->w->shape;
    const bl_icodes *c = g->c;
    const int64_t per = shape->group < shape->in ? shape->group / c->seg : 0; /* segments of a group; 0: all */
    const int8_t *x = c->x + r * c->ldx;
    const uint8_t *w = p->codes;
    __m512 acc[TILE_ROWS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) acc[i] = _mm512_setzero_ps();
    for (int64_t s = 0; s < c->segs; s++) {
        const int64_t group = per ? s / per : 0, left = BL_MIN(c->seg, shape->in - s * c->seg);
        __m512i sum[TILE_ROWS];
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) sum[i] = _mm512_setzero_si512();
        for (int64_t k = 0, wide = bl_icodes_wide(c, left); k < wide; k += 16)
#pragma GCC unroll 4
            for (int t = 0; t < 4; t++, x += 4, w += 4 * TILE_OUT) {
                const __m512i q = _mm512_loadu_si512(w);
#pragma GCC unroll 8
                for (int i = 0; i < rows; i++) dot(&sum[i], q, x + i * c->ldx);
            }
        const __m512i zero = _mm512_loadu_si512(p->zero + group * p->zero_step);
        const __m512 scale = _mm512_loadu_ps(p->scale + group * TILE_OUT);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            int64_t at = (r + i) * c->segs + s;
            if (c->shifted)
                sum[i] = _mm512_add_epi32(sum[i], _mm512_mullo_epi32(_mm512_loadu_si512(p->sum + s * TILE_OUT),
                                                                     _mm512_set1_epi32(c->shift[at])));
            if (sign) sum[i] = _mm512_add_epi32(sum[i], sum[i]);
            sum[i] = _mm512_sub_epi32(sum[i], _mm512_mullo_epi32(zero, _mm512_set1_epi32(c->sum[at])));
            acc[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[i]),
                                     c->blocked ? _mm512_mul_ps(scale, _mm512_set1_ps(c->scale[at])) : scale, acc[i]);
        }
        if (p->least) {
            const __m512 least = _mm512_loadu_ps(p->least + group * TILE_OUT);
#pragma GCC unroll 8
            for (int i = 0; i < rows; i++) {
                int64_t at = (r + i) * c->segs + s;
                acc[i] = _mm512_fnmadd_ps(_mm512_set1_ps((float)c->sum[at]),
                                          c->blocked ? _mm512_mul_ps(least, _mm512_set1_ps(c->scale[at])) : least,
                                          acc[i]);
            }
        }
    }
    const __mmask16 mask = (__mmask16)((1u << n) - 1);
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
        float *y = g->y + (r + i) * g->ldy + row;
        __m512 v = c->blocked ? acc[i] : _mm512_mul_ps(acc[i], _mm512_set1_ps(c->scale[r + i]));
        if (g->bias) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, g->bias + row));
        if (g->put != BL_PUT) v = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, y), v);
        _mm512_mask_storeu_ps(y, mask, v);
    }
}

BL_INLINE void tiles(bool sign, const bl_igemm *g, const bl_ipanel *p, const bl_igemm_part *t)
{
    int64_t r = t->first;
    for (; r + 8 <= t->after; r += 8) tile(sign, 8, g, p, r, t->row, t->n);
    for (; r + 4 <= t->after; r += 4) tile(sign, 4, g, p, r, t->row, t->n);
    for (; r + 2 <= t->after; r += 2) tile(sign, 2, g, p, r, t->row, t->n);
    if (r < t->after) tile(sign, 1, g, p, r, t->row, t->n);
}

static void run_task(const bl_igemm *g, int64_t task, void *scratch)
{
    const bl_ipanel p = bl_ipanel_at(g->c, g->w, TILE_OUT, scratch);
    const bl_igemm_part t = bl_igemm_part_of(g, task);
    bl_ipanel_fill(&p, g, TILE_OUT, t.row, t.n);
    if (g->w->format->bits == 1) tiles(true, g, &p, &t);
    else tiles(false, g, &p, &t);
}

static void plan(bl_igemm *g)
{
    bl_igemm_plan(g, TILE_OUT);
    g->task = run_task;
}

BL_IGEMM(avx512, BL_ISA_AVX512, 0.12, 0.01)
