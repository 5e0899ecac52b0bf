/* What mathematics says about the solving ops, and that the fast forms do what the plain ones do. */
#include "test.h"
#include "kernels/base/rng.h"
#include "kernels/hadamard.h"
#include "kernels/ops.h"
#include <math.h>

static bl_err e;
static bl_backend *be[4]; /* one thread and AVX2 at most; two threads, the best there is; two, plain C; the reference */
enum { N_BE = 4, PLAIN = 3 };

static int set_up(void **state)
{
    static const bl_backend_opts opts[N_BE] = {
        {.threads = 1, .isa = BL_ISA_AVX2}, {.threads = 2}, {.threads = 2, .isa = BL_ISA_PLAIN}, {.reference = true}};
    (void)state;
    for (int i = 0; i < N_BE; i++)
        if (bl_backend_open(&opts[i], &be[i], &e) != BL_OK) return 1;
    return 0;
}
static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < N_BE; i++) bl_backend_close(be[i]);
    return 0;
}

static bl_tensor tensor(bl_dtype type, int64_t rows, int64_t cols)
{
    bl_buffer *b;
    assert_ok(be[0]->ops->buffer_new(be[0], (uint64_t)(rows * cols) * bl_dtype_bytes(type), &b, &e));
    memset(b->data, 0, b->bytes);
    return bl_tensor_2d(b, 0, type, rows, cols);
}
static bl_tensor vector(bl_dtype type, int64_t n)
{
    bl_buffer *b;
    assert_ok(be[0]->ops->buffer_new(be[0], (uint64_t)n * bl_dtype_bytes(type), &b, &e));
    memset(b->data, 0, b->bytes);
    return bl_tensor_1d(b, 0, type, n);
}
static void drop(bl_tensor t) { be[0]->ops->buffer_free(t.buf); }
static float *f32(bl_tensor t) { return t.buf->data; }
static double *f64(bl_tensor t) { return t.buf->data; }
static bl_tensor copy(bl_tensor t)
{
    bl_tensor c = t;
    assert_ok(be[0]->ops->buffer_new(be[0], t.buf->bytes, &c.buf, &e));
    memcpy(c.buf->data, t.buf->data, t.buf->bytes);
    return c;
}
static bl_tensor normals(int64_t rows, int64_t cols, uint64_t seed)
{
    bl_tensor t = tensor(BL_F32, rows, cols);
    bl_rng r = bl_rng_at(seed, bl_rng_key("kernels_solve", 0), 0);
    for (int64_t i = 0; i < rows * cols; i++) f32(t)[i] = (float)bl_rng_normal(&r);
    return t;
}
/* Activations as they are: channels of very different size, a common part in all of them. */
static bl_tensor activations(int64_t rows, int64_t n, uint64_t seed)
{
    bl_tensor x = normals(rows, n, seed);
    bl_rng r = bl_rng_at(seed, bl_rng_key("kernels_solve", 1), 0);
    for (int64_t i = 0; i < rows; i++) {
        float common = (float)bl_rng_normal(&r);
        for (int64_t j = 0; j < n; j++) f32(x)[i * n + j] = (f32(x)[i * n + j] + common) * (j % 17 == 3 ? 8.0f : 0.5f);
    }
    return x;
}
static bl_tensor second_moment(bl_tensor x, double alpha)
{
    int64_t n = x.dim[1];
    bl_tensor h = tensor(BL_F64, n, n);
    for (int64_t r = 0; r < x.dim[0]; r++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) f64(h)[i * n + j] += alpha * (double)f32(x)[r * n + i] * f32(x)[r * n + j];
    return h;
}

/* ---- Hadamard ---- */
static const int64_t factors[] = {12, 20, 28, 36, 40, 52, 60, 108, 140, 156, 172};

static void hadamard_factors_are_orthogonal(void **state)
{
    (void)state;
    for (size_t k = 0; k < BL_COUNT(factors); k++) {
        int64_t n = factors[k];
        const int8_t *h = bl_hadamard_factor(n);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                int sum = 0;
                assert_true(h[i * n + j] == 1 || h[i * n + j] == -1);
                for (int64_t c = 0; c < n; c++) sum += h[i * n + c] * h[j * n + c];
                assert_int_equal(sum, i == j ? n : 0);
            }
    }
}

