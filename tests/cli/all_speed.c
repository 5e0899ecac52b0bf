/* `bitladder compare` of two records of timings, and `bench --against`: what is told from chance, what is not, what is
 * refused. Times are made up, with noise of a fixed seed; no test looks at the clock. */
#include "test.h"
#include "harness/bench/bench_impl.h"
#include "harness/bench/gbench.h"
#include "kernels/base/fs.h"
#include "kernels/base/rng.h"
#include <math.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { KERNELS = 6, SHAPES = 2, ROWS = KERNELS * SHAPES, MOST_REPEATS = 30 };

static bl_err e;
static char text[1 << 16];

static int run(const char *args)
{
    char line[8192];
    snprintf(line, sizeof line, "'%s' %s 2>&1", BL_PROGRAM, args);
    FILE *f = popen(line, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    int status = pclose(f);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int compare(const char *a, const char *b, const char *more)
{
    char args[8192];
    snprintf(args, sizeof args, "compare '%s' '%s' %s", a, b, more);
    return run(args);
}

typedef struct made {
    uint64_t seed;
    int64_t repetitions;        /* 0: 9 */
    double noise, all, kernel3; /* relative deviation; what all times, and those of kernel 3, are multiplied with */
    double error;               /* added to that of kernel 3 */
    const char *device;
    int64_t threads;
    double clock, memory_clock;
    const char *slowed, *driver, *how; /* how: the convention of models */
    bool gpu, narrow;
    double most;                    /* what three of four times of the yardstick are multiplied with; 0: 1 */
    double clock3[2];               /* MHz while kernel 3 was timed, in cache and from memory */
    double probe[BL_PROBES], drift; /* what probes take, over what they should; 0 first: there are none. Of rounds */
} made;

/* Repetitions that a machine might have: noise, and one of ten is a fifth slower. */
static const double *repeats(const made *m, uint64_t row, int cold, double t, double *median, bl_arena *a)
{
    int64_t n = m->repetitions ? m->repetitions : 9;
    double *v = bl_alloc(a, (size_t)n, sizeof *v, &e);
    bl_rng r = bl_rng_at(m->seed, bl_rng_key("repeats", 2 * row + (uint64_t)cold), 0);
    assert_non_null(v);
    for (int64_t i = 0; i < n; i++)
        v[i] = t * exp(m->noise * bl_rng_normal(&r)) * (bl_rng_uniform(&r) < 0.1 ? 1 + 13 * m->noise : 1);
    *median = bl_speed_median(v, n, a, &e);
    return v;
}

static bl_kernel_facts facts_of(const made *m, bl_arena *a)
{
    static const char *const names[BL_PROBES] = {"memory", "cache", "arithmetic"};
    bl_probe *probe = bl_alloc(a, BL_PROBES, sizeof *probe, &e);
    assert_non_null(probe);
    for (int i = 0; i < BL_PROBES; i++) {
        double *rounds = bl_alloc(a, 3, sizeof *rounds, &e);
        assert_non_null(rounds);
        for (int k = 0; k < 3; k++) rounds[k] = 1e-4 * (1 + i) * m->probe[i] * (1 + (k - 1) * m->drift);
        probe[i] = (bl_probe){names[i], rounds, 3};
    }
    return (bl_kernel_facts){.device = m->device ? m->device : "a processor",
                             .threads = m->threads ? m->threads : 2,
                             .blas = m->gpu ? "cuBLAS, bf16 weights" : "OpenBLAS",
                             .shape = "synth:tiny",
                             .convention = m->how ? m->how : "synth:tiny, wall time",
                             .clock = m->clock,
                             .memory_clock = m->memory_clock,
                             .slowed = m->slowed,
                             .driver = m->driver,
                             .probe = probe,
                             .n_probes = m->probe[0] > 0 ? BL_PROBES : 0};
}

static char *record(const char *dir, const char *name, const made *m)
{
    static const char *const kernels[KERNELS] = {"openblas",       "gemm_fp32_avx2", "gemm_int8_avx2",
                                                 "gemm_int4_avx2", "gemv_int4_avx2", "gemm_int2_avx2"};
    bl_arena *a;
    bl_kernel_row row[ROWS] = {{0}};
    char *path = bl_join(dir, name, &e);
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_make_dirs(path, &e));
    for (int i = 0; i < ROWS; i++) {
        bl_kernel_row *r = &row[i];
        int k = i % KERNELS;
        double t = 1e-4 * (1 + i) * (m->all > 0 ? m->all : 1) * (k == 3 && m->kernel3 > 0 ? m->kernel3 : 1);
        *r = (bl_kernel_row){.kernel = kernels[k],
                             .op = "linear",
                             .format = "int4",
                             .backend = "cpu",
                             .m = 16,
                             .out = 576,
                             .in = i < KERNELS ? 576 : 1536,
                             .group = k ? 64 : 0,
                             .bits = 4.25,
                             .nmse = 3e-14 + (k == 3 ? m->error : 0)};
        if (k == 3) {
            r->clock = m->clock3[0];
            r->cold_clock = m->clock3[1];
        }
        double most = !k && m->most > 0 ? m->most : 1;
        r->repeat[0] = repeats(m, (uint64_t)i, 0, i ? t : most * t, &r->seconds, a);
        r->repeat[1] = repeats(m, (uint64_t)i, 1, 1.3 * most * t, &r->cold, a);
        r->n_repeat[0] = r->n_repeat[1] = m->repetitions ? m->repetitions : 9;
    }
    const bl_bench_result r = {.row = row, .n = ROWS, .facts = facts_of(m, a)};
    const bl_bench_opts o = {.out = path, .device = m->gpu ? "cuda" : NULL, .narrow = m->narrow, .repetitions = 9};
    assert_ok(bl_bench_write(&o, &r, &(bl_text){0}, &e));
    bl_arena_free(a);
    return path;
}

/* Windows and greedy text of one method; kernel3 is of the text. */
static char *record_models(const char *dir, const char *name, const made *m)
{
    bl_arena *a;
    char *path = bl_join(dir, name, &e);
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_make_dirs(path, &e));
    bl_model_row row[] = {{.what = "window of 512", .method = "base", .tokens = 512, .clock = m->clock},
                          {.what = "greedy text of 64", .method = "base", .tokens = 64, .clock = m->clock3[0]}};
    for (size_t k = 0; k < BL_COUNT(row); k++) {
        row[k].n_repeat = m->repetitions ? m->repetitions : 9;
        row[k].repeat = repeats(m, k, 0, (m->all > 0 ? m->all : 1) * (k && m->kernel3 > 0 ? m->kernel3 : 1),
                                &row[k].seconds, a);
    }
    const bl_speed_record r = {.facts = facts_of(m, a), .model = row, .n_models = BL_COUNT(row)};
    assert_ok(bl_throughput_write(path, &r, &e));
    bl_arena_free(a);
    return path;
}

