/* curves.c - a number of each task against honest bits per weight: a curve for each family of methods, and the front
 * that no method beats in both.
 */
#include "figures.h"
#include "picks.h"
#include <math.h>
#include <string.h>

/* A perplexity this many times the least of its panel is of a model that is of no use: its place is the edge. */
#define USELESS 12.0
#define BITS    "Bits include scales and zeros."

/* ---- what both figures share -------------------------------------------------------------------- */
typedef struct curve {
    const bl_pick *k;
    double x, front; /* x: drawn */
    bool off;
} curve;

static double shown(const bl_pick *k, double v) { return k->row->percent ? 100 * v : v; }
static double value_of(const bl_pick *k) { return shown(k, k->row->value); }
static double error_of(const bl_pick *k) { return k->row->has_stderr ? shown(k, k->row->stderr_) : 0; }

static void put_csv_names(bl_text *csv)
{
    bl_text_add(csv, "panel,task,style,family,kind,method,bits,x,value,stderr,n,differs,front\n");
}

static void put_csv(bl_text *csv, const bl_picks *p, const curve *c, bool with_front)
{
    const bl_pick *k = c->k;

    bl_text_addf(csv, "%zu,", k->panel + 1);
    bl_put_field(csv, p->panel[k->panel].name);
    bl_text_addf(csv, ",%zu,", k->is_base ? 0 : k->family + 1);
    bl_put_field(csv, k->is_base ? "base" : p->family[k->family]);
    bl_text_addf(csv, ",%s,", c->off ? "off" : k->is_base ? "base" : "method");
    bl_put_field(csv, k->row->cell->method);
    bl_text_add(csv, ",");
    bl_put_number(csv, k->row->cell->bits_per_weight);
    bl_text_add(csv, ",");
    bl_put_number(csv, c->x);
    bl_text_add(csv, ",");
    bl_put_number(csv, value_of(k));
    if (k->row->has_stderr) {
        bl_text_add(csv, ",");
        bl_put_number(csv, error_of(k));
    } else bl_text_add(csv, ",NA");
    bl_text_addf(csv, ",%lld,%s,", (long long)k->row->n, !k->d ? "NA" : k->d->verdict == BL_UNDECIDED ? "0" : "1");
    if (with_front) bl_text_addf(csv, "%g\n", c->front);
    else bl_text_add(csv, "NA\n");
}

typedef struct range {
    double lo, hi;
} range;
static void widen(range *r, double v)
{
    if (!isfinite(v)) return;
    r->lo = fmin(r->lo, v);
    r->hi = fmax(r->hi, v);
}
static const range nothing = {INFINITY, -INFINITY};

static bl_ruler bits_of(const bl_picks *p, const bl_page *page)
{
    range r = nothing;
    const bl_box *b = &page->box[0];
    for (size_t i = 0; i < p->n; i++) widen(&r, p->v[i].row->cell->bits_per_weight);
    return bl_ruler_bits(r.lo, r.hi, b->right - b->left, 2.6 * bl_page_letter(page));
}

/* Range of a panel's values, error bars included; marks what is beyond the edge. */
static bl_ruler values_of(const bl_picks *p, size_t panel, curve *c)
{
    range r = nothing, bars = nothing;
    bool percent = p->panel[panel].first->percent;

    for (size_t i = 0; i < p->n; i++)
        if (p->v[i].panel == panel) widen(&r, value_of(&p->v[i]));
    double edge = percent || r.hi <= r.lo * USELESS * 2 ? INFINITY : r.lo * USELESS;
    for (size_t i = 0; i < p->n; i++) {
        const bl_pick *k = &p->v[i];
        if (k->panel != panel) continue;
        if ((c[i].off = value_of(k) > edge)) continue;
        widen(&bars, value_of(k));
        widen(&bars, fmin(value_of(k) + error_of(k), edge));
        if (percent || value_of(k) > error_of(k)) widen(&bars, value_of(k) - error_of(k));
    }
    if (percent && isfinite(p->panel[panel].chance)) widen(&bars, 100 * p->panel[panel].chance);
    if (percent) return bl_ruler_linear(bars.lo, bars.hi, 0, 100);
    if (isfinite(edge)) bars.hi = edge;
    return bl_ruler_log(bars.lo, bars.hi);
}

