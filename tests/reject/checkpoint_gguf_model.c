/* checkpoint_gguf_model.c - GGUF files that are no model of a kind that is read, and what the keys of those that are
 * mean. */
#include "test.h"
#include "own_dir.h"
#include "checkpoint_build.h"
#include "harness/checkpoint/checkpoint.h"
#include "harness/checkpoint/gguf.h"

static bl_status open_gguf(const gguf_extra *x, bl_checkpoint **c, bl_err *e)
{
    bl_text t = {0};
    char path[4200];
    bl_checkpoint *m = NULL;
    gguf_llama(&t, x);
    test_write(dir, "m.gguf", t.s, t.n);
    snprintf(path, sizeof path, "%s/m.gguf", dir);
    bl_status st = bl_checkpoint_open(path, NULL, &m, e);
    if (st == BL_OK) test_seed("gguf", "model", t.s, t.n);
    bl_text_free(&t);
    if (st == BL_OK && c) *c = m;
    else if (st == BL_OK) bl_checkpoint_close(m);
    return st;
}

static void k_clamp(bl_text *t) { key_f32(t, "llama.attention.clamp_kqv", 1); }
static void k_experts(bl_text *t) { key_u32(t, "llama.expert_count", 8); }
static void k_rotary(bl_text *t) { key_u32(t, "llama.rope.dimension_count", 4); }
static void k_value(bl_text *t) { key_u32(t, "llama.attention.value_length", 4); }
static void k_split(bl_text *t)
{
    key(t, "split.count", 2);
    bl_text_addn(t, "\3\0", 2);
}
static void k_theta(bl_text *t) { key_f32(t, "llama.rope.freq_base", 0); }
static void k_theta_type(bl_text *t) { key_u32(t, "llama.rope.freq_base", 10000); }
static void k_linear(bl_text *t)
{
    key_text(t, "llama.rope.scaling.type", "linear");
    key_f32(t, "llama.rope.scaling.factor", 4);
}
static void k_old_linear(bl_text *t) { key_f32(t, "llama.rope.scale_linear", 2); }
static void k_long_head(bl_text *t)
{
    key_u32(t, "llama.attention.key_length", 16);
    key_u32(t, "llama.attention.value_length", 16);
}
static void t_bias(bl_text *t, uint64_t *o)
{
    tensor(t, "blk.0.attn_q.bias", 1, 32, 1, 0, *o);
    *o += 128;
}
static void t_layer(bl_text *t, uint64_t *o)
{
    tensor(t, "blk.1.attn_norm.weight", 1, 32, 1, 0, *o);
    *o += 128;
}
static void t_freqs(bl_text *t, uint64_t *o)
{
    tensor(t, "rope_freqs.weight", 1, 4, 1, 0, *o);
    *o += 16;
}
static void t_freqs8(bl_text *t, uint64_t *o)
{
    tensor(t, "rope_freqs.weight", 1, 8, 1, 0, *o);
    *o += 32;
}

static void put_array(bl_text *t, const char *name, uint32_t item, uint64_t n, uint32_t first, uint32_t rest)
{
    key(t, name, G_ARRAY);
    put32(t, item);
    put64(t, n);
    for (uint64_t i = 0; i < n; i++) put32(t, i ? rest : first);
}
static void t_short_bias(bl_text *t, uint64_t *o)
{
    tensor(t, "blk.0.attn_q.bias", 1, 8, 1, 0, *o);
    *o += 32;
}
static void t_norm(bl_text *t, uint64_t *o)
{
    tensor(t, "blk.0.attn_q_norm.weight", 1, 8, 1, 0, *o);
    *o += 32;
}
static void k_longrope(bl_text *t) { key_text(t, "llama.rope.scaling.type", "longrope"); }
static void k_less(bl_text *t)
{
    key_text(t, "llama.rope.scaling.type", "linear");
    key_f32(t, "llama.rope.scaling.factor", 0.5f);
}
static void k_attention(bl_text *t) { key_f32(t, "llama.rope.scaling.attn_factor", 2); }
static void k_ext(bl_text *t) { key_f32(t, "llama.rope.scaling.yarn_ext_factor", 1); }
static void k_both_ways(bl_text *t)
{
    key(t, "llama.attention.causal", G_BOOL);
    bl_text_addn(t, "", 1);
}
static void k_causal_type(bl_text *t) { key_u32(t, "llama.attention.causal", 1); }
static void k_two(bl_text *t) { put_array(t, "llama.attention.head_count_kv", G_U32, 2, 2, 2); }
static void k_floats(bl_text *t) { put_array(t, "llama.attention.head_count_kv", G_F32, 1, 0, 0); }

