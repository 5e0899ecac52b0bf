/* billm.c - BiLLM: one sign a weight about a mean, two in the columns that matter most, the others split by size
 * (Huang et al. 2024, arXiv 2402.04291).
 *
 * With U the upper Cholesky factor of the inverse of the damped second moments, block of columns after block:
 *
 *     S = w^2 / U_jj^2                       what a weight matters (hessian), or w itself (magnitude)
 *     salient columns                        the k of largest sum of |S|, k of least |S - signs of S|^2
 *     large weights                          of the others, |S| >= p, p of least |S - signs of S|^2
 *     small, large                           mean + alpha sign(w - mean) over a row's weights of the block
 *     salient                                the same, and again of what it leaves (residual binarization)
 *     w_k -= e_j U_jk / U_jj                 for the columns of later blocks; none inside the block
 *
 * Bits of a weight: 2 for its sign and for which, and eight numbers a row and block, one bit at groups of 128; the
 * paper's 1.08 counts signs only. At those three bits rounding to nearest is far better: the paper has a perplexity of
 * 32.5 on LLaMA-2-7B (WikiText-2), where three bits to nearest in groups of 128 have 6.7. Of the squares S the search
 * puts nine tenths of the weights into the small set; by magnitude two thirds, and the errors at the outputs of
 * SmolLM2-135M are 0.070 of their power instead of 0.084, those of arb-llm 0.054 (8 x 512 tokens).
 */
#include "billm.h"
#include "harness/quant/calibrate.h"
#include "shared_solve.h"

typedef struct opts {
    int64_t group;
    int metric, scale;
    double damp;
} opts;

static const char *const metrics[] = {"hessian", "magnitude", NULL};
static const char *const scales[] = {"fp16", "fp32", NULL};
static const bl_opt rows[] = {
    {"group", BL_OPT_INT, .min = -1, .max = 65536, .def.i = 128, .at = offsetof(opts, group), .arg = "N",
     .doc = "columns of a block, which has means and scales of its own in each row; -1: all of them"},
    {"metric", BL_OPT_CHOICE, .choices = metrics, .def.choice = 0, .at = offsetof(opts, metric),
     .doc = "what a weight matters: hessian: w^2 / U_jj^2; magnitude: w"},
    {"damp", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 0.01, .at = offsetof(opts, damp), .arg = "D",
     .doc = "added to the diagonal of H, relative to its mean; tenfold where that is not enough"},
    {"scale", BL_OPT_CHOICE, .choices = scales, .def.choice = 0, .at = offsetof(opts, scale),
     .doc = "type that means and scales are stored in"},
    {0}};

static void target(const opts *o, int64_t out, int64_t in, const bl_format **format, bl_shape *shape)
{
    *format = bl_format_find("sign_split");
    *shape = (bl_shape){
        .out = out, .in = in, .group = o->group < 0 ? in : o->group, .scale = o->scale ? BL_F32 : BL_F16};
}

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = r->opts;
    bl_mark mark = bl_arena_mark(r->scratch);
    const bl_format *f;
    bl_shape g;
    bl_tensor h;
    bl_rows k;
    target(o, lin->out, bl_linear_width(lin), &f, &g);
    bl_billm how = {.group = g.group, .magnitude = o->metric != 0, .scale = g.scale};
    int64_t terms = BL_BILLM_TERMS * bl_shape_groups(&g);
    float *scale = bl_alloc(r->scratch, (size_t)(g.out * terms), sizeof *scale, e),
          *mean = bl_alloc(r->scratch, (size_t)(g.out * terms), sizeof *mean, e);
    uint8_t *salient = bl_alloc(r->scratch, (size_t)g.in, 1, e), *bits = bl_alloc(r->scratch, (size_t)g.in, 1, e);
    if (!scale || !mean || !salient || !bits) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_calib_hessian(r->calib, lin, &h, e));
    BL_TRY(bl_rows_begin(r, lin, h, o->damp, &k, e));
    BL_TRY(bl_billm_round(r->be, &k, &how, salient, scale, mean, e));
    for (int64_t j = 0; j < g.in; j++) bits[j / 8] |= (uint8_t)(salient[j] << j % 8);
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

/* The factor; the searches, 49 times four passes and 81 times two, sorts and sums of them. */
static double flops(const bl_method_run *r, const bl_linear *lin)
{
    double weights = (double)lin->out * (double)bl_linear_width(lin);
    (void)r;
    return bl_solve_work(lin->out, bl_linear_width(lin)) + 1e5 * weights;
}

static const size_t ops[] = {BL_OP(diagonal),         BL_OP(quad_form), BL_OP(sq_error),
                             BL_OP(cholesky_inverse), BL_OP(each),      0};

const bl_method bl_method_billm = {
    .name = "billm",
    .version = 1,
    .title = "BiLLM",
    .cite = "Huang et al.: BiLLM: Pushing the Limit of Post-Training Quantization for LLMs, ICML 2024, "
            "arXiv:2402.04291",
    .doc = "One sign a weight about a mean, two in the columns that matter most, the others split by size; what is "
           "lost goes into later blocks. All of it stored: about three bits a weight at groups of 128.",
    .deviates = "What a weight matters is w^2 / U_jj^2, as in the published code; the paper divides by [H^-1]_jj^2. "
                "Searches are for the signs of that, not of the weight, and by magnitude for those of w, as there.\n"
                "Means and scales are rounded to 16 bits before they are used; a weight at its mean counts as +.\n"
                "A block of fewer than 50 columns has as many candidates as it has columns; the code stops.\n"
                "Second moments and their factor in double instead of float.",
    .needs = BL_NEED_HESSIAN,
    .opts = rows,
    .opts_size = sizeof(opts),
    .ops = ops,
    .layer = layer,
    .predict = predict,
    .work = flops,
};
