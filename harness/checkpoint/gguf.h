/* gguf.h - a GGUF file as it is: typed keys and described tensors. What they mean for a model: gguf_model.c; for a
 * tokenizer: tokenizer/read_gguf.c.
 *
 *     bl_gguf *g;
 *     BL_TRY(bl_gguf_open("m.gguf", &g, e));
 *     int64_t n;
 *     BL_TRY(bl_gguf_int(g, "llama.block_count", &n, e));
 *     bl_gguf_close(g);
 */
#ifndef BL_HARNESS_CHECKPOINT_GGUF_H
#define BL_HARNESS_CHECKPOINT_GGUF_H
#include "kernels/format.h"

typedef struct bl_gguf bl_gguf;
typedef enum bl_gguf_type {
    BL_GGUF_U8,
    BL_GGUF_I8,
    BL_GGUF_U16,
    BL_GGUF_I16,
    BL_GGUF_U32,
    BL_GGUF_I32,
    BL_GGUF_F32,
    BL_GGUF_BOOL,
    BL_GGUF_STRING,
    BL_GGUF_ARRAY,
    BL_GGUF_U64,
    BL_GGUF_I64,
    BL_GGUF_F64
} bl_gguf_type;

/* The whole header is checked (R49-R63); a file without tensors is fine. */
bl_status bl_gguf_open(const char *path, bl_gguf **out, bl_err *e);
/* Lent bytes: of a map, or of a test. `name` opens every sentence. */
bl_status bl_gguf_parse(const uint8_t *p, uint64_t n, const char *name, bl_gguf **out, bl_err *e);
void bl_gguf_close(bl_gguf *g); /* NULL is fine */

/* ---- keys ---- */
typedef struct bl_gguf_value {
    const char *key;
    bl_gguf_type type, item; /* item: of an array */
    uint64_t n;              /* array length, or bytes of a string */
    const uint8_t *at;       /* first byte of the value (string: of its text; array: of its first item) */
} bl_gguf_value;
size_t bl_gguf_count(const bl_gguf *g);
const bl_gguf_value *bl_gguf_at(const bl_gguf *g, size_t i);          /* in order of the file */
const bl_gguf_value *bl_gguf_find(const bl_gguf *g, const char *key); /* NULL */
/* Any integer type. BL_E_MISSING when absent. */
bl_status bl_gguf_int(const bl_gguf *g, const char *key, int64_t *out, bl_err *e);
/* The same, or an array of `n` equal integers (a number for every layer). */
bl_status bl_gguf_int_each(const bl_gguf *g, const char *key, int64_t n, int64_t *out, bl_err *e);
bl_status bl_gguf_real(const bl_gguf *g, const char *key, double *out, bl_err *e);
bl_status bl_gguf_bool(const bl_gguf *g, const char *key, bool *out, bl_err *e);
bl_status bl_gguf_text(const bl_gguf *g, const char *key, bl_arena *a, const char **out, bl_err *e);
/* Item i of an array of strings: lent bytes, not NUL-terminated. Walk in order: *cursor starts at value->at. */
const char *bl_gguf_next_string(const uint8_t **cursor, uint64_t *n);
/* The bytes of all keys, one by one as in the file, without magic and counts. */
void bl_gguf_metadata(const bl_gguf *g, const uint8_t **p, uint64_t *n);

/* ---- tensors ---- */
typedef struct bl_gguf_tensor {
    const char *name;
    const bl_format *format;
    int ndim;               /* 1..4 */
    uint64_t dim[4];        /* dim[0] is the row length */
    uint64_t offset, bytes; /* from the beginning of the file */
    bool used;              /* for the caller */
} bl_gguf_tensor;
size_t bl_gguf_tensor_count(const bl_gguf *g);
bl_gguf_tensor *bl_gguf_tensor_at(bl_gguf *g, size_t i);           /* in order of the file */
bl_gguf_tensor *bl_gguf_tensor_find(bl_gguf *g, const char *name); /* NULL */
#endif
