/* picks.c - which rows a figure shows, in which panel, and how they differ from the base. */
#include "picks.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the cells behind the rows ------------------------------------------------------------------ */
bl_status bl_plot_read(bl_plot_input *in, bl_arena *a, bl_err *e)
{
    const bl_table *t = in->table;
    const bl_cell **whole = bl_alloc(a, t->n, sizeof *whole, e);

    if (!whole) return BL_E_NOMEM;
    for (size_t i = 0; i < t->n; i++) {
        bl_err why = {0};
        if (!t->row[i].has_cost) continue;               /* a failure note */
        if (i && t->row[i].cell == t->row[i - 1].cell) { /* rows of one cell stand together */
            whole[i] = whole[i - 1];
            continue;
        }
        bl_cell *c = bl_alloc(a, 1, sizeof *c, e);
        if (!c) return BL_E_NOMEM;
        bl_status st = bl_cell_read(t->row[i].path, true, a, c, &why);
        if (st == BL_E_NOMEM) return bl_fail(e, st, "%s", why.text);
        if (st == BL_OK) whole[i] = c;
    }
    in->whole = whole;
    return BL_OK;
}

/* ---- names -------------------------------------------------------------------------------------- */
/* "rtn:w4g64+sym" without its bits: "rtn g64+sym". */
static void put_family(bl_text *out, const bl_cell *c)
{
    const char *colon = strrchr(c->method, ':'), *rest = colon ? colon + 1 : "";

    bl_text_addn(out, c->method, colon ? (size_t)(colon - c->method) : strlen(c->method));
    if (*rest == 'w' && c->wbits > 0) rest += 1 + strspn(rest + 1, "0123456789");
    if (*rest) bl_text_addf(out, " %s", rest);
}

static bool is_base(const bl_row *r) { return !strcmp(r->cell->method, "base"); }

/* What is the same for all rows of the figure does not stand in its names. */
typedef struct varying {
    bool model, stored_as, version, seed, dir;
} varying;

static void put_panel(bl_text *out, const bl_row *r, const varying *v, bool metric)
{
    if (v->model) bl_text_addf(out, "%s ", r->cell->model);
    if (v->stored_as) bl_text_addf(out, "(%s) ", r->cell->stored_as);
    bl_text_add(out, r->cell->task);
    if (metric) bl_text_addf(out, " %s", r->metric);
    if (v->version) bl_text_addf(out, " v%lld", (long long)r->cell->task_version);
    if (v->seed) bl_text_addf(out, " seed %lld", (long long)r->cell->seed);
    if (v->dir) bl_text_addf(out, " in %s", r->dir);
    if (r->cell->limit) bl_text_addf(out, ", first %lld", (long long)r->cell->limit);
    if (r->cell->drawn) bl_text_addf(out, ", %lld drawn", (long long)r->cell->drawn);
}

void bl_pick_title(const bl_pick_panel *p, bl_text *out)
{
    bl_text_add(out, p->name);
    if (p->n_least == p->n_most && (p->first->cell->limit == p->n_least || p->first->cell->drawn == p->n_least))
        return; /* the name says it */
    bl_text_addf(out, ", n = %lld", (long long)p->n_least);
    if (p->n_most > p->n_least) bl_text_addf(out, " to %lld", (long long)p->n_most);
}

/* ---- choosing ----------------------------------------------------------------------------------- */
/* Does this row stand for its cell: a headline over all items, of that kind? */
static bool fits(const bl_row *r, bl_pick_what what)
{
    bool share = r->percent && r->direction > 0, perplexity = !r->percent && r->direction < 0;
    return r->has_value && r->headline && !r->item_group[0] && r->cell->bits_per_weight > 0 &&
           ((share && what & BL_PICK_SHARES) || (perplexity && what & BL_PICK_PERPLEXITY));
}

static bool usable(const bl_row *r) { return isfinite(r->value) && (r->percent || r->value > 0); }

/* Index of `name` in list[*n], added when it is new. */
static bl_status index_of(const char **list, size_t *n, const bl_text *name, bl_arena *a, size_t *at, bl_err *e)
{
    const char *s = name->s ? name->s : "";
    bl_status st = bl_text_check(name, e);

    if (st != BL_OK) return st;
    for (*at = 0; *at < *n; ++*at)
        if (!strcmp(list[*at], s)) return BL_OK;
    if (!(list[*n] = bl_arena_str(a, s, strlen(s), e))) return BL_E_NOMEM;
    ++*n;
    return BL_OK;
}

