/* split_there.c - split.h with matrices on a device: passes over one after another there, and between two of them the
 * narrow factors of all jobs on the threads of the host. */
#include "factor.h"
#include "split.h"
#include <cblas.h>
#include <math.h>
#include <string.h>

bool bl_split_there_can(const bl_backend *be, const bl_split_job *job, size_t n)
{
    bool can = be->ops->split_pass && be->ops->each && be->act != BL_F32;
    for (size_t i = 0; i < n; i++) can = can && bl_split_pass_takes(job[i].format) && !job[i].of->exact;
    return can;
}

/* ---- what is there ---- */
typedef struct place { /* of a matrix */
    const bl_split_of *of;
    bl_tensor w, importance, rows, cols;
} place;

static bl_status send(bl_backend *be, const float *x, int64_t rows, int64_t cols, bl_tensor *out, bl_err *e)
{
    bl_buffer *b = NULL;
    if (!x) return BL_OK;
    bl_status st = be->ops->buffer_new(be, (uint64_t)(rows * cols) * sizeof *x + 64, &b, e);
    if (st != BL_OK) return st;
    *out = bl_tensor_2d(b, 0, BL_F32, rows, cols);
    return be->ops->upload(be, out, x, e);
}

static void place_free(const bl_ops *ops, place *p)
{
    const bl_tensor all[] = {p->w, p->importance, p->rows, p->cols};
    for (size_t i = 0; i < BL_COUNT(all); i++) ops->buffer_free(all[i].buf);
}

static bl_status place_new(bl_backend *be, const bl_split_of *x, place *p, bl_err *e)
{
    bl_status st = BL_OK;
    *p = (place){.of = x};
    BL_TRY(send(be, x->w, x->out, x->in, &p->w, e));
    BL_TRY(send(be, x->importance, x->out, x->in, &p->importance, e));
    BL_TRY(send(be, x->d_row, 1, x->out, &p->rows, e));
    BL_TRY(send(be, x->d_col, 1, x->in, &p->cols, e));
out:
    return st;
}

/* ---- a pass ---- */
typedef struct rooms {
    bl_buffer *a, *b, *x, *y;
} rooms;

static bl_status put(bl_backend *be, bl_buffer **room, const float *x, int64_t rows, int64_t cols, bl_tensor *out,
                     bl_err *e)
{
    bl_status st = bl_buffer_fit(be, room, (uint64_t)(rows * cols) * sizeof *x + 64, e);
    if (st != BL_OK) return st;
    *out = bl_tensor_2d(*room, 0, BL_F32, rows, cols);
    return x ? be->ops->upload(be, out, x, e) : BL_OK;
}

/* Beside a and b, x [k, in] or, back, [k, out] to y; x NULL: no product. format NULL: of W itself. */
static bl_status pass(bl_backend *be, rooms *r, const place *p, const bl_split_job *j, const float *a, const float *b,
                      const float *x, bool back, float *y, double *cost, bl_err *e)
{
    const bl_split_of *of = p->of;
    const int64_t k = of->rank ? bl_factor_width(of->out, of->in, of->rank) : 0;
    bl_split_pass_args args = {
        .w = p->w, .importance = p->importance, .rows = p->rows, .cols = p->cols, .back = back, .cost = cost};
    bl_status st = BL_OK;
    if (j) {
        args.format = j->format;
        args.shape = j->shape;
    }
    if (a) {
        BL_TRY(put(be, &r->a, a, of->rank, of->in, &args.a, e));
        BL_TRY(put(be, &r->b, b, of->out, of->rank, &args.b, e));
    }
    if (x) {
        BL_TRY(put(be, &r->x, x, k, back ? of->out : of->in, &args.x, e));
        BL_TRY(put(be, &r->y, NULL, k, back ? of->in : of->out, &args.y, e));
    }
    BL_TRY(be->ops->split_pass(be, &args, e));
    if (x) BL_TRY(be->ops->download(be, &args.y, y, e));
out:
    return st;
}

