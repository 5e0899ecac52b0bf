/* Timings of kernels: what is timed, what is refused, what is written. No test looks at how long anything takes. */
#include "test.h"
#include "harness/bench/gbench.h"
#include "harness/bench/bench_impl.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"
#include <math.h>
#include <unistd.h>

#define NEEDS_BENCHMARK()                                                                                              \
    do {                                                                                                               \
        if (!bl_gbench_there()) {                                                                                      \
            print_message("skipped: built without Google Benchmark\n");                                                \
            skip();                                                                                                    \
        }                                                                                                              \
    } while (0)

static const int64_t rows[] = {1, 16};
static bl_bench_opts quick(const char *filter, const char *out)
{
    return (bl_bench_opts){.shape = "synth:tiny",
                           .filter = filter,
                           .m = rows,
                           .n_m = 2,
                           .group = 32,
                           .threads = 2,
                           .repetitions = 2,
                           .min_time = 1e-4,
                           .cold_bytes = 1 << 14,
                           .out = out,
                           .quiet = true};
}

static bl_arena *arena(void)
{
    bl_err e = {0};
    bl_arena *a = NULL;
    assert_ok(bl_arena_new(&a, &e));
    return a;
}

static size_t files_in(const char *dir)
{
    bl_err e = {0};
    char **names = NULL;
    size_t n = 0;
    assert_ok(bl_dir_list(dir, &names, &n, &e));
    bl_list_free(names, n);
    return n;
}

/* ---- kernels that are wrong ---- */
static bl_status writes_nothing(const bl_kernel_family *f, bl_backend *be, const bl_linear_args *a, bl_err *e)
{
    (void)f;
    (void)be;
    (void)a;
    (void)e;
    return BL_OK;
}

static bl_status computes_nearly(const bl_kernel_family *f, bl_backend *be, const bl_linear_args *a, bl_err *e)
{
    bl_status st = bl_kernel_find("linear_fp32_ref")->family->run(f, be, a, e);
    float y;
    bl_tensor last = a->y[0];
    if (st != BL_OK) return st;
    last.offset += (uint64_t)(bl_tensor_count(&a->y[0]) - 1) * sizeof y;
    last.ndim = 1;
    last.dim[0] = 1;
    if ((st = be->ops->download(be, &last, &y, e)) != BL_OK) return st;
    y += 0.1f;
    return be->ops->upload(be, &last, &y, e);
}

/* All but output 1, which is none of those that are compared. */
static bl_status leaves_one(const bl_kernel_family *f, bl_backend *be, const bl_linear_args *a, bl_err *e)
{
    bl_status st = bl_kernel_find("linear_fp32_ref")->family->run(f, be, a, e);
    const float none = NAN;
    bl_tensor second = a->y[0];
    second.offset += sizeof none;
    second.ndim = 1;
    second.dim[0] = 1;
    return st == BL_OK ? be->ops->upload(be, &second, &none, e) : st;
}

static bl_status fails(const bl_kernel_family *f, bl_backend *be, const bl_linear_args *a, bl_err *e)
{
    (void)f;
    (void)be;
    (void)a;
    return bl_fail(e, BL_E_DEVICE, "the device is on fire");
}

static int calls_left;
static bl_status fails_later(const bl_kernel_family *f, bl_backend *be, const bl_linear_args *a, bl_err *e)
{
    return calls_left-- > 0 ? bl_kernel_find("linear_fp32_ref")->family->run(f, be, a, e) : fails(f, be, a, e);
}

