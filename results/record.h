/* record.h - one shard per finished cell: built whole in memory, hashed, and there by rename or not at all.
 *
 *     bl_record *r;
 *     BL_TRY(bl_record_begin(path, cell_key, cell_hash, &r, e));
 *     BL_TRY(bl_record_text (r, "method/name", "rtn", e));                       // attribute of group /method
 *     BL_TRY(bl_record_real (r, "model/bits_per_weight", 4.31, "1", e));
 *     BL_TRY(bl_record_reals(r, "task/piqa/kl", kl, n, "nat", "KL divergence from base at each scored token", e));
 *     BL_TRY(bl_record_table(r, "task/piqa/samples", &table, e));
 *     BL_TRY(bl_record_commit(r, e)); r = NULL;
 * out: bl_record_drop(r);
 *
 * HDF5 image by the core driver (bounds earliest..1.8), 512 bytes in front: magic, schema, length, XXH3-128 of the
 * rest. A reader checks the hash before HDF5 sees a byte. Conventions (units, long_name, vlen UTF-8, dimension scales,
 * compound tables): results/schema.md. Units of an attribute stand beside it as `<name>_units`. Text that is not valid
 * UTF-8 is stored with U+FFFD in place of the bad bytes; NULL is stored as "". Any failed call poisons the record;
 * commit then fails and nothing is written.
 */
#ifndef BL_RESULTS_RECORD_H
#define BL_RESULTS_RECORD_H
#include "kernels/base/hash.h"

typedef enum bl_col_type { BL_COL_INT, BL_COL_REAL, BL_COL_TEXT } bl_col_type;
typedef struct bl_column {
    const char *name, *unit, *long_name;
    bl_col_type type;
    const void *data; /* int64_t[], double[] or const char *[] of the table's n rows */
} bl_column;
typedef struct bl_table_data {
    int64_t n;
    int n_columns;
    const bl_column *column;
} bl_table_data;

typedef struct bl_record bl_record;
bl_status bl_record_begin(const char *path, const char *cell_key, bl_hash cell_hash, bl_record **out, bl_err *e);
/* Attributes; `where` is "group/name" or "group/sub/name". */
bl_status bl_record_text(bl_record *r, const char *where, const char *value, bl_err *e);
bl_status bl_record_int(bl_record *r, const char *where, int64_t value, const char *unit, bl_err *e);
bl_status bl_record_real(bl_record *r, const char *where, double value, const char *unit,
                         bl_err *e); /* refuses NaN: use absent */
bl_status bl_record_names(bl_record *r, const char *where, const char *const *v, int64_t n,
                          bl_err *e); /* several texts in one attribute */
bl_status bl_record_counts(bl_record *r, const char *where, const int64_t *v, int64_t n,
                           bl_err *e); /* several integers */
bl_status bl_record_absent(bl_record *r, const char *where, const char *reason,
                           bl_err *e); /* "not measured": attribute <name>_absent_reason */
/* Datasets. */
bl_status bl_record_reals(bl_record *r, const char *where, const double *v, int64_t n, const char *unit,
                          const char *long_name, bl_err *e);
bl_status bl_record_ints(bl_record *r, const char *where, const int64_t *v, int64_t n, const char *unit,
                         const char *long_name, bl_err *e);
/* v [rows, cols] of 32 bits, as they are. */
bl_status bl_record_floats(bl_record *r, const char *where, const float *v, int64_t rows, int64_t cols,
                           const char *long_name, bl_err *e);
bl_status bl_record_texts(bl_record *r, const char *where, const char *const *v, int64_t n, const char *long_name,
                          bl_err *e);
/* v [rows, cols], or [rows] when cols is NULL, with dimension scales `<where>_<axis name>`: an axis is a name, a unit
 * and its values. */
typedef struct bl_axis {
    const char *name, *unit;
    const double *v;
    int64_t n;
} bl_axis;
bl_status bl_record_grid(bl_record *r, const char *where, const double *v, const bl_axis *rows, const bl_axis *cols,
                         const char *unit, const char *long_name, bl_err *e);
