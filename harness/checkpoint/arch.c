/* arch.c - the roles of parameters, the architectures, and the list of parameters that follows from both. */
#include "arch.h"
#include "config.h"
#include <inttypes.h>
#include <string.h>

/* clang-format off */
const bl_role_row bl_roles[BL_N_ROLES] = {
    [BL_ROLE_EMBED]     = {BL_KIND_EMBEDDING, "embed_tokens",             "model.embed_tokens.weight",
                           "token_embd.weight",   BL_WIDTH_VOCAB, BL_WIDTH_DIM,  BL_ROLE_EMBED,     false, false},
    [BL_ROLE_ATTN_NORM] = {BL_KIND_NORM,      "input_layernorm",          "input_layernorm.weight",
                           "attn_norm.weight",    BL_WIDTH_ONE,   BL_WIDTH_DIM,  BL_ROLE_ATTN_NORM, true, false},
    [BL_ROLE_Q]         = {BL_KIND_LINEAR,    "q_proj",                   "self_attn.q_proj.weight",
                           "attn_q.weight",       BL_WIDTH_Q,     BL_WIDTH_DIM,  BL_ROLE_Q,         true, true},
    [BL_ROLE_K]         = {BL_KIND_LINEAR,    "k_proj",                   "self_attn.k_proj.weight",
                           "attn_k.weight",       BL_WIDTH_KV,    BL_WIDTH_DIM,  BL_ROLE_K,         true, true},
    [BL_ROLE_V]         = {BL_KIND_LINEAR,    "v_proj",                   "self_attn.v_proj.weight",
                           "attn_v.weight",       BL_WIDTH_KV,    BL_WIDTH_DIM,  BL_ROLE_V,         true, false},
    [BL_ROLE_Q_BIAS]    = {BL_KIND_BIAS,      "q_proj",                   "self_attn.q_proj.bias",
                           "attn_q.bias",         BL_WIDTH_ONE,   BL_WIDTH_Q,    BL_ROLE_Q,         true, true},
    [BL_ROLE_K_BIAS]    = {BL_KIND_BIAS,      "k_proj",                   "self_attn.k_proj.bias",
                           "attn_k.bias",         BL_WIDTH_ONE,   BL_WIDTH_KV,   BL_ROLE_K,         true, true},
    [BL_ROLE_V_BIAS]    = {BL_KIND_BIAS,      "v_proj",                   "self_attn.v_proj.bias",
                           "attn_v.bias",         BL_WIDTH_ONE,   BL_WIDTH_KV,   BL_ROLE_V,         true, false},
    [BL_ROLE_Q_NORM]    = {BL_KIND_NORM,      "q_norm",                   "self_attn.q_norm.weight",
                           "attn_q_norm.weight",  BL_WIDTH_ONE,   BL_WIDTH_HEAD, BL_ROLE_Q,         true, false},
    [BL_ROLE_K_NORM]    = {BL_KIND_NORM,      "k_norm",                   "self_attn.k_norm.weight",
                           "attn_k_norm.weight",  BL_WIDTH_ONE,   BL_WIDTH_HEAD, BL_ROLE_K,         true, false},
    [BL_ROLE_O]         = {BL_KIND_LINEAR,    "o_proj",                   "self_attn.o_proj.weight",
                           "attn_output.weight",  BL_WIDTH_DIM,   BL_WIDTH_Q,    BL_ROLE_O,         true, false},
    [BL_ROLE_O_BIAS]    = {BL_KIND_BIAS,      "o_proj",                   "self_attn.o_proj.bias",
                           "attn_output.bias",    BL_WIDTH_ONE,   BL_WIDTH_DIM,  BL_ROLE_O,         true, false},
    [BL_ROLE_MLP_NORM]  = {BL_KIND_NORM,      "post_attention_layernorm", "post_attention_layernorm.weight",
                           "ffn_norm.weight",     BL_WIDTH_ONE,   BL_WIDTH_DIM,  BL_ROLE_MLP_NORM,  true, false},
    [BL_ROLE_GATE]      = {BL_KIND_LINEAR,    "gate_proj",                "mlp.gate_proj.weight",
                           "ffn_gate.weight",     BL_WIDTH_FFN,   BL_WIDTH_DIM,  BL_ROLE_GATE,      true, false},
    [BL_ROLE_UP]        = {BL_KIND_LINEAR,    "up_proj",                  "mlp.up_proj.weight",
                           "ffn_up.weight",       BL_WIDTH_FFN,   BL_WIDTH_DIM,  BL_ROLE_UP,        true, false},
    [BL_ROLE_DOWN]      = {BL_KIND_LINEAR,    "down_proj",                "mlp.down_proj.weight",
                           "ffn_down.weight",     BL_WIDTH_DIM,   BL_WIDTH_FFN,  BL_ROLE_DOWN,      true, false},
    [BL_ROLE_GATE_BIAS] = {BL_KIND_BIAS,      "gate_proj",                "mlp.gate_proj.bias",
                           "ffn_gate.bias",       BL_WIDTH_ONE,   BL_WIDTH_FFN,  BL_ROLE_GATE,      true, false},
    [BL_ROLE_UP_BIAS]   = {BL_KIND_BIAS,      "up_proj",                  "mlp.up_proj.bias",
                           "ffn_up.bias",         BL_WIDTH_ONE,   BL_WIDTH_FFN,  BL_ROLE_UP,        true, false},
    [BL_ROLE_DOWN_BIAS] = {BL_KIND_BIAS,      "down_proj",                "mlp.down_proj.bias",
                           "ffn_down.bias",       BL_WIDTH_ONE,   BL_WIDTH_DIM,  BL_ROLE_DOWN,      true, false},
    [BL_ROLE_NORM]      = {BL_KIND_NORM,      "norm",                     "model.norm.weight",
                           "output_norm.weight",  BL_WIDTH_ONE,   BL_WIDTH_DIM,  BL_ROLE_NORM,      false, false},
    [BL_ROLE_HEAD]      = {BL_KIND_HEAD,      "lm_head",                  "lm_head.weight",
                           "output.weight",       BL_WIDTH_VOCAB, BL_WIDTH_DIM,  BL_ROLE_HEAD,      false, false},
};

