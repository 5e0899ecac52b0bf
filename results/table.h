/* table.h - many shards become one table: long rows first, then a pivot, then md, csv, tex or json.
 *
 *     bl_table *t;
 *     BL_TRY(bl_table_read(dirs, n_dirs, &t, e));          // every shard and failure note; files that do not check are
 * counted in t->skipped BL_TRY(bl_table_print(t, &(bl_table_opts){ .format = BL_TABLE_MD }, &text, e));
 *     bl_table_free(t);
 *
 * Nothing is averaged. When two cells would land in one place of the pivot, the columns in which they differ
 * (stored_as, limit, seed, …, at last the hash of the cell and the directory) join the columns of the rows until every
 * place holds one cell; a task whose versions differ gets a column for each. Metrics that are times, rates or memory
 * are no rows: they stand in the JSON form beside each row.
 */
#ifndef BL_TABLE_H
#define BL_TABLE_H
#include "cell.h"

typedef struct bl_row { /* the columns of the csv form, in its order */
    const char *model, *stored_as, *method, *bits, *group, *task;
    int64_t version;
    const char *metric;
    double value, stderr_;
    bool has_value, has_stderr;
    int64_t n, limit; /* limit 0: none */
    double bits_per_weight;
    int64_t packed_bytes, peak_bytes;
    double seconds;
    bool has_cost;
    const char *status, *reason; /* "ok", "failed", "n/a" */
    const char *key, *path;
    int direction;
    int64_t seed;
    const char *notes, *simulated, *unit;       /* simulated: "" or what; unit of value */
    const char *hash, *dir;                     /* 32 hex digits of the cell; the directory as it was given */
    double tokens_per_second, quantize_seconds; /* with has_cost; 0: not measured */
    int64_t kv_bytes, bytes_read, truncated;    /* truncated: items that were cut from the left to fit */
} bl_row;
typedef struct bl_table {
    bl_row *row;
    size_t n;
    size_t skipped;
    char **skipped_reason;
    bl_arena *arena;
} bl_table;

typedef enum bl_table_format { BL_TABLE_MD, BL_TABLE_CSV, BL_TABLE_TEX, BL_TABLE_JSON } bl_table_format;
typedef struct bl_table_opts {
    bl_table_format format;
    const char *rows,
        *cols;          /* comma lists of column names; NULL: rows model,method,bits_per_weight; cols task,metric */
    const char *metric; /* comma list of names or globs; NULL: each task's headline metrics in md and tex, all in csv
                           and json */
    bool all_metrics, failed_only;
    bool terminal; /* aligned columns; else markdown */
} bl_table_opts;
/* A directory, or one shard. BL_E_MISSING when a name is neither. */
bl_status bl_table_read(const char *const *dir, size_t n, bl_table **out, bl_err *e);
bl_status bl_table_print(const bl_table *t, const bl_table_opts *o, bl_text *out, bl_err *e);
void bl_table_free(bl_table *t);
/* Digits that an uncertainty supports: "21.63", "64.2 ±1.1". */
void bl_number_text(double v, double stderr_, bool has_stderr, char out[64]);
#endif
