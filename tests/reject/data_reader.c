/* Data files that are not what they should be: each is refused with a sentence that says where. */
#include "test.h"
#include "harness/data/gz.h"
#include "harness/data/reader.h"
#include <zlib.h>

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

static const char *put(const char *name, const void *p, size_t n)
{
    static char path[4200];
    bl_err e = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_ok(bl_write_file(path, p, n, &e));
    return path;
}

static const char *put_gz(const char *name, const void *p, size_t n)
{
    static char path[4200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    gzFile f = gzopen(path, "wb9");
    assert_int_equal(gzwrite(f, p, (unsigned)n), (int)n);
    gzclose(f);
    return path;
}

static bl_status text_of(const char *path, uint64_t max, bl_err *e)
{
    char *s = NULL;
    size_t n;
    bl_status st = bl_text_file(path, max, &s, &n, NULL, e);
    bl_free(s);
    return st;
}

static void refuses_text_that_is_not_utf8_text(void **state) /* R75, R76, R79 */
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *says;
    } rows[] = {
        {"a\nb\nc\xff"
         "d",
         7, ":3: invalid UTF-8 at byte 5"},
        {"\xc0\xaf", 2, ":1: invalid UTF-8 at byte 0"},     /* overlong */
        {"x\xed\xa0\x80", 4, "invalid UTF-8 at byte 1"},    /* surrogate */
        {"\xf4\x90\x80\x80", 4, "invalid UTF-8 at byte 0"}, /* above U+10FFFF */
        {"end \xe2\x82", 6, "invalid UTF-8 at byte 4"},     /* cut off */
        {"one\ntw\0o", 8, ":2: a NUL byte at byte 6"},
        {"", 0, "the file is empty"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        assert_refused(text_of(put("t.txt", rows[i].bytes, rows[i].n), 0, &e), BL_E_FORMAT, rows[i].says);
        assert_non_null(strstr(e.text, "t.txt"));
    }
}

static void keeps_carriage_returns(void **state) /* R77 */
{
    (void)state;
    bl_err e = {0};
    char *s;
    size_t n;
    assert_ok(bl_text_file(put("crlf.txt", "a\r\nb", 4), 0, &s, &n, NULL, &e));
    assert_int_equal(n, 4);
    assert_string_equal(s, "a\r\nb");
    bl_free(s);
}

static void refuses_files_above_the_bound(void **state) /* R84 */
{
    (void)state;
    bl_err e = {0};
    char *big = calloc(1, 5 << 20);
    memset(big, 'x', 5 << 20);
    assert_true(text_of(put("big.txt", big, 5 << 20), 1 << 20, &e) != BL_OK);
    bl_alloc_watch_reset();
    assert_refused(text_of(put_gz("bomb.gz", big, 5 << 20), 1 << 20, &e), BL_E_FORMAT,
                   "unpacks to more than 1048576 bytes");
    assert_true(bl_alloc_peak() < bl_alloc_live() + (4 << 20)); /* bounded before it is unpacked */
    assert_ok(text_of(put_gz("fine.gz", big, 1 << 20), 1 << 20, &e));
    free(big);
}

static void refuses_gzip_that_is_not_whole(void **state) /* R84 */
{
    (void)state;
    bl_err e = {0};
    char text[5000], packed[6000], bad[6000];
    FILE *f;
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)('a' + i * i % 23);
    f = fopen(put_gz("whole.gz", text, sizeof text), "rb");
    size_t n = fread(packed, 1, sizeof packed, f);
    fclose(f);
    assert_ok(text_of(put("copy.gz", packed, n), 0, &e));
    assert_refused(text_of(put("packed.txt", packed, n), 0, &e), BL_E_FORMAT, "not named .gz");
    assert_refused(text_of(put("plain.gz", "plain text", 10), 0, &e), BL_E_FORMAT, "named .gz but not gzip");
    for (size_t k = 0; k < n; k++) assert_true(text_of(put("cut.gz", packed, k), 0, &e) == BL_E_FORMAT);
    for (size_t k = 10; k < n; k += 3) {
        memcpy(bad, packed, n);
        bad[k] ^= 0x10;
        assert_true(text_of(put("flip.gz", bad, n), 0, &e) == BL_E_FORMAT);
    }
    memcpy(bad, packed, n);
    bad[n] = 'x';
    assert_refused(text_of(put("tail.gz", bad, n + 1), 0, &e), BL_E_FORMAT, "after the end");
    memcpy(bad, packed, n);
    memcpy(bad + n, packed, n); /* two members are one text */
    char *s;
    size_t len;
    assert_true(2 * n <= sizeof bad || n > 3000);
    if (2 * n <= sizeof bad) {
        assert_ok(bl_text_file(put("two.gz", bad, 2 * n), 0, &s, &len, NULL, &e));
        assert_int_equal(len, 2 * sizeof text);
        bl_free(s);
    }
}

