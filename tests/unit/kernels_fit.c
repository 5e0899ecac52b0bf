/* The searching ops on examples small enough for paper, on the fast backend and on the reference. */
#include "test.h"
#include "kernels/base/rng.h"
#include "kernels/ops.h"
#include <math.h>

static bl_err e;
static bl_backend *backends[2];

static int set_up(void **state)
{
    (void)state;
    return bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 2}, &backends[0], &e) != BL_OK ||
           bl_backend_open(&(bl_backend_opts){.reference = true}, &backends[1], &e) != BL_OK;
}
static int tear_down(void **state)
{
    (void)state;
    bl_backend_close(backends[0]);
    bl_backend_close(backends[1]);
    return 0;
}

static bl_tensor make(bl_dtype t, int64_t rows, int64_t cols)
{
    bl_buffer *b;
    assert_ok(backends[0]->ops->buffer_new(backends[0], (uint64_t)(rows * cols) * bl_dtype_bytes(t), &b, &e));
    memset(b->data, 0, b->bytes);
    return bl_tensor_2d(b, 0, t, rows, cols);
}
static bl_tensor with(int64_t rows, int64_t cols, const float *v)
{
    bl_tensor t = make(BL_F32, rows, cols);
    memcpy(t.buf->data, v, t.buf->bytes);
    return t;
}
static bl_tensor list(int64_t n, const float *v)
{
    bl_tensor t = with(1, n, v);
    return bl_tensor_1d(t.buf, 0, BL_F32, n);
}
static float *f32(bl_tensor t) { return t.buf->data; }
static double *f64(bl_tensor t) { return t.buf->data; }
static void drop(bl_tensor t) { backends[0]->ops->buffer_free(t.buf); }

static void rows_and_columns_are_scaled(void **state)
{
    (void)state;
    bl_tensor x = with(2, 3, (float[]){1, 2, 3, 4, 5, 6}), y = make(BL_F32, 2, 3), d = make(BL_F64, 2, 3),
              rows = list(2, (float[]){2, -1}), cols = list(3, (float[]){1, 0.5f, 10});
    for (int k = 0; k < 2; k++) {
        bl_backend *be = backends[k];
        assert_ok(be->ops->scale(be, &(bl_scale_args){.x = x, .y = y, .rows = rows, .cols = cols}, &e));
        assert_memory_equal(f32(y), ((float[]){2, 2, 60, -4, -2.5f, -60}), 24);
        assert_ok(be->ops->scale(be, &(bl_scale_args){.x = y, .y = y, .rows = rows}, &e));
        assert_memory_equal(f32(y), ((float[]){4, 4, 120, 4, 2.5f, 60}), 24);
        for (int i = 0; i < 6; i++) f64(d)[i] = 0.1 * i;
        assert_ok(be->ops->scale(be, &(bl_scale_args){.x = d, .y = d, .cols = cols}, &e));
        assert_true(f64(d)[4] == 0.1 * 4 * 0.5 && f64(d)[3] == 0.1 * 3);
        assert_refused(be->ops->scale(be, &(bl_scale_args){.x = x, .y = y, .rows = cols}, &e), BL_E_INTERNAL, "list");
        assert_refused(be->ops->scale(be, &(bl_scale_args){.x = x, .y = d}, &e), BL_E_INTERNAL, "one real type");
    }
    drop(x);
    drop(y);
    drop(d);
    drop(rows);
    drop(cols);
}

static void squares_are_summed(void **state)
{
    (void)state;
    bl_tensor x = with(2, 3, (float[]){1, 2, 3, 4, 5, 6}), y = with(2, 3, (float[]){1, 0, 3, 4, 2, 7});
    for (int k = 0; k < 2; k++) {
        double sum;
        assert_ok(backends[k]->ops->sq_error(backends[k], &(bl_sq_error_args){.x = x, .y = y, .sum = &sum}, &e));
        assert_true(sum == 4 + 9 + 1);
        assert_ok(backends[k]->ops->sq_error(backends[k], &(bl_sq_error_args){.x = x, .sum = &sum}, &e));
        assert_true(sum == 1 + 4 + 9 + 16 + 25 + 36);
        assert_refused(backends[k]->ops->sq_error(
                           backends[k], &(bl_sq_error_args){.x = x, .y = bl_tensor_rows(y, 0, 1), .sum = &sum}, &e),
                       BL_E_INTERNAL, "one shape");
    }
    drop(x);
    drop(y);
}