static void a_wrong_kernel_is_named_and_not_timed(void **state)
{
    bl_err e = {0};
    bl_arena *a = NULL;
    const bl_kernel *good = bl_kernel_find("linear_fp32_ref");
    bl_kernel_family mute = *good->family, careless = *good->family;
    bl_kernel silent = {.name = "silent", .family = &mute, .format = good->format},
              sloppy = {.name = "sloppy", .family = &careless, .format = good->format};
    const bl_kernel *list[] = {good, &silent, &sloppy};
    bl_bench_result r;
    char *json = NULL;
    size_t n;
    const char *dir = test_dir();
    bl_bench_opts o = quick(NULL, dir);
    (void)state;
    NEEDS_BENCHMARK();
    a = arena();

    mute.run = writes_nothing;
    careless.run = computes_nearly;
    assert_ok(bl_bench_list(&o, list, 3, a, &r, &e));
    assert_int_equal(r.n_wrong, 4 * 2 * 2);
    assert_int_equal(r.n, 4 * 2 * 2);
    for (size_t i = 0; i < r.n; i++)
        if (strcmp(r.row[i].kernel, "openblas") && strcmp(r.row[i].kernel, good->name))
            fail_msg("%s was timed", r.row[i].kernel);
    for (size_t i = 0; i < r.n_wrong; i++) {
        assert_true(!strcmp(r.wrong[i].kernel, "silent") || !strcmp(r.wrong[i].kernel, "sloppy"));
        assert_false(r.wrong[i].nmse <= r.wrong[i].limit);
    }
    char *path = bl_join(dir, BL_BENCH_JSON, &e);
    assert_ok(bl_read_file(path, 1 << 24, &json, &n, &e));
    assert_null(strstr(json, "silent"));
    assert_null(strstr(json, "sloppy"));
    assert_non_null(strstr(json, good->name));
    bl_free(json);
    bl_free(path);
    bl_remove_tree(dir, &e);
    bl_arena_free(a);
}

static void a_check_names_what_is_wrong_and_times_nothing(void **state)
{
    bl_err e = {0};
    bl_arena *a = arena();
    const bl_kernel *good = bl_kernel_find("linear_fp32_ref");
    bl_kernel_family mute = *good->family;
    const bl_kernel silent = {.name = "silent", .family = &mute, .format = good->format}, *list[] = {good, &silent};
    bl_bench_result r;
    bl_bench_opts o = quick(NULL, NULL);
    (void)state;
    mute.run = writes_nothing;
    o.check = true;
    assert_ok(bl_bench_list(&o, list, 2, a, &r, &e));
    assert_int_equal(r.n, 4 * 2 * 2);
    for (size_t i = 0; i < r.n; i++) {
        assert_string_not_equal(r.row[i].kernel, "silent");
        assert_true(r.row[i].seconds == 0 && r.row[i].cold == 0 && r.row[i].nmse < 1e-10);
    }
    assert_int_equal(r.n_wrong, 4 * 2);
    for (size_t i = 0; i < r.n_wrong; i++) assert_string_equal(r.wrong[i].kernel, "silent");
    bl_arena_free(a);
}

static void an_output_that_is_left_out_is_noticed_wherever_it_is(void **state)
{
    bl_err e = {0};
    bl_arena *a = NULL;
    const bl_kernel *good = bl_kernel_find("linear_fp32_ref");
    bl_kernel_family lazy = *good->family;
    const bl_kernel missing = {.name = "missing", .family = &lazy, .format = good->format}, *list[] = {good, &missing};
    bl_bench_result r;
    bl_bench_opts o = quick(NULL, NULL);
    (void)state;
    NEEDS_BENCHMARK();
    a = arena();
    lazy.run = leaves_one;
    o.shape = "200x64";
    o.n_m = 1;
    assert_ok(bl_bench_list(&o, list, 2, a, &r, &e));
    assert_int_equal(r.n, 2);
    assert_int_equal(r.n_wrong, 1);
    assert_string_equal(r.wrong[0].kernel, "missing");
    bl_arena_free(a);
}

/* The smallest layer of SmolLM2-135M, at one bit, beside the second-level caches of an A100, an H200 and an RTX 6000
 * Ada: the copies that are made are four times as much, on an Ada too many. */
static void copies_of_the_smallest_layer_are_four_caches(void **state)
{
    static const uint64_t mib = 1 << 20, cache[] = {40, 60, 96};
    bl_err e = {0};
    bl_backend *be = NULL;
    bl_weight w;
    (void)state;
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, &e));
    assert_ok(bl_weight_new(be, bl_format_find("int1"),
                            &(bl_shape){.out = 192, .in = 576, .group = 128, .zero = BL_ZERO_NONE, .scale = BL_F16}, &w,
                            &e));
    for (size_t i = 0; i < BL_COUNT(cache); i++) {
        const uint64_t all = bl_copies_bytes(cache[i] * mib, 40960 * mib);
        bl_copies copies;
        assert_int_equal(all, 4 * cache[i] * mib);
        assert_ok(bl_copies_of_weight(be, &w, all, &copies, &e));
        assert_true(copies.n * bl_weight_bytes(&w) >= all);
        bl_copies_free(&copies);
    }
    bl_weight_free(&w);
    bl_backend_close(be);
}

