/* Tables of dispatch: chosen from timings, written, read, looked up; files that are refused. Timings are made up. */
#include "test.h"
#include "harness/bench/bench.h"
#include "kernels/base/fs.h"
#include "kernels/dispatch.h"

static bl_err e;

static bl_kernel_row timed(const char *kernel, int64_t m, int64_t out, int64_t in, int64_t group, double cold)
{
    const bl_kernel *k = bl_kernel_find(kernel);
    assert_non_null(k);
    return (bl_kernel_row){.kernel = kernel,
                           .op = "linear",
                           .format = k->format->name,
                           .backend = "cpu",
                           .m = m,
                           .out = out,
                           .in = in,
                           .group = group,
                           .seconds = cold,
                           .cold = cold};
}

static bl_dispatch *reread(const bl_dispatch_row *row, size_t n)
{
    const char *dir = test_dir();
    bl_text t = {0};
    bl_dispatch *d;
    char *path = bl_join(dir, "table.json", &e);
    assert_ok(bl_dispatch_text("a device", "by hand", row, n, &t, &e));
    assert_ok(bl_write_file(path, t.s, t.n, &e));
    assert_ok(bl_dispatch_read(path, &d, &e));
    bl_text_free(&t);
    bl_free(path);
    bl_remove_tree(dir, &e);
    return d;
}

/* The rows are those of the processor: which kernels there are does not matter here. */
static void the_fastest_of_each_number_of_rows_is_chosen_and_found(void **state)
{
    const char *const a = "linear_int4_ref", *const b = "linear_int8_ref";
    bl_kernel_row row[] = {
        timed(a, 1, 512, 512, 128, 1e-3),
        timed(a, 4, 512, 512, 128, 2e-3),
        timed(a, 16, 512, 512, 128, 9e-3),
        timed(b, 1, 512, 512, 128, 1e-3),
        timed(b, 4, 4096, 512, 128, 2e-3),
        timed("linear_w8a8_ref", 1, 512, 512, 128, 1e-6),
        timed("linear_fp32_ref", 1, 512, 512, 0, 1e-6),
    };
    bl_arena *arena;
    bl_dispatch_row *d;
    size_t n;
    (void)state;
    assert_ok(bl_arena_new(&arena, &e));
    assert_ok(bl_tune_rows(row, BL_COUNT(row), arena, &d, &n, &e));
    assert_int_equal(n, 3); /* int4, and int8 of two shapes; activations of 8 bits and dense weights have no choice */
    assert_int_equal(d[0].n_runs, 1);
    assert_int_equal(d[0].run[0].rows, 16);
    bl_dispatch *t = reread(d, n);
    assert_string_equal(bl_dispatch_find(t, "int4", 128, 7, 512, 512), a);
    assert_string_equal(bl_dispatch_find(t, "int4", 128, 16, 9999, 777), a); /* the nearest shape */
    assert_null(bl_dispatch_find(t, "int4", 128, 17, 512, 512));             /* more rows than were timed */
    assert_null(bl_dispatch_find(t, "int4", 64, 1, 512, 512));
    assert_null(bl_dispatch_find(t, "int4", 512, 1, 512, 512)); /* a whole row is another thing than groups */
    assert_null(bl_dispatch_find(t, "nf4", 128, 1, 512, 512));
    /* int8 was timed at one row of 512 x 512 and at four of 4096 x 512: what is near the one and what is near the
     * other, in the logarithm: 1448 is half way */
    assert_string_equal(bl_dispatch_find(t, "int8", 128, 1, 1400, 512), b);
    assert_null(bl_dispatch_find(t, "int8", 128, 2, 1400, 512));
    assert_string_equal(bl_dispatch_find(t, "int8", 128, 2, 1500, 512), b);
    assert_null(bl_dispatch_find(t, "int8", 128, 2, 512, 4096)); /* the first is nearer */
    bl_dispatch_free(t);
    /* a group that is a whole row there is none of a longer row, and every whole row is one */
    t = reread(&(bl_dispatch_row){.format = "int4", .group = 512, .out = 512, .in = 512, .n_runs = 1, .run = {{1, a}}},
               1);
    assert_null(bl_dispatch_find(t, "int4", 512, 1, 512, 1024));
    assert_string_equal(bl_dispatch_find(t, "int4", 1024, 1, 512, 1024), a);
    bl_dispatch_free(t);
    bl_arena_free(arena);
}

