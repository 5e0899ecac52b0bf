/* dense.c - the hooks of methods that store every matrix in one format without groups. */
#include "dense.h"

bl_status bl_method_dense(const bl_method_run *r, bl_linear *lin, const char *format, bl_layer_stat *stat, bl_err *e)
{
    const bl_format *f;
    bl_shape shape;
    bl_predict_dense(lin, format, &f, &shape);
    return bl_method_pack(r, lin, f, &shape, BL_RANGE_OWN, false, stat, e);
}

bool bl_predict_dense(const bl_linear *lin, const char *name, const bl_format **format, bl_shape *shape)
{
    *format = bl_format_find(name);
    *shape = (bl_shape){.out = lin->out, .in = lin->in};
    return true;
}

bool bl_wants_head(const bl_method_run *r)
{
    (void)r;
    return true;
}
