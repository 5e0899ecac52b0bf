/* fp16.c - every weight matrix rounded to fp16, half to even: the 16-bit row of published tables.
 *
 * The linears of the blocks, the token embeddings and lm_head; norms stay as they are stored.
 */
#include "harness/quant/dense.h"

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    return bl_method_dense(r, lin, "fp16", stat, e);
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    (void)r;
    return bl_predict_dense(lin, "fp16", format, shape);
}

const bl_method bl_method_fp16 = {
    .name = "fp16",
    .version = 1,
    .title = "Rounded to fp16",
    .cite = "baseline",
    .doc = "IEEE half precision: 5 bits of exponent, 10 of fraction. A weight above 65,504 is refused.",
    .layer = layer,
    .predict = predict,
    .wants_head = bl_wants_head,
};
