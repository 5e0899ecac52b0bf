/* product.c - a linear by the families of AVX2 and AVX-512, on all threads: stages rows of x where they are
 * transformed, quantized or not whole vectors, and hands out the tasks of the products. Nothing of a weight outlives a
 * task, and what a thread holds is its scratch and the stage. Several weights of one input read the same stage.
 */
#include "avx2.h"
#if defined(BL_HAVE_X86)
typedef struct job {
    bl_backend *be;
    const bl_linear_args *a;
    int n_w;
    const bl_cpu_product *p[BL_LINEAR_MOST];
    bl_source *w;             /* [n_w] */
    bool staged, integer;     /* x goes through the stage; the products are in integers */
    float scale, zero;        /* of the tensor */
    int64_t in;               /* of the weights */
    int64_t in8, raw8, rank8; /* widths in the stage: x, x for adapters, their inner products */
    int64_t rows;             /* rows that fit the stage */
    float *x, *raw, *low;
    bl_icodes codes;
    bl_source *wb; /* the matrix B of an adapter that is added in the tasks of the product, and that product */
    bl_gemv then;  /* no w: there is none */
} job;

static int64_t up8(int64_t n) { return (n + 7) / 8 * 8; }

static bool staged(const bl_linear_args *a, bool integer)
{
    return integer || a->n_t || a->act.bits || a->w[0]->shape.in % 8;
}

/* Widths and rows of a stage of so many bytes; false: not even one row fits. */
static bool measure(const bl_linear_args *a, const bl_weight *w, int64_t stage, job *j)
{
    j->staged = staged(a, j->integer);
    j->in8 = j->staged && !j->integer ? up8(j->in) : 0;
    j->raw8 = a->n_adapters && a->x.dim[1] % 8 ? up8(a->x.dim[1]) : 0;
    j->rank8 = 0;
    for (int i = 0; i < a->n_adapters; i++) j->rank8 = BL_MAX(j->rank8, up8(a->adapter[i].a.dim[0]));
    int64_t row = 4 * (j->in8 + j->raw8 + j->rank8);
    if (j->integer) {
        bl_icodes_of(&a->act, w, &j->codes);
        row += j->codes.ldx + 4 * (2 * j->codes.segs + (j->codes.blocked ? j->codes.segs : 1));
    }
    j->rows = row ? (stage - 64) / row : INT64_MAX;
    if (j->rows > 24) j->rows = j->rows / 24 * 24; /* whole tiles */
    return j->rows >= 1 && (!j->staged || (j->in + bl_cpu_transform_width(a)) * 4 <= BL_CPU_SCRATCH);
}

bool bl_product_fits(const bl_backend *be, bl_isa isa, const bl_linear_args *a, const bl_weight *w, bool integer)
{
    job j = {.in = w->shape.in, .integer = integer};
    const bl_cpu *c = be->own;
    if (isa == BL_ISA_AVXVNNI && !c->vnni) return false; /* with more of AVX-512 it may still not be there */
    return c->isa >= isa && !a->transpose && bl_cpu_integer_weight(&a->act, w) == integer &&
           measure(a, w, BL_CPU_STAGE, &j); /* whatever the threads: families do not depend on them */
}

static void lay_out(job *j)
{
    if (j->rows == INT64_MAX) return;
    j->x = ((bl_cpu *)j->be->own)->stage;
    j->raw = j->x + j->rows * j->in8;
    j->low = j->raw + j->rows * j->raw8;
    bl_icodes *c = &j->codes;
    c->sum = (int32_t *)(j->low + j->rows * j->rank8);
    c->shift = c->sum + j->rows * c->segs;
    c->scale = (float *)(c->shift + j->rows * c->segs);
    c->x = (int8_t *)(c->scale + j->rows * (c->blocked ? c->segs : 1));
}

