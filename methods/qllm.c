/* qllm.c - QLLM: channels of the inputs that stand out are taken apart, paid for by putting similar ones together, then
 * low-rank terms beside the rounded weights make up for what was lost (Liu et al. 2024, arXiv 2310.08041).
 *
 *     x_j w_j = sum over T copies of (x_j / T) w_j          x_i w_i + x_k w_k ~ (x_i + x_k) / 2 (w_i + w_k)
 *     y = (Q_w(W) + alpha / r B A) Q_a(R x)                 R that reassembly, W with its columns
 *
 * at three places of a block: before q, k and v; gate and up; down. The threshold above which a channel is taken apart
 * is the one of least loss of what reads it, rounded (qllm_reassembly.c). A, B and the norms of some blocks together
 * are trained to do what these blocks did (shared_block.h) with AdamW, its rate falling to 0; then B A is added to W,
 * which is rounded again.
 */
#include "qllm.h"
#include "harness/method.h"
#include "harness/quant/calibrate.h"
#include "harness/train/gradients.h"
#include "harness/train/optimizer.h"
#include "shared_block.h"
#include "shared_weight.h"
#include <math.h>
#include <string.h>

typedef struct opts {
    int64_t wbits, group, abits, rank, epochs, batch, together;
    double ratio, alpha, lr, decay;
    bool reassemble, always, norms;
} opts;
static const bl_opt rows[] = {
    {"wbits", BL_OPT_INT, .min = 2, .max = 8, .def.i = 4, .at = offsetof(opts, wbits), .arg = "2..8",
     .doc = "bits of a weight"},
    {"group", BL_OPT_INT, .min = -1, .max = 65536, .def.i = -1, .at = offsetof(opts, group), .arg = "N",
     .doc = "weights that share a scale; -1: one scale a row"},
    {"abits", BL_OPT_INT, .min = 0, .max = 8, .def.i = 0, .at = offsetof(opts, abits), .arg = "0..8",
     .doc = "bits of an activation, a scale and a zero a token; 0: not quantized, and nothing is reassembled"},
    {"reassemble", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, reassemble),
     .doc = "outliers of activations are taken apart, where they are quantized"},
    {"ratio", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 0.2, .at = offsetof(opts, ratio), .arg = "X",
     .doc = "how many channels may be added, and put together, as a share of all"},
    {"always", BL_OPT_BOOL, .at = offsetof(opts, always),
     .doc = "a place is reassembled even where that loses more than leaving it, as published"},
    {"epochs", BL_OPT_INT, .min = 0, .max = 1000, .def.i = 10, .at = offsetof(opts, epochs), .arg = "N",
     .doc = "passes of a block over the text; 0: no low-rank terms"},
    {"together", BL_OPT_INT, .min = 1, .max = BL_BLOCKS_TOGETHER, .def.i = 4, .at = offsetof(opts, together),
     .arg = "N", .doc = "blocks that are tuned at once, to do what the last of them did; they are in memory together"},
    {"batch", BL_OPT_INT, .min = 1, .max = 4096, .def.i = 1, .at = offsetof(opts, batch), .arg = "N",
     .doc = "windows of a step"},
    {"rank", BL_OPT_INT, .min = 1, .max = 65536, .def.i = 4, .at = offsetof(opts, rank), .arg = "N",
     .doc = "of the low-rank terms"},
    {"alpha", BL_OPT_REAL, .min = 0, .max = 65536, .def.r = 1, .at = offsetof(opts, alpha), .arg = "X",
     .doc = "they are scaled by alpha / rank"},
    {"lr", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 5e-4, .at = offsetof(opts, lr), .arg = "X",
     .doc = "learning rate; 1e-4 for LLaMA-2 of 7B and 70B at W4A4 in the paper"},
    {"decay", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 0, .at = offsetof(opts, decay), .arg = "X",
     .doc = "weight decay"},
    {"norms", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, norms), .doc = "norms of the block learn too"},
    {0}};

