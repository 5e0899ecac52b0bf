/* export_gguf.c - writes a checkpoint as a GGUF file that llama.cpp loads.
 *
 *     "GGUF", version 3, number of tensors, of keys; keys; name, widths, type and offset of each tensor; bytes of the
 *     tensors, each at a multiple of 32
 *
 * Weights are written as they are stored: GGUF's block types and 16- and 32-bit floats, and integers of 4 or 8 bits in
 * groups of 32 without zero points, which are q4_0 and q8_0 bit for bit. Anything else is refused by name before the
 * file is begun. Norms and biases become fp32, as llama.cpp needs them. Rows of rotary parameters are put in the order
 * that files of the architecture have. The tokenizer is that of a GGUF file, key by key, or one that was made for it
 * (harness/tokenizer/write_gguf.c); a model without any gets "no_vocab".
 */
#include "checkpoint_impl.h"
#include "export.h"
#include <inttypes.h>
#include <math.h>

enum { ALIGN = 32, CHUNK = 4 << 20 };

typedef struct file {
    bl_checkpoint *c;
    bl_gguf *tokenizer; /* NULL: none */
    const bl_gguf_vocab *vocab;
    bl_writer *w; /* NULL: sizes are counted */
    uint64_t at, keys;
    bl_status st; /* of the first write that failed */
    bl_err *e;
} file;

/* ---- numbers and keys ---- */
static void put(file *f, const void *p, uint64_t n)
{
    f->at += n;
    if (f->w && f->st == BL_OK) f->st = bl_writer_add(f->w, p, n, f->e);
}
static void put_u32(file *f, uint32_t v) { put(f, &v, 4); }
static void put_u64(file *f, uint64_t v) { put(f, &v, 8); }
static void put_string(file *f, const char *s)
{
    put_u64(f, strlen(s));
    put(f, s, strlen(s));
}
static void align(file *f)
{
    static const uint8_t zero[ALIGN];
    put(f, zero, (ALIGN - f->at % ALIGN) % ALIGN);
}

static void begin_key(file *f, const char *name, bl_gguf_type type)
{
    f->keys++;
    put_string(f, name);
    put_u32(f, (uint32_t)type);
}
static void key_text(file *f, const char *name, const char *value)
{
    begin_key(f, name, BL_GGUF_STRING);
    put_string(f, value);
}
static void key_int(file *f, const char *name, int64_t value)
{
    begin_key(f, name, BL_GGUF_U32);
    put_u32(f, (uint32_t)value);
}
static void key_real(file *f, const char *name, double value)
{
    begin_key(f, name, BL_GGUF_F32);
    put(f, &(float){(float)value}, 4);
}
static void key_flag(file *f, const char *name, bool value)
{
    begin_key(f, name, BL_GGUF_BOOL);
    put(f, &(uint8_t){value}, 1);
}
static void key_id(file *f, const char *name, int32_t id)
{
    if (id >= 0) key_int(f, name, id);
}
static void key_array(file *f, const char *name, bl_gguf_type item, uint64_t n)
{
    begin_key(f, name, BL_GGUF_ARRAY);
    put_u32(f, (uint32_t)item);
    put_u64(f, n);
}
static const char *of_arch(const file *f, const char *name, char out[96])
{
    snprintf(out, 96, "%s.%s", bl_checkpoint_config(f->c)->arch->gguf, name);
    return out;
}

static uint64_t scalar_bytes(bl_gguf_type t)
{
    switch (t) {
    case BL_GGUF_U8:
    case BL_GGUF_I8:
    case BL_GGUF_BOOL: return 1;
    case BL_GGUF_U16:
    case BL_GGUF_I16: return 2;
    case BL_GGUF_U64:
    case BL_GGUF_I64:
    case BL_GGUF_F64: return 8;
    default: return 4;
    }
}

