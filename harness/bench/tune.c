/* tune.c - the fastest kernel of each product, of timings, as a table of dispatch (kernels/dispatch.h). */
#include "bench_impl.h"
#include <math.h>
#include <string.h>

#define BETTER 0.98 /* of the time: less, and a kernel takes over from the one of fewer rows */

static bool candidate(const bl_kernel_row *r)
{
    const bl_kernel *k = bl_kernel_find(r->kernel);
    return k && !k->abits && !k->family->layout && !k->family->transpose && r->cold > 0 &&
           (k->format->kind == BL_FMT_INT || k->format->kind == BL_FMT_TABLE);
}

static bool same_weight(const bl_kernel_row *r, const bl_dispatch_row *d)
{
    return r->out == d->out && r->in == d->in && r->group == d->group && strcmp(r->format, d->format) == 0;
}

/* The least number of rows above `after` that was timed for this weight; INT64_MAX: none. */
static int64_t next_rows(const bl_kernel_row *row, size_t n, const bl_dispatch_row *d, int64_t after)
{
    int64_t least = INT64_MAX;
    for (size_t i = 0; i < n; i++)
        if (candidate(&row[i]) && same_weight(&row[i], d) && row[i].m > after) least = BL_MIN(least, row[i].m);
    return least;
}

static bl_status runs_of(const bl_kernel_row *row, size_t n, bl_dispatch_row *d, bl_err *e)
{
    for (int64_t m = next_rows(row, n, d, 0); m < INT64_MAX; m = next_rows(row, n, d, m)) {
        const bl_kernel_row *best = NULL, *before = NULL;
        for (size_t i = 0; i < n; i++) {
            const bl_kernel_row *r = &row[i];
            if (!candidate(r) || !same_weight(r, d) || r->m != m) continue;
            if (!best || r->cold < best->cold) best = r;
            if (d->n_runs && strcmp(r->kernel, d->run[d->n_runs - 1].kernel) == 0) before = r;
        }
        if (before && best->cold > BETTER * before->cold) {
            d->run[d->n_runs - 1].rows = m;
            continue;
        }
        if (d->n_runs == BL_DISPATCH_RUNS)
            return bl_fail(e, BL_E_UNSUPPORTED, "more than %d numbers of rows take turns; time fewer",
                           BL_DISPATCH_RUNS);
        d->run[d->n_runs].rows = m;
        d->run[d->n_runs++].kernel = bl_kernel_find(best->kernel)->name;
    }
    return BL_OK;
}

bl_status bl_tune_rows(const bl_kernel_row *row, size_t n, bl_arena *a, bl_dispatch_row **out, size_t *n_out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_dispatch_row *d = bl_alloc(a, n, sizeof *d, e);
    size_t made = 0;
    if (!d) return BL_E_NOMEM;
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        if (!candidate(&row[i])) continue;
        while (k < made && !same_weight(&row[i], &d[k])) k++;
        if (k < made) continue;
        d[made] = (bl_dispatch_row){
            .format = bl_format_find(row[i].format)->name, .group = row[i].group, .out = row[i].out, .in = row[i].in};
        BL_TRY(runs_of(row, n, &d[made++], e));
    }
    *out = d;
    *n_out = made;
out:
    return st;
}
