/* adapter.c - adapters that are trained, from peft's files and to them. */
#include "adapter.h"

static bool is_adapter(const bl_trainable *t, int param)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->w[i].adapter >= 0 && (t->w[i].a == param || t->w[i].b == param)) return true;
    return false;
}

static bl_status take_one(bl_backend *be, const bl_trained *p, const bl_peft *from, const char *dir, bl_err *e)
{
    const bl_peft_tensor *x = bl_peft_find(from, p->name);
    if (!x) return bl_fail(e, BL_E_CONFIG, "%s has no %s, which is trained", dir, p->name);
    if (x->rows != p->value.dim[0] || x->cols != p->value.dim[1])
        return bl_fail(e, BL_E_CONFIG, "%s: %s is [%lld, %lld], expected [%lld, %lld]", dir, p->name,
                       (long long)x->rows, (long long)x->cols, (long long)p->value.dim[0], (long long)p->value.dim[1]);
    return be->ops->upload(be, &p->value, x->value, e);
}

bl_status bl_adapter_take(bl_trainable *t, const bl_peft *p, const char *dir, bl_err *e)
{
    bl_status st = BL_OK;
    bl_backend *be = t->m->be;
    const bl_lora *o = &t->lora;
    size_t n = 0;

    if (!o->rank) return bl_fail(e, BL_E_CONFIG, "%s: the method trains no adapters that could begin as these", dir);
    float given = (float)bl_lora_scale(p->config.rank, p->config.alpha, p->config.rank_stabilized),
          asked = (float)bl_lora_scale(o->rank, o->alpha, o->rank_stabilized);
    if (p->config.rank != o->rank || given != asked)
        return bl_fail(e, BL_E_CONFIG, "%s has rank %lld and scale %g, the method rank %lld and scale %g", dir,
                       (long long)p->config.rank, (double)given, (long long)o->rank, (double)asked);
    for (size_t i = 0; i < t->n_params; i++)
        if (is_adapter(t, (int)i)) {
            BL_TRY(take_one(be, &t->param[i], p, dir, e));
            n++;
        }
    BL_TRY(be->ops->sync(be, e)); /* before p goes */
    if (n != p->n) st = bl_fail(e, BL_E_CONFIG, "%s has %zu tensors, the method trains %zu of adapters", dir, p->n, n);
out:
    return st;
}

bl_status bl_adapter_give(const bl_trainable *t, const char *base, bl_text *config, bl_text *weights, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_lora *o = &t->lora;
    uint32_t targets = 0;
    size_t n = 0;
    if (!o->rank) return BL_OK;
    bl_peft_source *s = bl_new(t->n_params, sizeof *s, e);
    if (!s) return BL_E_NOMEM;
    for (size_t i = 0; i < t->n; i++)
        if (t->w[i].adapter >= 0) targets |= BL_ROLE_BIT(t->w[i].linear->role);
    for (size_t i = 0; i < t->n_params; i++)
        if (is_adapter(t, (int)i)) s[n++] = (bl_peft_source){.name = t->param[i].name, .value = &t->param[i].value};
    BL_TRY(bl_peft_config_text(&(bl_peft_config){.rank = o->rank,
                                                 .alpha = o->alpha,
                                                 .dropout = o->dropout,
                                                 .rank_stabilized = o->rank_stabilized,
                                                 .targets = targets,
                                                 .base = base},
                               config, e));
    BL_TRY(bl_peft_weights(s, n, weights, e));
out:
    bl_free(s);
    return st;
}
