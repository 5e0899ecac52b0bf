/* dense.h - the hooks of methods that store every matrix in one format without groups: "fp32", "bf16". */
#ifndef BL_HARNESS_QUANT_DENSE_H
#define BL_HARNESS_QUANT_DENSE_H
#include "harness/method.h"

/* What `layer` does, and what `predict` says. */
bl_status bl_method_dense(const bl_method_run *r, bl_linear *lin, const char *format, bl_layer_stat *stat, bl_err *e);
bool bl_predict_dense(const bl_linear *lin, const char *name, const bl_format **format, bl_shape *shape);
/* `wants_head` of one that means the head and the embedding too. */
bool bl_wants_head(const bl_method_run *r);
#endif