static void settle(void *options)
{
    opts *o = options;
    if (!o->abits) o->reassemble = true;
    if (!o->abits || !o->reassemble) {
        o->ratio = 0.2;
        o->always = false;
    }
    if (o->epochs) return;
    o->batch = 1;
    o->together = 4;
    o->rank = 4;
    o->alpha = 1;
    o->lr = 5e-4;
    o->decay = 0;
    o->norms = true;
}

static bl_status check(const bl_method_run *r, bl_err *e)
{
    const opts *o = r->opts;
    if (o->abits == 1) return bl_fail(e, BL_E_CONFIG, "qllm: abits is 1; activations are rounded to 2 bits and more");
    return bl_plain_linears(r, 0, "qllm reassembles plain weights", e);
}

static bl_actq act_of(const opts *o) { return (bl_actq){.bits = (int)o->abits, .unit = BL_ACT_TOKEN}; }

static void target(const opts *o, const bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    bl_int_target(lin, o->wbits, o->group, false, BL_F16, format, shape);
}

/* ---- the reassembly of a place ---- */

typedef enum at { ATTN, MLP, DOWN } at;
static const bl_role readers[][3] = {
    {BL_ROLE_Q, BL_ROLE_K, BL_ROLE_V}, {BL_ROLE_GATE, BL_ROLE_UP, BL_N_ROLES}, {BL_ROLE_DOWN, BL_N_ROLES, BL_N_ROLES}};

typedef struct place {
    const bl_method_run *r;
    at at;
    int n;
    bl_linear *lin[3];
    float *w[3], *turned; /* the weights as they are, on the host; room for the widest */
    bl_weight dense, packed[3];
    bl_tensor x, want, got, other; /* x lent */
    int32_t *rows;                 /* of a transform, [wide, 3] */
} place;

/* The reassembly of x as a transform with a buffer of its own; none: *t has no rows. */
static bl_status transform_of(const place *k, const bl_reassembly *by, bl_transform *t, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_ops *ops = k->r->ops;
    const int64_t n = bl_qllm_rows(by, k->rows);
    bl_buffer *b = NULL;
    *t = (bl_transform){0};
    if (!n) return BL_OK;
    BL_TRY(ops->buffer_new(k->r->be, (uint64_t)(3 * n) * sizeof(int32_t), &b, e));
    *t = (bl_transform){.kind = BL_T_PERMUTE, .in = by->n, .out = by->n, .data = bl_tensor_2d(b, 0, BL_I32, n, 3)};
    BL_TRY(ops->upload(k->r->be, &t->data, k->rows, e));
    BL_TRY(ops->sync(k->r->be, e)); /* before the rows change */
out:
    if (st != BL_OK) ops->buffer_free(b);
    return st;
}

/* W with its columns reassembled, f32 [out, in], from the host. */
static bl_status upload_columns(place *k, int i, const bl_reassembly *by, bl_tensor to, bl_err *e)
{
    bl_status st = BL_OK;
    bl_qllm_columns(by, k->w[i], k->lin[i]->out, k->turned);
    BL_TRY(k->r->ops->upload(k->r->be, &to, k->turned, e));
    BL_TRY(k->r->ops->sync(k->r->be, e));
out:
    return st;
}

/* What the place is judged by, with what the linears are by now. */
static bl_status output(const place *k, bl_tensor y, bl_err *e)
{
    bl_status st = BL_OK;
    bl_backend *be = k->r->be;
    if (k->at == ATTN) return bl_calib_residual(k->r->calib, BL_ROLE_BIT(BL_ROLE_GATE) | BL_ROLE_BIT(BL_ROLE_UP), y, e);
    BL_TRY(bl_linear_apply(be, k->lin[0], k->x, y, false, e));
    if (k->at == DOWN) return BL_OK;
    BL_TRY(bl_linear_apply(be, k->lin[1], k->x, k->other, false, e));
    BL_TRY(k->r->ops->swiglu(be, &(bl_swiglu_args){.gate = y, .up = k->other, .y = y}, e));
out:
    return st;
}

