/* linear.c - y = A(T x) Wt + bias + adapters: the input is made ready once, every weight takes the cheapest family that
 * can do it.
 *
 * stream  at most 16 rows of packed weights in groups of 128, through shared memory to tensor cores
 * gemv    one row: weights are decoded in registers, exactly
 * mid     at most 256 rows of packed weights, on Hopper: decoded in registers, as an operand of four warps
 * few     at most 32 rows of packed weights: decoded in registers, on tensor cores
 * whole   any number of rows, activations of 8 bits, one scale a row: weights of 8 and 4 bits, integers or floats, on
 *         tensor cores for bytes, on Hopper
 * linear  any number of rows: bf16 weights as they are, others decoded into bf16 rows a slab at a time; cuBLAS, or with
 *         `deterministic` products of our own, whose bits do not depend on the number of rows (fixed.cu, gemm.cu)
 *
 * Other quantized activations are simulated.
 */
#include "cuda.h"
#include "eight.h"
#include "mid.h"
#include "kernels/fmt_table.h"

#define NO_TENSOR "the driver does not describe a weight of %lld x %lld as a tensor"
enum { SLAB_BYTES = 112 << 20 }; /* decoded weights */

bl_status bl_cuda_gemm(bl_backend *be, const uint16_t *x, int64_t ldx, const uint16_t *w, int64_t ldw, bool turned,
                       int64_t rows, int64_t out, int64_t in, void *y, bool f32, int64_t ldy, bool accumulate,
                       bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    const float one = 1, beta = accumulate ? 1 : 0;
    if (!rows) return BL_OK;
    if (be->opts.deterministic && !turned) {
        if (bl_cu_hopper() && bl_cu_fixed_takes(x, ldx, w, ldw, rows, out, in)) {
            bool there = bl_cu_fixed(c->now, x, ldx, w, ldw, rows, out, in, y, f32, ldy, accumulate, c->stream.sms);
            BL_TRY(bl_cuda_launched(be, "linear", e));
            if (!there) st = bl_fail(e, BL_E_DEVICE, "linear: " NO_TENSOR, (long long)out, (long long)in);
            goto out;
        }
        bl_cu_gemm(c->now, x, ldx, w, ldw, rows, out, in, y, f32, ldy, accumulate);
        return bl_cuda_launched(be, "linear", e);
    }
    if (BL_MAX(BL_MAX(rows, out), BL_MAX(in, BL_MAX(ldx, BL_MAX(ldw, ldy)))) > INT32_MAX)
        return bl_fail(e, BL_E_UNSUPPORTED, "linear: a product of %lld x %lld x %lld is too large", (long long)rows,
                       (long long)out, (long long)in);
    BL_TRY(bl_cuda_blas(be, e));
    /* By columns, as cuBLAS counts: yt = W xt, or Wt xt. */
    int m = (int)(turned ? in : out), k = (int)(turned ? out : in);
    BL_TRY(bl_cuda_blas_status(c->blas.cublasGemmEx(c->blas.handle, turned ? CUBLAS_OP_N : CUBLAS_OP_T, CUBLAS_OP_N, m,
                                                    (int)rows, k, &one, w, CUDA_R_16BF, (int)ldw, x, CUDA_R_16BF,
                                                    (int)ldx, &beta, y, f32 ? CUDA_R_32F : CUDA_R_16BF, (int)ldy,
                                                    CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
                               "linear", e));
out:
    return st;
}

/* ---- the input ---- */

/* A(T x) of all rows as bf16, in scratch; x itself where nothing is done to it. The rows of a range of the whole tensor
 * are looked at together, so all are there in f32. */
static bl_status input(bl_backend *be, const bl_linear_args *a, bl_tensor *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    int64_t rows = a->x.dim[0], in = a->w[0]->shape.in, wide = bl_cuda_widest(&a->x, a->t, a->n_t);
    const bl_actq *q = &a->act;
    float *t, *range = NULL;
    void *x, *ends;
    *out = a->x;
    if ((!a->n_t && !q->bits) || !rows) return BL_OK;
    BL_TRY(bl_cuda_transformed(be, &a->x, a->t, a->n_t, &t, e));
    if (q->bits) {
        bool of_all = q->unit == BL_ACT_TENSOR;
        if (of_all && q->scale == 0) {
            BL_TRY(bl_cuda_need(be, BL_SCRATCH_LOW, (uint64_t)(3 * rows + 2) * sizeof(float), &ends, e));
            range = (float *)ends + 3 * rows;
            bl_cu_act_range(c->now, t, wide, rows, in, q->bits, q->symmetric, ends, range);
        }
        if (q->unit == BL_ACT_FP8) bl_cu_act_fp8(c->now, t, wide, rows, in);
        else
            bl_cu_act_simulate(c->now, t, wide, rows, in, q->unit == BL_ACT_GROUP ? q->group : in, q->bits,
                               q->symmetric, range, of_all ? q->scale : 0, of_all ? q->zero : 0);
    }
    int64_t ld = (in + 7) / 8 * 8;
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_X, (uint64_t)(rows * ld) * sizeof(uint16_t), &x, e));
    bl_cu_to_bf16(c->now, t, wide, x, ld, rows, in, 1);
    BL_TRY(bl_cuda_launched(be, "linear", e));
    /* A view into scratch: of no buffer, so the address is kept apart. */
    *out = (bl_tensor){.dtype = BL_BF16, .ndim = 2, .dim = {rows, in}, .stride = {ld, 1}};