static void widths_of_published_models_have_a_hadamard_matrix(void **state)
{
    (void)state;
    static const struct {
        int64_t n, order;
    } rows[] = {{1, 1},    {2, 1},       {4096, 1},   {576, 36},    {1536, 12},   {768, 12},  {384, 12}, {896, 28},
                {4864, 0}, {11008, 172}, {14336, 28}, {13824, 108}, {5120, 40},   {20, 20},   {80, 40},  {8960, 140},
                {9, 0},    {0, 0},       {6, 0},      {18, 0},      {19968, 156}, {3328, 52}, {-4, 0},   {960, 60}};
    for (size_t i = 0; i < BL_COUNT(rows); i++)
        if (bl_hadamard_order(rows[i].n) != rows[i].order)
            fail_msg("%d: order %d", (int)rows[i].n, (int)bl_hadamard_order(rows[i].n));
}

/* y = (F kron S) (before * x) / sqrt(n), element by element; as an op in f64, from and to f32, along columns, and as
 * the input transform of a linear. */
static void the_transform_is_the_matrix(void **state)
{
    static const int64_t sizes[] = {1, 2, 64, 12, 20, 40, 80, 28, 36, 576, 104, 120, 108, 140, 156, 344, 1536};
    enum { ROWS = 19 };
    (void)state;
    for (size_t s = 0; s < BL_COUNT(sizes); s++) {
        int64_t n = sizes[s], order = bl_hadamard_order(n), m = n / order;
        const int8_t *f = bl_hadamard_factor(order);
        bl_tensor x = normals(ROWS, n, 1), y = tensor(BL_F64, ROWS, n), z = tensor(BL_F32, ROWS, n),
                  scale = vector(BL_F32, n), want = tensor(BL_F64, ROWS, n);
        for (int64_t i = 0; i < n; i++) f32(scale)[i] = i % 3 ? 1.0f : -2.0f;
        for (int64_t r = 0; r < ROWS; r++)
            for (int64_t i = 0; i < n; i++) {
                double sum = 0;
                for (int64_t j = 0; j < n; j++) {
                    int sylvester = __builtin_parityll((unsigned long long)((i % m) & (j % m))) ? -1 : 1;
                    sum += f[i / m * order + j / m] * sylvester * (double)f32(scale)[j] * f32(x)[r * n + j];
                }
                f64(want)[r * n + i] = sum / sqrt((double)n);
            }
        for (int b = 0; b < N_BE; b++) {
            const bl_ops *ops = be[b]->ops;
            assert_ok(ops->hadamard(be[b], &(bl_hadamard_args){.x = x, .y = y, .before = scale}, &e));
            for (int64_t i = 0; i < ROWS * n; i++) assert_true(fabs(f64(y)[i] - f64(want)[i]) < 1e-12 * (double)n);
            assert_ok(ops->hadamard(be[b], &(bl_hadamard_args){.x = x, .y = z, .before = scale}, &e));
            for (int64_t i = 0; i < ROWS * n; i++) assert_true(f32(z)[i] == (float)f64(y)[i]);
        }
        assert_ok(
            be[1]->ops->hadamard(be[1], &(bl_hadamard_args){.x = x, .y = z, .before = scale, .after = scale}, &e));
        for (int64_t i = 0; i < ROWS * n; i++)
            assert_true(fabs(f32(z)[i] - f32(scale)[i % n] * f64(y)[i]) < 1e-6 * fabs(f32(z)[i]) + 1e-12);
        /* columns: a transposed view of the transposed numbers */
        bl_tensor t = tensor(BL_F64, n, ROWS), v = t;
        for (int64_t r = 0; r < ROWS; r++)
            for (int64_t i = 0; i < n; i++) f64(t)[i * ROWS + r] = f32(x)[r * n + i];
        v.dim[0] = ROWS;
        v.dim[1] = n;
        v.stride[0] = 1;
        v.stride[1] = ROWS;
        assert_ok(be[1]->ops->hadamard(be[1], &(bl_hadamard_args){.x = v, .y = v, .before = scale}, &e));
        for (int64_t r = 0; r < ROWS; r++)
            for (int64_t i = 0; i < n; i++) assert_true(f64(t)[i * ROWS + r] == f64(y)[r * n + i]);
        /* an input transform: y = (H s x) I */
        bl_weight w = {0};
        bl_shape shape = {.out = n, .in = n};
        assert_ok(bl_weight_new(be[0], bl_format_find("fp32"), &shape, &w, &e));
        memset(f32(w.part[0]), 0, (size_t)(n * n) * 4);
        for (int64_t i = 0; i < n; i++) ((float *)((char *)w.owned->data + w.part[0].offset))[i * n + i] = 1;
        bl_transform transform = {.kind = BL_T_HADAMARD, .in = n, .out = n, .data = scale};
        for (int b = 0; b < N_BE; b++) {
            assert_ok(be[b]->ops->linear(
                be[b], &(bl_linear_args){.x = x, .w = {&w}, .y = {z}, .t = &transform, .n_t = 1}, &e));
            for (int64_t i = 0; i < ROWS * n; i++) assert_true(fabs(f32(z)[i] - f64(want)[i]) < 2e-5);
        }
        bl_weight_free(&w);
        drop(t), drop(x), drop(y), drop(z), drop(scale), drop(want);
    }
    bl_tensor x = normals(2, 18, 1);
    assert_refused(be[0]->ops->hadamard(be[0], &(bl_hadamard_args){.x = x, .y = x}, &e), BL_E_UNSUPPORTED, "order 18");
    drop(x);
}

