/* omniquant.c - OmniQuant: how far ranges of weights are open and, for activations, scales between linears are learned
 * block by block (Shao et al. 2023, arXiv 2308.13137).
 *
 *     L = mean |B^(x^) - B(x)|^2     (shared_block.h)
 *     w^ = (clamp(round(w' / s) + z, 0, 2^b - 1) - z) s,  s = (p max w' - q min w') / (2^b - 1), p, q learned sigmoids
 *                                    (CLIP of ops_train.h), learned weight clipping
 *     w' = diag(r) w diag(c)         learned equivalent transform
 *
 * The scales of the transform: a for what q, k and v read, m for what gate and up read, v for what o_proj reads, h for
 * queries and keys. What they multiply they divide elsewhere, so that without rounding nothing changes:
 *
 *     q: r = 1 / h, c = a    k: r = h, c = a    v: r = 1 / v, c = a    o: c = v    gate, up: c = m    norms: / a, / m
 *
 * v is of a channel of a value head, h of a pair of channels that rotary embedding turns together, and heads of queries
 * that share one of keys and values share both. a, m, v begin at max|x|^alpha / max|w|^(1 - alpha), w of q_proj,
 * up_proj and o_proj, h at 1. At the end all of it is in the weights, the norms and the biases.
 */
#include "omniquant.h"
#include "harness/quant/calibrate.h"
#include "harness/train/gradients.h"
#include "harness/train/optimizer.h"
#include "shared_block.h"
#include "shared_weight.h"
#include "smoothquant.h"
#include <math.h>
#include <string.h>

typedef struct opts {
    int64_t wbits, group, abits, epochs, batch;
    double clip_lr, lr, alpha, open;
    bool transform;
} opts;
static const bl_opt rows[] = {
    {"wbits", BL_OPT_INT, .min = 2, .max = 8, .def.i = 4, .at = offsetof(opts, wbits), .arg = "2..8",
     .doc = "bits of a weight"},
    {"group", BL_OPT_INT, .min = -1, .max = 65536, .def.i = 128, .at = offsetof(opts, group), .arg = "N",
     .doc = "weights that share a scale; -1: one scale a row"},
    {"abits", BL_OPT_INT, .min = 0, .max = 8, .def.i = 0, .at = offsetof(opts, abits), .arg = "0..8",
     .doc = "bits of an activation, a scale and a zero a token; 0: not quantized"},
    {"epochs", BL_OPT_INT, .min = 0, .max = 1000, .def.i = 20, .at = offsetof(opts, epochs), .arg = "N",
     .doc = "passes of a block over the text; the paper takes 40 at 2 bits; 0: as it begins"},
    {"batch", BL_OPT_INT, .min = 1, .max = 4096, .def.i = 1, .at = offsetof(opts, batch), .arg = "N",
     .doc = "windows of a step"},
    {"clip-lr", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 1e-2, .at = offsetof(opts, clip_lr), .arg = "X",
     .doc = "learning rate of the ranges; 0: they stay"},
    {"open", BL_OPT_REAL, .min = -10, .max = 100, .def.r = 4, .at = offsetof(opts, open), .arg = "X",
     .doc = "what the ranges begin at: the sigmoid of it times the group's own"},
    {"transform", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, transform),
     .doc = "scales between linears are learned too, where activations are quantized"},
    {"lr", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 5e-3, .at = offsetof(opts, lr), .arg = "X",
     .doc = "learning rate of those; 1e-3 for LLaMA-2 at W4A4 in the paper"},
    {"alpha", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 0.5, .at = offsetof(opts, alpha), .arg = "A",
     .doc = "how much of the outliers those begin by moving into the weights; 0.75 for LLaMA-2 in the paper"},
    {0}};

static void settle(void *options)
{
    opts *o = options;
    if (!o->abits) o->transform = true;
    if (!o->abits || !o->transform) {
        o->lr = 5e-3;
        o->alpha = 0.5;
    }
    if (o->epochs) return;
    o->batch = 1;
    o->clip_lr = 1e-2;
    o->lr = 5e-3;
}

static bl_actq act_of(const opts *o) { return (bl_actq){.bits = (int)o->abits, .unit = BL_ACT_TOKEN}; }
static bool transforms(const opts *o) { return o->abits && o->transform; }