/* A weight that no memory is there for many times is timed in cache alone, and nothing stands for the other time. */
static void what_cannot_come_from_memory_has_no_time_from_there(void **state)
{
    bl_err e = {0};
    bl_arena *a = NULL;
    const bl_kernel *k = bl_kernel_find("linear_int4_ref"), *list[] = {k};
    bl_bench_result r;
    bl_text text = {0};
    char *json = NULL;
    size_t n;
    const char *dir = test_dir();
    bl_bench_opts o = quick(NULL, dir);
    (void)state;
    NEEDS_BENCHMARK();
    a = arena();
    o.shape = "8x64";
    o.n_m = 1;
    o.cold_bytes = 1 << 28; /* of 300 bytes each */
    assert_ok(bl_bench_list(&o, list, 1, a, &r, &e));
    assert_int_equal(r.n, 2);
    for (size_t i = 0; i < r.n; i++) {
        assert_true(r.row[i].seconds > 0 && r.row[i].n_repeat[0] == 2);
        assert_true(r.row[i].cold == 0 && r.row[i].cold_ratio == 0 && r.row[i].of_memory == 0);
        assert_int_equal(r.row[i].n_repeat[1], 0);
    }
    assert_true(r.facts.copies_bytes == 1 << 28);
    assert_ok(bl_bench_table(r.row, r.n, false, &text, &e));
    assert_non_null(strstr(text.s, "|           |       |      |          |"));
    bl_text_free(&text);
    char *path = bl_join(dir, BL_BENCH_JSON, &e);
    assert_ok(bl_read_file(path, 1 << 24, &json, &n, &e));
    assert_null(strstr(json, "nan"));
    bl_free(json);
    bl_free(path);
    bl_remove_tree(dir, &e);
    bl_arena_free(a);
}

static void a_kernel_that_fails_stops_the_bench_and_leaves_nothing(void **state)
{
    bl_err e = {0};
    bl_arena *a = NULL;
    const bl_kernel *good = bl_kernel_find("linear_fp32_ref");
    bl_kernel_family fire = *good->family;
    bl_kernel burning = {.name = "burning", .family = &fire, .format = good->format};
    const bl_kernel *list[] = {&burning};
    bl_bench_result r;
    const char *dir = test_dir();
    bl_bench_opts o = quick(NULL, dir);
    (void)state;
    NEEDS_BENCHMARK();
    a = arena();

    fire.run = fails;
    assert_refused(bl_bench_list(&o, list, 1, a, &r, &e), BL_E_DEVICE, "on fire");
    assert_int_equal(files_in(dir), 0);
    fire.run = fails_later;
    for (int left = 1; left < 4096; left *= 8) { /* in the check, in a warm-up, in any repetition */
        calls_left = left;
        const bl_status s = bl_bench_list(&o, list, 1, a, &r, &e);
        if (s == BL_OK && calls_left >= 0 && left > 8) break; /* it makes fewer calls where they take long */
        assert_refused(s, BL_E_DEVICE, "on fire");
        assert_int_equal(files_in(dir), 0);
    }
    bl_remove_tree(dir, &e);
    bl_arena_free(a);
}

/* ---- what is timed ---- */
static void every_distinct_layer_shape_is_timed_once_for_each_number_of_rows(void **state)
{
    static const struct {
        int64_t out, in;
    } shapes[] = {{64, 64}, {32, 64}, {176, 64}, {64, 176}}; /* q and o, k and v, gate and up, down */
    bl_err e = {0};
    bl_arena *a = NULL;
    bl_bench_result r;
    bl_bench_opts o = quick("linear_int4_ref", NULL);
    (void)state;
    NEEDS_BENCHMARK();
    a = arena();

    assert_ok(bl_bench_kernels(&o, a, &r, &e));
    assert_int_equal(r.n, BL_COUNT(shapes) * BL_COUNT(rows) * 2);
    for (size_t i = 0; i < r.n; i++) {
        const bl_kernel_row *row = &r.row[i];
        assert_int_equal(row->out, shapes[i / 4].out);
        assert_int_equal(row->in, shapes[i / 4].in);
        assert_int_equal(row->m, rows[i / 2 % 2]);
        assert_string_equal(row->kernel, i % 2 ? "linear_int4_ref" : "openblas");
        assert_true(row->seconds > 0 && row->seconds_min > 0 && row->seconds_min <= row->seconds);
        assert_true(row->nmse < 1e-10);
        double flops = 2.0 * (double)row->m * (double)row->out * (double)row->in;
        assert_true(fabs(row->gflops * 1e9 * row->seconds / flops - 1) < 1e-12);
        if (i % 2) assert_true(fabs(row->ratio * row->seconds / r.row[i - 1].seconds - 1) < 1e-12);
        else assert_true(row->ratio == 1 && row->bits == 32 && row->group == 0);
    }
    /* codes 4, and for each 32 of them a scale of 16 bits and a zero point of 4 */
    assert_true(r.row[1].bits == 4 + 20.0 / 32);
    assert_int_equal(r.row[1].group, 32);
    bl_arena_free(a);
}

