/* probes.c - what the device itself was like while a record was made: the same three products of the library, before,
 * between and after all that is timed. One reads a weight from memory, one has it in the second-level cache, one
 * computes; none depends on the code of a kernel here.
 */
#include "bench_impl.h"
#include <math.h>
#include <string.h>

enum { READ, CACHE, COMPUTE };
enum { MANY = 4096, SOME = 64, OUT = 32768, IN = 8192, SMALL_OUT = 1024, SMALL_IN = 4096 };
#define APART_SECONDS 2.0 /* between rounds, at least */

static const char *const names[BL_PROBES] = {"memory", "cache", "arithmetic"};

bl_status bl_probes_open(bl_probes *p, bl_err *e)
{
    bl_status st = BL_OK;
    bl_device_info device;
    p->of.be->ops->device_info(p->of.be, &device);
    p->of.repetitions = BL_PROBE_REPETITIONS;
    /* a device without the memory for it has no probes */
    if (device.memory_bytes < 8ull << 30 ||
        bl_kernel_prepare(p->base, p->of.be, &(bl_kernel_shape){.rows = MANY, .out = OUT, .in = IN}, &p->large, NULL) !=
            BL_OK)
        return BL_OK;
    p->there = true;
    BL_TRY(bl_kernel_prepare(p->base, p->of.be, &(bl_kernel_shape){.rows = SOME, .out = SMALL_OUT, .in = SMALL_IN},
                             &p->small, e));
    for (int i = 0; i < BL_PROBES; i++)
        if (!(p->t[i] = bl_alloc(p->of.a, BL_PROBE_ROUNDS, sizeof *p->t[i], e))) return BL_E_NOMEM;
    BL_TRY(bl_replays_open(&p->of, e));
out:
    return st;
}

void bl_probes_close(bl_probes *p)
{
    if (!p->there) return;
    bl_replays_close(&p->of);
    bl_kernel_release(p->of.be, &p->large);
    bl_kernel_release(p->of.be, &p->small);
    p->there = false;
}

bl_status bl_probes_look(bl_probes *p, bool last, bl_err *e)
{
    bl_status st = BL_OK;
    const struct {
        const bl_kernel_case *of;
        int64_t rows;
    } each[BL_PROBES] = {[READ] = {&p->large, 1}, [CACHE] = {&p->small, SOME}, [COMPUTE] = {&p->large, MANY}};
    if (!p->there || p->n == BL_PROBE_ROUNDS || (p->n && !last && bl_now() - p->at < APART_SECONDS)) return BL_OK;
    bl_blas_pause(p->rest);
    for (int i = 0; i < BL_PROBES; i++) {
        bl_kernel_case c = *each[i].of;
        bl_times t;
        c.shape.rows = each[i].rows;
        c.x = bl_tensor_rows(c.x, 0, c.shape.rows);
        c.y = bl_tensor_rows(c.y, 0, c.shape.rows);
        BL_TRY(bl_replays_time(&p->of, p->base, &c, &c.w, 1, &t, e));
        p->t[i][p->n] = t.median;
        p->least[i] = p->n ? fmin(p->least[i], t.least) : t.least;
    }
    p->n++;
    p->at = bl_now();
out:
    return st;
}

bl_status bl_probes_result(const bl_probes *p, bl_kernel_facts *to, bl_err *e)
{
    const bl_kernel_shape read = {.rows = 1, .out = OUT, .in = IN}, compute = {.rows = MANY, .out = OUT, .in = IN};
    bl_probe *probe = p->n ? bl_alloc(p->of.a, BL_PROBES, sizeof *probe, e) : NULL;
    if (!p->n) return BL_OK;
    if (!probe) return BL_E_NOMEM;
    for (int i = 0; i < BL_PROBES; i++) probe[i] = (bl_probe){names[i], p->t[i], p->n};
    to->probe = probe;
    to->n_probes = BL_PROBES;
    to->read_bytes_per_second = bl_kernel_bytes(p->base, &read) / p->least[READ];
    to->peak = bl_kernel_flops(&compute) / p->least[COMPUTE];
    return BL_OK;
}
