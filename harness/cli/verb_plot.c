/* verb_plot.c - figures of one directory's results. */
#include "session.h"
#include "results.h"
#include "kernels/base/fs.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct opts {
    bl_cli_common common;
    int format;
    const char *out;
} opts;
enum { AS_NAMED = 4 }; /* after the formats of plots/plot.h */
static const char *const formats[] = {"png", "svg", "pdf", "dumb", "auto", NULL};
static const bl_opt rows[] = {{"format", BL_OPT_CHOICE, .choices = formats, .def.choice = AS_NAMED,
                               .at = offsetof(opts, format),
                               .doc = "png, svg, pdf, or dumb: in the terminal; auto: by the ending of FILE, else png"},
                              {"output", BL_OPT_TEXT, .at = offsetof(opts, out), .arg = "FILE", .letter = 'o',
                               .doc = "the picture, FILE.png, .svg or .pdf; data and script go beside it "
                                      "(DIR/plots/FIGURE.png otherwise)"},
                              BL_COMMON_ROWS(opts, common),
                              {0}};

typedef struct drawn {
    bl_text list;
    bl_json_out json; /* into list */
} drawn;              /* paths of the pictures, as --json prints them */

/* Says where the picture is; DUMB: shows it. */
static bl_status tell(const opts *o, const bl_plot *plot, const char *path, const bl_text *picture, drawn *d, bl_err *e)
{
    bl_text t = {0};
    bl_status st = BL_OK;
    if (o->common.json) {
        bl_json_object(&d->json, NULL);
        bl_json_add_str(&d->json, "figure", plot->name);
        bl_json_add_str(&d->json, "path", path);
        bl_json_end(&d->json);
    } else if (o->format == BL_PLOT_DUMB) st = bl_output(NULL, picture, e);
    else if (!o->common.quiet) {
        bl_text_addf(&t, "%s\n", path);
        st = bl_output(NULL, &t, e);
    }
    bl_text_free(&t);
    return st;
}

/* What the picture is: as asked for, as its name ends, or png. A name that says something else is refused. */
static bl_status choose_format(opts *o, bl_err *e)
{
    const char *slash = o->out ? strrchr(o->out, '/') : NULL,
               *name = slash    ? slash + 1
                       : o->out ? o->out
                                : "",
               *dot = strrchr(name, '.');
    int named = AS_NAMED;

    for (int f = BL_PLOT_PNG; f <= BL_PLOT_PDF && dot; f++)
        if (strcmp(dot + 1, bl_plot_ending((bl_plot_format)f)) == 0) named = f;
    if (o->format == AS_NAMED) {
        if (dot && dot > name && named == AS_NAMED)
            return bl_fail(e, BL_E_CONFIG, "--output %s: pictures end in .png, .svg or .pdf", o->out);
        o->format = named == AS_NAMED ? BL_PLOT_PNG : named;
    } else if (named != AS_NAMED && named != o->format)
        return bl_fail(e, BL_E_CONFIG, "--output %s is not the name of a picture in the format %s", o->out,
                       formats[o->format]);
    return BL_OK;
}

/* The picture itself, on standard output or into a device or a pipe. */
static bl_status to_stream(const bl_plot *plot, const bl_plot_input *in, const opts *o, bl_err *e)
{
    bl_text picture = {0};
    bl_status st = bl_plot_bytes(plot, in, (bl_plot_format)o->format, &picture, e);
    if (st == BL_OK) st = bl_output(o->out, &picture, e);
    bl_text_free(&picture);
    return st;
}

/* *fits: something in the results belongs in this figure. */
static bl_status one(const bl_plot *plot, const bl_plot_input *in, const opts *o, const char *dir, drawn *d, bool *fits,
                     bl_err *e)
{
    bl_status st = BL_OK;
    bl_text picture = {0};
    char *path = NULL;

    BL_TRY(bl_plot_fits(plot, in, fits, e));
    if (!*fits) goto out;
    if (o->out && (strcmp(o->out, "-") == 0 || bl_is_stream(o->out))) {
        st = to_stream(plot, in, o, e);
        goto out;
    }
    path = o->out ? bl_strdup(o->out, e)
                  : bl_format_text(e, "%s/plots/%s.%s", dir, plot->name, bl_plot_ending((bl_plot_format)o->format));
    if (!path) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (!o->out) {
        char *folder = bl_join(dir, "plots", e);
        st = folder ? bl_make_dirs(folder, e) : BL_E_NOMEM;
        bl_free(folder);
        if (st != BL_OK) goto out;
    }
    BL_TRY(bl_plot_draw(plot, in, (bl_plot_format)o->format, path, &picture, e));
    BL_TRY(tell(o, plot, path, &picture, d, e));
out:
    bl_text_free(&picture);
    bl_free(path);
    return st;
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    opts chosen = *(const opts *)options;
    const opts *o = &chosen;
    const char *dir = args->pos[0], *name = args->n_pos > 1 ? args->pos[1] : NULL, *names[64] = {0};
    bl_results results = {.table = NULL};
    drawn d = {.json = {.t = &d.list}};
    size_t fitting = 0;

    for (size_t i = 0; bl_plot_at(i) && i < BL_COUNT(names) - 1; i++) names[i] = bl_plot_at(i)->name;
    if (name && !bl_plot_find(name)) {
        const char *near = bl_nearest(name, names);
        return bl_fail(e, BL_E_CONFIG, "no figure '%s'%s%s%s", name,
                       near ? "; did you mean " : "; see: bitladder list plots", near ? near : "", near ? "?" : "");
    }
    if (o->out && !name)
        return bl_fail(e, BL_E_CONFIG, "--output needs the name of one figure; see: bitladder list plots");
    BL_TRY(choose_format(&chosen, e));
    if (o->common.json) bl_json_lines(&d.json, NULL);
    BL_TRY(bl_results_read(p, dir, &results, e));
    for (size_t i = 0; bl_plot_at(i); i++) {
        bl_err why = {0};
        bool fits = false;
        if (name && strcmp(bl_plot_at(i)->name, name) != 0) continue;
        bl_status s = one(bl_plot_at(i), &results.in, o, results.folder, &d, &fits, &why);
        fitting += fits;
        if (s == BL_E_MISSING) {
            fprintf(stderr, "bitladder: %s\n", why.text);
            *exit_code = 1;
        } /* no gnuplot: data and script are there */
        else if (s != BL_OK) {
            if (e) *e = why;
            st = s;
            goto out;
        }
    }
    bl_results_tell_skipped(&results, exit_code);
    if (!fitting) {
        st = name ? bl_fail(e, BL_E_MISSING, "%s: nothing in it fits the figure '%s'", dir, name)
                  : bl_fail(e, BL_E_MISSING, "%s: nothing in it fits any figure", dir);
        goto out;
    }
    if (o->common.json) {
        bl_json_end(&d.json);
        bl_text_add(&d.list, "\n");
        BL_TRY(bl_output(NULL, &d.list, e));
    }
out:
    bl_text_free(&d.list);
    bl_results_free(&results);
    return st;
}

const bl_verb bl_verb_plot = {
    .name = "plot",
    .args = "DIR [FIGURE]",
    .line = "figures of the results: png, svg, pdf or in the terminal",
    .doc = "Draws FIGURE (all that the results fit, when none is named) with gnuplot and prints where the pictures "
           "are; data and script are written beside each. DIR may be one result file, or the curve that training left "
           "(OUT.curve.hdf5); a directory with several shows them together.",
    .example = "bitladder plot runs/a pareto --format svg",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 1,
    .max_args = 2,
    .run = run,
};
