/* optimizer.c - the norm of all gradients, clipping, and a step of each parameter. Moments come with the first step, on
 * the backend or, those that it has no room for, in the host's memory: paged as in QLoRA (Dettmers et al. 2023, section
 * 3), with copies of our own in the place of managed memory. */
#include "optimizer.h"
#include "narrow.h"
#include "subspace.h"
#include "kernels/base/rng.h"
#include "kernels/dense.h"
#include <math.h>
#include <string.h>

static bl_status norm_of(bl_trainable *t, double *norm, bl_err *e)
{
    bl_backend *be = t->m->be;
    double sum = 0, *each = bl_new(t->n_params, sizeof *each, e);
    bl_tensor *grad = bl_new(t->n_params, sizeof *grad, e);
    bl_status st = BL_OK;
    bl_buffer *b = NULL;
    if (!each || !grad) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(be->ops->buffer_new(be, t->n_params * sizeof *each, &b, e));
    for (int64_t k = 0; k < bl_narrow_blocks(t); k++) {
        size_t first, end, n = 0;
        BL_TRY(bl_narrow_enter(t, k, true, e));
        bl_narrow_params(t, k, &first, &end);
        for (size_t i = first; i < end; i++)
            if (t->param[i].grad.buf) grad[n++] = t->param[i].grad;
        const bl_tensor all = bl_tensor_1d(b, 0, BL_F64, (int64_t)n);
        BL_TRY(be->ops->sq_sums(be, &(bl_sq_sums_args){.x = grad, .n = n, .to = all}, e));
        BL_TRY(be->ops->download(be, &all, each, e));
        for (size_t i = 0; i < n; i++) sum += each[i];
    }
    *norm = sqrt(sum);
out:
    be->ops->buffer_free(b);
    bl_free(grad);
    bl_free(each);
    return st;
}

static bl_status tables(bl_trainable *t, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_status st = BL_OK;
    float table[256];
    for (int k = 0; k < 2; k++) {
        bl_buffer *b;
        if (t->moment_table[k].buf) continue;
        BL_TRY(be->ops->buffer_new(be, sizeof table, &b, e));
        t->moment_table[k] = bl_tensor_1d(b, 0, BL_F32, 256);
        bl_moment_table(!k, table);
        BL_TRY(be->ops->upload(be, &t->moment_table[k], table, e));
        BL_TRY(be->ops->sync(be, e)); /* before it goes */
    }
out:
    return st;
}

bool bl_adamw_is_eight(const bl_adamw *o, const bl_trained *p)
{
    return (o->eight_bits || p->eight) && bl_tensor_count(&p->value) >= 4096;
}

/* ---- where moments are ---- */
typedef struct layout { /* of the moments of a parameter, one after another */
    bl_dtype type;
    int64_t n[4];
    uint64_t at[4], bytes;
    int count;
} layout;

/* Numbers that moments are of: of R where there is one. */
static int64_t count_of(const bl_trained *p)
{
    if (!p->low.rank) return bl_tensor_count(&p->value);
    return p->low.rank * BL_MAX(p->value.dim[0], p->value.dim[1]);
}

static layout layout_of(const bl_adamw *o, const bl_trained *p)
{
    const int64_t n = count_of(p), blocks = (n + BL_MOMENT_BLOCK - 1) / BL_MOMENT_BLOCK;
    const bool eight = bl_adamw_is_eight(o, p);
    layout l = {.type = eight ? BL_U8 : BL_F32, .n = {n, n, blocks, blocks}, .count = eight ? 4 : 2};
    for (int k = 0; k < l.count; k++) {
        l.at[k] = l.bytes;
        l.bytes += ((uint64_t)l.n[k] * bl_dtype_bytes(k < 2 ? l.type : BL_F32) + 63) / 64 * 64;
    }
    return l;
}

uint64_t bl_adamw_bytes(const bl_adamw *o, const bl_trained *p) { return layout_of(o, p).bytes; }

static bool fits(const bl_adamw *o, uint64_t bytes, uint64_t *left)
{
    if (!o->paged) return true;
    if (bytes > *left) return false;
    *left -= bytes;
    return true;
}

