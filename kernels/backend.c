/* backend.c - the table of backends, and the one a device belongs to. */
#include "backend_impl.h"
#include <stdlib.h>

#define BL_BACKEND(id) extern const bl_backend_kind bl_backend_##id;
#include "backends.def"
#undef BL_BACKEND
static const bl_backend_kind *const backends[] = {
#define BL_BACKEND(id) &bl_backend_##id,
#include "backends.def"
#undef BL_BACKEND
};

/* The best device there is, or what the environment says. */
static const char *usual(void)
{
    const char *said = getenv("BITLADDER_DEVICE");
    if (said && *said) return said;
    for (size_t i = 0; i < BL_COUNT(backends); i++)
        if (backends[i]->is(backends[i]->name)) return backends[i]->name;
    return NULL;
}

static const bl_backend_kind *kind_of(const char *device)
{
    if (!device) device = usual();
    for (size_t i = 0; i < BL_COUNT(backends) && device; i++)
        if (backends[i]->is(device)) return backends[i];
    return NULL;
}

bool bl_device_at(int i, char out[32])
{
    for (size_t k = 0; k < BL_COUNT(backends); k++) {
        int n = backends[k]->count ? backends[k]->count() : 1;
        if (i < n) {
            if (backends[k]->count) snprintf(out, 32, "%s:%d", backends[k]->name, i);
            else snprintf(out, 32, "%s", backends[k]->name);
            return true;
        }
        i -= n;
    }
    return false;
}

bl_status bl_device_check(const char *device, bl_err *e)
{
    char there[256] = "", name[32];
    if (kind_of(device)) return BL_OK;
    for (size_t i = 0, n = 0; bl_device_at((int)i, name) && n < sizeof there; i++)
        n += (size_t)snprintf(there + n, sizeof there - n, "%s%s", i ? ", " : "", name);
    return bl_fail(e, BL_E_UNSUPPORTED, "no device '%s'; there are: %s", device ? device : usual(), there);
}

static const char *numerics_of(const bl_backend_kind *k, bool deterministic)
{
    return deterministic && k->fixed ? k->fixed : k->numerics;
}

const char *bl_device_numerics(const char *device, bool deterministic)
{
    const bl_backend_kind *k = kind_of(device);
    return k ? numerics_of(k, deterministic) : NULL;
}

double bl_device_flops(const char *device)
{
    const bl_backend_kind *k = kind_of(device);
    return k ? k->flops : 0;
}

int64_t bl_device_wide(const char *device)
{
    const bl_backend_kind *k = kind_of(device);
    return k ? k->wide : 1;
}

double bl_device_block_seconds(const char *device)
{
    const bl_backend_kind *k = kind_of(device);
    return k ? k->block_seconds : 0;
}

const char *bl_backend_numerics(const bl_backend *be) { return numerics_of(be->kind, be->opts.deterministic); }

bl_status bl_backend_open(const bl_backend_opts *o, bl_backend **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_backend *be = NULL;
    const char *device = o->device ? o->device : o->reference || o->isa != BL_ISA_BEST ? "cpu" : usual();
    BL_TRY(bl_device_check(device, e));
    if (o->threads < 0) return bl_fail(e, BL_E_CONFIG, "threads: %d is not a number of threads", o->threads);
    if (!(be = bl_new(1, sizeof *be, e))) return BL_E_NOMEM;
    be->opts = *o;
    be->kind = kind_of(device);
    be->opts.device = device;
    be->wide = be->kind->wide;
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

bl_status bl_buffer_fit(bl_backend *be, bl_buffer **b, uint64_t bytes, bl_err *e)
{
    if (*b && (*b)->bytes >= bytes) return BL_OK;
    be->ops->buffer_free(*b);
    *b = NULL;
    return be->ops->buffer_new(be, bytes, b, e);
}
