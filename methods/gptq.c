/* gptq.c - GPTQ: columns are rounded one after another, and what each loses is made up for by those still open (Frantar
 * et al. 2022, arXiv 2210.17323).
 *
 * For a linear y = W x with calibration inputs X the output error |W X - W^ X|^2 = tr(D H Dt) is to be small, D = W -
 * W^, H = 2 X Xt. With U the upper Cholesky factor of the inverse of the damped H, for each column i in turn
 *
 *     w^_i = nearest value of the grid        e = (w_i - w^_i) / U_ii        w_j -= e U_ij  for all j > i
 *
 * A group's range is taken from the weight as it is when the group is reached, contains 0 and has an integral zero
 * point. Of one bit the values are the mean |w| of the group with either sign, as in rtn.
 *
 *     act-order         columns by the diagonal of H, largest first; with groups, these go along that order, and a
 *                       permutation of the inputs is stored (desc_act)
 *     static-groups     ranges from the weight as it comes, groups of neighbouring inputs: nothing more is stored
 *     group-aware       act-order inside groups and among groups, which stay whole: nothing more is stored
 *     true-sequential   inputs of o, of gate and up, of down are gathered after what is before them was rounded
 */
#include "shared_gptq.h"

typedef struct opts {
    bl_gptq gptq;
} opts;
static const bl_opt rows[] = {BL_GPTQ_ROWS(opts, gptq), {0}};

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    bl_solve s = bl_gptq_solve(&((const opts *)r->opts)->gptq, lin->out, bl_linear_width(lin));
    return bl_gptq_layer(r, lin, &s, stat, e);
}

const bl_method bl_method_gptq = {
    .name = "gptq",
    .version = 2,
    .title = "GPTQ",
    .cite = "Frantar, Ashkboos, Hoefler, Alistarh: GPTQ, ICLR 2023, arXiv:2210.17323",
    .doc =
        "Rounds column after column; what each loses goes into those still open, by the second moments of the inputs.",
    .deviates = "Second moments and their factor in double instead of float.\n"
                "Scales are rounded to their stored type before codes are chosen.\n"
                "One bit is the mean |w| of a group with either sign; the published code has 0 and one value there.\n"
                "A symmetric group without negative weights has the symmetric range, not half of it.",
    .wbits = 0x1fe, /* 1..8 */
    .needs = BL_NEED_HESSIAN,
    .opts = rows,
    .opts_size = sizeof(opts),
    .settle = bl_gptq_settle,
    .check = bl_gptq_check,
    .ops = bl_gptq_ops,
    .layer = layer,
    .sequential = bl_gptq_sequential,
    .predict = bl_gptq_predict,
    .notes = bl_gptq_notes,
    .work = bl_gptq_work,
};
