/* against.c - what was lost against the base: a map of methods and tasks, and the items that changed sides. */
#include "figures.h"
#include "picks.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int shade(double from, double to, double part) { return (int)lround(from + (to - from) * part); }

/* White to vermilion for what is lost, white to blue for what is gained; part 0..1. */
static int color_of(double part, bool lost)
{
    static const int end[2][3] = {{0x00, 0x72, 0xb2}, {0xd5, 0x5e, 0x00}};
    int c = 0;
    for (int k = 0; k < 3; k++) c = c << 8 | shade(255, end[lost][k], part);
    return c;
}

/* How much of what there was is lost, 0..1: of the base's share above chance; of a doubling of the perplexity. */
static double part_of(const bl_pick *k, double chance)
{
    double all = k->d->percent ? fmax(k->d->a - (isfinite(chance) ? chance : 0), 0.05)
                 : k->d->log   ? log(2)
                               : fabs(k->d->a);
    double part = all > 0 ? fabs(k->d->delta) / all : 1;
    return sqrt(fmin(part, 1));
}

static void put_delta(const bl_pick *k, bool with_error, char out[64])
{
    char number[32], error[32] = "";
    if (k->d->log) {
        double ratio = exp(fmin(k->d->delta, 600));
        if (ratio < 100) snprintf(number, sizeof number, "%.2f", ratio);
        else bl_figure_number(ratio, 2, number);
        if (with_error) bl_figure_number(ratio * k->d->se, 1, error);
        snprintf(out, 64, "×%s%s%s", number, with_error ? " ±" : "", error);
        return;
    }
    double scale = k->d->percent ? 100 : 1;
    snprintf(number, sizeof number, "%.1f", fabs(scale * k->d->delta));
    snprintf(error, sizeof error, "%.1f", scale * k->d->se);
    snprintf(out, 64, "%s%s%s%s",
             !strcmp(number, "0.0") ? ""
             : k->d->delta < 0      ? "−"
                                    : "+",
             number, with_error ? " ±" : "", with_error ? error : "");
}

static const char *verdict_of(const bl_pick *k) { return bl_verdict_name(k->d->verdict); }

/* Rows of a map: methods, the most bits first. */
typedef struct line_of {
    const char *method;
    double bits;
} line_of;

static int by_bits(const void *x, const void *y)
{
    const line_of *a = x, *b = y;
    if (a->bits != b->bits) return a->bits > b->bits ? -1 : 1;
    return strcmp(a->method, b->method);
}

static size_t lines(const bl_picks *p, size_t panel, bool all, line_of *out)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        size_t k = 0;
        if (!p->v[i].d || (!all && p->v[i].panel != panel)) continue;
        while (k < n && strcmp(out[k].method, p->v[i].row->cell->method) != 0) k++;
        if (k == n) out[n++] = (line_of){p->v[i].row->cell->method, p->v[i].row->cell->bits_per_weight};
    }
    if (n) qsort(out, n, sizeof *out, by_bits);
    return n;
}

static size_t line_at(const line_of *l, size_t n, const char *method)
{
    size_t k = 0;
    while (k + 1 < n && strcmp(l[k].method, method) != 0) k++;
    return k;
}

/* Line i of n, and the range of an axis on which it is i. Characters cannot be halved: there a line is a whole step
 * from the edges. */
static double line_y(const bl_page *page, const bl_box *b, size_t n, size_t i)
{
    return page->text ? b->top - 10 * (double)(i + 1) : b->top - ((double)i + 0.5) * (b->top - b->bottom) / (double)n;
}
static double lines_high(const bl_page *page, size_t n, double each)
{
    return page->text ? 10 * (double)(n + 1) : each * (double)n;
}
static void set_lines(bl_page *page, size_t panel, size_t n)
{
    double edge = page->text ? 1 : 0.5;
    bl_text_addf(bl_page_script(page, panel), "set yrange [%g:%g]; ", (double)n - 1 + edge, -edge);
}

/* Names down the left side, each in the middle of its line. */
static void name_lines(bl_page *page, size_t panel, const line_of *l, size_t n, bool with_bits)
{
    const bl_box *b = &page->box[panel];
    char name[200];
    for (size_t i = 0; i < n; i++) {
        bl_page_fit(page, l[i].method, bl_page_small(page), page->left - (with_bits ? 32 : 10), name);
        if (with_bits) snprintf(name + strlen(name), sizeof name - strlen(name), "  %.2f", l[i].bits);
        bl_page_label(page, panel, name, b->left - 4, line_y(page, b, n, i), (bl_mark_at){.align = 'r'});
    }
}

