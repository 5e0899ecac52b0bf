/* plots_figures.c - what a reader of a figure needs, asked of the scripts that gnuplot gets: every panel has a title,
 * names and units on its axes and at least three ticks to read values by, every point is inside, accuracy stays within
 * 0 and 100, and the page says model, machine, date and commit. Studies that are hard to draw are among them.
 */
#include "data/results_figures.h"
#include "plots/page.h"
#include "plots/plot.h"

static bl_err e;
static char dir[4200];
static bool has_gnuplot;

/* ---- studies that are hard to draw ---- */
static void one_point(invented_study *s) { study_add(s, "base", 0, 16, "piqa", 0.6, 100); }
static void no_base(invented_study *s)
{
    for (int b = 2; b <= 8; b++) {
        char method[32];
        snprintf(method, sizeof method, "rtn:w%d", b);
        study_add(s, method, b, b + 0.1, "piqa", 0.4 + 0.05 * b, 200);
        study_add(s, method, b, b + 0.1, "ptb:gptq2048", 40 - 2 * b, 20);
    }
}
static void all_equal(invented_study *s)
{
    static const char *const methods[] = {"base", "rtn:w4", "gptq:w4", "quarot+rtn:w4"};
    for (size_t i = 0; i < BL_COUNT(methods); i++) {
        bl_row *share = study_add(s, methods[i], i ? 4 : 0, 4.25, "piqa", 0.6, 100);
        bl_row *text = study_add(s, methods[i], i ? 4 : 0, 4.25, "ptb:gptq2048", 20, 10);
        share->value = 0.5;
        text->value = 20;
        share->stderr_ = text->stderr_ = 0;
    }
}
static void huge_ranges(invented_study *s)
{
    static const double level[] = {1.5, 3, 12, 1e5, 1e30, 1e280};
    for (size_t i = 0; i < BL_COUNT(level); i++) {
        char method[32] = "base";
        if (i) snprintf(method, sizeof method, "m%zu", i);
        bl_row *r = study_add(s, method, 0, 0.25 * pow(2.6, (double)i), "ptb:gptq2048", 3, 10);
        r->value = level[i];
        r->stderr_ = level[i] / 3;
    }
}
static void no_numbers(invented_study *s)
{
    study_add(s, "base", 0, 16, "piqa", 0.6, 100);
    study_add(s, "rtn:w4", 4, 4, "piqa", 0.5, 100)->value = NAN;
    study_add(s, "rtn:w3", 3, 3, "piqa", 0.5, 100)->value = INFINITY;
    study_add(s, "rtn:w2", 2, 2, "piqa", 0.4, 100);
    study_add(s, "rtn:w2", 2, 2, "ptb:gptq2048", 30, 10)->value = INFINITY;
    s->cell[0].layer = NULL;
    ((bl_layer_stat *)(uintptr_t)s->cell[1].layer)[2].nmse = NAN;
    ((bl_layer_stat *)(uintptr_t)s->cell[1].layer)[3].nmse = 0;
}
static void ends_of_the_scale(invented_study *s)
{
    study_add(s, "base", 0, 16, "gsm8k", 1.1, 50);
    study_add(s, "rtn:w4", 4, 4.3, "gsm8k", 0.5, 50);
    study_add(s, "rtn:w1", 1, 1.3, "gsm8k", -1, 50);
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 50; k++) ((bl_sample *)(uintptr_t)s->cell[i].sample)[k].n_choices = 0;
}
static void twelve_tasks(invented_study *s)
{
    for (int t = 0; t < 12; t++)
        for (int b = 2; b <= 9; b++) {
            char method[32] = "base", task[64];
            snprintf(task, sizeof task, "task_number_%d%s", t, t % 4 == 3 ? ":gptq2048" : "");
            if (b < 9) snprintf(method, sizeof method, "rtn:w%dg64", b);
            study_add(s, method, b < 9 ? b : 0, b < 9 ? b + 0.3 : 16, task, t % 4 == 3 ? 60 - 4 * b : 0.3 + 0.04 * b,
                      60);
        }
}
static void thirty_methods(invented_study *s)
{
    for (int t = 0; t < 2; t++)
        for (int m = 0; m < 31; m++) {
            char method[64] = "base";
            int bits = 2 + m % 3;
            if (m) snprintf(method, sizeof method, "method%d:w%dg%d", m / 2, bits, 32 << m % 3);
            study_add(s, method, m ? bits : 0, m ? bits + 0.1 * (m % 4) : 16, t ? "ptb:gptq2048" : "piqa",
                      t ? 20 + m : 0.8 - 0.01 * m, 120);
        }
}
static void long_names(invented_study *s)
{
    static char method[3][240], task[240];
    memset(task, 't', sizeof task - 1);
    for (int m = 0; m < 3; m++) {
        memset(method[m], 'a' + m, sizeof method[m] - 1);
        memcpy(method[m], "a_long_name\xc3\xa4\xe2\x82\xac", 16);
        study_add(s, method[m], 4, 4 + 0.2 * m, task, 0.5 + 0.1 * m, 50);
    }
    study_add(s, "base", 0, 16, task, 0.8, 50);
}

