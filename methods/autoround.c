/* autoround.c - AutoRound: which way each weight is rounded, and how far each range is shrunk, is learned block by
 * block by signed gradient descent (Cheng et al. 2023, arXiv 2309.05516; intel/auto-round).
 *
 *     L = mean |B^(x^) - B(x)|^2       B the block in the original model on the inputs x it has there, B^ with all its
 *                                      linears rounded, on the inputs x^ that the blocks before leave by now
 *     p <- p - lr (1 - i / iters) sign(dL/dp),   i = 0 .. iters - 1
 *
 * p: v of each weight, from 0; a and c of each group, from 1, kept in 0..1 (autoround.h: the grid). L is over `batch`
 * windows, drawn anew each step; the numbers with the least L seen are kept. With the sum of all steps at most a half,
 * a code is at most one away from the nearest.
 */
#include "autoround.h"
#include "harness/quant/calibrate.h"
#include "shared_block.h"
#include "shared_weight.h"
#include <math.h>
#include <string.h>

typedef struct opts {
    int64_t wbits, group, iters, batch;
    bool symmetric, ranges;
    double lr;
    int scale;
} opts;

static const char *const scales[] = {"fp16", "fp32", NULL};
static const bl_opt rows[] = {
    {"wbits", BL_OPT_INT, .min = 1, .max = 8, .def.i = 4, .at = offsetof(opts, wbits), .arg = "2..8",
     .doc = "bits of a weight"},
    {"group", BL_OPT_INT, .min = -1, .max = 65536, .def.i = 128, .at = offsetof(opts, group), .arg = "N",
     .doc = "weights that share a scale; -1: one scale a row"},
    {"symmetric", BL_OPT_BOOL, .at = offsetof(opts, symmetric),
     .doc = "no zero point: the largest of a group is exact, its scale may be negative"},
    {"iters", BL_OPT_INT, .min = 0, .max = 100000, .def.i = 200, .at = offsetof(opts, iters), .arg = "N",
     .doc = "steps of a block; 0: to the nearest"},
    {"batch", BL_OPT_INT, .min = 1, .max = 4096, .def.i = 8, .at = offsetof(opts, batch), .arg = "N",
     .doc = "windows of a step"},
    {"lr", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 0, .at = offsetof(opts, lr), .arg = "X",
     .doc = "the first step, they fall to 0; 0: 1 / iters"},
    {"ranges", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, ranges), .doc = "learn the ends of ranges too"},
    {"scale", BL_OPT_CHOICE, .choices = scales, .def.choice = 0, .at = offsetof(opts, scale),
     .doc = "type that scales are stored in"},
    {0}};

static void settle(void *options)
{
    opts *o = options;
    if (o->iters) return;
    o->batch = 8;
    o->lr = 0;
    o->ranges = true;
}

static bool target(const opts *o, const bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    return bl_int_of_block(lin, o->wbits, o->group, o->symmetric, o->scale ? BL_F32 : BL_F16, format, shape);
}

static bl_status check(const bl_method_run *r, bl_err *e)
{
    for (size_t i = 0; i < r->model->n_linears; i++) {
        const bl_linear *l = &r->model->linears[i];
        if (l->n_after || l->n_adapters || l->act.bits)
            return bl_fail(e, BL_E_UNSUPPORTED, "%s has %s, through which autoround learns nothing", l->name,
                           l->n_after      ? "turned outputs"
                           : l->n_adapters ? "an adapter"
                                           : "quantized inputs");
    }
    return BL_OK;
}

/* ---- a block ---- */

typedef struct learned { /* of one linear; host */
    bl_linear *lin;
    bl_autoround k;
    int64_t groups;
    float *w, *y;     /* [out, in] as it came; the rounded one, or the gradient */
    float *v, *a, *c; /* [out, in], [out, groups] x 2 */
    float *best_v, *best_a, *best_c;
    bl_tensor dw; /* f32 [out, in] */
} learned;

typedef struct work {
    const bl_method_run *r;
    const opts *o;
    learned lin[BL_N_ROLES];
    int n;
    bl_buffer *turned; /* inputs after a linear's transforms */
    bl_block_learner by;
    float step;
} work;

enum { ROWS = 16 }; /* of a piece */
static int64_t pieces(const learned *l) { return (l->lin->out + ROWS - 1) / ROWS; }

