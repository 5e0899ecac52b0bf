/* pivot.c - rows become places of a grid: which column, which row, and never two cells in one place.
 *
 *   1  the chosen rows give the columns (default task, metric); a task that occurs in several versions gets its version
 *      into the label
 *   2  every row goes to a place; one that failed has no metric and goes to all columns of its task
 *   3  while a place holds two rows, the first field in which such a pair differs joins the keys of the rows, and step
 * 2 again
 */
#include "table_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct placed {
    const bl_row *row;
    size_t column;
    const char *key;
} placed; /* key: the texts of the row keys, one after the other */
typedef struct builder {
    bl_pivot *p;
    const bl_field *col[BL_PIVOT_KEYS];
    int n_cols;
    const bl_row **row;
    size_t n; /* chosen, failed ones last */
    const char **col_key;
    size_t col_cap, key_cap; /* of each column */
    placed *placed;
    size_t n_placed, placed_cap;
    bl_text scratch;
    bl_err *e;
} builder;

bool bl_is_base(const bl_row *r) { return !strcmp(r->cell->method, "base"); }

/* ---- keys --------------------------------------------------------------------------------------- */
/* The texts of the fields in the arena, each with a unit separator after it. Fields marked as cost do not tell rows
 * apart. */
static const char *key_of(builder *b, const bl_field *const *f, int n, const bl_row *r, bool without_metric)
{
    const char *copy;

    b->scratch.n = 0;
    bl_text_add(&b->scratch, "");
    for (int i = 0; i < n; i++) {
        if (!f[i]->cost && !(without_metric && !strcmp(f[i]->name, "metric"))) bl_field_print(f[i], r, &b->scratch);
        bl_text_add(&b->scratch, "\x1f");
    }
    if (bl_text_check(&b->scratch, b->e) != BL_OK) return NULL;
    copy = bl_arena_str(b->p->arena, b->scratch.s, b->scratch.n, b->e);
    return copy;
}

static bl_status parse_list(const char *list, const bl_field **out, int *n, bl_err *e)
{
    char one[64];

    while (*list) {
        size_t k = strcspn(list, ",");
        snprintf(one, sizeof one, "%.*s", (int)BL_MIN(k, sizeof one - 1), list);
        if (*n == BL_PIVOT_KEYS / 2)
            return bl_fail(e, BL_E_CONFIG, "more than %d columns of a table are named", BL_PIVOT_KEYS / 2);
        if (!(out[*n] = bl_field_find(one, e))) return BL_E_CONFIG;
        ++*n;
        list += k + (list[k] == ',');
    }
    return BL_OK;
}

static bool has_field(const bl_field *const *f, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(f[i]->name, name)) return true;
    return false;
}

/* ---- columns ------------------------------------------------------------------------------------ */
static bl_status add_column(builder *b, const bl_row *r, const char *key)
{
    bl_pivot *p = b->p;
    bl_status st;
    bl_text *t = &b->scratch;
    size_t at = p->n_columns;

    if ((st = bl_grow(&p->column, &b->col_cap, at + 1, sizeof *p->column, b->e)) != BL_OK) return st;
    if ((st = bl_grow(&b->col_key, &b->key_cap, at + 1, sizeof *b->col_key, b->e)) != BL_OK) return st;
    t->n = 0;
    bl_text_add(t, "");
    for (int i = 0; i < b->n_cols; i++) {
        size_t before = t->n;
        bool is_version = !strcmp(b->col[i]->name, "version");
        if (t->n) bl_text_add(t, is_version ? " v" : " ");
        size_t start = t->n;
        bl_field_print(b->col[i], r, t);
        if (t->n == start) t->n = before;
    }
    if ((st = bl_text_check(t, b->e)) != BL_OK) return st;
    p->column[at] = (bl_pivot_column){.label = bl_arena_str(p->arena, t->n ? t->s : "", t->n, b->e),
                                      .direction = r->has_value ? r->direction : 0,
                                      .percent = r->percent,
                                      .first = r};
    if (!p->column[at].label) return BL_E_NOMEM;
    b->col_key[at] = key;
    p->n_columns++;
    return BL_OK;
}

static bool rows_have_metrics(const bl_pivot *p)
{
    bool any = false;
    for (int k = 0; k < p->n_keys; k++) any = any || bl_pivot_names_metric(p, k);
    return any;
}

/* Columns in the order of their first row, but all of one task together. Failed rows make one only where their task has
 * none. */
