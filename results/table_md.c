/* table_md.c - the pivot for reading: markdown, or plain aligned columns in a terminal.
 *
 *     method     bits_per_weight  piqa acc % ↑          wikitext2:gptq2048 perplexity ↓
 *     base                 16.00  68.2 ±1.1                                 16.80 ±0.12
 *     rtn:w4g64 a           4.31  66.9 ±3.3 · n=200*                        failed [1]
 *     rtn:w3g64 a           3.31  66.1 ±1.1 ▼                             21.30 ±0.15 ▼
 *
 * One standard error after ±, no more digits than it supports. ▲ ▼ · : what the same items say against the reference,
 * paired. n=…* : the first n items only. cut=…, joined=…, tied=…: what happened to so many items.
 */
#include "table_impl.h"
#include "kernels/base/utf8.h"

#include <string.h>

/* What happened to items of a cell, and is said beside its numbers. */
static const struct {
    const char *name, *meaning;
    size_t at;
} counters[] = {
    {"cut", "items shortened from the left to fit the model", offsetof(bl_cell, truncated)},
    {"joined", "items whose choice shares a token with its context", offsetof(bl_cell, boundary)},
    {"unscored", "items with a choice that has no token of its own; it counts as wrong", offsetof(bl_cell, unscored)},
    {"tied", "items whose best choices score the same; the first is taken", offsetof(bl_cell, ties)},
};

typedef struct sheet {
    const bl_pivot *p;
    size_t n_columns, n_lines; /* keys and places; header included */
    char **text;               /* [n_lines, n_columns] */
    const char **reason;
    size_t n_reasons, reason_cap; /* "failed: …" */
    const char **note;
    size_t n_notes, note_cap;
    const bl_row *compared; /* one that has a mark */
    size_t n_compared;      /* how many */
    bool deltas, test[BL_TEST_BOOTSTRAP + 1], of_log, of_share;
    const char *over[8]; /* "items", "perplexity over windows": what ± is over */
    size_t n_over;
    size_t older;      /* results that are left out */
    const char *alone; /* the method that no row has, so that nothing is compared; NULL */
    bool has_limit, has_drawn, has_error, has_gap, has_own, has_count[BL_COUNT(counters)];
} sheet;

/* Columns that a terminal needs for s: code points, which is right for all but wide scripts. */
static size_t width_of(const char *s) { return bl_utf8_count(s, strlen(s)); }

/* Names come from users: no control characters, and no bar that ends a markdown cell. */
static void put_name(bl_text *out, const char *s, bool terminal)
{
    for (; *s; s++) {
        if ((unsigned char)*s < 0x20 || *s == 0x7f) bl_text_add(out, " ");
        else if (*s == '|' && !terminal) bl_text_add(out, "\\|");
        else bl_text_addn(out, s, 1);
    }
}

static bl_status index_of(const char ***list, size_t *n, size_t *cap, const char *text, size_t *out, bl_err *e)
{
    bl_status st;
    for (*out = 0; *out < *n; ++*out)
        if (!strcmp((*list)[*out], text)) return BL_OK;
    if ((st = bl_grow(list, cap, *n + 1, sizeof **list, e)) != BL_OK) return st;
    (*list)[(*n)++] = text;
    return BL_OK;
}

/* `before` and `text` as a reason with a number, "what [3]". */
static bl_status put_reason(sheet *s, const char *what, const char *before, const char *text, bl_text *out, bl_err *e)
{
    size_t at;
    bl_status st;
    char *both = bl_format_text(e, "%s: %s", before, text);
    const char *kept = both ? bl_arena_str(s->p->arena, both, strlen(both), e) : NULL;

    bl_free(both);
    if (!kept) return BL_E_NOMEM;
    if ((st = index_of(&s->reason, &s->n_reasons, &s->reason_cap, kept, &at, e)) != BL_OK) return st;
    bl_text_addf(out, "%s [%zu]", what, at + 1);
    return BL_OK;
}

