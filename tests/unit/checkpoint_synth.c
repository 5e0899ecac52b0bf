/* checkpoint_synth.c - made-up weights: the same whatever slice is asked for, of the right spread, and never in memory
 * as a whole. */
#include "test.h"
#include "harness/checkpoint/checkpoint.h"
#include <math.h>

static bl_checkpoint *open_model(const char *model)
{
    bl_err e = {0};
    bl_checkpoint *c = NULL;
    assert_ok(bl_checkpoint_open(model, NULL, &c, &e));
    return c;
}

static const char *const types[] = {"synth:tiny",      "synth:tiny:f32",  "synth:tiny:f16",
                                    "synth:tiny:int8", "synth:tiny:int5", "synth:tiny:int3",
                                    "synth:tiny:int1", "synth:tiny:nf4",  "synth:tiny:fp4"};

static void rows_do_not_depend_on_how_many_are_asked_for(void **state)
{
    (void)state;
    bl_err e = {0};
    for (size_t i = 0; i < BL_COUNT(types); i++) {
        bl_checkpoint *a = open_model(types[i]), *b = open_model(types[i]);
        const bl_stored *t = bl_checkpoint_find(a, "model.layers.1.mlp.down_proj.weight");
        float *all = malloc((size_t)(t->shape.out * t->shape.in) * 4), *row = malloc((size_t)t->shape.in * 4);
        assert_ok(bl_checkpoint_dense(a, t, 0, t->shape.out, all, &e));
        for (int64_t r = t->shape.out - 1; r >= 0; r -= 7) {
            assert_ok(bl_checkpoint_dense(b, bl_checkpoint_find(b, t->name), r, 1, row, &e));
            assert_memory_equal(row, all + r * t->shape.in, (size_t)t->shape.in * 4);
        }
        free(all);
        free(row);
        bl_checkpoint_close(a);
        bl_checkpoint_close(b);
    }
}

static void weights_have_the_spread_of_a_trained_model(void **state)
{
    (void)state;
    bl_err e = {0};
    for (size_t i = 0; i < BL_COUNT(types); i++) {
        bl_checkpoint *c = open_model(types[i]);
        const bl_stored *t = bl_checkpoint_find(c, "model.layers.0.mlp.up_proj.weight");
        size_t n = (size_t)(t->shape.out * t->shape.in);
        float *w = malloc(n * 4);
        double sum = 0, sq = 0;
        assert_ok(bl_checkpoint_dense(c, t, 0, t->shape.out, w, &e));
        for (size_t k = 0; k < n; k++) {
            sum += w[k];
            sq += (double)w[k] * w[k];
        }
        assert_true(fabs(sum / (double)n) < 0.005); /* integer codes are off the middle by half a step */
        assert_true(fabs(sqrt(sq / (double)n) - 0.02) < 0.002);
        assert_ok(bl_checkpoint_dense(c, bl_checkpoint_find(c, "model.norm.weight"), 0, 1, w, &e));
        assert_true(w[0] == 1 && w[63] == 1);
        assert_ok(bl_checkpoint_verify(c, &e));
        free(w);
        bl_checkpoint_close(c);
    }
}

static void a_few_weights_are_the_ones_they_always_were(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_checkpoint *c = open_model("synth:tiny:f32");
    float w[64];
    assert_ok(bl_checkpoint_dense(c, bl_checkpoint_find(c, "model.layers.0.self_attn.q_proj.weight"), 3, 1, w, &e));
    assert_float_equal(w[0], 0.0144460658, 1e-9);
    assert_float_equal(w[1], -0.00121052645, 1e-9);
    assert_float_equal(w[63], 0.00599844521, 1e-9);
    bl_checkpoint_close(c);
}

static void shapes_have_the_parameters_they_are_named_after(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t params;
    } rows[] = {
        /* as published for each model */
        {"synth:llama3-8b", 8030261248},       {"synth:llama3-70b", 70553706496},
        {"synth:llama3.1-405b", 405853388800}, {"synth:llama2-7b", 6738415616},
        {"synth:llama-65b", 65285660672},      {"synth:llama2-13b", 13015864320},
        {"synth:llama2-70b", 68976648192},     {"synth:llama3.2-1b", 1235814400},
        {"synth:llama3.2-3b", 3212749824},     {"synth:tinyllama-1.1b", 1100048384},
        {"synth:smollm2-135m", 134515008},     {"synth:smollm2-360m", 361821120},
        {"synth:smollm2-1.7b", 1711376384},    {"synth:mistral-7b-v0.1", 7241732096},
        {"synth:mistral-7b-v0.3", 7248023552}, {"synth:qwen2.5-0.5b", 494032768},
        {"synth:qwen3-0.6b", 596049920},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_checkpoint *c = open_model(rows[i].name);
        if (bl_config_params(bl_checkpoint_config(c)) != rows[i].params)
            fail_msg("%s: %lld parameters, expected %lld", rows[i].name,
                     (long long)bl_config_params(bl_checkpoint_config(c)), (long long)rows[i].params);
        assert_int_equal(bl_checkpoint_bytes(c), 2 * (uint64_t)rows[i].params);
        assert_string_equal(bl_checkpoint_name(c), rows[i].name);
        bl_checkpoint_close(c);
    }
}

