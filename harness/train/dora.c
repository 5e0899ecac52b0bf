/* dora.c - adapters as the direction of a weight whose rows have a learned length (DoRA, Liu et al. 2024,
 * arXiv 2402.09353): y = by (x Wt + s x At Bt) + b, by = m / |W + s B A| of a row.
 *
 * The model has the transform `by` of the outputs and the adapter A, by B, so that what is trained is what is scored
 * and saved. |W + s B A| comes of W At, a product of few rows, and of |W| (ops_adapter.h): W stays as it is, packed or
 * not.
 */
#include "effective.h"
#include "kernels/dense.h"

/* The constants of a linear: the squares of the lengths of the rows of W and the lengths of V, f32 [out] each; and the
 * numbers 0 .. rank - 1. */
static uint64_t lengths_bytes(int64_t out) { return ((uint64_t)out * sizeof(float) + 63) / 64 * 64; }
static bl_tensor squares(const bl_effective *w) { return bl_tensor_1d(w->constant, 0, BL_F32, w->linear->out); }
static bl_tensor norms(const bl_effective *w)
{
    return bl_tensor_1d(w->constant, lengths_bytes(w->linear->out), BL_F32, w->linear->out);
}
static bl_tensor rows_of_a(const bl_effective *w, int64_t rank)
{
    return bl_tensor_1d(w->constant, 2 * lengths_bytes(w->linear->out), BL_I32, rank);
}

static bl_tensor *factor(const bl_effective *w) { return &w->linear->transform[w->linear->n_transforms].data; }

static bl_status make(bl_trainable *t, bl_effective *w, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_linear *l = w->linear;
    const bl_lowrank *a = &l->adapter[w->adapter];
    const int64_t rank = a->a.dim[0];
    const bl_weight of_a = bl_weight_of(a->a);
    bl_status st = BL_OK;
    bl_tensor x, cross, gram;

    BL_TRY(bl_effective_room(t, BL_WORK_X, rank, l->in, &x, e));
    BL_TRY(bl_effective_room(t, BL_WORK_DW, rank, l->out, &cross, e));
    BL_TRY(bl_effective_room(t, BL_WORK_DA, rank, rank, &gram, e));
    BL_TRY(be->ops->embed(be, &(bl_embed_args){.w = &of_a, .ids = rows_of_a(w, rank), .y = x}, e)); /* A as rows of x */
    BL_TRY(be->ops->linear(be, &(bl_linear_args){.x = x, .w = {&l->weight}, .y = {cross}}, e));
    BL_TRY(be->ops->linear(be, &(bl_linear_args){.x = x, .w = {&of_a}, .y = {gram}}, e));
    BL_TRY(be->ops->dora(be,
                         &(bl_dora_args){.sq = squares(w),
                                         .m = t->param[w->param[0]].value,
                                         .cross = cross,
                                         .gram = gram,
                                         .b = t->param[w->b].value,
                                         .norm = norms(w),
                                         .by = *factor(w),
                                         .y = a->b,
                                         .scale = (double)a->scale},
                         e));
out:
    return st;
}

/* by W: a product in f32 is with that, so that nothing is done to its outputs on either way. */
static bl_status weight(bl_trainable *t, bl_effective *w, bl_tensor y, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_status st = BL_OK;
    BL_TRY(be->ops->unpack(be, &(bl_unpack_args){.w = &w->linear->weight, .rows = w->linear->out, .y = y}, e));
    BL_TRY(be->ops->scale(be, &(bl_scale_args){.x = y, .y = y, .rows = *factor(w)}, e));
out:
    return st;
}

static bl_status chain(bl_trainable *t, bl_effective *w, bl_tensor y, bl_tensor dy, bl_tensor da, bl_tensor db,
                       bl_err *e)
{
    const bl_trained *b = &t->param[w->b], *m = &t->param[w->param[0]];
    (void)da; /* A is learned as it is */
    return t->m->be->ops->dora_grad(t->m->be,
                                    &(bl_dora_grad_args){.y = y,
                                                         .dy = dy,
                                                         .bias = w->linear->bias,
                                                         .m = m->value,
                                                         .by = *factor(w),
                                                         .of_b = db,
                                                         .db = b->grad,
                                                         .dm = m->grad},
                                    e);
}

static const bl_adapter_rule dora = {.name = "dora", .output = true, .make = make, .weight = weight, .chain = chain};

