/* lsq.c - learned step sizes as a weight rule: the weight is s clamp(round(w / s)), w and s are learned (LSQ, Esser et
 * al. 2020). A scale begins at 2 mean|w| / sqrt(Qp) of its group, Qp the largest code. */
#include "effective.h"
#include <math.h>

static bl_status make(bl_trainable *t, bl_effective *w, bl_err *e)
{
    return t->m->be->ops->lsq(t->m->be,
                              &(bl_lsq_args){.w = t->param[w->param[0]].value,
                                             .scale = t->param[w->param[1]].value,
                                             .y = w->linear->weight.part[0],
                                             .group = w->group,
                                             .bits = w->bits},
                              e);
}

static bl_status chain(bl_trainable *t, bl_effective *w, bl_tensor dw, bl_err *e)
{
    const bl_trained *p = &t->param[w->param[0]], *s = &t->param[w->param[1]];
    return t->m->be->ops->lsq_grad(t->m->be,
                                   &(bl_lsq_grad_args){.w = p->value,
                                                       .scale = s->value,
                                                       .dy = dw,
                                                       .dw = p->grad,
                                                       .dscale = s->grad,
                                                       .group = w->group,
                                                       .bits = w->bits},
                                   e);
}

static bl_status store(bl_trainable *t, const bl_effective *w, bl_weight *out, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_shape shape = {.out = w->linear->out, .in = w->linear->in, .group = w->group, .scale = BL_F32};
    bl_weight kept = {0};
    char name[16];
    bl_status st = BL_OK;

    snprintf(name, sizeof name, "int%d", w->bits);
    BL_TRY(bl_weight_new(be, bl_format_find(name), &shape, &kept, e));
    BL_TRY(be->ops->pack(
        be,
        &(bl_pack_args){
            .x = t->param[w->param[0]].value, .w = &kept, .rule = BL_RANGE_GIVEN, .scale = t->param[w->param[1]].value},
        e));
    BL_TRY(be->ops->sync(be, e));
    *out = kept;
    return BL_OK;
out:
    bl_weight_free(&kept);
    bl_within(e, "%s", w->linear->name);
    return st;
}

static const bl_weight_rule lsq = {.name = "lsq", .make = make, .chain = chain, .store = store};

/* Scales of a weight w [out, in] on the host. */
static void first_scales(const float *w, int64_t out, int64_t in, int64_t group, int bits, float *scale)
{
    int64_t groups = (in + group - 1) / group;
    for (int64_t r = 0; r < out; r++)
        for (int64_t k = 0; k < groups; k++) {
            int64_t end = BL_MIN((k + 1) * group, in);
            double sum = 0;
            for (int64_t i = k * group; i < end; i++) sum += fabs((double)w[r * in + i]);
            double mean = sum / (double)(end - k * group);
            scale[r * groups + k] = mean > 0 ? (float)(2 * mean / sqrt((1 << (bits - 1)) - 1)) : 1;
        }
}

static bl_status learn(bl_trainable *t, bl_effective *w, int bits, int64_t group, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_linear *l = w->linear;
    bl_status st = BL_OK;
    int64_t groups = (l->in + group - 1) / group;
    bl_buffer *own[2] = {NULL, NULL};
    float *host = NULL, *scale = NULL;
    bl_tensor dense;

    BL_TRY(bl_effective_dense(t, w, &dense, e));
    if (!(host = bl_new((size_t)(l->out * l->in), sizeof *host, e)) ||
        !(scale = bl_new((size_t)(l->out * groups), sizeof *scale, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(be->ops->download(be, &dense, host, e));
    first_scales(host, l->out, l->in, group, bits, scale);
    BL_TRY(be->ops->buffer_new(be, bl_tensor_bytes(&dense), &own[0], e));
    BL_TRY(be->ops->buffer_new(be, (uint64_t)(l->out * groups) * sizeof *scale, &own[1], e));
    bl_tensor master = bl_tensor_2d(own[0], 0, BL_F32, l->out, l->in),
              steps = bl_tensor_2d(own[1], 0, BL_F32, l->out, groups);
    BL_TRY(be->ops->upload(be, &master, host, e));
    BL_TRY(be->ops->upload(be, &steps, scale, e));
    BL_TRY(be->ops->sync(be, e)); /* before they go */
    for (int i = 0; i < 2; i++) {
        BL_TRY(bl_trained_add(t, l->name, i ? "scale" : "weight", i ? steps : master, &w->param[i], e));
        t->param[w->param[i]].own = own[i];
        own[i] = NULL;
    }
    w->n_params = 2;
    w->rule = &lsq;
    w->bits = bits;
    w->group = group;
    BL_TRY(make(t, w, e));
out:
    bl_free(host);
    bl_free(scale);
    be->ops->buffer_free(own[0]);
    be->ops->buffer_free(own[1]);
    return st;
}

bl_status bl_train_lsq(bl_trainable *t, int bits, int64_t group, bl_err *e)
{
    bl_status st = BL_OK;
    if (bits < 2 || bits > 8) return bl_fail(e, BL_E_CONFIG, "bits is %d; step sizes are learned for 2 to 8", bits);
    BL_TRY(bl_check_op(t->m->be, t->m->be->ops->lsq && t->m->be->ops->lsq_grad, "lsq", e));
    for (size_t i = 0; i < t->m->n_linears; i++)
        BL_TRY(learn(t, &t->w[i], bits, group > 0 ? group : t->w[i].linear->in, e));
out:
    return st;
}
