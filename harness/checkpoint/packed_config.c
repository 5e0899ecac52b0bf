/* packed_config.c - 'quantization_config' of config.json: which of the packed layouts a directory has. */
#include "packed.h"
#include "kernels/base/json.h"
#include <inttypes.h>
#include <string.h>
#include <strings.h>

const char *const bl_packing_names[] = {"none", "gptq", "gptq_v2", "awq", "compressed-tensors", NULL};

void bl_packing_text(const bl_packing *p, char out[64])
{
    int n = snprintf(out, 64, "%s w%d", bl_packing_names[p->kind], p->bits);
    if (p->group < 0) snprintf(out + n, 64 - (size_t)n, "pc");
    else snprintf(out + n, 64 - (size_t)n, "g%" PRId64, p->group);
}

typedef struct reading {
    const char *file;
    const bl_json *q;
    bl_packing p;
} reading;

static bool given(const bl_json *v) { return v && bl_json_kind(v) != BL_JSON_NULL; }

/* Nothing, null, false, or an empty list or object. */
static bool is_nothing(const bl_json *v)
{
    bool on;
    if (!given(v)) return true;
    if (bl_json_kind(v) == BL_JSON_ARRAY || bl_json_kind(v) == BL_JSON_OBJECT) return bl_json_size(v) == 0;
    return bl_json_bool(v, &on, NULL) == BL_OK && !on;
}

static bl_status refuse(const reading *r, const bl_json *v, const char *expected, bl_err *e)
{
    bl_text t = {0};
    bl_json_put_node(&t, v);
    bl_fail(e, BL_E_FORMAT, "%s: '%s' of the quantization_config is %.80s, expected %s", r->file, bl_json_key(v),
            t.s ? t.s : "?", expected);
    bl_text_free(&t);
    return BL_E_FORMAT;
}

/* Every key of `o` is known, and those of `off` say nothing. */
static bl_status only(const reading *r, const bl_json *o, const char *const *known, const char *const *off, bl_err *e)
{
    for (const bl_json *v = bl_json_first(o); v; v = bl_json_next(v)) {
        size_t k = 0, n = 0;
        while (known[k] && strcmp(known[k], bl_json_key(v))) k++;
        if (known[k]) continue;
        while (off[n] && strcmp(off[n], bl_json_key(v))) n++;
        if (!off[n])
            return bl_fail(e, BL_E_FORMAT,
                           "%s: key '%s' of the quantization_config is not known and could change what the weights are",
                           r->file, bl_json_key(v));
        if (!is_nothing(v)) return refuse(r, v, "nothing", e);
    }
    return BL_OK;
}

/* The value of the first of two spellings that is there, which say the same; NULL: neither is. */
static bl_status text(const reading *r, const char *a, const char *b, const char **out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *x = bl_json_get(r->q, a), *y = bl_json_get(r->q, b);
    const char *s = NULL, *t = NULL;
    if (given(x)) BL_TRY(bl_json_str(x, &s, e));
    if (given(y)) BL_TRY(bl_json_str(y, &t, e));
    if (s && t && strcmp(s, t))
        return bl_fail(e, BL_E_FORMAT, "%s: the quantization_config says %s '%s' and %s '%s'", r->file, a, s, b, t);
    *out = s ? s : t;
out:
    return st;
}

static bl_status width(reading *r, const bl_json *o, const char *bits, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t b;
    BL_TRY(bl_json_get_int(o, bits, &b, e));
    if (b < 1 || b > 8) return refuse(r, bl_json_get(o, bits), "1 to 8", e);
    r->p.bits = (int)b;
out:
    return st;
}

static bl_status group(reading *r, const bl_json *o, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(bl_json_get_int(o, "group_size", &r->p.group, e));
    if (r->p.group < 1 && r->p.group != -1) return refuse(r, bl_json_get(o, "group_size"), "-1 or at least 1", e);
out:
    return st;
}

