/* checkpoint_build.h - tiny checkpoints for tests: GGUF bytes, and a Hugging Face directory of 2 layers. */
#ifndef BL_TESTS_CHECKPOINT_BUILD_H
#define BL_TESTS_CHECKPOINT_BUILD_H
#include "test.h"
#include "kernels/base/fs.h"

/* Seeds for fuzzing: with BITLADDER_SEEDS set, the bytes go to $BITLADDER_SEEDS/<target>/<kind>-<number>. */
static inline void test_seed(const char *target, const char *kind, const void *p, size_t n)
{
    static int number;
    char path[4200];
    if (!getenv("BITLADDER_SEEDS")) return;
    snprintf(path, sizeof path, "%s/%s/%s-%03d", getenv("BITLADDER_SEEDS"), target, kind, number++);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f)) fail_msg("%s cannot be written", path);
}

/* ---- bytes ---- */
static inline void put32(bl_text *t, uint32_t v) { bl_text_addn(t, (char *)&v, 4); }
static inline void put64(bl_text *t, uint64_t v) { bl_text_addn(t, (char *)&v, 8); }
static inline void putf(bl_text *t, float v) { bl_text_addn(t, (char *)&v, 4); }
static inline void put_text(bl_text *t, const char *s)
{
    put64(t, strlen(s));
    bl_text_add(t, s);
}

/* ---- GGUF ---- */
enum { G_U8 = 0, G_U32 = 4, G_F32 = 6, G_BOOL = 7, G_TEXT = 8, G_ARRAY = 9, G_U64 = 10 };
static inline void head(bl_text *t, uint32_t version, uint64_t tensors, uint64_t keys)
{
    bl_text_add(t, "GGUF");
    put32(t, version);
    put64(t, tensors);
    put64(t, keys);
}
static inline void key(bl_text *t, const char *name, uint32_t type)
{
    put_text(t, name);
    put32(t, type);
}
static inline void key_u32(bl_text *t, const char *name, uint32_t v)
{
    key(t, name, G_U32);
    put32(t, v);
}
static inline void key_f32(bl_text *t, const char *name, float v)
{
    key(t, name, G_F32);
    putf(t, v);
}
static inline void key_text(bl_text *t, const char *name, const char *v)
{
    key(t, name, G_TEXT);
    put_text(t, v);
}
static inline void tensor(bl_text *t, const char *name, int ndim, uint64_t d0, uint64_t d1, uint32_t type,
                          uint64_t offset)
{
    put_text(t, name);
    put32(t, (uint32_t)ndim);
    put64(t, d0);
    if (ndim > 1) put64(t, d1);
    put32(t, type);
    put64(t, offset);
}
static inline void pad(bl_text *t, size_t align)
{
    while (t->n % align) bl_text_addn(t, "", 1);
}

/* A LLaMA of 1 layer: dim 32, hidden 64, 4 heads, 2 kv heads, vocab 40, all F32; value of element i of tensor j is j +
 * i / 4096. Extra keys and tensors may be written by the callbacks; `drop` leaves a tensor out. */
typedef struct gguf_extra {
    int keys, tensors;
    void (*put_keys)(bl_text *t);
    void (*put_tensors)(bl_text *t, uint64_t *offset);
    const char *drop, *arch;
    uint32_t heads, vocab_key; /* 0: as above, none */
    bool kv_key_elsewhere;     /* head_count_kv is among the extra keys */
} gguf_extra;
static inline void gguf_llama(bl_text *t, const gguf_extra *x)
{
    static const struct {
        const char *name;
        int ndim;
        uint64_t d0, d1;
    } rows[] = {
        {"token_embd.weight", 2, 32, 40},    {"blk.0.attn_norm.weight", 1, 32, 1},
        {"blk.0.attn_q.weight", 2, 32, 32},  {"blk.0.attn_k.weight", 2, 32, 16},
        {"blk.0.attn_v.weight", 2, 32, 16},  {"blk.0.attn_output.weight", 2, 32, 32},
        {"blk.0.ffn_norm.weight", 1, 32, 1}, {"blk.0.ffn_gate.weight", 2, 32, 64},
        {"blk.0.ffn_up.weight", 2, 32, 64},  {"blk.0.ffn_down.weight", 2, 64, 32},
        {"output_norm.weight", 1, 32, 1},
    };
    uint64_t n = BL_COUNT(rows), offset = 0;
    for (size_t i = 0; i < BL_COUNT(rows); i++) n -= x->drop && !strcmp(x->drop, rows[i].name);
    head(t, 3, n + (uint64_t)x->tensors, 8 - x->kv_key_elsewhere + (x->vocab_key > 0) + (uint64_t)x->keys);
    key_text(t, "general.architecture", x->arch ? x->arch : "llama");
    key_u32(t, "llama.block_count", 1);
    key_u32(t, "llama.context_length", 64);
    key_u32(t, "llama.embedding_length", 32);
    key_u32(t, "llama.feed_forward_length", 64);
    key_u32(t, "llama.attention.head_count", x->heads ? x->heads : 4);
    if (!x->kv_key_elsewhere) key_u32(t, "llama.attention.head_count_kv", 2);
    key_f32(t, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    if (x->vocab_key) key_u32(t, "llama.vocab_size", x->vocab_key);
    if (x->put_keys) x->put_keys(t);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        if (x->drop && !strcmp(x->drop, rows[i].name)) continue;
        tensor(t, rows[i].name, rows[i].ndim, rows[i].d0, rows[i].d1, 0, offset);
        offset += rows[i].d0 * rows[i].d1 * 4;
    }
    uint64_t own = offset;
    if (x->put_tensors) x->put_tensors(t, &offset);
    pad(t, 32);
    for (size_t i = 0, j = 0; i < BL_COUNT(rows); i++) {
        if (x->drop && !strcmp(x->drop, rows[i].name)) continue;
        for (uint64_t k = 0; k < rows[i].d0 * rows[i].d1; k++) putf(t, (float)j + (float)k / 4096);
        j++;
    }
    for (; own < offset; own += 4) putf(t, 1);
}

