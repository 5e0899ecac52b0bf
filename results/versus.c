/* versus.c - which cells of two sides belong together, their differences, and the verdict. */
#include "versus.h"
#include "table_impl.h"
#include "kernels/base/json.h"
#include "kernels/base/utf8.h"

#include <math.h>
#include <string.h>

/* ---- which belong together ---------------------------------------------------------------------- */
typedef struct work {
    bl_versus *v;
    const bl_side *side[2];
    bool *shown; /* [rows of side 0] */
    bool one_model, one_method;
    bl_metric_rules rules;
    size_t cap;
    bl_err *e;
} work;

static bool is_of(const bl_side *s, const bl_row *r)
{
    return r->has_value && (!s->method || !strcmp(r->cell->method, s->method)) &&
           (!s->task || !strcmp(r->cell->task, s->task));
}

/* Do all rows of a side have one model (method)? */
static bool is_one(const bl_side *s, bool model)
{
    const char *first = NULL;
    for (size_t i = 0; i < s->table->n; i++) {
        const bl_row *r = &s->table->row[i];
        const char *name = model ? r->cell->model : r->cell->method;
        if (!is_of(s, r)) continue;
        if (first && strcmp(first, name)) return false;
        first = name;
    }
    return true;
}

static bool belong(const work *w, const bl_row *a, const bl_row *b)
{
    return (w->side[0]->task || !strcmp(a->cell->task, b->cell->task)) && a->cell->seed == b->cell->seed &&
           (w->one_model || !strcmp(a->cell->model, b->cell->model)) &&
           (w->one_method || w->side[0]->method || !strcmp(a->cell->method, b->cell->method));
}

/* The first row after i of another cell. */
static size_t next_cell(const bl_table *t, size_t i)
{
    const bl_cell *c = t->row[i].cell;
    while (i < t->n && t->row[i].cell == c) i++;
    return i;
}

/* ---- differences -------------------------------------------------------------------------------- */
static bl_status add_row(work *w, const bl_row *a, const bl_row *b, const bl_cell *x, const bl_cell *y)
{
    bl_versus_row row = {.a = a, .b = b};
    const bl_metric *m;
    bl_status st = bl_metric_rule(&w->rules, x, a->metric, &m, NULL);

    if (st != BL_OK) return BL_OK; /* a distance from another cell: no difference of items */
    if (w->side[0]->task) {        /* of another task the same name may be made of other scores */
        const bl_metric *other;
        if (bl_metric_rule(&w->rules, y, b->metric, &other, NULL) != BL_OK || other->agg != m->agg ||
            other->a != m->a || other->b != m->b || other->given != m->given || other->steps != m->steps)
            return BL_OK;
    }
    st = bl_compare_metric(m, a->item_group, x, y, &row.paired, w->e);
    if (st == BL_E_MISSING) return BL_OK; /* no item has it in both */
    if (st != BL_OK) return st;
    if ((st = bl_grow(&w->v->row, &w->cap, w->v->n + 1, sizeof row, w->e)) != BL_OK) return st;
    w->v->row[w->v->n++] = row;
    return BL_OK;
}

/* The shown metrics of two cells; i and k are their first rows. */
static bl_status compare_cells(work *w, size_t i, size_t k)
{
    bl_status st;
    bl_arena *arena = NULL;
    const bl_table *s = w->side[0]->table, *t = w->side[1]->table;
    bl_cell x, y;

    BL_TRY(bl_arena_new(&arena, w->e));
    BL_TRY(bl_cell_read(s->row[i].path, true, arena, &x, w->e));
    BL_TRY(bl_cell_read(t->row[k].path, true, arena, &y, w->e));
    st = w->side[0]->task ? bl_same_items(&x, &y, w->e) : bl_comparable(&x, &y, w->e);
    if (st != BL_OK) {
        if (strcmp(s->row[i].dir, t->row[k].dir))
            bl_within(w->e, "%s in %s and %s in %s", x.key, s->row[i].dir, y.key, t->row[k].dir);
        else bl_within(w->e, "%s and %s", x.key, y.key);
        goto out;
    }
    for (size_t a = i; a < next_cell(s, i); a++)
        for (size_t b = k; w->shown[a] && b < next_cell(t, k); b++)
            if (!strcmp(s->row[a].metric, t->row[b].metric) && !strcmp(s->row[a].item_group, t->row[b].item_group))
                BL_TRY(add_row(w, &s->row[a], &t->row[b], &x, &y));
out:
    bl_arena_free(arena);
    return st;
}

