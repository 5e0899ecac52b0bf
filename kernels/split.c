/* split.c - singular triples and packing in turns. */
#include "split.h"
#include "kernels/cpu/cpu.h"
#include "factor.h"
#include "fmt_table.h"
#include "kernels/base/rng.h"
#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <string.h>

enum { BEHIND = 16 }; /* numbers after a matrix, which products may read */

/* ---- what all jobs of a matrix share ---- */
/* The roots of the means of the rows and columns of F. */
static bl_status sides(bl_split_of *x, bl_err *e)
{
    double *sum = NULL, most[2] = {0};
    if (!(sum = bl_new((size_t)(x->out + x->in), sizeof *sum, e)) ||
        !(x->d_row = bl_new((size_t)x->out, sizeof *x->d_row, e)) ||
        !(x->d_col = bl_new((size_t)x->in, sizeof *x->d_col, e))) {
        bl_free(sum);
        return BL_E_NOMEM;
    }
    for (int64_t i = 0; i < x->out; i++)
        for (int64_t j = 0; j < x->in; j++) {
            sum[i] += (double)x->importance[i * x->in + j];
            sum[x->out + j] += (double)x->importance[i * x->in + j];
        }
    for (int64_t i = 0; i < x->out + x->in; i++) {
        const bool row = i < x->out;
        sum[i] = sqrt(sum[i] / (double)(row ? x->in : x->out));
        most[row] = fmax(most[row], sum[i]);
    }
    for (int64_t i = 0; i < x->out + x->in; i++) {
        const bool row = i < x->out;
        const double d = most[row] > 0 ? fmax(sum[i], 1e-4 * most[row]) : 1;
        *(row ? x->d_row + i : x->d_col + (i - x->out)) = (float)d;
    }
    bl_free(sum);
    return BL_OK;
}

void bl_split_unweighted(const bl_split_of *x, float *a, float *b)
{
    if (!x->d_row) return;
    for (int64_t k = 0; k < x->rank; k++)
        for (int64_t j = 0; j < x->in; j++) a[k * x->in + j] /= x->d_col[j];
    for (int64_t i = 0; i < x->out; i++)
        for (int64_t k = 0; k < x->rank; k++) b[i * x->rank + k] /= x->d_row[i];
}

/* res [out, in], which is overwritten, to a and b of its largest triples. */
static bl_status decompose(bl_backend *cpu, const bl_split_of *x, float *res, int passes, float *basis, float *a,
                           float *b, bl_err *e)
{
    bl_status st = BL_OK;
    const int64_t out = x->out, in = x->in, rank = x->rank;
    if (x->d_row)
        for (int64_t i = 0; i < out; i++)
            for (int64_t j = 0; j < in; j++) res[i * in + j] *= x->d_row[i] * x->d_col[j];
    if (x->exact) BL_TRY(bl_factor_svd(res, out, in, rank, a, b, e));
    else BL_TRY(bl_factor_svd_near(cpu, res, out, in, rank, passes, basis, a, b, e));
    bl_split_unweighted(x, a, b);
out:
    return st;
}

bl_status bl_split_draw(bl_split_of *x, bl_err *e)
{
    const int64_t n = x->out * x->in, width = x->rank ? bl_factor_width(x->out, x->in, x->rank) : 0;
    bl_status st = BL_OK;
    bl_rng r = bl_rng_at(x->seed, bl_rng_key("split", (uint64_t)n), 0);
    x->a = x->b = x->basis = x->d_row = x->d_col = NULL;
    if (!x->rank) return BL_OK;
    if (x->importance) BL_TRY(sides(x, e));
    if (!(x->a = bl_new((size_t)(x->rank * x->in), sizeof *x->a, e)) ||
        !(x->b = bl_new((size_t)(x->out * x->rank), sizeof *x->b, e)) ||
        !(x->basis = bl_new((size_t)(width * x->in) + BEHIND, sizeof *x->basis, e)))
        st = BL_E_NOMEM;
    for (int64_t i = 0; st == BL_OK && i < width * x->in; i++) x->basis[i] = (float)bl_rng_normal(&r);
out:
    return st;
}

