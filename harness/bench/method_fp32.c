/* method_fp32.c - every weight matrix as fp32: what the fast paths are measured against. A method of bench only;
 * studies compare with `base`.
 *
 * The linears of the blocks, the token embeddings and lm_head; norms stay as they are stored.
 */
#include "bench_impl.h"
#include "harness/quant/dense.h"

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    return bl_method_dense(r, lin, "fp32", stat, e);
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    (void)r;
    return bl_predict_dense(lin, "fp32", format, shape);
}

const bl_method bl_bench_fp32 = {
    .name = "fp32",
    .version = 1,
    .title = "As fp32",
    .cite = "baseline",
    .doc = "Every weight matrix as fp32.",
    .layer = layer,
    .predict = predict,
    .wants_head = bl_wants_head,
};
