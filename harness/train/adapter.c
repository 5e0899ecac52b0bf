/* adapter.c - adapters that are trained, from peft's files and to them. */
#include "adapter.h"
#include "narrow.h"
#include <math.h>

/* The parameter that peft keeps beside A and B, the lengths of DoRA; -1: none. */
static int magnitude(const bl_trainable *t, const bl_effective *w) { return t->lora.dora ? w->param[0] : -1; }

static bool is_adapter(const bl_trainable *t, int param)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->w[i].adapter >= 0 && (t->w[i].a == param || t->w[i].b == param || magnitude(t, &t->w[i]) == param))
            return true;
    return false;
}

static bl_status take_one(bl_backend *be, const bl_trained *p, const bl_peft *from, const char *dir, bl_err *e)
{
    const bl_peft_tensor *x = bl_peft_find(from, p->name);
    if (!x) return bl_fail(e, BL_E_CONFIG, "%s has no %s, which is trained", dir, p->name);
    const int64_t rows = p->value.ndim == 1 ? 1 : p->value.dim[0], cols = p->value.dim[p->value.ndim - 1];
    if (x->rows != rows || x->cols != cols)
        return bl_fail(e, BL_E_CONFIG, "%s: %s is [%lld, %lld], expected [%lld, %lld]", dir, p->name,
                       (long long)x->rows, (long long)x->cols, (long long)rows, (long long)cols);
    return be->ops->upload(be, &p->value, x->value, e);
}

bl_status bl_adapter_take(bl_trainable *t, const bl_peft *p, const char *dir, bl_err *e)
{
    bl_status st = BL_OK;
    bl_backend *be = t->m->be;
    const bl_lora *o = &t->lora;
    size_t n = 0;

    bool taken = false;

    for (size_t i = 0; i < t->n; i++) taken |= t->w[i].first[0] != NULL;
    if (!o->rank || t->base_is_own || taken)
        return bl_fail(e, BL_E_CONFIG, "%s: the method trains no adapters that could begin as these", dir);
    float given = (float)bl_lora_scale(p->config.rank, p->config.alpha, p->config.rank_stabilized),
          asked = (float)bl_lora_scale(o->rank, o->alpha, o->rank_stabilized);
    if (p->config.dora != o->dora)
        return bl_fail(e, BL_E_CONFIG, "%s has %s lengths of rows (DoRA), the method trains %s", dir,
                       p->config.dora ? "learned" : "no", o->dora ? "them" : "none");
    if (p->config.rank != o->rank || given != asked)
        return bl_fail(e, BL_E_CONFIG, "%s has rank %lld and scale %g, the method rank %lld and scale %g", dir,
                       (long long)p->config.rank, (double)given, (long long)o->rank, (double)asked);
    for (size_t i = 0; i < t->n_params; i++)
        if (is_adapter(t, (int)i)) {
            BL_TRY(take_one(be, &t->param[i], p, dir, e));
            n++;
        }
    BL_TRY(be->ops->sync(be, e)); /* before p goes */
    if (n != p->n) {
        st = bl_fail(e, BL_E_CONFIG, "%s has %zu tensors, the method trains %zu of adapters", dir, p->n, n);
        goto out;
    }
    BL_TRY(bl_trainable_make(t, e));
out:
    return st;
}

bl_status bl_adapter_round(bl_trainable *t, bl_err *e)
{
    bl_status st = t->adapters_as ? bl_narrow_end(t, e) : BL_OK;
    for (size_t i = 0; st == BL_OK && t->adapters_as && i < t->n; i++)
        if (t->w[i].adapter >= 0) BL_TRY(bl_linear_pack_adapter(t->m->be, t->w[i].linear, t->adapters_as, e));
out:
    return st;
}

/* Adapters that began as A0, B0 of the weight tell the change of the weight as it was: B A - B0 A0 is [B, B0] times
 * [A; -A0], of twice the rank. */
typedef struct change {
    bl_tensor t[2];
} change;

