/* divergence.c - hidden states of the base in a side file, divergences computed chunk by chunk while the engine scores.
 */
#include "divergence.h"
#include "kernels/base/fs.h"
#include "results/item_file.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct row_key {
    int32_t step, pair;
    int64_t position;
} row_key;
typedef struct divergence {
    row_key key;
    double kl, same;
} divergence;

/* One item that is being scored. Keeping: `key` and `hidden` grow. Comparing: base rows are read once, divergences
 * grow. */
typedef struct item {
    int64_t id;
    row_key *key;
    size_t n, cap_key;
    float *hidden;
    size_t cap_hidden; /* [n, dim] */
    void *base;
    const row_key *base_key;
    const float *base_hidden;
    int64_t n_base;
    uint32_t *order; /* base rows sorted by key */
    divergence *div;
    size_t n_div, cap_div;
} item;

struct bl_divergence {
    bl_model *model;
    const bl_weight *head;
    bool keep;
    bl_item_file *file, *base; /* file: ours; base: the base's states, when comparing */
    const int64_t *request_id;
    const int *request_step;
    int64_t n_requests;
    item *open;
    size_t n_open, cap_open;
    bl_buffer *buf; /* hidden + logits of the base for one chunk, outputs of compare */
    int64_t rows;   /* of a chunk */
    float *host;    /* [rows, dim] */
};

static int compare_keys(const row_key *a, const row_key *b)
{
    if (a->step != b->step) return a->step < b->step ? -1 : 1;
    if (a->pair != b->pair) return a->pair < b->pair ? -1 : 1;
    if (a->position != b->position) return a->position < b->position ? -1 : 1;
    return 0;
}

static void item_clear(item *t)
{
    bl_free(t->key);
    bl_free(t->hidden);
    bl_free(t->base);
    bl_free(t->order);
    bl_free(t->div);
    *t = (item){0};
}

void bl_divergence_free(bl_divergence *g)
{
    if (!g) return;
    for (size_t i = 0; i < g->n_open; i++) item_clear(&g->open[i]);
    bl_free(g->open);
    bl_free(g->host);
    if (g->buf) g->model->be->ops->buffer_free(g->buf);
    bl_item_file_close(g->file);
    bl_item_file_close(g->base);
    bl_free(g);
}

bl_status bl_divergence_keep(const char *path, bl_hash cell, bl_model *m, bl_divergence **out, bl_err *e)
{
    bl_divergence *g = bl_new(1, sizeof *g, e);
    if (!g) return BL_E_NOMEM;
    g->model = m;
    g->keep = true;
    bl_status st = bl_item_file_open(path, cell, true, &g->file, e);
    if (st == BL_OK) *out = g;
    else bl_divergence_free(g);
    return st;
}

