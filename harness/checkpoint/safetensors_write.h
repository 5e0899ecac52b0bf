/* safetensors_write.h - tensors as the bytes of a safetensors file: the header, then each tensor's, in their order. */
#ifndef BL_HARNESS_CHECKPOINT_SAFETENSORS_WRITE_H
#define BL_HARNESS_CHECKPOINT_SAFETENSORS_WRITE_H
#include "kernels/ops.h"

typedef struct bl_st_source {
    const char *name;
    const bl_tensor *tensor; /* contiguous, on a backend */
} bl_st_source;
/* Appended to *out. */
bl_status bl_safetensors_put(const bl_st_source *x, size_t n, bl_text *out, bl_err *e);
#endif