static double place_x(const bl_page *page, size_t panel, const bl_ruler *x, double v)
{
    const bl_box *b = &page->box[panel];
    return b->left + bl_ruler_at(x, v) * (b->right - b->left);
}
static double place_y(const bl_page *page, size_t panel, const bl_ruler *y, double v)
{
    const bl_box *b = &page->box[panel];
    return b->bottom + bl_ruler_at(y, v) * (b->top - b->bottom);
}

/* What words must not cover: points, their error bars, and the lines from point to point. */
static bl_status take_points(bl_page *page, const bl_picks *p, const curve *c, size_t panel, const bl_ruler *x,
                             const bl_ruler *y, bool joined, bl_err *e)
{
    bl_status st = BL_OK;
    const curve *last = NULL;

    for (size_t i = 0; i < p->n; i++) {
        const bl_pick *k = &p->v[i];
        if (k->panel != panel) continue;
        double px = place_x(page, panel, x, c[i].x), py = place_y(page, panel, y, fmin(value_of(k), y->hi));
        BL_TRY(bl_page_take(page, (bl_box){px - 3.2, px + 3.2, py - 3.2, py + 3.2}, e));
        if (k->row->has_stderr && !c[i].off) {
            double up = place_y(page, panel, y, fmin(value_of(k) + error_of(k), y->hi)),
                   low = place_y(page, panel, y, fmax(value_of(k) - error_of(k), y->lo));
            BL_TRY(bl_page_take(page, (bl_box){px - 1, px + 1, low, up}, e));
        }
        if (joined && last && !k->is_base && last->k->family == k->family) {
            double lx = place_x(page, panel, x, last->x), ly = place_y(page, panel, y, value_of(last->k)),
                   end = place_y(page, panel, y, value_of(k));
            for (int s = 1; s < 40; s++) {
                double ax = lx + (px - lx) * s / 40, ay = ly + (end - ly) * s / 40;
                if (ay > page->box[panel].top) continue;
                BL_TRY(bl_page_take(page, (bl_box){ax - 2, ax + 2, ay - 2, ay + 2}, e));
            }
        }
        last = k->is_base ? NULL : &c[i];
    }
out:
    return st;
}

static const char *unit_of(const bl_pick_panel *p, char buf[128])
{
    if (p->first->percent) snprintf(buf, 128, "%.90s, %%", p->first->metric);
    else snprintf(buf, 128, "%.90s", p->first->metric);
    return buf;
}

/* Number of what is beyond the edge, beside its arrow. */
static bl_status name_the_far(bl_page *page, const bl_picks *p, const curve *c, size_t panel, const bl_ruler *x,
                              bool with_method, bl_err *e)
{
    bl_err none = {0};
    for (size_t i = 0; i < p->n; i++) {
        char number[32], word[160], arrow[96];
        if (p->v[i].panel != panel || !c[i].off) continue;
        double at = place_x(page, panel, x, c[i].x), top = page->box[panel].top;
        bl_figure_number(value_of(&p->v[i]), 2, number);
        snprintf(word, sizeof word, "%.100s%s%s", with_method ? p->v[i].row->cell->method : "", with_method ? " " : "",
                 number);
        snprintf(arrow, sizeof arrow, "head filled size screen 0.007, 22 linewidth 1.2 linecolor rgb color_of(%zu)",
                 with_method || p->v[i].is_base ? 7 : p->v[i].family + 1);
        bl_page_line(page, panel, (bl_box){at, at, top - 10, top + 1}, arrow);
        bl_page_place(page, panel, word, at, top - 5, "#333333", &none);
        if (none.text[0]) return bl_fail(e, BL_E_NOMEM, "%s", none.text);
    }
    return BL_OK;
}

