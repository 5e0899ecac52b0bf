/* kept.c - what linears put out, from a block's way there to its way back, where a form makes a gradient of it and the
 * tape does not have it as it was. What the second way through a block makes again shares a place with other blocks'.
 */
#include "effective.h"

enum { TAPED = BL_ROLE_BIT(BL_ROLE_V) | BL_ROLE_BIT(BL_ROLE_GATE) | BL_ROLE_BIT(BL_ROLE_UP) };

static bool keeps(const bl_effective *w)
{
    return w->form && w->form->output && w->linear->block >= 0 && !(TAPED & BL_ROLE_BIT(w->linear->role));
}

/* 0: of a linear alone; 1: shared. The last product of a block is not made again. */
static int room_of(const bl_trainable *t, const bl_effective *w) { return !t->keep && w->linear->role != BL_ROLE_DOWN; }

/* Bytes of both rooms; *at: where that of `of` is. */
static void places(const bl_trainable *t, int64_t rows, const bl_effective *of, uint64_t *at, uint64_t bytes[2])
{
    uint64_t here = 0;
    int64_t block = -1;
    bytes[0] = bytes[1] = 0;
    for (size_t i = 0; i < t->n_linears; i++) {
        const bl_effective *w = &t->w[i];
        const int room = room_of(t, w);
        if (!keeps(w)) continue;
        if (w->linear->block != block) here = 0;
        block = w->linear->block;
        uint64_t *end = room ? &here : &bytes[0];
        if (w == of) *at = *end;
        *end += ((uint64_t)(rows * w->linear->out) * bl_dtype_bytes(t->m->be->act) + 63) / 64 * 64;
        bytes[1] = BL_MAX(bytes[1], here);
    }
}

uint64_t bl_kept_bytes(const bl_trainable *t, int64_t rows)
{
    uint64_t bytes[2], at;
    places(t, rows, NULL, &at, bytes);
    return bytes[0] + bytes[1];
}

bl_status bl_kept_begin(bl_trainable *t, int64_t rows, bl_err *e)
{
    uint64_t bytes[2], at;
    bl_status st = BL_OK;
    places(t, rows, NULL, &at, bytes);
    for (int i = 0; i < 2; i++)
        if (bytes[i]) BL_TRY(bl_buffer_fit(t->m->be, &t->kept.room[i], bytes[i], e));
    t->kept.rows = rows;
out:
    return st;
}

void bl_kept_end(bl_trainable *t) { t->kept.rows = 0; }

bool bl_kept_at(const bl_trainable *t, const bl_effective *w, int64_t row0, int64_t rows, bl_tensor *y)
{
    uint64_t at = 0, bytes[2];
    if (!t->kept.rows || !keeps(w)) return false;
    places(t, t->kept.rows, w, &at, bytes);
    *y = bl_tensor_rows(bl_tensor_2d(t->kept.room[room_of(t, w)], at, t->m->be->act, t->kept.rows, w->linear->out),
                        row0, rows);
    return true;
}
