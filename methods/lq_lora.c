/* lq_lora.c - low-rank adapters beside weights whose configuration an integer program chooses (Guo et al. 2023, arXiv
 * 2311.12023).
 *
 * Of each matrix and each configuration (bits, bits of scales, type of their maxima, sizes of both groups) the error
 * after the decomposition W = Q + s B A (kernels/split.h) is the cost, what Q takes the size; one configuration a
 * matrix is chosen so that the sum of costs is least within a budget of bits a weight (kernels/assign.h). Errors are
 * weighted by the Fisher information of calibration text. A and B begin as that decomposition, divided by sqrt(s), and
 * are trained beside Q.
 */
#include "lq_lora.h"
#include "kernels/assign.h"
#include "shared_lora.h"
#include <math.h>

typedef struct opts {
    bl_lora_opts lora;
    double bits;
    int64_t rounds, grid_rounds;
    int grid, solver, adapters;
    bool plain, exact;
} opts;
enum { GRID_27, GRID_243 };
enum { HULL, GLPK };
enum { AS_F32, AS_NF8 };
static const char *const grids[] = {"27", "243", NULL}, *const solvers[] = {"hull", "glpk", NULL},
                         *const kept[] = {"f32", "nf8", NULL};
static const bl_opt rows[] = {
    {"bits", BL_OPT_REAL, .min = 2.25, .max = 4.75, .def.r = 2.75, .at = offsetof(opts, bits), .arg = "X",
     .doc =
         "of a weight at most, all that is stored of it included, in the mean over the matrices; adapters are beside "
         "it"},
    {"grid", BL_OPT_CHOICE, .choices = grids, .at = offsetof(opts, grid), .doc = "configurations of a matrix"},
    {"rounds", BL_OPT_INT, .min = 1, .max = 100, .def.i = 100, .at = offsetof(opts, rounds), .arg = "N",
     .doc = "of decomposing and rounding at most; they end where the error rises"},
    {"grid-rounds", BL_OPT_INT, .min = 1, .max = 100, .def.i = 3, .at = offsetof(opts, grid_rounds), .arg = "N",
     .doc = "the same for the errors by which configurations are chosen"},
    {"solver", BL_OPT_CHOICE, .choices = solvers, .at = offsetof(opts, solver),
     .doc = "steps along convex hulls (a Lagrangian relaxation), or the integer program itself, where this program was "
            "built with GLPK"},
    {"plain", BL_OPT_BOOL, .at = offsetof(opts, plain),
     .doc = "all errors count alike: no Fisher information, and no calibration text"},
    {"exact", BL_OPT_BOOL, .at = offsetof(opts, exact),
     .doc = "singular vectors of whole matrices, not near ones within a subspace"},
    {"adapters", BL_OPT_CHOICE, .choices = kept, .at = offsetof(opts, adapters),
     .doc = "what they are kept as after training; nf8: 8 bits, scales of 64 coded in 8 bits more, as Q's"},
    BL_LORA_ROWS_OF(opts, lora, 64, 16),
    {0}};

static unsigned spares(const void *o) { return ((const opts *)o)->plain ? BL_NEED_GRADIENTS : 0; }

static const bl_format *adapters_of(const opts *o) { return o->adapters == AS_NF8 ? bl_format_find("nf8_lq") : NULL; }

static bl_status check(const bl_method_run *r, bl_err *e)
{
    const opts *o = r->opts;
    const double one[] = {0};
    int choice;
    bl_assign_done d;
    bl_status st = bl_lora_needs_dense(r, &o->lora, "lq-lora", e);
    if (st == BL_OK && o->solver == GLPK) st = bl_assign_exact(one, one, 1, 1, 1, &choice, &d, e);
    return st;
}

/* ---- one configuration a matrix ---- */
typedef struct plan {
    bl_lq_config grid[BL_LQ_CONFIGS];
    size_t m;            /* of them */
    double *cost, *size; /* [linears, m] */
    int *choice;         /* [linears] */
    float **a, **b;      /* [linears] what adapters begin as, on the host */
    float **fisher;      /* NULL: none */
    uint32_t targets;
} plan;

static void plan_free(const bl_method_run *r, plan *p)
{
    bl_lq_lists_free(r->model, p->fisher);
    bl_lq_lists_free(r->model, p->a);
    bl_lq_lists_free(r->model, p->b);
    bl_free(p->cost);
    bl_free(p->size);
    bl_free(p->choice);
}

