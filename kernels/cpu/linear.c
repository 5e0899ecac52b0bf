/* linear.c - the linear op: for every weight the cheapest kernel row that can do it, and together what reads x the same
 * way. */
#include "avx2.h"
#include "kernels/dense.h"
#include <omp.h>

/* The weights one after another, each with the input made ready for it alone. */
static bl_status one_by_one(bl_backend *be, const bl_linear_args *a, const bl_kernel_family *const k[], bl_err *e)
{
    bl_status st = BL_OK;
    for (int i = 0; i < bl_linear_weights(a); i++) {
        bl_linear_args one = *a;
        one.w[0] = a->w[i];
        one.w[1] = NULL;
        one.bias[0] = a->bias[i];
        one.y[0] = a->y[i];
        BL_TRY(k[i]->run(k[i], be, &one, e));
    }
out:
    return st;
}

#if defined(BL_HAVE_X86)
/* All by families that share the staged input: all in floats, or all in integers of equal segments. */
static bool share(const bl_linear_args *a, const bl_kernel_family *const k[], int n)
{
    const bl_cpu_product *first = k[0]->own;
    for (int i = 0; i < n; i++) {
        const bl_cpu_product *p = k[i]->own;
        if (!p || !first || !p->plan != !first->plan) return false;
        if (p->plan) continue;
        bl_icodes one, all;
        bl_icodes_of(&a->act, a->w[i], &one);
        bl_icodes_of(&a->act, a->w[0], &all);
        if (one.seg != all.seg || one.pad != all.pad) return false;
    }
    return true;
}
#endif

/* The cheapest family of each weight; there is one: plain C takes everything. */
static void pick(const bl_backend *be, const bl_linear_args *a, bl_picked *p)
{
    for (int i = 0; i < bl_linear_weights(a); i++) p->family[i] = bl_kernel_pick(be, a, a->w[i])->family;
#if defined(BL_HAVE_X86)
    p->shared = share(a, p->family, bl_linear_weights(a));
#endif
}

/* That, remembered for products of x as it comes; else in `own`. */
static const bl_picked *picked(const bl_backend *be, const bl_linear_args *a, bl_picked *own)
{
    bl_cpu *c = be->own;
    uint64_t at = (uint64_t)a->x.dim[0];
    memset(own, 0, sizeof *own); /* with what is between the fields */
    if (a->n_t || a->n_s || a->n_adapters || a->transpose) {
        pick(be, a, own);
        return own;
    }
    for (int i = 0; i < bl_linear_weights(a); i++) {
        own->w[i].format = a->w[i]->format;
        own->w[i].shape = a->w[i]->shape;
        own->w[i].layout = a->w[i]->layout;
        at += (uint64_t)(a->w[i]->shape.out / 16 * 7 + a->w[i]->shape.in / 32 * 3);
    }
    own->act = a->act;
    own->rows = a->x.dim[0];
    own->wide = a->x.dim[1];
    bl_picked *p = &c->picked[at % BL_CPU_PICKED];
    if (p->family[0] && memcmp(p, own, offsetof(bl_picked, family)) == 0) return p;
    pick(be, a, own);
    memcpy(p, own, sizeof *p);
    return p;
}

#if defined(BL_HAVE_X86)
/* Where rows are quantized for integers, each for itself, what comes before is done on the way. */
bool bl_cpu_prepares(const bl_backend *be, const bl_linear_args *a)
{
    bl_picked own;
    if (!a->act.bits || a->act.unit == BL_ACT_TENSOR || a->n_t || a->n_s || a->n_adapters || a->transpose) return false;
    const bl_picked *p = picked(be, a, &own);
    return p->shared && !((const bl_cpu_product *)p->family[0]->own)->plan;
}
#endif

static bl_status product(bl_backend *be, const bl_linear_args *a, bl_err *e)
{
    bl_picked own;
    const bl_picked *p = picked(be, a, &own);
#if defined(BL_HAVE_X86)
    if (p->shared) return bl_products(be, a, p->family, e);
#endif
    return one_by_one(be, a, p->family, e);
}

/* y += scale (x At) Bt as two products, v room for one of them: the bits of plain C, of which each output is one chain.
 */