static const struct {
    const char *what;
    gguf_extra x;
    const char *phrase;
} models[] = {
    {"R43", {.arch = "gpt2"}, "architecture 'gpt2' is not read"},
    {"R43", {.arch = "gemma"}, "architecture 'gemma' is not read; these are: llama, qwen2"},
    {"R43", {.arch = "qwen2"}, "key 'qwen2.embedding_length' is missing"},
    {"R43", {.arch = "mistral"}, "architecture 'mistral' is not read"}, /* its files say llama */
    {"R38", {.drop = "blk.0.attn_k.weight"}, "'blk.0.attn_k.weight' is missing"},
    {"R38", {.drop = "token_embd.weight"}, "'token_embd.weight' is missing"},
    {"R39", {.heads = 5}, "is not a multiple"},
    {"R40", {.heads = 1}, "is not a multiple of num_key_value_heads"},
    {"R42", {.vocab_key = 41}, "vocab_size is 41, token_embd.weight has 40 rows"},
    {"key", {.keys = 1, .put_keys = k_clamp}, "'llama.attention.clamp_kqv' is not known"},
    {"experts", {.keys = 1, .put_keys = k_experts}, "mixture of 8 experts"},
    {"rotary", {.keys = 1, .put_keys = k_rotary}, "partial rotary"},
    {"value", {.keys = 1, .put_keys = k_value}, "value_length 4 differs"},
    {"R44", {.keys = 1, .put_keys = k_longrope}, "rope scaling 'longrope' is not read"},
    {"R44", {.keys = 2, .put_keys = k_less}, "rope scaling factor is 0.5"},
    {"R44", {.keys = 1, .put_keys = k_attention}, "attn_factor is 2 without yarn"},
    {"R44", {.keys = 1, .put_keys = k_ext}, "'llama.rope.scaling.yarn_ext_factor' is not known"},
    {"causal", {.keys = 1, .put_keys = k_both_ways}, "only causal attention is read"},
    {"causal", {.keys = 1, .put_keys = k_causal_type}, "expected bool"},
    {"layers",
     {.keys = 1, .put_keys = k_two, .kv_key_elsewhere = true},
     "has 2 numbers, expected one for each of 1 layers"},
    {"layers",
     {.keys = 1, .put_keys = k_floats, .kv_key_elsewhere = true},
     "array of type f32, expected whole numbers"},
    {"split",
     {.keys = 1, .put_keys = k_split},
     "the first of 3 parts, whose name does not end in -00001-of-00003.gguf"},
    {"theta", {.keys = 1, .put_keys = k_theta}, "rope_theta is 0"},
    {"theta", {.keys = 1, .put_keys = k_theta_type}, "expected f32"},
    {"head",
     {.keys = 2, .put_keys = k_long_head},
     "'blk.0.attn_q.weight' has 2 dimensions [32, 32], expected [32, 64]"},
    {"bias",
     {.tensors = 1, .put_tensors = t_short_bias},
     "'blk.0.attn_q.bias' has 1 dimensions [8, 1], expected [32, 1]"},
    {"norm", {.tensors = 1, .put_tensors = t_norm}, "'blk.0.attn_q_norm.weight' is not part of a llama"},
    {"layer", {.tensors = 1, .put_tensors = t_layer}, "'blk.1.attn_norm.weight' is not part of a llama of 1 layers"},
    {"freqs", {.tensors = 1, .put_tensors = t_freqs8}, "expected 4 fp32"},
};

static void models_that_are_not_a_plain_llama_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(models); i++) {
        bl_err e = {0};
        bl_status st = open_gguf(&models[i].x, NULL, &e);
        if (st != BL_E_FORMAT || !strstr(e.text, models[i].phrase))
            fail_msg("%s: %s '%s' does not say '%s'", models[i].what, bl_status_name(st), e.text, models[i].phrase);
    }
}

