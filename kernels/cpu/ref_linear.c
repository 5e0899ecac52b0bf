/* ref_linear.c - y = A(T x) Wt + bias + adapters, and y = x W, as the formulas say, for any format. Threads share the
 * outputs; each has a lane of space of its own. */
#include "blocks.h"
#include "kernels/kernel.h"
#include <omp.h>

/* 8 interleaved chains over k; the tail counts as zeros. */
static float dot(const float *x, const float *w, int64_t n)
{
    float acc[8] = {0};
    int64_t k = 0;
    for (; k + 8 <= n; k += 8)
        for (int j = 0; j < 8; j++) acc[j] = fmaf(x[k + j], w[k + j], acc[j]);
    for (int j = 0; k < n && j < 8; j++) acc[j] = k + j < n ? fmaf(x[k + j], w[k + j], acc[j]) : fmaf(0, 0, acc[j]);
    return bl_tree8(acc);
}

/* One output of an integer product: x[k] = code - zero of the input, w[k] = code - zero of the weight, scales of the
 * groups of the weight and, where they have their own (sx), of those of x. A segment is one exact sum; where groups
 * have a minimum to subtract, another is that of its x. */
static float dot_integer(const bl_shape *g, const bl_actq *q, const int16_t *x, const int16_t *w, const float *scale,
                         const float *least, const float *sx)
{
    float acc = 0;
    int64_t seg = bl_cpu_segment(q, g);
    for (int64_t at = 0; at < g->in; at += seg) {
        int32_t sum = 0, of_x = 0;
        for (int64_t k = at; k < BL_MIN(at + seg, g->in); k++) {
            sum += x[k] * w[k];
            of_x += x[k];
        }
        float s = scale[at / g->group];
        acc = fmaf((float)sum, sx ? s * sx[at / q->group] : s, acc);
        if (!least) continue;
        s = least[at / g->group];
        acc = fmaf((float)of_x, -(sx ? s * sx[at / q->group] : s), acc);
    }
    return acc;
}

typedef struct lane {                      /* of one thread */
    float *w, *scale, *zero, *least, *low; /* [in], [groups] x 3, [r] */
    uint8_t *codes;                        /* [in] */
    int16_t *wi;                           /* [in] */
} lane;
typedef struct space {
    float *x, *tmp;  /* [widest] x 2 */
    int16_t *xi;     /* [rows, in] */
    float *all, *sx; /* [rows, in]; [rows], or [rows, in] of groups */
    lane *own;
    int threads;
} space;

static void free_space(space *s)
{
    for (int i = 0; s->own && i < s->threads; i++) {
        lane *l = &s->own[i];
        bl_free(l->w);
        bl_free(l->scale);
        bl_free(l->zero);
        bl_free(l->least);
        bl_free(l->low);
        bl_free(l->codes);
        bl_free(l->wi);
    }
    bl_free(s->x);
    bl_free(s->tmp);
    bl_free(s->xi);
    bl_free(s->all);
    bl_free(s->sx);
    bl_free(s->own);
}

static bl_status new_space(const bl_linear_args *a, space *s, bl_err *e)
{
    size_t in = (size_t)a->w[0]->shape.in, rows = (size_t)a->x.dim[0], wide = (size_t)bl_cpu_transform_width(a);
    size_t groups = 0, rank = 0;
    for (int i = 0; i < a->n_adapters; i++) rank = BL_MAX(rank, (size_t)a->adapter[i].a.dim[0]);
    for (int i = 0; i < bl_linear_weights(a); i++) {
        const bl_shape g = bl_cpu_integer_shape(a->w[i]);
        groups = BL_MAX(groups, (size_t)bl_shape_groups(&g));
    }
    if (!(s->x = bl_new(wide, sizeof *s->x, e)) || !(s->tmp = bl_new(wide, sizeof *s->tmp, e)) ||
        !(s->xi = bl_new(rows * in, sizeof *s->xi, e)) || !(s->all = bl_new(rows * in, sizeof *s->all, e)) ||
        !(s->sx = bl_new(rows * in, sizeof *s->sx, e)) || !(s->own = bl_new((size_t)s->threads, sizeof *s->own, e)))
        return BL_E_NOMEM;
    for (int i = 0; i < s->threads; i++) {
        lane *l = &s->own[i];
        if (!(l->w = bl_new(in, sizeof *l->w, e)) || !(l->scale = bl_new(groups, sizeof *l->scale, e)) ||
            !(l->zero = bl_new(groups, sizeof *l->zero, e)) || !(l->least = bl_new(groups, sizeof *l->least, e)) ||
            !(l->low = bl_new(rank, sizeof *l->low, e)) || !(l->codes = bl_new(in, sizeof *l->codes, e)) ||
            !(l->wi = bl_new(in, sizeof *l->wi, e)))
            return BL_E_NOMEM;
    }
    return BL_OK;
}