static size_t count(const char *word)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, word)) != NULL; p++) n++;
    return n;
}

static void ten_comparisons_of_a_program_with_itself_give_no_alarm(void **state)
{
    const char *dir = test_dir();
    (void)state;
    for (uint64_t i = 0; i < 10; i++) {
        char *a = record(dir, "a", &(made){.seed = 2 * i, .noise = 0.015}),
             *b = record(dir, "b", &(made){.seed = 2 * i + 1, .noise = 0.015, .all = i % 2 ? 1.01 : 0.99});
        if (compare(a, b, "") != 0) fail_msg("%d: %s", (int)i, text);
        assert_int_equal(count("| slower"), 0);
        bl_free(a);
        bl_free(b);
    }
    bl_remove_tree(dir, &e);
}

static void five_percent_are_found_and_nothing_else_is(void **state)
{
    const char *dir = test_dir();
    char *a = record(dir, "a", &(made){.seed = 1, .noise = 0.01, .repetitions = 21}),
         *slow = record(dir, "slow", &(made){.seed = 2, .noise = 0.01, .kernel3 = 1.05, .repetitions = 21}),
         *hidden = record(dir, "hidden",
                          &(made){.seed = 5, .noise = 0.005, .kernel3 = 1.07, .all = 1 / 1.07, .repetitions = 21}),
         *one = record(dir, "one", &(made){.seed = 3, .noise = 0.001, .kernel3 = 1.012}),
         *quiet = record(dir, "quiet", &(made){.seed = 4, .noise = 0.001}),
         *few = record(dir, "few", &(made){.seed = 2, .noise = 0.01, .kernel3 = 1.05, .repetitions = 3});
    (void)state;
    assert_int_equal(compare(a, slow, ""), 3);
    assert_int_equal(count("| slower"), 4); /* two shapes, from memory and in cache */
    for (const char *p = text; (p = strstr(p, "| slower")) != NULL; p++) {
        const char *line = p;
        while (line > text && line[-1] != '\n') line--;
        assert_memory_equal(line, "| gemm_int4_avx2 ", 17);
    }
    assert_int_equal(compare(slow, a, ""), 0);
    assert_int_equal(count("| faster"), 4);
    assert_int_equal(compare(a, slow, "--threshold 8"), 0);
    /* the times are what they were, and the machine is faster: by the yardstick it is the kernel that lost */
    assert_int_equal(compare(a, hidden, ""), 3);
    /* what does not matter in practice is no alarm, however sure it is */
    assert_int_equal(compare(quiet, one, ""), 0);
    assert_int_equal(count("| slower"), 0);
    assert_int_equal(compare(quiet, one, "--threshold 0.5"), 3);
    /* too few to say anything: it says so, and how many can */
    assert_int_equal(compare(a, few, ""), 0);
    assert_non_null(strstr(text, "--repetitions 8 can"));
    /* json has the same verdicts */
    assert_int_equal(compare(a, slow, "--json"), 3);
    assert_int_equal(count("\"verdict\": \"slower\"") + count("\"verdict\":\"slower\""), 4);
    for (size_t i = 0; i < 6; i++) bl_free((char *[]){a, slow, hidden, one, quiet, few}[i]);
    bl_remove_tree(dir, &e);
}

