/* `bitladder bench` from outside: words it does not know, exit codes, what goes to standard output. */
#include "test.h"
#include "kernels/base/json.h"
#include "kernels/kernel.h"
#include <sys/wait.h>

typedef struct said {
    int code;
    char text[1 << 16];
} said;

/* Standard output of the program, or with `errors` its standard error. */
static said *bench(const char *args, bool errors)
{
    static said s;
    char line[4096];
    snprintf(line, sizeof line, "'%s' bench %s %s", BL_PROGRAM, args, errors ? "2>&1 >/dev/null" : "2>/dev/null");
    FILE *f = popen(line, "r");
    assert_non_null(f);
    s.text[fread(s.text, 1, sizeof s.text - 1, f)] = 0;
    int status = pclose(f);
    s.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return &s;
}

static void what_cannot_be_timed_is_refused_with_a_suggestion(void **state)
{
    static const struct {
        const char *args, *phrase;
    } cases[] = {
        {"kernles", "did you mean kernels?"},
        {"scorring", "did you mean scoring?"},
        {"xyz", "kernels, layers, decode, score, scoring or search?"},
        {"layer", "did you mean layers?"},
        {"decode", "--model"},
        {"score", "--model"},
        {"", "bench needs kernels|layers|decode|score"},
        {"scoring", "--model"},
        {"search -o x", "bench search writes no files"},
        {"search --instructions avx2", "search has none"},
        {"decode --model synth:tiny --instructions avx", "did you mean avx2?"},
        {"kernels --check -o x", "nothing is timed"},
        {"decode --model synth:tiny --check", "--check: bench decode takes none; kernels and layers do"},
        {"kernels --deterministic", "--deterministic: bench kernels takes none; decode, score and scoring do"},
        {"layers --mem-limit 1GiB", "--mem-limit: bench layers takes none"},
        {"kernels --model synth:tiny", "--model: bench kernels takes none"},
        {"search --stream", "--stream: bench search takes none"},
        {"scoring --model synth:tiny --narrow", "--narrow: bench scoring takes none; kernels and layers do"},
        {"layers --outside x.so", "--outside: bench layers takes none; kernels does"},
        {"kernels --rows 0", "--rows"},
        {"kernels --rows 1,,2", "--rows"},
        {"kernels --rows 1,x", "--rows"},
        {"kernels --filtr x", "did you mean --filter?"},
        {"kernels --shape synth:lama3", "lama3"},
        {"kernels --shape 64", "--shape: '64' is neither a model nor shapes, which are written OUTxIN, each from 1"},
        {"kernels --shape 64x64,64", "'64x64,64' is neither a model nor shapes"},
        {"kernels --shape 64x", "'64x' is neither"},
        {"kernels --shape 64X64", "'64X64' is neither"},
        {"kernels --shape 0x64", "'0x64' is neither"},
        {"kernels --shape 64x2000000", "each from 1 to 1048576"},
        {"kernels --shape 7b/model", "7b/model"},
        {"scoring --model synth:tiny --batch 0", "--batch"},
        {"scoring --model synth:tiny --method rtn:w9 --quiet", "9 is not in 1..8"},
    };
    (void)state;
    for (size_t i = 0; i < BL_COUNT(cases); i++) {
        said *s = bench(cases[i].args, true);
        if (s->code != 2 || !strstr(s->text, cases[i].phrase))
            fail_msg("bench %s: exit %d: %s", cases[i].args, s->code, s->text);
    }
}

static void instructions_are_those_asked_for_at_most(void **state)
{
    (void)state;
    said *s = bench("decode --model synth:tiny --method base --alone --repetitions 1 --instructions plain", false);
    assert_int_equal(s->code, 0);
    assert_non_null(strstr(s->text, ", plain, "));
    if (!BL_HAVE_BENCHMARK) return;
    s = bench("kernels --shape 64x64 --rows 1 --filter '*int4*' --min-time 0.0001 --repetitions 1 --instructions avx2 "
              "--json",
              false);
    assert_int_equal(s->code, 0);
    assert_null(strstr(s->text, "_avx512\""));
}

