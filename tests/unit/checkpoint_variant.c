/* checkpoint_variant.c - a directory written by the variant writer holds what was given, and stands alone. */
#include "test.h"
#include "harness/checkpoint/gguf.h"
#include "harness/checkpoint/variant.h"
#include "kernels/base/fs.h"
#include <math.h>
#include <unistd.h>

typedef struct world {
    char dir[4096], out[4200];
    bl_backend *be;
} world;

static int begin(void **state)
{
    bl_err e = {0};
    world *w = calloc(1, sizeof *w);
    strcpy(w->dir, test_dir());
    snprintf(w->out, sizeof w->out, "%s/model", w->dir);
    setenv("XDG_CACHE_HOME", w->dir, 1);
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &w->be, &e));
    *state = w;
    return 0;
}

static int end(void **state)
{
    world *w = *state;
    bl_err e = {0};
    bl_backend_close(w->be);
    assert_ok(bl_remove_tree(w->dir, &e));
    free(w);
    return 0;
}

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

/* Packs a linear of `c` in `format`, adds it to `v`, and returns what it decodes to. */
static float *add_packed(world *w, bl_checkpoint *c, bl_variant *v, const char *name, const char *format, bl_shape g,
                         const bl_actq *act)
{
    bl_err e = {0};
    const bl_stored *t = bl_checkpoint_find(c, name);
    const bl_format *f = bl_format_find(format);
    bl_weight p;
    bl_buffer *x = NULL;
    size_t n = (size_t)(t->shape.out * t->shape.in);
    float *host = dense(c, t);
    g.out = t->shape.out;
    g.in = t->shape.in;
    assert_ok(w->be->ops->buffer_new(w->be, n * 4, &x, &e));
    bl_tensor tx = bl_tensor_2d(x, 0, BL_F32, g.out, g.in);
    assert_ok(w->be->ops->upload(w->be, &tx, host, &e));
    assert_ok(bl_weight_new(w->be, f, &g, &p, &e));
    bl_range_rule fit = f->kind != BL_FMT_INT    ? BL_RANGE_OWN
                        : g.zero == BL_ZERO_NONE ? BL_RANGE_SYMMETRIC
                                                 : BL_RANGE_ZERO;
    assert_ok(w->be->ops->pack(w->be, &(bl_pack_args){.x = tx, .w = &p, .rule = fit}, &e));
    assert_ok(w->be->ops->unpack(w->be, &(bl_unpack_args){.w = &p, .rows = g.out, .y = tx}, &e));
    assert_ok(w->be->ops->download(w->be, &tx, host, &e));
    assert_ok(bl_variant_add(v, name, w->be, &p, act, &e));
    bl_weight_free(&p);
    w->be->ops->buffer_free(x);
    return host;
}

static void what_was_packed_is_read_back_and_the_rest_is_as_stored(void **state)
{
    world *w = *state;
    bl_err e = {0};
    bl_checkpoint *a = open_model("synth:tiny"), *b;
    bl_variant *v = NULL;
    static const struct {
        const char *name, *format;
        bl_shape g;
    } rows[] = {
        {"model.layers.0.self_attn.q_proj.weight", "int4", {.group = 48, .zero = BL_ZERO_PACKED, .scale = BL_F16}},
        {"model.layers.0.mlp.down_proj.weight", "int3", {.group = 64, .zero = BL_ZERO_I16, .scale = BL_F32}},
        {"model.layers.1.mlp.up_proj.weight", "nf4", {.group = 64, .scale = BL_F32, .double_quant = true}},
        {"model.layers.1.self_attn.v_proj.weight", "int8", {.group = 64, .zero = BL_ZERO_NONE, .scale = BL_BF16}},
    };
    float *want[BL_COUNT(rows)];
    bl_actq act = {.bits = 8, .symmetric = true, .unit = BL_ACT_TOKEN};

    assert_ok(bl_variant_begin(w->out, a, "rtn:w4g64", "{\"wbits\": 4, \"group\": 64}", &v, &e));
    for (size_t i = 0; i < BL_COUNT(rows); i++)
        want[i] = add_packed(w, a, v, rows[i].name, rows[i].format, rows[i].g, i == 3 ? &act : NULL);
    assert_ok(bl_variant_copy_rest(v, &e));
    uint64_t bytes = bl_variant_bytes(v);
    assert_false(bl_exists(w->out));
    assert_ok(bl_variant_commit(v, &e));

    b = open_model(w->out);
    assert_string_equal(bl_checkpoint_method(b), "rtn:w4g64");
    assert_string_equal(bl_checkpoint_source(b), "synth:tiny");
    assert_int_equal(bl_checkpoint_bytes(b), bytes);
    assert_int_equal(bl_checkpoint_count(b), bl_checkpoint_count(a));
    assert_int_equal(bl_checkpoint_find(b, rows[3].name)->act.bits, 8);
    assert_true(bl_checkpoint_find(b, rows[3].name)->act.symmetric);
    assert_int_equal(bl_checkpoint_find(b, rows[0].name)->act.bits, 0);
    for (size_t i = 0; i < bl_checkpoint_count(a); i++) {
        const char *name = bl_checkpoint_at(a, i)->name;
        size_t r = 0;
        while (r < BL_COUNT(rows) && strcmp(rows[r].name, name)) r++;
        if (r == BL_COUNT(rows)) {
            assert_same_weight(a, b, name);
            continue;
        }
        const bl_stored *t = bl_checkpoint_find(b, name);
        float *got = dense(b, t);
        assert_string_equal(t->format->name, rows[r].format);
        assert_memory_equal(got, want[r], (size_t)(t->shape.out * t->shape.in) * sizeof *got);
        free(got);
        free(want[r]);
    }
    assert_ok(bl_checkpoint_verify(b, &e));
    bl_checkpoint_close(a);
    bl_checkpoint_close(b);
}