/* A result is compared with sums over activations that were rounded by themselves: with scales of rows where groups
 * have theirs it would be a hundred million times farther off. */
static void integer_activations_have_the_scales_that_are_asked_for(void **state)
{
    bl_err e = {0};
    bl_arena *a = NULL;
    bl_bench_result r;
    bl_bench_opts o = quick("linear_w8a8_ref", NULL);
    (void)state;
    NEEDS_BENCHMARK();
    a = arena();
    for (o.act_group = 0; o.act_group <= 32; o.act_group += 16) {
        assert_ok(bl_bench_kernels(&o, a, &r, &e));
        assert_int_equal(r.n_wrong, 0);
        assert_int_equal(r.n, 4 * BL_COUNT(rows) * 2);
        for (size_t i = 1; i < r.n; i += 2) assert_true(r.row[i].nmse < 1e-11);
    }
    bl_backend *be;
    bl_kernel_case c;
    assert_ok(bl_backend_open(&(bl_backend_opts){.threads = 1}, &be, &e));
    assert_ok(bl_kernel_prepare(bl_kernel_find("linear_w8a8_ref"), be,
                                &(bl_kernel_shape){.rows = 1, .out = 8, .in = 64, .group = 32, .act_group = 16}, &c,
                                &e));
    assert_int_equal(c.act.unit, BL_ACT_GROUP);
    assert_int_equal(c.act.group, 16);
    bl_kernel_release(be, &c);
    bl_backend_close(be);
    bl_arena_free(a);
}

static void nothing_is_written_unless_asked(void **state)
{
    bl_err e = {0};
    bl_arena *a = NULL;
    bl_bench_result r;
    bl_bench_opts o = quick("linear_fp32_ref", NULL);
    char back[4096];
    const char *dir = test_dir();
    (void)state;
    NEEDS_BENCHMARK();
    a = arena();

    assert_non_null(getcwd(back, sizeof back));
    assert_int_equal(chdir(dir), 0);
    assert_ok(bl_bench_kernels(&o, a, &r, &e));
    assert_int_equal(chdir(back), 0);
    assert_int_equal(files_in(dir), 0);
    bl_remove_tree(dir, &e);
    bl_arena_free(a);
}

static void a_filter_that_fits_no_kernel_is_refused(void **state)
{
    bl_err e = {0};
    bl_arena *a = NULL;
    bl_bench_result r;
    bl_bench_opts o = quick("gem_*,nothing", NULL);
    (void)state;
    NEEDS_BENCHMARK();
    a = arena();
    assert_refused(bl_bench_kernels(&o, a, &r, &e), BL_E_CONFIG, "gem_*,nothing");
    bl_arena_free(a);
}

static void without_google_benchmark_the_missing_package_is_named(void **state)
{
    bl_err e = {0};
    bl_bench_result r;
    bl_bench_opts o = quick(NULL, NULL);
    (void)state;
    if (bl_gbench_there()) skip();
    bl_arena *a = arena();
    assert_refused(bl_bench_kernels(&o, a, &r, &e), BL_E_UNSUPPORTED, "libbenchmark-dev");
    bl_arena_free(a);
}

