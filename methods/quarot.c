/* quarot.c - QuaRot: the residual stream, the values and the inputs of o_proj and down_proj are turned by randomized
 * Hadamard matrices, which spread what stands out over all channels and leave the function of the model as it is
 * (Ashkboos et al. 2024, arXiv 2404.00456). What follows in the chain rounds the turned model.
 *
 *     r1     h' = h R1: into the embedding, q, k, v, gate, up and the head on their input, o and down on their output.
 *            The weights of the norms move into what reads them, the head of a tied model becomes its own.
 *     r2     v' = v R2, head by head: into v on its output, o on its input. One R2 a block, so that the query heads
 *            of a group agree.
 *     heads  the whole input of o is turned while the model runs: a transform of o
 *     r4     the whole input of down is turned while the model runs: a transform of down
 *
 * R = diag(signs) Ht / sqrt(n), so a row w becomes H diag(signs) wt on either side. R1 has random signs, R2 on both its
 * sides: without them `heads`, which has none, would take part of R2 back. All sums are in double; a weight is rounded
 * to float once, at the end.
 */
#include "shared_weight.h"
#include "kernels/base/rng.h"
#include "kernels/hadamard.h"
#include <inttypes.h>
#include <string.h>

typedef struct opts {
    bool r1, r2, r3, heads, r4;
} opts;

static const bl_opt rows[] = {
    {"r1", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, r1), .doc = "turn the residual stream"},
    {"r2", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, r2), .doc = "turn the values, head by head"},
    {"r3", BL_OPT_BOOL, .at = offsetof(opts, r3),
     .doc = "turn queries and keys while the model runs; only keys in few bits (--kv) gain from it"},
    {"heads", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, heads),
     .doc = "turn the input of o_proj across heads while the model runs"},
    {"r4", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, r4),
     .doc = "turn the input of down_proj while the model runs"},
    {0}};

/* Random signs of a stream, times `scale` where it is not NULL (host, [n]). */
static bl_status signs(const bl_method_run *r, const char *stream, int64_t block, int64_t n, const float *scale,
                       bl_tensor *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_rng random = bl_rng_at(r->seed, bl_rng_key(stream, (uint64_t)(block + 1)), 0);
    float *v = bl_new((size_t)n, sizeof *v, e);
    if (!v) return BL_E_NOMEM;
    for (int64_t i = 0; i < n; i++) v[i] = (bl_rng_u32(&random) & 1 ? 1.0f : -1.0f) * (scale ? scale[i] : 1);
    st = bl_list_new(r, v, n, out, e);
    bl_free(v);
    return st;
}
static bl_status signs_r1(const bl_method_run *r, const float *norm, bl_tensor *out, bl_err *e)
{
    return signs(r, "quarot r1", -1, r->model->config.dim, norm, out, e);
}

/* ---- turning a weight ---- */

/* Rows (the inputs) or columns (the outputs) in pieces of n: H before, after. */
typedef struct turn {
    bool outputs;
    int64_t n;
    bl_tensor before, after;
} turn;

static bl_status turn_once(const bl_method_run *r, const turn *how, bl_tensor x, bl_tensor y, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t rows = x.dim[0], cols = x.dim[1], pieces = how->outputs ? rows / how->n : 1;
    for (int64_t i = 0; i < pieces && st == BL_OK; i++) {
        bl_hadamard_args a = {.x = x, .y = y, .before = how->before, .after = how->after};
        for (int k = 0; k < 2; k++) {
            bl_tensor *t = k ? &a.y : &a.x;
            if (how->outputs) {
                *t = bl_tensor_rows(*t, i * how->n, how->n);
                t->dim[0] = cols;
                t->dim[1] = how->n;
                t->stride[0] = 1;
                t->stride[1] = cols;
            } else {
                *t = bl_tensor_2d(t->buf, t->offset, t->dtype, rows * cols / how->n, how->n);
            }
        }
        st = r->ops->hadamard(r->be, &a, e);
    }
    return st;
}

/* x f32 [rows, cols] through all turns, in double, into y of the same shape. */
static bl_status turn_all(const bl_method_run *r, const turn *how, int n, bl_tensor x, bl_tensor y, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tensor t = {0};
    if (n > 1) BL_TRY(bl_matrix_new(r, BL_F64, x.dim[0], x.dim[1], &t, e));
    for (int i = 0; i < n; i++) BL_TRY(turn_once(r, &how[i], i ? t : x, i + 1 < n ? t : y, e));
    BL_TRY(r->ops->sync(r->be, e));
out:
    r->ops->buffer_free(t.buf);
    return st;
}

