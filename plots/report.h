/* report.h - one page about a directory of results, whole in itself: no script, font or picture from elsewhere.
 *
 *     BL_TRY(bl_report_write(&(bl_report){.in = &in, .dir = "runs/a"}, &html, e));
 *
 * The question comes first: which rows are worse than the base, by how much, and how sure that is. Then tables, figures
 * (svg, drawn by gnuplot when it is there), the items that most rows lost, conventions, environment, and how to make it
 * again. Every text from results is escaped.
 */
#ifndef BL_PLOTS_REPORT_H
#define BL_PLOTS_REPORT_H
#include "plot.h"

/* What an item of a task asks, as its task tells it. */
typedef struct bl_report_item {
    const char *question;      /* NULL: not known, `why` says so */
    const char *const *choice; /* [n_choices] */
    int n_choices;
    const char *gold; /* where there are no choices; NULL: not known */
    const char *why;
} bl_report_item;

typedef struct bl_report {
    const bl_plot_input *in; /* the table compared with the base, the cells behind it */
    const char *dir;         /* as it is called on the command line */
    /* Item `id` of the task of a cell, in the arena; NULL: items are only counted. */
    bl_status (*item)(void *ctx, const bl_cell *c, int64_t id, bl_arena *a, bl_report_item *out, bl_err *e);
    void *ctx;
} bl_report;
bl_status bl_report_write(const bl_report *r, bl_text *html, bl_err *e);

/* Text of HTML: what could be markup is written as its name. */
void bl_html_text(bl_text *out, const char *s);
/* Tables and lines of markdown, as `bl_table_print` makes them, as HTML. */
void bl_html_of_markdown(bl_text *out, const char *markdown);
/* A picture of gnuplot as a part of a page: ids of its own, no head. False: it is no svg. */
bool bl_html_of_svg(bl_text *out, const char *svg, const char *prefix, const char *label);
#endif
