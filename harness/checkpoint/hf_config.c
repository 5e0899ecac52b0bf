/* hf_config.c - config.json of a Hugging Face directory.
 *
 * What changes the mathematics is either read or refused; everything else (token ids of templates, training settings,
 * cache flags) is skipped.
 */
#include "checkpoint_impl.h"
#include <inttypes.h>

/* Keys that would make it another model, and the only value that keeps it a LLaMA. null always does. */
typedef enum neutral { IS_FALSE, IS_ONE, IS_SILU, IS_NULL } neutral;
static const struct {
    const char *key;
    neutral value;
} others[] = {
    {"attention_bias", IS_FALSE},
    {"mlp_bias", IS_FALSE},
    {"qkv_bias", IS_FALSE},
    {"bias", IS_FALSE},
    {"hidden_act", IS_SILU},
    {"hidden_activation", IS_SILU},
    {"pretraining_tp", IS_ONE},
    {"partial_rotary_factor", IS_ONE},
    {"rotary_pct", IS_ONE},
    {"rope_interleaved", IS_FALSE},
    {"use_sliding_window", IS_FALSE},
    {"layer_types", IS_NULL},
    {"no_rope_layers", IS_NULL},
    {"use_qk_norm", IS_FALSE},
    {"qk_norm", IS_FALSE},
    {"qk_layernorm", IS_FALSE},
    {"clip_qkv", IS_NULL},
    {"alibi", IS_FALSE},
    {"attn_logit_softcapping", IS_NULL},
    {"final_logit_softcapping", IS_NULL},
    {"query_pre_attn_scalar", IS_NULL},
    {"embedding_multiplier", IS_ONE},
    {"residual_multiplier", IS_ONE},
    {"logits_scaling", IS_ONE},
    {"logit_scale", IS_ONE},
    {"attention_multiplier", IS_NULL},
    {"scale_emb", IS_ONE},
    {"scale_depth", IS_NULL},
    {"num_local_experts", IS_NULL},
    {"num_experts", IS_NULL},
    {"n_routed_experts", IS_NULL},
    {"parallel_attn", IS_FALSE},
    {"sandwich_norm", IS_FALSE},
    {"norm_bias", IS_FALSE},
    {"layer_norm_eps", IS_NULL},
    {"vocab_size_per_layer_input", IS_NULL},
};

static bool is_neutral(const bl_json *v, neutral n)
{
    double x;
    bool b;
    const char *s;
    if (!v || bl_json_kind(v) == BL_JSON_NULL) return true;
    switch (n) {
    case IS_FALSE: return bl_json_bool(v, &b, NULL) == BL_OK && !b;
    case IS_ONE: return bl_json_real(v, &x, NULL) == BL_OK && x == 1;
    case IS_SILU: return bl_json_str(v, &s, NULL) == BL_OK && (!strcmp(s, "silu") || !strcmp(s, "swish"));
    default: return false;
    }
}

static bl_status refuse_others(const bl_json *j, const char *file, bl_err *e)
{
    static const char *const want[] = {"false", "1", "silu", "null"};
    for (size_t i = 0; i < BL_COUNT(others); i++) {
        const bl_json *v = bl_json_get(j, others[i].key);
        if (is_neutral(v, others[i].value)) continue;
        bl_text t = {0};
        bl_json_put_node(&t, v);
        bl_fail(e, BL_E_FORMAT, "%s: '%s' is %.80s; only %s is a LLaMA that is read", file, others[i].key,
                t.s ? t.s : "?", want[others[i].value]);
        bl_text_free(&t);
        return BL_E_FORMAT;
    }
    /* "use_sliding_window": false switches the window off whatever its size */
    const bl_json *window = bl_json_get(j, "sliding_window"), *use = bl_json_get(j, "use_sliding_window");
    if (window && bl_json_kind(window) != BL_JSON_NULL && !(use && is_neutral(use, IS_FALSE)))
        return bl_fail(e, BL_E_FORMAT, "%s: 'sliding_window' is set; sliding-window attention is not read", file);
    return BL_OK;
}

