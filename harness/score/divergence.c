/* divergence.c - states of the base and distances from them in side files, and the numbers they make. */
#include "divergence.h"
#include "kernels/base/fs.h"
#include "results/item_file.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct bl_divergence {
    size_t row_bytes;
    bl_item_file *file, *base; /* file: ours; base: the base's states, NULL when this is the base */
};

/* A kept item: int64 number of steps, a step_head for each, the states of all. An item with distances: triples of kl,
 * dp, same. */
typedef struct step_head {
    uint64_t hi, lo; /* of the ids */
    int64_t rows;
} step_head;
enum { TRIPLE = 3 };

bl_status bl_divergence_keep(const char *path, bl_hash cell, size_t row_bytes, bl_divergence **out, bl_err *e)
{
    return bl_divergence_open(NULL, cell, path, cell, row_bytes, out, e);
}

bl_status bl_divergence_open(const char *base_path, bl_hash base, const char *path, bl_hash cell, size_t row_bytes,
                             bl_divergence **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_divergence *g = bl_new(1, sizeof *g, e);

    if (!g) return BL_E_NOMEM;
    g->row_bytes = row_bytes;
    if (base_path) BL_TRY(bl_item_file_open(base_path, base, false, &g->base, e));
    BL_TRY(bl_item_file_open(path, cell, true, &g->file, e));
    *out = g;
    g = NULL;
out:
    bl_divergence_free(g);
    return st;
}

void bl_divergence_free(bl_divergence *g)
{
    if (!g) return;
    bl_item_file_close(g->file);
    bl_item_file_close(g->base);
    bl_free(g);
}

bool bl_divergence_keeps(const bl_divergence *g) { return !g->base; }
bool bl_divergence_has(const bl_divergence *g, int64_t id) { return bl_item_file_has(g->file, id); }
bl_status bl_divergence_sync(bl_divergence *g, bl_err *e) { return bl_item_file_sync(g->file, e); }

/* ---- items ---- */

/* Is p[0..n) a kept item with rows of this size? */
static bool is_item(const char *p, size_t n, size_t row_bytes, int64_t *n_steps)
{
    int64_t steps, rows = 0;
    if (n < sizeof steps) return false;
    memcpy(&steps, p, sizeof steps);
    if (steps < 0 || (uint64_t)steps > (n - sizeof steps) / sizeof(step_head)) return false;
    for (int64_t i = 0; i < steps; i++) {
        step_head h;
        memcpy(&h, p + sizeof steps + (size_t)i * sizeof h, sizeof h);
        if (h.rows < 0 || (uint64_t)h.rows > n / row_bytes) return false;
        rows += h.rows;
    }
    *n_steps = steps;
    return n == sizeof steps + (size_t)steps * sizeof(step_head) + (size_t)rows * row_bytes;
}

