/* table.h - many shards become one table: long rows first, then a pivot, then md, csv, tex or json.
 *
 *     bl_table *t;
 *     BL_TRY(bl_table_read(dirs, n_dirs, &t, e));          // shards and failure notes; t->skipped did not check
 *     BL_TRY(bl_table_against(t, &(bl_table_opts){0}, &(bl_against){"base", rules}, e));   // differences, marks
 *     BL_TRY(bl_table_print(t, &(bl_table_opts){.format = BL_TABLE_MD}, &text, e));
 *     bl_table_free(t);
 *
 * Nothing is averaged. When two cells would be in one place of the pivot, the columns in which they differ (stored_as,
 * limit, seed, …, at last the directory) join the columns of the rows until every place holds
 * one cell; a task whose versions differ gets a column for each. Times, rates and memory are no metrics: they are
 * columns beside each row. Of two results of one directory that differ in nothing but their hash (another version of
 * the program, of the model's or the data's files) the newer one is a row, and how many were left out is said.
 */
#ifndef BL_RESULTS_TABLE_H
#define BL_RESULTS_TABLE_H
#include "compare.h"

/* One measurement, or a cell without one. */
typedef struct bl_row {
    const bl_cell *cell;                    /* names, conditions and costs; of a failure note the names only */
    bool has_cost;                          /* the cell is done: its costs mean something */
    const char *status, *reason;            /* "ok", "failed", "n/a" */
    const char *hash, *dir;                 /* 32 hex digits of the cell; the directory as it was given */
    const char *path;                       /* of the shard or the note */
    const char *metric, *unit, *item_group; /* item_group "": over everything */
    double value, stderr_;
    bool has_value, has_stderr, headline, percent;
    int direction;
    int64_t n;
    const char *over;        /* what the standard error is over; NULL: not recorded */
    bool reference;          /* others are compared with this row */
    const bl_paired *paired; /* the difference from its reference, item by item; NULL: none */
    const char *against;     /* the method of the reference; NULL */
    const char *unpaired;    /* why there is no difference although one was looked for; NULL */
} bl_row;
typedef struct bl_table {
    bl_row *row;
    size_t n;
    size_t skipped;
    char **skipped_reason;
    size_t older;        /* results that a newer one of the same directory stands for: same names and conditions, other
                            identity */
    const char *against; /* the method that rows were to be compared with; NULL: not asked */
    bl_arena *arena;
} bl_table;

typedef enum bl_table_format { BL_TABLE_MD, BL_TABLE_CSV, BL_TABLE_TEX, BL_TABLE_JSON } bl_table_format;
typedef struct bl_table_opts {
    bl_table_format format;
    const char *rows, *cols; /* comma lists of column names; NULL: rows model,method,bits_per_weight (costs: and more);
                                cols task,metric */
    const char *metric; /* comma list of names or globs; NULL: each task's headline metrics in md and tex, all in csv
                           and json */
    bool all_metrics, failed_only;
    bool by_group; /* md and tex: groups of items and steps instead of whole tasks; csv and json have both */
    bool terminal; /* aligned columns; else markdown */
    bool costs;    /* md and tex: also bits of all weights, size, speed and memory of each row */
    bool deltas;   /* md: after a value its difference from the reference, in place of its own standard error */
} bl_table_opts;
/* A directory, or one shard. BL_E_MISSING when a name is neither. */
bl_status bl_table_read(const char *const *dir, size_t n, bl_table **out, bl_err *e);
bl_status bl_table_print(const bl_table *t, const bl_table_opts *o, bl_text *out, bl_err *e);
void bl_table_free(bl_table *t);

/* Every row of a metric that is made of items is compared with the row of `method` that is like it in all but the
 * method: paired, against, reference, unpaired. Holm's correction is over the rows that `o` shows in md; csv and json
 * have differences of more rows, which are not judged. Reads the samples of the cells that are shown. */
typedef struct bl_against {
    const char *method; /* as the rows have it: "base" */
    bl_metric_rules rules;
} bl_against;
bl_status bl_table_against(bl_table *t, const bl_table_opts *o, const bl_against *how, bl_err *e);
/* One more row for each model, method and seed: the mean over the tasks of `list` (names or globs), each counting once
 * with its first headline metric, a share. The name of its task says its members; where one is missing it is n/a. After
 * bl_table_against its differences are judged with the others. BL_E_CONFIG for fewer than two tasks. */
bl_status bl_table_average(bl_table *t, const char *list, bl_err *e);

/* Digits that an uncertainty supports: "21.63", "64.2 ±1.1". */
void bl_number_text(double v, double stderr_, bool has_stderr, char out[64]);
/* A metric: shares in percent as above; others with four significant digits at least, however large the uncertainty,
 * which is often common to all rows: "24.01 ±3.7". */
void bl_metric_text(double v, double stderr_, bool has_stderr, bool percent, char out[64]);
#endif
