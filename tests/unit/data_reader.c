/* Rows out of data files. */
#include "test.h"
#include "harness/data/reader.h"
#include "harness/data/data_impl.h"
#include "harness/data/pytext.h"

static const char *dir;
static int setup(void **state)
{
    (void)state;
    dir = strdup(test_dir());
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    bl_remove_tree(dir, NULL);
    free((void *)(uintptr_t)dir);
    return 0;
}

static const char *put(const char *name, const char *text)
{
    static char path[4200];
    bl_err e = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_ok(bl_write_file(path, text, strlen(text), &e));
    return path;
}

/* U+2028 and U+0085 are line ends to some libraries; here only "\n" is. */
static void only_a_newline_ends_a_row(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_rows *r;
    const bl_json *j;
    const char *s;
    assert_ok(bl_rows_open(put("a.jsonl", "{\"t\":\"x\xe2\x80\xa8y\xc2\x85z\"}\r\n\r\n  \n{\"t\":\"last\"}"), &r, &e));
    assert_ok(bl_rows_json(r, &j, &e));
    assert_ok(bl_json_get_str(j, "t", &s, &e));
    assert_string_equal(s, "x\xe2\x80\xa8y\xc2\x85z");
    assert_non_null(strstr(bl_rows_where(r), "a.jsonl:1"));
    assert_ok(bl_rows_json(r, &j, &e));
    assert_ok(bl_json_get_str(j, "t", &s, &e));
    assert_string_equal(s, "last");
    assert_non_null(strstr(bl_rows_where(r), "a.jsonl:4"));
    assert_ok(bl_rows_json(r, &j, &e));
    assert_null(j);
    bl_rows_close(r);
}

static void an_array_gives_its_elements(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_rows *r;
    const bl_json *j;
    int64_t v, sum = 0;
    assert_ok(bl_rows_open(put("a.json", "[1,\n 2, 3]"), &r, &e));
    while (bl_rows_json(r, &j, &e) == BL_OK && j) {
        assert_ok(bl_json_int(j, &v, &e));
        sum += v;
        char want[32];
        snprintf(want, sizeof want, "a.json:%d: element %d", v == 1 ? 1 : 2, (int)v);
        assert_non_null(strstr(bl_rows_where(r), want));
    }
    assert_int_equal(sum, 6);
    bl_rows_close(r);
}

/* datasets 5.2 reads each of these files as the same two rows. */
static void rows_are_the_same_however_a_file_is_written(void **state)
{
    (void)state;
#define ROW0 "{\"t\":\"why\xe2\x80\xa8is jar 0 blue\"}"
#define ROW1 "{\"t\":\"why\xe2\x80\xa8is jar 1 blue\"}"
    static const char *const files[] = {
        ROW0 "\n" ROW1 "\n",     "\xef\xbb\xbf" ROW0 "\n" ROW1 "\n",
        ROW0 "\r\n" ROW1 "\r\n", ROW0 "\n" ROW1 "\n\n\n",
        "[" ROW0 ", " ROW1 "]",  "\xef\xbb\xbf \r\n[\n" ROW0 ",\n" ROW1 "\n]\n",
    };
    for (size_t i = 0; i < BL_COUNT(files); i++) {
        bl_err e = {0};
        bl_rows *r;
        const bl_json *j;
        const char *s;
        int64_t n = 0;
        assert_ok(bl_rows_open(put("rows.json", files[i]), &r, &e));
        for (; bl_rows_json(r, &j, &e) == BL_OK && j; n++) {
            assert_ok(bl_json_get_str(j, "t", &s, &e));
            assert_string_equal(s, n ? "why\xe2\x80\xa8is jar 1 blue" : "why\xe2\x80\xa8is jar 0 blue");
        }
        assert_int_equal(n, 2);
        bl_rows_close(r);
    }
}