static int64_t rank_of(const bl_method_run *r, const plan *p, const bl_linear *l)
{
    return p->targets && !(p->targets & BL_ROLE_BIT(l->role)) ? 0 : ((const opts *)r->opts)->lora.rank;
}

static bl_split_of split_of(const bl_method_run *r, const plan *p, size_t i, const float *w)
{
    const bl_linear *l = &r->model->linears[i]; /* its shape */
    return (bl_split_of){.w = w,
                         .importance = p->fisher ? p->fisher[i] : NULL,
                         .out = l->out,
                         .in = l->in,
                         .rank = rank_of(r, p, l),
                         .exact = ((const opts *)r->opts)->exact,
                         .seed = r->seed};
}

/* A linear whose configurations are tried. */
typedef struct tried {
    bl_split_of of;
    float *w;
} tried;

/* ---- on the device where it can, else on the host's threads ---- */
static bool there(const bl_method_run *r)
{
    const bl_split_of of = {.exact = ((const opts *)r->opts)->exact};
    const bl_split_job job = {.of = &of, .format = bl_format_find("nf4_lq")};
    return bl_split_there_can(r->be, &job, 1);
}

static bl_status begin(const bl_method_run *r, bl_split_of *of, bl_err *e)
{
    return there(r) ? bl_split_there_begin(r->be, of, e) : bl_split_begin(of, e);
}

static bl_status split(const bl_method_run *r, bl_split_job *job, size_t n, bl_err *e)
{
    return there(r) ? bl_split_there(r->be, job, n, e) : bl_split_all(job, n, e);
}

static bl_status tried_new(const bl_method_run *r, const plan *p, const bl_model *m, size_t i, tried *x,
                           bl_split_job *job, bl_err *e)
{
    const bl_linear *l = &m->linears[i];
    bl_status st = BL_OK;
    if (!(x->w = bl_new((size_t)(l->out * l->in), sizeof *x->w, e))) return BL_E_NOMEM;
    BL_TRY(bl_lora_dense(r, l, x->w, e));
    x->of = split_of(r, p, i, x->w);
    BL_TRY(begin(r, &x->of, e));
    for (size_t c = 0; c < p->m; c++)
        job[c] = (bl_split_job){.of = &x->of,
                                .format = bl_lq_format(&p->grid[c]),
                                .shape = bl_lq_shape(&p->grid[c], l),
                                .rounds = (int)((const opts *)r->opts)->grid_rounds};
out:
    bl_within(e, "%s", l->name);
    return st;
}

/* The costs and sizes of the linears of a block, all configurations of all of them on all threads at once. */
static bl_status weigh(const bl_method_run *r, plan *p, const bl_model *m, int64_t block, bl_err *e)
{
    const size_t n = (size_t)m->blocks[block].n_linears, first = (size_t)(m->blocks[block].linear - m->linears);
    bl_status st = BL_OK;
    const double t0 = bl_now();
    tried *x = bl_new(n, sizeof *x, e);
    bl_split_job *job = bl_new(n * p->m, sizeof *job, e);

    if (!x || !job) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < n; i++) BL_TRY(tried_new(r, p, m, first + i, &x[i], job + i * p->m, e));
    BL_TRY(split(r, job, n * p->m, e));
    for (size_t i = 0; i < n * p->m; i++) {
        p->cost[first * p->m + i] = job[i].cost;
        p->size[first * p->m + i] = bl_lq_size(&p->grid[i % p->m], &m->linears[first + i / p->m]);
    }
    bl_log(BL_LOG_INFO, "lq-lora: block %lld of %lld: %zu configurations of %zu matrices in %.2f s",
           (long long)block + 1, (long long)m->config.n_layers, p->m, n, bl_now() - t0);
out:
    for (size_t i = 0; x && i < n; i++) {
        bl_split_end(&x[i].of);
        bl_free(x[i].w);
    }
    bl_free(job);
    bl_free(x);
    return st;
}

/* Of all blocks: those of the model, which are there where Fisher information asked for them; else one after another of
 * the same weights, none of which stays. */
static bl_status weigh_all(const bl_method_run *r, plan *p, bl_err *e)
{
    bl_model *m = NULL;
    bl_status st = BL_OK;
    if (((const opts *)r->opts)->plain)
        BL_TRY(bl_model_open(r->model->ckpt, r->be, &(bl_model_opts){.stream = true, .as_stored = true, .max_len = 1},
                             &m, e));
    for (int64_t b = 0; b < r->model->config.n_layers; b++) {
        if (bl_interrupted()) {
            st = bl_fail(e, BL_E_INTERRUPTED, "interrupted");
            goto out;
        }
        if (m) BL_TRY(bl_block_acquire(m, b, e));
        BL_TRY(weigh(r, p, m ? m : r->model, b, e));
        if (m) bl_block_release(m, b);
    }
out:
    bl_model_close(m);
    return st;
}