static bl_status add_adapters(bl_backend *be, const bl_linear_args *a, bl_tensor v, bl_err *e)
{
    const int64_t n = v.dim[0], out = v.dim[1];
    bl_status st = BL_OK;
    bl_buffer *b = NULL;
    for (int i = 0; i < a->n_adapters; i++) {
        const bl_lowrank *l = &a->adapter[i];
        const bl_weight wa = bl_weight_of(l->a), wb = bl_weight_of(l->b);
        BL_TRY(bl_cpu_buffer_new(be, (uint64_t)(n * l->a.dim[0]) * sizeof(float), &b, e));
        const bl_tensor low = bl_tensor_2d(b, 0, BL_F32, n, l->a.dim[0]);
        BL_TRY(product(be, &(bl_linear_args){.x = a->x, .w = {&wa}, .y = {low}}, e));
        BL_TRY(product(be, &(bl_linear_args){.x = low, .w = {&wb}, .y = {v}}, e));
        bl_cpu_buffer_free(b);
        b = NULL;
#pragma omp parallel for schedule(static) num_threads(bl_cpu_threads(be, (double)(n * out)))
        for (int64_t r = 0; r < n; r++) {
            const float *from = bl_cpu_row(&v, r);
            float *y = bl_cpu_row(&a->y[0], r);
            for (int64_t o = 0; o < out; o++) y[o] += l->scale * from[o];
        }
    }
out:
    bl_cpu_buffer_free(b);
    return st;
}

/* Rows of a product without bias and adapters, transformed into y, and what is added to them. */
static bl_status turn_rows(bl_backend *be, const bl_linear_args *a, bl_tensor v, bl_err *e)
{
    const bl_linear_args turn = {.x = v, .t = a->s, .n_t = a->n_s};
    const float *bias = bl_cpu_at(&a->bias[0]);
    int threads = bl_cpu_threads(be, 8 * (double)bl_tensor_count(&v));
    int64_t out = v.dim[1], wide = bl_cpu_transform_width(&turn);
    float *space = bl_new((size_t)(threads * 2 * wide), sizeof *space, e);
    if (!space) return BL_E_NOMEM;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t r = 0; r < v.dim[0]; r++) {
        float *u = space + omp_get_thread_num() * 2 * wide, *y = bl_cpu_row(&a->y[0], r);
        bl_cpu_transform(&turn, bl_cpu_row(&v, r), u, u + wide);
        for (int64_t i = 0; i < out; i++) {
            float sum = bias ? u[i] + bias[i] : u[i];
            y[i] = a->accumulate ? y[i] + sum : sum;
        }
    }
    bl_free(space);
    return add_adapters(be, a, v, e);
}

/* With transforms of the output: some rows at a time, so that what is between fits a cache. */
static bl_status turned(bl_backend *be, const bl_linear_args *a, bl_err *e)
{
    enum { ROWS = 256 };
    bl_status st = BL_OK;
    bool together = a->act.bits && a->act.unit == BL_ACT_TENSOR && a->act.scale == 0; /* one range for all rows */
    int64_t rows = a->x.dim[0], out = a->w[0]->shape.out, most = together ? rows : BL_MIN(rows, ROWS);
    bl_buffer *b = NULL;
    BL_TRY(bl_cpu_buffer_new(be, (uint64_t)(most * out) * sizeof(float), &b, e));
    for (int64_t r = 0, n; r < rows; r += n) {
        n = BL_MIN(rows - r, most);
        bl_linear_args plain = *a, part = *a;
        bl_tensor v = bl_tensor_2d(b, 0, BL_F32, n, out);
        part.x = plain.x = bl_tensor_rows(a->x, r, n);
        part.y[0] = bl_tensor_rows(a->y[0], r, n);
        plain.y[0] = v;
        plain.bias[0] = (bl_tensor){0};
        plain.n_adapters = plain.n_s = 0;
        plain.accumulate = false;
        BL_TRY(product(be, &plain, e));
        BL_TRY(turn_rows(be, &part, v, e));
    }
out:
    bl_cpu_buffer_free(b);
    return st;
}

bl_status bl_cpu_linear(bl_backend *be, const bl_linear_args *a, bl_err *e)
{
    bl_status st = bl_check_linear(be, a, e);
    if (st != BL_OK || a->x.dim[0] == 0) return st;
    bl_count_products(be, a);
    return a->n_s ? turned(be, a, e) : product(be, a, e);
}