static bl_status check(const bl_method_run *r, bl_err *e)
{
    return bl_plain_linears(r, 0, "omniquant learns on plain weights", e);
}

/* ---- the equivalent transform of a block ---- */

float bl_omniquant_scale(float s) { return fabsf(s) < 1e-2f ? copysignf(1e-2f, s) : s; }

enum { ATTN, MLP, VALUE, HEADS, SCALES };                                 /* a, m, v, h */
enum { C_ATTN, C_MLP, R_Q, R_K, R_V, C_O, VECTORS };                      /* rows r and columns c of the weights */
static const bl_role norm_role[] = {BL_ROLE_ATTN_NORM, BL_ROLE_MLP_NORM}; /* divided by ATTN, MLP */
static const bl_role biased[] = {BL_ROLE_Q, BL_ROLE_K, BL_ROLE_V};        /* whose rows are R_Q .. R_V */

typedef struct transform {
    const bl_method_run *r;
    bl_trainable *t;
    int64_t block, dim, q_dim, kv_dim, head, share; /* share: heads of queries to one of keys */
    int param[SCALES];
    int64_t n[SCALES], width[VECTORS];
    bl_tensor by[VECTORS], dby[VECTORS]; /* f32 [width] on the backend */
    bl_scaled scaled[BL_N_ROLES];
    float *s[SCALES], *first[SCALES], *ds[SCALES], *v[VECTORS]; /* of the host: as used, as they began, gradients */
    float *norm0[2], *bias0[3], *room;                          /* as they came; bias0 NULL: there is none */
} transform;

static int64_t value_of_query(const transform *k, int64_t j) /* channel of o_proj's input to that of v_proj's output */
{
    return j / k->head / k->share * k->head + j % k->head;
}
static int64_t pair_of(const transform *k, int64_t j) /* channel of k_proj's output to its pair */
{
    const int64_t half = k->head / 2;
    return j / k->head * half + j % half;
}

/* The vectors, the norms and the biases from the scales as they are now. */
static bl_status spread(transform *k, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_ops *ops = k->r->ops;
    bl_backend *be = k->r->be;
    bl_model *m = k->r->model;
    for (int i = 0; i < SCALES; i++) {
        BL_TRY(ops->download(be, &k->t->param[k->param[i]].value, k->s[i], e));
        for (int64_t j = 0; j < k->n[i]; j++) k->s[i][j] = bl_omniquant_scale(k->s[i][j]);
    }
    memcpy(k->v[C_ATTN], k->s[ATTN], (size_t)k->dim * sizeof(float));
    memcpy(k->v[C_MLP], k->s[MLP], (size_t)k->dim * sizeof(float));
    for (int64_t j = 0; j < k->kv_dim; j++) {
        k->v[R_K][j] = k->s[HEADS][pair_of(k, j)];
        k->v[R_V][j] = 1 / k->s[VALUE][j];
    }
    for (int64_t j = 0; j < k->q_dim; j++) {
        k->v[R_Q][j] = 1 / k->s[HEADS][pair_of(k, value_of_query(k, j))];
        k->v[C_O][j] = k->s[VALUE][value_of_query(k, j)];
    }
    for (int i = 0; i < VECTORS; i++) BL_TRY(ops->upload(be, &k->by[i], k->v[i], e));
    for (int i = 0; i < 2; i++) {
        for (int64_t j = 0; j < k->dim; j++) k->room[j] = k->norm0[i][j] / k->s[i][j];
        BL_TRY(ops->upload(be, &bl_model_norm(m, k->block, norm_role[i])->weight, k->room, e));
    }
    for (int i = 0; i < 3; i++) {
        const float *by = k->v[R_Q + i];
        if (!k->bias0[i]) continue;
        for (int64_t j = 0; j < k->width[R_Q + i]; j++) k->room[j] = k->bias0[i][j] * by[j];
        BL_TRY(ops->upload(be, &bl_model_linear(m, k->block, biased[i])->bias, k->room, e));
    }
out:
    return st;
}

