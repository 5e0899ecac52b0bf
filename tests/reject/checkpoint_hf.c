/* checkpoint_hf.c - Hugging Face directories: index files, configurations and weights that are refused, and spellings
 * that are fine. */
#include "test.h"
#include "own_dir.h"
#include "checkpoint_build.h"
#include "harness/checkpoint/checkpoint.h"
#include <sys/stat.h>
#include <unistd.h>

static bl_status open_dir(bl_config *c, bl_err *e)
{
    bl_checkpoint *m = NULL;
    bl_status st = bl_checkpoint_open(dir, NULL, &m, e);
    if (st == BL_OK && c) *c = *bl_checkpoint_config(m);
    bl_checkpoint_close(m);
    return st;
}

static void write_model(bool tied, const char *skip)
{
    st_text s = {0};
    st_layers(&s, 0, 2, true, tied, skip);
    st_write(&s, dir, "model.safetensors");
}

/* ---- config.json ---- */
static const struct {
    const char *what, *key, *json, *phrase;
} refused[] = {
    {"R38", "hidden_size", NULL, "'hidden_size' is missing"},
    {"R38", "intermediate_size", NULL, "'intermediate_size' is missing"},
    {"R38", "num_hidden_layers", NULL, "'num_hidden_layers' is missing"},
    {"R38", "num_attention_heads", NULL, "'num_attention_heads' is missing"},
    {"R38", "vocab_size", NULL, "'vocab_size' is missing"},
    {"R39", "num_attention_heads", "5", "hidden_size 32 is not a multiple of num_attention_heads 5"},
    {"R40", "num_key_value_heads", "3", "num_attention_heads 4 is not a multiple of num_key_value_heads 3"},
    {"R40", "num_key_value_heads", "8", "is not a multiple of num_key_value_heads 8"},
    {"R41", "num_hidden_layers", "0", "num_hidden_layers is 0"},
    {"R41", "num_hidden_layers", "1000000000", "num_hidden_layers is 1000000000"},
    {"R41", "num_hidden_layers", "-1", "num_hidden_layers is -1"},
    {"R41", "num_hidden_layers", "3", "model.layers.2.input_layernorm.weight' is missing"},
    {"R41", "num_hidden_layers", "1", "is not part of a llama of 1 layers"},
    {"R42", "vocab_size", "0", "vocab_size is 0"},
    {"R42", "vocab_size", "41", "is [40, 32], expected [41, 32]"},
    {"R43", "architectures", "[\"GPT2LMHeadModel\"]", "'GPT2LMHeadModel' is not read"},
    {"R43", "architectures", "[\"MixtralForCausalLM\"]", "'MixtralForCausalLM' is not read"},
    {"R43", "architectures", "[\"LlamaForSequenceClassification\"]", "is not read"},
    {"R43", "architectures", "[]", "not a list of one name"},
    {"R43", "architectures", "\"LlamaForCausalLM\"", "not a list of one name"},
    {"R43", "model_type", "\"gemma\"", "model_type 'gemma' is not read; these are: llama, mistral"},
    {"R43", "model_type", "\"qwen2\"", "model_type is 'qwen2' and architectures 'LlamaForCausalLM', another model"},
    {"R44", "rope_scaling", "{\"type\":\"dynamic\"}", "'factor' is missing"},
    {"R44", "rope_scaling", "{\"type\":\"dynamic\",\"factor\":0.5}", "factor is 0.5"},
    {"R44", "rope_scaling", "{\"rope_type\":\"yarn\"}", "'factor' is missing"},
    {"R44", "rope_scaling", "{\"rope_type\":\"yarn\",\"factor\":2,\"beta_fast\":1,\"beta_slow\":4}",
     "beta_slow 4 and beta_fast 1"},
    {"R44", "rope_scaling", "{\"rope_type\":\"yarn\",\"factor\":2,\"attention_factor\":0}", "attention_factor is 0"},
    {"R44", "rope_scaling", "{\"rope_type\":\"yarn\",\"factor\":2,\"original_max_position_embeddings\":0}",
     "original_max_position_embeddings is 0"},
    {"R44", "rope_parameters", "{\"rope_type\":\"longrope\",\"rope_theta\":10000}", "'longrope' is not read"},
    {"R44", "rope_scaling", "{\"factor\":2}", "no 'rope_type'"},
    {"R44", "rope_scaling", "{\"type\":\"linear\"}", "'factor' is missing"},
    {"R44", "rope_scaling", "{\"type\":\"linear\",\"factor\":0}", "factor is 0"},
    {"R44", "rope_scaling", "{\"type\":\"linear\",\"rope_type\":\"llama3\",\"factor\":2}",
     "says rope_type 'llama3' and type 'linear'"},
    {"R44", "rope_scaling",
     "{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,\"high_freq_factor\":1,\"original_max_position_"
     "embeddings\":32}",
     "0 < low < high"},
    {"R44", "rope_scaling", "[1]", "is not an object"},
    {"R44", "rope_parameters", "{\"rope_type\":\"default\",\"rope_theta\":500000}", "rope_theta is 10000"},
    {"R44", "rope_parameters", "{\"rope_type\":\"default\",\"partial_rotary_factor\":0.5}", "partial_rotary_factor"},
    {"R45", "rms_norm_eps", "NaN", "config.json"},
    {"R45", "rms_norm_eps", "1e999", "config.json"},
    {"R45", "rms_norm_eps", "0", "rms_norm_eps is 0"},
    {"R45", "rms_norm_eps", "-1e-5", "rms_norm_eps is"},
    {"R45", "rms_norm_eps", "\"1e-5\"", "rms_norm_eps"},
    {"R45", "rope_theta", "0", "rope_theta is 0"},
    {"R48", "quantization_config", "{\"quant_method\":\"gptq\",\"bits\":4}", "'group_size' is missing"},
    {"R48", "quantization_config", "{\"quant_method\":\"bitsandbytes\"}", "of kind 'bitsandbytes' is not read"},
    {"R48", "quantization_config", "{}", "without a quant_method"},
    {"R48", "compression_config", "{\"quant_method\":\"compressed-tensors\"}", "'format' is missing"},
    {"bias", "attention_bias", "true", "model.layers.0.self_attn.q_proj.bias' is missing"},
    {"bias", "mlp_bias", "true", "model.layers.0.mlp.gate_proj.bias' is missing"},
    {"bias", "attention_bias", "1", "attention_bias"},
    {"activation", "hidden_act", "\"gelu\"", "'hidden_act' is \"gelu\""},
    {"partial", "partial_rotary_factor", "0.5", "'partial_rotary_factor'"},
    {"pairs", "rope_interleaved", "true", "'rope_interleaved' is true"},
    {"window", "sliding_window", "4096", "sliding-window attention"},
    {"window", "use_sliding_window", "true", "'use_sliding_window' is true"},
    {"layers", "layer_types", "[\"full_attention\",\"sliding_attention\"]", "'layer_types' has 'sliding_attention'"},
    {"layers", "layer_types", "[\"full_attention\"]", "'layer_types' is not a list of 2 names"},
    {"layers", "layer_types", "{}", "'layer_types' is not a list of 2 names"},
    {"experts", "num_local_experts", "8", "'num_local_experts' is 8"},
    {"cap", "final_logit_softcapping", "30.0", "'final_logit_softcapping'"},
    {"tied is text", "tie_word_embeddings", "\"yes\"", "tie_word_embeddings"},
    {"fraction", "hidden_size", "32.5", "hidden_size"},
    {"odd head", "head_dim", "7", "head_dim 7 is odd"},
    {"token", "eos_token_id", "[\"</s>\"]", "eos_token_id"},
    {"token", "bos_token_id", "-2", "bos_token_id is -2"},
    {"head", "head_dim", "16", "is [32, 32], expected [64, 32]"},
    {"huge", "hidden_size", "1e30", "hidden_size"},
    {"duplicate", "hidden_size", "32,\"hidden_size\":32", "hidden_size"},
};

