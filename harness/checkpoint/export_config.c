/* export_config.c - config.json of a directory for other programs. */
#include "export.h"
#include <string.h>

static void put_rope(bl_json_out *j, const bl_config *c)
{
    bl_json_add_real(j, "rope_theta", c->rope_theta);
    if (c->rope == BL_ROPE_PLAIN) return;
    bl_json_object(j, "rope_scaling");
    bl_json_add_str(j, "rope_type", bl_rope_names[c->rope]);
    bl_json_add_real(j, "factor", c->rope_factor);
    if (c->rope == BL_ROPE_LLAMA3) {
        bl_json_add_real(j, "low_freq_factor", c->rope_low);
        bl_json_add_real(j, "high_freq_factor", c->rope_high);
    }
    if (c->rope == BL_ROPE_YARN) {
        bl_json_add_real(j, "beta_slow", c->rope_low);
        bl_json_add_real(j, "beta_fast", c->rope_high);
        bl_json_add_real(j, "attention_factor", c->rope_attention);
        bl_json_add_bool(j, "truncate", !c->rope_exact);
    }
    if (c->rope == BL_ROPE_LLAMA3 || c->rope == BL_ROPE_YARN)
        bl_json_add_int(j, "original_max_position_embeddings", c->rope_original);
    bl_json_end(j);
}

static void put_window(bl_json_out *j, const bl_config *c)
{
    if (c->arch->window == BL_WINDOW_NEVER) return;
    if (c->window) bl_json_add_int(j, "sliding_window", c->window);
    else bl_json_add_str(j, "sliding_window", NULL);
    if (c->arch->window == BL_WINDOW_ALWAYS) return;
    bl_json_add_bool(j, "use_sliding_window", c->window > 0);
    bl_json_add_int(j, "max_window_layers", c->window ? 0 : c->n_layers);
}

static void put_gptq(bl_json_out *j, const bl_packing *p)
{
    const char *format = bl_packing_names[p->kind];
    bl_json_add_int(j, "bits", p->bits);
    bl_json_add_int(j, "group_size", p->group);
    bl_json_add_bool(j, "desc_act", p->ordered);
    bl_json_add_bool(j, "sym", p->symmetric);
    bl_json_add_bool(j, "lm_head", false);
    bl_json_add_str(j, "method", "gptq");
    bl_json_add_str(j, "quant_method", "gptq");
    bl_json_add_str(j, "format", format);
    bl_json_add_str(j, "checkpoint_format", format);
    bl_json_add_str(j, "pack_dtype", "int32");
    bl_json_object(j, "meta");
    bl_json_array(j, "quantizer");
    bl_json_add_str(j, NULL, "bitladder:" BL_VERSION);
    /* GPTQModel reads zero points of format 1 only from files that name the version of itself whose way of storing them
     * they have; it is the way of packed.h. */
    if (p->kind == BL_PACKED_GPTQ && !p->symmetric) bl_json_add_str(j, NULL, "gptqmodel:0.9.0");
    bl_json_end(j);
    bl_json_end(j);
}

static void put_awq(bl_json_out *j, const bl_packing *p)
{
    bl_json_add_int(j, "bits", p->bits);
    bl_json_add_int(j, "group_size", p->group);
    bl_json_add_bool(j, "zero_point", !p->symmetric);
    bl_json_add_str(j, "version", "gemm");
    bl_json_add_str(j, "method", "awq");
    bl_json_add_str(j, "quant_method", "awq");
    bl_json_add_str(j, "format", "gemm");
    bl_json_add_str(j, "checkpoint_format", "gemm");
    bl_json_array(j, "modules_to_not_convert");
    bl_json_add_str(j, NULL, "lm_head");
    bl_json_end(j);
}

