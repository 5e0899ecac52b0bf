/* ref_kv.c - rows of keys and values into a cache, in its format. */
#include "cpu.h"

static void append(const bl_tensor *from, const bl_tensor *cache, const int64_t *to)
{
    for (int64_t i = 0; from->buf && i < from->dim[0]; i++)
        memmove(bl_cpu_row(cache, to[i]), bl_cpu_row(from, i), (size_t)from->dim[1] * sizeof(float));
}

bl_status bl_ref_kv_append(bl_backend *be, const bl_kv_append_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(bl_cpu_check_kv_append(be, a, e));
    append(&a->k, &a->kv.k, bl_cpu_at(&a->to));
    append(&a->v, &a->kv.v, bl_cpu_at(&a->to));
out:
    return st;
}
