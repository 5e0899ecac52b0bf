/* base_text.c - error sentences, log lines and the nearest name. */
#include "test.h"
#include "kernels/base/fs.h"
#include <unistd.h>

static void every_status_has_a_name_and_an_exit_code(void **state)
{
    (void)state;
    for (int st = BL_OK; st <= BL_E_INTERNAL; st++)
        assert_int_equal(strncmp(bl_status_name(st), st ? "BL_E_" : "BL_OK", 5), 0);
    static const struct {
        bl_status st;
        int code;
    } rows[] = {
        {BL_OK, 0},       {BL_E_CONFIG, 2},        {BL_E_FORMAT, 2},  {BL_E_MISSING, 2}, {BL_E_DISK, 4},
        {BL_E_DEVICE, 4}, {BL_E_INTERRUPTED, 130}, {BL_E_NUMERIC, 1}, {BL_E_NOMEM, 1},   {BL_E_INTERNAL, 1},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) assert_int_equal(bl_exit_code(rows[i].st), rows[i].code);
    assert_string_equal(bl_status_name((bl_status)99), "unknown status");
}

static void a_failure_is_a_sentence_and_where_it_was(void **state)
{
    (void)state;
    bl_err e;
    assert_int_equal(bl_fail(&e, BL_E_FORMAT, "%s: %d heads, expected %d", "config.json", 3, 4), BL_E_FORMAT);
    bl_within(&e, "layer %d", 9);
    bl_within(&e, "loading %s", "tiny");
    assert_string_equal(e.text, "loading tiny: layer 9: config.json: 3 heads, expected 4");
    assert_int_equal(e.status, BL_E_FORMAT);
    assert_int_equal(bl_fail(NULL, BL_E_IO, "nobody listens"), BL_E_IO);
    bl_within(NULL, "nobody");
    assert_int_equal(bl_fail(&e, BL_E_IO, "again: %s", e.text), BL_E_IO); /* its own text as an argument */
    assert_string_equal(e.text, "again: loading tiny: layer 9: config.json: 3 heads, expected 4");
}

static const struct {
    const char *in, *want;
} cleaned[] = {
    {"a\nb\tc\rd", "a\\nb\\tc\\rd"},
    {"\x1b[31mred", "\\x1b[31mred"},
    {"bell\x07"
     "del\x7f",
     "bell\\x07del\\x7f"},
    {"bad \xff\xc3(", "bad \\xff\\xc3("},
    {"overlong \xc0\xaf", "overlong \\xc0\\xaf"},
    {"three \xe0\x80\xaf", "three \\xe0\\x80\\xaf"},
    {"four \xf0\x80\x80\xaf", "four \\xf0\\x80\\x80\\xaf"},
    {"surrogate \xed\xa0\x80", "surrogate \\xed\\xa0\\x80"},
    {"h\xc3\xbc"
     "bsch \xf0\x9f\x98\x80",
     "h\xc3\xbc"
     "bsch \xf0\x9f\x98\x80"},
    {"c1 \xc2\x85 bidi \xe2\x80\xae", "c1 \\u0085 bidi \\u202e"},
    {"cut off \xe2\x82", "cut off \\xe2\\x82"},
};

static void a_sentence_cannot_move_the_cursor(void **state)
{
    (void)state;
    bl_err e;
    for (size_t i = 0; i < BL_COUNT(cleaned); i++) {
        bl_fail(&e, BL_E_FORMAT, "%s", cleaned[i].in);
        assert_string_equal(e.text, cleaned[i].want);
    }
}