out:
    return st;
}

/* ---- products ---- */
typedef struct product {
    const uint16_t *x;
    const bl_cu_eight *codes; /* of all rows, of which these are from row0 on; NULL: x is */
    int64_t ldx, row0, rows;
    void *y;
    bool f32;
    int64_t ldy;
    bool accumulate;
    const bl_cu_beside *beside; /* an adapter that goes into the weight while that is decoded; NULL: none */
    const bl_linear_args *of;   /* its norm or gate */
} product;

/* Rows of a weight that are decoded together, each `ld` numbers of bf16. */
static int64_t slab_rows(int64_t out, int64_t ld)
{
    int64_t at_once = BL_MAX(SLAB_BYTES / (ld * (int64_t)sizeof(uint16_t)), 1);
    if (at_once > 128) at_once -= at_once % 128; /* cuBLAS is slow where outputs are no whole vectors */
    return BL_MIN(at_once, out);
}

static int64_t eights(int64_t n) { return (n + 7) / 8 * 8; }
static uint64_t low_bytes(int64_t rows, int64_t rank) { return (uint64_t)(rows * eights(rank)) * sizeof(uint16_t); }

/* Rows at a time whose products are turned in f32. */
static int64_t turned_rows(int64_t rows, int64_t out)
{
    int64_t at_once = BL_CUDA_INPUT_BYTES / (out * (int64_t)sizeof(float)) / BL_CU_EIGHT_TILE * BL_CU_EIGHT_TILE;
    return BL_MIN(rows, BL_MAX(at_once, BL_CU_EIGHT_TILE));
}

static bl_cu_beside beside_of(const bl_lowrank *l)
{
    return (bl_cu_beside){.a = bl_cuda_at(&l->a), .b = bl_cuda_at(&l->b), .rank = l->a.dim[0], .scale = l->scale};
}

/* Beside few rows an adapter by itself is less work, on the way back beside more than on the way there: inner products
 * are wanted there anyway. Bits that do not depend on the number of rows want one way. */
enum { JOINED_ROWS = 1024, JOINED_BACK_ROWS = 4096 };
bool bl_cuda_joins(const bl_backend *be, const bl_linear_args *a)
{
    bl_cu_weight cw;
    if (a->n_adapters != 1 || a->n_t || a->n_s || a->act.bits || be->opts.deterministic ||
        a->x.dim[0] < (a->transpose ? JOINED_BACK_ROWS : JOINED_ROWS) ||
        bl_cuda_weight(be, a->w[0], &cw, NULL) != BL_OK)
        return false;
    const bl_cu_beside b = beside_of(a->adapter);
    return bl_cu_join_takes(&cw, &b);
}

/* What `before_it_is_added` takes: outputs as wide as the residual stream are added to it. */
static uint64_t added_bytes(const bl_backend *be, const bl_weight *w, int64_t rank, int64_t rows)
{
    const bl_cu_beside b = {.rank = rank};
    bl_cu_weight cw;
    if (!be->opts.deterministic && bl_cuda_weight(be, w, &cw, NULL) == BL_OK && bl_cu_join_takes(&cw, &b))
        rows = BL_MIN(rows, JOINED_ROWS - 1);
    return (uint64_t)(rows * eights(w->shape.out)) * sizeof(uint16_t);
}

/* What the ops of a training pass ask for, by its use: as by_slabs, adapter, bl_cuda_transformed, those of backward.c
 * and solve.c do. */
