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
 * paper's 1.08 counts signs only.
 */
#include "billm.h"
#include "harness/quant/calibrate.h"
#include "shared_moments.h"
#include "shared_solve.h"
#include "shared_weight.h"

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

typedef struct work {
    int64_t out, in, terms;
    float *w, *u, *scale, *mean;
    double *diag;
    uint8_t *salient, *bits;
} work;

static bl_status work_new(const bl_method_run *r, work *k, bl_err *e)
{
    size_t weights = (size_t)(k->out * k->in), terms = (size_t)(k->out * k->terms), in = (size_t)k->in;
    bool ok = (k->w = bl_alloc(r->scratch, weights, sizeof *k->w, e)) &&
              (k->u = bl_alloc(r->scratch, in * in, sizeof *k->u, e)) &&
              (k->scale = bl_alloc(r->scratch, terms, sizeof *k->scale, e)) &&
              (k->mean = bl_alloc(r->scratch, terms, sizeof *k->mean, e)) &&
              (k->diag = bl_alloc(r->scratch, in, sizeof *k->diag, e)) &&
              (k->salient = bl_alloc(r->scratch, in, 1, e)) && (k->bits = bl_alloc(r->scratch, in, 1, e));
    return ok ? BL_OK : BL_E_NOMEM;
}

static bl_status store(const bl_method_run *r, bl_linear *lin, work *k, bl_tensor w, bl_tensor h, bl_layer_stat *stat,
                       bl_err *e)
{
    bl_status st = BL_OK;
    const bl_format *f;
    bl_shape g;
    bl_weight packed = {0};
    bl_tensor before = {0}, scale = {0}, mean = {0};
    target(r->opts, k->out, k->in, &f, &g);
    for (int64_t j = 0; j < k->in; j++) k->bits[j / 8] |= (uint8_t)(k->salient[j] << j % 8);
    BL_TRY(bl_linear_dense(r->be, lin, &before, e));
    BL_TRY(r->ops->upload(r->be, &w, k->w, e));
    BL_TRY(bl_matrix_new(r, BL_F32, k->out, k->terms, &scale, e));
    BL_TRY(bl_matrix_new(r, BL_F32, k->out, k->terms, &mean, e));
    BL_TRY(r->ops->upload(r->be, &scale, k->scale, e));
    BL_TRY(r->ops->upload(r->be, &mean, k->mean, e));
    BL_TRY(bl_weight_new(r->be, f, &g, &packed, e));
    BL_TRY(r->ops->upload(r->be, &packed.part[3], k->bits, e));
    BL_TRY(r->ops->pack(
        r->be, &(bl_pack_args){.x = w, .w = &packed, .rule = BL_RANGE_GIVEN, .scale = scale, .zero = mean}, e));
    BL_TRY(bl_weight_error(r, before, &packed, h, stat, e));
    bl_linear_set_weight(lin, &packed);
out:
    bl_weight_free(&packed);
    bl_matrix_free(r, &before);
    bl_matrix_free(r, &scale);
    bl_matrix_free(r, &mean);
    return st;
}

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = r->opts;
    bl_mark mark = bl_arena_mark(r->scratch);
    bl_tensor h, u = {0}, w = {0};
    double mean;
    work k = {.out = lin->out, .in = bl_linear_width(lin)};
    bl_billm how = {
        .group = o->group < 0 ? k.in : o->group, .magnitude = o->metric != 0, .scale = o->scale ? BL_F32 : BL_F16};
    k.terms = BL_BILLM_TERMS * ((k.in + how.group - 1) / how.group);

    BL_TRY(work_new(r, &k, e));
    BL_TRY(bl_calib_hessian(r->calib, lin, &h, e));
    BL_TRY(bl_linear_dense(r->be, lin, &w, e));
    BL_TRY(bl_moments_diagonal(r, h, k.diag, &mean, e));
    BL_TRY(bl_matrix_new(r, BL_F32, k.in, k.in, &u, e));
    BL_TRY(bl_moments_factor(r, h, (bl_tensor){0}, mean, o->damp, u, &stat->damp, e));
    BL_TRY(r->ops->download(r->be, &u, k.u, e));
    BL_TRY(r->ops->download(r->be, &w, k.w, e));
    for (int64_t i = 0; i < k.out * k.in; i++) /* of inputs that never came, as in GPTQ */
        if (k.diag[i % k.in] == 0) k.w[i] = 0;
    BL_TRY(bl_billm_round(k.w, k.u, k.out, k.in, &how, k.salient, k.scale, k.mean, e));
    BL_TRY(store(r, lin, &k, w, h, stat, e));
out:
    bl_matrix_free(r, &u);
    bl_matrix_free(r, &w);
    bl_arena_release(r->scratch, mark);
    return st;
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    if (lin->block < 0) return false;
    target(r->opts, lin->out, bl_linear_width(lin), format, shape);
    return true;
}

/* The factor; the searches, 49 times four passes and 81 times two, sorts and sums of them on one thread. */
static double flops(const bl_method_run *r, const bl_linear *lin)
{
    double weights = (double)lin->out * (double)bl_linear_width(lin);
    (void)r;
    return bl_solve_work(lin->out, bl_linear_width(lin)) + 1e5 * weights;
}

static const size_t ops[] = {BL_OP(diagonal), BL_OP(quad_form), BL_OP(cholesky_inverse), 0};

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
