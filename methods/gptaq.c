/* gptaq.c - GPTAQ: GPTQ whose target is the output that the original model has there, so that what earlier layers did
 * to the inputs is made up for too (Li et al. 2025, arXiv 2504.02692).
 *
 * X0 are the inputs of a linear in the original model, X those in the model as it is rounded so far. |W X0 - W^ X|^2 is
 * to be small. With C = 2 (X0 - X) Xt beside H = 2 X Xt and U as in gptq.c, for each column i in turn
 *
 *     e = (w_i - w^_i) / U_ii        w_j += w_i P_ij - e U_ij  for all j > i        P = alpha strict(C Ut) U
 *
 * strict: the part above the diagonal. alpha 1 is the solution of the paper; its code has 0.25, as C is known from few
 * tokens only. All columns together are GPTQ's sweep over another weight with another factor (mismatch_fold in
 * kernels/ops_solve.h), so orders, groups and formats are gptq's. Original and rounded blocks are run side by side.
 */
#include "harness/quant/calibrate.h"
#include "shared_gptq.h"

typedef struct opts {
    bl_gptq gptq;
    double alpha;
} opts;
static const bl_opt rows[] = {BL_GPTQ_ROWS(opts, gptq),
                              {"alpha", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 0.25, .at = offsetof(opts, alpha),
                               .arg = "A", .doc = "how much of what the inputs lost is made up for; 0: gptq"},
                              {0}};

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    const opts *o = r->opts;
    bl_solve s = bl_gptq_solve(&o->gptq, lin->out, bl_linear_width(lin));
    bl_status st = bl_calib_mismatch(r->calib, lin, &s.mismatch, e);
    s.alpha = o->alpha;
    return st == BL_OK ? bl_gptq_layer(r, lin, &s, stat, e) : st;
}

/* The sweep; three products of the second moments' size in doubles on one thread, and one of the weight's. */
static double work(const bl_method_run *r, const bl_linear *lin)
{
    static const double products = 18;
    double n = (double)bl_linear_width(lin);
    return bl_gptq_work(r, lin) + products * n * n * (n + (double)lin->out / 3);
}

static const size_t ops[] = {
    BL_OP(permute),  BL_OP(diagonal),      BL_OP(quad_form), BL_OP(cholesky_inverse), BL_OP(gptq_sweep),
    BL_OP(mismatch), BL_OP(mismatch_fold), BL_OP(scale),     BL_OP(sq_error),         0};

const bl_method bl_method_gptaq = {
    .name = "gptaq",
    .version = 1,
    .title = "GPTAQ",
    .cite = "Li et al.: GPTAQ: Efficient Finetuning-Free Quantization for Asymmetric Calibration, ICML 2025, "
            "arXiv:2504.02692",
    .doc = "GPTQ towards the outputs of the original model: what earlier layers did to the inputs is made up for too.",
    .deviates =
        "A column counts as it is before it is rounded for all columns after it, as in the paper; the code takes the "
        "rounded one beyond its block, so that what it gives depends on the size of the block.\n"
        "Ranges are of the weight with what it makes up for; the code's are of the weight that comes in.\n"
        "alpha 0.25 is the code's; the paper has none.\n"
        "The rest as in gptq.",
    .wbits = 0x1fe, /* 1..8 */
    .needs = BL_NEED_HESSIAN | BL_NEED_MISMATCH,
    .opts = rows,
    .opts_size = sizeof(opts),
    .settle = bl_gptq_settle,
    .check = bl_gptq_check,
    .ops = ops,
    .layer = layer,
    .sequential = bl_gptq_sequential,
    .predict = bl_gptq_predict,
    .notes = bl_gptq_notes,
    .work = work,
};
