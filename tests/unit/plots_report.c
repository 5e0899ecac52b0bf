/* plots_report.c - the page about a directory: well-formed whatever the names are, nothing from elsewhere, the question
 * first, and in it what was measured.
 */
#include "data/results_figures.h"
#include "plots/picks.h"
#include "plots/report.h"

static bl_err e;
static const char evil[] =
    "</td><script>alert('x')</script><img src=\"http://e.vil/x.png\" onerror='y'>&amp;&\x01\x7f\"";

/* ---- a reader of markup: tags that close, attributes in quotes, entities that are known ---- */
enum { DEEP = 64 };
typedef struct markup {
    char open[DEEP][32], ids[4096][48];
    size_t deep, n_ids, n_tags;
} markup;

static bool one_of(const char *name, const char *list)
{
    size_t n = strlen(name);
    for (const char *p = list; (p = strstr(p, name)) != NULL; p += n)
        if ((p == list || p[-1] == ' ') && (p[n] == ' ' || !p[n])) return true;
    return false;
}

static const char *entity(const char *p)
{
    static const char *const known[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    for (size_t i = 0; i < BL_COUNT(known); i++)
        if (!strncmp(p, known[i], strlen(known[i]))) return p + strlen(known[i]);
    fail_msg("no entity: %.30s", p);
    return p;
}

static const char *attribute(markup *m, const char *p, const char *tag)
{
    char name[32] = "", value[256] = "";
    size_t n = 0, k = 0;
    while (*p && !strchr(" =\n\t/>", *p) && n + 1 < sizeof name) name[n++] = *p++;
    name[n] = 0;
    if (!strncmp(p, " = ", 3)) p++; /* as gnuplot has it */
    if (*p == '=' && p[1] == ' ') {
        if (!n || (p[2] != '"' && p[2] != '\'')) fail_msg("<%s>: attribute '%s' at %.40s", tag, name, p);
        p++;
    } else if (!n || *p != '=' || (p[1] != '"' && p[1] != '\''))
        fail_msg("<%s>: attribute '%s' at %.40s", tag, name, p);
    char quote = *++p;
    for (p++; *p && *p != quote;) {
        if (*p == '<') fail_msg("<%s %s>: < in a value", tag, name);
        if (*p == '&') {
            p = entity(p);
            continue;
        }
        if (k + 1 < sizeof value) value[k++] = *p;
        p++;
    }
    value[k] = 0;
    assert_true(*p == quote);
    if (!strcmp(name, "id")) {
        for (size_t i = 0; i < m->n_ids; i++)
            if (!strcmp(m->ids[i], value)) fail_msg("two elements are '%s'", value);
        assert_true(m->n_ids < BL_COUNT(m->ids));
        snprintf(m->ids[m->n_ids++], sizeof m->ids[0], "%.47s", value);
    }
    if (!strncmp(name, "on", 2) || !strcmp(name, "src") || !strcmp(name, "srcset"))
        fail_msg("<%s %s=%s>: comes from elsewhere, or does something", tag, name, value);
    if (one_of(name, "href xlink:href") && value[0] != '#') fail_msg("<%s> leads away: %s", tag, value);
    if (strstr(value, "//") && strncmp(name, "xmlns", 5)) fail_msg("<%s %s=%s>: an address", tag, name, value);
    return p + 1;
}

/* A GPU's record has its multiprocessors where a processor's has threads. */
static void what_is_counted_of_a_machine_has_its_name(void **state)
{
    (void)state;
    bl_cell c = {.model = "m", .stored_as = "BF16", .device = "a GPU", .numerics = "cuda-bf16", .threads = 132};
    const bl_cell *one = &c;
    bl_text t = {0};
    bl_about_cells(&one, 1, &t);
    assert_non_null(strstr(t.s, "a GPU, 132 multiprocessors"));
    t.n = 0;
    c.numerics = "cpu-f32";
    c.threads = 1;
    bl_about_cells(&one, 1, &t);
    assert_non_null(strstr(t.s, "a GPU, 1 thread"));
    assert_null(strstr(t.s, "multi"));
    bl_text_free(&t);
}

static void well_formed(const char *html)
{
    static markup m;
    const char *p = html;
    memset(&m, 0, sizeof m);
    if (!strncmp(p, "<!DOCTYPE html>", 15)) p += 15;
    while (*p) {
        if (*p == '&') {
            p = entity(p);
            continue;
        }
        if ((unsigned char)*p < 0x20 && !strchr("\n\t", *p)) fail_msg("a control character: %.20s", p + 1);
        if (*p != '<') {
            p++;
            continue;
        }
        bool closes = p[1] == '/', itself = false;
        char tag[32] = "";
        size_t n = 0;
        p += 1 + closes;
        while (*p && !strchr(" \n\t/>", *p) && n + 1 < sizeof tag) tag[n++] = *p++;
        if (!n) fail_msg("a bare <: %.30s", p);
        if (one_of(tag, "script link iframe object embed img base")) fail_msg("<%s> in the page", tag);
        m.n_tags++;
        for (;;) {
            while (*p && strchr(" \n\t", *p)) p++;
            if (*p == '>' || !*p) break;
            if (*p == '/') {
                itself = true;
                p++;
                continue;
            }
            p = attribute(&m, p, tag);
        }
        assert_true(*p == '>');
        p++;
        if (closes) {
            if (!m.deep || strcmp(m.open[m.deep - 1], tag))
                fail_msg("</%s> closes <%s>", tag, m.deep ? m.open[m.deep - 1] : "nothing");
            m.deep--;
        } else if (!itself && strcmp(tag, "meta")) {
            assert_true(m.deep < DEEP);
            snprintf(m.open[m.deep++], sizeof m.open[0], "%.31s", tag);
            if (!strcmp(tag, "style")) {
                const char *end = strstr(p, "</style>");
                assert_non_null(end);
                for (const char *c = p; c < end; c++)
                    if (!strncmp(c, "url(", 4) || !strncmp(c, "@import", 7)) fail_msg("style from elsewhere: %.30s", c);
                p = end;
            }
        }
    }
    if (m.deep) fail_msg("<%s> is not closed", m.open[m.deep - 1]);
    assert_true(m.n_tags > 0);
}

/* ---- pages ---- */
static bl_status told(void *ctx, const bl_cell *c, int64_t id, bl_arena *a, bl_report_item *out, bl_err *err)
{
    static const char *const choice[] = {"yes", "no", evil, "perhaps"};
    (void)a;
    (void)err;
    (void)c;
    *(int64_t *)ctx = id;
    *out = (bl_report_item){.question = evil, .choice = choice, .n_choices = 4};
    return BL_OK;
}

static bl_text page_of(invented_study *s, bool with_items)
{
    static int64_t last;
    bl_text html = {0};
    bl_report r = {.in = &s->in, .dir = "runs/it's & a <b>", .item = with_items ? told : NULL, .ctx = &last};
    s->table.arena = s->arena;
    for (size_t i = 0; i < s->table.n; i++) { /* as bl_table_against leaves them */
        s->row[i].reference = !strcmp(s->row[i].cell->method, "base");
        s->row[i].against = s->row[i].paired ? "base" : NULL;
    }
    assert_ok(bl_report_write(&r, &html, &e));
    well_formed(html.s);
    return html;
}

static void order(const char *html, const char *const *phrase, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *at = strstr(html, phrase[i]);
        if (!at) fail_msg("'%s' does not come, or too early", phrase[i]);
        html = at;
    }
}