static bl_status choose(const bl_method_run *r, plan *p, bl_err *e)
{
    const opts *o = r->opts;
    const size_t n = r->model->n_linears;
    bl_status st = BL_OK;
    bl_assign_done d;
    double weights = 0;

    if (!(p->cost = bl_new(n * p->m, sizeof *p->cost, e)) || !(p->size = bl_new(n * p->m, sizeof *p->size, e)) ||
        !(p->choice = bl_new(n, sizeof *p->choice, e)) || !(p->a = bl_new(n, sizeof *p->a, e)) ||
        !(p->b = bl_new(n, sizeof *p->b, e)))
        return BL_E_NOMEM;
    for (size_t i = 0; i < n; i++) weights += (double)r->model->linears[i].out * (double)r->model->linears[i].in;
    BL_TRY(weigh_all(r, p, e));
    BL_TRY((o->solver == GLPK ? bl_assign_exact : bl_assign)(p->cost, p->size, n, p->m, o->bits * weights, p->choice,
                                                             &d, e));
    bl_log(BL_LOG_INFO, "lq-lora: %zu matrices, %zu configurations each: %.4f bits a weight, error %.6g, at least %.6g",
           n, p->m, d.size / weights, d.cost, d.bound);
out:
    return st;
}

/* ---- the decompositions that were chosen ---- */
/* Of one linear, in its place. */
typedef struct part {
    bl_split_of of;
    float *w, *a, *b, *left;
} part;

static void part_free(part *x)
{
    bl_split_end(&x->of);
    bl_free(x->w);
    bl_free(x->a);
    bl_free(x->b);
    bl_free(x->left);
}

static bl_status part_new(const bl_method_run *r, const plan *p, size_t i, part *x, bl_split_job *job, bl_err *e)
{
    const bl_linear *l = &r->model->linears[i];
    const bl_lq_config *c = &p->grid[p->choice[i]];
    const int64_t n = l->out * l->in, rank = rank_of(r, p, l);
    bl_status st = BL_OK;
    if (!(x->w = bl_new((size_t)n, sizeof *x->w, e)) || !(x->left = bl_new((size_t)n, sizeof *x->left, e)) ||
        !(x->a = bl_new((size_t)(rank * l->in), sizeof *x->a, e)) ||
        !(x->b = bl_new((size_t)(l->out * rank), sizeof *x->b, e)))
        return BL_E_NOMEM;
    BL_TRY(bl_lora_dense(r, l, x->w, e));
    x->of = split_of(r, p, i, x->w);
    BL_TRY(begin(r, &x->of, e));
    *job = (bl_split_job){.of = &x->of,
                          .format = bl_lq_format(c),
                          .shape = bl_lq_shape(c, l),
                          .rounds = (int)((const opts *)r->opts)->rounds,
                          .a = x->a,
                          .b = x->b,
                          .left = x->left};
out:
    return st;
}

/* The rest goes into the model; A and B are kept until adapters are there, which is after the last block was loaded. */
static bl_status take(const bl_method_run *r, plan *p, size_t i, part *x, const bl_split_job *job, bl_err *e)
{
    bl_status st = bl_lora_store(r, &r->model->linears[i], x->left, job->format, &job->shape, BL_RANGE_OWN, e);
    if (st != BL_OK) return st;
    p->a[i] = x->a;
    p->b[i] = x->b;
    x->a = x->b = NULL;
    return BL_OK;
}

static bl_status give(plan *p, bl_trainable *t, size_t i, bl_err *e)
{
    bl_effective *w = &t->w[i];
    const bl_linear *l = w->linear;
    if (w->adapter < 0) return BL_OK;
    const bl_lowrank *to = &l->adapter[w->adapter];
    const float by = (float)(1 / sqrt((double)to->scale));
    for (int64_t k = 0; k < to->a.dim[0] * l->in; k++) p->a[i][k] *= by;
    for (int64_t k = 0; k < l->out * to->a.dim[0]; k++) p->b[i][k] *= by;
    bl_status st = bl_effective_begin(t, w, p->a[i], p->b[i], false, e);
    bl_free(p->a[i]);
    bl_free(p->b[i]);
    p->a[i] = p->b[i] = NULL;
    return st;
}

