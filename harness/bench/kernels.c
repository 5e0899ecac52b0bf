/* kernels.c - the kernels of the registry at the layer shapes of a model: each is judged first, then timed, then set
 * beside OpenBLAS.
 *
 * Order of work: shape after shape; within one the repetitions of all cases in a random order, each kernel once with
 * its weight in cache and once with copies of it that come from memory. Weights of a shape are kept while they are few.
 */
#include "gbench.h"
#include "bench_impl.h"
#include "harness/model/block.h"
#include "kernels/base/fs.h"
#include "results/metric.h"
#include "bl_build.h"
#include <ctype.h>
#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const int64_t usual_rows[] = {1, 16, 128, 512};

enum { MOST_HELD = 1 << 30 }; /* bytes of prepared weights that are kept */

/* A kernel at the shape that is timed now. */
typedef struct held {
    bl_kernel_case full; /* with as many rows as any M needs */
    float *x, *w, *y;    /* host copies for OpenBLAS */
    uint64_t bytes;
    bool there, taken; /* taken: a kernel from outside does it */
} held;

typedef struct bench {
    const bl_bench_opts *o;
    bl_backend *be;
    bl_arena *a;
    bl_kernel_shape *shape;
    size_t n_shapes; /* rows 0 */
    struct timed *t;
    size_t n;
    bl_gbench_case *c;
    held *held; /* by kernel, OpenBLAS first */
    size_t n_held, held_shape;
    uint64_t held_bytes;
    bl_copies copies; /* of the weight of copied */
    const held *copied;
    size_t begun;
    double started;
    bool tty, after_blas;     /* OpenBLAS was the last that was timed */
    const bl_kernel *outside; /* of a shared object; NULL: there is none */
} bench;

/* One kernel at one shape and M. */
typedef struct timed {
    bench *b;
    const bl_kernel *k;
    size_t shape, at; /* at: its place in held */
    bl_kernel_shape s;
    bool cold;    /* the weight comes from memory; the case before it is the same in cache */
    int64_t most; /* rows of the case that its M's share */
    double nmse, bits, bytes;
    bool checked, wrong; /* wrong: or not taken after all */
} timed;

/* ---- what to time ---- */
static bool is_blas(const bl_kernel *k) { return k == &bl_kernel_openblas; }

bool bl_bench_chosen(const char *filter, const char *name, bl_arena *a, bl_err *e)
{
    bl_mark mark = bl_arena_mark(a);
    char *list = filter ? bl_arena_str(a, filter, strlen(filter), e) : NULL, *rest = NULL;
    bool yes = !filter;
    for (char *one = list ? strtok_r(list, ",", &rest) : NULL; one && !yes; one = strtok_r(NULL, ",", &rest))
        yes = fnmatch(one, name, 0) == 0;
    bl_arena_release(a, mark);
    return yes;
}

static void add_shape(bench *b, int64_t out, int64_t in)
{
    int64_t group = b->o->group ? b->o->group : 64;
    size_t k = 0;
    while (k < b->n_shapes && (b->shape[k].out != out || b->shape[k].in != in)) k++;
    if (k == b->n_shapes)
        b->shape[b->n_shapes++] = (bl_kernel_shape){
            .out = out, .in = in, .group = group > 0 ? BL_MIN(group, in) : in, .act_group = b->o->act_group};
}

enum { MOST_SIDE = 1 << 20 };

/* "28672x4096,4096x14336"; false: a model */
static bool listed_shapes(bench *b, const char *text)
{
    size_t n = 0;
    for (const char *p = text; *p;) {
        char *end;
        long long out = strtoll(p, &end, 10), in;
        if (end == p || *end != 'x') return false;
        in = strtoll(p = end + 1, &end, 10);
        if (end == p || (*end && *end != ',') || out < 1 || in < 1 || out > MOST_SIDE || in > MOST_SIDE) return false;
        p = *end ? end + 1 : end;
        if (b->shape) add_shape(b, out, in);
        n++;
    }
    return n > 0;
}

/* A list with something wrong in it, and no file or directory. */
static bool meant_as_shapes(const char *text)
{
    return isdigit((unsigned char)*text) && !strchr(text, '/') && !bl_exists(text);
}

