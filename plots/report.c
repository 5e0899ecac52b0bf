/* report.c - the page: what it says, in which order. */
#include "report.h"
#include "picks.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_UNDECIDED = 12, MOST_ITEMS = 5, MOST_ROWS_NAMED = 6, MOST_TEXT = 1500 };

static const char style[] =
    "html{font:16px/1.5 system-ui,\"DejaVu Sans\",sans-serif;color:#1c1c1c;background:#fff;-webkit-text-size-adjust:"
    "100%}\n"
    "body{margin:0 auto;max-width:76rem;padding:1rem 1.2rem 4rem}\n"
    "h1{font-size:1.6rem;line-height:1.2;margin:.6rem 0}h2{font-size:1.25rem;margin:2.6rem 0 .6rem;border-bottom:1px "
    "solid #ddd;padding-bottom:.2rem}h3{font-size:1rem;margin:1.6rem 0 .3rem}\n"
    "p{margin:.5rem 0}.note,.about{color:#555;font-size:.85rem;margin:.15rem "
    "0}.answer{font-size:1.1rem;border-left:4px "
    "solid #0072b2;padding:.3rem .9rem;background:#f4f8fb}\n"
    "nav{font-size:.9rem;margin:.8rem 0}nav a{margin-right:1rem;color:#005a8c}\n"
    ".wide{overflow-x:auto;margin:.6rem 0}table{border-collapse:collapse;font-size:.85rem}\n"
    "th,td{padding:.22rem .5rem;text-align:left;border-bottom:1px solid #e6e6e6;white-space:nowrap;vertical-align:top}"
    "th{border-bottom:2px solid #999;font-weight:600}.r{text-align:right;font-variant-numeric:tabular-nums}\n"
    ".worse{color:#a34700;font-weight:600}.better{color:#005a8c;font-weight:600}.undecided{color:#666}\n"
    "figure{margin:1.6rem 0;break-inside:avoid}figure svg{width:100%;height:auto;border:1px solid #eee}figure svg "
    "g{font-family:system-ui,\"DejaVu Sans\",sans-serif}figcaption{color:#555;font-size:.85rem}\n"
    ".item{border:1px solid #ddd;border-radius:4px;padding:.5rem .9rem;margin:.8rem 0;break-inside:avoid}.item "
    "ol{margin:.3rem 0;padding-left:1.6rem}.q{white-space:pre-wrap;overflow-wrap:anywhere}.gold{font-weight:600}\n"
    "pre{background:#f5f5f5;padding:.6rem .8rem;overflow-x:auto;font-size:.8rem;white-space:pre-wrap;overflow-wrap:"
    "anywhere}\n"
    "@media(max-width:40rem){body{padding:.6rem .7rem 3rem}table{font-size:.75rem}th,td{padding:.2rem .3rem}figure "
    ".scroll{overflow-x:auto}figure svg{min-width:36rem}"
    "h1{font-size:1.3rem}}\n"
    "@media "
    "print{@page{size:A4;margin:14mm}html{font-size:10.5px}nav{display:none}.wide{overflow:visible}th,td{padding:"
    ".1rem .3rem;white-space:normal}h2{break-after:avoid}tr{break-inside:avoid}body{max-width:none;padding:0}}\n";

typedef struct page {
    const bl_report *r;
    bl_text *out;
    bl_arena *a;
    bl_err *e;
} page;

static void put(page *p, const char *s) { bl_text_add(p->out, s); }
static void text(page *p, const char *s) { bl_html_text(p->out, s); }
static void element(page *p, const char *tag, const char *class, const char *s)
{
    bl_text_addf(p->out, "<%s%s%s%s>", tag, *class ? " class=\"" : "", class, *class ? "\"" : "");
    text(p, s);
    bl_text_addf(p->out, "</%s>", tag);
}
static void section(page *p, const char *id, const char *title)
{
    bl_text_addf(p->out, "<h2 id=\"%s\">%s</h2>\n", id, title);
}

/* ---- which rows, by how much, how sure ---------------------------------------------------------- */
typedef struct judged {
    const bl_row **row;
    size_t n, count[3];
} judged;

static int by_loss(const void *x, const void *y)
{
    const bl_paired *a = (*(const bl_row *const *)x)->paired, *b = (*(const bl_row *const *)y)->paired;
    if (a->p_holm != b->p_holm) return a->p_holm < b->p_holm ? -1 : 1;
    if (a->p != b->p) return a->p < b->p ? -1 : 1;
    return x < y ? -1 : x > y;
}

