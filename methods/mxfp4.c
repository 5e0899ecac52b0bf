/* mxfp4.c - MXFP4: 32 weights share a power of two, each is one of 0 1/2 1 3/2 2 3 4 6 with a sign (OCP Microscaling
 * Formats 1.0). Without data.
 *
 *     rule=floor    exponent of the largest weight, less 2: it comes to 4..8, and what is above 6 becomes 6 (OCP)
 *     rule=ceil     the least that takes the largest weight whole: 3..6
 *     rule=even     between them: 3.5..7 (torchao's EVEN, compressed-tensors)
 *     rule=least    whichever has the least squared error
 *
 * Whole rotations (quarot) spread outliers over all groups, each of which then needs a larger exponent; +rotate=32
 * spreads them inside their group (MR-GPTQ, arXiv 2509.23202).
 */
#include "shared_fp4.h"

typedef bl_fp4_opts opts;
static const char *const rules[] = {"floor", "ceil", "even", "least", NULL};
static const bl_opt rows[] = {
    BL_FP4_ROWS(
        opts, rules,
        "the power of two: floor as OCP has it, ceil so that nothing is cut, even between them, least by error"),
    {0}};

/* Rows that 32 does not divide are left as they are but for fp16. */
static int64_t block_of(const opts *o, const bl_linear *lin)
{
    return bl_linear_width(lin) % 32 ? 1 : bl_fp4_block(lin, o->rotate);
}

static void target(const bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    int64_t in = bl_linear_width(lin);
    *format = bl_format_find(in % 32 ? "fp16" : "mxfp4");
    *shape = (bl_shape){.out = lin->out, .in = in};
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    const opts *o = r->opts;
    if (!bl_fp4_takes(r, o, lin) || bl_fp4_turn_outline(lin, block_of(o, lin)) != BL_OK) return false;
    target(lin, format, shape);
    return true;
}

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    static const bl_range_rule by[] = {BL_RANGE_OWN, BL_RANGE_EXPONENT_CEIL, BL_RANGE_EXPONENT_EVEN, BL_RANGE_LEAST};
    bl_status st = BL_OK;
    const opts *o = r->opts;
    const bl_format *f;
    bl_shape g;
    if (!bl_fp4_takes(r, o, lin)) return BL_OK;
    target(lin, &f, &g);
    BL_TRY(bl_fp4_turn(r, lin, block_of(o, lin), e));
    BL_TRY(bl_method_pack(r, lin, f, &g, g.in % 32 ? BL_RANGE_OWN : by[o->rule], false, stat, e));
    if (o->activations && lin->block >= 0 && g.in % 32 == 0)
        bl_linear_set_act(lin, (bl_actq){.bits = 4, .unit = BL_ACT_MXFP4});
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

const bl_method bl_method_mxfp4 = {
    .name = "mxfp4",
    .version = 1,
    .title = "MXFP4",
    .cite = "Open Compute Project: Microscaling Formats (MX) Specification 1.0, 2023",
    .doc = "4-bit floats with a power of two for each 32, 4.25 bits in all. Rows that 32 does not divide become fp16.",
    .deviates =
        "A weight half way between two values becomes the one nearer 0, as in ggml; the standard leaves it open.",
    .opts = rows,
    .opts_size = sizeof(opts),
    .check = check,
    .layer = layer,
    .predict = predict,
    .wants_head = wants_head,
};
