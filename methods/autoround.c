/* autoround.c - AutoRound: which way each weight is rounded, and how far each range is shrunk, is learned block by
 * block by signed gradient descent (Cheng et al. 2023, arXiv 2309.05516; intel/auto-round).
 *
 *     L = mean |B^(x^) - B(x)|^2       B the block in the original model on the inputs x it has there, B^ with all its
 *                                      linears rounded, on the inputs x^ that the blocks before leave by now
 *     p <- p - lr (1 - i / iters) sign(dL/dp),   i = 0 .. iters - 1
 *
 * p: v of each weight, from 0; a and c of each group, from 1, kept in 0..1 (ops_sign.h: the grid). L is over `batch`
 * windows, drawn anew each step; the numbers with the least L seen are kept. With the sum of all steps at most a half,
 * a code is at most one away from the nearest.
 */
#include "harness/quant/calibrate.h"
#include "shared_block.h"
#include "shared_weight.h"
#include <math.h>

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

typedef struct learned { /* of one linear; tensors f32 */
    bl_linear *lin;
    bl_sign_grid grid;
    bl_tensor w, dy;           /* [out, in]: as it came; the gradient of what it is by now */
    bl_tensor v, a, c, da, dc; /* [out, in], [out, groups] x 4 */
    bl_tensor best_v, best_a, best_c;
} learned;

typedef struct work {
    const bl_method_run *r;
    const opts *o;
    learned lin[BL_N_ROLES];
    int n;
    bl_buffer *turned; /* inputs after a linear's transforms */
    bl_block_learner by;
} work;

/* The linears get the weights that v, a and c make. */
static bl_status make(work *k, bl_err *e)
{
    bl_status st = BL_OK;
    for (int i = 0; i < k->n && st == BL_OK; i++) {
        const learned *l = &k->lin[i];
        st = k->r->ops->sign_round(
            k->r->be,
            &(bl_sign_round_args){
                .w = l->w, .v = l->v, .a = l->a, .c = l->c, .y = l->lin->weight.part[0], .grid = l->grid},
            e);
    }
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
        BL_TRY(bl_buffer_fit(be, &k->turned, (uint64_t)(x.dim[0] * l->w.dim[1]) * bl_dtype_bytes(be->act), e));
        seen = bl_tensor_2d(k->turned, 0, be->act, x.dim[0], l->w.dim[1]);
        BL_TRY(be->ops->transform(
            be, &(bl_transform_args){.x = x, .y = seen, .t = l->lin->transform, .n_t = l->lin->n_transforms}, e));
    }
    BL_TRY(be->ops->weight_grad(be, &(bl_weight_grad_args){.x = seen, .dy = dy, .dw = l->dy, .alpha = 1}, e));
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

static bl_status keep(const work *k, const learned *l, bl_err *e)
{
    const bl_tensor from[] = {l->v, l->a, l->c}, to[] = {l->best_v, l->best_a, l->best_c};
    bl_status st = BL_OK;
    for (int i = 0; i < 3 && st == BL_OK; i++)
        st = k->r->ops->gather(k->r->be, &(bl_gather_args){.src = from[i], .dst = to[i], .n = from[i].dim[0]}, e);
    return st;
}

static bl_status step(const work *k, double by, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_ops *ops = k->r->ops;
    bl_backend *be = k->r->be;
    for (int i = 0; i < k->n; i++) {
        const learned *l = &k->lin[i];
        BL_TRY(ops->sign_round_grad(
            be,
            &(bl_sign_round_grad_args){
                .w = l->w, .v = l->v, .a = l->a, .c = l->c, .dy = l->dy, .da = l->da, .dc = l->dc, .grid = l->grid},
            e));
        BL_TRY(ops->sign_step(be, &(bl_sign_step_args){l->v, l->dy, by, -INFINITY, INFINITY}, e));
        if (!k->o->ranges) continue;
        BL_TRY(ops->sign_step(be, &(bl_sign_step_args){l->a, l->da, by, 0, 1}, e));
        BL_TRY(ops->sign_step(be, &(bl_sign_step_args){l->c, l->dc, by, 0, 1}, e));
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
        for (int l = 0; l < k->n; l++) BL_TRY(r->ops->fill(r->be, &k->lin[l].dy, 0, e));
        bl_block_draw(&random, order, windows, batch);
        BL_TRY(bl_block_learner_windows(&k->by, order, batch, 0, 1, &sum, e));
        if (!isfinite(sum)) {
            st = bl_fail(e, BL_E_NUMERIC, "block %lld: the difference to the original block is not finite",
                         (long long)block);
            goto out;
        }
        if (sum < least) {
            least = sum;
            for (int l = 0; l < k->n; l++) BL_TRY(keep(k, &k->lin[l], e));
        }
        BL_TRY(step(k, first * (1 - (double)i / (double)o->iters), e));
    }
out:
    return st;
}