/* A library whose time at one shape is 8 % more now and then, ours being what they were: nothing is divided by that. */
static void yardsticks_that_do_not_agree_are_no_measure(void **state)
{
    const char *dir = test_dir();
    char *a = record(dir, "a", &(made){.seed = 1, .noise = 0.001, .repetitions = 12}),
         *b = record(dir, "b", &(made){.seed = 2, .noise = 0.001, .repetitions = 12, .most = 1.08}),
         *c = record(dir, "c", &(made){.seed = 3, .noise = 0.001, .repetitions = 12, .most = 1.08, .kernel3 = 1.2});
    (void)state;
    for (int back = 0; back < 2; back++) {
        if (compare(back ? b : a, back ? a : b, "") != 0) fail_msg("%s", text);
        assert_int_equal(count("| slower") + count("| faster"), 0);
        assert_null(strstr(text, "The yardstick, the same code in both, took"));
    }
    assert_int_equal(compare(a, c, ""), 3);
    assert_int_equal(count("| slower"), 4);
    bl_free(a);
    bl_free(b);
    bl_free(c);
    bl_remove_tree(dir, &e);
}

/* A row whose clock was held down by 5 % is no slower for that, and another row is. */
static void a_clock_that_was_held_down_is_said_to_be_the_cause(void **state)
{
    const char *dir = test_dir();
    char *a = record(dir, "a", &(made){.seed = 1, .noise = 0.001, .repetitions = 12, .clock3 = {1980, 1980}}),
         *b = record(dir, "b",
                     &(made){.seed = 2, .noise = 0.001, .repetitions = 12, .kernel3 = 1.05, .clock3 = {1885, 1980}});
    (void)state;
    assert_int_equal(compare(a, b, ""), 3);
    assert_int_equal(count("| slower"), 2); /* two shapes, from memory: not in cache */
    for (const char *p = text; (p = strstr(p, "| slower")) != NULL; p++) {
        const char *line = p;
        while (line > text && line[-1] != '\n') line--;
        assert_non_null(strstr(line, "| memory |"));
        assert_true(strstr(line, "| memory |") < p);
    }
    bl_free(a);
    bl_free(b);
    bl_remove_tree(dir, &e);
}

/* The device was slower by a twentieth, or came and went by that much: what it was like is told, and is no alarm. What
 * the probes do not account for is found. */