/* ---- what keys mean: as llama.cpp (xllamacpp 2026.10.11549) reads them ---- */
typedef struct rope_case {
    const char *what, *type; /* NULL: no such key */
    float factor, old;       /* -1: no such key */
    bl_rope_scaling rope;
    double scale;
} rope_case;
static const rope_case *at_hand;
static int rope_keys(const rope_case *r) { return (r->type != NULL) + (r->factor >= 0) + (r->old >= 0); }
static void k_rope(bl_text *t)
{
    if (at_hand->type) key_text(t, "llama.rope.scaling.type", at_hand->type);
    if (at_hand->factor >= 0) key_f32(t, "llama.rope.scaling.factor", at_hand->factor);
    if (at_hand->old >= 0) key_f32(t, "llama.rope.scale_linear", at_hand->old);
}

static void absent_rotary_keys_mean_what_llama_cpp_makes_of_them(void **state)
{
    (void)state;
    static const rope_case rows[] = {
        {"a factor without a type is linear", NULL, 4, -1, BL_ROPE_LINEAR, 4},
        {"the old key", NULL, -1, 2, BL_ROPE_LINEAR, 2},
        {"the new key beats the old", "linear", 4, 2, BL_ROPE_LINEAR, 4},
        {"type none beats the old key", "none", -1, 2, BL_ROPE_PLAIN, 1},
        {"type none beats the new key", "none", 4, -1, BL_ROPE_PLAIN, 1},
        {"a factor of 0 is none", NULL, 0, -1, BL_ROPE_PLAIN, 1},
        {"a factor of 0 is none, and hides the old key", "linear", 0, 2, BL_ROPE_PLAIN, 1},
        {"a type without a factor", "linear", -1, -1, BL_ROPE_PLAIN, 1},
        {"yarn", "yarn", 4, -1, BL_ROPE_YARN, 4},
        {"yarn without a factor", "yarn", -1, -1, BL_ROPE_YARN, 1},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_checkpoint *c;
        at_hand = &rows[i];
        assert_ok(open_gguf(&(gguf_extra){.keys = rope_keys(at_hand), .put_keys = k_rope}, &c, &e));
        const bl_config *o = bl_checkpoint_config(c);
        if (o->rope != rows[i].rope || (o->rope != BL_ROPE_PLAIN && o->rope_factor != rows[i].scale))
            fail_msg("%s: %s, factor %g", rows[i].what, bl_rope_names[o->rope], o->rope_factor);
        if (o->rope == BL_ROPE_YARN) { /* 0.1 ln 4 + 1 */
            assert_float_equal(o->rope_attention, rows[i].scale == 4 ? 1.1386294361119891 : 1, 1e-12);
            assert_int_equal(o->rope_original, 64); /* the length */
            assert_float_equal(o->rope_low, 1, 0);
            assert_float_equal(o->rope_high, 32, 0);
        }
        bl_checkpoint_close(c);
    }
}

static void k_yarn_all(bl_text *t)
{
    key_text(t, "llama.rope.scaling.type", "yarn");
    key_f32(t, "llama.rope.scaling.factor", 4);
    key_u32(t, "llama.rope.scaling.original_context_length", 16);
    key_f32(t, "llama.rope.scaling.attn_factor", 0.5f);
    key_f32(t, "llama.rope.scaling.yarn_beta_fast", 8);
    key_f32(t, "llama.rope.scaling.yarn_beta_slow", 2);
}
static void k_window(bl_text *t) { key_u32(t, "llama.attention.sliding_window", 16); }
static void k_each(bl_text *t) { put_array(t, "llama.attention.head_count_kv", G_U32, 1, 2, 2); }

