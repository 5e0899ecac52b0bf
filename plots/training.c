/* training.c - what happened over the steps of training: loss, learning rate and norm of the gradient, three panels for
 * the runs that began with one model and were trained on the same texts. Only their losses compare.
 */
#include "figures.h"
#include "picks.h"
#include <math.h>
#include <string.h>

enum { POINTS = 800, PARTS = 40 }; /* points of a curve at most; a mean is over a PARTSth of the longest run */

typedef struct place {
    const bl_curve *c;
    size_t group;
} place;

static bool same(const char *a, const char *b) { return !strcmp(a, b); }
static bool one_group(const bl_curve *a, const bl_curve *b)
{
    return !a->block == !b->block && same(a->model, b->model) && same(a->stored_as, b->stored_as) &&
           (*a->data_hash ? same(a->data_hash, b->data_hash) : same(a->data, b->data));
}

static const double *series_of(const bl_curve *c, int which)
{
    return which == 0 ? c->loss : which == 1 ? c->lr : c->grad_norm;
}

/* Mean of v over from .. to - 1, what is no number left out; NAN: there is none. */
static double mean_of(const double *v, int64_t n, int64_t from, int64_t to)
{
    double sum = 0;
    int64_t count = 0;
    for (int64_t i = BL_MAX(from, 0); i < BL_MIN(to, n); i++)
        if (isfinite(v[i])) {
            sum += v[i];
            count++;
        }
    return count ? sum / (double)count : NAN;
}

static void put_real(bl_text *csv, double v)
{
    bl_text_add(csv, ",");
    if (isfinite(v)) bl_put_number(csv, v);
    else bl_text_add(csv, "NA");
}

/* The points of one run in one panel; lo and hi are widened by what is drawn. */
static void put_run(bl_page *page, size_t panel, size_t run, const bl_curve *c, int which, int64_t each, int64_t window,
                    double *lo, double *hi)
{
    const double *v = series_of(c, which);
    for (int64_t i = 0; i < c->n; i += each) {
        int64_t middle = BL_MIN(i + each / 2, c->n - 1);
        double value = mean_of(v, c->n, i, i + each),
               mean = mean_of(v, c->n, middle - window / 2, middle - window / 2 + window);
        bl_text_addf(&page->csv, "%zu,", panel + 1);
        bl_put_field(&page->csv, c->name);
        bl_text_addf(&page->csv, ",%zu,%lld", run + 1, (long long)middle + 1);
        put_real(&page->csv, value);
        put_real(&page->csv, mean);
        bl_text_add(&page->csv, ",NA\n");
        if (isfinite(value)) {
            *lo = fmin(*lo, value);
            *hi = fmax(*hi, value);
            page->n_points++;
        }
    }
}

/* What a validation text lost, at the steps after which it was asked. */
static void put_valid(bl_page *page, size_t panel, size_t run, const bl_curve *c, double *lo, double *hi)
{
    for (int64_t i = 0; i < c->n_valid; i++) {
        if (!isfinite(c->valid[i])) continue;
        bl_text_addf(&page->csv, "%zu,", panel + 1);
        bl_put_field(&page->csv, c->name);
        bl_text_addf(&page->csv, ",%zu,%.0f,NA,NA", run + 1, c->valid_step[i]);
        put_real(&page->csv, c->valid[i]);
        bl_text_add(&page->csv, "\n");
        *lo = fmin(*lo, c->valid[i]);
        *hi = fmax(*hi, c->valid[i]);
    }
}

static void put_panel(bl_page *page, size_t panel, const place *p, size_t n, size_t group, bool one, int which,
                      int64_t each, int64_t window)
{
    static const char *const name[] = {"loss, nat per token", "learning rate", "norm of the gradient"};
    double lo = INFINITY, hi = -INFINITY;
    int64_t steps = 0;
    bool alone = true; /* no other group was trained on that */
    char title[400];
    const bl_curve *first = NULL;

    for (size_t i = 0; i < n; i++) {
        if (p[i].group != group) continue;
        if (!first) first = p[i].c;
        steps = BL_MAX(steps, p[i].c->n);
        put_run(page, panel, i, p[i].c, which, each, which == 1 ? 1 : window, &lo, &hi);
        if (!which) put_valid(page, panel, i, p[i].c, &lo, &hi);
    }
    for (size_t i = 0; i < n; i++) alone = alone && (p[i].group == group || !same(p[i].c->data, first->data));
    snprintf(title, sizeof title, "%.160s",
             which                   ? name[which]
             : one                   ? "loss"
             : alone && *first->data ? first->data
                                     : first->model);
    bl_page_panel(page, panel, title, "step",
                  !which && first->block ? "mean squared difference of a block" : name[which]);
    if (which == 1 && lo > 0) lo = 0; /* a rate that stays is a level, not a slope */
    bl_ruler x = bl_ruler_count((double)BL_MAX(steps, 3) + 1),
             y = !(lo <= hi)                           ? bl_ruler_linear(0, 1, 0, INFINITY)
                 : lo > 0 && hi > 8 * lo && which != 1 ? bl_ruler_log(lo, hi)
                                                       : bl_ruler_linear(lo, hi, lo >= 0 ? 0 : -INFINITY, INFINITY);
    bl_page_axis(page, panel, "x", &x);
    bl_page_axis(page, panel, "y", &y);
}

