/* seen.h - numbers of rows that may come once only. */
#ifndef BL_HARNESS_DATA_SEEN_H
#define BL_HARNESS_DATA_SEEN_H
#include "kernels/base/hash.h"

typedef struct bl_seen_id {
    bl_hash hash;
    int64_t line; /* 0: an empty place */
} bl_seen_id;
typedef struct bl_seen {
    bl_seen_id *seen;
    size_t n, room;
} bl_seen; /* zero: none yet */
/* *first: the line (from 1) of the row that had the same id; 0: none had, and from now on `line` has. */
bl_status bl_seen_add(bl_seen *ids, const char *id, int64_t line, int64_t *first, bl_err *e);
void bl_seen_free(bl_seen *ids);
#endif
