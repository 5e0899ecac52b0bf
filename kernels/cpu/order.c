/* order.c - events: an op is done when it returns, so a point in the order of work is a time. */
#include "cpu.h"

struct bl_event {
    double at; /* NaN: not recorded */
};

bl_status bl_cpu_event_new(bl_backend *be, bl_event **out, bl_err *e)
{
    bl_event *v = bl_new(1, sizeof *v, e);
    (void)be;
    if (!v) return BL_E_NOMEM;
    v->at = (double)NAN;
    *out = v;
    return BL_OK;
}

void bl_cpu_event_free(bl_event *v) { bl_free(v); }

bl_status bl_cpu_event_record(bl_backend *be, bl_event *v, bl_err *e)
{
    (void)be;
    (void)e;
    v->at = bl_now();
    return BL_OK;
}

bl_status bl_cpu_event_seconds(const bl_event *from, const bl_event *to, double *seconds, bl_err *e)
{
    if (isnan(from->at) || isnan(to->at)) return bl_fail(e, BL_E_INTERNAL, "an event was not recorded");
    *seconds = to->at - from->at;
    return BL_OK;
}
