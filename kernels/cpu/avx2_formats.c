/* avx2_formats.c - for every format with a fast decoder: rows into panels, and products of one or two rows without a
 * panel. */
#include "avx2.h"
#include "lanes.h"
#include "avx2_decode.h"

/* ---- into a panel ---- */
BL_INLINE void unpack_as(kind kd, const bl_source *s, int64_t row, int64_t k0, int64_t n, float *dst, int64_t stride)
{
    const uint8_t *p = row_of(kd, s, row);
    const tables t = tables_of(kd, s);
    int64_t len = segment(kd, s), end = k0 + n, known = -1;
    float scale[8] = {0}, zero[8] = {0};
    if (is_block(kd)) {
        for (int64_t i = k0 / 32; i < end / 32; i++) {
            const uint8_t *b = segment_of(kd, s, p, i);
            const shared h = head_of(kd, b, i);
#pragma GCC unroll 4
            for (int step = 0; step < 4; step++, dst += stride) _mm256_storeu_ps(dst, next(kd, s, b, step, &h, &t));
        }
        return;
    }
    for (int64_t k = k0; k < end;) {
        int64_t i = k / len, stop = BL_MIN((i + 1) * len, end), step = (k - i * len) / 8, whole = step + (stop - k) / 8;
        if (!is_dense(kd) && known != i / 8) groups8(kd, s, row, (known = i / 8) * 8, scale, zero);
        const shared h = {.scale = _mm256_broadcast_ss(scale + i % 8), .zero = _mm256_broadcast_ss(zero + i % 8)};
        const uint8_t *b = segment_of(kd, s, p, i);
#pragma GCC unroll 4
        for (; step < whole; step++, dst += stride) _mm256_storeu_ps(dst, next(kd, s, b, step, &h, &t));
        if ((stop - k) % 8) /* the end of the row */
            _mm256_storeu_ps(
                dst, _mm256_and_ps(next(kd, s, b, step, &h, &t), _mm256_castsi256_ps(bl_first((stop - k) % 8))));
        k = stop;
    }
}

/* ---- one or two rows of x, four outputs ---- */
/* One step: 8 of x times 8 of each of four outputs. */
BL_INLINE void step4(kind kd, int rows, const bl_source *s, const float *x0, const float *x1, const uint8_t *const b[4],
                     int64_t i, const shared h[4], const tables *t, __m256 in, bool last, __m256 acc[2][4])
{
    __m256 v0 = _mm256_loadu_ps(x0), v1 = rows > 1 ? _mm256_loadu_ps(x1) : v0;
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m256 w = next(kd, s, b[j], i, &h[j], t);
        if (last) w = _mm256_and_ps(w, in);
        acc[0][j] = _mm256_fmadd_ps(v0, w, acc[0][j]);
        if (rows > 1) acc[1][j] = _mm256_fmadd_ps(v1, w, acc[1][j]);
    }
}

