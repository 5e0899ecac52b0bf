/* plots_draw.c - figures: their data, their files, and what happens without gnuplot. */
#include "data/results_figures.h"
#include "plots/page.h"
#include "plots/plot.h"

#include <sys/stat.h>
#include <unistd.h>

static bl_err e;
static bl_kernel_row timings[512];
static bl_curve curves[INVENTED_CURVES];
static invented_study *study;
static bl_plot_input in;
static char dir[4200];
static bool has_gnuplot;

static int begin(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "%s", test_dir());
    study = study_ladder();
    study_probe(study, "base", 0);
    study_probe(study, "rtn:w3g64", 3);
    in = study->in;
    in.kernel = timings;
    in.n_kernels = invented_timings(timings, BL_COUNT(timings));
    in.facts = &invented_facts;
    in.curve = invented_curves(curves);
    in.n_curves = INVENTED_CURVES;
    return 0;
}

static int end(void **state)
{
    (void)state;
    study_free(study);
    return bl_remove_tree(dir, &e) != BL_OK;
}

static char *slurp(const char *name, size_t *n)
{
    char path[4300], *text = NULL;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (bl_read_file(path, 1 << 24, &text, n, &e) != BL_OK) fail_msg("%s", e.text);
    return text;
}

static const char *at(const char *name)
{
    static char path[4300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

#define NEEDS_GNUPLOT()                                                                                                \
    do {                                                                                                               \
        if (!has_gnuplot) {                                                                                            \
            print_message("skipped: no gnuplot\n");                                                                    \
            skip();                                                                                                    \
        }                                                                                                              \
    } while (0)

/* The data of a figure; the caller frees the page. */
static bl_page made(const char *name)
{
    bl_page page = {0};
    assert_ok(bl_plot_find(name)->make(&in, &page, &e));
    return page;
}

static void every_figure_has_data_in_a_full_study(void **state)
{
    (void)state;
    assert_true(bl_plot_at(0) && bl_plot_find("pareto") && !bl_plot_find("nothing"));
    for (size_t i = 0; bl_plot_at(i); i++) {
        bl_page page = made(bl_plot_at(i)->name), empty = {0};
        bl_text text = {0};
        size_t lines = 0;
        assert_true(page.n_points > 8);
        for (const char *c = page.csv.s; *c; c++) lines += *c == '\n';
        assert_true(lines > page.n_points);
        bl_page_free(&page);
        bl_table none = {0};
        assert_ok(bl_plot_at(i)->make(&(bl_plot_input){.table = &none}, &empty, &e));
        assert_int_equal(empty.n_points, 0);
        bl_page_free(&empty);
        assert_refused(
            bl_plot_draw(bl_plot_at(i), &(bl_plot_input){.table = &none}, BL_PLOT_PNG, at("x.png"), &text, &e),
            BL_E_MISSING, bl_plot_at(i)->name);
    }
}

static void a_curve_holds_one_task_and_the_base_is_drawn_once(void **state)
{
    (void)state;
    size_t bases = 0;
    bl_page page = made("ppl_bits");
    assert_int_equal(page.n_points, 16);
    assert_int_equal(page.n_panels, 2);
    for (const char *c = page.csv.s; (c = strstr(c, ",\"base\",base,\"base\",16,16,")); c++) bases++;
    assert_int_equal(bases, 2);
    assert_non_null(strstr(page.csv.s, "panel,task,style,family,kind,method,bits,x,value,stderr,n,differs,front\n"
                                       "1,\"wikitext2:gptq2048 perplexity\",0,\"base\",base,\"base\",16,16,16."));
    assert_non_null(strstr(page.csv.s, "\"rtn g64\",off,\"rtn:w1g64\",1.25,"));
    bl_page_free(&page);
}

/* Rows that differ in the limit are other numbers: another panel. */
static void limited_rows_are_a_panel_of_their_own(void **state)
{
    (void)state;
    size_t count = 0;
    for (size_t i = 0; i < study->table.n; i++)
        if (!strcmp(study->cell[i].task, "piqa") && i % 2) {
            study->cell[i].limit = 200;
            study->row[i].n = 200;
        }
    bl_page page = made("acc_bits");
    for (const char *c = page.csv.s; (c = strstr(c, "\"piqa acc; first 200\",1,\"rtn g64\"")); c++) count++;
    assert_int_equal(count, 4);
    assert_int_equal(page.n_panels, 6);
    bl_page_free(&page);
}

/* So are those of items drawn at random. */
static void drawn_items_are_a_panel_of_their_own(void **state)
{
    (void)state;
    size_t count = 0;
    for (size_t i = 0; i < study->table.n; i++)
        if (!strcmp(study->cell[i].task, "piqa") && i % 2) {
            study->cell[i].drawn = 200;
            study->row[i].n = 200;
        }
    bl_page page = made("acc_bits");
    for (const char *c = page.csv.s; (c = strstr(c, "\"piqa acc; 200 drawn\",1,\"rtn g64\"")); c++) count++;
    assert_int_equal(count, 4);
    assert_int_equal(page.n_panels, 6);
    bl_page_free(&page);
}

static void all_pictures_are_drawn_with_data_and_script_beside_them(void **state)
{
    (void)state;
    NEEDS_GNUPLOT();
    static const struct {
        const char *ending, *magic;
    } forms[] = {{"png", "\x89PNG"}, {"svg", "<?xml"}, {"pdf", "%PDF"}};
    for (size_t i = 0; bl_plot_at(i); i++)
        for (size_t f = 0; f < BL_COUNT(forms); f++) {
            char name[64];
            size_t n = 0;
            bl_text out = {0};
            if (f && i) continue; /* every form once, every figure once */
            snprintf(name, sizeof name, "%s.%s", bl_plot_at(i)->name, forms[f].ending);
            assert_ok(bl_plot_draw(bl_plot_at(i), &in, (bl_plot_format)f, at(name), &out, &e));
            char *picture = slurp(name, &n);
            assert_true(n > 3000 && !memcmp(picture, forms[f].magic, 4));
            bl_free(picture);
            snprintf(name, sizeof name, "%s.gp", bl_plot_at(i)->name);
            char *script = slurp(name, &n);
            assert_non_null(strstr(script, "set border 3 back"));
            bl_free(script);
            snprintf(name, sizeof name, "%s.csv", bl_plot_at(i)->name);
            bl_free(slurp(name, &n));
            bl_text_free(&out);
        }
}

static void a_picture_in_the_terminal_shows_its_points_and_names(void **state)
{
    (void)state;
    NEEDS_GNUPLOT();
    bl_text out = {0};
    size_t marks = 0;
    study->table.n = 8; /* wikitext2 only: one curve of eight points */
    assert_ok(bl_plot_draw(bl_plot_find("ppl_bits"), &in, BL_PLOT_DUMB, at("p.txt"), &out, &e));
    assert_non_null(strstr(out.s, "rtn g64"));
    assert_non_null(strstr(out.s, "wikitext2:gptq2048 perplexity, n = 161"));
    assert_non_null(strstr(out.s, "bits per weight"));
    assert_null(strstr(out.s, "warning"));
    const char *plot = strstr(out.s, "n = 161"); /* below the legend */
    const char *notes = strstr(plot, "Bars: ");
    assert_non_null(notes);
    for (const char *c = plot; c < notes; c++) marks += *c == 'G' || *c == 'F'; /* pointtype 7 and 6 */
    assert_in_range(marks, 6, 7); /* one of eight is beyond the axis, two may be on one place */
    bl_text_free(&out);
}

/* Colours are no help there: each kind of point has a letter of its own. */
static void kinds_of_points_have_their_letters_in_the_terminal(void **state)
{
    static const char *const kinds[] = {" on the front", " not significantly beaten", " beaten"};
    (void)state;
    NEEDS_GNUPLOT();
    bl_text out = {0};
    char letter[3];
    assert_ok(bl_plot_draw(bl_plot_find("pareto"), &in, BL_PLOT_DUMB, at("p.txt"), &out, &e));
    const char *from = out.s;
    for (int i = 0; i < 3; i++) {
        from = strstr(from, kinds[i]);
        assert_non_null(from);
        letter[i] = from[-1];
        from += strlen(kinds[i]);
        for (int k = 0; k < i; k++) assert_true(letter[k] != letter[i]);
    }
    bl_text_free(&out);
}

static void odd_names_are_data_and_nothing_else(void **state)
{
    (void)state;
    NEEDS_GNUPLOT();
    char odd[4300], pwned[4400];
    bl_text out = {0};
    snprintf(odd, sizeof odd, "%s/it's \"a\" `touch b`\n$(touch c) \xc3\xbc", dir);
    assert_ok(bl_make_dirs(odd, &e));
    for (size_t i = 0; i < study->table.n; i++) study->cell[i].task = "x\"; system 'touch d'; \" `touch f` \\ , \n'";
    snprintf(odd + strlen(odd), sizeof odd - strlen(odd), "/-e 'q\" `touch g`\\n%%s.png");
    assert_ok(bl_plot_draw(bl_plot_find("acc_bits"), &in, BL_PLOT_PNG, odd, &out, &e));
    assert_true(bl_exists(odd));
    *strrchr(odd, '/') = 0;
    for (const char *c = "bcdfg"; *c; c++) {
        snprintf(pwned, sizeof pwned, "%s/%c", odd, *c);
        assert_false(bl_exists(pwned));
        snprintf(pwned, sizeof pwned, "%s/%c", dir, *c);
        assert_false(bl_exists(pwned));
    }
    bl_text_free(&out);
}

static void without_gnuplot_data_and_script_are_written_all_the_same(void **state)
{
    (void)state;
    char *path = strdup(getenv("PATH") ? getenv("PATH") : "");
    char fake[4300];
    bl_text out = {0};
    size_t n = 0;
    setenv("PATH", dir, 1);
    assert_refused(bl_plot_draw(bl_plot_find("pareto"), &in, BL_PLOT_PNG, at("none.png"), &out, &e), BL_E_MISSING,
                   "gnuplot");
    assert_non_null(strstr(e.text, "the picture is not"));
    bl_free(slurp("none.csv", &n));
    bl_free(slurp("none.gp", &n));
    assert_false(bl_exists(at("none.png")));

    /* One that crashes, and one that complains. */
    static const struct {
        const char *script, *phrase;
    } bad[] = {{"#!/bin/sh\nkill -SEGV $$\n", "signal 11"},
               {"#!/bin/sh\necho 'line 3: no'; exit 2\n", "line 3: no"},
               {"#!/bin/sh\nexit 0\n", "no picture"}};
    snprintf(fake, sizeof fake, "%s/gnuplot", dir);
    for (size_t i = 0; i < BL_COUNT(bad); i++) {
        assert_ok(bl_write_file(fake, bad[i].script, strlen(bad[i].script), &e));
        chmod(fake, 0755);
        assert_refused(bl_plot_draw(bl_plot_find("pareto"), &in, BL_PLOT_PNG, at("none.png"), &out, &e), BL_E_MISSING,
                       bad[i].phrase);
        assert_false(bl_exists(at("none.png")));
    }
    setenv("PATH", path, 1);
    free(path);
    bl_text_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_figure_has_data_in_a_full_study, begin, end),
        cmocka_unit_test_setup_teardown(a_curve_holds_one_task_and_the_base_is_drawn_once, begin, end),
        cmocka_unit_test_setup_teardown(limited_rows_are_a_panel_of_their_own, begin, end),
        cmocka_unit_test_setup_teardown(drawn_items_are_a_panel_of_their_own, begin, end),
        cmocka_unit_test_setup_teardown(all_pictures_are_drawn_with_data_and_script_beside_them, begin, end),
        cmocka_unit_test_setup_teardown(a_picture_in_the_terminal_shows_its_points_and_names, begin, end),
        cmocka_unit_test_setup_teardown(kinds_of_points_have_their_letters_in_the_terminal, begin, end),
        cmocka_unit_test_setup_teardown(odd_names_are_data_and_nothing_else, begin, end),
        cmocka_unit_test_setup_teardown(without_gnuplot_data_and_script_are_written_all_the_same, begin, end),
    };
    FILE *f = popen("gnuplot --version 2>/dev/null", "r");
    char line[64];
    has_gnuplot = f && fgets(line, sizeof line, f);
    if (f) pclose(f);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