/* A(T x) for all rows: floats into s->all, and for an integer product codes less zeros into s->xi. */
static void inputs(const bl_linear_args *a, space *s)
{
    int64_t in = a->w[0]->shape.in;
    bool blocked = a->act.unit == BL_ACT_GROUP;
    float scale = a->act.scale, zero = a->act.zero, lo = 0, hi = 0;
    if (a->act.bits) bl_cpu_act_limits(&a->act, &lo, &hi);
    if (a->act.bits && a->act.unit == BL_ACT_TENSOR && scale == 0) bl_cpu_act_tensor(a, s->x, s->tmp, &scale, &zero);
    for (int64_t r = 0; r < a->x.dim[0]; r++) {
        float *x = s->all + r * in;
        bl_cpu_transform(a, bl_cpu_row(&a->x, r), s->x, s->tmp);
        memcpy(x, s->x, (size_t)in * sizeof *x);
        if (!a->act.bits) continue;
        if (bl_act_is_float(a->act.unit)) {
            bl_cpu_act_simulate(x, in, &a->act, 0, 0);
            continue;
        }
        float *sx = blocked ? s->sx + r * in : s->sx + r;
        if (a->act.unit == BL_ACT_TOKEN) bl_cpu_act_range(x, in, &a->act, &scale, &zero);
        if (!blocked) *sx = bl_cpu_has_nan(x, in) ? NAN : scale;
        for (int64_t k = 0; k < in; k++) {
            if (blocked && k % a->act.group == 0) {
                bl_cpu_act_range(x + k, BL_MIN(in - k, a->act.group), &a->act, &scale, &zero);
                sx[k / a->act.group] = scale;
            }
            bool nan = isnan(blocked ? scale : *sx);
            s->xi[r * in + k] = nan ? 0 : (int16_t)(bl_cpu_act_code(x[k], scale, zero, lo, hi) - zero);
        }
        bl_cpu_act_simulate(x, in, &a->act, scale, zero);
    }
}

static void put(float *y, float v, bool accumulate) { *y = accumulate ? *y + v : v; }

static void product(const bl_linear_args *a, int i, const space *s)
{
    const bl_format *f = a->w[i]->format;
    const bl_shape shape = bl_cpu_integer_shape(a->w[i]), *g = &shape;
    const bl_blocks *blocks = bl_blocks_of(f);
    const float *bias = bl_cpu_at(&a->bias[i]);
    bool integer = bl_cpu_integer_weight(&a->act, a->w[i]), blocked = a->act.unit == BL_ACT_GROUP;
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (int64_t o = 0; o < g->out; o++) {
        const lane *l = &s->own[omp_get_thread_num()];
        if (integer) {
            bl_cpu_int_decode(a->w[i], o, l->codes, l->scale, l->zero, l->least);
            for (int64_t k = 0; k < g->in; k++)
                l->wi[k] = (int16_t)(f->bits == 1 ? 2 * l->codes[k] - 1 : l->codes[k] - (int)l->zero[k / g->group]);
        } else {
            bl_cpu_unpack(a->w[i], o, 0, g->in, l->w);
        }
        for (int64_t r = 0; r < a->x.dim[0]; r++) {
            const int16_t *xi = s->xi + r * g->in;
            const float *least = blocks && blocks->least ? l->least : NULL;
            float v = !integer  ? dot(s->all + r * g->in, l->w, g->in)
                      : blocked ? dot_integer(g, &a->act, xi, l->wi, l->scale, least, s->sx + r * g->in)
                                : dot_integer(g, &a->act, xi, l->wi, l->scale, least, NULL) * s->sx[r];
            put(bl_cpu_row(&a->y[i], r) + o, bias ? v + bias[o] : v, a->accumulate);
        }
    }
}

