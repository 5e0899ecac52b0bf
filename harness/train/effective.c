/* effective.c - products with weights that are trained, and their gradients; what is trained and what is not. */
#include "narrow.h"
#include "optimizer.h"
#include "subspace.h"
#include "taught.h"
#include "kernels/base/rng.h"
#include "kernels/dense.h"
#include <math.h>
#include <string.h>

/* ---- making and letting go ---- */
/* Everything is frozen. */
static bl_status make_empty(bl_model *m, int64_t block, bl_trainable **out, bl_err *e)
{
    bl_trainable *t = NULL;
    if (!(t = bl_new(1, sizeof *t, e)) || !(t->w = bl_new(m->n_linears + 2, sizeof *t->w, e)) ||
        !(t->norm = bl_new(m->n_norms + 1, sizeof *t->norm, e))) {
        if (t) bl_free(t->w);
        bl_free(t);
        return BL_E_NOMEM;
    }
    t->m = m;
    t->block = block;
    bl_made_end(t);
    for (size_t i = 0; i < m->n_linears; i++)
        if (block < 0 || m->linears[i].block == block) t->w[t->n++] = (bl_effective){.linear = &m->linears[i]};
    t->n_linears = t->n;
    if (block < 0) t->w[t->n++] = (bl_effective){.linear = &m->embed};
    if (block < 0 && m->head.weight.format) t->w[t->n++] = (bl_effective){.linear = &m->head};
    for (size_t i = 0; i < t->n; i++) t->w[i].bias = t->w[i].adapter = t->w[i].a = t->w[i].b = -1;
    for (size_t i = 0; i <= m->n_norms; i++) t->norm[i] = -1;
    *out = t;
    return BL_OK;
}

bl_status bl_trainable_new(bl_model *m, bl_trainable **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_trainable *t = NULL;

    if (m->stream)
        return bl_fail(e, BL_E_UNSUPPORTED, "training needs the whole model in memory; this one is streamed");
    BL_TRY(make_empty(m, -1, &t, e));
    if (!m->later) BL_TRY(bl_trainable_reach(t, m->config.n_layers - 1, e));
    *out = t;
    return BL_OK;
out:
    bl_trainable_free(t);
    return st;
}

bl_status bl_trainable_reach(bl_trainable *t, int64_t block, bl_err *e)
{
    bl_status st = BL_OK;
    for (block = BL_MIN(block, t->m->config.n_layers - 1); t->n_reached <= block; t->n_reached++)
        BL_TRY(bl_block_acquire(t->m, t->n_reached, e));
out:
    return st;
}

bl_status bl_trainable_of_block(bl_model *m, int64_t block, bl_trainable **out, bl_err *e)
{
    return make_empty(m, block, out, e);
}

void bl_trainable_rest(bl_trainable *t)
{
    const bl_ops *o = t->m->be->ops;
    bl_pass_room *r = &t->room;
    o->buffer_free(r->stream);
    o->buffer_free(r->inputs);
    o->buffer_free(r->lists);
    o->buffer_free(r->work);
    for (int64_t b = 0; r->tape && b < t->m->config.n_layers; b++) bl_tape_free(t->m, &r->tape[b]);
    bl_free(r->tape);
    *r = (bl_pass_room){0};
}

void bl_trainable_free(bl_trainable *t)
{
    if (!t) return;
    const bl_ops *o = t->m->be->ops;
    bl_trainable_rest(t);
    bl_narrow_free(t);
    for (size_t i = 0; i < t->n_params; i++) {
        o->buffer_free(t->param[i].grad.buf);
        o->buffer_free(t->param[i].moments);
        o->buffer_free(t->param[i].own);
        bl_low_free(o, &t->param[i].low);
        if (o->host_free) o->host_free(t->m->be, t->param[i].host);
        else bl_free(t->param[i].host);
    }
    bl_teacher_free(t->teacher);
    o->buffer_free(t->page);
    o->buffer_free(t->made.room);
    for (size_t i = 0; i < BL_COUNT(t->kept.room); i++) o->buffer_free(t->kept.room[i]);
    for (size_t i = 0; i < BL_COUNT(t->work); i++) o->buffer_free(t->work[i]);
    for (size_t i = 0; i < BL_COUNT(t->moment_table); i++) o->buffer_free(t->moment_table[i].buf);
    while (t->n_reached > 0) bl_block_release(t->m, --t->n_reached);
    for (size_t i = 0; i < t->n; i++) {
        o->buffer_free(t->w[i].constant);
        for (int k = 0; k < 2; k++) bl_free(t->w[i].first[k]);
    }
    bl_free(t->param);
    bl_free(t->norm);
    bl_free(t->w);
    bl_free(t);
}

