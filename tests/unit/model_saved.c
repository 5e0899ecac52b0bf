/* model_saved.c - the files of a saved model: its bytes, what comes along with them, where they may not be. What they
 * mean: model_variant.c.
 */
#include "variant_write.h"
#include "harness/checkpoint/gguf.h"

static const bl_stage base = {.text = "base"};

static bl_checkpoint *open_model(const char *model)
{
    bl_err e = {0};
    bl_checkpoint *c = NULL;
    assert_ok(bl_checkpoint_open(model, NULL, &c, &e));
    return c;
}

static float *dense(bl_checkpoint *c, const bl_stored *t)
{
    bl_err e = {0};
    float *w = malloc((size_t)(t->shape.out * t->shape.in) * sizeof *w);
    assert_ok(bl_checkpoint_dense(c, t, 0, t->shape.out, w, &e));
    return w;
}

static void assert_same_weight(bl_checkpoint *a, bl_checkpoint *b, const char *name)
{
    const bl_stored *s = bl_checkpoint_find(a, name), *t = bl_checkpoint_find(b, name);
    float *x = dense(a, s), *y = dense(b, t);
    if (memcmp(x, y, (size_t)(s->shape.out * s->shape.in) * sizeof *x)) fail_msg("%s differs", name);
    free(x);
    free(y);
}

static void tensor_bytes_are_the_bytes_of_the_file(void **state)
{
    world *w = *state;
    bl_err e = {0};
    bl_checkpoint *a = open_model("synth:tiny:int3");
    char path[4300];
    uint64_t header, bytes, all = 0;
    assert_ok(variant_of(a, w->be, w->out, "base", &bytes, &e));
    assert_int_equal(bytes, bl_checkpoint_bytes(a));
    for (int i = 1; i <= 3; i++) { /* two blocks and the rest */
        bl_map m;
        snprintf(path, sizeof path, "%s/model-%05d-of-00003.safetensors", w->out, i);
        assert_ok(bl_map_open(path, &m, &e));
        memcpy(&header, m.data, 8);
        assert_int_equal((8 + header) % 64, 0);
        all += m.size - 8 - header;
        bl_map_close(&m);
    }
    assert_int_equal(all, bytes);
    bl_checkpoint_close(a);
}

static void a_variant_of_a_variant_is_the_same(void **state)
{
    world *w = *state;
    bl_err e = {0};
    char second[4300];
    bl_checkpoint *a = open_model("synth:tiny:int4"), *b, *c;
    bl_hash x, y;
    snprintf(second, sizeof second, "%s2/", w->out);
    assert_ok(variant_of(a, w->be, w->out, "base", NULL, &e));
    b = open_model(w->out);
    assert_ok(variant_of(b, w->be, second, "base", NULL, &e));
    c = open_model(second);
    assert_ok(bl_checkpoint_fingerprint(b, &x, &e));
    assert_ok(bl_checkpoint_fingerprint(c, &y, &e));
    assert_true(bl_hash_equal(x, y));
    assert_string_equal(bl_checkpoint_stored_as(c), "int4 g64");
    bl_checkpoint_close(a);
    bl_checkpoint_close(b);
    bl_checkpoint_close(c);
}

static void loaded_parts_are_the_bytes_of_the_file(void **state)
{
    world *w = *state;
    bl_err e = {0};
    bl_checkpoint *a = open_model("synth:tiny:int4");
    const bl_stored *t = bl_checkpoint_find(a, "model.layers.1.mlp.gate_proj.weight");
    bl_weight p;
    bl_buffer *x = NULL;
    size_t n = (size_t)(t->shape.out * t->shape.in);
    float *want = dense(a, t), *got = malloc(n * sizeof *got);
    assert_ok(bl_checkpoint_load(a, t, w->be, &p, &e));
    assert_ok(w->be->ops->buffer_new(w->be, n * 4, &x, &e));
    bl_tensor tx = bl_tensor_2d(x, 0, BL_F32, t->shape.out, t->shape.in);
    assert_ok(w->be->ops->unpack(w->be, &(bl_unpack_args){.w = &p, .rows = t->shape.out, .y = tx}, &e));
    assert_ok(w->be->ops->download(w->be, &tx, got, &e));
    assert_memory_equal(got, want, n * sizeof *got);
    w->be->ops->buffer_free(x);
    bl_weight_free(&p);
    free(want);
    free(got);
    bl_checkpoint_close(a);
}

static void the_output_must_be_new_and_not_the_model(void **state)
{
    world *w = *state;
    bl_err e = {0};
    bl_checkpoint *a = open_model("synth:tiny"), *b;
    bl_variant *v = NULL;
    char file[4300];
    assert_ok(bl_make_dirs(w->out, &e)); /* empty: fine */
    assert_ok(variant_of(a, w->be, w->out, "base", NULL, &e));
    assert_refused(bl_variant_begin(w->out, a, &base, 1, &v, &e), BL_E_CONFIG, "is not empty");
    b = open_model(w->out);
    assert_refused(bl_variant_begin(w->out, b, &base, 1, &v, &e), BL_E_CONFIG, "is the model itself");
    snprintf(file, sizeof file, "%s/config", w->out);
    assert_ok(bl_write_file(file, "x", 1, &e));
    assert_refused(bl_variant_begin(file, a, &base, 1, &v, &e), BL_E_CONFIG, "is not a directory");
    bl_checkpoint_close(a);
    bl_checkpoint_close(b);
}

