/* data.h - what figures are drawn from: comma-separated values with a line of names, one point a line.
 *
 *     Cells     panel series kind label bits value stderr n front
 *               one point a cell; kind is base or method; front is 1 where no other point of the panel has fewer bits
 *               and a better value
 *     Kernels   panel series kind label bits value gflops gbs seconds nmse
 *               kind is point (one shape) or median (over shapes); value is the time of OpenBLAS fp32 over the time of
 *               the kernel
 *
 * Lines of one series stand together, in the order in which a curve runs. Cells that differ in model, task, version,
 * limit, seed or anything of the method but its bits are never in one series. What is missing is NA.
 */
#ifndef BL_PLOTS_DATA_H
#define BL_PLOTS_DATA_H
#include "plot.h"

bl_status bl_data_perplexity(const bl_plot_input *in, bl_text *csv, size_t *n_points, bl_err *e);
bl_status bl_data_accuracy(const bl_plot_input *in, bl_text *csv, size_t *n_points, bl_err *e);
bl_status bl_data_kernels(const bl_plot_input *in, bl_text *csv, size_t *n_points, bl_err *e);
#endif
