/* read.c - an encoder out of its directory: configuration, weights, tokenizer. */
#include "encoder_impl.h"
#include "harness/checkpoint/safetensors.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"
#include <inttypes.h>
#include <string.h>

enum { MAX_CONFIG = 1 << 20, MOST = 1 << 20 };

/* One file of the directory; *j NULL where it is not there. */
static bl_status read_json(const char *dir, const char *name, bl_json **j, bl_err *e)
{
    bl_status st = BL_OK;
    char *path = bl_join(dir, name, e), *text = NULL;
    size_t n = 0;
    *j = NULL;
    if (!path) return BL_E_NOMEM;
    if (!bl_exists(path)) goto out;
    BL_TRY(bl_read_file(path, MAX_CONFIG, &text, &n, e));
    BL_TRY(bl_json_parse(text, n, path, BL_JSON_PLAIN, j, e));
out:
    bl_free(text);
    bl_free(path);
    return st;
}

static bl_status size(const bl_json *j, const char *dir, const char *key, int64_t *out, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(bl_json_get_int(j, key, out, e));
    if (*out < 1 || *out > MOST)
        st = bl_fail(e, BL_E_FORMAT, "%s/config.json: '%s' is %" PRId64 ", expected 1 to %d", dir, key, *out, MOST);
out:
    return st;
}

static bl_status is(const bl_json *j, const char *file, const char *key, const char *want, bool needed, bl_err *e)
{
    bl_status st = BL_OK;
    const char *s;
    if (!needed && !bl_json_get(j, key)) return BL_OK;
    BL_TRY(bl_json_get_str(j, key, &s, e));
    if (strcmp(s, want))
        st = bl_fail(e, BL_E_UNSUPPORTED, "%s: '%s' is '%s'; '%s' is what an encoder may have", file, key, s, want);
out:
    return st;
}

static bl_status config(bl_encoder *x, const char *dir, bl_err *e)
{
    bl_status st = BL_OK;
    bl_json *j = NULL;
    char *file = bl_join(dir, "config.json", e);
    if (!file) return BL_E_NOMEM;
    BL_TRY(read_json(dir, "config.json", &j, e));
    if (!j) {
        st = bl_fail(e, BL_E_MISSING,
                     "%s: no config.json; an encoder is a directory with config.json, "
                     "model.safetensors and tokenizer.json or vocab.txt",
                     dir);
        goto out;
    }
    BL_TRY(is(j, file, "model_type", "bert", true, e));
    BL_TRY(is(j, file, "hidden_act", "gelu", true, e));
    BL_TRY(is(j, file, "position_embedding_type", "absolute", false, e));
    BL_TRY(size(j, dir, "hidden_size", &x->dim, e));
    BL_TRY(size(j, dir, "num_hidden_layers", &x->n_layers, e));
    BL_TRY(size(j, dir, "num_attention_heads", &x->heads, e));
    BL_TRY(size(j, dir, "intermediate_size", &x->ffn, e));
    BL_TRY(size(j, dir, "max_position_embeddings", &x->positions, e));
    BL_TRY(size(j, dir, "vocab_size", &x->vocab, e));
    x->eps = 1e-12;
    if (bl_json_get(j, "layer_norm_eps")) BL_TRY(bl_json_get_real(j, "layer_norm_eps", &x->eps, e));
    if (!(x->eps > 0 && x->eps < 1))
        st = bl_fail(e, BL_E_FORMAT, "%s: 'layer_norm_eps' is %g, expected between 0 and 1", file, x->eps);
    else if (x->dim % x->heads || x->n_layers > 1000)
        st = bl_fail(e, BL_E_FORMAT,
                     "%s: %" PRId64 " layers of width %" PRId64 " with %" PRId64
                     " heads, expected at most 1000 and a width that is a multiple of the heads",
                     file, x->n_layers, x->dim, x->heads);
out:
    bl_json_free(j);
    bl_free(file);
    return st;
}

