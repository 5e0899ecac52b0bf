/* table_tex.c - the pivot for a paper: booktabs, the best number of each column in bold, the difference from the
 * reference in brackets.
 *
 * "Best" is among rows that are not the base, of one model, scored on the same number of items; a column that mixes
 * numbers of items has no best. In brackets is the paired difference (bl_table_against), with its mark. What md says in
 * footnotes is said in comments after the table.
 */
#include "table_impl.h"

#include <math.h>
#include <string.h>

static void put_tex(bl_text *out, const char *s)
{
    static const struct {
        char c;
        const char *tex;
    } special[] = {
        {'\\', "\\textbackslash{}"},
        {'~', "\\textasciitilde{}"},
        {'^', "\\textasciicircum{}"},
        {'&', "\\&"},
        {'%', "\\%"},
        {'$', "\\$"},
        {'#', "\\#"},
        {'_', "\\_"},
        {'{', "\\{"},
        {'}', "\\}"},
        {'<', "\\textless{}"},
        {'>', "\\textgreater{}"},
    };
    for (; *s; s++) {
        size_t k = 0;
        while (k < BL_COUNT(special) && special[k].c != *s) k++;
        if (k < BL_COUNT(special)) bl_text_add(out, special[k].tex);
        else if ((unsigned char)*s < 0x20 || *s == 0x7f) bl_text_add(out, " ");
        else bl_text_addn(out, s, 1);
    }
}

static bool comparable(const bl_row *a, const bl_row *b)
{
    return a && b && a->has_value && b->has_value && a->n == b->n && a->cell->limit == b->cell->limit &&
           a->cell->drawn == b->cell->drawn && a->cell->task_version == b->cell->task_version &&
           !strcmp(a->cell->model, b->cell->model) && !strcmp(a->cell->stored_as, b->cell->stored_as);
}

static bool is_best(const bl_pivot *p, size_t column, const bl_row *r)
{
    int direction = p->column[column].direction;
    size_t others = 0;

    if (bl_is_base(r) || direction == 0) return false;
    for (size_t i = 0; i < p->n_rows; i++) {
        const bl_row *o = p->row[i].cell[column];
        if (!o || o == r || !o->has_value || bl_is_base(o) || strcmp(o->cell->model, r->cell->model)) continue;
        if (!comparable(o, r) || direction * (o->value - r->value) > 0) return false;
        others++;
    }
    return others > 0;
}

/* "64.2 ±1.1" becomes 64.2 $\pm$ 1.1. */
static void put_number(bl_text *out, const char *text)
{
    const char *pm = strstr(text, "\xc2\xb1");
    if (!pm) {
        bl_text_add(out, text);
        return;
    }
    bl_text_addn(out, text, (size_t)(pm - text));
    bl_text_addf(out, "$\\pm$ %s", pm + 2);
}

/* "+1.0 ±2.4" in brackets, and the mark: an arrow where it is more than chance. */
static void put_difference(const bl_paired *d, bl_text *out)
{
    static const char *const mark[] = {"", " $\\blacktriangle$", " $\\blacktriangledown$"};
    char text[96];
    const char *number = text;

    bl_paired_text(d, text);
    bl_text_add(out, " (");
    if (d->log) bl_text_add(out, "$\\times$");
    else if (*text == '-') bl_text_add(out, "$-$");
    else if (*text == '+') bl_text_add(out, "$+$");
    if (d->log) number += strlen("\xc3\x97");
    else if (*text == '-' || *text == '+') number++;
    put_number(out, number);
    bl_text_addf(out, "%s)", d->judged ? mark[d->verdict] : "");
}

static void put_cell(const bl_pivot *p, size_t column, const bl_row *r, bl_text *out, const bl_row **failed,
                     size_t *n_failed)
{
    char number[64];
    bool best;

    if (!r) {
        bl_text_add(out, "--");
        return;
    }
    if (!r->has_value) {
        failed[(*n_failed)++] = r;
        put_tex(out, r->status);
        return;
    }
    bl_metric_text(r->value, r->stderr_, r->has_stderr, r->percent, number);
    best = is_best(p, column, r);
    if (best) bl_text_add(out, "\\textbf{");
    put_number(out, number);
    if (best) bl_text_add(out, "}");
    if (r->cell->limit > 0 || r->cell->drawn > 0) bl_text_add(out, r->cell->limit > 0 ? "$^{*}$" : "$^{\\sim}$");
    if (r->paired) put_difference(r->paired, out);
}

