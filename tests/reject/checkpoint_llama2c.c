/* checkpoint_llama2c.c - llama2.c files that are refused, and both versions read. */
#include "test.h"
#include "own_dir.h"
#include "checkpoint_build.h"
#include "harness/checkpoint/checkpoint.h"

static bl_status open_bytes(const char *name, const void *p, size_t n, bl_checkpoint **c, bl_err *e)
{
    char path[4200];
    bl_checkpoint *m = NULL;
    test_write(dir, name, p, n);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    bl_status st = bl_checkpoint_open(path, NULL, &m, e);
    test_seed("llama2c", st == BL_OK ? "good" : "bad", p, st == BL_OK || n < 300 ? n : 300); /* a header is enough */
    if (st == BL_OK && c) *c = m;
    else if (st == BL_OK) bl_checkpoint_close(m);
    return st;
}

/* dim 16, hidden 24, 2 layers, 4 heads, 2 kv heads, vocab 20, 8 positions; floats 0, 1, 2, … */
enum {
    PER_LAYER = 2 * 16 + 2 * 16 * 16 + 2 * 8 * 16 + 3 * 24 * 16,
    FLOATS = 20 * 16 + 2 * PER_LAYER + 16,
    ROTARY = 8 * 4,
    HEAD = 20 * 16
};
static const int32_t shape[7] = {16, 24, 2, 4, 2, 20, 8};

static void build(bl_text *t, const int32_t h[7], bool v1, bool shared, int floats)
{
    if (v1) {
        bl_text_add(t, "24ka");
        put32(t, 1);
    }
    for (int i = 0; i < 7; i++) put32(t, (uint32_t)h[i]);
    if (v1) {
        bl_text_addn(t, shared ? "\1" : "\0", 1);
        while (t->n < 256) bl_text_addn(t, "", 1);
    }
    for (int i = 0; i < floats; i++) putf(t, (float)i);
}

static void headers_that_are_not_what_they_should_be_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        int at;
        int32_t v;
        const char *phrase;
    } rows[] = {
        {"R64", 0, -16, "dim is -16"},
        {"R64", 1, -1, "hidden_dim is -1"},
        {"R64", 2, 0, "n_layers is 0"},
        {"R64", 3, -4, "n_heads is -4"},
        {"R64", 4, 0, "n_kv_heads is 0"},
        {"R64", 5, 0, "vocab_size is 0"},
        {"R64", 5, INT32_MIN, "vocab_size is -2147483648"},
        {"R64", 6, -8, "max_seq_len is -8"},
        {"R39", 3, 5, "not a multiple of num_attention_heads 5"},
        {"R40", 4, 3, "not a multiple of num_key_value_heads 3"},
        {"R65", 0, 32, "a llama2.c v0 checkpoint of this shape has"},
        {"R65", 6, 7, "bytes, a llama2.c v0 checkpoint"},
        {"R65", 5, -20, "bytes, a llama2.c v0"},
        {"R65", 5, INT32_MAX, "vocab_size is 2147483647"},
        {"R65", 2, INT32_MAX, "num_hidden_layers is 2147483647"},
        {"R65", 3, 32, "not a multiple"},
        {"R65", 1, 1 << 22, "bytes, a llama2.c v0"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_text t = {0};
        int32_t h[7];
        memcpy(h, shape, sizeof h);
        h[rows[i].at] = rows[i].v;
        build(&t, h, false, true, FLOATS + ROTARY);
        bl_status st = open_bytes("m.bin", t.s, t.n, NULL, &e);
        if (st != BL_E_FORMAT || !strstr(e.text, rows[i].phrase))
            fail_msg("%s: %s '%s' does not say '%s'", rows[i].what, bl_status_name(st), e.text, rows[i].phrase);
        bl_text_free(&t);
    }
}

static void sizes_must_be_exact(void **state)
{
    (void)state;
    bl_err e = {0};
    for (int v1 = 0; v1 < 2; v1++)
        for (int d = -1; d <= 1; d++) {
            bl_text t = {0};
            build(&t, shape, v1, true, FLOATS + (v1 ? 0 : ROTARY) + d);
            if (d == 0) assert_ok(open_bytes("m.bin", t.s, t.n, NULL, &e));
            else assert_refused(open_bytes("m.bin", t.s, t.n, NULL, &e), BL_E_FORMAT, "checkpoint of this shape has");
            bl_text_free(&t);
        }
    assert_refused(open_bytes("m.bin", "x", 1, NULL, &e), BL_E_FORMAT, "1 bytes, a llama2.c header has 28"); /* R66 */
    assert_refused(open_bytes("m.bin", "", 0, NULL, &e), BL_E_FORMAT, "m.bin");
    assert_refused(open_bytes("m.bin", "24ka\1\0\0\0", 8, NULL, &e), BL_E_FORMAT, "8 bytes, a llama2.c header has 256");
}

