/* clocks.c - how fast a GPU was clocked while it was measured, and what kept it down: NVIDIA's management library,
 * opened when it is there.
 */
#include "bench_impl.h"
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* nvml.h of the toolkit is not needed: these four calls and the bits have been the same since 2016. */
enum { CLOCK_SM = 1, MOST_SAMPLES = 4096 };
typedef struct bl_clocks {
    void *lib, *device;
    int (*clock)(void *device, int kind, unsigned *mhz);
    int (*reasons)(void *device, unsigned long long *bits);
    int (*shutdown)(void);
    unsigned mhz[MOST_SAMPLES];
    size_t n;
    unsigned long long bits;
    char driver[96], faults[96], all[160];
} bl_clocks;

static const struct {
    unsigned long long bit;
    bool fault; /* of the machine: who compares has to know */
    const char *what;
} why[] = {{0x4, false, "power cap"},   {0x8, true, "hardware slowdown"},
           {0x10, false, "sync boost"}, {0x20, true, "heat (software)"},
           {0x40, true, "heat"},        {0x80, true, "power brake"}};

static bool entry(bl_clocks *c, const char *name, void *to)
{
    void *p = dlsym(c->lib, name);
    memcpy(to, &p, sizeof p); /* POSIX promises that the two kinds of pointers look alike */
    return p != NULL;
}

bl_clocks *bl_clocks_open(const char *bus)
{
    bl_err e;
    int (*init)(void), (*by_bus)(const char *, void **), (*version)(char *, unsigned);
    bl_clocks *c = *bus ? bl_new(1, sizeof *c, &e) : NULL;
    if (!c) return NULL;
    if ((c->lib = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL)) && entry(c, "nvmlInit_v2", &init) &&
        entry(c, "nvmlShutdown", &c->shutdown) && entry(c, "nvmlDeviceGetHandleByPciBusId_v2", &by_bus) &&
        entry(c, "nvmlDeviceGetClockInfo", &c->clock) &&
        (entry(c, "nvmlDeviceGetCurrentClocksEventReasons", &c->reasons) ||
         entry(c, "nvmlDeviceGetCurrentClocksThrottleReasons", &c->reasons)) &&
        init() == 0) {
        if (entry(c, "nvmlSystemGetDriverVersion", &version)) version(c->driver, sizeof c->driver);
        if (by_bus(bus, &c->device) == 0) return c;
        c->shutdown();
    }
    if (c->lib) dlclose(c->lib);
    bl_free(c);
    return NULL;
}

void bl_clocks_look(bl_clocks *c)
{
    unsigned long long bits = 0;
    unsigned mhz = 0;
    if (!c) return;
    if (c->n < MOST_SAMPLES && c->clock(c->device, CLOCK_SM, &mhz) == 0) c->mhz[c->n++] = mhz;
    if (c->reasons(c->device, &bits) == 0) c->bits |= bits;
}

static int by_value(const void *x, const void *y)
{
    unsigned a = *(const unsigned *)x, b = *(const unsigned *)y;
    return (a > b) - (a < b);
}

static void names(unsigned long long bits, bool faults, char *out, size_t size)
{
    out[0] = 0;
    for (size_t i = 0; i < BL_COUNT(why); i++) {
        size_t n = strlen(out);
        if (bits & why[i].bit && (why[i].fault || !faults))
            snprintf(out + n, size - n, "%s%s", n ? ", " : "", why[i].what);
    }
}

bl_status bl_clocks_close(bl_clocks *c, bl_arena *a, bl_bench_result *to, bl_err *e)
{
    if (!c) return BL_OK;
    names(c->bits, true, c->faults, sizeof c->faults);
    names(c->bits, false, c->all, sizeof c->all);
    qsort(c->mhz, c->n, sizeof *c->mhz, by_value);
    to->clock = c->n ? c->mhz[c->n / 2] : 0;
    to->slowed = bl_arena_str(a, c->faults, strlen(c->faults), e);
    to->throttled = bl_arena_str(a, c->all, strlen(c->all), e);
    to->driver = bl_arena_str(a, c->driver, strlen(c->driver), e);
    c->shutdown();
    dlclose(c->lib);
    bl_free(c);
    return to->slowed && to->throttled && to->driver ? BL_OK : BL_E_NOMEM;
}
