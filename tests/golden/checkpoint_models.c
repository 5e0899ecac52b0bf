/* checkpoint_models.c - real checkpoints: what two containers of one model hold is the same, and what is not a LLaMA is
 * refused.
 *
 * The models are found through BITLADDER_MODELS.
 */
#include "test.h"
#include "harness/checkpoint/checkpoint.h"
#include "kernels/base/fs.h"
#include <math.h>

static bl_checkpoint *open_model(const char *tail)
{
    bl_err e = {0};
    bl_checkpoint *c = NULL;
    assert_ok(bl_checkpoint_open(test_path("BITLADDER_MODELS", tail), NULL, &c, &e));
    return c;
}

static float *dense(bl_checkpoint *c, const bl_stored *t)
{
    bl_err e = {0};
    float *w = malloc((size_t)(t->shape.out * t->shape.in) * sizeof *w);
    assert_ok(bl_checkpoint_dense(c, t, 0, t->shape.out, w, &e));
    return w;
}

/* Every weight of a, decoded, is in b. */
static void assert_same_weights(bl_checkpoint *a, bl_checkpoint *b)
{
    for (size_t i = 0; i < bl_checkpoint_count(a); i++) {
        const bl_stored *s = bl_checkpoint_at(a, i), *t = bl_checkpoint_find(b, s->name);
        assert_non_null(t);
        assert_int_equal(s->shape.out, t->shape.out);
        assert_int_equal(s->shape.in, t->shape.in);
        float *x = dense(a, s), *y = dense(b, t);
        if (memcmp(x, y, (size_t)(s->shape.out * s->shape.in) * sizeof *x)) fail_msg("%s differs", s->name);
        free(x);
        free(y);
    }
}

static void llama2c_v0_and_v1_hold_the_same_weights(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_MODELS");
    bl_checkpoint *a = open_model("stories260K/stories260K.bin"), *b = open_model("stories260K/stories260K_v1.bin");
    const bl_config *c = bl_checkpoint_config(a);
    assert_int_equal(c->dim, 64);
    assert_int_equal(c->ffn_dim, 172);
    assert_int_equal(c->n_kv_heads, 4);
    assert_true(c->tied);
    assert_int_equal(bl_config_params(c), 260032);
    assert_string_equal(bl_checkpoint_stored_as(a), "F32");
    assert_string_equal(bl_checkpoint_name(a), "stories260k");
    assert_int_equal(bl_checkpoint_count(a), bl_checkpoint_count(b));
    assert_same_weights(a, b);
    bl_checkpoint_close(a);
    bl_checkpoint_close(b);
}

static void a_directory_that_stores_the_tied_matrix_as_head_is_read(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_MODELS");
    bl_checkpoint *c = open_model("tinystories656K");
    assert_true(bl_checkpoint_config(c)->tied);
    assert_int_equal(bl_checkpoint_count(c), 20);
    assert_non_null(bl_checkpoint_find(c, "model.embed_tokens.weight"));
    assert_null(bl_checkpoint_find(c, "lm_head.weight"));
    assert_int_equal(bl_config_params(bl_checkpoint_config(c)), 656000);
    assert_int_equal(bl_checkpoint_bytes(c), 656000 * 4);
    const char *path;
    assert_int_equal(bl_checkpoint_tokenizer(c, &path, NULL), BL_TOK_JSON);
    bl_checkpoint_close(c);
}

static void smollm2_is_stored_as_q4_1(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_MODELS");
    bl_err e = {0};
    bl_checkpoint *c = open_model("smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf");
    const bl_config *o = bl_checkpoint_config(c);
    const char *path;
    assert_string_equal(bl_checkpoint_name(c), "smollm2-135m-instruct.q4_1");
    assert_string_equal(bl_checkpoint_stored_as(c), "Q4_1");
    assert_int_equal(o->dim, 576);
    assert_int_equal(o->n_layers, 30);
    assert_int_equal(o->n_heads, 9);
    assert_int_equal(o->n_kv_heads, 3);
    assert_true(o->tied);
    assert_float_equal(o->rope_theta, 100000, 0);
    assert_int_equal(bl_config_params(o), 134515008);
    assert_int_equal(bl_checkpoint_count(c), 272);
    assert_int_equal(bl_checkpoint_tokenizer(c, &path, NULL), BL_TOK_GGUF);
    assert_ok(bl_checkpoint_verify(c, &e));
    bl_checkpoint_close(c);
}

