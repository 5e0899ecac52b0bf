/* base_opt.c - option rows: defaults, setting, printing, command lines, help. */
#include "test.h"
#include "kernels/base/opt.h"
#include <math.h>

typedef struct opts {
    int64_t wbits, seed;
    double damp;
    bool sym, quick;
    int range;
    const char *out, *only;
} opts;
static const char *const ranges[] = {"zero", "minmax", "clip_range", NULL};
static const bl_opt rows[] = {
    {"wbits", BL_OPT_INT, .min = 1, .max = 8, .def.i = 4, .at = offsetof(opts, wbits), .doc = "bits of a weight"},
    {"seed", BL_OPT_INT, .min = 0, .max = INFINITY, .at = offsetof(opts, seed), .doc = "where random numbers begin",
     .letter = 's'},
    {"damp-factor", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 0.01, .at = offsetof(opts, damp),
     .doc = "added to the diagonal, relative"},
    {"symmetric", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, sym), .doc = "no zero point"},
    {"quick", BL_OPT_BOOL, .at = offsetof(opts, quick), .letter = 'q'},
    {"range", BL_OPT_CHOICE, .choices = ranges, .def.choice = 1, .at = offsetof(opts, range),
     .doc = "how the range of a group is found, with a text that is long enough for two lines"},
    {"out", BL_OPT_TEXT, .at = offsetof(opts, out), .arg = "DIR", .doc = "where results go", .letter = 'o'},
    {"only", BL_OPT_TEXT, .def.s = "*", .at = offsetof(opts, only), .repeat = true, .doc = "cells to run"},
    {0}};

static void defaults_are_set_and_recognised(void **state)
{
    (void)state;
    opts o;
    memset(&o, 0xff, sizeof o);
    bl_opt_defaults(rows, &o);
    assert_true(o.wbits == 4 && o.seed == 0 && o.damp == 0.01 && o.sym && !o.quick && o.range == 1 && !o.out);
    for (const bl_opt *r = rows; r->type; r++) assert_true(bl_opt_is_default(r, &o));
    o = (opts){.wbits = 3, .seed = 1, .damp = 0.02, .quick = true, .range = 2, .out = "x", .only = "y"};
    for (const bl_opt *r = rows; r->type; r++) assert_false(bl_opt_is_default(r, &o));
    assert_ptr_equal(bl_opt_find(rows, "damp_factor"), &rows[2]);
    assert_ptr_equal(bl_opt_find(rows, "damp-factor"), &rows[2]);
    assert_null(bl_opt_find(rows, "damp"));
}

static void good_values_are_set_and_print_as_they_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *want;
    } given[] = {
        {"wbits", "8", "8"},
        {"wbits", "+1", "1"},
        {"seed", "9223372036854775807", "9223372036854775807"},
        {"damp_factor", "1e-3", "0.001"},
        {"damp-factor", "0.1", "0.1"},
        {"damp-factor", "0.30000000000000004", "0.30000000000000004"},
        {"symmetric", "no", "false"},
        {"symmetric", NULL, "true"},
        {"quick", "1", "true"},
        {"range", "clip-range", "clip_range"},
        {"range", "zero", "zero"},
        {"out", "a b", "a b"},
        {"only", "", ""},
    };
    bl_err e;
    opts o;
    bl_opt_defaults(rows, &o);
    for (size_t i = 0; i < BL_COUNT(given); i++) {
        bl_text t = {0}, again = {0};
        const bl_opt *row = bl_opt_find(rows, given[i].name);
        assert_ok(bl_opt_set(rows, &o, given[i].name, given[i].value, "test", &e));
        assert_int_equal(bl_opt_print(row, &o, &t), BL_OK);
        assert_string_equal(t.s, given[i].want);
        assert_ok(bl_opt_set(rows, &o, given[i].name, t.s, "test", &e));
        assert_int_equal(bl_opt_print(row, &o, &again), BL_OK);
        assert_string_equal(t.s, again.s);
        bl_opt_defaults(rows, &o);
        bl_text_free(&t);
        bl_text_free(&again);
    }
}

static void sizes_are_mib_or_say_their_unit(void **state)
{
    static const bl_opt limit[] = {{"limit", BL_OPT_INT, .min = 0, .max = 1 << 30, .mib = true}, {0}};
    static const struct {
        const char *value, *wrong;
        int64_t mib;
    } given[] = {{"0", NULL, 0},
                 {"300", NULL, 300},
                 {"512MiB", NULL, 512},
                 {"24GiB", NULL, 24 << 10},
                 {"2000000GiB", "limit: 2000000GiB is not in 0..1073741824", 0},
                 {"24GB", "limit: '24GB' is not an integer, nor a size as 512MiB or 24GiB", 0},
                 {"GiB", "'GiB' is not an integer, nor a size", 0},
                 {"-1GiB", "'-1GiB' is not an integer, nor a size", 0},
                 {"1.5GiB", "'1.5GiB' is not an integer, nor a size", 0},
                 {"9999999999999999GiB", "is not an integer, nor a size", 0}};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(given); i++) {
        int64_t got = -1;
        bl_err e;
        bl_status st = bl_opt_set(limit, &got, "limit", given[i].value, NULL, &e);
        if (given[i].wrong) assert_true(st == BL_E_CONFIG && strstr(e.text, given[i].wrong));
        else assert_true(st == BL_OK && got == given[i].mib);
    }
}

