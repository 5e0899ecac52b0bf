/* quip.c - QuIP: weight and second moments are turned by random orthogonal matrices on both sides, so that nothing
 * stands out, and rounded with feedback (Chee et al. 2023, arXiv 2307.13304).
 *
 *     W' = U W diag(s) Vt        H' = V diag(1/s) H diag(1/s) Vt        s = (H_jj / |W_j|^2)^(1/4)
 *
 * W' has one scale, 2.4 times its root mean square, and levels as many above 0 as below; it is clamped to them and
 * rounded: column after column from the last to the first, each to
 *
 *     w^_i = Q(w_i + sum over k > i of (w_k - w^_k) L_ki)        H' = (I + L) D (I + L)t                        (LDLQ)
 *
 * which is GPTQ's sweep in that order (quip_round.c). y = Ut W^' V (x / s): V and 1/s are a transform of the linear's
 * input, Ut two of its output. They are randomized Hadamard matrices, V = Hn diag(signs) / sqrt(n), U = Hmt diag(signs)
 * / sqrt(m): signs come first, or what all rows have in common would become one large number.
 */
#include "quip.h"
#include "harness/quant/calibrate.h"
#include "kernels/base/rng.h"
#include "kernels/hadamard.h"
#include "shared_moments.h"
#include "shared_solve.h"
#include "shared_weight.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef struct opts {
    int64_t wbits, passes;
    int rounding;
    bool incoherent, rescale, outputs;
    double damp, rho;
} opts;

static const char *const roundings[] = {"near", "ldlq", "greedy", "rg", "allbal", NULL};
static const bl_opt rows[] = {
    {"wbits", BL_OPT_INT, .min = 1, .max = 8, .def.i = 2, .at = offsetof(opts, wbits), .arg = "2..4",
     .doc = "bits of a weight"},
    {"rounding", BL_OPT_CHOICE, .choices = roundings, .def.choice = BL_QUIP_LDLQ, .at = offsetof(opts, rounding),
     .doc =
         "near; ldlq: with feedback; greedy: and greedy passes after it; rg: the same from the largest second moment "
         "to the least; allbal: greedy passes alone"},
    {"passes", BL_OPT_INT, .min = 1, .max = 100, .def.i = 5, .at = offsetof(opts, passes), .arg = "N",
     .doc = "greedy passes at most"},
    {"incoherent", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, incoherent),
     .doc = "turn inputs and outputs by random orthogonal matrices"},
    {"rescale", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, rescale), .doc = "scale inputs by s before that"},
    {"outputs", BL_OPT_BOOL, .at = offsetof(opts, outputs),
     .doc = "scale outputs too, so that all rows have one norm; always so after awq, which divides rows"},
    {"damp", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 0.02, .at = offsetof(opts, damp), .arg = "D",
     .doc = "added to the diagonal of H, relative to its mean; tenfold where that is not enough"},
    {"rho", BL_OPT_REAL, .min = 0.5, .max = 10, .def.r = 2.4, .at = offsetof(opts, rho), .arg = "R",
     .doc = "largest level, in root mean squares of the weight"},
    {0}};

static void settle(void *options)
{
    opts *o = options;
    if (o->rounding == BL_QUIP_NEAR || o->rounding == BL_QUIP_LDLQ) o->passes = 5;
}

static void target(const opts *o, const bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    char name[8];
    int64_t in = bl_linear_width(lin);
    snprintf(name, sizeof name, "int%d", (int)o->wbits);
    *format = bl_format_find(name);
    *shape = (bl_shape){.out = lin->out, .in = in, .group = in, .zero = BL_ZERO_MIDDLE, .scale = BL_F16};
}

static bl_status check(const bl_method_run *r, bl_err *e)
{
    const opts *o = r->opts;
    for (size_t i = 0; i < r->model->n_linears && o->incoherent; i++) {
        const bl_linear *lin = &r->model->linears[i];
        int64_t in = bl_linear_width(lin), wrong = bl_hadamard_order(in) ? lin->out : in;
        if (!bl_hadamard_order(wrong))
            return bl_fail(e, BL_E_CONFIG,
                           "%s is [%" PRId64 ", %" PRId64 "], and there is no Hadamard matrix of order %" PRId64
                           " here; +incoherent=false leaves it as it is",
                           lin->name, lin->out, in, wrong);
    }
    return BL_OK;
}