bl_status bl_split_begin(bl_split_of *x, bl_err *e)
{
    const int64_t n = x->out * x->in;
    bl_status st = BL_OK;
    float *res = NULL;
    bl_backend *cpu = NULL;
    const int threads = openblas_get_num_threads();

    BL_TRY(bl_split_draw(x, e));
    if (!x->rank) return BL_OK;
    if (!(res = bl_new((size_t)n + BEHIND, sizeof *res, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    memcpy(res, x->w, (size_t)n * sizeof *res);
    BL_TRY(bl_backend_open(&(bl_backend_opts){.device = "cpu"}, &cpu, e));
    openblas_set_num_threads(1); /* one sequence of operations */
    st = decompose(cpu, x, res, BL_SPLIT_PASSES, x->basis, x->a, x->b, e);
    openblas_set_num_threads(threads);
out:
    bl_backend_close(cpu);
    bl_free(res);
    if (st != BL_OK) bl_split_end(x);
    return st;
}

void bl_split_end(bl_split_of *x)
{
    bl_free(x->a);
    bl_free(x->b);
    bl_free(x->basis);
    bl_free(x->d_row);
    bl_free(x->d_col);
    x->a = x->b = x->basis = x->d_row = x->d_col = NULL;
}

/* ---- one job ---- */
typedef struct room {
    float *q, *res, *left, *basis, *a, *b; /* left, a and b of the round at hand */
    void *part[BL_MAX_PARTS];
} room;

static void room_free(room *r)
{
    float *const all[] = {r->q, r->res, r->left, r->basis, r->a, r->b};
    for (size_t i = 0; i < BL_COUNT(all); i++) bl_free(all[i]);
    for (int i = 0; i < BL_MAX_PARTS; i++) bl_free(r->part[i]);
}

static bool is_lq(const bl_format *f) { return f->kind == BL_FMT_CODES && f->codes == BL_CODES_LQ; }

static bl_status room_new(const bl_split_job *j, room *r, bl_err *e)
{
    const bl_split_of *x = j->of;
    const int64_t n = x->out * x->in, width = x->rank ? bl_factor_width(x->out, x->in, x->rank) : 0;
    const struct {
        float **at;
        int64_t n;
    } all[] = {{&r->q, n},
               {&r->res, x->rank ? n : 0},
               {&r->left, n},
               {&r->basis, width * x->in},
               {&r->a, x->rank * x->in},
               {&r->b, x->out * x->rank}};
    bl_part_spec spec[BL_MAX_PARTS];
    const int parts = j->format->parts(j->format, &j->shape, spec);
    for (size_t i = 0; i < BL_COUNT(all); i++)
        if (!(*all[i].at = bl_new((size_t)all[i].n + BEHIND, sizeof(float), e))) return BL_E_NOMEM;
    for (int i = 0; i < parts && !is_lq(j->format); i++)
        if (!(r->part[i] = bl_new((size_t)(spec[i].rows * spec[i].cols), bl_dtype_bytes(spec[i].dtype), e)))
            return BL_E_NOMEM;
    return BL_OK;
}

/* The sum of f (a - b)^2, in eight chains. */
static double lost(const float *a, const float *b, const float *f, int64_t n)
{
    double sum[8] = {0};
    for (int64_t i = 0; i < n / 8 * 8; i += 8)
        for (int c = 0; c < 8; c++) {
            const double d = (double)a[i + c] - b[i + c];
            sum[c] += (f ? (double)f[i + c] : 1) * d * d;
        }
    for (int64_t i = n / 8 * 8; i < n; i++) {
        const double d = (double)a[i] - b[i];
        sum[i % 8] += (f ? (double)f[i] : 1) * d * d;
    }
    return bl_tree8d(sum);
}

/* What the format keeps of r->left into r->q; the squared error that is left. */
static bl_status keep(const bl_split_job *j, room *r, double *cost, bl_err *e)
{
    const bl_split_of *x = j->of;
    bl_status st = BL_OK;
    double sum = 0;
    if (is_lq(j->format)) BL_TRY(bl_lq_kept(j->format, &j->shape, r->left, r->q, e));
    else {
        BL_TRY(j->format->check(j->format, &j->shape, e));
        BL_TRY(j->format->pack(j->format, &j->shape, r->left, r->part, e));
        for (int64_t i = 0; i < x->out; i++)
            j->format->unpack(j->format, &j->shape, (const void *const *)r->part, i, 0, x->in, r->q + i * x->in);
    }
    for (int64_t i = 0; i < x->out; i++) {
        const float *f = x->importance ? x->importance + i * x->in : NULL;
        sum += lost(r->left + i * x->in, r->q + i * x->in, f, x->in);
    }
    *cost = sum;
out:
    return st;
}

static void give(const bl_split_job *j, const room *r)
{
    const bl_split_of *x = j->of;
    if (j->a && x->rank) memcpy(j->a, r->a, (size_t)(x->rank * x->in) * sizeof *r->a);
    if (j->b && x->rank) memcpy(j->b, r->b, (size_t)(x->out * x->rank) * sizeof *r->b);
    if (j->left) memcpy(j->left, r->left, (size_t)(x->out * x->in) * sizeof *r->left);
}

static bl_status run(bl_backend *cpu, bl_split_job *j, bl_err *e)
{
    const bl_split_of *x = j->of;
    const int64_t n = x->out * x->in;
    const int rounds = x->rank ? j->rounds : 1;
    bl_status st = BL_OK;
    room r = {0};
    double cost;

    BL_TRY(room_new(j, &r, e));
    if (x->rank) {
        memcpy(r.basis, x->basis, (size_t)(bl_factor_width(x->out, x->in, x->rank) * x->in) * sizeof *r.basis);
        memcpy(r.a, x->a, (size_t)(x->rank * x->in) * sizeof *r.a);
        memcpy(r.b, x->b, (size_t)(x->out * x->rank) * sizeof *r.b);
    }
    j->cost = INFINITY;
    for (j->made = 0; j->made < rounds;) {
        if (j->made) {
            for (int64_t i = 0; i < n; i++) r.res[i] = x->w[i] - r.q[i];
            BL_TRY(decompose(cpu, x, r.res, 1, r.basis, r.a, r.b, e));
        }
        memcpy(r.left, x->w, (size_t)n * sizeof *r.left);
        if (x->rank) {
            for (int64_t i = 0; i < x->out * x->rank; i++) r.b[i] = -r.b[i];
            st = bl_factor_product(cpu, r.b, r.a, x->out, x->rank, x->in, true, true, r.left, e);
            for (int64_t i = 0; i < x->out * x->rank; i++) r.b[i] = -r.b[i];
            if (st != BL_OK) goto out;
        }
        BL_TRY(keep(j, &r, &cost, e));
        if (j->error) j->error[j->made] = sqrt(cost);
        j->made++;
        if (cost > j->cost) break;
        j->cost = cost;
        give(j, &r);
    }
out:
    room_free(&r);
    return st;
}

bl_status bl_split_all(bl_split_job *job, size_t n, bl_err *e)
{
    const int threads = openblas_get_num_threads();
    bool alone = n == 1;
    size_t bad = n, teams = 0;
    bl_status st = BL_OK;
    bl_backend **cpu = NULL;
    for (size_t i = 0; i < n; i++) alone |= job[i].of->exact; /* sets OpenBLAS's threads itself */
    const size_t wanted = alone ? 1 : BL_MIN(n, (size_t)omp_get_max_threads());
    openblas_set_num_threads(1);
    if (!(cpu = bl_new(wanted, sizeof *cpu, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (; teams < wanted; teams++)
        BL_TRY(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = alone ? 0 : 1}, &cpu[teams], e));
#pragma omp parallel for schedule(dynamic) reduction(min : bad) num_threads((int)wanted) if (!alone)
    for (size_t k = 0; k < n; k++) { /* the last ones of a block are the largest */
        const size_t i = n - 1 - k;
        if (run(cpu[omp_get_thread_num()], &job[i], NULL) != BL_OK) bad = BL_MIN(bad, i);
    }
    if (bad < n) st = run(cpu[0], &job[bad], e); /* its sentence */
out:
    for (size_t i = 0; i < teams; i++) bl_backend_close(cpu[i]);
    bl_free(cpu);
    openblas_set_num_threads(threads);
    return st;
}
