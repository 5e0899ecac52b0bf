/* rows.c - the columns of a row by name, which rows are chosen, and the two long forms: csv and json. */
#include "table_impl.h"
#include "cell_impl.h"
#include "kernels/base/json.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <string.h>

/* ---- columns ------------------------------------------------------------------------------------ */
static void put_real(bl_text *out, double v)
{
    char text[40];
    bl_real_text(v, text);
    bl_text_add(out, text);
}

static void put_count(bl_text *out, int64_t v) { bl_text_addf(out, "%" PRId64, v); }

#define TEXT(member)                                                                                                   \
    static void print_##member(const bl_row *r, bl_text *out) { bl_text_add(out, r->member); }
TEXT(metric)
TEXT(item_group)
TEXT(unit)
TEXT(status)
TEXT(reason)
TEXT(hash)
TEXT(dir)
TEXT(path)
#undef TEXT
static void print_key(const bl_row *r, bl_text *out) { bl_text_add(out, r->cell->key); }
static void print_value(const bl_row *r, bl_text *out)
{
    if (r->has_value) put_real(out, r->value);
}
static void print_stderr(const bl_row *r, bl_text *out)
{
    if (r->has_stderr) put_real(out, r->stderr_);
}
static void print_n(const bl_row *r, bl_text *out)
{
    if (r->has_value) put_count(out, r->n);
}
static void print_direction(const bl_row *r, bl_text *out)
{
    if (r->has_value) put_count(out, r->direction);
}

/* ---- the difference from the reference ---- */
static void print_against(const bl_row *r, bl_text *out) { bl_text_add(out, r->against ? r->against : ""); }
static void print_unpaired(const bl_row *r, bl_text *out) { bl_text_add(out, r->unpaired ? r->unpaired : ""); }
static void print_over(const bl_row *r, bl_text *out) { bl_text_add(out, r->over ? r->over : ""); }
static void print_delta_unit(const bl_row *r, bl_text *out)
{
    if (r->paired) bl_text_add(out, r->paired->log ? "nat" : r->unit);
}
static void print_test(const bl_row *r, bl_text *out)
{
    if (r->paired) bl_text_add(out, bl_paired_test_name(r->paired->test));
}
static void print_verdict(const bl_row *r, bl_text *out)
{
    if (r->paired && r->paired->judged) bl_text_add(out, bl_verdict_name(r->paired->verdict));
}
#define DIFFERENCE(member, there)                                                                                      \
    static void print_##member(const bl_row *r, bl_text *out)                                                          \
    {                                                                                                                  \
        const bl_paired *d = r->paired;                                                                                \
        if (d && (there)) put_real(out, (double)d->member);                                                            \
    }
DIFFERENCE(delta, true)
DIFFERENCE(se, d->test != BL_TEST_NONE)
DIFFERENCE(low, d->test != BL_TEST_NONE)
DIFFERENCE(high, d->test != BL_TEST_NONE)
DIFFERENCE(lost, d->lost >= 0)
DIFFERENCE(gained, d->gained >= 0)
DIFFERENCE(p, d->test != BL_TEST_NONE)
DIFFERENCE(p_holm, d->judged)
DIFFERENCE(needed, d->needed > 0)
#undef DIFFERENCE

