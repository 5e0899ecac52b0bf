/* device.c - the kernels of a GPU at the layer shapes of a model, each judged first, then timed beside cuBLAS with bf16
 * weights.
 *
 * Times are those of replayed graphs (replays.c). From memory: every product has another copy of the weight, more of
 * them than four second-level caches hold, or there is no such time; in cache: one weight again and again. cuBLAS is
 * timed before and after the kernels of a shape; the faster counts.
 */
#include "bench_impl.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench {
    const bl_bench_opts *o;
    bl_backend *be;
    bl_arena *a;
    const bl_kernel *base;
    bl_watch watch;
    bl_replays replays;
    bl_bench_result r;
} bench;

/* With so many rows, and outputs as they are asked for. */
static bl_kernel_case view(const bench *b, const bl_kernel *k, const bl_kernel_case *full, int64_t rows)
{
    bl_kernel_case c = *full;
    c.shape.rows = rows;
    c.x = bl_tensor_rows(c.x, 0, rows);
    c.y = bl_tensor_rows(c.y, 0, rows);
    if (b->o->narrow && !bl_outside_is(k)) c.y = bl_tensor_2d(c.y.buf, 0, b->be->act, c.y.dim[0], c.y.dim[1]);
    return c;
}

/* Nothing is timed that does not compute: y, as it will be when it is timed, is NaN before, and compared with double
 * sums after. */
static bl_status judge(bench *b, const bl_kernel *k, const bl_kernel_case *c, bool *right, double *nmse, bl_err *e)
{
    bl_status st = BL_OK;
    if (b->o->check) bl_profiler(true);
    st = b->be->ops->fill(b->be, &c->y, (double)NAN, e);
    if (st == BL_OK) st = bl_kernel_run(k, b->be, c, e);
    if (b->o->check) bl_profiler(false);
    if (st != BL_OK) goto out;
    BL_TRY(bl_kernel_check(b->be, c, nmse, e));
    const double limit = bl_kernel_limit(k, c);
    *right = *nmse <= limit;
    if (!*right)
        b->r.wrong[b->r.n_wrong++] = (bl_kernel_wrong){.kernel = k->name,
                                                       .m = c->shape.rows,
                                                       .out = c->shape.out,
                                                       .in = c->shape.in,
                                                       .group = c->w.shape.group,
                                                       .nmse = *nmse,
                                                       .limit = limit};
out:
    return st;
}

/* One kernel at one shape with every number of rows it takes; rows are added to the result. */
static bl_status time_kernel(bench *b, const bl_kernel *k, const bl_kernel_shape *shape, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_bench_opts *o = b->o;
    bl_kernel_shape s = *shape;
    bl_kernel_case full = {0};
    bl_copies copies = {0};
    bool takes[BL_BENCH_ROWS];
    s.rows = 0;
    for (size_t i = 0; i < o->n_m; i++) {
        bl_kernel_shape one = *shape;
        one.rows = o->m[i];
        takes[i] = bl_kernel_takes(k, b->be, &one) && (!o->picked || k == b->base || bl_kernel_picked(k, b->be, &one));
        if (takes[i]) s.rows = BL_MAX(s.rows, one.rows);
        else b->r.n_left_out++;
    }
    if (!s.rows) return BL_OK;
    bool taken;
    BL_TRY(bl_kernel_prepare(k, b->be, &s, &full, e));
    BL_TRY(bl_outside_make(k, b->be, &full, o->cold_bytes, &taken, e));
    if (!taken) {
        b->r.n_left_out += o->n_m;
        goto out;
    }
    if (!o->check) BL_TRY(bl_copies_of_weight(b->be, &full.w, o->cold_bytes, &copies, e));
    for (size_t i = 0; i < o->n_m; i++) {
        bool right;
        double nmse;
        bl_times cold = {0}, warm;
        if (!takes[i]) continue;
        bl_kernel_case c = view(b, k, &full, o->m[i]);
        BL_TRY(judge(b, k, &c, &right, &nmse, e));
        if (!right) continue;
        bool grouped = k->format->kind == BL_FMT_INT || k->format->kind == BL_FMT_TABLE;
        double bytes = bl_outside_moved(k, &c.shape);
        bl_kernel_row *r = &b->r.row[b->r.n++];
        *r = (bl_kernel_row){.kernel = k->name,
                             .op = k->family->op,
                             .format = k->format->name,
                             .backend = k->family->backend,
                             .m = o->m[i],
                             .out = s.out,
                             .in = s.in,
                             .group = grouped ? s.group : 0,
                             .bits = bl_format_bits(k->format, &full.w.shape),
                             .bytes = bytes,
                             .nmse = nmse};
        if (o->check) continue;
        bl_outside_rotate(k, true);
        if (copies.n) BL_TRY(bl_replays_time(&b->replays, k, &c, copies.w, copies.n, &cold, e));
        bl_outside_rotate(k, false);
        BL_TRY(bl_replays_time(&b->replays, k, &c, &full.w, 1, &warm, e));
        const char *held[] = {bl_clocks_held(warm.look.held, b->a, e), bl_clocks_held(cold.look.held, b->a, e)};
        if (!held[0] || !held[1]) {
            st = BL_E_NOMEM;
            goto out;
        }
        r->seconds = warm.median;
        r->seconds_min = warm.least;
        r->seconds_max = warm.most;
        r->cold = cold.median;
        r->cold_min = cold.least;
        r->cold_max = cold.most;
        r->clock = warm.look.mhz;
        r->cold_clock = cold.look.mhz;
        r->held = held[0];
        r->cold_held = held[1];
        r->gbs = bytes / warm.median / 1e9;
        r->gflops = bl_kernel_flops(&c.shape) / warm.median / 1e9;
        r->repeat[0] = warm.repeat;
        r->repeat[1] = cold.repeat;
        r->n_repeat[0] = o->repetitions;
        r->n_repeat[1] = copies.n ? o->repetitions : 0;
    }
out:
    bl_outside_drop(k);
    bl_copies_free(&copies);
    bl_kernel_release(b->be, &full);
    return st;
}