static void configurations_that_are_not_a_llama_are_refused(void **state)
{
    (void)state;
    write_model(true, NULL);
    for (size_t i = 0; i < BL_COUNT(refused); i++) {
        bl_err e = {0};
        write_config(dir, &(field){refused[i].key, refused[i].json}, 1);
        bl_status st = open_dir(NULL, &e);
        if (st != BL_E_FORMAT || !strstr(e.text, refused[i].phrase))
            fail_msg("%s %s: %s '%s' does not say '%s'", refused[i].what, refused[i].key, bl_status_name(st), e.text,
                     refused[i].phrase);
        if (!strstr(e.text, dir)) fail_msg("%s: '%s' does not give the path", refused[i].what, e.text);
    }
    bl_err e = {0};
    const field neither[] = {{"architectures", NULL}, {"model_type", NULL}};
    write_config(dir, neither, 2);
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT, "neither 'architectures' nor 'model_type'");
    test_write(dir, "config.json", "[]", 2);
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT, "not a JSON object");
    test_write(dir, "config.json", "{", 1);
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT, "config.json");
}

static void every_spelling_of_a_llama_is_read(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_config c;
    write_model(true, NULL);
    static const struct {
        const char *key, *json;
    } fine[] = {
        {"num_key_value_heads", "2"},
        {"architectures", NULL},
        {"model_type", NULL},
        {"architectures", "[\"LLaMAForCausalLM\"]"},
        {"rope_interleaved", "false"},
        {"pretraining_tp", "1"},
        {"pretraining_tp", "2"}, /* the same products in slices: transformers 5.24.0 ignores it */
        {"attention_bias", "false"},
        {"layer_types", "[\"full_attention\",\"full_attention\"]"},
        {"layer_types", "null"},
        {"sliding_window", "null"},
        {"rope_scaling", "null"},
        {"rope_scaling", "{\"rope_type\":\"default\"}"},
        {"rope_theta", NULL},
        {"head_dim", "null"},
        {"head_dim", "8"},
        {"quantization_config", "null"},
        {"unheard_of", "[1,2,{\"a\":null}]"},
        {"eos_token_id", "[7,8]"},
        {"bos_token_id", "[5,6]"},
        {"bos_token_id", "null"},
        {"hidden_act", NULL},
    };
    for (size_t i = 0; i < BL_COUNT(fine); i++) {
        write_config(dir, &(field){fine[i].key, fine[i].json}, 1);
        if (open_dir(&c, &e) != BL_OK) fail_msg("%s %s: %s", fine[i].key, fine[i].json, e.text);
        assert_int_equal(c.rope, BL_ROPE_PLAIN);
        assert_float_equal(c.rope_theta, 10000, 0);
        assert_int_equal(c.eos, !strcmp(fine[i].key, "eos_token_id") ? 7 : -1);
        assert_int_equal(c.bos, fine[i].json && !strcmp(fine[i].json, "[5,6]") ? 5 : -1);
    }
    const field window[] = {{"sliding_window", "4096"}, {"use_sliding_window", "false"}};
    write_config(dir, window, 2);
    assert_ok(open_dir(&c, &e));

    write_config(dir, &(field){"rope_scaling", "{\"type\":\"linear\",\"factor\":2.5}"}, 1);
    assert_ok(open_dir(&c, &e));
    assert_int_equal(c.rope, BL_ROPE_LINEAR);
    assert_float_equal(c.rope_factor, 2.5, 0);
    static const char *const spelled[] = {"{\"rope_type\":\"llama3\",", "{\"type\":\"llama3\",",
                                          "{\"rope_theta\":500000,\"rope_type\":\"llama3\","};
    for (size_t i = 0; i < BL_COUNT(spelled); i++) {
        char json[256];
        snprintf(json, sizeof json,
                 "%s\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,\"original_max_position_"
                 "embeddings\":8192}",
                 spelled[i]);
        const field f[] = {{i == 2 ? "rope_parameters" : "rope_scaling", json},
                           {"rope_theta", i == 2 ? NULL : "500000"}};
        write_config(dir, f, 2);
        assert_ok(open_dir(&c, &e));
        assert_int_equal(c.rope, BL_ROPE_LLAMA3);
        assert_float_equal(c.rope_factor, 8, 0);
        assert_float_equal(c.rope_high, 4, 0);
        assert_int_equal(c.rope_original, 8192);
        assert_float_equal(c.rope_theta, 500000, 0);
    }
}

