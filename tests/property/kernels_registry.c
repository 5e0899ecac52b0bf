/* Every kernel of the registry against double sums, and against the plain reference to the bit. */
#include "test.h"
#include "kernels/kernel.h"

static bl_err e;
static bl_backend *fast, *plain;

static const bl_kernel_shape shapes[] = {
    /* rows, out, in, group */
    {1, 33, 64, 32}, {2, 6, 576, 64},   {3, 40, 172, 172},   {4, 13, 1536, 128},
    {7, 9, 341, 0},  {30, 17, 192, 64}, {100, 11, 1184, 16},
};

static int set_up(void **state)
{
    (void)state;
    return bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 2}, &fast, &e) != BL_OK ||
           bl_backend_open(&(bl_backend_opts){.device = "cpu", .reference = true}, &plain, &e) != BL_OK;
}
static int tear_down(void **state)
{
    (void)state;
    bl_backend_close(fast);
    bl_backend_close(plain);
    return 0;
}

static void every_kernel_stays_within_its_limit(void **state)
{
    const bl_kernel *k;
    int ran = 0;
    (void)state;
    for (size_t i = 0; (k = bl_kernel_at(i)) != NULL; i++)
        for (size_t s = 0; s < BL_COUNT(shapes); s++) {
            bl_kernel_case c;
            double nmse;
            if (!k->applicable(fast, &shapes[s])) continue;
            assert_ok(bl_kernel_prepare(k, fast, &shapes[s], &c, &e));
            assert_ok(bl_kernel_check(k, fast, &c, &nmse, &e));
            if (nmse <= k->nmse_limit) fail_msg("%s: a poisoned output passes", k->name);
            assert_ok(k->run(fast, &c, &e));
            assert_ok(bl_kernel_check(k, fast, &c, &nmse, &e));
            if (!(nmse <= k->nmse_limit))
                fail_msg("%s, shape %zu: error %g, limit %g", k->name, s, nmse, k->nmse_limit);
            bl_kernel_release(fast, &c);
            ran++;
        }
    assert_true(ran > 0);
}

static void every_kernel_has_the_bits_of_the_reference(void **state)
{
    const bl_kernel *k;
    (void)state;
    for (size_t i = 0; (k = bl_kernel_at(i)) != NULL; i++)
        for (size_t s = 0; s < BL_COUNT(shapes); s++) {
            bl_kernel_case c;
            float want[100 * 40];
            size_t bytes = (size_t)(shapes[s].rows * shapes[s].out) * sizeof *want;
            if (!k->applicable(fast, &shapes[s])) continue;
            assert_ok(bl_kernel_prepare(k, fast, &shapes[s], &c, &e));
            assert_ok(
                plain->ops->linear(plain, &(bl_linear_args){.x = c.x, .w = {&c.w}, .y = {c.y}, .act = c.act}, &e));
            memcpy(want, c.y.buf->data, bytes);
            assert_ok(fast->ops->fill(fast, &c.y, 1e30, &e));
            assert_ok(k->run(fast, &c, &e));
            if (memcmp(want, c.y.buf->data, bytes) != 0)
                fail_msg("%s, shape %zu: bits differ from the reference", k->name, s);
            bl_kernel_release(fast, &c);
        }
}

static void kernels_are_found_by_their_names(void **state)
{
    const bl_kernel *k;
    (void)state;
    for (size_t i = 0; (k = bl_kernel_at(i)) != NULL; i++) {
        assert_ptr_equal(bl_kernel_find(k->name), k);
        assert_non_null(bl_format_find(k->format));
        assert_true(k->nmse_limit > 0 && k->flops(&shapes[0]) == 2.0 * 33 * 64);
    }
    assert_null(bl_kernel_find("gemm_int9_avx2"));
}

static void bytes_are_those_of_the_packed_weight_and_the_activations(void **state)
{
    (void)state;
    /* 4 x 64 codes of 4 bits, two groups of a fp16 scale and a packed zero (one byte a row); x 1 x 64, y 1 x 4 */
    assert_true(bl_kernel_find("gemv_int4_avx2")->bytes(&(bl_kernel_shape){1, 4, 64, 32}) == 4 * (32 + 4 + 1) + 4 * 68);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_stays_within_its_limit),
        cmocka_unit_test(every_kernel_has_the_bits_of_the_reference),
        cmocka_unit_test(kernels_are_found_by_their_names),
        cmocka_unit_test(bytes_are_those_of_the_packed_weight_and_the_activations),
    };
    return cmocka_run_group_tests_name("kernels_registry", tests, set_up, tear_down);
}
