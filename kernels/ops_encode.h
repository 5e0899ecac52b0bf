/* ops_encode.h - arguments of the ops that text encoders have beside those of LLaMA models. Part of ops.h, which
 * includes it. y may be x. */
#ifndef BL_KERNELS_OPS_ENCODE_H
#define BL_KERNELS_OPS_ENCODE_H
#include "format.h"

/* y = (x - m) / sqrt(mean (x - m)^2 + eps) weight + bias, m = mean x of the row (Ba et al. 2016); sums in double */
typedef struct bl_layernorm_args {
    bl_tensor x, weight, bias, y; /* act [rows, dim], f32 [dim] x 2, act [rows, dim] */
    double eps;
} bl_layernorm_args;

/* y = x / 2 (1 + erf(x / sqrt 2)) (Hendrycks and Gimpel 2016) */
typedef struct bl_gelu_args {
    bl_tensor x, y; /* act [rows, n] each */
} bl_gelu_args;

bl_status bl_check_layernorm(const bl_backend *be, const bl_layernorm_args *a, bl_err *e);
bl_status bl_check_gelu(const bl_backend *be, const bl_gelu_args *a, bl_err *e);
#endif