static void probed_chains(invented_study *s)
{
    study_probe(s, "base", 0);
    study_probe(s, "rtn:w3g64", 3);
    study_add(s, "rtn:w2", 2, 2.3, "aqua:faithful", 0.5, 50); /* none of its items could be probed */
}

static const struct {
    const char *name;
    void (*build)(invented_study *s);
} studies[] = {{"probed chains", probed_chains},
               {"one point", one_point},
               {"no base", no_base},
               {"all equal", all_equal},
               {"huge ranges", huge_ranges},
               {"no numbers", no_numbers},
               {"ends of the scale", ends_of_the_scale},
               {"twelve tasks", twelve_tasks},
               {"thirty methods", thirty_methods},
               {"long names", long_names}};

static invented_study *built(size_t i)
{
    invented_study *s = study_new();
    studies[i].build(s);
    study_judge(s);
    return s;
}

/* ---- reading a script ---- */
/* Text i (from 1) of the array T. */
static void text_of(const char *script, int i, char *out, size_t size)
{
    const char *p = strstr(script, "array T[");
    assert_non_null(p);
    p = strchr(p, '=');
    for (int k = 0; k < i; k++) {
        size_t n = 0;
        p = strchr(p, '"');
        assert_non_null(p);
        for (p++; *p != '"'; p++)
            if (n + 1 < size) out[n++] = *p;
        p++;
        out[n] = 0;
    }
}

static char *panel_of(const char *script, size_t k)
{
    char head[32];
    snprintf(head, sizeof head, "PANEL[%zu] = \"", k + 1);
    const char *from = strstr(script, head);
    assert_non_null(from);
    from += strlen(head);
    return bl_strndup(from, (size_t)(strchr(from, '"') - from), &e);
}

typedef struct axis {
    double lo, hi;
    bool log;
    int labelled, minor;
} axis;

/* Range and ticks of an axis; false when the panel sets none. */
static bool axis_of(const char *panel, char which, axis *out, const char *where)
{
    char phrase[32], seen[64][24];
    double last = -INFINITY;
    snprintf(phrase, sizeof phrase, "set %crange [", which);
    const char *p = strstr(panel, phrase);
    if (!p) return false;
    if (sscanf(p + strlen(phrase), "%lf:%lf", &out->lo, &out->hi) != 2) fail_msg("%s: %s", where, p);
    snprintf(phrase, sizeof phrase, "; set logscale %c", which);
    out->log = strstr(panel, phrase) != NULL;
    snprintf(phrase, sizeof phrase, "set %ctics nomirror (", which);
    if (!(p = strstr(panel, phrase))) return false;
    p += strlen(phrase);
    out->labelled = out->minor = 0;
    while (*p == '\'') {
        char label[64] = "";
        double at;
        const char *end = strchr(p + 1, '\'');
        snprintf(label, sizeof label, "%.*s", (int)(end - p - 1), p + 1);
        assert_int_equal(sscanf(end + 1, "%lf", &at), 1);
        if (at < out->lo - 1e-9 * fabs(out->lo) || at > out->hi + 1e-9 * fabs(out->hi))
            fail_msg("%s: the tick %s is outside %g .. %g", where, label, out->lo, out->hi);
        if (*label) {
            for (int k = 0; k < out->labelled; k++)
                if (!strcmp(seen[k], label) && which == 'y') fail_msg("%s: two ticks say %s", where, label);
            assert_true(out->labelled < 64);
            snprintf(seen[out->labelled++], sizeof seen[0], "%.23s", label);
        } else out->minor++;
        last = at;
        p = end + 1 + strcspn(end + 1, ",)");
        if (*p == ',') p += 2;
    }
    assert_true(isfinite(last));
    return true;
}

