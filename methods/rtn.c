/* rtn.c - round to nearest, the yardstick every other method is measured against.
 *
 * Each group of consecutive input weights shares one scale and one zero point, chosen so that the smallest and largest
 * weight of the group (and zero) lie within the integer range. No data is looked at. The scale is rounded to its stored
 * type before the codes are computed; rounding is half to even.
 *
 *     range=zero     the range contains 0, the zero point is packed like a code                     (GPTQ's quantizer)
 *     range=minmax   the range is the group's own; the zero point may lie outside the codes, int16     (OmniQuant's)
 *     range=clip     the same with the zero point forced into the codes: one-signed groups lose       (AWQ's)
 *     symmetric      no zero point, scale = max|w| / (2^(b-1) - 1)                                    (QuaRot's)
 *     mse            the range is shrunk until the error is least: GPTQ's search, QuaRot's clipping of weights
 *     1 bit          sign times the mean absolute value of the group; symmetric and range do not apply
 */
#include "shared_weight.h"
#include <string.h>

typedef struct opts {
    bl_quant q;
    int range, scale;
    bool head, embeddings, mse;
} opts;

enum { RANGE_ZERO, RANGE_MINMAX, RANGE_CLIP };
static const char *const ranges[] = {"zero", "minmax", "clip", NULL};
static const char *const scales[] = {"fp16", "fp32", NULL};
static const bl_opt rows[] = {
    BL_QUANT_ROWS(opts, q),
    {"range", BL_OPT_CHOICE, .choices = ranges, .def.choice = RANGE_ZERO, .at = offsetof(opts, range),
     .doc = "zero: contains 0; minmax: as the group is; clip: zero point forced into the code range; not at 1 bit, not "
            "when symmetric"},
    {"scale", BL_OPT_CHOICE, .choices = scales, .def.choice = 0, .at = offsetof(opts, scale),
     .doc = "type that scales are stored in"},
    {"mse", BL_OPT_BOOL, .at = offsetof(opts, mse),
     .doc = "ranges are shrunk to the least sum |w^ - w|^2.4; not at 1 bit"},
    {"head", BL_OPT_BOOL, .at = offsetof(opts, head), .doc = "quantize lm_head too"},
    {"embeddings", BL_OPT_BOOL, .at = offsetof(opts, embeddings), .doc = "quantize the token embeddings too"},
    {0}};

static void settle(void *options)
{
    opts *o = options;
    if (o->q.wbits == 1) o->q.symmetric = o->mse = false; /* 1 bit has neither zero point nor range */
    if (o->q.wbits == 1 || o->q.symmetric) o->range = RANGE_ZERO;
}

/* Format, geometry and fit of one linear. */
static void choose(const opts *o, int64_t out, int64_t in, const bl_format **f, bl_shape *g, bl_range_rule *fit)
{
    static const bl_range_rule fits[] = {BL_RANGE_ZERO, BL_RANGE_MINMAX, BL_RANGE_CLIP}; /* in the order of `ranges` */
    static const bl_zero zeros[] = {BL_ZERO_PACKED, BL_ZERO_I16, BL_ZERO_PACKED};
    char name[8];

    snprintf(name, sizeof name, "int%d", (int)o->q.wbits);
    *f = bl_format_find(name);
    *g = (bl_shape){
        .out = out, .in = in, .group = o->q.group < 0 ? in : o->q.group, .scale = o->scale ? BL_F32 : BL_F16};
    if (o->q.wbits == 1) {
        *fit = BL_RANGE_SIGN;
        g->zero = BL_ZERO_NONE;
    } else if (o->q.symmetric) {
        *fit = BL_RANGE_SYMMETRIC;
        g->zero = BL_ZERO_NONE;
    } else {
        *fit = fits[o->range];
        g->zero = zeros[o->range];
    }
}

static bool takes(const bl_method_run *r, const bl_linear *lin)
{
    const opts *o = r->opts;
    return bl_takes_linear(r, lin, o->head, o->embeddings);
}

static bool wants_head(const bl_method_run *r)
{
    const opts *o = r->opts;
    return o->head || o->embeddings;
}

/* Replaces the weight of one linear by its packed form; `stat` gets what the per-layer table shows. */
static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    const opts *o = r->opts;
    const bl_format *f;
    bl_shape g;
    bl_range_rule fit;

    if (!takes(r, lin)) return BL_OK;
    choose(o, lin->out, bl_linear_width(lin), &f, &g, &fit);
    if (lin->block >= 0 && o->q.abits > 0) bl_linear_set_act(lin, bl_quant_act(&o->q));
    return bl_method_pack(r, lin, f, &g, fit, o->mse, stat, e);
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    bl_range_rule fit;
    if (!takes(r, lin)) return false;
    choose(r->opts, lin->out, bl_linear_width(lin), format, shape, &fit);
    return true;
}

const bl_method bl_method_rtn = {
    .name = "rtn",
    .version = 1,
    .title = "Round to nearest",
    .cite = "baseline",
    .doc = "Per-group rounding without calibration data. 1 bit is always sign times the mean absolute value of the "
           "group: symmetric and range do not apply to it.",
    .wbits = 0x1fe, /* 1..8 */
    .opts = rows,
    .opts_size = sizeof(opts),
    .settle = settle,
    .layer = layer,
    .predict = predict,
    .wants_head = wants_head,
};