/* The first blocks of a shape are those that the whole has. */
static void a_shape_may_have_some_of_its_blocks(void **state)
{
    (void)state;
    static const struct {
        const char *name, *says;
    } refused[] = {{"synth:tiny@0", "how many of the"},
                   {"synth:tiny@", "how many of the"},
                   {"synth:tiny@-1", "how many of the"},
                   {"synth:tiny@1x", "how many of the"},
                   {"synth:tiny@900", "blocks of tiny"},
                   {"synth:tiny@99999999999999999999", "blocks of tiny"},
                   {"synth:tinx@1", "tinx"}};
    bl_err e = {0};
    bl_checkpoint *whole = open_model("synth:llama3-70b"), *two = open_model("synth:llama3-70b@2:f32"),
                  *all = open_model("synth:llama3-70b@80"), *c;
    const char *name = "model.layers.1.mlp.down_proj.weight";
    assert_string_equal(bl_checkpoint_name(two), "synth:llama3-70b@2:fp32");
    assert_string_equal(bl_checkpoint_name(all), "synth:llama3-70b"); /* the same model */
    const int64_t block = (70553706496 - bl_config_params(bl_checkpoint_config(two))) / 78;
    assert_int_equal(bl_checkpoint_config(two)->n_layers, 2);
    assert_int_equal(bl_config_params(bl_checkpoint_config(two)), 70553706496 - 78 * block);
    assert_int_equal(block, 2 * 8192 + 2 * 8192 * 8192 + 2 * 8192 * 1024 + 3 * INT64_C(8192) * 28672);
    assert_null(bl_checkpoint_find(two, "model.layers.2.mlp.down_proj.weight"));
    bl_checkpoint_close(all);
    bl_checkpoint_close(whole);
    bl_checkpoint_close(two);
    whole = open_model("synth:smollm2-135m:f32");
    two = open_model("synth:smollm2-135m@2:f32");
    const int64_t in = bl_checkpoint_config(two)->ffn_dim;
    float *x = malloc((size_t)in * sizeof *x), *y = malloc((size_t)in * sizeof *y);
    assert_ok(bl_checkpoint_dense(whole, bl_checkpoint_find(whole, name), 5, 1, x, &e));
    assert_ok(bl_checkpoint_dense(two, bl_checkpoint_find(two, name), 5, 1, y, &e));
    assert_memory_equal(x, y, (size_t)in * sizeof *x);
    free(x);
    free(y);
    bl_checkpoint_close(whole);
    bl_checkpoint_close(two);
    for (size_t i = 0; i < BL_COUNT(refused); i++)
        assert_refused(bl_checkpoint_open(refused[i].name, NULL, &c, &e), BL_E_CONFIG, refused[i].says);
}

/* Biases are as random as weights, norms are 1, and every architecture loads. */
static void every_architecture_has_a_small_shape(void **state)
{
    (void)state;
    static const struct {
        const char *model, *arch;
        bl_role role; /* that the others lack */
        int64_t n;
        int64_t window;
    } rows[] = {{"synth:tiny", "llama", BL_N_ROLES, 0, 0},
                {"synth:tiny-biases", "llama", BL_ROLE_DOWN_BIAS, 64, 0},
                {"synth:tiny-mistral", "mistral", BL_N_ROLES, 0, 256},
                {"synth:tiny-qwen2", "qwen2", BL_ROLE_K_BIAS, 32, 0},
                {"synth:tiny-qwen3", "qwen3", BL_ROLE_K_NORM, 32, 0}};
    bl_err e = {0};
    const bl_arch *a;
    for (size_t i = 0; (a = bl_arch_at(i)); i++) { /* "synth:tiny-qwen2"; "synth:tiny" is a llama */
        char model[64];
        bl_checkpoint *c;
        snprintf(model, sizeof model, "synth:tiny%s%s", strcmp(a->name, "llama") ? "-" : "",
                 strcmp(a->name, "llama") ? a->name : "");
        if (bl_checkpoint_open(model, NULL, &c, &e) != BL_OK) fail_msg("no small shape of a %s: %s", a->name, e.text);
        assert_string_equal(bl_checkpoint_config(c)->arch->name, a->name);
        assert_ok(bl_config_check(bl_checkpoint_config(c), model, &e));
        bl_checkpoint_close(c);
    }
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_checkpoint *c = open_model(rows[i].model);
        float w[64];
        assert_string_equal(bl_checkpoint_config(c)->arch->name, rows[i].arch);
        assert_int_equal(bl_checkpoint_config(c)->window, rows[i].window);
        assert_ok(bl_config_check(bl_checkpoint_config(c), rows[i].model, &e));
        if (rows[i].role < BL_N_ROLES) {
            const bl_stored *t = bl_checkpoint_param(c, rows[i].role, 1);
            assert_non_null(t);
            assert_int_equal(t->shape.in, rows[i].n);
            assert_ok(bl_checkpoint_dense(c, t, 0, 1, w, &e));
            for (int64_t k = 1; k < rows[i].n; k++)
                assert_true(bl_roles[rows[i].role].kind == BL_KIND_NORM ? w[k] == 1 : w[k] != w[0]);
        }
        bl_checkpoint_close(c);
    }
}

