/* table_impl.h - what the files that print tables share. */
#ifndef BL_RESULTS_TABLE_IMPL_H
#define BL_RESULTS_TABLE_IMPL_H
#include "table.h"

#include <string.h>

/* ---- columns by name ---- */
/* A line of cell.def that has a column, or something of the row itself. */
typedef struct bl_field {
    const char *name;
    bool apart; /* rows that differ in it are never one row */
    bool cost;  /* measured beside: a range where the cells of a row differ */
    bool csv;
    const bl_cell_field *cell;                    /* NULL: of the row, by `print` */
    void (*print)(const bl_row *r, bl_text *out); /* nothing for what is absent */
    bool number;                                  /* as JSON has it */
} bl_field;
const bl_field *bl_field_find(const char *name, bl_err *e); /* NULL: BL_E_CONFIG with the nearest name */
const bl_field *bl_field_at(size_t i);                      /* NULL after the last; in the order of the csv form */
void bl_field_print(const bl_field *f, const bl_row *r, bl_text *out);
/* Do both rows have the same there? x and y become what a and b have; false when memory is out, as they say then. */
bool bl_field_same(const bl_field *f, const bl_row *a, const bl_row *b, bl_text *x, bl_text *y);
/* A cost in bytes: pivots show it in MB. */
static inline bool bl_field_in_megabytes(const bl_field *f)
{
    return f->cost && f->cell->unit && !strcmp(f->cell->unit, "byte");
}

/* ---- which rows ---- */
bool bl_is_listed(const char *list, const char *name); /* in a comma list of names or globs */
/* Indices of the rows that the options choose, in table order. */
bl_status bl_rows_choose(const bl_table *t, const bl_table_opts *o, size_t **out, size_t *n, bl_err *e);
/* Of a table by groups: a sentence with the tasks of finished cells that show no number of a group, where there are
 * any.
 */
bl_status bl_rows_not_grouped(const bl_table *t, const bl_table_opts *o, bl_text *out, bl_err *e);

/* ---- the pivot ---- */
enum { BL_PIVOT_KEYS = 32 };
typedef struct bl_pivot_column {
    const char *label;
    int direction;
    bool percent;
    const bl_row *first;
} bl_pivot_column;
typedef struct bl_pivot_row {
    const char **label;
    const bl_row *first;
    const bl_row **cell;
} bl_pivot_row; /* label [n_keys], cell [n_columns] */
typedef struct bl_pivot {
    const bl_field *key[BL_PIVOT_KEYS];
    int n_keys;
    bl_pivot_column *column;
    size_t n_columns;
    bl_pivot_row *row;
    size_t n_rows;
    bl_arena *arena;
} bl_pivot;
/* Does this label say the metric? Then unit and direction are its row's, and no column's. */
static inline bool bl_pivot_names_metric(const bl_pivot *p, int key) { return !strcmp(p->key[key]->name, "metric"); }
bl_status bl_pivot_of(const bl_table *t, const bl_table_opts *o, bl_pivot **out, bl_err *e);
void bl_pivot_free(bl_pivot *p);
bool bl_is_base(const bl_row *r);

/* ---- conventions that are said only where they are not the usual ones ---- */
const char *bl_odd_bos(const bl_cell *c);                /* "left out"; NULL: by the tokenizer's rule */
const char *bl_odd_seed(const bl_cell *c, char out[32]); /* "seed 3"; NULL: 0 */

/* ---- numbers and forms ---- */
void bl_real_text(double v, char out[40]); /* fewest digits that read back as the same double */
bl_status bl_table_csv(const bl_table *t, const bl_table_opts *o, bl_text *out, bl_err *e);
bl_status bl_table_json(const bl_table *t, const bl_table_opts *o, bl_text *out, bl_err *e);
bl_status bl_table_md(const bl_table *t, const bl_table_opts *o, bl_text *out, bl_err *e);
bl_status bl_table_tex(const bl_table *t, const bl_table_opts *o, bl_text *out, bl_err *e);
#endif
