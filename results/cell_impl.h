/* cell_impl.h - how much of a shard is read; shared by cell.c and the table. */
#ifndef BL_CELL_FIELDS_H
#define BL_CELL_FIELDS_H
#include "cell.h"
#include "kernels/base/fs.h"

typedef enum bl_cell_part {
    BL_CELL_WHOLE,
    BL_CELL_NO_SAMPLES, /* no samples, no kl */
    BL_CELL_FOR_TABLE   /* what a table row needs and nothing else: a thousand shards a second */
} bl_cell_part;
bl_status bl_cell_of_shard(const bl_shard *s, bl_cell_part part, bl_arena *a, bl_cell *out, bl_err *e);
#endif
