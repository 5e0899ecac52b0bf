/* split_there.c - split.h with matrices on a device: passes over one after another there, and between two of them the
 * narrow factors of jobs on the threads of the host, while others are on the device. */
#include "factor.h"
#include "split.h"
#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <string.h>
#include <time.h>

bool bl_split_there_can(const bl_backend *be, const bl_split_job *job, size_t n)
{
    bool can = be->ops->split_pass && be->act != BL_F32;
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
/* What is next of a job: passes are the device's, one at a time; narrow factors are of any thread. */
typedef enum step { WEIGH, BASIS, BACK, FACTORS, TAKEN, OVER } step;
static bool of_device(step s) { return s == WEIGH || s == BACK; }
static bool of_threads(step s) { return s == BASIS || s == FACTORS; }

typedef struct going { /* a job on its way */
    bl_split_job *job;
    const place *p;
    float *basis, *y, *a, *b, *tau; /* of the round at hand */
    step next;
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
static bl_status weigh(bl_backend *be, rooms *r, going *g, step *next, bl_err *e)
{
    bl_split_job *j = g->job;
    const bl_split_of *x = j->of;
    const bool last = !x->rank || j->made + 1 >= j->rounds;
    double cost;
    bl_status st = pass(be, r, g->p, j, g->a, g->b, last ? NULL : g->basis, false, g->y, &cost, e);
    if (st != BL_OK) return st;
    if (j->error) j->error[j->made] = sqrt(cost);
    j->made++;
    *next = last || cost > j->cost ? OVER : BASIS;
    if (cost > j->cost) return BL_OK;
    j->cost = cost;
    if (j->a && x->rank) memcpy(j->a, g->a, (size_t)(x->rank * x->in) * sizeof *g->a);
    if (j->b && x->rank) memcpy(j->b, g->b, (size_t)(x->out * x->rank) * sizeof *g->b);
    return BL_OK;
}

static bl_status factors(going *g, bl_err *e)
{
    const bl_split_of *x = g->job->of;
    bl_status st = bl_factor_triples(g->y, g->basis, x->out, x->in, bl_factor_width(x->out, x->in, x->rank), x->rank,
                                     g->a, g->b, e);
    if (st == BL_OK) bl_split_unweighted(x, g->a, g->b);
    return st;
}

/* The step s of a job, and which is next. */
static step do_step(bl_backend *be, rooms *r, going *g, step s)
{
    const bl_split_of *x = g->job->of;
    step next = s == BASIS ? BACK : s == BACK ? FACTORS : WEIGH;
    switch (s) {
    case WEIGH: g->st = weigh(be, r, g, &next, &g->e); break;
    case BASIS:
        g->st = bl_factor_orthonormal(g->y, bl_factor_width(x->out, x->in, x->rank), x->out, g->tau, &g->e);
        break;
    case BACK: g->st = pass(be, r, g->p, g->job, g->a, g->b, g->y, true, g->basis, NULL, &g->e); break;
    default: g->st = factors(g, &g->e); break;
    }
    return next;
}

typedef struct line { /* all jobs */
    bl_backend *be;
    rooms *r;
    going *g;
    size_t n;
    int threads;
    bool failed;
} line;

/* A job for the thread that has the device, or for one of the others: the device's thread takes what is theirs where as
 * many wait as there are threads. False: nothing is left to be done; *got NULL: nothing now. */
static bool take_job(line *l, bool has_device, going **got, step *s)
{
    size_t waiting = 0, over = 0;
    going *theirs = NULL;
    *got = NULL;
    if (l->failed) return false;
    for (size_t i = 0; i < l->n && !*got; i++) {
        going *g = &l->g[i];
        over += g->next == OVER;
        waiting += of_threads(g->next);
        if (of_threads(g->next) && !theirs) theirs = g;
        if (has_device && of_device(g->next)) *got = g;
    }
    if (!*got && theirs && (!has_device || waiting >= (size_t)l->threads)) *got = theirs;
    if (!*got) return over < l->n;
    *s = (*got)->next;
    (*got)->next = TAKEN;
    return true;
}

static void work(line *l, bool has_device)
{
    const struct timespec moment = {.tv_nsec = 20000};
    going *g = NULL;
    step s = OVER;
    for (bool more = true; more;) {
#pragma omp critical(bl_split_there)
        more = take_job(l, has_device, &g, &s);
        if (!more) break;
        if (!g) {
            nanosleep(&moment, NULL);
            continue;
        }
        const step next = do_step(l->be, l->r, g, s);
#pragma omp critical(bl_split_there)
        {
            g->next = next;
            l->failed |= g->st != BL_OK;
        }
    }
}

/* All rounds of all jobs, each of which goes its way by itself: passes by the thread that calls, narrow factors by the
 * others meanwhile. */
static bl_status go(bl_backend *be, rooms *r, going *g, size_t n, bl_err *e)
{
    const int threads = openblas_get_num_threads();
    line l = {.be = be, .r = r, .g = g, .n = n};
    const int all = be->opts.threads > 0 ? be->opts.threads : omp_get_max_threads();
    l.threads = (int)BL_MIN((size_t)all, n);
    openblas_set_num_threads(1);
#pragma omp parallel num_threads(l.threads)
    work(&l, omp_get_thread_num() == 0);
    openblas_set_num_threads(threads);
    for (size_t i = 0; i < n; i++)
        if (g[i].st != BL_OK) {
            *e = g[i].e;
            return g[i].st;
        }
    return BL_OK;
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
    size_t places = 0;
    bl_status st = BL_OK;

    if (!p || !g) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < n; i++) { /* jobs of a matrix follow one another */
        if (!i || job[i].of != job[i - 1].of) BL_TRY(place_new(be, job[i].of, &p[places++], e));
        BL_TRY(going_new(&job[i], &p[places - 1], &g[i], e));
    }
    BL_TRY(go(be, &r, g, n, e));
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
