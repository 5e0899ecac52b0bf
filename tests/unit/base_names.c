/* base_names.c - a header's guard is its path, a function of a header is called by more than tests, the rules
 * that tests cite are those of the list, a line has at most 120 columns. The rooms and the walk over them:
 * source_tree.h.
 */
#include "source_tree.h"
#include <ctype.h>
#include <stdlib.h>

static int cited;
static bool is_cited[1000]; /* by number */

static bool ends_with(const char *path, const char *end)
{
    size_t n = strlen(path), k = strlen(end);
    return n >= k && strcmp(path + n - k, end) == 0;
}
static bool is_source(const char *path)
{
    static const char *const ends[] = {".h", ".c", ".cc", ".cu", ".cuh", ".def", ".gp", ".cmake"};
    for (size_t i = 0; i < BL_COUNT(ends); i++)
        if (ends_with(path, ends[i])) return true;
    return false;
}

static char *read_source(const char *path)
{
    bl_err e = {0};
    char *source;
    size_t n;
    assert_ok(bl_read_file(source_path(path), 1 << 24, &source, &n, &e));
    return source;
}

static void each_of(const char *dir, void (*use)(const char *path, void *ctx), void *ctx)
{
    bl_err e = {0};
    char **name, path[4096];
    size_t n;
    assert_ok(bl_dir_list(source_path(dir), &name, &n, &e));
    for (size_t k = 0; k < n; k++) {
        snprintf(path, sizeof path, "%s/%s", dir, name[k]);
        if (!bl_is_dir(source_path(path))) use(path, ctx);
    }
    bl_list_free(name, n);
}

/* The rooms, main.c, the tests. */
static void each_file(void (*use)(const char *path, void *ctx), void *ctx)
{
    static const char *const others[] = {"tests",        "tests/data",    "tests/unit",   "tests/property",
                                         "tests/golden", "tests/fault",   "tests/reject", "tests/cli",
                                         "tests/fuzz",   "tests/threads", "tests/gpu"};
    for (size_t i = 0; i < BL_COUNT(rooms); i++) each_source(rooms[i].dir, use, ctx);
    use("main.c", ctx);
    for (size_t i = 0; i < BL_COUNT(others); i++) each_of(others[i], use, ctx);
}

/* ---- guards ---- */
static void guard(const char *path, void *ctx)
{
    char want[300] = "BL_", lines[700];
    size_t n = 3;
    int *headers = ctx;
    if (!ends_with(path, ".h")) return;
    ++*headers;
    for (const char *p = path; *p; p++) want[n++] = isalnum((unsigned char)*p) ? (char)toupper((unsigned char)*p) : '_';
    want[n] = 0;
    snprintf(lines, sizeof lines, "\n#ifndef %s\n#define %s\n", want, want);
    char *source = read_source(path);
    if (!strstr(source, lines)) {
        print_message("%s: its guard is not %s\n", path, want);
        failures++;
    }
    bl_free(source);
}
static void a_guard_is_the_path_of_its_header(void **state)
{
    (void)state;
    int headers = 0;
    failures = 0;
    each_file(guard, &headers);
    assert_true(headers > 80);
    assert_int_equal(failures, 0);
}

/* ---- columns ---- */
static void columns(const char *path, void *ctx)
{
    int line = 0;
    (void)ctx;
    if (!is_source(path)) return;
    char *source = read_source(path);
    for (char *rest = source, *text; (text = strsep(&rest, "\n"));) {
        int wide = 0;
        line++;
        for (char *p = text; *p; p++) wide += ((unsigned char)*p & 0xc0) != 0x80; /* code points */
        if (wide <= 120) continue;
        print_message("%s:%d: %d columns\n", path, line, wide);
        failures++;
    }
    bl_free(source);
}
static void a_line_has_120_columns_at_most(void **state)
{
    (void)state;
    failures = 0;
    each_file(columns, NULL);
    assert_int_equal(failures, 0);
}

