/* shortcut.c - short cuts beside A and B, each with a learned factor (information elastic connection, IR-QLoRA, Qin et
 * al. 2024, arXiv 2402.05445, section 3.3): a row of A gets the mean of a run of inputs, an output the hidden number
 * that its run belongs to,
 *
 *     h = A x + beta1 P x,   y += s (B h + beta2 E h),   P[k, i] = 1 / g for i / g = k,   E[o, k] = 1 for o / g' = k,
 *
 * g = in / rank and g' = out / rank, rounded up. A + beta1 P and B + beta2 E are an adapter like any other: the model
 * has those, so nothing is to be merged in the end.
 */
#include "effective.h"

enum { OF_A, OF_B };
static int64_t run_of(int64_t n, int64_t rank) { return (n + rank - 1) / rank; }

static bl_status make(bl_trainable *t, bl_effective *w, bl_err *e)
{
    bl_backend *be = t->m->be;
    const bl_lowrank *l = &w->linear->adapter[w->adapter];
    const int64_t rank = l->a.dim[0], ga = run_of(w->linear->in, rank), gb = run_of(w->linear->out, rank);
    bl_status st = BL_OK;
    BL_TRY(be->ops->band(be,
                         &(bl_band_args){.x = t->param[w->a].value,
                                         .y = l->a,
                                         .beta = t->param[w->param[OF_A]].value,
                                         .group = ga,
                                         .by = 1 / (double)ga},
                         e));
    BL_TRY(be->ops->band(be,
                         &(bl_band_args){.x = t->param[w->b].value,
                                         .y = l->b,
                                         .beta = t->param[w->param[OF_B]].value,
                                         .group = gb,
                                         .by = 1,
                                         .tall = true},
                         e));
out:
    return st;
}

static bl_status chain(bl_trainable *t, bl_effective *w, bl_tensor y, bl_tensor dy, bl_tensor da, bl_tensor db,
                       bl_err *e)
{
    bl_backend *be = t->m->be;
    const int64_t rank = da.dim[0], ga = run_of(w->linear->in, rank), gb = run_of(w->linear->out, rank);
    bl_status st = BL_OK;
    (void)y;
    (void)dy;
    BL_TRY(be->ops->band_grad(be,
                              &(bl_band_grad_args){.dy = da,
                                                   .dx = t->param[w->a].grad,
                                                   .dbeta = t->param[w->param[OF_A]].grad,
                                                   .group = ga,
                                                   .by = 1 / (double)ga},
                              e));
    BL_TRY(be->ops->band_grad(be,
                              &(bl_band_grad_args){.dy = db,
                                                   .dx = t->param[w->b].grad,
                                                   .dbeta = t->param[w->param[OF_B]].grad,
                                                   .group = gb,
                                                   .by = 1,
                                                   .tall = true},
                              e));
out:
    return st;
}

static const bl_adapter_rule rule = {.name = "short cuts", .make = make, .chain = chain};

static bl_status factor(bl_trainable *t, bl_effective *w, int which, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_status st = BL_OK;
    bl_buffer *own = NULL;
    BL_TRY(be->ops->buffer_new(be, 64, &own, e));
    const bl_tensor beta = bl_tensor_1d(own, 0, BL_F32, 1);
    BL_TRY(be->ops->fill(be, &beta, 0, e));
    BL_TRY(bl_trained_add(t, w->linear->name, which == OF_A ? "beta1" : "beta2", beta, &w->param[which], e));
    t->param[w->param[which]].own = own;
    own = NULL;
out:
    be->ops->buffer_free(own);
    return st;
}

bl_status bl_train_shortcuts(bl_trainable *t, bl_err *e)
{
    static const size_t ops[] = {BL_OP(band), BL_OP(band_grad), 0};
    bl_status st = BL_OK;
    BL_TRY(bl_check_ops(t->m->be, ops, e));
    for (size_t i = 0; i < t->n; i++) {
        bl_effective *w = &t->w[i];
        if (w->adapter < 0) continue;
        BL_TRY(bl_effective_apart(t, w, true, e));
        BL_TRY(factor(t, w, OF_A, e));
        BL_TRY(factor(t, w, OF_B, e));
        w->n_params = 2;
        w->form = &rule;
    }
    t->base_is_own = true;
out:
    return st;
}
