/* mr_gptq.c - MR-GPTQ: 4-bit floats by GPTQ, in inputs turned block by block (Egiazarian et al. 2025, arXiv
 * 2509.23202).
 *
 *     W' = W Ht, x' = H x       H: Hadamard matrices of as many inputs as share a scale, which spread what stands out
 *                               inside its group and leave the other groups alone
 *     scales                    of W', each of least squared error, before anything is rounded
 *     columns                   by the diagonal of H' = H (2/N sum x xt) Ht, largest first; each to its nearest value
 *                               at the scale of its group, what it loses into those still open (gptq.c)
 *
 * and back in the order in which they came, so that nothing but the weight is stored.
 */
#include "harness/quant/calibrate.h"
#include "shared_fp4.h"
#include "shared_moments.h"
#include "shared_rows.h"
#include "shared_solve.h"
#include "shared_weight.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct opts {
    int format;
    int64_t rotate;
    bool activations, search, act_order;
    double damp;
} opts;

enum { MXFP4, NVFP4 };
static const int64_t group_size[] = {32, 16};
static const char *const formats[] = {"mxfp4", "nvfp4", NULL};
static const bl_opt rows[] = {
    {"format", BL_OPT_CHOICE, .choices = formats, .at = offsetof(opts, format),
     .doc = "mxfp4: a power of two for each 32; nvfp4: an 8-bit float for each 16, an fp32 scale of the weight"},
    BL_FP4_TURN_ROWS(opts, -1, "-1: as many as share a scale; 0: they are not"),
    {"search", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, search),
     .doc = "scales of least squared error; else from the largest weight of a group"},
    {"act-order", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, act_order),
     .doc = "columns in order of their inputs' size, largest first"},
    {"damp", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 0.01, .at = offsetof(opts, damp), .arg = "D",
     .doc = "added to the diagonal of H, relative to its mean; tenfold where that is not enough"},
    {0}};

/* mxfp4 has blocks of 32 alone; what they do not divide is fp16. */
static bool fits(const opts *o, const bl_linear *lin) { return o->format == NVFP4 || bl_linear_width(lin) % 32 == 0; }

static int64_t block_of(const opts *o, const bl_linear *lin)
{
    return fits(o, lin) ? bl_fp4_block(lin, o->rotate < 0 ? group_size[o->format] : o->rotate) : 1;
}

static void target(const opts *o, const bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    int64_t in = bl_linear_width(lin);
    *format = bl_format_find(!fits(o, lin) ? "fp16" : o->format == MXFP4 ? "mxfp4" : "nvfp4_tensor");
    *shape = (bl_shape){.out = lin->out, .in = in};
    if (o->format == MXFP4) return;
    shape->group = BL_MIN(in, 16);
    shape->scale = BL_F32;
}

/* ---- one linear ---- */

typedef struct work {
    const bl_method_run *r;
    const opts *o;
    const bl_format *f;
    bl_shape g;
    int64_t groups;
    bl_tensor h;          /* of the turned inputs */
    int32_t *perm;        /* [in] the column that is rounded at step i */
    float *w, *u, *scale; /* host: [out, in] in that order, [in, in], [out, groups] */
    void *part[BL_MAX_PARTS];
} work;

/* H' = H h Ht, block by block of b inputs; what is lent is left alone. */
static bl_status turn_moments(work *k, bl_tensor h, int64_t b, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_run *r = k->r;
    int64_t n = k->g.in;
    BL_TRY(bl_matrix_new(r, BL_F64, n, n, &k->h, e));
    BL_TRY(r->ops->permute(r->be, &(bl_permute_args){.x = h, .y = k->h}, e));
    if (b == 1) goto out;
    bl_tensor rows_of_all = bl_tensor_2d(k->h.buf, k->h.offset, BL_F64, n * n / b, b);
    BL_TRY(r->ops->hadamard(r->be, &(bl_hadamard_args){.x = rows_of_all, .y = rows_of_all}, e));
    for (int64_t i = 0; i < n; i += b) { /* rows i .. i + b as columns */
        bl_tensor t = bl_tensor_rows(k->h, i, b);
        t.dim[0] = n;
        t.dim[1] = b;
        t.stride[0] = 1;
        t.stride[1] = n;
        BL_TRY(r->ops->hadamard(r->be, &(bl_hadamard_args){.x = t, .y = t}, e));
    }
    BL_TRY(r->ops->sync(r->be, e));
out:
    return st;
}