static bl_status lost(void *ctx, const bl_reassembly *by, double *loss, bl_err *e)
{
    bl_status st = BL_OK;
    place *k = ctx;
    const bl_ops *ops = k->r->ops;
    bl_transform t = {0};
    bl_linear was[3];

    for (int i = 0; i < k->n; i++) was[i] = *k->lin[i];
    BL_TRY(transform_of(k, by, &t, e));
    for (int i = 0; i < k->n; i++) {
        const bl_tensor dense = bl_tensor_2d(k->dense.part[0].buf, 0, BL_F32, k->lin[i]->out, k->lin[i]->in);
        BL_TRY(upload_columns(k, i, by, dense, e));
        BL_TRY(ops->pack(k->r->be, &(bl_pack_args){.x = dense, .w = &k->packed[i], .rule = BL_RANGE_ZERO}, e));
        BL_TRY(ops->sync(k->r->be, e));
        k->lin[i]->weight = k->packed[i];
        k->lin[i]->act = act_of(k->r->opts);
        k->lin[i]->transform = &t;
        k->lin[i]->n_transforms = t.data.ndim ? 1 : 0;
    }
    BL_TRY(output(k, k->got, e));
    BL_TRY(ops->sq_error(k->r->be, &(bl_sq_error_args){.x = k->got, .y = k->want, .sum = loss}, e));
    BL_TRY(ops->sync(k->r->be, e));
    *loss /= (double)bl_tensor_count(&k->got);
    if (!isfinite(*loss))
        st = bl_fail(e, BL_E_NUMERIC, "%s: what it makes of the calibration text is not finite", was[0].name);
out:
    for (int i = 0; i < k->n; i++) *k->lin[i] = was[i];
    ops->buffer_free(t.data.buf);
    return st;
}

/* Rows of activations, f32 or bf16, as channels one after another. */
static bl_status channels_of(const bl_method_run *r, bl_tensor x, float *out, bl_err *e)
{
    bl_status st = BL_OK;
    const int64_t n_rows = x.dim[0], n = x.dim[1];
    void *host = bl_new((size_t)bl_tensor_bytes(&x), 1, e);
    if (!host) return BL_E_NOMEM;
    BL_TRY(r->ops->download(r->be, &x, host, e));
    for (int64_t i = 0; i < n_rows; i++)
        for (int64_t j = 0; j < n; j++)
            out[j * n_rows + i] = x.dtype == BL_F32 ? ((const float *)host)[i * n + j]
                                                    : bl_bf16_to_f32(((const uint16_t *)host)[i * n + j]);
out:
    bl_free(host);
    return st;
}