/* The cell of side 1 that belongs to row i of side 0; of two in as many directories or conditions the first that is
 * like it in its limit. */
static bl_status find_partner(const work *w, const bl_row *r, size_t *out)
{
    const bl_table *t = w->side[1]->table;
    *out = SIZE_MAX;
    for (size_t k = 0; k < t->n; k = next_cell(t, k)) {
        const bl_row *b = &t->row[k];
        if (!is_of(w->side[1], b) || !belong(w, r, b) || b->cell == r->cell) continue;
        if (*out == SIZE_MAX) *out = k;
        else if (t->row[*out].cell->limit != r->cell->limit) *out = b->cell->limit == r->cell->limit ? k : *out;
        else if (b->cell->limit == r->cell->limit)
            return bl_fail(w->e, BL_E_CONFIG, "%s: two results fit: %s and %s", r->cell->key, t->row[*out].path,
                           b->path);
    }
    return BL_OK;
}

static bl_status all_cells(work *w)
{
    bl_status st = BL_OK;
    const bl_table *s = w->side[0]->table, *t = w->side[1]->table;
    bool *used = bl_new(t->n, sizeof *used, w->e);

    if (!used) return BL_E_NOMEM;
    for (size_t i = 0; i < s->n; i = next_cell(s, i)) {
        size_t k;
        if (!is_of(w->side[0], &s->row[i])) continue;
        BL_TRY(find_partner(w, &s->row[i], &k));
        if (k == SIZE_MAX) {
            w->v->only_a++;
            continue;
        }
        used[k] = true;
        BL_TRY(compare_cells(w, i, k));
    }
    for (size_t k = 0; k < t->n; k = next_cell(t, k)) w->v->only_b += is_of(w->side[1], &t->row[k]) && !used[k];
out:
    bl_free(used);
    return st;
}

static bl_status judge(work *w)
{
    bl_versus *v = w->v;
    bl_status st;
    bl_paired **list = bl_new(v->n, sizeof *list, w->e);

    if (!list) return BL_E_NOMEM;
    for (size_t i = 0; i < v->n; i++) list[i] = &v->row[i].paired;
    BL_TRY(bl_compare_judge(list, v->n, w->e));
    for (size_t i = 0; i < v->n; i++) v->count[v->row[i].paired.verdict]++;
    if (v->count[BL_WORSE] && !v->count[BL_BETTER]) v->verdict = BL_WORSE;
    if (v->count[BL_BETTER] && !v->count[BL_WORSE]) v->verdict = BL_BETTER;
out:
    bl_free(list);
    return st;
}

static bl_status mark_shown(work *w, const bl_table_opts *o)
{
    size_t *chosen = NULL, n = 0;
    const bl_table *t = w->side[0]->table;
    bl_status st = bl_rows_choose(t, o, &chosen, &n, w->e);

    if (st == BL_OK && !(w->shown = bl_new(t->n, sizeof *w->shown, w->e))) st = BL_E_NOMEM;
    for (size_t i = 0; i < n && st == BL_OK; i++) w->shown[chosen[i]] = true;
    bl_free(chosen);
    return st;
}

