/* safetensors.h - the header of a safetensors file, checked by the rules of the reference implementation and a little
 * more.
 *
 *     bl_safetensors *s;
 *     BL_TRY(bl_safetensors_parse(map.data, map.size, "model.safetensors", &s, e));
 *     const bl_st_tensor *t = bl_safetensors_find(s, "model.norm.weight");
 *     const uint8_t *bytes = map.data + t->offset;       // t->bytes of them
 *     bl_safetensors_close(s);
 *
 * Refused: a header that is not one JSON object of tensors, holes, overlaps, bytes after the last tensor, shapes that
 * do not fit their bytes, unknown dtypes or fields, names that appear twice or hold control characters, more than
 * 131,072 tensors.
 */
#ifndef BL_HARNESS_CHECKPOINT_SAFETENSORS_H
#define BL_HARNESS_CHECKPOINT_SAFETENSORS_H
#include "kernels/tensor.h"

enum { BL_ST_MAX_DIMS = 8 };
typedef struct bl_st_tensor {
    const char *name;
    const char *dtype_name; /* "BF16" */
    bl_dtype dtype;         /* BL_N_DTYPES: one that only other programs use (F8_E4M3, U32, …) */
    int ndim;               /* 0: a scalar */
    int64_t dim[BL_ST_MAX_DIMS];
    uint64_t offset, bytes; /* from the beginning of the file */
    bool used;              /* for the caller */
} bl_st_tensor;

typedef struct bl_safetensors bl_safetensors;
bl_status bl_safetensors_parse(const uint8_t *p, uint64_t n, const char *file, bl_safetensors **out,
                               bl_err *e);    /* copies what it keeps */
void bl_safetensors_close(bl_safetensors *s); /* NULL is fine */
size_t bl_safetensors_count(const bl_safetensors *s);
bl_st_tensor *bl_safetensors_at(bl_safetensors *s, size_t i);           /* in order of offset */
bl_st_tensor *bl_safetensors_find(bl_safetensors *s, const char *name); /* NULL */
uint64_t bl_safetensors_data(const bl_safetensors *s);                  /* where tensor bytes begin */
#endif