uint64_t bl_cuda_train_scratch(const bl_backend *be, const bl_train_scratch_args *a)
{
    const bl_cuda *c = be->own;
    uint64_t need[BL_SCRATCHES] = {[BL_SCRATCH_BLAS] = BL_CUDA_BLAS_BYTES}, sum = 0, parts = (uint64_t)a->rows, one = 0;
    const int64_t of_heads = a->rows * a->heads;
    for (size_t i = 0; i < a->n; i++) {
        const bl_shape *s = &a->of[i].w->shape;
        const int64_t ld = eights(s->in), rank = a->of[i].rank;
        const bool as_is = a->of[i].w->format->kind == BL_FMT_DENSE && a->of[i].w->part[0].dtype == BL_BF16;
        uint64_t slab = as_is ? 0 : (uint64_t)(slab_rows(s->out, ld) * ld) * sizeof(uint16_t);
        if (rank) {
            const int64_t all = BL_LOWRANK_MOST * eights(rank);
            const uint64_t da = (uint64_t)(all * s->in) * sizeof(float);
            slab = BL_MAX(slab, (uint64_t)(all * (ld + s->out)) * sizeof(uint16_t) + da);
            need[BL_SCRATCH_LOW] = BL_MAX(need[BL_SCRATCH_LOW], low_bytes(a->rows, rank));
            need[BL_SCRATCH_ROWS] = BL_MAX(need[BL_SCRATCH_ROWS], (uint64_t)(a->rows * rank) * sizeof(float));
            if (s->out == a->dim)
                need[BL_SCRATCH_SUM] = BL_MAX(need[BL_SCRATCH_SUM], added_bytes(be, a->of[i].w, rank, a->rows));
        }
        need[BL_SCRATCH_SLAB] = BL_MAX(need[BL_SCRATCH_SLAB], slab);
        const uint64_t in_f32 = (uint64_t)(turned_rows(a->rows, s->out) * s->out) * sizeof(float);
        if (a->of[i].turned) need[BL_SCRATCH_ROWS] = BL_MAX(need[BL_SCRATCH_ROWS], in_f32);
        if (a->of[i].scaled) {
            one = BL_MAX(one, in_f32);
            parts = BL_MAX(parts, (uint64_t)(bl_cu_dora_parts(a->rows) * s->out + 2));
        }
        parts = BL_MAX(parts, (uint64_t)s->out); /* how often each token is there */
        if (a->of[i].bias) parts = BL_MAX(parts, (uint64_t)(bl_cu_parts(a->rows) * s->out));
    }
    if (bl_cu_hopper())
        need[BL_SCRATCH_SLAB] = BL_MAX(need[BL_SCRATCH_SLAB], bl_cu_kept_room(a->rows, a->heads, a->head_dim));
    need[BL_SCRATCH_ROWS2] = need[BL_SCRATCH_ROWS];
    need[BL_SCRATCH_ROWS] = BL_MAX(need[BL_SCRATCH_ROWS], one);
    parts = BL_MAX(parts, (uint64_t)(2 * of_heads)); /* attention, then the norms of rows and of heads */
    parts = BL_MAX(parts, (uint64_t)(a->rows + a->dim * bl_cu_parts(a->rows)));
    parts = BL_MAX(parts, (uint64_t)(of_heads + a->head_dim * bl_cu_parts(of_heads)));
    need[BL_SCRATCH_PARTS] = parts * sizeof(float);
    need[BL_SCRATCH_SOLVE] = ((uint64_t)(a->gradients / BL_CU_SUMS_PIECE) + (uint64_t)a->n_gradients) * sizeof(double);
    for (int i = 0; i < BL_SCRATCHES; i++) sum += need[i] - BL_MIN(need[i], c->scratch[i].bytes);
    return sum;
}

/* bf16 weights as they are, others a slab of decoded rows at a time. */
static bl_status by_slabs(bl_backend *be, const bl_weight *w, const product *p, bool turned, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    bl_cu_weight cw;
    int64_t in = w->shape.in, out = w->shape.out, ld = (in + 7) / 8 * 8;
    size_t size = p->f32 ? sizeof(float) : sizeof(uint16_t);
    void *slab;
    BL_TRY(bl_cuda_weight(be, w, &cw, e));
    if (cw.kind == BL_CU_DENSE && cw.bits == 15) {
        BL_TRY(bl_cuda_gemm(be, p->x, p->ldx, (const uint16_t *)cw.codes, in, turned, p->rows, out, in, p->y, p->f32,
                            p->ldy, p->accumulate, e));
        goto out;
    }
    int64_t at_once = slab_rows(out, ld);
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_SLAB, (uint64_t)(at_once * ld) * sizeof(uint16_t), &slab, e));
    for (int64_t o = 0; o < out; o += at_once) {
        int64_t n = BL_MIN(at_once, out - o);
        if (p->beside) bl_cu_join(c->now, &cw, p->beside, o, n, slab, ld, c->stream.sms);
        else bl_cu_unpack(c->now, &cw, o, n, NULL, slab, false, ld);
        BL_TRY(bl_cuda_launched(be, "linear", e));
        if (turned) /* the sum over outputs goes on */
            BL_TRY(bl_cuda_gemm(be, p->x + o, p->ldx, slab, ld, true, p->rows, n, in, p->y, p->f32, p->ldy,
                                p->accumulate || o, e));
        else
            BL_TRY(bl_cuda_gemm(be, p->x, p->ldx, slab, ld, false, p->rows, n, in, (char *)p->y + (size_t)o * size,
                                p->f32, p->ldy, p->accumulate, e));
    }
