/* plot.h - figures from tables, drawn by gnuplot at run time; data and script are written beside the picture.
 *
 *     BL_TRY(bl_table_against(table, &(bl_table_opts){0}, &(bl_against){"base", rules}, e));
 *     bl_plot_input in = {.table = table, .rules = &rules};
 *     BL_TRY(bl_plot_read(&in, arena, e));                      // the samples, layers and machines behind the table
 *     BL_TRY(bl_plot_draw(bl_plot_find("pareto"), &in, BL_PLOT_PNG, "runs/a/pareto.png", &picture, e));
 */
#ifndef BL_PLOTS_PLOT_H
#define BL_PLOTS_PLOT_H
#include "results/curve.h"
#include "results/table.h"
#include "results/timing.h"

typedef enum bl_plot_format { BL_PLOT_PNG, BL_PLOT_SVG, BL_PLOT_PDF, BL_PLOT_DUMB } bl_plot_format;
const char *bl_plot_ending(bl_plot_format f); /* "png", "svg", "pdf", "txt" */
typedef struct bl_plot_input {
    const bl_table *table;
    const bl_cell *const *whole;  /* [table->n] the cell of each row with samples and layers; NULL: could not be read */
    const bl_metric_rules *rules; /* how metrics are made of samples, for the front; NULL: nothing is compared there */
    const bl_kernel_row *kernel;
    size_t n_kernels;
    const bl_kernel_facts *facts; /* of those timings; NULL: not known */
    const bl_curve *curve;        /* [n_curves] of training */
    size_t n_curves;
} bl_plot_input;
/* Reads what stands behind the table's rows, each shard once, into the arena. */
bl_status bl_plot_read(bl_plot_input *in, bl_arena *a, bl_err *e);

struct bl_page;
typedef struct bl_plot {
    const char *name, *doc; /* "ppl_bits": perplexity against bits per weight */
    /* Lays out the figure (plots/page.h); page->n_points 0: nothing in the results fits it. */
    bl_status (*make)(const bl_plot_input *in, struct bl_page *page, bl_err *e);
} bl_plot;
const bl_plot *bl_plot_at(size_t i);
const bl_plot *bl_plot_find(const char *name);
/* Is there something in the results for this figure? */
bl_status bl_plot_fits(const bl_plot *p, const bl_plot_input *in, bool *fits, bl_err *e);
/* Writes <stem>.csv and <stem>.gp beside `path`, then runs gnuplot (posix_spawn with argv, no shell). DUMB: the picture
 * as text in *out. BL_E_MISSING when gnuplot is not there or fails: data and script are written all the same (F28). */
bl_status bl_plot_draw(const bl_plot *p, const bl_plot_input *in, bl_plot_format f, const char *path, bl_text *out,
                       bl_err *e);
/* The bytes of the picture, appended; nothing stays on the disk. */
bl_status bl_plot_bytes(const bl_plot *p, const bl_plot_input *in, bl_plot_format f, bl_text *out, bl_err *e);
#endif