uint64_t bl_trainable_count(const bl_trainable *t)
{
    uint64_t n = 0;
    for (size_t i = 0; i < t->n_params; i++) n += (uint64_t)bl_tensor_count(&t->param[i].value);
    return n;
}

bl_effective *bl_effective_of(bl_trainable *t, int64_t block, bl_role role)
{
    const bl_linear *l = bl_model_linear(t->m, block, role);
    for (size_t i = 0; l && i < t->n; i++)
        if (t->w[i].linear == l) return &t->w[i];
    return NULL;
}

bl_status bl_trained_tensor(bl_backend *be, int64_t rows, int64_t cols, bl_tensor *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_buffer *b = NULL;
    BL_TRY(be->ops->buffer_new(be, (uint64_t)(rows * cols) * sizeof(float) + 64, &b, e));
    *out = bl_tensor_2d(b, 0, BL_F32, rows, cols);
    BL_TRY(be->ops->fill(be, out, 0, e));
    b = NULL;
out:
    be->ops->buffer_free(b);
    return st;
}

bl_status bl_trained_add(bl_trainable *t, const char *name, const char *part, bl_tensor value, int *place, bl_err *e)
{
    bl_status st = BL_OK;
    bl_trained p = {.value = value, .rate = 1};
    int64_t n = bl_tensor_count(&value);

    BL_TRY(bl_grow(&t->param, &t->cap_params, t->n_params + 1, sizeof *t->param, e));
    BL_TRY(bl_trained_tensor(t->m->be, value.ndim == 2 ? value.dim[0] : 1, value.ndim == 2 ? value.dim[1] : n, &p.grad,
                             e));
    if (value.ndim == 1) p.grad = bl_tensor_1d(p.grad.buf, 0, BL_F32, n);
    snprintf(p.name, sizeof p.name, "%s.%s", name, part);
    *place = (int)t->n_params;
    t->param[t->n_params++] = p;
out:
    return st;
}

/* ---- products ---- */
bl_status bl_effective_room(bl_trainable *t, int which, int64_t rows, int64_t cols, bl_tensor *out, bl_err *e)
{
    bl_dtype type = which <= BL_WORK_BACK ? t->m->be->act : BL_F32;
    bl_status st = bl_buffer_fit(t->m->be, &t->work[which], (uint64_t)(rows * cols) * bl_dtype_bytes(type) + 64, e);
    if (st == BL_OK) *out = bl_tensor_2d(t->work[which], 0, type, rows, cols);
    return st;
}

bl_status bl_effective_act(bl_trainable *t, int which, bl_tensor x, double by, bl_tensor *out, bl_err *e)
{
    bl_backend *be = t->m->be;
    const int64_t rows = x.dim[0], cols = x.dim[1];
    const bl_weight w = bl_weight_of(x);
    bl_status st = BL_OK;
    bl_tensor list;
    int32_t *ids = NULL;
    if (be->act == BL_F32 && by == 1) {
        *out = x;
        return BL_OK;
    }
    if (!(ids = bl_new((size_t)rows, sizeof *ids, e))) return BL_E_NOMEM;
    for (int64_t i = 0; i < rows; i++) ids[i] = (int32_t)i;
    BL_TRY(bl_effective_room(t, BL_WORK_COLS, 1, BL_MAX(rows, cols), &list, e));
    const bl_tensor all = bl_tensor_1d(list.buf, 0, BL_I32, rows), scale = bl_tensor_1d(list.buf, 0, BL_F32, cols);
    BL_TRY(be->ops->upload(be, &all, ids, e));
    BL_TRY(bl_effective_room(t, which, rows, cols, out, e));
    BL_TRY(be->ops->embed(be, &(bl_embed_args){.w = &w, .ids = all, .y = *out}, e)); /* rows as activations */
    if (by == 1) goto out;
    const bl_transform times = {.kind = BL_T_SCALE, .in = cols, .out = cols, .data = scale};
    BL_TRY(be->ops->fill(be, &scale, by, e));
    BL_TRY(be->ops->transform(be, &(bl_transform_args){.x = *out, .y = *out, .t = &times, .n_t = 1}, e));
out:
    bl_free(ids);
    return st;
}