static void a_check_prints_errors_and_no_times(void **state)
{
    (void)state;
    said *s = bench("kernels --check --shape 64x64 --rows 1,3 --filter linear_int4_ref --json", false);
    assert_int_equal(s->code, 0);
    assert_non_null(strstr(s->text,
                           "{\"kernel\": \"linear_int4_ref\", \"m\": 3, \"out\": 64, \"in\": 64, \"group\": 64, "
                           "\"nmse\": "));
    assert_null(strstr(s->text, "seconds"));
    s = bench("kernels --check --shape 64x64 --rows 1,3 --filter linear_int4_ref", false);
    assert_int_equal(s->code, 0);
    assert_non_null(strstr(s->text, "| linear_int4_ref |    3 |    64 |    64 |    64 |"));
    s = bench("layers --check --shape 64x64 --rows 3 --filter '*_int4_*' --instructions plain --json", false);
    assert_int_equal(s->code, 0);
    const char *only = strstr(s->text, "\"kernel\": \"linear_int4_ref\""); /* what is taken, and no other */
    assert_non_null(only);
    assert_null(strstr(only + 1, "\"kernel\""));
}

/* Every op has rows, or the table says why it has none. */
static void an_op_without_rows_is_named_with_the_reason(void **state)
{
    (void)state;
    if (!BL_HAVE_BENCHMARK) skip();
    said *s = bench("kernels --shape synth:tiny --filter linear_fp32_ref --rows 1 --min-time 0.0001 --repetitions 1",
                    false);
    const char *list = strstr(s->text, "transform, ");
    assert_int_equal(s->code, 0);
    assert_non_null(list);
    assert_non_null(strstr(list, "have no rows"));
    for (size_t i = 0; bl_op_at(i); i++) {
        bool rows = false;
        const bl_kernel *k;
        for (size_t j = 0; (k = bl_kernel_at(j)); j++) rows |= !strcmp(k->family->op, bl_op_at(i));
        if (!rows && !strstr(list, bl_op_at(i))) fail_msg("%s has neither rows nor a reason", bl_op_at(i));
    }
}

static void json_is_all_that_is_printed(void **state)
{
    static const char *const args[] = {
        "kernels --shape synth:tiny --filter 'linear_*_ref' --rows 1,2 --group 32 --min-time 0.0001 --repetitions 1 "
        "--json",
        "scoring --model synth:tiny --method fp32,base,rtn:w4g64 --request 8 --decode 4 --repetitions 1 --json",
    };
    bl_err e = {0};
    (void)state;
    for (size_t i = BL_HAVE_BENCHMARK ? 0 : 1; i < BL_COUNT(args); i++) {
        bl_json *doc = NULL;
        said *s = bench(args[i], false);
        if (s->code != 0) fail_msg("bench %s: exit %d", args[i], s->code);
        assert_ok(bl_json_parse(s->text, strlen(s->text), "standard output", BL_JSON_PLAIN, &doc, &e));
        assert_int_equal(bl_json_kind(doc), BL_JSON_ARRAY);
        assert_true(bl_json_size(doc) > 10);
        bl_json_free(doc);
    }
}

#define ONE_SHAPE " --shape 64x128 --rows 1,4 --group 32 --min-time 0.0001 --repetitions 1 --filter 'linear_fp32_ref' "