/* The weight becomes fp32. A bias takes part in the turns of the outputs. */
static bl_status turn_linear(const bl_method_run *r, bl_linear *lin, const turn *how, int n, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tensor dense = {0}, bias = {0};
    bl_weight w = {0};
    bl_shape shape = {.out = lin->out, .in = lin->in};
    turn outputs[4];
    int n_outputs = 0;

    if (!n) return BL_OK;
    BL_TRY(bl_linear_dense(r->be, lin, &dense, e));
    BL_TRY(bl_weight_new(r->be, bl_format_find("fp32"), &shape, &w, e));
    BL_TRY(turn_all(r, how, n, dense, w.part[0], e));
    bl_linear_set_weight(lin, &w);
    for (int i = 0; i < n; i++)
        if (how[i].outputs) outputs[n_outputs++] = how[i];
    if (lin->bias.ndim && n_outputs) {
        bl_tensor old = bl_tensor_2d(lin->bias.buf, lin->bias.offset, BL_F32, lin->out, 1);
        BL_TRY(bl_matrix_new(r, BL_F32, lin->out, 1, &bias, e));
        BL_TRY(turn_all(r, outputs, n_outputs, old, bias, e));
        bl_linear_set_bias(lin, bl_tensor_1d(bias.buf, 0, BL_F32, lin->out));
        bias = (bl_tensor){0};
    }
out:
    if (st != BL_OK) bl_within(e, "%s", lin->name);
    bl_weight_free(&w);
    r->ops->buffer_free(dense.buf);
    r->ops->buffer_free(bias.buf);
    return st;
}

/* What reads a norm takes over its weight, together with the signs of R1; the norm is left with ones. */
static bl_status take_norm(const bl_method_run *r, bl_norm *norm, bl_tensor *before, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t n = r->model->config.dim;
    bl_tensor ones = {0};
    float *w = bl_new((size_t)n, sizeof *w, e);

    if (!w) return BL_E_NOMEM;
    BL_TRY(r->ops->download(r->be, &norm->weight, w, e));
    BL_TRY(signs_r1(r, w, before, e));
    for (int64_t i = 0; i < n; i++) w[i] = 1;
    BL_TRY(bl_list_new(r, w, n, &ones, e));
    bl_norm_set(norm, ones);
out:
    bl_free(w);
    return st;
}

/* ---- the model ---- */

static bl_status model(const bl_method_run *r, bl_err *e)
{
    const opts *o = r->opts;
    bl_model *m = r->model;
    bl_status st = BL_OK;
    turn embed = {.n = m->config.dim}, head = embed;

    if (o->r3) m->config.turned_keys = true;
    if (!o->r1) return BL_OK;
    BL_TRY(signs_r1(r, NULL, &embed.before, e));
    BL_TRY(turn_linear(r, &m->embed, &embed, 1, e));
    BL_TRY(take_norm(r, &m->norm, &head.before, e));
    BL_TRY(turn_linear(r, &m->head, &head, 1, e));
out:
    r->ops->buffer_free(embed.before.buf);
    r->ops->buffer_free(head.before.buf);
    return st;
}

static bool is_online(const opts *o, const bl_linear *lin)
{
    return lin->role == BL_ROLE_O ? o->heads : lin->role == BL_ROLE_DOWN && o->r4;
}

static bl_status add_online(bl_linear *lin, bl_err *e)
{
    return bl_linear_add_transform(lin, &(bl_transform){.kind = BL_T_HADAMARD, .in = lin->in, .out = lin->in}, e);
}

static bl_status block(const bl_method_run *r, int64_t b, bl_err *e)
{
    const opts *o = r->opts;
    bl_model *m = r->model;
    const bl_config *c = &m->config;
    bl_status st = BL_OK;
    turn attn = {.n = c->dim}, mlp = attn, stream = {.outputs = true, .n = c->dim}, values = {.n = c->head_dim};

    if (o->r1) {
        BL_TRY(take_norm(r, bl_model_norm(m, b, BL_ROLE_ATTN_NORM), &attn.before, e));
        BL_TRY(take_norm(r, bl_model_norm(m, b, BL_ROLE_MLP_NORM), &mlp.before, e));
        BL_TRY(signs_r1(r, NULL, &stream.before, e));
    }
    if (o->r2) {
        BL_TRY(signs(r, "quarot r2", b, c->head_dim, NULL, &values.before, e));
        BL_TRY(signs(r, "quarot r2 after", b, c->head_dim, NULL, &values.after, e));
    }
    for (int i = 0; i < m->blocks[b].n_linears; i++) {
        bl_linear *lin = &m->blocks[b].linear[i];
        turn how[4];
        int n = 0;
        bool online = is_online(o, lin);
        switch (lin->role) {
        case BL_ROLE_V:
        case BL_ROLE_Q:
        case BL_ROLE_K:
            if (o->r1) how[n++] = attn;
            if (lin->role != BL_ROLE_V || !o->r2) break;
            how[n] = values;
            how[n++].outputs = true;
            break;
        case BL_ROLE_GATE:
        case BL_ROLE_UP:
            if (o->r1) how[n++] = mlp;
            break;
        default: /* o and down write to the residual stream */
            if (lin->role == BL_ROLE_O && o->r2) how[n++] = values;
            if (online) how[n++] = (turn){.n = lin->in};
            if (o->r1) how[n++] = stream;
        }
        BL_TRY(turn_linear(r, lin, how, n, e));
        if (online) BL_TRY(add_online(lin, e));
    }
out:
    r->ops->buffer_free(attn.before.buf);
    r->ops->buffer_free(mlp.before.buf);
    r->ops->buffer_free(stream.before.buf);
    r->ops->buffer_free(values.before.buf);
    r->ops->buffer_free(values.after.buf);
    return st;
}

