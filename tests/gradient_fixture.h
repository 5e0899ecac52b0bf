/* gradient_fixture.h - the backends of a CPU, random numbers, and whether a gradient is that of its function. */
#ifndef BL_TESTS_GRADIENT_FIXTURE_H
#define BL_TESTS_GRADIENT_FIXTURE_H
#include "test.h"
#include "kernels/base/rng.h"
#include "kernels/cpu/cpu.h"
#include "lists.h"

static bl_err e;
static bl_backend *backends[3]; /* fast, AVX2, reference */
#define EACH(be) for (bl_backend * be, **at_ = backends; at_ < backends + 3 && (be = *at_) != NULL; at_++)

static inline int gradient_begin(void **state)
{
    (void)state;
    return bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 2}, &backends[0], &e) != BL_OK ||
           bl_backend_open(&(bl_backend_opts){.threads = 2, .isa = BL_ISA_AVX2}, &backends[1], &e) != BL_OK ||
           bl_backend_open(&(bl_backend_opts){.reference = true}, &backends[2], &e) != BL_OK;
}
static inline int gradient_end(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) bl_backend_close(backends[i]);
    return 0;
}

static bl_rng random_numbers;
static inline float number(float by) { return by * (float)(bl_rng_uniform(&random_numbers) * 2 - 1); }
static inline void fill(float *x, int64_t n, float by)
{
    for (int64_t i = 0; i < n; i++) x[i] = number(by);
}
#define F2(p, rows, cols) bl_tensor_2d(&(bl_buffer){.data = (p)}, 0, BL_F32, rows, cols)
#define F1(p, n)          bl_tensor_1d(&(bl_buffer){.data = (p)}, 0, BL_F32, n)

/* A function of doubles: its outputs y[n] from the inputs x, whose places it knows. */
typedef void function(const double *x, double *y);
enum { MOST = 2048 };

/* got[i] is the gradient of sum c y to x[i], i = 0 .. n-1, of n_in inputs and n_out outputs. */
static inline void assert_gradient(const char *what, function *f, const double *at, int64_t n_in, int64_t n_out,
                                   const float *c, const float *got, double tolerance)
{
    double x[MOST], hi[MOST], lo[MOST], scale = 0;
    assert_true(n_in <= MOST && n_out <= MOST);
    memcpy(x, at, (size_t)n_in * sizeof *x);
    for (int64_t i = 0; i < n_in; i++) scale = fmax(scale, fabs((double)got[i]));
    assert_true(scale > 0);
    for (int64_t i = 0; i < n_in; i++) {
        const double h = 1e-5;
        double want = 0;
        x[i] = at[i] + h;
        f(x, hi);
        x[i] = at[i] - h;
        f(x, lo);
        x[i] = at[i];
        for (int64_t k = 0; k < n_out; k++) want += c[k] * (hi[k] - lo[k]) / (2 * h);
        if (!(fabs(got[i] - want) <= tolerance * scale))
            fail_msg("%s: element %d is %.9g, central differences give %.9g", what, (int)i, (double)got[i], want);
    }
}

static inline void in_double(const float *x, int64_t n, double *to)
{
    for (int64_t i = 0; i < n; i++) to[i] = x[i];
}
#endif