static double widest(const bl_page *page, const line_of *l, size_t n, double most)
{
    double wide = 0;
    for (size_t i = 0; i < n; i++) wide = fmax(wide, bl_page_width(page, l[i].method, bl_page_small(page)));
    return fmin(wide, most) + 12;
}

/* ---- the map ------------------------------------------------------------------------------------ */
static bl_status map(const bl_picks *p, const size_t *column, size_t n_columns, const line_of *l, size_t n_lines,
                     bl_page *page, bl_err *e)
{
    double small = bl_page_small(page), each, widest_name = 0;
    bl_status st = BL_OK;
    char name[160], number[32];

    page->left = widest(page, l, n_lines, 190) + 24;
    page->bottom = 6;
    each = (518 - page->left - 8) / (double)n_columns;
    for (size_t k = 0; k < p->n_panels; k++)
        if (column[k]) widest_name = fmax(widest_name, bl_page_width(page, p->panel[k].task, small));
    /* Names that are wider than their columns stand aslant, with the metric; the last one needs room on the right. */
    bool slanted = (widest_name > each - 4 || each < 70) && !page->text;
    if (slanted) {
        widest_name = 0;
        for (size_t k = 0; k < p->n_panels; k++)
            if (column[k]) widest_name = fmax(widest_name, bl_page_width(page, p->panel[k].name, small));
        widest_name = fmin(widest_name, 170);
        page->right = fmax(0, widest_name * 0.82 - each / 2);
    }
    if (!page->text) { /* columns are as wide as what stands in them */
        const double room = 518 - page->left - page->right - 8,
                     wanted = bl_page_width(page, "-100.0 \u25bc", small) + 4;
        page->wider = fmax(0, wanted * (double)n_columns - room);
    }
    page->above = page->text ? 20 : slanted ? widest_name * 0.6 + 12 : 14;
    BL_TRY(bl_page_grid(page, 1, lines_high(page, n_lines, 13), e));
    bl_box *b = &page->box[0];
    each = fmin((b->right - b->left) / (double)n_columns, 130);
    b->right = b->left + each * (double)n_columns;
    bl_page_panel(page, 0, "", "", "");
    bl_text_addf(bl_page_script(page, 0), "set xrange [-0.5:%g]; ", (double)n_columns - 0.5);
    set_lines(page, 0, n_lines);
    name_lines(page, 0, l, n_lines, true);
    for (size_t k = 0; k < p->n_panels; k++) {
        if (!column[k]) continue;
        double x = b->left + each * ((double)column[k] - 0.5);
        double base = 0;
        for (size_t i = 0; i < p->n; i++)
            if (p->v[i].panel == k && p->v[i].d) base = p->v[i].d->percent ? 100 * p->v[i].d->a : p->v[i].d->a;
        bl_figure_number(base, 3, number);
        const char *percent = p->panel[k].first->percent ? " %" : "";
        if (slanted) snprintf(name, sizeof name, "%s%s", number, percent);
        else snprintf(name, sizeof name, "%.60s, base %s%s", p->panel[k].first->metric, number, percent);
        bl_page_label(page, 0, name, x, b->top + 6, (bl_mark_at){.align = 'c', .color = "#777777", .size = 5.5});
        if (slanted) bl_page_fit(page, p->panel[k].name, small, 170, name);
        else bl_page_fit(page, p->panel[k].task, small, page->text ? each - 5 : each, name);
        bl_page_label(page, 0, name, slanted ? x - 4 : x, b->top + (page->text ? 16 : 15),
                      (bl_mark_at){.align = slanted ? 'l' : 'c', .angle = slanted ? 35 : 0});
    }
    bl_text_add(&page->csv, "panel,task,method,x,y,value,delta,stderr,low,high,p,p_holm,verdict,color,ink,text\n");
    for (size_t i = 0; i < p->n; i++) {
        const bl_pick *k = &p->v[i];
        char text[64];
        if (!k->d) continue;
        bool decided = k->d->verdict != BL_UNDECIDED;
        double part = decided ? part_of(k, p->panel[k->panel].chance) : 0;
        put_delta(k, false, text);
        if (decided) snprintf(text + strlen(text), sizeof text - strlen(text), " %s", bl_verdict_mark(k->d->verdict));
        bl_text_add(&page->csv, "1,");
        bl_put_field(&page->csv, p->panel[k->panel].name);
        bl_text_add(&page->csv, ",");
        bl_put_field(&page->csv, k->row->cell->method);
        bl_text_addf(&page->csv, ",%zu,%zu", column[k->panel] - 1, line_at(l, n_lines, k->row->cell->method));
        const double real[] = {k->row->value, k->d->delta, k->d->se, k->d->low, k->d->high, k->d->p, k->d->p_holm};
        for (size_t r = 0; r < BL_COUNT(real); r++) {
            bl_text_add(&page->csv, ",");
            bl_put_number(&page->csv, real[r]);
        }
        bl_text_addf(&page->csv, ",%s,%d,%d,", verdict_of(k),
                     decided ? color_of(0.15 + 0.85 * part, k->d->verdict == BL_WORSE) : 0xf4f4f4,
                     !decided     ? 0x777777
                     : part > 0.7 ? 0xffffff
                                  : 0x111111);
        bl_put_field(&page->csv, text);
        bl_text_add(&page->csv, "\n");
    }
out:
    return st;
}

