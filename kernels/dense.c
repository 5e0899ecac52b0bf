/* dense.c - a dense f32 matrix where a product wants a weight. */
#include "dense.h"

bl_weight bl_weight_of(bl_tensor t)
{
    return (bl_weight){.format = bl_format_find(t.dtype == BL_BF16 ? "bf16" : "fp32"),
                       .shape = {.out = t.dim[0], .in = t.dim[1]},
                       .n_parts = 1,
                       .part = {t}};
}

bl_status bl_dense_product(bl_backend *be, bl_tensor w, bl_tensor x, bl_tensor y, bool transpose, bool accumulate,
                           bl_err *e)
{
    const bl_weight v = bl_weight_of(w);
    return be->ops->linear(
        be, &(bl_linear_args){.x = x, .w = {&v}, .y = {y}, .transpose = transpose, .accumulate = accumulate}, e);
}
