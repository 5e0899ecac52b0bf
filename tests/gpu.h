/* gpu.h - the same numbers on the plain C reference and on the CUDA device, and how far apart two results are. */
#ifndef BL_TESTS_GPU_H
#define BL_TESTS_GPU_H
#include "test.h"
#include "kernels/base/rng.h"
#include "kernels/kernel.h"
#include <math.h>

static bl_err e;
static bl_backend *cpu, *gpu; /* plain C on all threads; the device, NULL: there is none */

static inline int gpu_set_up(void **state)
{
    bl_err why;
    (void)state;
    if (bl_backend_open(&(bl_backend_opts){.device = "cpu", .isa = BL_ISA_PLAIN}, &cpu, &e) != BL_OK) return 1;
    if (bl_device_check("cuda", &why) != BL_OK) return 0;
    if (bl_backend_open(&(bl_backend_opts){.device = "cuda"}, &gpu, &e) == BL_OK) return 0;
    print_message("%s\n", e.text);
    return 1;
}
static inline int gpu_tear_down(void **state)
{
    (void)state;
    bl_backend_close(cpu);
    bl_backend_close(gpu);
    return 0;
}
/* compute-sanitizer takes minutes for all of a program. BITLADDER_TESTS, a glob, leaves the tests of such names, so
 * that each has a process of its own; BITLADDER_TESTS_EVERY=N leaves every N-th case of long lists. */
static inline bool gpu_left_out(void)
{
    static long at;
    const char *every = getenv("BITLADDER_TESTS_EVERY");
    return every && atol(every) > 1 && at++ % atol(every) != 0;
}
#define gpu_run_tests(name, tests)                                                                                     \
    (cmocka_set_test_filter(getenv("BITLADDER_TESTS")),                                                                \
     cmocka_run_group_tests_name(name, tests, gpu_set_up, gpu_tear_down))
#define BL_NEEDS_GPU                                                                                                   \
    do {                                                                                                               \
        if (bl_device_check("cuda", NULL) != BL_OK) {                                                                  \
            print_message("skipped: there is no CUDA device\n");                                                       \
            skip();                                                                                                    \
        }                                                                                                              \
    } while (0)

/* One tensor in two places. Activations are f32 on the CPU, bf16 on the device, and the same numbers. */
typedef struct both {
    bl_tensor c, g;
    bool act;
} both;

static inline both both_new(bl_dtype t, bool act, int64_t rows, int64_t cols)
{
    both b = {.act = act};
    bl_buffer *p, *q;
    bl_dtype tg = act ? gpu->act : t;
    uint64_t n = (uint64_t)(rows * cols);
    assert_ok(cpu->ops->buffer_new(cpu, n * bl_dtype_bytes(t), &p, &e));
    assert_ok(gpu->ops->buffer_new(gpu, n * bl_dtype_bytes(tg), &q, &e));
    memset(p->data, 0, p->bytes);
    b.c = bl_tensor_2d(p, 0, t, rows, cols);
    b.g = bl_tensor_2d(q, 0, tg, rows, cols);
    assert_ok(gpu->ops->fill(gpu, &b.g, 0, &e));
    return b;
}
static inline void both_drop(both b)
{
    cpu->ops->buffer_free(b.c.buf);
    gpu->ops->buffer_free(b.g.buf);
}
static inline float *both_f32(both b) { return b.c.buf->data; }
static inline void both_send(both b) /* what the CPU has, to the device */
{
    int64_t n = bl_tensor_count(&b.c);
    if (!b.act) {
        assert_ok(gpu->ops->upload(gpu, &b.g, b.c.buf->data, &e));
        return;
    }
    uint16_t *h = malloc((size_t)n * 2 + 1);
    for (int64_t i = 0; i < n; i++) {
        h[i] = bl_f32_to_bf16(both_f32(b)[i]);
        both_f32(b)[i] = bl_bf16_to_f32(h[i]);
    }
    assert_ok(gpu->ops->upload(gpu, &b.g, h, &e));
    free(h);
}
static inline both both_random(bool act, int64_t rows, int64_t cols, uint64_t seed, float by)
{
    both b = both_new(BL_F32, act, rows, cols);
    bl_rng r = bl_rng_at(seed, bl_rng_key("gpu", 0), 0);
    for (int64_t i = 0; i < rows * cols; i++) both_f32(b)[i] = by * (float)bl_rng_normal(&r);
    both_send(b);
    return b;
}
static inline both both_list(bl_dtype t, const void *v, int64_t n)
{
    both b = both_new(t, false, 1, n);
    memcpy(b.c.buf->data, v, (size_t)n * bl_dtype_bytes(t));
    both_send(b);
    b.c = bl_tensor_1d(b.c.buf, 0, t, n);
    b.g = bl_tensor_1d(b.g.buf, 0, t, n);
    return b;
}
static inline both both_flat(both b)
{
    b.c = bl_tensor_1d(b.c.buf, 0, b.c.dtype, bl_tensor_count(&b.c));
    b.g = bl_tensor_1d(b.g.buf, 0, b.g.dtype, bl_tensor_count(&b.g));
    return b;
}
/* What the device has, as f32 or as it is. */
static inline float *both_got(both b)
{
    int64_t n = bl_tensor_count(&b.g);
    float *out = malloc((size_t)n * 8 + 8);
    assert_ok(gpu->ops->download(gpu, &b.g, out, &e));
    if (b.g.dtype == BL_BF16)
        for (int64_t i = n - 1; i >= 0; i--) {
            uint16_t h;
            memcpy(&h, (char *)out + 2 * i, 2);
            out[i] = bl_bf16_to_f32(h);
        }
    return out;
}
static inline double distance(const float *want, const float *got, int64_t n)
{
    double error = 0, power = 0;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(got[i]) != isnan(want[i])) return INFINITY;
        if (isnan(got[i])) continue;
        error += ((double)want[i] - got[i]) * ((double)want[i] - got[i]);
        power += (double)want[i] * want[i];
    }
    return power > 0 ? error / power : error;
}
/* Normalised mean squared difference of an f32 or bf16 result. */
static inline double both_nmse(both b)
{
    float *got = both_got(b);
    double d = distance(both_f32(b), got, bl_tensor_count(&b.c));
    free(got);
    return d;
}
static inline void both_equal(both b) /* the same bytes */
{
    void *got = both_got(b);
    assert_memory_equal(got, b.c.buf->data, bl_tensor_bytes(&b.c));
    free(got);
}
/* The same op in both places. */
#define RUN(op, args_c, args_g)                                                                                        \
    do {                                                                                                               \
        assert_ok(cpu->ops->op(cpu, args_c, &e));                                                                      \
        assert_ok(gpu->ops->op(gpu, args_g, &e));                                                                      \
    } while (0)