bl_status bl_versus_of(const bl_side *a, const bl_side *b, const bl_table_opts *o, bl_metric_rules rules,
                       bl_versus **out, bl_err *e)
{
    bl_status st;
    work w = {.side = {a, b}, .rules = rules, .e = e};

    if (!(w.v = bl_new(1, sizeof *w.v, e))) return BL_E_NOMEM;
    w.one_model = is_one(a, true) && is_one(b, true);
    w.one_method = is_one(a, false) && is_one(b, false);
    BL_TRY(mark_shown(&w, o));
    BL_TRY(all_cells(&w));
    if (w.v->n == 0) {
        st = bl_fail(e, BL_E_MISSING, "no two results belong together: %zu on one side, %zu on the other", w.v->only_a,
                     w.v->only_b);
        goto out;
    }
    BL_TRY(judge(&w));
    *out = w.v;
    w.v = NULL;
out:
    bl_free(w.shown);
    bl_versus_free(w.v);
    return st;
}

void bl_versus_free(bl_versus *v)
{
    if (!v) return;
    bl_free(v->row);
    bl_free(v);
}

/* How much b lost, in percent; below 0: gained. */
static double loss_of(const bl_paired *d)
{
    if (d->log) return 100 * (exp(-d->direction * d->delta) - 1);
    if (d->percent) return -100 * d->direction * d->delta;
    return d->a != 0 ? -100 * d->direction * d->delta / fabs(d->a) : d->delta != 0 ? INFINITY : 0;
}

double bl_versus_loss(const bl_versus *v)
{
    double most = 0;
    for (size_t i = 0; i < v->n; i++)
        if (v->row[i].paired.verdict == BL_WORSE) most = BL_MAX(most, loss_of(&v->row[i].paired));
    return most;
}

/* ---- printing ----------------------------------------------------------------------------------- */
enum { COLUMNS = 12, FIRST_NUMBER = 3, VERDICT = COLUMNS - 1 };

/* Models, and methods where they are not the sides' names, differ between rows: then they are shown. */
static bool varies(const bl_versus *v, bool model)
{
    for (size_t i = 1; i < v->n; i++) {
        const bl_cell *a = v->row[0].a->cell, *b = v->row[i].a->cell;
        if (strcmp(model ? a->model : a->method, model ? b->model : b->method)) return true;
    }
    return false;
}

static void put_line(const bl_versus_row *r, bl_text *cell)
{
    const bl_paired *d = &r->paired;
    char text[96];

    bl_text_add(&cell[0], r->a->cell->model);
    bl_text_add(&cell[1], r->a->cell->method);
    if (!strcmp(r->a->cell->task, r->b->cell->task)) bl_text_addf(&cell[2], "%s ", r->a->cell->task);
    bl_text_addf(&cell[2], "%s%s", r->a->metric, d->percent ? " %" : "");
    if (*r->a->item_group) bl_text_addf(&cell[2], " %s", r->a->item_group);
    bl_text_addf(&cell[3], "%lld %s", (long long)d->n, d->over);
    bl_metric_text(d->a, 0, false, d->percent, text);
    bl_text_add(&cell[4], text);
    bl_metric_text(d->b, 0, false, d->percent, text);
    bl_text_add(&cell[5], text);
    bl_paired_text(d, text);
    bl_text_add(&cell[6], text);
    if (d->lost >= 0) bl_text_addf(&cell[7], "%lld:%lld", (long long)d->lost, (long long)d->gained);
    else bl_text_add(&cell[7], "-");
    bl_p_text(d->p, text);
    bl_text_add(&cell[8], text);
    bl_p_text(d->p_holm, text);
    bl_text_add(&cell[9], text);
    if (d->needed > 0) bl_text_addf(&cell[10], "%.0f", d->needed);
    else bl_text_add(&cell[10], "-");
    bl_text_addf(&cell[VERDICT], "%s %s", bl_verdict_mark(d->verdict), bl_verdict_name(d->verdict));
}

static size_t width_of(const char *s) { return s ? bl_utf8_count(s, strlen(s)) : 0; }

