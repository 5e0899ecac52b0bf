/* method_predict.c - what a linear of an outline becomes, and whether its format can be of that shape. */
#include "harness/method.h"
#include <inttypes.h>

bl_status bl_method_predict(const bl_method_run *r, bl_linear *lin, bool *given, bl_err *e)
{
    const bl_format *f = lin->weight.format;
    bl_shape shape = lin->weight.shape;
    *given = false;
    if (!r->method->predict || !f || !r->method->predict(r, lin, &f, &shape)) return BL_OK;
    bl_status st = f->check(f, &shape, e);
    if (st != BL_OK && shape.group > shape.in)
        return bl_fail(e, st,
                       "group %" PRId64 " is larger than the %" PRId64 " inputs of %s; use -1 (pc) for one scale a row",
                       shape.group, shape.in, lin->name);
    if (st != BL_OK) {
        bl_within(e, "%s", lin->name);
        return st;
    }
    lin->weight.format = f;
    lin->weight.shape = shape;
    *given = true;
    return BL_OK;
}
