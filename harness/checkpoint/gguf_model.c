/* gguf_model.c - a model out of a GGUF file: keys with the architecture's prefix, tensors by the names of its roles.
 *
 * Files converted from LLaMA 3.1 and later carry their rotary scaling as a tensor of divisors, rope_freqs.weight; the
 * parameters it was made from are found again by computing the divisors they would give.
 *
 * A model may be split into NAME-00001-of-0000N.gguf …: the first part has all keys, each part its own tensors. What an
 * absent key means is what llama.cpp makes of it (checked with xllamacpp 2026.10.11549), but that yarn_beta_fast and
 * _slow are read, which it takes from the command line for these architectures.
 */
#include "checkpoint_impl.h"
#include <inttypes.h>
#include <math.h>

enum { MAX_SPLITS = 512 };

typedef struct part {
    bl_gguf *g;
    int file;
} part;
typedef struct reader {
    bl_checkpoint *c;
    const bl_gguf *g; /* of the first part */
    const char *file; /* its path */
    part *part;
    int64_t n_parts;
    char key[128];
} reader;

/* Keys after the prefix whose meaning is known here; any other could change what the model computes. */
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
    "attention.sliding_window",
    "rope.freq_base",
    "rope.dimension_count",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.attn_factor",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scale_linear",
    "vocab_size",
    "expert_count",
    "expert_used_count",
    "tensor_data_layout",
    NULL,
};

/* ---- keys ---- */
static const char *key(reader *r, const char *name)
{
    snprintf(r->key, sizeof r->key, "%s.%s", r->c->config.arch->gguf, name);
    return r->key;
}
static bool has(reader *r, const char *name) { return bl_gguf_find(r->g, key(r, name)) != NULL; }

static bl_status required(bl_status st, bl_err *e)
{
    if (st != BL_E_MISSING) return st;
    if (e) e->status = BL_E_FORMAT;
    return BL_E_FORMAT; /* the sentence stays */
}

static bl_status whole(reader *r, const char *name, int64_t *out, bl_err *e)
{
    return required(bl_gguf_int(r->g, key(r, name), out, e), e);
}
/* One number, or the same for every layer. */
static bl_status each(reader *r, const char *name, int64_t *out, bl_err *e)
{
    return required(bl_gguf_int_each(r->g, key(r, name), r->c->config.n_layers, out, e), e);
}
static bl_status optional(reader *r, const char *name, int64_t *io, bl_err *e)
{
    return has(r, name) ? whole(r, name, io, e) : BL_OK;
}
static bl_status optional_real(reader *r, const char *name, double *io, bl_err *e)
{
    return has(r, name) ? bl_gguf_real(r->g, key(r, name), io, e) : BL_OK;
}

static bl_status refuse_unknown(reader *r, bl_err *e)
{
    size_t n = strlen(key(r, ""));
    for (size_t i = 0; i < bl_gguf_count(r->g); i++) {
        const char *name = bl_gguf_at(r->g, i)->key;
        if (strncmp(name, r->key, n)) continue;
        size_t k = 0;
        while (known[k] && strcmp(known[k], name + n)) k++;
        if (!known[k])
            return bl_fail(e, BL_E_FORMAT, "%s: key '%s' is not known and could change what the model computes",
                           r->file, name);
    }
    return BL_OK;
}

static bl_status architecture(reader *r, bl_err *e)
{
    bl_status st = BL_OK;
    const char *name;
    if (!bl_gguf_find(r->g, "general.architecture"))
        return bl_fail(e, BL_E_FORMAT, "%s: key 'general.architecture' is missing", r->file);
    BL_TRY(bl_gguf_text(r->g, "general.architecture", r->c->arena, &name, e));
    if (!(r->c->config.arch = bl_arch_of_gguf(name))) {
        bl_text t = {0};
        const bl_arch *a;
        for (size_t i = 0; (a = bl_arch_at(i)); i++)
            if (a == bl_arch_of_gguf(a->gguf)) bl_text_addf(&t, "%s%s", i ? ", " : "", a->gguf);
        st = bl_fail(e, BL_E_FORMAT, "%s: architecture '%s' is not read; these are: %s", r->file, name, t.s ? t.s : "");
        bl_text_free(&t);
        goto out;
    }
    BL_TRY(refuse_unknown(r, e));
out:
    return st;
}

/* ---- parts ---- */
static bl_status split_int(const bl_gguf *g, const char *name, int64_t *io, bl_err *e)
{
    return bl_gguf_find(g, name) ? bl_gguf_int(g, name, io, e) : BL_OK;
}

