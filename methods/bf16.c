/* bf16.c - every weight matrix rounded to bf16, half to even: the 16-bit row of published tables.
 *
 * The linears of the blocks, the token embeddings and lm_head; norms stay as they are stored.
 */
#include "harness/quant/dense.h"

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    return bl_method_dense(r, lin, "bf16", stat, e);
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    (void)r;
    return bl_predict_dense(lin, "bf16", format, shape);
}

const bl_method bl_method_bf16 = {
    .name = "bf16",
    .version = 1,
    .title = "Rounded to bf16",
    .cite = "baseline",
    .doc = "bfloat16: the exponent of float, 7 bits of fraction.",
    .layer = layer,
    .predict = predict,
    .wants_head = bl_wants_head,
};
