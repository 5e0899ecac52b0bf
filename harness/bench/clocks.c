/* clocks.c - how fast a GPU was clocked while it was measured, and what kept it down: NVIDIA's management library,
 * opened when it is there.
 */
#include "bench_impl.h"
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* nvml.h of the toolkit is not needed: these calls and the bits have been the same since 2016. */
enum { CLOCK_SM = 1, CLOCK_MEMORY = 2, CHIP = 0, MOST_SAMPLES = 4096 };
typedef struct bl_clocks {
    void *lib, *device;
    int (*clock)(void *device, int kind, unsigned *mhz);
    int (*reasons)(void *device, unsigned long long *bits);
    int (*power)(void *device, unsigned *milliwatts), (*heat)(void *device, int of, unsigned *degrees);
    int (*shutdown)(void);
    unsigned mhz[2][MOST_SAMPLES], milliwatts, degrees; /* of the multiprocessors, of the memory; the most */
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
        entry(c, "nvmlDeviceGetPowerUsage", &c->power);
        entry(c, "nvmlDeviceGetTemperature", &c->heat);
        if (by_bus(bus, &c->device) == 0) return c;
        c->shutdown();
    }
    if (c->lib) dlclose(c->lib);
    bl_free(c);
    return NULL;
}

double bl_clocks_look(bl_clocks *c)
{
    unsigned long long bits = 0;
    unsigned now = 0;
    double mhz = 0;
    if (!c) return 0;
    if (c->n < MOST_SAMPLES && c->clock(c->device, CLOCK_SM, &c->mhz[0][c->n]) == 0 &&
        c->clock(c->device, CLOCK_MEMORY, &c->mhz[1][c->n]) == 0)
        mhz = c->mhz[0][c->n++];
    if (c->power && c->power(c->device, &now) == 0) c->milliwatts = BL_MAX(c->milliwatts, now);
    if (c->heat && c->heat(c->device, CHIP, &now) == 0) c->degrees = BL_MAX(c->degrees, now);
    if (c->reasons(c->device, &bits) == 0) c->bits |= bits;
    return mhz;
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
    for (int i = 0; i < 2; i++) {
        qsort(c->mhz[i], c->n, sizeof *c->mhz[i], by_value);
        *(i ? &to->memory_clock : &to->clock) = c->n ? c->mhz[i][c->n / 2] : 0;
    }
    to->watts = c->milliwatts * 1e-3;
    to->degrees = c->degrees;
    to->slowed = bl_arena_str(a, c->faults, strlen(c->faults), e);
    to->throttled = bl_arena_str(a, c->all, strlen(c->all), e);
    to->driver = bl_arena_str(a, c->driver, strlen(c->driver), e);
    c->shutdown();
    dlclose(c->lib);
    bl_free(c);
    return to->slowed && to->throttled && to->driver ? BL_OK : BL_E_NOMEM;
}