/* What a row is called, what was measured, under what and at what cost, and where it is from. */
#define IS_TEXT  false
#define IS_INT   true
#define IS_COUNT true
#define IS_REAL  true
#define COLUMN(type, member, column, cost)                                                                             \
    {column, !(cost), cost, true, &bl_cell_fields[BL_FIELD_##member], NULL, IS_##type},
#define BL_CELL_PART(where, kind, unit, meaning)
static const bl_field fields[] = {
#define SHARD(...)
#define NAME(type, member, column) COLUMN(type, member, column, false)
#define CONDITION(...)
#define COST(...)
#define ORIGIN(...)
#define BL_CELL(type, member, where, unit, absent, column, use, meaning) use(type, member, column)
#include "cell.def"
#undef NAME
#undef CONDITION
    {"metric", true, false, true, NULL, print_metric, false},
    {"item_group", true, false, true, NULL, print_item_group, false},
    {"value", false, false, true, NULL, print_value, true},
    {"stderr", false, false, true, NULL, print_stderr, true},
    {"n", false, false, true, NULL, print_n, true},
    {"unit", false, false, true, NULL, print_unit, false},
    {"direction", false, false, true, NULL, print_direction, true},
    {"stderr_over", false, false, true, NULL, print_over, false},
    {"against", false, false, true, NULL, print_against, false},
    {"delta", false, false, true, NULL, print_delta, true},
    {"delta_unit", false, false, true, NULL, print_delta_unit, false},
    {"delta_stderr", false, false, true, NULL, print_se, true},
    {"delta_low", false, false, true, NULL, print_low, true},
    {"delta_high", false, false, true, NULL, print_high, true},
    {"lost", false, false, true, NULL, print_lost, true},
    {"gained", false, false, true, NULL, print_gained, true},
    {"test", false, false, true, NULL, print_test, false},
    {"p", false, false, true, NULL, print_p, true},
    {"p_holm", false, false, true, NULL, print_p_holm, true},
    {"verdict", false, false, true, NULL, print_verdict, false},
    {"items_needed", false, false, true, NULL, print_needed, true},
    {"not_compared", false, false, true, NULL, print_unpaired, false},
#define NAME(...)
#define CONDITION(type, member, column) COLUMN(type, member, column, false)
#include "cell.def"
#undef CONDITION
#undef COST
#define CONDITION(...)
#define COST(type, member, column) COLUMN(type, member, column, true)
#include "cell.def"
#undef COST
#undef ORIGIN
#define COST(...)
#define ORIGIN(type, member, column) {column, false, false, true, &bl_cell_fields[BL_FIELD_##member], NULL, IS_##type},
#include "cell.def"
#undef ORIGIN
#undef SHARD
#undef NAME
#undef CONDITION
#undef COST
#undef BL_CELL
    {"status", false, false, true, NULL, print_status, false},
    {"reason", false, false, true, NULL, print_reason, false},
    {"key", false, false, false, NULL, print_key, false},
    {"dir", true, false, false, NULL, print_dir, false},
    {"hash", true, false, false, NULL, print_hash, false},
    {"path", true, false, false, NULL, print_path, false},
};
#undef BL_CELL_PART
#undef COLUMN

const char *bl_odd_bos(const bl_cell *c)
{
    return c->bos && !strstr(c->bos, "by the tokenizer's rule") && strcmp(c->bos, "none") ? c->bos : NULL;
}

const char *bl_odd_seed(const bl_cell *c, char out[32])
{
    snprintf(out, 32, "seed %" PRId64, c->seed);
    return c->seed ? out : NULL;
}

const bl_field *bl_field_at(size_t i) { return i < BL_COUNT(fields) ? &fields[i] : NULL; }

void bl_field_print(const bl_field *f, const bl_row *r, bl_text *out)
{
    if (!f->cell) {
        f->print(r, out);
        return;
    }
    const void *p = (const char *)r->cell + f->cell->at;
    bool absent = f->cost && !r->has_cost;
    if (absent) return;
    switch (f->cell->type) {
    case BL_CELL_IS_TEXT:
        if (*(const char *const *)p) bl_text_add(out, *(const char *const *)p);
        break;
    case BL_CELL_IS_INT:
        if (!f->cell->absent || *(const int64_t *)p > 0) put_count(out, *(const int64_t *)p);
        break;
    case BL_CELL_IS_COUNT:
        if (*(const int64_t *)p >= 0) put_count(out, *(const int64_t *)p);
        break;
    case BL_CELL_IS_REAL:
        if (!f->cell->absent || *(const double *)p > 0) put_real(out, *(const double *)p);
        break;
    }
}

bool bl_field_same(const bl_field *f, const bl_row *a, const bl_row *b, bl_text *x, bl_text *y)
{
    x->n = y->n = 0;
    bl_text_add(x, "");
    bl_text_add(y, "");
    bl_field_print(f, a, x);
    bl_field_print(f, b, y);
    return !x->failed && !y->failed && x->n == y->n && !memcmp(x->s, y->s, x->n);
}

const bl_field *bl_field_find(const char *name, bl_err *e)
{
    const char *names[BL_COUNT(fields) + 1] = {0}, *near;

    for (size_t i = 0; i < BL_COUNT(fields); i++) {
        if (!strcmp(fields[i].name, name)) return &fields[i];
        names[i] = fields[i].name;
    }
    near = bl_nearest(name, names);
    bl_fail(e, BL_E_CONFIG, "a table has no column '%s'%s%s%s", name, near ? "; did you mean " : "", near ? near : "",
            near ? "?" : "");
    return NULL;
}

/* ---- choosing ----------------------------------------------------------------------------------- */
bool bl_is_listed(const char *list, const char *name)
{
    char one[256];
    while (*list) {
        size_t n = strcspn(list, ",");
        snprintf(one, sizeof one, "%.*s", (int)BL_MIN(n, sizeof one - 1), list);
        if (!fnmatch(one, name, 0)) return true;
        list += n + (list[n] == ',');
    }
    return false;
}

static bool is_wanted(const bl_row *r, const bl_table_opts *o, bool long_form)
{
    return o->metric ? bl_is_listed(o->metric, r->metric) : o->all_metrics || long_form || r->headline;
}

bl_status bl_rows_not_grouped(const bl_table *t, const bl_table_opts *o, bl_text *out, bl_err *e)
{
    size_t n = 0, k;
    const char **task = o->by_group ? bl_new(t->n + 1, sizeof *task, e) : NULL;

    if (!o->by_group) return BL_OK;
    if (!task) return BL_E_NOMEM;
    for (size_t i = 0, end; i < t->n; i = end) { /* the rows of a cell are neighbours */
        bool value = false, grouped = false;
        for (end = i; end < t->n && t->row[end].cell == t->row[i].cell; end++) {
            const bl_row *r = &t->row[end];
            value = value || r->has_value;
            grouped = grouped || (r->has_value && r->item_group[0] && is_wanted(r, o, false));
        }
        if (!value || grouped) continue;
        for (k = 0; k < n && strcmp(task[k], t->row[i].cell->task) != 0;) k++;
        if (k == n) task[n++] = t->row[i].cell->task;
    }
    for (k = 0; k < n; k++) bl_text_addf(out, "%s%s", k ? ", " : "without numbers by groups, so not here: ", task[k]);
    bl_free(task);
    return bl_text_check(out, e);
}

bl_status bl_rows_choose(const bl_table *t, const bl_table_opts *o, size_t **out, size_t *n, bl_err *e)
{
    bool long_form = o->format == BL_TABLE_CSV || o->format == BL_TABLE_JSON;
    size_t count = 0, *chosen = bl_new(t->n, sizeof *chosen, e);

    if (!chosen) return BL_E_NOMEM;
    for (size_t i = 0; i < t->n; i++) {
        const bl_row *r = &t->row[i];
        bool wanted = !r->has_value;
        if (r->has_value && !o->failed_only) {
            wanted = is_wanted(r, o, long_form);
            if (!long_form) wanted = wanted && (r->item_group[0] != 0) == o->by_group;
        }
        if (wanted) chosen[count++] = i;
    }
    *out = chosen;
    *n = count;
    return BL_OK;
}

/* ---- csv ---------------------------------------------------------------------------------------- */
static void put_quoted(bl_text *out, const char *s)
{
    bl_text_add(out, "\"");
    for (; *s; s++) {
        if (*s == '"') bl_text_add(out, "\"");
        bl_text_addn(out, s, 1);
    }
    bl_text_add(out, "\"");
}

bl_status bl_table_csv(const bl_table *t, const bl_table_opts *o, bl_text *out, bl_err *e)
{
    size_t *chosen = NULL, n = 0;
    bl_text text = {0};
    const bl_field *f;
    bl_status st;

    BL_TRY(bl_rows_choose(t, o, &chosen, &n, e));
    for (size_t k = 0; (f = bl_field_at(k)); k++)
        if (f->csv) bl_text_addf(out, "%s%s", k ? "," : "", f->name);
    bl_text_add(out, "\n");
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; (f = bl_field_at(k)); k++) {
            if (!f->csv) continue;
            text.n = 0;
            bl_text_add(&text, "");
            bl_field_print(f, &t->row[chosen[i]], &text);
            BL_TRY(bl_text_check(&text, e));
            if (k) bl_text_add(out, ",");
            if (text.n == 0) continue;
            if (strpbrk(text.s, ",\"\r\n")) put_quoted(out, text.s);
            else bl_text_add(out, text.s);
        }
        bl_text_add(out, "\n");
    }
out:
    bl_text_free(&text);
    bl_free(chosen);
    return st;
}