static bl_status change_of(const bl_trainable *t, const bl_effective *w, change *out, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_status st = BL_OK;
    float *host = NULL, *now = NULL;
    for (int k = 0; k < 2; k++) {
        const bl_tensor *v = &t->param[k ? w->b : w->a].value;
        const int64_t rows = v->dim[0], cols = v->dim[1], n = rows * cols, width = k ? 2 * cols : cols;
        const int64_t after = k ? cols : n; /* from an element of A or B to that of A0 or B0 */
        bl_buffer *b = NULL;
        if (!(host = bl_new((size_t)n * 2, sizeof *host, e)) || !(now = bl_new((size_t)n, sizeof *now, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        BL_TRY(be->ops->download(be, v, now, e));
        for (int64_t i = 0; i < n; i++) {
            float *at = &host[i / cols * width + i % cols];
            at[0] = now[i];
            at[after] = k ? w->first[k][i] : -w->first[k][i];
        }
        BL_TRY(be->ops->buffer_new(be, (uint64_t)n * 2 * sizeof *host, &b, e));
        out->t[k] = bl_tensor_2d(b, 0, BL_F32, k ? rows : 2 * rows, width);
        BL_TRY(be->ops->upload(be, &out->t[k], host, e));
        BL_TRY(be->ops->sync(be, e)); /* before host goes */
        bl_free(host);
        bl_free(now);
        host = now = NULL;
    }
out:
    bl_free(host);
    bl_free(now);
    return st;
}

bl_status bl_adapter_give(const bl_trainable *t, const char *base, bl_text *config, bl_text *weights, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_lora *o = &t->lora;
    bl_peft_config c = {.rank = o->rank,
                        .alpha = o->alpha,
                        .dropout = o->dropout,
                        .rank_stabilized = o->rank_stabilized,
                        .dora = o->dora,
                        .base = base};
    size_t n = 0;
    if (!o->rank || t->base_takes_in) return BL_OK;
    bl_peft_source *s = bl_new(3 * t->n, sizeof *s, e);
    change *changes = bl_new(t->n, sizeof *changes, e);
    if (!s || !changes) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < t->n; i++) {
        const bl_effective *w = &t->w[i];
        if (w->adapter < 0) continue;
        c.targets |= BL_ROLE_BIT(w->linear->role);
        if (w->first[0]) BL_TRY(change_of(t, w, &changes[i], e));
        for (int k = 0; k < 2; k++) {
            const bl_trained *p = &t->param[k ? w->b : w->a];
            const bl_lowrank *l = &w->linear->adapter[w->adapter];
            const bl_tensor *value = p->kept.ndim ? &p->kept : w->form && !o->dora ? (k ? &l->b : &l->a) : &p->value;
            s[n++] = (bl_peft_source){.name = p->name, .value = w->first[0] ? &changes[i].t[k] : value};
        }
        if (magnitude(t, w) >= 0) {
            const bl_trained *p = &t->param[magnitude(t, w)];
            s[n++] = (bl_peft_source){.name = p->name, .value = &p->value};
        }
        if (!w->first[0] || c.rank != o->rank) continue;
        c.rank = 2 * o->rank; /* of the same scale */
        c.alpha = o->alpha * (o->rank_stabilized ? sqrt(2) : 2);
    }
    BL_TRY(bl_peft_config_text(&c, config, e));
    BL_TRY(bl_peft_weights(s, n, weights, e));
out:
    for (size_t i = 0; changes && i < t->n; i++)
        for (int k = 0; k < 2; k++) t->m->be->ops->buffer_free(changes[i].t[k].buf);
    bl_free(changes);
    bl_free(s);
    return st;
}

/* Whether a weight beside an adapter is in another format than the checkpoint has it in. */
static bool is_rounded(const bl_trainable *t)
{
    for (size_t i = 0; i < t->n; i++) {
        const bl_stored *was = bl_checkpoint_param(t->m->ckpt, t->w[i].linear->role, t->w[i].linear->block);
        const bl_format *is = t->w[i].linear->weight.format;
        if (t->w[i].adapter >= 0 && was && is->kind != BL_FMT_DENSE && was->format != is) return true;
    }
    return false;
}

bl_status bl_adapter_base(const bl_trainable *t, const char *method, bl_text *out, bl_err *e)
{
    const bl_checkpoint *c = t->m->ckpt;
    const char *base = bl_checkpoint_began(c), *before = bl_checkpoint_method(c);
    if (!t->lora.rank || t->base_takes_in || (!t->base_is_own && !before && !is_rounded(t))) return BL_OK;
    if (t->base_is_own) {
        bl_text_addf(out,
                     "# Which base these adapters are for\n\nThe weights beside them, `%s` as `%s` rounds it, are in "
                     "this directory alone. For peft they are written by `bitladder export DIRECTORY "
                     "--without-adapters --type fp32 -o base`.\n",
                     base, method);
        return bl_text_check(out, e);
    }
    bl_text_addf(
        out,
        "# Which base these adapters are for\n\n`adapter_config.json` names `%s`, the model that training began "
        "with. They were learned beside its weights as `%s` %s them: beside those of `%s` itself they are near "
        "what was trained, not equal to it. This directory as a whole is what was trained, for `bitladder`.\n",
        base, before ? before : method, before ? "left" : "rounds", base);
    if (before)
        bl_text_addf(
            out,
            "\nThe weights alone, for peft, where nothing before was trained: `bitladder quantize MODEL --method "
            "%s -o weights`, then `bitladder export weights --type fp32 -o base`, MODEL being `%s`.\n",
            before, base);
    return bl_text_check(out, e);
}