static void the_question_comes_first_and_everything_is_there(void **state)
{
    (void)state;
    invented_study *s = study_ladder();
    size_t count[3] = {0}, n = 0;
    char sentence[200];
    for (size_t i = 0; i < s->table.n; i++)
        if (s->row[i].paired) {
            count[s->row[i].paired->verdict]++;
            n++;
        }
    bl_text html = page_of(s, true);
    static const char *const parts[] = {"<h1>What is left of smollm2-135m</h1>",
                                        "an invented processor, 2 threads · 2024-05-01 · commit 0123456789ab",
                                        "id=\"answer\"",
                                        "<h3>Worse</h3>",
                                        "rtn:w1g64",
                                        "<h3>Undecided",
                                        "id=\"figures\"",
                                        "id=\"results\"",
                                        "id=\"items\"",
                                        "Right in base; wrong in ",
                                        "id=\"conventions\"",
                                        "wikitext2:gptq2048",
                                        "id=\"environment\"",
                                        "an invented processor",
                                        "id=\"again\"",
                                        "bitladder run --model smollm2-135m --method base,",
                                        "bitladder report "};
    order(html.s, parts, BL_COUNT(parts));
    snprintf(
        sentence, sizeof sentence,
        "Of %zu comparisons with the base <b class=\"worse\">%zu are worse</b>, <b class=\"better\">%zu better</b>, <b "
        "class=\"undecided\">%zu undecided</b>",
        n, count[BL_WORSE], count[BL_BETTER], count[BL_UNDECIDED]);
    if (!strstr(html.s, sentence)) fail_msg("'%s' is not said", sentence);
    bl_text_free(&html);
    study_free(s);
}