static bl_status make_columns(builder *b)
{
    bl_pivot *p = b->p;
    bl_status st;

    p->n_columns = 0;
    for (size_t i = 0; i < b->n; i++) {
        const bl_row *r = b->row[i];
        const char *key = key_of(b, b->col, b->n_cols, r, !r->has_value);
        size_t k = 0;
        if (!key) return BL_E_NOMEM;
        for (; k < p->n_columns; k++) {
            const char *other = r->has_value ? b->col_key[k] : key_of(b, b->col, b->n_cols, p->column[k].first, true);
            if (!other) return BL_E_NOMEM;
            if (!strcmp(other, key)) break;
        }
        if (k == p->n_columns && (st = add_column(b, r, key)) != BL_OK) return st;
        if (r->has_value && p->column[k].direction != r->direction) p->column[k].direction = 0;
    }
    for (size_t k = 0; k < p->n_columns && rows_have_metrics(p); k++) { /* each row says its own */
        p->column[k].percent = false;
        p->column[k].direction = 0;
    }
    for (size_t i = 1; i < p->n_columns; i++) { /* stable insertion: after the last column with the same first field */
        size_t to = i;
        const char *task = b->col_key[i], *first = strchr(task, '\x1f');
        size_t len = first ? (size_t)(first - task) + 1 : strlen(task);
        for (size_t k = 0; k < i; k++)
            if (!strncmp(b->col_key[k], task, len)) to = k + 1;
        bl_pivot_column c = p->column[i];
        memmove(&p->column[to + 1], &p->column[to], sizeof c * (i - to));
        memmove(&b->col_key[to + 1], &b->col_key[to], sizeof *b->col_key * (i - to));
        p->column[to] = c;
        b->col_key[to] = task;
    }
    return BL_OK;
}