static void runs_change_where_another_is_faster_by_more_than_noise(void **state)
{
    const bl_kernel *k, *pair[2] = {NULL, NULL};
    bl_arena *arena;
    bl_dispatch_row *d;
    size_t n;
    (void)state;
    for (size_t i = 0; (k = bl_kernel_at(i)) != NULL && !pair[1]; i++)
        if (strcmp(k->format->name, "int4") == 0 && !k->abits && !k->family->layout && !k->family->transpose)
            pair[pair[0] ? 1 : 0] = k;
    if (!pair[1]) skip(); /* a processor with one kernel */
    const char *x = pair[0]->name, *y = pair[1]->name;
    bl_kernel_row row[] = {
        timed(x, 1, 512, 512, 128, 1.00), timed(y, 1, 512, 512, 128, 1.20),
        timed(x, 8, 512, 512, 128, 1.00), timed(y, 8, 512, 512, 128, 0.99), /* by 1 %: the one before stays */
        timed(x, 32, 512, 512, 128, 2.0), timed(y, 32, 512, 512, 128, 1.0),
    };
    assert_ok(bl_arena_new(&arena, &e));
    assert_ok(bl_tune_rows(row, BL_COUNT(row), arena, &d, &n, &e));
    assert_int_equal(n, 1);
    assert_int_equal(d->n_runs, 2);
    assert_true(d->run[0].rows == 8 && d->run[1].rows == 32);
    bl_dispatch *t = reread(d, n);
    assert_string_equal(bl_dispatch_find(t, "int4", 128, 8, 512, 512), x);
    assert_string_equal(bl_dispatch_find(t, "int4", 128, 9, 512, 512), y);
    bl_dispatch_free(t);
    bl_arena_free(arena);
}

static void files_that_are_no_tables_are_refused_with_their_place(void **state)
{
#define SHAPED(format, group, out, in, runs)                                                                           \
    "{\"schema\":1,\"rows\":[{\"format\":\"" format "\",\"group\":" group ",\"out\":" out ",\"in\":" in                \
    ",\"runs\":[" runs "]}]}"
#define ROW(format, runs) SHAPED(format, "128", "8", "8", runs)
#define RUN               "{\"rows\":1,\"kernel\":\"linear_int4_ref\"}"
    static const struct {
        const char *text, *phrase;
    } cases[] = {
        {"{\"schema\":2,\"rows\":[]}", "'schema' is 2, expected 1"},
        {"{\"schema\":1}", "'rows' is no list"},
        {"{\"schema\":1,\"rows\":[],\"row\":1}", "row"},
        {ROW("int9", ""), "there is no format 'int9'"},
        {ROW("int4", ""), "'runs' is empty"},
        {ROW("int4", "{\"rows\":1,\"kernel\":\"fast\"}"), "there is no kernel 'fast'"},
        {ROW("nf2", "{\"rows\":1,\"kernel\":\"linear_int4_ref\"}"), NULL},
        {ROW("int4", "{\"rows\":4,\"kernel\":\"linear_int4_ref\"},{\"rows\":4,\"kernel\":\"linear_int4_ref\"}"),
         "row 0"},
        {ROW("int4", "{\"rows\":0,\"kernel\":\"linear_int4_ref\"}"), "'rows' 0 does not come after those before it"},
        {ROW("int4", RUN "," RUN), "'rows' 1 does not come after those before it"},
        {SHAPED("int4", "-1", "8", "8", RUN), "8 x 8 in groups of -1 is no shape"},
        {SHAPED("int4", "128", "0", "8", RUN), "0 x 8 in groups of 128 is no shape"},
        {SHAPED("int4", "128", "8", "0", RUN), "8 x 0 in groups of 128 is no shape"},
        {SHAPED("int4", "0", "8", "8", RUN), NULL},
    };
    const char *dir = test_dir();
    char *path = bl_join(dir, "t.json", &e);
    (void)state;
    for (size_t i = 0; i < BL_COUNT(cases); i++) {
        bl_dispatch *d = NULL;
        assert_ok(bl_write_file(path, cases[i].text, strlen(cases[i].text), &e));
        bl_status st = bl_dispatch_read(path, &d, &e);
        if (!cases[i].phrase) { /* a family that takes every format; a whole row */
            if (st != BL_OK) fail_msg("%s: %s", cases[i].text, e.text);
            bl_dispatch_free(d);
            continue;
        }
        if (st == BL_OK || !strstr(e.text, cases[i].phrase) || !strstr(e.text, "t.json"))
            fail_msg("%s: %s", cases[i].text, st == BL_OK ? "read" : e.text);
    }
    bl_free(path);
    bl_remove_tree(dir, &e);
}