/* ---- second moments ---- */
static void the_hessian_is_the_sum_of_squares(void **state)
{
    static const struct {
        int64_t rows, n;
    } shapes[] = {{1, 1}, {3, 37}, {130, 96}, {1100, 112}, {257, 200}};
    (void)state;
    for (size_t s = 0; s < BL_COUNT(shapes); s++) {
        int64_t n = shapes[s].n;
        bl_tensor wide = activations(shapes[s].rows, n + 5, 2), x = wide, first = {.buf = NULL}, h;
        x.dim[1] = n; /* rows of a wider matrix */
        bl_tensor narrow = tensor(BL_F32, x.dim[0], n);
        for (int64_t r = 0; r < x.dim[0]; r++) memcpy(f32(narrow) + r * n, f32(x) + r * (n + 5), (size_t)n * 4);
        bl_tensor want = second_moment(narrow, 0.25);
        for (int b = 0; b < N_BE; b++) {
            h = tensor(BL_F64, n, n);
            for (int64_t i = 0; i < n; i++) f64(h)[i * n + i] = 100; /* it adds */
            assert_ok(be[b]->ops->hessian(be[b], &(bl_hessian_args){.x = x, .h = h, .alpha = 0.25}, &e));
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < n; j++) {
                    double got = f64(h)[i * n + j] - (i == j ? 100 : 0),
                           all = sqrt(f64(want)[i * n + i] * f64(want)[j * n + j]);
                    if (fabs(got - f64(want)[i * n + j]) > 1e-6 * all + 1e-13)
                        fail_msg("backend %d, %d x %d: %g, wanted %g", b, (int)i, (int)j, got, f64(want)[i * n + j]);
                    assert_true(f64(h)[i * n + j] == f64(h)[j * n + i]);
                }
            if (b == 0) first = copy(h);
            if (b == 1) assert_memory_equal(f64(first), f64(h), (size_t)(n * n) * 8); /* threads and AVX-512 */
            drop(h);
        }
        drop(first), drop(wide), drop(narrow), drop(want);
    }
}

