/* nvfp4.c - NVFP4: 16 weights share an 8-bit float (e4m3), all of a weight share an fp32 scale, each is one of 0 1/2 1
 * 3/2 2 3 4 6 with a sign (NVIDIA). Without data.
 *
 *     rule=largest    the largest weight of a group becomes 6, the largest of all has the scale 448
 *     rule=least      of the scales around that, whichever has the least squared error
 */
#include "shared_fp4.h"

typedef bl_fp4_opts opts;
static const char *const rules[] = {"largest", "least", NULL};
static const bl_opt rows[] = {BL_FP4_ROWS(opts, rules, "scale of a group: from its largest weight, or of least error"),
                              {0}};

static void target(const bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    int64_t in = bl_linear_width(lin);
    *format = bl_format_find("nvfp4_tensor");
    *shape = (bl_shape){.out = lin->out, .in = in, .group = BL_MIN(in, 16), .scale = BL_F32};
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    const opts *o = r->opts;
    if (!bl_fp4_takes(r, o, lin) || bl_fp4_turn_outline(lin, bl_fp4_block(lin, o->rotate)) != BL_OK) return false;
    target(lin, format, shape);
    return true;
}

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = r->opts;
    const bl_format *f;
    bl_shape g;
    if (!bl_fp4_takes(r, o, lin)) return BL_OK;
    target(lin, &f, &g);
    BL_TRY(bl_fp4_turn(r, lin, bl_fp4_block(lin, o->rotate), e));
    BL_TRY(bl_method_pack(r, lin, f, &g, o->rule ? BL_RANGE_LEAST : BL_RANGE_OWN, false, stat, e));
    if (o->activations && lin->block >= 0) bl_linear_set_act(lin, (bl_actq){.bits = 4, .unit = BL_ACT_NVFP4});
out:
    return st;
}

static bl_status check(const bl_method_run *r, bl_err *e)
{
    return bl_fp4_check(r, ((const opts *)r->opts)->activations, e);
}

static bool wants_head(const bl_method_run *r)
{
    const opts *o = r->opts;
    return o->head || o->embeddings;
}

const bl_method bl_method_nvfp4 = {
    .name = "nvfp4",
    .version = 1,
    .title = "NVFP4",
    .cite = "NVIDIA: NVFP4, 2025; recipes compared in arXiv 2509.23202",
    .doc = "4-bit floats with an 8-bit float for each 16 and an fp32 scale of the weight, 4.5 bits in all.",
    .opts = rows,
    .opts_size = sizeof(opts),
    .check = check,
    .layer = layer,
    .predict = predict,
    .wants_head = wants_head,
};
