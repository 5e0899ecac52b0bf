/* hf_config.c - config.json of a Hugging Face directory.
 *
 * What changes the mathematics is either read or refused; everything else (token ids of templates, training settings,
 * cache flags, pretraining_tp, which only splits the same products) is skipped. Absent keys mean what the classes of
 * transformers 5.24 make of them.
 */
#include "checkpoint_impl.h"
#include <inttypes.h>
#include <math.h>

/* Keys that would make it another model, and the only value that keeps it one of ours. null always does. */
typedef enum neutral { IS_FALSE, IS_ONE, IS_SILU, IS_NULL } neutral;
static const struct {
    const char *key;
    neutral value;
} others[] = {
    {"qkv_bias", IS_FALSE},
    {"bias", IS_FALSE},
    {"hidden_act", IS_SILU},
    {"hidden_activation", IS_SILU},
    {"partial_rotary_factor", IS_ONE},
    {"rotary_pct", IS_ONE},
    {"rope_interleaved", IS_FALSE},
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

/* Keys that switch parameters on, where the architecture may have them. */
static const struct {
    const char *key;
    uint32_t roles;
} switches[] = {
    {"attention_bias", BL_ROLES_ATTENTION_BIAS},
    {"mlp_bias", BL_ROLES_MLP_BIAS},
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

static bl_status refuse(const bl_json *v, const char *only, const bl_config *c, const char *file, bl_err *e)
{
    bl_text t = {0};
    bl_json_put_node(&t, v);
    bl_fail(e, BL_E_FORMAT, "%s: '%s' is %.80s; only %s is a %s that is read", file, bl_json_key(v), t.s ? t.s : "?",
            only, c->arch->name);
    bl_text_free(&t);
    return BL_E_FORMAT;
}

static bl_status refuse_others(const bl_json *j, const char *file, const bl_config *c, bl_err *e)
{
    static const char *const want[] = {"false", "1", "silu", "null"};
    for (size_t i = 0; i < BL_COUNT(others); i++) {
        const bl_json *v = bl_json_get(j, others[i].key);
        if (!is_neutral(v, others[i].value)) return refuse(v, want[others[i].value], c, file, e);
    }
    return BL_OK;
}

static bl_status optional(const bl_json *j, const char *key, int64_t *io, bl_err *e)
{
    const bl_json *v = bl_json_get(j, key);
    if (!v || bl_json_kind(v) == BL_JSON_NULL) return BL_OK;
    return bl_json_int(v, io, e);
}

static bl_status optional_real(const bl_json *j, const char *key, double *io, bl_err *e)
{
    const bl_json *v = bl_json_get(j, key);
    if (!v || bl_json_kind(v) == BL_JSON_NULL) return BL_OK;
    return bl_json_real(v, io, e);
}

static bl_status optional_bool(const bl_json *j, const char *key, bool *io, bl_err *e)
{
    const bl_json *v = bl_json_get(j, key);
    if (!v || bl_json_kind(v) == BL_JSON_NULL) return BL_OK;
    return bl_json_bool(v, io, e);
}

static bl_status read_switches(const bl_json *j, const char *file, bl_config *c, bl_err *e)
{
    bl_status st = BL_OK;
    for (size_t i = 0; i < BL_COUNT(switches); i++) {
        bool on = false;
        BL_TRY(optional_bool(j, switches[i].key, &on, e));
        if (!on) continue;
        if (!(c->arch->may & switches[i].roles)) return refuse(bl_json_get(j, switches[i].key), "false", c, file, e);
        c->roles |= switches[i].roles & c->arch->may;
    }
out:
    return st;
}

/* A window that is switched off, or an architecture's that never has one, must not be in use by any layer. The switch
 * is on for layers from max_window_layers on; that only some have it makes no difference to what is computed here,
 * where sequences longer than a window are refused. */
static bl_status window(const bl_json *j, const char *file, bl_config *c, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *size = bl_json_get(j, "sliding_window"), *types = bl_json_get(j, "layer_types");
    int64_t first = 28, n = size ? 0 : c->arch->hf.window; /* null: none */
    bool on = c->arch->window == BL_WINDOW_ALWAYS;
    if (c->arch->window != BL_WINDOW_ALWAYS) BL_TRY(optional_bool(j, "use_sliding_window", &on, e));
    BL_TRY(optional(j, "sliding_window", &n, e));
    BL_TRY(optional(j, "max_window_layers", &first, e));
    if (c->arch->window == BL_WINDOW_NEVER) {
        const bl_json *use = bl_json_get(j, "use_sliding_window");
        if (on) return refuse(use, "false", c, file, e);
        if (n > 0 && !use)
            return bl_fail(e, BL_E_FORMAT, "%s: 'sliding_window' is set; a %s has no sliding-window attention", file,
                           c->arch->name);
    }
    bool sliding = false;
    for (const bl_json *v = bl_json_first(types); v; v = bl_json_next(v)) {
        const char *type;
        BL_TRY(bl_json_str(v, &type, e));
        sliding = sliding || !strcmp(type, "sliding_attention");
        if (strcmp(type, "full_attention") && !(on && !strcmp(type, "sliding_attention")))
            return bl_fail(e, BL_E_FORMAT, "%s: 'layer_types' has '%.40s'; only full_attention is read%s", file, type,
                           c->arch->window == BL_WINDOW_SWITCHED ? " where use_sliding_window is off" : "");
    }
    if (types && (bl_json_kind(types) == BL_JSON_ARRAY ? bl_json_size(types) != (size_t)c->n_layers
                                                       : bl_json_kind(types) != BL_JSON_NULL))
        return bl_fail(e, BL_E_FORMAT, "%s: 'layer_types' is not a list of %" PRId64 " names", file, c->n_layers);
    if (c->arch->window == BL_WINDOW_SWITCHED && !(types && bl_json_kind(types) == BL_JSON_ARRAY))
        sliding = first < c->n_layers;
    c->window = on && (sliding || c->arch->window == BL_WINDOW_ALWAYS) ? n : 0;
out:
    return st;
}

/* "llama, mistral, …", or the classes' names. */
static void list(bl_text *t, bool classes)
{
    const bl_arch *a;
    for (size_t i = 0; (a = bl_arch_at(i)); i++)
        bl_text_addf(t, "%s%s", i ? ", " : "", classes ? a->hf_class : a->hf_type);
}

static bl_status unknown(const char *what, const char *name, bool classes, const char *file, bl_err *e)
{
    bl_text t = {0};
    list(&t, classes);
    bl_fail(e, BL_E_FORMAT, "%s: %s '%.80s' is not read; these are: %s", file, what, name, t.s ? t.s : "");
    bl_text_free(&t);
    return BL_E_FORMAT;
}

static const bl_arch *of_class(const char *name)
{
    const bl_arch *a;
    if (!strcmp(name, "LLaMAForCausalLM")) name = "LlamaForCausalLM"; /* as the first conversions spelled it */
    for (size_t i = 0; (a = bl_arch_at(i)); i++)
        if (!strcmp(a->hf_class, name)) return a;
    return NULL;
}

static bl_status architecture(const bl_json *j, const char *file, const bl_arch **out, bl_err *e)
{
    bl_status st = BL_OK;
    const char *type = NULL, *name = NULL;
    const bl_arch *a = NULL, *b = NULL;
    const bl_json *all = bl_json_get(j, "architectures"), *kind = bl_json_get(j, "model_type");
    if (kind && bl_json_kind(kind) != BL_JSON_NULL) BL_TRY(bl_json_str(kind, &type, e));
    if (all && bl_json_kind(all) != BL_JSON_NULL) {
        if (bl_json_kind(all) != BL_JSON_ARRAY || bl_json_size(all) != 1)
            return bl_fail(e, BL_E_FORMAT, "%s: 'architectures' is not a list of one name", file);
        BL_TRY(bl_json_str(bl_json_first(all), &name, e));
        if (!(a = of_class(name))) return unknown("architecture", name, true, file, e);
    }
    if (type && !(b = bl_arch_of_hf(type))) return unknown("model_type", type, false, file, e);
    if (!type && !name)
        return bl_fail(e, BL_E_FORMAT, "%s: neither 'architectures' nor 'model_type' says what model this is", file);
    if (a && b && a != b)
        return bl_fail(e, BL_E_FORMAT, "%s: model_type is '%s' and architectures '%s', another model", file, type,
                       name);
    *out = a ? a : b;
out:
    return st;
}

static double yarn_scale(double factor, double by) { return factor <= 1 ? 1 : 0.1 * by * log(factor) + 1; }

/* YaRN as transformers 5.24 reads it: defaults, and the attention factor inferred from what is given. */
static bl_status yarn(const bl_json *r, bl_config *c, bl_err *e)
{
    bl_status st = BL_OK;
    double by = 0, by_all = 0, attention = -1;
    bool truncate = true;
    c->rope_high = c->rope_low = 0;
    BL_TRY(optional_real(r, "beta_fast", &c->rope_high, e));
    BL_TRY(optional_real(r, "beta_slow", &c->rope_low, e));
    BL_TRY(optional_real(r, "attention_factor", &attention, e));
    BL_TRY(optional_real(r, "mscale", &by, e));
    BL_TRY(optional_real(r, "mscale_all_dim", &by_all, e));
    BL_TRY(optional_bool(r, "truncate", &truncate, e));
    if (c->rope_high == 0) c->rope_high = 32;
    if (c->rope_low == 0) c->rope_low = 1;
    if (bl_json_get(r, "factor") && bl_json_kind(bl_json_get(r, "factor")) == BL_JSON_NULL)
        c->rope_factor = (double)c->max_len / (double)BL_MAX(c->rope_original, 1);
    else BL_TRY(bl_json_get_real(r, "factor", &c->rope_factor, e));
    c->rope_exact = !truncate;
    c->rope_attention = attention >= 0 ? attention
                        : by && by_all ? yarn_scale(c->rope_factor, by) / yarn_scale(c->rope_factor, by_all)
                                       : yarn_scale(c->rope_factor, 1);
out:
    return st;
}

/* One scaling object, old ("type") or new ("rope_type") spelling, theta included in the newest. `original`: what the
 * configuration itself says about original_max_position_embeddings. */
static bl_status scaling(const bl_json *r, const char *what, const char *file, int64_t original, bl_config *c,
                         bool *has_theta, bl_err *e)
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
    c->rope_original = c->max_len;
    BL_TRY(optional(r, "original_max_position_embeddings", &c->rope_original, e));
    if (original > 0) c->rope_original = original;
    if (!strcmp(type, "yarn")) {
        c->rope = BL_ROPE_YARN;
        return yarn(r, c, e);
    }
    if (!strcmp(type, "linear")) {
        c->rope = BL_ROPE_LINEAR;
        c->rope_original = 0;
    } else if (!strcmp(type, "dynamic")) {
        c->rope = BL_ROPE_DYNAMIC;
        c->rope_original = c->max_len;
    } else if (!strcmp(type, "llama3")) {
        c->rope = BL_ROPE_LLAMA3;
        BL_TRY(bl_json_get_real(r, "low_freq_factor", &c->rope_low, e));
        BL_TRY(bl_json_get_real(r, "high_freq_factor", &c->rope_high, e));
    } else {
        return bl_fail(e, BL_E_FORMAT,
                       "%s: '%s' of type '%s' is not read; default, linear, llama3, yarn and dynamic are", file, what,
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
    int64_t original = 0;
    double theta = 10000;
    BL_TRY(optional(j, "original_max_position_embeddings", &original, e));
    if (top) BL_TRY(bl_json_real(v, &theta, e));
    c->rope_theta = theta;
    for (size_t i = 0; i < BL_COUNT(spellings); i++) {
        const bl_json *r = bl_json_get(j, spellings[i]);
        bl_config one = *c;
        bool has_theta = false;
        if (!r || bl_json_kind(r) == BL_JSON_NULL) continue;
        one.rope = BL_ROPE_PLAIN;
        BL_TRY(scaling(r, spellings[i], file, original, &one, &has_theta, e));
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

/* A token id, or a list of them: then the first is the model's own. */
static bl_status token(const bl_json *j, const char *key, int64_t *io, bl_err *e)
{
    const bl_json *v = bl_json_get(j, key);
    if (!v || bl_json_kind(v) != BL_JSON_ARRAY) return optional(j, key, io, e);
    return (v = bl_json_first(v)) ? bl_json_int(v, io, e) : BL_OK;
}

/* An absent key means the default of the class; null means that it follows from the others. */
static int64_t absent(const bl_json *j, const char *key, int64_t by_class, int64_t derived)
{
    return !bl_json_get(j, key) && by_class > 0 ? by_class : derived;
}

bl_status bl_hf_config(const char *path, bl_config *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_json *j = NULL;
    bl_config c = {.eps = 1e-6, .rope_attention = 1, .bos = -1, .eos = -1};

    BL_TRY(bl_json_read(path, 16 << 20, BL_JSON_PLAIN, &j, e));
    if (bl_json_kind(j) != BL_JSON_OBJECT) {
        st = bl_fail(e, BL_E_FORMAT, "%s: not a JSON object", path);
        goto out;
    }
    BL_TRY(architecture(j, path, &c.arch, e));
    c.roles = c.arch->has;
    BL_TRY(refuse_others(j, path, &c, e));
    BL_TRY(read_switches(j, path, &c, e));
    BL_TRY(bl_json_get_int(j, "hidden_size", &c.dim, e));
    BL_TRY(bl_json_get_int(j, "intermediate_size", &c.ffn_dim, e));
    BL_TRY(bl_json_get_int(j, "num_hidden_layers", &c.n_layers, e));
    BL_TRY(bl_json_get_int(j, "num_attention_heads", &c.n_heads, e));
    BL_TRY(bl_json_get_int(j, "vocab_size", &c.vocab, e));
    c.max_len = c.arch->hf.max_len;
    BL_TRY(optional(j, "max_position_embeddings", &c.max_len, e));
    BL_TRY(optional_real(j, "rms_norm_eps", &c.eps, e));
    c.n_kv_heads = absent(j, "num_key_value_heads", c.arch->hf.kv_heads, c.n_heads);
    BL_TRY(optional(j, "num_key_value_heads", &c.n_kv_heads, e));
    c.head_dim = absent(j, "head_dim", c.arch->hf.head_dim,
                        c.n_heads > 0 && c.dim >= c.n_heads ? c.dim / c.n_heads : 1);
    BL_TRY(optional(j, "head_dim", &c.head_dim, e));
    BL_TRY(token(j, "bos_token_id", &c.bos, e));
    BL_TRY(token(j, "eos_token_id", &c.eos, e));
    BL_TRY(window(j, path, &c, e));
    BL_TRY(rope(j, path, &c, e));
    BL_TRY(optional_bool(j, "tie_word_embeddings", &c.tied, e));
    BL_TRY(bl_config_check(&c, path, e));
    *out = c;
out:
    bl_json_free(j);
    return st;
}