/* The sweep of GPTAQ column by column, as its paper has it, against the plain sweep over what is folded. */
static void a_folded_mismatch_sweeps_as_the_columns_do_one_by_one(void **state)
{
    enum { M = 5, K = 37, T = 90 };
    (void)state;
    for (int b = 0; b < N_BE; b++) {
        bl_tensor x0 = activations(T, K, 3), x = activations(T, K, 4), h = second_moment(x, 0.1),
                  c = tensor(BL_F64, K, K), u = tensor(BL_F32, K, K), w = normals(M, K, 5),
                  scale = tensor(BL_F32, M, 1), zero = tensor(BL_F32, M, 1);
        static double p[K][K], v[M][K], t[K][K];
        for (int i = 0; i < T * K; i++) f32(x0)[i] = f32(x)[i] + 0.3f * f32(x0)[i];
        assert_ok(be[b]->ops->mismatch(be[b], &(bl_mismatch_args){.x0 = x0, .x = x, .c = c, .alpha = 0.1}, &e));
        assert_ok(be[b]->ops->cholesky_inverse(be[b], &(bl_cholesky_inverse_args){.h = h, .u = u, .shift = 0.1}, &e));
        for (int i = 0; i < K; i++)
            for (int j = 0; j < K; j++) {
                double sum = 0, size = 0;
                for (int r = 0; r < T; r++) {
                    double d = ((double)f32(x0)[r * K + i] - f32(x)[r * K + i]) * f32(x)[r * K + j];
                    sum += 0.1 * d;
                    size += 0.1 * fabs(d);
                }
                assert_true(fabs(f64(c)[i * K + j] - sum) <= 1e-6 * size);
            }
        for (int i = 0; i < K; i++)
            for (int j = 0; j < K; j++) {
                t[i][j] = 0;
                for (int k = j; k < K && j > i; k++) t[i][j] += 0.5 * f64(c)[i * K + k] * f32(u)[j * K + k];
            }
        for (int i = 0; i < K; i++)
            for (int j = 0; j < K; j++) {
                p[i][j] = 0;
                for (int k = 0; k <= j; k++) p[i][j] += t[i][k] * f32(u)[k * K + j];
            }
        for (int r = 0; r < M; r++) {
            f32(scale)[r] = 0.4f;
            f32(zero)[r] = 4;
            for (int j = 0; j < K; j++) v[r][j] = f32(w)[r * K + j];
            for (int i = 0; i < K; i++) {
                double q = (fmin(fmax(rint(v[r][i] / (double)0.4f) + 4, 0), 7) - 4) * (double)0.4f,
                       lost = (v[r][i] - q) / f32(u)[i * K + i];
                for (int j = i + 1; j < K; j++) v[r][j] += v[r][i] * p[i][j] - lost * f32(u)[i * K + j];
                v[r][i] = q;
            }
        }
        assert_ok(be[b]->ops->mismatch_fold(be[b], &(bl_mismatch_fold_args){.c = c, .u = u, .w = w, .alpha = 0.5}, &e));
        for (int i = 0; i < K; i++)
            for (int j = 0; j < i; j++) assert_true(f32(u)[i * K + j] == 0);
        assert_ok(be[b]->ops->gptq_sweep(be[b],
                                         &(bl_gptq_sweep_args){.w = w,
                                                               .u = u,
                                                               .group = K,
                                                               .bits = 3,
                                                               .rule = BL_RANGE_GIVEN,
                                                               .scale_type = BL_F32,
                                                               .block = 8,
                                                               .scale = scale,
                                                               .zero = zero},
                                         &e));
        for (int i = 0; i < M * K; i++) assert_true(fabs(f32(w)[i] - v[i / K][i % K]) < 1e-5);
        assert_refused(be[b]->ops->mismatch(be[b], &(bl_mismatch_args){.x0 = x0, .x = w, .c = c, .alpha = 1}, &e),
                       BL_E_INTERNAL, "x0 is not like x");
        assert_refused(be[b]->ops->mismatch_fold(be[b], &(bl_mismatch_fold_args){.c = c, .u = scale, .w = w}, &e),
                       BL_E_INTERNAL, "c or u is not square");
        drop(x0), drop(x), drop(h), drop(c), drop(u), drop(w), drop(scale), drop(zero);
    }
}

static void the_factor_inverts(void **state)
{
    static const int64_t sizes[] = {1, 5, 64, 150};
    (void)state;
    for (size_t s = 0; s < BL_COUNT(sizes); s++) {
        int64_t n = sizes[s];
        bl_tensor x = activations(3 * n, n, 3), h = second_moment(x, 2.0 / 3), u = tensor(BL_F64, n, n),
                  v = tensor(BL_F32, n, n);
        double mean = 0, shift;
        for (int64_t i = 0; i < n; i++) mean += f64(h)[i * n + i] / (double)n;
        shift = 0.01 * mean;
        for (int b = 0; b < N_BE; b++) {
            assert_ok(
                be[b]->ops->cholesky_inverse(be[b], &(bl_cholesky_inverse_args){.h = h, .u = u, .shift = shift}, &e));
            assert_ok(
                be[b]->ops->cholesky_inverse(be[b], &(bl_cholesky_inverse_args){.h = h, .u = v, .shift = shift}, &e));
            /* u (h + shift I) ut = I, which with u upper triangular says the same as ut u = (h + shift I)^-1 */
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < n; j++) {
                    double sum = 0;
                    for (int64_t k = 0; k < n; k++)
                        for (int64_t l = 0; l < n; l++)
                            sum += f64(u)[i * n + k] * (f64(h)[k * n + l] + (k == l ? shift : 0)) * f64(u)[j * n + l];
                    assert_true(fabs(sum - (i == j)) < 1e-9);
                    if (j < i) assert_true(f64(u)[i * n + j] == 0);
                    assert_true(f32(v)[i * n + j] == (float)f64(u)[i * n + j]);
                }
        }
        drop(x), drop(h), drop(u), drop(v);
    }
}