/* ---- a Hugging Face directory: dim 32, hidden 48, 2 layers, 4 heads, 2 kv heads, vocab 40, F32 zeros ---- */
static inline void test_write(const char *dir, const char *name, const void *p, size_t n)
{
    char path[8192];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f)) fail_msg("%s cannot be written", path);
}

typedef struct st_text {
    bl_text header;
    uint64_t bytes;
} st_text;
static inline void st_add(st_text *s, const char *name, int64_t rows, int64_t cols) /* rows 0: a vector */
{
    uint64_t n = 4 * (uint64_t)(rows ? rows : 1) * (uint64_t)cols;
    bl_text_addf(&s->header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", s->bytes ? "," : "{", name);
    if (rows) bl_text_addf(&s->header, "%lld,", (long long)rows);
    bl_text_addf(&s->header, "%lld],\"data_offsets\":[%llu,%llu]}", (long long)cols, (unsigned long long)s->bytes,
                 (unsigned long long)(s->bytes + n));
    s->bytes += n;
}
static inline void st_write(st_text *s, const char *dir, const char *name)
{
    bl_text_add(&s->header, "}");
    uint64_t n = s->header.n;
    uint8_t *p = calloc(1, 8 + n + s->bytes);
    memcpy(p, &n, 8);
    memcpy(p + 8, s->header.s, n);
    test_write(dir, name, p, 8 + n + s->bytes);
    free(p);
    bl_text_free(&s->header);
    *s = (st_text){0};
}
/* Layers l0 .. l1 of the model; with_ends: embedding, norm and, unless tied, head. `skip` leaves one tensor out. */
static inline void st_layers(st_text *s, int l0, int l1, bool with_ends, bool tied, const char *skip)
{
    static const struct {
        const char *name;
        int64_t rows, cols;
    } rows[] = {
        {"input_layernorm", 0, 32},   {"self_attn.q_proj", 32, 32}, {"self_attn.k_proj", 16, 32},
        {"self_attn.v_proj", 16, 32}, {"self_attn.o_proj", 32, 32}, {"post_attention_layernorm", 0, 32},
        {"mlp.gate_proj", 48, 32},    {"mlp.up_proj", 48, 32},      {"mlp.down_proj", 32, 48},
    };
    char name[128];
    if (with_ends && !(skip && !strcmp(skip, "model.embed_tokens.weight")))
        st_add(s, "model.embed_tokens.weight", 40, 32);
    for (int l = l0; l < l1; l++)
        for (size_t i = 0; i < BL_COUNT(rows); i++) {
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", l, rows[i].name);
            if (!skip || strcmp(skip, name)) st_add(s, name, rows[i].rows, rows[i].cols);
        }
    if (with_ends) st_add(s, "model.norm.weight", 0, 32);
    if (with_ends && !tied && !(skip && !strcmp(skip, "lm_head.weight"))) st_add(s, "lm_head.weight", 40, 32);
}
/* config.json from the usual fields; `change` replaces or adds `"key":value` pairs given as {key, json}; a NULL json
 * leaves the key out. */
typedef struct field {
    const char *key, *json;
} field;
static inline void write_config(const char *dir, const field *change, size_t n)
{
    static const field usual[] = {
        {"architectures", "[\"LlamaForCausalLM\"]"},
        {"model_type", "\"llama\""},
        {"hidden_size", "32"},
        {"intermediate_size", "48"},
        {"num_hidden_layers", "2"},
        {"num_attention_heads", "4"},
        {"num_key_value_heads", "2"},
        {"vocab_size", "40"},
        {"max_position_embeddings", "64"},
        {"rms_norm_eps", "1e-05"},
        {"rope_theta", "10000.0"},
        {"hidden_act", "\"silu\""},
        {"tie_word_embeddings", "true"},
        {"torch_dtype", "\"float32\""},
    };
    bl_text t = {0};
    for (size_t i = 0; i < BL_COUNT(usual); i++) {
        size_t k = 0;
        while (k < n && strcmp(change[k].key, usual[i].key)) k++;
        if (k == n) bl_text_addf(&t, "%s\"%s\":%s", t.n ? "," : "{", usual[i].key, usual[i].json);
    }
    for (size_t k = 0; k < n; k++)
        if (change[k].json) bl_text_addf(&t, "%s\"%s\":%s", t.n ? "," : "{", change[k].key, change[k].json);
    bl_text_add(&t, "}");
    test_write(dir, "config.json", t.s, t.n);
    bl_text_free(&t);
}
#endif