/* The classes of transformers 5.24.0 (LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config). */
static void absent_keys_mean_the_defaults_of_the_class(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_config c;
    static const struct {
        const char *type, *class;
        int64_t max_len, window;
    } rows[] = {{"\"llama\"", "[\"LlamaForCausalLM\"]", 2048, 0},
                {"\"mistral\"", "[\"MistralForCausalLM\"]", 131072, 4096}};
    write_model(true, NULL);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const field f[] = {{"model_type", rows[i].type},
                           {"architectures", rows[i].class},
                           {"rms_norm_eps", NULL},
                           {"rope_theta", NULL},
                           {"max_position_embeddings", NULL}};
        write_config(dir, f, BL_COUNT(f));
        assert_ok(open_dir(&c, &e));
        assert_float_equal(c.eps, 1e-6, 0);
        assert_float_equal(c.rope_theta, 10000, 0);
        assert_int_equal(c.max_len, rows[i].max_len);
        assert_int_equal(c.window, rows[i].window);
        assert_int_equal(bl_config_reach(&c), rows[i].max_len);
        assert_string_equal(c.arch->name, i ? "mistral" : "llama");
    }
    static const field kv[] = {{"model_type", "\"mistral\""}, {"architectures", NULL}, {"num_key_value_heads", NULL}};
    write_config(dir, kv, BL_COUNT(kv)); /* 8 of them, more than heads */
    assert_refused(open_dir(&c, &e), BL_E_FORMAT, "num_attention_heads 4 is not a multiple of num_key_value_heads 8");
    static const field head[] = {{"model_type", "\"qwen3\""}, {"architectures", NULL}};
    write_config(dir, head, BL_COUNT(head));
    assert_refused(open_dir(&c, &e), BL_E_FORMAT, "q_proj.weight' is [32, 32], expected [512, 32]");
    static const field norms[] = {{"model_type", "\"qwen3\""}, {"architectures", NULL}, {"head_dim", "8"}};
    write_config(dir, norms, BL_COUNT(norms));
    assert_refused(open_dir(&c, &e), BL_E_FORMAT, "self_attn.q_norm.weight' is missing");
    static const field bias[] = {{"model_type", "\"qwen2\""}, {"architectures", NULL}};
    write_config(dir, bias, BL_COUNT(bias));
    assert_refused(open_dir(&c, &e), BL_E_FORMAT, "self_attn.q_proj.bias' is missing");
}