static void a_matrix_that_is_not_positive_definite_is_refused(void **state)
{
    (void)state;
    bl_tensor x = normals(4, 6, 4), h = second_moment(x, 1), u = tensor(BL_F64, 6, 6); /* of rank 4 */
    f64(h)[0] -= 1;
    for (int b = 0; b < N_BE; b++) {
        bl_cholesky_inverse_args a = {.h = h, .u = u};
        assert_refused(be[b]->ops->cholesky_inverse(be[b], &a, &e), BL_E_NUMERIC, "not positive definite");
        f64(h)[0] = NAN;
        assert_refused(be[b]->ops->cholesky_inverse(be[b], &a, &e), BL_E_NUMERIC, "not positive definite");
        f64(h)[0] = -1;
    }
    memset(f64(h), 0, 36 * 8);
    f64(h)[0] = 4; /* the other inputs never came: they count as 1 */
    for (int b = 0; b < N_BE; b++) {
        assert_ok(be[b]->ops->cholesky_inverse(be[b], &(bl_cholesky_inverse_args){.h = h, .u = u}, &e));
        for (int i = 0; i < 36; i++) assert_true(f64(u)[i] == (i == 0 ? 0.5 : i % 7 == 0 ? 1 : 0));
    }
    drop(x), drop(h), drop(u);
}

static void the_quadratic_form_is_the_trace(void **state)
{
    (void)state;
    for (int64_t n = 1; n < 80; n += 13) {
        bl_tensor x = activations(2 * n, n, 5), h = second_moment(x, 1), w = normals(11, n, 6);
        double want = 0, first = 0, got;
        for (int64_t r = 0; r < 2 * n; r++)
            for (int64_t o = 0; o < 11; o++) { /* the sum of squares of w x, over the rows of x */
                double y = 0;
                for (int64_t i = 0; i < n; i++) y += (double)f32(w)[o * n + i] * f32(x)[r * n + i];
                want += y * y;
            }
        for (int b = 0; b < N_BE; b++) {
            assert_ok(be[b]->ops->quad_form(be[b], &(bl_quad_form_args){.x = w, .h = h, .sum = &got}, &e));
            assert_true(fabs(got - want) <= 1e-10 * want);
            if (b == 0) first = got;
            if (b == 1) assert_true(got == first);
        }
        bl_tensor twice = tensor(BL_F32, 11, n); /* 3 w - 2 w is w */
        for (int64_t i = 0; i < 11 * n; i++) f32(twice)[i] = 2 * f32(w)[i];
        for (int64_t i = 0; i < 11 * n; i++) f32(w)[i] *= 3;
        for (int b = 0; b < N_BE; b++) {
            assert_ok(be[b]->ops->quad_form(be[b], &(bl_quad_form_args){.x = w, .y = twice, .h = h, .sum = &got}, &e));
            assert_true(fabs(got - want) <= 1e-6 * want);
            if (b == 0) first = got;
            if (b == 1) assert_true(got == first);
        }
        drop(x), drop(h), drop(w), drop(twice);
    }
}

static void permutations_take_rows_and_columns(void **state)
{
    (void)state;
    bl_tensor rows = vector(BL_I32, 4), cols = vector(BL_I32, 3);
    memcpy(rows.buf->data, (int32_t[]){2, 0, 1, 2}, 16);
    memcpy(cols.buf->data, (int32_t[]){1, 1, 0}, 12);
    for (int t = 0; t < 2; t++) {
        bl_dtype type = t ? BL_F64 : BL_F32;
        bl_tensor x = tensor(type, 3, 2), y = tensor(type, 4, 3);
        for (int i = 0; i < 6; i++)
            if (t) f64(x)[i] = i;
            else f32(x)[i] = (float)i;
        static const int want[] = {5, 5, 4, 1, 1, 0, 3, 3, 2, 5, 5, 4};
        assert_ok(be[1]->ops->permute(be[1], &(bl_permute_args){.x = x, .y = y, .rows = rows, .cols = cols}, &e));
        for (int i = 0; i < 12; i++) assert_true((t ? f64(y)[i] : f32(y)[i]) == want[i]);
        drop(x), drop(y);
    }
    drop(rows), drop(cols);
}

/* ---- the column sweep ---- */
typedef struct solved {
    bl_tensor w, scale, zero; /* w^ */
    double loss;
} solved;