BL_INLINE void gemv_as(kind kd, int rows, const bl_gemv *g, int64_t row, int64_t n)
{
    const bl_source *s = g->w;
    const tables t = tables_of(kd, s);
    const uint8_t *p[4], *b[4];
    const float *x0 = g->x, *x1 = g->x + (rows > 1 ? g->ldx : 0);
    int64_t o[4], len = segment(kd, s), in = s->shape.in;
    int64_t bytes = is_dense(kd)   ? 0
                    : is_block(kd) ? block_bytes(kd)
                                   : BL_MIN(len, in) * bits_of(kd) / 8; /* of a segment */
    int64_t ahead = BL_MAX(4 * s->code_bytes, 4096);
    float scale[4][8] = {{0}}, zero[4][8] = {{0}};
    __m256 acc[2][4];
    for (int j = 0; j < 4; j++) {
        o[j] = row + BL_MIN(j, n - 1); /* past the last output the last one again */
        p[j] = row_of(kd, s, o[j]);
        acc[0][j] = acc[1][j] = _mm256_setzero_ps();
    }
    for (int64_t k = 0, i = 0; k < in; i++) {
        int64_t m = BL_MIN(len, in - k), whole = m / 8;
        shared h[4];
        if (!is_dense(kd) && !is_block(kd) && i % 8 == 0)
            for (int j = 0; j < 4; j++) groups8(kd, s, o[j], i, scale[j], zero[j]);
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            b[j] = segment_of(kd, s, p[j], i);
            h[j] = is_block(kd) ? head_of(kd, b[j], i)
                                : (shared){.scale = _mm256_broadcast_ss(&scale[j][i % 8]),
                                           .zero = _mm256_broadcast_ss(&zero[j][i % 8])};
        }
        for (int j = 0; j < 4 && !(is_super(kd) && i % 8); j++) /* short rows end before the hardware has learnt to run
                                                                    ahead */
            for (int64_t at = 0; at < bytes; at += 64) _mm_prefetch((const char *)b[j] + ahead + at, _MM_HINT_T0);
        const __m256 part = _mm256_castsi256_ps(bl_first(m % 8));
        if (is_block(kd)) {
#pragma GCC unroll 4
            for (int step = 0; step < 4; step++)
                step4(kd, rows, s, x0 + k + 8 * step, x1 + k + 8 * step, b, step, h, &t, part, false, acc);
        } else {
#pragma GCC unroll 4
            for (int64_t step = 0; step < whole; step++) {
                if (is_dense(kd) && step % (kd == FP32 ? 2 : 4) == 0)
                    for (int j = 0; j < 4; j++)
                        _mm_prefetch((const char *)b[j] + ahead + step * (kd == FP32 ? 32 : 16), _MM_HINT_T0);
                step4(kd, rows, s, x0 + k + 8 * step, x1 + k + 8 * step, b, step, h, &t, part, false, acc);
            }
            if (m % 8) step4(kd, rows, s, x0 + k + 8 * whole, x1 + k + 8 * whole, b, whole, h, &t, part, true, acc);
        }
        k += m;
    }
    for (int r = 0; r < rows; r++) bl_store4(g, r, row, n, bl_sum4(acc[r][0], acc[r][1], acc[r][2], acc[r][3]));
}

#define KIND(id)                                                                                                       \
    static void unpack_##id(const bl_source *s, int64_t row, int64_t k0, int64_t n, float *dst, int64_t stride)        \
    {                                                                                                                  \
        unpack_as(id, s, row, k0, n, dst, stride);                                                                     \
    }                                                                                                                  \
    static void gemv1_##id(const bl_gemv *g, int64_t row, int64_t n) { gemv_as(id, 1, g, row, n); }                    \
    static void gemv2_##id(const bl_gemv *g, int64_t row, int64_t n) { gemv_as(id, 2, g, row, n); }
/* clang-format off */
#define KINDS(X)                                                                                                       \
    X(INT1) X(INT2) X(INT3) X(INT4) X(INT5) X(INT6) X(INT7) X(INT8) X(TABLE2) X(TABLE3) X(TABLE4) X(TABLE8)            \
    X(FP32) X(FP16) X(BF16) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q8_0) X(Q2_K) X(Q3_K)                                    \
    X(Q4_K) X(Q5_K) X(Q6_K)
/* clang-format on */
KINDS(KIND)

static const struct {
    bl_unpack8 *unpack;
    bl_gemv4 *gemv[2];
} fast[] = {
#define ROW(id) [id] = {unpack_##id, {gemv1_##id, gemv2_##id}},
    KINDS(ROW)};

/* Any other format: its own decoder, which is plain C. */
static void unpack_plain(const bl_source *s, int64_t row, int64_t k0, int64_t n, float *dst, int64_t stride)
{
    float w[256];
    for (int64_t k = 0; k < n; k += 256) {
        int64_t m = BL_MIN(n - k, 256);
        s->format->unpack(s->format, &s->shape, s->part, row, k0 + k, m, w);
        for (int64_t i = m; i % 8; i++) w[i] = 0;
        for (int64_t i = 0; i < m; i += 8, dst += stride) _mm256_storeu_ps(dst, _mm256_loadu_ps(w + i));
    }
}