/* Values of the column `name` in the csv, by line. */
static double column(const char *csv, const char *line, const char *name)
{
    const char *end = strchr(csv, '\n'), *p = csv;
    int at = 0;
    while (strncmp(p, name, strlen(name)) != 0 || (p[strlen(name)] != ',' && p[strlen(name)] != '\n')) {
        p = strchr(p, ',');
        if (!p || p > end) fail_msg("no column %s", name);
        p++;
        at++;
    }
    for (; at > 0; at--) line = strchr(line, ',') + 1;
    return !strncmp(line, "NA", 2) ? NAN : strtod(line, NULL);
}

static void check_panel(const bl_page *page, const char *figure, size_t k, const char *where)
{
    char title[512], label[512];
    char *panel = panel_of(page->script.s, k);
    const char *label_at = strstr(panel, "set xlabel T[");
    axis x = {0}, y = {0};
    bool map = !strcmp(figure, "heatmap"), bars = !strcmp(figure, "flips");

    assert_non_null(label_at);
    text_of(page->script.s, atoi(label_at + strlen("set xlabel T[")), label, sizeof label);
    const char *first = strstr(panel, "set label ");
    assert_non_null(first);
    text_of(page->script.s, atoi(strchr(first, '[') + 1), title, sizeof title);
    if (bl_page_width(page, title, bl_page_size(page)) > page->box[k].right + page->right)
        fail_msg("%s: the title '%s' leaves the page", where, title);
    bool has_x = axis_of(panel, 'x', &x, where), has_y = axis_of(panel, 'y', &y, where);
    if (!map) {
        if (!*label) fail_msg("%s: no name below the axis", where);
        if (!has_x || x.labelled < 3) fail_msg("%s: %d ticks below", where, x.labelled);
        if (!(x.lo < x.hi)) fail_msg("%s: range %g .. %g", where, x.lo, x.hi);
    }
    if (!map && !bars) {
        if (!page->text && !strstr(panel, "rotate by 90")) fail_msg("%s: no name beside the axis", where);
        if (page->text && !strstr(panel, "unset ylabel")) fail_msg("%s: a name on its side in a terminal", where);
        if (!has_y || y.labelled < 3) fail_msg("%s: %d ticks on the left: %s", where, y.labelled, panel);
        if (!(y.lo < y.hi)) fail_msg("%s: range %g .. %g", where, y.lo, y.hi);
    }
    if (!strcmp(figure, "acc_bits") && (y.lo < 0 || y.hi > 100)) fail_msg("%s: %g .. %g percent", where, y.lo, y.hi);
    if (!strcmp(figure, "acc_bits") || !strcmp(figure, "ppl_bits") || !strcmp(figure, "pareto")) {
        for (const char *line = strchr(page->csv.s, '\n') + 1; *line; line = strchr(line, '\n') + 1) {
            if (column(page->csv.s, line, "panel") != (double)(k + 1)) continue;
            double at = column(page->csv.s, line, "x"), v = column(page->csv.s, line, "value");
            bool off = strstr(line, ",off,") && strstr(line, ",off,") < strchr(line, '\n');
            if (at < x.lo || at > x.hi || (!off && (v < y.lo || v > y.hi)) || (off && v < y.hi))
                fail_msg("%s: the point %g, %g is outside %g .. %g, %g .. %g", where, at, v, x.lo, x.hi, y.lo, y.hi);
        }
        if (!strstr(title, "n = ")) fail_msg("%s: '%s' does not say of how many items", where, title);
    }
    bl_free(panel);
}

