/* shared_fp4.c - which linears become 4-bit floats. */
#include "shared_fp4.h"

bool bl_fp4_takes(const bl_method_run *r, const bl_fp4_opts *o, const bl_linear *lin)
{
    if (lin->block >= 0) return true;
    if (lin->role == BL_ROLE_HEAD) return o->head;
    return o->embeddings || (o->head && !r->model->head.weight.format);
}
