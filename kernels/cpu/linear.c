/* linear.c - the linear op on all threads: stages rows of x where they are transformed, quantized or not whole vectors,
 * and hands out the tasks of the products. Nothing of a weight outlives a task, and what a thread holds is its scratch
 * and the stage. Several weights of one input read the same stage.
 */
#include "avx2.h"
#if defined(__x86_64__)
#include <omp.h>

typedef struct job {
    bl_backend *be;
    const bl_linear_args *a;
    int n_w;
    bl_source w[BL_LINEAR_MOST], low_a, low_b;
    bool staged, integer;         /* x goes through the stage; the products are in integers */
    float scale, zero;            /* of the tensor */
    int64_t in;                   /* of the weights */
    int64_t in8, raw8, rank8, xi; /* widths in the stage: x, x for the adapter, its inner product; codes */
    int64_t rows;                 /* rows that fit the stage */
    float *x, *raw, *low, *sx;
    int16_t *codes;
} job;

static int64_t up8(int64_t n) { return (n + 7) / 8 * 8; }

/* Lays out the stage; false: not even one row fits. */
static bool lay_out(job *j)
{
    const bl_linear_args *a = j->a;
    bl_cpu *c = j->be->own;
    j->in8 = j->staged && !j->integer ? up8(j->in) : 0;
    j->raw8 = a->adapter && a->x.dim[1] % 8 ? up8(a->x.dim[1]) : 0;
    j->rank8 = a->adapter ? up8(a->adapter->a.dim[0]) : 0;
    j->xi = j->integer ? bl_igemm_width(&a->w[0]->shape) : 0;
    int64_t row = 4 * (j->in8 + j->raw8 + j->rank8) + 2 * j->xi + (j->integer ? 4 : 0);
    j->rows = row ? (BL_CPU_STAGE - 64) / row : INT64_MAX;
    if (j->rows < 1) return false;
    if (!row) return true;
    if (j->rows > 3) j->rows = j->rows / 3 * 3;
    j->x = c->stage;
    j->raw = j->x + j->rows * j->in8;
    j->low = j->raw + j->rows * j->raw8;
    j->codes = (int16_t *)(j->low + j->rows * j->rank8);
    j->sx = (float *)(j->codes + j->rows * j->xi);
    return true;
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
    if (a->n_t) {
        bl_cpu_transform(a, x, scratch, tmp);
        x = scratch;
    }
    if (j->integer) {
        bl_igemm_row(x, &a->w[0]->shape, &a->act, j->scale, j->zero, j->codes + i * j->xi, &j->sx[i]);
    } else {
        pad_copy(j->x + i * j->in8, x, in);
        if (a->act.bits) bl_cpu_act_simulate(j->x + i * j->in8, in, &a->act, j->scale, j->zero);
    }
}

static void plan(const job *j, bl_gemm *g, int64_t rows)
{
    const bl_cpu *c = j->be->own;
    (c->isa >= BL_ISA_AVX512 && rows > 2 ? bl_gemm512_plan : bl_gemm_plan)(g, rows);
}

static void run_gemm(const bl_gemm *g, void *scratch)
{
#pragma omp for schedule(dynamic, 1)
    for (int64_t t = 0; t < g->blocks * g->chunks; t++) g->task(g, t, scratch);
}