static void what_the_device_was_like_is_no_alarm(void **state)
{
    static const struct {
        made m;
        int exit;
        const char *phrase;
    } cases[] = {
        /* one of the probes, and kernel 3 with it */
        {{.kernel3 = 1.05, .probe = {1, 1.05, 1}}, 0, "cache +5.0 %"},
        {{.kernel3 = 1.05, .probe = {1.05, 1, 1}}, 3, "memory +5.0 %"},     /* what is in the cache is slower too */
        {{.kernel3 = 1.05, .probe = {1, 1, 1.05}}, 3, "arithmetic +5.0 %"}, /* 16 rows do not compute much */
        {{.kernel3 = 1.05, .probe = {1, 1, 1}}, 3, "memory +0.0 %"},
        {{.kernel3 = 1.05, .probe = {1, 1, 1}, .drift = 0.03}, 0, "6.2 % within a record"},
        {{.all = 1.05, .probe = {1.05, 1.05, 1.05}}, 0, "took +5."},
        {{.all = 1.05, .kernel3 = 1.06, .probe = {1.05, 1.05, 1.05}}, 3, "took +5."},
        {{.probe = {1, 1, 1.12}}, 2, "its probe of arithmetic, a product of the library, took +12 % in the second"},
        {{.probe = {0.85, 1, 1}}, 2, "its probe of memory, a product of the library, took -15 % in the second"},
    };
    const char *dir = test_dir();
    char *a = record(dir, "a", &(made){.seed = 1, .noise = 0.001, .repetitions = 21, .probe = {1, 1, 1}});
    (void)state;
    for (size_t i = 0; i < BL_COUNT(cases); i++) {
        made m = cases[i].m;
        m.seed = 2;
        m.noise = 0.001;
        m.repetitions = 21;
        char *b = record(dir, "b", &m);
        int got = compare(a, b, "");
        if (got != cases[i].exit || !strstr(text, cases[i].phrase))
            fail_msg("case %d: exit %d, expected %d and '%s': %s", (int)i, got, cases[i].exit, cases[i].phrase, text);
        bl_free(b);
    }
    bl_free(a);
    bl_remove_tree(dir, &e);
}

typedef char *recorder(const char *dir, const char *name, const made *m);

static void refused(recorder *of, const made *base, const made *m, const char *phrase)
{
    const char *dir = test_dir();
    char *a = of(dir, "a", base), *b = of(dir, "b", m), line[512];
    snprintf(line, sizeof line, "do not compare: %s", phrase);
    int got = compare(a, b, "");
    if (got != 2 || !strstr(text, line) || strchr(text, '\n') != text + strlen(text) - 1)
        fail_msg("exit %d, expected 2 and '%s': %s", got, line, text);
    bl_free(a);
    bl_free(b);
    bl_remove_tree(dir, &e);
}

#define ONE .seed = 1, .noise = 0.01, .clock = 1980, .memory_clock = 3201, .driver = "580.1"
#define TWO .seed = 2, .noise = 0.01
static void what_cannot_be_compared_is_refused_with_the_reason(void **state)
{
    static const made base = {ONE};
    static const struct {
        made m;
        const char *phrase;
    } cases[] = {
        {{TWO, .device = "another"}, "unlike devices, 'a processor' and 'another'"},
        {{TWO, .driver = "575.2"}, "unlike drivers, '580.1' and '575.2'"},
        {{TWO, .threads = 4}, "2 threads and 4"},
        {{TWO, .clock = 1700}, "unlike clocks, MHz of the device 1980 and 1700"},
        {{TWO, .clock = 1980, .memory_clock = 2619}, "unlike clocks, MHz of its memory 3201 and 2619"},
        {{TWO, .clock = 1980, .slowed = "heat"}, "unlike reasons of slow clocks, '' and 'heat'"},
        {{TWO, .gpu = true}, "unlike baselines, 'OpenBLAS' and 'cuBLAS, bf16 weights'"},
    };
    static const made probed = {ONE, .gpu = true, .probe = {1, 1, 1}}, as_used = {TWO, .gpu = true, .narrow = true},
                      yardstick = {TWO, .all = 1.2}, limit = {TWO, .how = "synth:tiny, wall time, 2048 MiB of memory"},
                      other_probe = {TWO, .gpu = true, .probe = {1, 1.2, 1}};
    recorder *const kinds[] = {record, record_models};
    (void)state;
    for (size_t k = 0; k < BL_COUNT(kinds); k++) {
        for (size_t i = 0; i < BL_COUNT(cases); i++) refused(kinds[k], &base, &cases[i].m, cases[i].phrase);
        refused(kinds[k], &probed, &other_probe, "the device was not the same, its probe of cache");
    }
    refused(record, &base, &yardstick, "the yardstick, which is the same code in both, took +2");
    refused(record, &probed, &as_used,
            "unlike conventions, 'replays of short graphs in a row' and 'replays of short graphs in a row, outputs as "
            "activations'");
    refused(record_models, &base, &limit,
            "unlike conventions, 'synth:tiny, wall time' and 'synth:tiny, wall time, 2048 MiB of memory'");
}