out:
    return st;
}

/* Where a product with an adapter is made that is added to activations: what an adapter that has just begun puts out is
 * less than half of the last place of most of those, so that all of it would be lost there; beside the product itself,
 * as in peft, some is. */
static bl_status before_it_is_added(bl_backend *be, int64_t out, product *p, bl_err *e)
{
    void *sum;
    bl_status st = bl_cuda_need(be, BL_SCRATCH_SUM, (uint64_t)(p->rows * eights(out)) * sizeof(uint16_t), &sum, e);
    if (st != BL_OK) return st;
    p->y = sum;
    p->ldy = eights(out);
    p->accumulate = false;
    return BL_OK;
}

/* y (+)= scale * (x At) Bt */
static bl_status adapter(bl_backend *be, const bl_linear_args *a, const bl_lowrank *l, const product *p, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    int64_t rank = l->a.dim[0], in = a->x.dim[1], out = l->b.dim[0], rows = p->rows;
    int64_t ld_in = eights(in), ld_rank = eights(rank);
    bl_cu_narrow narrow = {0};
    void *slab, *low;
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_SLAB, (uint64_t)(rank * ld_in + out * ld_rank) * sizeof(uint16_t), &slab, e));
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_LOW, low_bytes(rows, rank), &low, e));
    uint16_t *A = slab, *B = A + rank * ld_in;
    bl_cu_narrow_add(&narrow, bl_cuda_at(&l->a), in, A, ld_in, rank, rank, in, 1);
    bl_cu_narrow_add(&narrow, bl_cuda_at(&l->b), rank, B, ld_rank, out, out, rank, l->scale);
    bl_cu_to_bf16_all(c->now, &narrow);
    BL_TRY(bl_cuda_gemm(be, bl_cuda_at(&a->x), a->x.stride[0], A, ld_in, false, rows, rank, in, low, false, ld_rank,
                        false, e));
    BL_TRY(bl_cuda_gemm(be, low, ld_rank, B, ld_rank, false, rows, out, rank, p->y, p->f32, p->ldy, p->accumulate, e));
out:
    return st;
}

/* All adapters before the weight: a short product writes y at the speed of memory and the long one hides that it reads
 * it, while a short one that adds to y takes more than twice the time. */
static bl_status adapters(bl_backend *be, const bl_linear_args *a, product *p, bl_err *e)
{
    bl_status st = BL_OK;
    for (int j = 0; j < a->n_adapters; j++) {
        BL_TRY(adapter(be, a, &a->adapter[j], p, e));
        p->accumulate = true;
    }
out:
    return st;
}

/* The product of one weight with input x, by a family. */
typedef struct by_family {
    bl_status (*run)(bl_backend *be, const bl_weight *w, const product *p, bool turned, bl_err *e);
    bool codes; /* reads x as codes */
} by_family;

static bl_status by_few(bl_backend *be, const bl_weight *w, const product *p, bool turned, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    bl_cu_weight cw;
    (void)turned;
    BL_TRY(bl_cuda_weight(be, w, &cw, e));
    bl_cu_few(c->now, &cw, p->x, p->ldx, p->rows, p->y, p->f32, p->ldy, p->accumulate);
    BL_TRY(bl_cuda_launched(be, "linear", e));
out:
    return st;
}

static bl_status by_gemv(bl_backend *be, const bl_weight *w, const product *p, bool turned, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    bl_cu_weight cw;
    (void)turned;
    BL_TRY(bl_cuda_weight(be, w, &cw, e));
    bl_cu_gemv(c->now, &cw, p->x, p->y, p->f32, p->accumulate);
    BL_TRY(bl_cuda_launched(be, "linear", e));
out:
    return st;
}

