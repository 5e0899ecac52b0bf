/* all_resume.c - quantizing that is killed between two blocks: the same command goes on after the last block that was
 * whole, and what it writes is what it would have written.
 */
#include "harness/quant/apply.h"
#include "methods/registry.h"
#include "results/curve.h"
#include "study_fixture.h"
#include <dirent.h>

enum { LAYERS = 4 };
static char model[4300], whole[4300], again[4300];

static study begin(void)
{
    study s = study_begin(2);
    static const tiny t = {
        .dim = 72, .hidden = 160, .layers = LAYERS, .heads = 9, .kv_heads = 3, .vocab = 300, .max_len = 96};
    static const uint64_t seed[2] = {100, 101};
    snprintf(model, sizeof model, "%s/model/four.bin", s.dir);
    tiny_write(model, &t, tiny_random, &seed[0], tiny_random, tiny_random, &seed[1]);
    snprintf(whole, sizeof whole, "%s/whole", s.dir);
    snprintf(again, sizeof again, "%s/again", s.dir);
    return s;
}

#define QUANTIZE(method, dir)                                                                                          \
    "quantize", model, "--method", method, "-o", dir, "--threads", "1", "--calib", "primer:test", "--calib-n", "3",    \
        "--calib-seqlen", "48", "--verbose"

/* Starts the program, which stops itself at a point after a block, and kills it there; or interrupts it. */
#define KILL_AT(s, point, method)                                                                                      \
    end_at(s, point, SIGKILL, (const char *const[]){"bitladder", QUANTIZE(method, again), NULL})
#define INTERRUPT_AT(s, point, method)                                                                                 \
    end_at(s, point, SIGINT, (const char *const[]){"bitladder", QUANTIZE(method, again), NULL})
static void end_at(const study *s, const char *point, int sig, const char *const *argv)
{
    char out[4300], err[4300];
    int status;
    snprintf(out, sizeof out, "%s/killed.out", s->dir);
    snprintf(err, sizeof err, "%s/killed.err", s->dir);
    setenv("BL_FAULT_POINT", point, 1);
    pid_t pid = program_start(argv, NULL, out, err);
    unsetenv("BL_FAULT_POINT");
    while (waitpid(pid, &status, WUNTRACED) < 0 && errno == EINTR) {}
    if (!WIFSTOPPED(status)) fail_msg("%s ended before it came to %s", argv[3], point);
    if (sig == SIGKILL) program_kill(pid);
    else {
        kill(pid, sig);
        program_signalled(pid, sig);
        kill(pid, SIGCONT);
        ran r = program_wait(pid, out, err);
        expect(&r, 130, NULL);
        ran_free(&r);
    }
}

/* What begins with the name of the output, stages before the last too: what is on the way. */
static int on_the_way(const study *s)
{
    int n = 0;
    DIR *d = opendir(s->dir);
    for (struct dirent *f; (f = readdir(d));)
        n += strncmp(f->d_name, "again.", 6) == 0 && strcmp(f->d_name, "again" BL_CURVE_ENDING) != 0;
    closedir(d);
    return n;
}

/* Every file but the times of layers.json. */
static void assert_same_model(const char *method)
{
    bl_err e = {0};
    char **name[2];
    size_t n[2];
    assert_ok(bl_dir_list(whole, &name[0], &n[0], &e));
    assert_ok(bl_dir_list(again, &name[1], &n[1], &e));
    assert_int_equal(n[0], n[1]);
    for (size_t i = 0; i < n[0]; i++) {
        char *a, *b, path[4700];
        size_t na, nb;
        assert_string_equal(name[0][i], name[1][i]);
        snprintf(path, sizeof path, "%s/%s", whole, name[0][i]);
        assert_ok(bl_read_file(path, 1 << 26, &a, &na, &e));
        snprintf(path, sizeof path, "%s/%s", again, name[0][i]);
        assert_ok(bl_read_file(path, 1 << 26, &b, &nb, &e));
        if (strcmp(name[0][i], "layers.json") == 0) { /* as many layers, each with its error */
            int layers[2] = {0};
            for (const char *p = a; (p = strstr(p, "\"nmse\"")); p++) layers[0]++;
            for (const char *p = b; (p = strstr(p, "\"nmse\"")); p++) layers[1]++;
            /* but of weights that are scaled on purpose */
            if (layers[0] != (strstr(method, "omniquant") ? 1 : 7) * LAYERS || layers[1] != layers[0])
                fail_msg("%s: %d and %d layers", method, layers[0], layers[1]);
        } else if (na != nb || memcmp(a, b, na)) fail_msg("%s: %s is another file", method, name[0][i]);
        bl_free(a);
        bl_free(b);
    }
    bl_list_free(name[0], n[0]);
    bl_list_free(name[1], n[1]);
}

/* Of blocks that learn the curve of the run that went on has every step of the one that was not killed. */
static void assert_same_curve(const char *method)
{
    bl_err e = {0};
    bl_arena *a;
    bl_curve c[2];
    char path[2][4700];
    assert_ok(bl_arena_new(&a, &e));
    for (int k = 0; k < 2; k++) {
        snprintf(path[k], sizeof path[k], "%s%s", k ? again : whole, BL_CURVE_ENDING);
        assert_int_equal(bl_exists(path[k]), strncmp(method, "efficientqat", 12) == 0);
        if (bl_exists(path[k])) assert_ok(bl_curve_read(path[k], a, &c[k], &e));
    }
    if (bl_exists(path[0])) {
        assert_true(c[0].n >= LAYERS && c[0].n == c[1].n && c[0].block && c[0].block[c[0].n - 1] == LAYERS - 1);
        assert_memory_equal(c[0].loss, c[1].loss, (size_t)c[0].n * sizeof *c[0].loss);
        assert_memory_equal(c[0].block, c[1].block, (size_t)c[0].n * sizeof *c[0].block);
        assert_ok(bl_remove_tree(path[1], &e));
    }
    bl_arena_free(a);
}