bl_status bl_encoder_work(const char *dir, double *out, bl_err *e)
{
    bl_encoder x = {0};
    bl_status st = config(&x, dir, e);
    double dim = (double)x.dim;
    if (st == BL_OK) *out = 2 * (double)x.n_layers * (4 * dim * dim + 2 * dim * (double)x.ffn);
    return st;
}

/* What sentence-transformers says beside the model. */
static bl_status beside(bl_encoder *x, const char *dir, bl_err *e)
{
    bl_status st = BL_OK;
    bl_json *j = NULL, *pooling = NULL;
    x->longest = x->positions;
    BL_TRY(read_json(dir, "sentence_bert_config.json", &j, e));
    if (j && bl_json_get(j, "max_seq_length") && bl_json_kind(bl_json_get(j, "max_seq_length")) != BL_JSON_NULL)
        BL_TRY(bl_json_get_int(j, "max_seq_length", &x->longest, e));
    if (x->longest < 3 || x->longest > x->positions) {
        st = bl_fail(e, BL_E_FORMAT,
                     "%s/sentence_bert_config.json: 'max_seq_length' is %" PRId64 ", expected 3 to the %" PRId64
                     " positions of the model",
                     dir, x->longest, x->positions);
        goto out;
    }
    BL_TRY(read_json(dir, "1_Pooling/config.json", &pooling, e));
    for (const bl_json *v = pooling ? bl_json_first(pooling) : NULL; v; v = bl_json_next(v)) {
        bool yes, mean = !strcmp(bl_json_key(v), "pooling_mode_mean_tokens");
        if (strncmp(bl_json_key(v), "pooling_mode_", 13)) continue;
        BL_TRY(bl_json_bool(v, &yes, e));
        if (yes == mean) continue;
        st = bl_fail(e, BL_E_UNSUPPORTED,
                     "%s/1_Pooling/config.json: '%s' is %s; the mean over the tokens is the only pooling here", dir,
                     bl_json_key(v), yes ? "true" : "false");
        goto out;
    }
out:
    bl_json_free(j);
    bl_json_free(pooling);
    return st;
}

/* ---- weights ------------------------------------------------------------------------------------- */

typedef struct source {
    const char *path;
    bl_map map;
    bl_safetensors *st;
    const char *prefix; /* "bert." where a head was saved with it */
} source;

static bl_status find(const source *s, const char *name, int64_t out, int64_t in, const bl_st_tensor **t, bl_err *e)
{
    char whole[256];
    int ndim = out ? 2 : 1;
    snprintf(whole, sizeof whole, "%s%s", s->prefix, name);
    const bl_st_tensor *f = bl_safetensors_find(s->st, whole);
    if (!f) return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is missing", s->path, whole);
    if (f->dtype != BL_F32 && f->dtype != BL_F16 && f->dtype != BL_BF16)
        return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' has dtype %s; F32, F16 and BF16 are read", s->path, whole,
                       f->dtype_name);
    if (f->ndim != ndim || f->dim[ndim - 1] != in || (out && f->dim[0] != out))
        return bl_fail(e, BL_E_FORMAT,
                       "%s: tensor '%s' is [%" PRId64 ", %" PRId64 "], expected [%" PRId64 ", %" PRId64 "]", s->path,
                       whole, f->ndim > 1 ? f->dim[0] : 1, f->ndim ? f->dim[f->ndim - 1] : 1, out ? out : 1, in);
    *t = f;
    return BL_OK;
}

static bl_status matrix(bl_encoder *x, const source *s, const char *name, int64_t out, int64_t in, bl_weight *w,
                        bl_err *e)
{
    bl_status st = BL_OK;
    const bl_st_tensor *t;
    BL_TRY(find(s, name, out, in, &t, e));
    const bl_format *f = bl_format_find(t->dtype == BL_F32 ? "fp32" : t->dtype == BL_F16 ? "fp16" : "bf16");
    BL_TRY(bl_weight_new(x->be, f, &(bl_shape){.out = out, .in = in}, w, e));
    BL_TRY(x->be->ops->upload(x->be, &w->part[0], s->map.data + t->offset, e));
out:
    return st;
}

