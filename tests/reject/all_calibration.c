/* all_calibration.c - calibration text that is no use, and models that make none of it: a sentence or numbers, never
 * codes of nothing. */
#include "study_fixture.h"
#include "harness/checkpoint/checkpoint.h"

static ran quantize_by(const study *s, const char *method, const char *calib, const char *n, const char *out)
{
    return PROGRAM(s, "quantize", s->model, "--method", method, "--calib", calib, "--calib-n", n, "--calib-seqlen",
                   "64", "--threads", "1", "-o", out);
}
static ran quantize(const study *s, const char *method, const char *calib, const char *out)
{
    return quantize_by(s, method, calib, "4", out);
}
static const char *const methods[] = {"gptq:w4g32+scale=fp32",
                                      "gptaq:w3g32",
                                      "awq:w3g32+scale=fp32",
                                      "smoothquant:w8a8+scale=fp32",
                                      "smoothquant:w8a8+static",
                                      "quip:w3",
                                      "slim-llm:w3g32",
                                      "pb-llm",
                                      "billm:pc",
                                      "arb-llm:pc",
                                      "mr-gptq",
                                      "gguf:q4_0",
                                      "autoround:w3g32+iters=3",
                                      "quarot+gptq:w3pc"};

static void text_that_is_no_use_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name, *bytes, *says;
    } rows[] = {
        {"empty.txt", NULL, "empty.txt"},
        {"short.txt", "a few words", "11 bytes hold fewer than the 64 tokens of a calibration window"},
        {"rows.jsonl", "{\"content\": \"words\"}\n", "rows.jsonl:1"},
        {"none.txt", "", "none.txt"},
    };
    study s = study_begin(1);
    char calib[4400], out[4300];
    snprintf(out, sizeof out, "%s/variant", s.dir);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        snprintf(calib, sizeof calib, "file:%s/%s", s.dir, rows[i].name);
        if (!rows[i].bytes || *rows[i].bytes) study_write(s.dir, rows[i].name, rows[i].bytes ? rows[i].bytes : "");
        ran r = quantize(&s, methods[0], calib, out);
        if (r.code == 0 || !strstr(r.err, rows[i].says)) fail_msg("exit %d, '%s'", r.code, r.err);
        assert_false(bl_exists(out));
        ran_free(&r);
    }
    ran r = quantize(&s, methods[0], "file:", out);
    expect(&r, 2, NULL);
    assert_non_null(strstr(r.err, "calibration text 'file:' names no file"));
    ran_free(&r);
    static const char *const windows[][2] = {
        {"0", "calibration needs at least 1 window"},
        {"10000000", "10000000 calibration windows of 64 tokens, expected at most 67108864 tokens in all"}};
    for (size_t i = 0; i < BL_COUNT(windows); i++) {
        r = quantize_by(&s, methods[0], "primer", windows[i][0], out);
        expect(&r, 2, NULL);
        if (!strstr(r.err, windows[i][1])) fail_msg("'%s'", r.err);
        assert_false(bl_exists(out));
        ran_free(&r);
    }
    study_end(&s);
}

static float without_channel_5(const void *ctx, int64_t i) { return i % 96 == 5 ? 0 : tiny_random(ctx, i); }
static float values_of_1e22(const void *ctx, int64_t i) /* the third matrix of a block makes the values */
{
    return tiny_random(ctx, i) * (*(const uint64_t *)ctx == 3 ? 1e23f : 1);
}
static void write_model(const study *s, tiny_weight *embed, tiny_weight *block)
{
    static const tiny shape = {
        .dim = 96, .hidden = 160, .layers = 2, .heads = 4, .kv_heads = 2, .vocab = 300, .max_len = 96};
    static const uint64_t seed[2] = {100, 101};
    tiny_write(s->model, &shape, embed, &seed[0], block, tiny_random, &seed[1]);
}

