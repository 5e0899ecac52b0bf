/* kernels_stats.c - statistics of columns on numbers small enough to add up by hand, and transforms by themselves. */
#include "test.h"
#include "kernels/ops.h"
#include <math.h>

static bl_tensor filled(bl_backend *be, bl_dtype t, int64_t rows, int64_t cols, const void *p)
{
    bl_err e = {0};
    bl_buffer *b;
    assert_ok(be->ops->buffer_new(be, (uint64_t)(rows * cols) * bl_dtype_bytes(t), &b, &e));
    bl_tensor x = bl_tensor_2d(b, 0, t, rows, cols);
    assert_ok(be->ops->upload(be, &x, p, &e));
    return x;
}
static bl_tensor flat(bl_tensor t) { return bl_tensor_1d(t.buf, t.offset, t.dtype, bl_tensor_count(&t)); }

static void columns_are_added_to_what_is_there(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_backend *be;
    const float x[2][3] = {{1, -2, 0}, {-3, 0.5f, 0}}, most0[3] = {0, 2.5f, 0};
    const double zero[3] = {0, 1, 0};
    float most[3];
    double sum[3], sq[3];
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, &e));
    bl_tensor tx = filled(be, BL_F32, 2, 3, x), tm = filled(be, BL_F32, 1, 3, most0),
              ts = filled(be, BL_F64, 1, 3, zero), tq = filled(be, BL_F64, 1, 3, zero);
    assert_ok(be->ops->channel_stats(
        be, &(bl_channel_stats_args){.x = tx, .max_abs = flat(tm), .sum_abs = flat(ts), .sum_sq = flat(tq)}, &e));
    assert_ok(be->ops->download(be, &tm, most, &e));
    assert_ok(be->ops->download(be, &ts, sum, &e));
    assert_ok(be->ops->download(be, &tq, sq, &e));
    assert_memory_equal(most, ((const float[]){3, 2.5f, 0}), sizeof most);
    assert_memory_equal(sum, ((const double[]){4, 3.5, 0}), sizeof sum);
    assert_memory_equal(sq, ((const double[]){10, 5.25, 0}), sizeof sq);
    assert_int_equal(
        be->ops->channel_stats(
            be, &(bl_channel_stats_args){.x = tx, .max_abs = flat(tm), .sum_abs = flat(tx), .sum_sq = flat(tq)}, &e),
        BL_E_INTERNAL);
    be->ops->buffer_free(tx.buf);
    be->ops->buffer_free(tm.buf);
    be->ops->buffer_free(ts.buf);
    be->ops->buffer_free(tq.buf);
    bl_backend_close(be);
}

/* (1, 2, 3, 4) with the columns 3 2 1 0 -> (4, 3, 2, 1), times (1, 2, 1, 2) -> (4, 6, 2, 2). */
static void transforms_are_applied_in_order(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_backend *be;
    const float x[4] = {1, 2, 3, 4}, scale[4] = {1, 2, 1, 2};
    const int32_t from[4] = {3, 2, 1, 0};
    float y[4];
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, &e));
    bl_tensor tx = filled(be, BL_F32, 1, 4, x), ts = filled(be, BL_F32, 1, 4, scale),
              tf = filled(be, BL_I32, 1, 4, from), ty = filled(be, BL_F32, 1, 4, x);
    const bl_transform t[] = {{.kind = BL_T_PERMUTE, .in = 4, .out = 4, .data = flat(tf)},
                              {.kind = BL_T_SCALE, .in = 4, .out = 4, .data = flat(ts)}};
    assert_ok(be->ops->transform(be, &(bl_transform_args){.x = tx, .t = t, .n_t = 2, .y = ty}, &e));
    assert_ok(be->ops->download(be, &ty, y, &e));
    assert_memory_equal(y, ((const float[]){4, 6, 2, 2}), sizeof y);
    assert_int_equal(be->ops->transform(be, &(bl_transform_args){.x = tx, .t = t, .n_t = 0, .y = ty}, &e),
                     BL_E_INTERNAL);
    be->ops->buffer_free(tx.buf);
    be->ops->buffer_free(ts.buf);
    be->ops->buffer_free(tf.buf);
    be->ops->buffer_free(ty.buf);
    bl_backend_close(be);
}

/* Channel 1 is taken apart: one half in its place, one where 3 was, which has joined 0: the mean of both. */
static void sums_of_channels_take_the_place_of_some(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_backend *be;
    const float x[4] = {1, 8, 3, 5};
    const int32_t rows[12] = {0, 0, 2, 0, 3, 2, 1, 1, 2, 3, 1, 2};
    float y[4];
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, &e));
    bl_tensor tx = filled(be, BL_F32, 1, 4, x), tr = filled(be, BL_I32, 4, 3, rows), ty = filled(be, BL_F32, 1, 4, x);
    bl_transform t = {.kind = BL_T_PERMUTE, .in = 4, .out = 4, .data = tr};
    assert_ok(be->ops->transform(be, &(bl_transform_args){.x = tx, .t = &t, .n_t = 1, .y = ty}, &e));
    assert_ok(be->ops->download(be, &ty, y, &e));
    assert_memory_equal(y, ((const float[]){3, 4, 3, 4}), sizeof y);
    t.data = bl_tensor_2d(tr.buf, 0, BL_I32, 6, 2);
    assert_false(bl_transform_fits(&t));
    be->ops->buffer_free(tx.buf);
    be->ops->buffer_free(tr.buf);
    be->ops->buffer_free(ty.buf);
    bl_backend_close(be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(columns_are_added_to_what_is_there),
                                       cmocka_unit_test(transforms_are_applied_in_order),
                                       cmocka_unit_test(sums_of_channels_take_the_place_of_some)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