/* The linears of a block on all threads. */
static bl_status decompose(const bl_method_run *r, plan *p, int64_t block, bl_err *e)
{
    const bl_model *m = r->model;
    const size_t n = (size_t)m->blocks[block].n_linears;
    const size_t first = (size_t)(m->blocks[block].linear - m->linears);
    bl_status st = BL_OK;
    const double t0 = bl_now();
    part *x = bl_new(n, sizeof *x, e);
    bl_split_job *job = bl_new(n, sizeof *job, e);
    if (!x || !job) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < n; i++) BL_TRY(part_new(r, p, first + i, &x[i], &job[i], e));
    BL_TRY(split(r, job, n, e));
    for (size_t i = 0; i < n; i++) BL_TRY(take(r, p, first + i, &x[i], &job[i], e));
    bl_log(BL_LOG_INFO, "lq-lora: block %lld of %lld decomposed in %.2f s", (long long)block + 1,
           (long long)m->config.n_layers, bl_now() - t0);
out:
    for (size_t i = 0; x && i < n; i++) part_free(&x[i]);
    bl_free(job);
    bl_free(x);
    return st;
}

static bl_status learns(const bl_method_run *r, bl_trainable *t, bl_err *e)
{
    const opts *o = r->opts;
    bl_lora lora = {.rank = o->lora.rank,
                    .alpha = o->lora.alpha,
                    .rank_stabilized = o->lora.rslora,
                    .dropout = o->lora.dropout,
                    .seed = r->seed};
    bl_status st = BL_OK;
    plan p = {.m = 0};
    p.m = bl_lq_grid(o->grid == GRID_243, p.grid);
    BL_TRY(bl_lora_targets(&o->lora, &p.targets, e));
    lora.targets = p.targets;
    if (!o->plain) {
        BL_TRY(bl_trainable_reach(t, r->model->config.n_layers - 1, e));
        BL_TRY(bl_lq_fisher(r, &p.fisher, e));
    }
    BL_TRY(choose(r, &p, e));
    for (int64_t b = 0; b < r->model->config.n_layers; b++) {
        BL_TRY(bl_trainable_reach(t, b, e));
        BL_TRY(decompose(r, &p, b, e));
    }
    BL_TRY(bl_train_lora(t, &lora, e));
    t->adapters_as = adapters_of(o);
    for (size_t i = 0; i < r->model->n_linears; i++) BL_TRY(give(&p, t, i, e));
out:
    plan_free(r, &p);
    return st;
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    const opts *o = r->opts;
    bl_lq_config grid[BL_LQ_CONFIGS];
    const size_t n = bl_lq_grid(o->grid == GRID_243, grid);
    const bl_lq_config *c = bl_lq_guess(r->model, lin, o->bits, grid, n);
    *format = bl_lq_format(c);
    *shape = bl_lq_shape(c, lin);
    const int before = lin->n_adapters;
    bl_lora_predict(&o->lora, lin);
    if (adapters_of(o) && lin->n_adapters > before)
        (void)bl_linear_pack_adapter(r->be, lin, adapters_of(o), NULL); /* without memory a plan says less */
    return true;
}

const bl_method bl_method_lq_lora = {
    .name = "lq-lora",
    .version = 4,
    .title = "Low-rank plus quantized matrices within a budget of bits",
    .cite = "Guo et al. 2023, arXiv 2311.12023",
    .doc = "Each matrix is a quantized one (normal floats of 2 to 4 bits, scales coded too) and adapters, found in "
           "turns so that what is lost is least by the Fisher information of calibration text; which configuration a "
           "matrix gets is an integer program within a budget: lq-lora:2.75. Adapters are trained beside it, and with "
           "adapters=nf8 kept in 8 bits (the curve is of those in f32). The "
           "base of the files of peft is these weights (export --without-adapters).",
    .deviates = "the iterate of least error is kept, not the last\n"
                "configurations are chosen by their errors after grid-rounds, not all rounds\n"
                "near singular vectors of later rounds are found from those of the round before in one pass\n"
                "grid=27 is a part of the paper's 243 configurations\n"
                "roots of the mean information of rows and columns are at least 1e-4 of the largest",
    .word = "bits",
    .needs = BL_NEED_GRADIENTS | BL_NEED_TRAINING,
    .spares = spares,
    .packs_first = true,
    .opts = rows,
    .opts_size = sizeof(opts),
    .check = check,
    .learns = learns,
    .predict = predict,
    .about = true,
};