/* What llama.cpp scores of such files is the mark and the CR too: the number stays, and its row says so. */
static void marks_and_line_ends_of_a_text_are_said(void **state)
{
    (void)state;
    static const struct {
        const char *name, *source, *text, *says;
    } rows[] = {
        {"wiki.test.raw", "wikitext2", " = A = \n\n b \n", NULL},
        {"wiki.test.raw", "wikitext2", "\xef\xbb\xbf = A = \n\n b \n", "begins with a byte order mark, which is read"},
        {"wiki.test.raw", "wikitext2", " = A = \r\n\r\n b \r\n", "end in CR LF; the CR is read"},
        {"wiki.test.raw", "wikitext2", "\xef\xbb\xbf = A = \r\n", "both are read"},
        {"ptb.test.txt", "ptb-new", "a\r\nb\r\n", NULL}, /* its lines are stripped */
        {"ptb.test.txt", "ptb-new",
         "\xef\xbb\xbf"
         "a\r\nb\r\n",
         "byte order mark"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_arena *a;
        bl_source_text t = {0};
        bl_data_dirs d = {{dir}, 1};
        assert_ok(bl_arena_new(&a, &e));
        put(rows[i].name, rows[i].text);
        assert_ok(bl_source_find(rows[i].source)->load(&d, a, &t, &e));
        if (!rows[i].says) assert_null(t.note);
        else assert_non_null(strstr(t.note ? t.note : "", rows[i].says));
        bl_arena_free(a);
    }
}

static void the_first_directory_that_has_a_file_wins(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_arena *a;
    const char *path;
    char one[4100], two[4100], file[4200], *saved = getenv("BITLADDER_DATA") ? strdup(getenv("BITLADDER_DATA")) : NULL;
    int which = -1;
    static const char *const names[] = {"best.txt", "other.txt", NULL};
    assert_ok(bl_arena_new(&a, &e));
    snprintf(one, sizeof one, "%s/one", dir);
    snprintf(two, sizeof two, "%s/two", dir);
    assert_ok(bl_make_dirs(one, &e));
    assert_ok(bl_make_dirs(two, &e));
    snprintf(file, sizeof file, "%s/other.txt.gz", one);
    assert_ok(bl_write_file(file, "x", 1, &e));
    snprintf(file, sizeof file, "%s/best.txt", two);
    assert_ok(bl_write_file(file, "y", 1, &e));
    setenv("BITLADDER_DATA", two, 1);
    bl_data_dirs d = {{one}, 1};
    assert_ok(bl_data_find(&d, names, "", a, &path, &which, &e));
    assert_non_null(strstr(path, "one/other.txt.gz"));
    assert_int_equal(which, 1);
    assert_ok(bl_data_find(NULL, names, "", a, &path, &which, &e));
    assert_string_equal(path, file);
    assert_int_equal(which, 0);
    unsetenv("BITLADDER_DATA");
    static const char *const shipped[] = {"primer/primer.txt", NULL};
    assert_ok(bl_data_find(NULL, shipped, "", a, &path, NULL, &e)); /* what ships is always found */
    if (saved) setenv("BITLADDER_DATA", saved, 1);
    free(saved);
    bl_arena_free(a);
}

static void detokenizes_by_the_rules(void **state)
{
    (void)state;
    static const struct {
        const char *from, *want;
    } rows[] = {
        {"the boys ' house", "the boys' house"},
        {"a guest @-@ starring role of 1 @,@ 000", "a guest-starring role of 1,000"},
        {"3 @.@ 5 , he said . No : yes ; a ! b ? c", "3.5, he said. No: yes; a! b? c"},
        {"( a [ b ] ) and \" c d \" ' e '", "(a [b]) and \"c d\" 'e'"},
        {"( one ( two )", "(one ( two)"}, /* the nearest closing bracket */
        {"( never closed", "( never closed"},
        {" = = = Title = = = \n = x =", " === Title ===\n= x ="},
        {"90 \xc2\xb0 north , N of N pieces", "90\xc2\xb0north, 1 of 1 pieces"},
        {" N N ", " 1 N "}, /* replaced left to right, no overlap */
        {"it 's", "it's"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_text t = {0};
        assert_ok(bl_detokenize(rows[i].from, strlen(rows[i].from), &t, &e));
        assert_string_equal(t.s, rows[i].want);
        bl_text_free(&t);
    }
}

static void words_are_pieces_between_white_space(void **state)
{
    (void)state;
    static const struct {
        const char *s;
        int64_t n;
    } rows[] = {
        {"", 1},
        {"a", 1},
        {" a ", 3},
        {" \n", 2},
        {"a b", 2},
        {"a \n\t b", 2},
        {"a\xc2\xa0"
         "b",
         2},
        {"a\xe2\x80\x83\xe3\x80\x80"
         "b",
         2},
        {"a\xe2\x80\x8b"
         "b",
         1},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++)
        assert_int_equal(bl_count_words(rows[i].s, strlen(rows[i].s)), rows[i].n);
}

static void strips_both_ends(void **state)
{
    (void)state;
    static const struct {
        const char *s, *want;
    } rows[] = {
        {" a b \n", "a b"},
        {"", ""},
        {" \t ", ""},
        {"\xc2\xa0x\xe3\x80\x80", "x"},
        {"\xc3\xa9", "\xc3\xa9"},
        {"\x1c"
         "a\x1f",
         "a"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const char *s = rows[i].s;
        size_t n = strlen(s);
        bl_strip(&s, &n);
        assert_int_equal(n, strlen(rows[i].want));
        assert_memory_equal(s, rows[i].want, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_a_newline_ends_a_row),
        cmocka_unit_test(an_array_gives_its_elements),
        cmocka_unit_test(rows_are_the_same_however_a_file_is_written),
        cmocka_unit_test(marks_and_line_ends_of_a_text_are_said),
        cmocka_unit_test(the_first_directory_that_has_a_file_wins),
        cmocka_unit_test(detokenizes_by_the_rules),
        cmocka_unit_test(words_are_pieces_between_white_space),
        cmocka_unit_test(strips_both_ends),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
