/* full.c - every parameter is trained: the yardstick of all finetuning. */
#include "harness/quant/dense.h"
#include "harness/train/effective.h"

static bl_status learns(const bl_method_run *r, bl_trainable *t, bl_err *e)
{
    (void)r;
    return bl_train_full(t, e);
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    (void)r;
    return bl_predict_dense(lin, "fp32", format, shape);
}

const bl_method bl_method_full = {
    .name = "full",
    .version = 1,
    .title = "Full finetuning",
    .cite = "baseline",
    .doc = "Weights, embedding, head, biases and norms are trained and kept in fp32.",
    .needs = BL_NEED_TRAINING,
    .learns = learns,
    .predict = predict,
    .wants_head = bl_wants_head,
};
