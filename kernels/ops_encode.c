/* ops_encode.c - what every backend checks about the arguments of ops_encode.h before it computes. */
#include "ops_impl.h"

bl_status bl_check_layernorm(const bl_backend *be, const bl_layernorm_args *a, bl_err *e)
{
    if (!bl_is_matrix(&a->x, be->act, -1, -1) || !bl_is_matrix(&a->y, be->act, a->x.dim[0], a->x.dim[1]) ||
        !bl_is_list(&a->weight, BL_F32, a->x.dim[1]) || !bl_is_list(&a->bias, BL_F32, a->x.dim[1]))
        return bl_broken(e, "layernorm", "shapes of x, weight, bias and y differ");
    return BL_OK;
}

bl_status bl_check_gelu(const bl_backend *be, const bl_gelu_args *a, bl_err *e)
{
    if (!bl_is_matrix(&a->x, be->act, -1, -1) || !bl_is_matrix(&a->y, be->act, a->x.dim[0], a->x.dim[1]))
        return bl_broken(e, "gelu", "shapes of x and y differ");
    return BL_OK;
}
