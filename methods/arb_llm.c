/* arb_llm.c - ARB-LLM with row and column scales: BiLLM's sets of weights, each signs times a number of the row and one
 * of the column, which are made the best for each other in turn (Li et al. 2024, arXiv 2410.03129, ARB-RC with the
 * column-group bitmap).
 *
 *     outside salient columns     w^_ij = r_i c_j b_ij                       small weights and large ones apart
 *     inside                      w^_ij = r_i c_j b_ij + r'_i c'_j b'_ij     likewise (split)
 *
 * Sets are found as in billm.c; r, c, r', c' are least squares for the others, the two signs the nearest of four
 * values, `rounds` times. What a block loses goes into later ones as there.
 *
 * Bits of a weight at groups of 128: 2 for its sign and for which set, `columns` / 128 for the sets of salient columns,
 * six numbers a row and block, four a column; the paper's 1.1 counts signs only.
 */
#include "arb_llm.h"
#include "harness/quant/calibrate.h"
#include "shared_solve.h"

typedef struct opts {
    int64_t group, columns, rounds;
    int metric, scale;
    bool split;
    double damp;
} opts;

static const char *const metrics[] = {"hessian", "magnitude", NULL};
static const char *const scales[] = {"fp16", "fp32", NULL};
static const bl_opt rows[] = {
    {"group", BL_OPT_INT, .min = -1, .max = 65536, .def.i = 128, .at = offsetof(opts, group), .arg = "N",
     .doc = "columns of a block, in which each row has numbers of its own; -1: all of them"},
    {"columns", BL_OPT_INT, .min = 1, .max = 49, .def.i = 16, .at = offsetof(opts, columns), .arg = "N",
     .doc = "most salient columns of a block; each takes a bit of every weight's share, found or not"},
    {"split", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, split),
     .doc = "weights of salient columns are split by size too (CGB)"},
    {"rounds", BL_OPT_INT, .min = 0, .max = 1000, .def.i = 15, .at = offsetof(opts, rounds), .arg = "N",
     .doc = "of refinement"},
    {"metric", BL_OPT_CHOICE, .choices = metrics, .def.choice = 0, .at = offsetof(opts, metric),
     .doc = "what a weight matters: hessian: w^2 / U_jj^2; magnitude: w"},
    {"damp", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 0.01, .at = offsetof(opts, damp), .arg = "D",
     .doc = "added to the diagonal of H, relative to its mean; tenfold where that is not enough"},
    {"scale", BL_OPT_CHOICE, .choices = scales, .def.choice = 0, .at = offsetof(opts, scale),
     .doc = "type that numbers of rows and columns are stored in"},
    {0}};

static void target(const opts *o, int64_t out, int64_t in, const bl_format **format, bl_shape *shape)
{
    int64_t group = o->group < 0 ? in : o->group;
    *format = bl_format_find("sign_outer");
    *shape = (bl_shape){.out = out,
                        .in = in,
                        .group = group,
                        .scale = o->scale ? BL_F32 : BL_F16,
                        .salient = o->split ? BL_MIN(o->columns, group) : 0};
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
    bl_arb how = {.group = g.group,
                  .columns = o->columns,
                  .rounds = (int)o->rounds,
                  .magnitude = o->metric != 0,
                  .split = o->split,
                  .scale = g.scale};
    int64_t terms = BL_ARB_ROW * bl_shape_groups(&g);
    float *row = bl_alloc(r->scratch, (size_t)(g.out * terms), sizeof *row, e),
          *column = bl_alloc(r->scratch, (size_t)(g.in * BL_ARB_COLUMN), sizeof *column, e);
    uint16_t *half = bl_alloc(r->scratch, (size_t)(g.in * BL_ARB_COLUMN), sizeof *half, e);
    uint8_t *salient = bl_alloc(r->scratch, (size_t)g.in, 1, e), *bits = bl_alloc(r->scratch, (size_t)g.in, 1, e);
    if (!row || !column || !half || !salient || !bits) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_calib_hessian(r->calib, lin, &h, e));
    BL_TRY(bl_rows_begin(r, lin, h, o->damp, &k, e));
    BL_TRY(bl_arb_round(r->be, &k, &how, salient, row, column, e));
    for (int64_t j = 0; j < g.in; j++) bits[j / 8] |= (uint8_t)(salient[j] << j % 8);
    for (int64_t j = 0; j < g.in * BL_ARB_COLUMN; j++) half[j] = bl_f32_to_f16(column[j]);
    const void *given[BL_MAX_PARTS] = {[2] = o->scale ? (const void *)column : half, [3] = bits};
    BL_TRY(bl_rows_store(r, lin, &k, f, &g, given, row, NULL, terms, h, stat, e));
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

/* BiLLM's searches and one more; rounds of a few passes. */
static double flops(const bl_method_run *r, const bl_linear *lin)
{
    const opts *o = r->opts;
    double weights = (double)lin->out * (double)bl_linear_width(lin);
    return bl_solve_work(lin->out, bl_linear_width(lin)) + (1e5 + 2e3 * (double)o->rounds) * weights;
}

static const size_t ops[] = {BL_OP(diagonal),         BL_OP(quad_form), BL_OP(sq_error),
                             BL_OP(cholesky_inverse), BL_OP(each),      0};

const bl_method bl_method_arb_llm = {
    .name = "arb-llm",
    .version = 1,
    .title = "ARB-LLM",
    .cite = "Li et al.: ARB-LLM: Alternating Refined Binarizations for Large Language Models, ICLR 2025, "
            "arXiv:2410.03129",
    .doc =
        "Signs times numbers of rows and columns, two terms in the columns that matter most, both split by size, all "
        "refined in turn (ARB-RC with CGB). All of it stored: about three bits a weight at groups of 128.",
    .deviates =
        "At most 16 columns of a block are salient (columns), so that the bytes are known before; the published "
        "search goes to 49.\n"
        "What a weight matters is w^2 / U_jj^2, as in the published code.\n"
        "Numbers of rows and columns are rounded to 16 bits before errors go on; the sign of 0 is +.\n"
        "Second moments and their factor in double instead of float.",
    .needs = BL_NEED_HESSIAN,
    .opts = rows,
    .opts_size = sizeof(opts),
    .ops = ops,
    .layer = layer,
    .predict = predict,
    .work = flops,
};