static void check_figure(const bl_plot *p, const bl_plot_input *in, bool text, const char *study)
{
    char where[256];
    bl_page page = {.text = text};
    bl_status st = p->make(in, &page, &e);
    if (st != BL_OK) fail_msg("%s of %s: %s", p->name, study, e.text);
    if (page.n_points) {
        snprintf(where, sizeof where, "%s of %s%s", p->name, study, text ? " in a terminal" : "");
        for (size_t k = 0; k < page.n_panels; k++) check_panel(&page, p->name, k, where);
        static const char *const facts[] = {"an invented processor", "2 threads", "2024-05-01", "commit 0123456789ab"};
        for (size_t i = 0; i < BL_COUNT(facts); i++)
            if (!strstr(page.script.s, facts[i])) fail_msg("%s: '%s' is not said", where, facts[i]);
        if (strcmp(p->name, "kernels") && !strstr(page.script.s, "smollm2-135m, stored as BF16"))
            fail_msg("%s: neither the model nor how it was stored is said", where);
        if (strstr(page.script.s, "nan") || strstr(page.csv.s, "nan") || strstr(page.script.s, "inf ") ||
            strstr(page.csv.s, "inf,"))
            fail_msg("%s: what is no number is in the data", where);
    }
    bl_page_free(&page);
}

/* ---- tests ---- */
static void every_panel_can_be_read(void **state)
{
    static bl_kernel_row timings[512];
    bl_curve curves[INVENTED_CURVES];
    (void)state;
    for (size_t i = 0; i <= BL_COUNT(studies); i++) {
        invented_study *s = i < BL_COUNT(studies) ? built(i) : study_ladder();
        s->in.kernel = timings;
        s->in.n_kernels = invented_timings(timings, BL_COUNT(timings));
        s->in.facts = &invented_facts;
        s->in.curve = invented_curves(curves);
        s->in.n_curves = INVENTED_CURVES;
        for (size_t k = 0; bl_plot_at(k); k++)
            for (int text = 0; text < 2; text++)
                check_figure(bl_plot_at(k), &s->in, text, i < BL_COUNT(studies) ? studies[i].name : "the ladder");
        study_free(s);
    }
}

static void gnuplot_draws_what_is_hard_to_draw(void **state)
{
    (void)state;
    if (!has_gnuplot) {
        print_message("skipped: no gnuplot\n");
        skip();
    }
    snprintf(dir, sizeof dir, "%s", test_dir());
    for (size_t i = 0; i < BL_COUNT(studies); i++) {
        invented_study *s = built(i);
        for (size_t k = 0; bl_plot_at(k); k++) {
            char path[4300];
            bl_text text = {0};
            bool fits;
            assert_ok(bl_plot_fits(bl_plot_at(k), &s->in, &fits, &e));
            if (!fits) continue;
            snprintf(path, sizeof path, "%s/x", dir);
            bl_status st = bl_plot_draw(bl_plot_at(k), &s->in, BL_PLOT_DUMB, path, &text, &e);
            if (st != BL_OK) fail_msg("%s of %s: %s", bl_plot_at(k)->name, studies[i].name, e.text);
            assert_true(text.n > 500);
            bl_text_free(&text);
        }
        study_free(s);
    }
    bl_remove_tree(dir, &e);
}

/* Which studies have what: a figure that has nothing to show says so instead of drawing empty axes. */
static void a_figure_without_anything_to_show_is_not_drawn(void **state)
{
    static const struct {
        const char *study, *figures;
    } want[] = {
        {"one point", "acc_bits pareto "},
        {"no base", "ppl_bits acc_bits pareto layers "},
        {"no numbers", "acc_bits pareto heatmap flips layers "},
        {"huge ranges", "ppl_bits pareto heatmap "},
    };
    static const char *const judged[] = {"ppl_bits", "acc_bits", "pareto", "heatmap", "flips", "layers"};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(want); i++)
        for (size_t n = 0; n < BL_COUNT(studies); n++) {
            if (strcmp(studies[n].name, want[i].study)) continue;
            invented_study *s = built(n);
            bl_text got = {0};
            for (size_t k = 0; k < BL_COUNT(judged); k++) {
                bool fits;
                assert_ok(bl_plot_fits(bl_plot_find(judged[k]), &s->in, &fits, &e));
                if (fits) bl_text_addf(&got, "%s ", judged[k]);
            }
            assert_string_equal(got.s, want[i].figures);
            bl_text_free(&got);
            study_free(s);
        }
}