/* Does its weight change? */
static bool is_turned(const opts *o, const bl_linear *lin)
{
    return o->r1 || is_online(o, lin) || (o->r2 && (lin->role == BL_ROLE_V || lin->role == BL_ROLE_O));
}

/* The weight is turned as if nothing came between the input and it. */
static bl_status check_plain(const opts *o, const bl_linear *lin, bl_err *e)
{
    if (!is_turned(o, lin) || !(lin->n_transforms || lin->n_after || lin->n_adapters)) return BL_OK;
    return bl_fail(e, BL_E_UNSUPPORTED, "%s has transforms or adapters; quarot comes before what adds them", lin->name);
}

static bl_status check(const bl_method_run *r, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = r->opts;
    const bl_model *m = r->model;
    const bl_config *c = &m->config;
    const struct {
        bool wanted;
        int64_t n;
        const char *what, *option;
    } rotations[] = {{o->r1, c->dim, "the residual stream", "r1"},
                     {o->r2, c->head_dim, "a head", "r2"},
                     {o->r3, c->head_dim, "a head", "r3"},
                     {o->heads, c->n_heads * c->head_dim, "the input of o_proj", "heads"},
                     {o->r4, c->ffn_dim, "the input of down_proj", "r4"}};
    if (!o->r1 && !o->r2 && !o->r3 && !o->heads && !o->r4)
        return bl_fail(e, BL_E_CONFIG, "quarot with every rotation switched off leaves the model as it is");
    if (o->r3 && c->turned_keys)
        return bl_fail(e, BL_E_UNSUPPORTED, "queries and keys of this model are turned already");
    for (size_t i = 0; i < BL_COUNT(rotations); i++)
        if (rotations[i].wanted && !bl_hadamard_order(rotations[i].n))
            return bl_fail(e, BL_E_CONFIG,
                           "%s is %" PRId64 " wide, for which there is no Hadamard matrix here; +%s=false leaves it as "
                           "it is",
                           rotations[i].what, rotations[i].n, rotations[i].option);
    for (size_t i = 0; i < m->n_linears; i++) BL_TRY(check_plain(o, &m->linears[i], e));
    BL_TRY(check_plain(o, &m->head, e));
out:
    return st;
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    const opts *o = r->opts;
    if (!is_turned(o, lin)) return false;
    if (is_online(o, lin) && add_online(lin, NULL) != BL_OK) return false;
    *format = bl_format_find("fp32");
    *shape = (bl_shape){.out = lin->out, .in = lin->in};
    return true;
}

static bool wants_head(const bl_method_run *r) { return ((const opts *)r->opts)->r1; }

static const size_t ops[] = {BL_OP(hadamard), 0};

const bl_method bl_method_quarot = {
    .name = "quarot",
    .version = 1,
    .title = "QuaRot",
    .cite = "Ashkboos et al.: QuaRot: Outlier-Free 4-Bit Inference in Rotated LLMs, NeurIPS 2024, arXiv:2404.00456",
    .doc =
        "Turns the model by Hadamard matrices that leave its function as it is and spread outliers over all channels. "
        "A first stage: quarot+gptq:w4.",
    .deviates =
        "The input of o_proj is turned by one matrix of its whole width instead of across heads: one exists for more "
        "models (none has order 9).\n"
        "The mean of each row of the embedding is not taken off: RMSNorm does not need it.\n"
        "Weights and activations are rounded by the stages that follow, with their options.",
    .opts = rows,
    .opts_size = sizeof(opts),
    .unties_head = true,
    .check = check,
    .ops = ops,
    .model = model,
    .block = block,
    .predict = predict,
    .wants_head = wants_head,
};