static solved sweep(bl_backend *on, bl_tensor w, bl_tensor u, bl_gptq_sweep_args a, int64_t groups)
{
    solved s = {.w = copy(w), .scale = tensor(BL_F32, w.dim[0], groups), .zero = tensor(BL_F32, w.dim[0], groups)};
    a.w = s.w;
    a.u = u;
    a.scale = s.scale;
    a.zero = s.zero;
    a.loss = &s.loss;
    if (!a.block) a.block = 128;
    assert_ok(on->ops->gptq_sweep(on, &a, &e));
    return s;
}
static void drop_solved(solved s) { drop(s.w), drop(s.scale), drop(s.zero); }
static void assert_equal_solved(solved a, solved b, const char *what)
{
    if (memcmp(f32(a.w), f32(b.w), a.w.buf->bytes) || memcmp(f32(a.scale), f32(b.scale), a.scale.buf->bytes) ||
        memcmp(f32(a.zero), f32(b.zero), a.zero.buf->bytes) || a.loss != b.loss)
        fail_msg("%s: bits differ", what);
}
static bl_tensor factor(bl_tensor h, double damp, bl_dtype type, double *shift)
{
    int64_t n = h.dim[0];
    bl_tensor u = tensor(type, n, n);
    *shift = 0;
    for (int64_t i = 0; i < n; i++) *shift += damp * f64(h)[i * n + i] / (double)n;
    assert_ok(be[1]->ops->cholesky_inverse(be[1], &(bl_cholesky_inverse_args){.h = h, .u = u, .shift = *shift}, &e));
    return u;
}

static void fast_sweeps_have_the_bits_of_the_reference(void **state)
{
    static const struct {
        int64_t out, in, group, block;
        bool first, mse;
        bl_range_rule rule;
        bl_dtype scale;
    } rows[] = {
        {33, 200, 64, 128, false, false, BL_RANGE_ZERO, BL_F16},
        {5, 300, 300, 128, false, false, BL_RANGE_FULL, BL_F32},
        {16, 129, 32, 50, false, true, BL_RANGE_ZERO, BL_F32},
        {17, 96, 24, 128, true, false, BL_RANGE_SYMMETRIC, BL_F16},
        {1, 7, 3, 2, false, false, BL_RANGE_MINMAX, BL_F32},
        {20, 260, 130, 64, true, true, BL_RANGE_FULL, BL_BF16},
        {19, 150, 40, 64, false, false, BL_RANGE_SIGN, BL_F16},
    };
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_tensor x = activations(2 * rows[i].in, rows[i].in, 7), h = second_moment(x, 1),
                  w = normals(rows[i].out, rows[i].in, 8);
        double shift;
        bl_tensor u = factor(h, 0.01, BL_F32, &shift);
        bl_gptq_sweep_args a = {.group = rows[i].group,
                                .block = rows[i].block,
                                .fit_first = rows[i].first,
                                .mse = rows[i].mse,
                                .rule = rows[i].rule,
                                .scale_type = rows[i].scale,
                                .bits = rows[i].rule == BL_RANGE_SIGN ? 1 : 3};
        int64_t groups = (rows[i].in + rows[i].group - 1) / rows[i].group;
        solved want = sweep(be[PLAIN], w, u, a, groups);
        for (int b = 0; b < PLAIN; b++) {
            solved got = sweep(be[b], w, u, a, groups);
            assert_equal_solved(got, want, "sweep");
            drop_solved(got);
        }
        drop_solved(want), drop(x), drop(h), drop(w), drop(u);
    }
}