static void pad_copy(float *dst, const float *src, int64_t n)
{
    memcpy(dst, src, (size_t)n * sizeof *dst);
    memset(dst + n, 0, (size_t)(up8(n) - n) * sizeof *dst);
}

/* Row `r` of x, which is row `i` of the stage. */
static void stage_row(const job *j, int64_t r, int64_t i, float *scratch)
{
    const bl_linear_args *a = j->a;
    const float *x = bl_cpu_row(&a->x, r);
    int64_t in = j->in;
    if (j->raw8) pad_copy(j->raw + i * j->raw8, x, a->x.dim[1]);
    if (!j->staged) return;
    float *tmp = scratch + in; /* [in], then the widest */
    if (a->norm.buf) {
        bl_avx2_rmsnorm(x, bl_cpu_at(&a->norm), scratch, in, a->eps);
        x = scratch;
    } else if (a->gate.buf) {
        bl_avx2_swiglu(bl_cpu_row(&a->gate, r), x, scratch, in);
        x = scratch;
    }
    if (a->n_t) {
        bl_cpu_transform(a, x, scratch, tmp);
        x = scratch;
    }
    if (j->integer) {
        bl_icodes_row(&j->codes, i, x, in, &a->act, j->scale, j->zero);
    } else {
        pad_copy(j->x + i * j->in8, x, in);
        if (a->act.bits) bl_cpu_act_simulate(j->x + i * j->in8, in, &a->act, j->scale, j->zero);
    }
}

/* The tasks of all weights of a linear, one list: who is done with a weight goes on to the next. Where some are of all
 * rows and some of fewer, those come first, of all weights, and both are dealt out to the threads. */
typedef struct list {
    const job *j;
    int64_t row0, rows;
    union {
        bl_gemm g[BL_LINEAR_MOST];
        bl_igemm ig[BL_LINEAR_MOST]; /* of integers */
    };
    int64_t tasks[BL_LINEAR_MOST], all, stage_tasks;
    int dealt; /* to so many; 0: no */
} list;
static void dealt_task(const list *l, int64_t task, void *scratch)
{
    task = bl_team_dealt(task, l->all, l->dealt);
    for (int i = 0; i < l->j->n_w; task -= l->ig[i++].whole)
        if (task < l->ig[i].whole) {
            l->ig[i].task(&l->ig[i], task, scratch);
            return;
        }
    int i = 0;
    for (int64_t rest; task >= (rest = l->tasks[i] - l->ig[i].whole); i++) task -= rest;
    l->ig[i].task(&l->ig[i], l->ig[i].whole + task, scratch);
}
static void product_task(void *ctx, int64_t task, int lane)
{
    const list *l = ctx;
    void *scratch = ((const bl_cpu *)l->j->be->own)->scratch[lane];
    int i = 0;
    if (l->dealt) {
        dealt_task(l, task, scratch);
        return;
    }
    for (; task >= l->tasks[i]; i++) task -= l->tasks[i];
    if (l->j->integer) l->ig[i].task(&l->ig[i], task, scratch);
    else l->g[i].task(&l->g[i], task, scratch);
}
static void stage_task(void *ctx, int64_t i, int lane)
{
    const list *l = ctx;
    for (int64_t r = l->rows * i / l->stage_tasks; r < l->rows * (i + 1) / l->stage_tasks; r++)
        stage_row(l->j, l->row0 + r, r, ((const bl_cpu *)l->j->be->own)->scratch[lane]);
}

static bool few(const job *j, int64_t n) { return j->integer && n <= 8; }
/* Lanes for such products. One is worth calling for some microseconds of work: more of them are
 * waited for longer than they save. Of those, as few as have the same number of tasks to do at most. */
static int lanes_worth(double products, int threads)
{
    enum { WORTH = 60000 }; /* products of one lane, two microseconds */
    return (int)BL_MAX(BL_MIN((double)threads, ceil(products / WORTH)), 1);
}
static int lanes_even(int64_t tasks, int lanes)
{
    const int64_t each = (tasks + lanes - 1) / lanes;
    return (int)((tasks + each - 1) / each);
}