/* Is it a distance from the base (harness/score/divergence.h), which the base itself has not? */
static bool is_distance(const char *metric)
{
    return !strncmp(metric, "kl_", 3) || !strncmp(metric, "dp_", 3) || !strcmp(metric, "top1_agreement") ||
           !strcmp(metric, "flips");
}

/* Are two rows of the grid the same but for the metric? */
static bool alike(const bl_pivot *p, const bl_pivot_row *a, const bl_pivot_row *b)
{
    for (int k = 0; k < p->n_keys; k++)
        if (!bl_pivot_names_metric(p, k) && strcmp(a->label[k], b->label[k]) != 0) return false;
    return true;
}

/* Another number of the cell that has none at a place of the grid: in the same row where columns are metrics, else in
 * the same column. NULL: there is none. */
static const bl_row *other_number(const bl_pivot *p, size_t column, const bl_pivot_row *row, bool down)
{
    for (size_t k = 0; k < (down ? p->n_rows : p->n_columns); k++) {
        const bl_row *r = down ? p->row[k].cell[column] : row->cell[k];
        if (!r || !r->has_value) continue;
        if (down ? alike(p, &p->row[k], row) : !strcmp(r->cell->task, p->column[column].first->cell->task)) return r;
    }
    return NULL;
}

/* No number although the cell is done: a distance from the base, of the base itself or of a cell that was not compared
 * with it; or what means something for no item of this cell. */
static bl_status put_gap(sheet *s, size_t column, const bl_pivot_row *row, bl_text *out, bl_err *e)
{
    bool down = false;
    for (int k = 0; k < s->p->n_keys; k++) down = down || bl_pivot_names_metric(s->p, k);
    const bl_row *of = other_number(s->p, column, row, down), *metric = down ? row->first : s->p->column[column].first;
    if (of && metric->has_value && is_distance(metric->metric)) {
        if (!bl_is_base(of) && of->cell->kl_absent)
            return put_reason(s, "-", "not compared with the base", of->cell->kl_absent, out, e);
        if (bl_is_base(of)) {
            bl_text_add(out, "=");
            s->has_own = true;
            return BL_OK;
        }
    }
    bl_text_add(out, "-");
    s->has_gap = true;
    return BL_OK;
}

/* What ± is over: "items", or "perplexity over windows". */
static bl_status note_over(sheet *s, const bl_row *r, bl_err *e)
{
    const char *kept;
    char *text;

    if (!r->over) return BL_OK;
    text = strcmp(r->over, "items") ? bl_format_text(e, "of %s over %s", r->metric, r->over) : bl_strdup("items", e);
    if (!text) return BL_E_NOMEM;
    kept = bl_arena_str(s->p->arena, text, strlen(text), e);
    bl_free(text);
    if (!kept) return BL_E_NOMEM;
    for (size_t i = 0; i < s->n_over; i++)
        if (!strcmp(s->over[i], kept)) return BL_OK;
    if (s->n_over < BL_COUNT(s->over)) s->over[s->n_over++] = kept;
    return BL_OK;
}

/* The difference, when it is asked for, and the mark. */
static bl_status put_difference(sheet *s, const bl_row *r, bl_text *out, bl_err *e)
{
    const bl_paired *d = r->paired;
    char text[96];

    if (r->unpaired) return put_reason(s, "", "not compared", r->unpaired, out, e);
    if (!d || !d->judged) return BL_OK;
    if (s->deltas) {
        bl_paired_text(d, text);
        bl_text_addf(out, " %s", text);
        s->of_log = s->of_log || d->log;
        s->of_share = s->of_share || d->percent;
    }
    bl_text_addf(out, " %s", bl_verdict_mark(d->verdict));
    s->compared = r;
    s->n_compared++;
    s->test[d->test] = true;
    return BL_OK;
}

