/* watch.c - where and how something is measured: the facts that every record of timings has, whatever is timed.
 *
 * Of a GPU: its clocks and what holds them down, and probes of it before, between and after. Of a CPU: the load of the
 * machine before, how fast all threads read its memory, before and after, and compute in registers.
 */
#include "bench_impl.h"
#include "bl_build.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

const bl_kernel *bl_bench_base(const bl_backend *be)
{
    const bl_kernel *k, *base = NULL;
    for (size_t i = 0; (k = bl_kernel_at(i)); i++)
        if (strcmp(k->family->backend, be->ops->name) == 0 && k->family->any && strcmp(k->format->name, "bf16") == 0)
            base = k;
    return base;
}

static bl_status open_gpu(bl_watch *w, const char *bus, bl_err *e)
{
    bl_status st = BL_OK;
    w->clocks = bl_clocks_open(bus);
    BL_TRY(bl_backend_open(&(bl_backend_opts){.device = w->be->opts.device}, &w->own, e));
    w->probes = (bl_probes){
        .of = {.be = w->own, .a = w->a, .clocks = w->clocks}, .base = bl_bench_base(w->own), .rest = w->rest};
    BL_TRY(bl_probes_open(&w->probes, e));
    BL_TRY(bl_watch_look(w, false, e));
out:
    return st;
}

bl_status bl_watch_open(bl_watch *w, bl_err *e)
{
    bl_status st = BL_OK;
    bl_device_info device;
    const bool cpu = strcmp(w->be->ops->name, "cpu") == 0;
    w->be->ops->device_info(w->be, &device);
    *w->to = (bl_kernel_facts){.device = bl_arena_str(w->a, device.name, strlen(device.name), e),
                               .simd = bl_arena_str(w->a, device.simd, strlen(device.simd), e),
                               .blas = cpu ? bl_blas_name() : "cuBLAS, bf16 weights",
                               .commit = BL_BUILD_COMMIT,
                               .threads = device.threads,
                               .held = "",
                               .slowed = "",
                               .driver = ""};
    if (!w->to->device || !w->to->simd) return BL_E_NOMEM;
    if (getloadavg(&w->to->load, 1) != 1) w->to->load = 0;
    if (!cpu) return open_gpu(w, device.bus, e);
    if (w->cold_bytes) BL_TRY(bl_kernel_bandwidth(w->be, w->cold_bytes, &w->to->read_bytes_per_second, e));
    bl_blas_pause(0.05);
    w->to->peak = bl_kernel_peak(w->be, false);
    w->to->peak_integer = bl_kernel_peak(w->be, true);
out:
    return st;
}

bl_status bl_watch_look(bl_watch *w, bool last, bl_err *e) { return bl_probes_look(&w->probes, last, e); }

bl_status bl_watch_end(bl_watch *w, bl_err *e)
{
    bl_status st = BL_OK;
    if (w->own) {
        BL_TRY(bl_watch_look(w, true, e));
        BL_TRY(bl_probes_result(&w->probes, w->to, e));
        st = bl_clocks_close(w->clocks, w->a, w->to, e);
        w->clocks = NULL;
    } else if (w->cold_bytes) { /* what others take of it changes: the better of before and after */
        double after;
        BL_TRY(bl_kernel_bandwidth(w->be, w->cold_bytes, &after, e));
        w->to->read_bytes_per_second = fmax(w->to->read_bytes_per_second, after);
    }
out:
    return st;
}

void bl_watch_close(bl_watch *w)
{
    bl_kernel_facts none;
    bl_clocks_close(w->clocks, w->a, &none, NULL);
    bl_probes_close(&w->probes);
    bl_backend_close(w->own);
    *w = (bl_watch){0};
}