static void round_rows(void *ctx, int64_t piece)
{
    const learned *l = ctx;
    int64_t in = l->k.in, g = l->groups;
    for (int64_t i = piece * ROWS; i < BL_MIN((piece + 1) * ROWS, l->lin->out); i++)
        bl_autoround_row(&l->k, l->w + i * in, l->v + i * in, l->a + i * g, l->c + i * g, l->y + i * in, NULL, NULL);
}

typedef struct stepping {
    const work *k;
    const learned *l;
    float *dv, *da, *dc; /* [out, in], [out, groups] x 2 */
} stepping;

static float moved(float p, float d, float step) { return d > 0 ? p - step : d < 0 ? p + step : p; }

static void step_rows(void *ctx, int64_t piece)
{
    const stepping *s = ctx;
    const learned *l = s->l;
    int64_t in = l->k.in, g = l->groups;
    float step = s->k->step;
    for (int64_t i = piece * ROWS; i < BL_MIN((piece + 1) * ROWS, l->lin->out); i++) {
        float *v = l->v + i * in, *a = l->a + i * g, *c = l->c + i * g, *dv = s->dv + i * in, *da = s->da + i * g,
              *dc = s->dc + i * g;
        bl_autoround_row_grad(&l->k, l->w + i * in, v, a, c, l->y + i * in, dv, da, dc);
        for (int64_t j = 0; j < in; j++) v[j] = moved(v[j], dv[j], step);
        for (int64_t j = 0; j < g && s->k->o->ranges; j++) {
            a[j] = fminf(fmaxf(moved(a[j], da[j], step), 0), 1);
            c[j] = fminf(fmaxf(moved(c[j], dc[j], step), 0), 1);
        }
    }
}

/* The linears get the weights that v, a and c make. */
static bl_status make(work *k, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_ops *ops = k->r->ops;
    for (int i = 0; i < k->n; i++) {
        learned *l = &k->lin[i];
        BL_TRY(ops->each(k->r->be, &(bl_each_args){.n = pieces(l), .piece = round_rows, .ctx = l}, e));
        BL_TRY(ops->upload(k->r->be, &l->lin->weight.part[0], l->y, e));
    }
out:
    return st;
}

static bl_status linear_grad(work *k, bl_model *m, bl_role role, bl_tensor x, bl_tensor dy, bl_tensor dx,
                             bool accumulate, bl_err *e)
{
    bl_status st = BL_OK;
    bl_backend *be = m->be;
    learned *l = k->lin;
    while (l->lin->role != role) l++;
    bl_tensor seen = x;
    if (l->lin->n_transforms) {
        BL_TRY(bl_buffer_fit(be, &k->turned, (uint64_t)(x.dim[0] * l->k.in) * bl_dtype_bytes(be->act), e));
        seen = bl_tensor_2d(k->turned, 0, be->act, x.dim[0], l->k.in);
        BL_TRY(be->ops->transform(
            be, &(bl_transform_args){.x = x, .y = seen, .t = l->lin->transform, .n_t = l->lin->n_transforms}, e));
    }
    BL_TRY(be->ops->weight_grad(be, &(bl_weight_grad_args){.x = seen, .dy = dy, .dw = l->dw, .alpha = 1}, e));
    if (dx.buf) BL_TRY(bl_linear_input_grad(be, l->lin, dy, dx, accumulate, e));
out:
    return st;
}

static bl_status linear_grads(void *ctx, bl_model *m, int64_t block, const bl_role *role, int n, bl_tensor x,
                              const bl_tensor *y, const bl_tensor *dy, bl_tensor dx, bool accumulate, bl_err *e)
{
    bl_status st = BL_OK;
    (void)block;
    (void)y;
    for (int i = 0; i < n && st == BL_OK; i++) st = linear_grad(ctx, m, role[i], x, dy[i], dx, accumulate || i, e);
    return st;
}

static bl_tensor norm_grad(void *ctx, bl_model *m, int64_t block, bl_role role)
{
    (void)ctx;
    (void)m;
    (void)block;
    (void)role;
    return (bl_tensor){0};
}

static void keep(learned *l)
{
    memcpy(l->best_v, l->v, (size_t)(l->lin->out * l->k.in) * sizeof *l->v);
    memcpy(l->best_a, l->a, (size_t)(l->lin->out * l->groups) * sizeof *l->a);
    memcpy(l->best_c, l->c, (size_t)(l->lin->out * l->groups) * sizeof *l->c);
}