/* Path of part i: the first part's with its number replaced. */
static bl_status part_path(const reader *r, int64_t i, int64_t of, char **out, bl_err *e)
{
    char tail[64];
    size_t n = strlen(r->file);
    snprintf(tail, sizeof tail, "-%05d-of-%05" PRId64 ".gguf", 1, of);
    size_t k = strlen(tail);
    if (n <= k || strcmp(r->file + n - k, tail))
        return bl_fail(e, BL_E_FORMAT,
                       "%s: the first of %" PRId64 " parts, whose name does not end in %s, so the others are not found",
                       r->file, of, tail);
    snprintf(tail, sizeof tail, "-%05" PRId64 "-of-%05" PRId64 ".gguf", i + 1, of);
    *out = bl_format_text(e, "%.*s%s", (int)(n - k), r->file, tail);
    return *out ? BL_OK : BL_E_NOMEM;
}

static bl_status open_part(reader *r, int64_t i, bl_err *e)
{
    bl_status st = BL_OK;
    char *path = NULL;
    int64_t no = -1, count = -1;
    part *p = &r->part[i];
    BL_TRY(part_path(r, i, r->n_parts, &path, e));
    if (!bl_exists(path)) {
        st = bl_fail(e, BL_E_FORMAT, "%s: part %" PRId64 " of %" PRId64 " is missing; it belongs beside %s", path,
                     i + 1, r->n_parts, r->file);
        goto out;
    }
    BL_TRY(bl_checkpoint_map(r->c, path, &p->file, e));
    BL_TRY(bl_gguf_parse(r->c->map[p->file].data, r->c->map[p->file].size, path, &p->g, e));
    BL_TRY(split_int(p->g, "split.no", &no, e));
    BL_TRY(split_int(p->g, "split.count", &count, e));
    if (no != i || count != r->n_parts)
        st = bl_fail(e, BL_E_FORMAT,
                     "%s: split.no is %" PRId64 " and split.count %" PRId64 ", expected %" PRId64 " and %" PRId64, path,
                     no, count, i, r->n_parts);
out:
    bl_free(path);
    return st;
}

static bl_status open_parts(reader *r, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t no = 0, tensors = 0, expected = -1;
    r->n_parts = 1;
    BL_TRY(split_int(r->g, "split.no", &no, e));
    BL_TRY(split_int(r->g, "split.count", &r->n_parts, e));
    if (no != 0)
        return bl_fail(e, BL_E_FORMAT, "%s: part %" PRId64 " of %" PRId64 " of a split model; give the first part",
                       r->file, no + 1, r->n_parts);
    if (r->n_parts < 1) r->n_parts = 1;
    if (r->n_parts > MAX_SPLITS)
        return bl_fail(e, BL_E_FORMAT, "%s: split.count is %" PRId64 ", at most %d parts are read", r->file, r->n_parts,
                       MAX_SPLITS);
    if (!(r->part = bl_new((size_t)r->n_parts, sizeof *r->part, e))) return BL_E_NOMEM;
    r->part[0].g = r->c->gguf;
    for (int64_t i = 1; i < r->n_parts; i++) BL_TRY(open_part(r, i, e));
    for (int64_t i = 0; i < r->n_parts; i++) tensors += (int64_t)bl_gguf_tensor_count(r->part[i].g);
    expected = tensors;
    BL_TRY(split_int(r->g, "split.tensors.count", &expected, e));
    if (tensors != expected)
        st = bl_fail(e, BL_E_FORMAT, "%s: split.tensors.count is %" PRId64 ", the %" PRId64 " parts hold %" PRId64,
                     r->file, expected, r->n_parts, tensors);
out:
    return st;
}

static bl_gguf_tensor *find(const reader *r, const char *name, int *file)
{
    for (int64_t i = 0; i < r->n_parts; i++) {
        bl_gguf_tensor *t = bl_gguf_tensor_find(r->part[i].g, name);
        if (!t) continue;
        *file = r->part[i].file;
        return t;
    }
    return NULL;
}

/* ---- the configuration ---- */
static bl_status yarn(reader *r, bl_err *e)
{
    bl_status st = BL_OK;
    bl_config *o = &r->c->config;
    double attention = 1;
    o->rope = BL_ROPE_YARN;
    o->rope_original = o->max_len;
    o->rope_low = 1;
    o->rope_high = 32;
    BL_TRY(optional(r, "rope.scaling.original_context_length", &o->rope_original, e));
    BL_TRY(optional_real(r, "rope.scaling.yarn_beta_slow", &o->rope_low, e));
    BL_TRY(optional_real(r, "rope.scaling.yarn_beta_fast", &o->rope_high, e));
    BL_TRY(optional_real(r, "rope.scaling.attn_factor", &attention, e));
    o->rope_attention = attention * (1 + 0.1 * log(BL_MAX(o->rope_factor, 1)));
out:
    return st;
}

