/* llm_qat.c - the whole model is trained with rounded weights, activations, keys and values to say what it said (Liu et
 * al. 2023, arXiv 2305.17888), on text that it may have written itself (bitladder generate --own).
 *
 *     L = sum over tokens of KL(P | Q) / sequences     P of the model as it was
 *     w^ = s clamp(round(w / s)), s = max|w| / (2^(b-1) - 1) of a row, found anew each time (LARGEST of ops_train.h)
 *
 * Activations likewise, of a token; keys, before they are turned, and values too. With `weights` step a scale is
 * learned instead (LSQ, Esser et al. 2020).
 */
#include "harness/quant/dense.h"
#include "harness/train/effective.h"
#include "shared_weight.h"

typedef struct opts {
    int64_t wbits, group, abits, kvbits;
    double kl, ce;
    int weights;
    bool window;
} opts;
enum { BY_LARGEST, BY_STEP };
static const char *const by[] = {"largest", "step", NULL};
static const bl_opt rows[] = {
    {"wbits", BL_OPT_INT, .min = 2, .max = 8, .def.i = 4, .at = offsetof(opts, wbits), .arg = "2..8",
     .doc = "bits of a weight"},
    {"group", BL_OPT_INT, .min = -1, .max = 65536, .def.i = -1, .at = offsetof(opts, group), .arg = "N",
     .doc = "weights that share a scale; -1: one scale a row"},
    {"abits", BL_OPT_INT, .min = 0, .max = 8, .def.i = 8, .at = offsetof(opts, abits), .arg = "0..8",
     .doc = "bits of an activation, one scale a token; 0: not quantized"},
    {"kvbits", BL_OPT_INT, .min = 0, .max = 8, .def.i = 0, .at = offsetof(opts, kvbits), .arg = "0..8",
     .doc = "bits of keys and values in training; 0: not rounded. Scoring takes the format of --kv"},
    {"weights", BL_OPT_CHOICE, .choices = by, .def.choice = BY_LARGEST, .at = offsetof(opts, weights),
     .doc = "a scale is the largest weight's, or a learned step"},
    {"window", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, window),
     .doc = "gradients pass activations between -2 and 2 alone, as published"},
    {"kl", BL_OPT_REAL, .min = 0, .max = 1e6, .def.r = 1, .at = offsetof(opts, kl), .arg = "X",
     .doc = "weight of the divergence from the model as it was, a sum over the tokens of a sequence"},
    {"ce", BL_OPT_REAL, .min = 0, .max = 1e6, .def.r = 0, .at = offsetof(opts, ce), .arg = "X",
     .doc = "weight of the cross-entropy of the next token, a mean over tokens"},
    {0}};

static void settle(void *options)
{
    opts *o = options;
    if (!o->abits) o->window = true;
}

static bl_status check(const bl_method_run *r, bl_err *e)
{
    const opts *o = r->opts;
    if (o->abits == 1 || o->kvbits == 1)
        return bl_fail(e, BL_E_CONFIG, "llm-qat: %s is 1; activations are rounded to 2 bits and more",
                       o->abits == 1 ? "abits" : "kvbits");
    if (!(o->kl + o->ce > 0)) return bl_fail(e, BL_E_CONFIG, "llm-qat: kl and ce are both 0; there is no loss");
    return bl_plain_linears(r, 0, "llm-qat trains plain weights", e);
}

static bl_status learns(const bl_method_run *r, bl_trainable *t, bl_err *e)
{
    const opts *o = r->opts;
    const bl_actq act = {.bits = (int)o->abits, .symmetric = true}, kv = {.bits = (int)o->kvbits, .symmetric = true};
    const bl_grid grid = {.kind = o->weights == BY_STEP ? BL_GRID_STEP : BL_GRID_LARGEST,
                          .bits = (int)o->wbits,
                          .group = o->group,
                          .half = o->weights != BY_STEP};
    bl_status st = BL_OK;
    BL_TRY(bl_train_grid(t, &(bl_grid_learned){.grid = grid}, e));
    BL_TRY(bl_train_rest(t, e));
    if (o->abits) BL_TRY(bl_train_rounded_inputs(t, &act, false, o->window ? 2 : 0, e));
    if (o->kvbits) BL_TRY(bl_train_rounded_keys(t, &kv, e));
    if (o->kl > 0) BL_TRY(bl_train_taught(t, r->model->ckpt, o->kl, o->ce, e));
out:
    return st;
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    const opts *o = r->opts;
    char name[8];
    snprintf(name, sizeof name, "int%d", (int)o->wbits);
    *format = bl_format_find(lin->block < 0 ? "fp32" : name);
    *shape = (bl_shape){.out = lin->out, .in = lin->in};
    if (lin->block < 0) return true;
    shape->group = o->group > 0 ? o->group : lin->in;
    shape->scale = o->weights == BY_STEP ? BL_F32 : BL_F16;
    return true;
}

const bl_method bl_method_llm_qat = {
    .name = "llm-qat",
    .version = 2,
    .title = "LLM-QAT",
    .cite = "Liu et al. 2023, arXiv 2305.17888",
    .doc =
        "Every parameter is trained, with rounded weights, activations (llm-qat:w4a8) and, where kvbits says so, keys "
        "and values, towards the distribution of the model as it was, which is computed beside. Embedding, head, "
        "biases "
        "and norms are kept in fp32. Text of the model's own: bitladder generate --model M --own 1000 > own.jsonl.",
    .deviates =
        "scales are max|x| / (2^(b-1) - 1), without the published code's two terms of 1e-6; those of weights are "
        "rounded to fp16 in training too\n"
        "at 2 bits the same rule, where the published code takes means\n"
        "gradients go straight through the rounding of keys and values, however large\n"
        "what the cache rounds when the model is used is by head and after keys were turned (--kv)",
    .wbits = 0x1fc, /* 2..8 */
    .needs = BL_NEED_TRAINING,
    .opts = rows,
    .opts_size = sizeof(opts),
    .settle = settle,
    .check = check,
    .learns = learns,
    .predict = predict,
    .wants_head = bl_wants_head,
};