static bl_status judge(page *p, judged *j)
{
    const bl_table *t = p->r->in->table;
    if (!(j->row = bl_alloc(p->a, t->n, sizeof(const bl_row *), p->e))) return BL_E_NOMEM;
    for (size_t i = 0; i < t->n; i++) {
        const bl_paired *d = t->row[i].paired;
        if (!d || !d->judged) continue;
        j->row[j->n++] = &t->row[i];
        j->count[d->verdict]++;
    }
    if (j->n) qsort(j->row, j->n, sizeof(const bl_row *), by_loss);
    return BL_OK;
}

static void put_interval(const bl_paired *d, char out[96])
{
    char low[32], high[32];
    double scale = d->percent ? 100 : 1, a = d->log ? exp(d->low) : scale * d->low,
           b = d->log ? exp(d->high) : scale * d->high;
    bl_figure_number(a, 3, low);
    bl_figure_number(b, 3, high);
    snprintf(out, 96, "%s%s to %s%s", d->log ? "×" : "", low, d->log ? "×" : "", high);
}

static void put_rows(page *p, const judged *j, bl_verdict which, size_t most, bool needed)
{
    size_t shown = 0;
    bool models = false;

    for (size_t i = 0; i < j->n; i++) models = models || strcmp(j->row[i]->cell->model, j->row[0]->cell->model) != 0;
    put(p, "<div class=\"wide\"><table>\n<thead><tr>");
    if (models) put(p, "<th>model</th>");
    bl_text_addf(p->out,
                 "<th>method</th><th class=\"r\">bits</th><th>task</th><th class=\"r\">base → here</th>"
                 "<th class=\"r\">difference</th><th class=\"r\">p (Holm)</th>%s<th class=\"r\">lost : gained</th>"
                 "<th class=\"r\">n</th><th class=\"r\">95 %% interval</th></tr></thead>\n<tbody>\n",
                 needed ? "<th class=\"r\">n to decide</th>" : "");
    for (size_t i = 0; i < j->n && shown < most; i++) {
        const bl_row *r = j->row[i];
        const bl_paired *d = r->paired;
        char value[64], interval[96], difference[96], prob[24];
        if (d->verdict != which) continue;
        shown++;
        put(p, "<tr>");
        if (models) element(p, "td", "", r->cell->model);
        element(p, "td", "", r->cell->method);
        bl_text_addf(p->out, "<td class=\"r\">%.2f</td><td>", r->cell->bits_per_weight);
        text(p, r->cell->task);
        put(p, " ");
        text(p, r->metric);
        put(p, "</td>");
        bl_metric_text(d->a, 0, false, d->percent, value);
        bl_text_addf(p->out, "<td class=\"r\">%s → ", value);
        bl_metric_text(d->b, 0, false, d->percent, value);
        bl_text_addf(p->out, "%s%s</td>", value, d->percent ? " %" : "");
        bl_paired_text(d, difference);
        bl_text_addf(p->out, "<td class=\"r %s\">%s %s</td>", bl_verdict_name(which), difference,
                     bl_verdict_mark(which));
        bl_p_text(d->p_holm, prob);
        element(p, "td", "r", prob);
        if (needed && d->needed > (double)d->n && d->needed < 1e9)
            bl_text_addf(p->out, "<td class=\"r\">%.0f</td>", d->needed);
        else if (needed) put(p, "<td class=\"r\">–</td>");
        if (d->lost >= 0)
            bl_text_addf(p->out, "<td class=\"r\">%lld : %lld</td>", (long long)d->lost, (long long)d->gained);
        else put(p, "<td class=\"r\"></td>");
        bl_text_addf(p->out, "<td class=\"r\">%lld %s</td>", (long long)d->n, d->over);
        put_interval(d, interval);
        element(p, "td", "r", interval);
        put(p, "</tr>\n");
    }
    put(p, "</tbody></table></div>\n");
    if (j->count[which] > shown)
        bl_text_addf(p->out, "<p class=\"note\">%zu more are in the map below.</p>\n", j->count[which] - shown);
}