/* Rounding to bf16 is within 2^-8 of a number: 2^-16 of its square. */
#define BF16_ROUNDED 1.6e-5
#define ASSERT_NEAR(b, limit)                                                                                          \
    do {                                                                                                               \
        double d_ = both_nmse(b);                                                                                      \
        if (!(d_ <= (limit))) fail_msg("%s: error %g, limit %g", #b, d_, (double)(limit));                             \
    } while (0)

/* A weight of random numbers in both places, packed by plain C. Formats that are only read get random blocks. */
typedef struct both_weight {
    bl_weight c, g;
} both_weight;
static inline both_weight both_weight_new(const bl_format *f, const bl_shape *s, uint64_t seed)
{
    both_weight w;
    bl_rng r = bl_rng_at(seed, bl_rng_key("gpu", 1), 0);
    assert_ok(bl_weight_new(cpu, f, s, &w.c, &e));
    assert_ok(bl_weight_new(gpu, f, s, &w.g, &e));
    if (f->pack) {
        float *x = malloc((size_t)(s->out * s->in) * sizeof *x);
        void *part[BL_MAX_PARTS];
        for (int64_t i = 0; i < s->out * s->in; i++) x[i] = 0.05f * (float)bl_rng_normal(&r);
        for (int i = 0; i < w.c.n_parts; i++) part[i] = (char *)w.c.part[i].buf->data + w.c.part[i].offset;
        assert_ok(f->pack(f, s, x, part, &e));
        free(x);
    }
    for (int i = 0; i < w.c.n_parts; i++) {
        unsigned char *p = (unsigned char *)w.c.part[i].buf->data + w.c.part[i].offset;
        for (uint64_t k = 0; !f->pack && k < bl_tensor_bytes(&w.c.part[i]); k++)
            p[k] = (unsigned char)(bl_rng_u32(&r) % 0x30); /* scales are small numbers in any encoding */
        assert_ok(gpu->ops->upload(gpu, &w.g.part[i], p, &e));
    }
    return w;
}
static inline void both_weight_drop(both_weight *w)
{
    bl_weight_free(&w->c);
    bl_weight_free(&w->g);
}
static inline bl_shape both_shape(const bl_format *f, int64_t out, int64_t in, int64_t group)
{
    bool grouped = f->kind == BL_FMT_INT || f->kind == BL_FMT_TABLE || f->kind == BL_FMT_CODES;
    return (bl_shape){.out = out,
                      .in = in,
                      .group = grouped ? group : 0,
                      .scale = BL_F16,
                      .zero = f->kind == BL_FMT_INT && f->bits > 1 ? BL_ZERO_PACKED : BL_ZERO_NONE};
}
#endif