static bl_status drop(bl_trainable *t, const bl_effective *w, int64_t row0, bl_tensor x, bl_tensor y, bool accumulate,
                      bl_err *e)
{
    return t->m->be->ops->dropout(t->m->be,
                                  &(bl_dropout_args){.x = x,
                                                     .y = y,
                                                     .p = w->dropout,
                                                     .key = {t->dropout_key[0], t->dropout_key[1]},
                                                     .stream = {t->pass, (uint32_t)(w - t->w)},
                                                     .row0 = row0,
                                                     .accumulate = accumulate},
                                  e);
}

/* h *= by */
static bl_status scaled(bl_trainable *t, bl_tensor h, float by, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_status st = BL_OK;
    bl_tensor cols;
    BL_TRY(bl_effective_room(t, BL_WORK_COLS, 1, h.dim[1], &cols, e));
    bl_transform all = {
        .kind = BL_T_SCALE, .in = h.dim[1], .out = h.dim[1], .data = bl_tensor_1d(cols.buf, 0, BL_F32, h.dim[1])};
    BL_TRY(be->ops->fill(be, &all.data, (double)by, e));
    BL_TRY(be->ops->transform(be, &(bl_transform_args){.x = h, .y = h, .t = &all, .n_t = 1}, e));
out:
    return st;
}

/* The weight that products are computed with, in the place of that of l, a copy of the linear. */
static bl_status weight_of(bl_trainable *t, bl_effective *w, bl_linear *l, bl_err *e)
{
    bl_weight_make *make = bl_made_by(t, w);
    bl_status st = BL_OK;
    bl_tensor y;
    bool there;
    if (!make) return BL_OK;
    BL_TRY(bl_made_at(t, w, &y, &there, e));
    if (!there) BL_TRY(make(t, w, y, e));
    l->weight = bl_weight_of(y);
    if (!w->rule) l->n_after = 0;
out:
    return st;
}

/* Where the linear rounds its input: that, and `l` does not any more. */
static bl_status rounded(bl_trainable *t, bl_linear *l, bl_tensor *x, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tensor y;
    if (!l->act.bits) return BL_OK;
    BL_TRY(bl_effective_room(t, BL_WORK_X, x->dim[0], x->dim[1], &y, e));
    BL_TRY(t->m->be->ops->act_round(t->m->be, &(bl_act_round_args){.x = *x, .y = y, .act = l->act}, e));
    *x = y;
    l->act = (bl_actq){0};
out:
    return st;
}

/* x as it is, or what `from` has, into y. */
static bl_status put(bl_trainable *t, bl_tensor from, bl_tensor y, bool accumulate, bl_err *e)
{
    bl_backend *be = t->m->be;
    if (accumulate) return be->ops->add(be, &(bl_add_args){.x = from, .y = y}, e);
    return be->ops->gather(be, &(bl_gather_args){.src = from, .dst = y, .n = y.dim[0]}, e);
}

bl_status bl_effective_forward(bl_trainable *t, bl_effective *w, int64_t row0, bl_tensor x, bl_tensor y,
                               bool accumulate, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_linear l = *w->linear;
    bl_status st = BL_OK;
    bl_tensor xd, h, to = y;
    const bool kept = bl_kept_at(t, w, row0, x.dim[0], &to), onto = accumulate && !kept;

    BL_TRY(weight_of(t, w, &l, e));
    BL_TRY(rounded(t, &l, &x, e));
    if (w->adapter < 0 || w->dropout == 0 || t->still) {
        BL_TRY(bl_linear_apply(be, &l, x, to, onto, e));
        if (w->out.bits) BL_TRY(be->ops->act_round(be, &(bl_act_round_args){.x = to, .y = to, .act = w->out}, e));
        goto put;
    }
    /* the trained adapter, which is the last one, reads another x than the rest */
    const bl_lowrank *a = &l.adapter[w->adapter];
    l.n_adapters = w->adapter;
    BL_TRY(bl_linear_apply(be, &l, x, to, onto, e));
    BL_TRY(bl_effective_room(t, BL_WORK_X, x.dim[0], x.dim[1], &xd, e));
    BL_TRY(bl_effective_room(t, BL_WORK_LOW, x.dim[0], a->a.dim[0], &h, e));
    BL_TRY(drop(t, w, row0, x, xd, false, e));
    BL_TRY(bl_dense_product(be, a->a, xd, h, false, false, e));
    BL_TRY(scaled(t, h, a->scale, e));
    BL_TRY(bl_dense_product(be, a->b, h, to, false, true, e));
put:
    if (kept) BL_TRY(put(t, to, y, accumulate, e));
out:
    return st;
}