uint64_t bl_adamw_resident(const bl_adamw *o, const bl_trainable *t, uint64_t *host)
{
    uint64_t left = o->resident, here = 0, there = 0, page = 0;
    for (size_t i = 0; i < t->n_params; i++) {
        uint64_t n = bl_adamw_bytes(o, &t->param[i]);
        here += bl_low_bytes(&t->param[i]);
        if (fits(o, n, &left)) here += n;
        else {
            there += n;
            page = BL_MAX(page, n);
        }
    }
    if (host) *host = there;
    return here + page;
}

bool bl_adamw_moment(const bl_adamw *o, const bl_trained *p, int k, bl_tensor *tensor, void **at, uint64_t *bytes)
{
    const bl_tensor all[] = {p->m, p->v, p->m_max, p->v_max};
    const layout l = layout_of(o, p);
    if (k >= l.count) return bl_low_part(p, k - l.count, tensor, at, bytes);
    if ((!p->host && !all[k].buf)) return false;
    *bytes = (uint64_t)l.n[k] * bl_dtype_bytes(k < 2 ? l.type : BL_F32);
    *at = p->host ? (char *)p->host + l.at[k] : NULL;
    *tensor = p->host ? (bl_tensor){0} : all[k];
    return true;
}

/* The moments as tensors of a buffer. */
static void views(const layout *l, bl_buffer *b, bl_trained *p)
{
    bl_tensor *const to[] = {&p->m, &p->v, &p->m_max, &p->v_max};
    for (int k = 0; k < l->count; k++) *to[k] = bl_tensor_1d(b, l->at[k], k < 2 ? l->type : BL_F32, l->n[k]);
}

static bl_status on_host(bl_trainable *t, bl_trained *p, const layout *l, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_status st = BL_OK;
    void *host = NULL;
    BL_TRY(bl_buffer_fit(be, &t->page, l->bytes, e));
    if (be->ops->host_new) BL_TRY(be->ops->host_new(be, l->bytes, &host, e));
    else if (!(host = bl_new(l->bytes, 1, e))) return BL_E_NOMEM;
    memset(host, 0, l->bytes);
    p->host = host;
out:
    return st;
}

static bl_status on_backend(bl_backend *be, bl_trained *p, const layout *l, bl_err *e)
{
    bl_status st = BL_OK;
    bl_buffer *b = NULL;
    BL_TRY(be->ops->buffer_new(be, l->bytes, &b, e));
    bl_tensor all = bl_tensor_1d(b, 0, BL_U8, (int64_t)l->bytes);
    BL_TRY(be->ops->fill(be, &all, 0, e));
    views(l, b, p);
    p->moments = b;
    b = NULL;
out:
    be->ops->buffer_free(b);
    return st;
}

bl_status bl_adamw_moments(const bl_adamw *o, bl_trainable *t, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_status st = BL_OK;
    uint64_t left = o->resident;
    bool eight = o->eight_bits;
    for (size_t i = 0; i < t->n_params; i++) eight |= t->param[i].eight;
    if (eight) {
        BL_TRY(bl_check_op(be, be->ops->adamw8, "adamw8", e));
        BL_TRY(tables(t, e));
    }
    for (size_t i = 0; i < t->n_params; i++) {
        bl_trained *p = &t->param[i];
        const layout l = layout_of(o, p);
        const bool here = fits(o, l.bytes, &left);
        if (p->low.rank) BL_TRY(bl_low_new(be, p, e));
        if (p->moments || p->host) continue;
        BL_TRY(here ? on_backend(be, p, &l, e) : on_host(t, p, &l, e));
    }
out:
    return st;
}

/* Between the host and t->page. */
static bl_status page(bl_trainable *t, const bl_trained *p, const layout *l, bool in, bl_err *e)
{
    const bl_ops *ops = t->m->be->ops;
    bl_tensor all = bl_tensor_1d(t->page, 0, BL_U8, (int64_t)l->bytes);
    return in ? ops->upload(t->m->be, &all, p->host, e) : ops->download(t->m->be, &all, p->host, e);
}

static bl_adamw_args args_of(const bl_adamw *o, const bl_trained *p, double lr, double by)
{
    return (bl_adamw_args){.p = p->value,
                           .grad = p->grad,
                           .m = p->m,
                           .v = p->v,
                           .lr = lr,
                           .beta1 = o->beta1,
                           .beta2 = o->beta2,
                           .eps = o->eps,
                           .decay = o->decay,
                           .grad_scale = by,
                           .step = o->step + 1};
}