static double chance_of(const bl_cell *c)
{
    double sum = 0;
    if (!c || !c->n_samples) return NAN;
    for (int64_t i = 0; i < c->n_samples; i++) {
        if (c->sample[i].n_choices < 2) return NAN;
        sum += 1.0 / c->sample[i].n_choices;
    }
    return sum / (double)c->n_samples;
}

static int by_place(const void *x, const void *y)
{
    const bl_pick *a = x, *b = y;
    if (a->panel != b->panel) return a->panel < b->panel ? -1 : 1;
    if (a->is_base != b->is_base) return a->is_base ? -1 : 1;
    if (a->family != b->family) return a->family < b->family ? -1 : 1;
    double p = a->row->cell->bits_per_weight, q = b->row->cell->bits_per_weight;
    if (p != q) return p < q ? -1 : 1;
    return a->row < b->row ? -1 : a->row > b->row;
}

bl_status bl_picks_of(const bl_plot_input *in, bl_pick_what what, bl_arena *a, bl_picks *out, bl_err *e)
{
    const bl_table *t = in->table;
    size_t most = t ? t->n : 0, n = 0, *chosen = bl_alloc(a, most, sizeof *chosen, e);
    const char **panel = bl_alloc(a, most, sizeof *panel, e);
    bl_picks p = {.v = bl_alloc(a, most, sizeof *p.v, e),
                  .panel = bl_alloc(a, most, sizeof *p.panel, e),
                  .family = bl_alloc(a, most, sizeof *p.family, e)};
    bl_text text = {0};
    varying v = {0};
    bl_status st = BL_OK;

    if (!chosen || !panel || !p.v || !p.panel || !p.family) return BL_E_NOMEM;
    for (size_t i = 0; i < most; i++) {
        const bl_row *r = &t->row[i];
        if (!fits(r, what) || (n && t->row[chosen[n - 1]].cell == r->cell)) continue; /* the first of each cell */
        if (!usable(r)) {
            p.not_finite++;
            continue;
        }
        const bl_row *first = &t->row[n ? chosen[0] : i];
        chosen[n++] = i;
        v.model = v.model || strcmp(r->cell->model, first->cell->model);
        v.stored_as = v.stored_as || strcmp(r->cell->stored_as, first->cell->stored_as);
        v.seed = v.seed || r->cell->seed != first->cell->seed;
        v.dir = v.dir || strcmp(r->dir, first->dir);
        for (size_t k = 0; k < n && !v.version; k++)
            v.version = r->cell->task_version != t->row[chosen[k]].cell->task_version &&
                        !strcmp(r->cell->task, t->row[chosen[k]].cell->task);
    }
    for (size_t i = 0; i < n; i++) {
        const bl_row *r = &t->row[chosen[i]];
        bl_pick *k = &p.v[p.n++];
        *k = (bl_pick){.row = r, .whole = in->whole ? in->whole[chosen[i]] : NULL, .is_base = is_base(r)};
        if (r->paired && r->paired->judged && !k->is_base) k->d = r->paired;
        p.n_compared += k->d != NULL;
        text.n = 0;
        put_panel(&text, r, &v, true);
        BL_TRY(index_of(panel, &p.n_panels, &text, a, &k->panel, e));
        bl_pick_panel *at = &p.panel[k->panel];
        if (!at->first) {
            text.n = 0;
            put_panel(&text, r, &v, false);
            BL_TRY(bl_text_check(&text, e));
            *at = (bl_pick_panel){panel[k->panel], bl_arena_str(a, text.s, text.n, e), r, NAN, r->n, r->n};
            if (!at->task) {
                st = BL_E_NOMEM;
                goto out;
            }
        }
        at->n_least = BL_MIN(at->n_least, r->n);
        at->n_most = BL_MAX(at->n_most, r->n);
        if (isnan(at->chance)) at->chance = chance_of(k->whole);
        if (k->is_base) continue;
        text.n = 0;
        put_family(&text, r->cell);
        BL_TRY(index_of(p.family, &p.n_families, &text, a, &k->family, e));
    }
    if (p.n) qsort(p.v, p.n, sizeof *p.v, by_place);
    for (size_t i = 0; i < most; i++) p.n_judged += t->row[i].paired && t->row[i].paired->judged;
    *out = p;
out:
    bl_text_free(&text);
    return st;
}