/* A factor without a type is linear; type none beats every factor; a factor of 0 is none; the new key beats the old. */
static bl_status scaling(reader *r, bl_err *e)
{
    bl_status st = BL_OK;
    bl_config *o = &r->c->config;
    const char *type = "linear";
    double factor = 0, attention = 1;
    if (has(r, "rope.scaling.type")) BL_TRY(bl_gguf_text(r->g, r->key, r->c->arena, &type, e));
    BL_TRY(optional_real(r, has(r, "rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear", &factor, e));
    o->rope_factor = factor == 0 ? 1 : factor;
    if (!strcmp(type, "yarn")) return yarn(r, e);
    BL_TRY(optional_real(r, "rope.scaling.attn_factor", &attention, e));
    if (attention != 1)
        return bl_fail(e, BL_E_FORMAT, "%s: rope.scaling.attn_factor is %g without yarn; only 1 is read", r->file,
                       attention);
    if (!strcmp(type, "none")) return BL_OK;
    if (strcmp(type, "linear"))
        return bl_fail(e, BL_E_FORMAT, "%s: rope scaling '%s' is not read; none, linear, yarn and LLaMA-3.1's are",
                       r->file, type);
    if (o->rope_factor != 1) o->rope = BL_ROPE_LINEAR;
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

/* Finds the LLaMA-3.1 parameters after rope_freqs.weight. */
static bl_status divisors(bl_checkpoint *c, bl_gguf_tensor *t, int part, bl_err *e)
{
    bl_config *o = &c->config;
    const char *file = c->map[part].path;
    const uint8_t *p = c->map[part].data + t->offset;
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
        return bl_fail(e, BL_E_FORMAT, "%s: has %s rope scaling and rope_freqs.weight at once", file,
                       bl_rope_names[o->rope]);
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

static bl_status attention(reader *r, bl_err *e)
{
    bl_status st = BL_OK;
    bl_config *o = &r->c->config;
    int64_t value, rotary;
    bool causal = true;
    BL_TRY(each(r, "attention.head_count", &o->n_heads, e));
    o->n_kv_heads = o->n_heads;
    if (has(r, "attention.head_count_kv")) BL_TRY(each(r, "attention.head_count_kv", &o->n_kv_heads, e));
    o->head_dim = o->n_heads > 0 && o->dim >= o->n_heads ? o->dim / o->n_heads : 1;
    BL_TRY(optional(r, "attention.key_length", &o->head_dim, e));
    value = rotary = o->head_dim;
    BL_TRY(optional(r, "attention.value_length", &value, e));
    BL_TRY(optional(r, "rope.dimension_count", &rotary, e));
    BL_TRY(optional(r, "attention.sliding_window", &o->window, e));
    if (has(r, "attention.causal")) BL_TRY(bl_gguf_bool(r->g, r->key, &causal, e));
    if (value != o->head_dim)
        return bl_fail(e, BL_E_FORMAT, "%s: value_length %" PRId64 " differs from key_length %" PRId64, r->file, value,
                       o->head_dim);
    if (rotary != o->head_dim)
        return bl_fail(e, BL_E_FORMAT,
                       "%s: rope.dimension_count %" PRId64 " differs from the head size %" PRId64 " (partial rotary)",
                       r->file, rotary, o->head_dim);
    if (!causal)
        return bl_fail(e, BL_E_FORMAT, "%s: attention.causal is false; only causal attention is read", r->file);
out:
    return st;
}

/* What only the tensors tell: vocabulary, a head of its own, optional parameters (of the first block: of all). */
static bl_status by_tensors(reader *r, bl_err *e)
{
    bl_status st = BL_OK;
    bl_config *o = &r->c->config;
    int64_t tokens;
    int file;
    char name[64];
    const bl_gguf_tensor *embed = find(r, bl_roles[BL_ROLE_EMBED].gguf, &file);
    if (!embed) return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is missing", r->file, bl_roles[BL_ROLE_EMBED].gguf);
    o->vocab = embed->ndim == 2 ? (int64_t)embed->dim[1] : 0;
    tokens = o->vocab;
    BL_TRY(optional(r, "vocab_size", &tokens, e));
    if (tokens != o->vocab)
        return bl_fail(e, BL_E_FORMAT, "%s: vocab_size is %" PRId64 ", %s has %" PRId64 " rows", r->file, tokens,
                       embed->name, o->vocab);
    o->tied = !find(r, bl_roles[BL_ROLE_HEAD].gguf, &file);
    for (int k = 0; k < BL_N_ROLES; k++) {
        if (!(o->arch->may & BL_ROLE_BIT(k))) continue;
        snprintf(name, sizeof name, "blk.0.%s", bl_roles[k].gguf);
        if (find(r, name, &file)) o->roles |= BL_ROLE_BIT(k);
    }
out:
    return st;
}

static bl_status configuration(reader *r, bl_err *e)
{
    bl_status st = BL_OK;
    bl_config *o = &r->c->config;
    int64_t experts = 0;
    BL_TRY(optional(r, "expert_count", &experts, e));
    if (experts)
        return bl_fail(e, BL_E_FORMAT, "%s: mixture of %" PRId64 " experts; only dense models are read", r->file,
                       experts);
    o->roles = o->arch->has;
    BL_TRY(whole(r, "embedding_length", &o->dim, e));
    BL_TRY(whole(r, "block_count", &o->n_layers, e));
    BL_TRY(whole(r, "context_length", &o->max_len, e));
    BL_TRY(each(r, "feed_forward_length", &o->ffn_dim, e));
    BL_TRY(attention(r, e));
    BL_TRY(required(bl_gguf_real(r->g, key(r, "attention.layer_norm_rms_epsilon"), &o->eps, e), e));
    o->rope_theta = 10000;
    BL_TRY(optional_real(r, "rope.freq_base", &o->rope_theta, e));
    BL_TRY(scaling(r, e));
    o->bos = o->eos = -1;
    BL_TRY(split_int(r->g, "tokenizer.ggml.bos_token_id", &o->bos, e));
    BL_TRY(split_int(r->g, "tokenizer.ggml.eos_token_id", &o->eos, e));
    BL_TRY(by_tensors(r, e));
    BL_TRY(bl_config_check(o, r->file, e));
out:
    return st;
}

/* ---- parameters ---- */
static bl_status take(reader *r, const bl_param *s, bl_err *e)
{
    int file = 0;
    bl_gguf_tensor *t = find(r, s->gguf, &file);
    if (!t) return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is missing", r->file, s->gguf);
    bool fits = s->vector ? t->ndim == 1 && t->dim[0] == (uint64_t)s->in
                          : t->ndim == 2 && t->dim[0] == (uint64_t)s->in && t->dim[1] == (uint64_t)s->out;
    if (!fits)
        return bl_fail(e, BL_E_FORMAT,
                       "%s: tensor '%s' has %d dimensions [%" PRIu64 ", %" PRIu64 "], expected [%" PRId64 ", %" PRId64
                       "]",
                       r->c->map[file].path, s->gguf, t->ndim, t->dim[0], t->ndim > 1 ? t->dim[1] : 1, s->in, s->out);
    if (s->vector && t->format->kind != BL_FMT_DENSE)
        return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is a vector of type %s; F32, F16 and BF16 are read",
                       r->c->map[file].path, s->gguf, t->format->name);
    t->used = true;
    bl_stored w = bl_stored_whole(s, t->format, file, t->offset, t->bytes);
    if (r->c->config.arch->gguf_rotary == BL_ROTARY_PAIRS) w.rotary_heads = s->rotary_heads;
    return bl_checkpoint_put(r->c, &w, e);
}

static bl_status nothing_left(const reader *r, bl_err *e)
{
    for (int64_t i = 0; i < r->n_parts; i++)
        for (size_t k = 0; k < bl_gguf_tensor_count(r->part[i].g); k++) {
            const bl_gguf_tensor *t = bl_gguf_tensor_at(r->part[i].g, k);
            if (!t->used)
                return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is not part of a %s of %" PRId64 " layers",
                               r->c->map[r->part[i].file].path, t->name, r->c->config.arch->name,
                               r->c->config.n_layers);
        }
    return BL_OK;
}

bl_status bl_read_gguf(bl_checkpoint *c, bl_err *e)
{
    bl_status st = BL_OK;
    reader r = {.c = c};
    bl_param s;
    int file = 0;
    const bl_map *map = &c->map[0];

    if (!(r.file = bl_arena_str(c->arena, map->path, strlen(map->path), e))) return BL_E_NOMEM; /* the maps move */
    BL_TRY(bl_gguf_parse(map->data, map->size, r.file, &c->gguf, e));
    r.g = c->gguf;
    BL_TRY(open_parts(&r, e));
    BL_TRY(architecture(&r, e));
    BL_TRY(configuration(&r, e));
    bl_gguf_tensor *freqs = find(&r, "rope_freqs.weight", &file);
    if (freqs) BL_TRY(divisors(c, freqs, file, e));
    for (size_t i = 0; bl_param_at(&c->config, i, &s); i++) BL_TRY(take(&r, &s, e));
    BL_TRY(nothing_left(&r, e));
out:
    for (int64_t i = 1; r.part && i < r.n_parts; i++) bl_gguf_close(r.part[i].g);
    bl_free(r.part);
    return st;
}