static void directories_without_results_are_named(void **state)
{
    const char *dir = test_dir();
    const made one = {ONE};
    char *empty = bl_join(dir, "empty", &e), *timed = record(dir, "timed", &one), line[8192];
    (void)state;
    assert_ok(bl_make_dirs(empty, &e));
    const char *const pairs[][2] = {{empty, empty}, {empty, timed}, {timed, empty}};
    for (size_t i = 0; i < BL_COUNT(pairs); i++) {
        const int got = compare(pairs[i][0], pairs[i][1], "");
        if (i < 2)
            snprintf(line, sizeof line,
                     "bitladder: %s: found no results; expected what run or bench --output has written\n", empty);
        else
            snprintf(line, sizeof line,
                     "bitladder: %s: found timings of bench and no results; expected results, or timings in %s\n",
                     timed, empty);
        if (got != 2 || strcmp(text, line)) fail_msg("exit %d, expected 2 and '%s': %s", got, line, text);
    }
    bl_free(empty);
    bl_free(timed);
    bl_remove_tree(dir, &e);
}

/* What is asked of `bench scoring` and changes its times is in the record that it writes. */
static void models_that_were_run_otherwise_are_refused(void **state)
{
    static const char same[] = "--method base --filter 'greedy*' --decode 4 --repetitions 2 --quiet";
    static const struct {
        const char *args, *phrase;
    } cases[] = {
        {"--model synth:tiny --alone --threads 1 --mem-limit 1GiB", "wall time, 1024 MiB of memory'"},
        {"--model synth:tiny --alone --threads 1 --deterministic", "wall time, deterministic'"},
        {"--model synth:tiny --alone --threads 1 --stream", "wall time, a block at a time'"},
        {"--model synth:tiny --alone --threads 1 --instructions plain", "unlike instructions"},
        {"--model synth:tiny --alone --threads 2", "1 threads and 2"},
        {"--model synth:tiny --threads 1", "unlike baselines, ''"},
        {"--model synth:tiny-qwen3 --alone --threads 1", "'synth:tiny, wall time' and 'synth:tiny-qwen3, wall time'"},
        {"--model synth:tiny --alone --threads 1", NULL},
        {"--model synth:tiny --alone --threads 1 --batch 3", NULL}, /* requests have their number in the name */
    };
    const char *dir = test_dir();
    char args[8192], *a = bl_join(dir, "a", &e), *b = bl_join(dir, "b", &e);
    (void)state;
    snprintf(args, sizeof args, "bench scoring %s --model synth:tiny --alone --threads 1 -o '%s'", same, a);
    assert_int_equal(run(args), 0);
    for (size_t i = 0; i < BL_COUNT(cases); i++) {
        snprintf(args, sizeof args, "bench scoring %s %s -o '%s'", same, cases[i].args, b);
        if (run(args) != 0) fail_msg("%s: %s", args, text);
        int got = compare(a, b, "");
        if (got != (cases[i].phrase ? 2 : 0) || (cases[i].phrase && !strstr(text, cases[i].phrase)))
            fail_msg("%s: exit %d: %s", cases[i].args, got, text);
    }
    bl_free(a);
    bl_free(b);
    bl_remove_tree(dir, &e);
}

/* ---- errors of kernels that are run ---- */
static bl_status a_thousandth_off(const bl_kernel_family *f, bl_backend *be, const bl_linear_args *a, bl_err *err)
{
    bl_status st = bl_kernel_find("linear_fp32_ref")->family->run(f, be, a, err);
    int64_t n = bl_tensor_count(&a->y[0]);
    float *y = st == BL_OK ? bl_new((size_t)n, sizeof *y, err) : NULL;
    if (!y) return st;
    st = be->ops->download(be, &a->y[0], y, err);
    for (int64_t i = 0; i < n; i++) y[i] *= 1.001f;
    if (st == BL_OK) st = be->ops->upload(be, &a->y[0], y, err);
    bl_free(y);
    return st;
}

