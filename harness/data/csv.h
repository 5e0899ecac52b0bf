/* csv.h - records of RFC 4180 as JSON objects of strings: fields in quotes may hold commas, quotes written twice and
 * line breaks; records end in LF or CR LF. */
#ifndef BL_HARNESS_DATA_CSV_H
#define BL_HARNESS_DATA_CSV_H
#include "kernels/base/bl.h"

typedef struct bl_csv bl_csv;
/* `text` [n] is lent as long as the reader; `columns`: the keys, NULL-terminated; NULL: the first record. */
bl_status bl_csv_open(const char *path, const char *text, size_t n, const char *const *columns, size_t max_row,
                      bl_csv **out, bl_err *e);
/* The next record as {"key": "field", …}, lent until the next call, and the line that it begins in; *json NULL at the
 * end. Refused: fewer or more fields than columns, a quote inside a field without quotes or not closed, text after a
 * closing quote, a record of more than max_row bytes. Empty lines are skipped. */
bl_status bl_csv_next(bl_csv *c, const char **json, size_t *n, int64_t *line, bl_err *e);
void bl_csv_close(bl_csv *c); /* NULL is fine */
#endif