/* The gradients that the vectors, the norms and the biases have got become those of the scales. */
static bl_status gather(transform *k, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_ops *ops = k->r->ops;
    bl_backend *be = k->r->be;
    bl_model *m = k->r->model;
    for (int i = 0; i < VECTORS; i++) {
        BL_TRY(ops->download(be, &k->dby[i], k->v[i], e));
        BL_TRY(ops->fill(be, &k->dby[i], 0, e));
    }
    for (int i = 0; i < 3; i++) {
        const bl_effective *w = bl_effective_of(k->t, k->block, biased[i]);
        if (!k->bias0[i]) continue;
        BL_TRY(ops->download(be, &k->t->param[w->bias].grad, k->room, e));
        for (int64_t j = 0; j < k->width[R_Q + i]; j++) k->v[R_Q + i][j] += k->room[j] * k->bias0[i][j];
    }
    for (int i = 0; i < 2; i++) { /* C_ATTN and C_MLP as ATTN and MLP */
        const bl_norm *n = bl_model_norm(m, k->block, norm_role[i]);
        BL_TRY(ops->download(be, &k->t->param[k->t->norm[n - m->norms]].grad, k->room, e));
        for (int64_t j = 0; j < k->dim; j++)
            k->ds[i][j] = k->v[i][j] - k->room[j] * k->norm0[i][j] / (k->s[i][j] * k->s[i][j]);
    }
    for (int i = VALUE; i < SCALES; i++) memset(k->ds[i], 0, (size_t)k->n[i] * sizeof(float));
    for (int64_t j = 0; j < k->kv_dim; j++) {
        k->ds[HEADS][pair_of(k, j)] += k->v[R_K][j];
        k->ds[VALUE][j] -= k->v[R_V][j] / (k->s[VALUE][j] * k->s[VALUE][j]);
    }
    for (int64_t j = 0; j < k->q_dim; j++) {
        const int64_t c = value_of_query(k, j), pair = pair_of(k, c);
        k->ds[HEADS][pair] -= k->v[R_Q][j] / (k->s[HEADS][pair] * k->s[HEADS][pair]);
        k->ds[VALUE][c] += k->v[C_O][j];
    }
    for (int i = 0; i < SCALES; i++) BL_TRY(ops->upload(be, &k->t->param[k->param[i]].grad, k->ds[i], e));
out:
    return st;
}

static bl_status column_maxima(const bl_method_run *r, const bl_linear *lin, float *most, bl_err *e)
{
    bl_status st = BL_OK;
    float *w = bl_new((size_t)(lin->out * lin->in), sizeof *w, e);
    if (!w) return BL_E_NOMEM;
    BL_TRY(r->ops->download(r->be, &lin->weight.part[0], w, e)); /* dense f32 by now */
    for (int64_t i = 0; i < lin->out; i++)
        for (int64_t j = 0; j < lin->in; j++) most[j] = fmaxf(most[j], fabsf(w[i * lin->in + j]));
out:
    bl_free(w);
    return st;
}

