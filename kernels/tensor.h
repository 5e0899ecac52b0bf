/* tensor.h - dtypes, buffers and tensor views: where numbers are, without saying on which device.
 *
 * A buffer belongs to its backend and has one owner; a tensor is a view into it and is copied freely.
 */
#ifndef BL_KERNELS_TENSOR_H
#define BL_KERNELS_TENSOR_H
#include "kernels/base/bl.h"

typedef enum bl_dtype {
    BL_F32,
    BL_F16,
    BL_BF16,
    BL_F64,
    BL_U8,
    BL_I8,
    BL_I16,
    BL_I32,
    BL_I64,
    BL_BOOL,
    BL_N_DTYPES
} bl_dtype;
size_t bl_dtype_bytes(bl_dtype t);
const char *bl_dtype_name(bl_dtype t); /* safetensors spelling: "F32", "BF16", "U8" … */
/* value as an element of type t, at most 8 bytes; integers take what C's conversion gives, BOOL whether it is not 0. */
void bl_dtype_put(bl_dtype t, double value, void *element);

typedef struct bl_backend bl_backend;
typedef struct bl_buffer {
    bl_backend *backend;
    uint64_t bytes;
    void *data; /* address on the backend; only kernels/ may follow it */
} bl_buffer;

typedef struct bl_tensor {
    bl_buffer *buf;  /* NULL: no tensor */
    uint64_t offset; /* bytes */
    bl_dtype dtype;
    int ndim; /* 1..4 */
    int64_t dim[4];
    int64_t stride[4]; /* in elements; the last is 1 for every op that does not say otherwise */
} bl_tensor;

/* A contiguous view of a buffer. */
bl_tensor bl_tensor_1d(bl_buffer *b, uint64_t offset, bl_dtype t, int64_t n);
bl_tensor bl_tensor_2d(bl_buffer *b, uint64_t offset, bl_dtype t, int64_t rows, int64_t cols);
bl_tensor bl_tensor_rows(bl_tensor t, int64_t row0, int64_t rows); /* rows row0 .. row0+rows of a 2-d tensor */
bl_tensor bl_tensor_part(bl_tensor t, int64_t at, int64_t n);      /* elements at .. at+n of a 1-d tensor */
int64_t bl_tensor_count(const bl_tensor *t);
uint64_t bl_tensor_bytes(const bl_tensor *t);
bool bl_tensor_contiguous(const bl_tensor *t); /* its elements are neighbours, in order */

/* IEEE half and bfloat16 as bits; round to nearest, ties to even; NaN stays NaN. */
float bl_f16_to_f32(uint16_t h);
uint16_t bl_f32_to_f16(float f);
float bl_bf16_to_f32(uint16_t h);
uint16_t bl_f32_to_bf16(float f);
#endif