static bl_status step(work *k, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_ops *ops = k->r->ops;
    for (int i = 0; i < k->n; i++) {
        learned *l = &k->lin[i];
        bl_mark mark = bl_arena_mark(k->r->scratch);
        size_t n = (size_t)(l->lin->out * l->k.in), g = (size_t)(l->lin->out * l->groups);
        stepping s = {.k = k,
                      .l = l,
                      .dv = bl_alloc(k->r->scratch, n, sizeof *s.dv, e),
                      .da = bl_alloc(k->r->scratch, g, sizeof *s.da, e),
                      .dc = bl_alloc(k->r->scratch, g, sizeof *s.dc, e)};
        if (!s.dv || !s.da || !s.dc) {
            st = BL_E_NOMEM;
            goto out;
        }
        BL_TRY(ops->download(k->r->be, &l->dw, l->y, e));
        BL_TRY(ops->each(k->r->be, &(bl_each_args){.n = pieces(l), .piece = step_rows, .ctx = &s}, e));
        bl_arena_release(k->r->scratch, mark);
    }
out:
    return st;
}

static bl_status learn(work *k, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_run *r = k->r;
    const opts *o = k->o;
    int64_t block = k->lin[0].lin->block, windows = bl_calib_sequences(r->calib), batch = BL_MIN(o->batch, windows);
    double least = INFINITY, first = o->lr > 0 ? o->lr : 1 / (double)o->iters;
    bl_rng random = bl_rng_at(r->seed, bl_rng_key("autoround", (uint64_t)block), 0);
    int64_t *order = bl_alloc(r->scratch, (size_t)windows, sizeof *order, e);
    if (!order) return BL_E_NOMEM;
    for (int64_t i = 0; i < windows; i++) order[i] = i;
    for (int64_t i = 0; i < o->iters; i++) {
        double sum = 0;
        BL_TRY(make(k, e));
        for (int l = 0; l < k->n; l++) BL_TRY(r->ops->fill(r->be, &k->lin[l].dw, 0, e));
        bl_block_draw(&random, order, windows, batch);
        for (int64_t b = 0; b < batch; b++) BL_TRY(bl_block_learner_window(&k->by, order[b], 1, &sum, e));
        if (!isfinite(sum)) {
            st = bl_fail(e, BL_E_NUMERIC, "block %lld: the difference to the original block is not finite",
                         (long long)block);
            goto out;
        }
        if (sum < least) {
            least = sum;
            for (int l = 0; l < k->n; l++) keep(&k->lin[l]);
        }
        k->step = (float)(first * (1 - (double)i / (double)o->iters));
        BL_TRY(step(k, e));
    }
out:
    return st;
}

/* The weight of a linear as it came, in fp32 in its place, and v = 0, a = c = 1. */
static bl_status begin(work *k, learned *l, bl_linear *lin, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_run *r = k->r;
    const bl_format *f;
    bl_shape g;
    bl_weight w = {0};
    bl_tensor dense = {0};
    target(k->o, lin, &f, &g);
    *l = (learned){.lin = lin,
                   .k = {.in = g.in, .group = g.group, .bits = f->bits, .symmetric = k->o->symmetric, .scale = g.scale},
                   .groups = bl_shape_groups(&g)};
    size_t n = (size_t)(g.out * g.in), groups = (size_t)(g.out * l->groups);
    float **all[] = {&l->w, &l->y, &l->v, &l->best_v, &l->a, &l->c, &l->best_a, &l->best_c};
    for (int i = 0; i < (int)BL_COUNT(all); i++)
        if (!(*all[i] = bl_alloc(r->scratch, i < 4 ? n : groups, sizeof **all[i], e))) {
            st = BL_E_NOMEM;
            goto out;
        }
    for (size_t i = 0; i < groups; i++) l->a[i] = l->c[i] = 1;
    keep(l);
    BL_TRY(bl_linear_dense(r->be, lin, &dense, e));
    BL_TRY(r->ops->download(r->be, &dense, l->w, e));
    BL_TRY(bl_matrix_new(r, BL_F32, g.out, g.in, &l->dw, e));
    BL_TRY(bl_weight_new(r->be, bl_format_find("fp32"), &(bl_shape){.out = g.out, .in = g.in}, &w, e));
    bl_linear_set_weight(lin, &w);
out:
    bl_weight_free(&w);
    bl_matrix_free(r, &dense);
    return st;
}