static void put_grid(const bl_text (*cell)[COLUMNS], size_t n, const bool show[COLUMNS], bool terminal, bl_text *out)
{
    size_t width[COLUMNS] = {0};
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < COLUMNS; k++) width[k] = BL_MAX(width[k], width_of(cell[i][k].s));
    for (size_t i = 0; i < n; i++) {
        bool first = true;
        for (int k = 0; k < COLUMNS; k++) {
            bool right = k >= FIRST_NUMBER && k < VERDICT;
            int gap = (int)(width[k] - width_of(cell[i][k].s));
            if (!show[k]) continue;
            bl_text_add(out, terminal ? first ? "" : "  " : first ? "| " : " | ");
            if (right) bl_text_addf(out, "%*s", gap, "");
            bl_text_add(out, cell[i][k].s);
            if (!right && !(terminal && k + 1 == COLUMNS)) bl_text_addf(out, "%*s", gap, "");
            first = false;
        }
        bl_text_add(out, terminal ? "\n" : " |\n");
        for (int k = 0; i == 0 && !terminal && k < COLUMNS; k++)
            if (show[k]) {
                bl_text_add(out, "|-");
                for (size_t w = 0; w < width[k]; w++) bl_text_add(out, "-");
                bl_text_add(out, k >= FIRST_NUMBER && k < VERDICT ? ":" : "-");
            }
        if (i == 0 && !terminal) bl_text_add(out, "|\n");
    }
}

static void put_legend(const bl_versus *v, const char *const name[2], const char *end, bl_text *out)
{
    bool log = false, share = false, used[BL_TEST_BOOTSTRAP + 1] = {0}, any = false;

    for (size_t i = 0; i < v->n; i++) {
        log = log || v->row[i].paired.log;
        share = share || v->row[i].paired.percent;
        used[v->row[i].paired.test] = true;
    }
    bl_text_addf(out, "difference: %s minus %s%s, paired, \xc2\xb1 its own standard error%s%s", name[1], name[0],
                 share ? " in points" : "", log ? "; \xc3\x97 the quotient of perplexities" : "", end);
    bl_text_addf(out, "lost:gained items that were right in %s and are wrong in %s, and the other way%s", name[0],
                 name[1], end);
    bl_text_add(out, "p two-sided (");
    for (int t = BL_TEST_MCNEMAR; t <= BL_TEST_BOOTSTRAP; t++) {
        if (!used[t]) continue;
        bl_text_addf(out, "%s%s", any ? ", " : "", bl_paired_test_name((bl_paired_test)t));
        any = true;
    }
    bl_text_addf(out, "); p Holm: adjusted for %zu comparison%s; verdict at the level 0.05 of it%s", v->n,
                 v->n == 1 ? "" : "s", end);
    bl_text_addf(out, "needed: items at which a difference of this size is found in four studies of five%s", end);
}

static void put_verdict(const bl_versus *v, const char *const name[2], bl_text *out)
{
    bl_text_addf(out, "%s against %s, over all: %s %s (%zu better, %zu worse, %zu undecided)\n", name[1], name[0],
                 bl_verdict_mark(v->verdict), bl_verdict_name(v->verdict), v->count[BL_BETTER], v->count[BL_WORSE],
                 v->count[BL_UNDECIDED]);
}

