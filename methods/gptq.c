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
#include "harness/quant/calibrate.h"
#include "shared_solve.h"
#include <inttypes.h>

typedef struct opts {
    bl_quant q;
    int range, scale;
    bool act_order, static_groups, group_aware, true_sequential, mse;
    double damp;
    int64_t block;
} opts;

enum { RANGE_ZERO, RANGE_MINMAX, RANGE_RESTRICTED };
static const char *const ranges[] = {"zero", "minmax", "restricted", NULL};
static const char *const scales[] = {"fp16", "fp32", NULL};
static const bl_opt rows[] = {
    BL_QUANT_ROWS(opts, q),
    {"range", BL_OPT_CHOICE, .choices = ranges, .def.choice = RANGE_ZERO, .at = offsetof(opts, range),
     .doc =
         "zero: contains 0, symmetric 2 max|w| / (2^b - 1); minmax: as the group is; restricted: symmetric, max|w| / "
         "(2^(b-1) - 1)"},
    {"scale", BL_OPT_CHOICE, .choices = scales, .def.choice = 0, .at = offsetof(opts, scale),
     .doc = "type that scales are stored in"},
    {"act-order", BL_OPT_BOOL, .at = offsetof(opts, act_order),
     .doc = "columns in order of their inputs' size, largest first (desc_act)"},
    {"static-groups", BL_OPT_BOOL, .at = offsetof(opts, static_groups),
     .doc = "ranges of groups from the weight before anything is rounded"},
    {"group-aware", BL_OPT_BOOL, .at = offsetof(opts, group_aware),
     .doc = "act-order with groups of neighbours kept whole (act_group_aware)"},
    {"true-sequential", BL_OPT_BOOL, .at = offsetof(opts, true_sequential),
     .doc = "inputs inside a block are gathered anew after each step: q k v, o, gate up, down"},
    {"mse", BL_OPT_BOOL, .at = offsetof(opts, mse), .doc = "ranges are shrunk to the least sum |w^ - w|^2.4"},
    {"damp", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 0.01, .at = offsetof(opts, damp), .arg = "D",
     .doc = "added to the diagonal of H, relative to its mean; tenfold where that is not enough"},
    {"block", BL_OPT_INT, .min = 1, .max = 65536, .def.i = 128, .at = offsetof(opts, block), .arg = "N",
     .doc = "columns whose errors are handed on together"},
    {0}};

static void settle(void *options)
{
    opts *o = options;
    if (o->q.wbits == 1) { /* neither zero point nor range */
        o->q.symmetric = o->mse = false;
        o->range = RANGE_ZERO;
    }
    if (o->q.symmetric ? o->range == RANGE_MINMAX : o->range == RANGE_RESTRICTED) o->range = RANGE_ZERO;
    if (o->q.group < 0) o->static_groups = o->group_aware = false; /* the one group of a row is the whole row */
}

static bl_solve solve_of(const opts *o, int64_t out, int64_t in)
{
    static const bl_range_rule plain[] = {BL_RANGE_ZERO, BL_RANGE_MINMAX, BL_RANGE_ZERO},
                               symmetric[] = {BL_RANGE_FULL, BL_RANGE_FULL, BL_RANGE_SYMMETRIC};
    char name[8];
    bool one = o->q.wbits == 1;
    snprintf(name, sizeof name, "int%d", (int)o->q.wbits);
    return (bl_solve){.format = bl_format_find(name),
                      .shape = {.out = out,
                                .in = in,
                                .group = o->q.group < 0 ? in : o->q.group,
                                .zero = o->q.symmetric || one      ? BL_ZERO_NONE
                                        : o->range == RANGE_MINMAX ? BL_ZERO_I16
                                                                   : BL_ZERO_PACKED,
                                .scale = o->scale ? BL_F32 : BL_F16},
                      .rule = one ? BL_RANGE_SIGN : (o->q.symmetric ? symmetric : plain)[o->range],
                      .mse = o->mse,
                      .order = o->act_order     ? BL_SOLVE_ACT
                               : o->group_aware ? BL_SOLVE_GROUPS
                                                : BL_SOLVE_NATURAL,
                      .static_groups = o->static_groups,
                      .damp = o->damp,
                      .block = o->block};
}

static bl_status check(const bl_method_run *r, bl_err *e) /* a millisecond now saves hours later */
{
    const opts *o = r->opts;
    if (o->act_order && o->group_aware)
        return bl_fail(e, BL_E_CONFIG, "act-order and group-aware are two orders of the same columns; choose one");
    return BL_OK;
}

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    const opts *o = r->opts;
    bl_status st = BL_OK;
    bl_solve s = solve_of(o, lin->out, bl_linear_width(lin));
    bl_tensor h;

    BL_TRY(bl_calib_hessian(r->calib, lin, &h, e));
    BL_TRY(bl_solve_gptq(r, lin, h, &s, stat, e));
    if (o->q.abits > 0) /* dynamic, a scale per token; symmetric as the weights are */
        bl_linear_set_act(lin, (bl_actq){.bits = (int)o->q.abits, .symmetric = o->q.symmetric, .unit = BL_ACT_TOKEN});
out:
    return st;
}

static bool sequential(const bl_method_run *r) { return ((const opts *)r->opts)->true_sequential; }

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    if (lin->block < 0) return false;
    bl_solve s = solve_of(r->opts, lin->out, bl_linear_width(lin));
    if (bl_solve_permutes(&s) &&
        bl_linear_add_transform(lin,
                                &(bl_transform){.kind = BL_T_PERMUTE,
                                                .in = s.shape.in,
                                                .out = s.shape.in,
                                                .data = bl_tensor_1d(NULL, 0, BL_I32, s.shape.in)},
                                NULL) != BL_OK)
        return false;
    *format = s.format;
    *shape = s.shape;
    return true;
}

static void notes(const bl_method_run *r, const bl_layer_stat *layer, int64_t n, bl_text *out)
{
    double most = ((const opts *)r->opts)->damp;
    int64_t raised = 0;
    for (int64_t i = 0; i < n; i++) {
        raised += layer[i].damp > ((const opts *)r->opts)->damp;
        most = BL_MAX(most, layer[i].damp);
    }
    if (raised) bl_text_addf(out, "damping raised to %g in %" PRId64 " of %" PRId64 " layers", most, raised, n);
}

static double work(const bl_method_run *r, const bl_linear *lin)
{
    (void)r;
    return bl_solve_work(lin->out, bl_linear_width(lin));
}

static const size_t ops[] = {BL_OP(permute),          BL_OP(diagonal),   BL_OP(quad_form),
                             BL_OP(cholesky_inverse), BL_OP(gptq_sweep), 0};

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
    .settle = settle,
    .check = check,
    .ops = ops,
    .layer = layer,
    .sequential = sequential,
    .predict = predict,
    .notes = notes,
    .work = work,
};