/* Four weights, two bits, symmetric: -m, 0 and m. With m = 1.2 the large ones are exact and the small ones become 0;
 * where the inputs of the large ones hardly come, the small ones get the nearest m there is, 0.66. */
static void a_group_is_clipped_where_its_large_weight_does_not_matter(void **state)
{
    static const float w[] = {1.2f, -1.2f, 0.5f, 0.5f};
    (void)state;
    for (int k = 0; k < 2; k++)
        for (int matters = 0; matters < 2; matters++) {
            bl_tensor t = with(1, 4, w), h = make(BL_F64, 4, 4), m = make(BL_F32, 1, 1);
            for (int i = 0; i < 4; i++) f64(h)[5 * i] = i < 2 ? (matters ? 10 : 1e-6) : 1;
            assert_ok(backends[k]->ops->clip_search(backends[k],
                                                    &(bl_clip_search_args){.w = t,
                                                                           .h = h,
                                                                           .group = 4,
                                                                           .bits = 2,
                                                                           .rule = BL_RANGE_SYMMETRIC,
                                                                           .scale_type = BL_F32,
                                                                           .steps = 20,
                                                                           .tries = 10,
                                                                           .limit = m},
                                                    &e));
            assert_true(f32(m)[0] == (matters ? 1.2f : 1.2f * (1 - 9.0f / 20)));
            assert_true(f32(t)[0] == f32(m)[0] && f32(t)[1] == -f32(m)[0] && f32(t)[2] == 0.5f);
            drop(t);
            drop(h);
            drop(m);
        }
}

static bl_tensor normals(int64_t rows, int64_t cols, uint64_t seed)
{
    bl_tensor t = make(BL_F32, rows, cols);
    bl_rng r = bl_rng_at(seed, bl_rng_key("kernels_fit", 0), 0);
    for (int64_t i = 0; i < rows * cols; i++) f32(t)[i] = (float)bl_rng_normal(&r);
    return t;
}

static bl_tensor flat_normals(int64_t n)
{
    bl_tensor t = normals(1, n, 3);
    return bl_tensor_1d(t.buf, 0, BL_F32, n);
}

/* Columns of a sweep in three runs, on a grid that is given: what all of them at once give, bit for bit. */
static void a_sweep_may_go_on_where_it_ended(void **state)
{
    enum { OUT = 19, IN = 48, GROUP = 16 };
    (void)state;
    bl_tensor x = normals(100, IN, 1), w = normals(OUT, IN, 2), h = make(BL_F64, IN, IN), u = make(BL_F32, IN, IN),
              scale = make(BL_F32, OUT, IN / GROUP), zero = make(BL_F32, OUT, IN / GROUP), got[4];
    bl_backend *be = backends[0];
    assert_ok(be->ops->hessian(be, &(bl_hessian_args){.x = x, .h = h, .alpha = 0.02}, &e));
    assert_ok(be->ops->cholesky_inverse(be, &(bl_cholesky_inverse_args){.h = h, .u = u, .shift = 0.05}, &e));
    for (int i = 0; i < OUT * IN / GROUP; i++) {
        f32(scale)[i] = 0.3f + 0.01f * (float)(i % 7);
        f32(zero)[i] = i % 3 == 0 ? 3.5f : i % 3 == 1 ? 3 : 2.8f;
    }
    for (int k = 0; k < 4; k++) {
        double loss = 0, part = 0;
        got[k] = make(BL_F32, OUT, IN);
        memcpy(f32(got[k]), f32(w), w.buf->bytes);
        bl_gptq_sweep_args a = {.w = got[k],
                                .u = u,
                                .group = GROUP,
                                .bits = 3,
                                .rule = BL_RANGE_GIVEN,
                                .scale_type = BL_F32,
                                .block = GROUP,
                                .scale = scale,
                                .zero = zero,
                                .loss = &loss};
        for (int64_t c = 0; k % 2 && c < IN; c += GROUP) {
            a.first = c;
            a.count = GROUP;
            assert_ok(backends[k / 2]->ops->gptq_sweep(backends[k / 2], &a, &e));
            part += loss;
        }
        if (k % 2 == 0) assert_ok(backends[k / 2]->ops->gptq_sweep(backends[k / 2], &a, &e));
        else assert_true(part > 0);
        assert_memory_equal(f32(got[0]), f32(got[k]), w.buf->bytes);
        for (int i = 0; i < OUT * IN; i++) { /* on the grid */
            int g = i / IN * (IN / GROUP) + i % IN / GROUP;
            float code = f32(got[k])[i] / f32(scale)[g] + f32(zero)[g];
            assert_true(fabsf(code - rintf(code)) < 1e-4f && code > -0.5f && code < 7.5f);
        }
        a.first = IN;
        a.count = 1;
        assert_refused(backends[k / 2]->ops->gptq_sweep(backends[k / 2], &a, &e), BL_E_INTERNAL, "no such columns");
    }
    bl_tensor all[] = {x, w, h, u, scale, zero, got[0], got[1], got[2], got[3]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) drop(all[i]);
}

