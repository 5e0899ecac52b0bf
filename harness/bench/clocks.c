/* clocks.c - how fast a GPU was clocked while it was measured, and what kept it down: NVIDIA's management library,
 * opened when it is there.
 */
#include "bench_impl.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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
    char driver[96];
    pthread_t thread; /* that looks beside who computes */
    bool beside;
    atomic_bool enough;
    double every;
    size_t first;               /* of its looks */
    unsigned long long earlier; /* bits of those before it */
} bl_clocks;

static const struct {
    unsigned long long bit;
    bool fault; /* of the machine: who compares has to know */
    const char *what;
} why[] = {{0x2, true, "clocks that were set"}, {0x4, false, "power cap"},       {0x8, true, "hardware slowdown"},
           {0x10, false, "sync boost"},         {0x20, true, "heat (software)"}, {0x40, true, "heat"},
           {0x80, true, "power brake"},         {0x100, true, "display clocks"}}; /* 0x1: it has nothing to do */

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

bl_look bl_clocks_look(bl_clocks *c)
{
    unsigned long long bits = 0;
    unsigned now = 0;
    bl_look got = {0};
    if (!c) return got;
    if (c->n < MOST_SAMPLES && c->clock(c->device, CLOCK_SM, &c->mhz[0][c->n]) == 0 &&
        c->clock(c->device, CLOCK_MEMORY, &c->mhz[1][c->n]) == 0)
        got.mhz = c->mhz[0][c->n++];
    if (c->power && c->power(c->device, &now) == 0) c->milliwatts = BL_MAX(c->milliwatts, now);
    if (c->heat && c->heat(c->device, CHIP, &now) == 0) c->degrees = BL_MAX(c->degrees, now);
    if (c->reasons(c->device, &bits) == 0) c->bits |= bits;
    got.held = bits;
    return got;
}

static int by_value(const void *x, const void *y)
{
    unsigned a = *(const unsigned *)x, b = *(const unsigned *)y;
    return (a > b) - (a < b);
}

static double median(unsigned *mhz, size_t n)
{
    qsort(mhz, n, sizeof *mhz, by_value);
    return n ? mhz[n / 2] : 0;
}

/* ---- beside who computes ---- */
static void *looking(void *arg)
{
    bl_clocks *c = arg;
    const struct timespec rest = {(time_t)c->every, (long)((c->every - (double)(time_t)c->every) * 1e9)};
    for (;;) {
        nanosleep(&rest, NULL);
        if (atomic_load(&c->enough)) return NULL;
        bl_clocks_look(c);
    }
}

void bl_clocks_beside(bl_clocks *c, double every)
{
    if (!c) return;
    c->every = every;
    c->first = c->n;
    c->earlier = c->bits;
    c->bits = 0;
    atomic_store(&c->enough, false);
    c->beside = pthread_create(&c->thread, NULL, looking, c) == 0;
    if (!c->beside) c->bits = c->earlier;
}

bl_look bl_clocks_enough(bl_clocks *c)
{
    bl_look got = {0};
    if (!c || !c->beside) return got;
    atomic_store(&c->enough, true);
    pthread_join(c->thread, NULL);
    c->beside = false;
    got = (bl_look){median(c->mhz[0] + c->first, c->n - c->first), c->bits};
    c->n = c->first;
    c->bits |= c->earlier;
    return got;
}

/* ---- in words ---- */
static const char *names(unsigned long long bits, bool faults, bl_arena *a, bl_err *e)
{
    char text[160] = "";
    for (size_t i = 0; i < BL_COUNT(why); i++) {
        size_t n = strlen(text);
        if (bits & why[i].bit && (why[i].fault || !faults))
            snprintf(text + n, sizeof text - n, "%s%s", n ? ", " : "", why[i].what);
    }
    return bl_arena_str(a, text, strlen(text), e);
}

const char *bl_clocks_held(uint64_t held, bl_arena *a, bl_err *e) { return names(held, false, a, e); }

bl_status bl_clocks_close(bl_clocks *c, bl_arena *a, bl_kernel_facts *to, bl_err *e)
{
    if (!c) return BL_OK;
    bl_clocks_enough(c);
    to->clock = median(c->mhz[0], c->n);
    to->memory_clock = median(c->mhz[1], c->n);
    to->watts = c->milliwatts * 1e-3;
    to->degrees = c->degrees;
    to->held = names(c->bits, false, a, e);
    to->slowed = names(c->bits, true, a, e);
    to->driver = bl_arena_str(a, c->driver, strlen(c->driver), e);
    c->shutdown();
    dlclose(c->lib);
    bl_free(c);
    return to->held && to->slowed && to->driver ? BL_OK : BL_E_NOMEM;
}