/* What a scale begins at, of the inputs of `role`: in f [n], where several channels share one by the largest. */
static bl_status begin_scale(transform *k, bl_role role, float *f, int64_t n, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = k->r->opts;
    const bl_linear *lin = bl_model_linear(k->r->model, k->block, role);
    float *x = bl_new(2 * (size_t)n, sizeof *x, e), *w = NULL;
    bl_calib_channels seen;
    if (!x || !(w = bl_new((size_t)lin->in, sizeof *w, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_calib_channel(k->r->calib, lin, &seen, e));
    BL_TRY(column_maxima(k->r, lin, w, e));
    for (int64_t j = 0; j < lin->in; j++) {
        const int64_t c = role == BL_ROLE_O ? value_of_query(k, j) : j;
        x[c] = fmaxf(x[c], seen.max_abs[j]);
        x[n + c] = fmaxf(x[n + c], w[j]);
    }
    bl_smooth_scales(x, x + n, n, o->alpha, f);
out:
    bl_free(x);
    bl_free(w);
    return st;
}

/* A copy on the host, of the run's scratch. */
static bl_status host_copy(const bl_method_run *r, const bl_tensor *t, float **out, bl_err *e)
{
    *out = bl_alloc(r->scratch, (size_t)bl_tensor_count(t), sizeof **out, e);
    return *out ? r->ops->download(r->be, t, *out, e) : BL_E_NOMEM;
}

/* Numbers that only their gradients are asked of: they follow the scales. */
static bl_status follow(transform *k, bl_err *e)
{
    bl_status st = BL_OK;
    bl_model *m = k->r->model;
    for (int i = 0; i < 2; i++) {
        bl_norm *n = bl_model_norm(m, k->block, norm_role[i]);
        int *at = &k->t->norm[n - m->norms];
        BL_TRY(host_copy(k->r, &n->weight, &k->norm0[i], e));
        BL_TRY(bl_trained_add(k->t, n->name, "weight", n->weight, at, e));
        k->t->param[*at].rate = 0;
        n->format = bl_format_find("fp32");
        n->changed = true;
    }
    for (int i = 0; i < 3; i++) {
        bl_effective *w = bl_effective_of(k->t, k->block, biased[i]);
        bl_linear *l = w->linear;
        if (!l->bias.ndim) continue;
        BL_TRY(host_copy(k->r, &l->bias, &k->bias0[i], e));
        BL_TRY(bl_trained_add(k->t, l->name, "bias", l->bias, &w->bias, e));
        k->t->param[w->bias].rate = 0;
        l->bias_format = bl_format_find("fp32");
    }
out:
    return st;
}

static bl_status add_scale(transform *k, int i, const char *name, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = k->r->opts;
    bl_tensor value = {0};
    BL_TRY(bl_list_new(k->r, k->first[i], k->n[i], &value, e));
    BL_TRY(bl_trained_add(k->t, name, "scale", value, &k->param[i], e));
    k->t->param[k->param[i]].own = value.buf;
    k->t->param[k->param[i]].rate = o->lr;
    value.buf = NULL;
out:
    bl_matrix_free(k->r, &value);
    return st;
}

static bl_status transform_begin(transform *k, bl_err *e)
{
    static const char *const names[] = {"attention", "mlp", "values", "heads"};
    bl_status st = BL_OK;
    bl_arena *a = k->r->scratch;
    const bl_config *c = &k->r->model->config;
    const bool norms_of_heads = bl_has_role(c, BL_ROLE_Q_NORM) || bl_has_role(c, BL_ROLE_K_NORM);
    k->dim = c->dim;
    k->head = c->head_dim;
    k->q_dim = c->n_heads * c->head_dim;
    k->kv_dim = c->n_kv_heads * c->head_dim;
    k->share = c->n_heads / c->n_kv_heads;
    const int64_t n[SCALES] = {k->dim, k->dim, k->kv_dim, k->kv_dim / 2},
                  width[VECTORS] = {k->dim, k->dim, k->q_dim, k->kv_dim, k->kv_dim, k->q_dim};
    memcpy(k->n, n, sizeof n);
    memcpy(k->width, width, sizeof width);
    for (int i = 0; i < SCALES; i++)
        if (!(k->s[i] = bl_alloc(a, (size_t)n[i], sizeof(float), e)) ||
            !(k->ds[i] = bl_alloc(a, (size_t)n[i], sizeof(float), e)) ||
            !(k->first[i] = bl_alloc(a, (size_t)n[i], sizeof(float), e)))
            return BL_E_NOMEM;
    if (!(k->room = bl_alloc(a, (size_t)BL_MAX(k->dim, k->q_dim), sizeof(float), e))) return BL_E_NOMEM;
    for (int i = 0; i < VECTORS; i++) {
        if (!(k->v[i] = bl_alloc(a, (size_t)width[i], sizeof(float), e))) return BL_E_NOMEM;
        BL_TRY(bl_vector_new(k->r, BL_F32, width[i], &k->by[i], e));
        BL_TRY(bl_vector_new(k->r, BL_F32, width[i], &k->dby[i], e));
        BL_TRY(k->r->ops->fill(k->r->be, &k->dby[i], 0, e));
    }
    BL_TRY(begin_scale(k, BL_ROLE_Q, k->first[ATTN], n[ATTN], e));
    BL_TRY(begin_scale(k, BL_ROLE_UP, k->first[MLP], n[MLP], e));
    BL_TRY(begin_scale(k, BL_ROLE_O, k->first[VALUE], n[VALUE], e));
    for (int64_t j = 0; j < n[HEADS]; j++) k->first[HEADS][j] = 1;
    for (int i = 0; i < SCALES; i++) BL_TRY(add_scale(k, i, names[i], e));
    if (norms_of_heads) k->t->param[k->param[HEADS]].rate = 0; /* after them a scale would be taken back */
    BL_TRY(follow(k, e));
    static const struct {
        bl_role role;
        int rows, cols; /* -1: none */
    } of[] = {{BL_ROLE_Q, R_Q, C_ATTN}, {BL_ROLE_K, R_K, C_ATTN},  {BL_ROLE_V, R_V, C_ATTN},
              {BL_ROLE_O, -1, C_O},     {BL_ROLE_GATE, -1, C_MLP}, {BL_ROLE_UP, -1, C_MLP}};
    for (size_t i = 0; i < BL_COUNT(of); i++) {
        bl_scaled *z = &k->scaled[of[i].role];
        *z = (bl_scaled){.cols = k->by[of[i].cols], .dcols = k->dby[of[i].cols]};
        if (of[i].rows >= 0) {
            z->rows = k->by[of[i].rows];
            z->drows = k->dby[of[i].rows];
        }
        bl_effective_of(k->t, k->block, of[i].role)->scaled = z;
    }
    BL_TRY(spread(k, e));
out:
    return st;
}

static void transform_end(transform *k)
{
    for (int i = 0; i < VECTORS; i++) {
        bl_matrix_free(k->r, &k->by[i]);
        bl_matrix_free(k->r, &k->dby[i]);
    }
}

/* ---- a block ---- */

typedef struct work {
    const bl_method_run *r;
    const opts *o;
    bl_trainable *t;
    transform *let; /* NULL: there is none */
    bl_block_learner by;
} work;

/* The loss over all windows as everything is now. */
static bl_status loss(work *k, double *sum, bl_err *e)
{
    *sum = 0;
    return bl_block_learner_windows(&k->by, NULL, bl_calib_sequences(k->r->calib), 0, 0, sum, e);
}

static bl_status steps(work *k, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_run *r = k->r;
    bl_adamw adam = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    bl_rng random = bl_rng_at(r->seed, bl_rng_key("omniquant", (uint64_t)k->by.block), 0);
    const int64_t windows = bl_calib_sequences(r->calib), batch = BL_MIN(k->o->batch, windows), each = windows / batch;
    const double scale = 2 / ((double)(batch * k->by.tokens) * (double)r->model->config.dim);
    int64_t *order = bl_alloc(r->scratch, (size_t)windows, sizeof *order, e);
    if (!order) return BL_E_NOMEM;
    for (int64_t i = 0; i < windows; i++) order[i] = i;
    for (int64_t step = 0; step < k->o->epochs * each; step++) {
        double sum = 0;
        const int64_t at = step % each * batch;
        if (step % each == 0) bl_block_draw(&random, order, windows, windows);
        BL_TRY(bl_block_learner_windows(&k->by, order + at, batch, each * batch - at - batch, scale, &sum, e));
        if (!isfinite(sum)) {
            st = bl_fail(e, BL_E_NUMERIC, "block %lld, step %lld: the difference to the original block is not finite",
                         (long long)k->by.block, (long long)step + 1);
            goto out;
        }
        if (k->let) BL_TRY(gather(k->let, e));
        BL_TRY(bl_adamw_step(&adam, k->t, 1, NULL, e)); /* rates are those of the parameters */
        if (k->let) BL_TRY(spread(k->let, e));
    }
out:
    return st;
}

/* All parameters as they began. */
static bl_status begin_again(work *k, float *const *first, bl_err *e)
{
    bl_status st = BL_OK;
    for (size_t i = 0; i < k->t->n_params; i++)
        if (k->t->param[i].rate > 0) BL_TRY(k->r->ops->upload(k->r->be, &k->t->param[i].value, first[i], e));
    if (k->let) BL_TRY(spread(k->let, e));
out:
    return st;
}

static bl_status learn(work *k, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_block_hooks hooks = bl_trainable_hooks(k->t);
    const bl_block_grads grads = bl_trainable_grads(k->t);
    double before, after;
    float **first = bl_alloc(k->r->scratch, k->t->n_params, sizeof *first, e);
    if (!first) return BL_E_NOMEM;
    k->by.hooks = &hooks;
    k->by.grads = &grads;
    for (size_t i = 0; i < k->t->n_params; i++) BL_TRY(host_copy(k->r, &k->t->param[i].value, &first[i], e));
    BL_TRY(bl_block_learner_begin(&k->by, e));
    BL_TRY(loss(k, &before, e));
    BL_TRY(steps(k, e));
    BL_TRY(loss(k, &after, e));
    bl_log(BL_LOG_DEBUG, "block %lld: squared difference to the original %g, at first %g%s", (long long)k->by.block,
           after, before, after <= before ? "" : ", so what was learned is not taken");
    if (!(after <= before)) BL_TRY(begin_again(k, first, e)); /* what goes wrong here would be carried on */
    const double elements = (double)bl_calib_tokens(k->r->calib) * (double)k->r->model->config.dim;
    bl_calib_say_loss(k->r->calib, before / elements, fmin(before, after) / elements);
out:
    bl_block_learner_end(&k->by);
    return st;
}

static bl_status block(const bl_method_run *r, int64_t b, bl_err *e)
{
    const opts *o = r->opts;
    work k = {.r = r, .o = o, .by = {.run = r, .block = b}};
    transform let = {.r = r, .block = b};
    const bl_actq act = act_of(o);
    bl_mark mark = bl_arena_mark(r->scratch);
    bl_status st = BL_OK;
    BL_TRY(bl_trainable_of_block(r->model, b, &k.t, e));
    BL_TRY(bl_train_grid(
        k.t,
        &(bl_grid_learned){.grid = {.kind = BL_GRID_CLIP, .bits = (int)o->wbits, .group = o->group, .half = true},
                           .open = o->open},
        e));
    for (size_t i = 0; i < k.t->n_params; i++) k.t->param[i].rate = o->clip_lr;
    let.t = k.t;
    if (transforms(o)) {
        BL_TRY(transform_begin(&let, e));
        k.let = &let;
    }
    if (o->abits) BL_TRY(bl_train_rounded_inputs(k.t, &act, true, 0, e));
    if (o->epochs) BL_TRY(learn(&k, e));
    BL_TRY(bl_trainable_store(k.t, e));
out:
    transform_end(&let);
    bl_trainable_free(k.t);
    bl_arena_release(r->scratch, mark);
    return st;
}

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    if (transforms(r->opts) && lin->role != BL_ROLE_DOWN) return BL_OK; /* it is not what it was, on purpose */
    return bl_block_lost(r, lin, stat, e);
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

static const size_t ops[] = {
    BL_BLOCK_OPS,      BL_OP(grid),      BL_OP(grid_grad),      BL_OP(adamw),         BL_OP(scale),
    BL_OP(scale_grad), BL_OP(act_round), BL_OP(act_round_grad), BL_OP(channel_stats), 0};

const bl_method bl_method_omniquant = {
    .name = "omniquant",
    .version = 1,
    .title = "OmniQuant",
    .cite = "Shao et al. 2023, arXiv 2308.13137",
    .doc = "How far the range of each group of weights is open is learned block by block to do what the block did; "
           "with quantized activations (omniquant:w4a4pc) scales between linears too, which end in weights and norms.",
    .deviates =
        "everything in fp32 but scales, which are rounded to fp16 in training too, so that what is stored is what was "
        "trained\n"
        "ranges hold 0, so that zeros are codes; the published code decodes a group of one sign wrongly\n"
        "scales of values and of heads are shared where heads of queries share one of keys, instead of left out; those "
        "of heads by the two channels that rotary embedding turns together, so that nothing changes without rounding\n"
        "scales begin at the inputs that the blocks before leave by now\n"
        "queries, keys and values are not rounded in training; keys and values are by --kv\n"
        "without the second loss at 2 bits; a block whose loss training did not lower stays as it began",
    .wbits = 0x1fc, /* 2..8 */
    .needs = BL_NEED_ORIGINAL | BL_NEED_CHANNELS,
    .opts = rows,
    .opts_size = sizeof(opts),
    .settle = settle,
    .check = check,
    .ops = ops,
    .block = block,
    .layer = layer,
    .predict = predict,
    .work = flops,
};