/* ---- rules ---- */
/* R43 of a test is a row of ARCHITECTURE.md, "R43 " there, and each of the rows is of some test. */
static void rule(const char *path, void *ctx)
{
    const char *rules = ctx;
    char *source = read_source(path), word[8];
    for (char *p = source; (p = strpbrk(p, "R")); p++) {
        size_t n = strspn(p + 1, "0123456789");
        if (!n || n > 3 || (p > source && (isalnum((unsigned char)p[-1]) || p[-1] == '_' || p[-1] == '\\'))) continue;
        if (isalnum((unsigned char)p[n + 1]) || p[n + 1] == '_') continue;
        snprintf(word, sizeof word, "R%.*s ", (int)n, p + 1);
        cited++;
        is_cited[atoi(p + 1)] = true;
        if (strstr(rules, word)) continue;
        print_message("%s cites %s, which ARCHITECTURE.md does not have\n", path, word);
        failures++;
    }
    bl_free(source);
}
static void rules_are_in_the_list_and_each_has_a_test(void **state)
{
    (void)state;
    char *rules = read_source("ARCHITECTURE.md"), *list = strstr(rules, "## Inputs to refuse");
    assert_non_null(list);
    for (char *p = list; *p; p++)
        if (*p == '\n') *p = ' ';
    failures = cited = 0;
    static const char *const kinds[] = {"tests/reject", "tests/unit", "tests/property", "tests/cli"};
    for (size_t i = 0; i < BL_COUNT(kinds); i++) each_of(kinds[i], rule, list);
    for (char *p = list; (p = strstr(p, " R")); p += 2) {
        int number = atoi(p + 2);
        if (!number || is_cited[number]) continue;
        print_message("no test cites R%d of ARCHITECTURE.md\n", number);
        failures++;
    }
    assert_true(cited > 100);
    assert_int_equal(failures, 0);
    bl_free(rules);
}

/* ---- functions ---- */
/* Called by tests alone, and why they are there all the same. */
static const struct {
    const char *name, *why;
} for_tests[] = {
    {"bl_alloc_count", "counts work"},
    {"bl_alloc_fail_at", "makes an allocation fail"},
    {"bl_alloc_live", "counts work"},
    {"bl_alloc_peak", "counts work"},
    {"bl_alloc_watch_reset", "counts work"},
    {"bl_alloc_watch_thread_max", "counts work"},
    {"bl_fs_count", "counts work"},
    {"bl_fs_fail_at", "makes a write fail"},
    {"bl_cell_field_at", "walks the fields of a cell"},
    {"bl_cell_page", "writes results/schema.md"},
    {"bl_journal_parse", "bytes to fuzz"},
    {"bl_safetensors_data", "looks at what was read"},
    {"bl_shard_same", "compares two runs"},
    {"bl_spec_parse", "bytes to fuzz"},
};

enum { MOST_NAMES = 4096 };
typedef struct names {
    char *name[MOST_NAMES]; /* declared by headers */
    bool used[MOST_NAMES];
    size_t n;
} names;

static bool of_a_name(char c) { return isalnum((unsigned char)c) || c == '_'; }

/* The next word bl_… of a line; NULL: no more. */
static char *next_name(char **at, size_t *n)
{
    for (char *p = *at; (p = strstr(p, "bl_")); p++) {
        if (p > *at && of_a_name(p[-1])) continue;
        for (*n = 0; of_a_name(p[*n]);) ++*n;
        *at = p + *n;
        return p;
    }
    return NULL;
}

/* Comments and strings become spaces; lines stay. */
static void drop_comments(char *s)
{
    for (char in = 0; *s; s++) { /* what we are in: '*' or '/' of a comment, a quote */
        char c = *s, next = s[1];
        if (c == '\n') in = in == '*' ? in : 0;
        else if (!in && c == '/' && (next == '*' || next == '/')) {
            in = next;
            *s++ = ' ';
            *s = ' ';
        } else if (!in && (c == '"' || c == '\'')) in = c;
        else if (in == '*' && c == '*' && next == '/') {
            in = 0;
            *s++ = ' ';
            *s = ' ';
        } else if ((in == '"' || in == '\'') && c == '\\' && next != '\n') {
            *s++ = ' ';
            *s = ' ';
        } else if (in == c && c != '*' && c != '/') in = 0;
        else if (in) *s = ' ';
    }
}