static void other_models_are_refused_by_name(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_MODELS");
    bl_err e = {0};
    bl_checkpoint *c = NULL;
    static const struct {
        const char *path, *phrase;
    } rows[] = {
        {"near-llama-1m/model.pth", "PyTorch pickle"},
        {"near-llama-1m", "found model.pth"},
        {"stories279K-llama2xs/ckpt.pt", "PyTorch pickle"},
        {"gpt2-matrices", "llama2.c"},
        {"gpt2-matrices/h.10.ln_1.bias.f32.bin", "read as a llama2.c checkpoint"},
        {"tokenizers/gguf-vocab/ggml-vocab-gpt-2.gguf", "architecture 'gpt2' is not read"},
        {"tokenizers/gguf-vocab/ggml-vocab-phi-3.gguf", "architecture 'phi3' is not read"},
        {"tokenizers/gguf-vocab/ggml-vocab-llama-spm.gguf", "token_embd.weight"},
        {"tinystories656K/model.safetensors", "give the directory"},
        {"poem", "no file or directory"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_status st = bl_checkpoint_open(test_path("BITLADDER_MODELS", rows[i].path), NULL, &c, &e);
        assert_true(st == BL_E_FORMAT || st == BL_E_MISSING);
        if (!strstr(e.text, rows[i].phrase))
            fail_msg("%s: '%s' does not say '%s'", rows[i].path, e.text, rows[i].phrase);
    }
}

static void the_tokenizer_beside_a_bin_is_found(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_MODELS");
    const char *path, *why;
    bl_checkpoint *c = open_model("stories260K/stories260K.bin");
    assert_int_equal(bl_checkpoint_tokenizer(c, &path, NULL), BL_TOK_SPM);
    assert_non_null(strstr(path, "/tok512.model"));
    bl_checkpoint_close(c);
    c = open_model("aidreams231K/aidreams260K.bin");
    assert_int_equal(bl_checkpoint_tokenizer(c, &path, NULL), BL_TOK_LLAMA2C);
    bl_checkpoint_close(c);
    c = open_model("zh-poem-750K/poem_model.bin");
    assert_int_equal(bl_checkpoint_tokenizer(c, &path, &why), BL_TOK_NONE);
    assert_non_null(strstr(why, "--tokenizer"));
    bl_checkpoint_close(c);
}

static bool beyond(const bl_stored *t, int64_t layers)
{
    long long l;
    return sscanf(t->name, "model.layers.%lld", &l) == 1 && l >= layers;
}

/* ---- a Hugging Face directory, float32, of the first layers of a checkpoint ---- */
static void write_hf(bl_checkpoint *c, const char *dir, int64_t layers)
{
    bl_err e = {0};
    bl_text h = {0};
    uint64_t at = 0, n;
    const bl_config *o = bl_checkpoint_config(c);
    char path[4200];
    bl_text_add(&h, "{");
    for (size_t i = 0; i < bl_checkpoint_count(c); i++) {
        const bl_stored *t = bl_checkpoint_at(c, i);
        if (beyond(t, layers)) continue;
        uint64_t bytes = 4 * (uint64_t)(t->shape.out * t->shape.in);
        bl_text_addf(&h, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", i ? "," : "", t->name);
        if (!t->vector) bl_text_addf(&h, "%lld,", (long long)t->shape.out);
        bl_text_addf(&h, "%lld],\"data_offsets\":[%llu,%llu]}", (long long)t->shape.in, (unsigned long long)at,
                     (unsigned long long)(at + bytes));
        at += bytes;
    }
    bl_text_add(&h, "}");
    n = h.n;
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(&n, 1, 8, f), 8);
    assert_int_equal(fwrite(h.s, 1, h.n, f), h.n);
    for (size_t i = 0; i < bl_checkpoint_count(c); i++) {
        const bl_stored *t = bl_checkpoint_at(c, i);
        if (beyond(t, layers)) continue;
        float *x = dense(c, t);
        assert_int_equal(fwrite(x, (size_t)t->shape.in * 4, (size_t)t->shape.out, f), t->shape.out);
        free(x);
    }
    assert_int_equal(fclose(f), 0);
    bl_text_free(&h);
    bl_text_addf(
        &h,
        "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":%lld,\"intermediate_size\":"
        "%lld,"
        "\"num_hidden_layers\":%lld,\"num_attention_heads\":%lld,\"num_key_value_heads\":%lld,\"vocab_size\":%lld,"
        "\"max_position_embeddings\":%lld,\"rms_norm_eps\":%.17g,\"rope_theta\":%.17g,\"tie_word_embeddings\":%s}",
        (long long)o->dim, (long long)o->ffn_dim, (long long)layers, (long long)o->n_heads, (long long)o->n_kv_heads,
        (long long)o->vocab, (long long)o->max_len, o->eps, o->rope_theta, o->tied ? "true" : "false");
    snprintf(path, sizeof path, "%s/config.json", dir);
    assert_ok(bl_write_file(path, h.s, h.n, &e));
    bl_text_free(&h);
}

static void gguf_and_a_float32_directory_hold_the_same_weights(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_MODELS");
    bl_err e = {0};
    const char *dir = test_dir();
    bl_checkpoint *a = open_model("stories260K/stories260K.bin"), *b = NULL;
    write_hf(a, dir, 5);
    assert_ok(bl_checkpoint_open(dir, NULL, &b, &e));
    assert_same_weights(b, a);
    bl_checkpoint_close(a);
    bl_checkpoint_close(b);
    a = open_model("smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf");
    write_hf(a, dir, 3); /* of 30: enough, and 160 MB */
    assert_ok(bl_checkpoint_open(dir, NULL, &b, &e));
    assert_int_equal(bl_checkpoint_count(b), 29);
    assert_same_weights(b, a);
    bl_checkpoint_close(a);
    bl_checkpoint_close(b);
    assert_ok(bl_remove_tree(dir, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama2c_v0_and_v1_hold_the_same_weights),
        cmocka_unit_test(a_directory_that_stores_the_tied_matrix_as_head_is_read),
        cmocka_unit_test(smollm2_is_stored_as_q4_1),
        cmocka_unit_test(other_models_are_refused_by_name),
        cmocka_unit_test(the_tokenizer_beside_a_bin_is_found),
        cmocka_unit_test(gguf_and_a_float32_directory_hold_the_same_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