/* A line a method: on how many numbers it is worse, better, undecided. */
static bl_status put_methods(page *p, const judged *j)
{
    struct line {
        const bl_row *row;
        size_t count[3];
    } *line = bl_alloc(p->a, j->n, sizeof *line, p->e);
    size_t n = 0;

    if (!line) return BL_E_NOMEM;
    for (size_t i = 0; i < j->n; i++) {
        const bl_cell *c = j->row[i]->cell;
        size_t k = 0;
        while (k < n && (strcmp(line[k].row->cell->method, c->method) || strcmp(line[k].row->cell->model, c->model)))
            k++;
        if (k == n) line[n++].row = j->row[i];
        line[k].count[j->row[i]->paired->verdict]++;
    }
    for (size_t i = 1; i < n; i++) /* the most bits first */
        for (size_t k = i; k && line[k].row->cell->bits_per_weight > line[k - 1].row->cell->bits_per_weight; k--) {
            struct line swap = line[k];
            line[k] = line[k - 1];
            line[k - 1] = swap;
        }
    put(p,
        "<div class=\"wide\"><table>\n<thead><tr><th>method</th><th class=\"r\">bits</th><th class=\"r\">worse</th><th "
        "class=\"r\">better</th><th class=\"r\">undecided</th><th>so</th></tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < n; i++) {
        const size_t *c = line[i].count;
        bl_verdict v = c[BL_WORSE] && !c[BL_BETTER]   ? BL_WORSE
                       : c[BL_BETTER] && !c[BL_WORSE] ? BL_BETTER
                                                      : BL_UNDECIDED;
        put(p, "<tr>");
        element(p, "td", "", line[i].row->cell->method);
        bl_text_addf(p->out,
                     "<td class=\"r\">%.2f</td><td class=\"r\">%zu</td><td class=\"r\">%zu</td><td class=\"r\">%zu</td>"
                     "<td class=\"%s\">%s %s</td></tr>\n",
                     line[i].row->cell->bits_per_weight, c[BL_WORSE], c[BL_BETTER], c[BL_UNDECIDED], bl_verdict_name(v),
                     c[BL_WORSE] && c[BL_BETTER] ? "both" : bl_verdict_name(v), bl_verdict_mark(v));
    }
    put(p, "</tbody></table></div>\n");
    return BL_OK;
}

static bl_status put_answer(page *p, const judged *j)
{
    bl_status st = BL_OK;

    section(p, "answer", "Which rows are worse than the base, by how much, and how sure is that?");
    if (!j->n) {
        put(p,
            "<p class=\"answer\">Nothing was compared: there is no <code>base</code> here that has the same items as "
            "another row. Run <code>base</code> into the same directory.</p>\n");
        return BL_OK;
    }
    bl_text_addf(
        p->out,
        "<p class=\"answer\">Of %zu comparisons with the base <b class=\"worse\">%zu %s worse</b>, <b "
        "class=\"better\">%zu better</b>, <b class=\"undecided\">%zu undecided</b>.</p>\n"
        "<p class=\"note\">The same items, paired; level %g after Holm’s correction over all %zu. Undecided means "
        "that so many items cannot tell, not that there is no difference.</p>\n",
        j->n, j->count[BL_WORSE], j->count[BL_WORSE] == 1 ? "is" : "are", j->count[BL_BETTER], j->count[BL_UNDECIDED],
        BL_LEVEL, j->n);
    BL_TRY(put_methods(p, j));
    if (j->count[BL_WORSE]) {
        put(p, "<h3>Worse</h3>\n");
        put_rows(p, j, BL_WORSE, j->n, false);
    }
    if (j->count[BL_BETTER]) {
        put(p, "<h3>Better</h3>\n");
        put_rows(p, j, BL_BETTER, j->n, false);
    }
    if (j->count[BL_UNDECIDED]) {
        put(p, "<h3>Undecided, the surest first</h3>\n<p class=\"note\">n to decide: items at which a difference of "
               "this size, asked alone, would be found in four "
               "studies of five; –: so many as there are here, but not among all these comparisons.</p>\n");
        put_rows(p, j, BL_UNDECIDED, MOST_UNDECIDED, true);
    }
out:
    return st;
}