static void every_key_of_yarn_windows_and_layers_is_read(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_checkpoint *c;
    assert_ok(open_gguf(&(gguf_extra){.keys = 6, .put_keys = k_yarn_all}, &c, &e));
    const bl_config *o = bl_checkpoint_config(c);
    assert_int_equal(o->rope_original, 16);
    assert_float_equal(o->rope_attention, 0.5 * 1.1386294361119891, 1e-12);
    assert_float_equal(o->rope_high, 8, 0);
    assert_float_equal(o->rope_low, 2, 0);
    bl_checkpoint_close(c);
    assert_ok(open_gguf(&(gguf_extra){.keys = 1, .put_keys = k_window}, &c, &e));
    assert_int_equal(bl_checkpoint_config(c)->window, 16);
    bl_checkpoint_close(c);
    bl_text t = {0};
    bl_gguf *g;
    int64_t n = 0;
    head(&t, 3, 0, 2);
    put_array(&t, "equal", G_U32, 3, 5, 5);
    put_array(&t, "not", G_U32, 3, 5, 6);
    assert_ok(bl_gguf_parse((uint8_t *)t.s, t.n, "f", &g, &e));
    assert_ok(bl_gguf_int_each(g, "equal", 3, &n, &e));
    assert_int_equal(n, 5);
    assert_refused(bl_gguf_int_each(g, "not", 3, &n, &e), BL_E_FORMAT, "'not' is 5 for layer 0 and 6 for layer 1");
    assert_refused(bl_gguf_int_each(g, "none", 3, &n, &e), BL_E_MISSING, "key 'none' is missing");
    bl_gguf_close(g);
    bl_text_free(&t);
    /* a number for every layer: convert_hf_to_gguf.py writes arrays for models whose layers may differ */
    assert_ok(open_gguf(&(gguf_extra){.keys = 1, .put_keys = k_each, .kv_key_elsewhere = true}, &c, &e));
    assert_int_equal(bl_checkpoint_config(c)->n_kv_heads, 2);
    bl_checkpoint_close(c);
}

/* blk.0.attn_q.bias of 4 heads of 8 in adjacent pairs: element i is i. */
static void biases_of_a_gguf_llama_are_kept_and_turned_with_their_rows(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_checkpoint *c;
    bl_text t = {0};
    char path[4200];
    float b[32];
    gguf_llama(&t, &(gguf_extra){.tensors = 1, .put_tensors = t_bias});
    for (int i = 0; i < 32; i++) memcpy(t.s + t.n - 128 + 4 * i, &(float){(float)i}, 4);
    test_write(dir, "m.gguf", t.s, t.n);
    test_seed("gguf", "bias", t.s, t.n);
    bl_text_free(&t);
    snprintf(path, sizeof path, "%s/m.gguf", dir);
    assert_ok(bl_checkpoint_open(path, NULL, &c, &e));
    const bl_stored *w = bl_checkpoint_param(c, BL_ROLE_Q_BIAS, 0);
    assert_non_null(w);
    assert_null(bl_checkpoint_param(c, BL_ROLE_K_BIAS, 0));
    assert_ok(bl_checkpoint_dense(c, w, 0, 1, b, &e));
    static const int order[8] = {0, 2, 4, 6, 1, 3, 5, 7};
    for (int i = 0; i < 32; i++) assert_true(b[i] == (float)(i / 8 * 8 + order[i % 8]));
    bl_checkpoint_close(c);
}

/* ---- a model in parts ---- */
/* The model of gguf_llama cut after `cut` tensors; `no`, `count`, `tensors` are what part `part` says of itself. */
static void write_part(int part, int cut, uint32_t no, uint32_t count, uint32_t tensors)
{
    bl_text whole = {0}, t = {0}, keys = {0}, list = {0};
    bl_gguf *g;
    bl_err e = {0};
    const uint8_t *p;
    uint64_t n, at = 0;
    char name[64];
    gguf_llama(&whole, &(gguf_extra){0});
    assert_ok(bl_gguf_parse((uint8_t *)whole.s, whole.n, "whole", &g, &e));
    bl_gguf_metadata(g, &p, &n);
    if (part == 1) bl_text_addn(&keys, (const char *)p, n);
    key_u32(&keys, "split.no", no);
    key_u32(&keys, "split.count", count);
    key_u32(&keys, "split.tensors.count", tensors);
    size_t from = part == 1 ? 0 : (size_t)cut, to = part == 1 ? (size_t)cut : bl_gguf_tensor_count(g);
    head(&t, 3, to - from, (part == 1 ? bl_gguf_count(g) : 0) + 3);
    bl_text_addn(&t, keys.s, keys.n);
    for (size_t i = from; i < to; i++) {
        const bl_gguf_tensor *x = bl_gguf_tensor_at(g, i);
        tensor(&t, x->name, x->ndim, x->dim[0], x->ndim > 1 ? x->dim[1] : 1, 0, at);
        at += x->bytes;
        bl_text_addn(&list, whole.s + x->offset, x->bytes);
    }
    if (to > from) pad(&t, 32);
    if (list.n) bl_text_addn(&t, list.s, list.n);
    snprintf(name, sizeof name, "m-%05d-of-00002.gguf", part);
    test_write(dir, name, t.s, t.n);
    test_seed("gguf", "part", t.s, t.n);
    bl_gguf_close(g);
    bl_text_free(&whole);
    bl_text_free(&t);
    bl_text_free(&keys);
    bl_text_free(&list);
}

