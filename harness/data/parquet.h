/* parquet.h - parquet files are not read; the line that makes a text of one is told. */
#ifndef BL_HARNESS_DATA_PARQUET_H
#define BL_HARNESS_DATA_PARQUET_H
#include "kernels/base/bl.h"

/* Refuses the parquet file at `path`: with the line that writes it as JSON lines or, where it is named .csv, as CSV. */
bl_status bl_parquet_refuse(const char *path, bl_err *e);
/* Is there a parquet file where the text `wanted` was looked for, in its directory or "data" in that? Appends its path
 * to `found` and the line that makes `wanted` of it to `line`, which stay empty where there is none. The file is the
 * one whose name has most of the beginning of the wanted one's ("test-00000-of-00001.parquet" for "test.jsonl"); of
 * another split it is none. */
bl_status bl_parquet_beside(const char *wanted, bl_text *found, bl_text *line, bl_err *e);
#endif