/* Points of a panel that have about the same bits stand side by side, so that no error bar covers another. */
static void set_aside(const bl_picks *p, size_t panel, const bl_ruler *x, double length, curve *c)
{
    double point = log(x->hi / x->lo) / length, near = 4.5 * point;

    for (size_t i = 0; i < p->n; i++) {
        size_t before = 0, all = 0;
        if (p->v[i].panel != panel || p->v[i].is_base) continue;
        for (size_t k = 0; k < p->n; k++) {
            double apart = log(p->v[k].row->cell->bits_per_weight / p->v[i].row->cell->bits_per_weight);
            if (p->v[k].panel != panel || p->v[k].is_base || fabs(apart) > near) continue;
            all++;
            before += k < i;
        }
        double step = fmin(near, 14 * point / (double)BL_MAX(all - 1, 1)); /* never far from where it is */
        c[i].x *= exp(step * ((double)before - (double)(all - 1) / 2));
    }
}

/* A panel with its axes, what words must not cover, and the level of guessing. `joined`: its points are on lines. */
static bl_status begin_panel(bl_page *page, const bl_picks *p, curve *c, size_t panel, const bl_ruler *x, bool joined,
                             bl_ruler *y, bl_err *e)
{
    bl_status st;
    const bl_pick_panel *pp = &p->panel[panel];
    bl_text title = {0};
    char unit[128], word[64];

    *y = values_of(p, panel, c);
    bl_pick_title(pp, &title);
    bl_page_panel(page, panel, title.s ? title.s : "", "bits per weight", unit_of(pp, unit));
    bl_text_free(&title);
    bl_page_axis(page, panel, "x", x);
    bl_page_axis(page, panel, "y", y);
    if (joined) set_aside(p, panel, x, page->box[panel].right - page->box[panel].left, c);
    page->n_taken = 0;
    BL_TRY(take_points(page, p, c, panel, x, y, joined, e));
    if (pp->first->percent && isfinite(pp->chance)) {
        snprintf(word, sizeof word, "chance %.0f", 100 * pp->chance);
        BL_TRY(bl_page_level(page, panel, place_y(page, panel, y, 100 * pp->chance), word, "back linestyle 123",
                             "#777777", e));
    }
out:
    return st;
}

/* ---- curves ------------------------------------------------------------------------------------- */
static bl_status curve_panel(bl_page *page, const bl_picks *p, curve *c, size_t panel, const bl_ruler *x, bl_err *e)
{
    bl_status st;
    bl_ruler y;
    char word[64], number[32];

    BL_TRY(begin_panel(page, p, c, panel, x, true, &y, e));
    for (size_t i = 0; i < p->n; i++) {
        const bl_pick *k = &p->v[i];
        if (k->panel != panel || !k->is_base || c[i].off) continue;
        bl_figure_number(value_of(k), p->panel[panel].first->percent ? 3 : 4, number);
        snprintf(word, sizeof word, "base %s", number);
        BL_TRY(bl_page_level(page, panel, place_y(page, panel, &y, value_of(k)), word, "back linestyle 122", "#333333",
                             e));
    }
    BL_TRY(name_the_far(page, p, c, panel, x, false, e));
out:
    return st;
}

static bl_status curves(const bl_plot_input *in, bl_pick_what what, const char *heading, bl_page *page, bl_err *e)
{
    bl_status st = BL_OK;
    bl_arena *a = NULL;
    bl_picks p;
    bool far_ = false, bars = false;

    BL_TRY(bl_arena_new(&a, e));
    BL_TRY(bl_picks_of(in, what, a, &p, e));
    if (!(page->n_points = p.n)) goto out;
    curve *c = bl_alloc(a, p.n, sizeof *c, e);
    if (!c) {
        st = BL_E_NOMEM;
        goto out;
    }
    bl_page_heading(page, heading);
    for (size_t f = 0; f < p.n_families; f++) BL_TRY(bl_page_legend(page, (int)f + 1, p.family[f], e));
    BL_TRY(bl_page_legend(page, 120, "base, as stored", e));
    for (size_t i = 0; i < p.n; i++) bars = bars || p.v[i].row->has_stderr;
    if (bars)
        bl_page_note(page, what == BL_PICK_SHARES
                               ? "Bars: one standard error of the row alone, over items."
                               : "Bars: one standard error of the row alone, over windows or documents.");
    bl_page_note(page, BITS);
    bl_note_compared(&p, page);
    for (size_t i = 0; i < p.n; i++) c[i] = (curve){.k = &p.v[i], .x = p.v[i].row->cell->bits_per_weight};
    for (size_t k = 0; k < p.n_panels; k++) values_of(&p, k, c);
    for (size_t i = 0; i < p.n; i++) far_ = far_ || c[i].off;
    if (far_) bl_page_note(page, "Arrows at the top: beyond the axis, with their number.");
    bl_about_picks(&p, page);
    BL_TRY(bl_page_grid(page, p.n_panels, page->text ? 180 : p.n_panels > 2 ? 112 : 150, e));
    bl_ruler x = bits_of(&p, page);
    for (size_t k = 0; k < p.n_panels; k++) BL_TRY(curve_panel(page, &p, c, k, &x, e));
    put_csv_names(&page->csv);
    for (size_t i = 0; i < p.n; i++) put_csv(&page->csv, &p, &c[i], false);
    BL_TRY(bl_page_finish(page, e));
    bl_text_addf(&page->script, "n_families = %zu\n", p.n_families);
out:
    bl_arena_free(a);
    return st;
}