bl_status bl_figure_heatmap(const bl_plot_input *in, bl_page *page, bl_err *e)
{
    bl_status st = BL_OK;
    bl_arena *a = NULL;
    bl_picks p;
    size_t n_columns = 0;
    char note[200];

    BL_TRY(bl_arena_new(&a, e));
    BL_TRY(bl_picks_of(in, BL_PICK_ALL, a, &p, e));
    if (!(page->n_points = p.n_compared)) goto out;
    line_of *l = bl_alloc(a, p.n, sizeof *l, e);
    size_t *column = bl_alloc(a, p.n_panels, sizeof *column, e); /* 1-based; 0: nothing of it was compared */
    if (!l || !column) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < p.n; i++)
        if (p.v[i].d && !column[p.v[i].panel]) column[p.v[i].panel] = ++n_columns;
    size_t n_lines = lines(&p, 0, true, l);
    bl_page_heading(page, "What is lost against the base");
    bl_about_picks(&p, page);
    snprintf(note, sizeof note,
             "Difference in points of percent; × quotient of perplexities. %s worse, %s better (paired by item, p < "
             "%g, Holm over %zu); "
             "grey: undecided.",
             bl_verdict_mark(BL_WORSE), bl_verdict_mark(BL_BETTER), BL_LEVEL, p.n_judged);
    bl_page_note(page, note);
    bl_page_note(page, "Colour: the part that is lost of what the base has above chance, or of a doubled perplexity.");
    bl_page_note(page, "Below the name of a task: the base.");
    BL_TRY(map(&p, column, n_columns, l, n_lines, page, e));
    BL_TRY(bl_page_finish(page, e));
out:
    bl_arena_free(a);
    return st;
}

/* ---- items that changed sides ------------------------------------------------------------------- */
static bool has_sides(const bl_pick *k) { return k->d && k->d->lost >= 0; }