typedef struct work {
    const bl_method_run *r;
    const opts *o;
    bl_linear *lin;
    int64_t out, in;
    bool outputs;                 /* scaled too */
    float *s, *t;                 /* [in], [out] */
    float *u, *v;                 /* signs [out], [in] */
    bl_tensor w, h;               /* turned: f32 [out, in], f64 [in, in] */
    bl_tensor before;             /* as it came */
    bl_tensor online_v, online_u; /* data of the transforms */
} work;

/* AWQ divides rows of up_proj, and of v_proj, by what it scales the inputs of the next linear with: of several sizes,
 * most of all those that matter most. One scale for the matrix leaves nothing of them. */
static bool after_awq(const bl_model *m)
{
    int n = 0;
    const bl_stage *s = m->ckpt ? bl_checkpoint_stages(m->ckpt, &n) : NULL;
    for (int i = 0; i < n; i++)
        if (!strncmp(s[i].text, "awq", 3) && strchr(":+", s[i].text[3])) return true; /* its end too */
    return false;
}

static void signs(uint64_t seed, const char *stream, const char *name, float *v, int64_t n)
{
    char key[128];
    snprintf(key, sizeof key, "%s %s", stream, name);
    bl_rng random = bl_rng_at(seed, bl_rng_key(key, 0), 0);
    for (int64_t i = 0; i < n; i++) v[i] = bl_rng_u32(&random) & 1 ? 1.0f : -1.0f;
}

/* s_j = (H_jj / |W_j|^2)^(1/4), H over its largest entry, neither below 1e-8; W_j column j, its rows times t. */
static void rescale(work *k, const float *w, const double *diag, double *norm)
{
    double most = 0;
    for (int64_t j = 0; j < k->in; j++) norm[j] = 0;
    for (int64_t i = 0; i < k->out; i++)
        for (int64_t j = 0; j < k->in; j++) {
            double v = (double)w[i * k->in + j] * k->t[i];
            norm[j] += v * v;
        }
    for (int64_t j = 0; j < k->in; j++) most = fmax(most, diag[j]);
    if (!(most > 0)) return; /* nothing ever came */
    for (int64_t j = 0; j < k->in; j++) k->s[j] = (float)sqrt(sqrt(fmax(diag[j] / most, 1e-8) / fmax(norm[j], 1e-8)));
}

/* t_i = 1 / |row i of W diag(s)|, relative to their root mean square, of which no row is taken for less than 1e-4. */
static void even_rows(work *k, const float *w)
{
    double all = 0;
    for (int64_t i = 0; i < k->out; i++) {
        double sum = 0;
        for (int64_t j = 0; j < k->in; j++) {
            double v = (double)w[i * k->in + j] * k->s[j];
            sum += v * v;
        }
        k->t[i] = (float)sqrt(sum);
        all += sum;
    }
    double mean = sqrt(all / (double)k->out);
    for (int64_t i = 0; i < k->out; i++) k->t[i] = mean > 0 ? (float)(mean / fmax(k->t[i], 1e-4 * mean)) : 1;
}

/* Scales of inputs and of outputs; both together by turns, until what a stage before scaled makes no difference. */
static bl_status balance(work *k, bl_err *e)
{
    enum { TURNS = 12 };
    bl_status st = BL_OK;
    const bl_method_run *r = k->r;
    double *diag = bl_new(2 * (size_t)k->in, sizeof *diag, e);
    float *w = bl_new((size_t)(k->out * k->in), sizeof *w, e);
    for (int64_t j = 0; j < k->in; j++) k->s[j] = 1;
    for (int64_t i = 0; i < k->out; i++) k->t[i] = 1;
    if (!diag || !w) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_moments_diagonal(r, k->h, diag, NULL, e)); /* the largest entry of H is on its diagonal */
    BL_TRY(r->ops->download(r->be, &k->w, w, e));
    for (int i = 0; i < (k->outputs && k->o->rescale ? TURNS : 1); i++) {
        if (k->o->rescale) rescale(k, w, diag, diag + k->in);
        if (k->outputs) even_rows(k, w);
    }