#define B(role) BL_ROLE_BIT(BL_ROLE_##role)
#define COMMON                                                                                                     \
    (B(EMBED) | B(ATTN_NORM) | B(Q) | B(K) | B(V) | B(O) | B(MLP_NORM) | B(GATE) | B(UP) | B(DOWN) | B(NORM) | B(HEAD))
#define QKV_BIAS (B(Q_BIAS) | B(K_BIAS) | B(V_BIAS))
#define QK_NORM (B(Q_NORM) | B(K_NORM))
#define BIASES (BL_ROLES_ATTENTION_BIAS | BL_ROLES_MLP_BIAS)

static const bl_arch archs[] = {
    {"llama",   "llama",   "LlamaForCausalLM",   "llama",
     COMMON,            BIASES,                  BL_ROTARY_PAIRS,  BL_WINDOW_NEVER,    {2048, 0, 0, 0}},
    {"mistral", "mistral", "MistralForCausalLM", "llama",
     COMMON,            0,                       BL_ROTARY_PAIRS,  BL_WINDOW_ALWAYS,   {131072, 8, 0, 4096}},
    {"qwen2",   "qwen2",   "Qwen2ForCausalLM",   "qwen2",
     COMMON | QKV_BIAS, 0,                       BL_ROTARY_HALVES, BL_WINDOW_SWITCHED, {32768, 32, 0, 4096}},
    {"qwen3",   "qwen3",   "Qwen3ForCausalLM",   "qwen3",
     COMMON | QK_NORM,  BL_ROLES_ATTENTION_BIAS, BL_ROTARY_HALVES, BL_WINDOW_SWITCHED, {32768, 32, 128, 4096}},
};
/* clang-format on */

const bl_arch *bl_arch_at(size_t i) { return i < BL_COUNT(archs) ? &archs[i] : NULL; }

const bl_arch *bl_arch_find(const char *name)
{
    for (size_t i = 0; i < BL_COUNT(archs); i++)
        if (!strcmp(archs[i].name, name)) return &archs[i];
    return NULL;
}

const bl_arch *bl_arch_of_hf(const char *hf_type)
{
    for (size_t i = 0; i < BL_COUNT(archs); i++)
        if (!strcmp(archs[i].hf_type, hf_type)) return &archs[i];
    return NULL;
}

const bl_arch *bl_arch_of_gguf(const char *gguf)
{
    for (size_t i = 0; i < BL_COUNT(archs); i++)
        if (!strcmp(archs[i].gguf, gguf)) return &archs[i];
    return NULL;
}

int64_t bl_width_of(const bl_config *c, bl_width w)
{
    switch (w) {
    case BL_WIDTH_DIM: return c->dim;
    case BL_WIDTH_Q: return c->n_heads * c->head_dim;
    case BL_WIDTH_KV: return c->n_kv_heads * c->head_dim;
    case BL_WIDTH_FFN: return c->ffn_dim;
    case BL_WIDTH_HEAD: return c->head_dim;
    case BL_WIDTH_VOCAB: return c->vocab;
    default: return 1;
    }
}

bool bl_has_role(const bl_config *c, bl_role role)
{
    if (role == BL_ROLE_HEAD) return !c->tied;
    return c->roles & BL_ROLE_BIT(role);
}

bool bl_param_of(const bl_config *c, bl_role role, int64_t block, bl_param *out)
{
    const bl_role_row *r = &bl_roles[role];
    if (!bl_has_role(c, role) || r->block != (block >= 0) || block >= c->n_layers) return false;
    *out = (bl_param){.role = role,
                      .block = block,
                      .out = bl_width_of(c, r->out),
                      .in = bl_width_of(c, r->in),
                      .vector = r->out == BL_WIDTH_ONE};
    if (r->rotary) out->rotary_heads = r->of == BL_ROLE_Q ? c->n_heads : c->n_kv_heads;
    if (r->block) {
        snprintf(out->name, sizeof out->name, "model.layers.%" PRId64 ".%s", block, r->hf);
        snprintf(out->gguf, sizeof out->gguf, "blk.%" PRId64 ".%s", block, r->gguf);
    } else {
        snprintf(out->name, sizeof out->name, "%s", r->hf);
        snprintf(out->gguf, sizeof out->gguf, "%s", r->gguf);
    }
    return true;
}

bool bl_param_at(const bl_config *c, size_t i, bl_param *out)
{
    size_t per = 0, k;
    int role;
    for (role = 0; role < BL_N_ROLES; role++) per += bl_roles[role].block && bl_has_role(c, (bl_role)role);
    if (i == 0) return bl_param_of(c, BL_ROLE_EMBED, -1, out);
    if (i == 1 + per * (size_t)c->n_layers) return bl_param_of(c, BL_ROLE_NORM, -1, out);
    if (i > per * (size_t)c->n_layers)
        return i == 2 + per * (size_t)c->n_layers && bl_param_of(c, BL_ROLE_HEAD, -1, out);
    k = (i - 1) % per;
    for (role = 0; role < BL_N_ROLES; role++)
        if (bl_roles[role].block && bl_has_role(c, (bl_role)role) && k-- == 0) break;
    return bl_param_of(c, (bl_role)role, (int64_t)((i - 1) / per), out);
}