static void put_ct(bl_json_out *j, const bl_packing *p)
{
    bl_json_add_str(j, "quant_method", "compressed-tensors");
    bl_json_add_str(j, "format", "pack-quantized");
    bl_json_add_str(j, "quantization_status", "compressed");
    bl_json_object(j, "config_groups");
    bl_json_object(j, "group_0");
    bl_json_array(j, "targets");
    bl_json_add_str(j, NULL, "Linear");
    bl_json_end(j);
    bl_json_object(j, "weights");
    bl_json_add_int(j, "num_bits", p->bits);
    bl_json_add_str(j, "type", "int");
    bl_json_add_bool(j, "symmetric", p->symmetric);
    bl_json_add_str(j, "strategy", p->group < 0 ? "channel" : "group");
    if (p->group > 0) bl_json_add_int(j, "group_size", p->group);
    bl_json_add_bool(j, "dynamic", false);
    bl_json_end(j);
    bl_json_end(j);
    bl_json_end(j);
    bl_json_array(j, "ignore");
    bl_json_add_str(j, NULL, "lm_head");
    bl_json_end(j);
}

/* Biases are switched on for all linears of attention, or of the MLP, in all blocks. */
static bl_status check_roles(const bl_checkpoint *c, bool *attention, bool *mlp, bl_err *e)
{
    const bl_config *o = bl_checkpoint_config(c);
    bl_param s;
    uint32_t extra = o->roles & ~o->arch->has;
    *attention = extra & BL_ROLES_ATTENTION_BIAS;
    *mlp = extra & BL_ROLES_MLP_BIAS;
    uint32_t said = (*attention ? BL_ROLES_ATTENTION_BIAS & o->arch->may : 0) |
                    (*mlp ? BL_ROLES_MLP_BIAS & o->arch->may : 0);
    for (size_t i = 0; bl_param_at(o, i, &s); i++)
        if (!bl_checkpoint_find(c, s.name)) said = 0;
    if (extra == said) return BL_OK;
    return bl_fail(e, BL_E_UNSUPPORTED,
                   "%s: some linears have a bias and others none; config.json of a %s says all or none",
                   bl_checkpoint_path(c), o->arch->name);
}

bl_status bl_export_config(const bl_checkpoint *c, const bl_packing *p, const char *dtype, bl_text *out, bl_err *e)
{
    const bl_config *o = bl_checkpoint_config(c);
    bool attention, mlp;
    bl_status st = check_roles(c, &attention, &mlp, e);
    if (st != BL_OK) return st;
    if (o->turned_keys)
        return bl_fail(e, BL_E_UNSUPPORTED, "%s: its keys are turned by a Hadamard matrix, which no config.json says",
                       bl_checkpoint_path(c));
    bl_json_out j = {.t = out};
    bl_json_object(&j, NULL);
    bl_json_array(&j, "architectures");
    bl_json_add_str(&j, NULL, o->arch->hf_class);
    bl_json_end(&j);
    bl_json_add_str(&j, "model_type", o->arch->hf_type);
    bl_json_add_int(&j, "hidden_size", o->dim);
    bl_json_add_int(&j, "intermediate_size", o->ffn_dim);
    bl_json_add_int(&j, "num_hidden_layers", o->n_layers);
    bl_json_add_int(&j, "num_attention_heads", o->n_heads);
    bl_json_add_int(&j, "num_key_value_heads", o->n_kv_heads);
    bl_json_add_int(&j, "head_dim", o->head_dim);
    bl_json_add_int(&j, "vocab_size", o->vocab);
    bl_json_add_int(&j, "max_position_embeddings", o->max_len);
    bl_json_add_real(&j, "rms_norm_eps", o->eps);
    bl_json_add_str(&j, "hidden_act", "silu");
    bl_json_add_bool(&j, "tie_word_embeddings", o->tied);
    if (o->arch->may & BL_ROLES_ATTENTION_BIAS) bl_json_add_bool(&j, "attention_bias", attention);
    if (o->arch->may & BL_ROLES_MLP_BIAS) bl_json_add_bool(&j, "mlp_bias", mlp);
    if (o->bos >= 0) bl_json_add_int(&j, "bos_token_id", o->bos);
    if (o->eos >= 0) bl_json_add_int(&j, "eos_token_id", o->eos);
    put_rope(&j, o);
    put_window(&j, o);
    bl_json_add_str(&j, "torch_dtype", dtype);
    if (p->kind) {
        bl_json_object(&j, "quantization_config");
        if (p->kind == BL_PACKED_AWQ) put_awq(&j, p);
        else if (p->kind == BL_PACKED_CT) put_ct(&j, p);
        else put_gptq(&j, p);
        bl_json_end(&j);
    }
    bl_json_end(&j);
    bl_text_add(out, "\n");
    return bl_text_check(out, e);
}