/* A row of a format that a kernel is not made for, and one with more runs than there is room for. */
static void rows_that_no_kernel_can_run_are_refused(void **state)
{
    const char *dir = test_dir();
    char *path = bl_join(dir, "t.json", &e);
    bl_text t = {0};
    const bl_kernel *k = NULL;
    bl_dispatch *d;
    (void)state;
    for (size_t i = 0; (k = bl_kernel_at(i)) && (k->family->any || strcmp(k->format->name, "int4") != 0);) i++;
    if (k) { /* a processor with vectors */
        bl_text_addf(&t,
                     "{\"schema\":1,\"rows\":[{\"format\":\"int8\",\"group\":128,\"out\":8,\"in\":8,\"runs\":["
                     "{\"rows\":1,\"kernel\":\"%s\"}]}]}",
                     k->name);
        assert_ok(bl_write_file(path, t.s, t.n, &e));
        assert_refused(bl_dispatch_read(path, &d, &e), BL_E_FORMAT, "is of the format int4, not of int8");
        bl_text_free(&t);
    }
    for (int most = BL_DISPATCH_RUNS; most <= BL_DISPATCH_RUNS + 1; most++) {
        bl_text_add(&t, "{\"schema\":1,\"rows\":[{\"format\":\"int4\",\"group\":128,\"out\":8,\"in\":8,\"runs\":[");
        for (int i = 1; i <= most; i++)
            bl_text_addf(&t, "%s{\"rows\":%d,\"kernel\":\"linear_int4_ref\"}", i > 1 ? "," : "", i);
        bl_text_add(&t, "]}]}");
        assert_ok(bl_write_file(path, t.s, t.n, &e));
        if (most > BL_DISPATCH_RUNS)
            assert_refused(bl_dispatch_read(path, &d, &e), BL_E_FORMAT, "'runs' has more than 32");
        else {
            assert_ok(bl_dispatch_read(path, &d, &e));
            bl_dispatch_free(d);
        }
        bl_text_free(&t);
    }
    bl_free(path);
    bl_remove_tree(dir, &e);
}

/* Every table that comes with the program; without nvcc there are no kernels of GPUs. */
static void shipped_tables_are_read(void **state)
{
    char **name, path[4096];
    size_t n, read = 0;
    (void)state;
    if (!bl_kernel_find("linear_bf16_cuda")) skip();
    assert_ok(bl_dir_list(BL_SOURCE_DIR "/kernels/dispatch", &name, &n, &e));
    for (size_t i = 0; i < n; i++) {
        bl_dispatch *d;
        if (!strstr(name[i], ".json")) continue;
        snprintf(path, sizeof path, "%s/kernels/dispatch/%s", BL_SOURCE_DIR, name[i]);
        assert_ok(bl_dispatch_read(path, &d, &e));
        bl_dispatch_free(d);
        read++;
    }
    bl_list_free(name, n);
    assert_int_equal(read, 2);
    char file[160];
    bl_dispatch_file("NVIDIA H200", file);
    assert_string_equal(file, "nvidia-h200.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fastest_of_each_number_of_rows_is_chosen_and_found),
        cmocka_unit_test(runs_change_where_another_is_faster_by_more_than_noise),
        cmocka_unit_test(files_that_are_no_tables_are_refused_with_their_place),
        cmocka_unit_test(rows_that_no_kernel_can_run_are_refused),
        cmocka_unit_test(shipped_tables_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