bl_status bl_figure_perplexity(const bl_plot_input *in, bl_page *page, bl_err *e)
{
    return curves(in, BL_PICK_PERPLEXITY, "Perplexity against bits per weight (lower is better)", page, e);
}

bl_status bl_figure_accuracy(const bl_plot_input *in, bl_page *page, bl_err *e)
{
    return curves(in, BL_PICK_SHARES, "Accuracy against bits per weight (higher is better)", page, e);
}

/* ---- the front ---------------------------------------------------------------------------------- */
/* 2: no other has at most its bits and a better value, or fewer bits and at least its value. Of the others 0: one of
 * those is better item by item, significantly among all that were asked in this panel; else 1. */
static bl_status mark_front(const bl_plot_input *in, const bl_picks *p, size_t panel, curve *c, size_t *asked,
                            bl_arena *a, bl_err *e)
{
    bl_status st = BL_OK;
    struct pair {
        size_t loser;
        bl_paired d;
    } *pair = NULL;
    bl_paired **list = NULL;
    size_t n = 0, cap = 0;

    for (size_t i = 0; i < p->n; i++) {
        if (p->v[i].panel != panel) continue;
        c[i].front = 2;
        for (size_t k = 0; k < p->n; k++) {
            const bl_pick *x = &p->v[i], *y = &p->v[k];
            const bl_metric *rule;
            bl_err why = {0};
            double bits = y->row->cell->bits_per_weight - x->row->cell->bits_per_weight,
                   gain = x->row->direction * (y->row->value - x->row->value);
            if (y->panel != panel || bits > 0 || gain < 0 || (bits == 0 && gain == 0)) continue;
            c[i].front = 1;
            if (!x->whole || !y->whole || !in->rules || gain == 0) continue;
            BL_TRY(bl_grow(&pair, &cap, n + 1, sizeof *pair, e));
            pair[n].loser = i;
            bl_status s = bl_comparable(x->whole, y->whole, &why);
            if (s == BL_OK) s = bl_metric_rule(in->rules, x->whole, x->row->metric, &rule, &why);
            if (s == BL_OK) s = bl_compare_metric(rule, NULL, x->whole, y->whole, &pair[n].d, &why);
            if (s == BL_E_NOMEM) {
                st = bl_fail(e, s, "%s", why.text);
                goto out;
            }
            n += s == BL_OK;
        }
    }
    if (!n) goto out;
    if (!(list = bl_alloc(a, n, sizeof *list, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < n; i++) list[i] = &pair[i].d;
    BL_TRY(bl_compare_judge(list, n, e));
    for (size_t i = 0; i < n; i++)
        if (pair[i].d.verdict == BL_BETTER) c[pair[i].loser].front = 0;
    *asked += n;
out:
    bl_free(pair);
    return st;
}

static bl_status pareto_panel(bl_page *page, const bl_picks *p, curve *c, size_t panel, const bl_ruler *x, bl_err *e)
{
    bl_status st;
    bl_ruler y;
    char word[64];
    size_t unnamed = 0;

    BL_TRY(begin_panel(page, p, c, panel, x, false, &y, e));
    const curve *stair = NULL;
    for (;;) { /* the staircase, from few bits to many: across, then up or down */
        const curve *next = NULL;
        for (size_t i = 0; i < p->n; i++)
            if (p->v[i].panel == panel && c[i].front == 2 && !c[i].off && (!stair || c[i].x > stair->x) &&
                (!next || c[i].x < next->x))
                next = &c[i];
        if (stair && next) {
            double ax = place_x(page, panel, x, stair->x), ay = place_y(page, panel, &y, value_of(stair->k)),
                   bx = place_x(page, panel, x, next->x), by = place_y(page, panel, &y, value_of(next->k));
            bl_page_line(page, panel, (bl_box){ax, bx, ay, ay}, "back linestyle 122");
            bl_page_line(page, panel, (bl_box){bx, bx, fmin(ay, by), fmax(ay, by)}, "back linestyle 122");
            BL_TRY(bl_page_take(page, (bl_box){ax, bx, ay - 1, ay + 1}, e));
            BL_TRY(bl_page_take(page, (bl_box){bx - 1, bx + 1, fmin(ay, by), fmax(ay, by)}, e));
        }
        if (!next) break;
        stair = next;
    }
    for (double front = 2; front >= 0; front--)
        for (size_t i = 0; i < p->n; i++) {
            const bl_pick *k = &p->v[i];
            bl_err none = {0};
            if (k->panel != panel || c[i].front != front || (front == 0 && !k->is_base) || c[i].off) continue;
            if (!bl_page_place(page, panel, k->row->cell->method, place_x(page, panel, x, c[i].x),
                               place_y(page, panel, &y, value_of(k)), front == 2 ? "#004a75" : "#666666", &none))
                unnamed++;
            if (none.text[0]) {
                st = bl_fail(e, BL_E_NOMEM, "%s", none.text);
                goto out;
            }
        }
    if (unnamed && !page->text) {
        snprintf(word, sizeof word, "%zu more without a name: no room", unnamed);
        bl_page_label(page, panel, word, page->box[panel].right, page->box[panel].top + 2,
                      (bl_mark_at){.align = 'r', .color = "#777777", .size = 6});
    }
    BL_TRY(name_the_far(page, p, c, panel, x, true, e));
out:
    return st;
}

bl_status bl_figure_pareto(const bl_plot_input *in, bl_page *page, bl_err *e)
{
    bl_status st = BL_OK;
    bl_arena *a = NULL;
    bl_picks p;
    size_t asked = 0;
    char note[240];

    BL_TRY(bl_arena_new(&a, e));
    BL_TRY(bl_picks_of(in, BL_PICK_ALL, a, &p, e));
    if (!(page->n_points = p.n)) goto out;
    curve *c = bl_alloc(a, p.n, sizeof *c, e);
    if (!c) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < p.n; i++) c[i] = (curve){.k = &p.v[i], .x = p.v[i].row->cell->bits_per_weight};
    for (size_t k = 0; k < p.n_panels; k++) {
        values_of(&p, k, c);
        BL_TRY(mark_front(in, &p, k, c, &asked, a, e));
    }
    bl_page_heading(page, "What is worth its bits");
    BL_TRY(bl_page_legend(page, 1, "on the front", e));
    if (asked) {
        BL_TRY(bl_page_legend(page, 124, "not significantly beaten", e));
        BL_TRY(bl_page_legend(page, 125, "beaten", e));
        snprintf(note, sizeof note,
                 "Beaten: a row of no more bits is better item by item (p < %g, Holm over the comparisons of a panel, "
                 "%zu in all).",
                 BL_LEVEL, asked);
        bl_page_note(page, note);
    } else BL_TRY(bl_page_legend(page, 124, "not on the front", e));
    bl_page_note(page, "Bars: one standard error.");
    bl_page_note(page, BITS);
    bl_about_picks(&p, page);
    page->columns = p.n_panels > 1 ? 2 : 1;
    BL_TRY(bl_page_grid(page, p.n_panels, page->text ? 180 : 150, e));
    bl_ruler x = bits_of(&p, page);
    for (size_t k = 0; k < p.n_panels; k++) BL_TRY(pareto_panel(page, &p, c, k, &x, e));
    put_csv_names(&page->csv);
    for (size_t i = 0; i < p.n; i++) put_csv(&page->csv, &p, &c[i], true);
    BL_TRY(bl_page_finish(page, e));
out:
    bl_arena_free(a);
    return st;
}