static bl_status stream(bl_backend *be, bl_cu_stacked *all, const product *p, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    void *parts;
    if (p->of->norm.buf) all->norm = bl_cuda_at(&p->of->norm);
    if (p->of->gate.buf) all->gate = bl_cuda_at(&p->of->gate);
    all->ldg = p->of->gate.stride[0];
    all->eps = (float)p->of->eps;
    const bl_cu_stream_plan *plan = bl_cu_stream_planned(&all->like, p->rows, &c->stream);
    if (plan->C > 1) {
        const uint64_t bytes = (uint64_t)(plan->C * p->rows * all->like.out) * sizeof(float);
        BL_TRY(bl_cuda_need(be, BL_SCRATCH_STREAM, bytes, &parts, e));
        c->stream.parts = parts;
    }
    bl_cu_stream(c->now, all, plan, p->x, p->ldx, p->rows, p->f32, p->accumulate, &c->stream);
    BL_TRY(bl_cuda_launched(be, "linear", e));
out:
    return st;
}

static bl_status by_stream(bl_backend *be, const bl_weight *w, const product *p, bool turned, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cu_weight cw;
    bl_cu_stacked all = {0};
    (void)turned;
    BL_TRY(bl_cuda_weight(be, w, &cw, e));
    bl_cu_stream_stack(&all, &cw, p->y, p->ldy);
    BL_TRY(stream(be, &all, p, e));
out:
    return st;
}

static bl_status by_mid(bl_backend *be, const bl_weight *w, const product *p, bool turned, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    bl_cu_weight cw;
    void *parts, *space;
    (void)turned;
    BL_TRY(bl_cuda_weight(be, w, &cw, e));
    const bl_cu_mid_plan plan = bl_cu_mid_planned(&cw, p->rows, &c->stream);
    if (plan.part_bytes) {
        BL_TRY(bl_cuda_need(be, BL_SCRATCH_STREAM, plan.part_bytes, &parts, e));
        c->stream.parts = parts;
    }
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_MID, plan.space_bytes, &space, e));
    bl_cu_mid(c->now, &cw, &plan, p->x, p->ldx, p->rows, space, p->y, p->f32, p->ldy, p->accumulate, &c->stream);
    BL_TRY(bl_cuda_launched(be, "linear", e));
out:
    return st;
}

/* The codes of the rows of p. */
static bl_cu_eight some_codes(const product *p)
{
    bl_cu_eight some = *p->codes;
    some.codes += p->row0 * BL_CU_EIGHT_CHUNK;
    some.scale += p->row0;
    some.sum += p->row0;
    some.rows = p->rows;
    return some;
}

static bl_status by_whole(bl_backend *be, const bl_weight *w, const product *p, bool turned, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    bl_cu_weight cw;
    const bl_cu_eight some = some_codes(p);
    (void)turned;
    BL_TRY(bl_cuda_weight(be, w, &cw, e));
    bool there = bl_cu_whole_product(c->now, &cw, &some, p->y, p->f32, p->ldy, p->accumulate, c->stream.sms);
    BL_TRY(bl_cuda_launched(be, "linear", e));
    if (!there) st = bl_fail(e, BL_E_DEVICE, "linear: " NO_TENSOR, (long long)cw.out, (long long)cw.in);
out:
    return st;
}

/* Rows of x are whole vectors; what was made ready always is. */
static bool whole(const bl_linear_args *a)
{
    return a->n_t || a->act.bits || !a->x.buf || (a->x.stride[0] % 8 == 0 && (uintptr_t)bl_cuda_at(&a->x) % 16 == 0);
}

/* What the kernels ask of a weight: kind, widths, groups, zeros. */
static bl_cu_weight outline(const bl_weight *w)
{
    static const int kinds[] = {[BL_FMT_DENSE] = BL_CU_DENSE,
                                [BL_FMT_INT] = BL_CU_INT,
                                [BL_FMT_TABLE] = BL_CU_TABLE,
                                [BL_FMT_BLOCK] = BL_CU_BLOCK,
                                [BL_FMT_CODES] = BL_CU_CODES};
    const bl_format *f = w->format;
    return (bl_cu_weight){.kind = kinds[f->kind],
                          .bits = f->kind == BL_FMT_DENSE && f->ggml_type == 30 ? 15 : f->bits,
                          .in = w->shape.in,
                          .group = w->shape.group,
                          .zero_type = (int)w->shape.zero,
                          .e4m3 = f->table == bl_fp8_e4m3,
                          .scale_type = w->shape.double_quant ? 3 : bl_cuda_scale_type(w->shape.scale)};
}