/* ---- places ------------------------------------------------------------------------------------- */
static int by_place(const void *a, const void *b)
{
    const placed *x = a, *y = b;
    int order = strcmp(x->key, y->key);
    if (order) return order;
    if (x->column != y->column) return x->column < y->column ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

static bl_status place_one(builder *b, const bl_row *r, size_t column)
{
    bl_status st = bl_grow(&b->placed, &b->placed_cap, b->n_placed + 1, sizeof *b->placed, b->e);
    const char *key = st == BL_OK ? key_of(b, b->p->key, b->p->n_keys, r, false) : NULL;

    if (!key) return BL_E_NOMEM;
    b->placed[b->n_placed++] = (placed){r, column, key};
    return BL_OK;
}

static bl_status make_places(builder *b)
{
    bl_status st;

    b->n_placed = 0;
    for (size_t i = 0; i < b->n; i++) {
        const bl_row *r = b->row[i];
        const char *key = key_of(b, b->col, b->n_cols, r, !r->has_value);
        if (!key) return BL_E_NOMEM;
        for (size_t k = 0; k < b->p->n_columns; k++) {
            const char *other = r->has_value ? b->col_key[k]
                                             : key_of(b, b->col, b->n_cols, b->p->column[k].first, true);
            if (!other) return BL_E_NOMEM;
            if (!strcmp(other, key) && (st = place_one(b, r, k)) != BL_OK) return st;
        }
    }
    if (b->n_placed) qsort(b->placed, b->n_placed, sizeof *b->placed, by_place);
    return BL_OK;
}

/* The first field in which two rows of one place, or the sizes of one row, differ; NULL when every place holds one row.
 */
static bl_status find_difference(builder *b, const bl_field **out)
{
    const bl_field *f;
    const char *x, *y;

    *out = NULL;
    for (size_t i = 1; i < b->n_placed; i++) {
        const placed *p = &b->placed[i - 1], *q = &b->placed[i];
        if (p->column != q->column || strcmp(p->key, q->key)) continue;
        for (size_t k = 0; (f = bl_field_at(k)); k++) {
            if (!f->apart || has_field(b->p->key, b->p->n_keys, f->name)) continue;
            if (!(x = key_of(b, &f, 1, p->row, false)) || !(y = key_of(b, &f, 1, q->row, false))) return BL_E_NOMEM;
            if (strcmp(x, y)) {
                *out = f;
                return BL_OK;
            }
        }
    }
    return BL_OK;
}

/* One column holds two versions of a task: the version joins the columns. */
static bool mixes_versions(const builder *b)
{
    for (size_t i = 0; i < b->n_placed; i++)
        if (b->placed[i].row->has_value &&
            b->placed[i].row->cell->task_version != b->p->column[b->placed[i].column].first->cell->task_version)
            return true;
    return false;
}

/* ---- rows --------------------------------------------------------------------------------------- */
/* Bytes as megabytes; whole numbers as they are. */
static void put_cost(const bl_field *f, double v, bl_text *t)
{
    bool bytes = bl_field_in_megabytes(f);
    char text[64];
    if (!bytes && v == floor(v) && fabs(v) < 1e15) {
        bl_text_addf(t, "%.0f", v);
        return;
    }
    bl_number_text(bytes ? v / 1e6 : v, 0, false, text);
    bl_text_add(t, text);
}

/* The value of a cost field over the cells of a row: one text, or "least-most" where they differ. */
static bl_status cost_label(builder *b, const bl_field *f, const bl_pivot_row *row, const char **out)
{
    double least = INFINITY, most = -INFINITY;
    bool low = false;
    bl_text *t = &b->scratch;
    bool is_bits = !strcmp(f->name, "bits_per_weight") || !strcmp(f->name, "bits_all");

    for (size_t k = 0; k < b->p->n_columns; k++) {
        if (!row->cell[k] || !row->cell[k]->has_cost) continue;
        t->n = 0;
        bl_text_add(t, "");
        bl_field_print(f, row->cell[k], t);
        if (bl_text_check(t, b->e) != BL_OK) return BL_E_NOMEM;
        if (!t->n) continue;
        double v = strtod(t->s, NULL);
        least = BL_MIN(least, v);
        most = BL_MAX(most, v);
        low = true;
    }
    t->n = 0;
    bl_text_add(t, "");
    if (low && is_bits) bl_text_addf(t, most > least ? "%.3f-%.3f" : "%.2f", least, most);
    else if (low) {
        put_cost(f, least, t);
        const size_t n = t->n;
        bl_text_add(t, "-");
        put_cost(f, most, t);
        if (t->n == 2 * n + 1 && !memcmp(t->s, t->s + n + 1, n)) { /* they are told by the same digits */
            t->n = n;
            t->s[n] = 0;
        }
    }
    if (bl_text_check(t, b->e) != BL_OK) return BL_E_NOMEM;
    return (*out = bl_arena_str(b->p->arena, t->s, t->n, b->e)) ? BL_OK : BL_E_NOMEM;
}

/* "smollm2 (Q4_1)" where the checkpoint itself is quantized. */
static bool is_float(const char *stored_as)
{
    static const char *const floats[] = {"", "F32", "F16", "BF16", "fp32", "fp16", "bf16", "f32", "f16"};
    for (size_t i = 0; i < BL_COUNT(floats); i++)
        if (!strcmp(stored_as, floats[i])) return true;
    return false;
}

static bl_status row_labels(builder *b, bl_pivot_row *row)
{
    bl_status st;
    bl_text *t = &b->scratch;

    if (!(row->label = bl_alloc(b->p->arena, (size_t)b->p->n_keys, sizeof *row->label, b->e))) return BL_E_NOMEM;
    for (int i = 0; i < b->p->n_keys; i++) {
        const bl_field *f = b->p->key[i];
        if (f->cost) {
            if ((st = cost_label(b, f, row, &row->label[i])) != BL_OK) return st;
            continue;
        }
        t->n = 0;
        bl_text_add(t, "");
        bl_field_print(f, row->first, t);
        if (!strcmp(f->name, "model") && !is_float(row->first->cell->stored_as))
            bl_text_addf(t, " (%s)", row->first->cell->stored_as);
        if (!strcmp(f->name, "hash") && t->n > 12) t->n = 12;
        if (bl_text_check(t, b->e) != BL_OK || !(row->label[i] = bl_arena_str(b->p->arena, t->s, t->n, b->e)))
            return BL_E_NOMEM;
    }
    return BL_OK;
}

static bl_status make_rows(builder *b)
{
    bl_pivot *p = b->p;
    size_t n = 0;
    bl_status st;

    for (size_t i = 0; i < b->n_placed; i++) n += i == 0 || strcmp(b->placed[i].key, b->placed[i - 1].key) != 0;
    if (!(p->row = bl_alloc(p->arena, n, sizeof *p->row, b->e))) return BL_E_NOMEM;
    for (size_t i = 0; i < b->n_placed; i++) {
        bl_pivot_row *row;
        if (i == 0 || strcmp(b->placed[i].key, b->placed[i - 1].key)) {
            row = &p->row[p->n_rows++];
            if (!(row->cell = bl_alloc(p->arena, p->n_columns, sizeof *row->cell, b->e))) return BL_E_NOMEM;
        }
        row = &p->row[p->n_rows - 1];
        row->cell[b->placed[i].column] = b->placed[i].row;
        if (!row->first || (!row->first->has_cost && b->placed[i].row->has_cost)) row->first = b->placed[i].row;
    }
    for (size_t i = 0; i < p->n_rows; i++)
        if ((st = row_labels(b, &p->row[i])) != BL_OK) return st;
    return BL_OK;
}

/* ---- order -------------------------------------------------------------------------------------- */
/* How high on the ladder: honest bits where they are known, else the option. */
static double rung(const bl_row *r)
{
    const bl_cell *c = r->cell;
    return r->has_cost && c->bits_per_weight > 0 ? c->bits_per_weight : c->wbits > 0 ? (double)c->wbits : 16;
}

static int by_ladder(const bl_row *a, const bl_row *b)
{
    double x = rung(a), y = rung(b);
    if (bl_is_base(a) != bl_is_base(b)) return bl_is_base(a) ? -1 : 1;
    if (x != y) return x > y ? -1 : 1;
    return strcmp(a->cell->method, b->cell->method);
}

static int by_text_or_number(const char *a, const char *b)
{
    char *end_a, *end_b;
    double x = strtod(a, &end_a), y = strtod(b, &end_b);
    if (*a && *b && !*end_a && !*end_b) return (x > y) - (x < y);
    return strcmp(a, b);
}

/* For qsort, which passes no context; set before sorting. Tables are printed by one thread. */
static _Thread_local const bl_pivot *sorting;
static int by_row(const void *a, const void *b)
{
    const bl_pivot_row *x = a, *y = b;

    for (int i = 0; i < sorting->n_keys; i++) {
        const bl_field *f = sorting->key[i];
        int order = f->cost                      ? 0
                    : !strcmp(f->name, "method") ? by_ladder(x->first, y->first)
                    : !strcmp(f->name, "bits")   ? -by_text_or_number(x->label[i], y->label[i])
                                                 : by_text_or_number(x->label[i], y->label[i]);
        if (order) return order;
    }
    return 0;
}

/* ---- all together ------------------------------------------------------------------------------- */
static bl_status choose(builder *b, const bl_table *t, const bl_table_opts *o)
{
    size_t *chosen = NULL, n = 0;
    bl_status st = bl_rows_choose(t, o, &chosen, &n, b->e);

    if (st != BL_OK) return st;
    if (!(b->row = bl_new(n, sizeof *b->row, b->e))) st = BL_E_NOMEM;
    for (int failed = 0; failed < 2 && st == BL_OK; failed++)
        for (size_t i = 0; i < n; i++)
            if (t->row[chosen[i]].has_value == !failed) b->row[b->n++] = &t->row[chosen[i]];
    bl_free(chosen);
    return st;
}

bl_status bl_pivot_of(const bl_table *t, const bl_table_opts *o, bl_pivot **out, bl_err *e)
{
    bl_status st = BL_OK;
    builder b = {.e = e};
    const bl_field *more;

    if (!(b.p = bl_new(1, sizeof *b.p, e))) return BL_E_NOMEM;
    BL_TRY(bl_arena_new(&b.p->arena, e));
    BL_TRY(parse_list(o->rows       ? o->rows
                      : o->by_group ? "model,item_group,method,bits_per_weight"
                      : o->costs    ? "model,method,bits_per_weight,bits_all,packed_bytes,tokens_per_second,peak_bytes"
                                    : "model,method,bits_per_weight",
                      b.p->key, &b.p->n_keys, e));
    BL_TRY(parse_list(o->cols ? o->cols : "task,metric", b.col, &b.n_cols, e));
    BL_TRY(choose(&b, t, o));
    for (;;) {
        BL_TRY(make_columns(&b));
        BL_TRY(make_places(&b));
        if (!has_field(b.col, b.n_cols, "version") && !has_field(b.p->key, b.p->n_keys, "version") &&
            has_field(b.col, b.n_cols, "task") && mixes_versions(&b)) {
            b.col[b.n_cols++] = bl_field_find("version", e);
            continue;
        }
        BL_TRY(find_difference(&b, &more));
        if (!more) break;
        b.p->key[b.p->n_keys++] = more;
    }
    BL_TRY(make_rows(&b));
    sorting = b.p;
    if (b.p->n_rows) qsort(b.p->row, b.p->n_rows, sizeof *b.p->row, by_row);
    *out = b.p;
    b.p = NULL;
out:
    bl_pivot_free(b.p);
    bl_free(b.row);
    bl_free(b.col_key);
    bl_free(b.placed);
    bl_text_free(&b.scratch);
    return st;
}

void bl_pivot_free(bl_pivot *p)
{
    if (!p) return;
    bl_free(p->column);
    bl_arena_free(p->arena);
    bl_free(p);
}