static void bad_values_are_refused_with_what_is_possible(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *where, *want;
    } given[] = {
        {"wbits", "9", "method rtn", "method rtn: wbits: 9 is not in 1..8"},
        {"wbits", "0", "--wbits", "--wbits: 0 is not in 1..8"},
        {"wbits", "2.5", NULL, "wbits: '2.5' is not an integer"},
        {"wbits", "four", "spec", "spec: wbits: 'four' is not an integer"},
        {"wbits", "", "spec", "'' is not an integer"},
        {"wbits", " 4", "spec", "' 4' is not an integer"},
        {"wbits", "4x", "spec", "'4x' is not an integer"},
        {"wbits", "0x4", "spec", "'0x4' is not an integer"},
        {"wbits", "99999999999999999999", "spec", "is not an integer"},
        {"wbits", NULL, "spec", "spec: wbits: needs a value"},
        {"seed", "-1", "spec", "spec: seed: -1 is not at least 0"},
        {"damp-factor", "nan", "spec", "'nan' is not a number"},
        {"damp-factor", "inf", "spec", "'inf' is not a number"},
        {"damp-factor", "1e999", "spec", "'1e999' is not a number"},
        {"damp-factor", "1,5", "spec", "'1,5' is not a number"},
        {"damp-factor", "1.5", "spec", "damp-factor: 1.5 is not in 0..1"},
        {"symmetric", "maybe", "spec", "'maybe' is not true or false"},
        {"range", "minmx", "spec", "spec: range: 'minmx' is not one of zero, minmax, clip_range; did you mean minmax?"},
        {"wbit", "4", "spec", "spec: unknown option 'wbit'; did you mean wbits?"},
        {"factor", "4", "spec", "spec: unknown option 'factor'; did you mean damp-factor?"},
        {"zzzzzzzz", "4", NULL, "unknown option 'zzzzzzzz'"},
    };
    bl_err e;
    opts o, before;
    memset(&o, 0, sizeof o);
    bl_opt_defaults(rows, &o);
    before = o;
    for (size_t i = 0; i < BL_COUNT(given); i++)
        assert_refused(bl_opt_set(rows, &o, given[i].name, given[i].value, given[i].where, &e), BL_E_CONFIG,
                       given[i].want);
    assert_memory_equal(&o, &before, sizeof o);
    assert_int_equal(bl_opt_set(rows, &o, "wbits", "9", "x", NULL), BL_E_CONFIG);
}

static void json_values_are_checked_the_same_way(void **state)
{
    (void)state;
    static const struct {
        const char *name, *json, *refusal;
    } given[] = {
        {"wbits", "3", NULL},
        {"damp_factor", "1", NULL},
        {"damp_factor", "0.5", NULL},
        {"symmetric", "false", NULL},
        {"range", "\"zero\"", NULL},
        {"out", "\"d\"", NULL},
        {"wbits", "9", "methods[0]: wbits: 9 is not in 1..8"},
        {"wbits", "2.5", "wbits: found 2.5, expected an integer"},
        {"wbits", "\"four\"", "wbits: found the string \"four\", expected an integer"},
        {"seed", "18446744073709551616", "expected an integer up to 2^53"},
        {"damp_factor", "2", "damp-factor: 2 is not in 0..1"},
        {"damp_factor", "null", "found null, expected a number"},
        {"symmetric", "1", "found 1, expected true or false"},
        {"range", "\"zerro\"", "did you mean zero?"},
        {"range", "0", "found 0, expected a string"},
        {"out", "[\"a\"]", "found an array of 1, expected a string"},
        {"nothing", "1", "unknown option 'nothing'"},
    };
    bl_err e;
    opts o;
    bl_opt_defaults(rows, &o);
    for (size_t i = 0; i < BL_COUNT(given); i++) {
        bl_json *j;
        assert_ok(bl_json_parse(given[i].json, strlen(given[i].json), "j", BL_JSON_PLAIN, &j, &e));
        if (given[i].refusal)
            assert_refused(bl_opt_set_json(rows, &o, given[i].name, j, "methods[0]", &e), BL_E_CONFIG,
                           given[i].refusal);
        else {
            assert_ok(bl_opt_set_json(rows, &o, given[i].name, j, "methods[0]", &e));
            if (strcmp(given[i].name, "out") == 0) assert_string_equal(o.out, "d");
        }
        bl_json_free(j);
    }
    assert_true(o.wbits == 3 && o.damp == 0.5 && !o.sym && o.range == 0);
    assert_refused(bl_opt_set_json(rows, &o, "wbits", NULL, "m", &e), BL_E_CONFIG,
                   "m: wbits: is missing, expected an integer");
}