/* H is orthogonal: its transposed takes it back; order 12 is not symmetric. */
static void a_transposed_hadamard_is_the_way_back(void **state)
{
    static const int64_t widths[] = {12, 40, 64, 576};
    (void)state;
    for (size_t k = 0; k < sizeof widths / sizeof *widths; k++)
        for (int b = 0; b < 2; b++) {
            bl_tensor x = normals(3, widths[k], 5), y = make(BL_F64, 3, widths[k]), z = make(BL_F64, 3, widths[k]);
            assert_ok(backends[b]->ops->hadamard(backends[b], &(bl_hadamard_args){.x = x, .y = y}, &e));
            assert_ok(
                backends[b]->ops->hadamard(backends[b], &(bl_hadamard_args){.x = y, .y = z, .transposed = true}, &e));
            for (int64_t i = 0; i < 3 * widths[k]; i++) assert_true(fabs(f64(z)[i] - f32(x)[i]) < 1e-12);
            drop(x);
            drop(y);
            drop(z);
        }
}

/* P = (1/2, 1/2), Q = (1 - 1e-9, 1e-9): the small one counts as 0.01. */
static void probabilities_are_not_below_the_least(void **state)
{
    (void)state;
    for (int b = 0; b < 2; b++) {
        bl_tensor p = with(1, 2, (float[]){0, 0}), q = with(1, 2, (float[]){20.7232658f, 0}), kl = make(BL_F64, 1, 1),
                  dp = make(BL_F64, 1, 1), same = make(BL_I32, 1, 1), target = make(BL_I32, 1, 1);
        bl_kl_div_args a = {
            .p = p, .q = q, .vocab = 2, .target = target, .kl = kl, .dp = dp, .same = same, .least = 0.01};
        assert_ok(backends[b]->ops->kl_div(backends[b], &a, &e));
        assert_true(fabs(f64(kl)[0] - (0.5 * log(0.5) + 0.5 * log(0.5 / 0.01))) < 1e-6);
        a.least = 0;
        assert_ok(backends[b]->ops->kl_div(backends[b], &a, &e));
        assert_true(fabs(f64(kl)[0] - (0.5 * log(0.5) + 0.5 * log(0.5 / 1e-9))) < 1e-4);
        bl_tensor all[] = {p, q, kl, dp, same, target};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) drop(all[i]);
    }
}

