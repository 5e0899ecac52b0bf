/* gguf_model.c - a LLaMA out of a GGUF file: llama.* keys, blk.N.* tensors, rotary rows in adjacent pairs.
 *
 * Files converted from LLaMA 3.1 and later carry their rotary scaling as a tensor of divisors, rope_freqs.weight; the
 * parameters behind it are found again by computing the divisors they would give.
 */
#include "gguf.h"
#include "checkpoint_impl.h"
#include <inttypes.h>
#include <math.h>

/* llama.* keys whose meaning is known here; any other could change what the model computes. */
static const char *const known[] = {
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.layer_norm_rms_epsilon",
    "attention.key_length",
    "attention.value_length",
    "attention.causal",
    "rope.freq_base",
    "rope.dimension_count",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "rope.scale_linear",
    "vocab_size",
    "expert_count",
    "expert_used_count",
    "tensor_data_layout",
    NULL,
};

static bl_status required(const bl_gguf *g, const char *key, int64_t *out, bl_err *e)
{
    bl_status st = bl_gguf_int(g, key, out, e);
    if (st != BL_E_MISSING) return st;
    if (e) e->status = BL_E_FORMAT;
    return BL_E_FORMAT; /* the sentence stays */
}

static bl_status optional(const bl_gguf *g, const char *key, int64_t *io, bl_err *e)
{
    return bl_gguf_find(g, key) ? bl_gguf_int(g, key, io, e) : BL_OK;
}

static bl_status optional_real(const bl_gguf *g, const char *key, double *io, bl_err *e)
{
    return bl_gguf_find(g, key) ? bl_gguf_real(g, key, io, e) : BL_OK;
}

static bl_status refuse_unknown(const bl_gguf *g, const char *file, bl_err *e)
{
    for (size_t i = 0; i < bl_gguf_count(g); i++) {
        const char *key = bl_gguf_at(g, i)->key;
        if (strncmp(key, "llama.", 6)) continue;
        size_t k = 0;
        while (known[k] && strcmp(known[k], key + 6)) k++;
        if (!known[k])
            return bl_fail(e, BL_E_FORMAT, "%s: key '%s' is not known and could change what the model computes", file,
                           key);
    }
    return BL_OK;
}

static bl_status architecture(bl_checkpoint *c, const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    const char *arch;
    int64_t splits = 1;
    if (!bl_gguf_find(c->gguf, "general.architecture"))
        return bl_fail(e, BL_E_FORMAT, "%s: key 'general.architecture' is missing", file);
    BL_TRY(bl_gguf_text(c->gguf, "general.architecture", c->arena, &arch, e));
    c->config.arch = bl_arch_find("llama");
    c->config.roles = c->config.arch->has;
    if (strcmp(arch, "llama"))
        return bl_fail(e, BL_E_FORMAT, "%s: architecture '%s' is not read; llama is", file, arch);
    BL_TRY(optional(c->gguf, "split.count", &splits, e));
    if (splits > 1)
        return bl_fail(e, BL_E_FORMAT,
                       "%s: one of %" PRId64 " parts of a split file; join them with gguf-split --merge", file, splits);
    BL_TRY(refuse_unknown(c->gguf, file, e));
out:
    return st;
}

static bl_status scaling(bl_checkpoint *c, const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_gguf *g = c->gguf;
    bl_config *o = &c->config;
    const char *type = "none";
    double factor = 1;
    if (bl_gguf_find(g, "llama.rope.scaling.type"))
        BL_TRY(bl_gguf_text(g, "llama.rope.scaling.type", c->arena, &type, e));
    BL_TRY(optional_real(g, "llama.rope.scale_linear", &factor, e));
    if (bl_gguf_find(g, "llama.rope.scale_linear") && factor != 1) type = "linear";
    BL_TRY(optional_real(g, "llama.rope.scaling.factor", &factor, e));
    if (!strcmp(type, "linear")) {
        o->rope = BL_ROPE_LINEAR;
        o->rope_factor = factor;
    } else if (strcmp(type, "none")) {
        return bl_fail(e, BL_E_FORMAT, "%s: rope scaling '%s' is not read; none, linear and LLaMA-3.1's are", file,
                       type);
    }
out:
    return st;
}

