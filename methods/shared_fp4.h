/* shared_fp4.h - what the methods with 4-bit floats share: which linears, and the hooks. */
#ifndef BL_METHODS_SHARED_FP4_H
#define BL_METHODS_SHARED_FP4_H
#include "harness/method.h"

typedef struct bl_fp4_opts {
    int rule; /* index of a row's `rules` */
    bool head, embeddings;
} bl_fp4_opts;
/* clang-format off */
#define BL_FP4_ROWS(type, names, words) \
    {"rule", BL_OPT_CHOICE, .choices = names, .at = offsetof(type, rule), .doc = words}, \
    {"head", BL_OPT_BOOL, .at = offsetof(type, head), .doc = "quantize lm_head too"}, \
    {"embeddings", BL_OPT_BOOL, .at = offsetof(type, embeddings), .doc = "quantize the token embeddings too"}
/* clang-format on */

/* Block linears always; the ends of the model when asked. One table that serves as both is quantized when either is. */
bool bl_fp4_takes(const bl_method_run *r, const bl_fp4_opts *o, const bl_linear *lin);
#endif
