/* shared_weight.h - matrices on the backend, and what methods do with the weight of a linear: scale it, put it back,
 * say how far the stored one is from it. */
#ifndef BL_METHODS_SHARED_WEIGHT_H
#define BL_METHODS_SHARED_WEIGHT_H
#include "harness/method.h"

/* A buffer of its own; bl_matrix_free. */
bl_status bl_matrix_new(const bl_method_run *r, bl_dtype type, int64_t rows, int64_t cols, bl_tensor *out, bl_err *e);
bl_status bl_vector_new(const bl_method_run *r, bl_dtype type, int64_t n, bl_tensor *out, bl_err *e);
bl_status bl_list_new(const bl_method_run *r, const float *v, int64_t n, bl_tensor *out, bl_err *e); /* f32 [n] */
void bl_matrix_free(const bl_method_run *r, bl_tensor *t); /* no tensor is fine */

/* The weight becomes itself in fp32, w[i, j] rows[i] cols[j], and the bias follows its rows; host lists, NULL: 1. */
bl_status bl_linear_rescale(const bl_method_run *r, bl_linear *lin, const float *rows, const float *cols, bl_err *e);
/* w += s B A; f32 [out, in]. */
bl_status bl_lowrank_add(const bl_method_run *r, const bl_lowrank *a, bl_tensor w, bl_err *e);
/* The weight of a norm divided by s [n]. */
bl_status bl_norm_divide(const bl_method_run *r, bl_norm *norm, const float *s, bl_err *e);
/* BL_E_UNSUPPORTED, saying `why`, where a linear of those roles (bits, 0: all) has an adapter, transforms, or inputs
 * that are quantized. */
bl_status bl_plain_linears(const bl_method_run *r, uint32_t roles, const char *why, bl_err *e);
/* Of a method that takes head and embeddings where it is asked to: block linears always, one table that serves as both
 * when either is asked for. */
bool bl_takes_linear(const bl_method_run *r, const bl_linear *lin, bool head, bool embeddings);
/* intN of what `lin` multiplies, group below 1: a row. */
void bl_int_target(const bl_linear *lin, int64_t wbits, int64_t group, bool symmetric, bl_dtype scale,
                   const bl_format **format, bl_shape *shape);
/* The same where `lin` is of a block; false where not. */
bool bl_int_of_block(const bl_linear *lin, int64_t wbits, int64_t group, bool symmetric, bl_dtype scale,
                     const bl_format **format, bl_shape *shape);
/* mse and nmse of `after` against the dense weight it stands for, f32 [out, in]; with second moments h f64 [in, in] of
 * the inputs (else no tensor) out_nmse too. */
bl_status bl_weight_error(const bl_method_run *r, bl_tensor before, const bl_weight *after, bl_tensor h,
                          bl_layer_stat *stat, bl_err *e);
#endif
