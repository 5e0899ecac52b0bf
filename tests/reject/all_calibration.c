/* all_calibration.c - calibration text that is no use, and models that make none of it: a sentence or numbers, never
 * codes of nothing. */
#include "study_fixture.h"
#include "harness/checkpoint/checkpoint.h"

static ran quantize(const study *s, const char *model, const char *calib, const char *out)
{
    return PROGRAM(s, "quantize", model, "--method", "gptq:w4g36+scale=fp32", "--calib", calib, "--calib-n", "4",
                   "--calib-seqlen", "64", "-o", out);
}

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
        ran r = quantize(&s, s.model, calib, out);
        if (r.code == 0 || !strstr(r.err, rows[i].says)) fail_msg("exit %d, '%s'", r.code, r.err);
        assert_false(bl_exists(out));
        ran_free(&r);
    }
    study_end(&s);
}

/* Every value of every tensor is finite, and so is what the model says. */
static void assert_sound(const study *s, const char *out)
{
    bl_err e = {0};
    bl_checkpoint *c;
    assert_ok(bl_checkpoint_open(out, NULL, &c, &e));
    assert_ok(bl_checkpoint_verify(c, &e));
    bl_checkpoint_close(c);
    char *results = bl_join(s->dir, "results", &e);
    ran r = PROGRAM(s, "run", "--model", out, "--method", "base", "--task", "piqa", "--data", s->data, "--out",
                    results);
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_ok(bl_remove_tree(results, &e));
    assert_ok(bl_remove_tree(out, &e));
    bl_free(results);
}

/* One token only: every Hessian has rank 1. */
static void a_text_of_one_token_gives_numbers(void **state)
{
    (void)state;
    study s = study_begin(3);
    char text[400], calib[4400], out[4300];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    study_write(s.dir, "a.txt", text);
    snprintf(calib, sizeof calib, "file:%s/a.txt", s.dir);
    snprintf(out, sizeof out, "%s/variant", s.dir);
    ran r = quantize(&s, s.model, calib, out);
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_sound(&s, out);
    study_end(&s);
}

static float without_channel_5(const void *ctx, int64_t i) { return i % 72 == 5 ? 0 : tiny_random(ctx, i); }
static float values_of_1e22(const void *ctx, int64_t i) /* the third matrix of a block makes the values */
{
    return tiny_random(ctx, i) * (*(const uint64_t *)ctx == 3 ? 1e23f : 1);
}
static const tiny shape = {
    .dim = 72, .hidden = 100, .layers = 2, .heads = 4, .kv_heads = 2, .vocab = 300, .max_len = 96};

static void a_channel_that_is_never_active_gives_numbers(void **state)
{
    (void)state;
    static const uint64_t seed[2] = {100, 101};
    study s = study_begin(3);
    char out[4300];
    snprintf(out, sizeof out, "%s/variant", s.dir);
    tiny_write(s.model, &shape, without_channel_5, &seed[0], tiny_random, tiny_random, &seed[1]);
    ran r = quantize(&s, s.model, "primer", out);
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_sound(&s, out);
    study_end(&s);
}

/* Squares of 1e22 leave the range of float: what o_proj reads. */
static void second_moments_that_are_not_finite_are_named_with_their_layer(void **state)
{
    (void)state;
    static const uint64_t seed[2] = {100, 101};
    study s = study_begin(3);
    char out[4300];
    snprintf(out, sizeof out, "%s/variant", s.dir);
    tiny_write(s.model, &shape, tiny_random, &seed[0], values_of_1e22, tiny_random, &seed[1]);
    ran r = quantize(&s, s.model, "primer", out);
    if (r.code == 0 || !strstr(r.err, "model.layers.0.self_attn.o_proj") || !strstr(r.err, "second moments"))
        fail_msg("exit %d, '%s'", r.code, r.err);
    assert_false(bl_exists(out));
    ran_free(&r);
    study_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_that_is_no_use_is_refused),
        cmocka_unit_test(a_text_of_one_token_gives_numbers),
        cmocka_unit_test(a_channel_that_is_never_active_gives_numbers),
        cmocka_unit_test(second_moments_that_are_not_finite_are_named_with_their_layer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
