/* picks.h - the rows of a table that stand for their cells in a figure, sorted into panels (tasks) and families
 * (methods but for their bits).
 *
 * Rows that differ in model, task, version, items or seed are never in one panel.
 */
#ifndef BL_PLOTS_PICKS_H
#define BL_PLOTS_PICKS_H
#include "page.h"
#include "plot.h"

typedef struct bl_pick {
    const bl_row *row;
    const bl_cell *whole; /* NULL: not read */
    size_t panel, family; /* of a base: no family */
    bool is_base;
    const bl_paired *d; /* this against the base, judged together with all that tables show; NULL: not compared */
} bl_pick;
typedef struct bl_pick_panel {
    const char *name; /* "piqa acc", and what sets it apart */
    const char *task; /* the same without the metric */
    const bl_row *first;
    double chance; /* of guessing, as the metric is stored; NAN: no choices */
    int64_t n_least, n_most;
} bl_pick_panel;
typedef struct bl_picks {
    bl_pick *v;
    size_t n;
    bl_pick_panel *panel;
    size_t n_panels;
    const char **family;
    size_t n_families;
    size_t n_compared, n_judged, not_finite; /* n_judged: over how many rows of the table Holm's correction is */
} bl_picks;

typedef enum bl_pick_what { BL_PICK_SHARES = 1, BL_PICK_PERPLEXITY = 2, BL_PICK_ALL = 3 } bl_pick_what;
/* In the arena; sorted by panel, family, bits. */
bl_status bl_picks_of(const bl_plot_input *in, bl_pick_what what, bl_arena *a, bl_picks *out, bl_err *e);
/* "piqa acc, n = 1838". */
void bl_pick_title(const bl_pick_panel *p, bl_text *out);
/* What a cell's number of threads counts: "thread", on a GPU "multiprocessor". */
const char *bl_threads_name(const bl_cell *c);
/* Model, how it was stored, machine, date, commit: the line below a heading. `whole` [n], NULL are left out. */
void bl_about_cells(const bl_cell *const *whole, size_t n, bl_text *out);
void bl_about_picks(const bl_picks *p, bl_page *page);
/* "filled: differs from base (paired test, Holm over 12, p < 0.05)"; nothing when nothing was compared. */
void bl_note_compared(const bl_picks *p, bl_page *page);
#endif