/* y += scale * (x At) Bt, from x as it came in */
static void adapter(const bl_linear_args *a, const bl_lowrank *l, const space *s)
{
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (int64_t r = 0; r < a->x.dim[0]; r++) {
        float *low = s->own[omp_get_thread_num()].low;
        for (int64_t i = 0; i < l->a.dim[0]; i++) low[i] = dot(bl_cpu_row(&a->x, r), bl_cpu_row(&l->a, i), a->x.dim[1]);
        for (int64_t o = 0; o < a->w[0]->shape.out; o++)
            bl_cpu_row(&a->y[0], r)[o] += l->scale * dot(low, bl_cpu_row(&l->b, o), l->a.dim[0]);
    }
}

/* y = x W. Threads share the inputs of the weight in runs; per row of x, 8 chains over its outputs wait side by side:
 * acc[j][k] takes the outputs o with o % 8 == j. */
static bl_status transposed(bl_backend *be, const bl_linear_args *a, bl_err *e)
{
    enum { RUN = 64 }; /* inputs; formats may be unpacked from multiples of 32 on */
    const bl_weight *w = a->w[0];
    const bl_shape *g = &w->shape;
    int64_t rows = a->x.dim[0], runs = (g->in + RUN - 1) / RUN;
    int threads = bl_cpu_threads(be, (double)rows * (double)g->out * (double)g->in);
    float *all = bl_new((size_t)(threads * rows), sizeof *all * 8 * RUN, e);
    if (!all) return BL_E_NOMEM;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < runs; i++) {
        int64_t k0 = i * RUN, n = BL_MIN(g->in - k0, RUN);
        float *acc = all + omp_get_thread_num() * rows * 8 * RUN, v[RUN]; /* acc [rows][8][RUN] */
        memset(acc, 0, (size_t)(rows * 8 * RUN) * sizeof *acc);
        for (int64_t o = 0; o < g->out; o++) {
            bl_cpu_unpack(w, o, k0, n, v);
            for (int64_t r = 0; r < rows; r++) {
                float x = bl_cpu_row(&a->x, r)[o], *to = acc + (r * 8 + o % 8) * RUN;
                for (int64_t k = 0; k < n; k++) to[k] = fmaf(x, v[k], to[k]);
            }
        }
        for (int64_t r = 0; r < rows; r++)
            for (int64_t k = 0; k < n; k++) {
                float lane[8];
                for (int j = 0; j < 8; j++) lane[j] = acc[(r * 8 + j) * RUN + k];
                put(bl_cpu_row(&a->y[0], r) + k0 + k, bl_tree8(lane), a->accumulate);
            }
    }
    bl_free(all);
    return BL_OK;
}

static bl_status run(const bl_kernel_family *k, bl_backend *be, const bl_linear_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    space s = {0};
    double outputs = 0;
    (void)k;
    if (a->transpose) return transposed(be, a, e);
    for (int i = 0; i < bl_linear_weights(a); i++) outputs += (double)a->w[i]->shape.out;
    s.threads = bl_cpu_threads(be, (double)a->x.dim[0] * outputs * (double)a->w[0]->shape.in);
    BL_TRY(new_space(a, &s, e));
    inputs(a, &s);
    for (int i = 0; i < bl_linear_weights(a); i++) product(a, i, &s);
    for (int i = 0; i < a->n_adapters; i++) adapter(a, &a->adapter[i], &s);
out:
    free_space(&s);
    return st;
}

static bool applicable(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    (void)be;
    (void)a;
    (void)w;
    return true;
}

const bl_kernel_family bl_family_linear_ref = {
    .op = "linear",
    .backend = "cpu",
    .doc = "plain C",
    .any = true,
    .bitwise = true,
    .nmse_limit = 1e-11,
    .decode_ns = 5,
    .product_ns = 5,
    .most = 1 << 23, /* some tens of milliseconds */
    .applicable = applicable,
    .run = run,
};