static void copy_key(file *f, const bl_gguf_value *v)
{
    const uint8_t *end = v->at;
    uint64_t n;
    begin_key(f, v->key, v->type);
    if (v->type == BL_GGUF_STRING) {
        put_u64(f, v->n);
        put(f, v->at, v->n);
    } else if (v->type == BL_GGUF_ARRAY) {
        put_u32(f, (uint32_t)v->item);
        put_u64(f, v->n);
        for (uint64_t i = 0; v->item == BL_GGUF_STRING && i < v->n; i++) (void)bl_gguf_next_string(&end, &n);
        put(f, v->at, v->item == BL_GGUF_STRING ? (uint64_t)(end - v->at) : v->n * scalar_bytes(v->item));
    } else put(f, v->at, scalar_bytes(v->type));
}

static void put_rope(file *f)
{
    const bl_config *c = bl_checkpoint_config(f->c);
    char k[96];
    key_int(f, of_arch(f, "rope.dimension_count", k), c->head_dim);
    key_real(f, of_arch(f, "rope.freq_base", k), c->rope_theta);
    if (c->rope != BL_ROPE_LINEAR && c->rope != BL_ROPE_YARN) return; /* llama3: the tensor of divisors */
    key_text(f, of_arch(f, "rope.scaling.type", k), c->rope == BL_ROPE_YARN ? "yarn" : "linear");
    key_real(f, of_arch(f, "rope.scaling.factor", k), c->rope_factor);
    if (c->rope != BL_ROPE_YARN) return;
    key_int(f, of_arch(f, "rope.scaling.original_context_length", k), c->rope_original);
    key_real(f, of_arch(f, "rope.scaling.yarn_beta_slow", k), c->rope_low);
    key_real(f, of_arch(f, "rope.scaling.yarn_beta_fast", k), c->rope_high);
}

static void put_vocab(file *f, const bl_gguf_vocab *v)
{
    key_text(f, "tokenizer.ggml.model", v->model);
    if (v->pre) key_text(f, "tokenizer.ggml.pre", v->pre);
    key_array(f, "tokenizer.ggml.tokens", BL_GGUF_STRING, v->n);
    for (size_t i = 0; i < v->n; i++) put_string(f, v->piece[i]);
    if (v->score) {
        key_array(f, "tokenizer.ggml.scores", BL_GGUF_F32, v->n);
        put(f, v->score, v->n * sizeof *v->score);
    }
    key_array(f, "tokenizer.ggml.token_type", BL_GGUF_I32, v->n);
    put(f, v->type, v->n * sizeof *v->type);
    if (v->merge) {
        key_array(f, "tokenizer.ggml.merges", BL_GGUF_STRING, v->n_merges);
        for (size_t i = 0; i < v->n_merges; i++) put_string(f, v->merge[i]);
    }
    key_id(f, "tokenizer.ggml.bos_token_id", v->bos);
    key_id(f, "tokenizer.ggml.eos_token_id", v->eos);
    key_flag(f, "tokenizer.ggml.add_bos_token", v->adds_bos);
    if (v->score) {
        key_id(f, "tokenizer.ggml.unknown_token_id", v->unk);
        key_flag(f, "tokenizer.ggml.add_space_prefix", v->space_prefix);
        key_flag(f, "tokenizer.ggml.remove_extra_whitespaces", v->remove_extra);
    }
    if (v->chat_template) key_text(f, "tokenizer.chat_template", v->chat_template);
}