static void chains_asked_through_a_chat_template_are_drawn_too(void **state)
{
    static const struct {
        const char *task;
        bool fits;
    } rows[] = {{"gsm8k:faithful", true}, {"gsm8k:faithful+chat", true}, {"gsm8k:faithfully", false}, {"gsm8k", false}};
    invented_study *s = study_new();
    (void)state;
    study_probe(s, "base", 0);
    study_judge(s);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bool fits;
        s->cell[0].task = rows[i].task;
        assert_ok(bl_plot_fits(bl_plot_find("probes"), &s->in, &fits, &e));
        assert_int_equal(fits, rows[i].fits);
    }
    study_free(s);
}

static bl_page made(const char *figure, const invented_study *s)
{
    bl_page page = {0};
    assert_ok(bl_plot_find(figure)->make(&s->in, &page, &e));
    return page;
}

static void chance_is_drawn_where_there_are_choices(void **state)
{
    (void)state;
    invented_study *s = study_ladder();
    bl_page page = made("acc_bits", s);
    assert_non_null(strstr(page.script.s, "\"chance 25\""));
    bl_page_free(&page);
    study_free(s);
    s = study_new();
    ends_of_the_scale(s);
    page = made("acc_bits", s);
    assert_null(strstr(page.script.s, "chance"));
    bl_page_free(&page);
    study_free(s);
}

static void values_that_are_no_numbers_are_counted(void **state)
{
    (void)state;
    invented_study *s = study_new();
    no_numbers(s);
    bl_page page = made("acc_bits", s);
    assert_int_equal(page.n_points, 2);
    assert_non_null(strstr(page.script.s, "2 values are no number and not drawn."));
    bl_page_free(&page);
    study_free(s);
}

/* b is 2 points below a at more bits. Where it is wrong on 40 more of 2,000 items and right on none that a has wrong,
 * it is beaten; where as many items go either way but for a few, nobody can tell. */
static void a_row_is_beaten_only_where_that_is_significant(void **state)
{
    static const struct {
        int lost, gained, front;
    } cases[] = {{40, 0, 0}, {200, 170, 1}, {0, 0, 1}};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(cases); i++) {
        invented_study *s = study_new();
        double score[2][2000];
        study_add(s, "a:w4", 4, 4, "piqa", 0.5, 2000);
        study_add(s, "b:w5", 5, 5, "piqa", 0.5, 2000);
        for (int k = 0; k < 2000; k++) {
            score[0][k] = k < 1000;
            score[1][k] = k < 1000 ? k >= cases[i].lost : k < 1000 + cases[i].gained;
            for (int c = 0; c < 2; c++) ((bl_sample *)(uintptr_t)s->cell[c].sample)[k].score = &score[c][k];
        }
        s->row[0].value = 0.5;
        s->row[1].value = 0.5 - (cases[i].lost - cases[i].gained) / 2000.0;
        bl_page page = made("pareto", s);
        char want[64];
        snprintf(want, sizeof want, ",2000,NA,%d\n", cases[i].front);
        const char *b = strstr(page.csv.s, "\"b:w5\"");
        assert_non_null(b);
        if (strncmp(strchr(b, '\n') - strlen(want) + 1, want, strlen(want)))
            fail_msg("%d lost, %d gained: expected %s in\n%s", cases[i].lost, cases[i].gained, want, page.csv.s);
        assert_non_null(strstr(page.csv.s, ",2000,NA,2\n"));
        bl_page_free(&page);
        study_free(s);
    }
}

