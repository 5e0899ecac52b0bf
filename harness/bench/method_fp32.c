/* method_fp32.c - every weight matrix as fp32: what the fast paths are measured against. A method of bench only;
 * studies compare with `base`.
 *
 * The linears of the blocks, the token embeddings and lm_head; norms stay as they are stored.
 */
#include "bench_impl.h"

static bl_shape geom_of(const bl_linear *lin) { return (bl_shape){.out = lin->out, .in = lin->in}; }

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    bl_shape g = geom_of(lin);
    return bl_method_pack(r, lin, bl_format_find("fp32"), &g, BL_RANGE_OWN, false, stat, e);
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    (void)r;
    *format = bl_format_find("fp32");
    *shape = geom_of(lin);
    return true;
}

static bool wants_head(const bl_method_run *r)
{
    (void)r;
    return true;
}

const bl_method bl_bench_fp32 = {
    .name = "fp32",
    .version = 1,
    .title = "As fp32",
    .cite = "baseline",
    .doc = "Every weight matrix as fp32.",
    .layer = layer,
    .predict = predict,
    .wants_head = wants_head,
};