static void yarn_and_dynamic_scaling_are_read_with_their_defaults(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_config c;
    static const struct {
        const char *json;
        double low, high, factor, attention;
        int64_t original;
        bool exact;
    } rows[] = {/* as _compute_yarn_parameters of transformers 5.24.0 has it; 0.1 ln 4 + 1 = 1.1386294361 */
                {"{\"rope_type\":\"yarn\",\"factor\":4}", 1, 32, 4, 1.1386294361119891, 64, false},
                {"{\"type\":\"yarn\",\"factor\":null,\"original_max_position_embeddings\":16}", 1, 32, 4,
                 1.1386294361119891, 16, false},
                {"{\"type\":\"yarn\",\"factor\":4,\"beta_fast\":16,\"beta_slow\":2,\"attention_factor\":0.75,"
                 "\"truncate\":false}",
                 2, 16, 4, 0.75, 64, true},
                {"{\"type\":\"yarn\",\"factor\":4,\"mscale\":1,\"mscale_all_dim\":0.5}", 1, 32, 4,
                 1.1386294361119891 / 1.0693147180559945, 64, false}};
    write_model(true, NULL);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        write_config(dir, &(field){"rope_scaling", rows[i].json}, 1);
        assert_ok(open_dir(&c, &e));
        assert_int_equal(c.rope, BL_ROPE_YARN);
        assert_float_equal(c.rope_low, rows[i].low, 0);
        assert_float_equal(c.rope_high, rows[i].high, 0);
        assert_float_equal(c.rope_factor, rows[i].factor, 0);
        assert_float_equal(c.rope_attention, rows[i].attention, 1e-12);
        assert_int_equal(c.rope_original, rows[i].original);
        assert_true(c.rope_exact == rows[i].exact);
        assert_int_equal(bl_config_reach(&c), 64);
    }
    static const field apart[] = {{"rope_scaling", "{\"type\":\"yarn\",\"factor\":4}"},
                                  {"original_max_position_embeddings", "16"}};
    write_config(dir, apart, BL_COUNT(apart)); /* outside the object it counts before what is inside */
    assert_ok(open_dir(&c, &e));
    assert_int_equal(c.rope_original, 16);
    write_config(
        dir,
        &(field){"rope_scaling", "{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4}"}, 1);
    assert_ok(open_dir(&c, &e));
    assert_int_equal(c.rope_original, 64);
    write_config(dir, &(field){"rope_scaling", "{\"type\":\"dynamic\",\"factor\":2.5}"}, 1);
    assert_ok(open_dir(&c, &e));
    assert_int_equal(c.rope, BL_ROPE_DYNAMIC);
    assert_int_equal(c.rope_original, 64);
    assert_int_equal(c.max_len, 64);
    assert_int_equal(bl_config_reach(&c), 160);
}