bl_status bl_divergence_base(bl_divergence *g, int64_t id, bl_arena *a, const bl_states **out, int *n, bl_err *e)
{
    bl_status st = BL_OK;
    void *bytes = NULL;
    char *kept;
    size_t size;
    int64_t steps;
    bl_states *s;

    *n = 0;
    if (!g->base) return BL_OK;
    BL_TRY(bl_item_file_get(g->base, id, &bytes, &size, e));
    if (!is_item(bytes, size, g->row_bytes, &steps)) {
        st = bl_fail(e, BL_E_CORRUPT, "states of item %lld of the base have %zu bytes, not those of this model",
                     (long long)id, size);
        goto out;
    }
    if (!(kept = bl_alloc(a, size, 1, e)) || !(s = bl_alloc(a, (size_t)steps, sizeof *s, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    memcpy(kept, bytes, size);
    char *hidden = kept + sizeof steps + (size_t)steps * sizeof(step_head);
    for (int64_t i = 0; i < steps; i++) {
        step_head h;
        memcpy(&h, kept + sizeof steps + (size_t)i * sizeof h, sizeof h);
        s[i] = (bl_states){.ids = {h.hi, h.lo}, .rows = h.rows, .hidden = hidden};
        hidden += (size_t)h.rows * g->row_bytes;
    }
    *out = s;
    *n = (int)steps;
out:
    bl_free(bytes);
    return st;
}

static void put(bl_text *t, const void *p, size_t n) { bl_text_addn(t, p, n); }

static void put_states(bl_text *t, const bl_comparison *step, int n, size_t row_bytes)
{
    int64_t steps = n;
    put(t, &steps, sizeof steps);
    for (int i = 0; i < n; i++) {
        step_head h = {step[i].own.ids.hi, step[i].own.ids.lo, step[i].own.rows};
        put(t, &h, sizeof h);
    }
    for (int i = 0; i < n; i++)
        if (step[i].own.rows) put(t, step[i].own.hidden, (size_t)step[i].own.rows * row_bytes);
}

static void put_distances(bl_text *t, const bl_comparison *step, int n)
{
    for (int i = 0; i < n; i++)
        for (int64_t k = 0; step[i].compared && k < step[i].own.rows; k++) {
            const double v[TRIPLE] = {step[i].kl[k], step[i].dp[k], step[i].same[k]};
            put(t, v, sizeof v);
        }
}

bl_status bl_divergence_item(bl_divergence *g, int64_t id, const bl_comparison *step, int n, bl_err *e)
{
    bl_text t = {0};
    bl_status st;

    if (bl_divergence_keeps(g)) put_states(&t, step, n, g->row_bytes);
    else put_distances(&t, step, n);
    BL_TRY(bl_text_check(&t, e));
    BL_TRY(bl_item_file_add(g->file, id, t.s ? t.s : "", t.n, e));
out:
    bl_text_free(&t);
    return st;
}

/* ---- numbers ---- */

bl_status bl_divergence_all(bl_divergence *g, const int64_t *item, int64_t n_items, bl_arena *a, bl_distances *out,
                            bl_err *e)
{
    bl_status st = BL_OK;
    bl_distances d = {0};
    double *list = NULL;
    size_t cap = 0, count = 0;

    for (int64_t i = 0; i < n_items; i++) {
        void *bytes;
        size_t got;
        BL_TRY(bl_item_file_get(g->file, item ? item[i] : i, &bytes, &got, e));
        st = bl_grow(&list, &cap, count + got / sizeof *list + 1, sizeof *list, e);
        if (st == BL_OK) memcpy(list + count, bytes, got);
        bl_free(bytes);
        if (st != BL_OK) goto out;
        count += got / sizeof *list;
    }
    d.n = (int64_t)(count / TRIPLE);
    d.kl = bl_alloc(a, (size_t)d.n, sizeof *d.kl, e);
    d.dp = bl_alloc(a, (size_t)d.n, sizeof *d.dp, e);
    d.same = bl_alloc(a, (size_t)d.n, sizeof *d.same, e);
    if (!d.kl || !d.dp || !d.same) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < d.n; i++) {
        d.kl[i] = list[TRIPLE * i];
        d.dp[i] = list[TRIPLE * i + 1];
        d.same[i] = list[TRIPLE * i + 2];
    }
    *out = d;
out:
    bl_free(list);
    return st;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static bl_cell_metric metric_of(const char *name, const char *unit, int direction, bool percent, int64_t n)
{
    return (bl_cell_metric){
        .name = name, .unit = unit, .direction = direction, .percent = percent, .n = n, .over = "tokens"};
}

/* A mean and its error. */
static bl_status add_mean(bl_cell_metric m, const double *v, bl_arena *a, bl_metric_list *out, bl_err *e)
{
    bl_mean_of(v, m.n, &m.value, &m.stderr_);
    m.has_stderr = m.n > 1;
    return bl_metric_add(out, a, &m, e);
}

typedef struct percentile {
    const char *name;
    double f;
} percentile;

static bl_status add_percentiles(bl_cell_metric like, const double *v, const percentile *p, size_t n_p, bl_arena *a,
                                 bl_metric_list *out, bl_err *e)
{
    bl_status st = BL_OK;
    double *sorted = bl_new((size_t)like.n, sizeof *sorted, e);

    if (!sorted) return BL_E_NOMEM;
    memcpy(sorted, v, (size_t)like.n * sizeof *sorted);
    qsort(sorted, (size_t)like.n, sizeof *sorted, by_value);
    for (size_t i = 0; i < n_p; i++) {
        like.name = p[i].name;
        like.value = bl_percentile(sorted, like.n, p[i].f);
        BL_TRY(bl_metric_add(out, a, &like, e));
    }
out:
    bl_free(sorted);
    return st;
}

/* sqrt of the mean of squares; its error is half the error of that mean over the root (llama.cpp). */
static bl_status add_rms(bl_cell_metric m, const double *v, bl_arena *a, bl_metric_list *out, bl_err *e)
{
    double *square = bl_new((size_t)m.n, sizeof *square, e), mean, error;

    if (!square) return BL_E_NOMEM;
    for (int64_t i = 0; i < m.n; i++) square[i] = v[i] * v[i];
    bl_mean_of(square, m.n, &mean, &error);
    bl_free(square);
    m.value = sqrt(mean);
    m.has_stderr = m.n > 1 && mean > 0;
    m.stderr_ = m.has_stderr ? 0.5 / m.value * error : 0;
    return bl_metric_add(out, a, &m, e);
}

bl_status bl_divergence_metrics(const bl_distances *d, bl_arena *a, bl_metric_list *out, bl_err *e)
{
    static const percentile of_kl[] = {{"kl_p50", 0.5}, {"kl_p90", 0.9}, {"kl_p99", 0.99}, {"kl_max", 1}},
                            of_dp[] = {
                                {"dp_p1", 0.01}, {"dp_p10", 0.1}, {"dp_p50", 0.5}, {"dp_p90", 0.9}, {"dp_p99", 0.99}};
    bl_status st = BL_OK;

    if (d->n == 0) return BL_OK;
    BL_TRY(add_mean(metric_of("kl_mean", "nat", -1, false, d->n), d->kl, a, out, e));
    BL_TRY(add_percentiles(metric_of(NULL, "nat", -1, false, d->n), d->kl, of_kl, BL_COUNT(of_kl), a, out, e));
    BL_TRY(add_mean(metric_of("dp_mean", "1", 0, true, d->n), d->dp, a, out, e));
    BL_TRY(add_rms(metric_of("dp_rms", "1", -1, true, d->n), d->dp, a, out, e));
    BL_TRY(add_percentiles(metric_of(NULL, "1", 0, true, d->n), d->dp, of_dp, BL_COUNT(of_dp), a, out, e));
    BL_TRY(add_mean(metric_of("top1_agreement", "1", 1, true, d->n), d->same, a, out, e));
out:
    return st;
}

bl_status bl_divergence_flips(const char *base_shard, const bl_sample *s, int64_t n, bl_arena *a, bl_metric_list *out,
                              bl_err *e)
{
    bl_status st = BL_OK;
    bl_cell base = {0};
    bl_cell_metric m = {
        .name = "flips", .unit = "1", .direction = -1, .has_stderr = n > 1, .n = n, .percent = true, .over = "items"};
    double *flip;

    BL_TRY(bl_cell_read(base_shard, true, a, &base, e));
    if (n == 0) goto out;
    if (base.n_samples != n) {
        st = bl_fail(e, BL_E_CORRUPT, "%s: %lld items, expected %lld", base_shard, (long long)base.n_samples,
                     (long long)n);
        goto out;
    }
    if (!(flip = bl_alloc(a, (size_t)n, sizeof *flip, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < n; i++) {
        const bl_sample *b = &base.sample[i];
        if (b->id != s[i].id || !b->n_scores || !s[i].n_scores) {
            st = bl_fail(e, BL_E_CORRUPT, "%s: item %lld with %d scores, expected %lld with %d", base_shard,
                         (long long)b->id, b->n_scores, (long long)s[i].id, s[i].n_scores);
            goto out;
        }
        flip[i] = (b->score[0] > 0.5) != (s[i].score[0] > 0.5);
    }
    bl_mean_of(flip, n, &m.value, &m.stderr_);
    BL_TRY(bl_metric_add(out, a, &m, e));
out:
    return st;
}
