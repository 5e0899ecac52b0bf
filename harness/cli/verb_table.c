/* verb_table.c - the results of one or more directories as one table. */
#include "cli/session.h"
#include "results/table.h"
#include <string.h>
#include <unistd.h>

typedef struct opts { bl_cli_common common; int format; const char *rows, *cols, *metric, *out; bool failed, all; } opts;
static const char *const formats[] = { "md", "csv", "tex", "json", NULL };
static const bl_opt rows[] = {
    { "format", BL_OPT_CHOICE, .choices = formats, .at = offsetof(opts, format), .doc = "md (aligned), csv (long, one measurement a row), tex (booktabs), json" },
    { "rows",   BL_OPT_TEXT, .at = offsetof(opts, rows), .arg = "LIST", .doc = "columns that make a row" },
    { "cols",   BL_OPT_TEXT, .at = offsetof(opts, cols), .arg = "LIST", .doc = "columns that make a column" },
    { "metric", BL_OPT_TEXT, .at = offsetof(opts, metric), .repeat = true, .arg = "NAME", .doc = "metrics to show, globs allowed; each task's headline otherwise" },
    { "all",    BL_OPT_BOOL, .at = offsetof(opts, all), .doc = "all metrics" },
    { "failed", BL_OPT_BOOL, .at = offsetof(opts, failed), .doc = "only cells that failed or are not available, with reasons" },
    { "output", BL_OPT_TEXT, .at = offsetof(opts, out), .arg = "FILE", .letter = 'o', .doc = "write there instead of standard output" },
    BL_COMMON_ROWS(opts, common),
    { 0 }
};

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    bl_table *table = NULL;
    bl_text t = { 0 };
    (void)p;
    BL_TRY(bl_table_read(args->pos, args->n_pos, &table, e));
    bl_table_opts to = { .format = o->common.json ? BL_TABLE_JSON : (bl_table_format)o->format, .rows = o->rows, .cols = o->cols, .metric = o->metric,
                         .all_metrics = o->all, .failed_only = o->failed, .terminal = !o->out && isatty(STDOUT_FILENO) == 1 };
    BL_TRY(bl_table_print(table, &to, &t, e));
    BL_TRY(bl_output(o->out, &t, e));
    for (size_t i = 0; i < table->skipped; i++) fprintf(stderr, "bitladder: skipped: %s\n", table->skipped_reason[i]);
    if (table->skipped) *exit_code = 1;
out:
    bl_text_free(&t);
    bl_table_free(table);
    return st;
}

const bl_verb bl_verb_table = {
    .name = "table", .args = "DIR...", .line = "results as md, csv, tex or json", .doc = "Every result of the directories as one table. Exit 1 when a file was skipped.",
    .example = "bitladder table runs/a --metric 'acc*,perplexity'", .opts = rows, .opts_size = sizeof(opts), .min_args = 1, .max_args = -1, .run = run,
};
