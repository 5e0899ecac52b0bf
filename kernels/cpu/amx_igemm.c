/* amx_igemm.c - products in integers of many rows where the CPU has matrices of bytes (AMX): 32 rows of x by sixteen
 * outputs, panels as in avx2_igemm.c, which are laid out as a matrix of the right side is.
 *
 * A segment is summed in two registers of 16 x 16 numbers, 64 inputs an instruction, 32 or 16 where the segment ends
 * with a part of it; then its numbers go through memory into the sums in floats, in the order of every other kernel.
 */
#include "avx2.h"
#include "avx512_math.h"
#include "lanes.h"

enum { SIDE = 16, ROWS = 2 * SIDE, TILE_OUT = 16 };
/* Registers: sums, then x and codes for 64 inputs, then for what is left of a segment. The instructions take them as
 * literals. */
#define SUM0    0
#define SUM1    1
#define X0      2
#define X1      3
#define W       4
#define X0_REST 5
#define X1_REST 6
#define W_REST  7

/* What the instructions look at: rows and bytes of a row of every register. */
typedef struct shapes {
    uint8_t palette, start, none[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} shapes;
/* Registers for n rows of x, 1 .. ROWS, and segments that end with `rest` of 64 inputs. */
static void use_shapes(int64_t n, int64_t rest)
{
    _Alignas(64) shapes s = {.palette = 1};
    const uint8_t first = (uint8_t)BL_MIN(n, SIDE), second = (uint8_t)(n > SIDE ? n - SIDE : first);
    const uint8_t rows[] = {first, second, first, second, 16, first, second, (uint8_t)(rest / 4)};
    const uint8_t bytes[] = {64, 64, 64, 64, 64, (uint8_t)rest, (uint8_t)rest, 64};
    for (int i = 0; i < 8; i++) {
        s.rows[i] = rows[i];
        s.bytes[i] = bytes[i];
    }
    __asm__ volatile("" ::"r"(&s) : "memory"); /* gcc 12 believes that eight bytes are read */
    _tile_loadconfig(&s);
}

/* The sums of a segment of `steps` quads of inputs, up to 32 rows; two: more than 16. */
BL_INLINE void segment(bool two, const int8_t *x, int64_t ldx, const uint8_t *w, int64_t inputs, int32_t *sum)
{
    _tile_zero(SUM0);
    if (two) _tile_zero(SUM1);
    for (; inputs >= 64; inputs -= 64, x += 64, w += 64 * TILE_OUT) {
        _tile_loadd(W, w, 4 * TILE_OUT);
        _tile_loadd(X0, x, ldx);
        _tile_dpbsud(SUM0, X0, W);
        if (two) {
            _tile_loadd(X1, x + SIDE * ldx, ldx);
            _tile_dpbsud(SUM1, X1, W);
        }
    }
    if (inputs) {
        _tile_loadd(W_REST, w, 4 * TILE_OUT);
        _tile_loadd(X0_REST, x, ldx);
        _tile_dpbsud(SUM0, X0_REST, W_REST);
        if (two) {
            _tile_loadd(X1_REST, x + SIDE * ldx, ldx);
            _tile_dpbsud(SUM1, X1_REST, W_REST);
        }
    }
    _tile_stored(SUM0, sum, 4 * TILE_OUT);
    if (two) _tile_stored(SUM1, sum + SIDE * TILE_OUT, 4 * TILE_OUT);
}

/* Rows r .. r+n of x. */
BL_INLINE void tile(bool sign, bool shifted, bool blocked, const bl_igemm *g, const bl_ipanel *p, int64_t r, int64_t n,
                    int64_t row, int64_t outs)
{
    const bl_shape *shape = &g->w->shape;
    const bl_icodes *c = g->c;
    const int64_t per = shape->group < shape->in ? shape->group / c->seg : 0; /* segments of a group; 0: all */
    const int8_t *x = c->x + r * c->ldx;
    const uint8_t *w = p->codes;
    _Alignas(64) int32_t sum[ROWS * TILE_OUT];
    __m512 acc[ROWS];
    for (int64_t i = 0; i < n; i++) acc[i] = _mm512_setzero_ps();
    for (int64_t s = 0; s < c->segs; s++) {
        const int64_t group = per ? s / per : 0, left = BL_MIN(c->seg, shape->in - s * c->seg),
                      wide = bl_icodes_wide(c, left);
        const __m512i zero = _mm512_loadu_si512(p->zero + group * p->zero_step),
                      all = shifted ? _mm512_loadu_si512(p->sum + s * TILE_OUT) : _mm512_setzero_si512();
        const __m512 scale = _mm512_loadu_ps(p->scale + group * TILE_OUT);
        const int32_t *of_x = c->sum + r * c->segs + s, *shift = c->shift + r * c->segs + s;
        const float *by = c->scale + r * c->segs + s;
        if (n > SIDE) segment(true, x, c->ldx, w, wide, sum);
        else segment(false, x, c->ldx, w, wide, sum);
        x += wide;
        w += wide * TILE_OUT;
        for (int64_t i = 0; i < n; i++) {
            __m512i v = _mm512_load_si512(sum + i * TILE_OUT);
            if (shifted) v = _mm512_add_epi32(v, _mm512_mullo_epi32(all, _mm512_set1_epi32(shift[i * c->segs])));
            if (sign) v = _mm512_add_epi32(v, v);
            v = _mm512_sub_epi32(v, _mm512_mullo_epi32(zero, _mm512_set1_epi32(of_x[i * c->segs])));
            acc[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(v),
                                     blocked ? _mm512_mul_ps(scale, _mm512_set1_ps(by[i * c->segs])) : scale, acc[i]);
        }
        if (p->least) {
            const __m512 least = _mm512_loadu_ps(p->least + group * TILE_OUT);
            for (int64_t i = 0; i < n; i++)
                acc[i] = _mm512_fnmadd_ps(_mm512_set1_ps((float)of_x[i * c->segs]),
                                          blocked ? _mm512_mul_ps(least, _mm512_set1_ps(by[i * c->segs])) : least,
                                          acc[i]);
        }
    }
    const __mmask16 mask = (__mmask16)((1u << outs) - 1);
    for (int64_t i = 0; i < n; i++) {
        float *y = g->y + (r + i) * g->ldy + row;
        __m512 v = blocked ? acc[i] : _mm512_mul_ps(acc[i], _mm512_set1_ps(c->scale[r + i]));
        if (g->bias) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, g->bias + row));
        if (g->put != BL_PUT) v = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, y), v);
        _mm512_mask_storeu_ps(y, mask, v);
    }
}

