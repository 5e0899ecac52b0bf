/* verb_report.c - one HTML page about a directory of results; asks the tasks for the text of the items it shows. */
#include "session.h"
#include "results.h"
#include "harness/items.h"
#include "plots/report.h"
#include <string.h>

typedef struct opts {
    bl_cli_common common;
    const char *out, *data;
} opts;
static const bl_opt rows[] = {{"output", BL_OPT_TEXT, .at = offsetof(opts, out), .arg = "FILE", .letter = 'o',
                               .doc = "the page (DIR/report.html otherwise); -: standard output"},
                              {"data", BL_OPT_TEXT, .at = offsetof(opts, data), .arg = "DIR",
                               .doc = "where data sets are, before BITLADDER_DATA: texts of the items that are shown"},
                              BL_COMMON_ROWS(opts, common),
                              {0}};

/* ---- what an item asks ---- */
/* The data of the cell that was asked about last. */
typedef struct texts {
    const bl_program *p;
    bl_data_dirs dirs;
    const bl_cell *cell;
    bl_items *items; /* NULL: not there */
    bl_err why;
} texts;

static bl_status open_items(texts *t, const bl_cell *c, bl_err *e)
{
    if (t->cell == c) return BL_OK;
    bl_items_close(t->items);
    t->items = NULL;
    t->cell = c;
    bl_status st = bl_items_open(t->p, c, &t->dirs, &t->items, &t->why);
    if (st == BL_E_NOMEM) return bl_fail(e, st, "%s", t->why.text);
    if (st == BL_E_MISSING) bl_fail(&t->why, st, "its text is shown where the data are: --data DIR");
    return BL_OK;
}

static bl_status item(void *ctx, const bl_cell *c, int64_t id, bl_arena *a, bl_report_item *out, bl_err *e)
{
    bl_status st;
    texts *t = ctx;
    bl_item i = {.question = NULL};

    BL_TRY(open_items(t, c, e));
    if (t->items) st = bl_items_get(t->items, id, a, &i, &t->why);
    if (st == BL_E_NOMEM) return bl_fail(e, st, "%s", t->why.text);
    *out = (bl_report_item){.question = i.question, .choice = i.choice, .n_choices = i.n_choices};
    if (!i.question) {
        out->why = bl_arena_str(a, t->why.text, strlen(t->why.text), e);
        return out->why ? BL_OK : BL_E_NOMEM;
    }
    if (!*i.question) out->question = "Which is likelier?";
    if (!i.n_choices) out->gold = i.gold;
out:
    return st;
}

/* ---- the verb ---- */
static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    const char *dir = args->pos[0];
    bl_results results = {.table = NULL};
    bl_text html = {0}, said = {0};
    texts t = {.p = p};
    char *path = NULL;

    BL_TRY(bl_data_option(o->data, &t.dirs, e));
    BL_TRY(bl_results_read(p, dir, &results, e));
    if (bl_results_empty(&results)) {
        st = bl_fail(e, BL_E_MISSING, "%s: there are no results in it", dir);
        goto out;
    }
    BL_TRY(bl_report_write(&(bl_report){.in = &results.in, .dir = dir, .item = item, .ctx = &t}, &html, e));
    if (!(path = o->out ? bl_strdup(o->out, e) : bl_join(results.folder, "report.html", e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_output(path, &html, e));
    if (strcmp(path, "-") != 0 && !o->common.quiet) {
        if (o->common.json) {
            bl_json_out j = {.t = &said};
            bl_json_object(&j, NULL);
            bl_json_add_str(&j, "path", path);
            bl_json_end(&j);
        } else bl_text_add(&said, path);
        bl_text_add(&said, "\n");
        BL_TRY(bl_output(NULL, &said, e));
    }
    bl_results_tell_skipped(&results, exit_code);
out:
    bl_free(path);
    bl_items_close(t.items);
    bl_text_free(&html);
    bl_text_free(&said);
    bl_results_free(&results);
    return st;
}

const bl_verb bl_verb_report = {
    .name = "report",
    .args = "DIR",
    .line = "one HTML page: which rows are worse, by how much, how sure; figures, lost items",
    .doc =
        "Writes a page that is whole in itself (no script, font or picture from elsewhere): differences from base with "
        "their verdicts, tables, figures, the items that most rows lost with their text, conventions, environment, and "
        "the commands that make it again. Figures need gnuplot. Exit 1 when a file was skipped.",
    .example = "bitladder report runs/a -o report.html",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