static bl_status open_place(place *k, int64_t b, bl_qllm_seen *s, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_run *r = k->r;
    const opts *o = r->opts;
    const bl_dtype act = r->be->act;
    bl_calib_channels seen;
    int64_t widest = 0;
    float *sum, *x;

    for (; k->n < 3 && readers[k->at][k->n] != BL_N_ROLES; k->n++)
        k->lin[k->n] = bl_model_linear(r->model, b, readers[k->at][k->n]);
    const int64_t in = k->lin[0]->in, most = in + (int64_t)(o->ratio * (double)in);
    BL_TRY(bl_calib_channel(r->calib, k->lin[0], &seen, e));
    BL_TRY(bl_calib_inputs(r->calib, k->lin[0], &k->x, e));
    if (!(sum = bl_alloc(r->scratch, (size_t)in, sizeof *sum, e)) ||
        !(x = bl_alloc(r->scratch, (size_t)(k->x.dim[0] * in), sizeof *x, e)) ||
        !(k->rows = bl_alloc(r->scratch, (size_t)(3 * most), sizeof *k->rows, e)))
        return BL_E_NOMEM;
    for (int i = 0; i < k->n; i++) {
        const bl_format *f;
        bl_shape g;
        bl_tensor dense = {0};
        const int64_t out = k->lin[i]->out;
        target(o, k->lin[i], &f, &g);
        widest = BL_MAX(widest, out);
        BL_TRY(bl_weight_new(r->be, f, &g, &k->packed[i], e));
        if (!(k->w[i] = bl_alloc(r->scratch, (size_t)(out * in), sizeof(float), e))) return BL_E_NOMEM;
        st = bl_linear_dense(r->be, k->lin[i], &dense, e);
        if (st == BL_OK) st = r->ops->download(r->be, &dense, k->w[i], e);
        bl_matrix_free(r, &dense);
        if (st != BL_OK) goto out;
        for (int64_t p = 0; p < out * in; p++) sum[p % in] += k->w[i][p];
    }
    if (!(k->turned = bl_alloc(r->scratch, (size_t)(widest * in), sizeof(float), e))) return BL_E_NOMEM;
    BL_TRY(bl_weight_new(r->be, bl_format_find("fp32"), &(bl_shape){.out = widest, .in = in}, &k->dense, e));
    const int64_t n_rows = k->at == ATTN ? bl_calib_residual_rows(r->calib) : k->x.dim[0],
                  width = k->at == ATTN ? r->model->config.dim : k->lin[0]->out;
    BL_TRY(bl_matrix_new(r, act, n_rows, width, &k->want, e));
    BL_TRY(bl_matrix_new(r, act, n_rows, width, &k->got, e));
    if (k->at == MLP) BL_TRY(bl_matrix_new(r, act, n_rows, width, &k->other, e));
    BL_TRY(channels_of(r, k->x, x, e));
    *s = (bl_qllm_seen){in, k->x.dim[0], x, seen.max_abs, sum};
out:
    return st;
}

static void close_place(place *k)
{
    bl_tensor *all[] = {&k->want, &k->got, &k->other};
    for (int i = 0; i < k->n; i++) bl_weight_free(&k->packed[i]);
    bl_weight_free(&k->dense);
    for (size_t i = 0; i < BL_COUNT(all); i++) bl_matrix_free(k->r, all[i]);
}

static bl_status reassemble(const bl_method_run *r, int64_t b, at where, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = r->opts;
    bl_mark mark = bl_arena_mark(r->scratch);
    place k = {.r = r, .at = where};
    bl_reassembly by;
    bl_qllm_found found;
    bl_qllm_seen seen;
    bl_transform t = {0};
    bl_weight w = {0};

    BL_TRY(open_place(&k, b, &seen, e));
    BL_TRY(output(&k, k.want, e));
    BL_TRY(bl_qllm_search(r->be, r->scratch, &seen, o->ratio, o->always, lost, &k, &by, &found, e));
    bl_log(BL_LOG_DEBUG, "%s: loss %g without, %g with %lld channels above %g taken apart, %g as it is used",
           k.lin[0]->name, found.none, found.tried, (long long)found.added, found.theta, found.used);
    if (by.wide == by.n) goto out;
    for (int i = 0; i < k.n; i++) {
        BL_TRY(bl_weight_new(r->be, bl_format_find("fp32"), &(bl_shape){.out = k.lin[i]->out, .in = by.n}, &w, e));
        BL_TRY(upload_columns(&k, i, &by, w.part[0], e));
        BL_TRY(transform_of(&k, &by, &t, e));
        BL_TRY(bl_linear_add_transform(k.lin[i], &t, e));
        t.data.buf = NULL;                  /* the linear's now */
        bl_linear_set_weight(k.lin[i], &w); /* and so is the weight */
    }
out:
    bl_weight_free(&w);
    r->ops->buffer_free(t.data.buf);
    close_place(&k);
    bl_arena_release(r->scratch, mark);
    return st;
}

/* ---- low-rank terms of a block ---- */

/* While they are learned the linears have no transforms: what is before a linear's product is done here, as often as it
 * is asked for, so that products, and inputs as they are rounded, are those of plain linears. */