static void windows_are_read_where_the_architecture_has_them(void **state)
{
    (void)state;
    static const struct {
        const char *type, *size, *use, *first, *types;
        int64_t window;
        const char *phrase;
    } rows[] = {
        {"\"mistral\"", "16", NULL, NULL, NULL, 16, NULL},
        {"\"mistral\"", "null", NULL, NULL, NULL, 0, NULL},
        {"\"qwen2\"", "16", NULL, NULL, NULL, 0, NULL},
        {"\"qwen2\"", "16", "false", "0", NULL, 0, NULL},
        {"\"qwen2\"", "16", "true", "1", NULL, 16, NULL},
        {"\"qwen2\"", "16", "true", "2", NULL, 0, NULL}, /* of no layer */
        {"\"qwen2\"", "16", "true", NULL, "[\"full_attention\",\"sliding_attention\"]", 16, NULL},
        {"\"qwen2\"", "16", "true", "0", "[\"full_attention\",\"full_attention\"]", 0, NULL},
        {"\"qwen2\"", "16", "false", NULL, "[\"full_attention\",\"sliding_attention\"]", 0,
         "only full_attention is read where use_sliding_window is off"},
        {"\"qwen2\"", "16", "true", NULL, "[\"full_attention\",\"chunked_attention\"]", 0, "'chunked_attention'"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_config c = {0};
        st_text s = {0};
        const field f[] = {{"model_type", rows[i].type},         {"architectures", NULL},
                           {"sliding_window", rows[i].size},     {"use_sliding_window", rows[i].use},
                           {"max_window_layers", rows[i].first}, {"layer_types", rows[i].types}};
        st_layers(&s, 0, 2, true, true, NULL);
        for (int k = 0; k < 6 && !strcmp(rows[i].type, "\"qwen2\""); k++) {
            char name[96];
            snprintf(name, sizeof name, "model.layers.%d.self_attn.%c_proj.bias", k / 3, "qkv"[k % 3]);
            st_add(&s, name, 0, k % 3 ? 16 : 32);
        }
        st_write(&s, dir, "model.safetensors");
        write_config(dir, f, BL_COUNT(f));
        bl_status st = open_dir(&c, &e);
        if (rows[i].phrase) {
            if (st != BL_E_FORMAT || !strstr(e.text, rows[i].phrase)) fail_msg("%zu: %s", i, e.text);
        } else if (st != BL_OK || c.window != rows[i].window)
            fail_msg("%zu: %s, window %lld", i, e.text, (long long)c.window);
    }
}

static void absent_kv_heads_are_as_many_as_heads(void **state) /* R46 */
{
    (void)state;
    bl_err e = {0};
    write_model(true, NULL);
    write_config(dir, &(field){"num_key_value_heads", NULL}, 1);
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT, "k_proj.weight' is [16, 32], expected [32, 32]");
}

/* ---- tied or not, what is stored (R47) ---- */
static void the_tied_flag_must_fit_what_is_stored(void **state)
{
    (void)state;
    bl_err e = {0};
    st_text s = {0};
    const field untied = {"tie_word_embeddings", "false"};
    write_config(dir, NULL, 0);
    write_model(true, "model.embed_tokens.weight");
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT, "model.embed_tokens.weight' is missing");
    st_layers(&s, 0, 2, true, false, "model.embed_tokens.weight");
    st_write(&s, dir, "model.safetensors");
    assert_ok(open_dir(NULL, &e)); /* stored under the head's name */
    write_config(dir, &untied, 1);
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT, "model.embed_tokens.weight' is missing");
    write_model(true, NULL);
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT, "lm_head.weight' is missing");
    write_model(false, NULL);
    assert_ok(open_dir(NULL, &e));
    write_config(dir, NULL, 0);
    assert_ok(open_dir(NULL, &e)); /* tied, both stored */
    st_layers(&s, 0, 2, true, true, NULL);
    st_add(&s, "lm_head.weight", 41, 32);
    st_write(&s, dir, "model.safetensors");
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT, "lm_head.weight' is [41, 32], expected [40, 32]");
}

/* Both tables in the file and the flag says tied: transformers 5.24.0 ties them when their values are equal, else keeps
 * both and warns ("... both are present in the checkpoints with different values, so we will NOT tie them"). */
