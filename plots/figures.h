/* figures.h - how the figures are laid out, one function each; the lines of registry.def name them.
 *
 * Their data, the csv beside a picture, has a line of names and a line for each point; what is missing is NA. `panel`
 * and `style` count from 1 and are what the scripts choose by.
 *
 *     curves, pareto  panel task style family kind method bits x value stderr n differs front
 *                     kind: base, method, or off (beyond the axis: drawn at its edge); x is bits, moved aside where
 *                     error bars would cover each other; differs: 1 from the base (paired test), 0 undecided; front:
 *                     2 on it, 1 not significantly beaten, 0 beaten
 *     heatmap         panel task method x y value delta stderr low high p p_holm verdict color ink text
 *     flips           panel task method y lost gained n p verdict
 *     layers          panel method style role block nmse
 *     probes          panel task style method kept same n
 *     kernels         panel rows weights style family kind label bits x value low high share seconds cold gflops
 *                     gbs nmse; kind: shape, kernel (the median over its shapes), slower (of two that have the same
 *                     bits); weights: memory or cache
 *     loss            panel run style step value mean valid; value: of a step, or the mean of as many as a point stands
 * for; mean: over the window that the figure names; valid: of the validation text, lines of its own
 */
#ifndef BL_PLOTS_FIGURES_H
#define BL_PLOTS_FIGURES_H
#include "page.h"
#include "plot.h"

bl_status bl_figure_perplexity(const bl_plot_input *in, bl_page *page, bl_err *e);
bl_status bl_figure_accuracy(const bl_plot_input *in, bl_page *page, bl_err *e);
bl_status bl_figure_pareto(const bl_plot_input *in, bl_page *page, bl_err *e);
bl_status bl_figure_heatmap(const bl_plot_input *in, bl_page *page, bl_err *e);
bl_status bl_figure_flips(const bl_plot_input *in, bl_page *page, bl_err *e);
bl_status bl_figure_layers(const bl_plot_input *in, bl_page *page, bl_err *e);
bl_status bl_figure_probes(const bl_plot_input *in, bl_page *page, bl_err *e);
bl_status bl_figure_kernels(const bl_plot_input *in, bl_page *page, bl_err *e);
bl_status bl_figure_loss(const bl_plot_input *in, bl_page *page, bl_err *e);
#endif