static bl_status gptq(reading *r, bl_err *e)
{
    /* What says how the codes were found changes nothing about what they are. desc_act is what g_idx says. */
    static const char *const known[] = {"bits",
                                        "group_size",
                                        "desc_act",
                                        "act_group_aware",
                                        "sym",
                                        "method",
                                        "quant_method",
                                        "format",
                                        "checkpoint_format",
                                        "pack_dtype",
                                        "meta",
                                        "damp_percent",
                                        "damp_auto_increment",
                                        "static_groups",
                                        "true_sequential",
                                        "mse",
                                        "model_name_or_path",
                                        "model_file_base_name",
                                        "quantizer",
                                        "dataset",
                                        "tokenizer",
                                        "batch_size",
                                        "model_seqlen",
                                        "block_name_to_quantize",
                                        "module_name_preceding_first_block",
                                        "modules_in_block_to_quantize",
                                        "cache_block_outputs",
                                        "pad_token_id",
                                        "use_cuda_fp16",
                                        "use_exllama",
                                        "disable_exllama",
                                        "exllama_config",
                                        "max_input_length",
                                        "backend",
                                        "lm_head",
                                        NULL};
    static const char *const off[] = {"is_marlin_format", "dynamic", "adapter", "rotation", NULL};
    bl_status st = BL_OK;
    const char *format, *words = "int32";
    BL_TRY(only(r, r->q, known, off, e));
    BL_TRY(text(r, "checkpoint_format", "format", &format, e));
    if (!format || !strcmp(format, "gptq")) r->p.kind = BL_PACKED_GPTQ;
    else if (!strcmp(format, "gptq_v2")) r->p.kind = BL_PACKED_GPTQ_V2;
    else
        return bl_fail(e, BL_E_FORMAT, "%s: a gptq checkpoint of format '%s' is not read; gptq and gptq_v2 are",
                       r->file, format);
    if (given(bl_json_get(r->q, "pack_dtype"))) BL_TRY(bl_json_get_str(r->q, "pack_dtype", &words, e));
    if (strcmp(words, "int32")) return refuse(r, bl_json_get(r->q, "pack_dtype"), "int32", e);
    BL_TRY(width(r, r->q, "bits", e));
    if (r->p.bits != 2 && r->p.bits != 3 && r->p.bits != 4 && r->p.bits != 8)
        return refuse(r, bl_json_get(r->q, "bits"), "2, 3, 4 or 8", e);
    BL_TRY(group(r, r->q, e));
    BL_TRY(bl_json_get_bool(r->q, "sym", &r->p.symmetric, e));
out:
    return st;
}

static bl_status awq(reading *r, bl_err *e)
{
    static const char *const known[] = {"bits",
                                        "group_size",
                                        "zero_point",
                                        "version",
                                        "method",
                                        "quant_method",
                                        "format",
                                        "checkpoint_format",
                                        "pack_dtype",
                                        "meta",
                                        "sym",
                                        "desc_act",
                                        "lm_head",
                                        "modules_to_not_convert",
                                        "backend",
                                        "do_fuse",
                                        "fuse_max_seq_len",
                                        "modules_to_fuse",
                                        "exllama_config",
                                        "q_group_size",
                                        "w_bit",
                                        NULL};
    static const char *const off[] = {"dynamic", "adapter", "rotation", NULL};
    bl_status st = BL_OK;
    const char *format = NULL, *version = NULL;
    bool zeros = true;
    BL_TRY(only(r, r->q, known, off, e));
    BL_TRY(text(r, "checkpoint_format", "format", &format, e));
    BL_TRY(text(r, "version", "version", &version, e));
    if ((format && strcasecmp(format, "gemm")) || (version && strcasecmp(version, "gemm")))
        return bl_fail(e, BL_E_FORMAT, "%s: an awq checkpoint of version '%s' is not read; gemm is", r->file,
                       format && strcasecmp(format, "gemm") ? format : version);
    BL_TRY(width(r, r->q, "bits", e));
    if (r->p.bits != 4) return refuse(r, bl_json_get(r->q, "bits"), "4", e);
    BL_TRY(group(r, r->q, e));
    if (given(bl_json_get(r->q, "zero_point"))) BL_TRY(bl_json_get_bool(r->q, "zero_point", &zeros, e));
    r->p.kind = BL_PACKED_AWQ;
    r->p.symmetric = !zeros;
out:
    return st;
}

