/* backend.c - opens the backend of a device by name. */
#include "kernels/cpu/cpu.h"

bl_status bl_backend_open(const bl_backend_opts *o, bl_backend **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_backend *be = NULL;
    if (o->device && strcmp(o->device, "cpu") != 0)
        return bl_fail(e, BL_E_UNSUPPORTED, "no device '%s'; there are: cpu", o->device);
    if (o->threads < 0) return bl_fail(e, BL_E_CONFIG, "threads: %d is not a number of threads", o->threads);
    if (!(be = bl_new(1, sizeof *be, e))) return BL_E_NOMEM;
    be->opts = *o;
    be->opts.device = "cpu";
    BL_TRY(bl_cpu_open(be, e));
    *out = be;
    be = NULL;
out:
    bl_free(be);
    return st;
}

void bl_backend_close(bl_backend *be)
{
    if (!be) return;
    bl_cpu_close(be);
    bl_free(be);
}
