/* pb_llm.c - PB-LLM: most weights are one sign about the mean of their row, a few that matter keep eight bits, wherever
 * they are (Shang et al. 2023, arXiv 2310.00034), on GPTQ's sweep.
 *
 * With U the upper Cholesky factor of the inverse of the damped second moments:
 *
 *     S = w^2 / U_jj^2                   what a weight matters (hessian), or |w| (magnitude)
 *     salient                            the `salient` share of largest S, over the whole matrix or a slab of columns
 *     salient weights                    eight bits, the grid from the range of their whole row
 *     others                             mean + alpha sign(w - mean), mean and alpha of a row's others
 *     w_j -= e U_ij / U_ii for j > i     for each column i in turn, e = w_i - w^_i
 *
 * Bits of a weight with a tenth of them salient: 2 for its sign and for which, 0.7 for the others' codes, four numbers
 * and an index a row; the 1.7 of comparisons leave out where the salient weights are.
 */
#include "pb_llm.h"
#include "harness/quant/calibrate.h"
#include "shared_solve.h"

typedef struct opts {
    int64_t group;
    double salient, damp;
    int metric, scale;
    bool diluted;
} opts;

static const char *const metrics[] = {"hessian", "magnitude", NULL};
static const char *const scales[] = {"fp16", "fp32", NULL};
static const bl_opt rows[] = {
    {"group", BL_OPT_INT, .min = -1, .max = 65536, .def.i = -1, .at = offsetof(opts, group), .arg = "N",
     .doc = "columns that share a threshold, and in each row a mean and a scale; -1: all of them"},
    {"salient", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 0.1, .at = offsetof(opts, salient), .arg = "R",
     .doc = "share of weights that keep eight bits"},
    {"metric", BL_OPT_CHOICE, .choices = metrics, .def.choice = 0, .at = offsetof(opts, metric),
     .doc = "what a weight matters: hessian: w^2 / U_jj^2; magnitude: |w|"},
    {"diluted", BL_OPT_BOOL, .at = offsetof(opts, diluted),
     .doc = "means and scales count salient weights as 0, as the published code does"},
    {"damp", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 0.01, .at = offsetof(opts, damp), .arg = "D",
     .doc = "added to the diagonal of H, relative to its mean; tenfold where that is not enough"},
    {"scale", BL_OPT_CHOICE, .choices = scales, .def.choice = 0, .at = offsetof(opts, scale),
     .doc = "type that means and scales are stored in"},
    {0}};

static bl_pb how_of(const opts *o, int64_t in)
{
    return (bl_pb){.share = o->salient,
                   .group = o->group < 0 ? in : o->group,
                   .magnitude = o->metric != 0,
                   .diluted = o->diluted,
                   .scale = o->scale ? BL_F32 : BL_F16};
}
static void target(const opts *o, int64_t out, int64_t in, const bl_format **format, bl_shape *shape)
{
    bl_pb how = how_of(o, in);
    *format = bl_format_find("sign_int8");
    *shape = (bl_shape){
        .out = out, .in = in, .group = how.group, .scale = how.scale, .salient = bl_pb_salient(&how, out, in)};
}

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = r->opts;
    bl_mark mark = bl_arena_mark(r->scratch);
    int64_t in = bl_linear_width(lin), bytes = (in + 7) / 8;
    const bl_format *f;
    bl_shape g;
    bl_tensor h;
    bl_rows k;
    bl_pb how = how_of(o, in);
    target(o, lin->out, in, &f, &g);
    int64_t terms = bl_shape_groups(&g) + 1;
    float *scale = bl_alloc(r->scratch, (size_t)(lin->out * terms), sizeof *scale, e),
          *mean = bl_alloc(r->scratch, (size_t)(lin->out * terms), sizeof *mean, e);
    uint8_t *salient = bl_alloc(r->scratch, (size_t)(lin->out * in), 1, e),
            *bits = bl_alloc(r->scratch, (size_t)(lin->out * bytes), 1, e);
    if (!scale || !mean || !salient || !bits) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_calib_hessian(r->calib, lin, &h, e));
    BL_TRY(bl_rows_begin(r, lin, h, o->damp, &k, e));
    BL_TRY(bl_pb_round(r, &k, &how, salient, scale, mean, e));
    for (int64_t i = 0; i < lin->out * in; i++)
        bits[i / in * bytes + i % in / 8] |= (uint8_t)(salient[i] << i % in % 8);
    BL_TRY(bl_rows_store(r, lin, &k, f, &g, (const void *[BL_MAX_PARTS]){[3] = bits}, scale, mean, terms, h, stat, e));
out:
    bl_arena_release(r->scratch, mark);
    return st;
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    if (lin->block < 0) return false;
    target(r->opts, lin->out, bl_linear_width(lin), format, shape);
    return true;
}

/* The factor and the sweep; beside them, measured, what is salient and the scales of the rest. */
static double flops(const bl_method_run *r, const bl_linear *lin)
{
    static const double weight = 8e3;
    (void)r;
    return bl_solve_work(lin->out, bl_linear_width(lin)) + weight * (double)lin->out * (double)bl_linear_width(lin);
}

static const size_t ops[] = {BL_OP(diagonal),         BL_OP(quad_form), BL_OP(sq_error),
                             BL_OP(cholesky_inverse), BL_OP(each),      0};

const bl_method bl_method_pb_llm = {
    .name = "pb-llm",
    .version = 1,
    .title = "PB-LLM",
    .cite = "Shang, Yuan, Wu, Dong: PB-LLM: Partially Binarized Large Language Models, ICLR 2024, arXiv:2310.00034",
    .doc =
        "One sign a weight about the mean of its row, a share of weights that matter in eight bits, on GPTQ's sweep. "
        "All of it stored: 2.7 bits a weight with a tenth salient.",
    .deviates = "Means and scales are those of the binarized weights, as in the paper; the published code counts the "
                "others as 0 (diluted does so).\n"
                "Means and scales are rounded to 16 bits before they are used; a weight at its mean counts as +.\n"
                "Second moments and their factor in double instead of float.",
    .needs = BL_NEED_HESSIAN,
    .opts = rows,
    .opts_size = sizeof(opts),
    .ops = ops,
    .layer = layer,
    .predict = predict,
    .work = flops,
};
