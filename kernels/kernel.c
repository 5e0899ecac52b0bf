/* kernel.c - the table of kernels, and a case to run one on: random weight and input, packed, judged against double
 * sums. */
#include "kernel_impl.h"
#include "kernels/base/rng.h"
#include "kernels/cpu/cpu.h"

#define BL_KERNEL(id) extern const bl_kernel bl_kernel_##id;
#include "registry.def"
#undef BL_KERNEL
static const bl_kernel *const kernels[] = {
#define BL_KERNEL(id) &bl_kernel_##id,
#include "registry.def"
#undef BL_KERNEL
};

const bl_kernel *bl_kernel_at(size_t i) { return i < BL_COUNT(kernels) ? kernels[i] : NULL; }

const bl_kernel *bl_kernel_find(const char *name)
{
    for (size_t i = 0; i < BL_COUNT(kernels); i++)
        if (strcmp(kernels[i]->name, name) == 0) return kernels[i];
    return NULL;
}

/* ---- what the rows share ---- */
bl_shape bl_kern_geom(const bl_format *f, const bl_kernel_shape *s, bool symmetric)
{
    bl_shape g = {.out = s->out, .in = s->in, .scale = BL_F16};
    if (f->kind == BL_FMT_INT || f->kind == BL_FMT_TABLE) g.group = s->group > 0 ? s->group : s->in;
    if (f->kind == BL_FMT_INT && f->bits > 1 && !symmetric) g.zero = BL_ZERO_PACKED;
    return g;
}

bool bl_kern_fits(const char *format, const bl_kernel_shape *s, bool symmetric)
{
    const bl_format *f = bl_format_find(format);
    bl_shape g = bl_kern_geom(f, s, symmetric);
    return s->rows > 0 && f->check(f, &g, NULL) == BL_OK;
}

bool bl_kern_avx2(const bl_backend *be) { return ((const bl_cpu *)be->own)->isa >= BL_ISA_AVX2; }
bool bl_kern_avx512(const bl_backend *be) { return ((const bl_cpu *)be->own)->isa >= BL_ISA_AVX512; }

double bl_kern_flops(const bl_kernel_shape *s) { return 2.0 * (double)s->rows * (double)s->out * (double)s->in; }

double bl_kern_bytes(const char *format, const bl_kernel_shape *s, bool symmetric)
{
    const bl_format *f = bl_format_find(format);
    bl_shape g = bl_kern_geom(f, s, symmetric);
    return (double)bl_format_bytes(f, &g) + 4.0 * (double)s->rows * (double)(s->in + s->out);
}

static bl_linear_args args_of(const bl_kernel_case *c)
{
    return (bl_linear_args){.x = c->x, .w = {&c->w}, .y = {c->y}, .act = c->act};
}

bl_status bl_kern_run(bl_backend *be, const bl_kernel_case *c, bl_err *e)
{
    bl_linear_args a = args_of(c);
    return be->ops->linear(be, &a, e);
}

bl_status bl_kern_run_avx2(bl_backend *be, const bl_kernel_case *c, bl_err *e)
{
    bl_cpu *cpu = be->own;
    bl_isa isa = cpu->isa;
    bl_status st;
    cpu->isa = BL_MIN(isa, BL_ISA_AVX2);
    st = bl_kern_run(be, c, e);
    cpu->isa = isa;
    return st;
}

/* ---- a case ---- */
/* Numbers close to normal with deviation `by`: sums of the four bytes of a word. */
static void random_numbers(float *p, int64_t n, uint32_t stream, float by)
{
    const uint32_t key[2] = {0x6b65726e, stream};
    uint32_t four[4];
    for (int64_t i = 0; i < n; i++) {
        if (i % 4 == 0) bl_philox((uint32_t[4]){(uint32_t)(i / 4), (uint32_t)((uint64_t)i >> 34), 0, 0}, key, four);
        uint32_t u = four[i % 4];
        int sum = (int)((u & 255) + (u >> 8 & 255) + (u >> 16 & 255) + (u >> 24));
        p[i] = ((float)sum - 510.0f) * (by / 147.8f);
    }
}