/* The rows of x as codes, in scratch, of the kind that weight w wants; `codes` as it is where it is so already. */
static bl_status codes_input(bl_backend *be, const bl_linear_args *a, const bl_weight *w, bl_cu_eight *codes, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    bl_cu_weight cw;
    bl_cu_eight to;
    void *space;
    const int64_t rows = a->x.dim[0];
    BL_TRY(bl_cuda_weight(be, w, &cw, e));
    const uint64_t bytes = bl_cu_whole_plan(&cw, rows, &to);
    if (codes->codes && codes->floats == to.floats && codes->apart == to.apart) goto out;
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_EIGHT, bytes, &space, e));
    bl_cu_whole_place(&to, space);
    const bool f32 = a->n_t || !whole(a);
    const void *x = bl_cuda_at(&a->x);
    float *t;
    if (f32) {
        BL_TRY(bl_cuda_transformed(be, &a->x, a->t, a->n_t, &t, e));
        x = t;
    }
    bl_cu_whole_codes(c->now, x, f32, f32 ? bl_cuda_widest(&a->x, a->t, a->n_t) : a->x.stride[0], &to);
    BL_TRY(bl_cuda_launched(be, "linear", e));
    *codes = to;
out:
    return st;
}

/* S multiplies outputs, and nothing else. */
static bool only_scaled(const bl_linear_args *a) { return a->n_s == 1 && a->s->kind == BL_T_SCALE; }

/* y (+)= S(x Wt) + bias, some rows at a time. */
static bl_status turned(bl_backend *be, const bl_linear_args *a, const by_family *how, const product *whole, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    const int64_t out = a->w[0]->shape.out, at_once = turned_rows(whole->rows, out);
    const size_t size = whole->f32 ? sizeof(float) : sizeof(uint16_t);
    void *v, *other;
    float *done;
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_ROWS, (uint64_t)(at_once * out) * sizeof(float), &v, e));
    if (!only_scaled(a))
        BL_TRY(bl_cuda_need(be, BL_SCRATCH_ROWS2, (uint64_t)(at_once * out) * sizeof(float), &other, e));
    for (int64_t r = 0; r < whole->rows; r += at_once) {
        char *y = (char *)whole->y + (size_t)(r * whole->ldy) * size;
        product p = *whole;
        p.rows = BL_MIN(at_once, whole->rows - r);
        p.row0 = r;
        if (!p.codes) p.x += r * p.ldx;
        p.y = v;
        p.ldy = out;
        p.f32 = true;
        p.accumulate = false;
        BL_TRY(how->run(be, a->w[0], &p, false, e));
        if (only_scaled(a)) {
            bl_cu_scale_outputs(c->now, &(bl_cu_scaled){.x = v,
                                                        .y = y,
                                                        .by = bl_cuda_at(&a->s->data),
                                                        .bias = bl_cuda_at(&a->bias[0]),
                                                        .ldx = out,
                                                        .ldy = whole->ldy,
                                                        .rows = p.rows,
                                                        .n = out,
                                                        .x32 = true,
                                                        .y32 = whole->f32,
                                                        .accumulate = whole->accumulate});
            BL_TRY(bl_cuda_launched(be, "linear", e));
            continue;
        }
        BL_TRY(bl_cuda_turn(be, v, other, out, p.rows, a->s, a->n_s, &done, e));
        if (a->bias[0].buf) bl_cu_add_bias(c->now, done, true, out, bl_cuda_at(&a->bias[0]), p.rows, out);
        bl_cu_put_rows(c->now, done, out, y, whole->f32, whole->ldy, p.rows, out, whole->accumulate);
        BL_TRY(bl_cuda_launched(be, "linear", e));
    }
out:
    return st;
}

/* The weights of `a` as tiles of one launch; *done: they were alike, and it was one. */
static bl_status together(bl_backend *be, const bl_linear_args *a, const bl_kernel_family *const k[], const product *p,
                          bool *done, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cu_stacked all = {0};
    const int n = bl_linear_weights(a);
    *done = false;
    if (n < 2 || a->n_s || a->n_adapters) return BL_OK;
    for (int i = 0; i < n; i++) {
        bl_cu_weight cw;
        if (((const by_family *)k[i]->own)->run != by_stream || a->y[i].dtype != a->y[0].dtype) return BL_OK;
        BL_TRY(bl_cuda_weight(be, a->w[i], &cw, e));
        if (!bl_cu_stream_stack(&all, &cw, bl_cuda_at(&a->y[i]), a->y[i].stride[0])) return BL_OK;
    }
    BL_TRY(stream(be, &all, p, e));
    *done = true;
out:
    return st;
}