static void rooms_free(const bl_ops *ops, rooms *r)
{
    bl_buffer *const all[] = {r->a, r->b, r->x, r->y};
    for (size_t i = 0; i < BL_COUNT(all); i++) ops->buffer_free(all[i]);
}

/* ---- where it begins ---- */
typedef struct first {
    bl_backend *be;
    rooms room;
    place p;
} first;

static bl_status times_w(void *ctx, const float *x, int64_t k, bool back, float *y, bl_err *e)
{
    first *f = ctx;
    (void)k;
    return pass(f->be, &f->room, &f->p, NULL, NULL, NULL, x, back, y, NULL, e);
}

bl_status bl_split_there_begin(bl_backend *be, bl_split_of *x, bl_err *e)
{
    first f = {.be = be};
    bl_status st = BL_OK;
    BL_TRY(bl_split_draw(x, e));
    if (!x->rank) return BL_OK;
    BL_TRY(place_new(be, x, &f.p, e));
    BL_TRY(bl_factor_svd_by(times_w, &f, x->out, x->in, x->rank, BL_SPLIT_PASSES, x->basis, x->a, x->b, e));
    bl_split_unweighted(x, x->a, x->b);
out:
    rooms_free(be->ops, &f.room);
    place_free(be->ops, &f.p);
    if (st != BL_OK) bl_split_end(x);
    return st;
}

/* ---- rounds ---- */
typedef struct going { /* a job on its way */
    bl_split_job *job;
    const place *p;
    float *basis, *y, *a, *b, *tau; /* of the round at hand */
    bool over;
    bl_status st;
    bl_err e;
} going;

static void going_free(going *g)
{
    float *const all[] = {g->basis, g->y, g->a, g->b, g->tau};
    for (size_t i = 0; i < BL_COUNT(all); i++) bl_free(all[i]);
}

static bl_status going_new(bl_split_job *j, const place *p, going *g, bl_err *e)
{
    const bl_split_of *x = j->of;
    const int64_t k = x->rank ? bl_factor_width(x->out, x->in, x->rank) : 0;
    *g = (going){.job = j, .p = p};
    j->made = 0;
    j->cost = INFINITY;
    if (!x->rank) return BL_OK;
    if (!(g->basis = bl_new((size_t)(k * x->in), sizeof *g->basis, e)) ||
        !(g->y = bl_new((size_t)(k * x->out), sizeof *g->y, e)) ||
        !(g->a = bl_new((size_t)(x->rank * x->in), sizeof *g->a, e)) ||
        !(g->b = bl_new((size_t)(x->out * x->rank), sizeof *g->b, e)) ||
        !(g->tau = bl_new((size_t)k, sizeof *g->tau, e)))
        return BL_E_NOMEM;
    memcpy(g->basis, x->basis, (size_t)(k * x->in) * sizeof *g->basis);
    memcpy(g->a, x->a, (size_t)(x->rank * x->in) * sizeof *g->a);
    memcpy(g->b, x->b, (size_t)(x->out * x->rank) * sizeof *g->b);
    return BL_OK;
}

/* What is lost beside the factors at hand; it is over where that rose, or after the last round. */
static bl_status weigh(bl_backend *be, rooms *r, going *g, bl_err *e)
{
    bl_split_job *j = g->job;
    const bl_split_of *x = j->of;
    const bool last = !x->rank || j->made + 1 >= j->rounds;
    double cost;
    bl_status st = pass(be, r, g->p, j, g->a, g->b, last ? NULL : g->basis, false, g->y, &cost, e);
    if (st != BL_OK) return st;
    if (j->error) j->error[j->made] = sqrt(cost);
    j->made++;
    g->over = last || cost > j->cost;
    if (cost > j->cost) return BL_OK;
    j->cost = cost;
    if (j->a && x->rank) memcpy(j->a, g->a, (size_t)(x->rank * x->in) * sizeof *g->a);
    if (j->b && x->rank) memcpy(j->b, g->b, (size_t)(x->out * x->rank) * sizeof *g->b);
    return BL_OK;
}

