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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_and_columns_are_scaled),
        cmocka_unit_test(squares_are_summed),
        cmocka_unit_test(a_group_is_clipped_where_its_large_weight_does_not_matter),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
