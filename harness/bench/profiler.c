/* profiler.c - tells a profiler that was started to wait (ncu --profile-from-start off) which launches to look at:
 * those of a kernel, and none of how its case is made and checked. The driver's library passes it on, where there is
 * one.
 */
#include "bench_impl.h"
#include <dlfcn.h>
#include <string.h>

void bl_profiler(bool look)
{
    void *lib = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL), *p;
    int (*call)(void);
    if (!lib) return;
    if ((p = dlsym(lib, look ? "cuProfilerStart" : "cuProfilerStop"))) {
        memcpy(&call, &p, sizeof call); /* POSIX promises that the two kinds of pointers look alike */
        call();
    }
    dlclose(lib);
}