/* H = c I: nothing is handed on, so every weight is rounded to nearest. */
static void without_correlation_the_sweep_rounds_to_nearest(void **state)
{
    static const double sizes[] = {1e-6, 1, 4096};
    (void)state;
    for (int bits = 1; bits <= 8; bits++)
        for (size_t c = 0; c < BL_COUNT(sizes); c++)
            for (int sym = 0; sym < 2; sym++) {
                bl_tensor w = normals(9, 200, 9), h = tensor(BL_F64, 200, 200), back = tensor(BL_F32, 9, 200);
                bl_shape g = {.out = 9,
                              .in = 200,
                              .group = 64,
                              .scale = BL_F16,
                              .zero = sym || bits == 1 ? BL_ZERO_NONE : BL_ZERO_PACKED};
                bl_weight packed;
                char name[8];
                double shift;
                for (int i = 0; i < 200; i++) f64(h)[i * 201] = sizes[c];
                bl_tensor u = factor(h, 0.01, BL_F32, &shift);
                bl_range_rule rule = bits == 1 ? BL_RANGE_SIGN : sym ? BL_RANGE_FULL : BL_RANGE_ZERO;
                solved s = sweep(be[1], w, u,
                                 (bl_gptq_sweep_args){.bits = bits, .group = 64, .rule = rule, .scale_type = BL_F16},
                                 4);
                snprintf(name, sizeof name, "int%d", bits);
                assert_ok(bl_weight_new(be[1], bl_format_find(name), &g, &packed, &e));
                assert_ok(be[1]->ops->pack(be[1], &(bl_pack_args){.x = w, .w = &packed, .rule = rule}, &e));
                assert_ok(be[1]->ops->unpack(be[1], &(bl_unpack_args){.w = &packed, .rows = 9, .y = back}, &e));
                assert_memory_equal(f32(back), f32(s.w), 9 * 200 * 4);
                /* and what was swept packs to itself */
                bl_tensor swept = copy(s.w);
                assert_ok(be[1]->ops->pack(
                    be[1],
                    &(bl_pack_args){.x = swept, .w = &packed, .rule = BL_RANGE_GIVEN, .scale = s.scale, .zero = s.zero},
                    &e));
                assert_ok(be[1]->ops->unpack(be[1], &(bl_unpack_args){.w = &packed, .rows = 9, .y = back}, &e));
                assert_memory_equal(f32(back), f32(s.w), 9 * 200 * 4);
                bl_weight_free(&packed);
                drop_solved(s), drop(swept), drop(w), drop(h), drop(u), drop(back);
            }
}

/* W - W^ = E U and U H Ut = I, hence tr(D H Dt) = |E|^2 = 2 loss, with the damped H. */
static void the_loss_is_half_the_output_error(void **state)
{
    static const int64_t groups[] = {16, 48, 100, 230};
    (void)state;
    bl_tensor x = activations(500, 230, 10), h = second_moment(x, 2.0 / 500), w = normals(24, 230, 11);
    double shift, rtn_sum = 0, gptq_sum = 0;
    bl_tensor u = factor(h, 0.01, BL_F32, &shift);
    for (int bits = 1; bits <= 4; bits++)
        for (size_t g = 0; g < BL_COUNT(groups); g++)
            for (int first = 0; first < 2; first++) {
                bl_gptq_sweep_args a = {.bits = bits,
                                        .group = groups[g],
                                        .fit_first = first,
                                        .rule = bits == 1 ? BL_RANGE_SIGN : BL_RANGE_ZERO,
                                        .scale_type = BL_F16};
                solved s = sweep(be[1], w, u, a, (230 + groups[g] - 1) / groups[g]), r;
                bl_tensor d = copy(s.w), one = tensor(BL_F64, 230, 230);
                double got, plain = 0, rtn;
                for (int64_t i = 0; i < 24 * 230; i++) {
                    f32(d)[i] = f32(w)[i] - f32(s.w)[i];
                    plain += (double)f32(d)[i] * f32(d)[i];
                }
                assert_ok(be[1]->ops->quad_form(be[1], &(bl_quad_form_args){.x = d, .h = h, .sum = &got}, &e));
                if (fabs((got + shift * plain) / (2 * s.loss) - 1) > 1e-3)
                    fail_msg("%d bits, groups of %d: %g, the sweep says %g", bits, (int)groups[g], got + shift * plain,
                             2 * s.loss);
                /* rounding to nearest on the same grid is worse */
                for (int i = 0; i < 230; i++) f64(one)[i * 231] = 1;
                double none;
                bl_tensor v = factor(one, 0, BL_F32, &none);
                r = sweep(be[1], w, v, a, (230 + groups[g] - 1) / groups[g]);
                for (int64_t i = 0; i < 24 * 230; i++) f32(d)[i] = f32(w)[i] - f32(r.w)[i];
                assert_ok(be[1]->ops->quad_form(be[1], &(bl_quad_form_args){.x = d, .h = h, .sum = &rtn}, &e));
                if (first && !(got < rtn))
                    fail_msg("%d bits, groups of %d: %g is not below %g", bits, (int)groups[g], got, rtn);
                gptq_sum += got;
                rtn_sum += rtn;
                drop_solved(s), drop_solved(r), drop(d), drop(one), drop(v);
            }
    assert_true(gptq_sum < 0.7 * rtn_sum);
    drop(x), drop(h), drop(w), drop(u);
}

/* One scale a row, or groups that begin where blocks do: the block size is only a matter of speed. Groups smaller than
 * a block are fitted to the weight as the block began, so there it matters. */
