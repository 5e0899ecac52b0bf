/* ids.c - a growing list of token ids. */
#include "tokenizer.h"

bl_status bl_ids_push(bl_ids *ids, int32_t id, bl_err *e)
{
    bl_status st = BL_OK;
    if (ids->n == ids->cap) BL_TRY(bl_grow(&ids->id, &ids->cap, ids->n + 1, sizeof *ids->id, e));
    ids->id[ids->n++] = id;
out:
    return st;
}

void bl_ids_free(bl_ids *ids)
{
    bl_free(ids->id);
    *ids = (bl_ids){0};
}