/* Two weights 0.4 and 0.4 to 0 or 1 that cost (d0 + d1)^2 and a little: one goes up and one down. */
static void greedy_rounding_makes_up_for_what_is_there(void **state)
{
    (void)state;
    for (int b = 0; b < 2; b++) {
        bl_tensor w = with(1, 2, (float[]){0, 0}), target = with(1, 2, (float[]){0.4f, 0.4f}), h = make(BL_F64, 2, 2),
                  scale = with(1, 1, (float[]){1}), zero = with(1, 1, (float[]){0}), order = make(BL_I32, 1, 2);
        f64(h)[0] = f64(h)[3] = 1.1;
        f64(h)[1] = f64(h)[2] = 1;
        ((int32_t *)order.buf->data)[0] = 1;
        bl_greedy_args a = {.w = w,
                            .target = target,
                            .h = h,
                            .order = bl_tensor_1d(order.buf, 0, BL_I32, 2),
                            .scale = scale,
                            .zero = zero,
                            .bits = 1,
                            .passes = 3};
        assert_ok(backends[b]->ops->greedy(backends[b], &a, &e));
        assert_true(f32(w)[1] == 1 && f32(w)[0] == 0); /* column 1 came first */
        f64(h)[3] = 0;
        assert_refused(backends[b]->ops->greedy(backends[b], &a, &e), BL_E_NUMERIC, "second moment of input 1 is 0");
        bl_tensor all[] = {w, target, h, scale, zero, order};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) drop(all[i]);
    }
}

/* A range a little wider or narrower is often nearer than the range itself, and never farther. */
static void a_searched_range_is_never_worse(void **state)
{
    enum { OUT = 33, N = 24 };
    (void)state;
    bl_tensor w = normals(OUT, N, 9), u = flat_normals(N), scale = make(BL_F32, OUT, 1), zero = make(BL_F32, OUT, 1);
    int better = 0;
    for (int i = 0; i < N; i++) f32(u)[i] = 0.5f + fabsf(f32(u)[i]);
    for (int b = 0; b < 2; b++)
        for (int bits = 2; bits <= 4; bits++) {
            assert_ok(backends[b]->ops->range_search(
                backends[b],
                &(bl_range_search_args){
                    .w = w, .u = u, .bits = bits, .lambda = 1, .scale_type = BL_F32, .scale = scale, .zero = zero},
                &e));
            for (int r = 0; r < OUT; r++) {
                double got = 0, plain = 0;
                float s, z, qmax = (float)((1 << bits) - 1);
                const float *x = f32(w) + r * N;
                bl_fit_zero(x, N, (int)qmax, &s, &z);
                for (int i = 0; i < N; i++) {
                    float a = (fminf(fmaxf(rintf(x[i] / f32(scale)[r]) + f32(zero)[r], 0), qmax) - f32(zero)[r]) *
                              f32(scale)[r],
                          c = (fminf(fmaxf(rintf(x[i] / s) + z, 0), qmax) - z) * s;
                    got += pow(fabs((double)a - x[i]), 2.4);
                    plain += pow(fabs((double)c - x[i]), 2.4);
                }
                assert_true(got <= plain * (1 + 1e-5));
                better += got < 0.99 * plain;
            }
        }
    assert_true(better > OUT);
    drop(w);
    drop(u);
    drop(scale);
    drop(zero);
}

static void tick(void *ctx, int64_t i) { ((int *)ctx)[i]++; }
static void every_piece_is_done_once(void **state)
{
    int seen[100] = {0};
    (void)state;
    for (int b = 0; b < 2; b++) {
        assert_ok(backends[b]->ops->each(backends[b], &(bl_each_args){.n = 99, .piece = tick, .ctx = seen}, &e));
        assert_ok(backends[b]->ops->each(backends[b], &(bl_each_args){.n = 0, .piece = tick, .ctx = seen}, &e));
    }
    for (int i = 0; i < 99; i++) assert_int_equal(seen[i], 2);
    assert_int_equal(seen[99], 0);
    assert_refused(backends[0]->ops->each(backends[0], &(bl_each_args){.n = 1}, &e), BL_E_INTERNAL, "no piece");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_and_columns_are_scaled),
        cmocka_unit_test(squares_are_summed),
        cmocka_unit_test(a_group_is_clipped_where_its_large_weight_does_not_matter),
        cmocka_unit_test(a_sweep_may_go_on_where_it_ended),
        cmocka_unit_test(a_transposed_hadamard_is_the_way_back),
        cmocka_unit_test(probabilities_are_not_below_the_least),
        cmocka_unit_test(greedy_rounding_makes_up_for_what_is_there),
        cmocka_unit_test(a_searched_range_is_never_worse),
        cmocka_unit_test(every_piece_is_done_once),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
