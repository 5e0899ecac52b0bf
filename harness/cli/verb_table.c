/* verb_table.c - the results of one or more directories as one table. */
#include "session.h"
#include "results.h"
#include "rows.h"
#include <fnmatch.h>
#include <string.h>
#include <unistd.h>

typedef struct opts {
    bl_cli_common common;
    int format;
    const char *rows, *cols, *metric, *against, *average, *out;
    bool failed, all, costs;
    int by;
} opts;
static const char *const formats[] = {"md", "csv", "tex", "json", NULL};
static const char *const parts[] = {"task", "group", NULL};
static const bl_opt rows[] = {
    {"format", BL_OPT_CHOICE, .choices = formats, .at = offsetof(opts, format),
     .doc = "md (aligned), csv (long, one measurement a row), tex (booktabs), json"},
    {"rows", BL_OPT_TEXT, .at = offsetof(opts, rows), .arg = "LIST",
     .doc = "what makes a row: names of the csv form; task,metric turns the table"},
    {"cols", BL_OPT_TEXT, .at = offsetof(opts, cols), .arg = "LIST", .doc = "what makes a column, e.g. method"},
    {"metric", BL_OPT_TEXT, .at = offsetof(opts, metric), .repeat = true, .arg = "NAME",
     .doc = "metrics to show, globs allowed; each task's headline otherwise"},
    {"by", BL_OPT_CHOICE, .choices = parts, .at = offsetof(opts, by),
     .doc = "task: one number for all items; group: one for each group of items (a subject) or step"},
    {"against", BL_OPT_TEXT, .at = offsetof(opts, against), .arg = "METHOD",
     .doc = "show the paired difference from the rows of METHOD; without it rows are marked against base; none: no "
            "comparison"},
    {"average", BL_OPT_TEXT, .at = offsetof(opts, average), .repeat = true, .arg = "TASK",
     .doc = "also the mean over these tasks, globs allowed, each counting once with its headline share; '*': all"},
    {"all", BL_OPT_BOOL, .at = offsetof(opts, all), .doc = "all metrics"},
    {"costs", BL_OPT_BOOL, .at = offsetof(opts, costs),
     .doc =
         "also bits of all weights (head and embeddings too), size, speed and memory; csv and json have them always"},
    {"failed", BL_OPT_BOOL, .at = offsetof(opts, failed),
     .doc = "only cells that failed or are not available, with reasons"},
    {"output", BL_OPT_TEXT, .at = offsetof(opts, out), .arg = "FILE", .letter = 'o',
     .doc = "write there instead of standard output"},
    BL_COMMON_ROWS(opts, common),
    {0}};

/* Every name of --metric is, or matches, a metric of the results. */
static bl_status known_metrics(const bl_table *t, const char *list, bl_err *e)
{
    bl_status st = BL_OK;
    char *copy = bl_strdup(list, e), *rest = copy;
    const char **names = bl_new(t->n + 1, sizeof *names, e);
    size_t n = 0;
    if (!copy || !names) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < t->n; i++)
        if (t->row[i].metric && *t->row[i].metric && (!n || strcmp(names[n - 1], t->row[i].metric) != 0))
            names[n++] = t->row[i].metric;
    for (char *one; n && (one = strsep(&rest, ",")) != NULL;) {
        bool found = false;
        for (size_t i = 0; i < n && !found; i++) found = fnmatch(one, names[i], 0) == 0;
        if (found) continue;
        const char *near = bl_nearest(one, names);
        st = bl_fail(e, BL_E_CONFIG, "no result has a metric '%s'%s%s%s", one, near ? "; did you mean " : "",
                     near ? near : "", near ? "?" : "");
        goto out;
    }
out:
    bl_free(copy);
    bl_free(names);
    return st;
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    bl_table *table = NULL;
    bl_text t = {0};
    bl_against against = {.method = "base", .rules = bl_program_metrics(p)};
    bool none = o->against && strcmp(o->against, "none") == 0;
    char method[256];
    BL_TRY(bl_table_read(args->pos, args->n_pos, &table, e));
    if (o->metric && !o->failed) BL_TRY(known_metrics(table, o->metric, e));
    bl_table_opts to = {.format = o->common.json ? BL_TABLE_JSON : (bl_table_format)o->format,
                        .rows = o->rows,
                        .cols = o->cols,
                        .metric = o->metric,
                        .all_metrics = o->all,
                        .failed_only = o->failed,
                        .by_group = o->by == 1,
                        .costs = o->costs,
                        .deltas = o->against && !none,
                        .terminal = !o->out && isatty(STDOUT_FILENO) == 1};
    if (to.deltas) {
        BL_TRY(bl_method_of_rows(p, table, o->against, method, sizeof method, e));
        against.method = method;
    }
    if (!none && !o->failed) BL_TRY(bl_table_against(table, &to, &against, e));
    if (o->average && !o->failed) BL_TRY(bl_table_average(table, o->average, e));
    if (table->n == 0 && table->skipped == 0) {
        st = bl_fail(e, BL_E_MISSING, "%s: no results", args->pos[0]);
        goto out;
    }
    BL_TRY(bl_table_print(table, &to, &t, e));
    BL_TRY(bl_output(o->out, &t, e));
    bl_tell_skipped(table, exit_code);
out:
    bl_text_free(&t);
    bl_table_free(table);
    return st;
}

const bl_verb bl_verb_table = {
    .name = "table",
    .args = "DIR...",
    .line = "results as md, csv, tex or json",
    .doc = "Every result of the directories as one table. Exit 1 when a file was skipped.",
    .example = "bitladder table runs/a --metric 'acc*,perplexity'",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 1,
    .max_args = -1,
    .run = run,
};