static bl_status vector(bl_encoder *x, const source *s, const char *name, int64_t n, bl_tensor *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_st_tensor *t;
    bl_buffer *b = NULL;
    float *host = NULL;
    BL_TRY(find(s, name, 0, n, &t, e));
    if (!(host = bl_new((size_t)n, sizeof *host, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *p = s->map.data + t->offset + (size_t)i * bl_dtype_bytes(t->dtype);
        uint16_t half;
        if (t->dtype == BL_F32) {
            memcpy(&host[i], p, sizeof *host);
        } else {
            memcpy(&half, p, sizeof half);
            host[i] = t->dtype == BL_F16 ? bl_f16_to_f32(half) : bl_bf16_to_f32(half);
        }
    }
    BL_TRY(x->be->ops->buffer_new(x->be, (uint64_t)n * sizeof *host, &b, e));
    *out = bl_tensor_1d(b, 0, BL_F32, n);
    BL_TRY(x->be->ops->upload(x->be, out, host, e));
out:
    bl_free(host);
    return st;
}

static bl_status linear(bl_encoder *x, const source *s, const char *name, int64_t out, int64_t in, enc_linear *l,
                        bl_err *e)
{
    bl_status st = BL_OK;
    char whole[200];
    snprintf(whole, sizeof whole, "%s.weight", name);
    BL_TRY(matrix(x, s, whole, out, in, &l->w, e));
    BL_TRY(x->be->ops->prepare(x->be, &l->w, e));
    snprintf(whole, sizeof whole, "%s.bias", name);
    BL_TRY(vector(x, s, whole, out, &l->bias, e));
out:
    return st;
}

static bl_status norm(bl_encoder *x, const source *s, const char *name, enc_norm *n, bl_err *e)
{
    bl_status st = BL_OK;
    char whole[200];
    snprintf(whole, sizeof whole, "%s.weight", name);
    BL_TRY(vector(x, s, whole, x->dim, &n->weight, e));
    snprintf(whole, sizeof whole, "%s.bias", name);
    BL_TRY(vector(x, s, whole, x->dim, &n->bias, e));
out:
    return st;
}

static bl_status layer(bl_encoder *x, const source *s, int64_t i, enc_layer *l, bl_err *e)
{
    const struct {
        const char *name;
        int64_t out, in;
        enc_linear *to;
    } linears[] = {
        {"attention.self.query", x->dim, x->dim, &l->q}, {"attention.self.key", x->dim, x->dim, &l->k},
        {"attention.self.value", x->dim, x->dim, &l->v}, {"attention.output.dense", x->dim, x->dim, &l->o},
        {"intermediate.dense", x->ffn, x->dim, &l->up},  {"output.dense", x->dim, x->ffn, &l->down},
    };
    bl_status st = BL_OK;
    char name[160];
    for (size_t k = 0; k < BL_COUNT(linears); k++) {
        snprintf(name, sizeof name, "encoder.layer.%" PRId64 ".%s", i, linears[k].name);
        BL_TRY(linear(x, s, name, linears[k].out, linears[k].in, linears[k].to, e));
    }
    snprintf(name, sizeof name, "encoder.layer.%" PRId64 ".attention.output.LayerNorm", i);
    BL_TRY(norm(x, s, name, &l->attention, e));
    snprintf(name, sizeof name, "encoder.layer.%" PRId64 ".output.LayerNorm", i);
    BL_TRY(norm(x, s, name, &l->output, e));
out:
    return st;
}

static bl_status weights(bl_encoder *x, const char *dir, bl_err *e)
{
    bl_status st = BL_OK;
    char *path = bl_join(dir, "model.safetensors", e);
    source s = {.path = path, .prefix = ""};
    bool mapped = false;
    if (!path) return BL_E_NOMEM;
    BL_TRY(bl_map_open(path, &s.map, e));
    mapped = true;
    BL_TRY(bl_safetensors_parse(s.map.data, s.map.size, path, &s.st, e));
    if (bl_safetensors_find(s.st, "bert.embeddings.word_embeddings.weight")) s.prefix = "bert.";
    BL_TRY(matrix(x, &s, "embeddings.word_embeddings.weight", x->vocab, x->dim, &x->word, e));
    BL_TRY(matrix(x, &s, "embeddings.position_embeddings.weight", x->positions, x->dim, &x->position, e));
    const bl_st_tensor *types = bl_safetensors_find(s.st, *s.prefix ? "bert.embeddings.token_type_embeddings.weight"
                                                                    : "embeddings.token_type_embeddings.weight");
    BL_TRY(matrix(x, &s, "embeddings.token_type_embeddings.weight", types && types->ndim == 2 ? types->dim[0] : 2,
                  x->dim, &x->type, e));
    BL_TRY(norm(x, &s, "embeddings.LayerNorm", &x->norm, e));
    if (!(x->layer = bl_new((size_t)x->n_layers, sizeof *x->layer, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < x->n_layers; i++) BL_TRY(layer(x, &s, i, &x->layer[i], e));
    BL_TRY(bl_map_check(&s.map, NULL, e));
out:
    bl_safetensors_close(s.st);
    if (mapped) bl_map_close(&s.map);
    bl_free(path);
    return st;
}

/* ---- tokenizer ----------------------------------------------------------------------------------- */

static bl_status tokenizer(bl_encoder *x, const char *dir, bl_err *e)
{
    static const struct {
        const char *name;
        bl_tok_kind kind;
    } files[] = {{"tokenizer.json", BL_TOK_JSON}, {"vocab.txt", BL_TOK_VOCAB}};
    bl_status st = BL_OK;
    char *path = NULL;
    size_t i = 0, n;
    for (; i < BL_COUNT(files); i++) {
        bl_free(path);
        if (!(path = bl_join(dir, files[i].name, e))) return BL_E_NOMEM;
        if (bl_exists(path)) break;
    }
    if (i == BL_COUNT(files)) {
        st = bl_fail(e, BL_E_MISSING, "%s: neither tokenizer.json nor vocab.txt", dir);
        goto out;
    }
    BL_TRY(bl_tokenizer_open(files[i].kind, path, &x->tokenizer, e));
    bl_tokenizer_after(x->tokenizer, &n);
    if (!n) {
        st = bl_fail(e, BL_E_UNSUPPORTED, "%s: %s is no tokenizer of an encoder: no token goes after a text", path,
                     bl_tokenizer_kind(x->tokenizer));
    } else if (bl_tokenizer_vocab(x->tokenizer) > x->vocab) {
        st = bl_fail(e, BL_E_FORMAT, "%s: %" PRId64 " tokens, but the model has %" PRId64, path,
                     bl_tokenizer_vocab(x->tokenizer), x->vocab);
    }
out:
    bl_free(path);
    return st;
}

bl_status bl_encoder_fingerprint(const char *dir, bl_hash *out, bl_err *e)
{
    static const char *const files[] = {"config.json",       "model.safetensors",         "tokenizer.json",
                                        "vocab.txt",         "tokenizer_config.json",     "special_tokens_map.json",
                                        "added_tokens.json", "sentence_bert_config.json", "1_Pooling/config.json"};
    bl_status st = BL_OK;
    bl_hasher *h = bl_hasher_new(e);
    if (!h) return BL_E_NOMEM;
    for (size_t i = 0; i < BL_COUNT(files) && st == BL_OK; i++) {
        char *path = bl_join(dir, files[i], e);
        bl_map m;
        if (!path) st = BL_E_NOMEM;
        else if (bl_exists(path) && (st = bl_map_open(path, &m, e)) == BL_OK) {
            bl_hash_text(h, files[i]);
            bl_hash_u64(h, m.size);
            bl_hash_add(h, m.data, m.size);
            bl_map_close(&m);
        }
        bl_free(path);
    }
    bl_hash hash = bl_hasher_end(h);
    if (st == BL_OK) *out = hash;
    return st;
}

bl_status enc_read(bl_encoder *x, const char *dir, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(config(x, dir, e));
    BL_TRY(beside(x, dir, e));
    BL_TRY(tokenizer(x, dir, e));
    BL_TRY(weights(x, dir, e));
    BL_TRY(bl_encoder_fingerprint(dir, &x->hash, e));
out:
    return st;
}