static void a_head_of_other_values_is_kept_whatever_the_flag_says(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_checkpoint *c;
    float row[32];
    static const struct {
        const char *name;
        bool bf16, other, tied;
    } rows[] = {{"equal", false, false, true},
                {"other", false, true, false},
                {"equal in another type", true, false, true},
                {"other in another type", true, true, false}};
    write_config(dir, NULL, 0);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        char path[8192], *bytes;
        size_t n;
        uint64_t from;
        st_text s = {0};
        st_layers(&s, 0, 2, true, true, NULL);
        from = s.bytes;
        s.bytes += 40 * 32 * (rows[i].bf16 ? 2 : 4);
        bl_text_addf(&s.header, ",\"lm_head.weight\":{\"dtype\":\"%s\",\"shape\":[40,32],\"data_offsets\":[%llu,%llu]}",
                     rows[i].bf16 ? "BF16" : "F32", (unsigned long long)from, (unsigned long long)s.bytes);
        st_write(&s, dir, "model.safetensors");
        snprintf(path, sizeof path, "%s/model.safetensors", dir);
        assert_ok(bl_read_file(path, 1 << 24, &bytes, &n, &e));
        if (rows[i].other) bytes[n - 1] = 0x40; /* the last value of the head becomes 2, in either type */
        test_write(dir, "model.safetensors", bytes, n);
        bl_free(bytes);
        assert_ok(bl_checkpoint_open(dir, NULL, &c, &e));
        if (bl_checkpoint_config(c)->tied != rows[i].tied) fail_msg("%s", rows[i].name);
        const bl_stored *head = bl_checkpoint_param(c, BL_ROLE_HEAD, -1);
        assert_true((head == NULL) == rows[i].tied);
        if (rows[i].tied) assert_null(bl_checkpoint_notes(c));
        else {
            assert_non_null(strstr(bl_checkpoint_notes(c), "the file holds another head: both are kept"));
            assert_ok(bl_checkpoint_dense(c, head, 39, 1, row, &e));
            assert_float_equal(row[31], 2, 0);
            assert_ok(bl_checkpoint_dense(c, bl_checkpoint_param(c, BL_ROLE_EMBED, -1), 39, 1, row, &e));
            assert_float_equal(row[31], 0, 0);
        }
        bl_checkpoint_close(c);
    }
}

static void tensors_that_a_llama_lacks_are_refused_by_name(void **state)
{
    (void)state;
    bl_err e = {0};
    st_text s = {0};
    static const struct {
        const char *name;
        bool fine;
    } rows[] = {
        {"model.layers.0.self_attn.q_proj.bias", false},        {"model.layers.0.self_attn.q_norm.weight", false},
        {"model.layers.2.input_layernorm.weight", false},       {"transformer.wte.weight", false},
        {"model.layers.0.self_attn.rotary_emb.inv_freq", true}, {"lm_head.bias", false},
    };
    write_config(dir, NULL, 0);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        st_layers(&s, 0, 2, true, true, NULL);
        st_add(&s, rows[i].name, 0, 4);
        st_write(&s, dir, "model.safetensors");
        if (rows[i].fine) assert_ok(open_dir(NULL, &e));
        else assert_refused(open_dir(NULL, &e), BL_E_FORMAT, rows[i].name);
    }
    st_layers(&s, 0, 2, true, true, NULL);
    st_add(&s, "model.layers.1.mlp.up_proj.bias", 0, 48);
    st_write(&s, dir, "model.safetensors");
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT,
                   "mlp.up_proj.bias' is stored, but config.json says that the model has none");
    st_layers(&s, 0, 2, true, true, "model.layers.1.mlp.up_proj.weight");
    st_add(&s, "model.layers.1.mlp.up_proj.weight", 0, 48 * 32);
    st_write(&s, dir, "model.safetensors");
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT, "mlp.up_proj.weight' is [1536, 1], expected [48, 32]");
}

static void integer_weights_are_refused(void **state)
{
    (void)state;
    bl_err e = {0};
    st_text s = {0};
    write_config(dir, NULL, 0);
    st_layers(&s, 0, 2, true, true, NULL);
    char *f = strstr(s.header.s, "F32"); /* of the embedding */
    memcpy(f, "I32", 3);
    st_write(&s, dir, "model.safetensors");
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT, "has dtype I32; F32, F16 and BF16 are read");
}