static void an_error_of_a_thousandth_is_a_verdict_of_its_own(void **state)
{
    static const int64_t rows[] = {4};
    const char *dir = test_dir();
    const bl_kernel *good = bl_kernel_find("linear_fp32_ref");
    bl_kernel_family family = *good->family;
    bl_kernel k = {.name = "planted", .family = &family, .format = good->format};
    const bl_kernel *list[] = {&k};
    bl_arena *a;
    bl_bench_result r;
    char *path[3];
    (void)state;
    if (!bl_gbench_there()) skip();
    assert_ok(bl_arena_new(&a, &e));
    family.nmse_limit = 2e-5; /* as that of products in bf16: the error passes, and is timed */
    for (int i = 0; i < 3; i++) {
        if (i) family.run = a_thousandth_off;
        if (i == 2) family.nmse_limit = 1e-10; /* not allowed: not timed either */
        path[i] = bl_join(dir, (const char *const[]){"good", "off", "wrong"}[i], &e);
        assert_ok(bl_make_dirs(path[i], &e));
        assert_ok(bl_bench_list(&(bl_bench_opts){.shape = "64x128",
                                                 .m = rows,
                                                 .n_m = 1,
                                                 .group = 32,
                                                 .threads = 1,
                                                 .repetitions = 2,
                                                 .min_time = 1e-4,
                                                 .cold_bytes = 1 << 14,
                                                 .out = path[i],
                                                 .quiet = true},
                                list, 1, a, &r, &e));
    }
    /* The times are the machine's: of two repetitions nothing is told, but the yardstick may be far apart. */
    for (int i = 1; i < 3; i++) {
        bl_speed_record x, y;
        bl_speed_row *row;
        size_t n, worse = 0;
        double shift;
        assert_ok(bl_bench_read(path[0], a, &x, &e));
        assert_ok(bl_bench_read(path[i], a, &y, &e));
        bl_kernel_row own[8]; /* those of y; the yardstick as it is in x */
        assert_true(y.n_kernels <= BL_COUNT(own));
        for (size_t j = 0; j < y.n_kernels; j++)
            own[j] = strcmp(y.kernel[j].kernel, "openblas") ? y.kernel[j] : x.kernel[0];
        y.kernel = own;
        assert_ok(bl_speed_compare(&x, &y, 1e6, a, &row, &n, &shift, &e));
        for (size_t j = 0; j < n; j++)
            if (row[j].exact == BL_ERROR_MORE) {
                worse++;
                assert_memory_equal(row[j].what, "planted ", 8);
                assert_true(fabs(row[j].error[1] - 1e-6) < 1e-8);
            }
        assert_int_equal(worse, 1);
        assert_int_equal(bl_speed_loss(row, n), 1);
    }
    for (int i = 0; i < 3; i++) bl_free(path[i]);
    bl_arena_free(a);
    bl_remove_tree(dir, &e);
}

static void an_error_that_grew_is_exit_3_and_named(void **state)
{
    const char *dir = test_dir();
    char *a = record(dir, "a", &(made){.seed = 1, .noise = 0.01}),
         *b = record(dir, "b", &(made){.seed = 2, .noise = 0.01, .error = 1e-6}),
         *near = record(dir, "near", &(made){.seed = 3, .noise = 0.01, .error = 1.05e-6}),
         *far = record(dir, "far", &(made){.seed = 3, .noise = 0.01, .error = 1.2e-6});
    (void)state;
    assert_int_equal(compare(a, b, ""), 3);
    assert_int_equal(count("| slower"), 0);
    assert_non_null(
        strstr(text, "gemm_int4_avx2 16 x 576 x 1536 g64: its error grew from 3e-14 to 1e-06 of the power."));
    assert_int_equal(compare(b, a, ""), 0);
    assert_int_equal(compare(b, near, ""), 0); /* by less than a tenth: as sums of another order */
    assert_int_equal(compare(b, far, ""), 3);
    for (size_t i = 0; i < 4; i++) bl_free((char *[]){a, b, near, far}[i]);
    bl_remove_tree(dir, &e);
}