/* ---- tables and figures ------------------------------------------------------------------------- */
static bl_status put_tables(page *p)
{
    bl_status st = BL_OK;
    bl_text md = {0};
    const bl_table *t = p->r->in->table;
    bool failed = false;

    section(p, "results", "Results");
    BL_TRY(bl_table_print(t, &(bl_table_opts){.rows = "method,bits_per_weight"}, &md, p->e));
    bl_html_of_markdown(p->out, md.s ? md.s : "");
    for (size_t i = 0; i < t->n; i++) failed = failed || !t->row[i].has_value;
    if (failed) {
        md.n = 0;
        put(p, "<h3>Without a result</h3>\n");
        BL_TRY(bl_table_print(t, &(bl_table_opts){.failed_only = true}, &md, p->e));
        bl_html_of_markdown(p->out, md.s ? md.s : "");
    }
    for (size_t i = 0; i < t->skipped; i++) {
        put(p, "<p class=\"note\">Not read: ");
        text(p, t->skipped_reason[i]);
        put(p, "</p>\n");
    }
out:
    bl_text_free(&md);
    return st;
}

static bl_status put_figure(page *p, const bl_plot *plot, size_t number)
{
    bl_text svg = {0};
    char prefix[32];
    bl_err why = {0};
    bl_status st = bl_plot_bytes(plot, p->r->in, BL_PLOT_SVG, &svg, &why);

    if (st == BL_E_MISSING) { /* no gnuplot */
        bl_text_addf(p->out, "<p class=\"note\">The figure %s is not here: ", plot->name);
        text(p, strstr(why.text, "gnuplot") ? strstr(why.text, "gnuplot") : why.text);
        put(p, "</p>\n");
        st = BL_OK;
        goto out;
    }
    if (st != BL_OK) {
        if (p->e) *p->e = why;
        goto out;
    }
    snprintf(prefix, sizeof prefix, "f%zu-", number);
    bl_text_addf(p->out, "<figure id=\"%s\"><div class=\"scroll\">\n", plot->name);
    if (!bl_html_of_svg(p->out, svg.s, prefix, plot->doc)) {
        st = bl_fail(p->e, BL_E_FORMAT, "figure %s: gnuplot's picture is no svg", plot->name);
        goto out;
    }
    bl_text_addf(p->out, "</div><figcaption>Figure %zu: ", number);
    text(p, plot->doc);
    put(p, "</figcaption></figure>\n");
out:
    bl_text_free(&svg);
    return st;
}

static bl_status put_figures(page *p)
{
    static const char *const first[] = {"heatmap", "ppl_bits", "acc_bits", "pareto",
                                        "flips",   "layers",   "loss",     "kernels"};
    bl_status st = BL_OK;
    size_t number = 0;

    section(p, "figures", "Figures");
    for (size_t pass = 0; pass < 2; pass++) /* those in the list, then all others */
        for (size_t i = 0; pass ? bl_plot_at(i) != NULL : i < BL_COUNT(first); i++) {
            const bl_plot *plot = pass ? bl_plot_at(i) : bl_plot_find(first[i]);
            bool fits, listed = false;
            for (size_t k = 0; k < BL_COUNT(first) && pass; k++) listed = listed || !strcmp(first[k], plot->name);
            if (listed) continue;
            BL_TRY(bl_plot_fits(plot, p->r->in, &fits, p->e));
            if (fits) BL_TRY(put_figure(p, plot, ++number));
        }
    if (!number) put(p, "<p>The results fit no figure.</p>\n");
out:
    return st;
}

/* ---- items -------------------------------------------------------------------------------------- */
typedef struct lost {
    int64_t at; /* in the base's samples */
    size_t by;  /* rows that had it wrong */
} lost;

static int most_lost(const void *x, const void *y)
{
    const lost *a = x, *b = y;
    if (a->by != b->by) return a->by > b->by ? -1 : 1;
    return (a->at > b->at) - (a->at < b->at);
}

static int most_bits(const void *x, const void *y)
{
    const bl_row *a = *(const bl_row *const *)x, *b = *(const bl_row *const *)y;
    if (a->cell->bits_per_weight != b->cell->bits_per_weight)
        return a->cell->bits_per_weight > b->cell->bits_per_weight ? -1 : 1;
    return strcmp(a->cell->method, b->cell->method);
}

static void put_letter_of(page *p, int pick)
{
    if (pick < 0) put(p, "nothing");
    else bl_text_addf(p->out, "%c", 'A' + pick % 26);
}

