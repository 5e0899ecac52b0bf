/* cell_impl.h - what the files about cells share. */
#ifndef BL_RESULTS_CELL_IMPL_H
#define BL_RESULTS_CELL_IMPL_H
#include "cell.h"
#include "kernels/base/fs.h"

/* The lines of cell.def in their order, and where each one is. */
enum {
#define BL_CELL(type, member, where, unit, absent, column, use, meaning) BL_FIELD_##member,
#define BL_CELL_PART(where, kind, unit, meaning)
#include "cell.def"
#undef BL_CELL
#undef BL_CELL_PART
    BL_CELL_FIELDS
};
extern const bl_cell_field bl_cell_fields[BL_CELL_FIELDS];

typedef enum bl_cell_part {
    BL_CELL_WHOLE,
    BL_CELL_NO_SAMPLES, /* no samples, no divergences */
    BL_CELL_FOR_TABLE   /* what a table row needs and nothing else: a thousand shards a second */
} bl_cell_part;
bl_status bl_cell_of_shard(const bl_shard *s, bl_cell_part part, bl_arena *a, bl_cell *out, bl_err *e);

/* `where` with the task's name, as HDF5 can hold it, in place of @; *out is emptied first. */
bl_status bl_cell_place(const char *where, const char *task, bl_text *out, bl_err *e);
bl_status bl_same_length(const char *where, int64_t n, int64_t expected, bl_err *e);

/* ---- the larger parts of a shard (cell_parts.c); `at` is scratch, `task` the name of its group ---- */
bl_status bl_put_metrics(bl_record *r, const bl_cell *c, bl_text *at, bl_err *e);
bl_status bl_put_samples(bl_record *r, const bl_cell *c, bl_text *at, bl_err *e);
bl_status bl_put_divergence(bl_record *r, const bl_cell *c, bl_text *at, bl_err *e);
bl_status bl_put_layers(bl_record *r, const bl_cell *c, bl_err *e);
bl_status bl_get_metrics(const bl_shard *s, const char *task, bl_arena *a, bl_text *at, bl_cell *c, bl_err *e);
bl_status bl_get_samples(const bl_shard *s, const char *task, bl_arena *a, bl_text *at, bl_cell *c, bl_err *e);
/* `values` false: only why there are none. */
bl_status bl_get_divergence(const bl_shard *s, const char *task, bool values, bl_arena *a, bl_text *at, bl_cell *c,
                            bl_err *e);
bl_status bl_get_layers(const bl_shard *s, bl_arena *a, bl_cell *c, bl_err *e);
#endif
