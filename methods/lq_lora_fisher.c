/* lq_lora_fisher.c - squared gradients of one window after another. */
#include "lq_lora.h"
#include "harness/quant/calibrate.h"
#include "harness/train/gradients.h"

void bl_lq_lists_free(const bl_model *m, float **f)
{
    for (size_t i = 0; f && i < m->n_linears; i++) bl_free(f[i]);
    bl_free(f);
}

/* The second moments of Adam, where those of n steps weigh 1 / n each, are the means of squared gradients; a rate of 0
 * leaves the weights as they are. */
static bl_status add(bl_trainable *t, const bl_tensor *sum, bl_tensor room, int64_t n, bl_err *e)
{
    const bl_ops *ops = t->m->be->ops;
    bl_status st = BL_OK;
    for (size_t i = 0; i < t->n_params; i++) {
        const bl_trained *p = &t->param[i];
        BL_TRY(ops->adamw(t->m->be,
                          &(bl_adamw_args){.p = p->value,
                                           .grad = p->grad,
                                           .m = bl_tensor_part(room, 0, bl_tensor_count(&p->value)),
                                           .v = sum[i],
                                           .beta2 = (double)n / (double)(n + 1),
                                           .eps = 1,
                                           .grad_scale = 1,
                                           .step = n + 1},
                          e));
        BL_TRY(ops->fill(t->m->be, &p->grad, 0, e));
    }
out:
    return st;
}

static bl_status vector(bl_backend *be, int64_t n, bl_tensor *out, bl_err *e)
{
    bl_buffer *b;
    bl_status st = be->ops->buffer_new(be, (uint64_t)n * sizeof(float) + 64, &b, e);
    if (st != BL_OK) return st;
    *out = bl_tensor_1d(b, 0, BL_F32, n);
    return be->ops->fill(be, out, 0, e);
}

static bl_status over_windows(bl_trainable *t, const bl_calib_windows *w, const bl_tensor *sum, bl_tensor room,
                              bl_err *e)
{
    const int32_t start[] = {0, (int32_t)w->seqlen};
    bl_status st = BL_OK;
    double nll;
    for (int64_t i = 0; i < w->n; i++) {
        if (bl_interrupted()) return bl_fail(e, BL_E_INTERRUPTED, "interrupted");
        const bl_train_batch b = {.ids = w->ids + i * w->seqlen, .n_seq = 1, .start = start};
        BL_TRY(bl_gradients(t, &b, 1 / (double)(w->seqlen - 1), &nll, e));
        BL_TRY(add(t, sum, room, i, e));
    }
out:
    return st;
}

bl_status bl_lq_fisher(const bl_method_run *r, float ***out, bl_err *e)
{
    bl_model *m = r->model;
    bl_status st = BL_OK;
    bl_trainable *t = NULL;
    bl_tensor *sum = NULL, room = {0};
    float **f = NULL;
    int64_t most = 0;

    BL_TRY(bl_trainable_new(m, &t, e));
    BL_TRY(bl_train_linears(t, e));
    if (!(sum = bl_new(t->n_params, sizeof *sum, e)) || !(f = bl_new(m->n_linears, sizeof *f, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < t->n_params; i++) {
        const int64_t n = bl_tensor_count(&t->param[i].value);
        BL_TRY(vector(r->be, n, &sum[i], e));
        most = BL_MAX(most, n);
    }
    BL_TRY(vector(r->be, most, &room, e));
    BL_TRY(over_windows(t, r->windows, sum, room, e));
    for (size_t i = 0; i < m->n_linears; i++) {
        const bl_tensor *x = &sum[t->w[i].param[0]];
        if (!(f[i] = bl_new((size_t)bl_tensor_count(x), sizeof **f, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        BL_TRY(r->ops->download(r->be, x, f[i], e));
    }
    *out = f;
    f = NULL;
out:
    for (size_t i = 0; sum && i < t->n_params; i++) r->ops->buffer_free(sum[i].buf);
    r->ops->buffer_free(room.buf);
    bl_free(sum);
    bl_lq_lists_free(m, f);
    bl_trainable_free(t);
    bl_model_rest(m); /* training is planned without it */
    return st;
}
