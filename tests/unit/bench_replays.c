/* How products of a device are timed, on one whose products take as long as they are told and whose graphs are lists.
 */
#include "test.h"
#include "harness/bench/bench_impl.h"
#include <math.h>

enum { REPETITIONS = 9, MOST = 1 << 16 };

struct bl_event {
    double at;
};
struct bl_graph {
    int *copy; /* of the weight, of each product */
    size_t n;
};

static struct {
    double product, now; /* seconds of a product; of all that was replayed */
    bl_graph *recorded;  /* NULL: none is */
    int ran[MOST];       /* copies, of all that was replayed */
    size_t n, first;     /* of ran, and of what ran since the last graph was recorded */
    size_t graphs;       /* that are not free yet */
} device;
static bl_err e;

static bl_status note(const bl_kernel_family *f, bl_backend *be, const bl_linear_args *a, bl_err *err)
{
    bl_graph *g = device.recorded;
    (void)f, (void)be, (void)err;
    assert_non_null(g);
    g->copy = realloc(g->copy, (g->n + 1) * sizeof *g->copy);
    assert_non_null(g->copy);
    g->copy[g->n++] = a->w[0]->layout;
    return BL_OK;
}

static bl_status graph_begin(bl_backend *be, bl_err *err)
{
    (void)be, (void)err;
    assert_null(device.recorded);
    assert_non_null(device.recorded = calloc(1, sizeof *device.recorded));
    return BL_OK;
}

static bl_status graph_end(bl_backend *be, bl_graph **out, bl_err *err)
{
    (void)be, (void)err;
    *out = device.recorded;
    device.recorded = NULL;
    device.first = device.n;
    device.graphs++;
    return BL_OK;
}

static bl_status graph_replay(bl_backend *be, const bl_graph *g, bl_err *err)
{
    (void)be, (void)err;
    for (size_t i = 0; i < g->n; i++) {
        assert_true(device.n < MOST);
        device.ran[device.n++] = g->copy[i];
    }
    device.now += device.product * (double)g->n;
    return BL_OK;
}

static void graph_free(bl_graph *g)
{
    free(g->copy);
    free(g);
    device.graphs--;
}

static bl_status event_new(bl_backend *be, bl_event **out, bl_err *err)
{
    (void)be, (void)err;
    assert_non_null(*out = calloc(1, sizeof **out));
    return BL_OK;
}
static void event_free(bl_event *ev) { free(ev); }
static bl_status event_record(bl_backend *be, bl_event *ev, bl_err *err)
{
    (void)be, (void)err;
    ev->at = device.now;
    return BL_OK;
}
static bl_status event_seconds(const bl_event *from, const bl_event *to, double *seconds, bl_err *err)
{
    (void)err;
    *seconds = to->at - from->at;
    return BL_OK;
}

/* Whether every copy comes as often as it can between two uses of the same: in turn. */
static void copies_come_in_turn(size_t copies)
{
    for (size_t i = device.first + 1; i < device.n; i++)
        assert_int_equal(device.ran[i], (device.ran[i - 1] + 1) % (int)copies);
}

/* Products of 5 us of which 107 copies are more than the caches hold, and one of 370 us with 30 copies: its graph would
 * keep the device busy for 11 ms, and nine of them until its power holds it down. */
static void how_long_a_device_is_busy_does_not_depend_on_how_many_copies_there_are(void **state)
{
    static const struct {
        double product;
        size_t copies;
    } cases[] = {{5e-6, 1}, {5e-6, 107}, {6e-5, 4}, {6e-5, 30}, {3.7e-4, 1}, {3.7e-4, 3}, {3.7e-4, 30}, {8e-4, 15}};
    bl_backend *cpu, be;
    bl_arena *a;
    bl_kernel_case c;
    bl_weight w[107];
    const bl_kernel_family family = {.op = "linear", .backend = "cpu", .run = note};
    (void)state;
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu"}, &cpu, &e));
    assert_ok(bl_arena_new(&a, &e));
    const bl_kernel *real = bl_kernel_find("linear_int4_ref");
    assert_ok(bl_kernel_prepare(real, cpu, &(bl_kernel_shape){.rows = 1, .out = 8, .in = 64}, &c, &e));
    bl_ops ops = *cpu->ops;
    ops.graph_begin = graph_begin;
    ops.graph_end = graph_end;
    ops.graph_replay = graph_replay;
    ops.graph_free = graph_free;
    ops.event_new = event_new;
    ops.event_free = event_free;
    ops.event_record = event_record;
    ops.event_seconds = event_seconds;
    be = *cpu;
    be.ops = &ops;
    for (size_t i = 0; i < BL_COUNT(w); i++) {
        w[i] = c.w;
        w[i].layout = (int)i;
    }
    for (size_t i = 0; i < BL_COUNT(cases); i++) {
        const bl_kernel k = {"noted", &family, real->format, 0};
        bl_replays r = {.be = &be, .a = a, .repetitions = REPETITIONS};
        bl_times t;
        device.n = device.graphs = 0;
        device.now = 0;
        device.product = cases[i].product;
        assert_ok(bl_replays_open(&r, &e));
        assert_ok(bl_replays_time(&r, &k, &c, w, cases[i].copies, &t, &e));
        for (int64_t j = 0; j < REPETITIONS; j++) assert_true(fabs(t.repeat[j] - device.product) < 1e-12);
        assert_true(fabs(t.median - device.product) < 1e-12);
        if (device.now > 0.02) fail_msg("case %zu: busy for %.1f ms", i, 1e3 * device.now);
        assert_true(device.n - device.first >= REPETITIONS);
        copies_come_in_turn(cases[i].copies);
        assert_int_equal(device.graphs, 0);
        bl_replays_close(&r);
    }
    bl_kernel_release(cpu, &c);
    bl_arena_free(a);
    bl_backend_close(cpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(how_long_a_device_is_busy_does_not_depend_on_how_many_copies_there_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
