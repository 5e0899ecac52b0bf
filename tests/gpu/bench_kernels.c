/* Timings of kernels on a CUDA device: what is timed is what was judged, and a check times nothing. */
#include "gpu.h"
#include "harness/bench/bench_impl.h"

static const int64_t rows[] = {1, 16};
static const bl_bench_opts quick = {.shape = "192x256",
                                    .m = rows,
                                    .n_m = BL_COUNT(rows),
                                    .group = 64,
                                    .repetitions = 2,
                                    .cold_bytes = 1 << 20,
                                    .device = "cuda",
                                    .quiet = true};

static bl_status wrong_where_narrow(const bl_kernel_family *f, bl_backend *be, const bl_linear_args *a, bl_err *e_)
{
    const bl_status st = bl_kernel_find("linear_bf16_cuda")->family->run(f, be, a, e_);
    bl_tensor last = a->y[0];
    if (st != BL_OK || last.dtype != BL_BF16) return st;
    last.offset += (uint64_t)(bl_tensor_count(&last) - 1) * 2;
    last.ndim = 1;
    last.dim[0] = 1;
    return be->ops->fill(be, &last, 100, e_);
}

static void a_kernel_that_is_wrong_in_the_outputs_that_are_timed_is_not_timed(void **state)
{
    (void)state;
    BL_NEEDS_GPU;
    const bl_kernel *good = bl_kernel_find("linear_bf16_cuda");
    bl_kernel_family family = *good->family;
    const bl_kernel planted = {.name = "planted", .family = &family, .format = good->format},
                    *list[] = {good, &planted};
    bl_bench_opts o = quick;
    bl_bench_result r;
    bl_arena *a;
    family.run = wrong_where_narrow;
    assert_ok(bl_arena_new(&a, &e));
    for (int narrow = 0; narrow < 2; narrow++) {
        o.narrow = narrow;
        assert_ok(bl_bench_list(&o, list, 2, a, &r, &e));
        assert_int_equal(r.n_wrong, narrow ? BL_COUNT(rows) : 0);
        assert_int_equal(r.n + r.n_wrong, 2 * BL_COUNT(rows));
        for (size_t i = 0; i < r.n_wrong; i++) assert_string_equal(r.wrong[i].kernel, "planted");
    }
    bl_arena_free(a);
}

static void a_check_of_every_kernel_finds_none_wrong_and_has_no_times(void **state)
{
    (void)state;
    BL_NEEDS_GPU;
    bl_bench_opts o = quick;
    bl_bench_result r;
    bl_arena *a;
    assert_ok(bl_arena_new(&a, &e));
    o.check = true;
    for (int narrow = 0; narrow < 2; narrow++) {
        o.narrow = narrow;
        assert_ok(bl_bench_kernels(&o, a, &r, &e));
        if (r.n_wrong) fail_msg("%s: error %g, limit %g", r.wrong->kernel, r.wrong->nmse, r.wrong->limit);
        assert_true(r.n > 2 * BL_COUNT(rows));
        for (size_t i = 0; i < r.n; i++) assert_true(r.row[i].seconds == 0 && r.row[i].cold == 0);
    }
    bl_arena_free(a);
}

/* The smallest layer of SmolLM2-135M at one bit. */
static void copies_are_four_second_level_caches_and_are_timed(void **state)
{
    (void)state;
    BL_NEEDS_GPU;
    bl_bench_opts o = quick;
    bl_bench_result r;
    bl_arena *a;
    assert_ok(bl_arena_new(&a, &e));
    o.shape = "192x576";
    o.filter = "stream_int1_cuda";
    o.cold_bytes = 0;
    assert_ok(bl_bench_kernels(&o, a, &r, &e));
    assert_true(r.facts.cache_bytes > 0 && r.facts.copies_bytes >= 4 * r.facts.cache_bytes);
    assert_int_equal(r.n, BL_COUNT(rows));
    for (size_t i = 0; i < r.n; i++) assert_true(r.row[i].cold > 0);
    bl_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kernel_that_is_wrong_in_the_outputs_that_are_timed_is_not_timed),
        cmocka_unit_test(copies_are_four_second_level_caches_and_are_timed),
        cmocka_unit_test(a_check_of_every_kernel_finds_none_wrong_and_has_no_times),
    };
    return gpu_run_tests("bench_kernels", tests);
}