bl_status bl_versus_md(const bl_versus *v, const char *const name[2], bool terminal, bl_text *out, bl_err *e)
{
    static const char *const head[COLUMNS] = {"model",      "method",      "task", "n",      "",       "",
                                              "difference", "lost:gained", "p",    "p Holm", "needed", "verdict"};
    bl_status st = BL_OK;
    bl_text(*cell)[COLUMNS] = bl_new(v->n + 1, sizeof *cell, e);
    bool show[COLUMNS];
    const char *end = terminal ? "\n" : "  \n";

    if (!cell) return BL_E_NOMEM;
    bool two_tasks = v->n && strcmp(v->row[0].a->cell->task, v->row[0].b->cell->task) != 0; /* named by the sides */
    for (int k = 0; k < COLUMNS; k++) {
        bl_text_add(&cell[0][k], k == 2 && two_tasks ? "metric" : k == 4 ? name[0] : k == 5 ? name[1] : head[k]);
        show[k] = k > 1 || varies(v, k == 0);
    }
    for (size_t i = 0; i < v->n; i++) put_line(&v->row[i], cell[i + 1]);
    for (size_t i = 0; i < (v->n + 1) * COLUMNS; i++) BL_TRY(bl_text_check(&cell[i / COLUMNS][i % COLUMNS], e));
    put_grid((const bl_text(*)[COLUMNS])cell, v->n + 1, show, terminal, out);
    bl_text_add(out, "\n");
    put_verdict(v, name, out);
    bl_text_add(out, "\n");
    put_legend(v, name, end, out);
    if (v->only_a) bl_text_addf(out, "%zu results of %s have no partner%s", v->only_a, name[0], end);
    if (v->only_b) bl_text_addf(out, "%zu results of %s have no partner%s", v->only_b, name[1], end);
    st = bl_text_check(out, e);
out:
    for (size_t i = 0; i < (v->n + 1) * COLUMNS; i++) bl_text_free(&cell[i / COLUMNS][i % COLUMNS]);
    bl_free(cell);
    return st;
}

static void put_row(const bl_versus_row *r, bl_json_out *j)
{
    const bl_paired *d = &r->paired;

    bl_json_object(j, NULL);
    bl_json_add_str(j, "a", r->a->cell->key);
    bl_json_add_str(j, "b", r->b->cell->key);
    bl_json_add_str(j, "task", r->a->cell->task);
    bl_json_add_str(j, "metric", r->a->metric);
    if (*r->a->item_group) bl_json_add_str(j, "item_group", r->a->item_group);
    bl_json_add_int(j, "n", d->n);
    bl_json_add_str(j, "over", d->over);
    bl_json_add_real(j, "value_a", d->a);
    bl_json_add_real(j, "value_b", d->b);
    bl_json_add_real(j, "delta", d->delta);
    bl_json_add_str(j, "delta_unit", d->log ? "nat" : r->a->unit);
    if (d->test != BL_TEST_NONE) {
        bl_json_add_real(j, "delta_stderr", d->se);
        bl_json_add_real(j, "delta_low", d->low);
        bl_json_add_real(j, "delta_high", d->high);
        bl_json_add_str(j, "test", bl_paired_test_name(d->test));
        bl_json_add_real(j, "p", d->p);
        bl_json_add_real(j, "p_holm", d->p_holm);
    }
    if (d->lost >= 0) {
        bl_json_add_int(j, "lost", d->lost);
        bl_json_add_int(j, "gained", d->gained);
    }
    if (d->needed > 0) bl_json_add_real(j, "items_needed", d->needed);
    bl_json_add_str(j, "verdict", bl_verdict_name(d->verdict));
    bl_json_end(j);
}

bl_status bl_versus_json(const bl_versus *v, const char *const name[2], bl_text *out, bl_err *e)
{
    bl_json_out j = {.t = out, .compact = true};

    bl_json_object(&j, NULL);
    bl_json_add_str(&j, "a", name[0]);
    bl_json_add_str(&j, "b", name[1]);
    bl_json_add_str(&j, "verdict", bl_verdict_name(v->verdict));
    bl_json_add_int(&j, "better", (int64_t)v->count[BL_BETTER]);
    bl_json_add_int(&j, "worse", (int64_t)v->count[BL_WORSE]);
    bl_json_add_int(&j, "undecided", (int64_t)v->count[BL_UNDECIDED]);
    bl_json_add_int(&j, "only_a", (int64_t)v->only_a);
    bl_json_add_int(&j, "only_b", (int64_t)v->only_b);
    bl_json_lines(&j, "rows");
    for (size_t i = 0; i < v->n; i++) put_row(&v->row[i], &j);
    bl_json_end(&j);
    bl_json_end(&j);
    bl_text_add(out, "\n");
    return bl_text_check(out, e);
}