/* ---- what is written ---- */
static void the_shard_reads_back_as_the_same_rows(void **state)
{
    bl_err e = {0};
    bl_arena *a = NULL;
    bl_bench_result r;
    bl_speed_record read;
    const char *dir = test_dir();
    bl_bench_opts o = quick("linear_*,gem?_int4_*", dir);
    (void)state;
    NEEDS_BENCHMARK();
    a = arena();

    assert_ok(bl_bench_kernels(&o, a, &r, &e));
    assert_ok(bl_bench_read(dir, a, &read, &e));
    const bl_kernel_facts facts = read.facts;
    assert_int_equal(read.n_kernels, r.n);
    for (size_t i = 0; i < read.n_kernels; i++) {
        const bl_kernel_row *x = &r.row[i], *y = &read.kernel[i];
        for (int cold = 0; cold < 2; cold++) {
            assert_true(x->n_repeat[cold] == 2 && y->n_repeat[cold] == 2);
            assert_memory_equal(x->repeat[cold], y->repeat[cold], 2 * sizeof(double));
        }
        assert_string_equal(x->kernel, y->kernel);
        assert_string_equal(x->op, y->op);
        assert_string_equal(x->format, y->format);
        assert_string_equal(x->backend, y->backend);
        assert_true(x->m == y->m && x->out == y->out && x->in == y->in && x->group == y->group);
        assert_true(x->bits == y->bits && x->seconds == y->seconds && x->seconds_min == y->seconds_min &&
                    x->ratio == y->ratio && x->nmse == y->nmse);
        assert_true(x->cold == y->cold && x->cold_min == y->cold_min && x->cold_max == y->cold_max &&
                    x->cold_ratio == y->cold_ratio && x->seconds_max == y->seconds_max && x->bytes == y->bytes);
        assert_true(y->cold > 0 && y->cold_min <= y->cold && y->cold <= y->cold_max);
        assert_true(y->seconds_min <= y->seconds && y->seconds <= y->seconds_max);
        assert_true(x->of_memory == y->of_memory && x->of_peak == y->of_peak);
        assert_true(fabs(y->of_memory * r.facts.read_bytes_per_second / (y->bytes / y->cold) - 1) < 1e-12);
        if (strcmp(r.device.simd, "plain") != 0 && y->gflops > 0)
            assert_true(
                fabs(y->of_peak * (strstr(y->kernel, "_w") ? r.facts.peak_integer : r.facts.peak) / (y->gflops * 1e9) -
                     1) < 1e-12);
        assert_true(fabs(x->gbs / y->gbs - 1) < 1e-14 &&
                    fabs(x->gflops / y->gflops - 1) < 1e-14); /* stored per second, not in thousands of millions */
    }
    assert_true(facts.threads == 2 && facts.repetitions == 2 && facts.drift >= 1);
    assert_true(facts.read_bytes_per_second == r.facts.read_bytes_per_second && facts.read_bytes_per_second > 0);
    assert_string_equal(facts.shape, "synth:tiny");
    assert_int_equal(strlen(facts.created), strlen("2024-05-01T12:00:00Z"));
    bl_remove_tree(dir, &e);
    bl_arena_free(a);
}

static void the_report_of_google_benchmark_has_every_row_with_its_counters(void **state)
{
    static const char *const counters[] = {"flop_per_second", "bytes_per_second", "bits_per_weight", "nmse",
                                           "real_time",       "cpu_time"};
    bl_err e = {0};
    bl_arena *a = NULL;
    bl_bench_result r;
    bl_json *doc = NULL;
    const char *dir = test_dir(), *text;
    bl_bench_opts o = quick("linear_int8_ref", dir);
    size_t n_runs = 0, n_medians = 0;
    (void)state;
    NEEDS_BENCHMARK();
    a = arena();

    assert_ok(bl_bench_kernels(&o, a, &r, &e));
    char *path = bl_join(dir, BL_BENCH_JSON, &e);
    assert_ok(bl_json_read(path, 1 << 24, BL_JSON_PLAIN, &doc, &e));
    assert_ok(bl_json_get_str(bl_json_get(doc, "context"), "simd", &text, &e));
    for (const bl_json *v = bl_json_first(bl_json_get(doc, "benchmarks")); v; v = bl_json_next(v)) {
        double x;
        assert_ok(bl_json_get_str(v, "run_type", &text, &e));
        if (strcmp(text, "iteration") == 0) {
            n_runs++;
            for (size_t k = 0; k < BL_COUNT(counters); k++) assert_ok(bl_json_get_real(v, counters[k], &x, &e));
            assert_ok(bl_json_get_real(v, "bits_per_weight", &x, &e));
            assert_true(x > 8 && x <= 32);
            continue;
        }
        assert_ok(bl_json_get_str(v, "aggregate_name", &text, &e));
        if (strcmp(text, "median")) continue;
        assert_ok(bl_json_get_real(v, "real_time", &x, &e));
        bool there = false;
        for (size_t i = 0; i < r.n; i++)
            there = there || fabs(r.row[i].seconds * 1e6 / x - 1) < 1e-6 || fabs(r.row[i].cold * 1e6 / x - 1) < 1e-6;
        assert_true(there);
        n_medians++;
    }
    assert_int_equal(n_medians, r.n * 2); /* in cache and from memory */
    assert_int_equal(n_runs, r.n * 2 * 2);
    bl_json_free(doc);
    bl_free(path);
    bl_remove_tree(dir, &e);
    bl_arena_free(a);
}