/* The step is made within the backward pass: no gradient is kept. */
static bool steps_now(const bl_trainable *t, const bl_effective *w)
{
    return w->rule && !w->rule->chain && !t->param[w->param[0]].grad.buf;
}

/* dW, from where the rule wants it; and the bias's. */
static bl_status weight_gradient(bl_trainable *t, bl_effective *w, bl_tensor x, bl_tensor dy, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_status st = BL_OK;
    bl_weight_grad_args a = {.x = x, .dy = dy, .alpha = 1};

    if (!w->rule && w->bias < 0) return BL_OK;
    if (w->bias >= 0) a.db = t->param[w->bias].grad;
    if (w->rule && !w->rule->chain && t->param[w->param[0]].grad.buf) a.dw = t->param[w->param[0]].grad;
    else if (w->rule) {
        const int room = bl_effective_narrow(t, w) ? BL_WORK_NARROW : BL_WORK_DW;
        BL_TRY(bl_effective_room(t, room, w->linear->out, w->linear->in, &a.dw, e));
        a.anew = true;
    }
    BL_TRY(be->ops->weight_grad(be, &a, e));
    if (w->rule && w->rule->chain) BL_TRY(w->rule->chain(t, w, a.dw, e));
out:
    return st;
}

/* Places for the gradients of the model's A or B of linears: zeroed, one after another, where forms make others of
 * them, else the parameters' own. */
static bl_status of_forms(bl_trainable *t, int which, bl_effective *const *w, int n, bl_tensor *out, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t all = 0, at[BL_LINEAR_MOST];
    bl_tensor room;
    for (int i = 0; i < n; i++) {
        const bl_trained *p = &t->param[which == BL_WORK_DA ? w[i]->a : w[i]->b];
        at[i] = -1;
        if (w[i]->adapter < 0) continue;
        const bl_lowrank *l = &w[i]->linear->adapter[w[i]->adapter];
        out[i] = which == BL_WORK_DA ? l->a : l->b;
        if (!p->own) {
            out[i] = p->grad;
            continue;
        }
        at[i] = all;
        all += (bl_tensor_count(&out[i]) + 15) / 16 * 16;
    }
    if (!all) return BL_OK;
    BL_TRY(bl_effective_room(t, which, 1, all, &room, e));
    BL_TRY(t->m->be->ops->fill(t->m->be, &room, 0, e));
    for (int i = 0; i < n; i++)
        if (at[i] >= 0)
            out[i] = bl_tensor_2d(room.buf, room.offset + (uint64_t)at[i] * sizeof(float), BL_F32, out[i].dim[0],
                                  out[i].dim[1]);
out:
    return st;
}

/* What linears put out, where their forms ask for it: as given, or kept; false where one is neither. */
static bool outputs(const bl_trainable *t, bl_effective *const *w, int n, bl_tensor x, const bl_tensor *given,
                    bl_tensor *y)
{
    bool all = true;
    for (int i = 0; i < n; i++) {
        y[i] = given ? given[i] : (bl_tensor){0};
        if (w[i]->form && w[i]->form->output && !y[i].buf) all = bl_kept_at(t, w[i], 0, x.dim[0], &y[i]) && all;
    }
    return all;
}