static void the_block_size_matters_only_above_the_group(void **state)
{
    static const struct {
        int64_t group, block, other;
        bool same;
    } rows[] = {{256, 128, 1, true}, {256, 128, 37, true}, {256, 128, 256, true}, {128, 128, 64, true},
                {64, 64, 32, true},  {64, 64, 128, false}, {32, 128, 32, false}};
    (void)state;
    bl_tensor x = activations(600, 256, 12), h = second_moment(x, 2.0 / 600), w = normals(18, 256, 13);
    double shift;
    bl_tensor u = factor(h, 0.01, BL_F32, &shift);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_gptq_sweep_args a = {.bits = 3, .group = rows[i].group, .rule = BL_RANGE_ZERO, .scale_type = BL_F16};
        a.block = rows[i].block;
        solved one = sweep(be[1], w, u, a, 256 / rows[i].group);
        a.block = rows[i].other;
        solved other = sweep(be[1], w, u, a, 256 / rows[i].group);
        bool same = memcmp(f32(one.w), f32(other.w), one.w.buf->bytes) == 0;
        if (same != rows[i].same)
            fail_msg("groups of %d, blocks of %d and %d", (int)rows[i].group, (int)rows[i].block, (int)rows[i].other);
        drop_solved(one), drop_solved(other);
    }
    drop(x), drop(h), drop(w), drop(u);
}

/* The paper before its step 3: the inverse of what is left of H is kept, and loses a row and a column at a time (eq. 2
 * and 3), in double. No Cholesky factor, no blocks. Near ties may fall to the other side. */
static void the_sweep_is_optimal_brain_quantization_in_order(void **state)
{
    enum { IN = 48, OUT = 40 };
    (void)state;
    bl_tensor x = activations(300, IN, 14), h = second_moment(x, 2.0 / 300), w = normals(OUT, IN, 15);
    double shift, inverse[IN][IN];
    bl_tensor u = factor(h, 0.01, BL_F32, &shift), exact = factor(h, 0.01, BL_F64, &shift);
    solved s = sweep(
        be[1], w, u,
        (bl_gptq_sweep_args){.bits = 4, .group = IN, .rule = BL_RANGE_ZERO, .scale_type = BL_F32, .block = 16}, 1);
    int differ = 0;
    for (int r = 0; r < OUT; r++) {
        double open[IN], scale = f32(s.scale)[r], zero = f32(s.zero)[r];
        for (int i = 0; i < IN; i++) {
            open[i] = f32(w)[r * IN + i];
            for (int j = 0; j < IN; j++) {
                inverse[i][j] = 0;
                for (int k = 0; k < IN; k++) inverse[i][j] += f64(exact)[k * IN + i] * f64(exact)[k * IN + j];
            }
        }
        for (int i = 0; i < IN; i++) {
            double q = fmin(fmax(rint(open[i] / scale) + zero, 0), 15), value = (q - zero) * scale;
            double error = (open[i] - value) / inverse[i][i];
            if (i == IN - 1 && q > 0 && q < 15) assert_true(fabs(open[i] - value) <= scale / 2);
            differ += fabs(value - f32(s.w)[r * IN + i]) > 1e-4 * scale;
            for (int j = i + 1; j < IN; j++) open[j] -= error * inverse[i][j];
            for (int j = i + 1; j < IN; j++)
                for (int k = IN - 1; k > i; k--) inverse[j][k] -= inverse[j][i] * inverse[i][k] / inverse[i][i];
        }
    }
    assert_true(differ <= OUT * IN / 100);
    drop_solved(s), drop(x), drop(h), drop(w), drop(u), drop(exact);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hadamard_factors_are_orthogonal),
        cmocka_unit_test(widths_of_published_models_have_a_hadamard_matrix),
        cmocka_unit_test(the_transform_is_the_matrix),
        cmocka_unit_test(the_hessian_is_the_sum_of_squares),
        cmocka_unit_test(a_folded_mismatch_sweeps_as_the_columns_do_one_by_one),
        cmocka_unit_test(the_factor_inverts),
        cmocka_unit_test(a_matrix_that_is_not_positive_definite_is_refused),
        cmocka_unit_test(the_quadratic_form_is_the_trace),
        cmocka_unit_test(permutations_take_rows_and_columns),
        cmocka_unit_test(fast_sweeps_have_the_bits_of_the_reference),
        cmocka_unit_test(without_correlation_the_sweep_rounds_to_nearest),
        cmocka_unit_test(the_loss_is_half_the_output_error),
        cmocka_unit_test(the_block_size_matters_only_above_the_group),
        cmocka_unit_test(the_sweep_is_optimal_brain_quantization_in_order),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
