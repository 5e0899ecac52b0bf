/* efficientqat.c - a block is trained as a whole, weights, scales and zeros, to do what it did (Chen et al. 2024).
 *
 *     L = mean |B^(x^) - B(x)|^2     (shared_block.h)
 *     w^ = (clamp(round(w / s) + z, 0, 2^b - 1) - z) s      (AFFINE of ops_train.h)
 *
 * Block by block: AdamW without decay over `epochs` passes of all windows, in an order of each, of w and the norms with
 * `lr`, of s and z with `scale-lr`, both down to a twentieth by a half cosine. This is the paper's first phase,
 * Block-AP; the second, E2E-QP, trains the scales of all blocks end to end: efficientqat:w2g64+e2e-qp.
 */
#include "harness/quant/calibrate.h"
#include "harness/train/gradients.h"
#include "harness/train/optimizer.h"
#include "shared_block.h"
#include "shared_weight.h"
#include <math.h>

typedef struct opts {
    int64_t wbits, group, epochs, batch;
    double lr, scale_lr;
    bool norms;
} opts;
static const bl_opt rows[] = {
    {"wbits", BL_OPT_INT, .min = 2, .max = 8, .def.i = 4, .at = offsetof(opts, wbits), .arg = "2..8",
     .doc = "bits of a weight"},
    {"group", BL_OPT_INT, .min = -1, .max = 65536, .def.i = 64, .at = offsetof(opts, group), .arg = "N",
     .doc = "weights that share a scale; -1: one scale a row"},
    {"epochs", BL_OPT_INT, .min = 0, .max = 1000, .def.i = 2, .at = offsetof(opts, epochs), .arg = "N",
     .doc = "passes of a block over the text; 0: to the nearest"},
    {"batch", BL_OPT_INT, .min = 1, .max = 4096, .def.i = 2, .at = offsetof(opts, batch), .arg = "N",
     .doc = "windows of a step"},
    {"lr", BL_OPT_REAL, .min = 0, .max = 1, .at = offsetof(opts, lr), .arg = "X",
     .doc = "learning rate of weights; 0: 2e-5 at 2 bits, else 1e-5"},
    {"scale-lr", BL_OPT_REAL, .min = 1e-12, .max = 1, .def.r = 1e-4, .at = offsetof(opts, scale_lr), .arg = "X",
     .doc = "of scales and zeros"},
    {"norms", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, norms), .doc = "norms of the block learn as weights do"},
    {0}};

static void settle(void *options)
{
    opts *o = options;
    if (o->epochs) return;
    o->batch = 2;
    o->lr = 0;
    o->scale_lr = 1e-4;
    o->norms = true;
}

static bl_status check(const bl_method_run *r, bl_err *e)
{
    return bl_plain_linears(r, 0, "efficientqat trains plain weights", e);
}

/* lr(t) = (1 + 19 (1 + cos(pi t / steps)) / 2) / 20 of the first, t = 0 .. steps - 1 */
static double share(int64_t step, int64_t steps)
{
    return 0.05 + 0.95 * 0.5 * (1 + cos(3.14159265358979323846 * (double)step / (double)steps));
}