static bl_status all_weights(bl_backend *be, const bl_linear_args *a, const bl_kernel_family *const k[], bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    bl_tensor x = a->x;
    int64_t rows = a->x.dim[0];
    bl_cu_eight codes = {0};
    bl_cu_beside beside;
    bool floats = false, done = false;
    if (!rows) return BL_OK;
    for (int i = 0; i < bl_linear_weights(a); i++) floats = floats || !((const by_family *)k[i]->own)->codes;
    if (!a->transpose && floats) BL_TRY(input(be, a, &x, e));
    for (int i = 0; i < bl_linear_weights(a); i++) {
        const by_family *how = k[i]->own;
        if (how->codes) BL_TRY(codes_input(be, a, a->w[i], &codes, e));
        product p = {.codes = how->codes ? &codes : NULL,
                     .x = x.buf ? bl_cuda_at(&x) : c->scratch[BL_SCRATCH_X].p,
                     .ldx = x.stride[0],
                     .rows = rows,
                     .y = bl_cuda_at(&a->y[i]),
                     .f32 = a->y[i].dtype == BL_F32,
                     .ldy = a->y[i].stride[0],
                     .accumulate = a->accumulate,
                     .of = a};
        if (how->run == by_slabs && bl_cuda_joins(be, a)) {
            beside = beside_of(a->adapter);
            p.beside = &beside;
        }
        const bool apart = a->n_adapters && !p.beside && p.accumulate && !p.f32;
        if (apart) BL_TRY(before_it_is_added(be, a->w[i]->shape.out, &p, e));
        if (!p.beside) BL_TRY(adapters(be, a, &p, e));
        if (i == 0) BL_TRY(together(be, a, k, &p, &done, e));
        if (a->n_s) BL_TRY(turned(be, a, how, &p, e));
        else if (!done) BL_TRY(how->run(be, a->w[i], &p, a->transpose, e));
        if (a->bias[i].buf && !a->n_s) {
            bl_cu_add_bias(c->now, p.y, p.f32, p.ldy, bl_cuda_at(&a->bias[i]), rows, a->w[i]->shape.out);
            BL_TRY(bl_cuda_launched(be, "linear", e));
        }
        if (!apart) continue;
        bl_cu_add(c->now, p.y, p.ldy, bl_cuda_at(&a->y[i]), a->y[i].stride[0], rows, a->w[i]->shape.out);
        BL_TRY(bl_cuda_launched(be, "linear", e));
    }
out:
    return st;
}

bl_status bl_cuda_linear(bl_backend *be, const bl_linear_args *a, bl_err *e)
{
    bl_status st = bl_check_linear(be, a, e);
    const bl_kernel_family *k[BL_LINEAR_MOST];
    if (st != BL_OK) return st;
    bl_count_products(be, a);
    for (int i = 0; i < bl_linear_weights(a); i++)
        k[i] = bl_kernel_pick(be, a, a->w[i])->family; /* there is one: `linear` takes everything */
    return all_weights(be, a, k, e);
}

bool bl_cuda_prepares(const bl_backend *be, const bl_linear_args *a)
{
    const int n = bl_linear_weights(a);
    bool there = n > 0 && !a->transpose && !a->n_t && !a->act.bits && !a->n_adapters && !a->n_s &&
                 (!a->gate.buf || (a->gate.stride[0] % 8 == 0 && (uintptr_t)bl_cuda_at(&a->gate) % 16 == 0)) &&
                 (!a->norm.buf || (uintptr_t)bl_cuda_at(&a->norm) % 16 == 0);
    for (int i = 0; i < n && there; i++)
        there = ((const by_family *)bl_kernel_pick(be, a, a->w[i])->family->own)->run == by_stream;
    return there;
}

/* ---- the rows of the table of kernels ---- */
static bl_status run(const bl_kernel_family *k, bl_backend *be, const bl_linear_args *a, bl_err *e)
{
    const bl_kernel_family *const all[BL_LINEAR_MOST] = {k, k, k};
    return all_weights(be, a, all, e);
}

/* What is said to be a product of codes is one: no other family takes it then, whatever it costs. */
static bool takes_whole(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    const bl_cu_weight cw = outline(w);
    const bl_actq *q = &a->act;
    (void)be;
    return bl_cu_hopper() && !a->transpose && q->bits == 8 &&
           (cw.e4m3 ? q->unit == BL_ACT_FP8 : q->symmetric && q->unit == BL_ACT_TOKEN && q->scale == 0) &&
           bl_cu_whole_takes(&cw);
}

