/* identity.c - what enters the hash of a variant and of a cell. Anything that could change a number does; batch,
 * threads and streaming cannot. */
#include "identity.h"
#include "kernels/base/fs.h"
#include <string.h>

static void add_config(bl_hasher *h, const bl_config *c)
{
    const int64_t ints[] = {c->dim,   c->ffn_dim, c->n_layers, c->n_heads,       c->n_kv_heads, c->head_dim,
                            c->vocab, c->max_len, c->rope,     c->rope_original, c->tied};
    const double reals[] = {c->eps, c->rope_theta, c->rope_factor, c->rope_low, c->rope_high};
    bl_hash_add(h, ints, sizeof ints);
    bl_hash_add(h, reals, sizeof reals);
}

static bl_status gguf_tokenizer(const char *path, bl_hasher *h, bl_err *e)
{
    static const char *const keys[] = {"tokenizer.ggml.model",
                                       "tokenizer.ggml.pre",
                                       "tokenizer.ggml.add_bos_token",
                                       "tokenizer.ggml.add_eos_token",
                                       "tokenizer.ggml.bos_token_id",
                                       "tokenizer.ggml.eos_token_id",
                                       "tokenizer.ggml.add_space_prefix",
                                       "tokenizer.ggml.tokens",
                                       "tokenizer.ggml.merges",
                                       "tokenizer.ggml.scores",
                                       "tokenizer.ggml.token_type"};
    static const int width[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8}; /* bytes, in the order of bl_gguf_type */
    bl_gguf *g = NULL;
    bl_status st = bl_gguf_open(path, &g, e);
    if (st != BL_OK) return st;
    for (size_t i = 0; i < BL_COUNT(keys); i++) {
        const bl_gguf_value *v = bl_gguf_find(g, keys[i]);
        bl_hash_text(h, v ? keys[i] : NULL);
        if (!v) continue;
        if (v->type == BL_GGUF_ARRAY && v->item == BL_GGUF_STRING) {
            const uint8_t *at = v->at;
            for (uint64_t k = 0; k < v->n; k++) {
                uint64_t n;
                const char *s = bl_gguf_next_string(&at, &n);
                bl_hash_u64(h, n);
                bl_hash_add(h, s, n);
            }
        } else if (v->type == BL_GGUF_ARRAY) bl_hash_add(h, v->at, v->n * (uint64_t)width[v->item]);
        else bl_hash_add(h, v->at, v->type == BL_GGUF_STRING ? v->n : (uint64_t)width[v->type]);
    }
    bl_gguf_close(g);
    return BL_OK;
}

bl_status bl_identity_tokenizer(const bl_checkpoint *c, bl_hash *out, bl_err *e)
{
    bl_status st = BL_OK;
    const char *path = NULL, *why = NULL;
    bl_tok_kind kind = bl_checkpoint_tokenizer(c, &path, &why);
    bl_hasher *h = bl_hasher_new(e);
    bl_map m = {.fd = -1};

    if (!h) return BL_E_NOMEM;
    bl_hash_u64(h, kind);
    if (kind == BL_TOK_GGUF) st = gguf_tokenizer(path, h, e);
    else if (kind != BL_TOK_NONE && (st = bl_map_open(path, &m, e)) == BL_OK) {
        bl_hash_add(h, m.data, m.size);
        bl_map_close(&m);
    }
    *out = bl_hasher_end(h);
    return st;
}

bl_status bl_identity_variant(bl_checkpoint *c, bl_hash fingerprint, const bl_method_chain *m,
                              const bl_calib_choice *calib, uint64_t seed, bl_hash *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_hasher *h = bl_hasher_new(e);
    bl_hash tokenizer;

    if (!h) return BL_E_NOMEM;
    st = bl_identity_tokenizer(c, &tokenizer, e); /* the directory carries it */
    bl_hash_text(h, "variant 1");
    bl_hash_of(h, fingerprint);
    add_config(h, bl_checkpoint_config(c));
    if (st == BL_OK) bl_hash_of(h, tokenizer);
    for (int i = 0; i < m->n && st == BL_OK; i++) {
        bl_text options = {0};
        bl_hash_text(h, m->stage[i].method->name);
        bl_hash_u64(h, (uint64_t)m->stage[i].method->version);
        st = bl_method_json(m->stage[i].method, m->stage[i].opts, &options, e);
        if (st == BL_OK) bl_hash_text(h, options.s);
        bl_text_free(&options);
    }
    bl_hash_u64(h, seed);
    if (bl_chain_needs(m) != BL_NEED_NOTHING) {
        bl_hash_text(h, calib->data);
        bl_hash_add(h, (const int64_t[]){calib->n, calib->seqlen, calib->seed}, 3 * sizeof(int64_t));
    }
    *out = bl_hasher_end(h);
    return st;
}

bl_status bl_identity_cell(const bl_plan *p, const bl_plan_cell *c, bl_hash *out, bl_err *e)
{
    const bl_spec *s = p->spec;
    const bl_task_choice *t = &s->task[c->task];
    bl_hasher *h = bl_hasher_new(e);
    bool has_base = false;

    if (!h) return BL_E_NOMEM;
    for (size_t i = 0; i < s->n_methods; i++) has_base |= bl_chain_as_stored(&s->method[i]);
    bl_hash_text(h, "cell 1");
    bl_hash_of(h, p->variant[c->variant].hash);
    bl_hash_text(h, t->name);
    bl_hash_u64(h, (uint64_t)t->task->version);
    bl_hash_text(h, t->options);
    bl_hash_of(h, p->task[c->task].data.hash);
    bl_hash_u64(h, c->seed);
    bl_hash_u64(h, (uint64_t)s->limit);
    bl_hash_u64(h, s->no_bos);
    bl_hash_u64(h, has_base && !s->no_kl && !p->variant[c->variant].base); /* whether it is compared with the base */
    *out = bl_hasher_end(h);
    return BL_OK;
}