/* The divisor of frequency i that LLaMA 3.1's rule gives. */
static double divisor(const bl_config *c, int64_t i)
{
    double freq = pow(c->rope_theta, -2.0 * (double)i / (double)c->head_dim),
           wavelen = 2 * 3.14159265358979323846 / freq;
    double turns = (double)c->rope_original / wavelen;
    if (turns > c->rope_high) return 1;
    if (turns < c->rope_low) return c->rope_factor;
    double smooth = (turns - c->rope_low) / (c->rope_high - c->rope_low);
    return 1 / ((1 - smooth) / c->rope_factor + smooth);
}

/* Finds the LLaMA-3.1 parameters behind rope_freqs.weight. */
static bl_status divisors(bl_checkpoint *c, bl_gguf_tensor *t, const char *file, bl_err *e)
{
    bl_config *o = &c->config;
    const uint8_t *p = c->map[0].data + t->offset;
    int64_t n = o->head_dim / 2;
    static const struct {
        double low, high;
        int64_t original;
    } sets[] = {{1, 4, 8192}, {1, 4, 4096}, {1, 4, 16384}, {1, 4, 32768}};

    t->used = true;
    if (t->ndim != 1 || t->dim[0] != (uint64_t)n || strcmp(t->format->name, "fp32"))
        return bl_fail(e, BL_E_FORMAT, "%s: tensor 'rope_freqs.weight' has %" PRIu64 " %s, expected %" PRId64 " fp32",
                       file, t->dim[0], t->format->name, n);
    if (o->rope != BL_ROPE_PLAIN)
        return bl_fail(e, BL_E_FORMAT, "%s: has linear rope scaling and rope_freqs.weight at once", file);
    float most = 1, f;
    bool plain = true;
    for (int64_t i = 0; i < n; i++) {
        memcpy(&f, p + 4 * i, 4);
        if (!(f >= 1 && f <= 1e6f))
            return bl_fail(e, BL_E_FORMAT, "%s: rope_freqs.weight[%" PRId64 "] is %g, expected 1 to 1e6", file, i,
                           (double)f);
        most = f > most ? f : most;
        plain = plain && f == 1;
    }
    if (plain) return BL_OK;
    for (size_t s = 0; s < BL_COUNT(sets); s++) {
        bl_config try = *o;
        bool fits = true;
        try.rope = BL_ROPE_LLAMA3;
        try.rope_factor = most;
        try.rope_low = sets[s].low;
        try.rope_high = sets[s].high;
        try.rope_original = sets[s].original;
        for (int64_t i = 0; i < n && fits; i++) {
            memcpy(&f, p + 4 * i, 4);
            fits = fabs(f - divisor(&try, i)) <= 1e-3 * f;
        }
        if (fits) {
            *o = try;
            return BL_OK;
        }
    }
    return bl_fail(e, BL_E_FORMAT, "%s: rope_freqs.weight is not LLaMA-3.1's rotary scaling; no other is read", file);
}