static void names_and_texts_are_never_markup(void **state)
{
    (void)state;
    invented_study *s = study_new();
    char task[300];
    snprintf(task, sizeof task, "piqa %s", evil);
    study_add(s, "base", 0, 16, task, 0.9, 200);
    study_add(s, evil, 4, 4.25, task, 0.3, 200);
    for (size_t i = 0; i < 2; i++) {
        bl_cell *c = &s->cell[i];
        c->model = c->stored_as = c->device = c->commit = c->libraries = c->simd = c->notes = c->bos = c->model_path =
            c->calibration = c->created = evil;
        c->model_fingerprint = c->tokenizer_hash = evil;
    }
    study_judge(s);
    s->row[s->table.n] = s->row[1];
    s->row[s->table.n].has_value = s->row[s->table.n].has_cost = false;
    s->row[s->table.n].paired = NULL;
    s->row[s->table.n].status = "failed";
    s->row[s->table.n].reason = evil;
    s->table.n++;
    bl_text html = page_of(s, true);
    assert_null(strstr(html.s, "<script"));
    assert_null(strstr(html.s, "<img"));
    assert_non_null(strstr(html.s, "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
    assert_non_null(strstr(html.s, "runs/it&#39;s &amp; a &lt;b&gt;"));
    assert_non_null(
        strstr(html.s, "bitladder report &#39;runs/it&#39;\\&#39;&#39;s &amp; a &lt;b&gt;&#39; -o")); /* a word */
    bl_text_free(&html);
    study_free(s);
}

/* A command for what was run together: another for other items, seeds, keys and values, or without BOS. */
static void how_to_make_it_again_says_what_was_asked_for(void **state)
{
    (void)state;
    static const struct {
        int64_t limit, drawn, seed;
        const char *numerics, *bos, *says;
    } cases[] = {
        {0, 0, 0, "cpu-f32", "none, by the tokenizer's rule", " --task piqa --out "},
        {20, 0, 0, "cpu-f32", "none, by the tokenizer's rule", " --task piqa --limit 20 --out "},
        {0, 20, 3, "cpu-f32", "none, by the tokenizer's rule", " --task piqa --sample 20 --seed 3 --out "},
        {0, 0, 0, "cpu-f32", "left out", " --task piqa --no-bos --out "},
        {0, 0, 0, "cpu-f32-kv:int8", "left out", " --task piqa --no-bos --kv int8 --out "},
    };
    invented_study *s = study_new();
    for (size_t i = 0; i < BL_COUNT(cases); i++) {
        study_add(s, "rtn:w4", 4, 4.25, "piqa", 0.5, 20);
        s->cell[i].limit = cases[i].limit;
        s->cell[i].drawn = cases[i].drawn;
        s->cell[i].seed = cases[i].seed;
        s->cell[i].numerics = cases[i].numerics;
        s->cell[i].bos = cases[i].bos;
    }
    bl_text html = page_of(s, false);
    const char *at = strstr(html.s, "id=\"again\"");
    size_t commands = 0;
    for (size_t i = 0; i < BL_COUNT(cases); i++) {
        char want[200];
        snprintf(want, sizeof want, "bitladder run --model smollm2-135m --method rtn:w4%s", cases[i].says);
        if (!strstr(at, want)) fail_msg("'%s' is not said in\n%s", want, at);
    }
    for (const char *c = at; (c = strstr(c, "bitladder run ")); c++) commands++;
    assert_int_equal(commands, BL_COUNT(cases));
    bl_text_free(&html);
    study_free(s);
}

/* Item 9 is lost by all three rows, 8 by two, 7 by one; 9 is told first. */
static void the_items_that_most_rows_lost_come_first(void **state)
{
    (void)state;
    invented_study *s = study_new();
    double score[4][40];
    static const char *const methods[] = {"base", "a:w4", "b:w3", "c:w2"};
    for (int m = 0; m < 4; m++) {
        study_add(s, methods[m], m ? 5 - m : 0, m ? 5.25 - m : 16, "piqa", 0.5, 40);
        for (int i = 0; i < 40; i++) {
            score[m][i] = m == 0 || i < 10 - m || i > 9 || i == 30;
            bl_sample *sample = (bl_sample *)(uintptr_t)&s->cell[m].sample[i];
            sample->score = &score[m][i];
            sample->gold = 0;
            sample->pick = score[m][i] > 0.5 ? 0 : 1;
        }
    }
    study_judge(s);
    bl_text html = page_of(s, false);
    static const char *const parts[] = {"3 items that base has right are wrong in some of 3 rows",
                                        "item 9</p>",
                                        "its text is not known here",
                                        "wrong in a:w4 (B), b:w3 (B), c:w2 (B).",
                                        "item 8</p>",
                                        "wrong in b:w3 (B), c:w2 (B).",
                                        "item 7</p>",
                                        "wrong in c:w2 (B)."};
    order(html.s, parts, BL_COUNT(parts));
    bl_text_free(&html);
    study_free(s);
}

static void without_a_base_that_is_what_the_page_says(void **state)
{
    (void)state;
    invented_study *s = study_new();
    study_add(s, "rtn:w4", 4, 4.25, "piqa", 0.5, 50);
    bl_text html = page_of(s, true);
    assert_non_null(strstr(html.s, "Nothing was compared"));
    assert_null(strstr(html.s, "<h3>Worse</h3>"));
    bl_text_free(&html);
    study_free(s);
}

static void without_gnuplot_the_page_is_whole_all_the_same(void **state)
{
    (void)state;
    char *path = strdup(getenv("PATH") ? getenv("PATH") : "");
    invented_study *s = study_ladder();
    setenv("PATH", "/nonexistent", 1);
    bl_text html = page_of(s, true);
    setenv("PATH", path, 1);
    free(path);
    assert_null(strstr(html.s, "<svg"));
    assert_non_null(strstr(html.s, "The figure heatmap is not here: gnuplot is not there"));
    assert_non_null(strstr(html.s, "<h3>Worse</h3>"));
    bl_text_free(&html);
    study_free(s);
}

/* ---- parts ---- */
static void a_markdown_table_becomes_one_of_html(void **state)
{
    (void)state;
    bl_text out = {0};
    bl_html_of_markdown(&out, "| a \\| b | n |\n|-----|----:|\n| x<y | 1 ±2 |\n| z |  |\n\n± is <this>  \nand that\n");
    assert_string_equal(out.s, "<div class=\"wide\"><table>\n"
                               "<thead><tr><th>a | b</th><th class=\"r\">n</th></tr></thead>\n<tbody>\n"
                               "<tr><td>x&lt;y</td><td class=\"r\">1 ±2</td></tr>\n"
                               "<tr><td>z</td></tr>\n"
                               "</tbody></table></div>\n"
                               "<p class=\"note\">± is &lt;this&gt;</p>\n<p class=\"note\">and that</p>\n");
    well_formed(out.s);
    bl_text_free(&out);
    bl_html_of_markdown(&out, "| only |\n|---|");
    well_formed(out.s);
    bl_text_free(&out);
}

static void two_pictures_share_no_id(void **state)
{
    (void)state;
    static const char svg[] = "<?xml version=\"1.0\"?>\n<svg width=\"1\" xmlns=\"http://www.w3.org/2000/svg\" "
                              "xmlns:xlink=\"http://www.w3.org/1999/xlink\">\n<title>Gnuplot</title>\n<desc>by</desc>\n"
                              "<defs><path id='p0' d='M0,0'/></defs><use xlink:href='#p0' fill=\"url(#p0)\"/>"
                              "<text>aid='x' #p0</text></svg>\n";
    bl_text out = {0};
    assert_true(bl_html_of_svg(&out, svg, "f1-", "a \"name\""));
    assert_true(bl_html_of_svg(&out, svg, "f2-", "b"));
    assert_non_null(strstr(out.s, "<svg role=\"img\" aria-label=\"a &quot;name&quot;\" width=\"1\""));
    assert_non_null(strstr(out.s, "<path id='f2-p0' d='M0,0'/></defs><use xlink:href='#f2-p0' fill=\"url(#f2-p0)\"/>"));
    assert_non_null(strstr(out.s, "<text>aid='x' #p0</text>"));
    assert_null(strstr(out.s, "Gnuplot"));
    bl_text_free(&out);
    assert_false(bl_html_of_svg(&out, "no picture", "f1-", "x"));
    bl_text_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_counted_of_a_machine_has_its_name),
        cmocka_unit_test(the_question_comes_first_and_everything_is_there),
        cmocka_unit_test(names_and_texts_are_never_markup),
        cmocka_unit_test(how_to_make_it_again_says_what_was_asked_for),
        cmocka_unit_test(the_items_that_most_rows_lost_come_first),
        cmocka_unit_test(without_a_base_that_is_what_the_page_says),
        cmocka_unit_test(without_gnuplot_the_page_is_whole_all_the_same),
        cmocka_unit_test(a_markdown_table_becomes_one_of_html),
        cmocka_unit_test(two_pictures_share_no_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