static void other_versions_and_dirty_padding_are_refused(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_text t = {0};
    build(&t, shape, true, true, FLOATS);
    t.s[4] = 2;
    assert_refused(open_bytes("m.bin", t.s, t.n, NULL, &e), BL_E_FORMAT, "llama2.c version 2, expected 0 or 1");
    t.s[4] = 1;
    t.s[36] = 2;
    assert_refused(open_bytes("m.bin", t.s, t.n, NULL, &e), BL_E_FORMAT, "shared_classifier is 2");
    t.s[36] = 1;
    t.s[200] = 1;
    assert_refused(open_bytes("m.bin", t.s, t.n, NULL, &e), BL_E_FORMAT, "header byte 200 is 1");
    bl_text_free(&t);
}

static void other_files_are_refused_by_what_they_are(void **state)
{
    (void)state;
    bl_err e = {0};
    assert_refused(open_bytes("m.pth", "PK\3\4xxxx", 8, NULL, &e), BL_E_FORMAT, "PyTorch pickle");
    assert_refused(open_bytes("m.pt", "\x80\2}q", 4, NULL, &e), BL_E_FORMAT, "PyTorch pickle");
    assert_refused(open_bytes("m.gguf", "GGMLxxxx", 8, NULL, &e), BL_E_FORMAT, "does not begin with 'GGUF'");
    assert_refused(open_bytes("m.safetensors", "xxxxxxxx", 8, NULL, &e), BL_E_FORMAT, "give the directory");
}

/* First element of a weight. */
static float first(bl_checkpoint *c, const char *name, int64_t row)
{
    bl_err e = {0};
    float w[64];
    const bl_stored *t = bl_checkpoint_find(c, name);
    assert_non_null(t);
    assert_ok(bl_checkpoint_dense(c, t, row, 1, w, &e));
    return w[0];
}

static void an_unshared_head_comes_after_the_rotary_tables(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_text t = {0};
    bl_checkpoint *c;
    int32_t h[7];
    memcpy(h, shape, sizeof h);
    h[5] = -20;
    build(&t, h, false, false, FLOATS + ROTARY + HEAD);
    assert_ok(open_bytes("m.bin", t.s, t.n, &c, &e));
    assert_false(bl_checkpoint_config(c)->tied);
    assert_int_equal(bl_checkpoint_config(c)->vocab, 20);
    assert_true(first(c, "lm_head.weight", 0) == FLOATS + ROTARY);
    assert_true(first(c, "model.norm.weight", 0) == FLOATS - 16);
    bl_checkpoint_close(c);
    bl_text_free(&t);
    build(&t, shape, true, false, FLOATS + HEAD);
    assert_ok(open_bytes("m.bin", t.s, t.n, &c, &e));
    assert_true(first(c, "lm_head.weight", 0) == FLOATS);
    assert_true(first(c, "model.layers.0.input_layernorm.weight", 0) == 0);
    bl_checkpoint_close(c);
    bl_text_free(&t);
}

static void kinds_of_weights_are_together_for_all_layers(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_text t = {0};
    bl_checkpoint *c;
    build(&t, shape, false, true, FLOATS + ROTARY);
    assert_ok(open_bytes("m.bin", t.s, t.n, &c, &e));
    /* by hand: embedding 320, att norms 32, wq 512, wk 256, wv 256, wo 512, ffn norms 32, w1 768, w2 768, w3 768 */
    assert_true(first(c, "model.layers.1.input_layernorm.weight", 0) == 320 + 16);
    assert_true(first(c, "model.layers.0.self_attn.q_proj.weight", 0) == 352);
    assert_true(first(c, "model.layers.1.self_attn.q_proj.weight", 0) == 352 + 256);
    assert_true(first(c, "model.layers.1.self_attn.q_proj.weight", 1) ==
                352 + 256 + 2 * 16); /* half-split 1 is stored row 2 */
    assert_true(first(c, "model.layers.1.self_attn.q_proj.weight", 2) == 352 + 256 + 1 * 16);
    assert_true(first(c, "model.layers.0.self_attn.k_proj.weight", 5) == 864 + 6 * 16); /* head 1 begins at row 4 */
    assert_true(first(c, "model.layers.0.self_attn.v_proj.weight", 5) == 1120 + 5 * 16);
    assert_true(first(c, "model.layers.0.mlp.gate_proj.weight", 0) == 1920);
    assert_true(first(c, "model.layers.0.mlp.down_proj.weight", 1) == 2688 + 24);
    assert_true(first(c, "model.layers.0.mlp.up_proj.weight", 0) == 3456);
    bl_checkpoint_close(c);
    bl_text_free(&t);
}

int main(void)
{
#define WITH(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        WITH(headers_that_are_not_what_they_should_be_are_refused), WITH(sizes_must_be_exact),
        WITH(other_versions_and_dirty_padding_are_refused),         WITH(other_files_are_refused_by_what_they_are),
        WITH(an_unshared_head_comes_after_the_rotary_tables),       WITH(kinds_of_weights_are_together_for_all_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
