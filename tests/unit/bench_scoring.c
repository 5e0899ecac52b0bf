/* Whole models next to their products: every method meets every work, and nothing stays behind. */
#include "test.h"
#include "harness/bench/bench_impl.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"

static const bl_method *const none[] = {NULL};
static const bl_program program = {.methods = none};

/* Everything temporary was made in `dir`, and is gone. */
static void nothing_left(const char *dir)
{
    bl_err e = {0};
    char **names = NULL;
    size_t n = 0;
    unsetenv("TMPDIR");
    assert_ok(bl_dir_list(dir, &names, &n, &e));
    assert_int_equal(n, 0);
    bl_list_free(names, n);
}

static void every_work_has_a_row_of_sgemm_and_one_of_each_method(void **state)
{
    static const struct {
        const char *what;
        int64_t tokens;
    } works[] = {{"window of 511", 511},
                 {"prompt of 511", 511},
                 {"requests of 12, batch 1", 96},
                 {"requests of 12, batch 8", 96},
                 {"greedy text of 6", 6}};
    bl_err e = {0};
    bl_arena *a = NULL;
    bl_scoring_result r;
    bl_text t = {0};
    bl_json *doc = NULL;
    const char *dir = test_dir();
    (void)state;

    assert_ok(bl_arena_new(&a, &e));
    setenv("TMPDIR", dir, 1);
    assert_ok(bl_bench_scoring(&program,
                               &(bl_scoring_opts){.model = "synth:tiny",
                                                  .method = "fp32",
                                                  .threads = 2,
                                                  .repetitions = 1,
                                                  .request = 12,
                                                  .decode = 6,
                                                  .quiet = true},
                               a, &r, &e));
    nothing_left(dir);
    assert_ok(bl_bench_scoring(&program,
                               &(bl_scoring_opts){.model = "synth:tiny",
                                                  .method = "fp32",
                                                  .threads = 1,
                                                  .repetitions = 1,
                                                  .request = 12,
                                                  .decode = 6,
                                                  .quiet = true},
                               a, &r, &e));
    assert_int_equal(r.n, 2 * BL_COUNT(works)); /* tiny has 512 positions: one window */
    for (size_t i = 0; i < r.n; i++) {
        assert_string_equal(r.row[i].what, works[i / 2].what);
        assert_string_equal(r.row[i].method, i % 2 ? "fp32" : "cblas_sgemm");
        assert_int_equal(r.row[i].tokens, works[i / 2].tokens);
        assert_true(r.row[i].seconds_min > 0 && r.row[i].seconds_min <= r.row[i].seconds &&
                    r.row[i].seconds <= r.row[i].seconds_max);
        assert_true(r.row[i].seconds > 0 && r.row[i].gflops > 0 && r.row[i].ratio > 0);
    }
    assert_ok(bl_scoring_table(r.row, r.n, true, &t, &e));
    assert_ok(bl_json_parse(t.s, t.n, "table", BL_JSON_PLAIN, &doc, &e));
    assert_int_equal(bl_json_size(doc), r.n);
    bl_json_free(doc);
    bl_text_free(&t);
    bl_remove_tree(dir, &e);
    bl_arena_free(a);
}

static void the_products_of_a_window_are_counted_from_the_shapes(void **state)
{
    /* tiny: 2 blocks of q, o 64x64; k, v 32x64; gate, up 176x64; down 64x176; a head of 512x64 */
    const double weights = 2.0 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 176 * 64) + 512 * 64;
    bl_err e = {0};
    bl_arena *a = NULL;
    bl_scoring_result r;
    (void)state;

    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_bench_scoring(
        &program,
        &(bl_scoring_opts){.model = "synth:tiny", .method = "fp32", .threads = 1, .repetitions = 1, .quiet = true}, a,
        &r, &e));
    assert_true(r.n > 2);
    double flops = r.row[1].gflops * 1e9 * r.row[1].seconds;
    assert_true(flops > 2 * 511 * weights * (1 - 1e-9) && flops < 2 * 511 * weights * (1 + 1e-9));
    bl_arena_free(a);
}

static void a_filter_chooses_what_is_timed_and_openblas_can_be_left_out(void **state)
{
    bl_err e = {0};
    bl_arena *a = NULL;
    bl_scoring_result r;
    (void)state;

    assert_ok(bl_arena_new(&a, &e));
    bl_scoring_opts o = {.model = "synth:tiny",
                         .method = "fp32",
                         .filter = "greedy*",
                         .decode = 3,
                         .threads = 1,
                         .repetitions = 1,
                         .quiet = true};
    assert_ok(bl_bench_scoring(&program, &o, a, &r, &e));
    assert_int_equal(r.n, 2); /* sgemm and the method */
    assert_string_equal(r.row[1].what, "greedy text of 3");
    o.alone = true;
    assert_ok(bl_bench_scoring(&program, &o, a, &r, &e));
    assert_int_equal(r.n, 1);
    assert_string_equal(r.row[0].method, "fp32");
    assert_true(r.row[0].ratio == 0);
    o.filter = "gready*";
    assert_refused(bl_bench_scoring(&program, &o, a, &r, &e), BL_E_CONFIG, "gready*");
    bl_arena_free(a);
}

static void requests_go_together_as_many_as_are_asked_for(void **state)
{
    static const struct {
        int64_t batch, n;
        const char *what[2];
    } cases[] = {{1, 1, {"requests of 12, batch 1"}},
                 {3, 2, {"requests of 12, batch 1", "requests of 12, batch 3"}},
                 {0, 2, {"requests of 12, batch 1", "requests of 12, batch 8"}}};
    bl_err e = {0};
    bl_arena *a = NULL;
    bl_scoring_result r;
    (void)state;

    assert_ok(bl_arena_new(&a, &e));
    for (size_t i = 0; i < BL_COUNT(cases); i++) {
        const bl_scoring_opts o = {.model = "synth:tiny",
                                   .method = "fp32",
                                   .filter = "requests*",
                                   .request = 12,
                                   .batch = cases[i].batch,
                                   .threads = 1,
                                   .repetitions = 1,
                                   .alone = true,
                                   .quiet = true};
        assert_ok(bl_bench_scoring(&program, &o, a, &r, &e));
        assert_int_equal(r.n, cases[i].n);
        for (size_t k = 0; k < r.n; k++) {
            assert_string_equal(r.row[k].what, cases[i].what[k]);
            assert_int_equal(r.row[k].tokens, 12 * (cases[i].batch ? cases[i].batch : 8));
        }
    }
    bl_arena_free(a);
}

static void unknown_methods_are_refused_and_leave_nothing(void **state)
{
    bl_err e = {0};
    bl_arena *a = NULL;
    bl_scoring_result r;
    const char *dir = test_dir();
    (void)state;

    assert_ok(bl_arena_new(&a, &e));
    setenv("TMPDIR", dir, 1);
    assert_refused(bl_bench_scoring(&program,
                                    &(bl_scoring_opts){.model = "synth:tiny", .method = "fp32,fp31", .quiet = true}, a,
                                    &r, &e),
                   BL_E_CONFIG, "fp31");
    nothing_left(dir);
    bl_remove_tree(dir, &e);
    bl_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_work_has_a_row_of_sgemm_and_one_of_each_method),
        cmocka_unit_test(the_products_of_a_window_are_counted_from_the_shapes),
        cmocka_unit_test(a_filter_chooses_what_is_timed_and_openblas_can_be_left_out),
        cmocka_unit_test(requests_go_together_as_many_as_are_asked_for),
        cmocka_unit_test(unknown_methods_are_refused_and_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