/* The function that a line at the left edge declares or defines: its first word with '(' after it. */
static char *declared(char *line, size_t *n)
{
    char *open = strchr(line, '('), *name = open;
    if (!open || isspace((unsigned char)*line) || *line == '#' || !strncmp(line, "typedef", 7)) return NULL;
    while (name > line && of_a_name(name[-1])) name--;
    *n = (size_t)(open - name);
    return *n && !strncmp(name, "bl_", 3) ? name : NULL;
}

static void collect(const char *path, void *ctx)
{
    names *all = ctx;
    bl_err e = {0};
    if (!ends_with(path, ".h")) return;
    char *source = read_source(path);
    drop_comments(source);
    for (char *rest = source, *line; (line = strsep(&rest, "\n"));) {
        size_t n;
        char *name = declared(line, &n);
        if (!name) continue;
        assert_true(all->n < MOST_NAMES);
        all->name[all->n] = bl_format_text(&e, "%.*s", (int)n, name);
        assert_non_null(all->name[all->n]);
        all->n++;
    }
    bl_free(source);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void use(const char *path, void *ctx)
{
    names *all = ctx;
    if (!is_source(path)) return;
    char *source = read_source(path);
    drop_comments(source);
    for (char *rest = source, *line; (line = strsep(&rest, "\n"));) {
        size_t n, skip;
        char *at = line, *name, *own = declared(line, &skip);
        while ((name = next_name(&at, &n))) {
            char word[200];
            if (name == own) continue;
            snprintf(word, sizeof word, "%.*s", (int)n, name);
            const char *key = word;
            char **found = bsearch(&key, all->name, all->n, sizeof *all->name, by_name);
            if (found) all->used[found - all->name] = true;
        }
    }
    bl_free(source);
}

/* The reader itself, on lines that are easily misread. */
static void comments_and_strings_are_no_calls(void **state)
{
    char text[] =
        "int a; /* bl_a() */ bl_b(\"/*\"); // bl_c()\nx('\"', bl_d(), \"\\\"bl_e()\"); /* \nbl_f() */ bl_g();";
    char *at = text, *name, found[8] = {0};
    size_t n, k = 0;
    (void)state;
    drop_comments(text);
    while ((name = next_name(&at, &n))) found[k++] = name[3];
    assert_string_equal(found, "bdg");
}

static void a_function_of_a_header_is_called_by_more_than_tests(void **state)
{
    static names all;
    (void)state;
    failures = 0;
    for (size_t i = 0; i < BL_COUNT(rooms); i++) each_source(rooms[i].dir, collect, &all);
    assert_true(all.n > 600);
    qsort(all.name, all.n, sizeof *all.name, by_name);
    for (size_t i = 0; i < BL_COUNT(rooms); i++) each_source(rooms[i].dir, use, &all);
    use("main.c", &all);
    for (size_t i = 0; i < all.n; i++) {
        const char *why = NULL;
        for (size_t k = 0; k < BL_COUNT(for_tests); k++)
            if (!strcmp(for_tests[k].name, all.name[i])) why = for_tests[k].why;
        if (why ? !all.used[i] : all.used[i]) continue;
        print_message("%s: %s\n", all.name[i],
                      why ? "is called now; it leaves the list of this test" : "nothing but a test calls it");
        failures++;
    }
    for (size_t k = 0; k < BL_COUNT(for_tests); k++) {
        const char *key = for_tests[k].name;
        if (bsearch(&key, all.name, all.n, sizeof *all.name, by_name)) continue;
        print_message("%s: is in the list of this test and in no header\n", key);
        failures++;
    }
    for (size_t i = 0; i < all.n; i++) bl_free(all.name[i]);
    assert_int_equal(failures, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_guard_is_the_path_of_its_header),
        cmocka_unit_test(a_line_has_120_columns_at_most),
        cmocka_unit_test(rules_are_in_the_list_and_each_has_a_test),
        cmocka_unit_test(comments_and_strings_are_no_calls),
        cmocka_unit_test(a_function_of_a_header_is_called_by_more_than_tests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
