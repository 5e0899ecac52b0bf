/* against.c - the rows of a table against the rows of one method: which cell belongs to which, and the differences. */
#include "table_impl.h"

#include <string.h>

/* The rows of one cell stand together. */
typedef struct cell_rows {
    size_t first, n;
    size_t reference; /* index of the cell it is compared with; NONE */
    bool is_reference;
    const char *why; /* no reference although there is something like one */
} cell_rows;
#define NONE SIZE_MAX /* an enumerator is an int */

typedef struct work {
    bl_table *t;
    const bl_against *how;
    cell_rows *cell;
    size_t n_cells;
    bool *shown, *family; /* [rows] */
    bl_err *e;
} work;

static const bl_row *row_of(const work *w, size_t cell) { return &w->t->row[w->cell[cell].first]; }

static const char *keep(const work *w, const char *text) { return bl_arena_str(w->t->arena, text, strlen(text), w->e); }

static bl_status find_cells(work *w)
{
    bl_table *t = w->t;

    if (!(w->cell = bl_new(t->n, sizeof *w->cell, w->e))) return BL_E_NOMEM;
    for (size_t i = 0; i < t->n; i++) {
        bl_row *r = &t->row[i];
        r->paired = NULL;
        r->reference = false;
        r->against = r->unpaired = NULL;
        if (!r->has_value) continue;
        if (w->n_cells && row_of(w, w->n_cells - 1)->cell == r->cell) w->cell[w->n_cells - 1].n++;
        else w->cell[w->n_cells++] = (cell_rows){i, 1, NONE, !strcmp(r->cell->method, w->how->method), NULL};
    }
    return BL_OK;
}

/* ---- which cell belongs to which ---------------------------------------------------------------- */
/* "cpu-f32-kv:int8": how keys and values are kept is what is under study, like a method. */
static const char *kv_of(const bl_cell *c)
{
    const char *kv = c->numerics ? strstr(c->numerics, "-kv:") : NULL;
    return kv ? kv : "";
}

static bool same_arithmetic(const bl_cell *a, const bl_cell *b)
{
    const char *x = a->numerics ? a->numerics : "", *y = b->numerics ? b->numerics : "";
    size_t n = (size_t)(strlen(x) - strlen(kv_of(a))), k = strlen(y) - strlen(kv_of(b));
    return n == k && !memcmp(x, y, n);
}

/* The base is the one that changes nothing; another reference differs in the method alone. */
static bool is_reference_for(const work *w, const bl_cell *reference, const bl_cell *c)
{
    return !strcmp(w->how->method, "base") ? !*kv_of(reference) : !strcmp(kv_of(reference), kv_of(c));
}

/* The first condition in which two cells differ; simulation, notes and calibration belong to the method. */
static const bl_field *first_difference(const bl_row *a, const bl_row *b, bl_text *x, bl_text *y)
{
    static const char *const of_method[] = {"method", "bits", "group", "simulated", "notes", "calibration"};
    const bl_field *f;
    for (size_t k = 0; (f = bl_field_at(k)); k++) {
        bool skip = !f->cell || !f->apart || (!strcmp(f->name, "numerics") && same_arithmetic(a->cell, b->cell));
        for (size_t i = 0; i < BL_COUNT(of_method) && !skip; i++) skip = !strcmp(f->name, of_method[i]);
        if (!skip && !bl_field_same(f, a, b, x, y)) return f;
    }
    return NULL;
}

static const char *or_word(const bl_text *t, const bl_field *f)
{
    return t->n ? t->s : !strcmp(f->name, "limit") || !strcmp(f->name, "sample") ? "all" : "none";
}

/* The like cell of the reference method; a second one in another directory does not count, a second one in the same
 * does. */
static bl_status find_reference(work *w, size_t i)
{
    bl_status st = BL_OK;
    const bl_row *r = row_of(w, i);
    bl_text x = {0}, y = {0}, why = {0};
    bool like = false, here = false;

    for (size_t k = 0; k < w->n_cells; k++) {
        const bl_row *b = row_of(w, k);
        if (!w->cell[k].is_reference || strcmp(b->cell->model, r->cell->model) || strcmp(b->cell->task, r->cell->task))
            continue;
        if (k == i || !is_reference_for(w, b->cell, r->cell)) continue;
        const bl_field *f = first_difference(b, r, &x, &y);
        if (f) {
            if (!why.n)
                bl_text_addf(&why, "%s has %s %s, this row %s", w->how->method, f->name, or_word(&x, f),
                             or_word(&y, f));
            continue;
        }
        bool same_dir = !strcmp(b->dir, r->dir);
        if (w->cell[i].reference == NONE || (same_dir && !here)) w->cell[i].reference = k;
        else if (same_dir == here) like = true;
        here = here || same_dir;
    }
    if (like) {
        w->cell[i].reference = NONE;
        why.n = 0;
        bl_text_addf(&why, "two rows of %s are like it", w->how->method);
    }
    if (w->cell[i].reference == NONE && why.n) {
        BL_TRY(bl_text_check(&why, w->e));
        if (!(w->cell[i].why = keep(w, why.s))) st = BL_E_NOMEM;
    }
out:
    bl_text_free(&x);
    bl_text_free(&y);
    bl_text_free(&why);
    return st;
}