/* The weight in its format, as the numbers that were kept say. */
static bl_status store(const work *k, const learned *l, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_run *r = k->r;
    const bl_format *f;
    bl_shape g;
    bl_weight packed = {0};
    bl_tensor y = {0}, scale = {0}, zero = {0};
    target(k->o, l->lin, &f, &g);
    float *s = bl_alloc(r->scratch, (size_t)(g.out * l->groups), sizeof *s, e),
          *z = bl_alloc(r->scratch, (size_t)(g.out * l->groups), sizeof *z, e);
    if (!s || !z) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < g.out; i++)
        bl_autoround_row(&l->k, l->w + i * g.in, l->best_v + i * g.in, l->best_a + i * l->groups,
                         l->best_c + i * l->groups, l->y + i * g.in, s + i * l->groups, z + i * l->groups);
    BL_TRY(bl_matrix_new(r, BL_F32, g.out, g.in, &y, e));
    BL_TRY(bl_matrix_new(r, BL_F32, g.out, l->groups, &scale, e));
    BL_TRY(bl_matrix_new(r, BL_F32, g.out, l->groups, &zero, e));
    BL_TRY(r->ops->upload(r->be, &y, l->y, e));
    BL_TRY(r->ops->upload(r->be, &scale, s, e));
    BL_TRY(r->ops->upload(r->be, &zero, z, e));
    BL_TRY(bl_weight_new(r->be, f, &g, &packed, e));
    BL_TRY(r->ops->pack(
        r->be, &(bl_pack_args){.x = y, .w = &packed, .rule = BL_RANGE_GIVEN, .scale = scale, .zero = zero}, e));
    BL_TRY(r->ops->sync(r->be, e));
    bl_linear_set_weight(l->lin, &packed);
out:
    bl_weight_free(&packed);
    bl_matrix_free(r, &y);
    bl_matrix_free(r, &scale);
    bl_matrix_free(r, &zero);
    return st;
}

static bl_status block(const bl_method_run *r, int64_t b, bl_err *e)
{
    bl_status st = BL_OK;
    bl_block *bl = &r->model->blocks[b];
    bl_mark mark = bl_arena_mark(r->scratch);
    work k = {.r = r, .o = r->opts};
    const bl_block_grads grads = {.linears = linear_grads, .norm = norm_grad, .ctx = &k};
    k.by = (bl_block_learner){.run = r, .block = b, .grads = &grads};
    for (; k.n < bl->n_linears; k.n++) BL_TRY(begin(&k, &k.lin[k.n], &bl->linear[k.n], e));
    if (k.o->iters > 0) {
        BL_TRY(bl_block_learner_begin(&k.by, e));
        BL_TRY(learn(&k, e));
    }
    for (int i = 0; i < k.n; i++) BL_TRY(store(&k, &k.lin[i], e));
out:
    for (int i = 0; i < bl->n_linears; i++) bl_matrix_free(r, &k.lin[i].dw);
    r->ops->buffer_free(k.turned);
    bl_block_learner_end(&k.by);
    bl_arena_release(r->scratch, mark);
    return st;
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    return target(r->opts, lin, format, shape);
}

static double flops(const bl_method_run *r, const bl_linear *lin)
{
    const opts *o = r->opts;
    static const double step = 1e3; /* of a weight, measured: rounded, its gradient, moved */
    return bl_block_work(r, lin, o->iters * o->batch) +
           step * (double)o->iters * (double)lin->out * (double)bl_linear_width(lin);
}

static const size_t ops[] = {BL_BLOCK_OPS, BL_OP(transform_grad), 0};

const bl_method bl_method_autoround = {
    .name = "autoround",
    .version = 1,
    .title = "AutoRound",
    .cite =
        "Cheng et al.: Optimize Weight Rounding via Signed Gradient Descent for the Quantization of LLMs, EMNLP 2024 "
        "Findings, arXiv:2309.05516",
    .doc = "Which way a weight is rounded, and how far a range is shrunk, learned block by block.",
    .deviates = "Everything in f32, where the library has a 16-bit model.\n"
                "Scales have no lower bound but their type's.\n"
                "Without its extension of 2025: no search of scales before, no errors left out.",
    .wbits = 0x1fc, /* 2..8 */
    .needs = BL_NEED_ORIGINAL,
    .opts = rows,
    .opts_size = sizeof(opts),
    .settle = settle,
    .check = check,
    .ops = ops,
    .block = block,
    .layer = bl_block_lost,
    .predict = predict,
    .work = flops,
};