static bl_status learn(const bl_method_run *r, bl_trainable *t, int64_t block, bl_err *e)
{
    const opts *o = r->opts;
    const bl_block_hooks hooks = bl_trainable_hooks(t);
    const bl_block_grads grads = bl_trainable_grads(t);
    bl_block_learner k = {.run = r, .block = block, .hooks = &hooks, .grads = &grads};
    bl_adamw adam = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    bl_rng random = bl_rng_at(r->seed, bl_rng_key("efficientqat", (uint64_t)block), 0);
    const int64_t windows = bl_calib_sequences(r->calib), batch = BL_MIN(o->batch, windows), each = windows / batch,
                  steps = o->epochs * each;
    const double lr = o->lr > 0 ? o->lr : o->wbits == 2 ? 2e-5 : 1e-5;
    int64_t *order = bl_alloc(r->scratch, (size_t)windows, sizeof *order, e);
    bl_status st = BL_OK;

    if (!order) return BL_E_NOMEM;
    for (int64_t i = 0; i < windows; i++) order[i] = i;
    BL_TRY(bl_block_learner_begin(&k, e));
    const double scale = 2 / ((double)(batch * k.tokens) * (double)r->model->config.dim);
    double pass = 0, first = 0; /* the loss of a pass, as its steps find it */
    for (int64_t step = 0; step < steps; step++) {
        double sum = 0;
        const int64_t at = step % each * batch;
        if (step % each == 0) bl_block_draw(&random, order, windows, windows);
        BL_TRY(bl_block_learner_windows(&k, order + at, batch, each * batch - at - batch, scale, &sum, e));
        if (!isfinite(sum)) {
            st = bl_fail(e, BL_E_NUMERIC, "block %lld, step %lld: the difference to the original block is not finite",
                         (long long)block, (long long)step + 1);
            goto out;
        }
        bl_calib_step made = {.block = block, .loss = sum * scale / 2, .lr = lr * share(step, steps)};
        st = bl_adamw_step(&adam, t, made.lr, &made.grad_norm, e);
        if (st == BL_E_NUMERIC) bl_within(e, "block %lld", (long long)block);
        if (st != BL_OK) goto out;
        BL_TRY(bl_calib_say_step(r->calib, &made, e));
        pass += sum * scale / 2;
        if ((step + 1) % each) continue;
        pass /= (double)each;
        if (step < each) first = pass;
        if (step + 1 == steps) {
            bl_log(BL_LOG_INFO,
                   "efficientqat: block %lld of %lld: loss %.4g in the first of %lld passes, %.4g in the last",
                   (long long)block + 1, (long long)r->model->config.n_layers, first, (long long)o->epochs, pass);
            bl_calib_say_loss(r->calib, first, pass);
        }
        pass = 0;
    }
out:
    bl_block_learner_end(&k);
    return st;
}

static bl_status block(const bl_method_run *r, int64_t b, bl_err *e)
{
    const opts *o = r->opts;
    const double lr = o->lr > 0 ? o->lr : o->wbits == 2 ? 2e-5 : 1e-5;
    bl_trainable *t = NULL;
    bl_mark mark = bl_arena_mark(r->scratch);
    bl_status st = BL_OK;
    BL_TRY(bl_trainable_of_block(r->model, b, &t, e));
    BL_TRY(bl_train_grid(
        t,
        &(bl_grid_learned){.grid = {.kind = BL_GRID_AFFINE, .bits = (int)o->wbits, .group = o->group, .half = true},
                           .rate = o->scale_lr / lr},
        e));
    if (o->norms && o->epochs) BL_TRY(bl_train_norms(t, e));
    if (o->epochs) BL_TRY(learn(r, t, b, e));
    BL_TRY(bl_trainable_store(t, e));
out:
    bl_trainable_free(t);
    bl_arena_release(r->scratch, mark);
    return st;
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    const opts *o = r->opts;
    return bl_int_of_block(lin, o->wbits, o->group, false, BL_F16, format, shape);
}

static double flops(const bl_method_run *r, const bl_linear *lin)
{
    const opts *o = r->opts;
    return bl_block_work(r, lin, o->epochs * bl_block_windows(r));
}

static const size_t ops[] = {BL_BLOCK_OPS, BL_OP(grid), BL_OP(grid_grad), BL_OP(adamw), 0};

const bl_method bl_method_efficientqat = {
    .name = "efficientqat",
    .version = 1,
    .title = "EfficientQAT",
    .cite = "Chen et al. 2024, arXiv 2407.11062",
    .doc = "Weights, scales and zeros of a block trained together to do what the block did. Its second phase, scales "
           "trained end to end, is a stage of its own: efficientqat:w2g64+e2e-qp. Rates are the authors', for 4,096 "
           "steps a block and weights of about 0.02: where steps are fewer or weights larger they change nearly no "
           "code, and larger ones are needed. The curve of all "
           "blocks, a step after the other, is beside the result, also of one that failed.",
    .deviates = "everything in fp32 but scales, which are rounded to fp16 in training too, so that what is stored is "
                "what was trained; the library rounds again after a cast of the weights\n"
                "ranges hold 0: a group of weights of one sign would saturate otherwise\n"
                "zeros are stored as they are used, kept within the codes",
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
