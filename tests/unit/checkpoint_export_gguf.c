/* checkpoint_export_gguf.c - a checkpoint as a GGUF file: every weight and every number of the model comes back. That
 * llama.cpp reads it: tests/tools/gguf_llama.py. */
#include "test.h"
#include "own_dir.h"
#include "harness/checkpoint/export.h"
#include "harness/checkpoint/gguf.h"
#include "kernels/base/fs.h"

static bl_checkpoint *open_model(const char *path, const char *tokenizer)
{
    bl_err e = {0};
    bl_checkpoint *c = NULL;
    assert_ok(bl_checkpoint_open(path, &(bl_checkpoint_opts){.tokenizer = tokenizer}, &c, &e));
    return c;
}

static const char *to(const char *name)
{
    static char path[8192];
    snprintf(path, sizeof path, "%s/%s.gguf", dir, name);
    return path;
}

static void assert_same_weights(bl_checkpoint *a, bl_checkpoint *b)
{
    bl_err e = {0};
    assert_int_equal(bl_checkpoint_count(a), bl_checkpoint_count(b));
    for (size_t i = 0; i < bl_checkpoint_count(a); i++) {
        const bl_stored *s = bl_checkpoint_at(a, i), *t = bl_checkpoint_at(b, i);
        size_t n = (size_t)(s->shape.out * s->shape.in);
        float *v = malloc(n * 4), *w = malloc(n * 4);
        assert_string_equal(s->name, t->name);
        assert_true(s->shape.out == t->shape.out && s->shape.in == t->shape.in);
        assert_ok(bl_checkpoint_dense(a, s, 0, s->shape.out, v, &e));
        assert_ok(bl_checkpoint_dense(b, t, 0, t->shape.out, w, &e));
        if (memcmp(v, w, n * 4)) fail_msg("%s: %s differs", bl_checkpoint_path(b), s->name);
        if (s->vector) assert_string_equal(t->format->name, "fp32");
        free(v);
        free(w);
    }
}

static void assert_same_numbers(const bl_config *a, const bl_config *b)
{
    assert_string_equal(a->arch->gguf, b->arch->gguf);
    assert_true(a->dim == b->dim && a->ffn_dim == b->ffn_dim && a->n_layers == b->n_layers && a->n_heads == b->n_heads);
    assert_true(a->n_kv_heads == b->n_kv_heads && a->head_dim == b->head_dim && a->vocab == b->vocab);
    assert_true(a->max_len == b->max_len && (float)a->eps == (float)b->eps && a->rope_theta == b->rope_theta);
    assert_true(a->rope == b->rope && a->tied == b->tied && a->window == b->window && a->roles == b->roles);
    if (a->rope != BL_ROPE_PLAIN) assert_true(a->rope_factor == b->rope_factor);
    if (a->rope == BL_ROPE_LLAMA3)
        assert_true(a->rope_low == b->rope_low && a->rope_high == b->rope_high && a->rope_original == b->rope_original);
}

static void comes_back(const char *model, const char *name)
{
    bl_err e = {0};
    bl_checkpoint *a = open_model(model, NULL);
    assert_ok(bl_export_gguf(a, NULL, to(name), &e));
    bl_checkpoint *b = open_model(to(name), NULL);
    assert_same_numbers(bl_checkpoint_config(a), bl_checkpoint_config(b));
    assert_same_weights(a, b);
    bl_checkpoint_close(b);
    bl_checkpoint_close(a);
}

static void every_small_architecture_comes_back(void **state)
{
    const char *name, *arch;
    bl_config c;
    int done = 0;
    (void)state;
    for (size_t i = 0; (name = bl_synth_at(i, &arch, &c)); i++) {
        char model[64];
        if (strncmp(name, "tiny", 4) || !strncmp(name, "tinyllama", 9)) continue;
        snprintf(model, sizeof model, "synth:%s", name);
        comes_back(model, name);
        done++;
    }
    assert_true(done >= 5);
}

/* GPTQModel's integers in groups of 32, symmetric. */
static void groups_of_32_without_zeros_are_blocks(void **state)
{
    (void)state;
    comes_back(BL_SOURCE_DIR "/tests/data/packed/gptq-w4g32-sym", "w4g32");
    bl_checkpoint *c = open_model(to("w4g32"), NULL);
    assert_string_equal(bl_checkpoint_param(c, BL_ROLE_UP, 0)->format->name, "q4_0");
    assert_string_equal(bl_checkpoint_param(c, BL_ROLE_Q, 0)->format->name, "q4_0"); /* in pairs of rows */
    bl_checkpoint_close(c);
}

static void what_a_file_cannot_say_is_refused(void **state)
{
    bl_err e = {0};
    (void)state;
    bl_checkpoint *c = open_model(BL_SOURCE_DIR "/tests/data/packed/gptq-w4g16", NULL);
    assert_refused(bl_export_gguf(c, NULL, to("g16"), &e), BL_E_UNSUPPORTED,
                   "it is stored as int4 g16; a GGUF file has no place");
    assert_false(bl_exists(to("g16")));
    bl_checkpoint_close(c);
    c = open_model("synth:tiny", NULL);
    assert_refused(bl_export_gguf(c, NULL, to("w4g32"), &e), BL_E_CONFIG, "exists already");
    bl_checkpoint_close(c);
}

static void keys_of_a_tokenizer_are_copied(void **state)
{
    const char *from = BL_SOURCE_DIR "/tests/fuzz/corpus/tokmodel/spm.gguf";
    bl_err e = {0};
    bl_gguf *a, *b;
    size_t copied = 0;
    (void)state;
    bl_checkpoint *c = open_model("synth:tiny", from);
    assert_ok(bl_export_gguf(c, NULL, to("tok"), &e));
    bl_checkpoint_close(c);
    assert_ok(bl_gguf_open(from, &a, &e));
    assert_ok(bl_gguf_open(to("tok"), &b, &e));
    for (size_t i = 0; i < bl_gguf_count(a); i++) {
        const bl_gguf_value *v = bl_gguf_at(a, i), *w = bl_gguf_find(b, v->key);
        if (strncmp(v->key, "tokenizer.", 10)) continue;
        copied++;
        assert_non_null(w);
        assert_true(v->type == w->type && v->item == w->item && v->n == w->n);
        const uint8_t *p = v->at, *q = w->at;
        for (uint64_t k = 0, m, n; v->type == BL_GGUF_ARRAY && v->item == BL_GGUF_STRING && k < v->n; k++) {
            const char *s = bl_gguf_next_string(&p, &m), *t = bl_gguf_next_string(&q, &n);
            assert_true(m == n && !memcmp(s, t, m));
        }
        if (v->type == BL_GGUF_STRING) assert_memory_equal(v->at, w->at, v->n);
        if (v->type == BL_GGUF_ARRAY && v->item == BL_GGUF_F32) assert_memory_equal(v->at, w->at, 4 * v->n);
    }
    assert_true(copied > 2);
    bl_gguf_close(a);
    bl_gguf_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_small_architecture_comes_back),
        cmocka_unit_test(groups_of_32_without_zeros_are_blocks),
        cmocka_unit_test(what_a_file_cannot_say_is_refused),
        cmocka_unit_test(keys_of_a_tokenizer_are_copied),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