/* ---- shards ---- */
static void write_shards(void)
{
    st_text s = {0};
    st_layers(&s, 0, 1, true, true, NULL);
    st_write(&s, dir, "a.safetensors");
    st_layers(&s, 1, 2, false, true, NULL);
    st_write(&s, dir, "b.safetensors");
    write_config(dir, NULL, 0);
}

/* The index of write_shards, with one name mapped to `file`, or left out when that is NULL. */
static void write_index(const char *odd, const char *file)
{
    static const char *const ends[] = {"model.embed_tokens.weight", "model.norm.weight"};
    static const char *const names[] = {"input_layernorm",  "self_attn.q_proj", "self_attn.k_proj",
                                        "self_attn.v_proj", "self_attn.o_proj", "post_attention_layernorm",
                                        "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};
    bl_text t = {0};
    char name[128];
    bool met = false;
    bl_text_add(&t, "{\"metadata\":{\"total_size\":0},\"weight_map\":{\"");
    for (size_t i = 0; i < 2 + 2 * BL_COUNT(names); i++) {
        if (i < 2) strcpy(name, ends[i]);
        else
            snprintf(name, sizeof name, "model.layers.%zu.%s.weight", (i - 2) / BL_COUNT(names),
                     names[(i - 2) % BL_COUNT(names)]);
        bool is = odd && !strcmp(odd, name);
        met = met || is;
        if (is && !file) continue;
        bl_text_addf(&t, "%s%s\":\"%s", t.s[t.n - 2] == '{' ? "" : "\",\"", name,
                     is                        ? file
                     : i < 2 + BL_COUNT(names) ? "a.safetensors"
                                               : "b.safetensors");
    }
    if (odd && !met) bl_text_addf(&t, "\",\"%s\":\"%s", odd, file);
    bl_text_add(&t, "\"}}");
    test_write(dir, "model.safetensors.index.json", t.s, t.n);
    bl_text_free(&t);
}

static void an_index_leads_to_files_beside_it_and_nowhere_else(void **state)
{
    (void)state;
    bl_err e = {0};
    const char *w = "model.layers.0.mlp.up_proj.weight";
    write_shards();
    write_index(NULL, NULL);
    assert_ok(open_dir(NULL, &e));
    static const struct {
        const char *what, *file, *phrase;
    } rows[] = {
        {"R33", "../b.safetensors", "the name of a file beside it"},
        {"R33", "/etc/passwd", "the name of a file beside it"},
        {"R33", "sub/b.safetensors", "the name of a file beside it"},
        {"R33", "..", "the name of a file beside it"},
        {"R33", "", "the name of a file beside it"},
        {"R33", "b\\u0000.safetensors", "model.safetensors.index.json"},
        {"R33", "config.json", "not a .safetensors file"},
        {"R34", "c.safetensors", "c.safetensors"},
        {"R35", "b.safetensors", "is in a.safetensors, but mapped to b.safetensors"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        write_index(w, rows[i].file);
        bl_status st = open_dir(NULL, &e);
        if (st != BL_E_FORMAT || !strstr(e.text, rows[i].phrase))
            fail_msg("%s %s: %s '%s'", rows[i].what, rows[i].file, bl_status_name(st), e.text);
    }
    write_index(w, NULL);
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT, "is not listed");
    write_index("model.layers.7.x", "b.safetensors"); /* R36 */
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT,
                   "'model.layers.7.x' is mapped to b.safetensors, which does not have it");
    test_write(dir, "model.safetensors.index.json", "{\"weight_map\":[]}", 17);
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT, "'weight_map' is not an object");
    test_write(dir, "model.safetensors.index.json", "{}", 2);
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT, "weight_map");
    test_write(dir, "model.safetensors.index.json", "{\"weight_map\":{\"a\":1}}", 22);
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT, "index.json");
}

static void a_tensor_in_two_shards_is_refused(void **state) /* R35 */
{
    (void)state;
    bl_err e = {0};
    st_text s = {0};
    write_shards();
    st_layers(&s, 1, 2, false, true, NULL);
    st_add(&s, "model.norm.weight", 0, 32);
    st_write(&s, dir, "b.safetensors");
    write_index(NULL, NULL);
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT,
                   "'model.norm.weight' is in b.safetensors, but mapped to a.safetensors");
}

