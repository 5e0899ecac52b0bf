/* made.c - weights that rules make of parameters, once for a block's way there and back. */
#include "effective.h"

bool bl_effective_narrow(const bl_trainable *t, const bl_effective *w)
{
    return w->rule && w->rule->as_act && w->rule->as_act(t, w);
}

bl_weight_make *bl_made_by(const bl_trainable *t, const bl_effective *w)
{
    if (w->rule) return w->rule->make;
    return w->form && t->m->be->act == BL_F32 ? w->form->weight : NULL;
}

void bl_made_begin(bl_trainable *t)
{
    t->made.block = BL_MADE_NONE;
    t->made.there = 0;
}

void bl_made_end(bl_trainable *t) { t->made.block = BL_MADE_OFF; }

static uint64_t made_bytes(const bl_trainable *t, const bl_effective *w)
{
    const bl_dtype type = bl_effective_narrow(t, w) ? t->m->be->act : BL_F32;
    const uint64_t bytes = (uint64_t)(w->linear->out * w->linear->in) * bl_dtype_bytes(type);
    return bl_made_by(t, w) ? (bytes + 63) / 64 * 64 : 0;
}

uint64_t bl_made_bytes(const bl_trainable *t, int64_t block)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < t->n_linears; i++)
        if (t->w[i].linear->block == block) bytes += made_bytes(t, &t->w[i]);
    return bytes;
}

bl_status bl_made_at(bl_trainable *t, const bl_effective *w, bl_tensor *y, bool *there, bl_err *e)
{
    const bl_linear *l = w->linear;
    const bool narrow = bl_effective_narrow(t, w);
    uint64_t at = 0;
    bl_status st = BL_OK;
    *there = false;
    if (t->made.block == BL_MADE_OFF || l->block < 0)
        return bl_effective_room(t, narrow ? BL_WORK_ACT : BL_WORK_W, l->out, l->in, y, e);
    if (t->made.block != l->block) {
        BL_TRY(bl_buffer_fit(t->m->be, &t->made.room, bl_made_bytes(t, l->block) + 64, e));
        t->made.block = l->block;
        t->made.there = 0;
    }
    for (const bl_effective *b = t->w; b < w; b++)
        if (b->linear->block == l->block) at += made_bytes(t, b);
    *y = bl_tensor_2d(t->made.room, at, narrow ? t->m->be->act : BL_F32, l->out, l->in);
    *there = t->made.there & BL_ROLE_BIT(l->role);
    t->made.there |= BL_ROLE_BIT(l->role);
out:
    return st;
}
