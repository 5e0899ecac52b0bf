/* csv.h - one record of comma-separated values (RFC 4180) out of a text. */
#ifndef BL_CSV_H
#define BL_CSV_H
#include "kernels/base/bl.h"

typedef struct bl_csv {
    const char *text;
    size_t n, at; /* lent; `at` moves on */
    int64_t line; /* 1-based line of text[at] */
    char *buf;
    size_t buf_cap; /* the fields of the record, NUL behind each */
    const char **field;
    size_t field_cap, n_fields; /* into buf */
    int64_t first_line;         /* where the record began */
} bl_csv;
/* Next record, empty lines skipped; n_fields 0 at the end. Fields in quotes may hold commas, line breaks and doubled
 * quotes. Refused: a quote inside a bare field, text behind a closing quote, a quote that is never closed. `name` opens
 * the sentence. */
bl_status bl_csv_next(bl_csv *c, const char *name, bl_err *e);
void bl_csv_free(bl_csv *c);
#endif