typedef struct tuning {
    const bl_method_run *r;
    const opts *o;
    bl_linear *lin;
    int n, taken[BL_N_ROLES]; /* transforms of each */
    bl_weight *was, *sum;     /* f32, reassembled; with the low-rank terms */
    float **norm;             /* the block's as they came */
    bl_trainable *t;
    bl_block_hooks plain;
    bl_block_grads back;
    bl_tensor x, dx; /* act [tokens, widest], rows of any width in them */
} tuning;

static const bl_transform *transform_before(const tuning *k, bl_role role)
{
    for (int i = 0; i < k->n; i++)
        if (k->lin[i].role == role) return k->taken[i] ? k->lin[i].transform : NULL;
    return NULL;
}

static bl_tensor part_of(bl_tensor room, bl_tensor like)
{
    return bl_tensor_2d(room.buf, 0, room.dtype, like.dim[0], like.dim[1]);
}

static bl_status turned_input(tuning *k, const bl_transform *t, bl_tensor *x, bl_err *e)
{
    const bl_tensor y = part_of(k->x, *x);
    bl_status st = k->r->ops->transform(k->r->be, &(bl_transform_args){.x = *x, .y = y, .t = t, .n_t = 1}, e);
    if (st == BL_OK) *x = y;
    return st;
}

/* Blocks that are tuned together; what is told of hooks and gradients is theirs. */
typedef struct joint {
    tuning k[BL_BLOCKS_TOGETHER];
    int64_t first, n;
} joint;

static tuning *of_block(void *ctx, int64_t block)
{
    joint *j = ctx;
    return &j->k[block - j->first];
}

static bl_status product(void *ctx, bl_model *m, int64_t block, bl_role role, int64_t row0, bl_tensor x, bl_tensor y,
                         bool accumulate, bl_err *e)
{
    tuning *k = of_block(ctx, block);
    const bl_transform *t = transform_before(k, role);
    bl_status st = t ? turned_input(k, t, &x, e) : BL_OK;
    return st == BL_OK ? k->plain.product(k->plain.ctx, m, block, role, row0, x, y, accumulate, e) : st;
}

static bl_status linears(void *ctx, bl_model *m, int64_t block, const bl_role *role, int n, bl_tensor x,
                         const bl_tensor *y, const bl_tensor *dy, bl_tensor dx, bool accumulate, bl_err *e)
{
    tuning *k = of_block(ctx, block);
    bl_status st = BL_OK;
    const bl_transform *t = transform_before(k, role[0]); /* the others read the same */
    const bl_tensor inside = dx.buf ? part_of(k->dx, dx) : dx;
    if (!t) return k->back.linears(k->back.ctx, m, block, role, n, x, y, dy, dx, accumulate, e);
    BL_TRY(turned_input(k, t, &x, e));
    BL_TRY(k->back.linears(k->back.ctx, m, block, role, n, x, y, dy, inside, false, e));
    if (dx.buf)
        BL_TRY(k->r->ops->transform_grad(
            k->r->be, &(bl_transform_grad_args){.dy = inside, .dx = dx, .t = t, .n_t = 1, .accumulate = accumulate},
            e));
out:
    return st;
}

static bl_tensor norm(void *ctx, bl_model *m, int64_t block, bl_role role)
{
    tuning *k = of_block(ctx, block);
    return k->back.norm(k->back.ctx, m, block, role);
}

static bl_status packed_as_target(const tuning *k, bl_linear *lin, bl_tensor from, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_format *f;
    bl_shape g;
    bl_weight w = {0};
    target(k->o, lin, &f, &g);
    BL_TRY(bl_weight_new(k->r->be, f, &g, &w, e));
    BL_TRY(k->r->ops->pack(k->r->be, &(bl_pack_args){.x = from, .w = &w, .rule = BL_RANGE_ZERO}, e));
    BL_TRY(k->r->ops->sync(k->r->be, e)); /* before the old one goes */
    bl_linear_set_weight(lin, &w);
out:
    bl_weight_free(&w);
    return st;
}