static int kind_of(const bl_format *f, const bl_shape *g)
{
    static const struct {
        const char *name;
        kind kd;
    } blocks[] = {
        {"fp32", FP32}, {"fp16", FP16}, {"bf16", BF16}, {"q4_0", Q4_0}, {"q4_1", Q4_1}, {"q5_0", Q5_0}, {"q5_1", Q5_1},
        {"q8_0", Q8_0}, {"q2_k", Q2_K}, {"q3_k", Q3_K}, {"q4_k", Q4_K}, {"q5_k", Q5_K}, {"q6_k", Q6_K},
    };
    const bool named = f->kind != BL_FMT_INT && f->kind != BL_FMT_TABLE;
    for (size_t i = 0; named && i < BL_COUNT(blocks); i++)
        if (strcmp(f->name, blocks[i].name) == 0) return (int)blocks[i].kd;
    if (named) return -1;
    if (g->group % 8 && g->group < g->in) return -1;                                 /* scales change inside of 8 */
    if (f->kind == BL_FMT_INT && f->bits == 1 && g->zero != BL_ZERO_NONE) return -1; /* INT1 is of signs */
    if (f->kind == BL_FMT_INT) return (int)INT1 + f->bits - 1;
    return f->bits == 8 ? (int)TABLE8 : f->bits >= 2 && f->bits <= 4 ? (int)TABLE2 + f->bits - 2 : -1;
}

/* As the integers that the codes of blocks are. */
static void as_codes(const bl_format *f, bl_source *s)
{
    s->blocks = bl_blocks_of(f);
    bl_lanes_as(&s->format, &s->shape);
    s->groups = bl_shape_groups(&s->shape);
}

static bl_source source_of(const bl_weight *w)
{
    const bl_format *f = w->format;
    bl_source s = {.format = f, .shape = w->shape, .layout = w->layout, .unpack = unpack_plain};
    bl_cpu_parts(w, s.part);
    s.groups = w->shape.group ? bl_shape_groups(&w->shape) : 0;
    s.code_bytes = f->kind == BL_FMT_BLOCK ? w->shape.in / f->block * f->block_bytes
                                           : bl_code_bytes(w->shape.in, f->bits);
    s.zero_bytes = bl_code_bytes(s.groups, f->bits);
    s.scale_step = BL_BAND * s.groups;
    if (w->layout && f->kind == BL_FMT_BLOCK) {
        as_codes(f, &s);
        s.part[1] = (const char *)s.part[0] + BL_BAND * bl_code_bytes(s.shape.in, s.format->bits);
        s.scale_step = BL_BAND * s.code_bytes / 2;
    }
    return s;
}

bool bl_source_decoded(const bl_weight *w) { return kind_of(w->format, &w->shape) >= 0; }

void bl_source_any(const bl_weight *w, bl_source *out) { *out = source_of(w); }

void bl_source_blocks(const bl_weight *w, bl_source *out)
{
    *out = source_of(w);
    if (!w->layout) as_codes(w->format, out);
}

void bl_source_of(const bl_weight *w, bl_source *out)
{
    int kd = kind_of(w->format, &w->shape);
    *out = source_of(w);
    if (kd < 0) return;
    if (w->layout) {
        out->unpack = bl_lanes_unpack(out);
        return;
    }
    out->unpack = fast[kd].unpack;
    out->gemv[0] = fast[kd].gemv[0];
    out->gemv[1] = fast[kd].gemv[1];
}

/* ---- one or two rows of x: a task is a run of outputs ---- */
static void run_task(const bl_gemm *g, int64_t task, void *scratch)
{
    const bl_source *s = g->v.w;
    int64_t o0 = task * g->chunk, outs = BL_MIN(g->chunk, s->shape.out - o0);
    (void)scratch;
    for (int64_t o = 0; o < outs; o += 4) s->gemv[g->rows - 1](&g->v, o0 + o, BL_MIN(outs - o, 4));
}

void bl_gemv_plan(bl_gemm *g, int64_t rows)
{
    g->rows = g->block_rows = rows;
    g->blocks = 1;
    g->chunk = g->v.w->shape.out >= 4096 ? 64 : 16;
    g->chunks = (g->v.w->shape.out + g->chunk - 1) / g->chunk;
    g->task = run_task;
}

static bool applicable(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    return a->x.dim[0] <= 2 && !w->layout && bl_product_fits(be, BL_ISA_AVX2, a, w, false) && bl_source_decoded(w);
}

const bl_kernel_family bl_family_gemv_avx2 = {
    .op = "linear",
    .backend = "cpu",
    .doc = "one or two rows, weights decoded in registers, four outputs at a time",
    .bitwise = true,
    .nmse_limit = 1e-11,
    .decode_ns = 0.1,
    .product_ns = 0.05,
    .applicable = applicable,
    .run = bl_product_run,
    .own = &(const bl_cpu_product){.source = bl_source_of, .plan = bl_gemv_plan},
};