static void links_stay_inside_the_model_or_its_cache(void **state) /* R37 */
{
    (void)state;
    bl_err e = {0};
    char path[4200], outside[4200], root[4096];
    write_shards();
    write_index(NULL, NULL);
    snprintf(path, sizeof path, "%s/b.safetensors", dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("b.safetensors", path), 0);
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT, "b.safetensors"); /* a loop */
    unlink(path);
    assert_int_equal(symlink("a.safetensors", path), 0);
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT, "mapped to a.safetensors"); /* inside: read, and seen to be a */
    unlink(path);

    strcpy(root, dir); /* the same as snapshots/c of a cache, shards in blobs */
    snprintf(outside, sizeof outside, "%s/models--o--m/blobs", root);
    assert_ok(bl_make_dirs(outside, &e));
    snprintf(dir, sizeof dir, "%.3900s/models--o--m/snapshots/c0ffee", root);
    assert_ok(bl_make_dirs(dir, &e));
    write_shards();
    write_index(NULL, NULL);
    snprintf(path, sizeof path, "%s/b.safetensors", dir);
    snprintf(outside, sizeof outside, "%s/models--o--m/blobs/1234", root);
    assert_int_equal(rename(path, outside), 0);
    assert_int_equal(symlink("../../blobs/1234", path), 0);
    assert_ok(open_dir(NULL, &e));

    setenv("HF_HUB_CACHE", root, 1); /* o/m through the cache */
    bl_checkpoint *c = NULL;
    assert_refused(bl_checkpoint_open("o/m", NULL, &c, &e), BL_E_MISSING, "snapshots/main is not a directory");
    assert_ok(bl_checkpoint_open("o/m@c0ffee", NULL, &c, &e));
    bl_checkpoint_close(c);
    snprintf(outside, sizeof outside, "%s/models--o--m/refs", root);
    assert_ok(bl_make_dirs(outside, &e));
    test_write(outside, "main", "c0ffee\n", 7);
    assert_ok(bl_checkpoint_open("o/m", NULL, &c, &e));
    assert_string_equal(bl_checkpoint_name(c), "m");
    bl_checkpoint_close(c);
    test_write(outside, "main", "../../x", 7);
    assert_refused(bl_checkpoint_open("o/m", NULL, &c, &e), BL_E_FORMAT, "does not hold the name of a commit");
    assert_refused(bl_checkpoint_open("o/other", NULL, &c, &e), BL_E_MISSING, "nothing is downloaded");
    assert_refused(bl_checkpoint_open("o/..", NULL, &c, &e), BL_E_MISSING, "no file or directory");
    unsetenv("HF_HUB_CACHE");

    unlink(path);
    snprintf(outside, sizeof outside, "%s/elsewhere.safetensors", root);
    st_text s = {0};
    st_layers(&s, 1, 2, false, true, NULL);
    st_write(&s, root, "elsewhere.safetensors");
    assert_int_equal(symlink(outside, path), 0);
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT, "outside the model directory");
    strcpy(dir, root);
}

static void a_directory_without_a_model_says_what_is_there(void **state)
{
    (void)state;
    bl_err e = {0};
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT, "no config.json");
    test_write(dir, "pytorch_model.bin", "x", 1);
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT, "found pytorch_model.bin (PyTorch pickles");
    write_config(dir, NULL, 0);
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT, "found pytorch_model.bin");
    char path[4200];
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    assert_int_equal(mkfifo(path, 0600), 0); /* not a regular file: no waiting for a writer */
    assert_refused(open_dir(NULL, &e), BL_E_FORMAT, "model.safetensors");
}

int main(void)
{
#define WITH(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        WITH(configurations_that_are_not_a_llama_are_refused),
        WITH(every_spelling_of_a_llama_is_read),
        WITH(absent_keys_mean_the_defaults_of_the_class),
        WITH(yarn_and_dynamic_scaling_are_read_with_their_defaults),
        WITH(windows_are_read_where_the_architecture_has_them),
        WITH(absent_kv_heads_are_as_many_as_heads),
        WITH(the_tied_flag_must_fit_what_is_stored),
        WITH(a_head_of_other_values_is_kept_whatever_the_flag_says),
        WITH(tensors_that_a_llama_lacks_are_refused_by_name),
        WITH(integer_weights_are_refused),
        WITH(an_index_leads_to_files_beside_it_and_nowhere_else),
        WITH(a_tensor_in_two_shards_is_refused),
        WITH(links_stay_inside_the_model_or_its_cache),
        WITH(a_directory_without_a_model_says_what_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
