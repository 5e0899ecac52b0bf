/* What is recorded of a GPU's clock and of what holds it down, with a management library that says what it is told. */
#include "test.h"
#include "data/made_nvml.h"
#include "harness/bench/bench_impl.h"
#include "kernels/base/fs.h"
#include <time.h>

static const char bus[] = "0000:1a:00.0";
static bl_err e;

static void a_clock_is_the_median_of_what_was_seen_and_power_the_most(void **state)
{
    static const unsigned mhz[] = {1980, 1200, 1755, 1740, 1965};
    bl_kernel_facts f = {0};
    bl_arena *a;
    (void)state;
    assert_ok(bl_arena_new(&a, &e));
    assert_null(bl_clocks_open(""));
    assert_null(bl_clocks_open("0000:ff:00.0"));
    bl_clocks *c = bl_clocks_open(bus);
    assert_non_null(c);
    for (size_t i = 0; i < BL_COUNT(mhz); i++) {
        made = (made_nvml){.sm = mhz[i], .memory = 3201, .milliwatts = 600000 + 1000 * (unsigned)i, .open = made.open};
        made.degrees = i == 2 ? 61 : 40;
        made.reasons = i == 1 ? 0x4 : 0;
        const bl_look look = bl_clocks_look(c);
        assert_true(look.mhz == mhz[i] && look.held == made.reasons);
    }
    assert_ok(bl_clocks_close(c, a, &f, &e));
    assert_true(f.clock == 1755 && f.memory_clock == 3201 && f.watts == 604 && f.degrees == 61);
    assert_string_equal(f.held, "power cap");
    assert_string_equal(f.slowed, ""); /* its own cap is no fault */
    assert_string_equal(f.driver, "580.159.04");
    assert_int_equal(made.open, 0);
    bl_arena_free(a);
}

/* All bits that nvml.h has. */
static void every_reason_has_a_name_and_faults_are_told_apart(void **state)
{
    static const struct {
        unsigned long long bit;
        const char *held;
        bool fault;
    } reasons[] = {{0x1, "", false}, /* idle: nothing holds it down */
                   {0x2, "clocks that were set", true},
                   {0x4, "power cap", false},
                   {0x8, "hardware slowdown", true},
                   {0x10, "sync boost", false},
                   {0x20, "heat (software)", true},
                   {0x40, "heat", true},
                   {0x80, "power brake", true},
                   {0x100, "display clocks", true}};
    bl_arena *a;
    (void)state;
    assert_ok(bl_arena_new(&a, &e));
    for (size_t i = 0; i < BL_COUNT(reasons); i++) {
        bl_kernel_facts f = {0};
        bl_clocks *c = bl_clocks_open(bus);
        made.reasons = reasons[i].bit;
        bl_clocks_look(c);
        assert_ok(bl_clocks_close(c, a, &f, &e));
        assert_string_equal(f.held, reasons[i].held);
        assert_string_equal(f.slowed, reasons[i].fault ? reasons[i].held : "");
    }
    assert_string_equal(bl_clocks_held(0x1ff, a, &e), "clocks that were set, power cap, hardware slowdown, sync boost, "
                                                      "heat (software), heat, power brake, display clocks");
    bl_arena_free(a);
}

static void who_computes_is_looked_at_from_beside(void **state)
{
    const struct timespec while_it_computes = {.tv_nsec = 200000000};
    bl_kernel_facts f = {0};
    bl_arena *a;
    (void)state;
    assert_ok(bl_arena_new(&a, &e));
    bl_clocks *c = bl_clocks_open(bus);
    made = (made_nvml){.sm = 1980, .memory = 3201, .reasons = 0x10, .open = made.open};
    bl_clocks_look(c);
    made.sm = 1410;
    made.reasons = 0x4;
    bl_clocks_beside(c, 1e-3);
    nanosleep(&while_it_computes, NULL);
    const bl_look look = bl_clocks_enough(c);
    assert_true(look.mhz == 1410 && look.held == 0x4); /* of its own time, not of that before */
    assert_true(bl_clocks_enough(c).mhz == 0);         /* nobody looks */
    assert_ok(bl_clocks_close(c, a, &f, &e));
    assert_true(f.clock == 1980); /* of looks at what is the same in every record */
    assert_string_equal(f.held, "power cap, sync boost");
    bl_clocks_beside(NULL, 1e-3);
    assert_true(bl_clocks_enough(NULL).mhz == 0);
    bl_arena_free(a);
}