static bl_adamw8_one args8_of(const bl_adamw *o, const bl_trained *p, double lr, double by)
{
    return (bl_adamw8_one){.how = args_of(o, p, lr, by), .m_max = p->m_max, .v_max = p->v_max};
}

static bl_status steps8(const bl_trainable *t, const bl_adamw8_one *of, size_t n, bool clear, bl_err *e)
{
    return t->m->be->ops->adamw8(
        t->m->be,
        &(bl_adamw8_args){
            .of = of, .n = n, .m_table = t->moment_table[0], .v_table = t->moment_table[1], .clear = clear},
        e);
}

static bl_status step8(const bl_adamw *o, const bl_trainable *t, const bl_trained *p, double lr, double by, bl_err *e)
{
    const bl_adamw8_one a = args8_of(o, p, lr, by);
    return steps8(t, &a, 1, false, e);
}

static bl_status step(const bl_adamw *o, const bl_trainable *t, const bl_trained *p, double lr, double by, bl_err *e)
{
    const bl_adamw_args a = args_of(o, p, lr, by);
    return t->m->be->ops->adamw(t->m->be, &a, e);
}

/* ---- steps in subspaces ---- */
/* `step` or `step8` on R and a step U that begins as 0, with the eps of GaLore, which is beside sqrt(v) as it is; then
 * W += U P or P U, and decay. */
static bl_status low_step(const bl_adamw *o, bl_trainable *t, const bl_trained *p, double lr, double by, bl_err *e)
{
    bl_backend *be = t->m->be;
    const bool right = bl_low_is_right(p), eight = bl_adamw_is_eight(o, p);
    const int64_t rows = p->value.dim[0], cols = p->value.dim[1], rank = p->low.rank;
    bl_adamw in = *o;
    bl_status st = BL_OK;
    bl_tensor g, r, u, x, keep, to;

    BL_TRY(bl_low_find(t, p, o->step, e));
    BL_TRY(bl_low_matrix(t, p, &to, e));
    BL_TRY(bl_effective_act(t, BL_WORK_ACT, p->grad, 1, &g, e));
    BL_TRY(bl_effective_room(t, BL_WORK_DA, right ? rows : rank, right ? rank : cols, &r, e));
    BL_TRY(bl_effective_room(t, BL_WORK_DB, right ? rows : rank, right ? rank : cols, &u, e));
    BL_TRY(be->ops->fill(be, &r, 0, e));
    BL_TRY(be->ops->fill(be, &u, 0, e));
    if (right) BL_TRY(bl_dense_product(be, to, g, r, false, false, e));
    else BL_TRY(be->ops->weight_grad(be, &(bl_weight_grad_args){.x = g, .dy = to, .dw = r, .alpha = 1}, e));
    bl_trained low = *p;
    low.value = bl_tensor_1d(u.buf, 0, BL_F32, bl_tensor_count(&u));
    low.grad = bl_tensor_1d(r.buf, 0, BL_F32, bl_tensor_count(&r));
    in.decay = 0;
    if (!eight) in.eps = o->eps / sqrt(1 - pow(o->beta2, (double)o->step + 1));
    BL_TRY((eight ? step8 : step)(&in, t, &low, lr * p->low.scale, by, e));
    BL_TRY(bl_effective_act(t, BL_WORK_X, right ? u : to, 1, &x, e));
    BL_TRY(bl_dense_product(be, right ? to : u, x, p->value, true, true, e));
    if (o->decay == 0) goto out;
    BL_TRY(bl_effective_room(t, BL_WORK_COLS, 1, cols, &keep, e));
    keep = bl_tensor_1d(keep.buf, 0, BL_F32, cols);
    BL_TRY(be->ops->fill(be, &keep, 1 - lr * o->decay, e));
    BL_TRY(be->ops->scale(be, &(bl_scale_args){.x = p->value, .y = p->value, .cols = keep}, e));
out:
    return st;
}

/* ---- a step ---- */
static bl_status dense_step(const bl_adamw *o, bl_trainable *t, const bl_trained *p, double lr, double by, bl_err *e)
{
    if (p->low.rank) return low_step(o, t, p, lr, by, e);
    return (bl_adamw_is_eight(o, p) ? step8 : step)(o, t, p, lr, by, e);
}

/* That of the integers, read, stepped, and rounded up or down by chance: what is less than a step of the grid is not
 * lost in the mean. */