static bl_status sides(const bl_picks *p, size_t panel, size_t at, const line_of *l, size_t n, bl_page *page, bl_err *e)
{
    double most_lost = 0, most_gained = 0;
    bl_status st = BL_OK;
    bl_text title = {0};

    for (size_t i = 0; i < p->n; i++) {
        const bl_pick *k = &p->v[i];
        if (k->panel != panel || !has_sides(k)) continue;
        most_lost = fmax(most_lost, (double)k->d->lost);
        most_gained = fmax(most_gained, (double)k->d->gained);
    }
    page->box[at].bottom = page->box[at].top - lines_high(page, n, 11); /* lines are as high everywhere */
    bl_ruler x = bl_ruler_linear(-fmax(most_lost, 1), fmax(most_gained, 1), -INFINITY, INFINITY);
    for (int i = 0; i < x.n; i++) /* both directions are counts */
        if (x.tick[i].label[0] == '-') memmove(x.tick[i].label, x.tick[i].label + 1, strlen(x.tick[i].label));
    bl_pick_title(&p->panel[panel], &title);
    bl_page_panel(page, at, title.s ? title.s : "", "items lost and gained", "");
    st = bl_text_check(&title, e);
    bl_text_free(&title);
    if (st != BL_OK) return st;
    bl_page_axis(page, at, "x", &x);
    const bl_box *b = &page->box[at];
    bl_text_add(bl_page_script(page, at), "unset ytics; ");
    set_lines(page, at, n);
    double zero = b->left + bl_ruler_at(&x, 0) * (b->right - b->left);
    bl_page_line(page, at, (bl_box){zero, zero, b->bottom, b->top}, "linestyle 126");
    name_lines(page, at, l, n, false);
    for (size_t i = 0; i < p->n; i++) {
        const bl_pick *k = &p->v[i];
        char text[64], prob[24];
        if (k->panel != panel || !has_sides(k)) continue;
        size_t y = line_at(l, n, k->row->cell->method);
        bl_p_text(k->d->p_holm, prob);
        snprintf(text, sizeof text, "%lld : %lld  p %s%s %s", (long long)k->d->lost, (long long)k->d->gained,
                 prob[0] == '<' ? "" : "= ", prob, bl_verdict_mark(k->d->verdict));
        bl_page_label(page, at, text, b->right + 4, line_y(page, b, n, y),
                      (bl_mark_at){.color = k->d->verdict == BL_UNDECIDED ? "#777777" : "#111111"});
        bl_text_addf(&page->csv, "%zu,", at + 1);
        bl_put_field(&page->csv, p->panel[panel].name);
        bl_text_add(&page->csv, ",");
        bl_put_field(&page->csv, k->row->cell->method);
        bl_text_addf(&page->csv, ",%zu,%lld,%lld,%lld,", y, (long long)k->d->lost, (long long)k->d->gained,
                     (long long)k->d->n);
        bl_put_number(&page->csv, k->d->p);
        bl_text_addf(&page->csv, ",%s\n", verdict_of(k));
    }
    return BL_OK;
}

bl_status bl_figure_flips(const bl_plot_input *in, bl_page *page, bl_err *e)
{
    bl_status st = BL_OK;
    bl_arena *a = NULL;
    bl_picks p;
    size_t n_panels = 0, n_lines = 0, at = 0;
    char note[200];

    BL_TRY(bl_arena_new(&a, e));
    BL_TRY(bl_picks_of(in, BL_PICK_SHARES, a, &p, e));
    for (size_t i = 0; i < p.n; i++) page->n_points += has_sides(&p.v[i]);
    if (!page->n_points) goto out;
    line_of *l = bl_alloc(a, p.n, sizeof *l, e);
    bool *there = bl_alloc(a, p.n_panels, sizeof *there, e);
    if (!l || !there) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < p.n; i++)
        if (has_sides(&p.v[i]) && !there[p.v[i].panel]) {
            there[p.v[i].panel] = true;
            n_panels++;
            n_lines = BL_MAX(n_lines, lines(&p, p.v[i].panel, false, l));
        }
    bl_page_heading(page, "Items that changed sides");
    BL_TRY(bl_page_legend(page, 127, "lost: right in the base, wrong here", e));
    BL_TRY(bl_page_legend(page, 128, "gained", e));
    bl_about_picks(&p, page);
    snprintf(note, sizeof note, "lost : gained, p of the exact test of McNemar, Holm over %zu; %s worse, %s better.",
             p.n_judged, bl_verdict_mark(BL_WORSE), bl_verdict_mark(BL_BETTER));
    bl_page_note(page, note);
    size_t all = lines(&p, 0, true, l);
    page->left = widest(page, l, all, n_panels > 1 ? 88 : 190);
    page->right = page->text ? 120 : 84;
    page->columns = n_panels > 1 ? 2 : 1;
    BL_TRY(bl_page_grid(page, n_panels, fmax(lines_high(page, n_lines, 11), 24), e));
    bl_text_add(&page->csv, "panel,task,method,y,lost,gained,n,p,verdict\n");
    for (size_t k = 0; k < p.n_panels; k++)
        if (there[k]) BL_TRY(sides(&p, k, at++, l, lines(&p, k, false, l), page, e));
    BL_TRY(bl_page_finish(page, e));
out:
    bl_arena_free(a);
    return st;
}
