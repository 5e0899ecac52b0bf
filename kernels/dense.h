/* dense.h - a dense matrix where a product wants a weight. */
#ifndef BL_KERNELS_DENSE_H
#define BL_KERNELS_DENSE_H
#include "ops.h"

/* The matrix, f32 or bf16, as a weight that owns nothing; 64 bytes after it belong to its buffer. */
bl_weight bl_weight_of(bl_tensor t);
/* The op `linear` with such a weight: y = x wt, or x w, or y += that. */
bl_status bl_dense_product(bl_backend *be, bl_tensor w, bl_tensor x, bl_tensor y, bool transpose, bool accumulate,
                           bl_err *e);
#endif