static bl_status ct_weights(reading *r, const bl_json *w, bl_err *e)
{
    static const char *const known[] = {"num_bits",        "type",        "symmetric", "strategy",
                                        "group_size",      "dynamic",     "observer",  "actorder",
                                        "observer_kwargs", "scale_dtype", "zp_dtype",  NULL};
    static const char *const off[] = {"block_structure", NULL};
    bl_status st = BL_OK;
    const char *type, *strategy;
    BL_TRY(only(r, w, known, off, e));
    if (!is_nothing(bl_json_get(w, "dynamic"))) return refuse(r, bl_json_get(w, "dynamic"), "false", e);
    BL_TRY(width(r, w, "num_bits", e));
    BL_TRY(bl_json_get_str(w, "type", &type, e));
    BL_TRY(bl_json_get_str(w, "strategy", &strategy, e));
    BL_TRY(bl_json_get_bool(w, "symmetric", &r->p.symmetric, e));
    if (strcmp(type, "int")) return refuse(r, bl_json_get(w, "type"), "int", e);
    r->p.group = -1;
    if (!strcmp(strategy, "group")) BL_TRY(group(r, w, e));
    else if (strcmp(strategy, "channel")) return refuse(r, bl_json_get(w, "strategy"), "group or channel", e);
out:
    return st;
}

static bl_status compressed_tensors(reading *r, bl_err *e)
{
    static const char *const known[] = {
        "config_groups", "format", "global_compression_ratio", "ignore", "quant_method", "quantization_status",
        "version",       NULL};
    static const char *const off[] = {"kv_cache_scheme", "sparsity_config", "transform_config", NULL};
    static const char *const of_group[] = {"targets", "weights", "format", NULL};
    static const char *const not_of_group[] = {"input_activations", "output_activations", NULL};
    bl_status st = BL_OK;
    const char *format, *status = "compressed";
    const bl_json *groups, *weights;
    BL_TRY(only(r, r->q, known, off, e));
    BL_TRY(bl_json_get_str(r->q, "format", &format, e));
    if (strcmp(format, "pack-quantized")) return refuse(r, bl_json_get(r->q, "format"), "pack-quantized", e);
    if (given(bl_json_get(r->q, "quantization_status")))
        BL_TRY(bl_json_get_str(r->q, "quantization_status", &status, e));
    if (strcmp(status, "compressed")) return refuse(r, bl_json_get(r->q, "quantization_status"), "compressed", e);
    BL_TRY(bl_json_need(r->q, "config_groups", &groups, e));
    if (bl_json_kind(groups) != BL_JSON_OBJECT || bl_json_size(groups) != 1)
        return refuse(r, groups, "an object of one group", e);
    BL_TRY(only(r, bl_json_first(groups), of_group, not_of_group, e));
    BL_TRY(bl_json_need(bl_json_first(groups), "weights", &weights, e));
    if (bl_json_kind(weights) != BL_JSON_OBJECT) return refuse(r, weights, "an object", e);
    BL_TRY(ct_weights(r, weights, e));
    r->p.kind = BL_PACKED_CT;
out:
    return st;
}

static bl_status unknown(const reading *r, bl_err *e)
{
    const char *kind;
    if (bl_json_str(bl_json_get(r->q, "quant_method"), &kind, NULL) != BL_OK) kind = "without a quant_method";
    return bl_fail(
        e, BL_E_FORMAT,
        "%s: quantization_config of kind '%s' is not read; gptq, awq and compressed-tensors are, or give the "
        "unquantized checkpoint or a GGUF file",
        r->file, kind);
}

bl_status bl_packing_read(const char *config, bl_packing *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_json *j = NULL;
    const char *kind = "";
    reading r = {.file = config};
    BL_TRY(bl_json_read(config, 16 << 20, BL_JSON_PLAIN, &j, e));
    r.q = bl_json_get(j, "quantization_config");
    if (!given(r.q)) r.q = bl_json_get(j, "compression_config");
    if (!given(r.q)) {
        *out = r.p;
        goto out;
    }
    (void)bl_json_str(bl_json_get(r.q, "quant_method"), &kind, NULL);
    st = !strcmp(kind, "gptq")                 ? gptq(&r, e)
         : !strcmp(kind, "awq")                ? awq(&r, e)
         : !strcmp(kind, "compressed-tensors") ? compressed_tensors(&r, e)
                                               : unknown(&r, e);
    if (st != BL_OK) goto out;
    *out = r.p;
out:
    bl_json_free(j);
    return st;
}
