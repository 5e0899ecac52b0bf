/* backend.c - the table of backends, and the one a device belongs to. */
#include "backend_impl.h"
#include <string.h>

#define BL_BACKEND(id) extern const bl_backend_kind bl_backend_##id;
#include "backends.def"
#undef BL_BACKEND
static const bl_backend_kind *const backends[] = {
#define BL_BACKEND(id) &bl_backend_##id,
#include "backends.def"
#undef BL_BACKEND
};

static const bl_backend_kind *kind_of(const char *device)
{
    if (!device) return backends[0];
    for (size_t i = 0; i < BL_COUNT(backends); i++)
        if (backends[i]->is(device)) return backends[i];
    return NULL;
}

bl_status bl_device_check(const char *device, bl_err *e)
{
    char there[256] = "";
    if (kind_of(device)) return BL_OK;
    for (size_t i = 0, n = 0; i < BL_COUNT(backends) && n < sizeof there; i++)
        n += (size_t)snprintf(there + n, sizeof there - n, "%s%s", i ? ", " : "", backends[i]->name);
    return bl_fail(e, BL_E_UNSUPPORTED, "no device '%s'; there are: %s", device, there);
}

const char *bl_device_numerics(const char *device)
{
    const bl_backend_kind *k = kind_of(device);
    return k ? k->numerics : NULL;
}

const char *bl_backend_numerics(const bl_backend *be) { return be->kind->numerics; }

bl_status bl_backend_open(const bl_backend_opts *o, bl_backend **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_backend *be = NULL;
    BL_TRY(bl_device_check(o->device, e));
    if (o->threads < 0) return bl_fail(e, BL_E_CONFIG, "threads: %d is not a number of threads", o->threads);
    if (!(be = bl_new(1, sizeof *be, e))) return BL_E_NOMEM;
    be->opts = *o;
    be->kind = kind_of(o->device);
    if (!o->device) be->opts.device = be->kind->name;
    BL_TRY(be->kind->open(be, e));
    *out = be;
    be = NULL;
out:
    bl_free(be);
    return st;
}

void bl_backend_close(bl_backend *be)
{
    if (!be) return;
    be->kind->close(be);
    bl_free(be);
}