static bl_status constants(bl_trainable *t, bl_effective *w, int64_t rank, bl_err *e)
{
    bl_backend *be = t->m->be;
    const bl_linear *l = w->linear;
    bl_status st = BL_OK;
    bl_tensor dense = {0};
    float *host = NULL, *sq = NULL;
    int32_t *row = NULL;

    if (!(host = bl_new((size_t)(l->out * l->in), sizeof *host, e)) || !(sq = bl_new((size_t)l->out, sizeof *sq, e)) ||
        !(row = bl_new((size_t)rank, sizeof *row, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_linear_dense(be, l, &dense, e));
    BL_TRY(be->ops->download(be, &dense, host, e));
    for (int64_t o = 0; o < l->out; o++) {
        double sum = 0;
        for (int64_t i = 0; i < l->in; i++) sum += (double)host[o * l->in + i] * host[o * l->in + i];
        sq[o] = (float)sum;
    }
    for (int64_t k = 0; k < rank; k++) row[k] = (int32_t)k;
    BL_TRY(be->ops->buffer_new(be, 2 * lengths_bytes(l->out) + (uint64_t)rank * sizeof *row, &w->constant, e));
    const bl_tensor t_sq = squares(w), t_row = rows_of_a(w, rank);
    BL_TRY(be->ops->upload(be, &t_sq, sq, e));
    BL_TRY(be->ops->upload(be, &t_row, row, e));
    BL_TRY(be->ops->sync(be, e)); /* before they go */
out:
    be->ops->buffer_free(dense.buf);
    bl_free(row);
    bl_free(sq);
    bl_free(host);
    return st;
}

static bl_status learn(bl_trainable *t, bl_effective *w, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_linear *l = w->linear;
    const uint64_t bytes = (uint64_t)l->out * sizeof(float) + 64;
    bl_status st = BL_OK;
    bl_buffer *own = NULL, *by = NULL;

    if (l->n_transforms || l->n_after || l->act.bits || w->adapter)
        return bl_fail(e, BL_E_UNSUPPORTED, "%s has %s; the length of its rows cannot be learned", l->name,
                       w->adapter ? "another adapter" : "transformed or quantized inputs or outputs");
    BL_TRY(constants(t, w, l->adapter[w->adapter].a.dim[0], e));
    BL_TRY(bl_effective_apart(t, w, false, e));
    BL_TRY(be->ops->buffer_new(be, bytes, &by, e));
    BL_TRY(be->ops->buffer_new(be, bytes, &own, e));
    bl_transform scale = {.kind = BL_T_SCALE, .in = l->out, .out = l->out, .data = bl_tensor_1d(by, 0, BL_F32, l->out)};
    bl_tensor m = bl_tensor_1d(own, 0, BL_F32, l->out);
    BL_TRY(be->ops->fill(be, &m, 1, e));
    BL_TRY(bl_linear_add_after(l, &scale, e));
    by = NULL;
    BL_TRY(bl_trained_add(t, l->name, "lora_magnitude_vector", m, &w->param[0], e));
    t->param[w->param[0]].own = own;
    own = NULL;
    w->n_params = 1;
    w->form = &dora;
    BL_TRY(make(t, w, e)); /* the lengths, which m begins as */
    BL_TRY(be->ops->gather(be,
                           &(bl_gather_args){.src = bl_tensor_2d(w->constant, lengths_bytes(l->out), BL_F32, 1, l->out),
                                             .dst = bl_tensor_2d(m.buf, 0, BL_F32, 1, l->out),
                                             .n = 1},
                           e));
    BL_TRY(make(t, w, e));
out:
    be->ops->buffer_free(own);
    be->ops->buffer_free(by);
    return st;
}

bl_status bl_train_dora(bl_trainable *t, bl_err *e)
{
    static const size_t ops[] = {
        BL_OP(dora), BL_OP(dora_grad), BL_OP(transform_grad), BL_OP(unpack), BL_OP(scale), BL_OP(add), 0};
    bl_status st = BL_OK;
    BL_TRY(bl_check_ops(t->m->be, ops, e));
    if (!t->m->be->ops->linear_turns)
        return bl_fail(e, BL_E_UNSUPPORTED, "backend %s cannot scale the outputs of a product, which dora does",
                       t->m->be->ops->name);
    for (size_t i = 0; i < t->n; i++)
        if (t->w[i].adapter >= 0) BL_TRY(learn(t, &t->w[i], e));
    t->lora.dora = true;
out:
    return st;
}