/* Rows row0 .. row0+n. */
static void run_rows(job *j, int64_t row0, int64_t n, int threads)
{
    const bl_linear_args *a = j->a;
    bl_cpu *c = j->be->own;
    bl_put put = a->accumulate ? BL_PUT_ADD : BL_PUT;
    list l = {.j = j, .row0 = row0, .rows = n, .stage_tasks = BL_MIN(n, 4 * threads)};
    bool blocks = false;
    for (int i = 0; i < j->n_w; i++) {
        float *y = bl_cpu_row(&a->y[i], row0);
        const float *bias = bl_cpu_at(&a->bias[i]);
        if (j->integer) {
            l.ig[i] = (bl_igemm){.w = &j->w[i],
                                 .c = &j->codes,
                                 .y = y,
                                 .ldy = a->y[i].stride[0],
                                 .bias = bias,
                                 .put = put,
                                 .threads = threads,
                                 .rows = n};
            j->p[i]->plan_integer(&l.ig[i]);
            l.all += l.tasks[i] = l.ig[i].chunks;
            blocks = blocks || l.ig[i].blocks > 1;
            continue;
        }
        l.g[i] = (bl_gemm){.threads = threads,
                           .v = {.w = &j->w[i],
                                 .x = j->staged ? j->x : bl_cpu_row(&a->x, row0),
                                 .ldx = j->staged ? j->in8 : a->x.stride[0],
                                 .y = y,
                                 .ldy = a->y[i].stride[0],
                                 .bias = bias,
                                 .put = put}};
        if (j->then.w) l.g[i].then = &j->then;
        j->p[i]->plan(&l.g[i], n);
        l.all += l.tasks[i] = l.g[i].blocks * l.g[i].chunks;
    }
    if (blocks) l.dealt = threads;
    if (j->staged || j->raw8) bl_team_run(c->team, threads, stage_task, &l, l.stage_tasks);
    bl_team_run(c->team, few(j, n) ? lanes_even(l.all, threads) : threads, product_task, &l, l.all);
}

/* A matrix of an adapter as a weight, by the cheapest family for these rows. Its input is padded by us. */
static const bl_cpu_product *dense_source(bl_backend *be, const bl_tensor *t, int64_t rows, bl_source *out)
{
    bl_weight w = {.format = bl_format_find("fp32"), .shape = {.out = t->dim[0], .in = up8(t->dim[1])}, .n_parts = 1};
    bl_linear_args a = {.x = {.ndim = 2, .dim = {rows, w.shape.in}}, .w = {&w}};
    const bl_cpu_product *p = bl_kernel_pick(be, &a, &w)->family->own;
    w.shape.in = t->dim[1];
    w.part[0] = *t;
    p->source(&w, out);
    return p;
}

/* One of the two products of an adapter. */
typedef struct half {
    const bl_cpu *c;
    const bl_gemm *g;
} half;
static void adapter_task(void *ctx, int64_t task, int lane)
{
    const half *h = ctx;
    h->g->task(h->g, task, h->c->scratch[lane]);
}

/* The inner products of an adapter with rows row0 .. row0+n, which were staged where they are not whole vectors. */
static void run_inner(const job *j, const bl_lowrank *l, int64_t row0, int64_t n, int threads)
{
    const bl_linear_args *a = j->a;
    bl_cpu *c = j->be->own;
    const int64_t rank8 = up8(l->a.dim[0]);
    bl_source wa;
    bl_gemm la = {.threads = threads,
                  .v = {.w = &wa,
                        .x = j->raw8 ? j->raw : bl_cpu_row(&a->x, row0),
                        .ldx = j->raw8 ? j->raw8 : a->x.stride[0],
                        .y = j->low,
                        .ldy = rank8,
                        .put = BL_PUT}};
    dense_source(j->be, &l->a, n, &wa)->plan(&la, n);
    if (rank8 != l->a.dim[0]) memset(j->low, 0, (size_t)(n * rank8) * sizeof *j->low);
    bl_team_run(c->team, threads, adapter_task, &(half){c, &la}, la.blocks * la.chunks);
}

