/* linear.c - one linear and one norm: what belongs to them, how it is loaded, changed and let go. */
#include "model_impl.h"
#include <string.h>

static void tensor_free(bl_tensor *t)
{
    if (t->buf) t->buf->backend->ops->buffer_free(t->buf);
    t->buf = NULL;
}

static void adapter_drop(bl_linear *l, int i)
{
    tensor_free(&l->adapter[i].a);
    tensor_free(&l->adapter[i].b);
    for (int k = 0; l->packed && k < 2; k++) {
        bl_weight *w = &l->packed[2 * i + k];
        const bl_weight known = {.format = w->format, .shape = w->shape};
        bl_weight_free(w);
        *w = known;
    }
}

const bl_weight *bl_linear_packed(const bl_linear *l, int i)
{
    return l->packed && l->packed[2 * i].format ? &l->packed[2 * i] : NULL;
}

static int all_transforms(const bl_linear *l) { return l->n_transforms + l->n_after; }

/* ---- computing ---- */
bl_status bl_linear_apply(bl_backend *be, const bl_linear *l, bl_tensor x, bl_tensor y, bool accumulate, bl_err *e)
{
    return be->ops->linear(be,
                           &(bl_linear_args){.x = x,
                                             .w = {&l->weight},
                                             .bias = {l->bias},
                                             .y = {y},
                                             .t = l->transform,
                                             .n_t = l->n_transforms,
                                             .act = l->act,
                                             .adapter = l->adapter,
                                             .n_adapters = l->n_adapters,
                                             .s = l->transform ? l->transform + l->n_transforms : NULL,
                                             .n_s = l->n_after,
                                             .accumulate = accumulate},
                           e);
}

static bool alike(const bl_linear *a, const bl_linear *b)
{
    const bl_actq *p = &a->act, *q = &b->act;
    bool act = p->bits == q->bits && (!p->bits || (p->symmetric == q->symmetric && p->unit == q->unit &&
                                                   p->group == q->group && p->scale == q->scale && p->zero == q->zero));
    return act && !all_transforms(a) && !all_transforms(b) && !a->n_adapters && !b->n_adapters;
}

/* Linears that read one x, or one, as one call. */
static void args_of(const bl_linear *const l[], int n, bl_tensor x, const bl_tensor y[], bl_linear_args *a)
{
    *a = (bl_linear_args){.x = x, .act = l[0]->act};
    for (int i = 0; i < n; i++) {
        a->w[i] = &l[i]->weight;
        a->bias[i] = l[i]->bias;
        a->y[i] = y[i];
    }
}

static bool together(const bl_linear *const l[], int n)
{
    if (n > BL_LINEAR_MOST) return false;
    for (int i = 1; i < n; i++)
        if (!alike(l[0], l[i])) return false;
    return true;
}

bl_status bl_linears_apply(bl_backend *be, const bl_linear *const l[], int n, bl_tensor x, const bl_tensor y[],
                           bl_err *e)
{
    bl_status st = BL_OK;
    if (n > 1 && together(l, n)) {
        bl_linear_args a;
        args_of(l, n, x, y, &a);
        return be->ops->linear(be, &a, e);
    }
    for (int i = 0; i < n; i++) BL_TRY(bl_linear_apply(be, l[i], x, y[i], false, e));
out:
    return st;
}

bool bl_linears_prepare(bl_backend *be, const bl_linear *const l[], int n, bl_tensor x, const bl_before *b,
                        const bl_tensor y[], bool accumulate, bl_linear_args *a)
{
    if (!be->ops->linear_prepares || !together(l, n) || all_transforms(l[0]) || l[0]->n_adapters) return false;
    args_of(l, n, x, y, a);
    a->accumulate = accumulate;
    a->norm = b->norm;
    a->eps = b->eps;
    a->gate = b->gate;
    return be->ops->linear_prepares(be, a);
}