static int count(char **argv)
{
    int n = 0;
    while (argv[n]) n++;
    return n;
}

static void a_command_line_is_parsed(void **state)
{
    (void)state;
    bl_err e;
    opts o;
    bl_args a;
    char *argv[] = {"spec.json",
                    "--wbits",
                    "3",
                    "--damp_factor=0.5",
                    "--no-symmetric",
                    "--quick",
                    "-o",
                    "dir",
                    "--only",
                    "a/*",
                    "-1",
                    "--only=b",
                    "-",
                    "--",
                    "--wbits",
                    NULL};
    bl_opt_defaults(rows, &o);
    assert_ok(bl_opt_parse(rows, &o, count(argv), argv, &a, &e));
    assert_true(o.wbits == 3 && o.damp == 0.5 && !o.sym && o.quick && !a.help);
    assert_string_equal(o.out, "dir");
    assert_string_equal(o.only, "a/*,b");
    static const char *const pos[] = {"spec.json", "-1", "-", "--wbits"};
    assert_int_equal(a.n_pos, BL_COUNT(pos));
    for (size_t i = 0; i < BL_COUNT(pos); i++) assert_string_equal(a.pos[i], pos[i]);
    bl_args_free(&a);

    char *more[] = {"-qodir2",    "--symmetric=false", "--seed", "7", "--only", "x", "-s8",
                    "--quick=no", "--only=y",          "--only", "z", "-h",     NULL};
    bl_opt_defaults(rows, &o);
    assert_ok(bl_opt_parse(rows, &o, count(more), more, &a, &e));
    assert_true(o.seed == 8 && !o.sym && !o.quick && a.help);
    assert_string_equal(o.out, "dir2");
    assert_string_equal(o.only, "x,y,z");
    bl_args_free(&a);
    char *help[] = {"--help", NULL};
    assert_ok(bl_opt_parse(rows, &o, 1, help, &a, &e));
    assert_true(a.help);
    bl_args_free(&a);
    assert_ok(bl_opt_parse(rows, &o, 0, help, &a, &e));
    assert_true(!a.help && a.n_pos == 0);
    bl_args_free(&a);
}

static void a_wrong_command_line_is_refused(void **state)
{
    (void)state;
    static char *const given[][3] = {
        {"--wbit", "3", "unknown option '--wbit'; did you mean --wbits?"},
        {"--wbits", NULL, "--wbits: needs a value"},
        {"--wbits=9", NULL, "--wbits: 9 is not in 1..8"},
        {"--no-symmetric=1", NULL, "--no-symmetric: takes no value"},
        {"--no-wbits", NULL, "unknown option '--no-wbits'"},
        {"--quick=perhaps", NULL, "--quick: 'perhaps' is not true or false"},
        {"-x", NULL, "unknown option '-x'"},
        {"-o", NULL, "-o: needs a value"},
        {"-qz", NULL, "unknown option '-z' in '-qz'"},
        {"-s", "x", "-s: seed: 'x' is not an integer"},
        {"--range", "clip", "not one of zero, minmax, clip_range"},
        {"--=1", NULL, "unknown option '--'"},
        {"--"
         "quickkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
         "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
         NULL, "unknown option '--quickk"},
    };
    for (size_t i = 0; i < BL_COUNT(given); i++) {
        bl_err e = {0};
        opts o;
        bl_args a;
        char *argv[] = {given[i][0], given[i][1], NULL};
        bl_opt_defaults(rows, &o);
        assert_refused(bl_opt_parse(rows, &o, count(argv), argv, &a, &e), BL_E_CONFIG, given[i][2]);
        bl_args_free(&a);
    }
}

static void help_is_aligned_and_states_defaults(void **state)
{
    (void)state;
    bl_text t = {0};
    bl_opt_help(rows, &t);
    assert_string_equal(
        t.s, "  --wbits N                       bits of a weight, 1..8                          (default: 4)\n"
             "  -s, --seed N                    where random numbers begin                      (default: 0)\n"
             "  --damp-factor X                 added to the diagonal, relative, 0..1           (default: 0.01)\n"
             "  --[no-]symmetric                no zero point                                   (default: on)\n"
             "  -q, --quick\n"
             "  --range zero|minmax|clip_range  how the range of a group is found, with a text\n"
             "                                  that is long enough for two lines               (default: minmax)\n"
             "  -o, --out DIR                   where results go\n"
             "  --only TEXT                     cells to run; may come again                    (default: *)\n");
    bl_text_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_set_and_recognised),
        cmocka_unit_test(good_values_are_set_and_print_as_they_are_read),
        cmocka_unit_test(sizes_are_mib_or_say_their_unit),
        cmocka_unit_test(bad_values_are_refused_with_what_is_possible),
        cmocka_unit_test(json_values_are_checked_the_same_way),
        cmocka_unit_test(a_command_line_is_parsed),
        cmocka_unit_test(a_wrong_command_line_is_refused),
        cmocka_unit_test(help_is_aligned_and_states_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