/* Of kernels and of models alike: what was seen is what is read. */
static void records_have_the_clock_and_what_held_it(void **state)
{
    static double t[] = {1e-5, 1e-5};
    const char *dir = test_dir();
    bl_kernel_row kernel = {.kernel = "k",
                            .op = "linear",
                            .format = "int4",
                            .backend = "cuda",
                            .seconds = 1e-5,
                            .cold = 2e-5,
                            .clock = 1980,
                            .cold_clock = 1755,
                            .held = "",
                            .cold_held = "power cap"};
    const bl_model_row model = {.what = "window of 512",
                                .method = "base",
                                .tokens = 512,
                                .seconds = 1e-5,
                                .repeat = t,
                                .n_repeat = 2,
                                .clock = 1410,
                                .held = "power cap, heat"};
    const bl_probe probe = {"memory", t, 2};
    const bl_kernel_facts facts = {.device = "a GPU",
                                   .shape = "synth:tiny",
                                   .held = "power cap, heat",
                                   .slowed = "heat",
                                   .driver = "580.159.04",
                                   .clock = 1755,
                                   .memory_clock = 3201,
                                   .watts = 699,
                                   .degrees = 61,
                                   .peak = 7e14,
                                   .peak_integer = 1,
                                   .probe = &probe,
                                   .n_probes = 1};
    bl_speed_record read[2];
    bl_arena *a;
    bl_text table = {0};
    (void)state;
    assert_ok(bl_arena_new(&a, &e));
    const bl_bench_result kernels = {.row = &kernel, .n = 1, .facts = facts};
    assert_ok(bl_bench_write(&(bl_bench_opts){.out = dir, .device = "cuda"}, &kernels, &(bl_text){0}, &e));
    assert_ok(bl_throughput_write(dir, &(bl_speed_record){.facts = facts, .model = &model, .n_models = 1}, &e));
    assert_ok(bl_bench_read(dir, a, &read[0], &e));
    assert_ok(bl_throughput_read(dir, a, &read[1], &e));
    for (int i = 0; i < 2; i++) {
        const bl_kernel_facts *f = &read[i].facts;
        assert_string_equal(f->held, facts.held);
        assert_string_equal(f->slowed, facts.slowed);
        assert_string_equal(f->driver, facts.driver);
        assert_true(f->clock == 1755 && f->memory_clock == 3201 && f->watts == 699 && f->degrees == 61);
        assert_true(f->peak == 7e14 && f->peak_integer == 1 && f->n_probes == 1 && f->probe[0].n == 2);
    }
    assert_true(read[0].kernel[0].clock == 1980 && read[0].kernel[0].cold_clock == 1755);
    assert_string_equal(read[0].kernel[0].held, "");
    assert_string_equal(read[0].kernel[0].cold_held, "power cap");
    assert_true(read[1].model[0].clock == 1410);
    assert_string_equal(read[1].model[0].held, "power cap, heat");
    /* and the tables say it */
    assert_ok(bl_bench_table(&kernel, 1, false, &table, &e));
    assert_non_null(strstr(table.s, "| MHz, held by |"));
    assert_non_null(strstr(table.s, "| 1755, power cap |"));
    bl_text_free(&table);
    const bl_scoring_row scored = {
        .what = "window of 512", .method = "base", .seconds = 1, .clock = 1410, .held = "heat"};
    assert_ok(bl_scoring_table(&scored, 1, false, &table, &e));
    assert_non_null(strstr(table.s, "| 1410, heat   |"));
    bl_text_free(&table);
    bl_bench_clocks(&facts, &table);
    assert_non_null(strstr(table.s, "Driver 580.159.04; clock 1755 MHz, of its memory 3201 MHz"));
    assert_non_null(strstr(table.s, "held down by: power cap, heat; 699 W and 61 degrees"));
    bl_text_free(&table);
    bl_arena_free(a);
    bl_remove_tree(dir, &e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clock_is_the_median_of_what_was_seen_and_power_the_most),
        cmocka_unit_test(every_reason_has_a_name_and_faults_are_told_apart),
        cmocka_unit_test(who_computes_is_looked_at_from_beside),
        cmocka_unit_test(records_have_the_clock_and_what_held_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