static void names_and_fingerprints_tell_shapes_and_types_apart(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_hash a, b, d;
    bl_checkpoint *c = open_model("synth:tiny"), *same = open_model("synth:tiny:bf16"),
                  *other = open_model("synth:tiny:int4");
    const char *why;
    assert_ok(bl_checkpoint_fingerprint(c, &a, &e));
    assert_ok(bl_checkpoint_fingerprint(same, &b, &e));
    assert_ok(bl_checkpoint_fingerprint(other, &d, &e));
    assert_true(bl_hash_equal(a, b));
    assert_false(bl_hash_equal(a, d));
    assert_string_equal(bl_checkpoint_stored_as(c), "BF16");
    assert_string_equal(bl_checkpoint_stored_as(other), "int4 g64");
    assert_string_equal(bl_checkpoint_find(other, "model.embed_tokens.weight")->format->name, "bf16");
    assert_int_equal(bl_checkpoint_tokenizer(c, NULL, &why), BL_TOK_NONE);
    assert_non_null(strstr(why, "--tokenizer"));
    bl_checkpoint_close(c);
    bl_checkpoint_close(same);
    bl_checkpoint_close(other);
    assert_refused(bl_checkpoint_open("synth:llama3-8", NULL, &c, &e), BL_E_CONFIG, "did you mean llama3-8b");
    assert_refused(bl_checkpoint_open("synth:tiny:int9", NULL, &c, &e), BL_E_CONFIG,
                   "no synthetic weights of type 'int9'");
    assert_refused(bl_checkpoint_open("synth:tiny:q4_k", NULL, &c, &e), BL_E_CONFIG, "no synthetic weights of type");
    assert_refused(bl_checkpoint_open("synth:", NULL, &c, &e), BL_E_CONFIG, "no synthetic shape");
}

static void opening_and_reading_a_large_one_costs_little_memory(void **state)
{
    (void)state;
    bl_err e = {0};
    float row[16384];
    uint64_t before = bl_alloc_live();
    bl_alloc_watch_reset();
    bl_checkpoint *c = open_model("synth:llama3.1-405b");
    assert_ok(
        bl_checkpoint_dense(c, bl_checkpoint_find(c, "model.layers.125.self_attn.q_proj.weight"), 16383, 1, row, &e));
    assert_int_equal(bl_checkpoint_bytes_read(c), 32768);
    assert_true(bl_alloc_peak() - before < 8e6);
    bl_checkpoint_close(c);
}

static void a_load_makes_each_weight_once(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_backend *be;
    bl_weight w;
    bl_checkpoint *c = open_model("synth:llama3-8b");
    const bl_stored *t = bl_checkpoint_find(c, "model.layers.0.self_attn.q_proj.weight");
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, &e));
    uint64_t before = bl_checkpoint_bytes_read(c);
    assert_ok(bl_checkpoint_load(c, t, be, &w, &e));
    assert_int_equal(bl_checkpoint_bytes_read(c) - before, t->part[0].bytes);
    bl_weight_free(&w);
    bl_backend_close(be);
    bl_checkpoint_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_do_not_depend_on_how_many_are_asked_for),
        cmocka_unit_test(weights_have_the_spread_of_a_trained_model),
        cmocka_unit_test(a_few_weights_are_the_ones_they_always_were),
        cmocka_unit_test(shapes_have_the_parameters_they_are_named_after),
        cmocka_unit_test(a_shape_may_have_some_of_its_blocks),
        cmocka_unit_test(every_architecture_has_a_small_shape),
        cmocka_unit_test(names_and_fingerprints_tell_shapes_and_types_apart),
        cmocka_unit_test(opening_and_reading_a_large_one_costs_little_memory),
        cmocka_unit_test(a_load_makes_each_weight_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