bl_status bl_divergence_open(const char *base_path, bl_hash base, const char *part_path, bl_hash cell, bl_model *m,
                             const bl_weight *head, bl_divergence **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_divergence *g = bl_new(1, sizeof *g, e);
    uint64_t dim = (uint64_t)m->config.dim, vocab = (uint64_t)m->config.vocab;

    if (!g) return BL_E_NOMEM;
    g->model = m;
    g->head = head;
    g->rows = bl_logits_rows(m);
    uint64_t rows = (uint64_t)g->rows;
    BL_TRY(bl_item_file_open(base_path, base, false, &g->base, e));
    BL_TRY(bl_item_file_open(part_path, cell, true, &g->file, e));
    BL_TRY(m->be->ops->buffer_new(
        m->be, rows * (dim + vocab) * sizeof(float) + rows * (2 * sizeof(double) + sizeof(int32_t)) + 256, &g->buf, e));
    if (!(g->host = bl_new(rows * dim, sizeof *g->host, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    *out = g;
    g = NULL;
out:
    bl_divergence_free(g);
    return st;
}

bool bl_divergence_has(const bl_divergence *g, int64_t id) { return bl_item_file_has(g->file, id); }

void bl_divergence_batch(bl_divergence *g, const int64_t *id, const int *step, int64_t n)
{
    g->request_id = id;
    g->request_step = step;
    g->n_requests = n;
}

/* ---- items ---- */

static int by_base_key(const void *a, const void *b, void *ctx)
{
    const row_key *key = ctx;
    return compare_keys(&key[*(const uint32_t *)a], &key[*(const uint32_t *)b]);
}

/* Layout of a kept item: int64 rows, keys [rows], hidden f32 [rows, dim]. */
static bl_status read_base(bl_divergence *g, item *t, bl_err *e)
{
    bl_status st = BL_OK;
    size_t n, dim = (size_t)g->model->config.dim;
    BL_TRY(bl_item_file_get(g->base, t->id, &t->base, &n, e));
    if (n >= sizeof(int64_t)) memcpy(&t->n_base, t->base, sizeof t->n_base);
    if (n < sizeof(int64_t) || t->n_base < 0 ||
        n != sizeof(int64_t) + (size_t)t->n_base * (sizeof(row_key) + dim * sizeof(float)))
        return bl_fail(e, BL_E_CORRUPT, "states of item %lld of the base have %zu bytes, not those of this model",
                       (long long)t->id, n);
    t->base_key = (const row_key *)((const char *)t->base + sizeof(int64_t));
    t->base_hidden = (const float *)(t->base_key + t->n_base);
    if (!(t->order = bl_new((size_t)t->n_base, sizeof *t->order, e))) return BL_E_NOMEM;
    for (int64_t i = 0; i < t->n_base; i++) t->order[i] = (uint32_t)i;
    qsort_r(t->order, (size_t)t->n_base, sizeof *t->order, by_base_key, (void *)(uintptr_t)t->base_key);
out:
    return st;
}

static bl_status item_of(bl_divergence *g, int64_t id, item **out, bl_err *e)
{
    bl_status st = BL_OK;
    for (size_t i = g->n_open; i > 0; i--)
        if (g->open[i - 1].id == id) {
            *out = &g->open[i - 1];
            return BL_OK;
        }
    BL_TRY(bl_grow(&g->open, &g->cap_open, g->n_open + 1, sizeof *g->open, e));
    item *t = &g->open[g->n_open];
    *t = (item){.id = id};
    if (!g->keep && (st = read_base(g, t, e)) != BL_OK) {
        item_clear(t);
        return st;
    }
    g->n_open++;
    *out = t;
out:
    return st;
}

static const float *base_row(const bl_divergence *g, const item *t, const row_key *key)
{
    int64_t lo = 0, hi = t->n_base;
    while (lo < hi) {
        int64_t mid = (lo + hi) / 2;
        if (compare_keys(&t->base_key[t->order[mid]], key) < 0) lo = mid + 1;
        else hi = mid;
    }
    if (lo == t->n_base || compare_keys(&t->base_key[t->order[lo]], key) != 0) return NULL;
    return t->base_hidden + (size_t)t->order[lo] * (size_t)g->model->config.dim;
}

/* ---- the tap ---- */

static bl_status keep_rows(bl_divergence *g, const bl_observed *t, bl_err *e)
{
    bl_status st = BL_OK;
    size_t dim = (size_t)g->model->config.dim;
    float *host = bl_new((size_t)t->rows * dim, sizeof *host, e);

    if (!host) return BL_E_NOMEM;
    bl_tensor rows = bl_tensor_rows(t->hidden, 0, t->rows);
    BL_TRY(g->model->be->ops->download(g->model->be, &rows, host, e));
    for (int64_t r = 0; r < t->rows; r++) {
        item *it;
        BL_TRY(item_of(g, g->request_id[t->request[r]], &it, e));
        BL_TRY(bl_grow(&it->key, &it->cap_key, it->n + 1, sizeof *it->key, e));
        BL_TRY(bl_grow(&it->hidden, &it->cap_hidden, (it->n + 1) * dim, sizeof *it->hidden, e));
        it->key[it->n] = (row_key){g->request_step[t->request[r]], t->pair[r], t->position[r]};
        memcpy(it->hidden + it->n * dim, host + (size_t)r * dim, dim * sizeof(float));
        it->n++;
    }
out:
    bl_free(host);
    return st;
}

static bl_status compare_rows(bl_divergence *g, const bl_observed *t, bl_err *e)
{
    bl_status st = BL_OK;
    bl_backend *be = g->model->be;
    size_t dim = (size_t)g->model->config.dim;
    int64_t vocab = g->model->config.vocab;
    double *kl = NULL;
    int32_t *same = NULL;

    if (t->rows > g->rows)
        return bl_fail(e, BL_E_INTERNAL, "a chunk of %lld rows, expected at most %lld", (long long)t->rows,
                       (long long)g->rows);
    for (int64_t r = 0; r < t->rows; r++) {
        item *it;
        row_key key = {g->request_step[t->request[r]], t->pair[r], t->position[r]};
        BL_TRY(item_of(g, g->request_id[t->request[r]], &it, e));
        const float *row = base_row(g, it, &key);
        if (!row)
            return bl_fail(e, BL_E_CORRUPT, "the base kept no state for item %lld, pair %d, token %lld",
                           (long long)it->id, key.pair, (long long)key.position);
        memcpy(g->host + (size_t)r * dim, row, dim * sizeof(float));
    }
    uint64_t at = 0;
    bl_tensor hidden = bl_tensor_2d(g->buf, at, BL_F32, t->rows, (int64_t)dim);
    at += (uint64_t)g->rows * dim * sizeof(float);
    bl_tensor logits = bl_tensor_2d(g->buf, at, BL_F32, t->rows, vocab);
    at = (at + (uint64_t)g->rows * (uint64_t)vocab * sizeof(float) + 63) / 64 * 64;
    bl_tensor out_kl = bl_tensor_1d(g->buf, at, BL_F64, t->rows);
    bl_tensor out_dp = bl_tensor_1d(g->buf, at + (uint64_t)g->rows * sizeof(double), BL_F64, t->rows);
    bl_tensor out_same = bl_tensor_1d(g->buf, at + 2 * (uint64_t)g->rows * sizeof(double), BL_I32, t->rows);
    kl = bl_new((size_t)t->rows, sizeof *kl, e);
    same = bl_new((size_t)t->rows, sizeof *same, e);
    if (!kl || !same) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(be->ops->upload(be, &hidden, g->host, e));
    BL_TRY(be->ops->linear(be, &(bl_linear_args){.x = hidden, .w = {g->head}, .y = {logits}}, e));
    BL_TRY(be->ops->kl_div(be,
                           &(bl_kl_div_args){.p = logits,
                                             .q = bl_tensor_rows(t->logits, 0, t->rows),
                                             .vocab = vocab,
                                             .target = t->target,
                                             .kl = out_kl,
                                             .dp = out_dp,
                                             .same = out_same},
                           e));
    BL_TRY(be->ops->download(be, &out_kl, kl, e));
    BL_TRY(be->ops->download(be, &out_same, same, e));
    for (int64_t r = 0; r < t->rows; r++) {
        item *it;
        if (!isfinite(kl[r])) {
            st = bl_fail(e, BL_E_NUMERIC, "divergence at item %lld is not finite",
                         (long long)g->request_id[t->request[r]]);
            goto out;
        }
        BL_TRY(item_of(g, g->request_id[t->request[r]], &it, e));
        BL_TRY(bl_grow(&it->div, &it->cap_div, it->n_div + 1, sizeof *it->div, e));
        it->div[it->n_div++] = (divergence){
            {g->request_step[t->request[r]], t->pair[r], t->position[r]}, kl[r], same[r] ? 1 : 0};
    }
out:
    bl_free(kl);
    bl_free(same);
    return st;
}

bl_status bl_divergence_observe(void *ctx, const bl_observed *t, bl_err *e)
{
    bl_divergence *g = ctx;
    return g->keep ? keep_rows(g, t, e) : compare_rows(g, t, e);
}

static int by_key(const void *a, const void *b)
{
    return compare_keys(&((const divergence *)a)->key, &((const divergence *)b)->key);
}

bl_status bl_divergence_item(bl_divergence *g, int64_t id, bl_err *e)
{
    bl_status st = BL_OK;
    item none = {.id = id}, *t = &none;
    char *bytes = NULL;
    size_t n, dim = (size_t)g->model->config.dim, at = 0;

    for (; at < g->n_open; at++)
        if (g->open[at].id == id) {
            t = &g->open[at];
            break;
        }
    if (g->keep) {
        int64_t rows = (int64_t)t->n;
        n = sizeof rows + t->n * (sizeof(row_key) + dim * sizeof(float));
        if (!(bytes = bl_new(n, 1, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        memcpy(bytes, &rows, sizeof rows);
        if (t->n) {
            memcpy(bytes + sizeof rows, t->key, t->n * sizeof(row_key));
            memcpy(bytes + sizeof rows + t->n * sizeof(row_key), t->hidden, t->n * dim * sizeof(float));
        }
        BL_TRY(bl_item_file_add(g->file, id, bytes, n, e));
    } else {
        if (t->n_div) qsort(t->div, t->n_div, sizeof *t->div, by_key);
        n = t->n_div * 2 * sizeof(double);
        if (!(bytes = bl_new(n, 1, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        for (size_t i = 0; i < t->n_div; i++)
            memcpy(bytes + i * 2 * sizeof(double), (double[]){t->div[i].kl, t->div[i].same}, 2 * sizeof(double));
        BL_TRY(bl_item_file_add(g->file, id, bytes, n, e));
    }
    if (t != &none) {
        item_clear(t);
        g->open[at] = g->open[--g->n_open];
    }
out:
    bl_free(bytes);
    return st;
}

bl_status bl_divergence_sync(bl_divergence *g, bl_err *e) { return bl_item_file_sync(g->file, e); }

/* ---- numbers ---- */

bl_status bl_divergence_all(bl_divergence *g, int64_t n_items, bl_arena *a, double **kl, double **same, int64_t *n,
                            bl_err *e)
{
    bl_status st = BL_OK;
    double *list = NULL, *x, *y;
    size_t cap = 0, count = 0;

    for (int64_t i = 0; i < n_items; i++) {
        void *bytes;
        size_t got;
        BL_TRY(bl_item_file_get(g->file, i, &bytes, &got, e));
        st = bl_grow(&list, &cap, (count + got / 16 + 1) * 2, sizeof *list, e);
        if (st == BL_OK) memcpy(list + 2 * count, bytes, got);
        bl_free(bytes);
        if (st != BL_OK) goto out;
        count += got / 16;
    }
    x = bl_alloc(a, count, sizeof *x, e);
    y = bl_alloc(a, count, sizeof *y, e);
    if (!x || !y) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < count; i++) {
        x[i] = list[2 * i];
        y[i] = list[2 * i + 1];
    }
    *kl = x;
    *same = y;
    *n = (int64_t)count;
out:
    bl_free(list);
    return st;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

bl_status bl_divergence_metrics(const double *kl, const double *same, int64_t n, bl_arena *a, bl_metric_list *out,
                                bl_err *e)
{
    static const struct {
        const char *name;
        double f;
    } percentile[] = {{"kl_p50", 0.5}, {"kl_p90", 0.9}, {"kl_p99", 0.99}, {"kl_max", 1}};
    bl_cell_metric m = {.name = "kl_mean", .unit = "nat", .direction = -1, .has_stderr = n > 1, .n = n};
    bl_status st = BL_OK;
    double *sorted;

    if (n == 0) return BL_OK;
    if (!(sorted = bl_alloc(a, (size_t)n, sizeof *sorted, e))) return BL_E_NOMEM;
    memcpy(sorted, kl, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, by_value);
    bl_mean_of(kl, n, &m.value, &m.stderr_);
    BL_TRY(bl_metric_add(out, a, &m, e));
    for (size_t i = 0; i < BL_COUNT(percentile); i++) {
        m = (bl_cell_metric){.name = percentile[i].name, .unit = "nat", .direction = -1, .n = n};
        m.value = bl_percentile(sorted, n, percentile[i].f);
        BL_TRY(bl_metric_add(out, a, &m, e));
    }
    m = (bl_cell_metric){
        .name = "top1_agreement", .unit = "1", .direction = 1, .has_stderr = n > 1, .n = n, .percent = true};
    bl_mean_of(same, n, &m.value, &m.stderr_);
    BL_TRY(bl_metric_add(out, a, &m, e));
out:
    return st;
}

bl_status bl_divergence_flips(const char *base_shard, const bl_sample *s, int64_t n, bl_arena *a, bl_metric_list *out,
                              bl_err *e)
{
    bl_status st = BL_OK;
    bl_cell base = {0};
    bl_cell_metric m = {.name = "flips", .unit = "1", .direction = -1, .has_stderr = n > 1, .n = n, .percent = true};
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