/* The map and the bars have the numbers of the comparison, whatever the figure rounds. */
static void differences_are_those_of_the_comparison(void **state)
{
    (void)state;
    invented_study *s = study_ladder();
    bl_page map = made("heatmap", s), bars = made("flips", s);
    size_t judged = 0, counted = 0;
    for (size_t i = 0; i < s->table.n; i++) {
        const bl_paired *d = s->row[i].paired;
        char line[256];
        if (!d) continue;
        judged++;
        snprintf(line, sizeof line, ",%.10g,%.10g,%.10g,", s->row[i].value, d->delta, d->se);
        if (!strstr(map.csv.s, line)) fail_msg("%s is not in\n%s", line, map.csv.s);
        if (d->lost < 0) continue;
        counted++;
        snprintf(line, sizeof line, ",%lld,%lld,%lld,%.10g,%s\n", (long long)d->lost, (long long)d->gained,
                 (long long)d->n, d->p, bl_verdict_name(d->verdict));
        if (!strstr(bars.csv.s, line)) fail_msg("%s is not in\n%s", line, bars.csv.s);
    }
    char note[64]; /* p after Holm's correction, which is over all that was judged, perplexities too */
    assert_true(counted < judged);
    snprintf(note, sizeof note, "Holm over %zu;", judged);
    assert_non_null(strstr(bars.script.s, note));
    snprintf(note, sizeof note, "Holm over %zu)", judged);
    assert_non_null(strstr(map.script.s, note));
    assert_int_equal(map.n_points, judged);
    assert_int_equal(bars.n_points, counted);
    assert_non_null(strstr(map.csv.s, "worse"));
    assert_non_null(strstr(map.csv.s, "undecided"));
    bl_page_free(&map);
    bl_page_free(&bars);
    study_free(s);
}

/* However many columns a map has, what stands in one is not over the next: the page grows. */
static void columns_of_a_map_have_room_for_their_numbers(void **state)
{
    (void)state;
    for (int many = 0; many < 2; many++) {
        invented_study *s = many ? study_new() : study_ladder();
        if (many) {
            twelve_tasks(s);
            study_judge(s);
        }
        bl_page map = made("heatmap", s);
        size_t columns = 0;
        for (const char *at = map.csv.s; (at = strstr(at, "\n1,")) != NULL; at++) {
            const char *x = strchr(at + 4, ','); /* panel, task, method, x; no name here has a comma in it */
            x = strchr(x + 1, ',') + 1;
            columns = BL_MAX(columns, (size_t)atoi(x) + 1);
        }
        const double each = (map.box[0].right - map.box[0].left) / (double)columns;
        assert_true(columns == 12 || !many);
        assert_true(each > bl_page_width(&map, "-70.5 \u25bc", 7));
        assert_true(many ? map.width > 530 : map.width < 530);
        bl_page_free(&map);
        study_free(s);
    }
}

/* Axes over any range: three labels at least, in order, within the range. */
static void axes_have_ticks_over_any_range(void **state)
{
    (void)state;
    for (int i = 0; i < 4000; i++) {
        double from = pow(10, 12 * invented_draw(i, 1) - 6), to = from * (1 + pow(10, 10 * invented_draw(i, 2) - 6)),
               least = i % 3 ? -INFINITY : 0;
        bl_ruler r[] = {bl_ruler_log(from, to),
                        bl_ruler_linear(from, to, least, INFINITY),
                        bl_ruler_linear(100 * invented_draw(i, 3), 100, 0, 100),
                        bl_ruler_linear(from, from, 0, INFINITY),
                        bl_ruler_bits(0.3 + 6 * invented_draw(i, 4), 6.5 + 26 * invented_draw(i, 5), 200, 12),
                        bl_ruler_count(1 + floor(200 * invented_draw(i, 6)))};
        for (size_t k = 0; k < BL_COUNT(r); k++) {
            int labelled = 0;
            assert_true(r[k].lo < r[k].hi);
            for (int t = 0; t < r[k].n; t++) {
                double at = bl_ruler_at(&r[k], r[k].tick[t].at);
                assert_true(at > -1e-6 && at < 1 + 1e-6);
                labelled += r[k].tick[t].label[0] != 0;
            }
            bool few = k == 5 && r[k].hi < 3; /* one or two numbers in all */
            if (labelled < (few ? 1 : 3) || labelled > 16)
                fail_msg("axis %zu over %.10g .. %.10g: %d labels", k, r[k].lo, r[k].hi, labelled);
        }
        assert_true(r[0].lo <= from && r[0].hi >= to && r[1].lo <= from && r[1].hi >= to);
        assert_true(r[2].lo >= 0 && r[2].hi <= 100);
    }
}