static bl_status put_cell(sheet *s, size_t column, const bl_pivot_row *row, bl_text *out, bl_err *e)
{
    const bl_row *r = row->cell[column];
    char number[64];
    bl_status st;
    bool own_error;

    if (!r) return put_gap(s, column, row, out, e);
    if (!r->has_value) return put_reason(s, r->status, r->status, r->reason, out, e);
    own_error = r->has_stderr && !(s->deltas && r->paired);
    bl_metric_text(r->value, r->stderr_, own_error, r->percent, number);
    bl_text_add(out, number);
    s->has_error = s->has_error || own_error;
    if (own_error && (st = note_over(s, r, e)) != BL_OK) return st;
    if ((st = put_difference(s, r, out, e)) != BL_OK) return st;
    if (r->cell->limit > 0 || r->cell->drawn > 0)
        bl_text_addf(out, " n=%lld%c", (long long)r->n, r->cell->limit > 0 ? '*' : '~');
    s->has_limit = s->has_limit || r->cell->limit > 0;
    s->has_drawn = s->has_drawn || r->cell->drawn > 0;
    if (*r->item_group) return BL_OK; /* what was counted is of all items, not of these */
    for (size_t k = 0; k < BL_COUNT(counters); k++) {
        int64_t n = *(const int64_t *)((const char *)r->cell + counters[k].at);
        if (n > 0) bl_text_addf(out, " %s=%lld", counters[k].name, (long long)n);
        s->has_count[k] = s->has_count[k] || n > 0;
    }
    return BL_OK;
}

/* Letters a, b, …, z, aa, … for notes. */
static void put_letter(bl_text *out, size_t i)
{
    if (i >= 26) put_letter(out, i / 26 - 1);
    bl_text_addf(out, "%c", (char)('a' + i % 26));
}

static bl_status put_mark(sheet *s, const char *before, const char *note, bool *any, bl_text *out, bl_err *e)
{
    size_t at;
    bl_status st;
    char *text = bl_format_text(e, "%s%s", before, note);
    const char *kept = text ? bl_arena_str(s->p->arena, text, strlen(text), e) : NULL;
    bl_free(text);
    if (!kept) return BL_E_NOMEM;
    if ((st = index_of(&s->note, &s->n_notes, &s->note_cap, kept, &at, e)) != BL_OK) return st;
    bl_text_add(out, *any ? "," : " ");
    put_letter(out, at);
    *any = true;
    return BL_OK;
}

static bool has_notes(const bl_row *r) { return r && r->cell->notes && *r->cell->notes; }

/* Is the note of column k of this row said by one that is before it, or by the first? */
static bool is_said(const bl_pivot_row *row, size_t k)
{
    const char *own = row->cell[k]->cell->notes;
    size_t i = 0;
    if (has_notes(row->first) && !strcmp(row->first->cell->notes, own)) return true;
    while (i < k && (!has_notes(row->cell[i]) || strcmp(row->cell[i]->cell->notes, own) != 0)) i++;
    return i < k;
}

/* What is special about the method of this row, as letters after the last of its names; and what else is to be known
 * of the numbers in it, whose data may have notes of its own. */
static bl_status put_marks(sheet *s, const bl_pivot_row *row, bl_text *out, bl_err *e)
{
    const bl_cell *c = row->first->cell;
    char seed[32];
    const struct {
        const char *before, *text;
    } marks[] = {{"simulated: ", c->simulated},
                 {"calibrated on ", c->calibration},
                 {"BOS ", bl_odd_bos(c)},
                 {"", bl_odd_seed(c, seed)},
                 {"", c->notes}};
    bl_status st = BL_OK;
    bool any = false;

    for (size_t i = 0; i < BL_COUNT(marks) && st == BL_OK; i++)
        if (marks[i].text && *marks[i].text) st = put_mark(s, marks[i].before, marks[i].text, &any, out, e);
    for (size_t k = 0; k < s->p->n_columns && st == BL_OK; k++)
        if (has_notes(row->cell[k]) && !is_said(row, k)) st = put_mark(s, "", row->cell[k]->cell->notes, &any, out, e);
    return st;
}

static bl_status keep(sheet *s, size_t line, size_t column, bl_text *t, bl_err *e)
{
    bl_status st = bl_text_check(t, e);
    if (st != BL_OK) return st;
    s->text[line * s->n_columns + column] = bl_arena_str(s->p->arena, t->n ? t->s : "", t->n, e);
    t->n = 0;
    return s->text[line * s->n_columns + column] ? BL_OK : BL_E_NOMEM;
}

