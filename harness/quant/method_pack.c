/* method_pack.c - a linear's weight into another format, and what was lost on the way. */
#include "harness/method.h"

/* Rows that are packed at once: all, or of an end of the model, which may be larger than all blocks that are in memory,
 * as many as make BL_PACK_DENSE weights, where every part of the format has the rows of the weight. A multiple of 64,
 * so that slices of parts begin at multiples of 64 bytes as parts do. */
static int64_t rows_of(const bl_linear *lin, const bl_weight *packed)
{
    int64_t all = packed->shape.out, some = BL_PACK_DENSE / BL_MAX(packed->shape.in, 1) / 64 * 64;
    if (lin->block >= 0) return all;
    for (int i = 0; i < packed->n_parts; i++)
        if (packed->part[i].ndim != 2 || packed->part[i].dim[0] != all) return all;
    return BL_MIN(all, BL_MAX(some, 64));
}

bl_status bl_method_pack(const bl_method_run *r, bl_linear *lin, const bl_format *format, const bl_shape *shape,
                         bl_range_rule fit, bool mse, bl_layer_stat *stat, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tensor dense = {0};
    bl_weight packed = {0};
    double error = 0, power = 0;

    BL_TRY(bl_weight_new(r->be, format, shape, &packed, e));
    int64_t rows = rows_of(lin, &packed), in = lin->weight.shape.in;
    BL_TRY(r->ops->buffer_new(r->be, (uint64_t)(rows * in) * sizeof(float), &dense.buf, e));
    for (int64_t at = 0; at < lin->out; at += rows) {
        int64_t n = BL_MIN(rows, lin->out - at);
        bl_tensor x = bl_tensor_2d(dense.buf, 0, BL_F32, n, in);
        bl_weight slice = packed;
        double d = 0, p = 0;
        slice.shape.out = n;
        for (int i = 0; n < lin->out && i < slice.n_parts; i++) slice.part[i] = bl_tensor_rows(packed.part[i], at, n);
        BL_TRY(r->ops->unpack(r->be, &(bl_unpack_args){.w = &lin->weight, .row0 = at, .rows = n, .y = x}, e));
        BL_TRY(r->ops->pack(
            r->be, &(bl_pack_args){.x = x, .w = &slice, .rule = fit, .mse = mse, .sq_error = &d, .sq_weight = &p}, e));
        BL_TRY(r->ops->sync(r->be, e));
        error += d;
        power += p;
    }
    stat->mse = error / ((double)lin->out * (double)lin->in);
    stat->nmse = power > 0 ? error / power : 0;
    bl_linear_set_weight(lin, &packed); /* the linear owns it now */
out:
    bl_weight_free(&packed);
    r->ops->buffer_free(dense.buf);
    return st;
}