static void assert_finite(const char *method, const char *out)
{
    bl_err e = {0};
    bl_checkpoint *c;
    assert_ok(bl_checkpoint_open(out, NULL, &c, &e));
    if (bl_checkpoint_verify(c, &e) != BL_OK) fail_msg("%s: %s", method, e.text);
    bl_checkpoint_close(c);
}

/* Every method: each value of each tensor is finite, and `note` is recorded; of the first also what the model says. */
static void assert_sound(const study *s, const char *calib, const char *note)
{
    bl_err e = {0};
    char out[4300], path[4400], *text;
    size_t n;
    snprintf(out, sizeof out, "%s/variant", s->dir);
    for (size_t m = 0; m < BL_COUNT(methods); m++) {
        ran r = quantize(s, methods[m], calib, out);
        if (r.code) fail_msg("%s: exit %d, '%s'", methods[m], r.code, r.err);
        ran_free(&r);
        assert_finite(methods[m], out);
        snprintf(path, sizeof path, "%s/bitladder.json", out);
        assert_ok(bl_read_file(path, 1 << 24, &text, &n, &e));
        if (note && !strstr(text, note)) fail_msg("%s: no '%s' in %s", methods[m], note, path);
        bl_free(text);
        if (m == 0) {
            r = PROGRAM(s, "run", "--model", out, "--method", "base", "--task", "piqa", "--data", s->data, "--out",
                        s->out);
            expect(&r, 0, NULL);
            ran_free(&r);
        }
        assert_ok(bl_remove_tree(out, &e));
    }
}

/* One token only: every Hessian has rank 1. */
static void a_text_of_one_token_gives_numbers(void **state)
{
    (void)state;
    study s = study_begin(3);
    char text[400], calib[4400];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    study_write(s.dir, "a.txt", text);
    snprintf(calib, sizeof calib, "file:%s/a.txt", s.dir);
    write_model(&s, tiny_random, tiny_random);
    assert_sound(&s, calib, "calibration windows of 1 different tokens");
    study_end(&s);
}

static void a_channel_that_is_never_active_gives_numbers(void **state)
{
    (void)state;
    study s = study_begin(3);
    write_model(&s, without_channel_5, tiny_random);
    assert_sound(&s, "primer", NULL);
    study_end(&s);
}

/* Squares of 1e22 leave the range of float: what o_proj reads. Whatever a method looks at, it names the place, or what
 * it makes is finite. */
static void inputs_beyond_float_are_named_or_repaired(void **state)
{
    (void)state;
    bl_err e = {0};
    study s = study_begin(3);
    char out[4300];
    snprintf(out, sizeof out, "%s/variant", s.dir);
    write_model(&s, tiny_random, values_of_1e22);
    for (size_t m = 0; m < BL_COUNT(methods); m++) {
        ran r = quantize(&s, methods[m], "primer", out);
        bool moments = strstr(methods[m], "+scale=fp32") && strstr(methods[m], "gptq");
        if (r.code == 0) {
            assert_finite(methods[m], out);
            assert_ok(bl_remove_tree(out, &e));
        } else if (!strstr(r.err, "model.layers.0.self_attn.") && !strstr(r.err, "block 0"))
            fail_msg("%s: exit %d, '%s'", methods[m], r.code, r.err);
        if ((moments || strcmp(methods[m], "mr-gptq") == 0) &&
            (!strstr(r.err, "model.layers.0.self_attn.o_proj") ||
             !strstr(r.err, "second moments of the inputs are not finite")))
            fail_msg("%s: exit %d, '%s'", methods[m], r.code, r.err);
        assert_false(bl_exists(out));
        ran_free(&r);
    }
    study_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_that_is_no_use_is_refused),
        cmocka_unit_test(a_text_of_one_token_gives_numbers),
        cmocka_unit_test(a_channel_that_is_never_active_gives_numbers),
        cmocka_unit_test(inputs_beyond_float_are_named_or_repaired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
