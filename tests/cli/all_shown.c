/* all_shown.c - what the program makes of results for a person: items, tables, figures, a page. */
#include "verbs_fixture.h"

static void samples_are_those_behind_the_numbers(void **state)
{
    (void)state;
    bl_err e = {0};
    ran all = SAY(NULL, "samples", "@out", "--method", "base"),
        wrong = SAY(NULL, "samples", "@out", "--method", "base", "--wrong");
    ran flips = SAY(NULL, "samples", "@out", "--flipped", "base", "--json"), csv = SAY(NULL, "table", "@out", "--json");
    bl_json *t, *f;
    double acc = -1, flipped = 0;
    assert_int_equal(lines_of(all.out), 30);
    assert_ok(bl_json_parse(csv.out, strlen(csv.out), "table", BL_JSON_PLAIN, &t, &e));
    for (const bl_json *r = bl_json_first(bl_json_get(t, "rows")); r; r = bl_json_next(r)) {
        const char *metric, *method;
        double v;
        assert_ok(bl_json_get_str(r, "metric", &metric, &e));
        assert_ok(bl_json_get_str(r, "method", &method, &e));
        assert_ok(bl_json_get_real(r, "value", &v, &e));
        if (strcmp(metric, "acc") == 0 && strcmp(method, "base") == 0) acc = v;
        if (strcmp(metric, "flips") == 0) flipped += v * 30;
    }
    assert_true(fabs(acc - (1 - (double)lines_of(wrong.out) / 30)) < 1e-12);
    assert_ok(bl_json_parse(flips.out, strlen(flips.out), "flips", BL_JSON_PLAIN, &f, &e));
    assert_true(flipped > 0);
    assert_true(fabs((double)bl_json_size(f) - flipped) < 1e-9);
    bl_json_free(t);
    bl_json_free(f);
    ran_free(&all);
    ran_free(&wrong);
    ran_free(&flips);
    ran_free(&csv);
}

static void a_file_gets_what_standard_output_would(void **state)
{
    (void)state;
    static const char *const formats[] = {"md", "csv", "tex", "json"};
    for (size_t i = 0; i < BL_COUNT(formats); i++) {
        char *text;
        size_t n;
        bl_err e = {0};
        ran r = SAY(NULL, "table", "@out", "--format", formats[i]),
            dash = SAY(NULL, "table", "@out", "--format", formats[i], "-o", "-");
        ran file = SAY(NULL, "table", "@out", "--format", formats[i], "--output", "@dir/table");
        expect(&file, 0, NULL);
        assert_string_equal(file.out, "");
        assert_string_equal(dash.out, r.out);
        assert_ok(bl_read_file(filled("@dir/table"), 1 << 24, &text, &n, &e));
        assert_string_equal(text, r.out);
        bl_free(text);
        ran_free(&r);
        ran_free(&dash);
        ran_free(&file);
    }
}

static void figures_are_drawn_where_one_wants_them(void **state)
{
    (void)state;
    ran r = SAY(NULL, "doctor", "--data", "@data");
    bool none = strstr(r.out, "gnuplot-nox") != NULL;
    ran_free(&r);
    if (none) {
        print_message("skipped: no gnuplot\n");
        skip();
    }
    r = SAY(NULL, "plot", "@out", "pareto", "-o", "-");
    expect(&r, 0, NULL);
    assert_memory_equal(r.out, "\x89PNG", 4);
    ran_free(&r);
    assert_false(bl_exists("-"));
    r = SAY(NULL, "plot", "@out", "pareto", "--format", "svg", "-o", "@dir/p.svg");
    expect(&r, 0, NULL);
    assert_true(bl_exists(filled("@dir/p.svg")) && bl_exists(filled("@dir/p.csv")) && bl_exists(filled("@dir/p.gp")));
    ran_free(&r);
    static const struct {
        const char *file, *magic;
    } forms[] = {{"@dir/q.pdf", "%PDF"}, {"@dir/q.svg", "<?xml"}, {"@dir/q.png", "\x89PNG"}, {"@dir/q", "\x89PNG"}};
    for (size_t i = 0; i < BL_COUNT(forms); i++) { /* the ending says what it is */
        char *picture;
        size_t n;
        bl_err e = {0};
        r = SAY(NULL, "plot", "@out", "pareto", "-o", forms[i].file);
        expect(&r, 0, NULL);
        ran_free(&r);
        assert_ok(bl_read_file(filled(forms[i].file), 1 << 24, &picture, &n, &e));
        assert_memory_equal(picture, forms[i].magic, 4);
        bl_free(picture);
    }
    r = SAY(NULL, "plot", "@out", "--format", "dumb");
    expect(&r, 0, NULL);
    assert_true(lines_of(r.out) > 20);
    ran_free(&r);
    r = SAY(NULL, "plot", "@out", "--json");
    expect(&r, 0, NULL);
    read_json(r.out, strlen(r.out), "--json");
    assert_non_null(strstr(r.out, "plots/acc_bits.png"));
    ran_free(&r);
}

/* The page of a real study: its question, its rows, and the text of the items where the data are. */
static void a_report_is_one_page_with_the_texts_of_items(void **state)
{
    (void)state;
    bl_err e = {0};
    char *page;
    size_t n;
    ran r = SAY(NULL, "report", "@out", "-o", "@dir/report.html", "--data", "@data");
    expect(&r, 0, NULL);
    assert_string_equal(r.out, filled("@dir/report.html\n"));
    ran_free(&r);
    assert_ok(bl_read_file(filled("@dir/report.html"), 1 << 26, &page, &n, &e));
    static const char *const parts[] = {
        "<!DOCTYPE html>", "comparisons with the base", "rtn:w1pc", "id=\"items\"", "<div class=\"q\">Question: ",
        "<ol type=\"A\">", "bitladder run --model ",    "</html>"};
    for (size_t i = 0; i < BL_COUNT(parts); i++)
        if (!strstr(page, parts[i])) fail_msg("'%s' is not in the page", parts[i]);
    bl_free(page);
    r = SAY(NULL, "report", "@out", "-o", "-", "--data", "@dir"); /* no data there: the items are told without text */
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "</html>"));
    assert_null(strstr(r.out, "<div class=\"q\">Question: "));
    assert_non_null(strstr(r.out, "its text is shown where the data are: --data DIR"));
    ran_free(&r);
    study_piqa(filled("@dir/other"), 30); /* nor of other data */
    r = SAY(NULL, "report", "@out", "-o", "-", "--data", "@dir/other");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "is not what noise/base/piqa/0 was made from"));
    assert_null(strstr(r.out, "<div class=\"q\">Question: "));
    ran_free(&r);
    r = SAY(NULL, "report", "@out", "--json");
    expect(&r, 0, NULL);
    read_json(r.out, strlen(r.out), "--json");
    assert_true(bl_exists(filled("@out/report.html")));
    ran_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_are_those_behind_the_numbers),
        cmocka_unit_test(a_file_gets_what_standard_output_would),
        cmocka_unit_test(figures_are_drawn_where_one_wants_them),
        cmocka_unit_test(a_report_is_one_page_with_the_texts_of_items),
    };
    return cmocka_run_group_tests_name("results shown", tests, begin_results, end_study);
}
