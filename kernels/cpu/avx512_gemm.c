/* avx512_gemm.c - products of many rows where the CPU has AVX-512: panels of unpacked weights, tiles of 6 rows by 8
 * outputs.
 *
 * A step takes 8 of a row of x into both halves of a vector, so each half runs the 8 chains of its output: the bits are
 * those of avx2_gemm.c and of the reference. A task is a block of rows by a chunk of outputs; with several blocks of k
 * the lanes wait in `kept`.
 */
#include "avx2_math.h"
#include "avx2_panels.h"
#include "avx512_math.h"
#include "avx512_panels.h"
#include "lanes.h"

enum {
    TILE_ROWS = BL_TILE_ROWS,
    TILE_OUT = BL_TILE_OUTS,
    NEAR = 32 * 1024,           /* bytes of panels that stay in the first level cache beside the rows of a tile */
    PANEL = 8 * 1536,           /* weights of a task's panels */
    K_BLOCK = PANEL / TILE_OUT, /* most k of one */
};

typedef struct spot { /* where a tile reads and writes */
    const float *x, *w, *before;
    float *keep; /* NULL: this was the last block of k */
    const float *bias;
    float *y;
    int64_t n, out; /* steps of 8; outputs that exist */
    int last;       /* numbers of a row in a step after those; 0: there is none */
} spot;

BL_INLINE void add_step(int rows, const __m256 x[TILE_ROWS], const float *w, __m512 acc[TILE_ROWS][4])
{
    const __m512 w0 = _mm512_loadu_ps(w), w1 = _mm512_loadu_ps(w + 16), w2 = _mm512_loadu_ps(w + 32),
                 w3 = _mm512_loadu_ps(w + 48);
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        const __m512 v = _mm512_broadcast_f32x8(x[r]);
        acc[r][0] = _mm512_fmadd_ps(v, w0, acc[r][0]);
        acc[r][1] = _mm512_fmadd_ps(v, w1, acc[r][1]);
        acc[r][2] = _mm512_fmadd_ps(v, w2, acc[r][2]);
        acc[r][3] = _mm512_fmadd_ps(v, w3, acc[r][3]);
    }
}

BL_INLINE void run_tile(int rows, const bl_gemv *g, const spot *s)
{
    const float *x = s->x, *w = s->w;
    int64_t ld = g->ldx;
    __m512 acc[TILE_ROWS][4];
    __m256 v[TILE_ROWS];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            acc[r][j] = s->before ? _mm512_loadu_ps(s->before + (r * 4 + j) * 16) : _mm512_setzero_ps();
    for (int64_t i = 0; i < s->n; i++, x += 8, w += 64) {
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) v[r] = _mm256_loadu_ps(x + r * ld);
        add_step(rows, v, w, acc);
    }
    if (s->last) {
        const __mmask8 in = (__mmask8)((1u << s->last) - 1);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) v[r] = _mm256_maskz_loadu_ps(in, x + r * ld);
        add_step(rows, v, w, acc);
    }
    if (s->keep) {
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) _mm512_storeu_ps(s->keep + (r * 4 + j) * 16, acc[r][j]);
        return;
    }
    const __mmask8 mask = (__mmask8)((1u << s->out) - 1);
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        float *y = s->y + r * g->ldy;
        __m256 sum = bl_sum8(acc[r][0], acc[r][1], acc[r][2], acc[r][3]);
        if (g->put == BL_PUT_ADD_SCALED) sum = _mm256_mul_ps(_mm256_set1_ps(g->scale), sum);
        if (s->bias) sum = _mm256_add_ps(sum, _mm256_maskz_loadu_ps(mask, s->bias));
        if (g->put != BL_PUT) sum = _mm256_add_ps(_mm256_maskz_loadu_ps(mask, y), sum);
        if (s->out == TILE_OUT) _mm256_storeu_ps(y, sum);
        else _mm256_mask_storeu_ps(y, mask, sum);
    }
}

#define TILE(n)                                                                                                        \
    static void tile##n(const bl_gemv *g, const spot *s) { run_tile(n, g, s); }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6) static void (*const tile[])(const bl_gemv *, const spot *) = {NULL, tile1, tile2, tile3, tile4, tile5, tile6};

/* Rows of the next tile: sixes, and even tiles at the end. */
static int64_t tile_rows(int64_t left)
{
    return left >= 2 * TILE_ROWS || left <= TILE_ROWS ? BL_MIN(left, TILE_ROWS) : (left + 1) / 2;
}