/* ---- differences -------------------------------------------------------------------------------- */
static bl_status compare_row(work *w, bl_row *r, const bl_cell *a, const bl_cell *b)
{
    const bl_metric *m;
    bl_paired *d;
    bl_err why = {0};
    bl_status st;

    if (bl_metric_rule(&w->how->rules, b, r->metric, &m, &why) != BL_OK) return BL_OK; /* not made of items */
    if (!(d = bl_alloc(w->t->arena, 1, sizeof *d, w->e))) return BL_E_NOMEM;
    st = bl_compare_metric(m, r->item_group, a, b, d, &why);
    if (st == BL_OK) r->paired = d;
    else if (st == BL_E_NOMEM) return bl_fail(w->e, st, "%s", why.text);
    else if (!(r->unpaired = keep(w, why.text))) return BL_E_NOMEM;
    return BL_OK;
}

static bool any_shown(const work *w, size_t cell)
{
    for (size_t i = 0; i < w->cell[cell].n; i++)
        if (w->shown[w->cell[cell].first + i]) return true;
    return false;
}

static bl_status say_why(work *w, size_t cell, const char *why)
{
    const char *kept = keep(w, why);
    for (size_t i = 0; i < w->cell[cell].n; i++) w->t->row[w->cell[cell].first + i].unpaired = kept;
    return kept ? BL_OK : BL_E_NOMEM;
}

/* One cell against its reference, whose samples are there. */
static bl_status compare_cell(work *w, size_t cell, const bl_cell *a)
{
    bl_status st;
    bl_arena *arena = NULL;
    bl_cell b;
    bl_err why = {0};
    cell_rows *c = &w->cell[cell];

    BL_TRY(bl_arena_new(&arena, w->e));
    if ((st = bl_cell_read(row_of(w, cell)->path, true, arena, &b, &why)) == BL_OK) st = bl_comparable(a, &b, &why);
    if (st != BL_OK) {
        st = st == BL_E_NOMEM ? bl_fail(w->e, st, "%s", why.text) : say_why(w, cell, why.text);
        goto out;
    }
    for (size_t i = c->first; i < c->first + c->n; i++)
        if (w->shown[i]) BL_TRY(compare_row(w, &w->t->row[i], a, &b));
out:
    bl_arena_free(arena);
    return st;
}

static bl_status against_reference(work *w, size_t reference)
{
    bl_status st = BL_OK;
    bl_arena *arena = NULL;
    bl_cell a;
    bl_err why = {0};
    bool needed = false, read;

    for (size_t i = 0; i < w->n_cells && !needed; i++) needed = w->cell[i].reference == reference && any_shown(w, i);
    if (!needed) return BL_OK;
    BL_TRY(bl_arena_new(&arena, w->e));
    st = bl_cell_read(row_of(w, reference)->path, true, arena, &a, &why);
    read = st == BL_OK;
    if (st == BL_E_NOMEM) {
        bl_fail(w->e, st, "%s", why.text);
        goto out;
    }
    for (size_t i = 0; i < w->n_cells; i++) {
        if (w->cell[i].reference != reference || !any_shown(w, i)) continue;
        if (!read) BL_TRY(say_why(w, i, why.text));
        else BL_TRY(compare_cell(w, i, &a));
    }
    st = BL_OK;
out:
    bl_arena_free(arena);
    return st;
}

static bl_status judge(work *w)
{
    bl_status st;
    size_t n = 0;
    bl_paired **d = bl_new(w->t->n, sizeof *d, w->e);

    if (!d) return BL_E_NOMEM;
    for (size_t i = 0; i < w->t->n; i++)
        if (w->family[i] && w->t->row[i].paired) d[n++] = (bl_paired *)(uintptr_t)w->t->row[i].paired;
    st = bl_compare_judge(d, n, w->e);
    bl_free(d);
    return st;
}

static bl_status mark_rows(const work *w, const bl_table_opts *o, bool *out)
{
    size_t *chosen = NULL, n = 0;
    bl_status st = bl_rows_choose(w->t, o, &chosen, &n, w->e);
    for (size_t i = 0; i < n && st == BL_OK; i++) out[chosen[i]] = true;
    bl_free(chosen);
    return st;
}

bl_status bl_table_against(bl_table *t, const bl_table_opts *o, const bl_against *how, bl_err *e)
{
    bl_status st = BL_OK;
    work w = {.t = t, .how = how, .e = e};
    bl_table_opts as_md = *o;
    const char *method = bl_arena_str(t->arena, how->method, strlen(how->method), e);

    as_md.format = BL_TABLE_MD;
    t->against = method;
    if (!method || !(w.shown = bl_new(t->n, sizeof *w.shown, e)) || !(w.family = bl_new(t->n, sizeof *w.family, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(mark_rows(&w, o, w.shown));
    BL_TRY(mark_rows(&w, &as_md, w.family));
    BL_TRY(find_cells(&w));
    for (size_t i = 0; i < w.n_cells; i++) {
        cell_rows *c = &w.cell[i];
        if (!c->is_reference || !is_reference_for(&w, t->row[c->first].cell, t->row[c->first].cell))
            BL_TRY(find_reference(&w, i));
        for (size_t k = c->first; k < c->first + c->n; k++) {
            t->row[k].reference = c->is_reference && c->reference == NONE;
            t->row[k].against = c->reference != NONE ? method : NULL;
            t->row[k].unpaired = c->why;
        }
    }
    for (size_t i = 0; i < w.n_cells; i++)
        if (w.cell[i].is_reference) BL_TRY(against_reference(&w, i));
    BL_TRY(judge(&w));
out:
    bl_free(w.cell);
    bl_free(w.shown);
    bl_free(w.family);
    return st;
}
