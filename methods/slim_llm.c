/* slim_llm.c - SliM-LLM: groups of inputs that matter more get a bit more, as many that matter less a bit less, so that
 * the mean stays exactly N; on GPTQ's sweep (Huang et al. 2024, arXiv 2405.14917).
 *
 * Salience of a slab: the sum of w^2 / U_jj^2 over its weights, U the upper factor of the inverse second moments. With
 * the slabs in that order, candidate p gives N - 1 bits to the p least and N + 1 to the p most salient; each is rounded
 * to nearest, and the p wins whose outputs are nearest,
 *
 *     least sum over tokens of KL(softmax(W^(p) x) || softmax(W x)),   1 <= p < slabs / 2      (SBA, algorithm 1)
 *
 * probabilities no less than 1e-6. Going from p - 1 to p changes two slabs, so that all candidates cost about two
 * products. Then column after column as in GPTQ; when a slab is reached its range is searched from 0.9 to 1.1 of itself
 * (SQC), salient weights counting `lambda` times. A group of one bit is mean +- mean |w|. The last, shorter group of a
 * row keeps N bits; fewer than four whole groups all do. SBA is in slim_llm_widths.c, the sweep in slim_llm_round.c.
 */
#include "slim_llm.h"
#include "harness/quant/calibrate.h"
#include "shared_moments.h"
#include "shared_solve.h"
#include "shared_weight.h"

typedef struct opts {
    int64_t wbits, group;
    bool mixed, search;
    double lambda, damp;
    int scale;
} opts;

static const char *const scales[] = {"fp16", "fp32", NULL};
static const bl_opt rows[] = {
    {"wbits", BL_OPT_INT, .min = 1, .max = 8, .def.i = 3, .at = offsetof(opts, wbits), .arg = "2..7",
     .doc = "bits of a weight on average"},
    {"group", BL_OPT_INT, .min = -1, .max = 65536, .def.i = 128, .at = offsetof(opts, group), .arg = "N",
     .doc = "inputs that share a width, and in each row a scale; -1: all of them"},
    {"mixed", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, mixed), .doc = "groups have one bit less or more (SBA)"},
    {"search", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, search), .doc = "ranges are searched (SQC)"},
    {"lambda", BL_OPT_REAL, .min = 0, .max = 1000, .def.r = 1, .at = offsetof(opts, lambda), .arg = "L",
     .doc = "how much more salient weights count in that search; 1: as others"},
    {"damp", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 0.01, .at = offsetof(opts, damp), .arg = "D",
     .doc = "added to the diagonal of H, relative to its mean; tenfold where that is not enough"},
    {"scale", BL_OPT_CHOICE, .choices = scales, .def.choice = 0, .at = offsetof(opts, scale),
     .doc = "type that scales are stored in"},
    {0}};

static void settle(void *options)
{
    opts *o = options;
    if (!o->search) o->lambda = 1;
}

static void target(const opts *o, int64_t out, int64_t in, const bl_format **format, bl_shape *shape)
{
    char name[16];
    snprintf(name, sizeof name, "int%d_mixed", (int)o->wbits);
    *format = bl_format_find(name);
    *shape = (bl_shape){
        .out = out, .in = in, .group = o->group < 0 ? in : o->group, .scale = o->scale ? BL_F32 : BL_F16};
}

/* Weights of inputs that never came become 0, as in GPTQ. */
static bl_status clear_dead(const bl_method_run *r, bl_tensor w, const double *diag, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t out = w.dim[0], in = w.dim[1];
    float *v = bl_new((size_t)(out * in), sizeof *v, e);
    if (!v) return BL_E_NOMEM;
    BL_TRY(r->ops->download(r->be, &w, v, e));
    for (int64_t i = 0; i < out * in; i++)
        if (diag[i % in] == 0) v[i] = 0;
    BL_TRY(r->ops->upload(r->be, &w, v, e));
out:
    bl_free(v);
    return st;
}