/* ---- json --------------------------------------------------------------------------------------- */
/* What is absent or empty is left out. */
static bl_status put_row(bl_json_out *o, const bl_row *r, bl_text *text, bl_err *e)
{
    const bl_field *f;
    bl_status st = BL_OK;

    bl_json_object(o, NULL);
    for (size_t k = 0; (f = bl_field_at(k)); k++) {
        text->n = 0;
        bl_text_add(text, "");
        bl_field_print(f, r, text);
        BL_TRY(bl_text_check(text, e));
        if (!text->n) continue;
        if (f->number) bl_json_add_text(o, f->name, text->s);
        else bl_json_add_strn(o, f->name, text->s, text->n);
    }
    bl_json_end(o);
out:
    return st;
}

bl_status bl_table_json(const bl_table *t, const bl_table_opts *o, bl_text *out, bl_err *e)
{
    size_t *chosen = NULL, n = 0;
    bl_text text = {0};
    bl_json_out j = {.t = out, .compact = true};
    bl_status st;

    BL_TRY(bl_rows_choose(t, o, &chosen, &n, e));
    bl_json_object(&j, NULL);
    bl_json_lines(&j, "rows");
    for (size_t i = 0; i < n; i++) BL_TRY(put_row(&j, &t->row[chosen[i]], &text, e));
    bl_json_end(&j);
    bl_json_lines(&j, "skipped");
    for (size_t i = 0; i < t->skipped; i++) bl_json_add_str(&j, NULL, t->skipped_reason[i]);
    bl_json_end(&j);
    bl_json_end(&j);
    bl_text_add(out, "\n");
out:
    bl_text_free(&text);
    bl_free(chosen);
    return st;
}