/* No longer than a reader wants: its end, which is where the question is. */
static void put_text(page *p, const char *s)
{
    size_t n = strlen(s), from = n > MOST_TEXT ? n - MOST_TEXT : 0;
    while (((unsigned char)s[from] & 0xc0) == 0x80) from++;
    if (from) put(p, "… ");
    text(p, s + from);
}

static void put_reply(page *p, const char *who, const bl_sample *s)
{
    if (!s->n_replies || !s->reply[s->n_replies - 1]) return;
    put(p, "<p class=\"note\">");
    text(p, who);
    if (s->n_answers) {
        put(p, " answers <b>");
        text(p, s->answer[0] ? s->answer[0] : "nothing");
        put(p, "</b>");
    }
    put(p, ":</p>\n<div class=\"q note\">");
    put_text(p, s->reply[s->n_replies - 1]);
    put(p, "</div>\n");
}

static bl_status put_item(page *p, const bl_row *base, const bl_cell *b, int64_t at, const bl_row *const *row, size_t n,
                          int score)
{
    const bl_report *r = p->r;
    bl_report_item item = {.why = "its text is not known here"};
    const bl_sample *s = &b->sample[at];
    const bl_cell *first_lost = NULL;
    size_t named = 0, wrong = 0;
    bl_status st = BL_OK;

    if (r->item) BL_TRY(r->item(r->ctx, b, s->id, p->a, &item, p->e));
    put(p, "<div class=\"item\"><p class=\"note\">");
    text(p, base->cell->task);
    bl_text_addf(p->out, ", item %lld</p>\n", (long long)s->id);
    if (item.question) {
        put(p, "<div class=\"q\">");
        put_text(p, item.question);
        put(p, "</div>\n");
    } else {
        put(p, "<p class=\"note\">");
        text(p, item.why ? item.why : "");
        put(p, "</p>\n");
    }
    if (item.n_choices) put(p, "<ol type=\"A\">\n");
    for (int k = 0; k < item.n_choices; k++) {
        element(p, "li", k == s->gold ? "gold" : "", item.choice[k]);
        put(p, "\n");
    }
    if (item.n_choices) put(p, "</ol>\n");
    put(p, "<p>Right: <b>");
    if (item.gold) text(p, item.gold);
    else if (s->gold >= 0) put_letter_of(p, s->gold);
    else put(p, "not recorded");
    put(p, "</b>. Right in base; wrong in ");
    for (size_t i = 0; i < n; i++) {
        const bl_cell *c = r->in->whole[row[i] - r->in->table->row];
        if (!c || at >= c->n_samples || c->sample[at].score[score] > 0.5) continue;
        wrong++;
        if (!first_lost) first_lost = c;
        if (named == MOST_ROWS_NAMED) continue;
        if (named++) put(p, ", ");
        text(p, row[i]->cell->method);
        if (s->n_choices && c->sample[at].pick >= 0) {
            put(p, " (");
            put_letter_of(p, c->sample[at].pick);
            put(p, ")");
        }
    }
    if (wrong > named) bl_text_addf(p->out, " and %zu more", wrong - named);
    put(p, ".</p>\n");
    if (first_lost) {
        put_reply(p, "base", s);
        put_reply(p, first_lost->method, &first_lost->sample[at]);
    }
    put(p, "</div>\n");
out:
    return st;
}