static bl_status all_json(const char *path, int64_t *rows, bl_err *e)
{
    bl_rows *r = NULL;
    const bl_json *j;
    bl_status st = bl_rows_open(path, &r, e);
    *rows = 0;
    while (st == BL_OK && (st = bl_rows_json(r, &j, e)) == BL_OK && j) ++*rows;
    bl_rows_close(r);
    return st;
}

static void names_the_line_of_broken_json(void **state) /* R80 */
{
    (void)state;
    bl_err e = {0};
    int64_t n;
    static const char broken[] = "{\"a\":1}\n\n{\"a\":2}\n{\"a\":\n{\"a\":4}\n";
    assert_refused(all_json(put("b.jsonl", broken, strlen(broken)), &n, &e), BL_E_FORMAT, "b.jsonl:4");
    assert_int_equal(n, 2);
    static const char twice[] = "{\"a\":1}\n{\"a\":1,\"a\":2}";
    assert_refused(all_json(put("d.jsonl", twice, strlen(twice)), &n, &e), BL_E_FORMAT, "d.jsonl:2");
    static const char two[] = "[{\"a\":1}]\n[{\"a\":2}]\n";
    assert_refused(all_json(put("o.json", two, strlen(two)), &n, &e), BL_E_FORMAT, "o.json");
    assert_true(all_json(put("e.jsonl", "", 0), &n, &e) == BL_E_FORMAT);
}

static void a_missing_data_set_says_what_was_looked_for_and_where_it_is(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_arena *a;
    const char *path;
    static const char *const names[] = {"toy/test.jsonl", "toy/dev.jsonl", NULL};
    bl_data_dirs d = {{dir}, 1};
    assert_ok(bl_arena_new(&a, &e));
    assert_refused(bl_data_find(&d, names, "toy.zip of nobody", a, &path, NULL, &e), BL_E_MISSING,
                   "toy/test.jsonl, toy/dev.jsonl");
    assert_non_null(strstr(e.text, "toy.zip of nobody"));
    assert_non_null(strstr(e.text, dir));
    assert_non_null(strstr(e.text, "BITLADDER_DATA"));
    bl_arena_free(a);
}

/* Files as the Hub has them: the sentence is the way out. */
static void a_parquet_file_beside_the_wanted_one_is_named_with_the_line_that_converts_it(void **state)
{
    (void)state;
    static const struct {
        const char *there, *wanted, *says; /* NULL: the file is not one of the wanted split */
    } rows[] = {
        {"hub1/test-00000-of-00001.parquet", "hub1/test.jsonl", ".to_json('%s/hub1/test.jsonl', orient='records', "},
        {"hub2/validation-00000-of-00001.parquet", "hub2/val.jsonl",
         ".to_json('%s/hub2/val.jsonl', orient='records', "},
        {"hub3/data/train-00000-of-00001.parquet", "hub3/train.csv", ".to_csv('%s/hub3/train.csv', index=False)"},
        {"hub4/train-00000-of-00001.parquet", "hub4/test.jsonl", NULL},
        {"hub5/test-00000-of-00001.parquet", "hub5/test-labels.lst", NULL},
    };
    bl_data_dirs d = {{dir}, 1};
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_arena *a;
        const char *path, *const names[] = {"nowhere/test.jsonl", rows[i].wanted, NULL};
        char want[9000], folder[4300];
        assert_ok(bl_arena_new(&a, &e));
        snprintf(folder, sizeof folder, "%s/%.*s", dir, (int)(strrchr(rows[i].there, '/') - rows[i].there),
                 rows[i].there);
        assert_ok(bl_make_dirs(folder, &e));
        put(rows[i].there, "PAR1 and bytes PAR1", 19);
        assert_int_equal(bl_data_find(&d, names, "the source", a, &path, NULL, &e), BL_E_MISSING);
        if (rows[i].says) {
            snprintf(want, sizeof want, "not found: %s, but %s/%s, a parquet file; convert it: ", rows[i].wanted, dir,
                     rows[i].there);
            if (strncmp(e.text, want, strlen(want)) != 0) fail_msg("%s\nwanted\n%s", e.text, want);
            snprintf(want, sizeof want, rows[i].says, dir);
            assert_non_null(strstr(e.text, want));
            snprintf(want, sizeof want, "pandas.read_parquet('%s/%s')", dir, rows[i].there);
            assert_non_null(strstr(e.text, want));
        } else assert_null(strstr(e.text, "parquet"));
        bl_arena_free(a);
    }
}