static int mark_column(const bl_pivot *p)
{
    for (int i = 0; i < p->n_keys; i++)
        if (!strcmp(p->key[i]->name, "method")) return i;
    return 0;
}

static void put_unit(bool percent, int direction, bl_text *t)
{
    bl_text_add(t, percent ? " %" : "");
    bl_text_add(t, direction > 0 ? " \xe2\x86\x91" : direction < 0 ? " \xe2\x86\x93" : "");
}

static bl_status fill(sheet *s, bool terminal, bl_err *e)
{
    const bl_pivot *p = s->p;
    bl_text t = {0};
    bl_status st = BL_OK;
    size_t keys = (size_t)p->n_keys;

    for (size_t k = 0; k < keys; k++) {
        put_name(&t, p->key[k]->name, terminal);
        if (bl_field_in_megabytes(p->key[k])) bl_text_add(&t, " MB");
        BL_TRY(keep(s, 0, k, &t, e));
    }
    for (size_t k = 0; k < p->n_columns; k++) {
        const bl_pivot_column *c = &p->column[k];
        put_name(&t, c->label, terminal);
        put_unit(c->percent, c->direction, &t);
        BL_TRY(keep(s, 0, keys + k, &t, e));
    }
    for (size_t i = 0; i < p->n_rows; i++) {
        const bl_row *first = p->row[i].first;
        for (size_t k = 0; k < keys; k++) {
            put_name(&t, p->row[i].label[k], terminal);
            if (bl_pivot_names_metric(p, (int)k) && first->has_value) put_unit(first->percent, first->direction, &t);
            if ((int)k == mark_column(p)) BL_TRY(put_marks(s, &p->row[i], &t, e));
            BL_TRY(keep(s, i + 1, k, &t, e));
        }
        for (size_t k = 0; k < p->n_columns; k++) {
            BL_TRY(put_cell(s, k, &p->row[i], &t, e));
            BL_TRY(keep(s, i + 1, keys + k, &t, e));
        }
    }
out:
    bl_text_free(&t);
    return st;
}

static void pad(bl_text *out, size_t n) { bl_text_addf(out, "%*s", (int)n, ""); }

static bl_status put_lines(const sheet *s, bool terminal, bl_text *out, bl_err *e)
{
    size_t *width = bl_new(s->n_columns, sizeof *width, e), keys = (size_t)s->p->n_keys;

    if (!width) return BL_E_NOMEM;
    for (size_t i = 0; i < s->n_lines * s->n_columns; i++)
        width[i % s->n_columns] = BL_MAX(width[i % s->n_columns], width_of(s->text[i]));
    for (size_t i = 0; i < s->n_lines; i++) {
        for (size_t k = 0; k < s->n_columns; k++) {
            const char *text = s->text[i * s->n_columns + k];
            size_t gap = width[k] - width_of(text);
            bool right = k >= keys || s->p->key[k]->cost;
            bl_text_add(out, terminal ? k ? "  " : "" : k ? " | " : "| ");
            if (right) pad(out, gap);
            bl_text_add(out, text);
            if (!right && !(terminal && k + 1 == s->n_columns)) pad(out, gap);
        }
        bl_text_add(out, terminal ? "\n" : " |\n");
        for (size_t k = 0; i == 0 && !terminal && k < s->n_columns; k++) {
            bool right = k >= keys || s->p->key[k]->cost;
            bl_text_add(out, k ? "|" : "|-");
            for (size_t j = k ? 0 : 1; j < width[k] + 1; j++) bl_text_add(out, "-");
            bl_text_add(out, right ? ":" : "-");
            if (k + 1 == s->n_columns) bl_text_add(out, "|\n");
        }
    }
    bl_free(width);
    return BL_OK;
}

