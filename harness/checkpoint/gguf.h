/* gguf.h - the tensors of a GGUF file; its metadata is in checkpoint.h, where the tokenizer reader finds it too. */
#ifndef BL_GGUF_H
#define BL_GGUF_H
#include "checkpoint.h"

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
size_t bl_gguf_count(const bl_gguf *g);                            /* keys */
const bl_gguf_value *bl_gguf_at(const bl_gguf *g, size_t i);
/* The bytes of all metadata, key by key as in the file, without magic and counts. */
void bl_gguf_metadata(const bl_gguf *g, const uint8_t **p, uint64_t *n);
#endif