/* ---- whole models, and two programs ---- */
static void models_are_compared_like_kernels(void **state)
{
    const char *dir = test_dir();
    char *a = record_models(dir, "a", &(made){.seed = 1, .noise = 0.005}),
         *b = record_models(dir, "b", &(made){.seed = 2, .noise = 0.005, .kernel3 = 1.05}),
         *held = record_models(dir, "held", &(made){.seed = 2, .noise = 0.005, .kernel3 = 1.05, .clock3 = {1885}}),
         *free_ = record_models(dir, "free", &(made){.seed = 1, .noise = 0.005, .clock3 = {1980}}),
         *probed = record_models(dir, "probed", &(made){.seed = 1, .noise = 0.005, .probe = {1, 1, 1}}),
         *slow = record_models(dir, "slow",
                               &(made){.seed = 2, .noise = 0.005, .all = 1.05, .probe = {1.05, 1.05, 1.05}}),
         *other = record(dir, "kernels", &(made){.seed = 1, .noise = 0.01});
    (void)state;
    assert_int_equal(compare(a, b, ""), 3);
    assert_int_equal(count("| slower"), 1);
    assert_non_null(strstr(text, "greedy text of 64, base"));
    assert_int_equal(compare(free_, held, ""), 0);  /* its clock was held down */
    assert_int_equal(compare(probed, slow, ""), 0); /* all of the device was slower */
    assert_int_equal(compare(a, other, ""), 2);
    assert_non_null(strstr(text, "have no timings of one kind"));
    for (size_t i = 0; i < 7; i++) bl_free((char *[]){a, b, held, free_, probed, slow, other}[i]);
    bl_remove_tree(dir, &e);
}

static void two_programs_are_timed_in_turn(void **state)
{
    static const char bench[] = "--model synth:tiny --method base --alone --request 8 --decode 4 --repetitions 1 "
                                "--filter 'greedy*' --rounds 2";
    const char *dir = test_dir();
    char script[4200], args[8192], *log;
    size_t n;
    (void)state;
    snprintf(script, sizeof script, "%s/other", dir);
    FILE *f = fopen(script, "w");
    assert_non_null(f);
    fprintf(f, "#!/bin/sh\necho \"$@\" >> '%s/log'\nexec '%s' \"$@\"\n", dir, BL_PROGRAM);
    fclose(f);
    assert_int_equal(chmod(script, 0755), 0);
    snprintf(args, sizeof args, "bench scoring %s --against '%s' --quiet", bench, script);
    if (run(args) != 0) fail_msg("%s", text); /* of two rounds nothing is told */
    assert_non_null(strstr(text, "greedy text of 4, base"));
    snprintf(args, sizeof args, "%s/log", dir);
    assert_ok(bl_read_file(args, 1 << 16, &log, &n, &e));
    snprintf(text, sizeof text, "%s", log);
    assert_int_equal(count("bench scoring"), 2);
    bl_free(log);
    snprintf(args, sizeof args, "bench scoring %s --against '%s/none'", bench, dir);
    assert_int_equal(run(args), 2);
    assert_non_null(strstr(text, "is no program that can be run"));
    snprintf(args, sizeof args, "bench search --against '%s'", script);
    assert_int_equal(run(args), 2);
    bl_remove_tree(dir, &e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_comparisons_of_a_program_with_itself_give_no_alarm),
        cmocka_unit_test(five_percent_are_found_and_nothing_else_is),
        cmocka_unit_test(yardsticks_that_do_not_agree_are_no_measure),
        cmocka_unit_test(a_clock_that_was_held_down_is_said_to_be_the_cause),
        cmocka_unit_test(what_the_device_was_like_is_no_alarm),
        cmocka_unit_test(what_cannot_be_compared_is_refused_with_the_reason),
        cmocka_unit_test(directories_without_results_are_named),
        cmocka_unit_test(models_that_were_run_otherwise_are_refused),
        cmocka_unit_test(an_error_of_a_thousandth_is_a_verdict_of_its_own),
        cmocka_unit_test(an_error_that_grew_is_exit_3_and_named),
        cmocka_unit_test(models_are_compared_like_kernels),
        cmocka_unit_test(two_programs_are_timed_in_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