/* Tiles of outputs first .. last - 1, all rows. */
static void some_tiles(const bl_panel_rows *p, int64_t first, int64_t last, const char **ahead)
{
    const bl_gemv *v = p->v;
    const int64_t steps = (p->n + 7) / 8, tiles = (p->outs + 7) / 8, end = (int64_t)p->ahead_bytes,
                  each = end * TILE_ROWS / p->rows + 64;
    for (int64_t r = 0, m; r < p->rows; r += m) {
        m = tile_rows(p->rows - r);
        for (int64_t i = 0; i < each && *ahead < p->ahead + end; i += 64, *ahead += 64)
            _mm_prefetch(*ahead, _MM_HINT_T1);
        for (int64_t t = first; t < last; t++) {
            float *lanes = p->kept + (r * tiles + t * m) * 64;
            const spot at = {
                .x = v->x + (p->r0 + r) * v->ldx + p->k0,
                .w = p->panel + t * steps * 64,
                .n = p->n / 8,
                .last = (int)(p->n % 8),
                .before = p->k0 > 0 ? lanes : NULL,
                .keep = p->more ? lanes : NULL,
                .bias = v->bias ? v->bias + p->o0 + 8 * t : NULL,
                .y = v->y + (p->r0 + r) * v->ldy + p->o0 + 8 * t,
                .out = BL_MIN(p->outs - 8 * t, 8),
            };
            tile[m](v, &at);
        }
    }
}

void bl_avx512_panel_rows(const bl_panel_rows *p)
{
    const int64_t steps = (p->n + 7) / 8, tiles = (p->outs + 7) / 8, each = BL_MAX(NEAR / (steps * 256), 1);
    const char *ahead = p->ahead;
    for (int64_t t = 0; t < tiles; t += each) some_tiles(p, t, BL_MIN(t + each, tiles), &ahead);
}

/* ---- eight k ---- */
/* 16 outputs, or those of the mask: ((0+4)+(2+6)) + ((1+5)+(3+7)) of the products. */
BL_INLINE void low16(const bl_gemv *g, const __m512 x[BL_LOW_K], const float *w, int64_t ld, __mmask16 in,
                     const float *bias, float *y)
{
    const __m512 none = _mm512_setzero_ps();
    __m512 v[BL_LOW_K];
#pragma GCC unroll 8
    for (int j = 0; j < BL_LOW_K; j++) v[j] = _mm512_fmadd_ps(x[j], _mm512_loadu_ps(w + j * ld), none);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) v[j] = _mm512_add_ps(v[j], v[j + 4]);
    v[0] = _mm512_add_ps(_mm512_add_ps(v[0], v[2]), _mm512_add_ps(v[1], v[3]));
    if (g->put == BL_PUT_ADD_SCALED) v[0] = _mm512_mul_ps(_mm512_set1_ps(g->scale), v[0]);
    if (bias) v[0] = _mm512_add_ps(v[0], _mm512_maskz_loadu_ps(in, bias));
    if (g->put != BL_PUT) v[0] = _mm512_add_ps(_mm512_maskz_loadu_ps(in, y), v[0]);
    _mm512_mask_storeu_ps(y, in, v[0]);
}

void bl_avx512_low_rows(const bl_low_rows *p)
{
    const bl_gemv *g = p->v;
    const float *bias = g->bias ? g->bias + p->o0 : NULL;
    for (int64_t r = p->r0; r < p->r0 + p->rows; r++) {
        const float *from = g->x + r * g->ldx;
        float *y = g->y + r * g->ldy + p->o0;
        __m512 x[BL_LOW_K];
#pragma GCC unroll 8
        for (int j = 0; j < BL_LOW_K; j++) x[j] = j < p->k ? _mm512_set1_ps(from[j]) : _mm512_setzero_ps();
        for (int64_t o = 0; o < p->outs; o += 16) {
            const __mmask16 in = (__mmask16)(p->outs - o >= 16 ? 0xffff : (1u << (p->outs - o)) - 1);
            low16(g, x, p->w + o, p->ldw, in, bias ? bias + o : NULL, y + o);
        }
    }
}

/* Outputs of a weight of few inputs, all rows of a task; w is room for them. */
static void low_outputs(const bl_gemv *v, int64_t o0, int64_t outs, int64_t r0, int64_t rows, float *w)
{
    const int64_t ld = (outs + 15) / 16 * 16;
    for (int64_t o = 0; o < ld; o += 8) {
        float eight[64];
        const float *row[8];
        for (int64_t i = 0; i < 8; i++) {
            row[i] = eight + 8 * i;
            if (o + i < outs) v->w->unpack(v->w, o0 + o + i, 0, v->w->shape.in, eight + 8 * i, 8);
            else memset(eight + 8 * i, 0, sizeof(float[8]));
        }
        bl_transpose8(row, w + o, ld);
    }
    bl_avx512_low_rows(
        &(bl_low_rows){.v = v, .w = w, .ldw = ld, .k = v->w->shape.in, .o0 = o0, .outs = outs, .r0 = r0, .rows = rows});
}

static void run_low_task(const bl_gemm *g, int64_t task, void *scratch)
{
    const int64_t o0 = task % g->chunks * g->chunk, outs = BL_MIN(g->chunk, g->v.w->shape.out - o0),
                  r0 = task / g->chunks * g->block_rows, rows = BL_MIN(g->block_rows, g->rows - r0);
    low_outputs(&g->v, o0, outs, r0, rows, scratch);
    if (g->then) low_outputs(g->then, o0, outs, r0, rows, scratch);
}

