/* verb_plot.c - figures of one directory's results. */
#include "cli/session.h"
#include "bench/bench.h"
#include "kernels/base/fs.h"
#include "plots/plot.h"
#include <string.h>

typedef struct opts { bl_cli_common common; int format; const char *out; } opts;
static const char *const formats[] = { "png", "svg", "pdf", "dumb", NULL };
static const bl_opt rows[] = {
    { "format", BL_OPT_CHOICE, .choices = formats, .at = offsetof(opts, format), .doc = "png, svg, pdf, or dumb: in the terminal" },
    { "output", BL_OPT_TEXT, .at = offsetof(opts, out), .arg = "FILE", .letter = 'o', .doc = "the picture; data and script go beside it (DIR/plots/NAME.png otherwise)" },
    BL_COMMON_ROWS(opts, common),
    { 0 }
};

static bl_status one(const bl_plot *plot, const bl_plot_input *in, const opts *o, const char *dir, bool must, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text csv = { 0 }, picture = { 0 };
    size_t points = 0;
    char *path = NULL;

    BL_TRY(plot->data(in, &csv, &points, e));
    if (points == 0) {
        if (must) st = bl_fail(e, BL_E_MISSING, "%s: nothing in it fits the figure '%s'", dir, plot->name);
        goto out;
    }
    path = o->out ? bl_strdup(o->out, e) : bl_format_text(e, "%s/plots/%s.%s", dir, plot->name, o->format == BL_PLOT_DUMB ? "txt" : formats[o->format]);
    if (!path) { st = BL_E_NOMEM; goto out; }
    if (!o->out) {
        char *folder = bl_join(dir, "plots", e);
        st = folder ? bl_make_dirs(folder, e) : BL_E_NOMEM;
        bl_free(folder);
        if (st != BL_OK) goto out;
    }
    BL_TRY(bl_plot_draw(plot, in, (bl_plot_format)o->format, path, &picture, e));
    if (o->format == BL_PLOT_DUMB) fwrite(picture.s ? picture.s : "", 1, picture.n, stdout);
    else if (!o->common.quiet) printf("%s\n", path);
out:
    bl_text_free(&csv);
    bl_text_free(&picture);
    bl_free(path);
    return st;
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    const char *dir = args->pos[0], *name = args->n_pos > 1 ? args->pos[1] : NULL, *names[64] = { 0 };
    bl_table *table = NULL;
    bl_arena *a = NULL;
    bl_plot_input in = { 0 };
    bl_kernel_row *kernel = NULL;
    (void)p;

    for (size_t i = 0; bl_plot_at(i) && i < BL_COUNT(names) - 1; i++) names[i] = bl_plot_at(i)->name;
    if (name && !bl_plot_find(name)) {
        const char *near = bl_nearest(name, names);
        return bl_fail(e, BL_E_CONFIG, "no figure '%s'%s%s%s", name, near ? "; did you mean " : "; see: bitladder list plots", near ? near : "", near ? "?" : "");
    }
    if (o->out && !name) return bl_fail(e, BL_E_CONFIG, "--output needs the name of one figure; see: bitladder list plots");
    BL_TRY(bl_arena_new(&a, e));
    BL_TRY(bl_table_read(&dir, 1, &table, e));
    in.table = table;
    BL_TRY(bl_bench_read(dir, a, &kernel, &in.n_kernels, e));
    in.kernel = kernel;
    for (size_t i = 0; bl_plot_at(i); i++) {
        if (name && strcmp(bl_plot_at(i)->name, name) != 0) continue;
        bl_err why = { 0 };
        bl_status s = one(bl_plot_at(i), &in, o, dir, name != NULL, &why);
        if (s == BL_E_MISSING) { fprintf(stderr, "bitladder: %s\n", why.text); *exit_code = 1; }         /* no gnuplot: data and script are there */
        else if (s != BL_OK) { if (e) *e = why; st = s; goto out; }
    }
out:
    bl_table_free(table);
    bl_arena_free(a);
    return st;
}

const bl_verb bl_verb_plot = {
    .name = "plot", .args = "DIR [FIGURE]", .line = "figures of the results: png, svg, pdf or in the terminal",
    .doc = "Draws FIGURE (all that the results fit, when none is named) with gnuplot; data and script are written beside the picture.",
    .example = "bitladder plot runs/a pareto --format svg", .opts = rows, .opts_size = sizeof(opts), .min_args = 1, .max_args = 2, .run = run,
};
