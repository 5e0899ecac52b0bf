/* seen.c - see seen.h; open addressing, at most half full. */
#include "seen.h"
#include <string.h>

/* Where a hash is, or the empty place for it. */
static bl_seen_id *place_of(const bl_seen *ids, bl_hash h)
{
    size_t at = (size_t)h.lo & (ids->room - 1);
    while (ids->seen[at].line && !bl_hash_equal(ids->seen[at].hash, h)) at = (at + 1) & (ids->room - 1);
    return &ids->seen[at];
}

static bl_status make_room(bl_seen *ids, bl_err *e)
{
    bl_seen more = {.n = ids->n, .room = ids->room ? 2 * ids->room : 1024};
    if (2 * (ids->n + 1) <= ids->room) return BL_OK;
    if (!(more.seen = bl_new(more.room, sizeof *more.seen, e))) return BL_E_NOMEM;
    for (size_t i = 0; i < ids->room; i++)
        if (ids->seen[i].line) *place_of(&more, ids->seen[i].hash) = ids->seen[i];
    bl_free(ids->seen);
    *ids = more;
    return BL_OK;
}

bl_status bl_seen_add(bl_seen *ids, const char *id, int64_t line, int64_t *first, bl_err *e)
{
    bl_status st = make_room(ids, e);
    if (st != BL_OK) return st;
    bl_hash h = bl_hash_bytes(id, strlen(id));
    bl_seen_id *at = place_of(ids, h);
    *first = at->line;
    if (at->line) return BL_OK;
    *at = (bl_seen_id){h, line};
    ids->n++;
    return BL_OK;
}

void bl_seen_free(bl_seen *ids)
{
    bl_free(ids->seen);
    *ids = (bl_seen){0};
}