static bl_status tuning_begin(tuning *k, int64_t block, int64_t tokens, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_run *r = k->r;
    const bl_actq act = act_of(k->o);
    bl_block *b = &r->model->blocks[block];
    int64_t widest = 0;

    k->lin = b->linear;
    k->n = b->n_linears;
    if (!(k->was = bl_alloc(r->scratch, (size_t)k->n, sizeof *k->was, e)) ||
        !(k->sum = bl_alloc(r->scratch, (size_t)k->n, sizeof *k->sum, e)) ||
        !(k->norm = bl_alloc(r->scratch, (size_t)b->n_norms, sizeof *k->norm, e)))
        return BL_E_NOMEM;
    for (int i = 0; i < b->n_norms; i++) {
        const bl_tensor *w = &b->norm[i].weight;
        if (!(k->norm[i] = bl_alloc(r->scratch, (size_t)bl_tensor_count(w), sizeof(float), e))) return BL_E_NOMEM;
        BL_TRY(r->ops->download(r->be, w, k->norm[i], e));
    }
    for (int i = 0; i < k->n; i++) {
        bl_linear *l = &k->lin[i];
        const bl_shape shape = {.out = l->out, .in = l->in};
        widest = BL_MAX(widest, l->in);
        k->taken[i] = l->n_transforms;
        l->n_transforms = 0;
        BL_TRY(bl_weight_new(r->be, bl_format_find("fp32"), &shape, &k->was[i], e));
        BL_TRY(bl_weight_new(r->be, bl_format_find("fp32"), &shape, &k->sum[i], e));
        BL_TRY(r->ops->unpack(r->be, &(bl_unpack_args){.w = &l->weight, .rows = l->out, .y = k->was[i].part[0]}, e));
        BL_TRY(packed_as_target(k, l, k->was[i].part[0], e));
    }
    BL_TRY(bl_matrix_new(r, r->be->act, tokens, widest, &k->x, e));
    BL_TRY(bl_matrix_new(r, r->be->act, tokens, widest, &k->dx, e));
    BL_TRY(bl_trainable_of_block(r->model, block, &k->t, e));
    BL_TRY(bl_train_lora(k->t,
                         &(bl_lora){.rank = k->o->rank,
                                    .alpha = k->o->alpha,
                                    .seed = r->seed ^ bl_rng_key("qllm terms", (uint64_t)block)},
                         e));
    if (k->o->norms) BL_TRY(bl_train_norms(k->t, e));
    if (k->o->abits) BL_TRY(bl_train_rounded_inputs(k->t, &act, true, 0, e));
    k->plain = bl_trainable_hooks(k->t);
    k->back = bl_trainable_grads(k->t);
out:
    return st;
}

/* B A becomes part of the weights, which are rounded again. */
static bl_status merge(tuning *k, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_run *r = k->r;
    for (int i = 0; i < k->n; i++) {
        bl_linear *l = &k->lin[i];
        const bl_tensor sum = k->sum[i].part[0];
        BL_TRY(r->ops->unpack(r->be, &(bl_unpack_args){.w = &k->was[i], .rows = l->out, .y = sum}, e));
        BL_TRY(bl_lowrank_add(r, &l->adapter[l->n_adapters - 1], sum, e));
        BL_TRY(packed_as_target(k, l, sum, e));
        bl_linear_clear_adapters(l);
    }
out:
    return st;
}