bool bl_cuda_integer(const bl_backend *be, const bl_linear_args *a)
{
    int n = bl_linear_weights(a);
    for (int i = 0; i < n; i++)
        if (!takes_whole(be, a, a->w[i])) return false;
    return n > 0;
}

static bool takes_few(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    const bl_cu_weight cw = outline(w);
    return !a->transpose && !be->opts.deterministic && whole(a) && bl_cu_few_takes(&cw, a->x.dim[0]) &&
           !takes_whole(be, a, w);
}

/* Whether a block has room for its part of x beside a ring and a table. */
static bool takes_stream(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    const bl_cu_weight cw = outline(w);
    const bl_cuda *c = be->own;
    int64_t part = (cw.in + BL_CU_STREAM_PARTS * 256 - 1) / (BL_CU_STREAM_PARTS * 256) * 256, rows = a->x.dim[0];
    return !a->transpose && !be->opts.deterministic && whole(a) && bl_cu_stream_takes(&cw, rows) &&
           !takes_whole(be, a, w) && rows * part * (rows <= 2 ? 4 : 2) + (56 << 10) <= c->stream.shared;
}

static bool takes_mid(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    const bl_cu_weight cw = outline(w);
    return bl_cu_hopper() && !a->transpose && !be->opts.deterministic && whole(a) &&
           bl_cu_mid_takes(&cw, a->x.dim[0]) && !takes_whole(be, a, w);
}

static bool takes_gemv(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    const bl_cu_weight cw = outline(w);
    return !a->transpose && !be->opts.deterministic && whole(a) && a->x.dim[0] == 1 && bl_cu_gemv_takes(&cw) &&
           !takes_whole(be, a, w);
}

static bool takes_any(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    (void)be;
    (void)a;
    (void)w;
    return true;
}

const bl_kernel_family bl_family_linear_cuda = {
    .op = "linear",
    .backend = "cuda",
    .doc = "decoded into bf16 rows, cuBLAS",
    .any = true,
    .nmse_limit = 2e-5, /* a weight that is no bf16 is rounded to one */
    .decode_ns = 1e-3,
    .product_ns = 1e-5,
    .applicable = takes_any,
    .run = run,
    .own = &(const by_family){by_slabs, false},
};

const bl_kernel_family bl_family_whole_cuda = {
    .op = "linear",
    .backend = "cuda",
    .doc = "activations of 8 bits: weights of 8 and 4 bits, tensor cores in integers or 8-bit floats, Hopper",
    .nmse_limit = 1e-7, /* exact sums of integers; of floats, sums of 128 products keep some 14 bits */
    .decode_ns = 5e-7,  /* before all others, see takes_whole */
    .product_ns = 5e-10,
    .applicable = takes_whole,
    .run = run,
    .own = &(const by_family){by_whole, true},
};

const bl_kernel_family bl_family_few_cuda = {
    .op = "linear",
    .backend = "cuda",
    .doc = "decoded in registers, tensor cores, 16 outputs a block",
    .nmse_limit = 2e-5, /* table values are rounded to bf16; integer codes are exact */
    .decode_ns = 2e-4,
    .product_ns = 1e-5,
    .applicable = takes_few,
    .run = run,
    .own = &(const by_family){by_few, false},
};

const bl_kernel_family bl_family_mid_cuda = {
    .op = "linear",
    .backend = "cuda",
    .doc = "decoded in registers, tensor cores, 256 outputs a block, at most 256 rows, Hopper",
    .nmse_limit = 2e-5,  /* weights are rounded to bf16 */
    .decode_ns = 5.8e-5, /* from nine rows on before `stream` */
    .product_ns = 1e-7,
    .applicable = takes_mid,
    .run = run,
    .own = &(const by_family){by_mid, false},
};

const bl_kernel_family bl_family_stream_cuda = {
    .op = "linear",
    .backend = "cuda",
    .doc = "through shared memory to tensor cores, at most 16 rows, groups of 128",
    .nmse_limit =
        2e-5, /* table values are rounded to bf16; integer codes are exact, x of two rows at most in 24 bits */
    .decode_ns = 5e-5,
    .product_ns = 1e-6,
    .applicable = takes_stream,
    .run = run,
    .own = &(const by_family){by_stream, false},
};

const bl_kernel_family bl_family_gemv_cuda = {
    .op = "linear",
    .backend = "cuda",
    .doc = "decoded in registers, a warp an output",
    .nmse_limit = 1e-10, /* f32 sums of exact products */
    .decode_ns = 1e-4,
    .product_ns = 2e-5,
    .applicable = takes_gemv,
    .run = run,
    .own = &(const by_family){by_gemv, false},
};
