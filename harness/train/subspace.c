/* subspace.c - subspaces of gradients: their singular vectors, kept as f32 or as integers of few bits (Q-GaLore, Zhang
 * et al. 2024, arXiv 2407.08296), and how long they stay. */
#include "subspace.h"
#include "kernels/base/rng.h"
#include "kernels/dense.h"
#include "kernels/factor.h"
#include <math.h>
#include <string.h>

enum { GROUP = 256, PASSES = 2 }; /* numbers that share a scale; of near vectors */

bool bl_low_is_right(const bl_trained *p) { return p->value.dim[0] >= p->value.dim[1]; }

static int64_t side_of(const bl_trained *p) { return BL_MIN(p->value.dim[0], p->value.dim[1]); }
static bool near_ones(const bl_trained *p) { return p->low.near && side_of(p) >= p->low.near; }
static int64_t count_of(const bl_trained *p) { return p->low.rank * side_of(p); }

/* All of its numbers in groups, one row after another, whatever the matrix: rows of a group, or one. */
static bl_shape shape_of(const bl_trained *p)
{
    const int64_t group = p->low.group ? p->low.group : GROUP, n = count_of(p), rows = n % group ? 1 : n / group;
    return (bl_shape){
        .out = rows, .in = n / rows, .group = BL_MIN(group, n / rows), .zero = BL_ZERO_PACKED, .scale = BL_F32};
}

static const bl_format *format_of(const bl_trained *p)
{
    char name[8];
    snprintf(name, sizeof name, "int%d", p->low.bits);
    return bl_format_find(name);
}

uint64_t bl_low_bytes(const bl_trained *p)
{
    if (!p->low.rank) return 0;
    const bl_shape s = shape_of(p);
    return p->low.bits ? bl_format_bytes(format_of(p), &s) : (uint64_t)count_of(p) * sizeof(float) + 64;
}

static uint64_t lazy_bytes(const bl_trained *p) { return sizeof(bl_lazy) + (uint64_t)side_of(p) * sizeof(float); }

bl_status bl_low_new(bl_backend *be, bl_trained *p, bl_err *e)
{
    const bool right = bl_low_is_right(p);
    const bl_shape s = shape_of(p);
    bl_status st = BL_OK;
    bl_buffer *b;
    if (p->low.p.buf || p->low.kept.format) return BL_OK;
    if (p->low.same > 0) {
        if (!(p->low.lazy = bl_new(lazy_bytes(p), 1, e))) return BL_E_NOMEM;
        p->low.lazy->every = p->low.every;
    }
    if (p->low.bits) {
        BL_TRY(bl_weight_new(be, format_of(p), &s, &p->low.kept, e));
        for (int k = 0; k < p->low.kept.n_parts; k++) BL_TRY(be->ops->fill(be, &p->low.kept.part[k], 0, e));
        return BL_OK;
    }
    BL_TRY(be->ops->buffer_new(be, bl_low_bytes(p), &b, e));
    p->low.p = bl_tensor_2d(b, 0, BL_F32, right ? p->low.rank : p->value.dim[0], right ? p->value.dim[1] : p->low.rank);
    st = be->ops->fill(be, &p->low.p, 0, e);
out:
    return st;
}

void bl_low_free(const bl_ops *o, bl_low *l)
{
    o->buffer_free(l->p.buf);
    bl_weight_free(&l->kept);
    bl_free(l->lazy);
}

bl_status bl_low_matrix(bl_trainable *t, const bl_trained *p, bl_tensor *out, bl_err *e)
{
    const bool right = bl_low_is_right(p);
    const int64_t rows = right ? p->low.rank : p->value.dim[0], cols = right ? p->value.dim[1] : p->low.rank;
    const bl_weight *w = &p->low.kept;
    bl_status st = BL_OK;
    *out = p->low.p;
    if (!p->low.bits) return BL_OK;
    BL_TRY(bl_effective_room(t, BL_WORK_P, rows, cols, out, e));
    const bl_tensor flat = bl_tensor_2d(out->buf, 0, BL_F32, w->shape.out, w->shape.in);
    st = t->m->be->ops->unpack(t->m->be, &(bl_unpack_args){.w = w, .rows = w->shape.out, .y = flat}, e);
out:
    return st;
}

/* ---- finding ---- */
/* The first vector beside that of the subspace before; five that hardly turned, and the next one comes half as often.
 * Signs count, as in the authors' program. */
static void look(const bl_trained *p, const float *v, int64_t step)
{
    bl_lazy *l = p->low.lazy;
    const int64_t n = side_of(p);
    double dot = 0, a = 0, b = 0, mean = 0;
    for (int64_t i = 0; i < n; i++) {
        dot += (double)v[i * step] * l->first[i];
        a += (double)v[i * step] * v[i * step];
        b += (double)l->first[i] * l->first[i];
        l->first[i] = v[i * step];
    }
    if (l->found++ == 0) return;
    const int64_t known = BL_MIN(l->found - 2, (int64_t)BL_COUNT(l->cosine));
    if (known == BL_COUNT(l->cosine)) memmove(l->cosine, l->cosine + 1, sizeof l->cosine - sizeof *l->cosine);
    l->cosine[BL_MIN(known, (int64_t)BL_COUNT(l->cosine) - 1)] = a > 0 && b > 0 ? dot / sqrt(a * b) : 0;
    if (known + 1 < (int64_t)BL_COUNT(l->cosine)) return;
    for (size_t i = 0; i < BL_COUNT(l->cosine); i++) mean += l->cosine[i] / (double)BL_COUNT(l->cosine);
    if (mean >= p->low.same && l->every < INT32_MAX) l->every *= 2;
}