static bl_status architecture(const bl_json *j, const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    const char *type = NULL, *name = NULL;
    const bl_json *all = bl_json_get(j, "architectures"), *kind = bl_json_get(j, "model_type");
    if (kind && bl_json_kind(kind) != BL_JSON_NULL) BL_TRY(bl_json_str(kind, &type, e));
    if (all && bl_json_kind(all) != BL_JSON_NULL) {
        if (bl_json_kind(all) != BL_JSON_ARRAY || bl_json_size(all) != 1)
            return bl_fail(e, BL_E_FORMAT, "%s: 'architectures' is not a list of one name", file);
        BL_TRY(bl_json_str(bl_json_first(all), &name, e));
        if (strcmp(name, "LlamaForCausalLM") && strcmp(name, "LLaMAForCausalLM"))
            return bl_fail(e, BL_E_FORMAT, "%s: architecture '%s' is not read; LlamaForCausalLM is", file, name);
    }
    if (type && strcmp(type, "llama"))
        return bl_fail(e, BL_E_FORMAT, "%s: model_type '%s' is not read; llama is", file, type);
    if (!type && !name)
        return bl_fail(e, BL_E_FORMAT, "%s: neither 'architectures' nor 'model_type' says what model this is", file);
out:
    return st;
}

static bl_status quantization(const bl_json *j, const char *file, bl_err *e)
{
    const bl_json *q = bl_json_get(j, "quantization_config");
    const char *kind;
    if (!q || bl_json_kind(q) == BL_JSON_NULL) q = bl_json_get(j, "compression_config");
    if (!q || bl_json_kind(q) == BL_JSON_NULL) return BL_OK;
    if (bl_json_str(bl_json_get(q, "quant_method"), &kind, NULL) != BL_OK) kind = "without a quant_method";
    return bl_fail(e, BL_E_FORMAT,
                   "%s: quantization_config of kind '%s' is not read; give the unquantized checkpoint or a GGUF file",
                   file, kind);
}

/* One scaling object, old ("type") or new ("rope_type") spelling, theta included in the newest. */
static bl_status scaling(const bl_json *r, const char *what, const char *file, bl_config *c, bool *has_theta, bl_err *e)
{
    bl_status st = BL_OK;
    const char *type = NULL, *old = NULL;
    const bl_json *v;
    if (bl_json_kind(r) != BL_JSON_OBJECT) return bl_fail(e, BL_E_FORMAT, "%s: '%s' is not an object", file, what);
    if ((v = bl_json_get(r, "rope_type"))) BL_TRY(bl_json_str(v, &type, e));
    if ((v = bl_json_get(r, "type"))) BL_TRY(bl_json_str(v, &old, e));
    if (type && old && strcmp(type, old))
        return bl_fail(e, BL_E_FORMAT, "%s: '%s' says rope_type '%s' and type '%s'", file, what, type, old);
    if (!type) type = old;
    if ((v = bl_json_get(r, "rope_theta"))) {
        BL_TRY(bl_json_real(v, &c->rope_theta, e));
        *has_theta = true;
    }
    if (!is_neutral(bl_json_get(r, "partial_rotary_factor"), IS_ONE))
        return bl_fail(e, BL_E_FORMAT, "%s: '%s' has a partial_rotary_factor; partial rotary embedding is not read",
                       file, what);
    if (!type) {
        if (*has_theta || bl_json_size(r) == 0) return BL_OK;
        return bl_fail(e, BL_E_FORMAT, "%s: '%s' has no 'rope_type'", file, what);
    }
    if (!strcmp(type, "default")) return BL_OK;
    if (!strcmp(type, "linear")) {
        c->rope = BL_ROPE_LINEAR;
    } else if (!strcmp(type, "llama3")) {
        c->rope = BL_ROPE_LLAMA3;
        BL_TRY(bl_json_get_real(r, "low_freq_factor", &c->rope_low, e));
        BL_TRY(bl_json_get_real(r, "high_freq_factor", &c->rope_high, e));
        BL_TRY(bl_json_get_int(r, "original_max_position_embeddings", &c->rope_original, e));
    } else {
        return bl_fail(e, BL_E_FORMAT, "%s: '%s' of type '%s' is not read; default, linear and llama3 are", file, what,
                       type);
    }
    BL_TRY(bl_json_get_real(r, "factor", &c->rope_factor, e));
out:
    return st;
}