static bl_status open_part(int part, bl_checkpoint **c, bl_err *e)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/m-%05d-of-00002.gguf", dir, part);
    return bl_checkpoint_open(path, NULL, c, e);
}

/* llama.cpp reads the set when it is given the first part, with or without tensors in that (gguf-split, pull request
 * 6187). */
static void a_model_in_parts_is_read_from_the_first(void **state)
{
    (void)state;
    static const int cuts[] = {0, 1, 5, 10};
    bl_err e = {0};
    bl_checkpoint *whole, *c;
    bl_hash a, b;
    assert_ok(open_gguf(&(gguf_extra){0}, &whole, &e));
    assert_ok(bl_checkpoint_fingerprint(whole, &a, &e));
    for (size_t i = 0; i < BL_COUNT(cuts); i++) {
        write_part(1, cuts[i], 0, 2, 11);
        write_part(2, cuts[i], 1, 2, 11);
        assert_ok(open_part(1, &c, &e));
        assert_int_equal(bl_checkpoint_count(c), bl_checkpoint_count(whole));
        assert_string_equal(bl_checkpoint_name(c), "m");
        assert_ok(bl_checkpoint_fingerprint(c, &b, &e));
        assert_true(bl_hash_equal(a, b));
        bl_checkpoint_close(c);
    }
    bl_checkpoint_close(whole);
}

static void parts_that_do_not_fit_together_are_refused(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_checkpoint *c;
    char from[4200], to[4200];
    write_part(1, 5, 0, 2, 11);
    assert_refused(open_part(1, &c, &e), BL_E_FORMAT, "m-00002-of-00002.gguf: part 2 of 2 is missing");
    write_part(2, 5, 1, 2, 11);
    assert_refused(open_part(2, &c, &e), BL_E_FORMAT, "part 2 of 2 of a split model; give the first part");
    write_part(2, 5, 0, 2, 11);
    assert_refused(open_part(1, &c, &e), BL_E_FORMAT, "split.no is 0 and split.count 2, expected 1 and 2");
    write_part(2, 5, 1, 3, 11);
    assert_refused(open_part(1, &c, &e), BL_E_FORMAT, "split.no is 1 and split.count 3");
    write_part(2, 6, 1, 2, 11);
    assert_refused(open_part(1, &c, &e), BL_E_FORMAT, "split.tensors.count is 11, the 2 parts hold 10");
    write_part(1, 5, 0, 2, 10);
    write_part(2, 6, 1, 2, 10);
    assert_refused(open_part(1, &c, &e), BL_E_FORMAT, "tensor 'blk.0.attn_output.weight' is missing");
    write_part(1, 5, 0, 100000, 11);
    assert_refused(open_part(1, &c, &e), BL_E_FORMAT, "split.count is 100000, at most 512");
    write_part(1, 5, 0, 3, 11);
    assert_refused(open_part(1, &c, &e), BL_E_FORMAT, "whose name does not end in -00001-of-00003.gguf");
    snprintf(from, sizeof from, "%s/m-00001-of-00002.gguf", dir);
    snprintf(to, sizeof to, "%s/other.gguf", dir);
    write_part(1, 5, 0, 2, 11);
    assert_int_equal(rename(from, to), 0);
    assert_refused(bl_checkpoint_open(to, NULL, &c, &e), BL_E_FORMAT, "does not end in -00001-of-00002.gguf");
}

static void linear_scaling_is_read_in_both_spellings(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_checkpoint *c;
    assert_ok(open_gguf(&(gguf_extra){.keys = 2, .put_keys = k_linear}, &c, &e));
    assert_int_equal(bl_checkpoint_config(c)->rope, BL_ROPE_LINEAR);
    assert_float_equal(bl_checkpoint_config(c)->rope_factor, 4, 0);
    bl_checkpoint_close(c);
    assert_ok(open_gguf(&(gguf_extra){.keys = 1, .put_keys = k_old_linear}, &c, &e));
    assert_float_equal(bl_checkpoint_config(c)->rope_factor, 2, 0);
    bl_checkpoint_close(c);
    assert_ok(open_gguf(&(gguf_extra){.tensors = 1, .put_tensors = t_freqs}, &c, &e)); /* all ones: no scaling */
    assert_int_equal(bl_checkpoint_config(c)->rope, BL_ROPE_PLAIN);
    bl_checkpoint_close(c);
}