/* What tells runs apart: their methods, or where two have one method the files too. */
static bl_status put_legend(bl_page *page, const place *p, size_t n, bl_err *e)
{
    bl_status st = BL_OK;
    bool told = true;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++) told = told && !same(p[i].c->method, p[k].c->method);
    for (size_t i = 0; i < n; i++) {
        const bl_curve *c = p[i].c;
        char text[400], number[32];
        bl_figure_number(mean_of(c->loss, c->n, c->n - 1, c->n), 4, number);
        const char *name = told ? "" : c->name;
        int k = snprintf(text, sizeof text, "%.100s%s%.160s, last loss %s", name, *name ? ": " : "", c->method, number);
        if (c->n_valid) {
            bl_figure_number(c->valid[c->n_valid - 1], 4, number);
            snprintf(text + k, sizeof text - (size_t)k, ", validation %s", number);
        }
        BL_TRY(bl_page_legend(page, (int)i + 1, text, e));
    }
out:
    return st;
}

static bl_status put_about(bl_page *page, const place *p, size_t n, bl_arena *a, bl_err *e)
{
    bl_text about = {0};
    bool same_data = true;
    bl_cell *cell = bl_alloc(a, n, sizeof *cell, e);
    const bl_cell **list = bl_alloc(a, n, sizeof *list, e);
    if (!cell || !list) return BL_E_NOMEM;
    for (size_t i = 0; i < n; i++) {
        const bl_curve *c = p[i].c;
        cell[i] = (bl_cell){.model = c->model,
                            .stored_as = c->stored_as,
                            .device = c->device,
                            .numerics = c->numerics,
                            .threads = *c->numerics ? c->threads : 0, /* else of what is not known */
                            .created = c->created,
                            .commit = c->commit};
        list[i] = &cell[i];
    }
    bl_about_cells(list, n, &about);
    for (size_t i = 0; i < n; i++) same_data = same_data && same(p[i].c->data, p[0].c->data);
    if (same_data && *p[0].c->data) bl_text_addf(&about, " · trained on %s", p[0].c->data);
    bl_page_about(page, about.s ? about.s : "");
    bl_status st = bl_text_check(&about, e);
    bl_text_free(&about);
    return st;
}

bl_status bl_figure_loss(const bl_plot_input *in, bl_page *page, bl_err *e)
{
    bl_status st = BL_OK;
    bl_arena *a = NULL;
    size_t n = 0, n_groups = 0, at = 0;
    int64_t most = 0;
    char note[200];
    bool valid = false;

    BL_TRY(bl_arena_new(&a, e));
    place *p = bl_alloc(a, in->n_curves, sizeof *p, e);
    if (!p) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < in->n_curves; i++) {
        const bl_curve *c = &in->curve[i];
        size_t group = n_groups;
        if (!isfinite(mean_of(c->loss, c->n, 0, c->n))) continue;
        for (size_t k = n; k-- > 0;)
            if (one_group(c, p[k].c)) group = p[k].group;
        n_groups += group == n_groups;
        p[n++] = (place){c, group};
        most = BL_MAX(most, c->n);
    }
    if (!n) goto out;
    int64_t each = (most + POINTS - 1) / POINTS, window = BL_MAX(1, most / PARTS);
    bl_page_heading(page, "Training");
    BL_TRY(put_legend(page, p, n, e));
    BL_TRY(put_about(page, p, n, a, e));
    if (window > 1) {
        snprintf(note, sizeof note, "%sean over %lld steps.", page->text ? "M" : "Thick: m", (long long)window);
        bl_page_note(page, note);
        if (each > 1) snprintf(note, sizeof note, "Thin: mean over %lld steps.", (long long)each);
        else snprintf(note, sizeof note, "Thin: a step.");
        if (!page->text) bl_page_note(page, note);
    }
    for (size_t i = 0; i < n && !valid; i++) valid = p[i].c->n_valid > 0;
    if (valid) bl_page_note(page, "Marks: the loss of a validation text.");
    bl_page_note(page, "Loss: of the texts that the step is trained on, before it; gradients before they are clipped.");
    page->columns = 3;
    BL_TRY(bl_page_grid(page, 3 * n_groups, page->text ? 180 : 130, e));
    bl_text_add(&page->csv, "panel,run,style,step,value,mean,valid\n");
    for (size_t g = 0; g < n_groups; g++)
        for (int which = 0; which < 3; which++) put_panel(page, at++, p, n, g, n_groups == 1, which, each, window);
    BL_TRY(bl_page_finish(page, e));
    bl_text_addf(&page->script, "n_runs = %zu\n", n);
out:
    bl_arena_free(a);
    return st;
}