/* ---- what is said about all of it --------------------------------------------------------------- */
/* "a", "a, b" or "3 commits": the texts of the member at `at` of the cells. */
static void put_distinct(bl_text *out, const char *before, const bl_cell *const *cell, size_t n, size_t at,
                         const char *many)
{
    size_t different = 0;
    const char *kept[2] = {NULL, NULL};

#define TEXT(i) (*(const char *const *)((const char *)cell[i] + at))
    for (size_t i = 0; i < n; i++) {
        bool seen = !cell[i] || !TEXT(i) || !*TEXT(i);
        for (size_t k = 0; k < i && !seen; k++) seen = cell[k] && TEXT(k) && !strcmp(TEXT(k), TEXT(i));
        if (seen) continue;
        if (different < 2) kept[different] = TEXT(i);
        different++;
    }
#undef TEXT
    if (!different) return;
    bl_text_add(out, before);
    if (different > 2) bl_text_addf(out, "%zu %s", different, many);
    else bl_text_addf(out, "%s%s%s", kept[0], kept[1] ? ", " : "", kept[1] ? kept[1] : "");
}

const char *bl_threads_name(const bl_cell *c)
{
    return c->numerics && !strncmp(c->numerics, "cuda", 4) ? "multiprocessor" : "thread";
}

void bl_about_cells(const bl_cell *const *whole, size_t n, bl_text *out)
{
    const char *least = NULL, *most = NULL, *unit = NULL;
    int64_t threads = 0;

    put_distinct(out, "", whole, n, offsetof(bl_cell, model), "models");
    put_distinct(out, ", stored as ", whole, n, offsetof(bl_cell, stored_as), "ways");
    put_distinct(out, " · ", whole, n, offsetof(bl_cell, device), "machines");
    for (size_t i = 0; i < n; i++) {
        if (!whole[i]) continue;
        const char *day = whole[i]->created;
        unit = bl_threads_name(whole[i]);
        threads = threads == 0 || threads == whole[i]->threads ? whole[i]->threads : -1;
        if (!day || strlen(day) < 10) continue;
        if (!least || strncmp(day, least, 10) < 0) least = day;
        if (!most || strncmp(day, most, 10) > 0) most = day;
    }
    if (threads > 0) bl_text_addf(out, ", %lld %s%s", (long long)threads, unit, threads == 1 ? "" : "s");
    if (least) bl_text_addf(out, " · %.10s", least);
    if (least && strncmp(least, most, 10) != 0) bl_text_addf(out, " to %.10s", most);
    put_distinct(out, " · commit ", whole, n, offsetof(bl_cell, commit), "different ones");
}

void bl_about_picks(const bl_picks *p, bl_page *page)
{
    bl_text about = {0};
    bl_err e = {0};
    const bl_cell **whole = bl_new(p->n, sizeof *whole, &e);

    for (size_t i = 0; i < p->n && whole; i++) whole[i] = p->v[i].whole ? p->v[i].whole : p->v[i].row->cell;
    if (whole) bl_about_cells(whole, p->n, &about);
    else page->about.failed = true;
    if (about.n) bl_page_about(page, about.s);
    if (p->not_finite) {
        about.n = 0;
        bl_text_addf(&about, "%zu value%s no number and not drawn.", p->not_finite,
                     p->not_finite > 1 ? "s are" : " is");
        if (about.n) bl_page_note(page, about.s);
    }
    page->about.failed = page->about.failed || about.failed;
    bl_text_free(&about);
    bl_free(whole);
}

void bl_note_compared(const bl_picks *p, bl_page *page)
{
    char text[200];
    if (!p->n_compared) return;
    snprintf(text, sizeof text,
             "Filled: differs from the base, item by item (p < %g, Holm over %zu comparisons); open: undecided.",
             BL_LEVEL, p->n_judged);
    bl_page_note(page, text);
}
