/* avx2_gemm.c - products of many rows: panels of unpacked weights, tiles of 3 rows by 4 outputs.
 *
 * A task is a block of rows of x times a chunk of outputs. Per block of k it unpacks its outputs into a panel that fits
 * the first level cache together with the rows of one tile, then goes through the rows. With several blocks of k the 8
 * lanes of every output wait in `kept` between blocks, so the chains are not cut.
 */
#include "avx2.h"
#include "avx2_math.h"
#include "avx2_panels.h"
#include "kernels/bare.h"

enum {
    TILE_ROWS = 3,
    TILE_OUT = 4,
    CHUNK = 8,     /* outputs of a task, in panels together */
    K_BLOCK = 576, /* most k of a panel */
};

/* One tile over n steps of 8: w [n][4][8], x rows of ld floats, acc [3][4][8] is continued when `more`. */
BL_BARE BL_INLINE void tile(int rows, const float *x, int64_t ld, const float *w, int64_t n, const float *before,
                            const float *ahead, __m256 acc[3][4])
{
    const float *x1 = x + ld, *x2 = x + 2 * ld;
#pragma GCC unroll 3
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            acc[r][j] = before ? _mm256_loadu_ps(before + (r * 4 + j) * 8) : _mm256_setzero_ps();
#pragma GCC unroll 2
    for (int64_t i = 0; i < n; i++) {
        __m256 v[3];
        v[0] = _mm256_loadu_ps(x + 8 * i);
        if (rows > 1) v[1] = _mm256_loadu_ps(x1 + 8 * i);
        if (rows > 2) v[2] = _mm256_loadu_ps(x2 + 8 * i);
        if (ahead && i % 2 == 0) {
            _mm_prefetch((const char *)(ahead + 8 * i), _MM_HINT_T0);
            _mm_prefetch((const char *)(ahead + ld + 8 * i), _MM_HINT_T0);
            _mm_prefetch((const char *)(ahead + 2 * ld + 8 * i), _MM_HINT_T0);
        }
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            __m256 b = _mm256_loadu_ps(w + 32 * i + 8 * j);
#pragma GCC unroll 3
            for (int r = 0; r < rows; r++) acc[r][j] = _mm256_fmadd_ps(v[r], b, acc[r][j]);
        }
    }
}

typedef struct spot { /* where a tile reads and writes */
    const float *x, *w, *before, *ahead;
    float *keep; /* NULL: this was the last block of k */
    const float *bias;
    float *y;
    int64_t n, out; /* steps of 8; outputs that exist */
} spot;

BL_BARE BL_INLINE void run_tile(int rows, const bl_gemv *g, const spot *s)
{
    __m256 acc[3][4];
    tile(rows, s->x, g->ldx, s->w, s->n, s->before, s->ahead, acc);
    if (s->keep) {
#pragma GCC unroll 3
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) _mm256_storeu_ps(s->keep + (r * 4 + j) * 8, acc[r][j]);
        return;
    }
#pragma GCC unroll 3
    for (int r = 0; r < rows; r++) {
        float *y = s->y + r * g->ldy;
        __m128 v = bl_sum4(acc[r][0], acc[r][1], acc[r][2], acc[r][3]);
        const __m128i mask = _mm_cmpgt_epi32(_mm_set1_epi32((int)s->out), _mm_setr_epi32(0, 1, 2, 3));
        if (g->put == BL_PUT_ADD_SCALED) v = _mm_mul_ps(_mm_set1_ps(g->scale), v);
        if (s->bias) v = _mm_add_ps(v, _mm_maskload_ps(s->bias, mask));
        if (g->put != BL_PUT) v = _mm_add_ps(_mm_maskload_ps(y, mask), v);
        if (s->out == 4) _mm_storeu_ps(y, v);
        else _mm_maskstore_ps(y, mask, v);
    }
}
BL_BARE static void tile3(const bl_gemv *g, const spot *s) { run_tile(3, g, s); }
BL_BARE static void tile2(const bl_gemv *g, const spot *s) { run_tile(2, g, s); }
BL_BARE static void tile1(const bl_gemv *g, const spot *s) { run_tile(1, g, s); }

