/* text_tok.h - small tokenizers made by hand, as bytes. */
#ifndef BL_TESTS_DATA_TEXT_TOK_H
#define BL_TESTS_DATA_TEXT_TOK_H
#include "test.h"
#include "harness/tokenizer/tokenizer.h"

static inline bl_tokenizer *tok_made(bl_tok_kind kind, const void *p, size_t n)
{
    bl_err e;
    bl_tokenizer *t = NULL;
    assert_ok(bl_tokenizer_parse(kind, p, n, "made", &t, &e));
    return t;
}

static inline bl_tokenizer *tok_json(const char *text) { return tok_made(BL_TOK_JSON, text, strlen(text)); }

/* "1 2 3" of what a text encodes to; in a ring of buffers. */
static inline const char *tok_ids(const bl_tokenizer *t, const char *s, size_t n, int flags)
{
    static char ring[4][1024];
    static unsigned at;
    char *out = ring[at++ % 4];
    size_t used = 0;
    bl_err e;
    bl_ids ids = {0};
    assert_ok(bl_encode(t, s, n, flags, &ids, &e));
    out[0] = 0;
    for (size_t i = 0; i < ids.n && used + 16 < sizeof ring[0]; i++)
        used += (size_t)snprintf(out + used, sizeof ring[0] - used, i ? " %d" : "%d", ids.id[i]);
    bl_ids_free(&ids);
    return out;
}

/* ---- a protobuf, written ---- */
static inline void pb_varint(bl_text *t, uint64_t v)
{
    do {
        char b = (char)((v & 0x7F) | (v > 0x7F ? 0x80 : 0));
        bl_text_addn(t, &b, 1);
    } while (v >>= 7);
}
static inline void pb_int(bl_text *t, int field, uint64_t v)
{
    pb_varint(t, (uint64_t)field << 3);
    pb_varint(t, v);
}
static inline void pb_bytes(bl_text *t, int field, const char *s, size_t n)
{
    pb_varint(t, (uint64_t)field << 3 | 2);
    pb_varint(t, n);
    bl_text_addn(t, s, n);
}
static inline void pb_float(bl_text *t, int field, float v)
{
    pb_varint(t, (uint64_t)field << 3 | 5);
    bl_text_addn(t, (const char *)&v, 4);
}
static inline void pb_message(bl_text *t, int field, bl_text *inner)
{
    pb_bytes(t, field, inner->s ? inner->s : "", inner->n);
    bl_text_free(inner);
}

typedef struct spm_row {
    const char *piece;
    float score;
    int type;
} spm_row;
static inline void spm_piece(bl_text *t, const char *piece, float score, int type)
{
    bl_text p = {0};
    pb_bytes(&p, 1, piece, strlen(piece));
    pb_float(&p, 2, score);
    if (type != 1) pb_int(&p, 3, (uint64_t)type);
    pb_message(t, 1, &p);
}
/* Pieces, then a BPE trainer_spec and a normalizer_spec; `bytes`: with the 256 byte pieces after the rows. */
static inline void spm_made(bl_text *t, const spm_row *row, size_t n, bool bytes, bool dummy, bool extra)
{
    bl_text spec = {0};
    char name[8];
    for (size_t i = 0; i < n; i++) spm_piece(t, row[i].piece, row[i].score, row[i].type);
    for (int b = 0; bytes && b < 256; b++) {
        snprintf(name, sizeof name, "<0x%02X>", b);
        spm_piece(t, name, 0, 6);
    }
    pb_int(&spec, 3, 2);
    pb_int(&spec, 35, bytes);
    pb_message(t, 2, &spec);
    pb_int(&spec, 3, dummy);
    pb_int(&spec, 4, extra);
    pb_message(t, 3, &spec);
}

/* ---- llama2.c, written ---- */
static inline void bin_piece(bl_text *t, float score, const char *s, int32_t n)
{
    bl_text_addn(t, (const char *)&score, 4);
    bl_text_addn(t, (const char *)&n, 4);
    bl_text_addn(t, s, strlen(s));
}
static inline void bin_made(bl_text *t, const char *const *piece, bool bytes)
{
    char name[8];
    bl_text_addn(t, (const char *)&(int32_t){8}, 4);
    bin_piece(t, 0, "<unk>", 5);
    bin_piece(t, 0, "\n<s>\n", 5);
    bin_piece(t, 0, "\n</s>\n", 6);
    for (int b = 0; bytes && b < 256; b++) {
        snprintf(name, sizeof name, "<0x%02X>", b);
        bin_piece(t, 0, name, 6);
    }
    for (int i = 0; piece[i]; i++) bin_piece(t, (float)-i, piece[i], (int32_t)strlen(piece[i]));
}

/* ---- GGUF, written ---- */
static inline void gguf_u32(bl_text *t, uint32_t v) { bl_text_addn(t, (const char *)&v, 4); }
static inline void gguf_u64(bl_text *t, uint64_t v) { bl_text_addn(t, (const char *)&v, 8); }
static inline void gguf_str(bl_text *t, const char *s)
{
    gguf_u64(t, strlen(s));
    bl_text_add(t, s);
}
static inline void gguf_text(bl_text *t, const char *key, const char *s)
{
    gguf_str(t, key);
    gguf_u32(t, 8);
    gguf_str(t, s);
}
static inline void gguf_int(bl_text *t, const char *key, uint32_t v)
{
    gguf_str(t, key);
    gguf_u32(t, 4);
    gguf_u32(t, v);
}
static inline void gguf_bool(bl_text *t, const char *key, bool v)
{
    gguf_str(t, key);
    gguf_u32(t, 7);
    bl_text_addn(t, (const char[]){v}, 1);
}
static inline void gguf_texts(bl_text *t, const char *key, const char *const *s)
{
    uint64_t n = 0;
    while (s[n]) n++;
    gguf_str(t, key);
    gguf_u32(t, 9);
    gguf_u32(t, 8);
    gguf_u64(t, n);
    for (uint64_t i = 0; i < n; i++) gguf_str(t, s[i]);
}
static inline void gguf_ints(bl_text *t, const char *key, uint32_t type, const void *v,
                             uint64_t n) /* type 5: int32, 6: float */
{
    gguf_str(t, key);
    gguf_u32(t, 9);
    gguf_u32(t, type);
    gguf_u64(t, n);
    bl_text_addn(t, v, 4 * n);
}
static inline void gguf_open(bl_text *t, uint64_t n_keys)
{
    bl_text_add(t, "GGUF");
    gguf_u32(t, 3);
    gguf_u64(t, 0);
    gguf_u64(t, n_keys);
}
#endif