/* Of the trained adapters of linears that read the same x and put out y. dx may be x. */
static bl_status adapter_gradients(bl_trainable *t, bl_effective *const *w, int n, bl_tensor x, const bl_tensor *y,
                                   const bl_tensor *dy, bl_tensor dx, bool accumulate, bl_err *e)
{
    bl_lowrank_grad_args a = {.x = x, .dx = dx, .accumulate = accumulate};
    bl_tensor da[BL_LINEAR_MOST] = {{0}}, db[BL_LINEAR_MOST] = {{0}};
    bl_status st = BL_OK;
    int64_t width = 0;

    BL_TRY(of_forms(t, BL_WORK_DA, w, n, da, e));
    BL_TRY(of_forms(t, BL_WORK_DB, w, n, db, e));
    for (int i = 0; i < n; i++) {
        if (w[i]->adapter < 0) continue;
        const bl_lowrank *l = &w[i]->linear->adapter[w[i]->adapter];
        a.of[a.n].a = l->a;
        a.of[a.n].b = l->b;
        a.of[a.n].da = da[i];
        a.of[a.n].db = db[i];
        a.of[a.n].dy = dy[i];
        a.of[a.n++].scale = (double)l->scale;
        width += bl_lowrank_width(l->a.dim[0]);
    }
    if (!a.n) return BL_OK;
    BL_TRY(bl_effective_room(t, BL_WORK_LOW, x.dim[0], width, &a.work, e));
    BL_TRY(t->m->be->ops->lowrank_grad(t->m->be, &a, e));
    for (int i = 0; i < n; i++)
        if (w[i]->form) BL_TRY(w[i]->form->chain(t, w[i], y[i], dy[i], da[i], db[i], e));
out:
    return st;
}

static bl_status dropped_gradient(bl_trainable *t, bl_effective *w, bl_tensor x, bl_tensor y, bl_tensor dy,
                                  bl_tensor dx, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tensor xd;
    BL_TRY(bl_effective_room(t, BL_WORK_X, x.dim[0], x.dim[1], &xd, e));
    BL_TRY(drop(t, w, 0, x, xd, false, e));
    BL_TRY(adapter_gradients(t, &w, 1, xd, &y, &dy, dx.buf ? xd : dx, false, e));
    if (dx.buf) BL_TRY(drop(t, w, 0, xd, dx, true, e));
out:
    return st;
}

/* All but the trained adapter. */
static bl_status rest_backward(bl_trainable *t, bl_effective *w, bl_tensor x, bl_tensor dy, bl_tensor dx,
                               bool accumulate, bl_err *e)
{
    bl_linear rest = *w->linear;
    bl_status st = BL_OK;
    rest.act = (bl_actq){0};
    BL_TRY(weight_gradient(t, w, x, dy, e));
    if (w->adapter >= 0) rest.n_adapters = w->adapter;
    if (dx.buf) BL_TRY(weight_of(t, w, &rest, e));
    if (dx.buf) BL_TRY(bl_linear_input_grad(t->m->be, &rest, dy, dx, accumulate, e));
    if (steps_now(t, w)) { /* nobody reads the weight as it was any more */
        bl_trained p = t->param[w->param[0]];
        if (!t->stepping) return bl_fail(e, BL_E_INTERNAL, "%s: a gradient that is not kept, and no step", p.name);
        BL_TRY(bl_effective_room(t, BL_WORK_DW, w->linear->out, w->linear->in, &p.grad, e));
        BL_TRY(bl_adamw_one(t->stepping, t, p, t->stepping_rate, 1, e));
    }
out:
    return st;
}

/* Of one whose input was rounded, or whose adapter dropped some of it, or whose output is made again. */
static bl_status apart(bl_trainable *t, bl_effective *w, bl_tensor x, bl_tensor y, bl_tensor dy, bl_tensor dx,
                       bool accumulate, bl_err *e)
{
    bl_linear l = *w->linear;
    const bl_actq act = l.act;
    const bl_tensor seen = x, to = dx;
    bl_status st = BL_OK;

    if (!outputs(t, &w, 1, x, &y, &y)) {
        BL_TRY(bl_effective_room(t, BL_WORK_BACK, x.dim[0], l.out, &y, e));
        BL_TRY(bl_effective_forward(t, w, 0, x, y, false, e));
    }
    BL_TRY(rounded(t, &l, &x, e));
    if (act.bits && dx.buf) BL_TRY(bl_effective_room(t, BL_WORK_BACK, x.dim[0], x.dim[1], &dx, e));
    BL_TRY(rest_backward(t, w, x, dy, dx, !act.bits && accumulate, e));
    if (w->adapter >= 0 && w->dropout > 0) BL_TRY(dropped_gradient(t, w, x, y, dy, dx, e));
    else BL_TRY(adapter_gradients(t, &w, 1, x, &y, &dy, dx, true, e));
    if (act.bits && dx.buf)
        BL_TRY(t->m->be->ops->act_round_grad(t->m->be,
                                             &(bl_act_round_grad_args){.x = seen,
                                                                       .dy = dx,
                                                                       .dx = to,
                                                                       .act = act,
                                                                       .ends = w->act_ends,
                                                                       .within = w->act_within,
                                                                       .accumulate = accumulate},
                                             e));
out:
    return st;
}