out:
    bl_free(diag);
    bl_free(w);
    return st;
}

static bl_tensor turned_over(bl_tensor t) /* rows are columns */
{
    int64_t n = t.dim[0], s = t.stride[0];
    t.dim[0] = t.dim[1];
    t.dim[1] = n;
    t.stride[0] = 1;
    t.stride[1] = s;
    return t;
}

/* w times t and s, h by s; then, incoherent, w = U w Vt and h = V h Vt. */
static bl_status turn(work *k, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_run *r = k->r;
    bl_tensor s = {0}, back = {0}, rows = {0}, u = {0}, v = {0}, t = {0};
    float *inverse = bl_new((size_t)k->in, sizeof *inverse, e);
    if (!inverse) return BL_E_NOMEM;
    for (int64_t j = 0; j < k->in; j++) inverse[j] = 1 / k->s[j];
    BL_TRY(bl_list_new(r, k->s, k->in, &s, e));
    BL_TRY(bl_list_new(r, inverse, k->in, &back, e));
    if (k->outputs) BL_TRY(bl_list_new(r, k->t, k->out, &rows, e));
    BL_TRY(r->ops->scale(r->be, &(bl_scale_args){.x = k->w, .y = k->w, .rows = rows, .cols = s}, e));
    BL_TRY(r->ops->scale(r->be, &(bl_scale_args){.x = k->h, .y = k->h, .rows = back, .cols = back}, e));
    if (!k->o->incoherent) goto out;
    BL_TRY(bl_list_new(r, k->u, k->out, &u, e));
    BL_TRY(bl_list_new(r, k->v, k->in, &v, e));
    BL_TRY(bl_matrix_new(r, BL_F64, k->out, k->in, &t, e));
    BL_TRY(r->ops->hadamard(r->be, &(bl_hadamard_args){.x = k->w, .y = t, .before = v}, e));
    BL_TRY(r->ops->hadamard(
        r->be, &(bl_hadamard_args){.x = turned_over(t), .y = turned_over(k->w), .before = u, .transposed = true}, e));
    BL_TRY(r->ops->hadamard(r->be, &(bl_hadamard_args){.x = k->h, .y = k->h, .before = v}, e));
    bl_tensor over = turned_over(k->h);
    BL_TRY(r->ops->hadamard(r->be, &(bl_hadamard_args){.x = over, .y = over, .before = v}, e));
    BL_TRY(r->ops->sync(r->be, e));
out:
    bl_free(inverse);
    bl_matrix_free(r, &s);
    bl_matrix_free(r, &back);
    bl_matrix_free(r, &rows);
    bl_matrix_free(r, &u);
    bl_matrix_free(r, &v);
    bl_matrix_free(r, &t);
    return st;
}

/* The scale of the grid as it will be stored, and both as columns. */
static bl_status grid(const work *k, bl_tensor scale, bl_tensor zero, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_run *r = k->r;
    double sum, levels = (double)((1 << k->o->wbits) - 1);
    BL_TRY(r->ops->sq_error(r->be, &(bl_sq_error_args){.x = k->w, .sum = &sum}, e));
    BL_TRY(r->ops->sync(r->be, e));
    float step = (float)(2 * k->o->rho * sqrt(sum / ((double)k->out * (double)k->in)) / levels);
    step = bl_f16_to_f32(bl_f32_to_f16(step));
    if (step == 0) step = 0x1p-24f;
    BL_TRY(r->ops->fill(r->be, &scale, step, e));
    BL_TRY(r->ops->fill(r->be, &zero, levels / 2, e));
out:
    return st;
}

/* Errors in the turned space: of the weight with its inputs scaled, which is what the levels are chosen for, and of the
 * output, which is the same in both. */