/* A gradient where it is; x and y are rows of the host. */
typedef struct there {
    bl_trainable *t;
    const bl_trained *p;
    uint16_t *narrow; /* [width, the longer side] */
} there;

static bl_status times_there(void *ctx, const float *x, int64_t k, bool back, float *y, bl_err *e)
{
    const there *h = ctx;
    bl_backend *be = h->t->m->be;
    const int64_t from = h->p->value.dim[back ? 0 : 1], to = h->p->value.dim[back ? 1 : 0];
    bl_status st = BL_OK;
    bl_tensor in, out;
    for (int64_t i = 0; i < k * from; i++) h->narrow[i] = bl_f32_to_bf16(x[i]);
    BL_TRY(bl_effective_room(h->t, BL_WORK_X, k, from, &in, e));
    BL_TRY(bl_effective_room(h->t, BL_WORK_DA, k, to, &out, e));
    BL_TRY(be->ops->upload(be, &in, h->narrow, e));
    BL_TRY(bl_dense_product(be, h->p->grad, in, out, back, false, e));
    BL_TRY(be->ops->download(be, &out, y, e));
out:
    return st;
}

/* Near vectors of a gradient on a device, which is as large as a weight, by products there. */
static bl_status vectors_there(bl_trainable *t, const bl_trained *p, float *a, float *b, bl_err *e)
{
    const int64_t rows = p->value.dim[0], cols = p->value.dim[1], rank = p->low.rank,
                  width = bl_factor_width(rows, cols, rank);
    there h = {.t = t, .p = p};
    bl_status st = BL_OK;
    float *basis = bl_factor_draw(rows, cols, rank, bl_rng_at(0, bl_rng_key(p->name, 0), 0), e);
    h.narrow = bl_new((size_t)(width * BL_MAX(rows, cols)), sizeof *h.narrow, e);
    if (!basis || !h.narrow) st = BL_E_NOMEM;
    else st = bl_factor_svd_by(times_there, &h, rows, cols, rank, PASSES, basis, a, b, e);
    bl_free(h.narrow);
    bl_free(basis);
    return st;
}

/* Singular vectors of g [rows, cols], rows of a or columns of b. */
static bl_status vectors(const bl_trained *p, const float *g, float *a, float *b, bl_err *e)
{
    const int64_t rows = p->value.dim[0], cols = p->value.dim[1], rank = p->low.rank;
    if (!near_ones(p)) return bl_factor_svd(g, rows, cols, rank, a, b, e);
    return bl_factor_svd_drawn(g, rows, cols, rank, PASSES, bl_rng_at(0, bl_rng_key(p->name, 0), 0), a, b, e);
}

bl_status bl_low_find(bl_trainable *t, const bl_trained *p, int64_t at, bl_err *e)
{
    bl_backend *be = t->m->be;
    const int64_t rows = p->value.dim[0], cols = p->value.dim[1], rank = p->low.rank;
    const bool right = bl_low_is_right(p);
    bl_status st = BL_OK;
    bl_tensor to = p->low.p;
    float *g = NULL, *a = NULL, *b = NULL;
    const double t0 = bl_now();
    if (at % (p->low.lazy ? p->low.lazy->every : p->low.every)) return BL_OK;
    const bool far = t->m->be->act == BL_BF16 && near_ones(p);
    if ((!far && !(g = bl_new((size_t)(rows * cols), sizeof *g, e))) ||
        !(a = bl_new((size_t)(rank * cols), sizeof *a, e)) || !(b = bl_new((size_t)(rows * rank), sizeof *b, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (far) BL_TRY(vectors_there(t, p, a, b, e));
    else {
        BL_TRY(be->ops->download(be, &p->grad, g, e));
        BL_TRY(vectors(p, g, a, b, e));
    }
    bl_log(BL_LOG_INFO, "%s: its subspace was found within %.2f s", p->name, bl_now() - t0);
    const int64_t n = right ? cols : rows, step = right ? 1 : rank;
    for (int64_t k = 0; k < rank; k++) {
        float *v = right ? a + k * cols : b + k;
        double sum = 0;
        for (int64_t i = 0; i < n; i++) sum += (double)v[i * step] * v[i * step];
        for (int64_t i = 0; i < n && sum > 0; i++) v[i * step] = (float)(v[i * step] / sqrt(sum));
    }
    if (p->low.lazy) look(p, right ? a : b, step);
    if (p->low.bits) {
        bl_weight kept = p->low.kept;
        BL_TRY(bl_effective_room(t, BL_WORK_P, kept.shape.out, kept.shape.in, &to, e));
        BL_TRY(be->ops->upload(be, &to, right ? a : b, e));
        BL_TRY(be->ops->pack(be, &(bl_pack_args){.x = to, .w = &kept, .rule = BL_RANGE_CLIP}, e));
    } else BL_TRY(be->ops->upload(be, &to, right ? a : b, e));
    BL_TRY(be->ops->sync(be, e)); /* before it goes */
out:
    bl_free(g);
    bl_free(a);
    bl_free(b);
    return st;
}

bool bl_low_part(const bl_trained *p, int k, bl_tensor *tensor, void **at, uint64_t *bytes)
{
    const int n = p->low.bits ? p->low.kept.n_parts : p->low.p.buf ? 1 : 0;
    *at = NULL;
    *tensor = (bl_tensor){0};
    if (k < n) {
        *tensor = p->low.bits ? p->low.kept.part[k] : p->low.p;
        *bytes = bl_tensor_bytes(tensor);
        return true;
    }
    if (k > n || !p->low.lazy) return false;
    *at = p->low.lazy;
    *bytes = lazy_bytes(p);
    return true;
}