static bl_status store(const bl_method_run *r, bl_linear *lin, bl_tensor w, bl_tensor before, bl_tensor h,
                       const uint8_t *widths, bl_tensor scale, bl_tensor zero, bl_layer_stat *stat, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_format *f;
    bl_shape g;
    bl_weight packed = {0};
    target(r->opts, lin->out, w.dim[1], &f, &g);
    BL_TRY(bl_weight_new(r->be, f, &g, &packed, e));
    BL_TRY(r->ops->upload(r->be, &packed.part[3], widths, e));
    BL_TRY(r->ops->pack(
        r->be, &(bl_pack_args){.x = w, .w = &packed, .rule = BL_RANGE_GIVEN, .scale = scale, .zero = zero}, e));
    BL_TRY(bl_weight_error(r, before, &packed, h, stat, e));
    bl_linear_set_weight(lin, &packed);
out:
    bl_weight_free(&packed);
    return st;
}

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = r->opts;
    int64_t in = bl_linear_width(lin), group = o->group < 0 ? in : o->group, slabs = (in + group - 1) / group;
    bl_slim how = {.bits = (int)o->wbits,
                   .group = group,
                   .mixed = o->mixed,
                   .search = o->search,
                   .lambda = o->lambda,
                   .scale = o->scale ? BL_F32 : BL_F16};
    bl_tensor h, x, u = {0}, w = {0}, before = {0}, scale = {0}, zero = {0};
    double *diag = bl_new((size_t)in, sizeof *diag, e), mean, loss;
    uint8_t *widths = bl_new((size_t)slabs, sizeof *widths, e);

    if (!diag || !widths) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_calib_hessian(r->calib, lin, &h, e));
    BL_TRY(bl_calib_inputs(r->calib, lin, &x, e));
    BL_TRY(bl_linear_dense(r->be, lin, &w, e));
    BL_TRY(bl_linear_dense(r->be, lin, &before, e));
    BL_TRY(bl_moments_diagonal(r, h, diag, &mean, e));
    BL_TRY(clear_dead(r, w, diag, e));
    BL_TRY(bl_matrix_new(r, BL_F32, in, in, &u, e));
    BL_TRY(bl_moments_factor(r, h, (bl_tensor){0}, mean, o->damp, u, &stat->damp, e));
    BL_TRY(bl_slim_widths(r, w, u, x, &how, widths, e));
    BL_TRY(bl_matrix_new(r, BL_F32, lin->out, slabs, &scale, e));
    BL_TRY(bl_matrix_new(r, BL_F32, lin->out, slabs, &zero, e));
    BL_TRY(bl_slim_round(r, w, u, widths, &how, scale, zero, &loss, e));
    BL_TRY(store(r, lin, w, before, h, widths, scale, zero, stat, e));
out:
    bl_free(diag);
    bl_free(widths);
    bl_matrix_free(r, &u);
    bl_matrix_free(r, &w);
    bl_matrix_free(r, &before);
    bl_matrix_free(r, &scale);
    bl_matrix_free(r, &zero);
    return st;
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    if (lin->block < 0) return false;
    target(r->opts, lin->out, bl_linear_width(lin), format, shape);
    return true;
}

/* The sweep; the search for ranges, measured beside products; two products for the candidates. */
static double work(const bl_method_run *r, const bl_linear *lin)
{
    double weights = (double)lin->out * (double)bl_linear_width(lin);
    (void)r;
    return bl_solve_work(lin->out, bl_linear_width(lin)) + (3e4 + 4.0 * BL_CALIB_SAMPLE_ROWS) * weights;
}

static const size_t ops[] = {BL_OP(permute),          BL_OP(diagonal),   BL_OP(quad_form),
                             BL_OP(cholesky_inverse), BL_OP(gptq_sweep), BL_OP(kl_div),
                             BL_OP(range_search),     BL_OP(sq_error),   0};

const bl_method bl_method_slim_llm = {
    .name = "slim-llm",
    .version = 1,
    .title = "SliM-LLM",
    .cite =
        "Huang et al.: SliM-LLM: Salience-Driven Mixed-Precision Quantization for Large Language Models, ICML 2025, "
        "arXiv:2405.14917",
    .doc =
        "Groups of inputs that matter more get a bit more and as many others a bit less, on GPTQ's sweep with a search "
        "for ranges.",
    .deviates =
        "Salience is w^2 / U_jj^2, as in the published code; the paper divides by [H^-1]_jj^2. It is taken once, with "
        "the damped factor; the code adds 0.01 to the diagonal of H for the search and leaves it there.\n"
        "The divergence is over 1,024 tokens of the calibration text instead of all.\n"
        "Every group has the zero point of its range; the code gives the first groups of N - 1 bits the middle one.\n"
        "A weight at the mean of a group of one bit counts as +; the mean is stored in 254 steps.\n"
        "Fewer than four whole groups, and a shorter last one, have N bits; the code stops.",
    .wbits = 0xfc, /* 2..7 */
    .needs = BL_NEED_HESSIAN | BL_NEED_INPUTS,
    .opts = rows,
    .opts_size = sizeof(opts),
    .settle = settle,
    .ops = ops,
    .layer = layer,
    .predict = predict,
    .work = work,
};
