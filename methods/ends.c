/* ends.c - lm_head and the token embeddings to nearest, the linears of blocks as they are: a stage after any method, so
 * that each has the ends of the model in few bits, as rtn does with its own options.
 *
 * Ranges as rtn has them: of the group and 0, or symmetric, max|w| / (2^(b-1) - 1). A table that serves as both ends is
 * rounded when either is asked for. The method names no widths (`wbits`): bits and group of a row are those of its
 * blocks.
 */
#include "shared_weight.h"

typedef struct opts {
    int64_t wbits, group;
    bool symmetric, head, embeddings;
    int scale;
} opts;

static const char *const scales[] = {"fp16", "fp32", NULL};
static const bl_opt rows[] = {
    {"wbits", BL_OPT_INT, .min = 2, .max = 8, .def.i = 8, .at = offsetof(opts, wbits), .arg = "2..8",
     .doc = "bits of a weight"},
    {"group", BL_OPT_INT, .min = -1, .max = 65536, .def.i = 128, .at = offsetof(opts, group), .arg = "N",
     .doc = "weights that share a scale; -1: one scale a row"},
    {"symmetric", BL_OPT_BOOL, .at = offsetof(opts, symmetric), .doc = "no zero point"},
    {"scale", BL_OPT_CHOICE, .choices = scales, .def.choice = 0, .at = offsetof(opts, scale),
     .doc = "type that scales are stored in"},
    {"head", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, head), .doc = "quantize lm_head"},
    {"embeddings", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, embeddings),
     .doc = "quantize the token embeddings"},
    {0}};

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    const opts *o = r->opts;
    if (lin->block >= 0 || !bl_takes_linear(r, lin, o->head, o->embeddings)) return false;
    bl_int_target(lin, o->wbits, o->group, o->symmetric, o->scale ? BL_F32 : BL_F16, format, shape);
    return true;
}

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    const opts *o = r->opts;
    const bl_format *f;
    bl_shape g;
    if (!predict(r, lin, &f, &g)) return BL_OK;
    return bl_method_pack(r, lin, f, &g, o->symmetric ? BL_RANGE_SYMMETRIC : BL_RANGE_ZERO, false, stat, e);
}

static bl_status check(const bl_method_run *r, bl_err *e)
{
    const opts *o = r->opts;
    if (o->head || o->embeddings) return BL_OK;
    return bl_fail(e, BL_E_CONFIG, "ends: neither head nor embeddings are to be quantized; expected one of them");
}

static bool wants_head(const bl_method_run *r)
{
    (void)r;
    return true;
}

const bl_method bl_method_ends = {
    .name = "ends",
    .version = 1,
    .title = "Head and embeddings to nearest",
    .cite = "baseline",
    .doc =
        "The ends of the model after any method that leaves them as they are: gptq:w4g64+ends:w8g64. As many bits as "
        "the blocks have: gptq:w4g64+head+embeddings.",
    .for_ends = true,
    .opts = rows,
    .opts_size = sizeof(opts),
    .check = check,
    .layer = layer,
    .predict = predict,
    .wants_head = wants_head,
};