static bl_status random_tensor(bl_backend *be, int64_t rows, int64_t cols, uint32_t stream, float by, bl_tensor *out,
                               bl_err *e)
{
    bl_status st = BL_OK;
    float *host = NULL;
    bl_buffer *b = NULL;
    BL_TRY(be->ops->buffer_new(be, (uint64_t)(rows * cols) * sizeof *host, &b, e));
    if (!(host = bl_new((size_t)(rows * cols), sizeof *host, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    random_numbers(host, rows * cols, stream, by);
    *out = bl_tensor_2d(b, 0, BL_F32, rows, cols);
    BL_TRY(be->ops->upload(be, out, host, e));
    b = NULL;
out:
    bl_free(host);
    be->ops->buffer_free(b);
    return st;
}

bl_status bl_kernel_prepare(const bl_kernel *k, bl_backend *be, const bl_kernel_shape *s, bl_kernel_case *out,
                            bl_err *e)
{
    bl_status st = BL_OK;
    const bl_format *f = bl_format_find(k->format);
    bl_kernel_case c = {.shape = *s, .act = {.bits = k->abits, .symmetric = true}};
    bl_tensor dense = {0};
    bl_buffer *y = NULL;
    bl_shape g = bl_kern_geom(f, s, k->symmetric);
    BL_TRY(bl_weight_new(be, f, &g, &c.w, e));
    BL_TRY(random_tensor(be, s->out, s->in, 1, 0.05f, &dense, e));
    BL_TRY(be->ops->pack(be, &(bl_pack_args){.x = dense, .w = &c.w}, e));
    BL_TRY(be->ops->sync(be, e));
    BL_TRY(random_tensor(be, s->rows, s->in, 2, 1.0f, &c.x, e));
    BL_TRY(be->ops->buffer_new(be, (uint64_t)(s->rows * s->out) * sizeof(float), &y, e));
    c.y = bl_tensor_2d(y, 0, BL_F32, s->rows, s->out);
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

/* Rows and outputs that are looked at: all of a small case, of a large one a sample with both ends. */
static int64_t step_of(int64_t n, int64_t most) { return n <= most ? 1 : (n - 1 + most - 2) / (most - 1); }

bl_status bl_kernel_check(const bl_kernel *k, bl_backend *be, const bl_kernel_case *c, double *nmse, bl_err *e)
{
    enum { MOST = 64 };
    bl_status st = BL_OK;
    const bl_kernel_shape *s = &c->shape;
    int64_t rows = s->rows, in = s->in, row_step = step_of(rows, MOST), out_step = step_of(s->out, MOST);
    float *x = NULL, *y = NULL, *w = NULL;
    bl_tensor one = {0};
    bl_buffer *b = NULL;
    double error = 0, power = 0;
    (void)k;
    if (!(x = bl_new((size_t)(rows * in), sizeof *x, e)) || !(y = bl_new((size_t)(rows * s->out), sizeof *y, e)) ||
        !(w = bl_new((size_t)in, sizeof *w, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(be->ops->download(be, &c->x, x, e));
    BL_TRY(be->ops->download(be, &c->y, y, e));
    BL_TRY(be->ops->buffer_new(be, (uint64_t)in * sizeof *w, &b, e));
    one = bl_tensor_2d(b, 0, BL_F32, 1, in);
    if (c->act.bits)
        for (int64_t r = 0; r < rows; r++) bl_cpu_act_simulate(x + r * in, in, &c->act, c->act.scale, c->act.zero);
    for (int64_t o = 0; o < s->out; o = o + out_step < s->out || o == s->out - 1 ? o + out_step : s->out - 1) {
        BL_TRY(be->ops->unpack(be, &(bl_unpack_args){.w = &c->w, .row0 = o, .rows = 1, .y = one}, e));
        BL_TRY(be->ops->download(be, &one, w, e));
        for (int64_t r = 0; r < rows; r = r + row_step < rows || r == rows - 1 ? r + row_step : rows - 1) {
            double want = 0, d;
            for (int64_t i = 0; i < in; i++) want += (double)x[r * in + i] * w[i];
            d = want - y[r * s->out + o];
            error += d * d;
            power += want * want;
        }
    }
    *nmse = power > 0 ? error / power : error;
out:
    bl_free(x);
    bl_free(y);
    bl_free(w);
    be->ops->buffer_free(b);
    return st;
}
