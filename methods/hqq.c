/* hqq.c - HQQ: without data, each group keeps the scale of its range and gets the zero point that brings most of its
 * weights nearest, large ones counting less (half-quadratic splitting of the l_p error, p = 0.7; Badri and Shaji 2023).
 *
 *     axis=1    groups of neighbours of a row, as everywhere else
 *     axis=0    groups down a column: rows that are `out / group` apart share a scale. Nearer, slower to compute with
 *
 * Zero points are not rounded and stored like scales. The solver is the op `hqq`.
 */
#include "harness/method.h"
#include "shared_weight.h"

typedef struct opts {
    int64_t wbits, group, abits, axis, iters;
    int scale;
    double p, beta, kappa;
    bool legacy, round_zero;
} opts;

static const char *const scales[] = {"fp16", "fp32", NULL};
static const bl_opt rows[] = {
    {"wbits", BL_OPT_INT, .min = 1, .max = 8, .def.i = 4, .at = offsetof(opts, wbits), .arg = "1..8",
     .doc = "bits of a weight"},
    {"group", BL_OPT_INT, .min = -1, .max = 65536, .def.i = 64, .at = offsetof(opts, group), .arg = "N",
     .doc = "weights that share a scale; -1: one scale a row, with axis=0 a column"},
    {"abits", BL_OPT_INT, .min = 0, .max = 8, .def.i = 0, .at = offsetof(opts, abits), .arg = "0..8",
     .doc = "bits of an activation, per token; 0: not quantized"},
    {"axis", BL_OPT_INT, .min = 0, .max = 1, .def.i = 1, .at = offsetof(opts, axis), .arg = "0|1",
     .doc = "groups along a row (1) or down a column (0)"},
    {"scale", BL_OPT_CHOICE, .choices = scales, .def.choice = 0, .at = offsetof(opts, scale),
     .doc = "type that scales and zero points are stored in"},
    {"iters", BL_OPT_INT, .min = 0, .max = 1000, .def.i = 20, .at = offsetof(opts, iters), .arg = "N",
     .doc = "steps of the solver at most; 0: the range alone"},
    {"p", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 0.7, .at = offsetof(opts, p), .arg = "P",
     .doc = "norm of the error"},
    {"beta", BL_OPT_REAL, .min = 0.01, .max = 1e6, .def.r = 10, .at = offsetof(opts, beta), .arg = "B",
     .doc = "how strongly the split error follows the true one, at first"},
    {"kappa", BL_OPT_REAL, .min = 1, .max = 2, .def.r = 1.01, .at = offsetof(opts, kappa), .arg = "K",
     .doc = "beta grows by it each step"},
    {"legacy", BL_OPT_BOOL, .at = offsetof(opts, legacy),
     .doc = "as the library's default solver: beta stays, and the zero points of the step that failed are kept"},
    {"round-zero", BL_OPT_BOOL, .at = offsetof(opts, round_zero), .doc = "zero points begin as integers"},
    {0}};

static void settle(void *options)
{
    opts *o = options;
    if (o->legacy) o->kappa = 1.01; /* not used */
}

static void target(const opts *o, int64_t out, int64_t in, const bl_format **format, bl_shape *shape)
{
    char name[16];
    snprintf(name, sizeof name, "int%d%s", (int)o->wbits, o->axis ? "" : "_down");
    *format = bl_format_find(name);
    *shape = (bl_shape){.out = out,
                        .in = in,
                        .group = o->group > 0 ? o->group
                                 : o->axis    ? in
                                              : out,
                        .zero = o->axis ? BL_ZERO_FLOAT : BL_ZERO_NONE,
                        .scale = o->scale ? BL_F32 : BL_F16};
}

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = r->opts;
    const bl_format *f;
    bl_shape g;
    bl_tensor dense = {0}, scale = {0}, zero = {0};
    bl_weight packed = {0};

    target(o, lin->out, bl_linear_width(lin), &f, &g);
    BL_TRY(bl_linear_dense(r->be, lin, &dense, e));
    BL_TRY(bl_weight_new(r->be, f, &g, &packed, e));
    int64_t m = packed.part[1].dim[0], n = packed.part[1].dim[1]; /* one scale and zero point a group */
    BL_TRY(bl_matrix_new(r, BL_F32, m, n, &scale, e));
    BL_TRY(bl_matrix_new(r, BL_F32, m, n, &zero, e));
    BL_TRY(r->ops->hqq(r->be,
                       &(bl_hqq_args){.w = dense,
                                      .bits = f->bits,
                                      .group = g.group,
                                      .down = !o->axis,
                                      .steps = (int)o->iters,
                                      .p = o->p,
                                      .beta = o->beta,
                                      .kappa = o->legacy ? 1 : o->kappa,
                                      .round_zero = o->round_zero,
                                      .last = o->legacy,
                                      .scale = scale,
                                      .zero = zero},
                       e));
    BL_TRY(r->ops->pack(
        r->be, &(bl_pack_args){.x = dense, .w = &packed, .rule = BL_RANGE_GIVEN, .scale = scale, .zero = zero}, e));
    BL_TRY(bl_weight_error(r, dense, &packed, (bl_tensor){0}, stat, e));
    bl_linear_set_weight(lin, &packed);
    if (o->abits > 0) bl_linear_set_act(lin, (bl_actq){.bits = (int)o->abits, .unit = BL_ACT_TOKEN});
out:
    bl_weight_free(&packed);
    bl_matrix_free(r, &dense);
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

/* Measured beside products. */
static double work(const bl_method_run *r, const bl_linear *lin)
{
    (void)r;
    return 1.2e4 * (double)lin->out * (double)lin->in;
}

static const size_t ops[] = {BL_OP(hqq), BL_OP(sq_error), 0};

const bl_method bl_method_hqq = {
    .name = "hqq",
    .version = 1,
    .title = "HQQ",
    .cite = "Badri, Shaji: Half-Quadratic Quantization of Large Machine Learning Models, 2023",
    .doc = "Without data: keeps the scale of a group's range and moves its zero point to the least l_p error.",
    .deviates = "The solver that keeps the best zero points (the library's v2), not its default: +legacy has that.\n"
                "Codes are chosen with scale and zero point as they are stored.\n"
                "The last group of a row may be short; the library takes weights that the group divides.",
    .wbits = 0x1fe, /* 1..8 */
    .opts = rows,
    .opts_size = sizeof(opts),
    .settle = settle,
    .ops = ops,
    .layer = layer,
    .predict = predict,
    .work = work,
};
