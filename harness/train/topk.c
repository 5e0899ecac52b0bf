/* topk.c - the most likely tokens of a row, and logits of a distribution that has them (topk.h). */
#include "topk.h"
#include <math.h>
#include <stdlib.h>

/* ---- a row ---- */
/* Whether token a goes before token b is kept. */
static bool less(const float *x, int32_t a, int32_t b) { return x[a] < x[b] || (x[a] == x[b] && a > b); }

/* The least of a heap is first. */
static void sift(const float *x, int32_t *heap, int64_t n, int64_t at)
{
    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && less(x, heap[child + 1], heap[child])) child++;
        if (!less(x, heap[child], heap[at])) return;
        const int32_t id = heap[at];
        heap[at] = heap[child];
        heap[child] = id;
    }
}

static int ascending(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

void bl_topk_take(const bl_topk *t, int64_t row, const float *x, int64_t vocab)
{
    enum { LEAST = -80 }; /* of the logarithm of what the rest has beside the most likely token */
    const int64_t k = t->k;
    int32_t *id = t->id + row * k, other = -1;
    float *value = t->value + row * k, top = -INFINITY;
    double rest = 0;
    bool finite = true;
    for (int64_t i = 0; i < vocab; i++) {
        finite = finite && isfinite(x[i]);
        top = fmaxf(top, x[i]);
    }
    for (int64_t i = 0; i < k; i++) id[i] = (int32_t)i;
    for (int64_t i = k / 2 - 1; finite && i >= 0; i--) sift(x, id, k, i);
    for (int64_t i = k; finite && i < vocab; i++)
        if (less(x, id[0], (int32_t)i)) {
            id[0] = (int32_t)i;
            sift(x, id, k, 0);
        }
    qsort(id, (size_t)k, sizeof *id, ascending);
    for (int64_t i = 0, at = 0; i < vocab; i++) {
        if (at < k && id[at] == i) at++;
        else {
            rest += exp((double)x[i] - top);
            other = (int32_t)i;
        }
    }
    const double less_likely = other < 0 ? 0 : fmax(log(rest), LEAST);
    for (int64_t i = 0; i < k; i++) value[i] = finite ? (float)((double)x[id[i]] - top - less_likely) : NAN;
    t->other[row] = other;
}

/* ---- rows beside others ---- */
/* Parts of the room. */
typedef struct places {
    bl_tensor at, from, nll; /* i64 [n k] and [n], f64 [n] */
    bl_tensor value, one;    /* f32 [n k, 1], [n, 1] */
    bl_tensor target;        /* i32 [n] */
    uint64_t bytes;
} places;

static uint64_t part(uint64_t *at, int64_t n, uint64_t size)
{
    const uint64_t here = *at;
    *at += ((uint64_t)n * size + 63) / 64 * 64;
    return here;
}

static places places_of(bl_buffer *b, int64_t n, int64_t k)
{
    places p;
    uint64_t at = 0;
    p.at = bl_tensor_1d(b, part(&at, n * k, 8), BL_I64, n * k);
    p.from = bl_tensor_1d(b, part(&at, n, 8), BL_I64, n);
    p.nll = bl_tensor_1d(b, part(&at, n, 8), BL_F64, n);
    p.value = bl_tensor_2d(b, part(&at, n * k, 4), BL_F32, n * k, 1);
    p.one = bl_tensor_2d(b, part(&at, n, 4), BL_F32, n, 1);
    p.target = bl_tensor_1d(b, part(&at, n, 4), BL_I32, n);
    p.bytes = at + 64;
    return p;
}

uint64_t bl_topk_room(int64_t n, int64_t k) { return places_of(NULL, n, k).bytes; }

/* Numbers of a matrix as rows of one. */
static bl_tensor column(bl_tensor t) { return bl_tensor_2d(t.buf, t.offset, t.dtype, t.dim[0] * t.dim[1], 1); }

/* ln of the sum of e^q over what is not kept, for each row: out [n]. Those that are kept are put far below in `y`. */
static bl_status rest_of(bl_backend *be, const bl_topk *t, const int64_t *row, const places *p, bl_tensor q,
                         int64_t vocab, bl_tensor y, double *out, bl_err *e)
{
    const int64_t n = q.dim[0], columns = q.dim[1];
    bl_status st = BL_OK;
    int64_t *from = bl_new((size_t)n, sizeof *from, e);
    int32_t *target = bl_new((size_t)n, sizeof *target, e);
    float *one = bl_new((size_t)n, sizeof *one, e);
    if (!from || !target || !one) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < n; i++) {
        target[i] = t->other[row[i]];
        from[i] = i * columns + target[i];
    }
    BL_TRY(be->ops->fill(be, &p->value, -1e30, e));
    BL_TRY(be->ops->gather(be, &(bl_gather_args){.src = p->value, .dst = column(y), .to = p->at, .n = n * t->k}, e));
    BL_TRY(be->ops->upload(be, &p->target, target, e));
    BL_TRY(be->ops->upload(be, &p->from, from, e));
    BL_TRY(be->ops->loss(be, &(bl_loss_args){.logits = y, .vocab = vocab, .target = p->target, .nll = p->nll}, e));
    BL_TRY(be->ops->gather(be, &(bl_gather_args){.src = column(q), .dst = p->one, .from = p->from, .n = n}, e));
    BL_TRY(be->ops->download(be, &p->nll, out, e));
    BL_TRY(be->ops->download(be, &p->one, one, e));
    for (int64_t i = 0; i < n; i++) out[i] += (double)one[i];
out:
    bl_free(one);
    bl_free(target);
    bl_free(from);
    return st;
}

bl_status bl_topk_logits(bl_backend *be, const bl_topk *t, const int64_t *row, bl_tensor q, int64_t vocab,
                         bl_buffer *room, bl_tensor out, bl_err *e)
{
    const int64_t n = q.dim[0], k = t->k, columns = q.dim[1];
    const places p = places_of(room, n, k);
    bl_status st = BL_OK;
    int64_t *at = bl_new((size_t)(n * k), sizeof *at, e);
    float *value = bl_new((size_t)(n * k), sizeof *value, e);
    double *rest = bl_new((size_t)n, sizeof *rest, e);
    if (!at || !value || !rest) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < n * k; i++) at[i] = i / k * columns + t->id[row[i / k] * k + i % k];
    BL_TRY(be->ops->upload(be, &p.at, at, e));
    BL_TRY(be->ops->gather(be, &(bl_gather_args){.src = q, .dst = out, .n = n}, e));
    if (k < vocab) BL_TRY(rest_of(be, t, row, &p, q, vocab, out, rest, e));
    for (int64_t i = 0; i < n * k; i++) value[i] = (float)((double)t->value[row[i / k] * k + i % k] + rest[i / k]);
    BL_TRY(be->ops->upload(be, &p.value, value, e));
    BL_TRY(be->ops->gather(be, &(bl_gather_args){.src = p.value, .dst = column(out), .to = p.at, .n = n * k}, e));
    BL_TRY(be->ops->sync(be, e)); /* before at and value go */
out:
    bl_free(rest);
    bl_free(value);
    bl_free(at);
    return st;
}
