/* lora.c - low-rank adapters that are trained: new ones, and what they begin as. */
#include "effective.h"
#include "kernels/base/rng.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

bl_status bl_effective_uniform(bl_backend *be, bl_tensor t, double bound, uint64_t seed, uint64_t stream, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t n = bl_tensor_count(&t);
    bl_rng r = bl_rng_at(seed, stream, 0);
    float *host = bl_new((size_t)n, sizeof *host, e);
    if (!host) return BL_E_NOMEM;
    for (int64_t i = 0; i < n; i++) host[i] = (float)(bound * (2 * bl_rng_uniform(&r) - 1));
    BL_TRY(be->ops->upload(be, &t, host, e));
    BL_TRY(be->ops->sync(be, e)); /* before host goes */
out:
    bl_free(host);
    return st;
}

double bl_lora_scale(int64_t rank, double alpha, bool rank_stabilized)
{
    return alpha / (rank_stabilized ? sqrt((double)rank) : (double)rank);
}

static bl_status add_adapter(bl_trainable *t, bl_effective *w, const bl_lora *o, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_linear *l = w->linear;
    bl_status st = BL_OK;
    bl_lowrank a = {.scale = (float)bl_lora_scale(o->rank, o->alpha, o->rank_stabilized)};

    BL_TRY(bl_trained_tensor(be, o->rank, l->in, &a.a, e));
    BL_TRY(bl_trained_tensor(be, l->out, o->rank, &a.b, e));
    BL_TRY(
        bl_effective_uniform(be, a.a, 1 / sqrt((double)l->in), o->seed, bl_rng_key("lora", (uint64_t)(w - t->w)), e));
    BL_TRY(bl_linear_add_adapter(l, &a, e));
    bl_tensor va = a.a, vb = a.b;
    a = (bl_lowrank){0};
    BL_TRY(bl_trained_add(t, l->name, "lora_A", va, &w->a, e));
    BL_TRY(bl_trained_add(t, l->name, "lora_B", vb, &w->b, e));
    w->adapter = l->n_adapters - 1;
    w->dropout = o->dropout;
out:
    be->ops->buffer_free(a.a.buf);
    be->ops->buffer_free(a.b.buf);
    return st;
}

bl_status bl_train_lora(bl_trainable *t, const bl_lora *o, bl_err *e)
{
    bl_status st = BL_OK;
    size_t n = 0;

    if (o->rank < 1) return bl_fail(e, BL_E_CONFIG, "rank is %lld; an adapter has at least one", (long long)o->rank);
    if (!(o->dropout >= 0 && o->dropout < 1))
        return bl_fail(e, BL_E_CONFIG, "dropout is %g; it is at least 0 and below 1", o->dropout);
    t->lora = *o;
    t->dropout_key[0] = (uint32_t)o->seed;
    t->dropout_key[1] = (uint32_t)(o->seed >> 32);
    for (size_t i = 0; i < t->n_linears; i++)
        if (!o->targets || (o->targets & BL_ROLE_BIT(t->w[i].linear->role))) {
            BL_TRY(add_adapter(t, &t->w[i], o, e));
            n++;
        }
    if (!n) return bl_fail(e, BL_E_CONFIG, "no linear of this model is among the targets");
out:
    return st;
}

bl_status bl_effective_begin(bl_trainable *t, bl_effective *w, const float *a, const float *b, bool keep, bl_err *e)
{
    const bl_tensor to[] = {t->param[w->a].value, t->param[w->b].value};
    const float *const from[] = {a, b};
    bl_backend *be = t->m->be;
    bl_status st = BL_OK;
    for (int k = 0; k < 2; k++) {
        const size_t n = (size_t)bl_tensor_count(&to[k]);
        BL_TRY(be->ops->upload(be, &to[k], from[k], e));
        if (!keep) continue;
        if (!w->first[k] && !(w->first[k] = bl_new(n, sizeof(float), e))) return BL_E_NOMEM;
        memcpy(w->first[k], from[k], n * sizeof(float));
    }
    BL_TRY(be->ops->sync(be, e)); /* before a and b go */
    t->base_is_own |= !keep;
out:
    return st;
}

bl_status bl_effective_replace(bl_trainable *t, int param, int64_t rows, int64_t cols, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_trained *p = &t->param[param];
    bl_status st = BL_OK;
    bl_tensor own = {0}, grad;
    BL_TRY(bl_trained_tensor(be, rows, cols, &own, e));
    BL_TRY(bl_trained_tensor(be, rows, cols, &grad, e));
    be->ops->buffer_free(p->grad.buf);
    be->ops->buffer_free(p->own);
    p->value = own;
    p->grad = grad;
    p->own = own.buf;
    own.buf = NULL;
out:
    be->ops->buffer_free(own.buf);
    return st;
}

bl_status bl_effective_apart(bl_trainable *t, bl_effective *w, bool a, bl_err *e)
{
    const bl_ops *o = t->m->be->ops;
    bl_status st = BL_OK;
    for (int k = !a; k < 2; k++) {
        const int at = k ? w->b : w->a;
        const bl_tensor was = t->param[at].value;
        BL_TRY(bl_effective_replace(t, at, was.dim[0], was.dim[1], e));
        BL_TRY(o->gather(t->m->be, &(bl_gather_args){.src = was, .dst = t->param[at].value, .n = was.dim[0]}, e));
    }
out:
    return st;
}