/* Duplicates are told by both lines, in every kind of file; so is a row that is too long. */
static void a_number_that_comes_twice_is_refused_with_both_places(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text, *says;
        bl_rows_layout layout;
    } rows[] = {
        {"n.jsonl",
         "{\"id\":1}\n{\"id\":\"2\"}\n\n{\"id\":1}\n",
         "n.jsonl:4: id 1 comes twice, first in line 1; ",
         {0}},
        {"n.csv", "id,a\n5,b\n5,c\n", "n.csv:3: id \"5\" comes twice, first in line 2; ", {0}},
        {"n.json",
         "[{\"idx\":7,\"a\":\"]}\\\"\"},\n {\"b\":[{\"idx\":7}]},\n\n{\"idx\":7}]",
         "n.json:4: element 3: idx 7 comes twice, first in element 1; ",
         {0}},
        {"m.json",
         "{\"a\": [1,\n2], \"rows\": [\n{\"question_id\":\"x\"},{\"question_id\":\"x\"}]}",
         "m.json:3: element 2: question_id \"x\" comes twice, first in element 1; ",
         {.list = "rows"}},
        {"k.json",
         "{\"17\": {},\n\"18\": {},\n \"17\": {}}",
         "k.json:3: key \"17\" comes twice, first in line 1; expected another for every row",
         {.keyed = true}},
        {"e.jsonl", "{\"id\":\" \"}\n", "e.jsonl:1: 'id' is empty", {0}},
        {"l.json",
         "[{},\n{\"long\": \"element\"}]",
         "l.json:2: element 2: a row of 19 bytes, expected at most 10",
         {.max_row = 10}},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_rows *r = NULL;
        const bl_json *j;
        bl_status st = bl_rows_open_as(put(rows[i].name, rows[i].text, strlen(rows[i].text)), &rows[i].layout, &r, &e);
        while (st == BL_OK && (st = bl_rows_json(r, &j, &e)) == BL_OK && j) st = bl_rows_once(r, j, &e);
        assert_int_equal(st, BL_E_FORMAT);
        if (!strstr(e.text, rows[i].says)) fail_msg("%s\nwanted\n%s", e.text, rows[i].says);
        bl_rows_close(r);
    }
}

static void survives_failure_of_every_allocation(void **state)
{
    (void)state;
    bl_err e = {0};
    static const char text[] = "{\"text\":\"one\"}\n{\"text\":\"two\"}\n";
    char path[4200];
    int64_t n;
    snprintf(path, sizeof path, "%s", put_gz("alloc.jsonl.gz", text, strlen(text)));
    uint64_t live = bl_alloc_live();
    for (uint64_t k = 1;; k++) {
        bl_alloc_fail_at(k, false);
        bl_status st = all_json(path, &n, &e);
        bool reached = bl_alloc_count() >= k;
        bl_alloc_fail_at(0, false);
        assert_true(bl_alloc_live() == live);
        if (!reached) {
            assert_ok(st);
            break;
        }
        assert_true(st == BL_E_NOMEM);
    }
    assert_int_equal(n, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_text_that_is_not_utf8_text),
        cmocka_unit_test(keeps_carriage_returns),
        cmocka_unit_test(refuses_files_above_the_bound),
        cmocka_unit_test(refuses_gzip_that_is_not_whole),
        cmocka_unit_test(names_the_line_of_broken_json),
        cmocka_unit_test(a_parquet_file_beside_the_wanted_one_is_named_with_the_line_that_converts_it),
        cmocka_unit_test(a_number_that_comes_twice_is_refused_with_both_places),
        cmocka_unit_test(a_missing_data_set_says_what_was_looked_for_and_where_it_is),
        cmocka_unit_test(survives_failure_of_every_allocation),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
