/* Records of whole models on the CUDA device: what it was like meanwhile is in them, and what was asked of it. */
#include "gpu.h"
#include "harness/bench/bench_impl.h"
#include "kernels/base/fs.h"

static const bl_method *const none[] = {NULL};
static const bl_program program = {.methods = none};

static bl_speed_record recorded(const char *dir, const bl_scoring_opts *how, bl_arena *a, bl_scoring_result *r)
{
    bl_scoring_opts o = *how;
    bl_speed_record read;
    o.model = "synth:tiny";
    o.method = "fp32";
    o.device = "cuda";
    o.repetitions = 2;
    o.decode = 400;
    o.quiet = true;
    o.out = dir;
    assert_ok(bl_bench_scoring(&program, &o, a, r, &e));
    assert_ok(bl_throughput_read(dir, a, &read, &e));
    return read;
}

static void a_record_has_driver_clocks_and_probes(void **state)
{
    const char *dir = test_dir();
    bl_scoring_result r;
    bl_device_info device;
    bl_arena *a;
    (void)state;
    BL_NEEDS_GPU;
    assert_ok(bl_arena_new(&a, &e));
    const bl_speed_record x = recorded(dir, &(bl_scoring_opts){.batch = 4}, a, &r);
    gpu->ops->device_info(gpu, &device);
    assert_string_equal(x.facts.device, device.name);
    assert_int_equal(x.facts.repetitions, 2);
    assert_string_equal(x.facts.convention, "synth:tiny, wall time");
    if (device.memory_bytes >= 8ull << 30) {
        assert_int_equal(x.facts.n_probes, BL_PROBES);
        for (size_t i = 0; i < x.facts.n_probes; i++) assert_true(x.facts.probe[i].n >= 2);
        assert_true(x.facts.read_bytes_per_second > 0 && x.facts.peak > 0);
    }
    bl_clocks *c = bl_clocks_open(device.bus); /* where the driver's library is */
    if (c) {
        assert_true(x.facts.clock > 0 && x.facts.memory_clock > 0 && x.facts.watts > 0 && *x.facts.driver);
        for (size_t i = 0; i < x.n_models; i++)
            if (strncmp(x.model[i].what, "greedy", 6) == 0)
                assert_true(x.model[i].clock > 0); /* it takes long enough */
        assert_ok(bl_clocks_close(c, a, &(bl_kernel_facts){0}, &e));
    }
    size_t together = 0;
    for (size_t i = 0; i < x.n_models; i++)
        if (strcmp(x.model[i].what, "windows of 511, batch 4") == 0) {
            assert_int_equal(x.model[i].tokens, 4 * 511);
            together++;
        }
    assert_int_equal(together, 1);
    bl_arena_free(a);
    bl_remove_tree(dir, &e);
}

/* Probes take a gigabyte, which is not the model's. */
static void what_is_asked_of_the_device_is_in_the_convention(void **state)
{
    const char *dir = test_dir();
    bl_scoring_result r;
    bl_arena *a;
    (void)state;
    BL_NEEDS_GPU;
    assert_ok(bl_arena_new(&a, &e));
    setenv("BITLADDER_DISPATCH", "none", 1);
    const bl_speed_record x = recorded(dir, &(bl_scoring_opts){.mem_limit = 256, .deterministic = true}, a, &r);
    unsetenv("BITLADDER_DISPATCH");
    assert_string_equal(x.facts.convention,
                        "synth:tiny, wall time, deterministic, 256 MiB of memory, BITLADDER_DISPATCH=none");
    assert_true(r.row[0].peak_bytes > 0 && r.row[0].peak_bytes <= 256ull << 20);
    bl_arena_free(a);
    bl_remove_tree(dir, &e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_has_driver_clocks_and_probes),
        cmocka_unit_test(what_is_asked_of_the_device_is_in_the_convention),
    };
    return gpu_run_tests("bench_records", tests);
}
