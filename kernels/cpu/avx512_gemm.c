/* avx512_gemm.c - products of many rows where the CPU has AVX-512: panels of unpacked weights, tiles of 6 rows by 8
 * outputs.
 *
 * panel  f32 [k / 8][8 outputs][8]      a vector of 16 holds 8 lanes of two outputs
 *
 * A step takes 8 of a row of x into both halves of a vector, so each half runs the 8 chains of its output: the bits are
 * those of avx2_gemm.c and of the reference. A task is a block of rows by a chunk of outputs; with several blocks of k
 * the lanes wait in `kept`.
 */
#include "avx2.h"
#include "avx512_math.h"
#include "lanes.h"
#include "avx2_panels.h"

enum {
    TILE_ROWS = 6,
    TILE_OUT = 8,
    CHUNK = 8,      /* outputs of a task, in panels together */
    K_BLOCK = 1536, /* most k of a panel */
};

typedef struct spot { /* where a tile reads and writes */
    const float *x, *w, *before;
    float *keep; /* NULL: this was the last block of k */
    const float *bias;
    float *y;
    int64_t n, out; /* steps of 8; outputs that exist */
} spot;

BL_INLINE void run_tile(int rows, const bl_gemv *g, const spot *s)
{
    const float *x = s->x, *w = s->w;
    int64_t ld = g->ldx;
    __m512 acc[TILE_ROWS][4];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            acc[r][j] = s->before ? _mm512_loadu_ps(s->before + (r * 4 + j) * 16) : _mm512_setzero_ps();
    for (int64_t i = 0; i < s->n; i++, x += 8, w += 64) {
        const __m512 w0 = _mm512_loadu_ps(w), w1 = _mm512_loadu_ps(w + 16), w2 = _mm512_loadu_ps(w + 32),
                     w3 = _mm512_loadu_ps(w + 48);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            const __m512 v = _mm512_broadcast_f32x8(_mm256_loadu_ps(x + r * ld));
            acc[r][0] = _mm512_fmadd_ps(v, w0, acc[r][0]);
            acc[r][1] = _mm512_fmadd_ps(v, w1, acc[r][1]);
            acc[r][2] = _mm512_fmadd_ps(v, w2, acc[r][2]);
            acc[r][3] = _mm512_fmadd_ps(v, w3, acc[r][3]);
        }
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
        __m256 v = bl_sum8(acc[r][0], acc[r][1], acc[r][2], acc[r][3]);
        if (g->put == BL_PUT_ADD_SCALED) v = _mm256_mul_ps(_mm256_set1_ps(g->scale), v);
        if (s->bias) v = _mm256_add_ps(v, _mm256_maskz_loadu_ps(mask, s->bias));
        if (g->put != BL_PUT) v = _mm256_add_ps(_mm256_maskz_loadu_ps(mask, y), v);
        if (s->out == TILE_OUT) _mm256_storeu_ps(y, v);
        else _mm256_mask_storeu_ps(y, mask, v);
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

/* Codes of the outputs from `row` on, those of the next task: this thread most likely takes it, and their first reads
 * would wait for memory. */
typedef struct coming {
    const char *at;
    int64_t left; /* bytes */
} coming;
static coming coming_of(const bl_source *s, int64_t row)
{
    const int64_t rows = s->layout ? BL_BAND : CHUNK; /* the outputs of a band are read together */
    if (row >= s->shape.out || row % rows) return (coming){0};
    return (coming){(const char *)s->part[0] + row * s->code_bytes, BL_MIN(rows, s->shape.out - row) * s->code_bytes};
}
static void ask_for(coming *c, int64_t bytes)
{
    for (; c->left > 0 && bytes > 0; c->at += 64, c->left -= 64, bytes -= 64) _mm_prefetch(c->at, _MM_HINT_T1);
}

static void run_task(const bl_gemm *g, int64_t task, void *scratch)
{
    const bl_gemv *v = &g->v;
    const bl_source *s = v->w;
    int64_t in = s->shape.in, o0 = task % g->chunks * g->chunk, outs = BL_MIN(g->chunk, s->shape.out - o0);
    int64_t r0 = task / g->chunks * g->block_rows, rows = BL_MIN(g->block_rows, g->rows - r0);
    int64_t k_blocks = (in + K_BLOCK - 1) / K_BLOCK, k_len = ((in + k_blocks - 1) / k_blocks + 31) / 32 * 32,
            tiles = (outs + 7) / 8;
    float *panel = scratch, *kept = panel + CHUNK * K_BLOCK; /* kept [rows][tiles][4][16], rows of a tile together */
    coming next = coming_of(s, o0 + CHUNK);
    const int64_t each = next.left * TILE_ROWS / rows + 64;
    for (int64_t k0 = 0; k0 < in; k0 += k_len) {
        int64_t n = BL_MIN(k_len, in - k0), steps = (n + 7) / 8;
        for (int64_t o = 0; o < 8 * tiles; o++)
            s->unpack(s, o0 + BL_MIN(o, outs - 1), k0, n, panel + o / 8 * steps * 64 + o % 8 * 8, 64);
        for (int64_t r = 0, m; r < rows; r += m) {
            m = tile_rows(rows - r);
            ask_for(&next, each);
            for (int64_t t = 0; t < tiles; t++) {
                float *lanes = kept + (r * tiles + t * m) * 64;
                spot at = {
                    .x = v->x + (r0 + r) * v->ldx + k0,
                    .w = panel + t * steps * 64,
                    .n = steps,
                    .before = k0 > 0 ? lanes : NULL,
                    .keep = k0 + n < in ? lanes : NULL,
                    .bias = v->bias ? v->bias + o0 + 8 * t : NULL,
                    .y = v->y + (r0 + r) * v->ldy + o0 + 8 * t,
                    .out = BL_MIN(outs - 8 * t, 8),
                };
                tile[m](v, &at);
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
    .own = &(const bl_cpu_product){.source = bl_source_512, .plan = plan},
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
    .own = &(const bl_cpu_product){.source = bl_source_any, .plan = plan},
};
