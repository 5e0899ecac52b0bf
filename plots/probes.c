/* probes.c - how often the answer is the one after the whole chain of thought, against the share of the chain that is
 * kept: a panel for each task and each kind of probe, a curve for each method.
 */
#include "figures.h"
#include "picks.h"
#include "results/probes.h"
#include <math.h>
#include <string.h>

enum { BINS = 10 };
typedef struct probed {
    const bl_cell *cell;
    size_t task, method;
} probed;

static bool of_probes(const bl_cell *c)
{
    const char *end = strstr(c->task, BL_PROBE_TASK);
    bl_probes p;
    if (!end || (end[strlen(BL_PROBE_TASK)] && end[strlen(BL_PROBE_TASK)] != '+')) return false;
    for (int64_t i = 0; i < c->n_samples; i++)
        if (bl_probes_of(&c->sample[i], &p) && p.n > 0) return true;
    return false;
}

/* Place of a name in a list that it joins when it is new. */
static size_t place_of(const char **list, size_t *n, const char *name)
{
    size_t k = 0;
    while (k < *n && strcmp(list[k], name) != 0) k++;
    if (k == *n) list[(*n)++] = name;
    return k;
}

static void put_point(bl_page *page, size_t panel, const probed *x, double kept, double share, int64_t n)
{
    bl_text_addf(&page->csv, "%zu,", panel + 1);
    bl_put_field(&page->csv, x->cell->task);
    bl_text_addf(&page->csv, ",%zu,", x->method + 1);
    bl_put_field(&page->csv, x->cell->method);
    bl_text_add(&page->csv, ",");
    bl_put_number(&page->csv, kept);
    bl_text_add(&page->csv, ",");
    bl_put_number(&page->csv, 100 * share);
    bl_text_addf(&page->csv, ",%lld\n", (long long)n);
    page->n_points++;
}

/* Questions in ten bins of the share that is kept; at 1 nothing is changed. */
static void put_curve(bl_page *page, size_t panel, const probed *x, bl_probe_kind kind)
{
    double kept[BINS] = {0}, same[BINS] = {0};
    int64_t n[BINS] = {0}, questions = 0;

    for (int64_t i = 0; i < x->cell->n_samples; i++) {
        bl_probes p;
        if (!bl_probes_of(&x->cell->sample[i], &p) || p.n == 0) continue;
        questions++;
        for (int k = 0; k < p.n; k++) {
            int bin = BINS * k / p.n;
            if (p.same[kind][k] == BL_PROBE_NONE) continue;
            kept[bin] += (double)k / p.n;
            same[bin] += p.same[kind][k];
            n[bin]++;
        }
    }
    for (int b = 0; b < BINS; b++)
        if (n[b]) put_point(page, panel, x, kept[b] / (double)n[b], same[b] / (double)n[b], n[b]);
    put_point(page, panel, x, 1, 1, questions);
}

bl_status bl_figure_probes(const bl_plot_input *in, bl_page *page, bl_err *e)
{
    static const char *const kinds[BL_PROBE_KINDS] = {"the rest left out", "filler for the rest", "the rest reworded",
                                                      "a mistake comes next"};
    bl_status st = BL_OK;
    bl_arena *a = NULL;
    bl_text about = {0};
    size_t most = in->table ? in->table->n : 0, n = 0, n_tasks = 0, n_methods = 0;
    probed *x;
    const bl_cell **cell;
    const char **task, **method;

    BL_TRY(bl_arena_new(&a, e));
    if (!(x = bl_alloc(a, most, sizeof *x, e)) || !(cell = bl_alloc(a, most, sizeof *cell, e)) ||
        !(task = bl_alloc(a, most, sizeof *task, e)) || !(method = bl_alloc(a, most, sizeof *method, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; in->whole && i < most; i++) {
        const bl_cell *c = in->whole[i];
        bool there = !c || !of_probes(c);
        for (size_t k = 0; k < n && !there; k++)
            there = cell[k] == c || (!strcmp(cell[k]->method, c->method) && !strcmp(cell[k]->task, c->task) &&
                                     !strcmp(cell[k]->model, c->model));
        if (there) continue;
        cell[n] = c;
        x[n++] = (probed){c, place_of(task, &n_tasks, c->task), place_of(method, &n_methods, c->method)};
    }
    if (!n) goto out;
    bl_page_heading(page, "Is the answer the same with a part of the chain?");
    for (size_t k = 0; k < n_methods; k++) BL_TRY(bl_page_legend(page, (int)k + 1, method[k], e));
    bl_about_cells(cell, n, &about);
    BL_TRY(bl_text_check(&about, e));
    bl_page_about(page, about.s ? about.s : "");
    bl_page_note(
        page, "Share of questions with the answer that the whole chain gives. The AOC of a table is the mean of each "
              "question's own area over its curve.");
    page->columns = 2;
    BL_TRY(bl_page_grid(page, n_tasks * BL_PROBE_KINDS, page->text ? 180 : 120, e));
    bl_ruler across = bl_ruler_linear(0, 1, 0, 1), up = bl_ruler_linear(0, 100, 0, 100);
    bl_text_add(&page->csv, "panel,task,style,method,kept,same,n\n");
    for (size_t t = 0; t < n_tasks; t++)
        for (int k = 0; k < BL_PROBE_KINDS; k++) {
            size_t panel = t * BL_PROBE_KINDS + (size_t)k;
            char title[160];
            snprintf(title, sizeof title, "%.100s, %s", task[t], kinds[k]);
            bl_page_panel(page, panel, title, "share of the chain that is kept", "same answer, %");
            bl_page_axis(page, panel, "x", &across);
            bl_page_axis(page, panel, "y", &up);
            for (size_t i = 0; i < n; i++)
                if (x[i].task == t) put_curve(page, panel, &x[i], (bl_probe_kind)k);
        }
    BL_TRY(bl_page_finish(page, e));
    bl_text_addf(&page->script, "n_methods = %zu\n", n_methods);
out:
    bl_text_free(&about);
    bl_arena_free(a);
    return st;
}