static void plan_low(bl_gemm *g, int64_t rows)
{
    enum { MOST = 1024, LEAST_ROWS = 24 };
    g->task = run_low_task;
    g->rows = rows;
    g->chunk = BL_MIN(g->v.w->shape.out, MOST);
    g->chunks = (g->v.w->shape.out + g->chunk - 1) / g->chunk;
    g->block_rows = BL_MAX((rows + 4 * g->threads - 1) / (4 * g->threads), LEAST_ROWS);
    g->blocks = (rows + g->block_rows - 1) / g->block_rows;
}

/* ---- tasks ---- */
static void run_task(const bl_gemm *g, int64_t task, void *scratch)
{
    const bl_gemv *v = &g->v;
    const bl_source *s = v->w;
    int64_t in = s->shape.in, o0 = task % g->chunks * g->chunk, outs = BL_MIN(g->chunk, s->shape.out - o0);
    int64_t r0 = task / g->chunks * g->block_rows;
    int64_t k_blocks = (in + K_BLOCK - 1) / K_BLOCK, k_len = ((in + k_blocks - 1) / k_blocks + 31) / 32 * 32,
            tiles = (outs + 7) / 8;
    float *panel = scratch;
    bl_panel_rows p = {.v = v,
                       .panel = panel,
                       .o0 = o0,
                       .outs = outs,
                       .r0 = r0,
                       .rows = BL_MIN(g->block_rows, g->rows - r0),
                       .kept = panel + PANEL};
    /* Codes of the outputs of the next task: this thread most likely takes it, and their first reads would wait for
     * memory. */
    const int64_t next = o0 + g->chunk, together = s->layout ? BL_BAND : g->chunk; /* a band is read together */
    if (next < s->shape.out && next % together == 0) {
        p.ahead = (const char *)s->part[0] + next * s->code_bytes;
        p.ahead_bytes = BL_MIN(together, s->shape.out - next) * s->code_bytes;
    }
    for (p.k0 = 0; p.k0 < in; p.k0 += k_len, p.ahead_bytes = 0) {
        p.n = BL_MIN(k_len, in - p.k0);
        p.more = p.k0 + p.n < in;
        const int64_t steps = (p.n + 7) / 8;
        for (int64_t o = 0; o < 8 * tiles; o++)
            s->unpack(s, o0 + BL_MIN(o, outs - 1), p.k0, p.n, panel + o / 8 * steps * 64 + o % 8 * 8, 64);
        bl_avx512_panel_rows(&p);
    }
    if (g->then) low_outputs(g->then, o0, outs, r0, p.rows, panel);
}

/* Tasks of as many outputs as a panel has room for, if there are enough of them for the threads: rows of x that are
 * near are read once for all of them. */
static void plan(bl_gemm *g, int64_t rows)
{
    enum { MOST = 4 * TILE_OUT };
    const int64_t wide = PANEL / BL_MAX((g->v.w->shape.in + 7) / 8 * 8, 1) / TILE_OUT * TILE_OUT;
    if (g->v.w->shape.in <= BL_LOW_K) {
        plan_low(g, rows);
        return;
    }
    g->task = run_task;
    for (int64_t chunk = BL_MIN(wide, MOST); chunk > TILE_OUT; chunk -= TILE_OUT) {
        bl_gemm_cut(g, rows, TILE_ROWS, chunk);
        if (g->chunks * g->blocks >= 4 * g->threads) return;
    }
    bl_gemm_cut(g, rows, TILE_ROWS, TILE_OUT);
}

static bool any(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    return a->x.dim[0] > 2 && bl_product_fits(be, BL_ISA_AVX512, a, w, false);
}
static bool read(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    return !w->layout && any(be, a, w);
}
static bool decoded(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    return any(be, a, w) && bl_source_decoded(w);
}

const bl_kernel_family bl_family_gemm_avx512 = {
    .op = "linear",
    .backend = "cpu",
    .doc = "panels of decoded weights, tiles of 6 rows by 8 outputs",
    .bitwise = true,
    .nmse_limit = 1e-11,
    .decode_ns = 0.3,
    .product_ns = 0.025,
    .applicable = decoded,
    .run = bl_product_run,
    .own = &(const bl_cpu_product){.source = bl_source_512, .plan = plan, .then = BL_LOW_K},
};
const bl_kernel_family bl_family_gemm_any_avx512 = {
    .op = "linear",
    .backend = "cpu",
    .doc = "panels of weights by the format's own decoder, tiles of 6 rows by 8 outputs",
    .any = true,
    .bitwise = true,
    .nmse_limit = 1e-11,
    .decode_ns = 2,
    .product_ns = 0.025,
    .applicable = read,
    .run = bl_product_run,
    .own = &(const bl_cpu_product){.source = bl_source_any, .plan = plan, .then = BL_LOW_K},
};