typedef struct ranked {
    double value;
    int32_t column;
} ranked;
static int by_value(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? 1 : -1;
    return x->column < y->column ? -1 : 1;
}

/* The order of columns, the factor in it, and the weight in it; weights of inputs that never came are 0. */
static bl_status prepare(work *k, bl_tensor dense, double *damp, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_run *r = k->r;
    int64_t in = k->g.in;
    bl_tensor order = {0}, u = {0};
    double mean;
    double *diag = bl_alloc(r->scratch, (size_t)in, sizeof *diag, e);
    ranked *all = bl_alloc(r->scratch, (size_t)in, sizeof *all, e);
    float *w = bl_alloc(r->scratch, (size_t)(k->g.out * in), sizeof *w, e);
    if (!diag || !all || !w || !(k->perm = bl_alloc(r->scratch, (size_t)in, sizeof *k->perm, e)) ||
        !(k->w = bl_alloc(r->scratch, (size_t)(k->g.out * in), sizeof *k->w, e)) ||
        !(k->u = bl_alloc(r->scratch, (size_t)(in * in), sizeof *k->u, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_moments_diagonal(r, k->h, diag, &mean, e));
    for (int64_t i = 0; i < in; i++) all[i] = (ranked){diag[i], (int32_t)i};
    if (k->o->act_order) qsort(all, (size_t)in, sizeof *all, by_value);
    for (int64_t i = 0; i < in; i++) k->perm[i] = all[i].column;
    BL_TRY(bl_vector_new(r, BL_I32, in, &order, e));
    BL_TRY(r->ops->upload(r->be, &order, k->perm, e));
    BL_TRY(bl_matrix_new(r, BL_F32, in, in, &u, e));
    BL_TRY(bl_moments_factor(r, k->h, order, mean, k->o->damp, u, damp, e));
    BL_TRY(r->ops->download(r->be, &u, k->u, e));
    BL_TRY(r->ops->download(r->be, &dense, w, e));
    for (int64_t i = 0; i < k->g.out * in; i++) {
        int64_t column = k->perm[i % in];
        k->w[i] = diag[column] == 0 ? 0 : w[i / in * in + column];
    }
out:
    bl_matrix_free(r, &order);
    bl_matrix_free(r, &u);
    return st;
}

enum { ROWS = 16, COLUMNS = 128 };
static void round_rows(void *ctx, int64_t piece)
{
    const work *k = ctx;
    int64_t in = k->g.in, group = k->g.group ? k->g.group : 32;
    bool even = k->o->format == NVFP4;
    float lost[COLUMNS];
    for (int64_t i = piece * ROWS; i < BL_MIN((piece + 1) * ROWS, k->g.out); i++) {
        float *row = k->w + i * in;
        for (int64_t first = 0; first < in; first += COLUMNS) {
            int64_t n = BL_MIN(COLUMNS, in - first);
            for (int64_t j = first; j < first + n; j++) {
                const float *u = k->u + j * in;
                float s = k->scale[i * k->groups + k->perm[j] / group], x = row[j];
                row[j] = s > 0 ? s * bl_e2m1_round(x / s, even) : 0;
                float lose = lost[j - first] = (x - row[j]) / u[j];
                for (int64_t c = j + 1; c < first + n; c++) row[c] -= lose * u[c];
            }
            bl_rows_hand_on(row, lost, k->u, in, first, n, first + n);
        }
    }
}

/* Scales of the packed weight as it comes; its codes from what the sweep left. */
static bl_status solve(work *k, bl_weight *packed, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_run *r = k->r;
    int64_t in = k->g.in, n = k->g.out * in;
    float *back = bl_alloc(r->scratch, (size_t)n, sizeof *back, e);
    if (!back || !(k->scale = bl_alloc(r->scratch, (size_t)(k->g.out * k->groups), sizeof *k->scale, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int i = 0; i < packed->n_parts; i++) {
        if (!(k->part[i] = bl_alloc(r->scratch, bl_tensor_bytes(&packed->part[i]), 1, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        BL_TRY(r->ops->download(r->be, &packed->part[i], k->part[i], e));
    }
    k->f->scales(k->f, &k->g, (const void *const *)k->part, k->scale);
    BL_TRY(r->ops->each(r->be, &(bl_each_args){.n = (k->g.out + ROWS - 1) / ROWS, .piece = round_rows, .ctx = k}, e));
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(k->w[i])) {
            st = bl_fail(e, BL_E_NUMERIC, "the sweep left the range of float: the Hessian is too badly conditioned");
            goto out;
        }
        back[i / in * in + k->perm[i % in]] = k->w[i];
    }
    k->f->recode(k->f, &k->g, back, k->part);
    for (int i = 0; i < packed->n_parts; i++) BL_TRY(r->ops->upload(r->be, &packed->part[i], k->part[i], e));
out:
    return st;
}

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = r->opts;
    int64_t block = block_of(o, lin);
    work k = {.r = r, .o = o};
    bl_mark mark = bl_arena_mark(r->scratch);
    bl_tensor h, dense = {0};
    bl_weight packed = {0};
    target(o, lin, &k.f, &k.g);
    if (!fits(o, lin)) return bl_method_pack(r, lin, k.f, &k.g, BL_RANGE_OWN, false, stat, e);
    k.groups = k.g.group ? bl_shape_groups(&k.g) : k.g.in / 32;
    BL_TRY(bl_calib_hessian(r->calib, lin, &h, e));
    BL_TRY(turn_moments(&k, h, block, e));
    BL_TRY(bl_fp4_turn(r, lin, block, e));
    BL_TRY(bl_linear_dense(r->be, lin, &dense, e));
    BL_TRY(prepare(&k, dense, &stat->damp, e));
    BL_TRY(bl_weight_new(r->be, k.f, &k.g, &packed, e));
    BL_TRY(r->ops->pack(
        r->be, &(bl_pack_args){.x = dense, .w = &packed, .rule = o->search ? BL_RANGE_LEAST : BL_RANGE_OWN}, e));
    BL_TRY(solve(&k, &packed, e));
    BL_TRY(bl_weight_error(r, dense, &packed, k.h, stat, e));
    bl_linear_set_weight(lin, &packed);
    if (o->activations)
        bl_linear_set_act(lin, (bl_actq){.bits = 4, .unit = o->format == MXFP4 ? BL_ACT_MXFP4 : BL_ACT_NVFP4});
out:
    bl_weight_free(&packed);
    bl_matrix_free(r, &dense);
    bl_matrix_free(r, &k.h);
    bl_arena_release(r->scratch, mark);
    return st;
}

static bl_status check(const bl_method_run *r, bl_err *e)
{
    return bl_fp4_check(r, ((const opts *)r->opts)->activations, e);
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    if (lin->block < 0 || bl_fp4_turn_outline(lin, block_of(r->opts, lin)) != BL_OK) return false;
    target(r->opts, lin, format, shape);
    return true;
}

/* The factor and the sweep; beside them, measured, the search for scales. */
static double flops(const bl_method_run *r, const bl_linear *lin)
{
    static const double weight = 2.2e4;
    (void)r;
    return bl_solve_work(lin->out, bl_linear_width(lin)) + weight * (double)lin->out * (double)bl_linear_width(lin);
}

static const size_t ops[] = {BL_OP(permute),  BL_OP(diagonal),         BL_OP(quad_form), BL_OP(sq_error),
                             BL_OP(hadamard), BL_OP(cholesky_inverse), BL_OP(each),      0};

const bl_method bl_method_mr_gptq = {
    .name = "mr-gptq",
    .version = 1,
    .title = "MR-GPTQ",
    .cite =
        "Egiazarian et al.: Bridging the Gap Between Promise and Performance for Microscaling FP4 Quantization, 2025, "
        "arXiv:2509.23202",
    .doc = "4-bit floats by GPTQ in inputs turned block by block: mxfp4 in 4.25 bits, nvfp4 in 4.5.",
    .deviates = "Scales are searched by the error of the weight alone; those of mxfp4 too.\n"
                "Second moments and their factor in double instead of float.\n"
                "Widths that a block does not divide are turned in smaller blocks; rows that 32 does not divide become "
                "fp16 in mxfp4.",
    .needs = BL_NEED_HESSIAN,
    .opts = rows,
    .opts_size = sizeof(opts),
    .check = check,
    .ops = ops,
    .layer = layer,
    .predict = predict,
    .work = flops,
};
