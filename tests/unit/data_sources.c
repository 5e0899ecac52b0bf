/* Named texts and their splits. */
#include "test.h"
#include "harness/data/sources.h"

static void a_name_alone_is_the_scored_split_or_for_calibration_the_training_one(void **state)
{
    (void)state;
    static const struct {
        const char *text, *scored, *calibration;
    } rows[] = {
        {"wikitext2", "wikitext2:test", "wikitext2:train"},
        {"wikitext2:valid", "wikitext2:valid", "wikitext2:valid"},
        {"ptb", "ptb:valid", "ptb:train"},
        {"c4", "c4:valid", "c4:train"},
        {"c4-web", NULL, "c4-web:train"}, /* never scored */
        {"primer:test", "primer:test", "primer:test"},
        {"primer", "primer:test", "primer:test"}, /* the only one */
        {"wikitext103", NULL, "wikitext103:valid"},
    };
    uint64_t live = bl_alloc_live();
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        const bl_source *s = bl_source_find(rows[i].text), *c;
        if (rows[i].scored) assert_string_equal(s->id, rows[i].scored);
        else assert_null(s);
        assert_ok(bl_source_for_calibration(rows[i].text, &c, &e));
        assert_string_equal(c->id, rows[i].calibration);
    }
    assert_true(bl_alloc_live() == live);
}

static void what_is_no_calibration_text_is_refused(void **state)
{
    (void)state;
    bl_err e = {0};
    const bl_source *s;
    assert_refused(bl_source_for_calibration("wikitext2:trian", &s, &e), BL_E_CONFIG, "did you mean wikitext2:train?");
    assert_refused(bl_source_for_calibration("wikitext103:test", &s, &e), BL_E_CONFIG, "did you mean wikitext2:test?");
    assert_refused(bl_source_for_calibration("xyzzy", &s, &e), BL_E_CONFIG, "see: bitladder list texts");
}

static void a_name_has_one_scored_split_and_each_split_once(void **state)
{
    (void)state;
    for (size_t i = 0; bl_source_at(i); i++)
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(bl_source_at(i)->id, bl_source_at(k)->id);
            if (strcmp(bl_source_at(i)->name, bl_source_at(k)->name) == 0)
                assert_false(bl_source_at(i)->conventions[0] && bl_source_at(k)->conventions[0]);
        }
}

static void write_file(const char *dir, const char *name, const char *text)
{
    bl_err e = {0};
    char *path = bl_join(dir, name, &e);
    assert_ok(bl_write_file(path, text, strlen(text), &e));
    bl_free(path);
}

static void a_file_of_ones_own_is_a_text_or_rows_of_texts(void **state)
{
    (void)state;
    static const struct {
        const char *name, *bytes, *want, *says; /* want NULL: refused */
    } rows[] = {
        {"a.txt", "one\n two\n", "one\n two\n", NULL},
        {"b.jsonl", "{\"text\": \"one\"}\n{\"id\": 2, \"text\": \"t\\nwo\"}\n", "one\n\nt\nwo", NULL},
        {"c.json", "[{\"text\": \"one\"}, {\"text\": \"two\"}]", "one\n\ntwo", NULL},
        {"d.txt", "", NULL, "d.txt"},
        {"e.jsonl", "{\"text\": \"one\"}\n{\"content\": \"two\"}\n", NULL, "e.jsonl:2"},
        {"f.jsonl", "{\"text\": \"\"}\n", NULL, "f.jsonl: no text in it"},
        {"g.jsonl", "", NULL, "g.jsonl"},
        {"h.txt", "\xff\xfe", NULL, "h.txt"},
    };
    bl_err e = {0};
    bl_arena *a;
    char dir[4096];
    snprintf(dir, sizeof dir, "%s", test_dir());
    assert_ok(bl_arena_new(&a, &e));
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_source_text t = {0};
        char path[4300], named[4400];
        snprintf(path, sizeof path, "%s/%s", dir, rows[i].name);
        snprintf(named, sizeof named, "file:%s", path);
        assert_string_equal(bl_source_own_path(named), path);
        FILE *f = fopen(path, "wb");
        fputs(rows[i].bytes, f);
        fclose(f);
        bl_status st = bl_source_own(path, a, &t, &e);
        if (!rows[i].want) {
            assert_true(st != BL_OK && strstr(e.text, rows[i].says));
            continue;
        }
        assert_ok(st);
        assert_int_equal(t.n_stream, strlen(rows[i].want));
        assert_memory_equal(t.stream, rows[i].want, t.n_stream);
        assert_string_equal(t.path, path);
        assert_true(bl_hash_equal(t.hash, bl_hash_bytes(rows[i].bytes, strlen(rows[i].bytes))));
    }
    assert_null(bl_source_own_path("wikitext2:train"));
    bl_arena_free(a);
    bl_remove_tree(dir, NULL);
}

/* How the loaders of the GPTQ code join the rows of each (datautils.py: get_wikitext2, get_ptb, get_ptb_new). */
static void splits_are_read_from_their_own_files_and_joined_as_gptq_does(void **state)
{
    (void)state;
    static const struct {
        const char *id, *stream;
    } rows[] = {
        {"wikitext2:test", "\n\n a test \n"},
        {"wikitext2:valid", " a valid \n\n\n"},
        {"wikitext2:train", " a train \n\n\n\n\n more \n"},
        {"ptb:train", "one two\n\nthree"},
        {"ptb-new:train", "one two three"},
        {"c4:train", "first second"},
        {"c4-web:train", "page one page two"},
    };
    bl_err e = {0};
    bl_arena *a;
    char dir[4096];
    snprintf(dir, sizeof dir, "%s", test_dir());
    bl_data_dirs d = {.dir = {dir}, .n = 1};
    unsetenv("BITLADDER_DATA");
    write_file(dir, "wiki.test.raw", " \n a test \n");
    write_file(dir, "wiki.valid.raw", " a valid \n \n");
    write_file(dir, "wiki.train.raw", " a train \n \n more \n");
    write_file(dir, "ptb.train.txt", " one two \n three \n");
    write_file(dir, "web_calibration.utf8", "page one\npage two\n");
    char *c4 = bl_join(dir, "c4", &e);
    assert_ok(bl_make_dirs(c4, &e));
    write_file(c4, "c4-train.00000-of-01024.json", "{\"text\": \"first\"}\n{\"text\": \"second\"}\n");
    bl_free(c4);
    assert_ok(bl_arena_new(&a, &e));
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_source_text t;
        assert_ok(bl_source_find(rows[i].id)->load(&d, a, &t, &e));
        assert_string_equal(t.stream, rows[i].stream);
    }
    bl_arena_free(a);
    bl_remove_tree(dir, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_alone_is_the_scored_split_or_for_calibration_the_training_one),
        cmocka_unit_test(what_is_no_calibration_text_is_refused),
        cmocka_unit_test(a_file_of_ones_own_is_a_text_or_rows_of_texts),
        cmocka_unit_test(a_name_has_one_scored_split_and_each_split_once),
        cmocka_unit_test(splits_are_read_from_their_own_files_and_joined_as_gptq_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