bl_status bl_linear_dense(bl_backend *be, const bl_linear *l, bl_tensor *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_buffer *b = NULL;
    bl_tensor t;

    BL_TRY(be->ops->buffer_new(be, (uint64_t)l->weight.shape.in * (uint64_t)l->out * sizeof(float), &b, e));
    t = bl_tensor_2d(b, 0, BL_F32, l->out, l->weight.shape.in);
    BL_TRY(be->ops->unpack(be, &(bl_unpack_args){.w = &l->weight, .row0 = 0, .rows = l->out, .y = t}, e));
    *out = t;
    b = NULL;
out:
    be->ops->buffer_free(b);
    return st;
}

/* ---- what it is made of ---- */
int64_t bl_linear_width(const bl_linear *l) { return l->n_transforms ? l->transform[l->n_transforms - 1].out : l->in; }

uint64_t bl_linear_bytes(const bl_linear *l)
{
    uint64_t n = bl_weight_bytes(&l->weight);
    if (l->bias.ndim) n += bl_format_bytes(l->bias_format, &(bl_shape){.out = 1, .in = l->out});
    for (int i = 0; i < all_transforms(l); i++)
        if (l->transform[i].data.ndim) n += bl_tensor_bytes(&l->transform[i].data);
    for (int i = 0; i < l->n_adapters; i++) {
        const bl_lowrank *a = &l->adapter[i];
        const bl_weight *w = bl_linear_packed(l, i);
        if (!w) n += bl_tensor_bytes(&a->a) + bl_tensor_bytes(&a->b);
        for (int k = 0; w && k < 2; k++) n += bl_format_bytes(w[k].format, &w[k].shape);
    }
    return n;
}

bool bl_linear_resident(const bl_linear *l) { return l->weight.owned != NULL; }