/* What the marks mean, and by which tests. */
static void put_legend(const sheet *s, const char *end, bl_text *out)
{
    const char *of = s->compared->against;
    bool any = false;

    if (s->deltas && s->of_share)
        bl_text_addf(out, "+ - the paired difference from %s, in points, \xc2\xb1 its own standard error%s", of, end);
    if (s->deltas && s->of_log)
        bl_text_addf(out, "\xc3\x97 the quotient by %s, paired, \xc2\xb1 its own standard error%s", of, end);
    for (int v = BL_UNDECIDED; v <= BL_WORSE; v++)
        bl_text_addf(out, "%s%s %s", v ? ", " : "", bl_verdict_mark((bl_verdict)v), bl_verdict_name((bl_verdict)v));
    bl_text_addf(out, " against %s at the level 0.05: the same items, paired (", of);
    for (int t = BL_TEST_MCNEMAR; t <= BL_TEST_BOOTSTRAP; t++) {
        if (!s->test[t]) continue;
        bl_text_addf(out, "%s%s", any ? ", " : "", bl_paired_test_name((bl_paired_test)t));
        any = true;
    }
    bl_text_addf(out, "%s), Holm over %zu comparison%s%s", any ? "" : "too few items", s->n_compared,
                 s->n_compared == 1 ? "" : "s", end);
}

/* The number of all items of column k: that of every row that is not a part of them; 0: there is none, or they differ.
 */
static int64_t items_of(const bl_pivot *p, size_t k, const char **unit)
{
    int64_t n = 0;

    for (size_t i = 0; i < p->n_rows; i++) {
        const bl_row *r = p->row[i].cell[k];
        if (!r || !r->has_value || r->cell->limit > 0 || r->cell->drawn > 0) continue;
        if (n && n != r->n) return 0;
        n = r->n;
        *unit = r->over ? r->over : "items";
    }
    return n;
}

/* How many items the full sets have: a task once for each kind of item, "piqa 1838 items". */
static void put_items(const bl_pivot *p, const char *end, bool terminal, bool first, bl_text *out)
{
    bool any = false;

    for (size_t k = 0; k < p->n_columns; k++) {
        const char *unit = NULL, *before = NULL, *task = p->column[k].first->cell->task;
        int64_t n = items_of(p, k, &unit);
        bool said = false;
        for (size_t j = 0; j < k && n && !said; j++)
            said = !strcmp(p->column[j].first->cell->task, task) && items_of(p, j, &before) == n &&
                   !strcmp(unit, before);
        if (!n || said) continue;
        bl_text_add(out, any ? ", " : first ? "\nn: " : "n: ");
        put_name(out, task, terminal);
        bl_text_addf(out, " %lld %s", (long long)n, unit);
        any = true;
    }
    if (any) bl_text_add(out, end);
}

static void put_footnotes(const sheet *s, bool terminal, bl_text *out)
{
    const char *end = terminal ? "\n" : "  \n"; /* two spaces: a line break in markdown */

    bool any = s->older || s->has_error || s->has_limit || s->has_drawn || s->has_gap || s->has_own || s->compared ||
               s->alone || s->n_notes || s->n_reasons;

    for (size_t k = 0; k < BL_COUNT(counters); k++) any = any || s->has_count[k];
    if (any) bl_text_add(out, "\n");
    if (s->has_error) {
        bl_text_add(out, "\xc2\xb1 one standard error");
        for (size_t i = 0; i < s->n_over; i++)
            bl_text_addf(out, "%s%s%s", i ? ", " : " ", strcmp(s->over[i], "items") ? "" : "over ", s->over[i]);
        bl_text_add(out, end);
    }
    put_items(s->p, end, terminal, !any, out);
    if (s->compared) put_legend(s, end, out);
    if (s->alone) bl_text_addf(out, "there is no %s here to compare with%s", s->alone, end);
    if (s->has_limit)
        bl_text_addf(out, "n=\xe2\x80\xa6* the first n items only, not to be compared with full rows%s", end);
    if (s->has_drawn)
        bl_text_addf(out, "n=\xe2\x80\xa6~ drawn at random by the seed, not to be compared with full rows%s", end);
    for (size_t k = 0; k < BL_COUNT(counters); k++)
        if (s->has_count[k]) bl_text_addf(out, "%s=\xe2\x80\xa6 %s%s", counters[k].name, counters[k].meaning, end);
    if (s->older)
        bl_text_addf(
            out, "%zu older result%s of the same cells %s left out (of another version of program, model or data)%s",
            s->older, s->older == 1 ? "" : "s", s->older == 1 ? "is" : "are", end);
    if (s->has_own) bl_text_addf(out, "= the base itself%s", end);
    if (s->has_gap) bl_text_addf(out, "- no result%s", end);
    for (size_t i = 0; i < s->n_notes; i++) {
        put_letter(out, i);
        bl_text_add(out, "  ");
        put_name(out, s->note[i], terminal);
        bl_text_add(out, end);
    }
    for (size_t i = 0; i < s->n_reasons; i++) {
        bl_text_addf(out, "[%zu] ", i + 1);
        put_name(out, s->reason[i], terminal);
        bl_text_add(out, end);
    }
}