static void put_keys(file *f)
{
    const bl_config *c = bl_checkpoint_config(f->c);
    char k[96];
    key_text(f, "general.architecture", c->arch->gguf);
    key_text(f, "general.name", bl_checkpoint_name(f->c));
    key_int(f, "general.quantization_version", 2);
    key_int(f, of_arch(f, "block_count", k), c->n_layers);
    key_int(f, of_arch(f, "context_length", k), c->max_len);
    key_int(f, of_arch(f, "embedding_length", k), c->dim);
    key_int(f, of_arch(f, "feed_forward_length", k), c->ffn_dim);
    key_int(f, of_arch(f, "attention.head_count", k), c->n_heads);
    key_int(f, of_arch(f, "attention.head_count_kv", k), c->n_kv_heads);
    key_int(f, of_arch(f, "attention.key_length", k), c->head_dim);
    key_int(f, of_arch(f, "attention.value_length", k), c->head_dim);
    key_real(f, of_arch(f, "attention.layer_norm_rms_epsilon", k), c->eps);
    if (c->window) key_int(f, of_arch(f, "attention.sliding_window", k), c->window);
    key_int(f, of_arch(f, "vocab_size", k), c->vocab);
    put_rope(f);
    for (size_t i = 0; f->tokenizer && i < bl_gguf_count(f->tokenizer); i++)
        if (!strncmp(bl_gguf_at(f->tokenizer, i)->key, "tokenizer.", 10)) copy_key(f, bl_gguf_at(f->tokenizer, i));
    if (f->vocab) put_vocab(f, f->vocab);
    else if (!f->tokenizer) key_text(f, "tokenizer.ggml.model", "no_vocab");
}

/* ---- weights ---- */
/* Groups of 32 that are blocks of q4_0 or q8_0 with codes and scale apart. */
static const bl_format *as_block(const bl_stored *t)
{
    const bl_shape *g = &t->shape;
    if (t->format->kind != BL_FMT_INT || g->group != 32 || g->in % 32 || g->zero != BL_ZERO_NONE || g->scale != BL_F16)
        return NULL;
    return t->format->bits == 4 ? bl_format_find("q4_0") : t->format->bits == 8 ? bl_format_find("q8_0") : NULL;
}

static const bl_format *written_as(const bl_stored *t)
{
    if (t->vector) return bl_format_find("fp32");
    return t->format->ggml_type >= 0 ? t->format : as_block(t);
}

static bl_status refuse(const char *what, const char *why, bl_err *e)
{
    return bl_fail(e, BL_E_UNSUPPORTED, "%s: %s; a GGUF file has no place for that", what, why);
}

static bl_status check_one(const bl_stored *t, bl_err *e)
{
    char text[64], why[96];
    if (t->act.bits) return refuse(t->name, "its inputs are quantized", e);
    if (t->n_adapters) return refuse(t->name, "it has an adapter", e);
    const char *transformed = bl_export_transformed(t, false);
    if (transformed) return refuse(t->name, transformed, e);
    if (written_as(t)) return BL_OK;
    bl_stored_text(t->format, &t->shape, text);
    snprintf(why, sizeof why, "it is stored as %s", text);
    return refuse(t->name, why, e);
}

static bl_status check(const bl_checkpoint *c, bl_err *e)
{
    const bl_config *o = bl_checkpoint_config(c);
    const char *path = bl_checkpoint_path(c);
    bl_status st = BL_OK;
    if (o->rope == BL_ROPE_DYNAMIC) return refuse(path, "its rotary scaling is dynamic", e);
    if (o->turned_keys) return refuse(path, "its keys are turned by a Hadamard matrix", e);
    if (o->rope == BL_ROPE_YARN && fabs(o->rope_attention - (1 + 0.1 * log(fmax(o->rope_factor, 1)))) > 1e-6)
        return refuse(path, "its YaRN scaling has an attention factor of its own", e);
    for (size_t i = 0; st == BL_OK && i < c->n; i++) st = check_one(&c->stored[i], e);
    return st;
}

static int64_t heads_of(const file *f, const bl_stored *t) /* whose rows are put in pairs; 0: none */
{
    const bl_config *c = bl_checkpoint_config(f->c);
    bl_param p;
    if (c->arch->gguf_rotary != BL_ROTARY_PAIRS || !bl_param_of(c, t->role, t->block, &p)) return 0;
    return p.rotary_heads;
}

static uint64_t bytes_of(const bl_stored *t)
{
    const bl_format *f = written_as(t);
    return bl_format_bytes(f, &(bl_shape){.out = t->shape.out, .in = t->shape.in});
}

