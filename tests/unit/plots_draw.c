/* plots_draw.c - figures: their data, their files, and what happens without gnuplot. */
#include "data/results_figures.h"
#include "plots/plot.h"

#include <sys/stat.h>
#include <unistd.h>

static bl_err e;
static bl_row rows[128];
static bl_kernel_row timings[256];
static bl_table table;
static bl_plot_input in;
static char dir[4200];
static bool has_gnuplot;

static int begin(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "%s", test_dir());
    table = (bl_table){.row = rows, .n = invented_rows(rows, BL_COUNT(rows))};
    in = (bl_plot_input){&table, timings, invented_timings(timings, BL_COUNT(timings))};
    return 0;
}

static int end(void **state)
{
    (void)state;
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

static void every_figure_has_data_in_a_full_study(void **state)
{
    (void)state;
    assert_true(bl_plot_at(0) && bl_plot_find("pareto") && !bl_plot_find("nothing"));
    for (size_t i = 0; bl_plot_at(i); i++) {
        bl_text csv = {0};
        size_t n = 0, lines = 0;
        assert_ok(bl_plot_at(i)->data(&in, &csv, &n, &e));
        assert_true(n > 8);
        for (const char *c = csv.s; *c; c++) lines += *c == '\n';
        assert_true(lines > n);
        bl_text_free(&csv);
        bl_table none = {0};
        assert_ok(bl_plot_at(i)->data(&(bl_plot_input){.table = &none}, &csv, &n, &e));
        assert_int_equal(n, 0);
        bl_text_free(&csv);
        assert_refused(
            bl_plot_draw(bl_plot_at(i), &(bl_plot_input){.table = &none}, BL_PLOT_PNG, at("x.png"), &csv, &e),
            BL_E_MISSING, bl_plot_at(i)->name);
    }
}

static void a_curve_holds_one_task_and_ends_at_the_base(void **state)
{
    (void)state;
    bl_text csv = {0};
    size_t n = 0;
    assert_ok(bl_plot_find("ppl_bits")->data(&in, &csv, &n, &e));
    assert_int_equal(n, 16);
    assert_non_null(strstr(csv.s, "panel,series,kind,label,bits,value,stderr,n,front\n"
                                  "\"ptb:gptq2048\",\"ptb:gptq2048 \xc2\xb7 rtn g64\",method,\"rtn:w1g64\",1.25,"));
    assert_non_null(strstr(csv.s, "\"wikitext2:gptq2048 \xc2\xb7 rtn g64\",base,\"base\",16,16.8,0.12,161,1\n"));
    bl_text_free(&csv);
}

/* Rows that differ in the limit are other numbers: another curve. */
static void limited_rows_are_a_curve_of_their_own(void **state)
{
    (void)state;
    bl_text csv = {0};
    size_t n = 0, count = 0;
    for (size_t i = 0; i < table.n; i++)
        if (!strcmp(rows[i].cell->task, "piqa") && i % 2) {
            bl_cell *c = (bl_cell *)(uintptr_t)rows[i].cell;
            c->limit = 200;
            rows[i].n = 200;
        }
    assert_ok(bl_plot_find("acc_bits")->data(&in, &csv, &n, &e));
    for (const char *c = csv.s; (c = strstr(c, "\"piqa n=200* \xc2\xb7 rtn g64\"")); c++) count++;
    assert_int_equal(count, 4);
    bl_text_free(&csv);
}

static void the_front_is_what_no_other_point_beats(void **state)
{
    (void)state;
    bl_row r[4];
    bl_cell c[4];
    bl_table t = {.row = r, .n = 4};
    bl_text csv = {0};
    size_t n = 0;
    static const struct {
        double bits, value;
        const char *want;
    } points[] = {
        {16, 0.70, "16,70,NA,10,1\n"},
        {4.5, 0.66, "4.5,66,NA,10,1\n"},
        {5.0, 0.65, "5,65,NA,10,0\n"},
        {4.5, 0.60, "4.5,60,NA,10,0\n"},
    };
    for (size_t i = 0; i < 4; i++) {
        r[i] = rows[0];
        c[i] = *rows[0].cell;
        c[i].task = "piqa";
        c[i].method = i ? "m" : "base";
        c[i].bits_per_weight = points[i].bits;
        r[i].cell = &c[i];
        r[i].metric = "acc";
        r[i].percent = true;
        r[i].direction = 1;
        r[i].has_stderr = false;
        r[i].n = 10;
        r[i].value = points[i].value;
    }
    assert_ok(bl_plot_find("pareto")->data(&(bl_plot_input){.table = &t}, &csv, &n, &e));
    for (size_t i = 0; i < 4; i++)
        if (!strstr(csv.s, points[i].want)) fail_msg("'%s' is missing in %s", points[i].want, csv.s);
    bl_text_free(&csv);
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
    table.n = 8; /* wikitext2 only: one curve of eight points */
    assert_ok(bl_plot_draw(bl_plot_find("ppl_bits"), &in, BL_PLOT_DUMB, at("p.txt"), &out, &e));
    assert_non_null(strstr(out.s, "wikitext2:gptq2048 \xc2\xb7 rtn g64"));
    assert_non_null(strstr(out.s, "bits per weight"));
    const char *plot = strstr(out.s, "2000"); /* below the key */
    assert_non_null(plot);
    for (const char *c = plot; *c; c++) marks += *c == 'G' || *c == 'F'; /* pointtype 7 and 6 */
    assert_in_range(marks, 8, 10);
    assert_non_null(strstr(plot, "20 @@"));
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
    for (size_t i = 0; i < table.n; i++)
        ((bl_cell *)(uintptr_t)rows[i].cell)->task = "x\"; system 'touch d'; \" `touch f` \\ , \n'";
    for (size_t i = 0; i < table.n; i++) rows[i].path = "p";
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
        cmocka_unit_test_setup_teardown(a_curve_holds_one_task_and_ends_at_the_base, begin, end),
        cmocka_unit_test_setup_teardown(limited_rows_are_a_curve_of_their_own, begin, end),
        cmocka_unit_test_setup_teardown(the_front_is_what_no_other_point_beats, begin, end),
        cmocka_unit_test_setup_teardown(all_pictures_are_drawn_with_data_and_script_beside_them, begin, end),
        cmocka_unit_test_setup_teardown(a_picture_in_the_terminal_shows_its_points_and_names, begin, end),
        cmocka_unit_test_setup_teardown(odd_names_are_data_and_nothing_else, begin, end),
        cmocka_unit_test_setup_teardown(without_gnuplot_data_and_script_are_written_all_the_same, begin, end),
    };
    FILE *f = popen("gnuplot --version 2>/dev/null", "r");
    char line[64];
    has_gnuplot = f && fgets(line, sizeof line, f);
    if (f) pclose(f);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
