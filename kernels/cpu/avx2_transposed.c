/* avx2_transposed.c - y = x W, for gradients: columns of the weight in runs of 64, its outputs in panels of 64.
 *
 * panel  f32 [64 outputs][64 columns]
 * acc    f32 [rows][8 chains][64 columns]
 */
#include "transposed.h"
#include "avx2_math.h"
#include "kernels/bare.h"

enum { COLS = BL_TRANSPOSED_COLS, CHAINS = BL_TRANSPOSED_CHAINS, OUTS = 64 };
enum { MOST_ROWS = (BL_CPU_SCRATCH / 4 - OUTS * COLS) / (CHAINS * COLS) };

/* Chain j of 8 * vectors columns over `outs` outputs of a panel; x begins at the first of them. */
BL_BARE BL_INLINE void chain(int vectors, const float *x, const float *panel, int64_t outs, int64_t j, float *acc)
{
    __m256 a[8];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++) a[v] = _mm256_loadu_ps(acc + 8 * v);
    for (int64_t o = j; o < outs; o += CHAINS) {
        const __m256 b = _mm256_broadcast_ss(x + o);
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) a[v] = _mm256_fmadd_ps(b, _mm256_loadu_ps(panel + o * COLS + 8 * v), a[v]);
    }
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++) _mm256_storeu_ps(acc + 8 * v, a[v]);
}
BL_BARE static void chain8(const float *x, const float *panel, int64_t outs, int64_t j, float *acc)
{
    chain(8, x, panel, outs, j, acc);
}
BL_BARE static void chain1(const float *x, const float *panel, int64_t outs, int64_t j, float *acc)
{
    chain(1, x, panel, outs, j, acc);
}

static void run_task(const bl_linear_args *a, const bl_source *s, int64_t k0, int64_t n, int64_t r0, int64_t rows,
                     float *scratch)
{
    float *panel = scratch, *acc = panel + OUTS * COLS;
    int64_t n8 = (n + 7) / 8 * 8;
    memset(acc, 0, (size_t)(rows * CHAINS * COLS) * sizeof *acc);
    for (int64_t o0 = 0; o0 < s->shape.out; o0 += OUTS) {
        int64_t outs = BL_MIN(s->shape.out - o0, OUTS);
        for (int64_t o = 0; o < outs; o++) s->unpack(s, o0 + o, k0, n, panel + o * COLS, 8);
        bl_watch(panel, ((outs - 1) * COLS + n8) * (int64_t)sizeof *panel);
        bl_watch(acc, rows * CHAINS * COLS * (int64_t)sizeof *acc);
        for (int64_t r = 0; r < rows; r++) {
            const float *x = bl_cpu_row(&a->x, r0 + r) + o0;
            bl_watch(x, outs * (int64_t)sizeof *x);
            for (int64_t j = 0; j < CHAINS; j++) {
                float *lane = acc + (r * CHAINS + j) * COLS;
                if (n8 == COLS) chain8(x, panel, outs, j, lane);
                else
                    for (int64_t k = 0; k < n8; k += 8) chain1(x, panel + k, outs, j, lane + k);
            }
        }
    }
    for (int64_t r = 0; r < rows; r++) {
        float *y = bl_cpu_row(&a->y[0], r0 + r) + k0;
        for (int64_t k = 0; k < n; k++) {
            float lane[CHAINS];
            for (int j = 0; j < CHAINS; j++) lane[j] = acc[(r * CHAINS + j) * COLS + k];
            y[k] = a->accumulate ? y[k] + bl_tree8(lane) : bl_tree8(lane);
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
    return a->transpose && ((const bl_cpu *)be->own)->isa >= BL_ISA_AVX2;
}

const bl_kernel_family bl_family_gemm_transposed_avx2 = {
    .op = "linear",
    .backend = "cpu",
    .doc = "transposed: panels of decoded weights, eight chains over their outputs",
    .any = true,
    .transpose = true,
    .bitwise = true,
    .nmse_limit = 1e-11,
    .decode_ns = 1,
    .product_ns = 0.08,
    .applicable = applicable,
    .run = run,
};