/* Rows of a head from halves into pairs. */
static void pair(const uint8_t *from, uint8_t *to, int64_t rows, uint64_t bytes)
{
    for (int64_t r = 0; r < rows; r++) {
        int64_t at = r < rows / 2 ? 2 * r : 2 * (r - rows / 2) + 1;
        memcpy(to + (uint64_t)at * bytes, from + (uint64_t)r * bytes, bytes);
    }
}

static bl_status put_vector(file *f, const bl_stored *t, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t n = t->shape.in, heads = heads_of(f, t);
    float *v = bl_new((size_t)n, sizeof *v, e), *paired = bl_new((size_t)n, sizeof *paired, e);
    if (!v || !paired) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_checkpoint_dense(f->c, t, 0, 1, v, e));
    for (int64_t h = 0; h < heads; h++)
        pair((const uint8_t *)(v + h * (n / heads)), (uint8_t *)(paired + h * (n / heads)), n / heads, sizeof *v);
    put(f, heads ? paired : v, (uint64_t)n * sizeof *v);
out:
    bl_free(v);
    bl_free(paired);
    return st;
}

/* Codes and scales of a row as blocks of 32; codes of 8 bits are stored with 128 added. */
static void interleave(const bl_stored *t, const uint8_t *codes, const uint8_t *scales, uint8_t *to)
{
    int b = t->format->bits;
    for (int64_t g = 0; g < t->shape.in / 32; g++) {
        memcpy(to, scales + 2 * g, 2);
        for (int j = 0; j < (b == 4 ? 16 : 32); j++) {
            const uint8_t *q = codes + g * 4 * b;
            to[2 + j] = b == 8 ? (uint8_t)(q[j] - 128)
                               : (uint8_t)((q[j / 2] >> j % 2 * 4 & 15) | (q[8 + j / 2] >> j % 2 * 4 & 15) << 4);
        }
        to += b == 8 ? 34 : 18;
    }
}

static bl_status put_matrix(file *f, const bl_stored *t, bl_err *e)
{
    bl_status st = BL_OK;
    bl_part_spec spec[BL_MAX_PARTS];
    int64_t out = t->shape.out, heads = heads_of(f, t);
    uint64_t row_bytes = bytes_of(t) / (uint64_t)out, part_bytes[BL_MAX_PARTS];
    int64_t step = heads ? out / heads : BL_MIN(BL_MAX(CHUNK / (int64_t)row_bytes, 1), out);
    uint8_t *part[BL_MAX_PARTS] = {0}, *rows = bl_new((size_t)step, row_bytes, e),
            *paired = bl_new((size_t)step, row_bytes, e);
    bool blocks = as_block(t) != NULL;
    int n = t->format->parts(t->format, &t->shape, spec);
    if (!rows || !paired) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int i = 0; i < n; i++) {
        part_bytes[i] = (uint64_t)spec[i].cols * bl_dtype_bytes(spec[i].dtype);
        if (!(part[i] = bl_new((size_t)step, part_bytes[i], e))) {
            st = BL_E_NOMEM;
            goto out;
        }
    }
    for (int64_t r = 0; r < out; r += step) {
        int64_t m = BL_MIN(step, out - r);
        for (int i = 0; i < n; i++) bl_rows_read(f->c, t, i, &spec[i], r, m, part[i]);
        for (int64_t k = 0; blocks && k < m; k++)
            interleave(t, part[0] + (uint64_t)k * part_bytes[0], part[1] + (uint64_t)k * part_bytes[1],
                       rows + (uint64_t)k * row_bytes);
        const uint8_t *from = blocks ? rows : part[0];
        if (heads) pair(from, paired, m, row_bytes);
        put(f, heads ? paired : from, (uint64_t)m * row_bytes);
    }
out:
    for (int i = 0; i < n; i++) bl_free(part[i]);
    bl_free(rows);
    bl_free(paired);
    return st;
}