static void a_dropped_variant_leaves_nothing(void **state)
{
    world *w = *state;
    bl_err e = {0};
    bl_checkpoint *a = open_model("synth:tiny");
    bl_variant *v = NULL;
    char **names;
    size_t n;
    assert_ok(bl_variant_begin(w->out, a, &base, 1, &v, &e));
    assert_refused(bl_variant_commit(v, &e), BL_E_INTERNAL, "block 3 is written, expected 0 of 2");
    bl_variant_drop(v);
    assert_ok(bl_dir_list(w->dir, &names, &n, &e));
    assert_int_equal(n, 0);
    bl_list_free(names, n);
    bl_checkpoint_close(a);
}

static void a_weight_in_a_layout_of_the_backend_is_not_written(void **state)
{
    world *w = *state;
    bl_err e = {0};
    fixture f = fixture_stored("synth:tiny", "", 1, false);
    bl_variant *v = NULL;
    assert_ok(bl_variant_begin(w->out, f.ckpt, &base, 1, &v, &e));
    bl_model_linear(f.m, 0, BL_ROLE_K)->weight.layout = 1;
    assert_refused(bl_variant_block(v, f.m, 0, &e), BL_E_INTERNAL,
                   "model.layers.0.self_attn.k_proj is in a layout of the backend");
    bl_model_linear(f.m, 0, BL_ROLE_K)->weight.layout = 0;
    bl_variant_drop(v);
    fixture_close(&f);
}

static void rotary_rows_and_the_tokenizer_come_along(void **state)
{
    BL_NEEDS("BITLADDER_MODELS");
    world *w = *state;
    bl_err e = {0};
    const char *path;
    static const struct {
        const char *model;
        bl_tok_kind kind;
        const char *file;
    } rows[] = {
        {"stories260K/stories260K.bin", BL_TOK_SPM, "tokenizer.model"},
        {"aidreams231K/aidreams260K.bin", BL_TOK_LLAMA2C, "tokenizer.bin"},
        {"tinystories656K", BL_TOK_JSON, "tokenizer.json"},
    };
    for (size_t r = 0; r < BL_COUNT(rows); r++) {
        bl_checkpoint *a = open_model(test_path("BITLADDER_MODELS", rows[r].model)), *b;
        assert_ok(variant_of(a, w->be, w->out, "base", NULL, &e));
        b = open_model(w->out);
        for (size_t i = 0; i < bl_checkpoint_count(a); i++) {
            assert_int_equal(bl_checkpoint_at(b, i)->rotary_heads, 0);
            assert_same_weight(a, b, bl_checkpoint_at(a, i)->name);
        }
        assert_int_equal(bl_checkpoint_tokenizer(b, &path, NULL), rows[r].kind);
        assert_string_equal(strrchr(path, '/') + 1, rows[r].file);
        bl_checkpoint_close(a);
        bl_checkpoint_close(b);
        assert_ok(bl_remove_tree(w->out, &e));
    }
}

static void a_gguf_tokenizer_becomes_a_file_of_metadata(void **state)
{
    BL_NEEDS("BITLADDER_MODELS");
    world *w = *state;
    bl_err e = {0};
    bl_checkpoint *a = NULL, *b;
    bl_gguf *g;
    const char *path;
    bl_checkpoint_opts o = {
        .tokenizer = test_path("BITLADDER_MODELS", "tokenizers/gguf-vocab/ggml-vocab-llama-spm.gguf")};
    assert_ok(bl_checkpoint_open("synth:tiny", &o, &a, &e));
    assert_ok(variant_of(a, w->be, w->out, "base", NULL, &e));
    b = open_model(w->out);
    assert_int_equal(bl_checkpoint_tokenizer(b, &path, NULL), BL_TOK_GGUF);
    assert_ok(bl_gguf_open(path, &g, &e));
    assert_int_equal(bl_gguf_find(g, "tokenizer.ggml.tokens")->n, 32000);
    bl_gguf_close(g);
    bl_checkpoint_close(a);
    bl_checkpoint_close(b);
}

int main(void)
{
#define WITH(f) cmocka_unit_test_setup_teardown(f, begin_world, end_world)
    const struct CMUnitTest tests[] = {
        WITH(tensor_bytes_are_the_bytes_of_the_file),   WITH(a_variant_of_a_variant_is_the_same),
        WITH(loaded_parts_are_the_bytes_of_the_file),   WITH(the_output_must_be_new_and_not_the_model),
        WITH(a_dropped_variant_leaves_nothing),         WITH(a_weight_in_a_layout_of_the_backend_is_not_written),
        WITH(rotary_rows_and_the_tokenizer_come_along), WITH(a_gguf_tokenizer_becomes_a_file_of_metadata),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
