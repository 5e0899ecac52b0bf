/* identity.c - what enters the hash of a variant and of a cell, ingredient by ingredient. */
#include "identity.h"
#include "harness/checkpoint/gguf.h"
#include "kernels/base/fs.h"
#include <string.h>

/* Everything that a GGUF file says about its tokenizer. */
static bl_status gguf_tokenizer(const char *path, bl_hasher *h, bl_err *e)
{
    static const int width[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8}; /* bytes, in the order of bl_gguf_type */
    bl_gguf *g = NULL;
    bl_status st = bl_gguf_open(path, &g, e);
    if (st != BL_OK) return st;
    for (size_t i = 0; i < bl_gguf_count(g); i++) {
        const bl_gguf_value *v = bl_gguf_at(g, i);
        if (strncmp(v->key, "tokenizer.", 10) != 0) continue;
        bl_hash_text(h, v->key);
        bl_hash_u64(h, v->type);
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

/* What readers of tokenizer.json and tokenizer.model look at beside it and beside the model. `dir` ends in '/' or is
 * empty. */
static bl_status files_in(const char *dir, int n_dir, bl_hasher *h, bl_err *e)
{
    static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json",
                                        "added_tokens.json",     "generation_config.json",
                                        "config.json",           "chat_template.jinja"};
    enum { ALWAYS = 5 }; /* that they are not there counts too */
    bl_status st = BL_OK;
    for (size_t i = 0; i < BL_COUNT(names) && st == BL_OK; i++) {
        bl_map m = {.fd = -1};
        char *at = bl_format_text(e, "%.*s%s", n_dir, dir, names[i]);
        if (!at) return BL_E_NOMEM;
        bool there = bl_exists(at);
        if (there || i < ALWAYS) bl_hash_text(h, there ? names[i] : NULL);
        if (there && (st = bl_map_open(at, &m, e)) == BL_OK) {
            bl_hash_of(h, bl_hash_bytes(m.data, m.size));
            bl_map_close(&m);
        }
        bl_free(at);
    }
    return st;
}

static bl_status files_beside(const char *tokenizer, const char *model, bl_hasher *h, bl_err *e)
{
    const char *slash = strrchr(tokenizer, '/');
    bl_status st = files_in(tokenizer, slash ? (int)(slash + 1 - tokenizer) : 0, h, e);
    if (st != BL_OK || !bl_is_dir(model)) return st;
    char *dir = bl_format_text(e, "%s/", model);
    if (!dir) return BL_E_NOMEM;
    st = files_in(dir, (int)strlen(dir), h, e);
    bl_free(dir);
    return st;
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
    if (st == BL_OK && (kind == BL_TOK_JSON || kind == BL_TOK_SPM))
        st = files_beside(path, bl_checkpoint_path(c), h, e);
    *out = bl_hasher_end(h);
    return st;
}

bl_status bl_identity_model(const bl_checkpoint *c, bl_hash fingerprint, const char *numerics, bl_identity *id,
                            bl_err *e)
{
    bl_text config = {0};
    bl_status st = BL_OK;
    bl_hasher *h = NULL;

    bl_config_put(&config, bl_checkpoint_config(c));
    BL_TRY(bl_text_check(&config, e));
    if (!(h = bl_hasher_new(e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    bl_hash_of(h, fingerprint);
    bl_hash_text(h, config.s);
    id->of[BL_OF_WEIGHTS] = bl_hasher_end(h);
    id->of[BL_OF_NUMERICS] = bl_hash_bytes(numerics, strlen(numerics));
    st = bl_identity_tokenizer(c, &id->of[BL_OF_TOKENIZER], e);
out:
    bl_text_free(&config);
    return st;
}

/* One stage on top of the model that `parent` is the hash of. */
static bl_status add_stage(const bl_method_choice *m, bl_hash calib, bl_hash training, uint64_t seed, bl_hash parent,
                           bl_hash *out, bl_err *e)
{
    bl_text options = {0};
    bl_status st = bl_method_json(m->method, m->opts, &options, e);
    bl_hasher *h = st == BL_OK ? bl_hasher_new(e) : NULL;
    if (h) {
        bl_hash_of(h, parent);
        bl_hash_text(h, m->method->name);
        bl_hash_u64(h, (uint64_t)m->method->version);
        bl_hash_text(h, options.s);
        bl_hash_u64(h, seed);
        bl_hash_of(h, bl_choice_needs(m) & BL_NEED_CALIBRATION ? calib : (bl_hash){0});
        if (m->method->learns) bl_hash_of(h, training);
        *out = bl_hasher_end(h);
    } else if (st == BL_OK) st = BL_E_NOMEM;
    bl_text_free(&options);
    return st;
}

bl_status bl_identity_variant(const bl_method_chain *m, const bl_calib_choice *calib, bl_hash calib_bytes,
                              bl_hash training, uint64_t seed, bl_hash *stage, bl_identity *id, bl_err *e)
{
    bl_status st = BL_OK;
    bl_hash parent = {0}, alone = {0};
    bl_hasher *h;

    id->of[BL_OF_CALIBRATION] = (bl_hash){0};
    if (bl_chain_needs(m) & BL_NEED_CALIBRATION) {
        if (!(h = bl_hasher_new(e))) return BL_E_NOMEM;
        bl_hash_text(h, bl_source_own_path(calib->data) ? "file:" : calib->data); /* its bytes say which */
        bl_hash_add(h, (const int64_t[]){calib->n, calib->seqlen, calib->seed}, 3 * sizeof(int64_t));
        bl_hash_of(h, calib_bytes);
        id->of[BL_OF_CALIBRATION] = bl_hasher_end(h);
    }
    id->of[BL_OF_TRAINING] = bl_chain_needs(m) & BL_NEED_TRAINING ? training : (bl_hash){0};
    for (int i = 0; i < m->n; i++) BL_TRY(add_stage(&m->stage[i], (bl_hash){0}, (bl_hash){0}, seed, alone, &alone, e));
    id->of[BL_OF_METHOD] = alone;
    if (!(h = bl_hasher_new(e))) return BL_E_NOMEM;
    bl_hash_text(h, "variant 2");
    for (int i = 0; i < BL_OF_METHOD; i++) bl_hash_of(h, id->of[i]);
    parent = bl_hasher_end(h);
    for (int i = 0; i < m->n; i++) {
        BL_TRY(add_stage(&m->stage[i], id->of[BL_OF_CALIBRATION], training, seed, parent, &stage[i], e));
        parent = stage[i];
    }
out:
    return st;
}

bl_status bl_identity_task(const bl_task_choice *t, bl_hash data, bl_identity *id, bl_err *e)
{
    bl_hasher *h = bl_hasher_new(e);
    if (!h) return BL_E_NOMEM;
    bl_hash_text(h, t->name);
    bl_hash_u64(h, (uint64_t)t->task->version);
    bl_hash_text(h, t->options);
    id->of[BL_OF_TASK] = bl_hasher_end(h);
    id->of[BL_OF_DATA] = data;
    return BL_OK;
}

bl_status bl_identity_cell(bl_hash variant, const bl_scoring *s, bl_identity *id, bl_hash *out, bl_err *e)
{
    bl_hasher *h = bl_hasher_new(e);
    if (!h) return BL_E_NOMEM;
    bl_hash_add(h, (const uint64_t[]){s->seed, (uint64_t)s->limit, s->no_bos, !s->base}, 4 * sizeof(uint64_t));
    if (s->sample) {
        bl_hash_text(h, "sample");
        bl_hash_u64(h, (uint64_t)s->sample);
    }
    if (s->kv != BL_KV_ACT) {
        bl_hash_text(h, bl_kv_formats[s->kv]);
        bl_hash_text(h, "keys by channel");
    }
    id->of[BL_OF_SCORING] = bl_hasher_end(h);
    if (!(h = bl_hasher_new(e))) return BL_E_NOMEM;
    bl_hash_text(h, "cell 2");
    bl_hash_of(h, variant);
    for (int i = BL_OF_TASK; i < BL_INGREDIENTS; i++) bl_hash_of(h, id->of[i]);
    *out = bl_hasher_end(h);
    return BL_OK;
}

bl_status bl_identity_same(const bl_identity *planned, const bl_identity *found,
                           const char *const subject[BL_INGREDIENTS], bl_err *e)
{
    static const struct {
        const char *name;
        bl_status st;
    } what[BL_INGREDIENTS] = {
        [BL_OF_WEIGHTS] = {"weights", BL_E_FORMAT},
        [BL_OF_TOKENIZER] = {"tokenizer", BL_E_FORMAT},
        [BL_OF_NUMERICS] = {"arithmetic", BL_E_INTERNAL},
        [BL_OF_METHOD] = {"method", BL_E_INTERNAL},
        [BL_OF_CALIBRATION] = {"calibration", BL_E_FORMAT},
        [BL_OF_TRAINING] = {"training", BL_E_FORMAT},
        [BL_OF_TASK] = {"task", BL_E_INTERNAL},
        [BL_OF_DATA] = {"data", BL_E_FORMAT},
        [BL_OF_SCORING] = {"scoring", BL_E_INTERNAL},
    };
    for (int i = 0; i < BL_INGREDIENTS; i++) {
        char was[33], is[33];
        if (bl_hash_equal(planned->of[i], found->of[i])) continue;
        bl_hash_hex(planned->of[i], was);
        bl_hash_hex(found->of[i], is);
        return bl_fail(e, what[i].st, "%s: %s changed after it was planned: its hash was %.12s, now it is %.12s",
                       what[i].name, subject[i] ? subject[i] : "", was, is);
    }
    return BL_OK;
}
