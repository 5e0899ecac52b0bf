/* taught.c - the model as it was, beside the one that is trained: its distribution is what the loss compares with
 * (gradients.h).
 */
#include "taught.h"

struct bl_teacher {
    bl_checkpoint *c; /* lent */
    bl_model *m;
};

bl_status bl_train_taught(bl_trainable *t, bl_checkpoint *c, double kl, double ce, bl_err *e)
{
    static const size_t ops[] = {BL_OP(kl_div), BL_OP(add), 0};
    bl_status st = BL_OK;
    int64_t b = 0;
    bl_teacher *k = NULL;
    BL_TRY(bl_check_ops(t->m->be, ops, e));
    if (!(kl >= 0) || !(ce >= 0) || !(kl + ce > 0))
        return bl_fail(e, BL_E_CONFIG, "kl is %g and ce %g; a loss has one of them above 0", kl, ce);
    if (!(k = bl_new(1, sizeof *k, e))) return BL_E_NOMEM;
    k->c = c;
    BL_TRY(bl_model_open(c, t->m->be, &(bl_model_opts){.max_len = bl_model_max_len(t->m)}, &k->m, e));
    for (; b < k->m->config.n_layers; b++) BL_TRY(bl_block_acquire(k->m, b, e));
    t->teacher = k;
    t->kl = kl;
    t->ce = ce;
    return BL_OK;
out:
    while (k && k->m && b > 0) bl_block_release(k->m, --b);
    if (k) bl_model_close(k->m);
    bl_free(k);
    return st;
}

bl_status bl_train_unsure(bl_trainable *t, double power, double even, bl_err *e)
{
    bl_status st = bl_check_op(t->m->be, t->m->be->ops->scale, "scale", e);
    if (st != BL_OK) return st;
    if (!t->teacher) return bl_fail(e, BL_E_INTERNAL, "there is no teacher to be unsure with");
    if (!(power >= 0) || !(even >= 0))
        return bl_fail(e, BL_E_CONFIG, "power is %g and even %g; neither is negative", power, even);
    t->unsure = true;
    t->power = power;
    t->even = even;
    return BL_OK;
}

void bl_teacher_free(bl_teacher *k)
{
    if (!k) return;
    for (int64_t b = 0; b < k->m->config.n_layers; b++) bl_block_release(k->m, b);
    bl_model_close(k->m);
    bl_free(k);
}

bl_status bl_teacher_states(bl_teacher *k, const bl_batch *b, bl_tensor hidden, bl_err *e)
{
    bl_status st = BL_OK;
    bl_kv *kv = NULL;
    int32_t *slot = NULL;
    bl_batch own = *b;

    if (!(slot = bl_new((size_t)b->n_seq, sizeof *slot, e))) return BL_E_NOMEM;
    BL_TRY(bl_kv_new(k->m, b->start[b->n_seq], b->n_seq, true, BL_KV_ACT, &kv, e));
    for (int32_t s = 0; s < b->n_seq; s++) BL_TRY(bl_kv_slot(kv, b->start[s + 1] - b->start[s], -1, 0, &slot[s], e));
    own.slot = slot;
    BL_TRY(bl_forward(k->m, &own, kv, hidden, e));
out:
    bl_kv_free(kv);
    bl_free(slot);
    return st;
}

bl_status bl_teacher_logits(bl_teacher *k, bl_tensor hidden, int64_t row0, int64_t rows, bl_tensor logits, bl_err *e)
{
    return bl_logits(k->m, hidden, row0, rows, logits, e);
}
