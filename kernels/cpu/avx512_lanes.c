/* avx512_lanes.c - products of up to eight rows with weights in the layout of lanes.h, sixteen outputs a vector. */
#include "avx2.h"
#include "avx2_lanes.h"

static bool in_floats(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    return fits(be, BL_ISA_AVX512, a, w, false);
}
static bool in_integers(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    return fits(be, BL_ISA_AVX512, a, w, true);
}

const bl_kernel_family bl_family_lanes_avx512 = {
    .op = "linear",
    .backend = "cpu",
    .doc = "up to eight rows, sixteen outputs side by side",
    .layout = BL_LAYOUT_LANES,
    .bitwise = true,
    .nmse_limit = 1e-11,
    .decode_ns = 0.03,
    .product_ns = 0.02,
    .applicable = in_floats,
    .run = bl_product_run,
    .own = &(const bl_cpu_product){.source = bl_source_of, .plan = plan_floats},
};
const bl_kernel_family bl_family_ilanes_avx512 = {
    .op = "linear",
    .backend = "cpu",
    .doc = "up to eight rows of activations quantized to integers, sixteen outputs side by side",
    .layout = BL_LAYOUT_LANES,
    .bitwise = true,
    .nmse_limit = 1e-11,
    .decode_ns = 0.01,
    .product_ns = 0.005,
    .applicable = in_integers,
    .run = bl_product_run,
    .own = &(const bl_cpu_product){.source = bl_source_of, .plan_integer = plan_integers},
};