/* Every method that goes block by block, with the widths that the model has room for: without text; inputs of blocks as
 * they were changed, step by step, beside those of the original, and as they were before; blocks that are trained, in
 * an order of windows of each. */
static const struct {
    const char *method;
    int kills; /* after the first block, and after the third */
} rows[] = {{"rtn:w4g24", 2},
            {"hqq:w3g24", 1},
            {"mxfp4", 1},
            {"nvfp4", 1},
            {"gptq:w3g24+true-sequential", 2},
            {"gptaq:w3g24", 2},
            {"awq:w3g24", 2},
            {"smoothquant:w8a8", 1},
            {"smoothquant:w8a8+static", 1},
            {"quip:w3", 1},
            {"slim-llm:w3g24", 1},
            {"pb-llm", 1},
            {"billm:pc", 1},
            {"arb-llm:pc", 1},
            {"mr-gptq", 1},
            {"gguf:q4_0", 1},
            {"autoround:w3g24+iters=3", 1},
            {"quarot+gptq:w4pc", 2},
            {"efficientqat:w3g24+epochs=1", 2},
            {"omniquant:w3a6g24+epochs=1", 2},
            {"qllm:w3a4g24+always+epochs=1", 2}};

/* A method that looks at text, without training the whole model, is a stage of a row above. */
static void every_calibrated_method_is_killed(void **state)
{
    (void)state;
    for (const bl_method *const *m = bl_methods; *m; m++) {
        bool there = false;
        if (!((*m)->needs & BL_NEED_CALIBRATION) || (*m)->needs & BL_NEED_TRAINING) continue;
        for (size_t k = 0; k < BL_COUNT(rows); k++) {
            bl_err e = {0};
            bl_method_chain chain;
            assert_ok(bl_chain_parse(bl_methods, rows[k].method, &chain, &e));
            for (int i = 0; i < chain.n; i++) there = there || chain.stage[i].method == *m;
            bl_chain_free(&chain);
        }
        if (!there) fail_msg("%s is not killed", (*m)->name);
    }
}

static void a_killed_quantization_goes_on_at_the_next_block_with_the_same_bytes(void **state)
{
    (void)state;
    study s = begin();
    for (size_t m = 0; m < BL_COUNT(rows); m++) {
        const char *method = rows[m].method;
        char point[64], phrase[64], curve[4700];
        snprintf(curve, sizeof curve, "%s%s", whole, BL_CURVE_ENDING);
        ran r = PROGRAM(&s, QUANTIZE(method, whole));
        expect(&r, 0, NULL);
        ran_free(&r);
        for (int kill = 1; kill < 2 * rows[m].kills; kill += 2) {
            snprintf(point, sizeof point, "after-block:%d", kill);
            KILL_AT(&s, point, method);
            assert_false(bl_is_dir(again));
            r = PROGRAM(&s, QUANTIZE(method, again));
            snprintf(phrase, sizeof phrase, "goes on at block %d of %d", kill + 1, LAYERS);
            expect(&r, 0, strstr(method, "quarot") ? NULL : phrase);
            ran_free(&r);
            assert_same_model(method);
            assert_same_curve(method);
            assert_int_equal(on_the_way(&s), 0);
            bl_remove_tree(again, NULL);
        }
        bl_remove_tree(whole, NULL);
        bl_remove_tree(curve, NULL);
    }
    study_end(&s);
}

/* What was done by then is kept too when the program is asked to end. */
static void an_interrupted_quantization_goes_on_too(void **state)
{
    (void)state;
    study s = begin();
    ran r = PROGRAM(&s, QUANTIZE("gptq:w3g24", whole));
    expect(&r, 0, NULL);
    ran_free(&r);
    INTERRUPT_AT(&s, "after-block:2", "gptq:w3g24");
    assert_int_equal(on_the_way(&s), 1);
    r = PROGRAM(&s, QUANTIZE("gptq:w3g24", again));
    expect(&r, 0, "goes on at block 3 of 4");
    ran_free(&r);
    assert_same_model("gptq:w3g24");
    assert_int_equal(on_the_way(&s), 0);
    study_end(&s);
}

/* What another method, or another text, left is of no use, and goes. */
static void what_another_command_left_is_not_taken(void **state)
{
    (void)state;
    study s = begin();
    KILL_AT(&s, "after-block:2", "gptq:w3g24");
    assert_int_equal(on_the_way(&s), 1);
    ran r = PROGRAM(&s, QUANTIZE("gptq:w4g24", again));
    expect(&r, 0, NULL);
    assert_null(strstr(r.err, "goes on at block"));
    ran_free(&r);
    assert_int_equal(on_the_way(&s), 0);
    r = PROGRAM(&s, QUANTIZE("gptq:w4g24", whole));
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_same_model("gptq:w4g24");
    study_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_calibrated_method_is_killed),
        cmocka_unit_test(a_killed_quantization_goes_on_at_the_next_block_with_the_same_bytes),
        cmocka_unit_test(an_interrupted_quantization_goes_on_too),
        cmocka_unit_test(what_another_command_left_is_not_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