/* The example that is in the tree, built as its author would. */
static void a_kernel_from_outside_is_checked_and_timed_like_all(void **state)
{
    bl_err e = {0};
    bl_json *doc = NULL;
    size_t rows = 0;
    (void)state;
    if (!BL_HAVE_BENCHMARK) skip();
    said *s = bench("kernels" ONE_SHAPE "--json --outside " BL_OUTSIDE_RIGHT, false);
    if (s->code != 0) fail_msg("exit %d: %s", s->code, s->text);
    assert_ok(bl_json_parse(s->text, strlen(s->text), "standard output", BL_JSON_PLAIN, &doc, &e));
    for (const bl_json *v = bl_json_first(doc); v; v = bl_json_next(v)) {
        const char *name;
        double nmse, bytes;
        int64_t m;
        assert_ok(bl_json_get_str(v, "kernel", &name, &e));
        if (strcmp(name, "outside_int4") != 0) continue;
        assert_ok(bl_json_get_real(v, "nmse", &nmse, &e));
        assert_ok(bl_json_get_real(v, "bytes", &bytes, &e));
        assert_ok(bl_json_get_int(v, "m", &m, &e));
        assert_true(nmse < 1e-12);
        /* its own word for the weight: codes, and two floats a group; x and y of f32 beside it */
        assert_true(bytes == 64 * 128 / 2 + 8.0 * 64 * 4 + 4.0 * (double)m * (64 + 128));
        rows++;
    }
    assert_int_equal(rows, 2);
    bl_json_free(doc);
    s = bench("kernels" ONE_SHAPE "--outside " BL_OUTSIDE_WRONG, true);
    assert_int_equal(s->code, 1);
    assert_non_null(strstr(s->text, "outside_int4 is wrong at 1 x 64 x 128 and was not timed: error 0.0004"));
    /* groups that it does not take have no row */
    s = bench("kernels --shape 64x130 --rows 1 --group 13 --min-time 0.0001 --repetitions 1 --filter linear_fp32_ref "
              "--outside " BL_OUTSIDE_RIGHT,
              false);
    assert_int_equal(s->code, 0);
    assert_null(strstr(s->text, "outside_int4"));
    static const struct {
        const char *args, *phrase;
    } refused[] = {{"--outside /nowhere.so", "/nowhere.so"},
                   {"--outside libm.so.6", "has no function bl_outside_name; expected the five of outside.h"},
                   {"--outside " BL_OUTSIDE_RIGHT " --outside-format int9", "'int9' is no format of integers"}};
    for (size_t i = 0; i < BL_COUNT(refused); i++) {
        char args[4096];
        snprintf(args, sizeof args, "kernels" ONE_SHAPE "%s", refused[i].args);
        s = bench(args, true);
        if (s->code != 2 || !strstr(s->text, refused[i].phrase)) fail_msg("%s: exit %d: %s", args, s->code, s->text);
    }
}

/* One sum a format and number of rows, over the products of a block: q, k and v are one, gate and up are one. */
static void layers_are_the_products_of_a_block(void **state)
{
    bl_err e = {0};
    bl_json *doc = NULL;
    size_t n = 0;
    (void)state;
    if (!BL_HAVE_BENCHMARK) skip();
    said *s = bench("layers --shape synth:tiny --rows 1,3 --group 32 --min-time 0.0001 --repetitions 1 --json", false);
    if (s->code != 0) fail_msg("exit %d: %s", s->code, s->text);
    assert_ok(bl_json_parse(s->text, strlen(s->text), "standard output", BL_JSON_PLAIN, &doc, &e));
    for (const bl_json *v = bl_json_first(doc); v; v = bl_json_next(v), n++) {
        int64_t products, m;
        const char *format;
        assert_ok(bl_json_get_int(v, "products", &products, &e));
        assert_ok(bl_json_get_int(v, "m", &m, &e));
        assert_true(m == 1 || m == 3);
        assert_ok(bl_json_get_str(v, "format", &format, &e));
        if (strcmp(format, "int4") == 0) assert_int_equal(products, 4);
        else assert_true(products >= 1 && products <= 4); /* not all formats take every width */
    }
    assert_true(n >= 20 && n % 2 == 0);
    bl_json_free(doc);
}

static void decode_and_score_are_parts_of_scoring(void **state)
{
    static const struct {
        const char *kind, *has, *has_not;
    } cases[] = {{"decode", "greedy text of 4", "window of"}, {"score", "window of", "greedy text"}};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(cases); i++) {
        char args[256];
        snprintf(args, sizeof args,
                 "%s --model synth:tiny --method base --alone --request 8 --decode 4 --repetitions 1 --quiet",
                 cases[i].kind);
        said *s = bench(args, false);
        assert_int_equal(s->code, 0);
        assert_non_null(strstr(s->text, cases[i].has));
        assert_null(strstr(s->text, cases[i].has_not));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_timed_is_refused_with_a_suggestion),
        cmocka_unit_test(instructions_are_those_asked_for_at_most),
        cmocka_unit_test(a_check_prints_errors_and_no_times),
        cmocka_unit_test(an_op_without_rows_is_named_with_the_reason),
        cmocka_unit_test(json_is_all_that_is_printed),
        cmocka_unit_test(layers_are_the_products_of_a_block),
        cmocka_unit_test(decode_and_score_are_parts_of_scoring),
        cmocka_unit_test(a_kernel_from_outside_is_checked_and_timed_like_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
