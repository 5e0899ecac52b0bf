/* avxvnni_igemv.c - products in integers of a row or two where the CPU has dot products of bytes and no AVX-512. */
#include "avx2.h"
#include "avx2_igemv.h"

static bool applicable(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    return ((const bl_cpu *)be->own)->vnni && a->x.dim[0] <= 2 && !w->layout && w->format->kind == BL_FMT_INT &&
           bl_product_fits(be, BL_ISA_AVXVNNI, a, w, true);
}

const bl_kernel_family bl_family_igemv_avxvnni = {
    .op = "linear",
    .backend = "cpu",
    .doc = "one or two rows of activations quantized to integers, exact sums of every group",
    .bitwise = true,
    .nmse_limit = 1e-11,
    .decode_ns = 0.02,
    .product_ns = 0.055,
    .applicable = applicable,
    .run = bl_product_run,
    .own = &(const bl_cpu_product){.source = bl_source_of, .plan_integer = plan},
};