static bl_kernel_row *row_of(bench *b, size_t from, size_t to, const char *kernel, int64_t m)
{
    for (size_t i = from; i < to; i++)
        if (b->r.row[i].m == m && strcmp(b->r.row[i].kernel, kernel) == 0) return &b->r.row[i];
    return NULL;
}

/* The time that counts: from memory, where it is one. */
static double told(const bl_kernel_row *r) { return r->cold > 0 ? r->cold : r->seconds; }

static bl_status time_shape(bench *b, const bl_kernel *base, const bl_kernel *const *kernel, size_t n,
                            const bl_kernel_shape *s, bl_err *e)
{
    bl_status st = BL_OK;
    size_t first = b->r.n, last;
    BL_TRY(time_kernel(b, base, s, e));
    for (size_t i = 0; i < n; i++) {
        BL_TRY(bl_watch_look(&b->watch, false, e));
        if (kernel[i] != base) BL_TRY(time_kernel(b, kernel[i], s, e));
    }
    last = b->r.n;
    if (b->o->check) return BL_OK;
    BL_TRY(time_kernel(b, base, s, e));
    for (size_t i = last; i < b->r.n; i++) {
        bl_kernel_row *before = row_of(b, first, last, base->name, b->r.row[i].m), *after = &b->r.row[i];
        if (!before) continue;
        const double was = told(before), is = told(after);
        b->r.facts.drift = fmax(b->r.facts.drift, fmax(was / is, is / was));
        if (is < was) *before = *after;
    }
    b->r.n = last;
    for (size_t i = first; i < last; i++) {
        bl_kernel_row *r = &b->r.row[i], *blas = row_of(b, first, last, base->name, r->m);
        if (!blas) continue;
        r->ratio = blas->seconds / r->seconds;
        if (r->cold > 0) r->cold_ratio = blas->cold / r->cold;
    }
out:
    return st;
}

bl_status bl_bench_on_device(const bl_bench_opts *opts, const bl_kernel *const *kernel, size_t n,
                             const bl_kernel_shape *shape, size_t n_shapes, bl_arena *a, bl_bench_result *out,
                             bl_err *e)
{
    bl_status st = BL_OK;
    bl_bench_opts o = *opts;
    bench b = {.o = &o, .a = a, .r = {.blas_core = "cuBLAS"}};
    const bl_kernel **mine, *base;
    bl_text json = {0};
    size_t n_mine = 0;
    if (!(mine = bl_alloc(a, n, sizeof *mine, e))) return BL_E_NOMEM;
    BL_TRY(bl_backend_open(&(bl_backend_opts){.device = o.device}, &b.be, e));
    b.be->ops->device_info(b.be, &b.r.device);
    if (!o.cold_bytes) o.cold_bytes = bl_copies_bytes(b.r.device.cache_bytes, b.r.device.memory_bytes);
    for (size_t i = 0; i < n; i++)
        if (strcmp(kernel[i]->family->backend, b.be->ops->name) == 0) mine[n_mine++] = kernel[i];
    base = bl_bench_base(b.be);
    if (!n_mine || !base) {
        st = bl_fail(e, BL_E_CONFIG, "no kernel of %s is called '%s'; see: bitladder list kernels", o.device,
                     o.filter ? o.filter : "");
        goto out;
    }
    b.base = base;
    size_t most = n_shapes * (n_mine + 2) * o.n_m;
    if (!(b.r.row = bl_alloc(a, most, sizeof *b.r.row, e)) || !(b.r.wrong = bl_alloc(a, most, sizeof *b.r.wrong, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    b.watch = (bl_watch){.be = b.be, .a = a, .to = &b.r.facts};
    if (!o.check) BL_TRY(bl_watch_open(&b.watch, e));
    b.r.facts.cache_bytes = (double)b.r.device.cache_bytes;
    b.r.facts.copies_bytes = (double)o.cold_bytes;
    b.replays = (bl_replays){.be = b.be, .a = a, .clocks = b.watch.clocks, .repetitions = o.repetitions};
    BL_TRY(bl_replays_open(&b.replays, e));
    for (size_t i = 0; i < n_shapes; i++) BL_TRY(time_shape(&b, base, mine, n_mine, &shape[i], e));
    BL_TRY(bl_watch_end(&b.watch, e));
    for (size_t i = 0; i < b.r.n && !o.check; i++) {
        bl_kernel_row *r = &b.r.row[i];
        if (b.r.facts.read_bytes_per_second > 0 && r->cold > 0)
            r->of_memory = r->bytes / r->cold / b.r.facts.read_bytes_per_second;
        const bl_kernel *k = bl_kernel_find(r->kernel);
        if (b.r.facts.peak > 0 && k && !k->abits) r->of_peak = r->gflops * 1e9 / b.r.facts.peak;
    }
    if (o.out) {
        BL_TRY(bl_bench_google(&b.r, &json, e));
        BL_TRY(bl_bench_write(&o, &b.r, &json, e));
    }
    *out = b.r;
out:
    bl_text_free(&json);
    bl_watch_close(&b.watch);
    bl_replays_close(&b.replays);
    bl_backend_close(b.be);
    return st;
}
