/* fp16.c - every weight matrix rounded to fp16, half to even: the 16-bit row of published tables.
 *
 * The linears of the blocks, the token embeddings and lm_head; norms stay as they are stored.
 */
#include "harness/method.h"

static bl_shape geom_of(const bl_linear *lin) { return (bl_shape){.out = lin->out, .in = lin->in}; }

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    bl_shape g = geom_of(lin);
    return bl_method_pack(r, lin, bl_format_find("fp16"), &g, BL_RANGE_OWN, false, stat, e);
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    (void)r;
    *format = bl_format_find("fp16");
    *shape = geom_of(lin);
    return true;
}

static bool wants_head(const bl_method_run *r)
{
    (void)r;
    return true;
}

const bl_method bl_method_fp16 = {
    .name = "fp16",
    .version = 1,
    .title = "Rounded to fp16",
    .cite = "baseline",
    .doc = "IEEE half precision: 5 bits of exponent, 10 of fraction. A weight above 65,504 is refused.",
    .layer = layer,
    .predict = predict,
    .wants_head = wants_head,
};