static bl_linear_args joined_args(const bl_effective *w, bl_tensor dy, bl_tensor dx, bool accumulate)
{
    return (bl_linear_args){.x = dy,
                            .w = {&w->linear->weight},
                            .y = {dx},
                            .adapter = w->linear->adapter,
                            .n_adapters = w->linear->n_adapters,
                            .accumulate = accumulate,
                            .transpose = true};
}

/* Whether the way back to the input is one product, the trained adapter in it. */
static bool joins(const bl_trainable *t, const bl_effective *w, bl_tensor dy, bl_tensor dx)
{
    const bl_linear_args a = joined_args(w, dy, dx, false);
    const bl_ops *ops = t->m->be->ops;
    return dx.buf && !w->rule && w->bias < 0 && !w->linear->n_transforms && !w->linear->n_after && ops->linear_joins &&
           ops->linear_joins(t->m->be, &a);
}

bl_status bl_effectives_backward(bl_trainable *t, bl_effective *const *w, int n, bl_tensor x, const bl_tensor *given,
                                 const bl_tensor *dy, bl_tensor dx, bool accumulate, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_status st = BL_OK;
    bl_tensor y[BL_LINEAR_MOST] = {{0}};
    bool together = outputs(t, w, n, x, given, y), joined = true;
    for (int i = 0; i < n; i++)
        together = together && !w[i]->linear->act.bits && (w[i]->adapter < 0 || w[i]->dropout == 0);
    for (int i = 0; i < n; i++) joined = joined && together && joins(t, w[i], dy[i], dx);
    if (joined) {
        BL_TRY(adapter_gradients(t, w, n, x, y, dy, (bl_tensor){0}, false, e));
        for (int i = 0; i < n; i++) {
            const bl_linear_args a = joined_args(w[i], dy[i], dx, accumulate || i);
            BL_TRY(be->ops->linear(be, &a, e));
        }
        goto out;
    }
    /* On wide devices a short product that adds to dx takes twice the time of one that writes it, which is hidden where
     * a long one does. */
    const bool first = together && be->wide > 1;
    if (first) BL_TRY(adapter_gradients(t, w, n, x, y, dy, dx, accumulate, e));
    for (int i = 0; first && i < n; i++) accumulate |= w[i]->adapter >= 0;
    for (int i = 0; i < n; i++) {
        if (together) BL_TRY(rest_backward(t, w[i], x, dy[i], dx, accumulate || i, e));
        else BL_TRY(apart(t, w[i], x, y[i], dy[i], dx, accumulate || i, e));
    }
    if (together && !first) BL_TRY(adapter_gradients(t, w, n, x, y, dy, dx, true, e));
out:
    return st;
}

bl_status bl_effective_backward(bl_trainable *t, bl_effective *w, bl_tensor x, bl_tensor dy, bl_tensor dx,
                                bool accumulate, bl_err *e)
{
    return bl_effectives_backward(t, &w, 1, x, NULL, &dy, dx, accumulate, e);
}

bl_status bl_train_rounded_inputs(bl_trainable *t, const bl_actq *act, bool ends, double within, bl_err *e)
{
    static const size_t ops[] = {BL_OP(act_round), BL_OP(act_round_grad), 0};
    bl_status st = bl_check_ops(t->m->be, ops, e);
    for (size_t i = 0; st == BL_OK && i < t->n_linears; i++) {
        bl_effective *w = &t->w[i];
        if (w->linear->n_transforms || (w->adapter >= 0 && w->dropout > 0))
            return bl_fail(e, BL_E_UNSUPPORTED, "%s has %s; its inputs are not rounded in training", w->linear->name,
                           w->linear->n_transforms ? "transformed inputs" : "dropout");
        bl_linear_set_act(w->linear, *act);
        w->act_ends = ends;
        w->act_within = within;
    }
    return st;
}