/* ---- the file ---- */
/* LLaMA 3.1's scaling as divisors of frequencies. */
static void divisors(const bl_config *c, float *out)
{
    for (int64_t i = 0; i < c->head_dim / 2; i++) {
        double wavelength = 2 * 3.14159265358979323846 * pow(c->rope_theta, 2.0 * (double)i / (double)c->head_dim);
        double turns = (double)c->rope_original / wavelength,
               smooth = (turns - c->rope_low) / (c->rope_high - c->rope_low);
        out[i] = (float)(turns > c->rope_high  ? 1
                         : turns < c->rope_low ? c->rope_factor
                                               : 1 / ((1 - smooth) / c->rope_factor + smooth));
    }
}

static void put_info(file *f, const char *name, bool vector, int64_t in, int64_t out, int type, uint64_t *offset,
                     uint64_t bytes)
{
    put_string(f, name);
    put_u32(f, vector ? 1 : 2);
    put_u64(f, (uint64_t)in);
    if (!vector) put_u64(f, (uint64_t)out);
    put_u32(f, (uint32_t)type);
    put_u64(f, *offset);
    *offset = (*offset + bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* Everything before the bytes of tensors. */
static void put_header(file *f, uint64_t keys)
{
    const bl_config *c = bl_checkpoint_config(f->c);
    uint64_t offset = 0;
    bool divided = c->rope == BL_ROPE_LLAMA3;
    put(f, "GGUF\3\0\0\0", 8);
    put_u64(f, f->c->n + divided);
    put_u64(f, keys);
    put_keys(f);
    if (divided) put_info(f, "rope_freqs.weight", true, c->head_dim / 2, 1, 0, &offset, (uint64_t)c->head_dim / 2 * 4);
    for (size_t i = 0; i < f->c->n; i++) {
        const bl_stored *t = &f->c->stored[i];
        bl_param p;
        if (!bl_param_of(c, t->role, t->block, &p)) continue;
        put_info(f, p.gguf, t->vector, t->shape.in, t->shape.out, written_as(t)->ggml_type, &offset, bytes_of(t));
    }
    align(f);
}

static bl_status put_tensors(file *f, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_config *c = bl_checkpoint_config(f->c);
    float *d = NULL;
    if (c->rope == BL_ROPE_LLAMA3) {
        if (!(d = bl_new((size_t)c->head_dim / 2, sizeof *d, e))) return BL_E_NOMEM;
        divisors(c, d);
        put(f, d, (uint64_t)c->head_dim / 2 * 4);
        align(f);
    }
    for (size_t i = 0; i < f->c->n; i++) {
        const bl_stored *t = &f->c->stored[i];
        st = t->vector ? put_vector(f, t, e) : put_matrix(f, t, e);
        if (st != BL_OK) {
            bl_within(e, "writing %s", t->name);
            goto out;
        }
        align(f);
        if (f->st != BL_OK) break;
    }
out:
    bl_free(d);
    return st;
}

static bl_status open_tokenizer(file *f, bl_err *e)
{
    const char *path, *why;
    if (f->vocab || bl_checkpoint_tokenizer(f->c, &path, &why) != BL_TOK_GGUF) return BL_OK;
    return bl_gguf_open(path, &f->tokenizer, e);
}

bl_status bl_export_gguf(bl_checkpoint *c, const bl_gguf_vocab *vocab, const char *path, bl_err *e)
{
    bl_status st = BL_OK;
    file f = {.c = c, .vocab = vocab, .e = e};
    uint64_t keys;

    if (bl_exists(path)) return bl_fail(e, BL_E_CONFIG, "output path %s exists already", path);
    BL_TRY(check(c, e));
    BL_TRY(open_tokenizer(&f, e));
    put_keys(&f); /* counted */
    keys = f.keys;
    f.at = 0;
    bl_clean_beside(path, ".tmp.");
    BL_TRY(bl_writer_open(path, &f.w, e));
    put_header(&f, keys);
    BL_TRY(put_tensors(&f, e));
    BL_TRY(f.st);
    BL_TRY(bl_checkpoint_unchanged(c, e));
    BL_TRY(bl_writer_commit(f.w, e));
    f.w = NULL;
out:
    bl_writer_drop(f.w);
    bl_gguf_close(f.tokenizer);
    return st;
}
