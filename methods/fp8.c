/* fp8.c - 8-bit floats: weights in e4m3 with a scale for each output, what linears read in e4m3 with a scale for each
 * token. Without data.
 *
 *     scale = max|w| / 448,  code = the nearest of e4m3 to w / scale, half to even; tokens likewise, as they come
 *
 * On a GPU of compute capability 9.0 both are multiplied as they are, with exact accumulation: sums of 128 products are
 * moved to f32. Elsewhere products see the rounded numbers, and the row says `simulated`.
 */
#include "shared_weight.h"

typedef struct opts {
    int64_t group;
    bool activations, head, embeddings;
} opts;

static const bl_opt rows[] = {
    {"group", BL_OPT_INT, .min = -1, .max = 1 << 20, .def.i = -1, .at = offsetof(opts, group), .arg = "N",
     .doc = "weights that share a scale; -1: those of an output (pc)"},
    {"activations", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, activations),
     .doc = "the inputs of linears become 8-bit floats too, each token by its own range"},
    {"head", BL_OPT_BOOL, .at = offsetof(opts, head), .doc = "quantize lm_head too"},
    {"embeddings", BL_OPT_BOOL, .at = offsetof(opts, embeddings), .doc = "quantize the token embeddings too"},
    {0}};

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    const opts *o = r->opts;
    const int64_t in = bl_linear_width(lin);
    if (!bl_takes_linear(r, lin, o->head, o->embeddings)) return false;
    *format = bl_format_find("fp8_e4m3");
    *shape = (bl_shape){.out = lin->out, .in = in, .group = o->group < 0 ? in : o->group, .scale = BL_F32};
    return true;
}

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    const opts *o = r->opts;
    const bl_format *f;
    bl_shape g;
    if (!predict(r, lin, &f, &g)) return BL_OK;
    if (o->activations && lin->block >= 0) bl_linear_set_act(lin, (bl_actq){.bits = 8, .unit = BL_ACT_FP8});
    return bl_method_pack(r, lin, f, &g, BL_RANGE_OWN, false, stat, e);
}

static bool wants_head(const bl_method_run *r)
{
    const opts *o = r->opts;
    return o->head || o->embeddings;
}

const bl_method bl_method_fp8 = {
    .name = "fp8",
    .version = 1,
    .title = "FP8",
    .cite = "FP8 Formats for Deep Learning, arXiv 2209.05433; FP8_DYNAMIC of llm-compressor",
    .doc = "8-bit floats (e4m3) for weights and activations, a scale for each output and each token.",
    .opts = rows,
    .opts_size = sizeof(opts),
    .layer = layer,
    .predict = predict,
    .wants_head = wants_head,
};
