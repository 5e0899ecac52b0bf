/* reader.h - rows out of data files: JSON lines, one JSON array, CSV; whole texts; plain or gzip.
 *
 *     bl_rows *r;
 *     BL_TRY(bl_rows_open(path, &r, e));
 *     const bl_json *row;
 *     while ((st = bl_rows_json(r, &row, e)) == BL_OK && row)
 *         puts(bl_json_key(bl_json_first(row)));                   // error sentences carry file and line
 *     bl_rows_close(r);
 *
 * gzip is recognised by its name (.gz) and must be gzip; gzip data under another name is refused. Unpacked size is
 * bounded.
 */
#ifndef BL_HARNESS_DATA_READER_H
#define BL_HARNESS_DATA_READER_H
#include "kernels/base/fs.h"
#include "kernels/base/json.h"
#include "kernels/base/hash.h"

/* Whole file, unpacked, NUL after it. Valid UTF-8 without NUL bytes is demanded, and at least one byte; CRLF stays as
 * it is. Refused above `max` unpacked bytes (0: BL_TEXT_MAX). `hash` (may be NULL) is of the unpacked bytes. */
#define BL_TEXT_MAX (UINT64_C(1) << 30)
bl_status bl_text_file(const char *path, uint64_t max, char **out, size_t *n, bl_hash *hash, bl_err *e);

/* What a text holds that its reader may not expect; none of it is changed: a byte order mark in front, lines that end
 * in CR LF. */
enum { BL_TEXT_MARK = 1, BL_TEXT_CRLF = 2 };
int bl_text_oddities(const char *s, size_t n);

/* A file whose first character is '[' is one JSON array, its elements are the rows; every other is JSON lines. A byte
 * order mark in front is passed over. (datasets 5.2 reads all of these alike.) */
typedef struct bl_rows bl_rows;
/* A file named .csv is RFC 4180: fields in quotes may hold commas, quotes written twice and line breaks. Its rows come
 * as JSON objects of strings, whose keys are `columns`, or the first record where that is NULL. */
typedef struct bl_rows_layout {
    const char *const *columns; /* NULL-terminated; of a CSV file without a header; NULL: it has one */
    const char *list;           /* a file that is one object has its rows in the array of this key; NULL: JSON lines */
    bool keyed;                 /* a file is one object whose members are its rows, their keys the ids */
    size_t max_row;             /* longer lines, records and elements are refused; 0: no limit */
    /* What an item of bl_rows_items asks, which no other may; NULL: rows may repeat. */
    void (*said)(const void *item, bl_text *out);
} bl_rows_layout;
#define BL_ROW_MAX 1000000 /* of tasks: no question is so long */
bl_status bl_rows_open_as(const char *path, const bl_rows_layout *how, bl_rows **out, bl_err *e); /* copied */
bl_status bl_rows_open(const char *path, bl_rows **out, bl_err *e);
void bl_rows_close(bl_rows *r);
bl_hash bl_rows_hash(const bl_rows *r); /* of the unpacked bytes */
/* "piqa/valid.jsonl:17" or "SVAMP.json:52: element 3", for sentences about the row last returned; lent until the next
 * call */
const char *bl_rows_where(const bl_rows *r);
/* What was said against that row, with its place in front unless it is there; returns `st`. */
bl_status bl_rows_within(const bl_rows *r, bl_status st, bl_err *e);
/* Refuses a row whose number (id, ID, qid, qID, iIndex, idx, ind or question_id, the first of them that it has) a row
 * before it had, with both places, and one whose is neither number nor text; one without is taken. 7 is "7" too. To be
 * called once a row. */
bl_status bl_rows_once(bl_rows *r, const bl_json *row, bl_err *e);
/* Next row, valid until the next call; *row NULL at the end. Empty lines are skipped. */
bl_status bl_rows_json(bl_rows *r, const bl_json **row, bl_err *e);
/* Calls `each` with every row of a file in turn, of BL_ROW_MAX bytes at most; a row that is no object, and what `each`
 * refuses, with the file and the row in front. */
bl_status bl_rows_each(const char *path, bl_status (*each)(void *ctx, const bl_json *row, bl_err *e), void *ctx,
                       bl_err *e);
/* Fills an item, which is of zeros, from row i; texts are copied to the arena. Sentences need no file and row. */
typedef bl_status bl_row_item(const void *ctx, int64_t i, const bl_json *row, bl_arena *a, void *out, bl_err *e);
/* The rows of a file as an array of items of `size` bytes in the arena, *out. Refused, with the file and the row in
 * front: a row that is no object, what `read` refuses, a number that comes twice (bl_rows_once), how->said alike;
 * a file without rows.
 * how->max_row 0: BL_ROW_MAX. */
bl_status bl_rows_items(const char *path, const bl_rows_layout *how, bl_row_item *read, const void *ctx, size_t size,
                        bl_arena *a, void **out, int64_t *n, bl_hash *hash, bl_err *e);

/* Where data sets are looked for: every --data DIR (the list here), then the directories of BITLADDER_DATA (colons
 * between them), then the share directory that ships with the program. */
typedef struct bl_data_dirs {
    const char *dir[16];
    size_t n;
} bl_data_dirs;
/* First existing of the relative paths `names` (NULL-terminated; each also tried with .gz) in the first directory that
 * has any of them. BL_E_MISSING: lists what was looked for and adds `where_to_get`, or names a parquet file beside one
 * of them and the line that makes that of it. *path is in the arena; *which (may
 * be NULL) is the index into names. d may be NULL: no --data. */
bl_status bl_data_find(const bl_data_dirs *d, const char *const *names, const char *where_to_get, bl_arena *a,
                       const char **path, int *which, bl_err *e);
#endif
