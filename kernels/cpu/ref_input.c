/* ref_input.c - what happens to a row of x before a product: transforms, and quantized activations. */
#include "lanes.h"
#include <omp.h>

/* y = x, but y[to] the sum of x[from] / by of the n rows (to, from, by) that say so. */
static void reassemble(const int32_t *row, int64_t n, int64_t in, const float *x, float *y)
{
    memcpy(y, x, (size_t)in * sizeof *y);
    for (int64_t k = 0; k < n; k++, row += 3) {
        const float part = x[row[1]] / (float)row[2];
        y[row[0]] = k && row[-3] == row[0] ? y[row[0]] + part : part;
    }
}
static void reassemble_back(const int32_t *row, int64_t n, int64_t in, const float *dy, float *dx)
{
    memcpy(dx, dy, (size_t)in * sizeof *dx);
    for (int64_t k = 0; k < n; k++) dx[row[3 * k]] = 0;
    for (int64_t k = 0; k < n; k++, row += 3) dx[row[1]] += dy[row[0]] / (float)row[2];
}

static void apply(const bl_transform *t, const float *x, float *y)
{
    const float *f = bl_cpu_at(&t->data);
    const int32_t *from = bl_cpu_at(&t->data);
    switch (t->kind) {
    case BL_T_SCALE:
        for (int64_t i = 0; i < t->in; i++) y[i] = x[i] * f[i];
        break;
    case BL_T_PERMUTE:
        if (t->data.ndim == 2) reassemble(from, t->data.dim[0], t->in, x, y);
        else
            for (int64_t i = 0; i < t->out; i++) y[i] = x[from[i]];
        break;
    case BL_T_HADAMARD: {
        int64_t b = f ? bl_tensor_count(&t->data) : t->in;
        for (int64_t i = 0; i < t->in; i++) y[i] = f ? x[i] * f[i % b] : x[i];
        for (int64_t i = 0; i < t->in; i += b) bl_cpu_hadamard_row(y + i, b, false);
        break;
    }
    case BL_T_ROTATE: {
        int64_t b = t->data.dim[1];
        for (int64_t i = 0; i < t->in; i++) { /* y = x R, block by block */
            const float *block = f + i / b * b * b, *xb = x + i / b * b;
            float acc = 0;
            for (int64_t k = 0; k < b; k++) acc = fmaf(xb[k], block[k * b + i % b], acc);
            y[i] = acc;
        }
        break;
    }
    }
}

static void apply_back(const bl_transform *t, const float *dy, float *dx)
{
    const float *f = bl_cpu_at(&t->data);
    const int32_t *from = bl_cpu_at(&t->data);
    switch (t->kind) {
    case BL_T_SCALE:
        for (int64_t i = 0; i < t->in; i++) dx[i] = dy[i] * f[i];
        break;
    case BL_T_PERMUTE: /* an input may be taken more than once, or never */
        if (t->data.ndim == 2) {
            reassemble_back(from, t->data.dim[0], t->in, dy, dx);
            break;
        }
        memset(dx, 0, (size_t)t->in * sizeof *dx);
        for (int64_t i = 0; i < t->out; i++) dx[from[i]] += dy[i];
        break;
    case BL_T_HADAMARD: {
        int64_t b = f ? bl_tensor_count(&t->data) : t->in;
        memcpy(dx, dy, (size_t)t->in * sizeof *dx);
        for (int64_t i = 0; i < t->in; i += b) bl_cpu_hadamard_row(dx + i, b, true);
        for (int64_t i = 0; f && i < t->in; i++) dx[i] *= f[i % b];
        break;
    }
    case BL_T_ROTATE: {
        int64_t b = t->data.dim[1];
        for (int64_t k = 0; k < t->in; k++) {
            const float *row = f + k / b * b * b + k % b * b, *yb = dy + k / b * b;
            dx[k] = 0;
            for (int64_t i = 0; i < b; i++) dx[k] = fmaf(yb[i], row[i], dx[k]);
        }
        break;
    }
    }
}

bl_status bl_cpu_transform_grad(bl_backend *be, const bl_transform_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_transform_grad(be, a, e);
    int64_t widest = a->dx.dim[1], rows = a->dy.dim[0];
    float *space;
    if (st != BL_OK) return st;
    for (int i = 0; i < a->n_t; i++) widest = BL_MAX(widest, a->t[i].in);
    int threads = bl_cpu_threads(be, 8 * (double)(rows * widest));
    if (!(space = bl_new((size_t)(2 * threads), (size_t)widest * sizeof *space, e))) return BL_E_NOMEM;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t r = 0; r < rows; r++) {
        float *own = space + 2 * widest * omp_get_thread_num(), *dx = bl_cpu_row(&a->dx, r);
        const float *d = bl_cpu_row(&a->dy, r);
        for (int i = a->n_t - 1; i >= 0; i--) {
            float *to = own + i % 2 * widest;
            apply_back(&a->t[i], d, to);
            d = to;
        }
        for (int64_t i = 0; i < a->dx.dim[1]; i++) dx[i] = a->accumulate ? dx[i] + d[i] : d[i];
    }
    bl_free(space);
    return BL_OK;
}