/* One 1-D compound dataset of the INT and REAL columns; each TEXT column becomes a sibling vlen dataset
 * `<where>_<column>`. */
bl_status bl_record_table(bl_record *r, const char *where, const bl_table_data *t, bl_err *e);
/* Makes the 1-D dataset `scale` the dimension scale `name` of the first axis of the dataset `where`; both exist
 * already. */
bl_status bl_record_scale(bl_record *r, const char *where, const char *scale, const char *name, bl_err *e);
bl_status bl_record_commit(bl_record *r, bl_err *e); /* frees r on success */
void bl_record_drop(bl_record *r);                   /* NULL is fine */

/* ---- reading ---- */
typedef struct bl_shard bl_shard;
/* BL_E_CORRUPT: does not check (truncated, bit flip, not ours); BL_E_NEWER: newer schema N; BL_E_UNSUPPORTED: an older
 * one. */
bl_status bl_shard_open(const char *path, bl_shard **out, bl_err *e);
bl_status bl_shard_parse(const uint8_t *p, size_t n, const char *name, bl_shard **out,
                         bl_err *e); /* the bytes are lent until close */
void bl_shard_close(bl_shard *s);
/* Hash and header only, without opening HDF5: is this a whole shard of this cell? */
bl_status bl_shard_check(const char *path, const char *cell_key, bl_hash cell_hash, bl_err *e);
bool bl_shard_has(const bl_shard *s, const char *where); /* attribute or dataset */
bl_status bl_shard_text(const bl_shard *s, const char *where, bl_arena *a, const char **out, bl_err *e);
bl_status bl_shard_int(const bl_shard *s, const char *where, int64_t *out, bl_err *e);
bl_status bl_shard_real(const bl_shard *s, const char *where, double *out, bl_err *e);
bl_status bl_shard_reals(const bl_shard *s, const char *where, bl_arena *a, double **out, int64_t *n, bl_err *e);
/* Of two dimensions. */
bl_status bl_shard_floats(const bl_shard *s, const char *where, bl_arena *a, float **out, int64_t *rows, int64_t *cols,
                          bl_err *e);
/* One column of a table (by name), or a texts dataset. */
bl_status bl_shard_column_int(const bl_shard *s, const char *where, const char *column, bl_arena *a, int64_t **out,
                              int64_t *n, bl_err *e);
bl_status bl_shard_column_real(const bl_shard *s, const char *where, const char *column, bl_arena *a, double **out,
                               int64_t *n, bl_err *e);
bl_status bl_shard_names(const bl_shard *s, const char *where, bl_arena *a, const char ***out, int64_t *n,
                         bl_err *e); /* of bl_record_names */
bl_status bl_shard_counts(const bl_shard *s, const char *where, bl_arena *a, int64_t **out, int64_t *n,
                          bl_err *e); /* of bl_record_counts */
bl_status bl_shard_texts(const bl_shard *s, const char *where, bl_arena *a, const char ***out, int64_t *n, bl_err *e);
/* Names of the children of a group ("task"), sorted. */
bl_status bl_shard_list(const bl_shard *s, const char *group, bl_arena *a, const char ***out, int64_t *n, bl_err *e);
/* Every attribute and dataset by path ("method/name", "task/piqa/samples"), sorted; attributes of datasets are
 * "path@name". */
bl_status bl_shard_paths(const bl_shard *s, bl_arena *a, const char ***out, int64_t *n, bl_err *e);
/* Is everything outside `created`, /run, /env and whatever is called seconds or peak the same, bit for bit? `why` gets
 * the first difference. */
bl_status bl_shard_same(const bl_shard *a, const bl_shard *b, bool *same, bl_text *why, bl_err *e);
/* Which HDF5 this is, for --version and doctor: "1.10.8". */
const char *bl_hdf5_version(void);
#endif
