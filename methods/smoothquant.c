/* smoothquant.c - SmoothQuant: what stands out in a channel of the activations moves into the weights, so that both can
 * be rounded with one scale (Xiao et al. 2022, arXiv 2211.10438).
 *
 *     y = (x diag(1/s)) (diag(s) Wt)        s = max|x|^alpha / max|w|^(1 - alpha)                         (equation 4)
 *
 * by input channel, max|w| over the rows of all linears that read it: q, k and v, gate and up. 1/s goes into the norm
 * before, so that nothing is computed or stored for it; o_proj and down_proj keep their inputs, as in the published
 * code for LLaMA. Then weights are rounded to `wbits`, symmetric, one scale a row, and activations to `abits`: a scale
 * a token as they come, or (static) one a tensor from calibration text.
 *
 * Without wbits a first stage: smoothquant+gptq:w4a8, smoothquant+rtn:w8a8pc+symmetric.
 */
#include "smoothquant.h"
#include "harness/quant/calibrate.h"
#include "shared_weight.h"
#include <math.h>

typedef struct opts {
    int64_t wbits, group, abits;
    double alpha;
    bool fixed;
    int scale;
} opts;

static const char *const scales[] = {"fp16", "fp32", NULL};
static const bl_opt rows[] = {
    {"wbits", BL_OPT_INT, .min = 0, .max = 8, .def.i = 0, .at = offsetof(opts, wbits), .arg = "0..8",
     .doc = "bits of a weight; 0: weights are smoothed, not rounded"},
    {"group", BL_OPT_INT, .min = -1, .max = 65536, .def.i = -1, .at = offsetof(opts, group), .arg = "N",
     .doc = "weights that share a scale; -1: one scale a row"},
    {"abits", BL_OPT_INT, .min = 0, .max = 8, .def.i = 0, .at = offsetof(opts, abits), .arg = "0..8",
     .doc = "bits of an activation; 0: not quantized"},
    {"alpha", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 0.85, .at = offsetof(opts, alpha), .arg = "A",
     .doc = "how much of the outliers moves into the weights: 0.85 for LLaMA-2 and 3, 0.5 for OPT in the paper"},
    {"static", BL_OPT_BOOL, .at = offsetof(opts, fixed),
     .doc = "one scale for all activations of a linear, from calibration text, instead of one a token"},
    {"scale", BL_OPT_CHOICE, .choices = scales, .def.choice = 0, .at = offsetof(opts, scale),
     .doc = "type that scales are stored in"},
    {0}};

static void settle(void *options)
{
    opts *o = options;
    if (!o->abits) o->fixed = false;
    if (o->wbits) return;
    o->group = -1;
    o->scale = 0;
}

/* Linears that read one norm. */
static const struct {
    bl_role norm, reader[3]; /* BL_N_ROLES after the last */
} places[] = {{BL_ROLE_ATTN_NORM, {BL_ROLE_Q, BL_ROLE_K, BL_ROLE_V}},
              {BL_ROLE_MLP_NORM, {BL_ROLE_GATE, BL_ROLE_UP, BL_N_ROLES}}};

static bool is_smoothed(const bl_linear *lin)
{
    return lin->block >= 0 && lin->role != BL_ROLE_O && lin->role != BL_ROLE_DOWN;
}

static void target(const opts *o, const bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    char name[8];
    int64_t in = bl_linear_width(lin);
    snprintf(name, sizeof name, "int%d", (int)o->wbits);
    *format = bl_format_find(name);
    *shape = (bl_shape){
        .out = lin->out, .in = in, .group = o->group < 0 ? in : o->group, .scale = o->scale ? BL_F32 : BL_F16};
}

static bl_status check(const bl_method_run *r, bl_err *e)
{
    for (size_t i = 0; i < r->model->n_linears; i++) {
        const bl_linear *lin = &r->model->linears[i];
        if (is_smoothed(lin) && (lin->n_transforms || lin->n_after || lin->n_adapters))
            return bl_fail(e, BL_E_UNSUPPORTED,
                           "%s has transforms or adapters; smoothquant comes before what adds them", lin->name);
    }
    return BL_OK;
}

/* ---- smoothing ---- */

void bl_smooth_scales(const float *max_x, const float *max_w, int64_t n, double alpha, float *s)
{
    for (int64_t j = 0; j < n; j++)
        s[j] = (float)fmax(pow(fmax(max_x[j], 1e-5), alpha) / pow(fmax(max_w[j], 1e-5), 1 - alpha), 1e-5);
}

