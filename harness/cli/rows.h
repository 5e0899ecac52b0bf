/* rows.h - what users call methods and tasks, as the rows of results have it. */
#ifndef BL_HARNESS_CLI_ROWS_H
#define BL_HARNESS_CLI_ROWS_H
#include "cli.h"
#include "results/table.h"

/* The method of a row that `text` names, as it is written or after parsing (rtn:w4 is rtn:w4g128); BL_E_CONFIG with
 * those that there are. */
bl_status bl_method_of_rows(const bl_program *p, const bl_table *t, const char *text, char *out, size_t n, bl_err *e);
/* Every result of a directory with its samples, in the arena; those that do not check are named on standard error,
 * which is exit code 1. */
bl_status bl_cells_read(const char *dir, bl_arena *a, bl_cell **out, size_t *n, int *exit_code, bl_err *e);
/* Does the glob or method text `wanted` name this method? */
bool bl_method_fits(const bl_program *p, const char *wanted, const char *method);
#endif