/* What a table by groups leaves out. */
static bl_status put_not_grouped(const bl_table *t, const bl_table_opts *o, bl_text *out, bl_err *e)
{
    bl_status st;
    bl_text said = {0};
    BL_TRY(bl_rows_not_grouped(t, o, &said, e));
    if (!said.n) goto out;
    put_name(out, said.s, o->terminal);
    bl_text_add(out, o->terminal ? "\n" : "  \n");
out:
    bl_text_free(&said);
    return st;
}

/* --failed: which cells, and why. */
static bl_status list_failed(const bl_table *t, const bl_table_opts *o, bl_text *out, bl_err *e)
{
    size_t *chosen = NULL, n = 0, wide = 4;
    bl_status st = bl_rows_choose(t, o, &chosen, &n, e);

    if (st != BL_OK) return st;
    for (size_t i = 0; i < n; i++) wide = BL_MAX(wide, width_of(t->row[chosen[i]].cell->key));
    if (n == 0) bl_text_add(out, "no cell failed\n");
    else if (!o->terminal) bl_text_add(out, "| cell | status | reason |\n|---|---|---|\n");
    for (size_t i = 0; i < n; i++) {
        const bl_row *r = &t->row[chosen[i]];
        bl_text_add(out, o->terminal ? "" : "| ");
        put_name(out, r->cell->key, o->terminal);
        if (o->terminal) pad(out, wide - width_of(r->cell->key));
        bl_text_addf(out, o->terminal ? "  %-6s  " : " | %s | ", r->status);
        put_name(out, r->reason, o->terminal);
        bl_text_add(out, o->terminal ? "\n" : " |\n");
    }
    bl_free(chosen);
    return BL_OK;
}

bl_status bl_table_md(const bl_table *t, const bl_table_opts *o, bl_text *out, bl_err *e)
{
    bl_pivot *p = NULL;
    sheet s = {0};
    bl_status st;

    if (o->failed_only) return list_failed(t, o, out, e);
    BL_TRY(bl_pivot_of(t, o, &p, e));
    if (p->n_rows == 0) {
        bl_text_add(out, o->by_group && t->n ? "no result is given by groups of items\n" : "no results\n");
        BL_TRY(put_not_grouped(t, o, out, e));
        goto out;
    }
    s.p = p;
    s.deltas = o->deltas;
    s.alone = t->against;
    s.older = t->older;
    for (size_t i = 0; i < t->n && s.alone; i++)
        if (t->row[i].reference) s.alone = NULL;
    s.n_columns = (size_t)p->n_keys + p->n_columns;
    s.n_lines = p->n_rows + 1;
    if (!(s.text = bl_new(s.n_lines * s.n_columns, sizeof *s.text, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(fill(&s, o->terminal, e));
    BL_TRY(put_lines(&s, o->terminal, out, e));
    put_footnotes(&s, o->terminal, out);
    BL_TRY(put_not_grouped(t, o, out, e));
out:
    bl_free(s.text);
    bl_free(s.reason);
    bl_free(s.note);
    bl_pivot_free(p);
    return st;
}