/* ---- comparing ---- */
static bl_status same_tensor(const bl_tensor *a, const bl_tensor *b, bool *same, bl_err *e)
{
    enum { PIECE = 1 << 20 }; /* elements that are compared at a time */
    bl_status st = BL_OK;
    char *x = NULL, *y = NULL;
    int64_t n = a->ndim ? bl_tensor_count(a) : 0;

    *same = a->ndim == b->ndim && a->dtype == b->dtype && n == (b->ndim ? bl_tensor_count(b) : 0);
    for (int d = 0; d < a->ndim && *same; d++) *same = a->dim[d] == b->dim[d];
    if (!*same || !n) return BL_OK;
    size_t size = bl_dtype_bytes(a->dtype);
    if (!(x = bl_new((size_t)BL_MIN(n, PIECE), size, e)) || !(y = bl_new((size_t)BL_MIN(n, PIECE), size, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t at = 0; at < n && *same; at += PIECE) {
        int64_t k = BL_MIN(n - at, PIECE);
        bl_tensor u = bl_tensor_part(bl_tensor_1d(a->buf, a->offset, a->dtype, n), at, k),
                  v = bl_tensor_part(bl_tensor_1d(b->buf, b->offset, b->dtype, n), at, k);
        BL_TRY(a->buf->backend->ops->download(a->buf->backend, &u, x, e));
        BL_TRY(b->buf->backend->ops->download(b->buf->backend, &v, y, e));
        *same = memcmp(x, y, (size_t)k * size) == 0;
    }
out:
    bl_free(x);
    bl_free(y);
    return st;
}

static bool same_shape(const bl_shape *a, const bl_shape *b)
{
    return a->out == b->out && a->in == b->in && a->group == b->group && a->zero == b->zero && a->scale == b->scale &&
           a->double_quant == b->double_quant && a->salient == b->salient && a->scale_bits == b->scale_bits &&
           a->scale_group == b->scale_group;
}

static bl_status same_parts(const bl_weight *a, const bl_weight *b, bool *same, bl_err *e)
{
    bl_status st = BL_OK;
    *same = a->format == b->format && a->layout == b->layout && same_shape(&a->shape, &b->shape);
    for (int p = 0; p < a->n_parts && *same; p++) BL_TRY(same_tensor(&a->part[p], &b->part[p], same, e));
out:
    return st;
}

static bl_status same_adapter(const bl_linear *l, const bl_linear *m, int i, bool *same, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_lowrank *a = &l->adapter[i], *b = &m->adapter[i];
    const bl_weight *v = bl_linear_packed(l, i), *w = bl_linear_packed(m, i);
    *same = a->scale == b->scale && !v == !w;
    if (*same) BL_TRY(same_tensor(&a->a, &b->a, same, e));
    if (*same) BL_TRY(same_tensor(&a->b, &b->b, same, e));
    for (int k = 0; v && w && k < 2 && *same; k++) BL_TRY(same_parts(&v[k], &w[k], same, e));
out:
    return st;
}

static bool same_act(const bl_actq *a, const bl_actq *b)
{
    return a->bits == b->bits && a->symmetric == b->symmetric && a->unit == b->unit && a->group == b->group &&
           a->scale == b->scale && a->zero == b->zero;
}

bl_status bl_linear_same(const bl_linear *a, const bl_linear *b, bool *same, bl_err *e)
{
    bl_status st = BL_OK;
    *same = same_act(&a->act, &b->act) && a->n_transforms == b->n_transforms && a->n_after == b->n_after &&
            a->n_adapters == b->n_adapters;
    for (int i = 0; i < all_transforms(a) && *same; i++) {
        const bl_transform *s = &a->transform[i], *t = &b->transform[i];
        *same = s->kind == t->kind && s->in == t->in && s->out == t->out;
        if (*same) BL_TRY(same_tensor(&s->data, &t->data, same, e));
    }
    for (int i = 0; i < a->n_adapters && *same; i++) BL_TRY(same_adapter(a, b, i, same, e));
    if (*same) BL_TRY(same_tensor(&a->bias, &b->bias, same, e));
    if (*same) BL_TRY(same_parts(&a->weight, &b->weight, same, e));
out:
    return st;
}

/* ---- setters ---- */
void bl_linear_set_weight(bl_linear *l, bl_weight *w)
{
    bl_weight_free(&l->weight);
    l->weight = *w;
    *w = (bl_weight){0};
    l->changed = true;
}

void bl_linear_set_bias(bl_linear *l, bl_tensor bias)
{
    tensor_free(&l->bias);
    l->bias = bias.buf ? bias : (bl_tensor){0};
    l->bias_format = bias.buf ? bl_format_find("fp32") : NULL;
    l->changed = true;
}

void bl_linear_set_act(bl_linear *l, bl_actq act)
{
    l->act = act;
    l->changed = true;
}

static bl_status insert(bl_linear *l, int at, const bl_transform *t, int *count, bl_err *e)
{
    int n = all_transforms(l);
    bl_transform *all = bl_resize(l->transform, (size_t)n + 1, sizeof *all, e);
    if (!all) return BL_E_NOMEM;
    memmove(all + at + 1, all + at, (size_t)(n - at) * sizeof *all);
    all[at] = *t;
    l->transform = all;
    ++*count;
    l->changed = true;
    return BL_OK;
}

bl_status bl_linear_add_transform(bl_linear *l, const bl_transform *t, bl_err *e)
{
    if (t->in != bl_linear_width(l))
        return bl_fail(e, BL_E_INTERNAL, "%s: a transform of %lld inputs, expected %lld", l->name, (long long)t->in,
                       (long long)bl_linear_width(l));
    return insert(l, l->n_transforms, t, &l->n_transforms, e);
}

bl_status bl_linear_add_after(bl_linear *l, const bl_transform *t, bl_err *e)
{
    if (t->in != l->out || t->out != l->out)
        return bl_fail(e, BL_E_INTERNAL, "%s: a transform of %lld to %lld outputs, expected %lld", l->name,
                       (long long)t->in, (long long)t->out, (long long)l->out);
    return insert(l, all_transforms(l), t, &l->n_after, e);
}

static void free_transforms(bl_linear *l)
{
    for (int i = 0; i < all_transforms(l); i++) tensor_free(&l->transform[i].data);
    bl_free(l->transform);
    l->transform = NULL;
    l->n_transforms = l->n_after = 0;
}

void bl_linear_clear_transforms(bl_linear *l)
{
    free_transforms(l);
    l->changed = true;
}

bl_status bl_linear_add_adapter(bl_linear *l, const bl_lowrank *adapter, bl_err *e)
{
    const bl_tensor *a = &adapter->a, *b = &adapter->b;
    if (a->ndim != 2 || b->ndim != 2 || a->dim[1] != l->in || b->dim[0] != l->out || a->dim[0] != b->dim[1])
        return bl_fail(e, BL_E_INTERNAL, "%s: an adapter of [%lld, %lld] and [%lld, %lld] does not fit [%lld, %lld]",
                       l->name, (long long)a->dim[0], (long long)a->dim[1], (long long)b->dim[0], (long long)b->dim[1],
                       (long long)l->out, (long long)l->in);
    bl_lowrank *all = bl_resize(l->adapter, (size_t)l->n_adapters + 1, sizeof *all, e);
    if (!all) return BL_E_NOMEM;
    l->adapter = all;
    if (l->packed) {
        bl_weight *w = bl_resize(l->packed, 2 * (size_t)l->n_adapters + 2, sizeof *w, e);
        if (!w) return BL_E_NOMEM;
        l->packed = w;
        for (int k = 0; k < 2; k++) w[2 * l->n_adapters + k] = (bl_weight){0};
    }
    all[l->n_adapters++] = *adapter;
    l->changed = true;
    return BL_OK;
}

static void free_adapters(bl_linear *l)
{
    for (int i = 0; i < l->n_adapters; i++) { adapter_drop(l, i); }
    bl_free(l->adapter);
    bl_free(l->packed);
    l->packed = NULL;
    l->adapter = NULL;
    l->n_adapters = 0;
}

/* The numbers of a packed matrix as that matrix. */
static bl_status unpacked(bl_backend *be, const bl_weight *w, const bl_tensor *t, bl_err *e)
{
    const bl_tensor y = bl_tensor_2d(t->buf, t->offset, BL_F32, w->shape.out, w->shape.in);
    return be->ops->unpack(be, &(bl_unpack_args){.w = w, .rows = w->shape.out, .y = y}, e);
}

bl_status bl_linear_pack_adapter(bl_backend *be, bl_linear *l, const bl_format *f, bl_err *e)
{
    enum { GROUP = 64 };
    bl_status st = BL_OK;
    const bl_lowrank *a = &l->adapter[l->n_adapters - 1];
    const bl_tensor *of[] = {&a->a, &a->b};
    if (!l->packed && !(l->packed = bl_new(2 * (size_t)l->n_adapters, sizeof *l->packed, e))) return BL_E_NOMEM;
    l->changed = true;
    for (int k = 0; k < 2; k++) {
        bl_weight *w = &l->packed[2 * (l->n_adapters - 1) + k];
        const int64_t n = bl_tensor_count(of[k]), rows = n % GROUP ? 1 : n / GROUP;
        const bl_shape shape = {.out = rows, .in = n / rows, .group = BL_MIN(GROUP, n), .scale = BL_F32};
        bl_weight_free(w);
        *w = (bl_weight){.format = f, .shape = shape};
        if (!of[k]->buf) continue;
        const bl_tensor x = bl_tensor_2d(of[k]->buf, of[k]->offset, BL_F32, rows, n / rows);
        BL_TRY(bl_weight_new(be, f, &shape, w, e));
        BL_TRY(be->ops->pack(be, &(bl_pack_args){.x = x, .w = w}, e));
        BL_TRY(unpacked(be, w, of[k], e));
    }
    if (a->a.buf) BL_TRY(be->ops->sync(be, e));
out:
    return st;
}

void bl_linear_clear_adapters(bl_linear *l)
{
    free_adapters(l);
    l->changed = true;
}

void bl_norm_set(bl_norm *n, bl_tensor weight)
{
    tensor_free(&n->weight);
    n->weight = weight;
    n->format = bl_format_find("fp32");
    n->changed = true;
}

/* ---- loading ---- */
static bl_status load_vector(bl_checkpoint *c, const bl_stored *s, bl_backend *be, bl_tensor *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_buffer *b = NULL;
    float *host = bl_new((size_t)s->shape.in, sizeof *host, e);

    if (!host) return BL_E_NOMEM;
    BL_TRY(bl_checkpoint_dense(c, s, 0, 1, host, e));
    BL_TRY(be->ops->buffer_new(be, (uint64_t)s->shape.in * sizeof *host, &b, e));
    bl_tensor t = bl_tensor_1d(b, 0, BL_F32, s->shape.in);
    BL_TRY(be->ops->upload(be, &t, host, e));
    BL_TRY(be->ops->sync(be, e)); /* before host goes */
    *out = t;
    b = NULL;
out:
    be->ops->buffer_free(b);
    bl_free(host);
    return st;
}

const bl_stored *bl_linear_stored_bias(const bl_checkpoint *c, const bl_linear *l)
{
    for (int r = 0; r < BL_N_ROLES; r++)
        if (bl_roles[r].kind == BL_KIND_BIAS && bl_roles[r].of == l->role)
            return bl_checkpoint_param(c, (bl_role)r, l->block);
    return NULL;
}

bl_status bl_linear_outline_extras(bl_linear *l, const bl_stored *s, bl_err *e)
{
    int n = s->n_transforms + s->n_after;
    if (n && !(l->transform = bl_new((size_t)n, sizeof *l->transform, e))) return BL_E_NOMEM;
    for (int i = 0; i < n; i++) l->transform[i] = s->transform[i].t;
    l->n_transforms = s->n_transforms;
    l->n_after = s->n_after;
    if (s->n_adapters && !(l->adapter = bl_new((size_t)s->n_adapters, sizeof *l->adapter, e))) return BL_E_NOMEM;
    for (int i = 0; i < s->n_adapters; i++) {
        const bl_stored *packed = s->adapter[i].packed;
        bl_lowrank *a = &l->adapter[l->n_adapters++];
        *a = (bl_lowrank){.a = bl_tensor_2d(NULL, 0, BL_F32, s->adapter[i].rank, l->in),
                          .b = bl_tensor_2d(NULL, 0, BL_F32, l->out, s->adapter[i].rank),
                          .scale = s->adapter[i].scale};
        if (packed && !l->packed && !(l->packed = bl_new(2 * (size_t)s->n_adapters, sizeof *l->packed, e)))
            return BL_E_NOMEM;
        for (int k = 0; packed && k < 2; k++)
            l->packed[2 * i + k] = (bl_weight){.format = packed[k].format, .shape = packed[k].shape};
    }
    return BL_OK;
}

static bl_status load_tensor(bl_checkpoint *c, bl_backend *be, const bl_extent *x, bl_tensor *t, bl_err *e)
{
    bl_status st = BL_OK;
    bl_buffer *b = NULL;
    BL_TRY(be->ops->buffer_new(be, x->bytes, &b, e));
    t->buf = b;
    t->offset = 0;
    st = bl_checkpoint_load_extent(c, x, be, t, e);
out:
    return st;
}

static bl_status load_adapter(bl_checkpoint *c, bl_backend *be, const bl_stored_adapter *s, bl_linear *l, int i,
                              bl_err *e)
{
    bl_lowrank *a = &l->adapter[i];
    bl_status st = BL_OK;
    bl_tensor *of[] = {&a->a, &a->b};
    const bl_extent *from[] = {&s->a, &s->b};
    for (int k = 0; k < 2; k++) {
        if (!s->packed) {
            BL_TRY(load_tensor(c, be, from[k], of[k], e));
            continue;
        }
        BL_TRY(bl_checkpoint_load(c, &s->packed[k], be, &l->packed[2 * i + k], e));
        BL_TRY(be->ops->buffer_new(be, bl_tensor_bytes(of[k]), &of[k]->buf, e));
        of[k]->offset = 0;
        BL_TRY(unpacked(be, &l->packed[2 * i + k], of[k], e));
    }
out:
    return st;
}

/* A permutation picks inputs that exist. */
static bl_status check_permutation(bl_backend *be, const bl_linear *l, const bl_transform *t, bl_err *e)
{
    bl_status st = BL_OK;
    int32_t *from = bl_new((size_t)t->out, sizeof *from, e);
    if (!from) return BL_E_NOMEM;
    BL_TRY(be->ops->download(be, &t->data, from, e));
    for (int64_t i = 0; st == BL_OK && i < t->out; i++)
        if (from[i] < 0 || from[i] >= t->in)
            st = bl_fail(e, BL_E_FORMAT, "%s: a permutation takes input %d of %lld", l->name, (int)from[i],
                         (long long)t->in);
out:
    bl_free(from);
    return st;
}

/* Sums are of inputs that exist, each sum in one place. */
static bl_status check_sums(bl_backend *be, const bl_linear *l, const bl_transform *t, bl_err *e)
{
    bl_status st = BL_OK;
    const int64_t n = t->data.dim[0];
    int32_t *m = bl_new((size_t)(3 * n), sizeof *m, e), before = 0;
    if (!m) return BL_E_NOMEM;
    BL_TRY(be->ops->download(be, &t->data, m, e));
    for (int64_t k = 0; st == BL_OK && k < n; k++) {
        const int32_t to = m[3 * k], from = m[3 * k + 1], by = m[3 * k + 2];
        if (to < before || to >= t->out || from < 0 || from >= t->in || by < 1)
            st = bl_fail(e, BL_E_FORMAT,
                         "%s: row %lld of sums of inputs is (to %d, from %d, by %d); expected an output of %lld, none "
                         "before %d, an input of %lld and a positive divisor",
                         l->name, (long long)k, (int)to, (int)from, (int)by, (long long)t->out, (int)before,
                         (long long)t->in);
        before = to;
    }
out:
    bl_free(m);
    return st;
}

bl_status bl_linear_load(bl_checkpoint *c, bl_backend *be, bl_linear *l, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_stored *s = bl_checkpoint_param(c, l->role, l->block);
    if (l->changed)
        return bl_fail(e, BL_E_INTERNAL, "%s was changed and released; it is where it was written", l->name);
    if (l->bias.ndim) BL_TRY(load_vector(c, bl_linear_stored_bias(c, l), be, &l->bias, e));
    for (int i = 0; i < all_transforms(l); i++) {
        bl_transform *t = &l->transform[i];
        if (t->data.ndim) BL_TRY(load_tensor(c, be, &s->transform[i].extent, &t->data, e));
        if (t->kind == BL_T_PERMUTE) BL_TRY((t->data.ndim == 2 ? check_sums : check_permutation)(be, l, t, e));
    }
    for (int i = 0; i < l->n_adapters; i++) BL_TRY(load_adapter(c, be, &s->adapter[i], l, i, e));
    BL_TRY(bl_checkpoint_load(c, s, be, &l->weight, e));
out:
    if (st != BL_OK) bl_linear_drop(l);
    return st;
}

void bl_linear_drop(bl_linear *l)
{
    bl_weight known = {.format = l->weight.format, .shape = l->weight.shape};
    bl_weight_free(&l->weight);
    l->weight = known;
    tensor_free(&l->bias);
    for (int i = 0; i < all_transforms(l); i++) tensor_free(&l->transform[i].data);
    for (int i = 0; i < l->n_adapters; i++) adapter_drop(l, i);
}

void bl_linear_free(bl_linear *l)
{
    bl_weight_free(&l->weight);
    tensor_free(&l->bias);
    free_transforms(l);
    free_adapters(l);
}

bl_status bl_norm_load(bl_checkpoint *c, bl_backend *be, bl_norm *n, bl_err *e)
{
    if (n->changed)
        return bl_fail(e, BL_E_INTERNAL, "%s was changed and released; it is where it was written", n->name);
    return load_vector(c, bl_checkpoint_param(c, n->role, n->block), be, &n->weight, e);
}

void bl_norm_drop(bl_norm *n) { tensor_free(&n->weight); }
