/* gguf.c - the block types of llama.cpp's files, each block found by search to have the least error (kernels/
 * fmt_gguf_fit.h):
 *
 *     least sum over a block of I_k (w_k - w^_k)^2,    I_k = mean x_k^2 over the calibration text
 *
 * I is what llama.cpp calls importance matrix: of the inputs as they are in the original model. `gguf:q4_k` gives all
 * linears of the blocks that type; the names of mixtures (q4_k_m, ...) and +mix what llama.cpp's quantizer gives to
 * each weight in a file of that name, head and embeddings included. Those two have no statistics: their weights count
 * alike.
 */
#include "gguf.h"
#include "harness/quant/calibrate.h"
#include "shared_weight.h"
#include <string.h>

typedef struct opts {
    int type;
    bool mix, importance, head, embeddings;
} opts;

static const bl_opt rows[] = {
    {"type", BL_OPT_CHOICE, .choices = bl_gguf_types, .def.choice = BL_GGUF_Q4_K, .at = offsetof(opts, type),
     .doc = "of blocks, or the name of a mixture; rows that its blocks do not divide get the type that llama.cpp takes "
            "instead"},
    {"mix", BL_OPT_BOOL, .at = offsetof(opts, mix),
     .doc =
         "as llama.cpp's file of that name: some linears, the head and the embeddings have other types; always, where "
         "the name is of a mixture"},
    {"importance", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, importance),
     .doc = "errors count as much as their inputs are large in the calibration text; else all alike"},
    {"head", BL_OPT_BOOL, .at = offsetof(opts, head), .doc = "quantize lm_head too; always in a mixture"},
    {"embeddings", BL_OPT_BOOL, .at = offsetof(opts, embeddings),
     .doc = "quantize the token embeddings too; always in a mixture"},
    {0}};

static void settle(void *options)
{
    opts *o = options;
    if (bl_gguf_only_mixed(o->type)) o->mix = false; /* it is one */
    if (o->mix || bl_gguf_only_mixed(o->type)) o->head = o->embeddings = false;
}

static bool is_mixed(const opts *o) { return o->mix || bl_gguf_only_mixed(o->type); }

static bool takes(const bl_method_run *r, const bl_linear *lin)
{
    const opts *o = r->opts;
    return is_mixed(o) || bl_takes_linear(r, lin, o->head, o->embeddings);
}

static bool wants_head(const bl_method_run *r)
{
    const opts *o = r->opts;
    return is_mixed(o) || o->head || o->embeddings;
}

static bl_status check(const bl_method_run *r, bl_err *e)
{
    const opts *o = r->opts;
    const char *type = bl_gguf_types[o->type];
    const int64_t block = is_mixed(o) || strcmp(type, "q1_0") ? 1 : bl_format_find(type)->block;
    for (size_t i = 0; i < r->model->n_linears; i++) {
        const bl_linear *l = &r->model->linears[i];
        if (takes(r, l) && bl_linear_width(l) % block)
            return bl_fail(
                e, BL_E_CONFIG,
                "%s has %lld inputs, expected whole blocks of %lld; llama.cpp has no type to take instead of %s",
                l->name, (long long)bl_linear_width(l), (long long)block, type);
    }
    return BL_OK;
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    const opts *o = r->opts;
    int64_t width = bl_linear_width(lin);
    if (!takes(r, lin)) return false;
    *format = bl_gguf_type_of(o->type, is_mixed(o), o->importance, r->model, lin, width);
    *shape = (bl_shape){.out = lin->out, .in = width};
    return true;
}

static unsigned spares(const void *opts_) { return ((const opts *)opts_)->importance ? 0 : BL_NEED_CHANNELS; }

/* I of the inputs of a linear; no tensor: alike. */
static bl_status importance_of(const bl_method_run *r, const bl_linear *lin, bl_tensor *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_calib_channels c;
    int64_t n = bl_linear_width(lin);
    float *v = NULL;
    if (!((const opts *)r->opts)->importance || lin->block < 0) return BL_OK;
    BL_TRY(bl_calib_channel(r->calib, lin, &c, e));
    if (!(v = bl_new((size_t)n, sizeof *v, e))) return BL_E_NOMEM;
    for (int64_t k = 0; k < n; k++) v[k] = (float)c.mean_sq[k];
    BL_TRY(bl_list_new(r, v, n, out, e));
out:
    bl_free(v);
    return st;
}

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_format *f;
    bl_shape g;
    bl_tensor dense = {0}, importance = {0};
    bl_weight packed = {0};
    double error = 0, power = 0;

    if (!predict(r, lin, &f, &g)) return BL_OK;
    BL_TRY(bl_linear_dense(r->be, lin, &dense, e));
    BL_TRY(bl_weight_new(r->be, f, &g, &packed, e));
    if (f->pack_least) BL_TRY(importance_of(r, lin, &importance, e));
    BL_TRY(r->ops->pack(r->be,
                        &(bl_pack_args){.x = dense,
                                        .w = &packed,
                                        .rule = f->pack_least ? BL_RANGE_LEAST : BL_RANGE_OWN,
                                        .importance = importance,
                                        .sq_error = &error,
                                        .sq_weight = &power},
                        e));
    BL_TRY(r->ops->sync(r->be, e));
    stat->mse = error / ((double)g.out * (double)g.in);
    stat->nmse = power > 0 ? error / power : 0;
    bl_linear_set_weight(lin, &packed);
out:
    bl_weight_free(&packed);
    bl_matrix_free(r, &dense);
    bl_matrix_free(r, &importance);
    return st;
}

/* The searches, measured beside products: grids look at all their points. */
static double work(const bl_method_run *r, const bl_linear *lin)
{
    /* Measured a weight; the first that a name begins with. */
    static const struct {
        const char *name;
        double flops;
    } cost[] = {{"iq1", 3e5},  {"iq2", 5e4},   {"iq3", 8e4},    {"q2_k", 5e4},   {"q4_k", 3e4},
                {"q5_k", 3e4}, {"iq4", 2.5e4}, {"q3_k", 2.3e4}, {"q6_k", 2.3e4}, {"", 1e4}};
    const opts *o = r->opts;
    const char *name = bl_gguf_type_of(o->type, is_mixed(o), o->importance, r->model, lin, bl_linear_width(lin))->name;
    size_t i = 0;
    while (strncmp(name, cost[i].name, strlen(cost[i].name))) i++;
    return cost[i].flops * (double)lin->out * (double)bl_linear_width(lin);
}

const bl_method bl_method_gguf = {
    .name = "gguf",
    .version = 1,
    .title = "GGUF block types",
    .cite = "ggml-org/llama.cpp: k-quants (pull request 1684), i-quants (4773), importance matrix (4861)",
    .doc = "llama.cpp's block types and mixtures, each block searched for the least error by the size of its inputs.",
    .deviates =
        "Errors are weighed with the mean square of their input alone; ggml multiplies it by sqrt(mean w^2 + w^2), or "
        "takes w^2 without statistics.\n"
        "Scales and codes are searched together and points of a grid are all looked at, so that errors are smaller "
        "than "
        "ggml's.\n"
        "The importance of inputs comes from windows of the calibration text of this study, not from chunks of 512 "
        "tokens.",
    .needs = BL_NEED_CHANNELS,
    .spares = spares,
    .opts = rows,
    .opts_size = sizeof(opts),
    .word = "type",
    .settle = settle,
    .check = check,
    .layer = layer,
    .original_inputs = true,
    .predict = predict,
    .work = work,
    .wants_head = wants_head,
};