/* ---- weights that come from memory ---- */
/* Two processors share 16 MiB, the others have their own; numbers between them are off. */
static void copies_are_four_times_what_all_the_last_caches_hold(void **state)
{
    static const struct {
        int cpu;
        const char *size, *shared;
    } has[] = {{0, "16384K\n", "0-1\n"}, {1, "16384K\n", "0-1\n"}, {2, "512K\n", "2\n"}, {40, "1M\n", "40\n"}};
    bl_err e = {0};
    const char *dir = test_dir();
    char at[4200], path[4300];
    (void)state;
    assert_int_equal(bl_last_caches(dir), 0);
    for (size_t i = 0; i < BL_COUNT(has); i++) {
        snprintf(at, sizeof at, "%s/cpu%d/cache/index3", dir, has[i].cpu);
        assert_ok(bl_make_dirs(at, &e));
        snprintf(path, sizeof path, "%s/size", at);
        assert_ok(bl_write_file(path, has[i].size, strlen(has[i].size), &e));
        snprintf(path, sizeof path, "%s/shared_cpu_list", at);
        assert_ok(bl_write_file(path, has[i].shared, strlen(has[i].shared), &e));
    }
    assert_int_equal(bl_last_caches(dir), (16 << 20) + (512 << 10) + (1 << 20));
    assert_ok(bl_remove_tree(dir, &e));

    const uint64_t mib = 1 << 20;
    assert_int_equal(bl_copies_bytes(300 * mib, 16384 * mib), 1200 * mib);
    assert_int_equal(bl_copies_bytes(0, 16384 * mib), 64 * mib);
    assert_int_equal(bl_copies_bytes(300 * mib, 2048 * mib), 0); /* not cold, so not timed */
    assert_int_equal(bl_copies_bytes(300 * mib, 0), 1200 * mib);
}

static void copies_of_a_weight_are_the_weight_and_more_than_a_cache(void **state)
{
    bl_err e = {0};
    bl_backend *be = NULL;
    bl_kernel_case c;
    bl_copies copies;
    float w[12], *first, *other;
    (void)state;

    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, &e));
    bl_kernel_shape s = {.rows = 1, .out = 512, .in = 512, .group = 64};
    assert_ok(bl_kernel_prepare(bl_kernel_find("linear_int4_ref"), be, &s, &c, &e));
    assert_ok(bl_copies_of_weight(be, &c.w, 1 << 24, &copies, &e));
    assert_true(copies.n * bl_weight_bytes(&c.w) >= 1 << 24);
    size_t n = bl_tensor_bytes(&c.w.part[0]);
    first = bl_new(n, 1, &e);
    other = bl_new(n, 1, &e);
    assert_ok(be->ops->download(be, &c.w.part[0], first, &e));
    size_t seen = 0;
    for (size_t i = 0; i < copies.n; i++) { /* each comes once before one comes again */
        size_t at = bl_copies_next(&copies);
        assert_int_equal(at, (i + 1) % copies.n);
        if (i % 50) continue;
        assert_ok(be->ops->download(be, &copies.w[at].part[0], other, &e));
        assert_memory_equal(first, other, n);
        seen++;
    }
    assert_true(seen > 0);
    bl_free(first);
    bl_free(other);
    bl_copies_free(&copies);
    for (int none = 0; none < 2; none++) { /* no memory for copies; too many of them */
        assert_ok(bl_copies_of_weight(be, &c.w, none ? BL_MOST_COPIES * bl_weight_bytes(&c.w) : 0, &copies, &e));
        assert_int_equal(copies.n, 0);
        assert_ok(bl_copies_of_floats(w, 12, none ? BL_MOST_COPIES * sizeof w : 0, &copies, &e));
        assert_int_equal(copies.n, 0);
    }
    bl_kernel_release(be, &c);
    bl_backend_close(be);

    for (int i = 0; i < 12; i++) w[i] = (float)i;
    assert_ok(bl_copies_of_floats(w, 12, 4096, &copies, &e));
    assert_true(copies.n * sizeof w >= 4096);
    assert_memory_equal(copies.host + 12 * (copies.n - 1), w, sizeof w);
    bl_copies_free(&copies);
}

