/* ops_fixture.h - the backends of a CPU, and tensors of all of them: what tests of ops begin with. */
#ifndef BL_TESTS_OPS_FIXTURE_H
#define BL_TESTS_OPS_FIXTURE_H
#include "test.h"
#include "kernels/base/rng.h"
#include "kernels/cpu/cpu.h"
#include "lists.h"

static bl_err e;
static bl_backend *backends[4]; /* fast, plain C on two threads, reference, AVX2 */
#define EACH(be) for (bl_backend * be, **at_ = backends; at_ < backends + 4 && (be = *at_) != NULL; at_++)

static inline int ops_open(void **state)
{
    (void)state;
    return bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 2}, &backends[0], &e) != BL_OK ||
           bl_backend_open(&(bl_backend_opts){.threads = 2, .isa = BL_ISA_PLAIN}, &backends[1], &e) != BL_OK ||
           bl_backend_open(&(bl_backend_opts){.reference = true}, &backends[2], &e) != BL_OK ||
           bl_backend_open(&(bl_backend_opts){.threads = 2, .isa = BL_ISA_AVX2}, &backends[3], &e) != BL_OK;
}
static inline int ops_close(void **state)
{
    (void)state;
    bl_backend_close(backends[0]);
    bl_backend_close(backends[1]);
    bl_backend_close(backends[2]);
    bl_backend_close(backends[3]);
    return 0;
}

static inline bl_tensor make(bl_dtype t, int64_t rows, int64_t cols)
{
    bl_buffer *b;
    assert_ok(backends[0]->ops->buffer_new(backends[0], (uint64_t)(rows * cols) * bl_dtype_bytes(t), &b, &e));
    memset(b->data, 0, b->bytes);
    return rows == 1 && t != BL_F32 ? bl_tensor_1d(b, 0, t, cols) : bl_tensor_2d(b, 0, t, rows, cols);
}
static inline bl_tensor random_f32(int64_t rows, int64_t cols, uint64_t seed, float by)
{
    bl_tensor t = make(BL_F32, rows, cols);
    bl_rng r = bl_rng_at(seed, bl_rng_key("kernels_ops", 0), 0);
    for (int64_t i = 0; i < rows * cols; i++) ((float *)t.buf->data)[i] = by * (float)(bl_rng_uniform(&r) * 2 - 1);
    return t;
}
static inline bl_tensor with(int64_t rows, int64_t cols, const float *v)
{
    bl_tensor t = make(BL_F32, rows, cols);
    memcpy(t.buf->data, v, t.buf->bytes);
    return t;
}
static inline float *f32(bl_tensor t) { return t.buf->data; }
static inline double *f64(bl_tensor t) { return t.buf->data; }
static inline int32_t *i32(bl_tensor t) { return t.buf->data; }
static inline void drop(bl_tensor t) { backends[0]->ops->buffer_free(t.buf); }
static inline bl_tensor flat(bl_tensor t)
{
    return bl_tensor_1d(t.buf, 0, t.dtype, t.dim[0] * (t.ndim > 1 ? t.dim[1] : 1));
}
static inline void assert_equal_bits(bl_tensor a, bl_tensor b)
{
    assert_memory_equal(a.buf->data, b.buf->data, a.buf->bytes);
}
#endif