static bl_status shape(bl_checkpoint *c, const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_gguf *g = c->gguf;
    bl_config *o = &c->config;
    int64_t experts = 0, value, rotary, tokens;
    BL_TRY(optional(g, "llama.expert_count", &experts, e));
    if (experts)
        return bl_fail(e, BL_E_FORMAT, "%s: mixture of %" PRId64 " experts; only dense models are read", file, experts);
    BL_TRY(required(g, "llama.embedding_length", &o->dim, e));
    BL_TRY(required(g, "llama.feed_forward_length", &o->ffn_dim, e));
    BL_TRY(required(g, "llama.block_count", &o->n_layers, e));
    BL_TRY(required(g, "llama.attention.head_count", &o->n_heads, e));
    BL_TRY(required(g, "llama.context_length", &o->max_len, e));
    o->n_kv_heads = o->n_heads;
    BL_TRY(optional(g, "llama.attention.head_count_kv", &o->n_kv_heads, e));
    o->head_dim = o->n_heads > 0 && o->dim >= o->n_heads ? o->dim / o->n_heads : 1;
    BL_TRY(optional(g, "llama.attention.key_length", &o->head_dim, e));
    value = rotary = o->head_dim;
    BL_TRY(optional(g, "llama.attention.value_length", &value, e));
    BL_TRY(optional(g, "llama.rope.dimension_count", &rotary, e));
    if (value != o->head_dim)
        return bl_fail(e, BL_E_FORMAT, "%s: value_length %" PRId64 " differs from key_length %" PRId64, file, value,
                       o->head_dim);
    if (rotary != o->head_dim)
        return bl_fail(e, BL_E_FORMAT,
                       "%s: rope.dimension_count %" PRId64 " differs from the head size %" PRId64 " (partial rotary)",
                       file, rotary, o->head_dim);
    if (!bl_gguf_find(g, "llama.attention.layer_norm_rms_epsilon"))
        return bl_fail(e, BL_E_FORMAT, "%s: key 'llama.attention.layer_norm_rms_epsilon' is missing", file);
    BL_TRY(bl_gguf_real(g, "llama.attention.layer_norm_rms_epsilon", &o->eps, e));
    o->rope_theta = 10000;
    BL_TRY(optional_real(g, "llama.rope.freq_base", &o->rope_theta, e));
    BL_TRY(scaling(c, file, e));
    o->bos = o->eos = -1;
    BL_TRY(optional(g, "tokenizer.ggml.bos_token_id", &o->bos, e));
    BL_TRY(optional(g, "tokenizer.ggml.eos_token_id", &o->eos, e));

    bl_gguf_tensor *embed = bl_gguf_tensor_find(c->gguf, "token_embd.weight");
    if (!embed) return bl_fail(e, BL_E_FORMAT, "%s: tensor 'token_embd.weight' is missing", file);
    o->vocab = embed->ndim == 2 ? (int64_t)embed->dim[1] : 0;
    tokens = o->vocab;
    BL_TRY(optional(g, "llama.vocab_size", &tokens, e));
    if (tokens != o->vocab)
        return bl_fail(e, BL_E_FORMAT, "%s: vocab_size is %" PRId64 ", token_embd.weight has %" PRId64 " rows", file,
                       tokens, o->vocab);
    o->tied = !bl_gguf_tensor_find(c->gguf, "output.weight");
    BL_TRY(bl_config_check(o, file, e));
out:
    return st;
}

bl_status bl_read_gguf(bl_checkpoint *c, bl_err *e)
{
    bl_status st = BL_OK;
    const char *file = c->map[0].path;
    bl_param s;

    BL_TRY(bl_gguf_parse(c->map[0].data, c->map[0].size, file, &c->gguf, e));
    BL_TRY(architecture(c, file, e));
    BL_TRY(shape(c, file, e));
    bl_gguf_tensor *freqs = bl_gguf_tensor_find(c->gguf, "rope_freqs.weight");
    if (freqs) BL_TRY(divisors(c, freqs, file, e));
    for (size_t i = 0; bl_param_at(&c->config, i, &s); i++) {
        bl_gguf_tensor *t = bl_gguf_tensor_find(c->gguf, s.gguf);
        if (!t) {
            st = bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is missing", file, s.gguf);
            goto out;
        }
        bool fits = s.vector ? t->ndim == 1 && t->dim[0] == (uint64_t)s.in
                             : t->ndim == 2 && t->dim[0] == (uint64_t)s.in && t->dim[1] == (uint64_t)s.out;
        if (!fits) {
            st = bl_fail(e, BL_E_FORMAT,
                         "%s: tensor '%s' has %d dimensions [%" PRIu64 ", %" PRIu64 "], expected [%" PRId64 ", %" PRId64
                         "]",
                         file, s.gguf, t->ndim, t->dim[0], t->ndim > 1 ? t->dim[1] : 1, s.in, s.out);
            goto out;
        }
        t->used = true;
        bl_stored w = bl_stored_whole(&s, t->format, 0, t->offset, t->bytes);
        if (c->config.arch->gguf_rotary == BL_ROTARY_PAIRS) w.rotary_heads = s.rotary_heads;
        BL_TRY(bl_checkpoint_put(c, &w, e));
    }
    for (size_t i = 0; i < bl_gguf_tensor_count(c->gguf); i++) {
        const bl_gguf_tensor *t = bl_gguf_tensor_at(c->gguf, i);
        if (!t->used) {
            st = bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is not part of a LLaMA", file, t->name);
            goto out;
        }
    }
out:
    return st;
}
