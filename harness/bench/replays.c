/* replays.c - how long products of a device take: graphs of some, replayed one after another.
 *
 * A device that was idle is slow at first, one that was busy for some tens of milliseconds is slowed down by its power,
 * and a host that is busy is late with its next launch; none of it is the product's. So a graph has just enough
 * products to last, however many copies of a weight there are: a long round of copies is several graphs in turn. All
 * replays are in the queue before the first that counts begins, and those before it keep the device busy for as long
 * as its clocks need. A repetition is a replay over the number of its products.
 */
#include "bench_impl.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GRAPH_SECONDS 3e-4 /* that a graph lasts at least */
#define WARM_SECONDS  4e-3 /* that the device is busy before what counts; after some 50 its power may slow it down */
enum { MOST_PRODUCTS = 4096, MOST_BEFORE = 512 };

/* Products with the weights w[0 .. distinct) in turn, as graphs that are replayed in turn. */
typedef struct turns {
    bl_graph **graph;
    size_t *products; /* of each */
    size_t n, next;
} turns;

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

/* A graph of n products with the weights w[first], w[first + 1] … of `distinct`, one after another. */
static bl_status record(bl_replays *r, const bl_kernel *k, const bl_kernel_case *c, const bl_weight *w, size_t first,
                        size_t n, size_t distinct, bl_graph **out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_ops *ops = r->be->ops;
    bl_kernel_case one = *c;
    BL_TRY(ops->graph_begin(r->be, e));
    for (size_t i = 0; i < n && st == BL_OK; i++) {
        one.w = w[(first + i) % distinct];
        st = bl_kernel_run(k, r->be, &one, e);
    }
    if (st == BL_OK) return ops->graph_end(r->be, out, e);
    ops->graph_end(r->be, out, NULL);
out:
    return st;
}

/* Seconds of one replay, the device being as it is; the second one, as the first loads the graph. */
static bl_status once(bl_replays *r, const bl_graph *g, double *seconds, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_ops *ops = r->be->ops;
    BL_TRY(ops->graph_replay(r->be, g, e));
    BL_TRY(ops->event_record(r->be, r->event[0], e));
    BL_TRY(ops->graph_replay(r->be, g, e));
    BL_TRY(ops->event_record(r->be, r->event[1], e));
    BL_TRY(ops->event_seconds(r->event[0], r->event[1], seconds, e));
out:
    return st;
}

/* How many products last for GRAPH_SECONDS, and how long they do. */
static bl_status enough(bl_replays *r, const bl_kernel *k, const bl_kernel_case *c, const bl_weight *w, size_t distinct,
                        size_t *n, double *seconds, bl_err *e)
{
    bl_status st = BL_OK;
    for (*n = 1;;) {
        bl_graph *g;
        BL_TRY(record(r, k, c, w, 0, *n, distinct, &g, e));
        st = once(r, g, seconds, e);
        r->be->ops->graph_free(g);
        if (st != BL_OK || *seconds >= GRAPH_SECONDS || *n == MOST_PRODUCTS) return st;
        *n = (size_t)fmin(ceil((double)*n * GRAPH_SECONDS / *seconds), MOST_PRODUCTS);
    }
out:
    return st;
}

static void turns_free(bl_replays *r, turns *of)
{
    for (size_t i = 0; i < of->n; i++) r->be->ops->graph_free(of->graph[i]);
}

/* Graphs of about n products: whole rounds of the weights in one, or one round in several. */
static bl_status turns_new(bl_replays *r, const bl_kernel *k, const bl_kernel_case *c, const bl_weight *w,
                           size_t distinct, size_t n, turns *out, bl_err *e)
{
    bl_status st = BL_OK;
    const size_t rounds = (n + distinct - 1) / distinct, all = rounds * distinct, graphs = rounds > 1 ? 1 : all / n;
    turns of = {.graph = bl_alloc(r->a, graphs, sizeof *of.graph, e),
                .products = bl_alloc(r->a, graphs, sizeof *of.products, e)};
    if (!of.graph || !of.products) return BL_E_NOMEM;
    for (size_t first = 0; of.n < graphs; of.n++) {
        const size_t after = all * (of.n + 1) / graphs;
        BL_TRY(record(r, k, c, w, first, after - first, distinct, &of.graph[of.n], e));
        of.products[of.n] = after - first;
        first = after;
    }
    *out = of;
out:
    if (st != BL_OK) turns_free(r, &of);
    return st;
}

/* The products that were replayed. */
static bl_status replay(bl_replays *r, turns *of, size_t *products, bl_err *e)
{
    const size_t i = of->next;
    of->next = (i + 1) % of->n;
    *products = of->products[i];
    return r->be->ops->graph_replay(r->be, of->graph[i], e);
}

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

bl_status bl_replays_time(bl_replays *r, const bl_kernel *k, const bl_kernel_case *c, const bl_weight *w,
                          size_t distinct, bl_times *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_ops *ops = r->be->ops;
    const int64_t all = r->repetitions;
    turns of = {0};
    size_t n, *products = bl_alloc(r->a, (size_t)all, sizeof *products, e);
    double seconds;
    if (!products || !(out->repeat = bl_alloc(r->a, (size_t)all, sizeof *out->repeat, e))) return BL_E_NOMEM;
    BL_TRY(enough(r, k, c, w, distinct, &n, &seconds, e));
    BL_TRY(turns_new(r, k, c, w, distinct, n, &of, e));
    for (int64_t i = 0; i < (int64_t)fmin(ceil(WARM_SECONDS / seconds), MOST_BEFORE); i++)
        BL_TRY(replay(r, &of, &n, e));
    BL_TRY(ops->event_record(r->be, r->event[0], e));
    for (int64_t i = 0; i < all; i++) {
        BL_TRY(replay(r, &of, &products[i], e));
        BL_TRY(ops->event_record(r->be, r->event[i + 1], e));
    }
    bl_look look = {0};
    for (int64_t i = 0; i < all; i++) {
        if (i == all / 2) look = bl_clocks_look(r->clocks);
        BL_TRY(ops->event_seconds(r->event[i], r->event[i + 1], &r->t[i], e));
        r->t[i] /= (double)products[i];
    }
    memcpy(out->repeat, r->t, (size_t)all * sizeof *r->t);
    qsort(r->t, (size_t)all, sizeof *r->t, by_value);
    *out = (bl_times){r->t[all / 2], r->t[0], r->t[all - 1], look, out->repeat};
out:
    turns_free(r, &of);
    return st;
}