/* Divisors of LLaMA 3.1 (factor 8) for theta 500000 and head size 8, from the published rule by hand:
 * wavelengths 6.2832, 167.1, 4443, 118141. */
static float divisors[4] = {1, 1, 2.6943f, 8};
static void k_theta5(bl_text *t) { key_f32(t, "llama.rope.freq_base", 500000); }

static bl_status open_with_divisors(bl_checkpoint **c, bl_err *e)
{
    bl_text t = {0};
    char path[4200];
    gguf_llama(&t, &(gguf_extra){.keys = 1, .put_keys = k_theta5, .tensors = 1, .put_tensors = t_freqs});
    memcpy(t.s + t.n - sizeof divisors, divisors, sizeof divisors);
    test_write(dir, "m.gguf", t.s, t.n);
    snprintf(path, sizeof path, "%s/m.gguf", dir);
    bl_status st = bl_checkpoint_open(path, NULL, c, e);
    test_seed("gguf", st == BL_OK ? "llama3" : "divisors", t.s, t.n);
    bl_text_free(&t);
    return st;
}

static void divisors_become_the_parameters_they_come_from(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_checkpoint *c;
    /* 8192 / 4443 = 1.8438 turns: smooth = 0.8438 / 3 = 0.28126; 1 / ((1 - 0.28126) / 8 + 0.28126) = 2.6943 */
    assert_ok(open_with_divisors(&c, &e));
    const bl_config *o = bl_checkpoint_config(c);
    assert_int_equal(o->rope, BL_ROPE_LLAMA3);
    assert_float_equal(o->rope_factor, 8, 0);
    assert_float_equal(o->rope_low, 1, 0);
    assert_float_equal(o->rope_high, 4, 0);
    assert_int_equal(o->rope_original, 8192);
    bl_checkpoint_close(c);
    divisors[2] = 3;
    assert_refused(open_with_divisors(&c, &e), BL_E_FORMAT, "not LLaMA-3.1's rotary scaling");
    divisors[2] = 0;
    assert_refused(open_with_divisors(&c, &e), BL_E_FORMAT, "rope_freqs.weight[2] is 0");
}

static void rotary_rows_come_in_half_split_order(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_checkpoint *c;
    float q[32 * 32], row[32];
    assert_ok(open_gguf(&(gguf_extra){0}, &c, &e));
    const bl_stored *t = bl_checkpoint_find(c, "model.layers.0.self_attn.q_proj.weight");
    /* 4 heads of 8 rows: stored 0 1 2 3 4 5 6 7 is read as 0 2 4 6 1 3 5 7 */
    static const int order[8] = {0, 2, 4, 6, 1, 3, 5, 7};
    assert_ok(bl_checkpoint_dense(c, t, 0, 32, q, &e));
    for (int r = 0; r < 32; r++)
        for (int k = 0; k < 32; k++) {
            int stored = r / 8 * 8 + order[r % 8];
            assert_true(q[r * 32 + k] == 2 + (float)(stored * 32 + k) / 4096);
        }
    assert_ok(bl_checkpoint_dense(c, t, 13, 1, row, &e));
    assert_memory_equal(row, q + 13 * 32, sizeof row);
    t = bl_checkpoint_find(c, "model.layers.0.self_attn.v_proj.weight");
    assert_ok(bl_checkpoint_dense(c, t, 5, 1, row, &e));
    assert_true(row[3] == 4 + (float)(5 * 32 + 3) / 4096);
    bl_checkpoint_close(c);
}

int main(void)
{
#define WITH(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        WITH(models_that_are_not_a_plain_llama_are_refused),
        WITH(absent_rotary_keys_mean_what_llama_cpp_makes_of_them),
        WITH(every_key_of_yarn_windows_and_layers_is_read),
        WITH(biases_of_a_gguf_llama_are_kept_and_turned_with_their_rows),
        WITH(a_model_in_parts_is_read_from_the_first),
        WITH(parts_that_do_not_fit_together_are_refused),
        WITH(linear_scaling_is_read_in_both_spellings),
        WITH(divisors_become_the_parameters_they_come_from),
        WITH(rotary_rows_come_in_half_split_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