void bl_cpu_transform(const bl_linear_args *a, const float *x, float *dst, float *tmp)
{
    if (a->n_t == 0) {
        memcpy(dst, x, (size_t)a->x.dim[1] * sizeof *x);
        return;
    }
    for (int i = 0; i < a->n_t; i++) { /* the last one writes dst */
        float *to = (a->n_t - 1 - i) % 2 ? tmp : dst;
        apply(&a->t[i], x, to);
        x = to;
    }
}

int64_t bl_cpu_transform_width(const bl_linear_args *a)
{
    int64_t widest = a->x.dim[1];
    for (int i = 0; i < a->n_t; i++) widest = BL_MAX(widest, a->t[i].out);
    return widest;
}

void bl_cpu_act_range(const float *x, int64_t n, const bl_actq *q, float *scale, float *zero)
{
    float lo = 0, hi = 0, least, most;
    bool finite = true;
    for (int64_t i = 0; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
        finite = finite && isfinite(x[i]);
    }
    bl_cpu_act_limits(q, &least, &most);
    *scale = q->symmetric ? (hi > -lo ? hi : -lo) / most : (hi - lo) / most;
    if (!(*scale > 0)) *scale = 1;
    *zero = q->symmetric ? 0 : rintf(-lo / *scale);
    if (!finite) {
        *scale = NAN;
        *zero = 0;
    }
}

void bl_cpu_act_tensor(const bl_linear_args *a, float *row, float *tmp, float *scale, float *zero)
{
    float ends[2] = {0, 0}; /* the range of two numbers is that of all */
    for (int64_t r = 0; r < a->x.dim[0]; r++) {
        bl_cpu_transform(a, bl_cpu_row(&a->x, r), row, tmp);
        for (int64_t i = 0; i < a->w[0]->shape.in; i++) {
            if (!isfinite(row[i])) {
                *scale = NAN;
                *zero = 0;
                return;
            }
            ends[0] = fminf(ends[0], row[i]);
            ends[1] = fmaxf(ends[1], row[i]);
        }
    }
    bl_cpu_act_range(ends, 2, &a->act, scale, zero);
}

void bl_cpu_act_simulate(float *x, int64_t n, const bl_actq *q, float scale, float zero)
{
    int64_t group = q->unit == BL_ACT_GROUP ? q->group : n;
    float lo, hi;
    if (bl_act_is_float(q->unit)) {
        (q->unit == BL_ACT_FP8 ? bl_fp8_round : q->unit == BL_ACT_MXFP4 ? bl_mxfp4_round : bl_nvfp4_round)(x, n);
        return;
    }
    bl_cpu_act_limits(q, &lo, &hi);
    for (int64_t i = 0; i < n; i += group) {
        int64_t end = BL_MIN(i + group, n);
        if (q->unit != BL_ACT_TENSOR) bl_cpu_act_range(x + i, end - i, q, &scale, &zero);
        for (int64_t k = i; k < end; k++) x[k] = (bl_cpu_act_code(x[k], scale, zero, lo, hi) - zero) * scale;
    }
}

bl_shape bl_cpu_integer_shape(const bl_weight *w)
{
    const bl_format *f = w->format;
    bl_shape g = w->shape;
    bl_lanes_as(&f, &g);
    return g;
}

/* Integer products take integer weights whose zeros are in the code range (or are none) and GGUF blocks that
 * are some, whose groups are whole vectors; of the groups of weight and activations one is made of whole others. */
bool bl_cpu_integer_weight(const bl_actq *q, const bl_weight *w)
{
    enum { VECTOR = 16, MOST_IN = 32768 }; /* 255 * 255 * MOST_IN is a number of 32 bits */
    const bl_shape shape = bl_cpu_integer_shape(w), *g = &shape;
    if (!q->bits || bl_act_is_float(q->unit) || (w->format->kind != BL_FMT_INT && !bl_blocks_of(w->format)) ||
        (g->zero != BL_ZERO_NONE && g->zero != BL_ZERO_PACKED) || g->in > MOST_IN)
        return false;
    int64_t seg = bl_cpu_segment(q, g);
    if (seg % VECTOR && seg < g->in) return false;
    return q->unit != BL_ACT_GROUP || ((g->group >= g->in || g->group % seg == 0) && q->group % seg == 0);
}

int64_t bl_cpu_segment(const bl_actq *q, const bl_shape *g)
{
    return q->unit == BL_ACT_GROUP ? BL_MIN(q->group, g->group) : g->group;
}

bool bl_cpu_integer(const bl_backend *be, const bl_linear_args *a)
{
    int n = bl_linear_weights(a);
    (void)be;
    for (int i = 0; i < n; i++)
        if (!bl_cpu_integer_weight(&a->act, a->w[i])) return false;
    return n > 0;
}