bl_status bl_trainable_make(bl_trainable *t, bl_err *e)
{
    bl_status st = BL_OK;
    for (size_t i = 0; i < t->n; i++) {
        if (t->w[i].form) BL_TRY(t->w[i].form->make(t, &t->w[i], e));
    }
out:
    return st;
}

bl_status bl_trainable_store(bl_trainable *t, bl_err *e)
{
    bl_status st = BL_OK;
    bl_weight kept = {0};
    BL_TRY(bl_narrow_end(t, e));
    for (size_t i = 0; i < t->n; i++) {
        bl_effective *w = &t->w[i];
        if (w->form && w->form->store) BL_TRY(w->form->store(t, w, e));
        if (!w->rule || !w->rule->store) continue;
        BL_TRY(w->rule->store(t, w, &kept, e));
        bl_linear_set_weight(w->linear, &kept);
        w->rule = NULL;
    }
out:
    return st;
}

/* ---- dense weights ---- */
static const bl_weight_rule dense = {.name = "dense"};

bl_status bl_effective_dense(bl_trainable *t, bl_effective *w, bl_tensor *value, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_linear *l = w->linear;
    bl_status st = BL_OK;
    bl_weight d = {0};

    if (l->n_transforms || l->act.bits || l->n_adapters)
        return bl_fail(e, BL_E_UNSUPPORTED, "%s has %s; its weight cannot be trained", l->name,
                       l->n_adapters ? "an adapter" : "transformed or quantized inputs");
    BL_TRY(bl_weight_new(be, bl_format_find("fp32"), &(bl_shape){.out = l->out, .in = l->in}, &d, e));
    BL_TRY(be->ops->unpack(be, &(bl_unpack_args){.w = &l->weight, .rows = l->out, .y = d.part[0]}, e));
    BL_TRY(be->ops->sync(be, e)); /* before the old one goes */
    *value = d.part[0];
    bl_linear_set_weight(l, &d);
out:
    bl_weight_free(&d);
    return st;
}

/* Weights of linears first .. n become dense parameters. */
static bl_status learn_weights(bl_trainable *t, size_t first, size_t n, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tensor value;
    for (size_t i = first; i < n; i++) {
        bl_effective *w = &t->w[i];
        BL_TRY(bl_effective_dense(t, w, &value, e));
        BL_TRY(bl_trained_add(t, w->linear->name, "weight", value, &w->param[0], e));
        w->n_params = 1;
        w->rule = &dense;
    }
out:
    return st;
}

/* From linear `first` on weights and biases, before it biases, and norms. */
static bl_status train_from(bl_trainable *t, size_t first, bl_err *e)
{
    bl_status st = BL_OK;

    BL_TRY(learn_weights(t, first, t->n, e));
    for (size_t i = 0; i < t->n; i++) {
        bl_effective *w = &t->w[i];
        if (w->linear->bias.ndim) BL_TRY(bl_trained_add(t, w->linear->name, "bias", w->linear->bias, &w->bias, e));
    }
    BL_TRY(bl_train_norms(t, e));
out:
    return st;
}

bl_status bl_train_linears(bl_trainable *t, bl_err *e) { return learn_weights(t, 0, t->n_linears, e); }
bl_status bl_train_full(bl_trainable *t, bl_err *e) { return train_from(t, 0, e); }
bl_status bl_train_rest(bl_trainable *t, bl_err *e) { return train_from(t, t->n_linears, e); }

bl_status bl_train_rounded_keys(bl_trainable *t, const bl_actq *act, bl_err *e)
{
    bl_status st = bl_check_op(t->m->be, t->m->be->ops->act_round, "act_round", e);
    for (size_t i = 0; st == BL_OK && i < t->n_linears; i++)
        if (t->w[i].linear->role == BL_ROLE_K || t->w[i].linear->role == BL_ROLE_V) t->w[i].out = *act;
    return st;
}

bl_status bl_train_galore(bl_trainable *t, const bl_low *o, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(bl_train_full(t, e));
    for (size_t i = 0; i < t->n_linears; i++) {
        const bl_linear *l = t->w[i].linear;
        bl_low *low = &t->param[t->w[i].param[0]].low;
        *low = *o;
        low->rank = BL_MIN(o->rank, BL_MIN(l->out, l->in));
    }
out:
    return st;
}

/* ---- integers without anything beside them ---- */
static const bl_weight_rule packed = {.name = "packed"};