static void a_long_name_is_shortened_in_the_middle(void **state)
{
    (void)state;
    bl_err e;
    size_t n = 10 << 20;
    char *name = bl_new(n + 1, 1, &e);
    memset(name, 'n', n);
    name[0] = 'A';
    name[n - 1] = 'Z';
    bl_fail(&e, BL_E_FORMAT, "model.bin: tensor '%s': 3 dims, expected 2", name);
    assert_true(strlen(e.text) < 600);
    assert_non_null(strstr(e.text, "model.bin: tensor 'Annn"));
    assert_non_null(strstr(e.text, "\xe2\x80\xa6"));
    assert_non_null(strstr(e.text, "nnnZ': 3 dims, expected 2"));
    for (size_t i = 0; i < n; i++)
        if (i % 50 == 25) name[i] = ' '; /* now of many words */
    bl_fail(&e, BL_E_FORMAT, "model.bin: tensor '%s': 3 dims, expected 2", name);
    assert_true(strlen(e.text) < sizeof e.text);
    assert_non_null(strstr(e.text, "model.bin: tensor 'Annn"));
    assert_non_null(strstr(e.text, "nnnZ': 3 dims, expected 2"));
    bl_within(&e, "%s", name);
    assert_non_null(strstr(e.text, "expected 2"));
    bl_alloc_fail_at(1, true); /* also when there is no memory to say it */
    bl_fail(&e, BL_E_FORMAT, "model.bin: tensor '%s': 3 dims, expected 2", name);
    bl_alloc_fail_at(0, false);
    assert_non_null(strstr(e.text, "model.bin: tensor 'Annn"));
    bl_free(name);
}

static void the_nearest_name_is_found(void **state)
{
    (void)state;
    static const char *const names[] = {"arc_easy",  "arc_challenge", "hellaswag", "gsm8k",
                                        "wikitext2", "rtn",           "gptq",      NULL};
    static const struct {
        const char *word, *want;
    } rows[] = {
        {"arc-easy", "arc_easy"},
        {"arcc", "arc_challenge"},
        {"hellaswga", "hellaswag"},
        {"GPTQ", "gptq"},
        {"gqtp", "gptq"},
        {"wikitext", "wikitext2"},
        {"rnt", "rtn"},
        {"zzzzzz", NULL},
        {"", NULL},
        {"q", NULL},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const char *got = bl_nearest(rows[i].word, names);
        if (!rows[i].want) assert_null(got);
        else {
            assert_non_null(got);
            assert_string_equal(got, rows[i].want);
        }
    }
    char word[5000];
    memset(word, 'a', sizeof word);
    word[sizeof word - 1] = 0;
    assert_null(bl_nearest(word, names));
}

static void a_log_line_is_one_line_and_reaches_the_file(void **state)
{
    (void)state;
    bl_err e = {0};
    const char *dir = test_dir();
    char path[4200], *text, want[64];
    size_t n;
    snprintf(path, sizeof path, "%s/log.txt", dir);
    bl_log(BL_LOG_INFO, "before there is a file");
    for (int i = 0; i < 2; i++) { /* what is there stays: other processes write too */
        assert_ok(bl_log_file(path, &e));
        bl_log_set(BL_LOG_ERROR);
        bl_log(BL_LOG_INFO, "cell=%s\ntask=%d", "a", i);
        bl_log(BL_LOG_DEBUG, "not asked for");
        assert_ok(bl_log_file(NULL, &e));
    }
    bl_log(BL_LOG_INFO, "after the file was closed");
    bl_log_set(BL_LOG_WARN);
    assert_ok(bl_read_file(path, 1 << 20, &text, &n, &e));
    for (int i = 0; i < 2; i++) {
        snprintf(want, sizeof want, "Z pid=%ld info cell=a\\ntask=%d\n", (long)getpid(), i);
        char *at = strstr(text, want), *end = strchr(text, '\n');
        assert_non_null(at);
        assert_true(end == at + strlen(want) - 1); /* on a line of its own, the first that is left */
        memmove(text, end + 1, strlen(end + 1) + 1);
    }
    assert_string_equal(text, "");
    bl_free(text);
    assert_refused(bl_log_file(dir, &e), BL_E_DISK, "cannot be written");
    bl_remove_tree(dir, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_a_name_and_an_exit_code),
        cmocka_unit_test(a_failure_is_a_sentence_and_where_it_was),
        cmocka_unit_test(a_sentence_cannot_move_the_cursor),
        cmocka_unit_test(a_long_name_is_shortened_in_the_middle),
        cmocka_unit_test(the_nearest_name_is_found),
        cmocka_unit_test(a_log_line_is_one_line_and_reaches_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