/* The items of one task that most of its rows lost. `base`: the index of its row. */
static bl_status put_lost(page *p, size_t base)
{
    const bl_plot_input *in = p->r->in;
    const bl_table *t = in->table;
    const bl_row *of = &t->row[base];
    const bl_cell *b = in->whole[base];
    const bl_metric *rule;
    bl_err why = {0};
    size_t n = 0, n_items = 0;
    bl_status st = BL_OK;

    if (!b || !b->n_samples || !in->rules || bl_metric_rule(in->rules, b, of->metric, &rule, &why) != BL_OK ||
        rule->agg != BL_AGG_MEAN)
        return BL_OK;
    const bl_row **row = bl_alloc(p->a, t->n, sizeof *row, p->e);
    lost *item = bl_alloc(p->a, (size_t)b->n_samples, sizeof *item, p->e);
    if (!row || !item) return BL_E_NOMEM;
    for (size_t i = 0; i < t->n; i++) {
        const bl_row *r = &t->row[i];
        bool same = r->paired && r->paired->judged && r->paired->lost >= 0 && in->whole[i] && !r->item_group[0] &&
                    !strcmp(r->metric, of->metric) && bl_comparable(b, in->whole[i], &why) == BL_OK &&
                    !strcmp(r->cell->model, of->cell->model);
        if (same) row[n++] = r;
    }
    if (n) qsort(row, n, sizeof *row, most_bits);
    for (int64_t k = 0; k < b->n_samples; k++) {
        lost one = {.at = k};
        if (b->sample[k].n_scores <= rule->a || !(b->sample[k].score[rule->a] > 0.5)) continue;
        for (size_t i = 0; i < n; i++) {
            const bl_sample *s = &in->whole[row[i] - t->row]->sample[k];
            one.by += s->n_scores > rule->a && !(s->score[rule->a] > 0.5);
        }
        if (one.by) item[n_items++] = one;
    }
    if (!n_items) return BL_OK;
    qsort(item, n_items, sizeof *item, most_lost);
    put(p, "<h3>");
    text(p, of->cell->task);
    bl_text_addf(p->out,
                 "</h3>\n<p class=\"note\">%zu items that base has right are wrong in some of %zu rows; those that "
                 "most rows lost:</p>\n",
                 n_items, n);
    for (size_t i = 0; i < BL_MIN(n_items, (size_t)MOST_ITEMS); i++)
        BL_TRY(put_item(p, of, b, item[i].at, row, n, rule->a));
out:
    return st;
}

static bl_status put_items(page *p)
{
    const bl_table *t = p->r->in->table;
    bl_status st = BL_OK;
    size_t before;

    section(p, "items", "Worst flips: what was lost");
    before = p->out->n;
    for (size_t i = 0; i < t->n; i++) {
        const bl_row *r = &t->row[i];
        if (r->reference && r->headline && r->percent && !r->item_group[0] && (!i || t->row[i - 1].cell != r->cell))
            BL_TRY(put_lost(p, i));
    }
    if (p->out->n == before)
        put(p, "<p>No item that the base has right was lost by a row that it is compared with.</p>\n");
out:
    return st;
}

/* ---- how it was measured ------------------------------------------------------------------------ */
static bool same(const char *a, const char *b) { return !strcmp(a ? a : "", b ? b : ""); }
static void pair(page *p, const char *name, const char *value)
{
    if (!value || !*value) return;
    put(p, "<tr>");
    element(p, "td", "", name);
    put(p, "<td style=\"white-space:normal\">");
    text(p, value);
    put(p, "</td></tr>\n");
}

static void put_conventions(page *p)
{
    const bl_plot_input *in = p->r->in;
    section(p, "conventions", "Conventions");
    put(p,
        "<p>The convention is a part of the name of a task. Numbers of one task compare only where all of this is the "
        "same.</p>\n<div class=\"wide\"><table>\n<thead><tr><th>task</th><th class=\"r\">version</th><th "
        "class=\"r\">items</th><th>which</th><th class=\"r\">seed</th><th>BOS</th><th>arithmetic</th><th>data</th></tr>"
        "</thead>\n<tbody>\n");
    for (size_t i = 0; i < in->table->n; i++) {
        const bl_cell *c = in->whole[i];
        bool seen = !c;
        for (size_t k = 0; k < i && !seen; k++) {
            const bl_cell *d = in->whole[k];
            seen = d && same(c->task, d->task) && c->task_version == d->task_version && c->limit == d->limit &&
                   c->drawn == d->drawn && c->seed == d->seed && same(c->data_hash, d->data_hash) &&
                   same(c->bos, d->bos) && same(c->numerics, d->numerics);
        }
        if (seen) continue;
        put(p, "<tr>");
        element(p, "td", "", c->task);
        bl_text_addf(p->out, "<td class=\"r\">%lld</td><td class=\"r\">%lld</td><td>%s</td><td class=\"r\">%lld</td>",
                     (long long)c->task_version, (long long)c->n_samples,
                     c->limit > 0   ? "the first"
                     : c->drawn > 0 ? "drawn by the seed"
                                    : "all",
                     (long long)c->seed);
        element(p, "td", "", c->bos ? c->bos : "");
        element(p, "td", "", c->numerics ? c->numerics : "");
        bl_text_addf(p->out, "<td><code>%.12s</code></td></tr>\n", c->data_hash ? c->data_hash : "");
    }
    put(p,
        "</tbody></table></div>\n<ul>\n<li>bits: stored bytes × 8 / weights of the block linears, scales, zero points, "
        "codebooks and adapters included.</li>\n<li>± is one standard error; of a difference it is that of the same "
        "items’ differences.</li>\n<li>Shares: exact test of McNemar on the items that changed sides. Perplexity: t "
        "test "
        "of the windows’ differences; × is the quotient of perplexities.</li>\n</ul>\n");
}