typedef void tiles(const bl_igemm *g, const bl_ipanel *p, int64_t r, int64_t n, int64_t row, int64_t outs);
#define TILES(name, sign, shifted, blocked)                                                                            \
    static void name(const bl_igemm *g, const bl_ipanel *p, int64_t r, int64_t n, int64_t row, int64_t outs)           \
    {                                                                                                                  \
        tile(sign, shifted, blocked, g, p, r, n, row, outs);                                                           \
    }
TILES(plain, false, false, false)
TILES(plain_blocked, false, false, true)
TILES(shifted, false, true, false)
TILES(shifted_blocked, false, true, true)
TILES(signs, true, false, false)
TILES(signs_blocked, true, false, true)
TILES(signs_shifted, true, true, false)
TILES(signs_shifted_blocked, true, true, true)
#undef TILES

static void run_task(const bl_igemm *g, int64_t task, void *scratch)
{
    static tiles *const ways[2][2][2] = {{{plain, plain_blocked}, {shifted, shifted_blocked}},
                                         {{signs, signs_blocked}, {signs_shifted, signs_shifted_blocked}}};
    tiles *const way = ways[g->w->format->bits == 1][g->c->shifted][g->c->blocked];
    const bl_ipanel p = bl_ipanel_at(g->c, g->w, TILE_OUT, scratch);
    const bl_igemm_part t = bl_igemm_part_of(g, task);
    const int64_t whole = t.first + (t.after - t.first) / ROWS * ROWS,
                  rest = g->c->pad; /* of 32 there is at most one part, and of 16 the segment */
    bl_ipanel_fill(&p, g, TILE_OUT, t.row, t.n);
    if (whole > t.first) use_shapes(ROWS, rest);
    for (int64_t r = t.first; r < whole; r += ROWS) way(g, &p, r, ROWS, t.row, t.n);
    if (whole < t.after) {
        use_shapes(t.after - whole, rest);
        way(g, &p, whole, t.after - whole, t.row, t.n);
    }
    _tile_release();
}

static void plan(bl_igemm *g)
{
    bl_igemm_plan(g, TILE_OUT);
    g->task = run_task;
}

BL_IGEMM(amx, BL_ISA_AMX, 0.16, 0.005)
