/* kernel.c - the table of kernels, which of them a product takes, and a case to run one on: random weight and input,
 * packed, judged against double sums. */
#include "dispatch.h"
#include "kernels/base/rng.h"
#include <math.h>
#include <string.h>

#define BL_FORMAT(id) extern const bl_format bl_format_##id;
#include "formats.def"
#undef BL_FORMAT

#define BL_FAMILY(family, isa) extern const bl_kernel_family bl_family_##family##_##isa;
#define BL_KERNEL(stem, family, isa, form, act)
#include "registry.def"
#undef BL_FAMILY
#undef BL_KERNEL
static const bl_kernel kernels[] = {
#define BL_FAMILY(family, isa)
#define BL_KERNEL(stem, fam, isa, form, act)                                                                           \
    {.name = #stem "_" #isa, .family = &bl_family_##fam##_##isa, .format = &bl_format_##form, .abits = act},
#include "registry.def"
#undef BL_FAMILY
#undef BL_KERNEL
};

const bl_kernel *bl_kernel_at(size_t i) { return i < BL_COUNT(kernels) ? &kernels[i] : NULL; }

const bl_kernel *bl_kernel_find(const char *name)
{
    for (size_t i = 0; i < BL_COUNT(kernels); i++)
        if (strcmp(kernels[i].name, name) == 0) return &kernels[i];
    return NULL;
}

/* ---- dispatch ---- */
double bl_kernel_cost(const bl_kernel_family *f, const bl_linear_args *a, const bl_weight *w)
{
    return 1e-9 * (double)w->shape.out * (double)w->shape.in * (f->decode_ns + f->product_ns * (double)a->x.dim[0]);
}

const bl_kernel *bl_kernel_pick(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    const bl_kernel *best = bl_dispatch_pick(be, a, w);
    if (best) return best;
    double least = INFINITY;
    for (size_t i = 0; i < BL_COUNT(kernels); i++) {
        const bl_kernel *k = &kernels[i];
        if (k->format != w->format && !k->family->any) continue;
        double cost = bl_kernel_cost(k->family, a, w);
        if (cost >= least || strcmp(k->family->backend, be->ops->name) != 0 || !k->family->applicable(be, a, w))
            continue;
        least = cost;
        best = k;
    }
    return best;
}

/* ---- a case ---- */
/* Group <= 0 is the whole row, formats without groups have none; scales are fp16. Weights of integer products are
 * symmetric. */
static bl_shape shape_of(const bl_kernel *k, const bl_kernel_shape *s)
{
    const bl_format *f = k->format;
    bl_shape g = {.out = s->out, .in = s->in, .scale = BL_F16};
    if (f->kind == BL_FMT_INT || f->kind == BL_FMT_TABLE) g.group = s->group > 0 ? s->group : s->in;
    if (f->kind == BL_FMT_INT && f->bits > 1 && !k->abits) g.zero = BL_ZERO_PACKED;
    return g;
}

/* Of tables, those of 8-bit floats are multiplied with such floats. */
static bl_actq act_of(const bl_kernel *k, const bl_kernel_shape *s)
{
    if (k->abits && k->format->kind == BL_FMT_TABLE) return (bl_actq){.bits = k->abits, .unit = BL_ACT_FP8};
    if (k->abits && s->act_group > 0)
        return (bl_actq){.bits = k->abits, .symmetric = true, .unit = BL_ACT_GROUP, .group = s->act_group};
    return (bl_actq){.bits = k->abits, .symmetric = true};
}

/* The product of a case, of tensors without data. */
static bl_linear_args outline(const bl_kernel *k, const bl_backend *be, const bl_kernel_shape *s, bl_weight *w)
{
    int64_t wide = k->family->transpose ? s->out : s->in;
    *w = (bl_weight){.format = k->format, .shape = shape_of(k, s), .layout = k->family->layout};
    return (bl_linear_args){.x = bl_tensor_2d(NULL, 0, be->act, s->rows, wide),
                            .w = {w},
                            .act = act_of(k, s),
                            .transpose = k->family->transpose};
}

bool bl_kernel_takes(const bl_kernel *k, const bl_backend *be, const bl_kernel_shape *s)
{
    bl_weight w;
    const bl_linear_args a = outline(k, be, s, &w);
    return s->rows > 0 && strcmp(k->family->backend, be->ops->name) == 0 &&
           k->format->check(k->format, &w.shape, NULL) == BL_OK &&
           (!k->family->most || bl_kernel_flops(s) <= 2.0 * (double)k->family->most) &&
           k->family->applicable(be, &a, &w);
}

bool bl_kernel_picked(const bl_kernel *k, const bl_backend *be, const bl_kernel_shape *s)
{
    bl_weight w;
    const bl_linear_args a = outline(k, be, s, &w);
    const bl_kernel *best = bl_kernel_pick(be, &a, &w);
    if (k->family->transpose) return false;
    for (size_t i = 0; i < BL_COUNT(kernels) && !k->family->layout; i++) { /* `prepare` would arrange the weight */
        const bl_kernel *o = &kernels[i];
        if (o->family->layout && o->format == k->format && o->abits == k->abits && bl_kernel_takes(o, be, s))
            return false;
    }
    return best && best->family == k->family;
}

double bl_kernel_flops(const bl_kernel_shape *s) { return 2.0 * (double)s->rows * (double)s->out * (double)s->in; }

double bl_kernel_bytes(const bl_kernel *k, const bl_kernel_shape *s)
{
    bl_shape g = shape_of(k, s);
    double act = strcmp(k->family->backend, "cpu") == 0 ? 4 : 2;
    return (double)bl_format_bytes(k->format, &g) + act * (double)s->rows * (double)(s->in + s->out);
}

bl_status bl_kernel_run(const bl_kernel *k, bl_backend *be, const bl_kernel_case *c, bl_err *e)
{
    bl_linear_args a = {.x = c->x, .w = {&c->w}, .y = {c->y}, .act = c->act, .transpose = c->transpose};
    bl_status st = bl_check_linear(be, &a, e);
    return st == BL_OK ? k->family->run(k->family, be, &a, e) : st;
}

/* Numbers close to normal with deviation `by`: sums of the four bytes of a word. */
static void random_numbers(float *p, int64_t n, uint32_t stream, float by)
{
    const uint32_t key[2] = {0x6b65726e, stream};
#pragma omp parallel for schedule(static) if (n > 1 << 20)
    for (int64_t i = 0; i < n; i += 4) {
        uint32_t four[4];
        bl_philox((uint32_t[4]){(uint32_t)(i / 4), (uint32_t)((uint64_t)i >> 34), 0, 0}, key, four);
        for (int64_t j = i; j < n && j < i + 4; j++) {
            uint32_t u = four[j % 4];
            int sum = (int)((u & 255) + (u >> 8 & 255) + (u >> 16 & 255) + (u >> 24));
            p[j] = ((float)sum - 510.0f) * (by / 147.8f);
        }
    }
}

/* As f32 or as bf16. */
static bl_status random_tensor(bl_backend *be, bl_dtype type, int64_t rows, int64_t cols, uint32_t stream, float by,
                               bl_tensor *out, bl_err *e)
{
    bl_status st = BL_OK;
    float *host = NULL;
    bl_buffer *b = NULL;
    BL_TRY(be->ops->buffer_new(be, (uint64_t)(rows * cols) * bl_dtype_bytes(type), &b, e));
    if (!(host = bl_new((size_t)(rows * cols), sizeof *host, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    random_numbers(host, rows * cols, stream, by);
    if (type == BL_BF16) /* in place: what is written is never ahead of what is read */
        for (int64_t i = 0; i < rows * cols; i++) {
            uint16_t h = bl_f32_to_bf16(host[i]);
            memcpy((char *)host + 2 * i, &h, 2);
        }
    *out = bl_tensor_2d(b, 0, type, rows, cols);
    BL_TRY(be->ops->upload(be, out, host, e));
    b = NULL;
out:
    bl_free(host);
    be->ops->buffer_free(b);
    return st;
}

/* Blocks of a format that is only read: every byte is below 0x30, so that scales are small numbers in any encoding. */
static bl_status random_blocks(bl_backend *be, const bl_weight *w, bl_err *e)
{
    const uint32_t key[2] = {0x6b65726e, 3};
    bl_status st = BL_OK;
    for (int i = 0; i < w->n_parts; i++) {
        uint64_t n = bl_tensor_bytes(&w->part[i]);
        uint32_t four[4];
        unsigned char *host = bl_new(n, 1, e);
        if (!host) return BL_E_NOMEM;
        for (uint64_t b = 0; b < n; b++) {
            if (b % 4 == 0) bl_philox((uint32_t[4]){(uint32_t)(b / 4), (uint32_t)(b >> 34), 0, 0}, key, four);
            host[b] = (unsigned char)(four[b % 4] % 0x30);
        }
        st = be->ops->upload(be, &w->part[i], host, e);
        bl_free(host);
        if (st != BL_OK) break;
    }
    return st;
}

bl_status bl_kernel_prepare(const bl_kernel *k, bl_backend *be, const bl_kernel_shape *s, bl_kernel_case *out,
                            bl_err *e)
{
    bl_status st = BL_OK;
    bl_kernel_case c = {.shape = *s, .act = act_of(k, s), .transpose = k->family->transpose};
    int64_t from = c.transpose ? s->out : s->in, to = c.transpose ? s->in : s->out;
    bl_tensor dense = {0};
    bl_buffer *y = NULL;
    bl_shape g = shape_of(k, s);
    BL_TRY(bl_weight_new(be, k->format, &g, &c.w, e));
    if (k->format->pack) {
        BL_TRY(random_tensor(be, BL_F32, s->out, s->in, 1, 0.05f, &dense, e));
        BL_TRY(be->ops->pack(be, &(bl_pack_args){.x = dense, .w = &c.w}, e));
    } else BL_TRY(random_blocks(be, &c.w, e));
    if (k->family->layout) BL_TRY(be->ops->prepare(be, &c.w, e));
    BL_TRY(be->ops->sync(be, e));
    BL_TRY(random_tensor(be, be->act, s->rows, from, 2, 1.0f, &c.x, e));
    BL_TRY(be->ops->buffer_new(be, (uint64_t)(s->rows * to) * sizeof(float), &y, e));
    c.y = bl_tensor_2d(y, 0, BL_F32, s->rows, to);
    BL_TRY(be->ops->fill(be, &c.y, (double)NAN, e));
    *out = c;
out:
    be->ops->buffer_free(dense.buf);
    if (st != BL_OK) bl_kernel_release(be, &c);
    return st;
}

void bl_kernel_release(bl_backend *be, bl_kernel_case *c)
{
    if (!c) return;
    be->ops->buffer_free(c->x.buf);
    be->ops->buffer_free(c->y.buf);
    bl_weight_free(&c->w);
    *c = (bl_kernel_case){.shape = {0}};
}

/* Activations as the product sees them: symmetric, a scale for each row or each group of it. */
static void quantize_row(float *x, int64_t n, const bl_actq *q)
{
    float most = (float)((1 << (q->bits - 1)) - 1), top = 0, scale;
    if (q->unit == BL_ACT_FP8) {
        bl_fp8_round(x, n);
        return;
    }
    if (q->unit == BL_ACT_GROUP && n > q->group) {
        for (int64_t i = 0; i < n; i += q->group) quantize_row(x + i, BL_MIN(q->group, n - i), q);
        return;
    }
    for (int64_t i = 0; i < n; i++) top = fmaxf(top, fabsf(x[i]));
    scale = top > 0 ? top / most : 1;
    for (int64_t i = 0; i < n; i++) x[i] = fmaxf(fminf(rintf(x[i] / scale), most), -most) * scale;
}

/* Rows and columns of y that are compared: all of a small case, of a large one a sample with both ends. */
enum { MOST_LOOKED = 64 };
static int64_t looked(int64_t n) { return BL_MIN(n, MOST_LOOKED); }
static int64_t look_at(int64_t i, int64_t n) { return n <= MOST_LOOKED ? i : i * (n - 1) / (MOST_LOOKED - 1); }

/* Each number of bf16 is off by at most 2^-9 of itself, so the root of the error grows by no more than that. */
double bl_kernel_limit(const bl_kernel *k, const bl_kernel_case *c)
{
    const double limit = k->family->nmse_limit, rounding = 0x1p-9;
    const double narrow = sqrt(limit) * (1 + rounding) + rounding;
    return c->y.dtype == BL_BF16 ? narrow * narrow : limit;
}

/* What was downloaded as bf16, in place, as f32. */
static void widen(float *v, int64_t n)
{
    for (int64_t i = n - 1; i >= 0; i--) {
        uint16_t h;
        memcpy(&h, (char *)v + 2 * i, 2);
        v[i] = bl_bf16_to_f32(h);
    }
}

bl_status bl_kernel_check(bl_backend *be, const bl_kernel_case *c, double *nmse, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_kernel_shape *s = &c->shape;
    int64_t from = c->x.dim[1], to = c->y.dim[1], rows = looked(s->rows), cols = looked(to);
    float *x = NULL, *y = NULL, *w = NULL;
    double *want = NULL, error = 0, power = 0;
    bl_tensor one = {0};
    bl_buffer *b = NULL;
    if (!(x = bl_new((size_t)(s->rows * from), sizeof *x, e)) || !(y = bl_new((size_t)(s->rows * to), sizeof *y, e)) ||
        !(w = bl_new((size_t)s->in, sizeof *w, e)) || !(want = bl_new((size_t)(rows * cols), sizeof *want, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(be->ops->download(be, &c->x, x, e));
    if (c->x.dtype == BL_BF16) widen(x, s->rows * from);
    BL_TRY(be->ops->download(be, &c->y, y, e));
    if (c->y.dtype == BL_BF16) widen(y, s->rows * to);
    for (int64_t i = 0; i < s->rows * to; i++) /* what was not written, wherever it is */
        if (isnan(y[i])) error = (double)NAN;
    BL_TRY(be->ops->buffer_new(be, (uint64_t)s->in * sizeof *w, &b, e));
    one = bl_tensor_2d(b, 0, BL_F32, 1, s->in);
    if (c->act.bits)
        for (int64_t r = 0; r < s->rows; r++) quantize_row(x + r * from, from, &c->act);
    for (int64_t i = 0; i < (c->transpose ? s->out : cols); i++) { /* row by row of the weight */
        int64_t o = c->transpose ? i : look_at(i, to);
        BL_TRY(be->ops->unpack(be, &(bl_unpack_args){.w = &c->w, .row0 = o, .rows = 1, .y = one}, e));
        BL_TRY(be->ops->download(be, &one, w, e));
        for (int64_t r = 0; r < rows; r++) {
            const float *xr = x + look_at(r, s->rows) * from;
            if (c->transpose)
                for (int64_t k = 0; k < cols; k++) want[r * cols + k] += (double)xr[o] * w[look_at(k, to)];
            else
                for (int64_t k = 0; k < from; k++) want[r * cols + i] += (double)xr[k] * w[k];
        }
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < cols; i++) {
            double d = want[r * cols + i] - y[look_at(r, s->rows) * to + look_at(i, to)];
            error += d * d;
            power += want[r * cols + i] * want[r * cols + i];
        }
    *nmse = power > 0 ? error / power : error;
out:
    bl_free(x);
    bl_free(y);
    bl_free(w);
    bl_free(want);
    be->ops->buffer_free(b);
    return st;
}