/* Rows row0 .. row0+n. */
static void run_rows(job *j, int64_t row0, int64_t n, int threads)
{
    const bl_linear_args *a = j->a;
    bl_cpu *c = j->be->own;
    bl_put put = a->accumulate ? BL_PUT_ADD : BL_PUT;
    bl_gemm g[BL_LINEAR_MOST], la, lb;
    bl_igemm ig[BL_LINEAR_MOST];
    for (int i = 0; i < j->n_w; i++) {
        float *y = bl_cpu_row(&a->y[i], row0);
        const float *bias = bl_cpu_at(&a->bias[i]);
        if (j->integer) {
            ig[i] = (bl_igemm){.w = &j->w[i],
                               .x = j->codes,
                               .ldx = j->xi,
                               .sx = j->sx,
                               .y = y,
                               .ldy = a->y[i].stride[0],
                               .bias = bias,
                               .put = put,
                               .rows = n};
            (c->isa >= BL_ISA_AVX512 ? bl_igemm512_plan : bl_igemm_plan)(&ig[i]);
            continue;
        }
        g[i] = (bl_gemm){.v = {.w = &j->w[i],
                               .x = j->staged ? j->x : bl_cpu_row(&a->x, row0),
                               .ldx = j->staged ? j->in8 : a->x.stride[0],
                               .y = y,
                               .ldy = a->y[i].stride[0],
                               .bias = bias,
                               .put = put}};
        plan(j, &g[i], n);
    }
    if (a->adapter) {
        la = (bl_gemm){.v = {.w = &j->low_a,
                             .x = j->raw8 ? j->raw : bl_cpu_row(&a->x, row0),
                             .ldx = j->raw8 ? j->raw8 : a->x.stride[0],
                             .y = j->low,
                             .ldy = j->rank8,
                             .put = BL_PUT}};
        lb = (bl_gemm){.v = {.w = &j->low_b,
                             .x = j->low,
                             .ldx = j->rank8,
                             .y = bl_cpu_row(&a->y[0], row0),
                             .ldy = a->y[0].stride[0],
                             .put = BL_PUT_ADD_SCALED,
                             .scale = a->adapter->scale}};
        plan(j, &la, n);
        plan(j, &lb, n);
        memset(j->low, 0, (size_t)(n * j->rank8) * sizeof *j->low);
    }

#pragma omp parallel num_threads(threads)
    {
        void *scratch = c->scratch[omp_get_thread_num()];
        if (j->staged || j->raw8) {
#pragma omp for schedule(static)
            for (int64_t i = 0; i < n; i++) stage_row(j, row0 + i, i, scratch);
        }
        for (int i = 0; i < j->n_w; i++) {
            if (!j->integer) {
                run_gemm(&g[i], scratch);
                continue;
            }
#pragma omp for schedule(dynamic, 1)
            for (int64_t t = 0; t < ig[i].chunks; t++) ig[i].task(&ig[i], t, scratch);
        }
        if (a->adapter) {
            run_gemm(&la, scratch);
            run_gemm(&lb, scratch);
        }
    }
}

/* Some weights multiply in integers and others do not: each has a stage of its own. */
static bl_status one_by_one(bl_backend *be, const bl_linear_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    for (int i = 0; i < bl_linear_weights(a); i++) {
        bl_linear_args one = *a;
        one.w[0] = a->w[i];
        one.w[1] = NULL;
        one.bias[0] = a->bias[i];
        one.y[0] = a->y[i];
        BL_TRY(bl_fast_linear(be, &one, e));
    }
out:
    return st;
}

bl_status bl_fast_linear(bl_backend *be, const bl_linear_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cpu *c = be->own;
    job j = {.be = be, .a = a, .n_w = bl_linear_weights(a)};
    double outputs = 0;
    BL_TRY(bl_check_linear(be, a, e));
    if (a->transpose) return bl_ref_linear(be, a, e);
    j.in = a->w[0]->shape.in;
    j.integer = bl_cpu_integer_weight(&a->act, a->w[0]);
    for (int i = 1; i < j.n_w; i++)
        if (bl_cpu_integer_weight(&a->act, a->w[i]) != j.integer) return one_by_one(be, a, e);
    j.staged = j.integer || a->n_t || a->act.bits || j.in % 8;
    j.scale = a->act.scale;
    j.zero = a->act.zero;
    if (!lay_out(&j) || (j.staged && (j.in + bl_cpu_transform_width(a)) * 4 > BL_CPU_SCRATCH))
        return bl_ref_linear(be, a, e);

    for (int i = 0; i < j.n_w; i++) {
        bl_cpu_count_rows(be, a->x.dim[0]);
        outputs += (double)a->w[i]->shape.out;
        bl_source_of(a->w[i], &j.w[i]);
        if (c->isa >= BL_ISA_AVX512) bl_source_512(&j.w[i]);
    }
    if (a->adapter) {
        bl_source_f32(&a->adapter->a, &j.low_a);
        bl_source_f32(&a->adapter->b, &j.low_b);
    }
    if (a->act.bits && a->act.unit == BL_ACT_TENSOR && a->act.scale == 0)
        bl_cpu_act_tensor(a, c->scratch[0], (float *)c->scratch[0] + j.in, &j.scale, &j.zero);
    for (int64_t r = 0, n; r < a->x.dim[0]; r += n) {
        n = BL_MIN(a->x.dim[0] - r, j.rows);
        run_rows(&j, r, n, bl_cpu_threads(be, (double)n * outputs * (double)j.in));
    }
out:
    return st;
}
#endif
