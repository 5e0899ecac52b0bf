/* avx512_transposed.c - y = x W, for gradients, where the CPU has AVX-512: as avx2_transposed.c, with two of the 8
 * chains of 32 columns for 6 rows in registers.
 *
 * panel  f32 [64 outputs][64 columns]
 * acc    f32 [rows][4 runs of 16 columns][8 chains][16]
 */
#include "transposed.h"
#include "avx512_math.h"

enum {
    COLS = BL_TRANSPOSED_COLS,
    CHAINS = BL_TRANSPOSED_CHAINS,
    OUTS = 256,
    WIDE = 16,
    VECTORS = 2,
    PAIR = 2,
    TALL = 6
};
enum { MOST_ROWS = (BL_CPU_SCRATCH / 4 - OUTS * COLS) / (CHAINS * COLS) / TALL * TALL };

/* Chains j0 and j0 + 1 of 32 columns for `rows` rows over `outs` outputs; x begins at the first of them. Two vectors of
 * the panel and a number of each row are loaded for twelve products. fresh: the sums begin here. */
BL_INLINE void chains(int rows, bool fresh, int64_t j0, const float *const x[TALL], const float *panel, int64_t outs,
                      float *acc, int64_t ld)
{
    __m512 a[TALL][PAIR][VECTORS];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int j = 0; j < PAIR; j++)
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++)
                a[r][j][v] = fresh ? _mm512_setzero_ps() : _mm512_loadu_ps(acc + r * ld + (v * CHAINS + j0 + j) * WIDE);
    for (int64_t o = j0; o < outs; o += CHAINS)
#pragma GCC unroll 2
        for (int j = 0; j < PAIR; j++) {
            if (o + j >= outs) break;
            const __m512 w0 = _mm512_loadu_ps(panel + (o + j) * WIDE),
                         w1 = _mm512_loadu_ps(panel + (OUTS + o + j) * WIDE);
#pragma GCC unroll 6
            for (int r = 0; r < rows; r++) {
                const __m512 b = _mm512_set1_ps(x[r][o + j]);
                a[r][j][0] = _mm512_fmadd_ps(b, w0, a[r][j][0]);
                a[r][j][1] = _mm512_fmadd_ps(b, w1, a[r][j][1]);
            }
        }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int j = 0; j < PAIR; j++)
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) _mm512_storeu_ps(acc + r * ld + (v * CHAINS + j0 + j) * WIDE, a[r][j][v]);
}
typedef void some_chains(bool fresh, int64_t j0, const float *const x[TALL], const float *panel, int64_t outs,
                         float *acc, int64_t ld);
#define BY_ROWS(rows)                                                                                                  \
    static void chains##rows(bool fresh, int64_t j0, const float *const x[TALL], const float *panel, int64_t outs,     \
                             float *acc, int64_t ld)                                                                   \
    {                                                                                                                  \
        chains(rows, fresh, j0, x, panel, outs, acc, ld);                                                              \
    }
BY_ROWS(1)
BY_ROWS(2)
BY_ROWS(3)
BY_ROWS(4)
BY_ROWS(5)
BY_ROWS(6)

/* A panel of outputs o0 .. o0 + outs onto all rows. */
static void add_panel(const bl_linear_args *a, const float *panel, int64_t o0, int64_t outs, int64_t r0, int64_t rows,
                      int64_t n, float *acc)
{
    static some_chains *const by_rows[] = {NULL, chains1, chains2, chains3, chains4, chains5, chains6};
    const int64_t ld = CHAINS * COLS;
    for (int64_t k = 0; k < n; k += VECTORS * WIDE, panel += VECTORS * OUTS * WIDE)
        for (int64_t r = 0, tall; r < rows; r += tall) {
            const float *x[TALL];
            tall = BL_MIN(rows - r, TALL);
            for (int64_t i = 0; i < tall; i++) x[i] = bl_cpu_row(&a->x, r0 + r + i) + o0;
            for (int64_t j0 = 0; j0 < CHAINS; j0 += PAIR)
                by_rows[tall](o0 == 0, j0, x, panel, outs, acc + r * ld + k * CHAINS, ld);
        }
}

/* bl_tree8 of the chains of 16 columns. */
BL_INLINE __m512 sum(const float *acc)
{
    __m512 half[CHAINS / 2];
    for (int j = 0; j < CHAINS / 2; j++)
        half[j] = _mm512_add_ps(_mm512_loadu_ps(acc + j * WIDE), _mm512_loadu_ps(acc + (j + 4) * WIDE));
    return _mm512_add_ps(_mm512_add_ps(half[0], half[2]), _mm512_add_ps(half[1], half[3]));
}

static void run_task(const bl_linear_args *a, const bl_source *s, int64_t k0, int64_t n, int64_t r0, int64_t rows,
                     float *scratch)
{
    float *panel = scratch, *acc = panel + OUTS * COLS, row[COLS] = {0};
    for (int64_t o0 = 0; o0 < s->shape.out; o0 += OUTS) {
        int64_t outs = BL_MIN(s->shape.out - o0, OUTS);
        for (int64_t o = 0; o < outs; o++) {
            s->unpack(s, o0 + o, k0, n, row, 8);
            for (int64_t k = 0; k < COLS; k += WIDE)
                memcpy(panel + (k / WIDE * OUTS + o) * WIDE, row + k, sizeof(float[WIDE]));
        }
        add_panel(a, panel, o0, outs, r0, rows, n, acc);
    }
    for (int64_t r = 0; r < rows; r++) {
        float *y = bl_cpu_row(&a->y[0], r0 + r) + k0;
        for (int64_t k = 0; k < n; k += WIDE) {
            const __mmask16 in = (__mmask16)(n - k >= WIDE ? 0xffff : (1 << (n - k)) - 1);
            __m512 v = sum(acc + (r * COLS + k) * CHAINS);
            if (a->accumulate) v = _mm512_add_ps(_mm512_maskz_loadu_ps(in, y + k), v);
            _mm512_mask_storeu_ps(y + k, in, v);
        }
    }
}

static bl_status run(const bl_kernel_family *f, bl_backend *be, const bl_linear_args *a, bl_err *e)
{
    (void)f;
    (void)e;
    return bl_transposed_run(be, a, run_task, MOST_ROWS);
}

static bool applicable(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    (void)w;
    return a->transpose && ((const bl_cpu *)be->own)->isa >= BL_ISA_AVX512;
}

const bl_kernel_family bl_family_gemm_transposed_avx512 = {
    .op = "linear",
    .backend = "cpu",
    .doc = "transposed: panels of decoded weights, eight chains over their outputs, six rows at once",
    .any = true,
    .transpose = true,
    .bitwise = true,
    .nmse_limit = 1e-11,
    .decode_ns = 1,
    .product_ns = 0.03,
    .applicable = applicable,
    .run = run,
};
