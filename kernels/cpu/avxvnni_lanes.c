/* avxvnni_lanes.c - products in integers of up to eight rows with weights in the layout of lanes.h, where the CPU has
 * dot products of bytes and no AVX-512. */
#include "avx2.h"
#include "avx2_lanes.h"

static bool applicable(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    return ((const bl_cpu *)be->own)->vnni && fits(be, BL_ISA_AVXVNNI, a, w, true);
}

const bl_kernel_family bl_family_ilanes_avxvnni = {
    .op = "linear",
    .backend = "cpu",
    .doc = "up to eight rows of activations quantized to integers, sixteen outputs side by side",
    .layout = BL_LAYOUT_LANES,
    .bitwise = true,
    .nmse_limit = 1e-11,
    .decode_ns = 0.01,
    .product_ns = 0.015,
    .applicable = applicable,
    .run = bl_product_run,
    .own = &(const bl_cpu_product){.source = bl_source_of, .plan_integer = plan_integers},
};
