/* method_pack.c - a linear's weight into another format, and what was lost on the way. */
#include "harness/method.h"

bl_status bl_method_pack(const bl_method_run *r, bl_linear *lin, const bl_format *format, const bl_shape *shape,
                         bl_range_rule fit, bool mse, bl_layer_stat *stat, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tensor dense = {0};
    bl_weight packed = {0};
    double error = 0, power = 0;

    BL_TRY(bl_linear_dense(r->be, lin, &dense, e));
    BL_TRY(bl_weight_new(r->be, format, shape, &packed, e));
    BL_TRY(r->ops->pack(
        r->be,
        &(bl_pack_args){.x = dense, .w = &packed, .rule = fit, .mse = mse, .sq_error = &error, .sq_weight = &power},
        e));
    BL_TRY(r->ops->sync(r->be, e));
    stat->mse = error / ((double)lin->out * (double)lin->in);
    stat->nmse = power > 0 ? error / power : 0;
    bl_linear_set_weight(lin, &packed); /* the linear owns it now */
out:
    bl_weight_free(&packed);
    r->ops->buffer_free(dense.buf);
    return st;
}