/* The weight of a linear as it came, fp32 in its place, and v = 0, a = c = 1. */
static bl_status begin(work *k, learned *l, bl_linear *lin, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_run *r = k->r;
    const bl_format *f;
    bl_shape g;
    bl_weight w = {0};
    target(k->o, lin, &f, &g);
    *l = (learned){.lin = lin,
                   .grid = {.bits = f->bits, .group = g.group, .symmetric = k->o->symmetric, .scale = g.scale}};
    bl_tensor *const all[] = {&l->dy, &l->v, &l->best_v, &l->a, &l->c, &l->da, &l->dc, &l->best_a, &l->best_c};
    for (int i = 0; i < (int)BL_COUNT(all); i++)
        BL_TRY(bl_matrix_new(r, BL_F32, g.out, i < 3 ? g.in : bl_shape_groups(&g), all[i], e));
    BL_TRY(r->ops->fill(r->be, &l->v, 0, e));
    BL_TRY(r->ops->fill(r->be, &l->a, 1, e));
    BL_TRY(r->ops->fill(r->be, &l->c, 1, e));
    BL_TRY(keep(k, l, e));
    BL_TRY(bl_linear_dense(r->be, lin, &l->w, e));
    BL_TRY(bl_weight_new(r->be, bl_format_find("fp32"), &(bl_shape){.out = g.out, .in = g.in}, &w, e));
    bl_linear_set_weight(lin, &w);
out:
    bl_weight_free(&w);
    return st;
}

/* The weight in its format, as the numbers that were kept say; values, scales and zeros where gradients were. */
static bl_status store(const work *k, const learned *l, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_run *r = k->r;
    const bl_format *f;
    bl_shape g;
    bl_weight packed = {0};
    target(k->o, l->lin, &f, &g);
    BL_TRY(r->ops->sign_round(r->be,
                              &(bl_sign_round_args){.w = l->w,
                                                    .v = l->best_v,
                                                    .a = l->best_a,
                                                    .c = l->best_c,
                                                    .y = l->dy,
                                                    .scale = l->da,
                                                    .zero = l->dc,
                                                    .grid = l->grid},
                              e));
    BL_TRY(bl_weight_new(r->be, f, &g, &packed, e));
    BL_TRY(r->ops->pack(
        r->be, &(bl_pack_args){.x = l->dy, .w = &packed, .rule = BL_RANGE_GIVEN, .scale = l->da, .zero = l->dc}, e));
    BL_TRY(r->ops->sync(r->be, e));
    bl_linear_set_weight(l->lin, &packed);
out:
    bl_weight_free(&packed);
    return st;
}

static void drop(const bl_method_run *r, learned *l)
{
    bl_tensor *const all[] = {&l->w, &l->dy, &l->v, &l->best_v, &l->a, &l->c, &l->da, &l->dc, &l->best_a, &l->best_c};
    for (size_t i = 0; i < BL_COUNT(all); i++) bl_matrix_free(r, all[i]);
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
    for (int i = 0; i < bl->n_linears; i++) drop(r, &k.lin[i]);
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

static const size_t ops[] = {BL_BLOCK_OPS,           BL_OP(transform_grad), BL_OP(sign_round),
                             BL_OP(sign_round_grad), BL_OP(sign_step),      0};

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
