/* replays.c - how long products of a device take: graphs of many, replayed one after another.
 *
 * A device that was idle is slow at first, and a host that is busy is late with its next launch; neither is the
 * product's. So a graph has enough products to last, all its replays are in the queue before the first that counts
 * begins, and those before it keep the device busy for as long as its clocks need. A repetition is a replay over the
 * number of its products.
 */
#include "bench_impl.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GRAPH_SECONDS 3e-4 /* that a graph lasts at least */
#define WARM_SECONDS  4e-3 /* that the device is busy before what counts; after some 50 its power may slow it down */
enum { MOST_PRODUCTS = 4096, MOST_BEFORE = 512 };

bl_status bl_replays_open(bl_replays *r, bl_err *e)
{
    bl_status st = BL_OK;
    if (!(r->event = bl_alloc(r->a, (size_t)r->repetitions + 1, sizeof *r->event, e)) ||
        !(r->t = bl_alloc(r->a, (size_t)r->repetitions, sizeof *r->t, e)))
        return BL_E_NOMEM;
    for (int64_t i = 0; i <= r->repetitions; i++) BL_TRY(r->be->ops->event_new(r->be, &r->event[i], e));
out:
    return st;
}

void bl_replays_close(bl_replays *r)
{
    for (int64_t i = 0; r->event && i <= r->repetitions; i++) r->be->ops->event_free(r->event[i]);
    r->event = NULL;
}

/* A graph of n products with the weights w[0 .. distinct), one after another. */
static bl_status record(bl_replays *r, const bl_kernel *k, const bl_kernel_case *c, const bl_weight *w, size_t n,
                        size_t distinct, bl_graph **out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_ops *ops = r->be->ops;
    bl_kernel_case one = *c;
    BL_TRY(ops->graph_begin(r->be, e));
    for (size_t i = 0; i < n && st == BL_OK; i++) {
        one.w = w[i % distinct];
        st = bl_kernel_run(k, r->be, &one, e);
    }
    if (st == BL_OK) return ops->graph_end(r->be, out, e);
    ops->graph_end(r->be, out, NULL);
out:
    return st;
}

static bl_status replay(bl_replays *r, const bl_graph *g, int64_t times, bl_err *e)
{
    bl_status st = BL_OK;
    for (int64_t i = 0; i < times; i++) BL_TRY(r->be->ops->graph_replay(r->be, g, e));
out:
    return st;
}

/* Seconds of one replay, the device being as it is; the second one, as the first loads the graph. */
static bl_status once(bl_replays *r, const bl_graph *g, double *seconds, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_ops *ops = r->be->ops;
    BL_TRY(replay(r, g, 1, e));
    BL_TRY(ops->event_record(r->be, r->event[0], e));
    BL_TRY(replay(r, g, 1, e));
    BL_TRY(ops->event_record(r->be, r->event[1], e));
    BL_TRY(ops->event_seconds(r->event[0], r->event[1], seconds, e));
out:
    return st;
}

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

bl_status bl_replays_time(bl_replays *r, const bl_kernel *k, const bl_kernel_case *c, const bl_weight *w, size_t n,
                          size_t distinct, bl_times *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_ops *ops = r->be->ops;
    const int64_t all = r->repetitions;
    bl_graph *g = NULL;
    double seconds;
    BL_TRY(record(r, k, c, w, n, distinct, &g, e));
    BL_TRY(once(r, g, &seconds, e));
    if (seconds < GRAPH_SECONDS && n < MOST_PRODUCTS) {
        n *= (size_t)fmin(ceil(GRAPH_SECONDS / seconds), ceil((double)MOST_PRODUCTS / (double)n));
        ops->graph_free(g);
        g = NULL;
        BL_TRY(record(r, k, c, w, n, distinct, &g, e));
        BL_TRY(once(r, g, &seconds, e));
    }
    BL_TRY(replay(r, g, (int64_t)fmin(ceil(WARM_SECONDS / seconds), MOST_BEFORE), e));
    BL_TRY(ops->event_record(r->be, r->event[0], e));
    for (int64_t i = 0; i < all; i++) {
        BL_TRY(replay(r, g, 1, e));
        BL_TRY(ops->event_record(r->be, r->event[i + 1], e));
    }
    bl_look look = {0};
    for (int64_t i = 0; i < all; i++) {
        if (i == all / 2) look = bl_clocks_look(r->clocks);
        BL_TRY(ops->event_seconds(r->event[i], r->event[i + 1], &r->t[i], e));
        r->t[i] /= (double)n;
    }
    if (!(out->repeat = bl_alloc(r->a, (size_t)all, sizeof *out->repeat, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    memcpy(out->repeat, r->t, (size_t)all * sizeof *r->t);
    qsort(r->t, (size_t)all, sizeof *r->t, by_value);
    *out = (bl_times){r->t[all / 2], r->t[0], r->t[all - 1], look, out->repeat};
out:
    ops->graph_free(g);
    return st;
}