/* What a tile touches beside its panel. */
static void watch(int64_t rows, const bl_gemv *g, const spot *s)
{
    enum { LANES = 8 * sizeof(float) };
    if (s->keep || s->before) bl_watch(s->keep ? s->keep : s->before, rows * TILE_OUT * LANES);
    if (s->bias) bl_watch(s->bias, s->out * (int64_t)sizeof *s->bias);
    for (int64_t r = 0; r < rows; r++) {
        bl_watch(s->x + r * g->ldx, s->n * LANES);
        if (!s->keep) bl_watch(s->y + r * g->ldy, s->out * (int64_t)sizeof *s->y);
    }
}

/* Rows of the next tile: threes, and twos where one would be left over. */
static int64_t tile_rows(int64_t left) { return left == 4 ? 2 : BL_MIN(left, TILE_ROWS); }

static void run_task(const bl_gemm *g, int64_t task, void *scratch)
{
    const bl_gemv *v = &g->v;
    const bl_source *s = v->w;
    int64_t in = s->shape.in, o0 = task % g->chunks * g->chunk, outs = BL_MIN(g->chunk, s->shape.out - o0);
    int64_t r0 = task / g->chunks * g->block_rows, rows = BL_MIN(g->block_rows, g->rows - r0);
    int64_t k_blocks = (in + K_BLOCK - 1) / K_BLOCK, k_len = ((in + k_blocks - 1) / k_blocks + 31) / 32 * 32,
            tiles = (outs + 3) / 4;
    float *panel = scratch, *kept = panel + CHUNK * K_BLOCK; /* kept [rows][tiles][4][8], rows of a tile together */
    for (int64_t k0 = 0; k0 < in; k0 += k_len) {
        int64_t n = BL_MIN(k_len, in - k0), steps = (n + 7) / 8;
        for (int64_t o = 0; o < 4 * tiles; o++)
            s->unpack(s, o0 + BL_MIN(o, outs - 1), k0, n, panel + o / 4 * steps * 32 + o % 4 * 8, 32);
        bl_watch(panel, tiles * steps * 32 * (int64_t)sizeof *panel);
        for (int64_t r = 0, m; r < rows; r += m) {
            m = tile_rows(rows - r);
            for (int64_t t = 0; t < tiles; t++) {
                float *lanes = kept + (r * tiles + t * m) * 32;
                spot at = {
                    .x = v->x + (r0 + r) * v->ldx + k0,
                    .w = panel + t * steps * 32,
                    .n = steps,
                    .before = k0 > 0 ? lanes : NULL,
                    .keep = k0 + n < in ? lanes : NULL,
                    .ahead = t == tiles - 1 && r + 6 <= rows ? v->x + (r0 + r + 3) * v->ldx + k0 : NULL,
                    .bias = v->bias ? v->bias + o0 + 4 * t : NULL,
                    .y = v->y + (r0 + r) * v->ldy + o0 + 4 * t,
                    .out = BL_MIN(outs - 4 * t, 4),
                };
                watch(m, v, &at);
                (m == 3 ? tile3 : m == 2 ? tile2 : tile1)(v, &at);
            }
        }
    }
}

static void plan(bl_gemm *g, int64_t rows)
{
    g->task = run_task;
    bl_gemm_cut(g, rows, TILE_ROWS, CHUNK);
}

static bool any(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    return bl_product_fits(be, BL_ISA_AVX2, a, w, false);
}
static bool read(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    return !w->layout && any(be, a, w);
}
static bool decoded(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    return a->x.dim[0] > 2 && any(be, a, w) && bl_source_decoded(w);
}

const bl_kernel_family bl_family_gemm_avx2 = {
    .op = "linear",
    .backend = "cpu",
    .doc = "panels of decoded weights, tiles of 3 rows by 4 outputs",
    .bitwise = true,
    .nmse_limit = 1e-11,
    .decode_ns = 0.35,
    .product_ns = 0.05,
    .applicable = decoded,
    .run = bl_product_run,
    .own = &(const bl_cpu_product){.source = bl_source_of, .plan = plan},
};
const bl_kernel_family bl_family_gemm_any_avx2 = {
    .op = "linear",
    .backend = "cpu",
    .doc = "panels of weights by the format's own decoder, tiles of 3 rows by 4 outputs",
    .any = true,
    .bitwise = true,
    .nmse_limit = 1e-11,
    .decode_ns = 2,
    .product_ns = 0.05,
    .applicable = read,
    .run = bl_product_run,
    .own = &(const bl_cpu_product){.source = bl_source_any, .plan = plan},
};