/* most[j] = max(most[j], |w[i, j]| of all rows). */
static bl_status column_maxima(const bl_method_run *r, const bl_linear *lin, float *most, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tensor dense = {0};
    float *w = bl_new((size_t)(lin->out * lin->in), sizeof *w, e);
    if (!w) return BL_E_NOMEM;
    BL_TRY(bl_linear_dense(r->be, lin, &dense, e));
    BL_TRY(r->ops->download(r->be, &dense, w, e));
    for (int64_t i = 0; i < lin->out; i++)
        for (int64_t j = 0; j < lin->in; j++) most[j] = fmaxf(most[j], fabsf(w[i * lin->in + j]));
out:
    bl_free(w);
    bl_matrix_free(r, &dense);
    return st;
}

static bl_status smooth(const bl_method_run *r, int64_t b, size_t place, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = r->opts;
    bl_model *m = r->model;
    const bl_role *reader = places[place].reader;
    const bl_linear *first = bl_model_linear(m, b, reader[0]);
    bl_calib_channels x;
    float *most = bl_new(2 * (size_t)first->in, sizeof *most, e);

    if (!most) return BL_E_NOMEM;
    float *s = most + first->in;
    BL_TRY(bl_calib_channel(r->calib, first, &x, e));
    for (int i = 0; i < 3 && reader[i] != BL_N_ROLES; i++)
        BL_TRY(column_maxima(r, bl_model_linear(m, b, reader[i]), most, e));
    bl_smooth_scales(x.max_abs, most, first->in, o->alpha, s);
    for (int i = 0; i < 3 && reader[i] != BL_N_ROLES; i++)
        BL_TRY(bl_linear_rescale(r, bl_model_linear(m, b, reader[i]), NULL, s, e));
    BL_TRY(bl_norm_divide(r, bl_model_norm(m, b, places[place].norm), s, e));
    BL_TRY(
        bl_calib_divide(r->calib, first, s, e)); /* scales of activations that are fixed are those of smoothed ones */
out:
    bl_free(most);
    return st;
}

static bl_status block(const bl_method_run *r, int64_t b, bl_err *e)
{
    bl_status st = BL_OK;
    for (size_t p = 0; p < BL_COUNT(places) && st == BL_OK; p++) st = smooth(r, b, p, e);
    return st;
}

/* ---- rounding ---- */

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = r->opts;
    const bl_format *f;
    bl_shape g;

    if (o->abits) {
        bl_actq act = {.bits = (int)o->abits, .symmetric = true, .unit = BL_ACT_TOKEN};
        if (o->fixed) {
            bl_calib_channels x;
            float most = 0;
            BL_TRY(bl_calib_channel(r->calib, lin, &x, e));
            for (int64_t j = 0; j < bl_linear_width(lin); j++) most = fmaxf(most, x.max_abs[j]);
            act.unit = BL_ACT_TENSOR;
            act.scale = most > 0 ? most / (float)((1 << (o->abits - 1)) - 1) : 1;
        }
        bl_linear_set_act(lin, act);
    }
    if (!o->wbits) goto out;
    target(o, lin, &f, &g);
    BL_TRY(bl_method_pack(r, lin, f, &g, BL_RANGE_SYMMETRIC, false, stat, e));
out:
    return st;
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    const opts *o = r->opts;
    if (lin->block < 0 || (!o->wbits && !is_smoothed(lin))) return false;
    target(o, lin, format, shape);
    if (o->wbits) return true;
    *format = bl_format_find("fp32");
    *shape = (bl_shape){.out = lin->out, .in = lin->in};
    return true;
}

static const size_t ops[] = {BL_OP(scale), 0};

const bl_method bl_method_smoothquant = {
    .name = "smoothquant",
    .version = 3,
    .title = "SmoothQuant",
    .cite = "Xiao et al.: SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models, "
            "ICML 2023, arXiv:2211.10438",
    .doc = "Moves the outliers of activations into the weights, then rounds both: smoothquant:w8a8. Without a width a "
           "first stage: smoothquant+gptq:w4a8.",
    .deviates = "Outputs of q_proj, k_proj and v_proj are not rounded; keys and values are by --kv.\n"
                "Scales of weights are rounded to their stored type before codes are chosen.",
    .wbits = 0x1fd, /* 0 (none), 2..8 */
    .needs = BL_NEED_CHANNELS,
    .opts = rows,
    .opts_size = sizeof(opts),
    .settle = settle,
    .original_inputs = true,
    .check = check,
    .ops = ops,
    .block = block,
    .layer = layer,
    .predict = predict,
};