static bl_status packed_step(const bl_adamw *o, bl_trainable *t, const bl_trained *p, double lr, double by, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_weight *w = &p->packed->weight;
    bl_trained dense = *p;
    bl_status st = BL_OK;
    BL_TRY(bl_effective_room(t, BL_WORK_W, w->shape.out, w->shape.in, &dense.value, e));
    BL_TRY(be->ops->unpack(be, &(bl_unpack_args){.w = w, .rows = w->shape.out, .y = dense.value}, e));
    BL_TRY(dense_step(o, t, &dense, lr, by, e));
    BL_TRY(be->ops->pack(be, &(bl_pack_args){.x = dense.value, .w = w, .rule = BL_RANGE_CLIP}, e));
    BL_TRY(
        be->ops->round_random(be,
                              &(bl_round_random_args){.x = dense.value,
                                                      .w = w,
                                                      .key = {(uint32_t)p->seed, (uint32_t)(p->seed >> 32)},
                                                      .stream = {(uint32_t)o->step, (uint32_t)bl_rng_key(p->name, 0)}},
                              e));
out:
    return st;
}

bl_status bl_adamw_one(const bl_adamw *o, bl_trainable *t, bl_trained p, double lr, double by, bl_err *e)
{
    const layout l = layout_of(o, &p);
    bl_status st = BL_OK;
    if (p.host) {
        BL_TRY(page(t, &p, &l, true, e));
        views(&l, t->page, &p);
    }
    BL_TRY((p.packed ? packed_step : dense_step)(o, t, &p, lr * p.rate, by, e));
    if (p.host) BL_TRY(page(t, &p, &l, false, e));
out:
    return st;
}

/* Of parameters first .. end; those that nothing is special about together. */
static bl_status some_steps(const bl_adamw *o, bl_trainable *t, size_t first, size_t end, double lr, double by,
                            bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_adamw_args *plain = bl_new(end - first, sizeof *plain, e);
    bl_adamw8_one *eight = bl_new(end - first, sizeof *eight, e);
    bl_status st = BL_OK;
    size_t n = 0, n8 = 0;
    if (!plain || !eight) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = first; i < end; i++) {
        const bl_trained *p = &t->param[i];
        if (!p->grad.buf) continue; /* its step was made */
        if (p->host || p->packed || p->low.rank) {
            BL_TRY(bl_adamw_one(o, t, *p, lr, by, e));
            BL_TRY(be->ops->fill(be, &p->grad, 0, e));
        } else if (bl_adamw_is_eight(o, p)) eight[n8++] = args8_of(o, p, lr * p->rate, by);
        else plain[n++] = args_of(o, p, lr * p->rate, by);
    }
    if (n8) BL_TRY(steps8(t, eight, n8, true, e));
    if (n) BL_TRY(be->ops->adamw_all(be, &(bl_adamw_all_args){.of = plain, .n = n, .clear = true}, e));
out:
    bl_free(plain);
    bl_free(eight);
    return st;
}

static bl_status all_steps(const bl_adamw *o, bl_trainable *t, double lr, double by, bl_err *e)
{
    bl_status st = BL_OK;
    for (int64_t k = 0; k < bl_narrow_blocks(t); k++) {
        size_t first, end;
        BL_TRY(bl_narrow_enter(t, k, true, e));
        bl_narrow_params(t, k, &first, &end);
        BL_TRY(some_steps(o, t, first, end, lr, by, e));
        BL_TRY(bl_narrow_stepped(t, k, e));
    }
out:
    return st;
}

bl_status bl_adamw_step(bl_adamw *o, bl_trainable *t, double lr, double *norm, bl_err *e)
{
    static const size_t ops[] = {BL_OP(adamw), BL_OP(adamw_all), BL_OP(sq_sums), 0};
    bl_backend *be = t->m->be;
    bl_status st = BL_OK;
    double length = 0;

    BL_TRY(bl_check_ops(be, ops, e));
    BL_TRY(norm_of(t, &length, e));
    if (!isfinite(length))
        return bl_fail(e, BL_E_NUMERIC, "step %lld: the gradient is not finite", (long long)o->step + 1);
    BL_TRY(bl_adamw_moments(o, t, e));
    const double by = o->clip > 0 ? fmin(1, o->clip / (length + 1e-6)) : 1;
    BL_TRY(all_steps(o, t, lr, by, e));
    BL_TRY(bl_trainable_make(t, e));
    o->step++;
    if (norm) *norm = length;
out:
    return st;
}
