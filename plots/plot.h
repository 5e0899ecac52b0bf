/* plot.h - figures from tables, drawn by gnuplot at run time; data and script are written beside the picture.
 *
 *     BL_TRY(bl_plot_draw(bl_plot_find("pareto"), &in, BL_PLOT_PNG, "runs/a/pareto.png", &text, e));
 */
#ifndef BL_PLOTS_PLOT_H
#define BL_PLOTS_PLOT_H
#include "results/table.h"
#include "results/timing.h"

typedef enum bl_plot_format { BL_PLOT_PNG, BL_PLOT_SVG, BL_PLOT_PDF, BL_PLOT_DUMB } bl_plot_format;
typedef struct bl_plot_input {
    const bl_table *table;
    const bl_kernel_row *kernel;
    size_t n_kernels;
} bl_plot_input;
typedef struct bl_plot {
    const char *name, *doc; /* "ppl_bits": perplexity against bits per weight */
    /* Writes the csv that the script reads; *n_points 0: nothing in the table fits this figure. */
    bl_status (*data)(const bl_plot_input *in, bl_text *csv, size_t *n_points, bl_err *e);
} bl_plot;
const bl_plot *bl_plot_at(size_t i);
const bl_plot *bl_plot_find(const char *name);
/* Writes <stem>.csv and <stem>.gp beside `path`, then runs gnuplot (posix_spawn with argv, no shell). DUMB: the picture
 * as text in *out. BL_E_MISSING when gnuplot is not there or fails: data and script are written all the same (F28). */
bl_status bl_plot_draw(const bl_plot *p, const bl_plot_input *in, bl_plot_format f, const char *path, bl_text *out,
                       bl_err *e);
#endif