static void put_environment(page *p)
{
    const bl_plot_input *in = p->r->in;
    size_t shown = 0;
    section(p, "environment", "Environment");
    put(p, "<div class=\"wide\"><table><tbody>\n");
    for (size_t i = 0; i < in->table->n; i++) {
        const bl_cell *c = in->whole[i];
        char number[64], unit[32];
        bool seen = !c;
        for (size_t k = 0; k < i && !seen; k++) {
            const bl_cell *d = in->whole[k];
            seen = d && same(c->device, d->device) && same(c->commit, d->commit) && c->threads == d->threads &&
                   same(c->libraries, d->libraries) && same(c->model, d->model);
        }
        if (seen) continue;
        if (shown++) put(p, "<tr><td colspan=\"2\">and</td></tr>\n");
        pair(p, "model", c->model);
        pair(p, "stored as", c->stored_as);
        pair(p, "weights", c->model_fingerprint);
        pair(p, "tokenizer", c->tokenizer_hash);
        pair(p, "machine", c->device);
        pair(p, "instructions", c->simd);
        snprintf(number, sizeof number, "%lld", (long long)c->threads);
        snprintf(unit, sizeof unit, "%ss", bl_threads_name(c));
        pair(p, unit, number);
        pair(p, "libraries", c->libraries);
        pair(p, "bitladder", c->commit);
        pair(p, "date", c->created);
    }
    put(p, "</tbody></table></div>\n");
}

/* A word of a shell command. */
static void put_word(bl_text *out, const char *s)
{
    bool plain = *s != 0;
    for (const char *c = s; *c; c++)
        plain = plain && ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
                          strchr("+-_./:,=@%", *c) || (unsigned char)*c >= 0x80);
    if (plain) {
        bl_text_add(out, s);
        return;
    }
    bl_text_add(out, "'");
    for (const char *c = s; *c; c++)
        if (*c == '\'') bl_text_add(out, "'\\''");
        else bl_text_addn(out, c, 1);
    bl_text_add(out, "'");
}

/* The different texts that `of` gives, joined by commas. */
static void put_list(bl_text *out, const bl_cell *const *c, size_t n, const char *(*of)(const bl_cell *))
{
    bl_text list = {0};
    for (size_t i = 0; i < n; i++) {
        bool seen = false;
        for (size_t k = 0; k < i && !seen; k++) seen = !strcmp(of(c[i]), of(c[k]));
        if (!seen) bl_text_addf(&list, "%s%s", list.n ? "," : "", of(c[i]));
    }
    put_word(out, list.s ? list.s : "");
    out->failed = out->failed || list.failed;
    bl_text_free(&list);
}
static const char *method_of(const bl_cell *c) { return c->method; }
static const char *task_of(const bl_cell *c) { return c->task; }

/* "int8" of "cpu-f32-kv:int8"; NULL: as activations are. */
static const char *kv_of(const bl_cell *c)
{
    const char *kv = c->numerics ? strstr(c->numerics, "-kv:") : NULL;
    return kv ? kv + strlen("-kv:") : NULL;
}

static bool without_bos(const bl_cell *c) { return same(c->bos, "left out"); }

static bool same_run(const bl_cell *a, const bl_cell *b)
{
    return same(a->model, b->model) && a->limit == b->limit && a->drawn == b->drawn && a->seed == b->seed &&
           same(a->calibration, b->calibration) && same(kv_of(a), kv_of(b)) && without_bos(a) == without_bos(b);
}