/* Forty names around one place: none covers another or a point, and none leaves the panel. */
static void names_cover_nothing(void **state)
{
    (void)state;
    bl_page page = {0};
    size_t placed = 0;
    assert_ok(bl_page_grid(&page, 1, 200, &e));
    for (int i = 0; i < 40; i++) {
        double x = page.box[0].left + 150 + 60 * invented_draw(i, 1),
               y = page.box[0].bottom + 80 + 40 * invented_draw(i, 2);
        assert_ok(bl_page_take(&page, (bl_box){x - 3, x + 3, y - 3, y + 3}, &e));
    }
    for (int i = 0; i < 40; i++) {
        double x = page.box[0].left + 150 + 60 * invented_draw(i, 1),
               y = page.box[0].bottom + 80 + 40 * invented_draw(i, 2);
        placed += bl_page_place(&page, 0, "rtn:w4g64", x, y, NULL, &e);
    }
    if (placed <= 12) fail_msg("%zu of 40 names have a place", placed);
    assert_int_equal(page.n_taken, 40 + placed);
    for (size_t i = 40; i < page.n_taken; i++) {
        const bl_box *a = &page.taken[i];
        assert_true(a->left >= page.box[0].left && a->right <= page.box[0].right + 4 &&
                    a->bottom >= page.box[0].bottom && a->top <= page.box[0].top + 1);
        for (size_t k = 0; k < i; k++) {
            const bl_box *b = &page.taken[k];
            assert_false(a->left < b->right && a->right > b->left && a->bottom < b->top && a->top > b->bottom);
        }
    }
    size_t lines = 0;
    for (size_t i = 0; i < page.n_named; i++) {
        bl_box line = page.named[i].line;
        lines += line.left != line.right || line.bottom != line.top;
        for (size_t k = 0; k < page.n_named; k++) {
            bl_box name = page.named[k].name;
            for (int t = 0; t <= 40 && k != i; t++) {
                double x = line.left + (line.right - line.left) * t / 40,
                       y = line.bottom + (line.top - line.bottom) * t / 40;
                if (x > name.left + 1 && x < name.right - 1 && y > name.bottom + 1 && y < name.top - 1)
                    fail_msg("the line of name %zu goes through name %zu", i, k);
            }
        }
    }
    assert_true(lines > 3);
    bl_page_free(&page);
}

static void a_validation_text_has_marks_inside_the_panel_of_the_loss(void **state)
{
    (void)state;
    bl_curve curves[INVENTED_CURVES];
    invented_study *s = study_new();
    s->in.curve = invented_curves(curves);
    s->in.n_curves = INVENTED_CURVES;
    bl_page page = made("loss", s);
    axis y = {0};
    char *panel = panel_of(page.script.s, 0);
    assert_non_null(strstr(page.csv.s, "\n1,\"full\",1,3000,NA,NA,7.125\n"));
    assert_true(axis_of(panel, 'y', &y, "loss") && y.hi >= 7.125);
    assert_non_null(strstr(page.script.s, "validation 7.125"));
    bl_free(panel);
    panel = panel_of(page.script.s, 1); /* the rate: from 0 */
    assert_true(axis_of(panel, 'y', &y, "rate") && y.lo == 0);
    assert_non_null(strstr(page.script.s, "Marks: the loss of a validation text."));
    bl_free(panel);
    bl_page_free(&page);
    s->in.n_curves = 0;
    study_free(s);
    s = study_new();
    s->in.curve = curves + 1; /* without one */
    s->in.n_curves = INVENTED_CURVES - 1;
    page = made("loss", s);
    assert_null(strstr(page.script.s, "Marks"));
    bl_page_free(&page);
    study_free(s);
}

/* Methods that are alike up to their last words are told apart, in words of the page; where two have one method, their
 * files are. A GPU has multiprocessors; of what a file does not say no number is told. */