/* The linears get the weights that they will be rounded from, and their transforms back. */
static void tuning_end(tuning *k, int64_t block, bool taken)
{
    const bl_method_run *r = k->r;
    bl_block *b = &r->model->blocks[block];
    for (int i = 0; i < b->n_norms && !taken && k->norm && k->norm[i]; i++)
        r->ops->upload(r->be, &b->norm[i].weight, k->norm[i], NULL);
    for (int i = 0; i < k->n && k->was && k->sum; i++) {
        bl_linear *l = &k->lin[i];
        bl_linear_clear_adapters(l);
        bl_linear_set_act(l, (bl_actq){0});
        if (k->was[i].format) bl_linear_set_weight(l, taken ? &k->sum[i] : &k->was[i]);
        if (k->taken[i]) l->n_transforms = k->taken[i];
        bl_weight_free(&k->was[i]);
        bl_weight_free(&k->sum[i]);
    }
    bl_trainable_free(k->t);
    bl_matrix_free(r, &k->x);
    bl_matrix_free(r, &k->dx);
}

static bl_status loss(bl_block_learner *by, double *sum, bl_err *e)
{
    *sum = 0;
    return bl_block_learner_windows(by, NULL, bl_calib_sequences(by->run->calib), 0, 0, sum, e);
}

static bl_status steps(joint *j, bl_block_learner *by, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_run *r = by->run;
    const opts *o = r->opts;
    bl_adamw adam[BL_BLOCKS_TOGETHER];
    bl_rng random = bl_rng_at(r->seed, bl_rng_key("qllm", (uint64_t)by->block), 0);
    const int64_t windows = bl_calib_sequences(r->calib), batch = BL_MIN(o->batch, windows), each = windows / batch,
                  all = o->epochs * each;
    const double scale = 2 / ((double)(batch * by->tokens) * (double)r->model->config.dim);
    int64_t *order = bl_alloc(r->scratch, (size_t)windows, sizeof *order, e);
    if (!order) return BL_E_NOMEM;
    for (int64_t i = 0; i < j->n; i++)
        adam[i] = (bl_adamw){.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .decay = o->decay};
    for (int64_t i = 0; i < windows; i++) order[i] = i;
    for (int64_t step = 0; step < all; step++) {
        double sum = 0;
        const int64_t at = step % each * batch;
        if (step % each == 0) bl_block_draw(&random, order, windows, windows);
        BL_TRY(bl_block_learner_windows(by, order + at, batch, each * batch - at - batch, scale, &sum, e));
        if (!isfinite(sum)) {
            st = bl_fail(e, BL_E_NUMERIC, "block %lld, step %lld: the difference to the original block is not finite",
                         (long long)by->block, (long long)step + 1);
            goto out;
        }
        for (int64_t i = 0; i < j->n; i++)
            BL_TRY(bl_adamw_step(&adam[i], j->k[i].t, o->lr * (1 - (double)step / (double)all), NULL, e));
    }
out:
    return st;
}

static bl_status tune(const bl_method_run *r, int64_t first, int64_t n, bl_err *e)
{
    bl_status st = BL_OK;
    joint j = {.first = first, .n = n};
    const bl_block_hooks hooks = {.product = product, .ctx = &j};
    const bl_block_grads grads = {.linears = linears, .norm = norm, .product = product, .ctx = &j};
    bl_block_learner by = {.run = r, .block = first, .blocks = n, .hooks = &hooks, .grads = &grads};
    double before, learned, merged = INFINITY;

    for (int64_t i = 0; i < n; i++) j.k[i] = (tuning){.r = r, .o = r->opts};
    BL_TRY(bl_block_learner_begin(&by, e));
    for (int64_t i = 0; i < n; i++) BL_TRY(tuning_begin(&j.k[i], first + i, by.tokens, e));
    BL_TRY(loss(&by, &before, e));
    BL_TRY(steps(&j, &by, e));
    BL_TRY(loss(&by, &learned, e));
    for (int64_t i = 0; i < n; i++) BL_TRY(merge(&j.k[i], e));
    BL_TRY(loss(&by, &merged, e));
    bl_log(BL_LOG_DEBUG,
           "blocks %lld to %lld: squared difference to the original %g, at first %g, with terms beside %g%s",
           (long long)first, (long long)(first + n - 1), merged, before, learned,
           merged <= before ? "" : ", so what was learned is not taken");
out:
    bl_block_learner_end(&by);
    for (int64_t i = 0; i < n; i++) tuning_end(&j.k[i], first + i, st == BL_OK && merged <= before);
    return st;
}

