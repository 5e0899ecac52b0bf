/* avx512_transposed.c - y = x W, for gradients, where the CPU has AVX-512: columns of the weight are turned into the
 * rows of a panel, and the products are those of avx512_gemm.c, all chains of a column over its outputs in registers.
 * A task is a run of columns by a block of rows; with several blocks of outputs the lanes wait in `kept`.
 */
#include "avx2_math.h"
#include "avx512_panels.h"

enum {
    COLS = 32,                               /* of a task */
    TILES = COLS / BL_TILE_OUTS,             /* of outputs of the product, which are columns */
    SCRATCH = BL_CPU_SCRATCH / 4 - 8 * COLS, /* floats, but for eight rows of columns */
    ALL = 1536,                              /* outputs that a panel takes without a second one */
    SOME = 1024,                             /* else so many, which leaves room for */
    KEPT_ROWS = (SCRATCH - SOME * COLS) / TILES / 64 / BL_TILE_ROWS * BL_TILE_ROWS, /* rows */
    X_BYTES = 1152 * 1024, /* of a block of rows: what the second level cache holds */
    LEAST_ROWS = 192,
    MOST_ROWS = 768,
    LOW_COLS = 512, /* of a task of few outputs */
    LOW_ROWS = 24   /* at least */
};

typedef struct job {
    const bl_cpu *c;
    bl_source s;
    bl_gemv v;
    int64_t rows, block_rows, blocks, cols;
} job;

/* Outputs o0 .. o0 + n of columns k0 .. k0 + cols, turned: a step of the panel is eight outputs. */
static void fill(const job *j, int64_t o0, int64_t n, int64_t k0, int64_t cols, float *eight, float *panel)
{
    static const float none[COLS] = {0};
    const int64_t steps = (n + 7) / 8;
    for (int64_t o = 0; o < n; o += 8) {
        const float *row[8];
        for (int64_t i = 0; i < 8; i++) {
            row[i] = o + i < n ? eight + i * COLS : none;
            if (o + i < n) j->s.unpack(&j->s, o0 + o + i, k0, cols, eight + i * COLS, 8);
        }
        for (int64_t t = 0; t < (cols + 7) / 8; t++) {
            bl_transpose8(row, panel + (t * steps * 8 + o) * 8, 8);
            for (int64_t i = 0; i < 8; i++) row[i] += 8;
        }
    }
}

static void run_task(void *ctx, int64_t task, int lane)
{
    const job *j = ctx;
    float *eight = j->c->scratch[lane], *panel = eight + 8 * COLS;
    const int64_t out = j->s.shape.out, k0 = task % j->cols * COLS, r0 = task / j->cols * j->block_rows,
                  most = out > ALL ? SOME : out;
    bl_panel_rows p = {.v = &j->v,
                       .panel = panel,
                       .o0 = k0,
                       .outs = BL_MIN(j->s.shape.in - k0, COLS),
                       .r0 = r0,
                       .rows = BL_MIN(j->block_rows, j->rows - r0),
                       .kept = panel + SOME * COLS};
    for (p.k0 = 0; p.k0 < out; p.k0 += most) {
        p.n = BL_MIN(out - p.k0, most);
        p.more = p.k0 + p.n < out;
        fill(j, p.k0, p.n, k0, p.outs, eight, panel);
        bl_avx512_panel_rows(&p);
    }
}

/* Of few outputs, rows of the weight are what is multiplied with: a task is a block of rows by many columns. */
static void run_low(void *ctx, int64_t task, int lane)
{
    const job *j = ctx;
    float *w = j->c->scratch[lane];
    const int64_t k0 = task % j->cols * LOW_COLS, n = BL_MIN(j->s.shape.in - k0, LOW_COLS),
                  r0 = task / j->cols * j->block_rows;
    memset(w, 0, sizeof(float[BL_LOW_K * LOW_COLS]));
    for (int64_t o = 0; o < j->s.shape.out; o++) j->s.unpack(&j->s, o, k0, n, w + o * LOW_COLS, 8);
    bl_avx512_low_rows(&(bl_low_rows){.v = &j->v,
                                      .w = w,
                                      .ldw = LOW_COLS,
                                      .k = j->s.shape.out,
                                      .o0 = k0,
                                      .outs = n,
                                      .r0 = r0,
                                      .rows = BL_MIN(j->block_rows, j->rows - r0)});
}

static bl_status run(const bl_kernel_family *f, bl_backend *be, const bl_linear_args *a, bl_err *e)
{
    const int64_t rows = a->x.dim[0], out = a->w[0]->shape.out, in = a->w[0]->shape.in,
                  room = out > ALL ? KEPT_ROWS : MOST_ROWS,
                  most = BL_MIN(BL_MAX(X_BYTES / (4 * BL_MIN(out, ALL)), LEAST_ROWS), room);
    const int threads = bl_cpu_threads(be, (double)rows * (double)in * (double)out);
    const bool low = out <= BL_LOW_K;
    job j = {.c = be->own, .rows = rows, .blocks = low ? 4 * threads : (rows + most - 1) / most};
    (void)f;
    (void)e;
    bl_source_512(a->w[0], &j.s);
    j.v = (bl_gemv){.w = &j.s,
                    .x = bl_cpu_row(&a->x, 0),
                    .ldx = a->x.stride[0],
                    .y = bl_cpu_row(&a->y[0], 0),
                    .ldy = a->y[0].stride[0],
                    .put = a->accumulate ? BL_PUT_ADD : BL_PUT};
    j.block_rows = ((rows + j.blocks - 1) / j.blocks + BL_TILE_ROWS - 1) / BL_TILE_ROWS * BL_TILE_ROWS;
    if (low) j.block_rows = BL_MAX(j.block_rows, LOW_ROWS);
    j.blocks = (rows + j.block_rows - 1) / j.block_rows;
    j.cols = low ? (in + LOW_COLS - 1) / LOW_COLS : (in + COLS - 1) / COLS;
    bl_team_run(j.c->team, threads, low ? run_low : run_task, &j, j.blocks * j.cols);
    return BL_OK;
}

static bool applicable(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    (void)w;
    return a->transpose && ((const bl_cpu *)be->own)->isa >= BL_ISA_AVX512;
}

const bl_kernel_family bl_family_gemm_transposed_avx512 = {
    .op = "linear",
    .backend = "cpu",
    .doc = "transposed: columns of decoded weights turned into panels, tiles of 6 rows by 8 columns",
    .any = true,
    .transpose = true,
    .bitwise = true,
    .nmse_limit = 1e-11,
    .decode_ns = 1,
    .product_ns = 0.025,
    .applicable = applicable,
    .run = run,
};