static bl_status find_shapes(bench *b, bl_err *e)
{
    bl_status st = BL_OK;
    bl_checkpoint *c = NULL;

    if (b->o->shape && listed_shapes(b, b->o->shape)) {
        if (!(b->shape = bl_alloc(b->a, strlen(b->o->shape), sizeof *b->shape, e))) return BL_E_NOMEM;
        listed_shapes(b, b->o->shape);
        return BL_OK;
    }
    if (b->o->shape && meant_as_shapes(b->o->shape))
        return bl_fail(e, BL_E_CONFIG,
                       "--shape: '%s' is neither a model nor shapes, which are written OUTxIN, each from 1 to %d, with "
                       "commas between them: 28672x4096,4096x14336",
                       b->o->shape, MOST_SIDE);
    BL_TRY(bl_checkpoint_open(b->o->shape ? b->o->shape : "synth:smollm2-135m", NULL, &c, e));
    if (!(b->shape = bl_alloc(b->a, bl_checkpoint_count(c), sizeof *b->shape, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    int64_t qkv = 0, gate_up = 0, wide = 0;
    for (size_t i = 0; i < bl_checkpoint_count(c); i++) {
        const bl_stored *t = bl_checkpoint_at(c, i);
        if (bl_roles[t->role].kind != BL_KIND_LINEAR) continue;
        if (!b->o->picked) add_shape(b, t->shape.out, t->shape.in);
        else if (t->block == 0) { /* what reads one input is one product */
            const bool q = BL_ROLE_BIT(t->role) & BL_ROLES_AFTER_ATTN_NORM,
                       up = BL_ROLE_BIT(t->role) & BL_ROLES_AFTER_MLP_NORM;
            if (q || up) {
                *(q ? &qkv : &gate_up) += t->shape.out;
                wide = t->shape.in;
            } else add_shape(b, t->shape.out, t->shape.in);
        }
    }
    if (qkv) add_shape(b, qkv, wide);
    if (gate_up) add_shape(b, gate_up, wide);
out:
    bl_checkpoint_close(c);
    return st;
}

static bl_status add_cases(bench *b, const bl_kernel *k, size_t at, size_t shape, const int64_t *m, size_t n_m,
                           size_t *left_out)
{
    int64_t most = 0;
    size_t first = b->n;
    for (size_t i = 0; i < n_m; i++) {
        bl_kernel_shape s = b->shape[shape];
        s.rows = m[i];
        if (!is_blas(k) && (!bl_kernel_takes(k, b->be, &s) || (b->o->picked && !bl_kernel_picked(k, b->be, &s)))) {
            ++*left_out;
            continue;
        }
        most = BL_MAX(most, m[i]);
        for (int cold = 0; cold < 2; cold++)
            b->t[b->n++] = (timed){.b = b, .k = k, .at = at, .shape = shape, .s = s, .cold = cold};
    }
    for (size_t i = first; i < b->n; i++) b->t[i].most = most;
    return BL_OK;
}

/* ---- one case ---- */
static void release(bench *b)
{
    bl_copies_free(&b->copies);
    b->copied = NULL;
    if (b->outside) bl_outside_drop(b->outside);
    for (size_t i = 0; i < b->n_held; i++) {
        held *h = &b->held[i];
        bl_kernel_release(b->be, &h->full);
        bl_free(h->x);
        bl_free(h->w);
        bl_free(h->y);
        *h = (held){.there = false};
    }
    b->held_bytes = 0;
}

static bl_status hold(timed *t, bl_err *e)
{
    bl_status st = BL_OK;
    bench *b = t->b;
    held *h = &b->held[t->at];
    bl_kernel_shape s = t->s;

    if (b->held_shape != t->shape || (!h->there && b->held_bytes > MOST_HELD)) release(b);
    b->held_shape = t->shape;
    if (h->there) return BL_OK;
    s.rows = t->most;
    BL_TRY(bl_kernel_prepare(t->k, b->be, &s, &h->full, e));
    BL_TRY(bl_outside_make(t->k, b->be, &h->full, b->o->cold_bytes, &h->taken, e));
    h->there = true;
    h->bytes = bl_weight_bytes(&h->full.w);
    if (is_blas(t->k)) {
        h->bytes *= 2;
        if (!(h->x = bl_new((size_t)(s.rows * s.in), sizeof *h->x, e)) ||
            !(h->y = bl_new((size_t)(s.rows * s.out), sizeof *h->y, e)) ||
            !(h->w = bl_new((size_t)(s.out * s.in), sizeof *h->w, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        BL_TRY(b->be->ops->download(b->be, &h->full.x, h->x, e));
        BL_TRY(b->be->ops->download(b->be, &h->full.w.part[0], h->w, e));
    }
    b->held_bytes += h->bytes;
out:
    if (st != BL_OK) release(b);
    return st;
}

/* Copies of the weight that is held. */
static bl_status hold_copies(timed *t, bl_err *e)
{
    bl_status st = BL_OK;
    bench *b = t->b;
    const held *h = &b->held[t->at];

    if (b->copied == h) return BL_OK;
    bl_copies_free(&b->copies);
    b->copied = NULL;
    if (is_blas(t->k)) BL_TRY(bl_copies_of_floats(h->w, (size_t)(t->s.out * t->s.in), b->o->cold_bytes, &b->copies, e));
    else BL_TRY(bl_copies_of_weight(b->be, &h->full.w, b->o->cold_bytes, &b->copies, e));
    b->copied = h;
out:
    return st;
}

static bl_kernel_case view(const timed *t)
{
    bl_kernel_case c = t->b->held[t->at].full;
    c.shape = t->s;
    c.x = bl_tensor_rows(c.x, 0, t->s.rows);
    c.y = bl_tensor_rows(c.y, 0, t->s.rows);
    return c;
}

static bl_status run_once(void *ctx, bl_err *e)
{
    bl_status st = BL_OK;
    timed *t = ctx;
    bench *b = t->b;
    const held *h = &b->held[t->at];
    size_t copy = t->cold ? bl_copies_next(&b->copies) : 0;

    if (is_blas(t->k)) {
        const float *w = t->cold ? b->copies.host + copy * b->copies.floats : h->w;
        bl_blas_product(t->s.rows, t->s.out, t->s.in, h->x, w, h->y);
        return BL_OK;
    }
    bl_kernel_case c = view(t);
    if (t->cold) c.w = b->copies.w[copy];
    BL_TRY(bl_kernel_run(t->k, b->be, &c, e));
    BL_TRY(b->be->ops->sync(b->be, e));
out:
    return st;
}

/* Nothing is timed that does not compute: y is NaN before, and compared with double sums after. */
static bl_status judge(timed *t, bl_err *e)
{
    bl_status st = BL_OK;
    bench *b = t->b;
    bl_kernel_case c = view(t);

    BL_TRY(b->be->ops->fill(b->be, &c.y, (double)NAN, e));
    BL_TRY(run_once(t, e));
    if (is_blas(t->k)) BL_TRY(b->be->ops->upload(b->be, &c.y, b->held[t->at].y, e));
    BL_TRY(bl_kernel_check(b->be, &c, &t->nmse, e));
    t->bits = bl_format_bits(c.w.format, &c.w.shape);
    t->bytes = bl_outside_moved(t->k, &t->s);
    t->wrong = !(t->nmse <= t->k->family->nmse_limit);
    t->checked = true;
out:
    return st;
}

/* Threads of OpenBLAS spin for a while after their work, and whoever is timed next shares the cores with them: waits
 * until they sleep, then runs until the scheduler has put the new ones where they belong. */
static bl_status warm_up(timed *t, bl_err *e)
{
    bl_status st = BL_OK;
    bench *b = t->b;
    double rest = fmin(0.05, 20 * b->o->min_time); /* who measures for a moment does not wait for long */

    if (b->after_blas && !is_blas(t->k)) bl_blas_pause(rest);
    b->after_blas = is_blas(t->k);
    for (double start = bl_now(); bl_now() - start < rest / 5;) BL_TRY(run_once(t, e));
out:
    return st;
}

static void show(const bench *b, const timed *t)
{
    double part = fmin((double)b->begun / (double)((int64_t)b->n * b->o->repetitions), 1),
           spent = bl_now() - b->started;
    if (!b->tty) return;
    fprintf(stderr, "\r%3.0f %%  ", 100 * part);
    if (spent > 3 && part > 0.02) fprintf(stderr, "%.0f s left  ", spent * (1 - part) / part);
    fprintf(stderr, "%-48.48s", b->c[t - b->t].name);
}

static bl_status begin(void *ctx, bool *skip, bl_err *e)
{
    bl_status st = BL_OK;
    timed *t = ctx, *first = t - t->cold;
    bench *b = t->b;

    if (bl_interrupted()) return bl_fail(e, BL_E_INTERRUPTED, "interrupted");
    if (!first->wrong) BL_TRY(hold(t, e));
    if (!first->checked && b->held[t->at].taken) BL_TRY(judge(first, e));
    first->wrong = first->wrong || !first->checked;
    bl_outside_rotate(t->k, t->cold);
    *skip = t->wrong = first->wrong;
    b->begun++;
    if (t->wrong) return BL_OK;
    show(b, t);
    const bl_gbench_counter counter[] = {
        {"flop_per_second", bl_kernel_flops(&t->s), true}, {"bytes_per_second", first->bytes, true},
        {"bits_per_weight", first->bits, false},           {"nmse", first->nmse, false},
        {"cores", (double)b->o->threads, false},
    };
    memcpy(b->c[t - b->t].counter, counter, sizeof counter);
    if (t->cold) {
        BL_TRY(hold_copies(t, e));
        *skip = !b->copies.n;
    }
    if (!*skip) BL_TRY(warm_up(t, e));
out:
    return st;
}

/* ---- all of them ---- */
void bl_bench_case_name(const char *kernel, int64_t m, int64_t out, int64_t in, bool cold, char name[256])
{
    snprintf(name, 256, "%s/m:%lld/out:%lld/in:%lld%s", kernel, (long long)m, (long long)out, (long long)in,
             cold ? "/from:memory" : "");
}

static bl_status name_cases(bench *b, bl_err *e)
{
    if (!(b->c = bl_alloc(b->a, b->n, sizeof *b->c, e))) return BL_E_NOMEM;
    for (size_t i = 0; i < b->n; i++) {
        char name[256];
        const timed *t = &b->t[i];
        bl_bench_case_name(t->k->name, t->s.rows, t->s.out, t->s.in, t->cold, name);
        b->c[i] = (bl_gbench_case){.name = bl_arena_str(b->a, name, strlen(name), e),
                                   .batch = (int64_t)t->shape,
                                   .ctx = &b->t[i],
                                   .begin = begin,
                                   .run = run_once,
                                   .repeat = bl_alloc(b->a, (size_t)b->o->repetitions, sizeof(double), e)};
        if (!b->c[i].name || !b->c[i].repeat) return BL_E_NOMEM;
    }
    return BL_OK;
}

static int by_shape(const void *x, const void *y)
{
    const timed *a = *(const timed *const *)x, *b = *(const timed *const *)y;
    if (a->shape != b->shape) return a->shape < b->shape ? -1 : 1;
    if (a->s.rows != b->s.rows) return a->s.rows < b->s.rows ? -1 : 1;
    return a < b ? -1 : a > b;
}

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static bl_kernel_row row_of(const timed *t)
{
    const bool grouped = t->k->format->kind == BL_FMT_INT || t->k->format->kind == BL_FMT_TABLE;
    return (bl_kernel_row){.kernel = t->k->name,
                           .op = t->k->family->op,
                           .format = t->k->format->name,
                           .backend = t->k->family->backend,
                           .m = t->s.rows,
                           .out = t->s.out,
                           .in = t->s.in,
                           .group = grouped ? t->s.group : 0,
                           .bits = t->bits,
                           .bytes = t->bytes,
                           .nmse = t->nmse};
}

static void add_wrong(const timed *t, bl_bench_result *out)
{
    const bl_kernel_row r = row_of(t);
    out->wrong[out->n_wrong++] = (bl_kernel_wrong){
        r.kernel, r.m, r.out, r.in, r.group, r.nmse, t->k->family->nmse_limit};
}

/* Without a clock. */
static bl_status check_all(bench *b, bl_bench_result *out, bl_err *e)
{
    bl_status st = BL_OK;
    out->row = bl_alloc(b->a, b->n, sizeof *out->row, e);
    out->wrong = bl_alloc(b->a, b->n, sizeof *out->wrong, e);
    if (!out->row || !out->wrong) return BL_E_NOMEM;
    for (size_t i = 0; i < b->n; i++) {
        timed *t = &b->t[i];
        if (t->cold) continue;
        if (bl_interrupted()) return bl_fail(e, BL_E_INTERRUPTED, "interrupted");
        BL_TRY(hold(t, e));
        if (!b->held[t->at].taken) continue;
        BL_TRY(judge(t, e));
        if (t->wrong) add_wrong(t, out);
        else out->row[out->n++] = row_of(t);
    }
out:
    return st;
}

static bl_status gather(bench *b, bl_bench_result *out, bl_err *e)
{
    timed **sorted = bl_alloc(b->a, b->n, sizeof *sorted, e);
    double blas = 0, cold_blas = 0, *drift = bl_alloc(b->a, b->n, sizeof *drift, e);
    size_t n_drift = 0;

    out->row = bl_alloc(b->a, b->n, sizeof *out->row, e);
    out->wrong = bl_alloc(b->a, b->n, sizeof *out->wrong, e);
    if (!sorted || !out->row || !out->wrong || !drift) return BL_E_NOMEM;
    for (size_t i = 0; i < b->n; i++) sorted[i] = &b->t[i];
    qsort(sorted, b->n, sizeof *sorted, by_shape);
    for (size_t i = 0; i < b->n; i++) {
        const timed *t = sorted[i];
        const bl_gbench_case *c = &b->c[t - b->t], *cold = c + 1;
        if (t->cold) continue;
        const bool integer = t->k->abits && t->k->format->kind != BL_FMT_TABLE; /* 8-bit floats are floats */
        const double peak = integer ? out->facts.peak_integer : out->facts.peak;
        if (is_blas(t->k)) {
            blas = c->seconds;
            cold_blas = cold->seconds;
            if (c->seconds_min > 0) drift[n_drift++] = c->seconds_max / c->seconds_min;
        }
        if (t->wrong && t->checked) add_wrong(t, out);
        if (c->seconds <= 0) continue;
        bl_kernel_row *r = &out->row[out->n++];
        *r = row_of(t);
        r->seconds = c->seconds;
        r->seconds_min = c->seconds_min;
        r->seconds_max = c->seconds_max;
        r->cold = cold->seconds;
        r->cold_min = cold->seconds_min;
        r->cold_max = cold->seconds_max;
        r->cold_ratio = cold->seconds > 0 ? cold_blas / cold->seconds : 0;
        if (cold->seconds > 0 && out->facts.read_bytes_per_second > 0)
            r->of_memory = t->bytes / cold->seconds / out->facts.read_bytes_per_second;
        r->of_peak = peak > 0 ? bl_kernel_flops(&t->s) / c->seconds / peak : 0;
        r->gbs = t->bytes / c->seconds / 1e9;
        r->gflops = bl_kernel_flops(&t->s) / c->seconds / 1e9;
        r->ratio = blas / c->seconds;
        for (int from = 0; from < 2; from++) {
            r->repeat[from] = c[from].repeat;
            r->n_repeat[from] = c[from].n_repeat;
        }
    }
    qsort(drift, n_drift, sizeof *drift, by_value);
    out->facts.drift = n_drift ? bl_percentile(drift, (int64_t)n_drift, 0.5) : 0;
    return BL_OK;
}

bl_status bl_bench_list(const bl_bench_opts *opts, const bl_kernel *const *kernel, size_t n_kernels, bl_arena *a,
                        bl_bench_result *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_bench_opts o = *opts;
    bench b = {.o = &o, .a = a, .tty = !o.quiet && isatty(STDERR_FILENO) == 1};
    bl_watch watch = {0};
    bl_bench_result r = {0};
    bl_text json = {0};
    size_t n_chosen = 0;
    bool *pick;

    bool cpu = !o.device || strcmp(o.device, "cpu") == 0;
    if (cpu && !o.check && !bl_gbench_there()) return bl_gbench_run(NULL, 0, NULL, NULL, e);
    if (!o.m) {
        o.m = usual_rows;
        o.n_m = BL_COUNT(usual_rows);
    }
    if (!o.repetitions) o.repetitions = 5;
    if (o.min_time <= 0) o.min_time = 0.05;
    if (o.out) BL_TRY(bl_dir_usable(o.out, e));
    if (!(pick = bl_alloc(a, n_kernels, sizeof *pick, e))) return BL_E_NOMEM;
    for (size_t k = 0; k < n_kernels; k++)
        if (bl_outside_is(kernel[k])) b.outside = kernel[k];
    for (size_t k = 0; k < n_kernels; k++)
        n_chosen += pick[k] = bl_outside_is(kernel[k]) || bl_bench_chosen(o.filter, kernel[k]->name, a, e);
    if (!n_chosen)
        return bl_fail(e, BL_E_CONFIG, "no kernel is called '%s'; see: bitladder list kernels",
                       o.filter ? o.filter : "");
    if (!cpu) {
        size_t n = 0;
        const bl_kernel **list = bl_alloc(a, n_chosen, sizeof *list, e);
        if (!list) return BL_E_NOMEM;
        for (size_t k = 0; k < n_kernels; k++)
            if (pick[k]) list[n++] = kernel[k];
        BL_TRY(find_shapes(&b, e));
        return bl_bench_on_device(&o, list, n, b.shape, b.n_shapes, a, out, e);
    }
    BL_TRY(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = (int)o.threads, .isa = o.isa}, &b.be, e));
    b.be->ops->device_info(b.be, &r.device);
    o.threads = r.device.threads;
    const uint64_t caches = bl_last_caches("/sys/devices/system/cpu");
    if (!o.cold_bytes) o.cold_bytes = bl_copies_bytes(caches, r.device.memory_bytes);
    r.blas_core = bl_blas_core();
    bl_blas_threads(r.device.threads, &r.device);
    BL_TRY(find_shapes(&b, e));
    if (!(b.t = bl_alloc(a, 2 * b.n_shapes * (n_chosen + 1) * o.n_m, sizeof *b.t, e)) ||
        !(b.held = bl_alloc(a, n_kernels + 1, sizeof *b.held, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    b.n_held = n_kernels + 1;
    for (size_t s = 0; s < b.n_shapes; s++) {
        BL_TRY(add_cases(&b, &bl_kernel_openblas, 0, s, o.m, o.n_m, &r.n_left_out));
        for (size_t k = 0; k < n_kernels; k++)
            if (pick[k]) BL_TRY(add_cases(&b, kernel[k], k + 1, s, o.m, o.n_m, &r.n_left_out));
    }
    if (o.check) {
        BL_TRY(check_all(&b, &r, e));
        *out = r;
        goto out;
    }
    watch = (bl_watch){.be = b.be, .a = a, .cold_bytes = o.cold_bytes, .to = &r.facts};
    BL_TRY(bl_watch_open(&watch, e));
    r.facts.cache_bytes = (double)caches;
    r.facts.copies_bytes = (double)o.cold_bytes;
    b.started = bl_now();
    BL_TRY(name_cases(&b, e));
    const char *context[] = {"bitladder", BL_VERSION,     "commit", BL_BUILD_COMMIT, "simd", r.device.simd,
                             "blas",      bl_blas_name(), NULL};
    st = bl_gbench_run(b.c, b.n,
                       &(bl_gbench_opts){.min_time = o.min_time, .repetitions = o.repetitions, .context = context},
                       &json, e);
    if (b.tty) fprintf(stderr, "\r%80s\r", "");
    if (st != BL_OK) goto out;
    BL_TRY(bl_watch_end(&watch, e));
    BL_TRY(gather(&b, &r, e));
    if (o.out) BL_TRY(bl_bench_write(&o, &r, &json, e));
    *out = r;
out:
    release(&b);
    bl_watch_close(&watch);
    bl_backend_close(b.be);
    bl_text_free(&json);
    return st;
}

bl_status bl_bench_kernels(const bl_bench_opts *o, bl_arena *a, bl_bench_result *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_kernel **list;
    bl_outside *outside = NULL;
    size_t n = 0;
    while (bl_kernel_at(n)) n++;
    if (!(list = bl_alloc(a, n + 1, sizeof *list, e))) return BL_E_NOMEM;
    for (size_t i = 0; i < n; i++) list[i] = bl_kernel_at(i);
    if (o->outside) {
        BL_TRY(bl_outside_open(o->outside, o->outside_format ? o->outside_format : "int4", o->device, a, &outside, e));
        list[n++] = bl_outside_kernel(outside);
    }
    st = bl_bench_list(o, list, n, a, out, e);
out:
    bl_outside_close(outside);
    return st;
}