static int64_t together(const bl_method_run *r)
{
    const opts *o = r->opts;
    return o->epochs ? BL_MIN(o->together, r->model->config.n_layers) : 1;
}

static bl_status block(const bl_method_run *r, int64_t b, bl_err *e)
{
    const opts *o = r->opts;
    bl_mark mark = bl_arena_mark(r->scratch);
    bl_status st = BL_OK;
    for (int at = ATTN; at <= DOWN && o->abits && o->reassemble; at++) BL_TRY(reassemble(r, b, at, e));
    if (o->epochs && together(r) == 1) BL_TRY(tune(r, b, 1, e));
out:
    bl_arena_release(r->scratch, mark);
    return st;
}

static bl_status blocks(const bl_method_run *r, int64_t first, int64_t n, bl_err *e)
{
    bl_mark mark = bl_arena_mark(r->scratch);
    const bl_status st = tune(r, first, n, e);
    bl_arena_release(r->scratch, mark);
    return st;
}

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    const opts *o = r->opts;
    const bl_format *f;
    bl_shape g;
    target(o, lin, &f, &g);
    if (o->abits) bl_linear_set_act(lin, act_of(o));
    return bl_method_pack(r, lin, f, &g, BL_RANGE_ZERO, false, stat, e);
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    const opts *o = r->opts;
    return bl_int_of_block(lin, o->wbits, o->group, false, BL_F16, format, shape);
}

static double flops(const bl_method_run *r, const bl_linear *lin)
{
    const opts *o = r->opts;
    const double tried = o->abits && o->reassemble ? 2.0 * 50 * BL_CALIB_SAMPLE_ROWS : 0; /* thresholds */
    return bl_block_work(r, lin, o->epochs * bl_block_windows(r)) + tried * (double)lin->out * (double)lin->in;
}

static const size_t ops[] = {
    BL_BLOCK_OPS, BL_OP(channel_stats), BL_OP(transform), BL_OP(transform_grad), BL_OP(lowrank_grad),
    BL_OP(adamw), BL_OP(scale),         BL_OP(act_round), BL_OP(act_round_grad), 0};

const bl_method bl_method_qllm = {
    .name = "qllm",
    .version = 2,
    .title = "QLLM",
    .cite = "Liu et al. 2024, arXiv 2310.08041",
    .doc = "Channels of activations that stand out become several smaller ones, paid for by putting similar ones "
           "together, so that a token can be rounded with one scale; low-rank terms learned of four blocks at a time "
           "end in "
           "the weights: qllm:w4a8, qllm:w4a4. qllm:w4a4+epochs=0: the reassembly alone.",
    .deviates =
        "the norm after the blocks is not tuned; blocks that are left over when four are taken at a time are tuned "
        "too\n"
        "a place is reassembled only where what reads it loses less than as it is (+always: as published), and blocks "
        "keep what was learned only where they are nearer to the original once rounded again\n"
        "thresholds and pairs come of the inputs that the blocks before leave by now, those of one set reassembled and "
        "not "
        "rounded yet; pairs of 1024 rows of all text\n"
        "queries, keys and values are not rounded in training; keys and values are by --kv\n"
        "everything in fp32; ranges hold 0; scales of weights are rounded to fp16 before codes are chosen",
    .wbits = 0x1fc, /* 2..8 */
    .needs = BL_NEED_ORIGINAL | BL_NEED_CHANNELS | BL_NEED_INPUTS,
    .opts = rows,
    .opts_size = sizeof(opts),
    .settle = settle,
    .check = check,
    .ops = ops,
    .block = block,
    .together = together,
    .blocks = blocks,
    .layer = layer,
    .predict = predict,
    .about = true, /* the transforms' rows depend on the text */
    .work = flops,
};