static void to_basis(void *ctx, int64_t i)
{
    going *g = (going *)ctx + i;
    const bl_split_of *x = g->job->of;
    if (!g->over) g->st = bl_factor_orthonormal(g->y, bl_factor_width(x->out, x->in, x->rank), x->out, g->tau, &g->e);
}

static void to_factors(void *ctx, int64_t i)
{
    going *g = (going *)ctx + i;
    const bl_split_of *x = g->job->of;
    if (g->over) return;
    g->st = bl_factor_triples(g->y, g->basis, x->out, x->in, bl_factor_width(x->out, x->in, x->rank), x->rank, g->a,
                              g->b, &g->e);
    bl_split_unweighted(x, g->a, g->b);
}

static bl_status on_all_threads(bl_backend *be, void (*piece)(void *, int64_t), going *g, size_t n, bl_err *e)
{
    const int threads = openblas_get_num_threads();
    openblas_set_num_threads(1);
    bl_status st = be->ops->each(be, &(bl_each_args){.n = (int64_t)n, .piece = piece, .ctx = g}, e);
    openblas_set_num_threads(threads);
    for (size_t i = 0; st == BL_OK && i < n; i++)
        if (g[i].st != BL_OK) {
            st = g[i].st;
            *e = g[i].e;
        }
    return st;
}

/* All jobs by a round; *left: how many are not over. */
static bl_status round_of(bl_backend *be, rooms *r, going *g, size_t n, size_t *left, bl_err *e)
{
    bl_status st = BL_OK;
    *left = 0;
    for (size_t i = 0; i < n; i++) {
        if (!g[i].over) BL_TRY(weigh(be, r, &g[i], e));
        *left += !g[i].over;
    }
    if (!*left) return BL_OK;
    BL_TRY(on_all_threads(be, to_basis, g, n, e));
    for (size_t i = 0; i < n; i++)
        if (!g[i].over) BL_TRY(pass(be, r, g[i].p, g[i].job, g[i].a, g[i].b, g[i].y, true, g[i].basis, NULL, e));
    BL_TRY(on_all_threads(be, to_factors, g, n, e));
out:
    return st;
}

/* L of the result. */
static bl_status fetch(bl_backend *be, rooms *r, const place *p, const bl_split_job *j, bl_err *e)
{
    const bl_split_of *x = j->of;
    bl_split_pass_args args = {.w = p->w};
    bl_status st = BL_OK;
    bl_buffer *room = NULL;
    if (x->rank) BL_TRY(put(be, &r->a, j->a, x->rank, x->in, &args.a, e));
    if (x->rank) BL_TRY(put(be, &r->b, j->b, x->out, x->rank, &args.b, e));
    BL_TRY(put(be, &room, NULL, x->out, x->in, &args.left, e));
    BL_TRY(be->ops->split_pass(be, &args, e));
    BL_TRY(be->ops->download(be, &args.left, j->left, e));
out:
    be->ops->buffer_free(room);
    return st;
}

bl_status bl_split_there(bl_backend *be, bl_split_job *job, size_t n, bl_err *e)
{
    place *p = bl_new(n, sizeof *p, e);
    going *g = bl_new(n, sizeof *g, e);
    rooms r = {0};
    size_t places = 0, left = n;
    bl_status st = BL_OK;

    if (!p || !g) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < n; i++) { /* jobs of a matrix follow one another */
        if (!i || job[i].of != job[i - 1].of) BL_TRY(place_new(be, job[i].of, &p[places++], e));
        BL_TRY(going_new(&job[i], &p[places - 1], &g[i], e));
    }
    while (left) BL_TRY(round_of(be, &r, g, n, &left, e));
    for (size_t i = 0; i < n; i++)
        if (job[i].left) BL_TRY(fetch(be, &r, g[i].p, &job[i], e));
out:
    for (size_t i = 0; g && i < n; i++) going_free(&g[i]);
    for (size_t i = 0; i < places; i++) place_free(be->ops, &p[i]);
    rooms_free(be->ops, &r);
    bl_free(g);
    bl_free(p);
    return st;
}