/* Comments: what ± is, how many items, what the differences are, notes of the methods. */
static void put_comments(const bl_pivot *p, bl_text *out)
{
    const bl_row *compared = NULL;
    size_t judged = 0;

    bl_text_add(out, "% $\\pm$ one standard error\n");
    for (size_t k = 0; k < p->n_columns; k++) {
        const bl_row *of = NULL;
        bool same = true;
        for (size_t i = 0; i < p->n_rows; i++) {
            const bl_row *r = p->row[i].cell[k];
            if (!r || !r->has_value) continue;
            if (r->paired) compared = r;
            judged += r->paired && r->paired->judged;
            same = same && (!of || of->n == r->n);
            if (!of) of = r;
        }
        if (!of) continue;
        bl_text_add(out, "% ");
        put_tex(out, p->column[k].label);
        if (same) bl_text_addf(out, ": %lld %s in each row\n", (long long)of->n, of->over ? of->over : "items");
        else bl_text_add(out, ": numbers of items differ between rows\n");
    }
    if (compared) {
        bl_text_add(out, "% (...) the paired difference from ");
        put_tex(out, compared->against);
        bl_text_addf(out,
                     ", shares in points, perplexities as a quotient; triangles: better, worse at the level 0.05,\n"
                     "%% Holm over %zu comparisons (amssymb)\n",
                     judged);
    }
    for (size_t i = 0; i < p->n_rows; i++) {
        const bl_cell *c = p->row[i].first->cell;
        char seed[32];
        const char *text[] = {c->simulated, c->calibration, bl_odd_bos(c), bl_odd_seed(c, seed), c->notes};
        static const char *const before[] = {"simulated: ", "calibrated on ", "BOS ", "", ""};
        for (size_t k = 0; k < BL_COUNT(text); k++) {
            if (!text[k] || !*text[k]) continue;
            bl_text_add(out, "% ");
            put_tex(out, c->method);
            bl_text_addf(out, ": %s", before[k]);
            put_tex(out, text[k]);
            bl_text_add(out, "\n");
        }
    }
}

static bl_status put_not_grouped(const bl_table *t, const bl_table_opts *o, bl_text *out, bl_err *e)
{
    bl_text said = {0};
    bl_status st = bl_rows_not_grouped(t, o, &said, e);
    if (said.n) {
        bl_text_add(out, "% ");
        put_tex(out, said.s);
        bl_text_add(out, "\n");
    }
    bl_text_free(&said);
    return st;
}

static void put_unit(bool percent, int direction, bl_text *out)
{
    if (percent) bl_text_add(out, " \\%");
    bl_text_add(out, direction > 0 ? " $\\uparrow$" : direction < 0 ? " $\\downarrow$" : "");
}

bl_status bl_table_tex(const bl_table *t, const bl_table_opts *o, bl_text *out, bl_err *e)
{
    bl_pivot *p = NULL;
    const bl_row **failed = NULL;
    size_t n_failed = 0;
    bool has_limit = false;
    bl_status st;

    BL_TRY(bl_pivot_of(t, o, &p, e));
    if (!(failed = bl_new(p->n_rows * p->n_columns, sizeof *failed, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    bl_text_add(out, "% needs \\usepackage{booktabs}\n\\begin{tabular}{");
    for (int k = 0; k < p->n_keys; k++) bl_text_add(out, p->key[k]->cost ? "r" : "l");
    for (size_t k = 0; k < p->n_columns; k++) bl_text_add(out, "r");
    bl_text_add(out, "}\n\\toprule\n");
    for (int k = 0; k < p->n_keys; k++) {
        bl_text_add(out, k ? " & " : "");
        put_tex(out, p->key[k]->name);
        if (bl_field_in_megabytes(p->key[k])) bl_text_add(out, " MB");
    }
    for (size_t k = 0; k < p->n_columns; k++) {
        const bl_pivot_column *c = &p->column[k];
        bl_text_add(out, " & ");
        put_tex(out, c->label);
        put_unit(c->percent, c->direction, out);
    }
    bl_text_add(out, " \\\\\n\\midrule\n");
    for (size_t i = 0; i < p->n_rows; i++) {
        for (int k = 0; k < p->n_keys; k++) {
            bl_text_add(out, k ? " & " : "");
            put_tex(out, p->row[i].label[k]);
            if (bl_pivot_names_metric(p, k) && p->row[i].first->has_value)
                put_unit(p->row[i].first->percent, p->row[i].first->direction, out);
        }
        for (size_t k = 0; k < p->n_columns; k++) {
            const bl_row *r = p->row[i].cell[k];
            bl_text_add(out, " & ");
            put_cell(p, k, r, out, failed, &n_failed);
            has_limit = has_limit || (r && r->has_value && (r->cell->limit > 0 || r->cell->drawn > 0));
        }
        bl_text_add(out, " \\\\\n");
    }
    bl_text_add(out, "\\bottomrule\n\\end{tabular}\n");
    put_comments(p, out);
    if (has_limit)
        bl_text_add(out, "% * the first items only, \\textasciitilde{} drawn at random by the seed; not to be compared "
                         "with full rows\n");
    for (size_t i = 0; i < n_failed; i++) {
        bl_text_add(out, "% ");
        put_tex(out, failed[i]->cell->key);
        bl_text_addf(out, ": %s: ", failed[i]->status);
        put_tex(out, failed[i]->reason);
        bl_text_add(out, "\n");
    }
    BL_TRY(put_not_grouped(t, o, out, e));
out:
    bl_free(failed);
    bl_pivot_free(p);
    return st;
}