/* What a GPU's timings are in the form of Google Benchmark: its compare.py asks for name, run_type, real_time, cpu_time
 * and time_unit of each run. */
static void timings_of_a_device_have_the_form_of_google_benchmark(void **state)
{
    static const double t[2][3] = {{1e-6, 3e-6, 2e-6}, {4e-6, 6e-6, 5e-6}};
    bl_err e = {0};
    bl_json *doc = NULL;
    bl_text text = {0};
    bl_kernel_row row = {.kernel = "stream_int4_cuda",
                         .m = 16,
                         .out = 512,
                         .in = 1024,
                         .seconds = 2e-6,
                         .cold = 5e-6,
                         .bytes = 1e6,
                         .repeat = {t[0], t[1]},
                         .n_repeat = {3, 3}};
    bl_bench_result r = {.row = &row, .n = 1, .facts = {.clock = 1980}};
    double sum[2] = {0};
    size_t n = 0, medians = 0;
    (void)state;
    assert_ok(bl_bench_google(&r, &text, &e));
    assert_ok(bl_json_parse(text.s, text.n, "report", BL_JSON_PLAIN, &doc, &e));
    assert_non_null(bl_json_get(doc, "context"));
    for (const bl_json *v = bl_json_first(bl_json_get(doc, "benchmarks")); v; v = bl_json_next(v), n++) {
        const char *name, *kind, *unit;
        double real, cpu;
        assert_ok(bl_json_get_str(v, "name", &name, &e));
        assert_ok(bl_json_get_str(v, "run_type", &kind, &e));
        assert_ok(bl_json_get_str(v, "time_unit", &unit, &e));
        assert_ok(bl_json_get_real(v, "real_time", &real, &e));
        assert_ok(bl_json_get_real(v, "cpu_time", &cpu, &e));
        assert_string_equal(unit, "us");
        assert_true(real == cpu);
        bool cold = strstr(name, "/from:memory") != NULL;
        if (strcmp(kind, "aggregate") == 0) {
            medians++;
            assert_true(fabs(real - (cold ? 5 : 2)) < 1e-9);
        } else {
            assert_string_equal(name, cold ? "stream_int4_cuda/m:16/out:512/in:1024/from:memory"
                                           : "stream_int4_cuda/m:16/out:512/in:1024");
            sum[cold] += real;
        }
    }
    assert_true(n == 8 && medians == 2 && fabs(sum[0] - 6) < 1e-9 && fabs(sum[1] - 15) < 1e-9);
    bl_json_free(doc);
    bl_text_free(&text);
}

static void a_directory_without_timings_has_none_and_a_broken_file_is_noticed(void **state)
{
    bl_err e = {0};
    bl_arena *a = NULL;
    bl_speed_record read = {.n_kernels = 7};
    size_t size;
    char *bytes = NULL;
    const char *dir = test_dir();
    bl_bench_opts o = quick("linear_fp32_ref", dir);
    bl_bench_result r;
    (void)state;
    NEEDS_BENCHMARK();
    a = arena();

    assert_ok(bl_bench_read(dir, a, &read, &e));
    assert_int_equal(read.n_kernels, 0);
    assert_ok(bl_bench_kernels(&o, a, &r, &e));
    char *path = bl_join(dir, BL_BENCH_FILE, &e);
    assert_ok(bl_read_file(path, 1 << 24, &bytes, &size, &e));
    bytes[size / 2] ^= 4;
    assert_ok(bl_write_file(path, bytes, size, &e));
    assert_refused(bl_bench_read(dir, a, &read, &e), BL_E_CORRUPT, BL_BENCH_FILE);
    bl_free(bytes);
    bl_free(path);
    bl_remove_tree(dir, &e);
    bl_arena_free(a);
}

