/* lists.h - tensors over arrays of the test itself, for the CPU, whose buffers are host memory; they live as long as
 * the block they are written in. */
#ifndef BL_TESTS_LISTS_H
#define BL_TESTS_LISTS_H
#include "kernels/tensor.h"

#define LENGTH(list)      (sizeof(list) / sizeof *(list))
#define VIEW_OF(p, dt, n) bl_tensor_1d(&(bl_buffer){.data = (void *)(uintptr_t)(p)}, 0, dt, n)
#define I32(...)          VIEW_OF(((const int32_t[]){__VA_ARGS__}), BL_I32, LENGTH(((int32_t[]){__VA_ARGS__})))
#define I64(...)          VIEW_OF(((const int64_t[]){__VA_ARGS__}), BL_I64, LENGTH(((int64_t[]){__VA_ARGS__})))
#define F64(...)          VIEW_OF(((const double[]){__VA_ARGS__}), BL_F64, LENGTH(((double[]){__VA_ARGS__})))
/* Segments: row, length, row, length … */
#define SEGMENTS(...)                                                                                                  \
    bl_tensor_2d(&(bl_buffer){.data = (void *)(uintptr_t)((const int64_t[]){__VA_ARGS__})}, 0, BL_I64,                 \
                 sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t) / 2, 2)
#endif