static bl_status rope(const bl_json *j, const char *file, bl_config *c, bl_err *e)
{
    bl_status st = BL_OK;
    static const char *const spellings[] = {"rope_parameters", "rope_scaling"};
    const bl_json *v = bl_json_get(j, "rope_theta");
    bool found = false, top = v && bl_json_kind(v) != BL_JSON_NULL;
    double theta = 10000;
    if (top) BL_TRY(bl_json_real(v, &theta, e));
    c->rope_theta = theta;
    for (size_t i = 0; i < BL_COUNT(spellings); i++) {
        const bl_json *r = bl_json_get(j, spellings[i]);
        bl_config one = *c;
        bool has_theta = false;
        if (!r || bl_json_kind(r) == BL_JSON_NULL) continue;
        one.rope = BL_ROPE_PLAIN;
        BL_TRY(scaling(r, spellings[i], file, &one, &has_theta, e));
        if (top && has_theta && one.rope_theta != theta)
            return bl_fail(e, BL_E_FORMAT, "%s: rope_theta is %g and, in '%s', %g", file, theta, spellings[i],
                           one.rope_theta);
        if (found && (one.rope != c->rope || one.rope_factor != c->rope_factor || one.rope_theta != c->rope_theta))
            return bl_fail(e, BL_E_FORMAT, "%s: 'rope_scaling' and 'rope_parameters' disagree", file);
        *c = one;
        found = true;
    }
out:
    return st;
}

static bl_status optional(const bl_json *j, const char *key, int64_t *io, bl_err *e)
{
    const bl_json *v = bl_json_get(j, key);
    if (!v || bl_json_kind(v) == BL_JSON_NULL) return BL_OK;
    return bl_json_int(v, io, e);
}

/* A token id, or a list of them: then the first is the model's own. */
static bl_status token(const bl_json *j, const char *key, int64_t *io, bl_err *e)
{
    const bl_json *v = bl_json_get(j, key);
    if (!v || bl_json_kind(v) != BL_JSON_ARRAY) return optional(j, key, io, e);
    return (v = bl_json_first(v)) ? bl_json_int(v, io, e) : BL_OK;
}

bl_status bl_hf_config(const char *path, bl_config *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_json *j = NULL;
    bl_config c = {.arch = bl_arch_find("llama"), .bos = -1, .eos = -1};

    BL_TRY(bl_json_read(path, 16 << 20, BL_JSON_PLAIN, &j, e));
    if (bl_json_kind(j) != BL_JSON_OBJECT) {
        st = bl_fail(e, BL_E_FORMAT, "%s: not a JSON object", path);
        goto out;
    }
    BL_TRY(architecture(j, path, e));
    c.roles = c.arch->has;
    BL_TRY(quantization(j, path, e));
    BL_TRY(refuse_others(j, path, e));
    BL_TRY(bl_json_get_int(j, "hidden_size", &c.dim, e));
    BL_TRY(bl_json_get_int(j, "intermediate_size", &c.ffn_dim, e));
    BL_TRY(bl_json_get_int(j, "num_hidden_layers", &c.n_layers, e));
    BL_TRY(bl_json_get_int(j, "num_attention_heads", &c.n_heads, e));
    BL_TRY(bl_json_get_int(j, "vocab_size", &c.vocab, e));
    BL_TRY(bl_json_get_int(j, "max_position_embeddings", &c.max_len, e));
    BL_TRY(bl_json_get_real(j, "rms_norm_eps", &c.eps, e));
    c.n_kv_heads = c.n_heads;
    BL_TRY(optional(j, "num_key_value_heads", &c.n_kv_heads, e));
    c.head_dim = c.n_heads > 0 && c.dim >= c.n_heads ? c.dim / c.n_heads : 1;
    BL_TRY(optional(j, "head_dim", &c.head_dim, e));
    BL_TRY(token(j, "bos_token_id", &c.bos, e));
    BL_TRY(token(j, "eos_token_id", &c.eos, e));
    BL_TRY(rope(j, path, &c, e));
    const bl_json *tied = bl_json_get(j, "tie_word_embeddings");
    if (tied && bl_json_kind(tied) != BL_JSON_NULL) BL_TRY(bl_json_bool(tied, &c.tied, e));
    BL_TRY(bl_config_check(&c, path, e));
    *out = c;
out:
    bl_json_free(j);
    return st;
}