static void tensor_bytes_are_the_bytes_of_the_file(void **state)
{
    world *w = *state;
    bl_err e = {0};
    bl_checkpoint *a = open_model("synth:tiny:int3");
    bl_variant *v = NULL;
    char path[4300];
    uint64_t header;
    bl_map m;
    assert_ok(bl_variant_begin(w->out, a, "base", NULL, &v, &e));
    assert_ok(bl_variant_copy_rest(v, &e));
    uint64_t bytes = bl_variant_bytes(v);
    assert_ok(bl_variant_commit(v, &e));
    assert_int_equal(bytes, bl_checkpoint_bytes(a));
    snprintf(path, sizeof path, "%s/model.safetensors", w->out);
    assert_ok(bl_map_open(path, &m, &e));
    memcpy(&header, m.data, 8);
    assert_int_equal(m.size, 8 + header + bytes);
    bl_map_close(&m);
    bl_checkpoint_close(a);
}

static void a_variant_of_a_variant_is_the_same(void **state)
{
    world *w = *state;
    bl_err e = {0};
    char second[4300];
    bl_checkpoint *a = open_model("synth:tiny:int4"), *b, *c;
    bl_hash x, y;
    bl_variant *v = NULL;
    snprintf(second, sizeof second, "%s2/", w->out);
    assert_ok(bl_variant_begin(w->out, a, "base", NULL, &v, &e));
    assert_ok(bl_variant_copy_rest(v, &e));
    assert_ok(bl_variant_commit(v, &e));
    b = open_model(w->out);
    assert_ok(bl_variant_begin(second, b, "base", NULL, &v, &e));
    assert_ok(bl_variant_copy_rest(v, &e));
    assert_ok(bl_variant_commit(v, &e));
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
    assert_ok(bl_variant_begin(w->out, a, "base", NULL, &v, &e));
    assert_ok(bl_variant_copy_rest(v, &e));
    assert_ok(bl_variant_commit(v, &e));
    assert_refused(bl_variant_begin(w->out, a, "base", NULL, &v, &e), BL_E_CONFIG, "is not empty");
    b = open_model(w->out);
    assert_refused(bl_variant_begin(w->out, b, "base", NULL, &v, &e), BL_E_CONFIG, "is the model itself");
    snprintf(file, sizeof file, "%s/config", w->out);
    assert_ok(bl_write_file(file, "x", 1, &e));
    assert_refused(bl_variant_begin(file, a, "base", NULL, &v, &e), BL_E_CONFIG, "is not a directory");
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
    assert_ok(bl_variant_begin(w->out, a, "base", NULL, &v, &e));
    assert_refused(bl_variant_commit(v, &e), BL_E_INTERNAL, "was not written");
    bl_variant_drop(v);
    assert_ok(bl_dir_list(w->dir, &names, &n, &e));
    assert_int_equal(n, 0);
    bl_list_free(names, n);
    bl_checkpoint_close(a);
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
        bl_variant *v = NULL;
        assert_ok(bl_variant_begin(w->out, a, "base", NULL, &v, &e));
        assert_ok(bl_variant_copy_rest(v, &e));
        assert_ok(bl_variant_commit(v, &e));
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
    bl_variant *v = NULL;
    bl_gguf *g;
    const char *path;
    bl_checkpoint_opts o = {
        .tokenizer = test_path("BITLADDER_MODELS", "tokenizers/gguf-vocab/ggml-vocab-llama-spm.gguf")};
    assert_ok(bl_checkpoint_open("synth:tiny", &o, &a, &e));
    assert_ok(bl_variant_begin(w->out, a, "base", NULL, &v, &e));
    assert_ok(bl_variant_copy_rest(v, &e));
    assert_ok(bl_variant_commit(v, &e));
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
#define WITH(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        WITH(what_was_packed_is_read_back_and_the_rest_is_as_stored),
        WITH(tensor_bytes_are_the_bytes_of_the_file),
        WITH(a_variant_of_a_variant_is_the_same),
        WITH(loaded_parts_are_the_bytes_of_the_file),
        WITH(the_output_must_be_new_and_not_the_model),
        WITH(a_dropped_variant_leaves_nothing),
        WITH(rotary_rows_and_the_tokenizer_come_along),
        WITH(a_gguf_tokenizer_becomes_a_file_of_metadata),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