static bl_status store(work *k, bl_tensor scale, bl_tensor zero, bl_layer_stat *stat, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_run *r = k->r;
    const bl_format *f;
    bl_shape g;
    bl_weight packed = {0};
    target(k->o, k->lin, &f, &g);
    BL_TRY(bl_weight_new(r->be, f, &g, &packed, e));
    BL_TRY(r->ops->pack(
        r->be, &(bl_pack_args){.x = k->w, .w = &packed, .rule = BL_RANGE_GIVEN, .scale = scale, .zero = zero}, e));
    BL_TRY(bl_weight_error(r, k->before, &packed, k->h, stat, e));
    bl_linear_set_weight(k->lin, &packed);
    if (k->online_v.buf) {
        bl_transform t = {
            .kind = k->o->incoherent ? BL_T_HADAMARD : BL_T_SCALE, .in = k->in, .out = k->in, .data = k->online_v};
        BL_TRY(bl_linear_add_transform(k->lin, &t, e));
        k->online_v = (bl_tensor){0}; /* the linear's now */
    }
    if (k->online_u.buf) {
        bl_transform turn = {.kind = BL_T_HADAMARD, .in = k->out, .out = k->out},
                     t = {.kind = BL_T_SCALE, .in = k->out, .out = k->out, .data = k->online_u};
        if (k->o->incoherent) BL_TRY(bl_linear_add_after(k->lin, &turn, e));
        BL_TRY(bl_linear_add_after(k->lin, &t, e));
        k->online_u = (bl_tensor){0};
    }
out:
    bl_weight_free(&packed);
    return st;
}

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = r->opts;
    work k = {.r = r, .o = o, .lin = lin, .out = lin->out, .in = bl_linear_width(lin)};
    k.outputs = o->outputs || (o->incoherent && after_awq(r->model));
    bl_mark mark = bl_arena_mark(r->scratch);
    bl_tensor *all[] = {&k.w, &k.h, &k.before, &k.online_v, &k.online_u}, h, scale = {0}, zero = {0};
    float *online, *back;

    if (!(k.s = bl_alloc(r->scratch, (size_t)k.in, sizeof *k.s, e)) ||
        !(k.v = bl_alloc(r->scratch, (size_t)k.in, sizeof *k.v, e)) ||
        !(k.u = bl_alloc(r->scratch, (size_t)k.out, sizeof *k.u, e)) ||
        !(k.t = bl_alloc(r->scratch, (size_t)k.out, sizeof *k.t, e)) ||
        !(online = bl_alloc(r->scratch, (size_t)k.in, sizeof *online, e)) ||
        !(back = bl_alloc(r->scratch, (size_t)k.out, sizeof *back, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_calib_hessian(r->calib, lin, &h, e));
    BL_TRY(bl_matrix_new(r, BL_F64, k.in, k.in, &k.h, e));
    BL_TRY(r->ops->permute(r->be, &(bl_permute_args){.x = h, .y = k.h}, e)); /* others read the one that is lent */
    BL_TRY(bl_linear_dense(r->be, lin, &k.w, e));
    BL_TRY(balance(&k, e));
    signs(r->seed, "quip v", lin->name, k.v, k.in);
    signs(r->seed, "quip u", lin->name, k.u, k.out);
    BL_TRY(turn(&k, e));
    for (int64_t j = 0; j < k.in; j++) online[j] = (o->incoherent ? k.v[j] : 1) / k.s[j];
    if (o->incoherent || o->rescale) BL_TRY(bl_list_new(r, online, k.in, &k.online_v, e));
    for (int64_t i = 0; i < k.out; i++) back[i] = (o->incoherent ? k.u[i] : 1) / (k.outputs ? k.t[i] : 1);
    if (o->incoherent || k.outputs) BL_TRY(bl_list_new(r, back, k.out, &k.online_u, e));

    BL_TRY(bl_matrix_new(r, BL_F32, k.out, k.in, &k.before, e));
    BL_TRY(r->ops->permute(r->be, &(bl_permute_args){.x = k.w, .y = k.before}, e));
    BL_TRY(bl_matrix_new(r, BL_F32, k.out, 1, &scale, e));
    BL_TRY(bl_matrix_new(r, BL_F32, k.out, 1, &zero, e));
    BL_TRY(grid(&k, scale, zero, e));
    BL_TRY(bl_quip_round(r, k.w, k.h, scale, zero, (int)o->wbits, (bl_quip_rounding)o->rounding, (int)o->passes,
                         o->damp, &stat->damp, e));
    BL_TRY(store(&k, scale, zero, stat, e));
out:
    for (size_t i = 0; i < BL_COUNT(all); i++) bl_matrix_free(r, all[i]);
    bl_matrix_free(r, &scale);
    bl_matrix_free(r, &zero);
    bl_arena_release(r->scratch, mark);
    return st;
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    const opts *o = r->opts;
    int64_t in = bl_linear_width(lin);
    bl_transform v = {.kind = o->incoherent ? BL_T_HADAMARD : BL_T_SCALE,
                      .in = in,
                      .out = in,
                      .data = bl_tensor_1d(NULL, 0, BL_F32, in)},
                 turn = {.kind = BL_T_HADAMARD, .in = lin->out, .out = lin->out},
                 u = {.kind = BL_T_SCALE,
                      .in = lin->out,
                      .out = lin->out,
                      .data = bl_tensor_1d(NULL, 0, BL_F32, lin->out)};
    if (lin->block < 0) return false;
    target(o, lin, format, shape);
    return (!(o->incoherent || o->rescale) || bl_linear_add_transform(lin, &v, NULL) == BL_OK) &&
           (!o->incoherent || bl_linear_add_after(lin, &turn, NULL) == BL_OK) &&
           (!(o->incoherent || o->outputs) || bl_linear_add_after(lin, &u, NULL) == BL_OK);
}

static double flops(const bl_method_run *r, const bl_linear *lin)
{
    static const double weight = 5e3; /* turns and the feedback of two sides, measured */
    (void)r;
    return bl_solve_work(lin->out, bl_linear_width(lin)) + weight * (double)lin->out * (double)bl_linear_width(lin);
}

static const size_t ops[] = {BL_OP(permute),    BL_OP(diagonal), BL_OP(quad_form),
                             BL_OP(scale),      BL_OP(sq_error), BL_OP(cholesky_inverse),
                             BL_OP(gptq_sweep), BL_OP(greedy),   0};

static bl_status model(const bl_method_run *r, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = r->opts;
    if (o->incoherent) BL_TRY(bl_check_op(r->be, r->ops->hadamard, "hadamard", e));
    if (o->incoherent || o->outputs) BL_TRY(bl_check_op(r->be, r->ops->linear_turns, "transforms of outputs", e));
out:
    return st;
}

const bl_method bl_method_quip = {
    .name = "quip",
    .version = 3,
    .title = "QuIP",
    .cite = "Chee, Cai, Kuleshov, De Sa: QuIP: 2-Bit Quantization of Large Language Models With Guarantees, NeurIPS "
            "2023, arXiv:2307.13304",
    .doc =
        "Turns weights by random orthogonal matrices on both sides, kept as transforms that run, and rounds them with "
        "linear feedback.",
    .deviates =
        "The orthogonal matrices are randomized Hadamard matrices, as in QuIP#, not products of two random ones: they "
        "cost 32 bits an input and an output.\n"
        "The damping of two steps (1e-2 I after the trace is n, then 1 % of the mean) is one, 2 % of the mean.\n"
        "Half-way cases are rounded to even, not up; the one scale is stored in 16 bits a row.\n"
        "Weights stay in float between the steps; the code rounds them to 16 bits three times.\n"
        "After awq rows are scaled to one norm as well as inputs (+outputs); of awq's scales nothing is left then, of "
        "the weights that it clipped there is.",
    .wbits = 0x1c, /* 2..4 */
    .needs = BL_NEED_HESSIAN,
    .opts = rows,
    .opts_size = sizeof(opts),
    .settle = settle,
    .check = check,
    .ops = ops,
    .model = model,
    .layer = layer,
    .predict = predict,
    .work = flops,
};