static void tables_have_one_line_a_row(void **state)
{
    static const bl_kernel_row row[] = {
        {.kernel = "openblas",
         .op = "linear",
         .format = "fp32",
         .backend = "openblas",
         .m = 16,
         .out = 576,
         .in = 1536,
         .bits = 32,
         .seconds = 2e-3,
         .gbs = 1.2,
         .gflops = 14.5,
         .ratio = 1,
         .nmse = 1e-14,
         .seconds_min = 1.5e-3},
        {.kernel = "gemm_int4_avx2",
         .op = "linear",
         .format = "int4",
         .backend = "cpu",
         .m = 16,
         .out = 576,
         .in = 1536,
         .group = 64,
         .bits = 4.3125,
         .seconds = 1e-3,
         .gbs = 0.6,
         .gflops = 29,
         .ratio = 2,
         .nmse = 1e-15,
         .seconds_min = 0.8e-3,
         .seconds_max = 1e-3,
         .cold = 1.6e-3,
         .cold_ratio = 2.5,
         .bytes = 480e3,
         .of_memory = 0.12,
         .of_peak = 0.58},
    };
    bl_err e = {0};
    bl_text t = {0};
    bl_json *doc = NULL;
    double x;
    (void)state;

    assert_ok(bl_bench_table(row, 2, false, &t, &e));
    assert_string_equal(t.s, "| kernel         |    M |   out |    in | group |  bits | memory us |  GB/s |  max | "
                             "OpenBLAS | cache us | GFLOP/s "
                             "|  max | OpenBLAS | spread |\n"
                             "|:---------------|-----:|------:|------:|------:|------:|----------:|------:|-----:|-----"
                             "----:|---------:|--------:"
                             "|-----:|---------:|-------:|\n"
                             "| openblas       |   16 |   576 |  1536 |       | 32.00 |           |       |      |     "
                             "     |   2000.0 |    14.5 "
                             "|      |    1.00x |        |\n"
                             "| gemm_int4_avx2 |   16 |   576 |  1536 |    64 |  4.31 |    1600.0 |   0.3 |  12% |    "
                             "2.50x |   1000.0 |    29.0 "
                             "|  58% |    2.00x |   25 % |\n");
    bl_text_free(&t);
    bl_kernel_row one = row[1];
    one.seconds_min = one.seconds_max; /* of one repetition */
    assert_ok(bl_bench_table(&one, 1, false, &t, &e));
    assert_non_null(strstr(t.s, "2.00x |      - |\n"));
    bl_text_free(&t);
    assert_ok(bl_bench_table(row, 2, true, &t, &e));
    assert_ok(bl_json_parse(t.s, t.n, "table", BL_JSON_PLAIN, &doc, &e));
    assert_int_equal(bl_json_size(doc), 2);
    assert_ok(bl_json_get_real(bl_json_first(doc), "flop_per_second", &x, &e));
    assert_true(x == 14.5e9);
    bl_json_free(doc);
    bl_text_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_kernel_is_named_and_not_timed),
        cmocka_unit_test(a_check_names_what_is_wrong_and_times_nothing),
        cmocka_unit_test(an_output_that_is_left_out_is_noticed_wherever_it_is),
        cmocka_unit_test(copies_of_the_smallest_layer_are_four_caches),
        cmocka_unit_test(what_cannot_come_from_memory_has_no_time_from_there),
        cmocka_unit_test(a_kernel_that_fails_stops_the_bench_and_leaves_nothing),
        cmocka_unit_test(every_distinct_layer_shape_is_timed_once_for_each_number_of_rows),
        cmocka_unit_test(integer_activations_have_the_scales_that_are_asked_for),
        cmocka_unit_test(nothing_is_written_unless_asked),
        cmocka_unit_test(a_filter_that_fits_no_kernel_is_refused),
        cmocka_unit_test(without_google_benchmark_the_missing_package_is_named),
        cmocka_unit_test(the_shard_reads_back_as_the_same_rows),
        cmocka_unit_test(the_report_of_google_benchmark_has_every_row_with_its_counters),
        cmocka_unit_test(timings_of_a_device_have_the_form_of_google_benchmark),
        cmocka_unit_test(a_directory_without_timings_has_none_and_a_broken_file_is_noticed),
        cmocka_unit_test(copies_are_four_times_what_all_the_last_caches_hold),
        cmocka_unit_test(copies_of_a_weight_are_the_weight_and_more_than_a_cache),
        cmocka_unit_test(tables_have_one_line_a_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