static void the_legend_of_training_tells_runs_apart(void **state)
{
    static const char *const method[] = {"galore+rank=64+every=200+step-scale=1+on=adamw",
                                         "galore+rank=64+every=200+step-scale=1+on=adamw8",
                                         "q-galore+rank=64+every=200+step-scale=1+on=adamw8"};
    static const struct {
        const char *numerics, *says;
        int64_t threads;
    } rows[] = {{"cuda-bf16", ", 132 multiprocessors · ", 132},
                {"cpu-f32", ", 2 threads · ", 2},
                {"", "an invented processor · 2024", 132}};
    bl_curve curves[INVENTED_CURVES];
    char text[64];
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        invented_study *s = study_new();
        s->in.curve = invented_curves(curves);
        s->in.n_curves = INVENTED_CURVES;
        for (int k = 0; k < INVENTED_CURVES; k++) {
            curves[k].method = i ? method[0] : method[k];
            curves[k].name = k == 0 ? "start.one-a" : k == 1 ? "start.one-b" : "start.two";
            curves[k].numerics = rows[i].numerics;
            curves[k].threads = rows[i].threads;
        }
        bl_page page = made("loss", s);
        for (int k = 0; k < INVENTED_CURVES; k++) {
            snprintf(text, sizeof text, "%s, last loss", i ? curves[k].name : method[k]);
            if (i) text[strlen(curves[k].name)] = 0;
            if (!strstr(page.script.s, text)) fail_msg("'%s' is not in\n%s", text, page.script.s);
        }
        if (!strstr(page.script.s, rows[i].says)) fail_msg("'%s' is not in\n%s", rows[i].says, page.script.s);
        bl_page_free(&page);
        study_free(s);
    }
}

/* The word of a level stands where there is room for it, however little that is. */
static void the_word_of_a_level_finds_the_gap(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        bl_page page = {0};
        assert_ok(bl_page_grid(&page, 1, 200, &e));
        bl_box b = page.box[0];
        double y = b.bottom + 90, wide = bl_page_width(&page, "OpenBLAS fp32", bl_page_small(&page)) + 16,
               gap = b.left + 10 + (b.right - b.left - wide - 20) * i / 19;
        assert_ok(bl_page_take(&page, (bl_box){b.left, gap, b.bottom, b.top}, &e));
        assert_ok(bl_page_take(&page, (bl_box){gap + wide, b.right, b.bottom, b.top}, &e));
        assert_ok(bl_page_level(&page, 0, y, "OpenBLAS fp32", "", NULL, &e));
        bl_box word = page.taken[2];
        if (word.left < gap || word.right > gap + wide)
            fail_msg("the word is at %g .. %g, the gap at %g .. %g", word.left, word.right, gap, gap + wide);
        bl_page_free(&page);
    }
}

/* An exponent makes a label wide: digits that say nothing would run into the title of the axis. */
static void a_tick_with_an_exponent_has_no_digit_too_many(void **state)
{
    (void)state;
    bl_ruler r = bl_ruler_log(640600, 1015000);
    int labels = 0;
    for (int i = 0; i < r.n; i++) {
        const char *label = r.tick[i].label;
        if (!*label) continue;
        labels++;
        if (strstr(label, "0×")) fail_msg("'%s' ends in a zero", label);
    }
    assert_true(labels >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tick_with_an_exponent_has_no_digit_too_many),
        cmocka_unit_test(every_panel_can_be_read),
        cmocka_unit_test(gnuplot_draws_what_is_hard_to_draw),
        cmocka_unit_test(a_figure_without_anything_to_show_is_not_drawn),
        cmocka_unit_test(chains_asked_through_a_chat_template_are_drawn_too),
        cmocka_unit_test(chance_is_drawn_where_there_are_choices),
        cmocka_unit_test(values_that_are_no_numbers_are_counted),
        cmocka_unit_test(a_row_is_beaten_only_where_that_is_significant),
        cmocka_unit_test(differences_are_those_of_the_comparison),
        cmocka_unit_test(columns_of_a_map_have_room_for_their_numbers),
        cmocka_unit_test(axes_have_ticks_over_any_range),
        cmocka_unit_test(names_cover_nothing),
        cmocka_unit_test(the_word_of_a_level_finds_the_gap),
        cmocka_unit_test(a_validation_text_has_marks_inside_the_panel_of_the_loss),
        cmocka_unit_test(the_legend_of_training_tells_runs_apart),
    };
    FILE *f = popen("gnuplot --version 2>/dev/null", "r");
    char line[64];
    has_gnuplot = f && fgets(line, sizeof line, f);
    if (f) pclose(f);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