/* y += those times B, *wb. */
static bl_gemv outer_product(const job *j, const bl_lowrank *l, int64_t row0, const bl_source *wb)
{
    return (bl_gemv){.w = wb,
                     .x = j->low,
                     .ldx = up8(l->a.dim[0]),
                     .y = bl_cpu_row(&j->a->y[0], row0),
                     .ldy = j->a->y[0].stride[0],
                     .put = BL_PUT_ADD_SCALED,
                     .scale = l->scale};
}

/* y += an adapter of the rows. */
static void run_adapter(const job *j, const bl_lowrank *l, int64_t row0, int64_t n, int threads)
{
    bl_cpu *c = j->be->own;
    bl_source wb;
    bl_gemm lb = {.threads = threads, .v = outer_product(j, l, row0, &wb)};
    run_inner(j, l, row0, n, threads);
    dense_source(j->be, &l->b, n, &wb)->plan(&lb, n);
    bl_team_run(c->team, threads, adapter_task, &(half){c, &lb}, lb.blocks * lb.chunks);
}

/* The tasks of the product take the first adapter on, with what they have made still near: its inner products come
 * before. */
static bool taken_on(job *j, int64_t row0, int64_t n, int threads)
{
    const bl_linear_args *a = j->a;
    if (!a->n_adapters || j->raw8 || a->adapter[0].a.dim[0] > j->p[0]->then) return false;
    dense_source(j->be, &a->adapter[0].b, n, j->wb);
    run_inner(j, &a->adapter[0], row0, n, threads);
    j->then = outer_product(j, &a->adapter[0], row0, j->wb);
    return true;
}

bl_status bl_products(bl_backend *be, const bl_linear_args *a, const bl_kernel_family *const k[], bl_err *e)
{
    bl_cpu *c = be->own;
    bl_source w[BL_LINEAR_MOST], wb;
    job j = {.be = be, .a = a, .n_w = bl_linear_weights(a), .w = w, .wb = &wb, .in = a->w[0]->shape.in};
    double outputs = 0;
    for (int i = 0; i < j.n_w; i++) {
        j.p[i] = k[i]->own;
        j.p[i]->source(a->w[i], &w[i]);
        outputs += (double)a->w[i]->shape.out;
    }
    j.integer = !j.p[0]->plan;
    if (!measure(a, a->w[0], bl_cpu_stage(c), &j))
        return bl_fail(e, BL_E_INTERNAL, "linear: a row of x does not fit the stage");
    lay_out(&j);
    j.scale = a->act.scale;
    j.zero = a->act.zero;
    if (a->act.bits && a->act.unit == BL_ACT_TENSOR && a->act.scale == 0)
        bl_cpu_act_tensor(a, c->scratch[0], (float *)c->scratch[0] + j.in, &j.scale, &j.zero);
    for (int64_t r = 0, n; r < a->x.dim[0]; r += n) {
        n = BL_MIN(a->x.dim[0] - r, j.rows);
        const double products = (double)n * outputs * (double)j.in;
        int threads = bl_cpu_threads(be, products);
        if (few(&j, n)) threads = lanes_worth(products, threads);
        const int done = taken_on(&j, r, n, threads);
        run_rows(&j, r, n, threads);
        for (int i = done; i < a->n_adapters; i++) run_adapter(&j, &a->adapter[i], r, n, threads);
    }
    return BL_OK;
}

bl_status bl_product_run(const bl_kernel_family *k, bl_backend *be, const bl_linear_args *a, bl_err *e)
{
    const bl_kernel_family *const all[BL_LINEAR_MOST] = {k, k, k};
    return bl_products(be, a, all, e);
}
#endif