static bl_status put_again(page *p)
{
    const bl_plot_input *in = p->r->in;
    bl_text command = {0};
    bl_status st = BL_OK;
    const bl_cell **one = bl_alloc(p->a, in->table->n, sizeof *one, p->e);

    if (!one) return BL_E_NOMEM;
    section(p, "again", "How to make it again");
    for (size_t i = 0; i < in->table->n; i++) {
        const bl_cell *c = in->whole[i];
        size_t n = 0;
        bool seen = !c;
        for (size_t k = 0; k < i && !seen; k++) seen = in->whole[k] && same_run(c, in->whole[k]);
        if (seen) continue;
        for (size_t k = i; k < in->table->n; k++)
            if (in->whole[k] && same_run(c, in->whole[k])) one[n++] = in->whole[k];
        bl_text_add(&command, "bitladder run --model ");
        put_word(&command, c->model_path && *c->model_path ? c->model_path : c->model);
        bl_text_add(&command, " --method ");
        put_list(&command, one, n, method_of);
        bl_text_add(&command, " --task ");
        put_list(&command, one, n, task_of);
        if (c->limit > 0) bl_text_addf(&command, " --limit %lld", (long long)c->limit);
        if (c->drawn > 0) bl_text_addf(&command, " --sample %lld", (long long)c->drawn);
        if (c->seed) bl_text_addf(&command, " --seed %lld", (long long)c->seed);
        if (without_bos(c)) bl_text_add(&command, " --no-bos");
        if (kv_of(c)) {
            bl_text_add(&command, " --kv ");
            put_word(&command, kv_of(c));
        }
        bl_text_add(&command, " --out ");
        put_word(&command, p->r->dir);
        if (c->calibration && *c->calibration) bl_text_addf(&command, "    # calibrated on %s", c->calibration);
        bl_text_add(&command, "\n");
    }
    bl_text_add(&command, "bitladder report ");
    put_word(&command, p->r->dir);
    bl_text_add(&command, " -o report.html\n");
    put(p, "<pre>");
    text(p, command.s ? command.s : "");
    put(p, "</pre>\n<p class=\"note\">On the CPU the numbers come out the same bit for bit, whatever batch, threads or "
           "order. Data sets are found by --data DIR or BITLADDER_DATA. "
           "The rows and every item are in the HDF5 files of the directory; <code>bitladder table</code>, "
           "<code>samples</code>, <code>compare</code> and <code>plot</code> read them.</p>\n");
    st = bl_text_check(&command, p->e);
    bl_text_free(&command);
    return st;
}

/* ---- all of it ---------------------------------------------------------------------------------- */
bl_status bl_report_write(const bl_report *r, bl_text *html, bl_err *e)
{
    static const char *const links[][2] = {{"answer", "Answer"},
                                           {"results", "Results"},
                                           {"figures", "Figures"},
                                           {"items", "Worst flips"},
                                           {"conventions", "Conventions"},
                                           {"environment", "Environment"},
                                           {"again", "How to make it again"}};
    bl_status st = BL_OK;
    page p = {.r = r, .out = html, .e = e};
    bl_text about = {0};
    judged j = {.n = 0};
    const char *model = NULL;

    BL_TRY(bl_arena_new(&p.a, e));
    BL_TRY(judge(&p, &j));
    bl_about_cells(r->in->whole, r->in->table->n, &about);
    put(&p, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
            "content=\"width=device-width, initial-scale=1\">\n<title>bitladder: ");
    text(&p, r->dir);
    put(&p, "</title>\n<style>\n");
    put(&p, style);
    put(&p, "</style>\n</head>\n<body>\n<h1>");
    for (size_t i = 0; i < r->in->table->n && !model; i++)
        if (r->in->whole[i]) model = r->in->whole[i]->model;
    text(&p, model ? "What is left of " : r->in->n_curves ? "A run of training" : "Timings of kernels");
    text(&p, model ? model : "");
    put(&p, "</h1>\n<p class=\"about\">");
    text(&p, about.s ? about.s : "");
    put(&p, " · ");
    text(&p, r->dir);
    put(&p, "</p>\n<nav>");
    for (size_t i = 0; i < BL_COUNT(links); i++)
        bl_text_addf(html, "<a href=\"#%s\">%s</a> ", links[i][0], links[i][1]);
    put(&p, "</nav>\n");
    BL_TRY(put_answer(&p, &j));
    BL_TRY(put_figures(&p));
    BL_TRY(put_tables(&p));
    BL_TRY(put_items(&p));
    put_conventions(&p);
    put_environment(&p);
    BL_TRY(put_again(&p));
    bl_text_addf(html, "<p class=\"note\">Made by bitladder %s.</p>\n</body>\n</html>\n", BL_VERSION);
    BL_TRY(bl_text_check(&about, e));
    BL_TRY(bl_text_check(html, e));
out:
    bl_text_free(&about);
    bl_arena_free(p.a);
    return st;
}