static bl_status pack_linear(bl_trainable *t, bl_effective *w, int64_t group, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_linear *l = w->linear;
    const bl_shape shape = {
        .out = l->out, .in = l->in, .group = BL_MIN(group, l->in), .zero = BL_ZERO_PACKED, .scale = BL_BF16};
    bl_status st = BL_OK;
    bl_tensor value;
    bl_weight kept = {0};
    BL_TRY(bl_effective_dense(t, w, &value, e));
    BL_TRY(bl_weight_new(be, bl_format_find("int8"), &shape, &kept, e));
    BL_TRY(be->ops->pack(be, &(bl_pack_args){.x = value, .w = &kept, .rule = BL_RANGE_CLIP}, e));
    BL_TRY(be->ops->sync(be, e)); /* before the dense one goes */
    bl_linear_set_weight(l, &kept);
out:
    bl_weight_free(&kept);
    return st;
}

bl_status bl_train_packed(bl_trainable *t, const bl_low *o, int64_t group, uint64_t seed, bl_err *e)
{
    static const size_t ops[] = {BL_OP(pack), BL_OP(unpack), BL_OP(round_random), BL_OP(adamw8), 0};
    bl_status st = BL_OK;
    BL_TRY(bl_check_ops(t->m->be, ops, e));
    for (size_t i = 0; i < t->n_linears; i++) {
        bl_effective *w = &t->w[i];
        bl_linear *l = w->linear;
        BL_TRY(bl_trainable_reach(t, l->block, e));
        BL_TRY(pack_linear(t, w, group, e));
        BL_TRY(bl_grow(&t->param, &t->cap_params, t->n_params + 1, sizeof *t->param, e));
        bl_trained p = {.value = bl_tensor_2d(NULL, 0, BL_F32, l->out, l->in),
                        .rate = 1,
                        .low = *o,
                        .eight = true,
                        .packed = l,
                        .seed = seed};
        p.grad = p.value;
        p.low.rank = BL_MIN(o->rank, BL_MIN(l->out, l->in));
        snprintf(p.name, sizeof p.name, "%s.weight", l->name);
        w->param[0] = (int)t->n_params;
        w->n_params = 1;
        w->rule = &packed;
        t->param[t->n_params++] = p;
        if (l->bias.ndim) BL_TRY(bl_trained_add(t, l->name, "bias", l->bias, &w->bias, e));
    }
    const size_t before = t->n_params;
    BL_TRY(bl_train_rest(t, e));
    for (size_t i = before; i < t->n_params; i++) t->param[i].eight = true;
out:
    return st;
}

bool bl_trainable_steps(const bl_trainable *t)
{
    for (size_t i = 0; i < t->n_params; i++)
        if (!t->param[i].grad.buf) return true;
    return false;
}

bl_status bl_train_packed_hold(bl_trainable *t, bl_err *e)
{
    bl_status st = BL_OK;
    for (size_t i = 0; i < t->n_params; i++) {
        bl_trained *p = &t->param[i];
        if (!p->grad.buf) BL_TRY(bl_trained_tensor(t->m->be, p->value.dim[0], p->value.dim[1], &p->grad, e));
    }
out:
    return st;
}

bl_status bl_trained_put(bl_trainable *t, const bl_trained *p, const float *x, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_status st = BL_OK;
    bl_tensor to = p->value;
    if (p->packed) BL_TRY(bl_effective_room(t, BL_WORK_W, to.dim[0], to.dim[1], &to, e));
    BL_TRY(be->ops->upload(be, &to, x, e));
    if (p->packed)
        BL_TRY(be->ops->pack(be, &(bl_pack_args){.x = to, .w = &p->packed->weight, .rule = BL_RANGE_CLIP}, e));
    BL_TRY(be->ops->sync(be, e)); /* before x goes */
out:
    return st;
}

bl_status bl_train_norms(bl_trainable *t, bl_err *e)
{
    bl_status st = BL_OK;
    bl_model *m = t->m;
    for (size_t i = 0; i <= m->n_norms; i++) {
        bl_norm *n = i < m->n_norms ? &m->norms[i] : &m->norm;
        if (t->block >= 0 && (n == &m->norm || n->block != t->block)) continue;
        BL_TRY(bl_trained_add(t, n->name, "weight", n->weight, &t->norm[i], e));
        n->format = bl_format_find("fp32");
        n->changed = true;
    }
out:
    return st;
}
